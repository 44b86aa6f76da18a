package cli

import (
	"context"
	"errors"
	"math"
	"sort"
	"time"
)

// enoughRequests is how many requests a baseline needs for its p50 to be worth comparing with.
const enoughRequests = 100

// errBaselineZero ends a search whose measure of comparison is missing.
var errBaselineZero = errors.New("baseline p50 is zero: one user got no answer to compare with")

// tunePoint is what one step measured.
type tunePoint struct {
	Users      int     `json:"users"`
	Seconds    float64 `json:"duration_seconds"`
	Requests   int64   `json:"requests"`
	RPS        float64 `json:"rps"`
	P50        float64 `json:"p50_ms"`
	P95        float64 `json:"p95_ms"`
	P99        float64 `json:"p99_ms"`
	Efficiency float64 `json:"efficiency"`
}

// tuneMeasure runs users for d and reports what was seen; Efficiency is left to the search.
type tuneMeasure func(ctx context.Context, users int, d time.Duration) (tunePoint, error)

// tuneSearch finds the largest number of users of one process whose response time is still mostly
// work and not queueing.
//
// By Little's law N users without think time get a throughput of N/W, so W(1)/W(N) is the share of
// the response time that is not spent waiting for the process itself: the efficiency.
type tuneSearch struct {
	MaxUsers  int
	Threshold float64       // the least efficiency that is accepted, in (0, 1]
	Baseline  time.Duration // of the step with one user
	Step      time.Duration // of every other step
	Limit     time.Duration // the longest a step may last; a baseline is not extended past it less 30 s
	Measure   tuneMeasure
	Observe   func(tunePoint)     // called after each step; may be nil
	Note      func(format string) // called with remarks on the baseline; may be nil
}

// tuneOutcome is what a search found: every step in the order run, and the optimum.
type tuneOutcome struct {
	Points  []tunePoint
	Optimal int
}

// run searches. When it fails the outcome holds the steps measured so far.
func (s tuneSearch) run(ctx context.Context) (tuneOutcome, error) {
	var out tuneOutcome
	base, duration, err := s.baseline(ctx)
	if err != nil {
		return out, err
	}
	base.Efficiency = 1
	s.record(&out, base)
	if base.P50 <= 0 {
		return out, errBaselineZero
	}
	step := s.Step
	if duration > s.Baseline { // a sparse scenario needs the longer steps as well
		step = max(step, duration)
	}
	efficiency := func(users int) (float64, error) {
		p, err := s.Measure(ctx, users, step)
		if err != nil {
			return 0, err
		}
		if p.P50 > 0 {
			p.Efficiency = base.P50 / p.P50
		}
		s.record(&out, p)
		return p.Efficiency, nil
	}
	out.Optimal, err = bisect(s.MaxUsers, s.Threshold, efficiency)
	return out, err
}

func (s tuneSearch) record(out *tuneOutcome, p tunePoint) {
	out.Points = append(out.Points, p)
	if s.Observe != nil {
		s.Observe(p)
	}
}

// baseline measures one user, longer and longer until there are enough requests or no more time.
func (s tuneSearch) baseline(ctx context.Context) (tunePoint, time.Duration, error) {
	d := s.Baseline
	for {
		p, err := s.Measure(ctx, 1, d)
		if err != nil || p.Requests >= enoughRequests {
			return p, d, err
		}
		longer := extendBaseline(d, p.Requests, s.Limit)
		if longer <= d {
			s.note("the baseline has fewer than 100 requests and cannot be extended")
			return p, d, nil
		}
		s.note("the baseline has fewer than 100 requests: repeating it for " + longer.String())
		d = longer
	}
}

// medianOf measures a step some times and returns the measurement whose p50 is the (lower) median.
func medianOf(times int, measure func() (tunePoint, error)) (tunePoint, error) {
	points := make([]tunePoint, times)
	for i := range points {
		var err error
		if points[i], err = measure(); err != nil {
			return tunePoint{}, err
		}
	}
	sort.SliceStable(points, func(i, j int) bool { return points[i].P50 < points[j].P50 })
	return points[(times-1)/2], nil
}

func (s tuneSearch) note(text string) {
	if s.Note != nil {
		s.Note(text)
	}
}

// extendBaseline is the next duration to try when d gave too few requests; not more than d when
// there is no room for it.
func extendBaseline(d time.Duration, requests int64, limit time.Duration) time.Duration {
	factor := int64(2)
	if requests > 0 {
		factor = (enoughRequests + requests - 1) / requests
	}
	return min(d*time.Duration(factor), limit-30*time.Second)
}

// bisect returns the largest number of users in [1, maxUsers] found with an efficiency of at least
// threshold, choosing each probe where a straight line between its neighbours crosses the
// threshold. Efficiency is taken to fall with the number of users.
func bisect(maxUsers int, threshold float64, efficiency func(users int) (float64, error)) (int, error) {
	low, eLow, high := 1, 1.0, maxUsers
	eHigh, err := efficiency(high)
	if err != nil {
		return low, err
	}
	if eHigh >= threshold {
		return high, nil
	}
	for high-low > 1 {
		mid := (low + high) / 2
		if eLow != eHigh {
			t := (eLow - threshold) / (eLow - eHigh)
			mid = low + int(math.RoundToEven(t*float64(high-low)))
		}
		mid = min(max(mid, low+1), high-1)
		e, err := efficiency(mid)
		if err != nil {
			return low, err
		}
		if e >= threshold {
			low, eLow = mid, e
		} else {
			high, eHigh = mid, e
		}
	}
	return low, nil
}

// workersFor is how many processes carry total users at optimal users each.
func workersFor(total, optimal int) int { return (total + optimal - 1) / optimal }
