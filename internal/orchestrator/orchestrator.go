// Package orchestrator keeps workers alive beside a master: in every round it reads the master's
// status, asks package autoscale how many workers there should be, and starts or retires some. How a
// worker is started is the Launcher's matter: a process of this machine, or an invoked function.
package orchestrator

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/autoscale"
)

// Launcher starts workers. Its methods are called concurrently.
type Launcher interface {
	// Start asks for a worker that joins the master under the id, and returns when the platform
	// accepted it. An error that wraps ErrThrottled says to try again later. An error leaves open
	// whether the worker comes.
	Start(ctx context.Context, id string) error
	// Stop ends a worker started here and returns when it is over, also if it was before. It returns
	// an error that wraps errors.ErrUnsupported where the platform has no such call.
	Stop(ctx context.Context, id string) error
}

// Watcher is a Launcher that sees its workers end.
type Watcher interface {
	// Ended returns the ids of the workers that ended since the last call.
	Ended() []string
}

// ErrThrottled says that the platform takes no more starts at this rate.
var ErrThrottled = errors.New("starts are throttled")

// Master is what the loop needs of the master.
type Master interface {
	Status(ctx context.Context) (Status, error)
	// Quit tells workers to stop their users, report and leave. It does not wait for that. It
	// returns an error that wraps errors.ErrUnsupported when the master has no such call.
	Quit(ctx context.Context, ids []string) error
}

// Status is what a master says about its test.
type Status struct {
	State  string // "spawning" and "running" are a test in progress
	Users  int
	Target int           // users aimed at now, autoscale.Unlimited when the master does not say
	RPS    float64       // requests a second at present
	Idle   time.Duration // since the last request of a person to the web UI; negative when the master does not say

	Workers []Worker // all that the master knows of, lost ones included
}

// Worker is a row of the master's table.
type Worker struct {
	ID    string
	State string
	Users int
}

// Connected says whether the worker runs users, or could.
func (w Worker) Connected() bool {
	return w.State == "ready" || w.State == "spawning" || w.State == "running"
}

// Config is how the loop works.
type Config struct {
	Policy autoscale.Policy
	// IdleTimeout is how long no test runs and nobody uses the web UI until Run returns; 0 or less
	// is never.
	IdleTimeout time.Duration
	// StopTimeout is how long the end of Run may take. The default is 25 s, which is inside of the
	// 30 s that ECS gives a container.
	StopTimeout time.Duration
	// IDPrefix begins the id of every worker. The default is "worker".
	IDPrefix string
}

const (
	parallelCalls   = 10
	callTimeout     = 10 * time.Second
	maxStarts       = 1000 // in a round, whatever the master reports
	idleWarning     = 60 * time.Second
	goodbyePoll     = 500 * time.Millisecond
	goodbyeMisses   = 3 // answers that the master may fail to give while workers say goodbye
	defaultStopTime = 25 * time.Second
)

// Why Run came to its end.
const (
	ReasonIdle    = "idle"    // the idle timeout
	ReasonStopped = "stopped" // the context
)

// Summary is what Run did.
type Summary struct {
	Reason   string
	Uptime   time.Duration
	Rounds   int
	Started  int // starts that were accepted
	Failed   int // starts that were not
	Expired  int // workers that were started and did not connect
	Retired  int // workers told to leave while the loop ran
	Goodbyes int // workers that left the master's table at the end
	Stopped  int // workers that were left in it and stopped by the launcher, as far as that is possible
}

// Orchestrator is one loop. It is used once.
type Orchestrator struct {
	config   Config
	master   Master
	launcher Launcher
	log      *slog.Logger

	pool       *autoscale.Pool
	started    time.Time // its monotonic reading is the zero of every time in here
	lastActive time.Duration
	announced  bool // the shutdown for idleness
	silent     bool // the master did not answer in the last round
	held       bool // starts were held back in the last round
	noQuit     bool // the master cannot tell workers to leave
	summary    Summary
	background sync.WaitGroup // calls that end workers
}

// New checks the configuration. A nil logger logs nothing.
func New(config Config, master Master, launcher Launcher, logger *slog.Logger) (*Orchestrator, error) {
	if err := config.Policy.Validate(); err != nil {
		return nil, err
	}
	if config.StopTimeout < 0 {
		return nil, fmt.Errorf("the stop timeout must not be negative, got %v", config.StopTimeout)
	}
	config.StopTimeout = cmp.Or(config.StopTimeout, defaultStopTime)
	config.IDPrefix = cmp.Or(config.IDPrefix, "worker")
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	return &Orchestrator{
		config: config, master: master, launcher: launcher, log: logger,
		pool: autoscale.NewPool(config.Policy),
	}, nil
}

// Run keeps workers alive until ctx is done or the idle timeout is reached, then sees them off. It
// returns an error only when workers may have been left behind.
func (o *Orchestrator) Run(ctx context.Context) error {
	o.started = time.Now()
	policy := o.config.Policy
	if policy.Wasteful() {
		o.log.Warn("workers are replaced before half of their time is over; give them more time or less lead time",
			"replace_after", policy.ReplaceAge(), "time_limit", policy.Lifetime)
	}
	o.summary.Reason = ReasonStopped
	// A worker that is on its way out when ctx ends still gets its time, up to the end of Run.
	farewells, cut := context.WithCancel(context.WithoutCancel(ctx))
	defer cut()
	for ctx.Err() == nil {
		began := o.now()
		if o.round(ctx, farewells) {
			o.summary.Reason = ReasonIdle
			break
		}
		pause(ctx, policy.PollInterval-(o.now()-began))
	}
	o.log.Info("ending", "reason", o.summary.Reason)
	err := o.seeOff(context.WithoutCancel(ctx))
	cut()
	o.background.Wait()
	o.summary.Uptime = o.now()
	return err
}

// Summary is what Run did; it is complete when Run has returned.
func (o *Orchestrator) Summary() Summary { return o.summary }

func (o *Orchestrator) now() time.Duration { return time.Since(o.started) }

// pause returns early when ctx is done.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

// round is one look at the master and what follows from it; farewells bounds calls that end workers.
// It reports whether the loop has been idle for too long.
func (o *Orchestrator) round(ctx, farewells context.Context) (idle bool) {
	status, err := o.master.Status(ctx)
	if ctx.Err() != nil {
		return false
	}
	o.summary.Rounds++
	o.noteAnswer(err)
	now := o.now()
	if o.idle(now, status, err == nil) {
		return true
	}
	if watcher, ok := o.launcher.(Watcher); ok {
		for _, id := range watcher.Ended() {
			o.pool.Ended(id, now)
		}
	}
	d := o.pool.Decide(asked(now, status, err == nil))
	o.log.Info("round", "state", status.State, "users", status.Users, "rps", math.Round(status.RPS*10)/10,
		"desired", d.Desired, "connected", d.Connected, "pending", d.Pending, "expiring", d.Expiring, "need", d.Need)
	o.noteHeld(d.Need > d.Start)
	if d.Expired > 0 {
		o.summary.Expired += d.Expired
		o.log.Warn("workers did not connect in time", "workers", d.Expired, "pending_timeout", o.config.Policy.PendingTimeout)
	}
	o.start(ctx, min(d.Start, maxStarts))
	o.retire(farewells, d.Retire)
	o.end(farewells, d.Stop)
	return false
}

// noteAnswer logs when the master falls silent and when it answers again.
func (o *Orchestrator) noteAnswer(err error) {
	switch {
	case err != nil && !o.silent:
		o.log.Warn("the master does not answer", "error", err)
	case err == nil && o.silent:
		o.log.Info("the master answers")
	}
	o.silent = err != nil
}

// noteHeld logs when workers that are needed are not started, because those before them failed.
func (o *Orchestrator) noteHeld(held bool) {
	if held && !o.held {
		o.log.Warn("workers that were started did not come or were refused: the next starts are held back")
	}
	o.held = held
}

// active says whether a test is in progress.
func (s Status) active() bool { return s.State == "spawning" || s.State == "running" }

// asked puts a status into the words of package autoscale.
func asked(now time.Duration, status Status, known bool) autoscale.Status {
	load := autoscale.Load{At: now, Known: known, Active: status.active(), Users: status.Users, Target: status.Target}
	peers := make([]autoscale.Peer, len(status.Workers))
	for i, w := range status.Workers {
		peers[i] = autoscale.Peer{ID: w.ID, Connected: w.Connected(), Users: w.Users}
	}
	return autoscale.Status{Load: load, Peers: peers}
}

// idle keeps the time of the last activity, a test or a person at the web UI, and says whether it is
// too long ago. A master that does not answer is none of both, but not known to be idle either.
func (o *Orchestrator) idle(now time.Duration, status Status, known bool) bool {
	switch {
	case !known || status.active():
		o.lastActive = now
	case status.Idle >= 0:
		o.lastActive = max(o.lastActive, now-status.Idle)
	}
	if o.config.IdleTimeout <= 0 {
		return false
	}
	left := o.lastActive + o.config.IdleTimeout - now
	soon := left <= idleWarning+o.config.Policy.PollInterval && now > o.lastActive
	switch {
	case left <= 0:
		return true
	case soon && !o.announced:
		o.log.Warn("no test runs and nobody uses the web UI: shutting down soon", "in", left.Round(time.Second))
	case !soon && o.announced:
		o.log.Info("in use again: the shutdown is called off")
	}
	o.announced = soon
	return false
}

// attempt is one call that starts a worker.
type attempt struct {
	id  string
	at  time.Duration
	err error
}

// start starts n workers, at most parallelCalls at a time. It begins no further call after one that
// failed, or when it has taken a whole interval: what is missing then is seen in the next round.
func (o *Orchestrator) start(ctx context.Context, n int) {
	if n == 0 {
		return
	}
	var (
		group    sync.WaitGroup
		mu       sync.Mutex
		begun    int
		stop     bool
		attempts []attempt
		latest   = o.now() + o.config.Policy.PollInterval
	)
	next := func() bool {
		mu.Lock()
		defer mu.Unlock()
		if begun == n || stop || ctx.Err() != nil || o.now() > latest {
			return false
		}
		begun++
		return true
	}
	for range min(n, parallelCalls) {
		group.Go(func() {
			for next() {
				a := attempt{id: o.newID(), at: o.now()}
				a.err = o.call(ctx, func(ctx context.Context) error { return o.launcher.Start(ctx, a.id) })
				mu.Lock()
				attempts = append(attempts, a)
				stop = stop || a.err != nil
				mu.Unlock()
			}
		})
	}
	group.Wait()
	o.record(attempts)
}

// record tells the pool what became of the attempts of a round.
func (o *Orchestrator) record(attempts []attempt) {
	var failed []error
	for _, a := range attempts {
		if a.err != nil {
			failed = append(failed, a.err)
			o.pool.Failed(a.id, a.at)
			continue
		}
		o.pool.Started(a.id, a.at)
	}
	o.summary.Failed += len(failed)
	o.summary.Started += len(attempts) - len(failed)
	switch {
	case len(attempts) == 0:
	case len(failed) == 0:
		o.pool.StartsSucceeded()
	default:
		again := o.pool.StartsFailed(o.now(), mathrand.Float64())
		o.log.Warn("workers not started", "failed", len(failed), "started", len(attempts)-len(failed),
			"throttled", errors.Is(failed[0], ErrThrottled), "error", failed[0], "retry_in", again.Round(time.Millisecond))
	}
}

// newID names a worker that never was.
func (o *Orchestrator) newID() string {
	var random [6]byte
	_, _ = rand.Read(random[:]) // never fails
	return o.config.IDPrefix + "_" + hex.EncodeToString(random[:])
}

// call bounds one call of the launcher.
func (o *Orchestrator) call(ctx context.Context, f func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return f(ctx)
}

// retire tells workers to leave: through the master, so that they stop their users and report first,
// or, where that fails, through the launcher.
func (o *Orchestrator) retire(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	o.summary.Retired += len(ids)
	if !o.noQuit {
		err := o.call(ctx, func(ctx context.Context) error { return o.master.Quit(ctx, ids) })
		if err == nil {
			o.log.Info("workers told to leave", "workers", ids)
			return
		}
		o.noQuit = errors.Is(err, errors.ErrUnsupported) // it will not learn it
		o.log.Warn("the master does not tell workers to leave: they are ended from here", "error", err)
	}
	o.end(ctx, ids)
}

// end ends workers through the launcher, beside the loop.
func (o *Orchestrator) end(ctx context.Context, ids []string) {
	if len(ids) == 0 {
		return
	}
	o.background.Go(func() {
		err := o.stopAll(ctx, ids)
		switch {
		case err == nil:
			o.log.Info("workers ended", "workers", ids)
		case errors.Is(err, errors.ErrUnsupported):
			o.log.Info("workers run until their time is over: they cannot be ended from here", "workers", ids)
		default:
			o.log.Warn("workers not ended", "workers", ids, "error", err)
		}
	})
}

// stopAll stops workers, at most parallelCalls at a time, and returns the first error.
func (o *Orchestrator) stopAll(ctx context.Context, ids []string) error {
	var (
		group sync.WaitGroup
		mu    sync.Mutex
		first error
		free  = make(chan struct{}, parallelCalls)
	)
	for _, id := range ids {
		free <- struct{}{}
		group.Go(func() {
			defer func() { <-free }()
			err := o.call(ctx, func(ctx context.Context) error { return o.launcher.Stop(ctx, id) })
			if err != nil {
				mu.Lock()
				first = cmp.Or(first, fmt.Errorf("worker %s: %w", id, err))
				mu.Unlock()
			}
		})
	}
	group.Wait()
	return first
}
