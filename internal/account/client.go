package account

import (
	"bytes"
	"fmt"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
)

// maxInMemoryBody is above the largest call that is made: a function's package.
const maxInMemoryBody = 128 << 20

// wholeBodies is an HTTP client that sends each body in one piece. The SDK closes the body of a request
// as soon as there is an answer. net/http may not be done with it then, takes the closed body for a broken
// request, and closes the connection before the answer has been read. Of a body that it knows to be in
// memory it has a copy of its own.
type wholeBodies struct{ client aws.HTTPClient }

// WholeBodies is the client of Load over one that is made otherwise; nil = the SDK's.
func WholeBodies(client aws.HTTPClient) aws.HTTPClient {
	if client == nil {
		client = awshttp.NewBuildableClient()
	}
	return wholeBodies{client}
}

// Do implements aws.HTTPClient.
func (c wholeBodies) Do(req *http.Request) (*http.Response, error) {
	if req.Body != nil && req.ContentLength > 0 && req.ContentLength <= maxInMemoryBody {
		body := make([]byte, req.ContentLength)
		if _, err := io.ReadFull(req.Body, body); err != nil {
			return nil, fmt.Errorf("read request body: %w", err)
		}
		whole := *req // the SDK closes the body of its own
		whole.Body = io.NopCloser(bytes.NewReader(body))
		req = &whole
	}
	return c.client.Do(req)
}

// Unwrap is the client below, for who needs one like it with other time-outs.
func (c wholeBodies) Unwrap() aws.HTTPClient { return c.client }
