package dynamostore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	smithyendpoints "github.com/aws/smithy-go/endpoints"
)

// DefaultPoolConnections is the connection pool of a client that does not say otherwise.
const DefaultPoolConnections = 1000

// ClientConfig says what NewClient connects to.
type ClientConfig struct {
	// Region signs the requests and, without an Endpoint, names the service. Required.
	Region string
	// Endpoint is the base URL of the service, such as http://127.0.0.1:8000; "" = the region's own.
	Endpoint string
	// Credentials sign the requests. Required; for an engine that checks none, any static value.
	Credentials aws.CredentialsProvider
	// PoolConnections bounds the connections to the service; 0 = DefaultPoolConnections. A call
	// that finds all of them busy waits for one.
	PoolConnections int
	// Transport replaces the client's own, which NewTransport(PoolConnections) makes. A caller that
	// meters requests wraps that one.
	Transport http.RoundTripper
	// Retryer decides on retries of idempotent requests; nil = the SDK's standard retryer.
	Retryer aws.Retryer
}

// NewClient returns an SDK client tuned for many small requests to one endpoint. It makes no
// request, and looks up neither credentials nor configuration.
func NewClient(cfg ClientConfig) (*dynamodb.Client, error) {
	if cfg.Region == "" || cfg.Credentials == nil {
		return nil, errors.New("dynamostore: a client needs a region and credentials")
	}
	transport := cfg.Transport
	if transport == nil {
		transport = NewTransport(cfg.PoolConnections)
	}
	options := dynamodb.Options{
		Region:            cfg.Region,
		Credentials:       cfg.Credentials,
		HTTPClient:        directClient{transport},
		Retryer:           cfg.Retryer,
		EndpointDiscovery: dynamodb.EndpointDiscoveryOptions{EnableEndpointDiscovery: aws.EndpointDiscoveryDisabled},
	}
	if cfg.Endpoint != "" {
		resolver, err := newFixedEndpoint(cfg.Endpoint)
		if err != nil {
			return nil, err
		}
		// The base endpoint is stated too, so that whoever reads the client's options sees it.
		options.BaseEndpoint = aws.String(cfg.Endpoint)
		options.EndpointResolverV2 = resolver
	}
	return dynamodb.New(options), nil
}

// NewTransport returns a transport whose pool holds up to that many connections, all of which may
// stay idle: with the default of two idle connections a host, every further concurrent call would
// open and close its own. 0 = DefaultPoolConnections.
func NewTransport(connections int) *http.Transport {
	if connections <= 0 {
		connections = DefaultPoolConnections
	}
	dialer := &net.Dialer{Timeout: 3 * time.Second, KeepAlive: 30 * time.Second}
	return &http.Transport{
		Proxy:                 http.ProxyFromEnvironment,
		DialContext:           dialer.DialContext,
		MaxIdleConns:          connections,
		MaxIdleConnsPerHost:   connections,
		MaxConnsPerHost:       connections,
		IdleConnTimeout:       90 * time.Second,
		TLSHandshakeTimeout:   5 * time.Second,
		ExpectContinueTimeout: time.Second,
		// Replies are small, and the checksum that the SDK verifies is that of the plain bytes.
		DisableCompression: true,
		ReadBufferSize:     8 << 10,
		WriteBufferSize:    8 << 10,
	}
}

// directClient calls the transport without the redirects, cookies and time-outs of an http.Client,
// none of which the service uses.
type directClient struct {
	transport http.RoundTripper
}

// maxInMemoryBody is far above what DynamoDB accepts as a request.
const maxInMemoryBody = 32 << 20

// Do implements dynamodb.HTTPClient. The request is the caller's own copy for this attempt.
//
// net/http sends the headers of a request whose body it does not know to be in memory, such as the
// SDK's, ahead of the body: two system calls, and a fast answer to the second meets a request that
// is not finished with its body, which the SDK then closes, and the connection is thrown away.
// A body that is plainly in memory goes out in one piece.
func (c directClient) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.ContentLength > 0 && req.ContentLength <= maxInMemoryBody {
		body := make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, body); err != nil {
			return nil, fmt.Errorf("read request body: %w", err)
		}
		req.Body.Close()
		req.Body = io.NopCloser(bytes.NewReader(body))
	}
	return c.transport.RoundTrip(req)
}

// fixedEndpoint answers every resolution with one endpoint: the SDK's own resolver evaluates its
// rules and parses the URL again for every request.
type fixedEndpoint struct {
	endpoint smithyendpoints.Endpoint
}

func newFixedEndpoint(base string) (fixedEndpoint, error) {
	u, err := url.Parse(base)
	if err != nil {
		return fixedEndpoint{}, fmt.Errorf("dynamostore: endpoint: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return fixedEndpoint{}, fmt.Errorf("dynamostore: endpoint %q is not a URL like http://127.0.0.1:8000", base)
	}
	return fixedEndpoint{smithyendpoints.Endpoint{URI: *u, Headers: http.Header{}}}, nil
}

// ResolveEndpoint implements dynamodb.EndpointResolverV2.
func (f fixedEndpoint) ResolveEndpoint(context.Context, dynamodb.EndpointParameters) (smithyendpoints.Endpoint, error) {
	return f.endpoint, nil
}
