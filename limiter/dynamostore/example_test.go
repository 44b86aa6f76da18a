package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// From a table to an acquire. A service passes a client made by NewClient, or any *dynamodb.Client, where the
// example passes an engine in the same process.
func Example() {
	ctx := context.Background()
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer engine.Close()

	table := dynamostore.OpenTable(engine.Client(), "zae-limiter", dynamostore.TableOptions{})
	if err := table.Create(ctx); err != nil { // a table that exists is checked instead: table.Check
		log.Fatal(err)
	}
	namespace, err := table.RegisterNamespace(ctx, "default")
	if err != nil {
		log.Fatal(err)
	}
	// The clock stands still for the output's sake.
	l, err := limiter.New(table.Store(namespace), limiter.Options{Clock: func() time.Time { return time.UnixMilli(1_800_000_000_000) }})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Admin().SetResourceDefaults(ctx, "gpt-4", []limiter.Limit{limiter.PerMinute("rpm", 1)}); err != nil {
		log.Fatal(err)
	}
	for range 2 {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}})
		if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
			fmt.Println(exceeded, "- Retry-After:", exceeded.RetryAfterHeader())
			continue
		}
		if err != nil {
			log.Fatal(err)
		}
		fmt.Println("admitted after", lease.RoundTrips(), "round trips")
		if err := lease.Close(ctx); err != nil {
			log.Fatal(err)
		}
	}
	// Output:
	// admitted after 4 round trips
	// Rate limit exceeded for user-1/gpt-4: [rpm]. Retry after 60.0s - Retry-After: 61
}
