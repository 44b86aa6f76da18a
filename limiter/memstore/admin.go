package memstore

import (
	"context"
	"fmt"
	"maps"
	"slices"
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
func (s *Store) Entity(ctx context.Context, id string) (limiter.Meta, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	m := s.metas[id]
	m.Metadata = maps.Clone(m.Metadata)
	return m, ctx.Err()
}

// DeleteEntity implements limiter.AdminStore.
func (s *Store) DeleteEntity(ctx context.Context, id string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.stripes {
		stripe := &s.stripes[i]
		stripe.mu.Lock()
		maps.DeleteFunc(stripe.items, func(k limiter.BucketKey, _ *limiter.Bucket) bool { return k.EntityID == id })
		stripe.mu.Unlock()
	}
	maps.DeleteFunc(s.configs, func(k limiter.ConfigKey, _ limiter.Config) bool { return k.EntityID == id })
	delete(s.metas, id)
	return ctx.Err()
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
	slices.SortFunc(children, func(a, b limiter.Meta) int { return strings.Compare(a.EntityID, b.EntityID) })
	return children, ctx.Err()
}

// Config implements limiter.AdminStore.
func (s *Store) Config(ctx context.Context, key limiter.ConfigKey) (limiter.Config, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	config := s.configs[key]
	config.Limits = slices.Clone(config.Limits)
	return config, ctx.Err()
}

// PutConfig implements limiter.AdminStore.
func (s *Store) PutConfig(ctx context.Context, key limiter.ConfigKey, limits []limiter.Limit, mode limiter.OnUnavailable) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	config := s.configs[key]
	config.Exists = true
	config.Limits = slices.SortedFunc(slices.Values(limits), func(a, b limiter.Limit) int { return strings.Compare(a.Name, b.Name) })
	if mode != "" {
		config.OnUnavailable = mode
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

// BucketKeys implements limiter.AdminStore.
func (s *Store) BucketKeys(ctx context.Context, entityID, resource string) ([]limiter.BucketKey, error) {
	var keys []limiter.BucketKey
	for i := range s.stripes {
		stripe := &s.stripes[i]
		stripe.mu.Lock()
		for key := range stripe.items {
			if key.EntityID == entityID && (resource == "" || key.Resource == resource) {
				keys = append(keys, key)
			}
		}
		stripe.mu.Unlock()
	}
	slices.SortFunc(keys, func(a, b limiter.BucketKey) int {
		if c := strings.Compare(a.Resource, b.Resource); c != 0 {
			return c
		}
		return a.Shard - b.Shard
	})
	return keys, ctx.Err()
}

// Buckets implements limiter.AdminStore.
func (s *Store) Buckets(ctx context.Context, entityID, resource string) ([]limiter.Bucket, error) {
	keys, err := s.BucketKeys(ctx, entityID, resource)
	var buckets []limiter.Bucket
	for _, key := range keys {
		if b, ok := s.Bucket(key); ok {
			buckets = append(buckets, b)
		}
	}
	return buckets, err
}

// SyncParameters implements limiter.AdminStore.
func (s *Store) SyncParameters(ctx context.Context, in limiter.SyncInput) error {
	stripe := s.stripe(&in.Key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[in.Key]
	if item == nil {
		return ctx.Err()
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

// Ping implements limiter.AdminStore.
func (s *Store) Ping(ctx context.Context) error { return ctx.Err() }
