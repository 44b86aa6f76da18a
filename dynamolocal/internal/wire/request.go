package wire

import (
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Text is an optional string member.
type Text struct {
	S   string
	Set bool
}

// Placeholder is one entry of ExpressionAttributeNames.
type Placeholder struct{ Key, Name string }

// Request is a decoded data request, or one part of a batch or transaction.
// Members that an operation does not have stay unset. Strings may point into
// the body that was decoded.
type Request struct {
	Table Text
	Index Text

	Key     []attr.Attr // nil: absent
	Item    []attr.Attr
	Start   []attr.Attr // ExclusiveStartKey
	Names   []Placeholder
	Values  []attr.Attr
	HasName bool // ExpressionAttributeNames present
	HasVals bool

	Condition, Update, Filter, Projection, KeyCondition Text

	ReturnValues, ReturnOnFailure, ReturnCapacity, ReturnMetrics, Select Text

	Consistent, HasConsistent bool
	Backward                  bool
	Limit, Segment, Segments  int64
	HasLimit, HasSegment      bool
	HasSegments               bool

	Token Text

	// Legacy names the non-expression members that were given.
	Legacy []string
	// Old holds the legacy members themselves.
	Old Legacy

	// ItemErr, KeyErr, StartErr are the first invalid value of those members;
	// ValueErr of the expression values, with its placeholder.
	ItemErr, KeyErr, StartErr, ValueErr error
	ValueErrKey                         string

	// Tables are the entries of RequestItems; HasTables says it was present.
	Tables    []TablePart
	HasTables bool
	// Actions are the entries of TransactItems.
	Actions    []Action
	HasActions bool
}

// Legacy holds the members that expressions replaced.
type Legacy struct {
	Updates       []LegacyUpdate
	Expected      []LegacyTest
	KeyConditions []LegacyTest
	QueryFilter   []LegacyTest // or ScanFilter
	FilterMember  string       // which of the two, as errors name it
	ToGet         []string
	Operator      string
	Err           error
}

// LegacyUpdate is an entry of AttributeUpdates.
type LegacyUpdate struct {
	Name   string
	Action string
	Value  attr.Value
}

// LegacyTest is an entry of Expected, KeyConditions or a legacy filter.
type LegacyTest struct {
	Name      string
	Operator  string
	Values    []attr.Value
	HasValues bool // AttributeValueList present
	Value     attr.Value
	HasValue  bool
	Exists    bool
	HasExists bool
}

// TablePart is what a batch asks of one table: Keys of a read, Writes of a
// write.
type TablePart struct {
	Table  string
	Read   Request // Key holds nothing; projection, consistency and names do
	Keys   []KeyPart
	Writes []Action
}

// KeyPart is one key of a batch read.
type KeyPart struct {
	Key []attr.Attr
	Err error
}

// ActionKind says what an action does.
type ActionKind uint8

// The kinds of actions; None and Several are malformed ones.
const (
	None ActionKind = iota
	Put
	Update
	Delete
	Check
	Get
	Several
)

// Action is a part of a write batch or a transaction.
type Action struct {
	Kind ActionKind
	Request
}

// Decode reads the body of a data request. The result refers to body.
func Decode(body []byte, r *Request) *Fault {
	l := lexer{b: body}
	if l.peek() != '{' {
		return &Fault{}
	}
	l.i++
	first := true
	for l.next(&first, '}') {
		l.requestMember(r, l.key())
	}
	if l.fault == nil && (l.peek() != 0 || l.i < len(l.b)) {
		l.fail("")
	}
	return l.fault
}

func (l *lexer) opt(t *Text) {
	if s, ok := l.str(); ok {
		*t = Text{s, true}
	}
}

func (l *lexer) flag(v, has *bool) {
	if b, ok := l.boolean(); ok {
		*v, *has = b, true
	}
}

func (l *lexer) count(v *int64, has *bool) {
	if n, ok := l.integer(); ok {
		*v, *has = n, true
	}
}

func (l *lexer) requestMember(r *Request, key string) {
	switch key {
	case "TableName":
		l.opt(&r.Table)
	case "IndexName":
		l.opt(&r.Index)
	case "Key":
		if !l.null() {
			r.Key, r.KeyErr = l.attrs(0, r.Key[:0])
		}
	case "Item":
		if !l.null() {
			r.Item, r.ItemErr = l.attrs(0, r.Item[:0])
		}
	case "ExclusiveStartKey":
		if !l.null() {
			r.Start, r.StartErr = l.attrs(0, nil)
		}
	case "ExpressionAttributeNames":
		l.names(r)
	case "ExpressionAttributeValues":
		l.values(r)
	case "ConditionExpression":
		l.opt(&r.Condition)
	case "UpdateExpression":
		l.opt(&r.Update)
	case "FilterExpression":
		l.opt(&r.Filter)
	case "ProjectionExpression":
		l.opt(&r.Projection)
	case "KeyConditionExpression":
		l.opt(&r.KeyCondition)
	case "ReturnValues":
		l.opt(&r.ReturnValues)
	case "ReturnValuesOnConditionCheckFailure":
		l.opt(&r.ReturnOnFailure)
	case "ReturnConsumedCapacity":
		l.opt(&r.ReturnCapacity)
	case "ReturnItemCollectionMetrics":
		l.opt(&r.ReturnMetrics)
	case "Select":
		l.opt(&r.Select)
	case "ConsistentRead":
		l.flag(&r.Consistent, &r.HasConsistent)
	case "ScanIndexForward":
		if b, ok := l.boolean(); ok {
			r.Backward = !b
		}
	case "Limit":
		l.count(&r.Limit, &r.HasLimit)
	case "Segment":
		l.count(&r.Segment, &r.HasSegment)
	case "TotalSegments":
		l.count(&r.Segments, &r.HasSegments)
	case "ClientRequestToken":
		l.opt(&r.Token)
	case "RequestItems":
		l.tables(r)
	case "TransactItems":
		l.actions(r)
	default:
		l.legacyMember(r, key)
	}
}

func (l *lexer) names(r *Request) {
	if l.null() || !l.object("java.lang.String") {
		return
	}
	r.HasName = true
	first := true
	for l.next(&first, '}') {
		k := l.key()
		name, _ := l.str()
		r.Names = append(r.Names, Placeholder{k, name})
	}
}

func (l *lexer) values(r *Request) {
	if l.null() || !l.object(model+"AttributeValue") {
		return
	}
	r.HasVals = true
	first := true
	for l.next(&first, '}') {
		k := l.key()
		v, err := l.value(0)
		if err != nil && r.ValueErr == nil {
			r.ValueErr, r.ValueErrKey = err, k
		}
		r.Values = append(r.Values, attr.Attr{Name: k, Value: v})
	}
}

func (l *lexer) tables(r *Request) {
	if l.null() || !l.object("java.util.List<"+model+"WriteRequest>") {
		return
	}
	r.HasTables = true
	first := true
	for l.next(&first, '}') {
		part := TablePart{Table: l.key()}
		switch l.peek() {
		case '[':
			l.i++
			firstWrite := true
			for l.next(&firstWrite, ']') {
				part.Writes = append(part.Writes, l.action())
			}
		case '{':
			l.keysAndAttributes(&part)
		default:
			l.list() // fails, unless there is a null
		}
		r.Tables = append(r.Tables, part)
	}
}

func (l *lexer) keysAndAttributes(part *TablePart) {
	l.i++
	first := true
	for l.next(&first, '}') {
		k := l.key()
		if k != "Keys" {
			l.requestMember(&part.Read, k)
			continue
		}
		if !l.list() {
			continue
		}
		firstKey := true
		for l.next(&firstKey, ']') {
			var key KeyPart
			key.Key, key.Err = l.attrs(0, nil)
			part.Keys = append(part.Keys, key)
		}
	}
}

func (l *lexer) actions(r *Request) {
	if l.null() || !l.list() {
		return
	}
	r.HasActions = true
	first := true
	for l.next(&first, ']') {
		r.Actions = append(r.Actions, l.action())
	}
}

func (l *lexer) action() (a Action) {
	if !l.element("WriteRequest") {
		return a
	}
	first := true
	for l.next(&first, '}') {
		kind, name := None, l.key()
		switch name {
		case "Put", "PutRequest":
			kind = Put
		case "Update":
			kind = Update
		case "Delete", "DeleteRequest":
			kind = Delete
		case "ConditionCheck":
			kind = Check
		case "Get":
			kind = Get
		}
		if kind == None {
			l.skip(0)
			continue
		}
		if l.null() {
			continue
		}
		if a.Kind != None {
			kind = Several
		}
		a.Kind = kind
		if !l.structure(name) {
			continue
		}
		firstMember := true
		for l.next(&firstMember, '}') {
			l.requestMember(&a.Request, l.key())
		}
	}
	return a
}
