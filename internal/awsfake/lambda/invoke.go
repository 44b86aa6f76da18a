package lambda

import (
	"cmp"
	"encoding/base64"
	"errors"
	"io"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Limits of payloads, in bytes; the platform's 6 MB are a little more than that.
const (
	maxSync  = 6291556
	maxAsync = 1 << 20
)

// target is one version of a function as it is run.
type target struct {
	config types.FunctionConfiguration
	arn    string // of the function, without a qualifier
	asked  string // the ARN that was called
}

// key is the same for calls that one environment can serve.
func (t *target) key() string {
	return t.arn + " " + aws.ToString(t.config.Version) + " " + aws.ToString(t.config.RevisionId)
}

func (s *Service) targetOf(f *found, config types.FunctionConfiguration) target {
	return target{config: config, arn: f.arn, asked: f.qualified()}
}

// begin counts a call that begins, or says that there are too many.
func (s *Service) begin(f *found) error {
	s.mu.Lock()
	err := s.enter(f.arn, f.function)
	s.mu.Unlock()
	if err != nil {
		s.metric(f.arn, "Throttles", 1, "Count")
	}
	return err
}

// invoke is the operation Invoke: its body is the payload.
func (s *Service) invoke(w http.ResponseWriter, r *http.Request, call *protocol.Call, _ int) {
	if err := s.answer(w, r, call); err != nil {
		protocol.WriteRESTError(w, err)
	}
}

func (s *Service) answer(w http.ResponseWriter, r *http.Request, call *protocol.Call) error {
	kind := types.InvocationType(cmp.Or(r.Header.Get("X-Amz-Invocation-Type"), string(types.InvocationTypeRequestResponse)))
	limit := int64(maxSync)
	if kind == types.InvocationTypeEvent {
		limit = maxAsync
	}
	payload, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	if err != nil {
		return invalid("Could not read the request's body: %v", err)
	}
	if int64(len(payload)) > limit {
		return &protocol.Error{Status: http.StatusRequestEntityTooLarge, Code: "RequestTooLargeException", Message: "Request must be smaller than " + size(limit) + " bytes for the InvokeFunction operation", Fields: map[string]any{"Type": "User"}}
	}
	f, t, err := s.called(call, r)
	if err != nil {
		return err
	}
	switch kind {
	case types.InvocationTypeDryRun:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case types.InvocationTypeEvent:
		e := event{id: call.ID, arn: f.arn, qualifier: f.qualifier, payload: payload, queued: s.config.Now()}
		if !s.spawn(func() { s.deliver(e) }) {
			return errClosed
		}
		w.WriteHeader(http.StatusAccepted)
		return nil
	}
	if err := s.begin(f); err != nil {
		return err
	}
	done := make(chan outcome, 1)
	if !s.spawn(func() { // it goes on when the caller leaves
		out := s.execute(t, call.ID, payload)
		s.leave(t.arn)
		done <- out
	}) {
		s.leave(t.arn)
		return errClosed
	}
	select {
	case out := <-done:
		write(w, r, t, out)
	case <-r.Context().Done():
	}
	return nil
}

var errClosed = errors.New("the service is closed")

// called finds out what a request wants to call.
func (s *Service) called(call *protocol.Call, r *http.Request) (*found, target, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f, err := s.find(call, "InvokeFunction", aws.String(r.PathValue("FunctionName")), aws.String(r.URL.Query().Get("Qualifier")))
	if err != nil {
		return nil, target{}, err
	}
	config, err := f.version()
	if err != nil {
		return nil, target{}, err
	}
	if s.shown(f.function, config).State == types.StatePending {
		return nil, target{}, conflict("The operation cannot be performed at this time. The function is currently in the following state: Pending")
	}
	return f, s.targetOf(f, config), nil
}

// write answers a synchronous call.
func write(w http.ResponseWriter, r *http.Request, t target, out outcome) {
	w.Header().Set("X-Amz-Executed-Version", aws.ToString(t.config.Version))
	if out.failure != "" {
		w.Header().Set("X-Amz-Function-Error", out.failure)
	}
	if types.LogType(r.Header.Get("X-Amz-Log-Type")) == types.LogTypeTail {
		w.Header().Set("X-Amz-Log-Result", base64.StdEncoding.EncodeToString(out.log))
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(out.payload) // a client that left needs no answer
}
