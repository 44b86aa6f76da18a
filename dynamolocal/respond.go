package dynamolocal

import (
	"bytes"
	"encoding/json"
	"strconv"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// object writes a JSON object member by member.
type object struct {
	b     []byte
	first bool
}

func newObject(b []byte) object { return object{append(b, '{'), true} }

func (o *object) name(name string) {
	if !o.first {
		o.b = append(o.b, ',')
	}
	o.first = false
	o.b = append(o.b, '"')
	o.b = append(o.b, name...)
	o.b = append(o.b, '"', ':')
}

func (o *object) end() []byte { return append(o.b, '}') }

// appendResult appends the answer to a data request.
func appendResult(b []byte, op string, r *wire.Request, res *result) []byte {
	o := newObject(b)
	switch op {
	case "GetItem":
		o.item("Item", res.item)
	case "PutItem", "UpdateItem", "DeleteItem":
		o.item("Attributes", res.item)
	case "Query", "Scan":
		o.page(res)
	case "BatchGetItem":
		o.name("Responses")
		tables := newObject(o.b)
		for _, t := range res.tables {
			tables.rawName(t.table)
			tables.b = appendItems(tables.b, t.items)
		}
		o.b = tables.end()
		o.name("UnprocessedKeys")
		o.b = appendUnprocessedKeys(o.b, res.unprocessed)
	case "BatchWriteItem":
		o.name("UnprocessedItems")
		o.b = appendUnprocessedItems(o.b, res.unprocessed)
	case "TransactGetItems":
		o.name("Responses")
		o.b = append(o.b, '[')
		for i, item := range res.responses {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			inner := newObject(o.b)
			inner.item("Item", item)
			o.b = inner.end()
		}
		o.b = append(o.b, ']')
	}
	o.metrics(op, res)
	if wantsCapacity(r) {
		o.capacity(op, r, res)
	}
	return o.end()
}

func (o *object) rawName(name string) {
	if !o.first {
		o.b = append(o.b, ',')
	}
	o.first = false
	o.b = wire.AppendString(o.b, name)
	o.b = append(o.b, ':')
}

func (o *object) item(name string, item *attr.Map) {
	if item != nil {
		o.name(name)
		o.b = wire.AppendItem(o.b, item)
	}
}

func (o *object) page(res *result) {
	if !res.noItems {
		o.name("Items")
		o.b = appendItems(o.b, res.items)
	}
	o.name("Count")
	o.b = strconv.AppendInt(o.b, int64(res.count), 10)
	o.name("ScannedCount")
	o.b = strconv.AppendInt(o.b, int64(res.scanned), 10)
	o.item("LastEvaluatedKey", res.last)
}

func appendItems(b []byte, items []*attr.Map) []byte {
	b = append(b, '[')
	for i, item := range items {
		if i > 0 {
			b = append(b, ',')
		}
		b = wire.AppendItem(b, item)
	}
	return append(b, ']')
}

func appendAttrs(b []byte, attrs []attr.Attr) []byte {
	o := newObject(b)
	for i := range attrs {
		o.rawName(attrs[i].Name)
		o.b = wire.AppendValue(o.b, attrs[i].Value)
	}
	return o.end()
}

func appendUnprocessedKeys(b []byte, parts []wire.TablePart) []byte {
	tables := newObject(b)
	for i := range parts {
		part := &parts[i]
		tables.rawName(part.Table)
		o := newObject(tables.b)
		o.name("Keys")
		o.b = append(o.b, '[')
		for j := range part.Keys {
			if j > 0 {
				o.b = append(o.b, ',')
			}
			o.b = appendAttrs(o.b, part.Keys[j].Key)
		}
		o.b = append(o.b, ']')
		if part.Read.HasConsistent {
			o.name("ConsistentRead")
			o.b = strconv.AppendBool(o.b, part.Read.Consistent)
		}
		if part.Read.Projection.Set {
			o.name("ProjectionExpression")
			o.b = wire.AppendString(o.b, part.Read.Projection.S)
		}
		if part.Read.HasName {
			o.name("ExpressionAttributeNames")
			names := newObject(o.b)
			for _, n := range part.Read.Names {
				names.rawName(n.Key)
				names.b = wire.AppendString(names.b, n.Name)
			}
			o.b = names.end()
		}
		tables.b = o.end()
	}
	return tables.end()
}

func appendUnprocessedItems(b []byte, parts []wire.TablePart) []byte {
	tables := newObject(b)
	for i := range parts {
		tables.rawName(parts[i].Table)
		tables.b = append(tables.b, '[')
		for j := range parts[i].Writes {
			if j > 0 {
				tables.b = append(tables.b, ',')
			}
			a := &parts[i].Writes[j]
			if a.Kind == wire.Put {
				tables.b = append(tables.b, `{"PutRequest":{"Item":`...)
				tables.b = appendAttrs(tables.b, a.Item)
			} else {
				tables.b = append(tables.b, `{"DeleteRequest":{"Key":`...)
				tables.b = appendAttrs(tables.b, a.Key)
			}
			tables.b = append(tables.b, '}', '}')
		}
		tables.b = append(tables.b, ']')
	}
	return tables.end()
}

func (o *object) metrics(op string, res *result) {
	if len(res.metrics) == 0 {
		return
	}
	o.name("ItemCollectionMetrics")
	o.b = append(o.b, `{"ItemCollectionKey":`...)
	o.b = wire.AppendItem(o.b, res.metrics[0].keys[0])
	o.b = append(o.b, `,"SizeEstimateRangeGB":[0.0,1.0]}`...)
}

// listsCapacity reports whether an operation returns its consumed capacity as a list.
func listsCapacity(op string) bool {
	switch op {
	case "BatchGetItem", "BatchWriteItem", "TransactWriteItems", "TransactGetItems":
		return true
	}
	return false
}

func (o *object) capacity(op string, r *wire.Request, res *result) {
	o.name("ConsumedCapacity")
	detailed := r.ReturnCapacity.S == "INDEXES"
	if !listsCapacity(op) {
		o.b = appendCapacity(o.b, &res.consumed[0], detailed)
		return
	}
	o.b = append(o.b, '[')
	for i := range res.consumed {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = appendCapacity(o.b, &res.consumed[i], detailed)
	}
	o.b = append(o.b, ']')
}

func appendCapacity(b []byte, c *consumed, detailed bool) []byte {
	o := newObject(b)
	o.name("TableName")
	o.b = wire.AppendString(o.b, c.table)
	o.units("CapacityUnits", c.total())
	if c.transact {
		if c.write {
			o.units("WriteCapacityUnits", c.total())
		} else {
			o.units("ReadCapacityUnits", c.total())
		}
	}
	if !detailed {
		return o.end()
	}
	o.name("Table")
	table := newObject(o.b)
	table.units("CapacityUnits", c.units)
	if c.transact {
		if c.write {
			table.units("WriteCapacityUnits", c.units)
		} else {
			table.units("ReadCapacityUnits", c.units)
		}
	}
	o.b = table.end()
	o.arms("GlobalSecondaryIndexes", c, false)
	o.arms("LocalSecondaryIndexes", c, true)
	return o.end()
}

func (o *object) arms(member string, c *consumed, local bool) {
	var indexes object
	for _, arm := range c.arms {
		if arm.local != local || arm.units == 0 {
			continue
		}
		if indexes.b == nil {
			o.name(member)
			indexes = newObject(o.b)
		}
		indexes.rawName(arm.name)
		inner := newObject(indexes.b)
		inner.units("CapacityUnits", arm.units)
		indexes.b = inner.end()
	}
	if indexes.b != nil {
		o.b = indexes.end()
	}
}

func (o *object) units(name string, units float64) {
	o.name(name)
	o.b = strconv.AppendFloat(o.b, units, 'f', -1, 64)
	if units == float64(int64(units)) {
		o.b = append(o.b, '.', '0')
	}
}

// appendError appends the body of an error.
func appendError(b []byte, e *apiError) []byte {
	o := newObject(b)
	o.name("__type")
	o.b = wire.AppendString(o.b, prefixOf(e.code)+"#"+e.code)
	if e.code == codeUnknown || e.code == codeSerialization && e.message == "" {
		return o.end()
	}
	member := "message"
	switch e.code {
	case codeCanceled, codeMismatch, codeInProgress, codeSerialization, codeAccessDenied:
		member = "Message"
	}
	o.name(member)
	o.b = wire.AppendString(o.b, e.message)
	o.item("Item", e.item)
	if e.reasons != nil {
		o.name("CancellationReasons")
		o.b = append(o.b, '[')
		for i := range e.reasons {
			if i > 0 {
				o.b = append(o.b, ',')
			}
			reason := newObject(o.b)
			reason.name("Code")
			reason.b = wire.AppendString(reason.b, e.reasons[i].code)
			if e.reasons[i].message != "" {
				reason.name("Message")
				reason.b = wire.AppendString(reason.b, e.reasons[i].message)
			}
			reason.item("Item", e.reasons[i].item)
			o.b = reason.end()
		}
		o.b = append(o.b, ']')
	}
	if e.refusal != nil {
		o.name("ThrottlingReasons")
		o.b = appendReasons(o.b, e.refusal)
		// The SDKs read this exception's reasons under a name that begins with a small letter.
		if e.code == codeThrottling {
			o.name("throttlingReasons")
			o.b = appendReasons(o.b, e.refusal)
		}
	}
	return o.end()
}

func appendReasons(b []byte, r *throughput.Refusal) []byte {
	b = append(b, `[{"reason":`...)
	b = wire.AppendString(b, r.Reason)
	b = append(b, `,"resource":`...)
	b = wire.AppendString(b, r.Resource)
	return append(b, `}]`...)
}

// appendJSON appends the answer to a request about tables; nil is an empty body.
func appendJSON(b []byte, answer any) []byte {
	if answer == nil {
		return b
	}
	var buffer bytes.Buffer
	encoder := json.NewEncoder(&buffer)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(answer); err != nil {
		return appendError(b, &apiError{code: codeInternal, message: err.Error()})
	}
	return append(b, bytes.TrimRight(buffer.Bytes(), "\n")...)
}
