package limiter

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"
)

// acquire is one acquire under way. It is part of the Lease that it becomes, so that the common case
// is one allocation.
type acquire struct {
	l     *Limiter
	req   Request
	now   int64 // start, ms
	trips int   // sequential requests so far
	// avoid and avoidParent have a bit for each shard that is known to be short.
	avoid, avoidParent uint32
	charges            []Charge
	child              part
	parent             *part // nil when nothing cascades
	buffer             [3]Charge
}

// part is one bucket of an acquire: the entity's, or its parent's.
type part struct {
	owner   *owner
	in      ConsumeInput
	out     ConsumeOutput
	charged bool
	// bypassed: the demand was waived by an operator. It is counted, but not taken.
	bypassed bool
	trips    int
	err      error
	// planned is what a slow pass charged it by; nil when a fast one did, or what another writer left.
	planned *planner
	buffer  [3]LimitState // two limits and wcu
}

func (p *part) image() *Bucket { return &p.out.Image }

// begin looks the entity up in what is remembered.
func (a *acquire) begin() {
	a.child.owner = a.l.owners.get(a.req.EntityID, a.req.Resource)
	a.child.owner.note(a.charges)
}

// beginParent makes the parent part that of an entity.
func (a *acquire) beginParent(entity string) {
	if a.parent == nil {
		a.parent = &part{}
	}
	a.parent.owner = a.l.owners.get(entity, a.req.Resource)
	a.parent.owner.note(a.charges)
}

// aim points a part, which has begun, at a shard.
func (a *acquire) aim(p *part, entity string, shard int) {
	p.in = ConsumeInput{Key: BucketKey{entity, a.req.Resource, shard}, Charges: a.charges, Now: a.now}
	p.charged, p.bypassed, p.trips, p.err, p.planned = false, false, 0, nil, nil
	if p.out.Image.Limits == nil {
		p.out.Image.Limits = p.buffer[:0]
	}
}

// declare turns the request's map into charges, sorted by name so that statuses and writes have
// one order.
func (a *acquire) declare() error {
	charges := a.buffer[:0]
	for name, amount := range a.req.Consume {
		if err := validateLimitName(name); err != nil {
			return err
		}
		if amount < 0 || amount > maxTokens {
			return invalid("consume", name+": "+strconv.FormatInt(amount, 10), "must be between 0 and 10^15")
		}
		at := len(charges)
		charges = append(charges, Charge{})
		for at > 0 && charges[at-1].Limit > name {
			charges[at] = charges[at-1]
			at--
		}
		charges[at] = Charge{name, amount * 1000}
	}
	a.charges = charges
	return nil
}

// hint tells the slow path which shards were drawn already; -1: none.
type hint struct{ shard, parentShard int }

func (a *acquire) run(ctx context.Context) error {
	a.begin()
	if len(a.req.Limits) == 0 && a.l.opts.RejectionCacheTTL > 0 {
		if rejection := a.rejectFromMemory(); rejection != nil {
			return rejection
		}
	}
	h := hint{-1, -1}
	if !a.l.opts.DisableSpeculation && !a.explicitlySoft() {
		settled, err := a.fast(ctx, &h)
		if settled || err != nil {
			return err
		}
	}
	return a.slow(ctx, h)
}

// draw picks a shard at random, sparing those in avoid unless that leaves none.
func (a *acquire) draw(o *owner, avoid uint32) int {
	n := o.shardCount()
	if n == 1 {
		return 0
	}
	free := 0
	for s := range n {
		if avoid&(1<<s) == 0 {
			free++
		}
	}
	if free == 0 || free == n {
		return a.l.rand(n)
	}
	pick := a.l.rand(free)
	for s := range n {
		if avoid&(1<<s) != 0 {
			continue
		}
		if pick == 0 {
			return s
		}
		pick--
	}
	return 0
}

// maxConflictRetries is how often a request that met another transaction is repeated.
const maxConflictRetries = 3

// conflictPause waits random(0, 25 x 2^k) ms before retry k.
func conflictPause(ctx context.Context, k int) error {
	return pauseFor(ctx, rand.N(25*time.Millisecond<<k))
}

// pauseFor waits, or returns the context's error when it ends first.
func pauseFor(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// consume sends the speculative write of a part. Where a bypass was seen, the write that only counts goes
// first; the other one follows when the bypass is over.
func (a *acquire) consume(ctx context.Context, p *part) {
	if p.in.Bypassed = p.owner.bypassSeen(); p.in.Bypassed {
		a.consumeOnce(ctx, p)
		image := p.image()
		if p.err != nil || p.charged || p.out.Outcome == Conflict || !image.Exists || image.HasBypass || image.Disabled {
			p.bypassed = p.charged
			return
		}
		p.in.Bypassed = false
	}
	a.consumeOnce(ctx, p)
	if p.charged && p.image().bypassed(a.now) {
		a.waive(ctx, p)
		p.bypassed = true
	}
}

// consumeOnce sends one speculative write, again when it met a transaction.
func (a *acquire) consumeOnce(ctx context.Context, p *part) {
	for k := 0; ; k++ {
		p.trips++
		p.err = a.l.store.Consume(ctx, &p.in, &p.out)
		if p.err != nil {
			return
		}
		if p.out.Outcome != Conflict || k == maxConflictRetries {
			break
		}
		if p.err = conflictPause(ctx, k); p.err != nil {
			return
		}
	}
	p.charged = p.out.Outcome == Done
	if p.out.Outcome == Conflict {
		return
	}
	p.owner.seeBypass(p.image().HasBypass)
	if !p.image().Exists {
		return
	}
	p.owner.learn(p.image())
	if !p.charged {
		if p.err = a.readable(p.image()); p.err != nil {
			return
		}
	}
	a.l.remember(p.owner, p.in.Key.Shard, p.image(), a.now)
}

// waive gives back what was taken from a bucket that turned out to be bypassed; it stays counted.
func (a *acquire) waive(ctx context.Context, p *part) {
	p.trips++
	clean, cancel := cleanupContext(ctx)
	defer cancel()
	if err := a.adjust(clean, p, AdjustTokens, func(i int) int64 { return -a.charges[i].Amount }); err != nil {
		a.l.logger.Error("compensation failed", "entity", p.in.Key.EntityID, "resource", p.in.Key.Resource, "shard", p.in.Key.Shard, "error", err)
	}
	for _, c := range a.charges {
		if limit := p.image().Limit(c.Limit); limit != nil {
			limit.Tokens += c.Amount
		}
	}
}

// complete says whether the image has every declared limit.
func (a *acquire) complete(image *Bucket) bool {
	for i := range a.charges {
		if limit := image.Limit(a.charges[i].Limit); limit == nil || !limit.Complete() {
			return false
		}
	}
	return true
}

// statuses judges the declared limits of an image that has them all, and says whether one is short.
// A part that is charged is judged as it was before.
func (a *acquire) statuses(into []LimitStatus, p *part) ([]LimitStatus, bool) {
	short := false
	image := p.image()
	for _, c := range a.charges {
		limit := *image.Limit(c.Limit)
		if p.charged && !p.bypassed {
			limit.Tokens += c.Amount
		}
		state := a.l.known(image, &limit, a.now).Restored(a.now)
		if p.bypassed {
			state.Soft = limit.Has&FieldSoft != 0 // the bypass did not look whether the stamp lasts
		}
		status := judge(&p.in.Key, c.Limit, state, c.Amount, a.now)
		short = short || status.Exceeded
		into = append(into, status)
	}
	return into, short
}

// short is the refill test without the statuses: would a refill to now not satisfy the request?
func (l *Limiter) short(image *Bucket, charges []Charge, now int64) bool {
	for i := range charges {
		state := l.known(image, image.Limit(charges[i].Limit), now).Restored(now)
		if lacks(&state, charges[i].Amount, now) {
			return true
		}
	}
	return false
}

// stampExpired says whether a stamp of the image, or of a declared limit on it, has passed.
func (a *acquire) stampExpired(image *Bucket) bool {
	if image.HasBypass && image.Bypass <= a.now {
		return true
	}
	for i := range a.charges {
		if limit := image.Limit(a.charges[i].Limit); limit != nil && limit.Has&FieldSoft != 0 && !limit.softAt(a.now) {
			return true
		}
	}
	return false
}

// explicitlyHard says whether a part was admitted by a soft stamp although the request brought that limit, and
// not as a soft one. A bypass waives what a request brings, too.
func (a *acquire) explicitlyHard(p *part) bool {
	if len(a.req.Limits) == 0 || p.bypassed {
		return false
	}
	image := p.image()
	for _, c := range a.charges {
		explicit, limit := findLimit(a.req.Limits, c.Limit), image.Limit(c.Limit)
		if explicit != nil && !explicit.Soft && limit != nil && limit.Tokens < 0 {
			return true
		}
	}
	return false
}

// explicitlySoft says whether a declared limit is soft by a limit that the request brought: no stamp says
// so, and only the slow path knows.
func (a *acquire) explicitlySoft() bool {
	for _, c := range a.charges {
		if limit := findLimit(a.req.Limits, c.Limit); limit != nil && limit.Soft {
			return true
		}
	}
	return false
}
