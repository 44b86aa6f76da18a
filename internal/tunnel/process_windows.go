package tunnel

import (
	"os"
	"os/exec"
	"syscall"

	"golang.org/x/sys/windows"
)

// ownGroup keeps a Ctrl+C at the terminal from the process: the tunnel decides when it ends.
func ownGroup(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// interrupt asks a client, which leads a group of its own, to end its session and itself.
func interrupt(process *os.Process) error {
	return windows.GenerateConsoleCtrlEvent(windows.CTRL_BREAK_EVENT, uint32(process.Pid))
}

// killedBy says whether a process was ended by another one: the client itself ends with 0, or with 2
// after a panic.
func killedBy(state *os.ProcessState) string {
	if state.ExitCode() == 1 {
		return "terminated"
	}
	return ""
}
