package loadclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// Interrupted is the text of a call that was cut off when its user had to stop.
const Interrupted = "interrupted"

// Failure is a failed call. Its text is the same for equal failures of different users, so that
// they are counted together.
type Failure struct {
	// Type is the kind of failure: Interrupted, ResourceDisabled, ValidationError, PermissionDenied,
	// VersionMismatch, EntityExists, Throttled, Unavailable.
	Type string
	Text string
	// Unreachable is set when nothing answered at all.
	Unreachable bool
	Err         error
}

func (f *Failure) Error() string { return f.Text }
func (f *Failure) Unwrap() error { return f.Err }

// Recorded tells package loadtest that the failure is in the statistics already.
func (f *Failure) Recorded() bool { return true }

// Denied begins the reason of a run that ended because a call was denied.
const Denied = "permission denied: "

const permissionDenied = "PermissionDenied"

// As makes the end of a user whose call was denied the end of the run: a denial does not pass, and must not
// show as thousands of equal failures (aws.md 6.4).
func (f *Failure) As(target any) bool {
	stop, ok := target.(**loadtest.StopTestError)
	if !ok || f.Type != permissionDenied {
		return false
	}
	reason := f.Text
	if api, ok := errors.AsType[smithy.APIError](f.Err); ok && api.ErrorMessage() != "" {
		reason = api.ErrorMessage() // it names who may not do what on which table, and why
	}
	*stop = &loadtest.StopTestError{Reason: Denied + reason}
	return true
}

// deniedAction finds the action in the text of a denial.
var deniedAction = regexp.MustCompile(`perform: ([a-z0-9-]+:[A-Za-z]+)`)

// deniedText is what a denial says without the names that differ from call to call.
func deniedText(err error) string {
	text := serviceText(err)
	if api, ok := errors.AsType[smithy.APIError](err); ok {
		if action := deniedAction.FindStringSubmatch(api.ErrorMessage()); action != nil {
			text += " (" + action[1] + ")"
		}
	}
	return text
}

// Classify gives an error of the limiter its stable text.
func Classify(ctx context.Context, err error) *Failure {
	var failure *Failure
	if errors.As(err, &failure) {
		return failure
	}
	f := &Failure{Err: err}
	var disabled *limiter.DisabledError
	var validation *limiter.ValidationError
	var permission *limiter.PermissionError
	switch {
	case ctx.Err() != nil:
		f.Type, f.Text = "Interrupted", Interrupted
		return f
	case errors.As(err, &disabled):
		f.Type, f.Text = "ResourceDisabled", "resource "+disabled.Resource+" is disabled ("+disabled.Level+")"
	case errors.As(err, &validation):
		f.Type, f.Text = "ValidationError", validation.Field+": "+validation.Reason
		if validation.Field == "consume" { // the value is no entity: it tells limits apart, not users
			f.Text = fmt.Sprintf("%s: %q %s", validation.Field, validation.Value, validation.Reason)
		}
	case errors.As(err, &permission):
		f.Type, f.Text = permissionDenied, deniedText(permission.Err)
	case errors.Is(err, limiter.ErrVersion):
		f.Type, f.Text = "VersionMismatch", err.Error()
	case errors.Is(err, limiter.ErrEntityExists):
		f.Type, f.Text = "EntityExists", "the entity exists already"
	default:
		if text, throttled := throttling(err); throttled {
			f.Type, f.Text = "Throttled", text
			break
		}
		f.Type, f.Text = "Unavailable", serviceText(err)
		f.Unreachable = isUnreachable(err)
	}
	f.Text = f.Type + ": " + f.Text
	return f
}

// throttling returns the text of a refusal for the rate, with what was short where the service says
// so; ok is false for other errors.
func throttling(err error) (text string, ok bool) {
	var cancelled *types.TransactionCanceledException
	if errors.As(err, &cancelled) {
		for _, reason := range cancelled.CancellationReasons {
			switch code := aws.ToString(reason.Code); code {
			case "ThrottlingError", "ProvisionedThroughputExceeded":
				return cancelled.ErrorCode() + " (" + code + ")", true
			}
		}
		return "", false
	}
	var api smithy.APIError
	if !errors.As(err, &api) {
		return "", false
	}
	var reasons []types.ThrottlingReason
	switch e := api.(type) {
	case *types.ProvisionedThroughputExceededException:
		reasons = e.ThrottlingReasons
	case *types.ThrottlingException:
		reasons = e.ThrottlingReasons
	case *types.RequestLimitExceeded:
		reasons = e.ThrottlingReasons
	}
	switch text = api.ErrorCode(); text {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
		return text + reasonsText(reasons), true
	}
	return "", false
}

// reasonsText names what was short and of which table or index, each once.
func reasonsText(reasons []types.ThrottlingReason) string {
	var texts []string
	for _, r := range reasons {
		text := aws.ToString(r.Reason)
		if _, resource, found := strings.Cut(aws.ToString(r.Resource), ":table/"); found {
			text += " on table/" + resource
		}
		texts = append(texts, text)
	}
	if len(texts) == 0 {
		return ""
	}
	slices.Sort(texts)
	return " (" + strings.Join(slices.Compact(texts), ", ") + ")"
}

func isUnreachable(err error) bool {
	var operation *net.OpError
	var api smithy.APIError
	return !errors.As(err, &api) &&
		(errors.As(err, &operation) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
			errors.Is(err, syscall.ECONNRESET) || errors.Is(err, os.ErrDeadlineExceeded))
}

// serviceText is what an error says without the addresses, ids and names that differ from call to
// call.
func serviceText(err error) string {
	var api smithy.APIError
	if errors.As(err, &api) {
		return api.ErrorCode()
	}
	var number syscall.Errno
	var timeout net.Error
	switch {
	case errors.As(err, &number):
		return number.Error()
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return "connection closed without a reply"
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	}
	for {
		inner := errors.Unwrap(err)
		if inner == nil {
			return err.Error()
		}
		err = inner
	}
}
