package awsfake_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	taggingtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsfake"
)

func start(t *testing.T, o awsfake.Options) (*awsfake.Cloud, aws.Config) {
	t.Helper()
	cloud, err := awsfake.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return cloud, config(cloud)
}

// config is that of a client in the environment of the cloud.
func config(cloud *awsfake.Cloud) aws.Config {
	environ := map[string]string{}
	for _, variable := range cloud.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		environ[name] = value
	}
	return aws.Config{
		Region: environ["AWS_REGION"], BaseEndpoint: aws.String(environ["AWS_ENDPOINT_URL"]),
		Credentials: credentials.NewStaticCredentialsProvider(environ["AWS_ACCESS_KEY_ID"], environ["AWS_SECRET_ACCESS_KEY"], ""),
		Retryer:     func() aws.Retryer { return aws.NopRetryer{} },
		HTTPClient:  account.WholeBodies(nil),
	}
}

const template = `
Parameters:
  Vpc: {Type: 'AWS::EC2::VPC::Id'}
Resources:
  Table:
    Type: AWS::DynamoDB::Table
    Properties:
      BillingMode: PAY_PER_REQUEST
      AttributeDefinitions: [{AttributeName: PK, AttributeType: S}]
      KeySchema: [{AttributeName: PK, KeyType: HASH}]
  Policy:
    Type: AWS::IAM::ManagedPolicy
    Properties:
      PolicyDocument:
        Statement: [{Effect: Allow, Action: 'dynamodb:GetItem', Resource: !GetAtt Table.Arn}]
  Role:
    Type: AWS::IAM::Role
    Properties:
      ManagedPolicyArns: [!Ref Policy]
      AssumeRolePolicyDocument:
        Statement: [{Effect: Allow, Principal: {AWS: !Ref 'AWS::AccountId'}, Action: 'sts:AssumeRole'}]
  Group:
    Type: AWS::EC2::SecurityGroup
    Properties: {GroupDescription: d, VpcId: !Ref Vpc}
Outputs:
  Table: {Value: !Ref Table}
  Role: {Value: !GetAtt Role.Arn}
`

// stack makes the stack and waits until its operation has ended.
func stack(t *testing.T, client *cloudformation.Client, vpc string) (outputs map[string]string, status cfntypes.StackStatus) {
	t.Helper()
	_, err := client.CreateStack(t.Context(), &cloudformation.CreateStackInput{
		StackName: aws.String("s"), TemplateBody: aws.String(template), Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityNamedIam},
		Parameters: []cfntypes.Parameter{{ParameterKey: aws.String("Vpc"), ParameterValue: &vpc}},
		Tags:       []cfntypes.Tag{{Key: aws.String("app"), Value: aws.String("limiter")}},
	})
	if err != nil {
		t.Fatal(err)
	}
	named := &cloudformation.DescribeStacksInput{StackName: aws.String("s")}
	// Its error says that the stack has failed, which the status tells too.
	_ = cloudformation.NewStackCreateCompleteWaiter(client, func(o *cloudformation.StackCreateCompleteWaiterOptions) {
		o.MinDelay, o.MaxDelay = 10*time.Millisecond, 100*time.Millisecond
	}).Wait(t.Context(), named, 5*time.Minute)
	out, err := client.DescribeStacks(t.Context(), named)
	if err != nil {
		t.Fatal(err)
	}
	outputs = map[string]string{}
	for _, o := range out.Stacks[0].Outputs {
		outputs[*o.OutputKey] = *o.OutputValue
	}
	return outputs, out.Stacks[0].StackStatus
}

func TestAStackWorksInTheAccount(t *testing.T) {
	_, config := start(t, awsfake.Options{})
	ctx := t.Context()
	outputs, status := stack(t, cloudformation.NewFromConfig(config), "vpc-local")
	if status != cfntypes.StackStatusCreateComplete {
		t.Fatalf("the stack is %s", status)
	}
	tagged, err := resourcegroupstaggingapi.NewFromConfig(config).GetResources(ctx, &resourcegroupstaggingapi.GetResourcesInput{
		TagFilters: []taggingtypes.TagFilter{{Key: aws.String("app"), Values: []string{"limiter"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, mapping := range tagged.ResourceTagMappingList {
		kinds = append(kinds, strings.Split(*mapping.ResourceARN, ":")[2])
	}
	if slices.Sort(kinds); !slices.Equal(kinds, []string{"cloudformation", "dynamodb", "ec2"}) {
		t.Errorf("tagged are %v", kinds)
	}

	assumed, err := sts.NewFromConfig(config).AssumeRole(ctx, &sts.AssumeRoleInput{RoleArn: aws.String(outputs["Role"]), RoleSessionName: aws.String("me")})
	if err != nil {
		t.Fatal(err)
	}
	config.Credentials = credentials.NewStaticCredentialsProvider(*assumed.Credentials.AccessKeyId, *assumed.Credentials.SecretAccessKey, *assumed.Credentials.SessionToken)
	client := dynamodb.NewFromConfig(config)
	key := map[string]types.AttributeValue{"PK": &types.AttributeValueMemberS{Value: "a"}}
	if _, err := client.GetItem(ctx, &dynamodb.GetItemInput{TableName: aws.String(outputs["Table"]), Key: key}); err != nil {
		t.Errorf("what the role may do: %v", err)
	}
	if _, err := client.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: aws.String(outputs["Table"]), Key: key}); code(err) != "AccessDeniedException" {
		t.Errorf("what the role may not do: %v", err)
	}
}

func TestStacksActWithTheCallersRights(t *testing.T) {
	cloud, config := start(t, awsfake.Options{})
	key, secret, err := cloud.IAM.AddUser("deployer", `{"Statement":[
		{"Effect":"Allow","Action":["cloudformation:*","dynamodb:*","ec2:*"],"Resource":"*"},
		{"Effect":"Allow","Action":"iam:*","Resource":"arn:aws:iam::123456789012:policy/s-*"},
		{"Effect":"Allow","Action":["iam:CreateRole","iam:DeleteRole","iam:DetachRolePolicy"],"Resource":"arn:aws:iam::123456789012:role/s-*"}]}`)
	if err != nil {
		t.Fatal(err)
	}
	config.Credentials = credentials.NewStaticCredentialsProvider(key, secret, "")
	client := cloudformation.NewFromConfig(config)
	if _, status := stack(t, client, "vpc-local"); status != cfntypes.StackStatusRollbackComplete {
		t.Errorf("the stack is %s, want ROLLBACK_COMPLETE", status)
	}
	events, err := client.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	want := "User: arn:aws:iam::123456789012:user/deployer is not authorized to perform: iam:AttachRolePolicy on resource: arn:aws:iam::123456789012:role/s-Role-"
	if !slices.ContainsFunc(events.StackEvents, func(e cfntypes.StackEvent) bool {
		return e.ResourceStatus == cfntypes.ResourceStatusCreateFailed && strings.Contains(aws.ToString(e.ResourceStatusReason), want)
	}) {
		t.Error("no event of the denial")
	}
}

func code(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func TestEveryServiceAnswers(t *testing.T) {
	cloud, config := start(t, awsfake.Options{Account: "210987654321", Region: "eu-west-3"})
	ctx := t.Context()
	if _, err := ecs.NewFromConfig(config).ListClusters(ctx, nil); err != nil {
		t.Errorf("ECS: %v", err)
	}
	if _, err := lambda.NewFromConfig(config).ListFunctions(ctx, nil); err != nil {
		t.Errorf("Lambda: %v", err)
	}
	if _, err := ssm.NewFromConfig(config).StartSession(ctx, &ssm.StartSessionInput{
		DocumentName: aws.String("AWS-StartPortForwardingSession"), Parameters: map[string][]string{"portNumber": {"8089"}},
		Target: aws.String("ecs:c_0123456789abcdef0123456789abcdef_0123456789abcdef0123456789abcdef-1"),
	}); code(err) != "TargetNotConnected" {
		t.Errorf("SSM: %v, want TargetNotConnected", err)
	}
	who, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
	if err != nil || *who.Account != "210987654321" {
		t.Errorf("STS: %v, %v", who, err)
	}
	for path, want := range map[string]int{"/v2/": http.StatusUnauthorized, "/local/credentials": http.StatusForbidden, "/v1/data-channel/none": http.StatusNotFound, "/": http.StatusForbidden} {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, cloud.Endpoint()+path, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", path, response.StatusCode, want)
		}
	}
}

func TestTheAccountIsKeptInItsFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := awsfake.Start(t.Context(), awsfake.Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	outputs, _ := stack(t, cloudformation.NewFromConfig(config(first)), "vpc-local")
	item := map[string]types.AttributeValue{"PK": &types.AttributeValueMemberS{Value: "a"}}
	if _, err := dynamodb.NewFromConfig(config(first)).PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String(outputs["Table"]), Item: item}); err != nil {
		t.Fatal(err)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}

	second, config := start(t, awsfake.Options{StateDir: dir})
	if got, want := strings.Join(second.Environ(), " "), strings.Join(first.Environ(), " "); got != want {
		t.Errorf("the exports are %s, were %s", got, want)
	}
	if out, err := dynamodb.NewFromConfig(config).GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String(outputs["Table"]), Key: item}); err != nil || len(out.Item) != 1 {
		t.Errorf("the item is %v, %v", out, err)
	}
	if out, err := cloudformation.NewFromConfig(config).DescribeStacks(t.Context(), nil); err != nil || len(out.Stacks) != 1 {
		t.Errorf("the stacks are %v, %v", out, err)
	}
	if out, err := iam.NewFromConfig(config).ListRoles(t.Context(), nil); err != nil || len(out.Roles) != 1 {
		t.Errorf("the roles are %v, %v", out, err)
	}
}

func TestAFolderIsForOneProcess(t *testing.T) {
	dir := t.TempDir()
	first, err := awsfake.Start(t.Context(), awsfake.Options{StateDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := awsfake.Start(t.Context(), awsfake.Options{StateDir: dir}); !errors.Is(err, awsfake.ErrBusy) {
		t.Errorf("a second one on the same folder: %v, want %v", err, awsfake.ErrBusy)
	}
	if err := first.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	start(t, awsfake.Options{StateDir: dir})
}

func TestAStateThatCannotBeReadIsLeftAlone(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "iam.json")
	if err := os.WriteFile(file, []byte("{broken"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := awsfake.Start(t.Context(), awsfake.Options{StateDir: dir}); err == nil || !strings.Contains(err.Error(), "state of iam") {
		t.Errorf("got %v, want an error of the state of iam", err)
	}
	if data, err := os.ReadFile(file); err != nil || string(data) != "{broken" {
		t.Errorf("the file is %q, %v", data, err)
	}
}

func TestNothingIsLeftOfAnAccountThatIsNotKept(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	cloud, err := awsfake.Start(t.Context(), awsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := cloud.Close(t.Context()); err != nil {
			t.Error(err)
		}
	}
	left, err := os.ReadDir(os.TempDir())
	if err != nil || len(left) != 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := sts.NewFromConfig(config(cloud)).GetCallerIdentity(t.Context(), nil); err == nil {
		t.Error("the endpoint still answers")
	}
}

func TestRulesMakeCallsFail(t *testing.T) {
	_, config := start(t, awsfake.Options{Fail: []string{
		"sts:GetCallerIdentity*2=ThrottlingException: Rate exceeded; cloudformation:Describe*=InternalFailure: no",
		"ecs:ListClusters=Capacity is unavailable at this time", "iam:ListRoles@0=never", "lambda:ListFunctions=ServiceException: later",
	}})
	ctx := t.Context()
	identity := func() string {
		_, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
		return code(err)
	}
	if got := []string{identity(), identity(), identity()}; !slices.Equal(got, []string{"ThrottlingException", "ThrottlingException", ""}) {
		t.Errorf("three calls end in %q, want two to be throttled", got)
	}
	if _, err := cloudformation.NewFromConfig(config).DescribeStacks(ctx, nil); code(err) != "InternalFailure" {
		t.Errorf("a pattern: %v", err)
	}
	if _, err := ecs.NewFromConfig(config).ListClusters(ctx, nil); code(err) != "ClientException" || !strings.Contains(err.Error(), "Capacity is unavailable at this time") {
		t.Errorf("without a code: %v", err)
	}
	if _, err := iam.NewFromConfig(config).ListRoles(ctx, nil); err != nil {
		t.Errorf("with probability 0: %v", err)
	}
	if _, err := lambda.NewFromConfig(config).ListFunctions(ctx, nil); code(err) != "ServiceException" {
		t.Errorf("a REST service: %v", err)
	}
}

func TestRulesMakeResourcesFail(t *testing.T) {
	_, config := start(t, awsfake.Options{Fail: []string{"resource:Role/CREATE=no more roles"}})
	client := cloudformation.NewFromConfig(config)
	if _, status := stack(t, client, "vpc-local"); status != cfntypes.StackStatusRollbackComplete {
		t.Errorf("the stack is %s, want ROLLBACK_COMPLETE", status)
	}
	events, err := client.DescribeStackEvents(t.Context(), &cloudformation.DescribeStackEventsInput{StackName: aws.String("s")})
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(events.StackEvents, func(e cfntypes.StackEvent) bool {
		return e.ResourceStatus == cfntypes.ResourceStatusCreateFailed && aws.ToString(e.LogicalResourceId) == "Role" && strings.Contains(aws.ToString(e.ResourceStatusReason), "no more roles")
	}) {
		t.Error("no event of the failed role")
	}
}

func TestRulesAreReplaced(t *testing.T) {
	cloud, config := start(t, awsfake.Options{Fail: []string{"sts:*=AccessDenied: no"}})
	identity := func() string {
		_, err := sts.NewFromConfig(config).GetCallerIdentity(t.Context(), nil)
		return code(err)
	}
	if err := cloud.Fail("echo:Run=no"); !errors.Is(err, awsfake.ErrRule) || identity() != "AccessDenied" {
		t.Errorf("a rule that cannot be: %v, and the call ends in %q", err, identity())
	}
	if err := cloud.Fail("sts:*=ExpiredToken: too late"); err != nil || identity() != "ExpiredToken" {
		t.Errorf("another rule: %v, and the call ends in %q", err, identity())
	}
	if err := cloud.Fail("lambda:ListFunctions=TooManyRequestsException: Rate Exceeded."); err != nil {
		t.Error(err)
	}
	_, err := lambda.NewFromConfig(config).ListFunctions(t.Context(), nil)
	if response, ok := errors.AsType[*awshttp.ResponseError](err); !ok || response.HTTPStatusCode() != http.StatusTooManyRequests {
		t.Errorf("a call of a function: %v, want status 429", err)
	}
	if err := cloud.Fail(); err != nil || identity() != "" {
		t.Errorf("no rule: %v, and the call ends in %q", err, identity())
	}
}

func TestRulesThatCannotBeAreRefused(t *testing.T) {
	for rule, want := range map[string]string{
		"RunTask=no":           "SERVICE:ACTION",
		"ecs:RunTask":          "SERVICE:ACTION",
		"ecs:RunTask=":         "SERVICE:ACTION",
		"ecs:RunTask*0=no":     "1 or more, got 0",
		"ecs:RunTask@1.5=no":   "between 0 and 1, got 1.5",
		"echo:RunTask=no":      "there is no service echo",
		"task:Network=no":      "a task knows Pull, Init, Agent, Capacity, Spot",
		"task:Spot=soon":       "how long a task keeps its Spot capacity",
		"ecs:ListTasks=a;b:c=": "SERVICE:ACTION",
	} {
		if _, err := awsfake.Start(t.Context(), awsfake.Options{Fail: []string{rule}}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("rule %q: %v, want %q", rule, err, want)
		}
	}
}
