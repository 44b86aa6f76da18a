package orchestrator_test

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/autoscale"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

// world is a master and its workers in virtual time: both interfaces that the loop consumes, and
// what really happens behind them. It must be made inside of a synctest bubble.
type world struct {
	mu    sync.Mutex
	began time.Time

	// load is what the test does at a time after the beginning.
	load func(at time.Duration) load
	// silent says when the master does not answer.
	silent func(at time.Duration) bool
	// idle is when a person used the web UI last; negative is unknown.
	idle func(at time.Duration) time.Duration

	connect  time.Duration // from the start of a worker until it is in the table
	goodbye  time.Duration // from being told to quit until it is gone
	lifetime time.Duration // it leaves at nine tenths; 0 is never

	startTakes time.Duration
	startFails func(n int) error // by the number of the call, from 0 on
	stubborn   bool              // workers do not react to being told to quit
	noQuit     bool              // the master cannot tell them
	noStop     bool              // the launcher cannot end them

	starts   []time.Duration // when calls were made
	calls    int             // starts in progress
	mostAt   int             // most calls at once
	workers  map[string]*simulated
	quits    [][]string
	stops    []string
	rounds   []record
	warnings []record
}

type load struct {
	state         string
	users, target int
}

type simulated struct {
	id      string
	number  int // of the call that started it
	invoked time.Duration
	never   bool          // does not connect
	ends    time.Duration // when it is gone; far away if nothing ends it
	told    bool
}

// record is a line of the log.
type record struct {
	at      time.Duration
	message string
	values  map[string]any
}

func (r record) number(key string) int {
	n, ok := r.values[key].(int64)
	if !ok {
		return -1
	}
	return int(n)
}

const forever = 1000 * time.Hour

func newWorld() *world {
	return &world{
		began: time.Now(), workers: map[string]*simulated{},
		load:    func(time.Duration) load { return load{state: "ready", target: 0} },
		silent:  func(time.Duration) bool { return false },
		idle:    func(time.Duration) time.Duration { return -1 },
		connect: 7 * time.Second, goodbye: time.Second, lifetime: 300 * time.Second,
		startFails: func(int) error { return nil },
	}
}

func (w *world) now() time.Duration { return time.Since(w.began) }

func (w *world) Status(context.Context) (orchestrator.Status, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.now()
	if w.silent(now) {
		return orchestrator.Status{}, errors.New("connection refused")
	}
	l := w.load(now)
	s := orchestrator.Status{State: l.state, Users: l.users, Target: l.target, Idle: w.idle(now)}
	for _, worker := range w.inOrder() {
		if w.connected(worker) {
			s.Workers = append(s.Workers, orchestrator.Worker{ID: worker.id, State: "running", Users: 1})
		}
	}
	return s, nil
}

func (w *world) Quit(_ context.Context, ids []string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.noQuit {
		return errors.ErrUnsupported
	}
	w.quits = append(w.quits, ids)
	for _, id := range ids {
		if worker := w.workers[id]; worker != nil && !w.stubborn {
			worker.told = true
			worker.ends = min(worker.ends, w.now()+w.goodbye)
		}
	}
	return nil
}

func (w *world) Start(_ context.Context, id string) error {
	w.mu.Lock()
	n := len(w.starts)
	w.starts = append(w.starts, w.now())
	w.calls++
	w.mostAt = max(w.mostAt, w.calls)
	err := w.startFails(n)
	if err == nil {
		ends := forever
		if w.lifetime > 0 {
			ends = w.now() + w.lifetime*9/10
		}
		w.workers[id] = &simulated{id: id, number: n, invoked: w.now(), ends: ends}
	}
	w.mu.Unlock()
	time.Sleep(w.startTakes)
	w.mu.Lock()
	w.calls--
	w.mu.Unlock()
	return err
}

func (w *world) Stop(_ context.Context, id string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.stops = append(w.stops, id)
	if w.noStop {
		return errors.ErrUnsupported
	}
	if worker := w.workers[id]; worker != nil {
		worker.told, worker.ends = true, w.now()
	}
	return nil
}

// inOrder lists the workers in the order of their starts: ids are random, and a property test has to
// draw the same for the same worker.
func (w *world) inOrder() []*simulated {
	return slices.SortedFunc(maps.Values(w.workers), func(a, b *simulated) int { return a.number - b.number })
}

func (w *world) running(worker *simulated) bool { return w.now() < worker.ends }

func (w *world) connected(worker *simulated) bool {
	return w.running(worker) && !worker.never && w.now() >= worker.invoked+w.connect
}

// count is how many workers run, how many of those nobody told to leave, and how many are connected.
func (w *world) count() (running, wanted, connected int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, worker := range w.workers {
		if w.running(worker) {
			running++
			if !worker.told {
				wanted++
			}
		}
		if w.connected(worker) {
			connected++
		}
	}
	return running, wanted, connected
}

// lastRound is the newest line about a round.
func (w *world) lastRound() record {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.rounds) == 0 {
		return record{values: map[string]any{"desired": int64(0), "expiring": int64(0)}}
	}
	return w.rounds[len(w.rounds)-1]
}

// Enabled, Handle, WithAttrs and WithGroup make the world the handler of the loop's log.
func (w *world) Enabled(context.Context, slog.Level) bool { return true }

func (w *world) Handle(_ context.Context, r slog.Record) error {
	line := record{at: w.now(), message: r.Message, values: map[string]any{}}
	r.Attrs(func(a slog.Attr) bool {
		line.values[a.Key] = a.Value.Any()
		return true
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case r.Message == "round":
		w.rounds = append(w.rounds, line)
	case r.Level >= slog.LevelWarn:
		w.warnings = append(w.warnings, line)
	}
	return nil
}

func (w *world) WithAttrs([]slog.Attr) slog.Handler { return w }
func (w *world) WithGroup(string) slog.Handler      { return w }

// warned returns the first warning that begins with the text.
func (w *world) warned(text string) (record, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	i := slices.IndexFunc(w.warnings, func(r record) bool { return strings.HasPrefix(r.message, text) })
	if i < 0 {
		return record{}, false
	}
	return w.warnings[i], true
}

// policy has the defaults of a deployment.
func policy() autoscale.Policy {
	return autoscale.Policy{
		UsersPerWorker: 10, MinWorkers: 1, MaxWorkers: autoscale.Unlimited,
		LeadTime: 20 * time.Second, PendingTimeout: 30 * time.Second, PollInterval: 5 * time.Second,
		Lifetime: 300 * time.Second, ReplaceFraction: 0.8,
	}
}

// tester is *testing.T or *rapid.T.
type tester interface {
	Helper()
	Fatal(...any)
	Fatalf(string, ...any)
	Errorf(string, ...any)
	Cleanup(func())
}

// loop is an orchestrator that runs in the world.
type loop struct {
	*orchestrator.Orchestrator
	t      tester
	cancel context.CancelFunc
	done   chan struct{}
	err    error
}

func (w *world) run(t tester, config orchestrator.Config) *loop {
	t.Helper()
	return w.runWith(t, config, w)
}

func (w *world) runWith(t tester, config orchestrator.Config, launcher orchestrator.Launcher) *loop {
	t.Helper()
	o, err := orchestrator.New(config, w, launcher, slog.New(w))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	l := &loop{Orchestrator: o, t: t, cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		l.err = o.Run(ctx)
	}()
	t.Cleanup(func() { // a test that failed leaves no goroutine in its bubble
		cancel()
		<-l.done
	})
	return l
}

// end stops the loop, if it did not end by itself, and returns what it did.
func (l *loop) end() orchestrator.Summary {
	l.t.Helper()
	l.cancel()
	<-l.done
	if l.err != nil {
		l.t.Errorf("Run: %v", l.err)
	}
	return l.Summary()
}

// eachSecond lets time pass until the given moment and calls f in every second of it, after
// everything that happens in that second.
func (w *world) eachSecond(until time.Duration, f func(at time.Duration)) {
	for w.now() < until {
		time.Sleep(time.Second)
		synctest.Wait()
		f(w.now())
	}
}

func inVirtualTime(t *testing.T, f func(t *testing.T, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { f(t, newWorld()) })
}
