package webapi_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// BenchmarkStatsRequests makes the answer anew each time, for a full table and as many workers as a
// master may have.
func BenchmarkStatsRequests(b *testing.B) {
	run := newTestRun()
	run.collector = stats.NewCollector(1, time.Now(), 0)
	run.manyRows(500)
	workers := make([]webapi.Worker, 12_000)
	for i := range workers {
		workers[i] = webapi.Worker{ID: fmt.Sprintf("host_%032x", i), State: webapi.StateRunning, Users: 10}
	}
	run.distributed(workers...)
	run.final = run.collector.Snapshot(time.Now(), true)
	s, err := webapi.NewServer(webapi.Config{Controller: run, CSV: testCSV})
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		call(s, "POST", "/swarm", "user_count=x") // forgets the answer and starts nothing
		if w := call(s, "GET", "/stats/requests", ""); w.Code != 200 {
			b.Fatal(w.Code)
		}
	}
}
