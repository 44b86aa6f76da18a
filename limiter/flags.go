package limiter

import (
	"context"
	"fmt"
)

// Flags are set for a resource (entityID ""), for an entity on one resource, or for an entity on all
// resources (resource ""). An acquire follows the first level that has the flag: the entity on the resource,
// the entity, the resource. The calls return how many buckets follow at once; *FanoutIncompleteError means
// that the flag is stored, but not all of them do: repeat the call.

// Disable closes a resource or an entity: acquires fail with *DisabledError.
func (a *Admin) Disable(ctx context.Context, entityID, resource string) (stamped int, err error) {
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagDisabled, On)
}

// Enable says explicitly that limits are enforced. For an entity that is the exception to a resource
// that is disabled.
func (a *Admin) Enable(ctx context.Context, entityID, resource string) (stamped int, err error) {
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagDisabled, Off)
}

// Bypass admits everything and goes on counting what is consumed. It needs readers of release 0.17.0.
func (a *Admin) Bypass(ctx context.Context, entityID, resource string) (stamped int, err error) {
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagDisabled, Bypassed)
}

// ClearDisabled removes what Disable, Enable and Bypass set, so that the next level decides.
func (a *Admin) ClearDisabled(ctx context.Context, entityID, resource string) (stamped int, err error) {
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagDisabled, Unset)
}

// SetCascade says whether acquires also charge the entity's parent, whatever the entity was created
// with. It needs readers of release 0.16.0.
func (a *Admin) SetCascade(ctx context.Context, entityID, resource string, cascade bool) (stamped int, err error) {
	value := Off
	if cascade {
		value = On
	}
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagCascade, value)
}

// ClearCascade removes what SetCascade set, so that the next level decides, and at last the entity.
func (a *Admin) ClearCascade(ctx context.Context, entityID, resource string) (stamped int, err error) {
	return a.SetFlag(ctx, flagKey(entityID, resource), FlagCascade, Unset)
}

// flagKey names a level; "" is no entity, or all resources of one.
func flagKey(entityID, resource string) ConfigKey {
	if entityID != "" && resource == "" {
		resource = DefaultResource
	}
	return ConfigKey{entityID, resource}
}

// SetFlag sets a flag of a level to a value, Unset to remove it: what the calls above are made of.
func (a *Admin) SetFlag(ctx context.Context, key ConfigKey, name FlagName, value Flag) (stamped int, err error) {
	if key == (ConfigKey{}) {
		return 0, invalid("resource", "", "must not be empty")
	}
	if err := a.check(key.Validate(), validateFlag(name, value)); err != nil {
		return 0, err
	}
	if err := a.requireFlag(ctx, name, value); err != nil {
		return 0, err
	}
	a.warnOfFlag(key, name, value)
	if err := a.store.SetFlag(ctx, key, name, value); err != nil {
		return 0, fmt.Errorf("set %s of %s: %w", name, key, err)
	}
	// A resource's flag decides for entities whose levels are remembered, too.
	a.l.configs.clear()
	a.l.owners.forgetImages()
	return a.fanOutThenAudit(ctx, AuditEvent{
		Action: AuditLimitsSet, Subject: key.subject(), Resource: key.Resource, Details: map[string]any{string(name): name.Value(value)},
	}, func() (int, error) {
		return a.fanOut(ctx, fanout{key: key, access: name == FlagDisabled, cascade: name == FlagCascade})
	})
}

func validateFlag(name FlagName, value Flag) error {
	if name != FlagDisabled && name != FlagCascade {
		return invalid("flag", string(name), "is unknown")
	}
	if value > Bypassed || name == FlagCascade && value == Bypassed {
		return invalid(string(name), fmt.Sprint(value), "is no value of the flag")
	}
	return nil
}

// Value is a value of the flag as configs, manifests and audit events state it: nil, a bool, or "bypass".
func (n FlagName) Value(value Flag) any {
	switch value {
	case Off:
		return false
	case On:
		return true
	case Bypassed:
		return "bypass"
	}
	return nil
}
