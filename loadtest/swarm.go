package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// ErrInterrupted is the cause of a user's context that ended because the user had to stop at once.
var ErrInterrupted = errors.New("interrupted")

// abandonAfter is how long a user may ignore the end of its context before it is given up.
const abandonAfter = time.Second

// stopPatience is how long a ramp down waits for what users do at their stop before it goes on.
const stopPatience = 100 * time.Millisecond

// SwarmOptions say what a swarm can run, and how.
type SwarmOptions struct {
	// Classes are those that users can be of; abstract ones and those that the tags leave no task are
	// none of them.
	Classes []*UserClass
	// Tags keep only tasks that have one of them, ExcludeTags drops tasks that have one.
	Tags, ExcludeTags []string
	// Cores is the number of cores that users are spread over; 0 = all that the process may use.
	Cores int
	// StopTimeout is how long a task may go on when its user is told to stop.
	StopTimeout time.Duration
	// Observe, if not nil, is called with every call that users record, on the goroutine of the user;
	// it must not keep the sample.
	Observe func(*stats.Sample)
}

// Swarm runs the users of one process on all its cores. Make it with [NewSwarm]. Its methods are safe
// for concurrent use, except Close, which is called once, last.
type Swarm struct {
	env       *Env
	collector *stats.Collector
	classes   map[string]*class
	observe   func(*stats.Sample)
	timeout   time.Duration
	started   time.Time
	shards    []*shard
	loops     sync.WaitGroup

	alive atomic.Int64
	mu    sync.Mutex
	// users has those of each class in the order of their start.
	users map[string][]*User
	// leaving are those that were told to stop before the end of the run and have not ended yet.
	leaving map[*User]struct{}
	count   map[string]int
	// gone counts users that ended themselves, by class.
	gone    map[string]int
	drained []chan struct{}
}

// NewSwarm starts the timers of a swarm, which Close ends. The users' contexts have the values of ctx
// and do not end with it.
func NewSwarm(ctx context.Context, env *Env, collector *stats.Collector, options SwarmOptions) *Swarm {
	s := &Swarm{
		env:       env,
		collector: collector,
		classes:   compileAll(options.Classes, options.Tags, options.ExcludeTags),
		observe:   options.Observe,
		timeout:   options.StopTimeout,
		started:   time.Now(),
		users:     map[string][]*User{},
		leaving:   map[*User]struct{}{},
		count:     map[string]int{},
		gone:      map[string]int{},
	}
	for i := range cmp.Or(max(options.Cores, 0), runtime.GOMAXPROCS(0)) {
		s.shards = append(s.shards, newShard(context.WithoutCancel(ctx), s, i))
	}
	for _, sh := range s.shards {
		s.loops.Go(sh.wakeUsers)
	}
	return s
}

func (s *Swarm) now() time.Duration { return time.Since(s.started) }

// Start starts one user of a class under an index that no other user of the run has. It reports
// false when there is no such class.
func (s *Swarm) Start(className string, index int64) bool {
	c, ok := s.classes[className]
	if !ok {
		return false
	}
	u := newUser(s, c, index)
	s.alive.Add(1)
	s.mu.Lock()
	s.users[c.Name] = append(s.users[c.Name], u)
	s.count[c.Name]++
	s.mu.Unlock()
	sh := s.shardOf(u)
	sh.mu.Lock()
	sh.dispatch(u)
	sh.mu.Unlock()
	return true
}

func (s *Swarm) shardOf(u *User) *shard { return s.shards[u.index%int64(len(s.shards))] }

// Counts returns how many users of each class run, and how many have ended themselves.
func (s *Swarm) Counts() (running, gone map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.count), maps.Clone(s.gone)
}

// Stop ends n users of a class, the ones started last first: a waiting one at once, a busy one after
// its task, or after the stop timeout.
func (s *Swarm) Stop(className string, n int) {
	users := s.pop(className, n)
	if len(users) == 0 {
		return
	}
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stopAll(users)
	}()
	time.AfterFunc(s.timeout, func() { s.kill(users) })
	s.await(context.Background(), stopped, stopPatience)
}

// pop takes users that have not ended from the end of a class's list and tells them to stop.
func (s *Swarm) pop(className string, n int) []*User {
	s.mu.Lock()
	defer s.mu.Unlock()
	list := s.users[className]
	var popped []*User
	for len(popped) < n && len(list) > 0 {
		last := list[len(list)-1]
		list[len(list)-1] = nil
		list = list[:len(list)-1]
		if !last.stopping.Swap(true) {
			s.leaving[last] = struct{}{}
			popped = append(popped, last)
		}
	}
	s.users[className] = list
	return popped
}

// stopAll tells users to stop and finishes those that wait, on a few goroutines.
func (s *Swarm) stopAll(users []*User) {
	for _, u := range users {
		u.stopping.Store(true)
	}
	var wg sync.WaitGroup
	workers := min(len(users), 64*len(s.shards))
	for i := range workers {
		wg.Go(func() {
			e := newExecutor(s.shards[i%len(s.shards)])
			defer e.release()
			for j := i; j < len(users); j += workers {
				if s.claim(users[j], e) {
					e.finish(users[j])
				}
			}
		})
	}
	wg.Wait()
}

// claim takes a waiting user from its shard, so that nobody wakes it any more.
func (s *Swarm) claim(u *User, e *executor) bool {
	sh := s.shardOf(u)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if u.stage != waiting {
		return false
	}
	u.stage = ready
	u.executor = e
	return true
}

// kill ends the contexts of users that still run.
func (s *Swarm) kill(users []*User) {
	for _, u := range users {
		sh := s.shardOf(u)
		sh.mu.Lock()
		if u.stage != ended && u.executor != nil {
			u.executor.cancel(ErrInterrupted)
		}
		sh.mu.Unlock()
	}
}

// Drain stops every user: gracefully until the stop timeout or the end of ctx, then by ending its
// context, and gives up those that ignore that. It returns the names of the users that it gave up.
func (s *Swarm) Drain(ctx context.Context) []string {
	s.mu.Lock()
	var all []*User
	for class, users := range s.users {
		all = append(all, users...)
		s.users[class] = nil
	}
	all = slices.AppendSeq(all, maps.Keys(s.leaving))
	s.mu.Unlock()

	finished := s.whenDrained()
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		s.stopAll(all)
	}()
	s.await(ctx, finished, s.timeout)
	if s.alive.Load() > 0 {
		s.kill(all)
		s.await(context.Background(), finished, abandonAfter)
	}
	if s.alive.Load() == 0 {
		<-stopped
		return nil
	}
	return s.abandoned(all)
}

func (s *Swarm) abandoned(all []*User) []string {
	var names []string
	for _, u := range all {
		sh := s.shardOf(u)
		sh.mu.Lock()
		if u.stage != ended {
			names = append(names, fmt.Sprintf("%s (user %d)", u.class.Name, u.index))
		}
		sh.mu.Unlock()
	}
	slices.Sort(names)
	return names
}

func (s *Swarm) await(ctx context.Context, finished <-chan struct{}, atMost time.Duration) {
	timer := time.NewTimer(atMost)
	defer timer.Stop()
	select {
	case <-finished:
	case <-timer.C:
	case <-ctx.Done():
	}
}

// whenDrained returns a channel that is closed when no user is left.
func (s *Swarm) whenDrained() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	done := make(chan struct{})
	if s.alive.Load() == 0 {
		close(done)
	} else {
		s.drained = append(s.drained, done)
	}
	return done
}

// ended accounts for a user that has finished.
func (s *Swarm) ended(u *User) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.count[u.class.Name]--
	delete(s.leaving, u)
	if !u.stopping.Swap(true) {
		s.gone[u.class.Name]++
	}
	if s.alive.Add(-1) == 0 {
		for _, done := range s.drained {
			close(done)
		}
		s.drained = nil
	}
}

// Close ends the timers and the idle goroutines. Users that were given up keep theirs.
func (s *Swarm) Close() {
	for _, sh := range s.shards {
		sh.close()
	}
	s.loops.Wait()
}
