package template

import (
	"maps"
	"slices"
)

// rule is one member of the Rules block: what must hold of the parameters, if its condition does.
type rule struct {
	condition  any // nil holds always
	assertions []assertion
}

type assertion struct {
	that        any
	description string
}

// ruleFunctions are those that only rules may use. The functions that look into the account (Fn::RefAll,
// Fn::ValueOf, Fn::ValueOfAll) are refused.
var ruleFunctions = []string{"Fn::Contains", "Fn::EachMemberEquals", "Fn::EachMemberIn"}

func readRule(path string, from map[string]any) (*rule, error) {
	r := &rule{condition: from["RuleCondition"]}
	list, _ := from["Assertions"].([]any)
	if len(list) == 0 {
		return nil, Errorf("Template format error: [%s] Every Rules object must contain a list of Assertions.", path)
	}
	for _, item := range list {
		members, _ := item.(map[string]any)
		a := assertion{that: members["Assert"]}
		if a.that == nil {
			return nil, Errorf("Template format error: [%s/Assertions] Every assertion must contain an Assert member.", path)
		}
		if members["AssertDescription"] != nil {
			var err error
			if a.description, err = textAt(members["AssertDescription"], path+"/Assertions"); err != nil {
				return nil, err
			}
		}
		r.assertions = append(r.assertions, a)
	}
	return r, nil
}

// checkRules finds names and functions that rules cannot use.
func (t *Template) checkRules() error {
	for name, r := range t.rules {
		values := []any{r.condition}
		for _, a := range r.assertions {
			values = append(values, a.that)
		}
		for _, reference := range References(values) {
			if t.Parameters[reference.Name] == nil && !pseudo[reference.Name] {
				return Errorf("Template format error: Unresolved dependencies [%s]. Cannot reference resources in the Rules block of the template", reference.Name)
			}
		}
		var problem error
		visit(values, func(function string, _ any) {
			if !slices.Contains(functions, function) && !slices.Contains(ruleFunctions, function) {
				problem = Errorf("Template format error: Unrecognized function %s in rule %s", function, name)
			}
		})
		if problem != nil {
			return problem
		}
	}
	return nil
}

// obey checks the values of the parameters against the template's rules.
func (i *Instance) obey() error {
	for _, name := range slices.Sorted(maps.Keys(i.template.rules)) {
		r := i.template.rules[name]
		if r.condition != nil {
			if applies, err := i.holds(r.condition, nil); err != nil {
				return err
			} else if !applies {
				continue
			}
		}
		for _, a := range r.assertions {
			holds, err := i.holds(a.that, nil)
			if err != nil {
				return err
			}
			if holds {
				continue
			}
			if a.description == "" {
				return Errorf("Rule %s is not satisfied", name)
			}
			return Error(a.description)
		}
	}
	return nil
}

// member evaluates the functions that only rules have, whose arguments are a list and a value or list.
func (i *Instance) member(name string, arguments []any) (bool, error) {
	if len(arguments) != 2 {
		return false, Errorf("Template error: %s requires a list argument with two elements", name)
	}
	resolved, err := i.Resolve(arguments, nil)
	if err != nil {
		return false, err
	}
	both := resolved.([]any)
	list, _ := both[0].([]any)
	in, isList := both[1].([]any)
	if !isList {
		in = both[1:]
	}
	among := func(among []any, value any) bool {
		return slices.ContainsFunc(among, func(each any) bool { return Text(each) == Text(value) })
	}
	if name == "Fn::Contains" {
		return among(list, both[1]), nil
	}
	return !slices.ContainsFunc(list, func(each any) bool { return !among(in, each) }), nil
}
