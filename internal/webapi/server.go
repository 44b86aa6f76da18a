package webapi

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// Limits of what a client may send and how long it may take.
const (
	maxBody       = 1 << 20
	maxHeader     = 32 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 30 * time.Second
	closeTimeout  = 3 * time.Second
)

// Config says what to serve and to whom. Controller and CSV are needed.
type Config struct {
	Controller Controller
	// CSV are the downloads, views of a snapshot.
	CSV CSV
	// UI holds index.html, in which {{.Args}} and {{.Nonce}} are replaced, and assets/, whose names
	// change with their content. nil = the API only.
	UI fs.FS
	// BasePath is put before every path, such as "/load"; "" = none.
	BasePath string
	// Version and Locustfile are shown; Locustfile is also part of download names.
	Version, Locustfile string
	// ClassPicker lets a start choose among classes and shapes.
	ClassPicker bool
	// HistoryFile is the CSV file of the full history; "" = it is not written.
	HistoryFile string
	// Token, if not empty, has to come with every request: as a bearer token, as the password of
	// basic authentication, or typed into the login page.
	Token string
	// Loopback is set when only the machine itself can connect. The Host of a request must then be
	// a name of the machine itself, which keeps a page that rebinds its own name out.
	Loopback bool
	// AllowOrigins are sites whose pages may use the API, such as "https://dash.example.com".
	AllowOrigins []string
	// Logger receives what goes wrong inside; nil discards it.
	Logger *slog.Logger
}

// CSV makes the downloads. Package report has these functions.
type CSV struct {
	Requests, Failures, Exceptions func(*stats.Snapshot) string
}

// Server is an http.Handler for one controller. It is safe for concurrent use.
type Server struct {
	config     Config
	controller Controller
	logger     *slog.Logger
	mux        *http.ServeMux
	page       string // "" = the API only
	origins    *http.CrossOriginProtection
	history    history
	started    time.Time // its monotonic reading: an idle time must not follow a clock that is set
	// lastUse is when somebody last did more than watch, in nanoseconds since started.
	lastUse atomic.Int64

	requests cachedBody
}

// NewServer checks the configuration and returns a server for it.
func NewServer(config Config) (*Server, error) {
	s := &Server{
		config:     config,
		controller: config.Controller,
		logger:     config.Logger,
		mux:        http.NewServeMux(),
		origins:    http.NewCrossOriginProtection(),
		started:    time.Now(),
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	if base := config.BasePath; base != "" && (!strings.HasPrefix(base, "/") || strings.HasSuffix(base, "/") || strings.ContainsAny(base, "?#{} ")) {
		return nil, fmt.Errorf("web base path %q: must begin with a slash and not end with one, such as /load", base)
	}
	for _, origin := range config.AllowOrigins {
		if err := s.origins.AddTrustedOrigin(origin); err != nil {
			return nil, fmt.Errorf("allowed origin %q: %w; it looks like https://host or https://host:port", origin, err)
		}
	}
	if config.UI != nil {
		page, err := fs.ReadFile(config.UI, "index.html")
		if err != nil {
			return nil, fmt.Errorf("web UI: %w", err)
		}
		s.page = string(page)
	}
	if config.Controller == nil || config.CSV.Requests == nil || config.CSV.Failures == nil || config.CSV.Exceptions == nil {
		return nil, errors.New("web API: it needs a controller and the CSV views")
	}
	s.routes()
	return s, nil
}

// routes has every path that there is.
func (s *Server) routes() {
	if s.page != "" {
		s.route("GET /{$}", s.index)
		s.route("GET /assets/", s.asset)
	}
	s.route("GET /login", s.loginPage)
	s.route("POST /login", s.login)
	s.route("POST /swarm", s.swarm)
	for _, method := range []string{"GET", "POST"} {
		s.route(method+" /stop", s.stop)
		s.route(method+" /stats/reset", s.resetStats)
	}
	s.route("GET /stats/requests", s.statsRequests)
	s.route("GET /stats/requests/csv", s.csv("requests", s.config.CSV.Requests))
	s.route("GET /stats/failures/csv", s.csv("failures", s.config.CSV.Failures))
	s.route("GET /exceptions/csv", s.csv("exceptions", s.config.CSV.Exceptions))
	s.route("GET /stats/requests_full_history/csv", s.fullHistoryCSV)
	s.route("GET /stats/report", s.report)
	s.route("GET /exceptions", s.exceptions)
	s.route("GET /tasks", s.tasks)
	s.route("GET /logs", s.logs)
	s.route("GET /worker-count", s.workerCount)
	s.route("POST /workers/quit", s.quitWorkers)
	s.route("POST /user", s.updateUser)
	s.route("GET /result", s.result)
	s.route("GET /result/statistics", s.statistics)
	s.route("GET /metrics", s.metrics)
	s.route("GET /healthz", s.health)
}

// handler answers a request or says why it cannot, before it has written anything.
type handler func(w http.ResponseWriter, r *http.Request) error

func (s *Server) route(pattern string, h handler) {
	s.mux.HandleFunc(pattern, func(w http.ResponseWriter, r *http.Request) {
		if err := h(w, r); err != nil {
			s.refuse(w, r, err)
		}
	})
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// Nothing else limits how long a client may take to read; a recorder in a test cannot do it.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(writeTimeout))
	setSafetyHeaders(w.Header())
	if err := s.checkHost(r); err != nil {
		s.refuse(w, r, err)
		return
	}
	inner, ok := s.inside(w, r)
	if !ok {
		return
	}
	if err := s.checkOrigin(w, inner); err != nil {
		s.refuse(w, inner, err)
		return
	}
	if inner.Method == http.MethodOptions {
		s.options(w, inner)
		return
	}
	if !s.authenticated(inner) {
		s.demandLogin(w, inner)
		return
	}
	if !watching[inner.URL.Path] {
		s.lastUse.Store(int64(time.Since(s.started)))
	}
	inner.Body = http.MaxBytesReader(w, inner.Body, maxBody)
	s.mux.ServeHTTP(w, inner)
}

// watching are the paths that a page or a script asks again and again; they do not show that anybody
// uses the server.
var watching = map[string]bool{
	"/stats/requests": true, "/worker-count": true, "/logs": true, "/tasks": true, "/exceptions": true,
	"/result": true, "/result/statistics": true, "/metrics": true, "/healthz": true, "/workers/quit": true,
}

// inside returns the request with the base path taken off; it answers one outside by itself.
func (s *Server) inside(w http.ResponseWriter, r *http.Request) (inner *http.Request, ok bool) {
	base := s.config.BasePath
	if base == "" {
		return r, true
	}
	if r.URL.Path == base {
		target := *r.URL
		target.Path, target.RawPath = base+"/", ""
		http.Redirect(w, r, target.RequestURI(), http.StatusPermanentRedirect)
		return nil, false
	}
	path, below := strings.CutPrefix(r.URL.Path, base+"/")
	if !below {
		s.refuse(w, r, &statusError{http.StatusNotFound, fmt.Sprintf("nothing here: everything is below %s/", base)})
		return nil, false
	}
	inner = r.Clone(r.Context())
	inner.URL.Path, inner.URL.RawPath = "/"+path, ""
	return inner, true
}

// options answers OPTIONS for every path that there is.
func (s *Server) options(w http.ResponseWriter, r *http.Request) {
	var allowed []string
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		probe := &http.Request{Method: method, URL: r.URL, Host: r.Host}
		if _, pattern := s.mux.Handler(probe); pattern != "" {
			allowed = append(allowed, method)
			if method == http.MethodGet {
				allowed = append(allowed, http.MethodHead)
			}
		}
	}
	if allowed == nil {
		http.NotFound(w, r)
		return
	}
	w.Header().Set("Allow", strings.Join(append(allowed, http.MethodOptions), ", "))
	w.WriteHeader(http.StatusOK)
}

// statusError is an answer other than the wanted one; its text is for whoever asked.
type statusError struct {
	status int
	text   string
}

func (e *statusError) Error() string { return e.text }

// refuse writes an error. Only texts of statusErrors are told; others are logged.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	refusal, known := errors.AsType[*statusError](err)
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge && !known {
		refusal, known = &statusError{http.StatusRequestEntityTooLarge, fmt.Sprintf("the request is larger than %d bytes", maxBody)}, true
	}
	if !known {
		s.logger.Error("web request failed", "path", r.URL.Path, "error", err)
		refusal = &statusError{http.StatusInternalServerError, "internal error; the log says more"}
	}
	writeJSON(w, refusal.status, outcome{Message: refusal.text})
}

// Serve answers requests on l until ctx ends, then gives those under way a moment and returns. It
// also samples the history that charts begin with, so a served controller has one whether somebody
// watches or not.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler:           s,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       readTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          slog.NewLogLogger(s.logger.Handler(), slog.LevelDebug),
	}
	running, stop := context.WithCancel(ctx)
	defer stop()
	var background sync.WaitGroup
	background.Go(func() { s.sampleHistory(running) })
	ended := make(chan error, 1)
	background.Go(func() {
		<-running.Done()
		closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
		defer cancel()
		if err := server.Shutdown(closing); err != nil {
			err = server.Close() // somebody still waits for an answer
			ended <- err
			return
		}
		ended <- nil
	})
	err := server.Serve(l)
	stop()
	background.Wait()
	if errors.Is(err, http.ErrServerClosed) {
		err = <-ended
	}
	return err
}
