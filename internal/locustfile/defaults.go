package locustfile

import "go.starlark.net/starlark"

// systemDefaults is what get_system_defaults returns: a pair, as in zae-limiter for Python, whose parts
// also have names.
type systemDefaults struct{ starlark.Tuple }

// Type implements starlark.Value.
func (*systemDefaults) Type() string { return "system_defaults" }

// Attr implements starlark.HasAttrs.
func (d *systemDefaults) Attr(name string) (starlark.Value, error) {
	switch name {
	case "limits":
		return d.Tuple[0], nil
	case "on_unavailable":
		return d.Tuple[1], nil
	}
	return nil, nil
}

// AttrNames implements starlark.HasAttrs.
func (*systemDefaults) AttrNames() []string { return []string{"limits", "on_unavailable"} }
