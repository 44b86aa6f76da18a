package storetest

import (
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
