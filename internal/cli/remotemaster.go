package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

const (
	remoteTimeout = 10 * time.Second
	// maxRemoteAnswer bounds what is read of an answer: a result document of a long run has some MB.
	maxRemoteAnswer = 64 << 20
)

// remoteMaster is a master behind a tunnel.
type remoteMaster struct {
	base   string
	status *orchestrator.HTTPMaster
	client *http.Client
}

// newRemoteMaster reaches a master at a port of this machine.
func newRemoteMaster(port int) (*remoteMaster, error) {
	base := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(port))
	status, err := orchestrator.NewHTTPMaster(base, "")
	if err != nil {
		return nil, err
	}
	return &remoteMaster{base: base, status: status, client: &http.Client{Timeout: remoteTimeout}}, nil
}

// Status is the state of the master now.
func (m *remoteMaster) Status(ctx context.Context) (orchestrator.Status, error) {
	return m.status.Status(ctx)
}

// refusedError is what a master answers that does not do what it was asked to.
type refusedError struct{ message string }

func (e *refusedError) Error() string { return "the master refused the run: " + e.message }

// Swarm starts a run.
func (m *remoteMaster) Swarm(ctx context.Context, form url.Values) error {
	var answer struct {
		Success bool   `json:"success"`
		Message string `json:"message"`
	}
	body, err := m.do(ctx, http.MethodPost, "/swarm", strings.NewReader(form.Encode()))
	if err != nil {
		return err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return fmt.Errorf("POST /swarm: %w", err)
	}
	if !answer.Success {
		return &refusedError{answer.Message}
	}
	return nil
}

// Stop ends the run.
func (m *remoteMaster) Stop(ctx context.Context) error {
	_, err := m.do(ctx, http.MethodPost, "/stop", strings.NewReader(""))
	return err
}

// errNoResult says that the master has no result yet.
var errNoResult = errors.New("the master has no result yet")

// Result is the document of the run that goes on, or of the last one.
func (m *remoteMaster) Result(ctx context.Context) (*report.Result, error) {
	body, err := m.do(ctx, http.MethodGet, "/result", nil)
	if err != nil {
		return nil, err
	}
	result, err := report.Decode(strings.NewReader(string(body)))
	if err != nil {
		return nil, fmt.Errorf("GET /result: %w", err)
	}
	return result, nil
}

func (m *remoteMaster) do(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, m.base+path, body)
	if err != nil {
		return nil, err
	}
	if body != nil {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	response, err := m.client.Do(request)
	if err != nil {
		return nil, err // it names method and URL
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxRemoteAnswer+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	case len(answer) > maxRemoteAnswer:
		return nil, fmt.Errorf("%s %s: the answer has more than %d bytes", method, path, maxRemoteAnswer)
	case response.StatusCode == http.StatusNotFound && path == "/result":
		return nil, errNoResult
	case response.StatusCode/100 != 2:
		return nil, fmt.Errorf("%s %s: the master answers %s", method, path, response.Status)
	}
	return answer, nil
}
