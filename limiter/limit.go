package limiter

import (
	"math"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// Limit is a token bucket: it holds at most Capacity tokens and regains RefillAmount every
// RefillPeriod (whole seconds), a little at a time.
type Limit struct {
	Name         string
	Capacity     int64
	RefillAmount int64
	RefillPeriod time.Duration
	// Schedule changes capacity, amount and period at times, ResetSchedule resets a calendar quota.
	// Both have the form in which they are stored; WithSchedule and Quota write it. "" is none.
	Schedule, ResetSchedule string
	// Zone is the IANA time zone of both schedules; "" is UTC.
	Zone string
	// ResetAfter is the window of a session quota, whole seconds.
	ResetAfter time.Duration
	// Soft makes the limit admit what it has not, into debt.
	Soft bool
}

// PerSecond is a limit of rate tokens a second, with room for as many at once.
func PerSecond(name string, rate int64) Limit { return Custom(name, rate, rate, time.Second) }

// PerMinute is a limit of rate tokens a minute, with room for as many at once.
func PerMinute(name string, rate int64) Limit { return Custom(name, rate, rate, time.Minute) }

// PerHour is a limit of rate tokens an hour, with room for as many at once.
func PerHour(name string, rate int64) Limit { return Custom(name, rate, rate, time.Hour) }

// PerDay is a limit of rate tokens a day, with room for as many at once.
func PerDay(name string, rate int64) Limit { return Custom(name, rate, rate, 24*time.Hour) }

// Custom is a limit with all its parameters.
func Custom(name string, capacity, refillAmount int64, period time.Duration) Limit {
	return Limit{Name: name, Capacity: capacity, RefillAmount: refillAmount, RefillPeriod: period}
}

// WithBurst returns the limit with room for burst tokens at once, which may be fewer than its rate.
func (l Limit) WithBurst(burst int64) Limit {
	l.Capacity = burst
	return l
}

// Amounts maps limit names to whole tokens.
type Amounts map[string]int64

// OnUnavailable says what an acquire does when the store cannot answer.
type OnUnavailable string

const (
	// Block fails the acquire with *UnavailableError.
	Block OnUnavailable = "block"
	// Allow admits it with a degraded lease that writes nothing.
	Allow OnUnavailable = "allow"
)

// The bounds of limit parameters.
const (
	maxTokens  = 1_000_000_000_000_000
	maxSeconds = 1_000_000_000
	maxName    = 64
	maxID      = 256
)

// Validate reports the first rule that the limit breaks as a *ValidationError.
func (l Limit) Validate() error {
	if err := validateLimitName(l.Name); err != nil {
		return err
	}
	seconds := l.RefillPeriod / time.Second
	switch {
	case l.Capacity < 1 || l.Capacity > maxTokens:
		return invalid("capacity of "+l.Name, strconv.FormatInt(l.Capacity, 10), "must be between 1 and 10^15")
	case l.RefillAmount == 0:
		return &UnsupportedFeatureError{Feature: FeatureQuota.String(), Where: "limit " + l.Name + " (refill amount 0)"}
	case l.RefillAmount < 0 || l.RefillAmount > maxTokens:
		return invalid("refill amount of "+l.Name, strconv.FormatInt(l.RefillAmount, 10), "must be between 1 and 10^15")
	case l.RefillPeriod%time.Second != 0 || seconds < 1 || seconds > maxSeconds:
		return invalid("refill period of "+l.Name, l.RefillPeriod.String(), "must be whole seconds between 1 and 10^9")
	}
	return nil
}

func validateLimits(limits []Limit) error {
	for i, limit := range limits {
		if err := limit.Validate(); err != nil {
			return err
		}
		for _, earlier := range limits[:i] {
			if earlier.Name == limit.Name {
				return invalid("limits", limit.Name, "is given twice")
			}
		}
	}
	return nil
}

func (l Limit) bucketLimit() bucket.Limit {
	return bucket.Limit{Params: bucket.Params{Capacity: l.Capacity, Refill: l.RefillAmount, Period: int64(l.RefillPeriod / time.Second)}}
}

func limitOf(name string, p bucket.Params) Limit {
	return Limit{Name: name, Capacity: p.Capacity, RefillAmount: p.Refill, RefillPeriod: time.Duration(min(p.Period, math.MaxInt64/int64(time.Second))) * time.Second}
}
