package limiter

import (
	"errors"
	"fmt"
)

var (
	// ErrAccessDenied is wrapped by store errors that say that the caller lacks a permission.
	ErrAccessDenied = errors.New("limiter: access denied")
	// ErrEntityExists is wrapped by CreateEntity when the id is taken.
	ErrEntityExists = errors.New("limiter: entity exists")
	// ErrEntityNotFound is wrapped by SetParent when the entity or the parent does not exist.
	ErrEntityNotFound = errors.New("limiter: entity not found")
	// ErrLeaseEnded is returned by the methods of a lease after Close or Rollback.
	ErrLeaseEnded = errors.New("limiter: lease has ended")
	// ErrVersion is wrapped by store errors that say that the version record of the table does not admit
	// what was asked. Allow does not admit it either.
	ErrVersion = errors.New("limiter: version of the table")
	// errConflict ends the retries of a write that kept meeting transactions.
	errConflict = errors.New("limiter: transaction conflict")
	// ErrNoAdmin is returned by administrative calls on a store that does not implement AdminStore.
	ErrNoAdmin = errors.New("limiter: store has no administration")
)

// ValidationError says which argument is wrong and why. Nothing was written.
type ValidationError struct {
	Field  string
	Value  string // the first 50 characters
	Reason string
}

func (e *ValidationError) Error() string {
	if e.Value == "" {
		return "invalid " + e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("invalid %s: %q %s", e.Field, e.Value, e.Reason)
}

// DisabledError says that an operator closed the resource for the entity: a 403, not a 429.
type DisabledError struct {
	EntityID, Resource string
	// Level is what closed it: entity, entity_default, resource, or bucket (the stamp on the item).
	Level string
}

func (e *DisabledError) Error() string {
	return fmt.Sprintf("resource %s is disabled for %s (at level %s)", e.Resource, e.EntityID, e.Level)
}

// UnavailableError says that the store could not answer. It wraps the cause.
type UnavailableError struct {
	Stack              string // the table, when the store has a name for it
	EntityID, Resource string
	Err                error
}

func (e *UnavailableError) Error() string {
	return fmt.Sprintf("rate limiter unavailable: %v [%s]", e.Err, where(e.Stack, e.EntityID, e.Resource))
}

// where names what an error is about.
func where(stack, entity, resource string) string {
	text := "entity=" + entity + ", resource=" + resource
	if stack != "" {
		text = "stack=" + stack + ", " + text
	}
	return text
}

func (e *UnavailableError) Unwrap() error { return e.Err }

// PermissionError says that the caller lacks a permission on the table; it is not turned into an
// admission by Allow. It wraps the cause, which wraps ErrAccessDenied.
type PermissionError struct {
	Stack              string // the table, when the store has a name for it
	EntityID, Resource string
	Err                error
}

func (e *PermissionError) Error() string {
	return fmt.Sprintf("rate limiter: permission denied: %v [%s]", e.Err, where(e.Stack, e.EntityID, e.Resource))
}

func (e *PermissionError) Unwrap() error { return e.Err }

// FanoutIncompleteError says that a change was stored but did not reach all buckets that exist. The others
// keep what they had until the call is repeated.
type FanoutIncompleteError struct {
	EntityID, Resource string // the level that changed
	Stamped            int    // buckets that follow it
	Err                error
}

func (e *FanoutIncompleteError) Error() string {
	return fmt.Sprintf("%s stored, but only %d buckets follow (repeat the call to finish): %v", ConfigKey{e.EntityID, e.Resource}, e.Stamped, e.Err)
}

func (e *FanoutIncompleteError) Unwrap() error { return e.Err }
