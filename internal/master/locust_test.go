//go:build interop

package master_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// These are the tests of real workers of Locust on our master; the numbers in their names are those of
// the compatibility list in docs/cluster.md.

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
	Counts struct {
		Requests, Failures, Untimed, Raised int64
		Length                              int64
		Sum                                 float64
		Started, Stopped                    map[string]int
	}
	Seen struct {
		Options   map[string]any
		Tasks     map[string]int
		Messages  []string
		TestStart int `json:"test_start"`
		TestStop  int `json:"test_stop"`
	}
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

// A run with two workers of Locust: each runs what the plan says, everything is counted, and both end
// when the master does.
func TestLocust04And14And15WorkersRunAndAreCounted(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{})
		one, two := startLocust(t, python, l.port), startLocust(t, python, l.port)
		l.workers(2)
		l.start(master.Plan{Users: 8, SpawnRate: 4})
		l.running(8)
		for _, w := range l.Workers() {
			if w.Users != 4 || w.Own {
				t.Errorf("worker %+v", w)
			}
		}
		time.Sleep(5 * time.Second)
		o := l.end()
		l.stop()
		a, b := one.counted().Counts, two.counted().Counts
		s := o.Snapshot
		if got, want := s.Total.Requests, a.Requests+b.Requests; got != want || got == 0 {
			t.Errorf("%d requests counted, users made %d", got, want)
		}
		if got, want := s.Total.Failures, a.Failures+b.Failures; got != want || got == 0 {
			t.Errorf("%d failures counted, users had %d", got, want)
		}
		if got, want := s.Total.Untimed, a.Untimed+b.Untimed; got != want || got == 0 {
			t.Errorf("%d untimed counted, users had %d", got, want)
		}
		if got, want := s.Total.Hist.Sum().Seconds()*1000, a.Sum+b.Sum; got < want*0.999999 || got > want*1.000001 {
			t.Errorf("%v ms in all, users had %v", got, want)
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

// 1: a worker that was there first registers as soon as the master is, once. 2: indexes are kept.
func TestLocust01And02WorkersRegister(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		// The port is known before anybody listens on it.
		listener := listen(t, "127.0.0.1:0")
		address := listener.Addr().String()
		_, port, _ := net.SplitHostPort(address)
		if err := listener.Close(); err != nil {
			t.Fatal(err)
		}
		one := startLocust(t, python, port)
		until(t, "the worker begins", one.output, func() bool { return strings.Contains(one.output(), "Starting Locust") })
		time.Sleep(time.Second) // in which it looks for its master
		l := startLiveOn(t, listen(t, address), master.Config{})
		l.workers(1)
		startLocust(t, python, port)
		l.workers(2)
		before := l.Workers()
		if before[0].Index != 0 || before[1].Index != 1 {
			t.Errorf("workers %+v", before)
		}
		l.start(master.Plan{Users: 2, SpawnRate: 10})
		l.running(2)
		l.end()
		l.workers(2)
		for i, w := range l.Workers() {
			if w.ID != before[i].ID || w.Index != before[i].Index {
				t.Errorf("worker %+v was %+v", w, before[i])
			}
		}
	})
}

// 3: a worker without a locustfile gets the master's.
func TestLocust03WorkersFetchTheLocustfile(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		contents, err := os.ReadFile("testdata/locustfile.py")
		if err != nil {
			t.Fatal(err)
		}
		l := startLive(t, master.Config{Files: func() ([]wire.LocustfileSource, error) {
			return []wire.LocustfileSource{{Filename: "locustfile.py", Contents: string(contents)}}, nil
		}})
		w := startLocust(t, python, l.port, "-f", "-")
		l.workers(1)
		for _, w := range l.Workers() {
			if strings.Contains(w.ID, "download") {
				t.Errorf("worker %s", w.ID)
			}
		}
		l.start(master.Plan{Users: 4, SpawnRate: 10})
		l.running(4)
		l.end()
		l.stop()
		if got := w.counted().Counts.Started; got["A"] != 3 || got["B"] != 1 {
			t.Errorf("started %v", got)
		}
	})
}

// 6: weights and fixed counts give the same users as Locust's master would. 7: users finish their task
// in a ramp down. 9: a stop takes the stop timeout, then the worker is back and can be used again.
func TestLocust06And07And09StopTimeouts(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		t.Setenv("SLEEPY", "1.5")
		l := startLive(t, master.Config{
			StopTimeout: 3 * time.Second,
			Classes:     []*loadtest.UserClass{{Name: "A", Weight: 3}, {Name: "B", FixedCount: 2}},
		})
		w := startLocust(t, python, l.port)
		l.workers(1)
		l.start(master.Plan{Users: 8, SpawnRate: 4})
		l.running(8)
		if got := l.Users(); got["A"] != 6 || got["B"] != 2 {
			t.Errorf("users %v", got)
		}
		l.start(master.Plan{Users: 3, SpawnRate: 10})
		l.running(3)
		l.end()
		if got := l.State(); got != master.StateStopped {
			t.Errorf("state %s", got)
		}
		// In the gap until it is back.
		l.start(master.Plan{Users: 2, SpawnRate: 10})
		l.running(2)
		o := l.end()
		l.stop()
		c := w.counted()
		if c.Counts.Started["A"] != c.Counts.Stopped["A"] || c.Seen.TestStart != 2 {
			t.Errorf("started %v, stopped %v, %d tests", c.Counts.Started, c.Counts.Stopped, c.Seen.TestStart)
		}
		if o.Err != nil || o.Snapshot.Coverage.LostWorkers != 0 {
			t.Errorf("outcome %v %+v", o.Err, o.Snapshot.Coverage)
		}
	})
}

// 8: a stop in a ramp ends it.
func TestLocust08AStopEndsARamp(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{})
		w := startLocust(t, python, l.port)
		l.workers(1)
		l.start(master.Plan{Users: 1000, SpawnRate: 5})
		l.until("the ramp has begun", func() bool { return l.total() >= 10 })
		l.end()
		time.Sleep(2 * time.Second) // in which a ramp would go on
		if n := l.total(); n != 0 || l.State() != master.StateStopped {
			t.Errorf("%d users, state %s", n, l.State())
		}
		l.stop()
		c := w.counted().Counts
		if c.Started["A"] != c.Stopped["A"] || c.Started["B"] != c.Stopped["B"] {
			t.Errorf("started %v, stopped %v", c.Started, c.Stopped)
		}
	})
}

// 10: a worker that is killed is missing soon, and the others go on as before. 12: workers that join
// receive users. 13: the last worker's leave ends the run.
func TestLocust10And12And13WorkersComeAndGo(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{Rebalance: true})
		one := startLocust(t, python, l.port)
		l.workers(1)
		l.start(master.Plan{Users: 6, SpawnRate: 100})
		l.running(6)
		two := startLocust(t, python, l.port)
		three := startLocust(t, python, l.port)
		l.until("two users on each", func() bool { return evenly(l, 3, 2) })
		_ = three.Process.Kill()
		l.until("a missing worker", func() bool { return len(l.Workers()) == 3 && len(missing(l)) == 1 })
		l.until("three users on each", func() bool { return evenly(l, 2, 3) })
		if got := l.State(); got != master.StateRunning {
			t.Errorf("state %s", got)
		}
		time.Sleep(4 * time.Second) // for a report: one that is interrupted makes none
		_ = one.Process.Signal(os.Interrupt)
		_ = two.Process.Signal(os.Interrupt)
		l.until("the run has ended", func() bool { return l.State() == master.StateStopped })
		o, _ := l.Outcome()
		if !errors.Is(o.Err, master.ErrWorkersLost) || o.Snapshot.Coverage.LostWorkers != 1 {
			t.Errorf("outcome %v, coverage %+v", o.Err, o.Snapshot.Coverage)
		}
		if o.Snapshot.Total.Requests == 0 || o.Snapshot.Coverage.Ratio() == 1 {
			t.Errorf("%d requests, coverage %+v", o.Snapshot.Total.Requests, o.Snapshot.Coverage)
		}
	})
}

func missing(l *live) []master.Worker {
	return slices.DeleteFunc(l.Workers(), func(w master.Worker) bool { return w.State != master.StateMissing })
}

// evenly reports whether a number of workers run so many users each.
func evenly(l *live, workers, each int) bool {
	n := 0
	for _, w := range l.Workers() {
		if w.State != master.StateMissing && w.Users == each {
			n++
		}
	}
	return n == workers && l.total() == workers*each
}

// 11: a frozen worker goes missing, comes back, and the total is the target again.
func TestLocust11AFrozenWorkerComesBack(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{Rebalance: true})
		startLocust(t, python, l.port)
		two := startLocust(t, python, l.port)
		l.workers(2)
		l.start(master.Plan{Users: 4, SpawnRate: 100})
		l.running(4)
		_ = two.Process.Signal(syscall.SIGSTOP)
		l.until("all users on the other", func() bool { return evenly(l, 1, 4) })
		time.Sleep(3 * time.Second)
		_ = two.Process.Signal(syscall.SIGCONT)
		l.until("two users on each", func() bool { return evenly(l, 2, 2) })
	})
}

// 16: options and tags reach the workers. 17: custom messages pass in both directions.
func TestLocust16And17OptionsTagsAndMessages(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		pongs := make(chan any, 1)
		l := startLive(t, master.Config{OnMessage: func(_ string, m wire.Message) {
			if m.Type == "pong" {
				pongs <- m.Data
			}
		}})
		w := startLocust(t, python, l.port)
		l.workers(1)
		l.start(master.Plan{
			Users: 2, SpawnRate: 10, Classes: []string{"A"}, Tags: []string{"fast"},
			Options: map[string]string{"color": "blue"}, ParsedOptions: map[string]any{"level": 7},
		})
		l.running(2)
		at := time.Date(2026, 8, 22, 1, 2, 3, 456000, time.UTC)
		if err := l.Send("", "ping", map[string]any{"at": at, "n": 1}); err != nil {
			t.Fatal(err)
		}
		select {
		case data := <-pongs:
			fields, _ := data.(map[string]any)
			got, _ := fields["got"].(map[string]any)
			if fields["at"] != at || got["at"] != at || got["n"] != int64(1) {
				t.Errorf("pong %v", data)
			}
		case <-time.After(interopTimeout):
			t.Error("no pong")
		}
		time.Sleep(time.Second)
		l.end()
		l.stop()
		seen := w.counted().Seen
		if seen.Options["color"] != "blue" || seen.Options["level"] != 7.0 {
			t.Errorf("options %v", seen.Options)
		}
		if seen.Tasks["quick"] == 0 || len(seen.Tasks) != 1 {
			t.Errorf("tasks %v", seen.Tasks)
		}
		if len(seen.Messages) != 1 || !strings.Contains(seen.Messages[0], "datetime.datetime(2026, 8, 22, 1, 2, 3, 456)") {
			t.Errorf("messages %q", seen.Messages)
		}
	})
}

// 5, 18: a master that is started anew takes over the workers of the one before.
func TestLocust05And18AMasterStartedAnewAdoptsWorkers(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		// A relay stands for the port, so that the first master can vanish without a word.
		relay := newRelay(t)
		first := startLive(t, master.Config{})
		relay.to("127.0.0.1:" + first.port)
		w := startLocust(t, python, relay.port())
		first.workers(1)
		first.start(master.Plan{Users: 3, SpawnRate: 10})
		first.running(3)
		relay.cut()
		time.Sleep(2 * time.Second)
		second := startLive(t, master.Config{})
		relay.to("127.0.0.1:" + second.port)
		second.workers(1)
		second.start(master.Plan{Users: 2, SpawnRate: 10})
		second.running(2)
		o := second.end()
		second.stop()
		if o.Err != nil || o.Snapshot.Total.Requests == 0 || o.Snapshot.Coverage.LostWorkers != 0 {
			t.Errorf("outcome %v %+v", o.Err, o.Snapshot.Coverage)
		}
		if c := w.counted(); c.Seen.TestStart != 2 {
			t.Errorf("%d tests", c.Seen.TestStart)
		}
	})
}

// relay forwards connections to a master that can be replaced.
type relay struct {
	listener net.Listener
	mu       sync.Mutex
	target   string
	open     []net.Conn
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	r := &relay{listener: listen(t, "127.0.0.1:0")}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			near, err := r.listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() { r.forward(near) })
		}
	})
	t.Cleanup(func() {
		_ = r.listener.Close()
		r.cut()
		group.Wait()
	})
	return r
}

func (r *relay) port() string {
	_, port, _ := net.SplitHostPort(r.listener.Addr().String())
	return port
}

func (r *relay) to(address string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = address
}

// cut breaks all connections and lets nobody through.
func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.target = ""
	for _, conn := range r.open {
		_ = conn.Close()
	}
	r.open = nil
}

func (r *relay) forward(near net.Conn) {
	defer near.Close()
	r.mu.Lock()
	target := r.target
	r.mu.Unlock()
	far, err := net.Dial("tcp", target)
	if target == "" || err != nil {
		return
	}
	r.mu.Lock()
	r.open = append(r.open, near, far)
	r.mu.Unlock()
	var group sync.WaitGroup
	group.Go(func() { _, _ = io.Copy(far, near); _ = far.Close() })
	_, _ = io.Copy(near, far)
	_ = near.Close()
	group.Wait()
}

// 14, 19, 20, 21: garbage of one peer is nobody else's business, logs arrive, versions do not matter,
// and nobody is told of classes that it does not have.
func TestLocust14And19And20And21StrangersHarmNobody(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		l := startLive(t, master.Config{Classes: []*loadtest.UserClass{{Name: "A", Weight: 3}, {Name: "B", Weight: 1}, {Name: "OnlyElsewhere"}}})
		startLocust(t, python, l.port)
		l.workers(1)
		ctx, cancel := context.WithCancel(context.Background())
		defer cancel()
		var group sync.WaitGroup
		defer group.Wait()
		defer cancel()
		stranger := wire.NewDealer(wire.DealerOptions{Identity: "stranger_1", Address: "127.0.0.1:" + l.port})
		group.Go(func() { _ = stranger.Run(ctx) })
		for _, m := range []wire.Message{
			{Type: wire.TypeClientReady, Data: nil, NodeID: "stranger_1"}, // older than Locust 1.0
			{Type: wire.TypeSpawningComplete, Data: []any{"x"}, NodeID: "stranger_1"},
			{Type: wire.TypeHeartbeat, Data: "x", NodeID: "stranger_1"},
			{Type: wire.TypeStats, Data: int64(4), NodeID: "stranger_1"},
			{Type: "unheard-of", Data: map[string]any{}, NodeID: "someone-else"},
		} {
			_ = stranger.Send(&m) // what cannot be encoded is not sent
		}
		if _, err := l.Start(master.Plan{Users: 4, SpawnRate: 10, Classes: []string{"Nobody"}}); err == nil {
			t.Error("a class that nobody has is accepted")
		}
		l.start(master.Plan{Users: 4, SpawnRate: 10, Classes: []string{"A", "B"}})
		l.running(4)
		l.until("the worker's logs", func() bool {
			for _, lines := range l.Logs() {
				if strings.Contains(strings.Join(lines, "\n"), "the test has begun") {
					return true
				}
			}
			return false
		})
		if o := l.end(); o.Snapshot.Total.Requests == 0 || o.Err != nil {
			t.Errorf("outcome %+v", o)
		}
	})
}
