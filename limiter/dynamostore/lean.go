package dynamostore

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore/internal/lean"
)

// LeanConfig says what NewLeanClient connects to. Its fields mean what those of ClientConfig mean.
type LeanConfig struct {
	Region          string
	Endpoint        string // "" = the region's own
	Credentials     aws.CredentialsProvider
	PoolConnections int
	Retryer         aws.Retryer
	// TLS configures an https endpoint; nil = the roots of the system.
	TLS *tls.Config
	// Observe is told of every attempt that was made to send a request. It is called on the
	// goroutine of the call and by many at a time.
	Observe func(Attempt)
}

// Attempt is one request of a call, and how it ended.
type Attempt struct {
	Operation string
	Number    int           // from 1; more are retries
	Waited    time.Duration // for a connection of the pool
	Took      time.Duration // from then to the last byte of the reply
	Status    int           // of the reply; 0 without one
	Body      []byte        // of the reply, valid until Observe returns
	Err       error         // why there is no reply
}

// LeanClient is an API that sends the limiter's requests without the SDK's client: it writes a signed
// request and reads its reply on the calling goroutine, over connections that it keeps, and makes the
// speculative write of an acquire without the SDK's shapes (see Consumer). Everything else is as the SDK
// has it: the retryer with its quota and delays, the correction of a clock that is off, credentials,
// errors and their texts. It is safe for concurrent use.
//
// The connections are HTTP/1.1; the variables HTTPS_PROXY and NO_PROXY count for https endpoints. A reply
// whose checksum does not match is treated as lost.
type LeanClient struct {
	transport *lean.Transport
	observe   func(Attempt)
	options   dynamodb.Options
	// usual and once are the rules for repeating a request: those of the client, and those for writes that
	// must not be repeated after an unknown outcome.
	usual, once retryRules
	// offset is what the service's clock is ahead of ours, in nanoseconds.
	offset atomic.Int64
	// dated is the second of the last reply whose time was looked at.
	dated atomic.Int64
	// consumptions keeps what the speculative write needs from one to the next.
	consumptions sync.Pool
}

var (
	_ API      = (*LeanClient)(nil)
	_ Consumer = (*LeanClient)(nil)
)

// NewLeanClient returns a client of one endpoint. It makes no request, and looks up neither credentials
// nor configuration.
func NewLeanClient(cfg LeanConfig) (*LeanClient, error) {
	// The SDK's client is not called; it knows the defaults of its options.
	client, err := NewClient(ClientConfig{
		Region: cfg.Region, Endpoint: cfg.Endpoint, Credentials: cfg.Credentials, Retryer: cfg.Retryer,
		Transport: http.DefaultTransport,
	})
	if err != nil {
		return nil, err
	}
	c := &LeanClient{options: client.Options(), observe: cfg.Observe}
	endpoint, err := resolveEndpoint(&c.options)
	if err != nil {
		return nil, err
	}
	connections := cfg.PoolConnections
	if connections <= 0 {
		connections = DefaultPoolConnections
	}
	c.transport, err = lean.New(lean.Config{
		Endpoint: endpoint, Region: cfg.Region, Credentials: cfg.Credentials, Connections: connections,
		TLS: cfg.TLS, Proxy: proxyFromEnvironment,
	})
	if err != nil {
		return nil, fmt.Errorf("dynamostore: %w", err)
	}
	c.usual, c.once = newRetryRules(c.options.Retryer), newRetryRules(throttleRetryer{c.options.Retryer})
	c.consumptions.New = func() any { return new(consumption) }
	return c, nil
}

func proxyFromEnvironment(u *url.URL) (*url.URL, error) {
	return http.ProxyFromEnvironment(&http.Request{URL: u})
}

func resolveEndpoint(o *dynamodb.Options) (*url.URL, error) {
	resolved, err := o.EndpointResolverV2.ResolveEndpoint(context.Background(), dynamodb.EndpointParameters{
		Region:       aws.String(o.Region),
		UseFIPS:      aws.Bool(o.EndpointOptions.UseFIPSEndpoint == aws.FIPSEndpointStateEnabled),
		UseDualStack: aws.Bool(o.EndpointOptions.UseDualStackEndpoint == aws.DualStackEndpointStateEnabled),
	})
	if err != nil {
		return nil, fmt.Errorf("dynamostore: endpoint of region %q: %w", o.Region, err)
	}
	return &resolved.URI, nil
}

// Options returns the SDK's options that the client goes by.
func (c *LeanClient) Options() dynamodb.Options { return c.options }

// CloseIdleConnections closes the connections that no request is using.
func (c *LeanClient) CloseIdleConnections() { c.transport.CloseIdleConnections() }

// replyReader takes a reply with a status of 2xx, or any for which it returns handled.
type replyReader interface {
	read(*lean.Reply) error
}

// do sends a call until it is answered, or is not worth repeating, as the SDK's retry middleware does.
func (c *LeanClient) do(ctx context.Context, call *lean.Call, operation string, rules *retryRules, reader replyReader) error {
	releaseRetry := releaseNothing
	for number := 1; ; number++ {
		if err := ctx.Err(); err != nil {
			return failedOperation(operation, err)
		}
		releaseAttempt, err := rules.attemptToken(ctx, number)
		if err != nil {
			return failedOperation(operation, fmt.Errorf("failed to get retry Send token, %w", err))
		}
		offset := time.Duration(c.offset.Load())
		err = c.attempt(ctx, call, operation, number, offset, reader)
		if released := errors.Join(releaseRetry(err), releaseAttempt(err)); released != nil && err != nil {
			return failedOperation(operation, fmt.Errorf("failed to release retry token after request error, %w", released))
		}
		if err == nil || errors.Is(err, errRefused) {
			return err
		}
		err = c.asClockSkew(err, offset)
		if !rules.IsErrorRetryable(err) {
			return failedOperation(operation, err)
		}
		if most := rules.MaxAttempts(); most > 0 && number >= most {
			return failedOperation(operation, &retry.MaxAttemptsError{Attempt: number, Err: err})
		}
		if releaseRetry, err = rules.wait(ctx, number, err); err != nil {
			return failedOperation(operation, err)
		}
	}
}

func failedOperation(operation string, err error) error {
	return &smithy.OperationError{ServiceID: dynamodb.ServiceID, OperationName: operation, Err: err}
}

// attempt sends a call once.
func (c *LeanClient) attempt(ctx context.Context, call *lean.Call, operation string, number int, offset time.Duration, reader replyReader) error {
	timing, err := c.transport.Send(ctx, call, operation, offset)
	reply := &call.Reply
	if c.observe != nil && timing.Took > 0 {
		c.observe(Attempt{
			Operation: operation, Number: number, Waited: timing.Waited, Took: timing.Took,
			Status: reply.Status, Body: reply.Body, Err: err,
		})
	}
	if err != nil {
		return unanswered(ctx, err)
	}
	c.correctClock(reply, timing.Ended, offset)
	return reader.read(reply)
}

// unanswered gives an error of the transport the form that it has in the SDK.
func unanswered(ctx context.Context, err error) error {
	if _, ok := errors.AsType[*lean.CredentialsError](err); ok {
		return err
	}
	var cause error = &smithyhttp.RequestSendError{Err: err}
	if ended := ctx.Err(); ended != nil {
		cause = &smithy.CanceledError{Err: ended}
	}
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{
		Response: &smithyhttp.Response{Response: &http.Response{Header: http.Header{}, Body: http.NoBody}}, Err: cause,
	}}
}

// httpResponse is a reply as the SDK's code takes it.
func httpResponse(reply *lean.Reply) *smithyhttp.Response {
	return &smithyhttp.Response{Response: &http.Response{
		StatusCode: reply.Status, Status: strconv.Itoa(reply.Status) + " " + http.StatusText(reply.Status),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: reply.Header(),
		ContentLength: int64(len(reply.Body)), Body: io.NopCloser(bytes.NewReader(bytes.Clone(reply.Body))),
	}}
}

// decode reads a reply with the SDK's protocol: into out, or as the error that it is.
func (c *LeanClient) decode(reply *lean.Reply, schema *smithy.OperationSchema, out smithy.Deserializable) error {
	response := httpResponse(reply)
	err := c.options.Protocol.DeserializeResponse(context.Background(), schema, dynamodb.TypeRegistry, response, out)
	if err == nil {
		return nil
	}
	id := response.Header.Get("X-Amzn-Requestid")
	if id == "" {
		id = response.Header.Get("X-Amz-Requestid")
	}
	return &awshttp.ResponseError{ResponseError: &smithyhttp.ResponseError{Response: response, Err: err}, RequestID: id}
}
