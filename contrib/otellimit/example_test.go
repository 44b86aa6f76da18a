package otellimit_test

import (
	"context"
	"fmt"
	"log"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/zeroae/zae-limiter-go/contrib/otellimit"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func Example() {
	ctx := context.Background()
	spans := tracetest.NewSpanRecorder() // a service has the exporter of its collector
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(spans))

	observe, err := otellimit.Observe(otellimit.Options{Tracer: provider})
	if err != nil {
		log.Fatal(err)
	}
	l, err := limiter.New(memstore.New(), limiter.Options{Observe: observe})
	if err != nil {
		log.Fatal(err)
	}

	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 1)}, limiter.Block); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		_ = l.Do(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 1}},
			func(context.Context, *limiter.Lease) error { return nil })
	}
	for _, span := range spans.Ended() {
		for _, a := range span.Attributes() {
			if a.Key == "limiter.decision" {
				fmt.Println(span.Name(), a.Value.AsString())
			}
		}
	}
	// Output:
	// limiter.acquire admitted
	// limiter.acquire exceeded
}
