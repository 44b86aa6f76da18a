// Package precise waits for short times without the lateness of time.Sleep.
//
// The runtime's own timers end in a poll with a resolution of a millisecond,
// so that time.Sleep(1.2 ms) on an idle machine takes about 2 ms. A [Timer]
// keeps all its waits in one heap and, on Linux, has the kernel wake one
// goroutine through a timerfd at the earliest deadline: the descriptor is in
// the runtime's poller, where readiness has no such rounding. Where there is
// no timerfd it waits on ordinary timers.
package precise

import (
	"context"
	"errors"
	"sync"
	"time"
)

// ErrClosed is returned by waits on a [Timer] that has been closed.
var ErrClosed = errors.New("precise: timer closed")

// Timer serves any number of concurrent waits with one goroutine, which runs
// from the first wait to Close. A Timer must be made by New.
type Timer struct {
	begin  time.Time // deadlines are monotonic nanoseconds since begin
	closed chan struct{}

	mu      sync.Mutex
	started bool
	done    bool
	alarm   alarm // nil: ordinary timers
	armed   int64 // deadline the alarm is set to; 0: none
	waits   heap
	loop    sync.WaitGroup
}

// alarm is a one-shot clock of the operating system.
type alarm interface {
	// set makes the alarm go off after d, which is positive, instead of at any
	// earlier setting.
	set(d time.Duration) error
	// wait blocks until the alarm has gone off, or returns an error for good
	// once the alarm is closed.
	wait() error
	close() error
}

// New returns a Timer that holds no resources yet.
func New() *Timer {
	return &Timer{begin: time.Now(), closed: make(chan struct{})}
}

// Wait returns nil after d, and never before. It returns early with the cause
// of the end of ctx, or with ErrClosed when the timer is closed. A d of zero
// or less returns at once.
func (t *Timer) Wait(ctx context.Context, d time.Duration) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if d <= 0 {
		return nil
	}
	w := waitPool.Get().(*wait)
	if !t.add(w, d) {
		waitPool.Put(w)
		return t.waitOrdinary(ctx, d)
	}
	select {
	case <-w.due:
		waitPool.Put(w)
		return nil
	case <-ctx.Done():
		t.remove(w)
		return context.Cause(ctx)
	case <-t.closed:
		t.remove(w)
		return ErrClosed
	}
}

// add puts w into the heap; false means that there is no alarm to wait on.
func (t *Timer) add(w *wait, d time.Duration) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done {
		return false
	}
	t.start()
	if t.alarm == nil {
		return false
	}
	w.deadline = int64(time.Since(t.begin) + d)
	t.waits.push(w)
	if t.armed == 0 || w.deadline < t.armed {
		t.arm(w.deadline)
	}
	return true
}

// start makes the alarm and its goroutine on first use. t.mu is held.
func (t *Timer) start() {
	if t.started {
		return
	}
	t.started = true
	a, err := newAlarm()
	if err != nil {
		return // no timerfd here: ordinary timers serve as well, only later
	}
	t.alarm = a
	t.loop.Go(t.run)
}

// arm sets the alarm for a deadline. t.mu is held.
func (t *Timer) arm(deadline int64) {
	d := max(time.Duration(deadline)-time.Since(t.begin), 1)
	if t.alarm.set(d) == nil {
		t.armed = deadline
	}
}

// remove takes w out of the heap when it is still there, and retires it.
func (t *Timer) remove(w *wait) {
	t.mu.Lock()
	if w.index >= 0 {
		t.waits.remove(w)
	}
	t.mu.Unlock()
	select {
	case <-w.due:
	default:
	}
	waitPool.Put(w)
}

// run owns the alarm: each time it goes off it releases what is due.
func (t *Timer) run() {
	for t.alarm.wait() == nil {
		t.mu.Lock()
		t.armed = 0
		now := int64(time.Since(t.begin))
		for len(t.waits) > 0 && t.waits[0].deadline <= now {
			w := t.waits[0]
			t.waits.remove(w)
			w.due <- struct{}{} // has room: a wait is due once
		}
		if len(t.waits) > 0 {
			t.arm(t.waits[0].deadline)
		}
		t.mu.Unlock()
	}
}

// waitOrdinary waits on the runtime's timers.
func (t *Timer) waitOrdinary(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-t.closed:
		return ErrClosed
	}
}

// Close ends every wait with ErrClosed and returns when the timer's goroutine
// has ended. Closing twice is allowed.
func (t *Timer) Close() error {
	t.mu.Lock()
	if t.done {
		t.mu.Unlock()
		return nil
	}
	t.done = true
	close(t.closed)
	a := t.alarm
	t.mu.Unlock()
	if a == nil {
		return nil
	}
	err := a.close()
	t.loop.Wait()
	return err
}
