//go:build unix

package lambda_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
)

func TestACallRunsTheBootstrap(t *testing.T) {
	b := newBench(t, nil)
	b.make(func(in *sdk.CreateFunctionInput) {
		in.Environment = &types.Environment{Variables: map[string]string{"OWN": "value"}}
		in.MemorySize = aws.Int32(1769)
	})
	out, err := b.invoke(order{Print: "hello", Variable: "OWN"})
	if err != nil {
		t.Fatal(err)
	}
	var a answer
	if err := json.Unmarshal(out.Payload, &a); err != nil || out.StatusCode != 200 {
		t.Fatalf("status %d, %s", out.StatusCode, out.Payload)
	}
	if a.Value != "value" || a.RequestID == "" || a.ARN != "arn:aws:lambda:us-east-1:123456789012:function:f" || a.Left <= 200 || a.Left > 300 {
		t.Errorf("answer %+v", a)
	}
	if *out.ExecutedVersion != "$LATEST" {
		t.Errorf("version %q", *out.ExecutedVersion)
	}
	tail, err := base64.StdEncoding.DecodeString(*out.LogResult)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"START RequestId: " + a.RequestID + " Version: $LATEST", "\nhello\n", "END RequestId: " + a.RequestID, "REPORT RequestId: ", "Memory Size: 1769 MB", "Init Duration: "} {
		if !strings.Contains(string(tail), want) {
			t.Errorf("log without %q:\n%s", want, tail)
		}
	}
	if !b.groups["/aws/lambda/f"] || b.metric("Invocations") != 1 || b.metric("Errors") != 0 {
		t.Errorf("groups %v, metrics %v", b.groups, b.metrics)
	}
	for variable, want := range map[string]string{
		"AWS_LAMBDA_FUNCTION_NAME": "f", "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "1769", "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST", "AWS_REGION": "us-east-1",
		"AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/f", "AWS_ACCESS_KEY_ID": "ASIA1", "AWS_SESSION_TOKEN": "t", "AWS_ENDPOINT_URL": "http://127.0.0.1:1", "_HANDLER": "bootstrap",
	} {
		if got := b.call(order{Variable: variable}).Value; got != want {
			t.Errorf("%s is %q, want %q", variable, got, want)
		}
	}
}

func TestAnEnvironmentIsReusedAndFrozenBetweenCalls(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	first := b.call(order{})
	until(t, "the process is stopped", func() bool { state := stateOf(t, first.PID); return state == "" || state == "T" })
	if second := b.call(order{}); second.PID != first.PID || second.Calls != 2 {
		t.Errorf("process %d, call %d; want process %d again", second.PID, second.Calls, first.PID)
	}
	if err := b.service.Close(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(first.PID, 0); !errors.Is(err, syscall.ESRCH) {
		t.Errorf("after Close: %v, want the process to be gone", err)
	}
}

// stateOf is the letter of a process's state, "" where the system does not tell.
func stateOf(t *testing.T, pid int) string {
	t.Helper()
	status, err := os.ReadFile("/proc/" + itoa(pid) + "/status")
	if err != nil {
		return ""
	}
	_, rest, _ := strings.Cut(string(status), "State:")
	return strings.TrimSpace(rest)[:1]
}

func itoa(n int) string {
	text, _ := json.Marshal(n) // always encodes
	return string(text)
}

func TestAnEnvironmentThatIsNotCalledEnds(t *testing.T) {
	b := newBench(t, func(c *lambda.Config) { c.IdleTime = time.Millisecond })
	b.make(nil)
	pid := b.call(order{}).PID
	until(t, "the process ends", func() bool { return errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

func TestAnUpdateReplacesTheEnvironment(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	first := b.call(order{})
	if _, err := b.client.UpdateFunctionCode(t.Context(), &sdk.UpdateFunctionCodeInput{FunctionName: aws.String("f"), ZipFile: bootstrap(t, "2")}); err != nil {
		t.Fatal(err)
	}
	if second := b.call(order{}); second.PID == first.PID || second.Calls != 1 {
		t.Errorf("process %d, call %d; want another process than %d", second.PID, second.Calls, first.PID)
	}
}

func TestFailuresOfAFunction(t *testing.T) {
	tests := []struct {
		name           string
		change         func(*sdk.CreateFunctionInput)
		order          order
		kind, text     string
		stack, another bool
	}{
		{name: "an error", order: order{Fail: "boom"}, kind: "errorString", text: "boom"},
		{name: "a panic", order: order{Panic: "boom"}, kind: "string", text: "boom", stack: true},
		{name: "an exit", order: order{Exit: 7}, kind: "Runtime.ExitError", text: "Runtime exited with error: exit status 7"},
		{name: "an exit at the start", change: atStart("exit"), kind: "Runtime.ExitError", text: "Runtime exited with error: exit status 3"},
		{name: "an error of the start", change: atStart("report"), kind: "Own.Reason", text: "cannot start"},
		{name: "no bootstrap", change: func(in *sdk.CreateFunctionInput) { in.Code.ZipFile = packed(t, "other", "") }, kind: "Runtime.InvalidEntrypoint", text: "Couldn't find valid bootstrap(s)"},
		{name: "another runtime", change: func(in *sdk.CreateFunctionInput) { in.Runtime = types.RuntimePython312 }, kind: "Runtime.Unsupported", text: "python3.12"},
		{name: "too big an answer", order: order{Size: 7 << 20}, kind: "Function.ResponseSizeTooLarge", text: "6291556"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := newBench(t, nil)
			b.make(test.change)
			out, err := b.invoke(test.order)
			if err != nil {
				t.Fatal(err)
			}
			var envelope struct {
				ErrorType, ErrorMessage string
				StackTrace              []any
			}
			if err := json.Unmarshal(out.Payload, &envelope); err != nil {
				t.Fatal(err)
			}
			if aws.ToString(out.FunctionError) != "Unhandled" || envelope.ErrorType != test.kind || !strings.Contains(envelope.ErrorMessage, test.text) || test.stack != (len(envelope.StackTrace) > 0) {
				t.Errorf("%v %+v, want %s: %s", aws.ToString(out.FunctionError), envelope, test.kind, test.text)
			}
			if b.metric("Errors") != 1 {
				t.Errorf("metrics %v", b.metrics)
			}
		})
	}
}

func atStart(what string) func(*sdk.CreateFunctionInput) {
	return func(in *sdk.CreateFunctionInput) {
		in.Environment = &types.Environment{Variables: map[string]string{"AT_START": what}}
	}
}

// gate is a URL at which functions wait.
type gate struct {
	url     string
	arrived chan struct{}
	open    func()
}

func newGate(t *testing.T) gate {
	t.Helper()
	arrived, opened := make(chan struct{}, 100), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		select {
		case <-opened:
		case <-r.Context().Done():
		}
	}))
	open := sync.OnceFunc(func() { close(opened) })
	t.Cleanup(func() { open(); server.Close() })
	return gate{server.URL, arrived, open}
}

func TestAFunctionIsKilledAtItsTimeout(t *testing.T) {
	b := newBench(t, nil)
	b.make(func(in *sdk.CreateFunctionInput) { in.Timeout = aws.Int32(1) })
	out, err := b.invoke(order{Get: newGate(t).url})
	if err != nil {
		t.Fatal(err)
	}
	if aws.ToString(out.FunctionError) != "Unhandled" || !strings.Contains(string(out.Payload), "Task timed out after 1.00 seconds") {
		t.Errorf("%v %s", aws.ToString(out.FunctionError), out.Payload)
	}
	tail, _ := base64.StdEncoding.DecodeString(*out.LogResult)
	if !strings.Contains(string(tail), "Task timed out after 1.00 seconds") || !strings.Contains(string(tail), "Status: timeout") {
		t.Errorf("log:\n%s", tail)
	}
}

func TestCallsAtTheSameTimeHaveAnEnvironmentEachUpToTheReservation(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	if _, err := b.client.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: aws.String("f"), ReservedConcurrentExecutions: aws.Int32(2)}); err != nil {
		t.Fatal(err)
	}
	g := newGate(t)
	pids := make(chan int, 2)
	for range 2 {
		go func() { pids <- b.call(order{Get: g.url}).PID }()
	}
	<-g.arrived
	<-g.arrived
	_, err := b.invoke(order{})
	var throttled *types.TooManyRequestsException
	if !errors.As(err, &throttled) || throttled.Reason != types.ThrottleReasonReservedFunctionConcurrentInvocationLimitExceeded {
		t.Errorf("third call: %v, want it to be throttled by the reservation", err)
	}
	g.open()
	if one, other := <-pids, <-pids; one == other {
		t.Errorf("both calls ran in process %d", one)
	}
	if b.metric("Throttles") != 1 {
		t.Errorf("metrics %v", b.metrics)
	}
}

func TestTheAccountLimitsFunctionsWithoutAReservation(t *testing.T) {
	b := newBench(t, func(c *lambda.Config) { c.Concurrency = 1 })
	b.make(nil)
	g := newGate(t)
	done := make(chan struct{})
	go func() { b.call(order{Get: g.url}); close(done) }()
	<-g.arrived
	_, err := b.invoke(order{})
	var throttled *types.TooManyRequestsException
	if !errors.As(err, &throttled) || throttled.Reason != types.ThrottleReasonConcurrentInvocationLimitExceeded {
		t.Errorf("%v, want it to be throttled by the account", err)
	}
	g.open()
	<-done
}

func TestPayloadsHaveLimits(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	for kind, size := range map[types.InvocationType]int{types.InvocationTypeRequestResponse: 6291557, types.InvocationTypeEvent: 1<<20 + 1} {
		_, err := b.client.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), InvocationType: kind, Payload: make([]byte, size)})
		var large *types.RequestTooLargeException
		if !errors.As(err, &large) {
			t.Errorf("%s of %d bytes: %v, want it to be too large", kind, size, err)
		}
	}
	out, err := b.client.Invoke(t.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeDryRun})
	if err != nil || out.StatusCode != http.StatusNoContent || b.metric("Invocations") != 0 {
		t.Errorf("dry run: %v, %v, %v calls", out, err, b.metric("Invocations"))
	}
}

func TestARoleWithoutTheRightWritesNoLog(t *testing.T) {
	b := newBench(t, nil)
	b.make(nil)
	b.guard = denying("logs:PutLogEvents")
	b.call(order{Print: "hello"})
	if len(b.lines) > 0 {
		t.Errorf("log %q, want none", b.lines)
	}
}

// waits collects the pauses between deliveries, and makes none.
type waits struct {
	mu    sync.Mutex
	all   []time.Duration
	after func() // called in each
}

func (w *waits) wait(_ context.Context, d time.Duration) error {
	w.mu.Lock()
	w.all = append(w.all, d)
	w.mu.Unlock()
	if w.after != nil {
		w.after()
	}
	return nil
}

// queue calls f asynchronously.
func (b *bench) queue(o order) {
	b.Helper()
	payload, err := json.Marshal(o)
	if err != nil {
		b.Fatal(err)
	}
	out, err := b.client.Invoke(b.Context(), &sdk.InvokeInput{FunctionName: aws.String("f"), InvocationType: types.InvocationTypeEvent, Payload: payload})
	if err != nil || out.StatusCode != http.StatusAccepted {
		b.Fatalf("%v, %v", out, err)
	}
}

// until waits for a condition that a goroutine of the service makes true.
func until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for !condition() {
		select {
		case <-t.Context().Done():
			t.Fatalf("never: %s", what)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

func TestAnEventThatFailsIsTriedTwiceMore(t *testing.T) {
	w := &waits{}
	b := newBench(t, func(c *lambda.Config) { c.Wait = w.wait })
	b.make(nil)
	b.queue(order{Fail: "boom"})
	until(t, "the event is dropped", func() bool { return b.metric("AsyncEventsDropped") == 1 })
	if b.metric("Invocations") != 3 || !slices.Equal(w.all, []time.Duration{time.Minute, 2 * time.Minute}) {
		t.Errorf("%v calls, waited %v; want 3 calls, 1 and 2 minutes apart", b.metric("Invocations"), w.all)
	}
}

func TestAnEventConfigurationEndsRetries(t *testing.T) {
	b := newBench(t, func(c *lambda.Config) { c.Wait = (&waits{}).wait })
	b.make(nil)
	if _, err := b.client.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{
		FunctionName: aws.String("f"), MaximumRetryAttempts: aws.Int32(0), MaximumEventAgeInSeconds: aws.Int32(60),
	}); err != nil {
		t.Fatal(err)
	}
	b.queue(order{Fail: "boom"})
	until(t, "the event is dropped", func() bool { return b.metric("AsyncEventsDropped") == 1 })
	if b.metric("Invocations") != 1 {
		t.Errorf("%v calls, want one", b.metric("Invocations"))
	}
}

func TestAThrottledEventIsTriedUntilItIsTooOld(t *testing.T) {
	var mu sync.Mutex
	now := time.Unix(1_000_000, 0)
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	w := &waits{after: func() { mu.Lock(); now = now.Add(25 * time.Second); mu.Unlock() }}
	b := newBench(t, func(c *lambda.Config) { c.Wait, c.Now = w.wait, clock })
	b.make(nil)
	for _, err := range []error{
		second(b.client.PutFunctionConcurrency(t.Context(), &sdk.PutFunctionConcurrencyInput{FunctionName: aws.String("f"), ReservedConcurrentExecutions: aws.Int32(0)})),
		second(b.client.PutFunctionEventInvokeConfig(t.Context(), &sdk.PutFunctionEventInvokeConfigInput{
			FunctionName: aws.String("f"), MaximumRetryAttempts: aws.Int32(0), MaximumEventAgeInSeconds: aws.Int32(60),
		})),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	b.queue(order{})
	until(t, "the event is dropped", func() bool { return b.metric("AsyncEventsDropped") == 1 })
	if b.metric("Invocations") != 0 || b.metric("Throttles") != 3 || !slices.Equal(w.all, []time.Duration{time.Second, 2 * time.Second, 4 * time.Second}) {
		t.Errorf("%v calls, %v throttles, waited %v", b.metric("Invocations"), b.metric("Throttles"), w.all)
	}
}
