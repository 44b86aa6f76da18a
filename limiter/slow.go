package limiter

import (
	"context"
)

// maxPlans is how often an acquire is read and planned before it counts as contended.
const maxPlans = 3

// slow reads, evaluates and writes. Every plan after the first starts from a consistent read; the last
// one takes nothing from other shards, since it is there that plans keep failing.
func (a *acquire) slow(ctx context.Context, h hint) error {
	if h.shard < 0 {
		h.shard = a.draw(a.l.owners.get(a.req.EntityID, a.req.Resource), a.avoid)
	}
	var last []LimitStatus
	for attempt := range maxPlans {
		done, statuses, err := a.slowOnce(ctx, &h, attempt)
		if done || err != nil {
			return err
		}
		if len(statuses) > 0 {
			last = statuses
		}
	}
	return contended(last)
}

// slowRead has what one plan is made from.
type slowRead struct {
	at            int64 // before the read, ms
	out           ReadOutput
	parent        ReadOutput
	child, above  *EntityState
	resourceLevel *Config
	systemLevel   Config
	systemCached  bool
}

func (r *slowRead) levels(e *EntityState) *levels {
	return &levels{&e.Own, &e.Default, r.resourceLevel, &r.systemLevel}
}

// slowOnce makes one plan and writes it. Neither done nor an error: plan again.
func (a *acquire) slowOnce(ctx context.Context, h *hint, attempt int) (done bool, statuses []LimitStatus, err error) {
	e, err := a.evaluate(ctx, h, attempt)
	switch {
	case e.again || err != nil:
		return false, nil, err
	case !e.short:
		done, err := a.commit(ctx, e.plans)
		return done, e.statuses, judged(err, e.statuses)
	}
	// What a rejected plan moves between shards is worth keeping: it is where the next one looks.
	var moved []plan
	for _, p := range e.plans {
		if len(p.moves) > 0 {
			moved = append(moved, p)
		}
	}
	if len(moved) > 0 {
		if done, err := a.commit(ctx, moved); !done || err != nil {
			// The rejection stands all the same: an error here must not become an admission.
			a.l.logger.Warn("quota not moved", "entity", a.req.EntityID, "resource", a.req.Resource, "error", err)
		}
	}
	return false, nil, &ExceededError{Statuses: e.statuses}
}

// judged adds to the rejection of a contended commit what the demand was judged by.
func judged(err error, statuses []LimitStatus) error {
	if e, ok := err.(*ExceededError); ok && e.Contended {
		return contended(statuses)
	}
	return err
}

// evaluation is what a slow pass found out before it writes.
type evaluation struct {
	plans    []plan
	statuses []LimitStatus
	// short: a limit is. The plans are what would be written with nothing consumed.
	short bool
	// again: what was read is not enough to tell.
	again bool
}

// evaluate reads what the acquire concerns and plans it.
func (a *acquire) evaluate(ctx context.Context, h *hint, attempt int) (e evaluation, err error) {
	consistent := attempt > 0
	a.aim(&a.child, a.req.EntityID, h.shard)
	r := slowRead{at: a.l.nowMillis()}
	known := a.child.owner.parent()
	if err := a.read(ctx, &r, known, h, consistent); err != nil {
		return e, err
	}
	meta := &r.child.Meta
	lv := r.levels(r.child)
	if _, err := lv.limits(a.req.Limits, a.req.EntityID, a.req.Resource); err != nil {
		return e, err // before the flags: there is nothing that could be closed
	}
	if _, err := lv.enforced(a.req.EntityID, a.req.Resource); err != nil {
		return e, err
	}
	cascade := meta.ParentID != "" && lv.cascades(meta)
	a.child.owner.learnStamp(stamp{cascade, meta.ParentID, meta.Found, meta.Generation, incarnationOf(meta)})
	if cascade {
		if err := a.readParent(ctx, &r, meta.ParentID, known, h, consistent); err != nil {
			return e, err
		}
	} else {
		a.parent = nil
	}
	planners := make([]*planner, 0, 2)
	pl, err := a.planner(ctx, &a.child, r.child, &r)
	if err != nil {
		return e, err
	}
	planners = append(planners, pl)
	if cascade {
		if pl, err = a.planner(ctx, a.parent, r.above, &r); err != nil {
			return e, err
		}
		planners = append(planners, pl)
	}
	for _, pl := range planners {
		pl.consistent, pl.noMoves = consistent, attempt == maxPlans-1
		if e.again, err = a.readSiblings(ctx, pl); e.again || err != nil {
			return e, err
		}
	}
	now := a.l.nowMillis()
	for _, pl := range planners {
		pl.now = now
		p, statuses, short, again, err := pl.plan(e.statuses)
		if again || err != nil {
			return evaluation{again: again}, err
		}
		e.statuses, e.short = statuses, e.short || short
		e.plans = append(e.plans, p)
	}
	if !e.short {
		return e, nil
	}
	for i, pl := range planners {
		if len(e.plans[i].moves) > 0 {
			e.plans[i] = pl.unconsumed(e.plans[i])
		} else {
			a.restamp(ctx, pl)
		}
	}
	return e, nil
}

// restamp corrects stamps that a rejected pass met. It is a courtesy to the next one.
func (a *acquire) restamp(ctx context.Context, pl *planner) {
	in := pl.restamp()
	if in == nil {
		return
	}
	a.trips++
	if err := a.l.store.Restamp(ctx, in); err != nil {
		a.l.logger.Warn("stamps not corrected", "entity", in.Key.EntityID, "resource", in.Key.Resource, "shard", in.Key.Shard, "error", err)
	}
}

func incarnationOf(m *Meta) string {
	if !m.Found {
		return ""
	}
	return m.Incarnation()
}

// planner checks what the levels and the item allow, and prepares the evaluation of one part.
func (a *acquire) planner(ctx context.Context, p *part, state *EntityState, r *slowRead) (*planner, error) {
	key, lv := &p.in.Key, r.levels(state)
	limits, err := lv.limits(a.req.Limits, key.EntityID, key.Resource)
	if err != nil {
		return nil, err
	}
	if limits.level == systemLevel && r.systemCached && softDepends(&limits, &state.Bucket) {
		// Stamps are set and renewed by what was read in the same pass only.
		if err := a.rereadSystem(ctx, r); err != nil {
			return nil, err
		}
		if limits, err = lv.limits(a.req.Limits, key.EntityID, key.Resource); err != nil {
			return nil, err
		}
	}
	bypassed, err := lv.enforced(key.EntityID, key.Resource)
	if err != nil {
		return nil, err
	}
	if p == &a.child {
		for _, c := range a.charges {
			stored := state.Bucket.Limit(c.Limit)
			onBucket := len(a.req.Limits) > 0 && stored != nil && stored.Complete()
			if !onBucket && findLimit(limits.limits, c.Limit) == nil {
				return nil, invalid("consume", c.Limit, "is not a limit of resource="+key.Resource)
			}
		}
	}
	meta := &state.Meta
	return &planner{a: a, part: p, state: state, resolved: limits, now: a.l.nowMillis(), read: r.at, bypass: bypassed,
		cascade: meta.ParentID != "" && lv.cascades(meta)}, nil
}

func (a *acquire) rereadSystem(ctx context.Context, r *slowRead) error {
	var out ReadOutput
	a.trips++
	if err := a.l.store.Read(ctx, &ReadInput{Resource: a.req.Resource, SystemConfig: true}, &out); err != nil {
		return err
	}
	r.systemLevel, r.systemCached = out.System, false
	a.l.configs.putSystem(out.System, r.at)
	return nil
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
	r.systemLevel, r.systemCached = system, cached
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
	r := slowRead{at: a.l.nowMillis()}
	if err := a.readLevels(ctx, &in, &r.out, &r); err != nil {
		return false, err
	}
	r.above, r.resourceLevel = &r.out.Entities[0], &r.out.Resource
	if !r.above.Bucket.HasRF || !a.complete(&r.above.Bucket) {
		return false, nil
	}
	pl, err := a.planner(ctx, p, r.above, &r)
	if err != nil || pl.bypass || r.above.Bucket.HasBypass {
		return false, err
	}
	if _, to := pl.needs(); to > 0 {
		return false, nil
	}
	planned, statuses, short, again, err := pl.plan(nil)
	if err != nil || short || again || planned.seeds {
		return false, err
	}
	settled, err = a.commit(ctx, []plan{planned})
	return settled, judged(err, statuses)
}
