package protocol_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	cfntypes "github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	taggingtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
	"github.com/aws/aws-sdk-go-v2/service/sts"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

var noon = time.Date(2026, 3, 4, 12, 0, 0, 250e6, time.UTC)

// echo serves one operation: it keeps the input and answers the output.
func echo[In, Out any](in *In, out *Out) protocol.Operation {
	return protocol.Op(func(_ context.Context, _ *protocol.Call, got *In) (*Out, error) {
		*in = *got
		return out, nil
	})
}

func fails(err error) protocol.Operation {
	return protocol.Op(func(context.Context, *protocol.Call, *struct{}) (*struct{}, error) { return nil, err })
}

// same compares SDK types without what only the client fills.
func same(t *testing.T, what string, got, want any) {
	t.Helper()
	ignored := cmp.FilterPath(func(p cmp.Path) bool {
		name := p.Last().String()
		return name == ".ResultMetadata" || name == ".noSmithyDocumentSerde"
	}, cmp.Ignore())
	if diff := cmp.Diff(want, got, ignored, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestJSONCarriesInputsAndOutputs(t *testing.T) {
	var got ecs.RunTaskInput
	out := &ecs.RunTaskOutput{
		Tasks: []ecstypes.Task{{
			TaskArn: aws.String("arn:aws:ecs:us-east-1:123456789012:task/c/1"), CreatedAt: &noon, Version: 7,
			Containers: []ecstypes.Container{{Name: aws.String("master"), ExitCode: aws.Int32(-1)}},
			Attributes: []ecstypes.Attribute{},
		}},
		Failures: []ecstypes.Failure{{Reason: aws.String(`"<quoted>"`)}},
	}
	config := protocoltest.Serve(t, protocol.Service{Name: "ecs", Operations: map[string]protocol.Operation{"RunTask": echo(&got, out)}})
	in := &ecs.RunTaskInput{
		TaskDefinition: aws.String("family:3"), Count: aws.Int32(2), EnableExecuteCommand: true, LaunchType: ecstypes.LaunchTypeFargate,
		ClientToken:          aws.String("token"),
		NetworkConfiguration: &ecstypes.NetworkConfiguration{AwsvpcConfiguration: &ecstypes.AwsVpcConfiguration{Subnets: []string{"subnet-a", "subnet-b"}}},
		Tags:                 []ecstypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}
	answer, err := ecs.NewFromConfig(config).RunTask(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)
	same(t, "output", answer, out)
}

func TestQueryCarriesInputsAndOutputs(t *testing.T) {
	var got cloudformation.CreateChangeSetInput
	stacks := &cloudformation.DescribeStacksOutput{Stacks: []cfntypes.Stack{{
		StackName: aws.String("limiter & co"), CreationTime: &noon, StackStatus: cfntypes.StackStatusCreateComplete,
		Outputs:    []cfntypes.Output{{OutputKey: aws.String("TableName"), OutputValue: aws.String("t")}, {OutputKey: aws.String("Empty"), OutputValue: aws.String("")}},
		Parameters: []cfntypes.Parameter{{ParameterKey: aws.String("A"), ParameterValue: aws.String("1")}}, EnableTerminationProtection: aws.Bool(false),
	}}}
	config := protocoltest.Serve(t, protocol.Service{Name: "cloudformation", Wire: protocol.Query, Operations: map[string]protocol.Operation{
		"CreateChangeSet": echo(&got, &cloudformation.CreateChangeSetOutput{Id: aws.String("arn:cs")}),
		"DescribeStacks":  echo(&cloudformation.DescribeStacksInput{}, stacks),
		"DeleteStack":     echo(&cloudformation.DeleteStackInput{}, &cloudformation.DeleteStackOutput{}),
	}})
	client := cloudformation.NewFromConfig(config)
	in := &cloudformation.CreateChangeSetInput{
		StackName: aws.String("s"), ChangeSetName: aws.String("c"), TemplateBody: aws.String("Resources: {a: 1}\n"),
		Parameters:   []cfntypes.Parameter{{ParameterKey: aws.String("A"), ParameterValue: aws.String("")}, {ParameterKey: aws.String("B"), UsePreviousValue: aws.Bool(true)}},
		Capabilities: []cfntypes.Capability{cfntypes.CapabilityCapabilityNamedIam}, Tags: []cfntypes.Tag{},
	}
	if _, err := client.CreateChangeSet(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)
	answer, err := client.DescribeStacks(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "output", answer, stacks)
	if _, err := client.DeleteStack(t.Context(), &cloudformation.DeleteStackInput{StackName: aws.String("s")}); err != nil {
		t.Errorf("an empty answer: %v", err)
	}
}

func TestCBORCarriesInputsAndOutputs(t *testing.T) {
	var got cloudwatch.GetMetricDataInput
	out := &cloudwatch.GetMetricDataOutput{MetricDataResults: []cwtypes.MetricDataResult{{
		Id: aws.String("m1"), Values: []float64{1.5, 0, -2}, Timestamps: []time.Time{noon}, StatusCode: cwtypes.StatusCodeComplete,
	}}}
	config := protocoltest.Serve(t, protocol.Service{Name: "monitoring", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"GetMetricData": echo(&got, out)}})
	in := &cloudwatch.GetMetricDataInput{
		StartTime: &noon, EndTime: &noon, MaxDatapoints: aws.Int32(500),
		MetricDataQueries: []cwtypes.MetricDataQuery{{Id: aws.String("m1"), ReturnData: aws.Bool(true), MetricStat: &cwtypes.MetricStat{
			Stat: aws.String("Sum"), Period: aws.Int32(60),
			Metric: &cwtypes.Metric{Namespace: aws.String("AWS/DynamoDB"), Dimensions: []cwtypes.Dimension{{Name: aws.String("TableName"), Value: aws.String("t")}}},
		}}},
	}
	answer, err := cloudwatch.NewFromConfig(config).GetMetricData(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)
	same(t, "output", answer, out)
}

func TestTaggingIsCBORToo(t *testing.T) {
	var got resourcegroupstaggingapi.GetResourcesInput
	out := &resourcegroupstaggingapi.GetResourcesOutput{ResourceTagMappingList: []taggingtypes.ResourceTagMapping{{
		ResourceARN: aws.String("arn:aws:ecs:us-east-1:123456789012:cluster/c"), Tags: []taggingtypes.Tag{{Key: aws.String("k"), Value: aws.String("v")}},
	}}}
	config := protocoltest.Serve(t, protocol.Service{Name: "tagging", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"GetResources": echo(&got, out)}})
	in := &resourcegroupstaggingapi.GetResourcesInput{TagFilters: []taggingtypes.TagFilter{{Key: aws.String("k"), Values: []string{"v"}}}}
	answer, err := resourcegroupstaggingapi.NewFromConfig(config).GetResources(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)
	same(t, "output", answer, out)
}

func TestEC2CarriesInputsAndOutputs(t *testing.T) {
	var got ec2.DescribeVpcsInput
	vpcs := &ec2.DescribeVpcsOutput{Vpcs: []ec2types.Vpc{{
		VpcId: aws.String("vpc-local"), CidrBlock: aws.String("10.0.0.0/16"), IsDefault: aws.Bool(false), State: ec2types.VpcStateAvailable,
		Tags: []ec2types.Tag{{Key: aws.String("Name"), Value: aws.String("local")}},
	}}}
	groups := &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []ec2types.SecurityGroup{{
		GroupId: aws.String("sg-1"), Description: aws.String("d"),
		IpPermissions: []ec2types.IpPermission{{IpProtocol: aws.String("tcp"), FromPort: aws.Int32(5557), IpRanges: []ec2types.IpRange{{CidrIp: aws.String("10.0.0.0/16")}}}},
	}}}
	endpoints := &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: []ec2types.VpcEndpoint{{
		VpcEndpointId: aws.String("vpce-1"), DnsEntries: []ec2types.DnsEntry{{DnsName: aws.String("n")}}, RouteTableIds: []string{"rtb-1"},
		Groups: []ec2types.SecurityGroupIdentifier{{GroupId: aws.String("sg-1")}}, CreationTimestamp: &noon,
	}}}
	zones := &ec2.DescribeAvailabilityZonesOutput{AvailabilityZones: []ec2types.AvailabilityZone{{ZoneName: aws.String("us-east-1a"), State: ec2types.AvailabilityZoneStateAvailable}}}
	config := protocoltest.Serve(t, protocol.Service{Name: "ec2", Wire: protocol.EC2Query, Operations: map[string]protocol.Operation{
		"DescribeVpcs":              echo(&got, vpcs),
		"DescribeSecurityGroups":    echo(&ec2.DescribeSecurityGroupsInput{}, groups),
		"DescribeVpcEndpoints":      echo(&ec2.DescribeVpcEndpointsInput{}, endpoints),
		"DescribeAvailabilityZones": echo(&ec2.DescribeAvailabilityZonesInput{}, zones),
	}})
	client := ec2.NewFromConfig(config)
	in := &ec2.DescribeVpcsInput{VpcIds: []string{"vpc-local"}, Filters: []ec2types.Filter{{Name: aws.String("state"), Values: []string{"available", "pending"}}}}
	answer, err := client.DescribeVpcs(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)
	same(t, "output", answer, vpcs)
	if answer, err := client.DescribeSecurityGroups(t.Context(), nil); err != nil {
		t.Error(err)
	} else {
		same(t, "security groups", answer, groups)
	}
	if answer, err := client.DescribeVpcEndpoints(t.Context(), nil); err != nil {
		t.Error(err)
	} else {
		same(t, "endpoints", answer, endpoints)
	}
	if answer, err := client.DescribeAvailabilityZones(t.Context(), nil); err != nil {
		t.Error(err)
	} else {
		same(t, "zones", answer, zones)
	}
}

func TestRESTIsHandedToTheService(t *testing.T) {
	var got lambda.PutFunctionConcurrencyInput
	out := &lambda.PutFunctionConcurrencyOutput{ReservedConcurrentExecutions: aws.Int32(5)}
	config := protocoltest.Serve(t, protocol.Service{Name: "lambda", Wire: protocol.REST, Handle: func(w http.ResponseWriter, r *http.Request, call *protocol.Call) {
		if strings.Contains(r.URL.Path, "absent") {
			protocol.WriteRESTError(w, &protocol.Error{Status: http.StatusNotFound, Code: "ResourceNotFoundException", Message: "Function not found", Fields: map[string]any{"Type": "User"}})
			return
		}
		if err := protocol.DecodeREST(r, &got); err != nil {
			protocol.WriteRESTError(w, err)
			return
		}
		protocol.WriteREST(w, http.StatusOK, out)
	}})
	client := lambda.NewFromConfig(config)
	answer, err := client.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("f"), ReservedConcurrentExecutions: aws.Int32(5)})
	if err != nil {
		t.Fatal(err)
	}
	same(t, "output", answer, out)
	if aws.ToInt32(got.ReservedConcurrentExecutions) != 5 {
		t.Errorf("the input's concurrency is %v, want 5", got.ReservedConcurrentExecutions)
	}
	_, err = client.PutFunctionConcurrency(t.Context(), &lambda.PutFunctionConcurrencyInput{FunctionName: aws.String("absent"), ReservedConcurrentExecutions: aws.Int32(5)})
	if absent, ok := errors.AsType[*lambdatypes.ResourceNotFoundException](err); !ok || aws.ToString(absent.Message) != "Function not found" || aws.ToString(absent.Type) != "User" {
		t.Errorf("got error %v, want ResourceNotFoundException", err)
	}
}

func TestAListWithoutItemsIsAnsweredEmpty(t *testing.T) {
	config := protocoltest.Serve(t, protocol.Service{Name: "ecs", Operations: map[string]protocol.Operation{"ListTasks": echo(&ecs.ListTasksInput{}, &ecs.ListTasksOutput{})}})
	out, err := ecs.NewFromConfig(config).ListTasks(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	if out.TaskArns == nil || out.NextToken != nil {
		t.Errorf("the answer is %+v, want an empty list and no token", out)
	}
}

// What clients in other languages take for granted is there also when it is 0, false or empty.
func TestNumbersFlagsAndListsAreNeverAbsent(t *testing.T) {
	services := &ecs.DescribeServicesOutput{Services: []ecstypes.Service{{ServiceName: aws.String("s"), Deployments: []ecstypes.Deployment{{Id: aws.String("d")}}}}}
	groups := &ec2.DescribeSecurityGroupsOutput{SecurityGroups: []ec2types.SecurityGroup{{GroupId: aws.String("sg-1"), IpPermissions: []ec2types.IpPermission{{IpProtocol: aws.String("tcp")}}}}}
	config := protocoltest.Serve(t,
		protocol.Service{Name: "ecs", Operations: map[string]protocol.Operation{"DescribeServices": echo(&ecs.DescribeServicesInput{}, services)}},
		protocol.Service{Name: "ec2", Wire: protocol.EC2Query, Operations: map[string]protocol.Operation{"DescribeSecurityGroups": echo(&ec2.DescribeSecurityGroupsInput{}, groups)}})
	for _, test := range []struct {
		service, contentType, target, body string
		want                               []string
	}{
		{"ecs", "application/x-amz-json-1.1", "AmazonEC2ContainerServiceV20141113.DescribeServices", `{"services":["s"]}`,
			[]string{`"desiredCount":0`, `"runningCount":0`, `"pendingCount":0`, `"enableECSManagedTags":false`, `"enableExecuteCommand":false`, `"failedTasks":0`}},
		{"ec2", "application/x-www-form-urlencoded", "", "Action=DescribeSecurityGroups&Version=2016-11-15",
			[]string{"<ipPermissionsEgress></ipPermissionsEgress>", "<groups></groups>", "<ipRanges></ipRanges>", "<ipv6Ranges></ipv6Ranges>", "<prefixListIds></prefixListIds>"}},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *config.BaseEndpoint, strings.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", test.contentType)
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260304/us-east-1/"+test.service+"/aws4_request, SignedHeaders=host, Signature=0")
		request.Header.Set("X-Amz-Target", test.target)
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		var body bytes.Buffer
		if _, err := body.ReadFrom(response.Body); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if !strings.Contains(body.String(), want) {
				t.Errorf("%s: the answer lacks %s:\n%s", test.service, want, body.String())
			}
		}
		if strings.Contains(body.String(), "tagSet") {
			t.Errorf("%s: the answer has tags where there are none", test.service)
		}
	}
}

func TestErrorsInEachProtocol(t *testing.T) {
	denied := &protocol.Error{Status: http.StatusForbidden, Code: "AccessDenied", Message: "User: x is not authorized"}
	config := protocoltest.Serve(t,
		protocol.Service{Name: "ecs", Operations: map[string]protocol.Operation{
			"ListTasks":     fails(denied),
			"DescribeTasks": fails(protocol.Errorf("ClusterNotFoundException", "Cluster not found.")),
			"StopTask":      fails(errors.New("broken")),
		}},
		protocol.Service{Name: "cloudformation", Wire: protocol.Query, Operations: map[string]protocol.Operation{
			"DescribeStacks": fails(protocol.Errorf("ValidationError", "Stack with id <x> does not exist")), "DescribeChangeSet": fails(denied),
		}},
		protocol.Service{Name: "monitoring", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"GetMetricData": fails(denied)}},
		protocol.Service{Name: "ec2", Wire: protocol.EC2Query, Operations: map[string]protocol.Operation{"DescribeVpcs": fails(denied)}},
	)
	ctx := t.Context()
	for _, test := range []struct {
		name    string
		call    func() error
		code    string
		message string
	}{
		{"JSON", func() error {
			_, err := ecs.NewFromConfig(config).DescribeTasks(ctx, &ecs.DescribeTasksInput{Tasks: []string{"t"}})
			if _, ok := errors.AsType[*ecstypes.ClusterNotFoundException](err); !ok {
				t.Errorf("error %v has not the SDK's type", err)
			}
			return err
		}, "ClusterNotFoundException", "Cluster not found."},
		{"denied in JSON", func() error {
			_, err := ecs.NewFromConfig(config).ListTasks(ctx, &ecs.ListTasksInput{})
			return err
		}, "AccessDeniedException", denied.Message},
		{"an error of the program", func() error {
			_, err := ecs.NewFromConfig(config).StopTask(ctx, &ecs.StopTaskInput{Task: aws.String("t")})
			return err
		}, "InternalFailure", "broken"},
		{"an unknown action", func() error {
			_, err := ecs.NewFromConfig(config).ListClusters(ctx, &ecs.ListClustersInput{})
			return err
		}, "UnknownOperationException", `the action "ListClusters" of ecs is not played here`},
		{"Query", func() error {
			_, err := cloudformation.NewFromConfig(config).DescribeStacks(ctx, nil)
			return err
		}, "ValidationError", "Stack with id <x> does not exist"},
		{"denied in Query", func() error {
			_, err := cloudformation.NewFromConfig(config).DescribeChangeSet(ctx, &cloudformation.DescribeChangeSetInput{ChangeSetName: aws.String("c")})
			return err
		}, "AccessDenied", denied.Message},
		{"denied in CBOR", func() error {
			_, err := cloudwatch.NewFromConfig(config).GetMetricData(ctx, &cloudwatch.GetMetricDataInput{StartTime: &noon, EndTime: &noon, MetricDataQueries: []cwtypes.MetricDataQuery{}})
			return err
		}, "AccessDeniedException", denied.Message},
		{"denied in EC2", func() error {
			_, err := ec2.NewFromConfig(config).DescribeVpcs(ctx, nil)
			return err
		}, "UnauthorizedOperation", denied.Message},
		{"an unknown service", func() error {
			_, err := sts.NewFromConfig(config).GetCallerIdentity(ctx, nil)
			return err
		}, "InvalidAction", `the service "sts" is not played here`},
	} {
		t.Run(test.name, func(t *testing.T) {
			api, ok := errors.AsType[smithy.APIError](test.call())
			if !ok || api.ErrorCode() != test.code || api.ErrorMessage() != test.message {
				t.Errorf("got error %v, want %s: %s", api, test.code, test.message)
			}
		})
	}
}

type oneKey struct{ secret string }

func (k oneKey) Find(accessKey, token string) (*protocol.Identity, error) {
	if accessKey != "AKIDTEST" || token != "" && token != "session" {
		return nil, &protocol.Error{Status: http.StatusForbidden, Code: "InvalidClientTokenId", Message: "The security token included in the request is invalid."}
	}
	return &protocol.Identity{Principal: "arn:aws:iam::999988887777:user/u", Account: "999988887777", Secret: k.secret}, nil
}

func TestSignaturesAreChecked(t *testing.T) {
	var call protocol.Call
	whoami := protocol.Op(func(_ context.Context, c *protocol.Call, _ *sts.GetCallerIdentityInput) (*sts.GetCallerIdentityOutput, error) {
		call = *c
		return &sts.GetCallerIdentityOutput{Arn: aws.String(c.Principal)}, nil
	})
	var path string
	services := []protocol.Service{
		{Name: "sts", Wire: protocol.Query, Operations: map[string]protocol.Operation{"GetCallerIdentity": whoami}},
		{Name: "lambda", Wire: protocol.REST, Handle: func(w http.ResponseWriter, r *http.Request, _ *protocol.Call) { path = r.URL.Path }},
	}
	config := protocoltest.Client(t, &protocol.Front{Account: protocoltest.Account, Services: services, Keys: oneKey{"secret"}})
	wrong := protocoltest.Client(t, &protocol.Front{Account: protocoltest.Account, Services: services, Keys: oneKey{"another"}})

	client := sts.NewFromConfig(config)
	answer, err := client.GetCallerIdentity(t.Context(), nil)
	if err != nil || aws.ToString(answer.Arn) != "arn:aws:iam::999988887777:user/u" {
		t.Errorf("signed call: %v, %v", answer, err)
	}
	if call.Service != "sts" || call.Action != "GetCallerIdentity" || call.Region != "us-east-1" || call.Account != "999988887777" || call.ID == "" || call.Host == "" {
		t.Errorf("the call is %+v", call)
	}
	if _, err := sts.NewFromConfig(config, func(o *sts.Options) {
		o.Credentials = credentials.NewStaticCredentialsProvider("AKIDTEST", "secret", "session")
	}).GetCallerIdentity(t.Context(), nil); err != nil {
		t.Errorf("with a session token: %v", err)
	}
	if _, err := lambda.NewFromConfig(config).Invoke(t.Context(), &lambda.InvokeInput{FunctionName: aws.String("arn:aws:lambda:us-east-1:1:function:f"), Payload: []byte("{}")}); err != nil {
		t.Errorf("an escaped path: %v", err)
	}
	if path != "/2015-03-31/functions/arn:aws:lambda:us-east-1:1:function:f/invocations" {
		t.Errorf("the path is %q", path)
	}
	if _, err := sts.NewFromConfig(wrong).GetCallerIdentity(t.Context(), nil); code(err) != "SignatureDoesNotMatch" {
		t.Errorf("a wrong secret: got %v, want SignatureDoesNotMatch", err)
	}

	presigned, err := sts.NewPresignClient(client).PresignGetCallerIdentity(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name, url string
		want      int
	}{
		{"presigned", presigned.URL, http.StatusOK},
		{"changed", presigned.URL + "&More=1", http.StatusForbidden},
		{"unsigned", aws.ToString(config.BaseEndpoint), http.StatusForbidden},
	} {
		request, err := http.NewRequestWithContext(t.Context(), presigned.Method, test.url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.want {
			t.Errorf("%s: status %d, want %d", test.name, response.StatusCode, test.want)
		}
	}
}

func code(err error) string {
	api, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return ""
	}
	return api.ErrorCode()
}

func TestOlderClientsOfCloudWatchAreUnderstood(t *testing.T) {
	var got cloudwatch.GetMetricStatisticsInput
	out := &cloudwatch.GetMetricStatisticsOutput{Label: aws.String("l"), Datapoints: []cwtypes.Datapoint{{Sum: aws.Float64(2), Timestamp: &noon}}}
	config := protocoltest.Serve(t, protocol.Service{Name: "monitoring", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"GetMetricStatistics": echo(&got, out)}})
	for _, test := range []struct{ name, contentType, target, body, want string }{
		{
			"Query", "application/x-www-form-urlencoded; charset=utf-8", "",
			"Action=GetMetricStatistics&Version=2010-08-01&Namespace=AWS%2FLambda&MetricName=Errors&Period=60&StartTime=2026-03-04T12%3A00%3A00.25Z&Statistics.member.1=Sum&Dimensions.member.1.Name=FunctionName&Dimensions.member.1.Value=f",
			"<GetMetricStatisticsResponse><GetMetricStatisticsResult><Datapoints><member><Sum>2</Sum><Timestamp>2026-03-04T12:00:00.250Z</Timestamp></member></Datapoints><Label>l</Label></GetMetricStatisticsResult>",
		},
		{
			"JSON 1.0", "application/x-amz-json-1.0", "GraniteServiceVersion20100801.GetMetricStatistics",
			`{"Namespace":"AWS/Lambda","MetricName":"Errors","Period":60,"StartTime":1772625600.25,"Statistics":["Sum"],"Dimensions":[{"Name":"FunctionName","Value":"f"}]}`,
			`{"Datapoints":[{"Sum":2,"Timestamp":1772625600.25}],"Label":"l"}`,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *config.BaseEndpoint, strings.NewReader(test.body))
			if err != nil {
				t.Fatal(err)
			}
			request.Header.Set("Content-Type", test.contentType)
			request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260304/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0")
			if test.target != "" {
				request.Header.Set("X-Amz-Target", test.target)
			}
			response, err := http.DefaultClient.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = response.Body.Close() }()
			var body strings.Builder
			_ = response.Write(&body)
			if !strings.Contains(body.String(), test.want) {
				t.Errorf("the answer is %s, want %s in it", body.String(), test.want)
			}
			same(t, "input", &got, &cloudwatch.GetMetricStatisticsInput{
				Namespace: aws.String("AWS/Lambda"), MetricName: aws.String("Errors"), Period: aws.Int32(60), StartTime: &noon, Statistics: []cwtypes.Statistic{"Sum"},
				Dimensions: []cwtypes.Dimension{{Name: aws.String("FunctionName"), Value: aws.String("f")}},
			})
		})
	}
}

func TestCompressedBodiesAreUnderstoodAndBounded(t *testing.T) {
	var got cloudwatch.PutMetricDataInput
	services := []protocol.Service{{Name: "monitoring", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"PutMetricData": echo(&got, &cloudwatch.PutMetricDataOutput{})}}}
	config := protocoltest.Client(t, &protocol.Front{Account: protocoltest.Account, Services: services, Keys: oneKey{"secret"}})
	in := &cloudwatch.PutMetricDataInput{Namespace: aws.String("Test"), MetricData: []cwtypes.MetricDatum{{MetricName: aws.String("m"), Value: aws.Float64(1.5)}}}
	if _, err := cloudwatch.NewFromConfig(config, func(o *cloudwatch.Options) { o.RequestMinCompressSizeBytes = 1 }).PutMetricData(t.Context(), in); err != nil {
		t.Fatal(err)
	}
	same(t, "input", &got, in)

	config = protocoltest.Serve(t, services...)
	for _, test := range []struct {
		name   string
		body   []byte
		status int
	}{
		{"no gzip", []byte("{}"), http.StatusBadRequest},
		{"more than is allowed", compressed(t, 65<<20), http.StatusRequestEntityTooLarge},
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *config.BaseEndpoint, bytes.NewReader(test.body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Amz-Target", "GraniteServiceVersion20100801.PutMetricData")
		request.Header.Set("Content-Encoding", "gzip")
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260304/us-east-1/monitoring/aws4_request, SignedHeaders=host, Signature=0")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", test.name, response.StatusCode, test.status)
		}
	}
}

// compressed are so many blanks.
func compressed(t *testing.T, n int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := gzip.NewWriterLevel(&b, gzip.BestSpeed)
	if err != nil {
		t.Fatal(err)
	}
	_, err = w.Write(bytes.Repeat([]byte{' '}, n))
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestABodyThatDoesNotFitIsNamed(t *testing.T) {
	config := protocoltest.Serve(t, protocol.Service{Name: "ecs", Operations: map[string]protocol.Operation{"RunTask": echo(&ecs.RunTaskInput{}, &ecs.RunTaskOutput{})}})
	for body, want := range map[string]string{
		`{"count":"many"}`:              `count is \"many\", want an integer`,
		`{"tags":[{"key":["a"]}]}`:      "tags.1.key is a list, want a string",
		`{"networkConfiguration":[]}`:   "networkConfiguration is a list, want a structure",
		`{"count":`:                     "the body is not JSON",
		`{"enableExecuteCommand":"so"}`: `enableExecuteCommand is \"so\", want a boolean`,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, *config.BaseEndpoint, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("X-Amz-Target", "AmazonEC2ContainerServiceV20141113.RunTask")
		request.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=AK/20260304/us-east-1/ecs/aws4_request, SignedHeaders=host, Signature=0")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		var answer strings.Builder
		_ = response.Write(&answer)
		_ = response.Body.Close()
		if response.StatusCode != http.StatusBadRequest || !strings.Contains(answer.String(), want) {
			t.Errorf("body %s: %s, want %s in it", body, answer.String(), want)
		}
	}
}
