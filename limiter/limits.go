package limiter

import (
	"context"
	"errors"
	"fmt"
)

// SetLimits stores the limits of an entity on a resource ("" = on all resources that have none of their
// own) and pushes them into the buckets that exist, whose balances stay. *SyncIncompleteError means
// that they are stored, but not pushed everywhere.
func (l *Limiter) SetLimits(ctx context.Context, entityID, resource string, limits []Limit) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	if err := l.putConfig(ctx, key, limits, ""); err != nil {
		return err
	}
	return l.sync(ctx, key, nil)
}

// Limits returns what SetLimits stored, empty when nothing.
func (l *Limiter) Limits(ctx context.Context, entityID, resource string) ([]Limit, error) {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return nil, err
	}
	config, err := l.config(ctx, key)
	return config.Limits, err
}

// DeleteLimits removes what SetLimits stored; buckets that exist get the limits that hold now, if
// there are any. Deleting what is not there is no error.
func (l *Limiter) DeleteLimits(ctx context.Context, entityID, resource string) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	old, err := l.deleteConfig(ctx, key)
	if err != nil {
		return err
	}
	// Also without a config: the buckets may be left from a call that was interrupted.
	return l.sync(ctx, key, old.Limits)
}

// SetResourceDefaults stores the limits of a resource for entities without their own. Buckets that
// exist keep the parameters they have.
func (l *Limiter) SetResourceDefaults(ctx context.Context, resource string, limits []Limit) error {
	if err := validateResource(resource); err != nil {
		return err
	}
	return l.putConfig(ctx, ConfigKey{Resource: resource}, limits, "")
}

// ResourceDefaults returns the limits of a resource, empty when it has none.
func (l *Limiter) ResourceDefaults(ctx context.Context, resource string) ([]Limit, error) {
	if err := validateResource(resource); err != nil {
		return nil, err
	}
	config, err := l.config(ctx, ConfigKey{Resource: resource})
	return config.Limits, err
}

// DeleteResourceDefaults removes the limits of a resource.
func (l *Limiter) DeleteResourceDefaults(ctx context.Context, resource string) error {
	if err := validateResource(resource); err != nil {
		return err
	}
	_, err := l.deleteConfig(ctx, ConfigKey{Resource: resource})
	return err
}

// SetSystemDefaults stores the limits for everything that has none of its own, and what acquires do
// when the store is unavailable ("" keeps what is stored).
func (l *Limiter) SetSystemDefaults(ctx context.Context, limits []Limit, mode OnUnavailable) error {
	if err := validateMode("on_unavailable", mode); err != nil {
		return err
	}
	return l.putConfig(ctx, ConfigKey{}, limits, mode)
}

// SystemDefaults returns what SetSystemDefaults stored; "" when no mode was set.
func (l *Limiter) SystemDefaults(ctx context.Context) ([]Limit, OnUnavailable, error) {
	config, err := l.config(ctx, ConfigKey{})
	return config.Limits, config.OnUnavailable, err
}

// DeleteSystemDefaults removes the system defaults.
func (l *Limiter) DeleteSystemDefaults(ctx context.Context) error {
	_, err := l.deleteConfig(ctx, ConfigKey{})
	return err
}

// ResourcesWithDefaults lists the resources that have limits of their own, sorted.
func (l *Limiter) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	if l.admin == nil {
		return nil, ErrNoAdmin
	}
	return l.admin.ResourcesWithDefaults(ctx)
}

// ResourcesWithEntityLimits lists the resources for which an entity has limits of its own, sorted;
// "_default_" stands for limits on all resources.
func (l *Limiter) ResourcesWithEntityLimits(ctx context.Context) ([]string, error) {
	if l.admin == nil {
		return nil, ErrNoAdmin
	}
	return l.admin.EntityConfigResources(ctx)
}

func entityKey(entityID, resource string) (ConfigKey, error) {
	if err := validateEntityID("entity_id", entityID); err != nil {
		return ConfigKey{}, err
	}
	if resource == "" || resource == DefaultResource {
		return ConfigKey{entityID, DefaultResource}, nil
	}
	return ConfigKey{entityID, resource}, validateResource(resource)
}

func (k ConfigKey) String() string {
	switch {
	case k.EntityID != "":
		return k.EntityID + "/" + k.Resource
	case k.Resource != "":
		return "resource " + k.Resource
	}
	return "system"
}

func (l *Limiter) putConfig(ctx context.Context, key ConfigKey, limits []Limit, mode OnUnavailable) error {
	if err := validateLimits(limits); err != nil {
		return err
	}
	if l.admin == nil {
		return ErrNoAdmin
	}
	if err := l.admin.PutConfig(ctx, key, limits, mode); err != nil {
		return fmt.Errorf("set limits of %s: %w", key, err)
	}
	l.forgetConfig(key)
	return nil
}

// forgetConfig lets this process see its own write at once. Peers see it when their caches expire.
func (l *Limiter) forgetConfig(key ConfigKey) {
	l.configs.evict(key)
	if key == (ConfigKey{}) {
		l.configs.systemLevel.Store(nil)
	}
	l.owners.forgetImages()
}

func (l *Limiter) config(ctx context.Context, key ConfigKey) (Config, error) {
	if l.admin == nil {
		return Config{}, ErrNoAdmin
	}
	config, err := l.admin.Config(ctx, key)
	if err != nil {
		return config, fmt.Errorf("limits of %s: %w", key, err)
	}
	if config.Features != 0 {
		return config, &UnsupportedFeatureError{Feature: config.Features.String(), Where: "config of " + key.String()}
	}
	return config, nil
}

func (l *Limiter) deleteConfig(ctx context.Context, key ConfigKey) (Config, error) {
	if l.admin == nil {
		return Config{}, ErrNoAdmin
	}
	old, err := l.admin.DeleteConfig(ctx, key)
	if err != nil {
		return old, fmt.Errorf("delete limits of %s: %w", key, err)
	}
	l.forgetConfig(key)
	return old, nil
}

// sync pushes the limits that hold now into the buckets that a change of key concerns. The buckets are
// discovered twice, because their listing lags behind their creation.
func (l *Limiter) sync(ctx context.Context, key ConfigKey, old []Limit) error {
	resource := key.Resource
	if resource == DefaultResource {
		resource = ""
	}
	incomplete := &SyncIncompleteError{EntityID: key.EntityID, Resource: key.Resource}
	done := map[BucketKey]bool{}
	held := map[string]*resolved{} // by resource; nil: nothing holds
	for range 2 {
		incomplete.Err = nil
		keys, err := l.admin.BucketKeys(ctx, key.EntityID, resource)
		if err != nil {
			incomplete.Err = err
			return incomplete
		}
		for _, k := range keys {
			if done[k] {
				continue
			}
			if err := l.syncBucket(ctx, k, held, old); err != nil {
				incomplete.Err = errors.Join(incomplete.Err, err)
				continue
			}
			done[k] = true
			incomplete.Synced++
		}
	}
	if incomplete.Err != nil {
		return incomplete
	}
	return nil
}

func (l *Limiter) syncBucket(ctx context.Context, key BucketKey, held map[string]*resolved, old []Limit) error {
	r, known := held[key.Resource]
	if !known {
		now, err := l.resolve(ctx, key.EntityID, key.Resource, true)
		if _, none := errors.AsType[*ValidationError](err); none {
			r = nil
		} else if err != nil {
			return err
		} else {
			r = &now
		}
		held[key.Resource] = r
	}
	if r == nil {
		return nil // nothing holds any more: the bucket is left alone
	}
	in := SyncInput{Key: key, Limits: r.limits}
	in.TTL, in.TTLValue = l.ttl(*r, l.nowMillis())
	for _, limit := range old {
		if findLimit(r.limits, limit.Name) == nil {
			in.Stale = append(in.Stale, limit.Name)
		}
	}
	return l.admin.SyncParameters(ctx, in)
}
