package storetest

import (
	"errors"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// day is a quota of 100 that comes back at midnight UTC.
func (f *fixture) day() limiter.Limit {
	f.Helper()
	day, err := limiter.Quota("day", 100, schedule.Entry{Cron: "0 0 * * *"})
	f.must(err)
	return day
}

// mark checks a number that is not plain; -1: absent.
func (f *fixture) mark(entity string, shard int, limit string, field limiter.Fields, of func(*limiter.Extra) int64, want int64) {
	f.Helper()
	b := f.bucket(entity, shard)
	l := b.Limit(limit)
	if l == nil {
		f.Fatalf("%s/%d has no limit %s", entity, shard, limit)
	}
	got := int64(-1)
	if l.Has&field != 0 {
		got = of(l.Rare())
	}
	if got != want {
		f.Errorf("%s/%d %s: mark is %d, want %d", entity, shard, limit, got, want)
	}
}

func grants(e *limiter.Extra) int64        { return e.Grants }
func windowStart(e *limiter.Extra) int64   { return e.WindowStart }
func windowApplied(e *limiter.Extra) int64 { return e.WindowApplied }

// testQuotas is what release 0.17.0 of the Python client did with the same limits at the same times,
// digit by digit.
func testQuotas(f *fixture) {
	halved, err := limiter.PerMinute("rs", 100).WithSchedule(schedule.Entry{Cron: "* 8 * * *", Scale: 0.5})
	f.must(err)
	f.defaults(f.day(), limiter.SessionQuota("ses", 50, 5*time.Hour), limiter.PerMinute("rpm", 100), halved)

	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	b := f.bucket("u", 0)
	if b.RF != start || b.TTL != 1800604800 || !b.HasVU || b.VU != 1800003600000 || b.Schedule != "1h8s500" || b.ResetSchedule != "1m0h0" || b.Zone != "" {
		f.Errorf("create: %+v", b)
	}
	f.holds("u", 0, "day", 100000, 0)
	f.holds("u", 0, "ses", 50000, 0)
	f.holds("u", 0, "rpm", 99000, 1000)
	f.holds("u", 0, "rs", 50000, 0)
	f.mark("u", 0, "day", limiter.FieldGrants, grants, 1)
	f.mark("u", 0, "ses", limiter.FieldWindowStart, windowStart, start)
	f.mark("u", 0, "ses", limiter.FieldWindowApplied, windowApplied, start)

	f.clock.Add(10_000)
	if lease := f.admit(f.lim, "u", limiter.Amounts{"ses": 5, "day": 3}); lease.RoundTrips() != 1 {
		f.Errorf("%d round trips beside schedules, want 1", lease.RoundTrips())
	}
	lease := f.admit(f.lim, "u", limiter.Amounts{"ses": 1, "day": 1})
	f.must(lease.Release(limiter.Amounts{"ses": 1, "day": 1}))
	f.must(lease.Close(f.Context()))
	f.holds("u", 0, "ses", 45000, 5000)
	f.holds("u", 0, "day", 97000, 3000)

	// The window has ended: whoever comes opens the next one.
	f.clock.Add(18_000_000)
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	b = f.bucket("u", 0)
	if b.RF != start+18_010_000 || b.VU != start+36_010_000 || b.TTL != 1800622810 {
		f.Errorf("after the window: rf +%d vu +%d ttl %d", b.RF-start, b.VU-start, b.TTL)
	}
	f.holds("u", 0, "ses", 50000, 5000)
	f.holds("u", 0, "day", 97000, 3000)
	f.holds("u", 0, "rpm", 99000, 2000)
	f.holds("u", 0, "rs", 100000, 0)
	f.mark("u", 0, "ses", limiter.FieldWindowApplied, windowApplied, start+18_010_000)

	e := f.refuse(f.lim, "u", limiter.Amounts{"day": 200, "ses": 60, "rs": 1, "rpm": 1})
	if e.RetryAfter() != 39590001*time.Millisecond || len(e.Statuses) != 4 {
		f.Errorf("rejection: %v of %d", e.RetryAfter(), len(e.Statuses))
	}
	day, ses := e.Statuses[0], e.Statuses[3]
	if day.Available != 97 || day.ResetsAt != 1800057600000 || day.Limit != f.day() {
		f.Errorf("calendar quota: %+v", day)
	}
	if ses.Available != 50 || ses.RetryAfter != 18000*time.Second || ses.ResetsAt != start+36_010_000 || ses.Limit != limiter.SessionQuota("ses", 50, 5*time.Hour) {
		f.Errorf("session quota: %+v", ses)
	}

	// What was taken yesterday is not given back today.
	late := f.admit(f.lim, "u", limiter.Amounts{"day": 1, "ses": 1})
	f.clock.Add(86_400_000)
	f.admit(f.lim, "u", limiter.Amounts{"day": 1})
	f.holds("u", 0, "day", 99000, 5000)
	f.holds("u", 0, "ses", 50000, 6000)
	f.must(late.Rollback(f.Context()))
	f.holds("u", 0, "day", 99000, 5000)
	f.holds("u", 0, "ses", 50000, 6000)
	if b := f.bucket("u", 0); b.VU == 0 {
		f.Error("a void refund forces a slow pass")
	}
}

// testScheduleBoundary trims and refills by the parameters of the time.
func testScheduleBoundary(f *fixture) {
	working, err := limiter.PerMinute("rpm", 100).WithSchedule(schedule.Entry{Cron: "* 9 * * *", Scale: 0.5})
	f.must(err)
	// start is 08:00 UTC; limits of the entity itself keep the item from expiring.
	f.must(f.lim.Admin().SetLimits(f.Context(), "u", resource, []limiter.Limit{working}))
	f.lim = f.limiter(limiter.Options{OnUnavailable: limiter.Block, RejectionCacheTTL: -1})
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	if b := f.bucket("u", 0); b.VU != start+3_600_000 {
		f.Errorf("vu is +%d", b.VU-start)
	}
	f.clock.Add(3_600_000 - 1)
	if got := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1}).RoundTrips(); got != 1 {
		f.Errorf("one millisecond before the boundary: %d round trips", got)
	}
	f.clock.Add(1)
	if got := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1}).RoundTrips(); got != 3 {
		f.Errorf("at the boundary: %d round trips, want W5, read, W2", got)
	}
	f.holds("u", 0, "rpm", 49000, 3000)
	if b := f.bucket("u", 0); b.VU != start+7_200_000 {
		f.Errorf("vu is +%d", b.VU-start)
	}
	f.clock.Add(1)
	e := f.refuse(f.lim, "u", limiter.Amounts{"rpm": 50})
	if s := e.Statuses[0]; s.Limit.Capacity != 50 || s.Limit.RefillAmount != 50 || s.Limit.Schedule != "" || s.Available != 49 {
		f.Errorf("status in the window: %+v", s)
	}
	// A release is held to the ceiling of the time.
	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.must(lease.Release(limiter.Amounts{"rpm": 10}))
	f.must(lease.Close(f.Context()))
	if b := f.bucket("u", 0); b.VU != 0 || b.Limit("rpm").Tokens != 58000 {
		f.Errorf("a release above the ceiling: vu %d, %+v", b.VU, b.Limit("rpm"))
	}
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 1})
	f.holds("u", 0, "rpm", 49000, -5000)
}

func (f *fixture) stampOf(entity, limit string) limiter.Stamp {
	f.Helper()
	b := f.bucket(entity, 0)
	l := b.Limit(limit)
	return limiter.Stamp{Present: l.Has&limiter.FieldSoft != 0, Until: l.Rare().Soft}
}

// within checks that a deadline lies in the last fifth of a minute after at.
func (f *fixture) within(what string, deadline, at int64) {
	f.Helper()
	if deadline < at+48_000 || deadline > at+60_000 {
		f.Errorf("%s: deadline is +%d ms", what, deadline-at)
	}
}

func testSoft(f *fixture) {
	f.defaults(limiter.PerMinute("rpm", 10).WithSoft(), limiter.PerMinute("hard", 10))
	f.lim = f.limiter(limiter.Options{OnUnavailable: limiter.Block, RejectionCacheTTL: -1})
	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 12, "hard": 1})
	f.holds("u", 0, "rpm", -2000, 12000)
	f.within("create", f.stampOf("u", "rpm").Until, start)
	if names := lease.Overdrawn(); len(names) != 1 || names[0] != "rpm" {
		f.Errorf("overdrawn: %v", names)
	}
	if lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 1}); lease.RoundTrips() != 1 {
		f.Errorf("%d round trips into debt, want 1", lease.RoundTrips())
	}
	f.clock.Add(70_000)
	if lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 30}); lease.RoundTrips() != 3 {
		f.Errorf("%d round trips past the stamp, want W5, read, W2", lease.RoundTrips())
	}
	f.holds("u", 0, "rpm", -21334, 43000)
	f.holds("u", 0, "hard", 10000, 1000)
	f.within("renewed", f.stampOf("u", "rpm").Until, start+70_000)

	// A rejection by another limit renews the stamp, too, and shows the debt.
	f.clock.Add(70_000)
	e := f.refuse(f.lim, "u", limiter.Amounts{"rpm": 1, "hard": 30})
	f.within("renewed by a rejection", f.stampOf("u", "rpm").Until, start+140_000)
	hard, soft := e.Statuses[0], e.Statuses[1]
	if !hard.Exceeded || hard.RetryAfter != 120001*time.Millisecond || soft.Exceeded || !soft.Limit.Soft || !soft.Overdrawn() || soft.Available != -10 || soft.Deficit() != 0 {
		f.Errorf("statuses: %+v", e.Statuses)
	}
	f.holds("u", 0, "rpm", -21334, 43000)

	// Nothing that is known from before admits or rejects past a stamp.
	cached := f.limiter(limiter.Options{OnUnavailable: limiter.Block})
	f.admit(cached, "u", limiter.Amounts{"rpm": 1})
	f.clock.Add(70_000)
	f.admit(cached, "u", limiter.Amounts{"rpm": 1})

	// Hard again: the stamp goes, and the debt is felt.
	f.defaults(limiter.PerMinute("rpm", 10), limiter.PerMinute("hard", 10))
	if f.stampOf("u", "rpm").Present {
		f.Error("the stamp of a limit that is hard is still there")
	}
	f.refuse(f.lim, "u", limiter.Amounts{"rpm": 1})

	// Explicit limits decide for their own request.
	request := limiter.Request{EntityID: "u", Resource: resource, Consume: limiter.Amounts{"rpm": 1}, Limits: []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft()}}
	_, err := f.lim.Acquire(f.Context(), request)
	f.must(err)
	if f.stampOf("u", "rpm").Present {
		f.Error("an explicit limit stamped the item")
	}
	f.must(f.lim.Admin().SetLimits(f.Context(), "v", resource, []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft()}))
	f.admit(f.lim, "v", limiter.Amounts{"rpm": 12})
	request.EntityID, request.Limits[0].Soft = "v", false
	_, err = f.lim.Acquire(f.Context(), request)
	if _, refused := errors.AsType[*limiter.ExceededError](err); !refused {
		f.Errorf("an explicit hard limit in debt: %v", err)
	}
	f.holds("v", 0, "rpm", -2000, 12000)
}

// testSoftSystem: the system level is remembered, but no stamp follows what is remembered.
func testSoftSystem(f *fixture) {
	ctx := f.Context()
	f.must(f.lim.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft()}, ""))
	other := f.limiter(limiter.Options{RejectionCacheTTL: -1})
	f.admit(other, "u", limiter.Amounts{"rpm": 12})
	other = f.limiter(limiter.Options{RejectionCacheTTL: -1, ConfigCacheTTL: time.Hour})
	f.admit(other, "u", limiter.Amounts{"rpm": 1})
	f.must(f.lim.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, ""))
	f.clock.Add(1000)
	f.refuse(other, "u", limiter.Amounts{"rpm": 1})
	f.refuse(other, "v", limiter.Amounts{"rpm": 11})
}

func testBypass(f *fixture) {
	ctx := f.Context()
	f.defaults(limiter.PerMinute("rpm", 10), limiter.SessionQuota("ses", 5, time.Hour))
	f.lim = f.limiter(limiter.Options{OnUnavailable: limiter.Block, RejectionCacheTTL: -1})
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 4})
	_, err := f.lim.Admin().Bypass(ctx, "", resource)
	f.must(err)
	bypass := func() limiter.Stamp {
		b := f.bucket("u", 0)
		return limiter.Stamp{Present: b.HasBypass, Until: b.Bypass}
	}
	f.within("fan-out", bypass().Until, start)

	lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 100, "ses": 1})
	if !lease.Bypassed() || lease.RoundTrips() != 2 {
		f.Errorf("bypassed %v in %d round trips, want W5 and the refund", lease.Bypassed(), lease.RoundTrips())
	}
	f.holds("u", 0, "rpm", 6000, 104000)
	f.holds("u", 0, "ses", 5000, 1000)
	lease = f.admit(f.lim, "u", limiter.Amounts{"rpm": 100})
	if lease.RoundTrips() != 1 {
		f.Errorf("%d round trips where the bypass was seen, want 1", lease.RoundTrips())
	}
	f.must(lease.Consume(limiter.Amounts{"rpm": 7}))
	f.must(lease.Close(ctx))
	f.holds("u", 0, "rpm", 6000, 211000)
	f.holds("u", 0, limiter.WCU, 998000, 2000)
	f.must(f.admit(f.lim, "u", limiter.Amounts{"rpm": 50}).Rollback(ctx))
	f.holds("u", 0, "rpm", 6000, 211000)

	// Past its deadline the stamp is renewed from config.
	f.clock.Add(70_000)
	if lease := f.admit(f.lim, "u", limiter.Amounts{"rpm": 100}); !lease.Bypassed() || lease.RoundTrips() != 3 {
		f.Errorf("renewal: bypassed %v in %d round trips", lease.Bypassed(), lease.RoundTrips())
	}
	f.within("renewed", bypass().Until, start+70_000)
	f.holds("u", 0, "rpm", 6000, 311000)

	// A bucket made under a bypass is whole, and no window begins.
	f.admit(f.lim, "v", limiter.Amounts{"rpm": 100, "ses": 2})
	f.holds("v", 0, "rpm", 10000, 100000)
	f.holds("v", 0, "ses", 5000, 2000)
	f.mark("v", 0, "ses", limiter.FieldWindowStart, windowStart, -1)
	if b := f.bucket("v", 0); b.VU != 0 || !b.HasVU || !b.HasBypass {
		f.Errorf("created under a bypass: %+v", b)
	}

	// Over: enforced at once after the fan-out, and the first use opens the window.
	_, err = f.lim.Admin().ClearDisabled(ctx, "", resource)
	f.must(err)
	f.refuse(f.lim, "u", limiter.Amounts{"rpm": 11})
	f.admit(f.lim, "v", limiter.Amounts{"ses": 1})
	f.holds("v", 0, "ses", 4000, 3000)
	f.mark("v", 0, "ses", limiter.FieldWindowStart, windowStart, f.clock.Load())

	// A stamp that a fan-out missed is removed by the first pass after its deadline.
	_, err = f.lim.Admin().Bypass(ctx, "u", resource)
	f.must(err)
	f.admit(f.lim, "u", limiter.Amounts{"rpm": 100})
	f.must(f.store.Restamp(ctx, &limiter.RestampInput{Key: limiter.BucketKey{EntityID: "v", Resource: resource}, Bypass: limiter.StampSet, BypassUntil: f.clock.Load() - 1}))
	f.refuse(f.lim, "v", limiter.Amounts{"rpm": 11})
	if b := f.bucket("v", 0); b.HasBypass {
		f.Error("a stamp that config does not confirm is still there")
	}
	f.admit(f.lim, "v", limiter.Amounts{"rpm": 1})

	// With speculation off the first bypassed pass stamps the item.
	_, err = f.lim.Admin().Enable(ctx, "w", resource)
	f.must(err)
	slow := f.limiter(limiter.Options{DisableSpeculation: true, RejectionCacheTTL: -1})
	f.admit(slow, "w", limiter.Amounts{"rpm": 1})
	_, err = f.lim.Admin().Bypass(ctx, "w", resource)
	f.must(err)
	f.must(f.store.Restamp(ctx, &limiter.RestampInput{Key: limiter.BucketKey{EntityID: "w", Resource: resource}, Bypass: limiter.StampRemove, ReadBypass: limiter.Stamp{Present: true, Until: f.bucketBypass("w")}}))
	for range 2 {
		if lease := f.admit(slow, "w", limiter.Amounts{"rpm": 100}); !lease.Bypassed() {
			f.Error("config says bypass, the lease does not")
		}
	}
	f.holds("w", 0, "rpm", 9000, 201000)
}

func (f *fixture) bucketBypass(entity string) int64 {
	b := f.bucket(entity, 0)
	return b.Bypass
}

// shardOf returns a process that draws one shard, and knows the count.
func (f *fixture) shardOf(shard int) *limiter.Limiter {
	f.Helper()
	aim := 0
	l := f.limiter(limiter.Options{OnUnavailable: limiter.Block, RejectionCacheTTL: -1, Rand: func(n int) int { return min(aim, n-1) }})
	f.admit(l, "u", limiter.Amounts{"day": 0, "ses": 0}) // teaches the count
	aim = shard
	return l
}

func testShardedQuotas(f *fixture) {
	ctx := f.Context()
	f.must(f.lim.Admin().SetLimits(ctx, "u", resource, []limiter.Limit{f.day(), limiter.SessionQuota("ses", 60, time.Hour)}))
	f.admit(f.lim, "u", limiter.Amounts{"day": 40, "ses": 10})
	if _, won, err := f.store.Double(ctx, "u", resource, 1); err != nil || !won {
		f.Fatal(won, err)
	}
	// Shard 0 holds everything: the new shard is funded from there, in the transaction that makes it.
	second := f.shardOf(1)
	before := f.store.Calls()
	lease := f.admit(second, "u", limiter.Amounts{"day": 5, "ses": 5})
	if lease.RoundTrips() != 5 || f.store.Calls()-before != 5 {
		f.Errorf("%d round trips in %d calls, want W5, read, siblings, transaction and the count once more", lease.RoundTrips(), f.store.Calls()-before)
	}
	f.holds("u", 0, "day", 10000, 40000)
	f.holds("u", 1, "day", 45000, 5000)
	f.holds("u", 0, "ses", 20000, 10000)
	f.holds("u", 1, "ses", 25000, 5000)
	f.mark("u", 0, "day", limiter.FieldGrants, grants, 1)
	f.mark("u", 1, "day", limiter.FieldGrants, grants, 2)
	f.mark("u", 1, "ses", limiter.FieldWindowStart, windowStart, start)
	f.mark("u", 1, "ses", limiter.FieldWindowApplied, windowApplied, start)
	e := f.refuse(second, "u", limiter.Amounts{"day": 51})
	if s := e.Statuses[0]; s.Limit.Capacity != 50 && s.Limit.Capacity != 100 {
		f.Errorf("per-shard limit: %+v", s.Limit)
	}
	a, err := f.lim.CheckAvailability(ctx, "u", resource, limiter.Amounts{"day": 56, "ses": 45}, nil)
	f.must(err)
	if a.Available["day"] != 55 || a.Available["ses"] != 45 || !a.Statuses[0].Exceeded || a.Statuses[1].Exceeded || a.Wait != 57600001*time.Millisecond {
		f.Errorf("availability: %+v", a)
	}

	// The window ends: the shard that comes first opens the next one for all.
	f.clock.Add(3_600_000)
	at := f.clock.Load()
	f.admit(second, "u", limiter.Amounts{"ses": 1})
	f.mark("u", 1, "ses", limiter.FieldWindowStart, windowStart, at)
	f.mark("u", 0, "ses", limiter.FieldWindowStart, windowStart, at)
	f.mark("u", 0, "ses", limiter.FieldWindowApplied, windowApplied, start)
	f.mark("u", 0, "ses", limiter.FieldWindowCounter, func(e *limiter.Extra) int64 { return e.WindowCounter }, 10000)
	if b := f.bucket("u", 0); b.VU != 0 {
		f.Errorf("the other shard is not told: vu %d", b.VU)
	}
	f.holds("u", 1, "ses", 29000, 6000)
	first := f.shardOf(0)
	f.admit(first, "u", limiter.Amounts{"ses": 2})
	f.holds("u", 0, "ses", 28000, 12000)
	f.mark("u", 0, "ses", limiter.FieldWindowApplied, windowApplied, at)
	f.mark("u", 0, "ses", limiter.FieldGrants, grants, 2)

	// At the edge each shard takes its share of the day.
	f.clock.Store(1_800_057_600_000)
	f.admit(first, "u", limiter.Amounts{"day": 1})
	f.admit(second, "u", limiter.Amounts{"day": 1})
	f.holds("u", 0, "day", 49000, 41000)
	f.holds("u", 1, "day", 49000, 6000)

	// A rejected request keeps what it moved: 24 of the donor's 49 cannot carry 30.
	if _, won, err := f.store.Double(ctx, "u", resource, 2); err != nil || !won {
		f.Fatal(won, err)
	}
	third := f.shardOf(2)
	f.refuse(third, "u", limiter.Amounts{"day": 30})
	f.holds("u", 2, "day", 25000, 0)
	f.holds("u", 0, "day", 24000, 41000)
	if b := f.bucket("u", 1); b.ShardCount != 4 {
		f.Errorf("shard 1 has count %d, want the count by which quotas are granted", b.ShardCount)
	}
	f.mark("u", 1, "day", limiter.FieldGrants, grants, 2)
}

// testAvailabilityOfQuotas: what the next acquire would find, without a bucket, soft, past an edge, waived.
func testAvailabilityOfQuotas(f *fixture) {
	ctx := f.Context()
	halved, err := limiter.PerMinute("rs", 100).WithSchedule(schedule.Entry{Cron: "* 8 * * *", Scale: 0.5})
	f.must(err)
	f.defaults(f.day(), limiter.SessionQuota("ses", 50, time.Hour), limiter.PerMinute("deep", 10).WithSoft(), halved)
	check := func(needed limiter.Amounts) limiter.Availability {
		f.Helper()
		a, err := f.lim.CheckAvailability(ctx, "u", resource, needed, nil)
		f.must(err)
		return a
	}
	expect := func(when string, a limiter.Availability, day, deep, rs, ses int64, wait time.Duration) {
		f.Helper()
		if got := a.Available; got["day"] != day || got["deep"] != deep || got["rs"] != rs || got["ses"] != ses || a.Wait != wait {
			f.Errorf("%s: %v, wait %v", when, got, a.Wait)
		}
	}
	expect("no bucket", check(limiter.Amounts{"ses": 60}), 100, 10, 50, 50, 0)
	f.admit(f.lim, "u", limiter.Amounts{"day": 30, "ses": 20, "deep": 15, "rs": 10})
	f.clock.Add(600_000)
	a := check(limiter.Amounts{"ses": 31, "deep": 100})
	expect("in the window", a, 70, 10, 50, 30, 50*time.Minute)
	if deep := a.Statuses[1]; deep.Exceeded || !deep.Limit.Soft || deep.Limit.Capacity != 10 {
		f.Errorf("a soft limit: %+v", deep)
	}
	f.clock.Add(3_600_000)
	expect("after the window", check(limiter.Amounts{"day": 71}), 70, 10, 100, 50, time.Duration(1_800_057_600_001-f.clock.Load())*time.Millisecond)
	f.clock.Store(1_800_057_600_000)
	expect("past the edge", check(limiter.Amounts{"day": 100}), 100, 10, 100, 50, 0)
	_, err = f.lim.Admin().Bypass(ctx, "", resource)
	f.must(err)
	if a := check(limiter.Amounts{"day": 1000}); !a.Bypassed || a.Wait != 0 || a.Statuses[0].Exceeded {
		f.Errorf("bypassed: %+v", a)
	}
}
