package main

import (
	"bytes"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// In a network namespace of its own, with nothing but a loopback interface, a local run works: it
// needs no network beyond that. Where the kernel does not let us make such a namespace the program
// is run in the one we have, in which the test proves less.
func TestLocalRunNeedsNothingButLoopback(t *testing.T) {
	t.Parallel()
	examples, err := filepath.Abs("../../examples/locust")
	if err != nil {
		t.Fatal(err)
	}
	run := "exec zae-limiter load benchmark -C '" + examples + "' -f locustfiles/max_rps.star --users 4 --duration 1"
	isolated := func(script string) *exec.Cmd {
		cmd := exec.CommandContext(t.Context(), "sh", "-c", script)
		cmd.SysProcAttr = &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: syscall.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: syscall.Getgid(), Size: 1}},
		}
		return cmd
	}
	cmd := exec.CommandContext(t.Context(), "sh", "-c", run)
	if isolated("ip link set lo up").Run() == nil {
		cmd = isolated("ip link set lo up && " + run)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err = cmd.Run()
	if err := unlessBusy(err, out.String()); err != nil {
		t.Fatalf("%v\n%s", err, out.String())
	}
	if !strings.Contains(out.String(), "Results:") {
		t.Errorf("no results:\n%s", out.String())
	}
}
