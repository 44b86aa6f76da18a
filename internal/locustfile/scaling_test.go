package locustfile

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// bindEngine gives a file a limiter on an engine in this process.
func bindEngine(tb testing.TB, f *File) {
	tb.Helper()
	engine, err := dynamolocal.New(dynamolocal.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = engine.Close() })
	table := dynamostore.OpenTable(engine.Client(), "scaling", dynamostore.TableOptions{})
	if err := table.Create(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	namespace, err := table.RegisterNamespace(tb.Context(), "scaling")
	if err != nil {
		tb.Fatal(err)
	}
	l, err := limiter.New(table.Store(namespace), limiter.Options{})
	if err != nil {
		tb.Fatal(err)
	}
	f.Bind(loadclient.New(l))
}

// BenchmarkCores is a run of 64 users without waits for three seconds, on one core and on two: the
// second does at least 1.8 times the work. On a machine that others use, compare the processor time
// of an acquire instead: twice the ratio of the first to the second is what an idle machine shows.
func BenchmarkCores(b *testing.B) {
	const source = `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_second("rpm", 1000000000)])

def t(user):
    user.client.acquire("e-%d" % user.random.randint(1, 4096), "api", {"rpm": 1})

X = user_class(t)
`
	for _, cores := range []int{1, 2} {
		b.Run(fmt.Sprintf("cores=%d", cores), func(b *testing.B) {
			defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
			f := mustLoad(b, source)
			bindEngine(b, f)
			for b.Loop() {
				runner, err := loadtest.NewRunner(loadtest.Config{
					Classes: f.Classes(), Events: f.Events(), Users: 64, SpawnRate: 1e6, Cores: cores,
					Duration: 3 * time.Second, StopTimeout: time.Second,
				})
				if err != nil {
					b.Fatal(err)
				}
				s, err := runner.Run(b.Context())
				if err != nil || s.Total.Failures > 0 || len(s.TaskErrors) > 0 {
					b.Fatal(err, s.Errors, s.TaskErrors)
				}
				acquires := float64(s.Total.Requests)
				b.ReportMetric(acquires/3, "acquires/s")
				b.ReportMetric(float64(s.Generator.CPUTime.Microseconds())/acquires, "cpu-us/acquire")
			}
		})
	}
}
