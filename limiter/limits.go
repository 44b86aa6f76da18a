package limiter

import (
	"context"
	"fmt"
)

// SetLimits stores the limits of an entity on a resource ("" = on all resources that have none of their
// own) and pushes them into the buckets that exist, whose balances stay. Flags of the level stay, too.
// *FanoutIncompleteError means that they are stored, but not pushed everywhere.
func (a *Admin) SetLimits(ctx context.Context, entityID, resource string, limits []Limit) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	_, err = a.Configure(ctx, key, ConfigChange{Limits: limits})
	return err
}

// Limits returns what SetLimits stored, empty when nothing.
func (a *Admin) Limits(ctx context.Context, entityID, resource string) ([]Limit, error) {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return nil, err
	}
	config, err := a.Config(ctx, key)
	return config.Limits, err
}

// DeleteLimits removes what SetLimits stored, with the flags of the level; buckets that exist get the
// limits that hold now, if there are any. Deleting what is not there is no error.
func (a *Admin) DeleteLimits(ctx context.Context, entityID, resource string) error {
	key, err := entityKey(entityID, resource)
	if err != nil {
		return err
	}
	_, _, err = a.Unconfigure(ctx, key)
	return err
}

// SetResourceDefaults stores the limits of a resource for entities without their own. Buckets that
// exist keep the parameters they have, except for which limits are soft. Flags of the level stay.
func (a *Admin) SetResourceDefaults(ctx context.Context, resource string, limits []Limit) error {
	key, err := resourceKey(resource)
	if err != nil {
		return err
	}
	_, err = a.Configure(ctx, key, ConfigChange{Limits: limits})
	return err
}

// ResourceDefaults returns the limits of a resource, empty when it has none.
func (a *Admin) ResourceDefaults(ctx context.Context, resource string) ([]Limit, error) {
	key, err := resourceKey(resource)
	if err != nil {
		return nil, err
	}
	config, err := a.Config(ctx, key)
	return config.Limits, err
}

// DeleteResourceDefaults removes the limits of a resource, with the flags of the level.
func (a *Admin) DeleteResourceDefaults(ctx context.Context, resource string) error {
	key, err := resourceKey(resource)
	if err != nil {
		return err
	}
	_, _, err = a.Unconfigure(ctx, key)
	return err
}

// SetSystemDefaults stores the limits for everything that has none of its own, and what acquires do
// when the store is unavailable ("" keeps what is stored).
func (a *Admin) SetSystemDefaults(ctx context.Context, limits []Limit, mode OnUnavailable) error {
	_, err := a.Configure(ctx, ConfigKey{}, ConfigChange{Limits: limits, OnUnavailable: mode})
	return err
}

// SystemDefaults returns what SetSystemDefaults stored; "" when no mode was set.
func (a *Admin) SystemDefaults(ctx context.Context) ([]Limit, OnUnavailable, error) {
	config, err := a.Config(ctx, ConfigKey{})
	return config.Limits, config.OnUnavailable, err
}

// DeleteSystemDefaults removes the system defaults.
func (a *Admin) DeleteSystemDefaults(ctx context.Context) error {
	_, _, err := a.Unconfigure(ctx, ConfigKey{})
	return err
}

// Config returns everything that a level holds.
func (a *Admin) Config(ctx context.Context, key ConfigKey) (Config, error) {
	if err := a.check(key.Validate()); err != nil {
		return Config{}, err
	}
	config, err := a.store.Config(ctx, key, false)
	if err != nil {
		return config, fmt.Errorf("limits of %s: %w", key, err)
	}
	return config, nil
}

// Configure replaces the limits of a level and sets the flags that the change has, in one write, and lets
// the buckets that exist follow: those of an entity take on the new parameters, all others only what is
// soft, disabled or cascading. It returns how many buckets it wrote. *FanoutIncompleteError means
// that the level is stored, but not all buckets followed; repeating the call finishes it.
func (a *Admin) Configure(ctx context.Context, key ConfigKey, change ConfigChange) (stamped int, err error) {
	if err := a.check(key.Validate(), change.Validate(key)); err != nil {
		return 0, err
	}
	if err := a.requireLimits(ctx, change.Limits); err != nil {
		return 0, err
	}
	for name, value := range map[FlagName]Flag{FlagDisabled: change.Disabled, FlagCascade: change.Cascade} {
		if err := a.requireFlag(ctx, name, value); err != nil {
			return 0, err
		}
	}
	a.warnOfLimits(key, change.Limits)
	a.warnOfFlag(key, FlagDisabled, change.Disabled)
	before, err := a.store.PutConfig(ctx, key, change)
	if err != nil {
		return 0, fmt.Errorf("set limits of %s: %w", key, err)
	}
	a.forgetConfig(key)
	f := fanout{key: key, access: change.Disabled != Unset, cascade: change.Cascade != Unset}
	if key.EntityID != "" {
		f.sync = len(change.Limits) > 0
		if key.Resource == DefaultResource {
			f.named = change.Limits
		}
	} else if f.softNames = softChanged(before.Limits, change.Limits); len(f.softNames) > 0 {
		f.soft = true
	}
	stamped, err = a.fanOut(ctx, f)
	details := map[string]any{"limits": limitMaps(change.Limits)}
	if key == (ConfigKey{}) {
		details["on_unavailable"] = orNil(string(change.OnUnavailable))
	}
	audit := a.record(ctx, AuditEvent{Action: AuditLimitsSet, Subject: key.subject(), Resource: key.Resource, Details: details})
	if err != nil {
		return stamped, err
	}
	return stamped, audit
}

// ResourcesWithDefaults lists the resources that have limits or flags of their own, sorted.
func (a *Admin) ResourcesWithDefaults(ctx context.Context) ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return a.store.ResourcesWithDefaults(ctx)
}

// ResourcesWithEntityLimits lists the resources for which an entity has limits or flags of its own,
// sorted; "_default_" stands for all resources.
func (a *Admin) ResourcesWithEntityLimits(ctx context.Context) ([]string, error) {
	if err := a.check(); err != nil {
		return nil, err
	}
	return a.store.EntityConfigResources(ctx)
}

// EntitiesWithLimits lists at most limit entities (0 means 100) that have limits or flags of their own on a
// resource (DefaultResource: on all resources), from a cursor that the call before returned, "" for the
// start. next is "" at the end.
func (a *Admin) EntitiesWithLimits(ctx context.Context, resource string, limit int, cursor string) (ids []string, next string, err error) {
	if resource != DefaultResource {
		if err := validateResource(resource); err != nil {
			return nil, "", err
		}
	}
	if err := a.check(validatePage(limit)); err != nil {
		return nil, "", err
	}
	if limit == 0 {
		limit = defaultPage
	}
	ids, next, err = a.store.EntitiesWithConfig(ctx, resource, limit, cursor)
	if err != nil {
		return nil, "", fmt.Errorf("entities with limits on %s: %w", resource, err)
	}
	return ids, next, nil
}

// Validate reports what is wrong with the key as a *ValidationError.
func (k ConfigKey) Validate() error {
	switch {
	case k.EntityID != "":
		_, err := entityKey(k.EntityID, k.Resource)
		if err == nil && k.Resource == "" {
			err = invalid("resource", "", "must not be empty; "+DefaultResource+" is all resources")
		}
		return err
	case k.Resource != "":
		return validateResource(k.Resource)
	}
	return nil
}

// Validate reports the first rule that the change of that level breaks as a *ValidationError.
func (c *ConfigChange) Validate(key ConfigKey) error {
	if err := validateLimits(c.Limits); err != nil {
		return err
	}
	switch {
	case key != ConfigKey{} && c.OnUnavailable != "":
		return invalid("on_unavailable", string(c.OnUnavailable), "belongs to the system defaults")
	case key == ConfigKey{} && c.Disabled != Unset:
		return invalid("disabled", fmt.Sprint(FlagDisabled.Value(c.Disabled)), "belongs to entities and resources: the system level has no flags")
	case key == ConfigKey{} && c.Cascade != Unset:
		return invalid("cascade", fmt.Sprint(FlagCascade.Value(c.Cascade)), "belongs to entities and resources: the system level has no flags")
	}
	if err := validateFlag(FlagDisabled, c.Disabled); err != nil {
		return err
	}
	if err := validateFlag(FlagCascade, c.Cascade); err != nil {
		return err
	}
	return validateMode("on_unavailable", c.OnUnavailable)
}

// forgetConfig lets this process see its own write at once. Peers see it when their caches expire.
func (a *Admin) forgetConfig(key ConfigKey) {
	a.l.configs.evict(key)
	if key == (ConfigKey{}) {
		a.l.configs.systemLevel.Store(nil)
	}
	a.l.owners.forgetImages()
}

// Unconfigure deletes a level, limits and flags, and lets the buckets that exist follow what holds then. It
// says whether there was a level, and how many buckets it wrote; see Configure.
func (a *Admin) Unconfigure(ctx context.Context, key ConfigKey) (existed bool, stamped int, err error) {
	if err := a.check(key.Validate()); err != nil {
		return false, 0, err
	}
	old, err := a.store.DeleteConfig(ctx, key)
	if err != nil {
		return false, 0, fmt.Errorf("delete limits of %s: %w", key, err)
	}
	a.forgetConfig(key)
	f := fanout{key: key, access: old.Disabled != Unset, cascade: old.Cascade != Unset}
	if key.EntityID != "" {
		// Also without a config: the buckets may be left from a call that was interrupted.
		f.sync, f.named = true, old.Limits
		f.fallback = key.Resource == DefaultResource
	} else if f.softNames = softChanged(old.Limits, nil); len(f.softNames) > 0 {
		f.soft = true
	}
	stamped, err = a.fanOut(ctx, f)
	if !old.Exists && key.EntityID != "" {
		return false, stamped, err
	}
	details := map[string]any{}
	if key == (ConfigKey{}) {
		names := make([]any, len(old.Limits))
		for i, l := range old.Limits {
			names[i] = l.Name
		}
		details["limits"], details["on_unavailable"] = names, orNil(string(old.OnUnavailable))
	}
	audit := a.record(ctx, AuditEvent{Action: AuditLimitsDeleted, Subject: key.subject(), Resource: key.Resource, Details: details})
	if err != nil {
		return old.Exists, stamped, err
	}
	return old.Exists, stamped, audit
}

// softChanged names the limits that are soft on one side only.
func softChanged(before, after []Limit) []string {
	soft := func(limits []Limit, name string) bool {
		l := findLimit(limits, name)
		return l != nil && l.Soft
	}
	var names []string
	for _, l := range before {
		if l.Soft && !soft(after, l.Name) {
			names = append(names, l.Name)
		}
	}
	for _, l := range after {
		if l.Soft && !soft(before, l.Name) {
			names = append(names, l.Name)
		}
	}
	return names
}
