package cloudformation

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// changeSet is one change set of a stack.
type changeSet struct {
	ID, Name, Description, Token string
	Type                         types.ChangeSetType
	Status                       types.ChangeSetStatus
	Execution                    types.ExecutionStatus
	Reason                       string
	Created                      time.Time
	OnStackFailure               types.OnStackFailure
	Definition                   *definition
	Changes                      []types.Change
}

const noChanges = "The submitted information didn't contain changes. Submit different information to create a change set."

func (s *Service) createChangeSet(ctx context.Context, call *protocol.Call, in *cloudformation.CreateChangeSetInput) (*cloudformation.CreateChangeSetOutput, error) {
	if err := checkName("changeSetName", in.ChangeSetName); err != nil {
		return nil, err
	}
	if in.StackName == nil {
		return nil, missing("stackName")
	}
	kind := in.ChangeSetType
	if kind == "" {
		kind = types.ChangeSetTypeUpdate
	}
	if kind != types.ChangeSetTypeCreate && kind != types.ChangeSetTypeUpdate {
		return nil, invalid("ChangeSetType %s is not supported here", kind)
	}
	var previous *definition
	err := s.withLock(func() error {
		st, err := s.allowed(call, "CreateChangeSet", *in.StackName, changeSetCondition(in.ChangeSetName))
		if err == nil && kind == types.ChangeSetTypeUpdate && st != nil {
			previous = st.Definition
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	d, err := s.define(ctx, previous, request{
		body: in.TemplateBody, url: in.TemplateURL, usePrevious: aws.ToBool(in.UsePreviousTemplate),
		parameters: in.Parameters, tags: in.Tags, capabilities: in.Capabilities,
		notificationARNs: in.NotificationARNs, roleARN: in.RoleARN,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	st, err := s.stackForChanges(call, in, kind)
	if err != nil {
		return nil, err
	}
	if st != nil {
		// The name of an executed change set is free again.
		if set := st.changeSet(*in.ChangeSetName); set != nil && set.ID != st.ChangeSetID {
			if in.ClientToken != nil && set.Token == *in.ClientToken {
				return &cloudformation.CreateChangeSetOutput{Id: &set.ID, StackId: &st.ID}, nil
			}
			return nil, protocol.Errorf("AlreadyExistsException", "ChangeSet [%s] already exists", *in.ChangeSetName)
		}
	}
	probe := st
	if probe == nil {
		probe = &stack{Name: *in.StackName, Account: call.Account, Region: call.Region}
	}
	if _, err := d.instance(probe); err != nil {
		return nil, refusal(err)
	}
	if st == nil {
		st = s.addStack(call, *in.StackName, types.StackStatusReviewInProgress, in.ClientToken)
	}
	set := &changeSet{
		ID:   call.ARN("cloudformation", "changeSet/"+*in.ChangeSetName+"/"+newID()),
		Name: *in.ChangeSetName, Description: aws.ToString(in.Description), Token: aws.ToString(in.ClientToken),
		Type: kind, Status: types.ChangeSetStatusCreatePending, Execution: types.ExecutionStatusUnavailable,
		Created: s.options.Now(), OnStackFailure: in.OnStackFailure, Definition: d,
	}
	st.ChangeSets = append(st.ChangeSets, set)
	ctx = context.WithoutCancel(ctx)
	s.work.Go(func() { s.compute(ctx, st, set) })
	return &cloudformation.CreateChangeSetOutput{Id: &set.ID, StackId: &st.ID}, nil
}

// stackForChanges gives the stack that a new change set is for; nil when the change set brings it.
func (s *Service) stackForChanges(call *protocol.Call, in *cloudformation.CreateChangeSetInput, kind types.ChangeSetType) (*stack, error) {
	st := s.find(call, *in.StackName)
	switch {
	case st != nil && st.deleted(), st == nil && kind == types.ChangeSetTypeUpdate:
		return nil, invalid(noStack, *in.StackName)
	case st == nil:
		return nil, checkName("stackName", in.StackName)
	case kind == types.ChangeSetTypeCreate && st.Status != types.StackStatusReviewInProgress:
		return nil, invalid("Stack [%s] already exists and cannot be created again with the changeSet [%s].", st.Name, *in.ChangeSetName)
	case kind == types.ChangeSetTypeUpdate && !st.updatable():
		return nil, invalid("Stack:%s is in %s state and can not be updated.", st.ID, st.Status)
	case in.OnStackFailure == types.OnStackFailureDelete && kind != types.ChangeSetTypeCreate:
		return nil, invalid("OnStackFailure DELETE can only be specified for a change set of type CREATE")
	}
	return st, nil
}

// compute finds the changes of a new change set.
func (s *Service) compute(ctx context.Context, st *stack, set *changeSet) {
	s.mu.Lock()
	set.Status = types.ChangeSetStatusCreateInProgress
	s.mu.Unlock()
	_, err := s.preflight(ctx, st, set.Definition)
	s.mu.Lock()
	defer s.mu.Unlock()
	var changes *plan
	if err == nil {
		changes, err = s.plan(st, set.Definition, true)
	}
	if err == nil && changes.empty() {
		err = template.Error(noChanges)
	}
	if err != nil {
		set.Status, set.Reason = types.ChangeSetStatusFailed, reason(err)
		return
	}
	set.Changes = changes.Changes
	set.Status, set.Execution = types.ChangeSetStatusCreateComplete, types.ExecutionStatusAvailable
}

// changeSet finds a change set by name or id, the newest of that name.
func (st *stack) changeSet(nameOrID string) *changeSet {
	for _, set := range slices.Backward(st.ChangeSets) {
		if set.ID == nameOrID || set.Name == nameOrID {
			return set
		}
	}
	return nil
}

func changeSetCondition(name *string) map[string]string {
	return map[string]string{"cloudformation:ChangeSetName": aws.ToString(name)}
}

// findChangeSet gives a change set and its stack, if the caller may do the action. An id needs no stack.
// The lock is held.
func (s *Service) findChangeSet(call *protocol.Call, action string, stackName, nameOrID *string) (*stack, *changeSet, error) {
	if nameOrID == nil {
		return nil, nil, missing("changeSetName")
	}
	if stackName == nil {
		for _, st := range s.stacks {
			if set := st.changeSet(*nameOrID); set != nil && set.ID == *nameOrID && st.Region == call.Region && st.Account == call.Account {
				return st, set, call.AllowIf("cloudformation:"+action, changeSetCondition(&set.Name), st.ID)
			}
		}
		if !strings.HasPrefix(*nameOrID, "arn:") {
			return nil, nil, invalid("StackName must be specified if ChangeSetName is not specified as an ARN.")
		}
		return nil, nil, noChangeSet(*nameOrID)
	}
	st, err := s.allowed(call, action, *stackName, changeSetCondition(nameOrID))
	switch {
	case err != nil:
		return nil, nil, err
	case st == nil:
		return nil, nil, invalid(noStack, *stackName)
	}
	set := st.changeSet(*nameOrID)
	if set == nil {
		return nil, nil, noChangeSet(*nameOrID)
	}
	return st, set, nil
}

func noChangeSet(name string) error {
	return &protocol.Error{Status: 404, Code: "ChangeSetNotFound", Message: "ChangeSet [" + name + "] does not exist"}
}

func (s *Service) describeChangeSet(_ context.Context, call *protocol.Call, in *cloudformation.DescribeChangeSetInput) (*cloudformation.DescribeChangeSetOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, set, err := s.findChangeSet(call, "DescribeChangeSet", in.StackName, in.ChangeSetName)
	if err != nil {
		return nil, err
	}
	changes, next, err := page(s, set.Changes, in.NextToken, func(c types.Change) string { return *c.ResourceChange.LogicalResourceId })
	if err != nil {
		return nil, err
	}
	if !aws.ToBool(in.IncludePropertyValues) {
		changes = withoutValues(changes)
	}
	return &cloudformation.DescribeChangeSetOutput{
		ChangeSetId: &set.ID, ChangeSetName: &set.Name, StackId: &st.ID, StackName: &st.Name,
		Description: optional(set.Description), CreationTime: &set.Created, Status: set.Status,
		StatusReason: optional(set.Reason), ExecutionStatus: set.Execution, Changes: changes, NextToken: next,
		Parameters: set.Definition.shownParameters(), Tags: shownTags(set.Definition.Tags),
		Capabilities: set.Definition.Capabilities, NotificationARNs: set.Definition.NotificationARNs,
		OnStackFailure: set.OnStackFailure, IncludeNestedStacks: aws.Bool(false),
	}, nil
}

// withoutValues copies changes as they are shown to who did not ask for the values of properties.
func withoutValues(changes []types.Change) []types.Change {
	out := slices.Clone(changes)
	for i := range out {
		change := *out[i].ResourceChange
		change.Details = slices.Clone(change.Details)
		for j := range change.Details {
			target := *change.Details[j].Target
			target.BeforeValue, target.AfterValue = nil, nil
			change.Details[j].Target = &target
		}
		out[i].ResourceChange = &change
	}
	return out
}

func (s *Service) executeChangeSet(ctx context.Context, call *protocol.Call, in *cloudformation.ExecuteChangeSetInput) (*cloudformation.ExecuteChangeSetOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, set, err := s.findChangeSet(call, "ExecuteChangeSet", in.StackName, in.ChangeSetName)
	if err != nil {
		return nil, err
	}
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	if set.Execution != types.ExecutionStatusAvailable {
		return nil, protocol.Errorf("InvalidChangeSetStatus", "ChangeSet [%s] cannot be executed in its current status of [%s]", set.ID, set.Status)
	}
	if aws.ToBool(in.DisableRollback) && (set.Type == types.ChangeSetTypeUpdate || set.OnStackFailure != "") {
		return nil, invalid("DisableRollback is only supported here for a change set of type CREATE without OnStackFailure")
	}
	if set.Type == types.ChangeSetTypeUpdate {
		if _, err := s.updatable(st); err != nil {
			return nil, err
		}
	}
	set.Execution = types.ExecutionStatusExecuteInProgress
	st.ChangeSets = []*changeSet{set} // the others are of a stack that was
	st.ChangeSetID = set.ID
	if set.Type == types.ChangeSetTypeUpdate {
		s.beginUpdate(ctx, call, st, set.Definition, in.ClientRequestToken)
		return &cloudformation.ExecuteChangeSetOutput{}, nil
	}
	st.Definition = set.Definition
	switch {
	case set.OnStackFailure != "":
		st.OnFailure = types.OnFailure(set.OnStackFailure)
	case aws.ToBool(in.DisableRollback):
		st.OnFailure = types.OnFailureDoNothing
	}
	s.setStatus(st, types.StackStatusCreateInProgress, "User Initiated", in.ClientRequestToken)
	s.begin(ctx, call, st, in.ClientRequestToken, runCreate)
	return &cloudformation.ExecuteChangeSetOutput{}, nil
}

func (s *Service) deleteChangeSet(_ context.Context, call *protocol.Call, in *cloudformation.DeleteChangeSetInput) (*cloudformation.DeleteChangeSetOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, set, err := s.findChangeSet(call, "DeleteChangeSet", in.StackName, in.ChangeSetName)
	if e, ok := errors.AsType[*protocol.Error](err); ok && e.Code == "ChangeSetNotFound" {
		return &cloudformation.DeleteChangeSetOutput{}, nil // as with stacks, no error
	}
	if err != nil {
		return nil, err
	}
	if set.Status == types.ChangeSetStatusCreatePending || set.Status == types.ChangeSetStatusCreateInProgress {
		return nil, protocol.Errorf("InvalidChangeSetStatus", "ChangeSet [%s] cannot be deleted in status %s", set.ID, set.Status)
	}
	st.ChangeSets = slices.DeleteFunc(st.ChangeSets, func(other *changeSet) bool { return other == set })
	return &cloudformation.DeleteChangeSetOutput{}, nil
}

func (s *Service) listChangeSets(_ context.Context, call *protocol.Call, in *cloudformation.ListChangeSetsInput) (*cloudformation.ListChangeSetsOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "ListChangeSets", in.StackName, noStack)
	if err != nil {
		return nil, err
	}
	sets, next, err := page(s, st.ChangeSets, in.NextToken, func(set *changeSet) string { return set.ID })
	if err != nil {
		return nil, err
	}
	out := &cloudformation.ListChangeSetsOutput{NextToken: next}
	for _, set := range sets {
		out.Summaries = append(out.Summaries, types.ChangeSetSummary{
			ChangeSetId: &set.ID, ChangeSetName: &set.Name, StackId: &st.ID, StackName: &st.Name, CreationTime: &set.Created,
			Description: optional(set.Description), Status: set.Status, StatusReason: optional(set.Reason), ExecutionStatus: set.Execution,
		})
	}
	return out, nil
}
