// Package limiter tests the limiter and Python's zae-limiter on tables that they share; the tests need what
// interop/run installs. Their numbers are those of the list of behaviours that both sides must have.
package limiter
