// Package lambdaworker is the handler of the worker function: an event in, one run, an answer out
// (load-cli.md 11). It decides whether to run at all and when the platform's time limit ends a run; how
// users are run is the Runner's matter.
package lambdaworker

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// Runner runs users. What it opened and started is gone when a method returns: the platform freezes
// the process then.
type Runner interface {
	// Headless runs users until their time is over; the end of ctx ends the run in good order. With a
	// result an error says what went wrong beside it, without one why there is none.
	Headless(ctx context.Context, config invocation.Config) (*report.Result, error)
	// Worker joins the master and runs users as it says. It returns invocation.StatusCompleted when
	// the master or the end of ctx ended it, else how it was left without a master.
	Worker(ctx context.Context, config invocation.Config) (status string, err error)
	// Purge removes from the table what the run with an id has there.
	Purge(ctx context.Context, config invocation.Config) error
}

// Types of the errors that a function answers.
const (
	ErrorTypeEvent      = "InvalidEvent" // the event is at fault
	ErrorTypeLocustfile = "LocustfileError"
	ErrorTypeRun        = "RunError" // anything else
)

// Error is an error with the type under which a function answers it.
type Error struct {
	Type string
	Err  error
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// ErrTimeLimit is the cause of a context that the time limit of the function ended.
var ErrTimeLimit = errors.New("the function's time limit is near")

// Config configures a handler.
type Config struct {
	Runner Runner
	// BuildID is the one of this binary and its locustfiles, which events of another are refused for.
	BuildID string
	// Locustfile is used when an event names none; "" = the master's, or invocation.DefaultLocustfile.
	Locustfile string
	// Logger gets a line about each call; nil logs nothing.
	Logger *slog.Logger
}

// Handler serves invocations, one at a time.
type Handler struct{ config Config }

// New returns a handler.
func New(config Config) *Handler {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	return &Handler{config}
}

// Invoke serves the event of the request with an id. The deadline of ctx is the platform's.
func (h *Handler) Invoke(ctx context.Context, requestID string, payload []byte) ([]byte, error) {
	answer, err := h.run(ctx, requestID, payload)
	if err != nil {
		return nil, err
	}
	return json.Marshal(answer)
}

func (h *Handler) run(ctx context.Context, requestID string, payload []byte) (any, error) {
	event, err := invocation.Parse(payload)
	if err == nil {
		err = event.Config.Validate()
	}
	if err != nil {
		return nil, &Error{ErrorTypeEvent, err}
	}
	config := event.Config
	config.Locustfile = cmp.Or(config.Locustfile, h.config.Locustfile)
	config.WorkerID = cmp.Or(config.WorkerID, workerID(requestID))
	log := h.config.Logger.With("mode", config.Mode, "worker_id", config.WorkerID)
	if err := config.Refuse(time.Now(), h.config.BuildID); err != nil {
		log.Warn("refused", "reason", err)
		return invocation.WorkerResponse{Status: invocation.StatusRefused, WorkerID: config.WorkerID, Reason: err.Error()}, nil
	}
	ctx, release := limit(ctx)
	defer release()
	log.Info("starting", "run_id", config.RunID, "locustfile", config.Locustfile)
	var answer any
	switch config.Mode {
	case invocation.ModeWorker:
		answer, err = h.worker(ctx, config)
	case invocation.ModePurge:
		answer, err = invocation.WorkerResponse{Status: invocation.StatusPurged}, h.config.Runner.Purge(ctx, config)
	default:
		answer, err = h.headless(ctx, config)
	}
	log.Info("ended", "time_limit", errors.Is(context.Cause(ctx), ErrTimeLimit), "error", err)
	return answer, err
}

func (h *Handler) worker(ctx context.Context, config invocation.Config) (any, error) {
	status, err := h.config.Runner.Worker(ctx, config)
	if err != nil {
		return nil, err
	}
	return invocation.WorkerResponse{Status: status, WorkerID: config.WorkerID}, nil
}

func (h *Handler) headless(ctx context.Context, config invocation.Config) (any, error) {
	result, err := h.config.Runner.Headless(ctx, config)
	if result == nil {
		return nil, err
	}
	document, encoding := json.Marshal(result)
	if encoding != nil {
		return nil, fmt.Errorf("result document: %w", encoding)
	}
	answer := invocation.HeadlessResponse{
		TotalRequests: result.Totals.Requests, TotalFailures: result.Totals.Failures,
		AvgResponseTime: result.Totals.AvgMS, MinResponseTime: result.Totals.MinMS, MaxResponseTime: result.Totals.MaxMS,
		P50: result.Totals.P50MS, P95: result.Totals.P95MS, P99: result.Totals.P99MS,
		RequestsPerSecond: orZero(result.Totals.RPS), FailureRate: orZero(result.Totals.FailureRatio),
		Result: document,
	}
	if err != nil {
		answer.Error = err.Error()
	}
	return answer, nil
}

func orZero(x *float64) float64 {
	if x == nil {
		return 0
	}
	return *x
}

// workerID is the id of a worker whose event has none.
func workerID(requestID string) string {
	return "lambda_" + requestID[:min(8, len(requestID))]
}

// buffer is the part of its time that a function keeps for the end of a run (load-cli.md 11.2).
func buffer(remaining time.Duration) time.Duration {
	return time.Duration(remaining.Milliseconds()/10) * time.Millisecond
}

// limit returns a context that ends when no more than the buffer is left of the platform's time. Its
// deadline stays the platform's: what has to be done after a run may take until then.
func limit(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	release := func() { cancel(nil) }
	deadline, limited := ctx.Deadline()
	if !limited {
		return ctx, release
	}
	remaining := time.Until(deadline)
	timer := time.AfterFunc(remaining-buffer(remaining), func() { cancel(ErrTimeLimit) })
	return ctx, func() { timer.Stop(); release() }
}
