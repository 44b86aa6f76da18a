package lambda

import (
	"cmp"
	"context"
	"crypto/rand"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func (s *Service) publishVersion(_ context.Context, call *protocol.Call, in *lambda.PublishVersionInput) (*lambda.PublishVersionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "PublishVersion", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if err := s.alterable(f); err != nil {
		return nil, err
	}
	if in.CodeSha256 != nil && *in.CodeSha256 != *f.Latest.CodeSha256 {
		return nil, invalid("CodeSHA256 (%s) is different from current CodeSHA256 in $LATEST (%s). Please try again with the CodeSHA256 in $LATEST.", *in.CodeSha256, *f.Latest.CodeSha256)
	}
	return outputOf[lambda.PublishVersionOutput](s.publish(f.function, aws.ToString(in.Description))), nil
}

// publish freezes what is there under the next number; when nothing changed since the last one, that is
// the answer. s.mu is held.
func (s *Service) publish(f *function, description string) types.FunctionConfiguration {
	if n := len(f.Versions); n > 0 && aws.ToString(f.Versions[n-1].RevisionId) == aws.ToString(f.Latest.RevisionId) {
		return s.shown(f, f.Versions[n-1])
	}
	version := f.Latest
	number := strconv.Itoa(f.Next)
	f.Next++
	version.Version, version.FunctionArn = &number, aws.String(*f.Latest.FunctionArn+":"+number)
	if description != "" {
		version.Description = &description
	}
	f.Versions = append(f.Versions, version)
	return s.shown(f, version)
}

func (s *Service) listVersions(_ context.Context, call *protocol.Call, in *lambda.ListVersionsByFunctionInput) (*lambda.ListVersionsByFunctionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "ListVersionsByFunction", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	return &lambda.ListVersionsByFunctionOutput{Versions: append([]types.FunctionConfiguration{f.Latest}, f.Versions...)}, nil
}

// setAlias points an alias at a version. s.mu is held.
func (f *found) setAlias(alias types.AliasConfiguration) (types.AliasConfiguration, error) {
	if isVersion(*alias.Name) {
		return alias, protocol.Errorf("ValidationException", "1 validation error detected: Value '%s' at 'name' failed to satisfy constraint: Member must not be a number", *alias.Name)
	}
	version := found{arn: f.arn, qualifier: aws.ToString(alias.FunctionVersion), function: f.function}
	if !isVersion(version.qualifier) {
		return alias, notFound("Function not found: %s", version.qualified())
	}
	if _, err := version.version(); err != nil {
		return alias, err
	}
	alias.AliasArn, alias.RevisionId = aws.String(f.arn+":"+*alias.Name), aws.String(rand.Text())
	f.Aliases[*alias.Name] = alias
	return alias, nil
}

func (s *Service) createAlias(_ context.Context, call *protocol.Call, in *lambda.CreateAliasInput) (*lambda.CreateAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "CreateAlias", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	if _, there := f.Aliases[aws.ToString(in.Name)]; there {
		return nil, conflict("Alias already exists: %s", f.arn+":"+*in.Name)
	}
	a, err := f.setAlias(types.AliasConfiguration{Name: in.Name, FunctionVersion: in.FunctionVersion, Description: aws.String(aws.ToString(in.Description))})
	if err != nil {
		return nil, err
	}
	return &lambda.CreateAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId}, nil
}

func (s *Service) updateAlias(_ context.Context, call *protocol.Call, in *lambda.UpdateAliasInput) (*lambda.UpdateAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, a, err := s.findAlias(call, "UpdateAlias", in.FunctionName, in.Name)
	if err != nil {
		return nil, err
	}
	a.FunctionVersion, a.Description = cmp.Or(in.FunctionVersion, a.FunctionVersion), cmp.Or(in.Description, a.Description)
	if a, err = f.setAlias(a); err != nil {
		return nil, err
	}
	return &lambda.UpdateAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId}, nil
}

func (s *Service) getAlias(_ context.Context, call *protocol.Call, in *lambda.GetAliasInput) (*lambda.GetAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, a, err := s.findAlias(call, "GetAlias", in.FunctionName, in.Name)
	if err != nil {
		return nil, err
	}
	return &lambda.GetAliasOutput{AliasArn: a.AliasArn, Description: a.Description, FunctionVersion: a.FunctionVersion, Name: a.Name, RevisionId: a.RevisionId}, nil
}

func (s *Service) deleteAlias(_ context.Context, call *protocol.Call, in *lambda.DeleteAliasInput) (*lambda.DeleteAliasOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "DeleteAlias", in.FunctionName, nil)
	if err != nil {
		return nil, err
	}
	delete(f.Aliases, aws.ToString(in.Name))
	return &lambda.DeleteAliasOutput{}, nil
}

// findAlias looks an alias up. s.mu is held.
func (s *Service) findAlias(call *protocol.Call, permission string, name, alias *string) (*found, types.AliasConfiguration, error) {
	f, err := s.find(call, permission, name, nil)
	if err != nil {
		return nil, types.AliasConfiguration{}, err
	}
	a, ok := f.Aliases[aws.ToString(alias)]
	if !ok {
		return nil, a, notFound("Cannot find alias arn: %s", f.arn+":"+aws.ToString(alias))
	}
	return f, a, nil
}
