package locustfile

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// One operation must not make so much that it cannot be interrupted: copying gigabytes holds the whole
// process, its timers included, until it is done. Operators and methods of the interpreter know no such
// bounds, so files are changed while they are loaded: x * y becomes x * guard(y), and x.replace and x.join
// become guard(x).replace and guard(x).join.
const (
	// maxElements bounds what repetition and range give.
	maxElements = 1 << 22
	// maxText bounds what repetition, join and replace give, in bytes.
	maxText = 1 << 26
	// maxBits bounds products of integers.
	maxBits = 1 << 20

	// What no name of a file can be.
	factorGuard = "*"
	textGuard   = "."
)

// guardTree puts the guards into a file.
func guardTree(file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			if n.Op == syntax.STAR {
				n.Y = guarded(factorGuard, n.OpPos, n.Y)
			}
		case *syntax.AssignStmt:
			if n.Op == syntax.STAR_EQ {
				n.RHS = guarded(factorGuard, n.OpPos, n.RHS)
			}
		case *syntax.DotExpr:
			if n.Name.Name == "join" || n.Name.Name == "replace" {
				n.X = guarded(textGuard, n.Dot, n.X)
			}
		}
		return true
	})
}

func guarded(guard string, at syntax.Position, x syntax.Expr) syntax.Expr {
	if literal, ok := x.(*syntax.Literal); ok && literal.Token == syntax.FLOAT {
		return x // it is multiplied only
	}
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: at, Name: guard}, Lparen: at, Args: []syntax.Expr{x}, Rparen: at}
}

// guards are the built-ins that guardTree calls, and those that stand for one of the interpreter's.
var guards = map[string]func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error){
	factorGuard: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return factor{args[0]}, nil
	},
	textGuard: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if s, ok := args[0].(starlark.String); ok {
			return text{s}, nil
		}
		return args[0], nil
	},
	"range": func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		r, err := starlark.Universe["range"].(*starlark.Builtin).CallInternal(thread, args, kwargs)
		if err == nil && starlark.Len(r) > maxElements {
			return nil, fmt.Errorf("range: %d elements are more than %d: count in a while loop instead", starlark.Len(r), maxElements)
		}
		return r, err
	},
}

// factor is the right operand of a multiplication.
type factor struct{ starlark.Value }

// Binary implements starlark.HasBinary. No type of the interpreter knows what to do with a factor, so
// every multiplication comes here.
func (f factor) Binary(op syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	var err error
	if a, ok := x.(starlark.Int); ok {
		if b, ok := f.Value.(starlark.Int); ok {
			err = checkProduct(a, b)
		} else {
			err = checkRepeat(f.Value, a)
		}
	} else if n, ok := f.Value.(starlark.Int); ok {
		err = checkRepeat(x, n)
	}
	if err != nil {
		return nil, err
	}
	return starlark.Binary(op, x, f.Value)
}

func checkProduct(a, b starlark.Int) error {
	_, smallA := a.Int64()
	_, smallB := b.Int64()
	if smallA && smallB {
		return nil
	}
	if bits := a.BigInt().BitLen() + b.BigInt().BitLen(); bits > maxBits {
		return fmt.Errorf("the product has %d bits, more than %d", bits, maxBits)
	}
	return nil
}

func checkRepeat(x starlark.Value, count starlark.Int) error {
	length, most, what := 0, 0, ""
	switch x := x.(type) {
	case starlark.String, starlark.Bytes:
		length, most, what = starlark.Len(x), maxText, "bytes"
	case *starlark.List, starlark.Tuple:
		length, most, what = starlark.Len(x), maxElements, "elements"
	}
	if length == 0 {
		return nil
	}
	n, ok := count.Int64()
	if n <= int64(most/length) && (ok || count.Sign() < 0) {
		return nil
	}
	return fmt.Errorf("%s repeated %s times has more than %d %s", x.Type(), count, most, what)
}

// text is a string whose join and replace are bounded.
type text struct{ starlark.Value }

// AttrNames implements starlark.HasAttrs.
func (t text) AttrNames() []string { return []string{"join", "replace"} }

// Attr implements starlark.HasAttrs.
func (t text) Attr(name string) (starlark.Value, error) {
	s := t.Value.(starlark.String)
	method, err := s.Attr(name)
	if err != nil {
		return nil, err
	}
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		check := checkReplace
		if name == "join" {
			check = checkJoin
		}
		if err := check(string(s), args); err != nil {
			return nil, err
		}
		return method.(*starlark.Builtin).CallInternal(thread, args, kwargs)
	}), nil
}

// checkReplace leaves wrong arguments to the method.
func checkReplace(s string, args starlark.Tuple) error {
	if len(args) < 2 {
		return nil
	}
	replaced, ok1 := starlark.AsString(args[0])
	by, ok2 := starlark.AsString(args[1])
	if !ok1 || !ok2 || len(by) <= len(replaced) {
		return nil
	}
	if count := strings.Count(s, replaced); count > maxText/len(by) {
		return fmt.Errorf("replace: %d times %d bytes are more than %d", count, len(by), maxText)
	}
	return nil
}

// checkJoin leaves wrong arguments to the method.
func checkJoin(separator string, args starlark.Tuple) error {
	if len(args) != 1 {
		return nil
	}
	parts, ok := args[0].(starlark.Iterable)
	if !ok {
		return nil
	}
	total := 0
	for part := range starlark.Elements(parts) {
		s, _ := starlark.AsString(part)
		if total += len(s) + len(separator); total > maxText+len(separator) {
			return fmt.Errorf("join: the result has more than %d bytes", maxText)
		}
	}
	return nil
}
