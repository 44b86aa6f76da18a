package lambdaworker

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"time"
)

// The platform's runtime API (AWS Lambda Developer Guide, "Using the Lambda runtime API for custom
// runtimes"). It is spoken here and not by aws-lambda-go, because that module links net/rpc and with it
// packages that look up methods by name: the linker then keeps every method of every AWS client, which
// makes image and function package three times as large.
const (
	runtimePath     = "/2018-06-01/runtime/"
	requestIDHeader = "Lambda-Runtime-Aws-Request-Id"
	deadlineHeader  = "Lambda-Runtime-Deadline-Ms"
	errorTypeHeader = "Lambda-Runtime-Function-Error-Type"
	// maxEvent is more than the platform lets through, in bytes.
	maxEvent = 8 << 20
	// answerWithin bounds how long the platform, which is on this machine, takes an answer.
	answerWithin = 10 * time.Second
	panicType    = "Panic"
)

// failure is the platform's envelope of an error.
type failure struct {
	Message string       `json:"errorMessage"`
	Type    string       `json:"errorType"`
	Stack   []stackFrame `json:"stackTrace,omitempty"`
}

// stackFrame has the keys that the platform's own Go runtime uses.
type stackFrame struct {
	Path  string `json:"path"`
	Line  int    `json:"line"`
	Label string `json:"label"`
}

// platform is the runtime API of this environment.
type platform struct {
	base   string
	client *http.Client
}

// Invoker serves the event of a request. An *Error says under which type an error is answered.
type Invoker interface {
	Invoke(ctx context.Context, requestID string, payload []byte) ([]byte, error)
}

// Serve takes invocations from the runtime API at host:port and has them served, one at a time, until the
// context ends, the API is not reachable any more, or the handler panics: the process has to end then.
func Serve(ctx context.Context, api string, handler Invoker) error {
	// An invocation is waited for without end, while the process is frozen most of the time.
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: answerWithin}).DialContext}
	defer transport.CloseIdleConnections()
	p := &platform{base: "http://" + api + runtimePath, client: &http.Client{Transport: transport}}
	for {
		if err := p.serveNext(ctx, handler); err != nil {
			return err
		}
	}
}

func (p *platform) serveNext(ctx context.Context, handler Invoker) error {
	id, deadline, payload, err := p.next(ctx)
	if err != nil {
		return err
	}
	call, release := ctx, context.CancelFunc(func() {})
	if !deadline.IsZero() {
		call, release = context.WithDeadline(ctx, deadline)
	}
	answer, failed, panicked := guarded(call, handler, id, payload)
	release()
	if failed == nil {
		return p.post(ctx, "invocation/"+id+"/response", answer, "")
	}
	body, err := json.Marshal(failed)
	if err == nil {
		err = p.post(ctx, "invocation/"+id+"/error", body, failed.Type)
	}
	if panicked {
		err = errors.Join(err, fmt.Errorf("%s: %s", failed.Type, failed.Message))
	}
	return err
}

// guarded serves one event; a panic becomes a failure with the place where it arose.
func guarded(ctx context.Context, handler Invoker, id string, payload []byte) (answer []byte, failed *failure, panicked bool) {
	defer func() {
		if reason := recover(); reason != nil {
			failed, panicked = &failure{Message: fmt.Sprint(reason), Type: panicType, Stack: callers()}, true
		}
	}()
	answer, err := handler.Invoke(ctx, id, payload)
	if err != nil {
		kind := ErrorTypeRun
		if typed, ok := errors.AsType[*Error](err); ok {
			kind = typed.Type
		}
		return nil, &failure{Message: err.Error(), Type: kind}, false
	}
	return answer, nil, false
}

// callers are the functions below a panic.
func callers() []stackFrame {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(4, pcs)])
	var stack []stackFrame
	for {
		frame, more := frames.Next()
		stack = append(stack, stackFrame{Path: frame.File, Line: frame.Line, Label: frame.Function})
		if !more {
			return stack
		}
	}
}

// next waits for the next invocation.
func (p *platform) next(ctx context.Context) (id string, deadline time.Time, payload []byte, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, p.base+"invocation/next", nil)
	if err != nil {
		return "", deadline, nil, fmt.Errorf("runtime API: %w", err)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return "", deadline, nil, fmt.Errorf("runtime API: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	payload, err = io.ReadAll(io.LimitReader(response.Body, maxEvent+1))
	id = response.Header.Get(requestIDHeader)
	switch {
	case err != nil:
		return "", deadline, nil, fmt.Errorf("runtime API: read the event: %w", err)
	case response.StatusCode != http.StatusOK || id == "":
		return "", deadline, nil, fmt.Errorf("runtime API: status %d without an invocation", response.StatusCode)
	case len(payload) > maxEvent:
		return "", deadline, nil, fmt.Errorf("runtime API: an event of more than %d bytes", maxEvent)
	}
	if ms, err := strconv.ParseInt(response.Header.Get(deadlineHeader), 10, 64); err == nil && ms > 0 {
		deadline = time.UnixMilli(ms)
	}
	return id, deadline, payload, nil
}

// post answers an invocation.
func (p *platform) post(ctx context.Context, path string, body []byte, errorType string) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), answerWithin)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("runtime API: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	if errorType != "" {
		request.Header.Set(errorTypeHeader, errorType)
	}
	response, err := p.client.Do(request)
	if err != nil {
		return fmt.Errorf("runtime API: %w", err)
	}
	_, err = io.Copy(io.Discard, io.LimitReader(response.Body, maxEvent))
	if err = errors.Join(err, response.Body.Close()); err != nil {
		return fmt.Errorf("runtime API: %w", err)
	}
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("runtime API: the answer got status %d", response.StatusCode)
	}
	return nil
}
