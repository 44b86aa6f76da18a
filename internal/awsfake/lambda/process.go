package lambda

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
)

// process is a running bootstrap with all that it starts.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when the process is gone
	err  error         // of its exit, once done is closed

	mu   sync.Mutex
	gone bool
}

// startProcess starts a program; it dies with this process.
func startProcess(path, dir string, environ []string, out *os.File) (*process, error) {
	cmd := exec.Command(path)
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = dir, environ, out, out
	prepare(cmd)
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.tend(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", path, err)
	}
	return p, nil
}

// tend starts the process and waits for its end.
func (p *process) tend(started chan<- error) {
	// Linux tells a child that its parent died when the thread that made it ends, so that thread has
	// to live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	err := p.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	p.err = p.cmd.Wait()
	p.mu.Lock()
	p.gone = true
	killGroup(p.cmd) // what it has started
	p.mu.Unlock()
	close(p.done)
}

// act does something to the process unless it is gone.
func (p *process) act(do func(*exec.Cmd)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		do(p.cmd)
	}
}

// kill ends the process and what it has started.
func (p *process) kill() { p.act(killGroup) }

// freeze stops the process until resume.
func (p *process) freeze() { p.act(freezeGroup) }
func (p *process) resume() { p.act(resumeGroup) }

// peakMemory is the most memory that the process had, in MB, as far as this system tells; else 0.
func (p *process) peakMemory() (megabytes int) {
	p.act(func(cmd *exec.Cmd) { megabytes = peakMemory(cmd.Process.Pid) })
	return megabytes
}
