package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/workerproc"
)

// childGrace is how long a child process may take to end when it is told to.
const childGrace = 6 * time.Second

// children are processes that this process started and ends. Start, close and the end of start must
// not overlap; kill and failure may be called at any time.
type children struct {
	output io.Writer

	mu        sync.Mutex
	launchers []*workerproc.Launcher
	exited    error // the first child that ended on its own, and how
	ended     chan struct{}
}

func newChildren(output io.Writer) *children {
	return &children{output: output, ended: make(chan struct{})}
}

// start starts one child. What it prints has its name in front.
func (c *children) start(ctx context.Context, name string, env []string, command string, args ...string) error {
	launcher := workerproc.New(workerproc.Config{
		Path: command, Args: func(string) []string { return args }, Env: env,
		Output: c.output, Grace: childGrace, Exited: c.note,
	})
	c.mu.Lock()
	c.launchers = append(c.launchers, launcher)
	c.mu.Unlock()
	if err := launcher.Start(ctx, name); err != nil {
		return fmt.Errorf("start a process: %w", err)
	}
	return nil
}

// note keeps how the first child ended that nobody had told to.
func (c *children) note(name string, err error) {
	if err == nil {
		err = errors.New("it ended")
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.exited == nil {
		c.exited = fmt.Errorf("%s: %w", name, err)
		close(c.ended)
	}
}

// failure is how the first child ended that nobody had told to.
func (c *children) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exited
}

// close ends all children and returns when they are gone.
func (c *children) close() {
	var group sync.WaitGroup
	for _, launcher := range c.all() {
		group.Go(func() { _ = launcher.Close() }) // it has no error to return
	}
	group.Wait()
}

// kill ends all children at once and does not wait for that.
func (c *children) kill() {
	for _, launcher := range c.all() {
		launcher.Kill()
	}
}

func (c *children) all() []*workerproc.Launcher {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*workerproc.Launcher(nil), c.launchers...)
}
