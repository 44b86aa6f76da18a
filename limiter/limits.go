package limiter

import (
	"context"
	"errors"
	"fmt"
)

// SetLimits stores the limits of an entity on a resource ("" = on all resources that have none of their
// own) and pushes them into the buckets that exist, whose balances stay. *SyncIncompleteError means
// that they are stored, but not pushed everywhere.
func (a *Admin) SetLimits(ctx context.Context, entityID, resource string, limits []Limit) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	if err := a.putConfig(ctx, key, limits, ""); err != nil {
		return err
	}
	return a.sync(ctx, key, nil)
}

// Limits returns what SetLimits stored, empty when nothing.
func (a *Admin) Limits(ctx context.Context, entityID, resource string) ([]Limit, error) {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return nil, err
	}
	config, err := a.config(ctx, key)
	return config.Limits, err
}

// DeleteLimits removes what SetLimits stored; buckets that exist get the limits that hold now, if
// there are any. Deleting what is not there is no error.
func (a *Admin) DeleteLimits(ctx context.Context, entityID, resource string) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	old, err := a.deleteConfig(ctx, key)
	if err != nil {
		return err
	}
	// Also without a config: the buckets may be left from a call that was interrupted.
	return a.sync(ctx, key, old.Limits)
}

// SetResourceDefaults stores the limits of a resource for entities without their own. Buckets that
// exist keep the parameters they have.
func (a *Admin) SetResourceDefaults(ctx context.Context, resource string, limits []Limit) error {
	if err := a.check(validateResource(resource)); err != nil {
		return err
	}
	return a.putConfig(ctx, ConfigKey{Resource: resource}, limits, "")
}

// ResourceDefaults returns the limits of a resource, empty when it has none.
func (a *Admin) ResourceDefaults(ctx context.Context, resource string) ([]Limit, error) {
	if err := a.check(validateResource(resource)); err != nil {
		return nil, err
	}
	config, err := a.config(ctx, ConfigKey{Resource: resource})
	return config.Limits, err
}

// DeleteResourceDefaults removes the limits of a resource.
func (a *Admin) DeleteResourceDefaults(ctx context.Context, resource string) error {
	if err := a.check(validateResource(resource)); err != nil {
		return err
	}
	_, err := a.deleteConfig(ctx, ConfigKey{Resource: resource})
	return err
}

// SetSystemDefaults stores the limits for everything that has none of its own, and what acquires do
// when the store is unavailable ("" keeps what is stored).
func (a *Admin) SetSystemDefaults(ctx context.Context, limits []Limit, mode OnUnavailable) error {
	if err := a.check(validateMode("on_unavailable", mode)); err != nil {
		return err
	}
	return a.putConfig(ctx, ConfigKey{}, limits, mode)
}

// SystemDefaults returns what SetSystemDefaults stored; "" when no mode was set.
func (a *Admin) SystemDefaults(ctx context.Context) ([]Limit, OnUnavailable, error) {
	config, err := a.config(ctx, ConfigKey{})
	return config.Limits, config.OnUnavailable, err
}

// DeleteSystemDefaults removes the system defaults.
func (a *Admin) DeleteSystemDefaults(ctx context.Context) error {
	_, err := a.deleteConfig(ctx, ConfigKey{})
	return err
}

// ResourcesWithDefaults lists the resources that have limits of their own, sorted.
func (a *Admin) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return a.store.ResourcesWithDefaults(ctx)
}

// ResourcesWithEntityLimits lists the resources for which an entity has limits of its own, sorted;
// "_default_" stands for limits on all resources.
func (a *Admin) ResourcesWithEntityLimits(ctx context.Context) ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return a.store.EntityConfigResources(ctx)
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

func (a *Admin) putConfig(ctx context.Context, key ConfigKey, limits []Limit, mode OnUnavailable) error {
	if err := a.check(validateLimits(limits)); err != nil {
		return err
	}
	if err := a.store.PutConfig(ctx, key, limits, mode); err != nil {
		return fmt.Errorf("set limits of %s: %w", key, err)
	}
	a.forgetConfig(key)
	return nil
}

// forgetConfig lets this process see its own write at once. Peers see it when their caches expire.
func (a *Admin) forgetConfig(key ConfigKey) {
	a.l.configs.evict(key)
	if key == (ConfigKey{}) {
		a.l.configs.systemLevel.Store(nil)
	}
	a.l.owners.forgetImages()
}

func (a *Admin) config(ctx context.Context, key ConfigKey) (Config, error) {
	if err := a.check(); err != nil {
		return Config{}, err
	}
	config, err := a.store.Config(ctx, key)
	if err != nil {
		return config, fmt.Errorf("limits of %s: %w", key, err)
	}
	return config, nil
}

func (a *Admin) deleteConfig(ctx context.Context, key ConfigKey) (Config, error) {
	if err := a.check(); err != nil {
		return Config{}, err
	}
	old, err := a.store.DeleteConfig(ctx, key)
	if err != nil {
		return old, fmt.Errorf("delete limits of %s: %w", key, err)
	}
	a.forgetConfig(key)
	return old, nil
}

// sync pushes the limits that hold now into the buckets that a change of key concerns. The buckets are
// discovered twice, because their listing lags behind their creation.
func (a *Admin) sync(ctx context.Context, key ConfigKey, old []Limit) error {
	resource := key.Resource
	if resource == DefaultResource {
		resource = ""
	}
	incomplete := &SyncIncompleteError{EntityID: key.EntityID, Resource: key.Resource}
	done := map[BucketKey]bool{}
	held := map[string]*resolved{} // by resource; nil: nothing holds
	for range 2 {
		incomplete.Err = nil
		keys, err := a.store.BucketKeys(ctx, key.EntityID, resource)
		if err != nil {
			incomplete.Err = err
			return incomplete
		}
		for _, k := range keys {
			if done[k] {
				continue
			}
			if err := a.syncBucket(ctx, k, held, old); err != nil {
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

func (a *Admin) syncBucket(ctx context.Context, key BucketKey, held map[string]*resolved, old []Limit) error {
	r, known := held[key.Resource]
	if !known {
		now, _, err := a.l.resolve(ctx, key.EntityID, key.Resource, nil, true)
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
	in := SyncInput{Key: key, Limits: r.limits, SoftUntil: a.l.stampUntil(r.at)}
	var err error
	if in.TTL, in.TTLValue, err = a.l.ttl(*r, a.l.nowMillis()); err != nil {
		return err
	}
	for _, limit := range old {
		if findLimit(r.limits, limit.Name) == nil {
			in.Stale = append(in.Stale, limit.Name)
		}
	}
	return a.store.SyncParameters(ctx, in)
}
