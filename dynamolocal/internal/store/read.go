package store

import (
	"cmp"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Bounds select a part of the items of one HASH value by their RANGE value.
type Bounds struct {
	// Low and High are the ends; the zero Value is open.
	Low, High         attr.Value
	LowOpen, HighOpen bool // the end itself is not in
	// Prefix of an S or B value; Low is the prefix then.
	Prefix    string
	HasPrefix bool
}

// Has reports whether a RANGE value lies within the bounds.
func (b *Bounds) Has(rng attr.Value) bool { return !b.below(rng) && !b.above(rng) }

func (b *Bounds) below(rng attr.Value) bool {
	if !b.Low.Exists() {
		return false
	}
	c := attr.Compare(rng, b.Low)
	return c < 0 || c == 0 && b.LowOpen
}

func (b *Bounds) above(rng attr.Value) bool {
	if b.HasPrefix {
		return !strings.HasPrefix(rng.Text(), b.Prefix)
	}
	if !b.High.Exists() {
		return false
	}
	c := attr.Compare(rng, b.High)
	return c > 0 || c == 0 && b.HighOpen
}

// Cursor is a position in a query or scan: strictly after this key. Index is the key in the index.
type Cursor struct {
	Hash, Range           attr.Value // of the table
	IndexHash, IndexRange attr.Value
}

// First returns the HASH value of the position, in the index when it is not nil.
func (c *Cursor) First(index *Index) attr.Value {
	if index == nil {
		return c.Hash
	}
	return c.IndexHash
}

// Query yields the items of one HASH value of the table, or of an index when it is not nil, within
// bounds, in RANGE order or in reverse, after the cursor when there is one. Items are yielded under
// the lock of their collection: yield must not call back into the table.
func (t *Table) Query(index *Index, hash attr.Value, bounds Bounds, backward bool, after *Cursor, yield func(*attr.Map) bool) {
	visit := func(e entry) bool {
		item := index.current(e, hash.Key())
		return item == nil || yield(item)
	}
	if index == nil {
		sh := &t.shards[Stripe(hash)]
		sh.mu.RLock()
		defer sh.mu.RUnlock()
		walk(sh.colls[hash.Key()], bounds, backward, after.entry(false), visit)
		return
	}
	sh := &index.shards[Stripe(hash)]
	sh.mu.RLock()
	defer sh.mu.RUnlock()
	walk(sh.colls[hash.Key()], bounds, backward, after.entry(true), visit)
}

// entry returns the place of a cursor in a collection; nil for none.
func (c *Cursor) entry(index bool) *entry {
	if c == nil {
		return nil
	}
	e := &entry{rng: c.Range, slot: &Slot{hash: c.Hash, rng: c.Range}}
	if index {
		e.rng = c.IndexRange
	}
	return e
}

func walk(coll *sorted, bounds Bounds, backward bool, after *entry, visit func(entry) bool) {
	if coll == nil {
		return
	}
	if backward {
		walkBackward(coll, bounds, after, visit)
		return
	}
	block, index := coll.lowest(bounds)
	if after != nil {
		b, i, found := coll.find(*after)
		if found {
			i++
		}
		if b > block || b == block && i > index {
			block, index = b, i
		}
	}
	coll.ascend(block, index, func(e entry) bool { return !bounds.above(e.rng) && visit(e) })
}

// lowest returns the position of the first entry that is not below the bounds.
func (s *sorted) lowest(bounds Bounds) (block, index int) {
	below := func(e entry) int {
		if bounds.below(e.rng) {
			return -1
		}
		return 1
	}
	block, _ = slices.BinarySearchFunc(s.blocks, 0, func(b []entry, _ int) int { return below(b[len(b)-1]) })
	if block == len(s.blocks) {
		return block, 0
	}
	index, _ = slices.BinarySearchFunc(s.blocks[block], 0, func(e entry, _ int) int { return below(e) })
	return block, index
}

// highest returns the position after the last entry that is not above the bounds.
func (s *sorted) highest(bounds Bounds) (block, index int) {
	above := func(e entry) int {
		// Entries below a prefix do not have it either, but are not above it.
		if bounds.above(e.rng) && !bounds.below(e.rng) {
			return 1
		}
		return -1
	}
	block, _ = slices.BinarySearchFunc(s.blocks, 0, func(b []entry, _ int) int { return above(b[len(b)-1]) })
	if block == len(s.blocks) {
		return block, 0
	}
	index, _ = slices.BinarySearchFunc(s.blocks[block], 0, func(e entry, _ int) int { return above(e) })
	return block, index
}

func walkBackward(coll *sorted, bounds Bounds, after *entry, visit func(entry) bool) {
	block, index := coll.highest(bounds)
	if after != nil {
		if b, i, _ := coll.find(*after); b < block || b == block && i < index {
			block, index = b, i
		}
	}
	coll.descend(block, index, func(e entry) bool { return !bounds.below(e.rng) && visit(e) })
}

// Scan yields the items of a part of the table or index in the order of a hash of their HASH values,
// after the cursor when there is one. A segment of several takes the stripes that fall to it.
func (t *Table) Scan(index *Index, segment, segments int, after *Cursor, yield func(*attr.Map) bool) {
	first := 0
	if after != nil {
		first = Stripe(after.First(index))
	}
	for i := first; i < stripes; i++ {
		if i*segments/stripes != segment {
			continue
		}
		resume := after
		if i != first {
			resume = nil
		}
		if !t.scanStripe(index, i, resume, yield) {
			return
		}
	}
}

// Segment returns the segment of a parallel scan in which a HASH value falls.
func Segment(hash attr.Value, segments int) int { return Stripe(hash) * segments / stripes }

type collection struct {
	hash uint64
	key  string
	list *sorted
}

func (t *Table) scanStripe(index *Index, i int, after *Cursor, yield func(*attr.Map) bool) bool {
	var colls map[string]*sorted
	if index == nil {
		t.shards[i].mu.RLock()
		defer t.shards[i].mu.RUnlock()
		colls = t.shards[i].colls
	} else {
		index.shards[i].mu.RLock()
		defer index.shards[i].mu.RUnlock()
		colls = index.shards[i].colls
	}
	order := make([]collection, 0, len(colls))
	for key, list := range colls {
		order = append(order, collection{attr.Hash(key), key, list})
	}
	compare := func(a, b collection) int { return cmp.Or(cmp.Compare(a.hash, b.hash), strings.Compare(a.key, b.key)) }
	slices.SortFunc(order, compare)

	start := 0
	var at collection
	if after != nil {
		hash := after.First(index)
		at = collection{hash: attr.Hash(hash.Key()), key: hash.Key()}
		start, _ = slices.BinarySearchFunc(order, at, compare)
	}
	for _, c := range order[start:] {
		var resume *entry
		if after != nil && c.key == at.key {
			resume = after.entry(index != nil)
		}
		goOn := true
		walk(c.list, Bounds{}, false, resume, func(e entry) bool {
			item := index.current(e, c.key)
			goOn = item == nil || yield(item)
			return goOn
		})
		if !goOn {
			return false
		}
	}
	return true
}
