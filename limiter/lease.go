package limiter

import (
	"context"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// cleanupTimeout bounds compensations and rollbacks, which do not stop with the caller's context.
const cleanupTimeout = 5 * time.Second

// Lease is an admitted acquire. Its consumption is in the store already; Close writes what was
// changed since, Rollback gives everything back. A lease is safe for concurrent use.
type Lease struct {
	limiter *Limiter
	acquire acquire
	mode    OnUnavailable

	degraded bool
	trips    int

	mu    sync.Mutex
	ended bool
	extra []int64        // millitokens taken since the acquire, parallel to acquire.charges
	local []bucket.State // by part and charge; built by the first change
}

func (l *Lease) begin() { l.trips = l.acquire.trips }

// RoundTrips is the number of sequential requests that the acquire took.
func (l *Lease) RoundTrips() int { return l.trips }

// Degraded says that the store was unavailable and the lease limits and writes nothing.
func (l *Lease) Degraded() bool { return l.degraded }

// Consume takes more of declared limits. It fails with an *ExceededError, and changes nothing, when
// what is known of the buckets does not have it. It is written by Close.
func (l *Lease) Consume(amounts Amounts) error { return l.change(amounts, 1, true) }

// Adjust corrects the consumption of declared limits by positive or negative amounts. It never refuses:
// the balance may go below zero. It is written by Close.
func (l *Lease) Adjust(amounts Amounts) error { return l.change(amounts, 1, false) }

// Release gives back, as Adjust with the amounts negated.
func (l *Lease) Release(amounts Amounts) error { return l.change(amounts, -1, false) }

func (l *Lease) change(amounts Amounts, sign int64, test bool) error {
	if l.degraded {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended {
		return ErrLeaseEnded
	}
	for name, n := range amounts {
		switch {
		case l.index(name) < 0:
			return invalid("limit", name, "was not declared by the acquire (declare it with 0 to adjust it later)")
		case n > maxTokens || n < -maxTokens || test && n < 0:
			return invalid("amount of "+name, "", "is out of range")
		}
	}
	l.prepare()
	now := l.limiter.nowMillis()
	if test {
		if err := l.test(amounts, now); err != nil {
			return err
		}
	}
	for i, c := range l.acquire.charges {
		n, ok := amounts[c.Limit]
		if !ok || n == 0 {
			continue
		}
		l.extra[i] += sign * n * 1000
		for p := range l.parts() {
			at := p*len(l.acquire.charges) + i
			l.local[at] = l.local[at].ForceConsume(sign*n, now)
		}
	}
	return nil
}

func (l *Lease) index(name string) int {
	for i := range l.acquire.charges {
		if l.acquire.charges[i].Limit == name {
			return i
		}
	}
	return -1
}

func (l *Lease) parts() int {
	if l.acquire.parent != nil {
		return 2
	}
	return 1
}

func (l *Lease) part(i int) *part {
	if i == 1 {
		return l.acquire.parent
	}
	return &l.acquire.child
}

// prepare builds the local balances from the images that the acquire left.
func (l *Lease) prepare() {
	if l.local != nil {
		return
	}
	l.extra = make([]int64, len(l.acquire.charges))
	for p := range l.parts() {
		image := l.part(p).image()
		for _, c := range l.acquire.charges {
			state := bucket.State{Shards: int64(image.Shards()), RF: image.RF}
			if limit := image.Limit(c.Limit); limit != nil {
				state.Tokens, state.Capacity, state.Refill, state.Period = limit.Tokens, limit.Capacity, limit.Refill, limit.Period
			}
			l.local = append(l.local, state)
		}
	}
}

func (l *Lease) test(amounts Amounts, now int64) error {
	e := &ExceededError{EntityID: l.acquire.req.EntityID, Resource: l.acquire.req.Resource}
	short := false
	for p := range l.parts() {
		key := &l.part(p).in.Key
		for i, c := range l.acquire.charges {
			n := amounts[c.Limit]
			if n <= 0 || l.part(p).image().Limit(c.Limit) == nil {
				continue
			}
			s := l.local[p*len(l.acquire.charges)+i]
			limit := LimitState{Name: c.Limit, Tokens: s.Tokens, Capacity: s.Capacity, Refill: s.Refill, Period: s.Period}
			status := evaluate(key, &limit, s.RF, int(s.Shards), n*1000, now)
			short = short || status.Exceeded
			e.Statuses = append(e.Statuses, status)
		}
	}
	if short {
		return e
	}
	return nil
}

// Consumed sums what the lease has taken of each declared limit. Under a cascade the entity and
// its parent count both.
func (l *Lease) Consumed() Amounts {
	if l.degraded {
		return Amounts{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := make(Amounts, len(l.acquire.charges))
	for i, c := range l.acquire.charges {
		taken := c.Amount
		if l.extra != nil {
			taken += l.extra[i]
		}
		charged := int64(0)
		for p := range l.parts() {
			if l.part(p).image().Limit(c.Limit) != nil { // a parent without this limit was not charged
				charged++
			}
		}
		sum[c.Limit] = taken / 1000 * charged
	}
	return sum
}

// Changed says whether Close will write.
func (l *Lease) Changed() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return !l.ended && l.changed()
}

func (l *Lease) changed() bool {
	for _, delta := range l.extra {
		if delta != 0 {
			return true
		}
	}
	return false
}

// Close ends the lease and writes what Consume, Adjust and Release changed, to all buckets at once.
// If one write fails the others stand, and its error is returned; under Allow it is only logged.
// Closing again does nothing.
func (l *Lease) Close(ctx context.Context) error {
	if !l.end() || !l.changed() {
		return nil
	}
	err := l.write(ctx, func(i int) int64 { return l.extra[i] })
	if err == nil {
		return nil
	}
	err = l.acquire.mapError(err)
	if _, unavailable := err.(*UnavailableError); unavailable && l.mode == Allow {
		l.limiter.logger.Warn("adjustment lost: store unavailable", "entity", l.acquire.req.EntityID, "resource", l.acquire.req.Resource, "error", err)
		return nil
	}
	return err
}

// Rollback ends the lease and gives back what the acquire took; later changes are dropped. It works
// with a cancelled context too. After Close it does nothing.
func (l *Lease) Rollback(ctx context.Context) error {
	if !l.end() {
		return nil
	}
	clean, cancel := cleanupContext(ctx)
	defer cancel()
	err := l.write(clean, func(i int) int64 { return -l.acquire.charges[i].Amount })
	if err != nil {
		return l.acquire.mapError(err)
	}
	return nil
}

func (l *Lease) rollback(ctx context.Context) {
	if err := l.Rollback(ctx); err != nil {
		l.limiter.logger.Error("rollback failed", "entity", l.acquire.req.EntityID, "resource", l.acquire.req.Resource, "error", err)
	}
}

// end marks the lease ended; false when it was, or has nothing to write ever.
func (l *Lease) end() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.ended || l.degraded {
		l.ended = true
		return false
	}
	l.ended = true
	return true
}

// write applies one W4 per bucket, concurrently, and returns the first error.
func (l *Lease) write(ctx context.Context, delta func(i int) int64) error {
	var errs [2]error
	var wg sync.WaitGroup
	if l.acquire.parent != nil {
		wg.Go(func() { errs[1] = l.acquire.adjust(ctx, l.acquire.parent, delta) })
	}
	errs[0] = l.acquire.adjust(ctx, &l.acquire.child, delta)
	wg.Wait()
	if errs[0] != nil {
		return errs[0]
	}
	return errs[1]
}

// cleanupContext outlives the cancellation of ctx.
func cleanupContext(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
}

// refund gives back what a part was charged, if it was. A failure is logged: what caused
// the refund is what the caller has to hear.
func (a *acquire) refund(ctx context.Context, p *part) {
	if !p.charged {
		return
	}
	p.charged = false
	a.trips++
	clean, cancel := cleanupContext(ctx)
	defer cancel()
	if err := a.adjust(clean, p, func(i int) int64 { return -a.charges[i].Amount }); err != nil {
		a.l.logger.Error("compensation failed", "entity", p.in.Key.EntityID, "resource", p.in.Key.Resource, "shard", p.in.Key.Shard, "error", err)
	}
}

// adjust changes the balance of a charged shard by the deltas of its declared limits. A credit
// must not lift the balance over the ceiling; where it would, or the parameters have changed, it is
// written all the same, and vu = 0 makes the next pass trim it.
func (a *acquire) adjust(ctx context.Context, p *part, delta func(i int) int64) error {
	image := p.image()
	in := AdjustInput{Key: p.in.Key, ShardCount: image.Shards()}
	for i, c := range a.charges {
		d := delta(i)
		if d == 0 {
			continue
		}
		limit := image.Limit(c.Limit)
		if limit == nil || !limit.Complete() {
			continue // a parent without this limit was not charged for it
		}
		change := Change{Limit: c.Limit, Delta: d}
		if d < 0 {
			in.Checked = true
			change.Capacity, change.Ceiling = limit.Capacity, limit.Capacity/int64(image.Shards())
		}
		in.Changes = append(in.Changes, change)
	}
	if len(in.Changes) == 0 {
		return nil
	}
	if in.Checked {
		p.owner.forgetImage(p.in.Key.Shard)
	}
	out, err := a.sendAdjust(ctx, &in)
	if err != nil || out.Outcome != Refused || out.Missing || !in.Checked {
		return err
	}
	in.Checked, in.ForceSlow = false, true
	_, err = a.sendAdjust(ctx, &in)
	return err
}

func (a *acquire) sendAdjust(ctx context.Context, in *AdjustInput) (AdjustOutput, error) {
	for k := 0; ; k++ {
		out, err := a.l.store.Adjust(ctx, in)
		if err != nil || out.Outcome != Conflict {
			return out, err
		}
		if k == maxConflictRetries {
			return out, errConflict
		}
		if err := conflictPause(ctx, k); err != nil {
			return out, err
		}
	}
}
