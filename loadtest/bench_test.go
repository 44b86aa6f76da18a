package loadtest

import (
	"context"
	"os"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// benchSwarm returns a swarm outside a run.
func benchSwarm(tb testing.TB, cores int, classes ...*UserClass) (*Swarm, *stats.Collector) {
	tb.Helper()
	collector := stats.NewCollector(cores, time.Now(), 0)
	env := NewEnv(EnvOptions{RunID: "bench", Setup: collector.Setup(), StopTest: func(string) {}})
	s := NewSwarm(tb.Context(), env, collector, SwarmOptions{Classes: classes, Cores: cores, StopTimeout: time.Second})
	tb.Cleanup(s.Close)
	return s, collector
}

func benchClass(c *UserClass) *class {
	compiled, _ := compile(c, nil, nil)
	return compiled
}

// BenchmarkEmptyTask is one user without a wait on one core: one iteration is one task.
func BenchmarkEmptyTask(b *testing.B) {
	s, _ := benchSwarm(b, 1)
	c := benchClass(&UserClass{Name: "A", Tasks: []Task{{Run: func(context.Context, *User) error { return nil }}}})
	u := newUser(s, c, 0)
	ctx := b.Context()
	b.ReportAllocs()
	for b.Loop() {
		if wait, end := u.iterate(ctx); wait != 0 || end {
			b.Fatal("the user waits")
		}
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}

// BenchmarkIdleUsers starts a million users that wait for an hour, and stops them.
func BenchmarkIdleUsers(b *testing.B) {
	const users = 1_000_000
	for b.Loop() {
		var ran atomic.Int64
		s, _ := benchSwarm(b, runtime.GOMAXPROCS(0), &UserClass{Name: "A", WaitTime: Constant(time.Hour), Tasks: []Task{{Run: func(context.Context, *User) error { ran.Add(1); return nil }}}})
		before, resident := liveHeap(), residentBytes()
		start := time.Now()
		for i := range users {
			s.Start("A", int64(i))
		}
		for waitingUsers(s) < users {
			runtime.Gosched()
		}
		spawned := time.Since(start)
		heap, grown := liveHeap()-before, residentBytes()-resident
		start = time.Now()
		if left := s.Drain(b.Context()); len(left) > 0 {
			b.Fatalf("%d users were abandoned", len(left))
		}
		b.ReportMetric(spawned.Seconds(), "spawn-s")
		b.ReportMetric(time.Since(start).Seconds(), "stop-s")
		b.ReportMetric(float64(heap)/users, "heap-B/user")
		b.ReportMetric(float64(grown)/users, "resident-B/user")
	}
}

func waitingUsers(s *Swarm) (n int) {
	for _, sh := range s.shards {
		sh.mu.Lock()
		n += len(sh.timers)
		sh.mu.Unlock()
	}
	return n
}

func liveHeap() int64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// residentBytes reads the resident size on Linux; 0 elsewhere.
func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	pages, _ := strconv.ParseInt(strings.Fields(string(data))[1], 10, 64)
	return pages * int64(os.Getpagesize())
}

// BenchmarkWakeUps has 100,000 users that wake up every ten seconds, evenly spread: 10,000 a second
// in all, from the first second on. An operation is ten seconds.
func BenchmarkWakeUps(b *testing.B) {
	const (
		users  = 100_000
		period = 10 * time.Second
	)
	wait := WaitFunc(func(_ context.Context, u *User) (time.Duration, error) {
		if u.State == nil {
			u.State = true
			return time.Duration(u.Rand().Float64() * float64(period)), nil
		}
		return period, nil
	})
	s, collector := benchSwarm(b, runtime.GOMAXPROCS(0), &UserClass{Name: "A", WaitTime: wait, Tasks: []Task{{Run: func(context.Context, *User) error { return nil }}}})
	for i := range users {
		s.Start("A", int64(i))
	}
	for waitingUsers(s) < users {
		runtime.Gosched()
	}
	before := collector.Snapshot(time.Now(), false).Generator.Late
	started := time.Now()
	for b.Loop() {
		time.Sleep(period)
	}
	took := time.Since(started)
	late := collector.Snapshot(time.Now(), false).Generator.Late.Since(before)
	b.ReportMetric(float64(late.Quantile(0.5).Microseconds()), "p50-late-us")
	b.ReportMetric(float64(late.Quantile(0.99).Microseconds()), "p99-late-us")
	b.ReportMetric(float64(late.Count())/took.Seconds(), "wakes/s")
	s.Drain(b.Context())
}
