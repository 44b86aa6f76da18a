//go:build interop

package webapi_test

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// serveTCP serves a run on a port of its own and returns its address.
func serveTCP(t *testing.T, s interface {
	Serve(context.Context, net.Listener) error
}) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return l.Addr().String()
}

// TestTheSectionRunTest runs the commands of the mission document's section "Run Test" as they stand
// there, on another port.
func TestTheSectionRunTest(t *testing.T) {
	text, err := os.ReadFile("testdata/run-test.sh")
	if err != nil {
		t.Fatal(err)
	}
	run := newTestRun()
	address := serveTCP(t, newServer(t, run, nil))
	_, port, _ := net.SplitHostPort(address)
	shell := func(command string) string {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		c := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(command, "localhost:8089", "localhost:"+port))
		var stderr strings.Builder
		c.Stderr = &stderr
		out, err := c.Output()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, stderr.String())
		}
		return string(out)
	}
	parts := strings.Split(string(text), "\n\n")
	if len(parts) != 3 {
		t.Fatalf("the section has %d parts, want start, monitor and stop", len(parts))
	}
	if out := shell(parts[0]); !strings.Contains(out, `"success": true`) {
		t.Errorf("start: %s", out)
	}
	<-run.called
	out := shell(parts[1])
	if !regexp.MustCompile(`^Users: 120, RPS: [0-9.]+\np50: [0-9.]+ms\np95: [0-9.]+ms\n$`).MatchString(out) {
		t.Errorf("monitor: %s", out)
	}
	if out := shell(parts[2]); !strings.Contains(out, `"message": "Test stopped"`) {
		t.Errorf("stop: %s", out)
	}
	if state := run.Status().State; state != "stopped" {
		t.Errorf("state %s", state)
	}
}

// TestManyIdleConnections: thousands of clients that connect and say nothing, or say half a request,
// leave the server answering, and are let go.
func TestManyIdleConnections(t *testing.T) {
	address := serveTCP(t, newServer(t, newTestRun(), nil))
	const clients = 9_000 // with the server's ends, within a limit of 20,000 files
	conns := make([]net.Conn, 0, clients)
	defer func() {
		for _, conn := range conns {
			_ = conn.Close()
		}
	}()
	for i := range clients {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		conns = append(conns, conn)
		if i%2 == 0 {
			if _, err := conn.Write([]byte("GET /stats/requests HTTP/1.1\r\nHost: loc")); err != nil {
				t.Fatal(err)
			}
		}
	}
	if got := ask(t, address, "GET", "/stats/requests", ""); got.status != http.StatusOK {
		t.Errorf("another client got %d", got.status)
	}
	for i, conn := range conns {
		if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, conn); err != nil && errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatalf("client %d was kept", i)
		}
	}
}

// TestABodyOfAGigabyte: the server reads no more of it than it takes.
func TestABodyOfAGigabyte(t *testing.T) {
	address := serveTCP(t, newServer(t, newTestRun(), nil))
	const gigabyte = 1 << 30
	sent := &countingReader{left: gigabyte}
	request, err := http.NewRequestWithContext(t.Context(), "POST", "http://"+address+"/swarm", sent)
	if err != nil {
		t.Fatal(err)
	}
	request.ContentLength = gigabyte
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("got %d", response.StatusCode)
		}
	}
	if taken := sent.read.Load(); taken > 64<<20 {
		t.Errorf("%d bytes were taken", taken)
	}
}

// countingReader gives a number of bytes and counts those that were read, maybe still after the answer.
type countingReader struct {
	left int64
	read atomic.Int64
}

func (r *countingReader) Read(b []byte) (int, error) {
	if r.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(b)), r.left)
	for i := range n {
		b[i] = 'a'
	}
	r.left -= n
	r.read.Add(n)
	return int(n), nil
}
