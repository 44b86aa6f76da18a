package attr

import (
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

// Names is a sorted list of attribute names. Items of equal names share one
// list, see [Shapes].
type Names struct {
	list []string
	// id is unique among the shared lists of one Shapes and 0 for a private
	// list, so that lookups can be cached by it.
	id uint64

	mu     sync.RWMutex
	with   map[string]*Names // list with one more name
	except map[string]*Names // list with one name fewer
}

// ID identifies a shared list; 0 means private, do not cache.
func (n *Names) ID() uint64 { return n.id }

// List returns the names in byte order; the caller must not change them.
func (n *Names) List() []string { return n.list }

// Index returns the position of name, or -1.
func (n *Names) Index(name string) int {
	lo, hi := 0, len(n.list)
	for lo < hi {
		mid := int(uint(lo+hi) >> 1)
		switch c := strings.Compare(n.list[mid], name); {
		case c == 0:
			return mid
		case c < 0:
			lo = mid + 1
		default:
			hi = mid
		}
	}
	return -1
}

// Attr is a name and its value.
type Attr struct {
	Name  string
	Value Value
}

// Map is an immutable set of named values: an item, a key or an M value.
type Map struct {
	names *Names
	vals  []Value
	size  int
}

// Len returns the number of attributes; a nil map has none.
func (m *Map) Len() int {
	if m == nil {
		return 0
	}
	return len(m.vals)
}

// Names returns the shared list of names.
func (m *Map) Names() *Names { return m.names }

// At returns the i-th attribute in the order of Names.
func (m *Map) At(i int) (string, Value) { return m.names.list[i], m.vals[i] }

// ValueAt returns the value of the i-th name.
func (m *Map) ValueAt(i int) Value { return m.vals[i] }

// Size is the sum of name and value sizes: the item size of the service.
func (m *Map) Size() int {
	if m == nil {
		return 0
	}
	return m.size
}

// Get returns the value of name, or the zero Value.
func (m *Map) Get(name string) Value {
	if m == nil {
		return Value{}
	}
	if i := m.names.Index(name); i >= 0 {
		return m.vals[i]
	}
	return Value{}
}

// Equal compares deeply.
func (m *Map) Equal(o *Map) bool {
	if m == o {
		return true
	}
	if m.Len() != o.Len() {
		return false
	}
	if m.Len() == 0 {
		return true
	}
	if m.names != o.names && !slices.Equal(m.names.list, o.names.list) {
		return false
	}
	return slices.EqualFunc(m.vals, o.vals, Equal)
}

// All yields the attributes in name order.
func (m *Map) All() func(yield func(string, Value) bool) {
	return func(yield func(string, Value) bool) {
		if m == nil {
			return
		}
		for i, v := range m.vals {
			if !yield(m.names.list[i], v) {
				return
			}
		}
	}
}

func (m *Map) measure() *Map {
	m.size = 0
	for i, v := range m.vals {
		m.size += len(m.names.list[i]) + v.Size()
	}
	return m
}

// NewMap returns a map of attrs with a private name list; a repeated name
// keeps its last value. It may reorder attrs and keeps no reference to it.
func NewMap(attrs []Attr) *Map {
	attrs = sortAttrs(attrs)
	m := &Map{names: &Names{list: make([]string, len(attrs))}, vals: make([]Value, len(attrs))}
	for i, a := range attrs {
		m.names.list[i], m.vals[i] = a.Name, a.Value
	}
	return m.measure()
}

func sortAttrs(attrs []Attr) []Attr {
	slices.SortStableFunc(attrs, func(a, b Attr) int { return strings.Compare(a.Name, b.Name) })
	for i := range len(attrs) - 1 {
		if attrs[i].Name == attrs[i+1].Name {
			return lastOfEach(attrs)
		}
	}
	return attrs
}

func lastOfEach(attrs []Attr) []Attr {
	out := attrs[:0]
	for i, a := range attrs {
		if i+1 < len(attrs) && attrs[i+1].Name == a.Name {
			continue
		}
		out = append(out, a)
	}
	return out
}

// maxShapes bounds the lists that one Shapes shares: a table whose items all
// have names of their own must not fill memory with name lists.
const maxShapes = 4096

// Shapes shares the name lists of items. It is safe for concurrent use.
type Shapes struct {
	mu     sync.RWMutex
	byHash map[uint64][]*Names
	count  int
	nextID atomic.Uint64
}

// NewShapes returns an empty registry.
func NewShapes() *Shapes { return &Shapes{byHash: map[uint64][]*Names{}} }

// Item returns an item of attrs that shares its name list with equal ones; a
// repeated name keeps its last value. It may reorder attrs and keeps no
// reference to it, nor to the names; the values are kept as they are.
func (s *Shapes) Item(attrs []Attr) *Map {
	attrs = sortAttrs(attrs)
	h := uint64(14695981039346656037)
	for _, a := range attrs {
		h = (h ^ Hash(a.Name)) * 1099511628211
	}
	m := &Map{names: s.lookup(h, attrs), vals: make([]Value, len(attrs))}
	for i, a := range attrs {
		m.vals[i] = a.Value
	}
	return m.measure()
}

func (s *Shapes) lookup(h uint64, attrs []Attr) *Names {
	same := func(n *Names) bool {
		return slices.EqualFunc(n.list, attrs, func(name string, a Attr) bool { return name == a.Name })
	}
	s.mu.RLock()
	i := slices.IndexFunc(s.byHash[h], same)
	if i >= 0 {
		n := s.byHash[h][i]
		s.mu.RUnlock()
		return n
	}
	s.mu.RUnlock()
	n := &Names{list: make([]string, len(attrs))}
	for i, a := range attrs {
		n.list[i] = strings.Clone(a.Name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.IndexFunc(s.byHash[h], same); i >= 0 {
		return s.byHash[h][i]
	}
	if s.count < maxShapes && len(attrs) <= 256 {
		s.count++
		n.id = s.nextID.Add(1)
		s.byHash[h] = append(s.byHash[h], n)
	}
	return n
}

// neighbour returns the list that differs from n by one name, through a cache
// on n when n is shared.
func (s *Shapes) neighbour(n *Names, name string, add bool) *Names {
	cache := func() map[string]*Names {
		if add {
			return n.with
		}
		return n.except
	}
	if n.id != 0 {
		n.mu.RLock()
		found := cache()[name]
		n.mu.RUnlock()
		if found != nil {
			return found
		}
	}
	attrs := make([]Attr, 0, len(n.list)+1)
	for _, have := range n.list {
		if add || have != name {
			attrs = append(attrs, Attr{Name: have})
		}
	}
	if add {
		attrs = append(attrs, Attr{Name: name})
		sortAttrs(attrs)
	}
	h := uint64(14695981039346656037)
	for _, a := range attrs {
		h = (h ^ Hash(a.Name)) * 1099511628211
	}
	found := s.lookup(h, attrs)
	if n.id == 0 || found.id == 0 {
		return found
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.with == nil {
		n.with, n.except = map[string]*Names{}, map[string]*Names{}
	}
	if c := cache(); len(c) < 64 {
		c[strings.Clone(name)] = found
	}
	return found
}

// Draft is a copy of an item being changed.
type Draft struct {
	shapes *Shapes
	names  *Names
	vals   []Value
	size   int
}

// Draft returns a draft of m, which stays as it is; m may be nil.
func (s *Shapes) Draft(m *Map) Draft {
	if m == nil {
		return Draft{shapes: s, names: s.lookup(14695981039346656037, nil)}
	}
	return Draft{shapes: s, names: m.names, vals: slices.Clone(m.vals), size: m.size}
}

// Names returns the current list of names.
func (d *Draft) Names() *Names { return d.names }

// Get returns the current value of name.
func (d *Draft) Get(name string) Value {
	if i := d.names.Index(name); i >= 0 {
		return d.vals[i]
	}
	return Value{}
}

// SetAt replaces the value of the i-th name.
func (d *Draft) SetAt(i int, v Value) {
	d.size += v.Size() - d.vals[i].Size()
	d.vals[i] = v
}

// Set gives name the value v.
func (d *Draft) Set(name string, v Value) {
	if i := d.names.Index(name); i >= 0 {
		d.SetAt(i, v)
		return
	}
	d.names = d.shapes.neighbour(d.names, name, true)
	d.vals = slices.Insert(d.vals, d.names.Index(name), v)
	d.size += len(name) + v.Size()
}

// Remove takes name away if it is there.
func (d *Draft) Remove(name string) {
	i := d.names.Index(name)
	if i < 0 {
		return
	}
	d.size -= len(name) + d.vals[i].Size()
	d.vals = slices.Delete(d.vals, i, i+1)
	d.names = d.shapes.neighbour(d.names, name, false)
}

// Item ends the draft and returns the changed item.
func (d *Draft) Item() *Map { return &Map{names: d.names, vals: d.vals, size: d.size} }

// With returns a map like m with name set to v, or removed when v is the zero
// Value, with a private name list: the form of nested maps.
func (m *Map) With(name string, v Value) *Map {
	attrs := make([]Attr, 0, m.Len()+1)
	for n, have := range m.All() {
		if n != name {
			attrs = append(attrs, Attr{n, have})
		}
	}
	if v.Exists() {
		attrs = append(attrs, Attr{name, v})
	}
	return NewMap(attrs)
}

// Hash is a fixed 64-bit hash: equal in every process, so that the order of a
// scan does not change from run to run.
func Hash(s string) uint64 {
	const k = 0x9E3779B97F4A7C15
	h := uint64(len(s)) * k
	for len(s) >= 8 {
		w := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		h = mix(h^w, k)
		s = s[8:]
	}
	var w uint64
	for i := range len(s) {
		w |= uint64(s[i]) << (8 * i)
	}
	h = mix(h^w, k)
	return mix(h, 0xD6E8FEB86659FD93)
}
