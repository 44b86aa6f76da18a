package wire

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"time"
)

const (
	// maxDepth bounds how deep plain values may be nested.
	maxDepth = 64
	// valueCost is how many values of maxValues a plain one stands for: each takes many times its
	// size on the wire.
	valueCost = 8
	// datetimeLayout is how Locust writes a time without a zone.
	datetimeLayout = "20060102T15:04:05.000000"
	datetimeKey    = "__datetime__"
)

// value reads a plain value: nil, bool, int64, uint64 (only above the largest int64), float64,
// string, []byte, []any, map[string]any, or map[any]any where a key is no string. Locust's way to
// write a time becomes a [time.Time] in UTC.
func (r *reader) value(depth int) any {
	if depth > maxDepth {
		r.fail(fmt.Errorf("values nested more than %d deep", maxDepth))
		return nil
	}
	if r.left -= valueCost - 1; r.left < 0 {
		r.fail(errTooMany)
	}
	switch t := r.next(); t.kind {
	case kindArray:
		if t.n > r.left/valueCost {
			r.fail(errTooMany)
			return nil
		}
		list := make([]any, 0, t.n)
		for range t.n {
			if list = append(list, r.value(depth+1)); r.err != nil {
				return nil
			}
		}
		return list
	case kindMap:
		return r.plainMap(t.n, depth)
	default:
		return r.scalar(t)
	}
}

func (r *reader) scalar(t token) any {
	switch t.kind {
	case kindBool:
		return t.bits != 0
	case kindInt:
		return int64(t.bits)
	case kindUint:
		return t.bits
	case kindFloat:
		return math.Float64frombits(t.bits)
	case kindString:
		return toText(t.text)
	case kindBytes:
		return slices.Clone(t.text)
	case kindExt:
		r.fail(errors.New("a msgpack extension, which Locust does not use"))
	}
	return nil
}

func (r *reader) plainMap(n, depth int) any {
	named := map[string]any{}
	var mixed map[any]any
	for range n {
		key := r.key()
		value := r.value(depth + 1)
		if r.err != nil {
			return nil
		}
		name, isText := key.(string)
		if !isText && mixed == nil {
			mixed = map[any]any{}
			for k, v := range named {
				mixed[k] = v
			}
		}
		if mixed != nil {
			mixed[key] = value
		} else {
			named[name] = value
		}
	}
	if mixed != nil {
		return mixed
	}
	if at, ok := datetime(named); ok {
		return at
	}
	return named
}

// key reads the key of a map: a scalar, bytes as a string.
func (r *reader) key() any {
	switch t := r.next(); t.kind {
	case kindArray, kindMap:
		r.unexpected(t.kind, "a key")
		return nil
	case kindBytes:
		return toText(t.text)
	case kindFloat:
		if math.IsNaN(math.Float64frombits(t.bits)) {
			r.fail(errors.New("not a number as a key"))
		}
		return r.scalar(t)
	default:
		return r.scalar(t)
	}
}

func datetime(named map[string]any) (at time.Time, ok bool) {
	if _, ok := named[datetimeKey]; !ok {
		return at, false
	}
	text, _ := named["as_str"].(string)
	at, err := time.Parse(datetimeLayout, text)
	return at, err == nil
}

// appendValue appends a plain value; maps in the order of their keys. It fails for types that value
// does not read.
func appendValue(b []byte, v any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return b, fmt.Errorf("wire: values nested more than %d deep", maxDepth)
	}
	switch v := v.(type) {
	case []any:
		return appendList(b, v, depth)
	case []string:
		b = appendArray(b, len(v))
		for _, s := range v {
			b = appendText(b, s)
		}
		return b, nil
	case map[string]any:
		return appendNamed(b, v, depth)
	case map[string]int:
		return appendCounts(b, v), nil
	case map[string]string:
		b = appendMap(b, len(v))
		for _, key := range slices.Sorted(maps.Keys(v)) {
			b = appendText(appendText(b, key), v[key])
		}
		return b, nil
	case map[any]any:
		return appendMixed(b, v, depth)
	case time.Time:
		return appendNamed(b, map[string]any{datetimeKey: true, "as_str": v.UTC().Format(datetimeLayout)}, depth)
	}
	return appendScalar(b, v)
}

func appendScalar(b []byte, v any) ([]byte, error) {
	switch v := v.(type) {
	case nil:
		return appendNil(b), nil
	case bool:
		return appendBool(b, v), nil
	case int:
		return appendInt(b, int64(v)), nil
	case int64:
		return appendInt(b, v), nil
	case uint64:
		return appendUint(b, v), nil
	case float64:
		return appendFloat(b, v), nil
	case string:
		return appendText(b, v), nil
	case []byte:
		return appendBytes(b, v), nil
	}
	return b, fmt.Errorf("wire: a %T cannot be sent", v)
}

func appendList(b []byte, list []any, depth int) (_ []byte, err error) {
	b = appendArray(b, len(list))
	for _, element := range list {
		if b, err = appendValue(b, element, depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendNamed(b []byte, named map[string]any, depth int) (_ []byte, err error) {
	b = appendMap(b, len(named))
	for _, key := range slices.Sorted(maps.Keys(named)) {
		if b, err = appendValue(appendText(b, key), named[key], depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}

// appendMixed sorts by the encoded keys: any order does, as long as it is always the same.
func appendMixed(b []byte, mixed map[any]any, depth int) ([]byte, error) {
	pairs := make(map[string]any, len(mixed))
	for key, value := range mixed {
		encoded, err := appendScalar(nil, key)
		if err != nil {
			return b, fmt.Errorf("wire: a %T as a key", key)
		}
		pairs[string(encoded)] = value
	}
	b = appendMap(b, len(pairs))
	for _, key := range slices.Sorted(maps.Keys(pairs)) {
		var err error
		if b, err = appendValue(append(b, key...), pairs[key], depth+1); err != nil {
			return b, err
		}
	}
	return b, nil
}

func appendCounts(b []byte, counts map[string]int) []byte {
	b = appendMap(b, len(counts))
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		b = appendInt(appendText(b, key), int64(counts[key]))
	}
	return b
}
