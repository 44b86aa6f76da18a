package limiter

import (
	"cmp"
	"context"
	"fmt"
)

// Admin administers what a Limiter enforces: entities, limits and flags. What it changes, the Limiter
// it belongs to sees at once, and other processes when their caches expire. It is safe for concurrent
// use and has nothing to close.
//
// Its methods validate their arguments (*ValidationError) before they send anything, and fail with
// ErrNoAdmin on a store that implements no AdminStore. Every change is recorded as an audit event; when
// that alone fails, the change is made and the error wraps ErrNotAudited.
type Admin struct {
	l         *Limiter
	store     AdminStore // nil when the Limiter's store has none
	principal string
}

// Admin returns the administration of the limiter's namespace.
func (l *Limiter) Admin() *Admin { return &Admin{l: l, store: l.admin} }

// As returns an Admin whose audit events name the principal: an identifier, or an ARN.
func (a *Admin) As(principal string) *Admin {
	named := *a
	named.principal = principal
	return &named
}

// check returns the first error of a call's arguments, and otherwise whether there is anything to
// administer.
func (a *Admin) check(arguments ...error) error {
	for _, err := range arguments {
		if err != nil {
			return err
		}
	}
	if err := validatePrincipal(a.principal); err != nil {
		return err
	}
	if a.store == nil {
		return ErrNoAdmin
	}
	return nil
}

// The releases from which on readers of a table honour a feature.
const (
	readersOfSessionQuotas = "0.15.0"
	readersOfCascade       = "0.16.0"
	readersOfSoft          = "0.17.0" // also bypass, moves of entities and top-ups of quotas
)

// require refuses to store what readers of the table do not know, and afterwards keeps older clients out.
func (a *Admin) require(ctx context.Context, release, feature string) error {
	if release == "" {
		return nil
	}
	if err := a.store.RequireReaders(ctx, release, true); err != nil {
		return fmt.Errorf("%s: %w", feature, err)
	}
	return nil
}

// requireLimits applies the gate of the youngest feature among the limits.
func (a *Admin) requireLimits(ctx context.Context, limits []Limit) error {
	release, feature := "", ""
	for _, l := range limits {
		switch {
		case l.Soft:
			return a.require(ctx, readersOfSoft, "soft limit "+l.Name)
		case l.ResetAfter > 0 && release == "":
			release, feature = readersOfSessionQuotas, "session quota "+l.Name
		}
	}
	return a.require(ctx, release, feature)
}

// requireFlag applies the gate of a flag's value; removing a flag needs none.
func (a *Admin) requireFlag(ctx context.Context, name FlagName, value Flag) error {
	switch {
	case name == FlagDisabled && value == Bypassed:
		return a.require(ctx, readersOfSoft, "bypass")
	case name == FlagCascade && value != Unset:
		return a.require(ctx, readersOfCascade, "cascade policy")
	}
	return nil
}

// fanOutThenAudit runs a fan-out and records the change that led to it, whatever became of the fan-out.
func (a *Admin) fanOutThenAudit(ctx context.Context, e AuditEvent, fanOut func() (int, error)) (int, error) {
	stamped, err := fanOut()
	e.Details["buckets_stamped"] = int64(stamped)
	if audit := a.record(ctx, e); audit != nil {
		if err == nil {
			return stamped, audit
		}
		a.l.logger.Warn("audit event of an incomplete change not written", "action", e.Action, "error", audit)
	}
	return stamped, err
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

// subject is what audit events about the level are filed under.
func (k ConfigKey) subject() string {
	switch {
	case k.EntityID != "":
		return k.EntityID
	case k.Resource != "":
		return AuditResource(k.Resource)
	}
	return AuditSystem
}

// entityKey names a level of an entity; the resource "" is all resources.
func entityKey(entityID, resource string) (ConfigKey, error) {
	if err := validateEntityID("entity_id", entityID); err != nil {
		return ConfigKey{}, err
	}
	resource = cmp.Or(resource, DefaultResource)
	if resource == DefaultResource {
		return ConfigKey{entityID, resource}, nil
	}
	return ConfigKey{entityID, resource}, validateResource(resource)
}

func resourceKey(resource string) (ConfigKey, error) {
	return ConfigKey{Resource: resource}, validateResource(resource)
}
