//go:build unix

package ecs

import (
	"os"
	"os/exec"
	"syscall"
)

// group is a process with all the processes that it starts.
type group struct{ id int }

func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
}

// groupOf returns the group of a process that was just started.
func groupOf(cmd *exec.Cmd) group { return group{cmd.Process.Pid} }

func (g group) terminate() { g.signal(syscall.SIGTERM) }

func (g group) kill() { g.signal(syscall.SIGKILL) }

// signal has no error to return: the only one that happens is that nobody is left.
func (g group) signal(s syscall.Signal) { _ = syscall.Kill(-g.id, s) }

func exitCode(state *os.ProcessState) int {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}
