package awsrun

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
)

// Concurrency is how many executions a function can have at once.
type Concurrency struct {
	// Reserved is what is kept for the function; -1 when nothing is.
	Reserved int
	// Account is the limit of the account, Unreserved what of it is not kept for any function.
	Account, Unreserved int
}

// Most is the largest number of workers at once.
func (c Concurrency) Most() int {
	if c.Reserved >= 0 {
		return c.Reserved
	}
	return c.Unreserved
}

// DescribeAccountConcurrency reads what functions of an account may have together.
func DescribeAccountConcurrency(ctx context.Context, cfg aws.Config) (Concurrency, error) {
	c := Concurrency{Reserved: -1}
	settings, err := lambda.NewFromConfig(cfg).GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		return c, fmt.Errorf("settings of Lambda in the account: %w", err)
	}
	if limit := settings.AccountLimit; limit != nil {
		c.Account, c.Unreserved = int(limit.ConcurrentExecutions), int(aws.ToInt32(limit.UnreservedConcurrentExecutions))
	}
	return c, nil
}

// DescribeConcurrency reads what a stack's function and its account may have.
func DescribeConcurrency(ctx context.Context, cfg aws.Config, stack Stack) (Concurrency, error) {
	reserved, err := lambda.NewFromConfig(cfg).GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: aws.String(stack.Function())})
	if err != nil {
		return Concurrency{}, fmt.Errorf("concurrency of function %s: %w", stack.Function(), err)
	}
	c, err := DescribeAccountConcurrency(ctx, cfg)
	if n := reserved.ReservedConcurrentExecutions; n != nil {
		c.Reserved = int(*n)
	}
	return c, err
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
