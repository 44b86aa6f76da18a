package store

import (
	"sync"
	"sync/atomic"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Index is a secondary index: the slots of the items that have its key attributes.
type Index struct {
	schema IndexSchema
	shards [stripes]indexShard
	count  atomic.Int64
	// layouts remembers where the key attributes stand in items of one list of names, by its ID.
	layouts [8]atomic.Pointer[layout]
}

// layout is the places of an index's key attributes in a list of names, -1 where one is missing.
type layout struct {
	names     *attr.Names
	hash, rng int
}

type indexShard struct {
	mu    sync.RWMutex
	colls map[string]*sorted
}

func newIndex(schema IndexSchema) *Index {
	index := &Index{schema: schema}
	for i := range index.shards {
		index.shards[i].colls = map[string]*sorted{}
	}
	return index
}

// Schema returns the definition of the index.
func (x *Index) Schema() *IndexSchema { return &x.schema }

// Count returns the number of entries.
func (x *Index) Count() int64 { return x.count.Load() }

// keys returns the index key of an item; ok is false when the item is not in the index.
func (x *Index) keys(item *attr.Map) (hash, rng attr.Value, ok bool) {
	if item.Len() == 0 {
		return hash, rng, false
	}
	at := x.layout(item.Names())
	if at.hash < 0 {
		return hash, rng, false
	}
	hash = item.ValueAt(at.hash)
	if x.schema.Key.Range == "" {
		return hash, rng, true
	}
	if at.rng < 0 {
		return hash, rng, false
	}
	return hash, item.ValueAt(at.rng), true
}

// layout looks the key attributes up in a list of names. Every write asks each index several times,
// nearly always about the same few lists.
func (x *Index) layout(names *attr.Names) layout {
	id := names.ID()
	cached := &x.layouts[id%uint64(len(x.layouts))]
	if at := cached.Load(); at != nil && at.names == names {
		return *at
	}
	at := &layout{names: names, hash: names.Index(x.schema.Key.Hash), rng: -1}
	if x.schema.Key.Range != "" {
		at.rng = names.Index(x.schema.Key.Range)
	}
	if id != 0 {
		cached.Store(at)
	}
	return *at
}

// Holds reports whether an item is in the index.
func (x *Index) Holds(item *attr.Map) bool {
	_, _, ok := x.keys(item)
	return ok
}

// current returns the present version of an entry's item under a HASH value; nil when the item is gone
// or, in an index, has another key there by now: a writer stores the item first and then changes the
// indexes. A nil index stands for the table.
func (x *Index) current(e entry, hash string) *attr.Map {
	item := e.slot.item.Load()
	if item == nil || x == nil {
		return item
	}
	itemHash, itemRange, ok := x.keys(item)
	if !ok || itemHash.Key() != hash || x.schema.Key.Range != "" && !attr.Equal(itemRange, e.rng) {
		return nil
	}
	return item
}

// move changes the entry of a slot from its old version to the new one.
func (x *Index) move(slot *Slot, old, item *attr.Map) {
	oldHash, oldRange, was := x.keys(old)
	hash, rng, is := x.keys(item)
	if was && is && attr.Equal(oldHash, hash) && attr.Equal(oldRange, rng) {
		return
	}
	if was {
		sh := &x.shards[Stripe(oldHash)]
		sh.mu.Lock()
		if coll := sh.colls[oldHash.Key()]; coll != nil && coll.remove(entry{oldRange, slot}) {
			x.count.Add(-1)
			if coll.count == 0 {
				delete(sh.colls, oldHash.Key())
			}
		}
		sh.mu.Unlock()
	}
	if is {
		sh := &x.shards[Stripe(hash)]
		sh.mu.Lock()
		coll := sh.colls[hash.Key()]
		if coll == nil {
			coll = &sorted{}
			sh.colls[hash.Key()] = coll
		}
		coll.insert(entry{rng, slot})
		x.count.Add(1)
		sh.mu.Unlock()
	}
}

// Unchanged reports whether a write from old to item leaves what the index shows as it was, and
// whether its key stays.
func (x *Index) Unchanged(old, item *attr.Map, table KeySchema) (same, sameKey bool) {
	oldHash, oldRange, was := x.keys(old)
	hash, rng, is := x.keys(item)
	if was != is {
		return false, false
	}
	if !is {
		return true, true
	}
	if !attr.Equal(oldHash, hash) || !attr.Equal(oldRange, rng) {
		return false, false
	}
	switch x.schema.Projection {
	case All:
		return old.Equal(item), true
	case Include:
		for _, name := range x.schema.Extra {
			if !attr.Equal(old.Get(name), item.Get(name)) {
				return false, true
			}
		}
	}
	return true, true
}

// EntrySize returns the size of what the index shows of an item.
func (x *Index) EntrySize(item *attr.Map, table KeySchema) int {
	if x.schema.Projection == All {
		return item.Size()
	}
	size := 0
	for name, v := range item.All() {
		if x.shows(name, table) {
			size += len(name) + v.Size()
		}
	}
	return size
}

// Project returns what the index shows of an item.
func (x *Index) Project(item *attr.Map, table KeySchema) *attr.Map {
	if x.schema.Projection == All {
		return item
	}
	var attrs []attr.Attr
	for name, v := range item.All() {
		if x.shows(name, table) {
			attrs = append(attrs, attr.Attr{Name: name, Value: v})
		}
	}
	return attr.NewMap(attrs)
}

// Shows reports whether an attribute is part of the index's entries.
func (x *Index) Shows(name string, table KeySchema) bool {
	return x.schema.Projection == All || x.shows(name, table)
}

func (x *Index) shows(name string, table KeySchema) bool {
	switch name {
	case table.Hash, table.Range, x.schema.Key.Hash, x.schema.Key.Range:
		return name != ""
	}
	for _, extra := range x.schema.Extra {
		if extra == name {
			return true
		}
	}
	return false
}
