package limiter

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// contendedWait is what a contended rejection tells the caller to wait.
const contendedWait = 100 * time.Millisecond

// LimitStatus is one limit as it was evaluated.
type LimitStatus struct {
	EntityID, Resource string
	// Limit is the share of one shard in an *ExceededError, and whole in an Availability.
	Limit      Limit
	Available  int64 // whole tokens; may be negative
	Requested  int64
	Exceeded   bool
	RetryAfter time.Duration // whole milliseconds; 0 when not exceeded
	// ResetsAt is when a quota comes back whole, Unix ms: the next edge of its schedule, or the end of the
	// window that runs. 0: not a quota, or unknown.
	ResetsAt int64
}

// Deficit is how many tokens are missing, 0 if none. A soft limit misses nothing.
func (s LimitStatus) Deficit() int64 {
	if s.Limit.Soft {
		return 0
	}
	return max(0, s.Requested-s.Available)
}

// Overdrawn says that a soft limit is in debt.
func (s LimitStatus) Overdrawn() bool { return s.Limit.Soft && s.Available < 0 }

// ExceededError is a refused acquire: a 429. Nothing is left charged.
type ExceededError struct {
	EntityID, Resource string // of the acquire
	// Statuses has every declared limit that was evaluated, of the entity and then its parent.
	Statuses []LimitStatus
	// Contended is set when no limit was short, but too many writers were after one bucket. The statuses
	// are as of the last evaluation then, none of them exceeded, all with the wait of RetryAfter.
	Contended bool
	// RoundTrips is the number of sequential requests that the acquire took; 0 when it was
	// rejected from this process's memory.
	RoundTrips int
}

// contended is the rejection of a demand that would fit, but could not be written.
func contended(statuses []LimitStatus) *ExceededError {
	for i := range statuses {
		statuses[i].Exceeded, statuses[i].RetryAfter = false, contendedWait
	}
	return &ExceededError{Statuses: statuses, Contended: true}
}

// Violations lists the exceeded limits.
func (e *ExceededError) Violations() []LimitStatus {
	var short []LimitStatus
	for _, s := range e.Statuses {
		if s.Exceeded {
			short = append(short, s)
		}
	}
	return short
}

// Primary is the violation with the longest wait, the first of equals; false when contended.
func (e *ExceededError) Primary() (LimitStatus, bool) {
	var primary LimitStatus
	found := false
	for _, s := range e.Statuses {
		if s.Exceeded && (!found || s.RetryAfter > primary.RetryAfter) {
			primary, found = s, true
		}
	}
	return primary, found
}

// RetryAfter is the longest wait of the violations; 100 ms when contended.
func (e *ExceededError) RetryAfter() time.Duration {
	if p, ok := e.Primary(); ok {
		return p.RetryAfter
	}
	return contendedWait
}

// RetryAfterHeader is the value of the HTTP header Retry-After: whole seconds, always above the wait.
func (e *ExceededError) RetryAfterHeader() string {
	return strconv.FormatInt(int64(e.RetryAfter()/time.Second)+1, 10)
}

func (e *ExceededError) Error() string {
	wait := strconv.FormatFloat(seconds(e.RetryAfter()), 'f', 1, 64)
	primary, ok := e.Primary()
	if !ok {
		return fmt.Sprintf("Rate limiter contended for %s/%s: concurrent transactions on the bucket. Retry after %ss", e.EntityID, e.Resource, wait)
	}
	var names []string
	for _, s := range e.Violations() {
		names = append(names, s.Limit.Name)
	}
	return fmt.Sprintf("Rate limit exceeded for %s/%s: [%s]. Retry after %ss", primary.EntityID, primary.Resource, strings.Join(names, ", "), wait)
}

type exceededJSON struct {
	Error             string            `json:"error"`
	Message           string            `json:"message"`
	Contended         bool              `json:"contended"`
	RetryAfterSeconds pythonFloat       `json:"retry_after_seconds"`
	RetryAfterMS      int64             `json:"retry_after_ms"`
	Limits            []limitStatusJSON `json:"limits"`
}

// limitStatusJSON has either the refill or the time of the next reset.
type limitStatusJSON struct {
	EntityID  string `json:"entity_id"`
	Resource  string `json:"resource"`
	LimitName string `json:"limit_name"`
	Kind      string `json:"kind"`
	Capacity  int64  `json:"capacity"`
	*refillJSON
	*resetJSON
	Available         int64       `json:"available"`
	Requested         int64       `json:"requested"`
	Exceeded          bool        `json:"exceeded"`
	RetryAfterSeconds pythonFloat `json:"retry_after_seconds"`
	Soft              bool        `json:"soft"`
}

type refillJSON struct {
	RefillAmount        int64 `json:"refill_amount"`
	RefillPeriodSeconds int64 `json:"refill_period_seconds"`
}

type resetJSON struct {
	ResetsAtMS *int64 `json:"resets_at_ms"`
}

// MarshalJSON gives the body that a service would answer with, equal to the Python client's.
func (e *ExceededError) MarshalJSON() ([]byte, error) {
	wait := seconds(e.RetryAfter())
	body := exceededJSON{
		Error:             "rate_limit_exceeded",
		Message:           e.Error(),
		Contended:         e.Contended,
		RetryAfterSeconds: pythonFloat(wait),
		// The truncation of the float product is part of the contract: 1.005 s gives 1004.
		RetryAfterMS: int64(wait * 1000),
		Limits:       make([]limitStatusJSON, len(e.Statuses)),
	}
	for i, s := range e.Statuses {
		limit := limitStatusJSON{
			EntityID: s.EntityID, Resource: s.Resource, LimitName: s.Limit.Name, Kind: "rate",
			Capacity: s.Limit.Capacity, Available: s.Available, Requested: s.Requested, Exceeded: s.Exceeded,
			RetryAfterSeconds: pythonFloat(seconds(s.RetryAfter)), Soft: s.Limit.Soft,
		}
		if s.Limit.Quota() {
			limit.Kind, limit.resetJSON = "quota", &resetJSON{}
			if at := s.ResetsAt; at != 0 {
				limit.ResetsAtMS = &at
			}
		} else {
			limit.refillJSON = &refillJSON{s.Limit.RefillAmount, int64(s.Limit.RefillPeriod / time.Second)}
		}
		body.Limits[i] = limit
	}
	return json.Marshal(body)
}

// pythonFloat is written with at least one decimal, as Python does.
type pythonFloat float64

func (f pythonFloat) MarshalJSON() ([]byte, error) {
	text := strconv.FormatFloat(float64(f), 'f', -1, 64)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	return []byte(text), nil
}

// seconds divides milliseconds by 1000 once, which gives the float that peers have;
// Duration.Seconds adds two floats and may be one bit off.
func seconds(d time.Duration) float64 { return float64(d/time.Millisecond) / 1000 }

func millisDuration(ms int64) time.Duration {
	return time.Duration(min(ms, math.MaxInt64/int64(time.Millisecond))) * time.Millisecond
}

func secondsDuration(s int64) time.Duration {
	return time.Duration(min(s, math.MaxInt64/int64(time.Second))) * time.Second
}
