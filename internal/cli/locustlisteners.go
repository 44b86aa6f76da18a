package cli

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"

	"github.com/zeroae/zae-limiter-go/internal/workerproc"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// listenersFile is loaded by Locust beside the locustfile; listenersClass is its user class, and
// listenersReady what it prints when the listeners of test_start have returned.
//
//go:embed locust_listeners.py
var listenersFile []byte

const (
	listenersClass = "ZaeLimiterListeners"
	listenersReady = "zae-limiter: test_start is over"
)

// locustListeners run the test_start and test_stop listeners of a Python locustfile once a run, in a
// process of Locust that is no worker: files do there what has to be done once, as on Locust's master.
type locustListeners struct {
	command, file string
	env           []string
	output        io.Writer

	mu       sync.Mutex
	launcher *workerproc.Launcher // of the run that goes on
}

// events are the listeners as a run calls them.
func (l *locustListeners) events() loadtest.Events {
	return loadtest.Events{TestStart: l.start, TestStop: l.stop}
}

// start runs the listeners of test_start and returns when they have.
func (l *locustListeners) start(ctx context.Context, env *loadtest.Env) error {
	dir, err := os.MkdirTemp("", "zae-limiter-listeners-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir) // Locust has read it by then
	beside := filepath.Join(dir, "zae_limiter_listeners.py")
	if err := os.WriteFile(beside, listenersFile, 0o600); err != nil {
		return err
	}
	args := []string{"--headless", "--skip-log-setup", "-f", l.file + "," + beside}
	if host := env.Host(); host != "" {
		args = append(args, "--host", host)
	}
	ready := &readyWriter{out: l.output, text: []byte(listenersReady), seen: make(chan struct{})}
	ended := make(chan error, 1)
	launcher := workerproc.New(workerproc.Config{
		Path: l.command, Args: func(string) []string { return append(args, listenersClass) }, Env: l.env,
		Output: ready, Grace: childGrace, Exited: func(_ string, err error) { ended <- err },
	})
	if err := launcher.Start(ctx, "Locust listeners"); err != nil {
		return err
	}
	l.mu.Lock()
	l.launcher = launcher
	l.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, locustQuestionTime, fmt.Errorf("the listeners were not run by Locust within %s", locustQuestionTime))
	defer cancel()
	select {
	case <-ready.seen:
		return nil
	case err := <-ended:
		return errors.Join(errors.New("before the listeners of the locustfile had run, Locust ended"), err)
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// stop has Locust run the listeners of test_stop, which it does at its end, and returns when they
// have.
func (l *locustListeners) stop(context.Context, *loadtest.Env) error {
	l.mu.Lock()
	launcher := l.launcher
	l.launcher = nil
	l.mu.Unlock()
	if launcher == nil {
		return nil
	}
	return launcher.Close()
}

// kill ends the process at once.
func (l *locustListeners) kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.launcher != nil {
		l.launcher.Kill()
	}
}

// readyWriter passes lines on, but for the one with the text: it closes seen.
type readyWriter struct {
	out  io.Writer
	text []byte
	seen chan struct{}
	once sync.Once
}

// Write implements io.Writer; each call has whole lines, as launchers write them.
func (r *readyWriter) Write(p []byte) (int, error) {
	for line := range bytes.Lines(p) {
		if bytes.Contains(line, r.text) {
			r.once.Do(func() { close(r.seen) })
			continue
		}
		if _, err := r.out.Write(line); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}

// locustLevel is a level of ours by Locust's name.
func locustLevel(level fmt.Stringer) string {
	if level.String() == "WARN" {
		// Below CRITICAL every failing task prints its stack; the result has them by their number.
		return "CRITICAL"
	}
	return level.String()
}
