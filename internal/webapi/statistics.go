package webapi

import (
	"cmp"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// maxRows and maxErrors are how much of a long list is shown, as in Locust: more would stop the
	// page. The row of all requests is always there.
	maxRows   = 500
	maxErrors = 500
	// aggregated is Locust's name for that row.
	aggregated = "Aggregated"
)

// row is one line of the statistics. Keys after the blank line are ours.
type row struct {
	Method          string  `json:"method"`
	Name            string  `json:"name"`
	Requests        int64   `json:"num_requests"`
	Failures        int64   `json:"num_failures"`
	Min             int64   `json:"min_response_time"`
	Max             int64   `json:"max_response_time"`
	CurrentRPS      float64 `json:"current_rps"`
	CurrentFailures float64 `json:"current_fail_per_sec"`
	Average         float64 `json:"avg_response_time"`
	Median          float64 `json:"median_response_time"`
	TotalRPS        float64 `json:"total_rps"`
	TotalFailures   float64 `json:"total_fail_per_sec"`
	P95             int64   `json:"response_time_percentile_0.95"`
	P99             int64   `json:"response_time_percentile_0.99"`
	AverageContent  float64 `json:"avg_content_length"`

	RateLimited int64   `json:"rate_limited"`
	MinMS       float64 `json:"min_ms"`
	MaxMS       float64 `json:"max_ms"`
	P50MS       float64 `json:"p50_ms"`
	P95MS       float64 `json:"p95_ms"`
	P99MS       float64 `json:"p99_ms"`
}

// currentPercentiles are those of the last ten seconds; nil when there is nothing to look at.
type currentPercentiles struct {
	P50 *float64 `json:"response_time_percentile_0.5"`
	P95 *float64 `json:"response_time_percentile_0.95"`
}

type errorRow struct {
	Method      string  `json:"method"`
	Name        string  `json:"name"`
	Error       string  `json:"error"`
	Occurrences int64   `json:"occurrences"`
	FirstSeen   float64 `json:"first_seen"`
	LastSeen    float64 `json:"last_seen"`
}

// requestsAnswer is what /stats/requests says, of a master beside its workers. Keys after the blank
// line are ours.
type requestsAnswer struct {
	State              string             `json:"state"`
	Users              int                `json:"user_count"`
	Stats              []row              `json:"stats"`
	Errors             []errorRow         `json:"errors"`
	CurrentRPS         float64            `json:"current_rps"`
	CurrentFailures    float64            `json:"current_fail_per_sec"`
	TotalRPS           float64            `json:"total_rps"`
	TotalFailures      float64            `json:"total_fail_per_sec"`
	FailRatio          float64            `json:"fail_ratio"`
	CurrentPercentiles currentPercentiles `json:"current_response_time_percentiles"`

	TargetUsers int `json:"target_user_count"`
	// IdleSeconds is how long nobody has done more than watch.
	IdleSeconds float64 `json:"idle_seconds"`
}

func (s *Server) statsRequests(w http.ResponseWriter, _ *http.Request) error {
	body, err := s.requests.get(s.requestsBody)
	if err != nil {
		return err
	}
	writeBody(w, http.StatusOK, body)
	return nil
}

// requestsBody has no indentation, and its workers are written by hand: with thousands of them either
// would take longer than all the rest.
func (s *Server) requestsBody() ([]byte, error) {
	status := s.controller.Status()
	body, err := json.Marshal(s.requestsAnswer(&status))
	if err != nil || !status.Distributed {
		return body, err
	}
	const bytesPerWorker = 128
	b := make([]byte, 0, len(body)+64+bytesPerWorker*len(status.Workers))
	b = append(b, body[:len(body)-1]...)
	b = append(b, `,"worker_count":`...)
	b = strconv.AppendInt(b, int64(status.ActiveWorkers()), 10)
	b = append(b, `,"workers":`...)
	b = appendWorkers(b, status.Workers)
	return append(b, '}'), nil
}

func (s *Server) requestsAnswer(status *Status) requestsAnswer {
	snapshot := s.snapshot()
	total := rowOf(snapshot, &snapshot.Total)
	total.Name, total.Method = aggregated, ""
	return requestsAnswer{
		State:              status.State,
		Users:              status.Users(),
		Stats:              append(rows(snapshot), total),
		Errors:             errorRows(snapshot),
		CurrentRPS:         total.CurrentRPS,
		CurrentFailures:    total.CurrentFailures,
		TotalRPS:           total.TotalRPS,
		TotalFailures:      total.TotalFailures,
		FailRatio:          snapshot.Total.FailureRatio(),
		CurrentPercentiles: percentilesOf(snapshot.Total.Current),
		TargetUsers:        status.TargetUsers,
		IdleSeconds:        (time.Since(s.started) - time.Duration(s.lastUse.Load())).Round(time.Millisecond).Seconds(),
	}
}

// snapshot returns what was measured, nothing before the first run.
func (s *Server) snapshot() *stats.Snapshot {
	if snapshot := s.controller.Snapshot(); snapshot != nil {
		return snapshot
	}
	return &stats.Snapshot{}
}

// rows are the lines by name and type.
func rows(s *stats.Snapshot) []row {
	entries := make([]*stats.Entry, len(s.Entries))
	for i := range s.Entries {
		entries[i] = &s.Entries[i]
	}
	slices.SortFunc(entries, func(a, b *stats.Entry) int {
		return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Type, b.Type))
	})
	entries = entries[:min(len(entries), maxRows)]
	shown := make([]row, 0, len(entries)+1)
	for _, e := range entries {
		shown = append(shown, rowOf(s, e))
	}
	return shown
}

func rowOf(s *stats.Snapshot, e *stats.Entry) row {
	r := row{
		Method: e.Type, Name: e.Name,
		Requests: e.Requests, Failures: e.Failures, RateLimited: e.RateLimited,
	}
	// Rates of the whole run are over the time in which anything was measured, for every row.
	if active := s.Total.Active().Seconds(); active > 0 {
		r.TotalRPS, r.TotalFailures = float64(e.Requests)/active, float64(e.Failures)/active
	}
	if e.Current != nil {
		r.CurrentRPS, r.CurrentFailures = e.Current.RPS, e.Current.FailuresPerSecond
	}
	if e.Requests > 0 {
		r.AverageContent = float64(e.ContentLength) / float64(e.Requests)
	}
	if e.Hist == nil || e.Hist.Count() == 0 {
		return r
	}
	p50, p95, p99 := e.Hist.Quantile(0.5), e.Hist.Quantile(0.95), e.Hist.Quantile(0.99)
	r.Min, r.Max, r.P95, r.P99 = wholeMS(e.Hist.Min()), wholeMS(e.Hist.Max()), wholeMS(p95), wholeMS(p99)
	r.Average = milliseconds(e.Hist.Sum()) / float64(e.Hist.Count())
	r.Median = exactMS(p50)
	r.MinMS, r.MaxMS = exactMS(e.Hist.Min()), exactMS(e.Hist.Max())
	r.P50MS, r.P95MS, r.P99MS = exactMS(p50), exactMS(p95), exactMS(p99)
	return r
}

func percentilesOf(current *stats.Current) currentPercentiles {
	if current == nil || current.Hist == nil {
		return currentPercentiles{}
	}
	return currentPercentiles{
		P50: new(exactMS(current.Hist.Quantile(0.5))),
		P95: new(exactMS(current.Hist.Quantile(0.95))),
	}
}

// errorRows are the failures in the order in which they first occurred.
func errorRows(s *stats.Snapshot) []errorRow {
	failures := slices.Clone(s.Errors)
	sort.SliceStable(failures, func(i, j int) bool { return failures[i].First.Before(failures[j].First) })
	failures = failures[:min(len(failures), maxErrors)]
	shown := make([]errorRow, 0, len(failures))
	for _, e := range failures {
		shown = append(shown, errorRow{e.Type, e.Name, e.Text, e.Occurrences, epochSeconds(e.First), epochSeconds(e.Last)})
	}
	return shown
}

// appendWorkers appends the list of workers as JSON.
func appendWorkers(b []byte, workers []Worker) []byte {
	b = append(b, '[')
	for i := range workers {
		w := &workers[i]
		if i > 0 {
			b = append(b, ',')
		}
		b = append(b, `{"id":`...)
		b = appendString(b, w.ID)
		b = append(b, `,"state":`...)
		b = appendString(b, w.State)
		b = append(b, `,"user_count":`...)
		b = strconv.AppendInt(b, int64(w.Users), 10)
		b = append(b, `,"cpu_usage":`...)
		b = appendNumber(b, w.CPUPercent)
		b = append(b, `,"memory_usage":`...)
		b = strconv.AppendInt(b, w.MemoryBytes, 10)
		b = append(b, '}')
	}
	return append(b, ']')
}

// appendString appends a JSON string.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		// What needs no escape; ids of workers and states have nothing else.
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			text, _ := json.Marshal(s) // strings have no error
			return append(b, text...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

// appendNumber appends a JSON number, 0 for one that JSON cannot tell: a worker may send anything.
func appendNumber(b []byte, v float64) []byte {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		v = 0
	}
	return strconv.AppendFloat(b, v, 'g', -1, 64)
}

func epochSeconds(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixMicro()) / 1e6
}

type exceptionRow struct {
	Count     int64  `json:"count"`
	Message   string `json:"msg"`
	Traceback string `json:"traceback"`
	Nodes     string `json:"nodes"`
}

func (s *Server) exceptions(w http.ResponseWriter, _ *http.Request) error {
	shown := []exceptionRow{}
	for _, e := range s.snapshot().TaskErrors {
		nodes := strings.Join(e.Nodes, ", ")
		shown = append(shown, exceptionRow{e.Occurrences, e.Text, cmp.Or(e.Traceback, e.Text), cmp.Or(nodes, "local")})
	}
	writeJSON(w, http.StatusOK, map[string]any{"exceptions": shown})
	return nil
}

func (s *Server) workerCount(w http.ResponseWriter, _ *http.Request) error {
	status := s.controller.Status()
	count := 0
	if status.Distributed {
		count = status.ActiveWorkers()
	}
	writeJSON(w, http.StatusOK, map[string]int{"worker_count": count})
	return nil
}

func (s *Server) logs(w http.ResponseWriter, _ *http.Request) error {
	logs := s.controller.Logs()
	if logs.Master == nil {
		logs.Master = []string{}
	}
	if logs.Workers == nil {
		logs.Workers = map[string][]string{}
	}
	writeJSON(w, http.StatusOK, map[string]any{"master": logs.Master, "workers": logs.Workers})
	return nil
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = w.Write([]byte("ok\n"))
	return nil
}
