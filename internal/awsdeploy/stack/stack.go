// Package stack works on CloudFormation stacks: it finds those of the limiter, applies a template by
// change set, deletes a stack, and tells what happened by events.
//
// Whatever state a stack was left in by an earlier attempt is dealt with first: operations under way
// are waited for, the remains of a creation that failed are removed, and what only a person can repair
// is refused by name (*BrokenError).
package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/smithy-go"
)

// API is the part of CloudFormation's client that is used.
type API interface {
	DescribeStacks(context.Context, *cfn.DescribeStacksInput, ...func(*cfn.Options)) (*cfn.DescribeStacksOutput, error)
	DescribeStackEvents(context.Context, *cfn.DescribeStackEventsInput, ...func(*cfn.Options)) (*cfn.DescribeStackEventsOutput, error)
	DescribeStackResources(context.Context, *cfn.DescribeStackResourcesInput, ...func(*cfn.Options)) (*cfn.DescribeStackResourcesOutput, error)
	CreateChangeSet(context.Context, *cfn.CreateChangeSetInput, ...func(*cfn.Options)) (*cfn.CreateChangeSetOutput, error)
	DescribeChangeSet(context.Context, *cfn.DescribeChangeSetInput, ...func(*cfn.Options)) (*cfn.DescribeChangeSetOutput, error)
	ExecuteChangeSet(context.Context, *cfn.ExecuteChangeSetInput, ...func(*cfn.Options)) (*cfn.ExecuteChangeSetOutput, error)
	DeleteChangeSet(context.Context, *cfn.DeleteChangeSetInput, ...func(*cfn.Options)) (*cfn.DeleteChangeSetOutput, error)
	DeleteStack(context.Context, *cfn.DeleteStackInput, ...func(*cfn.Options)) (*cfn.DeleteStackOutput, error)
	GetTemplate(context.Context, *cfn.GetTemplateInput, ...func(*cfn.Options)) (*cfn.GetTemplateOutput, error)
	ListImports(context.Context, *cfn.ListImportsInput, ...func(*cfn.Options)) (*cfn.ListImportsOutput, error)
}

// ErrNotFound says that there is no stack of that name.
var ErrNotFound = errors.New("stack not found")

// defaultPoll is how often a stack is looked at while it works; a change set is ready within seconds.
const defaultPoll = 3 * time.Second

// Client works on the stacks of an account and region. It is safe for concurrent use.
type Client struct {
	API API
	// Poll is the time between two looks; 0 = 3 s.
	Poll time.Duration
}

// Stack is a stack as it stands.
type Stack struct {
	Name, ID, Status, Reason  string
	Created, Updated          time.Time // Updated is zero when the stack never was
	Parameters, Outputs, Tags map[string]string
	TerminationProtection     bool
}

// Usable reports whether the last operation on the stack left it whole: its resources are there, those
// of the last update or those from before it.
func (s *Stack) Usable() bool {
	return slices.Contains([]types.StackStatus{
		types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusUpdateRollbackComplete,
		types.StackStatusUpdateCompleteCleanupInProgress, types.StackStatusUpdateRollbackCompleteCleanupInProgress,
		types.StackStatusImportComplete, types.StackStatusImportRollbackComplete,
	}, types.StackStatus(s.Status))
}

// Busy reports whether an operation is under way.
func (s *Stack) Busy() bool {
	return strings.HasSuffix(s.Status, "_IN_PROGRESS") && s.Status != string(types.StackStatusReviewInProgress)
}

// Describe returns the stack with that name or id, ErrNotFound when there is none.
func (c *Client) Describe(ctx context.Context, name string) (*Stack, error) {
	out, err := c.API.DescribeStacks(ctx, &cfn.DescribeStacksInput{StackName: aws.String(name)})
	if isMissing(err) || err == nil && len(out.Stacks) == 0 {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("describe stack %s: %w", name, err)
	}
	return fromSDK(&out.Stacks[0]), nil
}

// Resources returns the physical ids of a stack's resources by logical id.
func (c *Client) Resources(ctx context.Context, name string) (map[string]string, error) {
	out, err := c.API.DescribeStackResources(ctx, &cfn.DescribeStackResourcesInput{StackName: aws.String(name)})
	if isMissing(err) {
		return nil, fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return nil, fmt.Errorf("resources of stack %s: %w", name, err)
	}
	ids := map[string]string{}
	for _, r := range out.StackResources {
		if id := aws.ToString(r.PhysicalResourceId); id != "" && r.ResourceStatus != types.ResourceStatusDeleteComplete {
			ids[aws.ToString(r.LogicalResourceId)] = id
		}
	}
	return ids, nil
}

// Template returns the text of a stack's template as it was sent.
func (c *Client) Template(ctx context.Context, name string) (string, error) {
	out, err := c.API.GetTemplate(ctx, &cfn.GetTemplateInput{StackName: aws.String(name), TemplateStage: types.TemplateStageOriginal})
	if isMissing(err) {
		return "", fmt.Errorf("%w: %s", ErrNotFound, name)
	}
	if err != nil {
		return "", fmt.Errorf("template of stack %s: %w", name, err)
	}
	return aws.ToString(out.TemplateBody), nil
}

// Importers returns the stacks that import one of the exports, sorted: CloudFormation refuses to delete
// what they import.
func (c *Client) Importers(ctx context.Context, exports ...string) ([]string, error) {
	var names []string
	for _, export := range exports {
		in := &cfn.ListImportsInput{ExportName: aws.String(export)}
		for {
			out, err := c.API.ListImports(ctx, in)
			if isValidation(err) { // "Export … is not imported by any stack", and an export that does not exist
				break
			}
			if err != nil {
				return nil, fmt.Errorf("who imports %s: %w", export, err)
			}
			names = append(names, out.Imports...)
			if in.NextToken = out.NextToken; in.NextToken == nil {
				break
			}
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// isMissing recognises the answer about a stack that does not exist; it has no error type of its own.
func isMissing(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "ValidationError" && strings.Contains(api.ErrorMessage(), "does not exist")
}

func isValidation(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && api.ErrorCode() == "ValidationError"
}

func fromSDK(s *types.Stack) *Stack {
	stack := &Stack{
		Name: aws.ToString(s.StackName), ID: aws.ToString(s.StackId),
		Status: string(s.StackStatus), Reason: aws.ToString(s.StackStatusReason),
		Created: aws.ToTime(s.CreationTime), Updated: aws.ToTime(s.LastUpdatedTime),
		Parameters: map[string]string{}, Outputs: map[string]string{}, Tags: map[string]string{},
		TerminationProtection: aws.ToBool(s.EnableTerminationProtection),
	}
	for _, p := range s.Parameters {
		stack.Parameters[aws.ToString(p.ParameterKey)] = aws.ToString(p.ParameterValue)
	}
	for _, o := range s.Outputs {
		stack.Outputs[aws.ToString(o.OutputKey)] = aws.ToString(o.OutputValue)
	}
	for _, t := range s.Tags {
		stack.Tags[aws.ToString(t.Key)] = aws.ToString(t.Value)
	}
	return stack
}

// pause waits one poll interval.
func (c *Client) pause(ctx context.Context) error {
	poll := c.Poll
	if poll == 0 {
		poll = defaultPoll
	}
	timer := time.NewTimer(poll)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
