// Package cloudformation plays AWS CloudFormation in one process: stacks, change sets, events, exports,
// roll-backs. What a resource is, the services' providers know; see package resource.
//
// An operation on a stack goes on after its call has returned, in a goroutine that belongs to the
// service. Calls may come at the same time. Not played: nested stacks, stack sets, hooks, drift,
// refactoring, imports of existing resources, transforms, stack policies, and updates that leave a failed
// state as it is.
package cloudformation

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation/template"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// Phase says what is being done to a resource.
type Phase string

// The phases of a resource. What a failed operation made is deleted in the phase Rollback.
const (
	Create   Phase = "CREATE"
	Update   Phase = "UPDATE"
	Delete   Phase = "DELETE"
	Rollback Phase = "ROLLBACK"
)

// Options are what the service needs of its surroundings. The zero value has no resource types.
type Options struct {
	// Providers are the resource types that templates may use.
	Providers resource.Providers
	// Fail is asked before each thing that is done to a resource; its error is the reason of the failure.
	// It is called from several goroutines. May be nil.
	Fail func(stack, logicalID, resourceType string, phase Phase) error
	// Permit is asked the same way, after Fail, whether the guard of the caller who began the operation
	// allows it; guard is nil for a caller who may do everything. May be nil.
	Permit func(guard protocol.Guard, r *resource.Resource, phase Phase) error
	// FetchTemplate reads the object that a TemplateURL names; without it such URLs are refused.
	FetchTemplate func(ctx context.Context, url string) ([]byte, error)
	// Exists says whether a value of a parameter of a type such as AWS::EC2::VPC::Id is there; nil
	// believes every value.
	Exists func(ctx context.Context, account, region, kind, value string) bool
	// Now is the clock, time.Now when nil. PageSize is how many items a listing gives at once, 100 when 0.
	Now      func() time.Time
	PageSize int
}

// Service is CloudFormation for every region of an account. Close it.
type Service struct {
	options Options

	mu     sync.Mutex
	stacks []*stack // in order of creation, deleted ones too
	closed bool

	work sync.WaitGroup // one for each change set in the making and each operation
}

// New makes a service without stacks.
func New(options Options) *Service {
	if options.Now == nil {
		options.Now = time.Now
	}
	if options.PageSize == 0 {
		options.PageSize = 100
	}
	return &Service{options: options}
}

// Close waits until every operation has ended. When ctx ends first, the providers' contexts end and the
// error is that of ctx; an operation that this breaks off leaves its stack in a failed state.
func (s *Service) Close(ctx context.Context) error {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	done := make(chan struct{})
	go func() {
		s.work.Wait()
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
	}
	s.mu.Lock()
	for _, st := range s.stacks {
		if st.running != nil {
			st.running.cancel(errClosed)
		}
	}
	s.mu.Unlock()
	<-done
	return ctx.Err()
}

var errClosed = errors.New("the account was closed during the operation")

// Protocol is the service for the front.
func (s *Service) Protocol() protocol.Service {
	return protocol.Service{Name: "cloudformation", Wire: protocol.Query, Operations: map[string]protocol.Operation{
		"ContinueUpdateRollback":      protocol.Op(s.continueUpdateRollback),
		"CreateChangeSet":             protocol.Op(s.createChangeSet),
		"CreateStack":                 protocol.Op(s.createStack),
		"DeleteChangeSet":             protocol.Op(s.deleteChangeSet),
		"DeleteStack":                 protocol.Op(s.deleteStack),
		"DescribeChangeSet":           protocol.Op(s.describeChangeSet),
		"DescribeStackEvents":         protocol.Op(s.describeStackEvents),
		"DescribeStackResource":       protocol.Op(s.describeStackResource),
		"DescribeStackResources":      protocol.Op(s.describeStackResources),
		"DescribeStacks":              protocol.Op(s.describeStacks),
		"ExecuteChangeSet":            protocol.Op(s.executeChangeSet),
		"GetTemplate":                 protocol.Op(s.getTemplate),
		"GetTemplateSummary":          protocol.Op(s.getTemplateSummary),
		"ListChangeSets":              protocol.Op(s.listChangeSets),
		"ListExports":                 protocol.Op(s.listExports),
		"ListImports":                 protocol.Op(s.listImports),
		"ListStackResources":          protocol.Op(s.listStackResources),
		"ListStacks":                  protocol.Op(s.listStacks),
		"UpdateStack":                 protocol.Op(s.updateStack),
		"UpdateTerminationProtection": protocol.Op(s.updateTerminationProtection),
		"ValidateTemplate":            protocol.Op(s.validateTemplate),
	}}
}

func invalid(format string, args ...any) *protocol.Error {
	return protocol.Errorf("ValidationError", format, args...)
}

// refusal makes what is wrong with a template or a parameter an answer.
func refusal(err error) error {
	if e, ok := errors.AsType[template.Error](err); ok {
		return invalid("%s", string(e))
	}
	return err
}

var name = regexp.MustCompile(`^[a-zA-Z][-a-zA-Z0-9]*$`)

// checkName checks a member that names a new stack or change set.
func checkName(member string, value *string) error {
	switch {
	case value == nil:
		return missing(member)
	case !name.MatchString(*value):
		return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must satisfy regular expression pattern: [a-zA-Z][-a-zA-Z0-9]*", *value, member)
	case len(*value) > 128:
		return invalid("1 validation error detected: Value '%s' at '%s' failed to satisfy constraint: Member must have length less than or equal to 128", *value, member)
	}
	return nil
}

func missing(member string) error {
	return invalid("1 validation error detected: Value null at '%s' failed to satisfy constraint: Member must not be null", member)
}

// find gives the stack that a name or an id means. Only an id reaches a deleted stack. The lock is held.
func (s *Service) find(call *protocol.Call, nameOrID string) *stack {
	for _, st := range s.stacks {
		if st.Region != call.Region || st.Account != call.Account {
			continue
		}
		if st.ID == nameOrID || (st.Name == nameOrID && !st.deleted()) {
			return st
		}
	}
	return nil
}

// existing is find after the check of permission for an action; a stack that is not there is an error
// in the given words. The lock is held.
func (s *Service) existing(call *protocol.Call, action string, nameOrID *string, words string) (*stack, error) {
	if nameOrID == nil {
		return nil, missing("stackName")
	}
	st, err := s.allowed(call, action, *nameOrID, nil)
	if err == nil && st == nil {
		err = invalid(words, *nameOrID)
	}
	return st, err
}

// Words for a stack that is not there: operations differ.
const (
	noStackWithID = "Stack with id %s does not exist"
	noStack       = "Stack [%s] does not exist"
	noStackQuoted = "Stack '%s' does not exist"
)

// allowed gives the stack that a name or id means, nil when there is none, if the caller may do the
// action on it. The lock is held.
func (s *Service) allowed(call *protocol.Call, action, nameOrID string, conditions map[string]string) (*stack, error) {
	st := s.find(call, nameOrID)
	arn := nameOrID
	if st != nil {
		arn = st.ID
	} else if !strings.HasPrefix(arn, "arn:") {
		arn = call.ARN("cloudformation", "stack/"+nameOrID+"/*")
	}
	return st, call.AllowIf("cloudformation:"+action, conditions, arn)
}

// checkOpen refuses work that would begin after Close. The lock is held.
func (s *Service) checkOpen() error {
	if s.closed {
		return &protocol.Error{Status: http.StatusServiceUnavailable, Code: "ServiceUnavailable", Message: "the account is being closed"}
	}
	return nil
}

// StackTags are the tags of the stacks that are there, by ARN, for the tagging API.
func (s *Service) StackTags() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tags := map[string]map[string]string{}
	for _, st := range s.stacks {
		if !st.deleted() && st.Definition != nil {
			tags[st.ID] = st.Definition.Tags
		}
	}
	return tags
}

// page gives the items after the one with the key token, at most the page size, and the next token.
func page[T any](s *Service, items []T, token *string, key func(T) string) ([]T, *string, error) {
	if token != nil {
		at := -1
		for i, item := range items {
			if key(item) == *token {
				at = i
			}
		}
		if at < 0 {
			return nil, nil, invalid("Invalid NextToken: %s", *token)
		}
		items = items[at+1:]
	}
	if len(items) <= s.options.PageSize {
		return items, nil, nil
	}
	next := key(items[s.options.PageSize-1])
	return items[:s.options.PageSize], &next, nil
}

func (s *Service) provider(resourceType string) (resource.Provider, error) {
	p, ok := s.options.Providers[resourceType]
	if !ok {
		return nil, fmt.Errorf("resource type %s is not known here", resourceType)
	}
	return p, nil
}
