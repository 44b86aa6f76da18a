package main

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/rogpeppe/go-internal/testscript"
)

// processes are the commands that a script runs beside itself, by name.
type processes struct {
	env     []string
	byName  map[string]*process
	account *lambda.Client // of the account that the script made with function
}

type process struct {
	cmd  *exec.Cmd
	done chan struct{}
}

type processesKey struct{}

// withProcesses gives a script its own set of processes.
func withProcesses(env *testscript.Env) {
	env.Values[processesKey{}] = &processes{env: env.Vars, byName: map[string]*process{}}
}

func processesOf(ts *testscript.TestScript) *processes {
	return ts.Value(processesKey{}).(*processes)
}

func (p *processes) named(ts *testscript.TestScript, name string) *process {
	found := p.byName[name]
	if found == nil {
		ts.Fatalf("no process %q", name)
	}
	return found
}

// start NAME [VARIABLE=VALUE…] COMMAND…: runs the command beside the script; its output goes to
// NAME.out and NAME.err. It does not see what the script has set with env.
func start(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: start NAME [VARIABLE=VALUE…] COMMAND…")
	}
	all := processesOf(ts)
	vars := slices.Clone(all.env)
	for len(args) > 2 && strings.Contains(args[1], "=") {
		vars = append(vars, args[1])
		args = slices.Delete(args, 1, 2)
	}
	path := ""
	for _, dir := range filepath.SplitList(ts.Getenv("PATH")) {
		if _, err := os.Stat(filepath.Join(dir, args[1])); err == nil {
			path = filepath.Join(dir, args[1])
			break
		}
	}
	cmd := exec.Command(path, args[2:]...)
	cmd.Dir, cmd.Env = ts.MkAbs("."), vars
	stdout, err := os.Create(ts.MkAbs(args[0] + ".out"))
	ts.Check(err)
	stderr, err := os.Create(ts.MkAbs(args[0] + ".err"))
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = stdout, stderr
	ts.Check(cmd.Start())
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		defer close(p.done)
		_ = cmd.Wait() // the exit code is what the script asks for
		stdout.Close()
		stderr.Close()
	}()
	all.byName[args[0]] = p
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		<-p.done
	})
}

// sig NAME INT|TERM|KILL: sends the signal to a started process.
func sig(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: sig NAME SIGNAL")
	}
	signals := map[string]os.Signal{"INT": os.Interrupt, "TERM": syscall.SIGTERM, "KILL": os.Kill}
	ts.Check(processesOf(ts).named(ts, args[0]).cmd.Process.Signal(signals[args[1]]))
}

// ended NAME CODE WITHIN: waits for a started process, which must end with the code in time.
func ended(ts *testscript.TestScript, neg bool, args []string) {
	p, want := awaitEnd(ts, neg, args)
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		ts.Fatalf("%s ended with code %d, want %d; stderr:\n%s", args[0], got, want, ts.ReadFile(args[0]+".err"))
	}
}

// awaitEnd waits for the process of `ended NAME CODE WITHIN` and returns it with the code.
func awaitEnd(ts *testscript.TestScript, neg bool, args []string) (p *process, code int) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: ended NAME CODE WITHIN, or measured")
	}
	code, err := strconv.Atoi(args[1])
	ts.Check(err)
	limit, err := time.ParseDuration(args[2])
	ts.Check(err)
	p = processesOf(ts).named(ts, args[0])
	select {
	case <-p.done:
	case <-time.After(limit):
		ts.Fatalf("%s still runs after %v", args[0], limit)
	}
	return p, code
}

// endpoint NAME VAR: waits for a started `zae-limiter local` and sets VAR to its URL.
func endpoint(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: endpoint NAME VAR")
	}
	await(ts, false, []string{args[0] + ".out", "http://"})
	_, rest, _ := strings.Cut(ts.ReadFile(args[0]+".out"), "http://")
	host, _, _ := strings.Cut(rest, " ")
	ts.Setenv(args[1], "http://"+host)
}

// slay FILE TEXT: kills the process whose id follows TEXT in the file.
func slay(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: slay FILE TEXT")
	}
	ts.Check(syscall.Kill(processAfter(ts, args[0], args[1]), syscall.SIGKILL))
}

func processAfter(ts *testscript.TestScript, file, text string) int {
	_, rest, _ := strings.Cut(ts.ReadFile(file), text)
	id, err := strconv.Atoi(strings.Fields(rest + " .")[0])
	ts.Check(err)
	return id
}

// gone FILE TEXT: waits until the process whose id follows TEXT in the file is no more.
func gone(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: gone FILE TEXT")
	}
	id := processAfter(ts, args[0], args[1])
	deadline := time.Now().Add(patience)
	for time.Now().Before(deadline) {
		if errors.Is(syscall.Kill(id, 0), syscall.ESRCH) {
			return
		}
		time.Sleep(10 * time.Millisecond) // polls another process, which cannot signal us
	}
	ts.Fatalf("process %d is still there after %v", id, patience)
}
