package throughput

import "time"

// bucket is a token bucket in billionths of a unit. It is not locked.
type bucket struct {
	rate   int64 // units a second; 0: no limit
	depth  int64 // most tokens, in billionths
	tokens int64 // less than 0: debt
	last   int64 // until when tokens are filled up

	// saving buckets add what they saved up to the rate. The others have it
	// instead of the rate: the refill of a full bucket stops for the first
	// second of use, so that no stretch of seconds admits more than the rate.
	// (It stops for 2 % less, or a load just at the limit would be throttled
	// by the jitter of its arrivals.)
	saving bool
}

func newBucket(rate int64, burst time.Duration, saving bool, now int64) bucket {
	depth := rate * int64(burst)
	tokens := depth
	if saving {
		tokens = min(depth, rate*nano) // nothing was left unused yet
	}
	return bucket{rate: rate, depth: depth, tokens: tokens, last: now, saving: saving}
}

// take charges units when they are there. More than the depth is admitted
// when the bucket is full, and leaves a debt.
func (b *bucket) take(now, units int64) bool {
	if b.rate == 0 {
		return true
	}
	b.refill(now)
	if b.tokens < min(units, b.depth) || b.tokens < 0 {
		return false
	}
	b.spend(now, units)
	return true
}

// charge takes units, or gives them back when negative, in any case.
func (b *bucket) charge(now, units int64) {
	if b.rate == 0 {
		return
	}
	b.refill(now)
	b.spend(now, units)
}

func (b *bucket) spend(now, units int64) {
	if b.tokens == b.depth && units > 0 && !b.saving {
		b.last = now + min(nano, b.depth/b.rate)*49/50
	}
	b.tokens = min(b.tokens-units, b.depth)
}

func (b *bucket) refill(now int64) {
	elapsed := now - b.last
	if elapsed <= 0 {
		return
	}
	b.last = now
	if elapsed > (b.depth-b.tokens)/b.rate {
		b.tokens = b.depth
		return
	}
	b.tokens += elapsed * b.rate
}

// resize changes the rate and keeps the seconds saved up.
func (b *bucket) resize(rate int64, burst time.Duration) {
	b.rate, b.depth = rate, rate*int64(burst)
	b.tokens = min(b.tokens, b.depth)
}
