package loadtest

import (
	"context"
	"sync"
	"time"
)

const (
	// maxStarting bounds the goroutines of a shard that were started and have not run yet: users
	// beyond wait in a queue, so that a burst does not make a goroutine each.
	maxStarting = 32
	// maxIdle bounds the goroutines of a shard that wait for a user to run.
	maxIdle = 512
)

// shard holds the users of one core: those that wait, by the time they are due, and those that are
// to run. A user runs on an executor of its shard.
type shard struct {
	swarm *Swarm
	base  context.Context
	core  int
	wake  chan struct{}
	quit  chan struct{}

	mu       sync.Mutex
	timers   timerHeap
	queue    []*User
	idle     []*executor
	starting int
	closed   bool
}

func newShard(base context.Context, s *Swarm, core int) *shard {
	return &shard{swarm: s, base: base, core: core, wake: make(chan struct{}, 1), quit: make(chan struct{})}
}

// dispatch has a user run; the lock is held.
func (sh *shard) dispatch(u *User) {
	if n := len(sh.idle); n > 0 {
		e := sh.idle[n-1]
		sh.idle = sh.idle[:n-1]
		e.next <- u
		return
	}
	if sh.starting < maxStarting {
		sh.starting++
		go sh.execute(u)
		return
	}
	sh.queue = append(sh.queue, u)
}

// execute is the life of an executor's goroutine: it runs users until there are none.
func (sh *shard) execute(u *User) {
	e := newExecutor(sh)
	defer e.release()
	sh.mu.Lock()
	sh.starting--
	sh.startAnother()
	sh.mu.Unlock()
	for u != nil {
		e.run(u)
		u = sh.nextUser(e)
	}
}

// startAnother keeps the queue moving when everybody else is blocked in a task: each executor that
// begins makes sure that one more does, as long as users wait for one. The lock is held.
func (sh *shard) startAnother() {
	if len(sh.queue) > 0 && sh.starting < maxStarting {
		sh.starting++
		go sh.execute(sh.dequeue())
	}
}

func (sh *shard) dequeue() *User {
	u := sh.queue[0]
	sh.queue[0] = nil
	sh.queue = sh.queue[1:]
	if len(sh.queue) == 0 {
		sh.queue = nil
	}
	return u
}

// nextUser returns the next user to run, waiting for one; nil ends the executor.
func (sh *shard) nextUser(e *executor) *User {
	sh.mu.Lock()
	if len(sh.queue) > 0 {
		u := sh.dequeue()
		sh.mu.Unlock()
		return u
	}
	if sh.closed || len(sh.idle) >= maxIdle {
		sh.mu.Unlock()
		return nil
	}
	sh.idle = append(sh.idle, e)
	sh.mu.Unlock()
	return <-e.next
}

// park has a user wait; it runs again when it is due. It reports false when the user was told to
// stop meanwhile.
func (sh *shard) park(u *User, wait time.Duration) bool {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if u.stopping.Load() {
		return false
	}
	u.executor = nil
	u.stage = waiting
	u.due = int64(sh.swarm.now() + wait)
	if sh.timers.push(timerEntry{u.due, u}) {
		select {
		case sh.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// wakeUsers runs users as they become due, until the shard is closed.
func (sh *shard) wakeUsers() {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		timer.Reset(sh.wakeDue())
		select {
		case <-timer.C:
		case <-sh.wake:
		case <-sh.quit:
			return
		}
	}
}

// wakeDue dispatches the users that are due and returns the time until the next one is.
func (sh *shard) wakeDue() time.Duration {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	now := int64(sh.swarm.now())
	for len(sh.timers) > 0 {
		first := sh.timers[0]
		if first.due > now {
			return time.Duration(first.due - now)
		}
		sh.timers.pop()
		// An entry is stale when its user was stopped while it waited.
		if u := first.user; u.stage == waiting && u.due == first.due {
			u.stage = ready
			sh.dispatch(u)
		}
	}
	return time.Hour
}

func (sh *shard) close() {
	close(sh.quit)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	sh.closed = true
	for _, e := range sh.idle {
		e.next <- nil
	}
	sh.idle = nil
}
