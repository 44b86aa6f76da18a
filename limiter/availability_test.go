package limiter_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// The capacity of a resource is not pushed into buckets: what they hold is capped and waited for by the config.
func TestAvailabilityGoesByTheConfig(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	w.admit("u", 10)
	w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 60)}))
	l := w.process(limiter.Options{})
	a, err := l.CheckAvailability(t.Context(), "u", "r", limiter.Amounts{"rpm": 120}, nil)
	w.must(err)
	if s := a.Statuses[0]; s.Available != 60 || !s.Exceeded || s.RetryAfter != 60*time.Second+time.Millisecond {
		t.Errorf("got %+v", s)
	}
}

// A process that remembers the levels of before sees in the stamps that an operator waived the limits.
func TestAvailabilityGoesByTheStamps(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 10)
	l := w.process(limiter.Options{})
	bypassed := func() bool {
		a, err := l.CheckAvailability(t.Context(), "u", "r", limiter.Amounts{"rpm": 1}, nil)
		w.must(err)
		if a.Bypassed == a.Statuses[0].Exceeded {
			t.Errorf("got %+v", a)
		}
		return a.Bypassed
	}
	before := bypassed()
	other := w.process(limiter.Options{})
	_, err := other.Admin().Bypass(t.Context(), "", "r")
	w.must(err)
	waived := bypassed()
	w.clock.Add(61_000) // past the stamp, and of 10 a minute
	w.edit("u", 0, func(b *limiter.Bucket) { b.RF = w.clock.Load() })
	if past := bypassed(); before || !waived || past {
		t.Errorf("bypassed before %v, then %v, past the stamp %v", before, waived, past)
	}
}

// A window runs to the later of the ends by the config and by the item.
func TestAvailabilityOfAWindowThatChangedItsLength(t *testing.T) {
	for _, hours := range []time.Duration{1, 3} {
		w := newWorld(t, limiter.SessionQuota("rpm", 10, 2*time.Hour))
		w.admit("u", 10)
		w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.SessionQuota("rpm", 10, hours*time.Hour)}))
		w.clock.Add(90 * 60_000)
		a, err := w.process(limiter.Options{}).CheckAvailability(t.Context(), "u", "r", limiter.Amounts{"rpm": 1}, nil)
		w.must(err)
		want := max(hours, 2)*time.Hour - 90*time.Minute
		if s := a.Statuses[0]; s.Available != 0 || s.RetryAfter != want {
			t.Errorf("%d h: got %+v, want a wait of %v", hours, s, want)
		}
	}
}

// named is a store that knows the name of its table.
type named struct{ *faults }

func (named) TableName() string { return "prod" }

func TestErrorsNameTheStack(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	fail := errBroken
	w.faults.before = func(string) error { return fail }
	l, err := limiter.New(named{&w.faults}, limiter.Options{OnUnavailable: limiter.Block})
	w.must(err)
	_, err = l.Acquire(t.Context(), fromChild(""))
	if e := wantError[*limiter.UnavailableError](t, err); e.Stack != "prod" || !strings.HasSuffix(e.Error(), "[stack=prod, entity=child, resource=r]") {
		t.Errorf("got %v", e)
	}
	fail = errors.Join(errBroken, limiter.ErrAccessDenied)
	_, err = l.Acquire(t.Context(), fromChild(""))
	if e := wantError[*limiter.PermissionError](t, err); e.Stack != "prod" || !strings.HasSuffix(e.Error(), "[stack=prod, entity=child, resource=r]") {
		t.Errorf("got %v", e)
	}
}

// Nobody waits for what he does not need: a limit in debt is told, and not exceeded.
func TestAvailabilityOfNothingIsNotExceeded(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	lease := w.admit("u", 10)
	w.must(lease.Adjust(limiter.Amounts{"rpm": 5}))
	w.must(lease.Close(t.Context()))
	a, err := w.l.CheckAvailability(t.Context(), "u", "r", nil, nil)
	w.must(err)
	if s := a.Statuses[0]; s.Available != -5 || s.Exceeded || a.Wait != 0 {
		t.Errorf("got %+v, a wait of %v", s, a.Wait)
	}
}
