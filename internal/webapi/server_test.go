package webapi_test

import (
	"encoding/csv"
	"encoding/json"
	"io"
	"maps"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

var testUI = fstest.MapFS{
	"index.html":       {Data: []byte(`<script nonce="{{.Nonce}}">window.templateArgs = {{.Args}}</script>`)},
	"assets/app-1a.js": {Data: []byte("export {}")},
}

var testCSV = webapi.CSV{Requests: report.StatsCSV, Failures: report.FailuresCSV, Exceptions: report.ExceptionsCSV}

func newServer(t *testing.T, r webapi.Controller, change func(*webapi.Config)) *webapi.Server {
	t.Helper()
	config := webapi.Config{
		Controller: r,
		CSV:        testCSV,
		UI:         testUI,
		Version:    "1.2.3",
		Locustfile: "max_rps.star",
		Loopback:   true,
	}
	if change != nil {
		change(&config)
	}
	s, err := webapi.NewServer(config)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// call sends a request as curl does: no headers of a browser.
func call(h http.Handler, method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://localhost:8089"+path, strings.NewReader(body))
	if body != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
		if headers[i] == "Host" {
			r.Host = headers[i+1]
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func decode(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var value map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &value); err != nil {
		t.Fatalf("%v in %s", err, w.Body)
	}
	return value
}

func TestSwarmRefusesWhatItCannotDoAndNamesIt(t *testing.T) {
	tests := map[string]struct{ form, message string }{
		"nothing":             {"", "Missing or invalid user_count or spawn_rate from /swarm request"},
		"no spawn rate":       {"user_count=1", "Missing or invalid user_count or spawn_rate from /swarm request"},
		"users as text":       {"user_count=ten&spawn_rate=1", "Invalid user_count value: 'ten' (must be an integer)"},
		"a fraction of users": {"user_count=1.5&spawn_rate=1", "Invalid user_count value: '1.5' (must be an integer)"},
		"negative users":      {"user_count=-1&spawn_rate=1", "Invalid user_count value: '-1' (must not be negative)"},
		"too many digits":     {"user_count=99999999999999999999&spawn_rate=1", "Invalid user_count value: '99999999999999999999' (must be an integer)"},
		"spawn rate as text":  {"user_count=1&spawn_rate=fast", "Invalid spawn_rate value: 'fast' (must be a number)"},
		"spawn rate 0":        {"user_count=1&spawn_rate=0", "Invalid spawn_rate value: '0' (must be a number greater than 0)"},
		"negative spawn rate": {"user_count=1&spawn_rate=-2", "Invalid spawn_rate value: '-2' (must be a number greater than 0)"},
		"endless spawn rate":  {"user_count=1&spawn_rate=inf", "Invalid spawn_rate value: 'inf' (must be a number greater than 0)"},
		"no number":           {"user_count=1&spawn_rate=nan", "Invalid spawn_rate value: 'nan' (must be a number greater than 0)"},
		"run time":            {"user_count=1&spawn_rate=1&run_time=1m1h", "Valid run_time formats are : 20, 20s, 3m, 2h, 1h20m, 3h30m10s, etc."},
		"unknown class":       {"user_count=1&spawn_rate=1&user_classes=Nope", "Unknown user class 'Nope'; there are: My_user, SimpleUser"},
		"unknown shape":       {"user_count=1&spawn_rate=1&shape_class=Nope", "Unknown shape class 'Nope'; there are: Default"},
		"an option's type":    {"user_count=1&spawn_rate=1&my_arg2=x", "Invalid my_arg2 value: 'x' (must be an integer)"},
		"the controller":      {"user_count=200000&spawn_rate=1", "200000 users are more than the workers can run"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			run := newTestRun()
			s := newServer(t, run, func(c *webapi.Config) { c.ClassPicker = true })
			w := call(s, "POST", "/swarm", test.form)
			want := map[string]any{"success": false, "message": test.message, "host": nil}
			if diff := cmp.Diff(want, decode(t, w)); w.Code != http.StatusOK || diff != "" {
				t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
			}
			if len(run.wishes) > 0 {
				t.Errorf("started %v", run.wishes)
			}
		})
	}
}

func TestSwarmReadsTheWholeForm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		s := newServer(t, run, func(c *webapi.Config) { c.ClassPicker = true })
		defer call(s, "GET", "/stop", "")
		w := call(s, "POST", "/swarm", "user_count=12&spawn_rate=2.5&host=http%3A%2F%2Fx%3Cscript%3E&run_time=1h20m&profile=p1"+
			"&user_classes=SimpleUser&user_classes=My_user&region=eu-west-1&my_arg_2=7&ratio=0.25&verbose=true&models=x%2Cy&api_key=&unknown=1")
		want := webapi.Swarm{
			Users: 12, SpawnRate: 2.5, RunTime: 80 * time.Minute, Host: new("http://xscript"), Profile: "p1",
			Classes: []string{"SimpleUser", "My_user"},
			Options: map[string]any{"region": "eu-west-1", "my_arg2": int64(7), "ratio": 0.25, "verbose": true, "models": []string{"x", "y"}},
		}
		if diff := cmp.Diff([]webapi.Swarm{want}, run.wishes); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		wantAnswer := map[string]any{
			"success": true, "message": "Swarming started", "host": "http://xscript",
			"run_time": 4800.0, "user_classes": []any{"My_user", "SimpleUser"},
		}
		if diff := cmp.Diff(wantAnswer, decode(t, w)); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestSwarmTakesMultipartForms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		s := newServer(t, run, nil)
		defer call(s, "GET", "/stop", "")
		body := "--b\r\nContent-Disposition: form-data; name=\"user_count\"\r\n\r\n3\r\n" +
			"--b\r\nContent-Disposition: form-data; name=\"spawn_rate\"\r\n\r\n1\r\n--b--\r\n"
		w := call(s, "POST", "/swarm", body, "Content-Type", "multipart/form-data; boundary=b")
		if decode(t, w)["success"] != true || run.wishes[0].Users != 3 {
			t.Errorf("got %s, wishes %v", w.Body, run.wishes)
		}
	})
}

func TestSwarmFollowsAShape(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		run.plan.Shapes, run.plan.Shape = []string{"Daily", "Spike"}, "Spike"
		s := newServer(t, run, nil)
		defer call(s, "GET", "/stop", "")
		answer := decode(t, call(s, "POST", "/swarm", ""))
		if answer["message"] != "Swarming started using shape class 'Spike'" || run.wishes[0].Shape != "Spike" {
			t.Errorf("got %v, wish %+v", answer, run.wishes)
		}
	})
}

func TestRunTimeGrammar(t *testing.T) {
	run := newTestRun()
	run.plan.Shape = "Endless" // so that nothing but the run time is looked at
	s := newServer(t, run, nil)
	for text, want := range map[string]time.Duration{
		"20": 20 * time.Second, "20s": 20 * time.Second, "3m": 3 * time.Minute, "90m": 90 * time.Minute, "2h": 2 * time.Hour,
		"1h20m": 80 * time.Minute, "3h30m10s": 3*time.Hour + 30*time.Minute + 10*time.Second, "0": 0, "0s": 0, "007": 7 * time.Second,
		"1m1h": -1, "1.5h": -1, "1d": -1, "5 m": -1, "10S": -1, "1h ": -1, "-5": -1, "+5": -1, "x": -1, "99999999999h": -1,
	} {
		run.status.State, run.wishes = webapi.StateRunning, nil
		call(s, "POST", "/swarm", url.Values{"run_time": {text}}.Encode())
		switch {
		case want < 0 && len(run.wishes) > 0:
			t.Errorf("%q was taken for %v", text, run.wishes[0].RunTime)
		case want >= 0 && (len(run.wishes) == 0 || run.wishes[0].RunTime != want):
			t.Errorf("%q: got %v, want %v", text, run.wishes, want)
		}
	}
}

func TestStatisticsOfARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun().distributed(
			webapi.Worker{ID: "h_1", State: webapi.StateRunning, Users: 10, CPUPercent: 12.5, MemoryBytes: 1 << 20},
			webapi.Worker{ID: "h_2", State: webapi.StateMissing},
		)
		s := newServer(t, run, nil)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=10")
		time.Sleep(20*time.Second + 50*time.Millisecond)
		synctest.Wait()
		answer := decode(t, call(s, "GET", "/stats/requests", ""))
		call(s, "GET", "/stop", "")

		rows := answer["stats"].([]any)
		if len(rows) != 3 {
			t.Fatalf("got %d rows, want ACQUIRE, RATE_LIMITED and the total", len(rows))
		}
		acquire, total := rows[0].(map[string]any), rows[2].(map[string]any)
		for key, want := range map[string]any{
			"method": "ACQUIRE", "name": "api", "num_requests": 1600.0, "num_failures": 200.0, "min_response_time": 12.0,
			"max_response_time": 12.0, "avg_content_length": 0.0, "rate_limited": 0.0, "min_ms": 12.4, "max_ms": 12.4,
			"response_time_percentile_0.95": 12.0, "response_time_percentile_0.99": 12.0,
		} {
			if acquire[key] != want {
				t.Errorf("row of acquires: %s = %v, want %v", key, acquire[key], want)
			}
		}
		for key, want := range map[string]float64{"avg_response_time": 12.4, "median_response_time": 12.4, "p95_ms": 12.4, "current_rps": 80, "current_fail_per_sec": 10} {
			checkNear(t, "row of acquires: "+key, acquire[key], want, 0.05)
		}
		if total["name"] != "Aggregated" || total["method"] != "" || total["num_requests"] != 2000.0 || total["rate_limited"] != 400.0 {
			t.Errorf("total: %v", total)
		}
		checkNear(t, "total rps", answer["total_rps"], 100, 0.05)
		checkNear(t, "current rps", answer["current_rps"], 100, 0.05)
		checkNear(t, "fail ratio", answer["fail_ratio"], 0.1, 1e-9)
		checkNear(t, "p50 now", answer["current_response_time_percentiles"].(map[string]any)["response_time_percentile_0.5"], 12.4, 0.02)
		for key, want := range map[string]any{"state": "running", "user_count": 10.0, "worker_count": 1.0, "target_user_count": 10.0} {
			if answer[key] != want {
				t.Errorf("%s = %v, want %v", key, answer[key], want)
			}
		}
		wantWorkers := []any{
			map[string]any{"id": "h_1", "state": "running", "user_count": 10.0, "cpu_usage": 12.5, "memory_usage": 1048576.0},
			map[string]any{"id": "h_2", "state": "missing", "user_count": 0.0, "cpu_usage": 0.0, "memory_usage": 0.0},
		}
		if diff := cmp.Diff(wantWorkers, answer["workers"]); diff != "" {
			t.Errorf("workers (-want +got):\n%s", diff)
		}
		failure := answer["errors"].([]any)[0].(map[string]any)
		if failure["error"] != "ThrottlingException('<b>slow down</b>')" || failure["occurrences"] != 200.0 || failure["first_seen"].(float64) < 9e8 {
			t.Errorf("errors: %v", failure)
		}
	})
}

// A worker sends anything as its name and its figures: the answer stays JSON.
func TestWorkersAreJSONWhateverTheySay(t *testing.T) {
	run := newTestRun()
	run.distributed(
		webapi.Worker{ID: "a\"b\\c<d>&é\n\xff", State: webapi.StateReady, CPUPercent: math.NaN(), MemoryBytes: -1},
		webapi.Worker{ID: "", State: "", CPUPercent: math.Inf(1)},
		webapi.Worker{ID: "h", State: webapi.StateRunning, Users: 3, CPUPercent: 1e-9, MemoryBytes: math.MaxInt64},
	)
	want := []any{
		map[string]any{"id": "a\"b\\c<d>&é\n\ufffd", "state": "ready", "user_count": 0.0, "cpu_usage": 0.0, "memory_usage": -1.0},
		map[string]any{"id": "", "state": "", "user_count": 0.0, "cpu_usage": 0.0, "memory_usage": 0.0},
		map[string]any{"id": "h", "state": "running", "user_count": 3.0, "cpu_usage": 1e-9, "memory_usage": float64(math.MaxInt64)},
	}
	answer := decode(t, call(newServer(t, run, nil), "GET", "/stats/requests", ""))
	if diff := cmp.Diff(want, answer["workers"]); diff != "" {
		t.Errorf("workers (-want +got):\n%s", diff)
	}
	if answer["worker_count"] != 2.0 {
		t.Errorf("worker_count %v, want 2", answer["worker_count"])
	}
}

func checkNear(t *testing.T, what string, got any, want, tolerance float64) {
	t.Helper()
	x, ok := got.(float64)
	if !ok || x < want*(1-tolerance) || x > want*(1+tolerance) {
		t.Errorf("%s: got %v, want about %v", what, got, want)
	}
}

// The keys that the UI and scripts rely on are there before anything was measured, with the types
// they have later.
func TestStatisticsBeforeTheFirstRun(t *testing.T) {
	answer := decode(t, call(newServer(t, newTestRun(), nil), "GET", "/stats/requests", ""))
	want := []string{
		"current_fail_per_sec", "current_response_time_percentiles", "current_rps", "errors", "fail_ratio", "idle_seconds", "state",
		"stats", "target_user_count", "total_fail_per_sec", "total_rps", "user_count",
	}
	if diff := cmp.Diff(want, slices.Sorted(maps.Keys(answer))); diff != "" {
		t.Errorf("keys of a local run (-want +got):\n%s", diff)
	}
	rows := answer["stats"].([]any)
	if len(rows) != 1 || rows[0].(map[string]any)["name"] != "Aggregated" {
		t.Errorf("rows: %v, want the total alone", rows)
	}
	if diff := cmp.Diff(map[string]any{"response_time_percentile_0.5": nil, "response_time_percentile_0.95": nil}, answer["current_response_time_percentiles"]); diff != "" {
		t.Errorf("percentiles (-want +got):\n%s", diff)
	}
}

func TestLongListsAreCutAndTheTotalStays(t *testing.T) {
	run := newTestRun()
	run.final = &stats.Snapshot{Total: stats.Entry{Requests: 1400}}
	for i := range 700 {
		key := stats.Key{Type: "GET", Name: string(rune('a'+i%26)) + strings.Repeat("x", i/26)}
		run.final.Entries = append(run.final.Entries, stats.Entry{Key: key, Requests: 2})
		run.final.Errors = append(run.final.Errors, stats.Error{ErrorKey: stats.ErrorKey{Type: "GET", Name: key.Name}})
	}
	answer := decode(t, call(newServer(t, run, nil), "GET", "/stats/requests", ""))
	rows, failures := answer["stats"].([]any), answer["errors"].([]any)
	if len(rows) != 501 || len(failures) != 500 {
		t.Fatalf("got %d rows and %d errors, want 501 and 500", len(rows), len(failures))
	}
	name := func(i int) string { return rows[i].(map[string]any)["name"].(string) }
	if name(0) != "a" || name(500) != "Aggregated" || rows[500].(map[string]any)["num_requests"] != 1400.0 {
		t.Errorf("first %q, last %v", name(0), rows[500])
	}
}

func TestStopAnswersWhenTheRunHasEnded(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				run := newTestRun()
				run.stopTakes = 4 * time.Second
				s := newServer(t, run, nil)
				call(s, "POST", "/swarm", "user_count=5&spawn_rate=5")
				time.Sleep(time.Second)
				began := time.Now()
				first := decode(t, call(s, method, "/stop", ""))
				if took := time.Since(began); took != 4*time.Second {
					t.Errorf("took %v, want 4s", took)
				}
				if state := decode(t, call(s, "GET", "/stats/requests", ""))["state"]; state != "stopped" {
					t.Errorf("state %v right after the answer", state)
				}
				want := map[string]any{"success": true, "message": "Test stopped"}
				if diff := cmp.Diff(want, first); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				if diff := cmp.Diff(want, decode(t, call(s, method, "/stop", ""))); diff != "" {
					t.Errorf("a second time (-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestResetForgetsWhatWasMeasured(t *testing.T) {
	for _, method := range []string{"GET", "POST"} {
		t.Run(method, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newServer(t, newTestRun(), nil)
				call(s, "POST", "/swarm", "user_count=5&spawn_rate=5")
				defer call(s, "GET", "/stop", "")
				time.Sleep(3 * time.Second)
				synctest.Wait()
				if w := call(s, method, "/stats/reset", ""); w.Code != http.StatusOK || w.Body.String() != "ok" {
					t.Errorf("got %d %q", w.Code, w.Body)
				}
				answer := decode(t, call(s, "GET", "/stats/requests", ""))
				if rows := answer["stats"].([]any); len(rows) != 1 || answer["state"] != "running" {
					t.Errorf("state %v, rows %v", answer["state"], rows)
				}
			})
		})
	}
}

func TestRatiosOfTasks(t *testing.T) {
	run := newTestRun()
	run.status.UsersByClass = map[string]int{"My_user": 6, "SimpleUser": 2}
	leaf := func(x float64) map[string]any { return map[string]any{"ratio": x} }
	node := func(x float64, tasks map[string]any) map[string]any {
		return map[string]any{"ratio": x, "tasks": tasks}
	}
	want := map[string]any{
		"per_class": map[string]any{
			"My_user": node(0.75, map[string]any{"get_a": leaf(0.75), "post_b": leaf(0.25)}),
			"SimpleUser": node(0.25, map[string]any{
				"acquire": leaf(0.5), "Sub": node(0.5, map[string]any{"inner_one": leaf(0.5), "inner_two": leaf(0.5)}),
			}),
		},
		"total": map[string]any{
			"My_user": node(0.75, map[string]any{"get_a": leaf(0.5625), "post_b": leaf(0.1875)}),
			"SimpleUser": node(0.25, map[string]any{
				"acquire": leaf(0.125), "Sub": node(0.125, map[string]any{"inner_one": leaf(0.0625), "inner_two": leaf(0.0625)}),
			}),
		},
	}
	if diff := cmp.Diff(want, decode(t, call(newServer(t, run, nil), "GET", "/tasks", ""))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestExceptionsLogsAndWorkerCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun().distributed(webapi.Worker{ID: "h_1", State: webapi.StateReady}, webapi.Worker{ID: "h_2", State: webapi.StateSpawning}, webapi.Worker{ID: "h_3", State: webapi.StateMissing})
		s := newServer(t, run, nil)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		time.Sleep(time.Second)
		call(s, "GET", "/stop", "")
		exceptions := decode(t, call(s, "GET", "/exceptions", ""))["exceptions"].([]any)
		first := exceptions[0].(map[string]any)
		if first["msg"] != "boom" || first["nodes"] != "local" || first["traceback"] != "Traceback:\n  max_rps.star:3" || first["count"].(float64) < 1 {
			t.Errorf("exceptions: %v", first)
		}
		if got := decode(t, call(s, "GET", "/worker-count", "")); got["worker_count"] != 2.0 {
			t.Errorf("worker count: %v", got)
		}
		logs := decode(t, call(s, "GET", "/logs", ""))
		if len(logs["master"].([]any)) != 1 || len(logs["workers"].(map[string]any)) != 3 {
			t.Errorf("logs: %v", logs)
		}
	})
}

func TestEmptyListsAreLists(t *testing.T) {
	run := newTestRun()
	run.logs = webapi.Logs{}
	s := newServer(t, run, nil)
	for path, want := range map[string]map[string]any{
		"/logs":         {"master": []any{}, "workers": map[string]any{}},
		"/exceptions":   {"exceptions": []any{}},
		"/worker-count": {"worker_count": 0.0},
	} {
		if diff := cmp.Diff(want, decode(t, call(s, "GET", path, ""))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", path, diff)
		}
	}
}

func TestDownloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		run.plan.Host = "http://a/b"
		s := newServer(t, run, nil)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		started := time.Now().Local().Format("2006-01-02-15h04")
		time.Sleep(time.Second)
		call(s, "GET", "/stop", "")
		for path, want := range map[string]struct {
			part   string
			header string
			text   string
		}{
			"/stats/requests/csv": {"requests", "Type,Name,Request Count", report.StatsCSV(run.Snapshot())},
			"/stats/failures/csv": {"failures", "Method,Name,Error", report.FailuresCSV(run.Snapshot())},
			"/exceptions/csv":     {"exceptions", "Count,Message,Traceback,Nodes", report.ExceptionsCSV(run.Snapshot())},
		} {
			w := call(s, "GET", path, "")
			disposition := "attachment; filename=Locust_" + started + "_max_rps.star_http___a_b_" + want.part + ".csv"
			if got := w.Header().Get("Content-Disposition"); got != disposition {
				t.Errorf("%s: disposition %q, want %q", path, got, disposition)
			}
			if got := w.Header().Get("Content-Type"); got != "text/csv" {
				t.Errorf("%s: type %q", path, got)
			}
			if w.Body.String() != want.text || !strings.HasPrefix(want.text, want.header) {
				t.Errorf("%s: got %q, want the view of the report", path, w.Body)
			}
			if _, err := csv.NewReader(w.Body).ReadAll(); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	})
}

func TestFullHistoryIsThereWhenItIsWritten(t *testing.T) {
	s := newServer(t, newTestRun(), nil)
	if w := call(s, "GET", "/stats/requests_full_history/csv", ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "Error: Server was not started with option to generate full history.") {
		t.Errorf("without: %d %s", w.Code, w.Body)
	}
	file := t.TempDir() + "/h.csv"
	writeFile(t, file, "Timestamp\r\n1\r\n")
	s = newServer(t, newTestRun(), func(c *webapi.Config) { c.HistoryFile = file })
	w := call(s, "GET", "/stats/requests_full_history/csv", "")
	if w.Body.String() != "Timestamp\r\n1\r\n" || w.Header().Get("ETag") == "" || w.Header().Get("Cache-Control") != "no-cache" {
		t.Errorf("with: %v %q", w.Header(), w.Body)
	}
	if w := call(s, "GET", "/stats/requests_full_history/csv", "", "If-None-Match", w.Header().Get("ETag")); w.Code != http.StatusNotModified {
		t.Errorf("unchanged: got %d", w.Code)
	}
}

func TestReportIsOnePageThatCanBeKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newTestRun(), nil)
		if w := call(s, "GET", "/stats/report", ""); w.Code != http.StatusNotFound {
			t.Errorf("before a run: got %d", w.Code)
		}
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		time.Sleep(3 * time.Second)
		call(s, "GET", "/stop", "")
		w := call(s, "GET", "/stats/report?theme=dark", "")
		for _, want := range []string{`data-theme="dark"`, "?download=1&amp;theme=dark", "ACQUIRE", "&lt;b&gt;slow down"} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("the page lacks %q", want)
			}
		}
		if strings.Contains(w.Body.String(), "<script") || strings.Contains(w.Body.String(), "<b>slow down") {
			t.Error("the page has scripts, or names that are not escaped")
		}
		w = call(s, "GET", "/stats/report?download=1&theme=x", "")
		if strings.Contains(w.Body.String(), "download=1") || !strings.Contains(w.Body.String(), `data-theme="light"`) {
			t.Error("the kept page offers its download or has another theme than light")
		}
		if got := w.Header().Get("Content-Disposition"); !strings.HasPrefix(got, "attachment; filename=Locust_") || !strings.HasSuffix(got, "_max_rps.star.html") {
			t.Errorf("disposition %q", got)
		}
	})
}

func TestResultIsTheDocument(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newTestRun(), nil)
		if w := call(s, "GET", "/result", ""); w.Code != http.StatusNotFound || decode(t, w)["message"] != "there is no result yet: no run was started" {
			t.Errorf("before a run: %d %s", w.Code, w.Body)
		}
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		time.Sleep(3 * time.Second)
		call(s, "GET", "/stop", "")
		document := decode(t, call(s, "GET", "/result", ""))
		totals := document["totals"].(map[string]any)
		if document["schema"] != "zae-limiter/load-result/v1" || totals["requests"].(float64) < 200 {
			t.Errorf("got %v, %v", document["schema"], totals)
		}
	})
}

// teller tells what its result is made of.
type teller struct {
	*testRun
	told any
}

func (t *teller) Statistics() any { return t.told }

func TestStatisticsAreThoseOfAControllerThatTellsThem(t *testing.T) {
	run := &teller{testRun: newTestRun()}
	s := newServer(t, run, nil)
	if w := call(s, "GET", "/result/statistics", ""); w.Code != http.StatusNotFound || decode(t, w)["message"] != "there is no result yet: no run was started" {
		t.Errorf("before a run: %d %s", w.Code, w.Body)
	}
	run.told = map[string]int{"snapshot": 1}
	if got := decode(t, call(s, "GET", "/result/statistics", "")); got["snapshot"] != 1.0 {
		t.Errorf("got %v", got)
	}
	if w := call(newServer(t, newTestRun(), nil), "GET", "/result/statistics", ""); w.Code != http.StatusNotFound {
		t.Errorf("of a controller that tells none: %d", w.Code)
	}
}

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newTestRun().distributed(webapi.Worker{ID: "h_1", State: webapi.StateRunning}), nil)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		time.Sleep(time.Second + 50*time.Millisecond)
		synctest.Wait()
		text := call(s, "GET", "/metrics", "").Body.String()
		call(s, "GET", "/stop", "")
		for _, want := range []string{
			`zae_limiter_load_state{state="running"} 1`,
			`zae_limiter_load_users{class="My_user"} 10`,
			`zae_limiter_load_target_users 10`,
			`zae_limiter_load_workers{state="running"} 1`,
			`zae_limiter_load_requests_total{type="ACQUIRE",name="api"} 80`,
			`zae_limiter_load_failures_total{type="ACQUIRE",name="api"} 10`,
			`zae_limiter_load_rate_limited_total{type="RATE_LIMITED",name="api"} 20`,
			`zae_limiter_load_response_seconds_bucket{type="ACQUIRE",name="api",le="0.01"} 0`,
			`zae_limiter_load_response_seconds_bucket{type="ACQUIRE",name="api",le="0.025"} 80`,
			`zae_limiter_load_response_seconds_bucket{type="ACQUIRE",name="api",le="+Inf"} 80`,
			`zae_limiter_load_response_seconds_count{type="ACQUIRE",name="api"} 80`,
		} {
			if !strings.Contains(text, want+"\n") {
				t.Errorf("no line %s in\n%s", want, text)
			}
		}
	})
}

func TestUserClassesAreChanged(t *testing.T) {
	run := newTestRun()
	s := newServer(t, run, nil)
	w := call(s, "POST", "/user", `{"user_class_name": "My_user", "weight": 7, "tasks": ["get_a"], "think": "long"}`, "Content-Type", "application/json")
	if w.Code != http.StatusCreated || strings.TrimSpace(w.Body.String()) != "{}" {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
	want := []webapi.ClassUpdate{{Name: "My_user", Weight: new(7.0), Tasks: []string{"get_a"}, Attributes: map[string]any{"think": "long"}}}
	if diff := cmp.Diff(want, run.updates); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for body, text := range map[string]string{
		`{`:                           "the request cannot be read",
		`{"user_class_name": "Nope"}`: "Unknown user class 'Nope'; there are: My_user, SimpleUser",
		`{"user_class_name": "My_user", "weight": "x"}`:     "weight",
		`{"user_class_name": "My_user", "weight": -1}`:      "weight -1 is negative",
		`{"user_class_name": "My_user", "fixed_count": -2}`: "fixed_count -2 is negative",
	} {
		if w := call(s, "POST", "/user", body); w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), text) {
			t.Errorf("%s: got %d %s", body, w.Code, w.Body)
		}
	}
	if len(run.updates) != 1 {
		t.Errorf("a refused change was made: %v", run.updates)
	}
	// A controller that cannot change its classes says so.
	if w := call(newServer(t, struct{ webapi.Controller }{run}, nil), "POST", "/user", `{"user_class_name": "My_user"}`); w.Code != http.StatusNotImplemented {
		t.Errorf("without an editor: got %d", w.Code)
	}
}

func TestMethodsAndPaths(t *testing.T) {
	s := newServer(t, newTestRun(), nil)
	for request, want := range map[string]int{
		"GET /swarm": 405, "DELETE /stop": 405, "GET /user": 405, "POST /stats/requests": 405,
		"GET /nope": 404, "GET /assets/nope.js": 404, "GET /assets/": 404, "GET /": 200, "GET /assets/app-1a.js": 200,
		"HEAD /stats/requests": 200, "OPTIONS /stats/requests": 200, "OPTIONS /swarm": 200, "OPTIONS /nope": 404,
		"GET /login": 302, "GET /healthz": 200,
	} {
		method, path, _ := strings.Cut(request, " ")
		w := call(s, method, path, "")
		if w.Code != want {
			t.Errorf("%s: got %d, want %d", request, w.Code, want)
		}
		if want == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s: no Allow header", request)
		}
	}
	if got := call(s, "OPTIONS", "/stop", "").Header().Get("Allow"); got != "GET, HEAD, POST, OPTIONS" {
		t.Errorf("OPTIONS /stop allows %q", got)
	}
}

func TestABodyThatIsTooLargeIsRefused(t *testing.T) {
	s := newServer(t, newTestRun(), nil)
	for path, body := range map[string]string{
		"/swarm": "user_count=" + strings.Repeat("1", 2<<20),
		"/user":  `{"user_class_name": "` + strings.Repeat("x", 2<<20) + `"}`,
	} {
		if w := call(s, "POST", path, body); w.Code != http.StatusRequestEntityTooLarge {
			t.Errorf("%s: got %d %.200s", path, w.Code, w.Body)
		}
	}
}

func TestBasePath(t *testing.T) {
	s := newServer(t, newTestRun(), func(c *webapi.Config) { c.BasePath = "/load" })
	for path, want := range map[string]int{
		"/load/": 200, "/load/stats/requests": 200, "/load/assets/app-1a.js": 200, "/load": 308, "/": 404, "/stats/requests": 404, "/loading": 404,
	} {
		w := call(s, "GET", path, "")
		if w.Code != want {
			t.Errorf("%s: got %d, want %d", path, w.Code, want)
		}
		if want == 308 && w.Header().Get("Location") != "/load/" {
			t.Errorf("%s leads to %q", path, w.Header().Get("Location"))
		}
	}
	for _, base := range []string{"load", "/load/", "/a b"} {
		if _, err := webapi.NewServer(webapi.Config{Controller: newTestRun(), BasePath: base}); err == nil || !strings.Contains(err.Error(), base) {
			t.Errorf("base path %q: error %v", base, err)
		}
	}
}

func TestAssetsAreKeptAndPagesAreNot(t *testing.T) {
	s := newServer(t, newTestRun(), nil)
	for path, want := range map[string]string{
		"/assets/app-1a.js": "public, max-age=31536000, immutable", "/": "no-store", "/assets/nope.js": "no-store", "/stats/requests": "no-store",
	} {
		if got := call(s, "GET", path, "").Header().Get("Cache-Control"); got != want {
			t.Errorf("%s: %q, want %q", path, got, want)
		}
	}
}

func TestPageTellsTheUIWhatItNeeds(t *testing.T) {
	run := newTestRun()
	run.plan.Host = "</script><script>alert(1)//"
	run.plan.Users, run.plan.SpawnRate, run.plan.RunTime = 20, 2.5, "1m"
	s := newServer(t, run, func(c *webapi.Config) { c.ClassPicker = true })
	w := call(s, "GET", "/", "")
	page := w.Body.String()
	if strings.Contains(page, "</script><script>") || strings.Contains(page, "s3cret") {
		t.Error("the page lets a name break out of its script, or shows a secret")
	}
	nonce, _, _ := strings.Cut(strings.TrimPrefix(page, `<script nonce="`), `"`)
	if !strings.Contains(w.Header().Get("Content-Security-Policy"), "'nonce-"+nonce+"'") || nonce == "" {
		t.Errorf("nonce %q, policy %s", nonce, w.Header().Get("Content-Security-Policy"))
	}
	var args map[string]any
	_, text, _ := strings.Cut(page, "window.templateArgs = ")
	if err := json.Unmarshal([]byte(strings.TrimSuffix(text, "</script>")), &args); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"state": "ready", "is_distributed": false, "num_users": 20.0, "spawn_rate": 2.5, "run_time": "1m", "profile": nil,
		"host": "</script><script>alert(1)//", "show_userclass_picker": true, "available_user_classes": []any{"My_user", "SimpleUser"},
		"available_shape_classes": []any{"Default"}, "history": []any{}, "version": "1.2.3", "percentiles_to_chart": []any{0.5, 0.95},
		"available_user_tasks": map[string]any{"My_user": []any{"get_a", "get_a", "get_a", "post_b"}, "SimpleUser": []any{"acquire", "Sub"}},
	} {
		if diff := cmp.Diff(want, args[key]); diff != "" {
			t.Errorf("%s (-want +got):\n%s", key, diff)
		}
	}
	secret := args["extra_options"].(map[string]any)["api_key"].(map[string]any)
	if secret["default_value"] != nil || secret["is_secret"] != true {
		t.Errorf("secret option: %v", secret)
	}
}

func TestHistoryIsSampledWhileServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		s := newServer(t, run, nil)
		stop := serveOverPipes(t, s)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=5")
		time.Sleep(16 * time.Second)
		synctest.Wait()
		page := call(s, "GET", "/", "").Body.String()
		call(s, "GET", "/stop", "")
		stop()
		var args struct{ History []map[string]any }
		_, text, _ := strings.Cut(page, "window.templateArgs = ")
		if err := json.Unmarshal([]byte(strings.TrimSuffix(text, "</script>")), &args); err != nil {
			t.Fatal(err)
		}
		if len(args.History) != 3 {
			t.Fatalf("got %d samples in 16 s, want 3", len(args.History))
		}
		last := args.History[2]
		checkNear(t, "users", last["user_count"].([]any)[1], 10, 0)
		checkNear(t, "rps", last["current_rps"].([]any)[1], 100, 0.05)
		checkNear(t, "p50", last["response_time_percentile_0.5"].([]any)[1], 12.4, 0.02)
	})
}

func TestCurrentRatesFallWhenTrafficEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newTestRun(), nil)
		call(s, "POST", "/swarm", "user_count=10&spawn_rate=10")
		defer call(s, "GET", "/stop", "")
		time.Sleep(20 * time.Second)
		call(s, "POST", "/swarm", "user_count=0&spawn_rate=10")
		time.Sleep(20 * time.Second)
		synctest.Wait()
		answer := decode(t, call(s, "GET", "/stats/requests", ""))
		if answer["current_rps"] != 0.0 || answer["current_fail_per_sec"] != 0.0 || answer["state"] != "running" {
			t.Errorf("state %v, %v/s, %v failures/s", answer["state"], answer["current_rps"], answer["current_fail_per_sec"])
		}
		checkNear(t, "whole-run rate", answer["total_rps"], 100, 0.05)
	})
}

func TestIdleTimeCountsWhatPeopleDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, newTestRun(), nil)
		idle := func() any { return decode(t, call(s, "GET", "/stats/requests", ""))["idle_seconds"] }
		time.Sleep(100 * time.Second)
		if got := idle(); got != 100.0 {
			t.Errorf("nobody was here for %v, want 100", got)
		}
		time.Sleep(10 * time.Second)
		call(s, "GET", "/", "")
		time.Sleep(5 * time.Second)
		if got := idle(); got != 5.0 {
			t.Errorf("nobody was here for %v, want 5", got)
		}
	})
}

func TestInternalErrorsAreNotTold(t *testing.T) {
	run := newTestRun()
	run.noResult = io.ErrUnexpectedEOF
	w := call(newServer(t, run, nil), "GET", "/result", "")
	if w.Code != http.StatusInternalServerError || strings.Contains(w.Body.String(), io.ErrUnexpectedEOF.Error()) {
		t.Errorf("got %d %s", w.Code, w.Body)
	}
}
