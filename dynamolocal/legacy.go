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

func legacyOf(r *wire.Request) (*legacyWrite, error) {
	if r.Old.Err != nil {
		return nil, r.Old.Err
	}
	filter, err := newLegacyFilter(r.Old.Expected, r.Old.Operator, "Expected")
	if err != nil {
		return nil, err
	}
	w := &legacyWrite{filter: *filter, updates: r.Old.Updates}
	for _, u := range w.updates {
		switch {
		case u.Action != "PUT" && u.Action != "ADD" && u.Action != "DELETE":
			var c constraints
			c.fail(u.Action, "attributeUpdates."+u.Name+".member.action", "Member must satisfy enum value set: [ADD, DELETE, PUT]")
			return nil, c.err()
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
	return newLegacyFilter(r.Old.QueryFilter, r.Old.Operator, "QueryFilter")
}

func newLegacyFilter(tests []wire.LegacyTest, operator, member string) (*legacyFilter, error) {
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
		if t.Value.Exists() {
			t.Values = append(t.Values, t.Value)
		}
		want, ok := operandCounts[t.Operator]
		if !ok {
			var c constraints
			c.fail(t.Operator, strings.ToLower(member[:1])+member[1:]+"."+t.Name+".member.comparisonOperator",
				"Member must satisfy enum value set: [IN, NULL, BETWEEN, LT, NOT_CONTAINS, EQ, GT, NOT_NULL, NE, LE, BEGINS_WITH, GE, CONTAINS]")
			return nil, c.err()
		}
		if want >= 0 && len(t.Values) != want || want < 0 && len(t.Values) == 0 {
			return nil, invalid("Invalid number of argument(s) for the " + t.Operator + " ComparisonOperator")
		}
	}
	return f, nil
}

// plainExpected turns the oldest form, a value or its absence, into a comparison.
func plainExpected(t *wire.LegacyTest) error {
	switch {
	case t.Value.Exists() && !t.Exists:
		return invalid("Value cannot be used when Exists is set to false for Attribute: " + t.Name)
	case t.Value.Exists():
		t.Operator, t.Values = "EQ", []attr.Value{t.Value}
	case t.HasExists && !t.Exists:
		t.Operator = "NULL"
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

func legacyKeyTests(tests []wire.LegacyTest) ([]expression.KeyTest, error) {
	var out []expression.KeyTest
	for _, t := range tests {
		operator, ok := keyOperators[t.Operator]
		if !ok {
			return nil, validation("Attempted conditional constraint is not an indexable operation")
		}
		if len(t.Values) != operandCounts[t.Operator] {
			return nil, invalid("Invalid number of argument(s) for the " + t.Operator + " ComparisonOperator")
		}
		out = append(out, expression.KeyTest{Name: t.Name, Operator: operator, Values: t.Values})
	}
	return out, nil
}
