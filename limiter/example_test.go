package limiter_test

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func Example() {
	ctx := context.Background()
	clock := func() time.Time { return time.UnixMilli(1_800_000_000_000) } // stands still, for the output's sake
	l, err := limiter.New(memstore.New(), limiter.Options{Clock: clock})
	if err != nil {
		panic(err)
	}
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 2)}, limiter.Block); err != nil {
		panic(err)
	}
	request := limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
	for range 3 {
		err := l.Do(ctx, request, func(context.Context, *limiter.Lease) error {
			fmt.Println("called")
			return nil
		})
		if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
			fmt.Println("wait", exceeded.RetryAfter())
		}
	}
	// Output:
	// called
	// called
	// wait 30.001s
}

func ExampleLease_Adjust() {
	ctx := context.Background()
	l, err := limiter.New(memstore.New(), limiter.Options{Clock: func() time.Time { return time.UnixMilli(1_800_000_000_000) }})
	if err != nil {
		panic(err)
	}
	if err := l.Admin().SetResourceDefaults(ctx, "gpt-4", []limiter.Limit{limiter.PerMinute("tpm", 1000)}); err != nil {
		panic(err)
	}
	// The cost of a call is known only afterwards: take an estimate, correct it, go into debt if need be.
	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"tpm": 500}})
	if err != nil {
		panic(err)
	}
	if err := lease.Adjust(limiter.Amounts{"tpm": 700}); err != nil {
		panic(err)
	}
	if err := lease.Close(ctx); err != nil {
		panic(err)
	}
	available, err := l.Available(ctx, "user-1", "gpt-4", nil)
	fmt.Println(available["tpm"], err)
	// Output: -200 <nil>
}
