package locustfile

import (
	"fmt"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// limitValue is what the functions of Limit return.
type limitValue struct{ limit limiter.Limit }

func (l limitValue) String() string {
	return fmt.Sprintf("Limit(%s, capacity=%d, refill_amount=%d, refill_period_seconds=%d)",
		l.limit.Name, l.limit.Capacity, l.limit.RefillAmount, int64(l.limit.RefillPeriod/time.Second))
}
func (l limitValue) Type() string          { return "Limit" }
func (l limitValue) Freeze()               {}
func (l limitValue) Truth() starlark.Bool  { return starlark.True }
func (l limitValue) Hash() (uint32, error) { return starlark.String(l.String()).Hash() }

// AttrNames implements starlark.HasAttrs.
func (l limitValue) AttrNames() []string {
	return []string{"capacity", "name", "refill_amount", "refill_period_seconds"}
}

// Attr implements starlark.HasAttrs.
func (l limitValue) Attr(name string) (starlark.Value, error) {
	switch name {
	case "name":
		return starlark.String(l.limit.Name), nil
	case "capacity":
		return starlark.MakeInt64(l.limit.Capacity), nil
	case "refill_amount":
		return starlark.MakeInt64(l.limit.RefillAmount), nil
	case "refill_period_seconds":
		return starlark.MakeInt64(int64(l.limit.RefillPeriod / time.Second)), nil
	}
	return nil, nil
}

func limitModule() *starlarkstruct.Module {
	members := starlark.StringDict{"custom": starlark.NewBuiltin("Limit.custom", customLimit)}
	for name, period := range map[string]time.Duration{
		"per_second": time.Second, "per_minute": time.Minute, "per_hour": time.Hour, "per_day": 24 * time.Hour,
	} {
		members[name] = starlark.NewBuiltin("Limit."+name, func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
			var limit string
			var rate int64
			var burst starlark.Value
			if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &limit, "rate", &rate, "burst?", &burst); err != nil {
				return nil, err
			}
			made := limiter.Custom(limit, rate, rate, period)
			if burst != nil && burst != starlark.None {
				n, err := wholeNumber(burst)
				if err != nil {
					return nil, fmt.Errorf("%s: burst: %w", b.Name(), err)
				}
				made = made.WithBurst(n)
			}
			return checkedLimit(b, made)
		})
	}
	return &starlarkstruct.Module{Name: "Limit", Members: members}
}

func customLimit(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var name string
	var capacity, amount, period int64
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "name", &name, "capacity", &capacity, "refill_amount", &amount, "refill_period_seconds", &period); err != nil {
		return nil, err
	}
	if period < 0 || period > 1e9 {
		return nil, fmt.Errorf("%s: refill_period_seconds must be from 1 to 1e9, got %d", b.Name(), period)
	}
	return checkedLimit(b, limiter.Custom(name, capacity, amount, time.Duration(period)*time.Second))
}

func checkedLimit(b *starlark.Builtin, l limiter.Limit) (starlark.Value, error) {
	if err := l.Validate(); err != nil {
		return nil, fmt.Errorf("%s: %w", b.Name(), err)
	}
	return limitValue{l}, nil
}

func wholeNumber(v starlark.Value) (int64, error) {
	n, ok := v.(starlark.Int)
	if !ok {
		return 0, fmt.Errorf("want a whole number, got %s", v.Type())
	}
	i, ok := n.Int64()
	if !ok {
		return 0, fmt.Errorf("the number %s is too large", n)
	}
	return i, nil
}

// limitsOf reads a list of limits; None and nil are none.
func limitsOf(v starlark.Value) ([]limiter.Limit, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	list, ok := v.(starlark.Iterable)
	if !ok {
		return nil, fmt.Errorf("limits must be a list, got %s", v.Type())
	}
	limits := []limiter.Limit{}
	for element := range starlark.Elements(list) {
		l, ok := element.(limitValue)
		if !ok {
			return nil, fmt.Errorf("limits must be made by Limit.per_minute(…) and the like, got a %s", element.Type())
		}
		limits = append(limits, l.limit)
	}
	return limits, nil
}

func limitList(limits []limiter.Limit) *starlark.List {
	list := make([]starlark.Value, len(limits))
	for i, l := range limits {
		list[i] = limitValue{l}
	}
	return starlark.NewList(list)
}

// amountsOf reads a map from limit names to whole numbers.
func amountsOf(v starlark.Value, what string) (limiter.Amounts, error) {
	d, ok := v.(starlark.IterableMapping)
	if !ok {
		return nil, fmt.Errorf("%s must be a map of limit names to numbers, got %s", what, v.Type())
	}
	amounts := limiter.Amounts{}
	for _, item := range d.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("%s: limit names must be strings, got %s", what, item[0].Type())
		}
		n, err := wholeNumber(item[1])
		if err != nil {
			return nil, fmt.Errorf("%s[%q]: %w", what, name, err)
		}
		amounts[name] = n
	}
	return amounts, nil
}

func amountsDict(amounts limiter.Amounts) *starlark.Dict {
	d := starlark.NewDict(len(amounts))
	for _, name := range sortedKeys(amounts) {
		_ = d.SetKey(starlark.String(name), starlark.MakeInt64(amounts[name]))
	}
	return d
}
