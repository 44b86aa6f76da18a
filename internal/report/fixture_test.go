package report

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// sample10s is a run of ten seconds: each second has 8 acquires of 10 ms, one of them failed, 2
// refusals of 2 ms and one commit of 5 ms, by 4 users.
func sample10s(t *testing.T) *stats.Snapshot {
	t.Helper()
	var s *stats.Snapshot
	synctest.Test(t, func(t *testing.T) {
		c := stats.NewCollector(1, time.Now(), 0)
		r := c.Recorder(0)
		record := func(s stats.Sample) { s.Start = time.Now(); r.Record(&s) }
		c.Setup().Record(&stats.Sample{Type: "SET_SYSTEM_DEFAULTS", Name: "system", Start: time.Now(), Duration: time.Millisecond})
		for range 10 {
			c.Users(time.Now(), 4, map[string]int{"SimpleUser": 3, "OtherUser": 1})
			for i := range 8 {
				sample := stats.Sample{Type: "ACQUIRE", Name: "api", Duration: 10 * time.Millisecond, Depth: 1}
				if i == 0 {
					sample.Err = `Throttled "hard", twice`
				}
				record(sample)
			}
			for range 2 {
				record(stats.Sample{Type: "RATE_LIMITED", Name: "api", Duration: 2 * time.Millisecond, Depth: 2, RateLimited: true})
			}
			record(stats.Sample{Type: "COMMIT", Name: "api,x", Duration: 5 * time.Millisecond})
			time.Sleep(time.Second)
			c.Tick(time.Now())
		}
		r.TaskError("acquire", "boom <b>", "line 1\nline 2")
		s = c.Snapshot(time.Now(), true)
		s.Generator.CPURatio = 0.5
	})
	return s
}

func sampleMeta() Meta {
	return Meta{
		Run: Run{
			ID: "20261124t101500abc", Mode: ModeLocal, Locustfile: new("max_rps.star"), Seed: new(uint64(7)),
			Users: new(4), SpawnRate: new(10.0), Workers: new(1), Cores: new(2), Speculative: new(true),
			Client: new("sdk"), RejectionCacheSeconds: new(0.0), PoolConnections: new(1000),
			Options: map[string]string{"k": "</script><b>"},
		},
		Target: Target{Kind: TargetEmbedded, Endpoint: new("http://127.0.0.1:1"), Table: new("zae-limiter"), Engine: &Engine{Latency: "none", Throughput: "off"}},
		Consumed: Consumed{
			ReadUnits: new(10.0), WriteUnits: new(100.0), IndexWriteUnits: new(80.0),
			Throttled: new(int64(0)), SDKRetries: new(int64(0)), SampledRatio: new(1.0),
		},
		Operations: []Operation{{Operation: "UpdateItem", Requests: 100}, {Operation: "BatchGetItem", Requests: 3}},
	}
}

func sampleResult(t *testing.T) *Result {
	t.Helper()
	return Build(sample10s(t), sampleMeta())
}

func samplePrices() *PriceList {
	return &PriceList{Date: "2024-11-01", Region: "us-east-1", PerMillionReadUnits: 0.125, PerMillionWriteUnit: 0.625}
}
