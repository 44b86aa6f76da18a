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

// DescribeConcurrency reads what a stack's function and its account may have.
func DescribeConcurrency(ctx context.Context, cfg aws.Config, stack Stack) (Concurrency, error) {
	client := lambda.NewFromConfig(cfg)
	c := Concurrency{Reserved: -1}
	reserved, err := client.GetFunctionConcurrency(ctx, &lambda.GetFunctionConcurrencyInput{FunctionName: aws.String(stack.Function())})
	if err != nil {
		return c, fmt.Errorf("concurrency of function %s: %w", stack.Function(), err)
	}
	if n := reserved.ReservedConcurrentExecutions; n != nil {
		c.Reserved = int(*n)
	}
	settings, err := client.GetAccountSettings(ctx, &lambda.GetAccountSettingsInput{})
	if err != nil {
		return c, fmt.Errorf("settings of Lambda in the account: %w", err)
	}
	if limit := settings.AccountLimit; limit != nil {
		c.Account, c.Unreserved = int(limit.ConcurrentExecutions), int(aws.ToInt32(limit.UnreservedConcurrentExecutions))
	}
	return c, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
