package limiter

import (
	"context"
	"errors"
	"sync"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// This file is about quotas of buckets with several shards: their allowance is held in slices, so a new
// shard is funded by the one that holds its part, and a window that one shard opens is one for all.

// lagging is a shard that does not know the count by which quotas are granted.
type lagging struct {
	key    BucketKey
	grants []string
}

// needs says which other shards must be read before the bucket can be planned: all of them when a quota
// is new to this shard, the first when a window may be running there.
func (pl *planner) needs() (from, to int) {
	stored, own := &pl.state.Bucket, pl.part.in.Key.Shard
	count := min(max(stored.Shards(), own+1), MaxShards)
	if !stored.HasRF {
		count = max(count, pl.part.owner.shardCount())
	}
	if count <= 1 {
		return 0, 0
	}
	session := false
	for i := range pl.resolved.limits {
		limit := &pl.resolved.limits[i]
		if !limit.Quota() {
			continue
		}
		s := stored.Limit(limit.Name)
		if !stored.HasRF || s == nil || !s.Complete() {
			return 0, count
		}
		session = session || limit.ResetAfter > 0
	}
	for i := range stored.Limits {
		session = session || stored.Limits[i].Rare().Window > 0
	}
	if session && own > 0 && stored.HasVU && stored.VU <= pl.now {
		return 0, 1
	}
	return 0, 0
}

// readSiblings reads those shards by their keys, consistently: their listing lags behind their creation,
// and a shard that is overlooked would be paid for twice. again: shard 0 knows a higher count.
func (a *acquire) readSiblings(ctx context.Context, pl *planner) (again bool, err error) {
	from, to := pl.needs()
	if to == 0 {
		return false, nil
	}
	key := pl.part.in.Key
	in := ReadInput{Consistent: true, Resource: key.Resource}
	for shard := from; shard < to; shard++ {
		if shard != key.Shard {
			in.Entities = append(in.Entities, EntityRead{EntityID: key.EntityID, Bucket: true, Shard: shard})
		}
	}
	var out ReadOutput
	a.trips++
	if err := a.l.store.Read(ctx, &in, &out); err != nil {
		return false, err
	}
	pl.siblings = out.Entities
	if first := pl.sibling(0); first != nil && to > 1 && min(first.Shards(), MaxShards) > to {
		pl.part.owner.learnShards(first.Shards())
		return true, nil
	}
	return false, nil
}

func (pl *planner) sibling(shard int) *Bucket {
	for i := range pl.siblings {
		if b := &pl.siblings[i].Bucket; b.Exists && b.Shard == shard {
			return b
		}
	}
	return nil
}

// windowOfFirst is the window that runs on shard 0, if this is another.
func (pl *planner) windowOfFirst(name string, seconds int64) (start int64, ok bool) {
	first := pl.sibling(0)
	if first == nil || pl.part.in.Key.Shard == 0 {
		return 0, false
	}
	s := first.Limit(name)
	if s == nil || s.Has&FieldWindowStart == 0 {
		return 0, false
	}
	start = s.Rare().WindowStart
	return start, start+seconds*1000 > pl.now
}

// join lets a stored session quota take over the window that runs on shard 0 instead of opening one.
func (pl *planner) join(name string, win *bucket.Window) {
	if end, ok := win.End(); win.Length <= 0 || ok && end > pl.now {
		return
	}
	if start, ok := pl.windowOfFirst(name, win.Length); ok {
		// Nothing can have been consumed in it here: the fast path was closed.
		win.HasStart, win.Start, win.HasMark = true, start, false
	}
}

// fund gives each new quota of a shard of several what the shards hold of it.
func (pl *planner) fund() error {
	for i := range pl.lines {
		n := &pl.lines[i]
		if !n.seed() || !n.state.Quota() || n.state.Shards <= 1 {
			continue
		}
		var siblings []bucket.Sibling
		for j := range pl.siblings {
			b := &pl.siblings[j].Bucket
			s := b.Limit(n.name)
			if !b.HasRF || s == nil || !s.Complete() {
				continue
			}
			state, err := pl.a.l.configured(b, s, n.limit, pl.now)
			if err != nil {
				return err
			}
			siblings = append(siblings, bucket.Sibling{
				Shard: int64(b.Shard), Tokens: s.Tokens, Grants: state.GrantCount(), Current: state.Current(pl.now),
			})
		}
		grant := bucket.PlanGrant(siblings, int64(pl.part.in.Key.Shard), n.state.ResetTarget(pl.now))
		if grant.Moved && pl.noMoves {
			grant = bucket.Grant{}
		}
		n.state.Tokens = grant.Tokens
		if grant.Moved && grant.Tokens > 0 {
			n.grant = &grant
		}
	}
	return nil
}

// moves lists what the plan takes from other shards, and the shards that must learn the count.
func (pl *planner) moves(p *plan) {
	quotas := false
	for i := range pl.lines {
		n := &pl.lines[i]
		if !n.seed() || !n.state.Quota() || n.state.Shards <= 1 {
			continue
		}
		quotas = true
		if n.grant != nil {
			pl.move(p, n)
		}
	}
	if !quotas {
		return
	}
	for i := range pl.siblings {
		b := &pl.siblings[i].Bucket
		if !b.Exists || b.Shards() >= p.write.ShardCount {
			continue
		}
		key := BucketKey{pl.part.in.Key.EntityID, pl.part.in.Key.Resource, b.Shard}
		p.lagging = append(p.lagging, lagging{key, quotasOf(b)})
	}
}

func (pl *planner) move(p *plan, n *line) {
	donor := pl.sibling(int(n.grant.Donor))
	s := donor.Limit(n.name)
	l := LimitWrite{Name: n.name, Change: -n.grant.Tokens, Extra: *s.Rare(), Has: s.Has &^ FieldWindow}
	if n.state.Window.Length > 0 {
		l.Has |= FieldWindow
	} else {
		l.Edge, _ = n.state.Resets.Prev(pl.now)
	}
	key := BucketKey{pl.part.in.Key.EntityID, pl.part.in.Key.Resource, donor.Shard}
	for i := range p.moves {
		if p.moves[i].Key == key {
			p.moves[i].Limits = append(p.moves[i].Limits, l)
			return
		}
	}
	p.moves = append(p.moves, Write{Kind: WriteMove, Key: key, ShardCount: donor.ShardCount, Limits: []LimitWrite{l}})
}

// freeze tells lagging shards the count, keeping what their allowances were sized at. It must succeed: at
// their next reset they would take more than their share.
func (a *acquire) freeze(ctx context.Context, shards []lagging, count int) error {
	if len(shards) == 0 {
		return nil
	}
	a.trips++
	errs := make([]error, len(shards))
	var wg sync.WaitGroup
	for i, lag := range shards {
		wg.Go(func() { errs[i] = a.l.store.StampShardCount(ctx, lag.key, count, lag.grants) })
	}
	wg.Wait()
	return errors.Join(errs...)
}

// openElsewhere tells the other shards of windows that were opened on one. A shard that misses it opens
// its own when its last one ends.
func (a *acquire) openElsewhere(ctx context.Context, p *plan) {
	if len(p.opened) == 0 {
		return
	}
	a.trips++
	var wg sync.WaitGroup
	own := p.write.Key
	for shard := range min(p.by.part.image().Shards(), MaxShards) {
		if shard == own.Shard {
			continue
		}
		wg.Go(func() {
			in := OpenWindowInput{Key: BucketKey{own.EntityID, own.Resource, shard}, Windows: p.opened}
			if err := a.l.store.OpenWindow(ctx, &in); err != nil {
				a.l.logger.Warn("window not announced", "entity", own.EntityID, "resource", own.Resource, "shard", shard, "error", err)
			}
		})
	}
	wg.Wait()
}

// settle looks after a new shard whether the count went up meanwhile, and freezes it then.
func (a *acquire) settle(ctx context.Context, p *plan) {
	key, image := p.write.Key, p.by.part.image()
	grants := quotasOf(image)
	if p.write.Kind != WriteCreate || key.Shard == 0 || len(grants) == 0 {
		return
	}
	in := ReadInput{Consistent: true, Resource: key.Resource, Entities: []EntityRead{{EntityID: key.EntityID, Bucket: true}}}
	var out ReadOutput
	a.trips++
	err := a.l.store.Read(ctx, &in, &out)
	if err == nil {
		if count := out.Entities[0].Bucket.Shards(); count > image.Shards() {
			p.by.part.owner.learnShards(count)
			err = a.l.store.StampShardCount(ctx, key, count, grants)
		}
	}
	if err != nil {
		a.l.logger.Warn("shard count not confirmed", "entity", key.EntityID, "resource", key.Resource, "shard", key.Shard, "error", err)
	}
}
