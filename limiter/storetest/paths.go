package storetest

import (
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

func testWorkedExample(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 10000))
	slow := f.limiter(limiter.Options{DisableSpeculation: true})

	f.admit(slow, "u", limiter.Amounts{"rpm": 100, "tpm": 500})
	b := f.bucket("u", 0)
	if b.RF != start || !b.HasTTL || b.TTL != 1800000420 || b.ShardCount != 1 || b.Cascade || b.HasVU || b.HasPGen || b.PInc != "" || b.ParentID != "" {
		f.Errorf("create: %+v", b)
	}
	f.holds("u", 0, "rpm", 0, 100000)
	f.holds("u", 0, "tpm", 9500000, 500000)
	f.holds("u", 0, limiter.WCU, 1000000, 0)
	if l := b.Limit("tpm"); l.Capacity != 10000000 || l.Refill != 10000000 || l.Period != 60000 {
		f.Errorf("tpm parameters: %+v", l)
	}

	f.clock.Store(start + 1234)
	lease := f.admit(slow, "u", limiter.Amounts{"rpm": 2, "tpm": 0})
	f.holds("u", 0, "rpm", 56, 102000)
	f.holds("u", 0, "tpm", 9705666, 500000)
	f.holds("u", 0, limiter.WCU, 1000000, 0)
	if b := f.bucket("u", 0); b.RF != start+1234 || b.TTL != 1800000421 || b.HasVU {
		f.Errorf("slow: rf %d ttl %d vu %v", b.RF, b.TTL, b.HasVU)
	}

	f.must(lease.Adjust(limiter.Amounts{"tpm": 20000}))
	f.must(lease.Close(f.Context()))
	f.holds("u", 0, "tpm", -10294334, 20500000)
	f.holds("u", 0, "rpm", 56, 102000)

	f.clock.Store(start + 2000)
	rejected := f.refuse(slow, "u", limiter.Amounts{"rpm": 2})
	if len(rejected.Statuses) != 1 || rejected.Statuses[0].Available != 1 || rejected.RetryAfter() != 401*time.Millisecond {
		f.Errorf("slow reject: %+v", rejected)
	}
	cached := f.limiter(limiter.Options{})
	for i, trips := range []int{2, 0} { // the system defaults are read first, once
		if rejected := f.refuse(cached, "u", limiter.Amounts{"rpm": 2}); rejected.RetryAfter() != 401*time.Millisecond || rejected.RoundTrips != trips {
			f.Errorf("fast reject %d: %+v", i, rejected)
		}
	}

	f.clock.Store(start + 62000)
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 2})
	f.holds("u", 0, "rpm", 98000, 104000)
	f.holds("u", 0, "tpm", -166668, 20500000)
	f.holds("u", 0, limiter.WCU, 1000000, 0)

	lease = f.admit(f.lim, "u", limiter.Amounts{"rpm": 2})
	f.holds("u", 0, "rpm", 96000, 106000)
	f.holds("u", 0, limiter.WCU, 999000, 1000)
	f.must(lease.Release(limiter.Amounts{"rpm": 1}))
	f.must(lease.Close(f.Context()))
	f.holds("u", 0, "rpm", 97000, 105000)
}

// testRoundTrips is the table of paths. The flags of a slow pass are read with META and bucket, so that
// its paths take one trip less than peers that read them apart.
func testRoundTrips(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 10))
	_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "org"})
	f.must(err)
	_, err = f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "member", ParentID: "org", Cascade: true})
	f.must(err)
	one := limiter.Amounts{"rpm": 1}
	expect := func(path string, trips int, calls int64, run func() int) {
		f.Helper()
		before := f.store.Calls()
		if got := run(); got != trips {
			f.Errorf("%s: got %d round trips, want %d", path, got, trips)
		}
		if got := f.store.Calls() - before; got != calls {
			f.Errorf("%s: got %d calls, want %d", path, got, calls)
		}
	}
	admit := func(l *limiter.Limiter, entity string, amounts limiter.Amounts) func() int {
		return func() int { f.Helper(); return f.admit(l, entity, amounts).RoundTrips() }
	}
	refuse := func(l *limiter.Limiter, entity string, amounts limiter.Amounts) func() int {
		return func() int { f.Helper(); return f.refuse(l, entity, amounts).RoundTrips }
	}
	expect("first acquire, everything cold", 4, 4, admit(f.lim, "u", limiter.Amounts{"rpm": 8}))
	expect("speculative success", 1, 1, admit(f.lim, "u", limiter.Amounts{"rpm": 2}))
	expect("fast rejection", 1, 1, refuse(f.lim, "u", one))
	f.clock.Add(31000)
	expect("speculative miss, refilled", 3, 3, admit(f.lim, "u", one))

	expect("first acquire of a cascade", 4, 4, admit(f.lim, "member", one))
	expect("cascade in parallel", 1, 2, admit(f.lim, "member", one))
	cold := f.limiter(limiter.Options{RejectionCacheTTL: -1})
	expect("cascade from a cold process, in turn, with the system defaults", 3, 3, admit(cold, "member", one))
	expect("cascade from there on in parallel", 1, 2, admit(cold, "member", one))

	slow := f.limiter(limiter.Options{DisableSpeculation: true, RejectionCacheTTL: -1})
	expect("read then write, system defaults cold", 3, 3, admit(slow, "u", one))
	expect("read then write", 2, 2, admit(slow, "u", one))
	expect("read then write, cascade from a cold process", 3, 3, admit(slow, "member", one))
	expect("read then write, cascade with a known parent", 2, 2, admit(slow, "member", one))
	expect("slow rejection", 1, 1, refuse(slow, "u", limiter.Amounts{"rpm": 10}))

	// The parent is drained by itself; the child stays charged while the parent is refilled.
	f.must(f.lim.Admin().SetLimits(f.Context(), "member", resource, []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
	f.admit(f.lim, "member", one)
	b := f.bucket("org", 0)
	f.admit(f.lim, "org", limiter.Amounts{"rpm": b.Limit("rpm").Tokens / 1000})
	f.clock.Add(28000)
	expect("parent-only refill", 3, 4, admit(f.lim, "member", one))

	cached := f.limiter(limiter.Options{})
	f.refuse(cached, "u", limiter.Amounts{"rpm": 11})
	expect("local rejection", 0, 0, refuse(cached, "u", limiter.Amounts{"rpm": 11}))

	lease := f.admit(f.lim, "member", one)
	f.must(lease.Adjust(limiter.Amounts{"rpm": 1}))
	before := f.store.Calls()
	f.must(lease.Close(f.Context()))
	if got := f.store.Calls() - before; got != 2 {
		f.Errorf("exit with adjustments under a cascade: got %d calls, want one per bucket", got)
	}
}

func testRemaindersAreKept(f *fixture) {
	f.defaults(limiter.PerSecond("rps", 10), limiter.PerDay("rpd", 50))
	slow := f.limiter(limiter.Options{DisableSpeculation: true, RejectionCacheTTL: -1})
	f.admit(slow, "u", limiter.Amounts{"rps": 1, "rpd": 50})
	for range 8 {
		f.clock.Add(1000)
		f.admit(slow, "u", limiter.Amounts{"rps": 1})
	}
	if b := f.bucket("u", 0); b.RF != start {
		f.Errorf("rf moved by %d ms although nothing needed a refill", b.RF-start)
	}
	f.clock.Add(192000)
	f.admit(slow, "u", limiter.Amounts{"rps": 10})
	if got := f.bucket("u", 0).Limits; got[0].Name != "rpd" || got[0].Tokens != 115 {
		f.Errorf("the slow limit regained %+v, want 115 millitokens", got[0])
	}
}

func testDoubling(f *fixture) {
	f.must(f.lim.Admin().SetSystemDefaults(f.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000)}, ""))
	one := limiter.Amounts{"rpm": 1}
	f.admit(f.lim, "u", one)
	for range 1000 {
		f.admit(f.lim, "u", one)
	}
	f.holds("u", 0, limiter.WCU, 0, 1000000)
	lease := f.admit(f.lim, "u", one)
	if lease.RoundTrips() != 4 {
		f.Errorf("doubling: got %d round trips, want W5, W6, read, create", lease.RoundTrips())
	}
	if b := f.bucket("u", 0); b.ShardCount != 2 {
		f.Errorf("shard 0 has count %d, want 2", b.ShardCount)
	}
	f.holds("u", 1, "rpm", 499_999_000, 1000)
	if b := f.bucket("u", 1); b.ShardCount != 2 || b.Limit("rpm").Capacity != 1_000_000_000 {
		f.Errorf("shard 1: %+v", b)
	}
	// A request larger than its share of twice as many shards keeps the count where it is.
	f.must(f.lim.Admin().SetLimits(f.Context(), "small", resource, []limiter.Limit{limiter.PerMinute("rpm", 10000)}))
	f.admit(f.lim, "small", limiter.Amounts{"rpm": 6000})
	for range 1001 {
		f.admit(f.lim, "small", one)
	}
	if b := f.bucket("small", 0); b.ShardCount != 1 {
		f.Errorf("a bucket of 10,000 was split although 6,000 were asked for: count %d", b.ShardCount)
	}
}

func testWCURefill(f *fixture) {
	f.must(f.lim.Admin().SetSystemDefaults(f.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1_000_000)}, ""))
	one := limiter.Amounts{"rpm": 1}
	exhaust := func() int {
		for n := 0; ; n++ {
			if f.admit(f.lim, "u", one).RoundTrips() > 1 {
				return n
			}
		}
	}
	exhaust() // the create
	f.clock.Add(300)
	if n := exhaust(); n != 1000 {
		f.Errorf("%d writes before wcu was used up, want 1000", n)
	}
	if b := f.bucket("u", 0); b.ShardCount != 1 || b.RF != start+300 {
		f.Errorf("after the first exhaustion: count %d, rf +%d", b.ShardCount, b.RF-start)
	}
	// Exhausted within 250 ms of rf for the second time in a row, the rate is above what one shard refills.
	for range 2 {
		f.clock.Add(200)
		exhaust()
	}
	if b := f.bucket("u", 0); b.ShardCount != 2 {
		f.Errorf("after two exhaustions within 250 ms of rf: count %d, want 2", b.ShardCount)
	}
}
