package loadtest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// call is a task that takes a time and counts as a call.
func call(took time.Duration) TaskFunc {
	return func(ctx context.Context, u *User) error {
		start := time.Now()
		err := u.Sleep(ctx, took)
		s := stats.Sample{Type: "CALL", Name: u.ClassName(), Start: start, Duration: time.Since(start)}
		if err != nil {
			s.Err = err.Error()
		}
		u.Record(s)
		return err
	}
}

func run(t *testing.T, config Config) (*stats.Snapshot, *Runner) {
	t.Helper()
	r, err := NewRunner(config)
	if err != nil {
		t.Fatal(err)
	}
	s, err := r.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestARunCountsWhatItsUsersDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(100 * time.Millisecond)}}, WaitTime: Constant(400 * time.Millisecond)}
		s, r := run(t, Config{Classes: []*UserClass{class}, Users: 10, SpawnRate: 10, Duration: 9950 * time.Millisecond, StopTimeout: time.Second})
		if s.Total.Requests != 200 || s.Total.Failures != 0 {
			t.Errorf("%d requests, %d failures, want 200 and 0", s.Total.Requests, s.Total.Failures)
		}
		if got := s.Total.Hist.Quantile(0.5); got != 100*time.Millisecond {
			t.Errorf("p50 %v", got)
		}
		if ratio := s.Coverage.Ratio(); ratio < 0.999 || math.Abs(s.Coverage.PlannedUserSeconds-99.5) > 0.1 {
			t.Errorf("coverage %v of %v planned user seconds", ratio, s.Coverage.PlannedUserSeconds)
		}
		if s.PeakUsers != 10 || s.Users != 0 || len(s.Series) != 10 {
			t.Errorf("peak %d, users %d at the end, %d seconds", s.PeakUsers, s.Users, len(s.Series))
		}
		if reason, ended := r.Ended(); ended != nil || reason != "" {
			t.Errorf("ended for %v %q", ended, reason)
		}
	})
}

func TestOnWarmIsCalledWhenTheWarmUpHasPassed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(100 * time.Millisecond)}}}
		begun := time.Now()
		warm := make(chan time.Duration, 2)
		config := Config{
			Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: 3 * time.Second,
			Warmup: 1500 * time.Millisecond, OnWarm: func() { warm <- time.Since(begun) },
		}
		run(t, config)
		if after := <-warm; after != 1500*time.Millisecond {
			t.Errorf("called after %v, want 1.5s", after)
		}
		config.Warmup = 0
		run(t, config)
		if len(warm) != 0 {
			t.Error("called twice, or without a warm-up")
		}
	})
}

func TestUsersStartAtTheSpawnRate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		starts := map[int64]time.Duration{}
		begun := time.Now()
		class := &UserClass{Name: "A", WaitTime: Constant(time.Hour), Tasks: []Task{{Run: func(context.Context, *User) error { return nil }}},
			OnStart: func(_ context.Context, u *User) error {
				mu.Lock()
				defer mu.Unlock()
				starts[u.Index()] = time.Since(begun)
				return nil
			}}
		run(t, Config{Classes: []*UserClass{class}, Users: 5, SpawnRate: 0.5, Duration: 20 * time.Second})
		for i := range 5 {
			if want := time.Duration(i) * 2 * time.Second; starts[int64(i)] != want {
				t.Errorf("user %d started after %v, want %v", i, starts[int64(i)], want)
			}
		}
	})
}

func TestConstantPacingKeepsThePeriod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		durations := []time.Duration{300 * time.Millisecond, 1400 * time.Millisecond, 200 * time.Millisecond}
		var waits []time.Duration
		var ended time.Time
		turn := 0
		class := &UserClass{Name: "A", WaitTime: ConstantPacing(time.Second), Tasks: []Task{{Run: func(ctx context.Context, u *User) error {
			if turn > 0 {
				waits = append(waits, time.Since(ended))
			}
			if turn == len(durations) {
				return ErrStopUser
			}
			_ = u.Sleep(ctx, durations[turn])
			ended = time.Now()
			turn++
			return nil
		}}}}
		run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: 10 * time.Second})
		want := []time.Duration{700 * time.Millisecond, 0, 800 * time.Millisecond}
		if diff := cmp.Diff(want, waits); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// The first period begins when the user is made, so that it includes the start.
func TestPacingIncludesTheStart(t *testing.T) {
	for _, wait := range []WaitTime{ConstantPacing(time.Second), ConstantThroughput(1)} {
		got := trace(t, 2500*time.Millisecond, func(log func(string) TaskFunc) *UserClass {
			start := func(ctx context.Context, u *User) error { return u.Sleep(ctx, 400*time.Millisecond) }
			return &UserClass{OnStart: start, WaitTime: wait, Tasks: []Task{{Run: log("t")}}}
		})
		if want := "400ms t; 1s t; 2s t"; got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestWaitsFollowTheirDistributions(t *testing.T) {
	const n = 100_000
	s, _ := benchSwarm(t, 1)
	u := newUser(s, benchClass(&UserClass{Name: "A", Tasks: []Task{{Run: call(0)}}}), 0)
	for _, test := range []struct {
		name            string
		wait            WaitTime
		mean, deviation float64 // seconds
		least, most     time.Duration
	}{
		{"between", Between(time.Second, 3*time.Second), 2, 2 / math.Sqrt(12), time.Second, 3*time.Second - 1},
		{"poisson", Poisson(4), 0.25, 0.25, 0, time.Hour},
		{"constant", Constant(time.Second), 1, 0, time.Second, time.Second},
		{"a rate near zero", ConstantThroughput(1e-15), math.MaxInt64 / 2 / 1e9, 1, time.Hour, math.MaxInt64},
	} {
		sum := 0.0
		for range n {
			wait, err := test.wait.Wait(t.Context(), u)
			if err != nil || wait < test.least || wait > test.most {
				t.Fatalf("%s: %v, %v; want between %v and %v", test.name, wait, err, test.least, test.most)
			}
			sum += wait.Seconds()
			u.pacedAt, u.paced = s.now(), 0
		}
		if mean := sum / n; math.Abs(mean-test.mean) > 4*test.deviation/math.Sqrt(n)+1e-9*test.mean {
			t.Errorf("%s: mean %v s, want %v", test.name, mean, test.mean)
		}
	}
}

// trace runs one user of a class for a time and returns what it logged.
func trace(t *testing.T, d time.Duration, build func(log func(string) TaskFunc) *UserClass) string {
	var lines []string
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		log := func(line string) TaskFunc {
			return func(_ context.Context, u *User) error {
				lines = append(lines, fmt.Sprintf("%v %s", time.Since(begun), line))
				if line == "stop" {
					return ErrStopUser
				}
				if strings.HasPrefix(line, "interrupt") {
					return Interrupt(strings.HasSuffix(line, "now"))
				}
				if line == "fail" {
					return errors.New("failure")
				}
				return nil
			}
		}
		class := build(log)
		class.Name = "A"
		run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: d})
	})
	return strings.Join(lines, "; ")
}

func TestSequentialTasksCycle(t *testing.T) {
	got := trace(t, 4500*time.Millisecond, func(log func(string) TaskFunc) *UserClass {
		return &UserClass{Sequential: true, WaitTime: Constant(time.Second), OnStart: log("hello"), OnStop: log("bye"),
			Tasks: []Task{{Run: log("a")}, {Run: log("fail")}, {Run: log("c"), Weight: 2}}}
	})
	want := "0s hello; 0s a; 1s fail; 2s c; 3s c; 4s a; 4.5s bye"
	if got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestATaskSetRunsUntilItIsInterrupted(t *testing.T) {
	for _, test := range []struct{ interrupt, want string }{
		{"interrupt now", "0s first; 1s enter; 1s in; 2s interrupt now; 2s leave; 2s first; 3s enter; 3s in"},
		{"interrupt later", "0s first; 1s enter; 1s in; 2s interrupt later; 2s leave; 3s first; 4s enter"},
	} {
		got := trace(t, 3500*time.Millisecond, func(log func(string) TaskFunc) *UserClass {
			inner := &TaskSet{Name: "inner", Sequential: true, OnStart: log("enter"), OnStop: log("leave"),
				Tasks: []Task{{Run: log("in")}, {Run: log(test.interrupt)}}}
			return &UserClass{Sequential: true, WaitTime: Constant(time.Second),
				Tasks: []Task{{Run: log("first")}, {Set: inner}}}
		})
		if !strings.HasPrefix(got, test.want[:strings.LastIndex(test.want, ";")]) {
			t.Errorf("%s: %s, want %s", test.interrupt, got, test.want)
		}
	}
}

func TestAUserStoppedInATaskSetLeavesItFirst(t *testing.T) {
	got := trace(t, 1500*time.Millisecond, func(log func(string) TaskFunc) *UserClass {
		inner := &TaskSet{Name: "inner", WaitTime: Constant(time.Second), OnStop: log("leave"), Tasks: []Task{{Run: log("in")}}}
		return &UserClass{WaitTime: Constant(time.Second), OnStop: log("bye"), Tasks: []Task{{Set: inner}}}
	})
	if want := "0s in; 1s in; 1.5s leave; 1.5s bye"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestWeightsDecideHowOftenATaskRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b atomic.Int64
		count := func(n *atomic.Int64) TaskFunc {
			return func(context.Context, *User) error { n.Add(1); return nil }
		}
		class := &UserClass{Name: "A", WaitTime: Constant(time.Millisecond), Tasks: []Task{{Run: count(&a), Weight: 3}, {Run: count(&b)}}}
		run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: 10 * time.Second, Seed: 1})
		share := float64(a.Load()) / float64(a.Load()+b.Load())
		if math.Abs(share-0.75) > 0.03 {
			t.Errorf("share %v, want 0.75", share)
		}
	})
}

func TestTaskErrorsAreNoRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(time.Second), Tasks: []Task{{Name: "t", Run: func(_ context.Context, u *User) error {
			if u.Rand().IntN(2) == 0 {
				panic("boom")
			}
			return errors.New("bad luck")
		}}}}
		s, _ := run(t, Config{Classes: []*UserClass{class}, Users: 4, SpawnRate: 10, Duration: 9500 * time.Millisecond})
		if s.Total.Requests != 0 || len(s.TaskErrors) != 2 {
			t.Fatalf("%d requests, task errors %+v", s.Total.Requests, s.TaskErrors)
		}
		panicked := s.TaskErrors[1]
		if panicked.Text != "panic: boom" || panicked.Name != "A.t" || !strings.Contains(panicked.Traceback, "TestTaskErrors") {
			t.Errorf("panic was kept as %+v", panicked)
		}
		if n := s.TaskErrors[0].Occurrences + panicked.Occurrences; n != 40 {
			t.Errorf("%d task errors, want 40", n)
		}
	})
}

func TestAUserWhoseStartFailsLeavesThePlan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(time.Second), Tasks: []Task{{Run: call(0)}},
			OnStart: func(_ context.Context, u *User) error {
				if u.Index() == 0 {
					return errors.New("no entity")
				}
				return nil
			}}
		s, _ := run(t, Config{Classes: []*UserClass{class}, Users: 2, SpawnRate: 2, Duration: 4500 * time.Millisecond})
		if s.PeakUsers > 2 || s.Coverage.Ratio() < 0.99 || s.Total.Requests != 5 {
			t.Errorf("peak %d coverage %v requests %d", s.PeakUsers, s.Coverage.Ratio(), s.Total.Requests)
		}
		if len(s.TaskErrors) != 1 || s.TaskErrors[0].Name != "A.on_start" {
			t.Errorf("task errors %+v", s.TaskErrors)
		}
	})
}

func TestAUserWhoseStartFailsHasNoStop(t *testing.T) {
	for _, test := range []struct {
		name string
		err  error
		stop bool
	}{
		{"failure", errors.New("no entity"), false},
		{"stop of the user", ErrStopUser, true},
		{"stop of the test", StopTest("enough"), true},
	} {
		synctest.Test(t, func(t *testing.T) {
			stopped := false
			class := &UserClass{Name: "A", Tasks: []Task{{Run: call(0)}},
				OnStart: func(context.Context, *User) error { return test.err },
				OnStop:  func(context.Context, *User) error { stopped = true; return nil }}
			s, _ := run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Second})
			if stopped != test.stop || s.Total.Requests != 0 || (len(s.TaskErrors) == 1) == test.stop {
				t.Errorf("%s in on_start: on_stop ran: %v; %d requests, task errors %+v", test.name, stopped, s.Total.Requests, s.TaskErrors)
			}
		})
	}
}

func TestAUserCutOffInItsStartIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(0)}}, OnStart: func(ctx context.Context, u *User) error { return u.Sleep(ctx, time.Hour) }}
		s, _ := run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Second, StopTimeout: time.Second})
		if len(s.TaskErrors) != 0 || len(s.Warnings) != 0 {
			t.Errorf("task errors %+v, warnings %q", s.TaskErrors, s.Warnings)
		}
	})
}

// A ramp down whose users take long to stop holds neither the shape nor the end of the run.
func TestSlowStopsDoNotHoldTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(time.Second), Tasks: []Task{{Run: call(0)}},
			OnStop: func(ctx context.Context, u *User) error { return u.Sleep(ctx, time.Hour) }}
		shape := Stages(Stage{Duration: 2 * time.Second, Users: 10, SpawnRate: 10}, Stage{Duration: 2 * time.Second, Users: 2, SpawnRate: 10})
		begun := time.Now()
		s, _ := run(t, Config{Classes: []*UserClass{class}, Shape: shape, StopTimeout: 10 * time.Second})
		// Four seconds, then the stop timeout of the last two.
		if took := time.Since(begun).Round(time.Second); took != 14*time.Second || len(s.Warnings) != 0 {
			t.Errorf("the run took %v, want 14s; warnings %q", took, s.Warnings)
		}
	})
}

func TestKillCutsUsersThatAreLeaving(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(time.Hour)}}}
		r, err := NewRunner(Config{Classes: []*UserClass{class}, StopTimeout: time.Hour, Shape: Stages(
			Stage{Duration: time.Second, Users: 3, SpawnRate: 3}, Stage{Duration: time.Hour, Users: 1, SpawnRate: 3})})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(5*time.Second, r.Kill)
		begun := time.Now()
		s, _ := r.Run(t.Context())
		if took := time.Since(begun); took != 5*time.Second || s.Total.Failures != 3 || s.Users != 0 {
			t.Errorf("the run took %v with %d interrupted calls, %d users left", took, s.Total.Failures, s.Users)
		}
	})
}

func TestStopIsGracefulUntilTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var stopped atomic.Int64
		class := func(name string, took time.Duration) *UserClass {
			return &UserClass{Name: name, Tasks: []Task{{Run: call(took)}},
				OnStop: func(ctx context.Context, u *User) error {
					if ctx.Err() != nil {
						t.Error("on_stop has a context that has ended")
					}
					stopped.Add(1)
					return nil
				}}
		}
		begun := time.Now()
		s, _ := run(t, Config{Classes: []*UserClass{class("Short", 3*time.Second), class("Long", time.Hour)},
			Users: 2, SpawnRate: 2, Duration: 4 * time.Second, StopTimeout: 5 * time.Second})
		if took := time.Since(begun); took != 9*time.Second {
			t.Errorf("the run took %v, want 9s", took)
		}
		if s.Total.Requests != 3 || s.Total.Failures != 1 || s.Errors[0].Text != ErrInterrupted.Error() {
			t.Errorf("%d requests, errors %+v", s.Total.Requests, s.Errors)
		}
		if stopped.Load() != 2 || len(s.TaskErrors) != 0 {
			t.Errorf("%d users ran on_stop, task errors %+v", stopped.Load(), s.TaskErrors)
		}
	})
}

func TestAUserThatIgnoresEverythingIsAbandoned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		class := &UserClass{Name: "Deaf", Tasks: []Task{{Run: func(context.Context, *User) error { <-release; return ErrStopUser }}}}
		begun := time.Now()
		s, _ := run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Second, StopTimeout: 2 * time.Second})
		if took := time.Since(begun); took != 4*time.Second {
			t.Errorf("the run took %v, want 4s", took)
		}
		if len(s.Warnings) != 1 || !strings.Contains(s.Warnings[0], "Deaf (user 0)") {
			t.Errorf("warnings %q", s.Warnings)
		}
		close(release)
	})
}

func TestTheEndOfTheContextDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(time.Second)}}}
		ctx, cancel := context.WithCancelCause(t.Context())
		cause := errors.New("signal")
		time.AfterFunc(2500*time.Millisecond, func() { cancel(cause) })
		var undone bool
		r, err := NewRunner(Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: 10 * time.Second, StopTimeout: 5 * time.Second,
			Events: Events{TestStop: func(ctx context.Context, _ *Env) error { undone = ctx.Err() == nil; return nil }}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Run(ctx)
		if err != nil || s.Total.Requests != 3 || s.Total.Failures != 0 {
			t.Errorf("error %v, %d requests, %d failures, want 3 and 0", err, s.Total.Requests, s.Total.Failures)
		}
		if _, ended := r.Ended(); ended != cause || !undone {
			t.Errorf("ended for %v; on_test_stop ran with a living context: %v", ended, undone)
		}
		if ratio := s.Coverage.Ratio(); math.Abs(ratio-0.25) > 0.01 {
			t.Errorf("coverage %v of a run that was cut at a quarter", ratio)
		}
	})
}

func TestKillDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(time.Hour)}}}
		r, err := NewRunner(Config{Classes: []*UserClass{class}, Users: 3, SpawnRate: 3, Duration: time.Hour, StopTimeout: time.Hour})
		if err != nil {
			t.Fatal(err)
		}
		time.AfterFunc(2*time.Second, r.Kill)
		begun := time.Now()
		s, _ := r.Run(t.Context())
		if took := time.Since(begun); took != 2*time.Second || s.Total.Failures != 3 {
			t.Errorf("the run took %v with %d interrupted calls", took, s.Total.Failures)
		}
	})
}

func TestStopTestEndsTheRunWithItsReason(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(time.Second), Tasks: []Task{{Run: func(_ context.Context, u *User) error {
			if u.Env().RunTime() >= 3*time.Second {
				return StopTest("enough")
			}
			return nil
		}}}}
		s, r := run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Hour})
		if reason, ended := r.Ended(); ended != nil || reason != "enough" || s.Elapsed() > 4*time.Second {
			t.Errorf("ended for %v %q after %v", ended, reason, s.Elapsed())
		}
	})
}

func TestATargetOutOfReachEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(100 * time.Millisecond), Tasks: []Task{{Run: func(_ context.Context, u *User) error {
			s := stats.Sample{Type: "T", Name: "n", Start: time.Now()}
			if u.Env().RunTime() > 5*time.Second {
				s.Err, s.Unreachable = "connection refused", true
			}
			u.Record(s)
			return nil
		}}}}
		s, r := run(t, Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Minute, Unreachable: 10 * time.Second})
		if _, ended := r.Ended(); ended != ErrUnreachable || s.Elapsed() > 20*time.Second || s.Elapsed() < 15*time.Second {
			t.Errorf("ended for %v after %v", ended, s.Elapsed())
		}
		if left := time.Minute - s.Coverage.CutShort - s.Elapsed(); left.Abs() > time.Millisecond {
			t.Errorf("cut short by %v after %v of a minute", s.Coverage.CutShort, s.Elapsed())
		}
		if s.Coverage.Ratio() > 0.5 {
			t.Errorf("coverage %v", s.Coverage.Ratio())
		}
	})
}

func TestListenersRunInOrderAndAFailureEndsTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []string
		listener := func(name string, err error) func(context.Context, *Env) error {
			return func(_ context.Context, env *Env) error {
				order = append(order, name)
				if name == "test start" {
					_ = env.Share("parent", "org-1")
				}
				return err
			}
		}
		class := &UserClass{Name: "A", WaitTime: Constant(time.Hour), Tasks: []Task{{Run: func(_ context.Context, u *User) error {
			parent, _ := u.Env().Shared("parent")
			order = append(order, fmt.Sprint("task of ", parent))
			if err := u.Env().Share("late", 1); !errors.Is(err, ErrSharedSealed) {
				t.Errorf("sharing from a user: %v", err)
			}
			return nil
		}}}}
		config := Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Duration: time.Second, Events: Events{
			TestStart: listener("test start", nil), WorkerStart: listener("worker start", nil),
			WorkerStop: listener("worker stop", nil), TestStop: listener("test stop", nil),
		}}
		run(t, config)
		want := "test start, worker start, task of org-1, worker stop, test stop"
		if got := strings.Join(order, ", "); got != want {
			t.Errorf("%s, want %s", got, want)
		}

		order = nil
		config.Events.TestStart = listener("test start", errors.New("no table"))
		r, _ := NewRunner(config)
		s, err := r.Run(t.Context())
		var event *EventError
		if s != nil || !errors.As(err, &event) || event.Event != "on_test_start" {
			t.Errorf("snapshot %v, error %v", s, err)
		}
		if got := strings.Join(order, ", "); got != "test start, test stop" {
			t.Errorf("after a failing start: %s", got)
		}
	})
}

func TestShapesLeadTheRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(time.Hour), Tasks: []Task{{Run: func(context.Context, *User) error { return nil }}}}
		s, _ := run(t, Config{Classes: []*UserClass{class}, StopTimeout: time.Second, Shape: Stages(
			Stage{Duration: 5 * time.Second, Users: 10, SpawnRate: 100},
			Stage{Duration: 5 * time.Second, Users: 3, SpawnRate: 100},
		)})
		users := make([]int, len(s.Series))
		for i, second := range s.Series {
			users[i] = second.Users
		}
		want := []int{10, 10, 10, 10, 10, 3, 3, 3, 3, 3}
		if diff := cmp.Diff(want, users); diff != "" {
			t.Errorf("users a second (-want +got):\n%s", diff)
		}
	})
}

type failingShape struct{}

func (failingShape) Tick(s ShapeState) (ShapeStep, bool, error) {
	if s.RunTime > 2*time.Second {
		return ShapeStep{}, false, errors.New("no idea")
	}
	return ShapeStep{Users: 1, SpawnRate: 1}, true, nil
}

func TestAListenerMayStopTheTestBeforeItsUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: call(0)}}}
		s, r := run(t, Config{Classes: []*UserClass{class}, Users: 3, SpawnRate: 3, Events: Events{
			TestStart: func(_ context.Context, env *Env) error { env.StopTest("nothing to do"); return nil }}})
		if reason, ended := r.Ended(); s.PeakUsers != 0 || reason != "nothing to do" || ended != nil {
			t.Errorf("%d users ran, ended for %q, %v", s.PeakUsers, reason, ended)
		}
	})
}

func TestAFailingShapeEndsTheRunWithAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", WaitTime: Constant(700 * time.Millisecond), Tasks: []Task{{Run: call(0)}}}
		r, err := NewRunner(Config{Classes: []*UserClass{class}, Shape: failingShape{}})
		if err != nil {
			t.Fatal(err)
		}
		s, err := r.Run(t.Context())
		var event *EventError
		if !errors.As(err, &event) || err.Error() != "load shape: no idea" || s == nil || s.Total.Requests != 5 {
			t.Errorf("error %v, snapshot %+v; want the shape's error and what was measured", err, s)
		}
	})
}

func TestStagesAtTheirBorders(t *testing.T) {
	shape := Stages(Stage{Duration: 10 * time.Second, Users: 1, SpawnRate: 1}, Stage{Duration: 5 * time.Second, Users: 2, SpawnRate: 1})
	for at, want := range map[time.Duration]int{0: 1, 9999 * time.Millisecond: 1, 10 * time.Second: 2, 14999 * time.Millisecond: 2, 15 * time.Second: -1} {
		step, ok, _ := shape.Tick(ShapeState{RunTime: at})
		if got := step.Users; ok != (want >= 0) || ok && got != want {
			t.Errorf("at %v: %d users, ok %v, want %d", at, got, ok, want)
		}
	}
}

func TestRandomNumbersDependOnSeedAndIndexOnly(t *testing.T) {
	draws := func(cores int) map[int64]uint64 {
		var mu sync.Mutex
		drawn := map[int64]uint64{}
		synctest.Test(t, func(t *testing.T) {
			class := &UserClass{Name: "A", WaitTime: Constant(time.Hour), Tasks: []Task{{Run: func(_ context.Context, u *User) error {
				mu.Lock()
				defer mu.Unlock()
				drawn[u.Index()] = u.Rand().Uint64()
				return nil
			}}}}
			run(t, Config{Classes: []*UserClass{class}, Users: 20, SpawnRate: 100, Duration: time.Second, Seed: 42, Cores: cores})
		})
		return drawn
	}
	one, four := draws(1), draws(4)
	if !maps.Equal(one, four) {
		t.Error("random numbers depend on the number of cores")
	}
	if values := slices.Compact(slices.Sorted(maps.Values(one))); len(values) != 20 {
		t.Errorf("%d of 20 users have numbers of their own", len(values))
	}
}

func TestTheHostOfTheRunComesFirst(t *testing.T) {
	for _, test := range []struct{ run, class, want string }{{"", "", ""}, {"", "class", "class"}, {"run", "", "run"}, {"run", "class", "run"}} {
		synctest.Test(t, func(t *testing.T) {
			host := "none"
			class := &UserClass{Name: "A", Host: test.class, Tasks: []Task{{Run: func(_ context.Context, u *User) error { host = u.Host(); return ErrStopUser }}}}
			run(t, Config{Classes: []*UserClass{class}, Host: test.run, Users: 1, SpawnRate: 1, Duration: time.Second})
			if host != test.want {
				t.Errorf("run %q, class %q: got %q, want %q", test.run, test.class, host, test.want)
			}
		})
	}
}

func TestTagsSelectTasks(t *testing.T) {
	class := &UserClass{Name: "A", Tasks: []Task{
		{Name: "a", Tags: []string{"x"}, Run: call(0)},
		{Name: "b", Tags: []string{"y"}, Run: call(0)},
		{Name: "set", Tags: []string{"x"}, Set: &TaskSet{Tasks: []Task{{Name: "c", Run: call(0)}, {Name: "d", Tags: []string{"y"}, Run: call(0)}}}},
	}}
	for _, test := range []struct {
		tags, exclude []string
		want          string
	}{
		{nil, nil, "a b set(c d)"},
		{[]string{"x"}, nil, "a set(c d)"},
		{[]string{"y"}, nil, "b set(d)"},
		{nil, []string{"y"}, "a set(c)"},
		{[]string{"x"}, []string{"y"}, "a set(c)"},
	} {
		compiled, ok := compile(class, test.tags, test.exclude)
		if !ok || namesOf(compiled.root) != test.want {
			t.Errorf("tags %v without %v: %s, want %s", test.tags, test.exclude, namesOf(compiled.root), test.want)
		}
	}
	if _, ok := compile(class, []string{"z"}, nil); ok {
		t.Error("a class without a task is kept")
	}
}

func TestWithTags(t *testing.T) {
	classes := []*UserClass{
		{Name: "A", Tasks: []Task{{Name: "a", Tags: []string{"x"}, Run: call(0)}, {Name: "b", Run: call(0)}}},
		{Name: "B", Tasks: []Task{{Name: "c", Run: call(0)}}},
	}
	if got := WithTags(classes, nil, nil); len(got) != 2 || len(got[0].Tasks) != 2 {
		t.Errorf("without tags %d classes are left, want both with all tasks", len(got))
	}
	got := WithTags(classes, []string{"x"}, nil)
	if len(got) != 1 || got[0].Name != "A" || len(got[0].Tasks) != 1 || got[0].Tasks[0].Name != "a" {
		t.Errorf("with x %v is left, want A with a", got)
	}
	if len(classes[0].Tasks) != 2 {
		t.Error("the class that was given was changed")
	}
}

func TestTagsThatLeaveNoTaskAreRefused(t *testing.T) {
	class := &UserClass{Name: "A", Tasks: []Task{{Name: "a", Run: call(0)}}}
	_, err := NewRunner(Config{Classes: []*UserClass{class}, Users: 1, SpawnRate: 1, Tags: []string{"z"}})
	if err == nil || !strings.Contains(err.Error(), "tags leave no task") {
		t.Errorf("err = %v, want one about the tags", err)
	}
}

func namesOf(s *taskSet) string {
	var names []string
	for _, t := range s.picks {
		name := t.name
		if t.set != nil {
			name += "(" + namesOf(t.set) + ")"
		}
		names = append(names, name)
	}
	return strings.Join(names, " ")
}

func TestBadConfigurationsAreRefusedWithEveryReason(t *testing.T) {
	task := []Task{{Run: call(0)}}
	for _, test := range []struct {
		config Config
		want   []string
	}{
		{Config{Users: 0, SpawnRate: 0, Classes: []*UserClass{{Name: "A", Tasks: task}}}, []string{"users must be", "spawn rate must be"}},
		{Config{Users: 1, SpawnRate: 1}, []string{"no user class"}},
		{Config{Users: 1, SpawnRate: 1, Classes: []*UserClass{{Name: "A", Tasks: task}}, ClassNames: []string{"B"}}, []string{`no user class "B"; there are: A`}},
		{Config{Users: 1, SpawnRate: 1, Classes: []*UserClass{{Name: "A", Weight: -1}}}, []string{"weight -1", "has no task"}},
		{Config{Users: 1, SpawnRate: math.NaN(), Classes: []*UserClass{{Name: "A", Tasks: task}, {Name: "A", Tasks: task}}}, []string{"spawn rate", "two user classes"}},
	} {
		_, err := NewRunner(test.config)
		for _, want := range test.want {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("error %v, want it to contain %q", err, want)
			}
		}
	}
}

// TestTheSeriesSaysWhenUsersHadStopped: users that finish a task of 300 ms are gone in the second in which
// the shape sent them away, not in the next one.
func TestTheSeriesSaysWhenUsersHadStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		class := &UserClass{Name: "A", Tasks: []Task{{Run: func(ctx context.Context, u *User) error {
			return u.Sleep(ctx, 300*time.Millisecond)
		}}}}
		shape := Stages(Stage{Duration: 2 * time.Second, Users: 5, SpawnRate: 10}, Stage{Duration: 2 * time.Second, Users: 1, SpawnRate: 10})
		s, _ := run(t, Config{Classes: []*UserClass{class}, Shape: shape, StopTimeout: time.Second})
		var users []int
		for _, second := range s.Series[:4] {
			users = append(users, second.Users)
		}
		if want := []int{5, 5, 1, 1}; !slices.Equal(users, want) {
			t.Errorf("users by second %v, want %v", users, want)
		}
	})
}
