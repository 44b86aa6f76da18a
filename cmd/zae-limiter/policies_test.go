package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	awsiam "github.com/aws/aws-sdk-go-v2/service/iam"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsfake"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/iam"
)

// audit keeps what was decided about each caller, each question once.
type audit struct {
	mu      sync.Mutex
	decided map[string]map[string]iam.Decision // by principal and question
}

func (a *audit) add(d iam.Decision) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.decided[d.Principal] == nil {
		a.decided[d.Principal] = map[string]iam.Decision{}
	}
	a.decided[d.Principal][fmt.Sprint(d.Action, " ", d.Resource, " ", d.Allowed)] = d
}

// of are the decisions about a caller, whose ARN ends so, in the order of their questions.
func (a *audit) of(t *testing.T, suffix string) []iam.Decision {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	for principal, decided := range a.decided {
		if strings.HasSuffix(principal, suffix) {
			var list []iam.Decision
			for _, question := range slices.Sorted(maps.Keys(decided)) {
				list = append(list, decided[question])
			}
			return list
		}
	}
	t.Fatalf("nothing was asked of %s", suffix)
	return nil
}

// rights is a policy that can be taken apart.
type rights struct {
	Version   string
	Statement []right
}

type right struct {
	Sid       string `json:",omitempty"`
	Effect    string
	Action    list
	Resource  list
	Condition any `json:",omitempty"`
}

// list may stand in a policy as a single text.
type list []string

func (l *list) UnmarshalJSON(data []byte) error {
	if data[0] != '[' {
		data = slices.Concat([]byte("["), data, []byte("]"))
	}
	return json.Unmarshal(data, (*[]string)(l))
}

func (r *rights) text(t *testing.T) string {
	t.Helper()
	data, err := json.Marshal(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// needless are the actions and resources, as "Sid: action", without which a policy allows all that was
// allowed, and denies all that it should.
func needless(t *testing.T, policy string, decided []iam.Decision) []string {
	t.Helper()
	var whole rights
	if err := json.Unmarshal([]byte(policy), &whole); err != nil {
		t.Fatal(err)
	}
	same := func(less *rights) bool {
		less.Statement = slices.DeleteFunc(slices.Clone(less.Statement), func(s right) bool {
			return len(s.Action) == 0 || len(s.Resource) == 0
		})
		if len(less.Statement) == 0 {
			return false
		}
		text := less.text(t)
		for _, d := range decided {
			is, err := d.AllowedBy(policy)
			if err != nil {
				t.Fatal(err)
			}
			would, err := d.AllowedBy(text)
			if err != nil {
				t.Fatal(err)
			}
			if is != would {
				return false
			}
		}
		return true
	}
	var found []string
	for i, s := range whole.Statement {
		without := func(what string, change func(less *rights)) {
			less := rights{Version: whole.Version, Statement: slices.Clone(whole.Statement)}
			change(&less)
			if same(&less) {
				found = append(found, s.Sid+": "+what)
			}
		}
		for j, action := range s.Action {
			without(action, func(less *rights) { less.Statement[i].Action = slices.Delete(slices.Clone(s.Action), j, j+1) })
		}
		for j, resource := range s.Resource {
			without(resource, func(less *rights) { less.Statement[i].Resource = slices.Delete(slices.Clone(s.Resource), j, j+1) })
		}
	}
	return found
}

// caller runs the program as one user of an account.
type caller struct {
	t       *testing.T
	program string
	env     []string
}

func (c *caller) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(c.t.Context(), c.program, args...)
	cmd.Env = append(os.Environ(), c.env...)
	return cmd
}

func (c *caller) run(args ...string) string {
	c.t.Helper()
	cmd := c.command(args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := unlessBusy(cmd.Run(), stdout.String()+stderr.String()); err != nil {
		c.t.Errorf("%v: %v\n%s\n%s", args, err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// untilUI runs a command until it tells where the web UI is, and then interrupts it.
func (c *caller) untilUI(args ...string) {
	c.t.Helper()
	cmd := c.command(args...)
	stderr, err := cmd.StderrPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		c.t.Fatal(err)
	}
	var said bytes.Buffer
	buffer := make([]byte, 4096)
	for signalled := false; ; {
		n, err := stderr.Read(buffer)
		said.Write(buffer[:n])
		if !signalled && strings.Contains(said.String(), "Web UI:") {
			signalled = true
			if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
				c.t.Error(err)
			}
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			c.t.Error(err)
			break
		}
	}
	if err := cmd.Wait(); err != nil {
		c.t.Errorf("%v: %v\n%s", args, err, said.String())
	}
}

// Why rights are in a caller's policy that nothing asks for here.
const (
	readsBack  = "CloudFormation reads a resource back after it has made it, and before it changes it (aws.md 6.3)"
	tags       = "CloudFormation puts the stack's tags on its resources (aws.md 6.3)"
	upgrade    = "the change of a stack that the Python tool or an earlier release made (aws.md 8)"
	boundary   = "limiters whose roles have a permission boundary (aws.md 6.3)"
	interfaces = "interfaces of functions, which the end of a stack waits for (aws.md 5.4)"
)

// onlyAWS are rights that real AWS needs and the account on this machine does not, or that other ways
// through the program need, with the reason.
var onlyAWS = map[string]string{
	"ec2:CreateTags": tags, "ec2:DeleteTags": tags,
	"ec2:DescribeSecurityGroups": readsBack, "ec2:DescribeSecurityGroupRules": readsBack,
	"ec2:DescribeNetworkInterfaces":     interfaces,
	"ec2:DescribeVpcs":                  "the question for a VPC, on a terminal (aws.md 6.3)",
	"ec2:ModifyVpcEndpoint":             "other subnets or route tables of a deployed stack",
	"ec2:RevokeSecurityGroupIngress":    upgrade,
	"ecr:GetLifecyclePolicy":            readsBack,
	"ecr:ListTagsForResource":           readsBack,
	"ecr:TagResource":                   tags,
	"ecr:UntagResource":                 tags,
	"ecr:DeleteLifecyclePolicy":         upgrade,
	"ecr:PutImageScanningConfiguration": upgrade,
	"ecr:PutImageTagMutability":         upgrade,
	"ecs:DescribeClusters":              readsBack, "ecs:DescribeServices": readsBack, "ecs:ListTagsForResource": readsBack,
	"ecs:DescribeTaskDefinition": readsBack, "ecs:TagResource": tags, "ecs:UntagResource": tags,
	"ecs:PutClusterCapacityProviders":     "another --capacity-provider: CloudFormation calls it beside UpdateCluster",
	"ecs:UpdateClusterSettings":           "another --container-insights: CloudFormation calls it beside UpdateCluster",
	"lambda:DeleteFunctionConcurrency":    "--reserved-concurrency none after a number",
	"lambda:GetFunction":                  readsBack,
	"lambda:GetFunctionCodeSigningConfig": readsBack, "lambda:GetFunctionEventInvokeConfig": readsBack,
	"lambda:GetRuntimeManagementConfig": readsBack, "lambda:ListTags": readsBack, "lambda:TagResource": tags, "lambda:UntagResource": tags,
	"lambda:UpdateFunctionEventInvokeConfig": upgrade,
	"logs:DeleteRetentionPolicy":             upgrade,
	"logs:DescribeLogGroups":                 readsBack,
	"logs:ListTagsForResource":               readsBack,
	"logs:TagResource":                       tags,
	"logs:UntagResource":                     tags,
	"iam:PutRolePermissionsBoundary":         boundary, "iam:DeleteRolePermissionsBoundary": boundary,
	"iam:DetachRolePolicy": upgrade, "iam:UpdateAssumeRolePolicy": upgrade,
	"iam:GetRole": readsBack, "iam:GetRolePolicy": readsBack, "iam:ListAttachedRolePolicies": readsBack,
	"iam:ListRolePolicies": readsBack, "iam:ListRoleTags": readsBack, "iam:TagRole": tags, "iam:UntagRole": tags,
	"ssm:ResumeSession": "a tunnel whose connection broke (aws.md 5.1)",
	"arn:aws:ssm:us-east-1::document/AWS-StartPortForwardingSessionToRemoteHost": "where the plain document is denied (aws.md 5.1)",
	"arn:aws:ssm:us-east-1:123456789012:session/${aws:userid}-*":                 "callers who have taken a role (aws.md 5.1)",
	"LogGroups: *": readsBack,
}

const everythingOfAClient = `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 1000000000)])
    everything(env.client, "setup")

def everything(client, name):
    client.create_entity(name)
    client.create_entity(name + "-child", parent_id = name, cascade = True)
    client.set_limits(name, [Limit.per_minute("rpm", 1000000)])
    client.delete_limits(name)
    client.get_children(name)
    client.acquire(name + "-child", "api", {"rpm": 1})
    client.delete_entity(name + "-child")
    client.delete_entity(name)

def on_start(user):
    everything(user.client, "user-" + user.id)

def acquire(user):
    sleep(0.02)
    user.client.acquire("user-" + user.id, "api", {"rpm": 1})

User = user_class(acquire, on_start = on_start)
`

// TestPoliciesAreNeededAndEnough runs the whole path, each command by a user that has only the policy
// printed for it. Nothing is denied, neither to them nor to the roles of the load stack; and what each
// policy grants was asked for, or is needed by AWS alone.
func TestPoliciesAreNeededAndEnough(t *testing.T) {
	t.Parallel()
	program, err := shipped()
	if err != nil {
		t.Fatal(err)
	}
	files := t.TempDir()
	if err := os.WriteFile(filepath.Join(files, "u.star"), []byte(everythingOfAClient), 0o600); err != nil {
		t.Fatal(err)
	}
	record := &audit{decided: map[string]map[string]iam.Decision{}}
	account, err := awsfake.Start(t.Context(), awsfake.Options{Decided: record.add})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := account.Close(ctx); err != nil {
			t.Error(err)
		}
	})
	admin := &caller{t, program, account.Environ()}
	printed := map[string]string{}
	user := func(purpose string) *caller {
		printed[purpose] = admin.run("load", "iam-policy", "--for", purpose, "--name", "my-limiter", "--region", account.Region(), "--account", account.Account())
		key, secret, err := account.IAM.AddUser(purpose, printed[purpose])
		if err != nil {
			t.Fatal(err)
		}
		return &caller{t, program, append(account.Environ(), "AWS_ACCESS_KEY_ID="+key, "AWS_SECRET_ACCESS_KEY="+secret)}
	}
	deploy, connect, benchmark := user("deploy"), user("connect"), user("benchmark")

	named := []string{"--name", "my-limiter"}
	ship := []string{"-C", files, "--binary", program}
	admin.run(append([]string{"deploy"}, named...)...)
	deploy.run(slices.Concat([]string{"load", "deploy", "-f", "u.star", "--vpc-id", "vpc-local", "--subnet-ids", "subnet-a,subnet-b"}, named, ship)...)
	if err := os.WriteFile(filepath.Join(files, "other.star"), []byte(everythingOfAClient), 0o600); err != nil {
		t.Fatal(err)
	}
	deploy.run(slices.Concat([]string{"load", "push"}, named, ship)...)
	// The second one changes resources of every kind, the third one nothing.
	changed := slices.Concat([]string{"load", "deploy", "--max-workers", "4", "--reserved-concurrency", "8", "--log-retention-days", "3", "--capacity-provider", "FARGATE", "--container-insights", "disabled"}, named, ship)
	deploy.run(changed...)
	deploy.run(changed...)

	ui := slices.Concat([]string{"load", "connect", "--port", "0", "--no-browser"}, named)
	short := []string{"--users", "2", "--spawn-rate", "100", "--duration", "2"}
	connect.run("load", "list")
	connect.untilUI(append(ui, "--destroy")...)
	connect.run(append([]string{"load", "logs"}, named...)...)
	benchmark.run(slices.Concat([]string{"load", "benchmark", "--mode", "lambda"}, named, short)...)
	benchmark.run(slices.Concat([]string{"load", "benchmark", "--mode", "fargate", "--port", "0"}, named, short)...)
	benchmark.run(slices.Concat([]string{"load", "benchmark", "--mode", "distributed", "--workers", "2", "--port", "0"}, named, short)...)
	benchmark.run(append([]string{"load", "tune", "--max-users", "2", "--baseline-duration", "1", "--step-duration", "1"}, named...)...)
	benchmark.run(append([]string{"load", "status"}, named...)...)
	benchmark.run(append([]string{"load", "doctor"}, named...)...)
	benchmark.run("load", "list")
	benchmark.run(append([]string{"load", "logs"}, named...)...)
	connect.untilUI(ui...) // whose task goes on, for delete to stop

	roles := rolePolicies(t, account, "my-limiter-load-exec", "my-limiter-load-task", "my-limiter-load-worker")
	trusted(t, account)
	deploy.run(append([]string{"load", "delete", "--yes"}, named...)...)

	for role, policies := range roles {
		decided := record.of(t, ":role/"+role)
		noDenial(t, role, decided)
		if strings.HasSuffix(role, "-worker") {
			decided = append(decided, byFunction(t, decided)...)
		}
		for name, policy := range policies {
			if got := needless(t, policy, decided); len(got) > 0 {
				t.Errorf("policy %s of role %s grants or denies what makes no difference: %q", name, role, got)
			}
		}
	}
	for purpose, policy := range printed {
		decided := record.of(t, ":user/"+purpose)
		noDenial(t, purpose, decided)
		got := slices.DeleteFunc(needless(t, policy, decided), func(what string) bool {
			_, right, _ := strings.Cut(what, ": ")
			return onlyAWS[right] != "" || onlyAWS[what] != ""
		})
		if len(got) > 0 {
			t.Errorf("the policy for %s grants what nothing needs:\n%s", purpose, strings.Join(got, "\n"))
		}
	}
}

// trusted checks that each role can be taken by its service alone, and for this account.
func trusted(t *testing.T, account *awsfake.Cloud) {
	t.Helper()
	const ecs, lambda, elsewhere = "ecs-tasks.amazonaws.com", "lambda.amazonaws.com", "999999999999"
	from := func(number string) map[string]string {
		return map[string]string{"aws:SourceAccount": number, "aws:SourceArn": "arn:aws:ecs:" + account.Region() + ":" + number + ":task"}
	}
	for _, test := range []struct {
		role, service, account string
		want                   bool
	}{
		{"exec", ecs, account.Account(), true}, {"exec", lambda, account.Account(), false}, {"exec", ecs, elsewhere, false},
		{"task", ecs, account.Account(), true}, {"task", lambda, account.Account(), false}, {"task", ecs, elsewhere, false},
		{"worker", lambda, account.Account(), true}, {"worker", ecs, account.Account(), false},
	} {
		err := account.IAM.Trusts("arn:aws:iam::"+account.Account()+":role/my-limiter-load-"+test.role, test.service, from(test.account))
		if (err == nil) != test.want {
			t.Errorf("%s of account %s as the role %s: %v", test.service, test.account, test.role, err)
		}
	}
}

func noDenial(t *testing.T, who string, decided []iam.Decision) {
	t.Helper()
	for _, d := range decided {
		if !d.Allowed {
			t.Errorf("%s was denied %s on %s", who, d.Action, d.Resource)
		}
	}
}

// byFunction are the questions of code in the function for the rights that only the service should have.
func byFunction(t *testing.T, decided []iam.Decision) []iam.Decision {
	t.Helper()
	i := slices.IndexFunc(decided, func(d iam.Decision) bool { return strings.HasPrefix(d.Action, "dynamodb:") })
	if i < 0 {
		t.Fatal("the function asked nothing of the table")
	}
	var asked []iam.Decision
	for _, d := range decided {
		if strings.HasPrefix(d.Action, "ec2:") {
			asked = append(asked, *decided[i].Of(d.Action, d.Resource))
		}
	}
	return asked
}

// administrator is the configuration of clients that may do everything in an account.
func administrator(cloud *awsfake.Cloud) aws.Config {
	key, secret := cloud.IAM.Admin()
	return aws.Config{
		Region: cloud.Region(), BaseEndpoint: aws.String(cloud.Endpoint()), Credentials: credentials.NewStaticCredentialsProvider(key, secret, ""),
		HTTPClient: account.WholeBodies(nil),
	}
}

// rolePolicies are the inline policies of roles, by role and name.
func rolePolicies(t *testing.T, cloud *awsfake.Cloud, roles ...string) map[string]map[string]string {
	t.Helper()
	client := awsiam.NewFromConfig(administrator(cloud))
	found := map[string]map[string]string{}
	for _, role := range roles {
		names, err := client.ListRolePolicies(t.Context(), &awsiam.ListRolePoliciesInput{RoleName: &role})
		if err != nil {
			t.Fatal(err)
		}
		found[role] = map[string]string{}
		for _, name := range names.PolicyNames {
			policy, err := client.GetRolePolicy(t.Context(), &awsiam.GetRolePolicyInput{RoleName: &role, PolicyName: &name})
			if err != nil {
				t.Fatal(err)
			}
			if found[role][name], err = url.QueryUnescape(*policy.PolicyDocument); err != nil {
				t.Fatal(err)
			}
		}
	}
	return found
}
