package limiter

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// Availability is what an entity could take of a resource, over all its shards. The parent is not
// considered, and nothing is charged.
type Availability struct {
	// Statuses has every limit, sorted by name, with its whole parameters.
	Statuses  []LimitStatus
	Available Amounts // whole tokens; may be negative
	// Wait is the longest wait until each needed amount is there, 0 if nothing is needed; it ignores capacity, so more than
	// fits gives a finite wait that never suffices.
	Wait time.Duration
	// Bypassed says that an operator waives the limits: nothing is exceeded.
	Bypassed  bool
	CheckedAt time.Time
}

// Available returns the balance of every limit. Nil limits means the configured ones.
func (l *Limiter) Available(ctx context.Context, entityID, resource string, limits []Limit) (Amounts, error) {
	a, err := l.CheckAvailability(ctx, entityID, resource, nil, limits)
	return a.Available, err
}

// TimeUntilAvailable returns how long to wait until the needed amounts are there, 0 if they are.
func (l *Limiter) TimeUntilAvailable(ctx context.Context, entityID, resource string, needed Amounts, limits []Limit) (time.Duration, error) {
	a, err := l.CheckAvailability(ctx, entityID, resource, needed, limits)
	return a.Wait, err
}

// CheckAvailability reads all shards of the entity's bucket and judges the needed amounts against their
// sum. Without a bucket every limit is full.
func (l *Limiter) CheckAvailability(ctx context.Context, entityID, resource string, needed Amounts, limits []Limit) (Availability, error) {
	var none Availability
	if err := validateEntityID("entity_id", entityID); err != nil {
		return none, err
	}
	if err := validateResource(resource); err != nil {
		return none, err
	}
	if err := validateLimits(limits); err != nil {
		return none, err
	}
	if l.admin == nil {
		return none, ErrNoAdmin
	}
	r, bypassed, err := l.resolve(ctx, entityID, resource, limits, false)
	if err != nil {
		return none, err
	}
	limits = r.limits
	for name, n := range needed {
		if findLimit(limits, name) == nil || n < 0 || n > maxTokens {
			return none, invalid("needed", name, "is not a limit here, or its amount is out of range")
		}
	}
	shards, err := l.admin.Buckets(ctx, entityID, resource)
	if err != nil {
		return none, l.unavailable(entityID, resource, err)
	}
	now := l.now()
	if len(shards) > 0 {
		// The stamps are what the next acquire goes by; the remembered levels may be older.
		bypassed = slices.ContainsFunc(shards, func(b Bucket) bool { return b.bypassed(now.UnixMilli()) })
	}
	out := Availability{Available: Amounts{}, Bypassed: bypassed, CheckedAt: now}
	sorted := slices.SortedFunc(slices.Values(limits), func(a, b Limit) int { return strings.Compare(a.Name, b.Name) })
	for i := range sorted {
		status, err := l.sumShards(&BucketKey{EntityID: entityID, Resource: resource}, &sorted[i], shards, needed[sorted[i].Name], now.UnixMilli())
		if err != nil {
			return none, l.unavailable(entityID, resource, err)
		}
		if bypassed {
			status.Exceeded, status.RetryAfter = false, 0
		}
		out.Statuses = append(out.Statuses, status)
		out.Available[status.Limit.Name] = status.Available
		out.Wait = max(out.Wait, status.RetryAfter)
	}
	return out, nil
}

// sumShards adds up one limit over the shards that have it, as the next acquire would find them. The sum is
// capped at the configured capacity in force and what was topped up, and waits by the undivided rate. Shards
// keep the parameters and the schedule that they have, while resets and windows are those of the config.
func (l *Limiter) sumShards(key *BucketKey, limit *Limit, shards []Bucket, need, now int64) (LimitStatus, error) {
	status := LimitStatus{EntityID: key.EntityID, Resource: key.Resource, Limit: *limit, Requested: need}
	config, err := l.arithmetic(limit)
	if err != nil {
		return status, err
	}
	whole := config.New(now, 1)
	whole.Window.HasStart = false
	sum, topUps, found, last := int64(0), int64(0), false, int64(0)
	for i := range shards {
		b := &shards[i]
		s := b.Limit(limit.Name)
		if s == nil || !s.Complete() || !b.HasRF {
			continue
		}
		state, err := l.state(b, s, now)
		if err != nil {
			return status, err
		}
		state.Resets = config.Resets
		if config.ResetAfter > 0 {
			// Until the later end the shard refuses: by its vu, or by the config that a slow pass reads.
			state.Window.Length = max(config.ResetAfter, state.Window.Length)
		} else {
			state.Window = bucket.Window{}
		}
		found = true
		sum += state.Readable(now)
		if config.Quota() && state.Current(now) {
			topUps += state.TopUp
		}
		if end, ok := state.Window.End(); ok && end > max(now, last) {
			whole.Window, last = state.Window, end // only a window that runs says when to come again
		}
	}
	status.Available = max(1, bucket.FloorTokens(whole.Params(now).Capacity+topUps))
	if found {
		status.Available = min(sum, status.Available)
	}
	if status.ResetsAt = resetsAt(&whole, now); need > max(0, status.Available) && !limit.Soft {
		status.Exceeded = true
		// The deficit is in whole tokens, as for peers: what was said to be available is all that counts.
		whole.Tokens = bucket.Millis(status.Available)
		status.RetryAfter = millisDuration(whole.Wait(bucket.Millis(need-status.Available), now))
	}
	return status, nil
}

// resolve finds the limits of an entity and resource, from the cache where it can, with one read for
// all levels that are missing. Explicit limits beat the levels. With fresh it reads every level,
// consistently: a stale answer would be pushed into buckets. bypassed is what the flags say.
func (l *Limiter) resolve(ctx context.Context, entityID, resource string, explicit []Limit, fresh bool) (r resolved, bypassed bool, err error) {
	keys := [3]ConfigKey{{entityID, resource}, {entityID, DefaultResource}, {"", resource}}
	var levels levels
	var found [4]Config
	now := l.nowMillis()
	missing := [4]bool{}
	for i, key := range keys {
		config, ok := l.configs.get(key, now)
		found[i], missing[i] = config, !ok || fresh
		levels[i] = &found[i]
	}
	system, ok := l.configs.cachedSystem(now)
	found[3], missing[3] = system, !ok || fresh
	levels[3] = &found[3]
	if missing != [4]bool{} {
		in := ReadInput{Consistent: fresh, Resource: resource, ResourceConfig: missing[2], SystemConfig: missing[3]}
		if missing[0] || missing[1] {
			in.Entities = []EntityRead{{EntityID: entityID, Config: true}}
		}
		var out ReadOutput
		if err := l.store.Read(ctx, &in, &out); err != nil {
			return r, false, l.unavailable(entityID, resource, err)
		}
		if missing[0] || missing[1] {
			found[0], found[1] = out.Entities[0].Own, out.Entities[0].Default
			l.configs.put(keys[0], found[0], now)
			l.configs.put(keys[1], found[1], now)
		}
		if missing[2] {
			found[2] = out.Resource
			l.configs.put(keys[2], found[2], now)
		}
		if missing[3] {
			found[3] = out.System
			l.configs.putSystem(found[3], now)
		}
	}
	bypassed, _ = levels.enforced(entityID, resource) // a closed resource has its limits, too
	r, err = levels.limits(explicit, entityID, resource)
	r.at = now
	return r, bypassed, err
}

func (l *Limiter) unavailable(entityID, resource string, err error) error {
	a := acquire{l: l, req: Request{EntityID: entityID, Resource: resource}}
	return a.mapError(err)
}

// IsAvailable says whether the store answers within the timeout; 0 means one second.
func (l *Limiter) IsAvailable(ctx context.Context, timeout time.Duration) bool {
	if l.admin == nil {
		return false
	}
	if timeout <= 0 {
		timeout = time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return l.admin.Ping(ctx) == nil
}
