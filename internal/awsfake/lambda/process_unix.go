//go:build unix

package lambda

import (
	"os/exec"
	"syscall"
)

// prepare gives the process a group of its own.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
}

func killGroup(cmd *exec.Cmd)   { signal(cmd, syscall.SIGKILL) }
func freezeGroup(cmd *exec.Cmd) { signal(cmd, syscall.SIGSTOP) }
func resumeGroup(cmd *exec.Cmd) { signal(cmd, syscall.SIGCONT) }

// signal has no error to return: the only one that happens is that nobody is left.
func signal(cmd *exec.Cmd, s syscall.Signal) { _ = syscall.Kill(-cmd.Process.Pid, s) }
