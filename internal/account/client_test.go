package account

import (
	"bytes"
	"io"
	"net/http"
	"testing"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/smithy-go/logging"
)

// body is one that cannot be read any more once it is closed, as the SDK's.
type body struct {
	io.Reader
	closed bool
}

func (b *body) Read(p []byte) (int, error) {
	if b.closed {
		return 0, http.ErrBodyReadAfterClose
	}
	return b.Reader.Read(p)
}

func (b *body) Close() error {
	b.closed = true
	return nil
}

// clientFunc answers requests.
type clientFunc func(*http.Request) (*http.Response, error)

func (f clientFunc) Do(req *http.Request) (*http.Response, error) { return f(req) }

func TestABodyIsWholeAfterTheSDKHasClosedIt(t *testing.T) {
	sent := &body{Reader: bytes.NewReader([]byte("abc"))}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://localhost", sent)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = 3
	var left *http.Request
	client := wholeBodies{clientFunc(func(req *http.Request) (*http.Response, error) {
		left = req
		return &http.Response{}, nil
	})}
	if _, err := client.Do(req); err != nil {
		t.Fatal(err)
	}
	if req.Body != io.ReadCloser(sent) {
		t.Error("the SDK's own request got another body")
	}
	_ = req.Body.Close()
	got, err := io.ReadAll(left.Body)
	if string(got) != "abc" || err != nil {
		t.Errorf("the transport reads %q, %v; want the whole body", got, err)
	}
}

func TestClientsLogNothingAndSendWholeBodies(t *testing.T) {
	cfg, err := Load(t.Context(), Options{Region: "eu-west-1", Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	if cfg.Logger != (logging.Nop{}) {
		t.Errorf("the logger is %T", cfg.Logger)
	}
	client, ok := cfg.HTTPClient.(wholeBodies)
	if !ok {
		t.Fatalf("the client is %T", cfg.HTTPClient)
	}
	if _, ok := client.Unwrap().(*awshttp.BuildableClient); !ok {
		t.Errorf("the client below is %T", client.Unwrap())
	}
}
