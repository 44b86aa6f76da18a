// Package bucket is the arithmetic of token buckets: refill, consumption, quotas and their windows,
// waiting times and lifetimes, on integers, with the time passed in. It reads no clock.
//
// Balances are millitokens (tokens x 1000), times and periods milliseconds. Every product is formed
// in 128 bits and every division rounds towards minus infinity, so that peers written in other
// languages come to the same digits.
package bucket

import (
	"math"
	"math/bits"
)

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
// millisecond more than the floor; 0 without a deficit, and without a rate, when no wait is known.
func RetryAfter(deficit, rate, period int64) int64 {
	if deficit <= 0 || rate <= 0 {
		return 0
	}
	return saturating(mulDiv(deficit, max(0, period), rate), 1)
}

// mulDiv is floor(a*b/c), for a, b >= 0 and c > 0, saturating.
func mulDiv(a, b, c int64) int64 {
	hi, lo := bits.Mul64(uint64(a), uint64(b))
	q, fits := quotient(hi, lo, uint64(c))
	if !fits || q > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(q)
}

// saturating is a + b for b >= 0.
func saturating(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
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
