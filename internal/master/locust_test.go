//go:build interop

package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// interop/locust has the numbered tests of real workers on our master. Here users count what they do.

const interopTimeout = 60 * time.Second

// locusts are the interpreters of the newest Locust and of an older one.
func locusts(t *testing.T) map[string]string {
	t.Helper()
	interpreters := map[string]string{}
	for name, variable := range map[string]string{"newest": "ZAE_INTEROP_LOCUST_PYTHON", "older": "ZAE_INTEROP_LOCUST_OLD_PYTHON"} {
		interpreters[name] = os.Getenv(variable)
		if interpreters[name] == "" {
			t.Fatalf("%s is not set; make interop installs Locust and sets it", variable)
		}
	}
	return interpreters
}

// eachLocust runs a test with both versions.
func eachLocust(t *testing.T, test func(t *testing.T, python string)) {
	for name, python := range locusts(t) {
		t.Run(name, func(t *testing.T) { test(t, python) })
	}
}

// live is a master on a port of loopback.
type live struct {
	*master.Master
	t    *testing.T
	port string
	stop func()
	done chan struct{}
}

var pythonClasses = []*loadtest.UserClass{{Name: "A", Weight: 3}, {Name: "B", Weight: 1}}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

func startLive(t *testing.T, config master.Config) *live {
	t.Helper()
	return startLiveOn(t, listen(t, "127.0.0.1:0"), config)
}

func startLiveOn(t *testing.T, listener net.Listener, config master.Config) *live {
	t.Helper()
	if config.Classes == nil {
		config.Classes = pythonClasses
	}
	var log syncBuffer
	config.Logger = slog.New(slog.NewTextHandler(&log, nil))
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the master said:\n%s", log.String())
		}
	})
	m, err := master.New(config)
	if err != nil {
		t.Fatal(err)
	}
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	ctx, cancel := context.WithCancel(context.Background())
	l := &live{Master: m, t: t, port: port, stop: cancel, done: make(chan struct{})}
	go func() {
		defer close(l.done)
		if err := m.Run(ctx, listener); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-l.done
	})
	return l
}

// until waits for a condition.
func (l *live) until(what string, condition func() bool) {
	l.t.Helper()
	until(l.t, what, func() string { return fmt.Sprintf("state %s, workers %+v", l.State(), l.Workers()) }, condition)
}

func until(t *testing.T, what string, now func() string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(interopTimeout); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%s: not after %v; %s", what, interopTimeout, now())
		}
	}
}

func (l *live) workers(n int) {
	l.t.Helper()
	l.until(fmt.Sprintf("%d workers", n), func() bool {
		ready := 0
		for _, w := range l.Workers() {
			if w.State != master.StateMissing {
				ready++
			}
		}
		return ready == n
	})
}

func (l *live) running(users int) {
	l.t.Helper()
	l.until(fmt.Sprintf("%d users running", users), func() bool { return l.State() == master.StateRunning && l.total() == users })
}

func (l *live) total() int {
	n := 0
	for _, count := range l.Users() {
		n += count
	}
	return n
}

func (l *live) start(plan master.Plan) {
	l.t.Helper()
	if _, err := l.Start(plan); err != nil {
		l.t.Fatal(err)
	}
}

func (l *live) end() master.Outcome {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), interopTimeout)
	defer cancel()
	if err := l.Stop(ctx); err != nil {
		l.t.Fatal(err)
	}
	o, _ := l.Outcome()
	return o
}

// locust is a process of Locust.
type locust struct {
	*exec.Cmd
	t      *testing.T
	counts string
	log    syncBuffer
	ended  chan struct{}
}

func (p *locust) output() string { return p.log.String() }

// syncBuffer is a buffer that can be read while it is written.
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

// startLocust starts a worker of Locust.
func startLocust(t *testing.T, python, port string, arguments ...string) *locust {
	t.Helper()
	file, err := filepath.Abs("testdata/locustfile.py")
	if err != nil {
		t.Fatal(err)
	}
	line := []string{"-m", "locust", "--worker", "--master-host", "127.0.0.1", "--master-port", port}
	if len(arguments) == 0 || arguments[0] != "-f" {
		line = append(line, "-f", file)
	}
	p := &locust{Cmd: exec.Command(python, append(line, arguments...)...), t: t, counts: t.TempDir(), ended: make(chan struct{})}
	p.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "COUNTS="+p.counts)
	p.Stdout, p.Stderr = &p.log, &p.log
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.Wait()
		close(p.ended)
	}()
	t.Cleanup(func() {
		_ = p.Process.Kill()
		<-p.ended
		if t.Failed() {
			t.Logf("locust %v said:\n%s", arguments, p.output())
		}
	})
	return p
}

// counted is what a worker of Locust counted itself.
type counted struct {
	Requests, Failures, Untimed, Raised int64
}

// counted waits for the process to end and returns what it counted.
func (p *locust) counted() counted {
	p.t.Helper()
	select {
	case <-p.ended:
	case <-time.After(interopTimeout):
		p.t.Fatal("locust does not end")
	}
	var sum counted
	files, _ := filepath.Glob(filepath.Join(p.counts, "*.json"))
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err == nil {
			err = json.Unmarshal(data, &sum)
		}
		if err != nil {
			p.t.Fatal(err)
		}
	}
	if len(files) != 1 {
		p.t.Fatalf("%d files of counts; locust said:\n%s", len(files), p.output())
	}
	return sum
}

// Workers of Locust and one of ours in a run: each runs what the plan says, what users did is counted
// exactly, and all end when the master does.
func TestWhatUsersDoOnAMixedFleetIsCountedExactly(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{})
		oracle := newOracle()
		ours := startOwn(t, l, oracle)
		one, two := startLocust(t, python, l.port), startLocust(t, python, l.port)
		l.workers(3)
		l.start(master.Plan{Users: 12, SpawnRate: 6})
		l.running(12)
		for _, w := range l.Workers() {
			if w.Users != 4 || w.Own != (w.ID == ours.ID()) {
				t.Errorf("worker %+v", w)
			}
		}
		time.Sleep(5 * time.Second)
		o := l.end()
		l.stop()
		a, b := one.counted(), two.counted()
		s := o.Snapshot
		if got, want := s.Total.Requests, a.Requests+b.Requests+oracle.calls(o.Run.ID); got != want || got == 0 {
			t.Errorf("%d requests counted, users made %d", got, want)
		}
		if got, want := s.Total.Failures, a.Failures+b.Failures; got != want || got == 0 {
			t.Errorf("%d failures counted, users had %d", got, want)
		}
		if got, want := s.Total.Untimed, a.Untimed+b.Untimed; got != want || got == 0 {
			t.Errorf("%d untimed counted, users had %d", got, want)
		}
		raised := int64(0)
		for _, e := range l.Exceptions() {
			if !strings.Contains(e.Traceback, "uncaught") {
				t.Errorf("exception %+v", e)
			}
			raised += e.Count
		}
		if want := a.Raised + b.Raised; raised != want || raised == 0 {
			t.Errorf("%d exceptions, users raised %d", raised, want)
		}
		if len(s.Errors) != 1 || s.Errors[0].Text != "ValueError('boom')" || s.Errors[0].Occurrences != s.Total.Failures {
			t.Errorf("errors %+v", s.Errors)
		}
		if s.Coverage.LostWorkers != 0 || s.Coverage.Ratio() < 0.9 {
			t.Errorf("coverage %+v", s.Coverage)
		}
	})
}

// startOwn starts a worker of ours whose users the oracle counts.
func startOwn(t *testing.T, l *live, o *oracle) *worker.Worker {
	t.Helper()
	w, err := worker.New(worker.Config{Master: "127.0.0.1:" + l.port, ClassNames: []string{"A", "B"}, Open: o.scenario("A", "B")})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if _, err := w.Run(ctx); err != nil {
			t.Error(err)
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return w
}
