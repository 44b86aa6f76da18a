// Package protocol is the common part of the services that play AWS on one machine: what a call is, who
// makes it, how an operation is registered, and the error every protocol can carry. Operations take and
// return the types of aws-sdk-go-v2's clients, so that a service is written without any wire format.
package protocol

import (
	"context"
	"fmt"
	"net/http"
	"strings"
)

// Call is one request to a service.
type Call struct {
	// Service is the name in the signature (ecs, cloudformation, …), Action the operation (RunTask, …).
	Service, Action string
	// Account and Region are those that the request is for.
	Account, Region string
	// Principal is the ARN of the user or of the role session that signed the request.
	Principal string
	// UserID is the principal's aws:userid: the unique id of a user, and for a session ROLE-ID:SESSION.
	UserID string
	// ID is the request id that the answer carries.
	ID string
	// Host is the host and port at which the client reached this machine; addresses that are handed out
	// (registry, data channel) begin with it.
	Host string
	// Guard decides what the caller may do; nil allows everything.
	Guard Guard
}

// Guard is the policy check of one caller.
type Guard interface {
	// Allow returns nil when the caller's policies allow an action (as "ecs:RunTask") on a resource (an
	// ARN, or "*"), else an *Error in the words of IAM. Condition keys of the request come with it;
	// JoinValues makes the value of a key that has several.
	Allow(action, resource string, conditions map[string]string) error
}

// Allow asks the guard for one action on each of the resources; without a resource on "*".
func (c *Call) Allow(action string, resources ...string) error {
	return c.AllowIf(action, nil, resources...)
}

// AllowIf is Allow with condition keys of the request, such as ecs:cluster or iam:PassedToService.
func (c *Call) AllowIf(action string, conditions map[string]string, resources ...string) error {
	if c.Guard == nil {
		return nil
	}
	if len(resources) == 0 {
		resources = []string{"*"}
	}
	for _, resource := range resources {
		if err := c.Guard.Allow(action, resource, conditions); err != nil {
			return err
		}
	}
	return nil
}

// valueSeparator stands in no value of a condition key.
const valueSeparator = "\x00"

// JoinValues is the value of a condition key that has several, such as dynamodb:LeadingKeys.
func JoinValues(values []string) string { return strings.Join(values, valueSeparator) }

// Values are those that JoinValues joined.
func Values(joined string) []string { return strings.Split(joined, valueSeparator) }

// ARN builds an ARN of the call's account and region.
func (c *Call) ARN(service, resource string) string {
	return fmt.Sprintf("arn:aws:%s:%s:%s:%s", service, c.Region, c.Account, resource)
}

// Operation serves one action of a service.
type Operation struct {
	serve func(ctx context.Context, call *Call, decode func(into any) error) (any, error)
}

// Op makes an operation of a function over an SDK client's input and output types, such as
// *ecs.RunTaskInput and *ecs.RunTaskOutput. Errors that are not an *Error become InternalFailure.
func Op[In, Out any](f func(ctx context.Context, call *Call, in *In) (*Out, error)) Operation {
	return Operation{func(ctx context.Context, call *Call, decode func(into any) error) (any, error) {
		in := new(In)
		if err := decode(in); err != nil {
			return nil, err
		}
		return f(ctx, call, in)
	}}
}

// Serve runs the operation; decode fills its input.
func (o Operation) Serve(ctx context.Context, call *Call, decode func(into any) error) (any, error) {
	return o.serve(ctx, call, decode)
}

// Wire is the protocol that a service's clients speak.
type Wire int

// The protocols of the services that are played. Clients of another generation may use another one for
// the same service; the front recognises it by the request.
const (
	JSON11   Wire = iota // X-Amz-Target, JSON body: ECS, ECR, SSM, Logs, Service Quotas
	Query                // form body, XML answer: CloudFormation, IAM, STS
	EC2Query             // form body, XML answer with EC2's lists
	CBOR                 // Smithy RPC v2, and JSON or Query for older clients: CloudWatch, tagging
	REST                 // the service routes by itself: Lambda
)

// Service is one AWS service.
type Service struct {
	// Name is the service's name in signatures.
	Name string
	Wire Wire
	// Operations by action; not for REST.
	Operations map[string]Operation
	// Handle serves a REST service. It answers errors with WriteRESTError.
	Handle func(w http.ResponseWriter, r *http.Request, call *Call)
	// Check is asked before Handle, with the request's body; its error is answered in the protocol that
	// the request speaks. May be nil.
	Check func(call *Call, body []byte) error
	// ActionOf names the operation that a REST request is for ("" = none known), which the call then
	// carries. May be nil.
	ActionOf func(r *http.Request) string
}

// Error is an error that a service answers.
type Error struct {
	// Status is the HTTP status, 400 when 0.
	Status        int
	Code, Message string
	// Fields are further members of the error's shape; may be nil.
	Fields map[string]any
}

func (e *Error) Error() string { return e.Code + ": " + e.Message }

// Errorf makes an error of status 400.
func Errorf(code, format string, args ...any) *Error {
	return &Error{Status: http.StatusBadRequest, Code: code, Message: fmt.Sprintf(format, args...)}
}
