// Package autoscale decides how many workers a load test needs now, which of them must be replaced
// before their time is over, and which are too many. It is a pure computation: the caller passes in
// what the master reported and the time, and carries out what is decided.
//
// Time is always a time.Duration since one fixed moment, taken from a monotonic clock. No wall time
// comes in, so a clock that is set does not move an age or a rate.
package autoscale

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Unlimited as Policy.MaxWorkers sets no upper limit; as Load.Target it says that the number of
// users that the test aims at is not known.
const Unlimited = -1

// leaveFraction is the part of its lifetime after which a worker leaves by itself: the last tenth is
// kept for stopping users and sending the final report.
const leaveFraction = 0.9

// maxUsers bounds a prediction, so that no measurement, however short, leads out of the integers.
const maxUsers = 1e12

// Policy is how workers follow the load. All durations are positive unless stated.
type Policy struct {
	UsersPerWorker int
	MinWorkers     int // kept also when no test runs
	MaxWorkers     int // Unlimited, or at least MinWorkers; 0 starts none

	// LeadTime is how long a worker takes from its start until it runs users. Users are predicted
	// that far ahead, and a surplus is kept that long. 0 predicts nothing.
	LeadTime time.Duration
	// PendingTimeout is after which time a worker that was started and did not connect is given up.
	PendingTimeout time.Duration
	// PollInterval is the time between two rounds.
	PollInterval time.Duration
	// Lifetime is how long the platform lets a worker run, from its start. 0 is without end: no
	// worker is ever replaced for its age.
	Lifetime time.Duration
	// ReplaceFraction is the part of Lifetime after which a worker is replaced at the latest.
	ReplaceFraction float64
}

// Validate reports everything that is wrong with the policy at once.
func (p Policy) Validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(p.UsersPerWorker < 1, "users per worker must be at least 1, got %d", p.UsersPerWorker)
	refuse(p.MinWorkers < 0, "the least number of workers must be at least 0, got %d", p.MinWorkers)
	refuse(p.MaxWorkers < Unlimited, "the largest number of workers must be at least 0, got %d", p.MaxWorkers)
	refuse(p.MaxWorkers >= 0 && p.MinWorkers > p.MaxWorkers,
		"the least number of workers (%d) is above the largest (%d)", p.MinWorkers, p.MaxWorkers)
	refuse(p.LeadTime < 0, "the lead time must not be negative, got %v", p.LeadTime)
	refuse(p.PendingTimeout <= 0, "the pending timeout must be above 0, got %v", p.PendingTimeout)
	refuse(p.PollInterval <= 0, "the poll interval must be above 0, got %v", p.PollInterval)
	refuse(p.Lifetime < 0, "the worker's time limit must not be negative, got %v", p.Lifetime)
	if p.Lifetime > 0 {
		refuse(!(p.ReplaceFraction > 0 && p.ReplaceFraction <= leaveFraction),
			"the age of replacement must be above 0 and at most %v of the worker's time limit, got %v", leaveFraction, p.ReplaceFraction)
		refuse(len(errs) == 0 && p.ReplaceAge() <= 0,
			"a worker's time limit of %v is too short: it leaves after %v, and a replacement needs the lead time (%v) and two rounds (%v each)",
			p.Lifetime, p.leaveAge(), p.LeadTime, p.PollInterval)
	}
	return errors.Join(errs...)
}

// ReplaceAge is the age at which a worker is replaced at the latest, 0 if never. It leaves the
// replacement the lead time, and two rounds for noticing, before the worker leaves by itself.
func (p Policy) ReplaceAge() time.Duration {
	if p.Lifetime == 0 {
		return 0
	}
	wanted := scale(p.Lifetime, p.ReplaceFraction)
	latest := p.leaveAge() - p.LeadTime - 2*p.PollInterval
	return min(wanted, latest)
}

// Wasteful says that workers are replaced before half of their lifetime is over, so that most of
// what is paid for is start-up.
func (p Policy) Wasteful() bool { return p.Lifetime > 0 && p.ReplaceAge() <= p.Lifetime/2 }

// leaveAge is the age at which a worker leaves by itself.
func (p Policy) leaveAge() time.Duration { return scale(p.Lifetime, leaveFraction) }

func scale(d time.Duration, by float64) time.Duration {
	return time.Duration(math.Round(float64(d) * by))
}

// Load is what the test asked of the workers at one moment.
type Load struct {
	At     time.Duration
	Known  bool // the master answered; else only At counts
	Active bool // a test is spawning or running
	Users  int  // users that run
	Target int  // users that the test aims at now, or Unlimited when the master does not say
}

// Desired is the number of workers for now, seen after the last load that was known before it.
// A rising number of users is carried on by the lead time, but never beyond the target: users that
// nobody asked for need no worker.
func (p Policy) Desired(previous, now Load) int {
	wanted := 0
	if now.Known && now.Active {
		users := max(now.Users, predicted(previous, now, p.LeadTime))
		if now.Target >= 0 {
			users = min(users, now.Target)
		}
		wanted = (users + p.UsersPerWorker - 1) / p.UsersPerWorker
	}
	wanted = max(wanted, p.MinWorkers)
	if p.MaxWorkers >= 0 {
		wanted = min(wanted, p.MaxWorkers)
	}
	return wanted
}

// predicted is the number of users in a lead time from now if they go on rising as they did.
func predicted(previous, now Load, lead time.Duration) int {
	elapsed := now.At - previous.At
	risen := now.Users - previous.Users
	if !previous.Known || elapsed <= 0 || risen <= 0 {
		return 0
	}
	more := min(float64(risen)*(float64(lead)/float64(elapsed)), maxUsers)
	// The tolerance keeps a product that should be whole from being rounded up by its last bit.
	return now.Users + int(math.Ceil(more-1e-6))
}
