package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"
)

// Schema names the document's format; it changes when a reader of the old one would be misled.
const Schema = "zae-limiter/load-result/v1"

// The modes of a run.
const (
	ModeLocal       = "local"
	ModeLambda      = "lambda"
	ModeFargate     = "fargate"
	ModeDistributed = "distributed"
)

// Result is the document of one run. Times carry their unit in the name; nil pointers are values
// that are not known. A Result is not safe for use by several goroutines while one of them writes.
type Result struct {
	Schema     string             `json:"schema"`
	Run        Run                `json:"run"`
	Target     Target             `json:"target"`
	Totals     Figures            `json:"totals"`
	Entries    []Entry            `json:"entries"`
	Setup      []Entry            `json:"setup"`
	Errors     []ErrorEntry       `json:"errors"`
	Series     []Second           `json:"series"`
	Consumed   Consumed           `json:"consumed"`
	Generator  Generator          `json:"generator"`
	Operations []Operation        `json:"operations"`
	Cost       *Cost              `json:"cost"`
	AWS        json.RawMessage    `json:"aws"`
	Coverage   Coverage           `json:"coverage"`
	Verdict    Verdict            `json:"verdict"`
	Thresholds []ThresholdOutcome `json:"thresholds"`

	// dists holds the distribution behind each entry, in the order of Entries; thresholds with a
	// filter merge them. It is nil for a document that was read back.
	dists []distribution
}

// Run says what was run, when, and with which settings.
type Run struct {
	ID               string      `json:"id"`
	StartedAt        *Timestamp  `json:"started_at"`
	EndedAt          *Timestamp  `json:"ended_at"` // nil while the run goes on
	DurationSeconds  *float64    `json:"duration_seconds"`
	Mode             string      `json:"mode"`
	ActiveSeconds    *float64    `json:"active_seconds"` // last response − first request start
	WarmupSeconds    float64     `json:"warmup_seconds"`
	Locustfile       *string     `json:"locustfile"`
	LocustfileSHA256 *string     `json:"locustfile_sha256"`
	Seed             *uint64     `json:"seed"`
	Users            *int        `json:"users"`
	SpawnRate        *float64    `json:"spawn_rate"`
	UserClasses      []UserClass `json:"user_classes"`
	Workers          *int        `json:"workers"`
	Cores            *int        `json:"cores"`
	Version          *string     `json:"version"`
	BuildID          *string     `json:"build_id"`
	GoVersion        *string     `json:"go_version"`
	OSArch           *string     `json:"os_arch"`
	Speculative      *bool       `json:"speculative"`
	Client           *string     `json:"client"` // "sdk" or "lean"
	// RejectionCacheSeconds is 0 when the cache is off.
	RejectionCacheSeconds *float64          `json:"rejection_cache_seconds"`
	PoolConnections       *int              `json:"pool_connections"`
	Options               map[string]string `json:"options"`
}

// UserClass is a class with the number of users that it had at the most.
type UserClass struct {
	Name  string `json:"name"`
	Users int    `json:"users"`
}

// The kinds of targets.
const (
	TargetEmbedded = "embedded"
	TargetDynamoDB = "dynamodb"
	TargetRedis    = "redis"
)

// Target says what was driven.
type Target struct {
	Kind      string  `json:"kind"`
	Endpoint  *string `json:"endpoint"` // nil is the AWS service itself
	Table     *string `json:"table"`
	Region    *string `json:"region"`
	Namespace *string `json:"namespace"`
	Engine    *Engine `json:"engine"` // nil when not embedded
}

// Engine is how the embedded engine was set.
type Engine struct {
	Latency    string  `json:"latency"`
	Throughput string  `json:"throughput"`
	Faults     *string `json:"faults"`
	Network    *string `json:"network"`
}

// Figures are the numbers of the totals and of each entry.
type Figures struct {
	Requests     int64    `json:"requests"`
	Failures     int64    `json:"failures"`
	FailureRatio *float64 `json:"failure_ratio"`
	RateLimited  int64    `json:"rate_limited"`
	RPS          *float64 `json:"rps"`
	AvgMS        *float64 `json:"avg_ms"`
	MinMS        *float64 `json:"min_ms"`
	MaxMS        *float64 `json:"max_ms"`
	P50MS        *float64 `json:"p50_ms"`
	P90MS        *float64 `json:"p90_ms"`
	P95MS        *float64 `json:"p95_ms"`
	P99MS        *float64 `json:"p99_ms"`
	P999MS       *float64 `json:"p99_9_ms"`
}

// Entry is the statistics of one type and name.
type Entry struct {
	Type string `json:"type"`
	Name string `json:"name"`
	Figures
}

// ErrorEntry is one kind of failure.
type ErrorEntry struct {
	Type        string     `json:"type"`
	Name        string     `json:"name"`
	Error       string     `json:"error"`
	Occurrences int64      `json:"occurrences"`
	FirstAt     *Timestamp `json:"first_at"`
	LastAt      *Timestamp `json:"last_at"`

	// Traceback is where a task error came from; the CSV file of exceptions shows it.
	Traceback string `json:"-"`
}

// ErrorTypeTask is the type of an error that a task raised and that is no failed call.
const ErrorTypeTask = "TASK"

// Second is one second of the run.
type Second struct {
	TSeconds          float64  `json:"t_seconds"`
	Users             int      `json:"users"`
	RPS               float64  `json:"rps"`
	FailuresPerSecond float64  `json:"failures_per_second"`
	P50MS             *float64 `json:"p50_ms"`
	P95MS             *float64 `json:"p95_ms"`
	P99MS             *float64 `json:"p99_ms"`
	Workers           int      `json:"workers"`
}

// Consumed is the capacity that the table charged, and how often the client was held up.
type Consumed struct {
	ReadUnits            *float64 `json:"read_units"`
	WriteUnits           *float64 `json:"write_units"`
	IndexWriteUnits      *float64 `json:"index_write_units"`
	Throttled            *int64   `json:"throttled"`
	SDKRetries           *int64   `json:"sdk_retries"`
	RoundTripsPerAcquire *float64 `json:"round_trips_per_acquire"`
	// SampledRatio is the share of calls whose units were read: 1 when each was counted, 0.01 when
	// the units above are scaled from every hundredth call. It is nil when units are not known.
	SampledRatio *float64 `json:"sampled_ratio"`
}

// Generator is the health of the processes that made the load.
type Generator struct {
	CPURatio     *float64 `json:"cpu_ratio"` // of the cores that it may use
	GCPauseMaxMS *float64 `json:"gc_pause_max_ms"`
	LateP99MS    *float64 `json:"late_p99_ms"`
	PoolWaitP99  *float64 `json:"pool_wait_p99_ms"`
}

// Operation is what the table was asked, timed at the transport: each attempt counts.
type Operation struct {
	Operation   string   `json:"operation"`
	Requests    int64    `json:"requests"`
	Throttled   int64    `json:"throttled"`
	Failures    int64    `json:"failures"`
	AvgMS       *float64 `json:"avg_ms"`
	P50MS       *float64 `json:"p50_ms"`
	P95MS       *float64 `json:"p95_ms"`
	P99MS       *float64 `json:"p99_ms"`
	ClientCPUUS *float64 `json:"client_cpu_us"`
}

// Coverage compares what was planned with what ran.
type Coverage struct {
	PlannedUserSeconds   *float64      `json:"planned_user_seconds"`
	DeliveredUserSeconds *float64      `json:"delivered_user_seconds"`
	Ratio                *float64      `json:"ratio"`
	LostWorkers          int64         `json:"lost_workers"`
	UnaccountedSamples   int64         `json:"unaccounted_samples"`
	MissingReports       int64         `json:"missing_reports"`
	Gaps                 []CoverageGap `json:"gaps"`
}

// CoverageGap is a second in which less than 95 % of the planned users ran.
type CoverageGap struct {
	TSeconds float64 `json:"t_seconds"`
	Ratio    float64 `json:"ratio"`
}

// Timestamp is an instant that is written in RFC 3339 with milliseconds, in UTC.
type Timestamp struct{ time.Time }

const timestampLayout = "2006-01-02T15:04:05.000Z07:00"

// At returns the timestamp of t, nil for the zero time.
func At(t time.Time) *Timestamp {
	if t.IsZero() {
		return nil
	}
	return &Timestamp{t}
}

// MarshalText writes the timestamp.
func (t Timestamp) MarshalText() ([]byte, error) {
	return t.UTC().AppendFormat(nil, timestampLayout), nil
}

// MarshalJSON hides the promoted method of time.Time, which would write nanoseconds.
func (t Timestamp) MarshalJSON() ([]byte, error) {
	return t.UTC().AppendFormat(nil, `"`+timestampLayout+`"`), nil
}

// UnmarshalJSON reads any RFC 3339 instant.
func (t *Timestamp) UnmarshalJSON(data []byte) error { return t.Time.UnmarshalJSON(data) }

// WriteJSON writes the document as one indented JSON object.
func (r *Result) WriteJSON(w io.Writer) error {
	return writeJSON(w, r)
}

func writeJSON(w io.Writer, document any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(document)
}

// ErrSchema is returned by Decode for JSON that is no result document of a known version.
var ErrSchema = errors.New("not a result document")

// Decode reads a document back, for comparison. Fields that this version does not know are ignored;
// a document of another schema, or more than one JSON value, is refused.
func Decode(rd io.Reader) (*Result, error) {
	dec := json.NewDecoder(rd)
	var raw json.RawMessage
	if err := dec.Decode(&raw); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("decode result: %w: text after the document", ErrSchema)
	}
	var head struct {
		Schema string `json:"schema"`
	}
	if err := json.Unmarshal(raw, &head); err != nil {
		return nil, fmt.Errorf("decode result: %w: %w", ErrSchema, err)
	}
	if head.Schema != Schema {
		return nil, fmt.Errorf("decode result: %w: schema is %q, want %q", ErrSchema, head.Schema, Schema)
	}
	r := new(Result)
	if err := json.Unmarshal(raw, r); err != nil {
		return nil, fmt.Errorf("decode result: %w", err)
	}
	r.normalise()
	return r, nil
}

// normalise gives what is absent one form: [] for a list, null for a raw value.
func (r *Result) normalise() {
	r.Run.UserClasses = orEmpty(r.Run.UserClasses)
	r.Entries, r.Setup = orEmpty(r.Entries), orEmpty(r.Setup)
	r.Errors, r.Series = orEmpty(r.Errors), orEmpty(r.Series)
	r.Operations, r.Thresholds = orEmpty(r.Operations), orEmpty(r.Thresholds)
	r.Coverage.Gaps, r.Verdict.Reasons = orEmpty(r.Coverage.Gaps), orEmpty(r.Verdict.Reasons)
	if string(r.AWS) == "null" {
		r.AWS = nil
	}
	if r.Run.Options == nil {
		r.Run.Options = map[string]string{}
	}
}

func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// known returns a pointer to x, nil for what JSON cannot hold: a quotient by zero is not known.
func known(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

// milliseconds returns d in milliseconds.
func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
