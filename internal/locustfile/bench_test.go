package locustfile

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// BenchmarkIteration is an empty task of a user on one core, the loop of package loadtest included.
func BenchmarkIteration(b *testing.B) {
	for name, body := range map[string]string{
		"empty":     "pass",
		"attribute": "user.n = 1",
		"acquire":   "user.client.acquire(\"e\", \"api\", {\"rpm\": 1})",
	} {
		b.Run(name, func(b *testing.B) {
			f := mustLoad(b, "def on_test_start(env):\n    env.client.set_system_defaults([Limit.per_second(\"rpm\", 1000000000)])\n\ndef t(user):\n    "+body+"\n\nX = user_class(t)\n")
			bindMemory(b, f)
			class := *f.Classes()[0]
			task := class.Tasks[0].Run
			n := 0
			class.Tasks = []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
				if n++; n > b.N {
					return loadtest.StopTest("enough")
				}
				return task(ctx, u)
			}}}
			runner, err := loadtest.NewRunner(loadtest.Config{Classes: []*loadtest.UserClass{&class}, Events: f.Events(), Users: 1, SpawnRate: 1, Cores: 1})
			if err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			b.ResetTimer()
			s, err := runner.Run(b.Context())
			b.StopTimer()
			if err != nil || len(s.TaskErrors) > 0 {
				b.Fatal(err, s.TaskErrors)
			}
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "iterations/s")
		})
	}
}

// idleCost is what a number of scripted users cost that wait.
type idleCost struct {
	heap, resident float64 // bytes for each user; resident is 0 where the system does not tell
	spawn, stop    time.Duration
}

func idleUsers(tb testing.TB, users int) (cost idleCost) {
	f := mustLoad(tb, `
def start(user):
    user.entity = "user-" + user.id

def t(user):
    pass

X = user_class(t, on_start=start, wait_time=constant(100000))
`)
	bindMemory(tb, f)
	class := *f.Classes()[0]
	task := class.Tasks[0].Run
	ran, all := atomic.Int64{}, make(chan struct{})
	class.Tasks = []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
		err := task(ctx, u)
		if ran.Add(1) == int64(users) {
			close(all)
		}
		return err
	}}}
	reached, ticks := make(chan struct{}), 0
	runner, err := loadtest.NewRunner(loadtest.Config{
		Classes: []*loadtest.UserClass{&class}, Users: users, SpawnRate: 1e9, StopTimeout: time.Minute,
		// A second after the last task the users wait.
		OnTick: func(*loadtest.Runner) {
			if ran.Load() < int64(users) {
				return
			}
			if ticks++; ticks == 2 {
				close(reached)
			}
		},
	})
	if err != nil {
		tb.Fatal(err)
	}
	heap, resident := liveHeap(), residentBytes()
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error)
	begun := time.Now()
	go func() { _, err := runner.Run(ctx); ended <- err }()
	<-all
	cost.spawn = time.Since(begun)
	<-reached
	cost.heap = float64(liveHeap()-heap) / float64(users)
	cost.resident = float64(residentBytes()-resident) / float64(users)
	begun = time.Now()
	cancel()
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
	cost.stop = time.Since(begun)
	return cost
}

// residentBytes reads the resident size on Linux; 0 elsewhere.
func residentBytes() int64 {
	data, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		return 0
	}
	var size, pages int64
	_, _ = fmt.Sscan(string(data), &size, &pages)
	return pages * int64(os.Getpagesize())
}

func liveHeap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// maxIdleBytes is what a waiting user with one attribute may cost.
const maxIdleBytes = 600

func TestAWaitingUserIsSmall(t *testing.T) {
	if got := idleUsers(t, 50_000); got.heap > maxIdleBytes {
		t.Errorf("got %.0f B of heap a user, want at most %d", got.heap, maxIdleBytes)
	}
}

// BenchmarkIdleUsers starts a million scripted users that wait, and stops them.
func BenchmarkIdleUsers(b *testing.B) {
	for b.Loop() {
		cost := idleUsers(b, 1_000_000)
		b.ReportMetric(cost.heap, "heap-B/user")
		b.ReportMetric(cost.resident, "resident-B/user")
		b.ReportMetric(cost.spawn.Seconds(), "spawn-s")
		b.ReportMetric(cost.stop.Seconds(), "stop-s")
	}
}
