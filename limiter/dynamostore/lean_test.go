package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// impatient is the SDK's standard retryer without its pauses.
func impatient() aws.Retryer {
	return retry.NewStandard(func(o *retry.StandardOptions) {
		o.Backoff = retry.BackoffDelayerFunc(func(int, error) (time.Duration, error) { return 0, nil })
	})
}

// both returns an SDK client and a lean one that are configured alike.
func both(t *testing.T, endpoint string, keys aws.CredentialsProvider) map[string]dynamostore.API {
	t.Helper()
	sdk, err := dynamostore.NewClient(dynamostore.ClientConfig{Region: "us-east-1", Endpoint: endpoint, Credentials: keys, Retryer: impatient()})
	if err != nil {
		t.Fatal(err)
	}
	lean, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: "us-east-1", Endpoint: endpoint, Credentials: keys, Retryer: impatient()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(lean.CloseIdleConnections)
	return map[string]dynamostore.API{"sdk": sdk, "lean": lean}
}

var staticKeys = credentials.NewStaticCredentialsProvider("local", "local", "")

// ending is how a call ended: what a user of either client sees of it.
type ending struct {
	text                                 string
	throttle, denied, deadline, canceled bool
	requests                             int64
}

func endingOf(err error, requests int64) ending {
	e := ending{
		throttle: dynamostore.IsThrottle(err), denied: errors.Is(err, limiter.ErrAccessDenied),
		deadline: errors.Is(err, context.DeadlineExceeded), canceled: errors.Is(err, context.Canceled), requests: requests,
	}
	if err != nil {
		e.text = err.Error()
	}
	return e
}

// Whatever the service answers, both clients say the same about it, after as many requests.
func TestBothClientsEndAlike(t *testing.T) {
	fault := func(code, rest string) string {
		return `{"__type":"com.amazonaws.dynamodb.v20120810#` + code + `","message":"so it is"` + rest + `}`
	}
	answers := map[string]func(w http.ResponseWriter){
		"admitted":    func(w http.ResponseWriter) { io.WriteString(w, bucketReply) },
		"refused":     status(400, fault("ConditionalCheckFailedException", `,"Item":{"rf":{"N":"5"}}`)),
		"a fraction":  func(w http.ResponseWriter) { io.WriteString(w, `{"Attributes":{"rf":{"N":"1.5"}}}`) },
		"an old one":  status(400, fault("ConditionalCheckFailedException", `,"Item":{"rf":{"N":"1.5"}}`)),
		"missing":     status(400, fault("ConditionalCheckFailedException", "")),
		"conflict":    status(400, fault("TransactionConflictException", "")),
		"throttled":   status(400, fault("ProvisionedThroughputExceededException", `,"ThrottlingReasons":[{"reason":"TableWriteProvisionedThroughputExceeded","resource":"arn:x"}]`)),
		"throttling":  status(400, fault("ThrottlingException", `,"throttlingReasons":[{"reason":"KeyRange","resource":"arn:x"}]`)),
		"cancelled":   status(400, fault("TransactionCanceledException", `,"CancellationReasons":[{"Code":"ThrottlingError","Message":"m"},{"Code":"None"}]`)),
		"no table":    status(400, fault("ResourceNotFoundException", "")),
		"denied":      status(400, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"User: x is not authorized"}`),
		"invalid":     status(400, `{"__type":"com.amazon.coral.validate#ValidationException","message":"m"}`),
		"signature":   status(400, `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"m"}`),
		"broken":      status(500, fault("InternalServerError", "")),
		"unavailable": status(503, "<html>no</html>"),
		"not found":   status(404, "<html>no</html>"),
		"too many":    status(429, "{}"),
		"a web page":  func(w http.ResponseWriter) { io.WriteString(w, "<html>yes</html>") },
		"half":        func(w http.ResponseWriter) { io.WriteString(w, bucketReply[:100]) },
		"a hang-up":   func(http.ResponseWriter) { panic(http.ErrAbortHandler) },
		"no reply":    nil, // the call's context ends once the request has arrived
	}
	calls := map[string]func(context.Context, *dynamostore.Store) error{
		"consume": func(ctx context.Context, s *dynamostore.Store) error {
			var out limiter.ConsumeOutput
			err := s.Consume(ctx, &limiter.ConsumeInput{Key: example, Charges: []limiter.Charge{{Limit: "rpm", Amount: 1}}}, &out)
			return errors.Join(err, fmt.Errorf("outcome %d, image %+v", out.Outcome, out.Image))
		},
		"write": func(ctx context.Context, s *dynamostore.Store) error {
			var out limiter.WriteOutput
			err := s.Write(ctx, twoCreates, &out)
			return errors.Join(err, fmt.Errorf("outcome %d, %d results", out.Outcome, len(out.Results)))
		},
		"read": func(ctx context.Context, s *dynamostore.Store) error {
			return s.Read(ctx, readInput(), new(limiter.ReadOutput))
		},
		"ping": func(ctx context.Context, s *dynamostore.Store) error { return s.Ping(ctx) },
	}
	for answer, write := range answers {
		var requests atomic.Int64
		release, arrived := make(chan struct{}), make(chan struct{}, 1)
		server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			io.Copy(io.Discard, r.Body)
			requests.Add(1)
			w.Header().Set("X-Amzn-Requestid", "ID")
			w.Header().Set("Content-Type", dynamoJSON)
			if write == nil {
				arrived <- struct{}{}
				<-release
				return
			}
			write(w)
		}))
		for call, do := range calls {
			t.Run(answer+", "+call, func(t *testing.T) {
				endings := map[string]ending{}
				for name, api := range both(t, server.URL, staticKeys) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if write == nil {
						go func() { <-arrived; cancel() }()
					}
					requests.Store(0)
					err := do(ctx, newStore(api))
					endings[name] = endingOf(err, requests.Load())
				}
				if endings["sdk"] != endings["lean"] {
					t.Errorf("\nsdk  %+v\nlean %+v", endings["sdk"], endings["lean"])
				}
			})
		}
		close(release)
		server.Close()
	}
}

func status(code int, body string) func(http.ResponseWriter) {
	return func(w http.ResponseWriter) {
		w.WriteHeader(code)
		io.WriteString(w, body)
	}
}

// The quota of retries is spent and earned alike: after many failures neither client repeats any more.
func TestBothClientsSpendTheQuotaOfRetriesAlike(t *testing.T) {
	var requests atomic.Int64
	broken := true
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		if broken {
			status(500, `{"__type":"x#InternalServerError"}`)(w)
			return
		}
		io.WriteString(w, `{}`)
	}))
	defer server.Close()
	sent := map[string][]int64{}
	for name, api := range both(t, server.URL, staticKeys) {
		store := newStore(api)
		for _, phase := range []struct {
			broken bool
			calls  int
		}{{true, 40}, {false, 30}, {true, 10}} {
			broken = phase.broken
			requests.Store(0)
			for range phase.calls {
				if err := store.Ping(t.Context()); (err != nil) != phase.broken {
					t.Fatalf("%s: %v", name, err)
				}
			}
			sent[name] = append(sent[name], requests.Load())
		}
	}
	if fmt.Sprint(sent["sdk"]) != fmt.Sprint(sent["lean"]) || sent["lean"][0] == 120 || sent["lean"][2] <= 10 {
		t.Errorf("requests %v: want alike, the quota used up and earned again", sent)
	}
}

type noCredentials struct{}

func (noCredentials) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("the session has expired")
}

func TestBothClientsTellAlikeOfMissingCredentials(t *testing.T) {
	endings := map[string]ending{}
	for name, api := range both(t, "http://127.0.0.1:1", noCredentials{}) {
		endings[name] = endingOf(newStore(api).Ping(t.Context()), 0)
	}
	if endings["sdk"] != endings["lean"] || !strings.Contains(endings["lean"].text, "the session has expired") {
		t.Errorf("\nsdk  %+v\nlean %+v", endings["sdk"], endings["lean"])
	}
}

// A machine whose clock is an hour off is refused once and signs with the service's time from then on.
func TestAClockThatIsOffIsCorrected(t *testing.T) {
	const ahead = time.Hour
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		now := time.Now().Add(ahead)
		w.Header().Set("Date", now.UTC().Format(http.TimeFormat))
		signed, err := time.Parse("20060102T150405Z", r.Header.Get("X-Amz-Date"))
		if err != nil || now.Sub(signed).Abs() > 5*time.Minute {
			status(400, `{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"Signature not yet current"}`)(w)
			return
		}
		io.WriteString(w, bucketReply)
	}))
	defer server.Close()
	consume := func(s *dynamostore.Store) error {
		return s.Consume(t.Context(), &limiter.ConsumeInput{Key: example}, new(limiter.ConsumeOutput))
	}
	for name, api := range both(t, server.URL, staticKeys) {
		store := newStore(api)
		if err := store.Ping(t.Context()); err != nil { // repeated with the right time
			t.Errorf("%s: %v", name, err)
		}
		if err := consume(store); err != nil {
			t.Errorf("%s, after that: %v", name, err)
		}
	}
	for name, api := range both(t, server.URL, staticKeys) {
		store := newStore(api)
		if err := consume(store); err == nil {
			t.Errorf("%s: a write was repeated that was not throttled", name)
		}
		if err := consume(store); err != nil {
			t.Errorf("%s, the second: %v", name, err)
		}
	}
}

// A reply that was damaged on its way says nothing: reads are repeated, writes are not.
func TestADamagedReplyIsALostOne(t *testing.T) {
	var requests atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		w.Header().Set("X-Amz-Crc32", "1")
		io.WriteString(w, bucketReply)
	}))
	defer server.Close()
	store := newStore(both(t, server.URL, staticKeys)["lean"])
	var out limiter.ConsumeOutput
	if err := store.Consume(t.Context(), &limiter.ConsumeInput{Key: example}, &out); err == nil || !strings.Contains(err.Error(), "checksum") || requests.Load() != 1 {
		t.Errorf("write: %v after %d requests", err, requests.Load())
	}
	requests.Store(0)
	if err := store.Ping(t.Context()); err == nil || requests.Load() != 3 {
		t.Errorf("read: %v after %d requests", err, requests.Load())
	}
}

func TestEveryAttemptIsObserved(t *testing.T) {
	engine := newEngine(t, dynamolocal.Config{
		Faults: []byte(`{"rules": [{"operations": ["UpdateItem"], "every": 2, "action": "error", "code": "ProvisionedThroughputExceededException"}]}`),
	})
	var attempts []string
	client, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{
		Region: "us-east-1", Endpoint: serve(t, engine), Credentials: staticKeys, Retryer: impatient(),
		Observe: func(a dynamostore.Attempt) {
			if a.Took <= 0 || a.Err != nil || len(a.Body) == 0 {
				t.Errorf("%+v", a)
			}
			attempts = append(attempts, fmt.Sprint(a.Operation, " ", a.Number, " ", a.Status))
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.CloseIdleConnections)
	table := dynamostore.OpenTable(client, "observed", dynamostore.TableOptions{})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	attempts = nil
	var out limiter.ConsumeOutput
	for range 2 {
		if err := table.Store("ns").Consume(t.Context(), &limiter.ConsumeInput{Key: example}, &out); err != nil || out.Outcome != limiter.Refused {
			t.Fatal(out, err)
		}
	}
	// There is no bucket: each is refused in the end, the second after it was throttled.
	want := "[UpdateItem 1 400 UpdateItem 1 400 UpdateItem 2 400]"
	if fmt.Sprint(attempts) != want {
		t.Errorf("got %v, want %s", attempts, want)
	}
}

func TestTheEndpointOfTheRegionIsTaken(t *testing.T) {
	for region, ok := range map[string]bool{"eu-central-1": true, "not a region": false} {
		_, err := dynamostore.NewLeanClient(dynamostore.LeanConfig{Region: region, Credentials: staticKeys})
		if (err == nil) != ok {
			t.Errorf("%s: %v", region, err)
		}
	}
}
