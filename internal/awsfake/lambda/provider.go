package lambda

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// settlePoll is how often a stack looks whether a change has been made, at the most.
const settlePoll = 10 * time.Millisecond

// Providers are the service's resources in stacks.
func (s *Service) Providers() resource.Providers {
	return resource.Providers{
		"AWS::Lambda::Function":          functionProvider{s},
		"AWS::Lambda::Version":           versionProvider{s},
		"AWS::Lambda::Alias":             aliasProvider{s},
		"AWS::Lambda::EventInvokeConfig": eventConfigProvider{s},
		"AWS::Lambda::Permission":        permissionProvider{s},
	}
}

// replacedBy answers Replaces for the properties that cannot change in place.
func replacedBy(property string, fixed ...string) resource.Replacement {
	if slices.Contains(fixed, property) {
		return resource.Always
	}
	return resource.Never
}

// name is a name that CloudFormation makes for a resource.
func name(r *resource.Resource) string {
	prefix := r.Stack + "-" + r.LogicalID
	return prefix[:min(len(prefix), 51)] + "-" + rand.Text()[:12]
}

// owner is the function that a resource is about, named as in a call. s.mu is held.
func (s *Service) owner(r *resource.Resource) (*found, error) {
	var about struct{ FunctionName, Qualifier string }
	if err := resource.Decode(r.Properties, &about); err != nil {
		return nil, err
	}
	short, qualifier, err := split(about.FunctionName)
	if err != nil {
		return nil, err
	}
	f := &found{arn: functionARN(r, short), qualifier: cmp.Or(about.Qualifier, qualifier)}
	if f.function = s.functions[f.arn]; f.function == nil {
		return nil, notFound("Function not found: %s", f.arn)
	}
	return f, nil
}

func functionARN(r *resource.Resource, name string) string {
	partition := "aws"
	if parts := strings.Split(r.StackID, ":"); len(parts) > 1 {
		partition = parts[1]
	}
	return strings.Join([]string{"arn", partition, "lambda", r.Region, r.Account, "function", name}, ":")
}

type functionProvider struct{ s *Service }

func (p functionProvider) Create(ctx context.Context, r *resource.Resource) (*resource.Physical, error) {
	in, err := functionInput(r)
	if err != nil {
		return nil, err
	}
	arn := functionARN(r, *in.FunctionName)
	if _, err := p.s.create(ctx, arn, *in.FunctionName, in); err != nil {
		return nil, err
	}
	if err := p.reserve(arn, r); err != nil {
		p.s.remove(arn)
		return nil, err
	}
	return p.physical(arn, *in.FunctionName), nil
}

// reserve sets the reservation of a template, or removes it.
func (p functionProvider) reserve(arn string, r *resource.Resource) error {
	var reserved *int32
	if err := resource.Decode(r.Properties["ReservedConcurrentExecutions"], &reserved); err != nil {
		return err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	f := p.s.functions[arn]
	if f == nil {
		return notFound("Function not found: %s", arn)
	}
	if reserved == nil {
		f.Reserved = nil
		return nil
	}
	return p.s.reserve(f, *reserved)
}

func (p functionProvider) physical(arn, name string) *resource.Physical {
	return &resource.Physical{ID: name, Attributes: map[string]string{"Arn": arn}}
}

// Update waits for a change that is under way, as CloudFormation does, and makes the next one.
func (p functionProvider) Update(ctx context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	in, err := functionInput(to)
	if err != nil {
		return nil, err
	}
	former, err := from.AllTags()
	if err != nil {
		return nil, err
	}
	arn := functionARN(to, old.ID)
	if err := p.s.awaitSettled(ctx, arn); err != nil {
		return nil, err
	}
	p.s.mu.Lock()
	f := &found{arn: arn, function: p.s.functions[arn]}
	if f.function == nil {
		p.s.mu.Unlock()
		return nil, notFound("Function not found: %s", arn)
	}
	for key := range former { // those of others stay
		delete(f.Tags, key)
	}
	maps.Copy(f.Tags, in.Tags)
	_, err = p.s.updateSettings(ctx, f, &lambda.UpdateFunctionConfigurationInput{
		Timeout: in.Timeout, MemorySize: in.MemorySize, Description: in.Description, Handler: in.Handler, Role: in.Role, Runtime: in.Runtime,
		Environment: orEmpty(in.Environment), VpcConfig: in.VpcConfig, LoggingConfig: in.LoggingConfig, EphemeralStorage: in.EphemeralStorage,
	})
	p.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	// What was pushed stays, as long as the template's own code is the same.
	if fmt.Sprint(from.Properties["Code"]) != fmt.Sprint(to.Properties["Code"]) {
		if err := p.s.awaitSettled(ctx, arn); err != nil {
			return nil, err
		}
		p.s.mu.Lock()
		_, err = p.s.updateCode(f, &lambda.UpdateFunctionCodeInput{ZipFile: in.Code.ZipFile, Architectures: in.Architectures})
		p.s.mu.Unlock()
		if err != nil {
			return nil, err
		}
	}
	if err := p.reserve(arn, to); err != nil {
		return nil, err
	}
	return p.physical(arn, old.ID), p.s.awaitSettled(ctx, arn)
}

func orEmpty(e *types.Environment) *types.Environment {
	if e == nil {
		return &types.Environment{}
	}
	return e
}

func (p functionProvider) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	p.s.remove(functionARN(r, old.ID))
	return nil
}

func (p functionProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "FunctionName", "PackageType")
}

// awaitSettled waits until the last change of a function has been made.
func (s *Service) awaitSettled(ctx context.Context, arn string) error {
	for {
		s.mu.Lock()
		f := s.functions[arn]
		left := f != nil && !s.settled(f)
		s.mu.Unlock()
		if !left {
			return nil
		}
		if err := wait(ctx, max(s.config.UpdateTime/4, settlePoll)); err != nil {
			return err
		}
	}
}

// functionInput reads the properties of a function, of which code and tags are others than a call's.
func functionInput(r *resource.Resource) (*lambda.CreateFunctionInput, error) {
	properties := maps.Clone(r.Properties)
	delete(properties, "Code")
	delete(properties, "Tags")
	in := &lambda.CreateFunctionInput{}
	if err := resource.Decode(properties, in); err != nil {
		return nil, err
	}
	if aws.ToString(in.FunctionName) == "" {
		in.FunctionName = aws.String(name(r))
	}
	var err error
	if in.Tags, err = r.AllTags(); err != nil {
		return nil, err
	}
	in.Tags["aws:cloudformation:stack-name"] = r.Stack
	in.Tags["aws:cloudformation:stack-id"] = r.StackID
	in.Tags["aws:cloudformation:logical-id"] = r.LogicalID
	in.Code, err = inlineCode(in.Runtime, r.Properties["Code"])
	return in, err
}

// inlineCode is the package that CloudFormation makes of source text in a template.
func inlineCode(runtime types.Runtime, property any) (*types.FunctionCode, error) {
	var code struct{ ZipFile *string }
	if err := resource.Decode(property, &code); err != nil {
		return nil, err
	}
	if code.ZipFile == nil {
		return nil, invalid("only Code.ZipFile is played here: a package in S3 is not")
	}
	file := "index.py"
	switch {
	case strings.HasPrefix(string(runtime), "python"):
	case strings.HasPrefix(string(runtime), "nodejs"):
		file = "index.js"
	default:
		return nil, invalid("ZipFile can only be used when Runtime is set to either of nodejs or python, got %s", runtime)
	}
	var data bytes.Buffer
	archive := zip.NewWriter(&data)
	w, err := archive.Create(file)
	if err == nil {
		_, err = io.WriteString(w, *code.ZipFile)
	}
	if err := errors.Join(err, archive.Close()); err != nil {
		return nil, fmt.Errorf("inline code: %w", err)
	}
	return &types.FunctionCode{ZipFile: data.Bytes()}, nil
}

type versionProvider struct{ s *Service }

func (p versionProvider) Create(ctx context.Context, r *resource.Resource) (*resource.Physical, error) {
	p.s.mu.Lock()
	f, err := p.s.owner(r)
	p.s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if err := p.s.awaitSettled(ctx, f.arn); err != nil {
		return nil, err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	var description string
	if err := resource.Decode(r.Properties["Description"], &description); err != nil {
		return nil, err
	}
	version := p.s.publish(f.function, description)
	return &resource.Physical{ID: *version.FunctionArn, Attributes: map[string]string{"Version": *version.Version, "FunctionArn": *version.FunctionArn}}, nil
}

func (p versionProvider) Update(_ context.Context, old *resource.Physical, _, _ *resource.Resource) (*resource.Physical, error) {
	return old, nil
}

func (p versionProvider) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if f, err := p.s.owner(r); err == nil {
		f.Versions = slices.DeleteFunc(f.Versions, func(v types.FunctionConfiguration) bool { return *v.FunctionArn == old.ID })
	}
	return nil
}

func (p versionProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "FunctionName", "Description", "CodeSha256")
}

type aliasProvider struct{ s *Service }

func (p aliasProvider) set(r *resource.Resource) (*resource.Physical, error) {
	var want struct {
		Name, Description string
		FunctionVersion   *string
	}
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	f, err := p.s.owner(r)
	if err != nil {
		return nil, err
	}
	alias, err := f.setAlias(types.AliasConfiguration{Name: &want.Name, FunctionVersion: want.FunctionVersion, Description: &want.Description})
	if err != nil {
		return nil, err
	}
	return &resource.Physical{ID: *alias.AliasArn, Attributes: map[string]string{"AliasArn": *alias.AliasArn}}, nil
}

func (p aliasProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	return p.set(r)
}

// Update leaves the alias where a push has put it, unless the template names another version now.
func (p aliasProvider) Update(_ context.Context, old *resource.Physical, from, to *resource.Resource) (*resource.Physical, error) {
	if fmt.Sprint(from.Properties["FunctionVersion"]) == fmt.Sprint(to.Properties["FunctionVersion"]) {
		return old, nil
	}
	return p.set(to)
}

func (p aliasProvider) Delete(_ context.Context, _ *resource.Physical, r *resource.Resource) error {
	var name string
	if err := resource.Decode(r.Properties["Name"], &name); err != nil {
		return err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if f, err := p.s.owner(r); err == nil {
		delete(f.Aliases, name)
	}
	return nil
}

func (p aliasProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "FunctionName", "Name")
}

type eventConfigProvider struct{ s *Service }

func (p eventConfigProvider) set(r *resource.Resource) error {
	var want struct{ MaximumRetryAttempts, MaximumEventAgeInSeconds *int32 }
	if err := resource.Decode(r.Properties, &want); err != nil {
		return err
	}
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	f, err := p.s.owner(r)
	if err != nil {
		return err
	}
	_, err = p.s.setEventConfig(f, &lambda.PutFunctionEventInvokeConfigInput{MaximumRetryAttempts: want.MaximumRetryAttempts, MaximumEventAgeInSeconds: want.MaximumEventAgeInSeconds})
	return err
}

func (p eventConfigProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	return &resource.Physical{ID: name(r)}, p.set(r)
}

func (p eventConfigProvider) Update(_ context.Context, old *resource.Physical, _, to *resource.Resource) (*resource.Physical, error) {
	return old, p.set(to)
}

func (p eventConfigProvider) Delete(_ context.Context, _ *resource.Physical, r *resource.Resource) error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if f, err := p.s.owner(r); err == nil {
		delete(f.Events, eventKey(f.qualifier))
	}
	return nil
}

func (p eventConfigProvider) Replaces(property string, _, _ any) resource.Replacement {
	return replacedBy(property, "FunctionName", "Qualifier")
}

type permissionProvider struct{ s *Service }

func (p permissionProvider) Create(_ context.Context, r *resource.Resource) (*resource.Physical, error) {
	var want struct{ Principal, Action *string }
	if err := resource.Decode(r.Properties, &want); err != nil {
		return nil, err
	}
	id := name(r)
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	f, err := p.s.owner(r)
	if err != nil {
		return nil, err
	}
	_, err = f.permit(&lambda.AddPermissionInput{StatementId: &id, Principal: want.Principal, Action: want.Action})
	return &resource.Physical{ID: id}, err
}

func (p permissionProvider) Update(_ context.Context, old *resource.Physical, _, _ *resource.Resource) (*resource.Physical, error) {
	return old, nil
}

func (p permissionProvider) Delete(_ context.Context, old *resource.Physical, r *resource.Resource) error {
	p.s.mu.Lock()
	defer p.s.mu.Unlock()
	if f, err := p.s.owner(r); err == nil {
		delete(f.Policy, old.ID)
	}
	return nil
}

// Replaces says that every change of a permission is another one.
func (p permissionProvider) Replaces(string, any, any) resource.Replacement { return resource.Always }
