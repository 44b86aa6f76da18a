package cli

import (
	"os/exec"
	"syscall"
)

// ownGroup does nothing: there are no groups to signal here.
func ownGroup(*exec.Cmd) {}

// signalGroup can only end the command. Its only error is that nobody is left.
func signalGroup(cmd *exec.Cmd, s syscall.Signal) {
	if s == syscall.SIGKILL {
		_ = cmd.Process.Kill()
	}
}
