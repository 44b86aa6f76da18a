package artifact

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// Live is the alias by which a function is invoked: it moves to a version when all of that is there.
const Live = "live"

// KeptBuilds is how many builds stay to come back to: images in the repository (see the template) and
// versions of the function.
const KeptBuilds = 10

// VersionAPI is the part of Lambda's client by which versions are published.
type VersionAPI interface {
	configurationAPI
	PublishVersion(context.Context, *lambda.PublishVersionInput, ...func(*lambda.Options)) (*lambda.PublishVersionOutput, error)
	GetAlias(context.Context, *lambda.GetAliasInput, ...func(*lambda.Options)) (*lambda.GetAliasOutput, error)
	CreateAlias(context.Context, *lambda.CreateAliasInput, ...func(*lambda.Options)) (*lambda.CreateAliasOutput, error)
	UpdateAlias(context.Context, *lambda.UpdateAliasInput, ...func(*lambda.Options)) (*lambda.UpdateAliasOutput, error)
	ListVersionsByFunction(context.Context, *lambda.ListVersionsByFunctionInput, ...func(*lambda.Options)) (*lambda.ListVersionsByFunctionOutput, error)
	DeleteFunction(context.Context, *lambda.DeleteFunctionInput, ...func(*lambda.Options)) (*lambda.DeleteFunctionOutput, error)
}

// Publication puts what a function is now behind its alias.
type Publication struct {
	API VersionAPI
	// Function is its name, without a qualifier.
	Function string
	// Poll is the time between two looks at a version that is being made; 0 = 2 s.
	Poll time.Duration
}

// Published is what a publication did.
type Published struct {
	Version string
	// Moved says whether the alias was elsewhere before; Deleted are the versions that are gone now.
	Moved   bool
	Deleted []string
}

// Publish makes a version of the code with that CodeSHA256 and of the settings around it, moves the alias
// to it, and deletes the versions before the newest KeptBuilds. What has not changed since the last version
// is no new one. Calls that go on end on the version that they began with.
func (p *Publication) Publish(ctx context.Context, sum string) (*Published, error) {
	made, err := p.API.PublishVersion(ctx, &lambda.PublishVersionInput{FunctionName: &p.Function, CodeSha256: &sum})
	if err != nil {
		return nil, fmt.Errorf("version of function %s: %w", p.Function, err)
	}
	published := &Published{Version: aws.ToString(made.Version)}
	if err := p.awaitActive(ctx, published.Version); err != nil {
		return nil, err
	}
	if published.Moved, err = p.move(ctx, published.Version); err != nil {
		return nil, err
	}
	published.Deleted, err = p.clean(ctx, published.Version)
	return published, err
}

// awaitActive waits until a version can be invoked.
func (p *Publication) awaitActive(ctx context.Context, version string) error {
	within, cancel := context.WithTimeoutCause(ctx, updateWithin, fmt.Errorf("version %s of function %s: not ready within %s", version, p.Function, updateWithin))
	defer cancel()
	out, err := settle(within, p.API, p.Function+":"+version, p.Poll)
	if err == nil && out.State == types.StateFailed {
		return fmt.Errorf("version %s of function %s: %s", version, p.Function, aws.ToString(out.StateReason))
	}
	return err
}

// move points the alias at a version. A stack has the alias; who made the function otherwise gets it here.
func (p *Publication) move(ctx context.Context, version string) (moved bool, err error) {
	alias, err := p.API.GetAlias(ctx, &lambda.GetAliasInput{FunctionName: &p.Function, Name: aws.String(Live)})
	_, missing := errors.AsType[*types.ResourceNotFoundException](err)
	switch {
	case missing:
		_, err = p.API.CreateAlias(ctx, &lambda.CreateAliasInput{FunctionName: &p.Function, Name: aws.String(Live), FunctionVersion: &version})
	case err != nil:
	case aws.ToString(alias.FunctionVersion) == version:
		return false, nil
	default:
		_, err = p.API.UpdateAlias(ctx, &lambda.UpdateAliasInput{FunctionName: &p.Function, Name: aws.String(Live), FunctionVersion: &version, RevisionId: alias.RevisionId})
	}
	if err != nil {
		return false, fmt.Errorf("alias %s of function %s: %w", Live, p.Function, err)
	}
	return true, nil
}

// clean deletes the versions before the newest ones. One that another alias points at stays, too.
func (p *Publication) clean(ctx context.Context, live string) (deleted []string, err error) {
	var numbers []int
	for in := (&lambda.ListVersionsByFunctionInput{FunctionName: &p.Function}); ; {
		page, err := p.API.ListVersionsByFunction(ctx, in)
		if err != nil {
			return nil, fmt.Errorf("versions of function %s: %w", p.Function, err)
		}
		for i := range page.Versions {
			if n, err := strconv.Atoi(aws.ToString(page.Versions[i].Version)); err == nil { // the rest is $LATEST
				numbers = append(numbers, n)
			}
		}
		if in.Marker = page.NextMarker; aws.ToString(in.Marker) == "" {
			break
		}
	}
	slices.Sort(numbers)
	for _, n := range numbers[:max(0, len(numbers)-KeptBuilds)] {
		version := strconv.Itoa(n)
		if version == live {
			continue
		}
		_, err := p.API.DeleteFunction(ctx, &lambda.DeleteFunctionInput{FunctionName: &p.Function, Qualifier: &version})
		if _, inUse := errors.AsType[*types.ResourceConflictException](err); inUse {
			continue
		}
		if err != nil {
			return deleted, fmt.Errorf("delete version %s of function %s: %w", version, p.Function, err)
		}
		deleted = append(deleted, version)
	}
	return deleted, nil
}
