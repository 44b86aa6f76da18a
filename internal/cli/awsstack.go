package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/iam"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// stacker works on stacks for a command: it tells what happens on stderr and turns errors into advice.
type stacker struct {
	app     *app
	account *account.Account
	stacks  *stack.Client
	// warnings are those that were printed, for the JSON document.
	warnings []string
}

func (a *app) openStacks(ctx context.Context, flags accountFlags) (*stacker, error) {
	opened, err := a.openAccount(ctx, flags)
	if err != nil {
		return nil, interruption(ctx, err)
	}
	return &stacker{app: a, account: opened, stacks: &stack.Client{API: cloudformation.NewFromConfig(opened.Config), Poll: pollOf(opened)}}, nil
}

// pollOf is how often stacks, tasks and functions are looked at while they change: what plays AWS on this
// machine is done at once. 0 = as the package does by itself.
func pollOf(opened *account.Account) time.Duration {
	if opened.EndpointURL != "" {
		return 100 * time.Millisecond
	}
	return 0
}

// warn prints a warning and keeps it for the document.
func (s *stacker) warn(text string) {
	s.warnings = append(s.warnings, text)
	s.app.warn("%s", text)
}

func (s *stacker) tell(format string, args ...any) { fmt.Fprintf(s.app.stderr, format+"\n", args...) }

// apply applies a request and shows changes and events.
func (s *stacker) apply(ctx context.Context, r *stack.Request) (*stack.Result, error) {
	r.Note = func(text string) { s.tell("%s", text) }
	r.Event = s.event
	r.Planned = func(changes []stack.Change) {
		for i := range changes {
			s.tell("  %s", s.planned(&changes[i]))
		}
	}
	return s.stacks.Apply(ctx, r)
}

func (s *stacker) planned(c *stack.Change) string {
	line := fmt.Sprintf("%-7s %s (%s)", c.Action, c.LogicalID, c.Type)
	if c.Replaces() && c.Replacement != "" {
		line += ", replacement: " + c.Replacement
	}
	return line
}

// event shows a resource when it has reached an end, so that each is printed once.
func (s *stacker) event(e stack.Event) {
	if !e.Done() {
		return
	}
	line := fmt.Sprintf("  %-24s %s", e.Status, e.LogicalID)
	if e.Failed() {
		line = s.app.stderr.Paint(term.Red, line) + ": " + e.Reason
	}
	s.tell("%s", line)
}

// explain says what an error means and what to try.
func (s *stacker) explain(ctx context.Context, err error) error {
	if err == nil || hintOf(err) != "" || isUsage(err) {
		return err
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	if missing, ok := errors.AsType[*awsdeploy.NoTargetError](err); ok {
		return withHint(err, fmt.Sprintf("in region %s; deploy it: zae-limiter deploy --name %s --region %s", s.account.Region(), missing.Name, s.account.Region()))
	}
	switch {
	case errors.Is(err, awsdeploy.ErrSubnets):
		return usage(err)
	case errors.Is(err, awsdeploy.ErrConcurrency):
		return withHint(err, "leave it unreserved with --reserved-concurrency none, or ask for a higher quota")
	case errors.Is(err, artifact.ErrNoFunction):
		return withHint(err, "deploy the load test first: "+s.loadCommand("deploy", "NAME"))
	}
	return awsError(err, s.account.Profile)
}

// loadCommand is a command line of ours, for advice.
func (s *stacker) loadCommand(words, name string) string {
	return fmt.Sprintf("zae-limiter load %s --name %s --region %s", words, name, s.account.Region())
}

func (s *stacker) tables() *dynamodb.Client { return dynamodb.NewFromConfig(s.account.Config) }
func (s *stacker) policies() *iam.Client    { return iam.NewFromConfig(s.account.Config) }

// limiters are the usable stacks of limiters, for a choice.
func (s *stacker) limiters(ctx context.Context) ([]*stack.Stack, error) {
	found, err := s.stacks.Discover(ctx, resourcegroupstaggingapi.NewFromConfig(s.account.Config))
	if err != nil {
		return nil, err
	}
	var usable []*stack.Stack
	for _, one := range found.Stacks {
		if one.Type() == stack.TypeLimiter && one.Usable() {
			usable = append(usable, one)
		}
	}
	return usable, nil
}

// limiterName returns the name given, or asks for one of the limiters that there are.
func (s *stacker) limiterName(ctx context.Context, given string) (string, error) {
	if given != "" {
		return given, nil
	}
	limiters, err := s.limiters(ctx)
	if err != nil {
		return "", err
	}
	if len(limiters) == 0 {
		return "", withHint(fmt.Errorf("there are no limiter stacks in region %s", s.account.Region()), "deploy one: zae-limiter deploy --name NAME --region "+s.account.Region())
	}
	var labels []string
	for _, l := range limiters {
		labels = append(labels, l.Name)
	}
	chosen, err := s.app.choose(ctx, "Limiters in "+s.account.Region()+":", labels, false)
	if err != nil {
		return "", err
	}
	return limiters[chosen[0]].Name, nil
}

// needTerminal refuses a command that would have to ask for options and cannot.
func (a *app) needTerminal(missing ...string) error {
	if len(missing) == 0 || a.interactive() {
		return nil
	}
	return usagef("%s missing, and there is no terminal to ask on", strings.Join(missing, ", "))
}
