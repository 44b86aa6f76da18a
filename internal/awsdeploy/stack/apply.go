package stack

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Request says what a stack should be.
type Request struct {
	Name string
	// Template is the text; empty = the one that the stack has.
	Template string
	// Parameters are the values that are set. Those in Keep, and with an empty Template all others,
	// keep their present value.
	Parameters map[string]string
	Keep       []string
	// Tags replace those of the stack; nil = they stay.
	Tags map[string]string
	// Role is the ARN of the role that CloudFormation acts as; empty = the caller's permissions.
	Role string
	// DryRun makes the change set, reads it and throws it away.
	DryRun bool
	// Guard may refuse the changes of an update before they are made; nil = all are accepted.
	Guard func([]Change) error
	// Planned, Event and Note are told what is going to happen, what happens and what is repaired. Each
	// may be nil; none is called concurrently.
	Planned func([]Change)
	Event   func(Event)
	Note    func(string)
}

// Change is one line of a change set.
type Change struct {
	Action      string   `json:"action"` // Add, Modify, Remove, Import, Dynamic
	LogicalID   string   `json:"logical_id"`
	PhysicalID  string   `json:"physical_id,omitempty"`
	Type        string   `json:"type"`
	Replacement string   `json:"replacement,omitempty"` // True, False, Conditional; empty unless Modify
	Scope       []string `json:"scope,omitempty"`       // Properties, Tags, …
}

// Replaces reports whether the change takes the resource away, or may.
func (c *Change) Replaces() bool {
	return c.Action == string(types.ChangeActionRemove) || c.Action == string(types.ChangeActionModify) &&
		(c.Replacement == string(types.ReplacementTrue) || c.Replacement == string(types.ReplacementConditional))
}

// What Apply did.
const (
	Created   = "created"
	Updated   = "updated"
	Unchanged = "unchanged"
	Planned   = "planned" // a dry run
)

// Result is what an Apply did.
type Result struct {
	Action  string
	Changes []Change
	// Stack is the stack afterwards; nil after the dry run of a creation.
	Stack *Stack
}

// Apply makes a stack what the request says, by change set, and waits for it. Its errors are a
// *BrokenError for a stack that cannot be updated, a *FailedError when an operation failed, those of
// the guard, and those of CloudFormation. A cancelled context ends the waiting, not the operation.
func (c *Client) Apply(ctx context.Context, r *Request) (*Result, error) {
	before, err := c.ready(ctx, r)
	if err != nil {
		return nil, err
	}
	set, err := c.createChangeSet(ctx, r, before)
	if err != nil {
		return nil, err
	}
	changes, nothing, err := c.readChangeSet(ctx, set)
	if err != nil || nothing || r.DryRun {
		discardErr := c.discard(ctx, set)
		if err != nil || discardErr != nil {
			return nil, errors.Join(err, discardErr)
		}
		if nothing {
			return &Result{Action: Unchanged, Stack: before}, nil
		}
		if r.Planned != nil {
			r.Planned(changes)
		}
		var refused error
		if r.Guard != nil && before != nil {
			refused = r.Guard(changes)
		}
		return &Result{Action: Planned, Changes: changes, Stack: before}, refused
	}
	if before != nil && r.Guard != nil {
		if err := r.Guard(changes); err != nil {
			return nil, errors.Join(err, c.discard(ctx, set))
		}
	}
	if r.Planned != nil {
		r.Planned(changes)
	}
	was := string(types.StackStatusReviewInProgress)
	if before != nil {
		was = before.Status
	}
	after, err := c.execute(ctx, r, set, was)
	if err != nil {
		return nil, err
	}
	action := Updated
	if before == nil {
		action = Created
	}
	return &Result{Action: action, Changes: changes, Stack: after}, nil
}

// ready brings the stack into a state that a change set can start from. It returns nil when the stack
// has to be created.
func (c *Client) ready(ctx context.Context, r *Request) (*Stack, error) {
	for {
		s, err := c.Describe(ctx, r.Name)
		if errors.Is(err, ErrNotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		switch status := types.StackStatus(s.Status); {
		case s.Usable() && !s.Busy():
			return s, nil
		case s.Busy():
			note(r, fmt.Sprintf("stack %s is in state %s: waiting for its end", s.Name, s.Status))
			if err := c.follow(ctx, s.ID, r.Event); err != nil {
				return nil, err
			}
		case status == types.StackStatusReviewInProgress, status == types.StackStatusDeleteComplete:
			// The empty shell that a change set leaves, which takes another one.
			return nil, nil
		case status == types.StackStatusRollbackComplete, status == types.StackStatusCreateFailed:
			if r.DryRun {
				return nil, &BrokenError{s.Name, s.Status, "its creation failed; without --dry-run its remains are deleted and it is created anew"}
			}
			note(r, fmt.Sprintf("stack %s is in state %s: deleting the remains of the creation that failed", s.Name, s.Status))
			if err := c.Delete(ctx, &Deletion{Name: s.ID, Event: r.Event}); err != nil {
				return nil, err
			}
		case status == types.StackStatusUpdateRollbackFailed:
			return nil, &BrokenError{s.Name, s.Status, "continue the rollback in the CloudFormation console or with `aws cloudformation continue-update-rollback --stack-name " + s.Name + "`, or delete the stack; then try again"}
		default:
			return nil, &BrokenError{s.Name, s.Status, "it can only be deleted: delete it, then try again"}
		}
	}
}

// Settled is Describe for a stack that may be at work: it waits for the end of what is under way.
func (c *Client) Settled(ctx context.Context, name string, tell func(Event)) (*Stack, error) {
	s, err := c.Describe(ctx, name)
	if err != nil || !s.Busy() || s.Usable() {
		return s, err
	}
	if err := c.follow(ctx, s.ID, tell); err != nil {
		return nil, err
	}
	return c.Describe(ctx, name)
}

func (c *Client) follow(ctx context.Context, id string, tell func(Event)) error {
	w, err := c.watch(ctx, id, "", tell)
	if err != nil {
		return err
	}
	_, err = w.settle(ctx)
	return err
}

func note(r *Request, text string) {
	if r.Note != nil {
		r.Note(text)
	}
}

// changeSet is one that was made; create = for a stack that is a shell until then.
type changeSet struct {
	name, stackID string
	create        bool
}

func (c *Client) createChangeSet(ctx context.Context, r *Request, before *Stack) (*changeSet, error) {
	token := randomHex(6)
	in := &cfn.CreateChangeSetInput{
		StackName:     aws.String(r.Name),
		ChangeSetName: aws.String("zae-limiter-" + token),
		ClientToken:   aws.String("zae-limiter-" + token),
		ChangeSetType: types.ChangeSetTypeCreate,
		Capabilities:  []types.Capability{types.CapabilityCapabilityNamedIam},
		Parameters:    r.parameters(before),
		Tags:          r.tags(before),
	}
	switch {
	case before != nil:
		in.ChangeSetType = types.ChangeSetTypeUpdate
	default:
		// A creation that fails leaves nothing behind; its events can still be read by id.
		in.OnStackFailure = types.OnStackFailureDelete
	}
	if r.Template == "" {
		in.UsePreviousTemplate = aws.Bool(true)
	} else {
		in.TemplateBody = aws.String(r.Template)
	}
	if r.Role != "" {
		in.RoleARN = aws.String(r.Role)
	}
	out, err := c.API.CreateChangeSet(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("change set for stack %s: %w", r.Name, err)
	}
	return &changeSet{name: *in.ChangeSetName, stackID: aws.ToString(out.StackId), create: before == nil}, nil
}

func (r *Request) parameters(before *Stack) []types.Parameter {
	values := maps.Clone(r.Parameters)
	if values == nil {
		values = map[string]string{}
	}
	var keep []string
	if before != nil {
		keep = r.Keep
		if r.Template == "" {
			keep = slices.Collect(maps.Keys(before.Parameters))
		}
	}
	var list []types.Parameter
	for name, value := range values {
		list = append(list, types.Parameter{ParameterKey: aws.String(name), ParameterValue: aws.String(value)})
	}
	for _, name := range keep {
		if _, set := values[name]; !set {
			list = append(list, types.Parameter{ParameterKey: aws.String(name), UsePreviousValue: aws.Bool(true)})
		}
	}
	sort.Slice(list, func(i, j int) bool { return *list[i].ParameterKey < *list[j].ParameterKey })
	return list
}

func (r *Request) tags(before *Stack) []types.Tag {
	tags := r.Tags
	if tags == nil && before != nil {
		tags = before.Tags
	}
	var list []types.Tag
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		if !strings.HasPrefix(key, "aws:") {
			list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
		}
	}
	return list
}

// readChangeSet waits for a change set and returns its changes; nothing = the stack is as it should be.
func (c *Client) readChangeSet(ctx context.Context, set *changeSet) (changes []Change, nothing bool, err error) {
	in := &cfn.DescribeChangeSetInput{ChangeSetName: aws.String(set.name), StackName: aws.String(set.stackID)}
	for {
		out, err := c.API.DescribeChangeSet(ctx, in)
		if err != nil {
			return nil, false, fmt.Errorf("change set %s: %w", set.name, err)
		}
		switch out.Status {
		case types.ChangeSetStatusCreatePending, types.ChangeSetStatusCreateInProgress:
			if err := c.pause(ctx); err != nil {
				return nil, false, err
			}
			continue
		case types.ChangeSetStatusCreateComplete:
		default:
			reason := aws.ToString(out.StatusReason)
			if saysNoChange(reason) {
				return nil, true, nil
			}
			return nil, false, fmt.Errorf("change set %s ended in %s: %s", set.name, out.Status, reason)
		}
		for i := range out.Changes {
			if r := out.Changes[i].ResourceChange; r != nil {
				changes = append(changes, changeFromSDK(r))
			}
		}
		if in.NextToken = out.NextToken; in.NextToken == nil {
			return changes, false, nil
		}
	}
}

func saysNoChange(reason string) bool {
	return strings.Contains(reason, "didn't contain changes") || strings.Contains(reason, "No updates are to be performed")
}

// discardWithin bounds the removal of a change set and of an empty stack, which takes seconds.
const discardWithin = time.Minute

// discard removes a change set, and with one for a creation the shell of the stack. It does so also
// when the command was interrupted.
func (c *Client) discard(ctx context.Context, set *changeSet) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), discardWithin)
	defer cancel()
	_, err := c.API.DeleteChangeSet(ctx, &cfn.DeleteChangeSetInput{ChangeSetName: aws.String(set.name), StackName: aws.String(set.stackID)})
	if err != nil {
		return fmt.Errorf("delete change set %s: %w", set.name, err)
	}
	if !set.create {
		return nil
	}
	return c.Delete(ctx, &Deletion{Name: set.stackID})
}

// applyWithin bounds how long a stack may take to be made or changed.
const applyWithin = time.Hour

func (c *Client) execute(ctx context.Context, r *Request, set *changeSet, was string) (*Stack, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, applyWithin, fmt.Errorf("stack %s: not ready within %s; it goes on without us", r.Name, applyWithin))
	defer cancel()
	w, err := c.watch(ctx, set.stackID, was, r.Event)
	if err != nil {
		return nil, err
	}
	_, err = c.API.ExecuteChangeSet(ctx, &cfn.ExecuteChangeSetInput{
		ChangeSetName: aws.String(set.name), StackName: aws.String(set.stackID), ClientRequestToken: aws.String(set.name),
	})
	if err != nil {
		return nil, errors.Join(fmt.Errorf("execute change set %s: %w", set.name, err), c.discard(ctx, set))
	}
	s, err := w.settle(ctx)
	if err != nil {
		return nil, err
	}
	if s.Status != string(types.StackStatusCreateComplete) && s.Status != string(types.StackStatusUpdateComplete) {
		return nil, w.failure(s)
	}
	return s, nil
}

func changeFromSDK(r *types.ResourceChange) Change {
	change := Change{
		Action: string(r.Action), LogicalID: aws.ToString(r.LogicalResourceId), PhysicalID: aws.ToString(r.PhysicalResourceId),
		Type: aws.ToString(r.ResourceType), Replacement: string(r.Replacement),
	}
	for _, scope := range r.Scope {
		change.Scope = append(change.Scope, string(scope))
	}
	return change
}

func randomHex(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}
