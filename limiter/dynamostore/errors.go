package dynamostore

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Codes of the reasons of a cancelled transaction.
const (
	reasonConditionFailed = "ConditionalCheckFailed"
	reasonConflict        = "TransactionConflict"
)

// IsThrottle reports whether the service refused a request for its rate, at the level of the
// request or as the reason of a cancelled transaction. Nothing was written then.
func IsThrottle(err error) bool {
	if cancelled, ok := errors.AsType[*types.TransactionCanceledException](err); ok {
		for _, reason := range cancelled.CancellationReasons {
			switch aws.ToString(reason.Code) {
			case "ThrottlingError", "ProvisionedThroughputExceeded":
				return true
			}
		}
		return false
	}
	return isThrottle(err)
}

// Names of the policies that a limiter's stack exports; the output with the ARN of one has the suffix Arn.
const (
	AcquireOnlyPolicy = "AcquireOnlyPolicy"
	FullAccessPolicy  = "FullAccessPolicy"
	ReadOnlyPolicy    = "ReadOnlyPolicy"
)

// DeniedError says which permission the caller lacks. It wraps limiter.ErrAccessDenied and the service's error.
type DeniedError struct {
	Action string // such as dynamodb:PutItem; "" when the service does not say
	Policy string // the least of the stack's policies that has it; "" when no policy helps, against an explicit deny
	Err    error
}

func (e *DeniedError) Error() string {
	needs, since := "a permission", ""
	if e.Action != "" {
		needs = e.Action
	}
	switch e.Action {
	case "dynamodb:ConditionCheckItem", "dynamodb:PutItem", "dynamodb:UpdateItem":
		if e.Policy == AcquireOnlyPolicy {
			since = " since release 0.17"
		}
	}
	if e.Policy == "" {
		return fmt.Sprintf("%v: needs %s: %v", limiter.ErrAccessDenied, needs, e.Err)
	}
	return fmt.Sprintf("%v: needs %s, which the exported policy %s has%s: %v", limiter.ErrAccessDenied, needs, e.Policy, since, e.Err)
}

// Unwrap returns limiter.ErrAccessDenied and the service's error.
func (e *DeniedError) Unwrap() []error { return []error{limiter.ErrAccessDenied, e.Err} }

// deniedAction finds the action in what IAM says.
var deniedAction = regexp.MustCompile(`is not authorized to perform: (dynamodb:\w+)`)

// denied turns an error into a *DeniedError when the service refused the call for want of a permission, anywhere in
// its chain. Other errors, nil included, come back unchanged. policy is that of the operation.
func denied(err error, policy string) error {
	apiErr, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	switch apiErr.ErrorCode() {
	case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation":
	default:
		return err
	}
	e := &DeniedError{Policy: policy, Err: err}
	if strings.Contains(apiErr.ErrorMessage(), "explicit deny") {
		e.Policy = ""
	}
	if m := deniedAction.FindStringSubmatch(apiErr.ErrorMessage()); m != nil {
		e.Action = m[1]
	}
	return e
}

// mapPermission is denied for what administers: policies that may read are enough for reads.
func mapPermission(err error) error {
	err = denied(err, FullAccessPolicy)
	if e, ok := err.(*DeniedError); ok && e.Policy != "" {
		switch e.Action {
		case "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan", "dynamodb:DescribeTable":
			e.Policy = ReadOnlyPolicy
		}
	}
	return err
}

// wrap names the operation and the item of an error.
func wrap(operation, subject string, err error) error {
	if err == nil {
		return nil
	}
	if tooMany := tooManyLimits(subject, err); tooMany != nil {
		return tooMany
	}
	return fmt.Errorf("%s %s: %w", operation, subject, mapPermission(err))
}

// wrapAcquire is wrap for the requests of an acquire.
func wrapAcquire(operation, subject string, err error) error {
	if err == nil {
		return nil
	}
	if tooMany := tooManyLimits(subject, err); tooMany != nil {
		return tooMany
	}
	return fmt.Errorf("%s %s: %w", operation, subject, denied(err, AcquireOnlyPolicy))
}

// tooManyLimits returns a *limiter.ValidationError for a write that is larger than an expression may be: that
// depends on nothing but the number of limits and the length of their names, so that the same call can never
// succeed. It returns nil for any other error.
func tooManyLimits(subject string, err error) error {
	apiErr, ok := errors.AsType[smithy.APIError](err)
	if !ok || apiErr.ErrorCode() != "ValidationException" {
		return nil
	}
	_, size, ok := strings.Cut(apiErr.ErrorMessage(), "Expression size has exceeded the maximum allowed size; ")
	if !ok {
		return nil
	}
	return invalid("limits", subject, "has more limits, or longer names of them, than one DynamoDB expression of 4096 bytes holds ("+
		size+"): use fewer limits in one acquire, or shorter names")
}

func isConditionFailed(err error) bool {
	_, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	return ok
}

// failedImage returns the item that failed the condition of a single write; ok is false when the
// error is another one. The item is nil when there was none.
func failedImage(err error) (it item, ok bool) {
	failed, ok := errors.AsType[*types.ConditionalCheckFailedException](err)
	if !ok {
		return nil, false
	}
	return failed.Item, true
}

// isConflict reports whether another transaction held an item and no condition failed beside it.
func isConflict(err error) bool {
	if _, ok := errors.AsType[*types.TransactionConflictException](err); ok {
		return true
	}
	cancelled, ok := errors.AsType[*types.TransactionCanceledException](err)
	return ok && hasReason(cancelled, reasonConflict) && !hasReason(cancelled, reasonConditionFailed)
}

func hasReason(cancelled *types.TransactionCanceledException, code string) bool {
	for _, reason := range cancelled.CancellationReasons {
		if aws.ToString(reason.Code) == code {
			return true
		}
	}
	return false
}

func invalid(field, value, reason string) error {
	if len(value) > 50 {
		value = value[:50] + "..."
	}
	return &limiter.ValidationError{Field: field, Value: value, Reason: reason}
}
