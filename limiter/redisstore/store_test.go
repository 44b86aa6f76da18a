package redisstore_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore"
)

// exercise makes calls of every kind on a namespace, and empties it.
func exercise(t *testing.T, s *redisstore.Store) {
	t.Helper()
	ctx := t.Context()
	l, err := limiter.New(s, limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(s.Ping(ctx))
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 100)}, ""))
	_, err = l.Admin().CreateEntity(ctx, limiter.Entity{ID: "org"})
	must(err)
	_, err = l.Admin().CreateEntity(ctx, limiter.Entity{ID: "kid", ParentID: "org", Cascade: true})
	must(err)
	for range 3 {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "kid", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1}})
		must(err)
		must(lease.Adjust(limiter.Amounts{"rpm": 1}))
		must(lease.Close(ctx))
	}
	buckets, err := s.ResourceBuckets(ctx, "gpt-4")
	must(err)
	if len(buckets) != 2 || buckets[0].EntityID != "kid" || buckets[1].EntityID != "org" || buckets[1].Limit("rpm").Counter != 6000 {
		t.Errorf("buckets: %+v", buckets)
	}
	deleted, err := s.Purge(ctx)
	must(err)
	if deleted == 0 {
		t.Error("nothing was purged")
	}
	if keys, err := s.BucketKeys(ctx, "", ""); err != nil || len(keys) != 0 {
		t.Errorf("after the purge: %v, %v", keys, err)
	}
}
