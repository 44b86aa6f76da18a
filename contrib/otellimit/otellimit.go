// Package otellimit observes acquires with OpenTelemetry: a span and a measurement for each.
//
// It is a module of its own, so that those who import package limiter do not get OpenTelemetry with it.
package otellimit

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/zeroae/zae-limiter-go/limiter"
)

const scope = "github.com/zeroae/zae-limiter-go/contrib/otellimit"

// Options name the providers. One that is nil is left out.
type Options struct {
	// Tracer gets the spans "limiter.acquire", with the attributes limiter.entity, limiter.resource,
	// limiter.decision and limiter.round_trips. A refusal is no error of a span; a limiter that
	// could not decide is.
	Tracer trace.TracerProvider
	// Meter gets the histogram "limiter.acquire.duration" (seconds), with the attributes limiter.resource
	// and limiter.decision. Entities are too many to be attributes of measurements.
	Meter metric.MeterProvider
}

// Observe returns the observer for limiter.Options.
func Observe(opts Options) (limiter.Observe, error) {
	if opts.Tracer == nil {
		opts.Tracer = tracenoop.NewTracerProvider()
	}
	if opts.Meter == nil {
		opts.Meter = metricnoop.NewMeterProvider()
	}
	tracer := opts.Tracer.Tracer(scope)
	duration, err := opts.Meter.Meter(scope).Float64Histogram("limiter.acquire.duration", metric.WithUnit("s"),
		metric.WithDescription("How long an acquire took, whatever came of it."),
		metric.WithExplicitBucketBoundaries(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5))
	if err != nil {
		return nil, fmt.Errorf("otellimit: %w", err)
	}
	return func(ctx context.Context, req limiter.Request) (context.Context, func(*limiter.Lease, error)) {
		begin := time.Now()
		resource := attribute.String("limiter.resource", req.Resource)
		ctx, span := tracer.Start(ctx, "limiter.acquire", trace.WithAttributes(attribute.String("limiter.entity", req.EntityID), resource))
		return ctx, func(lease *limiter.Lease, err error) {
			decision := limiter.Decision(lease, err)
			duration.Record(ctx, time.Since(begin).Seconds(), metric.WithAttributes(resource, attribute.String("limiter.decision", decision)))
			span.SetAttributes(attribute.String("limiter.decision", decision))
			exceeded, refused := errors.AsType[*limiter.ExceededError](err)
			_, disabled := errors.AsType[*limiter.DisabledError](err)
			switch {
			case err == nil:
				span.SetAttributes(attribute.Int("limiter.round_trips", lease.RoundTrips()))
			case refused:
				span.SetAttributes(attribute.Int("limiter.round_trips", exceeded.RoundTrips), attribute.Float64("limiter.retry_after_seconds", exceeded.RetryAfter().Seconds()))
			case !disabled:
				span.RecordError(err)
				span.SetStatus(codes.Error, decision)
			}
			span.End()
		}
	}, nil
}
