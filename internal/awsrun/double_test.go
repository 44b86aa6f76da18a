package awsrun

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	smithy "github.com/aws/smithy-go/middleware"
)

// double answers the calls of the SDK's clients by their operation, before they reach the wire.
type double map[string]func(input any) (output any, err error)

func (d double) config(t *testing.T) aws.Config {
	answer := smithy.InitializeMiddlewareFunc("double", func(ctx context.Context, in smithy.InitializeInput, _ smithy.InitializeHandler) (smithy.InitializeOutput, smithy.Metadata, error) {
		operation := middleware.GetOperationName(ctx)
		call, ok := d[operation]
		if !ok {
			t.Errorf("unexpected call of %s", operation)
			return smithy.InitializeOutput{}, smithy.Metadata{}, fmt.Errorf("unexpected %s", operation)
		}
		output, err := call(in.Parameters)
		return smithy.InitializeOutput{Result: output}, smithy.Metadata{}, err
	})
	return aws.Config{Region: "eu-west-1", APIOptions: []func(*smithy.Stack) error{
		func(stack *smithy.Stack) error { return stack.Initialize.Add(answer, smithy.After) },
	}}
}

// jumpClock is a clock whose sleeps take no time.
type jumpClock struct {
	mu  sync.Mutex
	now time.Time
	// slept, unless nil, is called after each sleep.
	slept func(now time.Time)
}

func newJumpClock() *jumpClock {
	return &jumpClock{now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
}

func (c *jumpClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *jumpClock) Sleep(ctx context.Context, d time.Duration) error {
	c.mu.Lock()
	c.now = c.now.Add(d)
	now := c.now
	c.mu.Unlock()
	if c.slept != nil {
		c.slept(now)
	}
	return context.Cause(ctx)
}
