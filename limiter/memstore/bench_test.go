package memstore_test

import (
	"context"
	"strconv"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

const benchEntities = 4096

// benchLimiter spreads over 4,096 entities, so that no shard reaches the 1,000 writes a second of wcu in
// the clock that the benchmark advances.
func benchLimiter(b *testing.B, opts limiter.Options) (*limiter.Limiter, []limiter.Request) {
	b.Helper()
	l, err := limiter.New(memstore.New(), opts)
	if err != nil {
		b.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(b.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		b.Fatal(err)
	}
	requests := make([]limiter.Request, benchEntities)
	for i := range requests {
		requests[i] = limiter.Request{EntityID: "entity-" + strconv.Itoa(i), Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
		acquireOnce(b, l, requests[i])
	}
	return l, requests
}

func acquireOnce(tb testing.TB, l *limiter.Limiter, request limiter.Request) {
	lease, err := l.Acquire(context.Background(), request)
	if err != nil {
		tb.Fatal(err)
	}
	if err := lease.Close(context.Background()); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkAcquireMemstore(b *testing.B) {
	for _, mode := range []struct {
		name string
		opts limiter.Options
	}{
		{"speculative", limiter.Options{RejectionCacheTTL: -1}},
		{"rejection cache", limiter.Options{}},
		{"read then write", limiter.Options{DisableSpeculation: true, RejectionCacheTTL: -1}},
	} {
		b.Run(mode.name, func(b *testing.B) {
			l, requests := benchLimiter(b, mode.opts)
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				acquireOnce(b, l, requests[i%benchEntities])
				i++
			}
		})
		b.Run(mode.name+"/parallel", func(b *testing.B) {
			l, requests := benchLimiter(b, mode.opts)
			b.ReportAllocs()
			var worker atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				i := int(worker.Add(1)) * 997
				for pb.Next() {
					acquireOnce(b, l, requests[i%benchEntities])
					i++
				}
			})
		})
	}
}

func TestAcquireAllocatesTheLeaseOnly(t *testing.T) {
	l, err := limiter.New(memstore.New(), limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000_000)}, ""); err != nil {
		t.Fatal(err)
	}
	request := limiter.Request{EntityID: "u", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}}
	acquireOnce(t, l, request)
	if got := testing.AllocsPerRun(100, func() { acquireOnce(t, l, request) }); got > 1 {
		t.Errorf("%v allocations per acquire, want 1", got)
	}
}
