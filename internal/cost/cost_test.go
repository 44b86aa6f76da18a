package cost_test

import (
	"math"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/cost"
)

// The examples of aws.md 7.
func TestComputedExamples(t *testing.T) {
	p := cost.Published()
	for _, test := range []struct {
		name      string
		got, want float64
	}{
		{"387 RPS for 60 s", p.Table(cost.Units{Read: 23220, Write: 2 * 23220}), 0.0319},
		{"11.13 million acquires", p.Table(cost.Units{Read: 0.5 * 11.13e6, Write: 2 * 11.13e6}), 14.61},
		{"a worker for an hour, x86", p.WorkerHour(cost.Function{MemoryMB: 1769}), 0.1037},
		{"a worker for an hour, arm64", p.WorkerHour(cost.Function{MemoryMB: 1769, ARM: true}), 0.0829},
		{"the master for an hour, x86", p.TaskHour(cost.Task{VCPU: 1, GB: 2}), 0.0494},
		{"the master for an hour, arm64", p.TaskHour(cost.Task{VCPU: 1, GB: 2, ARM: true}), 0.0395},
	} {
		if math.Abs(test.got-test.want) > 0.005*test.want {
			t.Errorf("%s: $%.4f, want $%.4f", test.name, test.got, test.want)
		}
	}
	if spot := p.TaskHour(cost.Task{VCPU: 1, GB: 2, Spot: true}); spot < 0.014 || spot > 0.018 {
		t.Errorf("the master for an hour on Spot: $%.4f, want about $0.015", spot)
	}
}

func TestEstimateOfARun(t *testing.T) {
	p := cost.Published()
	e := p.Estimate(cost.Plan{Duration: time.Hour, Users: 1000, Task: &cost.Task{VCPU: 1, GB: 2}, Workers: 100, Function: cost.Function{MemoryMB: 1769}, VCPUs: 100})
	if math.Abs(e.Functions-10.37) > 0.01 || math.Abs(e.Task-0.0494) > 0.0001 {
		t.Errorf("functions $%.4f, task $%.4f", e.Functions, e.Task)
	}
	if e.Acquires != 250_000*3600 { // the users are slower than the processors
		t.Errorf("%.0f acquires", e.Acquires)
	}
	if e := p.Estimate(cost.Plan{Duration: time.Second, Users: 1000, VCPUs: 1}); e.Acquires != 10_000 || e.Compute() != 0 {
		t.Errorf("%.0f acquires of one processor for $%.4f", e.Acquires, e.Compute())
	}
}
