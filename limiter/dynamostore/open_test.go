package dynamostore_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func newClient(t testing.TB, endpoint string) *dynamodb.Client {
	t.Helper()
	client, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: "us-east-1", Endpoint: endpoint, PoolConnections: 16,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// connector makes a client of an endpoint.
type connector func(t testing.TB, endpoint string) dynamostore.API

var clients = []struct {
	name    string
	connect connector
}{
	{"sdk", func(t testing.TB, endpoint string) dynamostore.API { return newClient(t, endpoint) }},
	{"lean", func(t testing.TB, endpoint string) dynamostore.API { return newLeanClient(t, endpoint) }},
	// Without the special way of the speculative write: as behind a wrapper that does not know it.
	{"lean, the SDK's shapes only", func(t testing.TB, endpoint string) dynamostore.API {
		return leanShapes{newLeanClient(t, endpoint)}
	}},
}

// leanShapes hides Consume.
type leanShapes struct{ dynamostore.API }

func (l leanShapes) Options() dynamodb.Options { return l.API.(*dynamostore.LeanClient).Options() }

// withEachClient runs a test over the SDK's client and over ours, which must not differ.
func withEachClient(t *testing.T, run func(t *testing.T, connect connector)) {
	for _, client := range clients {
		t.Run(client.name, func(t *testing.T) { run(t, client.connect) })
	}
}

// service starts a server that answers every request as given, and counts them.
func service(t *testing.T, status int, contentType, body string) (endpoint string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		io.WriteString(w, body)
	}))
	t.Cleanup(server.Close)
	return server.URL, requests
}

const dynamoJSON = "application/x-amz-json-1.0"

func TestCheckSaysWhatIsWrong(t *testing.T) { withEachClient(t, testCheckSaysWhatIsWrong) }

func testCheckSaysWhatIsWrong(t *testing.T, connect connector) {
	keys := func(hash string) string {
		return `"KeySchema":[{"AttributeName":"` + hash + `","KeyType":"HASH"},{"AttributeName":"SK","KeyType":"RANGE"}]`
	}
	tests := []struct {
		name              string
		status            int
		contentType, body string
		want              error
		mentions          string
	}{
		{"no table", 400, dynamoJSON, `{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"x"}`, dynamostore.ErrTableNotFound, "zae"},
		{"a web page", 200, "text/html", "<html><body>It works!</body></html>", dynamostore.ErrNotDynamoDB, ""},
		{"a web page that is not found", 404, "text/html", "<h1>404</h1>", dynamostore.ErrNotDynamoDB, ""},
		{"another service's JSON", 200, "application/json", `{"hello":"world"}`, dynamostore.ErrNotDynamoDB, ""},
		{"nothing", 200, dynamoJSON, ``, dynamostore.ErrNotDynamoDB, ""},
		{"no permission", 400, dynamoJSON, `{"__type":"com.amazon.coral.service#AccessDeniedException","message":"no"}`, limiter.ErrAccessDenied, ""},
		{"another table's keys", 200, dynamoJSON, `{"Table":{"TableName":"zae","TableStatus":"ACTIVE",` + keys("id") + `}}`, nil, "primary key is id (HASH) and SK (RANGE)"},
		{"indexes missing", 200, dynamoJSON, `{"Table":{"TableName":"zae","TableStatus":"ACTIVE",` + keys("PK") + `}}`, nil, "index GSI3 is missing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			endpoint, _ := service(t, tt.status, tt.contentType, tt.body)
			err := dynamostore.OpenTable(connect(t, endpoint), "zae", dynamostore.TableOptions{}).Check(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.mentions) {
				t.Fatalf("got %v, want it to mention %q", err, tt.mentions)
			}
			if tt.want != nil && !errors.Is(err, tt.want) {
				t.Errorf("got %v, want %v", err, tt.want)
			}
			if _, isSchema := errors.AsType[*dynamostore.SchemaError](err); tt.want == nil && !isSchema {
				t.Errorf("got %v, want a schema error", err)
			}
		})
	}
}

func TestCheckOfAnAddressWhereNothingListens(t *testing.T) { withEachClient(t, testNothingListens) }

func testNothingListens(t *testing.T, connect connector) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	err = dynamostore.OpenTable(connect(t, "http://"+l.Addr().String()), "zae", dynamostore.TableOptions{}).Check(t.Context())
	if !errors.Is(err, dynamostore.ErrUnreachable) {
		t.Errorf("got %v, want ErrUnreachable", err)
	}
}

func TestCheckOfAListenerThatDoesNotSpeakHTTP(t *testing.T) { withEachClient(t, testNoHTTP) }

func testNoHTTP(t *testing.T, connect connector) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(c, "-ERR unknown command\r\n")
			c.Close()
		}
	}()
	start := time.Now()
	err = dynamostore.OpenTable(connect(t, "http://"+l.Addr().String()), "zae", dynamostore.TableOptions{}).Check(t.Context())
	if !errors.Is(err, dynamostore.ErrNotDynamoDB) && !errors.Is(err, dynamostore.ErrUnreachable) {
		t.Errorf("got %v", err)
	}
	if took := time.Since(start); took > 9*time.Second {
		t.Errorf("took %v", took)
	}
}

// A reply that is lost after the write must be one request and one error: a second would charge twice.
func TestWritesThatAddAreNotRepeatedAfterAnAmbiguousOutcome(t *testing.T) {
	withEachClient(t, testAmbiguousWrites)
}

func testAmbiguousWrites(t *testing.T, connect connector) {
	write := limiter.Write{Kind: limiter.WriteRefill, Key: example, Limits: []limiter.LimitWrite{rpm(1, 1)}}
	calls := map[string]func(context.Context, *dynamostore.Store) error{
		"consume": func(ctx context.Context, s *dynamostore.Store) error {
			return s.Consume(ctx, &limiter.ConsumeInput{Key: example}, new(limiter.ConsumeOutput))
		},
		"create": func(ctx context.Context, s *dynamostore.Store) error {
			return s.Write(ctx, twoCreates, new(limiter.WriteOutput))
		},
		"refill": func(ctx context.Context, s *dynamostore.Store) error {
			return s.Write(ctx, []limiter.Write{write}, new(limiter.WriteOutput))
		},
		"adjust": func(ctx context.Context, s *dynamostore.Store) error {
			_, err := s.Adjust(ctx, &limiter.AdjustInput{Key: example, Changes: []limiter.Change{{Limit: "rpm", Delta: 1}}})
			return err
		},
	}
	for name, call := range calls {
		t.Run(name, func(t *testing.T) {
			var lost, broken atomic.Int64
			dropping := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				io.Copy(io.Discard, r.Body)
				lost.Add(1)
				panic(http.ErrAbortHandler)
			}))
			t.Cleanup(dropping.Close)
			failing := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				broken.Add(1)
				w.WriteHeader(500)
			}))
			t.Cleanup(failing.Close)
			for _, server := range []struct {
				url      string
				requests *atomic.Int64
			}{{dropping.URL, &lost}, {failing.URL, &broken}} {
				store := dynamostore.OpenTable(connect(t, server.url), "t", dynamostore.TableOptions{}).Store("ns")
				if err := call(t.Context(), store); err == nil {
					t.Error("no error")
				}
				if n := server.requests.Load(); n != 1 {
					t.Errorf("%d requests, want 1", n)
				}
			}
		})
	}
}

func TestThrottledWritesAreRepeated(t *testing.T) {
	body := `{"__type":"com.amazonaws.dynamodb.v20120810#ProvisionedThroughputExceededException","message":"slow down"}`
	endpoint, requests := service(t, 400, dynamoJSON, body)
	withEachClient(t, func(t *testing.T, connect connector) {
		requests.Store(0)
		err := newStore(connect(t, endpoint)).Consume(t.Context(), &limiter.ConsumeInput{Key: example}, new(limiter.ConsumeOutput))
		if !dynamostore.IsThrottle(err) || requests.Load() != 3 {
			t.Errorf("%d requests, %v, want 3 and a throttle", requests.Load(), err)
		}
	})

	never, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: "us-east-1", Endpoint: endpoint, Retryer: aws.NopRetryer{},
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	requests.Store(0)
	err = newStore(never).Consume(t.Context(), &limiter.ConsumeInput{Key: example}, new(limiter.ConsumeOutput))
	if !dynamostore.IsThrottle(err) || requests.Load() != 1 {
		t.Errorf("client without retries: %d requests, %v", requests.Load(), err)
	}
}

func TestClientConfigsThatAreRefused(t *testing.T) {
	static := credentials.NewStaticCredentialsProvider("a", "b", "")
	for name, cfg := range map[string]dynamostore.ClientConfig{
		"no region":      {Credentials: static},
		"no credentials": {Region: "us-east-1"},
		"no scheme":      {Region: "us-east-1", Credentials: static, Endpoint: "127.0.0.1:8000"},
		"another scheme": {Region: "us-east-1", Credentials: static, Endpoint: "ftp://x"},
	} {
		if _, err := dynamostore.NewClient(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestClientReusesItsConnectionAndTalksToItsEndpointOnly(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", dynamoJSON)
		io.WriteString(w, bucketReply)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	t.Cleanup(server.Close)
	hosts := &hostRecorder{RoundTripper: dynamostore.NewTransport(0)}
	client, err := dynamostore.NewClient(dynamostore.ClientConfig{
		Region: "us-east-1", Endpoint: server.URL, Transport: hosts,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	l := newLimiter(t, client)
	for range 50 {
		if err := acquireOnce(t.Context(), l); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
	for _, host := range hosts.hosts {
		if "http://"+host != server.URL {
			t.Errorf("a request to %s", host)
		}
	}
}

type hostRecorder struct {
	http.RoundTripper
	hosts []string
}

func (h *hostRecorder) RoundTrip(r *http.Request) (*http.Response, error) {
	h.hosts = append(h.hosts, r.URL.Host)
	return h.RoundTripper.RoundTrip(r)
}

// Replies that are no plain bucket take the SDK's way and lose nothing.
func TestRepliesOfEveryShapeAreRead(t *testing.T) { withEachClient(t, testRepliesOfEveryShape) }

func testRepliesOfEveryShape(t *testing.T, connect connector) {
	for name, body := range map[string]string{
		"plain":               `{"Attributes":{"rf":{"N":"7"},"b_n_tk":{"N":"5"},"parent_id":{"S":"org"}}}`,
		"white space":         `{ "Attributes": {"rf": {"N": "7"}, "b_n_tk": {"N": "5"}, "parent_id": {"S": "org"}} }`,
		"escapes":             `{"Attributes":{"rf":{"N":"7"},"b_n_tk":{"N":"5"},"parent_id":{"S":"\u006frg"}}}`,
		"consumed capacity":   `{"Attributes":{"rf":{"N":"7"},"b_n_tk":{"N":"5"},"parent_id":{"S":"org"}},"ConsumedCapacity":{"TableName":"t","CapacityUnits":1}}`,
		"an attribute of map": `{"Attributes":{"rf":{"N":"7"},"b_n_tk":{"N":"5"},"parent_id":{"S":"org"},"m":{"M":{"k":{"L":[{"S":"x"}]}}}}}`,
	} {
		t.Run(name, func(t *testing.T) {
			endpoint, _ := service(t, 200, dynamoJSON, body)
			var out limiter.ConsumeOutput
			if err := newStore(connect(t, endpoint)).Consume(t.Context(), &limiter.ConsumeInput{Key: example}, &out); err != nil {
				t.Fatal(err)
			}
			if out.Image.RF != 7 || out.Image.ParentID != "org" || out.Image.Limit("n") == nil || out.Image.Limit("n").Tokens != 5 {
				t.Errorf("got %+v", out.Image)
			}
		})
	}
}

func newLeanClient(t testing.TB, endpoint string) *dynamostore.LeanClient {
	t.Helper()
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{
		Region: "us-east-1", Endpoint: endpoint, PoolConnections: 16,
		Credentials: credentials.NewStaticCredentialsProvider("local", "local", ""),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	return client
}
