package storetest

import (
	"errors"
	"maps"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func topUp(e *limiter.Extra) int64  { return e.TopUp }
func resets(e *limiter.Extra) int64 { return e.Resets }

func (f *fixture) operated(got limiter.OperationResult, err error) func(shards int, amounts limiter.Amounts) {
	return func(shards int, amounts limiter.Amounts) {
		f.Helper()
		f.must(err)
		if got.Shards != shards || !maps.Equal(got.Amounts, amounts) {
			f.Errorf("%+v, want %d shards and %v", got, shards, amounts)
		}
	}
}

// testOperations is what release 0.17.0 of the Python client did, digit by digit.
func testOperations(f *fixture) {
	admin := f.lim.Admin()
	ctx := f.Context()
	f.defaults(f.day(), limiter.SessionQuota("ses", 50, 5*time.Hour), limiter.PerMinute("rpm", 60))
	f.admit(f.lim, "u", limiter.Amounts{"day": 10, "ses": 10, "rpm": 1})

	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"day": 25}, "k1"))(1, limiter.Amounts{"day": 25})
	b := f.bucket("u", 0)
	if b.RF != start+1 || !b.HasVU || b.VU != 0 {
		f.Errorf("after a top-up: %+v", b)
	}
	f.holds("u", 0, "day", 115_000, 10_000)
	f.mark("u", 0, "day", limiter.FieldTopUp, topUp, 25_000)
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"day": 25}, "k1"))(1, limiter.Amounts{"day": 25}) // no second time
	f.holds("u", 0, "day", 115_000, 10_000)
	_, err := admin.ResetBucket(ctx, "u", resource, nil, "k1")
	if _, ok := errors.AsType[*limiter.ValidationError](err); !ok {
		f.Errorf("the key of another operation: %v", err)
	}
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"rpm": 5}, ""))(1, limiter.Amounts{"rpm": 1}) // what is missing to the ceiling
	f.holds("u", 0, "rpm", 60_000, 1000)

	f.operated(admin.ResetBucket(ctx, "u", resource, []string{"day", "ses"}, ""))(1, limiter.Amounts{"day": -15, "ses": 10})
	f.holds("u", 0, "day", 100_000, 10_000)
	f.mark("u", 0, "day", limiter.FieldTopUp, topUp, -1)
	f.mark("u", 0, "day", limiter.FieldResets, resets, 1)
	f.holds("u", 0, "ses", 40_000, 10_000)
	f.mark("u", 0, "ses", limiter.FieldWindowStart, windowStart, start-5*3600_000)
	f.mark("u", 0, "ses", limiter.FieldWindowApplied, windowApplied, start-5*3600_000)
	f.admit(f.lim, "u", limiter.Amounts{"ses": 50}) // a new window has the whole share
	f.holds("u", 0, "ses", 0, 60_000)
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"ses": 7}, ""))(1, limiter.Amounts{"ses": 7})
	f.admit(f.lim, "u", limiter.Amounts{"ses": 7})
	f.refuse(f.lim, "u", limiter.Amounts{"ses": 1})

	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 0})
	f.must(lease.Adjust(limiter.Amounts{"rpm": 100}))
	f.must(lease.Close(ctx))
	f.operated(admin.ResetBucket(ctx, "u", resource, []string{"rpm"}, ""))(1, limiter.Amounts{"rpm": 100}) // debt is forgiven
	events, err := admin.AuditEvents(ctx, "u", 0, "")
	f.must(err)
	if len(events) != 5 || events[0].Action != "bucket_reset" || events[4].Action != "bucket_topped_up" || events[4].Resource != resource || events[4].Details["shards"] != int64(1) {
		f.Errorf("audit events: %+v", events)
	}
	for _, bad := range []func() error{
		func() error { _, err := admin.TopUp(ctx, "u", resource, limiter.Amounts{"nope": 1}, ""); return err },
		func() error { _, err := admin.TopUp(ctx, "u", resource, limiter.Amounts{"day": 0}, ""); return err },
		func() error { _, err := admin.TopUp(ctx, "u", resource, nil, ""); return err },
		func() error { _, err := admin.ResetBucket(ctx, "u", resource, nil, "a b"); return err },
		func() error { _, err := admin.ResetBucket(ctx, "u", limiter.DefaultResource, nil, ""); return err },
	} {
		if _, ok := errors.AsType[*limiter.ValidationError](bad()); !ok {
			f.Errorf("%v, want a *ValidationError", bad())
		}
	}
}

func testOperationsOnShards(f *fixture) {
	admin := f.lim.Admin()
	f.defaults(f.day(), limiter.PerMinute("rpm", 100))
	f.admit(f.lim, "u", limiter.Amounts{"day": 20, "rpm": 50})
	for range 2 { // to four shards, of which one exists
		b := f.bucket("u", 0)
		_, _, err := f.store.Store.Double(f.Context(), "u", resource, b.Shards())
		f.must(err)
	}
	second := f.limiter(limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: true, Rand: func(n int) int { return n - 1 }})
	f.admit(second, "u", limiter.Amounts{"rpm": 1}) // learns the count
	f.admit(second, "u", limiter.Amounts{"rpm": 1})
	keys, err := f.store.BucketKeys(f.Context(), "u", resource)
	f.must(err)
	sum := func() (total int64) {
		for _, k := range keys {
			b := f.bucket("u", k.Shard)
			total += b.Limit("day").Tokens
		}
		return total
	}
	before := sum()
	result, err := admin.TopUp(f.Context(), "u", resource, limiter.Amounts{"day": 10}, "")
	f.must(err)
	if result.Shards != len(keys) || result.Amounts["day"] != 10 || sum() != before+10_000 {
		f.Errorf("topped up %+v: %d millitokens, before %d", result, sum(), before)
	}
	result, err = admin.ResetBucket(f.Context(), "u", resource, []string{"rpm"}, "")
	f.must(err)
	for _, k := range keys {
		if b := f.bucket("u", k.Shard); b.Limit("rpm").Tokens != 25_000 || b.Shards() != 4 {
			f.Errorf("shard %d after a reset: %+v", k.Shard, b)
		}
	}
}

func testTopUpOfNoBucket(f *fixture) {
	admin := f.lim.Admin()
	ctx := f.Context()
	f.defaults(f.day(), limiter.PerMinute("rpm", 60))
	f.create(limiter.Entity{ID: "org"}, limiter.Entity{ID: "u", ParentID: "org", Cascade: true})
	f.operated(admin.ResetBucket(ctx, "u", resource, nil, ""))(0, limiter.Amounts{"day": 0, "rpm": 0})
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"rpm": 5}, ""))(0, limiter.Amounts{"rpm": 0})
	if b := f.bucket("u", 0); b.Exists {
		f.Errorf("a bucket without need: %+v", b)
	}
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"day": 5, "rpm": 5}, "k"))(1, limiter.Amounts{"day": 5, "rpm": 0})
	f.holds("u", 0, "day", 105_000, 0)
	f.holds("u", 0, "rpm", 60_000, 0)
	if b := f.bucket("u", 0); !b.Cascade || b.ParentID != "org" || !b.HasPGen || !b.HasVU || !b.HasTTL || b.Limit(limiter.WCU) == nil {
		f.Errorf("the bucket: %+v", b)
	}
	f.admit(f.lim, "u", limiter.Amounts{"day": 100})
	_, err := admin.Disable(ctx, "v", resource)
	f.must(err)
	_, err = admin.TopUp(ctx, "v", resource, limiter.Amounts{"day": 1}, "")
	if _, ok := errors.AsType[*limiter.DisabledError](err); !ok {
		f.Errorf("a top-up of what is disabled: %v", err)
	}
	// An entity made again does not find the record of its predecessor.
	f.must(admin.DeleteEntity(ctx, "u"))
	f.create(limiter.Entity{ID: "u"})
	f.operated(admin.TopUp(ctx, "u", resource, limiter.Amounts{"day": 5}, "k"))(1, limiter.Amounts{"day": 5})
}
