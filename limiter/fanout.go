package limiter

import (
	"context"
	"errors"
	"slices"
	"sync"
)

// fanout says which buckets follow a change of config, and in what.
type fanout struct {
	key     ConfigKey // the level that changed; it decides where to look
	access  bool      // disabled and bypass stamps
	cascade bool      // owner stamps
	soft    bool      // soft stamps, of buckets whose limits come from the level that changed or one below
	sync    bool      // parameters, of an entity's level
	// softNames may have changed.
	softNames []string
	// named are the limits that the change speaks of, those before it or, on the level for all resources, those
	// after it: a bucket where one of them does not hold loses it. With fallback so it does those of the system.
	named    []Limit
	fallback bool
}

// fanoutWorkers is how many owners of buckets are resolved and written at a time.
const fanoutWorkers = 16

// fanOut stamps the buckets that exist with what config says now. They are discovered twice, because
// their listing lags behind their creation, and what failed at first is tried again.
func (a *Admin) fanOut(ctx context.Context, f fanout) (stamped int, err error) {
	if !f.access && !f.cascade && !f.soft && !f.sync {
		return 0, nil
	}
	run := &fanoutRun{a: a, f: f, owners: map[ownerKey]*fanoutOwner{}}
	resource := f.key.Resource
	if resource == DefaultResource {
		resource = ""
	}
	for range 2 {
		run.err = nil
		keys, err := a.store.BucketKeys(ctx, f.key.EntityID, resource)
		if err != nil {
			run.err = err
			break
		}
		run.pass(ctx, keys)
	}
	a.l.owners.forgetImages()
	if run.err != nil {
		return run.stamped, &FanoutIncompleteError{EntityID: f.key.EntityID, Resource: f.key.Resource, Stamped: run.stamped, Err: run.err}
	}
	return run.stamped, nil
}

type fanoutRun struct {
	a      *Admin
	f      fanout
	owners map[ownerKey]*fanoutOwner

	mu      sync.Mutex // guards what follows
	stamped int
	err     error
}

// fanoutOwner is one entity and resource: what holds there, and the shards that follow it already.
type fanoutOwner struct {
	key     ownerKey
	held    *held
	pending []BucketKey
	done    map[BucketKey]bool
}

// held is what config says of one entity and resource.
type held struct {
	levels levels
	meta   Meta
	until  int64 // deadline of stamps that are made from it
}

func (r *fanoutRun) pass(ctx context.Context, keys []BucketKey) {
	var busy []*fanoutOwner
	for _, k := range keys {
		key := ownerKey{k.EntityID, k.Resource}
		owner := r.owners[key]
		if owner == nil {
			owner = &fanoutOwner{key: key, done: map[BucketKey]bool{}}
			r.owners[key] = owner
		}
		if owner.done[k] {
			continue
		}
		if len(owner.pending) == 0 {
			busy = append(busy, owner)
		}
		owner.pending = append(owner.pending, k)
	}
	slots := make(chan struct{}, fanoutWorkers)
	var wg sync.WaitGroup
	for _, owner := range busy {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			r.follow(ctx, owner)
		})
	}
	wg.Wait()
}

// follow writes the pending shards of one owner.
func (r *fanoutRun) follow(ctx context.Context, owner *fanoutOwner) {
	pending := owner.pending
	owner.pending = nil
	if owner.held == nil {
		held, err := r.a.hold(ctx, owner.key.entity, owner.key.resource)
		if err != nil {
			r.count(false, err)
			return
		}
		owner.held = held
	}
	for _, k := range pending {
		written, err := r.stamp(ctx, k, owner.held)
		r.count(written, err)
		if err == nil {
			owner.done[k] = true
		}
	}
}

func (r *fanoutRun) count(written bool, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if written {
		r.stamped++
	}
	r.err = errors.Join(r.err, err)
}

// hold reads what holds for an entity and resource, consistently: what is stamped on buckets is trusted
// without another look.
func (a *Admin) hold(ctx context.Context, entity, resource string) (*held, error) {
	h := &held{until: a.l.stampDeadline(a.l.nowMillis())}
	in := ReadInput{Consistent: true, Resource: resource, ResourceConfig: true, SystemConfig: true,
		Entities: []EntityRead{{EntityID: entity, Meta: true, Config: true}}}
	var out ReadOutput
	if err := a.l.store.Read(ctx, &in, &out); err != nil {
		return nil, err
	}
	state := &out.Entities[0]
	h.levels, h.meta = levels{&state.Own, &state.Default, &out.Resource, &out.System}, state.Meta
	return h, nil
}

// stamp writes one bucket. Owner stamps are a write of their own, because they have a condition of their
// own.
func (r *fanoutRun) stamp(ctx context.Context, key BucketKey, h *held) (written bool, err error) {
	if r.f.sync {
		if written, err = r.sync(ctx, key, h); err != nil {
			return written, err
		}
	}
	in := StampInput{Key: key, Until: h.until}
	if r.f.access && (r.f.key.EntityID != "" || h.access() == h.levels[2].enforcement()) {
		in.Access = h.access() // else an exception of the entity to what its resource says, which stays
	}
	if r.f.soft {
		in.Soft = r.softStamps(h)
	}
	if in.Access != Unset || len(in.Soft) > 0 {
		done, err := r.a.store.Stamp(ctx, in)
		if written = written || done; err != nil {
			return written, err
		}
	}
	if r.f.cascade && h.meta.Found {
		done, err := r.a.store.Stamp(ctx, StampInput{Key: key, Owner: &h.meta.Owner, ParentID: h.meta.ParentID,
			Cascade: h.meta.ParentID != "" && h.levels.cascades(&h.meta)})
		return written || done, err
	}
	return written, nil
}

// access is the first explicit value of `disabled`; nothing set means enforced.
func (h *held) access() Flag {
	for _, level := range h.levels[:3] {
		if level.Disabled != Unset {
			return level.Disabled
		}
	}
	return Off
}

// enforcement is what a level says when no other does.
func (c *Config) enforcement() Flag {
	if c.Disabled == Unset {
		return Off
	}
	return c.Disabled
}

// limits are those of the first level that has any, and the number of that level; none when there is none.
func (h *held) limits() ([]Limit, int) {
	for i, level := range h.levels {
		if len(level.Limits) > 0 {
			return level.Limits, i
		}
	}
	return nil, len(h.levels)
}

// softStamps are the stamps of a bucket whose limits come from the level that changed or one below; none
// for other buckets, whose own level takes care of them.
func (r *fanoutRun) softStamps(h *held) map[string]bool {
	limits, level := h.limits()
	if level < 2 || level == 2 && r.f.key.Resource == "" {
		return nil
	}
	soft := make(map[string]bool, len(limits)+len(r.f.softNames))
	for _, name := range r.f.softNames {
		soft[name] = false
	}
	for _, l := range limits {
		soft[l.Name] = l.Soft
	}
	return soft
}

// sync pushes parameters (W7). A bucket for which no level has limits any more is left alone.
func (r *fanoutRun) sync(ctx context.Context, key BucketKey, h *held) (bool, error) {
	limits, level := h.limits()
	if len(limits) == 0 {
		return false, nil
	}
	in := SyncInput{Key: key, Limits: limits, SoftUntil: h.until}
	var err error
	if in.TTL, in.TTLValue, err = r.a.l.ttl(resolved{limits: limits, kept: level < 2}, r.a.l.nowMillis()); err != nil {
		return false, err
	}
	named := r.f.named
	if r.f.fallback {
		named = append(named[:len(named):len(named)], h.levels[systemLevel].Limits...)
	}
	for _, limit := range named {
		if findLimit(limits, limit.Name) == nil && !slices.Contains(in.Stale, limit.Name) {
			in.Stale = append(in.Stale, limit.Name)
		}
	}
	return r.a.store.SyncParameters(ctx, in)
}
