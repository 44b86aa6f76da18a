package limiter

import (
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// wcuLimit is the reserved limit as it is created: 1,000 writes a second, never divided.
var wcuState = LimitState{Name: WCU, Tokens: 1_000_000, Capacity: 1_000_000, Refill: 1_000_000, Period: 1000, Has: FieldsComplete | FieldCounter}

// plan is what the slow path wants to write to one bucket. The part's image becomes what the bucket
// holds after it.
type plan struct {
	part  *part
	write Write
	// seeds: limits are written for the first time.
	seeds bool
	// idle: nothing is consumed and nothing else needs to be written.
	idle bool
}

// planner evaluates one bucket as it was read.
type planner struct {
	a          *acquire
	part       *part
	state      *EntityState
	resolved   resolved
	cascade    bool
	now        int64
	consistent bool
}

// plan evaluates the declared limits and shapes the write. again means that the read must be repeated
// consistently first.
func (pl *planner) plan(statuses []LimitStatus) (p plan, out []LimitStatus, short, again bool) {
	stored := pl.state.Bucket
	owner := pl.state.Meta.Owner
	p = plan{part: pl.part, write: Write{Key: pl.part.in.Key, Owner: owner}}
	w := &p.write
	w.Cascade, w.ParentID = pl.cascade, pl.state.Meta.ParentID
	w.TTL, w.TTLValue = pl.a.l.ttl(pl.resolved, pl.now)
	switch {
	case !stored.Exists:
		w.Kind = WriteCreate
	case !stored.HasRF:
		w.Kind = WriteRebuild
	default:
		w.Kind = WriteRefill
		if again := pl.pin(w, &stored); again {
			return p, statuses, false, true
		}
	}
	image := pl.materialise(&stored, w.Kind)
	w.ShardCount = image.Shards()
	before := slices.Clone(image.Limits)
	statuses, short = pl.consume(image, statuses)
	if short {
		return p, statuses, true, false
	}
	w.RF = max(pl.now, stored.RF)
	switch {
	case w.Kind == WriteCreate || w.Kind == WriteRebuild:
		pl.fill(w, image)
	case pl.light(&stored, before, w):
		w.Kind = WriteRetry
		pl.charge(w, image, &stored)
		p.idle = len(w.Limits) == 0
	default:
		w.ReadRF, w.ReadHasVU, w.ReadVU = stored.RF, stored.HasVU, stored.VU
		p.seeds = pl.refill(w, image, before, &stored)
	}
	pl.stampImage(image, w, owner)
	return p, statuses, false, false
}

// pin checks the owner stamp of the item against META. A stamp of another incarnation is claimed, but
// only after a consistent read, because META itself may have been read stale.
func (pl *planner) pin(w *Write, stored *Bucket) (again bool) {
	if !w.Owner.Found || stored.PInc == "" {
		return false
	}
	other := stored.PInc != w.Owner.Incarnation()
	if !other && stored.PGen <= w.Owner.Generation {
		return false
	}
	if !pl.consistent {
		return true
	}
	if other {
		w.Kind, w.ReadPInc = WriteClaim, stored.PInc
	}
	return false
}

// materialise brings the part's image to now: stored limits refilled, missing ones full.
func (pl *planner) materialise(stored *Bucket, kind WriteKind) *Bucket {
	image := pl.part.image()
	limits := image.Limits[:0]
	*image = *stored
	image.Exists, image.Shard, image.Resource = true, pl.part.in.Key.Shard, pl.part.in.Key.Resource
	fresh := kind == WriteCreate || kind == WriteRebuild
	if fresh {
		image.HasRF, image.RF = true, pl.now
		image.HasVU, image.Disabled, image.Features = false, false, 0
		image.ShardCount = max(stored.ShardCount, pl.part.owner.shardCount(), min(image.Shard+1, MaxShards))
	} else {
		for i := range stored.Limits {
			if s := stored.Limits[i]; s.Complete() {
				state := bucket.State{Tokens: s.Tokens, RF: stored.RF, Capacity: s.Capacity, Refill: s.Refill, Period: s.Period, Shards: shardsOf(s.Name, image)}
				s.Tokens = state.At(pl.now).Tokens
				limits = append(limits, s)
			}
		}
	}
	for i := range pl.resolved.limits {
		limit := &pl.resolved.limits[i]
		if !hasLimit(limits, limit.Name) {
			capacity := limit.Capacity * 1000
			limits = append(limits, LimitState{Name: limit.Name, Tokens: capacity / int64(image.Shards()), Capacity: capacity,
				Refill: limit.RefillAmount * 1000, Period: limit.RefillPeriod.Milliseconds(), Has: FieldsComplete | FieldCounter})
		}
	}
	if !hasLimit(limits, WCU) {
		limits = append(limits, wcuState)
	}
	slices.SortFunc(limits, func(a, b LimitState) int { return strings.Compare(a.Name, b.Name) })
	image.Limits = limits
	return image
}

// shardsOf is the divisor of a limit: wcu belongs to each shard whole.
func shardsOf(limit string, image *Bucket) int64 {
	if limit == WCU {
		return 1
	}
	return int64(image.Shards())
}

func hasLimit(limits []LimitState, name string) bool {
	return slices.ContainsFunc(limits, func(s LimitState) bool { return s.Name == name })
}

// consume judges the declared limits on the materialised image, and takes them if all are there.
func (pl *planner) consume(image *Bucket, statuses []LimitStatus) ([]LimitStatus, bool) {
	short := false
	for _, c := range pl.a.charges {
		limit := image.Limit(c.Limit)
		if limit == nil {
			continue // a parent without this limit is not charged for it
		}
		status := evaluate(&pl.part.in.Key, limit, pl.now, image.Shards(), c.Amount, pl.now)
		short = short || status.Exceeded
		statuses = append(statuses, status)
	}
	if short {
		return statuses, true
	}
	for _, c := range pl.a.charges {
		if limit := image.Limit(c.Limit); limit != nil {
			limit.Tokens -= c.Amount
			limit.Counter += c.Amount
		}
	}
	return statuses, false
}

func (pl *planner) amount(limit string) int64 {
	for _, c := range pl.a.charges {
		if c.Limit == limit {
			return c.Amount
		}
	}
	return 0
}

// light says whether the consumption can be written alone. Moving rf drops what each limit has earned
// below a millitoken, so that a slow limit beside a fast one would never refill; rf therefore moves
// only when a declared limit needs the refill, or the item needs a repair.
func (pl *planner) light(stored *Bucket, before []LimitState, w *Write) bool {
	if w.Kind != WriteRefill || stored.HasVU || stored.HasTTL && stored.TTL <= pl.now/1000 ||
		w.TTL == TTLRemove && stored.HasTTL || w.TTL == TTLSet && !stored.HasTTL {
		return false
	}
	if o := w.Owner; o.Found && (stored.Cascade != w.Cascade || stored.ParentID != w.ParentID || stored.PInc != o.Incarnation() || !stored.HasPGen || stored.PGen != o.Generation) {
		return false
	}
	for i := range before {
		s := stored.Limit(before[i].Name)
		if s == nil || !s.Complete() || before[i].Tokens < s.Tokens {
			return false
		}
		if s.Name == WCU && s.Tokens < 1000 {
			return false
		}
	}
	for _, c := range pl.a.charges {
		if s := stored.Limit(c.Limit); s != nil && s.Tokens < c.Amount {
			return false
		}
	}
	return true
}

// charge shapes W3, and takes the unwritten refill out of the image again.
func (pl *planner) charge(w *Write, image, stored *Bucket) {
	for i := range image.Limits {
		limit := &image.Limits[i]
		amount := pl.amount(limit.Name)
		limit.Tokens = stored.Limit(limit.Name).Tokens - amount
		if amount > 0 {
			w.Limits = append(w.Limits, LimitWrite{Name: limit.Name, Consumed: amount})
		}
	}
	w.RF = stored.RF
}

// fill shapes W1: every limit as the image has it after the consumption.
func (pl *planner) fill(w *Write, image *Bucket) {
	for _, limit := range image.Limits {
		w.Limits = append(w.Limits, LimitWrite{Name: limit.Name, Tokens: limit.Tokens, Consumed: pl.amount(limit.Name),
			Capacity: limit.Capacity, Refill: limit.Refill, Period: limit.Period})
	}
}

// refill shapes W2 and says whether it seeds limits.
func (pl *planner) refill(w *Write, image *Bucket, before []LimitState, stored *Bucket) (seeds bool) {
	for i, limit := range image.Limits {
		amount := pl.amount(limit.Name)
		s := stored.Limit(limit.Name)
		if s == nil || !s.Complete() {
			seeds = true
			w.Repair = w.Repair || s != nil
			w.Limits = append(w.Limits, LimitWrite{Name: limit.Name, Seed: true, Tokens: limit.Tokens, Consumed: amount,
				Capacity: limit.Capacity, Refill: limit.Refill, Period: limit.Period})
			continue
		}
		w.Limits = append(w.Limits, LimitWrite{Name: limit.Name, Consumed: amount, Change: before[i].Tokens - s.Tokens, ReadTokens: s.Tokens})
	}
	return seeds
}

// stampImage lets the image say what the write leaves behind.
func (pl *planner) stampImage(image *Bucket, w *Write, owner Owner) {
	image.RF = w.RF
	if w.Kind == WriteRetry {
		return
	}
	image.HasVU = false
	switch w.TTL {
	case TTLSet:
		image.HasTTL, image.TTL = true, w.TTLValue
	case TTLRemove:
		image.HasTTL = false
	}
	if owner.Found {
		image.Cascade, image.ParentID = w.Cascade, w.ParentID
		image.HasPGen, image.PGen, image.PInc = true, owner.Generation, owner.Incarnation()
	}
}
