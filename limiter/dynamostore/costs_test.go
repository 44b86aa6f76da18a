package dynamostore_test

import (
	"errors"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// meter is a namespace on an engine that counts what every path costs.
type meter struct {
	*testing.T
	engine *dynamolocal.Engine
	store  *dynamostore.Store
	now    int64 // ms
	shard  int   // what the draw gives
}

func newMeter(t *testing.T) *meter {
	t.Helper()
	m := &meter{T: t, engine: newEngine(t, dynamolocal.Config{}), now: 1800000000000}
	table := dynamostore.OpenTable(m.engine.Client(), "costs", dynamostore.TableOptions{WithoutStream: true})
	m.must(table.Create(t.Context()))
	m.must(table.DeclareReaders(t.Context(), false))
	m.store = table.Store("ns")
	return m
}

func (m *meter) must(err error) {
	m.Helper()
	if err != nil {
		m.Fatal(err)
	}
}

// process returns another process on the table, which knows nothing yet.
func (m *meter) process(change func(*limiter.Options)) *limiter.Limiter {
	opts := limiter.Options{RejectionCacheTTL: -1, Clock: func() time.Time { return time.UnixMilli(m.now) }, Rand: func(n int) int { return min(m.shard, n-1) }}
	if change != nil {
		change(&opts)
	}
	l, err := limiter.New(m.store, opts)
	m.must(err)
	return l
}

// cost is what a path takes: sequential round trips, requests, and the engine's capacity units.
type cost struct {
	trips, requests      int
	read, write, indexes float64
}

func (m *meter) measure(run func() (trips int)) cost {
	before := m.engine.Stats()
	trips := run()
	after := m.engine.Stats()
	a, b := before.Tables[0], after.Tables[0]
	return cost{trips, int(after.Requests() - before.Requests()), b.ReadUnits - a.ReadUnits, b.WriteUnits - a.WriteUnits, b.IndexWriteUnits - a.IndexWriteUnits}
}

func (m *meter) expect(path string, want cost, run func() (trips int)) {
	m.Helper()
	if got := m.measure(run); got != want {
		m.Errorf("%s: got %+v, want %+v", path, got, want)
	}
}

// acquire takes n and closes; a rejection is a path like any other.
func (m *meter) acquire(l *limiter.Limiter, entity string, n int64) func() int {
	return func() int {
		m.Helper()
		lease, err := l.Acquire(m.Context(), limiter.Request{EntityID: entity, Resource: "api", Consume: limiter.Amounts{"rpm": n}})
		if e, refused := errors.AsType[*limiter.ExceededError](err); refused {
			return e.RoundTrips
		}
		m.must(err)
		m.must(lease.Close(m.Context()))
		return lease.RoundTrips()
	}
}

// The costs of the paths, counted by the engine. Where they differ from those of the Python client it is
// because a slow pass reads its config levels together with META and bucket: one round trip less and the
// same read units.
func TestCostsOfThePaths(t *testing.T) {
	m := newMeter(t)
	setup := m.process(nil)
	m.must(setup.Admin().SetResourceDefaults(t.Context(), "api", []limiter.Limit{limiter.PerMinute("rpm", 60)}))

	cold := m.process(nil)
	m.expect("first acquire of an entity, config cold", cost{4, 4, 3, 1 + 4, 3}, m.acquire(cold, "u", 40))
	m.expect("speculative success", cost{1, 1, 0, 1, 1}, m.acquire(cold, "u", 20))
	m.expect("fast rejection", cost{1, 1, 0, 1, 0}, m.acquire(cold, "u", 1))
	m.now += 10_000
	m.expect("speculative miss that a refill satisfies", cost{3, 3, 2.5, 2, 1}, m.acquire(cold, "u", 10))
	m.expect("system level cold, for what happens when unavailable", cost{2, 2, 0.5, 1, 0}, m.acquire(m.process(nil), "u", 1))
	remembering := m.process(func(o *limiter.Options) { o.RejectionCacheTTL = 0; o.OnUnavailable = limiter.Block })
	m.acquire(remembering, "u", 1)()
	m.expect("local rejection", cost{0, 0, 0, 0, 0}, m.acquire(remembering, "u", 1))

	reading := m.process(func(o *limiter.Options) { o.DisableSpeculation = true })
	m.now += 20_000
	m.acquire(reading, "u", 1)()
	m.expect("read then write, warm", cost{2, 2, 2.5, 1, 1}, m.acquire(reading, "u", 1))
	m.expect("rejection by reading", cost{1, 1, 2.5, 0, 0}, m.acquire(reading, "u", 60))

	m.costsOfLeases(cold)
}

func (m *meter) costsOfLeases(l *limiter.Limiter) {
	change := func(amount int64, end func(*limiter.Lease) error) func() int {
		lease, err := l.Acquire(m.Context(), limiter.Request{EntityID: "lease", Resource: "api", Consume: limiter.Amounts{"rpm": 1}})
		m.must(err)
		m.must(lease.Adjust(limiter.Amounts{"rpm": amount}))
		return func() int { m.must(end(lease)); return 1 }
	}
	closing := func(lease *limiter.Lease) error { return lease.Close(m.Context()) }
	m.acquire(l, "lease", 1)()
	m.expect("exit without a change", cost{1, 0, 0, 0, 0}, change(0, closing))
	m.expect("exit with adjustments", cost{1, 1, 0, 1, 1}, change(2, closing))
	m.expect("rollback", cost{1, 1, 0, 1, 1}, change(5, func(lease *limiter.Lease) error { return lease.Rollback(m.Context()) }))
	m.expect("a credit that fails its ceiling terms", cost{1, 2, 0, 2, 1}, change(-50, closing))
}

func TestCostsOfCascades(t *testing.T) {
	m := newMeter(t)
	l := m.process(nil)
	m.must(l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 60)}, limiter.Block))
	for _, e := range []limiter.Entity{{ID: "org"}, {ID: "kid", ParentID: "org", Cascade: true}} {
		_, err := l.Admin().CreateEntity(t.Context(), e)
		m.must(err)
	}
	m.acquire(l, "somebody", 1)() // reads the system level
	m.expect("first acquire, both new", cost{4, 4, 2.5 + 2, 1 + 8, 6}, m.acquire(l, "kid", 1))
	m.expect("in parallel", cost{1, 2, 0, 2, 2}, m.acquire(l, "kid", 1))
	other := m.process(func(o *limiter.Options) { o.OnUnavailable = limiter.Block })
	m.expect("in turn", cost{2, 2, 0, 2, 2}, m.acquire(other, "kid", 1))
	reading := m.process(func(o *limiter.Options) { o.DisableSpeculation = true })
	m.expect("read then write, cold", cost{4, 4, 0.5 + 2.5 + 2, 4, 2}, m.acquire(reading, "kid", 1))
	m.expect("read then write, the parent known: one read of both, one write", cost{2, 2, 4.5, 4, 2}, m.acquire(reading, "kid", 1))

	m.must(l.Admin().SetLimits(t.Context(), "kid", "api", []limiter.Limit{limiter.PerMinute("rpm", 600)}))
	m.acquire(l, "kid", 1)()
	m.acquire(l, "org", 54)()
	m.expect("a short parent, the child refunded", cost{2, 3, 0, 3, 2}, m.acquire(l, "kid", 1))
	m.now += 5000
	m.expect("the parent refilled alone", cost{3, 4, 2.5, 3, 2}, m.acquire(l, "kid", 1))
	m.now += 1000
	remembering := m.process(func(o *limiter.Options) { o.RejectionCacheTTL = 0; o.OnUnavailable = limiter.Block })
	m.acquire(remembering, "kid", 1)()
	m.expect("local rejection", cost{0, 0, 0, 0, 0}, m.acquire(remembering, "kid", 10))
}

func TestCostsOfShards(t *testing.T) {
	m := newMeter(t)
	l := m.process(nil)
	m.must(l.Admin().SetResourceDefaults(t.Context(), "api", []limiter.Limit{limiter.PerMinute("rpm", 6_000)}))
	m.acquire(l, "u", 1)()
	for range 1000 {
		m.acquire(l, "u", 1)()
	}
	m.now++
	m.expect("wcu exhausted, refilled", cost{3, 3, 2.5, 2, 1}, m.acquire(l, "u", 1))
	m.acquire(l, "u", 1)()
	m.shard = 1
	m.expect("wcu exhausted at once, doubled, the new shard created", cost{4, 4, 2.5, 1 + 1 + 4, 1 + 3}, m.acquire(l, "u", 1))
	m.acquire(l, "u", 2990)()
	m.now += 1000
	m.shard = 0
	m.acquire(l, "u", 1)() // refills the wcu of shard 0
	m.shard = 1
	m.expect("shard retry", cost{2, 2, 0, 1 + 1, 1}, m.acquire(l, "u", 100))
}

func TestCostsOfStampsAndSeveralResources(t *testing.T) {
	m := newMeter(t)
	l := m.process(func(o *limiter.Options) { o.OnUnavailable = limiter.Block })
	m.must(l.Admin().SetResourceDefaults(t.Context(), "api", []limiter.Limit{limiter.PerMinute("rpm", 60).WithSoft()}))
	m.acquire(l, "soft", 50)()
	m.expect("soft, into debt", cost{1, 1, 0, 1, 1}, m.acquire(l, "soft", 50))
	m.now += 70_000
	m.expect("soft, past the stamp", cost{3, 3, 3, 2, 1}, m.acquire(l, "soft", 50))

	m.must(l.Admin().SetResourceDefaults(t.Context(), "search", []limiter.Limit{limiter.PerMinute("rpm", 60)}))
	both := func(entity string) func() int {
		return func() int {
			lease, err := l.Acquire(t.Context(), limiter.Request{EntityID: entity, Resource: "api", Consume: limiter.Amounts{"rpm": 1},
				Also: map[string]limiter.Amounts{"search": {"rpm": 1}}})
			m.must(err)
			return lease.RoundTrips()
		}
	}
	m.expect("two resources, both new: one transaction of two creates and one check", cost{3, 5, 5, 2 + 6, 6}, both("several"))
	m.expect("two resources, warm", cost{1, 2, 0, 2, 2}, both("several"))

	m.acquire(l, "waived", 1)()
	_, err := l.Admin().Bypass(t.Context(), "waived", "api")
	m.must(err)
	m.expect("bypassed, first time in a process", cost{2, 2, 0, 2, 2}, m.acquire(l, "waived", 500))
	m.expect("bypassed", cost{1, 1, 0, 1, 1}, m.acquire(l, "waived", 500))
	m.now += 70_000
	m.expect("bypassed, past the stamp", cost{3, 3, 3, 2, 1}, m.acquire(l, "waived", 500))
}

func TestCostsOfAdministration(t *testing.T) {
	m := newMeter(t)
	l := m.process(nil)
	limits := []limiter.Limit{limiter.PerMinute("rpm", 60)}
	m.must(l.Admin().SetResourceDefaults(t.Context(), "api", limits))
	m.acquire(l, "u", 1)()
	_, err := l.Available(t.Context(), "u", "api", nil)
	m.must(err)
	m.expect("availability, config warm", cost{0, 2, 1, 0, 0}, func() int { _, err := l.Available(t.Context(), "u", "api", nil); m.must(err); return 0 })
	for _, path := range []string{"new", "existing"} {
		got := m.measure(func() int { m.must(l.Admin().SetLimits(t.Context(), "u", "api", limits)); return 0 })
		// Read, config with its registry, discovery, all levels, one bucket, discovery, audit.
		if got.requests != 7 {
			t.Errorf("set limits, %s: %+v, want 7 requests", path, got)
		}
	}
}
