package limiter

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Options configure a Limiter. The zero value is what services want.
type Options struct {
	// DisableSpeculation makes every acquire read before it writes: two round trips, not one.
	DisableSpeculation bool
	// ConfigCacheTTL is how long limits and defaults are remembered, also their absence: 0 means
	// 60 s, negative switches the cache off.
	ConfigCacheTTL time.Duration
	// RejectionCacheTTL is how long the last image of a bucket may reject without a request:
	// 0 means 1 s, negative switches it off.
	RejectionCacheTTL time.Duration
	// OnUnavailable overrides what the system defaults say; "" follows them.
	OnUnavailable OnUnavailable
	// TTLMultiplier scales the lifetime of buckets whose limits come from defaults: 0 means 7,
	// negative leaves ttl alone.
	TTLMultiplier float64
	// StampTTL is how long bypass and soft stamps of buckets are trusted before config is asked again: 0 means
	// 60 s, less than 10 s means 10 s.
	StampTTL time.Duration
	// WithoutAudit leaves out the audit events of administration.
	WithoutAudit bool
	// Clock is the time that all decisions are made with; nil means time.Now. It should be NTP time.
	Clock func() time.Time
	// Rand draws a number of [0, n); nil means math/rand/v2. It must be safe for concurrent use.
	Rand func(n int) int
	// Observe watches acquires, for logs, metrics and traces; nil costs nothing.
	Observe Observe
	// Logger is told what cannot be returned (a failed compensation), and warned before administration
	// stores the first schedule, quota, soft limit, disabled or bypass that older clients of the table do
	// not honour; nil discards.
	Logger *slog.Logger
}

// Limiter rate limits by the buckets of one Store. It is safe for concurrent use and has nothing to
// close.
type Limiter struct {
	store  Store
	admin  AdminStore // nil when the store has none
	stack  string     // what the store is named, for errors
	opts   Options
	now    func() time.Time
	rand   func(int) int
	logger *slog.Logger

	decoder schedule.Decoder
	owners  ownerCache
	configs configCache
	audit   auditing
	older   olderClients
	mode    atomic.Value // OnUnavailable last seen in the system defaults
	// sessions: the readers of the table are known to understand session quotas.
	sessions atomic.Bool
}

// New returns a limiter on the store. The store may implement AdminStore; without it the
// calls of Admin fail with ErrNoAdmin.
func New(store Store, opts Options) (*Limiter, error) {
	if store == nil {
		return nil, errors.New("limiter: store is nil")
	}
	if err := validateMode("OnUnavailable", opts.OnUnavailable); err != nil {
		return nil, err
	}
	if opts.ConfigCacheTTL == 0 {
		opts.ConfigCacheTTL = time.Minute
	}
	if opts.RejectionCacheTTL == 0 {
		opts.RejectionCacheTTL = time.Second
	}
	if opts.TTLMultiplier == 0 {
		opts.TTLMultiplier = 7
	}
	l := &Limiter{store: store, opts: opts, now: opts.Clock, rand: opts.Rand, logger: opts.Logger}
	l.admin, _ = store.(AdminStore)
	if named, ok := store.(interface{ TableName() string }); ok {
		l.stack = named.TableName()
	}
	if l.now == nil {
		l.now = time.Now
	}
	if l.rand == nil {
		l.rand = rand.IntN
	}
	if l.logger == nil {
		l.logger = slog.New(slog.DiscardHandler)
	}
	l.configs.init(opts.ConfigCacheTTL)
	l.owners.init()
	return l, nil
}

func validateMode(field string, mode OnUnavailable) error {
	if mode != "" && mode != Block && mode != Allow {
		return invalid(field, string(mode), "must be block or allow")
	}
	return nil
}

func (l *Limiter) nowMillis() int64 { return l.now().UnixMilli() }

// Request is one acquire.
type Request struct {
	EntityID, Resource string
	// Consume has the limits that the request declares, with what it takes of each. An amount of 0
	// declares a limit so that the lease can adjust it later.
	Consume Amounts
	// Limits replace the configured ones of the entity (and its parent), all of them, for what the bucket
	// does not have yet. What it has keeps its parameters.
	Limits []Limit
	// Also has what the request takes of further resources, by their names: all or nothing with Consume. At
	// most 16 resources in all; not together with Limits.
	Also map[string]Amounts
	// OnUnavailable overrides Options and the system defaults for this request.
	OnUnavailable OnUnavailable
}

func (r *Request) validate() error {
	if err := validateEntityID("entity_id", r.EntityID); err != nil {
		return err
	}
	if err := validateResource(r.Resource); err != nil {
		return err
	}
	if err := validateMode("on_unavailable", r.OnUnavailable); err != nil {
		return err
	}
	if err := validateLimits(r.Limits); err != nil {
		return err
	}
	return r.validateAlso()
}

// Acquire takes what the request declares, all or nothing, and returns a lease that the caller must
// Close (or Rollback). The consumption is in the store before Acquire returns.
//
// Errors: *ExceededError (over a limit), *DisabledError, *ValidationError (nothing configured, or a
// limit that is not), *PermissionError, one that wraps ErrVersion (readers of the table would not
// understand a limit of the request), and *UnavailableError for everything else, unless OnUnavailable is Allow: then the lease is degraded. A request whose reply got
// lost is never sent again: it is one *UnavailableError, and may or may not have been charged.
func (l *Limiter) Acquire(ctx context.Context, req Request) (*Lease, error) {
	if l.opts.Observe != nil {
		return l.observed(ctx, req)
	}
	return l.admit(ctx, req)
}

func (l *Limiter) admit(ctx context.Context, req Request) (*Lease, error) {
	lease := &Lease{limiter: l}
	a := &lease.acquire
	a.l, a.req = l, req
	if err := a.req.validate(); err != nil {
		return nil, err
	}
	if err := a.declare(); err != nil {
		return nil, err
	}
	a.now = l.nowMillis()
	var all *several
	if len(req.Also) > 0 {
		var err error
		if all, err = lease.extend(); err != nil {
			return nil, err
		}
	}
	lease.mode = a.resolveMode(ctx)
	err := a.gate(ctx)
	switch {
	case err != nil:
	case all != nil:
		err = all.run(ctx, lease.mode)
	default:
		err = a.run(ctx)
	}
	if err == nil {
		lease.begin()
		return lease, nil
	}
	err = a.mapError(err)
	if lease.mode == Allow && ctx.Err() != context.Canceled {
		if _, unavailable := errors.AsType[*UnavailableError](err); unavailable {
			l.logger.Warn("admitted without limits: store unavailable", "entity", req.EntityID, "resource", req.Resource, "error", err)
			return &Lease{limiter: l, degraded: true, trips: a.trips}, nil
		}
	}
	return nil, err
}

// Do acquires, runs f and closes the lease. When f returns an error or panics, or the context is
// cancelled while it runs, the consumption is rolled back, with a context of its own.
func (l *Limiter) Do(ctx context.Context, req Request, f func(context.Context, *Lease) error) error {
	lease, err := l.Acquire(ctx, req)
	if err != nil {
		return err
	}
	finished := false
	defer func() {
		if !finished {
			lease.rollback(ctx)
		}
	}()
	if err := f(ctx, lease); err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		return context.Cause(ctx)
	}
	finished = true
	return lease.Close(ctx)
}

// gate fails when the request brings a session quota that readers of the table would not understand.
func (a *acquire) gate(ctx context.Context) error {
	if len(a.req.Limits) == 0 || a.l.admin == nil || a.l.sessions.Load() {
		return nil
	}
	for i := range a.req.Limits {
		if a.req.Limits[i].ResetAfter > 0 {
			a.trips++
			if err := a.l.admin.RequireReaders(ctx, readersOfSessionQuotas, false); err != nil {
				return err
			}
			a.l.sessions.Store(true)
			return nil
		}
	}
	return nil
}

// mapError gives what leaves Acquire its documented type.
func (a *acquire) mapError(err error) error {
	if e, ok := errors.AsType[*ExceededError](err); ok {
		e.EntityID, e.Resource, e.RoundTrips = a.req.EntityID, a.req.Resource, a.trips
		return e
	}
	switch err.(type) {
	case *ValidationError, *DisabledError:
		return err
	}
	if errors.Is(err, ErrVersion) {
		return err
	}
	if errors.Is(err, ErrAccessDenied) {
		return &PermissionError{Stack: a.l.stack, EntityID: a.req.EntityID, Resource: a.req.Resource, Err: err}
	}
	return &UnavailableError{Stack: a.l.stack, EntityID: a.req.EntityID, Resource: a.req.Resource, Err: err}
}

// resolveMode says what this acquire does when the store is unavailable. Reading the system defaults
// may fail; then the last value counts, or Block.
func (a *acquire) resolveMode(ctx context.Context) OnUnavailable {
	switch l := a.l; {
	case a.req.OnUnavailable != "":
		return a.req.OnUnavailable
	case l.opts.OnUnavailable != "":
		return l.opts.OnUnavailable
	}
	system, trips, err := a.l.configs.system(ctx, a.l, a.now)
	a.trips += trips
	if err == nil {
		mode := system.OnUnavailable
		if mode == "" {
			mode = Block
		}
		if last, _ := a.l.mode.Load().(OnUnavailable); last != mode {
			a.l.mode.Store(mode)
		}
		return mode
	}
	if last, ok := a.l.mode.Load().(OnUnavailable); ok {
		return last
	}
	return Block
}
