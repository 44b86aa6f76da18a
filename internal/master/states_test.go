package master_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// What a worker says or leaves unsaid, and how the master sees it then.
func TestStatesOfAWorker(t *testing.T) {
	heartbeat := func(state string) func(*peer) {
		return func(w *peer) { w.send(wire.TypeHeartbeat, wire.Heartbeat{State: state}) }
	}
	message := func(kind string, data any) func(*peer) { return func(w *peer) { w.send(kind, data) } }
	wait := func(d time.Duration) func(*peer) {
		return func(w *peer) { w.setSilent(true); time.Sleep(d); synctest.Wait() }
	}
	complete := wire.SpawningComplete{UsersByClass: map[string]int{"A": 2}, Users: 2}
	tests := map[string]struct {
		happens []func(*peer)
		state   string // "" = it is not known any more
		users   int
		told    []string // beside the ack
	}{
		"registers":                               {nil, "ready", 0, nil},
		"registers twice":                         {[]func(*peer){message(wire.TypeClientReady, wire.ClientReady{})}, "ready", 0, []string{"ack"}},
		"spawning":                                {[]func(*peer){message(wire.TypeSpawning, nil)}, "spawning", 0, nil},
		"complete":                                {[]func(*peer){message(wire.TypeSpawning, nil), message(wire.TypeSpawningComplete, complete)}, "running", 2, nil},
		"a heartbeat sets the state":              {[]func(*peer){heartbeat("running")}, "running", 0, nil},
		"any state is taken":                      {[]func(*peer){heartbeat("stopped")}, "stopped", 0, nil},
		"a heartbeat without a state":             {[]func(*peer){heartbeat("")}, "ready", 0, nil},
		"statistics set the users":                {[]func(*peer){message(wire.TypeStats, &wire.Stats{UsersByClass: map[string]int{"A": 3}, Users: 3})}, "ready", 3, nil},
		"silent for two heartbeats":               {[]func(*peer){wait(3900 * time.Millisecond)}, "ready", 0, nil},
		"silent for three heartbeats":             {[]func(*peer){message(wire.TypeSpawningComplete, complete), wait(5 * time.Second)}, "missing", 0, nil},
		"silent for a minute":                     {[]func(*peer){wait(66 * time.Second)}, "", 0, nil},
		"missing, then a heartbeat":               {[]func(*peer){wait(10 * time.Second), heartbeat("running")}, "running", 0, nil},
		"missing, then it registers":              {[]func(*peer){wait(10 * time.Second), message(wire.TypeClientReady, wire.ClientReady{})}, "ready", 0, []string{"ack"}},
		"stopped":                                 {[]func(*peer){message(wire.TypeClientStopped, nil)}, "", 0, nil},
		"quit":                                    {[]func(*peer){message(wire.TypeQuit, nil)}, "", 0, nil},
		"its connection ends":                     {[]func(*peer){(*peer).kill}, "missing", 0, nil},
		"nonsense for data":                       {[]func(*peer){message(wire.TypeHello, "x"), message(wire.TypeStats, "x"), message(wire.TypeHeartbeat, nil)}, "ready", 0, []string{"reconnect"}},
		"forgotten, then a heartbeat: adopted":    {[]func(*peer){wait(66 * time.Second), unsilent, heartbeat("running")}, "ready", 0, []string{"stop", "ack"}},
		"forgotten, then spawning: adopted":       {[]func(*peer){wait(66 * time.Second), unsilent, message(wire.TypeSpawning, nil)}, "ready", 0, []string{"stop", "ack"}},
		"forgotten, then complete: adopted":       {[]func(*peer){wait(66 * time.Second), unsilent, message(wire.TypeSpawningComplete, complete)}, "ready", 0, []string{"stop", "ack"}},
		"stopped, then heartbeats: not asked":     {[]func(*peer){message(wire.TypeClientStopped, nil), heartbeat("ready"), heartbeat("ready")}, "", 0, nil},
		"a message that nobody knows":             {[]func(*peer){message("unheard-of", nil)}, "ready", 0, nil},
		"a version that is older than Locust 1.0": {[]func(*peer){message(wire.TypeClientStopped, nil), message(wire.TypeClientReady, nil)}, "", 0, nil},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeers(t, master.Config{Classes: weighted("A", 1)})
				w := p.join("h_1")
				for _, happens := range test.happens {
					happens(w)
					synctest.Wait()
				}
				if got := p.states(); got != test.state {
					t.Errorf("state %q, want %q", got, test.state)
				}
				if got := p.master.Users()["A"]; got != test.users {
					t.Errorf("%d users, want %d", got, test.users)
				}
				if got := w.told(); !slices.Equal(got, append([]string{"ack"}, test.told...)) {
					t.Errorf("told %q, want an ack and %q", got, test.told)
				}
				if got := p.master.State(); got != master.StateReady {
					t.Errorf("the master is %s", got)
				}
			})
		})
	}
}

func unsilent(w *peer) { w.setSilent(false) }

// The states of a run from its start to its end.
func TestStatesOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1), StopTimeout: 4 * time.Second})
		expect := func(when, want string) {
			t.Helper()
			synctest.Wait()
			if got := p.master.State(); got != want {
				t.Errorf("%s: state %s, want %s", when, got, want)
			}
		}
		expect("at first", master.StateReady)
		if _, err := p.master.Start(master.Plan{Users: 1, SpawnRate: 1}); !errors.Is(err, master.ErrNoWorkers) {
			t.Errorf("a start without workers: %v", err)
		}
		if err := p.master.Stop(context.Background()); err != nil {
			t.Errorf("a stop without a run: %v", err)
		}
		one, two := p.join("h_1"), p.join("h_2")
		p.start(master.Plan{Users: 4, SpawnRate: 2})
		expect("in the ramp", master.StateSpawning)
		time.Sleep(1500 * time.Millisecond)
		expect("after the ramp", master.StateRunning)
		if told := one.told(); told[len(told)-1] != wire.TypeSpawningComplete {
			t.Errorf("told %q", told)
		}
		p.start(master.Plan{Users: 8, SpawnRate: 1})
		expect("in a second ramp", master.StateSpawning)
		stopped := make(chan struct{})
		go func() {
			defer close(stopped)
			p.end()
		}()
		time.Sleep(50 * time.Millisecond)
		expect("in the stop", master.StateStopping)
		one.mu.Lock()
		spawns := len(one.spawns)
		one.mu.Unlock()
		<-stopped
		expect("after the stop", master.StateStopped)
		if got := p.states(); got != "" {
			t.Errorf("states %q while workers wait for their stop timeout", got)
		}
		// A start in the gap waits for them.
		p.start(master.Plan{Users: 2, SpawnRate: 10})
		time.Sleep(6 * time.Second)
		expect("after a start in the gap", master.StateRunning)
		expectRuns(t, "after a start in the gap", "A1 | A1", one, two)
		one.mu.Lock()
		between := one.spawns[spawns-1:]
		for i := 1; i < len(between); i++ {
			if between[i].Timestamp <= between[i-1].Timestamp {
				t.Errorf("timestamps do not increase: %v", between)
			}
		}
		one.mu.Unlock()
		for _, w := range []*peer{one, two} {
			w.send(wire.TypeQuit, nil)
			synctest.Wait()
			w.kill()
		}
		time.Sleep(time.Second)
		expect("after the last worker has left", master.StateStopped)
		if o, _ := p.master.Outcome(); !errors.Is(o.Err, master.ErrWorkersLost) {
			t.Errorf("the run ended with %v", o.Err)
		}
	})
}

// Plans that cannot be followed are refused before anything happens.
func TestPlansThatAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1)})
		p.join("h_1")
		for want, plan := range map[string]master.Plan{
			"users must not be negative, got -1":                      {Users: -1, SpawnRate: 1},
			"spawn rate must be greater than 0, got 0":                {Users: 1},
			"spawn rate must be greater than 0, got -2":               {Users: 1, SpawnRate: -2},
			"run time -1s is negative":                                {Users: 1, SpawnRate: 1, RunTime: -time.Second},
			`there is no user class "Nobody"; there are: A`:           {Users: 1, SpawnRate: 1, Classes: []string{"Nobody"}},
			"the spawn rate must be greater than 0, got +Inf":         {Users: 1, SpawnRate: inf},
			"the number of users must not be negative, got -3\nthe s": {Users: -3},
		} {
			if _, err := p.master.Start(plan); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%+v: %v, want %q", plan, err, want)
			}
		}
		if got := p.master.State(); got != master.StateReady {
			t.Errorf("state %s", got)
		}
	})
}

var inf = 1 / zero

var zero float64

// Listeners run once, around the users; values that they share reach every worker before its first
// user; a failing one ends the run before any.
func TestListenersOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		var order []string
		m, _ := c.runMaster(master.Config{Open: func(_ context.Context, run master.Run) (*master.Scenario, error) {
			order = append(order, "open")
			return &master.Scenario{
				Settings: map[string]any{"namespace": "load-" + run.ID},
				Events: loadtest.Events{
					TestStart: func(_ context.Context, env *loadtest.Env) error {
						order = append(order, "start")
						return env.Share("parent", "p-"+env.RunID())
					},
					TestStop:         func(context.Context, *loadtest.Env) error { order = append(order, "stop"); return nil },
					SpawningComplete: func(context.Context, *loadtest.Env, int) error { order = append(order, "complete"); return nil },
				},
				Close: func(context.Context) error { order = append(order, "close"); return nil },
			}, nil
		}})
		workers := []*sharedSeen{c.sharedWorker(), c.sharedWorker()}
		c.waitWorkers(2)
		id := c.start(master.Plan{Users: 4, SpawnRate: 10, Seed: 42, Options: map[string]string{"x": "y"}})
		time.Sleep(3 * time.Second)
		c.end()
		if got := strings.Join(order, " "); got != "open start complete stop close" {
			t.Errorf("order: %s", got)
		}
		for i, w := range workers {
			if w.parent != "p-"+id || w.namespace != "load-"+id || w.seed != 42 || w.option != "y" || w.count != 2 || w.runs != 1 || w.stops != 1 || w.late == nil {
				t.Errorf("worker %d saw %+v", i, w)
			}
		}
		if workers[0].index == workers[1].index {
			t.Error("two workers have the same index")
		}
		_ = m
	})
}

func TestAFailingListenerEndsTheRunBeforeAnyUser(t *testing.T) {
	failure := errors.New("no table")
	for name, config := range map[string]master.Config{
		"opening": {Open: func(context.Context, master.Run) (*master.Scenario, error) { return nil, failure }},
		"on_test_start": {Open: func(context.Context, master.Run) (*master.Scenario, error) {
			return &master.Scenario{Events: loadtest.Events{TestStart: func(context.Context, *loadtest.Env) error { return failure }}}, nil
		}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c := newCluster(t)
				m, _ := c.runMaster(config)
				c.runWorker()
				c.waitWorkers(1)
				c.start(master.Plan{Users: 4, SpawnRate: 10})
				if err := m.Wait(t.Context()); err != nil {
					t.Fatal(err)
				}
				if o, _ := m.Outcome(); !errors.Is(o.Err, failure) || o.Snapshot == nil || len(c.oracle.byID) > 0 {
					t.Errorf("outcome %+v after %d users", o, len(c.oracle.byID))
				}
				if got := m.State(); got != master.StateStopped {
					t.Errorf("state %s", got)
				}
			})
		})
	}
}

// A stop while a listener is still at work ends it, and no user starts.
func TestAStopEndsAListenerAtWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		c.runMaster(master.Config{Open: func(ctx context.Context, _ master.Run) (*master.Scenario, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}})
		c.runWorker()
		c.waitWorkers(1)
		c.start(master.Plan{Users: 4, SpawnRate: 10})
		time.Sleep(time.Minute)
		if o := c.end(); o.Err != nil || len(c.oracle.byID) > 0 {
			t.Errorf("outcome %v after %d users", o.Err, len(c.oracle.byID))
		}
	})
}
