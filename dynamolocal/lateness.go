package dynamolocal

import (
	"sync/atomic"
	"time"
)

const (
	// loopbackTrip is what a request and its reply need on the way through the kernel, there and
	// back; whoever measures at the client sees it on top of what the engine takes.
	loopbackTrip = 60 * time.Microsecond
	// latenessWeight is how many delays it takes to correct most of a lateness.
	latenessWeight = 32
	// mostLateness bounds the correction: what is more is the machine's fault and belongs into the
	// measurement.
	mostLateness = 300 * time.Microsecond
)

// lateness is how much later than meant a waiter wakes up in the mean: a timer is never early, so
// without a correction the mean of a profile could not be met. It is safe for concurrent use.
type lateness struct{ correction atomic.Int64 }

// mean is what to wait less.
func (l *lateness) mean() time.Duration { return time.Duration(l.correction.Load()) }

// learn takes how late a corrected delay still was; negative when it was early.
func (l *lateness) learn(late time.Duration) {
	late = min(max(late, -mostLateness), mostLateness) // one bad wake-up says little about the next
	next := l.mean() + late/latenessWeight
	l.correction.Store(int64(min(max(next, 0), mostLateness)))
}
