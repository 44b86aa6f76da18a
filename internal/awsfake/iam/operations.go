package iam

import (
	"context"
	"maps"
	"net/url"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Services returns IAM and STS.
func (i *IAM) Services() []protocol.Service {
	return []protocol.Service{
		{Name: "iam", Wire: protocol.Query, Operations: map[string]protocol.Operation{
			"CreateUser": protocol.Op(i.opCreateUser), "GetUser": protocol.Op(i.opGetUser),
			"PutUserPolicy": protocol.Op(i.opPutUserPolicy), "AttachUserPolicy": protocol.Op(i.opAttachUserPolicy),
			"CreateAccessKey": protocol.Op(i.opCreateAccessKey), "DeleteAccessKey": protocol.Op(i.opDeleteAccessKey),
			"CreateRole": protocol.Op(i.opCreateRole), "GetRole": protocol.Op(i.opGetRole), "ListRoles": protocol.Op(i.opListRoles),
			"DeleteRole": protocol.Op(i.opDeleteRole), "PutRolePolicy": protocol.Op(i.opPutRolePolicy), "GetRolePolicy": protocol.Op(i.opGetRolePolicy),
			"DeleteRolePolicy": protocol.Op(i.opDeleteRolePolicy), "ListRolePolicies": protocol.Op(i.opListRolePolicies),
			"AttachRolePolicy": protocol.Op(i.opAttachRolePolicy), "DetachRolePolicy": protocol.Op(i.opDetachRolePolicy),
			"ListAttachedRolePolicies": protocol.Op(i.opListAttachedRolePolicies),
			"CreatePolicy":             protocol.Op(i.opCreatePolicy), "GetPolicy": protocol.Op(i.opGetPolicy), "GetPolicyVersion": protocol.Op(i.opGetPolicyVersion),
			"CreatePolicyVersion": protocol.Op(i.opCreatePolicyVersion), "DeletePolicy": protocol.Op(i.opDeletePolicy),
			"SimulatePrincipalPolicy": protocol.Op(i.opSimulatePrincipalPolicy),
		}},
		{Name: "sts", Wire: protocol.Query, Operations: map[string]protocol.Operation{
			"GetCallerIdentity": protocol.Op(i.opGetCallerIdentity), "AssumeRole": protocol.Op(i.opAssumeRole),
		}},
	}
}

// onRole checks the permission for an operation on a role and runs f on it. A role that is not there is
// asked for like one without a path.
func (i *IAM) onRole(call *protocol.Call, name *string, f func(*principal) error) error {
	return i.on(call, i.roles, "role", name, noRole, f)
}

func (i *IAM) onUser(call *protocol.Call, name *string, f func(*principal) error) error {
	return i.on(call, i.users, "user", name, noUser, f)
}

func (i *IAM) on(call *protocol.Call, group map[string]*principal, kind string, name *string, missing func(string) error, f func(*principal) error) error {
	i.mu.RLock()
	arn := i.arn(kind, "/", aws.ToString(name))
	if p := group[aws.ToString(name)]; p != nil {
		arn = p.ARN
	}
	i.mu.RUnlock()
	if err := call.Allow("iam:"+call.Action, arn); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p := group[aws.ToString(name)]
	if p == nil {
		return missing(aws.ToString(name))
	}
	return f(p)
}

func (i *IAM) onPolicy(call *protocol.Call, arn *string, f func(*policy) error) error {
	if err := call.Allow("iam:"+call.Action, aws.ToString(arn)); err != nil {
		return err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p := i.policies[aws.ToString(arn)]
	if p == nil {
		return noPolicy(aws.ToString(arn))
	}
	return f(p)
}

func (i *IAM) opCreateUser(_ context.Context, call *protocol.Call, in *iam.CreateUserInput) (*iam.CreateUserOutput, error) {
	path := orElse(in.Path, "/")
	if err := call.Allow("iam:CreateUser", i.arn("user", path, aws.ToString(in.UserName))); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	u, err := i.createUser(aws.ToString(in.UserName), path, tagMap(in.Tags))
	if err != nil {
		return nil, err
	}
	return &iam.CreateUserOutput{User: describeUser(u)}, nil
}

func (i *IAM) opGetUser(_ context.Context, call *protocol.Call, in *iam.GetUserInput) (*iam.GetUserOutput, error) {
	name := in.UserName
	if name == nil {
		name = aws.String(nameOf(call.Principal))
	}
	out := &iam.GetUserOutput{}
	return out, i.onUser(call, name, func(u *principal) error {
		out.User = describeUser(u)
		return nil
	})
}

func describeUser(u *principal) *types.User {
	return &types.User{UserName: &u.Name, Path: &u.Path, UserId: &u.ID, Arn: &u.ARN, CreateDate: aws.Time(u.Created), Tags: tagList(u.Tags)}
}

func (i *IAM) opPutUserPolicy(_ context.Context, call *protocol.Call, in *iam.PutUserPolicyInput) (*iam.PutUserPolicyOutput, error) {
	return &iam.PutUserPolicyOutput{}, i.onUser(call, in.UserName, func(u *principal) error {
		return u.putInline(aws.ToString(in.PolicyName), aws.ToString(in.PolicyDocument))
	})
}

func (i *IAM) opAttachUserPolicy(_ context.Context, call *protocol.Call, in *iam.AttachUserPolicyInput) (*iam.AttachUserPolicyOutput, error) {
	return &iam.AttachUserPolicyOutput{}, i.onUser(call, in.UserName, func(u *principal) error { return i.attach(u, aws.ToString(in.PolicyArn)) })
}

func (i *IAM) opCreateAccessKey(_ context.Context, call *protocol.Call, in *iam.CreateAccessKeyInput) (*iam.CreateAccessKeyOutput, error) {
	out := &iam.CreateAccessKeyOutput{}
	return out, i.onUser(call, in.UserName, func(u *principal) error {
		k := i.addKey(&accessKey{ID: uniqueID("AKIA"), User: u.Name})
		out.AccessKey = &types.AccessKey{UserName: &u.Name, AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, Status: types.StatusTypeActive, CreateDate: aws.Time(i.now())}
		return nil
	})
}

func (i *IAM) opDeleteAccessKey(_ context.Context, call *protocol.Call, in *iam.DeleteAccessKeyInput) (*iam.DeleteAccessKeyOutput, error) {
	return &iam.DeleteAccessKeyOutput{}, i.onUser(call, in.UserName, func(u *principal) error {
		id := aws.ToString(in.AccessKeyId)
		if k := i.keys[id]; k == nil || k.User != u.Name {
			return absent("The Access Key with id %s cannot be found.", id)
		}
		delete(i.keys, id)
		return nil
	})
}

func (i *IAM) opCreateRole(_ context.Context, call *protocol.Call, in *iam.CreateRoleInput) (*iam.CreateRoleOutput, error) {
	arn := i.arn("role", orElse(in.Path, "/"), aws.ToString(in.RoleName))
	conditions := map[string]string{}
	if in.PermissionsBoundary != nil {
		conditions["iam:PermissionsBoundary"] = *in.PermissionsBoundary
	}
	if err := call.AllowIf("iam:CreateRole", conditions, arn); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	r, err := i.createRole(principal{
		Name: aws.ToString(in.RoleName), Path: aws.ToString(in.Path), Description: aws.ToString(in.Description), Trust: aws.ToString(in.AssumeRolePolicyDocument),
		Boundary: aws.ToString(in.PermissionsBoundary), MaxSession: aws.ToInt32(in.MaxSessionDuration), Tags: tagMap(in.Tags),
	})
	if err != nil {
		return nil, err
	}
	return &iam.CreateRoleOutput{Role: describeRole(r)}, nil
}

func (i *IAM) opGetRole(_ context.Context, call *protocol.Call, in *iam.GetRoleInput) (*iam.GetRoleOutput, error) {
	out := &iam.GetRoleOutput{}
	return out, i.onRole(call, in.RoleName, func(r *principal) error {
		out.Role = describeRole(r)
		return nil
	})
}

func (i *IAM) opListRoles(_ context.Context, call *protocol.Call, in *iam.ListRolesInput) (*iam.ListRolesOutput, error) {
	if err := call.Allow("iam:ListRoles", i.arn("role", orElse(in.PathPrefix, "/"), "")); err != nil {
		return nil, err
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	roles := []types.Role{}
	for _, name := range slices.Sorted(maps.Keys(i.roles)) {
		if r := i.roles[name]; strings.HasPrefix(r.Path, orElse(in.PathPrefix, "/")) {
			roles = append(roles, *describeRole(r))
		}
	}
	page, next, err := protocol.Page(roles, in.Marker, in.MaxItems, 100)
	if err != nil {
		return nil, err
	}
	return &iam.ListRolesOutput{Roles: page, Marker: next, IsTruncated: next != nil}, nil
}

func describeRole(r *principal) *types.Role {
	out := &types.Role{
		RoleName: aws.String(r.Name), Path: aws.String(r.Path), RoleId: aws.String(r.ID), Arn: aws.String(r.ARN), CreateDate: aws.Time(r.Created),
		AssumeRolePolicyDocument: encoded(r.Trust), MaxSessionDuration: aws.Int32(r.MaxSession), Tags: tagList(r.Tags),
	}
	if r.Description != "" {
		out.Description = aws.String(r.Description)
	}
	if r.Boundary != "" {
		out.PermissionsBoundary = &types.AttachedPermissionsBoundary{PermissionsBoundaryArn: aws.String(r.Boundary), PermissionsBoundaryType: types.PermissionsBoundaryAttachmentTypePolicy}
	}
	return out
}

func (i *IAM) opDeleteRole(_ context.Context, call *protocol.Call, in *iam.DeleteRoleInput) (*iam.DeleteRoleOutput, error) {
	return &iam.DeleteRoleOutput{}, i.onRole(call, in.RoleName, func(r *principal) error { return i.deleteRole(r.Name) })
}

func (i *IAM) opPutRolePolicy(_ context.Context, call *protocol.Call, in *iam.PutRolePolicyInput) (*iam.PutRolePolicyOutput, error) {
	return &iam.PutRolePolicyOutput{}, i.onRole(call, in.RoleName, func(r *principal) error {
		return r.putInline(aws.ToString(in.PolicyName), aws.ToString(in.PolicyDocument))
	})
}

func (i *IAM) opGetRolePolicy(_ context.Context, call *protocol.Call, in *iam.GetRolePolicyInput) (*iam.GetRolePolicyOutput, error) {
	out := &iam.GetRolePolicyOutput{RoleName: in.RoleName, PolicyName: in.PolicyName}
	return out, i.onRole(call, in.RoleName, func(r *principal) error {
		text, ok := r.Inline[aws.ToString(in.PolicyName)]
		if !ok {
			return absent("The role policy with name %s cannot be found.", aws.ToString(in.PolicyName))
		}
		out.PolicyDocument = encoded(text)
		return nil
	})
}

func (i *IAM) opDeleteRolePolicy(_ context.Context, call *protocol.Call, in *iam.DeleteRolePolicyInput) (*iam.DeleteRolePolicyOutput, error) {
	return &iam.DeleteRolePolicyOutput{}, i.onRole(call, in.RoleName, func(r *principal) error {
		if _, ok := r.Inline[aws.ToString(in.PolicyName)]; !ok {
			return absent("The role policy with name %s cannot be found.", aws.ToString(in.PolicyName))
		}
		delete(r.Inline, aws.ToString(in.PolicyName))
		return nil
	})
}

func (i *IAM) opListRolePolicies(_ context.Context, call *protocol.Call, in *iam.ListRolePoliciesInput) (*iam.ListRolePoliciesOutput, error) {
	out := &iam.ListRolePoliciesOutput{}
	return out, i.onRole(call, in.RoleName, func(r *principal) (err error) {
		out.PolicyNames, out.Marker, err = protocol.Page(slices.Sorted(maps.Keys(r.Inline)), in.Marker, in.MaxItems, 100)
		out.IsTruncated = out.Marker != nil
		return err
	})
}

func (i *IAM) opAttachRolePolicy(_ context.Context, call *protocol.Call, in *iam.AttachRolePolicyInput) (*iam.AttachRolePolicyOutput, error) {
	return &iam.AttachRolePolicyOutput{}, i.onRole(call, in.RoleName, func(r *principal) error { return i.attach(r, aws.ToString(in.PolicyArn)) })
}

func (i *IAM) opDetachRolePolicy(_ context.Context, call *protocol.Call, in *iam.DetachRolePolicyInput) (*iam.DetachRolePolicyOutput, error) {
	return &iam.DetachRolePolicyOutput{}, i.onRole(call, in.RoleName, func(r *principal) error {
		if !slices.Contains(r.Attached, aws.ToString(in.PolicyArn)) {
			return absent("Policy %s was not found.", aws.ToString(in.PolicyArn))
		}
		i.detach(r, aws.ToString(in.PolicyArn))
		return nil
	})
}

func (i *IAM) opListAttachedRolePolicies(_ context.Context, call *protocol.Call, in *iam.ListAttachedRolePoliciesInput) (*iam.ListAttachedRolePoliciesOutput, error) {
	out := &iam.ListAttachedRolePoliciesOutput{}
	return out, i.onRole(call, in.RoleName, func(r *principal) (err error) {
		attached := make([]types.AttachedPolicy, 0, len(r.Attached))
		for _, arn := range r.Attached {
			attached = append(attached, types.AttachedPolicy{PolicyArn: aws.String(arn), PolicyName: aws.String(nameOf(arn))})
		}
		out.AttachedPolicies, out.Marker, err = protocol.Page(attached, in.Marker, in.MaxItems, 100)
		out.IsTruncated = out.Marker != nil
		return err
	})
}

func (i *IAM) opCreatePolicy(_ context.Context, call *protocol.Call, in *iam.CreatePolicyInput) (*iam.CreatePolicyOutput, error) {
	if err := call.Allow("iam:CreatePolicy", i.arn("policy", orElse(in.Path, "/"), aws.ToString(in.PolicyName))); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	p, err := i.createPolicy(policy{
		Name: aws.ToString(in.PolicyName), Path: aws.ToString(in.Path), Description: aws.ToString(in.Description), Tags: tagMap(in.Tags),
	}, aws.ToString(in.PolicyDocument))
	if err != nil {
		return nil, err
	}
	return &iam.CreatePolicyOutput{Policy: i.describePolicy(p)}, nil
}

func (i *IAM) describePolicy(p *policy) *types.Policy {
	out := &types.Policy{
		PolicyName: aws.String(p.Name), PolicyId: aws.String(p.ID), Arn: aws.String(p.ARN), Path: aws.String(p.Path), DefaultVersionId: aws.String(p.current().ID),
		AttachmentCount: aws.Int32(int32(i.attachments(p.ARN))), IsAttachable: true, CreateDate: aws.Time(p.Created), UpdateDate: aws.Time(p.current().Created), Tags: tagList(p.Tags),
	}
	if p.Description != "" {
		out.Description = aws.String(p.Description)
	}
	return out
}

func (i *IAM) opGetPolicy(_ context.Context, call *protocol.Call, in *iam.GetPolicyInput) (*iam.GetPolicyOutput, error) {
	out := &iam.GetPolicyOutput{}
	return out, i.onPolicy(call, in.PolicyArn, func(p *policy) error {
		out.Policy = i.describePolicy(p)
		return nil
	})
}

func (i *IAM) opGetPolicyVersion(_ context.Context, call *protocol.Call, in *iam.GetPolicyVersionInput) (*iam.GetPolicyVersionOutput, error) {
	out := &iam.GetPolicyVersionOutput{}
	return out, i.onPolicy(call, in.PolicyArn, func(p *policy) error {
		for _, v := range p.Versions {
			if v.ID == aws.ToString(in.VersionId) {
				out.PolicyVersion = &types.PolicyVersion{VersionId: aws.String(v.ID), Document: encoded(v.Document), IsDefaultVersion: v.ID == p.current().ID, CreateDate: aws.Time(v.Created)}
				return nil
			}
		}
		return absent("Policy %s version %s does not exist or is not attachable.", p.ARN, aws.ToString(in.VersionId))
	})
}

// opCreatePolicyVersion makes the new version the default one, as everybody who asks here wants it.
func (i *IAM) opCreatePolicyVersion(_ context.Context, call *protocol.Call, in *iam.CreatePolicyVersionInput) (*iam.CreatePolicyVersionOutput, error) {
	out := &iam.CreatePolicyVersionOutput{}
	return out, i.onPolicy(call, in.PolicyArn, func(p *policy) error {
		if !in.SetAsDefault {
			return protocol.Errorf("InvalidInput", "a version that is not the default one is not played here: set SetAsDefault")
		}
		if len(p.Versions) >= versionsKept {
			return protocol.Errorf("LimitExceeded", "A managed policy can have up to %d versions. Before you create a new version, you must delete an existing version.", versionsKept)
		}
		if err := p.addVersion(aws.ToString(in.PolicyDocument), i.now()); err != nil {
			return err
		}
		out.PolicyVersion = &types.PolicyVersion{VersionId: aws.String(p.current().ID), IsDefaultVersion: true, CreateDate: aws.Time(p.current().Created)}
		return nil
	})
}

func (i *IAM) opDeletePolicy(_ context.Context, call *protocol.Call, in *iam.DeletePolicyInput) (*iam.DeletePolicyOutput, error) {
	return &iam.DeletePolicyOutput{}, i.onPolicy(call, in.PolicyArn, func(p *policy) error { return i.deletePolicy(p.ARN) })
}

func (i *IAM) opSimulatePrincipalPolicy(_ context.Context, call *protocol.Call, in *iam.SimulatePrincipalPolicyInput) (*iam.SimulatePrincipalPolicyOutput, error) {
	if err := call.Allow("iam:SimulatePrincipalPolicy", aws.ToString(in.PolicySourceArn)); err != nil {
		return nil, err
	}
	i.mu.RLock()
	defer i.mu.RUnlock()
	source := aws.ToString(in.PolicySourceArn)
	p, key := i.roleOf(source), &accessKey{Role: nameOf(source)}
	if p == nil {
		if user := i.users[nameOf(source)]; user != nil && user.ARN == source {
			p, key = user, &accessKey{User: user.Name}
		}
	}
	if p == nil {
		return nil, absent("The entity with ARN %s cannot be found.", source)
	}
	conditions := map[string]string{}
	for _, entry := range in.ContextEntries {
		conditions[aws.ToString(entry.ContextKeyName)] = protocol.JoinValues(entry.ContextKeyValues)
	}
	resources := in.ResourceArns
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	out := &iam.SimulatePrincipalPolicyOutput{}
	for _, action := range in.ActionNames {
		for _, resource := range resources {
			verdict, _ := i.evaluate(p, i.request(p, key, source, action, resource, conditions))
			out.EvaluationResults = append(out.EvaluationResults, types.EvaluationResult{
				EvalActionName: aws.String(action), EvalResourceName: aws.String(resource), EvalDecision: simulated[verdict],
			})
		}
	}
	return out, nil
}

var simulated = map[decision]types.PolicyEvaluationDecisionType{
	silent: types.PolicyEvaluationDecisionTypeImplicitDeny, allowed: types.PolicyEvaluationDecisionTypeAllowed, denied: types.PolicyEvaluationDecisionTypeExplicitDeny,
}

// encoded is a document as IAM returns it, in percent-encoding.
func encoded(text string) *string {
	return aws.String(strings.ReplaceAll(url.QueryEscape(text), "+", "%20"))
}

func orElse(text *string, standard string) string {
	if text == nil || *text == "" {
		return standard
	}
	return *text
}

func tagMap(tags []types.Tag) map[string]string {
	out := map[string]string{}
	for _, tag := range tags {
		out[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return out
}

func tagList(tags map[string]string) []types.Tag {
	var out []types.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return out
}
