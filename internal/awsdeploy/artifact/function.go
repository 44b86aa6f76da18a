package artifact

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// LambdaAPI is the part of Lambda's client that is used.
type LambdaAPI interface {
	GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error)
	UpdateFunctionCode(context.Context, *lambda.UpdateFunctionCodeInput, ...func(*lambda.Options)) (*lambda.UpdateFunctionCodeOutput, error)
	UpdateFunctionConfiguration(context.Context, *lambda.UpdateFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.UpdateFunctionConfigurationOutput, error)
}

// ErrNoFunction says that the function does not exist.
var ErrNoFunction = errors.New("function not found")

// defaultPoll is the time between two looks at a function.
const defaultPoll = 2 * time.Second

// updateWithin bounds how long a function may take to accept an update; in a VPC that is about a minute.
const updateWithin = 10 * time.Minute

// lambdaArchitectures are Lambda's words for Go's.
var lambdaArchitectures = map[string]types.Architecture{"amd64": types.ArchitectureX8664, "arm64": types.ArchitectureArm64}

// Function is a function whose code is updated.
type Function struct {
	API  LambdaAPI
	Name string
	// Poll is the time between two looks at an update; 0 = 2 s.
	Poll time.Duration
}

// CodeSHA256 is how Lambda names a package.
func CodeSHA256(code []byte) string {
	sum := sha256.Sum256(code)
	return base64.StdEncoding.EncodeToString(sum[:])
}

// Update gives the function the package with that CodeSHA256, and the runtime that starts it. It reports
// whether code was sent: what the function has already is not even made.
func (f *Function) Update(ctx context.Context, arch, sum string, code func() ([]byte, error)) (sent bool, err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, updateWithin, fmt.Errorf("function %s: not ready within %s", f.Name, updateWithin))
	defer cancel()
	now, err := f.settle(ctx)
	if err != nil {
		return false, err
	}
	if aws.ToString(now.CodeSha256) != sum || len(now.Architectures) != 1 || now.Architectures[0] != lambdaArchitectures[arch] {
		archive, err := code()
		if err != nil {
			return false, err
		}
		_, err = f.API.UpdateFunctionCode(ctx, &lambda.UpdateFunctionCodeInput{
			FunctionName: aws.String(f.Name), ZipFile: archive, Architectures: []types.Architecture{lambdaArchitectures[arch]},
		})
		if err != nil {
			return false, fmt.Errorf("code of function %s: %w", f.Name, err)
		}
		sent = true
		if now, err = f.updated(ctx); err != nil {
			return sent, err
		}
	}
	// A stack cannot be made with this runtime, because its placeholder is Python: see the template.
	if now.Runtime != types.RuntimeProvidedal2023 {
		_, err := f.API.UpdateFunctionConfiguration(ctx, &lambda.UpdateFunctionConfigurationInput{
			FunctionName: aws.String(f.Name), Runtime: types.RuntimeProvidedal2023,
		})
		if err != nil {
			return sent, fmt.Errorf("runtime of function %s: %w", f.Name, err)
		}
		if _, err := f.updated(ctx); err != nil {
			return sent, err
		}
	}
	return sent, nil
}

// updated waits for the end of an update that was accepted.
func (f *Function) updated(ctx context.Context) (*lambda.GetFunctionConfigurationOutput, error) {
	out, err := f.settle(ctx)
	if err == nil && out.LastUpdateStatus == types.LastUpdateStatusFailed {
		return nil, fmt.Errorf("function %s: the update failed: %s", f.Name, aws.ToString(out.LastUpdateStatusReason))
	}
	return out, err
}

func (f *Function) settle(ctx context.Context) (*lambda.GetFunctionConfigurationOutput, error) {
	return settle(ctx, f.API, f.Name, f.Poll)
}

// configurationAPI tells how a function is.
type configurationAPI interface {
	GetFunctionConfiguration(context.Context, *lambda.GetFunctionConfigurationInput, ...func(*lambda.Options)) (*lambda.GetFunctionConfigurationOutput, error)
}

// settle waits until no update of a function, or of one of its versions, is under way.
func settle(ctx context.Context, api configurationAPI, name string, poll time.Duration) (*lambda.GetFunctionConfigurationOutput, error) {
	for {
		out, err := api.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(name)})
		if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
			return nil, fmt.Errorf("%w: %s", ErrNoFunction, name)
		}
		if err != nil {
			return nil, fmt.Errorf("function %s: %w", name, err)
		}
		if out.LastUpdateStatus != types.LastUpdateStatusInProgress && out.State != types.StatePending {
			return out, nil
		}
		timer := time.NewTimer(cmp.Or(poll, defaultPoll))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return nil, context.Cause(ctx)
		}
	}
}
