// Package bucket is the arithmetic of token buckets: refill, consumption, waiting times and
// lifetimes, on integers, with the time passed in. It holds no state and reads no clock.
//
// Balances are millitokens (tokens x 1000), times and periods milliseconds. Every product is formed
// in 128 bits and every division rounds towards minus infinity, so that peers written in other
// languages come to the same digits.
package bucket

import (
	"math"
	"math/bits"
)

// State is one limit of one shard: its balance as of RF, and parameters undivided by shards.
type State struct {
	Tokens   int64 // millitokens, may be negative
	RF       int64 // when Tokens was true, ms
	Capacity int64 // millitokens
	Refill   int64 // millitokens per Period
	Period   int64 // ms
	Shards   int64 // shard count; below 1 counts as 1
}

// Ceiling is the most that this shard holds, in millitokens.
func (s State) Ceiling() int64 { return s.Capacity / max(1, s.Shards) }

// Rate is what this shard regains each Period, in millitokens.
func (s State) Rate() int64 { return s.Refill / max(1, s.Shards) }

// At returns the state refilled to now.
func (s State) At(now int64) State {
	s.Tokens, s.RF = Refill(s.Tokens, s.RF, now, s.Ceiling(), s.Rate(), s.Period)
	return s
}

// Available is the number of whole tokens at now; it may be negative.
func (s State) Available(now int64) int64 { return FloorTokens(s.At(now).Tokens) }

// TryConsume takes n whole tokens at now. When they are not there it returns the refilled state
// untouched, false, and the wait in milliseconds. Taking 0 fails while the balance is negative.
func (s State) TryConsume(n, now int64) (after State, ok bool, waitMillis int64) {
	s = s.At(now)
	need := Millis(n)
	if s.Tokens >= need {
		s.Tokens -= need
		return s, true, 0
	}
	return s, false, s.Wait(need - s.Tokens)
}

// ForceConsume takes n whole tokens at now whatever the balance; a negative n gives back and may
// lift it over the ceiling.
func (s State) ForceConsume(n, now int64) State {
	s = s.At(now)
	s.Tokens -= Millis(n)
	return s
}

// TimeUntil is the wait in milliseconds until n whole tokens are there, 0 if they are. It
// ignores the ceiling: more than fits gives a finite wait that never suffices.
func (s State) TimeUntil(n, now int64) int64 {
	s = s.At(now)
	if need := Millis(n); s.Tokens < need {
		return s.Wait(need - s.Tokens)
	}
	return 0
}

// Wait is the time in milliseconds in which the shard regains deficit millitokens. A shard whose
// share of the rate is 0 waits by the undivided rate.
func (s State) Wait(deficit int64) int64 {
	rate := s.Rate()
	if rate == 0 {
		rate = s.Refill
	}
	return RetryAfter(deficit, rate, s.Period)
}

// Refill brings a balance from rf to now: at most ceiling, plus rate each period. It returns the new
// balance and the time it is true for, which is rf when nothing was added. A balance above the
// ceiling is cut even then.
func Refill(tokens, rf, now, ceiling, rate, period int64) (int64, int64) {
	elapsed := now - rf
	if elapsed <= 0 || rate <= 0 || period <= 0 {
		return min(ceiling, tokens), rf
	}
	hi, lo := bits.Mul64(uint64(elapsed), uint64(rate))
	add, fits := quotient(hi, lo, uint64(period))
	if fits && add == 0 {
		return min(ceiling, tokens), rf
	}
	// used = floor(add*period/rate). add*period = elapsed*rate - rest, so no wider product is
	// needed even when add itself exceeds 64 bits.
	rest := bits.Rem64(hi, lo, uint64(period))
	used := elapsed - int64((rest+uint64(rate)-1)/uint64(rate))
	if tokens >= ceiling || !fits || add >= uint64(ceiling)-uint64(tokens) {
		return ceiling, rf + used
	}
	return tokens + int64(add), rf + used
}

// RetryAfter is the wait in milliseconds for a deficit in millitokens at rate per period: one
// millisecond more than the floor, 0 without a deficit, the longest wait when nothing is regained.
func RetryAfter(deficit, rate, period int64) int64 {
	if deficit <= 0 {
		return 0
	}
	if rate <= 0 {
		return math.MaxInt64
	}
	hi, lo := bits.Mul64(uint64(deficit), uint64(max(0, period)))
	q, fits := quotient(hi, lo, uint64(rate))
	if !fits || q >= math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(q) + 1
}

func quotient(hi, lo, divisor uint64) (q uint64, fits bool) {
	if hi >= divisor {
		return 0, false
	}
	q, _ = bits.Div64(hi, lo, divisor)
	return q, true
}

// FloorTokens is the number of whole tokens in a balance, rounded towards minus infinity.
func FloorTokens(milli int64) int64 {
	q := milli / 1000
	if milli%1000 < 0 {
		q--
	}
	return q
}

// Millis is n whole tokens in millitokens, saturating.
func Millis(n int64) int64 {
	switch {
	case n > math.MaxInt64/1000:
		return math.MaxInt64
	case n < math.MinInt64/1000:
		return math.MinInt64
	}
	return n * 1000
}

// Params are the parameters of a limit in whole units: tokens and seconds.
type Params struct {
	Capacity, Refill, Period int64
}

// Rebuilt reads the parameters back from what a bucket stores; everything is at least 1.
func Rebuilt(capacity, refill, period int64) Params {
	return Params{max(1, FloorTokens(capacity)), max(1, FloorTokens(refill)), max(1, FloorTokens(period))}
}

// PerShard is the share of a limit that one of shards shards has, from what the bucket stores.
func PerShard(capacity, refill, period, shards int64) Params {
	shards = max(1, shards)
	return Rebuilt(capacity/shards, refill/shards, period)
}

// TTLSeconds is how long a bucket of these limits is kept after its last write: multiplier times
// the longest time that one of them takes from empty to full. keep is false, and ttl is not to be
// touched, when the multiplier is not positive or there is no limit. The result is at least 1.
func TTLSeconds(limits []Params, multiplier float64) (seconds int64, keep bool) {
	if multiplier <= 0 || len(limits) == 0 {
		return 0, false
	}
	longest := 0.0
	for _, p := range limits {
		if p.Refill > 0 {
			longest = max(longest, float64(p.Capacity)/float64(p.Refill)*float64(p.Period)*multiplier)
		}
	}
	return int64(max(1, min(longest, 1e12))), true
}
