// Package template reads CloudFormation templates, in YAML and JSON, and evaluates them: parameters,
// mappings, conditions, functions, and what depends on what. It knows nothing of stacks.
//
// Transforms are refused; dynamic references stay text.
package template

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Error is what is wrong with a template or a parameter, in CloudFormation's words; it is the message of
// a ValidationError.
type Error string

func (e Error) Error() string { return string(e) }

// Errorf makes an Error.
func Errorf(format string, args ...any) error { return Error(fmt.Sprintf(format, args...)) }

// Template is a template as it was written, with functions in their long form. Values are those of
// encoding/json: string, float64, bool, []any, map[string]any.
type Template struct {
	Version, Description string
	Metadata             any
	Parameters           map[string]*Parameter
	Resources            map[string]*Resource
	Outputs              map[string]*Output

	mappings   map[string]any
	conditions map[string]any
	rules      map[string]*rule
}

// Resource is one member of the Resources block.
type Resource struct {
	Type       string
	Properties map[string]any
	// DependsOn are the logical ids that stand in the template, without those that Properties imply.
	DependsOn []string
	Condition string
	// DeletionPolicy and UpdateReplacePolicy are Delete unless the template says otherwise.
	DeletionPolicy, UpdateReplacePolicy string
	Metadata                            any
}

// Output is one member of the Outputs block. Export is the export's name, nil without one.
type Output struct {
	Description   string
	Value, Export any
	Condition     string
}

// Policies of deletion and replacement.
const (
	Delete = "Delete"
	Retain = "Retain"
	// RetainExceptOnCreate keeps a resource, but not one that a failed creation made.
	RetainExceptOnCreate = "RetainExceptOnCreate"
	Snapshot             = "Snapshot"
)

// ResourceTypes are the types that the template names, sorted.
func (t *Template) ResourceTypes() []string {
	types := map[string]bool{}
	for _, r := range t.Resources {
		types[r.Type] = true
	}
	return slices.Sorted(maps.Keys(types))
}

// namedIAM are the properties with which a resource of IAM gets a name of the template's choice.
var namedIAM = map[string]string{
	"AWS::IAM::Group": "GroupName", "AWS::IAM::InstanceProfile": "InstanceProfileName",
	"AWS::IAM::ManagedPolicy": "ManagedPolicyName", "AWS::IAM::Role": "RoleName", "AWS::IAM::User": "UserName",
}

// Capability is the capability that must be given to use the template, empty without one, and the types
// of resources that need it.
func (t *Template) Capability() (capability string, types []string) {
	for _, r := range t.Resources {
		if !strings.HasPrefix(r.Type, "AWS::IAM::") {
			continue
		}
		if capability == "" {
			capability = "CAPABILITY_IAM"
		}
		if property, ok := namedIAM[r.Type]; ok && r.Properties[property] != nil {
			capability = "CAPABILITY_NAMED_IAM"
		}
		if !slices.Contains(types, r.Type) {
			types = append(types, r.Type)
		}
	}
	slices.Sort(types)
	return capability, types
}
