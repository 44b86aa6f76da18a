package orchestrator_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

// ramp is the load of the reference runs: 120 users at 10 a second from 30 s on.
func ramp(at time.Duration) load {
	switch users := int((at - 30*time.Second) / (100 * time.Millisecond)); {
	case at < 30*time.Second:
		return load{state: "ready"}
	case users < 120:
		return load{state: "spawning", users: users, target: 120}
	default:
		return load{state: "running", users: 120, target: 120}
	}
}

// held is what a run is held to in every second: from the first time that wanted workers are
// connected there are never fewer than desired, and there are never more invocations than desired
// and being replaced.
type held struct {
	world  *world
	wanted int
	filled bool

	mostRunning, mostDesired int
}

func (h *held) check(t tester, at time.Duration) {
	running, wanted, connected := h.world.count()
	round := h.world.lastRound()
	desired, expiring := round.number("desired"), round.number("expiring")
	h.filled = h.filled || connected >= h.wanted
	h.mostRunning, h.mostDesired = max(h.mostRunning, running), max(h.mostDesired, desired)
	if h.filled && connected < desired {
		t.Errorf("at %v %d of %d desired workers are connected", at, connected, desired)
	}
	if wanted > desired+expiring {
		t.Errorf("at %v %d workers run, with %d desired and %d expiring", at, wanted, desired, expiring)
	}
}

// Run A, and defect 1: 12 workers carry 120 users; no more are started.
func TestRunARampStartsWhatItNeeds(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = ramp
		w.silent = func(at time.Duration) bool { return at < 3*time.Second }
		l := w.run(t, orchestrator.Config{Policy: policy()})
		h := &held{world: w, wanted: 12}
		w.eachSecond(100*time.Second, func(at time.Duration) { h.check(t, at) })
		if !h.filled || h.mostDesired != 12 || h.mostRunning != 12 {
			t.Errorf("filled %v, at most %d desired and %d running, want 12 of each", h.filled, h.mostDesired, h.mostRunning)
		}
		if s := l.end(); s.Started != 12 {
			t.Errorf("%d workers started, want 12", s.Started)
		}
	})
}

// Run B, and defects 2 and 3: through many rotations, with every time limit and the slowest start
// that the lead time allows, the desired number is always connected.
func TestRunBRotationsAreNotNoticed(t *testing.T) {
	for _, lifetime := range []time.Duration{60 * time.Second, 120 * time.Second, 300 * time.Second, 900 * time.Second} {
		for _, connect := range []time.Duration{2 * time.Second, 7 * time.Second, 20 * time.Second} {
			t.Run(fmt.Sprintf("limit %v connects after %v", lifetime, connect), func(t *testing.T) {
				inVirtualTime(t, func(t *testing.T, w *world) {
					w.load, w.lifetime, w.connect = ramp, lifetime, connect
					p := policy()
					p.Lifetime = lifetime
					l := w.run(t, orchestrator.Config{Policy: p})
					h := &held{world: w, wanted: 12}
					const generations = 6
					w.eachSecond(30*time.Second+generations*lifetime, func(at time.Duration) { h.check(t, at) })
					s := l.end()
					if s.Started < 12*generations || s.Expired != 0 {
						t.Errorf("%+v, want at least %d generations of 12 and none expired", s, generations)
					}
				})
			})
		}
	}
}

// Run C, and defect 4: ten workers that start together are replaced one after the other.
func TestRunCReplacementsAreStaggered(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.load = func(at time.Duration) load { return load{state: "running", users: 100, target: 100} }
		p := policy()
		p.MinWorkers, p.MaxWorkers = 10, 10
		l := w.run(t, orchestrator.Config{Policy: p})
		h := &held{world: w, wanted: 10}
		w.eachSecond(time.Hour, func(at time.Duration) { h.check(t, at) })
		if h.mostRunning > 13 {
			t.Errorf("up to %d invocations at once for 10 desired, want at most 13", h.mostRunning)
		}
		l.end()
	})
}

// Run D: workers that never connect are given up and tried again, ever more rarely.
func TestRunDWorkersThatNeverConnect(t *testing.T) {
	inVirtualTime(t, func(t *testing.T, w *world) {
		w.connect = forever
		p := policy()
		p.MinWorkers = 5
		l := w.run(t, orchestrator.Config{Policy: p})
		most := 0
		w.eachSecond(9*time.Minute, func(time.Duration) {
			running, _, _ := w.count()
			most = max(most, running)
		})
		var at []int
		for _, start := range w.starts {
			at = append(at, int(start.Round(time.Second)/time.Second))
		}
		if got, want := slices.Compact(slices.Clone(at)), []int{0, 30, 90, 180, 330}; !slices.Equal(got, want) || len(at) != 5*len(want) {
			t.Errorf("started at %v, want five at each of %v", at, want)
		}
		if most != 5 {
			t.Errorf("up to %d at once, want 5: those given up are ended", most)
		}
		for _, want := range []string{"workers did not connect in time", "workers that were started did not come"} {
			if _, ok := w.warned(want); !ok {
				t.Errorf("no warning that %s", want)
			}
		}
		l.end()
	})
}

// weather is what happens to the loop in the property test.
type weather struct {
	*rapid.T
	world *world
	rough bool
	load  load
}

func (f *weather) chance(name string, percent int) bool {
	return f.rough && rapid.IntRange(0, 99).Draw(f.T, name) < percent
}

// change lets something happen, once in a while.
func (f *weather) change() {
	w := f.world
	w.mu.Lock()
	defer w.mu.Unlock()
	if f.chance("edit", 10) {
		f.load.state = rapid.SampledFrom([]string{"ready", "spawning", "running", "stopped"}).Draw(f.T, "state")
		f.load.target = rapid.IntRange(0, 300).Draw(f.T, "target")
	}
	f.load.users = max(0, min(f.load.target, f.load.users+rapid.IntRange(-50, 50).Draw(f.T, "users")))
	current := f.load
	w.load = func(time.Duration) load { return current }
	silent := f.chance("master silent", 10)
	w.silent = func(time.Duration) bool { return silent }
	fails := f.chance("starts fail", 15)
	w.startFails = func(n int) error {
		if fails && n%3 == 0 {
			return orchestrator.ErrThrottled
		}
		return nil
	}
	for _, worker := range w.inOrder() {
		switch {
		case !w.running(worker):
			delete(w.workers, worker.id)
		case f.chance("dies", 3):
			worker.ends = w.now()
		case w.now() < worker.invoked+w.connect && f.chance("never connects", 3):
			worker.never = true
		}
	}
}

func TestTheLoopKeepsItsPromisesUnderFaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rapid.SyncTest(t, func(t *rapid.T) {
			w := newWorld()
			p := policy()
			p.MinWorkers = rapid.IntRange(0, 4).Draw(t, "least")
			p.MaxWorkers = rapid.IntRange(4, 30).Draw(t, "largest")
			p.Lifetime = rapid.SampledFrom([]time.Duration{0, 120 * time.Second, 300 * time.Second}).Draw(t, "lifetime")
			w.lifetime = p.Lifetime
			w.connect = time.Duration(rapid.IntRange(0, 19).Draw(t, "connects after")) * time.Second
			l := w.run(t, orchestrator.Config{Policy: p})
			f := &weather{T: t, world: w, rough: true, load: load{state: "ready"}}

			starts := 0
			w.eachSecond(4*time.Minute, func(at time.Duration) {
				_, wanted, _ := w.count()
				round := w.lastRound()
				if made := len(w.starts); made > starts {
					starts = made
					if most := round.number("desired") + round.number("expiring"); wanted > most {
						t.Fatalf("at %v %d workers run after starts, with %v", at, wanted, round.values)
					}
				}
				if needed := (f.load.target + 9) / 10; round.number("desired") > max(needed, p.MinWorkers) && round.at == at {
					t.Fatalf("at %v %d desired for %d users", at, round.number("desired"), f.load.target)
				}
				f.change()
			})

			// In calm weather the desired number comes about and stays.
			f.rough = false
			f.load.users, f.load.state = f.load.target, "running"
			f.change()
			calm := 10 * time.Minute
			w.eachSecond(calm, func(time.Duration) {})
			h := &held{world: w, filled: true}
			w.eachSecond(calm+5*time.Minute, func(at time.Duration) { h.check(t, at) })
			l.end()
			if running, _, _ := w.count(); running > 0 {
				t.Fatalf("%d workers run after the end", running)
			}
		})
	})
}
