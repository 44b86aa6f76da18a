package limiter

import (
	"hash/maphash"
	"maps"
	"sync"
	"sync/atomic"
)

// maxOwners bounds the entity cache, maxImages the images of the rejection cache. An overflow of the
// first forgets everything, of the second the oldest image.
const (
	maxOwners = 1 << 20
	maxImages = 10_000
)

// ownerCache remembers what buckets and META items said about (entity, resource). It is striped, and
// keyed by a struct: a sync.Map would box the key on every acquire.
type ownerCache struct {
	seed    maphash.Seed
	stripes [ownerStripes]ownerStripe

	mu     sync.Mutex
	recent []imageRef // ring of the images held, oldest first from next on
	next   int
}

const ownerStripes = 64

type ownerStripe struct {
	mu      sync.RWMutex
	entries map[ownerKey]*owner
}

type ownerKey struct{ entity, resource string }

type imageRef struct {
	owner *owner
	shard int
}

// owner is what is remembered of one entity and resource. Nothing in it admits a request.
type owner struct {
	shards atomic.Int32
	bypass atomic.Bool // the bucket was seen with a bypass stamp
	stamp  atomic.Pointer[stamp]
	// largest has the largest amount seen of each limit; it is replaced, never changed.
	largest atomic.Pointer[[]Charge]

	mu        sync.Mutex
	images    []cachedImage // by shard
	exhausted map[int]exhaustion
}

// stamp is the owner stamp of a bucket: whom it cascades to.
type stamp struct {
	cascade bool
	parent  string
	pinned  bool // carries pgen
	pgen    int64
	pinc    string
}

type cachedImage struct {
	image Bucket
	at    int64 // ms
}

// exhaustion is the last time that a shard ran out of wcu within exhaustionWindow of its rf.
type exhaustion struct{ rf, at int64 }

func (c *ownerCache) init() {
	c.seed = maphash.MakeSeed()
	c.clear()
}

func (c *ownerCache) get(entity, resource string) *owner {
	key := ownerKey{entity, resource}
	stripe := &c.stripes[maphash.String(c.seed, entity)%ownerStripes]
	stripe.mu.RLock()
	found := stripe.entries[key]
	stripe.mu.RUnlock()
	if found != nil {
		return found
	}
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	if found := stripe.entries[key]; found != nil {
		return found
	}
	if len(stripe.entries) >= maxOwners/ownerStripes {
		clear(stripe.entries)
	}
	found = &owner{}
	stripe.entries[key] = found
	return found
}

func (c *ownerCache) clear() {
	for i := range c.stripes {
		stripe := &c.stripes[i]
		stripe.mu.Lock()
		stripe.entries = map[ownerKey]*owner{}
		stripe.mu.Unlock()
	}
	c.forgetRecent()
}

func (c *ownerCache) forgetRecent() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.recent, c.next = nil, 0
}

// forgetEntity drops what was learned of one entity.
func (c *ownerCache) forgetEntity(entity string) {
	stripe := &c.stripes[maphash.String(c.seed, entity)%ownerStripes]
	stripe.mu.Lock()
	defer stripe.mu.Unlock()
	maps.DeleteFunc(stripe.entries, func(key ownerKey, _ *owner) bool { return key.entity == entity })
}

// forgetStamps drops whom an entity cascades to; what else was learned of its buckets stays true.
func (c *ownerCache) forgetStamps(entity string) {
	stripe := &c.stripes[maphash.String(c.seed, entity)%ownerStripes]
	stripe.mu.RLock()
	defer stripe.mu.RUnlock()
	for key, o := range stripe.entries {
		if key.entity == entity {
			o.stamp.Store(nil)
			o.mu.Lock()
			for shard := range o.images {
				o.images[shard].image.Exists = false
			}
			o.mu.Unlock()
		}
	}
}

// forgetImages drops all images, as every administrative write does.
func (c *ownerCache) forgetImages() {
	for i := range c.stripes {
		stripe := &c.stripes[i]
		stripe.mu.RLock()
		for _, o := range stripe.entries {
			o.mu.Lock()
			o.images = nil
			o.mu.Unlock()
		}
		stripe.mu.RUnlock()
	}
	c.forgetRecent()
}

// shardCount is the number of shards to draw from.
func (o *owner) shardCount() int { return max(1, min(int(o.shards.Load()), MaxShards)) }

// learnShards raises the remembered count; it never falls.
func (o *owner) learnShards(count int) {
	for {
		known := o.shards.Load()
		if int32(count) <= known || o.shards.CompareAndSwap(known, int32(count)) {
			return
		}
	}
}

// learn takes in the stamp of an image. An older generation of the same incarnation is ignored.
func (o *owner) learn(image *Bucket) {
	o.learnShards(image.Shards())
	o.learnStamp(stamp{image.Cascade, image.ParentID, image.HasPGen, image.PGen, image.PInc})
}

func (o *owner) learnStamp(s stamp) {
	known := o.stamp.Load()
	if known != nil && (*known == s || known.pinned && s.pinc == known.pinc && s.pgen < known.pgen) {
		return
	}
	fresh := s // so that s itself stays off the heap on the way out above
	o.stamp.Store(&fresh)
}

func (o *owner) bypassSeen() bool { return o.bypass.Load() }

func (o *owner) seeBypass(seen bool) {
	if o.bypass.Load() != seen { // a store alone would take the cache line from all other cores
		o.bypass.Store(seen)
	}
}

// parent is whom the entity is remembered to cascade to on this resource, "" if to nobody.
func (o *owner) parent() string {
	if s := o.stamp.Load(); s != nil && s.cascade {
		return s.parent
	}
	return ""
}

// note records the amounts of a request, for the decision whether a doubling leaves room for them.
func (o *owner) note(charges []Charge) {
	known := o.largest.Load()
	if known != nil && covers(*known, charges) {
		return
	}
	for {
		var merged []Charge
		if known != nil {
			merged = append(merged, *known...)
		}
		for _, c := range charges {
			merged = raise(merged, c)
		}
		if o.largest.CompareAndSwap(known, &merged) {
			return
		}
		known = o.largest.Load()
	}
}

func covers(known, charges []Charge) bool {
	for _, c := range charges {
		if largestOf(known, c.Limit) < c.Amount {
			return false
		}
	}
	return true
}

func largestOf(known []Charge, limit string) int64 {
	for i := range known {
		if known[i].Limit == limit {
			return known[i].Amount
		}
	}
	return 0
}

func raise(known []Charge, c Charge) []Charge {
	for i := range known {
		if known[i].Limit == c.Limit {
			known[i].Amount = max(known[i].Amount, c.Amount)
			return known
		}
	}
	return append(known, c)
}

// roomAfterDoubling says whether every request seen so far would fit into a shard of twice as many.
func (o *owner) roomAfterDoubling(image *Bucket) bool {
	known := o.largest.Load()
	if known == nil {
		return true
	}
	for _, c := range *known {
		if limit := image.Limit(c.Limit); limit != nil && limit.Capacity/int64(2*image.Shards()) < c.Amount {
			return false
		}
	}
	return true
}

// exhaustionWindow is how soon after rf a shard must be exhausted, twice in a row, to be doubled.
const exhaustionWindow = 250

// doubled voids the exhaustions so far: what they say of the load is no longer true once it is spread over
// more shards. Each shard must be refilled and exhausted twice again before the next doubling.
func (o *owner) doubled() {
	o.mu.Lock()
	defer o.mu.Unlock()
	for shard, last := range o.exhausted {
		o.exhausted[shard] = exhaustion{rf: last.rf} // refusals against that rf still count for nothing
	}
}

// exhaustedAgain records that the wcu of a shard ran out and says whether it did so for the second time
// in a row within the window. Refusals against one rf are one exhaustion.
func (o *owner) exhaustedAgain(shard int, rf, now int64) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if now-rf > exhaustionWindow {
		delete(o.exhausted, shard)
		return false
	}
	if o.exhausted == nil {
		o.exhausted = map[int]exhaustion{}
	}
	last, ok := o.exhausted[shard]
	if ok && last.rf == rf {
		return false
	}
	o.exhausted[shard] = exhaustion{rf, now}
	return ok && rf-last.at <= exhaustionWindow
}
