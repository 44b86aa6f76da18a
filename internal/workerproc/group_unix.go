//go:build unix

package workerproc

import (
	"os/exec"
	"syscall"
)

// group is a worker with all the processes that it starts.
type group struct{ id int }

// prepare gives the process a group of its own. That also keeps a Ctrl+C at the terminal from it:
// whoever started it decides when it ends.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
}

// groupOf returns the group of a process that was just started.
func groupOf(cmd *exec.Cmd) group { return group{cmd.Process.Pid} }

// terminate asks all of the group to end.
func (g group) terminate() { g.signal(syscall.SIGTERM) }

// kill ends all of the group.
func (g group) kill() { g.signal(syscall.SIGKILL) }

// signal has no error to return: the only one that happens is that nobody is left.
func (g group) signal(s syscall.Signal) {
	if g.id > 0 {
		_ = syscall.Kill(-g.id, s)
	}
}
