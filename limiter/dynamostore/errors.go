package dynamostore

import (
	"errors"
	"fmt"

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

// mapPermission makes an error wrap limiter.ErrAccessDenied when the service refused the call for
// want of a permission, anywhere in its chain. Other errors, nil included, come back unchanged.
func mapPermission(err error) error {
	if apiErr, ok := errors.AsType[smithy.APIError](err); ok {
		switch apiErr.ErrorCode() {
		case "AccessDeniedException", "AccessDenied", "UnauthorizedOperation":
			return fmt.Errorf("%w: %w", limiter.ErrAccessDenied, err)
		}
	}
	return err
}

// wrap names the operation and the item of an error.
func wrap(operation, subject string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", operation, subject, mapPermission(err))
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
