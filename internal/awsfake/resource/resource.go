// Package resource is what a service must offer so that stacks can make, change and remove its
// resources.
package resource

import "context"

// Resource is a resource as a template wants it, with every intrinsic function resolved. Numbers and
// booleans of a template may come as strings, as CloudFormation allows: read them with the helpers of
// this package's users.
type Resource struct {
	// Type is CloudFormation's, such as AWS::ECS::Cluster.
	Type string
	// Stack is the stack's name, StackID its ARN, LogicalID the resource's name in the template.
	Stack, StackID, LogicalID string
	Account, Region           string
	Properties                map[string]any
	// Tags of the stack, which most services copy to the resource.
	Tags map[string]string
}

// Physical is a resource that was made.
type Physical struct {
	// ID is what Ref gives.
	ID string
	// Attributes are what Fn::GetAtt gives, by dotted name.
	Attributes map[string]string
}

// Replacement says whether a change of properties makes a new resource, in the words of change sets.
type Replacement string

// The three answers.
const (
	Never         Replacement = "False"
	Conditionally Replacement = "Conditional"
	Always        Replacement = "True"
)

// Provider makes, changes and removes the resources of one type. Its methods may be called for several
// resources at the same time.
type Provider interface {
	// Create makes the resource. The error's text becomes the reason of a CREATE_FAILED event.
	Create(ctx context.Context, r *Resource) (*Physical, error)
	// Update changes the resource in place; it is called only when Replaces says Never (or
	// Conditionally) for the properties that changed.
	Update(ctx context.Context, old *Physical, from, to *Resource) (*Physical, error)
	// Delete removes the resource. A resource that is gone already is no error.
	Delete(ctx context.Context, old *Physical, r *Resource) error
	// Replaces says whether a change of one top-level property needs a new resource.
	Replaces(property string, from, to any) Replacement
}

// Providers are the types that a service offers, by type name.
type Providers map[string]Provider
