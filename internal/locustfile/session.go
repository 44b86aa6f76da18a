package locustfile

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	sessionKey = "session"
	// checkEvery is how many steps of the interpreter there are between looks at the context and the
	// depth of the call stack.
	checkEvery = 200
	// maxDepth bounds recursion far below what exhausts memory.
	maxDepth = 4000
)

// session is an interpreter thread with what its code may reach: lent to a user or a listener while
// a function runs.
type session struct {
	file   *File
	thread *starlark.Thread
	ctx    context.Context
	user   *scriptUser   // nil in events
	env    *loadtest.Env // nil at load time
	rng    *rand.Rand
	leases []*leaseValue
	// opened counts the leases of the session; attempt knows by it which ones are its own.
	opened int
	args   [1]starlark.Value
	// stepsLeft bounds what runs while a file is loaded; 0 = no bound.
	stepsLeft int64
	// broken sessions are not used again.
	broken bool
}

var errNotRunning = errors.New("this can be called by users and event listeners only, not while the file is loaded")

// sessionPool keeps sessions that are not lent.
type sessionPool struct {
	file *File
	pool sync.Pool
}

func (p *sessionPool) init(f *File) {
	p.file = f
	p.pool.New = func() any { return p.fresh() }
}

func (p *sessionPool) fresh() *session {
	s := &session{file: p.file, ctx: context.Background()}
	s.thread = &starlark.Thread{Name: "locustfile", Print: s.print}
	s.thread.SetLocal(sessionKey, s)
	s.thread.SetMaxExecutionSteps(checkEvery)
	s.thread.OnMaxSteps = s.look
	return s
}

func (s *session) print(_ *starlark.Thread, text string) {
	s.file.printing.Lock()
	defer s.file.printing.Unlock()
	fmt.Fprintln(s.file.stderr, text)
}

// look is called now and then while code runs.
func (s *session) look(thread *starlark.Thread) {
	thread.SetMaxExecutionSteps(thread.ExecutionSteps() + checkEvery)
	if s.stepsLeft > 0 {
		if s.stepsLeft -= checkEvery; s.stepsLeft <= 0 {
			thread.Cancel("loading the file takes too long: is there an endless loop at top level?")
		}
	}
	switch {
	case s.ctx.Err() != nil:
		thread.Cancel(loadclient.Interrupted)
	case thread.CallStackDepth() > maxDepth:
		thread.Cancel(fmt.Sprintf("calls are nested more than %d deep", maxDepth))
	}
}

func sessionOf(thread *starlark.Thread) *session {
	s, _ := thread.Local(sessionKey).(*session)
	return s
}

// running returns the session of code that users or listeners run.
func running(thread *starlark.Thread) (*session, error) {
	s := sessionOf(thread)
	if s == nil || s.env == nil {
		return nil, errNotRunning
	}
	return s, nil
}

// call runs a function of a user. Leases that it leaves open are committed, or rolled back when it
// fails.
func (f *File) call(ctx context.Context, u *scriptUser, fn starlark.Callable) error {
	s := f.sessions.pool.Get().(*session)
	s.ctx, s.user, s.env, s.rng = ctx, u, u.user.Env(), u.user.Rand()
	u.session = s
	s.args[0] = u
	_, err := starlark.Call(s.thread, fn, s.args[:], nil)
	if err != nil || len(s.leases) > 0 {
		err = s.settle(err)
	}
	u.session = nil
	s.giveBack(err)
	return err
}

// keep remembers a lease until the function ends; those that were closed make room.
func (s *session) keep(l *leaseValue) {
	for n := len(s.leases); n > 0 && !s.leases[n-1].lease.Open(); n-- {
		s.leases = s.leases[:n-1]
	}
	s.opened++
	l.number = s.opened
	s.leases = append(s.leases, l)
}

// settle ends the leases that are open and gives the error its position.
func (s *session) settle(err error) error {
	for i, lease := range s.leases {
		s.leases[i] = nil
		if err != nil && !isControl(err) {
			_ = lease.lease.Rollback(s.ctx)
			continue
		}
		if closeErr := lease.lease.Close(s.ctx); closeErr != nil && err == nil {
			err = closeErr
		}
	}
	s.leases = s.leases[:0]
	if err == nil {
		return nil
	}
	if s.ctx.Err() == nil {
		return positioned(err)
	}
	s.broken = true
	var located *Error
	if !errors.As(positioned(err), &located) {
		return loadtest.ErrInterrupted
	}
	interrupted := *located
	interrupted.Msg, interrupted.Err = loadclient.Interrupted, loadtest.ErrInterrupted
	return &interrupted
}

func (s *session) giveBack(err error) {
	s.ctx, s.user, s.env, s.rng = context.Background(), nil, nil, nil
	if err != nil {
		// A cancelled thread stays cancelled.
		s.thread.Uncancel()
	}
	if !s.broken {
		s.file.sessions.pool.Put(s)
	}
}

// abandonAfter is how long a listener or a tick may ignore the end of its context.
const abandonAfter = time.Second

// await calls a function on a goroutine of its own. When the context has ended and the function goes
// on all the same, in a built-in that cannot be interrupted, it is given up.
func (s *session) await(fn starlark.Callable, args []starlark.Value) (starlark.Value, error) {
	type result struct {
		value starlark.Value
		err   error
	}
	ctx, done := s.ctx, make(chan result, 1)
	go func() {
		value, err := starlark.Call(s.thread, fn, args, nil)
		done <- result{value, s.settle(err)}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
	}
	timer := time.NewTimer(abandonAfter)
	defer timer.Stop()
	select {
	case r := <-done:
		return r.value, r.err
	case <-timer.C:
		return nil, at(fn, "did not stop and was abandoned")
	}
}

// event runs a listener.
func (f *File) event(ctx context.Context, env *loadtest.Env, fn starlark.Callable, args ...starlark.Value) (starlark.Value, error) {
	s := f.sessions.fresh()
	s.ctx, s.env = ctx, env
	s.rng = rand.New(rand.NewPCG(env.Seed(), eventStream+f.events.Add(1)))
	return s.await(fn, args)
}

// eventStream sets the random numbers of listeners apart from those of users; each call of a listener
// has its own.
const eventStream = 0x65766e74

// recorder is where calls of the session are counted.
func (s *session) recorder() loadclient.Recorder {
	if w := s.file.watch.Load(); w != nil {
		return w
	}
	if s.user != nil {
		return s.user.user
	}
	return s.env
}

// caller is the limiter client of the session.
func (s *session) caller() (loadclient.Caller, error) {
	client := s.file.client.Load()
	if client == nil {
		return loadclient.Caller{}, errNotRunning
	}
	return loadclient.Caller{Client: client, Recorder: s.recorder()}, nil
}

func (s *session) record(sample stats.Sample) { s.recorder().Record(sample) }

// isControl reports whether an error is how a user leaves a task, and no failure.
func isControl(err error) bool {
	var stop *loadtest.StopTestError
	var leave *controlError
	return errors.Is(err, loadtest.ErrStopUser) || errors.As(err, &stop) || errors.As(err, &leave)
}

// controlError carries a change of control through the interpreter.
type controlError struct{ err error }

func (e *controlError) Error() string { return e.err.Error() }
func (e *controlError) Unwrap() error { return e.err }
