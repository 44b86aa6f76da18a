// Package grpclimit limits the calls of a gRPC server: its interceptors acquire before the handler runs,
// refuse calls that are over a limit, and give back what failed calls took.
//
// It is a module of its own, so that those who import package limiter do not get gRPC with it.
package grpclimit

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// closeTimeout bounds what is written after a handler has returned, also when its client has gone.
const closeTimeout = 5 * time.Second

// Options configure the interceptors of a server.
type Options struct {
	// Demand says what a call takes; ok false means that it is not limited. method is the full name of the
	// method, message the request of a unary call and nil for a stream. Further resources go into
	// Request.Also. It must be safe for concurrent use.
	Demand func(ctx context.Context, method string, message any) (request limiter.Request, ok bool)
	// Failed says which codes of a handler give back what the call took; nil means none. A handler that
	// panics always does.
	Failed func(code codes.Code) bool
	// Logger is told what clients are not: why the limiter could not answer, and what could not be
	// written after the handler. nil discards.
	Logger *slog.Logger
}

// Interceptors limit calls. A stream is one call.
//
// Refusals are ResourceExhausted over a limit, with RetryInfo and QuotaFailure as details;
// PermissionDenied where an operator closed the resource; Unavailable when the limiter cannot answer and
// is not told to admit then; Internal for what is a mistake of the service.
type Interceptors struct {
	limiter *limiter.Limiter
	opts    Options
}

// New returns the interceptors of a server that takes from l.
func New(l *limiter.Limiter, opts Options) (*Interceptors, error) {
	switch {
	case l == nil:
		return nil, errors.New("grpclimit: limiter is nil")
	case opts.Demand == nil:
		return nil, errors.New("grpclimit: Options.Demand is nil; it says what each call takes")
	}
	if opts.Failed == nil {
		opts.Failed = func(codes.Code) bool { return false }
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return &Interceptors{l, opts}, nil
}

// Unary is a grpc.UnaryServerInterceptor.
func (i *Interceptors) Unary(ctx context.Context, message any, info *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (answer any, err error) {
	err = i.call(ctx, info.FullMethod, message, func(ctx context.Context) error {
		answer, err = handler(ctx, message)
		return err
	})
	return answer, err
}

// Stream is a grpc.StreamServerInterceptor.
func (i *Interceptors) Stream(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	return i.call(stream.Context(), info.FullMethod, nil, func(ctx context.Context) error {
		return handler(service, &limitedStream{stream, ctx})
	})
}

type limitedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *limitedStream) Context() context.Context { return s.ctx }

func (i *Interceptors) call(ctx context.Context, method string, message any, handle func(context.Context) error) error {
	request, limited := i.opts.Demand(ctx, method, message)
	if !limited {
		return handle(ctx)
	}
	lease, err := i.limiter.Acquire(ctx, request)
	if err != nil {
		return i.refusal(err)
	}
	kept := false
	defer func() {
		// The cost does not depend on whether the client has waited for the answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		end := lease.Rollback
		if kept {
			end = lease.Close
		}
		if err := end(ctx); err != nil {
			i.opts.Logger.Error("lease could not be written", "entity", request.EntityID, "resource", request.Resource, "error", err)
		}
	}()
	err = handle(context.WithValue(ctx, leaseKey{}, lease))
	kept = err == nil || !i.opts.Failed(status.Code(err))
	return err
}

func (i *Interceptors) refusal(err error) error {
	if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
		failure := &errdetails.QuotaFailure{}
		for _, s := range exceeded.Violations() {
			failure.Violations = append(failure.Violations, &errdetails.QuotaFailure_Violation{
				Subject: strings.Join([]string{s.EntityID, s.Resource}, "/"), Description: s.Limit.Name,
			})
		}
		refused := status.New(codes.ResourceExhausted, exceeded.Error())
		detailed, err := refused.WithDetails(&errdetails.RetryInfo{RetryDelay: durationpb.New(exceeded.RetryAfter())}, failure)
		if err != nil {
			return refused.Err()
		}
		return detailed.Err()
	}
	if disabled, ok := errors.AsType[*limiter.DisabledError](err); ok {
		return status.Error(codes.PermissionDenied, disabled.Error())
	}
	if _, ok := errors.AsType[*limiter.UnavailableError](err); ok {
		for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
			if errors.Is(err, ended) {
				return status.FromContextError(ended).Err()
			}
		}
		i.opts.Logger.Error("rate limiter unavailable", "error", err)
		return status.Error(codes.Unavailable, "rate limiter unavailable")
	}
	i.opts.Logger.Error("call could not be limited", "error", err)
	return status.Error(codes.Internal, "call could not be rate limited")
}

type leaseKey struct{}

// Lease returns the lease of the call that ctx belongs to, nil when it is not limited. It ends when the
// handler returns; the handler must not end it.
func Lease(ctx context.Context) *limiter.Lease {
	lease, _ := ctx.Value(leaseKey{}).(*limiter.Lease)
	return lease
}
