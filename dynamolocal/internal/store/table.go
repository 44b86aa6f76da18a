package store

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

type pointer = atomic.Pointer[attr.Map]

// stripes is the number of locks of a table; a stripe is the top bits of the hash of a HASH value,
// so that stripes in order are also the order of a scan.
const (
	stripeBits = 8
	stripes    = 1 << stripeBits
)

// KeySchema names the key attributes of a table or index.
type KeySchema struct {
	Hash, Range string // Range "" when there is none
}

// Projection says which attributes an index entry has.
type Projection uint8

// The projections.
const (
	All Projection = iota
	KeysOnly
	Include
)

// IndexSchema describes a secondary index.
type IndexSchema struct {
	Name       string
	Key        KeySchema
	Projection Projection
	// Extra are the attributes of an Include projection, sorted.
	Extra []string
	// Local indexes share the HASH attribute of the table.
	Local bool
}

// Table holds items by key. Its methods may be called concurrently.
type Table struct {
	key     KeySchema
	shapes  *attr.Shapes
	shards  [stripes]shard
	indexes atomic.Pointer[[]*Index]
	count   atomic.Int64
	bytes   atomic.Int64
}

type shard struct {
	mu    sync.RWMutex
	colls map[string]*sorted // by HASH value
	holds map[string]int     // items that a transaction holds, by key
	_     [32]byte
}

// NewTable returns an empty table.
func NewTable(key KeySchema, indexes []IndexSchema) *Table {
	t := &Table{key: key, shapes: attr.NewShapes()}
	for i := range t.shards {
		t.shards[i].colls = map[string]*sorted{}
	}
	list := make([]*Index, len(indexes))
	for i, schema := range indexes {
		list[i] = newIndex(schema)
	}
	t.indexes.Store(&list)
	return t
}

// Shapes returns the registry of the table's name lists.
func (t *Table) Shapes() *attr.Shapes { return t.shapes }

// Key returns the key schema.
func (t *Table) Key() KeySchema { return t.key }

// Count returns the number of items.
func (t *Table) Count() int64 { return t.count.Load() }

// Bytes returns the sum of the item sizes.
func (t *Table) Bytes() int64 { return t.bytes.Load() }

// Indexes returns the indexes in the order of their definition.
func (t *Table) Indexes() []*Index { return *t.indexes.Load() }

// Index returns the index of a name, or nil.
func (t *Table) Index(name string) *Index {
	for _, index := range t.Indexes() {
		if index.schema.Name == name {
			return index
		}
	}
	return nil
}

// Stripe returns which lock guards the items of a HASH value.
func Stripe(hash attr.Value) int { return int(attr.Hash(hash.Key()) >> (64 - stripeBits)) }

// Get returns the current version of an item, or nil.
func (t *Table) Get(hash, rng attr.Value) *attr.Map {
	sh := &t.shards[Stripe(hash)]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	if slot := sh.slot(hash, rng); slot != nil {
		return slot.item.Load()
	}
	return nil
}

func (sh *shard) slot(hash, rng attr.Value) *Slot {
	coll := sh.colls[hash.Key()]
	if coll == nil {
		return nil
	}
	if slot := coll.only; slot != nil {
		if !rng.Exists() || attr.Compare(slot.rng, rng) == 0 {
			return slot
		}
		return nil
	}
	probe := Slot{hash: hash, rng: rng}
	block, index, found := coll.find(entry{rng, &probe})
	if !found {
		return nil
	}
	return coll.blocks[block][index].slot
}

// Lock takes the locks of the given stripes, which must be sorted and without duplicates; Unlock
// gives them back.
func (t *Table) Lock(stripes []int) {
	for _, i := range stripes {
		t.shards[i].mu.Lock()
	}
}

// Unlock gives back what Lock took.
func (t *Table) Unlock(stripes []int) {
	for _, i := range stripes {
		t.shards[i].mu.Unlock()
	}
}

// Cell is an item under the lock of its stripe.
type Cell struct {
	table *Table
	shard *shard
	slot  *Slot // nil: no item
	hash  attr.Value
	rng   attr.Value
	old   *attr.Map
}

// Open locks the stripe of a key and returns its cell; call Close.
func (t *Table) Open(hash, rng attr.Value) Cell {
	sh := &t.shards[Stripe(hash)]
	sh.mu.Lock()
	return t.cell(sh, hash, rng)
}

// Cell returns the cell of a key whose stripe the caller has locked.
func (t *Table) Cell(hash, rng attr.Value) Cell {
	return t.cell(&t.shards[Stripe(hash)], hash, rng)
}

func (t *Table) cell(sh *shard, hash, rng attr.Value) Cell {
	c := Cell{table: t, shard: sh, hash: hash, rng: rng, slot: sh.slot(hash, rng)}
	if c.slot != nil {
		c.old = c.slot.item.Load()
	}
	return c
}

// Close unlocks the stripe of a cell from Open.
func (c *Cell) Close() { c.shard.mu.Unlock() }

// Item returns the current version, nil when there is no item.
func (c *Cell) Item() *attr.Map { return c.old }

// holdKey joins a key into one text; HASH values are told apart by their length.
func holdKey(hash, rng attr.Value) string {
	h := hash.Key()
	var b strings.Builder
	b.WriteString(h)
	b.WriteByte(0)
	b.WriteByte(byte(len(h)))
	b.WriteByte(byte(len(h) >> 8))
	if rng.Exists() {
		b.WriteString(rng.Key())
	}
	return b.String()
}

// Held reports whether a transaction holds the item.
func (c *Cell) Held() bool {
	return len(c.shard.holds) > 0 && c.shard.holds[holdKey(c.hash, c.rng)] > 0
}

// Hold marks the item as held by a transaction until Release.
func (c *Cell) Hold() {
	if c.shard.holds == nil {
		c.shard.holds = map[string]int{}
	}
	c.shard.holds[holdKey(c.hash, c.rng)]++
}

// Release ends a hold; it takes the stripe's lock itself.
func (t *Table) Release(hash, rng attr.Value) {
	sh := &t.shards[Stripe(hash)]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	key := holdKey(hash, rng)
	if sh.holds[key]--; sh.holds[key] <= 0 {
		delete(sh.holds, key)
	}
}

// Put makes item the current version; its values must be owned (see attr.Arena).
func (c *Cell) Put(item *attr.Map) {
	old := c.old
	if c.slot == nil {
		c.create(item)
	} else {
		c.slot.item.Store(item)
	}
	if grown := int64(item.Size() - old.Size()); grown != 0 { // a counter that all cores share
		c.table.bytes.Add(grown)
	}
	for _, index := range c.table.Indexes() {
		index.move(c.slot, old, item)
	}
	c.old = item
}

func (c *Cell) create(item *attr.Map) {
	// The keys of the slot are those of the item, which are owned.
	c.slot = &Slot{hash: item.Get(c.table.key.Hash)}
	if c.table.key.Range != "" {
		c.slot.rng = item.Get(c.table.key.Range)
	}
	c.slot.item.Store(item)
	key := c.slot.hash.Key()
	coll := c.shard.colls[key]
	if coll == nil {
		coll = &sorted{}
		c.shard.colls[key] = coll
	}
	coll.insert(entry{c.slot.rng, c.slot})
	c.table.count.Add(1)
}

// Delete removes the item if there is one.
func (c *Cell) Delete() {
	if c.slot == nil {
		return
	}
	for _, index := range c.table.Indexes() {
		index.move(c.slot, c.old, nil)
	}
	coll := c.shard.colls[c.hash.Key()]
	coll.remove(entry{c.slot.rng, c.slot})
	if coll.count == 0 {
		delete(c.shard.colls, c.hash.Key())
	}
	c.slot.item.Store(nil)
	c.table.count.Add(-1)
	c.table.bytes.Add(-int64(c.old.Size()))
	c.slot, c.old = nil, nil
}

// AddIndex defines an index and fills it from the items that fit it.
func (t *Table) AddIndex(schema IndexSchema, fits func(*attr.Map) bool) {
	t.lockAll()
	defer t.unlockAll()
	index := newIndex(schema)
	for i := range t.shards {
		for _, coll := range t.shards[i].colls {
			coll.ascend(0, 0, func(e entry) bool {
				if item := e.slot.item.Load(); fits(item) {
					index.move(e.slot, nil, item)
				}
				return true
			})
		}
	}
	list := append(slices.Clone(t.Indexes()), index)
	t.indexes.Store(&list)
}

// DropIndex removes an index.
func (t *Table) DropIndex(name string) {
	t.lockAll()
	defer t.unlockAll()
	list := slices.DeleteFunc(slices.Clone(t.Indexes()), func(index *Index) bool { return index.schema.Name == name })
	t.indexes.Store(&list)
}

func (t *Table) lockAll() {
	for i := range t.shards {
		t.shards[i].mu.Lock()
	}
}

func (t *Table) unlockAll() {
	for i := range t.shards {
		t.shards[i].mu.Unlock()
	}
}
