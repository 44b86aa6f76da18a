package redisstore_test

import (
	"context"
	"fmt"
	"log"

	"github.com/alicebob/miniredis/v2"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

// A guarded call on a Redis server.
func Example() {
	server := miniredis.NewMiniRedis() // stands for redis://127.0.0.1:6379
	if err := server.Start(); err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	ctx := context.Background()

	options, err := redisstore.ParseURL("redis://" + server.Addr() + "/0")
	if err != nil {
		log.Fatal(err)
	}
	store, err := redisstore.Open(options, "production")
	if err != nil {
		log.Fatal(err)
	}
	defer store.Close()
	l, err := limiter.New(store, limiter.Options{})
	if err != nil {
		log.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 60)}, ""); err != nil {
		log.Fatal(err)
	}
	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = lease.Close(ctx) }()
	fmt.Println(lease.Consumed()["rpm"], "of 60")
	// Output: 1 of 60
}
