//go:build unix

package cli

import (
	"os/exec"
	"syscall"
)

// ownGroup lets a command lead a group, which is signalled as one.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// signalGroup signals what a command has started, too, when it leads a group. Its only error is that
// nobody is left.
func signalGroup(cmd *exec.Cmd, s syscall.Signal) {
	if cmd.SysProcAttr == nil {
		_ = cmd.Process.Signal(s)
		return
	}
	_ = syscall.Kill(-cmd.Process.Pid, s)
}
