package awsdeploy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// conditionCheck is the action that clients need to create a bucket and that policies from before 0.17 do
// not have (aws.md 6.4).
const conditionCheck = "dynamodb:ConditionCheckItem"

// TableAPI is the part of DynamoDB's client that is used.
type TableAPI interface {
	DescribeTable(context.Context, *dynamodb.DescribeTableInput, ...func(*dynamodb.Options)) (*dynamodb.DescribeTableOutput, error)
}

// PolicyAPI is the part of IAM's client that is used.
type PolicyAPI interface {
	GetPolicy(context.Context, *iam.GetPolicyInput, ...func(*iam.Options)) (*iam.GetPolicyOutput, error)
	GetPolicyVersion(context.Context, *iam.GetPolicyVersionInput, ...func(*iam.Options)) (*iam.GetPolicyVersionOutput, error)
}

// Target is the limiter that a load test is for.
type Target struct {
	Stack *stack.Stack
	Table TableFacts
	// Boundary is the ARN of the permission boundary of its roles, "" for none; RoleFormat how roles are
	// named, with one {}.
	Boundary, RoleFormat string
	// Warnings say what works less than it could.
	Warnings []string
}

// TableFacts are what a table shows about how it was made.
type TableFacts struct {
	LocalIndexes       bool // made with local secondary indexes, as since 0.11
	DeletionProtection bool
}

// ErrTarget says that a limiter cannot be a target.
var ErrTarget = errors.New("limiter cannot be a target")

// NoTargetError says that there is no limiter of that name.
type NoTargetError struct{ Name string }

func (e *NoTargetError) Error() string { return "there is no limiter " + e.Name }

// FindTarget reads a limiter's stack and checks that a load test can depend on it.
func FindTarget(ctx context.Context, stacks *stack.Client, tables TableAPI, policies PolicyAPI, name string) (*Target, error) {
	s, err := stacks.Describe(ctx, name)
	if errors.Is(err, stack.ErrNotFound) {
		return nil, &NoTargetError{name}
	}
	if err != nil {
		return nil, err
	}
	if !s.Usable() {
		return nil, fmt.Errorf("%w: stack %s is in state %s", ErrTarget, name, s.Status)
	}
	if s.Outputs["TableArn"] == "" {
		return nil, fmt.Errorf("%w: stack %s has no output TableArn, so it is no limiter", ErrTarget, name)
	}
	// Absent, empty and {} mean the same: stacks from before 0.12 have empty outputs (aws.md 2.6).
	t := &Target{Stack: s, Boundary: s.Outputs["PermissionBoundaryArn"], RoleFormat: s.Outputs["RoleNameFormat"]}
	if t.RoleFormat == "" {
		t.RoleFormat = "{}"
	}
	if t.Table, err = DescribeTable(ctx, tables, name); err != nil {
		return nil, err
	}
	t.checkPolicies(ctx, policies)
	return t, nil
}

// DescribeTable reads what a table shows about how it was made.
func DescribeTable(ctx context.Context, api TableAPI, name string) (TableFacts, error) {
	out, err := api.DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
	if err != nil {
		return TableFacts{}, fmt.Errorf("describe table %s: %w", name, err)
	}
	return TableFacts{
		LocalIndexes:       len(out.Table.LocalSecondaryIndexes) > 0,
		DeletionProtection: aws.ToBool(out.Table.DeletionProtectionEnabled),
	}, nil
}

// PoliciesBeforeCheck says what a limiter's policies from before 0.17 mean, and the way out for its table.
func PoliciesBeforeCheck(name string, localIndexes bool) string {
	text := fmt.Sprintf("the policies of stack %s are from before 0.17: who uses them may not use %s on table %s and cannot create buckets; ", name, conditionCheck, name)
	if localIndexes {
		return text + fmt.Sprintf("run `zae-limiter upgrade --name %s` (Python's: 0.17 or later, without --lambda-only); the load test needs no new deployment", name)
	}
	return text + fmt.Sprintf("the table has no local indexes, so Python's upgrade refuses to replace it; run this program's `zae-limiter upgrade --name %s`, attach a policy with that one action on the table, or make a new limiter", name)
}

// checkPolicies warns when the limiter's own policy, or the boundary of the roles, does not let clients
// create buckets. The load test's roles have a statement of their own, so the policy stops nothing here.
func (t *Target) checkPolicies(ctx context.Context, api PolicyAPI) {
	name := t.Stack.Name
	if arn := t.Stack.Outputs["FullAccessPolicyArn"]; arn == "" {
		t.Warnings = append(t.Warnings, fmt.Sprintf("stack %s has no policies (deployed with --no-iam?); the load test's roles have their own", name))
	} else if doc, err := policyDocument(ctx, api, arn); err != nil {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the policies of stack %s could not be checked: %v", name, err))
	} else if doc.has("Deny", conditionCheck) {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the policy %s denies %s explicitly: who uses it cannot create buckets until the account's administrators change it; the load test's own roles may do it", arn, conditionCheck))
	} else if !doc.allows(conditionCheck) {
		t.Warnings = append(t.Warnings, PoliciesBeforeCheck(name, t.Table.LocalIndexes)+"; the load test's own roles may do it")
	}
	if t.Boundary == "" {
		return
	}
	if allowed, err := Allows(ctx, api, t.Boundary, conditionCheck); err != nil {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the permission boundary %s could not be checked: %v", t.Boundary, err))
	} else if !allowed {
		t.Warnings = append(t.Warnings, fmt.Sprintf("the permission boundary %s does not allow %s: the load test's roles cannot create buckets until the account's administrators extend it; no upgrade helps", t.Boundary, conditionCheck))
	}
}

// PoliciesCurrent reports whether a limiter's policy, by ARN, lets clients do all that those of 0.17 need.
func PoliciesCurrent(ctx context.Context, api PolicyAPI, arn string) (bool, error) {
	return Allows(ctx, api, arn, conditionCheck)
}

// document is the part of a policy that says what it allows.
type document struct {
	Statement statements
}

type statement struct {
	Effect    string
	Action    words
	NotAction words
}

// statements and words may stand in a policy as one or as a list.
type (
	statements []statement
	words      []string
)

func (s *statements) UnmarshalJSON(data []byte) error { return oneOrMore(data, (*[]statement)(s)) }
func (w *words) UnmarshalJSON(data []byte) error      { return oneOrMore(data, (*[]string)(w)) }

func oneOrMore[T any](data []byte, into *[]T) error {
	if strings.HasPrefix(strings.TrimSpace(string(data)), "[") {
		return json.Unmarshal(data, into)
	}
	var one T
	if err := json.Unmarshal(data, &one); err != nil {
		return err
	}
	*into = []T{one}
	return nil
}

// Allows reports whether the present version of a managed policy allows an action on something.
func Allows(ctx context.Context, api PolicyAPI, arn, action string) (bool, error) {
	doc, err := policyDocument(ctx, api, arn)
	if err != nil {
		return false, err
	}
	return doc.allows(action), nil
}

func policyDocument(ctx context.Context, api PolicyAPI, arn string) (*document, error) {
	policy, err := api.GetPolicy(ctx, &iam.GetPolicyInput{PolicyArn: aws.String(arn)})
	if err != nil {
		return nil, shorten(err)
	}
	version, err := api.GetPolicyVersion(ctx, &iam.GetPolicyVersionInput{PolicyArn: aws.String(arn), VersionId: policy.Policy.DefaultVersionId})
	if err != nil {
		return nil, shorten(err)
	}
	text, err := url.QueryUnescape(aws.ToString(version.PolicyVersion.Document))
	if err != nil {
		return nil, fmt.Errorf("policy %s: %w", arn, err)
	}
	doc := &document{}
	if err := json.Unmarshal([]byte(text), doc); err != nil {
		return nil, fmt.Errorf("policy %s: %w", arn, err)
	}
	return doc, nil
}

// shorten keeps the service's own words: the warning they stand in is one line.
func shorten(err error) error {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return fmt.Errorf("%s: %s", api.ErrorCode(), api.ErrorMessage())
	}
	return err
}

func (d *document) allows(action string) bool {
	return d.has("Allow", action) && !d.has("Deny", action)
}

// has says whether a statement with an effect covers an action.
func (d *document) has(effect, action string) bool {
	return slices.ContainsFunc(d.Statement, func(s statement) bool {
		if len(s.NotAction) > 0 {
			return s.Effect == effect && !s.NotAction.match(action)
		}
		return s.Effect == effect && s.Action.match(action)
	})
}

func (w words) match(action string) bool {
	return slices.ContainsFunc(w, func(pattern string) bool {
		// Actions have no slash, so that a shell pattern does what IAM's does.
		ok, err := path.Match(strings.ToLower(pattern), strings.ToLower(action))
		return err == nil && ok
	})
}
