package bucket

import (
	"math/big"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Params are the parameters of a limit in whole units: tokens and seconds.
type Params struct {
	Capacity, Refill, Period int64
}

// Limit is a limit as it is configured. Refill is 0 for a quota, which has Resets or ResetAfter.
type Limit struct {
	Params
	Schedule   *schedule.Schedule
	Resets     *schedule.Resets
	ResetAfter int64 // seconds; 0 for none
}

// Quota says whether the limit recovers whole.
func (l *Limit) Quota() bool { return l.Refill == 0 && (l.Resets != nil || l.ResetAfter > 0) }

// New is the state of a shard that is created at now: full, and with a window that begins.
func (l *Limit) New(now, shards int64) State {
	s := State{
		RF: now, Capacity: Millis(l.Capacity), Refill: Millis(l.Refill), Period: Millis(l.Period), Shards: shards,
		Schedule: l.Schedule, Resets: l.Resets, Window: Window{Length: l.ResetAfter}, HasConsumed: true,
	}
	s.Tokens = s.ResetTarget(now)
	if l.Quota() {
		s.Grants = s.shards()
	}
	if l.ResetAfter > 0 {
		s.Window.HasStart, s.Window.Start = true, now
		s.Window.HasApplied, s.Window.Applied = true, now
	}
	return s
}

// Rebuilt is the limit that a bucket stores, whole and without schedules: everything is at least 1,
// but the refill of a quota is 0.
func (s *State) Rebuilt() Params {
	p := Params{max(1, FloorTokens(s.Capacity)), max(1, FloorTokens(s.Refill)), max(1, FloorTokens(s.Period))}
	if s.Refill == 0 && s.Quota() {
		p.Refill = 0
	}
	return p
}

// Recovery is how long the limit takes at most from empty to full, in seconds: by its base parameters
// or those of any entry of its schedule; a quota by its window or the cycle of its resets.
func (l *Limit) Recovery() float64 {
	switch {
	case l.Quota() && l.ResetAfter > 0:
		return float64(l.ResetAfter)
	case l.Quota():
		return float64(l.Resets.Cycle())
	case l.Refill <= 0:
		return 0
	}
	longest := ratio(l.Capacity, l.Refill) * float64(l.Period)
	base := schedule.Params{Capacity: Millis(l.Capacity), Refill: Millis(l.Refill), Period: Millis(l.Period)}
	l.Schedule.Each(base, func(p schedule.Params) {
		longest = max(longest, ratio(p.Capacity, p.Refill)*(float64(p.Period)/1000))
	})
	return longest
}

// ratio is the float64 next to a/b, also where a or b has no float64 of its own.
func ratio(a, b int64) float64 {
	const exact = 1 << 53
	if a <= exact && b <= exact {
		return float64(a) / float64(b)
	}
	f, _ := big.NewRat(a, b).Float64()
	return f
}

// TTLSeconds is how long a bucket of these limits is kept after its last write: multiplier times
// the longest recovery of one of them. keep is false, and ttl is not to be touched, when the
// multiplier is not positive or there is no limit. The result is at least 1, and leaves room to be added
// to a time.
func TTLSeconds(limits []Limit, multiplier float64) (seconds int64, keep bool) {
	if multiplier <= 0 || len(limits) == 0 {
		return 0, false
	}
	longest := 0.0
	for i := range limits {
		longest = max(longest, limits[i].Recovery())
	}
	return int64(max(1, min(longest*multiplier, 1<<61))), true
}
