package memstore

import (
	"context"
	"slices"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Write implements limiter.Store: all conditions are checked under the locks of all items, then all
// writes are applied.
func (s *Store) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	locked := s.lock(in)
	defer s.unlock(locked)
	out.Outcome, out.Results = limiter.Done, out.Results[:0]
	if s.refused(in) {
		out.Outcome = limiter.Refused
		for i := range in {
			out.Results = append(out.Results, s.result(&in[i]))
		}
		return nil
	}
	for i := range in {
		s.apply(&in[i])
	}
	return nil
}

// lock takes the stripes of all keys in ascending order, each once.
func (s *Store) lock(in []limiter.Write) []int {
	var locked []int
	for i := range in {
		locked = append(locked, s.stripeIndex(&in[i].Key))
	}
	slices.Sort(locked)
	locked = slices.Compact(locked)
	for _, i := range locked {
		s.stripes[i].mu.Lock()
	}
	return locked
}

func (s *Store) unlock(locked []int) {
	for _, i := range locked {
		s.stripes[i].mu.Unlock()
	}
}

// refused says whether a condition of one of the writes fails.
func (s *Store) refused(in []limiter.Write) bool {
	for i := range in {
		if !s.allows(&in[i]) || !s.owned(&in[i]) {
			return true
		}
	}
	return false
}

// allows is the condition of a write on its item.
func (s *Store) allows(w *limiter.Write) bool {
	item := s.stripe(&w.Key).items[w.Key]
	if w.Kind == limiter.WriteCreate || item == nil {
		return w.Kind == limiter.WriteCreate && item == nil
	}
	switch w.Kind {
	case limiter.WriteRebuild:
		return !item.HasRF
	case limiter.WriteRetry:
		return charges(item, w)
	case limiter.WriteBypass:
		return item.HasBypass
	case limiter.WriteMove:
		return moves(item, w)
	case limiter.WriteOperation:
		return operates(item, w)
	}
	return refills(item, w)
}

func (s *Store) result(w *limiter.Write) limiter.WriteResult {
	result := limiter.WriteResult{Failed: !s.allows(w), OwnerFailed: !s.owned(w)}
	if item := s.stripe(&w.Key).items[w.Key]; result.Failed && item != nil {
		copyImage(&result.Image, item)
	}
	return result
}

// owned is the check of the owner that goes with a create.
func (s *Store) owned(w *limiter.Write) bool {
	if w.Kind != limiter.WriteCreate && w.Kind != limiter.WriteRebuild {
		return true
	}
	meta := s.metas[w.Key.EntityID]
	if !w.Owner.Found || !meta.Found {
		return w.Owner.Found == meta.Found
	}
	return meta.Generation == w.Owner.Generation && meta.Incarnation() == w.Owner.Incarnation()
}

func charges(item *limiter.Bucket, w *limiter.Write) bool {
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Consumed <= 0 {
			continue
		}
		limit := item.Limit(l.Name)
		free := l.Free && limit != nil && limit.Has&limiter.FieldTokens != 0 && limit.Has&limiter.FieldCapacity != 0
		if !free && (l.Free || !holds(limit, l.Consumed)) {
			return false
		}
		if l.Edge > 0 && (!item.HasRF || item.RF < l.Edge) {
			return false
		}
		if l.Set&limiter.FieldWindowApplied != 0 && (limit.Has&limiter.FieldWindowApplied == 0 || limit.Rare().WindowApplied != l.Extra.WindowApplied) {
			return false
		}
	}
	return true
}

func moves(item *limiter.Bucket, w *limiter.Write) bool {
	for i := range w.Limits {
		l := &w.Limits[i]
		limit := item.Limit(l.Name)
		if !holds(limit, -l.Change) || l.Edge > 0 && (!item.HasRF || item.RF < l.Edge) {
			return false
		}
		is := func(field limiter.Fields, now, read int64) bool { return limit.Has&field == l.Has&field && now == read }
		e := limit.Rare()
		if !is(limiter.FieldGrants, e.Grants, l.Extra.Grants) || l.Has&limiter.FieldGrants == 0 && item.Shards() != max(1, w.ShardCount) {
			return false
		}
		if l.Has&limiter.FieldWindow != 0 && !is(limiter.FieldWindowApplied, e.WindowApplied, l.Extra.WindowApplied) {
			return false
		}
	}
	return true
}

func refills(item *limiter.Bucket, w *limiter.Write) bool {
	if !item.HasRF || item.RF != w.ReadRF || item.HasVU != w.ReadHasVU || item.HasVU && item.VU != w.ReadVU ||
		item.HasBypass != w.ReadHasBypass || item.Bypass != w.ReadBypass {
		return false
	}
	switch {
	case w.Kind == limiter.WriteClaim:
		if item.PInc != w.ReadPInc {
			return false
		}
	case w.Owner.Found && item.PInc != "":
		if item.PInc != w.Owner.Incarnation() || item.HasPGen && item.PGen > w.Owner.Generation {
			return false
		}
	}
	for i := range w.Limits {
		l := &w.Limits[i]
		limit := item.Limit(l.Name)
		switch {
		case l.Seed:
			if limit != nil && limit.Complete() {
				return false
			}
		case l.Debit() > l.Change && !l.Free && !holds(limit, l.Debit()-l.Change):
			return false
		case l.Change > 0 && (limit == nil || limit.Tokens > l.ReadTokens):
			return false
		}
		if !l.Seed && (l.Set|l.Remove)&limiter.FieldSoft != 0 && (limit == nil || softStamp(limit) != l.ReadSoft) {
			return false
		}
		if l.Set&limiter.FieldGrants != 0 && item.ShardCount > max(1, w.ShardCount) {
			return false
		}
	}
	return true
}

func (s *Store) apply(w *limiter.Write) {
	items := s.stripe(&w.Key).items
	switch w.Kind {
	case limiter.WriteCreate:
		item := &limiter.Bucket{}
		items[w.Key] = item
		fill(item, w)
	case limiter.WriteRebuild:
		fill(items[w.Key], w)
	case limiter.WriteRetry:
		item := items[w.Key]
		for i := range w.Limits {
			if l := &w.Limits[i]; l.Consumed > 0 {
				add(item, l.Name, -l.Consumed, l.Consumed)
			}
		}
	case limiter.WriteBypass:
		item := items[w.Key]
		item.Bypass = w.BypassUntil
		for i := range w.Limits {
			if l := &w.Limits[i]; l.Consumed != 0 {
				count(item, l.Name, l.Consumed)
			}
		}
	case limiter.WriteMove:
		item := items[w.Key]
		for i := range w.Limits {
			item.Limit(w.Limits[i].Name).Tokens += w.Limits[i].Change
		}
	case limiter.WriteOperation:
		operate(items[w.Key], w)
	default:
		refill(items[w.Key], w)
	}
}

func fill(item *limiter.Bucket, w *limiter.Write) {
	item.Exists, item.Shard, item.Resource = true, w.Key.Shard, w.Key.Resource
	item.HasRF, item.RF = true, w.RF
	item.ShardCount = w.ShardCount
	item.Cascade, item.ParentID = w.Cascade, w.ParentID
	setTTL(item, w)
	if w.Owner.Found {
		item.HasPGen, item.PGen, item.PInc = true, w.Owner.Generation, w.Owner.Incarnation()
	}
	item.HasVU, item.VU = w.HasVU, w.VU
	stampBypass(item, w.Bypass, w.BypassUntil)
	for i := range w.Limits {
		l := &w.Limits[i]
		seed(item, l)
		if item.Schedule == "" && l.Schedule != "" {
			item.Schedule, item.Zone = l.Schedule, w.Zone
		}
		if item.ResetSchedule == "" && l.ResetSchedule != "" {
			item.ResetSchedule, item.Zone = l.ResetSchedule, w.Zone
		}
	}
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Name == limiter.WCU {
			continue
		}
		if item.Schedule != l.Schedule {
			own(item.Limit(l.Name), limiter.FieldSchedule, l.Schedule)
		}
		if item.ResetSchedule != l.ResetSchedule {
			own(item.Limit(l.Name), limiter.FieldResetSchedule, l.ResetSchedule)
		}
	}
}

// own gives a limit its own schedule, which may be none.
func own(limit *limiter.LimitState, field limiter.Fields, schedule string) {
	if schedule == "" {
		schedule = limiter.NoSchedule
	}
	limit.Has |= field
	if field == limiter.FieldSchedule {
		limit.Edit().Schedule = schedule
	} else {
		limit.Edit().ResetSchedule = schedule
	}
}

func seed(item *limiter.Bucket, l *limiter.LimitWrite) {
	*named(item, l.Name) = limiter.LimitState{Name: l.Name, Tokens: l.Tokens, Capacity: l.Capacity, Refill: l.Refill, Period: l.Period,
		Counter: l.Consumed, Has: limiter.FieldsPlain}
	if l.Set != 0 {
		item.Limit(l.Name).Apply(l)
	}
}

func refill(item *limiter.Bucket, w *limiter.Write) {
	item.RF, item.HasVU, item.VU = w.RF, w.HasVU, w.VU
	stampBypass(item, w.Bypass, w.BypassUntil)
	setTTL(item, w)
	if w.Owner.Found {
		item.Cascade, item.ParentID = w.Cascade, w.ParentID
		item.HasPGen, item.PGen, item.PInc = true, w.Owner.Generation, w.Owner.Incarnation()
	}
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Seed {
			seed(item, l)
			own(item.Limit(l.Name), limiter.FieldSchedule, l.Schedule)
			own(item.Limit(l.Name), limiter.FieldResetSchedule, l.ResetSchedule)
			if l.Schedule != "" || l.ResetSchedule != "" {
				item.Zone = w.Zone
			}
			continue
		}
		add(item, l.Name, l.Change-l.Debit(), l.Consumed)
		if l.Set|l.Remove != 0 {
			item.Limit(l.Name).Apply(l)
		}
	}
}

func setTTL(item *limiter.Bucket, w *limiter.Write) {
	switch w.TTL {
	case limiter.TTLSet:
		item.HasTTL, item.TTL = true, w.TTLValue
	case limiter.TTLRemove:
		item.HasTTL, item.TTL = false, 0
	}
}
