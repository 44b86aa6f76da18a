package dynamolocal

import (
	"slices"
	"strconv"
	"unsafe"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// fromSDK converts a value; nil and unknown types are the error of an empty value.
func fromSDK(v types.AttributeValue) (attr.Value, error) {
	switch v := v.(type) {
	case *types.AttributeValueMemberS:
		return attr.String(v.Value), nil
	case *types.AttributeValueMemberN:
		return attr.ParseNumber(v.Value)
	case *types.AttributeValueMemberB:
		return attr.Binary(string(v.Value)), nil
	case *types.AttributeValueMemberBOOL:
		return attr.Bool(v.Value), nil
	case *types.AttributeValueMemberNULL:
		if !v.Value {
			return attr.Value{}, attr.ErrNull
		}
		return attr.Null(), nil
	case *types.AttributeValueMemberSS:
		return attr.StringSet(append([]string(nil), v.Value...))
	case *types.AttributeValueMemberBS:
		members := make([]string, len(v.Value))
		for i, m := range v.Value {
			members[i] = string(m)
		}
		return attr.BinarySet(members)
	case *types.AttributeValueMemberNS:
		members := make([]attr.Value, len(v.Value))
		for i, m := range v.Value {
			var err error
			if members[i], err = attr.ParseNumber(m); err != nil {
				return attr.Value{}, err
			}
		}
		return attr.NumberSet(members)
	case *types.AttributeValueMemberL:
		list := make([]attr.Value, len(v.Value))
		for i, e := range v.Value {
			var err error
			if list[i], err = fromSDK(e); err != nil {
				return attr.Value{}, err
			}
		}
		value := attr.ListOf(list)
		return value, checkNesting(value)
	case *types.AttributeValueMemberM:
		attrs, err := attrsFromSDK(v.Value)
		if err != nil {
			return attr.Value{}, err
		}
		value := attr.MapOf(attr.NewMap(attrs))
		return value, checkNesting(value)
	}
	return attr.Value{}, attr.ErrEmpty
}

func checkNesting(v attr.Value) error {
	if v.Depth() > attr.MaxDepth {
		return attr.ErrNesting
	}
	return nil
}

// attrsFromSDK converts an item; a nil map gives nil. The error is that of the first bad value.
func attrsFromSDK(m map[string]types.AttributeValue) (attrs []attr.Attr, err error) {
	if m == nil {
		return nil, nil
	}
	attrs = make([]attr.Attr, 0, len(m))
	for name, v := range m {
		value, valueErr := fromSDK(v)
		if valueErr != nil && err == nil {
			err = valueErr
		}
		attrs = append(attrs, attr.Attr{Name: name, Value: value})
	}
	return attrs, err
}

// toSDK converts a value; nothing of it is shared with the store but immutable strings.
func toSDK(v attr.Value) types.AttributeValue {
	switch v.Kind() {
	case attr.S:
		return &types.AttributeValueMemberS{Value: v.Text()}
	case attr.N:
		if i, ok := v.Integer(); ok {
			return &types.AttributeValueMemberN{Value: strconv.FormatInt(i, 10)}
		}
		return &types.AttributeValueMemberN{Value: v.NumberText()}
	case attr.B:
		return &types.AttributeValueMemberB{Value: []byte(v.Text())}
	case attr.BOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Truth()}
	case attr.NULL:
		return &types.AttributeValueMemberNULL{Value: true}
	case attr.SS:
		return &types.AttributeValueMemberSS{Value: append([]string(nil), v.Strings()...)}
	case attr.BS:
		members := make([][]byte, len(v.Strings()))
		for i, m := range v.Strings() {
			members[i] = []byte(m)
		}
		return &types.AttributeValueMemberBS{Value: members}
	case attr.NS:
		members := make([]string, len(v.Values()))
		for i, m := range v.Values() {
			members[i] = m.NumberText()
		}
		return &types.AttributeValueMemberNS{Value: members}
	case attr.L:
		list := make([]types.AttributeValue, len(v.Values()))
		for i, e := range v.Values() {
			list[i] = toSDK(e)
		}
		return &types.AttributeValueMemberL{Value: list}
	case attr.M:
		return &types.AttributeValueMemberM{Value: itemToSDK(v.Map())}
	}
	return nil
}

// itemToSDK converts an item; nil gives nil.
func itemToSDK(m *attr.Map) map[string]types.AttributeValue {
	if m == nil {
		return nil
	}
	// Nearly all values are texts and numbers: one allocation for all of each, and one for the text
	// of the integers.
	var texts, numbers int
	for _, v := range m.All() {
		switch v.Kind() {
		case attr.S:
			texts++
		case attr.N:
			numbers++
		}
	}
	textMembers := make([]types.AttributeValueMemberS, 0, texts)
	numberMembers := make([]types.AttributeValueMemberN, 0, numbers)
	digits := make([]byte, 0, integerDigits*numbers)
	item := make(map[string]types.AttributeValue, m.Len())
	for name, v := range m.All() {
		switch v.Kind() {
		case attr.S:
			textMembers = append(textMembers, types.AttributeValueMemberS{Value: v.Text()})
			item[name] = &textMembers[len(textMembers)-1]
		case attr.N:
			var text string
			digits, text = numberText(digits, v)
			numberMembers = append(numberMembers, types.AttributeValueMemberN{Value: text})
			item[name] = &numberMembers[len(numberMembers)-1]
		default:
			item[name] = toSDK(v)
		}
	}
	return item
}

// integerDigits is how much of the buffer of an item's integers one of them needs at most.
const integerDigits = len("-9223372036854775808")

// numberText returns the text of a number, that of an integer in digits, whose end it moves. What
// stands in digits is never changed again, so that strings may point into it.
func numberText(digits []byte, v attr.Value) (rest []byte, text string) {
	i, ok := v.Integer()
	if !ok {
		return digits, v.NumberText()
	}
	start := len(digits)
	digits = strconv.AppendInt(digits, i, 10)
	written := digits[start:]
	return digits, unsafe.String(unsafe.SliceData(written), len(written))
}

func itemsToSDK(items []*attr.Map) []map[string]types.AttributeValue {
	list := make([]map[string]types.AttributeValue, len(items))
	for i, item := range items {
		list[i] = itemToSDK(item)
	}
	return list
}

func attrsToSDK(attrs []attr.Attr) map[string]types.AttributeValue {
	item := make(map[string]types.AttributeValue, len(attrs))
	for _, a := range attrs {
		item[a.Name] = toSDK(a.Value)
	}
	return item
}

func text(s *string) wire.Text {
	if s == nil {
		return wire.Text{}
	}
	return wire.Text{S: *s, Set: true}
}

func enumText[E ~string](e E) wire.Text { return wire.Text{S: string(e), Set: e != ""} }

// names fills the placeholders of names.
func setNames(r *wire.Request, names map[string]string) {
	if names == nil {
		return
	}
	r.HasName = true
	r.Names = slices.Grow(r.Names, len(names))
	for key, name := range names {
		r.Names = append(r.Names, wire.Placeholder{Key: key, Name: name})
	}
}

func setValues(r *wire.Request, values map[string]types.AttributeValue) {
	if values == nil {
		return
	}
	r.HasVals = true
	r.Values = slices.Grow(r.Values, len(values))
	for key, v := range values {
		value, err := fromSDK(v)
		if err != nil && r.ValueErr == nil {
			r.ValueErr, r.ValueErrKey = err, key
		}
		r.Values = append(r.Values, attr.Attr{Name: key, Value: value})
	}
}

func capacityToSDK(r *wire.Request, c *consumed) *types.ConsumedCapacity {
	if !wantsCapacity(r) {
		return nil
	}
	out := &types.ConsumedCapacity{TableName: aws.String(c.table), CapacityUnits: aws.Float64(c.total())}
	table := &types.Capacity{CapacityUnits: aws.Float64(c.units)}
	if c.transact && c.write {
		out.WriteCapacityUnits, table.WriteCapacityUnits = aws.Float64(c.total()), aws.Float64(c.units)
	} else if c.transact {
		out.ReadCapacityUnits, table.ReadCapacityUnits = aws.Float64(c.total()), aws.Float64(c.units)
	}
	if r.ReturnCapacity.S != "INDEXES" {
		return out
	}
	out.Table = table
	for _, arm := range c.arms {
		if arm.units == 0 {
			continue
		}
		into := &out.GlobalSecondaryIndexes
		if arm.local {
			into = &out.LocalSecondaryIndexes
		}
		if *into == nil {
			*into = map[string]types.Capacity{}
		}
		(*into)[arm.name] = types.Capacity{CapacityUnits: aws.Float64(arm.units)}
	}
	return out
}

func capacitiesToSDK(r *wire.Request, list []consumed) []types.ConsumedCapacity {
	if !wantsCapacity(r) {
		return nil
	}
	out := make([]types.ConsumedCapacity, len(list))
	for i := range list {
		out[i] = *capacityToSDK(r, &list[i])
	}
	return out
}
