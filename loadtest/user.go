package loadtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// User is one simulated user. Its methods are for the code of its own tasks; no two tasks of a user
// run at the same time.
type User struct {
	// State is free for the code of the user's class.
	State any

	swarm *Swarm
	class *class
	index int64
	pcg   rand.PCG
	rand  rand.Rand
	place *place

	pacedAt, paced time.Duration
	// due is when a waiting user goes on, in nanoseconds on the swarm's clock.
	due      int64
	executor *executor
	stage    stage
	stopping atomic.Bool
}

// stage is where a user is in its life; it is guarded by the lock of the user's shard.
type stage uint8

const (
	ready stage = iota // queued or running
	waiting
	ended
)

// place is where a user is in nested or sequential task sets.
type place struct {
	set    *taskSet
	turn   int
	parent *place
}

func newUser(s *Swarm, c *class, index int64) *User {
	u := &User{swarm: s, class: c, index: index}
	u.pcg.Seed(s.env.seed, mix(uint64(index)))
	u.rand = *rand.New(&u.pcg)
	u.pacedAt = s.now()
	return u
}

// mix spreads neighbouring numbers over all bits (the finaliser of splitmix64).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Index returns the number of the user over the whole run, from 0, in the order of starts. It is
// never used again.
func (u *User) Index() int64 { return u.index }

// ID returns the run's id and the user's index, joined by a dash: unique for ever.
func (u *User) ID() string { return u.swarm.env.runID + "-" + strconv.FormatInt(u.index, 10) }

// ClassName returns the name of the user's class.
func (u *User) ClassName() string { return u.class.Name }

// Host returns the host of the run, or that of the class when the run has none.
func (u *User) Host() string { return cmp.Or(u.swarm.env.host, u.class.Host) }

// Rand returns the user's own random numbers. With equal seeds of the run they depend on the index
// of the user only.
func (u *User) Rand() *rand.Rand { return &u.rand }

// Env returns what all users of the process share.
func (u *User) Env() *Env { return u.swarm.env }

// Record counts a timed call of the user.
func (u *User) Record(s stats.Sample) {
	u.recorder().Record(&s)
	if observe := u.swarm.observe; observe != nil {
		observe(&s)
	}
}

func (u *User) recorder() *stats.Recorder {
	return u.swarm.collector.Recorder(int(u.index % int64(len(u.swarm.shards))))
}

// Sleep waits inside a task, or returns the context's error when it ends first.
func (u *User) Sleep(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return ctx.Err()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

func (u *User) now() time.Duration { return u.swarm.now() }

// started is how the start of a user went.
type started uint8

const (
	startDone    started = iota // the user goes on
	startStopped                // it was stopped: its OnStop runs
	startFailed                 // it ends at once: what it did not set up needs no OnStop
)

// begin runs OnStart.
func (u *User) begin(ctx context.Context) started {
	if u.class.root.sequential {
		u.place = &place{set: u.class.root}
	}
	err := u.call(ctx, u.class.OnStart)
	var stopTest *StopTestError
	switch {
	case err == nil:
		return startDone
	case errors.Is(err, ErrStopUser):
		return startStopped
	case errors.As(err, &stopTest):
		u.swarm.env.StopTest(stopTest.Reason)
		return startStopped
	case ctx.Err() != nil:
		return startStopped
	}
	u.failed("on_start", err)
	return startFailed
}

// iterate runs one task and returns the wait after it; end is set when the user has ended itself.
func (u *User) iterate(ctx context.Context) (wait time.Duration, end bool) {
	task := u.pick()
	if task.set != nil {
		u.place = &place{set: task.set, parent: u.place}
		return u.after(ctx, task, u.call(ctx, task.set.onStart), true)
	}
	return u.after(ctx, task, u.call(ctx, task.run), false)
}

func (u *User) pick() *task {
	set := u.class.root
	if u.place != nil {
		set = u.place.set
		if set.sequential {
			task := set.picks[u.place.turn]
			u.place.turn = (u.place.turn + 1) % len(set.picks)
			return task
		}
	}
	if len(set.picks) == 1 {
		return set.picks[0]
	}
	return set.picks[u.rand.IntN(len(set.picks))]
}

// after decides how the user goes on after a task, or after it entered a task set.
func (u *User) after(ctx context.Context, t *task, err error, entered bool) (wait time.Duration, end bool) {
	if err == nil {
		if entered {
			return 0, false
		}
		return u.waitTime(ctx)
	}
	var interrupt interruptError
	var stopTest *StopTestError
	switch {
	case errors.Is(err, ErrReschedule):
		return 0, false
	case errors.As(err, &interrupt):
		u.leaveSet(ctx)
		if interrupt.reschedule {
			return 0, false
		}
		return u.waitTime(ctx)
	case errors.Is(err, ErrStopUser):
		return 0, true
	case errors.As(err, &stopTest):
		u.swarm.env.StopTest(stopTest.Reason)
		return 0, true
	case ctx.Err() != nil:
		return 0, true
	}
	u.failed(t.name, err)
	return u.waitTime(ctx)
}

// leaveSet goes back to the set around the current one.
func (u *User) leaveSet(ctx context.Context) {
	if u.place == nil || u.place.set == u.class.root {
		return
	}
	if err := u.call(ctx, u.place.set.onStop); err != nil {
		u.failed(u.place.set.name+" on_stop", err)
	}
	u.place = u.place.parent
}

// badWaitPause keeps a user whose wait time fails from spinning.
const badWaitPause = time.Second

func (u *User) waitTime(ctx context.Context) (wait time.Duration, end bool) {
	w := u.class.WaitTime
	if u.place != nil && u.place.set.wait != nil {
		w = u.place.set.wait
	}
	if w == nil {
		return 0, false
	}
	wait, err := checkedWait(w.Wait(ctx, u))
	if err == nil {
		return wait, false
	}
	if errors.Is(err, ErrStopUser) || ctx.Err() != nil {
		return 0, true
	}
	u.failed("wait_time", err)
	return badWaitPause, false
}

// finish runs what the user does when it stops, from the innermost set outwards.
func (u *User) finish(ctx context.Context) {
	for u.place != nil && u.place.set != u.class.root {
		u.leaveSet(ctx)
	}
	if err := u.call(ctx, u.class.OnStop); err != nil && !errors.Is(err, ErrStopUser) {
		u.failed("on_stop", err)
	}
}

// call runs code of the user; a panic becomes an error with its stack.
func (u *User) call(ctx context.Context, f TaskFunc) (err error) {
	if f == nil {
		return nil
	}
	defer func() {
		if cause := recover(); cause != nil {
			err = &PanicError{Value: cause, Stack: string(debug.Stack())}
		}
	}()
	return f(ctx, u)
}

func (u *User) failed(what string, err error) {
	if errors.Is(err, ErrStopUser) {
		return
	}
	var stopTest *StopTestError
	if errors.As(err, &stopTest) {
		u.swarm.env.StopTest(stopTest.Reason)
		return
	}
	// A call that failed has its place in the statistics; its task's end is no second error.
	var recorded interface{ Recorded() bool }
	if errors.As(err, &recorded) && recorded.Recorded() {
		return
	}
	u.recorder().TaskError(u.class.Name+"."+what, err.Error(), traceback(err))
}

// PanicError is a panic in the code of a user.
type PanicError struct {
	Value any
	Stack string
}

func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v", e.Value) }

// Traceback returns the stack of the panic.
func (e *PanicError) Traceback() string { return e.Stack }

// traceback returns where an error came from, when it knows that.
func traceback(err error) string {
	var with interface{ Traceback() string }
	if errors.As(err, &with) {
		return with.Traceback()
	}
	return ""
}
