package lambda

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Defaults and limits of a function's settings.
const (
	defaultTimeout = 3   // seconds
	maxTimeout     = 900 // seconds
	defaultMemory  = 128 // MB
	maxMemory      = 10240
)

func (s *Service) createFunction(ctx context.Context, call *protocol.Call, in *lambda.CreateFunctionInput) (*lambda.CreateFunctionOutput, error) {
	name, _, err := split(aws.ToString(in.FunctionName))
	if err != nil {
		return nil, err
	}
	arn := arnOf(call, name)
	if err := call.Allow("lambda:CreateFunction", arn); err != nil {
		return nil, err
	}
	if err := passRole(call, aws.ToString(in.Role)); err != nil {
		return nil, err
	}
	config, err := s.create(ctx, arn, name, in)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.CreateFunctionOutput](config), nil
}

func passRole(call *protocol.Call, role string) error {
	return call.AllowIf("iam:PassRole", map[string]string{"iam:PassedToService": "lambda.amazonaws.com"}, role)
}

// create makes a function; the caller's right to do so has been checked.
func (s *Service) create(ctx context.Context, arn, name string, in *lambda.CreateFunctionInput) (types.FunctionConfiguration, error) {
	config := types.FunctionConfiguration{
		FunctionName: &name, FunctionArn: &arn, Version: aws.String(latest), Role: in.Role, Handler: in.Handler, Runtime: in.Runtime,
		Description: aws.String(aws.ToString(in.Description)), PackageType: cmp.Or(in.PackageType, types.PackageTypeZip),
		Architectures: in.Architectures, EphemeralStorage: in.EphemeralStorage, DeadLetterConfig: in.DeadLetterConfig,
	}
	if len(config.Architectures) == 0 {
		config.Architectures = []types.Architecture{types.ArchitectureX8664}
	}
	settings := lambda.UpdateFunctionConfigurationInput{
		Timeout: cmp.Or(in.Timeout, aws.Int32(defaultTimeout)), MemorySize: cmp.Or(in.MemorySize, aws.Int32(defaultMemory)),
		Environment: in.Environment, VpcConfig: in.VpcConfig, LoggingConfig: in.LoggingConfig, Role: in.Role,
	}
	if err := s.settle(ctx, &config, &settings); err != nil {
		return types.FunctionConfiguration{}, err
	}
	if in.Code == nil || in.Code.ZipFile == nil {
		return types.FunctionConfiguration{}, invalid("Please provide a source for function code.")
	}
	if err := s.store(&config, in.Code.ZipFile); err != nil {
		return types.FunctionConfiguration{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.functions[arn] != nil {
		return types.FunctionConfiguration{}, conflict("Function already exist: %s", name)
	}
	f := &function{
		Latest: config, Aliases: map[string]types.AliasConfiguration{}, Events: map[string]types.FunctionEventInvokeConfig{},
		Tags: map[string]string{}, Policy: map[string]string{}, Next: 1,
	}
	maps.Copy(f.Tags, in.Tags)
	if err := s.attach(f, config.VpcConfig); err != nil {
		return types.FunctionConfiguration{}, err
	}
	s.changed(f)
	s.functions[arn] = f
	if in.Publish {
		return s.publish(f, ""), nil
	}
	return s.shown(f, f.Latest), nil
}

// settle applies settings to a configuration and checks them.
func (s *Service) settle(ctx context.Context, config *types.FunctionConfiguration, in *lambda.UpdateFunctionConfigurationInput) error {
	config.Timeout, config.MemorySize = cmp.Or(in.Timeout, config.Timeout), cmp.Or(in.MemorySize, config.MemorySize)
	config.Description, config.Handler = cmp.Or(in.Description, config.Description), cmp.Or(in.Handler, config.Handler)
	config.Role, config.Runtime = cmp.Or(in.Role, config.Role), cmp.Or(in.Runtime, config.Runtime)
	config.EphemeralStorage = cmp.Or(in.EphemeralStorage, config.EphemeralStorage)
	if in.Environment != nil {
		config.Environment = &types.EnvironmentResponse{Variables: in.Environment.Variables}
	}
	if in.VpcConfig != nil {
		config.VpcConfig = &types.VpcConfigResponse{SubnetIds: in.VpcConfig.SubnetIds, SecurityGroupIds: in.VpcConfig.SecurityGroupIds}
	}
	config.LoggingConfig = cmp.Or(in.LoggingConfig, config.LoggingConfig)
	if config.LoggingConfig == nil {
		config.LoggingConfig = &types.LoggingConfig{LogFormat: types.LogFormatText}
	}
	if config.LoggingConfig.LogGroup == nil {
		logging := *config.LoggingConfig
		logging.LogGroup = aws.String("/aws/lambda/" + *config.FunctionName)
		config.LoggingConfig = &logging
	}
	return s.check(ctx, config)
}

// check refuses settings that Lambda would.
func (s *Service) check(ctx context.Context, config *types.FunctionConfiguration) error {
	if t := *config.Timeout; t < 1 || t > maxTimeout {
		return protocol.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'timeout' failed to satisfy constraint: Member must have value less than or equal to %d", t, maxTimeout)
	}
	if m := *config.MemorySize; m < defaultMemory || m > maxMemory {
		return protocol.Errorf("ValidationException", "1 validation error detected: Value '%d' at 'memorySize' failed to satisfy constraint: Member must have value between %d and %d", m, defaultMemory, maxMemory)
	}
	if config.Environment != nil {
		var reserved []string
		for name := range config.Environment.Variables {
			if reservedVariable(name) {
				reserved = append(reserved, name)
			}
		}
		if slices.Sort(reserved); len(reserved) > 0 {
			return invalid("Lambda was unable to configure your environment variables because the environment variables you have provided contains reserved keys that are currently not supported for modification. Reserved keys used in this request: %s", strings.Join(reserved, ", "))
		}
	}
	role := aws.ToString(config.Role)
	if _, err := s.config.Sessions.Session(ctx, role, *config.FunctionName); err != nil {
		return invalid("The role defined for the function cannot be assumed by Lambda.")
	}
	if guard := s.config.Sessions.Guard(role); guard != nil && config.VpcConfig != nil && len(config.VpcConfig.SubnetIds) > 0 {
		for _, action := range interfaceActions {
			if guard.Allow("ec2:"+action, "*", nil) != nil {
				return invalid("The provided execution role does not have permissions to call %s on EC2", action)
			}
		}
	}
	return nil
}

// interfaceActions are what the service does as the role of a function in a VPC (aws.md 5.4).
var interfaceActions = []string{
	"CreateNetworkInterface", "DescribeNetworkInterfaces", "DescribeSubnets", "DeleteNetworkInterface",
	"AssignPrivateIpAddresses", "UnassignPrivateIpAddresses",
}

// changed notes a change of a function, which takes its time. s.mu is held.
func (s *Service) changed(f *function) {
	now := s.config.Now()
	f.SettledAt = now.Add(s.config.UpdateTime)
	f.Latest.LastModified = aws.String(now.UTC().Format("2006-01-02T15:04:05.000-0700"))
	f.Latest.RevisionId = aws.String(rand.Text())
}

// settled reports whether the last change has been made. s.mu is held.
func (s *Service) settled(f *function) bool { return !s.config.Now().Before(f.SettledAt) }

// shown is a configuration with the state that it is in now. s.mu is held.
func (s *Service) shown(f *function, config types.FunctionConfiguration) types.FunctionConfiguration {
	config.State, config.LastUpdateStatus = types.StateActive, types.LastUpdateStatusSuccessful
	switch {
	case s.settled(f):
		f.Created = true
	case f.Created:
		config.LastUpdateStatus = types.LastUpdateStatusInProgress
	default:
		config.State, config.StateReason, config.StateReasonCode = types.StatePending, aws.String("The function is being created."), types.StateReasonCodeCreating
	}
	return config
}

// alterable refuses a change while another one is being made. s.mu is held.
func (s *Service) alterable(f *found) error {
	switch {
	case s.settled(f.function):
		f.Created = true
		return nil
	case f.Created:
		return conflict("The operation cannot be performed at this time. An update is in progress for resource: %s", f.arn)
	default:
		return conflict("The operation cannot be performed at this time. The function is currently in the following state: Pending")
	}
}

func (s *Service) getFunction(_ context.Context, call *protocol.Call, in *lambda.GetFunctionInput) (*lambda.GetFunctionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "GetFunction", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	config, err := f.version()
	if err != nil {
		return nil, err
	}
	config = s.shown(f.function, config)
	out := &lambda.GetFunctionOutput{
		Configuration: &config, Tags: maps.Clone(f.Tags),
		Code: &types.FunctionCodeLocation{RepositoryType: aws.String("S3"), Location: aws.String("file://" + s.packageOf(*config.CodeSha256))},
	}
	if f.Reserved != nil {
		out.Concurrency = &types.Concurrency{ReservedConcurrentExecutions: f.Reserved}
	}
	return out, nil
}

func (s *Service) getFunctionConfiguration(_ context.Context, call *protocol.Call, in *lambda.GetFunctionConfigurationInput) (*lambda.GetFunctionConfigurationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "GetFunctionConfiguration", in.FunctionName, in.Qualifier)
	if err != nil {
		return nil, err
	}
	config, err := f.version()
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.GetFunctionConfigurationOutput](s.shown(f.function, config)), nil
}

func (s *Service) listFunctions(_ context.Context, call *protocol.Call, _ *lambda.ListFunctionsInput) (*lambda.ListFunctionsOutput, error) {
	if err := call.Allow("lambda:ListFunctions"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &lambda.ListFunctionsOutput{Functions: []types.FunctionConfiguration{}}
	for _, arn := range slices.Sorted(maps.Keys(s.functions)) {
		if strings.HasPrefix(arn, arnOf(call, "")) {
			out.Functions = append(out.Functions, s.functions[arn].Latest)
		}
	}
	return out, nil
}

func (s *Service) updateFunctionCode(_ context.Context, call *protocol.Call, in *lambda.UpdateFunctionCodeInput) (*lambda.UpdateFunctionCodeOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "UpdateFunctionCode", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	config, err := s.updateCode(f, in)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.UpdateFunctionCodeOutput](config), nil
}

// updateCode puts another package in place. s.mu is held.
func (s *Service) updateCode(f *found, in *lambda.UpdateFunctionCodeInput) (types.FunctionConfiguration, error) {
	if err := s.alterable(f); err != nil {
		return types.FunctionConfiguration{}, err
	}
	if in.RevisionId != nil && *in.RevisionId != *f.Latest.RevisionId {
		return types.FunctionConfiguration{}, &protocol.Error{Status: http.StatusPreconditionFailed, Code: "PreconditionFailedException", Message: "The Revision Id provided does not match the latest Revision Id. Call the GetFunction/GetAlias API to retrieve the latest Revision Id"}
	}
	if in.ZipFile == nil {
		return types.FunctionConfiguration{}, invalid("Please provide a source for function code.")
	}
	config := f.Latest
	if len(in.Architectures) > 0 {
		config.Architectures = in.Architectures
	}
	if err := s.store(&config, in.ZipFile); err != nil {
		return types.FunctionConfiguration{}, err
	}
	if in.DryRun {
		return s.shown(f.function, config), nil
	}
	f.Latest = config
	s.changed(f.function)
	if in.Publish {
		return s.publish(f.function, ""), nil
	}
	return s.shown(f.function, f.Latest), nil
}

func (s *Service) updateFunctionConfiguration(ctx context.Context, call *protocol.Call, in *lambda.UpdateFunctionConfigurationInput) (*lambda.UpdateFunctionConfigurationOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "UpdateFunctionConfiguration", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if in.Role != nil {
		if err := passRole(call, *in.Role); err != nil {
			return nil, err
		}
	}
	config, err := s.updateSettings(ctx, f, in)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.UpdateFunctionConfigurationOutput](config), nil
}

// updateSettings changes everything but the package. s.mu is held.
func (s *Service) updateSettings(ctx context.Context, f *found, in *lambda.UpdateFunctionConfigurationInput) (types.FunctionConfiguration, error) {
	if err := s.alterable(f); err != nil {
		return types.FunctionConfiguration{}, err
	}
	config := f.Latest
	if err := s.settle(ctx, &config, in); err != nil {
		return types.FunctionConfiguration{}, err
	}
	if in.VpcConfig != nil {
		if err := s.attach(f.function, config.VpcConfig); err != nil {
			return types.FunctionConfiguration{}, err
		}
	}
	f.Latest = config
	s.changed(f.function)
	return s.shown(f.function, f.Latest), nil
}

// attach gives a function the interfaces of a VPC, one in each subnet, for those that it has. s.mu is held.
func (s *Service) attach(f *function, vpc *types.VpcConfigResponse) error {
	if s.config.Interfaces == nil || vpc == nil {
		return nil
	}
	var made []string
	for _, subnet := range vpc.SubnetIds {
		id, err := s.config.Interfaces.AddInterface(subnet, vpc.SecurityGroupIds, "", "AWS Lambda VPC ENI-"+*f.Latest.FunctionName)
		if refused, ok := errors.AsType[*protocol.Error](err); ok {
			err = invalid("Error occurred while CreateNetworkInterface. EC2 Error Code: %s. EC2 Error Message: %s", refused.Code, refused.Message)
		}
		if err != nil {
			s.detach(made)
			return err
		}
		made = append(made, id)
	}
	s.detach(f.Interfaces)
	f.Interfaces = made
	if len(vpc.SubnetIds) > 0 {
		vpc.VpcId = aws.String(s.config.Interfaces.VPC(vpc.SubnetIds[0]))
	}
	return nil
}

func (s *Service) detach(interfaces []string) {
	for _, id := range interfaces {
		s.config.Interfaces.RemoveInterface(id)
	}
}

func (s *Service) deleteFunction(_ context.Context, call *protocol.Call, in *lambda.DeleteFunctionInput) (*lambda.DeleteFunctionOutput, error) {
	s.mu.Lock()
	f, err := s.find(call, "DeleteFunction", in.FunctionName, in.Qualifier)
	if err == nil {
		err = f.unreferenced()
	}
	if err == nil && f.qualifier != "" && f.qualifier != latest {
		f.Versions = slices.DeleteFunc(f.Versions, func(v types.FunctionConfiguration) bool { return *v.Version == f.qualifier })
	} else if err == nil {
		s.detach(f.Interfaces)
		delete(s.functions, f.arn)
	}
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.sweep()
	return &lambda.DeleteFunctionOutput{StatusCode: http.StatusNoContent}, nil
}

// unreferenced refuses the deletion of a version that an alias points at. s.mu is held.
func (f *found) unreferenced() error {
	var names []string
	for name, alias := range f.Aliases {
		if f.qualifier != "" && aws.ToString(alias.FunctionVersion) == f.qualifier {
			names = append(names, name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	slices.Sort(names)
	return conflict("Cannot delete a version that is referenced by an alias: version %s is referenced by %s", f.qualifier, strings.Join(names, ", "))
}

// remove deletes a function, as a stack does. One that is gone is no error.
func (s *Service) remove(arn string) {
	s.mu.Lock()
	if f := s.functions[arn]; f != nil {
		s.detach(f.Interfaces)
		delete(s.functions, arn)
	}
	s.mu.Unlock()
	s.sweep()
}

func (s *Service) tagResource(_ context.Context, call *protocol.Call, in *lambda.TagResourceInput) (*lambda.TagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "TagResource", in.Resource, nil)
	if err != nil {
		return nil, err
	}
	maps.Copy(f.Tags, in.Tags)
	return &lambda.TagResourceOutput{}, nil
}

func (s *Service) untagResource(_ context.Context, call *protocol.Call, in *lambda.UntagResourceInput) (*lambda.UntagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "UntagResource", in.Resource, nil)
	if err != nil {
		return nil, err
	}
	for _, key := range in.TagKeys {
		delete(f.Tags, key)
	}
	return &lambda.UntagResourceOutput{}, nil
}

func (s *Service) listTags(_ context.Context, call *protocol.Call, in *lambda.ListTagsInput) (*lambda.ListTagsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "ListTags", in.Resource, nil)
	if err != nil {
		return nil, err
	}
	return &lambda.ListTagsOutput{Tags: maps.Clone(f.Tags)}, nil
}

// Tags are the tags of every function, by ARN, for the service that searches all resources.
func (s *Service) Tags() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	all := map[string]map[string]string{}
	for arn, f := range s.functions {
		all[arn] = maps.Clone(f.Tags)
	}
	return all
}

// outputOf is a configuration in the shape of an operation's output, which has the same fields.
func outputOf[T, Configuration any](config Configuration) *T {
	out := new(T)
	from, to := reflect.ValueOf(config), reflect.ValueOf(out).Elem()
	for _, field := range reflect.VisibleFields(from.Type()) {
		if target := to.FieldByName(field.Name); field.IsExported() && target.IsValid() {
			target.Set(from.FieldByIndex(field.Index))
		}
	}
	return out
}
