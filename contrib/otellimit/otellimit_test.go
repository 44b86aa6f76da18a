package otellimit_test

import (
	"context"
	"slices"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/zeroae/zae-limiter-go/contrib/otellimit"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func TestAcquiresAreTracedAndMeasured(t *testing.T) {
	spans := tracetest.NewSpanRecorder()
	reader := sdkmetric.NewManualReader()
	observe, err := otellimit.Observe(otellimit.Options{
		Tracer: sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans)),
		Meter:  sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader)),
	})
	if err != nil {
		t.Fatal(err)
	}
	l, err := limiter.New(memstore.New(), limiter.Options{Observe: observe})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerDay("rpd", 1)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	request := limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpd": 1}}
	for range 2 {
		_ = l.Do(t.Context(), request, func(context.Context, *limiter.Lease) error { return nil })
	}
	request.Consume = limiter.Amounts{"rpd": -1}
	_, _ = l.Acquire(t.Context(), request)

	var decisions []string
	for _, span := range spans.Ended() {
		attributes := attribute.NewSet(span.Attributes()...)
		entity, _ := attributes.Value("limiter.entity")
		decision, _ := attributes.Value("limiter.decision")
		if span.Name() != "limiter.acquire" || entity.AsString() != "user-1" {
			t.Errorf("got span %s of %s", span.Name(), entity.AsString())
		}
		if failed := span.Status().Code == codes.Error; failed != (decision.AsString() == "invalid") {
			t.Errorf("%s: the span's status is %v", decision.AsString(), span.Status())
		}
		decisions = append(decisions, decision.AsString())
	}
	if want := []string{"admitted", "exceeded", "invalid"}; !slices.Equal(decisions, want) {
		t.Errorf("decisions: got %v, want %v", decisions, want)
	}

	var collected metricdata.ResourceMetrics
	if err := reader.Collect(t.Context(), &collected); err != nil {
		t.Fatal(err)
	}
	counts := map[string]uint64{}
	for _, point := range collected.ScopeMetrics[0].Metrics[0].Data.(metricdata.Histogram[float64]).DataPoints {
		decision, _ := point.Attributes.Value("limiter.decision")
		counts[decision.AsString()] += point.Count
		if _, found := point.Attributes.Value("limiter.entity"); found {
			t.Error("measurements name entities")
		}
	}
	if counts["admitted"] != 1 || counts["exceeded"] != 1 || counts["invalid"] != 1 {
		t.Errorf("counts: got %v", counts)
	}
}

func TestMissingProvidersAreLeftOut(t *testing.T) {
	observe, err := otellimit.Observe(otellimit.Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, done := observe(t.Context(), limiter.Request{EntityID: "user-1", Resource: "api"})
	done(nil, &limiter.DisabledError{})
}
