package lambdaworker_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/lambdaworker"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// fakeRunner answers what it is made with, after the end of the context if it is patient.
type fakeRunner struct {
	result  *report.Result
	status  string
	err     error
	patient bool

	got   invocation.Config
	cause error
	took  time.Duration
}

func (r *fakeRunner) run(ctx context.Context, c invocation.Config) {
	r.got = c
	if r.patient {
		began := time.Now()
		<-ctx.Done()
		r.cause, r.took = context.Cause(ctx), time.Since(began)
	}
}

func (r *fakeRunner) Headless(ctx context.Context, c invocation.Config) (*report.Result, error) {
	r.run(ctx, c)
	return r.result, r.err
}

func (r *fakeRunner) Worker(ctx context.Context, c invocation.Config) (string, error) {
	r.run(ctx, c)
	return r.status, r.err
}

func (r *fakeRunner) Purge(ctx context.Context, c invocation.Config) error {
	r.run(ctx, c)
	return r.err
}

// invoke serves an event as the platform does, with a request id.
func invoke(ctx context.Context, c lambdaworker.Config, event string) (map[string]any, error) {
	data, err := lambdaworker.New(c).Invoke(ctx, "0123456789abcdef", []byte(event))
	if err != nil {
		return nil, err
	}
	var answer map[string]any
	return answer, json.Unmarshal(data, &answer)
}

func TestAHeadlessRunAnswersTheKeysAndTheDocument(t *testing.T) {
	ms := func(x float64) *float64 { return &x }
	runner := &fakeRunner{result: &report.Result{Schema: report.Schema, Totals: report.Figures{
		Requests: 200, Failures: 4, FailureRatio: ms(0.02), RPS: ms(20.5), AvgMS: ms(3.25), MinMS: ms(1), MaxMS: ms(90), P50MS: ms(3), P95MS: ms(7), P99MS: ms(12),
	}}, err: errors.New("a listener failed")}
	got, err := invoke(t.Context(), lambdaworker.Config{Runner: runner, Locustfile: "from_deploy.star"}, `{"config": {"users": 3}}`)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"total_requests": 200.0, "total_failures": 4.0, "avg_response_time": 3.25, "min_response_time": 1.0, "max_response_time": 90.0,
		"p50": 3.0, "p95": 7.0, "p99": 12.0, "requests_per_second": 20.5, "failure_rate": 0.02, "error": "a listener failed",
	}
	for key, value := range want {
		if got[key] != value {
			t.Errorf("%s is %v, want %v", key, got[key], value)
		}
	}
	if document, _ := got["result"].(map[string]any); document["schema"] != report.Schema {
		t.Errorf("result %v", got["result"])
	}
	if runner.got.Users != 3 || runner.got.DurationSeconds != 60 || runner.got.Locustfile != "from_deploy.star" {
		t.Errorf("ran %+v", runner.got)
	}
}

func TestWhatWasNotRecordedIsNull(t *testing.T) {
	got, err := invoke(t.Context(), lambdaworker.Config{Runner: &fakeRunner{result: &report.Result{}}}, `{"config": {}}`)
	if err != nil {
		t.Fatal(err)
	}
	value, present := got["min_response_time"]
	if !present || value != nil || got["total_requests"] != 0.0 {
		t.Errorf("answer %v, want a null min_response_time and 0 requests", got)
	}
}

func TestAWorkerHasTheIDOfItsEventOrOfItsCall(t *testing.T) {
	for event, want := range map[string]string{
		`{"config": {"mode": "worker", "master_host": "10.0.0.1"}}`:                             "lambda_01234567",
		`{"config": {"mode": "worker", "master_host": "10.0.0.1", "worker_id": "lambda_feed"}}`: "lambda_feed",
	} {
		runner := &fakeRunner{status: invocation.StatusCompleted}
		got, err := invoke(t.Context(), lambdaworker.Config{Runner: runner}, event)
		if err != nil || len(got) != 2 || got["status"] != "worker_completed" || got["worker_id"] != want || runner.got.WorkerID != want {
			t.Errorf("%s: %v, %v, ran as %q, want %s", event, got, err, runner.got.WorkerID, want)
		}
	}
}

func TestStaleEventsAreRefusedWithoutAnError(t *testing.T) {
	for _, event := range []string{
		`{"config": {"mode": "worker", "master_host": "h", "build_id": "b-2"}}`,
		`{"config": {"mode": "worker", "master_host": "h", "build_id": "b-1", "deadline_s": 1000}}`,
		`{"config": {"deadline_s": 1000}}`,
	} {
		runner := &fakeRunner{err: errors.New("it ran")}
		got, err := invoke(t.Context(), lambdaworker.Config{Runner: runner, BuildID: "b-1"}, event)
		if err != nil || got["status"] != "refused" || got["reason"] == nil {
			t.Errorf("%s: %v, %v, want it to be refused with a reason", event, got, err)
		}
	}
}

// runtimeAPI gives out events, one after the other, and keeps what is answered.
type runtimeAPI struct {
	events  chan string
	answers chan answered
}

type answered struct {
	path, errorType string
	body            map[string]any
}

func (a *runtimeAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/2018-06-01/runtime/invocation/")
	if path != "next" {
		answer := answered{path: path, errorType: r.Header.Get("Lambda-Runtime-Function-Error-Type")}
		_ = json.NewDecoder(r.Body).Decode(&answer.body)
		a.answers <- answer
		w.WriteHeader(http.StatusAccepted)
		return
	}
	select {
	case event := <-a.events:
		w.Header().Set("Lambda-Runtime-Aws-Request-Id", "0123456789abcdef")
		w.Header().Set("Lambda-Runtime-Deadline-Ms", fmt.Sprint(time.Now().Add(time.Minute).UnixMilli()))
		_, _ = io.WriteString(w, event)
	case <-r.Context().Done():
	}
}

// serve runs a handler behind a runtime API until the test ends.
func serve(t *testing.T, runner lambdaworker.Runner) (api *runtimeAPI, ended chan error) {
	t.Helper()
	api = &runtimeAPI{make(chan string, 1), make(chan answered, 1)}
	server := httptest.NewServer(api)
	ctx, cancel := context.WithCancel(t.Context())
	ended = make(chan error, 1)
	go func() {
		ended <- lambdaworker.Serve(ctx, strings.TrimPrefix(server.URL, "http://"), lambdaworker.New(lambdaworker.Config{Runner: runner}))
		close(ended)
	}()
	t.Cleanup(func() {
		cancel()
		for range ended { //nolint:revive // until it is closed
		}
		server.Close()
	})
	return api, ended
}

func TestErrorsAreThePlatformsEnvelope(t *testing.T) {
	located := &lambdaworker.Error{Type: lambdaworker.ErrorTypeLocustfile, Err: errors.New("u.star:3:1: undefined: x")}
	tests := []struct {
		event, kind, message string
		err                  error
	}{
		{`[1]`, "InvalidEvent", "event", nil},
		{`{"config": {"mode": "worker"}}`, "InvalidEvent", "master_host", nil},
		{`{"config": {}}`, "LocustfileError", "u.star:3:1", fmt.Errorf("wrapped: %w", located)},
		{`{"config": {}}`, "RunError", "no table", errors.New("no table")},
	}
	for _, test := range tests {
		api, _ := serve(t, &fakeRunner{err: test.err})
		api.events <- test.event
		got := <-api.answers
		message, _ := got.body["errorMessage"].(string)
		if got.path != "0123456789abcdef/error" || got.errorType != test.kind || got.body["errorType"] != test.kind || !strings.Contains(message, test.message) {
			t.Errorf("%s: %+v, want type %s and a message about %s", test.event, got, test.kind, test.message)
		}
	}
}

func TestInvocationsAreServedOneAfterTheOther(t *testing.T) {
	api, _ := serve(t, &fakeRunner{status: invocation.StatusCompleted})
	for range 3 {
		api.events <- `{"config": {"mode": "worker", "master_host": "h"}}`
		got := <-api.answers
		if got.path != "0123456789abcdef/response" || got.body["worker_id"] != "lambda_01234567" || got.body["status"] != invocation.StatusCompleted {
			t.Errorf("answered %+v", got)
		}
	}
}

type panicking struct{ fakeRunner }

func (*panicking) Worker(context.Context, invocation.Config) (string, error) { panic("out of order") }

// The platform has to know, and the process must not serve on.
func TestAPanicIsAnsweredAndEndsTheProcess(t *testing.T) {
	api, ended := serve(t, &panicking{})
	api.events <- `{"config": {"mode": "worker", "master_host": "h"}}`
	got := <-api.answers
	stack, _ := got.body["stackTrace"].([]any)
	if got.body["errorMessage"] != "out of order" || len(stack) == 0 {
		t.Errorf("answered %+v", got)
	} else if frame, _ := stack[0].(map[string]any); !strings.Contains(fmt.Sprint(frame["label"]), "panicking") {
		t.Errorf("the first frame is %v", frame)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), "out of order") {
		t.Errorf("ended with %v", err)
	}
}

// The vectors of load-cli.md 11.2.
func TestARunEndsBeforeTheTimeLimit(t *testing.T) {
	for limit, buffer := range map[time.Duration]time.Duration{
		60 * time.Second: 6 * time.Second, 120 * time.Second: 12 * time.Second, 300 * time.Second: 30 * time.Second,
		900 * time.Second: 90 * time.Second, 105 * time.Millisecond: 10 * time.Millisecond,
	} {
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			runner := &fakeRunner{status: invocation.StatusCompleted, patient: true}
			if _, err := invoke(ctx, lambdaworker.Config{Runner: runner}, `{"config": {"mode": "worker", "master_host": "h"}}`); err != nil {
				t.Fatal(err)
			}
			if runner.took != limit-buffer || !errors.Is(runner.cause, lambdaworker.ErrTimeLimit) {
				t.Errorf("limit %v: ended after %v because %v, want %v", limit, runner.took, runner.cause, limit-buffer)
			}
		})
	}
}
