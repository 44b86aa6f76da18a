// Package functions invokes the worker function: asynchronously, as launcher of an orchestrator, and
// synchronously, for headless runs.
package functions

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

// Launcher starts workers as asynchronous invocations (load-cli.md 12.1). It is safe for concurrent use.
type Launcher struct {
	client *lambda.Client
	config LauncherConfig
}

// LauncherConfig says what is invoked, and with which event.
type LauncherConfig struct {
	// Function is a name, name:alias or an ARN.
	Function string
	// Event is what every worker gets; the launcher adds the worker's id and the deadline.
	Event invocation.Config
	// PendingTimeout is when a worker that has not joined is given up: an event that arrives later is
	// refused by the function.
	PendingTimeout time.Duration
	// Now is the clock; nil = time.Now.
	Now func() time.Time
}

// NewLauncher returns a launcher in the account of a configuration.
func NewLauncher(account aws.Config, config LauncherConfig) *Launcher {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Launcher{client: lambda.NewFromConfig(account, once), config: config}
}

// once makes a call without the SDK's retries: a repeated invocation may be a second one.
func once(o *lambda.Options) { o.Retryer = aws.NopRetryer{} }

// Start invokes the function as the worker with the given id, and returns when the event is queued.
func (l *Launcher) Start(ctx context.Context, id string) error {
	event := l.config.Event
	event.WorkerID = id
	event.DeadlineS = float64(l.config.Now().Add(l.config.PendingTimeout).UnixMilli()) / 1000
	payload, err := json.Marshal(invocation.Event{Config: event})
	if err != nil {
		return fmt.Errorf("event of worker %s: %w", id, err)
	}
	_, err = l.client.Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &l.config.Function, InvocationType: types.InvocationTypeEvent, Payload: payload,
	})
	if isThrottle(err) {
		return fmt.Errorf("invoke %s: %w: %w", l.config.Function, orchestrator.ErrThrottled, err)
	}
	if err != nil {
		return fmt.Errorf("invoke %s: %w", l.config.Function, err)
	}
	return nil
}

// Stop is not supported: the platform cannot end an invocation.
func (l *Launcher) Stop(context.Context, string) error {
	return fmt.Errorf("stop an invocation: %w", errors.ErrUnsupported)
}

// isThrottle tells refusals for rate or concurrency from other errors.
func isThrottle(err error) bool {
	var response *awshttp.ResponseError
	return errors.As(err, &response) && response.HTTPStatusCode() == http.StatusTooManyRequests
}
