//go:build interop

package differential

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// ourSide makes the operations of a differential run with our limiter.
type ourSide struct {
	d       *differential
	store   *dynamostore.Store
	limiter *limiter.Limiter
}

func (s *ourSide) restart(t fatal) {
	l, err := limiter.New(s.store, limiter.Options{
		DisableSpeculation: !s.d.speculative,
		Clock:              func() time.Time { return time.UnixMilli(s.d.now) },
		Rand:               s.rand,
		RejectionCacheTTL:  map[bool]time.Duration{true: time.Second, false: -1}[s.d.memory],
	})
	if err != nil {
		t.Fatalf("limiter: %v", err)
	}
	s.limiter = l
}

// rand draws shards as the operation says, and the longest life for stamps.
func (s *ourSide) rand(n int) int {
	if n > limiter.MaxShards {
		return 0
	}
	return s.d.draw % n
}

// do answers as the Python side does.
func (s *ourSide) do(op operation) map[string]any {
	result, err := s.result(context.Background(), op)
	if err != nil {
		described := describeError(err)
		if e, ok := errors.AsType[*limiter.ExceededError](err); ok && e.RoundTrips == 0 {
			described["from_memory"] = true
		}
		return map[string]any{"error": described}
	}
	return map[string]any{"result": result}
}

func (s *ourSide) result(ctx context.Context, op operation) (any, error) {
	admin := s.limiter.Admin().As("operator")
	switch op.Do {
	case "acquire":
		return s.acquire(ctx, op)
	case "available":
		return s.available(ctx, op)
	case "create_entity":
		_, err := admin.CreateEntity(ctx, limiter.Entity{ID: op.Entity, ParentID: op.Parent, Cascade: op.Cascade})
		return nil, err
	case "delete_entity":
		return nil, admin.DeleteEntity(ctx, op.Entity)
	case "set_parent":
		return admin.SetParent(ctx, op.Entity, op.Parent)
	case "set_limits":
		switch {
		case op.Entity != "":
			return nil, admin.SetLimits(ctx, op.Entity, op.Resource, op.Limits)
		case op.Resource != "":
			return nil, admin.SetResourceDefaults(ctx, op.Resource, op.Limits)
		}
		return nil, admin.SetSystemDefaults(ctx, op.Limits, "")
	case "delete_limits":
		switch {
		case op.Entity != "":
			return nil, admin.DeleteLimits(ctx, op.Entity, op.Resource)
		case op.Resource != "":
			return nil, admin.DeleteResourceDefaults(ctx, op.Resource)
		}
		return nil, admin.DeleteSystemDefaults(ctx)
	case "set_flag":
		value := map[any]limiter.Flag{nil: limiter.Unset, false: limiter.Off, true: limiter.On, "bypass": limiter.Bypassed}[op.Value]
		return admin.SetFlag(ctx, limiter.ConfigKey{EntityID: op.Entity, Resource: op.Resource}, op.Flag, value)
	case "reset":
		out, err := admin.ResetBucket(ctx, op.Entity, op.Resource, op.Names, op.Key)
		return map[string]any{"shards": out.Shards, "amounts": out.Amounts}, err
	case "top_up":
		out, err := admin.TopUp(ctx, op.Entity, op.Resource, op.Consume, op.Key)
		return map[string]any{"shards": out.Shards, "amounts": out.Amounts}, err
	}
	return nil, errors.New("unknown operation " + op.Do)
}

func (s *ourSide) acquire(ctx context.Context, op operation) (any, error) {
	now := s.d.now
	defer func() { s.d.now = now }() // the driver moves it on for both sides
	lease, err := s.limiter.Acquire(ctx, limiter.Request{EntityID: op.Entity, Resource: op.Resource, Consume: op.Consume, Limits: op.Limits, Also: op.Also})
	if err != nil {
		return nil, err
	}
	out := map[string]any{"bypassed": lease.Bypassed()}
	steps := []any{}
	for _, st := range op.Steps {
		s.d.now += st.Advance
		var target interface {
			Consume(limiter.Amounts) error
			Adjust(limiter.Amounts) error
			Release(limiter.Amounts) error
		} = lease
		if st.Resource != "" {
			target = lease.Resource(st.Resource)
		}
		err := map[string]func(limiter.Amounts) error{"consume": target.Consume, "adjust": target.Adjust, "release": target.Release}[st.Do](st.Amounts)
		if err != nil {
			steps = append(steps, describeError(err))
			continue
		}
		steps = append(steps, nil)
	}
	out["steps"] = steps
	out["consumed"] = lease.Consumed()
	overdrawn := lease.Overdrawn()
	if overdrawn == nil {
		overdrawn = []string{}
	}
	out["overdrawn"] = overdrawn
	if op.Fails {
		out["fails"] = true
		return out, lease.Rollback(ctx)
	}
	return out, lease.Close(ctx)
}

func (s *ourSide) available(ctx context.Context, op operation) (any, error) {
	a, err := s.limiter.CheckAvailability(ctx, op.Entity, op.Resource, op.Consume, nil)
	if err != nil {
		return nil, err
	}
	statuses := []any{}
	for _, st := range a.Statuses {
		statuses = append(statuses, map[string]any{"limit": st.Limit.Name, "capacity": st.Limit.Capacity, "available": st.Available,
			"requested": st.Requested, "exceeded": st.Exceeded, "retry_after_seconds": float64(st.RetryAfter.Milliseconds()) / 1000})
	}
	return map[string]any{"bypassed": a.Bypassed, "statuses": statuses}, nil
}

// describeError is an error by Python's name, with what is compared of it.
func describeError(err error) map[string]any {
	out := map[string]any{"message": err.Error()}
	if e, ok := errors.AsType[*limiter.ExceededError](err); ok {
		out["type"], out["as_dict"] = "RateLimitExceeded", json.Marshaler(e)
		out["retry_after"], out["header"] = float64(e.RetryAfter().Milliseconds())/1000, e.RetryAfterHeader()
		return out
	}
	if e, ok := errors.AsType[*limiter.DisabledError](err); ok {
		out["type"], out["entity_id"], out["resource"], out["level"] = "ResourceDisabled", e.EntityID, e.Resource, e.Level
		return out
	}
	if e, ok := errors.AsType[*limiter.ValidationError](err); ok {
		out["type"], out["field"] = "ValidationError", e.Field
		return out
	}
	if e, ok := errors.AsType[*limiter.UnavailableError](err); ok {
		out["type"], out["entity_id"], out["resource"] = "RateLimiterUnavailable", e.EntityID, e.Resource
		return out
	}
	switch {
	case errors.Is(err, limiter.ErrEntityExists):
		out["type"] = "EntityExistsError"
	case errors.Is(err, limiter.ErrEntityNotFound):
		out["type"] = "EntityNotFoundError"
	case errors.Is(err, limiter.ErrVersion):
		out["type"] = "VersionMismatchError"
	default:
		out["type"] = "unknown"
	}
	return out
}
