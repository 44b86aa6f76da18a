package cli

import (
	"fmt"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// announceCost says on stderr what a run costs at the most, and what stops it. A run whose machines
// alone cost more than that is refused.
func (a *app) announceCost(plan cost.Plan, bound budget) error {
	prices := cost.Published()
	e := prices.Estimate(plan)
	fmt.Fprintf(a.stderr, "Cost:       at most about $%.2f (%s)\n", e.Total(), estimateText(e, prices))
	switch {
	case bound.usd > 0 && e.Compute() > bound.usd:
		return usage(withHint(fmt.Errorf("the machines of the run cost $%.4f, more than --max-cost %v", e.Compute(), bound.usd), "give a larger --max-cost if it is meant"))
	case bound.usd > 0 && e.Total() > bound.usd:
		fmt.Fprintf(a.stderr, "            the run is stopped when it has cost $%v (--max-cost)\n", bound.usd)
	}
	return nil
}

func estimateText(e cost.Estimate, prices cost.Prices) string {
	text := fmt.Sprintf("table $%.2f for %s acquires at full speed", e.Table, formatCount(int64(e.Acquires)))
	if e.Task > 0 {
		text += fmt.Sprintf(", task $%.4f", e.Task)
	}
	if e.Functions > 0 {
		text += fmt.Sprintf(", functions $%.4f", e.Functions)
	}
	return fmt.Sprintf("%s; prices of %s, %s", text, prices.Date, prices.Region)
}

// machines are what a run used beside the table.
type machines struct {
	task     *cost.Task // nil = none
	taskFor  time.Duration
	function cost.Function
	workers  int
	// workersFor is how long each worker was there.
	workersFor time.Duration
}

// compute is what they cost, in USD.
func (m *machines) compute(prices cost.Prices) float64 {
	usd := 0.0
	if m.task != nil && m.taskFor > 0 {
		usd += max(m.taskFor, time.Minute).Hours() * prices.TaskHour(*m.task) // a minute is the least that is charged
	}
	if m.workersFor > 0 {
		usd += float64(m.workers) * (m.workersFor.Hours()*prices.WorkerHour(m.function) + prices.LambdaRequest)
	}
	return usd
}

// charge adds to a result what its machines cost, and says on stderr what all of it did.
func (a *app) charge(r *report.Result, used machines) {
	prices := cost.Published()
	compute := used.compute(prices)
	r.AddCompute(compute, priceList(prices))
	table := "unknown"
	if r.Cost.TableUSD != nil {
		table = fmt.Sprintf("$%.4f", *r.Cost.TableUSD)
	}
	fmt.Fprintf(a.stderr, "Cost:       about $%.4f (table %s, machines $%.4f)\n", orZero(r.Cost.EstimateUSD), table, compute)
}

// priceList is what a result document needs of the prices.
func priceList(p cost.Prices) *report.PriceList {
	return &report.PriceList{Date: p.Date, Region: p.Region, PerMillionReadUnits: p.PerMillionReadUnits, PerMillionWriteUnit: p.PerMillionWriteUnits}
}
