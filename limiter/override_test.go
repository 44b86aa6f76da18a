package limiter_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Explicit limits replace all stored ones for a bucket that is not there yet, and give it a ttl whatever
// level the stored ones come from. What a bucket has keeps its parameters, named or not.
func TestExplicitLimits(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 1000))
	w.must(w.l.Admin().SetLimits(t.Context(), "own", "r", []limiter.Limit{limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 1000)}))
	acquire := func(entity string, consume limiter.Amounts) error {
		_, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: entity, Resource: "r", Consume: consume,
			Limits: []limiter.Limit{limiter.PerMinute("rpm", 5), limiter.PerHour("calls", 9)}})
		return err
	}
	for _, entity := range []string{"u", "own"} {
		err := acquire(entity, limiter.Amounts{"rpm": 1, "tpm": 1})
		if e := wantError[*limiter.ValidationError](t, err); e.Value != "tpm" {
			t.Errorf("%s: %v", entity, e)
		}
		w.must(acquire(entity, limiter.Amounts{"rpm": 1}))
		b := w.bucket(entity, 0)
		if b.Limit("rpm").Capacity != 5000 || b.Limit("calls").Tokens != 9000 || b.Limit("tpm") != nil || !b.HasTTL || b.TTL != start/1000+25_200 {
			t.Errorf("%s: created %+v", entity, b)
		}
	}

	w.admitAll("w", limiter.Amounts{"rpm": 1, "tpm": 1})
	w.must(acquire("w", limiter.Amounts{"rpm": 7, "calls": 1, "tpm": 2}))
	b := w.bucket("w", 0)
	if b.Limit("rpm").Capacity != 100_000 || b.Limit("rpm").Tokens != 92_000 || b.Limit("calls").Tokens != 8000 || b.Limit("tpm").Tokens != 997_000 {
		t.Errorf("over a bucket that was there: %+v", b)
	}
}

func (w *world) admitAll(entity string, consume limiter.Amounts) *limiter.Lease {
	w.Helper()
	lease, err := w.l.Acquire(w.Context(), limiter.Request{EntityID: entity, Resource: "r", Consume: consume})
	w.must(err)
	return lease
}

// Under a cascade they hold for the parent too.
func TestExplicitLimitsHoldForTheParent(t *testing.T) {
	w := family(t)
	_, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "child", Resource: "r", Consume: limiter.Amounts{"rpm": 1},
		Limits: []limiter.Limit{limiter.PerMinute("rpm", 5)}})
	w.must(err)
	w.tokens("child", 4000)
	w.tokens("org", 4000)
}

// Where nothing is limited nothing is closed either: the caller hears of the missing limits first.
func TestMissingLimitsComeBeforeFlags(t *testing.T) {
	w := newWorld(t)
	_, err := w.l.Admin().Disable(t.Context(), "u", "")
	w.must(err)
	_, err = w.acquire("u", 1)
	wantError[*limiter.ValidationError](t, err)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 10)}))
	_, err = w.acquire("u", 1)
	if e := wantError[*limiter.DisabledError](t, err); e.Level != "entity_default" {
		t.Errorf("got %v", e)
	}
}
