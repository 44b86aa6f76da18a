//go:build interop

package webapi_test

import (
	"context"
	"net"
	"os"
	"os/exec"
	"regexp"
	"strings"
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
