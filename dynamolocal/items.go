package dynamolocal

import (
	"sync"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// result is the answer to a data request.
type result struct {
	// item is the member Item or Attributes; nil leaves it out.
	item     *attr.Map
	consumed []consumed

	items          []*attr.Map
	count, scanned int
	last           *attr.Map
	noItems        bool

	tables      []tableItems      // BatchGetItem
	unprocessed []wire.TablePart  // of a batch
	responses   []*attr.Map       // TransactGetItems
	transact    bool              // responses are given, even when empty
	metrics     []metricsOfTables // ReturnItemCollectionMetrics
	// work is the number of items that the latency model counts.
	work int
}

type tableItems struct {
	table string
	items []*attr.Map
}

type metricsOfTables struct {
	table string
	keys  []*attr.Map
}

// wantsCapacity reports whether a request asks for its consumed capacity.
func wantsCapacity(r *wire.Request) bool { return r.ReturnCapacity.Set && r.ReturnCapacity.S != "NONE" }

func (e *Engine) getItem(r *wire.Request) (*result, error) {
	name, err := e.tableName(r.Table, "tableName")
	if err != nil {
		return nil, err
	}
	var c constraints
	c.required(r.Key != nil, "key")
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	if err := c.err(); err != nil {
		return nil, err
	}
	if r.KeyErr != nil {
		return nil, r.KeyErr
	}
	x := e.expressionsOf(r)
	if err := x.check(named{"Projection", r.Projection}); err != nil {
		return nil, err
	}
	if err := checkToGet(r); err != nil {
		return nil, err
	}
	var projection expression.Bound
	projected, err := x.bind(&projection, "Projection", r.Projection)
	if err != nil {
		return nil, err
	}
	if err := x.unused(); err != nil {
		return nil, err
	}
	t, err := e.table(name)
	if err != nil {
		return nil, err
	}
	hash, rng, err := t.keyOf(r.Key)
	if err != nil {
		return nil, err
	}
	var paths []expression.Path
	if projected {
		paths = projection.Paths()
		if err := t.checkScalars(paths); err != nil {
			return nil, err
		}
	}
	item, units, err := e.read(t, hash, rng, r.Consistent)
	if err != nil {
		return nil, err
	}
	res := &result{item: item, consumed: []consumed{{table: t.name, units: units}}}
	if item != nil && projected {
		res.item = expression.Project(item, paths)
	} else if item != nil && len(r.Old.ToGet) > 0 {
		res.item = expression.Project(item, topPaths(r.Old.ToGet))
	}
	return res, nil
}

// read returns an item of a table and what reading it cost.
func (e *Engine) read(t *table, hash, rng attr.Value, consistent bool) (*attr.Map, float64, error) {
	least := readUnits(0, consistent)
	if err := e.admitRead(t, "", hash, rng, least); err != nil {
		return nil, 0, err
	}
	item := t.store.Get(hash, rng)
	units := readUnits(item.Size(), consistent)
	e.settleRead(t, "", hash, rng, units-least)
	t.count(&consumed{units: units})
	return item, units, nil
}

// write is one put, update or delete with its expressions bound.
type write struct {
	table     *table
	hash, rng attr.Value
	item      *attr.Map // to put
	condition *expression.Bound
	update    *expression.Bound
	legacy    *legacyWrite
	kind      wire.ActionKind
	bound     *boundWrite
}

// failedCondition is returned for a condition that does not hold, with the item that it met.
type failedCondition struct{ item *attr.Map }

func (*failedCondition) Error() string { return messageCondition }

// evaluate returns what the item becomes, nil when it is deleted, under the lock of its cell.
func (w *write) evaluate(cell *store.Cell) (*attr.Map, error) {
	old := cell.Item()
	if w.condition != nil && !w.condition.Holds(old) || w.legacy != nil && !w.legacy.holds(old) {
		return nil, &failedCondition{old}
	}
	switch w.kind {
	case wire.Put:
		return w.item, nil
	case wire.Delete:
		return nil, nil
	case wire.Check:
		return old, nil
	}
	return w.updated(old)
}

// updated returns the item that an update makes of old.
func (w *write) updated(old *attr.Map) (*attr.Map, error) {
	if old == nil && w.legacy != nil && w.legacy.onlyDeletes() {
		return nil, nil
	}
	shapes := w.table.store.Shapes()
	draft := shapes.Draft(old)
	if old == nil {
		draft.Set(w.table.hash.name, w.hash)
		if w.table.rng.name != "" {
			draft.Set(w.table.rng.name, w.rng)
		}
	}
	if w.update != nil {
		if err := w.update.Apply(old, &draft); err != nil {
			return nil, err
		}
	}
	if w.legacy != nil {
		if err := w.legacy.apply(old, &draft); err != nil {
			return nil, err
		}
	}
	item := draft.Item()
	if item.Size() > maxItemBytes {
		return nil, validation("Item size to update has exceeded the maximum allowed size")
	}
	if err := checkDepth(item); err != nil {
		return nil, err
	}
	return item, w.table.checkIndexKeys(old, item, true)
}

func checkDepth(item *attr.Map) error {
	for _, v := range item.All() {
		if k := v.Kind(); (k == attr.L || k == attr.M) && v.Depth() > attr.MaxDepth {
			return attr.ErrNesting
		}
	}
	return nil
}

// store makes item the current version: its strings are copied out of the request where they are new.
func (w *write) store(cell *store.Cell, old, item *attr.Map) {
	if item == nil {
		cell.Delete()
		return
	}
	if item != old {
		own(old, item)
		cell.Put(item)
	}
}

// own copies the strings of an item that still point into a request. Values that are those of the
// old version are owned already.
func own(old, item *attr.Map) {
	var arena attr.Arena
	if old == nil {
		arena.OwnItem(item)
		return
	}
	arena.OwnNew(old, item)
}

// conditionalWrite performs one write on its own.
func (e *Engine) conditionalWrite(w *write, r *wire.Request) (old, item *attr.Map, cost consumed, err error) {
	t := w.table
	if err := e.admitWrite(t, w.hash, w.rng, 1); err != nil {
		return nil, nil, cost, err
	}
	cell := t.store.Open(w.hash, w.rng)
	defer cell.Close()
	if cell.Held() {
		return nil, nil, cost, &apiError{code: codeConflict, message: messageConflict}
	}
	old = cell.Item()
	item, err = w.evaluate(&cell)
	if err != nil {
		units := writeUnits(old, nil)
		e.settleWrite(t, w.hash, w.rng, units-1)
		if failed, ok := err.(*failedCondition); ok {
			t.count(&consumed{write: true, units: units})
			refused := &apiError{code: codeCondition, message: messageCondition}
			if r.ReturnOnFailure.S == "ALL_OLD" {
				refused.item = failed.item
			}
			return nil, nil, cost, refused
		}
		return nil, nil, cost, err
	}
	if t.capacity != nil || wantsCapacity(r) || len(t.store.Indexes()) > 0 {
		cost = t.writeCost(old, item)
		if err := e.admitIndexes(t, &cost, old, item); err != nil {
			return nil, nil, cost, err
		}
	} else {
		cost = consumed{table: t.name, write: true, units: writeUnits(old, item)}
	}
	e.settleWrite(t, w.hash, w.rng, cost.units-1)
	t.count(&cost)
	w.store(&cell, old, item)
	t.changed(w.hash, old, item, false)
	return old, item, cost, nil
}

func (e *Engine) putItem(r *wire.Request) (*result, error) {
	name, err := e.tableName(r.Table, "tableName")
	if err != nil {
		return nil, err
	}
	c := constraints{newer: e.config.Wording == Wording2026}
	c.required(r.Item != nil, "item")
	c.enum(r.ReturnValues, "returnValues", returnValues...)
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	c.enum(r.ReturnMetrics, "returnItemCollectionMetrics", returnMetrics...)
	c.enum(r.ReturnOnFailure, "returnValuesOnConditionCheckFailure", returnOld...)
	c.legacy(&r.Old)
	if err := c.err(); err != nil {
		return nil, err
	}
	if r.ReturnValues.Set && r.ReturnValues.S != "NONE" && r.ReturnValues.S != "ALL_OLD" {
		return nil, strictly("ReturnValues can only be ALL_OLD or NONE")
	}
	w := write{kind: wire.Put}
	defer w.release()
	if err := e.bindWrite(&w, r, name); err != nil {
		return nil, err
	}
	old, _, cost, err := e.conditionalWrite(&w, r)
	if err != nil {
		return nil, err
	}
	res := &result{consumed: []consumed{cost}}
	if r.ReturnValues.S == "ALL_OLD" {
		res.item = old
	}
	res.addMetrics(r, w.table, w.hash)
	return res, nil
}

func (e *Engine) deleteItem(r *wire.Request) (*result, error) {
	name, err := e.tableName(r.Table, "tableName")
	if err != nil {
		return nil, err
	}
	var c constraints
	c.required(r.Key != nil, "key")
	c.enum(r.ReturnValues, "returnValues", returnOld...)
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	c.enum(r.ReturnMetrics, "returnItemCollectionMetrics", returnMetrics...)
	c.enum(r.ReturnOnFailure, "returnValuesOnConditionCheckFailure", returnOld...)
	c.legacy(&r.Old)
	if err := c.err(); err != nil {
		return nil, err
	}
	w := write{kind: wire.Delete}
	defer w.release()
	if err := e.bindWrite(&w, r, name); err != nil {
		return nil, err
	}
	old, _, cost, err := e.conditionalWrite(&w, r)
	if err != nil {
		return nil, err
	}
	res := &result{consumed: []consumed{cost}}
	if r.ReturnValues.S == "ALL_OLD" {
		res.item = old
	}
	res.addMetrics(r, w.table, w.hash)
	return res, nil
}

func (e *Engine) updateItem(r *wire.Request) (*result, error) {
	name, err := e.tableName(r.Table, "tableName")
	if err != nil {
		return nil, err
	}
	c := constraints{newer: e.config.Wording == Wording2026}
	c.required(r.Key != nil, "key")
	c.enum(r.ReturnValues, "returnValues", returnValues...)
	if !c.newer || len(c.problems) == 0 {
		c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
		c.enum(r.ReturnMetrics, "returnItemCollectionMetrics", returnMetrics...)
		c.enum(r.ReturnOnFailure, "returnValuesOnConditionCheckFailure", returnOld...)
		c.legacy(&r.Old)
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	w := write{kind: wire.Update}
	defer w.release()
	if err := e.bindWrite(&w, r, name); err != nil {
		return nil, err
	}
	old, item, cost, err := e.conditionalWrite(&w, r)
	if err != nil {
		return nil, err
	}
	res := &result{consumed: []consumed{cost}}
	res.item = w.returned(r.ReturnValues.S, old, item)
	res.addMetrics(r, w.table, w.hash)
	return res, nil
}

// returned is the member Attributes of an update.
func (w *write) returned(what string, old, item *attr.Map) *attr.Map {
	var targets []expression.Path
	switch what {
	case "ALL_OLD":
		return old
	case "ALL_NEW":
		return item
	case "UPDATED_OLD", "UPDATED_NEW":
		if w.update != nil {
			targets = w.update.Targets()
		} else if w.legacy != nil {
			targets = w.legacy.targets()
		}
	default:
		return nil
	}
	side := item
	if what == "UPDATED_OLD" {
		side = old
	}
	if side == nil || len(targets) == 0 {
		return nil
	}
	picked := expression.Project(side, targets)
	if picked.Len() == 0 {
		return nil
	}
	return picked
}

// addMetrics answers a request for item collection metrics, which only tables with local indexes have.
func (res *result) addMetrics(r *wire.Request, t *table, hash attr.Value) {
	if r.ReturnMetrics.S != "SIZE" {
		return
	}
	for _, index := range t.store.Indexes() {
		if index.Schema().Local {
			key := attr.NewMap([]attr.Attr{{Name: t.hash.name, Value: hash}})
			res.metrics = append(res.metrics, metricsOfTables{t.name, []*attr.Map{key}})
			return
		}
	}
}

// bindWrite checks and binds one put, update, delete or condition check.
func (e *Engine) bindWrite(w *write, r *wire.Request, tableName string) error {
	if r.ItemErr != nil {
		return r.ItemErr
	}
	if r.KeyErr != nil {
		return r.KeyErr
	}
	x := e.expressionsOf(r)
	members := []named{{"Condition", r.Condition}}
	if w.kind == wire.Update {
		members = []named{{"Update", r.Update}, {"Condition", r.Condition}}
	}
	if err := x.check(members...); err != nil {
		return err
	}
	w.bound = boundWrites.Get().(*boundWrite)
	bound := w.bound
	if w.kind == wire.Update {
		ok, err := x.bind(&bound.update, "Update", r.Update)
		if err != nil {
			return err
		}
		if ok {
			w.update = &bound.update
		}
	}
	ok, err := x.bind(&bound.condition, "Condition", r.Condition)
	if err != nil {
		return err
	}
	if ok {
		w.condition = &bound.condition
	}
	if err := x.unused(); err != nil {
		return err
	}
	if len(r.Legacy) > 0 {
		if w.legacy, err = legacyOf(r); err != nil {
			return err
		}
	}
	if w.table, err = e.table(tableName); err != nil {
		return err
	}
	return w.bindKey(r)
}

type boundWrite struct{ update, condition expression.Bound }

// boundWrites are reused: they are large, and in a big heap new memory is cold.
var boundWrites = sync.Pool{New: func() any { return new(boundWrite) }}

// release gives the bound expressions back; w is not used afterwards.
func (w *write) release() {
	if w.bound != nil {
		boundWrites.Put(w.bound)
		w.bound, w.update, w.condition = nil, nil, nil
	}
}

func (w *write) bindKey(r *wire.Request) (err error) {
	t := w.table
	if w.kind != wire.Put {
		if w.hash, w.rng, err = t.keyOf(r.Key); err != nil || w.kind != wire.Update {
			return err
		}
		return w.checkTargets()
	}
	w.item = t.store.Shapes().Item(r.Item)
	if w.hash, w.rng, err = t.itemKey(w.item); err != nil {
		return err
	}
	if w.item.Size() > maxItemBytes {
		return validation("Item size has exceeded the maximum allowed size")
	}
	return t.checkIndexKeys(nil, w.item, false)
}

// checkTargets refuses an update of a key attribute.
func (w *write) checkTargets() error {
	if w.legacy != nil {
		for _, p := range w.legacy.targets() {
			if w.table.isKey(p[0].Name) {
				return invalid("Cannot update attribute " + p[0].Name + ". This attribute is part of the key")
			}
		}
	}
	if w.update == nil {
		return nil
	}
	for name := range w.update.TargetNames {
		if w.table.isKey(name) {
			return invalid("Cannot update attribute " + name + ". This attribute is part of the key")
		}
	}
	return nil
}

func topPaths(names []string) []expression.Path {
	paths := make([]expression.Path, len(names))
	for i, name := range names {
		paths[i] = expression.Path{{Name: name, Index: -1}}
	}
	return paths
}
