// Package workerproc starts workers as processes of this machine, and sees to it that none of them
// outlives whoever started it.
package workerproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// Config says what a worker is.
type Config struct {
	// Path is the program.
	Path string
	// Args returns the arguments of the worker with the given id, the program's name not included.
	Args func(id string) []string
	// Env is the environment, as "name=value"; nil is that of this process.
	Env []string
	// Dir is the working directory; empty is that of this process.
	Dir string
	// Output gets what workers print, line by line, each with the worker's id in front. Nil throws
	// it away.
	Output io.Writer
	// Grace is how long a worker that is told to end may take before it is killed. The default is
	// 10 s.
	Grace time.Duration
	// Exited, when not nil, is called after a worker has ended that nobody told to, with the error of
	// its exit, nil for code 0. It must not call the launcher.
	Exited func(id string, err error)
	// Logger gets a line about each worker that ends with an error. Nil logs nothing.
	Logger *slog.Logger
}

const (
	defaultGrace = 10 * time.Second
	// outputGrace is how long the output of a worker may stay open after its end, as when it left a
	// process behind that holds it.
	outputGrace = time.Second
)

// Launcher starts workers and ends them. It is safe for concurrent use.
type Launcher struct {
	config Config
	output *output

	mu      sync.Mutex
	closed  bool
	running map[string]*worker
	ended   []string
	all     sync.WaitGroup
}

// worker is a process from its start until it was waited for.
type worker struct {
	cmd     *exec.Cmd
	group   group
	stopped bool          // told to end, so that its exit code says nothing
	done    chan struct{} // closed when the process and what was left of its group are gone
}

// New returns a launcher that has started nothing yet. Close ends it.
func New(config Config) *Launcher {
	if config.Grace <= 0 {
		config.Grace = defaultGrace
	}
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.Output == nil {
		config.Output = io.Discard
	}
	return &Launcher{config: config, output: &output{w: config.Output}, running: map[string]*worker{}}
}

// errClosed is returned by Start after Close.
var errClosed = errors.New("no worker is started any more: the launcher is closed")

// Start starts a worker and returns when its process runs. The process is not bound to ctx: Stop,
// Close or its own end end it.
func (l *Launcher) Start(ctx context.Context, id string) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	w := &worker{cmd: l.command(id), done: make(chan struct{})}
	l.mu.Lock()
	switch {
	case l.closed:
		l.mu.Unlock()
		return errClosed
	case l.running[id] != nil:
		l.mu.Unlock()
		return fmt.Errorf("a worker %s runs already", id)
	}
	l.running[id] = w
	l.all.Add(1)
	l.mu.Unlock()

	started := make(chan error, 1)
	go l.tend(id, w, started)
	if err := <-started; err != nil {
		return fmt.Errorf("worker %s: %w", id, err)
	}
	return nil
}

func (l *Launcher) command(id string) *exec.Cmd {
	cmd := exec.Command(l.config.Path, l.config.Args(id)...)
	cmd.Env, cmd.Dir = l.config.Env, l.config.Dir
	cmd.WaitDelay = outputGrace
	lines := l.output.of(id)
	cmd.Stdout, cmd.Stderr = lines, lines
	prepare(cmd)
	return cmd
}

// tend runs the process of a worker and waits for its end.
func (l *Launcher) tend(id string, w *worker, started chan<- error) {
	defer l.all.Done()
	// Linux tells a child that its parent died when the thread that made it ends, so that thread has
	// to live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	err := l.launch(id, w)
	started <- err
	if err != nil {
		return
	}
	err = w.cmd.Wait()
	w.group.kill() // what the worker itself has started
	w.cmd.Stdout.(*lines).flush()

	l.mu.Lock()
	delete(l.running, id)
	l.ended = append(l.ended, id)
	asked := w.stopped
	l.mu.Unlock()
	if err != nil && !asked {
		l.config.Logger.Warn("a worker process ended", "worker", id, "error", err)
	}
	if l.config.Exited != nil && !asked {
		l.config.Exited(id, err)
	}
	close(w.done)
}

// launch makes the process, unless somebody wanted its end in the meantime.
func (l *Launcher) launch(id string, w *worker) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	err := errClosed
	if !l.closed && !w.stopped {
		err = w.cmd.Start()
	}
	if err != nil {
		delete(l.running, id)
		close(w.done)
		return err
	}
	w.group = groupOf(w.cmd)
	return nil
}

// Stop tells a worker to end, kills it when it takes longer than the grace or than ctx allows, and
// returns when it is gone. A worker that is gone already is no error.
func (l *Launcher) Stop(ctx context.Context, id string) error {
	l.mu.Lock()
	w := l.running[id]
	if w == nil {
		l.mu.Unlock()
		return nil
	}
	w.stopped = true
	w.group.terminate()
	l.mu.Unlock()
	timer := time.NewTimer(l.config.Grace)
	defer timer.Stop()
	select {
	case <-w.done:
		return nil
	case <-timer.C:
	case <-ctx.Done():
	}
	l.mu.Lock()
	w.group.kill()
	l.mu.Unlock()
	<-w.done
	return nil
}

// Ended returns the ids of the workers that ended since the last call.
func (l *Launcher) Ended() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	ended := l.ended
	l.ended = nil
	return ended
}

// Kill kills every worker at once, without waiting for their end. No other can be started.
func (l *Launcher) Kill() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	for _, w := range l.running {
		w.stopped = true
		w.group.kill()
	}
}

// Close ends every worker that still runs, as Stop does, and returns when all are gone. No other can
// be started.
func (l *Launcher) Close() error {
	l.mu.Lock()
	l.closed = true
	ids := make([]string, 0, len(l.running))
	for id := range l.running {
		ids = append(ids, id)
	}
	l.mu.Unlock()
	for _, id := range ids {
		l.all.Go(func() { _ = l.Stop(context.Background(), id) }) // it has no error to return
	}
	l.all.Wait()
	return nil
}
