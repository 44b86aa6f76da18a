package awsdeploy

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	iamtypes "github.com/aws/aws-sdk-go-v2/service/iam/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"gopkg.in/yaml.v3"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// network is a VPC with a main route table to a NAT gateway and a table of subnet-b to the internet.
type network struct {
	EC2API
	endpoints []types.VpcEndpoint
}

func (network) DescribeRouteTables(context.Context, *ec2.DescribeRouteTablesInput, ...func(*ec2.Options)) (*ec2.DescribeRouteTablesOutput, error) {
	everywhere := aws.String("0.0.0.0/0")
	return &ec2.DescribeRouteTablesOutput{RouteTables: []types.RouteTable{
		{RouteTableId: aws.String("rtb-main"), Associations: []types.RouteTableAssociation{{Main: aws.Bool(true)}},
			Routes: []types.Route{{DestinationCidrBlock: everywhere, NatGatewayId: aws.String("nat-1")}}},
		{RouteTableId: aws.String("rtb-b"), Associations: []types.RouteTableAssociation{{SubnetId: aws.String("subnet-b")}},
			Routes: []types.Route{{DestinationCidrBlock: everywhere, GatewayId: aws.String("igw-1")}}},
	}}, nil
}

func (n network) DescribeVpcEndpoints(context.Context, *ec2.DescribeVpcEndpointsInput, ...func(*ec2.Options)) (*ec2.DescribeVpcEndpointsOutput, error) {
	return &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: n.endpoints}, nil
}

func TestRoutesCountTheMainTable(t *testing.T) {
	routes, err := FindRoutes(t.Context(), network{}, "vpc-1", []string{"subnet-a", "subnet-b", "subnet-c"})
	if err != nil || !slices.Equal(routes.Tables, []string{"rtb-b", "rtb-main"}) || !slices.Equal(routes.WithoutWayOut, []string{"subnet-b"}) {
		t.Errorf("got %+v, %v", routes, err)
	}
}

func TestSubnetsMustBeInTheVPCAndApart(t *testing.T) {
	available := []Place{{ID: "a", Zone: "1"}, {ID: "b", Zone: "2"}, {ID: "c", Zone: "1"}}
	for _, test := range []struct{ chosen, wrong string }{
		{"a b", ""}, {"a b c", ""}, {"a c", "all in zone 1"}, {"a", "at least 2"}, {"a x y", "x, y not in VPC"},
	} {
		err := CheckSubnets("vpc-1", strings.Fields(test.chosen), available)
		if test.wrong == "" && err != nil || test.wrong != "" && (!errors.Is(err, ErrSubnets) || !strings.Contains(err.Error(), test.wrong)) {
			t.Errorf("%s: got %v, want %q", test.chosen, err, test.wrong)
		}
	}
}

func endpoint(id, service string, state types.State, tables ...string) types.VpcEndpoint {
	return types.VpcEndpoint{VpcEndpointId: aws.String(id), ServiceName: aws.String("com.amazonaws.us-east-1." + service), State: state, RouteTableIds: tables}
}

func TestEndpointsOfOthersAreUsedAndOwnOnesKept(t *testing.T) {
	tables := []string{"rtb-a", "rtb-b"}
	for _, test := range []struct {
		name     string
		existing []types.VpcEndpoint
		own      map[string]string
		choice   EndpointChoice
		want     map[string]string
		reaches  bool
	}{
		{name: "nothing wanted", choice: EndpointChoice{Services: EndpointsNone}, want: map[string]string{}},
		{name: "first deployment", choice: EndpointChoice{Services: EndpointsNone, DynamoDB: true}, want: map[string]string{"PrivateRouteTableIds": "rtb-a,rtb-b"}},
		{name: "second deployment keeps its own", choice: EndpointChoice{Services: EndpointsNone, DynamoDB: true},
			existing: []types.VpcEndpoint{endpoint("vpce-1", "dynamodb", "available", tables...)}, own: map[string]string{"DynamoDbEndpoint": "vpce-1"},
			want: map[string]string{"PrivateRouteTableIds": "rtb-a,rtb-b"}},
		{name: "of somebody else, pending", choice: EndpointChoice{Services: EndpointsNone, DynamoDB: true},
			existing: []types.VpcEndpoint{endpoint("vpce-1", "dynamodb", "pending", tables...)}, want: map[string]string{}},
		{name: "of somebody else for one table", choice: EndpointChoice{Services: EndpointsNone, DynamoDB: true},
			existing: []types.VpcEndpoint{endpoint("vpce-1", "dynamodb", "Available", "rtb-a")}, want: map[string]string{"PrivateRouteTableIds": "rtb-b"}},
		{name: "being deleted", choice: EndpointChoice{Services: EndpointsNone, DynamoDB: true},
			existing: []types.VpcEndpoint{endpoint("vpce-1", "dynamodb", "deleting", tables...)}, want: map[string]string{"PrivateRouteTableIds": "rtb-a,rtb-b"}},
		{name: "ssm", choice: EndpointChoice{Services: EndpointsSSM}, want: map[string]string{"CreateSsmMessagesEndpoint": "true"}},
		{name: "as the original", choice: EndpointChoice{Services: EndpointsNone, LegacySSM: true}, want: map[string]string{"CreateSsmEndpoint": "true"}},
		{name: "as the original, one is there", choice: EndpointChoice{Services: EndpointsNone, LegacySSM: true},
			existing: []types.VpcEndpoint{endpoint("vpce-1", "ssm", "available")}, want: map[string]string{"CreateSsmMessagesEndpoint": "true"}},
		{name: "all, one is there", choice: EndpointChoice{Services: EndpointsAll}, reaches: true,
			existing: []types.VpcEndpoint{endpoint("vpce-1", "logs", "available"), endpoint("vpce-2", "ecr.dkr", "failed")},
			want: map[string]string{"CreateSsmMessagesEndpoint": "true", "CreateEcrApiEndpoint": "true", "CreateEcrDkrEndpoint": "true",
				"CreateLambdaEndpoint": "true", "S3RouteTableIds": "rtb-a,rtb-b"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			plan, err := PlanEndpoints(t.Context(), network{endpoints: test.existing}, "us-east-1", "vpc-1", tables, test.own, test.choice)
			if err != nil {
				t.Fatal(err)
			}
			for name, value := range plan.Parameters {
				want := test.want[name]
				if want == "" && !strings.HasSuffix(name, "Ids") {
					want = "false"
				}
				if value != want {
					t.Errorf("%s = %q, want %q", name, value, want)
				}
			}
			if plan.Reaches != test.reaches {
				t.Errorf("reaches: %v", plan.Reaches)
			}
		})
	}
}

// policies are managed policies by ARN.
type policies map[string]string

func (p policies) GetPolicy(_ context.Context, in *iam.GetPolicyInput, _ ...func(*iam.Options)) (*iam.GetPolicyOutput, error) {
	if p[*in.PolicyArn] == "" {
		return nil, &iamtypes.NoSuchEntityException{Message: aws.String("none")}
	}
	return &iam.GetPolicyOutput{Policy: &iamtypes.Policy{DefaultVersionId: aws.String("v1")}}, nil
}

func (p policies) GetPolicyVersion(_ context.Context, in *iam.GetPolicyVersionInput, _ ...func(*iam.Options)) (*iam.GetPolicyVersionOutput, error) {
	return &iam.GetPolicyVersionOutput{PolicyVersion: &iamtypes.PolicyVersion{Document: aws.String(url.QueryEscape(p[*in.PolicyArn]))}}, nil
}

func TestPoliciesAreJudgedByContent(t *testing.T) {
	for text, want := range map[string]bool{
		`{"Statement": [{"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:ConditionCheckItem"]}]}`: true,
		`{"Statement": {"Effect": "Allow", "Action": "dynamodb:*"}}`:                                          true,
		`{"Statement": [{"Effect": "Allow", "Action": "dynamodb:condition*"}]}`:                               true,
		`{"Statement": [{"Effect": "Allow", "NotAction": "iam:*"}]}`:                                          true,
		`{"Statement": [{"Effect": "Allow", "Action": ["dynamodb:GetItem", "dynamodb:TransactWriteItems"]}]}`: false,
		`{"Statement": [{"Effect": "Allow", "Action": "*"}, {"Effect": "Deny", "Action": "dynamodb:Cond*"}]}`: false,
	} {
		if got, err := Allows(t.Context(), policies{"arn": text}, "arn", conditionCheck); err != nil || got != want {
			t.Errorf("%s: got %v, %v", text, got, err)
		}
	}
}

func TestTargetIsWarnedAboutItsPolicies(t *testing.T) {
	old := `{"Statement": {"Effect": "Allow", "Action": "dynamodb:GetItem"}}`
	current := `{"Statement": {"Effect": "Allow", "Action": "dynamodb:*"}}`
	denying := `{"Statement": [{"Effect": "Allow", "Action": "*"}, {"Effect": "Deny", "Action": "dynamodb:ConditionCheckItem"}]}`
	for _, test := range []struct {
		name     string
		outputs  map[string]string
		indexes  bool
		policies policies
		want     []string
	}{
		{"current", map[string]string{"FullAccessPolicyArn": "p"}, true, policies{"p": current}, nil},
		{"0.16", map[string]string{"FullAccessPolicyArn": "p"}, true, policies{"p": old}, []string{"without --lambda-only"}},
		{"0.10", map[string]string{"FullAccessPolicyArn": "p"}, false, policies{"p": old}, []string{"no local indexes"}},
		{"explicit deny", map[string]string{"FullAccessPolicyArn": "p"}, true, policies{"p": denying}, []string{"denies dynamodb:ConditionCheckItem explicitly"}},
		{"no policies", nil, true, nil, []string{"--no-iam"}},
		{"unreadable", map[string]string{"FullAccessPolicyArn": "p"}, true, nil, []string{"could not be checked"}},
		{"boundary", map[string]string{"FullAccessPolicyArn": "p", "PermissionBoundaryArn": "b"}, true, policies{"p": current, "b": old}, []string{"administrators"}},
	} {
		target := &Target{Stack: &stack.Stack{Name: "my-limiter", Outputs: test.outputs}, Boundary: test.outputs["PermissionBoundaryArn"], Table: TableFacts{LocalIndexes: test.indexes}}
		target.checkPolicies(t.Context(), test.policies)
		if len(target.Warnings) != len(test.want) {
			t.Errorf("%s: warnings %v", test.name, target.Warnings)
			continue
		}
		for i, text := range test.want {
			if !strings.Contains(target.Warnings[i], text) {
				t.Errorf("%s: %q does not say %q", test.name, target.Warnings[i], text)
			}
		}
	}
}

// concurrency is an account with a limit and what is left of it.
type concurrency struct{ limit, unreserved, own int32 }

func (c concurrency) GetAccountSettings(context.Context, *lambda.GetAccountSettingsInput, ...func(*lambda.Options)) (*lambda.GetAccountSettingsOutput, error) {
	return &lambda.GetAccountSettingsOutput{AccountLimit: &lambdatypes.AccountLimit{ConcurrentExecutions: c.limit, UnreservedConcurrentExecutions: aws.Int32(c.unreserved)}}, nil
}

func (c concurrency) GetFunctionConcurrency(context.Context, *lambda.GetFunctionConcurrencyInput, ...func(*lambda.Options)) (*lambda.GetFunctionConcurrencyOutput, error) {
	if c.own == 0 {
		return nil, &lambdatypes.ResourceNotFoundException{}
	}
	return &lambda.GetFunctionConcurrencyOutput{ReservedConcurrentExecutions: aws.Int32(c.own)}, nil
}

func TestConcurrency(t *testing.T) {
	for _, test := range []struct {
		account       concurrency
		reserve, most int
		warned, error bool
	}{
		{concurrency{1000, 1000, 0}, 0, 100, false, false},
		{concurrency{10, 10, 0}, 0, 100, true, false},
		{concurrency{1000, 1000, 0}, 900, 100, false, false},
		{concurrency{1000, 1000, 0}, 901, 100, false, true},
		{concurrency{1000, 800, 200}, 900, 100, false, false}, // its own reservation is given back
		{concurrency{10, 10, 0}, 2, 1, false, true},
	} {
		warning, err := CheckConcurrency(t.Context(), test.account, "f", test.reserve, test.most)
		if (warning != "") != test.warned || errors.Is(err, ErrConcurrency) != test.error {
			t.Errorf("%+v: %q, %v", test, warning, err)
		}
	}
}

func loadOptions() *LoadOptions {
	return &LoadOptions{
		Name: "MyLimiter", VPC: "vpc-1", Subnets: []string{"a", "b"}, MaxWorkers: 100, MinWorkers: 1, UsersPerWorker: 10, StartupLeadSeconds: 20,
		WorkerTimeoutSeconds: 300, WorkerMemoryMB: 1769, CapacityProvider: "FARGATE_SPOT", Architecture: "arm64", ContainerInsights: "enabled",
		LogRetentionDays: 7, Locustfile: "locustfiles/max_rps.star", Version: "v1",
	}
}

func TestLoadOptions(t *testing.T) {
	if err := loadOptions().Validate(); err != nil {
		t.Error(err)
	}
	bad := &LoadOptions{MaxWorkers: 1001, MinWorkers: 1002, WorkerTimeoutSeconds: 16 * 60, ReservedConcurrency: 5, Locustfile: "a;b.star"}
	err := bad.Validate()
	for _, option := range []string{"--max-workers", "--users-per-worker", "--min-workers", "--lambda-timeout must be from 1 to 15 minutes, got 16", "--lambda-memory",
		"--reserved-concurrency", "--capacity-provider", "--arch", "--container-insights", "--log-retention-days", `";"`} {
		if err == nil || !strings.Contains(err.Error(), option) {
			t.Errorf("%v does not name %s", err, option)
		}
	}
	// Every parameter of the template is set, and none that it does not have.
	plan, err := PlanEndpoints(t.Context(), network{}, "us-east-1", "vpc-1", nil, nil, EndpointChoice{Services: EndpointsNone})
	if err != nil {
		t.Fatal(err)
	}
	parameters := loadOptions().Parameters(&Target{RoleFormat: "{}"}, plan, map[string]string{"ImageDigest": "sha256:1", "BuildId": "b-1", "CodeSha256": "c"})
	declared := keys(lookup(parse(t, LoadTemplate()), "Parameters"))
	for _, name := range declared {
		if _, set := parameters[name]; !set {
			t.Errorf("parameter %s is not set", name)
		}
	}
	if len(parameters) != len(declared) {
		t.Errorf("%d parameters, the template has %d", len(parameters), len(declared))
	}
	if parameters["RepositoryName"] != "mylimiter-load-locust" {
		t.Errorf("repository of a name with capitals: %q", parameters["RepositoryName"])
	}
}

func TestLimiterOptions(t *testing.T) {
	yes, no := true, false
	bad := &LimiterOptions{Name: "a_b", PITRDays: 36, IAM: &no, Roles: &yes, RoleFormat: "x", PolicyFormat: "{}{}", UserTags: map[string]string{"aws:x": ""}}
	err := bad.Validate()
	for _, text := range []string{"a_b", "--pitr-recovery-days", "--no-iam", "--role-name-format", "--policy-name-format", "aws:x"} {
		if err == nil || !strings.Contains(err.Error(), text) {
			t.Errorf("%v does not name %s", err, text)
		}
	}
	o := &LimiterOptions{Name: "my-limiter", RoleFormat: "PB-{}", DeletionProtection: &yes, UserTags: map[string]string{"team": "x", "ManagedBy": "me"}}
	if err := o.Validate(); err != nil {
		t.Fatal(err)
	}
	set, keep := o.Parameters(nil)
	if set["AppRoleName"] != "PB-my-limiter-app" || set["EnableIAMRoles"] != "false" || set["EnableDeletionProtection"] != "true" || keep != nil {
		t.Errorf("new stack: %v, %v", set, keep)
	}
	before := &stack.Stack{Parameters: map[string]string{"EnableAlarms": "false", "SnapshotWindows": "hourly", "SchemaVersion": "0.10.0"}, Tags: map[string]string{"old": "1", "zae-limiter:lambda-version": "0.17.0"}}
	set, keep = (&LimiterOptions{Name: "my-limiter"}).Parameters(before)
	if _, given := set["EnableIAMRoles"]; given || !slices.Equal(keep, []string{"EnableAlarms", "SnapshotWindows"}) {
		t.Errorf("existing stack: %v, %v", set, keep)
	}
	tags := o.Tags(before, "v1", "0.10.0")
	if tags["ManagedBy"] != "zae-limiter" || tags["team"] != "x" || tags["old"] != "1" || tags["zae-limiter:lambda-version"] != "0.17.0" {
		t.Errorf("tags: %v", tags)
	}
}

func TestGuardOfLimiters(t *testing.T) {
	change := func(action, replacement string) stack.Change {
		return stack.Change{Action: action, Replacement: replacement, LogicalID: "RateLimitsTable", Type: "AWS::DynamoDB::Table"}
	}
	for _, test := range []struct {
		change  stack.Change
		refused bool
	}{
		{change("Add", ""), false}, {change("Modify", "False"), false},
		{change("Modify", "True"), true}, {change("Modify", "Conditional"), true}, {change("Remove", ""), true},
	} {
		err := GuardLimiter([]stack.Change{test.change})
		if errors.Is(err, ErrWouldReplace) != test.refused || test.refused && !strings.Contains(err.Error(), "RateLimitsTable") {
			t.Errorf("%+v: %v", test.change, err)
		}
	}
}

// An aggregator holds nothing: with --no-aggregator it goes, and what CloudFormation is not sure about may be
// replaced. Its queue and its logs are not taken away by the way.
func TestGuardKnowsTheAggregator(t *testing.T) {
	for _, test := range []struct {
		action, replacement, id string
		with, without           bool // refused by either guard
	}{
		{"Modify", "Conditional", "AggregatorEventSourceMapping", false, false},
		{"Modify", "True", "AggregatorFunction", true, true},
		{"Remove", "", "AggregatorFunction", true, false},
		{"Remove", "", "AggregatorDLQ", true, false},
		{"Remove", "", "StreamIteratorAgeAlarm", true, false},
		{"Remove", "", "AuditArchiveBucket", true, true},
		{"Remove", "", "RateLimitsTable", true, true},
	} {
		changes := []stack.Change{{Action: test.action, Replacement: test.replacement, LogicalID: test.id}}
		if err := GuardLimiter(changes); (err != nil) != test.with {
			t.Errorf("%+v: %v", test, err)
		}
		if err := GuardWithoutAggregator(changes); (err != nil) != test.without {
			t.Errorf("%+v without an aggregator: %v", test, err)
		}
	}
}

func TestWhoseFunctionsAStackHas(t *testing.T) {
	functions := map[string]string{"AggregatorFunctionName": "f"}
	for _, test := range []struct {
		name                string
		parameters, outputs map[string]string
		python, before      bool
	}{
		{"ours", map[string]string{"AggregatorArchitecture": "amd64"}, functions, false, false},
		{"ours without", map[string]string{"AggregatorArchitecture": "amd64"}, nil, false, false},
		{"ours of old", map[string]string{"EnableAggregator": "false"}, nil, false, true},
		{"Python's", map[string]string{"SchemaVersion": "0.10.0"}, functions, true, false},
		{"Python's provisioner", map[string]string{"SchemaVersion": "0.10.0"}, map[string]string{"ProvisionerFunctionName": "f"}, true, false},
		{"Python's without", map[string]string{"SchemaVersion": "0.10.0"}, nil, false, false},
	} {
		s := &stack.Stack{Parameters: test.parameters, Outputs: test.outputs}
		if python, before := HasPythonFunctions(s), BeforeAggregator(s); python != test.python || before != test.before {
			t.Errorf("%s: of Python %v, before the aggregator %v", test.name, python, before)
		}
	}
}

func TestAggregatorParameters(t *testing.T) {
	set, _ := (&LimiterOptions{Name: "my-limiter", Aggregator: AggregatorOptions{
		Enabled: new(true), Architecture: "arm64", Windows: "hourly", RetentionDays: 7, LogRetentionDays: 3, TimeoutSeconds: 30, MemoryMB: 512, DurationPercent: 50, Tracing: new(true),
	}, RoleFormat: "x-{}"}).Parameters(nil)
	for name, want := range map[string]string{
		"EnableAggregator": "true", "AggregatorArchitecture": "arm64", "SnapshotWindows": "hourly", "SnapshotRetentionDays": "7", "LogRetentionDays": "3",
		"LambdaTimeout": "30", "LambdaMemorySize": "512", "LambdaDurationThreshold": "15000", "EnableTracing": "true", "AggregatorRoleName": "x-my-limiter-aggr",
	} {
		if set[name] != want {
			t.Errorf("%s = %q, want %q", name, set[name], want)
		}
	}
	// The threshold is a part of the timeout that the stack has, when only the percentage is given.
	before := &stack.Stack{Parameters: map[string]string{"LambdaTimeout": "100"}}
	if set, _ := (&LimiterOptions{Name: "l", Aggregator: AggregatorOptions{DurationPercent: 10}}).Parameters(before); set["LambdaDurationThreshold"] != "10000" {
		t.Errorf("10%% of 100 s: %s ms", set["LambdaDurationThreshold"])
	}
	if set, _ := (&LimiterOptions{Name: "l"}).Parameters(before); set["LambdaDurationThreshold"] != "" || set["EnableAggregator"] != "" {
		t.Errorf("nothing given: %v", set)
	}
	for _, test := range []struct {
		options LimiterOptions
		before  *stack.Stack
		want    bool
	}{
		{LimiterOptions{}, nil, true},
		{LimiterOptions{IAM: new(false)}, nil, false},
		{LimiterOptions{IAM: new(false), Aggregator: AggregatorOptions{RoleARN: "arn:aws:iam::123456789012:role/r"}}, nil, true},
		{LimiterOptions{Aggregator: AggregatorOptions{Enabled: new(false)}}, nil, false},
		{LimiterOptions{}, &stack.Stack{Parameters: map[string]string{"EnableAggregator": "false"}}, false},
		{LimiterOptions{Aggregator: AggregatorOptions{Enabled: new(true)}}, &stack.Stack{Parameters: map[string]string{"EnableAggregator": "false"}}, true},
		{LimiterOptions{}, &stack.Stack{Parameters: map[string]string{"EnableAggregator": "true", "EnableIAM": "false"}}, false},
	} {
		if got := test.options.WantsAggregator(test.before); got != test.want {
			t.Errorf("%+v on %+v: %v", test.options, test.before, got)
		}
	}
}

// mappings are what the API tells, one after the other; the last one stays.
type mappings struct {
	states  []string
	results []string
}

func (m *mappings) ListEventSourceMappings(context.Context, *lambda.ListEventSourceMappingsInput, ...func(*lambda.Options)) (*lambda.ListEventSourceMappingsOutput, error) {
	out := &lambda.ListEventSourceMappingsOutput{}
	if m.states[0] != "" {
		out.EventSourceMappings = []lambdatypes.EventSourceMappingConfiguration{{State: &m.states[0], LastProcessingResult: &m.results[0]}}
	}
	if len(m.states) > 1 {
		m.states, m.results = m.states[1:], m.results[1:]
	}
	return out, nil
}

func TestANewMappingIsWaitedFor(t *testing.T) {
	for _, test := range []struct {
		name            string
		states, results []string
		took            time.Duration
		problem         string
	}{
		{"enabled", []string{"Enabled"}, []string{"No records processed"}, 45 * time.Second, ""},
		{"at last", []string{"", "Creating", "Enabled"}, []string{"", "No records processed", "OK"}, 55 * time.Second, ""},
		{"not at once again", []string{"Enabled", "Updating", "Enabled"}, []string{"OK", "OK", "OK"}, 55 * time.Second, ""},
		{"never", []string{"Creating"}, []string{""}, 125 * time.Second, "its event source mapping is Creating"},
		{"it fails", []string{"Enabled"}, []string{"PROBLEM: Function call failed"}, 125 * time.Second, "PROBLEM: Function call failed"},
		{"none", []string{""}, []string{""}, 125 * time.Second, "it has no event source mapping"},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				problem, err := (&MappingWait{Function: "f:live", Settles: MappingSettles}).Await(t.Context(), &mappings{test.states, test.results})
				if err != nil || test.problem == "" && problem != "" || !strings.Contains(problem, test.problem) || time.Since(start) != test.took {
					t.Errorf("after %v: %q, %v", time.Since(start), problem, err)
				}
			})
		})
	}
}

func TestOldPoliciesAreBroughtUpToDateInPlace(t *testing.T) {
	const deployed = `
# made by an old release
Parameters: {EnableAggregator: {Type: String, Default: 'true'}}
Resources:
  RateLimitsTable:
    Type: AWS::DynamoDB::Table
    Properties: {TableName: !Ref AWS::StackName}
  FullAccessPolicy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      ManagedPolicyName: !Sub '${AWS::StackName}-full'
      PolicyDocument: {Statement: [{Effect: Allow, Action: dynamodb:GetItem, Resource: !GetAtt RateLimitsTable.Arn}]}
  AggregatorFunction: {Type: AWS::Lambda::Function, Properties: {Code: {ZipFile: x}}}
  Filter:
    Type: AWS::Lambda::EventSourceMapping
    Properties:
      Pattern: >
        {"dynamodb": {"NewImage": {"SK": {"S": ["#STATE"]}}}, "eventName": ["MODIFY"], "text": "longer than one line is"}

        a second paragraph
`
	text, err := WithCurrentPolicies(deployed)
	if err != nil {
		t.Fatal(err)
	}
	root, was := parse(t, text), parse(t, deployed)
	if got := keys(lookup(root, "Resources")); !slices.Equal(got, keys(lookup(was, "Resources"))) {
		t.Errorf("resources: %v", got)
	}
	if !strings.Contains(text, conditionCheck) || !strings.Contains(text, "ZipFile: x") || !strings.Contains(text, "!Sub") || strings.Contains(text, "# made") {
		t.Errorf("got\n%s", text)
	}
	pattern := func(n *yaml.Node) string { return lookup(n, "Resources", "Filter", "Properties", "Pattern").Value }
	if pattern(root) != pattern(was) {
		t.Errorf("a folded text was %q and is %q", pattern(was), pattern(root))
	}
	if _, err := WithCurrentPolicies("Resources: {}"); err == nil {
		t.Error("a template of something else was taken")
	}
}

func TestCallerPolicies(t *testing.T) {
	scope := Scope{Partition: "aws-cn", Region: "cn-north-1", Account: "1", Name: "my-limiter", RoleFormat: "PB-{}"}
	for _, purpose := range Purposes {
		policy, err := CallerPolicy(purpose, scope)
		if err != nil {
			t.Fatal(err)
		}
		text, err := json.Marshal(policy)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "arn:aws:") || !strings.Contains(string(text), "role/PB-my-limiter-load-task") {
			t.Errorf("%s: %s", purpose, text)
		}
		sids := map[string]bool{}
		for _, s := range policy.Statement {
			if sids[s.Sid] {
				t.Errorf("%s: two statements %s", purpose, s.Sid)
			}
			sids[s.Sid] = true
			if !slices.IsSorted(s.Action) || len(slices.Compact(slices.Clone(s.Action))) != len(s.Action) {
				t.Errorf("%s: actions of %s: %v", purpose, s.Sid, s.Action)
			}
		}
		// A managed policy may have 6144 characters without blanks.
		if len(text) > 6144 {
			t.Errorf("%s: %d characters", purpose, len(text))
		}
	}
	if _, err := CallerPolicy("delete", scope); err == nil {
		t.Error("a policy for an unknown purpose")
	}
}
