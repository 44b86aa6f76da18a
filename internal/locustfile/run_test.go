package locustfile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.starlark.net/starlark"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func bindMemory(t testing.TB, f *File) {
	t.Helper()
	l, err := limiter.New(memstore.New(), limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		t.Fatal(err)
	}
	f.Bind(loadclient.New(l))
}

// run runs a file on the in-memory limiter until its users stop the test.
func run(t testing.TB, f *File, config loadtest.Config) (*stats.Snapshot, *loadtest.Runner, error) {
	t.Helper()
	bindMemory(t, f)
	config.Classes, config.Events = f.Classes(), f.Events()
	if config.Users == 0 && config.Shape == nil {
		config.Users = 1
	}
	config.SpawnRate = 1e6
	if config.Duration == 0 {
		config.Duration = 30 * time.Second
	}
	runner, err := loadtest.NewRunner(config)
	if err != nil {
		t.Fatal(err)
	}
	snapshot, err := runner.Run(t.Context())
	return snapshot, runner, err
}

// rows lists type, name and count of the entries.
func rows(s *stats.Snapshot) string {
	var out []string
	for _, e := range s.Entries {
		out = append(out, fmt.Sprintf("%s %s %d", e.Type, e.Name, e.Requests))
	}
	slices.Sort(out)
	return strings.Join(out, "; ")
}

func TestTaskSetsRunUntilTheyAreInterrupted(t *testing.T) {
	f := mustLoad(t, `
def step(name):
    def run(user):
        record("STEP", name)
        user.env.state("order", "").add(name)
    return run

def leave(user):
    user.env.state("order", "").add("!")
    user.interrupt()

def end(user):
    print(user.env.state("order").get())
    user.stop_test("done")

X = user_class(sequential([step("a"), sequential([step("b"), step("c"), leave]), step("d"), end]))
`)
	var out bytes.Buffer
	f.stderr = &out
	_, runner, err := run(t, f, loadtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != "abc!d" {
		t.Errorf("order: got %q, want abc!d", got)
	}
	if reason, _ := runner.Ended(); reason != "done" {
		t.Errorf("reason: got %q, want done", reason)
	}
}

func TestAUserThatStopsIsNotReplaced(t *testing.T) {
	f := mustLoad(t, `
def t(user):
    record("STEP", "once")
    if user.env.state("n", 0).add(1) == 5:
        user.env.stop_test("all did")
    user.stop()

X = user_class(t)
`)
	s, _, err := run(t, f, loadtest.Config{Users: 5})
	if err != nil || rows(s) != "STEP once 5" {
		t.Errorf("got %v, %v; want five iterations", rows(s), err)
	}
}

func TestAFailingTaskIsCountedAndTheUserGoesOn(t *testing.T) {
	f := mustLoad(t, `
def fails(user):
    x = 1 // 0

def call_fails(user):
    user.client.acquire("no#id", "api", {"rpm": 1}, limits=[Limit.per_minute("rpm", 1)])

def end(user):
    user.stop_test("end")

X = user_class(sequential([fails, call_fails, end]))
`)
	s, _, err := run(t, f, loadtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if rows(s) != "ACQUIRE api 1" {
		t.Errorf("entries: got %s", rows(s))
	}
	if len(s.TaskErrors) != 1 || !strings.HasPrefix(s.TaskErrors[0].Text, "chunk.star:3:11: in fails:") {
		t.Errorf("task errors: got %+v, want the division only, with its place", s.TaskErrors)
	}
	if len(s.Errors) != 1 || !strings.HasPrefix(s.Errors[0].Text, "ValidationError:") {
		t.Errorf("errors: got %+v", s.Errors)
	}
}

func TestOneAcquireTakesOfSeveralResources(t *testing.T) {
	f := mustLoad(t, `
def start(env):
    env.client.set_resource_defaults("search", [Limit.per_minute("rpm", 10)])
    env.client.set_resource_defaults("budget", [Limit.per_minute("usd", 3)], cascade=False)

on_test_start = start

def t(user):
    for i in range(4):
        lease = user.client.acquire("e", "search", {"rpm": 1}, also={"budget": {"usd": 1}})
        if not lease.granted:
            print(lease.exceeded[0].limit, user.client.available("e", "search"), user.client.available("e", "budget"))
        else:
            lease.close()
    user.stop_test("done")

def bad(user):
    user.client.acquire("e", "search", {"rpm": 1}, also=["budget"])

X = user_class(sequential([bad, t]))
`)
	var out bytes.Buffer
	f.stderr = &out
	s, _, err := run(t, f, loadtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.TrimSpace(out.String()); got != `usd {"rpm": 7} {"usd": 0}` {
		t.Errorf("got %q: a refused acquire must leave the other resource as it was", got)
	}
	if got := rows(s); got != "ACQUIRE search 4; AVAILABLE budget 1; AVAILABLE search 1; RATE_LIMITED search 1" {
		t.Errorf("rows: %s", got)
	}
	if len(s.TaskErrors) != 0 || len(s.Errors) != 1 || s.Errors[0].Name != "search" || !strings.Contains(s.Errors[0].Text, "also must be a map") || !strings.HasSuffix(s.Errors[0].Text, "(chunk.star:18:24 in bad)") {
		t.Errorf("an argument of the wrong type is a failure of the call's row, with its place: %+v, task errors %+v", s.Errors, s.TaskErrors)
	}
}

func TestAFailingStartEndsTheUser(t *testing.T) {
	f := mustLoad(t, `
def start(user):
    user.env.stop_test("started")
    fail("no start")

def t(user):
    record("STEP", "never")

X = user_class(t, on_start=start)
`)
	s, _, err := run(t, f, loadtest.Config{})
	if err != nil || rows(s) != "" {
		t.Errorf("got %s, %v; want no iteration", rows(s), err)
	}
}

func TestAFailureInTestStartEndsTheRun(t *testing.T) {
	f := mustLoad(t, `
def inner():
    fail("not today")

def on_test_start(env):
    inner()

def t(user):
    record("STEP", "never")

X = user_class(t)
`)
	s, _, err := run(t, f, loadtest.Config{})
	var located *Error
	if s != nil || !errors.As(err, &located) || located.Line != 3 || located.Function != "inner" {
		t.Fatalf("got %v, %v; want the place of the failure", s, err)
	}
	if !strings.Contains(located.Stack, "in on_test_start") {
		t.Errorf("stack: got %q", located.Stack)
	}
}

func TestSetupCallsAreCountedApart(t *testing.T) {
	f := mustLoad(t, `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 100)])

def t(user):
    user.client.acquire("e", "api", {"rpm": 1})
    user.stop_test("end")

X = user_class(t)
`)
	s, _, err := run(t, f, loadtest.Config{})
	if err != nil {
		t.Fatal(err)
	}
	if rows(s) != "ACQUIRE api 1" || len(s.Setup) != 1 || s.Setup[0].Type != "SET_SYSTEM_DEFAULTS" {
		t.Errorf("got %s and setup %+v", rows(s), s.Setup)
	}
}

// sequences returns the numbers that each of a number of users draws.
func sequences(t *testing.T, seed uint64, cores int) string {
	f := mustLoad(t, `
def t(user):
    drawn = [user.random.hex(4), random.randint(0, 1000000), user.random.zipf(100, 1.2)]
    user.env.state("seen", {}) # made once
    user.env.log("drawn", index=user.index, values=drawn)
    if user.env.state("n", 0).add(1) == 8:
        user.env.stop_test("all")
    user.stop()

X = user_class(t)
`)
	var mu sync.Mutex
	var lines []string
	logger := slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		lines = append(lines, string(p))
		return len(p), nil
	}), &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	if _, _, err := run(t, f, loadtest.Config{Users: 8, Seed: seed, Cores: cores, Logger: logger}); err != nil {
		t.Fatal(err)
	}
	slices.Sort(lines)
	return strings.Join(lines, "")
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestAUsersRandomNumbersDependOnSeedAndIndexOnly(t *testing.T) {
	one := sequences(t, 1, 1)
	if strings.Count(one, "drawn") != 8*2-8 {
		t.Fatalf("got %s", one)
	}
	if four := sequences(t, 1, 4); four != one {
		t.Errorf("on four cores:\n%s\nwant as on one:\n%s", four, one)
	}
	if other := sequences(t, 2, 1); other == one {
		t.Error("another seed gave the same numbers")
	}
}

// cutOff runs a file whose only user hangs, and ends the run.
func cutOff(t *testing.T, source string) *stats.Snapshot {
	t.Helper()
	f := mustLoad(t, source)
	bindMemory(t, f)
	entered := make(chan struct{})
	var once sync.Once
	f.stderr = writerFunc(func(p []byte) (int, error) {
		once.Do(func() { close(entered) })
		return len(p), nil
	})
	runner, err := loadtest.NewRunner(loadtest.Config{Classes: f.Classes(), Events: f.Events(), Users: 1, SpawnRate: 10})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { <-entered; cancel() }()
	s, err := runner.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestAnEndlessLoopIsInterrupted(t *testing.T) {
	for name, body := range map[string]string{
		"a loop":            "    while True:\n        pass\n",
		"a loop of attempt": "    while True:\n        attempt(lambda: fail(\"x\"))\n",
		"a sleep":           "    sleep(1000)\n",
		"a recursion":       "    def f():\n        for i in range(10):\n            f() if i > 100 else None\n        f2()\n    def f2():\n        while True:\n            [x for x in range(1000)]\n    f()\n",
	} {
		t.Run(name, func(t *testing.T) {
			s := cutOff(t, "def t(user):\n    print(\"in\")\n"+body+"\nX = user_class(t)\n")
			if len(s.Warnings) > 0 {
				t.Errorf("warnings %v; want a user that ends", s.Warnings)
			}
			if len(s.TaskErrors) > 0 {
				t.Errorf("task errors: got %+v, want none for a user that was stopped", s.TaskErrors)
			}
		})
	}
}

func TestACallThatIsCutOffIsAFailureOfItsRow(t *testing.T) {
	f := mustLoad(t, `
def slow(user):
    print("in")
    with_timer("STEP", "slow", lambda: sleep(1000))

X = user_class(slow)
`)
	bindMemory(t, f)
	entered := make(chan struct{})
	var once sync.Once
	f.stderr = writerFunc(func(p []byte) (int, error) { once.Do(func() { close(entered) }); return len(p), nil })
	runner, err := loadtest.NewRunner(loadtest.Config{Classes: f.Classes(), Users: 1, SpawnRate: 1})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-entered; cancel() }()
	s, err := runner.Run(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.Errors) != 1 || s.Errors[0].Text != loadclient.Interrupted || s.Errors[0].Type != "STEP" {
		t.Errorf("errors: got %+v, want STEP interrupted", s.Errors)
	}
}

func shapeOf(t *testing.T, source string) loadtest.Shape {
	t.Helper()
	shapes := mustLoad(t, oneClass+source).Shapes()
	if len(shapes) == 0 {
		t.Fatal("no shape")
	}
	return shapes[0].Shape
}

func TestShapes(t *testing.T) {
	tick := shapeOf(t, `
def tick(shape):
    if shape.run_time >= 60:
        return None
    if shape.p95_ms > 100 or shape.rps < 5:
        return shape.user_count - 1, 0.5, [X]
    return 10 + int(shape.run_time), 2

S = load_shape(tick, use_common_options=True)
`)
	for _, c := range []struct {
		state loadtest.ShapeState
		want  string
	}{
		{loadtest.ShapeState{RunTime: 3500 * time.Millisecond, RPS: 9}, "{13 2 []} true"},
		{loadtest.ShapeState{RunTime: time.Second, RPS: 9, P95: 101 * time.Millisecond, Users: 7}, "{6 0.5 [X]} true"},
		{loadtest.ShapeState{RunTime: time.Minute}, "{0 0 []} false"},
	} {
		step, ok, err := tick.Tick(c.state)
		if got := fmt.Sprint(step, ok); got != c.want || err != nil {
			t.Errorf("%+v: got %s, %v; want %s", c.state, got, err, c.want)
		}
	}
	stages := shapeOf(t, "S = stages([(10, 5, 1), (20, 50, 2.5)])\n")
	for at, want := range map[time.Duration]string{
		0: "{5 1 []} true", 9999 * time.Millisecond: "{5 1 []} true", 10 * time.Second: "{50 2.5 []} true",
		29 * time.Second: "{50 2.5 []} true", 30 * time.Second: "{0 0 []} false",
	} {
		step, ok, err := stages.Tick(loadtest.ShapeState{RunTime: at})
		if got := fmt.Sprint(step, ok); got != want || err != nil {
			t.Errorf("at %v: got %s, %v; want %s", at, got, err, want)
		}
	}
}

func TestWrongTicksNameTheirFunction(t *testing.T) {
	for body, want := range map[string]string{
		"    return 3":                  "want \\(users, spawn_rate\\)",
		"    return \"a\", 1":           "number of users",
		"    return 1, 0":               "a spawn rate above 0",
		"    return -1, 1":              "number of users",
		"    return 1, 1, [3]":          "list of user classes",
		"    return 1, 1, [\"None\"]":   "list of user classes",
		"    return 1 // 0, 1":          "division by zero",
		"    while True:\n        pass": "an answer at once",
	} {
		shape := shapeOf(t, "\ndef tick(shape):\n"+body+"\n\nS = load_shape(tick)\n")
		_, _, err := shape.Tick(loadtest.ShapeState{})
		var located *Error
		if !errors.As(err, &located) || located.Line == 0 || located.Function != "tick" {
			t.Errorf("%q: got %v, want a place in tick", body, err)
			continue
		}
		if !strings.Contains(err.Error(), strings.ReplaceAll(want, "\\", "")) {
			t.Errorf("%q: got %v, want %s", body, err, want)
		}
	}
}

func TestWaitFunctions(t *testing.T) {
	f := mustLoad(t, `
def wait(user):
    if user.env.state("n", 0).add(1) == 4:
        user.env.state("all").set(True)
    return [0.01, -1, "x", float("inf")][user.index]

def t(user):
    if user.env.state("all").get():
        user.env.stop_test("end")

X = user_class(t, wait_time=wait)
`)
	s, _, err := run(t, f, loadtest.Config{Users: 4, StopTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	if len(s.TaskErrors) != 3 {
		t.Errorf("task errors: got %+v, want one for each wrong wait", s.TaskErrors)
	}
	for _, e := range s.TaskErrors {
		if !strings.HasPrefix(e.Text, "chunk.star:2:1: in wait: returned") {
			t.Errorf("got %q, want the place of the function", e.Text)
		}
	}
}

func TestUsersShareFrozenGlobalsWithoutRaces(t *testing.T) {
	f := mustLoad(t, `
table = {"a": [1, 2, 3], "b": {"c": (4, 5)}}

def t(user):
    total = 0
    for name, values in table.items():
        total += len(values)
    for v in table["a"]:
        total += v
    user.total = total
    if user.env.state("n", 0).add(1) >= 2000:
        user.env.stop_test("end")

X = user_class(t)
`)
	if _, _, err := run(t, f, loadtest.Config{Users: 8, Cores: 2}); err != nil {
		t.Fatal(err)
	}
}

func TestAnEndlessListenerDoesNotHoldTheRun(t *testing.T) {
	f := mustLoad(t, `
def on_spawning_complete(env, user_count):
    env.stop_test("spawned %d" % user_count)
    while True:
        pass

def t(user):
    sleep(0.001)

X = user_class(t)
`)
	s, runner, err := run(t, f, loadtest.Config{Users: 3})
	if err != nil {
		t.Fatal(err)
	}
	if reason, _ := runner.Ended(); reason != "spawned 3" {
		t.Errorf("reason: got %q", reason)
	}
	if len(s.Warnings) != 1 || !strings.HasPrefix(s.Warnings[0], "on_spawning_complete: ") {
		t.Errorf("warnings: got %v, want one that names the listener", s.Warnings)
	}
}

// A built-in that cannot be interrupted holds neither a listener nor a tick for ever.
func TestWhatIgnoresTheInterruptIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		deaf := starlark.NewBuiltin("deaf", func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
			<-release
			return starlark.None, nil
		})
		shape := &scriptShape{file: mustLoad(t, oneClass), tick: deaf}
		begun := time.Now()
		_, _, err := shape.Tick(loadtest.ShapeState{})
		if took := time.Since(begun); took != maxTick+abandonAfter || err == nil || !strings.Contains(err.Error(), "in deaf: returned nothing for 1s") {
			t.Errorf("got %v after %v", err, took)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		s := shape.file.sessions.fresh()
		s.ctx = ctx
		if _, err := s.await(deaf, nil); err == nil || !strings.Contains(err.Error(), "in deaf: did not stop and was abandoned") {
			t.Errorf("got %v", err)
		}
		close(release)
	})
}

// TestTicksDrawFromTheRunsRandomNumbers: equal seeds give equal shapes.
func TestTicksDrawFromTheRunsRandomNumbers(t *testing.T) {
	source := `
def tick(shape):
    return (random.randint(1, 1000000), 1)
S = load_shape(tick)
U = user_class(lambda user: None)
`
	series := func(seed uint64) (users []int) {
		f := mustLoad(t, source)
		for range 3 {
			step, ok, err := f.Shapes()[0].Shape.Tick(loadtest.ShapeState{Seed: seed})
			if err != nil || !ok {
				t.Fatalf("%v %v", ok, err)
			}
			users = append(users, step.Users)
		}
		return users
	}
	first, again, other := series(7), series(7), series(8)
	if !slices.Equal(first, again) || slices.Equal(first, other) {
		t.Errorf("seed 7 gives %v and %v, seed 8 %v", first, again, other)
	}
	if first[0] == first[1] && first[1] == first[2] {
		t.Errorf("every tick draws the same: %v", first)
	}
}

func TestCallsWithWrongArgumentsAreFailuresOfTheirRows(t *testing.T) {
	f := mustLoad(t, `
def t(user):
    c = user.client
    for method, args, kwargs in [
        (c.acquire, [5, "api", {"rpm": 1}], {}),
        (c.acquire, ["e", 5, {"rpm": 1}], {}),
        (c.acquire, ["e", "api", 3], {"name": "mine"}),
        (c.acquire, [], {"entity_id": "e", "resource": "api"}),
        (c.set_limits, ["e", 3, "gpt"], {}),
        (c.get_limits, [3], {}),
        (c.create_entity, [5], {"name": "n"}),
        (c.is_available, [], {"timeout": 0}),
        (c.get_resource_defaults, ["gpt", "row", 3], {}),
        (c.set_system_defaults, [3], {}),
    ]:
        got = attempt(method, *args, **kwargs)
        if got.ok or got.error_type != "ValidationError":
            fail(got)
    user.stop_test("done")
X = user_class(t)
`)
	s, _, err := run(t, f, loadtest.Config{})
	if err != nil || len(s.TaskErrors) > 0 {
		t.Fatal(err, s.TaskErrors)
	}
	const want = "ACQUIRE api 2; ACQUIRE mine 1; ACQUIRE unknown 1; CREATE_ENTITY entity 1; GET_LIMITS _default_ 1; GET_RESOURCE_DEFAULTS gpt 1; " +
		"IS_AVAILABLE system 1; SET_LIMITS gpt 1; SET_SYSTEM_DEFAULTS system 1"
	if got := rows(s); got != want {
		t.Errorf("rows:\ngot  %s\nwant %s", got, want)
	}
	if s.Total.Failures != 10 {
		t.Errorf("%d failures, want 10", s.Total.Failures)
	}
	for _, e := range s.Errors {
		if !strings.HasPrefix(e.Text, "ValidationError: ") || !strings.HasSuffix(e.Text, "(chunk.star:16:22 in t)") {
			t.Errorf("%q lacks its place", e.Text)
		}
	}
}
