package limiter

import (
	"context"
	"sync"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// fast tries the speculative writes. It ends the acquire (settled, or an error), or leaves it to the
// slow path with nothing charged and the shards in h.
func (a *acquire) fast(ctx context.Context, h *hint) (settled bool, err error) {
	o := a.child.owner
	known := o.parent()
	a.aim(&a.child, a.req.EntityID, a.draw(o, a.avoid))
	h.shard = a.child.in.Key.Shard
	if known == "" {
		a.consume(ctx, &a.child)
		a.trips += a.child.trips
	} else {
		a.consumeBoth(ctx, known)
		h.parentShard = a.parent.in.Key.Shard
	}
	switch {
	case a.child.err != nil:
		a.giveBack(ctx)
		return false, a.child.err
	case a.child.charged:
		settled, err := a.childCharged(ctx, known, h)
		if settled && (a.explicitlyHard(&a.child) || a.parent != nil && a.explicitlyHard(a.parent)) {
			a.giveBack(ctx)
			settled = false
		}
		return settled, err
	}
	return a.childRefused(ctx, known, h)
}

func (a *acquire) consumeBoth(ctx context.Context, parent string) {
	a.aimParent(parent)
	var wg sync.WaitGroup
	wg.Go(func() { a.consume(ctx, a.parent) })
	a.consume(ctx, &a.child)
	wg.Wait()
	a.trips += max(a.child.trips, a.parent.trips)
}

func (a *acquire) aimParent(parent string) {
	a.beginParent(parent)
	a.aim(a.parent, parent, a.draw(a.parent.owner, a.avoidParent))
}

// giveBack refunds whatever is charged.
func (a *acquire) giveBack(ctx context.Context) {
	a.refund(ctx, &a.child)
	if a.parent != nil {
		a.refund(ctx, a.parent)
	}
}

func (a *acquire) childCharged(ctx context.Context, known string, h *hint) (bool, error) {
	image := a.child.image()
	if !a.complete(image) {
		a.giveBack(ctx)
		return false, nil
	}
	wanted := known
	if image.HasPGen || image.ParentID != "" {
		// The item overrules what was remembered.
		wanted = ""
		if image.Cascade {
			wanted = image.ParentID
		}
	}
	if wanted != known {
		a.avoidParent = 0
		if a.parent != nil {
			a.refund(ctx, a.parent)
			a.parent, h.parentShard = nil, -1
		}
	}
	if wanted == "" {
		return true, nil
	}
	if a.parent == nil {
		a.aimParent(wanted)
		a.consume(ctx, a.parent)
		a.trips += a.parent.trips
	}
	h.parentShard = a.parent.in.Key.Shard
	switch {
	case a.parent.err != nil:
		a.giveBack(ctx)
		return false, a.parent.err
	case a.parent.charged:
		return a.parentCharged(ctx)
	}
	return a.parentRefused(ctx, h)
}

func (a *acquire) parentCharged(ctx context.Context) (bool, error) {
	if !a.complete(a.parent.image()) {
		a.giveBack(ctx)
		return false, nil
	}
	return true, nil
}

// refusal is why a speculative write failed, in the order in which causes count.
type refusal uint8

const (
	refusedMissing  refusal = iota // no item
	refusedDisabled                // stamped by an operator
	refusedSlow                    // contention, vu or a stamp passed, or a declared limit is not on the item
	refusedStamp                   // vu = 0 alone: a slow pass is asked for, and what was wanted is there
	refusedWCU                     // the shard's writes are used up
	refusedShort                   // anything else: a limit is short, or ttl has passed
)

func (a *acquire) classify(p *part) refusal {
	image := p.image()
	switch wcu := image.Limit(WCU); {
	case p.out.Outcome == Conflict:
		return refusedSlow
	case !image.Exists:
		return refusedMissing
	case image.Disabled:
		return refusedDisabled
	case image.HasVU && image.VU <= a.now && (image.VU != 0 || scheduled(image)), a.stampExpired(image), !image.HasRF, !a.complete(image), wcu == nil || !wcu.Complete():
		return refusedSlow
	case wcu.Tokens < 1000:
		return refusedWCU
	case image.HasVU && image.VU <= a.now && a.holds(image):
		return refusedStamp
	}
	return refusedShort
}

// holds says whether an image has what is declared as it stands, without a refill.
func (a *acquire) holds(image *Bucket) bool {
	for i := range a.charges {
		if limit := image.Limit(a.charges[i].Limit); limit == nil || limit.Tokens < a.charges[i].Amount {
			return false
		}
	}
	return true
}

func (a *acquire) childRefused(ctx context.Context, known string, h *hint) (bool, error) {
	if a.parent != nil {
		a.refund(ctx, a.parent)
	}
	kind := a.classify(&a.child)
	if kind == refusedDisabled {
		return false, &DisabledError{EntityID: a.req.EntityID, Resource: a.req.Resource, Level: "bucket"}
	}
	if p := a.parent; p != nil && p.err == nil && p.out.Outcome != Done && a.classify(p) == refusedDisabled && a.cascades(known) {
		return false, &DisabledError{EntityID: known, Resource: a.req.Resource, Level: "bucket"}
	}
	switch image := a.child.image(); kind {
	case refusedWCU:
		if a.l.short(image, a.charges, a.now) {
			return false, a.rejection(&a.child)
		}
		shard, err := a.spread(ctx, &a.child)
		h.shard = shard
		return false, err
	case refusedShort:
		cascading := a.cascades(known) || image.Cascade && image.ParentID != ""
		if image.Shards() > 1 && !cascading {
			return a.otherShards(ctx, h)
		}
		if a.l.short(image, a.charges, a.now) {
			return false, a.rejection(&a.child)
		}
		if image.Shards() > 1 {
			// The slow path charges both buckets at once, so it may as well do it where there is more.
			h.shard = a.draw(a.child.owner, a.avoid|shardBit(h.shard))
		}
	}
	return false, nil
}

// cascades says whether the refused child cascades to the remembered parent after all.
func (a *acquire) cascades(known string) bool {
	image := a.child.image()
	if image.Exists && (image.HasPGen || image.ParentID != "") {
		return image.Cascade && image.ParentID == known
	}
	return known != ""
}

func (a *acquire) rejection(parts ...*part) *ExceededError {
	e := &ExceededError{}
	for _, p := range parts {
		e.Statuses, _ = a.statuses(e.Statuses, p)
	}
	return e
}

func shardBit(shard int) uint32 { return 1 << min(shard, MaxShards-1) }

// otherShards looks for tokens elsewhere: at most two more speculative writes, on shards that are not
// known to be short. Only for an entity that does not cascade, since its parent would go uncharged.
func (a *acquire) otherShards(ctx context.Context, h *hint) (bool, error) {
	first := a.child.in.Key.Shard
	refused := a.child.out
	refused.Image.Limits = append([]LimitState(nil), refused.Image.Limits...)
	tried := a.avoid | shardBit(first)
	for range 2 {
		if all := uint32(1)<<a.child.owner.shardCount() - 1; tried&all == all {
			break
		}
		a.aim(&a.child, a.req.EntityID, a.draw(a.child.owner, tried))
		shard := a.child.in.Key.Shard
		tried |= shardBit(shard)
		a.consume(ctx, &a.child)
		a.trips += a.child.trips
		image := a.child.image()
		switch {
		case a.child.err != nil:
			return false, a.child.err
		case a.child.charged && (!a.complete(image) || a.explicitlyHard(&a.child) || image.Cascade && image.ParentID != ""):
			a.refund(ctx, &a.child)
			h.shard = shard
			return false, nil
		case a.child.charged:
			return true, nil
		}
		switch a.classify(&a.child) {
		case refusedMissing, refusedSlow, refusedStamp:
			h.shard = shard
			return false, nil
		}
	}
	if !a.l.short(&refused.Image, a.charges, a.now) {
		h.shard = first
		return false, nil
	}
	a.child.in.Key.Shard, a.child.out, a.child.charged = first, refused, false
	return false, a.rejection(&a.child)
}

// spread decides about a shard whose wcu is used up: the slow path refills it there, unless it is
// exhausted faster than it refills. Then the shards are doubled and the pass goes to a new one.
// Refilling alone would hold a hot bucket at 1,000 writes a second for ever.
func (a *acquire) spread(ctx context.Context, p *part) (shard int, err error) {
	image, key := p.image(), &p.in.Key
	wcu := image.Limit(WCU)
	refilled, _ := bucket.Refill(wcu.Tokens, image.RF, a.now, wcu.Capacity, wcu.Refill, wcu.Period)
	again := p.owner.exhaustedAgain(key.Shard, image.RF, a.now)
	count := image.Shards()
	if refilled >= 1000 && !again || 2*count > MaxShards || !p.owner.roomAfterDoubling(image) {
		return key.Shard, nil
	}
	a.trips++
	stored, won, err := a.l.store.Double(ctx, key.EntityID, key.Resource, count)
	if err != nil {
		return 0, err
	}
	p.owner.learnShards(stored)
	if stored <= count {
		return key.Shard, nil
	}
	p.owner.doubled()
	if won {
		a.stampShards(ctx, key, count, stored, quotasOf(image))
	}
	usable := min(stored, MaxShards)
	if usable <= count {
		return key.Shard, nil
	}
	return count + a.l.rand(usable-count), nil
}

// quotasOf names the quotas of an image.
func quotasOf(image *Bucket) []string {
	var names []string
	for i := range image.Limits {
		if s := &image.Limits[i]; s.Complete() && s.Refill == 0 {
			names = append(names, s.Name)
		}
	}
	return names
}

// stampShards tells the existing shards the new count, at once.
func (a *acquire) stampShards(ctx context.Context, key *BucketKey, from, count int, grants []string) {
	if from == 1 {
		return
	}
	a.trips++
	var wg sync.WaitGroup
	for s := 1; s < from; s++ {
		wg.Go(func() {
			if err := a.l.store.StampShardCount(ctx, BucketKey{key.EntityID, key.Resource, s}, count, grants); err != nil {
				// The shard learns it from its next slow pass or the aggregator.
				a.l.logger.Warn("shard count not stamped", "entity", key.EntityID, "resource", key.Resource, "shard", s, "error", err)
			}
		})
	}
	wg.Wait()
}

func (a *acquire) parentRefused(ctx context.Context, h *hint) (bool, error) {
	p := a.parent
	image := p.image()
	kind := a.classify(p)
	switch kind {
	case refusedDisabled:
		a.refund(ctx, &a.child)
		return false, &DisabledError{EntityID: p.in.Key.EntityID, Resource: a.req.Resource, Level: "bucket"}
	case refusedMissing, refusedSlow:
		a.refund(ctx, &a.child)
		return false, nil
	}
	if a.l.short(image, a.charges, a.now) {
		e := a.rejection(&a.child, p)
		a.refund(ctx, &a.child)
		return false, e
	}
	if kind == refusedWCU {
		shard, err := a.spread(ctx, p)
		if err != nil {
			a.refund(ctx, &a.child)
			return false, err
		}
		h.parentShard = shard
	}
	return a.parentOnly(ctx, h)
}
