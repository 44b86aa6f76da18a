package master_test

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
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
