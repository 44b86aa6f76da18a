package template

import (
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Reference is one place where a value names something else: a parameter, a pseudo parameter or a
// resource. Attribute is empty for Ref.
type Reference struct {
	Name, Attribute string
}

func (r Reference) String() string {
	if r.Attribute == "" {
		return r.Name
	}
	return r.Name + "." + r.Attribute
}

// References are what a value refers to by Ref, Fn::GetAtt and Fn::Sub, each once, sorted.
func References(value any) []Reference {
	found := map[Reference]bool{}
	visit(value, func(function string, argument any) {
		switch function {
		case "Ref":
			found[Reference{Name: Text(argument)}] = true
		case "Fn::GetAtt":
			if resource, attribute, ok := getAtt(argument); ok {
				found[Reference{resource, attribute}] = true
			}
		case "Fn::Sub":
			pattern, local, _ := subOf(argument)
			for _, name := range variables(pattern) {
				if _, ok := local[name]; !ok {
					resource, attribute, _ := strings.Cut(name, ".")
					found[Reference{resource, attribute}] = true
				}
			}
		}
	})
	return slices.SortedFunc(maps.Keys(found), func(a, b Reference) int { return strings.Compare(a.String(), b.String()) })
}

// visit calls f for every function in a value, those in arguments of others too.
func visit(value any, f func(function string, argument any)) {
	switch v := value.(type) {
	case map[string]any:
		if name, argument, ok := function(v); ok {
			f(name, argument)
		}
		for _, member := range v {
			visit(member, f)
		}
	case []any:
		for _, item := range v {
			visit(item, f)
		}
	}
}

// function reads a map that is a call of a function.
func function(members map[string]any) (name string, argument any, ok bool) {
	if len(members) != 1 {
		return "", nil, false
	}
	for name, argument = range members {
	}
	return name, argument, name == "Ref" || strings.HasPrefix(name, "Fn::")
}

func getAtt(argument any) (resource, attribute string, ok bool) {
	switch v := argument.(type) {
	case string:
		return strings.Cut(v, ".")
	case []any:
		if len(v) == 2 {
			resource, ok = v[0].(string)
			attribute, _ = v[1].(string)
			return resource, attribute, ok && attribute != ""
		}
	}
	return "", "", false
}

// subOf reads the argument of Fn::Sub: a text, or a text and its own variables.
func subOf(argument any) (pattern string, local map[string]any, ok bool) {
	switch v := argument.(type) {
	case string:
		return v, nil, true
	case []any:
		if len(v) == 2 {
			pattern, ok = v[0].(string)
			local, isMap := v[1].(map[string]any)
			return pattern, local, ok && isMap
		}
	}
	return "", nil, false
}

// variable is ${Name}, and ${!Literal}, which stands for ${Literal}.
var variable = regexp.MustCompile(`\$\{([^}]*)\}`)

func variables(pattern string) []string {
	var names []string
	for _, match := range variable.FindAllStringSubmatch(pattern, -1) {
		if !strings.HasPrefix(match[1], "!") {
			names = append(names, strings.TrimSpace(match[1]))
		}
	}
	return names
}

// check finds the names in the template that lead nowhere.
func (t *Template) check() error {
	if err := t.checkConditions(); err != nil {
		return err
	}
	if err := t.checkRules(); err != nil {
		return err
	}
	resources := make([]any, 0, len(t.Resources))
	depends := map[string]bool{}
	for _, id := range slices.Sorted(maps.Keys(t.Resources)) {
		r := t.Resources[id]
		resources = append(resources, r.Properties)
		for _, other := range r.DependsOn {
			if t.Resources[other] == nil {
				depends[other] = true
			}
		}
		if _, ok := t.conditions[r.Condition]; r.Condition != "" && !ok {
			return unresolvedCondition(r.Condition, "Resources")
		}
	}
	if err := t.checkBlock("Resources", resources, depends); err != nil {
		return err
	}
	outputs := make([]any, 0, len(t.Outputs))
	for _, name := range slices.Sorted(maps.Keys(t.Outputs)) {
		o := t.Outputs[name]
		outputs = append(outputs, o.Value, o.Export)
		if _, ok := t.conditions[o.Condition]; o.Condition != "" && !ok {
			return unresolvedCondition(o.Condition, "Outputs")
		}
	}
	return t.checkBlock("Outputs", outputs, nil)
}

func unresolvedCondition(name, block string) error {
	return Errorf("Template format error: Unresolved condition dependency %s in the %s block of the template", name, block)
}

// checkBlock checks functions and names in the values of a block; unresolved are names that are missing
// already.
func (t *Template) checkBlock(block string, values any, unresolved map[string]bool) error {
	var problem error
	visit(values, func(name string, argument any) {
		if problem == nil {
			problem = t.checkFunction(block, name, argument)
		}
	})
	if problem != nil {
		return problem
	}
	missing := maps.Clone(unresolved)
	if missing == nil {
		missing = map[string]bool{}
	}
	for _, reference := range References(values) {
		switch {
		case t.Resources[reference.Name] != nil:
		case reference.Attribute != "":
			return Errorf("Template error: instance of Fn::GetAtt references undefined resource %s", reference.Name)
		case t.Parameters[reference.Name] == nil && !pseudo[reference.Name]:
			missing[reference.Name] = true
		}
	}
	if len(missing) > 0 {
		return Errorf("Template format error: Unresolved resource dependencies [%s] in the %s block of the template",
			strings.Join(slices.Sorted(maps.Keys(missing)), ", "), block)
	}
	return nil
}

func (t *Template) checkFunction(block, name string, argument any) error {
	switch name {
	case "Ref":
		if _, ok := argument.(string); !ok {
			return Errorf("Template format error: Every Ref object must have a single String value.")
		}
	case "Fn::GetAtt":
		if _, _, ok := getAtt(argument); !ok {
			return Errorf("Template error: every Fn::GetAtt object requires two non-empty parameters, the resource name and the resource attribute")
		}
	case "Fn::Sub":
		if _, _, ok := subOf(argument); !ok {
			return Errorf("Template error: One or more Fn::Sub intrinsic functions don't specify expected arguments. Specify a string as first argument, and an optional second argument to specify a mapping of values to replace in the string")
		}
	case "Fn::If":
		list, _ := argument.([]any)
		if len(list) != 3 {
			return Errorf("Template error: Fn::If requires a list argument with three elements")
		}
		if _, ok := t.conditions[Text(list[0])]; !ok {
			return Errorf("Template error: unresolved condition dependency %s in Fn::If", Text(list[0]))
		}
	case "Fn::FindInMap":
		if list, _ := argument.([]any); len(list) == 3 {
			if name, ok := list[0].(string); ok && t.mappings[name] == nil {
				return Errorf("Template error: Mapping named '%s' is not present in the 'Mappings' section of template.", name)
			}
		}
	case "Fn::And", "Fn::Or", "Fn::Not", "Fn::Equals":
		return Errorf("Template format error: %s may only be used in the Conditions block, not in the %s block", name, block)
	default:
		if !slices.Contains(functions, name) {
			return Errorf("Template format error: Unrecognized function %s in the %s block of the template", name, block)
		}
	}
	return nil
}

func (t *Template) checkConditions() error {
	for _, name := range slices.Sorted(maps.Keys(t.conditions)) {
		for _, reference := range References(t.conditions[name]) {
			if t.Parameters[reference.Name] == nil && !pseudo[reference.Name] {
				return Errorf("Template format error: Unresolved dependencies [%s]. Cannot reference resources in the Conditions block of the template", reference.Name)
			}
		}
		var problem error
		visit(t.conditions[name], func(function string, _ any) {
			if function == "Fn::ImportValue" || function == "Fn::If" || !slices.Contains(functions, function) {
				problem = Errorf("Template error: Cannot use %s in Conditions.", function)
			}
		})
		if problem != nil {
			return problem
		}
	}
	return nil
}
