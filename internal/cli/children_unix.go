//go:build unix

package cli

import (
	"os"
	"os/exec"
	"syscall"
)

// detach gives a child a process group of its own: Ctrl+C on the terminal reaches this process only,
// which ends its children in order.
func detach(child *exec.Cmd) { child.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

func terminate(p *os.Process) error { return p.Signal(syscall.SIGTERM) }
