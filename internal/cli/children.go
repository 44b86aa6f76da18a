package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"sync"
	"time"
)

// childGrace is how long a child process may take to end when it is told to.
const childGrace = 6 * time.Second

// children are worker processes that this process started and ends.
type children struct {
	output io.Writer
	wait   sync.WaitGroup

	mu     sync.Mutex
	exited error // the first child that ended on its own, and how
	ended  chan struct{}
	once   sync.Once
}

func newChildren(output io.Writer) *children {
	return &children{output: output, ended: make(chan struct{})}
}

// start starts one child. It ends with the context: told to first, then by force.
func (c *children) start(ctx context.Context, name string, env []string, command string, args ...string) error {
	child := exec.CommandContext(ctx, command, args...)
	child.Env, child.Stdout, child.Stderr = env, c.output, c.output
	child.Cancel = func() error { return terminate(child.Process) }
	child.WaitDelay = childGrace
	detach(child)
	if err := child.Start(); err != nil {
		return fmt.Errorf("start %s: %w", name, err)
	}
	c.wait.Go(func() {
		err := child.Wait()
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			err = errors.New("it ended")
		}
		c.mu.Lock()
		if c.exited == nil {
			c.exited = fmt.Errorf("%s: %w", name, err)
		}
		c.mu.Unlock()
		c.once.Do(func() { close(c.ended) })
	})
	return nil
}

// failure is how the first child ended that nobody had told to.
func (c *children) failure() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.exited
}
