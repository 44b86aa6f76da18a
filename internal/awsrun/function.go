package awsrun

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

// oneVCPU is the memory with which a function gets one virtual processor, in MB.
const oneVCPU = 1769

// Function is how the worker function is configured.
type Function struct {
	Name     string
	MemoryMB int
	Timeout  time.Duration
	ARM      bool
	// BuildID and Locustfile are those of the deployment; "" when it has none.
	BuildID, Locustfile string
	// State and Update are Lambda's words: Active and Successful when the function can be called.
	State, Update string
}

// VCPU is the number of virtual processors.
func (f *Function) VCPU() float64 { return float64(f.MemoryMB) / oneVCPU }

// StopsAfter is how long a headless run may last before the function's own limit ends it (load-cli.md
// 11.2): nine tenths of the timeout, in whole seconds.
func (f *Function) StopsAfter() time.Duration {
	return time.Duration(int(0.9*f.Timeout.Seconds())) * time.Second
}

// DescribeFunction reads the configuration of a stack's function. A missing one wraps ErrNotDeployed.
func DescribeFunction(ctx context.Context, cfg aws.Config, stack Stack) (*Function, error) {
	out, err := lambda.NewFromConfig(cfg).GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: aws.String(stack.Function())})
	if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
		return nil, fmt.Errorf("function %s: %w (%s)", stack.Function(), ErrNotDeployed, missing.ErrorMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("describe function %s: %w", stack.Function(), err)
	}
	f := &Function{
		Name: stack.Function(), MemoryMB: int(aws.ToInt32(out.MemorySize)), Timeout: time.Duration(aws.ToInt32(out.Timeout)) * time.Second,
		ARM: slices.Contains(out.Architectures, types.ArchitectureArm64), State: string(out.State), Update: string(out.LastUpdateStatus),
	}
	if out.Environment != nil {
		f.BuildID, f.Locustfile = out.Environment.Variables["ZAEL_BUILD_ID"], out.Environment.Variables["LOCUSTFILE"]
	}
	return f, nil
}

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
