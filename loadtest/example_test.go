package loadtest_test

import (
	"context"
	"fmt"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// A run is written in Go with user classes as values.
func Example() {
	greet := func(_ context.Context, u *loadtest.User) error {
		start := time.Now()
		// … the call to measure …
		u.Record(stats.Sample{Type: "GREET", Name: "world", Start: start, Duration: time.Since(start)})
		return loadtest.ErrStopUser // one greeting each
	}
	runner, err := loadtest.NewRunner(loadtest.Config{
		Classes: []*loadtest.UserClass{{
			Name:     "Greeter",
			Tasks:    []loadtest.Task{{Name: "greet", Run: greet}},
			WaitTime: loadtest.Constant(10 * time.Millisecond),
		}},
		Users:       5,
		SpawnRate:   100,
		Duration:    50 * time.Millisecond,
		StopTimeout: time.Second,
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	snapshot, err := runner.Run(context.Background())
	if err != nil {
		fmt.Println(err)
		return
	}
	for _, entry := range snapshot.Entries {
		fmt.Println(entry.Type, entry.Name, entry.Requests, "requests,", entry.Failures, "failures")
	}
	// Output: GREET world 5 requests, 0 failures
}
