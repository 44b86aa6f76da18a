// Package loadclient is the limiter as users of a load test see it: every call is timed and recorded
// by type and name. Types and rules are those of zae-limiter's Locust client: a refused acquire is a
// successful RATE_LIMITED, the end of a lease is a COMMIT when it changed something, an error in the
// code inside a lease records nothing more.
package loadclient

import (
	"context"
	"errors"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// The types of recorded calls.
const (
	TypeAcquire     = "ACQUIRE"
	TypeCommit      = "COMMIT"
	TypeRateLimited = "RATE_LIMITED"

	// SystemRow names the calls about the whole table.
	SystemRow = "system"
	// EntityRow names the calls about one entity: a row for each id would be a row for each user.
	EntityRow = "entity"
	// UnknownRow names the calls whose resource cannot be read.
	UnknownRow = "unknown"
)

// Recorder takes samples; a loadtest.User and a loadtest.Env are recorders.
type Recorder interface{ Record(stats.Sample) }

// Client calls a limiter. It is safe for concurrent use.
type Client struct {
	limiter *limiter.Limiter
}

// New returns a client of a limiter.
func New(l *limiter.Limiter) *Client { return &Client{l} }

// Caller is a client for one user or event listener.
type Caller struct {
	Client   *Client
	Recorder Recorder
}

// Lease is what an acquire returned: granted, or why not.
type Lease struct {
	// Exceeded is set when a limit was exceeded; the other methods need a granted lease.
	Exceeded *limiter.ExceededError

	inner   *limiter.Lease
	caller  Caller
	row     string
	touched bool
	ended   bool
}

// Acquire takes tokens. A refusal is no error; row "" is the resource.
func (c Caller) Acquire(ctx context.Context, req limiter.Request, row string) (*Lease, error) {
	if row == "" {
		row = req.Resource
	}
	start := time.Now()
	inner, err := c.Client.limiter.Acquire(ctx, req)
	s := stats.Sample{Type: TypeAcquire, Name: row, Start: start, Duration: time.Since(start)}
	if err == nil {
		s.Depth = inner.RoundTrips()
		c.Recorder.Record(s)
		return &Lease{inner: inner, caller: c, row: row}, nil
	}
	var exceeded *limiter.ExceededError
	if errors.As(err, &exceeded) {
		s.Type, s.RateLimited, s.Depth = TypeRateLimited, true, exceeded.RoundTrips
		c.Recorder.Record(s)
		return &Lease{Exceeded: exceeded, caller: c, row: row, ended: true}, nil
	}
	failure := Classify(ctx, err)
	s.Err, s.Unreachable = failure.Text, failure.Unreachable
	c.Recorder.Record(s)
	return nil, failure
}

// Refuse records a call that is not made, because its arguments cannot be used, and returns its failure. place
// is where the call stands.
func (c Caller) Refuse(typ, row, place string, err error) error {
	f := &Failure{Type: "ValidationError", Err: err}
	f.Text = f.Type + ": " + err.Error()
	c.Recorder.Record(stats.Sample{Type: typ, Name: row, Start: time.Now(), Untimed: true, Err: f.Text + " (" + place + ")"})
	return f
}

// Granted reports whether the lease holds what was asked for.
func (l *Lease) Granted() bool { return l.Exceeded == nil }

// Consume takes more under the lease; it reports false when a limit does not allow that.
func (l *Lease) Consume(amounts limiter.Amounts) (bool, error) {
	l.touched = true
	err := l.inner.Consume(amounts)
	var exceeded *limiter.ExceededError
	if errors.As(err, &exceeded) {
		return false, nil
	}
	return err == nil, err
}

// Adjust corrects what the lease took, into debt if need be.
func (l *Lease) Adjust(amounts limiter.Amounts) error {
	l.touched = true
	return l.inner.Adjust(amounts)
}

// Release gives a part back.
func (l *Lease) Release(amounts limiter.Amounts) error {
	l.touched = true
	return l.inner.Release(amounts)
}

// Consumed returns what the lease took.
func (l *Lease) Consumed() limiter.Amounts {
	if l.inner == nil {
		return limiter.Amounts{}
	}
	return l.inner.Consumed()
}

// Open reports whether the lease is still to be ended.
func (l *Lease) Open() bool { return !l.ended }

// Close commits the lease, and records it when the lease was changed. A second call does nothing.
func (l *Lease) Close(ctx context.Context) error {
	if l.ended {
		return nil
	}
	l.ended = true
	start := time.Now()
	err := l.inner.Close(ctx)
	if !l.touched && err == nil {
		return nil
	}
	s := stats.Sample{Type: TypeCommit, Name: l.row, Start: start, Duration: time.Since(start)}
	if err != nil {
		failure := Classify(ctx, err)
		s.Err, s.Unreachable = failure.Text, failure.Unreachable
		err = failure
	}
	l.caller.Recorder.Record(s)
	return err
}

// Rollback returns what the lease took; it has no row of its own.
func (l *Lease) Rollback(ctx context.Context) error {
	if l.ended {
		return nil
	}
	l.ended = true
	return l.inner.Rollback(ctx)
}

// timed makes one call and records it.
func timed[T any](ctx context.Context, c Caller, typ, row string, call func() (T, error)) (T, error) {
	start := time.Now()
	value, err := call()
	s := stats.Sample{Type: typ, Name: row, Start: start, Duration: time.Since(start)}
	if err != nil {
		failure := Classify(ctx, err)
		s.Err, s.Unreachable = failure.Text, failure.Unreachable
		err = failure
	}
	c.Recorder.Record(s)
	return value, err
}

// done makes a call without a value.
func done(ctx context.Context, c Caller, typ, row string, call func() error) error {
	_, err := timed(ctx, c, typ, row, func() (struct{}, error) { return struct{}{}, call() })
	return err
}

func rowOr(row, fallback string) string {
	if row == "" {
		return fallback
	}
	return row
}

// Available returns the balances of an entity.
func (c Caller) Available(ctx context.Context, entity, resource string, limits []limiter.Limit, row string) (limiter.Amounts, error) {
	return timed(ctx, c, "AVAILABLE", rowOr(row, resource), func() (limiter.Amounts, error) {
		return c.Client.limiter.Available(ctx, entity, resource, limits)
	})
}

// CheckAvailability returns balances and the wait for what is needed.
func (c Caller) CheckAvailability(ctx context.Context, entity, resource string, needed limiter.Amounts, row string) (limiter.Availability, error) {
	return timed(ctx, c, "CHECK_AVAILABILITY", rowOr(row, resource), func() (limiter.Availability, error) {
		return c.Client.limiter.CheckAvailability(ctx, entity, resource, needed, nil)
	})
}

// TimeUntilAvailable returns the wait for what is needed.
func (c Caller) TimeUntilAvailable(ctx context.Context, entity, resource string, needed limiter.Amounts, limits []limiter.Limit, row string) (time.Duration, error) {
	return timed(ctx, c, "TIME_UNTIL_AVAILABLE", rowOr(row, resource), func() (time.Duration, error) {
		return c.Client.limiter.TimeUntilAvailable(ctx, entity, resource, needed, limits)
	})
}

// IsAvailable reports whether the table answers in time.
func (c Caller) IsAvailable(ctx context.Context, timeout time.Duration, row string) bool {
	answers, _ := timed(ctx, c, "IS_AVAILABLE", rowOr(row, SystemRow), func() (bool, error) {
		return c.Client.limiter.IsAvailable(ctx, timeout), nil
	})
	return answers
}

// CreateEntity records an entity.
func (c Caller) CreateEntity(ctx context.Context, e limiter.Entity, row string) (limiter.Entity, error) {
	return timed(ctx, c, "CREATE_ENTITY", rowOr(row, EntityRow), func() (limiter.Entity, error) {
		return c.Client.limiter.Admin().CreateEntity(ctx, e)
	})
}

// Entity returns an entity, nil when there is none.
func (c Caller) Entity(ctx context.Context, id, row string) (*limiter.Entity, error) {
	return timed(ctx, c, "GET_ENTITY", rowOr(row, EntityRow), func() (*limiter.Entity, error) {
		return c.Client.limiter.Admin().Entity(ctx, id)
	})
}

// DeleteEntity deletes an entity with its buckets and limits.
func (c Caller) DeleteEntity(ctx context.Context, id, row string) error {
	return done(ctx, c, "DELETE_ENTITY", rowOr(row, EntityRow), func() error { return c.Client.limiter.Admin().DeleteEntity(ctx, id) })
}

// Children lists the entities below one.
func (c Caller) Children(ctx context.Context, id, row string) ([]limiter.Entity, error) {
	return timed(ctx, c, "GET_CHILDREN", rowOr(row, EntityRow), func() ([]limiter.Entity, error) {
		return c.Client.limiter.Admin().Children(ctx, id)
	})
}

// SetLimits sets the limits of an entity.
func (c Caller) SetLimits(ctx context.Context, entity, resource string, limits []limiter.Limit, row string) error {
	return done(ctx, c, "SET_LIMITS", rowOr(row, rowOr(resource, limiter.DefaultResource)), func() error {
		return c.Client.limiter.Admin().SetLimits(ctx, entity, resource, limits)
	})
}

// Limits returns the limits of an entity.
func (c Caller) Limits(ctx context.Context, entity, resource, row string) ([]limiter.Limit, error) {
	return timed(ctx, c, "GET_LIMITS", rowOr(row, rowOr(resource, limiter.DefaultResource)), func() ([]limiter.Limit, error) {
		return c.Client.limiter.Admin().Limits(ctx, entity, resource)
	})
}

// DeleteLimits deletes the limits of an entity.
func (c Caller) DeleteLimits(ctx context.Context, entity, resource, row string) error {
	return done(ctx, c, "DELETE_LIMITS", rowOr(row, rowOr(resource, limiter.DefaultResource)), func() error {
		return c.Client.limiter.Admin().DeleteLimits(ctx, entity, resource)
	})
}

// SetResourceDefaults sets the limits of a resource, and its cascade policy unless that is limiter.Unset.
func (c Caller) SetResourceDefaults(ctx context.Context, resource string, limits []limiter.Limit, cascade limiter.Flag, row string) error {
	return done(ctx, c, "SET_RESOURCE_DEFAULTS", rowOr(row, resource), func() error {
		admin := c.Client.limiter.Admin()
		if cascade == limiter.Unset || resource == "" { // an empty name is refused there
			return admin.SetResourceDefaults(ctx, resource, limits)
		}
		_, err := admin.Configure(ctx, limiter.ConfigKey{Resource: resource}, limiter.ConfigChange{Limits: limits, Cascade: cascade})
		return err
	})
}

// ResourceDefaults returns the limits of a resource.
func (c Caller) ResourceDefaults(ctx context.Context, resource, row string) ([]limiter.Limit, error) {
	return timed(ctx, c, "GET_RESOURCE_DEFAULTS", rowOr(row, resource), func() ([]limiter.Limit, error) {
		return c.Client.limiter.Admin().ResourceDefaults(ctx, resource)
	})
}

// DeleteResourceDefaults deletes the limits of a resource.
func (c Caller) DeleteResourceDefaults(ctx context.Context, resource, row string) error {
	return done(ctx, c, "DELETE_RESOURCE_DEFAULTS", rowOr(row, resource), func() error {
		return c.Client.limiter.Admin().DeleteResourceDefaults(ctx, resource)
	})
}

// ResourcesWithDefaults lists the resources that have limits.
func (c Caller) ResourcesWithDefaults(ctx context.Context, row string) ([]string, error) {
	return timed(ctx, c, "LIST_RESOURCES_WITH_DEFAULTS", rowOr(row, SystemRow), func() ([]string, error) {
		return c.Client.limiter.Admin().ResourcesWithDefaults(ctx)
	})
}

// SetSystemDefaults sets the limits of everything.
func (c Caller) SetSystemDefaults(ctx context.Context, limits []limiter.Limit, mode limiter.OnUnavailable, row string) error {
	return done(ctx, c, "SET_SYSTEM_DEFAULTS", rowOr(row, SystemRow), func() error {
		return c.Client.limiter.Admin().SetSystemDefaults(ctx, limits, mode)
	})
}

// SystemDefaults is what SetSystemDefaults set.
type SystemDefaults struct {
	Limits        []limiter.Limit
	OnUnavailable limiter.OnUnavailable
}

// SystemDefaults returns the limits of everything.
func (c Caller) SystemDefaults(ctx context.Context, row string) (SystemDefaults, error) {
	return timed(ctx, c, "GET_SYSTEM_DEFAULTS", rowOr(row, SystemRow), func() (SystemDefaults, error) {
		limits, mode, err := c.Client.limiter.Admin().SystemDefaults(ctx)
		return SystemDefaults{limits, mode}, err
	})
}

// DeleteSystemDefaults deletes the limits of everything.
func (c Caller) DeleteSystemDefaults(ctx context.Context, row string) error {
	return done(ctx, c, "DELETE_SYSTEM_DEFAULTS", rowOr(row, SystemRow), func() error {
		return c.Client.limiter.Admin().DeleteSystemDefaults(ctx)
	})
}
