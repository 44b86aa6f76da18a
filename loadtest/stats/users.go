package stats

import (
	"maps"
	"time"
)

// userAccount integrates planned and running users over time.
type userAccount struct {
	started     time.Time
	last        time.Time
	planned     int
	running     int
	byClass     map[string]int
	peak        int
	peakByClass map[string]int
	total       Coverage
	// recent has the seconds that are not closed yet.
	recent map[int64]*userSecond
}

type userSecond struct {
	planned, delivered float64
	users              int
}

func newUserAccount(started time.Time) userAccount {
	return userAccount{
		started:     started,
		last:        started,
		byClass:     map[string]int{},
		peakByClass: map[string]int{},
		recent:      map[int64]*userSecond{},
	}
}

func (a *userAccount) set(now time.Time, planned int, running map[string]int) {
	a.advance(now)
	a.planned = planned
	a.running = 0
	clear(a.byClass)
	maps.Copy(a.byClass, running)
	for class, n := range running {
		a.running += n
		a.peakByClass[class] = max(a.peakByClass[class], n)
	}
	a.peak = max(a.peak, a.running)
	a.second(a.index(now)).users = a.running
}

// advance accounts for the time since the last call, second by second.
func (a *userAccount) advance(now time.Time) {
	for a.last.Before(now) {
		index := a.index(a.last)
		until := a.started.Add(time.Duration(index+1) * time.Second)
		if until.After(now) {
			until = now
		}
		seconds := until.Sub(a.last).Seconds()
		second := a.second(index)
		second.planned += float64(a.planned) * seconds
		second.delivered += float64(min(a.running, a.planned)) * seconds
		second.users = a.running
		a.last = until
	}
}

func (a *userAccount) index(at time.Time) int64 {
	return int64(max(at.Sub(a.started), 0) / time.Second)
}

func (a *userAccount) second(index int64) *userSecond {
	second, ok := a.recent[index]
	if !ok {
		second = &userSecond{users: a.running}
		a.recent[index] = second
	}
	return second
}

// at closes a second and returns how many users ran at its end.
func (a *userAccount) at(index int64) int {
	second, ok := a.recent[index]
	if !ok {
		return a.running
	}
	delete(a.recent, index)
	a.total.take(index, second)
	return second.users
}

func (c *Coverage) take(index int64, second *userSecond) {
	c.PlannedUserSeconds += second.planned
	c.DeliveredUserSeconds += second.delivered
	if second.planned > 0 && second.delivered < gapBelow*second.planned {
		c.Gaps = append(c.Gaps, Gap{Index: index, Ratio: second.delivered / second.planned})
	}
}

// coverage returns the account so far, open seconds included.
func (a *userAccount) coverage() Coverage {
	coverage := a.total
	coverage.Gaps = append([]Gap(nil), a.total.Gaps...)
	for _, second := range a.recent {
		coverage.PlannedUserSeconds += second.planned
		coverage.DeliveredUserSeconds += second.delivered
	}
	return coverage
}
