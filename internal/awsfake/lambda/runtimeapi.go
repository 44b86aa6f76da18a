package lambda

import (
	"encoding/json"
	"io"
	"net/http"
	"strconv"
)

// runtimeAPI is the Lambda runtime API, version 2018-06-01, of one environment.
func (e *environment) runtimeAPI() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /2018-06-01/runtime/invocation/next", e.next)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/response", e.response)
	mux.HandleFunc("POST /2018-06-01/runtime/invocation/{id}/error", e.failure)
	mux.HandleFunc("POST /2018-06-01/runtime/init/error", e.initFailure)
	return mux
}

// next hands over a call when there is one.
func (e *environment) next(w http.ResponseWriter, r *http.Request) {
	select {
	case e.asking <- struct{}{}:
	default:
	}
	select {
	case j := <-e.jobs:
		header := w.Header()
		header.Set("Lambda-Runtime-Aws-Request-Id", j.id)
		header.Set("Lambda-Runtime-Deadline-Ms", strconv.FormatInt(j.deadline.UnixMilli(), 10))
		header.Set("Lambda-Runtime-Invoked-Function-Arn", j.target.asked)
		header.Set("Lambda-Runtime-Trace-Id", traceID())
		header.Set("Content-Type", "application/json")
		_, _ = w.Write(j.payload) // a process that left is seen by its end
	case <-r.Context().Done():
	}
}

// post takes what the runtime says about the call in its path.
func (e *environment) post(w http.ResponseWriter, r *http.Request, end func(body []byte) outcome) {
	if e.take(r.PathValue("id")) == nil {
		answerRuntime(w, http.StatusBadRequest, "InvalidRequestID", "Invalid request ID")
		return
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSync+1))
	if err != nil {
		answerRuntime(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	if len(body) > maxSync {
		e.result(failed("Function.ResponseSizeTooLarge", "Response payload size exceeded maximum allowed payload size (%d bytes).", maxSync))
		answerRuntime(w, http.StatusRequestEntityTooLarge, "RequestEntityTooLarge", "Exceeded maximum allowed payload size")
		return
	}
	e.result(end(body))
	answerRuntime(w, http.StatusAccepted, "", "OK")
}

func (e *environment) response(w http.ResponseWriter, r *http.Request) {
	e.post(w, r, func(body []byte) outcome { return outcome{payload: body} })
}

func (e *environment) failure(w http.ResponseWriter, r *http.Request) {
	e.post(w, r, func(body []byte) outcome { return outcome{payload: body, failure: "Unhandled"} })
}

func (e *environment) initFailure(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, maxSync))
	if err != nil {
		answerRuntime(w, http.StatusBadRequest, "InvalidRequest", err.Error())
		return
	}
	e.result(outcome{payload: body, failure: "Unhandled"})
	answerRuntime(w, http.StatusAccepted, "", "OK")
}

// result passes an outcome on; a second one for the same call is dropped.
func (e *environment) result(out outcome) {
	select {
	case e.results <- out:
	default:
	}
}

func answerRuntime(w http.ResponseWriter, status int, kind, text string) {
	answer := map[string]string{"status": text}
	if kind != "" {
		answer = map[string]string{"errorType": kind, "errorMessage": text}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(answer) // a process that left is seen by its end
}
