package template

import (
	"maps"
	"slices"
	"strings"
)

// Environment are the values of the pseudo parameters of a stack.
type Environment struct {
	Partition, Region, Account, URLSuffix string
	StackName, StackID                    string
	NotificationARNs                      []string
	// Zones are the region's availability zones.
	Zones []string
}

// pseudo are the names of the pseudo parameters.
var pseudo = map[string]bool{
	"AWS::AccountId": true, "AWS::NoValue": true, "AWS::NotificationARNs": true, "AWS::Partition": true,
	"AWS::Region": true, "AWS::StackId": true, "AWS::StackName": true, "AWS::URLSuffix": true,
}

// Instance is a template together with the values of its parameters: what is to be made of it. It is
// safe for concurrent use.
type Instance struct {
	// Resources and Outputs are those whose condition holds. Fn::If is resolved in them, and what has no
	// value is gone; other functions are still there, for Resolve.
	Resources map[string]*Resource
	Outputs   map[string]*Output

	template    *Template
	environment Environment
	values      map[string]string
	conditions  map[string]bool
	depends     map[string][]string
}

// Instantiate evaluates the template's rules and conditions with values, which come from Values.
func (t *Template) Instantiate(environment Environment, values map[string]string) (*Instance, error) {
	i := &Instance{
		Resources: map[string]*Resource{}, Outputs: map[string]*Output{},
		template: t, environment: environment, values: values, conditions: map[string]bool{},
	}
	for name := range t.conditions {
		if _, err := i.condition(name, nil); err != nil {
			return nil, err
		}
	}
	if err := i.obey(); err != nil {
		return nil, err
	}
	for id, r := range t.Resources {
		if r.Condition == "" || i.conditions[r.Condition] {
			instance := *r
			properties, _ := i.prune(r.Properties)
			if instance.Properties, _ = properties.(map[string]any); instance.Properties == nil {
				instance.Properties = map[string]any{}
			}
			i.Resources[id] = &instance
		}
	}
	for name, o := range t.Outputs {
		if o.Condition == "" || i.conditions[o.Condition] {
			instance := *o
			instance.Value, _ = i.prune(o.Value)
			instance.Export, _ = i.prune(o.Export)
			i.Outputs[name] = &instance
		}
	}
	return i, i.order()
}

// order finds what each resource depends on. A reference to a resource whose condition does not hold is
// an error; a mere DependsOn is not.
func (i *Instance) order() error {
	i.depends = map[string][]string{}
	missing := map[string]bool{}
	for id, r := range i.Resources {
		on := map[string]bool{}
		for _, other := range r.DependsOn {
			if i.Resources[other] != nil {
				on[other] = true
			}
		}
		for _, reference := range i.references(r.Properties, missing) {
			on[reference] = true
		}
		i.depends[id] = slices.Sorted(maps.Keys(on))
	}
	if err := unresolved(missing, "Resources"); err != nil {
		return err
	}
	for _, o := range i.Outputs {
		i.references([]any{o.Value, o.Export}, missing)
	}
	if err := unresolved(missing, "Outputs"); err != nil {
		return err
	}
	if circle := circular(i.depends); len(circle) > 0 {
		return Errorf("Circular dependency between resources: [%s]", strings.Join(circle, ", "))
	}
	return nil
}

func unresolved(missing map[string]bool, block string) error {
	if len(missing) == 0 {
		return nil
	}
	return Errorf("Template format error: Unresolved resource dependencies [%s] in the %s block of the template",
		strings.Join(slices.Sorted(maps.Keys(missing)), ", "), block)
}

// references are the resources that a value refers to; those that are not made go to missing.
func (i *Instance) references(value any, missing map[string]bool) (ids []string) {
	for _, reference := range References(value) {
		switch {
		case i.Resources[reference.Name] != nil:
			ids = append(ids, reference.Name)
		case i.template.Resources[reference.Name] != nil:
			missing[reference.Name] = true
		}
	}
	return ids
}

// circular are the nodes that stand in circles or depend on one, sorted; none when there is no circle.
func circular(depends map[string][]string) []string {
	left := maps.Clone(depends)
	for {
		before := len(left)
		maps.DeleteFunc(left, func(_ string, on []string) bool {
			return !slices.ContainsFunc(on, func(other string) bool { _, waits := left[other]; return waits })
		})
		if len(left) == before {
			return slices.Sorted(maps.Keys(left))
		}
	}
}

// Depends maps each resource to those that must be there before it, by references and by DependsOn. The
// caller must not change it.
func (i *Instance) Depends() map[string][]string { return i.depends }

// condition evaluates a named condition; within are the conditions that are being evaluated already.
func (i *Instance) condition(name string, within []string) (bool, error) {
	if holds, ok := i.conditions[name]; ok {
		return holds, nil
	}
	if slices.Contains(within, name) {
		return false, Errorf("Template format error: Circular dependency between conditions: [%s]", strings.Join(append(within, name), ", "))
	}
	expression, ok := i.template.conditions[name]
	if !ok {
		return false, unresolvedCondition(name, "Conditions")
	}
	holds, err := i.holds(expression, append(within, name))
	i.conditions[name] = holds
	return holds, err
}

func (i *Instance) holds(expression any, within []string) (bool, error) {
	call, _ := expression.(map[string]any)
	if name, ok := call["Condition"].(string); ok && len(call) == 1 {
		return i.condition(name, within)
	}
	name, argument, _ := function(call)
	arguments, _ := argument.([]any)
	switch name {
	case "Fn::Equals":
		if len(arguments) != 2 {
			return false, Errorf("Template error: Fn::Equals requires a list argument with two elements")
		}
		return i.equal(arguments[0], arguments[1])
	case "Fn::Not":
		if len(arguments) != 1 {
			return false, Errorf("Template error: Fn::Not requires a list argument with one element")
		}
		holds, err := i.holds(arguments[0], within)
		return !holds, err
	case "Fn::And", "Fn::Or":
		if len(arguments) < 2 || len(arguments) > 10 {
			return false, Errorf("Template error: %s requires a list argument with two to ten elements", name)
		}
		all, any := true, false
		for _, each := range arguments {
			holds, err := i.holds(each, within)
			if err != nil {
				return false, err
			}
			all, any = all && holds, any || holds
		}
		return (name == "Fn::And" && all) || (name == "Fn::Or" && any), nil
	}
	if slices.Contains(ruleFunctions, name) {
		return i.member(name, arguments)
	}
	return false, Errorf("Template format error: Conditions can only be boolean operations on parameters and other conditions")
}

func (i *Instance) equal(a, b any) (bool, error) {
	left, err := i.Resolve(a, nil)
	if err != nil {
		return false, err
	}
	right, err := i.Resolve(b, nil)
	return Text(left) == Text(right), err
}

// prune resolves Fn::If in a value; keep is false when it has no value.
func (i *Instance) prune(value any) (pruned any, keep bool) {
	switch v := value.(type) {
	case map[string]any:
		name, argument, ok := function(v)
		if ok && name == "Ref" && argument == "AWS::NoValue" {
			return nil, false
		}
		if branches, isList := argument.([]any); ok && name == "Fn::If" && isList {
			if i.conditions[Text(branches[0])] {
				return i.prune(branches[1])
			}
			return i.prune(branches[2])
		}
		out := make(map[string]any, len(v))
		for key, member := range v {
			if member, keep := i.prune(member); keep {
				out[key] = member
			}
		}
		return out, true
	case []any:
		out := make([]any, 0, len(v))
		for _, item := range v {
			if item, keep := i.prune(item); keep {
				out = append(out, item)
			}
		}
		return out, true
	}
	return value, value != nil
}
