//go:build interop

package worker_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// These are the tests of our worker on a real master of Locust; the numbers in their names are those
// of the compatibility list in docs/cluster.md.

const interopTimeout = 60 * time.Second

func eachLocust(t *testing.T, test func(t *testing.T, python string)) {
	for name, variable := range map[string]string{"newest": "ZAE_INTEROP_LOCUST_PYTHON", "older": "ZAE_INTEROP_LOCUST_OLD_PYTHON"} {
		python := os.Getenv(variable)
		if python == "" {
			t.Fatalf("%s is not set; make interop installs Locust and sets it", variable)
		}
		t.Run(name, func(t *testing.T) { test(t, python) })
	}
}

type syncBuffer struct {
	mu     sync.Mutex
	buffer bytes.Buffer
}

func (b *syncBuffer) Write(data []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.Write(data)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buffer.String()
}

// locustMaster is a master of Locust with its web API.
type locustMaster struct {
	*exec.Cmd
	t         *testing.T
	python    string
	port, api string
	log       syncBuffer
	ended     chan struct{}
}

// freePort returns a port that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	return port
}

func startMaster(t *testing.T, python string, arguments ...string) *locustMaster {
	t.Helper()
	m := &locustMaster{t: t, python: python, port: freePort(t), api: freePort(t), ended: make(chan struct{})}
	line := append([]string{
		"-m", "locust", "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", m.port,
		"--web-host", "127.0.0.1", "--web-port", m.api, "-f", "../master/testdata/locustfile.py",
	}, arguments...)
	m.Cmd = exec.Command(python, line...)
	m.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	m.Stdout, m.Stderr = &m.log, &m.log
	if err := m.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = m.Wait()
		close(m.ended)
	}()
	t.Cleanup(func() {
		_ = m.Process.Kill()
		<-m.ended
		if t.Failed() {
			t.Logf("the master said:\n%s", m.log.String())
		}
	})
	m.until("the API answers", func() bool {
		response, err := http.Get("http://127.0.0.1:" + m.api + "/stats/requests")
		if err != nil {
			return false
		}
		_ = response.Body.Close()
		return true
	})
	return m
}

func (m *locustMaster) until(what string, condition func() bool) {
	m.t.Helper()
	for deadline := time.Now().Add(interopTimeout); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			m.t.Fatalf("%s: not after %v", what, interopTimeout)
		}
	}
}

// requests is what /stats/requests tells.
type requests struct {
	State     string
	UserCount int `json:"user_count"`
	Stats     []struct {
		Name, Method string
		Requests     int64   `json:"num_requests"`
		Failures     int64   `json:"num_failures"`
		Min          float64 `json:"min_response_time"`
		Max          float64 `json:"max_response_time"`
		Median       float64 `json:"median_response_time"`
		P95          float64 `json:"response_time_percentile_0.95"`
		Average      float64 `json:"avg_response_time"`
	}
	Errors []struct {
		Method, Name, Error string
		Occurrences         int64
	}
	Workers []struct {
		ID, State string
		Users     int     `json:"user_count"`
		CPU       float64 `json:"cpu_usage"`
		Memory    int64   `json:"memory_usage"`
	}
}

func (m *locustMaster) requests() requests {
	m.t.Helper()
	var r requests
	response, err := http.Get("http://127.0.0.1:" + m.api + "/stats/requests")
	if err != nil {
		m.t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(&r); err != nil {
		m.t.Fatal(err)
	}
	return r
}

func (m *locustMaster) post(path string, form url.Values) {
	m.t.Helper()
	response, err := http.PostForm("http://127.0.0.1:"+m.api+path, form)
	if err == nil && response.StatusCode == http.StatusMethodNotAllowed {
		_ = response.Body.Close()
		response, err = http.Get("http://127.0.0.1:" + m.api + path) // before 2.47
	}
	if err != nil {
		m.t.Fatal(err)
	}
	body, _ := io.ReadAll(response.Body)
	_ = response.Body.Close()
	if response.StatusCode != http.StatusOK {
		m.t.Fatalf("%s: %s %s", path, response.Status, body)
	}
}

func (m *locustMaster) swarm(users int, rate float64) {
	m.t.Helper()
	m.post("/swarm", url.Values{"user_count": {fmt.Sprint(users)}, "spawn_rate": {fmt.Sprint(rate)}, "host": {""}})
}

func (m *locustMaster) running(users int) {
	m.t.Helper()
	m.until(fmt.Sprintf("%d users", users), func() bool {
		r := m.requests()
		return r.State == "running" && r.UserCount == users
	})
}

// goWorker is a worker of ours in this process.
type goWorker struct {
	*worker.Worker
	cancel   func()
	done     chan struct{}
	status   worker.Status
	err      error
	log      syncBuffer
	calls    atomic.Int64
	failures atomic.Int64
	starts   atomic.Int64
	stops    atomic.Int64
}

// durations are what users report in turn, in microseconds: among them those that Locust rounds half
// to even.
var durations = []int64{105_000, 145_000, 2_500, 99_500, 994_900, 1_050_000, 3_432_700, 400, 50_500, 12_300}

func startGo(t *testing.T, m *locustMaster, change ...func(*worker.Config)) *goWorker {
	t.Helper()
	w := &goWorker{done: make(chan struct{})}
	class := func(name string) *loadtest.UserClass {
		return &loadtest.UserClass{Name: name, WaitTime: loadtest.Constant(20 * time.Millisecond), Tasks: []loadtest.Task{{
			Name: "t", Run: func(_ context.Context, u *loadtest.User) error {
				n := w.calls.Add(1)
				d := time.Duration(durations[n%int64(len(durations))]) * time.Microsecond
				sample := stats.Sample{Type: "GO", Name: "/go", Start: time.Now().Add(-d), Duration: d}
				if n%10 == 3 {
					w.failures.Add(1)
					sample.Type, sample.Name, sample.Err = "CALL", "/failing", "ValueError('boom')"
				}
				u.Record(sample)
				return nil
			},
		}}}
	}
	config := worker.Config{
		Master: "127.0.0.1:" + m.port, ClassNames: []string{"A", "B"}, Cores: 2,
		Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
		Open: func(_ context.Context, run worker.Run) (*worker.Scenario, error) {
			if !run.Foreign {
				t.Error("the master is not known as one of Locust")
			}
			return &worker.Scenario{Classes: []*loadtest.UserClass{class("A"), class("B")}, Events: loadtest.Events{
				TestStart: func(context.Context, *loadtest.Env) error { w.starts.Add(1); return nil },
				TestStop:  func(context.Context, *loadtest.Env) error { w.stops.Add(1); return nil },
			}}, nil
		},
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	if w.Worker, err = worker.New(config); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	go func() {
		defer close(w.done)
		w.status, w.err = w.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-w.done
		if t.Failed() {
			t.Logf("the worker said:\n%s", w.log.String())
		}
	})
	return w
}

func (m *locustMaster) workers(n int) {
	m.t.Helper()
	m.until(fmt.Sprintf("%d workers", n), func() bool {
		ready := 0
		for _, w := range m.requests().Workers {
			if w.State == "ready" || w.State == "running" {
				ready++
			}
		}
		return ready == n
	})
}

// 23, 24, 25, 26, 27, 29, 30, 32: a worker of ours registers, idles, follows steps up and down, stops,
// runs again and quits; the master's numbers are those of the samples.
func TestLocust23To32AWorkerOnLocustsMaster(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python)
		w := startGo(t, m)
		m.workers(1)
		time.Sleep(4 * time.Second) // idle reports
		if w := m.requests().Workers[0]; w.State != "ready" || w.Memory == 0 {
			t.Errorf("worker %+v", w)
		}
		m.swarm(6, 10)
		m.running(6)
		m.swarm(2, 10)
		m.running(2)
		m.swarm(4, 2)
		m.running(4)
		time.Sleep(4 * time.Second)
		if got := m.requests(); got.State != "running" || got.Workers[0].State != "running" {
			t.Errorf("state %s, worker %s", got.State, got.Workers[0].State)
		}
		m.post("/stop", nil)
		m.workers(1)
		m.until("all reports", func() bool { return total(m.requests()) >= w.calls.Load() })
		compare(t, m.requests(), w)
		if log := m.log.String(); strings.Contains(log, "expired") || strings.Contains(log, "Traceback") {
			t.Errorf("the master complains:\n%s", log)
		}
		// Once more, with numbers that begin anew.
		w.calls.Store(0)
		w.failures.Store(0)
		m.swarm(2, 10)
		m.running(2)
		m.post("/stop", nil)
		m.workers(1)
		m.until("all reports", func() bool { return total(m.requests()) >= w.calls.Load() })
		compare(t, m.requests(), w)
		if w.starts.Load() != 2 || w.stops.Load() != 2 || !strings.Contains(w.log.String(), "runs no on_test_start") {
			t.Errorf("%d starts and %d stops of the test", w.starts.Load(), w.stops.Load())
		}
		_ = m.Process.Signal(syscall.SIGTERM)
		select {
		case <-w.done:
		case <-time.After(interopTimeout):
			t.Fatal("the worker does not end")
		}
		if w.status != worker.StatusQuit || w.err != nil {
			t.Errorf("ended with %s, %v", w.status, w.err)
		}
	})
}

func total(r requests) int64 {
	if len(r.Stats) == 0 {
		return 0
	}
	return r.Stats[len(r.Stats)-1].Requests
}

func compare(t *testing.T, r requests, w *goWorker) {
	t.Helper()
	all := r.Stats[len(r.Stats)-1]
	if all.Requests != w.calls.Load() || all.Failures != w.failures.Load() || all.Requests == 0 {
		t.Errorf("%d requests, %d failures; users made %d, %d", all.Requests, all.Failures, w.calls.Load(), w.failures.Load())
	}
	if len(r.Errors) != 1 || r.Errors[0].Error != "ValueError('boom')" || r.Errors[0].Occurrences != w.failures.Load() {
		t.Errorf("errors %+v", r.Errors)
	}
	for _, row := range r.Stats {
		if row.Name != "/go" || row.Requests < 50 {
			continue
		}
		// Rounded as Locust does: 0, 2, 12, 50, 100, 100, 140, 990, 1000 in equal shares; the failing
		// tenth has a row of its own.
		if row.Min != 0 || row.Median != 100 || row.Max != 3433 && row.Max != 1050 || row.P95 != 1000 && row.P95 != 3400 {
			t.Errorf("row %+v", row)
		}
	}
}

// 28: nothing that would hurt the master is sent when a stop meets a ramp. 31: without an answer for
// long the worker ends; a master that is silent for a while is forgiven.
func TestLocust28And31StopsInRampsAndSilentMasters(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python)
		w := startGo(t, m, func(c *worker.Config) { c.MasterTimeout = 8 * time.Second })
		m.workers(1)
		for range 3 {
			m.swarm(500, 100)
			m.until("users", func() bool { return m.requests().UserCount > 0 })
			m.post("/stop", nil)
			m.workers(1)
		}
		m.swarm(3, 10)
		m.running(3)
		_ = m.Process.Signal(syscall.SIGSTOP)
		time.Sleep(4 * time.Second)
		_ = m.Process.Signal(syscall.SIGCONT)
		m.running(3)
		if log := m.log.String(); strings.Contains(log, "Traceback") {
			t.Errorf("the master complains:\n%s", log)
		}
		_ = m.Process.Signal(syscall.SIGSTOP)
		select {
		case <-w.done:
		case <-time.After(interopTimeout):
			t.Fatal("the worker does not end")
		}
		if w.status != worker.StatusMasterLost {
			t.Errorf("ended with %s, %v", w.status, w.err)
		}
	})
}

// 33, 34: Python's and our workers in one run; the same error is one row.
func TestLocust33And34AMixedFleet(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python)
		startGo(t, m)
		startGo(t, m)
		peer := exec.Command(python, "-m", "locust", "--worker", "--master-host", "127.0.0.1", "--master-port", m.port, "-f", "../master/testdata/locustfile.py")
		peer.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
		if err := peer.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = peer.Process.Kill(); _ = peer.Wait() })
		m.workers(3)
		m.swarm(24, 24)
		m.running(24)
		m.until("requests of all", func() bool {
			rows := map[string]bool{}
			for _, row := range m.requests().Stats {
				rows[row.Name] = row.Requests > 0
			}
			return rows["/go"] && rows["/quick"] && rows["/failing"] && rows["/nil"]
		})
		m.post("/stop", nil)
		m.workers(3)
		if r := m.requests(); len(r.Errors) != 1 || r.Errors[0].Name != "/failing" {
			t.Errorf("errors %+v", r.Errors)
		}
		if log := m.log.String(); strings.Contains(log, "Traceback (most recent call last):\n  File \"/") && !strings.Contains(log, "uncaught") {
			t.Errorf("the master complains:\n%s", log)
		}
	})
}
