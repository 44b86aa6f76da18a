package report

import (
	"errors"
	"strings"
	"testing"
)

func TestThresholds(t *testing.T) {
	for _, c := range []struct {
		expression string
		value      float64 // of sample10s
		passed     bool
	}{
		{"p95_ms<40", 10, true},
		{"p95_ms < 10", 10, false},
		{"p95_ms<=10", 10, true},
		{"totals.p95_ms==10", 10, true},
		{"  requests >= 1.1e2 ", 110, true},
		{"failures>10", 10, false},
		{"rate_limited==20", 20, true},
		{"consumed.write_units<101", 100, true},
		{"consumed.throttled==0", 0, true},
		{"generator.cpu_ratio<.6", 0.5, true},
		{"coverage.ratio>=1", 1, true},
		{"requests{type=ACQUIRE}==80", 80, true},
		{"requests{type=ACQUIRE,name=api}==80", 80, true},
		{"requests{ name = api , type = ACQUIRE } == 80", 80, true},
		{"requests{name=api}==100", 100, true},
		{"totals.max_ms{name=api}==10", 10, true},
		{"min_ms{name=api}==2", 2, true},
		{`requests{name="api,x"}==10`, 10, true},
		{`requests{name='api,x',type="COMMIT"}==10`, 10, true},
		{"failure_ratio{type=COMMIT}>-1", 0, true},
	} {
		t.Run(c.expression, func(t *testing.T) {
			threshold, err := ParseThreshold(c.expression)
			if err != nil {
				t.Fatal(err)
			}
			r := sampleResult(t)
			r.Evaluate([]Threshold{threshold})
			got := r.Thresholds[0]
			if got.Value == nil || *got.Value != c.value || got.Passed != c.passed || got.Expression != c.expression {
				t.Errorf("outcome %v %+v, want %v %v", show(got.Value), got, c.value, c.passed)
			}
		})
	}
}

func TestUnknownValuesFail(t *testing.T) {
	for _, expression := range []string{"cost.estimate_usd<100", "generator.pool_wait_p99_ms>=0", "p95_ms{name=nobody}<1000", "failures{name=nobody}==0"} {
		threshold, err := ParseThreshold(expression)
		if err != nil {
			t.Fatal(err)
		}
		r := sampleResult(t)
		r.Evaluate([]Threshold{threshold})
		if got := r.Thresholds[0]; got.Passed || got.Value != nil {
			t.Errorf("%s: %+v, want failed with no value", expression, got)
		}
	}
}

func TestInvalidVerdictFailsEveryThreshold(t *testing.T) {
	r := sampleResult(t)
	r.Verdict.State = Invalid
	r.Evaluate([]Threshold{MaxP95(40)})
	if got := r.Thresholds[0]; got.Passed || *got.Value != 10 {
		t.Errorf("outcome %+v", got)
	}
	if got := r.ExitCode(); got != ExitVerdict {
		t.Errorf("exit code %d, want %d", got, ExitVerdict)
	}
}

func TestShorthands(t *testing.T) {
	for want, threshold := range map[string]Threshold{
		"failure_ratio<=0.01": MaxFailRatio(0.01), "p95_ms<=40": MaxP95(40), "rps>=350.5": MinRPS(350.5),
	} {
		if threshold.Expression != want {
			t.Errorf("expression %q, want %q", threshold.Expression, want)
		}
		if _, err := ParseThreshold(threshold.Expression); err != nil {
			t.Error(err)
		}
	}
}

func TestBadThresholdsSayWhere(t *testing.T) {
	for _, c := range []struct {
		expression string
		column     int
		says       string
	}{
		{"", 1, "field"},
		{"  ", 3, "field"},
		{"p95<40", 1, "unknown field \"p95\""},
		{"cpu.ratio<1", 1, "unknown group \"cpu\""},
		{"aws.x<1", 1, "unknown group"},
		{"cost.price_list<1", 1, "unknown field"},
		{"p95_ms", 7, "operator"},
		{"p95_ms=40", 7, "operator"},
		{"p95_ms!=40", 7, "operator"},
		{"p95_ms<", 8, "number"},
		{"p95_ms<abc", 8, "number"},
		{"p95_ms<40ms", 10, `"ms" follows`},
		{"p95_ms<NaN", 8, "number"},
		{"p95_ms<1e999", 8, "not a number"},
		{"p95_ms<=>4", 9, "number"},
		{"p95_ms{}<4", 8, "type= or name="},
		{"p95_ms{kind=a}<4", 8, "type= or name="},
		{"p95_ms{type=a,type=b}<4", 15, "twice"},
		{"p95_ms{type}<4", 12, "= is expected"},
		{"p95_ms{type=}<4", 13, "value"},
		{"p95_ms{type=a<4", 16, "} is missing"},
		{`p95_ms{name="a<4`, 13, "not closed"},
		{`p95_ms{name="a"b}<4`, 16, "comma or }"},
		{"consumed.throttled{type=a}<4", 19, "totals"},
		{"p95_ms{name=é,x=1}<4", 15, "type= or name="},
	} {
		_, err := ParseThreshold(c.expression)
		e, ok := errors.AsType[*ThresholdError](err)
		if !ok || e.Column != c.column || !strings.Contains(e.Error(), c.says) {
			t.Errorf("%q: error %v, want column %d and %q", c.expression, err, c.column, c.says)
		}
	}
}

func FuzzParseThreshold(f *testing.F) {
	for _, seed := range []string{"p95_ms<40", "rps{type=A,name=\"b,}\\\"c\"}>=1e3", "coverage.ratio == .95", "p95_ms{name='", "x", "p95_ms{\xff=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, expression string) {
		threshold, err := ParseThreshold(expression)
		if err != nil {
			e, ok := errors.AsType[*ThresholdError](err)
			if !ok || e.Column < 1 || e.Column > len(expression)+1 {
				t.Fatalf("error %v", err)
			}
			return
		}
		r := &Result{}
		r.Evaluate([]Threshold{threshold})
	})
}

func TestExitCodePrecedence(t *testing.T) {
	order := []int{ExitCredentials, ExitUsage, ExitError, ExitInterrupted, ExitVerdict, ExitThreshold, ExitDone}
	for i := range order {
		if got := ExitCode(order[i:]...); got != order[i] {
			t.Errorf("ExitCode(%v) = %d", order[i:], got)
		}
	}
}

func show(x *float64) any {
	if x == nil {
		return nil
	}
	return *x
}
