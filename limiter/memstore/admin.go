package memstore

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// PutEntity implements limiter.AdminStore.
func (s *Store) PutEntity(ctx context.Context, m limiter.Meta) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.metas[m.EntityID].Found {
		return fmt.Errorf("%w: %s", limiter.ErrEntityExists, m.EntityID)
	}
	m.Found = true
	m.Metadata = maps.Clone(m.Metadata)
	s.metas[m.EntityID] = m
	return ctx.Err()
}

// Entity implements limiter.AdminStore.
func (s *Store) Entity(ctx context.Context, id string, _ bool) (limiter.Meta, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.metas[id]
	m.Metadata = maps.Clone(m.Metadata)
	return m, ctx.Err()
}

// SetParent implements limiter.AdminStore.
func (s *Store) SetParent(ctx context.Context, id, parentID string) (limiter.Meta, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.metas[id]
	if !before.Found {
		return limiter.Meta{}, fmt.Errorf("%w: %s", limiter.ErrEntityNotFound, id)
	}
	after := before
	after.ParentID = parentID
	after.Generation++
	s.metas[id] = after
	return before, ctx.Err()
}

// DeleteEntity implements limiter.AdminStore.
func (s *Store) DeleteEntity(ctx context.Context, id string) (deleted int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.stripes {
		stripe := &s.stripes[i]
		stripe.mu.Lock()
		deleted += len(stripe.items)
		maps.DeleteFunc(stripe.items, func(k limiter.BucketKey, _ *limiter.Bucket) bool { return k.EntityID == id })
		deleted -= len(stripe.items)
		stripe.mu.Unlock()
	}
	deleted += len(s.configs)
	maps.DeleteFunc(s.configs, func(k limiter.ConfigKey, _ limiter.Config) bool { return k.EntityID == id })
	deleted -= len(s.configs)
	deleted += len(s.operations)
	maps.DeleteFunc(s.operations, func(k operationKey, _ limiter.OperationRecord) bool { return k.entityID == id })
	deleted -= len(s.operations)
	if s.metas[id].Found {
		deleted++
	}
	delete(s.metas, id)
	return deleted, ctx.Err()
}

// Children implements limiter.AdminStore.
func (s *Store) Children(ctx context.Context, id string) ([]limiter.Meta, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var children []limiter.Meta
	for _, m := range s.metas {
		if m.ParentID == id {
			m.Metadata = maps.Clone(m.Metadata)
			children = append(children, m)
		}
	}
	sort.Slice(children, func(i, j int) bool { return children[i].EntityID < children[j].EntityID })
	return children, ctx.Err()
}

// Config implements limiter.AdminStore.
func (s *Store) Config(ctx context.Context, key limiter.ConfigKey, _ bool) (limiter.Config, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	config := s.configs[key]
	config.Limits = slices.Clone(config.Limits)
	return config, ctx.Err()
}

// PutConfig implements limiter.AdminStore.
func (s *Store) PutConfig(ctx context.Context, key limiter.ConfigKey, change limiter.ConfigChange) (limiter.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before := s.configs[key]
	config := before
	config.Exists = true
	config.Limits = slices.SortedFunc(slices.Values(change.Limits), func(a, b limiter.Limit) int { return strings.Compare(a.Name, b.Name) })
	if change.Disabled != limiter.Unset {
		config.Disabled = change.Disabled
	}
	if change.Cascade != limiter.Unset {
		config.Cascade = change.Cascade
	}
	if change.OnUnavailable != "" {
		config.OnUnavailable = change.OnUnavailable
	}
	s.configs[key] = config
	return before, ctx.Err()
}

// SetFlag implements limiter.AdminStore.
func (s *Store) SetFlag(ctx context.Context, key limiter.ConfigKey, name limiter.FlagName, value limiter.Flag) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.configs[key]
	if !config.Exists && value == limiter.Unset {
		return ctx.Err()
	}
	config.Exists = true
	if name == limiter.FlagCascade {
		config.Cascade = value
	} else {
		config.Disabled = value
	}
	s.configs[key] = config
	return ctx.Err()
}

// DeleteConfig implements limiter.AdminStore.
func (s *Store) DeleteConfig(ctx context.Context, key limiter.ConfigKey) (limiter.Config, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	old := s.configs[key]
	delete(s.configs, key)
	return old, ctx.Err()
}

// ResourcesWithDefaults implements limiter.AdminStore.
func (s *Store) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	return s.resources(func(k limiter.ConfigKey) bool { return k.EntityID == "" && k.Resource != "" }), ctx.Err()
}

// EntityConfigResources implements limiter.AdminStore.
func (s *Store) EntityConfigResources(ctx context.Context) ([]string, error) {
	return s.resources(func(k limiter.ConfigKey) bool { return k.EntityID != "" }), ctx.Err()
}

func (s *Store) resources(include func(limiter.ConfigKey) bool) []string {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var names []string
	for key := range s.configs {
		if include(key) {
			names = append(names, key.Resource)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// EntitiesWithConfig implements limiter.AdminStore. A cursor is the last entity of the page before.
func (s *Store) EntitiesWithConfig(ctx context.Context, resource string, limit int, cursor string) (ids []string, next string, err error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for key := range s.configs {
		if key.EntityID > cursor && key.Resource == resource {
			ids = append(ids, key.EntityID)
		}
	}
	slices.Sort(ids)
	if limit > 0 && len(ids) > limit {
		ids = ids[:limit]
		next = ids[limit-1]
	}
	return ids, next, ctx.Err()
}

// BucketKeys implements limiter.AdminStore.
func (s *Store) BucketKeys(ctx context.Context, entityID, resource string) ([]limiter.BucketKey, error) {
	var keys []limiter.BucketKey
	for i := range s.stripes {
		stripe := &s.stripes[i]
		stripe.mu.Lock()
		for key := range stripe.items {
			if (entityID == "" || key.EntityID == entityID) && (resource == "" || key.Resource == resource) {
				keys = append(keys, key)
			}
		}
		stripe.mu.Unlock()
	}
	slices.SortFunc(keys, func(a, b limiter.BucketKey) int {
		return cmp.Or(strings.Compare(a.EntityID, b.EntityID), strings.Compare(a.Resource, b.Resource), a.Shard-b.Shard)
	})
	return keys, ctx.Err()
}

// Buckets implements limiter.AdminStore.
func (s *Store) Buckets(ctx context.Context, entityID, resource string) ([]limiter.Bucket, error) {
	owned, err := s.bucketsOf(ctx, entityID, resource)
	var buckets []limiter.Bucket
	for _, b := range owned {
		buckets = append(buckets, b.Bucket)
	}
	return buckets, err
}

// ResourceBuckets implements limiter.AdminStore.
func (s *Store) ResourceBuckets(ctx context.Context, resource string) ([]limiter.OwnedBucket, error) {
	return s.bucketsOf(ctx, "", resource)
}

func (s *Store) bucketsOf(ctx context.Context, entityID, resource string) ([]limiter.OwnedBucket, error) {
	keys, err := s.BucketKeys(ctx, entityID, resource)
	var buckets []limiter.OwnedBucket
	for _, key := range keys {
		if b, ok := s.Bucket(key); ok {
			buckets = append(buckets, limiter.OwnedBucket{EntityID: key.EntityID, Bucket: b})
		}
	}
	return buckets, err
}

// SyncParameters implements limiter.AdminStore.
func (s *Store) SyncParameters(ctx context.Context, in limiter.SyncInput) (bool, error) {
	stripe := s.stripe(&in.Key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[in.Key]
	if item == nil {
		return false, ctx.Err()
	}
	item.Schedule, item.ResetSchedule, item.Zone = "", "", ""
	for _, l := range in.Limits {
		if item.Schedule == "" {
			item.Schedule = l.Schedule
		}
		if item.ResetSchedule == "" {
			item.ResetSchedule = l.ResetSchedule
		}
		if l.Schedule != "" || l.ResetSchedule != "" {
			item.Zone = l.Zone
		}
	}
	for i := range in.Limits {
		syncLimit(item, &in.Limits[i], in.SoftUntil)
	}
	item.Limits = slices.DeleteFunc(item.Limits, func(l limiter.LimitState) bool { return slices.Contains(in.Stale, l.Name) })
	item.HasVU, item.VU = true, 0
	setTTL(item, &limiter.Write{TTL: in.TTL, TTLValue: in.TTLValue})
	return true, ctx.Err()
}

// Stamp implements limiter.AdminStore.
func (s *Store) Stamp(ctx context.Context, in limiter.StampInput) (bool, error) {
	stripe := s.stripe(&in.Key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[in.Key]
	if item == nil {
		return false, ctx.Err()
	}
	if o := in.Owner; o != nil {
		if item.PInc == o.Incarnation() && item.HasPGen && item.PGen > o.Generation {
			return false, ctx.Err()
		}
		item.Cascade, item.ParentID = in.Cascade, in.ParentID
		item.HasPGen, item.PGen, item.PInc = true, o.Generation, o.Incarnation()
	}
	if in.Access != limiter.Unset {
		item.Disabled = in.Access == limiter.On
		stampBypass(item, limiter.StampRemove, 0)
		if in.Access == limiter.Bypassed {
			stampBypass(item, limiter.StampSet, in.Until)
		}
	}
	for name, soft := range in.Soft {
		w := limiter.LimitWrite{Remove: limiter.FieldSoft}
		if soft {
			w = limiter.LimitWrite{Set: limiter.FieldSoft, Extra: limiter.Extra{Soft: in.Until}}
		}
		if limit := item.Limit(name); limit != nil {
			limit.Apply(&w)
		}
	}
	return true, ctx.Err()
}

// RequireReaders implements limiter.AdminStore: nobody else reads the store.
func (s *Store) RequireReaders(ctx context.Context, _ string, _ bool) error { return ctx.Err() }

// PutAudit implements limiter.AdminStore.
func (s *Store) PutAudit(ctx context.Context, e limiter.AuditEvent) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.audit = append(s.audit, e)
	return ctx.Err()
}

// syncLimit gives a limit the parameters of its config; balance and marks stay.
func syncLimit(item *limiter.Bucket, l *limiter.Limit, softUntil int64) {
	limit := named(item, l.Name)
	limit.Capacity, limit.Refill, limit.Period = l.Capacity*1000, l.RefillAmount*1000, l.RefillPeriod.Milliseconds()
	limit.Has |= limiter.FieldCapacity | limiter.FieldRefill | limiter.FieldPeriod
	w := limiter.LimitWrite{Remove: limiter.FieldWindow | limiter.FieldSoft}
	if l.ResetAfter > 0 {
		w.Set |= limiter.FieldWindow
		w.Extra.Window = int64(l.ResetAfter / time.Second)
	}
	if l.Soft {
		w.Set |= limiter.FieldSoft
		w.Extra.Soft = softUntil
	}
	w.Remove &^= w.Set
	extra := w.Set != 0 || limit.Extra != nil
	if extra {
		limit.Apply(&w)
	}
	limit.Has &^= limiter.FieldSchedule | limiter.FieldResetSchedule
	if item.Schedule != l.Schedule {
		own(limit, limiter.FieldSchedule, l.Schedule)
	}
	if item.ResetSchedule != l.ResetSchedule {
		own(limit, limiter.FieldResetSchedule, l.ResetSchedule)
	}
}

// AuditEvents implements limiter.AdminStore.
func (s *Store) AuditEvents(ctx context.Context, subject string, limit int, after string) ([]limiter.AuditEvent, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var events []limiter.AuditEvent
	for _, e := range s.audit {
		if e.Subject == subject && (after == "" || e.ID < after) {
			e.TTL = 0
			events = append(events, e)
		}
	}
	sort.Slice(events, func(i, j int) bool { return events[j].ID < events[i].ID })
	return events[:min(limit, len(events))], ctx.Err()
}

// UsageSnapshots implements limiter.AdminStore: nothing makes snapshots of the store.
func (s *Store) UsageSnapshots(ctx context.Context, _ limiter.UsageQuery) ([]limiter.UsageSnapshot, string, error) {
	return nil, "", ctx.Err()
}

// Ping implements limiter.AdminStore.
func (s *Store) Ping(ctx context.Context) error { return ctx.Err() }

// OperationRecord implements limiter.AdminStore.
func (s *Store) OperationRecord(ctx context.Context, entityID, resource, id string) (limiter.OperationRecord, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.operations[operationKey{entityID, resource, id}], ctx.Err()
}

type operationKey struct{ entityID, resource, id string }

// WriteOperation implements limiter.AdminStore.
func (s *Store) WriteOperation(ctx context.Context, in []limiter.Write, record limiter.OperationRecord, audit *limiter.AuditEvent, _ string) (limiter.Outcome, error) {
	if err := ctx.Err(); err != nil {
		return limiter.Refused, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	locked := s.lock(in)
	defer s.unlock(locked)
	key := operationKey{record.EntityID, record.Resource, record.ID}
	if old := s.operations[key]; old.Found && (record.Incarnation == "-" || old.Incarnation == "-" || old.Incarnation == record.Incarnation) {
		return limiter.Refused, nil
	}
	if s.refused(in) {
		return limiter.Refused, nil
	}
	for i := range in {
		s.apply(&in[i])
	}
	record.Found = true
	s.operations[key] = record
	if audit != nil {
		s.audit = append(s.audit, *audit)
	}
	return limiter.Done, nil
}

// operates is the condition of WriteOperation.
func operates(item *limiter.Bucket, w *limiter.Write) bool {
	return item.HasRF && item.RF == w.ReadRF && item.ShardCount == w.ShardCount
}

// operate applies a WriteOperation.
func operate(item *limiter.Bucket, w *limiter.Write) {
	item.RF, item.HasVU, item.VU = w.RF, true, 0
	setTTL(item, w)
	for i := range w.Limits {
		l := w.Limits[i]
		limit := item.Limit(l.Name)
		limit.Tokens += l.Change
		if l.Set&limiter.FieldResets != 0 {
			l.Extra.Resets = limit.Rare().Resets + 1
		}
		if l.Set|l.Remove != 0 {
			limit.Apply(&l)
		}
	}
}

// Managed implements limiter.AdminStore.
func (s *Store) Managed(ctx context.Context) (limiter.Managed, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.managed, ctx.Err()
}

// PutManaged implements limiter.AdminStore.
func (s *Store) PutManaged(ctx context.Context, m limiter.Managed) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.managed = m
	return ctx.Err()
}
