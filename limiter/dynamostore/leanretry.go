package dynamostore

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore/internal/lean"
)

// retryRules is a retryer of the SDK.
type retryRules struct {
	aws.Retryer
	// first gives a standard retryer its due after a first attempt. It is the same for every call, so
	// one does for all; nil for other retryers, which are asked each time.
	first func(error) error
}

func newRetryRules(r aws.Retryer) retryRules {
	inner := r
	if throttling, ok := inner.(throttleRetryer); ok {
		inner = throttling.Retryer
	}
	if standard, ok := inner.(*retry.Standard); ok {
		if first, err := standard.GetAttemptToken(context.Background()); err == nil {
			return retryRules{r, first}
		}
	}
	return retryRules{Retryer: r}
}

func releaseNothing(error) error { return nil }

// attemptToken is to be released with the error of the attempt.
func (r *retryRules) attemptToken(ctx context.Context, number int) (func(error) error, error) {
	if r.first != nil {
		if number == 1 {
			return r.first, nil
		}
		return releaseNothing, nil
	}
	if v2, ok := r.Retryer.(aws.RetryerV2); ok {
		return v2.GetAttemptToken(ctx)
	}
	return r.GetInitialToken(), nil
}

// wait takes a retry from the quota and pauses for it. The token is to be released with the error of the
// next attempt.
func (r *retryRules) wait(ctx context.Context, number int, err error) (release func(error) error, _ error) {
	release, tokenErr := r.GetRetryToken(ctx, err)
	if tokenErr != nil {
		return nil, errors.Join(err, tokenErr)
	}
	delay, delayErr := r.RetryDelay(number, err)
	if delayErr != nil {
		return nil, delayErr
	}
	timer := time.NewTimer(retryAfter(delay, err))
	defer timer.Stop()
	select {
	case <-timer.C:
		return release, nil
	case <-ctx.Done():
		return nil, &aws.RequestCanceledError{Err: ctx.Err()}
	}
}

// retryAfter lengthens a delay to what the service asked for, by at most five seconds.
func retryAfter(delay time.Duration, err error) time.Duration {
	response, ok := errors.AsType[*smithyhttp.ResponseError](err)
	if !ok || response.Response == nil || response.Response.Response == nil {
		return delay
	}
	ms, parseErr := strconv.ParseInt(response.Response.Header.Get("X-Amz-Retry-After"), 10, 64)
	if parseErr != nil || ms < 0 {
		return delay
	}
	return min(max(time.Duration(min(ms, 1<<40))*time.Millisecond, delay), delay+5*time.Second)
}

// maxSkew is how far a clock may be off before that explains a signature that was refused.
const maxSkew = 4 * time.Minute

// correctClock notes what the service's clock is ahead of ours. Replies come too often to read the time of
// all: one a second is enough, and those that are out of the ordinary.
func (c *LeanClient) correctClock(reply *lean.Reply, now time.Time, offset time.Duration) {
	if len(reply.Date) == 0 || reply.Status < 300 && offset == 0 && c.dated.Load() == now.Unix() {
		return
	}
	c.dated.Store(now.Unix())
	if server, err := http.ParseTime(string(reply.Date)); err == nil {
		skew := server.Sub(now)
		if skew.Abs() < 2*time.Second {
			skew = 0 // the header has whole seconds
		}
		c.offset.Store(int64(skew))
	}
}

// skewError is a refusal for a signature of another time; with the right time it may succeed.
type skewError struct{ err error }

func (e *skewError) Error() string        { return fmt.Sprintf("Probable clock skew error: %v", e.err) }
func (e *skewError) Unwrap() error        { return e.err }
func (e *skewError) RetryableError() bool { return true }

// asClockSkew marks a refusal that was signed with an offset which turned out to be wrong.
func (c *LeanClient) asClockSkew(err error, offset time.Duration) error {
	apiErr, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return err
	}
	switch apiErr.ErrorCode() {
	case "InvalidSignatureException", "SignatureDoesNotMatch", "AuthFailure", "RequestTimeTooSkewed", "AccessDeniedException":
		if (time.Duration(c.offset.Load()) - offset).Abs() > maxSkew {
			return &skewError{err}
		}
	}
	return err
}
