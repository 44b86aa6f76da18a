package dynamostore

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// maxThrottleDelay bounds the wait before a throttled write is repeated.
const (
	throttleBaseDelay = 25 * time.Millisecond
	maxThrottleDelay  = time.Second
)

// throttleRetryer repeats a request only when the service said that it throttled it: the one answer
// that is worth repeating and says that nothing was written. It takes attempts and retry quota from
// the client's own retryer, so a client that is configured not to retry does not.
type throttleRetryer struct {
	aws.Retryer
}

// IsErrorRetryable implements aws.Retryer.
func (r throttleRetryer) IsErrorRetryable(err error) bool { return isThrottle(err) }

// RetryDelay implements aws.Retryer: full jitter on a base that suits a service of milliseconds.
func (r throttleRetryer) RetryDelay(attempt int, _ error) (time.Duration, error) {
	ceiling := min(throttleBaseDelay<<min(max(attempt, 0), 10), maxThrottleDelay)
	return rand.N(ceiling), nil
}

// GetAttemptToken implements aws.RetryerV2.
func (r throttleRetryer) GetAttemptToken(ctx context.Context) (func(error) error, error) {
	if v2, ok := r.Retryer.(aws.RetryerV2); ok {
		return v2.GetAttemptToken(ctx)
	}
	return r.GetInitialToken(), nil
}

// writeOnceOptions returns the options of calls that must not be repeated after an outcome that
// leaves open whether they were applied.
func writeOnceOptions(api API) []func(*dynamodb.Options) {
	var inner aws.Retryer
	var protocol smithyhttp.ClientProtocol
	if client, ok := api.(interface{ Options() dynamodb.Options }); ok {
		options := client.Options()
		inner = options.Retryer
		if options.Protocol != nil {
			protocol = flatProtocol{options.Protocol}
		}
	}
	if inner == nil {
		inner = retry.NewStandard()
	}
	var retryer aws.Retryer = throttleRetryer{inner} // converted once, not for each call
	return []func(*dynamodb.Options){func(o *dynamodb.Options) {
		o.Retryer = retryer
		if protocol != nil {
			o.Protocol = protocol
		}
	}}
}

// isThrottle reports whether the service refused the request for its rate.
func isThrottle(err error) bool {
	apiErr, ok := errors.AsType[smithy.APIError](err)
	if !ok {
		return false
	}
	switch apiErr.ErrorCode() {
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded",
		"Throttling", "ThrottledException", "TooManyRequestsException", "SlowDown":
		return true
	}
	return false
}

// pause waits, or returns the context's error when it ends first.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
