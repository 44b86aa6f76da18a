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
		h.shard = a.draw(a.child.owner, a.avoid)
	}
	var last evaluation
	for attempt := range maxPlans {
		done, e, err := a.slowOnce(ctx, &h, attempt)
		if done || err != nil {
			return err
		}
		if len(e.plans) > 0 {
			last = e
		}
	}
	return contended(last.statuses(nil))
}

// slowRead has what one plan is made from.
type slowRead struct {
	at            int64 // before the read, ms
	in            ReadInput
	entities      [2]EntityRead // of in
	out           ReadOutput
	child, above  *EntityState
	resourceLevel *Config
	systemLevel   Config
	systemCached  bool
}

func (r *slowRead) levels(e *EntityState) *levels {
	return &levels{&e.Own, &e.Default, r.resourceLevel, &r.systemLevel}
}

// slowOnce makes one plan and writes it. Neither done nor an error: plan again.
func (a *acquire) slowOnce(ctx context.Context, h *hint, attempt int) (done bool, e evaluation, err error) {
	e, err = a.evaluate(ctx, h, attempt)
	switch {
	case e.again || err != nil:
		return false, e, err
	case !e.short:
		done, err = a.commit(ctx, e.plans)
		return done, e, judged(err, &e)
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
	return false, e, &ExceededError{Statuses: e.statuses(nil)}
}

// judged adds to the rejection of a contended commit what the demand was judged by.
func judged(err error, by *evaluation) error {
	if e, ok := err.(*ExceededError); ok && e.Contended {
		return contended(by.statuses(nil))
	}
	return err
}

// evaluation is what a slow pass found out before it writes.
type evaluation struct {
	plans []plan
	// short: a limit is. The plans are what would be written with nothing consumed.
	short bool
	// again: what was read is not enough to tell.
	again bool
}

// statuses adds those of the declared limits, the entity's before the parent's.
func (e *evaluation) statuses(into []LimitStatus) []LimitStatus {
	for i := range e.plans {
		into = e.plans[i].by.statuses(into)
	}
	return into
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
	now := a.l.nowMillis()
	for _, pl := range planners {
		pl.now, pl.consistent, pl.noMoves = now, consistent, attempt == maxPlans-1
		if e.again, err = a.readSiblings(ctx, pl); e.again || err != nil {
			return e, err
		}
		if pl.siblings != nil {
			now = a.l.nowMillis()
		}
	}
	for _, pl := range planners {
		pl.now = now
		p, again, err := pl.plan()
		if again || err != nil {
			return evaluation{again: again}, err
		}
		e.short = e.short || p.short
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
	return &planner{a: a, part: p, state: state, resolved: limits, read: r.at, bypass: bypassed,
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
	r.in = ReadInput{Consistent: consistent, Resource: a.req.Resource, ResourceConfig: true}
	r.in.Entities = append(r.entities[:0], EntityRead{EntityID: a.req.EntityID, Meta: true, Bucket: true, Shard: h.shard, Config: true})
	if parent != "" {
		a.aimAt(parent, h)
		r.in.Entities = append(r.in.Entities, EntityRead{EntityID: parent, Meta: true, Bucket: true, Shard: h.parentShard, Config: true})
	}
	if err := a.readLevels(ctx, r); err != nil {
		return err
	}
	r.child, r.resourceLevel = &r.out.Entities[0], &r.out.Resource
	if parent != "" {
		r.above = &r.out.Entities[1]
	}
	return nil
}

// readLevels is one batch read, with the system level in it unless that is remembered.
func (a *acquire) readLevels(ctx context.Context, r *slowRead) error {
	system, cached := a.l.configs.cachedSystem(r.at)
	r.in.SystemConfig = !cached
	a.trips++
	if err := a.l.store.Read(ctx, &r.in, &r.out); err != nil {
		return err
	}
	if !cached {
		system = r.out.System
		a.l.configs.putSystem(system, r.at)
	}
	r.systemLevel, r.systemCached = system, cached
	return nil
}

// aimAt points the parent part at its shard, drawing one unless it was drawn already.
func (a *acquire) aimAt(parent string, h *hint) {
	other := a.parent == nil || a.parent.in.Key.EntityID != parent
	a.beginParent(parent)
	if other || h.parentShard < 0 {
		h.parentShard = a.draw(a.parent.owner, a.avoidParent)
	}
	a.aim(a.parent, parent, h.parentShard)
}

// readParent makes sure that the parent that META names has been read.
func (a *acquire) readParent(ctx context.Context, r *slowRead, parent, known string, h *hint, consistent bool) error {
	if parent != known {
		a.aimAt(parent, h)
		in := ReadInput{Consistent: consistent, Resource: a.req.Resource,
			Entities: []EntityRead{{EntityID: parent, Meta: true, Bucket: true, Shard: h.parentShard, Config: true}}}
		a.trips++
		var out ReadOutput
		if err := a.l.store.Read(ctx, &in, &out); err != nil {
			return err
		}
		r.above = &out.Entities[0]
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
	r := slowRead{at: a.l.nowMillis(), in: ReadInput{Resource: a.req.Resource, ResourceConfig: true,
		Entities: []EntityRead{{EntityID: p.in.Key.EntityID, Meta: true, Bucket: true, Shard: h.parentShard, Config: true}}}}
	if err := a.readLevels(ctx, &r); err != nil {
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
	pl.now = a.l.nowMillis()
	if _, to := pl.needs(); to > 0 {
		return false, nil
	}
	planned, again, err := pl.plan()
	if err != nil || again || planned.short || planned.seeds {
		return false, err
	}
	e := evaluation{plans: []plan{planned}}
	settled, err = a.commit(ctx, e.plans)
	return settled, judged(err, &e)
}
