package cli

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// clientOf is a client of the limiter that has taken a role with one of its policies.
type clientOf struct {
	raw        *dynamodb.Client
	table      *dynamostore.Table
	own, other *limiter.Limiter // of its own namespace, and of another
	policy     string
}

// Each policy of a limiter's stack lets a client do what it says and nothing else (aws.md 2.5).
func TestWhatTheLimitersPoliciesAllow(t *testing.T) {
	const acq, full, read, nsAcq, nsFull, nsRead = "acq", "full", "read", "ns-acq", "ns-full", "ns-read"
	policies := []string{acq, full, read, nsAcq, nsFull, nsRead}
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	table := dynamostore.OpenTable(dynamodb.NewFromConfig(w.config), "my-limiter", dynamostore.TableOptions{})
	namespaces := map[string]string{}
	for _, name := range []string{"own", "other"} {
		id, err := table.RegisterNamespace(t.Context(), name)
		if err != nil {
			t.Fatal(err)
		}
		namespaces[name] = id
		l := limiterOf(t, table, id)
		if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 1000)}, ""); err != nil {
			t.Fatal(err)
		}
		for _, entity := range append(slices.Clone(policies), "known") {
			if _, err := l.Admin().CreateEntity(t.Context(), limiter.Entity{ID: entity}); err != nil {
				t.Fatal(err)
			}
		}
	}

	reads := func(l *limiter.Limiter) error {
		_, err := l.Available(t.Context(), "known", "api", nil)
		return err
	}
	acquires := func(l *limiter.Limiter, c *clientOf) error { // makes the bucket, or a new one, and adjusts it
		return l.Do(t.Context(), limiter.Request{EntityID: "of-" + c.policy, Resource: "api", Consume: limiter.Amounts{"rpm": 1}}, func(_ context.Context, lease *limiter.Lease) error {
			return lease.Adjust(limiter.Amounts{"rpm": 2})
		})
	}
	told := 0
	named := map[string]string{dynamostore.AcquireOnlyPolicy: acq, dynamostore.FullAccessPolicy: full, dynamostore.ReadOnlyPolicy: read}
	clients := map[string]*clientOf{}
	for _, policy := range policies {
		clients[policy] = w.clientWith(policy, namespaces["own"], namespaces["other"])
	}
	for _, test := range []struct {
		what    string
		call    func(c *clientOf) error
		allowed map[string]bool
	}{
		{"read what is available", func(c *clientOf) error { return reads(c.own) }, set(policies...)},
		{"read it in another namespace", func(c *clientOf) error { return reads(c.other) }, set(acq, full, read)},
		{"acquire and adjust", func(c *clientOf) error { return acquires(c.own, c) }, set(acq, full, nsAcq, nsFull)},
		{"acquire in another namespace", func(c *clientOf) error { return acquires(c.other, c) }, set(acq, full)},
		{"create an entity", func(c *clientOf) error {
			_, err := c.own.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "by-" + c.policy})
			return err
		}, set(full, nsFull)},
		{"set limits", func(c *clientOf) error {
			return c.own.Admin().SetLimits(t.Context(), "known", "api", []limiter.Limit{limiter.PerMinute("rpm", 500)})
		}, set(full, nsFull)},
		{"delete an entity", func(c *clientOf) error { return c.own.Admin().DeleteEntity(t.Context(), c.policy) }, set(full, nsFull)},
		{"create an entity in another namespace", func(c *clientOf) error {
			_, err := c.other.Admin().CreateEntity(t.Context(), limiter.Entity{ID: "by-" + c.policy})
			return err
		}, set(full)},
		{"find a namespace", func(c *clientOf) error {
			_, _, err := c.table.ResolveNamespace(t.Context(), "own")
			return err
		}, set(policies...)},
		// That of a namespace may write the registry too.
		{"register a namespace", func(c *clientOf) error {
			_, err := c.table.RegisterNamespace(t.Context(), "by-"+c.policy)
			return err
		}, set(full, nsFull)},
		{"describe the table", func(c *clientOf) error {
			_, err := c.raw.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: aws.String("my-limiter")})
			return err
		}, set(full, read)},
		{"read the whole table", func(c *clientOf) error {
			_, err := c.raw.Scan(t.Context(), &dynamodb.ScanInput{TableName: aws.String("my-limiter")})
			return err
		}, set(full, read)},
		{"delete the table", func(c *clientOf) error {
			_, err := c.raw.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("my-limiter")})
			return err
		}, nil},
	} {
		for _, policy := range policies {
			err := test.call(clients[policy])
			// What is named as the policy to attach is one that would have been enough.
			e, ok := errors.AsType[*dynamostore.DeniedError](err)
			if ok {
				told++
			}
			if ok && !test.allowed[named[e.Policy]] {
				t.Errorf("%s with the policy %s: told to attach %q: %v", test.what, policy, e.Policy, err)
			} else if ok && !strings.Contains(err.Error(), "needs dynamodb:") {
				t.Errorf("%s with the policy %s: the permission is not named: %v", test.what, policy, err)
			}
			switch {
			case test.allowed[policy] && err != nil:
				t.Errorf("%s with the policy %s: %v", test.what, policy, err)
			case !test.allowed[policy] && !refusal(err):
				t.Errorf("%s with the policy %s: got %v, want a denial", test.what, policy, err)
			}
		}
	}
	if told < 20 {
		t.Errorf("%d denials named a policy", told)
	}
}

func refusal(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "AccessDeniedException"
}

func set(names ...string) map[string]bool {
	all := map[string]bool{}
	for _, name := range names {
		all[name] = true
	}
	return all
}

func limiterOf(t *testing.T, table *dynamostore.Table, namespace string) *limiter.Limiter {
	t.Helper()
	l, err := limiter.New(table.Store(namespace), limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// clientWith makes a role of a namespace, with one of the policies of my-limiter's stack, and takes it.
func (w *awsWorld) clientWith(policy, own, other string) *clientOf {
	w.t.Helper()
	ctx, access := w.t.Context(), iam.NewFromConfig(w.config)
	name := "client-" + policy
	role, err := access.CreateRole(ctx, &iam.CreateRoleInput{
		RoleName: &name, Tags: []types.Tag{{Key: aws.String("zael_namespace_id"), Value: &own}},
		AssumeRolePolicyDocument: aws.String(`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}]}`),
	})
	if err == nil {
		_, err = access.AttachRolePolicy(ctx, &iam.AttachRolePolicyInput{RoleName: &name, PolicyArn: aws.String("arn:aws:iam::123456789012:policy/my-limiter-" + policy)})
	}
	if err != nil {
		w.t.Fatal(err)
	}
	taken, err := sts.NewFromConfig(w.config).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: role.Role.Arn, RoleSessionName: aws.String("me")})
	if err != nil {
		w.t.Fatal(err)
	}
	config := w.config
	config.Credentials = credentials.NewStaticCredentialsProvider(*taken.Credentials.AccessKeyId, *taken.Credentials.SecretAccessKey, *taken.Credentials.SessionToken)
	c := &clientOf{raw: dynamodb.NewFromConfig(config), policy: policy}
	c.table = dynamostore.OpenTable(c.raw, "my-limiter", dynamostore.TableOptions{})
	c.own, c.other = limiterOf(w.t, c.table, own), limiterOf(w.t, c.table, other)
	return c
}

// A run whose caller may not create buckets ends before its first user starts, and says what helps.
func TestARunThatMayNotCreateBuckets(t *testing.T) {
	const before017 = `{"Statement": {"Effect": "Allow", "Resource": "*", "Action": ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan",
		"dynamodb:DescribeTable", "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:UpdateItem", "dynamodb:BatchWriteItem", "dynamodb:TransactWriteItems"]}}`
	const everything = `{"Statement": {"Effect": "Allow", "Resource": "*", "Action": "dynamodb:*"}}`
	for _, test := range []struct {
		name             string
		indexes          bool
		policy, boundary string
		says             string
	}{
		{"0.16", true, before017, "", "run `zae-limiter upgrade --name my-limiter` (Python's: 0.17 or later, without --lambda-only)"},
		{"0.10", false, before017, "", "Python's upgrade refuses to replace a table without local indexes"},
		{"boundary", true, everything, before017, "the permission boundary of the caller does not allow it, the account's administrators have to extend it; no upgrade helps"},
		{
			"explicit deny", true, `{"Statement": [{"Effect": "Allow", "Resource": "*", "Action": "*"}, {"Effect": "Deny", "Resource": "*", "Action": "dynamodb:ConditionCheckItem"}]}`, "",
			"that is an explicit deny, which only the account's administrators can change",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newAWSWorld(t)
			w.makeOldLimiter(test.indexes, false)
			w.file("u.star", "def acquire(user):\n    user.client.acquire(\"e\", \"api\", {\"rpm\": 1}, limits = [Limit.per_minute(\"rpm\", 1000)])\n\nU = user_class(acquire)\n")
			role := iam.CreateRoleInput{
				RoleName:                 aws.String("runner"),
				AssumeRolePolicyDocument: aws.String(`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}]}`),
			}
			access := iam.NewFromConfig(w.config)
			if test.boundary != "" {
				made, err := access.CreatePolicy(t.Context(), &iam.CreatePolicyInput{PolicyName: aws.String("boundary"), PolicyDocument: &test.boundary})
				if err != nil {
					t.Fatal(err)
				}
				role.PermissionsBoundary = made.Policy.Arn
			}
			_, err := access.CreateRole(t.Context(), &role)
			if err == nil {
				_, err = access.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: role.RoleName, PolicyName: aws.String("own"), PolicyDocument: &test.policy})
			}
			if err != nil {
				t.Fatal(err)
			}
			taken, err := sts.NewFromConfig(w.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/runner"), RoleSessionName: aws.String("me")})
			if err != nil {
				t.Fatal(err)
			}
			t.Setenv("AWS_ACCESS_KEY_ID", *taken.Credentials.AccessKeyId)
			t.Setenv("AWS_SECRET_ACCESS_KEY", *taken.Credentials.SecretAccessKey)
			t.Setenv("AWS_SESSION_TOKEN", *taken.Credentials.SessionToken)
			w.forget()
			w.refused(1, test.says, "load", "benchmark", "--target", "dynamodb", "--table", "my-limiter", "-f", w.dir+"/u.star", "--users", "1", "--duration", "1")
			if n := w.made("dynamodb:BatchGetItem"); n > 0 {
				t.Errorf("%d acquires were made", n)
			}
			table := dynamostore.OpenTable(dynamodb.NewFromConfig(w.config), "my-limiter", dynamostore.TableOptions{})
			if left, err := table.Namespaces(t.Context(), ""); err != nil || len(left) > 0 {
				t.Errorf("the namespaces %v are left, %v", left, err)
			}
		})
	}
}

// A right that is taken away in the middle ends the run: its message names what was denied, and it is not
// counted by the thousand.
func TestARunWhoseCallerLosesARight(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	w.file("u.star", "def acquire(user):\n    sleep(0.005)\n    user.client.acquire(\"e\", \"api\", {\"rpm\": 1}, limits = [Limit.per_minute(\"rpm\", 1000000)])\n\nU = user_class(acquire)\n")
	const allowed, lost = `{"Statement": {"Effect": "Allow", "Resource": "*", "Action": "dynamodb:*"}}`,
		`{"Statement": [{"Effect": "Allow", "Resource": "*", "Action": "dynamodb:*"}, {"Effect": "Deny", "Resource": "*", "Action": "dynamodb:UpdateItem"}]}`
	role, access := "runner", iam.NewFromConfig(w.config)
	_, err := access.CreateRole(t.Context(), &iam.CreateRoleInput{
		RoleName: &role, AssumeRolePolicyDocument: aws.String(`{"Statement": [{"Effect": "Allow", "Principal": {"AWS": "123456789012"}, "Action": "sts:AssumeRole"}]}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	may := func(policy string) {
		t.Helper()
		if _, err := access.PutRolePolicy(t.Context(), &iam.PutRolePolicyInput{RoleName: &role, PolicyName: aws.String("own"), PolicyDocument: &policy}); err != nil {
			t.Fatal(err)
		}
	}
	may(allowed)
	taken, err := sts.NewFromConfig(w.config).AssumeRole(t.Context(), &sts.AssumeRoleInput{RoleArn: aws.String("arn:aws:iam::123456789012:role/runner"), RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", *taken.Credentials.AccessKeyId)
	t.Setenv("AWS_SECRET_ACCESS_KEY", *taken.Credentials.SecretAccessKey)
	t.Setenv("AWS_SESSION_TOKEN", *taken.Credentials.SessionToken)
	w.forget()
	ended := make(chan *outcomeOf, 1)
	go func() {
		ended <- w.run("load", "benchmark", "--target", "dynamodb", "--table", "my-limiter", "-f", w.dir+"/u.star", "--users", "2", "--spawn-rate", "100", "--duration", "300", "--json")
	}()
	for w.made("dynamodb:UpdateItem") < 10 {
		select {
		case o := <-ended:
			t.Fatalf("ended with %d\n%s", o.code, o.stderr)
		default:
			runtime.Gosched()
		}
	}
	may(lost)
	o := <-ended
	const says = "permission denied: User: arn:aws:sts::123456789012:assumed-role/runner/me is not authorized to perform: dynamodb:UpdateItem on resource: arn:aws:dynamodb:us-east-1:123456789012:table/my-limiter with an explicit deny"
	if o.code != 1 || !strings.Contains(o.stderr, says) {
		t.Errorf("exit code %d, want 1 and %s\n%s", o.code, says, o.stderr)
	}
	failures, _ := o.doc["totals"].(map[string]any)["failures"].(float64)
	if failures < 1 || failures > 4 {
		t.Errorf("%v failures of two users", failures)
	}
	if !strings.Contains(o.stdout, "PermissionDenied: AccessDeniedException (dynamodb:UpdateItem)") || !strings.Contains(o.stdout, "stopped: permission denied: User: ") {
		t.Errorf("the document does not name the right:\n%s", o.stdout)
	}
}
