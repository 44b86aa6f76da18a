package limiter

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// UsageSnapshots reads one page of snapshots, newest first, and filters it, so that a page may hold fewer than
// q.Limit while there are more. next is the cursor of the page after it, "" at the end.
func (a *Admin) UsageSnapshots(ctx context.Context, q UsageQuery) (snapshots []UsageSnapshot, next string, err error) {
	if err := a.check(q.validate()); err != nil {
		return nil, "", err
	}
	if q.Limit == 0 {
		q.Limit = defaultPage
	}
	snapshots, next, err = a.store.UsageSnapshots(ctx, q)
	if err != nil {
		return nil, "", fmt.Errorf("usage snapshots: %w", err)
	}
	return snapshots, next, nil
}

// UsageSummary adds snapshots up.
type UsageSummary struct {
	Snapshots int
	Total     Amounts // tokens, by limit
	Overdrawn Amounts // records that left a soft limit below zero, by limit
	// Average is by limit the total over the snapshots that have it.
	Average     map[string]float64
	First, Last time.Time // starts of the earliest and the latest window; zero without snapshots
}

// UsageSummary adds up all snapshots that the query finds, over all pages.
func (a *Admin) UsageSummary(ctx context.Context, q UsageQuery) (UsageSummary, error) {
	sum := UsageSummary{Total: Amounts{}, Overdrawn: Amounts{}, Average: map[string]float64{}}
	counts := map[string]int{}
	q.Limit = cmp.Or(q.Limit, 1000)
	for {
		snapshots, next, err := a.UsageSnapshots(ctx, q)
		if err != nil {
			return UsageSummary{}, err
		}
		for _, s := range snapshots {
			sum.add(s, counts)
		}
		if q.Cursor = next; next == "" {
			break
		}
	}
	for name, total := range sum.Total {
		sum.Average[name] = float64(total) / float64(counts[name])
	}
	return sum, nil
}

func (u *UsageSummary) add(s UsageSnapshot, counts map[string]int) {
	if u.Snapshots == 0 || s.WindowStart.Before(u.First) {
		u.First = s.WindowStart
	}
	if s.WindowStart.After(u.Last) {
		u.Last = s.WindowStart
	}
	u.Snapshots++
	for name, n := range s.Counters {
		u.Total[name] += n
		counts[name]++
	}
	for name, n := range s.Overdrawn {
		u.Overdrawn[name] += n
	}
}

func (q *UsageQuery) validate() error {
	switch q.Window {
	case "", "hourly", "daily", "monthly":
	default:
		return invalid("window", q.Window, "must be hourly, daily or monthly")
	}
	if q.EntityID == "" && q.Resource == "" {
		return invalid("entity_id", "", "or resource must be given")
	}
	if q.EntityID != "" {
		if err := validateEntityID("entity_id", q.EntityID); err != nil {
			return err
		}
	}
	if q.Resource != "" {
		if err := validateResource(q.Resource); err != nil {
			return err
		}
	}
	return validatePage(q.Limit)
}

// Capacity is what the entities of a resource could take of one limit.
type Capacity struct {
	Resource, Limit string
	Entities        []EntityCapacity // sorted by entity
	Total           int64            // whole tokens
	Available       int64
	Utilization     float64 // percent of Total that is in use; 0 when Total is 0
}

// EntityCapacity is one entity's part of a Capacity.
type EntityCapacity struct {
	EntityID    string
	Capacity    int64
	Available   int64 // over all shards, at most Capacity; may be negative
	Utilization float64
}

// ResourceCapacity adds up one limit over all entities that have a bucket on the resource; with parentsOnly
// over those that were created and have no parent.
func (a *Admin) ResourceCapacity(ctx context.Context, resource, limit string, parentsOnly bool) (Capacity, error) {
	if err := a.check(validateResource(resource), validateLimitName(limit)); err != nil {
		return Capacity{}, err
	}
	buckets, err := a.store.ResourceBuckets(ctx, resource)
	if err != nil {
		return Capacity{}, fmt.Errorf("capacity of %s: %w", resource, err)
	}
	slices.SortFunc(buckets, func(a, b OwnedBucket) int {
		return cmp.Or(strings.Compare(a.EntityID, b.EntityID), cmp.Compare(a.Shard, b.Shard))
	})
	out := Capacity{Resource: resource, Limit: limit}
	now := a.l.nowMillis()
	for i := 0; i < len(buckets); {
		end := i
		for end < len(buckets) && buckets[end].EntityID == buckets[i].EntityID {
			end++
		}
		e, ok, err := a.l.entityCapacity(buckets[i:end], limit, now)
		if err != nil {
			return Capacity{}, err
		}
		i = end
		if ok && parentsOnly {
			m, err := a.store.Entity(ctx, e.EntityID, false)
			if err != nil {
				return Capacity{}, fmt.Errorf("entity %s: %w", e.EntityID, err)
			}
			ok = m.Found && m.ParentID == ""
		}
		if ok {
			out.Entities = append(out.Entities, e)
			out.Total += e.Capacity
			out.Available += e.Available
		}
	}
	out.Utilization = utilization(out.Total, out.Available)
	return out, nil
}

// entityCapacity sums the shards of one entity, whose capacity stands undivided on each of them.
func (l *Limiter) entityCapacity(shards []OwnedBucket, limit string, now int64) (EntityCapacity, bool, error) {
	e := EntityCapacity{EntityID: shards[0].EntityID}
	found := false
	for i := range shards {
		b := &shards[i].Bucket
		s := b.Limit(limit)
		if s == nil || !s.Complete() || !b.HasRF {
			continue
		}
		if !found {
			found, e.Capacity = true, bucket.FloorTokens(s.Capacity)
		}
		state, err := l.state(b, s, now)
		if err != nil {
			return e, false, fmt.Errorf("bucket %s/%s: %w", e.EntityID, b.Resource, err)
		}
		e.Available += state.Readable(now)
	}
	e.Available = min(e.Capacity, e.Available)
	e.Utilization = utilization(e.Capacity, e.Available)
	return e, found, nil
}

func utilization(capacity, available int64) float64 {
	if capacity <= 0 {
		return 0
	}
	return float64(capacity-available) / float64(capacity) * 100
}

// Matches says whether the filters of a query let the snapshot through.
func (s *UsageSnapshot) Matches(q *UsageQuery) bool {
	return (q.Window == "" || s.Window == q.Window) &&
		(q.Start.IsZero() || !s.WindowStart.Before(q.Start)) && (q.End.IsZero() || !s.WindowStart.After(q.End))
}
