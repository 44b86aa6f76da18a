package protocol

import (
	"math/big"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/document"
	"github.com/aws/smithy-go/traits"
)

// A tree is an answer before it has a wire format. Its values are object, list, dict, moment, string,
// bool, int64, float64, []byte and nil.
type (
	// object is a structure or a union with the members that are set.
	object struct {
		schema  *smithy.Schema // nil where only the type of a Go value tells
		members []member
	}
	// member is one member of an object or one entry of a dict. element is its name in XML.
	member struct {
		name, element string
		schema        *smithy.Schema
		value         any
	}
	// list names its items' element in XML; flat lists have no element around the items.
	list struct {
		item  string
		flat  bool
		items []any
	}
	// dict is a map with the names that XML gives its parts.
	dict struct {
		key, value string
		flat       bool
		entries    []member
	}
	// moment is a time with the format that the model asks for; "" is the protocol's own.
	moment struct {
		time.Time
		format string
	}
)

// treeOf collects what an SDK client's output says about itself.
func treeOf(output smithy.Serializable) *object {
	root := &object{}
	s := &treeWriter{open: []any{root}, atRoot: true}
	output.Serialize(s)
	root.addZeros(reflect.Indirect(reflect.ValueOf(output)))
	return root
}

// addZeros adds the numbers and flags that are never absent from what they belong to, and which the SDK
// leaves out of requests when they are 0 or false.
func (o *object) addZeros(from reflect.Value) {
	if o.schema == nil || from.Kind() != reflect.Struct {
		return
	}
	for i := range from.NumField() {
		field := from.Type().Field(i)
		if !field.IsExported() {
			continue
		}
		at := slices.IndexFunc(o.members, func(m member) bool { return strings.EqualFold(m.name, field.Name) })
		if at >= 0 {
			addZeros(o.members[at].value, from.Field(i))
		} else if zero, plain := zeroOf(field.Type); plain {
			for name, schema := range o.schema.Members() {
				if strings.EqualFold(name, field.Name) {
					o.members = append(o.members, member{name: name, element: elementOf(schema), schema: schema, value: zero})
				}
			}
		}
	}
}

// addZeros does it for what a member has.
func addZeros(tree any, from reflect.Value) {
	switch tree := tree.(type) {
	case *object:
		tree.addZeros(reflect.Indirect(from))
	case *list:
		for i := range tree.items {
			addZeros(tree.items[i], from.Index(i))
		}
	case *dict:
		for _, entry := range tree.entries {
			addZeros(entry.value, from.MapIndex(reflect.ValueOf(entry.name).Convert(from.Type().Key())))
		}
	}
}

// zeroOf is the value of a number or a flag that is not set; plain is false for everything else.
func zeroOf(t reflect.Type) (zero any, plain bool) {
	switch t.Kind() {
	case reflect.Bool:
		return false, true
	case reflect.Int32, reflect.Int64:
		return int64(0), true
	case reflect.Float32, reflect.Float64:
		return 0.0, true
	}
	return nil, false
}

// treeWriter is a ShapeSerializer that builds a tree: one walk over the SDK's types serves all formats.
type treeWriter struct {
	open []any // the containers being filled, innermost last
	// pending is the name of the next value: a map's key, or the variant of a union.
	pending *member
	atRoot  bool
}

func (s *treeWriter) put(schema *smithy.Schema, value any) {
	switch into := s.open[len(s.open)-1].(type) {
	case *object:
		m := member{name: schema.MemberName(), element: elementOf(schema), schema: schema}
		if s.pending != nil {
			m, s.pending = *s.pending, nil
		}
		m.value = value
		into.members = append(into.members, m)
	case *dict:
		m := *s.pending
		s.pending = nil
		m.value = value
		into.entries = append(into.entries, m)
	case *list:
		into.items = append(into.items, value)
	}
}

func (s *treeWriter) enter(schema *smithy.Schema, container any) {
	s.put(schema, container)
	s.open = append(s.open, container)
}

func (s *treeWriter) leave() { s.open = s.open[:len(s.open)-1] }

// elementOf is a member's name in XML: a name that only the member's target has does not count.
func elementOf(schema *smithy.Schema) string {
	if named, ok := smithy.SchemaDirectTrait[*traits.XMLName](schema); ok {
		return named.Name
	}
	return schema.MemberName()
}

func flat(schema *smithy.Schema) bool {
	_, ok := smithy.SchemaTrait[*traits.XMLFlattened](schema)
	return ok
}

func (s *treeWriter) WriteStruct(schema *smithy.Schema) {
	if s.atRoot { // treeOf opened it
		s.atRoot = false
		s.open[0].(*object).schema = schema
		return
	}
	s.enter(schema, &object{schema: schema})
}

func (s *treeWriter) CloseStruct() { s.leave() }

func (s *treeWriter) WriteUnion(schema, variant *smithy.Schema) {
	s.enter(schema, &object{})
	s.pending = &member{name: variant.MemberName(), element: elementOf(variant), schema: variant}
}

func (s *treeWriter) CloseUnion() {
	s.pending = nil
	s.leave()
}

func (s *treeWriter) WriteList(schema *smithy.Schema) {
	s.enter(schema, &list{item: elementOf(schema.ListMember()), flat: flat(schema)})
}

func (s *treeWriter) CloseList() { s.leave() }

func (s *treeWriter) WriteMap(schema *smithy.Schema) {
	s.enter(schema, &dict{key: elementOf(schema.MapKey()), value: elementOf(schema.MapValue()), flat: flat(schema)})
}

func (s *treeWriter) WriteKey(_ *smithy.Schema, key string) { s.pending = &member{name: key} }

func (s *treeWriter) CloseMap() { s.leave() }

func (s *treeWriter) WriteTime(schema *smithy.Schema, v time.Time) {
	m := moment{Time: v}
	if format, ok := smithy.SchemaTrait[*traits.TimestampFormat](schema); ok {
		m.format = format.Format
	}
	s.put(schema, m)
}

func (s *treeWriter) WriteInt8(schema *smithy.Schema, v int8)       { s.put(schema, int64(v)) }
func (s *treeWriter) WriteInt16(schema *smithy.Schema, v int16)     { s.put(schema, int64(v)) }
func (s *treeWriter) WriteInt32(schema *smithy.Schema, v int32)     { s.put(schema, int64(v)) }
func (s *treeWriter) WriteInt64(schema *smithy.Schema, v int64)     { s.put(schema, v) }
func (s *treeWriter) WriteFloat32(schema *smithy.Schema, v float32) { s.put(schema, float64(v)) }
func (s *treeWriter) WriteFloat64(schema *smithy.Schema, v float64) { s.put(schema, v) }
func (s *treeWriter) WriteBool(schema *smithy.Schema, v bool)       { s.put(schema, v) }
func (s *treeWriter) WriteString(schema *smithy.Schema, v string)   { s.put(schema, v) }
func (s *treeWriter) WriteBlob(schema *smithy.Schema, v []byte)     { s.put(schema, v) }
func (s *treeWriter) WriteNil(schema *smithy.Schema)                { s.put(schema, nil) }

// Documents and big numbers stand in no answer of the services that are played.
func (s *treeWriter) WriteDocument(schema *smithy.Schema, _ document.Value) { s.put(schema, nil) }
func (s *treeWriter) WriteBigInt(schema *smithy.Schema, v *big.Int)         { s.put(schema, v.String()) }
func (s *treeWriter) WriteBigFloat(schema *smithy.Schema, v *big.Float)     { s.put(schema, v.String()) }

// Bytes is part of the interface: a tree has none.
func (s *treeWriter) Bytes() []byte { return nil }
