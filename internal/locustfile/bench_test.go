package locustfile

import (
	"context"
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

// idleHeap returns the live heap of each of a number of scripted users that wait.
func idleHeap(tb testing.TB, users int) float64 {
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
	var ran atomic.Int64
	class.Tasks = []loadtest.Task{{Name: "t", Run: func(ctx context.Context, u *loadtest.User) error {
		defer ran.Add(1)
		return task(ctx, u)
	}}}
	reached := make(chan struct{})
	ticks := 0
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
	before := liveHeap()
	ctx, cancel := context.WithCancel(tb.Context())
	ended := make(chan error)
	go func() { _, err := runner.Run(ctx); ended <- err }()
	<-reached
	after := liveHeap()
	cancel()
	if err := <-ended; err != nil {
		tb.Fatal(err)
	}
	return float64(after-before) / float64(users)
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
	if got := idleHeap(t, 50_000); got > maxIdleBytes {
		t.Errorf("got %.0f B of heap a user, want at most %d", got, maxIdleBytes)
	}
}

// BenchmarkIdleUsers measures the heap of a million waiting users.
func BenchmarkIdleUsers(b *testing.B) {
	for b.Loop() {
		b.ReportMetric(idleHeap(b, 1_000_000), "heap-B/user")
	}
}
