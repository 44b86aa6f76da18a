//go:build interop

package webapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/internal/webui"
)

// startLocust starts the real Locust without workers and returns the address of its web server.
func startLocust(t *testing.T) string {
	t.Helper()
	python := os.Getenv("ZAE_INTEROP_LOCUST_PYTHON")
	if python == "" {
		t.Fatal("no Locust: interop/run installs it")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_, port, _ := net.SplitHostPort(address)
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	locust := exec.CommandContext(ctx, python, "-m", "locust", "-f", "testdata/locustfile.py", "--web-host", "127.0.0.1", "--web-port", port, "--class-picker")
	var log bytes.Buffer
	locust.Stdout, locust.Stderr = &log, &log
	locust.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	if err := locust.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		_ = locust.Wait() // it was killed
		if t.Failed() {
			t.Logf("Locust says:\n%.2000s", log.String())
		}
	})
	waitUntil(t, func() bool {
		response, err := http.Get("http://" + address + "/stats/requests")
		if err != nil {
			return false
		}
		return response.Body.Close() == nil
	})
	return address
}

type answer struct {
	status      int
	contentType string
	body        []byte
}

func ask(t *testing.T, address, method, path, form string) answer {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, "http://"+address+path, strings.NewReader(form))
	if err != nil {
		t.Fatal(err)
	}
	switch {
	case strings.HasPrefix(form, "{"):
		request.Header.Set("Content-Type", "application/json")
	case form != "":
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	contentType, _, _ := strings.Cut(response.Header.Get("Content-Type"), ";")
	return answer{response.StatusCode, contentType, body}
}

// lacking says what of Locust's value ours does not have, or has in another type. Numbers are one
// type: Locust mixes them.
func lacking(path string, locust, ours any) []string {
	switch want := locust.(type) {
	case map[string]any:
		got, ok := ours.(map[string]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, want an object", path, ours)}
		}
		var problems []string
		for _, key := range slices.Sorted(maps.Keys(want)) {
			value, ok := got[key]
			if !ok {
				problems = append(problems, path+"."+key+" is missing")
				continue
			}
			problems = append(problems, lacking(path+"."+key, want[key], value)...)
		}
		return problems
	case []any:
		got, ok := ours.([]any)
		if !ok {
			return []string{fmt.Sprintf("%s is %T, want a list", path, ours)}
		}
		if len(want) == 0 || len(got) == 0 {
			return nil
		}
		return lacking(path+"[0]", want[0], got[0])
	case nil:
		return nil // Locust does not know a value that we may know
	default:
		if ours != nil && fmt.Sprintf("%T", ours) != fmt.Sprintf("%T", locust) {
			return []string{fmt.Sprintf("%s is %T (%v), want %T (%v)", path, ours, ours, locust, locust)}
		}
		return nil
	}
}

// compareAnswers compares status, type, keys and their types, and success.
func compareAnswers(t *testing.T, request string, want, got answer) {
	t.Helper()
	if got.status != want.status {
		t.Errorf("%s: status %d, Locust's is %d: %s", request, got.status, want.status, got.body)
	}
	if want.contentType != "application/json" {
		if want.status == http.StatusOK && got.contentType != want.contentType {
			t.Errorf("%s: type %q, Locust's is %q", request, got.contentType, want.contentType)
		}
		return
	}
	var wantJSON, gotJSON map[string]any
	if err := json.Unmarshal(want.body, &wantJSON); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(got.body, &gotJSON); err != nil {
		t.Fatal(err)
	}
	for _, problem := range lacking("", wantJSON, gotJSON) {
		t.Errorf("%s: %s", request, problem)
	}
	if wantJSON["success"] != gotJSON["success"] {
		t.Errorf("%s: success %v, Locust's %v (%v)", request, gotJSON["success"], wantJSON["success"], wantJSON["message"])
	}
}

// TestAnswersAreThoseOfLocust compares status codes, types and keys of every route with those of the
// real one, before, in and after a run.
func TestAnswersAreThoseOfLocust(t *testing.T) {
	run := newTestRun()
	ours := newUIServer(t, run, func(c *webapi.Config) { c.ClassPicker, c.UI = true, webui.Pages() })
	locust := startLocust(t)
	compare := func(t *testing.T, method, path, form string) {
		t.Helper()
		compareAnswers(t, method+" "+path+" "+form, ask(t, locust, method, path, form), ask(t, ours, method, path, form))
	}
	reads := []string{
		"/", "/stats/requests", "/stats/requests/csv", "/stats/failures/csv", "/exceptions/csv", "/stats/requests_full_history/csv",
		"/exceptions", "/tasks", "/logs", "/worker-count", "/login", "/nope", "/assets/nope.js", "/swarm", "/user",
	}
	for _, path := range reads {
		compare(t, "GET", path, "")
	}
	for _, form := range []string{
		"", "user_count=1", "user_count=x&spawn_rate=1", "user_count=1.5&spawn_rate=1", "user_count=-1&spawn_rate=1", "user_count=1&spawn_rate=0",
		"user_count=1&spawn_rate=x", "user_count=1&spawn_rate=inf", "user_count=1&spawn_rate=nan", "user_count=1&spawn_rate=1&run_time=1d",
	} {
		compare(t, "POST", "/swarm", form)
	}
	compare(t, "POST", "/swarm", "user_count=4&spawn_rate=4&run_time=1h&user_classes=My_user&region=eu")
	<-run.called
	waitUntil(t, func() bool {
		return bytes.Contains(ask(t, locust, "GET", "/exceptions", "").body, []byte("boom")) &&
			bytes.Contains(ask(t, locust, "GET", "/stats/requests", "").body, []byte("slow down"))
	})
	time.Sleep(2 * time.Second) // Locust keeps its answer for two seconds
	for _, path := range append(reads, "/stats/report", "/stats/report?download=1&theme=dark") {
		compare(t, "GET", path, "")
	}
	compare(t, "POST", "/swarm", "user_count=2&spawn_rate=1")
	compare(t, "POST", "/stats/reset", "")
	compare(t, "POST", "/stop", "")
	compare(t, "POST", "/stop", "")
	compare(t, "POST", "/user", `{"user_class_name": "My_user", "weight": 2}`)
	for _, path := range reads {
		compare(t, "GET", path, "")
	}
	comparePages(t, ask(t, locust, "GET", "/", ""), ask(t, ours, "GET", "/", ""))
	compareCSV(t, locust, ours)
}

// comparePages compares what the pages know from the start.
func comparePages(t *testing.T, locust, ours answer) {
	t.Helper()
	args := func(page answer) any {
		_, text, found := strings.Cut(string(page.body), "window.templateArgs = ")
		if !found {
			t.Fatalf("no arguments in %s", page.body)
		}
		var value any
		if err := json.NewDecoder(strings.NewReader(text)).Decode(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	for _, problem := range lacking("templateArgs", args(locust), args(ours)) {
		t.Error(problem)
	}
}

// compareCSV compares the header lines of the downloads.
func compareCSV(t *testing.T, locust, ours string) {
	t.Helper()
	for _, path := range []string{"/stats/requests/csv", "/stats/failures/csv", "/exceptions/csv"} {
		want, _, _ := bytes.Cut(ask(t, locust, "GET", path, "").body, []byte("\n"))
		got, _, _ := bytes.Cut(ask(t, ours, "GET", path, "").body, []byte("\n"))
		if !bytes.Equal(got, want) {
			t.Errorf("%s begins with %q, Locust's with %q", filepath.Base(path), got, want)
		}
	}
}
