package functions

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/invocation"
)

const (
	// maxPayload is what the platform takes and gives in a synchronous call, in bytes.
	maxPayload = 6 << 20
	// afterTimeout is how much longer than the function may run its answer is waited for.
	afterTimeout = 30 * time.Second
	// keepAlive keeps the one idle connection of a long call open: NAT and proxies cut those that say
	// nothing for 350 s (aws.md 5.4).
	keepAlive = 30 * time.Second
	// megabytesPerCPU is the memory with which a function has one vCPU (aws.md 5.4).
	megabytesPerCPU = 1769
)

// Configuration is what a function has for a run.
type Configuration struct {
	Name, ARN    string
	MemoryMB     int
	Timeout      time.Duration
	Architecture string // "x86_64" or "arm64"
	// BuildID and Locustfile are those of its environment: of what a push left, and the default that a
	// deployment gave it; "" = none.
	BuildID, Locustfile string
}

// CPUs is the share of a machine that goes with the memory.
func (c Configuration) CPUs() float64 { return float64(c.MemoryMB) / megabytesPerCPU }

// RunTime is the longest run that the function does not end early.
func (c Configuration) RunTime() time.Duration {
	return time.Duration(c.Timeout.Seconds()*9/10) * time.Second
}

// ErrNotFound is returned when there is no such function.
var ErrNotFound = errors.New("the function does not exist")

// Caller makes synchronous calls of functions. It is safe for concurrent use.
type Caller struct {
	account aws.Config
	client  *lambda.Client
}

// NewCaller returns a caller in the account of a configuration.
func NewCaller(account aws.Config) *Caller {
	return &Caller{account: account, client: lambda.NewFromConfig(account)}
}

// Configuration asks for the configuration of a function.
func (c *Caller) Configuration(ctx context.Context, function string) (Configuration, error) {
	found, err := c.client.GetFunctionConfiguration(ctx, &lambda.GetFunctionConfigurationInput{FunctionName: &function})
	var missing *types.ResourceNotFoundException
	switch {
	case errors.As(err, &missing):
		return Configuration{}, fmt.Errorf("%s: %w", function, ErrNotFound)
	case err != nil:
		return Configuration{}, fmt.Errorf("configuration of function %s: %w", function, err)
	}
	config := Configuration{
		Name: aws.ToString(found.FunctionName), ARN: aws.ToString(found.FunctionArn), MemoryMB: int(aws.ToInt32(found.MemorySize)),
		Timeout: time.Duration(aws.ToInt32(found.Timeout)) * time.Second, Architecture: string(types.ArchitectureX8664),
	}
	if len(found.Architectures) > 0 {
		config.Architecture = string(found.Architectures[0])
	}
	if found.Environment != nil {
		config.BuildID, config.Locustfile = found.Environment.Variables["ZAEL_BUILD_ID"], found.Environment.Variables["LOCUSTFILE"]
	}
	return config, nil
}

// Invoke makes the headless run of an event and waits for its answer: as long as the function may take,
// its timeout, and a little more. The call is never repeated. Errors of the function itself are of type
// *Failure.
func (c *Caller) Invoke(ctx context.Context, function string, timeout time.Duration, event invocation.Config) (*invocation.HeadlessResponse, error) {
	payload, err := json.Marshal(invocation.Event{Config: event})
	if err != nil {
		return nil, fmt.Errorf("event: %w", err)
	}
	if len(payload) > maxPayload {
		return nil, fmt.Errorf("event of %d bytes: at most %d are allowed", len(payload), maxPayload)
	}
	client, patience := c.patient(timeout)
	defer client.CloseIdleConnections()
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("function %s did not answer within %v", function, patience))
	defer cancel()
	out, err := lambda.NewFromConfig(c.account, once, func(o *lambda.Options) { o.HTTPClient = client }).Invoke(ctx, &lambda.InvokeInput{
		FunctionName: &function, LogType: types.LogTypeTail, Payload: payload,
	})
	switch {
	case isThrottle(err):
		return nil, &Failure{Type: "TooManyRequestsException", Message: throttled(err), Throttled: true, Err: err}
	case err != nil && ctx.Err() != nil:
		return nil, fmt.Errorf("invoke %s: %w", function, context.Cause(ctx))
	case err != nil:
		return nil, fmt.Errorf("invoke %s: %w", function, err)
	}
	if out.FunctionError != nil {
		return nil, failure(out)
	}
	return headless(out)
}

// Purge asks a function, without waiting for it, to remove what a run has on the table: a run that goes
// on in another call ends then.
func (c *Caller) Purge(ctx context.Context, function, runID string) error {
	payload, err := json.Marshal(invocation.Event{Config: invocation.Config{Mode: invocation.ModePurge, RunID: runID}})
	if err != nil {
		return fmt.Errorf("event: %w", err)
	}
	_, err = c.client.Invoke(ctx, &lambda.InvokeInput{FunctionName: &function, InvocationType: types.InvocationTypeEvent, Payload: payload})
	if err != nil {
		return fmt.Errorf("invoke %s: %w", function, err)
	}
	return nil
}

// patient is an HTTP client for one call that is silent for as long as a function may run. It trusts whom
// the account's client trusts.
func (c *Caller) patient(timeout time.Duration) (*http.Client, time.Duration) {
	client := c.account.HTTPClient
	if wrapper, ok := client.(interface{ Unwrap() aws.HTTPClient }); ok {
		client = wrapper.Unwrap()
	}
	base, ok := client.(*awshttp.BuildableClient)
	if !ok {
		base = awshttp.NewBuildableClient()
	}
	patience := timeout + afterTimeout
	transport := base.WithTransportOptions(func(t *http.Transport) {
		t.ResponseHeaderTimeout = patience
		t.IdleConnTimeout = patience
		t.DialContext = (&net.Dialer{Timeout: afterTimeout, KeepAlive: keepAlive}).DialContext
	}).GetTransport()
	return &http.Client{Transport: transport}, patience
}

// headless reads the answer of a function that did not fail.
func headless(out *lambda.InvokeOutput) (*invocation.HeadlessResponse, error) {
	var answer struct {
		invocation.HeadlessResponse
		Status       string `json:"status"`
		Reason       string `json:"reason"`
		ErrorMessage string `json:"errorMessage"`
	}
	if err := json.Unmarshal(out.Payload, &answer); err != nil {
		return nil, fmt.Errorf("answer of the function: %w", err)
	}
	switch {
	case answer.ErrorMessage != "":
		return nil, failure(out)
	case answer.Status != "":
		return nil, &Failure{Type: answer.Status, Message: "the function " + answer.Status + " the event: " + answer.Reason}
	}
	return &answer.HeadlessResponse, nil
}

// Failure is a run that a function did not make, in its own words.
type Failure struct {
	Type, Message string
	Stack         []string // a frame a line, where the function gave one
	Log           string   // the last 4 KB
	Throttled     bool     // the platform refused for concurrency or rate
	Err           error    // of the call, when it was the platform that refused
}

func (f *Failure) Error() string { return f.Message }
func (f *Failure) Unwrap() error { return f.Err }

// failure reads the error of a function: its envelope, or whatever it answered.
func failure(out *lambda.InvokeOutput) *Failure {
	f := &Failure{Type: aws.ToString(out.FunctionError)}
	if log, err := base64.StdEncoding.DecodeString(aws.ToString(out.LogResult)); err == nil {
		f.Log = string(log)
	}
	var envelope struct {
		ErrorMessage string            `json:"errorMessage"`
		ErrorType    string            `json:"errorType"`
		StackTrace   []json.RawMessage `json:"stackTrace"`
	}
	if json.Unmarshal(out.Payload, &envelope) != nil || envelope.ErrorMessage == "" {
		f.Message = strings.TrimSpace(string(out.Payload))
		return f
	}
	f.Message = envelope.ErrorMessage
	if envelope.ErrorType != "" {
		f.Type = envelope.ErrorType
	}
	for _, raw := range envelope.StackTrace {
		f.Stack = append(f.Stack, frame(raw))
	}
	return f
}

// frame is a line of a stack trace: Python's are texts, Go's objects.
func frame(raw json.RawMessage) string {
	var text string
	if json.Unmarshal(raw, &text) == nil {
		return strings.TrimRight(text, "\n")
	}
	var object struct {
		Path  string `json:"path"`
		Line  int    `json:"line"`
		Label string `json:"label"`
	}
	if json.Unmarshal(raw, &object) != nil {
		return string(raw)
	}
	return fmt.Sprintf("%s:%d %s", object.Path, object.Line, object.Label)
}

// throttled says why the platform took no more.
func throttled(err error) string {
	var refusal *types.TooManyRequestsException
	if errors.As(err, &refusal) {
		return fmt.Sprintf("Lambda is throttled (%s): %s", refusal.Reason, refusal.ErrorMessage())
	}
	return "Lambda is throttled: " + err.Error()
}
