package locustfile

import (
	"fmt"
	"slices"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"
	"go.starlark.net/syntax"
)

const (
	// maxLoadSteps bounds what a file does while it is loaded: a second or more of computing.
	maxLoadSteps = 100_000_000
	// maxNesting bounds expressions and values: compiling and freezing them takes stack for each
	// level, and a stack that is exhausted ends the process.
	maxNesting = 10_000
)

// checkTree refuses expressions that are nested too deeply to be compiled.
func checkTree(file *syntax.File) error {
	depth := 0
	var err error
	syntax.Walk(file, func(n syntax.Node) bool {
		if n == nil {
			depth--
			return true
		}
		if depth >= maxNesting && err == nil {
			start, _ := n.Span()
			err = syntax.Error{Pos: start, Msg: fmt.Sprintf("the expression is nested more than %d deep", maxNesting)}
		}
		if err != nil {
			return false
		}
		depth++
		return true
	})
	return err
}

// freeze makes everything that the globals hold or capture immutable, so that users on all cores may
// share it. Freezing by the interpreter recurses for each level of nesting, and without end into a
// function that captures itself, so both are looked for first.
func freeze(globals starlark.StringDict) error {
	reached, err := reachable(globals)
	if err != nil {
		return err
	}
	endless := map[starlark.Value]bool{}
	for _, v := range reached {
		if fn, ok := v.(*starlark.Function); ok && capturesItself(fn) {
			endless[fn] = true
		}
	}
	if len(endless) == 0 {
		globals.Freeze()
		return nil
	}
	// Functions need no freezing themselves: it is enough that what they capture is frozen.
	for _, v := range reached {
		if !isContainer(v) {
			continue
		}
		if fn := findIn(v, endless); fn != nil {
			at := fn.Position()
			return &Error{File: at.Filename(), Line: int(at.Line), Col: int(at.Col), Msg: fmt.Sprintf(
				"%s calls itself through a captured variable and is kept in a %s: define it at top level instead", fn.Name(), v.Type())}
		}
		v.Freeze()
	}
	return nil
}

// reachable returns every container and function that the globals lead to, or an error when one of
// them is nested too deeply.
func reachable(globals starlark.StringDict) ([]starlark.Value, error) {
	type entry struct {
		value starlark.Value
		depth int
	}
	var reached []starlark.Value
	seen := map[starlark.Value]bool{}
	for _, name := range globals.Keys() {
		pending := []entry{{globals[name], 0}}
		for len(pending) > 0 {
			at := pending[len(pending)-1]
			pending = pending[:len(pending)-1]
			if at.depth > maxNesting {
				return nil, fmt.Errorf("the value of %s is nested more than %d deep", name, maxNesting)
			}
			if isReference(at.value) {
				if seen[at.value] {
					continue
				}
				seen[at.value] = true
				reached = append(reached, at.value)
			}
			for _, inner := range inside(at.value) {
				pending = append(pending, entry{inner, at.depth + 1})
			}
		}
	}
	return reached, nil
}

// isContainer reports whether a value can be changed until it is frozen.
func isContainer(v starlark.Value) bool {
	switch v.(type) {
	case *starlark.List, *starlark.Dict, *starlark.Set, *starlarkstruct.Struct:
		return true
	}
	return false
}

// isReference reports whether a value has an identity, by which it is visited once.
func isReference(v starlark.Value) bool {
	_, isFunction := v.(*starlark.Function)
	return isFunction || isContainer(v)
}

// capturesItself reports whether freezing a function would come back to it; lists and dictionaries
// on the way end that.
func capturesItself(fn *starlark.Function) bool {
	seen := map[starlark.Value]bool{}
	pending := inside(fn)
	for len(pending) > 0 {
		v := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if v == starlark.Value(fn) {
			return true
		}
		if _, isStruct := v.(*starlarkstruct.Struct); isContainer(v) && !isStruct || isReference(v) && seen[v] {
			continue
		}
		if isReference(v) {
			seen[v] = true
		}
		pending = append(pending, inside(v)...)
	}
	return false
}

// findIn returns a wanted function that a value leads to.
func findIn(v starlark.Value, wanted map[starlark.Value]bool) *starlark.Function {
	seen := map[starlark.Value]bool{}
	pending := []starlark.Value{v}
	for len(pending) > 0 {
		at := pending[len(pending)-1]
		pending = pending[:len(pending)-1]
		if isReference(at) {
			if wanted[at] {
				return at.(*starlark.Function)
			}
			if seen[at] {
				continue
			}
			seen[at] = true
		}
		pending = append(pending, inside(at)...)
	}
	return nil
}

// inside returns what a value holds or captures.
func inside(v starlark.Value) []starlark.Value {
	var out []starlark.Value
	switch v := v.(type) {
	case starlark.Tuple:
		return slices.Clone(v)
	case *starlark.List:
		return slices.Collect(starlark.Elements(v))
	case *starlark.Set:
		return slices.Collect(starlark.Elements(v))
	case *starlark.Dict:
		for _, item := range v.Items() {
			out = append(out, item[0], item[1])
		}
	case *starlarkstruct.Struct:
		members := starlark.StringDict{}
		v.ToStringDict(members)
		for _, member := range members {
			out = append(out, member)
		}
	case *starlark.Function:
		for i := range v.NumFreeVars() {
			if _, captured := v.FreeVar(i); captured != nil {
				out = append(out, captured)
			}
		}
		for i := range v.NumParams() {
			if value := v.ParamDefault(i); value != nil {
				out = append(out, value)
			}
		}
	case interface{ callables() []starlark.Callable }:
		for _, fn := range v.callables() {
			out = append(out, fn)
		}
	}
	return out
}
