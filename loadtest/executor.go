package loadtest

import (
	"context"
	"runtime"
	"time"
)

// yieldEvery is how many tasks without a wait a user runs before it lets others run.
const yieldEvery = 64

// executor is a goroutine that runs users, one at a time, and the context that it lends them.
type executor struct {
	shard  *shard
	next   chan *User
	ctx    context.Context
	cancel context.CancelCauseFunc
}

func newExecutor(sh *shard) *executor {
	e := &executor{shard: sh, next: make(chan *User, 1)}
	e.ctx, e.cancel = context.WithCancelCause(sh.base)
	return e
}

func (e *executor) release() { e.cancel(nil) }

// run runs a user until it waits or has ended.
func (e *executor) run(u *User) {
	begun := e.take(u)
	if u.stopping.Load() && !begun {
		e.ended(u)
		return
	}
	if !begun {
		switch u.begin(e.ctx) {
		case startStopped:
			e.finish(u)
			return
		case startFailed:
			e.ended(u)
			return
		}
	}
	for n := 1; ; n++ {
		if u.stopping.Load() {
			e.finish(u)
			return
		}
		wait, end := u.iterate(e.ctx)
		if end {
			e.finish(u)
			return
		}
		if wait > 0 {
			if !e.shard.park(u, wait) {
				e.finish(u)
			}
			return
		}
		if n%yieldEvery == 0 {
			runtime.Gosched()
		}
	}
}

// take binds a user to the executor. It reports whether the user has begun before, in which case it
// comes from a wait whose lateness counts.
func (e *executor) take(u *User) (begun bool) {
	e.shard.mu.Lock()
	if e.ctx.Err() != nil {
		e.ctx, e.cancel = context.WithCancelCause(e.shard.base)
	}
	u.executor = e
	due := u.due
	e.shard.mu.Unlock()
	if due == 0 {
		return false
	}
	if !u.stopping.Load() {
		e.shard.swarm.collector.Recorder(e.shard.core).Late(e.shard.swarm.now() - time.Duration(due))
	}
	return true
}

// finish ends a user: what it does at its stop runs with a context of its own when it was cut off.
func (e *executor) finish(u *User) {
	e.shard.swarm.shardOf(u).mu.Lock()
	if e.ctx.Err() != nil {
		e.ctx, e.cancel = context.WithCancelCause(e.shard.base)
	}
	e.shard.swarm.shardOf(u).mu.Unlock()
	ctx, cancel := e.ctx, context.CancelFunc(func() {})
	if u.class.OnStop != nil || u.place != nil {
		ctx, cancel = context.WithTimeout(e.ctx, max(e.shard.swarm.timeout, time.Second))
	}
	u.finish(ctx)
	cancel()
	e.ended(u)
}

func (e *executor) ended(u *User) {
	sh := e.shard.swarm.shardOf(u)
	sh.mu.Lock()
	u.stage = ended
	u.executor = nil
	sh.mu.Unlock()
	e.shard.swarm.ended(u)
}
