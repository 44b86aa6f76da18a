package dynamolocal

import (
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// maxBatchBytes bounds the items that a batch reads.
const maxBatchBytes = 16 << 20

// batchRead is one key of a BatchGetItem.
type batchRead struct {
	part      int
	hash, rng attr.Value
	key       []attr.Attr
}

func (e *Engine) emptyBatch(op string) error {
	if e.config.Wording == Wording2026 {
		return validation(validatorPrefix + "Value at 'RequestItems' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	return validation("The requestItems parameter is required for " + op)
}

func (e *Engine) batchGetItem(r *wire.Request, left func(n int) int) (*result, error) {
	var c constraints
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	if !r.HasTables || len(r.Tables) == 0 {
		if err := c.err(); err != nil {
			return nil, err
		}
		return nil, e.emptyBatch("BatchGetItem")
	}
	total := 0
	for i := range r.Tables {
		n := len(r.Tables[i].Keys)
		total += n
		if n > maxBatchReads {
			return nil, validation(validatorPrefix + "Value at 'RequestItems." + r.Tables[i].Table + ".member.Keys' failed to satisfy constraint: Member must have length less than or equal to 100")
		}
		if n == 0 {
			return nil, validation(validatorPrefix + "Value at 'RequestItems." + r.Tables[i].Table + ".member.Keys' failed to satisfy constraint: Member must have length greater than or equal to 1")
		}
	}
	if err := c.err(); err != nil {
		return nil, err
	}
	if total > maxBatchReads {
		return nil, validation("Too many items requested for the BatchGetItem call")
	}
	tables, projections, reads, err := e.bindReads(r)
	if err != nil {
		return nil, err
	}
	return e.readBatch(r, tables, projections, reads, left)
}

func (e *Engine) bindReads(r *wire.Request) (tables []*table, projections [][]expression.Path, reads []batchRead, err error) {
	tables, projections = make([]*table, len(r.Tables)), make([][]expression.Path, len(r.Tables))
	for i := range r.Tables {
		part := &r.Tables[i]
		x := e.expressionsOf(&part.Read)
		if err := x.check(named{"Projection", part.Read.Projection}); err != nil {
			return nil, nil, nil, err
		}
		if err := checkToGet(&part.Read); err != nil {
			return nil, nil, nil, err
		}
		var projection expression.Bound
		ok, err := x.bind(&projection, "Projection", part.Read.Projection)
		if err != nil {
			return nil, nil, nil, err
		}
		if err := x.unused(); err != nil {
			return nil, nil, nil, err
		}
		if ok {
			projections[i] = projection.Paths()
		} else if len(part.Read.Old.ToGet) > 0 {
			projections[i] = topPaths(part.Read.Old.ToGet)
		}
		for _, key := range part.Keys {
			if key.Err != nil {
				return nil, nil, nil, key.Err
			}
		}
	}
	seen := map[string]bool{}
	for i := range r.Tables {
		part := &r.Tables[i]
		name, err := e.tableName(wire.Text{S: part.Table, Set: true}, "requestItems")
		if err != nil {
			return nil, nil, nil, err
		}
		if tables[i], err = e.table(name); err != nil {
			return nil, nil, nil, err
		}
		for _, key := range part.Keys {
			hash, rng, err := tables[i].keyOf(key.Key)
			if err != nil {
				return nil, nil, nil, err
			}
			if id := keyID(name, hash, rng); seen[id] {
				return nil, nil, nil, validation("Provided list of item keys contains duplicates")
			} else {
				seen[id] = true
			}
			reads = append(reads, batchRead{i, hash, rng, key.Key})
		}
	}
	return tables, projections, reads, nil
}

// keyID tells the keys of a request apart.
func keyID(table string, hash, rng attr.Value) string {
	var b strings.Builder
	b.WriteString(table)
	b.WriteByte(0)
	h := hash.Key()
	b.WriteString(strconv.Itoa(len(h)))
	b.WriteByte(0)
	b.WriteString(h)
	if rng.Exists() {
		b.WriteString(rng.Key())
	}
	return b.String()
}

func (e *Engine) readBatch(r *wire.Request, tables []*table, projections [][]expression.Path, reads []batchRead, left func(int) int) (*result, error) {
	res := &result{work: len(reads), unprocessed: []wire.TablePart{}}
	perTable := make([]tableItems, len(tables))
	costs := make([]consumed, len(tables))
	for i, t := range tables {
		perTable[i].table, costs[i].table = r.Tables[i].Table, t.name
	}
	leave := 0
	if left != nil {
		leave = left(len(reads))
	}
	var refused error
	done, bytes := 0, 0
	for i, read := range reads {
		part := &r.Tables[read.part]
		item, units, err := (*attr.Map)(nil), 0.0, error(nil)
		skip := i >= len(reads)-leave || bytes > maxBatchBytes
		if !skip {
			item, units, err = e.read(tables[read.part], read.hash, read.rng, part.Read.Consistent)
		}
		if skip || err != nil {
			refused = err
			res.leaveKey(part, read.key)
			continue
		}
		done++
		costs[read.part].units += units
		if item == nil {
			continue
		}
		bytes += item.Size()
		if projections[read.part] != nil {
			item = expression.Project(item, projections[read.part])
		}
		perTable[read.part].items = append(perTable[read.part].items, item)
	}
	if done == 0 && refused != nil {
		return nil, refused
	}
	res.tables, res.consumed = perTable, costs
	return res, nil
}

// leaveKey hands a key back in the shape of the request.
func (res *result) leaveKey(part *wire.TablePart, key []attr.Attr) {
	for i := range res.unprocessed {
		if res.unprocessed[i].Table == part.Table {
			res.unprocessed[i].Keys = append(res.unprocessed[i].Keys, wire.KeyPart{Key: key})
			return
		}
	}
	res.unprocessed = append(res.unprocessed, wire.TablePart{Table: part.Table, Read: part.Read, Keys: []wire.KeyPart{{Key: key}}})
}

func (e *Engine) batchWriteItem(r *wire.Request, left func(n int) int) (*result, error) {
	var c constraints
	c.enum(r.ReturnCapacity, "returnConsumedCapacity", returnCapacities...)
	c.enum(r.ReturnMetrics, "returnItemCollectionMetrics", returnMetrics...)
	if err := c.err(); err != nil {
		return nil, err
	}
	if !r.HasTables || len(r.Tables) == 0 {
		return nil, e.emptyBatch("BatchWriteItem")
	}
	for i := range r.Tables {
		if n := len(r.Tables[i].Writes); n == 0 || n > maxBatchWrites {
			return nil, validation(validatorPrefix + "Value '" + describeBatch(r) + "' at 'requestItems' failed to satisfy constraint: Map value must satisfy constraint: [Member must have length less than or equal to 25, Member must have length greater than or equal to 1]")
		}
	}
	writes, parts, err := e.bindBatch(r)
	if err != nil {
		return nil, err
	}
	return e.writeBatch(r, writes, parts, left)
}

// describeBatch is a rendering of the request for an error; the service prints its own objects there.
func describeBatch(r *wire.Request) string {
	var b strings.Builder
	b.WriteByte('{')
	for i := range r.Tables {
		if i > 0 {
			b.WriteString(", ")
		}
		b.WriteString(r.Tables[i].Table + "=[")
		for j := range r.Tables[i].Writes {
			if j > 0 {
				b.WriteString(", ")
			}
			b.WriteString("WriteRequest(")
			if r.Tables[i].Writes[j].Kind == wire.Put {
				b.WriteString("putRequest=PutRequest(), deleteRequest=null)")
			} else {
				b.WriteString("putRequest=null, deleteRequest=DeleteRequest())")
			}
		}
		b.WriteByte(']')
	}
	b.WriteByte('}')
	return b.String()
}

func (e *Engine) bindBatch(r *wire.Request) (writes []write, parts []int, err error) {
	total := 0
	for i := range r.Tables {
		for j := range r.Tables[i].Writes {
			a := &r.Tables[i].Writes[j]
			total++
			switch {
			case a.Kind == wire.Several:
				return nil, nil, validation("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
			case a.Kind != wire.Put && a.Kind != wire.Delete:
				return nil, nil, validation("Supplied AttributeValue has more than one datatypes set, must contain exactly one of the supported datatypes")
			case a.ItemErr != nil:
				return nil, nil, a.ItemErr
			case a.KeyErr != nil:
				return nil, nil, a.KeyErr
			}
		}
	}
	if total > maxBatchWrites {
		return nil, nil, validation("Too many items requested for the BatchWriteItem call")
	}
	seen := map[string]bool{}
	for i := range r.Tables {
		name, err := e.tableName(wire.Text{S: r.Tables[i].Table, Set: true}, "requestItems")
		if err != nil {
			return nil, nil, err
		}
		t, err := e.table(name)
		if err != nil {
			return nil, nil, err
		}
		for j := range r.Tables[i].Writes {
			a := &r.Tables[i].Writes[j]
			w := write{table: t, kind: a.Kind}
			if err := w.bindKey(&a.Request); err != nil {
				return nil, nil, batchKeyError(err)
			}
			id := keyID(name, w.hash, w.rng)
			if seen[id] {
				return nil, nil, validation("Provided list of item keys contains duplicates")
			}
			seen[id] = true
			writes, parts = append(writes, w), append(parts, i)
		}
	}
	return writes, parts, nil
}

// batchKeyError is how a batch words a key that does not fit.
func batchKeyError(err error) error {
	message := asAPIError(err).message
	if strings.HasPrefix(message, invalidParameters+"Missing the key") || strings.HasPrefix(message, invalidParameters+"Type mismatch for key") {
		return validation(messageKeySchema)
	}
	return err
}

func (e *Engine) writeBatch(r *wire.Request, writes []write, parts []int, left func(int) int) (*result, error) {
	res := &result{work: len(writes), unprocessed: []wire.TablePart{}}
	costs := make([]consumed, len(r.Tables))
	for i := range costs {
		costs[i] = consumed{write: true}
	}
	leave := 0
	if left != nil {
		leave = left(len(writes))
	}
	var refused error
	done := 0
	actions := flatten(r)
	for i := range writes {
		w := &writes[i]
		costs[parts[i]].table = w.table.name
		var err error
		var cost consumed
		if i < len(writes)-leave {
			_, _, cost, err = e.conditionalWrite(w, &wire.Request{})
		}
		if i >= len(writes)-leave || err != nil {
			if err != nil && asAPIError(err).refusal == nil && asAPIError(err).code != codeConflict {
				return nil, err
			}
			refused = err
			res.leaveWrite(r.Tables[parts[i]].Table, actions[i])
			continue
		}
		done++
		costs[parts[i]].add(&cost)
	}
	if done == 0 && refused != nil {
		return nil, refused
	}
	res.consumed = costs
	return res, nil
}

func flatten(r *wire.Request) []wire.Action {
	var actions []wire.Action
	for i := range r.Tables {
		actions = append(actions, r.Tables[i].Writes...)
	}
	return actions
}

func (res *result) leaveWrite(table string, a wire.Action) {
	for i := range res.unprocessed {
		if res.unprocessed[i].Table == table {
			res.unprocessed[i].Writes = append(res.unprocessed[i].Writes, a)
			return
		}
	}
	res.unprocessed = append(res.unprocessed, wire.TablePart{Table: table, Writes: []wire.Action{a}})
}
