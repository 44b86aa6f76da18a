package dynamolocal

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

const (
	readUnitBytes  = 4096
	writeUnitBytes = 1024
)

// consumed is the capacity that a request used on one table.
type consumed struct {
	table string
	// units are those of the table itself; arms those of its indexes, most of them zero.
	units float64
	arms  []indexUnits
	write bool
	// onIndex is set for a read of an index, which has no arm of the table.
	onIndex bool
	// transact adds the split into read and write units.
	transact bool
}

type indexUnits struct {
	name  string
	local bool
	units float64
}

func (c *consumed) total() float64 {
	total := c.units
	for _, arm := range c.arms {
		total += arm.units
	}
	return total
}

func (c *consumed) add(o *consumed) {
	c.units += o.units
	for _, arm := range o.arms {
		c.addArm(arm)
	}
}

func (c *consumed) addArm(arm indexUnits) {
	for i := range c.arms {
		if c.arms[i].name == arm.name {
			c.arms[i].units += arm.units
			return
		}
	}
	c.arms = append(c.arms, arm)
}

// usage counts units of a table for the engine's statistics, in halves of a unit.
type usage struct {
	reads, writes, indexWrites atomic.Int64
	throttled                  atomic.Int64

	mu      sync.Mutex // of indexes: few requests touch one
	indexes map[string]*IndexStats
}

func (t *table) count(c *consumed) {
	for _, arm := range c.arms {
		t.usage.countIndex(arm, c.write)
	}
	if !c.write {
		t.usage.reads.Add(int64(2 * c.total()))
		return
	}
	t.usage.writes.Add(int64(2 * c.units))
	if len(c.arms) > 0 {
		t.usage.indexWrites.Add(int64(2 * (c.total() - c.units)))
	}
}

func (u *usage) countIndex(arm indexUnits, write bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	index := u.indexes[arm.name]
	if index == nil {
		if u.indexes == nil {
			u.indexes = map[string]*IndexStats{}
		}
		index = &IndexStats{Name: arm.name, Local: arm.local}
		u.indexes[arm.name] = index
	}
	if write {
		index.WriteUnits += arm.units
	} else {
		index.ReadUnits += arm.units
	}
}

// indexStats are what the indexes consumed, sorted by name.
func (u *usage) indexStats() []IndexStats {
	u.mu.Lock()
	defer u.mu.Unlock()
	var list []IndexStats
	for _, name := range slices.Sorted(maps.Keys(u.indexes)) {
		list = append(list, *u.indexes[name])
	}
	return list
}

func ceilDiv(n, unit int) int { return (n + unit - 1) / unit }

func readUnits(bytes int, consistent bool) float64 {
	units := float64(max(ceilDiv(bytes, readUnitBytes), 1))
	if !consistent {
		units /= 2
	}
	return units
}

func writeUnits(old, item *attr.Map) float64 {
	return float64(max(ceilDiv(max(old.Size(), item.Size()), writeUnitBytes), 1))
}

// writeCost returns what a write from old to item costs; it appends to arms.
func (t *table) writeCost(old, item *attr.Map) consumed {
	c := consumed{table: t.name, write: true, units: writeUnits(old, item)}
	for _, index := range t.store.Indexes() {
		if units := indexCost(index, t.store.Key(), old, item); units > 0 {
			c.arms = append(c.arms, indexUnits{index.Schema().Name, index.Schema().Local, units})
		}
	}
	return c
}

// indexCost returns what a write costs on an index: nothing when what the index shows stays, the
// larger entry for a change in place, both entries for a moved key.
func indexCost(index *store.Index, key store.KeySchema, old, item *attr.Map) float64 {
	same, sameKey := index.Unchanged(old, item, key)
	if same {
		return 0
	}
	oldUnits, newUnits := 0, 0
	if index.Holds(old) {
		oldUnits = ceilDiv(index.EntrySize(old, key), writeUnitBytes)
	}
	if index.Holds(item) {
		newUnits = ceilDiv(index.EntrySize(item, key), writeUnitBytes)
	}
	if sameKey {
		return float64(max(oldUnits, newUnits))
	}
	return float64(oldUnits + newUnits)
}

// admitWrite charges the least that a write to an item can cost, before its condition is looked at.
func (e *Engine) admitWrite(t *table, hash, rng attr.Value, units float64) error {
	if t.capacity == nil {
		return nil
	}
	arm := throughput.Arm{At: position(hash, rng), Units: units}
	if refusal := t.capacity.Admit(e.ticks(), throughput.Write, arm); refusal != nil {
		t.usage.throttled.Add(1)
		return throttled(refusal)
	}
	return nil
}

// admitIndexes charges the arms of a write's indexes; a short index throttles the write.
func (e *Engine) admitIndexes(t *table, c *consumed, old, item *attr.Map) error {
	if t.capacity == nil {
		return nil
	}
	var arms []throughput.Arm
	for _, arm := range c.arms {
		if arm.local {
			continue
		}
		index := t.store.Index(arm.name)
		source := item
		if !index.Holds(item) {
			source = old
		}
		schema := index.Schema().Key
		arms = append(arms, throughput.Arm{Index: arm.name, At: position(source.Get(schema.Hash), source.Get(schema.Range)), Units: arm.units})
	}
	if refusal := t.capacity.Admit(e.ticks(), throughput.Write, arms...); refusal != nil {
		t.usage.throttled.Add(1)
		return throttled(refusal)
	}
	return nil
}

// settleWrite charges what a write cost beyond what was admitted.
func (e *Engine) settleWrite(t *table, hash, rng attr.Value, beyond float64) {
	if t.capacity != nil && beyond != 0 {
		t.capacity.Settle(e.ticks(), throughput.Write, throughput.Arm{At: position(hash, rng), Units: beyond})
	}
}

// admitRead charges a read of one HASH value, of the table or of an index.
func (e *Engine) admitRead(t *table, index string, hash, rng attr.Value, units float64) error {
	if t.capacity == nil {
		return nil
	}
	arm := throughput.Arm{Index: index, At: position(hash, rng), Units: units}
	if refusal := t.capacity.Admit(e.ticks(), throughput.Read, arm); refusal != nil {
		t.usage.throttled.Add(1)
		return throttled(refusal)
	}
	return nil
}

func (e *Engine) settleRead(t *table, index string, hash, rng attr.Value, beyond float64) {
	if t.capacity != nil && beyond != 0 {
		t.capacity.Settle(e.ticks(), throughput.Read, throughput.Arm{Index: index, At: position(hash, rng), Units: beyond})
	}
}

func position(hash, rng attr.Value) throughput.Position {
	if !rng.Exists() {
		return throughput.AtString(hash.Key(), "")
	}
	return throughput.AtString(hash.Key(), rng.Key())
}
