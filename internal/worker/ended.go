package worker

import (
	"sync"
	"time"
)

// endedUsers integrates users that ended themselves over time. It is safe for concurrent use.
type endedUsers struct {
	mu      sync.Mutex
	users   int
	since   time.Time
	seconds float64
}

// set tells how many there are from now on.
func (e *endedUsers) set(now time.Time, users int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advance(now)
	e.users = users
}

// take returns the user seconds since the last call.
func (e *endedUsers) take(now time.Time) float64 {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.advance(now)
	seconds := e.seconds
	e.seconds = 0
	return seconds
}

func (e *endedUsers) advance(now time.Time) {
	if passed := now.Sub(e.since).Seconds(); passed > 0 && !e.since.IsZero() {
		e.seconds += float64(e.users) * passed
	}
	e.since = now
}
