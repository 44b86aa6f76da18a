package locustfile

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// scriptUser is a user as its functions see it. One goroutine at a time runs a user.
type scriptUser struct {
	user    *loadtest.User
	file    *File
	session *session // while one of its functions runs
	attrs   []attribute
}

type attribute struct {
	name  string
	value starlark.Value
}

// userOf returns the script's view of a user, making it at the first use.
func (f *File) userOf(u *loadtest.User) *scriptUser {
	if have, ok := u.State.(*scriptUser); ok {
		return have
	}
	made := &scriptUser{user: u, file: f}
	u.State = made
	return made
}

var (
	_ starlark.HasAttrs    = (*scriptUser)(nil)
	_ starlark.HasSetField = (*scriptUser)(nil)
)

func (u *scriptUser) String() string        { return "<user " + u.user.ID() + ">" }
func (u *scriptUser) Type() string          { return "user" }
func (u *scriptUser) Freeze()               {}
func (u *scriptUser) Truth() starlark.Bool  { return starlark.True }
func (u *scriptUser) Hash() (uint32, error) { return uint32(u.user.Index()), nil }

// builtinUserNames cannot be assigned.
var builtinUserNames = []string{"class_name", "client", "env", "host", "id", "index", "interrupt", "random", "stop", "stop_test"}

// AttrNames implements starlark.HasAttrs.
func (u *scriptUser) AttrNames() []string {
	names := slices.Clone(builtinUserNames)
	for _, a := range u.attrs {
		names = append(names, a.name)
	}
	slices.Sort(names)
	return names
}

// Attr implements starlark.HasAttrs.
func (u *scriptUser) Attr(name string) (starlark.Value, error) {
	for i := range u.attrs {
		if u.attrs[i].name == name {
			return u.attrs[i].value, nil
		}
	}
	switch name {
	case "client":
		return clientValue{u.session}, nil
	case "index":
		return starlark.MakeInt64(u.user.Index()), nil
	case "id":
		return starlark.String(u.user.ID()), nil
	case "class_name":
		return starlark.String(u.user.ClassName()), nil
	case "host":
		return starlark.String(u.user.Host()), nil
	case "env":
		return &envValue{session: u.session, env: u.user.Env()}, nil
	case "random":
		return &randomValue{}, nil
	case "interrupt":
		return starlark.NewBuiltin("interrupt", interrupt), nil
	case "stop":
		return starlark.NewBuiltin("stop", stopUser), nil
	case "stop_test":
		return starlark.NewBuiltin("stop_test", stopTest), nil
	}
	return nil, nil
}

// SetField implements starlark.HasSetField.
func (u *scriptUser) SetField(name string, value starlark.Value) error {
	if slices.Contains(builtinUserNames, name) {
		return fmt.Errorf("user.%s cannot be assigned", name)
	}
	for i := range u.attrs {
		if u.attrs[i].name == name {
			u.attrs[i].value = value
			return nil
		}
	}
	if u.attrs == nil {
		u.attrs = make([]attribute, 0, 1)
	}
	u.attrs = append(u.attrs, attribute{name, value})
	return nil
}

func interrupt(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	reschedule := true
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "reschedule?", &reschedule); err != nil {
		return nil, err
	}
	return nil, &controlError{loadtest.Interrupt(reschedule)}
}

func stopUser(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return nil, &controlError{loadtest.ErrStopUser}
}

func stopTest(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	reason := ""
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "reason?", &reason); err != nil {
		return nil, err
	}
	s, err := running(thread)
	if err != nil {
		return nil, err
	}
	if reason == "" {
		reason = "the locustfile stopped the test"
	}
	if s.user == nil {
		s.env.StopTest(reason)
		return starlark.None, nil
	}
	return nil, &controlError{loadtest.StopTest(reason)}
}
