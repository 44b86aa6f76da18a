package report

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func TestTotalsCountEachRowOnce(t *testing.T) {
	r := sampleResult(t)
	got := r.Totals
	if got.Requests != 110 || got.Failures != 10 || got.RateLimited != 20 {
		t.Errorf("requests %d, failures %d, rate limited %d, want 110, 10, 20", got.Requests, got.Failures, got.RateLimited)
	}
	var requests int64
	for _, e := range r.Entries {
		requests += e.Requests
	}
	if requests != got.Requests {
		t.Errorf("entries sum up to %d, totals have %d", requests, got.Requests)
	}
	// The first call starts at 0 s, the last one of 10 ms ends at 9.01 s.
	if math.Abs(*r.Run.ActiveSeconds-9.01) > 1e-9 || math.Abs(*got.RPS-110/9.01) > 1e-9 {
		t.Errorf("active %v s, rps %v, want 9.01 and %v", *r.Run.ActiveSeconds, *got.RPS, 110/9.01)
	}
	if *r.Run.DurationSeconds != 10 {
		t.Errorf("duration %v, want 10", *r.Run.DurationSeconds)
	}
}

func TestRoundTripsAreTheMeanOverAcquiresAndRefusals(t *testing.T) {
	r := sampleResult(t)
	if got, want := *r.Consumed.RoundTripsPerAcquire, (80*1+20*2)/100.0; got != want {
		t.Errorf("round trips %v, want %v", got, want)
	}
}

func TestSetupAndTaskErrorsAreKeptApart(t *testing.T) {
	r := sampleResult(t)
	if len(r.Setup) != 1 || r.Setup[0].Type != "SET_SYSTEM_DEFAULTS" || r.Setup[0].RPS != nil {
		t.Errorf("setup %+v", r.Setup)
	}
	if len(r.Errors) != 2 || r.Errors[0].Occurrences != 10 || r.Errors[1].Type != ErrorTypeTask {
		t.Errorf("errors %+v", r.Errors)
	}
	if r.Verdict.State != Valid {
		t.Errorf("verdict %+v", r.Verdict)
	}
}

func TestListsAreSorted(t *testing.T) {
	r := sampleResult(t)
	if names(r.Entries, func(e Entry) string { return e.Type }) != "ACQUIRE, COMMIT, RATE_LIMITED" {
		t.Errorf("entries %+v", r.Entries)
	}
	if r.Operations[0].Operation != "BatchGetItem" || r.Run.UserClasses[0] != (UserClass{"OtherUser", 1}) {
		t.Errorf("operations %+v, classes %+v", r.Operations, r.Run.UserClasses)
	}
}

func TestDocumentHasEveryFieldOfTheContract(t *testing.T) {
	var doc map[string]any
	meta := sampleMeta()
	meta.Prices = samplePrices()
	r := Build(sample10s(t), meta)
	r.Evaluate([]Threshold{MaxP95(40)})
	if err := json.Unmarshal(marshal(t, r), &doc); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"":           "schema run target totals entries setup errors series consumed generator operations cost aws coverage verdict thresholds",
		"run":        "id started_at ended_at duration_seconds mode active_seconds locustfile locustfile_sha256 seed users spawn_rate user_classes workers cores version build_id go_version os_arch speculative client rejection_cache_seconds pool_connections options warmup_seconds",
		"target":     "kind endpoint table region namespace engine",
		"totals":     "requests failures failure_ratio rate_limited rps avg_ms min_ms max_ms p50_ms p90_ms p95_ms p99_ms p99_9_ms",
		"entries":    "type name requests failures failure_ratio rate_limited rps avg_ms min_ms max_ms p50_ms p90_ms p95_ms p99_ms p99_9_ms",
		"errors":     "type name error occurrences first_at last_at",
		"series":     "t_seconds users rps failures_per_second p50_ms p95_ms p99_ms workers",
		"consumed":   "read_units write_units index_write_units throttled sdk_retries round_trips_per_acquire sampled_ratio",
		"generator":  "cpu_ratio gc_pause_max_ms late_p99_ms pool_wait_p99_ms",
		"operations": "operation requests throttled failures avg_ms p50_ms p95_ms p99_ms client_cpu_us",
		"cost":       "compute_usd estimate_usd per_million_admitted_usd per_million_refused_usd price_list table_usd",
		"coverage":   "planned_user_seconds delivered_user_seconds ratio lost_workers unaccounted_samples missing_reports gaps",
		"verdict":    "state reasons",
		"thresholds": "expression value passed",
	}
	for part, fields := range want {
		object := doc
		switch v := doc[part].(type) {
		case map[string]any:
			object = v
		case []any:
			object = v[0].(map[string]any)
		}
		got := slices.Sorted(maps.Keys(object))
		expected := slices.Sorted(slices.Values(strings.Fields(fields)))
		if diff := cmp.Diff(expected, got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", part, diff)
		}
	}
}

func TestUnknownValuesAreNullAndListsAreNot(t *testing.T) {
	r := Build(&stats.Snapshot{Started: time.Unix(1, 0), At: time.Unix(2, 0), Generator: stats.Generator{CPURatio: -1}}, Meta{})
	text := string(marshal(t, r))
	for _, want := range []string{
		`"ended_at": null`, `"rps": null`, `"avg_ms": null`, `"min_ms": null`, `"p99_9_ms": null`, `"failure_ratio": null`,
		`"cpu_ratio": null`, `"active_seconds": null`, `"cost": null`, `"aws": null`, `"engine": null`, `"entries": []`, `"setup": []`,
		`"errors": []`, `"series": []`, `"operations": []`, `"thresholds": []`, `"gaps": []`, `"user_classes": []`, `"options": {}`,
		`"started_at": "1970-01-01T00:00:01.000Z"`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("document lacks %s:\n%s", want, text)
		}
	}
}

func TestVerdict(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*stats.Snapshot, *Meta)
		state  string
		reason string
	}{
		{"a run as planned is valid", func(*stats.Snapshot, *Meta) {}, Valid, ""},
		{"no success", func(s *stats.Snapshot, _ *Meta) { s.Total.Failures = s.Total.Requests }, Invalid, "no request succeeded"},
		{"no request", func(s *stats.Snapshot, _ *Meta) { s.Total, s.TaskErrors = stats.Entry{}, nil }, Invalid, "no request was made"},
		{"tasks that fail before any request", func(s *stats.Snapshot, _ *Meta) { s.Total = stats.Entry{} }, Valid, "tasks failed"},
		{"samples lost", func(s *stats.Snapshot, _ *Meta) { s.Coverage.UnaccountedSamples = 3 }, Invalid, "3 samples"},
		{"5 % late seconds are tolerated", func(s *stats.Snapshot, _ *Meta) {
			s.Generator.Seconds, s.Generator.SaturatedSeconds = 100, 5
		}, Valid, ""},
		{"more are not", func(s *stats.Snapshot, _ *Meta) { s.Generator.Seconds, s.Generator.SaturatedSeconds = 100, 6 }, Invalid, "late"},
		{"less than 95 % of the plan", func(s *stats.Snapshot, _ *Meta) { s.Coverage.PlannedUserSeconds *= 1.06 }, Partial, "94.3%"},
		{"seconds with too few users are named", func(s *stats.Snapshot, _ *Meta) {
			s.Coverage.PlannedUserSeconds *= 1.06
			s.Coverage.Gaps = []stats.Gap{{Index: 4, Ratio: 0.5}, {Index: 5, Ratio: 0.9}}
		}, Partial, "in 2 of the seconds, first in second 4"},
		{"a loss that no second shows is that of the start", func(s *stats.Snapshot, m *Meta) {
			s.Coverage.PlannedUserSeconds, s.Coverage.DeliveredUserSeconds, s.Coverage.Gaps = 20, 16, nil
			m.Run.Users = new(10)
		}, Partial, "80.0% of the planned user seconds were delivered: 0.40 s of each user, in no whole second"},
		{"a run that ended before its time", func(s *stats.Snapshot, _ *Meta) {
			s.Coverage.PlannedUserSeconds *= 10
			s.Coverage.CutShort, s.Coverage.Gaps = 81500*time.Millisecond, nil
		}, Partial, "10.0% of the planned user seconds were delivered: the run ended 81.5 s before its time"},
		{"and had too few users", func(s *stats.Snapshot, _ *Meta) {
			s.Coverage.PlannedUserSeconds *= 10
			s.Coverage.CutShort, s.Coverage.Gaps = 81500*time.Millisecond, []stats.Gap{{Index: 4, Ratio: 0.5}}
		}, Partial, "the run ended 81.5 s before its time: too few users ran in 1 of the seconds, first in second 4"},
		{"invalid comes before partial", func(s *stats.Snapshot, _ *Meta) {
			s.Coverage.PlannedUserSeconds *= 2
			s.Coverage.UnaccountedSamples = 1
		}, Invalid, "50.0%"},
		{"a run that broke off", func(_ *stats.Snapshot, m *Meta) { m.Aborted = "the target went away" }, Partial, "the target went away"},
		{"a busy processor is a reason only", func(s *stats.Snapshot, _ *Meta) { s.Generator.CPURatio = 0.99 }, Valid, "99% of its cores"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, meta := sample10s(t), sampleMeta()
			c.change(s, &meta)
			v := Build(s, meta).Verdict
			if v.State != c.state || !strings.Contains(strings.Join(v.Reasons, "; "), c.reason) || c.reason == "" && len(v.Reasons) > 0 {
				t.Errorf("verdict %+v, want %s because %q", v, c.state, c.reason)
			}
		})
	}
}

func TestCostOfAnEmbeddedRunSplitsAdmittedAndRefused(t *testing.T) {
	meta := sampleMeta()
	meta.Prices = samplePrices()
	c := Build(sample10s(t), meta).Cost
	total := (180*0.625 + 10*0.125) / 1e6
	if math.Abs(*c.EstimateUSD-total) > 1e-12 || *c.PerMillionRefusedUSD != 0.625 {
		t.Errorf("cost %v, refused %v", *c.EstimateUSD, *c.PerMillionRefusedUSD)
	}
	if want := 1e6 * (total - 20*0.625e-6) / 70; math.Abs(*c.PerMillionAdmittedUSD-want) > 1e-9 {
		t.Errorf("admitted %v, want %v", *c.PerMillionAdmittedUSD, want)
	}
}

func TestDecodeReadsBackWhatWasWritten(t *testing.T) {
	r := sampleResult(t)
	got, err := Decode(bytes.NewReader(marshal(t, r)))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(marshal(t, r)), string(marshal(t, got))); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if diff := cmp.Diff(r, got, cmpopts.IgnoreUnexported(Result{}), cmpopts.IgnoreFields(ErrorEntry{}, "Traceback"), cmpopts.EquateApproxTime(time.Millisecond)); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
}

func TestDecodeRefusesOtherDocuments(t *testing.T) {
	for name, text := range map[string]string{
		"another schema": `{"schema": "zae-limiter/load-result/v2"}`,
		"no schema":      `{}`,
		"a list":         `[]`,
		"null":           `null`,
		"two documents":  `{"schema": "` + Schema + `"} {}`,
	} {
		if _, err := Decode(strings.NewReader(text)); !errors.Is(err, ErrSchema) {
			t.Errorf("%s: error %v, want ErrSchema", name, err)
		}
	}
	if _, err := Decode(strings.NewReader(`{"schema": "` + Schema + `", "totals": {"requests": "x"}}`)); err == nil {
		t.Error("a text for a number was accepted")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte(`{"schema":"` + Schema + `"}`))
	f.Add([]byte(`{"schema":"` + Schema + `","run":{"started_at":"2026-01-02T03:04:05.678Z"},"series":[{"t_seconds":1,"users":2,"rps":3}],"entries":[{"type":"A","name":"b","p95_ms":1.5}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := Decode(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, write := range []func() error{
			func() error { return r.WriteText(new(bytes.Buffer)) },
			func() error { return r.WriteHTML(new(bytes.Buffer)) },
			func() error { return Compare(r, r).WriteText(new(bytes.Buffer)) },
		} {
			if err := write(); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := Decode(bytes.NewReader(marshal(t, r))); err != nil {
			t.Fatalf("what was read does not read back: %v", err)
		}
	})
}

func marshal(t *testing.T, r *Result) []byte {
	t.Helper()
	b := new(bytes.Buffer)
	if err := r.WriteJSON(b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// The service does not report the unit that a refused write is charged; it belongs to the units of an
// acquire all the same.
func TestRefusalsAreChargedWhereTheServiceDoesNotTell(t *testing.T) {
	meta := sampleMeta()
	meta.Target.Kind = TargetDynamoDB
	r := Build(sample10s(t), meta)
	_, embedded, _ := sampleResult(t).units()
	if _, writes, _ := r.units(); writes != embedded+20 {
		t.Errorf("%v write units, want the %v consumed and one for each of 20 refusals", writes, embedded)
	}
	meta.Run.Speculative = new(false) // then a refusal is a read
	if _, writes, _ := Build(sample10s(t), meta).units(); writes != embedded {
		t.Errorf("%v write units without speculation, want %v", writes, embedded)
	}
}

func TestTheSeriesSaysHowManyWorkersThereWere(t *testing.T) {
	s := &stats.Snapshot{Series: []stats.Second{{Index: 0}, {Index: 1}, {Index: 2}}}
	meta := Meta{Run: Run{Workers: new(4)}, WorkersBySecond: []int{1, 3}}
	var got []int
	for _, second := range Build(s, meta).Series {
		got = append(got, second.Workers)
	}
	if want := []int{1, 3, 3}; !slices.Equal(got, want) {
		t.Errorf("workers %v, want %v", got, want)
	}
	meta.WorkersBySecond = nil
	if got := Build(s, meta).Series[2].Workers; got != 4 {
		t.Errorf("without a count of each second there are %d workers, want 4", got)
	}
}
