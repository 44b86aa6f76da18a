package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
)

// logLines is how much of a log goes into an error.
const logLines = 8

// explain says what an error of a deployed run means and what to try (load-cli.md 17).
func (d *deployment) explain(ctx context.Context, err error) error {
	if err == nil || hintOf(err) != "" || isUsage(err) {
		return err
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	if hint := d.advice(ctx, err); hint != "" {
		return withHint(err, hint)
	}
	return awsError(err, d.account.Profile)
}

func (d *deployment) advice(ctx context.Context, err error) string {
	if stopped, ok := errors.AsType[*awsrun.StoppedError](err); ok {
		return d.adviceOnStop(ctx, stopped)
	}
	if refused, ok := errors.AsType[*awsrun.NotStartedError](err); ok && refused.NoCapacity() {
		return capacityAdvice
	}
	if failed, ok := errors.AsType[*functions.Failure](err); ok {
		return d.adviceOnFunction(failed)
	}
	switch {
	case errors.Is(err, awsrun.ErrNotDeployed), errors.Is(err, functions.ErrNotFound):
		return "deploy it first: " + d.command("deploy") + " --vpc-id vpc-… --subnet-ids subnet-…,subnet-… -C FOLDER"
	case errors.Is(err, awsrun.ErrStartTimeout):
		return "look at " + d.command("doctor") + ", or restart what is there: " + d.command("connect") + " --force"
	case errors.Is(err, awsrun.ErrAgentTimeout), errors.Is(err, awsrun.ErrOverBeforeAgent):
		return "the task needs the permissions ssmmessages:* of its role, a route to the ssmmessages endpoint (NAT or an interface endpoint), and a writable root file system"
	}
	return ""
}

const capacityAdvice = "there is no Fargate capacity at the moment: try again later, in other subnets, or with --capacity-provider FARGATE"

func (d *deployment) adviceOnStop(ctx context.Context, stopped *awsrun.StoppedError) string {
	reason := stopped.Task.StopReason
	for _, c := range stopped.Task.Containers {
		reason += " " + c.Reason
	}
	switch {
	case stopped.Interrupted():
		return "AWS took the Spot capacity back: run it again, or with --capacity-provider FARGATE"
	case stopped.NoCapacity():
		return capacityAdvice
	case strings.Contains(reason, "CannotPullContainer"):
		return "push the image with " + d.command("push") + ", and check that the subnets have NAT or the endpoints ecr.api, ecr.dkr and s3"
	case strings.Contains(reason, "ResourceInitializationError"):
		return "the log group is missing or the network does not reach AWS: check NAT or the endpoints logs, ecr.api, ecr.dkr and s3 with " + d.command("doctor")
	}
	source := d.stack.MasterLog(stopped.Task.ID)
	if c, ok := stopped.ContainerFailed(); ok && c.Name == awsrun.OrchestratorContainer {
		source = d.stack.OrchestratorLog(stopped.Task.ID)
	}
	return d.lastLines(ctx, source, stopped.Task.Created)
}

// lastLines are the end of a log, to be shown below an error.
func (d *deployment) lastLines(ctx context.Context, source awsrun.LogSource, since time.Time) string {
	lines, err := d.logs.Last(ctx, source, since, logLines)
	switch {
	case err != nil:
		return fmt.Sprintf("its log could not be read: %v", err)
	case len(lines) == 0:
		return "it has logged nothing; look at " + d.command("logs")
	}
	return "its log ends with:\n  " + strings.Join(lines, "\n  ")
}

func (d *deployment) adviceOnFunction(failed *functions.Failure) string {
	if failed.Throttled {
		return fmt.Sprintf("no concurrency is left for %s: check its reserved concurrency and the limit of the account with %s", d.stack.Function(), d.command("doctor"))
	}
	parts := append([]string{}, failed.Stack...)
	if log := strings.TrimSpace(failed.Log); log != "" {
		parts = append(parts, "its log ends with:", log)
	}
	return strings.Join(parts, "\n")
}
