package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	localWorker = "local"
	shapeEvent  = "load shape"
)

// Why a run ended before its time.
var (
	// ErrUnreachable: nothing but failures to reach the target for the configured time.
	ErrUnreachable = errors.New("the target cannot be reached")
	// ErrKilled: Kill was called.
	ErrKilled = errors.New("killed")
)

// EventError is a failure of an event listener or, as event "load shape", of a shape.
type EventError struct {
	Event string
	Err   error
}

func (e *EventError) Error() string { return e.Event + ": " + e.Err.Error() }
func (e *EventError) Unwrap() error { return e.Err }

// Runner is one run on this process. Make it with [NewRunner] and call Run once; the other methods
// may be called from other goroutines.
type Runner struct {
	config  Config
	env     *Env
	process *stats.ProcessMeter

	stopOnce sync.Once
	stopTest chan string
	killOnce sync.Once
	killed   chan struct{}

	mu        sync.Mutex
	collector *stats.Collector
	final     *stats.Snapshot
	ended     error
	reason    string

	// The rest belongs to the goroutine in Run.
	swarm      *Swarm
	dispatcher *Dispatcher
	nextIndex  int64
	nextStep   time.Time
	settle     *time.Timer // rings while users that are to stop have not
	lastShape  ShapeStep
	listeners  sync.WaitGroup
	// listening is the context of listeners that run beside the users.
	listening context.Context
}

// NewRunner checks the configuration and returns a runner for it.
func NewRunner(config Config) (*Runner, error) {
	if err := config.Validate(); err != nil {
		return nil, err
	}
	config.RunID = cmp.Or(config.RunID, "run")
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Runner{
		config:   config,
		stopTest: make(chan string, 1),
		killed:   make(chan struct{}),
	}, nil
}

// Stop asks for the end of the run, as a user's StopTest does.
func (r *Runner) Stop(reason string) { r.stopOnce.Do(func() { r.stopTest <- reason }) }

// Kill ends the run at once: tasks are cut off, nothing is waited for.
func (r *Runner) Kill() { r.killOnce.Do(func() { close(r.killed) }) }

// Env returns what users and listeners share; nil before Run.
func (r *Runner) Env() *Env {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.env
}

// Snapshot returns everything known now; nil before the run started.
func (r *Runner) Snapshot() *stats.Snapshot {
	r.mu.Lock()
	collector, process, final := r.collector, r.process, r.final
	r.mu.Unlock()
	if final != nil || collector == nil {
		return final
	}
	snapshot := collector.Snapshot(time.Now(), false)
	process.Fill(&snapshot.Generator)
	return snapshot
}

// Ended returns why the run ended before its time: the cause of its context, ErrUnreachable,
// ErrKilled, or nil. The text is the reason of a StopTest.
func (r *Runner) Ended() (reason string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.reason, r.ended
}

// Run runs the users and returns the final snapshot. When ctx ends, users finish their tasks within
// the stop timeout and the run ends as usual, with what was measured. The error is that of an event
// listener or of the shape; a failing TestStart or WorkerStart ends the run before the first user. The
// snapshot is nil only when no user was started.
func (r *Runner) Run(ctx context.Context) (*stats.Snapshot, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-r.killed:
			cancel(ErrKilled)
		case <-ctx.Done():
		}
	}()
	r.prepare()
	// Listeners that undo what a start did run also after the end of ctx, until Kill.
	undo, stopUndo := context.WithCancel(context.WithoutCancel(ctx))
	defer stopUndo()
	defer context.AfterFunc(ctx, func() {
		if errors.Is(context.Cause(ctx), ErrKilled) {
			stopUndo()
		}
	})()

	if err := r.event(ctx, "on_test_start", r.config.Events.TestStart); err != nil {
		return nil, errors.Join(err, r.event(undo, "on_test_stop", r.config.Events.TestStop))
	}
	r.env.Seal()
	err := r.event(ctx, "on_worker_start", r.config.Events.WorkerStart)
	var final *stats.Snapshot
	if err == nil {
		final = r.runUsers(ctx)
		var shape *EventError
		if _, ended := r.Ended(); errors.As(ended, &shape) {
			err = shape
		}
	}
	err = errors.Join(err, r.event(undo, "on_worker_stop", r.config.Events.WorkerStop))
	err = errors.Join(err, r.event(undo, "on_test_stop", r.config.Events.TestStop))
	if final != nil {
		final = r.withSetup(final)
	}
	return final, err
}

// prepare makes what the listeners need; the clock of the run starts again with the first user.
func (r *Runner) prepare() {
	collector := stats.NewCollector(r.config.cores(), time.Now(), r.config.Warmup)
	env := NewEnv(EnvOptions{
		RunID:    r.config.RunID,
		Seed:     r.config.Seed,
		Host:     r.config.Host,
		Options:  r.config.Options,
		Setup:    collector.Setup(),
		StopTest: r.Stop,
		Logger:   r.config.Logger,
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	r.collector, r.env, r.process = collector, env, stats.NewProcessMeter(r.config.cores())
}

func (r *Runner) event(ctx context.Context, name string, listener func(context.Context, *Env) error) error {
	if listener == nil {
		return nil
	}
	if err := listener(ctx, r.env); err != nil {
		return &EventError{name, err}
	}
	return nil
}

// runUsers is the part of the run in which there are users.
func (r *Runner) runUsers(ctx context.Context) *stats.Snapshot {
	setup := r.collector.Setup()
	collector := stats.NewCollector(r.config.cores(), time.Now(), r.config.Warmup)
	collector.AdoptSetup(setup)
	r.env.SetStarted(collector.Started())
	r.mu.Lock()
	r.collector, r.process = collector, stats.NewProcessMeter(r.config.cores())
	r.mu.Unlock()

	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	defer stopListening()
	r.listening = listening
	classes := r.config.selected()
	r.swarm = NewSwarm(ctx, r.env, collector, SwarmOptions{
		Classes:     classes,
		Tags:        r.config.Tags,
		ExcludeTags: r.config.ExcludeTags,
		Cores:       r.config.cores(),
		StopTimeout: r.config.StopTimeout,
	})
	r.dispatcher = NewDispatcher(classes, []string{localWorker})
	if r.config.OnWarm != nil && r.config.Warmup > 0 {
		defer time.AfterFunc(r.config.Warmup, r.config.OnWarm).Stop()
	}

	reason, ended := r.loop(ctx)
	r.mu.Lock()
	r.ended, r.reason = ended, reason
	r.mu.Unlock()
	r.stopUsers(ctx, ended)
	// The listeners had the whole run; what still goes on is cut off as users are.
	timer := time.AfterFunc(abandonAfter, stopListening)
	r.listeners.Wait()
	timer.Stop()

	final := collector.Snapshot(time.Now(), true)
	r.process.Fill(&final.Generator)
	r.mu.Lock()
	r.final = final
	r.mu.Unlock()
	r.swarm.Close()
	return final
}

func (r *Runner) stopUsers(ctx context.Context, ended error) {
	if left := r.config.Duration - r.env.RunTime(); ended != nil && left > 0 {
		r.collector.CutShort(left, r.dispatcher.Planned())
	}
	r.report(0)
	drain, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	go func() {
		select {
		case <-r.killed:
			cancel()
		case <-drain.Done():
		}
	}()
	for _, name := range r.swarm.Drain(drain) {
		r.collector.Warn(fmt.Sprintf("%s did not stop and was abandoned", name))
		r.config.Logger.Warn("user did not stop and was abandoned", "user", name)
	}
	r.report(0)
}

// withSetup adds the calls that listeners made after the users had stopped.
func (r *Runner) withSetup(final *stats.Snapshot) *stats.Snapshot {
	completed := *final
	completed.Setup = r.collector.Snapshot(time.Now(), false).Setup
	r.mu.Lock()
	defer r.mu.Unlock()
	r.final = &completed
	return &completed
}

// loop starts and stops users until the run is over.
func (r *Runner) loop(ctx context.Context) (reason string, ended error) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	over := make(<-chan time.Time)
	if r.config.Duration > 0 {
		timer := time.NewTimer(r.config.Duration)
		defer timer.Stop()
		over = timer.C
	}
	steps := time.NewTimer(time.Hour)
	defer steps.Stop()
	r.settle = time.NewTimer(time.Hour)
	defer r.settle.Stop()
	select {
	case reason := <-r.stopTest: // by a listener: nobody starts
		return reason, nil
	default:
	}
	if r.config.Shape == nil {
		r.target(ShapeStep{Users: r.config.Users, SpawnRate: r.config.SpawnRate}, steps)
	} else if done, err := r.shape(steps); done {
		return "", err
	}
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case reason := <-r.stopTest:
			return reason, nil
		case <-over:
			return "", nil
		case <-steps.C:
			r.step(steps)
		case <-r.settle.C:
			if r.report(r.dispatcher.Planned()) {
				r.settle.Reset(settleEvery)
			}
		case <-ticker.C:
			if done, err := r.tick(steps); done {
				return "", err
			}
		}
	}
}

// tick is what happens once a second.
func (r *Runner) tick(steps *time.Timer) (done bool, err error) {
	r.report(r.dispatcher.Planned())
	r.collector.Tick(time.Now())
	if r.config.Unreachable > 0 && r.collector.Unreachable(int(r.config.Unreachable/time.Second)) {
		return true, ErrUnreachable
	}
	if r.config.OnTick != nil {
		r.config.OnTick(r)
	}
	if r.config.Shape != nil {
		return r.shape(steps)
	}
	return false, nil
}

// shape asks the shape what it wants; a value that differs from the last one replaces the ramp in
// progress.
func (r *Runner) shape(steps *time.Timer) (done bool, err error) {
	s := r.collector.Snapshot(time.Now(), false)
	state := ShapeState{RunTime: r.env.RunTime(), Users: s.Users, Seed: r.config.Seed}
	if s.Total.Current != nil {
		state.RPS = s.Total.Current.RPS
		state.P95 = s.Total.Current.Hist.Quantile(0.95)
	}
	step, ok, err := r.config.Shape.Tick(state)
	if err != nil {
		return true, &EventError{shapeEvent, err}
	}
	if !ok {
		return true, nil
	}
	if step.Users < 0 || !(step.SpawnRate > 0) {
		return true, &EventError{shapeEvent, fmt.Errorf("it wants %d users at a spawn rate of %v", step.Users, step.SpawnRate)}
	}
	if !equalSteps(step, r.lastShape) {
		r.target(step, steps)
	}
	r.lastShape = step
	return false, nil
}

func equalSteps(a, b ShapeStep) bool {
	if a.Users != b.Users || a.SpawnRate != b.SpawnRate || len(a.Classes) != len(b.Classes) {
		return false
	}
	for i := range a.Classes {
		if a.Classes[i] != b.Classes[i] {
			return false
		}
	}
	return true
}

func (r *Runner) target(step ShapeStep, steps *time.Timer) {
	r.dispatcher.Target(step.Users, step.SpawnRate, step.Classes)
	r.nextStep = time.Now()
	r.step(steps)
}

// step starts or stops the users of one step and sets the timer for the next one. Steps keep to the
// schedule of the ramp: a late one does not delay those after it.
func (r *Runner) step(steps *time.Timer) {
	step, ok := r.dispatcher.Next()
	if !ok {
		return
	}
	for _, a := range step.Start {
		r.swarm.Start(a.Class, r.nextIndex)
		r.nextIndex++
	}
	stops := map[string]int{}
	for _, a := range step.Stop {
		stops[a.Class]++
	}
	for class, n := range stops {
		r.swarm.Stop(class, n)
	}
	late := time.Since(r.nextStep)
	if r.report(r.dispatcher.Planned()) {
		r.settle.Reset(settleEvery)
	}
	r.collector.Missed(late.Seconds() * float64(len(step.Start)))
	if step.Wait > 0 {
		r.nextStep = r.nextStep.Add(step.Wait)
		steps.Reset(time.Until(r.nextStep))
		return
	}
	r.spawningComplete()
}

func (r *Runner) spawningComplete() {
	listener := r.config.Events.SpawningComplete
	if listener == nil {
		return
	}
	users := r.dispatcher.Planned()
	r.listeners.Go(func() {
		if err := listener(r.listening, r.env, users); err != nil {
			r.collector.Warn("on_spawning_complete: " + err.Error())
		}
	})
}

// settleEvery is how often users that are to stop are looked at, until they have.
const settleEvery = 50 * time.Millisecond

// report tells the collector how many users the plan wants, without those that ended themselves, and
// whether more than that run because some are still about to stop.
func (r *Runner) report(planned int) (settling bool) {
	running, gone := r.swarm.Counts()
	for _, n := range gone {
		planned -= n
	}
	total := 0
	for _, n := range running {
		total += n
	}
	r.collector.Users(time.Now(), max(planned, 0), running)
	return total > planned
}
