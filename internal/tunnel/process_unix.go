//go:build unix

package tunnel

import (
	"os"
	"os/exec"
	"syscall"
)

// ownGroup keeps a Ctrl+C at the terminal from the process: the tunnel decides when it ends.
func ownGroup(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// interrupt asks a client to end its session and itself. It has no handler for SIGTERM (aws.md 5.1).
func interrupt(process *os.Process) error { return process.Signal(syscall.SIGINT) }

// killedBy names the signal that has ended a process, "" when none has.
func killedBy(state *os.ProcessState) string {
	if status, ok := state.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return status.Signal().String()
	}
	return ""
}
