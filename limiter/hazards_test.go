package limiter_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// A fast write may pass on an item that lacks what a lease works with. It is given back, and the limit is
// completed.
func TestALimitWithoutParametersIsCompleted(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10), limiter.PerMinute("tpm", 100))
	w.admitAll("u", limiter.Amounts{"rpm": 1, "tpm": 1})
	w.edit("u", 0, func(b *limiter.Bucket) { b.Limit("rpm").Has = limiter.FieldTokens | limiter.FieldCounter })
	lease := w.admitAll("u", limiter.Amounts{"rpm": 2, "tpm": 2})
	w.must(lease.Adjust(limiter.Amounts{"rpm": 1}))
	w.must(lease.Close(t.Context()))
	b := w.bucket("u", 0)
	if l := b.Limit("rpm"); !l.Complete() || l.Tokens != 7000 || l.Capacity != 10_000 || l.Period != 60_000 {
		t.Errorf("completed: %+v", l)
	}
	if l := b.Limit("tpm"); l.Tokens != 97_000 || l.Counter != 3000 {
		t.Errorf("the limit beside it: %+v", l)
	}
}

// A process whose clock is behind grants nothing twice and does not move rf back.
func TestAClockBehindMovesNothingBack(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	w.admit("u", 60)
	w.clock.Add(10_000)
	w.admit("u", 10) // refills 10 and takes them
	w.clock.Add(-5000)
	_, err := w.acquire("u", 1)
	wantError[*limiter.ExceededError](t, err)
	w.edit("u", 0, func(b *limiter.Bucket) { b.HasVU = true }) // asks for a slow pass
	w.admit("u", 0)
	if b := w.bucket("u", 0); b.RF != start+10_000 || b.HasVU || b.Limit("rpm").Tokens != 0 {
		t.Errorf("after a slow pass 5 s behind: %+v", b)
	}
	w.clock.Add(6000)
	w.admit("u", 1)
	w.tokens("u", 0)
}

func TestWithoutAMultiplierTTLIsLeftAlone(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	w.l = w.process(limiter.Options{TTLMultiplier: -1, RejectionCacheTTL: -1})
	w.admit("u", 60)
	if b := w.bucket("u", 0); b.HasTTL {
		t.Errorf("created with ttl %d", b.TTL)
	}
	w.edit("u", 0, func(b *limiter.Bucket) { b.HasTTL, b.TTL = true, 1_900_000_000 })
	w.clock.Add(1000)
	w.admit("u", 1)
	if b := w.bucket("u", 0); b.TTL != 1_900_000_000 {
		t.Errorf("ttl became %d", b.TTL)
	}
}

// An entity that is created between the read and the create of its bucket is charged as it is now: the check
// of META fails, and the plan is made again.
func TestAnEntityCreatedBeforeItsBucketIsWritten(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "org"})
	w.must(err)
	w.faults.before = func(call string) error {
		if call != "write" {
			return nil
		}
		w.faults.before = nil
		_, err := w.process(limiter.Options{}).Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u", ParentID: "org", Cascade: true})
		return err
	}
	writes := 0
	w.faults.after = func(call string) error {
		if call == "write" {
			writes++
		}
		return nil
	}
	w.admit("u", 1)
	if writes != 2 {
		t.Errorf("%d writes, want the refused one and that of the new plan", writes)
	}
	if b := w.bucket("u", 0); !b.Cascade || b.ParentID != "org" || !b.HasPGen || b.Limit("rpm").Counter != 1000 {
		t.Errorf("child: %+v", b)
	}
	w.tokens("org", 59_000)
}

// An entity that is deleted in between is charged without its stamp.
func TestAnEntityDeletedBeforeItsBucketIsWritten(t *testing.T) {
	w := family(t)
	w.faults.before = func(call string) error {
		if call != "write" {
			return nil
		}
		w.faults.before = nil
		return w.process(limiter.Options{}).Admin().DeleteEntity(t.Context(), "child")
	}
	w.admit("child", 1)
	if b := w.bucket("child", 0); b.Cascade || b.HasPGen || b.Limit("rpm").Counter != 1000 {
		t.Errorf("child: %+v", b)
	}
	if b := w.bucket("org", 0); b.Exists {
		t.Errorf("the former parent was charged: %+v", b)
	}
}

// A credit that does not fit under the ceiling takes one request more.
func TestRequestsOfACredit(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	for _, tt := range []struct {
		credit   int64
		requests int
	}{{1, 1}, {30, 2}} {
		lease := w.admit("u", 1)
		w.must(lease.Release(limiter.Amounts{"rpm": tt.credit}))
		requests := 0
		w.faults.before = func(string) error { requests++; return nil }
		w.must(lease.Close(t.Context()))
		w.healthy()
		if requests != tt.requests {
			t.Errorf("release of %d: %d requests, want %d", tt.credit, requests, tt.requests)
		}
	}
}

// Nothing that cannot be a key gets to the table, by whatever call.
func TestEveryCallValidates(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60))
	w.faults.before = func(call string) error { return errors.New("no request expected: " + call) }
	w.faults.AdminStore = nil // a call to it panics
	l, ctx := w.l, t.Context()
	limits := []limiter.Limit{limiter.PerMinute("rpm", 1)}
	one := limiter.Amounts{"rpm": 1}
	acquire := func(r limiter.Request) error { _, err := l.Acquire(ctx, r); return err }
	ids := []string{"", "a#b", "a/b", "-a", "a b", "ä", "a\n", strings.Repeat("x", 257)}
	resources := []string{"a#b", "4", "a b", "PK", "SK", "GSI4PK", "GSI4SK", "a\n", strings.Repeat("x", 65)}
	names := []string{"", "a#b", "1", "a b", "a/b", "wcu", "ttl", "resource", "window", "window_start", "entity_id", "total_events", strings.Repeat("x", 65)}
	check := func(call, value string, err error) {
		t.Helper()
		if _, ok := errors.AsType[*limiter.ValidationError](err); !ok {
			t.Errorf("%s of %q: got %v, want a *ValidationError", call, value, err)
		}
	}
	for _, id := range ids {
		check("Acquire", id, acquire(limiter.Request{EntityID: id, Resource: "r", Consume: one}))
		_, err := l.Admin().CreateEntity(ctx, limiter.Entity{ID: id})
		check("CreateEntity", id, err)
		if id != "" {
			_, err = l.Admin().CreateEntity(ctx, limiter.Entity{ID: "u", ParentID: id})
			check("CreateEntity with a parent", id, err)
		}
		_, err = l.Admin().Entity(ctx, id)
		check("Entity", id, err)
		check("DeleteEntity", id, l.Admin().DeleteEntity(ctx, id))
		_, err = l.Admin().Children(ctx, id)
		check("Children", id, err)
		check("SetLimits", id, l.Admin().SetLimits(ctx, id, "r", limits))
		_, err = l.Admin().Limits(ctx, id, "r")
		check("Limits", id, err)
		check("DeleteLimits", id, l.Admin().DeleteLimits(ctx, id, "r"))
		_, err = l.Available(ctx, id, "r", nil)
		check("Available", id, err)
	}
	for _, r := range append(resources, limiter.DefaultResource, "") {
		check("Acquire", r, acquire(limiter.Request{EntityID: "u", Resource: r, Consume: one}))
		check("SetResourceDefaults", r, l.Admin().SetResourceDefaults(ctx, r, limits))
		_, err := l.Admin().ResourceDefaults(ctx, r)
		check("ResourceDefaults", r, err)
		check("DeleteResourceDefaults", r, l.Admin().DeleteResourceDefaults(ctx, r))
		_, err = l.TimeUntilAvailable(ctx, "u", r, one, nil)
		check("TimeUntilAvailable", r, err)
	}
	for _, r := range resources {
		check("SetLimits", r, l.Admin().SetLimits(ctx, "u", r, limits))
		check("DeleteLimits", r, l.Admin().DeleteLimits(ctx, "u", r))
	}
	for _, name := range names {
		check("Acquire", name, acquire(limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{name: 1}}))
		wrong := []limiter.Limit{limiter.PerMinute(name, 1)}
		check("Acquire with limits", name, acquire(limiter.Request{EntityID: "u", Resource: "r", Consume: one, Limits: wrong}))
		check("SetLimits", name, l.Admin().SetLimits(ctx, "u", "r", wrong))
		check("SetResourceDefaults", name, l.Admin().SetResourceDefaults(ctx, "r", wrong))
		check("SetSystemDefaults", name, l.Admin().SetSystemDefaults(ctx, wrong, ""))
		_, err := l.Available(ctx, "u", "r", wrong)
		check("Available", name, err)
	}
	for _, n := range []int64{-1, 1_000_000_000_000_001} {
		check("Acquire", fmt.Sprint(n), acquire(limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": n}}))
	}
	for _, mode := range []limiter.OnUnavailable{"Allow", "deny"} {
		check("SetSystemDefaults", string(mode), l.Admin().SetSystemDefaults(ctx, limits, mode))
		check("Acquire", string(mode), acquire(limiter.Request{EntityID: "u", Resource: "r", Consume: one, OnUnavailable: mode}))
	}
	check("SetLimits twice", "rpm", l.Admin().SetLimits(ctx, "u", "r", append(limits, limits...)))
}

// Debt of a limit is no reason to refuse a request that does not declare it, and one to refuse a request that
// declares it with 0; on both paths.
func TestOnlyDeclaredLimitsAreTested(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 60))
	lease := w.admitAll("u", limiter.Amounts{"rpm": 1, "tpm": 0})
	w.must(lease.Adjust(limiter.Amounts{"tpm": 61}))
	w.must(lease.Close(t.Context()))
	for _, slow := range []bool{false, true} {
		w.l = w.process(limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: slow})
		w.admit("u", 1)
		_, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1, "tpm": 0}})
		if e := wantError[*limiter.ExceededError](t, err); len(e.Violations()) != 1 || e.RetryAfter() != 1001*time.Millisecond {
			t.Errorf("slow %v: %+v", slow, e)
		}
	}
}

// What is asked for beyond the capacity of a shard is refused with a wait that will not suffice, as peers do.
func TestMoreThanTheCapacity(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	_, err := w.acquire("u", 1000)
	if e := wantError[*limiter.ExceededError](t, err); e.RetryAfter() != 540_001*time.Millisecond {
		t.Errorf("wait %v", e.RetryAfter())
	}
	if w.bucket("u", 0).Exists {
		t.Error("a refused request created the bucket")
	}
}

// A parent that lacks a declared limit is charged for the others, and counts for them alone.
func TestAParentWithoutADeclaredLimit(t *testing.T) {
	w := family(t)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 100), limiter.PerMinute("tpm", 100)}))
	for n := range int64(2) {
		lease := w.admitAll("child", limiter.Amounts{"rpm": 1, "tpm": 10})
		if got := lease.Consumed(); got["rpm"] != 2 || got["tpm"] != 10 {
			t.Errorf("consumed %v", got)
		}
		w.must(lease.Adjust(limiter.Amounts{"tpm": 5}))
		w.must(lease.Close(t.Context()))
		b := w.bucket("child", 0)
		if got := b.Limit("tpm").Counter; got != (n+1)*15_000 {
			t.Errorf("child: %d millitokens of tpm", got)
		}
		b = w.bucket("org", 0)
		if b.Limit("tpm") != nil || b.Limit("rpm").Counter != (n+1)*1000 {
			t.Errorf("parent: %+v", b)
		}
	}
}

// A clock that is set back by an hour believes nothing that it learned in the future.
func TestAClockSetBackTrustsNoCache(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.l = w.process(limiter.Options{})
	w.admit("u", 10)
	_, err := w.l.Available(t.Context(), "u", "r", nil)
	w.must(err)
	w.clock.Add(-3_600_000)
	reads, consumes := 0, 0
	w.faults.before = func(call string) error {
		if call == "read" {
			reads++
		}
		if call == "consume u" {
			consumes++
		}
		return nil
	}
	_, err = w.acquire("u", 1)
	wantError[*limiter.ExceededError](t, err)
	_, err = w.l.Available(t.Context(), "u", "r", nil)
	w.must(err)
	if consumes != 1 || reads != 2 {
		t.Errorf("%d writes and %d reads, want one and the levels anew", consumes, reads)
	}
}

// A W2 that lost to the next incarnation of its entity is planned again: its parent is no longer the parent.
func TestALostLockToANewIncarnation(t *testing.T) {
	w := family(t)
	w.admit("child", 100)
	w.clock.Add(10_000)
	w.faults.before = func(call string) error {
		if call != "write" {
			return nil
		}
		w.healthy()
		left := w.bucket("child", 0)
		other := w.process(limiter.Options{})
		w.must(other.Admin().DeleteEntity(t.Context(), "child"))
		_, err := other.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "child"})
		w.must(err)
		meta, err := w.Store.Entity(t.Context(), "child", false)
		w.must(err)
		left.Cascade, left.ParentID, left.PInc, left.PGen = false, "", meta.PInc, meta.Generation
		left.Limit("rpm").Tokens = 50_000
		w.PutBucket(limiter.BucketKey{EntityID: "child", Resource: "r"}, left)
		return nil
	}
	w.admit("child", 1)
	if got := w.counter("org"); got != 100_000 {
		t.Errorf("the former parent was charged %d more", got-100_000)
	}
	if got := w.counter("child"); got != 101_000 {
		t.Errorf("the child was charged %d", got)
	}
}

// stale answers reads that are not consistent with the META of before a move.
type stale struct {
	*memstore.Store
	reads, writes int
}

func (s *stale) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	s.reads++
	err := s.Store.Read(ctx, in, out)
	if !in.Consistent {
		for i := range out.Entities {
			out.Entities[i].Meta.Generation--
		}
	}
	return err
}

func (s *stale) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	s.writes++
	return s.Store.Write(ctx, in, out)
}

// A stamp that is newer than the META that was read means that META was read stale: it is read again before
// anything is written.
func TestAnOlderGenerationIsReadAgain(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "u"})
	w.must(err)
	w.admit("u", 10)
	w.clock.Add(30_000)
	s := &stale{Store: w.Store}
	l, err := limiter.New(s, limiter.Options{OnUnavailable: limiter.Block, Clock: func() time.Time { return time.UnixMilli(w.clock.Load()) }})
	w.must(err)
	_, err = l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}})
	w.must(err)
	if s.reads != 2 || s.writes != 1 {
		t.Errorf("%d reads and %d writes, want a second read and one write", s.reads, s.writes)
	}
}

// The last image of a bucket does not reject once something else than its balance decides.
func TestImagesThatMayNotReject(t *testing.T) {
	for name, change := range map[string]func(*limiter.Bucket){
		"disabled":       func(b *limiter.Bucket) { b.Disabled = true },
		"expired":        func(b *limiter.Bucket) { b.TTL = start / 1000 },
		"past boundary":  func(b *limiter.Bucket) { b.HasVU, b.VU = true, start-1 },
		"bypass is over": func(b *limiter.Bucket) { b.HasBypass, b.Bypass = true, start },
	} {
		w := newWorld(t, limiter.PerMinute("rpm", 10))
		w.admit("u", 10)
		w.edit("u", 0, change)
		w.l = w.process(limiter.Options{OnUnavailable: limiter.Block})
		calls := 0
		w.faults.before = func(string) error { calls++; return nil }
		for i := range 2 {
			before := calls
			if _, err := w.acquire("u", 1); err == nil || calls == before {
				t.Errorf("%s: attempt %d: %v with %d requests", name, i+1, err, calls-before)
			}
		}
	}
}

// What is wrong is named with the field and the value that the caller gave, at most the first 50 characters of it.
func TestMistakesNameFieldAndValue(t *testing.T) {
	l, ctx := newWorld(t).l, t.Context()
	long := strings.Repeat("ä", 300)
	set := func(limits ...limiter.Limit) error { return l.Admin().SetLimits(ctx, "u", "r", limits) }
	scheduled := func(entries ...schedule.Entry) error {
		_, err := limiter.PerMinute("rpm", 5).WithSchedule(entries...)
		return err
	}
	quota := func(entries ...schedule.Entry) error { _, err := limiter.Quota("day", 5, entries...); return err }
	half := limiter.PerMinute("half", 5)
	half.RefillPeriod = 1500 * time.Millisecond
	both := limiter.SessionQuota("both", 5, time.Hour)
	both.ResetSchedule = "1m0h0"
	dripping := limiter.SessionQuota("drip", 5, time.Hour)
	dripping.RefillAmount = 3
	zoneless := limiter.PerMinute("rpm", 5)
	zoneless.Zone = "Europe/Berlin"
	berlin, err := limiter.Quota("day", 5, schedule.Entry{Cron: "0 0 * * *", TZ: "Europe/Berlin"})
	if err != nil {
		t.Fatal(err)
	}
	utc, err := limiter.Quota("night", 5, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	request := func(e, r string, amounts limiter.Amounts) error {
		_, err := l.Acquire(ctx, limiter.Request{EntityID: e, Resource: r, Consume: amounts})
		return err
	}
	for want, err := range map[string]error{
		`invalid entity_id: must not be empty`:                                                        request("", "r", nil),
		`invalid entity_id: "a#b" must not contain '#'`:                                               request("a#b", "r", nil),
		`invalid entity_id: "` + long[:100] + `..." is longer than 256 characters`:                    request(long, "r", nil),
		`invalid resource: "a b" must start with a letter and contain only letters, digits and _.-/:`: request("u", "a b", nil),
		`invalid resource: "PK" is reserved`:                                                          request("u", "PK", nil),
		`invalid limit name: "wcu" is reserved`:                                                       set(limiter.PerMinute("wcu", 5)),
		`invalid capacity of rpm: "0" must be between 1 and 10^15`:                                    set(limiter.PerMinute("rpm", 5).WithBurst(0)),
		`invalid refill amount of rpm: "-1" must be between 0 and 10^15`:                              set(limiter.Custom("rpm", 5, -1, time.Second)),
		`invalid refill amount of rpm: "0" is for quotas`:                                             set(limiter.Custom("rpm", 5, 0, time.Second)),
		`invalid refill amount of drip: "3" must be 0 for a quota`:                                    set(dripping),
		`invalid refill period of rpm: "0s" must be whole seconds between 1 and 10^9`:                 set(limiter.Custom("rpm", 5, 5, 0)),
		`invalid refill period of half: "1.5s" must be whole seconds`:                                 set(half),
		`invalid reset_after of chat: "-1s" must be whole seconds between 1 and 10^9`:                 set(limiter.SessionQuota("chat", 5, -time.Second)),
		`invalid limit: "both" has a reset schedule and a window`:                                     set(both),
		`invalid zone of rpm: "Europe/Berlin" is given without a schedule`:                            set(zoneless),
		`invalid zone of night: "UTC" differs from that of day`:                                       set(berlin, utc),
		`invalid limits: "rpm" is given twice`:                                                        set(limiter.PerMinute("rpm", 5), limiter.PerHour("rpm", 5)),
		`cron "60 * * * *": minute "60": 60 is not between 0 and 59`:                                  scheduled(schedule.Entry{Cron: "60 * * * *", Scale: 2}),
		`cron "* * * *": has 4 fields`:                                                                scheduled(schedule.Entry{Cron: "* * * *", Scale: 2}),
		`time zone "Mars/X": unknown`:                                                                 scheduled(schedule.Entry{Cron: "* 1 * * *", TZ: "Mars/X", Scale: 2}),
		`schedule entry "* 1 * * *" scale -2: must be above 0 and at most 1000000`:                    scheduled(schedule.Entry{Cron: "* 1 * * *", Scale: -2}),
		`entries in zones UTC and Europe/Berlin`:                                                      scheduled(schedule.Entry{Cron: "* 1 * * *", Scale: 2}, schedule.Entry{Cron: "* 2 * * *", TZ: "Europe/Berlin", Scale: 2}),
		`reset entry "* * * * *": matches always or too rarely`:                                       quota(schedule.Entry{Cron: "* * * * *"}),
		`reset entry "0 0 29 2 *": matches always or too rarely`:                                      quota(schedule.Entry{Cron: "0 0 29 2 *"}),
		`cron "0 0 31 2 *": day of month "31": none of these months has that day`:                     quota(schedule.Entry{Cron: "0 0 31 2 *"}),
	} {
		if _, ok := errors.AsType[*limiter.ValidationError](err); !ok || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}
