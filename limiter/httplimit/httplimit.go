// Package httplimit limits the requests of an http.Handler: it acquires before the handler runs,
// tells clients what is left, answers those that are over a limit, and gives back what failed
// requests took.
//
// Answers carry RateLimit-Policy and RateLimit as the IETF draft "RateLimit header fields for HTTP"
// (draft-ietf-httpapi-ratelimit-headers-10) has them: one policy for each declared limit, whose quota q
// is its capacity and whose window w is the time in which that comes back; r is what is left, t when
// there will be more. A bucket that is spread over shards shows the share of one.
package httplimit

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// closeTimeout bounds what is written after a handler has returned, also when its client has gone.
const closeTimeout = 5 * time.Second

// Options configure a Middleware.
type Options struct {
	// Demand says what a request takes, of one or several entities and resources. All of them are
	// acquired, in this order, or none. A request for which it returns nothing is not limited. It must be
	// safe for concurrent use.
	Demand func(r *http.Request) []limiter.Request
	// Failed says which statuses of the handler give back what the request took; nil means none. A
	// handler that panics always does.
	Failed func(status int) bool
	// WithoutHeaders leaves out RateLimit-Policy and RateLimit.
	WithoutHeaders bool
	// Clock is the time that resets are counted from; nil means time.Now. It should be the limiter's.
	Clock func() time.Time
	// Logger is told what clients are not: why the limiter could not answer, and what could not be
	// written after the handler. nil discards.
	Logger *slog.Logger
}

// Middleware returns what wraps a handler so that requests take their demand of l first. It answers
//
//   - 429 to a request over a limit, with Retry-After and the JSON of *limiter.ExceededError
//   - 403 where an operator closed the resource
//   - 503 when the limiter cannot answer and is not told to admit then
//   - 500 for what is a mistake of the service: a demand that is invalid, a permission that is missing
//
// and calls the handler otherwise, which finds its leases by Leases. A lease ends when the handler
// returns; what was changed on it is written then.
func Middleware(l *limiter.Limiter, opts Options) (func(http.Handler) http.Handler, error) {
	switch {
	case l == nil:
		return nil, errors.New("httplimit: limiter is nil")
	case opts.Demand == nil:
		return nil, errors.New("httplimit: Options.Demand is nil; it says what each request takes")
	}
	if opts.Failed == nil {
		opts.Failed = func(int) bool { return false }
	}
	if opts.Clock == nil {
		opts.Clock = time.Now
	}
	if opts.Logger == nil {
		opts.Logger = slog.New(slog.DiscardHandler)
	}
	return func(next http.Handler) http.Handler {
		return &handler{limiter: l, opts: opts, next: next}
	}, nil
}

type handler struct {
	limiter *limiter.Limiter
	opts    Options
	next    http.Handler
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	demand := h.opts.Demand(r)
	if len(demand) == 0 {
		h.next.ServeHTTP(w, r)
		return
	}
	leases, err := h.acquire(r.Context(), demand)
	if err != nil {
		h.refuse(w, r, err)
		return
	}
	if !h.opts.WithoutHeaders {
		var statuses []limiter.LimitStatus
		for _, lease := range leases {
			statuses = append(statuses, lease.Statuses()...)
		}
		setFields(w.Header(), statuses, false, h.opts.Clock())
	}
	recorder := &recorder{ResponseWriter: w, status: http.StatusOK}
	kept := false
	defer func() {
		// The cost does not depend on whether the client has waited for the answer.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), closeTimeout)
		defer cancel()
		for i, lease := range leases {
			end := lease.Rollback
			if kept {
				end = lease.Close
			}
			if err := end(ctx); err != nil {
				h.opts.Logger.Error("lease could not be written", "entity", demand[i].EntityID, "resource", demand[i].Resource, "error", err)
			}
		}
	}()
	h.next.ServeHTTP(recorder, r.WithContext(context.WithValue(r.Context(), leasesKey{}, leases)))
	kept = !h.opts.Failed(recorder.status)
}

// acquire takes all or nothing.
func (h *handler) acquire(ctx context.Context, demand []limiter.Request) ([]*limiter.Lease, error) {
	leases := make([]*limiter.Lease, 0, len(demand))
	for _, request := range demand {
		lease, err := h.limiter.Acquire(ctx, request)
		if err == nil {
			leases = append(leases, lease)
			continue
		}
		for i, earlier := range leases {
			if failed := earlier.Rollback(ctx); failed != nil {
				h.opts.Logger.Error("lease could not be given back", "entity", demand[i].EntityID, "resource", demand[i].Resource, "error", failed)
			}
		}
		return nil, err
	}
	return leases, nil
}

// refusal is the body of answers that are not about limits.
type refusal struct {
	Error    string `json:"error"`
	Message  string `json:"message"`
	EntityID string `json:"entity_id,omitempty"`
	Resource string `json:"resource,omitempty"`
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
		w.Header().Set("Retry-After", exceeded.RetryAfterHeader())
		if !h.opts.WithoutHeaders {
			setFields(w.Header(), exceeded.Statuses, true, h.opts.Clock())
		}
		h.answer(w, http.StatusTooManyRequests, exceeded)
		return
	}
	if disabled, ok := errors.AsType[*limiter.DisabledError](err); ok {
		h.answer(w, http.StatusForbidden, refusal{"resource_disabled", disabled.Error(), disabled.EntityID, disabled.Resource})
		return
	}
	if unavailable, ok := errors.AsType[*limiter.UnavailableError](err); ok {
		if r.Context().Err() != nil {
			return // nobody reads an answer
		}
		h.opts.Logger.Error("rate limiter unavailable", "error", err)
		h.answer(w, http.StatusServiceUnavailable, refusal{"rate_limiter_unavailable", "Rate limiter unavailable", unavailable.EntityID, unavailable.Resource})
		return
	}
	h.opts.Logger.Error("request could not be limited", "error", err)
	h.answer(w, http.StatusInternalServerError, refusal{Error: "internal_error", Message: "Request could not be rate limited"})
}

func (h *handler) answer(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		h.opts.Logger.Error("answer could not be written", "error", err)
		http.Error(w, http.StatusText(status), status)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n')) // the client may have gone
}

type leasesKey struct{}

// Leases returns the leases of the request that ctx belongs to, in the order of its demand; nil when
// it is not limited. They end when the handler returns; the handler must not end them.
func Leases(ctx context.Context) []*limiter.Lease {
	leases, _ := ctx.Value(leasesKey{}).([]*limiter.Lease)
	return leases
}

// recorder notes the status that a handler answers with.
type recorder struct {
	http.ResponseWriter
	status  int
	written bool
}

// Unwrap gives http.ResponseController the writer below.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

func (r *recorder) WriteHeader(status int) {
	if !r.written && (status >= 200 || status == http.StatusSwitchingProtocols) { // others are only informational
		r.status, r.written = status, true
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(p []byte) (int, error) {
	r.written = true
	return r.ResponseWriter.Write(p)
}

// Flush keeps handlers working that assert http.Flusher.
func (r *recorder) Flush() {
	r.written = true
	_ = http.NewResponseController(r.ResponseWriter).Flush() // Flusher has no error
}
