package lambda_test

import (
	"maps"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// stackResource is a resource of a stack here.
func stackResource(kind string, properties map[string]any) *resource.Resource {
	return &resource.Resource{
		Type: kind, Stack: "s-load", StackID: "arn:aws:cloudformation:us-east-1:123456789012:stack/s-load/1", LogicalID: "R",
		Account: "123456789012", Region: "us-east-1", Properties: properties, Tags: map[string]string{"ManagedBy": "zae-limiter"},
	}
}

func workerFunction(change map[string]any) *resource.Resource {
	properties := map[string]any{
		"FunctionName": "f", "Role": role, "Runtime": "python3.12", "Handler": "index.handler", "Timeout": "300", "MemorySize": 1769.0,
		"Code": map[string]any{"ZipFile": "raise"}, "Environment": map[string]any{"Variables": map[string]any{"TARGET_STACK_NAME": "s"}},
	}
	maps.Copy(properties, change)
	return stackResource("AWS::Lambda::Function", properties)
}

func TestAStackMakesAFunctionWithItsVersionAliasAndEventConfiguration(t *testing.T) {
	b := newBench(t, nil)
	providers := b.service.Providers()
	create := func(r *resource.Resource) *resource.Physical {
		t.Helper()
		made, err := providers[r.Type].Create(t.Context(), r)
		if err != nil {
			t.Fatalf("%s: %v", r.Type, err)
		}
		return made
	}
	first := workerFunction(map[string]any{"ReservedConcurrentExecutions": "200"})
	made := create(first)
	if made.ID != "f" || made.Attributes["Arn"] != "arn:aws:lambda:us-east-1:123456789012:function:f" {
		t.Errorf("function %+v", made)
	}
	version := create(stackResource("AWS::Lambda::Version", map[string]any{"FunctionName": "f"}))
	alias := stackResource("AWS::Lambda::Alias", map[string]any{"FunctionName": "f", "Name": "live", "FunctionVersion": version.Attributes["Version"]})
	if ref := create(alias).ID; ref != made.Attributes["Arn"]+":live" {
		t.Errorf("alias %s", ref)
	}
	create(stackResource("AWS::Lambda::EventInvokeConfig", map[string]any{"FunctionName": "f", "Qualifier": "live", "MaximumRetryAttempts": 0.0, "MaximumEventAgeInSeconds": "60"}))
	create(stackResource("AWS::Lambda::Permission", map[string]any{"FunctionName": "f", "Action": "lambda:InvokeFunction", "Principal": "events.amazonaws.com"}))

	events, err := b.client.GetFunctionEventInvokeConfig(t.Context(), &sdk.GetFunctionEventInvokeConfigInput{FunctionName: f, Qualifier: aws.String("live")})
	if err != nil || *events.MaximumEventAgeInSeconds != 60 {
		t.Errorf("%+v, %v", events, err)
	}
	// What a push did stays when the template's code is the same.
	pushed, err := b.client.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: f, ZipFile: bootstrap(t, "1")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.TagResource(t.Context(), &sdk.TagResourceInput{Resource: aws.String(made.Attributes["Arn"]), Tags: map[string]string{"zae-limiter:build-id": "b-1"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := providers["AWS::Lambda::Function"].Update(t.Context(), made, first, workerFunction(map[string]any{"MemorySize": 512})); err != nil {
		t.Fatal(err)
	}
	now, err := b.client.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: f})
	if err != nil {
		t.Fatal(err)
	}
	if *now.Configuration.MemorySize != 512 || *now.Configuration.CodeSha256 != *pushed.CodeSha256 || now.Concurrency != nil {
		t.Errorf("%+v with %+v, want 512 MB, the pushed code and no reservation", now.Configuration, now.Concurrency)
	}
	if now.Tags["zae-limiter:build-id"] != "b-1" || now.Tags["ManagedBy"] != "zae-limiter" || now.Tags["aws:cloudformation:stack-name"] != "s-load" {
		t.Errorf("tags %v", now.Tags)
	}
	for _, r := range []*resource.Resource{alias, first, first} { // gone already is no error
		if err := providers[r.Type].Delete(t.Context(), made, r); err != nil {
			t.Errorf("delete %s: %v", r.Type, err)
		}
	}
}

func TestAFunctionInAVPCHasInterfacesUntilItIsDeleted(t *testing.T) {
	vpc := network.New(network.Options{Account: "123456789012", Region: "us-east-1"})
	b := newBench(t, func(c *lambda.Config) { c.Interfaces = vpc })
	client := ec2.NewFromConfig(protocoltest.Serve(t, vpc.API()))
	interfaces := func() string {
		t.Helper()
		out, err := client.DescribeNetworkInterfaces(t.Context(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var at []string
		for _, i := range out.NetworkInterfaces {
			at = append(at, *i.SubnetId+" "+*i.Description)
		}
		return strings.Join(at, ", ")
	}
	provider := b.service.Providers()["AWS::Lambda::Function"]
	in := func(subnets ...any) *resource.Resource {
		return workerFunction(map[string]any{"VpcConfig": map[string]any{"SubnetIds": subnets, "SecurityGroupIds": []any{"sg-default-local"}}})
	}
	first := in("subnet-a", "subnet-b")
	made, err := provider.Create(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	if got := interfaces(); got != "subnet-a AWS Lambda VPC ENI-f, subnet-b AWS Lambda VPC ENI-f" {
		t.Errorf("interfaces %s", got)
	}
	if _, err := provider.Update(t.Context(), made, first, in("subnet-b", "subnet-none")); err == nil || !strings.Contains(err.Error(), "EC2 Error Code: InvalidSubnetID.NotFound") {
		t.Errorf("a subnet that is not there: %v", err)
	}
	second := in("subnet-b")
	if _, err := provider.Update(t.Context(), made, first, second); err != nil {
		t.Fatal(err)
	}
	if got := interfaces(); got != "subnet-b AWS Lambda VPC ENI-f" {
		t.Errorf("after an update: interfaces %s", got)
	}
	if told, err := b.client.GetFunctionConfiguration(t.Context(), &sdk.GetFunctionConfigurationInput{FunctionName: aws.String("f")}); err != nil || aws.ToString(told.VpcConfig.VpcId) != "vpc-local" {
		t.Errorf("the function's VPC: %+v, %v", told, err)
	}
	if err := provider.Delete(t.Context(), made, second); err != nil {
		t.Fatal(err)
	}
	if got := interfaces(); got != "" {
		t.Errorf("after the deletion: interfaces %s", got)
	}
}

func TestAStackLearnsWhatIsWrong(t *testing.T) {
	b := newBench(t, nil)
	provider := b.service.Providers()["AWS::Lambda::Function"]
	for want, change := range map[string]map[string]any{
		"UnreservedConcurrentExecution": {"ReservedConcurrentExecutions": 950},
		"ZipFile can only be used":      {"Runtime": "provided.al2023"},
		"only Code.ZipFile":             {"Code": map[string]any{"S3Bucket": "b"}},
		"Timeout: long is not int32":    {"Timeout": "long"},
	} {
		if _, err := provider.Create(t.Context(), workerFunction(change)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want it to be about %q", change, err, want)
		}
	}
	if _, err := provider.Create(t.Context(), workerFunction(nil)); err != nil {
		t.Errorf("a failed function is still there: %v", err)
	}
	if provider.Replaces("FunctionName", "a", "b") != resource.Always || provider.Replaces("MemorySize", 1, 2) != resource.Never {
		t.Error("what replaces a function")
	}
}
