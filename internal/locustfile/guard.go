package locustfile

import (
	"fmt"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// One operation must not make so much that it cannot be interrupted: copying gigabytes holds the whole
// process, its timers included, until it is done. Operators and methods of the interpreter know no such
// bounds, so files are changed while they are loaded: x * y and x + y become x * guard(y) and x + guard(y),
// x % y becomes guard(x) % y, and x.join, say, becomes guard(x).join.
const (
	// maxElements bounds what repetition, sums, extend and range give.
	maxElements = 1 << 22
	// maxText bounds what repetition, sums, formatting, join and replace give, in bytes.
	maxText = 1 << 24
	// maxBits bounds products of integers.
	maxBits = 1 << 20
	// small is a length that may be added any number of times: each sum copies what is there, so that it
	// takes minutes to get beyond the bounds.
	small = 1 << 10

	// What no name of a file can be.
	factorGuard  = "*"
	summandGuard = "+"
	growthGuard  = "+="
	formatGuard  = "%"
	methodGuard  = "."
)

// guardTree puts the guards into a file.
func guardTree(file *syntax.File) {
	syntax.Walk(file, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.BinaryExpr:
			switch {
			case n.Op == syntax.STAR && !isFloat(n.Y):
				n.Y = guarded(factorGuard, n.OpPos, n.Y)
			case n.Op == syntax.PLUS && !isSmall(n.X) && !isSmall(n.Y):
				n.Y = guarded(summandGuard, n.OpPos, n.Y)
			case n.Op == syntax.PERCENT && !isNumber(n.X) && !isNumber(n.Y):
				n.X = guarded(formatGuard, n.OpPos, n.X)
			}
		case *syntax.AssignStmt:
			switch {
			case n.Op == syntax.STAR_EQ && !isFloat(n.RHS):
				n.RHS = guarded(factorGuard, n.OpPos, n.RHS)
			case n.Op == syntax.PLUS_EQ && !isSmall(n.RHS):
				n.RHS = guarded(growthGuard, n.OpPos, n.RHS)
			case n.Op == syntax.PERCENT_EQ && !isNumber(n.RHS) && isPlace(n.LHS):
				n.Op, n.RHS = syntax.EQ, &syntax.BinaryExpr{X: n.LHS, OpPos: n.OpPos, Op: syntax.PERCENT, Y: n.RHS}
			}
		case *syntax.DotExpr:
			if methodChecks[n.Name.Name] != nil {
				n.X = guarded(methodGuard, n.Dot, n.X)
			}
		}
		return true
	})
}

func guarded(guard string, at syntax.Position, x syntax.Expr) syntax.Expr {
	return &syntax.CallExpr{Fn: &syntax.Ident{NamePos: at, Name: guard}, Lparen: at, Args: []syntax.Expr{x}, Rparen: at}
}

func isFloat(x syntax.Expr) bool {
	literal, ok := x.(*syntax.Literal)
	return ok && literal.Token == syntax.FLOAT
}

func isNumber(x syntax.Expr) bool {
	literal, ok := x.(*syntax.Literal)
	return ok && (literal.Token == syntax.INT || literal.Token == syntax.FLOAT)
}

// isSmall reports whether an expression of a file has a small length or is a number.
func isSmall(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.Literal:
		return len(x.Raw) <= small
	case *syntax.ListExpr:
		return len(x.List) <= small
	}
	return false
}

// isPlace reports whether nothing happens when an expression is evaluated once more.
func isPlace(x syntax.Expr) bool {
	switch x := x.(type) {
	case *syntax.Ident, *syntax.Literal:
		return true
	case *syntax.DotExpr:
		return isPlace(x.X)
	case *syntax.IndexExpr:
		return isPlace(x.X) && isPlace(x.Y)
	}
	return false
}

// guards are the built-ins that guardTree calls, and those that stand for one of the interpreter's.
var guards = map[string]func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error){
	factorGuard: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		return operand{args[0], false}, nil
	},
	summandGuard: guardSum,
	growthGuard:  guardSum,
	formatGuard: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		if s, ok := args[0].(starlark.String); ok {
			return operand{s, false}, nil
		}
		return args[0], nil
	},
	methodGuard: func(_ *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
		switch x := args[0].(type) {
		case starlark.String, *starlark.List:
			return receiver{x.(starlark.HasAttrs)}, nil
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

func guardSum(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, _ []starlark.Tuple) (starlark.Value, error) {
	if starlark.Len(args[0]) <= small {
		return args[0], nil
	}
	return operand{args[0], b.Name() == growthGuard}, nil
}

// operand is the right operand of a product or a sum, or the left one of a format.
type operand struct {
	starlark.Value
	inPlace bool // of +=
}

// Binary implements starlark.HasBinary. No type of the interpreter knows what to do with an operand, so
// every guarded operation comes here.
func (o operand) Binary(op syntax.Token, x starlark.Value, _ starlark.Side) (starlark.Value, error) {
	switch op {
	case syntax.STAR:
		return multiply(x, o.Value)
	case syntax.PLUS:
		return o.addTo(x)
	}
	return format(o.Value.(starlark.String), x)
}

func multiply(x, y starlark.Value) (starlark.Value, error) {
	var err error
	if a, ok := x.(starlark.Int); ok {
		if b, ok := y.(starlark.Int); ok {
			err = checkProduct(a, b)
		} else {
			err = checkRepeat(y, a)
		}
	} else if n, ok := y.(starlark.Int); ok {
		err = checkRepeat(x, n)
	}
	if err != nil {
		return nil, err
	}
	return starlark.Binary(syntax.STAR, x, y)
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

// addTo adds the operand to the left one.
func (o operand) addTo(x starlark.Value) (starlark.Value, error) {
	most, what := maxText, "bytes"
	list, isList := x.(*starlark.List)
	if _, isTuple := x.(starlark.Tuple); isList || isTuple {
		most, what = maxElements, "elements"
	}
	if starlark.Len(x)+starlark.Len(o.Value) > most {
		return nil, fmt.Errorf("%s + %s has more than %d %s", x.Type(), o.Type(), most, what)
	}
	if more, ok := o.Value.(starlark.Iterable); ok && isList && o.inPlace {
		extend, err := list.Attr("extend")
		if err == nil {
			_, err = extend.(*starlark.Builtin).CallInternal(nil, starlark.Tuple{more}, nil)
		}
		return list, err
	}
	return starlark.Binary(syntax.PLUS, x, o.Value)
}

func format(s starlark.String, y starlark.Value) (starlark.Value, error) {
	values, uses := starlark.Tuple{y}, 1
	switch y := y.(type) {
	case starlark.Tuple:
		values = y
	case starlark.IterableMapping:
		values, uses = nil, strings.Count(string(s), "%(")
		for _, item := range y.Items() {
			values = append(values, item[1])
		}
	}
	if err := checkFormat(s, values, uses); err != nil {
		return nil, err
	}
	return starlark.Binary(syntax.PERCENT, s, y)
}

// checkFormat bounds what a format gives that uses each value so often. Values that are no text do not
// count: printing them goes piece by piece, which can be abandoned.
func checkFormat(s starlark.String, values starlark.Tuple, uses int) error {
	total := len(s)
	for _, v := range values {
		if n := max(starlark.Len(v), 0); isText(v) && n > 0 {
			if uses > (maxText-total)/n {
				return fmt.Errorf("the formatted text may have more than %d bytes", maxText)
			}
			total += uses * n
		}
	}
	return nil
}

func isText(v starlark.Value) bool {
	switch v.(type) {
	case starlark.String, starlark.Bytes:
		return true
	}
	return false
}

// methodChecks are the methods that are bounded; wrong arguments are left to the method.
var methodChecks = map[string]func(x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error{
	"join": checkJoin, "replace": checkReplace, "format": checkFormatCall, "extend": checkExtend,
}

// receiver is a value whose methods are bounded.
type receiver struct{ starlark.HasAttrs }

// Attr implements starlark.HasAttrs.
func (r receiver) Attr(name string) (starlark.Value, error) {
	method, err := r.HasAttrs.Attr(name)
	if err != nil || method == nil {
		return nil, err
	}
	return starlark.NewBuiltin(name, func(thread *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := methodChecks[name](r.HasAttrs, args, kwargs); err != nil {
			return nil, fmt.Errorf("%s: %w", name, err)
		}
		return method.(*starlark.Builtin).CallInternal(thread, args, kwargs)
	}), nil
}

func checkExtend(list starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) == 1 && starlark.Len(args[0]) > small && starlark.Len(list)+starlark.Len(args[0]) > maxElements {
		return fmt.Errorf("the list has more than %d elements", maxElements)
	}
	return nil
}

func checkFormatCall(x starlark.Value, args starlark.Tuple, kwargs []starlark.Tuple) error {
	s := x.(starlark.String)
	uses := 1
	if fields := strings.Count(string(s), "{"); fields > strings.Count(string(s), "{}") {
		uses = fields
	}
	values := slices.Clip(args) // what is behind them is the interpreter's
	for _, kv := range kwargs {
		values = append(values, kv[1])
	}
	return checkFormat(s, values, uses)
}

func checkReplace(x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) < 2 {
		return nil
	}
	replaced, ok1 := starlark.AsString(args[0])
	by, ok2 := starlark.AsString(args[1])
	if !ok1 || !ok2 || len(by) <= len(replaced) {
		return nil
	}
	if count := strings.Count(string(x.(starlark.String)), replaced); count > maxText/len(by) {
		return fmt.Errorf("%d times %d bytes are more than %d", count, len(by), maxText)
	}
	return nil
}

func checkJoin(x starlark.Value, args starlark.Tuple, _ []starlark.Tuple) error {
	if len(args) != 1 {
		return nil
	}
	parts, ok := args[0].(starlark.Iterable)
	if !ok {
		return nil
	}
	separator, total := starlark.Len(x), 0
	for part := range starlark.Elements(parts) {
		s, _ := starlark.AsString(part)
		if total += len(s) + separator; total > maxText+separator {
			return fmt.Errorf("the result has more than %d bytes", maxText)
		}
	}
	return nil
}
