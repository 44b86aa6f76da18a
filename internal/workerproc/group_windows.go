package workerproc

import (
	"os"
	"os/exec"
	"syscall"
)

// group is the process of a worker; what it starts itself is not reached here.
type group struct{ process *os.Process }

// prepare keeps a Ctrl+C at the terminal from the process: whoever started it decides when it ends.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func groupOf(cmd *exec.Cmd) group { return group{cmd.Process} }

// terminate kills: there is no signal that asks.
func (g group) terminate() { g.kill() }

func (g group) kill() {
	if g.process != nil {
		_ = g.process.Kill() // it is gone already, if anything
	}
}
