package storetest

import (
	"strconv"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Benchmark measures acquires over 4,096 entities, so that wcu, the 1,000 writes a second of a shard,
// does not measure itself.
func Benchmark(b *testing.B, open func(b *testing.B) Store) {
	for _, mode := range []struct {
		name string
		opts limiter.Options
	}{
		{"speculative", limiter.Options{RejectionCacheTTL: -1}},
		{"read then write", limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: true}},
	} {
		b.Run(mode.name, func(b *testing.B) { benchmarkAcquire(b, open(b), mode.opts) })
	}
}

func benchmarkAcquire(b *testing.B, store Store, opts limiter.Options) {
	l, err := limiter.New(store, opts)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(b.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		b.Fatal(err)
	}
	requests := make([]limiter.Request, 4096)
	for i := range requests {
		requests[i] = limiter.Request{EntityID: "user-" + strconv.Itoa(i), Resource: resource, Consume: limiter.Amounts{"rpm": 1}}
		if _, err := l.Acquire(b.Context(), requests[i]); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	i := 0
	for b.Loop() {
		lease, err := l.Acquire(b.Context(), requests[i%len(requests)])
		if err != nil {
			b.Fatal(err)
		}
		if err := lease.Close(b.Context()); err != nil {
			b.Fatal(err)
		}
		i++
	}
}
