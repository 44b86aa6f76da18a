package target

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
)

func post(t *testing.T, ctx context.Context, transport http.RoundTripper, url, body string) (*http.Response, error) {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("X-Amz-Target", "DynamoDB_20120810.GetItem")
	return transport.RoundTrip(request)
}

func transportTo(server *httptest.Server, connections int) *plainTransport {
	return newPlainTransport(strings.TrimPrefix(server.URL, "http://"), connections)
}

func TestPlainTransportEchoesOverKeptConnections(t *testing.T) {
	var connections atomic.Int64
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("X-Target", r.Header.Get("X-Amz-Target"))
		w.Write(body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	server.Start()
	defer server.Close()
	transport := transportTo(server, 4)
	defer transport.CloseIdleConnections()

	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 50 {
				body := strings.Repeat("x", 20_000)
				response, err := post(t, context.Background(), transport, server.URL, body)
				if err != nil {
					t.Errorf("post: %v", err)
					return
				}
				got, _ := io.ReadAll(response.Body)
				if string(got) != body || response.Header.Get("X-Target") == "" {
					t.Errorf("reply of %d bytes, header %q", len(got), response.Header.Get("X-Target"))
				}
			}
		})
	}
	wg.Wait()
	if n := connections.Load(); n > 4 {
		t.Errorf("%d connections for 4 callers", n)
	}
}

func TestPlainTransportReadsChunkedReplies(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for range 3 {
			io.WriteString(w, "part ")
			w.(http.Flusher).Flush()
		}
	}))
	defer server.Close()
	transport := transportTo(server, 1)
	defer transport.CloseIdleConnections()
	for range 2 {
		response, err := post(t, context.Background(), transport, server.URL, "{}")
		if err != nil {
			t.Fatal(err)
		}
		var got bytes.Buffer
		io.Copy(&got, response.Body)
		if got.String() != "part part part " {
			t.Errorf("body %q", got.String())
		}
	}
}

func TestPlainTransportEndsWithItsContext(t *testing.T) {
	arrived := make(chan struct{})
	release := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		close(arrived)
		<-release
	}))
	defer server.Close()
	defer close(release)
	transport := transportTo(server, 1)
	ctx, cancel := context.WithCancel(context.Background())
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := post(t, ctx, transport, server.URL, "{}"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
	if n := len(transport.idle); n != 0 {
		t.Errorf("%d idle connections after a request that was cut off", n)
	}
}

func TestPlainTransportNeverSendsARequestTwice(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var requests atomic.Int64
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			// Takes the request and hangs up without a reply.
			buffer := make([]byte, 4096)
			if n, _ := conn.Read(buffer); n > 0 {
				requests.Add(1)
			}
			conn.Close()
		}
	}()
	transport := newPlainTransport(listener.Addr().String(), 1)
	if _, err := post(t, context.Background(), transport, "http://"+listener.Addr().String(), "{}"); err == nil {
		t.Error("no error for a reply that was lost")
	}
	if n := requests.Load(); n != 1 {
		t.Errorf("the request was sent %d times", n)
	}
}

func TestPlainTransportReportsARefusedConnection(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	listener.Close()
	_, err = post(t, context.Background(), newPlainTransport(address, 1), "http://"+address, "{}")
	var operation *net.OpError
	if !errors.As(err, &operation) {
		t.Errorf("error %v (%T), want a *net.OpError", err, err)
	}
}

func BenchmarkTransports(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		io.WriteString(w, `{"Attributes":{}}`)
	}))
	defer server.Close()
	standard := &http.Transport{MaxIdleConnsPerHost: 16, DisableCompression: true}
	defer standard.CloseIdleConnections()
	plain := transportTo(server, 16)
	defer plain.CloseIdleConnections()
	for name, transport := range map[string]http.RoundTripper{"plain": plain, "net-http": standard} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				request, _ := http.NewRequest(http.MethodPost, server.URL, strings.NewReader(`{"TableName":"t"}`))
				response, err := transport.RoundTrip(request)
				if err != nil {
					b.Fatal(err)
				}
				io.Copy(io.Discard, response.Body)
				response.Body.Close()
			}
		})
	}
}
