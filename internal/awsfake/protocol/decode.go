package protocol

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/aws/smithy-go/encoding/cbor"
)

// Requests are decoded in two steps: a body becomes plain values (map[string]any, []any, string, bool,
// json.Number, int64, float64, []byte, time.Time, nil), and these fill the SDK's input type.

func plainJSON(body []byte) (any, error) {
	if len(bytes.TrimSpace(body)) == 0 {
		return nil, nil
	}
	decoder := json.NewDecoder(bytes.NewReader(body))
	decoder.UseNumber()
	var value any
	if err := decoder.Decode(&value); err != nil {
		return nil, malformed("the body is not JSON: %v", err)
	}
	return value, nil
}

func plainCBOR(body []byte) (any, error) {
	if len(body) == 0 {
		return nil, nil
	}
	value, err := cbor.Decode(body)
	if err != nil {
		return nil, malformed("the body is not CBOR: %v", err)
	}
	return fromCBOR(value), nil
}

func fromCBOR(value cbor.Value) any {
	switch v := value.(type) {
	case cbor.Map:
		out := make(map[string]any, len(v))
		for name, inner := range v {
			out[name] = fromCBOR(inner)
		}
		return out
	case cbor.List:
		out := make([]any, len(v))
		for i, inner := range v {
			out[i] = fromCBOR(inner)
		}
		return out
	case *cbor.Tag: // the only tag of the protocol is 1, a time
		return fromCBOR(v.Value)
	case cbor.String:
		return string(v)
	case cbor.Slice:
		return []byte(v)
	case cbor.Bool:
		return bool(v)
	case cbor.Uint:
		return int64(v)
	case cbor.NegInt:
		return -int64(v)
	case cbor.Float32:
		return float64(v)
	case cbor.Float64:
		return float64(v)
	default:
		return nil
	}
}

// plainForm turns the dotted names of Query (Parameters.member.1.ParameterKey) into nested maps; lists
// and maps are recognised later by the field that they fill.
func plainForm(form url.Values) any {
	root := map[string]any{}
	// Sorted, "A=" (an empty list) comes before "A.member.1", which then wins.
	for _, name := range slices.Sorted(maps.Keys(form)) {
		at := root
		parts := strings.Split(name, ".")
		for _, part := range parts[:len(parts)-1] {
			inner, ok := at[part].(map[string]any)
			if !ok {
				inner = map[string]any{}
				at[part] = inner
			}
			at = inner
		}
		at[parts[len(parts)-1]] = form.Get(name)
	}
	return root
}

// fill sets the fields of the struct that into points to.
func fill(into, value any) error {
	if value == nil {
		return nil
	}
	return set(reflect.ValueOf(into).Elem(), value, "")
}

var (
	timeType  = reflect.TypeFor[time.Time]()
	bytesType = reflect.TypeFor[[]byte]()
)

func set(field reflect.Value, value any, path string) error {
	if value == nil {
		return nil
	}
	switch {
	case field.Kind() == reflect.Pointer:
		if field.IsNil() {
			field.Set(reflect.New(field.Type().Elem()))
		}
		return set(field.Elem(), value, path)
	case field.Type() == timeType:
		at, ok := timeOf(value)
		if !ok {
			return unfit(path, value, "a time")
		}
		field.Set(reflect.ValueOf(at))
		return nil
	case field.Type() == bytesType:
		data, ok := bytesOf(value)
		if !ok {
			return unfit(path, value, "base64")
		}
		field.SetBytes(data)
		return nil
	}
	switch field.Kind() {
	case reflect.Struct:
		return setStruct(field, value, path)
	case reflect.Slice:
		return setSlice(field, value, path)
	case reflect.Map:
		return setMap(field, value, path)
	default:
		return setScalar(field, value, path)
	}
}

func setStruct(field reflect.Value, value any, path string) error {
	members, ok := value.(map[string]any)
	if !ok {
		return unfit(path, value, "a structure")
	}
	for name, inner := range members {
		target := fieldOf(field, name)
		if !target.IsValid() {
			continue // Action and Version of a form; members of a newer model
		}
		if err := set(target, inner, path+"."+name); err != nil {
			return err
		}
	}
	return nil
}

// fieldOf finds the field of a member: the SDK writes names with a capital, and EC2's forms name a list
// by one item (Filter.1, SubnetId.1).
func fieldOf(structure reflect.Value, name string) reflect.Value {
	var plural reflect.Value
	for i := range structure.NumField() {
		field := structure.Type().Field(i)
		switch {
		case !field.IsExported():
		case strings.EqualFold(field.Name, name):
			return structure.Field(i)
		case field.Type.Kind() == reflect.Slice && strings.EqualFold(field.Name, name+"s"):
			plural = structure.Field(i)
		}
	}
	return plural
}

func setSlice(field reflect.Value, value any, path string) error {
	items, ok := itemsOf(value)
	if !ok {
		return unfit(path, value, "a list")
	}
	out := reflect.MakeSlice(field.Type(), len(items), len(items))
	for i, item := range items {
		if err := set(out.Index(i), item, fmt.Sprintf("%s.%d", path, i+1)); err != nil {
			return err
		}
	}
	field.Set(out)
	return nil
}

// itemsOf reads a list: in forms its items are numbered, often below a name such as member.
func itemsOf(value any) ([]any, bool) {
	switch v := value.(type) {
	case []any:
		return v, true
	case string: // a form's empty list
		return nil, v == ""
	case map[string]any:
		numbers := make([]int, 0, len(v))
		for name, inner := range v {
			number, err := strconv.Atoi(name)
			if err != nil {
				if len(v) == 1 {
					return itemsOf(inner)
				}
				return nil, false
			}
			numbers = append(numbers, number)
		}
		slices.Sort(numbers)
		items := make([]any, len(numbers))
		for i, number := range numbers {
			items[i] = v[strconv.Itoa(number)]
		}
		return items, true
	default:
		return nil, false
	}
}

func setMap(field reflect.Value, value any, path string) error {
	entries, ok := value.(map[string]any)
	if !ok {
		return unfit(path, value, "a map")
	}
	if numbered, ok := entriesOf(entries); ok {
		entries = numbered
	}
	out := reflect.MakeMapWithSize(field.Type(), len(entries))
	for name, inner := range entries {
		item := reflect.New(field.Type().Elem()).Elem()
		if err := set(item, inner, path+"."+name); err != nil {
			return err
		}
		out.SetMapIndex(reflect.ValueOf(name).Convert(field.Type().Key()), item)
	}
	field.Set(out)
	return nil
}

// entriesOf reads a form's map: entry.1.key, entry.1.value.
func entriesOf(value map[string]any) (map[string]any, bool) {
	inner, ok := value["entry"]
	if !ok {
		return nil, false
	}
	items, ok := itemsOf(inner)
	if !ok {
		return nil, false
	}
	entries := make(map[string]any, len(items))
	for _, item := range items {
		entry, ok := item.(map[string]any)
		key, isText := entry["key"].(string)
		if !ok || !isText {
			return nil, false
		}
		entries[key] = entry["value"]
	}
	return entries, true
}

func setScalar(field reflect.Value, value any, path string) error {
	switch field.Kind() {
	case reflect.String:
		if text, ok := value.(string); ok {
			field.SetString(text)
			return nil
		}
		return unfit(path, value, "a string")
	case reflect.Bool:
		switch v := value.(type) {
		case bool:
			field.SetBool(v)
			return nil
		case string:
			if parsed, err := strconv.ParseBool(v); err == nil {
				field.SetBool(parsed)
				return nil
			}
		}
		return unfit(path, value, "a boolean")
	case reflect.Int32, reflect.Int64:
		number, ok := integerOf(value)
		if !ok || field.OverflowInt(number) {
			return unfit(path, value, "an integer")
		}
		field.SetInt(number)
		return nil
	case reflect.Float32, reflect.Float64:
		number, ok := numberOf(value)
		if !ok {
			return unfit(path, value, "a number")
		}
		field.SetFloat(number)
		return nil
	default: // unions and documents stand in no request of the services that are played
		return malformed("%s is not understood here", strings.TrimPrefix(path, "."))
	}
}

func integerOf(value any) (int64, bool) {
	switch v := value.(type) {
	case int64:
		return v, true
	case json.Number:
		number, err := v.Int64()
		return number, err == nil
	case string: // a form's number
		number, err := strconv.ParseInt(v, 10, 64)
		return number, err == nil
	default:
		return 0, false
	}
}

func numberOf(value any) (float64, bool) {
	switch v := value.(type) {
	case int64:
		return float64(v), true
	case float64:
		return v, true
	case json.Number:
		number, err := v.Float64()
		return number, err == nil
	case string: // a form's number, or NaN and Infinity in JSON
		number, err := strconv.ParseFloat(v, 64)
		return number, err == nil
	default:
		return 0, false
	}
}

// timeOf reads seconds since 1970 or RFC 3339.
func timeOf(value any) (time.Time, bool) {
	if text, ok := value.(string); ok {
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02"} {
			if at, err := time.Parse(layout, text); err == nil {
				return at.UTC(), true
			}
		}
	}
	seconds, ok := numberOf(value)
	if !ok || math.IsNaN(seconds) || math.IsInf(seconds, 0) {
		return time.Time{}, false
	}
	return time.UnixMilli(int64(math.Round(seconds * 1000))).UTC(), true
}

func bytesOf(value any) ([]byte, bool) {
	switch v := value.(type) {
	case []byte:
		return v, true
	case string:
		data, err := base64.StdEncoding.DecodeString(v)
		return data, err == nil
	default:
		return nil, false
	}
}

func unfit(path string, value any, wanted string) error {
	return malformed("%s is %s, want %s", strings.TrimPrefix(path, "."), describe(value), wanted)
}

func describe(value any) string {
	switch v := value.(type) {
	case map[string]any:
		return "a structure"
	case []any:
		return "a list"
	default:
		text := fmt.Sprintf("%q", fmt.Sprint(v))
		if len(text) > 100 {
			text = text[:100] + "…"
		}
		return text
	}
}

func malformed(format string, args ...any) *Error {
	return Errorf("SerializationException", format, args...)
}
