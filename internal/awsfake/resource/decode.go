package resource

import (
	"fmt"
	"maps"
	"reflect"
	"strconv"
	"strings"
)

// Decode reads a property, or all properties of a resource, into a value of Go: structs (as the inputs
// of an SDK's operations), slices, maps, pointers, strings, numbers and booleans. Members are found by
// their name without regard to case; a property without a member is left out. Scalars may come as
// strings and as each other, as CloudFormation allows.
func Decode(property any, into any) error {
	return decode("", property, reflect.ValueOf(into).Elem())
}

func decode(path string, property any, into reflect.Value) error {
	if property == nil {
		return nil
	}
	switch into.Kind() {
	case reflect.Pointer:
		value := reflect.New(into.Type().Elem())
		into.Set(value)
		return decode(path, property, value.Elem())
	case reflect.Struct:
		return decodeStruct(path, property, into)
	case reflect.Slice:
		items, ok := property.([]any)
		if !ok {
			items = []any{property}
		}
		into.Set(reflect.MakeSlice(into.Type(), len(items), len(items)))
		for i, item := range items {
			if err := decode(fmt.Sprintf("%s/%d", path, i), item, into.Index(i)); err != nil {
				return err
			}
		}
		return nil
	case reflect.Map:
		return decodeMap(path, property, into)
	case reflect.Interface:
		into.Set(reflect.ValueOf(property))
		return nil
	}
	return decodeScalar(path, property, into)
}

func decodeStruct(path string, property any, into reflect.Value) error {
	members, ok := property.(map[string]any)
	if !ok {
		return mismatch(path, property, "an object")
	}
	for name, value := range members {
		field := into.FieldByNameFunc(func(field string) bool { return strings.EqualFold(field, name) })
		if !field.IsValid() || !field.CanSet() {
			continue
		}
		if err := decode(path+"/"+name, value, field); err != nil {
			return err
		}
	}
	return nil
}

func decodeMap(path string, property any, into reflect.Value) error {
	members, ok := property.(map[string]any)
	if !ok {
		return mismatch(path, property, "an object")
	}
	into.Set(reflect.MakeMap(into.Type()))
	for name, value := range members {
		item := reflect.New(into.Type().Elem()).Elem()
		if err := decode(path+"/"+name, value, item); err != nil {
			return err
		}
		into.SetMapIndex(reflect.ValueOf(name).Convert(into.Type().Key()), item)
	}
	return nil
}

func decodeScalar(path string, property any, into reflect.Value) error {
	switch property.(type) {
	case map[string]any, []any:
		return mismatch(path, property, "a single value")
	}
	text := fmt.Sprint(property)
	if number, ok := property.(float64); ok {
		text = strconv.FormatFloat(number, 'f', -1, 64)
	}
	var err error
	switch kind := into.Kind(); {
	case kind == reflect.String:
		into.SetString(text)
	case kind == reflect.Bool:
		var value bool
		value, err = strconv.ParseBool(text)
		into.SetBool(value)
	case into.CanInt():
		var value int64
		value, err = strconv.ParseInt(text, 10, into.Type().Bits())
		into.SetInt(value)
	case into.CanFloat():
		var value float64
		value, err = strconv.ParseFloat(text, into.Type().Bits())
		into.SetFloat(value)
	default:
		return fmt.Errorf("property %s: a %s cannot be read", path, into.Type())
	}
	if err != nil {
		return mismatch(path, property, into.Kind().String())
	}
	return nil
}

func mismatch(path string, property any, wanted string) error {
	return fmt.Errorf("property %s: %v is not %s", path, property, wanted)
}

// AllTags returns the tags of the stack with those of the resource's own property Tags, which win.
func (r *Resource) AllTags() (map[string]string, error) {
	var own []struct{ Key, Value string }
	if err := Decode(r.Properties["Tags"], &own); err != nil {
		return nil, fmt.Errorf("tags: %w", err)
	}
	tags := map[string]string{}
	maps.Copy(tags, r.Tags)
	for _, tag := range own {
		tags[tag.Key] = tag.Value
	}
	return tags, nil
}
