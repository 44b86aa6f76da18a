// Package cli is the command line: it turns arguments, environment and files into plain structs,
// wires the packages below it together, and turns what they return into output and exit codes.
//
// Each command has a file of its own. Results go to stdout, progress and warnings to stderr; every
// command has --json, with which stdout carries exactly one JSON object, errors included.
package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// Process is what a command gets from the operating system.
type Process struct {
	Args []string // without the program's name
	// Getenv and LookupEnv read the environment; the latter also knows variables that are set but
	// empty. Either may be nil.
	Getenv    func(string) string
	LookupEnv func(string) (string, bool)
	Stdin     io.Reader // for questions, asked when it is a terminal; may be nil
	Stdout    io.Writer
	Stderr    io.Writer
	Signals   <-chan os.Signal // the first one drains a run, the second one ends it at once; may be nil
}

// killGrace is how long a command that was told to end at once may take to print what it has.
const killGrace = 300 * time.Millisecond

// app is one invocation: the process, its streams, and the run that signals have to end.
type app struct {
	getenv func(string) string
	lookup func(string) (string, bool) // nil = nothing is set but empty
	stdin  io.Reader
	stdout *resultWriter
	stderr *term.Stream
	json   bool
	config configured
	// home is what a worker drives under a master that names no target; nil = its own options.
	home *targetFlags
	// endsAt is when the platform ends the process, whatever it does; zero = never.
	endsAt time.Time
	active atomic.Pointer[activeRun]
}

// activeRun is what signals act upon.
type activeRun struct {
	kill  func()
	notes io.Writer
}

// errInterrupted is the cause of a context that a signal cancelled.
var errInterrupted = errors.New("interrupted")

// Main runs the command that the arguments name and returns the exit code of the process. It
// returns early, with the command still running, after a second signal.
func Main(p Process) int {
	if p.Getenv == nil {
		p.Getenv = func(string) string { return "" }
	}
	a := &app{
		getenv: p.Getenv,
		lookup: p.LookupEnv,
		stdin:  p.Stdin,
		stdout: &resultWriter{w: p.Stdout},
		stderr: term.NewStream(p.Stderr, p.Getenv),
	}
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	done := make(chan int, 1)
	go func() { done <- a.execute(ctx, p.Args) }()

	var deadline <-chan time.Time
	signals := 0
	for {
		select {
		case code := <-done:
			return code
		case <-p.Signals:
			signals++
			switch signals {
			case 1:
				if run := a.active.Load(); run != nil {
					fmt.Fprintln(run.notes, "stopping; once more ends at once")
				}
				cancel(errInterrupted)
			case 2:
				if run := a.active.Load(); run != nil {
					run.kill()
				}
				deadline = time.After(killGrace)
			}
		case <-deadline:
			return report.ExitInterrupted
		}
	}
}

// execute runs the command and reports its error.
func (a *app) execute(ctx context.Context, args []string) int {
	root := a.rootCommand()
	root.SetArgs(args)
	// A bad flag is reported as JSON too, although parsing stopped before --json was seen.
	a.json = wantsJSON(args)
	err := root.ExecuteContext(ctx)
	if errors.Is(err, errShown) {
		err = nil
	}
	if err == nil {
		err = a.stdout.Err()
	}
	return a.report(err)
}

func wantsJSON(args []string) bool {
	for _, arg := range args {
		switch arg {
		case "--json", "--json=true":
			return true
		case "--":
			return false
		}
	}
	return false
}

// report prints the error for people or, under --json, for machines, and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return report.ExitDone
	}
	code := exitCode(err)
	if _, ok := errors.AsType[*childStatus](err); ok {
		return code // the command has told its own errors
	}
	var o *outcome
	if errors.As(err, &o) && o.err == nil {
		return code // the result said it all
	}
	if a.json && !a.stdout.used {
		doc := map[string]any{"error": errorDocument(err, code)}
		if writeIndented(a.stdout, doc) == nil {
			return code
		}
	}
	fmt.Fprintln(a.stderr, a.stderr.Paint(term.Red, "error:")+" "+err.Error())
	if stack := sourceStack(err); stack != "" {
		fmt.Fprintln(a.stderr, strings.TrimRight(stack, "\n"))
	}
	if hint := hintOf(err); hint != "" {
		fmt.Fprintln(a.stderr, hint)
	}
	return code
}

// printJSON writes the one JSON object of a command.
func (a *app) printJSON(v any) error {
	if err := writeIndented(a.stdout, v); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func writeIndented(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}

// warn prints one warning.
func (a *app) warn(format string, args ...any) {
	fmt.Fprintln(a.stderr, a.stderr.Paint(term.Yellow, "warning:")+" "+fmt.Sprintf(format, args...))
}

// positional refuses arguments of a command that takes none.
func positional(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, got %q", cmd.CommandPath(), args[0])
	}
	return nil
}
