package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// detach gives a child a process group of its own: Ctrl+C on the terminal reaches this process only,
// which ends its children in order.
func detach(child *exec.Cmd) {
	child.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

// terminate ends the child at once: Windows has no signal to ask it.
func terminate(p *os.Process) error { return p.Kill() }
