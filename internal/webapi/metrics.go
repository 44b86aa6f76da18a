package webapi

import (
	"bytes"
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// metricBounds are the upper bounds of the response time buckets that Prometheus gets.
var metricBounds = []time.Duration{
	100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond,
	time.Millisecond, 2500 * time.Microsecond, 5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond,
	50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond, 500 * time.Millisecond,
	time.Second, 2500 * time.Millisecond, 5 * time.Second, 10 * time.Second,
}

// metrics serves the figures in Prometheus' text format. Counters are those of the current or last
// run and begin again with a new one.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) error {
	status, snapshot := s.controller.Status(), s.snapshot()
	m := new(metricWriter)
	m.family("zae_limiter_load_state", "gauge", "1 for the state that the test is in.")
	for _, state := range []string{StateReady, StateSpawning, StateRunning, StateCleanup, StateStopping, StateStopped} {
		m.sample("zae_limiter_load_state", truth(status.State == state), "state", state)
	}
	m.family("zae_limiter_load_users", "gauge", "Users that run, by class.")
	for _, class := range slices.Sorted(maps.Keys(status.UsersByClass)) {
		m.sample("zae_limiter_load_users", float64(status.UsersByClass[class]), "class", class)
	}
	m.family("zae_limiter_load_target_users", "gauge", "Users that are wanted.")
	m.sample("zae_limiter_load_target_users", float64(status.TargetUsers))
	if status.Distributed {
		m.workers(status.Workers)
	}
	m.entries(snapshot)
	m.family("zae_limiter_load_coverage_ratio", "gauge", "Share of the planned user time that ran.")
	m.sample("zae_limiter_load_coverage_ratio", snapshot.Coverage.Ratio())
	m.family("zae_limiter_load_saturated_seconds_total", "counter", "Seconds in which the load generator was late.")
	m.sample("zae_limiter_load_saturated_seconds_total", float64(snapshot.Generator.SaturatedSeconds))
	m.process()
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	_, _ = w.Write(m.Bytes())
	return nil
}

type metricWriter struct{ bytes.Buffer }

func (m *metricWriter) family(name, kind, help string) {
	fmt.Fprintf(m, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind)
}

// sample writes one line; labels are names and values in turn.
func (m *metricWriter) sample(name string, value float64, labels ...string) {
	m.WriteString(name)
	for i := 0; i+1 < len(labels); i += 2 {
		m.WriteByte("{,"[min(i, 1)])
		fmt.Fprintf(m, `%s="%s"`, labels[i], labelEscapes.Replace(labels[i+1]))
	}
	if len(labels) > 0 {
		m.WriteByte('}')
	}
	m.WriteByte(' ')
	m.WriteString(strconv.FormatFloat(value, 'g', -1, 64))
	m.WriteByte('\n')
}

var labelEscapes = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func (m *metricWriter) workers(workers []Worker) {
	states := map[string]int{StateReady: 0, StateSpawning: 0, StateRunning: 0, StateMissing: 0}
	for _, w := range workers {
		states[w.State]++
	}
	m.family("zae_limiter_load_workers", "gauge", "Workers that are known, by state.")
	for _, state := range slices.Sorted(maps.Keys(states)) {
		m.sample("zae_limiter_load_workers", float64(states[state]), "state", state)
	}
}

func (m *metricWriter) entries(s *stats.Snapshot) {
	entries := s.Entries[:min(len(s.Entries), maxRows)]
	for _, counter := range []struct {
		name, help string
		value      func(*stats.Entry) int64
	}{
		{"zae_limiter_load_requests_total", "Calls that were made.", func(e *stats.Entry) int64 { return e.Requests }},
		{"zae_limiter_load_failures_total", "Calls that failed.", func(e *stats.Entry) int64 { return e.Failures }},
		{"zae_limiter_load_rate_limited_total", "Calls that were refused because a limit was exceeded.", func(e *stats.Entry) int64 { return e.RateLimited }},
	} {
		m.family(counter.name, "counter", counter.help)
		for i := range entries {
			m.sample(counter.name, float64(counter.value(&entries[i])), "type", entries[i].Type, "name", entries[i].Name)
		}
	}
	m.family("zae_limiter_load_response_seconds", "histogram", "How long calls took.")
	for i := range entries {
		m.histogram("zae_limiter_load_response_seconds", &entries[i])
	}
}

func (m *metricWriter) histogram(name string, e *stats.Entry) {
	if e.Hist == nil {
		return
	}
	counts := make([]int64, len(metricBounds))
	for middle, n := range e.Hist.Buckets {
		if i, _ := slices.BinarySearch(metricBounds, middle); i < len(counts) {
			counts[i] += n
		}
	}
	below := int64(0)
	for i, bound := range metricBounds {
		below += counts[i]
		le := strconv.FormatFloat(bound.Seconds(), 'g', -1, 64)
		m.sample(name+"_bucket", float64(below), "type", e.Type, "name", e.Name, "le", le)
	}
	m.sample(name+"_bucket", float64(e.Hist.Count()), "type", e.Type, "name", e.Name, "le", "+Inf")
	m.sample(name+"_sum", e.Hist.Sum().Seconds(), "type", e.Type, "name", e.Name)
	m.sample(name+"_count", float64(e.Hist.Count()), "type", e.Type, "name", e.Name)
}

func truth(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// process writes what this process is like, under the names that Go programs use.
func (m *metricWriter) process() {
	live := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	metrics.Read(live)
	m.family("go_goroutines", "gauge", "Goroutines of this process.")
	m.sample("go_goroutines", float64(runtime.NumGoroutine()))
	m.family("go_gc_heap_live_bytes", "gauge", "Memory that was in use after the last collection.")
	m.sample("go_gc_heap_live_bytes", float64(live[0].Value.Uint64()))
}
