//go:build interop

package locust_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// Our workers on Locust's master, or on a hand-made one where Locust's would not do what is asked for:
// numbers 23 to 34.

// record counts a call as users of Python's classes do.
func record(u *loadtest.User, name string, ms float64, failure string) {
	u.Record(stats.Sample{Type: "CALL", Name: name, Start: time.Now(), Duration: time.Duration(ms * 1e6), Err: failure})
}

// callers are classes whose users make a call every 100 ms and count it.
func callers(calls *atomic.Int64, names ...string) []*loadtest.UserClass {
	var list []*loadtest.UserClass
	for _, name := range names {
		list = append(list, &loadtest.UserClass{
			Name: name, WaitTime: loadtest.Constant(100 * time.Millisecond),
			Tasks: []loadtest.Task{{Name: "call", Run: func(_ context.Context, u *loadtest.User) error {
				record(u, "/"+strings.ToLower(name), 7.25, "")
				calls.Add(1)
				return nil
			}}},
		})
	}
	return list
}

// workers waits until a master of Locust has so many workers.
func (m *locustMaster) workers(n int) {
	m.t.Helper()
	untilRequests(m.t, m.web, fmt.Sprintf("%d workers", n), func(r *requests) bool { return len(r.Workers) == n })
}

func (m *locustMaster) running(users int) {
	m.t.Helper()
	untilRequests(m.t, m.web, fmt.Sprintf("%d users", users), func(r *requests) bool { return r.UserCount == users && r.State == "running" })
}

func TestLocust23TheWorkerRegisters(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python, calm)
		versioned := startPeer(t, m.port, "host_versioned")
		versioned.send(wire.TypeClientReady, wire.ClientReady{Version: "2.47.0"})
		if ack, _ := versioned.awaits(wire.TypeAck, 1)[0].Data.(wire.Ack); ack.Index != 0 {
			t.Errorf("index %d", ack.Index)
		}
		versioned.send(wire.TypeQuit, nil)
		var calls atomic.Int64
		index := make(chan int, 1)
		w := startGoWorker(t, m.port, callers(&calls, "A", "B"), func(c *worker.Config) {
			open := c.Open
			c.Open = func(ctx context.Context, run worker.Run) (*worker.Scenario, error) {
				index <- run.WorkerIndex
				return open(ctx, run)
			}
		})
		until(t, "an ack", m.output, func() bool {
			return slices.ContainsFunc(m.passed("out", "ack"), func(e entry) bool { return e.Node == w.ID() })
		})
		for _, e := range m.passed("in", "client_ready") {
			if e.Node == w.ID() && string(e.Data) != "-1" {
				t.Errorf("registered with %s", e.Data)
			}
		}
		m.workers(1)
		swarm(t, m.web, 1, 1)
		select {
		case i := <-index:
			if i != 1 {
				t.Errorf("the worker took the index %d", i)
			}
		case <-time.After(patience):
			t.Fatal("no run began")
		}
	})
}

func TestLocust24HeartbeatsUnderFullLoad(t *testing.T) {
	t.Parallel()
	m := startMaster(t, newest(t), calm)
	spin := func(_ context.Context, u *loadtest.User) error {
		for begun := time.Now(); time.Since(begun) < 5*time.Millisecond; {
		}
		record(u, "/a", 5, "")
		return nil
	}
	w := startGoWorker(t, m.port, classes(
		&loadtest.UserClass{Name: "A", Tasks: []loadtest.Task{{Name: "spin", Run: spin}}},
		&loadtest.UserClass{Name: "B", Tasks: []loadtest.Task{{Name: "spin", Run: spin}}},
	), nil)
	m.workers(1)
	swarm(t, m.web, 8, 100)
	m.running(8)
	begun := len(m.passed("in", "heartbeat"))
	beats := m.awaits("in", "heartbeat", begun+8)[begun:]
	if span := beats[len(beats)-1].At - beats[0].At; span < 0.7*float64(len(beats)-1) {
		t.Errorf("%d heartbeats in %.1f s", len(beats), span)
	}
	for _, e := range beats {
		var data map[string]any
		e.decode(t, &data)
		state, _ := data["state"].(string)
		_, cpu := data["current_cpu_usage"].(float64)
		memory, _ := data["current_memory_usage"].(float64)
		if e.Node != w.ID() || state != "running" || !cpu || memory <= 0 {
			t.Errorf("heartbeat %s", e.Data)
		}
	}
	if strings.Contains(m.output(), "failed to send heartbeat") {
		t.Error("the worker went missing")
	}
}

func TestLocust25IdleReports(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python, calm)
		var calls atomic.Int64
		startGoWorker(t, m.port, callers(&calls, "A", "B"), nil)
		for i, e := range m.awaits("in", "stats", 3) {
			var data struct {
				Total map[string]any   `json:"stats_total"`
				Rows  []map[string]any `json:"stats"`
				Users map[string]int   `json:"user_classes_count"`
			}
			e.decode(t, &data)
			if data.Total["min_response_time"] != nil || data.Total["last_request_timestamp"] != nil || len(data.Rows) != 0 || len(data.Total) != 14 {
				t.Errorf("idle report %s", e.Data)
			}
			if _, named := data.Users["B"]; !named {
				t.Errorf("the report names no class: %s", e.Data)
			}
			if i > 1 && e.At-m.passed("in", "stats")[i-1].At < 2.5 {
				t.Error("idle reports come too often")
			}
		}
		swarm(t, m.web, 2, 10)
		r := untilRequests(t, m.web, "calls", func(r *requests) bool {
			row := r.row("Aggregated")
			return row != nil && row["num_requests"].(float64) > 5
		})
		if min := r.row("Aggregated")["min_response_time"]; min != 7.0 {
			t.Errorf("the minimum is %v, want 7", min)
		}
	})
}

func TestLocust26ClassesAreEchoed(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python, calm)
		var calls atomic.Int64
		startGoWorker(t, m.port, callers(&calls, "A", "B"), nil)
		m.workers(1)
		swarm(t, m.web, 1, 1)
		users := m.awaits("in", "spawning_complete", 1)[0].users(t)
		if n, named := users["B"]; users["A"] != 1 || !named || n != 0 {
			t.Errorf("after one user: %v", users)
		}
		m.says("All users spawned: {\"A\": 1, \"B\": 0} (1 total users)")
		swarm(t, m.web, 30, 1000)
		m.says("(30 total users)")
		swarm(t, m.web, 0, 1000)
		m.says("(0 total users)")
		if strings.Contains(m.output(), "waittime is expired") {
			t.Error("the master waited in vain for reports")
		}
	})
}

func spawnOf(at, stopTimeout float64, users map[string]int) wire.Spawn {
	return wire.Spawn{Timestamp: at, UsersByClass: users, StopTimeout: stopTimeout, Options: map[string]any{}}
}

func TestLocust27StepsUpAndDown(t *testing.T) {
	t.Parallel()
	p := startPuppet(t, "127.0.0.1:0")
	var calls atomic.Int64
	w := startGoWorker(t, p.port, callers(&calls, "A", "B"), nil)
	p.awaits(wire.TypeClientReady, 1)
	want := func(n, a, b int) {
		t.Helper()
		complete, _ := p.awaits(wire.TypeSpawningComplete, n)[n-1].Message.Data.(wire.SpawningComplete)
		if complete.UsersByClass["A"] != a || complete.UsersByClass["B"] != b || complete.Users != a+b {
			t.Errorf("%d: %+v, want A %d, B %d", n, complete, a, b)
		}
	}
	p.send(w.ID(), wire.TypeSpawn, spawnOf(1, 0, map[string]int{"A": 2, "B": 1}))
	want(1, 2, 1)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(2, 0, map[string]int{"A": 5}))
	want(2, 5, 1)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(2, 0, map[string]int{"A": 9}))
	p.send(w.ID(), wire.TypeSpawn, spawnOf(1.5, 0, map[string]int{"A": 9, "B": 9}))
	p.awaits(wire.TypeSpawning, 4)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(3, 0, map[string]int{"A": 1, "B": 2}))
	want(3, 1, 2)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(4, 0, map[string]int{"A": 0, "B": 0}))
	want(4, 0, 0)
	if n := len(p.got(wire.TypeSpawning)); n != 6 {
		t.Errorf("%d spawns were taken note of, want 6", n)
	}
}

// stubborn users take their time whatever they are told.
func stubborn(d time.Duration) []*loadtest.UserClass {
	return classes(&loadtest.UserClass{Name: "A", Tasks: []loadtest.Task{{Name: "busy", Run: func(_ context.Context, u *loadtest.User) error {
		time.Sleep(d)
		record(u, "/busy", 1, "")
		return nil
	}}}})
}

func TestLocust28NothingIsCompleteAfterAStop(t *testing.T) {
	t.Parallel()
	p := startPuppet(t, "127.0.0.1:0")
	w := startGoWorker(t, p.port, stubborn(2*time.Second), nil)
	p.awaits(wire.TypeClientReady, 1)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(1, 5, map[string]int{"A": 3}))
	p.awaits(wire.TypeSpawningComplete, 1)
	// The users are busy: this takes until they have finished, and the stop comes in between.
	p.send(w.ID(), wire.TypeSpawn, spawnOf(2, 5, map[string]int{"A": 0}))
	p.awaits(wire.TypeSpawning, 2)
	p.send(w.ID(), wire.TypeStop, nil)
	p.awaits("client_stopped", 1)
	p.awaits(wire.TypeClientReady, 2)
	p.awaits(wire.TypeStats, len(p.got(wire.TypeStats))+1)
	stopped := false
	for _, s := range p.all() {
		switch s.Message.Type {
		case wire.TypeClientStopped:
			stopped = true
		case wire.TypeSpawningComplete:
			if stopped {
				t.Error("spawning_complete after client_stopped")
			}
		}
	}
	before := len(p.got(wire.TypeSpawningComplete))
	p.send(w.ID(), wire.TypeSpawn, spawnOf(3, 0, map[string]int{"A": 1}))
	p.awaits(wire.TypeSpawningComplete, before+1)
}

func TestLocust29AfterAStop(t *testing.T) {
	t.Parallel()
	p := startPuppet(t, "127.0.0.1:0")
	var calls atomic.Int64
	w := startGoWorker(t, p.port, callers(&calls, "A"), nil)
	p.awaits(wire.TypeClientReady, 1)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(1, 3, map[string]int{"A": 2}))
	p.awaits(wire.TypeSpawningComplete, 1)
	told := time.Now()
	p.send(w.ID(), wire.TypeStop, nil)
	p.awaits(wire.TypeClientStopped, 1)
	if pause := p.awaits(wire.TypeClientReady, 2)[1].at.Sub(told); pause < 3*time.Second {
		t.Errorf("ready %v after it was told to stop, want 3 s after it had", pause)
	}
	p.send(w.ID(), wire.TypeStop, nil)
	p.awaits(wire.TypeClientStopped, 2)
	p.awaits(wire.TypeClientReady, 3)
	var order []string
	for _, s := range p.all() {
		order = append(order, s.Message.Type)
	}
	if got, want := strings.Join(order, " "), "client_ready spawning spawning_complete client_stopped client_ready client_stopped client_ready"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	p.send(w.ID(), wire.TypeSpawn, spawnOf(2, 0, map[string]int{"A": 1}))
	p.awaits(wire.TypeSpawningComplete, 2)
}

func TestLocust30Quit(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python, calm)
		w := startProgram(t, "load", "worker", "--master", "127.0.0.1:"+m.port, "-f", writeFile(t, "calm.star", starFile))
		var calls atomic.Int64
		counting := startGoWorker(t, m.port, callers(&calls, "A", "B"), nil)
		m.workers(2)
		swarm(t, m.web, 4, 100)
		m.running(4)
		m.awaits("in", "stats", len(m.passed("in", "stats"))+1)
		m.signal(syscall.SIGTERM)
		if code := w.exit(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		if s := counting.ends(t); s != worker.StatusQuit {
			t.Errorf("ended with %s", s)
		}
		m.exit()
		if strings.Contains(m.output(), "Unknown message type") {
			t.Error("the master was told what it does not know")
		}
		after := map[string]string{}
		told, reported := false, int64(0)
		for _, e := range m.trace() {
			told = told || e.Dir == "out" && e.Type == "quit"
			if told && e.Dir == "in" && (e.Type == "stats" || e.Type == "quit") {
				after[e.Node] += " " + e.Type
			}
			if e.Dir == "in" && e.Type == "stats" && e.Node == counting.ID() {
				reported += requestsOf(t, e)
			}
		}
		for node, messages := range after {
			if !strings.HasSuffix(messages, " stats quit") {
				t.Errorf("%s said%s after it was told to quit", node, messages)
			}
		}
		if made := calls.Load(); len(after) != 2 || reported != made || made == 0 {
			t.Errorf("%d calls reported, %d made; %v", reported, made, after)
		}
	})
}

// requestsOf is how many requests a report counts.
func requestsOf(t *testing.T, e entry) int64 {
	t.Helper()
	var data struct {
		Total struct {
			Requests int64 `json:"num_requests"`
		} `json:"stats_total"`
	}
	e.decode(t, &data)
	return data.Total.Requests
}

func TestLocust30Reconnect(t *testing.T) {
	t.Parallel()
	p := startPuppet(t, "127.0.0.1:0")
	var calls atomic.Int64
	w := startGoWorker(t, p.port, callers(&calls, "A"), nil)
	p.awaits(wire.TypeClientReady, 1)
	p.send(w.ID(), wire.TypeSpawn, spawnOf(1, 1, map[string]int{"A": 10}))
	p.awaits(wire.TypeSpawningComplete, 1)
	connections := func() (n int) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, s := range p.received {
			if s.Kind == wire.Connected {
				n++
			}
			if s.Identity != w.ID() {
				t.Errorf("identity %q", s.Identity)
			}
		}
		return n
	}
	for i := range 3 {
		p.send(w.ID(), wire.TypeReconnect, nil)
		until(t, "another connection", func() string { return fmt.Sprint(p.all()) }, func() bool { return connections() == i+2 })
		p.awaits(wire.TypeStats, len(p.got(wire.TypeStats))+1)
	}
	p.send(w.ID(), wire.TypeQuit, nil)
	if s := w.ends(t); s != worker.StatusQuit {
		t.Errorf("ended with %s", s)
	}
	p.awaits(wire.TypeQuit, 1)
	reported := int64(0)
	for _, s := range p.got(wire.TypeStats) {
		reported += s.Message.Data.(*wire.Stats).Total.Requests
	}
	if made := calls.Load(); reported != made || made == 0 {
		t.Errorf("%d calls reported, %d made", reported, made)
	}
}

func TestLocust31AMasterThatDoesNotAnswer(t *testing.T) {
	t.Parallel()
	t.Run("for 60 s", func(t *testing.T) {
		t.Parallel()
		p := startPuppet(t, "127.0.0.1:0")
		w := startProgram(t, "load", "worker", "--master", "127.0.0.1:"+p.port, "-f", writeFile(t, "calm.star", starFile))
		p.awaits(wire.TypeHeartbeat, 2)
		p.mu.Lock()
		p.mute = true
		p.mu.Unlock()
		heard := time.Now()
		w.exit()
		if silent := time.Since(heard); silent < 55*time.Second {
			t.Errorf("it left after %v", silent)
		}
	})
	t.Run("until it is back", func(t *testing.T) {
		t.Parallel()
		p := startPuppet(t, "127.0.0.1:0")
		var calls atomic.Int64
		w := startGoWorker(t, p.port, callers(&calls, "A"), nil)
		p.awaits(wire.TypeClientReady, 1)
		p.send(w.ID(), wire.TypeSpawn, spawnOf(1, 0, map[string]int{"A": 2}))
		p.awaits(wire.TypeSpawningComplete, 1)
		p.stop()
		again := startPuppet(t, "127.0.0.1:"+p.port)
		again.awaits(wire.TypeHeartbeat, 2)
		report := again.awaits(wire.TypeStats, 2)[1].Message.Data.(*wire.Stats)
		if report.Users != 2 || report.Total.Requests == 0 {
			t.Errorf("after the master is back: %+v", report)
		}
	})
}

// samples are times of every kind of rounding, and their errors.
var samples = []struct {
	Name  string
	MS    float64
	Error string
}{
	{"/times", 9.6, ""}, {"/times", 147, ""}, {"/times", 2.5, ""}, {"/times", 0.5, ""}, {"/times", 1.5, ""}, {"/times", 105, ""},
	{"/times", 145, ""}, {"/times", 99.5, ""}, {"/times", 104.9, ""}, {"/times", 115, ""}, {"/times", 995, ""}, {"/times", 3432, ""},
	{"/times", 58760, ""}, {"/midpoints", 105, ""}, {"/midpoints", 145, ""}, {"/midpoints", 2.5, ""}, {"/midpoints", 1050, ""},
	{"/failing", 250, "plain text"}, {"/failing", 251, "ValueError('boom')"}, {"/failing", 252, "it's \"quoted\" <b>\n"},
}

// samplesInPython are the same for a worker of Locust; an error that is text stays as it is.
func samplesInPython() string {
	b := new(strings.Builder)
	for _, s := range samples {
		failure := "None"
		if s.Error != "" {
			text, _ := json.Marshal(s.Error)
			failure = string(text)
		}
		fmt.Fprintf(b, "            self.fire(%q, %v, %s, length=0)\n", "py "+s.Name, s.MS, failure)
	}
	return `
class A(Counted):
    @task
    def once(self):
        counts["begun"] += 1
        if counts["begun"] == 1:
` + b.String() + `            self.fire("/shared", 3, "ValueError('boom')", length=0)
        gevent.sleep(0.5)
`
}

func TestLocust32And33NumbersEqualThoseOfAWorkerOfLocust(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		m := startMaster(t, python, samplesInPython())
		startWorker(t, python, m.port, samplesInPython())
		var once sync.Once
		startGoWorker(t, m.port, classes(&loadtest.UserClass{Name: "A", WaitTime: loadtest.Constant(500 * time.Millisecond),
			Tasks: []loadtest.Task{{Name: "once", Run: func(_ context.Context, u *loadtest.User) error {
				once.Do(func() {
					for _, s := range samples {
						record(u, "go "+s.Name, s.MS, s.Error)
					}
					record(u, "/shared", 3, "ValueError('boom')")
				})
				return nil
			}}}}), nil)
		m.workers(2)
		swarm(t, m.web, 2, 10)
		r := untilRequests(t, m.web, "all samples", func(r *requests) bool {
			row := r.row("Aggregated")
			return row != nil && row["num_requests"] == float64(2*len(samples)+2)
		})
		for _, row := range r.Stats {
			name, _ := row["name"].(string)
			plain, isGo := strings.CutPrefix(name, "go ")
			if !isGo {
				continue
			}
			want := r.row("py " + plain)
			for key, value := range want {
				if key != "name" && key != "safe_name" && !strings.HasSuffix(key, "_rps") && !strings.HasSuffix(key, "_per_sec") && row[key] != value {
					t.Errorf("%s: %s is %v, that of a worker of Locust %v", plain, key, row[key], value)
				}
			}
		}
		want, got := csvRows(t, m.web, "py "), csvRows(t, m.web, "go ")
		same := func(a, b string) bool { return sameValue("", a, b) }
		if len(got) != 3 || !slices.EqualFunc(got, want, func(a, b []string) bool { return slices.EqualFunc(a, b, same) }) {
			t.Errorf("in the CSV file:\n%v\nwant\n%v", got, want)
		}
		shared := 0
		for _, e := range r.Errors {
			if e["name"] == "/shared" {
				shared++
				if e["occurrences"] != 2.0 {
					t.Errorf("error %v", e)
				}
			}
		}
		if shared != 1 {
			t.Errorf("the same error is in %d rows: %v", shared, r.Errors)
		}
	})
}

// csvRows are the rows of names with a prefix, without it and without rates.
func csvRows(t *testing.T, web, prefix string) [][]string {
	t.Helper()
	var list [][]string
	for _, row := range table(t, getText(t, web+"/stats/requests/csv")) {
		if name, found := strings.CutPrefix(row[1], prefix); found {
			list = append(list, append(append([]string{name}, row[2:9]...), row[11:]...))
		}
	}
	return list
}

// boomer is a worker as those made with boomer are: it tells a count in place of user_count, reports
// only while it runs users, under another name of the total, with a minimum of 0.
func boomer(p *peer, runs int64) {
	p.send(wire.TypeClientReady, wire.ClientReady{})
	p.awaits(wire.TypeAck, 1)
	p.send(wire.TypeHeartbeat, map[string]any{"state": "ready", "current_cpu_usage": 0.0})
	spawn, _ := p.awaits(wire.TypeSpawn, 1)[0].Data.(wire.Spawn)
	p.send(wire.TypeSpawning, nil)
	users, count := map[string]any{}, 0
	for class, n := range spawn.UsersByClass {
		users[class] = n
		count += n
	}
	p.send(wire.TypeSpawningComplete, map[string]any{"count": count, "user_classes_count": users})
	now := float64(time.Now().Unix())
	row := func(name string) map[string]any {
		return map[string]any{
			"name": name, "method": "boomer", "last_request_timestamp": int(now), "start_time": int(now), "num_requests": runs,
			"num_none_requests": 0, "num_failures": 0, "total_response_time": 30 * runs, "max_response_time": 30, "min_response_time": 0,
			"total_content_length": 0, "response_times": map[any]any{int64(30): runs},
			"num_reqs_per_sec": map[any]any{int64(now): runs}, "num_fail_per_sec": map[any]any{},
		}
	}
	p.send(wire.TypeStats, map[string]any{
		"stats": []any{row("/boomer")}, "stats_total": row("Total"), "errors": map[string]any{},
		"user_count": count, "user_classes_count": users,
	})
}

func TestLocust34AMixedFleet(t *testing.T) {
	t.Run("on our master", func(t *testing.T) {
		t.Parallel()
		o := startOurs(t, master.Config{Classes: callers(nil, "A", "B"), Rebalance: true})
		var calls atomic.Int64
		startGoWorker(t, o.port, callers(&calls, "A", "B"), nil)
		one, two := startWorker(t, newest(t), o.port, calm), startWorker(t, older(t), o.port, calm)
		b := startPeer(t, o.port, "boomer_1")
		beats := make(chan struct{})
		defer close(beats)
		go func() { // so that it is not missing
			ticker := time.NewTicker(time.Second)
			defer ticker.Stop()
			for {
				select {
				case <-ticker.C:
					state := "ready"
					if len(b.got(wire.TypeSpawn)) > 0 {
						state = "running"
					}
					if len(b.got(wire.TypeAck)) > 0 {
						_ = b.Send(&wire.Message{Type: wire.TypeHeartbeat, Data: map[string]any{"state": state, "current_cpu_usage": 0.0}, NodeID: b.id})
					}
				case <-beats:
					return
				}
			}
		}()
		o.workers(3)
		joined := make(chan struct{})
		go func() {
			defer close(joined)
			boomer(b, 500)
		}()
		o.workers(4)
		o.begin(master.Plan{Users: 8, SpawnRate: 1000})
		o.running(8)
		<-joined
		for _, w := range o.Workers() {
			if w.Users != 2 {
				t.Errorf("worker %+v", w)
			}
		}
		one.awaits("out", "stats", len(one.passed("out", "stats"))+1)
		b.send(wire.TypeClientStopped, nil) // Locust's way to leave a run
		o.end()
		o.stop()
		<-o.done
		p, q := one.counted(), two.counted()
		s := o.Snapshot()
		if want := calls.Load() + p.Requests + q.Requests + 500; s.Total.Requests != want || p.Requests == 0 || q.Requests == 0 || calls.Load() == 0 {
			t.Errorf("%d requests counted, users made %d", s.Total.Requests, want)
		}
	})
	t.Run("on Locust's", func(t *testing.T) {
		t.Parallel()
		m := startMaster(t, newest(t), calm)
		var calls atomic.Int64
		startGoWorker(t, m.port, callers(&calls, "A", "B"), nil)
		python := startWorker(t, newest(t), m.port, calm)
		m.workers(2)
		swarm(t, m.web, 4, 100)
		m.running(4)
		r := untilRequests(t, m.web, "both workers' calls", func(r *requests) bool {
			row := r.row("/a")
			return row != nil && row["num_requests"].(float64) > 20
		})
		for _, w := range r.Workers {
			if w.Users != 2 || w.State != "running" {
				t.Errorf("worker %+v", w)
			}
		}
		getTextOf(t, "POST", m.web+"/stop")
		untilRequests(t, m.web, "the end", func(r *requests) bool { return r.UserCount == 0 && r.State == "stopped" })
		m.signal(syscall.SIGTERM)
		m.exit()
		c := python.counted()
		reported := int64(0)
		for _, e := range m.passed("in", "stats") {
			reported += requestsOf(t, e)
		}
		if made := c.Requests + calls.Load(); reported != made {
			t.Errorf("%d requests reported, users made %d", reported, made)
		}
	})
}

// eventful are users that do all that is counted: timed and untimed calls, failures, uncaught exceptions.
const eventful = `
class A(Counted):
    weight = 3

    @task
    def a(self):
        self.fire("/a", 12.3)

class B(Counted):
    @task
    def odd(self):
        self.fire("/untimed", None)
        self.fire("/failing", 5, ValueError("boom"))

    @task
    def raising(self):
        counts["raised"] += 1
        raise RuntimeError("uncaught")
`

// Workers of Locust and one of ours in a run: each runs what the plan says, and each thing that users did
// is counted once.
func TestLocust34WhatUsersOfAMixedFleetDoIsCountedExactly(t *testing.T) {
	eachLocust(t, func(t *testing.T, python string) {
		var calls atomic.Int64
		ourClasses := callers(&calls, "A", "B")
		ourClasses[0].Weight = 3
		o := startOurs(t, master.Config{Classes: ourClasses})
		ours := startGoWorker(t, o.port, ourClasses, nil)
		one, two := startWorker(t, python, o.port, eventful), startWorker(t, python, o.port, eventful)
		o.workers(3)
		o.begin(master.Plan{Users: 12, SpawnRate: 1000})
		o.running(12)
		for _, w := range o.Workers() {
			if w.Users != 4 || (w.Cores > 0) != (w.ID == ours.ID()) {
				t.Errorf("worker %+v", w)
			}
		}
		o.until("everything that users do", func() bool {
			total := o.Snapshot().Total
			// A traceback for each worker: it names the worker's own locustfile.
			return calls.Load() > 0 && total.Failures > 0 && total.Untimed > 0 && len(o.Exceptions()) == 2
		})
		s := o.end().Snapshot
		o.stop()
		<-o.done
		a, b := one.counted(), two.counted()
		if got, want := s.Total.Requests, a.Requests+b.Requests+calls.Load(); got != want {
			t.Errorf("%d requests counted, users made %d", got, want)
		}
		if got, want := s.Total.Failures, a.Failures+b.Failures; got != want {
			t.Errorf("%d failures counted, users had %d", got, want)
		}
		if got, want := s.Total.Untimed, a.Untimed+b.Untimed; got != want {
			t.Errorf("%d untimed counted, users had %d", got, want)
		}
		raised := int64(0)
		for _, e := range o.Exceptions() {
			if !strings.Contains(e.Traceback, "uncaught") {
				t.Errorf("exception %+v", e)
			}
			raised += e.Count
		}
		if want := a.Raised + b.Raised; raised != want {
			t.Errorf("%d exceptions, users raised %d", raised, want)
		}
		if len(s.Errors) != 1 || s.Errors[0].Text != "ValueError('boom')" || s.Errors[0].Occurrences != s.Total.Failures {
			t.Errorf("errors %+v", s.Errors)
		}
		if s.Coverage.LostWorkers != 0 || s.Coverage.UnaccountedSamples != 0 {
			t.Errorf("coverage %+v", s.Coverage)
		}
	})
}
