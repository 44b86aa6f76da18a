package limiter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Explicit limits say nothing about stamps: a bucket that they create has none, and those of one that is there stay.
func TestExplicitLimitsLeaveSoftStamps(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100).WithSoft())
	hard := []limiter.Limit{limiter.PerMinute("rpm", 100)}
	_, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}, Limits: hard})
	w.must(err)
	if b := w.bucket("u", 0); b.Limit("rpm").Has&limiter.FieldSoft != 0 {
		t.Errorf("created: %+v", b.Limit("rpm").Extra)
	}
	w.admitAll("v", limiter.Amounts{"rpm": 1})
	before := w.bucket("v", 0)
	w.clock.Add(120_000)
	_, err = w.l.Acquire(t.Context(), limiter.Request{EntityID: "v", Resource: "r", Consume: limiter.Amounts{"rpm": 100}, Limits: hard})
	w.must(err)
	if after := w.bucket("v", 0); after.Limit("rpm").Extra.Soft != before.Limit("rpm").Extra.Soft {
		t.Errorf("there before: stamp %d, then %d", before.Limit("rpm").Extra.Soft, after.Limit("rpm").Extra.Soft)
	}
}

// What a bucket has and config no longer names is left as it is by a slow pass.
func TestStaleLimitsAreLeftAlone(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("gone", 60), limiter.PerMinute("rpm", 60))
	w.admitAll("u", limiter.Amounts{"gone": 10, "rpm": 60})
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 60)}))
	w.clock.Add(30_000)
	w.admitAll("u", limiter.Amounts{"rpm": 1})
	if b := w.bucket("u", 0); b.Limit("gone").Tokens != 50_000 || b.Limit("rpm").Tokens != 29_000 {
		t.Errorf("%+v", b.Limits)
	}
}

// A rejection of a slow pass tells the limit as it is configured, which the bucket may lag behind.
func TestSlowRejectionTellsWhatIsConfigured(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admitAll("u", limiter.Amounts{"rpm": 10})
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 99)}))
	slow := w.process(limiter.Options{DisableSpeculation: true})
	_, err := slow.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 5}})
	e, _ := errors.AsType[*limiter.ExceededError](err)
	if e == nil || e.Statuses[0].Limit.Capacity != 99 || e.RetryAfter() != 30_001*time.Millisecond {
		t.Errorf("%v: %+v", err, e)
	}
}

// A refused change of a lease also tells what is left of the limits it did not ask for.
func TestRefusedChangeTellsAllLimits(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10), limiter.PerMinute("tpm", 100))
	lease := w.admitAll("u", limiter.Amounts{"rpm": 10, "tpm": 40})
	err := lease.Consume(limiter.Amounts{"rpm": 1})
	e, _ := errors.AsType[*limiter.ExceededError](err)
	if e == nil || len(e.Statuses) != 2 || e.Statuses[0].Limit.Name != "rpm" || e.Statuses[1].Available != 60 || e.Statuses[1].Requested != 0 {
		t.Errorf("%v: %+v", err, e)
	}
}

// A bypass admits what the bucket has no limit for, and leaves nothing of it on the bucket.
func TestBypassLeavesNoPartialBalance(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admitAll("u", limiter.Amounts{"rpm": 1})
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 10), limiter.PerMinute("tpm", 10)}))
	_, err := w.l.Admin().Bypass(t.Context(), "", "r")
	w.must(err)
	lease := w.admitAll("u", limiter.Amounts{"rpm": 5, "tpm": 7})
	if !lease.Bypassed() || lease.Consumed()["rpm"] != 5 {
		t.Errorf("bypassed %v, consumed %v", lease.Bypassed(), lease.Consumed())
	}
	w.must(lease.Close(t.Context()))
	b := w.bucket("u", 0)
	if s := b.Limit("tpm"); s != nil && (s.Tokens != 0 || s.Counter != 0) || b.Limit("rpm").Tokens != 9000 || b.Limit("rpm").Counter != 6000 {
		t.Errorf("%+v", b.Limits)
	}
}

// Where both are closed the entity is named, not its parent.
func TestAClosedEntityIsNamedBeforeItsParent(t *testing.T) {
	w := family(t)
	w.admit("child", 1)
	for _, entity := range []string{"child", "org"} {
		w.edit(entity, 0, func(b *limiter.Bucket) { b.Disabled = true })
	}
	_, err := w.acquire("child", 1)
	if e := wantError[*limiter.DisabledError](t, err); e.EntityID != "child" {
		t.Errorf("entity %s", e.EntityID)
	}
}

// A lease stays as soft as it was admitted, however long it is held.
func TestALeaseOutlivesASoftStamp(t *testing.T) {
	w := newWorld(t, limiter.PerDay("rpm", 10).WithSoft())
	w.admit("u", 1)
	lease := w.admit("u", 12)
	w.clock.Add(120_000)
	w.must(lease.Consume(limiter.Amounts{"rpm": 1}))
	if got := lease.Overdrawn(); len(got) != 1 {
		t.Errorf("overdrawn: %v", got)
	}
}

// A refund goes by the schedule that is configured, which a slow pass has applied and the bucket does not have.
func TestARefundKnowsTheConfiguredCeiling(t *testing.T) {
	limit := limiter.PerMinute("rpm", 60)
	w := newWorld(t, limit)
	w.admit("u", 0)
	more, err := limit.WithSchedule(schedule.Entry{Cron: "* 0-22 * * *", Scale: 1.5})
	w.must(err)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{more}))
	w.clock.Add(60_000)
	w.l = w.process(limiter.Options{DisableSpeculation: true})
	w.must(w.admit("u", 5).Rollback(t.Context()))
	if b := w.bucket("u", 0); b.Limit("rpm").Tokens != 90_000 || b.VU == 0 {
		t.Errorf("%+v", b)
	}
}

// A process whose clock is behind an edge that another one has applied gets its refund in that period.
func TestARefundWithAClockBehindTheReset(t *testing.T) {
	w := newWorld(t, quota(t, "rpm", 10))
	w.admit("u", 0)
	b := w.bucket("u", 0)
	edge := b.VU
	w.clock.Store(edge + 20)
	w.admit("u", 1)
	w.clock.Store(edge - 100)
	w.must(w.admit("u", 5).Rollback(t.Context()))
	w.tokens("u", 9_000)
}

// A rejection counts what was earned once: a second refill from the same balance would find a millitoken more.
func TestARejectionEarnsNothingTwice(t *testing.T) {
	w := newWorld(t, limiter.Custom("rpm", 33, 7, 11*time.Second))
	w.admit("u", 4)
	w.l = w.process(limiter.Options{DisableSpeculation: true})
	w.clock.Add(6023)
	_, err := w.acquire("u", 60)
	if e := wantError[*limiter.ExceededError](t, err); e.RetryAfter() != 42_693*time.Millisecond {
		t.Errorf("%v", e.RetryAfter())
	}
}

// What a bypass would create has no say in a rejection.
func TestAWaivedParentWithoutABucketIsNotTold(t *testing.T) {
	w := family(t)
	_, err := w.l.Admin().Bypass(t.Context(), "org", "")
	w.must(err)
	_, err = w.acquire("child", 101)
	if e := wantError[*limiter.ExceededError](t, err); len(e.Statuses) != 1 || e.Statuses[0].EntityID != "child" {
		t.Errorf("%+v", e.Statuses)
	}
}

// What a refused acquire of several resources tells of those that would admit it goes by what is configured.
func TestARefusalTellsConfiguredLimitsOfFurtherResources(t *testing.T) {
	limit := limiter.PerMinute("rpm", 60)
	w := newWorld(t, limit)
	w.admit("u", 10)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "other", []limiter.Limit{limit}))
	scaled, err := limit.WithSchedule(schedule.Entry{Cron: "* 0-22 * * *", Scale: 1.5})
	w.must(err)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{scaled.WithSoft()}))
	w.clock.Add(60_000)
	slow := w.process(limiter.Options{DisableSpeculation: true})
	_, err = slow.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 5},
		Also: map[string]limiter.Amounts{"other": {"rpm": 61}}})
	e := wantError[*limiter.ExceededError](t, err)
	if s := e.Statuses[len(e.Statuses)-1]; len(e.Statuses) != 2 || s.Resource != "r" || s.Limit.Capacity != 90 || s.Available != 85 || !s.Limit.Soft {
		t.Errorf("%+v", e.Statuses)
	}
}

// A closed resource refuses the others, whose stamps are renewed all the same.
func TestStampsAreCorrectedBesideAClosedResource(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60).WithSoft())
	w.admit("u", 1)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "closed", []limiter.Limit{limiter.PerMinute("rpm", 60)}))
	_, err := w.l.Admin().Disable(t.Context(), "", "closed")
	w.must(err)
	w.clock.Add(120_000)
	_, err = w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1},
		Also: map[string]limiter.Amounts{"closed": {"rpm": 1}}})
	wantError[*limiter.DisabledError](t, err)
	if b := w.bucket("u", 0); b.Limit("rpm").Extra.Soft <= w.clock.Load() || b.Limit("rpm").Counter != 1000 {
		t.Errorf("%+v", b.Limit("rpm"))
	}
}

// A slow pass writes the window that holds, also when nothing else needs to be written.
func TestAnotherWindowIsWritten(t *testing.T) {
	often, err := limiter.Quota("often", 5, schedule.Entry{Cron: "*/5 * * * *"}) // its edges come before the ends of windows
	if err != nil {
		t.Fatal(err)
	}
	w := newWorld(t, limiter.SessionQuota("rpm", 10, time.Hour), often)
	w.admit("u", 1)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.SessionQuota("rpm", 10, 2*time.Hour), often}))
	w.l = w.process(limiter.Options{DisableSpeculation: true})
	w.admit("u", 1)
	if b := w.bucket("u", 0); b.Limit("rpm").Extra.Window != 7200 {
		t.Errorf("%+v", b.Limit("rpm").Extra)
	}
}

// So is a resource that a bypass waives, which keeps the schedules that its bucket has.
func TestARefusalTellsConfiguredLimitsOfAWaivedResource(t *testing.T) {
	limit := limiter.PerMinute("rpm", 60)
	w := newWorld(t, limit)
	w.admit("u", 10)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "other", []limiter.Limit{limit}))
	scaled, err := limit.WithSchedule(schedule.Entry{Cron: "* 0-22 * * *", Scale: 1.5})
	w.must(err)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{scaled}))
	_, err = w.l.Admin().Bypass(t.Context(), "", "r")
	w.must(err)
	slow := w.process(limiter.Options{DisableSpeculation: true})
	_, err = slow.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 5},
		Also: map[string]limiter.Amounts{"other": {"rpm": 61}}})
	e := wantError[*limiter.ExceededError](t, err)
	if s := e.Statuses[len(e.Statuses)-1]; len(e.Statuses) != 2 || s.Resource != "r" || s.Limit.Capacity != 90 || s.Available != 50 {
		t.Errorf("%+v", e.Statuses)
	}
}

// Under a bypass a limit that the request brings as a soft one is not in debt: nothing is taken of it.
func TestAWaivedDebtIsNotOverdrawn(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	w.admit("u", 1)
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Tokens = -5000 })
	_, err := w.l.Admin().Bypass(t.Context(), "", "r")
	w.must(err)
	lease, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1},
		Limits: []limiter.Limit{limiter.PerMinute("rpm", 60).WithSoft()}})
	w.must(err)
	if got := lease.Overdrawn(); !lease.Bypassed() || len(got) != 0 {
		t.Errorf("bypassed %v, overdrawn: %v", lease.Bypassed(), got)
	}
}

// A waived entity whose parent refuses is told of as the stamps on its bucket have it, passed or not.
func TestAWaivedEntityKeepsSoftStamps(t *testing.T) {
	w := family(t)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 100).WithSoft()}))
	w.admit("child", 100)
	_, err := w.l.Admin().Bypass(t.Context(), "child", "r")
	w.must(err)
	w.admit("child", 0)
	w.edit("child", 0, func(b *limiter.Bucket) { b.Limit("rpm").Edit().Soft = w.clock.Load() - 1 })
	_, err = w.acquire("child", 50)
	if e := wantError[*limiter.ExceededError](t, err); e.Statuses[0].EntityID != "child" || !e.Statuses[0].Limit.Soft {
		t.Errorf("%+v", e.Statuses)
	}
}

// A parent that is short refuses at once, also where a soft stamp admitted the entity against the request's own
// hard limit.
func TestAShortParentRefusesBeforeAnExplicitLimit(t *testing.T) {
	w := family(t)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft()}))
	w.admit("child", 1)
	lease, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "child", Resource: "r", Consume: limiter.Amounts{"rpm": 120},
		Limits: []limiter.Limit{limiter.PerMinute("rpm", 500)}})
	e := wantError[*limiter.ExceededError](t, err)
	if len(e.Statuses) != 2 || e.Statuses[0].Limit.Capacity != 10 || !e.Statuses[0].Limit.Soft || e.Statuses[1].EntityID != "org" {
		t.Errorf("%v: %+v", lease, e.Statuses)
	}
	w.tokens("child", 9_000)
}

// A waived parent that lacks a limit says nothing of it, also when the lease wants more.
func TestALeaseTellsNothingOfWhatAWaivedParentLacks(t *testing.T) {
	w := family(t)
	both := []limiter.Limit{limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 100)}
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", both))
	w.admitAll("child", limiter.Amounts{"rpm": 1, "tpm": 1})
	_, err := w.l.Admin().Bypass(t.Context(), "org", "r")
	w.must(err)
	w.edit("org", 0, func(b *limiter.Bucket) { b.Limit("tpm").Has &^= limiter.FieldTokens })
	w.l = w.process(limiter.Options{DisableSpeculation: true})
	lease := w.admitAll("child", limiter.Amounts{"rpm": 1, "tpm": 1})
	e := wantError[*limiter.ExceededError](t, lease.Consume(limiter.Amounts{"rpm": 100}))
	for _, s := range e.Statuses {
		if s.EntityID == "org" && s.Limit.Name == "tpm" {
			t.Errorf("%+v", s)
		}
	}
}
