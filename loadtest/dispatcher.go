package loadtest

import (
	"maps"
	"math"
	"slices"
	"time"
)

// Assignment is one user: where it runs and what it is.
type Assignment struct{ Worker, Class string }

// Step is one move of a ramp.
type Step struct {
	// Start and Stop are the users to start or stop, in this order.
	Start, Stop []Assignment
	// Users is what runs after the step, by worker and class.
	Users map[string]map[string]int
	// Wait is the time from the beginning of this step to that of the next one; 0 after the last.
	Wait time.Duration
}

// Dispatcher decides which class starts on which worker, and when: classes in Locust's order,
// workers in turn, users stopped in the reverse order of their start. The sequences of classes and
// workers go on over changes of the target. It holds no time itself: the caller waits between steps.
// It is not safe for concurrent use.
type Dispatcher struct {
	weights  map[string]float64
	fixed    map[string]int
	workers  []string
	sequence *classSequence
	only     []string
	nextTurn int
	stack    []Assignment
	// missing are fixed users to start before any other; refill asks to look for such.
	missing []string
	refill  bool

	target  int
	perStep int
	every   time.Duration
	pending []Step // steps of a rebalance, which come without a wait
	ramping bool
}

// maxStepSeconds is where the wait between steps of tiny rates ends: a century.
const maxStepSeconds = 100 * 365 * 24 * 3600

// NewDispatcher returns a dispatcher without users. Workers are dealt to in the given order; see
// [SortWorkers].
func NewDispatcher(classes []*UserClass, workers []string) *Dispatcher {
	d := &Dispatcher{weights: map[string]float64{}, fixed: map[string]int{}, workers: slices.Clone(workers), refill: true}
	for _, c := range classes {
		switch {
		case c.FixedCount > 0:
			d.fixed[c.Name] = c.FixedCount
		case !c.Abstract:
			d.weights[c.Name] = c.WeightOrDefault()
		}
	}
	d.sequence = newClassSequence(d.weights)
	return d
}

// Target begins a ramp to a number of users at a rate of users a second. With only, users that are
// started are of these classes; others that run go on until they are stopped.
func (d *Dispatcher) Target(users int, rate float64, only []string) {
	d.target, d.ramping = max(users, 0), true
	d.perStep = max(1, int(math.Floor(min(rate, math.MaxInt32))))
	d.every = time.Duration(min(float64(d.perStep)/rate, maxStepSeconds) * float64(time.Second))
	if !slices.Equal(only, d.only) {
		d.only = slices.Clone(only)
		d.restart()
	}
}

// restart begins the sequence of classes anew.
func (d *Dispatcher) restart() {
	weights := d.weights
	if len(d.only) > 0 {
		weights = map[string]float64{}
		for _, name := range d.only {
			if weight, ok := d.weights[name]; ok {
				weights[name] = weight
			}
		}
	}
	d.sequence = newClassSequence(weights)
	d.missing, d.refill = nil, true
}

// Next returns the next step of the ramp; ok is false when the target is reached, or when no class is
// left to start. The first step after Target always comes, even without a change.
func (d *Dispatcher) Next() (step Step, ok bool) {
	if len(d.pending) > 0 {
		step, d.pending = d.pending[0], d.pending[1:]
		return step, true
	}
	if !d.ramping {
		return Step{}, false
	}
	exhausted := false
	switch {
	case len(d.workers) == 0:
		exhausted = true
	case len(d.stack) < d.target:
		step.Start = d.start(min(d.perStep, d.target-len(d.stack)))
		exhausted = len(step.Start) < min(d.perStep, d.target-len(d.stack)+len(step.Start))
	case len(d.stack) > d.target:
		step.Stop = d.stop(min(d.perStep, len(d.stack)-d.target))
	}
	d.ramping = len(d.stack) != d.target && !exhausted && d.canGoOn()
	if d.ramping {
		step.Wait = d.every
	}
	step.Users = d.users()
	return step, true
}

// canGoOn reports whether a ramp up still has a class to start.
func (d *Dispatcher) canGoOn() bool {
	if len(d.stack) > d.target || len(d.sequence.classes) > 0 {
		return true
	}
	d.fillMissing()
	return len(d.missing) > 0
}

// Planned returns the number of users that run after the steps so far.
func (d *Dispatcher) Planned() int { return len(d.stack) }

func (d *Dispatcher) start(n int) []Assignment {
	var started []Assignment
	for range n {
		class, ok := d.nextClass()
		if !ok {
			break
		}
		a := Assignment{d.workers[d.nextTurn%len(d.workers)], class}
		d.nextTurn++
		d.stack = append(d.stack, a)
		started = append(started, a)
	}
	return started
}

func (d *Dispatcher) nextClass() (string, bool) {
	d.fillMissing()
	if len(d.missing) > 0 {
		class := d.missing[0]
		d.missing = d.missing[1:]
		return class, true
	}
	return d.sequence.pick()
}

// fillMissing looks once after each ramp down or rebalance for fixed users that do not run.
func (d *Dispatcher) fillMissing() {
	if !d.refill {
		return
	}
	d.refill = false
	if len(d.fixed) == 0 {
		return
	}
	counts := maps.Clone(d.fixed)
	if len(d.only) > 0 {
		maps.DeleteFunc(counts, func(name string, _ int) bool { return !slices.Contains(d.only, name) })
	}
	for _, a := range d.stack {
		if counts[a.Class] > 0 {
			counts[a.Class]--
		}
	}
	d.missing = take(counts)
}

func (d *Dispatcher) stop(n int) []Assignment {
	stopped := make([]Assignment, 0, n)
	for range n {
		last := len(d.stack) - 1
		stopped = append(stopped, d.stack[last])
		d.stack = d.stack[:last]
	}
	d.missing, d.refill = nil, true
	return stopped
}

func (d *Dispatcher) users() map[string]map[string]int {
	users := make(map[string]map[string]int, len(d.workers))
	for _, worker := range d.workers {
		users[worker] = map[string]int{}
	}
	for _, a := range d.stack {
		if users[a.Worker] != nil {
			users[a.Worker][a.Class]++
		}
	}
	return users
}

// Rebalance deals the users that run to a new list of workers, from the beginning of all sequences;
// the result is the next step, without a wait. Users that stay where they are are neither stopped
// nor started.
func (d *Dispatcher) Rebalance(workers []string) {
	before := d.stack
	total := len(before)
	d.workers, d.nextTurn, d.stack = slices.Clone(workers), 0, nil
	d.restart()
	if len(d.workers) == 0 {
		d.pending = append(d.pending, Step{Stop: before, Users: d.users()})
		return
	}
	after := d.start(total)
	step := Step{Users: d.users()}
	step.Stop, step.Start = difference(before, after), difference(after, before)
	d.pending = append(d.pending, step)
}

// difference returns the elements of a that are not matched by one of b.
func difference(a, b []Assignment) []Assignment {
	have := map[Assignment]int{}
	for _, x := range b {
		have[x]++
	}
	var rest []Assignment
	for _, x := range a {
		if have[x] > 0 {
			have[x]--
			continue
		}
		rest = append(rest, x)
	}
	return rest
}

// SortWorkers orders worker ids so that hosts take turns: within a host (the text before the first
// underscore) ids are numbered in lexical order, and those with equal numbers stand together.
func SortWorkers(ids []string) []string {
	sorted := slices.Sorted(slices.Values(ids))
	number := make(map[string]int, len(ids))
	perHost := map[string]int{}
	for _, id := range sorted {
		host := id
		if i := slices.Index([]byte(id), '_'); i >= 0 {
			host = id[:i]
		}
		number[id] = perHost[host]
		perHost[host]++
	}
	slices.SortStableFunc(sorted, func(a, b string) int { return number[a] - number[b] })
	return sorted
}
