package loadtest

import (
	"context"
	"fmt"
	"math"
	"time"
)

// WaitTime says how long a user waits after a task.
type WaitTime interface {
	// Wait returns the wait before the user's next task; negative ones are an error of the task.
	Wait(ctx context.Context, u *User) (time.Duration, error)
}

// WaitFunc computes each wait.
type WaitFunc func(ctx context.Context, u *User) (time.Duration, error)

// Wait implements WaitTime.
func (f WaitFunc) Wait(ctx context.Context, u *User) (time.Duration, error) { return f(ctx, u) }

type constant time.Duration

// Constant waits the same time after every task.
func Constant(d time.Duration) WaitTime { return constant(d) }

func (c constant) Wait(context.Context, *User) (time.Duration, error) { return time.Duration(c), nil }

type between struct{ low, high time.Duration }

// Between waits a time drawn uniformly from [low, high).
func Between(low, high time.Duration) WaitTime { return between{low, high} }

func (b between) Wait(_ context.Context, u *User) (time.Duration, error) {
	return b.low + time.Duration(u.Rand().Float64()*float64(b.high-b.low)), nil
}

type pacing time.Duration

// ConstantPacing starts a task every d: the wait is what is left of d when the task has ended. Time
// that was lost is not caught up. The first period begins when the user is made.
func ConstantPacing(d time.Duration) WaitTime { return pacing(d) }

// ConstantThroughput runs at most that many tasks a second for each user.
func ConstantThroughput(perSecond float64) WaitTime {
	return pacing(nanoseconds(1 / perSecond))
}

func (p pacing) Wait(_ context.Context, u *User) (time.Duration, error) {
	now := u.now()
	ran := now - u.pacedAt - u.paced
	wait := max(time.Duration(p)-ran, 0)
	u.pacedAt, u.paced = now, wait
	return wait, nil
}

type poisson float64

// Poisson waits exponentially distributed times, so that each user's tasks arrive at random with
// that rate a second as long as they are short.
func Poisson(perSecond float64) WaitTime { return poisson(perSecond) }

func (p poisson) Wait(_ context.Context, u *User) (time.Duration, error) {
	return nanoseconds(u.Rand().ExpFloat64() / float64(p)), nil
}

// nanoseconds converts seconds, of which there may be more than a duration holds.
func nanoseconds(seconds float64) time.Duration {
	return time.Duration(math.Min(seconds*float64(time.Second), math.MaxInt64/2))
}

func checkedWait(d time.Duration, err error) (time.Duration, error) {
	if err == nil && d < 0 {
		return 0, fmt.Errorf("the wait time is negative: %v", d)
	}
	return d, err
}
