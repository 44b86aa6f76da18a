package orchestrator

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/autoscale"
)

const (
	httpTimeout = 5 * time.Second
	maxStatus   = 16 << 20 // bytes; 20,000 workers and 1,000 rows of statistics take 4 MB
	maxUsers    = 1e9
)

// HTTPMaster reaches a master through its web API. Locust's own master will do: what it does not say
// (the target, the idle time) is unknown then, and Quit is unsupported.
type HTTPMaster struct {
	base   *url.URL
	token  string
	client *http.Client
}

// NewHTTPMaster checks the URL of the web UI, such as http://localhost:8089, base path included. The
// token is sent as a bearer token unless it is empty.
func NewHTTPMaster(base, token string) (*HTTPMaster, error) {
	u, err := url.Parse(base)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" {
		return nil, fmt.Errorf("%q is not the URL of a master's web UI, such as http://localhost:8089", base)
	}
	return &HTTPMaster{base: u, token: token, client: &http.Client{Timeout: httpTimeout}}, nil
}

// statusDocument is what is read of GET /stats/requests: Locust's keys, and two of our own that tell
// how many users are wanted, and how long ago somebody did more than watch.
type statusDocument struct {
	State           string   `json:"state"`
	UserCount       float64  `json:"user_count"`
	CurrentRPS      *float64 `json:"current_rps"` // since Locust 2.45
	TotalRPS        float64  `json:"total_rps"`
	TargetUserCount *float64 `json:"target_user_count"`
	IdleSeconds     *float64 `json:"idle_seconds"`
	Workers         []struct {
		ID        string  `json:"id"`
		State     string  `json:"state"`
		UserCount float64 `json:"user_count"`
	} `json:"workers"`
}

// Status reads GET /stats/requests.
func (m *HTTPMaster) Status(ctx context.Context) (Status, error) {
	request, err := m.request(ctx, http.MethodGet, "stats/requests", nil)
	if err != nil {
		return Status{}, err
	}
	body, err := m.do(request)
	if err != nil {
		return Status{}, err
	}
	var doc statusDocument
	if err := json.Unmarshal(body, &doc); err != nil {
		return Status{}, fmt.Errorf("%s does not answer as a master's web UI does: %w", request.URL, err)
	}
	if doc.State == "" {
		return Status{}, fmt.Errorf("%s does not answer as a master's web UI does: no state", request.URL)
	}
	return doc.status(request.URL)
}

func (doc *statusDocument) status(from *url.URL) (Status, error) {
	s := Status{State: doc.State, Users: int(doc.UserCount), Target: autoscale.Unlimited, RPS: doc.TotalRPS, Idle: -1}
	if !(doc.UserCount >= 0 && doc.UserCount <= maxUsers) {
		return Status{}, fmt.Errorf("%s reports %v users", from, doc.UserCount)
	}
	if doc.CurrentRPS != nil {
		s.RPS = *doc.CurrentRPS
	}
	if target := doc.TargetUserCount; target != nil && *target >= 0 && *target <= maxUsers {
		s.Target = int(*target)
	}
	if idle := doc.IdleSeconds; idle != nil && *idle >= 0 {
		s.Idle = time.Duration(min(*idle*float64(time.Second), math.MaxInt64/2))
	}
	for _, w := range doc.Workers {
		s.Workers = append(s.Workers, Worker{ID: w.ID, State: w.State, Users: int(w.UserCount)})
	}
	return s, nil
}

// Quit posts the ids to /workers/quit.
func (m *HTTPMaster) Quit(ctx context.Context, ids []string) error {
	body, err := json.Marshal(map[string][]string{"ids": ids})
	if err != nil {
		return fmt.Errorf("workers to quit: %w", err)
	}
	request, err := m.request(ctx, http.MethodPost, "workers/quit", body)
	if err != nil {
		return err
	}
	_, err = m.do(request)
	if e, ok := errors.AsType[*httpError](err); ok {
		switch e.code {
		case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
			return fmt.Errorf("%w: %w", err, errors.ErrUnsupported)
		}
	}
	return err
}

func (m *HTTPMaster) request(ctx context.Context, method, path string, body []byte) (*http.Request, error) {
	target := m.base.JoinPath(path)
	request, err := http.NewRequestWithContext(ctx, method, target.String(), bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", target, err)
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/json")
	}
	if m.token != "" {
		request.Header.Set("Authorization", "Bearer "+m.token)
	}
	return request, nil
}

// httpError is an answer that is no success.
type httpError struct {
	url, status, text string
	code              int
}

func (e *httpError) Error() string {
	return strings.TrimSuffix(fmt.Sprintf("%s answered %s: %s", e.url, e.status, e.text), ": ")
}

// do returns the body of a successful answer.
func (m *HTTPMaster) do(request *http.Request) ([]byte, error) {
	response, err := m.client.Do(request)
	if err != nil {
		return nil, err // it names method and URL
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, maxStatus+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s: %w", request.URL, err)
	case len(body) > maxStatus:
		return nil, fmt.Errorf("%s sent more than %d bytes", request.URL, maxStatus)
	case response.StatusCode/100 != 2:
		return nil, &httpError{url: request.URL.String(), status: response.Status, text: reason(body), code: response.StatusCode}
	}
	return body, nil
}

// reason is what a refusal says: the message of a JSON object, else its first line.
func reason(body []byte) string {
	var refusal struct{ Message string }
	if json.Unmarshal(body, &refusal) == nil && refusal.Message != "" {
		return refusal.Message
	}
	line, _, _ := strings.Cut(strings.TrimSpace(string(body[:min(len(body), 200)])), "\n")
	return line
}
