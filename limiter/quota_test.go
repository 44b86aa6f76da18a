package limiter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

func quota(t testing.TB, name string, amount int64) limiter.Limit {
	t.Helper()
	l, err := limiter.Quota(name, amount, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// A parent that an operator waives is counted, not taken, while its child is charged.
func TestABypassedParentIsCounted(t *testing.T) {
	w := family(t)
	w.admit("child", 1)
	if _, err := w.l.Admin().Bypass(t.Context(), "org", "r"); err != nil {
		t.Fatal(err)
	}
	lease := w.admit("child", 5)
	if lease.Bypassed() {
		t.Error("the entity itself is not bypassed")
	}
	w.tokens("org", 99_000)
	w.tokens("child", 94_000)
	lease = w.admit("child", 5)
	w.must(lease.Rollback(t.Context()))
	w.tokens("child", 94_000)
	org := w.bucket("org", 0)
	if got := org.Limit("rpm").Counter; got != 6_000 {
		t.Errorf("the parent counts %d, want what was not given back", got)
	}
	w.clock.Add(100_000)
	w.admit("child", 50)
	w.tokens("org", 99_000)
	if org := w.bucket("org", 0); org.Limit("rpm").Counter != 56_000 || org.Bypass <= w.clock.Load() {
		t.Errorf("past the stamp the parent counts %d, its stamp lasts until %d", org.Limit("rpm").Counter, org.Bypass)
	}
}

// What a bypassed parent still has but config no longer names for it is not counted there, as an enforced pass
// does not charge it.
func TestABypassedParentDoesNotCountStaleLimits(t *testing.T) {
	w := family(t)
	both := []limiter.Limit{limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 100)}
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", both))
	w.admitAll("child", limiter.Amounts{"rpm": 1, "tpm": 1})
	w.must(w.l.Admin().SetLimits(t.Context(), "org", "r", both[:1]))
	if _, err := w.l.Admin().Bypass(t.Context(), "org", "r"); err != nil {
		t.Fatal(err)
	}
	stamp := w.bucket("org", 0).Bypass
	w.clock.Add(100_000)
	lease := w.admitAll("child", limiter.Amounts{"tpm": 5})
	if got := lease.Consumed()["tpm"]; got != 5 {
		t.Errorf("consumed %d, want the child's alone", got)
	}
	w.must(lease.Adjust(limiter.Amounts{"tpm": 5}))
	w.must(lease.Close(t.Context()))
	if org := w.bucket("org", 0); org.Limit("tpm").Counter != 1000 || org.Bypass != stamp {
		t.Errorf("the parent counts %+v, its stamp moved from %d to %d", org.Limit("tpm"), stamp, org.Bypass)
	}
}

// A reply that got lost is one error and at most one charge, also of what is written by a transaction.
func TestALostReplyOfAQuotaIsChargedOnce(t *testing.T) {
	w := newWorld(t, quota(t, "rpm", 10), limiter.SessionQuota("ses", 10, time.Hour))
	w.admit("u", 1)
	lost := errors.New("connection lost")
	w.faults.after = func(call string) error {
		if call == "consume u" {
			return lost
		}
		return nil
	}
	_, err := w.acquire("u", 1)
	if !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	w.faults.after = nil
	w.tokens("u", 8_000)
	w.clock.Store(1_800_057_600_000)
	w.faults.after = func(call string) error {
		if call == "write" {
			return lost
		}
		return nil
	}
	_, err = w.acquire("u", 1)
	if !errors.Is(err, lost) {
		t.Fatalf("got %v", err)
	}
	w.faults.after = nil
	w.tokens("u", 9_000)
	w.admit("u", 1)
	w.tokens("u", 8_000)
}

// Whoever loses the race for a reset charges what the winner left, once, and resets nothing again.
func TestALostRaceForAResetChargesOnce(t *testing.T) {
	w := newWorld(t, quota(t, "rpm", 10), limiter.SessionQuota("ses", 10, time.Hour))
	w.admit("u", 4)
	w.clock.Store(1_800_057_600_000)
	other := w.process(limiter.Options{RejectionCacheTTL: -1})
	raced := false
	w.faults.before = func(call string) error {
		if call != "write" || raced {
			return nil
		}
		raced = true // also for the write of the other process
		_, err := other.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 3, "ses": 2}})
		return err
	}
	w.admit("u", 1)
	w.faults.before = nil
	w.tokens("u", 6_000)
	b := w.bucket("u", 0)
	if got := b.Limit("ses").Tokens; got != 8_000 {
		t.Errorf("session quota has %d, want 8000", got)
	}
	if !raced {
		t.Error("there was no race")
	}
}

// An item with a schedule that nobody can read is unavailable, not unlimited.
func TestUnreadableSchedulesAreUnavailable(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 10)
	w.edit("u", 0, func(b *limiter.Bucket) { b.Schedule = "2h9s500" })
	if _, err := w.acquire("u", 1); !errors.Is(err, schedule.ErrNewer) {
		t.Errorf("on the item: %v", err)
	}
	w.PutConfigItem(limiter.ConfigKey{EntityID: "v", Resource: "r"}, limiter.Config{Limits: []limiter.Limit{
		{Name: "rpm", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Schedule: "2h9s500"}}})
	_, err := w.acquire("v", 1)
	if _, unavailable := errors.AsType[*limiter.UnavailableError](err); !unavailable || !errors.Is(err, schedule.ErrNewer) {
		t.Errorf("in the config: %v", err)
	}
}

// A quota that joins an existing bucket starts whole, with its own schedules, and what is there stays.
func TestAQuotaIsSeeded(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 4)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 10), quota(t, "day", 5)}))
	lease, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1, "day": 2}})
	w.must(err)
	w.tokens("u", 5_000)
	b := w.bucket("u", 0)
	day, rpm := b.Limit("day"), b.Limit("rpm")
	if day.Tokens != 3_000 || day.Rare().Grants != 1 || day.Rare().ResetSchedule != "1m0h0" || day.Rare().Schedule != limiter.NoSchedule || b.ResetSchedule != "" || rpm.Extra != nil {
		t.Errorf("seeded: %+v beside %+v", day.Rare(), rpm)
	}
	if !b.HasVU || b.VU != 1_800_057_600_000 {
		t.Errorf("vu is %d", b.VU)
	}
	w.must(lease.Rollback(t.Context()))
	if b := w.bucket("u", 0); b.Limit("day").Tokens != 5_000 || b.VU == 0 {
		t.Errorf("rolled back: %+v, vu %d", b.Limit("day"), b.VU)
	}
}
