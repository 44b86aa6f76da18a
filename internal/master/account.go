package master

import (
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// gapBelow is the share of the plan below which a second is a gap, as in a run on one process.
const gapBelow = 0.95

// account integrates the users that the plan wants, and those of workers that do not account for
// theirs themselves, over the time of a run.
type account struct {
	started time.Time
	last    time.Time
	over    bool // nothing is planned any more
	ended   time.Time
	// cutShort is by how much the run ended before its time.
	cutShort time.Duration
	// assigned are the users that were dealt to workers, wherever these are; the shares of all workers
	// are what they make of it.
	assigned int
	all      share

	plannedSeconds, deliveredSeconds float64
	// atEnd has what held at the end of every full second.
	atEnd []endOfSecond
}

// share is what one worker contributes now.
type share struct {
	workers int // 1 if it can run users
	ended   int // users that ended themselves, which leave the plan
	told    int // of them those whose worker reports for how long they had ended
	counted int // users that run, where the worker does not account for them itself
}

func (s *share) add(other share, sign int) {
	s.workers += sign * other.workers
	s.ended += sign * other.ended
	s.told += sign * other.told
	s.counted += sign * other.counted
}

type endOfSecond struct{ planned, counted, workers int }

func (a *account) planned() int {
	if a.over {
		return 0
	}
	return max(a.assigned-a.all.ended, 0)
}

// integrated are the users whose time is planned until a worker reports that they had ended.
func (a *account) integrated() int {
	if a.over {
		return 0
	}
	return max(a.assigned-a.all.ended+a.all.told, 0)
}

func (a *account) counted() int {
	if a.over {
		return 0
	}
	return a.all.counted
}

// advance accounts for the time since the last call with what held until now.
func (a *account) advance(now time.Time) {
	if !now.After(a.last) {
		return
	}
	seconds := now.Sub(a.last).Seconds()
	a.plannedSeconds += float64(a.integrated()) * seconds
	a.deliveredSeconds += float64(a.counted()) * seconds
	a.last = now
	for full := int(now.Sub(a.started) / time.Second); len(a.atEnd) < full; {
		a.atEnd = append(a.atEnd, endOfSecond{a.planned(), a.counted(), a.all.workers})
	}
}

// toldWithin is how many seconds after their end users that ended themselves are known here.
const toldWithin = 2

// plannedAt is what was planned at the end of a second, as far as it is known by now.
func (a *account) plannedAt(index int64) int {
	planned := a.atEnd[index].planned
	until := min(index+1+toldWithin, int64(len(a.atEnd)))
	if a.over {
		// After the end nothing is planned, which says nothing about the seconds before it.
		until = min(until, int64(a.ended.Sub(a.started)/time.Second))
	}
	for _, later := range a.atEnd[index:max(until, index)] {
		planned = min(planned, later.planned)
	}
	return planned
}

// stopBlur is how long before the end of a run the clocks of workers may have it.
const stopBlur = 250 * time.Millisecond

// gaps returns the seconds in which less ran than was planned, as far as reports reach. A second that
// ends with the run is none: workers have begun to stop their users by then, each by its own clock.
// users are those that workers account for themselves, by second from the first one.
func (a *account) gaps(users []int, first, before int64) []stats.Gap {
	var gaps []stats.Gap
	for index := first; index < min(before, int64(len(a.atEnd))); index++ {
		if a.over && a.ended.Sub(a.started.Add(time.Duration(index+1)*time.Second)) < stopBlur {
			continue
		}
		planned, ran := a.plannedAt(index), a.atEnd[index].counted
		if at := index - first; at < int64(len(users)) {
			ran += users[at]
		}
		if planned > 0 && float64(ran) < gapBelow*float64(planned) {
			gaps = append(gaps, stats.Gap{Index: index - first, Ratio: float64(ran) / float64(planned)})
		}
	}
	return gaps
}
