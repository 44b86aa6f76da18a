package ecs

import (
	"os/exec"
	"runtime"
	"sync"
	"time"
)

// outputGrace is how long the output of a process may stay open after its end, as when it left a
// process behind that holds it.
const outputGrace = time.Second

type execCmd = exec.Cmd

// newCmd makes a command in a process group of its own, which does not outlive this process.
func newCmd(program, name string) *exec.Cmd {
	cmd := &exec.Cmd{Path: program, Args: []string{name}, WaitDelay: outputGrace}
	prepare(cmd)
	return cmd
}

// process is a running program with all that it starts.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it and its group are gone
	code int           // its exit code, 128 and the signal for one; set before done closes

	mu    sync.Mutex
	group group
	gone  bool
}

// startProcess returns when the process runs. Its end closes done.
func startProcess(cmd *exec.Cmd) (*process, error) {
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go p.tend(started)
	return p, <-started
}

// tend starts the process and waits for its end.
func (p *process) tend(started chan<- error) {
	// Linux tells a child that its parent died when the thread that made it ends, so that thread has
	// to live as long as the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	if err := p.cmd.Start(); err != nil {
		started <- err
		return
	}
	p.group = groupOf(p.cmd)
	started <- nil
	_ = p.cmd.Wait() // the exit code tells
	p.mu.Lock()
	p.group.kill() // what the process has left behind
	p.gone = true
	p.mu.Unlock()
	p.code = exitCode(p.cmd.ProcessState)
	close(p.done)
}

// terminate asks the process to end.
func (p *process) terminate() { p.signal(group.terminate) }

// kill ends it.
func (p *process) kill() { p.signal(group.kill) }

// signal reaches nobody once the process is gone: its number may be another's then.
func (p *process) signal(send func(group)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		send(p.group)
	}
}

// usage is what a process has used so far.
func (p *process) usage() usage {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.gone {
		return usage{cpu: p.cmd.ProcessState.UserTime() + p.cmd.ProcessState.SystemTime()}
	}
	return usageOf(p.cmd.Process.Pid)
}

// usage is processor time and resident memory in bytes.
type usage struct {
	cpu    time.Duration
	memory int64
}
