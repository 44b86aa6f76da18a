package invocation_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/internal/invocation"
)

func TestAnEmptyEventHasTheDefaults(t *testing.T) {
	e, err := invocation.Parse([]byte(`{"config": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	probability := 0.10
	want := invocation.Config{
		Mode: "headless", Users: 10, SpawnRate: 5, DurationSeconds: 60,
		MasterPort: 5557, BaselineRPM: 400, SpikeRPM: 1500, SpikeProbability: &probability,
	}
	if diff := cmp.Diff(want, e.Config); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if err := e.Config.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
}

func TestWhatAWorkerIsSentIsWhatItReads(t *testing.T) {
	sent := invocation.Event{Config: invocation.Config{
		Mode: invocation.ModeWorker, MasterHost: "10.0.1.7", MasterPort: 5557, Locustfile: "max_rps.star",
		UserClasses: "MaxRpsUser, MaxRpsCascadeUser", WorkerID: "lambda_1", BuildID: "b1", DeadlineS: 1000,
	}}
	data, err := json.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(data), "users\"") || strings.Contains(string(data), "baseline_rpm") {
		t.Errorf("the event of a worker has keys of a headless run: %s", data)
	}
	got, err := invocation.Parse(data)
	if err != nil {
		t.Fatal(err)
	}
	if err := got.Config.Validate(); err != nil {
		t.Errorf("Validate: %v", err)
	}
	if got.Config.Master() != "10.0.1.7:5557" || got.Config.WorkerID != "lambda_1" {
		t.Errorf("got %+v", got.Config)
	}
	if want := []string{"MaxRpsUser", "MaxRpsCascadeUser"}; !slices.Equal(got.Config.Classes(), want) {
		t.Errorf("classes %v, want %v", got.Config.Classes(), want)
	}
}

func TestUnknownModesAreHeadlessAndZeroProbabilityIsKept(t *testing.T) {
	e, err := invocation.Parse([]byte(`{"config": {"mode": "lunar", "spike_probability": 0, "later": [1]}}`))
	if err != nil {
		t.Fatal(err)
	}
	if e.Config.Mode != invocation.ModeHeadless || *e.Config.SpikeProbability != 0 {
		t.Errorf("mode %q, probability %v", e.Config.Mode, *e.Config.SpikeProbability)
	}
}

func TestValidateNamesTheKeyAtFault(t *testing.T) {
	tests := map[string]string{
		`{"config": {"mode": "worker"}}`:                                           "master_host",
		`{"config": {"mode": "worker", "master_host": "h", "master_port": 70000}}`: "master_port",
		`{"config": {"users": 0}}`:                                                 "users",
		`{"config": {"spawn_rate": -1}}`:                                           "spawn_rate",
		`{"config": {"duration_seconds": 0}}`:                                      "duration_seconds",
	}
	for text, want := range tests {
		e, err := invocation.Parse([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Config.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want it to name %s", text, err, want)
		}
	}
}

// Defect 8: an event that was queued or retried started a worker against a master long gone.
func TestLateEventsAndOtherBuildsAreRefused(t *testing.T) {
	now := time.Unix(1_000_000, 0)
	tests := []struct {
		name   string
		config invocation.Config
		want   error
	}{
		{"in time", invocation.Config{BuildID: "b1", DeadlineS: 1_000_010}, nil},
		{"without a guard", invocation.Config{}, nil},
		{"late", invocation.Config{BuildID: "b1", DeadlineS: 999_999.5}, invocation.ErrStale},
		{"other build", invocation.Config{BuildID: "b2", DeadlineS: 1_000_010}, invocation.ErrOtherBuild},
	}
	for _, test := range tests {
		if got := test.config.Refuse(now, "b1"); !errors.Is(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestWorkerArgs(t *testing.T) {
	c := invocation.Config{MasterHost: "::1", MasterPort: 5557, WorkerID: "local_1", UserClasses: "A,B"}
	want := []string{"load", "worker", "--master", "[::1]:5557", "--worker-id", "local_1", "-f", "-", "A", "B"}
	if got := c.WorkerArgs(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	c = invocation.Config{MasterHost: "h", MasterPort: 1, Locustfile: "x.star"}
	want = []string{"load", "worker", "--master", "h:1", "-f", "x.star"}
	if got := c.WorkerArgs(); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

func TestBenchmarkArgs(t *testing.T) {
	e, err := invocation.Parse([]byte(`{"config": {}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"load", "benchmark", "--locustfile=locustfile.py", "--users=10", "--spawn-rate=5", "--duration=60", "--json"}
	if got := e.Config.BenchmarkArgs("--json"); !slices.Equal(got, want) {
		t.Errorf("of an empty event: %q, want %q", got, want)
	}
	e, err = invocation.Parse([]byte(`{"config": {"locustfile": "x.star", "user_classes": "A,B", "users": 3, "spawn_rate": 0.5, "duration_seconds": 7,
		"seed": 0, "tags": ["t"], "exclude_tags": ["u"], "options": {"b": "2", "a": "1=1"}, "host": "h", "shape": "none", "warmup": 1.5, "stop_timeout": 0,
		"namespace": "n", "keep_data": true, "speculative": false, "rejection_cache": 0.5, "consumed": "all", "client": "sdk", "pool_connections": 9}}`))
	if err != nil {
		t.Fatal(err)
	}
	want = []string{
		"load", "benchmark", "--locustfile=x.star", "--users=3", "--spawn-rate=0.5", "--duration=7", "--seed=0", "--tags=t", "--exclude-tags=u",
		"--set=a=1=1", "--set=b=2", "--host=h", "--shape=none", "--warmup=1.5", "--stop-timeout=0", "--namespace=n", "--keep-data=true",
		"--speculative=false", "--rejection-cache=0.5", "--consumed=all", "--client=sdk", "--pool-connections=9", "--user-classes=A,B",
	}
	if got := e.Config.BenchmarkArgs(); !slices.Equal(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{`{"config": {}}`, `{"config": {"mode": "worker", "master_host": "h", "spike_probability": null}}`, `[]`, `{"config": 1}`} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		e, err := invocation.Parse(data)
		if err != nil {
			return
		}
		if e.Config.SpikeProbability == nil {
			t.Error("no probability")
		}
		if e.Config.Mode != invocation.ModeWorker && e.Config.Mode != invocation.ModeHeadless {
			t.Errorf("mode %q", e.Config.Mode)
		}
	})
}
