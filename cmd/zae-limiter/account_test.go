package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/tunnel"
)

var exported = regexp.MustCompile(`(?m)^export ([A-Z_]+)=(.*)$`)

// enter NAME: waits for a started `zae-limiter local aws` and works in its account from now on. $PROGRAM is
// the build to deploy.
func enter(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: enter NAME")
	}
	await(ts, false, []string{args[0] + ".out", "Ctrl+C ends it"})
	program(ts, false, nil)
	all := processesOf(ts)
	for _, variable := range exported.FindAllStringSubmatch(ts.ReadFile(args[0]+".out"), -1) {
		ts.Setenv(variable[1], variable[2])
		all.env = append(all.env, variable[1]+"="+variable[2])
	}
}

// fail [RULE…]: what goes wrong in the script's cloud from now on; without a RULE nothing does.
func fail(ts *testscript.TestScript, neg bool, args []string) {
	if neg {
		ts.Fatalf("usage: fail [RULE…]")
	}
	running.mu.Lock()
	account := running.known[ts.MkAbs(".")]
	running.mu.Unlock()
	ts.Check(account.Fail(args...))
}

// client is the configuration of a client in the script's account.
func client(ts *testscript.TestScript) aws.Config {
	return aws.Config{
		Region: ts.Getenv("AWS_REGION"), BaseEndpoint: aws.String(ts.Getenv("AWS_ENDPOINT_URL")),
		Credentials: credentials.NewStaticCredentialsProvider(ts.Getenv("AWS_ACCESS_KEY_ID"), ts.Getenv("AWS_SECRET_ACCESS_KEY"), ""),
	}
}

// orphan CLUSTER: leaves a task of the cluster that a benchmark started whose time is up, and a session to it.
func orphan(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: orphan CLUSTER")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	name, _ := strings.CutSuffix(args[0], "-load")
	tasks := awsrun.NewTasks(client(ts), awsrun.Stack(name), nil)
	network, err := tasks.Network(ctx)
	ts.Check(err)
	task, err := tasks.Start(ctx, awsrun.Start{Network: network, Command: "benchmark", RunID: "r-1", Until: time.Now().Add(-time.Hour)})
	ts.Check(err)
	task, err = tasks.AwaitReady(ctx, task.ARN, nil)
	ts.Check(err)
	target := tunnel.Target(args[0], task.ID, task.RuntimeID)
	_, err = ssm.NewFromConfig(client(ts)).StartSession(ctx, &ssm.StartSessionInput{
		Target: &target, DocumentName: aws.String("AWS-StartPortForwardingSession"), Parameters: map[string][]string{"portNumber": {"8089"}},
	})
	ts.Check(err)
}

// protect TABLE: a table of the script's account cannot be deleted from now on.
func protect(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: protect TABLE")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, err := dynamodb.NewFromConfig(client(ts)).UpdateTable(ctx, &dynamodb.UpdateTableInput{TableName: &args[0], DeletionProtectionEnabled: aws.Bool(true)})
	ts.Check(err)
}

// idle CLUSTER: in the script's account no task of the cluster runs, and no session is open.
func idle(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: idle CLUSTER")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	tasks, err := ecs.NewFromConfig(client(ts)).ListTasks(ctx, &ecs.ListTasksInput{Cluster: &args[0]})
	ts.Check(err)
	if len(tasks.TaskArns) > 0 {
		ts.Fatalf("tasks run: %s", strings.Join(tasks.TaskArns, ", "))
	}
	ts.Check(noSessions(ctx, client(ts)))
}

func noSessions(ctx context.Context, config aws.Config) error {
	open, err := ssm.NewFromConfig(config).DescribeSessions(ctx, &ssm.DescribeSessionsInput{State: types.SessionStateActive})
	if err != nil {
		return err
	}
	for _, session := range open.Sessions {
		return fmt.Errorf("session %s is open", *session.SessionId)
	}
	return nil
}

// vacant: nothing is left in the script's account.
func vacant(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 0 {
		ts.Fatalf("usage: vacant")
	}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	config := client(ts)
	ts.Check(noSessions(ctx, config))
	var left []string
	tagged, err := resourcegroupstaggingapi.NewFromConfig(config).GetResources(ctx, nil)
	ts.Check(err)
	for _, one := range tagged.ResourceTagMappingList {
		left = append(left, *one.ResourceARN)
	}
	clusters, err := ecs.NewFromConfig(config).ListClusters(ctx, nil)
	ts.Check(err)
	functions, err := lambda.NewFromConfig(config).ListFunctions(ctx, nil)
	ts.Check(err)
	for _, one := range functions.Functions {
		left = append(left, *one.FunctionArn)
	}
	tables, err := dynamodb.NewFromConfig(config).ListTables(ctx, nil)
	ts.Check(err)
	if left = append(append(left, clusters.ClusterArns...), tables.TableNames...); len(left) > 0 {
		ts.Fatalf("left in the account: %s", strings.Join(left, ", "))
	}
}

// deserted TEXT: waits until no process but this one has the text in its environment, as everything has
// the account's URL that works in it.
func deserted(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: deserted TEXT")
	}
	deadline := time.Now().Add(patience)
	left := inhabitants(args[0])
	for len(left) > 0 && time.Now().Before(deadline) {
		time.Sleep(50 * time.Millisecond) // polls other processes, which cannot signal us
		left = inhabitants(args[0])
	}
	if len(left) > 0 {
		ts.Fatalf("still there after %v:\n%s", patience, strings.Join(left, "\n"))
	}
}

// inhabitants are the command lines of the processes with a text in their environment. Where processes
// are no files, there are none.
func inhabitants(text string) []string {
	environments, _ := filepath.Glob("/proc/[0-9]*/environ") // its only error is a bad pattern
	var found []string
	for _, path := range environments {
		data, err := os.ReadFile(path)
		if err != nil || !bytes.Contains(data, []byte(text)) {
			continue // gone, or of another user
		}
		command, _ := os.ReadFile(filepath.Join(filepath.Dir(path), "cmdline"))
		found = append(found, filepath.Base(filepath.Dir(path))+" "+string(bytes.ReplaceAll(command, []byte{0}, []byte(" "))))
	}
	return found
}

// quiet TEXT: no process but this one that has the text in its environment listens at a port.
func quiet(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: quiet TEXT")
	}
	listening := listeningSockets()
	for _, one := range inhabitants(args[0]) {
		id, _, _ := strings.Cut(one, " ")
		files, _ := filepath.Glob(filepath.Join("/proc", id, "fd", "*")) // its only error is a bad pattern
		for _, file := range files {
			socket, _ := os.Readlink(file) // one that was closed meanwhile is none
			if port, ok := listening[socket]; ok && id != strconv.Itoa(os.Getpid()) {
				ts.Fatalf("port %d is open: %s", port, one)
			}
		}
	}
}

// listeningSockets are the ports of sockets that take connections, by what links to them are called. Where
// sockets are no files, there are none.
func listeningSockets() map[string]int64 {
	const localAddress, state, inode, listens = 1, 3, 9, "0A" // fields of a line, see proc_net_tcp(5)
	found := map[string]int64{}
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		data, _ := os.ReadFile(table)
		for line := range strings.Lines(string(data)) {
			fields := strings.Fields(line)
			if len(fields) <= inode || fields[state] != listens {
				continue
			}
			_, port, _ := strings.Cut(fields[localAddress], ":")
			if n, err := strconv.ParseInt(port, 16, 32); err == nil {
				found["socket:["+fields[inode]+"]"] = n
			}
		}
	}
	return found
}

// shortRotation is a run in which workers that may run for a minute are replaced once. A longer one comes
// with ZAE_LIMITER_ROTATION, from a machine that has nothing else to do (make soak-aws).
const shortRotation = "75s"

// The time for which more than one of the wanted workers may be missing: in a long run what the
// orchestrator promises, otherwise what a busy machine needs.
const (
	gapOfSoak = 2 * time.Second
	gapOfTest = patience
)

// rotates URL WANTED: watches the workers of the master with its web UI at the URL until its run is over.
// Never are more than one of those wanted missing for long, and in the end others work than at first.
func rotates(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: rotates URL WANTED")
	}
	wanted, err := strconv.Atoi(args[1])
	ts.Check(err)
	gap := gapOfTest
	if ts.Getenv("ROTATION") != shortRotation {
		gap = gapOfSoak
	}
	seen := map[string]bool{}
	enough := time.Now()
	for {
		_, body := call(ts, []string{http.MethodGet, args[0] + "/stats/requests"})
		var now struct {
			State   string
			Workers []struct{ ID, State string }
		}
		ts.Check(json.Unmarshal(body, &now))
		if now.State == "stopped" {
			break
		}
		present := 0
		for _, worker := range now.Workers {
			if worker.State == "running" || worker.State == "spawning" || worker.State == "ready" {
				present++
				seen[worker.ID] = true
			}
		}
		if present >= wanted-1 {
			enough = time.Now()
		} else if missing := time.Since(enough); missing > gap {
			ts.Fatalf("for %v only %d of %d workers were there", missing, present, wanted)
		}
		time.Sleep(100 * time.Millisecond) // polls another process, which cannot signal us
	}
	if len(seen) < 2*wanted {
		ts.Fatalf("%d workers were there in the whole run, want at least %d", len(seen), 2*wanted)
	}
}

// bare DIR: nothing is in the folder.
func bare(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: bare DIR")
	}
	left, err := filepath.Glob(filepath.Join(ts.MkAbs(args[0]), "*"))
	ts.Check(err)
	if len(left) > 0 {
		ts.Fatalf("%s holds %s", args[0], strings.Join(left, ", "))
	}
}
