package dynamostore_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/limiter/storetest"
)

// conformance runs the suite of all stores; each test gets a namespace of its own on one table.
func conformance(t *testing.T, api dynamostore.API) {
	table := dynamostore.OpenTable(api, fmt.Sprintf("conformance-%d", time.Now().UnixNano()), dynamostore.TableOptions{WithoutStream: true})
	if err := table.Create(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := table.DeclareReaders(t.Context(), false); err != nil {
		t.Fatal(err)
	}
	var opened atomic.Int64
	storetest.Run(t, func(t *testing.T) storetest.Store {
		ns, err := table.RegisterNamespace(t.Context(), fmt.Sprintf("test-%d", opened.Add(1)))
		if err != nil {
			t.Fatal(err)
		}
		return table.Store(ns)
	})
}

func TestConformanceOnTheEngineInProcess(t *testing.T) {
	conformance(t, newEngine(t, dynamolocal.Config{}).Client())
}

func TestConformanceOnTheEngineOverHTTP(t *testing.T) {
	withEachClient(t, func(t *testing.T, connect connector) {
		conformance(t, connect(t, serve(t, newEngine(t, dynamolocal.Config{}))))
	})
}
func BenchmarkStoreOnTheEngineInProcess(b *testing.B) {
	benchmarkStore(b, newEngine(b, dynamolocal.Config{}).Client())
}

func BenchmarkStoreOnTheEngineOverHTTP(b *testing.B) {
	for _, client := range clients {
		b.Run(client.name, func(b *testing.B) {
			benchmarkStore(b, client.connect(b, serve(b, newEngine(b, dynamolocal.Config{}))))
		})
	}
}

func benchmarkStore(b *testing.B, api dynamostore.API) {
	table := dynamostore.OpenTable(api, "bench", dynamostore.TableOptions{})
	if err := table.Create(b.Context()); err != nil {
		b.Fatal(err)
	}
	var opened atomic.Int64
	storetest.Benchmark(b, func(b *testing.B) storetest.Store {
		ns, err := table.RegisterNamespace(b.Context(), fmt.Sprintf("bench-%d", opened.Add(1)))
		if err != nil {
			b.Fatal(err)
		}
		return table.Store(ns)
	})
}
