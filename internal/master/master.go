package master

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// The states of the master and of its workers, as Locust names them.
const (
	StateReady    = "ready"
	StateSpawning = "spawning"
	StateRunning  = "running"
	StateCleanup  = "cleanup"
	StateStopping = "stopping"
	StateStopped  = "stopped"
	StateMissing  = "missing"
)

// Errors of a start.
var (
	// ErrNoWorkers: there is no worker that could run users.
	ErrNoWorkers = errors.New("no worker is connected")
	// ErrNoClasses: there is nothing to run.
	ErrNoClasses = errors.New("there is no user class to run")
	// ErrClosed: the master has ended or is about to.
	ErrClosed = errors.New("the master is ending")
)

// Why a run ended before its time.
var (
	// ErrUnreachable: nothing but failures to reach the target for the configured time.
	ErrUnreachable = loadtest.ErrUnreachable
	// ErrWorkersLost: the last worker left.
	ErrWorkersLost = errors.New("no worker is left")
)

// Run is a run as the master's program has to know it before users start.
type Run struct {
	ID      string
	Seed    uint64
	Host    string
	Options map[string]string
}

// Scenario is what a run has on the process that controls it.
type Scenario struct {
	// Events are the listeners; those of workers are not called here.
	Events loadtest.Events
	// Settings are JSON values that the workers' program is told, such as the namespace of the run.
	Settings map[string]any
	// OnWarm is called from a goroutine of its own when the warm-up of the configuration is over; nil =
	// nobody wants to know.
	OnWarm func()
	// Close gives back what was opened, after the last worker has stopped its users; nil = nothing.
	Close func(context.Context) error
}

// Config configures a master. Every zero value is good.
type Config struct {
	Version string
	// Link says who may connect; its Handle is not used.
	Link wire.RouterOptions

	// Classes are the user classes that there are: their names, weights and fixed counts. nil = those
	// that workers tell of, all of weight 1.
	Classes []*loadtest.UserClass
	// Locustfile identifies the code of the classes; workers that have another are warned of. Files
	// returns it for workers that ask; nil = they have to bring their own.
	Locustfile string
	// Build names the deployment that the master belongs to: workers of another one are told to quit.
	// "" = none.
	Build string
	Files func() ([]wire.LocustfileSource, error)
	// Open is called at the beginning of every run; nil = there is nothing to do. It must heed the
	// context, which ends when the run is stopped.
	Open func(ctx context.Context, run Run) (*Scenario, error)
	// NewRunID names runs; nil = random.
	NewRunID func() string

	// Rebalance deals users anew when workers come or go while no ramp is going on.
	Rebalance bool
	// StopTimeout is how long a task may go on when its user is told to stop.
	StopTimeout time.Duration
	// Warmup is left out of the totals, by workers of this program.
	Warmup time.Duration
	// Unreachable ends a run when for that long every request failed to reach the target; 0 = never.
	Unreachable time.Duration

	// ReportEvery is how often workers of this program report; 0 = 1 s.
	ReportEvery time.Duration
	// MissingAfter is how long after its last heartbeat a worker is missing, 0 = 4 s (three heartbeats
	// that did not come); ForgottenAfter is when it is forgotten, 0 = 64 s.
	MissingAfter, ForgottenAfter time.Duration
	// StopDeadline is how long, beyond StopTimeout, a stop waits for what workers still have to tell;
	// 0 = 15 s.
	StopDeadline time.Duration

	// OnMessage takes workers' messages of a type that is neither Locust's nor ours; nil drops them.
	OnMessage func(worker string, m wire.Message)
	// Logger receives what happens; nil discards it.
	Logger *slog.Logger
}

// Plan says what to run.
type Plan struct {
	// ID names the run; "" = a new one.
	ID   string
	Seed uint64
	// Users are started at SpawnRate a second. A Shape decides on both instead.
	Users     int
	SpawnRate float64
	Shape     loadtest.Shape
	// Classes restricts the classes; nil = all.
	Classes []string
	// Host replaces the host of every class; "" = it does not.
	Host string
	// RunTime ends the run so long after the start, or after the change that brings it; 0 = never.
	RunTime time.Duration
	// Options are custom values of the users' code. ParsedOptions are further ones that Locust's
	// workers are given.
	Options           map[string]string
	ParsedOptions     map[string]any
	Tags, ExcludeTags []string
}

// Outcome is what is left of a run.
type Outcome struct {
	Run            Run
	Plan           Plan
	Started, Ended time.Time
	// Reason says why it ended before its time: what a user's StopTest says, or "".
	Reason string
	// Err is why it ended: a failing listener, [ErrUnreachable], [ErrWorkersLost], the cause of the
	// master's context; nil when it was stopped or its time was over.
	Err error
	// Workers is the most that took part at once.
	Workers int
	// WorkersBySecond has how many workers could run users at the end of each second.
	WorkersBySecond []int
	// Parts are the workers that took part, each of its processes for itself, in the order in which
	// they joined the run.
	Parts []Part
	// Snapshot is never nil.
	Snapshot *stats.Snapshot
}

// Part is what a worker's process did in a run.
type Part struct {
	Worker string
	Own    bool
	// Lost is set when not everything that the worker had to tell has come, and the run is over: what
	// it did after Until is not known.
	Lost  bool
	Until time.Time
	// Samples is how many calls a worker of this program says that it made until then, Counted how many
	// of them are in the snapshot, MissingReports how many reports had the others.
	Samples, Counted, MissingReports int64
}

// Master is the process that controls workers. Make it with [New] and call Run once; the other
// methods may be called from any goroutine.
type Master struct {
	config Config
	log    *slog.Logger
	router *wire.Router

	starts chan *run     // takes the next run to conduct
	quit   chan struct{} // closed by Quit
	ended  chan struct{} // closed when Run returns

	// mu guards everything below and what of runs and nodes is not said to be otherwise.
	mu        sync.Mutex
	closing   bool
	state     string
	nodes     map[string]*node
	memories  map[string]memory // of every id ever seen
	nextIndex int
	leaving   map[string]time.Time // ids that stopped their users, until when they may be back
	retired   map[string]bool      // processes whose id another one has taken over
	logs      map[string][]string
	running   map[string]classUsers
	learned   map[string]bool // classes that workers told of
	weights   map[string]*loadtest.UserClass
	updates   map[string]wire.UpdateUserClass // by class, for workers that come later
	lastSpawn float64
	active    *run          // conducted or about to be
	latest    *run          // active, or the last one that was
	waiting   *run          // comes after the active one
	changed   chan struct{} // closed and replaced when the workers change
}

// New returns a master; it accepts workers once it is run.
func New(config Config) (*Master, error) {
	if config.StopTimeout < 0 || config.Warmup < 0 || config.Unreachable < 0 {
		return nil, errors.New("master: durations must not be negative")
	}
	config.ReportEvery = cmp.Or(config.ReportEvery, time.Second)
	config.MissingAfter = cmp.Or(config.MissingAfter, 4*time.Second)
	config.ForgottenAfter = cmp.Or(config.ForgottenAfter, 64*time.Second)
	config.StopDeadline = cmp.Or(config.StopDeadline, 15*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.NewRunID == nil {
		config.NewRunID = newRunID
	}
	m := &Master{
		config:   config,
		log:      config.Logger,
		starts:   make(chan *run, 1),
		quit:     make(chan struct{}),
		ended:    make(chan struct{}),
		state:    StateReady,
		nodes:    map[string]*node{},
		memories: map[string]memory{}, running: map[string]classUsers{},
		leaving: map[string]time.Time{},
		retired: map[string]bool{},
		logs:    map[string][]string{},
		learned: map[string]bool{},
		weights: map[string]*loadtest.UserClass{},
		updates: map[string]wire.UpdateUserClass{},
		changed: make(chan struct{}),
	}
	for _, c := range config.Classes {
		if !c.Abstract {
			m.weights[c.Name] = c
		}
	}
	link := config.Link
	link.Handle = m.handle
	m.router = wire.NewRouter(link)
	return m, nil
}

// newRunID returns an id that sorts by time.
func newRunID() string {
	b := make([]byte, 4)
	_, _ = rand.Read(b) // never fails
	return fmt.Sprintf("%x%s", time.Now().UnixMilli(), hex.EncodeToString(b))
}

// Run accepts workers from the listeners, which it closes, and conducts runs, until the context ends
// or Quit is called: a run that goes on is stopped as usual, then workers are told to quit. An error
// is one of a listener.
func (m *Master) Run(ctx context.Context, listeners ...net.Listener) error {
	defer close(m.ended)
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var group sync.WaitGroup
	defer group.Wait()
	failed := make(chan error, len(listeners))
	for _, listener := range listeners {
		group.Go(func() {
			if err := m.router.Serve(ctx, listener); err != nil {
				failed <- err
				cancel(err)
			}
		})
	}
	group.Go(func() { m.watch(ctx) })
	group.Go(func() {
		select {
		case <-m.quit:
			cancel(ErrClosed)
		case <-ctx.Done():
		}
	})
	for ctx.Err() == nil {
		select {
		case r := <-m.starts:
			m.conduct(ctx, r)
		case <-ctx.Done():
		}
	}
	m.farewell()
	select {
	case err := <-failed:
		return err
	default:
		return nil
	}
}

// farewellTime is how long workers have to say goodbye.
const farewellTime = 2 * time.Second

// farewell tells all workers to quit and closes their connections when they have said goodbye.
func (m *Master) farewell() {
	m.mu.Lock()
	m.closing = true
	if m.waiting != nil {
		m.waiting.abandon(ErrClosed)
		m.waiting = nil
	}
	select {
	case r := <-m.starts:
		r.abandon(ErrClosed)
		m.active = nil
	default:
	}
	for id := range m.nodes {
		m.send(id, wire.TypeQuit, nil)
	}
	for id := range m.leaving {
		// It is between two runs, and reads this when it has slept for its stop timeout.
		m.send(id, wire.TypeQuit, nil)
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), farewellTime+m.config.StopTimeout)
	defer cancel()
	m.await(ctx, func() bool {
		for _, n := range m.nodes {
			if n.state != StateMissing { // a missing worker says nothing any more
				return false
			}
		}
		return len(m.leaving) == 0
	})
	m.router.Close(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.nodes)
	m.state = StateStopped
}

// Quit ends the master as the end of its context does, and returns when it has ended or ctx ends.
func (m *Master) Quit(ctx context.Context) error {
	m.mu.Lock()
	if !m.closing {
		m.closing = true
		close(m.quit)
	}
	m.mu.Unlock()
	select {
	case <-m.ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// Start starts a run, or changes the one that goes on: target, rate, classes, host, run time and
// shape. It returns before the ramp is over. A run that is being stopped ends first.
func (m *Master) Start(plan Plan) (runID string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if err := m.check(&plan); err != nil {
		return "", err
	}
	if r := m.active; r != nil && !r.stopping {
		r.edit(plan)
		return r.run.ID, nil
	}
	if len(m.able(nil)) == 0 && len(m.leaving) == 0 && m.active == nil {
		return "", ErrNoWorkers
	}
	r := m.newRun(plan)
	if m.active != nil {
		if m.waiting != nil {
			m.waiting.abandon(ErrClosed)
		}
		m.waiting = r
		return r.run.ID, nil
	}
	m.begin(r)
	return r.run.ID, nil
}

// begin hands a run over to be conducted. The lock is held.
func (m *Master) begin(r *run) {
	m.active, m.latest = r, r
	m.state = StateSpawning
	m.starts <- r
}

// check refuses a plan that cannot be followed. The lock is held.
func (m *Master) check(plan *Plan) error {
	if m.closing {
		return ErrClosed
	}
	var errs []error
	if plan.Shape == nil {
		errs = append(errs, checkTarget(plan.Users, plan.SpawnRate))
	}
	if plan.RunTime < 0 {
		errs = append(errs, fmt.Errorf("the run time %v is negative", plan.RunTime))
	}
	known := m.classNames()
	for _, name := range plan.Classes {
		if len(known) > 0 && !slices.Contains(known, name) {
			errs = append(errs, fmt.Errorf("there is no user class %q; there are: %s", name, strings.Join(known, ", ")))
		}
	}
	if len(known) == 0 && len(plan.Classes) == 0 {
		errs = append(errs, ErrNoClasses)
	}
	return errors.Join(errs...)
}

func checkTarget(users int, rate float64) error {
	var errs []error
	if users < 0 {
		errs = append(errs, fmt.Errorf("the number of users must not be negative, got %d", users))
	}
	if !(rate > 0) || rate > 1e9 {
		errs = append(errs, fmt.Errorf("the spawn rate must be greater than 0, got %v", rate))
	}
	return errors.Join(errs...)
}

// classNames returns the names of all classes. The lock is held.
func (m *Master) classNames() []string {
	names := make([]string, 0, len(m.weights)+len(m.learned))
	for name := range m.weights {
		names = append(names, name)
	}
	if len(m.config.Classes) == 0 {
		for name := range m.learned {
			if m.weights[name] == nil {
				names = append(names, name)
			}
		}
	}
	slices.Sort(names)
	return names
}

// classes returns the classes to deal. The lock is held.
func (m *Master) classes() []*loadtest.UserClass {
	var classes []*loadtest.UserClass
	for _, name := range m.classNames() {
		if c := m.weights[name]; c != nil {
			classes = append(classes, c)
		} else {
			classes = append(classes, &loadtest.UserClass{Name: name})
		}
	}
	return classes
}

// UpdateClass changes weight, fixed count or host of a class for the dispatching of later runs and
// tells the workers.
func (m *Master) UpdateClass(update wire.UpdateUserClass) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	names := m.classNames()
	if !slices.Contains(names, update.Class) {
		return fmt.Errorf("there is no user class %q; there are: %s", update.Class, strings.Join(names, ", "))
	}
	c := &loadtest.UserClass{Name: update.Class}
	if old := m.weights[update.Class]; old != nil {
		copied := *old
		c = &copied
	}
	for name, value := range update.Attributes {
		number, ok := numberOf(value)
		if !ok {
			continue
		}
		switch name {
		case "weight":
			c.Weight, c.Abstract = number, number == 0 // to the dispatcher, 0 is no weight given
		case "fixed_count":
			c.FixedCount = int(number)
		}
	}
	if c.Weight < 0 || c.FixedCount < 0 {
		return fmt.Errorf("user class %q: weight and fixed count must not be negative", update.Class)
	}
	m.weights[update.Class] = c
	m.updates[update.Class] = merged(m.updates[update.Class], update)
	for id, n := range m.nodes {
		if n.has(update.Class) {
			m.send(id, wire.TypeUpdateUserClass, update)
		}
	}
	return nil
}

// merged returns the sum of two changes of a class.
func merged(old, update wire.UpdateUserClass) wire.UpdateUserClass {
	attributes := maps.Clone(old.Attributes)
	if attributes == nil {
		attributes = map[string]any{}
	}
	maps.Copy(attributes, update.Attributes)
	return wire.UpdateUserClass{Class: update.Class, Attributes: attributes}
}

func numberOf(value any) (float64, bool) {
	switch v := value.(type) {
	case int:
		return float64(v), true
	case int64:
		return float64(v), true
	case float64:
		return v, true
	}
	return 0, false
}

// Stop ends the run and returns when it has ended, at once when none goes on. Should ctx end before
// that, Stop returns its error and the run goes on ending.
func (m *Master) Stop(ctx context.Context) error { return m.end(ctx, "") }

// StopFor ends the run as Stop does, for a reason that its outcome has.
func (m *Master) StopFor(ctx context.Context, reason string) error { return m.end(ctx, reason) }

func (m *Master) end(ctx context.Context, reason string) error {
	m.mu.Lock()
	if m.waiting != nil {
		m.waiting.abandon(ErrClosed)
		m.waiting = nil
	}
	r := m.active
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	r.stop(reason)
	return r.wait(ctx)
}

// Wait returns when no run goes on, at once when none does.
func (m *Master) Wait(ctx context.Context) error {
	m.mu.Lock()
	r := m.active
	m.mu.Unlock()
	if r == nil {
		return nil
	}
	return r.wait(ctx)
}

// WaitWorkers returns when at least n workers can run users.
func (m *Master) WaitWorkers(ctx context.Context, n int) error {
	return m.await(ctx, func() bool { return len(m.able(nil)) >= n })
}

// await waits until a condition, which is asked under the lock, holds.
func (m *Master) await(ctx context.Context, condition func() bool) error {
	for {
		m.mu.Lock()
		ok, changed := condition(), m.changed
		m.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// notify wakes those that wait for a change of the workers. The lock is held.
func (m *Master) notify() {
	close(m.changed)
	m.changed = make(chan struct{})
}

// State returns the state of the master.
func (m *Master) State() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.state
}

// TargetUsers returns how many users are wanted now, 0 when no run goes on.
func (m *Master) TargetUsers() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.active == nil || m.active.stopping {
		return 0
	}
	return m.active.target
}

// Classes returns the user classes that can be run, with what UpdateClass changed.
func (m *Master) Classes() []*loadtest.UserClass {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.classes()
}

// Snapshot returns what is known of the run that goes on, or of the last one; nil before the first.
// Nobody changes it any more.
func (m *Master) Snapshot() *stats.Snapshot {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest == nil {
		return nil
	}
	return m.latest.snapshot(time.Now())
}

// Outcome returns what is known of the run that goes on, or of the last one; ok is false before the
// first. Ended is zero while it goes on.
func (m *Master) Outcome() (outcome Outcome, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest == nil {
		return Outcome{}, false
	}
	return m.latest.report(time.Now()), true
}

// ResetStats forgets what was measured so far; the run goes on.
func (m *Master) ResetStats() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if r := m.latest; r != nil && r.ledger != nil {
		r.reset(time.Now())
	}
}

// Send sends a message of a custom type to a worker, or to all when worker is "".
func (m *Master) Send(worker, kind string, data any) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if worker != "" {
		return m.router.Send(worker, &wire.Message{Type: kind, Data: data, NodeID: worker})
	}
	for id := range m.nodes {
		m.send(id, kind, data)
	}
	return nil
}

// send sends a message to a worker; one that cannot be reached is no error, its connection is the
// router's business.
func (m *Master) send(id, kind string, data any) bool {
	err := m.router.Send(id, &wire.Message{Type: kind, Data: data, NodeID: id})
	if err != nil && !errors.Is(err, wire.ErrUnknownPeer) {
		m.log.Warn("a message was not sent", "worker", id, "type", kind, "error", err)
	}
	return err == nil
}
