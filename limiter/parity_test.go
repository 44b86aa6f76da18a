package limiter_test

import (
	"errors"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
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
