package httplimit_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/httplimit"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// start is a Friday, 08:00 UTC.
var start = time.UnixMilli(1_800_000_000_000)

func clock() time.Time { return start }

type service struct {
	limiter *limiter.Limiter
	store   *faulty
	handler http.Handler
}

// faulty is a store that can be made to fail.
type faulty struct {
	*memstore.Store
	down bool
}

func (f *faulty) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	if f.down {
		return errors.New("connection refused to 10.0.0.7")
	}
	return f.Store.Consume(ctx, in, out)
}

func (f *faulty) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	if f.down {
		return errors.New("connection refused to 10.0.0.7")
	}
	return f.Store.Read(ctx, in, out)
}

func demand(r *http.Request) []limiter.Request {
	var requests []limiter.Request
	for _, resource := range strings.Split(r.Header.Get("Resources"), ",") {
		if resource != "" {
			requests = append(requests, limiter.Request{EntityID: "user-1", Resource: resource, Consume: limiter.Amounts{"rpm": 1}})
		}
	}
	return requests
}

func newService(t *testing.T, handler http.HandlerFunc, change func(*httplimit.Options)) *service {
	t.Helper()
	s := &service{store: &faulty{Store: memstore.New()}}
	var err error
	s.limiter, err = limiter.New(s.store, limiter.Options{Clock: clock, RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	admin := s.limiter.Admin()
	if err := admin.SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerMinute("rpm", 2)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	opts := httplimit.Options{Demand: demand, Clock: clock}
	if change != nil {
		change(&opts)
	}
	wrap, err := httplimit.Middleware(s.limiter, opts)
	if err != nil {
		t.Fatal(err)
	}
	s.handler = wrap(handler)
	return s
}

func (s *service) get(t *testing.T, resources string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
	r.Header.Set("Resources", resources)
	w := httptest.NewRecorder()
	s.handler.ServeHTTP(w, r)
	return w.Result()
}

func (s *service) available(t *testing.T, resource string) int64 {
	t.Helper()
	available, err := s.limiter.Available(t.Context(), "user-1", resource, nil)
	if err != nil {
		t.Fatal(err)
	}
	return available["rpm"]
}

func ok(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "done") }

func body(t *testing.T, response *http.Response) map[string]any {
	t.Helper()
	var out map[string]any
	if err := json.NewDecoder(response.Body).Decode(&out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestRequestsWithinTheLimitsLearnWhatIsLeft(t *testing.T) {
	s := newService(t, ok, nil)
	response := s.get(t, "api")
	if response.StatusCode != http.StatusOK {
		t.Fatalf("got status %d, want 200", response.StatusCode)
	}
	for field, want := range map[string]string{"RateLimit-Policy": `"rpm";q=2;w=60`, "RateLimit": `"rpm";r=1;t=30`} {
		if got := response.Header.Get(field); got != want {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
}

func TestARequestOverALimitIsA429(t *testing.T) {
	called := 0
	s := newService(t, func(http.ResponseWriter, *http.Request) { called++ }, nil)
	s.get(t, "api")
	s.get(t, "api")
	response := s.get(t, "api")
	if response.StatusCode != http.StatusTooManyRequests || called != 2 {
		t.Fatalf("got status %d after %d calls, want 429 after 2", response.StatusCode, called)
	}
	for field, want := range map[string]string{
		"Retry-After": "31", "Content-Type": "application/json",
		"RateLimit-Policy": `"rpm";q=2;w=60`, "RateLimit": `"rpm";r=0;t=31`,
	} {
		if got := response.Header.Get(field); got != want {
			t.Errorf("%s: got %s, want %s", field, got, want)
		}
	}
	got := body(t, response)
	if got["error"] != "rate_limit_exceeded" || got["retry_after_ms"] != 30001.0 || len(got["limits"].([]any)) != 1 {
		t.Errorf("body: got %v", got)
	}
}

func TestUnlimitedRequestsPass(t *testing.T) {
	s := newService(t, ok, nil)
	response := s.get(t, "")
	if response.StatusCode != http.StatusOK || response.Header.Get("RateLimit") != "" {
		t.Errorf("got status %d, RateLimit %q", response.StatusCode, response.Header.Get("RateLimit"))
	}
}

func TestSeveralResourcesAreTakenTogetherOrNotAtAll(t *testing.T) {
	s := newService(t, ok, nil)
	if response := s.get(t, "api,images"); response.Header.Get("RateLimit") != `"api/rpm";r=1;t=30, "images/rpm";r=1;t=30` {
		t.Errorf("RateLimit: got %s", response.Header.Get("RateLimit"))
	}
	s.get(t, "images")
	if response := s.get(t, "api,images"); response.StatusCode != http.StatusTooManyRequests {
		t.Errorf("got status %d, want 429", response.StatusCode)
	}
	if got := s.available(t, "api"); got != 1 {
		t.Errorf("the first resource has %d left, want 1: it was not given back", got)
	}
}

func TestFailedRequestsGiveBackWhatTheyTook(t *testing.T) {
	status := http.StatusBadGateway
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) }, func(o *httplimit.Options) {
		o.Failed = func(status int) bool { return status >= 500 }
	})
	s.get(t, "api")
	if got := s.available(t, "api"); got != 2 {
		t.Errorf("after a failure %d are left, want 2", got)
	}
	status = http.StatusNotFound
	s.get(t, "api")
	if got := s.available(t, "api"); got != 1 {
		t.Errorf("after a 404 %d are left, want 1", got)
	}
}

func TestAPanicGivesBackAndGoesOn(t *testing.T) {
	s := newService(t, func(http.ResponseWriter, *http.Request) { panic("broken") }, nil)
	defer func() {
		if recovered := recover(); recovered != "broken" {
			t.Errorf("recovered %v, want the handler's panic", recovered)
		}
		if got := s.available(t, "api"); got != 2 {
			t.Errorf("%d are left, want 2", got)
		}
	}()
	s.get(t, "api")
}

func TestHandlersAdjustTheirLease(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, r *http.Request) {
		if err := httplimit.Leases(r.Context())[0].Adjust(limiter.Amounts{"rpm": 4}); err != nil {
			t.Error(err)
		}
	}, nil)
	s.get(t, "api")
	if got := s.available(t, "api"); got != -3 {
		t.Errorf("%d are left, want -3", got)
	}
}

func TestAClientThatLeftPaysAllTheSame(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newService(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		if err := httplimit.Leases(r.Context())[0].Adjust(limiter.Amounts{"rpm": 1}); err != nil {
			t.Error(err)
		}
	}, nil)
	r := httptest.NewRequestWithContext(ctx, http.MethodGet, "/", nil)
	r.Header.Set("Resources", "api")
	s.handler.ServeHTTP(httptest.NewRecorder(), r)
	if got := s.available(t, "api"); got != 0 {
		t.Errorf("%d are left, want 0", got)
	}
}

func TestWhatIsDisabledIsA403(t *testing.T) {
	s := newService(t, ok, nil)
	if _, err := s.limiter.Admin().Disable(t.Context(), "", "api"); err != nil {
		t.Fatal(err)
	}
	response := s.get(t, "api")
	if got := body(t, response); response.StatusCode != http.StatusForbidden || got["error"] != "resource_disabled" || got["resource"] != "api" {
		t.Errorf("got status %d, %v", response.StatusCode, got)
	}
}

func TestAnUnavailableLimiterBlocksOrAdmits(t *testing.T) {
	for mode, want := range map[limiter.OnUnavailable]int{limiter.Block: 503, limiter.Allow: 200} {
		s := newService(t, ok, func(o *httplimit.Options) {
			o.Demand = func(r *http.Request) []limiter.Request {
				requests := demand(r)
				requests[0].OnUnavailable = mode
				return requests
			}
		})
		s.store.down = true
		response := s.get(t, "api")
		if response.StatusCode != want {
			t.Errorf("%s: got status %d, want %d", mode, response.StatusCode, want)
		}
		if want == 503 {
			if got := fmt.Sprint(body(t, response)); !strings.Contains(got, "rate_limiter_unavailable") || strings.Contains(got, "10.0.0.7") {
				t.Errorf("body: got %s, want no cause in it", got)
			}
		}
	}
}

func TestMistakesOfTheServiceAreA500(t *testing.T) {
	s := newService(t, ok, nil)
	if response := s.get(t, "no such#name"); response.StatusCode != http.StatusInternalServerError {
		t.Errorf("got status %d, want 500", response.StatusCode)
	}
}

func TestStreamingHandlersKeepTheirWriter(t *testing.T) {
	s := newService(t, func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusEarlyHints)
		fmt.Fprint(w, "a")
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Error(err)
		}
		w.(http.Flusher).Flush()
	}, func(o *httplimit.Options) { o.Failed = func(status int) bool { return status != 200 } })
	server := httptest.NewServer(s.handler)
	defer server.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Resources", "api")
	response, err := server.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK || !response.Uncompressed && response.ContentLength >= 0 {
		t.Errorf("got status %d, length %d, want a stream", response.StatusCode, response.ContentLength)
	}
}

func TestQuotasTellWhenTheyComeBack(t *testing.T) {
	s := newService(t, ok, func(o *httplimit.Options) {
		o.Demand = func(*http.Request) []limiter.Request {
			return []limiter.Request{{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"day": 1, "session": 1, "tpm": 5}}}
		}
	})
	day, err := limiter.Quota("day", 9, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	limits := []limiter.Limit{day, limiter.SessionQuota("session", 1, time.Hour), limiter.PerMinute("tpm", 30).WithBurst(90)}
	if err := s.limiter.Admin().SetResourceDefaults(t.Context(), "api", limits); err != nil {
		t.Fatal(err)
	}
	response := s.get(t, "api")
	const policy = `"day";q=9, "session";q=1;w=3600, "tpm";q=90;w=180`
	if got := response.Header.Get("RateLimit-Policy"); got != policy {
		t.Errorf("RateLimit-Policy: got %s, want %s", got, policy)
	}
	const within = `"day";r=8;t=57600, "session";r=0;t=3600, "tpm";r=85;t=2`
	if got := response.Header.Get("RateLimit"); got != within {
		t.Errorf("RateLimit: got %s, want %s", got, within)
	}
	response = s.get(t, "api")
	const over = `"day";r=8, "session";r=0;t=3600, "tpm";r=85`
	if got := response.Header.Get("RateLimit"); got != over || response.Header.Get("Retry-After") != "3601" {
		t.Errorf("RateLimit: got %s, Retry-After %s, want %s, 3601", got, response.Header.Get("Retry-After"), over)
	}
}

func TestWhatIsMissingIsSaidAtOnce(t *testing.T) {
	l, err := limiter.New(memstore.New(), limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := httplimit.Middleware(nil, httplimit.Options{Demand: demand}); err == nil {
		t.Error("a nil limiter is accepted")
	}
	if _, err := httplimit.Middleware(l, httplimit.Options{}); err == nil {
		t.Error("no demand is accepted")
	}
}
