package master

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// rampGrace is how long the end of a ramp waits for workers to say that they run what they should.
	rampGrace = time.Second
	// settleEvery is how often that is looked at.
	settleEvery = 20 * time.Millisecond
	// changeGrace gathers workers that come and go at the same time, and gives a broken connection the
	// time to be made again, before users are dealt anew.
	changeGrace = 300 * time.Millisecond
	// returnTime is how long, beyond its stop timeout, a worker takes to register after a stop.
	returnTime = 2 * time.Second
	// firstWorkerGrace is how long a run waits for workers that are between two runs.
	firstWorkerGrace = 10 * time.Second
	// undoTime bounds what listeners do at the end of a run whose master is told to end.
	undoTime = 10 * time.Second
)

// run is one run. Its goroutine is that of conduct; the lock of the master guards it.
type run struct {
	m        *Master
	run      Run
	plan     Plan
	scenario *Scenario
	env      *loadtest.Env
	setup    *stats.Collector

	edits   chan Plan     // has the latest change that is not applied yet
	stops   chan string   // has the reason for the end
	changed chan struct{} // has an element when workers came or went
	over    chan struct{} // closed when the run has ended

	created    time.Time
	started    time.Time // of the clock; zero before users start
	ended      time.Time
	usersEnded time.Time
	stopping   bool
	reason     string
	err        error
	warnings   []string
	target     int
	nextIndex  int64
	ramping    bool
	classes    []*loadtest.UserClass
	only       []string
	members    []string // the workers that users are dealt to, in their order
	dispatcher *loadtest.Dispatcher
	assigned   map[string]map[string]int
	parts      []*part
	processes  map[string]*part
	ids        map[string]*part // the latest part of each worker
	peak       int
	peaks      map[string]int
	workers    int

	// listening is the context of listeners that run beside the users.
	listening context.Context
	listeners sync.WaitGroup

	ledger    *ledger
	accounts  account
	final     *stats.Snapshot
	resetAt   time.Time
	lost      int64
	missing   int64
	uncounted int64
}

func (m *Master) newRun(plan Plan) *run {
	id := plan.ID
	if id == "" {
		id = m.config.NewRunID()
	}
	return &run{
		m: m, plan: plan, created: time.Now(),
		run:       Run{ID: id, Seed: plan.Seed, Host: plan.Host, Options: maps.Clone(plan.Options)},
		edits:     make(chan Plan, 1),
		stops:     make(chan string, 1),
		changed:   make(chan struct{}, 1),
		over:      make(chan struct{}),
		assigned:  map[string]map[string]int{},
		processes: map[string]*part{},
		ids:       map[string]*part{},
		peaks:     map[string]int{},
	}
}

// abandon ends a run that was never conducted. The lock is held.
func (r *run) abandon(err error) {
	r.err, r.ended = err, time.Now()
	close(r.over)
}

// edit replaces what the run is to reach. The lock is held.
func (r *run) edit(plan Plan) {
	select {
	case <-r.edits:
	default:
	}
	r.edits <- plan
}

func (r *run) stop(reason string) {
	select {
	case r.stops <- reason:
	default:
	}
}

// fail ends the run with an error. The lock is held.
func (r *run) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.stop("")
}

func (r *run) wake() {
	select {
	case r.changed <- struct{}{}:
	default:
	}
}

func (r *run) wait(ctx context.Context) error {
	select {
	case <-r.over:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// conduct runs a run from its first listener to its last.
func (m *Master) conduct(ctx context.Context, r *run) {
	err := r.open(ctx)
	if err == nil {
		err = r.users(ctx)
	}
	reason := ""
	if errors.Is(err, errStopped) {
		err = nil
		select {
		case reason = <-r.stops:
		default:
		}
	}
	m.mu.Lock()
	r.reason = cmp.Or(r.reason, reason)
	r.stopping = true
	if r.err == nil {
		r.err = err
	}
	if m.state != StateStopping {
		m.state = StateStopping
	}
	m.mu.Unlock()
	r.close(ctx)
	m.finish(r)
}

// finish makes room for the next run.
func (m *Master) finish(r *run) {
	m.mu.Lock()
	defer m.mu.Unlock()
	r.ended = time.Now()
	at := r.ended
	if !r.usersEnded.IsZero() {
		at = r.usersEnded
	}
	r.final = r.snapshot(at)
	if r.ledger != nil {
		r.ledger.past = nil
	}
	m.state, m.active = StateStopped, nil
	for _, n := range m.nodes {
		n.part, n.told, n.awaiting = nil, nil, false
	}
	close(r.over)
	if next := m.waiting; next != nil && !m.closing {
		m.waiting = nil
		m.begin(next)
	}
	m.notify()
}

// errStopped is the cause of contexts that end because the run is to stop before users started.
var errStopped = errors.New("the run was stopped before users started")

// untilStopped returns a context that ends with ctx or when the run is to stop.
func (r *run) untilStopped(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	go func() {
		select {
		case reason := <-r.stops:
			r.stop(reason) // for the loop
			cancel(errStopped)
		case <-ctx.Done():
		}
	}()
	return ctx, func() { cancel(nil) }
}

// open makes what the run needs and tells the listeners that it begins.
func (r *run) open(ctx context.Context) error {
	setup := stats.NewCollector(1, time.Now(), 0)
	r.m.mu.Lock()
	r.setup = setup // snapshots are taken from now on
	r.m.mu.Unlock()
	r.env = loadtest.NewEnv(loadtest.EnvOptions{
		RunID: r.run.ID, Seed: r.run.Seed, Host: r.run.Host, Options: r.run.Options,
		Setup: setup.Setup(), StopTest: r.stop, Logger: r.m.log,
	})
	r.scenario = &Scenario{}
	opening, cancel := r.untilStopped(ctx)
	defer cancel()
	if err := r.prepare(opening); err != nil {
		if cause := context.Cause(opening); cause != nil {
			return cause
		}
		return err
	}
	r.env.Seal()
	probe := wire.RunInfo{Complete: true, Settings: r.scenario.Settings, Shared: r.env.AllShared()}
	if _, err := (&wire.Message{Type: wire.TypeSpawn, Data: wire.Spawn{Extra: probe.Extra()}}).AppendBinary(nil); err != nil {
		return fmt.Errorf("env.shared cannot be sent to workers: %w", err)
	}
	return context.Cause(opening)
}

func (r *run) prepare(ctx context.Context) error {
	if r.m.config.Open != nil {
		scenario, err := r.m.config.Open(ctx, r.run)
		if err != nil {
			return err
		}
		r.scenario = scenario
	}
	if start := r.scenario.Events.TestStart; start != nil {
		if err := start(ctx, r.env); err != nil {
			return &loadtest.EventError{Event: "on_test_start", Err: err}
		}
	}
	return nil
}

// close undoes what open did, also after the end of ctx.
func (r *run) close(ctx context.Context) {
	undo, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	if ctx.Err() != nil {
		undo, cancel = context.WithTimeout(undo, undoTime)
		defer cancel()
	}
	var errs []error
	if r.scenario != nil && r.scenario.Events.TestStop != nil {
		if err := r.scenario.Events.TestStop(undo, r.env); err != nil {
			errs = append(errs, &loadtest.EventError{Event: "on_test_stop", Err: err})
		}
	}
	if r.scenario != nil && r.scenario.Close != nil {
		errs = append(errs, r.scenario.Close(undo))
	}
	err := errors.Join(errs...)
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	switch {
	case r.err == nil:
		r.err = err
	case err != nil:
		r.err = errors.Join(r.err, err)
	}
}

// users is the part of the run in which users run.
func (r *run) users(ctx context.Context) error {
	m := r.m
	// Workers of Locust that have just stopped are back soon.
	waiting, cancel := context.WithTimeout(ctx, firstWorkerGrace+m.config.StopTimeout)
	defer cancel()
	waiting, stopWaiting := r.untilStopped(waiting)
	all, stopWaitingForAll := context.WithTimeout(waiting, m.config.StopTimeout+returnTime)
	_ = m.await(all, func() bool { return len(m.leaving) == 0 })
	stopWaitingForAll()
	err := m.await(waiting, func() bool { return len(m.able(r.names(r.plan.Classes))) > 0 })
	stopWaiting()
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, errStopped):
		return err
	case err != nil:
		m.log.Error("no worker has all user classes of the run", "classes", r.names(r.plan.Classes))
		return ErrNoWorkers
	}
	listening, stopListening := context.WithCancel(context.WithoutCancel(ctx))
	defer r.listeners.Wait()
	defer stopListening()
	r.listening = listening
	m.mu.Lock()
	now := time.Now()
	r.started = now
	r.env.SetStarted(now)
	r.ledger = newLedger(now, 0)
	r.accounts = account{started: now, last: now}
	for _, n := range m.nodes {
		n.share = share{}
		r.reckon(n)
	}
	m.mu.Unlock()
	if warm := r.scenario.OnWarm; warm != nil && m.config.Warmup > 0 {
		defer time.AfterFunc(m.config.Warmup, warm).Stop()
	}
	reason, ended := r.loop(ctx)
	r.stopUsers(reason, ended)
	return ended
}

// names returns the names of the classes that a restriction leaves.
func (r *run) names(only []string) []string { return dealt(r.m.classes(), only) }

// timers are what the loop of a run waits for.
type timers struct {
	step, settle, over, rebalance *time.Timer
	gathering                     bool // changes, until rebalance fires
	nextStep                      time.Time
	rampEnded                     time.Time
	shape                         loadtest.ShapeStep
}

func newTimers() *timers {
	stopped := func() *time.Timer { return time.NewTimer(1 << 60) }
	return &timers{step: stopped(), settle: stopped(), over: stopped(), rebalance: stopped()}
}

func (t *timers) stop() {
	for _, timer := range []*time.Timer{t.step, t.settle, t.over, t.rebalance} {
		timer.Stop()
	}
}

// loop starts and stops users until the run is over.
func (r *run) loop(ctx context.Context) (reason string, ended error) {
	t := newTimers()
	defer t.stop()
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	r.begin(t)
	if done, err := r.follow(t, r.plan); done {
		return "", err
	}
	for {
		select {
		case <-ctx.Done():
			return "", context.Cause(ctx)
		case reason := <-r.stops:
			return reason, r.failure()
		case <-t.over.C:
			return "", nil
		case plan := <-r.edits:
			if done, err := r.change(t, plan); done {
				return "", err
			}
		case <-t.step.C:
			r.step(t, false)
		case <-t.settle.C:
			r.settle(t)
		case <-r.changed:
			if !t.gathering {
				t.gathering = true
				t.rebalance.Reset(changeGrace)
			}
			if r.workersGone() {
				return "", ErrWorkersLost
			}
		case <-t.rebalance.C:
			t.gathering = false
			r.rebalance()
		case <-ticker.C:
			if done, err := r.tick(t); done {
				return "", err
			}
		}
	}
}

func (r *run) failure() error {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.err
}

// begin deals to the workers that are there.
func (r *run) begin(t *timers) {
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	r.classes = m.classes()
	r.only = r.plan.Classes
	r.members = loadtest.SortWorkers(m.able(r.names(r.only)))
	r.dispatcher = loadtest.NewDispatcher(r.classes, r.members)
	if r.plan.RunTime > 0 {
		t.over.Reset(r.plan.RunTime)
	}
}

// follow begins a ramp to what a plan says, or to what its shape says.
func (r *run) follow(t *timers, plan Plan) (done bool, err error) {
	if plan.Shape != nil {
		return r.shape(t)
	}
	r.aim(t, plan.Users, plan.SpawnRate, plan.Classes)
	return false, nil
}

// change replaces what the run is to reach. Hosts and options take effect with the next users.
func (r *run) change(t *timers, plan Plan) (done bool, err error) {
	m := r.m
	m.mu.Lock()
	if plan.Classes == nil {
		plan.Classes = r.only
	}
	plan.ID, plan.Seed = r.plan.ID, r.plan.Seed
	r.plan = plan
	t.over.Stop()
	if plan.RunTime > 0 {
		t.over.Reset(plan.RunTime)
	}
	t.shape = loadtest.ShapeStep{}
	m.mu.Unlock()
	return r.follow(t, plan)
}

// shape asks the shape what it wants; a value that differs from the last one replaces the ramp in
// progress.
func (r *run) shape(t *timers) (done bool, err error) {
	m := r.m
	m.mu.Lock()
	now := time.Now()
	state := loadtest.ShapeState{RunTime: now.Sub(r.started), Users: total(m.users()), Seed: r.run.Seed}
	s := &stats.Snapshot{At: now}
	r.ledger.fill(s)
	state.RPS, state.P95 = s.Total.Current.RPS, s.Total.Current.Hist.Quantile(0.95)
	shape := r.plan.Shape
	m.mu.Unlock()
	step, ok, err := shape.Tick(state)
	switch {
	case err != nil:
		return true, fmt.Errorf("load shape: %w", err)
	case !ok:
		return true, nil
	}
	if err := checkTarget(step.Users, step.SpawnRate); err != nil {
		return true, fmt.Errorf("load shape: %w", err)
	}
	if step.Users != t.shape.Users || step.SpawnRate != t.shape.SpawnRate || !slices.Equal(step.Classes, t.shape.Classes) {
		r.aim(t, step.Users, step.SpawnRate, step.Classes)
	}
	t.shape = step
	return false, nil
}

// tick is what happens once a second.
func (r *run) tick(t *timers) (done bool, err error) {
	m := r.m
	m.mu.Lock()
	now := time.Now()
	r.account(now)
	r.ledger.tick(now)
	users := m.users()
	r.peak = max(r.peak, total(users))
	for class, n := range users {
		r.peaks[class] = max(r.peaks[class], n)
	}
	unreachable := m.config.Unreachable > 0 && r.ledger.series.unreachable(int64(m.config.Unreachable/time.Second))
	gone := r.gone(now)
	shape := r.plan.Shape
	m.mu.Unlock()
	switch {
	case unreachable:
		return true, ErrUnreachable
	case gone:
		return true, ErrWorkersLost
	case shape != nil:
		return r.shape(t)
	}
	return false, nil
}

// workersGone reports whether the last worker has left.
func (r *run) workersGone() bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return r.gone(time.Now())
}

// gone reports whether no worker is left. Those whose connection was lost may be back in a moment;
// they count until they have been silent for too long. The lock is held.
func (r *run) gone(now time.Time) bool {
	for _, n := range r.m.nodes {
		if n.active() || now.Sub(n.heard) < r.m.config.MissingAfter {
			return false
		}
	}
	return len(r.m.leaving) == 0
}

// stopUsers tells all workers to stop and waits until they have told what their users did.
func (r *run) stopUsers(reason string, ended error) {
	m := r.m
	m.mu.Lock()
	now := time.Now()
	r.account(now)
	if left := r.plan.RunTime - now.Sub(r.started); ended != nil && left > 0 {
		// Cut short: what was still to come was planned and is not delivered.
		r.accounts.plannedSeconds += left.Seconds() * float64(r.accounts.planned())
		r.accounts.cutShort = left
	}
	r.stopping, r.accounts.over, r.reason = true, true, reason
	r.accounts.ended = now
	m.state = StateStopping
	for id := range m.nodes {
		m.send(id, wire.TypeStop, nil)
	}
	m.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), m.config.StopTimeout+m.config.StopDeadline)
	defer cancel()
	r.awaitParts(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	r.settleParts()
	r.usersEnded = now
	for _, p := range r.parts {
		for _, at := range []time.Time{p.at, p.stoppedAt} {
			if at.After(r.usersEnded) && at.Before(time.Now()) {
				r.usersEnded = at
			}
		}
	}
}

// awaitParts waits until every worker that took part has told everything, or is lost.
func (r *run) awaitParts(ctx context.Context) {
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for !r.allTold(time.Now()) {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			r.m.log.Warn("not every worker has stopped in time")
			return
		}
	}
}

func (r *run) allTold(now time.Time) bool {
	r.m.mu.Lock()
	defer r.m.mu.Unlock()
	return !slices.ContainsFunc(r.parts, func(p *part) bool { return !p.finished(now) && r.expected(p, now) })
}

// expected reports whether a worker may still tell something. The lock is held.
func (r *run) expected(p *part, now time.Time) bool {
	if n := r.m.nodes[p.id]; n != nil && (n.part == p || p.own && n.hello.Process == p.process) {
		return now.Sub(n.heard) < r.m.config.MissingAfter
	}
	// One of Locust that has stopped has one more report to send.
	return !p.own && !p.stoppedAt.IsZero()
}

// settleParts counts what is missing. The lock is held.
func (r *run) settleParts() {
	now := time.Now()
	for _, p := range r.parts {
		if p.lost = !p.finished(now); p.lost {
			r.lost++
			r.m.log.Warn("a worker is lost: what it did after its last report is not known", "worker", p.id)
		}
		reports, samples := p.stream.missing()
		r.missing += reports
		r.uncounted += samples
	}
}

// unreachable reports whether in each of the last n seconds that reports have reached every request
// failed to reach the target.
func (s *series) unreachable(n int64) bool {
	last := s.now - windowLag
	if last < n || int64(len(s.seconds)) < last {
		return false
	}
	tried := int64(0)
	for i := last - n; i < last; i++ {
		second := &s.seconds[i]
		if second.Unreachable < second.Requests {
			return false
		}
		tried += second.Requests
	}
	return tried > 0
}

// snapshot returns everything that is known. The lock is held.
func (r *run) snapshot(now time.Time) *stats.Snapshot {
	if r.final != nil {
		return r.final
	}
	s := &stats.Snapshot{
		At: now, Started: r.started, UsersByClass: r.m.users(), PeakUsers: r.peak, PeakByClass: maps.Clone(r.peaks),
		Total:     stats.Entry{Hist: new(stats.Histogram)},
		Generator: stats.Generator{CPURatio: -1, CPUTime: -1, Late: new(stats.Histogram)},
	}
	s.Users = total(s.UsersByClass)
	if r.ledger != nil {
		r.account(now)
		r.ledger.fill(s)
		r.cover(s, now)
	} else {
		s.Started = r.created
	}
	if !r.resetAt.IsZero() {
		s.Started = r.resetAt
	}
	if r.setup != nil {
		s.Setup = mergeEntries(s.Setup, r.setup.Snapshot(now, false).Setup)
	}
	s.Warnings = append(s.Warnings, r.warnings...)
	return s
}

// report returns the run as others see it. The lock is held.
func (r *run) report(now time.Time) Outcome {
	o := Outcome{
		Run: r.run, Plan: r.plan, Started: r.started, Ended: r.ended, Reason: r.reason, Err: r.err, Workers: r.workers,
		Snapshot: r.snapshot(now),
	}
	if o.Started.IsZero() {
		o.Started = r.created
	}
	for _, p := range r.parts {
		missing, _ := p.stream.missing()
		o.Parts = append(o.Parts, Part{
			Worker: p.id, Own: p.own, Lost: p.lost, Until: p.at,
			Samples: p.stream.samples, Counted: p.stream.counted, MissingReports: missing,
		})
	}
	if r.ledger != nil {
		for i := range r.accounts.atEnd {
			if int64(i) >= r.ledger.base {
				o.WorkersBySecond = append(o.WorkersBySecond, r.accounts.atEnd[i].workers)
			}
		}
	}
	return o
}

// reset begins the statistics anew. The lock is held.
func (r *run) reset(now time.Time) {
	r.account(now)
	base := int64(now.Sub(r.started)/time.Second) + 1
	fresh := newLedger(r.started, base)
	fresh.series.now = -1
	r.ledger = fresh
	r.resetAt = r.started.Add(time.Duration(base) * time.Second)
	r.final = nil
	r.accounts.plannedSeconds, r.accounts.deliveredSeconds = 0, 0
	r.peak = 0
	clear(r.peaks)
}

// Exceptions returns the uncaught errors of tasks of the run that goes on, or of the last one.
func (m *Master) Exceptions() []Exception {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.latest == nil || m.latest.ledger == nil {
		return nil
	}
	var list []Exception
	for _, e := range m.latest.ledger.exceptions {
		copied := *e
		copied.Workers = slices.Clone(e.Workers)
		list = append(list, copied)
	}
	sort.Slice(list, func(i, j int) bool { return list[j].Count < list[i].Count })
	return list
}
