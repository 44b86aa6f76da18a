package expression

import (
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// Holds evaluates a bound condition or filter against an item, or against nothing when it is nil.
func (b *Bound) Holds(item *attr.Map) bool { return b.holds(b.form.root, item) }

func (b *Bound) holds(t *test, item *attr.Map) bool {
	switch t.kind {
	case testAnd:
		return b.holds(t.left, item) && b.holds(t.right, item)
	case testOr:
		return b.holds(t.left, item) || b.holds(t.right, item)
	case testNot:
		return !b.holds(t.left, item)
	case testCompare:
		return compare(t.op, b.eval(&t.args[0], item), b.eval(&t.args[1], item))
	case testBetween:
		v, low, high := b.eval(&t.args[0], item), b.eval(&t.args[1], item), b.eval(&t.args[2], item)
		return compare(">=", v, low) && compare("<=", v, high)
	case testIn:
		v := b.eval(&t.args[0], item)
		for i := range t.args[1:] {
			if compare("=", v, b.eval(&t.args[i+1], item)) {
				return true
			}
		}
		return false
	}
	return b.function(t, item)
}

// eval returns the value of an operand, the zero Value when there is none.
func (b *Bound) eval(o *operand, item *attr.Map) attr.Value {
	switch o.kind {
	case opValue:
		return b.values[o.ref]
	case opPath:
		return b.get(item, o.path)
	}
	// size is the only function that gives a value in a condition.
	if n, ok := b.eval(&o.args[0], item).Length(); ok {
		return attr.Int(int64(n))
	}
	return attr.Value{}
}

// compare applies an operator; with a value missing on either side only <> holds.
func compare(op string, x, y attr.Value) bool {
	switch op {
	case "=":
		return x.Exists() && y.Exists() && attr.Equal(x, y)
	case "<>":
		return !x.Exists() || !y.Exists() || !attr.Equal(x, y)
	}
	if x.Kind() != y.Kind() || !x.Kind().Ordered() {
		return false
	}
	c := attr.Compare(x, y)
	switch op {
	case "<":
		return c < 0
	case "<=":
		return c <= 0
	case ">":
		return c > 0
	}
	return c >= 0
}

func (b *Bound) function(t *test, item *attr.Map) bool {
	v := b.eval(&t.args[0], item)
	switch t.fn {
	case "attribute_exists":
		return v.Exists()
	case "attribute_not_exists":
		return !v.Exists()
	}
	arg := b.eval(&t.args[1], item)
	if !v.Exists() || !arg.Exists() {
		return false
	}
	switch t.fn {
	case "attribute_type":
		return v.Kind().String() == arg.Text()
	case "begins_with":
		return v.Kind() == arg.Kind() && (v.Kind() == attr.S || v.Kind() == attr.B) && strings.HasPrefix(v.Text(), arg.Text())
	}
	if v.Kind() == attr.S || v.Kind() == attr.B {
		return v.Kind() == arg.Kind() && strings.Contains(v.Text(), arg.Text())
	}
	return v.HasMember(arg)
}
