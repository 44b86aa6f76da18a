package limiter

import (
	"context"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
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
	trips   int
	err     error
	buffer  [3]LimitState // two limits and wcu
}

func (p *part) image() *Bucket { return &p.out.Image }

func (a *acquire) aim(p *part, entity string, shard int) {
	p.owner = a.l.owners.get(entity, a.req.Resource)
	p.in = ConsumeInput{Key: BucketKey{entity, a.req.Resource, shard}, Charges: a.charges, Now: a.now}
	p.charged, p.trips, p.err = false, 0, nil
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
	o := a.l.owners.get(a.req.EntityID, a.req.Resource)
	o.note(a.charges)
	if len(a.req.Limits) == 0 && a.l.opts.RejectionCacheTTL > 0 {
		if rejection := a.rejectFromMemory(o); rejection != nil {
			return rejection
		}
	}
	h := hint{-1, -1}
	if !a.l.opts.DisableSpeculation {
		settled, err := a.fast(ctx, o, &h)
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
	timer := time.NewTimer(time.Duration(rand.Int64N(int64(25*time.Millisecond) << k)))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// consume sends the speculative write of a part, again when it met a transaction.
func (a *acquire) consume(ctx context.Context, p *part) {
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
	if p.out.Outcome != Conflict && p.image().Exists {
		p.owner.learn(p.image())
		a.l.remember(p.owner, p.in.Key.Shard, p.image(), a.now)
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
		if p.charged {
			limit.Tokens += c.Amount
		}
		status := evaluate(&p.in.Key, &limit, image.RF, image.Shards(), c.Amount, a.now)
		short = short || status.Exceeded
		into = append(into, status)
	}
	return into, short
}

// short is the refill test without the statuses: would a refill to now not satisfy the request?
func short(image *Bucket, charges []Charge, now int64) bool {
	shards := int64(image.Shards())
	for i := range charges {
		limit := image.Limit(charges[i].Limit)
		state := bucket.State{Tokens: limit.Tokens, RF: image.RF, Capacity: limit.Capacity, Refill: limit.Refill, Period: limit.Period, Shards: shards}
		if state.At(now).Tokens < charges[i].Amount {
			return true
		}
	}
	return false
}

func unsupported(f Features, key *BucketKey) error {
	return &UnsupportedFeatureError{Feature: f.String(), Where: "bucket " + key.EntityID + "/" + key.Resource}
}
