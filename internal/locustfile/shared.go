package locustfile

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

const plus = syntax.PLUS

// sharedValue is env.shared: JSON values that on_test_start gives to all workers. Values are copied
// on their way in and out, so that nobody can change what others see.
type sharedValue struct {
	env      *loadtest.Env
	writable bool
}

var (
	_ starlark.HasSetKey       = (*sharedValue)(nil)
	_ starlark.HasAttrs        = (*sharedValue)(nil)
	_ starlark.IterableMapping = (*sharedValue)(nil)
)

func (s *sharedValue) String() string        { return s.dict().String() }
func (s *sharedValue) Type() string          { return "shared" }
func (s *sharedValue) Freeze()               {}
func (s *sharedValue) Truth() starlark.Bool  { return len(s.env.AllShared()) > 0 }
func (s *sharedValue) Hash() (uint32, error) { return 0, errors.New("shared values are not hashable") }

func (s *sharedValue) dict() *starlark.Dict {
	all := s.env.AllShared()
	d := starlark.NewDict(len(all))
	for _, name := range slices.Sorted(maps.Keys(all)) {
		_ = d.SetKey(starlark.String(name), fromJSON(all[name]))
	}
	return d
}

// Get implements starlark.Mapping.
func (s *sharedValue) Get(key starlark.Value) (starlark.Value, bool, error) {
	name, ok := starlark.AsString(key)
	if !ok {
		return nil, false, nil
	}
	value, ok := s.env.Shared(name)
	if !ok {
		return nil, false, nil
	}
	return fromJSON(value), true, nil
}

// SetKey implements starlark.HasSetKey.
func (s *sharedValue) SetKey(key, value starlark.Value) error {
	name, ok := starlark.AsString(key)
	if !ok {
		return fmt.Errorf("env.shared: names must be strings, got %s", key.Type())
	}
	if !s.writable {
		return fmt.Errorf("env.shared is read-only here: %q can be set in on_test_start only", name)
	}
	converted, err := toJSON(value, 0)
	if err != nil {
		return fmt.Errorf("env.shared[%q]: %w", name, err)
	}
	return s.env.Share(name, converted)
}

// Len implements starlark.Sequence.
func (s *sharedValue) Len() int { return len(s.env.AllShared()) }

// Items implements starlark.IterableMapping.
func (s *sharedValue) Items() []starlark.Tuple { return s.dict().Items() }

// Iterate implements starlark.Iterable.
func (s *sharedValue) Iterate() starlark.Iterator { return s.dict().Iterate() }

// AttrNames implements starlark.HasAttrs.
func (s *sharedValue) AttrNames() []string {
	return []string{"get", "items", "keys", "setdefault", "update", "values"}
}

// Attr implements starlark.HasAttrs: the methods of a dict that read it or add to it.
func (s *sharedValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "get", "items", "keys", "values":
		return s.dict().Attr(name)
	case "setdefault":
		return starlark.NewBuiltin(name, s.setDefault), nil
	case "update":
		return starlark.NewBuiltin(name, s.update), nil
	}
	return nil, nil
}

func (s *sharedValue) setDefault(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var key string
	var fallback starlark.Value = starlark.None
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "key", &key, "default?", &fallback); err != nil {
		return nil, err
	}
	if have, ok := s.env.Shared(key); ok {
		return fromJSON(have), nil
	}
	return fallback, s.SetKey(starlark.String(key), fallback)
}

// update sets the values of a map, and those given by name.
func (s *sharedValue) update(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	items := kwargs
	if len(args) > 1 {
		return nil, fmt.Errorf("update: want one map, got %d arguments", len(args))
	}
	if len(args) == 1 {
		given, ok := args[0].(starlark.IterableMapping)
		if !ok {
			return nil, fmt.Errorf("update: want a map, got %s", args[0].Type())
		}
		items = append(given.Items(), kwargs...)
	}
	for _, item := range items {
		if err := s.SetKey(item[0], item[1]); err != nil {
			return nil, err
		}
	}
	return starlark.None, nil
}

// maxJSONDepth bounds the nesting of shared values.
const maxJSONDepth = 100

// toJSON converts to nil, bool, int64, float64, string, []any and map[string]any.
func toJSON(v starlark.Value, depth int) (any, error) {
	if depth > maxJSONDepth {
		return nil, errors.New("the value is nested too deeply")
	}
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, nil
	case starlark.Bool:
		return bool(v), nil
	case starlark.String:
		return string(v), nil
	case starlark.Float:
		if math.IsNaN(float64(v)) || math.IsInf(float64(v), 0) {
			return nil, fmt.Errorf("%s is no JSON number", v)
		}
		return float64(v), nil
	case starlark.Int:
		if i, ok := v.Int64(); ok {
			return i, nil
		}
		return nil, fmt.Errorf("the number %s is too large", v)
	case starlark.IterableMapping:
		out := map[string]any{}
		for _, item := range v.Items() {
			name, ok := starlark.AsString(item[0])
			if !ok {
				return nil, fmt.Errorf("names must be strings, got %s", item[0].Type())
			}
			inner, err := toJSON(item[1], depth+1)
			if err != nil {
				return nil, err
			}
			out[name] = inner
		}
		return out, nil
	case *starlark.List, starlark.Tuple:
		out := []any{}
		for element := range starlark.Elements(v.(starlark.Iterable)) {
			inner, err := toJSON(element, depth+1)
			if err != nil {
				return nil, err
			}
			out = append(out, inner)
		}
		return out, nil
	}
	return nil, fmt.Errorf("a %s is no JSON value", v.Type())
}

// fromJSON makes a frozen value.
func fromJSON(v any) starlark.Value {
	var out starlark.Value
	switch v := v.(type) {
	case nil:
		return starlark.None
	case bool:
		return starlark.Bool(v)
	case string:
		return starlark.String(v)
	case int64:
		return starlark.MakeInt64(v)
	case int:
		return starlark.MakeInt(v)
	case float64:
		return starlark.Float(v)
	case []any:
		list := make([]starlark.Value, len(v))
		for i, element := range v {
			list[i] = fromJSON(element)
		}
		out = starlark.NewList(list)
	case map[string]any:
		d := starlark.NewDict(len(v))
		for _, name := range slices.Sorted(maps.Keys(v)) {
			_ = d.SetKey(starlark.String(name), fromJSON(v[name]))
		}
		out = d
	default:
		return starlark.String(fmt.Sprint(v))
	}
	out.Freeze()
	return out
}
