package limiter

import (
	"context"
)

// maxPlans is how often an acquire is read and planned before it counts as contended.
const maxPlans = 3

// slow reads, evaluates and writes. Every plan after the first starts from a consistent read.
func (a *acquire) slow(ctx context.Context, h hint) error {
	if h.shard < 0 {
		h.shard = a.draw(a.l.owners.get(a.req.EntityID, a.req.Resource), a.avoid)
	}
	for attempt := range maxPlans {
		done, err := a.slowOnce(ctx, &h, attempt > 0)
		if done || err != nil {
			return err
		}
	}
	return &ExceededError{Contended: true}
}

// slowRead has what one plan is made from.
type slowRead struct {
	out           ReadOutput
	parent        ReadOutput
	child, above  *EntityState
	resourceLevel *Config
	systemLevel   Config
}

func (r *slowRead) levels(e *EntityState) *levels {
	return &levels{&e.Own, &e.Default, r.resourceLevel, &r.systemLevel}
}

func (a *acquire) slowOnce(ctx context.Context, h *hint, consistent bool) (done bool, err error) {
	a.aim(&a.child, a.req.EntityID, h.shard)
	var r slowRead
	known := a.child.owner.parent()
	if err := a.read(ctx, &r, known, h, consistent); err != nil {
		return false, err
	}
	lv := r.levels(r.child)
	if err := lv.enforced(a.req.EntityID, a.req.Resource); err != nil {
		return false, err
	}
	meta := &r.child.Meta
	cascade := meta.ParentID != "" && lv.cascades(meta)
	a.child.owner.learnStamp(stamp{cascade, meta.ParentID, meta.Found, meta.Generation, incarnationOf(meta)})
	now := a.l.nowMillis()
	var plans [2]plan
	count := 1
	if cascade {
		if err := a.readParent(ctx, &r, meta.ParentID, known, h, consistent); err != nil {
			return false, err
		}
		if err := r.levels(r.above).enforced(meta.ParentID, a.req.Resource); err != nil {
			return false, err
		}
		count = 2
	} else {
		a.parent = nil
	}
	rejection := &ExceededError{}
	anyShort := false
	for i := range count {
		p, state := &a.child, r.child
		if i == 1 {
			p, state = a.parent, r.above
		}
		pl, err := a.planner(p, state, r.levels(state), now, consistent)
		if err != nil {
			return false, err
		}
		var short, again bool
		plans[i], rejection.Statuses, short, again = pl.plan(rejection.Statuses)
		if again {
			return false, nil
		}
		anyShort = anyShort || short
	}
	if anyShort {
		return false, rejection
	}
	return a.commit(ctx, plans[:count])
}

func incarnationOf(m *Meta) string {
	if !m.Found {
		return ""
	}
	return m.Incarnation()
}

// planner checks what the levels and the item allow, and prepares the evaluation of one part.
func (a *acquire) planner(p *part, state *EntityState, lv *levels, now int64, consistent bool) (*planner, error) {
	key := &p.in.Key
	limits, err := lv.limits(a.req.Limits, key.EntityID, key.Resource)
	if err != nil {
		return nil, err
	}
	if state.Bucket.Features != 0 {
		return nil, unsupported(state.Bucket.Features, key)
	}
	if p == &a.child {
		for _, c := range a.charges {
			stored := state.Bucket.Limit(c.Limit)
			onBucket := len(a.req.Limits) > 0 && stored != nil && stored.Complete()
			if !onBucket && findLimit(limits.limits, c.Limit) == nil {
				return nil, invalid("consume", c.Limit, "is not a limit of entity="+key.EntityID+", resource="+key.Resource)
			}
		}
	}
	meta := &state.Meta
	return &planner{a: a, part: p, state: state, resolved: limits, now: now, consistent: consistent,
		cascade: meta.ParentID != "" && lv.cascades(meta)}, nil
}

// read fetches the entity with its config levels, and in the same request the parent that it is
// remembered to cascade to.
func (a *acquire) read(ctx context.Context, r *slowRead, parent string, h *hint, consistent bool) error {
	in := ReadInput{Consistent: consistent, Resource: a.req.Resource, ResourceConfig: true}
	in.Entities = append(make([]EntityRead, 0, 2), EntityRead{EntityID: a.req.EntityID, Meta: true, Bucket: true, Shard: h.shard, Config: true})
	if parent != "" {
		a.aimAt(parent, h)
		in.Entities = append(in.Entities, EntityRead{EntityID: parent, Meta: true, Bucket: true, Shard: h.parentShard, Config: true})
	}
	if err := a.readLevels(ctx, &in, &r.out, r); err != nil {
		return err
	}
	r.child, r.resourceLevel = &r.out.Entities[0], &r.out.Resource
	if parent != "" {
		r.above = &r.out.Entities[1]
	}
	return nil
}

// readLevels is one batch read, with the system level in it unless that is remembered.
func (a *acquire) readLevels(ctx context.Context, in *ReadInput, out *ReadOutput, r *slowRead) error {
	system, cached := a.l.configs.cachedSystem(a.l.nowMillis())
	in.SystemConfig = !cached
	a.trips++
	if err := a.l.store.Read(ctx, in, out); err != nil {
		return err
	}
	if !cached {
		system = out.System
		a.l.configs.putSystem(system, a.l.nowMillis())
	}
	r.systemLevel = system
	return nil
}

// aimAt points the parent part at its shard, drawing one unless it was drawn already.
func (a *acquire) aimAt(parent string, h *hint) {
	if a.parent == nil || a.parent.in.Key.EntityID != parent || h.parentShard < 0 {
		h.parentShard = a.draw(a.l.owners.get(parent, a.req.Resource), a.avoidParent)
	}
	if a.parent == nil {
		a.parent = &part{}
	}
	a.aim(a.parent, parent, h.parentShard)
	a.parent.owner.note(a.charges)
}

// readParent makes sure that the parent that META names has been read.
func (a *acquire) readParent(ctx context.Context, r *slowRead, parent, known string, h *hint, consistent bool) error {
	if parent != known {
		a.aimAt(parent, h)
		in := ReadInput{Consistent: consistent, Resource: a.req.Resource,
			Entities: []EntityRead{{EntityID: parent, Meta: true, Bucket: true, Shard: h.parentShard, Config: true}}}
		a.trips++
		if err := a.l.store.Read(ctx, &in, &r.parent); err != nil {
			return err
		}
		r.above = &r.parent.Entities[0]
	}
	a.learnParent(r.above, r.levels(r.above))
	return nil
}

func (a *acquire) learnParent(above *EntityState, lv *levels) {
	meta := &above.Meta
	a.parent.owner.learnStamp(stamp{meta.ParentID != "" && lv.cascades(meta), meta.ParentID, meta.Found, meta.Generation, incarnationOf(meta)})
}

// parentOnly takes the slow path for the parent alone while the entity stays charged. Whatever does not
// fit refunds the entity and goes the whole way.
func (a *acquire) parentOnly(ctx context.Context, h *hint) (settled bool, err error) {
	defer func() {
		if !settled {
			a.refund(ctx, &a.child)
		}
	}()
	p := a.parent
	a.aim(p, p.in.Key.EntityID, h.parentShard)
	in := ReadInput{Resource: a.req.Resource, ResourceConfig: true,
		Entities: []EntityRead{{EntityID: p.in.Key.EntityID, Meta: true, Bucket: true, Shard: h.parentShard, Config: true}}}
	var r slowRead
	if err := a.readLevels(ctx, &in, &r.out, &r); err != nil {
		return false, err
	}
	r.above, r.resourceLevel = &r.out.Entities[0], &r.out.Resource
	lv := r.levels(r.above)
	if err := lv.enforced(p.in.Key.EntityID, a.req.Resource); err != nil {
		return false, err
	}
	if !r.above.Bucket.HasRF || !a.complete(&r.above.Bucket) {
		return false, nil
	}
	pl, err := a.planner(p, r.above, lv, a.l.nowMillis(), false)
	if err != nil {
		return false, err
	}
	planned, _, short, again := pl.plan(nil)
	if short || again || planned.seeds {
		return false, nil
	}
	return a.commit(ctx, []plan{planned})
}
