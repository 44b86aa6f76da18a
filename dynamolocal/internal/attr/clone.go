package attr

import (
	"strings"
	"unsafe"
)

// shareLimit is the length up to which the strings of one item share an
// allocation. Longer ones have their own, so that an old allocation which a
// short value still needs never holds much else.
const shareLimit = 256

// Arena copies the strings of values into one buffer.
type Arena struct{ buf []byte }

// Own returns v with every string copied out of whatever buffer it was
// decoded from. Values decoded from a request's body must be owned before
// they are stored.
func (a *Arena) Own(v Value) Value {
	switch v.kind {
	case S:
		return String(a.text(v.Text()))
	case B:
		return Binary(a.text(v.Text()))
	case SS, BS:
		members := v.Strings()
		out := make([]string, len(members))
		for i, m := range members {
			out[i] = strings.Clone(m)
		}
		return stringsOf(v.kind, out)
	case L:
		elems := v.Values()
		out := make([]Value, len(elems))
		for i, e := range elems {
			out[i] = a.Own(e)
		}
		return ListOf(out)
	case M:
		m := v.Map()
		out := &Map{names: &Names{list: make([]string, m.Len())}, vals: make([]Value, m.Len()), size: m.size}
		for i, e := range m.vals {
			out.names.list[i], out.vals[i] = strings.Clone(m.names.list[i]), a.Own(e)
		}
		return MapOf(out)
	}
	return v
}

// OwnItem owns every value of m in place; m must not be shared yet, and its
// names must come from a Shapes.
func (a *Arena) OwnItem(m *Map) {
	total := 0
	for _, v := range m.vals {
		if (v.kind == S || v.kind == B) && v.n <= shareLimit {
			total += int(v.n)
		}
	}
	a.buf = make([]byte, 0, total)
	for i, v := range m.vals {
		m.vals[i] = a.Own(v)
	}
}

func (a *Arena) text(s string) string {
	if len(s) == 0 {
		return ""
	}
	if len(s) > shareLimit || len(a.buf)+len(s) > cap(a.buf) {
		return strings.Clone(s)
	}
	start := len(a.buf)
	a.buf = append(a.buf, s...)
	return unsafe.String(&a.buf[start], len(s))
}

// OwnNew owns the values of m that are not those of old, from which m was drafted; m must not be
// shared yet.
func (a *Arena) OwnNew(old, m *Map) {
	for i, v := range m.vals {
		switch v.kind {
		case Invalid, N, BOOL, NULL:
			continue
		}
		if m.names == old.names && i < len(old.vals) && same(old.vals[i], v) {
			continue
		}
		if m.names != old.names && same(old.Get(m.names.list[i]), v) {
			continue
		}
		m.vals[i] = a.Own(v)
	}
}

// same reports whether two values are one in memory.
func same(a, b Value) bool { return a.p == b.p && a.n == b.n && a.kind == b.kind && a.exp == b.exp }
