package limiter_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

const start = 1_800_000_000_000

// world is a table, a clock and a limiter on them.
type world struct {
	testing.TB
	*memstore.Store
	faults faults
	clock  atomic.Int64
	l      *limiter.Limiter
}

// faults wraps the hot path with errors.
type faults struct {
	limiter.AdminStore
	limiter.Store
	before func(call string) error // nil: none
	after  func(call string) error
}

func (f *faults) around(call string, do func() error) error {
	if f.before != nil {
		if err := f.before(call); err != nil {
			return err
		}
	}
	if err := do(); err != nil {
		return err
	}
	if f.after != nil {
		return f.after(call)
	}
	return nil
}

func (f *faults) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	return f.around("consume "+in.Key.EntityID, func() error { return f.Store.Consume(ctx, in, out) })
}

func (f *faults) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	return f.around("read", func() error { return f.Store.Read(ctx, in, out) })
}

func (f *faults) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	return f.around("write", func() error { return f.Store.Write(ctx, in, out) })
}

func (f *faults) Adjust(ctx context.Context, in *limiter.AdjustInput) (out limiter.AdjustOutput, err error) {
	err = f.around("adjust", func() error { out, err = f.Store.Adjust(ctx, in); return err })
	return out, err
}

func (f *faults) Double(ctx context.Context, entityID, resource string, from int) (count int, won bool, err error) {
	err = f.around("double", func() error { count, won, err = f.Store.Double(ctx, entityID, resource, from); return err })
	return count, won, err
}

func newWorld(t testing.TB, limits ...limiter.Limit) *world {
	t.Helper()
	w := &world{TB: t, Store: memstore.New()}
	w.clock.Store(start)
	w.faults = faults{AdminStore: w.Store, Store: w.Store}
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1})
	if len(limits) > 0 {
		w.must(w.l.Admin().SetResourceDefaults(t.Context(), "r", limits))
	}
	return w
}

func (w *world) process(opts limiter.Options) *limiter.Limiter {
	w.Helper()
	opts.Clock = func() time.Time { return time.UnixMilli(w.clock.Load()) }
	l, err := limiter.New(&w.faults, opts)
	w.must(err)
	return l
}

func (w *world) must(err error) {
	w.Helper()
	if err != nil {
		w.Fatal(err)
	}
}

func (w *world) acquire(entity string, n int64) (*limiter.Lease, error) {
	return w.l.Acquire(context.Background(), limiter.Request{EntityID: entity, Resource: "r", Consume: limiter.Amounts{"rpm": n}})
}

func (w *world) admit(entity string, n int64) *limiter.Lease {
	w.Helper()
	lease, err := w.acquire(entity, n)
	w.must(err)
	return lease
}

func (w *world) bucket(entity string, shard int) limiter.Bucket {
	b, _ := w.Bucket(limiter.BucketKey{EntityID: entity, Resource: "r", Shard: shard})
	return b
}

// edit changes a stored item as another client would.
func (w *world) edit(entity string, shard int, change func(*limiter.Bucket)) {
	b := w.bucket(entity, shard)
	change(&b)
	w.PutBucket(limiter.BucketKey{EntityID: entity, Resource: "r", Shard: shard}, b)
}

func (w *world) tokens(entity string, want int64) {
	w.Helper()
	b := w.bucket(entity, 0)
	if l := b.Limit("rpm"); l == nil || l.Tokens != want {
		w.Errorf("%s: got %+v, want %d millitokens", entity, l, want)
	}
}

func wantError[E error](t testing.TB, err error) (e E) {
	t.Helper()
	e, ok := errors.AsType[E](err)
	if !ok {
		t.Fatalf("got %v, want %T", err, e)
	}
	return e
}

func TestDisabledResources(t *testing.T) {
	for _, tt := range []struct {
		key   limiter.ConfigKey
		level string
	}{
		{limiter.ConfigKey{EntityID: "u", Resource: "r"}, "entity"},
		{limiter.ConfigKey{EntityID: "u", Resource: limiter.DefaultResource}, "entity_default"},
		{limiter.ConfigKey{Resource: "r"}, "resource"},
	} {
		t.Run("at level "+tt.level, func(t *testing.T) {
			w := newWorld(t)
			w.PutConfigItem(tt.key, limiter.Config{Disabled: limiter.On, Limits: []limiter.Limit{limiter.PerMinute("rpm", 10)}})
			_, err := w.acquire("u", 1)
			if e := wantError[*limiter.DisabledError](t, err); e.Level != tt.level {
				t.Errorf("level %s", e.Level)
			}
		})
	}
	t.Run("an explicit enforcement further up wins", func(t *testing.T) {
		w := newWorld(t)
		w.PutConfigItem(limiter.ConfigKey{Resource: "r"}, limiter.Config{Disabled: limiter.On, Limits: []limiter.Limit{limiter.PerMinute("rpm", 10)}})
		w.PutConfigItem(limiter.ConfigKey{EntityID: "u", Resource: "r"}, limiter.Config{Disabled: limiter.Off})
		w.admit("u", 1)
	})
	t.Run("by the stamp of a bucket, outranking a rejection", func(t *testing.T) {
		w := newWorld(t, limiter.PerMinute("rpm", 10))
		w.admit("u", 10)
		w.edit("u", 0, func(b *limiter.Bucket) { b.Disabled = true })
		_, err := w.acquire("u", 1)
		if e := wantError[*limiter.DisabledError](t, err); e.Level != "bucket" {
			t.Errorf("level %s", e.Level)
		}
	})
	t.Run("at the parent, with the child refunded", func(t *testing.T) {
		w := family(t)
		w.admit("child", 1)
		w.edit("org", 0, func(b *limiter.Bucket) { b.Disabled = true })
		_, err := w.acquire("child", 1)
		if e := wantError[*limiter.DisabledError](t, err); e.EntityID != "org" {
			t.Errorf("entity %s", e.EntityID)
		}
		w.tokens("child", 99_000)
	})
}

func family(t testing.TB) *world {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "org"})
	w.must(err)
	_, err = w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "child", ParentID: "org", Cascade: true})
	w.must(err)
	return w
}

func TestCascadePolicyOverridesTheEntity(t *testing.T) {
	w := family(t)
	w.PutConfigItem(limiter.ConfigKey{EntityID: "child", Resource: limiter.DefaultResource}, limiter.Config{Cascade: limiter.Off})
	w.admit("child", 1)
	if w.bucket("org", 0).Exists {
		t.Error("the parent was charged against the policy")
	}
	// A policy change arrives with the stamps that an operator's tool writes; caches give way to them.
	w.PutConfigItem(limiter.ConfigKey{EntityID: "child", Resource: limiter.DefaultResource}, limiter.Config{Cascade: limiter.On})
	w.edit("child", 0, func(b *limiter.Bucket) { b.Cascade = true })
	w.admit("child", 1)
	w.tokens("org", 99_000)
	w.admit("child", 1)
	w.edit("child", 0, func(b *limiter.Bucket) { b.Cascade = false })
	w.admit("child", 1)
	w.tokens("org", 98_000)
	w.tokens("child", 96_000)
}

func TestAMovedChildChargesItsNewParent(t *testing.T) {
	w := family(t)
	_, err := w.l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "new"})
	w.must(err)
	w.admit("child", 1)
	w.admit("new", 1)
	w.edit("child", 0, func(b *limiter.Bucket) { b.ParentID, b.PGen = "new", b.PGen+1 })
	w.admit("child", 1)
	w.tokens("org", 99_000)
	w.tokens("new", 98_000)
	w.tokens("child", 98_000)
}

func TestOnUnavailable(t *testing.T) {
	broken := errors.New("no route")
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.faults.before = func(string) error { return broken }
	_, err := w.acquire("u", 1)
	if e := wantError[*limiter.UnavailableError](t, err); !errors.Is(e, broken) || e.EntityID != "u" || e.Resource != "r" {
		t.Errorf("block: %+v", e)
	}
	request := limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}, OnUnavailable: limiter.Allow}
	lease, err := w.l.Acquire(t.Context(), request)
	if err != nil || !lease.Degraded() || lease.Adjust(limiter.Amounts{"x": 1}) != nil || lease.Close(t.Context()) != nil || lease.Adjust(limiter.Amounts{"x": 1}) != nil {
		t.Errorf("allow: %v, %v", lease, err)
	}
	w.faults.before = func(string) error { return fmt.Errorf("put: %w", limiter.ErrAccessDenied) }
	_, err = w.l.Acquire(t.Context(), request)
	wantError[*limiter.PermissionError](t, err)

	// The mode comes from the system defaults, and the last one seen holds while they cannot be read.
	w.faults.before = nil
	w.must(w.l.Admin().SetSystemDefaults(t.Context(), nil, limiter.Allow))
	lease = w.admit("u", 1)
	w.must(lease.Adjust(limiter.Amounts{"rpm": 1}))
	w.faults.before = func(string) error { return broken }
	w.must(lease.Close(t.Context())) // covered by the mode
	w.clock.Add(3_600_000)
	if lease := w.admit("u", 1); !lease.Degraded() {
		t.Error("the last mode seen was forgotten")
	}
}

func TestALostReplyIsOneFailedRequest(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 1)
	calls := 0
	w.faults.after = func(call string) error {
		calls++
		return errors.New("connection reset")
	}
	_, err := w.acquire("u", 1)
	wantError[*limiter.UnavailableError](t, err)
	if calls != 1 {
		t.Errorf("%d calls after a lost reply, want 1", calls)
	}
	w.tokens("u", 8_000)
}

func TestACascadeWithALostReplyRefundsTheOther(t *testing.T) {
	w := family(t)
	w.admit("child", 1)
	w.faults.before = func(call string) error {
		if call == "consume org" {
			return errors.New("connection refused")
		}
		return nil
	}
	_, err := w.acquire("child", 1)
	wantError[*limiter.UnavailableError](t, err)
	w.tokens("child", 99_000)
}

func TestCancellationRollsBack(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	ctx, cancel := context.WithCancel(t.Context())
	err := w.l.Do(ctx, limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 4}}, func(context.Context, *limiter.Lease) error {
		cancel()
		return nil
	})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	w.tokens("u", 10_000)
}

func TestPartialItemsAreRebuilt(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.PutBucket(limiter.BucketKey{EntityID: "u", Resource: "r"}, limiter.Bucket{Limits: []limiter.LimitState{
		{Name: "rpm", Tokens: -3000, Counter: 3000, Has: limiter.FieldTokens | limiter.FieldCounter}}})
	w.admit("u", 1)
	b := w.bucket("u", 0)
	if !b.HasRF || !b.HasTTL || b.Limit(limiter.WCU) == nil || !b.Limit("rpm").Complete() {
		t.Errorf("rebuilt: %+v", b)
	}
	w.tokens("u", 9_000)
	if lease := w.admit("u", 1); lease.RoundTrips() != 1 {
		t.Errorf("%d round trips afterwards, want the fast path", lease.RoundTrips())
	}
}

func TestAnItemThatVanishesIsCreatedAgain(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 10)
	w.clock.Add(30_000)
	w.faults.before = func(call string) error {
		if call == "write" {
			w.DeleteBucket(limiter.BucketKey{EntityID: "u", Resource: "r"})
			w.faults.before = nil
		}
		return nil
	}
	w.admit("u", 1)
	w.tokens("u", 9_000)
}

func TestALostLockBecomesConsumptionAlone(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 10)
	w.clock.Add(30_000)
	other := w.process(limiter.Options{RejectionCacheTTL: -1})
	w.faults.before = func(call string) error {
		if call == "write" {
			w.faults.before = nil
			_, err := other.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}})
			return err
		}
		return nil
	}
	if lease := w.admit("u", 1); lease.RoundTrips() != 4 {
		t.Errorf("%d round trips, want W5, read, W2, W3", lease.RoundTrips())
	}
	w.tokens("u", 3_000)
}

func TestExpiredBucketsAreRevived(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.admit("u", 1)
	w.edit("u", 0, func(b *limiter.Bucket) { b.TTL = start/1000 + 1 })
	w.clock.Add(2000)
	w.admit("u", 1)
	if b := w.bucket("u", 0); b.TTL != start/1000+2+420 {
		t.Errorf("ttl %d", b.TTL)
	}
}

func TestRejectionsFromMemory(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.l = w.process(limiter.Options{})
	w.admit("u", 10)
	calls := 0
	w.faults.before = func(string) error { calls++; return nil }
	_, err := w.acquire("u", 1)
	e := wantError[*limiter.ExceededError](t, err)
	if calls != 0 || e.RoundTrips != 0 || e.RetryAfter() != 6001*time.Millisecond {
		t.Errorf("%d calls, %d trips, %v", calls, e.RoundTrips, e.RetryAfter())
	}
	if _, err := w.l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}, Limits: []limiter.Limit{limiter.PerMinute("rpm", 10)}}); err == nil || calls == 0 {
		t.Error("explicit limits were judged from memory")
	}
	calls = 0
	w.clock.Add(1001)
	if _, err := w.acquire("u", 1); err == nil || calls != 1 {
		t.Errorf("after its second: %d calls, %v", calls, err)
	}
	w.clock.Add(5000)
	w.admit("u", 1)
}

func TestAShortParentRejectsFromMemory(t *testing.T) {
	w := family(t)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
	w.l = w.process(limiter.Options{})
	w.admit("child", 100)
	w.faults.before = func(call string) error { return errors.New("no request expected: " + call) }
	_, err := w.acquire("child", 1)
	e := wantError[*limiter.ExceededError](t, err)
	if p, _ := e.Primary(); len(e.Statuses) != 2 || p.EntityID != "org" || e.Statuses[0].Exceeded || e.RoundTrips != 0 {
		t.Errorf("got %+v", e)
	}
}

func TestACreditForgetsTheRememberedImage(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 10))
	w.l = w.process(limiter.Options{})
	w.must(w.admit("u", 10).Rollback(t.Context()))
	w.admit("u", 10)
}

func TestOtherShardsAreTriedAndSpared(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	w.admit("u", 1)
	_, _, err := w.Double(t.Context(), "u", "r", 1)
	w.must(err)
	draw := 0
	w.l = w.process(limiter.Options{RejectionCacheTTL: -1, Rand: func(n int) int { return min(draw, n-1) }})
	w.admit("u", 1) // learns the count
	draw = 1
	w.admit("u", 50) // creates shard 1 with its share
	if b := w.bucket("u", 1); b.Limit("rpm").Tokens != 0 || b.ShardCount != 2 {
		t.Fatalf("shard 1: %+v", b)
	}
	if lease := w.admit("u", 1); lease.RoundTrips() != 2 {
		t.Errorf("%d round trips, want the short shard and the other", lease.RoundTrips())
	}
	w.must(w.admit("u", 1).Rollback(t.Context()))
	w.tokens("u", 97_000)
	_, err = w.acquire("u", 98)
	if e := wantError[*limiter.ExceededError](t, err); e.Statuses[0].Limit != limiter.PerMinute("rpm", 50) {
		t.Errorf("limit of one shard: %+v", e.Statuses[0].Limit)
	}
}

func TestConfigCacheExpiresAfterAMinuteAndKnowsAbsence(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 100))
	reads := 0
	w.faults.before = func(call string) error {
		if call == "read" {
			reads++
		}
		return nil
	}
	available := func() int64 {
		a, err := w.l.Available(t.Context(), "u", "r", nil)
		w.must(err)
		return a["rpm"]
	}
	available()
	other := w.process(limiter.Options{})
	w.must(other.Admin().SetLimits(t.Context(), "u", "r", []limiter.Limit{limiter.PerMinute("rpm", 7)}))
	reads = 0
	w.clock.Add(59_999)
	if got := available(); got != 100 || reads != 0 {
		t.Errorf("within the minute: %d after %d reads", got, reads)
	}
	w.clock.Add(1)
	if got := available(); got != 7 || reads != 1 {
		t.Errorf("after the minute: %d after %d reads", got, reads)
	}
	w.must(w.l.Admin().SetLimits(t.Context(), "u", "r", []limiter.Limit{limiter.PerMinute("rpm", 8)}))
	if got := available(); got != 8 {
		t.Errorf("after its own write: %d", got)
	}
}

func TestLeaseBalanceGrowsWithTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := memstore.New()
		l, err := limiter.New(store, limiter.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerSecond("rps", 10)}); err != nil {
			t.Fatal(err)
		}
		err = l.Do(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rps": 10}}, func(_ context.Context, lease *limiter.Lease) error {
			e := wantError[*limiter.ExceededError](t, lease.Consume(limiter.Amounts{"rps": 5}))
			time.Sleep(e.RetryAfter())
			return lease.Consume(limiter.Amounts{"rps": 5})
		})
		if err != nil {
			t.Error(err)
		}
	})
}

func TestConflictsAreRetriedThreeTimesAndThenContended(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, limiter.PerMinute("rpm", 10))
		conflicts := &conflicting{Store: w.Store, AdminStore: w.Store}
		l, err := limiter.New(conflicts, limiter.Options{RejectionCacheTTL: -1})
		w.must(err)
		_, err = l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}})
		e := wantError[*limiter.ExceededError](t, err)
		if !e.Contended || len(e.Statuses) != 1 || len(e.Violations()) != 0 || e.RetryAfter() != 100*time.Millisecond {
			t.Errorf("got %+v", e)
		}
		if s := e.Statuses[0]; s.Available != 10 || s.Requested != 1 || s.RetryAfter != 100*time.Millisecond {
			t.Errorf("judged by %+v", s)
		}
		if conflicts.consumes != 4 || conflicts.writes != 4 {
			t.Errorf("%d consumes and %d writes, want 1 and 3 retries each", conflicts.consumes, conflicts.writes)
		}
	})
}

// conflicting meets a transaction on every write.
type conflicting struct {
	limiter.AdminStore
	limiter.Store
	consumes, writes int
}

func (c *conflicting) Consume(_ context.Context, _ *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	c.consumes++
	out.Outcome = limiter.Conflict
	return nil
}

func (c *conflicting) Write(_ context.Context, _ []limiter.Write, out *limiter.WriteOutput) error {
	c.writes++
	out.Outcome = limiter.Conflict
	return nil
}

// Whatever the mix of processes, paths and corrections, no more is admitted than capacity and refill.
func TestConservation(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		capacity := rapid.Int64Range(1, 200).Draw(rt, "capacity")
		w := newWorld(t, limiter.PerMinute("rpm", capacity))
		processes := []*limiter.Limiter{w.l, w.process(limiter.Options{}), w.process(limiter.Options{DisableSpeculation: true})}
		admitted := int64(0)
		for range rapid.IntRange(1, 60).Draw(rt, "steps") {
			w.clock.Add(rapid.Int64Range(0, 3000).Draw(rt, "ms"))
			w.l = processes[rapid.IntRange(0, 2).Draw(rt, "process")]
			lease, err := w.acquire("u", rapid.Int64Range(0, 20).Draw(rt, "n"))
			if e, refused := errors.AsType[*limiter.ExceededError](err); refused {
				if e.RetryAfter() <= 0 || len(e.Violations()) == 0 {
					rt.Fatalf("rejected without a reason: %+v", e)
				}
				continue
			}
			if err != nil {
				rt.Fatal(err)
			}
			switch rapid.IntRange(0, 3).Draw(rt, "end") {
			case 0:
				w.must(lease.Rollback(t.Context()))
				continue
			case 1:
				w.must(lease.Adjust(limiter.Amounts{"rpm": rapid.Int64Range(0, 5).Draw(rt, "more")}))
			}
			admitted += lease.Consumed()["rpm"]
			w.must(lease.Close(t.Context()))
		}
		elapsed := w.clock.Load() - start
		b := w.bucket("u", 0)
		limit := b.Limit("rpm")
		if limit == nil && admitted == 0 {
			return // everything was refused
		}
		if limit.Counter != admitted*1000 {
			rt.Fatalf("tc %d, admitted %d", limit.Counter, admitted)
		}
		// Corrections may end in debt; what is there plus what was taken is bounded all the same.
		if limit.Tokens+admitted*1000 > (capacity*1000)+elapsed*capacity*1000/60000 {
			rt.Fatalf("admitted %d and %d millitokens are left of %d in %d ms", admitted, limit.Tokens, capacity, elapsed)
		}
	})
}

func TestManyEntitiesUnderRace(t *testing.T) {
	w := newWorld(t, limiter.PerMinute("rpm", 1000))
	w.l = w.process(limiter.Options{})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for i := range 200 {
				lease, err := w.acquire(fmt.Sprintf("u%d", (g+i)%5), 1)
				if err != nil {
					t.Error(err)
					return
				}
				if i%3 == 0 {
					err = errors.Join(lease.Adjust(limiter.Amounts{"rpm": 1}), lease.Release(limiter.Amounts{"rpm": 1}))
				}
				if err := errors.Join(err, lease.Close(t.Context())); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for i := range 5 {
		b := w.bucket(fmt.Sprintf("u%d", i), 0)
		total += b.Limit("rpm").Counter
	}
	if total != 1600*1000 {
		t.Errorf("tc sums to %d, want 1600000", total)
	}
}
