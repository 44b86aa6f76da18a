package cloudformation

import (
	"context"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

func (s *Service) createStack(ctx context.Context, call *protocol.Call, in *cloudformation.CreateStackInput) (*cloudformation.CreateStackOutput, error) {
	if err := checkName("stackName", in.StackName); err != nil {
		return nil, err
	}
	if in.DisableRollback != nil && in.OnFailure != "" {
		return nil, invalid("Either DisableRollback or OnFailure can be specified, not both.")
	}
	if err := s.withLock(func() error { _, err := s.allowed(call, "CreateStack", *in.StackName, nil); return err }); err != nil {
		return nil, err
	}
	d, err := s.define(ctx, nil, request{
		body: in.TemplateBody, url: in.TemplateURL, parameters: in.Parameters, tags: in.Tags,
		capabilities: in.Capabilities, notificationARNs: in.NotificationARNs, roleARN: in.RoleARN,
	})
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	if s.find(call, *in.StackName) != nil {
		return nil, protocol.Errorf("AlreadyExistsException", "Stack [%s] already exists", *in.StackName)
	}
	// What is wrong with the template as a whole is told at once; the id is not known before.
	probe := &stack{Name: *in.StackName, Account: call.Account, Region: call.Region}
	if _, err := d.instance(probe); err != nil {
		return nil, refusal(err)
	}
	st := s.addStack(call, *in.StackName, types.StackStatusCreateInProgress, in.ClientRequestToken)
	st.Definition = d
	st.TerminationProtection = aws.ToBool(in.EnableTerminationProtection)
	switch {
	case in.OnFailure != "":
		st.OnFailure = in.OnFailure
	case aws.ToBool(in.DisableRollback):
		st.OnFailure = types.OnFailureDoNothing
	}
	s.begin(ctx, call, st, in.ClientRequestToken, runCreate)
	return &cloudformation.CreateStackOutput{StackId: &st.ID}, nil
}

func (s *Service) withLock(f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return f()
}

func runCreate(ctx context.Context, op *operation) {
	err := op.prepare(ctx, op.stack.Definition)
	if err == nil {
		err = op.deploy(ctx)
	}
	if err == nil {
		op.finish(types.StackStatusCreateComplete, "")
		return
	}
	why := op.failures()
	if why == "" {
		why = strings.TrimSuffix(reason(err), ".") + ". "
	}
	switch op.stack.OnFailure {
	case types.OnFailureDoNothing:
		op.finish(types.StackStatusCreateFailed, why)
	case types.OnFailureDelete:
		op.status(types.StackStatusDeleteInProgress, why+"Delete requested by user.")
		runDelete(nil, Rollback)(ctx, op)
	default:
		op.status(types.StackStatusRollbackInProgress, why+"Rollback requested by user.")
		op.release()
		if err := op.removeAll(ctx, Rollback, op.stack.everything(Rollback, nil)); err != nil {
			op.finish(types.StackStatusRollbackFailed, op.failures())
			return
		}
		op.finish(types.StackStatusRollbackComplete, "")
	}
}

// release gives up the stack's exports and imports.
func (op *operation) release() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	if op.stack.running == op {
		op.stack.Outputs, op.stack.Imports = nil, nil
	}
}

// everything are the resources of a stack that is deleted or, in the phase Rollback, whose creation
// failed. Those in retain are kept.
func (st *stack) everything(phase Phase, retain []string) map[string]removal {
	removals := map[string]removal{}
	for id, r := range st.Resources {
		policy := r.DeletionPolicy
		switch {
		case r.Current == nil && r.Status == types.ResourceStatusDeleteComplete, r.Status == types.ResourceStatusDeleteSkipped:
			continue
		case slices.Contains(retain, id):
			policy = template.Retain
		case policy == template.RetainExceptOnCreate && phase == Rollback, policy == template.Snapshot:
			policy = template.Delete
		}
		removals[id] = removal{resource: r, made: r.Current, policy: policy}
		if r.Before != nil && r.Current != nil && r.Before.ID != r.Current.ID { // an update was not rolled back
			removals[id+" before the update"] = removal{resource: r, made: r.Before, policy: policy}
		}
	}
	return removals
}

func (s *Service) updateStack(ctx context.Context, call *protocol.Call, in *cloudformation.UpdateStackInput) (*cloudformation.UpdateStackOutput, error) {
	var st *stack
	var previous *definition
	err := s.withLock(func() (err error) {
		if st, err = s.existing(call, "UpdateStack", in.StackName, noStack); err == nil {
			previous, err = s.updatable(st)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	if aws.ToBool(in.DisableRollback) {
		return nil, invalid("DisableRollback is not supported for updates here")
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
	if _, err := s.updatable(st); err != nil { // again: the lock was free
		return nil, err
	}
	plan, err := s.plan(st, d, false)
	if err != nil {
		return nil, refusal(err)
	}
	if plan.empty() {
		return nil, invalid("No updates are to be performed.")
	}
	s.beginUpdate(ctx, call, st, d, in.ClientRequestToken)
	return &cloudformation.UpdateStackOutput{StackId: &st.ID}, nil
}

// updatable gives the definition that an update changes, or says why the stack takes none. The lock is
// held.
func (s *Service) updatable(st *stack) (*definition, error) {
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	if !st.updatable() {
		return nil, invalid("Stack:%s is in %s state and can not be updated.", st.ID, st.Status)
	}
	return st.Definition, nil
}

// beginUpdate starts the update of a stack to a definition. The lock is held.
func (s *Service) beginUpdate(ctx context.Context, call *protocol.Call, st *stack, d *definition, token *string) {
	st.Previous, st.Definition = st.Definition, d
	st.Updated = s.options.Now()
	s.setStatus(st, types.StackStatusUpdateInProgress, "User Initiated", token)
	s.begin(ctx, call, st, token, runUpdate)
}

func runUpdate(ctx context.Context, op *operation) {
	err := op.prepare(ctx, op.stack.Definition)
	if err == nil {
		err = op.deploy(ctx)
	}
	if err != nil {
		why := op.failures()
		if why == "" {
			why = reason(err)
		}
		op.status(types.StackStatusUpdateRollbackInProgress, why)
		runRollback(nil)(ctx, op)
		return
	}
	op.status(types.StackStatusUpdateCompleteCleanupInProgress, "")
	removals := op.replaced()
	for id, r := range op.stack.Resources {
		if op.instance.Resources[id] == nil {
			policy := r.DeletionPolicy
			if policy == template.RetainExceptOnCreate {
				policy = template.Retain
			}
			removals[id] = removal{resource: r, made: r.Current, policy: keepsOrDeletes(policy)}
		}
	}
	why := ""
	if err := op.removeAll(ctx, Delete, removals); err != nil {
		why = "Update successful. One or more resources could not be deleted."
	}
	op.drop(func(id string, _ *stackResource) bool { return op.instance.Resources[id] == nil })
	op.finish(types.StackStatusUpdateComplete, why)
}

func keepsOrDeletes(policy string) string {
	if policy == template.Retain {
		return template.Retain
	}
	return template.Delete
}

// replaced are the resources that the update has put others in the place of.
func (op *operation) replaced() map[string]removal {
	removals := map[string]removal{}
	for id, r := range op.stack.Resources {
		if r.Before != nil && r.Before.ID != r.Current.ID {
			removals[id] = removal{resource: r, made: r.Before, policy: keepsOrDeletes(r.UpdateReplacePolicy)}
		}
	}
	return removals
}

// drop forgets resources of the stack.
func (op *operation) drop(which func(id string, r *stackResource) bool) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	for id, r := range op.stack.Resources {
		if which(id, r) {
			delete(op.stack.Resources, id)
		}
	}
}

// runRollback takes an update back; the resources in skip are taken for undone.
func runRollback(skip []string) func(context.Context, *operation) {
	return func(ctx context.Context, op *operation) {
		st := op.stack
		depends := map[string][]string{}
		removals := map[string]removal{}
		for id, r := range st.Resources {
			switch {
			case r.New:
				removals[id] = removal{resource: r, made: r.Current, policy: template.Delete}
			case r.Before != nil || r.Status == types.ResourceStatusUpdateFailed:
				if r.Before != nil && r.Before.ID != r.Current.ID {
					removals[id] = removal{resource: r, made: r.Current, policy: template.Delete}
				}
				depends[id] = r.before().Depends
			}
		}
		err := walk(ctx, depends, false, func(ctx context.Context, id string) error {
			return op.undo(ctx, st.Resources[id], slices.Contains(skip, id))
		})
		if err != nil {
			why := op.failures()
			if why == "" {
				why = reason(err)
			}
			op.service.mu.Lock()
			defer op.service.mu.Unlock()
			op.end(types.StackStatusUpdateRollbackFailed, why)
			return
		}
		op.status(types.StackStatusUpdateRollbackCompleteCleanupInProgress, "")
		_ = op.removeAll(ctx, Rollback, removals) // what stays has its event; the stack is as it was
		op.drop(func(_ string, r *stackResource) bool { return r.New })
		op.restore()
		op.finish(types.StackStatusUpdateRollbackComplete, "")
	}
}

// restore brings back the definition from before the update, and what it imports.
func (op *operation) restore() {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	st := op.stack
	st.Definition = st.Previous
	if instance, err := st.Definition.instance(st); err == nil {
		st.Imports, _ = instance.Imports()
	}
}

// before is what the resource was before the update.
func (r *stackResource) before() *made {
	if r.Before != nil {
		return r.Before
	}
	return r.Current
}

// undo brings back what a resource was before the update.
func (op *operation) undo(ctx context.Context, r *stackResource, skip bool) error {
	now, before := r.Current, r.before()
	op.mark(r, now, types.ResourceStatusUpdateInProgress, "")
	back := *before
	if !skip && now != before && now.ID == before.ID {
		provider, err := op.service.provider(r.Type)
		if err == nil {
			err = op.ask(Rollback, r, before)
		}
		if err == nil {
			physical, failure := provider.Update(ctx, &now.Physical, op.resource(r, now), op.resource(r, before))
			if physical != nil {
				back.Physical = *physical
			}
			err = failure
		}
		if err != nil {
			return op.failed(ctx, r, now, types.ResourceStatusUpdateFailed, err)
		}
	}
	op.service.mu.Lock()
	r.Current, r.Before = &back, nil
	op.service.mu.Unlock()
	op.mark(r, &back, types.ResourceStatusUpdateComplete, "")
	return nil
}

func (s *Service) continueUpdateRollback(ctx context.Context, call *protocol.Call, in *cloudformation.ContinueUpdateRollbackInput) (*cloudformation.ContinueUpdateRollbackOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "ContinueUpdateRollback", in.StackName, noStack)
	if err != nil {
		return nil, err
	}
	if err := s.checkOpen(); err != nil {
		return nil, err
	}
	if st.Status != types.StackStatusUpdateRollbackFailed {
		return nil, invalid("Stack:%s is in %s state and can not continue rollback.", st.ID, st.Status)
	}
	for _, id := range in.ResourcesToSkip {
		if r := st.Resources[id]; r == nil || r.Status != types.ResourceStatusUpdateFailed {
			return nil, invalid("Resource %s is not in the UPDATE_FAILED state and cannot be skipped", id)
		}
	}
	s.setStatus(st, types.StackStatusUpdateRollbackInProgress, "User Initiated", in.ClientRequestToken)
	s.begin(ctx, call, st, in.ClientRequestToken, runRollback(in.ResourcesToSkip))
	return &cloudformation.ContinueUpdateRollbackOutput{}, nil
}

func (s *Service) deleteStack(ctx context.Context, call *protocol.Call, in *cloudformation.DeleteStackInput) (*cloudformation.DeleteStackOutput, error) {
	if in.StackName == nil {
		return nil, missing("stackName")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.allowed(call, "DeleteStack", *in.StackName, nil)
	if err != nil {
		return nil, err
	}
	if st == nil || st.deleted() || st.Status == types.StackStatusDeleteInProgress {
		return &cloudformation.DeleteStackOutput{}, nil
	}
	if err := s.deletable(st, in); err != nil {
		return nil, err
	}
	for _, o := range st.Outputs {
		if users := s.importers(st, o.Export); o.Export != "" && len(users) > 0 {
			// As in AWS, the call succeeds and the stack keeps its status, with the reason.
			s.setStatus(st, st.Status, inUse(o.Export, "deleted", users).Error(), in.ClientRequestToken)
			return &cloudformation.DeleteStackOutput{}, nil
		}
	}
	retain := in.RetainResources
	if in.DeletionMode == types.DeletionModeForceDeleteStack {
		for id, r := range st.Resources {
			if r.Status == types.ResourceStatusDeleteFailed {
				retain = append(retain, id)
			}
		}
	}
	s.setStatus(st, types.StackStatusDeleteInProgress, "User Initiated", in.ClientRequestToken)
	s.begin(ctx, call, st, in.ClientRequestToken, runDelete(retain, Delete))
	return &cloudformation.DeleteStackOutput{}, nil
}

// deletable says why a stack cannot be deleted now. One that is being created can.
func (s *Service) deletable(st *stack, in *cloudformation.DeleteStackInput) error {
	if err := s.checkOpen(); err != nil {
		return err
	}
	if st.TerminationProtection {
		return invalid("Stack [%s] cannot be deleted while TerminationProtection is enabled", st.Name)
	}
	if st.inProgress() && st.Status != types.StackStatusCreateInProgress && st.Status != types.StackStatusRollbackInProgress {
		return invalid("Stack [%s] cannot be deleted while in status %s", st.ID, st.Status)
	}
	if st.Status == types.StackStatusDeleteFailed {
		for _, id := range in.RetainResources {
			if st.Resources[id] == nil {
				return invalid("The specified resource to retain [%s] does not exist in stack [%s]", id, st.ID)
			}
		}
		return nil
	}
	if len(in.RetainResources) > 0 {
		return invalid("Invalid operation on stack [%s]. When you delete a stack, specify which resources to retain only when the stack is in the DELETE_FAILED state.", st.ID)
	}
	if in.DeletionMode == types.DeletionModeForceDeleteStack {
		return invalid("Invalid operation on stack [%s]. You can activate DeletionMode FORCE_DELETE_STACK in a delete stack operation only when the stack is in the DELETE_FAILED state.", st.ID)
	}
	return nil
}

// runDelete deletes a stack's resources, and so the stack.
func runDelete(retain []string, phase Phase) func(context.Context, *operation) {
	return func(ctx context.Context, op *operation) {
		if err := op.removeAll(ctx, phase, op.stack.everything(phase, retain)); err != nil {
			op.finish(types.StackStatusDeleteFailed, op.failures())
			return
		}
		op.service.mu.Lock()
		op.stack.Deleted, op.stack.ChangeSets = op.service.options.Now(), nil
		op.service.mu.Unlock()
		op.finish(types.StackStatusDeleteComplete, "")
	}
}

func (s *Service) updateTerminationProtection(_ context.Context, call *protocol.Call, in *cloudformation.UpdateTerminationProtectionInput) (*cloudformation.UpdateTerminationProtectionOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	st, err := s.existing(call, "UpdateTerminationProtection", in.StackName, noStack)
	if err != nil {
		return nil, err
	}
	if in.EnableTerminationProtection == nil {
		return nil, missing("enableTerminationProtection")
	}
	st.TerminationProtection = *in.EnableTerminationProtection
	return &cloudformation.UpdateTerminationProtectionOutput{StackId: &st.ID}, nil
}
