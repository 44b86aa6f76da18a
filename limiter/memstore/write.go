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
	for _, i := range s.lock(in) {
		defer s.stripes[i].mu.Unlock()
	}
	out.Outcome, out.Results = limiter.Done, out.Results[:0]
	for i := range in {
		result := s.check(&in[i])
		if result.Failed || result.OwnerFailed {
			out.Outcome = limiter.Refused
		}
		out.Results = append(out.Results, result)
	}
	if out.Outcome == limiter.Done {
		for i := range in {
			s.apply(&in[i])
		}
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

func (s *Store) check(w *limiter.Write) limiter.WriteResult {
	item := s.stripe(&w.Key).items[w.Key]
	var result limiter.WriteResult
	switch w.Kind {
	case limiter.WriteCreate:
		result.Failed = item != nil
	case limiter.WriteRebuild:
		result.Failed = item == nil || item.HasRF
	case limiter.WriteRetry:
		result.Failed = item == nil || !charges(item, w)
	default:
		result.Failed = item == nil || !refills(item, w)
	}
	if w.Kind == limiter.WriteCreate || w.Kind == limiter.WriteRebuild {
		result.OwnerFailed = !s.owned(w)
	}
	if result.Failed && item != nil {
		result.Image = *item
		result.Image.Limits = slices.Clone(item.Limits)
	}
	return result
}

func (s *Store) owned(w *limiter.Write) bool {
	meta := s.metas[w.Key.EntityID]
	if !w.Owner.Found || !meta.Found {
		return w.Owner.Found == meta.Found
	}
	return meta.Generation == w.Owner.Generation && meta.Incarnation() == w.Owner.Incarnation()
}

func charges(item *limiter.Bucket, w *limiter.Write) bool {
	if item.Features&limiter.FeatureBypass != 0 {
		return false
	}
	for _, l := range w.Limits {
		limit := item.Limit(l.Name)
		if l.Consumed > 0 && (!holds(limit, l.Consumed) || limit.Features&limiter.FeatureSoft != 0) {
			return false
		}
	}
	return true
}

func refills(item *limiter.Bucket, w *limiter.Write) bool {
	if !item.HasRF || item.RF != w.ReadRF || item.HasVU != w.ReadHasVU || item.HasVU && item.VU != w.ReadVU || item.Features&limiter.FeatureBypass != 0 {
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
	for _, l := range w.Limits {
		limit := item.Limit(l.Name)
		switch {
		case l.Seed:
			if limit != nil && limit.Complete() {
				return false
			}
		case l.Consumed > l.Change && !holds(limit, l.Consumed-l.Change):
			return false
		case l.Change > 0 && (limit == nil || limit.Tokens > l.ReadTokens):
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
		for _, l := range w.Limits {
			if l.Consumed > 0 {
				add(items[w.Key], l.Name, -l.Consumed, l.Consumed)
			}
		}
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
	for _, l := range w.Limits {
		seed(item, l)
	}
}

func seed(item *limiter.Bucket, l limiter.LimitWrite) {
	limit := item.Limit(l.Name)
	if limit == nil {
		item.Limits = append(item.Limits, limiter.LimitState{Name: l.Name})
		sortLimits(item)
		limit = item.Limit(l.Name)
	}
	*limit = limiter.LimitState{Name: l.Name, Tokens: l.Tokens, Capacity: l.Capacity, Refill: l.Refill, Period: l.Period,
		Counter: l.Consumed, Has: limiter.FieldsComplete | limiter.FieldCounter}
}

func refill(item *limiter.Bucket, w *limiter.Write) {
	item.RF, item.HasVU, item.VU = w.RF, false, 0
	setTTL(item, w)
	if w.Owner.Found {
		item.Cascade, item.ParentID = w.Cascade, w.ParentID
		item.HasPGen, item.PGen, item.PInc = true, w.Owner.Generation, w.Owner.Incarnation()
	}
	for _, l := range w.Limits {
		if l.Seed {
			seed(item, l)
			continue
		}
		add(item, l.Name, l.Change-l.Consumed, l.Consumed)
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
