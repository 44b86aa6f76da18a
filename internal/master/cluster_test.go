package master_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// oracle counts what users really do.
type oracle struct {
	mu   sync.Mutex
	runs map[string]int64 // calls by run
	byID map[string]bool  // ids of users, over all runs
	dups []string
}

func newOracle() *oracle { return &oracle{runs: map[string]int64{}, byID: map[string]bool{}} }

func (o *oracle) started(u *loadtest.User) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.byID[u.ID()] {
		o.dups = append(o.dups, u.ID())
	}
	o.byID[u.ID()] = true
}

func (o *oracle) did(run string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.runs[run]++
}

func (o *oracle) calls(run string) int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.runs[run]
}

// classes are users that make a call every 100 ms.
func (o *oracle) classes(names ...string) []*loadtest.UserClass {
	var classes []*loadtest.UserClass
	for _, name := range names {
		classes = append(classes, &loadtest.UserClass{
			Name:     name,
			WaitTime: loadtest.Constant(100 * time.Millisecond),
			OnStart:  func(_ context.Context, u *loadtest.User) error { o.started(u); return nil },
			Tasks: []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
				start := time.Now()
				if err := u.Sleep(ctx, 5*time.Millisecond); err != nil {
					return err
				}
				u.Record(stats.Sample{Type: "CALL", Name: u.ClassName(), Start: start, Duration: time.Since(start)})
				o.did(u.Env().RunID())
				return nil
			}}},
		})
	}
	return classes
}

func (o *oracle) scenario(names ...string) func(context.Context, worker.Run) (*worker.Scenario, error) {
	return func(context.Context, worker.Run) (*worker.Scenario, error) {
		return &worker.Scenario{Classes: o.classes(names...)}, nil
	}
}

// cluster is a master with workers in one process.
type cluster struct {
	t        *testing.T
	listener *wiretest.Listener
	oracle   *oracle
	master   *master.Master
	group    sync.WaitGroup
	number   atomic.Int64
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t, listener: wiretest.NewListener(), oracle: newOracle()}
	t.Cleanup(c.group.Wait)
	return c
}

// runMaster starts a master; cancel ends it as a signal would.
func (c *cluster) runMaster(config master.Config) (m *master.Master, cancel func()) {
	c.t.Helper()
	config.Link.AllowPlain = true
	if config.Classes == nil {
		config.Classes = c.oracle.classes("A", "B")
	}
	m, err := master.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, stop := context.WithCancel(c.t.Context())
	c.group.Go(func() {
		if err := m.Run(ctx, c.listener); err != nil {
			c.t.Error(err)
		}
	})
	c.master = m
	c.t.Cleanup(stop)
	return m, stop
}

type runningWorker struct {
	*worker.Worker
	cancel func()
	done   chan struct{}
	status worker.Status
	err    error
}

// runWorker starts a worker that runs the oracle's users.
func (c *cluster) runWorker(change ...func(*worker.Config)) *runningWorker {
	c.t.Helper()
	config := worker.Config{
		ID:         fmt.Sprintf("h_%d", c.number.Add(1)),
		Dial:       c.listener.Dial,
		ClassNames: []string{"A", "B"},
		Open:       c.oracle.scenario("A", "B"),
		Cores:      2,
	}
	for _, f := range change {
		f(&config)
	}
	w, err := worker.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	running := &runningWorker{Worker: w, cancel: cancel, done: make(chan struct{})}
	c.t.Cleanup(cancel)
	c.group.Go(func() {
		defer close(running.done)
		running.status, running.err = w.Run(ctx)
	})
	return running
}

func (c *cluster) waitWorkers(n int) {
	c.t.Helper()
	if err := c.master.WaitWorkers(c.t.Context(), n); err != nil {
		c.t.Fatal(err)
	}
}

func (c *cluster) start(plan master.Plan) string {
	c.t.Helper()
	id, err := c.master.Start(plan)
	if err != nil {
		c.t.Fatal(err)
	}
	return id
}

// end stops the run and returns its outcome.
func (c *cluster) end() master.Outcome {
	c.t.Helper()
	if err := c.master.Stop(c.t.Context()); err != nil {
		c.t.Fatal(err)
	}
	o, ok := c.master.Outcome()
	if !ok {
		c.t.Fatal("no outcome")
	}
	return o
}

func TestWhatUsersDoOnWorkersIsCountedExactly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, quit := c.runMaster(master.Config{})
		for range 3 {
			c.runWorker()
		}
		c.waitWorkers(3)
		id := c.start(master.Plan{Users: 9, SpawnRate: 3, Seed: 1})
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := m.State(); got != master.StateRunning {
			t.Errorf("state %s", got)
		}
		for _, w := range m.Workers() {
			if w.Users != 3 {
				t.Errorf("worker %s runs %v", w.ID, w.UsersByClass)
			}
		}
		live := m.Snapshot()
		if live.Users != 9 || live.Coverage.Ratio() < 0.99 {
			t.Errorf("live: %d users, coverage %+v", live.Users, live.Coverage)
		}
		o := c.end()
		s := o.Snapshot
		if o.Err != nil || s.Total.Requests != c.oracle.calls(id) || s.Total.Requests == 0 {
			t.Errorf("%d counted, users made %d, error %v", s.Total.Requests, c.oracle.calls(id), o.Err)
		}
		if cov := s.Coverage; cov.Ratio() < 0.99 || cov.LostWorkers+cov.MissingReports+cov.UnaccountedSamples != 0 || len(cov.Gaps) > 0 {
			t.Errorf("coverage %.4f %+v", cov.Ratio(), cov)
		}
		if elapsed := s.Elapsed(); elapsed < 10*time.Second || elapsed > 11*time.Second {
			t.Errorf("elapsed %v", elapsed)
		}
		if len(s.Series) < 10 || s.Series[5].Users != 9 || s.Series[5].P50 != 5*time.Millisecond || s.Series[5].Requests < 80 {
			t.Errorf("series %+v", s.Series)
		}
		if len(c.oracle.byID) != 9 || len(c.oracle.dups) > 0 {
			t.Errorf("%d users, twice: %v", len(c.oracle.byID), c.oracle.dups)
		}
		quit()
		c.group.Wait()
		if got := m.State(); got != master.StateStopped {
			t.Errorf("state %s", got)
		}
	})
}

// sharedSeen is what users of a worker saw of the run.
type sharedSeen struct {
	mu                sync.Mutex
	parent, namespace any
	seed              uint64
	option            string
	index, count      int
	runs, stops       int
	late              error // of sharing a value on a worker
}

// sharedWorker starts a worker that notes what it sees in on_worker_start.
func (c *cluster) sharedWorker() *sharedSeen {
	seen := &sharedSeen{}
	c.runWorker(func(config *worker.Config) {
		config.Open = func(_ context.Context, run worker.Run) (*worker.Scenario, error) {
			seen.namespace = run.Settings["namespace"]
			return &worker.Scenario{Classes: c.oracle.classes("A", "B"), Events: loadtest.Events{
				WorkerStart: func(_ context.Context, env *loadtest.Env) error {
					seen.mu.Lock()
					defer seen.mu.Unlock()
					seen.parent, _ = env.Shared("parent")
					seen.seed, seen.option = env.Seed(), env.Options()["x"]
					seen.index, seen.count = env.WorkerIndex(), env.WorkerCount()
					seen.runs++
					seen.late = env.Share("late", 1)
					return nil
				},
				WorkerStop: func(context.Context, *loadtest.Env) error { seen.stops++; return nil },
			}}, nil
		}
	})
	return seen
}

// Users that end themselves leave the plan and are not replaced; a reason to stop ends the run.
func TestWhatCodeOfUsersDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{Classes: weighted("A", 1)})
		ends := func(config *worker.Config) {
			config.Open = func(context.Context, worker.Run) (*worker.Scenario, error) {
				return &worker.Scenario{Classes: []*loadtest.UserClass{{
					// Between heartbeats: what happens in the same instant has no order.
					Name: "A", WaitTime: loadtest.Constant(900 * time.Millisecond),
					Tasks: []loadtest.Task{{Name: "t", Run: func(_ context.Context, u *loadtest.User) error {
						u.Record(stats.Sample{Type: "CALL", Name: "c", Start: time.Now()})
						switch {
						case u.Index() == 3 && u.Env().RunTime() > 3*time.Second:
							return loadtest.ErrStopUser
						case u.Index() == 1 && u.Env().RunTime() > 9*time.Second:
							return loadtest.StopTest("enough")
						case u.Index() == 2 && u.Env().RunTime() > 5*time.Second && u.State == nil:
							u.State = true
							panic("oh")
						}
						return nil
					}}},
				}}}, nil
			}
		}
		c.runWorker(ends)
		c.runWorker(ends)
		c.waitWorkers(2)
		c.start(master.Plan{Users: 6, SpawnRate: 6})
		time.Sleep(8 * time.Second)
		if got := m.Users()["A"]; got != 5 {
			t.Errorf("%d users, want 5", got)
		}
		if err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		o, _ := m.Outcome()
		if o.Reason != "enough" || o.Err != nil {
			t.Errorf("ended for %q, %v", o.Reason, o.Err)
		}
		if cov := o.Snapshot.Coverage; cov.Ratio() < 0.98 || len(cov.Gaps) > 0 {
			t.Errorf("coverage %+v", cov)
		}
		exceptions := m.Exceptions()
		if len(exceptions) != 1 || exceptions[0].Count != 1 || exceptions[0].Message != "panic: oh" || len(exceptions[0].Workers) != 1 {
			t.Errorf("exceptions %+v", exceptions)
		}
	})
}

// A user leaves the plan when it ends itself, not when the master hears of it: users of short lives cost
// no coverage.
func TestUsersOfShortLivesCostNoCoverage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{Classes: weighted("A", 1)})
		c.runWorker(func(config *worker.Config) {
			config.Open = func(context.Context, worker.Run) (*worker.Scenario, error) {
				return &worker.Scenario{Classes: []*loadtest.UserClass{{
					// User n ends in the n-th tenth of a second of its second second.
					Name: "A", Tasks: []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
						u.Record(stats.Sample{Type: "CALL", Name: "c", Start: time.Now()})
						life := time.Second + time.Duration(u.Index()%10)*100*time.Millisecond
						if u.Index() == 0 {
							life = 10 * time.Second
						}
						if err := u.Sleep(ctx, life); err != nil {
							return err
						}
						return loadtest.ErrStopUser
					}}},
				}}}, nil
			}
		})
		c.waitWorkers(1)
		c.start(master.Plan{Users: 40, SpawnRate: 40, RunTime: 6 * time.Second})
		if err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		o, _ := m.Outcome()
		if cov := o.Snapshot.Coverage; cov.Ratio() < 0.99 || len(cov.Gaps) > 0 {
			t.Errorf("coverage %+v", cov)
		}
	})
}

// The statistics begin anew, and the run goes on; what comes later counts from there.
func TestResetStatistics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		c.runWorker()
		c.waitWorkers(1)
		id := c.start(master.Plan{Users: 10, SpawnRate: 100})
		time.Sleep(10 * time.Second)
		before := m.Snapshot().Total.Requests
		m.ResetStats()
		if s := m.Snapshot(); s.Total.Requests != 0 || len(s.Series) != 0 || len(s.Entries) != 0 || s.Users != 10 {
			t.Errorf("after the reset: %+v", s)
		}
		time.Sleep(10 * time.Second)
		o := c.end()
		s := o.Snapshot
		if s.Total.Requests+before != c.oracle.calls(id) || s.Total.Requests == 0 || s.Coverage.UnaccountedSamples != 0 {
			t.Errorf("%d + %d counted, users made %d; %+v", before, s.Total.Requests, c.oracle.calls(id), s.Coverage)
		}
		if s.Elapsed() < 8*time.Second || s.Elapsed() > 11*time.Second || s.Coverage.Ratio() < 0.9 {
			t.Errorf("elapsed %v, coverage %v", s.Elapsed(), s.Coverage.Ratio())
		}
		m.ResetStats() // of a run that is over
		if s := m.Snapshot(); s.Total.Requests != 0 {
			t.Errorf("%d requests after the last reset", s.Total.Requests)
		}
	})
}

// The current rate follows the traffic and falls to zero after it.
func TestTheCurrentRateFollowsTheTraffic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		c.runWorker()
		c.runWorker()
		c.waitWorkers(2)
		c.start(master.Plan{Users: 21, SpawnRate: 1000})
		rate := func(after time.Duration, low, high float64) {
			t.Helper()
			time.Sleep(after)
			if got := m.Snapshot().Total.Current.RPS; got < low || got > high {
				t.Errorf("after %v: %v requests a second, want %v to %v", after, got, low, high)
			}
		}
		rate(6*time.Second, 190, 210) // 21 users, a call each 105 ms
		rate(10*time.Second, 190, 210)
		c.start(master.Plan{Users: 0, SpawnRate: 1000})
		rate(20*time.Second, 0, 0)
		if h := m.Snapshot().Total.Current.Hist; h.Count() != 0 {
			t.Errorf("%d calls in the last ten seconds", h.Count())
		}
	})
}

// A shape is asked each second, also while a ramp goes on, and ends the run.
func TestShapesOverWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		c.runWorker()
		c.runWorker()
		c.waitWorkers(2)
		began := time.Now()
		c.start(master.Plan{Shape: loadtest.Stages(
			loadtest.Stage{Duration: 5 * time.Second, Users: 4, SpawnRate: 4},
			loadtest.Stage{Duration: 5 * time.Second, Users: 1000, SpawnRate: 2}, // never reached
			loadtest.Stage{Duration: 5 * time.Second, Users: 2, SpawnRate: 100, Classes: []string{"B"}},
		)})
		users := func(after time.Duration, least, most int) {
			t.Helper()
			time.Sleep(after)
			n := 0
			for _, count := range m.Users() {
				n += count
			}
			if n < least || n > most {
				t.Errorf("after %v: %d users, want %d to %d", time.Since(began), n, least, most)
			}
		}
		users(4500*time.Millisecond, 4, 4)
		// Two a second from second five on. Each worker tells once a second what it runs: the user of the
		// latest second may be in its next report.
		users(5250*time.Millisecond, 12, 14)
		users(2750*time.Millisecond, 2, 2)
		if err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 15*time.Second || took > 17*time.Second {
			t.Errorf("the run took %v", took)
		}
	})
}

// A run ends when its time is over; that of a later change counts, and none is left for the next run.
func TestRunTimes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		c.runWorker()
		c.waitWorkers(1)
		began := time.Now()
		c.start(master.Plan{Users: 2, SpawnRate: 10, RunTime: 10 * time.Second})
		time.Sleep(5 * time.Second)
		c.start(master.Plan{Users: 3, SpawnRate: 10, RunTime: 10 * time.Second})
		if err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 15*time.Second || took > 16*time.Second {
			t.Errorf("the run took %v", took)
		}
		o, _ := m.Outcome()
		if o.Err != nil || o.Snapshot.PeakUsers != 3 {
			t.Errorf("outcome %v, at most %d users", o.Err, o.Snapshot.PeakUsers)
		}
		c.start(master.Plan{Users: 2, SpawnRate: 10, RunTime: 5 * time.Second})
		time.Sleep(time.Second)
		c.end()
		c.start(master.Plan{Users: 2, SpawnRate: 10})
		time.Sleep(time.Minute)
		if got := m.State(); got != master.StateRunning {
			t.Errorf("state %s a minute into a run without end", got)
		}
	})
}

// Of two processes with one id the one that came first has to go.
func TestTwoProcessesWithOneID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		same := func(config *worker.Config) { config.ID = "h_same" }
		first := c.runWorker(same)
		c.waitWorkers(1)
		id := c.start(master.Plan{Users: 4, SpawnRate: 100})
		time.Sleep(3 * time.Second)
		second := c.runWorker(same)
		time.Sleep(20 * time.Second)
		select {
		case <-first.done:
			if first.status != worker.StatusQuit {
				t.Errorf("the first one ended with %s", first.status)
			}
		default:
			t.Error("the first one is still there")
		}
		select {
		case <-second.done:
			t.Errorf("the second one ended with %s", second.status)
		default:
		}
		if workers := m.Workers(); len(workers) != 1 || workers[0].Users != 4 {
			t.Errorf("workers %+v", workers)
		}
		o := c.end()
		if got, want := o.Snapshot.Total.Requests+o.Snapshot.Coverage.UnaccountedSamples, c.oracle.calls(id); got != want {
			t.Errorf("%d counted and stated, users made %d: %+v", got, want, o.Parts)
		}
	})
}

// Master and workers of one deployment belong together: another build may measure something else.
func TestAWorkerOfAnotherBuildIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{Build: "b-new"})
		build := func(id string) func(*worker.Config) { return func(config *worker.Config) { config.Build = id } }
		old := c.runWorker(build("b-old"))
		c.runWorker(build("b-new"))
		c.runWorker() // of no deployment
		time.Sleep(5 * time.Second)
		select {
		case <-old.done:
			if old.status != worker.StatusQuit {
				t.Errorf("the old one ended with %s", old.status)
			}
		default:
			t.Error("the old one is still there")
		}
		if workers := m.Workers(); len(workers) != 2 {
			t.Errorf("workers %+v", workers)
		}
	})
}

// A worker of another master is nobody's loss here: two masters, each with its own.
func TestTwoMasters(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		one, two := newCluster(t), newCluster(t)
		for _, c := range []*cluster{one, two} {
			c.runMaster(master.Config{})
			c.runWorker()
			c.waitWorkers(1)
		}
		first := one.start(master.Plan{Users: 3, SpawnRate: 10})
		second := two.start(master.Plan{Users: 4, SpawnRate: 10})
		time.Sleep(5 * time.Second)
		for id, c := range map[string]*cluster{first: one, second: two} {
			if o := c.end(); o.Snapshot.Total.Requests != c.oracle.calls(id) || o.Snapshot.Coverage.LostWorkers != 0 {
				t.Errorf("%d counted, users made %d", o.Snapshot.Total.Requests, c.oracle.calls(id))
			}
		}
	})
}

// A worker on which the run cannot begin ends it, with its own words.
func TestARunThatCannotBeginOnAWorker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{})
		c.runWorker()
		c.runWorker(func(config *worker.Config) {
			config.Open = func(context.Context, worker.Run) (*worker.Scenario, error) { return nil, errNoTable }
		})
		c.waitWorkers(2)
		c.start(master.Plan{Users: 2, SpawnRate: 10})
		if err := m.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		o, _ := m.Outcome()
		if failure, ok := errors.AsType[*master.WorkerError](o.Err); !ok || failure.Worker != "h_2" || failure.Text != "no table" {
			t.Errorf("ended with %v", o.Err)
		}
	})
}

var errNoTable = errors.New("no table")

// Changes of a class reach the workers that are there and those that come, for the next run.
func TestChangesOfAClassReachTheWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, _ := c.runMaster(master.Config{Classes: []*loadtest.UserClass{{Name: "A"}, {Name: "B"}}})
		task := func(name string) loadtest.Task {
			return loadtest.Task{Name: name, Run: func(_ context.Context, u *loadtest.User) error {
				u.Record(stats.Sample{Type: u.Host(), Name: name, Start: time.Now()})
				return nil
			}}
		}
		twoTasks := func(config *worker.Config) {
			config.Open = func(context.Context, worker.Run) (*worker.Scenario, error) {
				var classes []*loadtest.UserClass
				for _, name := range []string{"A", "B"} {
					classes = append(classes, &loadtest.UserClass{
						Name: name, Host: "own", WaitTime: loadtest.Constant(time.Second), Tasks: []loadtest.Task{task("one"), task("two")},
					})
				}
				return &worker.Scenario{Classes: classes}, nil
			}
		}
		c.runWorker(twoTasks)
		c.waitWorkers(1)
		update := wire.UpdateUserClass{Class: "A", Attributes: map[string]any{"weight": 3, "host": "elsewhere", "tasks": []any{"two"}}}
		if err := m.UpdateClass(update); err != nil {
			t.Fatal(err)
		}
		if err := m.UpdateClass(wire.UpdateUserClass{Class: "B", Attributes: map[string]any{"tasks": []any{"gone"}}}); err != nil {
			t.Fatal(err)
		}
		c.runWorker(twoTasks)
		c.waitWorkers(2)
		c.start(master.Plan{Users: 8, SpawnRate: 100})
		time.Sleep(10 * time.Second)
		if got := m.Users(); got["A"] != 6 || got["B"] != 2 {
			t.Errorf("users %v", got)
		}
		rows := map[stats.Key]bool{}
		for _, e := range c.end().Snapshot.Entries {
			rows[e.Key] = true
		}
		want := map[stats.Key]bool{{Type: "elsewhere", Name: "two"}: true, {Type: "own", Name: "one"}: true, {Type: "own", Name: "two"}: true}
		if !maps.Equal(rows, want) {
			t.Errorf("rows %v, want %v", rows, want)
		}
		// Weight 0 leaves a class out, until it gets another one.
		for _, weight := range []int{0, 1} {
			if err := m.UpdateClass(wire.UpdateUserClass{Class: "B", Attributes: map[string]any{"weight": weight}}); err != nil {
				t.Fatal(err)
			}
			c.start(master.Plan{Users: 8, SpawnRate: 100})
			time.Sleep(10 * time.Second)
			if got := m.Users()["A"]; got != 8-2*weight {
				t.Errorf("weight %d of the other class: %d users", weight, got)
			}
			c.end()
		}
		for _, bad := range []wire.UpdateUserClass{{Class: "Nobody"}, {Class: "A", Attributes: map[string]any{"weight": -1}}} {
			if err := m.UpdateClass(bad); err == nil {
				t.Errorf("%+v is accepted", bad)
			}
		}
	})
}
