package cli

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/aggregator"
	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/lambdaworker"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/settings"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/worker"
)

// Variables that the platform sets for a function.
const (
	runtimeAPIVariable = "AWS_LAMBDA_RUNTIME_API"
	taskRootVariable   = "LAMBDA_TASK_ROOT"
	handlerVariable    = "_HANDLER"
	memoryVariable     = "AWS_LAMBDA_FUNCTION_MEMORY_SIZE" // MB
)

const (
	// megabytesPerCPU is the memory with which a function has one vCPU (aws.md 5.4).
	megabytesPerCPU = 1769
	// functionConnections is how many connections to the table a function opens.
	functionConnections = 50
	// joinVariable is the option --master-timeout; functionJoinTimeout is how long a function looks for its master: as long as the orchestrator
	// waits for the function.
	joinVariable        = "ZAE_LIMITER_MASTER_TIMEOUT"
	functionJoinTimeout = "30s"
)

// IsFunction reports whether the process was started as a function: by the platform, as its bootstrap, which
// has no arguments.
func IsFunction(p Process) bool { return len(p.Args) == 0 && p.Getenv(runtimeAPIVariable) != "" }

// Function serves invocations until the platform ends the process. It returns the exit code only when
// something is wrong.
func Function(p Process) int {
	useShare(p.Getenv)
	ctx := context.Background()
	handler, err := functionHandler(ctx, p)
	if err == nil {
		err = lambdaworker.Serve(ctx, p.Getenv(runtimeAPIVariable), handler)
	}
	if err != nil {
		fmt.Fprintln(p.Stderr, "error: "+err.Error())
	}
	return report.ExitError
}

// functionHandler returns what the function is there for, which the name of its handler says.
func functionHandler(ctx context.Context, p Process) (lambdaworker.Invoker, error) {
	if p.Getenv(handlerVariable) == aggregator.HandlerName {
		return newAggregatorHandler(ctx, p)
	}
	return newFunctionHandler(p), nil
}

func newFunctionHandler(p Process) *lambdaworker.Handler {
	return lambdaworker.New(lambdaworker.Config{
		Runner: &function{p}, BuildID: p.Getenv(buildIDVariable), Locustfile: p.Getenv(settings.LocustfileVariable),
		Logger: newLogger(p.Stderr, slog.LevelInfo),
	})
}

// useShare keeps the runtime within the function's share of its machine. Its variables win, as always.
func useShare(getenv func(string) string) {
	memory, err := strconv.Atoi(getenv(memoryVariable))
	if err != nil || memory <= 0 {
		return
	}
	if getenv("GOMAXPROCS") == "" {
		// More threads than the share are only throttled in turns.
		runtime.GOMAXPROCS(min(runtime.NumCPU(), coresOf(memory)))
	}
	if getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(int64(memory) << 20 / 10 * 9)
	}
}

// coresOf is how many cores go with an amount of memory in MB, the last one perhaps in part.
func coresOf(memory int) int { return (memory + megabytesPerCPU - 1) / megabytesPerCPU }

// function runs each event as the command that it stands for, in this process.
type function struct{ process Process }

// Headless is load benchmark, with the result document on its stdout.
func (f *function) Headless(ctx context.Context, config invocation.Config) (*report.Result, error) {
	getenv := f.environment(&config)
	if getenv("TARGET_STACK_NAME") == "" {
		return nil, &lambdaworker.Error{Type: lambdaworker.ErrorTypeEvent, Err: errors.New("which limiter? give target_stack_name, or TARGET_STACK_NAME in the function's environment")}
	}
	config.PoolConnections = cmp.Or(config.PoolConnections, functionConnections)
	stdout, err := f.execute(ctx, getenv, nil, config.BenchmarkArgs("--directory="+getenv(taskRootVariable), "--target="+targetDynamoDB, "--only-summary"))
	if o, ok := errors.AsType[*outcome](err); ok {
		err = o.err // the rest is in the document
	}
	if len(stdout) == 0 {
		return nil, typed(err)
	}
	result, decoding := report.Decode(bytes.NewReader(stdout))
	if decoding != nil {
		return nil, errors.Join(err, decoding)
	}
	return result, explained(err)
}

// Purge is load benchmark --purge. Who ends a run in a function asks again until it has ended, so that nothing
// left is no error.
func (f *function) Purge(ctx context.Context, config invocation.Config) error {
	getenv := f.environment(&config)
	_, err := f.execute(ctx, getenv, nil, []string{"load", "benchmark", "--purge=" + config.RunID, "--target=" + targetDynamoDB})
	if errors.Is(err, target.ErrNothingLeft) {
		return nil
	}
	return typed(err)
}

// Worker is load worker.
func (f *function) Worker(ctx context.Context, config invocation.Config) (string, error) {
	getenv := f.environment(&config)
	home := &targetFlags{}
	home.register(pflag.NewFlagSet("", pflag.ContinueOnError)) // which sets the defaults
	home.kind, home.table, home.region = targetDynamoDB, getenv("TARGET_STACK_NAME"), getenv("TARGET_REGION")
	home.poolConnections = cmp.Or(config.PoolConnections, functionConnections)
	stdout, err := f.execute(ctx, getenv, home, config.WorkerArgs("--directory="+getenv(taskRootVariable),
		"--pool-connections="+strconv.Itoa(home.poolConnections)))
	if len(stdout) == 0 {
		return "", typed(err)
	}
	var end workerEnd
	if err := json.Unmarshal(stdout, &end); err != nil {
		return "", fmt.Errorf("end of the worker: %w", err)
	}
	switch end.Status {
	case worker.StatusMasterUnreachable:
		return invocation.StatusMasterUnreachable, nil
	case worker.StatusMasterLost:
		return invocation.StatusMasterLost, nil
	}
	return invocation.StatusCompleted, typed(err)
}

// execute runs one command and returns what it wrote to stdout: a JSON object, or nothing when it
// failed.
func (f *function) execute(ctx context.Context, getenv func(string) string, home *targetFlags, args []string) ([]byte, error) {
	var stdout bytes.Buffer
	a := &app{
		getenv: getenv, lookup: f.process.LookupEnv, home: home,
		stdout: &resultWriter{w: &stdout}, stderr: term.NewStream(f.process.Stderr, getenv),
	}
	a.endsAt, _ = ctx.Deadline()
	root := a.rootCommand()
	root.SetArgs(append([]string{"--json"}, args...))
	err := root.ExecuteContext(ctx)
	return stdout.Bytes(), err
}

// environment is the one that a run sees: the function's own with what the event says.
func (f *function) environment(config *invocation.Config) func(string) string {
	own := f.process.Getenv
	variables := map[string]string{
		"BASELINE_RPM":      strconv.Itoa(config.BaselineRPM),
		"SPIKE_RPM":         strconv.Itoa(config.SpikeRPM),
		"SPIKE_PROBABILITY": strconv.FormatFloat(*config.SpikeProbability, 'f', -1, 64),
		"TARGET_STACK_NAME": cmp.Or(config.TargetStackName, own("TARGET_STACK_NAME")),
		"TARGET_REGION":     cmp.Or(own("TARGET_REGION"), config.Region, own("AWS_REGION"), "us-east-1"),
		secretVariable:      cmp.Or(config.Secret, own(secretVariable)),
		joinVariable:        cmp.Or(own(joinVariable), functionJoinTimeout),
	}
	return func(name string) string {
		if value, ok := variables[name]; ok {
			return value
		}
		return own(name)
	}
}

// typed gives an error of a command the type under which a function answers it.
func typed(err error) error {
	if err == nil {
		return nil
	}
	kind := lambdaworker.ErrorTypeRun
	switch {
	case sourcePosition(err) != nil:
		kind = lambdaworker.ErrorTypeLocustfile
	case isUsage(err):
		kind = lambdaworker.ErrorTypeEvent
	}
	return &lambdaworker.Error{Type: kind, Err: explained(err)}
}

// explained adds the call stack of a locustfile, and what to try, to the text of an error, nil included:
// the caller of a function sees nothing else.
func explained(err error) error {
	if err == nil {
		return nil
	}
	for _, more := range []string{sourceStack(err), hintOf(err)} {
		if more != "" {
			err = fmt.Errorf("%w\n%s", err, strings.TrimRight(more, "\n"))
		}
	}
	return err
}
