package tunnel

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"

	"github.com/zeroae/zae-limiter-go/internal/account"
)

// The documents that forward a port. The second lets its user reach any host of the VPC, so that
// callers often may use only the first (aws.md 5.1); some may use only the second.
const (
	documentPort       = "AWS-StartPortForwardingSession"
	documentRemoteHost = "AWS-StartPortForwardingSessionToRemoteHost"
)

// terminateWithin bounds the call that ends a session for good.
const terminateWithin = 10 * time.Second

// startSession starts a session, and waits for an agent that has not registered itself yet; that of a task
// that ends never will.
func (t *Tunnel) startSession(ctx context.Context) (*ssm.StartSessionInput, *ssm.StartSessionOutput, error) {
	waited, cancel := context.WithTimeout(ctx, t.config.ConnectWithin)
	defer cancel()
	for {
		request, response, err := t.startOnce(ctx)
		if _, not := errors.AsType[*types.TargetNotConnected](err); !not {
			return request, response, err
		}
		if running, reason := t.config.StillRunning(ctx); !running && ctx.Err() == nil {
			return nil, nil, fmt.Errorf("%w: %s", ErrTaskStopped, reason)
		}
		t.tell(NotConnected, "the task's agent has not registered itself yet")
		if sleep(waited, t.config.RetryEvery) != nil {
			if ctx.Err() != nil {
				return nil, nil, ctx.Err()
			}
			return nil, nil, &account.Error{
				Err:  fmt.Errorf("agent of target %s is not connected after %v: %w", t.config.Target, t.config.ConnectWithin, err),
				Hint: "the task role needs the four ssmmessages actions, the subnets a route to ssmmessages." + t.region() + " (NAT or an interface endpoint) and the container a writable root file system; a container serves at most 2 sessions at the same time",
			}
		}
	}
}

// startOnce starts a session with the document that the caller may use.
func (t *Tunnel) startOnce(ctx context.Context) (*ssm.StartSessionInput, *ssm.StartSessionOutput, error) {
	request := t.request(documentPort)
	response, err := t.client.StartSession(ctx, request)
	if err == nil {
		return request, response, nil
	}
	explained := account.Explain(err, t.config.Account.Profile)
	denied, ok := errors.AsType[*account.Error](explained)
	if !ok || denied.Kind != account.Denied {
		return nil, nil, explained
	}
	if strings.Contains(denied.Resource, ":task/") {
		denied.Hint = "ssm:StartSession on the task is needed for the tunnel. An organisation may deny it and allow only ecs:ExecuteCommand, a shell: no tunnel is possible then, but `load benchmark --mode lambda` needs none"
		return nil, nil, denied
	}
	request = t.request(documentRemoteHost)
	if response, second := t.client.StartSession(ctx, request); second == nil {
		return request, response, nil
	}
	denied.Hint = "ssm:StartSession is needed on the task and on document/" + documentPort + ": see `zae-limiter load iam-policy --for connect`"
	return nil, nil, denied
}

func (t *Tunnel) request(document string) *ssm.StartSessionInput {
	parameters := map[string][]string{
		"portNumber":      {strconv.Itoa(t.config.RemotePort)},
		"localPortNumber": {strconv.Itoa(t.port)},
	}
	if document == documentRemoteHost {
		parameters["host"] = []string{"localhost"}
	}
	return &ssm.StartSessionInput{Target: aws.String(t.config.Target), DocumentName: aws.String(document), Parameters: parameters}
}

// terminate ends a session for good: one that is left open counts against the container's limit. It
// works also when ctx is done.
func (t *Tunnel) terminate(ctx context.Context, session string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), terminateWithin)
	defer cancel()
	_, err := t.client.TerminateSession(ctx, &ssm.TerminateSessionInput{SessionId: &session})
	if _, gone := errors.AsType[*types.DoesNotExistException](err); err != nil && !gone {
		return fmt.Errorf("session %s may still be open: %w", session, account.Explain(err, t.config.Account.Profile))
	}
	return nil
}

func (t *Tunnel) region() string { return t.config.Account.Region() }

// sleep waits, unless ctx ends before.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}
