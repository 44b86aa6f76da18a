package expression

import (
	"fmt"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// check finds what is wrong with a bound expression whatever item it meets.
func (b *Bound) check() error {
	switch {
	case b.form.root != nil:
		return b.checkTest(b.form.root)
	case b.form.actions != nil:
		return b.checkActions()
	}
	return b.checkOverlaps(b.form.paths)
}

func (b *Bound) checkTest(t *test) error {
	for _, child := range [...]*test{t.left, t.right} {
		if child != nil {
			if err := b.checkTest(child); err != nil {
				return err
			}
		}
	}
	for i := range t.args {
		if err := b.checkCalls(&t.args[i]); err != nil {
			return err
		}
	}
	switch t.kind {
	case testCompare:
		return b.checkCompare(t)
	case testBetween:
		return b.checkBetween(t)
	case testIn:
		return b.checkDistinct("IN", t.args)
	case testFunc:
		return b.checkFunction(t.fn, t.args)
	}
	return nil
}

func (b *Bound) checkCalls(o *operand) error {
	if o.kind != opFunc {
		return nil
	}
	for i := range o.args {
		if err := b.checkCalls(&o.args[i]); err != nil {
			return err
		}
	}
	return b.checkFunction(o.fn, o.args)
}

// kindOf returns the kind of a value operand or a size, Invalid for what only an item can tell.
func (b *Bound) kindOf(o *operand) attr.Kind {
	switch {
	case o.kind == opValue:
		return b.values[o.ref].Kind()
	case o.kind == opFunc && o.fn == "size":
		return attr.N
	}
	return attr.Invalid
}

func (b *Bound) typeName(k attr.Kind) string {
	if b.longTypes {
		return k.LongName()
	}
	return k.String()
}

func (b *Bound) badType(function string, k attr.Kind) error {
	return b.refuse("Incorrect operand type for operator or function; operator or function: " + function + ", operand type: " + b.typeName(k))
}

func (b *Bound) checkFunction(fn string, args []operand) error {
	want := conditionFunctions[fn]
	if b.form.kind == "Update" {
		want = updateFunctions[fn]
	}
	if len(args) != want {
		return b.refuse(fmt.Sprintf("Incorrect number of operands for operator or function; operator or function: %s, number of operands: %d", fn, len(args)))
	}
	if b.form.kind != "Update" {
		if err := b.checkDistinct(fn, args); err != nil {
			return err
		}
	}
	switch fn {
	case "attribute_exists", "attribute_not_exists", "if_not_exists":
		if args[0].kind != opPath {
			return b.refuse("Operator or function requires a document path; operator or function: " + fn)
		}
	case "begins_with":
		for i := range args {
			if k := b.kindOf(&args[i]); k != attr.Invalid && k != attr.S && k != attr.B {
				return b.badType(fn, k)
			}
		}
	case "attribute_type":
		return b.checkAttributeType(&args[1])
	case "size":
		if k := b.kindOf(&args[0]); k == attr.N || k == attr.BOOL || k == attr.NULL {
			return b.badType(fn, k)
		}
	case "list_append":
		for i := range args {
			if k := b.kindOf(&args[i]); k != attr.Invalid && k != attr.L {
				return b.badType(fn, k)
			}
		}
	}
	return nil
}

func (b *Bound) checkAttributeType(o *operand) error {
	k := b.kindOf(o)
	if k == attr.Invalid {
		return b.refuse("Incorrect operand type for operator or function; operator or function: attribute_type, operand type: {NS,SS,L,BS,N,M,B,BOOL,NULL,S}")
	}
	if k != attr.S {
		return b.badType("attribute_type", k)
	}
	name := b.values[o.ref].Text()
	if !strings.Contains(" S N B NULL SS BOOL L BS NS M ", " "+name+" ") || name == "" {
		return b.refuse("Invalid attribute type name found; type: " + name + ", valid types: {B,NULL,SS,BOOL,L,BS,N,NS,S,M}")
	}
	return nil
}

// checkDistinct refuses a first operand whose path occurs among the others.
func (b *Bound) checkDistinct(operator string, args []operand) error {
	for i := 1; i < len(args); i++ {
		if args[0].kind != opPath || args[i].kind != opPath || len(args[0].path) != len(args[i].path) {
			continue
		}
		if one := b.path(args[0].path); one.equal(b.path(args[i].path)) {
			return b.refuse("The first operand must be distinct from the remaining operands for this operator or function; operator: " +
				operator + ", first operand: " + one.String())
		}
	}
	return nil
}

func (b *Bound) checkCompare(t *test) error {
	if err := b.checkDistinct(t.op, t.args); err != nil {
		return err
	}
	if t.op == "=" || t.op == "<>" {
		return nil
	}
	for i := range t.args {
		if k := b.kindOf(&t.args[i]); k != attr.Invalid && !k.Ordered() {
			return b.badType(t.op, k)
		}
	}
	return nil
}

func (b *Bound) checkBetween(t *test) error {
	if err := b.checkDistinct("BETWEEN", t.args); err != nil {
		return err
	}
	for i := range t.args {
		if k := b.kindOf(&t.args[i]); k != attr.Invalid && !k.Ordered() {
			return b.badType("BETWEEN", k)
		}
	}
	if t.args[1].kind != opValue || t.args[2].kind != opValue {
		return nil
	}
	low, high := b.values[t.args[1].ref], b.values[t.args[2].ref]
	what := ""
	switch {
	case low.Kind() != high.Kind():
		what = "same data type for lower and upper bounds"
	case attr.Compare(low, high) > 0:
		what = "upper bound to be greater than or equal to lower bound"
	default:
		return nil
	}
	return b.refuse(fmt.Sprintf("The BETWEEN operator requires %s; lower bound operand: AttributeValue: {%s:%s}, upper bound operand: AttributeValue: {%s:%s}",
		what, low.Kind(), low.Key(), high.Kind(), high.Key()))
}

func (b *Bound) checkActions() error {
	paths := make([]path, 0, 8)
	for i := range b.form.actions {
		paths = append(paths, b.form.actions[i].path)
	}
	if err := b.checkOverlaps(paths); err != nil {
		return err
	}
	for i := range b.form.actions {
		a := &b.form.actions[i]
		if a.section != secAdd && a.section != secDelete {
			continue
		}
		k := b.values[a.ref].Kind()
		if !k.Set() && (a.section == secDelete || k != attr.N) {
			return b.refuse("Incorrect operand type for operator or function; operator: " + sectionNames[a.section] + ", operand type: " + k.LongName())
		}
	}
	for i := range b.form.actions {
		if a := &b.form.actions[i]; a.section == secSet {
			if err := b.checkSet(a); err != nil {
				return err
			}
		}
	}
	return nil
}

func (b *Bound) checkSet(a *action) error {
	for _, o := range [...]*operand{&a.value, &a.second} {
		if err := b.checkCalls(o); err != nil {
			return err
		}
		if a.op == 0 {
			break
		}
		if k := b.kindOf(o); k != attr.Invalid && k != attr.N {
			return b.badType(string(a.op), k)
		}
	}
	return nil
}

// checkOverlaps refuses paths of which one contains or equals another, or that use one place as a
// list and as a map.
func (b *Bound) checkOverlaps(paths []path) error {
	var conflict error
	for i := range paths {
		for j := range i {
			message := b.overlap(paths[j], paths[i])
			if message == "" {
				continue
			}
			err := b.refuse(message)
			if strings.HasPrefix(message, "Two document paths overlap") {
				return err
			}
			if conflict == nil {
				conflict = err
			}
		}
	}
	return conflict
}

func (b *Bound) overlap(one, two path) string {
	for i := range min(len(one), len(two)) {
		x, y := one[i], two[i]
		if (x.index >= 0) != (y.index >= 0) {
			return b.pathMessage("conflict", one, two)
		}
		if x.index != y.index || x.index < 0 && b.stepName(x) != b.stepName(y) {
			return ""
		}
	}
	return b.pathMessage("overlap", one, two)
}

func (b *Bound) pathMessage(verb string, one, two path) string {
	return "Two document paths " + verb + " with each other; must remove or rewrite one of these paths; path one: " +
		b.path(one).String() + ", path two: " + b.path(two).String()
}
