package bucket_test

import (
	"fmt"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

func Example() {
	limit := bucket.Limit{Params: bucket.Params{Capacity: 100, Refill: 100, Period: 60}}
	state := limit.New(0, 1) // at time 0, on the only shard
	state, ok, _ := state.TryConsume(100, 0)
	fmt.Println(ok, state.Available(0))
	_, ok, wait := state.TryConsume(10, 3000) // 5 have come back after 3 s
	fmt.Println(ok, state.Available(3000), wait)
	// Output:
	// true 0
	// false 5 3001
}
