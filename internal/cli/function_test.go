package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/lambdaworker"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/worker"
)

// watchedLog is a function's stderr: it calls seen once, when a text was written.
type watchedLog struct {
	mu   sync.Mutex
	all  bytes.Buffer
	text string
	seen func()
}

func (l *watchedLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all.Write(p)
	if l.seen != nil && bytes.Contains(l.all.Bytes(), []byte(l.text)) {
		l.seen()
		l.seen = nil
	}
	return len(p), nil
}

// functionProcess is a process of the function whose table is an engine of its own.
func functionProcess(t *testing.T, log *watchedLog) Process {
	t.Helper()
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(engine)
	t.Cleanup(func() { server.Close(); _ = engine.Close() })
	dir := t.TempDir()
	scenario := `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 1000000000)])
def first(user):
    print("a user runs")
def acquire(user):
    sleep(0.01)
    user.client.acquire("user-" + user.id, "api", {"rpm": 1})
U = user_class(acquire, on_start=first)
`
	if err := os.WriteFile(filepath.Join(dir, "u.star"), []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	environ := map[string]string{
		"AWS_LAMBDA_RUNTIME_API": "127.0.0.1:1", "LAMBDA_TASK_ROOT": dir, "LOCUSTFILE": "u.star", "TARGET_STACK_NAME": "my-limiter",
		"ZAE_LIMITER_CREATE_TABLE": "true", "AWS_REGION": "us-east-1",
	}
	// The SDK reads these from the process.
	t.Setenv("AWS_ENDPOINT_URL", server.URL)
	t.Setenv("AWS_ACCESS_KEY_ID", "AKIDFUNCTION")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret")
	return Process{Getenv: func(name string) string { return environ[name] }, Stderr: log}
}

func TestNothingOfACallOutlivesIt(t *testing.T) {
	handler := newFunctionHandler(functionProcess(t, &watchedLog{}))
	before := 0
	for call := range 3 {
		answer, err := handler.Invoke(t.Context(), "0123456789abcdef", []byte(`{"config": {"users": 5, "spawn_rate": 100, "duration_seconds": 1}}`))
		if err != nil {
			t.Fatal(err)
		}
		var response invocation.HeadlessResponse
		if err := json.Unmarshal(answer, &response); err != nil || response.TotalRequests == 0 || response.Error != "" {
			t.Fatalf("%+v, %v", response, err)
		}
		if call == 0 { // the first one also starts what the process keeps
			before = settledGoroutines(0)
		}
	}
	if now := settledGoroutines(before); now > before {
		stacks := make([]byte, 1<<20)
		t.Errorf("%d goroutines after three calls, %d after one:\n%s", now, before, stacks[:runtime.Stack(stacks, true)])
	}
}

// settledGoroutines waits until there are no more goroutines than wanted, or their number has not changed
// for a while: the server of the test notices closed connections a little later.
func settledGoroutines(wanted int) int {
	n, same := runtime.NumGoroutine(), 0
	for n > wanted && same < 50 {
		time.Sleep(10 * time.Millisecond)
		now := runtime.NumGoroutine()
		if same++; now != n {
			n, same = now, 0
		}
	}
	return n
}

func TestTheTimeLimitEndsARunInGoodOrder(t *testing.T) {
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	runner := &function{functionProcess(t, &watchedLog{text: "a user runs", seen: func() { cancel(lambdaworker.ErrTimeLimit) }})}
	event, err := invocation.Parse([]byte(`{"config": {"users": 1, "duration_seconds": 600, "locustfile": "u.star"}}`))
	if err != nil {
		t.Fatal(err)
	}
	result, err := runner.Headless(ctx, event.Config)
	if err != nil {
		t.Fatal(err)
	}
	if *result.Run.DurationSeconds >= 600 || result.Verdict.State == report.Valid || result.Run.Mode != report.ModeLambda {
		t.Errorf("mode %s, %v s, verdict %s; want it to end early and to say so", result.Run.Mode, *result.Run.DurationSeconds, result.Verdict.State)
	}
}

// Locust's master tells its workers no target: a function then drives that of its own environment.
func TestAFunctionHasATargetOfItsOwnUnderALocustMaster(t *testing.T) {
	own, home := &targetFlags{}, &targetFlags{}
	own.register(pflag.NewFlagSet("", pflag.ContinueOnError))
	home.register(pflag.NewFlagSet("", pflag.ContinueOnError))
	home.kind, home.table = targetDynamoDB, "my-limiter"
	run := &workerRun{app: &app{home: home, getenv: func(string) string { return "" }}, flags: own}
	config, err := run.targetConfig(worker.Run{Foreign: true})
	if err != nil || !config.AWS || config.Table != "my-limiter" {
		t.Errorf("under Locust's master: %+v, %v", config, err)
	}
	settings, err := sharedTarget{Endpoint: "http://127.0.0.1:1", Table: "masters", PoolConnections: 1000}.settings()
	if err != nil {
		t.Fatal(err)
	}
	if config, err = run.targetConfig(worker.Run{Settings: settings}); err != nil || config.AWS || config.Table != "masters" {
		t.Errorf("under a master of this program: %+v, %v", config, err)
	}
}

// The options that an event stands for are those that the command has.
func TestABenchmarkTakesWhatAnEventCanSay(t *testing.T) {
	seed, stop, speculative := uint64(7), 3, false
	config := invocation.Config{
		Users: 1, SpawnRate: 1, DurationSeconds: 1, Locustfile: "x.star", UserClasses: "A", Seed: &seed, Tags: []string{"t"}, ExcludeTags: []string{"u"},
		Options: map[string]string{"a": "b"}, Host: "h", Shape: "none", Warmup: 0.5, StopTimeout: &stop, Namespace: "n", KeepData: true,
		Speculative: &speculative, RejectionCache: 1, Consumed: "all", Client: "sdk", PoolConnections: 9,
	}
	cmd := (&app{}).benchmarkCommand()
	if err := cmd.ParseFlags(config.BenchmarkArgs()[2:]); err != nil {
		t.Error(err)
	}
	if cmd.Flags().NArg() != 0 {
		t.Errorf("arguments that are no options: %q", cmd.Flags().Args())
	}
}

func TestCoresOfAFunction(t *testing.T) {
	for memory, want := range map[int]int{128: 1, 1769: 1, 1770: 2, 3538: 2, 10240: 6} {
		if got := coresOf(memory); got != want {
			t.Errorf("%d MB: %d cores, want %d", memory, got, want)
		}
	}
}
