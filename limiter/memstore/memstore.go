// Package memstore keeps the limiter's items in memory: a limiter.Store and limiter.AdminStore for one
// process, for tests and for trying things out. It has the conditions and outcomes of the table, and
// is the model that other stores are compared with. Nothing is ever deleted behind the caller's back:
// see Expire.
package memstore

import (
	"context"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Store is an empty table when made by New. It is safe for concurrent use.
type Store struct {
	seed    maphash.Seed
	stripes [stripeCount]stripe

	// mu guards the items that are not buckets. Where both are needed it is taken first.
	mu         sync.RWMutex
	metas      map[string]limiter.Meta
	configs    map[limiter.ConfigKey]limiter.Config
	audit      []limiter.AuditEvent
	operations map[operationKey]limiter.OperationRecord
	managed    limiter.Managed
}

const stripeCount = 256

type stripe struct {
	mu    sync.Mutex
	items map[limiter.BucketKey]*limiter.Bucket
	_     [48]byte // keeps neighbours off one cache line
}

var (
	_ limiter.Store      = (*Store)(nil)
	_ limiter.AdminStore = (*Store)(nil)
)

// New returns an empty store.
func New() *Store {
	s := &Store{seed: maphash.MakeSeed(), metas: map[string]limiter.Meta{}, configs: map[limiter.ConfigKey]limiter.Config{}, operations: map[operationKey]limiter.OperationRecord{}}
	for i := range s.stripes {
		s.stripes[i].items = map[limiter.BucketKey]*limiter.Bucket{}
	}
	return s
}

func (s *Store) stripeIndex(key *limiter.BucketKey) int {
	return int((maphash.String(s.seed, key.EntityID) + uint64(key.Shard)*0x9e3779b97f4a7c15) % stripeCount)
}

func (s *Store) stripe(key *limiter.BucketKey) *stripe { return &s.stripes[s.stripeIndex(key)] }

// Consume implements limiter.Store.
func (s *Store) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stripe := s.stripe(&in.Key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[in.Key]
	if item == nil {
		out.Outcome = limiter.Refused
		out.Image = limiter.Bucket{Limits: out.Image.Limits[:0]}
		return nil
	}
	if !admits(item, in) {
		out.Outcome = limiter.Refused
		copyImage(&out.Image, item)
		return nil
	}
	for i := range in.Charges {
		debit := in.Charges[i].Amount
		if in.Bypassed {
			count(item, in.Charges[i].Limit, debit)
			continue
		}
		add(item, in.Charges[i].Limit, -debit, debit)
	}
	add(item, limiter.WCU, -1000, 1000)
	out.Outcome = limiter.Done
	copyImage(&out.Image, item)
	return nil
}

func admits(item *limiter.Bucket, in *limiter.ConsumeInput) bool {
	bypassed := item.HasBypass && item.Bypass > in.Now
	if item.Disabled || item.HasTTL && item.TTL <= in.Now/1000 || !holds(item.Limit(limiter.WCU), 1000) {
		return false
	}
	if in.Bypassed {
		return bypassed
	}
	if item.HasBypass && !bypassed || item.HasVU && item.VU <= in.Now && !bypassed {
		return false
	}
	for i := range in.Charges {
		limit := item.Limit(in.Charges[i].Limit)
		soft := limit != nil && limit.Has&limiter.FieldSoft != 0
		live := soft && limit.Rare().Soft > in.Now
		free := bypassed || live && limit.Has&limiter.FieldTokens != 0 && limit.Has&limiter.FieldCapacity != 0
		if soft && !live || !free && !holds(limit, in.Charges[i].Amount) {
			return false
		}
	}
	return true
}

// holds is `tk >= amount`, which is false when there is no tk.
func holds(limit *limiter.LimitState, amount int64) bool {
	return limit != nil && limit.Has&limiter.FieldTokens != 0 && limit.Tokens >= amount
}

// named finds or makes the state of a limit.
func named(item *limiter.Bucket, name string) *limiter.LimitState {
	if limit := item.Limit(name); limit != nil {
		return limit
	}
	item.Limits = append(item.Limits, limiter.LimitState{Name: name})
	sortLimits(item)
	return item.Limit(name)
}

// count is ADD on tc alone.
func count(item *limiter.Bucket, name string, amount int64) {
	limit := named(item, name)
	limit.Counter += amount
	limit.Has |= limiter.FieldCounter
}

// add is ADD on tk and tc, which creates them when absent.
func add(item *limiter.Bucket, name string, tokens, counter int64) {
	limit := named(item, name)
	limit.Tokens += tokens
	limit.Counter += counter
	limit.Has |= limiter.FieldTokens | limiter.FieldCounter
}

func sortLimits(item *limiter.Bucket) {
	slices.SortFunc(item.Limits, func(a, b limiter.LimitState) int { return strings.Compare(a.Name, b.Name) })
}

// copyImage reuses the limits of the destination.
func copyImage(to, from *limiter.Bucket) {
	limits := append(to.Limits[:0], from.Limits...)
	*to = *from
	to.Limits = limits
}

// Read implements limiter.Store.
func (s *Store) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	*out = limiter.ReadOutput{Entities: append(out.Entities[:0], make([]limiter.EntityState, len(in.Entities))...)}
	for i := range in.Entities {
		e, state := &in.Entities[i], &out.Entities[i]
		if e.Meta {
			state.Meta = s.metas[e.EntityID]
			state.Meta.Metadata = nil
		}
		if e.Bucket {
			s.copyBucket(&state.Bucket, limiter.BucketKey{EntityID: e.EntityID, Resource: in.Resource, Shard: e.Shard})
		}
		if e.Config {
			state.Own = s.configs[limiter.ConfigKey{EntityID: e.EntityID, Resource: in.Resource}]
			state.Default = s.configs[limiter.ConfigKey{EntityID: e.EntityID, Resource: limiter.DefaultResource}]
		}
	}
	if in.ResourceConfig {
		out.Resource = s.configs[limiter.ConfigKey{Resource: in.Resource}]
	}
	if in.SystemConfig {
		out.System = s.configs[limiter.ConfigKey{}]
	}
	return nil
}

// Adjust implements limiter.Store.
func (s *Store) Adjust(ctx context.Context, in *limiter.AdjustInput) (limiter.AdjustOutput, error) {
	if err := ctx.Err(); err != nil {
		return limiter.AdjustOutput{}, err
	}
	stripe := s.stripe(&in.Key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[in.Key]
	if item == nil {
		return limiter.AdjustOutput{Outcome: limiter.Refused}, nil
	}
	if !fits(item, in) {
		out := limiter.AdjustOutput{Outcome: limiter.Refused}
		copyImage(&out.Image, item)
		return out, nil
	}
	for _, c := range in.Changes {
		switch in.Only {
		case limiter.AdjustCounter:
			count(item, c.Limit, c.Delta)
		case limiter.AdjustTokens:
			limit := named(item, c.Limit)
			limit.Tokens -= c.Delta
			limit.Has |= limiter.FieldTokens
		default:
			add(item, c.Limit, -c.Delta, c.Delta)
		}
	}
	if in.ForceSlow {
		item.HasVU, item.VU = true, 0
	}
	return limiter.AdjustOutput{}, nil
}

func fits(item *limiter.Bucket, in *limiter.AdjustInput) bool {
	credit := false
	for i := range in.Changes {
		c := &in.Changes[i]
		limit := item.Limit(c.Limit)
		if !samePeriod(item, limit, c) {
			return false
		}
		if !in.Checked || c.Delta >= 0 {
			continue
		}
		credit = true
		if limit == nil || limit.Has&limiter.FieldTokens == 0 || limit.Tokens > c.Ceiling+c.Delta || !sameCeiling(limit, c.State) {
			return false
		}
	}
	return !credit || item.Shards() == in.Item.Shards() && item.HasVU == in.Item.HasVU && item.VU == in.Item.VU &&
		item.Schedule == in.Item.Schedule && item.ResetSchedule == in.Item.ResetSchedule
}

func sameCeiling(limit, read *limiter.LimitState) bool {
	const pins = limiter.FieldGrants | limiter.FieldTopUp | limiter.FieldSchedule | limiter.FieldResetSchedule
	if limit.Capacity != read.Capacity {
		return false
	}
	if read.Extra == nil {
		return true
	}
	a, b := limit.Rare(), read.Rare()
	return limit.Has&pins == read.Has&pins && a.Grants == b.Grants && a.TopUp == b.TopUp && a.Schedule == b.Schedule && a.ResetSchedule == b.ResetSchedule
}

func samePeriod(item *limiter.Bucket, limit *limiter.LimitState, c *limiter.Change) bool {
	if c.Period.Kind == limiter.NoPeriod {
		return true
	}
	if limit == nil {
		limit = &limiter.LimitState{}
	}
	is := func(fields limiter.Fields) bool { return limit.Has&fields == c.State.Has&fields }
	a, b := limit.Rare(), c.State.Rare()
	if c.Period.Kind == limiter.CalendarPeriod {
		return (c.Period.Before == 0 || item.HasRF && item.RF < c.Period.Before) && is(limiter.FieldResets) && a.Resets == b.Resets
	}
	return is(limiter.FieldWindowStart|limiter.FieldWindowApplied) && a.WindowStart == b.WindowStart && a.WindowApplied == b.WindowApplied
}

// Double implements limiter.Store.
func (s *Store) Double(ctx context.Context, entityID, resource string, from int) (int, bool, error) {
	if err := ctx.Err(); err != nil {
		return 0, false, err
	}
	key := limiter.BucketKey{EntityID: entityID, Resource: resource}
	stripe := s.stripe(&key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	item := stripe.items[key]
	if item == nil {
		return 0, false, nil
	}
	if item.Shards() != from {
		return item.Shards(), false, nil
	}
	item.ShardCount = 2 * from
	return item.ShardCount, true, nil
}

// StampShardCount implements limiter.Store.
func (s *Store) StampShardCount(ctx context.Context, key limiter.BucketKey, count int, grants []string) error {
	return s.update(ctx, key, func(item *limiter.Bucket) {
		if item.ShardCount >= count || len(grants) > 0 && item.ShardCount == 0 {
			return
		}
		for _, name := range grants {
			if limit := named(item, name); limit.Has&limiter.FieldGrants == 0 {
				limit.Edit().Grants = int64(item.ShardCount)
				limit.Has |= limiter.FieldGrants
			}
		}
		item.ShardCount = count
	})
}

// update changes an item that exists.
func (s *Store) update(ctx context.Context, key limiter.BucketKey, change func(*limiter.Bucket)) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	stripe := s.stripe(&key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	if item := stripe.items[key]; item != nil {
		change(item)
	}
	return nil
}

// OpenWindow implements limiter.Store.
func (s *Store) OpenWindow(ctx context.Context, in *limiter.OpenWindowInput) error {
	return s.update(ctx, in.Key, func(item *limiter.Bucket) {
		for _, w := range in.Windows {
			limit := item.Limit(w.Limit)
			if limit == nil {
				limit = &limiter.LimitState{}
			}
			if limit.Has&limiter.FieldWindowApplied == 0 && (!item.HasRF || item.RF >= w.Start) ||
				limit.Has&limiter.FieldWindowStart != 0 && limit.Rare().WindowStart > w.Start-w.Seconds*1000 {
				return
			}
		}
		for _, w := range in.Windows {
			limit := named(item, w.Limit)
			extra := limit.Edit()
			extra.WindowStart, extra.Window, extra.WindowCounter = w.Start, w.Seconds, limit.Counter
			limit.Has |= limiter.FieldWindowStart | limiter.FieldWindow | limiter.FieldWindowCounter
		}
		item.HasVU, item.VU = true, 0
	})
}

// Restamp implements limiter.Store.
func (s *Store) Restamp(ctx context.Context, in *limiter.RestampInput) error {
	return s.update(ctx, in.Key, func(item *limiter.Bucket) {
		if in.Bypass != limiter.StampKeep && in.ReadBypass != (limiter.Stamp{Present: item.HasBypass, Until: item.Bypass}) {
			return
		}
		for _, soft := range in.Soft {
			if limit := item.Limit(soft.Limit); limit == nil || softStamp(limit) != soft.Read {
				return
			}
		}
		stampBypass(item, in.Bypass, in.BypassUntil)
		for _, soft := range in.Soft {
			limit := item.Limit(soft.Limit)
			switch soft.Action {
			case limiter.StampSet:
				limit.Edit().Soft = soft.Until
				limit.Has |= limiter.FieldSoft
			case limiter.StampRemove:
				limit.Has &^= limiter.FieldSoft
				limit.Edit().Soft = 0
			}
		}
	})
}

func softStamp(limit *limiter.LimitState) limiter.Stamp {
	return limiter.Stamp{Present: limit.Has&limiter.FieldSoft != 0, Until: limit.Rare().Soft}
}

func stampBypass(item *limiter.Bucket, action limiter.StampAction, until int64) {
	switch action {
	case limiter.StampSet:
		item.HasBypass, item.Bypass = true, until
	case limiter.StampRemove:
		item.HasBypass, item.Bypass = false, 0
	}
}

// Bucket returns a copy of the item as it is stored, false when there is none.
func (s *Store) Bucket(key limiter.BucketKey) (image limiter.Bucket, found bool) {
	s.copyBucket(&image, key)
	return image, image.Exists
}

// copyBucket leaves the destination alone when there is no item.
func (s *Store) copyBucket(to *limiter.Bucket, key limiter.BucketKey) {
	stripe := s.stripe(&key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	if item := stripe.items[key]; item != nil {
		copyImage(to, item)
	}
}

// PutBucket stores an item as another client of the table might have left it.
func (s *Store) PutBucket(key limiter.BucketKey, item limiter.Bucket) {
	item.Exists, item.Shard, item.Resource = true, key.Shard, key.Resource
	item.Limits = slices.Clone(item.Limits)
	sortLimits(&item)
	stripe := s.stripe(&key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	stripe.items[key] = &item
}

// DeleteBucket deletes one item, as expiry does.
func (s *Store) DeleteBucket(key limiter.BucketKey) {
	stripe := s.stripe(&key)
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	delete(stripe.items, key)
}

// PutConfigItem stores a config level as another client might have left it, flags included.
func (s *Store) PutConfigItem(key limiter.ConfigKey, config limiter.Config) {
	s.mu.Lock()
	defer s.mu.Unlock()
	config.Exists = true
	s.configs[key] = config
}

// Expire deletes the buckets whose ttl has passed and returns how many they were.
func (s *Store) Expire(now time.Time) int {
	expired := 0
	for i := range s.stripes {
		stripe := &s.stripes[i]
		stripe.mu.Lock()
		for key, item := range stripe.items {
			if item.HasTTL && item.TTL <= now.Unix() {
				delete(stripe.items, key)
				expired++
			}
		}
		stripe.mu.Unlock()
	}
	return expired
}
