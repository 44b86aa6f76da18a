package expression

import (
	"slices"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// KeyTest is one test of a key condition: an attribute, an operator (=, <, <=, >, >=, BETWEEN,
// begins_with) and its values.
type KeyTest struct {
	Name     string
	Operator string
	Values   []attr.Value
}

// KeyTests takes a bound key condition apart.
func (b *Bound) KeyTests() ([]KeyTest, error) {
	var tests []KeyTest
	if err := b.keyTests(b.form.root, &tests); err != nil {
		return nil, err
	}
	return tests, nil
}

func (b *Bound) keyTests(t *test, tests *[]KeyTest) error {
	switch t.kind {
	case testAnd:
		if err := b.keyTests(t.left, tests); err != nil {
			return err
		}
		return b.keyTests(t.right, tests)
	case testOr:
		return b.badOperator("OR")
	case testNot:
		return b.badOperator("NOT")
	case testIn:
		return b.badOperator("IN")
	case testFunc:
		if t.fn != "begins_with" {
			return b.badOperator(t.fn)
		}
	case testCompare:
		if t.op == "<>" {
			return b.badOperator("<>")
		}
	}
	test, err := b.keyTest(t)
	if err != nil {
		return err
	}
	for _, have := range *tests {
		if have.Name == test.Name {
			return &Error{Message: "KeyConditionExpressions must only contain one condition per key"}
		}
	}
	*tests = append(*tests, test)
	return nil
}

func (b *Bound) badOperator(name string) error {
	return &Error{Message: "Invalid operator used in KeyConditionExpression: " + name}
}

// mirrored is the operator with its operands exchanged.
var mirrored = map[string]string{"=": "=", "<": ">", "<=": ">=", ">": "<", ">=": "<="}

func (b *Bound) keyTest(t *test) (KeyTest, error) {
	test := KeyTest{Operator: t.op}
	operands := t.args
	for i := range operands {
		if operands[i].kind == opFunc {
			return test, b.refuseKey("KeyConditionExpressions cannot contain nested operations")
		}
	}
	switch t.kind {
	case testBetween:
		test.Operator = "BETWEEN"
	case testFunc:
		test.Operator = t.fn
	case testCompare:
		if operands[0].kind == opValue && operands[1].kind == opPath {
			operands = []operand{operands[1], operands[0]}
			test.Operator = mirrored[t.op]
		}
	}
	if !slices.ContainsFunc(operands, func(o operand) bool { return o.kind == opPath }) {
		return test, b.refuseKey("Invalid condition in KeyConditionExpression: No key attribute specified")
	}
	if operands[0].kind != opPath {
		return test, b.refuseKey("Invalid condition in KeyConditionExpression: " + test.Operator + " operator must have the key attribute as its first operand")
	}
	if len(operands[0].path) > 1 {
		return test, &Error{Message: "KeyConditionExpressions cannot have conditions on nested attributes"}
	}
	test.Name = b.stepName(operands[0].path[0])
	for i := range operands[1:] {
		o := &operands[i+1]
		if o.kind != opValue {
			return test, b.refuseKey("Invalid condition in KeyConditionExpression: Multiple attribute names used in one condition")
		}
		test.Values = append(test.Values, b.values[o.ref])
	}
	return test, nil
}

func (b *Bound) refuseKey(message string) error { return &Error{Message: message} }
