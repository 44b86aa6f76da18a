// Package limiter limits rates by token buckets that several processes share in one table.
//
// A [Limit] is so many tokens per period, with room for a burst. Limits are stored for an entity and
// resource, for an entity, for a resource, or for the system; the most specific level that has any is
// used whole. A request declares what it takes of which limits, all or nothing:
//
//	l, err := limiter.New(store, limiter.Options{})
//	err = l.Admin().SetResourceDefaults(ctx, "gpt-4", []limiter.Limit{
//		limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 100_000).WithBurst(150_000),
//	})
//	err = l.Do(ctx, limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1, "tpm": 500}},
//		func(ctx context.Context, lease *limiter.Lease) error {
//			used, err := call(ctx)
//			return errors.Join(err, lease.Adjust(limiter.Amounts{"tpm": used - 500}))
//		})
//	if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
//		w.Header().Set("Retry-After", exceeded.RetryAfterHeader())
//	}
//
// An acquire is one conditional write on the bucket of entity and resource, without a read. Only when that
// is refused are the bucket and its limits read, refilled and written. An entity with a parent may cascade:
// then both buckets are charged, at the same time, or neither. A bucket that takes more writes than one
// item can is spread over up to 32 shards, each with its share of the limits.
//
// The consumption stands when Acquire returns. [Lease.Close] writes later corrections; an error, a panic or
// a cancelled context inside [Limiter.Do] gives everything back.
//
// Stores: package memstore keeps the table in memory, package dynamostore in DynamoDB, in the format that
// the Python client zae-limiter 0.17 writes, so that services in both languages share one table. Package
// storetest holds stores to one behaviour.
package limiter
