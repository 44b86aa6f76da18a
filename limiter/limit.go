package limiter

import (
	"time"
)

// Limit is a token bucket: it holds at most Capacity tokens and regains RefillAmount every
// RefillPeriod (whole seconds), a little at a time.
type Limit struct {
	Name         string
	Capacity     int64
	RefillAmount int64
	RefillPeriod time.Duration
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
