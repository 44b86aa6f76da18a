package iam

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Providers returns the types that stacks may have.
func (i *IAM) Providers() resource.Providers {
	return resource.Providers{
		"AWS::IAM::Role":          &roleProvider{i},
		"AWS::IAM::ManagedPolicy": &managedProvider{i},
		"AWS::IAM::Policy":        &inlineProvider{i},
	}
}

type roleProvider struct{ iam *IAM }

type roleProperties struct {
	RoleName, Path, Description, PermissionsBoundary string
	AssumeRolePolicyDocument                         any
	MaxSessionDuration                               int32
	ManagedPolicyArns                                []string
	Policies                                         []struct {
		PolicyName     string
		PolicyDocument any
	}
}

// Create implements resource.Provider.
func (p *roleProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var want roleProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, err
	}
	tags, err := r.AllTags()
	if err != nil {
		return nil, err
	}
	trust, err := policyText(want.AssumeRolePolicyDocument)
	if err != nil {
		return nil, err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	role, err := p.iam.createRole(principal{
		Name: cmp.Or(want.RoleName, generatedName(r, 64)), Path: want.Path, Description: want.Description, Trust: trust,
		Boundary: want.PermissionsBoundary, MaxSession: want.MaxSessionDuration, Tags: tags,
	})
	if err != nil {
		return nil, err
	}
	if err := p.grant(role, nil, &want); err != nil {
		delete(p.iam.roles, role.Name)
		return nil, err
	}
	return &resource.Physical{ID: role.Name, Attributes: map[string]string{"Arn": role.ARN, "RoleId": role.ID}}, nil
}

// grant makes a role's policies those of the template; what others have attached stays.
func (p *roleProvider) grant(role *principal, from, to *roleProperties) error {
	if from != nil {
		for _, arn := range from.ManagedPolicyArns {
			if !slices.Contains(to.ManagedPolicyArns, arn) {
				p.iam.detach(role, arn)
			}
		}
		for _, inline := range from.Policies {
			delete(role.Inline, inline.PolicyName)
		}
	}
	for _, arn := range to.ManagedPolicyArns {
		if err := p.iam.attach(role, arn); err != nil {
			return err
		}
	}
	for _, inline := range to.Policies {
		text, err := policyText(inline.PolicyDocument)
		if err != nil {
			return err
		}
		if err := role.putInline(inline.PolicyName, text); err != nil {
			return fmt.Errorf("policy %s: %w", inline.PolicyName, err)
		}
	}
	return nil
}

// Update implements resource.Provider.
func (p *roleProvider) Update(_ context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	var had, want roleProperties
	if err := resource.Decode(from.Properties, &had); err != nil {
		return nil, err
	}
	if err := resource.Decode(to.Properties, &want); err != nil {
		return nil, err
	}
	tags, err := to.AllTags()
	if err != nil {
		return nil, err
	}
	trust, err := policyText(want.AssumeRolePolicyDocument)
	if err != nil {
		return nil, err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	role := p.iam.roles[old.ID]
	if role == nil {
		return nil, noRole(old.ID)
	}
	if want.PermissionsBoundary != "" && p.iam.policies[want.PermissionsBoundary] == nil {
		return nil, noPolicy(want.PermissionsBoundary)
	}
	if err := role.setTrust(trust); err != nil {
		return nil, err
	}
	role.Description, role.Boundary, role.MaxSession, role.Tags = want.Description, want.PermissionsBoundary, cmp.Or(want.MaxSessionDuration, 3600), tags
	return old, p.grant(role, &had, &want)
}

// Delete implements resource.Provider.
func (p *roleProvider) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	var had roleProperties
	if err := resource.Decode(r.Properties, &had); err != nil {
		return err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	role := p.iam.roles[old.ID]
	if role == nil {
		return nil
	}
	if err := p.grant(role, &had, &roleProperties{}); err != nil {
		return err
	}
	return p.iam.deleteRole(old.ID)
}

// Replaces implements resource.Provider.
func (*roleProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "RoleName", "Path")
}

type managedProvider struct{ iam *IAM }

type managedProperties struct {
	ManagedPolicyName, Path, Description string
	PolicyDocument                       any
	Roles, Users                         []string
}

// Create implements resource.Provider.
func (p *managedProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var want managedProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, err
	}
	text, err := policyText(want.PolicyDocument)
	if err != nil {
		return nil, err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	made, err := p.iam.createPolicy(policy{Name: cmp.Or(want.ManagedPolicyName, generatedName(r, 128)), Path: want.Path, Description: want.Description}, text)
	if err != nil {
		return nil, err
	}
	if err := p.attachTo(made.ARN, &managedProperties{}, &want); err != nil {
		delete(p.iam.policies, made.ARN)
		return nil, err
	}
	return &resource.Physical{ID: made.ARN, Attributes: map[string]string{"PolicyArn": made.ARN, "PolicyId": made.ID}}, nil
}

func (p *managedProvider) attachTo(arn string, from, to *managedProperties) error {
	for _, name := range from.Roles {
		if role := p.iam.roles[name]; role != nil && !slices.Contains(to.Roles, name) {
			p.iam.detach(role, arn)
		}
	}
	for _, name := range from.Users {
		if user := p.iam.users[name]; user != nil && !slices.Contains(to.Users, name) {
			p.iam.detach(user, arn)
		}
	}
	for _, name := range to.Roles {
		role := p.iam.roles[name]
		if role == nil {
			return noRole(name)
		}
		if err := p.iam.attach(role, arn); err != nil {
			return err
		}
	}
	for _, name := range to.Users {
		user := p.iam.users[name]
		if user == nil {
			return noUser(name)
		}
		if err := p.iam.attach(user, arn); err != nil {
			return err
		}
	}
	return nil
}

// Update implements resource.Provider: the document gets a new version, the oldest one goes.
func (p *managedProvider) Update(_ context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	var had, want managedProperties
	if err := resource.Decode(from.Properties, &had); err != nil {
		return nil, err
	}
	if err := resource.Decode(to.Properties, &want); err != nil {
		return nil, err
	}
	text, err := policyText(want.PolicyDocument)
	if err != nil {
		return nil, err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	made := p.iam.policies[old.ID]
	if made == nil {
		return nil, noPolicy(old.ID)
	}
	if made.current().Document != text {
		if err := made.addVersion(text, p.iam.now()); err != nil {
			return nil, err
		}
	}
	return old, p.attachTo(old.ID, &had, &want)
}

// Delete implements resource.Provider.
func (p *managedProvider) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	var had managedProperties
	if err := resource.Decode(r.Properties, &had); err != nil {
		return err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	if p.iam.policies[old.ID] == nil {
		return nil
	}
	if err := p.attachTo(old.ID, &had, &managedProperties{}); err != nil {
		return err
	}
	return p.iam.deletePolicy(old.ID)
}

// Replaces implements resource.Provider; a description cannot be changed in IAM (aws.md 2.5).
func (*managedProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "ManagedPolicyName", "Path", "Description")
}

// inlineProvider puts one document into several roles and users.
type inlineProvider struct{ iam *IAM }

type inlineProperties struct {
	PolicyName     string
	PolicyDocument any
	Roles, Users   []string
}

// Create implements resource.Provider.
func (p *inlineProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var want inlineProperties
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, err
	}
	if err := p.put(&want); err != nil {
		return nil, err
	}
	return &resource.Physical{ID: generatedName(r, 128)}, nil
}

func (p *inlineProvider) put(want *inlineProperties) error {
	text, err := policyText(want.PolicyDocument)
	if err != nil {
		return err
	}
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	for _, name := range want.Roles {
		role := p.iam.roles[name]
		if role == nil {
			return noRole(name)
		}
		if err := role.putInline(want.PolicyName, text); err != nil {
			return err
		}
	}
	for _, name := range want.Users {
		user := p.iam.users[name]
		if user == nil {
			return noUser(name)
		}
		if err := user.putInline(want.PolicyName, text); err != nil {
			return err
		}
	}
	return nil
}

func (p *inlineProvider) remove(had *inlineProperties) {
	p.iam.mu.Lock()
	defer p.iam.mu.Unlock()
	for _, name := range had.Roles {
		if role := p.iam.roles[name]; role != nil {
			delete(role.Inline, had.PolicyName)
		}
	}
	for _, name := range had.Users {
		if user := p.iam.users[name]; user != nil {
			delete(user.Inline, had.PolicyName)
		}
	}
}

// Update implements resource.Provider.
func (p *inlineProvider) Update(_ context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	var had, want inlineProperties
	if err := resource.Decode(from.Properties, &had); err != nil {
		return nil, err
	}
	if err := resource.Decode(to.Properties, &want); err != nil {
		return nil, err
	}
	p.remove(&had)
	return old, p.put(&want)
}

// Delete implements resource.Provider.
func (p *inlineProvider) Delete(_ context.Context, _ *resource.Physical, r *resource.Resource) error {
	var had inlineProperties
	if err := resource.Decode(r.Properties, &had); err != nil {
		return err
	}
	p.remove(&had)
	return nil
}

// Replaces implements resource.Provider.
func (*inlineProvider) Replaces(string, any, any) resource.Replacement { return resource.Never }

func replacedBy(property string, names ...string) resource.Replacement {
	if slices.Contains(names, property) {
		return resource.Always
	}
	return resource.Never
}

// policyText is a template's document as JSON; a string is taken as it is.
func policyText(document any) (string, error) {
	if text, ok := document.(string); ok {
		return text, nil
	}
	data, err := json.Marshal(document)
	if err != nil {
		return "", fmt.Errorf("policy document: %w", err)
	}
	return string(data), nil
}

// generatedName is CloudFormation's name for what a template does not name: stack, logical id, random.
func generatedName(r *resource.Resource, limit int) string {
	suffix := "-" + uniqueID("")[:12]
	stem := r.Stack + "-" + r.LogicalID
	return stem[:min(len(stem), limit-len(suffix))] + suffix
}
