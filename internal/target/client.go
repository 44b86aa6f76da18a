package target

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"
)

// targetPrefix precedes the operation in the header that names it.
const targetPrefix = "DynamoDB_20120810."

// meteredClient is the transport of the SDK's client: it lends connections from a pool of a fixed size and
// counts what goes over them. A caller that finds the pool empty waits; how long is metered. Safe
// for use by several goroutines.
type meteredClient struct {
	transport http.RoundTripper
	slots     chan struct{}
	meter     *Meter
}

func newMeteredClient(transport http.RoundTripper, connections int, meter *Meter) *meteredClient {
	return &meteredClient{transport: transport, slots: make(chan struct{}, connections), meter: meter}
}

// RoundTrip sends one attempt of a call.
func (c *meteredClient) RoundTrip(request *http.Request) (*http.Response, error) {
	waited, err := c.takeSlot(request.Context())
	if err != nil {
		return nil, err
	}
	start := time.Now()
	response, err := c.transport.RoundTrip(request)
	if err == nil {
		err = buffered(response)
	}
	took := time.Since(start)
	<-c.slots

	operation := strings.TrimPrefix(request.Header.Get("X-Amz-Target"), targetPrefix)
	c.meter.attempt(operation, waited, took, outcomeOf(response, err))
	if isRetry(request.Header.Get("Amz-Sdk-Request")) {
		c.meter.current.Load().retries.Add(1)
	}
	if err != nil {
		return nil, err
	}
	return response, nil
}

// isRetry reads the header in which the SDK counts its attempts of a call: "attempt=2; max=3".
func isRetry(header string) bool {
	attempt, _, _ := strings.Cut(strings.TrimPrefix(header, "attempt="), ";")
	return attempt != "" && attempt != "1"
}

func (c *meteredClient) takeSlot(ctx context.Context) (waited time.Duration, err error) {
	select {
	case c.slots <- struct{}{}:
		return 0, nil
	default:
	}
	start := time.Now()
	select {
	case c.slots <- struct{}{}:
		return time.Since(start), nil
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// buffered reads a body that the transport left on the connection, so that the slot can be given
// back and the time of the call is the time of its last byte.
func buffered(response *http.Response) error {
	if _, inMemory := response.Body.(*replyBody); inMemory {
		return nil
	}
	body, err := readBody(response)
	if err != nil {
		return err
	}
	response.Body = body
	return nil
}

// outcome classifies one attempt.
type outcome int

const (
	succeeded outcome = iota
	throttled
	failed
	// refused is an answer that says no and is part of the protocol: a condition that did not hold,
	// a transaction that was cancelled.
	refused
)

func outcomeOf(response *http.Response, err error) outcome {
	if err != nil {
		return failed
	}
	return outcomeOfReply(response.StatusCode, response.Body.(*replyBody).data)
}

func outcomeOfReply(status int, body []byte) outcome {
	switch status {
	case http.StatusOK:
		return succeeded
	case http.StatusBadRequest:
	default:
		return failed
	}
	code := errorCode(body)
	if code == "TransactionCanceledException" && cancelledByRate(body) {
		return throttled
	}
	return outcomeOfError(code)
}

// cancelledByRate reports whether a transaction was cancelled because one of its items was throttled.
func cancelledByRate(body []byte) bool {
	var document struct {
		CancellationReasons []struct{ Code string }
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return false
	}
	for _, reason := range document.CancellationReasons {
		switch reason.Code {
		case "ThrottlingError", "ProvisionedThroughputExceeded":
			return true
		}
	}
	return false
}

func outcomeOfError(code string) outcome {
	switch code {
	case "ConditionalCheckFailedException", "TransactionCanceledException":
		return refused
	case "ProvisionedThroughputExceededException", "ThrottlingException", "RequestLimitExceeded":
		return throttled
	}
	return failed
}

// errorCode returns the name of a service error without its prefix.
func errorCode(body []byte) string {
	// Refusals are frequent and may carry a whole item: their name stands at the start.
	if head := body[:min(len(body), 120)]; bytes.Contains(head, []byte("#ConditionalCheckFailedException")) {
		return "ConditionalCheckFailedException"
	}
	var document struct {
		Type string `json:"__type"`
	}
	if err := json.Unmarshal(body, &document); err != nil {
		return ""
	}
	_, code, found := strings.Cut(document.Type, "#")
	if !found {
		return document.Type
	}
	return code
}
