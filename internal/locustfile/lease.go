package locustfile

import (
	"errors"
	"fmt"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// leaseValue is what acquire returns.
type leaseValue struct {
	lease   *loadclient.Lease
	session *session
	number  int // among the leases of the session
}

func (l *leaseValue) String() string {
	if !l.lease.Granted() {
		return "<lease, not granted>"
	}
	return "<lease>"
}
func (l *leaseValue) Type() string          { return "lease" }
func (l *leaseValue) Freeze()               {}
func (l *leaseValue) Truth() starlark.Bool  { return starlark.Bool(l.lease.Granted()) }
func (l *leaseValue) Hash() (uint32, error) { return 0, errors.New("a lease is not hashable") }

// AttrNames implements starlark.HasAttrs.
func (l *leaseValue) AttrNames() []string {
	return []string{"adjust", "close", "consume", "consumed", "exceeded", "granted", "release", "retry_after"}
}

// Attr implements starlark.HasAttrs.
func (l *leaseValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "granted":
		return starlark.Bool(l.lease.Granted()), nil
	case "retry_after":
		if l.lease.Granted() {
			return starlark.Float(0), nil
		}
		return starlark.Float(l.lease.Exceeded.RetryAfter().Seconds()), nil
	case "exceeded":
		return l.exceeded(), nil
	case "consumed":
		return amountsDict(l.lease.Consumed()), nil
	case "consume":
		return starlark.NewBuiltin(name, l.consume), nil
	case "adjust":
		return starlark.NewBuiltin(name, l.change((*loadclient.Lease).Adjust)), nil
	case "release":
		return starlark.NewBuiltin(name, l.change((*loadclient.Lease).Release)), nil
	case "close":
		return starlark.NewBuiltin(name, l.close), nil
	}
	return nil, nil
}

func (l *leaseValue) exceeded() starlark.Value {
	var list []starlark.Value
	if !l.lease.Granted() {
		for _, v := range l.lease.Exceeded.Violations() {
			list = append(list, structOf(starlark.StringDict{
				"limit": starlark.String(v.Limit.Name), "entity_id": starlark.String(v.EntityID),
				"available": starlark.MakeInt64(v.Available), "requested": starlark.MakeInt64(v.Requested),
				"retry_after": starlark.Float(v.RetryAfter.Seconds()),
			}))
		}
	}
	return starlark.NewList(list)
}

// usable refuses calls on leases that hold nothing.
func (l *leaseValue) usable(call string) error {
	if !l.lease.Granted() {
		return fmt.Errorf("lease.%s: the lease was not granted, a limit was exceeded; look at lease.granted first", call)
	}
	if !l.lease.Open() {
		return fmt.Errorf("lease.%s: the lease was closed already", call)
	}
	return nil
}

// namedAmounts reads arguments such as tpm=5; a map as the only argument serves limits whose names
// are no identifiers.
func namedAmounts(call string, args starlark.Tuple, kwargs []starlark.Tuple) (limiter.Amounts, error) {
	amounts := limiter.Amounts{}
	if len(args) == 1 {
		var err error
		if amounts, err = amountsOf(args[0], "amounts"); err != nil {
			return nil, fmt.Errorf("lease.%s: %w", call, err)
		}
	} else if len(args) > 1 {
		return nil, fmt.Errorf("lease.%s: want amounts by limit name, such as tpm=5", call)
	}
	for _, kw := range kwargs {
		name, _ := starlark.AsString(kw[0])
		n, err := wholeNumber(kw[1])
		if err != nil {
			return nil, fmt.Errorf("lease.%s: %s: %w", call, name, err)
		}
		amounts[name] = n
	}
	return amounts, nil
}

func (l *leaseValue) consume(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	amounts, err := namedAmounts("consume", args, kwargs)
	if err != nil {
		return nil, err
	}
	if err := l.usable("consume"); err != nil {
		return nil, err
	}
	granted, err := l.lease.Consume(amounts)
	return starlark.Bool(granted), err
}

func (l *leaseValue) change(call func(*loadclient.Lease, limiter.Amounts) error) func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		amounts, err := namedAmounts(b.Name(), args, kwargs)
		if err != nil {
			return nil, err
		}
		if err := l.usable(b.Name()); err != nil {
			return nil, err
		}
		return starlark.None, call(l.lease, amounts)
	}
}

func (l *leaseValue) close(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	if !l.lease.Granted() {
		return nil, l.usable("close")
	}
	return starlark.None, l.lease.Close(l.session.ctx)
}
