package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// operation is work on a stack that goes on after its call. A later operation can take its place, by
// deleting the stack; from then on it changes the stack's status no more.
type operation struct {
	service  *Service
	stack    *stack
	token    *string // of the request, for the events
	instance *template.Instance
	tags     map[string]string
	guard    protocol.Guard // of the caller

	cancel context.CancelCauseFunc
	done   chan struct{}

	failedCreate, failedUpdate, failedDelete []string // logical ids; the service's lock guards them
}

var errReplaced = errors.New("the stack is being deleted")

// begin starts an operation on a stack, in the place of the one that runs. The lock is held.
func (s *Service) begin(ctx context.Context, call *protocol.Call, st *stack, token *string, run func(context.Context, *operation)) {
	ctx, cancel := context.WithCancelCause(context.WithoutCancel(ctx))
	op := &operation{service: s, stack: st, token: token, guard: call.Guard, cancel: cancel, done: make(chan struct{})}
	before := st.running
	st.running = op
	s.work.Go(func() {
		defer close(op.done)
		defer cancel(nil)
		if before != nil {
			before.cancel(errReplaced)
			<-before.done
		}
		run(ctx, op)
		s.mu.Lock()
		defer s.mu.Unlock()
		if st.running == op {
			st.running = nil
		}
	})
}

// status moves the stack on.
func (op *operation) status(status types.StackStatus, reason string) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.setStatus(status, reason)
}

func (op *operation) setStatus(status types.StackStatus, reason string) {
	if op.stack.running == op {
		op.service.setStatus(op.stack, status, reason, op.token)
	}
}

// finish is the last status: what was kept for a roll-back is forgotten. The stack is the next
// operation's from then on.
func (op *operation) finish(status types.StackStatus, reason string) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	if op.stack.running != op {
		return
	}
	op.stack.Previous = nil
	for _, r := range op.stack.Resources {
		r.New, r.Before = false, nil
	}
	op.end(status, reason)
}

// end is a last status that keeps what a roll-back needs. The lock is held.
func (op *operation) end(status types.StackStatus, reason string) {
	if op.stack.running != op {
		return
	}
	op.setStatus(status, reason)
	for _, set := range op.stack.ChangeSets {
		if set.Execution == types.ExecutionStatusExecuteInProgress {
			set.Execution = types.ExecutionStatusExecuteFailed
			if status == types.StackStatusCreateComplete || status == types.StackStatusUpdateComplete {
				set.Execution = types.ExecutionStatusExecuteComplete
			}
		}
	}
	op.stack.running = nil
}

func (op *operation) mark(r *stackResource, m *made, status types.ResourceStatus, reason string) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.service.setResource(op.stack, r, m, status, reason, op.token)
}

// failed writes that a resource failed, or was given up because another one did, and keeps its name.
func (op *operation) failed(ctx context.Context, r *stackResource, m *made, status types.ResourceStatus, err error) error {
	why := reason(err)
	if errors.Is(context.Cause(ctx), errSibling) {
		why = "Resource creation cancelled"
		if status == types.ResourceStatusUpdateFailed {
			why = "Resource update cancelled"
		}
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	op.service.setResource(op.stack, r, m, status, why, op.token)
	list := map[types.ResourceStatus]*[]string{
		types.ResourceStatusCreateFailed: &op.failedCreate, types.ResourceStatusUpdateFailed: &op.failedUpdate,
		types.ResourceStatusDeleteFailed: &op.failedDelete,
	}[status]
	*list = append(*list, r.LogicalID)
	return err
}

// failures says what failed, in the words of a stack's reason.
func (op *operation) failures() string {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	var texts []string
	for _, each := range []struct {
		what string
		ids  []string
	}{{"create", op.failedCreate}, {"update", op.failedUpdate}, {"delete", op.failedDelete}} {
		if len(each.ids) > 0 {
			texts = append(texts, fmt.Sprintf("The following resource(s) failed to %s: [%s]. ", each.what, strings.Join(each.ids, ", ")))
		}
	}
	op.failedCreate, op.failedUpdate, op.failedDelete = nil, nil, nil
	return strings.Join(texts, "")
}

// prepare reads a definition for the operation, and takes its imports into use.
func (op *operation) prepare(ctx context.Context, d *definition) error {
	imports, err := op.service.preflight(ctx, op.stack, d)
	if err != nil {
		return err
	}
	if op.instance, err = d.instance(op.stack); err != nil {
		return err
	}
	op.tags = d.Tags
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	for _, export := range imports {
		if !slices.Contains(op.stack.Imports, export) {
			op.stack.Imports = append(op.stack.Imports, export)
		}
	}
	return nil
}

// deploy makes and changes the resources until they are what the instance says, then gives the outputs.
// What the instance does not have any more stays.
func (op *operation) deploy(ctx context.Context) error {
	if err := walk(ctx, op.instance.Depends(), false, op.deployOne); err != nil {
		return err
	}
	next, err := outputs(op.instance, op)
	if err != nil {
		return err
	}
	imports, err := op.instance.Imports()
	if err != nil {
		return err
	}
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if err := op.service.checkExports(op.stack, next); err != nil {
		return err
	}
	op.stack.Outputs, op.stack.Imports = next, imports
	for id, want := range op.instance.Resources {
		r := op.stack.Resources[id]
		r.DeletionPolicy, r.UpdateReplacePolicy = want.DeletionPolicy, want.UpdateReplacePolicy
		r.Current.Depends = op.instance.Depends()[id]
	}
	return nil
}

func (op *operation) deployOne(ctx context.Context, id string) error {
	want := op.instance.Resources[id]
	s := op.service
	s.mu.Lock()
	r := op.stack.Resources[id]
	if r == nil || r.Current == nil {
		r = &stackResource{LogicalID: id, Type: want.Type, New: true, DeletionPolicy: want.DeletionPolicy, UpdateReplacePolicy: want.UpdateReplacePolicy}
		op.stack.Resources[id] = r
	}
	old := r.Current
	s.mu.Unlock()

	next := &made{Tags: op.tags, Depends: op.instance.Depends()[id]}
	var err error
	next.Properties, err = op.instance.Properties(id, op)
	provider, unknown := s.provider(want.Type)
	err = errors.Join(err, unknown)
	switch {
	case old == nil:
		return op.create(ctx, provider, r, next, err)
	case err != nil:
		return op.failed(ctx, r, old, types.ResourceStatusUpdateFailed, err)
	}
	switch replacement, changed := replaces(provider, old, next); {
	case !changed:
		return nil
	case replacement == resource.Always:
		return op.replace(ctx, provider, r, next)
	default:
		return op.update(ctx, provider, r, next)
	}
}

// replaces says whether a resource changes at all, and what the change needs.
func replaces(provider resource.Provider, old, next *made) (worst resource.Replacement, changed bool) {
	worst, changed = resource.Never, !maps.Equal(old.Tags, next.Tags)
	for _, property := range changedProperties(old.Properties, next.Properties) {
		changed = true
		switch provider.Replaces(property, old.Properties[property], next.Properties[property]) {
		case resource.Always:
			worst = resource.Always
		case resource.Conditionally:
			if worst == resource.Never {
				worst = resource.Conditionally
			}
		}
	}
	return worst, changed
}

// create makes a new resource; resolved is the error of reading its properties.
func (op *operation) create(ctx context.Context, provider resource.Provider, r *stackResource, next *made, resolved error) error {
	op.mark(r, next, types.ResourceStatusCreateInProgress, "")
	if resolved != nil {
		return op.failed(ctx, r, next, types.ResourceStatusCreateFailed, resolved)
	}
	err := op.build(ctx, provider, r, next)
	if next.ID != "" {
		op.service.mu.Lock()
		r.Current = next
		op.service.mu.Unlock()
	}
	if err != nil {
		return op.failed(ctx, r, next, types.ResourceStatusCreateFailed, err)
	}
	op.mark(r, next, types.ResourceStatusCreateInProgress, "Resource creation Initiated")
	op.mark(r, next, types.ResourceStatusCreateComplete, "")
	return nil
}

// build calls the provider's Create. What it made goes into next, even when it failed half-way.
func (op *operation) build(ctx context.Context, provider resource.Provider, r *stackResource, next *made) error {
	if err := op.ask(Create, r, next); err != nil {
		return err
	}
	physical, err := provider.Create(ctx, op.resource(r, next))
	if physical != nil {
		next.Physical = *physical
	}
	if err == nil {
		err = context.Cause(ctx) // finished, but given up
	}
	return err
}

// replace makes a new resource in the place of one, which is deleted when the update is complete.
func (op *operation) replace(ctx context.Context, provider resource.Provider, r *stackResource, next *made) error {
	old := r.Current
	op.mark(r, old, types.ResourceStatusUpdateInProgress, "Requested update requires the creation of a new physical resource; hence creating one.")
	err := op.build(ctx, provider, r, next)
	if next.ID != "" {
		op.changed(r, old, next)
	}
	if err != nil {
		return op.failed(ctx, r, old, types.ResourceStatusUpdateFailed, err)
	}
	op.mark(r, next, types.ResourceStatusUpdateInProgress, "Resource creation Initiated")
	op.mark(r, next, types.ResourceStatusUpdateComplete, "")
	return nil
}

// update changes a resource in place. One that failed counts as changed, so that a roll-back undoes it.
func (op *operation) update(ctx context.Context, provider resource.Provider, r *stackResource, next *made) error {
	old := r.Current
	next.Physical = old.Physical
	op.mark(r, old, types.ResourceStatusUpdateInProgress, "")
	err := op.ask(Update, r, next)
	if err == nil {
		var physical *resource.Physical
		physical, err = provider.Update(ctx, &old.Physical, op.resource(r, old), op.resource(r, next))
		if physical != nil {
			next.Physical = *physical
		}
		if err == nil {
			err = context.Cause(ctx)
		}
	}
	op.changed(r, old, next)
	if err != nil {
		return op.failed(ctx, r, next, types.ResourceStatusUpdateFailed, err)
	}
	op.mark(r, next, types.ResourceStatusUpdateComplete, "")
	return nil
}

func (op *operation) changed(r *stackResource, old, next *made) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	r.Current = next
	if r.Before == nil && !r.New {
		r.Before = old
	}
}

// removal is something to delete: of a resource that goes, or what was there before or after a
// replacement.
type removal struct {
	resource *stackResource
	made     *made // nil when it was never made
	policy   string
}

// removeAll deletes in the order that the dependencies ask for, as much as can be. The keys only tell the
// removals apart.
func (op *operation) removeAll(ctx context.Context, phase Phase, removals map[string]removal) error {
	depends := make(map[string][]string, len(removals))
	for id, r := range removals {
		depends[id] = nil
		for other, user := range removals {
			if user.made != nil && slices.Contains(user.made.Depends, r.resource.LogicalID) {
				depends[id] = append(depends[id], other)
			}
		}
	}
	return walk(ctx, depends, true, func(ctx context.Context, id string) error {
		return op.remove(ctx, phase, removals[id])
	})
}

func (op *operation) remove(ctx context.Context, phase Phase, x removal) error {
	r := x.resource
	if x.made != nil {
		if x.policy != template.Delete {
			op.forget(r, x.made)
			op.mark(r, x.made, types.ResourceStatusDeleteSkipped, "")
			return nil
		}
		op.mark(r, x.made, types.ResourceStatusDeleteInProgress, "")
		provider, err := op.service.provider(r.Type)
		if err == nil {
			err = op.ask(phase, r, x.made)
		}
		if err == nil {
			err = provider.Delete(ctx, &x.made.Physical, op.resource(r, x.made))
		}
		if err != nil {
			return op.failed(ctx, r, x.made, types.ResourceStatusDeleteFailed, err)
		}
		op.forget(r, x.made)
	}
	op.mark(r, x.made, types.ResourceStatusDeleteComplete, "")
	return nil
}

func (op *operation) forget(r *stackResource, m *made) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	if r.Current == m {
		r.Current = nil
	}
}

// resource is a resource as its provider sees it.
func (op *operation) resource(r *stackResource, m *made) *resource.Resource {
	st := op.stack
	tags := maps.Clone(m.Tags)
	if tags == nil {
		tags = map[string]string{}
	}
	tags["aws:cloudformation:stack-name"] = st.Name
	tags["aws:cloudformation:stack-id"] = st.ID
	tags["aws:cloudformation:logical-id"] = r.LogicalID
	return &resource.Resource{
		Type: r.Type, Stack: st.Name, StackID: st.ID, LogicalID: r.LogicalID, Account: st.Account, Region: st.Region,
		Properties: m.Properties, Tags: tags,
	}
}

// ask gives the error with which something that is done to a resource has to fail.
func (op *operation) ask(phase Phase, r *stackResource, m *made) error {
	options := &op.service.options
	if options.Fail != nil {
		if err := options.Fail(op.stack.Name, r.LogicalID, r.Type, phase); err != nil {
			return err
		}
	}
	if options.Permit != nil {
		return options.Permit(op.guard, op.resource(r, m), phase)
	}
	return nil
}

// Ref, Attribute and Import make the operation the resolver of its instance.
func (op *operation) Ref(logicalID string) (string, error) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	return op.stack.ref(logicalID)
}

// Attribute is the value of Fn::GetAtt.
func (op *operation) Attribute(logicalID, attribute string) (string, error) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	return op.stack.attribute(logicalID, attribute)
}

// Import is the value of Fn::ImportValue.
func (op *operation) Import(export string) (string, error) {
	op.service.mu.Lock()
	defer op.service.mu.Unlock()
	return op.service.exported(op.stack, export)
}

func (st *stack) ref(logicalID string) (string, error) {
	r := st.Resources[logicalID]
	if r == nil || r.Current == nil {
		return "", template.Errorf("Template error: resource %s is not there", logicalID)
	}
	return r.Current.ID, nil
}

func (st *stack) attribute(logicalID, attribute string) (string, error) {
	if _, err := st.ref(logicalID); err != nil {
		return "", err
	}
	r := st.Resources[logicalID]
	value, ok := r.Current.Attributes[attribute]
	if !ok {
		return "", template.Errorf("Template error: resource %s does not support attribute type %s in Fn::GetAtt", logicalID, attribute)
	}
	return value, nil
}
