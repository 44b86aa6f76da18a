package iam

import (
	"context"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/aws-sdk-go-v2/service/sts/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// opGetCallerIdentity needs no permission.
func (i *IAM) opGetCallerIdentity(_ context.Context, call *protocol.Call, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
	out := &sts.GetCallerIdentityOutput{Account: aws.String(call.Account), Arn: aws.String(call.Principal), UserId: aws.String(call.Account)}
	i.mu.RLock()
	defer i.mu.RUnlock()
	if user := i.users[nameOf(call.Principal)]; user != nil && user.ARN == call.Principal {
		out.UserId = aws.String(user.ID)
	} else if role, session, ok := i.sessionOf(call.Principal); ok {
		out.UserId = aws.String(role.ID + ":" + session)
	}
	return out, nil
}

// sessionOf reads arn:aws:sts::ACCOUNT:assumed-role/ROLE/SESSION.
func (i *IAM) sessionOf(arn string) (role *principal, session string, ok bool) {
	session = nameOf(arn)
	if len(session) == len(arn) {
		return nil, "", false
	}
	role = i.roles[nameOf(arn[:len(arn)-len(session)-1])]
	return role, session, role != nil
}

func (i *IAM) opAssumeRole(_ context.Context, call *protocol.Call, in *sts.AssumeRoleInput) (*sts.AssumeRoleOutput, error) {
	arn := aws.ToString(in.RoleArn)
	denial := &protocol.Error{
		Status: http.StatusForbidden, Code: "AccessDenied",
		Message: "User: " + call.Principal + " is not authorized to perform: sts:AssumeRole on resource: " + arn,
	}
	keys := map[string]string{}
	if in.ExternalId != nil {
		keys["sts:ExternalId"] = *in.ExternalId
	}
	if err := call.AllowIf("sts:AssumeRole", keys, arn); err != nil {
		return nil, err
	}
	i.mu.Lock()
	defer i.mu.Unlock()
	role := i.roleOf(arn)
	if role == nil { // AWS does not tell whether a role exists
		return nil, denial
	}
	conditions := map[string][]string{"aws:principalarn": {call.Principal}}
	for name, value := range keys {
		conditions[name] = []string{value}
	}
	principals := []string{"AWS:" + call.Principal, "AWS:" + i.arn("root", "", ""), "AWS:" + i.account}
	if caller, _, ok := i.sessionOf(call.Principal); ok {
		principals = append(principals, "AWS:"+caller.ARN)
	}
	if !i.trusts(role, principals, conditions) {
		return nil, denial
	}
	seconds := aws.ToInt32(in.DurationSeconds)
	if seconds == 0 {
		seconds = 3600
	}
	if seconds > role.MaxSession {
		return nil, protocol.Errorf("ValidationError", "The requested DurationSeconds exceeds the MaxSessionDuration set for this role.")
	}
	tags := map[string]string{}
	for _, tag := range in.Tags {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	k, err := i.session(arn, aws.ToString(in.RoleSessionName), time.Duration(seconds)*time.Second, tags)
	if err != nil {
		return nil, err
	}
	return &sts.AssumeRoleOutput{
		Credentials:     &types.Credentials{AccessKeyId: &k.ID, SecretAccessKey: &k.Secret, SessionToken: &k.Token, Expiration: &k.Expires},
		AssumedRoleUser: &types.AssumedRoleUser{Arn: aws.String(i.principalARN(k, role)), AssumedRoleId: aws.String(role.ID + ":" + k.Session)},
	}, nil
}
