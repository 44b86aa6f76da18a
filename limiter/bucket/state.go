package bucket

import (
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// State is one limit of one shard: its balance as of RF, and base parameters, undivided by shards and
// unscaled by schedules. Only the first six fields matter to a limit that drips by one rate.
//
// Methods return what they change; a State is a value.
type State struct {
	Tokens   int64 // millitokens, may be negative
	RF       int64 // when Tokens was true, ms
	Capacity int64 // millitokens
	Refill   int64 // millitokens per Period; 0 for a quota
	Period   int64 // ms
	Shards   int64 // shard count; below 1 counts as 1

	// Schedule changes the parameters by the time of day; nil for none.
	Schedule *schedule.Schedule
	// Resets give a calendar quota back; nil for none.
	Resets *schedule.Resets
	// Window is that of a session quota; its Length is 0 for none.
	Window Window
	// Grants is the shard count that the allowance of a quota was sized at (gc); 0 is absent and reads
	// as Shards.
	Grants int64
	// TopUp is what a quota was topped up by in this period (tu), millitokens; it raises the ceiling.
	TopUp int64
	// Consumed is the net consumption counter (tc), millitokens. HasConsumed is false when absent.
	Consumed    int64
	HasConsumed bool

	// Soft limits are counted but never refuse; neither does a bypassed item.
	Soft, Bypass bool
}

// Window is the window of a session quota, which begins with its first use.
type Window struct {
	Length int64 // seconds (rsa); 0 when the limit has none
	Start  int64 // ms (ws)
	// Applied is the start of the window that the balance reflects (wa), ms; RF tells when absent.
	Applied int64
	// Mark is the consumption counter at the time a window was announced by another shard (wtc).
	Mark int64

	HasStart, HasApplied, HasMark bool
}

// End is when the window ends, ms; ok is false without a length or a start. A window that ends at now
// has ended.
func (w Window) End() (end int64, ok bool) {
	if w.Length <= 0 || !w.HasStart {
		return 0, false
	}
	return saturating(w.Start, Millis(w.Length)), true
}

func (s *State) shards() int64 { return max(1, s.Shards) }

// GrantCount is the divisor of a quota's allowance: Grants, or the shard count without one.
func (s *State) GrantCount() int64 {
	if s.Grants > 0 {
		return s.Grants
	}
	return s.shards()
}

// Quota says whether the limit recovers whole, at a calendar edge or at the end of a window.
func (s *State) Quota() bool { return s.Resets != nil || s.Window.Length > 0 }

func (s *State) base() schedule.Params {
	return schedule.Params{Capacity: s.Capacity, Refill: s.Refill, Period: s.Period}
}

// Params are the parameters in force at now, undivided by shards.
func (s *State) Params(now int64) schedule.Params { return s.Schedule.At(s.base(), now) }

// Ceiling is the most that this shard holds at now, in millitokens.
func (s *State) Ceiling(now int64) int64 { return s.ceiling(s.Params(now).Capacity) }

func (s *State) ceiling(capacity int64) int64 {
	if s.Quota() {
		return saturating(capacity/s.GrantCount(), max(0, s.TopUp))
	}
	return capacity / s.shards()
}

// ResetTarget is the balance that a reset gives this shard at now, and that a new one starts with.
func (s *State) ResetTarget(now int64) int64 { return s.Params(now).Capacity / s.shards() }

// At returns the state refilled to now. Resets and windows are Materialise's.
func (s State) At(now int64) State {
	s.refill(now)
	return s
}

func (s *State) refill(now int64) {
	p := s.Params(now)
	s.Tokens, s.RF = Refill(s.Tokens, s.RF, now, s.ceiling(p.Capacity), p.Refill/s.shards(), p.Period)
}

// Available is the number of whole tokens at now; it may be negative.
func (s State) Available(now int64) int64 {
	s.refill(now)
	return FloorTokens(s.Tokens)
}

// TryConsume takes n whole tokens at now. When they are not there it returns the refilled state
// untouched, false, and the wait in milliseconds. Taking 0 fails while the balance is negative. A
// soft limit or a bypassed item never fails.
func (s State) TryConsume(n, now int64) (after State, ok bool, waitMillis int64) {
	s.refill(now)
	need := Millis(n)
	if s.Tokens >= need || s.Soft || s.Bypass {
		s.Tokens -= need
		return s, true, 0
	}
	return s, false, s.Wait(need-s.Tokens, now)
}

// ForceConsume takes n whole tokens at now whatever the balance; a negative n gives back and may
// lift it over the ceiling.
func (s State) ForceConsume(n, now int64) State {
	s.refill(now)
	s.Tokens -= Millis(n)
	return s
}

// TimeUntil is the wait in milliseconds until n whole tokens are there, 0 if they are. It
// ignores the ceiling: more than fits gives a finite wait that never suffices.
func (s State) TimeUntil(n, now int64) int64 {
	s.refill(now)
	if need := Millis(n); s.Tokens < need {
		return s.Wait(need-s.Tokens, now)
	}
	return 0
}

// maxWindows is how many stretches of a schedule Wait walks through before it goes by the base rate.
const maxWindows = 8

// Wait is the time in milliseconds from now until the shard has regained deficit millitokens:
// by the rates that the schedule puts in force, or at the reset or the end of the window that gives a
// quota back. A shard whose share of a rate is 0 waits by the undivided rate. 0 means at once, and also
// that no wait is known: a quota whose edges are out of reach.
//
// Of a session quota whose window ended, Tokens must be what deficit was measured against.
func (s *State) Wait(deficit, now int64) int64 {
	if deficit <= 0 {
		return 0
	}
	if end, ok := s.Window.End(); ok && s.Refill == 0 {
		switch {
		case end > now:
			return end - now
		case saturating(s.Tokens, deficit) <= s.ResetTarget(now):
			return 0 // the next request opens a window
		}
		return Millis(s.Window.Length)
	}
	if s.Schedule == nil && s.Resets == nil {
		return RetryAfter(deficit, s.waitRate(s.Refill), s.Period)
	}
	return s.walk(deficit, now)
}

func (s *State) waitRate(refill int64) int64 {
	if share := refill / s.shards(); share != 0 {
		return share
	}
	return refill
}

func (s *State) walk(deficit, now int64) int64 {
	remaining, cursor := deficit, now
	for range maxWindows {
		p := s.Params(cursor)
		rate := s.waitRate(p.Refill)
		edge, hasEdge, boundary, bounded := schedule.Ahead(s.Schedule, s.Resets, cursor)
		if rate <= 0 {
			if hasEdge && edge <= boundary {
				return edge - now + 1
			}
			if !bounded {
				break
			}
			cursor = boundary
			continue
		}
		done := saturating(cursor, mulDiv(remaining, p.Period, rate))
		if !bounded {
			boundary = done
		}
		if hasEdge && edge <= min(boundary, done) {
			return edge - now + 1
		}
		if done <= boundary {
			return saturating(done-now, 1)
		}
		remaining -= mulDiv(boundary-cursor, rate, p.Period)
		cursor = boundary
	}
	if rate := s.waitRate(s.Refill); rate > 0 {
		return RetryAfter(deficit, rate, s.Period)
	}
	if edge, ok := s.Resets.Next(now); ok {
		return edge - now + 1
	}
	return 0
}

// Boundary is the time up to which the balance may be spent without looking at the limit again (vu):
// the earliest of the next change of parameters, the next reset, and the end of the window. ok is
// false when nothing is scheduled.
func (s *State) Boundary(now int64) (at int64, ok bool) {
	at, ok = schedule.Boundary(s.Schedule, s.Resets, now)
	if end, windowed := s.Window.End(); windowed && (!ok || end < at) {
		return end, true
	}
	return at, ok
}

// Share is the limit as this shard has it at now, which is what rejections report: by the grant
// count for a quota, by the shard count otherwise, with the parameters in force.
func (s *State) Share(now int64) Params {
	p := s.Params(now)
	refill := int64(0)
	if s.Refill != 0 || !s.Quota() {
		refill = max(1, p.Refill/s.divisor()/1000)
	}
	return Params{max(1, s.ceiling(p.Capacity)/1000), refill, max(1, p.Period/1000)}
}

func (s *State) divisor() int64 {
	if s.Quota() {
		return s.GrantCount()
	}
	return s.shards()
}

// Passed is what has happened to a state since RF.
type Passed struct {
	Opened bool // a window of a session quota began at now
	Reset  bool // a calendar quota came back
	Rolled bool // the balance took over a window: the one opened, or one that another shard opened
}

// Materialise brings the state to now: it opens and takes over windows, applies a reset that is due,
// and refills. Of several resets missed one counts. A quota that came back is granted anew: Grants
// is the shard count, TopUp 0.
func (s State) Materialise(now int64) (State, Passed) {
	var passed Passed
	if !s.Quota() {
		return s.At(now), passed
	}
	if s, passed.Opened = s.OpenWindow(now); passed.Opened {
		s, passed.Rolled = s.rollTo(s.ResetTarget(now)), true
	} else if s.RollPending() {
		s, passed.Rolled = s.rollTo(s.RollTarget(now)), true
	}
	if s.ResetDue(now) {
		s, passed.Reset = s.granted(s.ResetTarget(now)), true
	}
	return s.At(now), passed
}

// Settle is Materialise without opening a window: it brings the state to now for a write that is no use of the
// limit. Passed.Opened stays false.
func (s State) Settle(now int64) (State, Passed) {
	var passed Passed
	if s.RollPending() {
		s, passed.Rolled = s.rollTo(s.RollTarget(now)), true
	}
	if s.ResetDue(now) {
		s, passed.Reset = s.granted(s.ResetTarget(now)), true
	}
	return s.At(now), passed
}

// Reset gives a limit back what it may hold, as an operator does: one that drips its ceiling, a calendar quota
// its share as a new period. The window of a session quota ends at now, and its next use, which opens
// another, gives it its share; the balance stays until then. restored is what the limit has by that.
func (s State) Reset(now int64) (after State, restored int64) {
	switch {
	case s.Window.Length > 0:
		ended := now - Millis(s.Window.Length)
		s.Window.HasStart, s.Window.Start = true, ended
		s.Window.HasApplied, s.Window.Applied = true, ended
		s.Window.HasMark, s.Window.Mark = false, 0
		return s, s.ResetTarget(now)
	case s.Quota():
		s = s.granted(s.ResetTarget(now))
	default:
		s.Tokens = s.Ceiling(now)
	}
	return s, s.Tokens
}

// ResetDue says whether a calendar quota has had a reset since RF.
func (s *State) ResetDue(now int64) bool {
	edge, ok := s.Resets.Prev(now)
	return ok && edge > s.RF
}

// OpenWindow begins a window at now if the limit has windows and none is running. The balance stays.
func (s State) OpenWindow(now int64) (State, bool) {
	if s.Window.Length <= 0 {
		return s, false
	}
	if end, ok := s.Window.End(); ok && now < end {
		return s, false
	}
	s.Window.HasStart, s.Window.Start = true, now
	return s, true
}

// RollPending says whether a window has begun that the balance does not reflect yet.
func (s *State) RollPending() bool {
	if s.Window.Length <= 0 || !s.Window.HasStart {
		return false
	}
	if s.Window.HasApplied {
		return s.Window.Start > s.Window.Applied
	}
	return s.Window.Start > s.RF
}

// RollTarget is the balance that a pending roll gives: the reset target less what has been consumed
// since the window was announced.
func (s *State) RollTarget(now int64) int64 {
	target := s.ResetTarget(now)
	if s.Window.HasMark && s.HasConsumed {
		target -= max(0, s.Consumed-s.Window.Mark)
	}
	return target
}

func (s State) rollTo(tokens int64) State {
	s.Window.HasApplied, s.Window.Applied = true, s.Window.Start
	return s.granted(tokens)
}

func (s State) granted(tokens int64) State {
	s.Tokens, s.Grants, s.TopUp = tokens, s.shards(), 0
	return s
}

// Restored is how a failed fast path judges its image: a session quota whose window has ended, or
// with a roll pending, has the balance that the next pass gives it.
func (s State) Restored(now int64) State {
	end, ok := s.Window.End()
	switch {
	case !ok || s.Refill != 0:
	case now >= end:
		s.Tokens = s.ResetTarget(now)
	case s.RollPending():
		s.Tokens = s.RollTarget(now)
	}
	return s
}

// Readable is the number of whole tokens that a reader who writes nothing reports: what the next
// acquire would find, resets and windows applied.
func (s *State) Readable(now int64) int64 {
	if s.ResetDue(now) {
		return FloorTokens(s.ResetTarget(now))
	}
	if s.Window.Length > 0 {
		if end, ok := s.Window.End(); !ok || now >= end {
			return FloorTokens(s.ResetTarget(now))
		}
		if s.RollPending() {
			return FloorTokens(s.RollTarget(now))
		}
	}
	return s.Available(now)
}

// Current says whether the allowance of a quota belongs to the period that now lies in.
func (s *State) Current(now int64) bool {
	if s.Window.Length > 0 {
		end, ok := s.Window.End()
		return ok && now < end && !s.RollPending()
	}
	return !s.ResetDue(now)
}
