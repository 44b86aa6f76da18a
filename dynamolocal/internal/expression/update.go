package expression

import (
	"cmp"
	"slices"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Errors of an update that meets an item which it does not fit.
var (
	errDocumentPath = &Error{Message: "The document path provided in the update expression is invalid for update"}
	errMissing      = &Error{Message: "The provided expression refers to an attribute that does not exist in the item"}
	errOperandType  = &Error{Message: "An operand in the update expression has an incorrect data type"}
)

// edit is one change to make: a new value at a path, or none to remove what is there.
type edit struct {
	path  path
	value attr.Value
}

// Apply makes the changes of a bound update to a draft of old, which may be nil. All operands are
// read from old. On an error the draft must be dropped.
func (b *Bound) Apply(old *attr.Map, draft *attr.Draft) error {
	var buf [8]edit
	edits := buf[:0]
	nested := false
	for i := range b.form.actions {
		a := &b.form.actions[i]
		e := edit{path: a.path}
		ok, err := true, error(nil)
		switch a.section {
		case secSet:
			e.value, err = b.assigned(a, old)
		case secAdd:
			e.value, err = b.sum(a, old)
		case secDelete:
			e.value, ok, err = b.without(a, old)
		}
		if err != nil {
			return err
		}
		if ok {
			edits = append(edits, e)
			nested = nested || len(a.path) > 1
		}
	}
	if nested {
		return b.applyNested(old, draft, edits)
	}
	for i := range edits {
		b.applyTop(draft, &edits[i])
	}
	return nil
}

func (b *Bound) applyTop(draft *attr.Draft, e *edit) {
	name := b.stepName(e.path[0])
	if e.value.Exists() {
		draft.Set(name, e.value)
	} else {
		draft.Remove(name)
	}
}

func (b *Bound) assigned(a *action, old *attr.Map) (attr.Value, error) {
	v, err := b.setOperand(&a.value, old)
	if err != nil || a.op == 0 {
		return v, err
	}
	second, err := b.setOperand(&a.second, old)
	if err != nil {
		return v, err
	}
	if v.Kind() != attr.N || second.Kind() != attr.N {
		return v, errOperandType
	}
	if a.op == '+' {
		v, err = attr.Add(v, second)
	} else {
		v, err = attr.Sub(v, second)
	}
	return v, numberError(err)
}

func numberError(err error) error {
	if err == nil {
		return nil
	}
	return &Error{Message: err.Error()}
}

func (b *Bound) setOperand(o *operand, old *attr.Map) (attr.Value, error) {
	switch o.kind {
	case opValue:
		return b.values[o.ref], nil
	case opPath:
		v := b.get(old, o.path)
		if !v.Exists() {
			return v, errMissing
		}
		return v, nil
	}
	if o.fn == "if_not_exists" {
		if v := b.get(old, o.args[0].path); v.Exists() {
			return v, nil
		}
		return b.setOperand(&o.args[1], old)
	}
	first, err := b.setOperand(&o.args[0], old)
	if err != nil {
		return first, err
	}
	second, err := b.setOperand(&o.args[1], old)
	if err != nil {
		return second, err
	}
	if first.Kind() != attr.L || second.Kind() != attr.L {
		return first, errOperandType
	}
	return attr.ListOf(slices.Concat(first.Values(), second.Values())), nil
}

// sum is the value of an ADD.
func (b *Bound) sum(a *action, old *attr.Map) (attr.Value, error) {
	have, arg := b.get(old, a.path), b.values[a.ref]
	switch {
	case !have.Exists():
		return arg, nil
	case have.Kind() != arg.Kind():
		return have, errOperandType
	case arg.Kind() == attr.N:
		v, err := attr.Add(have, arg)
		return v, numberError(err)
	}
	return attr.Union(have, arg), nil
}

// without is the value of a DELETE; ok is false when there is nothing to change.
func (b *Bound) without(a *action, old *attr.Map) (v attr.Value, ok bool, err error) {
	have, arg := b.get(old, a.path), b.values[a.ref]
	if !have.Exists() {
		if !b.parentHolds(old, a.path) {
			return v, false, errDocumentPath
		}
		return v, false, nil
	}
	if have.Kind() != arg.Kind() {
		return v, false, errOperandType
	}
	return attr.Difference(have, arg), true, nil
}

// comparePaths orders paths by their steps, list elements by index.
func (b *Bound) comparePaths(x, y path) int {
	for i := range min(len(x), len(y)) {
		if c := cmp.Or(cmp.Compare(x[i].index, y[i].index), cmp.Compare(b.stepName(x[i]), b.stepName(y[i]))); c != 0 {
			return c
		}
	}
	return cmp.Compare(len(x), len(y))
}

// parentHolds reports whether what the last step of a path leads into is there and of its kind.
func (b *Bound) parentHolds(old *attr.Map, p path) bool {
	last := len(p) - 1
	if last == 0 {
		return true
	}
	kind := b.get(old, p[:last]).Kind()
	return kind == attr.M && p[last].index < 0 || kind == attr.L && p[last].index >= 0
}

// applyNested makes changes inside documents: first what sets values, list ends in the order of
// their indexes, then what removes, list elements from the last to the first, so that every index
// means the position in the old list.
func (b *Bound) applyNested(old *attr.Map, draft *attr.Draft, edits []edit) error {
	slices.SortStableFunc(edits, func(x, y edit) int {
		setX, setY := x.value.Exists(), y.value.Exists()
		switch {
		case setX && !setY:
			return -1
		case !setX && setY:
			return 1
		case setX:
			return cmp.Compare(lastIndex(x.path), lastIndex(y.path))
		}
		return b.comparePaths(y.path, x.path)
	})
	for i := range edits {
		e := &edits[i]
		if len(e.path) == 1 {
			b.applyTop(draft, e)
			continue
		}
		name := b.stepName(e.path[0])
		v, err := b.changed(draft.Get(name), e.path[1:], e.value)
		if err != nil {
			return err
		}
		draft.Set(name, v)
	}
	return nil
}

func lastIndex(p path) int { return p[len(p)-1].index }

// changed returns v with the value at the rest of a path replaced, or removed.
func (b *Bound) changed(v attr.Value, rest path, value attr.Value) (attr.Value, error) {
	step := rest[0]
	if step.index >= 0 {
		return b.changedList(v, rest, value)
	}
	if v.Kind() != attr.M {
		return v, errDocumentPath
	}
	name := b.stepName(step)
	if len(rest) > 1 {
		inner, err := b.changed(v.Map().Get(name), rest[1:], value)
		if err != nil {
			return v, err
		}
		value = inner
	}
	return attr.MapOf(v.Map().With(name, value)), nil
}

func (b *Bound) changedList(v attr.Value, rest path, value attr.Value) (attr.Value, error) {
	if v.Kind() != attr.L {
		return v, errDocumentPath
	}
	list, index := slices.Clone(v.Values()), rest[0].index
	if len(rest) > 1 {
		if index >= len(list) {
			return v, errDocumentPath
		}
		inner, err := b.changed(list[index], rest[1:], value)
		if err != nil {
			return v, err
		}
		list[index] = inner
		return attr.ListOf(list), nil
	}
	switch {
	case !value.Exists() && index < len(list):
		list = slices.Delete(list, index, index+1)
	case !value.Exists():
		return v, nil
	case index < len(list):
		list[index] = value
	default:
		list = append(list, value)
	}
	return attr.ListOf(list), nil
}

// Targets returns the paths that an update changes.
func (b *Bound) Targets() []Path {
	paths := make([]Path, len(b.form.actions))
	for i := range b.form.actions {
		paths[i] = b.path(b.form.actions[i].path)
	}
	return paths
}

// TargetNames yields the first name of each path that an update changes.
func (b *Bound) TargetNames(yield func(string) bool) {
	for i := range b.form.actions {
		if !yield(b.stepName(b.form.actions[i].path[0])) {
			return
		}
	}
}
