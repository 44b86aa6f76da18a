package dynamolocal

import (
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// legacyWrite is a write in the style before expressions.
type legacyWrite struct {
	filter  legacyFilter
	updates []wire.LegacyUpdate
}

// legacyFilter is a list of tests joined by AND or OR.
type legacyFilter struct {
	tests []wire.LegacyTest
	or    bool
}

// operandCounts is how many values each comparison takes; -1: one or more.
var operandCounts = map[string]int{
	"EQ": 1, "NE": 1, "LE": 1, "LT": 1, "GE": 1, "GT": 1, "CONTAINS": 1, "NOT_CONTAINS": 1,
	"BEGINS_WITH": 1, "NULL": 0, "NOT_NULL": 0, "BETWEEN": 2, "IN": -1,
}

// comparisonOperators are all comparisons, in the order in which errors show them.
var comparisonOperators = []string{"IN", "NULL", "BETWEEN", "LT", "NOT_CONTAINS", "EQ", "GT", "NOT_NULL", "NE", "LE", "BEGINS_WITH", "GE", "CONTAINS"}

// operandKinds are the types that a comparison takes; one that is not here takes any.
var operandKinds = map[string][]attr.Kind{
	"LE": {attr.S, attr.N, attr.B}, "LT": {attr.S, attr.N, attr.B}, "GE": {attr.S, attr.N, attr.B}, "GT": {attr.S, attr.N, attr.B},
	"BETWEEN": {attr.S, attr.N, attr.B}, "IN": {attr.S, attr.N, attr.B}, "CONTAINS": {attr.S, attr.N, attr.B}, "NOT_CONTAINS": {attr.S, attr.N, attr.B},
	"BEGINS_WITH": {attr.S, attr.B},
}

// legacy collects the enumerations of the members that expressions replaced.
func (c *constraints) legacy(o *wire.Legacy) {
	if o.Operator != "" {
		c.enum(wire.Text{S: o.Operator, Set: true}, "conditionalOperator", "OR", "AND")
	}
	tests := func(member string, list []wire.LegacyTest, required bool) {
		for i := range list {
			name := member + "." + list[i].Name + ".member.comparisonOperator"
			if operator := list[i].Operator; operator != "" {
				c.enum(wire.Text{S: operator, Set: true}, name, comparisonOperators...)
			} else {
				c.required(!required, name)
			}
		}
	}
	tests("expected", o.Expected, false)
	tests("keyConditions", o.KeyConditions, true)
	tests(o.FilterMember, o.QueryFilter, true)
	for _, u := range o.Updates {
		c.enum(wire.Text{S: u.Action, Set: true}, "attributeUpdates."+u.Name+".member.action", "ADD", "DELETE", "PUT")
	}
}

func legacyOf(r *wire.Request) (*legacyWrite, error) {
	if r.Old.Err != nil {
		return nil, r.Old.Err
	}
	for i := range r.Old.Expected {
		if err := checkExpected(&r.Old.Expected[i]); err != nil {
			return nil, err
		}
	}
	filter, err := newLegacyFilter(r.Old.Expected, r.Old.Operator)
	if err != nil {
		return nil, err
	}
	w := &legacyWrite{filter: *filter, updates: r.Old.Updates}
	for _, u := range w.updates {
		switch {
		case u.Action != "DELETE" && !u.Value.Exists():
			return nil, invalid("Only DELETE action is allowed when no attribute value is specified")
		case u.Action == "ADD" && u.Value.Kind() != attr.N && !u.Value.Kind().Set() && u.Value.Kind() != attr.L:
			return nil, invalid("ADD action is not supported for the type " + u.Value.Kind().String())
		case u.Action == "DELETE" && u.Value.Exists() && !u.Value.Kind().Set():
			return nil, invalid("DELETE action with value is not supported for the type " + u.Value.Kind().String())
		}
	}
	return w, nil
}

func legacyFilterOf(r *wire.Request) (*legacyFilter, error) {
	if r.Old.Err != nil {
		return nil, r.Old.Err
	}
	return newLegacyFilter(r.Old.QueryFilter, r.Old.Operator)
}

func newLegacyFilter(tests []wire.LegacyTest, operator string) (*legacyFilter, error) {
	f := &legacyFilter{tests: slices.Clone(tests), or: operator == "OR"}
	if operator != "" && len(tests) == 0 {
		return nil, invalid("ConditionalOperator cannot be used without Filter or Expected")
	}
	if operator != "" && len(tests) == 1 {
		return nil, invalid("ConditionalOperator can only be used when Filter or Expected has two or more elements")
	}
	for i := range f.tests {
		t := &f.tests[i]
		if t.Operator == "" {
			if err := plainExpected(t); err != nil {
				return nil, err
			}
			continue
		}
		if t.HasValue {
			t.Values = append(t.Values, t.Value)
		}
		if err := checkOperands(t); err != nil {
			return nil, err
		}
	}
	return f, nil
}

// checkExpected refuses members of an expectation that do not go together.
func checkExpected(t *wire.LegacyTest) error {
	switch {
	case t.HasValues && t.HasValue:
		return invalid("Value and AttributeValueList cannot be used together for Attribute: " + t.Name)
	case t.Operator != "" && t.HasExists:
		return invalid("Exists and ComparisonOperator cannot be used together for Attribute: " + t.Name)
	case t.Operator != "" && operandCounts[t.Operator] != 0 && !t.HasValues && !t.HasValue:
		return invalid("Value or AttributeValueList must be used with ComparisonOperator: " + t.Operator + " for Attribute: " + t.Name)
	case t.Operator == "" && t.HasValues:
		return invalid("AttributeValueList can only be used with a ComparisonOperator for Attribute: " + t.Name)
	}
	return nil
}

// checkOperands checks the number and the types of the values of a comparison.
func checkOperands(t *wire.LegacyTest) error {
	if want := operandCounts[t.Operator]; want >= 0 && len(t.Values) != want || want < 0 && len(t.Values) == 0 {
		return invalid("Invalid number of argument(s) for the " + t.Operator + " ComparisonOperator")
	}
	for _, v := range t.Values {
		if v.Kind() != t.Values[0].Kind() {
			return invalid("AttributeValues inside AttributeValueList must be of same type")
		}
	}
	if kinds, ok := operandKinds[t.Operator]; ok {
		for _, v := range t.Values {
			if !slices.Contains(kinds, v.Kind()) {
				return invalid("ComparisonOperator " + t.Operator + " is not valid for " + v.Kind().String() + " AttributeValue type")
			}
		}
	}
	if t.Operator == "BETWEEN" && attr.Compare(t.Values[0], t.Values[1]) > 0 {
		return validation("The BETWEEN condition was provided a range where the lower bound is greater than the upper bound")
	}
	return nil
}

// checkToGet refuses an empty AttributesToGet, and names given twice.
func checkToGet(r *wire.Request) error {
	if !slices.Contains(r.Legacy, "AttributesToGet") {
		return nil
	}
	if len(r.Old.ToGet) == 0 {
		return validation(validatorPrefix + "Value '[]' at 'attributesToGet' failed to satisfy constraint: Member must have length greater than or equal to 1")
	}
	for i, name := range r.Old.ToGet {
		if err := attr.NameError(name); err != nil {
			return err
		}
		if slices.Contains(r.Old.ToGet[:i], name) {
			return invalid("Duplicate value in attribute name: " + name)
		}
	}
	return nil
}

// plainExpected turns the oldest form, a value or its absence, into a comparison.
func plainExpected(t *wire.LegacyTest) error {
	switch {
	case t.Value.Exists() && !t.Exists:
		return invalid("Value cannot be used when Exists is false for Attribute: " + t.Name)
	case t.Value.Exists():
		t.Operator, t.Values = "EQ", []attr.Value{t.Value}
	case t.HasExists && !t.Exists:
		t.Operator = "NULL"
	case t.HasExists:
		return invalid("Value must be provided when Exists is true for Attribute: " + t.Name)
	default:
		return invalid("Value must be provided when Exists is null for Attribute: " + t.Name)
	}
	return nil
}

func (w *legacyWrite) holds(item *attr.Map) bool { return w.filter.holds(item) }

func (f *legacyFilter) holds(item *attr.Map) bool {
	if len(f.tests) == 0 {
		return true
	}
	for i := range f.tests {
		if legacyHolds(&f.tests[i], item) == f.or {
			return f.or
		}
	}
	return !f.or
}

func legacyHolds(t *wire.LegacyTest, item *attr.Map) bool {
	v := item.Get(t.Name)
	switch t.Operator {
	case "NULL":
		return !v.Exists()
	case "NOT_NULL":
		return v.Exists()
	case "NE":
		return !v.Exists() || !attr.Equal(v, t.Values[0])
	}
	if !v.Exists() {
		return false
	}
	switch t.Operator {
	case "EQ":
		return attr.Equal(v, t.Values[0])
	case "IN":
		return slices.ContainsFunc(t.Values, func(x attr.Value) bool { return attr.Equal(v, x) })
	case "CONTAINS", "NOT_CONTAINS":
		return legacyContains(v, t.Values[0]) == (t.Operator == "CONTAINS")
	case "BEGINS_WITH":
		return v.Kind() == t.Values[0].Kind() && strings.HasPrefix(v.Text(), t.Values[0].Text())
	}
	for _, x := range t.Values {
		if x.Kind() != v.Kind() || !v.Kind().Ordered() {
			return false
		}
	}
	c := attr.Compare(v, t.Values[0])
	switch t.Operator {
	case "LT":
		return c < 0
	case "LE":
		return c <= 0
	case "GT":
		return c > 0
	case "GE":
		return c >= 0
	}
	return c >= 0 && attr.Compare(v, t.Values[1]) <= 0
}

func legacyContains(v, x attr.Value) bool {
	if v.Kind() == attr.S || v.Kind() == attr.B {
		return v.Kind() == x.Kind() && strings.Contains(v.Text(), x.Text())
	}
	return v.HasMember(x)
}

func (w *legacyWrite) apply(old *attr.Map, draft *attr.Draft) error {
	for _, u := range w.updates {
		have := old.Get(u.Name)
		switch {
		case u.Action == "PUT", u.Action == "ADD" && !have.Exists():
			draft.Set(u.Name, u.Value)
		case u.Action == "DELETE" && !u.Value.Exists():
			draft.Remove(u.Name)
		case !have.Exists():
		case have.Kind() != u.Value.Kind():
			return validation("Type mismatch for attribute to update")
		case u.Action == "DELETE":
			if rest := attr.Difference(have, u.Value); rest.Exists() {
				draft.Set(u.Name, rest)
			} else {
				draft.Remove(u.Name)
			}
		case have.Kind() == attr.N:
			sum, err := attr.Add(have, u.Value)
			if err != nil {
				return err
			}
			draft.Set(u.Name, sum)
		case have.Kind() == attr.L:
			draft.Set(u.Name, attr.ListOf(slices.Concat(have.Values(), u.Value.Values())))
		default:
			draft.Set(u.Name, attr.Union(have, u.Value))
		}
	}
	return nil
}

func (w *legacyWrite) targets() []expression.Path {
	names := make([]string, len(w.updates))
	for i, u := range w.updates {
		names[i] = u.Name
	}
	return topPaths(names)
}

// keyOperators are the comparisons of KeyConditions as operators of key tests.
var keyOperators = map[string]string{"EQ": "=", "LT": "<", "LE": "<=", "GT": ">", "GE": ">=", "BETWEEN": "BETWEEN", "BEGINS_WITH": "begins_with"}

// legacyKeyTests returns the tests of KeyConditions. A comparison that no key condition can have keeps
// its name.
func legacyKeyTests(r *wire.Request) ([]expression.KeyTest, error) {
	if r.Old.Err != nil {
		return nil, r.Old.Err
	}
	var out []expression.KeyTest
	for i := range r.Old.KeyConditions {
		t := &r.Old.KeyConditions[i]
		if err := checkOperands(t); err != nil {
			return nil, err
		}
		operator, ok := keyOperators[t.Operator]
		if !ok {
			operator = t.Operator
		}
		out = append(out, expression.KeyTest{Name: t.Name, Operator: operator, Values: t.Values})
	}
	if len(out) == 0 || len(out) > 2 {
		return nil, validation("Conditions can be of length 1 or 2 only")
	}
	return out, nil
}

// onlyDeletes reports whether an update in the older style does nothing but delete: that creates no
// item.
func (w *legacyWrite) onlyDeletes() bool {
	return len(w.updates) > 0 && !slices.ContainsFunc(w.updates, func(u wire.LegacyUpdate) bool { return u.Action != "DELETE" })
}
