package loadtest

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"reflect"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// Env is what all users of a process and its event listeners share. It is safe for concurrent use.
type Env struct {
	runID   string
	seed    uint64
	host    string
	options map[string]string
	log     *slog.Logger
	started atomic.Pointer[time.Time]
	// WorkerIndex and WorkerCount number the processes of a run.
	workerIndex, workerCount int

	setup    *stats.Recorder
	stopTest func(reason string)

	mu     sync.RWMutex
	shared map[string]any
	sealed atomic.Bool
	cells  sync.Map // name -> *Cell
}

// EnvOptions describe a run to the code of its users and listeners.
type EnvOptions struct {
	// RunID names the run; Seed makes random numbers repeatable.
	RunID string
	Seed  uint64
	Host  string
	// Options are custom values, which nobody changes any more.
	Options map[string]string
	// WorkerIndex is the number of this process among WorkerCount (0 = 1) that run users, from 0.
	WorkerIndex, WorkerCount int
	// Shared values come from the process that controls the run.
	Shared map[string]any
	// Setup takes the calls of event listeners.
	Setup *stats.Recorder
	// StopTest asks for the end of the run.
	StopTest func(reason string)
	// Logger receives what listeners and users log; nil discards it.
	Logger *slog.Logger
}

// NewEnv returns the environment of a run that starts now. Values can be shared until it is sealed.
func NewEnv(options EnvOptions) *Env {
	e := &Env{
		runID:       options.RunID,
		seed:        options.Seed,
		host:        options.Host,
		options:     options.Options,
		log:         options.Logger,
		workerIndex: options.WorkerIndex,
		workerCount: cmp.Or(options.WorkerCount, 1),
		setup:       options.Setup,
		stopTest:    options.StopTest,
		shared:      map[string]any{},
	}
	if e.log == nil {
		e.log = slog.New(slog.DiscardHandler)
	}
	maps.Copy(e.shared, options.Shared)
	e.SetStarted(time.Now())
	return e
}

// Seal makes the shared values read-only: users are about to start.
func (e *Env) Seal() { e.sealed.Store(true) }

// SetStarted says when the clock of the run started.
func (e *Env) SetStarted(at time.Time) { e.started.Store(&at) }

// RunID returns the id of the run.
func (e *Env) RunID() string { return e.runID }

// Seed returns the seed of the run's random numbers.
func (e *Env) Seed() uint64 { return e.seed }

// Host returns the host of the run, "" when there is none.
func (e *Env) Host() string { return e.host }

// Options returns the custom values of the run; callers must not change the map.
func (e *Env) Options() map[string]string { return e.options }

// Logger returns the logger of the run.
func (e *Env) Logger() *slog.Logger { return e.log }

// WorkerIndex returns the number of this process among those that run users, from 0.
func (e *Env) WorkerIndex() int { return e.workerIndex }

// WorkerCount returns the number of processes that run users.
func (e *Env) WorkerCount() int { return e.workerCount }

// RunTime returns the time since the run started.
func (e *Env) RunTime() time.Duration { return time.Since(*e.started.Load()) }

// StopTest asks for the end of the run; the first reason counts.
func (e *Env) StopTest(reason string) { e.stopTest(reason) }

// Record counts a call of an event listener, in the group of setup calls.
func (e *Env) Record(s stats.Sample) { e.setup.Record(&s) }

// ErrSharedSealed is returned for a value that is shared after the first user started.
var ErrSharedSealed = errors.New("shared values can be set in on_test_start only")

// Share sets a value that all processes of the run can read. It must be a JSON value, which the
// caller does not change afterwards.
func (e *Env) Share(name string, value any) error {
	if e.sealed.Load() {
		return fmt.Errorf("%w: %q", ErrSharedSealed, name)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.shared[name] = value
	return nil
}

// Shared returns the shared value of a name.
func (e *Env) Shared(name string) (value any, ok bool) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	value, ok = e.shared[name]
	return value, ok
}

// AllShared returns a copy of the map of shared values.
func (e *Env) AllShared() map[string]any {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return maps.Clone(e.shared)
}

// Cell returns the cell of a name, which all users of the process share; the first call makes it
// with the initial value.
func (e *Env) Cell(name string, initial any) *Cell {
	if cell, ok := e.cells.Load(name); ok {
		return cell.(*Cell)
	}
	cell, _ := e.cells.LoadOrStore(name, &Cell{value: initial})
	return cell.(*Cell)
}

// Cell is a value that is changed atomically.
type Cell struct {
	mu    sync.Mutex
	value any
}

// Get returns the value.
func (c *Cell) Get() any {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.value
}

// Set replaces the value.
func (c *Cell) Set(value any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.value = value
}

// Update replaces the value by what change makes of it, unless it fails; it returns the new value.
func (c *Cell) Update(change func(old any) (any, error)) (any, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	value, err := change(c.value)
	if err == nil {
		c.value = value
	}
	return c.value, err
}

// CompareAndSet replaces the value when it deeply equals old, and reports whether it did.
func (c *Cell) CompareAndSet(old, value any) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !reflect.DeepEqual(c.value, old) {
		return false
	}
	c.value = value
	return true
}
