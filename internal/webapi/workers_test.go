package webapi_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
)

// retiring is a controller that can tell workers to leave.
type retiring struct {
	*testRun
	told []string
}

func (r *retiring) QuitWorkers(ids []string) error {
	r.told = append(r.told, ids...)
	return nil
}

func TestWorkersCanBeToldToLeave(t *testing.T) {
	master := &retiring{testRun: newTestRun().distributed(webapi.Worker{ID: "a", State: webapi.StateReady})}
	server := newServer(t, master, nil)
	answer := call(server, "POST", "/workers/quit", `{"ids": ["a", "b"]}`, "Content-Type", "application/json")
	if answer.Code != http.StatusOK || !slices.Equal(master.told, []string{"a", "b"}) {
		t.Errorf("answer %d %s, told %v", answer.Code, answer.Body, master.told)
	}
	for body, want := range map[string]int{`{}`: 400, `{"ids": 1}`: 400, `no`: 400, `{"ids": []}`: 400} {
		if answer := call(server, "POST", "/workers/quit", body); answer.Code != want {
			t.Errorf("%s: answer %d, want %d", body, answer.Code, want)
		}
	}
	if answer := call(server, "GET", "/workers/quit", ""); answer.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: answer %d, want 405", answer.Code)
	}
	if len(master.told) != 2 {
		t.Errorf("told %v by refused requests", master.told)
	}
}

func TestAControllerWithoutWorkersSaysSo(t *testing.T) {
	server := newServer(t, newTestRun(), nil)
	if answer := call(server, "POST", "/workers/quit", `{"ids": ["a"]}`); answer.Code != http.StatusNotImplemented {
		t.Errorf("answer %d, want 501", answer.Code)
	}
}

// An orchestrator that rotates workers must not keep itself from being idle.
func TestRetiringWorkersIsNoUse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := newServer(t, &retiring{testRun: newTestRun()}, nil)
		time.Sleep(time.Minute)
		call(server, "POST", "/workers/quit", `{"ids": ["a"]}`)
		var status struct {
			Idle float64 `json:"idle_seconds"`
		}
		if err := json.Unmarshal(call(server, "GET", "/stats/requests", "").Body.Bytes(), &status); err != nil {
			t.Fatal(err)
		}
		if status.Idle != 60 {
			t.Errorf("idle for %v s, want 60", status.Idle)
		}
	})
}
