package limiter

import (
	"context"
	"slices"
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
	also    []*Lease // the further resources
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
	now := l.limiter.nowMillis()
	if err := l.prepare(now); err != nil {
		return err
	}
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
func (l *Lease) prepare(now int64) error {
	if l.local != nil {
		return nil
	}
	var local []bucket.State
	for p := range l.parts() {
		image := l.part(p).image()
		for _, c := range l.acquire.charges {
			state := bucket.State{Shards: int64(image.Shards()), RF: image.RF}
			if limit := image.Limit(c.Limit); limit != nil {
				var err error
				if state, err = l.part(p).after(l.limiter, limit, c.Amount, now); err != nil {
					return l.acquire.mapError(err)
				}
				explicit := findLimit(l.acquire.req.Limits, c.Limit)
				state.Bypass = l.part(p).bypassed
				// What a bypass waives is not soft, too.
				state.Soft = state.Soft || !state.Bypass && explicit != nil && explicit.Soft
			}
			local = append(local, state)
		}
	}
	l.extra, l.local = make([]int64, len(l.acquire.charges)), local
	return nil
}

// after is the balance that the acquire left of a limit of the image.
func (p *part) after(l *Limiter, limit *LimitState, amount, now int64) (bucket.State, error) {
	if p.planned != nil {
		if n := p.planned.line(limit.Name); n != nil {
			state := n.state // by the schedules that are configured
			if !p.bypassed {
				state.Tokens -= amount
			}
			return state, nil
		}
	}
	state, err := l.state(p.image(), limit, now)
	// As it was admitted: a fast write passes only while the stamp lasts, except that a bypass looks at none.
	state.Soft = limit.Has&FieldSoft != 0
	return state, err
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
			state := &l.local[p*len(l.acquire.charges)+i]
			status := judge(key, c.Limit, *state, n*1000, now)
			status.Limit = l.part(p).share(c.Limit, state, now)
			short = short || status.Exceeded
			e.Statuses = append(e.Statuses, status)
		}
	}
	if !short {
		return nil
	}
	for p := range l.parts() {
		for i, c := range l.acquire.charges {
			if _, asked := amounts[c.Limit]; !asked && l.part(p).image().Limit(c.Limit) != nil {
				e.Statuses = append(e.Statuses, l.status(p, i, 0, now))
			}
		}
	}
	return e
}

// Bypassed says that an operator waived the limits: the consumption is counted, and nothing was taken.
func (l *Lease) Bypassed() bool { return !l.degraded && l.acquire.child.bypassed }

// Overdrawn names the declared soft limits that are in debt, of the entity or its parent, sorted.
func (l *Lease) Overdrawn() []string {
	if l.degraded {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.limiter.nowMillis()
	if l.prepare(now) != nil {
		return nil
	}
	var names []string
	for i, c := range l.acquire.charges {
		for p := range l.parts() {
			if s := &l.local[p*len(l.acquire.charges)+i]; s.Soft && s.Tokens < 0 {
				names = append(names, c.Limit)
				break
			}
		}
	}
	return names
}

// Consumed sums what the lease has taken of each declared limit of its primary resource. Under a cascade the
// entity and its parent count both.
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
			if limit := l.part(p).image().Limit(c.Limit); limit != nil && limit.Complete() {
				charged++ // else a parent without this limit, which was not charged
			}
		}
		if charged > 0 {
			sum[c.Limit] = taken / 1000 * charged
		}
	}
	return sum
}

// Changed says whether Close will write.
func (l *Lease) Changed() bool {
	for _, other := range l.also {
		if other.Changed() {
			return true
		}
	}
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
	if len(l.also) == 0 {
		return l.close(ctx)
	}
	return l.all(func(l *Lease) error { return l.close(ctx) })
}

// all runs f for the lease and its further resources at once, and returns the first error.
func (l *Lease) all(f func(*Lease) error) error {
	errs := make([]error, len(l.also))
	var wg sync.WaitGroup
	for i, other := range l.also {
		wg.Go(func() { errs[i] = f(other) })
	}
	err := f(l)
	wg.Wait()
	for _, other := range errs {
		if err == nil {
			err = other
		}
	}
	return err
}

func (l *Lease) close(ctx context.Context) error {
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
	return l.all(func(l *Lease) error { return l.undo(ctx) })
}

func (l *Lease) undo(ctx context.Context) error {
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
		wg.Go(func() { errs[1] = l.acquire.adjust(ctx, l.acquire.parent, AdjustBoth, delta) })
	}
	errs[0] = l.acquire.adjust(ctx, &l.acquire.child, AdjustBoth, delta)
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
	if err := a.adjust(clean, p, AdjustBoth, func(i int) int64 { return -a.charges[i].Amount }); err != nil {
		a.l.logger.Error("compensation failed", "entity", p.in.Key.EntityID, "resource", p.in.Key.Resource, "shard", p.in.Key.Shard, "error", err)
	}
}

// adjust changes the balance of a charged shard by the deltas of its declared limits. A credit
// must not lift the balance over the ceiling; where it would, or the parameters have changed, it is
// written all the same, and vu = 0 makes the next pass trim it. What a quota gets back after its period is
// void. Under a bypass only the counters change. only is for a demand that a bypass waived after it was taken.
func (a *acquire) adjust(ctx context.Context, p *part, only AdjustOnly, delta func(i int) int64) error {
	image := p.image()
	in := AdjustInput{Key: p.in.Key, Item: image, Only: only}
	if p.bypassed {
		in.Only = AdjustCounter
	}
	now := a.l.nowMillis()
	var partial []Change
	for i, c := range a.charges {
		d := delta(i)
		if d == 0 {
			continue
		}
		limit := image.Limit(c.Limit)
		if limit == nil {
			continue // a parent without this limit was not charged for it
		}
		change := Change{Limit: c.Limit, Delta: d, State: limit}
		if !limit.Complete() {
			if p.planned == nil { // a bypass let the fast path charge what is not there
				partial = append(partial, change)
			}
			continue
		}
		if d < 0 && !p.bypassed {
			in.Checked = true
			// An unreadable schedule leaves the base parameters, and the check fails at worst.
			state, _ := p.after(a.l, limit, c.Amount, now)
			change.Ceiling = state.Ceiling(now)
			change.Period = periodOf(&state, image.RF)
		}
		in.Changes = append(in.Changes, change)
	}
	if len(partial) > 0 {
		if _, err := a.sendAdjust(ctx, &AdjustInput{Key: p.in.Key, Changes: partial, Only: in.Only}); err != nil {
			return err
		}
	}
	if len(in.Changes) == 0 {
		return nil
	}
	if in.Checked {
		p.owner.forgetImage(p.in.Key.Shard)
	}
	out, err := a.sendAdjust(ctx, &in)
	if err != nil || out.Outcome != Refused || !in.Checked {
		return err
	}
	in.Checked = false
	for stale := (*Change).over; out.Image.Exists && out.Outcome == Refused; stale = (*Change).quotaCredit {
		in.Changes = slices.DeleteFunc(in.Changes, func(c Change) bool { return stale(&c, &out.Image) })
		if len(in.Changes) == 0 {
			return nil
		}
		in.ForceSlow = slices.ContainsFunc(in.Changes, func(c Change) bool { return c.Delta < 0 })
		if out, err = a.sendAdjust(ctx, &in); err != nil {
			return err
		}
	}
	return nil
}

// periodOf pins a credit to the period of a quota in which the acquire took it: the one of the bucket's rf, since
// the clock of another process may be ahead.
func periodOf(state *bucket.State, rf int64) Period {
	switch {
	case state.Window.Length > 0:
		return Period{Kind: SessionPeriod}
	case state.Resets != nil:
		next, _ := state.Resets.Next(rf)
		return Period{Kind: CalendarPeriod, Before: next}
	}
	return Period{}
}

// over says whether the period of a credit has ended on the item.
func (c *Change) over(b *Bucket) bool {
	s := b.Limit(c.Limit)
	if c.Period.Kind == NoPeriod {
		return false
	}
	if s == nil {
		return true
	}
	now, then := s.Rare(), c.State.Rare()
	if c.Period.Kind == CalendarPeriod {
		return c.Period.Before > 0 && b.RF >= c.Period.Before || now.Resets != then.Resets
	}
	return now.WindowStart != then.WindowStart || now.WindowApplied != then.WindowApplied
}

func (c *Change) quotaCredit(*Bucket) bool { return c.Period.Kind != NoPeriod }

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
