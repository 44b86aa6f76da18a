//go:build interop

package locust_test

import (
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"
)

// Scripts on our master, as a process: of the numbers 35 to 44 what needs the whole program. The rest
// is tested beside the web API, in internal/webapi.

func TestLocust41TheRunTimeOfARunEndsNoLaterOne(t *testing.T) {
	t.Parallel()
	m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "calm.star", starFile))
	startProgram(t, "load", "worker", "--master", "127.0.0.1:"+m.port, "-f", "-")
	untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
	swarm(t, m.web, 2, 100, "run_time", "5s")
	begun := time.Now()
	untilRequests(t, m.web, "two users", func(r *requests) bool { return r.UserCount == 2 })
	for range 2 {
		if text := getText(t, m.web+"/stop"); !strings.Contains(text, `"success": true`) {
			t.Errorf("stop says %s", text)
		}
	}
	swarm(t, m.web, 3, 100)
	untilRequests(t, m.web, "the time of the first run to pass", func(r *requests) bool {
		return r.UserCount == 3 && r.State == "running" && time.Since(begun) > 7*time.Second
	})
	swarm(t, m.web, 3, 100, "run_time", "1s")
	untilRequests(t, m.web, "the end", func(r *requests) bool { return r.State == "stopped" && r.UserCount == 0 })
}

func TestLocust44OtherSitesAndScripts(t *testing.T) {
	t.Parallel()
	m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "calm.star", starFile), "--web-allow-origin", "https://dash.example.com")
	startProgram(t, "load", "worker", "--master", "127.0.0.1:"+m.port, "-f", "-")
	untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
	ask := func(method, path, origin string) int {
		body := io.Reader(nil)
		if method == http.MethodPost {
			body = strings.NewReader(url.Values{"user_count": {"1"}, "spawn_rate": {"1"}}.Encode())
		}
		request, err := http.NewRequestWithContext(t.Context(), method, m.web+path, body)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if origin != "" {
			request.Header.Set("Origin", origin)
			request.Header.Set("Sec-Fetch-Site", "cross-site")
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		return response.StatusCode
	}
	for _, path := range []string{"/swarm", "/stop", "/stats/reset"} {
		method := http.MethodGet
		if path == "/swarm" {
			method = http.MethodPost
		}
		for origin, want := range map[string]int{"https://evil.example": 403, "": 200, "https://dash.example.com": 200} {
			if got := ask(method, path, origin); got != want {
				t.Errorf("%s %s from %q: %d, want %d", method, path, origin, got, want)
			}
		}
	}
}

// The rate that scripts read falls to nothing when the users of a worker of Locust are gone.
func TestLocust36TheCurrentRateFalls(t *testing.T) {
	t.Parallel()
	m := startOurProgram(t, "127.0.0.1:0", "-f", writeFile(t, "calm.star", starFile))
	startWorker(t, newest(t), m.port, calm)
	untilRequests(t, m.web, "a worker", func(r *requests) bool { return len(r.Workers) == 1 })
	swarm(t, m.web, 4, 100)
	untilRequests(t, m.web, "a rate", func(r *requests) bool { return r.CurrentRPS > 10 })
	swarm(t, m.web, 0, 100)
	untilRequests(t, m.web, "no rate any more", func(r *requests) bool {
		return r.State == "running" && r.CurrentRPS == 0 && r.row("Aggregated")["num_requests"].(float64) > 0
	})
}
