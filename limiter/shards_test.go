package limiter_test

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// sharded is a bucket of 100 a minute for u (and its parent org, with cascade) on two shards, with a draw
// that the test decides.
func sharded(t *testing.T, cascade bool, opts limiter.Options) (w *world, draw *int) {
	t.Helper()
	w = newWorld(t, limiter.PerMinute("rpm", 100))
	if cascade {
		_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "org"})
		w.must(err)
		_, err = w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u", ParentID: "org", Cascade: true})
		w.must(err)
		w.must(w.l.Admin().SetLimits(t.Context(), "org", "r", []limiter.Limit{limiter.PerMinute("rpm", 1_000_000)}))
	}
	w.admit("u", 0)
	_, _, err := w.Double(t.Context(), "u", "r", 1)
	w.must(err)
	draw = new(int)
	opts.Rand = func(n int) int { return min(*draw, n-1) }
	w.l = w.process(opts)
	w.admit("u", 0) // learns the count
	*draw = 1
	w.admit("u", 0) // creates shard 1 with its share
	return w, draw
}

var withoutMemory = limiter.Options{RejectionCacheTTL: -1}

// A shard that only asks for a slow pass gets it. Sending the request elsewhere would leave it refusing every
// fast write that draws it.
func TestAShardThatAsksForASlowPassGetsIt(t *testing.T) {
	w, draw := sharded(t, false, withoutMemory)
	w.must(w.admit("u", 1).Rollback(t.Context()))
	w.edit("u", 1, func(b *limiter.Bucket) { b.HasVU, b.VU = true, 0 })
	if lease := w.admit("u", 1); lease.RoundTrips() != 3 {
		t.Errorf("drawn: %d round trips, want W5, read, W2", lease.RoundTrips())
	}
	if b := w.bucket("u", 1); b.HasVU || b.Limit("rpm").Tokens != 49_000 {
		t.Errorf("drawn: %+v", b)
	}
	// Found while looking for tokens, it is not passed over either.
	*draw = 0
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Tokens = 0 })
	w.edit("u", 1, func(b *limiter.Bucket) { b.HasVU, b.VU = true, 0 })
	if lease := w.admit("u", 1); lease.RoundTrips() != 4 {
		t.Errorf("found: %d round trips, want two W5, read, W2", lease.RoundTrips())
	}
	if b := w.bucket("u", 1); b.HasVU || b.Limit("rpm").Tokens != 48_000 {
		t.Errorf("found: %+v", b)
	}
}

// Under a cascade no other shard is tried by itself, since the parent would go uncharged.
func TestAShortShardUnderACascade(t *testing.T) {
	w, draw := sharded(t, true, withoutMemory)
	*draw = 0
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Tokens = 0 })
	_, err := w.acquire("u", 10)
	e := wantError[*limiter.ExceededError](t, err)
	if e.RoundTrips != 2 || e.Statuses[0].Limit.Capacity != 50 || e.Statuses[0].Available != 0 {
		t.Errorf("short: %+v, want a rejection after both W5 and the parent's refund", e)
	}
	if b := w.bucket("org", 0); b.Limit("rpm").Counter != 0 {
		t.Errorf("the parent stays charged: %+v", b)
	}
	// Once a refill would do, the slow path charges both, on the shard that is not short.
	w.clock.Add(15_000)
	w.admit("u", 10)
	if b := w.bucket("u", 1); b.Limit("rpm").Counter != 10_000 {
		t.Errorf("the other shard: %+v", b)
	}
	w.tokens("u", 0)
	if b := w.bucket("org", 0); b.Limit("rpm").Counter != 10_000 {
		t.Errorf("the parent: %+v", b)
	}
}

// What this process knows to be short is neither drawn nor tried.
func TestShardsKnownToBeShortAreNotTried(t *testing.T) {
	w, draw := sharded(t, false, limiter.Options{})
	w.admit("u", 50) // drains shard 1
	*draw = 0
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Tokens = 1000 })
	_, err := w.acquire("u", 2)
	if e := wantError[*limiter.ExceededError](t, err); e.RoundTrips != 1 || e.Statuses[0].Available != 1 {
		t.Errorf("got %+v, want one request to the shard that was not known to be short", e)
	}
	_, err = w.acquire("u", 2)
	if e := wantError[*limiter.ExceededError](t, err); e.RoundTrips != 0 {
		t.Errorf("%d requests once both are known to be short", e.RoundTrips)
	}
}

// Peers of before release 0.13 doubled without bound. Their count divides the shares of their items,
// but only ids below 32 are drawn, and the shards that are created get a share of 32.
func TestACountOfFiveHundredDoesNotStarve(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 2000))
	w.admit("u", 0)
	w.edit("u", 0, func(b *limiter.Bucket) { b.ShardCount = 512 })
	drawn := map[int]bool{}
	draw := 0
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1, Rand: func(n int) int { drawn[n] = true; draw++; return draw % n }})
	for range 20 {
		w.admit("u", 50)
	}
	for n := range drawn {
		if n > limiter.MaxShards {
			t.Errorf("drew from %d", n)
		}
	}
	for shard := 1; shard < limiter.MaxShards; shard++ {
		if b := w.bucket("u", shard); b.Exists && (b.ShardCount != limiter.MaxShards || b.Limit("rpm").Tokens != 12_500) {
			t.Errorf("shard %d: %+v", shard, b)
		}
	}
	if b := w.bucket("u", 0); b.ShardCount != 512 {
		t.Errorf("the stored count became %d", b.ShardCount)
	}
	if b := w.bucket("u", 32); b.Exists {
		t.Error("a shard beyond 31 was created")
	}
}

// At 32 shards an exhausted one waits for its refill.
func TestShardsAreNeverDoubledBeyondThirtyTwo(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100_000_000))
	w.admit("u", 1)
	w.edit("u", 0, func(b *limiter.Bucket) {
		b.ShardCount = limiter.MaxShards
		b.Limit(limiter.WCU).Tokens = 0
	})
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1, OnUnavailable: limiter.Block, Rand: func(int) int { return 0 }})
	if lease := w.admit("u", 1); lease.RoundTrips() != 3 {
		t.Errorf("%d round trips, want W5, read, W2 without W6", lease.RoundTrips())
	}
	if b := w.bucket("u", 0); b.ShardCount != limiter.MaxShards {
		t.Errorf("count %d", b.ShardCount)
	}
}

// The loser of a doubling works with what the winner stored.
func TestALostDoublingIsLearned(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100_000_000))
	w.admit("u", 1)
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit(limiter.WCU).Tokens = 0 })
	other := w.process(withoutMemory)
	w.faults.after = func(call string) error {
		if call == "consume u" {
			w.faults.after = nil
			w.edit("u", 0, func(b *limiter.Bucket) { b.ShardCount = 8 })
		}
		return nil
	}
	w.l = other
	w.admit("u", 1)
	if b := w.bucket("u", 0); b.ShardCount != 8 || b.Limit("rpm").Counter != 1000 {
		t.Errorf("shard 0: %+v", b)
	}
	total := int64(0)
	for shard := 1; shard < 8; shard++ {
		if b := w.bucket("u", shard); b.Exists {
			total += b.Limit("rpm").Counter
			if b.ShardCount != 8 || b.Limit("rpm").Tokens != 12_500_000_000-1000 {
				t.Errorf("shard %d: %+v", shard, b)
			}
		}
	}
	if total != 1000 {
		t.Errorf("%d millitokens charged on new shards, want 1000", total)
	}
}

// At 4,000 acquires a second, one shard's 1,000 writes are not enough: the process doubles until they are, and
// then nearly every acquire is one request again.
func TestOneEntityScalesBeyondAThousandAcquiresASecond(t *testing.T) {
	w := newWorld(t, limiter.PerSecond("rps", 1_000_000))
	draw := rand.New(rand.NewPCG(1, 1))
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1, Rand: draw.IntN})
	request := limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rps": 1}}
	trips := 0
	for i := range 40_000 { // 10 s
		if i%4 == 0 {
			w.clock.Add(1)
		}
		lease, err := w.l.Acquire(t.Context(), request)
		w.must(err)
		if i >= 30_000 {
			trips += lease.RoundTrips()
		}
	}
	if count := w.bucket("u", 0).ShardCount; count < 4 || count > limiter.MaxShards {
		t.Errorf("4,000 acquires a second ended on %d shards", count)
	}
	if trips > 12_000 {
		t.Errorf("%d round trips for the last 10,000 acquires", trips)
	}
}

func TestRetryAfterOfAShardIsThatOfItsShare(t *testing.T) {
	w, _ := sharded(t, false, withoutMemory)
	w.admit("u", 50)
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Tokens = 0 })
	_, err := w.acquire("u", 1)
	e := wantError[*limiter.ExceededError](t, err)
	if s := e.Statuses[0]; s.Limit != limiter.PerMinute("rpm", 50) || e.RetryAfter() != 1201*time.Millisecond || e.RetryAfterHeader() != "2" {
		t.Errorf("got %+v", s)
	}
}

// Nor is a shard of the parent that is known to be short.
func TestShortShardsOfTheParentAreSpared(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "org"})
	w.must(err)
	_, err = w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "child", ParentID: "org", Cascade: true})
	w.must(err)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 1_000_000)}))
	w.admit("org", 0)
	_, _, err = w.Double(t.Context(), "org", "r", 1)
	w.must(err)
	draw := 0
	w.l = w.process(limiter.Options{Rand: func(n int) int { return min(draw, n-1) }})
	w.admit("org", 0)
	draw = 1
	w.admit("org", 0)
	w.admit("child", 50) // drains the parent's shard 1
	if lease := w.admit("child", 10); lease.RoundTrips() != 1 {
		t.Errorf("%d round trips, want both writes at once on shards that have it", lease.RoundTrips())
	}
	if b := w.bucket("org", 0); b.Limit("rpm").Counter != 10_000 {
		t.Errorf("the parent's shard 0: %+v", b)
	}
}

// A parent is kept whole for what its children ask for, as an entity is for its own requests.
func TestAParentIsNotSplitBelowItsChildrensRequests(t *testing.T) {
	for _, tt := range []struct {
		largest int64
		want    int
	}{{6000, 1}, {4000, 2}} {
		w := newWorld(t, limiter.PerMinute("rpm", 10_000))
		_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "org"})
		w.must(err)
		_, err = w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "child", ParentID: "org", Cascade: true})
		w.must(err)
		w.admit("child", 1)
		w.l = w.process(withoutMemory) // one that never reads
		w.must(w.admit("child", tt.largest).Rollback(t.Context()))
		w.edit("org", 0, func(b *limiter.Bucket) { b.Limit(limiter.WCU).Tokens = 0 })
		w.admit("child", 1)
		if b := w.bucket("org", 0); b.ShardCount != tt.want {
			t.Errorf("after a request of %d: %d shards, want %d", tt.largest, b.ShardCount, tt.want)
		}
	}
}

// After a doubling a shard must be refilled and exhausted twice again before the next.
func TestADoublingIsNotFollowedAtOnceByAnother(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100_000_000))
	draw := 0
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1, Rand: func(n int) int { return min(draw, n-1) }})
	w.admit("u", 1)
	exhaust := func() {
		w.clock.Add(100)
		w.edit("u", 0, func(b *limiter.Bucket) { b.Limit(limiter.WCU).Tokens = 0 })
		w.admit("u", 1)
	}
	for i, want := range []int{1, 2, 2, 2, 4} {
		exhaust()
		if b := w.bucket("u", 0); b.ShardCount != want {
			t.Fatalf("after exhaustion %d: %d shards, want %d", i+1, b.ShardCount, want)
		}
	}
}

// Images of shards that lag behind teach nothing old: neither a lower count nor an older stamp.
func TestShardsThatLagBehindTeachNothing(t *testing.T) {
	w, draw := sharded(t, true, withoutMemory)
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "new"})
	w.must(err)
	w.must(w.l.Admin().SetLimits(t.Context(), "new", "r", []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
	w.admit("new", 0)
	*draw = 0
	w.edit("u", 0, func(b *limiter.Bucket) { b.ParentID, b.PGen = "new", b.PGen+1 })
	w.admit("u", 1) // learns the new parent
	w.edit("u", 1, func(b *limiter.Bucket) { b.ShardCount = 1 })
	*draw = 1
	w.admit("u", 1) // its item still names the old one, which is charged
	w.admit("u", 1)
	if got := w.counter("org"); got != 2000 {
		t.Errorf("the old parent: %d", got)
	}
	if b := w.bucket("u", 1); b.Limit("rpm").Counter != 2000 {
		t.Errorf("shard 1 is no longer drawn: %+v", b)
	}
	*draw = 0
	if lease := w.admit("u", 1); lease.RoundTrips() != 1 {
		t.Errorf("%d round trips, want the new parent in parallel", lease.RoundTrips())
	}
}

// A boundary that has passed asks for a slow pass even where the shard is short.
func TestAPassedBoundaryIsReadBeforeARejection(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 10)
	w.edit("u", 0, func(b *limiter.Bucket) { b.HasVU, b.VU = true, start-1 })
	_, err := w.acquire("u", 1)
	if e := wantError[*limiter.ExceededError](t, err); e.RoundTrips != 2 {
		t.Errorf("%d round trips, want W5 and a read", e.RoundTrips)
	}
}
