// Package storetest is the conformance suite that every limiter.Store runs: the wire's worked example,
// round trips, cascades, shards, leases, administration and concurrency, through a limiter.Limiter with a
// clock that stands still. A store's own test is one call of Run and one of Benchmark.
package storetest

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Store is what the suite needs of a store: both of its halves.
type Store interface {
	limiter.Store
	limiter.AdminStore
}

// start is the instant at which the clocks of the suite stand: far from any real ttl.
const start = 1_800_000_000_000

// Run runs the suite. open returns a store on an empty namespace, whose readers are at this release (see
// limiter.AdminStore.RequireReaders); it is called once a test.
func Run(t *testing.T, open func(t *testing.T) Store) {
	for _, test := range []struct {
		name string
		run  func(*fixture)
	}{
		{"the worked example of the wire, to the digit", testWorkedExample},
		{"round trips of each path", testRoundTrips},
		{"a refill moves rf only when a declared limit needs it", testRemaindersAreKept},
		{"a cascade charges both buckets in one transaction", testCascade},
		{"a short parent leaves the child uncharged", testShortParent},
		{"a recreated entity claims the bucket of its predecessor", testClaim},
		{"cascades stop after one level", testOneLevel},
		{"leases write what changed", testLease},
		{"a release above the ceiling is trimmed by the next acquire", testTrim},
		{"a rolled back acquire leaves no trace", testRollback},
		{"a missing limit is seeded", testSeed},
		{"shards are doubled when wcu is exhausted in one millisecond", testDoubling},
		{"wcu is refilled before shards are doubled", testWCURefill},
		{"config levels and their order", testLevels},
		{"stored limits reach existing buckets", testSync},
		{"entities and their children", testEntities},
		{"entities move under other parents", testSetParent},
		{"flags reach existing buckets, and leave the exceptions of entities", testFlags},
		{"cascade policies reach existing buckets", testCascadePolicy},
		{"limits and flags of a level are written together", testConfigure},
		{"entities with limits of their own, page by page", testEntitiesWithLimits},
		{"every change is audited", testAudit},
		{"the capacity of a resource over its entities", testResourceCapacity},
		{"resets and top-ups, and their repetition", testOperations},
		{"operations on a bucket of several shards", testOperationsOnShards},
		{"a top-up creates the bucket of a quota", testTopUpOfNoBucket},
		{"availability over all shards", testAvailability},
		{"concurrent acquires never exceed the capacity", testConcurrency},
		{"concurrent cascades lose no update", testConcurrentCascades},
		{"quotas and schedules, to the digit", testQuotas},
		{"a schedule changes the parameters at its boundaries", testScheduleBoundary},
		{"soft limits admit into debt", testSoft},
		{"stamps follow the system level as it is read, not as it is remembered", testSoftSystem},
		{"a bypass waives and counts", testBypass},
		{"quotas of several shards are held once", testShardedQuotas},
		{"availability of quotas, schedules and soft limits", testAvailabilityOfQuotas},
		{"several resources in one acquire", testSeveral},
		{"several resources under a cascade", testSeveralCascade},
		{"outcomes of single calls", testOutcomes},
	} {
		t.Run(test.name, func(t *testing.T) {
			counting := &Counting{Store: open(t)}
			f := &fixture{T: t, store: counting}
			f.clock.Store(start)
			f.lim = f.limiter(limiter.Options{RejectionCacheTTL: -1})
			test.run(f)
		})
	}
}

// Counting counts the calls of the hot path on their way to a store.
type Counting struct {
	Store
	Consumes, Reads, Writes, Adjusts, Doubles atomic.Int64
}

// Calls is the number of calls so far.
func (c *Counting) Calls() int64 {
	return c.Consumes.Load() + c.Reads.Load() + c.Writes.Load() + c.Adjusts.Load() + c.Doubles.Load()
}

// Consume implements limiter.Store.
func (c *Counting) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	c.Consumes.Add(1)
	return c.Store.Consume(ctx, in, out)
}

// Read implements limiter.Store.
func (c *Counting) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	c.Reads.Add(1)
	return c.Store.Read(ctx, in, out)
}

// Write implements limiter.Store.
func (c *Counting) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	c.Writes.Add(1)
	return c.Store.Write(ctx, in, out)
}

// Adjust implements limiter.Store.
func (c *Counting) Adjust(ctx context.Context, in *limiter.AdjustInput) (limiter.AdjustOutput, error) {
	c.Adjusts.Add(1)
	return c.Store.Adjust(ctx, in)
}

// Double implements limiter.Store.
func (c *Counting) Double(ctx context.Context, entityID, resource string, from int) (int, bool, error) {
	c.Doubles.Add(1)
	return c.Store.Double(ctx, entityID, resource, from)
}

// fixture is one test on one store.
type fixture struct {
	*testing.T
	store *Counting
	lim   *limiter.Limiter
	clock atomic.Int64 // ms
}

// limiter returns another process on the same table.
func (f *fixture) limiter(opts limiter.Options) *limiter.Limiter {
	f.Helper()
	opts.Clock = func() time.Time { return time.UnixMilli(f.clock.Load()) }
	l, err := limiter.New(f.store, opts)
	if err != nil {
		f.Fatal(err)
	}
	return l
}

func (f *fixture) must(err error) {
	f.Helper()
	if err != nil {
		f.Fatal(err)
	}
}

const resource = "gpt-4"

func (f *fixture) acquire(l *limiter.Limiter, entity string, amounts limiter.Amounts) (*limiter.Lease, error) {
	return l.Acquire(f.Context(), limiter.Request{EntityID: entity, Resource: resource, Consume: amounts})
}

func (f *fixture) admit(l *limiter.Limiter, entity string, amounts limiter.Amounts) *limiter.Lease {
	f.Helper()
	lease, err := f.acquire(l, entity, amounts)
	if err != nil {
		f.Fatalf("acquire %v of %s: %v", amounts, entity, err)
	}
	return lease
}

func (f *fixture) refuse(l *limiter.Limiter, entity string, amounts limiter.Amounts) *limiter.ExceededError {
	f.Helper()
	_, err := f.acquire(l, entity, amounts)
	e, ok := errors.AsType[*limiter.ExceededError](err)
	if !ok {
		f.Fatalf("acquire %v of %s: got %v, want an *ExceededError", amounts, entity, err)
	}
	return e
}

// bucket reads an item, consistently.
func (f *fixture) bucket(entity string, shard int) limiter.Bucket {
	f.Helper()
	var out limiter.ReadOutput
	in := limiter.ReadInput{Consistent: true, Resource: resource, Entities: []limiter.EntityRead{{EntityID: entity, Bucket: true, Shard: shard}}}
	f.must(f.store.Store.Read(f.Context(), &in, &out))
	return out.Entities[0].Bucket
}

// holds checks tk and tc of one limit, in millitokens.
func (f *fixture) holds(entity string, shard int, limit string, tokens, counter int64) {
	f.Helper()
	b := f.bucket(entity, shard)
	l := b.Limit(limit)
	if l == nil {
		f.Fatalf("%s/%d has no limit %s: %+v", entity, shard, limit, b)
	}
	if l.Tokens != tokens || l.Counter != counter {
		f.Errorf("%s/%d %s: got tk %d tc %d, want tk %d tc %d", entity, shard, limit, l.Tokens, l.Counter, tokens, counter)
	}
}

func (f *fixture) defaults(limits ...limiter.Limit) {
	f.Helper()
	f.must(f.lim.Admin().SetResourceDefaults(f.Context(), resource, limits))
}
