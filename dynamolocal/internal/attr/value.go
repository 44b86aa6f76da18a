// Package attr holds attribute values: compact, immutable values of the ten
// DynamoDB types, exact decimal numbers, and items as sorted attribute maps
// whose name lists are shared between items of one shape.
package attr

import (
	"cmp"
	"slices"
	"strings"
	"unsafe"
)

// Kind is the type of a value.
type Kind uint8

// The kinds, in the order in which the service lists them.
const (
	Invalid Kind = iota
	S
	N
	B
	BOOL
	NULL
	SS
	NS
	BS
	L
	M
)

var kindNames = [...]string{"", "S", "N", "B", "BOOL", "NULL", "SS", "NS", "BS", "L", "M"}

// longNames are the names that the service's operand errors use.
var longNames = [...]string{"", "STRING", "NUMBER", "BINARY", "BOOLEAN", "NULL", "STRING_SET", "NUMBER_SET", "BINARY_SET", "LIST", "MAP"}

// String is the type descriptor: S, N, B, …
func (k Kind) String() string { return kindNames[k] }

// LongName is the spelled-out name: STRING, NUMBER, …
func (k Kind) LongName() string { return longNames[k] }

// Set reports whether k is one of the three set types.
func (k Kind) Set() bool { return k >= SS && k <= BS }

// Ordered reports whether values of k can be compared with < and >.
func (k Kind) Ordered() bool { return k == S || k == N || k == B }

// Value is one attribute value. Values are immutable and may be shared; the
// zero Value is "no value".
//
// The representation is 24 bytes, because a table holds some twenty values an
// item: p is the data of a string, or the box of a set, list, map or number
// that does not fit; n is a length, a boolean or a coefficient.
type Value struct {
	p    unsafe.Pointer
	n    uint64
	kind Kind
	exp  int16
}

// String returns an S value.
func String(s string) Value {
	return Value{p: unsafe.Pointer(unsafe.StringData(s)), n: uint64(len(s)), kind: S}
}

// Binary returns a B value of the bytes in s.
func Binary(s string) Value {
	return Value{p: unsafe.Pointer(unsafe.StringData(s)), n: uint64(len(s)), kind: B}
}

// Bool returns a BOOL value.
func Bool(b bool) Value {
	if b {
		return Value{n: 1, kind: BOOL}
	}
	return Value{kind: BOOL}
}

// Null returns the NULL value.
func Null() Value { return Value{kind: NULL} }

// ListOf returns an L value that owns elems.
func ListOf(elems []Value) Value { return Value{p: unsafe.Pointer(&elems), kind: L} }

// MapOf returns an M value.
func MapOf(m *Map) Value { return Value{p: unsafe.Pointer(m), kind: M} }

func stringsOf(k Kind, members []string) Value { return Value{p: unsafe.Pointer(&members), kind: k} }
func numbersOf(members []Value) Value          { return Value{p: unsafe.Pointer(&members), kind: NS} }

// Kind returns the type of v, Invalid for the zero Value.
func (v Value) Kind() Kind { return v.kind }

// Exists reports whether v is a value at all.
func (v Value) Exists() bool { return v.kind != Invalid }

// Text returns the characters of an S or the bytes of a B.
func (v Value) Text() string {
	if v.kind != S && v.kind != B || v.n == 0 {
		return ""
	}
	return unsafe.String((*byte)(v.p), int(v.n))
}

// Truth returns the value of a BOOL.
func (v Value) Truth() bool { return v.kind == BOOL && v.n != 0 }

// Strings returns the members of an SS or BS; the caller must not change them.
func (v Value) Strings() []string {
	if v.kind != SS && v.kind != BS {
		return nil
	}
	return *(*[]string)(v.p)
}

// Values returns the elements of an L or the numbers of an NS; the caller
// must not change them.
func (v Value) Values() []Value {
	if v.kind != L && v.kind != NS {
		return nil
	}
	return *(*[]Value)(v.p)
}

// Map returns the entries of an M, else nil.
func (v Value) Map() *Map {
	if v.kind != M {
		return nil
	}
	return (*Map)(v.p)
}

// Size is the size of the value in bytes by the service's rules.
func (v Value) Size() int {
	switch v.kind {
	case S, B:
		return int(v.n)
	case N:
		return v.numberSize()
	case BOOL, NULL:
		return 1
	case SS, BS:
		total := 0
		for _, m := range v.Strings() {
			total += len(m)
		}
		return total
	case NS:
		total := 0
		for _, m := range v.Values() {
			total += m.numberSize()
		}
		return total
	case L:
		total := 3
		for _, e := range v.Values() {
			total += 1 + e.Size()
		}
		return total
	case M:
		m := v.Map()
		return 3 + m.Len() + m.Size()
	}
	return 0
}

// Length is what the expression function size returns, and whether it is
// defined for the kind of v.
func (v Value) Length() (int, bool) {
	switch v.kind {
	case S, B:
		return int(v.n), true
	case SS, BS:
		return len(v.Strings()), true
	case NS, L:
		return len(v.Values()), true
	case M:
		return v.Map().Len(), true
	}
	return 0, false
}

// Equal reports whether a and b have the same type and value: numbers by
// value, sets without order, lists and maps deeply.
func Equal(a, b Value) bool {
	if a.kind != b.kind {
		return false
	}
	switch a.kind {
	case S, B:
		return a.n == b.n && a.Text() == b.Text()
	case N:
		return CompareNumbers(a, b) == 0
	case BOOL:
		return a.n == b.n
	case NULL:
		return true
	case SS, BS:
		x, y := a.Strings(), b.Strings()
		return len(x) == len(y) && containsAll(x, y)
	case NS:
		x, y := a.Values(), b.Values()
		if len(x) != len(y) {
			return false
		}
		for _, m := range x {
			if !slices.ContainsFunc(y, func(o Value) bool { return Equal(m, o) }) {
				return false
			}
		}
		return true
	case L:
		return slices.EqualFunc(a.Values(), b.Values(), Equal)
	case M:
		return a.Map().Equal(b.Map())
	}
	return true
}

func containsAll(x, y []string) bool {
	if len(x) <= 16 {
		for _, m := range x {
			if !slices.Contains(y, m) {
				return false
			}
		}
		return true
	}
	have := make(map[string]struct{}, len(y))
	for _, m := range y {
		have[m] = struct{}{}
	}
	for _, m := range x {
		if _, ok := have[m]; !ok {
			return false
		}
	}
	return true
}

// Compare orders two values of the same ordered kind (S, N, B). Values of
// other or different kinds are ordered by kind, which only keeps sorting
// total: callers check Ordered first.
func Compare(a, b Value) int {
	if a.kind != b.kind {
		return cmp.Compare(a.kind, b.kind)
	}
	if a.kind == N {
		return CompareNumbers(a, b)
	}
	return strings.Compare(a.Text(), b.Text())
}

// HasMember reports whether the set or list v contains m.
func (v Value) HasMember(m Value) bool {
	switch v.kind {
	case SS:
		return m.kind == S && slices.Contains(v.Strings(), m.Text())
	case BS:
		return m.kind == B && slices.Contains(v.Strings(), m.Text())
	case NS, L:
		return slices.ContainsFunc(v.Values(), func(e Value) bool { return Equal(e, m) })
	}
	return false
}

// Union returns the set a with the members of b (of the same kind) that it lacks.
func Union(a, b Value) Value {
	if a.kind == NS {
		out := slices.Clone(a.Values())
		for _, m := range b.Values() {
			if !a.HasMember(m) {
				out = append(out, m)
			}
		}
		return numbersOf(out)
	}
	have := a.Strings()
	out := slices.Clone(have)
	for _, m := range b.Strings() {
		if !slices.Contains(have, m) {
			out = append(out, m)
		}
	}
	return stringsOf(a.kind, out)
}

// Difference returns the set a without the members of b (of the same kind),
// and the zero Value when nothing is left.
func Difference(a, b Value) Value {
	if a.kind == NS {
		out := slices.DeleteFunc(slices.Clone(a.Values()), b.HasMember)
		if len(out) == 0 {
			return Value{}
		}
		return numbersOf(out)
	}
	gone := b.Strings()
	out := slices.DeleteFunc(slices.Clone(a.Strings()), func(m string) bool { return slices.Contains(gone, m) })
	if len(out) == 0 {
		return Value{}
	}
	return stringsOf(a.kind, out)
}

// Key returns a string that is equal for equal values of one key type (S, N
// or B). For S and B it shares the value's bytes.
func (v Value) Key() string {
	if v.kind == N {
		return v.NumberText()
	}
	return v.Text()
}

// Depth is the number of levels of values in v: 1 for a scalar or set, one more for each list or
// map around it.
func (v Value) Depth() int {
	deepest := 0
	switch v.kind {
	case L:
		for _, e := range v.Values() {
			deepest = max(deepest, e.Depth())
		}
	case M:
		for _, e := range v.Map().vals {
			deepest = max(deepest, e.Depth())
		}
	}
	return deepest + 1
}
