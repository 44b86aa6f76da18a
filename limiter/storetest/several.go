package storetest

import (
	"errors"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// testSeveral acquires several resources: all are charged, or none.
func testSeveral(f *fixture) {
	ctx := f.Context()
	f.defaults(limiter.PerMinute("rpm", 100))
	f.must(f.lim.Admin().SetResourceDefaults(ctx, "budget", []limiter.Limit{limiter.PerMinute("usd", 10)}))
	f.must(f.lim.Admin().SetResourceDefaults(ctx, "search", []limiter.Limit{limiter.PerMinute("rps", 5)}))
	f.lim = f.limiter(limiter.Options{OnUnavailable: limiter.Block, RejectionCacheTTL: -1})
	request := func(rpm, usd, rps int64) limiter.Request {
		return limiter.Request{EntityID: "u", Resource: resource, Consume: limiter.Amounts{"rpm": rpm},
			Also: map[string]limiter.Amounts{"budget": {"usd": usd}, "search": {"rps": rps}}}
	}
	holds := func(rpm, usd, rps int64) {
		f.Helper()
		for name, want := range map[string]int64{resource: rpm, "budget": usd, "search": rps} {
			var out limiter.ReadOutput
			in := limiter.ReadInput{Consistent: true, Resource: name, Entities: []limiter.EntityRead{{EntityID: "u", Bucket: true}}}
			f.must(f.store.Store.Read(ctx, &in, &out))
			b := out.Entities[0].Bucket
			for i := range b.Limits {
				if l := &b.Limits[i]; l.Name != limiter.WCU && (l.Tokens != want || l.Counter != l.Capacity-want) {
					f.Errorf("%s of %s: tk %d tc %d, want tk %d", l.Name, name, l.Tokens, l.Counter, want)
				}
			}
		}
	}
	// Cold: three misses, three reads, one transaction of three creates.
	before := f.store.Writes.Load()
	lease, err := f.lim.Acquire(ctx, request(1, 1, 1))
	f.must(err)
	if lease.RoundTrips() != 3 || f.store.Writes.Load()-before != 1 {
		f.Errorf("cold: %d round trips, %d writes", lease.RoundTrips(), f.store.Writes.Load()-before)
	}
	holds(99000, 9000, 4000)
	// Warm: concurrent single writes.
	calls := f.store.Calls()
	lease, err = f.lim.Acquire(ctx, request(1, 1, 1))
	f.must(err)
	if lease.RoundTrips() != 1 || f.store.Calls()-calls != 3 {
		f.Errorf("warm: %d round trips, %d calls", lease.RoundTrips(), f.store.Calls()-calls)
	}
	if names := lease.Resources(); len(names) != 3 || names[0] != resource || names[1] != "budget" || names[2] != "search" {
		f.Errorf("resources: %v", names)
	}
	f.must(lease.Adjust(limiter.Amounts{"rpm": 4}))
	f.must(lease.Resource("budget").Consume(limiter.Amounts{"usd": 2}))
	f.must(lease.Resource("search").Release(limiter.Amounts{"rps": 1}))
	if lease.Resource("other") != nil || lease.Resource("budget").Consumed()["usd"] != 3 || lease.Consumed()["rpm"] != 5 {
		f.Errorf("consumed: %v and %v", lease.Consumed(), lease.Resource("budget").Consumed())
	}
	f.must(lease.Close(ctx))
	holds(94000, 6000, 4000)
	if err := lease.Resource("budget").Adjust(limiter.Amounts{"usd": 1}); !errors.Is(err, limiter.ErrLeaseEnded) {
		f.Errorf("after the end: %v", err)
	}
	// One short: the others are given back, and every resource is judged.
	_, err = f.lim.Acquire(ctx, request(1, 7, 1))
	e, refused := errors.AsType[*limiter.ExceededError](err)
	if !refused || e.EntityID != "u" || e.Resource != resource {
		f.Fatalf("one short: %v", err)
	}
	if p, _ := e.Primary(); p.Limit.Name != "usd" || p.Resource != "budget" || p.RetryAfter != 6001*time.Millisecond {
		f.Errorf("one short: %+v", e.Statuses)
	}
	if len(e.Statuses) != 3 || e.Statuses[1].Available != 93 || e.Statuses[1].Exceeded || e.Statuses[2].Available != 3 {
		f.Errorf("what the others would have left: %+v", e.Statuses)
	}
	holds(94000, 6000, 4000)
	lease, err = f.lim.Acquire(ctx, request(2, 2, 2))
	f.must(err)
	f.must(lease.Rollback(ctx))
	holds(94000, 6000, 4000)
	// A part that must be refilled is written after the others were charged.
	f.clock.Add(60_000)
	lease, err = f.lim.Acquire(ctx, request(1, 8, 1))
	f.must(err)
	if lease.RoundTrips() != 3 {
		f.Errorf("one refilled: %d round trips", lease.RoundTrips())
	}
	// Closed outranks short, also where the short one is known first.
	_, err = f.lim.Admin().Disable(ctx, "", "search")
	f.must(err)
	_, err = f.lim.Acquire(ctx, request(1000, 0, 0))
	if _, closed := errors.AsType[*limiter.DisabledError](err); !closed {
		f.Errorf("disabled beside short: %v", err)
	}
	other := request(1000, 0, 0)
	other.EntityID = "v"
	_, err = f.lim.Acquire(ctx, other)
	if e, closed := errors.AsType[*limiter.DisabledError](err); !closed || e.Resource != "search" || e.Level != "resource" {
		f.Errorf("disabled beside short, unread: %v", err)
	}
	// With speculation off all parts are planned and written together.
	_, err = f.lim.Admin().ClearDisabled(ctx, "", "search")
	f.must(err)
	slow := f.limiter(limiter.Options{OnUnavailable: limiter.Block, DisableSpeculation: true})
	_, err = slow.Acquire(ctx, request(1, 11, 1))
	if e, refused := errors.AsType[*limiter.ExceededError](err); !refused || len(e.Violations()) != 1 || e.Violations()[0].Limit.Name != "usd" {
		f.Errorf("slow: %v", err)
	}
	before = f.store.Writes.Load()
	lease, err = slow.Acquire(ctx, request(1, 1, 1))
	f.must(err)
	if lease.RoundTrips() != 2 || f.store.Writes.Load()-before != 1 {
		f.Errorf("read then write: %d round trips, %d writes", lease.RoundTrips(), f.store.Writes.Load()-before)
	}
	cached := f.limiter(limiter.Options{OnUnavailable: limiter.Block})
	_, err = cached.Acquire(ctx, request(1, 11, 1))
	if _, refused := errors.AsType[*limiter.ExceededError](err); !refused {
		f.Errorf("short: %v", err)
	}
	calls = f.store.Calls()
	if _, err = cached.Acquire(ctx, request(1, 11, 1)); err == nil || f.store.Calls() != calls {
		f.Errorf("from memory: %v with %d calls", err, f.store.Calls()-calls)
	}
	for what, bad := range map[string]limiter.Request{
		"the primary twice": {EntityID: "u", Resource: resource, Consume: limiter.Amounts{"rpm": 1}, Also: map[string]limiter.Amounts{resource: {"rpm": 1}}},
		"explicit limits":   {EntityID: "u", Resource: resource, Consume: limiter.Amounts{"rpm": 1}, Also: map[string]limiter.Amounts{"search": {"rps": 1}}, Limits: []limiter.Limit{limiter.PerMinute("rpm", 1)}},
		"a negative amount": {EntityID: "u", Resource: resource, Consume: limiter.Amounts{"rpm": 1}, Also: map[string]limiter.Amounts{"search": {"rps": -1}}},
	} {
		_, err := f.lim.Acquire(ctx, bad)
		if _, invalid := errors.AsType[*limiter.ValidationError](err); !invalid {
			f.Errorf("%s: %v", what, err)
		}
	}
}

// testSeveralCascade: every resource is charged to the child and its parent, each owner is checked once, and
// a resource whose policy is not to cascade is the child's own.
func testSeveralCascade(f *fixture) {
	ctx := f.Context()
	f.defaults(limiter.PerMinute("rpm", 100))
	f.must(f.lim.Admin().SetResourceDefaults(ctx, "search", []limiter.Limit{limiter.PerMinute("rps", 5)}))
	_, err := f.lim.Admin().Configure(ctx, limiter.ConfigKey{Resource: "own"}, limiter.ConfigChange{Limits: []limiter.Limit{limiter.PerMinute("usd", 9)}, Cascade: limiter.Off})
	f.must(err)
	_, err = f.lim.Admin().CreateEntity(ctx, limiter.Entity{ID: "org"})
	f.must(err)
	_, err = f.lim.Admin().CreateEntity(ctx, limiter.Entity{ID: "kid", ParentID: "org", Cascade: true})
	f.must(err)
	request := limiter.Request{EntityID: "kid", Resource: resource, Consume: limiter.Amounts{"rpm": 1},
		Also: map[string]limiter.Amounts{"search": {"rps": 1}, "own": {"usd": 1}}}
	tokens := func(entity, name, limit string) int64 {
		f.Helper()
		var out limiter.ReadOutput
		in := limiter.ReadInput{Consistent: true, Resource: name, Entities: []limiter.EntityRead{{EntityID: entity, Bucket: true}}}
		f.must(f.store.Store.Read(ctx, &in, &out))
		if l := out.Entities[0].Bucket.Limit(limit); l != nil {
			return l.Tokens / 1000
		}
		return -1
	}
	expect := func(when string, want [6]int64) {
		f.Helper()
		got := [6]int64{tokens("kid", resource, "rpm"), tokens("org", resource, "rpm"), tokens("kid", "search", "rps"), tokens("org", "search", "rps"),
			tokens("kid", "own", "usd"), tokens("org", "own", "usd")}
		if got != want {
			f.Errorf("%s: got %v, want %v", when, got, want)
		}
	}
	writes := f.store.Writes.Load()
	_, err = f.lim.Acquire(ctx, request)
	f.must(err)
	if got := f.store.Writes.Load() - writes; got != 1 {
		f.Errorf("cold: %d writes, want one transaction", got)
	}
	expect("cold", [6]int64{99, 99, 4, 4, 8, -1})
	lease, err := f.lim.Acquire(ctx, request)
	f.must(err)
	if lease.RoundTrips() != 1 {
		f.Errorf("warm: %d round trips", lease.RoundTrips())
	}
	expect("warm", [6]int64{98, 98, 3, 3, 7, -1})
	// The parent is short on one resource: nothing of any stays charged.
	_, err = f.lim.Acquire(ctx, limiter.Request{EntityID: "org", Resource: "search", Consume: limiter.Amounts{"rps": 3}})
	f.must(err)
	_, err = f.lim.Acquire(ctx, request)
	e, refused := errors.AsType[*limiter.ExceededError](err)
	if !refused || len(e.Violations()) != 1 || e.Violations()[0].EntityID != "org" || len(e.Statuses) != 5 {
		f.Errorf("short parent: %v", err)
	}
	expect("short parent", [6]int64{98, 98, 3, 0, 7, -1})
}
