//go:build unix

package workerproc_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/workerproc"
)

// The test binary is also the worker: with this variable it behaves as it says. A stand-in connects
// to the test and holds the connection, so that the test sees its end whatever ends it.
const (
	roleVariable    = "TEST_WORKER_ROLE"
	addressVariable = "TEST_WORKER_ADDRESS"
)

func TestMain(m *testing.M) {
	if role := os.Getenv(roleVariable); role != "" {
		standIn(role, os.Args[1])
		return
	}
	os.Exit(m.Run())
}

func standIn(role, id string) {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM)
	switch role {
	case "fails":
		fmt.Println("no such locustfile")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
	case "parent": // leaves a process behind when it ends
		child := exec.Command(os.Args[0], id+"-child")
		child.Env = append(os.Environ(), roleVariable+"=stubborn")
		if err := child.Start(); err != nil {
			os.Exit(1)
		}
	case "launcher":
		l := workerproc.New(workerproc.Config{
			Path: os.Args[0], Args: func(id string) []string { return []string{id} },
			Env: append(os.Environ(), roleVariable+"=polite"),
		})
		if err := l.Start(context.Background(), id+"-worker"); err != nil {
			os.Exit(1)
		}
	}
	conn, err := net.Dial("tcp", os.Getenv(addressVariable))
	if err != nil {
		os.Exit(1)
	}
	fmt.Fprintln(conn, id)
	fmt.Println("joined")
	gone := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, conn)
		close(gone)
	}()
	select {
	case <-signals:
		fmt.Print("goodbye")
	case <-gone: // the test is over
	}
}

// meeting is where stand-ins connect.
type meeting struct {
	t        *testing.T
	listener net.Listener
	arrivals chan arrival
}

type arrival struct {
	id   string
	gone chan struct{} // closed when the process is gone
	conn net.Conn
}

func newMeeting(t *testing.T) *meeting {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	m := &meeting{t: t, listener: listener, arrivals: make(chan arrival)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				in := bufio.NewScanner(conn)
				in.Scan()
				a := arrival{id: in.Text(), gone: make(chan struct{}), conn: conn}
				m.arrivals <- a
				in.Scan()
				close(a.gone)
				conn.Close()
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		serving.Wait()
	})
	return m
}

func (m *meeting) env(role string) []string {
	return append(os.Environ(), roleVariable+"="+role, addressVariable+"="+m.listener.Addr().String())
}

// launcher starts this binary in a role. It is closed at the end of the test.
func (m *meeting) launcher(role string, change func(*workerproc.Config)) *workerproc.Launcher {
	c := workerproc.Config{
		Path: os.Args[0], Args: func(id string) []string { return []string{id} }, Env: m.env(role), Grace: time.Minute,
	}
	if change != nil {
		change(&c)
	}
	l := workerproc.New(c)
	m.t.Cleanup(func() {
		l.Kill()
		_ = l.Close()
	})
	return l
}

// arrived waits for n stand-ins and returns them by id.
func (m *meeting) arrived(n int) map[string]arrival {
	m.t.Helper()
	all := map[string]arrival{}
	for range n {
		select {
		case a := <-m.arrivals:
			all[a.id] = a
			m.t.Cleanup(func() { a.conn.Close() })
		case <-time.After(30 * time.Second):
			m.t.Fatalf("only %d of %d workers came", len(all), n)
		}
	}
	return all
}

func (m *meeting) gone(a arrival) {
	m.t.Helper()
	select {
	case <-a.gone:
	case <-time.After(30 * time.Second):
		m.t.Fatalf("worker %s still runs", a.id)
	}
}

// buffer is an output that a test may read while workers write.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func TestAWorkerRunsUntilItIsStopped(t *testing.T) {
	m := newMeeting(t)
	var printed buffer
	l := m.launcher("polite", func(c *workerproc.Config) { c.Output = &printed })
	if err := l.Start(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	worker := m.arrived(1)["w1"]
	if ended := l.Ended(); len(ended) != 0 {
		t.Errorf("ended %v, want none", ended)
	}
	if err := l.Stop(t.Context(), "w1"); err != nil {
		t.Error(err)
	}
	m.gone(worker)
	if ended := l.Ended(); !slices.Equal(ended, []string{"w1"}) {
		t.Errorf("ended %v, want w1", ended)
	}
	if want := "w1: joined\nw1: goodbye\n"; printed.String() != want {
		t.Errorf("printed %q, want %q", printed.String(), want)
	}
	if err := l.Stop(t.Context(), "w1"); err != nil {
		t.Errorf("stopping it again: %v", err)
	}
}

func TestAWorkerThatDoesNotListenIsKilled(t *testing.T) {
	tests := map[string]func(*testing.T) (time.Duration, context.Context){
		"after the grace": func(t *testing.T) (time.Duration, context.Context) { return time.Millisecond, t.Context() },
		"when the caller has no more time": func(t *testing.T) (time.Duration, context.Context) {
			ctx, cancel := context.WithCancel(t.Context())
			cancel()
			return time.Hour, ctx
		},
	}
	for name, arrange := range tests {
		t.Run(name, func(t *testing.T) {
			m := newMeeting(t)
			grace, ctx := arrange(t)
			l := m.launcher("stubborn", func(c *workerproc.Config) { c.Grace = grace })
			if err := l.Start(t.Context(), "w1"); err != nil {
				t.Fatal(err)
			}
			worker := m.arrived(1)["w1"]
			if err := l.Stop(ctx, "w1"); err != nil {
				t.Error(err)
			}
			m.gone(worker)
		})
	}
}

func TestWhatAWorkerStartedGoesWithIt(t *testing.T) {
	m := newMeeting(t)
	l := m.launcher("parent", nil)
	if err := l.Start(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	both := m.arrived(2)
	if err := l.Stop(t.Context(), "w1"); err != nil {
		t.Error(err)
	}
	m.gone(both["w1"])
	m.gone(both["w1-child"])
}

func TestCloseEndsAllAndNoneCanBeStarted(t *testing.T) {
	m := newMeeting(t)
	l := m.launcher("polite", nil)
	for i := range 3 {
		if err := l.Start(t.Context(), fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
	}
	all := m.arrived(3)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	for _, worker := range all {
		m.gone(worker)
	}
	if err := l.Start(t.Context(), "late"); err == nil {
		t.Error("started one after Close")
	}
}

func TestKillEndsAllAtOnce(t *testing.T) {
	m := newMeeting(t)
	l := m.launcher("stubborn", nil)
	for i := range 2 {
		if err := l.Start(t.Context(), fmt.Sprint("w", i)); err != nil {
			t.Fatal(err)
		}
	}
	all := m.arrived(2)
	l.Kill()
	for _, worker := range all {
		m.gone(worker)
	}
}

// told is a writer that passes on what is written.
type told chan string

func (c told) Write(p []byte) (int, error) {
	c <- string(p)
	return len(p), nil
}

func TestAWorkerThatFailsIsSeenAndLogged(t *testing.T) {
	m := newMeeting(t)
	var printed buffer
	logged := make(told, 1)
	l := m.launcher("fails", func(c *workerproc.Config) {
		c.Output = &printed
		c.Logger = slog.New(slog.NewTextHandler(logged, nil))
	})
	if err := l.Start(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	if line := <-logged; !strings.Contains(line, "worker=w1") || !strings.Contains(line, "exit status 3") {
		t.Errorf("logged %q, want the worker and its exit status", line)
	}
	if ended := l.Ended(); !slices.Equal(ended, []string{"w1"}) {
		t.Errorf("ended %v, want w1", ended)
	}
	if want := "w1: no such locustfile\n"; printed.String() != want {
		t.Errorf("printed %q, want %q", printed.String(), want)
	}
}

func TestAProgramThatIsNotThereIsToldAtOnce(t *testing.T) {
	l := workerproc.New(workerproc.Config{
		Path: t.TempDir() + "/no-such-program", Args: func(string) []string { return nil },
	})
	err := l.Start(t.Context(), "w1")
	if err == nil || !strings.Contains(err.Error(), "no-such-program") {
		t.Errorf("error %v, want it to name the program", err)
	}
	if ended := l.Ended(); len(ended) != 0 {
		t.Errorf("ended %v: it never ran", ended)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestAnIDRunsOnce(t *testing.T) {
	m := newMeeting(t)
	l := m.launcher("polite", nil)
	if err := l.Start(t.Context(), "w1"); err != nil {
		t.Fatal(err)
	}
	m.arrived(1)
	if err := l.Start(t.Context(), "w1"); err == nil || !strings.Contains(err.Error(), "runs already") {
		t.Errorf("second start: %v, want it refused", err)
	}
}
