package awsdeploy

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// ConcurrencyAPI is the part of Lambda's client that tells how many functions may run.
type ConcurrencyAPI interface {
	GetAccountSettings(context.Context, *lambda.GetAccountSettingsInput, ...func(*lambda.Options)) (*lambda.GetAccountSettingsOutput, error)
	GetFunctionConcurrency(context.Context, *lambda.GetFunctionConcurrencyInput, ...func(*lambda.Options)) (*lambda.GetFunctionConcurrencyOutput, error)
}

// leastUnreserved is what an account must keep for functions without a reservation, where it has that
// much at all (aws.md 5.4).
const leastUnreserved = 100

// ErrConcurrency says that the account cannot reserve what is wanted.
var ErrConcurrency = errors.New("reserved concurrency")

// CheckConcurrency refuses a reservation that the account has no room for, which would end in a roll-back
// after minutes. Without a reservation it returns a warning when the account's limit is less than
// maxWorkers and their replacements need.
func CheckConcurrency(ctx context.Context, api ConcurrencyAPI, function string, reserve, maxWorkers int) (warning string, err error) {
	settings, err := api.GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		return "", fmt.Errorf("account settings of Lambda: %w", err)
	}
	limit, unreserved := int(settings.AccountLimit.ConcurrentExecutions), int(aws.ToInt32(settings.AccountLimit.UnreservedConcurrentExecutions))
	if reserve == 0 {
		if limit < 2*maxWorkers {
			return fmt.Sprintf("the account may run %d functions at a time; %d workers and their replacements need up to %d: ask for a higher quota, or lower --max-workers", limit, maxWorkers, 2*maxWorkers), nil
		}
		return "", nil
	}
	own, err := api.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: aws.String(function)})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); err != nil && !missing {
		return "", fmt.Errorf("concurrency of function %s: %w", function, err)
	}
	if err == nil {
		unreserved += int(aws.ToInt32(own.ReservedConcurrentExecutions))
	}
	if unreserved-reserve < min(leastUnreserved, limit) {
		return "", fmt.Errorf("%w: %d cannot be reserved: of the account's limit of %d functions at a time %d are not reserved, and %d must stay so", ErrConcurrency, reserve, limit, unreserved, min(leastUnreserved, limit))
	}
	return "", nil
}
