package limiter

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

const (
	// maxResources is how many resources one acquire may concern.
	maxResources = 16
	// maxActions is what one transaction holds.
	maxActions = 100
)

// several is an acquire of more than one resource: all are charged, or none.
type several struct {
	l       *Limiter
	leases  []*Lease
	parts   []*acquire // the first is the primary resource
	hints   []hint
	settled []bool
}

// validateAlso checks what the request wants of further resources.
func (r *Request) validateAlso() error {
	switch {
	case len(r.Also) == 0:
		return nil
	case len(r.Also)+1 > maxResources:
		return invalid("also", strconv.Itoa(len(r.Also)+1), "resources are too many: an acquire takes at most 16")
	case len(r.Limits) > 0:
		return invalid("also", "", "does not go together with explicit limits")
	}
	for resource := range r.Also {
		if err := validateResource(resource); err != nil {
			return err
		}
		if resource == r.Resource {
			return invalid("also", resource, "is the primary resource, too: put it all into consume")
		}
	}
	return nil
}

// extend makes the lease's further resources leases of their own, sorted by name.
func (l *Lease) extend() (*several, error) {
	primary := &l.acquire
	s := &several{l: l.limiter, parts: []*acquire{primary}}
	for _, resource := range slices.Sorted(maps.Keys(primary.req.Also)) {
		other := &Lease{limiter: l.limiter}
		a := &other.acquire
		a.l, a.now = primary.l, primary.now
		a.req = Request{EntityID: primary.req.EntityID, Resource: resource, Consume: primary.req.Also[resource]}
		if err := a.declare(); err != nil {
			return nil, err
		}
		l.also = append(l.also, other)
		s.parts = append(s.parts, a)
	}
	s.hints = make([]hint, len(s.parts))
	s.leases = l.also
	s.settled = make([]bool, len(s.parts))
	for i := range s.hints {
		s.hints[i] = hint{-1, -1}
	}
	return s, nil
}

// run acquires all. The mode is that of the further leases, too.
func (s *several) run(ctx context.Context, mode OnUnavailable) error {
	for _, lease := range s.leases {
		lease.mode = mode
	}
	for _, a := range s.parts {
		a.begin()
	}
	if s.l.opts.RejectionCacheTTL > 0 {
		if rejection := s.rejectFromMemory(); rejection != nil {
			return rejection
		}
	}
	err := s.fast(ctx)
	if err == nil {
		err = s.slow(ctx)
	}
	if err == nil {
		return nil
	}
	if rejection, ok := errors.AsType[*ExceededError](err); ok && !rejection.Contended {
		s.addCharged(rejection)
	}
	s.giveBack(ctx)
	return err
}

// addCharged adds the statuses of what was charged before another resource was refused.
func (s *several) addCharged(rejection *ExceededError) {
	for _, a := range s.parts {
		if a.child.charged {
			rejection.Statuses = a.left(rejection.Statuses, &a.child)
		}
		if a.parent != nil && a.parent.charged {
			rejection.Statuses = a.left(rejection.Statuses, a.parent)
		}
	}
}

// left adds the statuses of a part that its resource admits, while another one refuses the acquire: what it
// would have left.
func (a *acquire) left(into []LimitStatus, p *part) []LimitStatus {
	if p.planned != nil && p.planned.silent() {
		return into
	}
	now, image := a.l.nowMillis(), p.image()
	for _, c := range a.charges {
		limit := image.Limit(c.Limit)
		if limit == nil || !limit.Complete() {
			continue // a parent without this limit
		}
		// Its schedules were decoded before.
		state, _ := p.after(a.l, limit, c.Amount, now)
		told := p.told(c.Limit, state)
		into = append(into, LimitStatus{
			EntityID: p.in.Key.EntityID, Resource: p.in.Key.Resource, Limit: p.share(c.Limit, &told, now),
			Available: state.Available(now), Requested: c.Amount / 1000, ResetsAt: resetsAt(&told, now),
		})
	}
	return into
}

// share is a limit of the part as a status tells it.
func (p *part) share(name string, state *bucket.State, now int64) Limit {
	if p.planned != nil {
		return p.planned.share(name, *state, now)
	}
	return shareOf(name, state, now)
}

// told is a limit as a status describes it after a slow pass: by the schedules and the window that are configured,
// also where a bypass has left the bucket's in force.
func (p *part) told(name string, state bucket.State) bucket.State {
	if p.planned != nil {
		if limit := p.planned.resolved.find(name); limit != nil {
			_ = p.planned.a.l.schedules(&state, name, limit.Schedule, limit.ResetSchedule, limit.Zone)
			state.Window.Length = int64(limit.ResetAfter / time.Second)
		}
	}
	return state
}

// refuse is the rejection by evaluations of which some are short: what these are judged by comes first.
func (s *several) refuse(ctx context.Context, evaluations []evaluation) *ExceededError {
	rejection := &ExceededError{}
	for i := range evaluations {
		if e := &evaluations[i]; e.short {
			rejection.Statuses = e.statuses(rejection.Statuses)
		}
	}
	for i := range evaluations {
		e := &evaluations[i]
		if !e.short {
			for _, p := range e.plans {
				rejection.Statuses = p.by.a.left(rejection.Statuses, p.by.part)
			}
		}
		e.keep(ctx)
	}
	return rejection
}

// keep writes what is worth it of an evaluation although the acquire is refused: what quotas moved between
// shards, and corrected stamps. It is a courtesy to the next acquire.
func (e *evaluation) keep(ctx context.Context) {
	for _, p := range e.plans {
		pl := p.by
		switch {
		case len(p.moves) > 0:
			if !e.short {
				p = pl.unconsumed(p)
			}
			if _, err := pl.a.commit(ctx, []plan{p}); err != nil {
				key := &pl.part.in.Key
				pl.a.l.logger.Warn("quota not moved", "entity", key.EntityID, "resource", key.Resource, "shard", key.Shard, "error", err)
			}
			pl.part.charged = false
		case !e.short:
			pl.a.restamp(ctx, pl)
		}
	}
}

// each runs f for the parts that are not settled, at once, and waits. The trips of the slowest count.
func (s *several) each(f func(i int, a *acquire)) {
	var wg sync.WaitGroup
	before := s.parts[0].trips
	for i, a := range s.parts {
		a.trips = before
		if !s.settled[i] {
			wg.Go(func() { f(i, a) })
		}
	}
	wg.Wait()
	longest := 0
	for _, a := range s.parts {
		longest = max(longest, a.trips)
	}
	s.parts[0].trips = longest
}

// rejectFromMemory refuses without a request when the memory of one resource does.
func (s *several) rejectFromMemory() *ExceededError {
	for _, a := range s.parts {
		if rejection := a.rejectFromMemory(); rejection != nil {
			return rejection
		}
	}
	return nil
}

// fast sends the speculative writes of all resources at once.
func (s *several) fast(ctx context.Context) error {
	if s.l.opts.DisableSpeculation {
		return nil
	}
	errs := make([]error, len(s.parts))
	landed := make([]bool, len(s.parts))
	s.each(func(i int, a *acquire) {
		landed[i], errs[i] = a.fast(ctx, &s.hints[i])
	})
	open := false
	for i := range s.parts {
		s.settled[i] = landed[i] || errs[i] != nil
		open = open || !s.settled[i]
	}
	err := merge(errs)
	if _, refused := errors.AsType[*ExceededError](err); !refused || !open {
		return err
	}
	// A closed resource outranks a short one, and what was not settled may be closed.
	clear(errs)
	s.each(func(i int, a *acquire) { errs[i] = a.closed(ctx) })
	return merge(append([]error{err}, errs...))
}

// closed fails when config closes the resource for the entity, or for the parent it cascades to. What cannot
// be read closes nothing: the rejection that is known already stands.
func (a *acquire) closed(ctx context.Context) error {
	admin := a.l.Admin()
	for entity, cascades := a.req.EntityID, true; entity != "" && cascades; {
		a.trips++
		h, err := admin.hold(ctx, entity, a.req.Resource)
		if err != nil {
			return nil
		}
		if _, err := h.levels.enforced(entity, a.req.Resource); err != nil {
			return err
		}
		cascades = entity == a.req.EntityID && h.levels.cascades(&h.meta)
		entity = h.meta.ParentID
	}
	return nil
}

// merge is the error that counts: that a resource is closed, else what is no rejection, else a rejection
// with the statuses of all.
func merge(errs []error) error {
	var rejection *ExceededError
	var other error
	for _, err := range errs {
		if err == nil {
			continue
		}
		if closed, ok := err.(*DisabledError); ok {
			return closed
		}
		refused, ok := errors.AsType[*ExceededError](err)
		switch {
		case !ok && other == nil:
			other = err
		case ok && rejection == nil:
			rejection = refused
		case ok:
			rejection.Statuses = append(rejection.Statuses, refused.Statuses...)
			rejection.Contended = rejection.Contended || refused.Contended
		}
	}
	if other != nil {
		return other
	}
	if rejection != nil {
		return rejection
	}
	return nil
}

// evaluate reads and evaluates what is not settled.
func (s *several) evaluate(ctx context.Context, attempt int) (evaluations []evaluation, errs []error) {
	evaluations, errs = make([]evaluation, len(s.parts)), make([]error, len(s.parts))
	s.each(func(i int, a *acquire) {
		h := &s.hints[i]
		if h.shard < 0 {
			h.shard = a.draw(a.child.owner, a.avoid)
		}
		evaluations[i], errs[i] = a.evaluate(ctx, h, attempt)
	})
	return evaluations, errs
}

// slow writes what is not settled in one transaction.
func (s *several) slow(ctx context.Context) error {
	if !slices.Contains(s.settled, false) {
		return nil
	}
	withoutMoves := false
	var last evaluation
	for attempt := range maxPlans {
		if withoutMoves {
			attempt = maxPlans - 1
		}
		evaluations, errs := s.evaluate(ctx, attempt)
		if err := merge(errs); err != nil {
			for i := range evaluations {
				evaluations[i].keep(ctx)
			}
			return err
		}
		var all evaluation
		for _, e := range evaluations {
			all.plans = append(all.plans, e.plans...)
			all.short, all.again = all.short || e.short, all.again || e.again
		}
		switch {
		case all.short:
			return s.refuse(ctx, evaluations)
		case all.again:
			continue
		}
		if actions(all.plans) > maxActions {
			withoutMoves = true
			continue
		}
		last = all
		done, err := s.parts[0].commit(ctx, all.plans)
		if err != nil {
			return judged(err, &all)
		}
		if done {
			return nil
		}
	}
	return contended(last.statuses(nil))
}

// actions is how many actions of a transaction the plans take.
func actions(plans []plan) int {
	n := 0
	for i := range plans {
		if !plans[i].idle {
			n++
		}
		if kind := plans[i].write.Kind; kind == WriteCreate || kind == WriteRebuild {
			n++ // the check of the owner
		}
		n += len(plans[i].moves)
	}
	return n
}

// giveBack refunds every debit that landed.
func (s *several) giveBack(ctx context.Context) {
	var wg sync.WaitGroup
	for _, a := range s.parts {
		wg.Go(func() { a.giveBack(ctx) })
	}
	wg.Wait()
}

// Resources names the resources of the lease, the primary one first, then sorted.
func (l *Lease) Resources() []string {
	names := []string{l.acquire.req.Resource}
	for _, other := range l.also {
		names = append(names, other.acquire.req.Resource)
	}
	return names
}

// ResourceLease is one resource of a lease. It ends with the lease.
type ResourceLease struct{ lease *Lease }

// Resource returns the part of the lease that is about one of its resources, nil for another.
func (l *Lease) Resource(name string) *ResourceLease {
	if name == l.acquire.req.Resource {
		return &ResourceLease{l}
	}
	for _, other := range l.also {
		if other.acquire.req.Resource == name {
			return &ResourceLease{other}
		}
	}
	return nil
}

// Consume, Adjust and Release are those of Lease, for this resource.
func (r *ResourceLease) Consume(amounts Amounts) error { return r.lease.Consume(amounts) }

// Adjust corrects the consumption, see Lease.Adjust.
func (r *ResourceLease) Adjust(amounts Amounts) error { return r.lease.Adjust(amounts) }

// Release gives back, see Lease.Release.
func (r *ResourceLease) Release(amounts Amounts) error { return r.lease.Release(amounts) }

// Consumed sums what the lease has taken of this resource, see Lease.Consumed.
func (r *ResourceLease) Consumed() Amounts { return r.lease.Consumed() }

// Bypassed says that an operator waived the limits of this resource.
func (r *ResourceLease) Bypassed() bool { return r.lease.Bypassed() }

// Overdrawn names the soft limits of this resource that are in debt, sorted.
func (r *ResourceLease) Overdrawn() []string { return r.lease.Overdrawn() }
