package worker_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// scripted is a master that does what the test says.
type scripted struct {
	t        *testing.T
	listener *wiretest.Listener
	router   *wire.Router
	own      bool // as a master of this program
	protocol int  // of such a one; 0 = the latest
	mute     atomic.Bool

	mu       sync.Mutex
	received []wire.Message
	clock    float64
}

func newScripted(t *testing.T, own bool) *scripted {
	t.Helper()
	s := &scripted{t: t, listener: wiretest.NewListener(), own: own}
	s.router = wire.NewRouter(wire.RouterOptions{AllowPlain: true, Handle: s.handle})
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.router.Serve(context.Background(), s.listener)
	}()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		s.router.Close(ctx)
		<-done
	})
	return s
}

func (s *scripted) handle(e wire.Event) {
	if e.Kind != wire.Received {
		return
	}
	s.mu.Lock()
	s.received = append(s.received, e.Message)
	s.mu.Unlock()
	if s.mute.Load() {
		return
	}
	switch e.Message.Type {
	case wire.TypeClientReady:
		ack := wire.Ack{Index: 3}
		if s.own {
			ack.Extra = wire.MasterInfo{Protocol: cmp.Or(s.protocol, wire.Protocol), ReportEvery: time.Second}.Extra()
		}
		s.send(wire.TypeAck, ack)
	case wire.TypeHeartbeat:
		s.send(wire.TypeHeartbeat, nil)
	case wire.TypeStats:
		if r := e.Message.Data.(*wire.Stats).Report; r != nil && r.Heartbeat.State != "" {
			s.send(wire.TypeHeartbeat, nil)
		}
	}
}

func (s *scripted) send(kind string, data any) {
	if err := s.router.Send("w", &wire.Message{Type: kind, Data: data, NodeID: "w"}); err != nil && !errors.Is(err, wire.ErrUnknownPeer) {
		s.t.Error(err)
	}
}

// spawn tells the worker what to run; the clock increases by a second each time.
func (s *scripted) spawn(users map[string]int, extra map[string]any) {
	s.clock++
	s.send(wire.TypeSpawn, wire.Spawn{Timestamp: s.clock, UsersByClass: users, StopTimeout: 1, Extra: extra})
	synctest.Wait()
}

// said returns the types of messages, heartbeats and statistics left out, since the last call.
func (s *scripted) said() string {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var types []string
	for _, m := range s.received {
		if m.Type != wire.TypeHeartbeat && m.Type != wire.TypeStats {
			types = append(types, m.Type)
		}
	}
	s.received = nil
	return strings.Join(types, " ")
}

// reports returns the statistics received so far.
func (s *scripted) reports() []*wire.Stats {
	synctest.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	var reports []*wire.Stats
	for _, m := range s.received {
		if r, ok := m.Data.(*wire.Stats); ok {
			reports = append(reports, r)
		}
	}
	return reports
}

type wireConn = net.Conn

type working struct {
	*worker.Worker
	calls  atomic.Int64
	events events
	cancel func()
	done   chan struct{}
	status worker.Status
	err    error
}

type events struct {
	mu   sync.Mutex
	list []string
}

func (e *events) add(event string) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.list = append(e.list, event)
}

func (e *events) String() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return strings.Join(e.list, " ")
}

// start starts worker w, whose users of class A call every 100 ms.
func start(t *testing.T, dial func(context.Context) (conn wireConn, err error), change ...func(*worker.Config)) *working {
	t.Helper()
	w := &working{done: make(chan struct{})}
	class := &loadtest.UserClass{Name: "A", WaitTime: loadtest.Constant(100 * time.Millisecond), Tasks: []loadtest.Task{{
		Name: "t", Run: func(_ context.Context, u *loadtest.User) error {
			w.calls.Add(1)
			u.Record(stats.Sample{Type: "CALL", Name: "c", Start: time.Now()})
			return nil
		},
	}}}
	event := func(name string) func(context.Context, *loadtest.Env) error {
		return func(context.Context, *loadtest.Env) error { w.events.add(name); return nil }
	}
	config := worker.Config{
		ID: "w", Dial: dial, ClassNames: []string{"A"}, Cores: 1,
		Open: func(context.Context, worker.Run) (*worker.Scenario, error) {
			return &worker.Scenario{
				Classes: []*loadtest.UserClass{class},
				Events: loadtest.Events{
					TestStart: event("test_start"), TestStop: event("test_stop"),
					WorkerStart: event("worker_start"), WorkerStop: event("worker_stop"),
					SpawningComplete: func(context.Context, *loadtest.Env, int) error { w.events.add("complete"); return nil },
				},
				Close: func(context.Context) error { w.events.add("close"); return nil },
			}, nil
		},
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	if w.Worker, err = worker.New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.done)
		w.status, w.err = w.Run(ctx)
	}()
	t.Cleanup(func() { cancel(); <-w.done })
	synctest.Wait()
	return w
}

// end waits for the worker to end.
func (w *working) end(t *testing.T, want worker.Status) (took time.Duration) {
	t.Helper()
	began := time.Now()
	<-w.done
	if w.status != want || w.err != nil {
		t.Errorf("ended with %s, %v; want %s", w.status, w.err, want)
	}
	return time.Since(began)
}

func bubble(t *testing.T, test func(t *testing.T)) { synctest.Test(t, test) }

// What a worker says to a master of Locust, message by message.
func TestAWorkerUnderLocust(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newScripted(t, false)
		w := start(t, m.listener.Dial)
		expect := func(when, want string) {
			t.Helper()
			if got := m.said(); got != want {
				t.Errorf("%s: said %q, want %q", when, got, want)
			}
		}
		expect("at first", "client_ready")
		m.send(wire.TypeStop, nil)
		expect("a stop when idle", "client_stopped client_ready")
		time.Sleep(10 * time.Second)
		for _, s := range m.reports() {
			if s.Users != 0 || !maps.Equal(s.UsersByClass, map[string]int{"A": 0}) || s.Report != nil {
				t.Errorf("idle report %+v", s)
			}
		}
		if n := len(m.reports()); n < 3 || n > 4 {
			t.Errorf("%d idle reports in ten seconds", n)
		}
		expect("when idle", "")
		m.spawn(map[string]int{"A": 3}, nil)
		expect("a spawn", "spawning spawning_complete")
		m.clock--
		m.spawn(map[string]int{"A": 9}, nil)
		expect("a spawn that is not newer", "spawning")
		m.spawn(map[string]int{"Nobody": 2}, nil)
		expect("a class that is not there", "spawning spawning_complete")
		m.send(wire.TypeSpawningComplete, wire.SpawningComplete{Users: 3})
		time.Sleep(time.Second)
		m.spawn(map[string]int{"A": 1}, nil)
		time.Sleep(time.Second)
		expect("down", "spawning spawning_complete")
		stopped := time.Now()
		m.send(wire.TypeStop, nil)
		m.spawn(map[string]int{"A": 2}, nil) // waits until it is ready again
		expect("a stop", "client_stopped")
		time.Sleep(time.Second)
		expect("after the stop timeout", "client_ready spawning spawning_complete")
		if since := time.Since(stopped); since != time.Second {
			t.Errorf("ready after %v", since)
		}
		m.send("unheard-of", []any{"x"})
		m.send(wire.TypeReconnect, nil)
		time.Sleep(time.Second)
		m.send(wire.TypeQuit, nil)
		w.end(t, worker.StatusQuit)
		expect("at the end", "quit")
		if got, want := w.events.String(), "test_start worker_start complete worker_stop test_stop close test_start worker_start worker_stop test_stop close"; got != want {
			t.Errorf("events %s\nwant   %s", got, want)
		}
	})
}

// All calls of users are in the reports, in Locust's terms.
func TestReportsToLocustHaveAllCalls(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newScripted(t, false)
		w := start(t, m.listener.Dial)
		m.spawn(map[string]int{"A": 5}, nil)
		time.Sleep(7 * time.Second)
		m.listener.Cut() // nothing is written at this moment
		time.Sleep(7 * time.Second)
		w.cancel()
		w.end(t, worker.StatusStopped)
		sum := int64(0)
		for _, s := range m.reports() {
			sum += s.Total.Requests
		}
		if sum != w.calls.Load() || sum == 0 {
			t.Errorf("%d calls in the reports, users made %d", sum, w.calls.Load())
		}
	})
}

// Under a master of this program: users get the indexes that it gives, reports are numbered, and come
// again until they are confirmed.
func TestReportsAreSentUntilTheyAreConfirmed(t *testing.T) {
	bubble(t, func(t *testing.T) {
		m := newScripted(t, true)
		var mu sync.Mutex
		var indexes []int64
		w := start(t, m.listener.Dial, func(c *worker.Config) {
			open := c.Open
			c.Open = func(ctx context.Context, run worker.Run) (*worker.Scenario, error) {
				s, err := open(ctx, run)
				s.Classes[0].OnStart = func(_ context.Context, u *loadtest.User) error {
					mu.Lock()
					defer mu.Unlock()
					indexes = append(indexes, u.Index())
					return nil
				}
				return s, err
			}
		})
		if got := m.said(); got != "client_ready zae_hello" {
			t.Errorf("said %q", got)
		}
		run := wire.RunInfo{ID: "r1", Complete: true, WorkerCount: 1, Indexes: map[string][]int64{"A": {4, 7}}}
		m.spawn(map[string]int{"A": 2}, run.Extra())
		time.Sleep(20 * time.Second)
		sent := map[uint64]int{}
		samples := int64(0)
		for _, s := range m.reports() {
			sent[s.Report.Sequence]++
			samples = max(samples, s.Report.Samples)
		}
		if len(sent) < 19 || sent[1] < 3 || sent[uint64(len(sent))] != 1 {
			t.Errorf("reports and how often they came: %v", sent)
		}
		m.send(wire.TypeHeartbeat, wire.Heartbeat{Acknowledged: uint64(len(sent))})
		m.said()
		time.Sleep(20 * time.Second)
		for _, s := range m.reports() {
			if s.Report.Sequence <= uint64(len(sent)) {
				t.Fatalf("report %d comes again after it was confirmed", s.Report.Sequence)
			}
		}
		began := time.Now()
		w.cancel() // nobody confirms the last report
		w.end(t, worker.StatusStopped)
		if took := time.Since(began); took > 5*time.Second {
			t.Errorf("the end took %v", took)
		}
		var last *wire.Report
		for _, s := range m.reports() {
			if last == nil || s.Report.Sequence > last.Sequence {
				last = s.Report
			}
		}
		if !last.Final || last.Samples != w.calls.Load() {
			t.Errorf("last report %d, final %v, %d samples; users made %d", last.Sequence, last.Final, last.Samples, w.calls.Load())
		}
		slices.Sort(indexes)
		if !slices.Equal(indexes, []int64{4, 7}) {
			t.Errorf("indexes %v", indexes)
		}
		if got := w.events.String(); got != "worker_start worker_stop close" {
			t.Errorf("events %s", got)
		}
	})
}

// Each second a master hears of a worker, while there are reports by them; every other one has the
// heartbeat, whose answer confirms them, but not if the master would not look for it there, nor one that
// is sent again.
func TestHeartbeatsGoWithReports(t *testing.T) {
	for protocol, separate := range map[int]bool{1: true, 2: false} {
		t.Run(fmt.Sprint("protocol ", protocol), func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newScripted(t, true)
				m.protocol = protocol
				start(t, m.listener.Dial)
				beats := func() (own, inReports int) {
					m.mu.Lock()
					defer m.mu.Unlock()
					seen := map[uint64]bool{}
					for _, message := range m.received {
						switch data := message.Data.(type) {
						case wire.Heartbeat:
							own++
						case *wire.Stats:
							if data.Report.Heartbeat.State != "" {
								inReports++
								if seen[data.Report.Sequence] {
									t.Errorf("report %d has a heartbeat though it came before", data.Report.Sequence)
								}
							}
							seen[data.Report.Sequence] = true
						}
					}
					return own, inReports
				}
				time.Sleep(10500 * time.Millisecond)
				if own, inReports := beats(); own != 11 || inReports != 0 {
					t.Errorf("without users %d heartbeats and %d in reports, want 11 and none", own, inReports)
				}
				m.said()
				run := wire.RunInfo{ID: "r1", Complete: true, WorkerCount: 1}
				m.spawn(map[string]int{"A": 2}, run.Extra())
				time.Sleep(10 * time.Second) // nothing is confirmed: reports come again
				own, inReports := beats()
				if separate && (own != 10 || inReports != 0) || !separate && (own > 1 || inReports < 5 || inReports > 6) {
					t.Errorf("with users %d heartbeats and %d in reports", own, inReports)
				}
				m.said()
				m.send(wire.TypeStop, nil)
				time.Sleep(5 * time.Second)
				if own, inReports := beats(); own < 3 || inReports > 1 {
					t.Errorf("after the stop %d heartbeats and %d in reports", own, inReports)
				}
			})
		})
	}
}

// A worker without a master gives up after its time, in either case.
func TestAWorkerWithoutAMaster(t *testing.T) {
	bubble(t, func(t *testing.T) {
		refused := errors.New("connection refused")
		w := start(t, func(context.Context) (wireConn, error) { return nil, refused }, func(c *worker.Config) { c.JoinTimeout = 30 * time.Second })
		if took := w.end(t, worker.StatusMasterUnreachable); took < 30*time.Second || took > 36*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	bubble(t, func(t *testing.T) {
		m := newScripted(t, true)
		w := start(t, m.listener.Dial, func(c *worker.Config) { c.MasterTimeout = 10 * time.Second })
		time.Sleep(20 * time.Second)
		m.mute.Store(true)
		if took := w.end(t, worker.StatusMasterLost); took < 9*time.Second || took > 16*time.Second {
			t.Errorf("gave up after %v", took)
		}
	})
	bubble(t, func(t *testing.T) {
		m := newScripted(t, false)
		m.mute.Store(true) // it is there and does not answer
		w := start(t, m.listener.Dial, func(c *worker.Config) { c.JoinTimeout = 20 * time.Second })
		time.Sleep(18 * time.Second)
		if got := m.said(); got != "client_ready client_ready client_ready client_ready" {
			t.Errorf("said %q", got)
		}
		w.end(t, worker.StatusMasterUnreachable)
	})
}

// A process that is told to end is gone within five seconds, whatever its users do.
func TestAWorkerEndsInTime(t *testing.T) {
	for name, test := range map[string]struct {
		own  bool
		task loadtest.TaskFunc
	}{
		"users that do not stop": {true, func(ctx context.Context, u *loadtest.User) error { return u.Sleep(context.Background(), time.Hour) }},
		"users that sleep":       {false, func(ctx context.Context, u *loadtest.User) error { return u.Sleep(ctx, time.Hour) }},
	} {
		t.Run(name, func(t *testing.T) {
			bubble(t, func(t *testing.T) {
				m := newScripted(t, test.own)
				release := make(chan struct{})
				w := start(t, m.listener.Dial, func(c *worker.Config) {
					c.Open = func(context.Context, worker.Run) (*worker.Scenario, error) {
						return &worker.Scenario{Classes: []*loadtest.UserClass{{Name: "A", Tasks: []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
							if name == "users that do not stop" {
								<-release
								return nil
							}
							return test.task(ctx, u)
						}}}}}}, nil
					}
				})
				run := wire.RunInfo{ID: "r1", Complete: true}
				m.spawn(map[string]int{"A": 2}, run.Extra())
				time.Sleep(time.Second)
				w.cancel()
				if took := w.end(t, worker.StatusStopped); took > 5*time.Second {
					t.Errorf("the end took %v", took)
				}
				close(release)
				if got := m.said(); !strings.HasSuffix(got, " quit") {
					t.Errorf("said %q", got)
				}
			})
		})
	}
}

// A run that cannot begin is told; the worker can be used again.
func TestARunThatCannotBegin(t *testing.T) {
	for own, want := range map[bool]string{
		true:  "client_ready zae_hello spawning zae_run_failed",
		false: "client_ready spawning exception spawning_complete",
	} {
		bubble(t, func(t *testing.T) {
			m := newScripted(t, own)
			fails := atomic.Bool{}
			fails.Store(true)
			w := start(t, m.listener.Dial, func(c *worker.Config) {
				open := c.Open
				c.Open = func(ctx context.Context, run worker.Run) (*worker.Scenario, error) {
					if fails.Load() {
						return nil, errors.New("no table")
					}
					return open(ctx, run)
				}
			})
			extra := func(id string) map[string]any {
				if !own {
					return nil
				}
				run := wire.RunInfo{ID: id, Complete: true}
				return run.Extra()
			}
			m.spawn(map[string]int{"A": 2}, extra("r1"))
			if got := m.said(); got != want {
				t.Errorf("said %q, want %q", got, want)
			}
			fails.Store(false)
			m.send(wire.TypeStop, nil)
			time.Sleep(2 * time.Second)
			m.spawn(map[string]int{"A": 2}, extra("r2"))
			time.Sleep(time.Second)
			if w.calls.Load() == 0 {
				t.Error("no user runs in the next run")
			}
		})
	}
}

// A configuration that cannot work is refused.
func TestConfigurationsThatAreRefused(t *testing.T) {
	_, err := worker.New(worker.Config{})
	for _, want := range []string{"the address of a master is needed", "nothing to run"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
