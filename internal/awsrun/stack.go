// Package awsrun runs load tests on a load stack that is deployed in an AWS account: it starts and
// stops the master's task, waits for it, and reads what task, function and table log and measure.
//
// Everything is asked for by the name of the limiter (Stack); nothing is kept between calls. Errors of
// the SDK are wrapped once with the operation: their meaning is for package account to say.
package awsrun

import (
	"context"
	"errors"
	"time"
)

// Names of the containers of the master's task (load-cli.md 1).
const (
	MasterContainer       = "locust-master"
	OrchestratorContainer = "worker-orchestrator"
)

// Keys of the tags on tasks and functions.
const (
	TagManagedBy  = "ManagedBy"
	TagName       = "zae-limiter:name"
	TagRun        = "zae-limiter:run"   // the run that a task was started for
	TagUntil      = "zae-limiter:until" // RFC 3339: the task is left over when it is still there then
	TagBuild      = "zae-limiter:build-id"
	TagLocustfile = "zae-limiter:locustfile" // the default locustfile of the deployment
)

// ManagedBy is the value of TagManagedBy, and what StartedBy of our tasks begins with.
const ManagedBy = "zae-limiter"

// ErrNotDeployed is wrapped by errors about parts of a load stack that are not there.
var ErrNotDeployed = errors.New("there is no load stack")

// Stack is a load stack, by the name of the limiter stack that it drives. Its methods are the names of
// the stack's parts (load-cli.md 1).
type Stack string

// Name is the load stack's own name.
func (s Stack) Name() string { return string(s) + "-load" }

// Cluster is the ECS cluster.
func (s Stack) Cluster() string { return s.Name() }

// Service is the ECS service: it runs no task, and keeps the network settings of the tasks.
func (s Stack) Service() string { return s.Name() + "-master" }

// Family is the family of the master's task definitions.
func (s Stack) Family() string { return s.Name() + "-master" }

// Function is the worker function.
func (s Stack) Function() string { return s.Name() + "-worker" }

// Worker is what is invoked of the function: the version that the last push made.
func (s Stack) Worker() string { return s.Function() + ":live" }

// TaskLogs is the log group of both containers of the master's task.
func (s Stack) TaskLogs() string { return "/aws/ecs/" + s.Family() }

// FunctionLogs is the log group of the worker function.
func (s Stack) FunctionLogs() string { return "/aws/lambda/" + s.Function() }

// Clock is the time that waits and polls go by.
type Clock interface {
	Now() time.Time
	// Sleep returns early, with the context's error, when the context ends.
	Sleep(ctx context.Context, d time.Duration) error
}

// WallClock is the time of this machine.
type WallClock struct{}

// Now implements Clock.
func (WallClock) Now() time.Time { return time.Now() }

// Sleep implements Clock.
func (WallClock) Sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
