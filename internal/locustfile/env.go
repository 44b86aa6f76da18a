package locustfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// envValue is env: what all users of a process and its listeners share.
type envValue struct {
	session  *session // of the user; nil in events
	env      *loadtest.Env
	writable bool // env.shared can be set
}

func (e *envValue) String() string        { return "<env of run " + e.env.RunID() + ">" }
func (e *envValue) Type() string          { return "env" }
func (e *envValue) Freeze()               {}
func (e *envValue) Truth() starlark.Bool  { return starlark.True }
func (e *envValue) Hash() (uint32, error) { return 0, errors.New("env is not hashable") }

var envNames = []string{"client", "environ", "host", "log", "options", "run_id", "run_time", "seed", "shared", "state", "stop_test", "worker_count", "worker_index"}

// AttrNames implements starlark.HasAttrs.
func (e *envValue) AttrNames() []string { return envNames }

// Attr implements starlark.HasAttrs.
func (e *envValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "run_id":
		return starlark.String(e.env.RunID()), nil
	case "seed":
		return starlark.MakeUint64(e.env.Seed()), nil
	case "host":
		return starlark.String(e.env.Host()), nil
	case "run_time":
		return starlark.Float(e.env.RunTime().Seconds()), nil
	case "worker_index":
		return starlark.MakeInt(e.env.WorkerIndex()), nil
	case "worker_count":
		return starlark.MakeInt(e.env.WorkerCount()), nil
	case "options":
		return optionsValue(e.env.Options()), nil
	case "shared":
		return &sharedValue{e.env, e.writable}, nil
	case "client":
		return clientValue{e.session}, nil
	case "environ":
		return starlark.NewBuiltin("environ", environ), nil
	case "stop_test":
		return starlark.NewBuiltin("stop_test", stopTest), nil
	case "log":
		return starlark.NewBuiltin("log", logMessage), nil
	case "state":
		return starlark.NewBuiltin("state", e.state), nil
	}
	return nil, nil
}

func environ(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var fallback starlark.Value = starlark.None
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "default?", &fallback); err != nil {
		return nil, err
	}
	s := sessionOf(thread)
	if s == nil {
		return fallback, nil
	}
	if value, ok := s.file.getenv(name); ok {
		return starlark.String(value), nil
	}
	return fallback, nil
}

func logMessage(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if len(args) != 1 {
		return nil, fmt.Errorf("log: want one message and named fields, got %d positional arguments", len(args))
	}
	s, err := running(thread)
	if err != nil {
		return nil, err
	}
	message, ok := starlark.AsString(args[0])
	if !ok {
		message = args[0].String()
	}
	var fields []any
	for _, kw := range kwargs {
		name, _ := starlark.AsString(kw[0])
		if text, ok := starlark.AsString(kw[1]); ok {
			fields = append(fields, name, text)
		} else {
			fields = append(fields, name, kw[1].String())
		}
	}
	s.env.Logger().Info(message, fields...)
	return starlark.None, nil
}

func (e *envValue) state(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var initial starlark.Value = starlark.None
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "default?", &initial); err != nil {
		return nil, err
	}
	if err := shareable(initial, 0); err != nil {
		return nil, fmt.Errorf("state: %w", err)
	}
	initial.Freeze()
	return &cellValue{name, e.env.Cell(name, initial)}, nil
}

// cellValue is a value that the users of a process share; what is put into it is frozen.
type cellValue struct {
	name string
	cell *loadtest.Cell
}

func (c *cellValue) String() string        { return "<state " + c.name + ">" }
func (c *cellValue) Type() string          { return "state" }
func (c *cellValue) Freeze()               {}
func (c *cellValue) Truth() starlark.Bool  { return starlark.True }
func (c *cellValue) Hash() (uint32, error) { return starlark.String(c.name).Hash() }

// AttrNames implements starlark.HasAttrs.
func (c *cellValue) AttrNames() []string { return []string{"add", "compare_and_set", "get", "set"} }

// Attr implements starlark.HasAttrs.
func (c *cellValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "get":
		return starlark.NewBuiltin(name, c.get), nil
	case "set":
		return starlark.NewBuiltin(name, c.set), nil
	case "add":
		return starlark.NewBuiltin(name, c.add), nil
	case "compare_and_set":
		return starlark.NewBuiltin(name, c.compareAndSet), nil
	}
	return nil, nil
}

func (c *cellValue) get(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return c.cell.Get().(starlark.Value), nil
}

func (c *cellValue) set(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var value starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "value", &value); err != nil {
		return nil, err
	}
	if err := shareable(value, 0); err != nil {
		return nil, fmt.Errorf("set: %w", err)
	}
	value.Freeze()
	c.cell.Set(value)
	return starlark.None, nil
}

func (c *cellValue) add(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var n starlark.Value = starlark.MakeInt(1)
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "n?", &n); err != nil {
		return nil, err
	}
	sum, err := c.cell.Update(func(old any) (any, error) {
		have := old.(starlark.Value)
		if have == starlark.None {
			have = starlark.MakeInt(0)
		}
		added, err := starlark.Binary(plus, have, n)
		if err == nil {
			err = shareable(added, 0)
		}
		if err == nil {
			added.Freeze()
		}
		return added, err
	})
	if err != nil {
		return nil, err
	}
	return sum.(starlark.Value), nil
}

func (c *cellValue) compareAndSet(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var old, value starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "old", &old, "new", &value); err != nil {
		return nil, err
	}
	if err := shareable(value, 0); err != nil {
		return nil, fmt.Errorf("compare_and_set: %w", err)
	}
	value.Freeze()
	swapped := false
	_, err := c.cell.Update(func(have any) (any, error) {
		equal, err := starlark.Equal(have.(starlark.Value), old)
		if swapped = equal && err == nil; swapped {
			return value, nil
		}
		return have, err
	})
	return starlark.Bool(swapped), err
}

// shareable refuses what users of several cores cannot have in common: only data, which is frozen,
// can be kept in a cell.
func shareable(v starlark.Value, depth int) error {
	if depth > maxJSONDepth {
		return errors.New("the value is nested too deeply")
	}
	switch v := v.(type) {
	case starlark.NoneType, starlark.Bool, starlark.Int, starlark.Float, starlark.String, starlark.Bytes, limitValue:
		return nil
	case *starlark.List, starlark.Tuple, *starlark.Dict, *starlark.Set:
		for _, inner := range inside(v) {
			if err := shareable(inner, depth+1); err != nil {
				return err
			}
		}
		return nil
	}
	return fmt.Errorf("a %s cannot be shared: want None, numbers, strings, or lists, maps and sets of them", v.Type())
}

// optionsValue is env.options: the custom values of the command line.
type optionsValue map[string]string

func (o optionsValue) String() string        { return "<options>" }
func (o optionsValue) Type() string          { return "options" }
func (o optionsValue) Freeze()               {}
func (o optionsValue) Truth() starlark.Bool  { return len(o) > 0 }
func (o optionsValue) Hash() (uint32, error) { return 0, errors.New("options are not hashable") }

// AttrNames implements starlark.HasAttrs.
func (o optionsValue) AttrNames() []string {
	names := append(slices.Collect(maps.Keys(o)), "get")
	slices.Sort(names)
	return names
}

// Attr implements starlark.HasAttrs.
func (o optionsValue) Attr(name string) (starlark.Value, error) {
	if name == "get" {
		return starlark.NewBuiltin("get", o.get), nil
	}
	if value, ok := o[name]; ok {
		return starlark.String(value), nil
	}
	return nil, nil
}

// Get implements starlark.Mapping.
func (o optionsValue) Get(key starlark.Value) (starlark.Value, bool, error) {
	name, _ := starlark.AsString(key)
	value, ok := o[name]
	return starlark.String(value), ok, nil
}

func (o optionsValue) get(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var fallback starlark.Value = starlark.None
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "default?", &fallback); err != nil {
		return nil, err
	}
	if value, ok := o[name]; ok {
		return starlark.String(value), nil
	}
	return fallback, nil
}
