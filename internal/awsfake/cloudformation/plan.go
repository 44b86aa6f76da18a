package cloudformation

import (
	"encoding/json"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// knownLater stands for a value that only the execution of the change can give.
const knownLater = "{{changeSet:KNOWN_AFTER_APPLY}}"

// plan is what a definition would change in a stack.
type plan struct {
	Changes []types.Change
	Outputs bool // the outputs change
}

func (p *plan) empty() bool { return len(p.Changes) == 0 && !p.Outputs }

// planner finds the changes of the resources, those first that others depend on. It is the resolver of
// the instance as long as nothing is made.
type planner struct {
	service  *Service
	stack    *stack
	next     *definition
	instance *template.Instance // of next
	old      *template.Instance // of the stack's definition; nil for a new stack
	values   bool               // tell the values of changed properties

	added    map[string]bool
	replaced map[string]bool // surely or perhaps
	modified map[string]bool // in properties
}

// plan compares a stack with a definition. The lock is held.
func (s *Service) plan(st *stack, d *definition, values bool) (*plan, error) {
	p := &planner{service: s, stack: st, next: d, values: values, added: map[string]bool{}, replaced: map[string]bool{}, modified: map[string]bool{}}
	var err error
	if p.instance, err = d.instance(st); err != nil {
		return nil, err
	}
	if st.Definition != nil {
		if p.old, err = st.Definition.instance(st); err != nil {
			return nil, err
		}
	}
	if err := p.sameTypes(); err != nil {
		return nil, err
	}
	var changes []types.ResourceChange
	for _, id := range inOrder(p.instance.Depends()) {
		change, err := p.resource(id)
		if err != nil {
			return nil, err
		}
		if change != nil {
			changes = append(changes, *change)
		}
	}
	for id, r := range st.Resources {
		if p.instance.Resources[id] == nil && r.Current != nil {
			changes = append(changes, types.ResourceChange{
				Action: types.ChangeActionRemove, LogicalResourceId: &r.LogicalID, ResourceType: &r.Type,
				PhysicalResourceId: &r.Current.ID, PolicyAction: policyAction("", r.DeletionPolicy), Scope: []types.ResourceAttribute{},
			})
		}
	}
	sort.Slice(changes, func(i, j int) bool { return *changes[i].LogicalResourceId < *changes[j].LogicalResourceId })
	out := &plan{}
	for i := range changes {
		out.Changes = append(out.Changes, types.Change{Type: types.ChangeTypeResource, ResourceChange: &changes[i]})
	}
	if len(changes) == 0 {
		next, err := outputs(p.instance, p)
		// An output that cannot be evaluated will fail, so it is a change.
		out.Outputs = err != nil || !slices.Equal(next, st.Outputs)
	}
	return out, nil
}

func (p *planner) sameTypes() error {
	var changed []string
	for id, r := range p.instance.Resources {
		if old := p.stack.Resources[id]; old != nil && old.Current != nil && old.Type != r.Type {
			changed = append(changed, id)
		}
	}
	if len(changed) == 0 {
		return nil
	}
	slices.Sort(changed)
	return template.Errorf("Update of resource type is not permitted. The new template modifies resource type of the following resources: [%s]", strings.Join(changed, ", "))
}

// inOrder gives the nodes of a graph without circles, each after those that it depends on.
func inOrder(depends map[string][]string) []string {
	var out []string
	seen := map[string]bool{}
	var add func(id string)
	add = func(id string) {
		if seen[id] {
			return
		}
		seen[id] = true
		for _, other := range depends[id] {
			add(other)
		}
		out = append(out, id)
	}
	for _, id := range slices.Sorted(maps.Keys(depends)) {
		add(id)
	}
	return out
}

// resource gives the change of one resource, nil when it does not change.
func (p *planner) resource(id string) (*types.ResourceChange, error) {
	want := p.instance.Resources[id]
	change := &types.ResourceChange{LogicalResourceId: &id, ResourceType: &want.Type, Scope: []types.ResourceAttribute{}}
	next, err := p.instance.Properties(id, p)
	if err != nil {
		return nil, err
	}
	r := p.stack.Resources[id]
	if r == nil || r.Current == nil {
		p.added[id] = true
		change.Action = types.ChangeActionAdd
		return change, nil
	}
	provider, err := p.service.provider(want.Type)
	if err != nil {
		return nil, err
	}
	worst := resource.Never
	for _, property := range changedProperties(r.Current.Properties, next) {
		needs := provider.Replaces(property, r.Current.Properties[property], next[property])
		details := p.details(id, property, needs)
		if p.values {
			for i := range details {
				details[i].Target.BeforeValue = jsonText(r.Current.Properties[property])
				details[i].Target.AfterValue = jsonText(next[property])
			}
		}
		change.Details = append(change.Details, details...)
		if needs == resource.Always && !slices.ContainsFunc(details, static) {
			needs = resource.Conditionally
		}
		if needs == resource.Always || (needs == resource.Conditionally && worst == resource.Never) {
			worst = needs
		}
	}
	if len(change.Details) > 0 {
		p.modified[id] = true
		p.replaced[id] = worst != resource.Never
		change.Scope = append(change.Scope, types.ResourceAttributeProperties)
	}
	if !maps.Equal(r.Current.Tags, p.next.Tags) {
		change.Scope = append(change.Scope, types.ResourceAttributeTags)
		change.Details = append(change.Details, types.ResourceChangeDetail{
			ChangeSource: types.ChangeSourceDirectModification, Evaluation: types.EvaluationTypeStatic,
			Target: &types.ResourceTargetDefinition{Attribute: types.ResourceAttributeTags, RequiresRecreation: types.RequiresRecreationNever},
		})
	}
	if len(change.Details) == 0 {
		return nil, nil
	}
	change.Action, change.PhysicalResourceId = types.ChangeActionModify, &r.Current.ID
	change.Replacement = types.Replacement(worst)
	if worst == resource.Always {
		change.PolicyAction = policyAction("ReplaceAnd", want.UpdateReplacePolicy)
	}
	return change, nil
}

func static(d types.ResourceChangeDetail) bool { return d.Evaluation == types.EvaluationTypeStatic }

// details says where the change of one property comes from: resources that change, else parameters, else
// the template.
func (p *planner) details(id, property string, needs resource.Replacement) []types.ResourceChangeDetail {
	detail := func(source types.ChangeSource, evaluation types.EvaluationType, cause string) types.ResourceChangeDetail {
		return types.ResourceChangeDetail{
			ChangeSource: source, Evaluation: evaluation, CausingEntity: optional(cause),
			Target: &types.ResourceTargetDefinition{
				Attribute: types.ResourceAttributeProperties, Name: &property, RequiresRecreation: recreation(needs),
			},
		}
	}
	value := p.instance.Resources[id].Properties[property]
	var before any
	if p.old != nil && p.old.Resources[id] != nil {
		before = p.old.Resources[id].Properties[property]
	}
	direct := !same(before, value)
	var details []types.ResourceChangeDetail
	for _, reference := range template.References(value) {
		name := reference.Name
		switch {
		case reference.Attribute != "" && p.modified[name]:
			details = append(details, detail(types.ChangeSourceResourceAttribute, types.EvaluationTypeDynamic, reference.String()))
		case reference.Attribute == "" && p.replaced[name]:
			details = append(details, detail(types.ChangeSourceResourceReference, types.EvaluationTypeDynamic, name))
		case p.next.template.Parameters[name] != nil && p.stack.Definition.Parameters[name] != p.next.Parameters[name]:
			details = append(details, detail(types.ChangeSourceParameterReference, types.EvaluationTypeStatic, name))
		}
	}
	if direct || len(details) == 0 {
		details = append(details, detail(types.ChangeSourceDirectModification, types.EvaluationTypeStatic, ""))
	}
	return details
}

func recreation(r resource.Replacement) types.RequiresRecreation {
	switch r {
	case resource.Always:
		return types.RequiresRecreationAlways
	case resource.Conditionally:
		return types.RequiresRecreationConditionally
	}
	return types.RequiresRecreationNever
}

func policyAction(prefix, policy string) types.PolicyAction {
	if policy == template.RetainExceptOnCreate {
		policy = template.Retain
	}
	return types.PolicyAction(prefix + policy)
}

// Ref, Attribute and Import make the planner a resolver. The lock is held.
func (p *planner) Ref(logicalID string) (string, error) {
	if p.added[logicalID] || p.replaced[logicalID] {
		return knownLater, nil
	}
	return p.stack.ref(logicalID)
}

// Attribute is unknown as soon as the resource changes in any property, as in AWS.
func (p *planner) Attribute(logicalID, attribute string) (string, error) {
	if p.added[logicalID] || p.modified[logicalID] {
		return knownLater, nil
	}
	return p.stack.attribute(logicalID, attribute)
}

// Import is the value that an export has now. One that is missing fails when the change is made.
func (p *planner) Import(export string) (string, error) {
	if value, err := p.service.exported(p.stack, export); err == nil {
		return value, nil
	}
	return knownLater, nil
}

// changedProperties are the names of the top-level properties that differ, sorted.
func changedProperties(a, b map[string]any) []string {
	var names []string
	for name, value := range a {
		if other, ok := b[name]; !ok || !same(value, other) {
			names = append(names, name)
		}
	}
	for name := range b {
		if _, ok := a[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// same compares two values as CloudFormation does, for which 1 and "1" are alike.
func same(a, b any) bool {
	switch x := a.(type) {
	case map[string]any:
		y, ok := b.(map[string]any)
		return ok && maps.EqualFunc(x, y, same)
	case []any:
		y, ok := b.([]any)
		return ok && slices.EqualFunc(x, y, same)
	case nil:
		return b == nil
	}
	switch b.(type) {
	case map[string]any, []any, nil:
		return false
	}
	return template.Text(a) == template.Text(b)
}

// jsonText is a value as change sets show it: text as it is, the rest as JSON, nothing for none.
func jsonText(value any) *string {
	switch v := value.(type) {
	case nil:
		return nil
	case string:
		return &v
	}
	text, _ := json.Marshal(value) // it came from a template
	return aws.String(string(text))
}
