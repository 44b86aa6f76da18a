//go:build interop

package locust_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// Workers of Locust on our master: numbers 1 to 22.

// calm are users that make few calls.
const calm = `
class A(Counted):
    @task
    def a(self):
        self.fire("/a", 12.3)

class B(Counted):
    @task
    def b(self):
        self.fire("/b", 5)
`

func TestLocust01AWorkerStartedBeforeItsMaster(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		port := freePort(t)
		w := startWorker(t, python, port, calm, "CONNECT_TIMEOUT=0.5")
		w.awaits("out", "client_ready", 3)
		o := startOursOn(t, listen(t, "127.0.0.1:"+port), master.Config{})
		o.workers(1)
		until(t, "an ack for every client_ready", func() string { return fmt.Sprint(w.trace()) }, func() bool {
			asked := len(w.passed("out", "client_ready"))
			return asked >= 3 && len(w.passed("in", "ack")) == asked
		})
		if n := len(o.Workers()); n != 1 {
			t.Errorf("%d workers", n)
		}
	})
}

func TestLocust02IndexesAreKept(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{Classes: classes(&loadtest.UserClass{Name: "A"}, &loadtest.UserClass{Name: "B"})})
		first := startWorker(t, python, o.port, calm)
		o.workers(1)
		second := startWorker(t, python, o.port, calm)
		o.workers(2)
		o.begin(master.Plan{Users: 2, SpawnRate: 10})
		o.running(2)
		o.end()
		for want, w := range []*locust{first, second} {
			for _, ack := range w.awaits("in", "ack", 2) {
				var data struct{ Index int }
				ack.decode(t, &data)
				if data.Index != want {
					t.Errorf("worker %d has index %d", want, data.Index)
				}
			}
		}
	})
}

func TestLocust03AWorkerThatFetchesItsLocustfile(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		var strange atomic.Int64
		o := startOurs(t, master.Config{
			Files: func() ([]wire.LocustfileSource, error) {
				return []wire.LocustfileSource{{Filename: "given.py", Contents: prelude + calm}}, nil
			},
		})
		startWorker(t, python, o.port, "", "LOCUST_LOCUSTFILE=-")
		o.until("the worker with its classes", func() bool {
			for _, w := range o.Workers() {
				if strings.Contains(w.ID, "locustfile") {
					strange.Add(1)
				}
			}
			return o.able() == 1 && len(o.Classes()) == 2
		})
		o.begin(master.Plan{Users: 2, SpawnRate: 10})
		o.running(2)
		o.end()
		if strange.Load() != 0 {
			t.Error("the identity that only asked for the file was shown as a worker")
		}
	})
}

const plainPython = `
from locust import User, constant, task

class A(User):
    wait_time = constant(0.1)
    @task
    def a(self):
        self.environment.events.request.fire(
            request_type="CALL", name="/a", response_time=1.5, response_length=3, exception=None, context={})
`

// The program gives its Python file, which its own workers of Locust run, to others that ask.
func TestLocust03OurProgramGivesItsPythonFile(t *testing.T) {
	t.Parallel()
	command := filepath.Join(filepath.Dir(newest(t)), "locust")
	m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "given.py", plainPython), "--locust-command", command, "--locust-workers", "1")
	startLocust(t, older(t), "", nil, "--worker", "--master-host", "127.0.0.1", "--master-port", m.port, "-f", "-")
	r := untilRequests(t, m.web, "both workers", func(r *requests) bool { return len(r.Workers) == 2 })
	for _, w := range r.Workers {
		if strings.Contains(w.ID, "locustfile") {
			t.Errorf("a worker that only asked: %s", w.ID)
		}
	}
	swarm(t, m.web, 4, 100)
	r = untilRequests(t, m.web, "four users", func(r *requests) bool { return r.UserCount == 4 && r.State == "running" })
	for _, w := range r.Workers {
		if w.Users != 2 {
			t.Errorf("worker %+v", w)
		}
	}
	m.signal(syscall.SIGTERM)
	if code := m.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// steps returns what each spawn told a worker, in text.
func (l *locust) steps() []string {
	var list []string
	for _, e := range l.passed("in", "spawn") {
		users := e.users(l.t)
		var parts []string
		for _, class := range slices.Sorted(maps.Keys(users)) {
			if users[class] > 0 {
				parts = append(parts, fmt.Sprintf("%s%d", class, users[class]))
			}
		}
		list = append(list, strings.Join(parts, ""))
	}
	return list
}

func (l *locust) id() string {
	l.t.Helper()
	return l.awaits("out", "client_ready", 1)[0].Node
}

func byID(workers ...*locust) []*locust {
	slices.SortFunc(workers, func(a, b *locust) int { return strings.Compare(a.id(), b.id()) })
	return workers
}

func timestamps(t *testing.T, spawns []entry) []float64 {
	t.Helper()
	var list []float64
	for _, e := range spawns {
		var data struct{ Timestamp float64 }
		e.decode(t, &data)
		list = append(list, data.Timestamp)
	}
	return list
}

func TestLocust04StepsOfARamp(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{Classes: classes(&loadtest.UserClass{Name: "A", Weight: 5}, &loadtest.UserClass{Name: "B", Weight: 1})})
		one, two := startWorker(t, python, o.port, calm), startWorker(t, python, o.port, calm)
		o.workers(2)
		o.begin(master.Plan{Users: 10, SpawnRate: 2.5})
		o.running(10)
		for i, w := range byID(one, two) {
			want := [][]string{{"A1", "A1B1", "A2B1", "A3B1", "A3B2"}, {"A1", "A2", "A3", "A4", "A5"}}[i]
			w.awaits("in", "spawn", 5)
			if got := w.steps(); !slices.Equal(got, want) {
				t.Errorf("worker %d was told %v, want %v", i+1, got, want)
			}
			told := timestamps(t, w.passed("in", "spawn"))
			for j := range told {
				if after := told[j] - told[0]; after < 0.8*float64(j)-0.05 {
					t.Errorf("worker %d: step %d came after %.2f s, want %.1f", i+1, j+1, after, 0.8*float64(j))
				}
			}
			// What it runs is what it was told.
			var data struct {
				Users map[string]int `json:"user_classes_count"`
			}
			done := w.passed("out", "spawning_complete")
			done[len(done)-1].decode(t, &data)
			last := w.passed("in", "spawn")[4].users(t)
			if !maps.Equal(data.Users, last) {
				t.Errorf("worker %d runs %v, was told %v", i+1, data.Users, last)
			}
		}
		o.end()
	})
}

func TestLocust05SpawnTimestampsIncrease(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		file := writeFile(t, "calm.star", starFile)
		m := startOurProgram(t, "127.0.0.1:0", "-f", file)
		w := startWorker(t, python, m.port, calm)
		for round := range 2 {
			if round == 1 {
				// Another master at the same address.
				m.kill()
				m = startOurProgram(t, "127.0.0.1:"+m.port, "-f", file)
			}
			for range 2 {
				untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
				for _, users := range []int{4, 0, 1, 2, 3} {
					swarm(t, m.web, users, 1000)
				}
				untilRequests(t, m.web, "three users", func(r *requests) bool { return r.UserCount == 3 && r.State == "running" })
				getText(t, m.web+"/stop")
			}
		}
		told := timestamps(t, w.passed("in", "spawn"))
		if len(told) < 8 {
			t.Errorf("%d messages", len(told))
		}
		for i := 1; i < len(told); i++ {
			if told[i] <= told[i-1] {
				t.Errorf("spawn %d: %v after %v", i, told[i], told[i-1])
			}
		}
		if strings.Contains(w.output(), "Discard spawn message") {
			t.Error("the worker dropped a message")
		}
	})
}

const threeClasses = calm + `
class F(Counted):
    fixed_count = 2
    @task
    def f(self):
        self.fire("/f", 1)

A.weight, B.weight = 3, 1
`

// dispatch lets Locust's own dispatcher, with two workers, follow targets and prints the totals.
const dispatch = `
import json, sys, time
from locust import User
from locust.dispatch import UsersDispatcher
from locust.runners import WorkerNode
class A(User): weight = 3
class B(User): weight = 1
class F(User): fixed_count = 2
workers = [WorkerNode("host_a"), WorkerNode("host_b")]
for w in workers:
    w.state = "ready"
d = UsersDispatcher(workers, [A, B, F])
d._wait_between_dispatch = 0
totals = []
for users in json.loads(sys.argv[1]):
    d.new_dispatch(users, 1000)
    last = None
    for step in d:
        last = step
    totals.append({c: sum(w[c] for w in last.values()) for c in ("A", "B", "F")})
print(json.dumps(totals))
`

func TestLocust06WeightsAndFixedCountsEndAsUnderLocust(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		targets := []int{8, 1, 4, 20, 7}
		text, _ := json.Marshal(targets)
		out, err := exec.Command(python, "-c", dispatch, string(text)).Output()
		if err != nil {
			t.Fatal(err)
		}
		var want []map[string]int
		if err := json.Unmarshal(out, &want); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		o := startOurs(t, master.Config{Classes: classes(
			&loadtest.UserClass{Name: "A", Weight: 3}, &loadtest.UserClass{Name: "B", Weight: 1}, &loadtest.UserClass{Name: "F", FixedCount: 2},
		)})
		startWorker(t, python, o.port, threeClasses)
		startWorker(t, python, o.port, threeClasses)
		o.workers(2)
		for i, users := range targets {
			o.begin(master.Plan{Users: users, SpawnRate: 1000})
			o.running(users)
			if got := o.Users(); got["A"] != want[i]["A"] || got["B"] != want[i]["B"] || got["F"] != want[i]["F"] {
				t.Errorf("after %v users: %v, Locust %v", targets[:i+1], got, want[i])
			}
		}
		o.end()
	})
}

const busy = `
class A(Counted):
    @task
    def work(self):
        counts["begun"] += 1
        time.sleep(2)
        counts["ended"] += 1
        self.fire("/work", 2000)
`

func TestLocust07BusyUsersFinishTheirTask(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{StopTimeout: 4 * time.Second})
		w := startWorker(t, python, o.port, busy)
		o.knows("A")
		o.begin(master.Plan{Users: 6, SpawnRate: 1000})
		o.running(6)
		o.begin(master.Plan{Users: 1, SpawnRate: 1000})
		told := w.awaits("in", "spawn", 2)[1]
		o.until("the reduced count", func() bool { return o.total() == 1 })
		done := w.awaits("out", "spawning_complete", 2)[1]
		if done.At < told.At {
			t.Errorf("told at %v, done at %v", told.At, done.At)
		}
		o.running(1)
		o.end()
		o.stop()
		c := w.counted()
		if c.Begun != c.Ended || c.Begun < 6 || c.Requests != c.Ended {
			t.Errorf("%d tasks begun, %d ended, %d requests", c.Begun, c.Ended, c.Requests)
		}
		outcome, _ := o.Outcome()
		if got := outcome.Snapshot.Total.Requests; got != c.Requests {
			t.Errorf("%d requests counted, users made %d", got, c.Requests)
		}
	})
}

func TestLocust08AStopDuringARamp(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{})
		w := startWorker(t, python, o.port, calm)
		o.knows("A", "B")
		o.begin(master.Plan{Users: 100, SpawnRate: 2})
		w.awaits("in", "spawn", 2)
		o.end()
		if o.State() != master.StateStopped || o.total() != 0 {
			t.Errorf("state %s, %d users", o.State(), o.total())
		}
		w.awaits("out", "client_ready", 2)
		o.workers(1)
		w.awaits("out", "stats", len(w.passed("out", "stats"))+1) // a ramp of 2 a second would have gone on
		stopped := false
		for _, e := range w.trace() {
			switch {
			case e.Dir == "in" && e.Type == "stop":
				stopped = true
			case e.Dir == "in" && e.Type == "spawn" && stopped:
				t.Errorf("a spawn after the stop: %s", e.Data)
			}
		}
		if !stopped {
			t.Error("the worker was not told to stop")
		}
	})
}

func TestLocust09AStopWithATimeout(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{StopTimeout: 4 * time.Second})
		w := startWorker(t, python, o.port, calm)
		o.knows("A", "B")
		o.begin(master.Plan{Users: 2, SpawnRate: 10})
		o.running(2)
		stopped := make(chan master.Outcome, 1)
		go func() { stopped <- o.end() }()
		w.awaits("out", "client_stopped", 1)
		o.until("the worker to be gone", func() bool { return o.able() == 0 })
		<-stopped
		// In the gap: a start waits for the worker and is no error.
		o.begin(master.Plan{Users: 3, SpawnRate: 10})
		gone := w.passed("out", "client_stopped")[0].At
		back := w.awaits("out", "client_ready", 2)[1].At
		if back-gone < 3.9 {
			t.Errorf("back after %.2f s, want 4", back-gone)
		}
		o.running(3)
		o.end()
	})
}

func TestLocust10AWorkerThatIsKilled(t *testing.T) {
	t.Parallel()
	o := startOurs(t, master.Config{Classes: classes(&loadtest.UserClass{Name: "A"}, &loadtest.UserClass{Name: "B"})})
	dead, other := startWorker(t, newest(t), o.port, calm), startWorker(t, newest(t), o.port, calm)
	o.workers(2)
	o.begin(master.Plan{Users: 6, SpawnRate: 1000})
	o.running(6)
	heard := time.Now()
	dead.kill()
	o.until("the worker to be missing", func() bool {
		return slices.ContainsFunc(o.Workers(), func(w master.Worker) bool { return w.State == master.StateMissing })
	})
	missing := time.Since(heard)
	o.until("the worker to be forgotten", func() bool { return len(o.Workers()) == 1 })
	if forgotten := time.Since(heard); forgotten < 55*time.Second || missing > 6*time.Second {
		t.Errorf("missing after %v, forgotten after %v", missing, forgotten)
	}
	o.until("all users on the other one", func() bool { return o.total() == 6 })
	before := 0
	for _, e := range other.passed("in", "spawn") {
		users := 0
		for _, n := range e.users(t) {
			users += n
		}
		if users < before {
			t.Errorf("the other worker dropped from %d to %d users", before, users)
		}
		before = users
	}
	if steps := other.steps(); len(steps) > 3 {
		t.Errorf("the other worker climbed again: %v", steps)
	}
	o.end()
}

func TestLocust11AFrozenWorkerHeals(t *testing.T) {
	for name, rebalance := range map[string]bool{"without rebalancing": false, "with rebalancing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOurs(t, master.Config{Classes: classes(&loadtest.UserClass{Name: "A"}, &loadtest.UserClass{Name: "B"}), Rebalance: rebalance})
			frozen, other := startWorker(t, newest(t), o.port, calm), startWorker(t, newest(t), o.port, calm)
			o.workers(2)
			o.begin(master.Plan{Users: 6, SpawnRate: 1000})
			o.running(6)
			frozen.signal(syscall.SIGSTOP)
			o.until("the worker to be missing", func() bool { return o.able() == 1 })
			thaw := time.Now().Add(6 * time.Second) // ten seconds in all
			o.until("ten seconds", func() bool { return time.Now().After(thaw) })
			frozen.signal(syscall.SIGCONT)
			o.workers(2)
			o.until("the target", func() bool { return o.total() == 6 })
			// Still the target after both have reported once more, and in what they run themselves.
			reports := len(frozen.passed("out", "stats"))
			frozen.awaits("out", "stats", reports+3)
			o.running(6)
			sum := 0
			for _, w := range []*locust{frozen, other} {
				all := w.passed("out", "stats")
				for _, n := range all[len(all)-1].users(t) {
					sum += n
				}
			}
			if sum != 6 {
				t.Errorf("%d users run, want 6", sum)
			}
			o.end()
		})
	}
}

func TestLocust12WorkersThatJoinLater(t *testing.T) {
	for name, rebalance := range map[string]bool{"without rebalancing": false, "with rebalancing": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := startOurs(t, master.Config{Rebalance: rebalance})
			startWorker(t, newest(t), o.port, calm)
			o.knows("A", "B")
			o.begin(master.Plan{Users: 6, SpawnRate: 1000})
			o.running(6)
			second := startWorker(t, newest(t), o.port, calm)
			o.workers(2)
			if rebalance {
				o.until("three users each", func() bool { return users(o, second.id()) == 3 && o.total() == 6 })
			}
			third := startWorker(t, newest(t), o.port, calm)
			o.workers(3)
			if rebalance {
				o.until("two users each", func() bool { return users(o, third.id()) == 2 && users(o, second.id()) == 2 && o.total() == 6 })
			} else {
				third.awaits("out", "stats", 2)
				if a, b := users(o, second.id()), users(o, third.id()); a != b || o.total() != 6 {
					t.Errorf("the second runs %d users, the third %d, all %d", a, b, o.total())
				}
			}
			o.end()
		})
	}
}

func users(o *ours, id string) int {
	for _, w := range o.Workers() {
		if w.ID == id {
			return w.Users
		}
	}
	return -1
}

func TestLocust13TheLastWorkerQuits(t *testing.T) {
	t.Parallel()
	o := startOurs(t, master.Config{})
	w := startWorker(t, newest(t), o.port, calm)
	o.knows("A", "B")
	o.begin(master.Plan{Users: 2, SpawnRate: 10})
	o.running(2)
	w.signal(syscall.SIGTERM)
	o.until("the end of the run", func() bool { return o.State() == master.StateStopped })
	outcome, _ := o.Outcome()
	if !errors.Is(outcome.Err, master.ErrWorkersLost) {
		t.Errorf("ended with %v", outcome.Err)
	}
	// On a signal, Locust's workers keep what they have not reported yet.
	if c := w.counted(); outcome.Snapshot.Total.Requests > c.Requests {
		t.Errorf("%d requests counted, users made %d", outcome.Snapshot.Total.Requests, c.Requests)
	}
}

// starFile has the classes of calm for our own program.
const starFile = `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 1000000000)])

def acquire(user):
    user.client.acquire("user-" + user.id, "api", {"rpm": 1})

A = user_class(acquire, wait_time = constant(0.1))
B = user_class(acquire, wait_time = constant(0.1))
`

func TestLocust13HeadlessExitsWithTheRightCode(t *testing.T) {
	t.Parallel()
	file := writeFile(t, "calm.star", starFile)
	for name, test := range map[string]struct {
		locustfile string
		signal     bool
		code       int
	}{
		"the run ends":         {calm, false, 0},
		"the last worker ends": {calm, true, 5}, // what was measured is not what was planned
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := startProgram(t, "load", "master", "-f", file, "--bind", "127.0.0.1:0", "--headless", "--users", "2", "--spawn-rate", "10", "--run-time", "8")
			p.says("Workers join at ")
			w := startWorker(t, newest(t), portOf(p), test.locustfile)
			if test.signal {
				w.awaits("out", "spawning_complete", 1)
				w.signal(syscall.SIGTERM)
			}
			code := p.exit()
			// On a busy machine Locust's worker starts its users so late that the run is partial, which is right.
			late := code == 5 && regexp.MustCompile(`Verdict: +partial — only [0-9.]+% of the planned user seconds were delivered\n`).MatchString(p.output())
			if code != test.code && !late {
				t.Errorf("exit code %d, want %d", code, test.code)
			}
			w.exit()
		})
	}
}

// portOf is where workers join one of our masters.
func portOf(p *process) string {
	_, rest, _ := strings.Cut(p.output(), "Workers join at ")
	line, _, _ := strings.Cut(rest, "\n")
	return line[strings.LastIndex(line, ":")+1:]
}

func TestLocust15WhatAWorkerReportsAtItsEndCounts(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{})
		leaving := startWorker(t, python, o.port, calm)
		o.knows("A", "B")
		staying := startWorker(t, python, o.port, calm)
		o.workers(2)
		o.begin(master.Plan{Users: 8, SpawnRate: 1000})
		o.running(8)
		leaving.awaits("out", "stats", 3)
		// One is told to quit, the other one later by the master's end.
		if err := o.QuitWorkers([]string{leaving.id()}); err != nil {
			t.Fatal(err)
		}
		a := leaving.counted()
		o.workers(1)
		o.stop()
		<-o.done
		b := staying.counted()
		outcome, _ := o.Outcome()
		if got := outcome.Snapshot.Total.Requests; got != a.Requests+b.Requests || a.Requests == 0 || b.Requests == 0 {
			t.Errorf("%d requests counted, users made %d and %d", got, a.Requests, b.Requests)
		}
	})
}

const talking = calm + `
@events.init.add_listener
def listen(environment, **_):
    def ping(environment, msg, **kwargs):
        at = msg.data["at"]
        environment.runner.send_message("pong", {
            "is": type(at).__name__, "at": at, "later": datetime.datetime(2026, 8, 22, 1, 2, 3, 456), "numbers": {1: 2.5}})
    environment.runner.register_message("ping", ping)
    environment.runner.send_message("listening")
`

func TestLocust17CustomMessages(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		got := make(chan wire.Message, 10)
		o := startOurs(t, master.Config{OnMessage: func(_ string, m wire.Message) { got <- m }})
		w := startWorker(t, python, o.port, talking)
		o.workers(1)
		// A worker is ready before its locustfile's listeners have run.
		select {
		case m := <-got:
			if m.Type != "listening" {
				t.Fatalf("got %+v", m)
			}
		case <-time.After(patience):
			t.Fatal("it does not listen")
		}
		sent := time.Date(2026, 11, 5, 6, 7, 8, 9000, time.UTC)
		for _, to := range []string{w.id(), ""} {
			if err := o.Send(to, "ping", map[string]any{"at": sent}); err != nil {
				t.Fatal(err)
			}
			select {
			case m := <-got:
				data, _ := m.Data.(map[string]any)
				at, _ := data["at"].(time.Time)
				later, _ := data["later"].(time.Time)
				numbers, _ := data["numbers"].(map[any]any)
				if m.Type != "pong" || data["is"] != "datetime" || !at.Equal(sent) || !later.Equal(time.Date(2026, 8, 22, 1, 2, 3, 456000, time.UTC)) || numbers[int64(1)] != 2.5 {
					t.Errorf("got %+v", m)
				}
			case <-time.After(patience):
				t.Fatal("no answer")
			}
		}
	})
}

func TestLocust19AnyVersionRegisters(t *testing.T) {
	t.Parallel()
	o := startOurs(t, master.Config{MissingAfter: patience, ForgottenAfter: 2 * patience}) // they send no heartbeats
	for i, version := range []string{"2.0.0", "99.1.2", ""} {
		p := startPeer(t, o.port, fmt.Sprintf("host_%d", i))
		p.send(wire.TypeClientReady, wire.ClientReady{Version: version})
		p.awaits(wire.TypeAck, 1)
	}
	o.workers(3)
	old := startPeer(t, o.port, "host_old")
	old.send(wire.TypeClientReady, nil)
	// Its next message of another kind has come: so has the one without a version.
	old.send(wire.TypeLocustfile, wire.LocustfileRequest{Version: "x"})
	old.awaits(wire.TypeLocustfile, 1)
	if n := len(o.Workers()); n != 3 || len(old.got(wire.TypeAck)) != 0 {
		t.Errorf("%d workers; the one without a version got %v", n, old.got(wire.TypeAck))
	}
	// It cost nobody an index.
	next := startPeer(t, o.port, "host_next")
	next.send(wire.TypeClientReady, wire.ClientReady{})
	if ack, _ := next.awaits(wire.TypeAck, 1)[0].Data.(wire.Ack); ack.Index != 3 {
		t.Errorf("index %d", ack.Index)
	}
}

// garbage sends what no master should fall over, from a registered worker and from strangers, with
// libzmq; it ends when its registered worker is answered after all of it.
const garbage = `
import sys, time, os
import msgpack, zmq
port = sys.argv[1]
context = zmq.Context()
def dealer(name):
    s = context.socket(zmq.DEALER)
    s.setsockopt(zmq.IDENTITY, name.encode())
    s.connect("tcp://127.0.0.1:" + port)
    return s
pack = msgpack.packb
def bad(name):
    good = pack(["heartbeat", {"state": "ready", "current_cpu_usage": 1.0, "current_memory_usage": 1}, name])
    yield b""
    yield b"hello"
    yield good[:-3]
    yield good + b"trailing"
    yield b"\xff" * 100
    yield b"\xc1"
    yield pack(["heartbeat", None])
    yield pack(["heartbeat", {"state": "ready"}, name])
    yield pack(["heartbeat", {"current_cpu_usage": "x", "state": 5, "current_memory_usage": []}, name])
    yield pack([1, 2, 3])
    yield pack([None, None, None])
    yield pack({"a": 1})
    yield pack("text")
    yield pack(["stats", None, name])
    yield pack(["stats", {"stats": 5, "errors": [], "stats_total": "x"}, name])
    yield pack(["stats", {"stats": [{"name": 1}], "errors": {}, "stats_total": {"num_requests": "many"}, "user_classes_count": {"A": -5}, "user_count": "x"}, name])
    yield pack(["stats", {"stats": [], "errors": {}, "stats_total": {"response_times": {"x": "y"}, "num_requests": 2 ** 63}}, name])
    yield pack(["spawning_complete", None, name])
    yield pack(["spawning_complete", {"user_classes_count": [], "user_count": 1e300}, name])
    yield pack(["exception", {}, name])
    yield pack(["logs", {"worker_id": 5, "logs": "x"}, name])
    yield pack(["client_ready", 5, name])
    yield pack(["client_ready", [], name])
    yield pack(["locustfile", 5, name])
    yield pack(["no such type", {"a": [1] * 1000}, name])
    yield pack(["\ud800".encode("utf-8", "surrogatepass"), None, name])
    yield b"\xdd\xff\xff\xff\xff"
    yield b"\x91" * 100000
    yield pack(["stats", "x" * 12000000, name])
    yield pack(["heartbeat", {"state": "ready", "current_cpu_usage": 1.0, "current_memory_usage": 1}, "somebody else"])
registered = dealer("zmq_registered")
registered.send(pack(["client_ready", "2.47.0", "zmq_registered"]))
assert msgpack.unpackb(registered.recv())[0] == "ack"
strangers = [dealer("zmq_stranger_%d" % i) for i in range(2)]
for s, name in [(registered, "zmq_registered"), (strangers[0], "zmq_stranger_0")]:
    for data in bad(name):
        s.send(data)
strangers[1].send_multipart([b"", b"", b"x"])
strangers[1].send_multipart([b"a"] * 50)
# A message of a gigabyte is announced and never sent.
import socket
for head in [b"\xff\0\0\0\0\0\0\0\1\x7f\3\0NULL" + b"\0" * 48, b"GET / HTTP/1.0\r\n\r\n", b"\0" * 1000]:
    c = socket.create_connection(("127.0.0.1", int(port)))
    c.sendall(head)
    if head[:1] == b"\xff":
        ready = b"\x05READY\x0bSocket-Type\0\0\0\x06DEALER\x08Identity\0\0\0\x05zmq_x"
        c.sendall(b"\x04" + bytes([len(ready)]) + ready)
        time.sleep(0.2)
        c.sendall(b"\x02" + (1 << 30).to_bytes(8, "big") + b"x" * 1000)
registered.send(pack(["client_ready", "2.47.0", "zmq_registered"]))
registered.setsockopt(zmq.RCVTIMEO, 30000)
while msgpack.unpackb(registered.recv())[0] != "ack":
    pass
print("answered")
`

func TestLocust20GarbageHarmsNobodyElse(t *testing.T) {
	t.Parallel()
	o := startOurs(t, master.Config{})
	w := startWorker(t, newest(t), o.port, calm)
	o.knows("A", "B")
	o.begin(master.Plan{Users: 4, SpawnRate: 100})
	o.running(4)
	culprit := start(t, "garbage", nil, newest(t), "-u", "-c", garbage, o.port)
	culprit.says("answered")
	if code := culprit.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	answers := len(w.passed("in", "heartbeat"))
	w.awaits("in", "heartbeat", answers+3)
	if n := users(o, w.id()); n != 4 {
		t.Errorf("the worker runs %d users", n)
	}
	o.end()
	o.stop()
	<-o.done
	c := w.counted()
	s := o.Snapshot()
	got := int64(0)
	for _, e := range s.Entries {
		if e.Name == "/a" || e.Name == "/b" {
			got += e.Requests
		}
	}
	if got != c.Requests {
		t.Errorf("%d requests counted, users made %d", got, c.Requests)
	}
	if len(w.passed("in", "reconnect")) != 0 || strings.Contains(w.output(), "ERROR") {
		t.Error("the worker noticed")
	}
}

const onlyA = `
class A(Counted):
    @task
    def a(self):
        self.fire("/a", 12.3)
`

func TestLocust21ClassesThatAWorkerDoesNotHave(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		o := startOurs(t, master.Config{Rebalance: true})
		small := startWorker(t, python, o.port, onlyA)
		o.knows("A")
		full := startWorker(t, python, o.port, calm)
		o.knows("A", "B")
		o.begin(master.Plan{Users: 6, SpawnRate: 1000})
		o.running(6)
		if err := o.UpdateClass(wire.UpdateUserClass{Class: "B", Attributes: map[string]any{"weight": 5}}); err != nil {
			t.Fatal(err)
		}
		full.awaits("in", "update_user_class", 1)
		o.end()
		o.begin(master.Plan{Users: 4, SpawnRate: 1000, Classes: []string{"A"}})
		o.running(4)
		o.end()
		for _, e := range small.passed("in", "spawn") {
			if _, named := e.users(t)["B"]; named {
				t.Errorf("the worker without B was told %s", e.Data)
			}
		}
		if len(small.passed("in", "update_user_class")) != 0 {
			t.Error("the worker without B was told of its weight")
		}
	})
}

func TestLocust22AThousandWorkers(t *testing.T) {
	t.Parallel()
	var refused atomic.Int64
	o := startOurs(t, master.Config{OnMessage: func(string, wire.Message) { refused.Add(1) }})
	const workers = 1000
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	late := make(chan time.Duration, workers)
	for i := range workers {
		go simulate(ctx, o.port, fmt.Sprintf("host%d_%d", i%50, i), late)
	}
	o.workers(workers)
	worst := time.Duration(0)
	for range workers {
		select {
		case d := <-late:
			worst = max(worst, d)
		case <-time.After(patience):
			t.Fatal("not every worker is answered")
		}
	}
	// A worker is missing after three seconds without a heartbeat: answers have to be quicker.
	if worst > 3*time.Second {
		t.Errorf("the slowest answer to a heartbeat took %v", worst)
	}
	if o.able() != workers {
		t.Errorf("%d workers are left", o.able())
	}
}

// simulate is a worker that beats each second and reports every three, five of them, and tells how
// long the slowest answer to a heartbeat took.
func simulate(ctx context.Context, port, id string, late chan<- time.Duration) {
	d := wire.NewDealer(wire.DealerOptions{Identity: id, Address: "127.0.0.1:" + port, Handshake: patience})
	go func() { _ = d.Run(ctx) }()
	send := func(kind string, data any) { _ = d.Send(&wire.Message{Type: kind, Data: data, NodeID: id}) }
	receive := func(kind string) bool {
		for {
			m, err := d.Receive(ctx)
			if err != nil {
				return false
			}
			if m.Type == kind {
				return true
			}
		}
	}
	send(wire.TypeClientReady, wire.ClientReady{Version: "2.47.0"})
	if !receive(wire.TypeAck) {
		return
	}
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	worst := time.Duration(0)
	row := wire.Row{Name: "/a", Method: "GET", Requests: 60, SumTime: 600, MinTime: 1, MaxTime: 60, Start: wire.Timestamp(time.Now())}
	for i := range int64(60) {
		row.Times = append(row.Times, wire.Count{Key: i, N: 1})
	}
	for beat := 0; ; beat++ {
		if beat%3 == 0 {
			row.LastRequest = wire.Timestamp(time.Now())
			report := &wire.Stats{Total: row, UsersByClass: map[string]int{"A": 0}}
			for i := range 10 {
				one := row
				one.Name = fmt.Sprint("/", i)
				report.Rows = append(report.Rows, one)
			}
			send(wire.TypeStats, report)
		}
		asked := time.Now()
		send(wire.TypeHeartbeat, wire.Heartbeat{State: "ready"})
		if !receive(wire.TypeHeartbeat) {
			return
		}
		worst = max(worst, time.Since(asked))
		if beat == 7 {
			late <- worst
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
