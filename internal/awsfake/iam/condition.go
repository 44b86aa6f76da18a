package iam

import (
	"fmt"
	"slices"
	"strings"
)

// condition is one test of a statement.
type condition struct {
	key      string // lower case
	wanted   []string
	test     func(wanted, value string) bool
	negated  bool // true when no wanted value passes the test
	null     bool
	ifExists bool
	// forAll and forAny are the set operators; with neither the key has one value.
	forAll, forAny bool
}

// newCondition knows the operators that the policies of limiter and load stacks use.
func newCondition(operator, key string, wanted []string) (condition, error) {
	c := condition{key: strings.ToLower(key), wanted: wanted}
	name := operator
	if rest, ok := strings.CutPrefix(name, "ForAllValues:"); ok {
		name, c.forAll = rest, true
	} else if rest, ok := strings.CutPrefix(name, "ForAnyValue:"); ok {
		name, c.forAny = rest, true
	}
	if rest, ok := strings.CutSuffix(name, "IfExists"); ok {
		name, c.ifExists = rest, true
	}
	for _, kind := range []string{"String", "Arn"} {
		if rest, ok := strings.CutPrefix(name, kind+"Not"); ok {
			name, c.negated = kind+rest, true
		}
	}
	switch name {
	case "StringEquals":
		c.test = func(wanted, value string) bool { return wanted == value }
	case "StringEqualsIgnoreCase", "Bool":
		c.test = strings.EqualFold
	case "StringLike", "ArnEquals", "ArnLike": // the two for ARNs do the same
		c.test = glob
	case "Null":
		c.null = true
	default:
		return condition{}, fmt.Errorf("the condition operator %s is not understood here", operator)
	}
	return c, nil
}

func (c condition) holds(keys map[string][]string) bool {
	values, present := keys[c.key]
	if c.null {
		return present != slices.Contains(c.wanted, "true")
	}
	passes := func(value string) bool {
		return c.negated != slices.ContainsFunc(c.wanted, func(wanted string) bool {
			wanted, ok := substitute(wanted, keys)
			return ok && c.test(wanted, value)
		})
	}
	switch {
	case c.forAll: // also when the request has no such key
		return !slices.ContainsFunc(values, func(value string) bool { return !passes(value) })
	case c.forAny:
		return slices.ContainsFunc(values, passes)
	case !present:
		return c.ifExists || c.negated
	default:
		return passes(values[0])
	}
}
