package tunnel

import (
	"io"
	"os"
	"os/signal"
	"syscall"

	"github.com/aws/session-manager-plugin/src/sessionmanagerplugin/session"
	_ "github.com/aws/session-manager-plugin/src/sessionmanagerplugin/session/portsession" // registers itself
)

// RunClient is the official Session Manager client: what a process does that was started with
// ClientVariable in its environment. It ends by an interrupt, and when its standard input ends, which
// happens when the process dies that has started it.
func RunClient() {
	// A parent that is gone must not end the client before it has closed its session.
	signal.Ignore(syscall.SIGPIPE)
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		if self, err := os.FindProcess(os.Getpid()); err == nil {
			_ = interrupt(self) // nobody is left who could be told
		}
	}()
	session.ValidateInputAndStartSession(os.Args, os.Stdout)
}
