package limiter

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// Observe watches acquires. It is called before each one and may return another context for it; the
// function that it returns is called with the result, before Acquire returns: a lease, which it must
// not change or end, or the error. Both run on the caller's goroutine and must be safe for concurrent
// use.
type Observe func(ctx context.Context, req Request) (context.Context, func(*Lease, error))

// observed is Acquire with an observer. It is a function of its own so that a request costs nothing
// more where there is none.
//
//go:noinline
func (l *Limiter) observed(ctx context.Context, req Request) (*Lease, error) {
	ctx, done := l.opts.Observe(ctx, req)
	lease, err := l.admit(ctx, req)
	done(lease, err)
	return lease, err
}

// Decision names how an acquire ended, for logs and metrics: admitted, degraded, exceeded, contended,
// disabled, unavailable, denied or invalid.
func Decision(lease *Lease, err error) string {
	switch {
	case err == nil && lease.Degraded():
		return "degraded"
	case err == nil:
		return "admitted"
	}
	if exceeded, ok := errors.AsType[*ExceededError](err); ok {
		if exceeded.Contended {
			return "contended"
		}
		return "exceeded"
	}
	if _, ok := errors.AsType[*DisabledError](err); ok {
		return "disabled"
	}
	if _, ok := errors.AsType[*UnavailableError](err); ok {
		return "unavailable"
	}
	if _, ok := errors.AsType[*PermissionError](err); ok {
		return "denied"
	}
	return "invalid"
}

// LogAcquires observes by logging each acquire: those that were admitted at debug level, those that
// were refused at info level, and those that could not be decided at error level.
func LogAcquires(logger *slog.Logger) Observe {
	return func(ctx context.Context, req Request) (context.Context, func(*Lease, error)) {
		begin := time.Now()
		return ctx, func(lease *Lease, err error) {
			decision := Decision(lease, err)
			level := slog.LevelDebug
			switch decision {
			case "exceeded", "contended", "disabled":
				level = slog.LevelInfo
			case "degraded", "unavailable", "denied", "invalid":
				level = slog.LevelError
			}
			if !logger.Enabled(ctx, level) {
				return
			}
			attributes := []slog.Attr{
				slog.String("entity", req.EntityID), slog.String("resource", req.Resource), slog.String("decision", decision),
				slog.Duration("duration", time.Since(begin)),
			}
			if err == nil {
				attributes = append(attributes, slog.Int("round_trips", lease.RoundTrips()))
			} else {
				attributes = append(attributes, slog.Any("error", err))
			}
			logger.LogAttrs(ctx, level, "acquire", attributes...)
		}
	}
}
