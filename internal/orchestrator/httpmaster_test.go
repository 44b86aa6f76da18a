package orchestrator_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/internal/autoscale"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
)

// answers serves one fixed answer on every path and returns a master that asks it.
func answers(t *testing.T, code int, body string) *orchestrator.HTTPMaster {
	t.Helper()
	return served(t, "", func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(code)
		_, _ = io.WriteString(w, body)
	})
}

func served(t *testing.T, token string, handler http.HandlerFunc) *orchestrator.HTTPMaster {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	master, err := orchestrator.NewHTTPMaster(server.URL, token)
	if err != nil {
		t.Fatal(err)
	}
	return master
}

func TestStatusReadsWhatAMasterSays(t *testing.T) {
	tests := []struct {
		name, body string
		want       orchestrator.Status
	}{
		{
			"Locust 2.47",
			`{"state": "running", "user_count": 8, "worker_count": 1, "current_rps": 23.3, "total_rps": 24.28,
			  "stats": [{"name": "Aggregated"}], "errors": [], "workers": [
			   {"id": "vm_c2b9", "state": "running", "user_count": 8, "cpu_usage": 1.3, "memory_usage": 59863040},
			   {"id": "vm_dead", "state": "missing", "user_count": 0}]}`,
			orchestrator.Status{State: "running", Users: 8, Target: autoscale.Unlimited, RPS: 23.3, Idle: -1,
				Workers: []orchestrator.Worker{{ID: "vm_c2b9", State: "running", Users: 8}, {ID: "vm_dead", State: "missing"}}},
		},
		{
			"an older Locust",
			`{"state": "ready", "user_count": 0, "total_rps": 1.5, "workers": []}`,
			orchestrator.Status{State: "ready", Target: autoscale.Unlimited, RPS: 1.5, Idle: -1},
		},
		{
			"our own",
			`{"state": "spawning", "user_count": 3.0, "target_user_count": 120, "idle_seconds": 2.5}`,
			orchestrator.Status{State: "spawning", Users: 3, Target: 120, Idle: 2500 * time.Millisecond},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := answers(t, http.StatusOK, test.body).Status(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
		})
	}
}

func TestOnlyWorkersThatCanRunUsersAreConnected(t *testing.T) {
	for state, want := range map[string]bool{
		"ready": true, "spawning": true, "running": true,
		"missing": false, "stopped": false, "stopping": false, "cleanup": false, "": false,
	} {
		if got := (orchestrator.Worker{State: state}).Connected(); got != want {
			t.Errorf("state %q: connected %v, want %v", state, got, want)
		}
	}
}

func TestStatusRefusesWhatIsNoMaster(t *testing.T) {
	tests := []struct {
		name string
		code int
		body string
		want string
	}{
		{"a web page", 200, "<html>hello</html>", "does not answer as a master's web UI does"},
		{"other JSON", 200, `{"hello": 1}`, "no state"},
		{"an error", 500, "Internal Server Error", "500"},
		{"a login", 401, "{\n  \"success\": false,\n  \"message\": \"token required\"\n}", "401 Unauthorized: token required"},
		{"negative users", 200, `{"state": "running", "user_count": -1}`, "-1 users"},
		{"too many users", 200, `{"state": "running", "user_count": 1e18}`, "1e+18 users"},
		{"text as users", 200, `{"state": "running", "user_count": "many"}`, "does not answer as a master's web UI does"},
		{"a body without end", 200, strings.Repeat(" ", 16<<20+1), "more than"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, err := answers(t, test.code, test.body).Status(t.Context())
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want it to say %q", err, test.want)
			}
		})
	}
}

func TestQuitNamesTheWorkers(t *testing.T) {
	var got struct{ IDs []string }
	var path, token string
	master := served(t, "secret", func(_ http.ResponseWriter, r *http.Request) {
		path, token = r.Method+" "+r.URL.Path, r.Header.Get("Authorization")
		if err := json.NewDecoder(r.Body).Decode(&got); err != nil {
			t.Error(err)
		}
	})
	if err := master.Quit(t.Context(), []string{"a", "b"}); err != nil {
		t.Fatal(err)
	}
	if path != "POST /workers/quit" || token != "Bearer secret" {
		t.Errorf("request %s with %q", path, token)
	}
	if diff := cmp.Diff([]string{"a", "b"}, got.IDs); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestAMasterWithoutQuitIsTold(t *testing.T) {
	for _, code := range []int{http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented} {
		if err := answers(t, code, "").Quit(t.Context(), []string{"a"}); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("answer %d: %v, want it to be unsupported", code, err)
		}
	}
	if err := answers(t, 500, "").Quit(t.Context(), []string{"a"}); err == nil || errors.Is(err, errors.ErrUnsupported) {
		t.Errorf("answer 500: %v, want an error that is not about support", err)
	}
}

func TestTheURLOfTheMasterIsChecked(t *testing.T) {
	for _, bad := range []string{"", "localhost:8089", "ftp://localhost", "http://", "http://[::1"} {
		if _, err := orchestrator.NewHTTPMaster(bad, ""); err == nil {
			t.Errorf("%q accepted", bad)
		}
	}
}

func TestTheBasePathIsKept(t *testing.T) {
	var path string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path = r.URL.Path
		_, _ = io.WriteString(w, `{"state": "ready"}`)
	}))
	defer server.Close()
	master, err := orchestrator.NewHTTPMaster(server.URL+"/locust/", "")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := master.Status(t.Context()); err != nil || path != "/locust/stats/requests" {
		t.Errorf("asked %q, error %v", path, err)
	}
}
