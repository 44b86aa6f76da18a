package limiter

import "errors"

var (
	// ErrAccessDenied is wrapped by store errors that say that the caller lacks a permission.
	ErrAccessDenied = errors.New("limiter: access denied")
	// ErrEntityExists is wrapped by CreateEntity when the id is taken.
	ErrEntityExists = errors.New("limiter: entity exists")
	// ErrLeaseEnded is returned by the methods of a lease after Close or Rollback.
	ErrLeaseEnded = errors.New("limiter: lease has ended")
	// ErrNoAdmin is returned by administrative calls on a store that does not implement AdminStore.
	ErrNoAdmin = errors.New("limiter: store has no administration")
)
