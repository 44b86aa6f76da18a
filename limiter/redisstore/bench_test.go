//go:build interop

package redisstore_test

import (
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

// benchmarkTogether measures acquires by 64 goroutines over 4,096 entities: what they send goes out together.
func benchmarkTogether(b *testing.B, o redisstore.Options) {
	l, err := limiter.New(onNamespace(b, o), limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(b.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		b.Fatal(err)
	}
	requests := make([]limiter.Request, 4096)
	for i := range requests {
		requests[i] = limiter.Request{EntityID: "user-" + strconv.Itoa(i), Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
		if _, err := l.Acquire(b.Context(), requests[i]); err != nil {
			b.Fatal(err)
		}
	}
	var next atomic.Int64
	b.SetParallelism(64)
	b.ReportAllocs()
	b.ResetTimer()
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			lease, err := l.Acquire(b.Context(), requests[next.Add(1)%int64(len(requests))])
			if err != nil {
				b.Error(err)
				return
			}
			if err := lease.Close(b.Context()); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
