package iam_test

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

const (
	trustECS = `{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Principal":{"Service":"ecs-tasks.amazonaws.com"},"Action":"sts:AssumeRole",
		"Condition":{"StringEquals":{"aws:SourceAccount":"123456789012"}}}]}`
	trustAccount = `{"Statement":{"Effect":"Allow","Principal":{"AWS":"arn:aws:iam::123456789012:root"},"Action":"sts:AssumeRole"}}`
	allowAll     = `{"Statement":{"Effect":"Allow","Action":"*","Resource":"*"}}`
)

// world is an account behind a front, with a clock that tests move.
type world struct {
	iam    *iam.IAM
	config aws.Config
	now    time.Time
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{now: time.Date(2026, 5, 6, 7, 8, 9, 0, time.UTC)}
	w.iam = iam.New(iam.Options{Account: protocoltest.Account, Now: func() time.Time { return w.now }, SessionLifetime: time.Hour})
	w.config = protocoltest.Client(t, &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: w.iam.Services(), Keys: w.iam})
	key, secret := w.iam.Admin()
	w.config = as(w.config, key, secret, "")
	return w
}

func as(config aws.Config, key, secret, token string) aws.Config {
	config.Credentials = credentials.NewStaticCredentialsProvider(key, secret, token)
	return config
}

// check fails on an error, and returns what the call answered.
func check[T any](t *testing.T) func(T, error) T {
	return func(out T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
}

func wantCode(t *testing.T, err error, code string, parts ...string) {
	t.Helper()
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok || api.ErrorCode() != code {
		t.Errorf("got error %v, want %s", err, code)
		return
	}
	for _, part := range parts {
		if !strings.Contains(api.ErrorMessage(), part) {
			t.Errorf("the message is %q, want %q in it", api.ErrorMessage(), part)
		}
	}
}

func TestCallersAreIdentified(t *testing.T) {
	w := newWorld(t)
	who := check[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(w.config).GetCallerIdentity(t.Context(), nil))
	if aws.ToString(who.Arn) != "arn:aws:iam::123456789012:user/admin" || aws.ToString(who.Account) != protocoltest.Account || !strings.HasPrefix(aws.ToString(who.UserId), "AIDA") {
		t.Errorf("the admin is %s, %s, %s", *who.Arn, *who.Account, *who.UserId)
	}
	key, secret := w.iam.Admin()
	for _, test := range []struct{ name, key, secret, token, code string }{
		{"unknown key", "AKIAUNKNOWN", secret, "", "InvalidClientTokenId"},
		{"wrong secret", key, "wrong", "", "SignatureDoesNotMatch"},
		{"a token where none belongs", key, secret, "token", "InvalidClientTokenId"},
	} {
		_, err := sts.NewFromConfig(as(w.config, test.key, test.secret, test.token)).GetCallerIdentity(t.Context(), nil)
		t.Log(test.name)
		wantCode(t, err, test.code)
	}
}

func TestSessionsWorkAsTheirRoleUntilTheyAreOver(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	role := check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("task"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	check[*awsiam.PutRolePolicyOutput](t)(client.PutRolePolicy(t.Context(), &awsiam.PutRolePolicyInput{
		RoleName: aws.String("task"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Statement":{"Effect":"Allow","Action":"iam:GetRole","Resource":"` + *role.Role.Arn + `"}}`),
	}))

	if err := w.iam.Trusts(*role.Role.Arn, "ecs-tasks.amazonaws.com", map[string]string{"aws:SourceAccount": protocoltest.Account}); err != nil {
		t.Errorf("ECS may assume the role: %v", err)
	}
	if err := w.iam.Trusts(*role.Role.Arn, "lambda.amazonaws.com", map[string]string{"aws:SourceAccount": protocoltest.Account}); err == nil {
		t.Error("Lambda may not assume the role, want an error")
	}
	if err := w.iam.Trusts(*role.Role.Arn, "ecs-tasks.amazonaws.com", map[string]string{"aws:SourceAccount": "1"}); err == nil {
		t.Error("another account may not assume the role, want an error")
	}

	key, secret, token, expires, err := w.iam.Session(*role.Role.Arn, "abc", nil)
	if err != nil || !expires.Equal(w.now.Add(time.Hour)) {
		t.Fatalf("session until %v, %v", expires, err)
	}
	session := as(w.config, key, secret, token)
	who := check[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil))
	if aws.ToString(who.Arn) != "arn:aws:sts::123456789012:assumed-role/task/abc" || !strings.HasSuffix(aws.ToString(who.UserId), ":abc") {
		t.Errorf("the session is %s, %s", *who.Arn, *who.UserId)
	}
	check[*awsiam.GetRoleOutput](t)(awsiam.NewFromConfig(session).GetRole(t.Context(), &awsiam.GetRoleInput{RoleName: aws.String("task")}))
	_, err = awsiam.NewFromConfig(session).ListRoles(t.Context(), nil)
	wantCode(t, err, "AccessDenied", "User: arn:aws:sts::123456789012:assumed-role/task/abc is not authorized to perform: iam:ListRoles on resource: ",
		"because no identity-based policy allows the iam:ListRoles action")

	w.now = w.now.Add(time.Hour)
	_, err = sts.NewFromConfig(session).GetCallerIdentity(t.Context(), nil)
	wantCode(t, err, "ExpiredToken")
}

func TestTheUserIDOfASessionIsThatOfItsRoleAndItsName(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	role := check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("task"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	check[*awsiam.PutRolePolicyOutput](t)(client.PutRolePolicy(t.Context(), &awsiam.PutRolePolicyInput{
		RoleName: aws.String("task"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Statement":{"Effect":"Allow","Action":"ssm:TerminateSession","Resource":"session/${aws:userid}-*"}}`),
	}))
	key, _, token, _, err := w.iam.Session(*role.Role.Arn, "abc", nil)
	if err != nil {
		t.Fatal(err)
	}
	who, err := w.iam.Find(key, token)
	if err != nil || who.UserID != *role.Role.RoleId+":abc" {
		t.Fatalf("the session is %+v, %v", who, err)
	}
	if err := who.Guard.Allow("ssm:TerminateSession", "session/"+who.UserID+"-1", nil); err != nil {
		t.Errorf("a session of its own: %v", err)
	}
	if err := who.Guard.Allow("ssm:TerminateSession", "session/"+*role.Role.RoleId+":xyz-1", nil); err == nil {
		t.Error("a session of another one is allowed")
	}
}

func TestDenialsEndInThreeWays(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	boundary := check[*awsiam.CreatePolicyOutput](t)(client.CreatePolicy(t.Context(), &awsiam.CreatePolicyInput{
		PolicyName: aws.String("boundary"), PolicyDocument: aws.String(`{"Statement":{"Effect":"Allow","Action":"iam:GetRole","Resource":"*"}}`),
	}))
	for _, test := range []struct{ name, boundary, policy, ending string }{
		{"silent", "", `{"Statement":{"Effect":"Allow","Action":"iam:GetRole","Resource":"*"}}`, "because no identity-based policy allows the iam:ListRoles action"},
		{"bounded", *boundary.Policy.Arn, allowAll, "because no permissions boundary allows the iam:ListRoles action"},
		{"denied", "", `{"Statement":[{"Effect":"Allow","Action":"*","Resource":"*"},{"Effect":"Deny","Action":"iam:List*","Resource":"*"}]}`, "with an explicit deny in an identity-based policy"},
	} {
		in := &awsiam.CreateRoleInput{RoleName: &test.name, AssumeRolePolicyDocument: aws.String(trustAccount)}
		if test.boundary != "" {
			in.PermissionsBoundary = &test.boundary
		}
		role := check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), in))
		check[*awsiam.PutRolePolicyOutput](t)(client.PutRolePolicy(t.Context(), &awsiam.PutRolePolicyInput{RoleName: &test.name, PolicyName: aws.String("p"), PolicyDocument: &test.policy}))
		assumed := check[*sts.AssumeRoleOutput](t)(sts.NewFromConfig(w.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("s")}))
		session := awsiam.NewFromConfig(as(w.config, *assumed.Credentials.AccessKeyId, *assumed.Credentials.SecretAccessKey, *assumed.Credentials.SessionToken))
		check[*awsiam.GetRoleOutput](t)(session.GetRole(t.Context(), &awsiam.GetRoleInput{RoleName: &test.name}))
		_, err := session.ListRoles(t.Context(), nil)
		wantCode(t, err, "AccessDenied", test.ending)

		simulated := check[*awsiam.SimulatePrincipalPolicyOutput](t)(client.SimulatePrincipalPolicy(t.Context(), &awsiam.SimulatePrincipalPolicyInput{
			PolicySourceArn: role.Role.Arn, ActionNames: []string{"iam:GetRole", "iam:ListRoles"},
		}))
		want := types.PolicyEvaluationDecisionTypeImplicitDeny
		if test.name == "denied" {
			want = types.PolicyEvaluationDecisionTypeExplicitDeny
		}
		if got := simulated.EvaluationResults; got[0].EvalDecision != types.PolicyEvaluationDecisionTypeAllowed || got[1].EvalDecision != want {
			t.Errorf("%s: simulated as %s and %s, want allowed and %s", test.name, got[0].EvalDecision, got[1].EvalDecision, want)
		}
	}
}

func TestARoleThatTrustsOthersIsNotAssumed(t *testing.T) {
	w := newWorld(t)
	role := check[*awsiam.CreateRoleOutput](t)(awsiam.NewFromConfig(w.config).CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	for _, arn := range []string{*role.Role.Arn, "arn:aws:iam::123456789012:role/absent"} {
		_, err := sts.NewFromConfig(w.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: &arn, RoleSessionName: aws.String("s")})
		wantCode(t, err, "AccessDenied", "sts:AssumeRole on resource: "+arn)
	}
}

func TestUsersForTestsHaveTheirPolicyOnly(t *testing.T) {
	w := newWorld(t)
	key, secret, err := w.iam.AddUser("reader", `{"Statement":{"Effect":"Allow","Action":"iam:ListRoles","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	reader := awsiam.NewFromConfig(as(w.config, key, secret, ""))
	check[*awsiam.ListRolesOutput](t)(reader.ListRoles(t.Context(), nil))
	_, err = reader.CreateUser(t.Context(), &awsiam.CreateUserInput{UserName: aws.String("x")})
	wantCode(t, err, "AccessDenied", "User: arn:aws:iam::123456789012:user/reader is not authorized to perform: iam:CreateUser on resource: arn:aws:iam::123456789012:user/x")
	if _, _, err := w.iam.AddUser("broken", `{}`); err == nil {
		t.Error("a policy without statements is accepted")
	}
}

func TestContainersFetchTheirKeys(t *testing.T) {
	w := newWorld(t)
	role := check[*awsiam.CreateRoleOutput](t)(awsiam.NewFromConfig(w.config).CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("task"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	token, err := w.iam.Hold(*role.Role.Arn, "abc")
	if err != nil {
		t.Fatal(err)
	}
	fetch := func(token string) *httptest.ResponseRecorder {
		request := httptest.NewRequest(http.MethodGet, "/", nil)
		request.Header.Set("Authorization", token)
		answer := httptest.NewRecorder()
		w.iam.CredentialsHandler().ServeHTTP(answer, request)
		return answer
	}
	var keys struct{ AccessKeyId, SecretAccessKey, Token, Expiration string }
	if err := json.NewDecoder(fetch(token).Body).Decode(&keys); err != nil || keys.Expiration != "2026-05-06T08:08:09Z" {
		t.Fatalf("the answer is %+v, %v", keys, err)
	}
	who := check[*sts.GetCallerIdentityOutput](t)(sts.NewFromConfig(as(w.config, keys.AccessKeyId, keys.SecretAccessKey, keys.Token)).GetCallerIdentity(t.Context(), nil))
	if !strings.HasSuffix(aws.ToString(who.Arn), ":assumed-role/task/abc") {
		t.Errorf("the container is %s", *who.Arn)
	}
	if got := fetch("another").Code; got != http.StatusForbidden {
		t.Errorf("an unknown token: status %d, want 403", got)
	}
	w.iam.Drop(token)
	if got := fetch(token).Code; got != http.StatusForbidden {
		t.Errorf("after Drop: status %d, want 403", got)
	}
}

func TestStacksMakeRolesAndPolicies(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	providers := w.iam.Providers()
	managed, roles := providers["AWS::IAM::ManagedPolicy"], providers["AWS::IAM::Role"]
	var document any
	if err := json.Unmarshal([]byte(allowAll), &document); err != nil {
		t.Fatal(err)
	}
	policyOf := func(description string) *resource.Resource {
		return &resource.Resource{Stack: "s", LogicalID: "Full", Properties: map[string]any{"ManagedPolicyName": "s-full", "Description": description, "PolicyDocument": document}}
	}
	policy := check[*resource.Physical](t)(managed.Create(t.Context(), policyOf("d")))
	if policy.ID != "arn:aws:iam::123456789012:policy/s-full" {
		t.Errorf("Ref of the policy is %s", policy.ID)
	}
	if _, err := managed.Create(t.Context(), policyOf("d")); err == nil {
		t.Error("a second policy of the name is made")
	}
	if managed.Replaces("Description", "a", "b") != resource.Always || managed.Replaces("PolicyDocument", nil, nil) != resource.Never {
		t.Error("a description replaces a policy, a document does not")
	}

	trust := map[string]any{"Statement": []any{map[string]any{"Effect": "Allow", "Principal": map[string]any{"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}}}
	roleOf := func(policies []any, attached ...any) *resource.Resource {
		return &resource.Resource{
			Stack: "s", LogicalID: "Role", Tags: map[string]string{"stack": "tag"},
			Properties: map[string]any{"AssumeRolePolicyDocument": trust, "Policies": policies, "ManagedPolicyArns": attached, "MaxSessionDuration": "7200"},
		}
	}
	first := roleOf([]any{map[string]any{"PolicyName": "one", "PolicyDocument": document}}, policy.ID)
	role := check[*resource.Physical](t)(roles.Create(t.Context(), first))
	if !strings.HasPrefix(role.ID, "s-Role-") || !strings.HasSuffix(role.Attributes["Arn"], ":role/"+role.ID) {
		t.Errorf("the role is %+v", role)
	}
	second := roleOf([]any{map[string]any{"PolicyName": "two", "PolicyDocument": document}})
	check[*resource.Physical](t)(roles.Update(t.Context(), role, first, second))
	names := check[*awsiam.ListRolePoliciesOutput](t)(client.ListRolePolicies(t.Context(), &awsiam.ListRolePoliciesInput{RoleName: &role.ID}))
	attached := check[*awsiam.ListAttachedRolePoliciesOutput](t)(client.ListAttachedRolePolicies(t.Context(), &awsiam.ListAttachedRolePoliciesInput{RoleName: &role.ID}))
	if len(names.PolicyNames) != 1 || names.PolicyNames[0] != "two" || len(attached.AttachedPolicies) != 0 {
		t.Errorf("after the update the role has %v and %v", names.PolicyNames, attached.AttachedPolicies)
	}

	got := check[*awsiam.GetPolicyOutput](t)(client.GetPolicy(t.Context(), &awsiam.GetPolicyInput{PolicyArn: &policy.ID}))
	version := check[*awsiam.GetPolicyVersionOutput](t)(client.GetPolicyVersion(t.Context(), &awsiam.GetPolicyVersionInput{PolicyArn: &policy.ID, VersionId: got.Policy.DefaultVersionId}))
	text, err := url.QueryUnescape(aws.ToString(version.PolicyVersion.Document))
	if err != nil || !json.Valid([]byte(text)) {
		t.Errorf("the document is %q, %v", text, err)
	}

	check[*awsiam.AttachRolePolicyOutput](t)(client.AttachRolePolicy(t.Context(), &awsiam.AttachRolePolicyInput{RoleName: &role.ID, PolicyArn: &policy.ID}))
	if err := roles.Delete(t.Context(), role, second); err == nil || !strings.Contains(err.Error(), "must detach all policies first") {
		t.Errorf("a role with another's policy is deleted: %v", err)
	}
	if err := managed.Delete(t.Context(), policy, policyOf("d")); err == nil || !strings.Contains(err.Error(), "attached to entities") {
		t.Errorf("a policy in use is deleted: %v", err)
	}
	check[*awsiam.DetachRolePolicyOutput](t)(client.DetachRolePolicy(t.Context(), &awsiam.DetachRolePolicyInput{RoleName: &role.ID, PolicyArn: &policy.ID}))
	for range 2 { // the second time they are gone already
		if err := errors.Join(roles.Delete(t.Context(), role, second), managed.Delete(t.Context(), policy, policyOf("d"))); err != nil {
			t.Error(err)
		}
	}
}

func TestAnInlinePolicyOfAStackIsOnItsRoles(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	for _, name := range []string{"a", "b"} {
		check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: &name, AssumeRolePolicyDocument: aws.String(trustECS)}))
	}
	provider := w.iam.Providers()["AWS::IAM::Policy"]
	of := func(roles ...any) *resource.Resource {
		return &resource.Resource{Stack: "s", LogicalID: "P", Properties: map[string]any{"PolicyName": "p", "PolicyDocument": allowAll, "Roles": roles}}
	}
	holders := func() (names []string) {
		for _, name := range []string{"a", "b"} {
			out := check[*awsiam.ListRolePoliciesOutput](t)(client.ListRolePolicies(t.Context(), &awsiam.ListRolePoliciesInput{RoleName: &name}))
			if len(out.PolicyNames) > 0 {
				names = append(names, name)
			}
		}
		return names
	}
	made := check[*resource.Physical](t)(provider.Create(t.Context(), of("a")))
	check[*resource.Physical](t)(provider.Update(t.Context(), made, of("a"), of("b")))
	if got := strings.Join(holders(), ","); got != "b" {
		t.Errorf("after the update the policy is on %s, want b", got)
	}
	if err := provider.Delete(t.Context(), made, of("b")); err != nil || len(holders()) != 0 {
		t.Errorf("after the deletion the policy is on %v, %v", holders(), err)
	}
}

func TestTheAccountIsKept(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("r"), AssumeRolePolicyDocument: aws.String(trustAccount)}))
	key, secret, err := w.iam.AddUser("reader", `{"Statement":{"Effect":"Allow","Action":"iam:GetRole","Resource":"*"}}`)
	if err != nil {
		t.Fatal(err)
	}
	data, err := w.iam.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	again := newWorld(t)
	if err := again.iam.UnmarshalJSON(data); err != nil {
		t.Fatal(err)
	}
	if before, _ := w.iam.Admin(); before == "" {
		t.Error("no admin key")
	} else if after, _ := again.iam.Admin(); after != before {
		t.Errorf("the admin key is %s, was %s", after, before)
	}
	reader := awsiam.NewFromConfig(as(again.config, key, secret, ""))
	check[*awsiam.GetRoleOutput](t)(reader.GetRole(t.Context(), &awsiam.GetRoleInput{RoleName: aws.String("r")}))
	_, err = reader.ListRoles(t.Context(), nil)
	wantCode(t, err, "AccessDenied")
}

func TestConditionsOfASessionHoldForItsCalls(t *testing.T) {
	w := newWorld(t)
	client := awsiam.NewFromConfig(w.config)
	role := check[*awsiam.CreateRoleOutput](t)(client.CreateRole(t.Context(), &awsiam.CreateRoleInput{RoleName: aws.String("worker"), AssumeRolePolicyDocument: aws.String(trustECS)}))
	check[*awsiam.PutRolePolicyOutput](t)(client.PutRolePolicy(t.Context(), &awsiam.PutRolePolicyInput{RoleName: aws.String("worker"), PolicyName: aws.String("p"), PolicyDocument: aws.String(`{"Statement":[
		{"Effect":"Allow","Action":"iam:ListRoles","Resource":"*"},
		{"Effect":"Deny","Action":"iam:ListRoles","Resource":"*","Condition":{"ArnEquals":{"lambda:SourceFunctionArn":"arn:f"}}}]}`)}))
	for _, test := range []struct {
		conditions map[string]string
		allowed    bool
	}{{nil, true}, {map[string]string{"lambda:SourceFunctionArn": "arn:g"}, true}, {map[string]string{"lambda:SourceFunctionArn": "arn:f"}, false}} {
		key, secret, token, _, err := w.iam.Session(*role.Role.Arn, "s", test.conditions)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := awsiam.NewFromConfig(as(w.config, key, secret, token)).ListRoles(t.Context(), nil); (err == nil) != test.allowed {
			t.Errorf("with %v: %v, want allowed = %v", test.conditions, err, test.allowed)
		}
	}
	guard, err := w.iam.Guard(*role.Role.Arn, "service")
	if err != nil {
		t.Fatal(err)
	}
	if err := guard.Allow("iam:ListRoles", "*", nil); err != nil {
		t.Errorf("the service as the role: %v", err)
	}
	if err := guard.Allow("iam:GetRole", "*", nil); err == nil || !strings.Contains(err.Error(), "assumed-role/worker/service is not authorized") {
		t.Errorf("the service as the role: %v, want a denial", err)
	}
}
