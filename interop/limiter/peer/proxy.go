//go:build interop

package peer

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
)

// Proxy stands before the engine for one side. It remembers the requests of that side, and a test can act
// before one of them, or answer in the engine's place. It is safe for concurrent use.
type Proxy struct {
	URL string

	mu       sync.Mutex
	requests []Request
	before   func(Request) *Reply
}

// Request is one call to the engine.
type Request struct {
	Operation string // such as UpdateItem
	Body      string // JSON
}

// Has says whether the request's body has the text, such as a key.
func (r Request) Has(text string) bool { return strings.Contains(r.Body, text) }

// Field returns a string of the request's body, such as its ConditionExpression.
func (r Request) Field(name string) string {
	var fields map[string]any
	_ = json.Unmarshal([]byte(r.Body), &fields)
	text, _ := fields[name].(string)
	return text
}

// Reply is what a test answers in the engine's place.
type Reply struct {
	Status int
	Body   string // JSON; __type names an error
	// Lost closes the connection without any reply; After has the engine do the work first.
	Lost, After bool
}

func newProxy(t testing.TB, endpoint string) *Proxy {
	t.Helper()
	target, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	p := &Proxy{}
	forward := httputil.NewSingleHostReverseProxy(target)
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute, DisableCompression: true}
	forward.Transport = transport
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { p.serve(w, r, forward) }))
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
		transport.CloseIdleConnections()
	})
	p.URL = server.URL
	return p
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request, forward http.Handler) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	_, operation, _ := strings.Cut(r.Header.Get("X-Amz-Target"), ".")
	request := Request{operation, string(body)}
	p.mu.Lock()
	p.requests = append(p.requests, request)
	before := p.before
	p.mu.Unlock()
	r.Body = io.NopCloser(bytes.NewReader(body))
	var reply *Reply
	if before != nil {
		reply = before(request)
	}
	switch {
	case reply == nil:
		forward.ServeHTTP(w, r)
		return
	case reply.After:
		forward.ServeHTTP(httptest.NewRecorder(), r)
	}
	if reply.Lost {
		panic(http.ErrAbortHandler)
	}
	w.Header().Set("Content-Type", "application/x-amz-json-1.0")
	w.WriteHeader(reply.Status)
	io.WriteString(w, reply.Body)
}

// Forget starts the list of requests anew.
func (p *Proxy) Forget() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = nil
}

// Requests returns those since the last Forget, in the order of their arrival.
func (p *Proxy) Requests() []Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Request(nil), p.requests...)
}

// Operations returns the operations of Requests.
func (p *Proxy) Operations() []string {
	var operations []string
	for _, r := range p.Requests() {
		operations = append(operations, r.Operation)
	}
	return operations
}

// Before has f called ahead of every request, which waits for it; nil ends that. A reply other than nil goes
// to the client in the engine's place.
func (p *Proxy) Before(f func(Request) *Reply) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.before = f
}

// Once has f called ahead of the first request that matches, and no other.
func (p *Proxy) Once(matches func(Request) bool, f func()) {
	var mu sync.Mutex
	done := false
	p.Before(func(r Request) *Reply {
		mu.Lock()
		first := !done && matches(r)
		done = done || first
		mu.Unlock()
		if first {
			f()
		}
		return nil
	})
}
