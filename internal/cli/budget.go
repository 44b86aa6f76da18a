package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// What a run on AWS may use up unless it is told otherwise.
const (
	defaultMaxCost     = 10.0 // USD
	defaultMaxDuration = 2 * time.Hour
)

// What machines cost that no option describes: those that are deployed by default, in USD an hour.
const (
	defaultTaskHour   = 0.0494 // 1 vCPU, 2 GB, x86, on demand
	defaultWorkerHour = 0.1037 // 1769 MB, x86
)

// budgetPoll is the time between looks at what a run has used up.
const budgetPoll = time.Second

// budgetFlags bound what a run may use up. Without a deployment there is no bound unless one is given.
type budgetFlags struct {
	maxCost     float64
	maxDuration runTimeFlag
	// taskHour and workerHour are what the machines of the run cost, USD an hour.
	taskHour, workerHour float64
}

func (b *budgetFlags) register(flags *pflag.FlagSet) {
	flags.Float64Var(&b.maxCost, "max-cost", 0, fmt.Sprintf("stop a run that has cost so many `USD` (default on AWS: %v)", defaultMaxCost))
	flags.Var(&b.maxDuration, "max-duration", fmt.Sprintf("stop a run that has lasted so long: seconds, or 1h30m (default on AWS: %s)", "2h"))
	flags.Float64Var(&b.taskHour, "task-hour-cost", defaultTaskHour, "what the task costs, in `USD` an hour")
	flags.Float64Var(&b.workerHour, "worker-hour-cost", defaultWorkerHour, "what a Lambda worker costs, in `USD` an hour")
	_ = flags.MarkHidden("task-hour-cost")
	_ = flags.MarkHidden("worker-hour-cost")
}

func (b *budgetFlags) validate() error {
	var errs []error
	for _, bound := range []struct {
		name  string
		value float64
	}{{"max-cost", b.maxCost}, {"task-hour-cost", b.taskHour}, {"worker-hour-cost", b.workerHour}} {
		if !(bound.value >= 0) {
			errs = append(errs, fmt.Errorf("--%s must not be negative, got %v", bound.name, bound.value))
		}
	}
	return errors.Join(errs...)
}

// onAWS sets the bounds that hold there when none are given; changed tells which are.
func (b *budgetFlags) onAWS(changed func(option string) bool) {
	if !changed("max-cost") {
		b.maxCost = defaultMaxCost
	}
	if !changed("max-duration") {
		b.maxDuration = runTimeFlag(defaultMaxDuration)
	}
}

// budget is what a run may use up; the zero value is no bound.
type budget struct {
	usd                  float64 // 0 = no bound
	duration             time.Duration
	taskHour, workerHour float64
}

// budget is the bound of a run in this process; machines cost only where a deployment runs them.
func (b *budgetFlags) budget(deployed bool) budget {
	bound := budget{usd: b.maxCost, duration: b.maxDuration.duration()}
	if deployed {
		bound.taskHour, bound.workerHour = b.taskHour, b.workerHour
	}
	return bound
}

// bounded says whether there is any bound.
func (b budget) bounded() bool { return b.usd > 0 || b.duration > 0 }

// exceeded says why a run has to stop now, "" while it may go on. consumed is what the table charged
// so far.
func (b budget) exceeded(elapsed time.Duration, workers int, consumed *report.Consumed) string {
	if b.duration > 0 && elapsed >= b.duration {
		return fmt.Sprintf("the run has lasted %s, the most that --max-duration allows", b.duration)
	}
	if b.usd == 0 {
		return ""
	}
	usd := elapsed.Hours()*(b.taskHour+float64(workers)*b.workerHour) + tableCost(consumed)
	if usd < b.usd {
		return ""
	}
	return fmt.Sprintf("the run has cost $%.2f, the most that --max-cost allows", usd)
}

// tableCost is what the units cost that are known.
func tableCost(c *report.Consumed) float64 {
	return cost.Published().Table(cost.Units{Read: orZero(c.ReadUnits), Write: orZero(c.WriteUnits) + orZero(c.IndexWriteUnits)})
}

// keepBudget stops each run of a cluster that exceeds its bound, until the context ends.
func (c *cluster) keepBudget(ctx context.Context) {
	if !c.plan.budget.bounded() {
		return
	}
	ticker := time.NewTicker(budgetPoll)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		outcome, ok := c.master.Outcome()
		if !ok || !outcome.Ended.IsZero() || outcome.Snapshot == nil {
			continue
		}
		meta := report.Meta{}
		fillReadings(&meta, c.read())
		workers := outcome.Workers
		if c.alone {
			workers = 0 // it is the task
		}
		reason := c.plan.budget.exceeded(outcome.Snapshot.Elapsed(), workers, &meta.Consumed)
		if reason == "" {
			continue
		}
		c.mu.Lock()
		c.overspent = overspent{runID: outcome.Run.ID, reason: reason}
		c.mu.Unlock()
		c.app.warn("stopping: %s", reason)
		_ = c.master.StopFor(ctx, reason) // ends with ctx at the latest
	}
}

// overspent is why a run was stopped by its bound.
type overspent struct{ runID, reason string }
