// Command zae-limiter is the process entry: signals, streams and the exit code of package cli, which
// also serves as the worker function where the platform starts it as one. As the child of a tunnel it
// is the client of Session Manager instead.
package main

import (
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"
	_ "time/tzdata" // the static binary runs where there is no zone data

	"github.com/zeroae/zae-limiter-go/internal/cli"
	"github.com/zeroae/zae-limiter-go/internal/tunnel"
)

// gcPercent lets the heap grow to five times what is live before it is collected: a load generator
// allocates for every call and keeps little, and collecting less often takes a sixth off its
// processor time. GOGC in the environment wins.
const gcPercent = 400

func main() {
	if os.Getenv(tunnel.ClientVariable) != "" {
		tunnel.RunClient()
		return
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
	process := cli.Process{
		Args: os.Args[1:], Getenv: os.Getenv, LookupEnv: os.LookupEnv,
		Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
	}
	if cli.IsFunction(process) {
		os.Exit(cli.Function(process))
	}
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	// Without this a write to a closed stdout would kill the process in the middle of a run.
	signal.Ignore(syscall.SIGPIPE)
	process.Signals = signals
	os.Exit(cli.Main(process))
}
