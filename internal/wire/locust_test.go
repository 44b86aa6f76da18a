package wire

import (
	"errors"
	"fmt"
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func TestResponseTimesAreRoundedAsLocustDoes(t *testing.T) {
	for ms, want := range map[float64]int64{
		0.4: 0, 0.5: 0, 1.5: 2, 2.5: 2, 50.5: 50, 99.4: 99, 99.49: 99, 99.5: 100, 104.9: 100, 105: 100,
		105.0000001: 110, 114.9: 110, 115: 120, 125: 120, 135: 140, 145: 140, 147: 150, 994.9: 990, 995: 1000,
		1050: 1000, 1050.0001: 1100, 1150: 1200, 1250: 1200, 3432: 3400, 9950: 10000, 10500: 10000,
		10500.1: 11000, 11500: 12000, 12500: 12000, 58760: 59000,
	} {
		if got := RoundTime(ms); got != want {
			t.Errorf("RoundTime(%v) = %d, want %d", ms, got, want)
		}
	}
}

func TestPercentilesAreLocusts(t *testing.T) {
	var hundred []Count
	for ms := range int64(100) {
		hundred = append(hundred, Count{ms + 1, 1})
	}
	shares := []float64{0.5, 0.66, 0.75, 0.8, 0.9, 0.95, 0.98, 0.99, 0.999, 1}
	for _, test := range []struct {
		times []Count
		want  []int64
	}{
		{hundred, []int64{51, 67, 76, 81, 91, 96, 99, 100, 100, 100}},
		{[]Count{{1, 1}, {2, 1}}, []int64{2, 2, 2, 2, 2, 2, 2, 2, 2, 2}},
		{[]Count{{3, 1}, {1, 1}, {2, 1}}, []int64{2, 2, 3, 3, 3, 3, 3, 3, 3, 3}},
		{[]Count{{100, 9}, {10, 90}, {1000, 1}}, []int64{10, 10, 10, 10, 100, 100, 100, 1000, 1000, 1000}},
		{[]Count{{10, 5}, {20, 5}}, []int64{20, 20, 20, 20, 20, 20, 20, 20, 20, 20}},
		{nil, []int64{0, 0, 0, 0, 0, 0, 0, 0, 0, 0}},
	} {
		n := int64(0)
		for _, c := range test.times {
			n += c.N
		}
		var got []int64
		for _, p := range shares {
			got = append(got, Percentile(test.times, n, p))
		}
		if diff := cmp.Diff(test.want, got); diff != "" {
			t.Errorf("%v (-want +got):\n%s", test.times, diff)
		}
	}
}

func TestTheMedianLiesWithinWhatWasMeasured(t *testing.T) {
	for _, test := range []struct {
		row  Row
		want float64
	}{
		{Row{}, 0},
		{Row{Requests: 2, MinTime: 3432.7, MaxTime: 3432.7, Times: []Count{{3400, 2}}}, 3432.7},
		{Row{Requests: 10, MinTime: 9.8, MaxTime: 20.4, Times: []Count{{10, 5}, {20, 5}}}, 20},
		{Row{Requests: 3, Untimed: 1, MinTime: 1, MaxTime: 2, Times: []Count{{1, 1}, {2, 1}}}, 2},
	} {
		if got := test.row.Median(); got != test.want {
			t.Errorf("median of %+v: %v, want %v", test.row, got, test.want)
		}
	}
}

func at(seconds float64) time.Time {
	return time.Unix(1_700_000_000, int64(math.Round(seconds*1e9)))
}

// The requests of a row that Locust was given, and what its code made of them.
func TestATallyCountsAsLocustDoes(t *testing.T) {
	tally := NewTally(at(0))
	for _, request := range []struct{ end, ms float64 }{
		{0.1, 12}, {0.2, 147}, {0.9, 33.6}, {1.5, -1}, {2.0, 3432}, {2.5, 58760}, {3.7, 101},
	} {
		s := stats.Sample{Type: "GET", Name: "/a", Start: at(request.end), Untimed: request.ms < 0}
		if !s.Untimed {
			s.Duration = time.Duration(math.Round(request.ms * 1e6))
			s.Start = s.Start.Add(-s.Duration)
		}
		tally.Record(&s)
	}
	report := tally.Take(at(5))
	row := report.Rows[0]
	want := Row{
		Name: "/a", Method: "GET", Requests: 7, Untimed: 1,
		SumTime: 62485.6, MinTime: 12, MaxTime: 58760,
		Times:             []Count{{12, 1}, {34, 1}, {100, 1}, {150, 1}, {3400, 1}, {59000, 1}},
		RequestsPerSecond: []Count{{1700000000, 3}, {1700000001, 1}, {1700000002, 2}, {1700000003, 1}},
		Start:             1700000000.1, LastRequest: 1700000003.7,
	}
	if diff := cmp.Diff(want, row, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("row (-want +got):\n%s", diff)
	}
	want.Name, want.Method, want.Start = "Aggregated", "", 1700000000
	if diff := cmp.Diff(want, report.Total, cmpopts.EquateApprox(0, 1e-6)); diff != "" {
		t.Errorf("total (-want +got):\n%s", diff)
	}
	for p, want := range map[float64]int64{0.5: 150, 0.75: 3400, 0.9: 59000} {
		if got := Percentile(row.Times, row.Timed(), p); got != want {
			t.Errorf("percentile %v: %d, want %d", p, got, want)
		}
	}
	if again := tally.Take(at(6)); len(again.Rows) > 0 || again.Total.Requests > 0 || again.Total.Start != 1700000005 {
		t.Errorf("the next report is not empty: %+v", again)
	}
}

func TestATallyKeepsABoundedNumberOfRowsAndErrors(t *testing.T) {
	tally := NewTally(at(0))
	for i := range stats.MaxEntries + 50 {
		tally.Record(&stats.Sample{Type: "GET", Name: fmt.Sprint(i), Start: at(1), Err: fmt.Sprint("boom ", i)})
	}
	report := tally.Take(at(2))
	if got := len(report.Rows); got != stats.MaxEntries+1 {
		t.Errorf("%d rows", got)
	}
	if report.Total.Requests != stats.MaxEntries+50 || report.Total.Failures != stats.MaxEntries+50 {
		t.Errorf("total %+v", report.Total)
	}
	failures := int64(0)
	for _, e := range report.Errors {
		failures += e.Occurrences
	}
	if failures != report.Total.Failures {
		t.Errorf("%d errors in rows, %d failures", failures, report.Total.Failures)
	}
}

// Three reports that Locust's master was given, and what it added up.
func TestReportsOfLocustAddUpAsInLocust(t *testing.T) {
	reports := []Row{
		{Name: "/a", Method: "GET", Requests: 3, Failures: 2, Times: []Count{{10, 2}, {150, 1}},
			Start: 1699999999, LastRequest: 1700000002.5, MinTime: 9.6, MaxTime: 147, SumTime: 166.6},
		{Name: "/a", Method: "GET", Requests: 2, Times: []Count{{10, 1}, {3400, 1}},
			Start: 1700000000.5, LastRequest: 1700000002.1, MinTime: 10.2, MaxTime: 3432, SumTime: 3442.2},
		{Name: "/a", Method: "GET"},
	}
	var merged stats.Entry
	for i := range reports {
		e := reports[i].Entry()
		merged.Merge(&e)
	}
	if merged.Requests != 5 || merged.Failures != 2 {
		t.Errorf("%d requests, %d failures", merged.Requests, merged.Failures)
	}
	if sum, low, high := merged.Hist.Sum(), merged.Hist.Min(), merged.Hist.Max(); sum != 3608800*time.Microsecond || low != 9600*time.Microsecond || high != 3432*time.Millisecond {
		t.Errorf("sum %v, minimum %v, maximum %v", sum, low, high)
	}
	if got := merged.Active(); got != 3500*time.Millisecond {
		t.Errorf("active for %v", got)
	}
	if got := merged.Hist.Quantile(0.5).Seconds(); math.Abs(got-0.010) > 0.0001 {
		t.Errorf("median %v s, want 10 ms", got)
	}
}

func TestAReportOfLocustBecomesADifference(t *testing.T) {
	s := &Stats{
		Rows:         []Row{{Name: "/a", Method: "GET", Requests: 3, Untimed: 1, Times: []Count{{10, 2}}, SumTime: 20, MinTime: 10, MaxTime: 10, Start: 1, LastRequest: 5.5}},
		Total:        Row{RequestsPerSecond: []Count{{1700000001, 1}, {1700000000, 2}}, FailuresPerSecond: []Count{{1700000001, 1}}},
		Errors:       []RowError{{Name: "/a", Method: "GET", Text: "boom", Occurrences: 2, First: 4}},
		UsersByClass: map[string]int{"A": 3},
		Users:        3,
	}
	d := s.Delta(at(0))
	if e := d.Entries[0]; e.Requests != 3 || e.Untimed != 1 || e.Hist.Count() != 2 || d.Users != 3 || !d.At.Equal(at(0)) {
		t.Errorf("difference %+v", d)
	}
	wantSeries := []stats.Second{{Index: 1700000000, Requests: 2}, {Index: 1700000001, Requests: 1, Failures: 1}}
	if diff := cmp.Diff(wantSeries, d.Series); diff != "" {
		t.Errorf("series (-want +got):\n%s", diff)
	}
	wantErrors := []stats.Error{{ErrorKey: stats.ErrorKey{Type: "GET", Name: "/a", Text: "boom"}, Occurrences: 2, First: time.Unix(4, 0)}}
	if diff := cmp.Diff(wantErrors, d.Errors); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
}

// A peer may claim anything; counts stay consistent with each other.
func TestImpossibleRowsStayConsistent(t *testing.T) {
	for _, row := range []Row{
		{Requests: 5, Times: []Count{{10, 1 << 62}, {20, 1 << 62}}},
		{Requests: 5, Times: []Count{{-10, 1}}, MinTime: -5, MaxTime: -7, SumTime: -1},
		{Requests: 5, MinTime: 3, MaxTime: 1e300, SumTime: 1e300},
		{Requests: 1, Start: -1, LastRequest: 1e300},
	} {
		e := row.Entry()
		if e.Hist.Count() != row.Timed() || e.Hist.Min() < 0 || e.Hist.Max() < e.Hist.Min() || e.Hist.Sum() < 0 {
			t.Errorf("%+v: count %d, sum %v, %v to %v", row, e.Hist.Count(), e.Hist.Sum(), e.Hist.Min(), e.Hist.Max())
		}
		encoded, err := e.Hist.MarshalBinary()
		if err == nil {
			err = new(stats.Histogram).UnmarshalBinary(encoded)
		}
		if err != nil {
			t.Errorf("%+v: %v", row, err)
		}
	}
}

func TestTolerance(t *testing.T) {
	stat := func(data map[any]any) []byte {
		b := appendText(appendArray(nil, 3), TypeStats)
		b, err := appendValue(b, data, 0)
		if err != nil {
			t.Fatal(err)
		}
		return appendText(b, "w")
	}
	for _, test := range []struct {
		name string
		data map[any]any
		want *Stats
	}{
		{"nothing", map[any]any{}, &Stats{}},
		{"nil everywhere", map[any]any{"stats": nil, "stats_total": nil, "errors": nil, "user_classes_count": nil, "user_count": nil},
			&Stats{Rows: nil, Errors: []RowError{}, UsersByClass: map[string]int{}}},
		{"unknown keys, also such that are no text", map[any]any{"more": []any{map[string]any{"x": 1}}, int64(7): "x", nil: nil, true: 1.5}, &Stats{}},
		{"what boomer writes", map[any]any{
			"stats": []any{map[string]any{
				"name": []byte("/a"), "method": "GET", "num_requests": 2.0, "total_response_time": 7, "min_response_time": 3, "max_response_time": 4,
				"response_times": map[any]any{int64(3): int64(1), int64(4): 1.0}, "last_request_timestamp": int64(1700000000),
			}},
			"stats_total": map[string]any{"name": "Total", "method": "", "min_response_time": 0, "last_request_timestamp": 1700000000},
		}, &Stats{
			Rows: []Row{{Name: "/a", Method: "GET", Requests: 2, SumTime: 7, MinTime: 3, MaxTime: 4, Times: []Count{{3, 1}, {4, 1}}, LastRequest: 1700000000}},
			// No request: neither a minimum of 0 nor a last one just now.
			Total: Row{Name: "Aggregated"},
		}},
		{"a method of nil and negative counts", map[any]any{
			"stats_total": map[string]any{"name": "Aggregated", "method": nil, "num_requests": -4, "num_none_requests": 3},
			"user_count":  -1,
		}, &Stats{Total: Row{Name: "Aggregated"}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := Decode(stat(test.data))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, m.Data); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestBadMessages(t *testing.T) {
	packed := func(values ...any) []byte {
		b := appendArray(nil, len(values))
		for _, v := range values {
			var err error
			if b, err = appendValue(b, v, 0); err != nil {
				t.Fatal(err)
			}
		}
		return b
	}
	deep := any(nil)
	for range maxDepth {
		deep = []any{deep}
	}
	nested := packed("x", deep, "w")
	nested = append(nested[:4:4], append([]byte{0x91, 0x91}, nested[4:]...)...)
	for name, data := range map[string][]byte{
		"nothing":                      {},
		"text":                         []byte("hello"),
		"no array":                     packed("stop")[1:],
		"two elements":                 packed("stop", nil),
		"trailing bytes":               append(packed("stop", nil, "w"), 0),
		"cut off":                      packed("spawn", map[string]any{"host": "x"}, "w")[:12],
		"a reserved code":              {0x93, 0xa1, 'x', 0xc1, 0xa1, 'w'},
		"a type that is a number":      packed(7, nil, "w"),
		"a type that is a list":        packed([]any{}, nil, "w"),
		"a node id that is a map":      packed("stop", nil, map[string]any{}),
		"a version of 7":               packed("client_ready", 7, "w"),
		"a version that is a list":     packed("client_ready", []any{}, "w"),
		"a heartbeat that is text":     packed("heartbeat", "alive", "w"),
		"a state that is a number":     packed("heartbeat", map[string]any{"state": 5}, "w"),
		"use that is text":             packed("heartbeat", map[string]any{"current_cpu_usage": "high"}, "w"),
		"use that is no number":        packed("heartbeat", map[string]any{"current_cpu_usage": math.NaN()}, "w"),
		"stats that are a list":        packed("stats", []any{}, "w"),
		"rows that are a map":          packed("stats", map[string]any{"stats": map[string]any{}}, "w"),
		"classes that are a list":      packed("spawn", map[string]any{"user_classes_count": []any{"A"}}, "w"),
		"a report that is no report":   packed("stats", map[string]any{reportKey: []byte{0xc1}}, "w"),
		"a report that is text":        packed("stats", map[string]any{reportKey: 5}, "w"),
		"a histogram that is none":     packed("stats", map[string]any{reportKey: []byte("\x81\xa9generator\x96\x00\x00\x00\xa1x\x00\x00")}, "w"),
		"an extension":                 {0x93, 0xa1, 'x', 0xd4, 1, 2, 0xa1, 'w'},
		"a list as a key":              {0x93, 0xa1, 'x', 0x81, 0x90, 0xc0, 0xa1, 'w'},
		"an array that cannot be":      {0x93, 0xa1, 'x', 0xdd, 0xff, 0xff, 0xff, 0xff},
		"a map that cannot be":         {0x93, 0xa1, 'x', 0xdf, 0xff, 0xff, 0xff, 0xff},
		"text that cannot be":          {0x93, 0xdb, 0xff, 0xff, 0xff, 0xff},
		"lists in lists in lists in …": nested,
	} {
		t.Run(name, func(t *testing.T) {
			if m, err := Decode(data); !errors.Is(err, ErrBadMessage) {
				t.Errorf("Decode(% x) = %+v, %v", data, m, err)
			}
		})
	}
}

func TestMessagesOfTinyValuesAreBounded(t *testing.T) {
	n := maxValues/valueCost + 1
	data := appendArray(appendText(appendArray(nil, 3), "x"), n)
	data = append(data, make([]byte, n)...)
	data = appendText(data, "w")
	if _, err := Decode(data); !errors.Is(err, errTooMany) {
		t.Errorf("a list of %d numbers: %v", n, err)
	}
}

func TestValuesThatNoPeerCouldReadAreRefused(t *testing.T) {
	deep := any(nil)
	for range maxDepth + 2 {
		deep = map[string]any{"x": deep}
	}
	for _, v := range []any{struct{}{}, []any{int8(1)}, map[any]any{[1]int{}: 1}, deep} {
		m := Message{Type: "x", Data: v}
		if b, err := m.AppendBinary(nil); err == nil {
			t.Errorf("%T became % x", v, b)
		}
	}
}
