package main

import (
	"context"
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake"
)

// shippedIn is where shipped is; shipping sets it before the first test runs.
var shippedIn string

// shipped is a build of this program, which tasks and functions run. It is made once for all scripts.
var shipped = sync.OnceValues(func() (string, error) {
	path := filepath.Join(shippedIn, "zae-limiter")
	build := exec.Command("go", "build", "-ldflags=-s -w", "-o", path, ".")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// clouds are the accounts of scripts, by the script's folder.
type clouds struct {
	mu    sync.Mutex
	known map[string]*awsfake.Cloud
}

var running = clouds{known: map[string]*awsfake.Cloud{}}

// cloud [RULE…]: an account on this machine, in which all later commands work; RULEs make calls fail.
// $PROGRAM is the build to deploy.
func cloud(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: cloud [RULE…]")
	}
	openCloud(ts, awsfake.Options{Fail: args})
}

// cramped: a cloud with the concurrency of functions that new accounts have.
func cramped(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: cramped")
	}
	openCloud(ts, awsfake.Options{LambdaConcurrency: 10})
}

// narrow: a cloud whose tables carry twenty reads and twelve writes a second.
func narrow(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: narrow")
	}
	openCloud(ts, awsfake.Options{Engine: dynamolocal.Config{Throughput: "provisioned=20,12"}})
}

// program: $PROGRAM is the build to deploy from now on.
func program(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: program")
	}
	path, err := shipped()
	ts.Check(err)
	ts.Setenv("PROGRAM", path)
}

func openCloud(ts *testscript.TestScript, o awsfake.Options) {
	program(ts, false, nil)
	account, err := awsfake.Start(context.Background(), o)
	ts.Check(err)
	running.mu.Lock()
	running.known[ts.MkAbs(".")] = account
	running.mu.Unlock()
	all := processesOf(ts)
	for _, variable := range account.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		ts.Setenv(name, value)
		all.env = append(all.env, variable)
	}
	ts.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		ts.Check(account.Close(ctx))
	})
}

var taskID = regexp.MustCompile(`task ([0-9a-f]{32})`)

// reclaim FILE: AWS takes back the Spot capacity of the task that FILE names first.
func reclaim(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: reclaim FILE")
	}
	running.mu.Lock()
	account := running.known[ts.MkAbs(".")]
	running.mu.Unlock()
	named := taskID.FindStringSubmatch(ts.ReadFile(args[0]))
	if named == nil {
		ts.Fatalf("%s names no task", args[0])
	}
	ts.Check(account.Tasks.InterruptSpot(named[1]))
}
