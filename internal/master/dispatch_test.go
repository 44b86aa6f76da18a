package master_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

func weighted(weights ...any) []*loadtest.UserClass {
	var classes []*loadtest.UserClass
	for i := 0; i < len(weights); i += 2 {
		classes = append(classes, &loadtest.UserClass{Name: weights[i].(string), Weight: float64(weights[i+1].(int))})
	}
	return classes
}

func fixed(classes []*loadtest.UserClass, name string, n int) []*loadtest.UserClass {
	return append(classes, &loadtest.UserClass{Name: name, FixedCount: n})
}

// watchSteps returns the moments at which what workers run changed, from now until nothing has for a
// while: the time since the last change and what all of them run.
func watchSteps(workers []*peer, since time.Time) []string {
	time.Sleep(30 * time.Second)
	synctest.Wait()
	type event struct {
		at     time.Time
		worker int
		users  string
	}
	var events []event
	for i, w := range workers {
		w.mu.Lock()
		for _, s := range w.spawns {
			if !s.at.Before(since) {
				events = append(events, event{s.at, i, counts(s.UsersByClass)})
			}
		}
		w.mu.Unlock()
	}
	slices.SortStableFunc(events, func(a, b event) int { return a.at.Compare(b.at) })
	now := make([]string, len(workers))
	for i, w := range workers {
		w.mu.Lock()
		for _, s := range w.spawns {
			if s.at.Before(since) {
				now[i] = counts(s.UsersByClass)
			}
		}
		w.mu.Unlock()
	}
	var steps []string
	last := since
	for i, e := range events {
		now[e.worker] = e.users
		if i+1 < len(events) && events[i+1].at.Equal(e.at) {
			continue
		}
		steps = append(steps, fmt.Sprintf("+%.1f %s", e.at.Sub(last).Seconds(), strings.Join(now, "/")))
		last = e.at
	}
	return steps
}

// The worked examples of Locust's dispatcher, as workers see them.
func TestWorkersAreToldWhatLocustsMasterWouldTellThem(t *testing.T) {
	type leg struct {
		users int
		rate  float64
		only  []string
		want  []string
	}
	tests := map[string]struct {
		classes []*loadtest.UserClass
		workers int
		legs    []leg
	}{
		"three classes on three workers, up and down and up": {weighted("A", 1, "B", 1, "C", 1), 3, []leg{
			{9, 3, nil, []string{"+0.0 A1/B1/C1", "+1.0 A2/B2/C2", "+1.0 A3/B3/C3"}},
			{3, 2, nil, []string{"+0.0 A3/B2/C2", "+1.0 A2/B2/C1", "+1.0 A1/B1/C1"}},
			{5, 0.5, nil, []string{"+0.0 A2/B1/C1", "+2.0 A2/B2/C1"}},
		}},
		"five to one at a rate with a fraction": {weighted("A", 5, "B", 1), 2, []leg{
			{12, 2.5, nil, []string{"+0.0 A1/A1", "+0.8 A1B1/A2", "+0.8 A2B1/A3", "+0.8 A3B1/A4", "+0.8 A3B2/A5", "+0.8 A4B2/A6"}},
		}},
		"a class of a fixed number": {fixed(weighted("A", 3, "B", 1), "F", 2), 2, []leg{
			{8, 4, nil, []string{"+0.0 A1F1/B1F1", "+1.0 A3F1/A1B2F1"}},
			{1, 4, nil, []string{"+0.0 A1F1/B1F1", "+1.0 F1/"}},
			{4, 4, nil, []string{"+0.0 A1F2/A1"}},
		}},
		"only classes of fixed numbers": {fixed(fixed(nil, "F", 2), "G", 1), 2, []leg{
			{10, 2, nil, []string{"+0.0 F1/G1", "+1.0 F2/G1"}},
		}},
		"fixed numbers above the target": {fixed(fixed(nil, "F", 3), "G", 2), 2, []leg{
			{3, 10, nil, []string{"+0.0 F2/G1"}},
		}},
		"down to none": {weighted("A", 2, "B", 1), 3, []leg{
			{7, 2, nil, []string{"+0.0 A1/B1/", "+1.0 A2/B1/A1", "+1.0 A2/B2/A2", "+1.0 A3/B2/A2"}},
			{0, 3, nil, []string{"+0.0 A2/B1/A1", "+1.0 A1//", "+1.0 //"}},
		}},
		"restricted to a class": {weighted("A", 1, "B", 1), 2, []leg{
			{4, 10, nil, []string{"+0.0 A2/B2"}},
			{8, 10, []string{"B"}, []string{"+0.0 A2B2/B4"}},
			{2, 2, []string{"A"}, []string{"+0.0 A2B1/B3", "+1.0 A2/B2", "+1.0 A1/B1"}},
		}},
		"the same target again": {weighted("A", 1), 2, []leg{
			{2, 5, nil, []string{"+0.0 A1/A1"}},
			{2, 5, nil, []string{"+0.0 A1/A1"}},
		}},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeers(t, master.Config{Classes: test.classes})
				var workers []*peer
				for i := range test.workers {
					workers = append(workers, p.join(fmt.Sprintf("h_%d", i+1)))
				}
				for _, leg := range test.legs {
					time.Sleep(time.Millisecond) // after what was before
					since := time.Now()
					p.start(master.Plan{Users: leg.users, SpawnRate: leg.rate, Classes: leg.only})
					if got := watchSteps(workers, since); !slices.Equal(got, leg.want) {
						t.Errorf("%d users at %v of %v:\n got %q\nwant %q", leg.users, leg.rate, leg.only, got, leg.want)
					}
				}
			})
		})
	}
}

// A worker of Locust is unknown from each stop until it registers again, and tells its classes only
// with its next report: a class that it does not have makes it stay in "spawning" until another run.
func TestClassesOfAWorkerAreRememberedOverAStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Rebalance: true})
		p.classes = weighted("A", 1)
		small := p.join("h_1")
		p.classes = weighted("A", 1, "B", 1)
		full := p.join("h_2")
		for _, only := range [][]string{nil, {"A"}, nil} {
			p.start(master.Plan{Users: 4, SpawnRate: 100, Classes: only})
			time.Sleep(2 * time.Second)
			if only == nil {
				expectRuns(t, "all classes", " | A2B2", small, full)
			} else {
				expectRuns(t, "only A", "A2 | A2", small, full)
			}
			p.end()
		}
		for _, s := range small.spawns {
			if _, named := s.UsersByClass["B"]; named {
				t.Errorf("the worker without B was told %v", s.UsersByClass)
			}
		}
	})
}

// Workers of several hosts take turns by host.
func TestHostsTakeTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1)})
		byID := map[string]*peer{}
		for _, id := range []string{"hostB_aaa", "hostA_bbb", "hostA_aaa", "hostB_bbb", "hostC_zzz"} {
			byID[id] = p.join(id)
		}
		p.start(master.Plan{Users: 3, SpawnRate: 3})
		for _, id := range []string{"hostA_aaa", "hostB_aaa", "hostC_zzz"} {
			if got := byID[id].runs(); got != "A1" {
				t.Errorf("%s runs %q, want A1", id, got)
			}
		}
	})
}

// Workers that come and go: the total stays, and at most one deal a change is made.
func TestUsersAreDealtAnewWhenWorkersComeAndGo(t *testing.T) {
	t.Run("joins and leaves with rebalancing", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeers(t, master.Config{Classes: weighted("A", 3, "B", 1), Rebalance: true})
			one, two := p.join("h_1"), p.join("h_2")
			p.start(master.Plan{Users: 8, SpawnRate: 100})
			time.Sleep(2 * time.Second)
			expectRuns(t, "before", "A4 | A2B2", one, two)
			three := p.join("h_3")
			time.Sleep(2 * time.Second)
			expectRuns(t, "after a join", "A3 | A2B1 | A1B1", one, two, three)
			one.send("quit", nil)
			synctest.Wait()
			one.kill()
			time.Sleep(2 * time.Second)
			expectRuns(t, "after a leave", "A3B1 | A3B1", two, three)
			for _, w := range []*peer{two, three} {
				if n := w.spawnCount(); n > 3 {
					t.Errorf("%s was told %d times", w.id, n)
				}
			}
		})
	})
	t.Run("a join in a ramp is the next step of it", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeers(t, master.Config{Classes: weighted("A", 1)})
			one, two := p.join("h_1"), p.join("h_2")
			since := time.Now()
			p.start(master.Plan{Users: 9, SpawnRate: 3})
			three := p.join("h_3")
			// The worker that joined hears of its users once the dust has settled, and the ramp keeps
			// to its schedule.
			want := []string{"+0.0 A2/A1/", "+0.3 A1/A1/A1", "+0.7 A2/A2/A2", "+1.0 A3/A3/A3"}
			if got := watchSteps([]*peer{one, two, three}, since); !slices.Equal(got, want) {
				t.Errorf("got %q, want %q", got, want)
			}
		})
	})
	t.Run("without rebalancing joins get none at a plateau", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeers(t, master.Config{Classes: weighted("A", 1)})
			one := p.join("h_1")
			p.start(master.Plan{Users: 4, SpawnRate: 100})
			time.Sleep(2 * time.Second)
			two, three := p.join("h_2"), p.join("h_3")
			time.Sleep(5 * time.Second)
			expectRuns(t, "after joins", "A4 |  | ", one, two, three)
			p.start(master.Plan{Users: 6, SpawnRate: 100})
			time.Sleep(5 * time.Second)
			expectRuns(t, "after an edit", "A2 | A2 | A2", one, two, three)
		})
	})
	t.Run("a missing worker's users wait until it is forgotten, and nothing drops then", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newPeers(t, master.Config{Classes: weighted("A", 3, "B", 1)})
			one, two, three := p.join("h_1"), p.join("h_2"), p.join("h_3")
			p.start(master.Plan{Users: 9, SpawnRate: 3})
			time.Sleep(5 * time.Second)
			before := one.spawnCount()
			three.setSilent(true)
			time.Sleep(60 * time.Second)
			if got := one.spawnCount(); got != before || p.states() != "running running missing" {
				t.Errorf("told %d times more, states %s", got-before, p.states())
			}
			time.Sleep(10 * time.Second)
			if got := p.states(); got != "running running" {
				t.Errorf("states %s", got)
			}
			total := 0
			for _, n := range p.master.Users() {
				total += n
			}
			if n := one.spawnCount() - before; total != 9 || n != 1 {
				t.Errorf("%d users after %d spawns, want 9 after one", total, n)
			}
			_ = two
		})
	})
	t.Run("a frozen worker comes back and the total is the target", func(t *testing.T) {
		for _, rebalance := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				p := newPeers(t, master.Config{Classes: weighted("A", 1), Rebalance: rebalance})
				one, two := p.join("h_1"), p.join("h_2")
				p.start(master.Plan{Users: 6, SpawnRate: 100})
				time.Sleep(3 * time.Second)
				two.setSilent(true)
				time.Sleep(4600 * time.Millisecond)
				if got := p.states(); got != "running missing" {
					t.Errorf("states %s", got)
				}
				if rebalance {
					expectRuns(t, "while it is missing", "A6", one)
				}
				time.Sleep(6 * time.Second)
				two.setSilent(false)
				time.Sleep(3 * time.Second)
				expectRuns(t, "when it is back", "A3 | A3", one, two)
				if got := p.states(); got != "running running" {
					t.Errorf("states %s", got)
				}
			})
		}
	})
}

func expectRuns(t *testing.T, when, want string, workers ...*peer) {
	t.Helper()
	synctest.Wait()
	var runs []string
	for _, w := range workers {
		runs = append(runs, w.runs())
	}
	if got := strings.Join(runs, " | "); got != want {
		t.Errorf("%s: %q, want %q", when, got, want)
	}
}
