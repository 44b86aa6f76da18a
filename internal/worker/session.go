package worker

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// abandonGrace is how long a session may take beyond its users' stop timeout.
	abandonGrace = 5 * time.Second
	// settleEvery is how often users that are to stop are looked at, until they have.
	settleEvery = 50 * time.Millisecond
	// keptSeconds is how many seconds have their histograms until they are reported.
	keptSeconds = 120
	// workerIndexes is how many indexes each worker has for its users under a master of Locust.
	workerIndexes = 1 << 32
	// maxExceptions bounds the exceptions that a master of Locust is told at once.
	maxExceptions = 1000
)

// session is the part of a run on this worker: from the first spawn to the stop.
type session struct {
	worker      *Worker
	own         bool // under a master of this program
	run         Run
	info        wire.RunInfo
	stopTimeout time.Duration
	reports     reports

	stopOnce sync.Once
	stopped  chan struct{}
	patience time.Duration // how long the end may take; set before stopped is closed
	wake     chan struct{} // has an element when there is something to do
	endUsers atomic.Bool   // a user wants the end of the test, and nobody else can end it
	done     chan struct{}

	// mu guards what the master wants.
	mu      sync.Mutex
	updated bool // since the users were last started and stopped
	wanted  map[string]int
	indexes map[string][]int64
	ramps   []int // users at the end of ramps that listeners are to be told of

	// live is set once users can run.
	live atomic.Pointer[live]
	told map[string]int // how many users of each class were started, less those stopped
	// unknown are classes that the master wants and nobody has.
	unknown map[string]bool

	reporting  sync.Mutex
	reported   bool // everything, the end included
	last       *stats.Snapshot
	exceptions map[stats.ErrorKey]int64
}

// live is what users run in.
type live struct {
	scenario  *Scenario
	env       *loadtest.Env
	collector *stats.Collector
	swarm     *loadtest.Swarm
	ended     endedUsers
	warm      *time.Timer // nil = nobody is told that the warm-up is over
	process   *stats.ProcessMeter
	shift     int64 // seconds of the run before the collector's first one
	nextIndex int64 // of users that the master gave none
}

// newSession begins the part of a run; its goroutine ends after stop.
func (w *Worker) newSession(spawn *wire.Spawn, info wire.RunInfo, own bool) *session {
	s := &session{
		worker:      w,
		own:         own,
		info:        info,
		stopTimeout: time.Duration(spawn.StopTimeout * float64(time.Second)),
		stopped:     make(chan struct{}),
		wake:        make(chan struct{}, 1),
		done:        make(chan struct{}),
		wanted:      map[string]int{},
		indexes:     map[string][]int64{},
		told:        map[string]int{},
		unknown:     map[string]bool{},
		exceptions:  map[stats.ErrorKey]int64{},
	}
	w.mu.Lock()
	index := w.index
	w.mu.Unlock()
	s.run = Run{ID: info.ID, Seed: info.Seed, Settings: info.Settings, WorkerIndex: info.WorkerIndex, WorkerCount: info.WorkerCount}
	if !own {
		s.run = Run{ID: w.config.NewRunID(), Seed: w.config.Seed, Foreign: true, WorkerIndex: max(index, 0), WorkerCount: max(index, 0) + 1}
		w.tally.Take(time.Now())
	}
	s.run.Host = spawn.Host
	s.run.Options, s.run.Tags, s.run.ExcludeTags = optionsOf(w.config.Options, spawn.Options, info.Options)
	go s.main(time.Now())
	return s
}

// optionsOf returns the custom values of a run and its tags: those of the worker's own command line,
// above them what the master's says.
func optionsOf(own map[string]string, parsed map[string]any, run map[string]string) (options map[string]string, tags, exclude []string) {
	options = maps.Clone(own)
	if options == nil {
		options = map[string]string{}
	}
	for name, value := range parsed {
		switch value := value.(type) {
		case string:
			options[name] = value
		case bool, int64, float64:
			options[name] = fmt.Sprint(value)
		}
	}
	maps.Copy(options, run)
	return options, textsOf(parsed["tags"]), textsOf(parsed["exclude_tags"])
}

func textsOf(value any) (texts []string) {
	list, _ := value.([]any)
	for _, element := range list {
		if text, ok := element.(string); ok {
			texts = append(texts, text)
		}
	}
	return texts
}

// update takes over what the master wants from now on.
func (s *session) update(spawn *wire.Spawn, indexes map[string][]int64) {
	s.mu.Lock()
	s.updated = true
	maps.Copy(s.wanted, spawn.UsersByClass)
	for class, list := range indexes {
		s.indexes[class] = append(s.indexes[class], list...)
	}
	s.mu.Unlock()
	s.alert()
}

func (s *session) alert() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// spawningComplete says that a ramp over all workers is over. Under a master of this program it is
// the master that tells listeners.
func (s *session) spawningComplete(users int) {
	if s.own {
		return
	}
	s.mu.Lock()
	s.ramps = append(s.ramps, users)
	s.mu.Unlock()
	s.alert()
}

// stop ends the session within a time; done is closed when it has ended. The first call counts.
func (s *session) stop(within time.Duration) {
	s.stopOnce.Do(func() {
		s.patience = within
		close(s.stopped)
	})
}

// running returns how many users of each class run.
func (s *session) running() map[string]int {
	l := s.live.Load()
	if l == nil {
		return map[string]int{}
	}
	running, _ := l.swarm.Counts()
	s.mu.Lock()
	defer s.mu.Unlock()
	for class := range s.wanted {
		running[class] += 0
	}
	return running
}

// main is the life of the session.
func (s *session) main(received time.Time) {
	defer close(s.done)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	opened := make(chan struct{})
	go func() { // what is opened gives up at the stop
		select {
		case <-s.stopped:
			cancel()
		case <-opened:
		}
	}()
	l, err := s.open(ctx, received)
	close(opened)
	if err != nil {
		s.fail(err)
		<-s.stopped
	} else {
		s.live.Store(l)
		s.loop(l)
	}
	s.close(l)
}

// open prepares the run and tells the listeners.
func (s *session) open(ctx context.Context, received time.Time) (*live, error) {
	cores := s.worker.config.Cores
	if cores <= 0 {
		cores = runtime.GOMAXPROCS(0)
	}
	l := &live{nextIndex: int64(s.run.WorkerIndex) * workerIndexes, process: stats.NewProcessMeter(cores)}
	if s.own {
		// For users whose indexes were in a message that did not arrive: no other worker or process
		// draws the same.
		l.nextIndex = 1<<62 | rand.Int64N(1<<38)<<24
	}
	// The seconds of the collector are those of the run's clock, from the one that is begun.
	zero := received.Add(-s.info.Elapsed)
	l.shift = int64(s.info.Elapsed / time.Second)
	started := zero.Add(time.Duration(l.shift) * time.Second)
	warmup := max(s.info.Warmup-time.Duration(l.shift)*time.Second, 0)
	l.collector = stats.NewCollector(cores, started, warmup)
	l.collector.KeepHistograms(keptSeconds)
	l.env = loadtest.NewEnv(loadtest.EnvOptions{
		RunID: s.run.ID, Seed: s.run.Seed, Host: s.run.Host, Options: s.run.Options, Shared: s.info.Shared,
		WorkerIndex: s.run.WorkerIndex, WorkerCount: s.run.WorkerCount,
		Setup: l.collector.Setup(), StopTest: s.stopTest, Logger: s.worker.log,
	})
	l.env.SetStarted(zero)
	if s.own {
		l.env.Seal()
	}
	scenario, err := s.worker.config.Open(ctx, s.run)
	if err != nil {
		return l, err
	}
	l.scenario = scenario
	if !s.own && scenario.Events.TestStart != nil {
		s.worker.log.Warn("a master of Locust runs no on_test_start: this worker runs it itself")
		if err := scenario.Events.TestStart(ctx, l.env); err != nil {
			return l, fmt.Errorf("on_test_start: %w", err)
		}
	}
	l.env.Seal()
	if scenario.Events.WorkerStart != nil {
		if err := scenario.Events.WorkerStart(ctx, l.env); err != nil {
			return l, fmt.Errorf("on_worker_start: %w", err)
		}
	}
	options := loadtest.SwarmOptions{
		Classes: s.worker.changed(scenario.Classes), Tags: s.run.Tags, ExcludeTags: s.run.ExcludeTags, Cores: cores, StopTimeout: s.stopTimeout,
	}
	if !s.own {
		options.Observe = s.worker.tally.Record
	}
	l.swarm = loadtest.NewSwarm(context.Background(), l.env, l.collector, options)
	if left := s.info.Warmup - time.Since(zero); scenario.OnWarm != nil && s.info.Warmup > 0 && left > 0 {
		l.warm = time.AfterFunc(left, scenario.OnWarm)
	}
	return l, nil
}

// fail tells the master that no user can run here.
func (s *session) fail(err error) {
	w := s.worker
	w.log.Error("the run cannot begin here", "error", err)
	traceback := err.Error()
	if with, ok := err.(interface{ Traceback() string }); ok && with.Traceback() != "" {
		traceback = with.Traceback()
	}
	if s.own {
		w.send(wire.TypeRunFailed, map[string]any{"run": s.run.ID, "error": err.Error(), "traceback": traceback})
		return
	}
	w.send(wire.TypeException, wire.Exception{Message: err.Error(), Traceback: traceback})
	s.complete()
}

// stopTest is what code of a user calls that wants the run to end.
func (s *session) stopTest(reason string) {
	if s.own {
		s.worker.send(wire.TypeStopTest, reason)
		return
	}
	s.worker.log.Warn("the users of this worker end: a master of Locust cannot be told to stop the test", "reason", reason)
	s.endUsers.Store(true)
	s.alert()
}

// loop starts and stops users as the master wants.
func (s *session) loop(l *live) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	settle := time.NewTimer(0) // the first spawn is there already
	defer settle.Stop()
	settling := time.Time{} // since when users are to have stopped
	for {
		select {
		case <-s.stopped:
			return
		case <-s.wake:
			s.tellListeners(l)
			if s.apply(l) {
				settling = time.Now()
				settle.Reset(0)
			}
		case <-settle.C:
			if !settling.IsZero() && !s.settled(l) && time.Since(settling) < s.stopTimeout+time.Second {
				settle.Reset(settleEvery)
				continue
			}
			if !settling.IsZero() {
				settling = time.Time{}
				s.complete()
			}
		case <-ticker.C:
			s.count(l)
			l.collector.Tick(time.Now())
		}
	}
}

// apply starts and stops the users that make the difference to what is wanted; it reports false when
// nothing else is wanted than before.
func (s *session) apply(l *live) bool {
	s.mu.Lock()
	updated, wanted, indexes := s.updated, maps.Clone(s.wanted), s.indexes
	s.updated, s.indexes = false, map[string][]int64{}
	s.mu.Unlock()
	if !updated && !s.endUsers.Load() {
		return false
	}
	if s.endUsers.Load() {
		clear(wanted)
		for class := range s.told {
			wanted[class] = 0
		}
	}
	for _, class := range sortedKeys(wanted) {
		list := indexes[class]
		for ; s.told[class] < wanted[class]; s.told[class]++ {
			index := l.nextIndex
			if len(list) > 0 {
				index, list = list[0], list[1:]
			} else {
				l.nextIndex++
			}
			if !l.swarm.Start(class, index) {
				if !s.unknown[class] {
					s.unknown[class] = true
					s.worker.log.Warn("there is no such user class here", "class", class)
				}
				break
			}
		}
		if surplus := s.told[class] - wanted[class]; surplus > 0 {
			l.swarm.Stop(class, surplus)
			s.told[class] = wanted[class]
		}
	}
	s.count(l)
	return true
}

// settled reports whether no more users run than are wanted.
func (s *session) settled(l *live) bool {
	s.count(l)
	running, _ := l.swarm.Counts()
	for class, n := range running {
		if n > s.told[class] {
			return false
		}
	}
	return true
}

// complete says what runs after a spawn.
func (s *session) complete() {
	w := s.worker
	byClass, total := w.counts(s)
	w.setState(stateRunning)
	w.send(wire.TypeSpawningComplete, wire.SpawningComplete{UsersByClass: byClass, Users: total})
}

// count tells the collector how many users are wanted here, without those that ended themselves.
func (s *session) count(l *live) {
	running, gone := l.swarm.Counts()
	planned, ended := 0, 0
	for class, n := range s.told {
		planned += max(n-gone[class], 0)
		ended += min(gone[class], n)
	}
	now := time.Now()
	l.ended.set(now, ended)
	l.collector.Users(now, planned, running)
}

// tellListeners of a master of Locust's run that a ramp is over.
func (s *session) tellListeners(l *live) {
	s.mu.Lock()
	ramps := s.ramps
	s.ramps = nil
	s.mu.Unlock()
	listener := l.scenario.Events.SpawningComplete
	if listener == nil {
		return
	}
	for _, users := range ramps {
		if err := listener(context.Background(), l.env, users); err != nil {
			l.collector.Warn("on_spawning_complete: " + err.Error())
		}
	}
}

// close stops the users, tells the listeners and makes the last report.
func (s *session) close(l *live) {
	ctx, cancel := context.WithTimeout(context.Background(), s.patience)
	defer cancel()
	w := s.worker
	if l.swarm != nil {
		clear(s.told)
		s.count(l)
		for _, name := range l.swarm.Drain(ctx) {
			l.collector.Warn(name + " did not stop and was abandoned")
			w.log.Warn("user did not stop and was abandoned", "user", name)
		}
		s.count(l)
	}
	// What a start made is undone also when there is little time.
	if l.warm != nil {
		l.warm.Stop()
	}
	undo, cancelUndo := context.WithTimeout(context.Background(), max(s.patience/4, time.Second))
	defer cancelUndo()
	if l.scenario != nil {
		s.undo(undo, l)
	}
	if s.own {
		s.report(true)
	} else {
		s.sendExceptions()
	}
	if l.swarm != nil {
		l.swarm.Close()
	}
}

func (s *session) undo(ctx context.Context, l *live) {
	events := l.scenario.Events
	listener := func(name string, f func(context.Context, *loadtest.Env) error) {
		if f == nil {
			return
		}
		if err := f(ctx, l.env); err != nil {
			l.collector.Warn(name + ": " + err.Error())
			s.worker.log.Error("a listener failed", "event", name, "error", err)
		}
	}
	listener("on_worker_stop", events.WorkerStop)
	if !s.own {
		listener("on_test_stop", events.TestStop)
	}
	if l.scenario.Close != nil {
		if err := l.scenario.Close(ctx); err != nil {
			s.worker.log.Error("closing what the run had opened", "error", err)
		}
	}
}

// report makes the next report to a master of this program and sends it.
func (s *session) report(final bool) {
	s.reporting.Lock()
	defer s.reporting.Unlock()
	l := s.live.Load()
	switch {
	case s.reported:
		return
	case l == nil && final:
		s.reported = true
		s.reportNothing()
		return
	case l == nil:
		return
	}
	s.reported = final
	now := time.Now()
	snapshot := l.collector.Snapshot(now, final)
	l.process.Fill(&snapshot.Generator)
	delta := snapshot.Since(s.last)
	s.last = snapshot
	delta.Started = l.collector.Started().Add(-time.Duration(l.shift) * time.Second)
	delta.Series = shifted(delta.Series, l.shift)
	delta.Coverage.Gaps = nil // the master knows the plan of all workers
	s.send(&wire.Report{
		Final: final, Samples: snapshot.Total.Requests, EndedUserSeconds: l.ended.take(now), Delta: delta,
	}, now)
}

// reportNothing ends the reports of a run that did not begin here.
func (s *session) reportNothing() {
	now := time.Now()
	s.send(&wire.Report{Final: true, Delta: &stats.Snapshot{At: now, Started: now.Add(-s.info.Elapsed)}}, now)
}

func (s *session) send(report *wire.Report, now time.Time) {
	w := s.worker
	report.Run = s.run.ID + "/" + w.process
	message := &wire.Stats{Report: report}
	message.UsersByClass, message.Users = w.counts(s)
	s.reports.add(message, now)
	w.sendReports([]*wire.Stats{w.withHeartbeat(message, now)})
}

// shifted returns seconds with their numbers on the run's clock.
func shifted(series []stats.Second, by int64) []stats.Second {
	moved := make([]stats.Second, len(series))
	for i, second := range series {
		second.Index += by
		moved[i] = second
	}
	return moved
}

// sendExceptions tells a master of Locust of the task errors that are new.
func (s *session) sendExceptions() {
	l := s.live.Load()
	if l == nil {
		return
	}
	s.reporting.Lock()
	defer s.reporting.Unlock()
	left := maxExceptions
	for _, e := range l.collector.Snapshot(time.Now(), false).TaskErrors {
		traceback := e.Traceback
		if traceback == "" {
			traceback = e.Name + ": " + e.Text
		}
		for ; s.exceptions[e.ErrorKey] < e.Occurrences && left > 0; left-- {
			s.worker.send(wire.TypeException, wire.Exception{Message: e.Text, Traceback: traceback})
			s.exceptions[e.ErrorKey]++
		}
	}
}
