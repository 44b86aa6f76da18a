package cloudformation

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// stack is one stack, as it is kept. The service's lock guards it.
type stack struct {
	ID, Name, Account, Region string
	Status                    types.StackStatus
	Reason                    string
	Created, Updated, Deleted time.Time
	OnFailure                 types.OnFailure
	TerminationProtection     bool

	// Definition is nil until the stack's first change set is executed. Previous is what an update, or
	// its roll-back, goes back to.
	Definition, Previous *definition
	Resources            map[string]*stackResource
	Outputs              []output
	// Imports are the exports in use by this stack.
	Imports     []string
	ChangeSets  []*changeSet
	ChangeSetID string // of the change set that was executed last
	Events      []types.StackEvent

	running *operation
}

// definition is what a stack is made of: a template and what was given with it. It is never changed.
type definition struct {
	Body             string
	Parameters, Tags map[string]string
	Capabilities     []types.Capability
	NotificationARNs []string
	RoleARN          string

	template *template.Template
}

// stackResource is a logical resource of a stack.
type stackResource struct {
	LogicalID, Type string
	Status          types.ResourceStatus
	Reason          string
	Updated         time.Time
	// Current is what is there, nil before it is made and after it is deleted.
	Current *made
	// New and Before are set while an update runs or is rolled back: New when this update brought the
	// resource, Before to what was there when this update has changed or replaced it.
	New    bool
	Before *made

	DeletionPolicy, UpdateReplacePolicy string
}

// made is a physical resource and what it was made from.
type made struct {
	resource.Physical
	Properties map[string]any
	Tags       map[string]string
	// Depends are the logical ids that must not be deleted before this one.
	Depends []string
}

type output struct {
	Key, Value, Description string
	Export                  string // empty without one
}

const stackType = "AWS::CloudFormation::Stack"

func (st *stack) deleted() bool { return st.Status == types.StackStatusDeleteComplete }

func (st *stack) inProgress() bool {
	return strings.HasSuffix(string(st.Status), "_IN_PROGRESS") && st.Status != types.StackStatusReviewInProgress
}

// updatable says whether the stack takes an update.
func (st *stack) updatable() bool {
	switch st.Status {
	case types.StackStatusCreateComplete, types.StackStatusUpdateComplete, types.StackStatusUpdateRollbackComplete:
		return true
	}
	return false
}

func (st *stack) export(name string) *output {
	for i := range st.Outputs {
		if st.Outputs[i].Export == name && name != "" {
			return &st.Outputs[i]
		}
	}
	return nil
}

// addStack begins a stack in a status. The lock is held.
func (s *Service) addStack(call *protocol.Call, name string, status types.StackStatus, token *string) *stack {
	st := &stack{
		ID:   call.ARN("cloudformation", "stack/"+name+"/"+newID()),
		Name: name, Account: call.Account, Region: call.Region,
		Created: s.options.Now(), OnFailure: types.OnFailureRollback, Resources: map[string]*stackResource{},
	}
	s.stacks = append(s.stacks, st)
	s.setStatus(st, status, "User Initiated", token)
	return st
}

// setStatus moves a stack on, and writes the event. The lock is held.
func (s *Service) setStatus(st *stack, status types.StackStatus, reason string, token *string) {
	st.Status, st.Reason = status, reason
	s.event(st, types.StackEvent{
		EventId: aws.String(newID()), LogicalResourceId: &st.Name, PhysicalResourceId: &st.ID,
		ResourceType: aws.String(stackType), ResourceStatus: types.ResourceStatus(status),
		ResourceStatusReason: optional(reason), ClientRequestToken: token,
	})
}

// setResource moves a resource on, and writes the event; m is what the event is about, which need not be
// the resource's current one. The lock is held.
func (s *Service) setResource(st *stack, r *stackResource, m *made, status types.ResourceStatus, reason string, token *string) {
	r.Status, r.Reason, r.Updated = status, reason, s.options.Now()
	event := types.StackEvent{
		EventId:           aws.String(fmt.Sprintf("%s-%s-%s", r.LogicalID, status, newID())),
		LogicalResourceId: aws.String(r.LogicalID), ResourceType: aws.String(r.Type), ResourceStatus: status,
		ResourceStatusReason: optional(reason), ClientRequestToken: token,
	}
	if m != nil {
		event.PhysicalResourceId = optional(m.ID)
		// Properties came from a template, so they are always JSON.
		properties, _ := json.Marshal(m.Properties)
		event.ResourceProperties = aws.String(string(properties))
	}
	s.event(st, event)
}

func (s *Service) event(st *stack, event types.StackEvent) {
	event.StackId, event.StackName, event.Timestamp = &st.ID, &st.Name, aws.Time(s.options.Now())
	st.Events = append(st.Events, event)
}

// environment are the stack's pseudo parameters.
func (st *stack) environment(d *definition) template.Environment {
	e := template.Environment{
		Partition: "aws", URLSuffix: "amazonaws.com", Account: st.Account, Region: st.Region,
		StackName: st.Name, StackID: st.ID, NotificationARNs: d.NotificationARNs,
	}
	for _, zone := range "abc" {
		e.Zones = append(e.Zones, st.Region+string(zone))
	}
	return e
}

func (d *definition) instance(st *stack) (*template.Instance, error) {
	return d.template.Instantiate(st.environment(d), d.Parameters)
}

// outputs evaluates the outputs of an instance.
func outputs(instance *template.Instance, r template.Resolver) ([]output, error) {
	var out []output
	for _, key := range slices.Sorted(maps.Keys(instance.Outputs)) {
		from := instance.Outputs[key]
		o := output{Key: key, Description: from.Description}
		var err error
		if o.Value, err = resolveText(instance, from.Value, r); err != nil {
			return nil, err
		}
		if from.Export != nil {
			if o.Export, err = resolveText(instance, from.Export, r); err != nil {
				return nil, err
			}
			if strings.TrimSpace(o.Value) == "" {
				return nil, template.Errorf("Cannot export output %s. Exported values must not be empty or whitespace-only.", key)
			}
		}
		out = append(out, o)
	}
	return out, nil
}

func resolveText(instance *template.Instance, value any, r template.Resolver) (string, error) {
	resolved, err := instance.Resolve(value, r)
	if err != nil {
		return "", err
	}
	switch resolved.(type) {
	case []any, map[string]any:
		return "", template.Errorf("Template format error: Output value must be a string")
	}
	return template.Text(resolved), nil
}

// newID is a random id in the form of a UUID.
func newID() string {
	var b [16]byte
	rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// optional is nil for the empty text.
func optional(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
