package report

import (
	"bytes"
	"encoding/csv"
	"encoding/xml"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func TestResultsBlock(t *testing.T) {
	meta := sampleMeta()
	meta.Prices = samplePrices()
	r := Build(sample10s(t), meta)
	r.Totals.Requests = 1234567
	r.Verdict.Reasons = []string{"why"}
	want := `
Results:
  Requests:     1,234,567
  RPS:          12.2
  Failures:     10 (0.0%)
  Avg:          8.09ms
  Min / Max:    2.00ms / 10.0ms
  p50:          10.0ms
  p95:          10.0ms
  p99:          10.0ms
  Rate limited: 20 (0.0%)
  p99.9:        10.0ms
  Capacity:     2.00 write + 0.11 read units per acquire; $1.446 per million admitted, $0.625 per million refused (prices of 2024-11-01, us-east-1)
  Verdict:      valid — why
`
	b := new(bytes.Buffer)
	if err := r.WriteText(b); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestResultsBlockOfNothingHasDashes(t *testing.T) {
	r := Build(&stats.Snapshot{}, Meta{})
	r.Verdict = Verdict{State: Valid}
	b := new(bytes.Buffer)
	if err := r.WriteText(b); err != nil {
		t.Fatal(err)
	}
	want := "\nResults:\n  Requests:     0\n  RPS:          -\n  Failures:     0 (0.0%)\n  Avg:          -\n  Min / Max:    - / -\n" +
		"  p50:          -\n  p95:          -\n  p99:          -\n"
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestMilliseconds(t *testing.T) {
	for ms, want := range map[float64]string{0: "0.00ms", 0.123: "0.12ms", 9.99: "9.99ms", 10: "10.0ms", 99.94: "99.9ms", 100: "100ms", 1234.5: "1234ms"} {
		if got := formatMS(&ms); got != want {
			t.Errorf("%v is printed as %q, want %q", ms, got, want)
		}
	}
}

func TestThousands(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := thousands(n); got != want {
			t.Errorf("%d is printed as %q, want %q", n, got, want)
		}
	}
}

func TestThresholdLines(t *testing.T) {
	r := sampleResult(t)
	r.Evaluate([]Threshold{MaxP95(40), MinRPS(1000)})
	b := new(bytes.Buffer)
	if err := r.WriteThresholds(b); err != nil {
		t.Fatal(err)
	}
	want := "Threshold passed: p95_ms<=40 (10)\nThreshold failed: rps>=1000 (12.2087)\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b, want)
	}
}

func TestStatsCSV(t *testing.T) {
	rows := strings.Split(StatsCSV(sample10s(t)), "\r\n")
	want := []string{
		"Type,Name,Request Count,Failure Count,Median Response Time,Average Response Time,Min Response Time,Max Response Time,Average Content Size,Requests/s,Failures/s,50%,66%,75%,80%,90%,95%,98%,99%,99.9%,99.99%,100%",
		"ACQUIRE,api,80,10,10,10.0,10.0,10.0,0.0,8.879023307436182,1.1098779134295227,10,10,10,10,10,10,10,10,10,10,10",
		"RATE_LIMITED,api,20,0,2,2.0,2.0,2.0,0.0,2.2197558268590454,0.0,2,2,2,2,2,2,2,2,2,2,2",
		`COMMIT,"api,x",10,0,5,5.0,5.0,5.0,0.0,1.1098779134295227,0.0,5,5,5,5,5,5,5,5,5,5,5`,
		",Aggregated,110,10,10,8.090909090909092,2.0,10.0,0.0,12.208657047724751,1.1098779134295227,10,10,10,10,10,10,10,10,10,10,10",
		"",
	}
	if diff := cmp.Diff(want, rows); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStatsCSVOfNothing(t *testing.T) {
	_, row, _ := strings.Cut(StatsCSV(&stats.Snapshot{}), "\r\n")
	if want := ",Aggregated,0,0,0,0,0,0,0,0.0,0.0" + strings.Repeat(",N/A", 11) + "\r\n"; row != want {
		t.Errorf("got %q, want %q", row, want)
	}
}

func TestFailuresAndExceptionsCSV(t *testing.T) {
	s := sample10s(t)
	if got, want := FailuresCSV(s), "Method,Name,Error,Occurrences,First Seen,Last Seen\r\n"+
		`ACQUIRE,api,"Throttled ""hard"", twice",10,2000-01-01T00:00:00Z,2000-01-01T00:00:09Z`+"\r\n"; got != want {
		t.Errorf("failures %q, want %q", got, want)
	}
	if got, want := ExceptionsCSV(s), "Count,Message,Traceback,Nodes\r\n1,boom <b>,\"line 1\nline 2\",local\r\n"; got != want {
		t.Errorf("exceptions %q, want %q", got, want)
	}
}

func TestCSVNumbers(t *testing.T) {
	for x, want := range map[float64]string{0: "0.0", 65.84189944134077: "65.84189944134077", 1e-5: "1e-05", 1e15: "1000000000000000.0", 1e16: "1e+16", 0.25: "0.25"} {
		if got := pythonFloat(x); got != want {
			t.Errorf("%v is printed as %q, want %q", x, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0", 1234567: "1.235", 99999: "0.1", 5 * time.Millisecond: "5", 132400 * time.Microsecond: "132", 4200 * time.Millisecond: "4200",
	} {
		if got := csvMS(d); got != want {
			t.Errorf("%v is printed as %q, want %q", d, got, want)
		}
	}
}

func TestCSVFilesAreRewrittenLive(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "new", "folder", "run")
	files, err := OpenCSV(prefix, false)
	if err != nil {
		t.Fatal(err)
	}
	s := sample10s(t)
	for range 2 {
		if err := files.Update(s); err != nil {
			t.Fatal(err)
		}
	}
	if got := len(readCSV(t, prefix+"_stats.csv")); got != 5 {
		t.Errorf("%d rows of statistics while running, want 5", got)
	}
	if err := files.Close(&stats.Snapshot{At: s.At}); err != nil {
		t.Fatal(err)
	}
	if got := len(readCSV(t, prefix+"_stats.csv")); got != 2 {
		t.Errorf("%d rows of statistics after a shorter state, want 2", got)
	}
	history := readCSV(t, prefix+"_stats_history.csv")
	if len(history) != 4 || len(history[0]) != 24 {
		t.Fatalf("history has %d rows of %d columns, want 4 of 24", len(history), len(history[0]))
	}
	if got := strings.Join(history[1], ","); !strings.HasPrefix(got, "946684810,4,,Aggregated,11.000000,1.000000,10,10,") || !strings.HasSuffix(got, ",110,10,10,8.090909090909092,2.0,10.0,0.0") {
		t.Errorf("history row %q", got)
	}
	for _, name := range []string{"_failures.csv", "_exceptions.csv"} {
		if len(readCSV(t, prefix+name)) != 1 {
			t.Errorf("%s is not the last state", name)
		}
	}
}

func TestFullHistoryHasARowForEachEntry(t *testing.T) {
	prefix := filepath.Join(t.TempDir(), "run")
	files, err := OpenCSV(prefix, true)
	if err != nil {
		t.Fatal(err)
	}
	if err := files.Close(sample10s(t)); err != nil {
		t.Fatal(err)
	}
	history := readCSV(t, prefix+"_stats_history.csv")
	if len(history) != 5 || history[1][2] != "ACQUIRE" || history[4][3] != "Aggregated" {
		t.Errorf("history %v", history)
	}
}

func TestCSVNeedsAWritablePlace(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenCSV(filepath.Join(file, "run"), false); err == nil {
		t.Error("a prefix below a file was accepted")
	}
}

func readCSV(t *testing.T, name string) [][]string {
	t.Helper()
	f, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

func TestHTMLIsSelfContainedAndEscaped(t *testing.T) {
	s, meta := sample10s(t), sampleMeta()
	meta.Prices = samplePrices()
	s.Entries[0].Name = `</td><script>alert("x")</script>`
	r := Build(s, meta)
	r.Evaluate([]Threshold{MaxP95(1)})
	b := new(bytes.Buffer)
	if err := r.WriteHTML(b); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<script", "</script><b>", "boom <b>", " src=", "@import", "url(", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("page contains %q", bad)
		}
	}
	if found := regexp.MustCompile(`(?:href|src)="[^"]*"`).FindAllString(page, -1); len(found) != 1 || found[0] != `href="data:,"` {
		t.Errorf("page refers to %v", found)
	}
	for _, want := range []string{"&lt;/td&gt;&lt;script&gt;", "<svg ", `class="p95"`, "Throttled", "prefers-color-scheme: dark", "failed", "UpdateItem"} {
		if !strings.Contains(page, want) {
			t.Errorf("page lacks %q", want)
		}
	}
	for svg := range strings.SplitSeq(page, "<svg") {
		if _, inner, ok := strings.Cut(svg, ">"); ok && strings.Contains(inner, "</svg>") {
			inner, _, _ = strings.Cut(inner, "</svg>")
			wellFormed(t, "<g>"+inner+"</g>")
		}
	}
}

func wellFormed(t *testing.T, text string) {
	t.Helper()
	for d := xml.NewDecoder(strings.NewReader(text)); ; {
		if _, err := d.Token(); errors.Is(err, io.EOF) {
			return
		} else if err != nil {
			t.Errorf("chart is not well-formed: %v", err)
			return
		}
	}
}

func TestLongSeriesKeepTheirPeaks(t *testing.T) {
	series := make([]Second, 10*chartPoints)
	for i := range series {
		series[i].TSeconds = float64(i)
		series[i].RPS = 1
	}
	series[1234].RPS = 100
	c := newChart("x", "", series, line{"rps", "rps", rpsOf})
	path := c.Lines[0].Path
	if n := strings.Count(path, "L"); n >= chartPoints {
		t.Errorf("%d points, want less than %d", n, chartPoints)
	}
	if !strings.Contains(path, " 12.0") {
		t.Error("the peak is not drawn at the top")
	}
}

func TestSweepTable(t *testing.T) {
	r := sampleResult(t)
	b := new(bytes.Buffer)
	if err := NewSweep(r).WriteText(b); err != nil {
		t.Fatal(err)
	}
	want := "\nCapacity:\n    Users        RPS   CPU %       p50       p95\n        4       12.2     50%    10.0ms    10.0ms\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b, want)
	}
	b.Reset()
	if err := NewSweep(r).WriteJSON(b); err != nil || !strings.Contains(b.String(), `"cpu_ratio": 0.5`) {
		t.Errorf("JSON %s, error %v", b, err)
	}
}

func TestChartsOfAbsurdNumbersEnd(t *testing.T) {
	for _, x := range []float64{1e300, -1e300, math.MaxFloat64} {
		r := &Result{Series: []Second{{TSeconds: x, RPS: x}, {TSeconds: x, RPS: x, P50MS: &x}}}
		if err := r.WriteHTML(io.Discard); err != nil {
			t.Fatal(err)
		}
	}
}

func TestErrorsAreListedByFrequency(t *testing.T) {
	var b strings.Builder
	r := &Result{Errors: []ErrorEntry{
		{Type: "ACQUIRE", Name: "api", Error: "Throttled\n  twice", Occurrences: 3},
		{Type: "TASK", Name: "U.t", Error: "boom", Occurrences: 1200},
	}}
	if err := r.WriteErrors(&b); err != nil {
		t.Fatal(err)
	}
	want := "\nErrors:\n      1,200  TASK U.t: boom\n          3  ACQUIRE api: Throttled twice\n"
	if b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
	b.Reset()
	for range errorRows {
		r.Errors = append(r.Errors, ErrorEntry{Type: "X", Occurrences: 1})
	}
	if err := r.WriteErrors(&b); err != nil || !strings.Contains(b.String(), "… 2 more kinds\n") {
		t.Errorf("%v, %q does not say that there are 2 more", err, b.String())
	}
	b.Reset()
	if err := (&Result{}).WriteErrors(&b); err != nil || b.Len() > 0 {
		t.Errorf("%v, %q without errors", err, b.String())
	}
}

// The last second of a run is cut short; drawn, it would look like a collapse.
func TestChartsEndWithTheLastWholeSecond(t *testing.T) {
	series := make([]Second, 4)
	for i := range series {
		series[i] = Second{TSeconds: float64(i), RPS: 100}
	}
	series[3].RPS = 1
	r := &Result{Series: series}
	for _, test := range []struct {
		duration float64
		want     int
	}{{3.01, 3}, {3.99, 4}} {
		r.Run.DurationSeconds = &test.duration
		if got := strings.Count(r.charts()[0].Lines[0].Path, " "); got != test.want {
			t.Errorf("%d points for a run of %v s, want %d", got, test.duration, test.want)
		}
	}
}

func TestSweepTellsTheThresholdsOfEachRow(t *testing.T) {
	r := &Result{Run: Run{Users: new(7)}, Verdict: Verdict{State: Valid}}
	r.Thresholds = []ThresholdOutcome{{Expression: "p95_ms<1", Value: new(2.0)}}
	var b strings.Builder
	if err := NewSweep(r).WriteText(&b); err != nil {
		t.Fatal(err)
	}
	if want := "Threshold failed: p95_ms<1 (2) with 7 users\n"; !strings.HasSuffix(b.String(), want) {
		t.Errorf("%q does not end with %q", b.String(), want)
	}
}

// TestNoTextOfARunIsMarkup puts hostile text everywhere a run has text.
func TestNoTextOfARunIsMarkup(t *testing.T) {
	const hostile = `"><img src=x onerror='alert(1)'>&amp;`
	r := sampleResult(t)
	fill := reflect.ValueOf(r).Elem()
	var poison func(v reflect.Value)
	poison = func(v reflect.Value) {
		switch v.Kind() {
		case reflect.String:
			if v.CanSet() {
				v.SetString(hostile)
			}
		case reflect.Pointer:
			if v.IsNil() && v.CanSet() && v.Type().Elem().Kind() == reflect.String {
				v.Set(reflect.New(v.Type().Elem()))
			}
			if !v.IsNil() && v.Type().Elem() != reflect.TypeFor[Timestamp]() {
				poison(v.Elem())
			}
		case reflect.Struct:
			for i := range v.NumField() {
				poison(v.Field(i))
			}
		case reflect.Slice:
			for i := range v.Len() {
				poison(v.Index(i))
			}
		}
	}
	poison(fill)
	r.Run.Options = map[string]string{hostile: hostile}
	var b strings.Builder
	if err := r.WritePage(&b, hostile, hostile); err != nil {
		t.Fatal(err)
	}
	if strings.Contains(b.String(), "<img") || strings.Contains(b.String(), `"">`) || strings.Contains(b.String(), "&amp;&amp;") {
		t.Errorf("the page has markup of the run:\n%s", b.String())
	}
	if n := strings.Count(b.String(), "&lt;img src=x"); n < 15 {
		t.Errorf("%d texts of the run are shown, want more: is the page complete?", n)
	}
}
