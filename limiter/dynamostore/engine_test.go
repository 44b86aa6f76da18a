package dynamostore_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

func newEngine(t testing.TB, config dynamolocal.Config) *dynamolocal.Engine {
	t.Helper()
	engine, err := dynamolocal.New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { engine.Close() })
	return engine
}

// serve serves the engine on loopback until the test ends.
func serve(t testing.TB, engine *dynamolocal.Engine) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() { engine.Serve(ctx, l) })
	t.Cleanup(func() { stop(); wg.Wait() })
	return "http://" + l.Addr().String()
}

func TestSuiteOnTheEngineInProcess(t *testing.T) {
	runSuite(t, newEngine(t, dynamolocal.Config{}).Client())
}

func TestSuiteOnTheEngineOverHTTP(t *testing.T) {
	withEachClient(t, func(t *testing.T, connect connector) {
		runSuite(t, connect(t, serve(t, newEngine(t, dynamolocal.Config{}))))
	})
}

// updates is how many UpdateItems an engine was asked for.
func updates(engine *dynamolocal.Engine) int64 {
	for _, o := range engine.Stats().Operations {
		if o.Operation == "UpdateItem" {
			return o.Requests
		}
	}
	return 0
}

// Every tenth reply is lost after its write was applied. Each such acquire is one failed request; the
// store counts exactly what was sent, and nothing is charged twice.
func TestLostRepliesAreOneRequestEach(t *testing.T) { withEachClient(t, testLostReplies) }

func testLostReplies(t *testing.T, connect connector) {
	engine := newEngine(t, dynamolocal.Config{
		Faults: []byte(`{"rules": [{"operations": ["UpdateItem"], "key_prefix": "ns/BUCKET#e#", "every": 10, "action": "drop", "when": "after"}]}`),
	})
	client := connect(t, serve(t, engine))
	table := dynamostore.OpenTable(client, "lost", dynamostore.TableOptions{})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fixture{api: &counted{API: client}, table: table, store: table.Store("ns"), ns: "ns", now: 1800000000000}
	l := f.limiter(t, limiter.Options{OnUnavailable: limiter.Block})
	if err := l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerHour("n", 1_000_000)}); err != nil {
		t.Fatal(err)
	}
	acquire := func() error {
		lease, err := l.Acquire(t.Context(), limiter.Request{EntityID: "e", Resource: "r", Consume: limiter.Amounts{"n": 1}})
		if err == nil {
			err = lease.Close(t.Context())
		}
		return err
	}
	if err := acquire(); err != nil { // creates the bucket
		t.Fatal(err)
	}
	before := updates(engine)
	var admitted, lost atomic.Int64
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 100 {
				err := acquire()
				if _, unavailable := errors.AsType[*limiter.UnavailableError](err); unavailable {
					lost.Add(1)
				} else if err != nil {
					t.Error(err)
				} else {
					admitted.Add(1)
				}
			}
		})
	}
	wg.Wait()
	sent := updates(engine) - before
	if admitted.Load()+lost.Load() != 400 || lost.Load() < 39 || sent != 400 {
		t.Errorf("%d admitted, %d lost, %d requests on the wire, want 400 in all", admitted.Load(), lost.Load(), sent)
	}
	if got, want := f.bucket(t, "e", "r", 0)["b_n_tc"], fmt.Sprint((1+400)*1000); got != want {
		t.Errorf("charged %s, want %s", got, want)
	}
}

// More limits than a write can have are the caller's mistake: the call could never succeed, and one
// that treats it as an outage would admit for ever.
func TestMoreLimitsThanAnExpressionHolds(t *testing.T) { withEachClient(t, testTooManyLimits) }

func testTooManyLimits(t *testing.T, connect connector) {
	client := connect(t, serve(t, newEngine(t, dynamolocal.Config{})))
	table := dynamostore.OpenTable(client, "many", dynamostore.TableOptions{})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	f := &fixture{api: &counted{API: client}, table: table, store: table.Store("ns"), ns: "ns", now: 1800000000000}
	l := f.limiter(t, limiter.Options{OnUnavailable: limiter.Allow})
	var limits []limiter.Limit
	consume := limiter.Amounts{}
	for i := range 60 {
		name := fmt.Sprintf("%s%02d", strings.Repeat("n", 60), i)
		limits = append(limits, limiter.PerHour(name, 100))
		consume[name] = 1
	}
	for range 2 {
		_, err := l.Acquire(t.Context(), limiter.Request{EntityID: "e", Resource: "r", Limits: limits, Consume: consume})
		invalid, ok := errors.AsType[*limiter.ValidationError](err)
		if !ok || invalid.Field != "limits" || !strings.Contains(invalid.Reason, "4096") {
			t.Fatalf("got %v, want a ValidationError of limits", err)
		}
	}
}
