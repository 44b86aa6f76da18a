package report

import (
	"bytes"
	"errors"
	"math"
	"math/rand/v2"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// wobbly is a result of 60 s with a mean rate and p95, each second off by some normal noise whose
// neighbours are correlated by the given share.
func wobbly(seed uint64, rps, p95, noise, correlation float64) *Result {
	rnd := rand.New(rand.NewPCG(seed, 1))
	r := &Result{Verdict: Verdict{State: Valid}}
	state := 0.0
	sum, n := 0.0, 61
	for i := range n {
		state = correlation*state + math.Sqrt(1-correlation*correlation)*rnd.NormFloat64()
		x := rps * (1 + noise*state)
		if i < n-1 {
			sum += x / float64(n-1)
		}
		p := p95 * (1 + noise*state)
		r.Series = append(r.Series, Second{TSeconds: float64(i), Users: 10, RPS: x, P50MS: &p, P95MS: &p, P99MS: &p})
	}
	r.Totals = Figures{RPS: &sum, FailureRatio: new(0.0), P50MS: new(p95 * sum / rps), P95MS: new(p95 * sum / rps)}
	return r
}

func change(c *Comparison, figure string) FigureChange {
	for _, f := range c.Figures {
		if f.Figure == figure {
			return f
		}
	}
	return FigureChange{}
}

func TestRunsOfOneKindSeldomDiffer(t *testing.T) {
	for _, correlation := range []float64{0, 0.6} {
		wrong := 0
		for seed := range uint64(400) {
			a, b := wobbly(seed, 1000, 20, 0.1, correlation), wobbly(seed+10000, 1000, 20, 0.1, correlation)
			if *change(Compare(a, b), "rps").Changed {
				wrong++
			}
		}
		// 1 % is wanted; the estimate of the correlation has an error of its own.
		if wrong > 20 {
			t.Errorf("correlation %v: %d of 400 equal pairs are called changed", correlation, wrong)
		}
	}
}

func TestRealChangesAreFound(t *testing.T) {
	missed := 0
	for seed := range uint64(200) {
		a, b := wobbly(seed, 1000, 20, 0.1, 0.3), wobbly(seed+10000, 850, 20, 0.1, 0.3)
		if f := change(Compare(a, b), "rps"); !*f.Changed || *f.Better {
			missed++
		}
	}
	if missed > 4 {
		t.Errorf("%d of 200 changes of 15 %% were missed", missed)
	}
}

func TestTheSameResultHasNotChanged(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := wobbly(rapid.Uint64().Draw(t, "seed"), rapid.Float64Range(1, 1e6).Draw(t, "rps"),
			rapid.Float64Range(0.01, 1e4).Draw(t, "p95"), rapid.Float64Range(0, 0.5).Draw(t, "noise"), 0.5)
		for _, f := range Compare(r, r).Figures {
			if f.Changed != nil && *f.Changed {
				t.Fatalf("%s changed against itself: %+v", f.Figure, f)
			}
		}
	})
}

// The autocorrelation of a short series says little; that of a ramp would leave two seconds of ten, and
// a bound that no change exceeds.
func TestAShortTrendIsWorthFourSeconds(t *testing.T) {
	n, ok := noiseOf([]float64{1, 2, 3, 4, 5, 6, 7, 8, 9, 10})
	if !ok || n.effective < 4 || n.effective > 5 {
		t.Errorf("worth %v seconds, %v; want about 4", n.effective, ok)
	}
}

func TestShortSeriesCannotTell(t *testing.T) {
	a := wobbly(1, 1000, 20, 0.1, 0)
	a.Series = a.Series[:fewestSeconds] // the last one is left out
	if f := change(Compare(a, a), "rps"); f.Changed != nil || f.ChangeRatio == nil {
		t.Errorf("change %+v, want unknown", f)
	}
}

func TestSteadySecondsLeaveOutRampAndWarmup(t *testing.T) {
	r := &Result{Run: Run{WarmupSeconds: 2}}
	for i, users := range []int{10, 10, 10, 9, 10, 10} {
		r.Series = append(r.Series, Second{TSeconds: float64(i), Users: users, RPS: float64(i)})
	}
	got := steady(r, rpsOf)
	if len(got) != 2 || got[0] != 2 || got[1] != 4 {
		t.Errorf("steady seconds %v, want 2 and 4", got)
	}
}

func TestRegressionGate(t *testing.T) {
	for _, c := range []struct {
		name, expression string
		change           func(b *Result)
		passed           bool
	}{
		{"equal results pass", "p95_ms=0%", func(*Result) {}, true},
		{"worse than accepted", "p95_ms=10%", func(b *Result) { *b.Totals.P95MS *= 1.5 }, false},
		{"worse within what is accepted", "p95_ms=60%", func(b *Result) { *b.Totals.P95MS *= 1.5 }, true},
		{"better is never a regression", "p95_ms=0%", func(b *Result) { *b.Totals.P95MS *= 0.5 }, true},
		{"a lower rate is worse", "rps=10%", func(b *Result) { *b.Totals.RPS *= 0.5 }, false},
		{"a higher rate is better", "totals.rps=10%", func(b *Result) { *b.Totals.RPS *= 2 }, true},
		{"within the noise", "rps=1%", func(b *Result) { *b.Totals.RPS *= 0.985 }, true},
		{"from zero any worsening is too much", "failure_ratio=10%", func(b *Result) { b.Totals.FailureRatio = new(0.1) }, false},
		{"not known", "cost.estimate_usd=10%", func(*Result) {}, false},
		{"no noise known", "p99_9_ms=10%", func(b *Result) { b.Totals.P999MS = new(50.0) }, false},
		{"invalid", "p95_ms=10%", func(b *Result) { b.Verdict.State = Invalid }, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := wobbly(1, 1000, 20, 0.1, 0), wobbly(1, 1000, 20, 0.1, 0)
			a.Totals.P999MS, b.Totals.P999MS = new(20.0), new(20.0)
			c.change(b)
			gate, err := ParseRegression(c.expression)
			if err != nil {
				t.Fatal(err)
			}
			comparison := Compare(a, b)
			comparison.Gate([]Regression{gate})
			if got := comparison.Regressions[0]; got.Passed != c.passed {
				t.Errorf("outcome %+v, want passed %v", got, c.passed)
			}
			if got := comparison.ExitCode() == ExitDone; got != c.passed {
				t.Errorf("exit code %d", comparison.ExitCode())
			}
			if err := comparison.WriteJSON(new(bytes.Buffer)); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestBadRegressionsSayWhere(t *testing.T) {
	for expression, column := range map[string]int{
		"": 1, "=10%": 1, "p95=10%": 1, "p95_ms": 7, "p95_ms=10": 10, "p95_ms=x%": 8, "p95_ms=-1%": 8, "p95_ms=%": 8,
	} {
		_, err := ParseRegression(expression)
		if e, ok := errors.AsType[*ThresholdError](err); !ok || e.Column != column {
			t.Errorf("%q: error %v, want column %d", expression, err, column)
		}
	}
}

func TestComparisonText(t *testing.T) {
	a, b := wobbly(1, 1000, 20, 0, 0), wobbly(1, 900, 20, 0, 0)
	a.Run.ID, b.Run.ID, a.Run.Users, b.Run.Users = "one", "two", new(10), new(20)
	a.Totals.MaxMS, b.Totals.MaxMS = new(30.0), new(31.0)
	text := new(bytes.Buffer)
	if err := Compare(a, b).WriteText(text); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A one (valid)", "Not the same: users: 10, 20", "rps                  1000.0        900.0    -10.0%     ±0.0%  worse", "cannot tell", "within noise"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("text lacks %q:\n%s", want, text)
		}
	}
}
