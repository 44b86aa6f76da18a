package dynamolocal_test

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"compress/zlib"
	"context"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// exchange sends bytes on a connection of its own and returns the reply.
func exchange(t *testing.T, url, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, request); err != nil {
		t.Fatal(err)
	}
	method, _, _ := strings.Cut(request, " ")
	reply, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%.60q: %v", request, err)
	}
	return reply
}

// What is no request of the service gets an answer, and the connection ends or goes on.
func TestRequestsThatAreNone(t *testing.T) {
	const target = "X-Amz-Target: DynamoDB_20120810.ListTables\r\n"
	tests := []struct {
		request string
		status  int
	}{
		{"GET / HTTP/1.1\r\nHost: a:1\r\n\r\n", 200},
		{"GET /?x=1 HTTP/1.0\r\n\r\n", 200},
		{"HEAD / HTTP/1.1\r\nHost: a\r\n\r\n", 200},
		{"GET /index.html HTTP/1.1\r\nHost: a\r\n\r\n", 404},
		{"PUT / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", 405},
		{"POST / HTTP/1.1\r\n" + target + "Content-Length: 2\r\n\r\n{}", 200},
		{"POST / HTTP/1.1\r\n" + target + "Transfer-Encoding: chunked\r\n\r\n1\r\n{\r\n1;x=y\r\n}\r\n0\r\nTrailer: x\r\n\r\n", 200},
		{"POST / HTTP/1.1\r\n" + target + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", 400},
		{"POST / HTTP/1.1\r\n" + target + "Transfer-Encoding: chunked\r\n\r\n1000001\r\n", 413},
		{"POST / HTTP/1.1\r\n" + target + "Content-Length: 16777217\r\n\r\n", 413},
		{"POST / HTTP/1.1\r\n" + target + "Content-Length: -1\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nno colon\r\n\r\n", 400},
		{"POST / HTTP/1.1\r\nX-Long: " + strings.Repeat("x", 70_000) + "\r\n\r\n", 413},
		{"POST / HTTP/1.1\r\n" + strings.Repeat("X-Many: "+strings.Repeat("x", 1000)+"\r\n", 70) + "\r\n", 413},
		{"POST / HTTP/2.0\r\n\r\n", 400},
		{"nonsense\r\n\r\n", 400},
		{"\x16\x03\x01\x02\x00\r\n", 400}, // the start of a TLS handshake
	}
	url := listen(t, newEngine(t, dynamolocal.Config{}))
	for _, tt := range tests {
		if reply := exchange(t, url, tt.request); reply.StatusCode != tt.status {
			t.Errorf("%.80q gives %s, want %d", tt.request, reply.Status, tt.status)
		}
	}
	reply := exchange(t, url, "GET / HTTP/1.1\r\nHost: db.example:8000\r\n\r\n")
	text := make([]byte, reply.ContentLength)
	if _, err := io.ReadFull(reply.Body, text); err != nil || string(text) != "healthy: db.example:8000\n" {
		t.Errorf("health: %q, %v", text, err)
	}
}

// A client that still sends reads the refusal all the same.
func TestARefusalArrivesDuringTheRequest(t *testing.T) {
	url := listen(t, newEngine(t, dynamolocal.Config{}))
	r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(strings.Repeat("x", 17<<20)))
	if err != nil {
		t.Fatal(err)
	}
	reply, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	if reply.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("status %s, want 413", reply.Status)
	}
}

func compressed(t *testing.T, writer func(io.Writer) io.WriteCloser, text string) string {
	t.Helper()
	var b bytes.Buffer
	w := writer(&b)
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestCompressedRequests(t *testing.T) {
	zip := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	deflate := func(w io.Writer) io.WriteCloser { return zlib.NewWriter(w) }
	tests := []struct {
		encoding, body string
		status         int
	}{
		{"gzip", compressed(t, zip, `{"Limit": 1}`), 200},
		{"gzip", compressed(t, zip, `{"Limit"`) + compressed(t, zip, `: 1}`), 200},
		{"GZIP", compressed(t, zip, `{}`), 200},
		{"deflate", compressed(t, deflate, `{}`), 200},
		{"identity", `{}`, 200},
		{"gzip", compressed(t, zip, `{"Limit": "x"}`), 400},
		{"gzip", `{}`, 500},
		{"gzip", ``, 500},
		{"gzip", compressed(t, zip, `{"Limit": 1}`)[:20], 500},
		{"br", `{}`, 500},
		{"gzip", compressed(t, zip, strings.Repeat(" ", 17<<20)), 413},
	}
	e := newEngine(t, dynamolocal.Config{})
	urls := map[string]string{"own server": listen(t, e), "net/http": plainServer(t, e)}
	for name, url := range urls {
		for _, tt := range tests {
			r, err := http.NewRequestWithContext(t.Context(), "POST", url, strings.NewReader(tt.body))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Amz-Target", "DynamoDB_20120810.ListTables")
			r.Header.Set("Content-Encoding", tt.encoding)
			reply, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			reply.Body.Close()
			if reply.StatusCode != tt.status {
				t.Errorf("%s: %s %.20q gives %s, want %d", name, tt.encoding, tt.body, reply.Status, tt.status)
			}
		}
	}
}

// signalling is a listener that tells when the server has closed a connection.
type signalling struct {
	net.Listener
	closed chan struct{}
}

func (l *signalling) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return &signallingConn{Conn: conn, closed: l.closed}, nil
}

type signallingConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *signallingConn) Close() error {
	c.once.Do(func() { c.closed <- struct{}{} })
	return c.Conn.Close()
}

// A client that goes away ends what waits on its behalf: a delay, a hang, and an outage.
func TestAClientGoesAway(t *testing.T) {
	for name, config := range map[string]dynamolocal.Config{
		"delay": {Latency: "constant=1h"},
		"hang":  {Faults: []byte(`{"rules": [{"action": "hang"}]}`)},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEngine(t, config)
			inner, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			l := &signalling{Listener: inner, closed: make(chan struct{}, 1)}
			ctx, cancel := context.WithCancel(t.Context())
			served := make(chan error, 1)
			go func() { served <- e.Serve(ctx, l) }()
			conn, err := net.Dial("tcp", inner.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			body := `{"TableName": "tab", "Key": {}}`
			if _, err := io.WriteString(conn, "POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.GetItem\r\nContent-Length: "+strconv.Itoa(len(body))+"\r\n\r\n"+body); err != nil {
				t.Fatal(err)
			}
			conn.Close()
			<-l.closed
			cancel()
			if err := <-served; err != nil {
				t.Error(err)
			}
		})
	}
}

// Requests written without waiting for replies are answered in their order.
func TestPipelining(t *testing.T) {
	e := newEngine(t, dynamolocal.Config{})
	post(t, e, "CreateTable", indexedTable)
	conn, err := net.Dial("tcp", strings.TrimPrefix(listen(t, e), "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	var requests strings.Builder
	for _, pk := range []string{"a", "b", "c"} {
		body := `{"TableName": "tab", "Item": {"PK": {"S": "` + pk + `"}, "SK": {"S": "s"}}, "ReturnValues": "` + pk + `"}`
		requests.WriteString("POST / HTTP/1.1\r\nX-Amz-Target: DynamoDB_20120810.PutItem\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
	}
	if _, err := io.WriteString(conn, requests.String()); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	for _, pk := range []string{"a", "b", "c"} {
		reply, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(reply.Body)
		if err != nil || !strings.Contains(string(body), "Value '"+pk+"' at 'returnValues'") {
			t.Errorf("reply to %s: %s, %v", pk, body, err)
		}
	}
}
