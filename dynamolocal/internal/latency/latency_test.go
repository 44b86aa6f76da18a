package latency

import (
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"
)

func generator() *rand.Rand { return rand.New(rand.NewPCG(7, 11)) }

// The figures of the service, by operation: mean, p50 and p99 are read off
// 10^5 draws. p99.9 lies where body and tail meet and hardly anything falls,
// so that it moves by 10 % with a handful of samples: what is held there is
// how much lies above the figure.
func TestAWSReproducesTheMeasuredFigures(t *testing.T) {
	tests := []struct {
		operation            string
		mean, p50, p99, p999 float64
		ceiling              float64
	}{
		{"GetItem", 1.20, 1.12, 2.6, 3.5, 40},
		{"Query", 2.2, 2.0, 5.1, 8.7, 60},
		{"Scan", 2.2, 2.0, 5.1, 8.7, 60},
		{"BatchGetItem", 2.4, 2.2, 5.7, 9.4, 60},
		{"PutItem", 3.50, 3.3, 7.4, 14, 100},
		{"UpdateItem", 3.50, 3.3, 7.4, 14, 100},
		{"DeleteItem", 3.50, 3.3, 7.4, 14, 100},
		{"TransactGetItems", 4.3, 4.0, 9.1, 14, 100},
		{"TransactWriteItems", 15.7, 14.7, 34, 52, 150},
	}
	for _, tt := range tests {
		t.Run(tt.operation, func(t *testing.T) {
			r, p := generator(), AWS()
			ms, sum := draws(p, tt.operation, 0, 100_000, r)
			within(t, "mean", sum/100_000, tt.mean)
			within(t, "p50", ms[50_000], tt.p50)
			within(t, "p99", ms[99_000], tt.p99)
			if top := ms[len(ms)-1]; top > tt.ceiling {
				t.Errorf("max = %v, above the cap %v", top, tt.ceiling)
			}
			ms, _ = draws(p, tt.operation, 0, 1_000_000, r)
			above := len(ms) - sort.SearchFloat64s(ms, tt.p999)
			if above < 850 || above > 1150 {
				t.Errorf("%d of a million draws are above %v ms, want 1,000 ± 15 %%", above, tt.p999)
			}
		})
	}
}

func draws(p *Profile, operation string, items, n int, r *rand.Rand) (sorted []float64, sum float64) {
	sorted = make([]float64, n)
	for i := range sorted {
		sorted[i] = milliseconds(p.Draw(operation, items, r))
		sum += sorted[i]
	}
	slices.Sort(sorted)
	return sorted, sum
}

func within(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got-want) > 0.05*want {
		t.Errorf("%s = %.3f ms, want %.3f within 5 %%", what, got, want)
	}
}

func TestBatchWriteItemAddsATimePerItem(t *testing.T) {
	p := AWS()
	one, many := p.Draw("BatchWriteItem", 0, generator()), p.Draw("BatchWriteItem", 25, generator())
	if got, want := many-one, 5*time.Millisecond; got.Round(time.Microsecond) != want {
		t.Errorf("25 items add %v, want %v", got, want)
	}
}

func TestEqualSeedsDrawEqualDelays(t *testing.T) {
	p, a, b := AWS(), generator(), generator()
	for range 1000 {
		if x, y := p.Draw("UpdateItem", 1, a), p.Draw("UpdateItem", 1, b); x != y {
			t.Fatalf("draws differ: %v and %v", x, y)
		}
	}
}

func TestParse(t *testing.T) {
	path := filepath.Join(t.TempDir(), "profile.json")
	document := `{"base": "aws", "operations": {"GetItem": {"constant_ms": 7, "per_item_ms": 1}}}`
	if err := os.WriteFile(path, []byte(document), 0o600); err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		profile, operation string
		want               time.Duration
	}{
		{"", "GetItem", 0},
		{"none", "UpdateItem", 0},
		{"constant=5ms", "UpdateItem", 5 * time.Millisecond},
		{"constant=5ms", "DescribeTable", 5 * time.Millisecond},
		{"aws", "DescribeTable", 0},
		{path, "GetItem", 9 * time.Millisecond},
		{path, "ListTables", 0},
	}
	for _, tt := range tests {
		p, err := Parse(tt.profile)
		if err != nil {
			t.Errorf("Parse(%q): %v", tt.profile, err)
			continue
		}
		if got := p.Draw(tt.operation, 2, generator()); got != tt.want {
			t.Errorf("Parse(%q).Draw(%s) = %v, want %v", tt.profile, tt.operation, got, tt.want)
		}
	}
	if p, _ := Parse(path); p.Draw("UpdateItem", 1, generator()) == 0 {
		t.Error("an operation that the file leaves out did not come from its base")
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ profile, problem string }{
		{"fast", `"fast" is neither none, aws, constant=DURATION nor a file`},
		{"constant=5", "missing unit"},
		{"constant=-5ms", "negative"},
	}
	for _, tt := range tests {
		if _, err := Parse(tt.profile); err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("Parse(%q) = %v, want an error with %q", tt.profile, err, tt.problem)
		}
	}
}

func TestParseJSONRefuses(t *testing.T) {
	tests := []struct{ document, problem string }{
		{`{"operations": {"GetItem": {"mean_ms": 1}}}`, `unknown field "mean_ms"`},
		{`{"operations": {"GetThing": {"constant_ms": 1}}}`, `unknown operation "GetThing"`},
		{`{"operations": {"GetItem": {}}}`, `operation "GetItem": neither constant_ms nor median_ms`},
		{`{"operations": {"GetItem": {"constant_ms": 1, "sigma": 1}}}`, "constant_ms excludes"},
		{`{"operations": {"GetItem": {"median_ms": 1, "tail_probability": 2, "tail_median_ms": 1}}}`, "greater than 1"},
		{`{"operations": {"GetItem": {"median_ms": 1, "tail_probability": 0.1}}}`, "without tail_median_ms"},
		{`{"operations": {"GetItem": {"median_ms": 1, "floor_ms": 5, "cap_ms": 2}}}`, "less than floor_ms"},
		{`{"operations": {"*": {"median_ms": -1}}}`, `operation "*": a member is negative`},
		{`{"base": "azure"}`, `base "azure"`},
		{`{} {}`, "more than one JSON value"},
		{`[`, "unexpected"},
	}
	for _, tt := range tests {
		if _, err := ParseJSON([]byte(tt.document)); err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("ParseJSON(%s) = %v, want an error with %q", tt.document, err, tt.problem)
		}
	}
}

func TestOperationsThatAFileDoesNotName(t *testing.T) {
	p, err := ParseJSON([]byte(`{"base": "aws", "operations": {"*": {"constant_ms": 2}, "Scan": {"constant_ms": 3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	if got := p.Draw("GetItem", 1, generator()); got != 2*time.Millisecond {
		t.Errorf("GetItem took %v, want the 2 ms of *", got)
	}
	if got := p.Draw("Scan", 1, generator()); got != 3*time.Millisecond {
		t.Errorf("Scan took %v, want its own 3 ms", got)
	}
}

func TestNetwork(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "none": 0, "1.2ms": 1200 * time.Microsecond, "lognormal=2ms,0": 2 * time.Millisecond} {
		n, err := ParseNetwork(text)
		if err != nil {
			t.Errorf("ParseNetwork(%q): %v", text, err)
		}
		if got := n.Draw(generator()); got != want {
			t.Errorf("ParseNetwork(%q) draws %v, want %v", text, got, want)
		}
	}
	n, err := ParseNetwork("lognormal=1.2ms,0.3")
	if err != nil {
		t.Fatal(err)
	}
	r, sum := generator(), 0.0
	for range 100_000 {
		sum += milliseconds(n.Draw(r))
	}
	within(t, "mean", sum/100_000, 1.2*math.Exp(0.3*0.3/2))
	for _, text := range []string{"fast", "-1ms", "lognormal=1ms", "lognormal=1ms,x", "lognormal=x,1", "lognormal=1ms,-1", "lognormal=1ms,0.3x"} {
		if _, err := ParseNetwork(text); err == nil {
			t.Errorf("ParseNetwork(%q) succeeded", text)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"base": "aws", "operations": {"GetItem": {"constant_ms": 7}}}`))
	f.Add([]byte(`{"operations": {"*": {"median_ms": 1, "sigma": 2, "tail_probability": 0.5, "tail_median_ms": 4}}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := ParseJSON(data)
		if err != nil {
			return
		}
		if d := p.Draw("GetItem", 1, generator()); d < 0 {
			t.Errorf("negative delay %v", d)
		}
	})
}

func BenchmarkDraw(b *testing.B) {
	p, r := AWS(), generator()
	b.ReportAllocs()
	for b.Loop() {
		p.Draw("UpdateItem", 1, r)
	}
}

func TestRandom(t *testing.T) {
	file, err := ParseJSON([]byte(`{"operations": {"GetItem": {"constant_ms": 1}, "PutItem": {"median_ms": 1, "sigma": 0.3}}}`))
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		profile *Profile
		op      string
		want    bool
	}{
		{"none", None(), "GetItem", false},
		{"nil", nil, "GetItem", false},
		{"constant", Constant(time.Millisecond), "GetItem", false},
		{"aws", AWS(), "GetItem", true},
		{"a constant of a file", file, "GetItem", false},
		{"a distribution of a file", file, "PutItem", true},
	} {
		if got := test.profile.Random(test.op); got != test.want {
			t.Errorf("%s: Random(%s) = %v, want %v", test.name, test.op, got, test.want)
		}
	}
}
