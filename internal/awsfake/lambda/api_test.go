package lambda_test

import (
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

var f = aws.String("f")

// codeOf is the code of an error of the service.
func codeOf(err error) string {
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		return api.ErrorCode()
	}
	return ""
}

func TestChangesTakeTheirTime(t *testing.T) {
	var seconds atomic.Int64
	b := newBench(t, func(c *lambda.Config) {
		c.UpdateTime = 30 * time.Second
		c.Now = func() time.Time { return time.Unix(seconds.Load(), 0) }
	})
	b.make(nil)
	state := func() (types.State, types.LastUpdateStatus) {
		t.Helper()
		out, err := b.client.GetFunctionConfiguration(t.Context(), &sdk.GetFunctionConfigurationInput{FunctionName: f})
		if err != nil {
			t.Fatal(err)
		}
		return out.State, out.LastUpdateStatus
	}
	if got, _ := state(); got != types.StatePending {
		t.Errorf("state %s after the creation, want Pending", got)
	}
	if _, err := b.client.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: f}); codeOf(err) != "ResourceConflictException" {
		t.Errorf("a call of a pending function: %v", err)
	}
	seconds.Add(31)
	if got, _ := state(); got != types.StateActive {
		t.Errorf("state %s, want Active", got)
	}
	before, err := b.client.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: f})
	if err != nil {
		t.Fatal(err)
	}
	updated, err := b.client.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: f, ZipFile: bootstrap(t, "2")})
	if err != nil {
		t.Fatal(err)
	}
	if updated.LastUpdateStatus != types.LastUpdateStatusInProgress || *updated.CodeSha256 == *before.Configuration.CodeSha256 {
		t.Errorf("status %s, code %s as before", updated.LastUpdateStatus, *updated.CodeSha256)
	}
	for what, err := range map[string]error{
		"code":          second(b.client.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: f, ZipFile: bootstrap(t, "3")})),
		"configuration": second(b.client.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{FunctionName: f, MemorySize: aws.Int32(512)})),
		"version":       second(b.client.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: f})),
	} {
		if codeOf(err) != "ResourceConflictException" || !strings.Contains(err.Error(), "An update is in progress") {
			t.Errorf("%s while an update is in progress: %v", what, err)
		}
	}
	seconds.Add(31)
	if _, got := state(); got != types.LastUpdateStatusSuccessful {
		t.Errorf("status %s, want Successful", got)
	}
}

func TestAnAliasPointsAtAVersionThatDoesNotChange(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	publish := func() string {
		t.Helper()
		out, err := b.client.PublishVersion(t.Context(), &sdk.PublishVersionInput{FunctionName: f})
		if err != nil {
			t.Fatal(err)
		}
		return *out.Version
	}
	one := publish()
	if again := publish(); one != "1" || again != one {
		t.Errorf("versions %s and %s, want 1 twice: nothing changed", one, again)
	}
	if _, err := b.client.CreateAlias(t.Context(), &sdk.CreateAliasInput{FunctionName: f, Name: aws.String("live"), FunctionVersion: &one}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.UpdateFunctionConfiguration(t.Context(), &sdk.UpdateFunctionConfigurationInput{FunctionName: f, MemorySize: aws.Int32(512)}); err != nil {
		t.Fatal(err)
	}
	memory := func(qualifier string) int32 {
		t.Helper()
		out, err := b.client.GetFunctionConfiguration(t.Context(), &sdk.GetFunctionConfigurationInput{FunctionName: f, Qualifier: &qualifier})
		if err != nil {
			t.Fatal(err)
		}
		return *out.MemorySize
	}
	if memory("live") != 128 || memory("$LATEST") != 512 {
		t.Errorf("live has %d MB, $LATEST %d; want 128 and 512", memory("live"), memory("$LATEST"))
	}
	two := publish()
	if _, err := b.client.UpdateAlias(t.Context(), &sdk.UpdateAliasInput{FunctionName: f, Name: aws.String("live"), FunctionVersion: &two}); err != nil {
		t.Fatal(err)
	}
	alias, err := b.client.GetAlias(t.Context(), &sdk.GetAliasInput{FunctionName: f, Name: aws.String("live")})
	if err != nil || *alias.FunctionVersion != "2" || memory("live") != 512 {
		t.Errorf("%+v, %v, %d MB; want version 2", alias, err, memory("live"))
	}
	for _, name := range []string{"none", "9"} {
		if _, err := b.client.GetFunctionConfiguration(t.Context(), &sdk.GetFunctionConfigurationInput{FunctionName: f, Qualifier: &name}); codeOf(err) != "ResourceNotFoundException" {
			t.Errorf("qualifier %s: %v", name, err)
		}
	}
	if _, err := b.client.GetFunctionConfiguration(t.Context(), &sdk.GetFunctionConfigurationInput{FunctionName: aws.String("f:live")}); err != nil {
		t.Errorf("name with the alias: %v", err)
	}
}

func TestReservationsLeaveWhatTheAccountNeeds(t *testing.T) {
	for limit, least := range map[int]string{1000: "[100]", 10: "[10]"} {
		b := newBench(t, func(c *lambda.Config) { c.Concurrency = limit })
		b.make(nil)
		_, err := b.client.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: f, ReservedConcurrentExecutions: aws.Int32(int32(limit))})
		if codeOf(err) != "InvalidParameterValueException" || !strings.Contains(err.Error(), "decreases account's UnreservedConcurrentExecution below its minimum value of "+least) {
			t.Errorf("all of %d: %v", limit, err)
		}
	}
	b := newBench(t, nil)
	b.make(nil)
	if _, err := b.client.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: f, ReservedConcurrentExecutions: aws.Int32(200)}); err != nil {
		t.Fatal(err)
	}
	settings, err := b.client.GetAccountSettings(t.Context(), &sdk.GetAccountSettingsInput{})
	if err != nil {
		t.Fatal(err)
	}
	if settings.AccountLimit.ConcurrentExecutions != 1000 || *settings.AccountLimit.UnreservedConcurrentExecutions != 800 || settings.AccountUsage.FunctionCount != 1 {
		t.Errorf("%+v, %+v", settings.AccountLimit, settings.AccountUsage)
	}
	got, err := b.client.GetFunctionConcurrency(t.Context(), &sdk.GetFunctionConcurrencyInput{FunctionName: f})
	if err != nil || *got.ReservedConcurrentExecutions != 200 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := b.client.DeleteFunctionConcurrency(t.Context(), &sdk.DeleteFunctionConcurrencyInput{FunctionName: f}); err != nil {
		t.Fatal(err)
	}
	if got, err = b.client.GetFunctionConcurrency(t.Context(), &sdk.GetFunctionConcurrencyInput{FunctionName: f}); err != nil || got.ReservedConcurrentExecutions != nil {
		t.Errorf("%+v, %v; want no reservation", got, err)
	}
}

func TestWhatLambdaRefuses(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	create := func(change func(*sdk.CreateFunctionInput)) error {
		in := &sdk.CreateFunctionInput{FunctionName: aws.String("g"), Role: aws.String(role), Runtime: types.RuntimeProvidedal2023, Code: &types.FunctionCode{ZipFile: bootstrap(t, "1")}}
		change(in)
		return second(b.client.CreateFunction(t.Context(), in))
	}
	tests := []struct {
		name, code, text string
		err              error
	}{
		{"a name that is taken", "ResourceConflictException", "already exist", create(func(in *sdk.CreateFunctionInput) { in.FunctionName = f })},
		{"no zip", "InvalidParameterValueException", "Could not unzip", create(func(in *sdk.CreateFunctionInput) { in.Code.ZipFile = []byte("text") })},
		{"too long", "ValidationException", "timeout", create(func(in *sdk.CreateFunctionInput) { in.Timeout = aws.Int32(901) })},
		{"too small", "ValidationException", "memorySize", create(func(in *sdk.CreateFunctionInput) { in.MemorySize = aws.Int32(64) })},
		{"a variable of the platform", "InvalidParameterValueException", "AWS_REGION", create(func(in *sdk.CreateFunctionInput) {
			in.Environment = &types.Environment{Variables: map[string]string{"AWS_REGION": "x"}}
		})},
		{"no function", "ResourceNotFoundException", "function:none", second(b.client.GetFunction(t.Context(), &sdk.GetFunctionInput{FunctionName: aws.String("none")}))},
		{"too many retries", "InvalidParameterValueException", "MaximumRetryAttempts", second(b.client.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{FunctionName: f, MaximumRetryAttempts: aws.Int32(3)}))},
	}
	for _, test := range tests {
		if codeOf(test.err) != test.code || !strings.Contains(test.err.Error(), test.text) {
			t.Errorf("%s: %v, want %s about %q", test.name, test.err, test.code, test.text)
		}
	}
	b.guard = denying("ec2:CreateNetworkInterface")
	inVPC := create(func(in *sdk.CreateFunctionInput) { in.VpcConfig = &types.VpcConfig{SubnetIds: []string{"subnet-1"}} })
	if codeOf(inVPC) != "InvalidParameterValueException" || !strings.Contains(inVPC.Error(), "CreateNetworkInterface") {
		t.Errorf("a role without interfaces: %v", inVPC)
	}
	b.denied = protocol.Errorf("AccessDenied", "no trust")
	if err := create(func(*sdk.CreateFunctionInput) {}); codeOf(err) != "InvalidParameterValueException" || !strings.Contains(err.Error(), "cannot be assumed by Lambda") {
		t.Errorf("a role without trust: %v", err)
	}
}

func TestTagsEventConfigurationsAndDeletion(t *testing.T) {
	b := newBench(t, nil)
	b.make(func(in *sdk.CreateFunctionInput) { in.Tags = map[string]string{"a": "1"} })
	arn := aws.String("arn:aws:lambda:us-east-1:123456789012:function:f")
	if _, err := b.client.TagResource(t.Context(), &sdk.TagResourceInput{Resource: arn, Tags: map[string]string{"b": "2"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.client.UntagResource(t.Context(), &sdk.UntagResourceInput{Resource: arn, TagKeys: []string{"a"}}); err != nil {
		t.Fatal(err)
	}
	tags, err := b.client.ListTags(t.Context(), &sdk.ListTagsInput{Resource: arn})
	if err != nil || len(tags.Tags) != 1 || tags.Tags["b"] != "2" {
		t.Errorf("tags %v, %v", tags, err)
	}
	put, err := b.client.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{FunctionName: f, MaximumRetryAttempts: aws.Int32(0)})
	if err != nil || put.LastModified == nil {
		t.Fatalf("%+v, %v", put, err)
	}
	got, err := b.client.GetFunctionEventInvokeConfig(t.Context(), &sdk.GetFunctionEventInvokeConfigInput{FunctionName: f, Qualifier: aws.String("$LATEST")})
	if err != nil || *got.MaximumRetryAttempts != 0 || got.MaximumEventAgeInSeconds != nil || *got.FunctionArn != *arn+":$LATEST" {
		t.Errorf("%+v, %v", got, err)
	}
	state, err := b.service.State()
	if err != nil {
		t.Fatal(err)
	}
	mappings, err := b.client.ListEventSourceMappings(t.Context(), &sdk.ListEventSourceMappingsInput{FunctionName: f})
	if err != nil || len(mappings.EventSourceMappings) != 0 {
		t.Errorf("%+v, %v", mappings, err)
	}
	if _, err := b.client.DeleteFunction(t.Context(), &sdk.DeleteFunctionInput{FunctionName: f}); err != nil {
		t.Fatal(err)
	}
	list, err := b.client.ListFunctions(t.Context(), &sdk.ListFunctionsInput{})
	if err != nil || len(list.Functions) != 0 {
		t.Errorf("%+v, %v", list, err)
	}
	if err := b.service.Restore(state); err != nil {
		t.Fatal(err)
	}
	if got, err = b.client.GetFunctionEventInvokeConfig(t.Context(), &sdk.GetFunctionEventInvokeConfigInput{FunctionName: f}); err != nil || *got.MaximumRetryAttempts != 0 {
		t.Errorf("after a restore: %+v, %v", got, err)
	}
}
