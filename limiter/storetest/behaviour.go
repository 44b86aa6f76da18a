package storetest

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// family creates org and its cascading member, whose own limits are wider.
func (f *fixture) family() {
	f.Helper()
	f.defaults(limiter.PerMinute("rpm", 100))
	_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "org"})
	f.must(err)
	_, err = f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "member", ParentID: "org", Cascade: true})
	f.must(err)
	f.must(f.lim.Admin().SetLimits(f.Context(), "member", resource, []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
}

func testCascade(f *fixture) {
	f.family()
	f.admit(f.lim, "member", limiter.Amounts{"rpm": 10})
	child, parent := f.bucket("member", 0), f.bucket("org", 0)
	if !child.Cascade || child.ParentID != "org" || !child.HasPGen || child.PGen != start || len(child.PInc) != 16 || child.HasTTL {
		f.Errorf("child: %+v", child)
	}
	if parent.Cascade || parent.ParentID != "" || parent.PGen != start || parent.PInc == child.PInc || !parent.HasTTL {
		f.Errorf("parent: %+v", parent)
	}
	lease := f.admit(f.lim, "member", limiter.Amounts{"rpm": 5})
	f.holds("member", 0, "rpm", 985000, 15000)
	f.holds("org", 0, "rpm", 85000, 15000)
	if got := lease.Consumed()["rpm"]; got != 10 {
		f.Errorf("consumed: got %d, want both buckets' 10", got)
	}
}

func testShortParent(f *fixture) {
	f.family()
	f.admit(f.lim, "member", limiter.Amounts{"rpm": 100})
	for _, l := range []*limiter.Limiter{f.lim, f.limiter(limiter.Options{RejectionCacheTTL: -1}), f.limiter(limiter.Options{DisableSpeculation: true})} {
		e := f.refuse(l, "member", limiter.Amounts{"rpm": 1})
		if primary, _ := e.Primary(); primary.EntityID != "org" || len(e.Statuses) != 2 || e.Statuses[0].EntityID != "member" || e.Statuses[0].Available != 900 {
			f.Errorf("statuses: %+v", e.Statuses)
		}
		f.holds("member", 0, "rpm", 900000, 100000)
		f.holds("org", 0, "rpm", 0, 100000)
	}
}

func testClaim(f *fixture) {
	f.family()
	f.admit(f.lim, "member", limiter.Amounts{"rpm": 1})
	left := f.bucket("member", 0)
	f.clock.Add(5000)
	// The bucket outlives its entity when another process creates it again in between.
	f.must(f.lim.Admin().DeleteEntity(f.Context(), "member"))
	_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "member"})
	f.must(err)
	write := limiter.Write{Kind: limiter.WriteCreate, Key: limiter.BucketKey{EntityID: "member", Resource: resource}, RF: left.RF, ShardCount: 1, Cascade: true, ParentID: "org"}
	var out limiter.WriteOutput
	f.must(f.store.Write(f.Context(), []limiter.Write{write}, &out))
	if out.Outcome != limiter.Refused || !out.Results[0].OwnerFailed {
		f.Fatalf("a create that saw no META passed: %+v", out)
	}
	f.admit(f.limiter(limiter.Options{DisableSpeculation: true}), "member", limiter.Amounts{"rpm": 1})
	if b := f.bucket("member", 0); b.Cascade || b.ParentID != "" || b.PGen != start+5000 || b.PInc == left.PInc {
		f.Errorf("stamp of the new incarnation: %+v", b)
	}
}

func testOneLevel(f *fixture) {
	f.family()
	_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "team", ParentID: "member", Cascade: true})
	f.must(err)
	for range 3 {
		f.admit(f.lim, "team", limiter.Amounts{"rpm": 1})
	}
	f.holds("member", 0, "rpm", 997000, 3000)
	if b := f.bucket("org", 0); b.Exists {
		f.Errorf("the grandparent was charged: %+v", b)
	}
	// What the member does itself still reaches its parent.
	f.admit(f.lim, "member", limiter.Amounts{"rpm": 1})
	f.holds("org", 0, "rpm", 99000, 1000)
}

func testLease(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 1000))
	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1, "tpm": 100})
	if e, ok := errors.AsType[*limiter.ExceededError](lease.Consume(limiter.Amounts{"rpm": 1, "tpm": 901})); !ok || len(e.Violations()) != 1 {
		f.Errorf("consume beyond the balance: got %v", e)
	}
	f.must(lease.Consume(limiter.Amounts{"tpm": 200}))
	f.must(lease.Adjust(limiter.Amounts{"tpm": 5000}))
	f.must(lease.Release(limiter.Amounts{"tpm": 50}))
	if _, ok := errors.AsType[*limiter.ValidationError](lease.Adjust(limiter.Amounts{"day": 1})); !ok {
		f.Error("adjusting an undeclared limit was accepted")
	}
	if got := lease.Consumed(); got["tpm"] != 5250 || got["rpm"] != 1 {
		f.Errorf("consumed: got %v", got)
	}
	f.holds("u", 0, "tpm", 900000, 100000)
	if !lease.Changed() {
		f.Error("nothing to write after four changes")
	}
	f.must(lease.Close(f.Context()))
	f.holds("u", 0, "tpm", -4250000, 5250000)
	f.holds("u", 0, "rpm", 59000, 1000)
	if err := lease.Adjust(limiter.Amounts{"tpm": 1}); !errors.Is(err, limiter.ErrLeaseEnded) {
		f.Errorf("adjust after close: got %v", err)
	}
	// Only what is declared is tested.
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.refuse(f.lim, "u", limiter.Amounts{"rpm": 1, "tpm": 0})
}

func testTrim(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 60))
	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.must(lease.Release(limiter.Amounts{"rpm": 30}))
	f.must(lease.Close(f.Context()))
	f.holds("u", 0, "rpm", 89000, -29000)
	if b := f.bucket("u", 0); !b.HasVU || b.VU != 0 {
		f.Errorf("no slow pass is forced: %+v", b)
	}
	if lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1}); lease.RoundTrips() != 3 {
		f.Errorf("got %d round trips, want a slow pass of 3", lease.RoundTrips())
	}
	f.holds("u", 0, "rpm", 59000, -28000)
	if b := f.bucket("u", 0); b.HasVU {
		f.Error("vu stays after the slow pass")
	}
}

func testRollback(f *fixture) {
	f.family()
	f.admit(f.lim, "member", limiter.Amounts{"rpm": 1})
	broken := errors.New("body failed")
	for name, body := range map[string]func(*limiter.Lease) error{
		"error": func(lease *limiter.Lease) error { return broken },
		"error after adjusting": func(lease *limiter.Lease) error {
			return errors.Join(lease.Adjust(limiter.Amounts{"rpm": 50}), broken)
		},
		"panic": func(*limiter.Lease) error { panic(broken) },
	} {
		func() {
			defer func() { recover() }() //nolint:errcheck // the panic is the case
			request := limiter.Request{EntityID: "member", Resource: resource, Consume: limiter.Amounts{"rpm": 7}}
			err := f.lim.Do(f.Context(), request, func(_ context.Context, lease *limiter.Lease) error { return body(lease) })
			if !errors.Is(err, broken) {
				f.Errorf("%s: got %v", name, err)
			}
		}()
		f.holds("member", 0, "rpm", 999000, 1000)
		f.holds("org", 0, "rpm", 99000, 1000)
	}
}

func testSeed(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 60))
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.defaults(limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 1000))
	f.clock.Add(1000)
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1, "tpm": 10})
	f.holds("u", 0, "tpm", 990000, 10000)
	f.holds("u", 0, "rpm", 59000, 2000)
	_, err := f.acquire(f.lim, "u", limiter.Amounts{"day": 1})
	if _, ok := errors.AsType[*limiter.ValidationError](err); !ok {
		f.Errorf("a limit that nobody configured: got %v", err)
	}
}

func testLevels(f *fixture) {
	ctx := f.Context()
	capacity := func(entity string) int64 {
		f.Helper()
		f.lim.InvalidateCaches()
		available, err := f.lim.Available(ctx, entity, resource, nil)
		f.must(err)
		return available["rpm"]
	}
	_, err := f.lim.Available(ctx, "u", resource, nil)
	if _, ok := errors.AsType[*limiter.ValidationError](err); !ok {
		f.Errorf("nothing configured: got %v", err)
	}
	f.must(f.lim.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 1)}, limiter.Allow))
	f.must(f.lim.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, ""))
	if limits, mode, err := f.lim.Admin().SystemDefaults(ctx); err != nil || mode != limiter.Allow || len(limits) != 1 || limits[0] != limiter.PerMinute("rpm", 10) {
		f.Errorf("system defaults: got %v, %q, %v", limits, mode, err)
	}
	steps := []struct {
		set    func() error
		remove func() error
		want   int64
	}{
		{nil, func() error { return f.lim.Admin().DeleteSystemDefaults(ctx) }, 10},
		{func() error {
			return f.lim.Admin().SetResourceDefaults(ctx, resource, []limiter.Limit{limiter.PerMinute("rpm", 20)})
		},
			func() error { return f.lim.Admin().DeleteResourceDefaults(ctx, resource) }, 20},
		{func() error {
			return f.lim.Admin().SetLimits(ctx, "u", "", []limiter.Limit{limiter.PerMinute("rpm", 30)})
		},
			func() error { return f.lim.Admin().DeleteLimits(ctx, "u", "") }, 30},
		{func() error {
			return f.lim.Admin().SetLimits(ctx, "u", resource, []limiter.Limit{limiter.PerMinute("rpm", 40)})
		},
			func() error { return f.lim.Admin().DeleteLimits(ctx, "u", resource) }, 40},
	}
	for _, s := range steps {
		if s.set != nil {
			f.must(s.set())
		}
		if got := capacity("u"); got != s.want {
			f.Errorf("got %d, want the level of %d", got, s.want)
		}
	}
	if names, err := f.lim.Admin().ResourcesWithDefaults(ctx); err != nil || !slices.Equal(names, []string{resource}) {
		f.Errorf("resources with defaults: %v, %v", names, err)
	}
	if names, err := f.lim.Admin().ResourcesWithEntityLimits(ctx); err != nil || !slices.Equal(names, []string{limiter.DefaultResource, resource}) {
		f.Errorf("resources with entity limits: %v, %v", names, err)
	}
	for i := len(steps) - 1; i > 0; i-- {
		f.must(steps[i].remove())
		if got := capacity("u"); got != steps[i-1].want {
			f.Errorf("after removing %d: got %d", steps[i].want, got)
		}
	}
	f.must(f.lim.Admin().DeleteLimits(ctx, "u", resource)) // nothing there
	if names, err := f.lim.Admin().ResourcesWithDefaults(ctx); err != nil || len(names) != 0 {
		f.Errorf("resources with defaults after all: %v, %v", names, err)
	}
	if names, err := f.lim.Admin().ResourcesWithEntityLimits(ctx); err != nil || len(names) != 0 {
		f.Errorf("resources with entity limits after all: %v, %v", names, err)
	}
}

func testSync(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 60))
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.must(f.lim.Admin().SetLimits(f.Context(), "u", resource, []limiter.Limit{limiter.PerMinute("rpm", 600), limiter.PerDay("tpd", 5)}))
	b := f.bucket("u", 0)
	if b.HasTTL || b.Limit("rpm").Capacity != 600000 || b.Limit("rpm").Tokens != 59000 || !b.HasVU {
		f.Errorf("after set: %+v", b)
	}
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1, "tpd": 1})
	f.must(f.lim.Admin().DeleteLimits(f.Context(), "u", resource))
	b = f.bucket("u", 0)
	if !b.HasTTL || b.TTL != start/1000+420 || b.Limit("rpm").Capacity != 60000 || b.Limit("tpd") != nil {
		f.Errorf("after delete: %+v", b)
	}
	if limits, err := f.lim.Admin().Limits(f.Context(), "u", resource); err != nil || len(limits) != 0 {
		f.Errorf("limits after delete: %v, %v", limits, err)
	}
}

func testEntities(f *fixture) {
	ctx := f.Context()
	created, err := f.lim.Admin().CreateEntity(ctx, limiter.Entity{ID: "org", Name: "Organisation", Metadata: map[string]any{"tier": "gold", "paid": true}})
	f.must(err)
	if created.CreatedAt != time.UnixMilli(start).UTC() {
		f.Errorf("created at %v", created.CreatedAt)
	}
	if _, err := f.lim.Admin().CreateEntity(ctx, limiter.Entity{ID: "org"}); !errors.Is(err, limiter.ErrEntityExists) {
		f.Errorf("creating it twice: got %v", err)
	}
	for _, id := range []string{"b", "a"} {
		_, err := f.lim.Admin().CreateEntity(ctx, limiter.Entity{ID: id, ParentID: "org", Cascade: id == "a"})
		f.must(err)
	}
	e, err := f.lim.Admin().Entity(ctx, "org")
	f.must(err)
	if e == nil || e.Name != "Organisation" || e.Metadata["tier"] != "gold" || e.Metadata["paid"] != true || e.ParentID != "" {
		f.Errorf("entity: %+v", e)
	}
	children, err := f.lim.Admin().Children(ctx, "org")
	f.must(err)
	if len(children) != 2 || children[0].ID != "a" || !children[0].Cascade || children[1].Name != "b" {
		f.Errorf("children: %+v", children)
	}
	f.must(f.lim.Admin().SetLimits(ctx, "a", resource, []limiter.Limit{limiter.PerMinute("rpm", 5)}))
	f.must(f.lim.Admin().SetLimits(ctx, "org", "", []limiter.Limit{limiter.PerMinute("rpm", 5)}))
	f.admit(f.lim, "a", limiter.Amounts{"rpm": 1})
	f.must(f.lim.Admin().DeleteEntity(ctx, "a"))
	f.must(f.lim.Admin().DeleteEntity(ctx, "a"))
	if e, err := f.lim.Admin().Entity(ctx, "a"); err != nil || e != nil {
		f.Errorf("after delete: %+v, %v", e, err)
	}
	if b := f.bucket("a", 0); b.Exists {
		f.Error("its bucket stays")
	}
	if names, err := f.lim.Admin().ResourcesWithEntityLimits(ctx); err != nil || !slices.Equal(names, []string{limiter.DefaultResource}) {
		f.Errorf("registry after delete: %v, %v", names, err)
	}
}

func testAvailability(f *fixture) {
	ctx := f.Context()
	f.defaults(limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 1000))
	a, err := f.lim.CheckAvailability(ctx, "u", resource, limiter.Amounts{"rpm": 100}, nil)
	if err != nil || a.Wait != 0 || a.Available["rpm"] != 100 || a.Available["tpm"] != 1000 {
		f.Errorf("without a bucket: %+v, %v", a, err)
	}
	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 100, "tpm": 0})
	f.must(lease.Adjust(limiter.Amounts{"tpm": 1001}))
	f.must(lease.Close(ctx))
	f.clock.Add(3000)
	a, err = f.lim.CheckAvailability(ctx, "u", resource, limiter.Amounts{"rpm": 10}, nil)
	if err != nil || a.Wait != 3001*time.Millisecond || a.Available["rpm"] != 5 || a.Available["tpm"] != 49 {
		f.Errorf("3 s later: %+v, %v", a, err)
	}
	// The wait is for what is missing of whole tokens, as peers count it: half a token does not shorten it.
	f.clock.Add(300)
	if wait, err := f.lim.TimeUntilAvailable(ctx, "u", resource, limiter.Amounts{"rpm": 10}, nil); err != nil || wait != 3001*time.Millisecond {
		f.Errorf("with half a token: %v, %v", wait, err)
	}
	f.clock.Add(2700)
	if wait, err := f.lim.TimeUntilAvailable(ctx, "u", resource, limiter.Amounts{"rpm": 10}, nil); err != nil || wait != 0 {
		f.Errorf("6 s later: %v, %v", wait, err)
	}
	if wait, err := f.lim.TimeUntilAvailable(ctx, "u", resource, limiter.Amounts{"rpm": 1010}, nil); err != nil || wait != 600001*time.Millisecond {
		f.Errorf("more than fits: %v, %v", wait, err)
	}
	if _, won, err := f.store.Store.Double(ctx, "u", resource, 1); err != nil || !won {
		f.Fatalf("double: %v, %v", won, err)
	}
	// Shard 0 regained 5 by its halved rate; shard 1 is created with its full share of 50.
	l := f.limiter(limiter.Options{Rand: func(int) int { return 1 }})
	f.must(l.Admin().SetLimits(ctx, "u", resource, []limiter.Limit{limiter.PerMinute("rpm", 100)}))
	f.admit(l, "u", limiter.Amounts{"rpm": 1})
	f.admit(l, "u", limiter.Amounts{"rpm": 1})
	if available, err := f.lim.Available(ctx, "u", resource, nil); err != nil || available["rpm"] != 5-1+50-1 {
		f.Errorf("two shards: %v, %v", available, err)
	}
	if !f.lim.IsAvailable(ctx, time.Second) {
		f.Error("the store does not answer")
	}
}

func testConcurrency(f *fixture) {
	f.must(f.lim.Admin().SetSystemDefaults(f.Context(), []limiter.Limit{limiter.PerMinute("rpm", 100)}, ""))
	other := f.limiter(limiter.Options{DisableSpeculation: true, RejectionCacheTTL: -1})
	var admitted atomic.Int64
	var wg sync.WaitGroup
	for i := range 8 {
		l := f.lim
		if i%2 == 1 {
			l = other
		}
		wg.Go(func() {
			for range 25 {
				_, err := f.acquire(l, "u", limiter.Amounts{"rpm": 3})
				switch e, refused := errors.AsType[*limiter.ExceededError](err); {
				case err == nil:
					admitted.Add(3)
				case !refused:
					f.Error(err)
				case e.Contended:
					f.Log("contended")
				}
			}
		})
	}
	wg.Wait()
	if got := admitted.Load(); got > 100 || got < 90 {
		f.Errorf("admitted %d of 100", got)
	}
	f.holds("u", 0, "rpm", 100000-admitted.Load()*1000, admitted.Load()*1000)
}

func testConcurrentCascades(f *fixture) {
	f.must(f.lim.Admin().SetSystemDefaults(f.Context(), []limiter.Limit{limiter.PerMinute("rpm", 100000)}, ""))
	_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: "org"})
	f.must(err)
	var wg sync.WaitGroup
	var admitted atomic.Int64
	for _, id := range []string{"a", "b", "c", "d"} {
		_, err := f.lim.Admin().CreateEntity(f.Context(), limiter.Entity{ID: id, ParentID: "org", Cascade: true})
		f.must(err)
		l := f.limiter(limiter.Options{RejectionCacheTTL: -1})
		wg.Go(func() {
			for range 10 {
				_, err := f.acquire(l, id, limiter.Amounts{"rpm": 1})
				switch e, refused := errors.AsType[*limiter.ExceededError](err); {
				case err == nil:
					admitted.Add(1)
				case !refused || !e.Contended:
					f.Error(err)
				}
			}
		})
	}
	wg.Wait()
	f.holds("org", 0, "rpm", 100_000_000-admitted.Load()*1000, admitted.Load()*1000)
}

func testOutcomes(f *fixture) {
	ctx := f.Context()
	key := limiter.BucketKey{EntityID: "u", Resource: resource}
	in := limiter.ConsumeInput{Key: key, Charges: []limiter.Charge{{Limit: "rpm", Amount: 1000}}, Now: start}
	var out limiter.ConsumeOutput
	f.must(f.store.Consume(ctx, &in, &out))
	if out.Outcome != limiter.Refused || out.Image.Exists {
		f.Errorf("no item: %+v", out)
	}
	if adjusted, err := f.store.Adjust(ctx, &limiter.AdjustInput{Key: key, Changes: []limiter.Change{{Limit: "rpm", Delta: 1000}}}); err != nil || adjusted.Outcome != limiter.Refused || adjusted.Image.Exists {
		f.Errorf("adjust without an item: %+v, %v", adjusted, err)
	}
	if b := f.bucket("u", 0); b.Exists {
		f.Fatalf("an adjustment left a partial item: %+v", b)
	}
	if count, won, err := f.store.Double(ctx, "u", resource, 1); err != nil || won || count != 0 {
		f.Errorf("double without an item: %d, %v, %v", count, won, err)
	}
	f.defaults(limiter.PerMinute("rpm", 10))
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 9})
	in.Charges[0].Amount = 2000
	f.must(f.store.Consume(ctx, &in, &out))
	if out.Outcome != limiter.Refused || !out.Image.Exists || out.Image.Limit("rpm").Tokens != 1000 {
		f.Errorf("short: %+v", out)
	}
	in.Charges[0].Amount, in.Now = 1000, start+421_000
	if f.must(f.store.Consume(ctx, &in, &out)); out.Outcome != limiter.Refused {
		f.Error("an expired item was charged")
	}
	if count, won, err := f.store.Double(ctx, "u", resource, 4); err != nil || won || count != 1 {
		f.Errorf("double from a count that is not stored: %d, %v, %v", count, won, err)
	}
	f.must(f.store.StampShardCount(ctx, key, 8, nil))
	f.must(f.store.StampShardCount(ctx, key, 4, nil))
	if b := f.bucket("u", 0); b.ShardCount != 8 {
		f.Errorf("stamped count: got %d, want 8", b.ShardCount)
	}
	refill := limiter.Write{Kind: limiter.WriteRefill, Key: key, RF: start + 1, ReadRF: start - 1, Limits: []limiter.LimitWrite{{Name: "rpm", Consumed: 1000}}}
	var written limiter.WriteOutput
	f.must(f.store.Write(ctx, []limiter.Write{refill}, &written))
	if written.Outcome != limiter.Refused || !written.Results[0].Failed {
		f.Errorf("a refill from another rf: %+v", written)
	}
	refill.ReadRF, refill.Limits[0].Change, refill.Limits[0].ReadTokens = start, 500, 999
	f.must(f.store.Write(ctx, []limiter.Write{refill}, &written))
	if written.Outcome != limiter.Refused {
		f.Error("a refill over a credit that landed in between was written")
	}
}
