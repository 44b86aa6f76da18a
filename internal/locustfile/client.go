package locustfile

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/limiter"
)

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// clientValue is user.client, and env.client in events.
type clientValue struct{ session *session }

func (c clientValue) String() string        { return "<client>" }
func (c clientValue) Type() string          { return "client" }
func (c clientValue) Freeze()               {}
func (c clientValue) Truth() starlark.Bool  { return starlark.True }
func (c clientValue) Hash() (uint32, error) { return 0, errors.New("a client is not hashable") }

// AttrNames implements starlark.HasAttrs.
func (c clientValue) AttrNames() []string { return sortedKeys(clientMethods) }

// Attr implements starlark.HasAttrs.
func (c clientValue) Attr(name string) (starlark.Value, error) {
	if method := clientMethods[name]; method != nil {
		return method, nil
	}
	return nil, nil
}

// method is a call of the client: it unpacks its arguments and makes the call.
type method func(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error)

// clientMethods are stateless: they find the session of their thread.
var clientMethods map[string]*starlark.Builtin

func init() {
	clientMethods = map[string]*starlark.Builtin{}
	for name, m := range map[string]struct {
		call method
		// resource is where the resource stands among the arguments, after which the row is called; -1: nowhere.
		resource int
		row      string // without a resource
	}{
		"acquire":                      {acquire, 1, loadclient.UnknownRow},
		"available":                    {available, 1, loadclient.UnknownRow},
		"check_availability":           {checkAvailability, 1, loadclient.UnknownRow},
		"time_until_available":         {timeUntilAvailable, 1, loadclient.UnknownRow},
		"is_available":                 {isAvailable, -1, loadclient.SystemRow},
		"create_entity":                {createEntity, -1, loadclient.EntityRow},
		"get_entity":                   {getEntity, -1, loadclient.EntityRow},
		"delete_entity":                {deleteEntity, -1, loadclient.EntityRow},
		"get_children":                 {getChildren, -1, loadclient.EntityRow},
		"set_limits":                   {setLimits, 2, limiter.DefaultResource},
		"get_limits":                   {getLimits, 1, limiter.DefaultResource},
		"delete_limits":                {deleteLimits, 1, limiter.DefaultResource},
		"set_resource_defaults":        {setResourceDefaults, 0, loadclient.UnknownRow},
		"get_resource_defaults":        {getResourceDefaults, 0, loadclient.UnknownRow},
		"delete_resource_defaults":     {deleteResourceDefaults, 0, loadclient.UnknownRow},
		"list_resources_with_defaults": {listResourcesWithDefaults, -1, loadclient.SystemRow},
		"set_system_defaults":          {setSystemDefaults, -1, loadclient.SystemRow},
		"get_system_defaults":          {getSystemDefaults, -1, loadclient.SystemRow},
		"delete_system_defaults":       {deleteSystemDefaults, -1, loadclient.SystemRow},
	} {
		clientMethods[name] = starlark.NewBuiltin(name, func(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			s, err := running(thread)
			if err != nil {
				return nil, err
			}
			c, err := s.caller()
			if err != nil {
				return nil, err
			}
			value, err := m.call(s, c, b, args, kwargs)
			if err != nil && !isFailure(err) {
				return nil, c.Refuse(strings.ToUpper(name), refusedRow(name, m.resource, m.row, args, kwargs), placeOf(thread), err)
			}
			return value, err
		})
	}
}

func isFailure(err error) bool {
	_, ok := errors.AsType[*loadclient.Failure](err)
	return ok
}

// refusedRow names the row of a call whose arguments cannot be used, by those that can.
func refusedRow(method string, resource int, row string, args starlark.Tuple, kwargs []starlark.Tuple) string {
	if resource >= 0 && resource < len(args) {
		if text, ok := starlark.AsString(args[resource]); ok {
			row = text
		}
	}
	for _, kwarg := range kwargs {
		key, _ := starlark.AsString(kwarg[0])
		text, ok := starlark.AsString(kwarg[1])
		switch {
		case !ok || text == "":
		case key == "name" && method != "create_entity":
			return text
		case key == "resource" && resource >= 0:
			row = text
		}
	}
	return row
}

// placeOf names the place of the file that calls a built-in, by way of attempt or with_timer or not.
func placeOf(thread *starlark.Thread) string {
	depth := 1
	for depth < thread.CallStackDepth()-1 && thread.CallFrame(depth).Pos.Filename() == "<builtin>" {
		depth++
	}
	frame := thread.CallFrame(depth)
	return frame.Pos.String() + " in " + frame.Name
}

// row is the optional name of a call's row.
type row struct{ text string }

// Unpack implements starlark.Unpacker; None is no name.
func (r *row) Unpack(v starlark.Value) error {
	if v == starlark.None {
		return nil
	}
	text, ok := starlark.AsString(v)
	if !ok {
		return fmt.Errorf("got %s, want string", v.Type())
	}
	r.text = text
	return nil
}

func acquire(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var req limiter.Request
	var consume, limits, also starlark.Value
	var name row
	err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &req.EntityID, "resource", &req.Resource, "consume", &consume,
		"limits?", &limits, "also?", &also, "name?", &name)
	if err != nil {
		return nil, err
	}
	if req.Consume, err = amountsOf(consume, "consume"); err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	if req.Limits, err = limitsOf(limits); err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	if req.Also, err = alsoOf(also); err != nil {
		return nil, fmt.Errorf("acquire: %w", err)
	}
	lease, err := c.Acquire(s.ctx, req, name.text)
	if err != nil {
		return nil, err
	}
	value := &leaseValue{lease: lease, session: s}
	if lease.Granted() {
		s.keep(value)
	}
	return value, nil
}

// alsoOf reads a map from further resources to what is consumed of them; None and nil are none.
func alsoOf(v starlark.Value) (map[string]limiter.Amounts, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, fmt.Errorf("also must be a map of resources to maps of limit names to numbers, got %s", v.Type())
	}
	also := map[string]limiter.Amounts{}
	for _, item := range d.Items() {
		resource, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("also: resources must be strings, got %s", item[0].Type())
		}
		amounts, err := amountsOf(item[1], fmt.Sprintf("also[%q]", resource))
		if err != nil {
			return nil, err
		}
		also[resource] = amounts
	}
	return also, nil
}

func available(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var entity, resource string
	var limits starlark.Value
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &entity, "resource", &resource, "limits?", &limits, "name?", &name); err != nil {
		return nil, err
	}
	list, err := limitsOf(limits)
	if err != nil {
		return nil, fmt.Errorf("available: %w", err)
	}
	amounts, err := c.Available(s.ctx, entity, resource, list, name.text)
	if err != nil {
		return nil, err
	}
	return amountsDict(amounts), nil
}

func neededOf(v starlark.Value) (limiter.Amounts, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	return amountsOf(v, "needed")
}

func checkAvailability(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var entity, resource string
	var needed starlark.Value
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &entity, "resource", &resource, "needed?", &needed, "name?", &name); err != nil {
		return nil, err
	}
	amounts, err := neededOf(needed)
	if err != nil {
		return nil, fmt.Errorf("check_availability: %w", err)
	}
	a, err := c.CheckAvailability(s.ctx, entity, resource, amounts, name.text)
	if err != nil {
		return nil, err
	}
	return structOf(starlark.StringDict{
		"available": amountsDict(a.Available), "wait": starlark.Float(a.Wait.Seconds()),
	}), nil
}

func timeUntilAvailable(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var entity, resource string
	var needed, limits starlark.Value
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &entity, "resource", &resource, "needed", &needed, "limits?", &limits, "name?", &name); err != nil {
		return nil, err
	}
	amounts, err := amountsOf(needed, "needed")
	if err != nil {
		return nil, fmt.Errorf("time_until_available: %w", err)
	}
	list, err := limitsOf(limits)
	if err != nil {
		return nil, fmt.Errorf("time_until_available: %w", err)
	}
	wait, err := c.TimeUntilAvailable(s.ctx, entity, resource, amounts, list, name.text)
	if err != nil {
		return nil, err
	}
	return starlark.Float(wait.Seconds()), nil
}

func isAvailable(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var timeout starlark.Value = starlark.Float(1)
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "timeout?", &timeout, "name?", &name); err != nil {
		return nil, err
	}
	limit, ok := starlark.AsFloat(timeout)
	if !ok || limit <= 0 {
		return nil, fmt.Errorf("is_available: timeout must be a number of seconds above 0, got %s", timeout)
	}
	return starlark.Bool(c.IsAvailable(s.ctx, time.Duration(limit*float64(time.Second)), name.text)), nil
}

func structOf(members starlark.StringDict) starlark.Value {
	return starlarkstruct.FromStringDict(starlarkstruct.Default, members)
}

func entityStruct(e *limiter.Entity) starlark.Value {
	if e == nil {
		return starlark.None
	}
	var parent starlark.Value = starlark.None
	if e.ParentID != "" {
		parent = starlark.String(e.ParentID)
	}
	metadata := map[string]any{}
	maps.Copy(metadata, e.Metadata)
	return structOf(starlark.StringDict{
		"id": starlark.String(e.ID), "entity_id": starlark.String(e.ID), "name": starlark.String(e.Name),
		"parent_id": parent, "cascade": starlark.Bool(e.Cascade), "metadata": fromJSON(metadata),
	})
}

func createEntity(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var e limiter.Entity
	var name, parent row
	var metadata starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &e.ID, "name?", &name, "parent_id?", &parent, "cascade?", &e.Cascade, "metadata?", &metadata); err != nil {
		return nil, err
	}
	e.Name, e.ParentID = name.text, parent.text
	if metadata != nil && metadata != starlark.None {
		converted, err := toJSON(metadata, 0)
		if err != nil {
			return nil, fmt.Errorf("create_entity: metadata: %w", err)
		}
		m, ok := converted.(map[string]any)
		if !ok {
			return nil, fmt.Errorf("create_entity: metadata must be a map, got %s", metadata.Type())
		}
		e.Metadata = m
	}
	created, err := c.CreateEntity(s.ctx, e, "")
	if err != nil {
		return nil, err
	}
	return entityStruct(&created), nil
}

// entityCall unpacks the arguments of calls about one entity.
func entityCall(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (id string, name row, err error) {
	err = starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &id, "name?", &name)
	return id, name, err
}

func getEntity(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	id, name, err := entityCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	e, err := c.Entity(s.ctx, id, name.text)
	if err != nil {
		return nil, err
	}
	return entityStruct(e), nil
}

func deleteEntity(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	id, name, err := entityCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	return starlark.None, c.DeleteEntity(s.ctx, id, name.text)
}

func getChildren(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	id, name, err := entityCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	children, err := c.Children(s.ctx, id, name.text)
	if err != nil {
		return nil, err
	}
	list := make([]starlark.Value, len(children))
	for i := range children {
		list[i] = entityStruct(&children[i])
	}
	return starlark.NewList(list), nil
}

func setLimits(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var entity string
	var resource, name row
	var limits starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &entity, "limits", &limits, "resource?", &resource, "name?", &name); err != nil {
		return nil, err
	}
	list, err := limitsOf(limits)
	if err != nil {
		return nil, fmt.Errorf("set_limits: %w", err)
	}
	return starlark.None, c.SetLimits(s.ctx, entity, resource.text, list, name.text)
}

func entityLimitsCall(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (entity string, resource, name row, err error) {
	err = starlark.UnpackArgs(b.Name(), args, kwargs, "entity_id", &entity, "resource?", &resource, "name?", &name)
	return entity, resource, name, err
}

func getLimits(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	entity, resource, name, err := entityLimitsCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	limits, err := c.Limits(s.ctx, entity, resource.text, name.text)
	if err != nil {
		return nil, err
	}
	return limitList(limits), nil
}

func deleteLimits(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	entity, resource, name, err := entityLimitsCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	return starlark.None, c.DeleteLimits(s.ctx, entity, resource.text, name.text)
}

func setResourceDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var resource string
	var name row
	var limits, cascade starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "resource", &resource, "limits", &limits, "cascade?", &cascade, "name?", &name); err != nil {
		return nil, err
	}
	list, err := limitsOf(limits)
	if err != nil {
		return nil, fmt.Errorf("set_resource_defaults: %w", err)
	}
	policy := limiter.Unset
	switch cascade := cascade.(type) {
	case nil, starlark.NoneType:
	case starlark.Bool:
		if policy = limiter.Off; cascade {
			policy = limiter.On
		}
	default:
		return nil, fmt.Errorf("set_resource_defaults: cascade must be True, False or None, got %s", cascade.Type())
	}
	return starlark.None, c.SetResourceDefaults(s.ctx, resource, list, policy, name.text)
}

func resourceCall(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (resource string, name row, err error) {
	err = starlark.UnpackArgs(b.Name(), args, kwargs, "resource", &resource, "name?", &name)
	return resource, name, err
}

func getResourceDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	resource, name, err := resourceCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	limits, err := c.ResourceDefaults(s.ctx, resource, name.text)
	if err != nil {
		return nil, err
	}
	return limitList(limits), nil
}

func deleteResourceDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	resource, name, err := resourceCall(b, args, kwargs)
	if err != nil {
		return nil, err
	}
	return starlark.None, c.DeleteResourceDefaults(s.ctx, resource, name.text)
}

func listResourcesWithDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name?", &name); err != nil {
		return nil, err
	}
	names, err := c.ResourcesWithDefaults(s.ctx, name.text)
	if err != nil {
		return nil, err
	}
	list := make([]starlark.Value, len(names))
	for i, n := range names {
		list[i] = starlark.String(n)
	}
	return starlark.NewList(list), nil
}

func setSystemDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var mode, name row
	var limits starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "limits", &limits, "on_unavailable?", &mode, "name?", &name); err != nil {
		return nil, err
	}
	list, err := limitsOf(limits)
	if err != nil {
		return nil, fmt.Errorf("set_system_defaults: %w", err)
	}
	return starlark.None, c.SetSystemDefaults(s.ctx, list, limiter.OnUnavailable(mode.text), name.text)
}

func getSystemDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name?", &name); err != nil {
		return nil, err
	}
	defaults, err := c.SystemDefaults(s.ctx, name.text)
	if err != nil {
		return nil, err
	}
	var mode starlark.Value = starlark.None
	if defaults.OnUnavailable != "" {
		mode = starlark.String(defaults.OnUnavailable)
	}
	return &systemDefaults{Tuple: starlark.Tuple{limitList(defaults.Limits), mode}}, nil
}

func deleteSystemDefaults(s *session, c loadclient.Caller, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name row
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name?", &name); err != nil {
		return nil, err
	}
	return starlark.None, c.DeleteSystemDefaults(s.ctx, name.text)
}
