package functions_test

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"

	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

// account is one whose Lambda is the handler.
func account(t *testing.T, handler http.HandlerFunc) aws.Config {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return aws.Config{
		Region: "us-east-1", Credentials: credentials.NewStaticCredentialsProvider("k", "s", ""), BaseEndpoint: aws.String(server.URL),
	}
}

func TestAWorkerIsAnAsynchronousInvocation(t *testing.T) {
	var request *http.Request
	var event invocation.Event
	launcher := functions.NewLauncher(account(t, func(w http.ResponseWriter, r *http.Request) {
		request = r
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		if event, err = invocation.Parse(body); err != nil {
			t.Error(err)
		}
		w.WriteHeader(http.StatusAccepted)
	}), functions.LauncherConfig{
		Function: "load-worker:live", PendingTimeout: 30 * time.Second, Now: func() time.Time { return time.Unix(1000, 0) },
		Event: invocation.Config{
			Mode: invocation.ModeWorker, MasterHost: "10.0.0.7", MasterPort: 5557, Locustfile: "x.star", UserClasses: "A,B",
			BuildID: "b-1", RunID: "r1", Secret: "0123456789abcdef",
		},
	})
	if err := launcher.Start(t.Context(), "lambda_feed"); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(request.URL.Path, "load-worker:live") || request.Header.Get("X-Amz-Invocation-Type") != "Event" {
		t.Errorf("asked %s as %q", request.URL, request.Header.Get("X-Amz-Invocation-Type"))
	}
	c := event.Config
	if c.Master() != "10.0.0.7:5557" || c.WorkerID != "lambda_feed" || c.DeadlineS != 1030 || c.BuildID != "b-1" || c.Secret == "" {
		t.Errorf("event %+v", c)
	}
	if err := launcher.Stop(t.Context(), "lambda_feed"); !errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("Stop: %v, want it to be unsupported", err)
	}
}

// refuse answers an error of the service.
func refuse(status int, code, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Amzn-Errortype", code)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

const throttledBody = `{"Reason": "ReservedFunctionConcurrentInvocationLimitExceeded", "Type": "User", "message": "Rate Exceeded."}`

func TestAThrottledStartSaysSoAndIsMadeOnce(t *testing.T) {
	calls := 0
	answer := refuse(http.StatusTooManyRequests, "TooManyRequestsException", throttledBody)
	launcher := functions.NewLauncher(account(t, func(w http.ResponseWriter, r *http.Request) {
		calls++
		answer(w, r)
	}), functions.LauncherConfig{Function: "f"})
	if err := launcher.Start(t.Context(), "lambda_1"); !errors.Is(err, orchestrator.ErrThrottled) || calls != 1 {
		t.Errorf("%v after %d calls, want it throttled after one", err, calls)
	}
	broken := functions.NewLauncher(account(t, refuse(http.StatusForbidden, "AccessDeniedException", `{"Message": "no"}`)), functions.LauncherConfig{Function: "f"})
	if err := broken.Start(t.Context(), "lambda_1"); err == nil || errors.Is(err, orchestrator.ErrThrottled) {
		t.Errorf("%v, want a denial", err)
	}
}

func TestConfigurationIsRead(t *testing.T) {
	caller := functions.NewCaller(account(t, func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"FunctionName": "f", "MemorySize": 3538, "Timeout": 120, "Architectures": ["arm64"],
			"Environment": {"Variables": {"ZAEL_BUILD_ID": "b-1", "LOCUSTFILE": "x.star"}}}`)
	}))
	got, err := caller.Configuration(t.Context(), "f")
	if err != nil {
		t.Fatal(err)
	}
	if got.Name != "f" || got.CPUs() != 2 || got.RunTime() != 108*time.Second || got.Architecture != "arm64" || got.BuildID != "b-1" || got.Locustfile != "x.star" {
		t.Errorf("%+v, %v CPUs, run time %v", got, got.CPUs(), got.RunTime())
	}
	missing := functions.NewCaller(account(t, refuse(http.StatusNotFound, "ResourceNotFoundException", `{"Message": "Function not found"}`)))
	if _, err := missing.Configuration(t.Context(), "f"); !errors.Is(err, functions.ErrNotFound) {
		t.Errorf("%v, want it not to be found", err)
	}
}

func TestTheAnswerOfAHeadlessRun(t *testing.T) {
	caller := functions.NewCaller(account(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Amz-Log-Type") != "Tail" {
			t.Error("the log is not asked for")
		}
		_, _ = io.WriteString(w, `{"total_requests": 5, "p95": 7.5, "min_response_time": null, "result": {"schema": "x"}}`)
	}))
	got, err := caller.Invoke(t.Context(), "f", time.Minute, invocation.Config{Users: 1})
	if err != nil || got.TotalRequests != 5 || *got.P95 != 7.5 || got.MinResponseTime != nil || string(got.Result) != `{"schema": "x"}` {
		t.Errorf("%+v, %v", got, err)
	}
}

func TestFailuresOfAFunction(t *testing.T) {
	log := base64.StdEncoding.EncodeToString([]byte("START\nlast words"))
	tests := []struct {
		name, function, payload string
		kind, message           string
		stack                   []string
	}{
		{"Python's", "Unhandled", `{"errorMessage": "boom", "errorType": "ValueError", "stackTrace": ["  File \"a.py\", line 3\n", "  File b"]}`,
			"ValueError", "boom", []string{`  File "a.py", line 3`, "  File b"}},
		{"Go's", "Unhandled", `{"errorMessage": "boom", "errorType": "errorString", "stackTrace": [{"path": "a/b.go", "line": 7, "label": "main"}]}`,
			"errorString", "boom", []string{"a/b.go:7 main"}},
		{"a timeout", "Unhandled", `{"errorMessage": "2026-01-01T00:00:00.000Z 1234 Task timed out after 3.00 seconds"}`,
			"Unhandled", "2026-01-01T00:00:00.000Z 1234 Task timed out after 3.00 seconds", nil},
		{"not marked", "", `{"errorMessage": "boom"}`, "", "boom", nil},
		{"no envelope", "Handled", `"odd"`, "Handled", `"odd"`, nil},
		{"refused", "", `{"status": "refused", "reason": "late"}`, "refused", "the function refused the event: late", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			caller := functions.NewCaller(account(t, func(w http.ResponseWriter, _ *http.Request) {
				if test.function != "" {
					w.Header().Set("X-Amz-Function-Error", test.function)
				}
				w.Header().Set("X-Amz-Log-Result", log)
				_, _ = io.WriteString(w, test.payload)
			}))
			_, err := caller.Invoke(t.Context(), "f", time.Minute, invocation.Config{})
			failure, ok := errors.AsType[*functions.Failure](err)
			if !ok || failure.Type != test.kind || failure.Message != test.message || !slices.Equal(failure.Stack, test.stack) {
				t.Fatalf("%#v", err)
			}
			if test.kind != "refused" && failure.Log != "START\nlast words" {
				t.Errorf("log %q", failure.Log)
			}
		})
	}
}

func TestAThrottledRunSaysWhy(t *testing.T) {
	caller := functions.NewCaller(account(t, refuse(http.StatusTooManyRequests, "TooManyRequestsException", throttledBody)))
	_, err := caller.Invoke(t.Context(), "f", time.Minute, invocation.Config{})
	failure, ok := errors.AsType[*functions.Failure](err)
	if !ok || !failure.Throttled || !strings.Contains(failure.Message, "ReservedFunctionConcurrentInvocationLimitExceeded") {
		t.Errorf("%v, want the reason", err)
	}
}

func TestAnEventThatIsTooBigIsNotSent(t *testing.T) {
	caller := functions.NewCaller(account(t, func(http.ResponseWriter, *http.Request) { t.Error("called") }))
	big, err := json.Marshal(make([]byte, 6<<20))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := caller.Invoke(t.Context(), "f", time.Minute, invocation.Config{Options: map[string]string{"x": string(big)}}); err == nil {
		t.Error("accepted")
	}
}
