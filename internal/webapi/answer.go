package webapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// outcome is what /swarm, /stop and every refusal answer.
type outcome struct {
	Success bool   `json:"success"`
	Message string `json:"message"`
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := encode(value)
	if err != nil {
		// Only our own types get here: they all encode.
		status, body = http.StatusInternalServerError, []byte("{}\n")
	}
	writeBody(w, status, body)
}

func encode(value any) ([]byte, error) {
	body, err := json.MarshalIndent(value, "", "  ")
	return append(body, '\n'), err
}

func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	// A client that went away needs no answer.
	_, _ = w.Write(body)
}

// badRequest explains a body that cannot be read.
func badRequest(what string, err error) error {
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return err
	}
	return &statusError{http.StatusBadRequest, fmt.Sprintf("%s: the request cannot be read: %v", what, err)}
}

// cachedBody keeps an answer for a moment: many watchers ask for the same.
type cachedBody struct {
	mu    sync.Mutex
	body  []byte
	until time.Time
}

// cacheFor is how long an answer is good; one that took long to make is kept in proportion.
const cacheFor = 250 * time.Millisecond

func (c *cachedBody) get(makeBody func() ([]byte, error)) ([]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	began := time.Now()
	if c.body != nil && began.Before(c.until) {
		return c.body, nil
	}
	body, err := makeBody()
	if err != nil {
		return nil, err
	}
	now := time.Now()
	c.body, c.until = body, now.Add(max(cacheFor, 10*now.Sub(began)))
	return body, nil
}

// forget makes the next answer a new one.
func (c *cachedBody) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.body = nil
}

// wholeMS are whole milliseconds, rounded half up as Locust rounds.
func wholeMS(d time.Duration) int64 {
	return int64(math.Floor(milliseconds(d) + 0.5))
}

// exactMS are milliseconds to the microsecond.
func exactMS(d time.Duration) float64 {
	return math.Round(milliseconds(d)*1000) / 1000
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }
