package ecs

import (
	"os"
	"os/exec"
	"syscall"
)

// group is a process; what it starts itself is not reached here.
type group struct{ process *os.Process }

// prepare keeps a Ctrl+C at the terminal from the process.
func prepare(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{CreationFlags: syscall.CREATE_NEW_PROCESS_GROUP}
}

func groupOf(cmd *exec.Cmd) group { return group{cmd.Process} }

// terminate kills: there is no signal that asks.
func (g group) terminate() { g.kill() }

func (g group) kill() { _ = g.process.Kill() } // it is gone already, if anything

func exitCode(state *os.ProcessState) int { return state.ExitCode() }
