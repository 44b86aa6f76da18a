package expression

import (
	"maps"
	"slices"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Paths returns the paths of a projection.
func (b *Bound) Paths() []Path {
	paths := make([]Path, len(b.form.paths))
	for i, p := range b.form.paths {
		paths[i] = b.path(p)
	}
	return paths
}

// branch is a part of a tree of paths.
type branch struct {
	whole   bool
	names   map[string]*branch
	indexes map[int]*branch
}

func (t *branch) add(p Path) {
	if len(p) == 0 {
		t.whole = true
		return
	}
	var next *branch
	if p[0].Index >= 0 {
		if t.indexes == nil {
			t.indexes = map[int]*branch{}
		}
		if next = t.indexes[p[0].Index]; next == nil {
			next = &branch{}
			t.indexes[p[0].Index] = next
		}
	} else {
		if t.names == nil {
			t.names = map[string]*branch{}
		}
		if next = t.names[p[0].Name]; next == nil {
			next = &branch{}
			t.names[p[0].Name] = next
		}
	}
	next.add(p[1:])
}

// Project returns the parts of an item at the given paths: nested ones inside their maps, elements
// of a list packed in the order of their indexes. It returns an empty map when nothing is there.
func Project(item *attr.Map, paths []Path) *attr.Map {
	tree := &branch{}
	for _, p := range paths {
		tree.add(p)
	}
	return tree.pickMap(item)
}

func (t *branch) pickMap(m *attr.Map) *attr.Map {
	var attrs []attr.Attr
	for _, name := range slices.Sorted(maps.Keys(t.names)) {
		if v := t.names[name].pick(m.Get(name)); v.Exists() {
			attrs = append(attrs, attr.Attr{Name: name, Value: v})
		}
	}
	return attr.NewMap(attrs)
}

func (t *branch) pick(v attr.Value) attr.Value {
	switch {
	case t.whole || !v.Exists():
		return v
	case t.names != nil && v.Kind() == attr.M:
		if m := t.pickMap(v.Map()); m.Len() > 0 {
			return attr.MapOf(m)
		}
	case t.indexes != nil && v.Kind() == attr.L:
		var list []attr.Value
		for _, index := range slices.Sorted(maps.Keys(t.indexes)) {
			if index >= len(v.Values()) {
				break
			}
			if picked := t.indexes[index].pick(v.Values()[index]); picked.Exists() {
				list = append(list, picked)
			}
		}
		if len(list) > 0 {
			return attr.ListOf(list)
		}
	}
	return attr.Value{}
}
