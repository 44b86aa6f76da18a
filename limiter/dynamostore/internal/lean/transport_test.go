package lean

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
)

func transport(t testing.TB, endpoint string, change func(*Config)) *Transport {
	t.Helper()
	u, err := url.Parse(endpoint)
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Endpoint: u, Region: "us-east-1", Connections: 16, Credentials: credentials.NewStaticCredentialsProvider("a", "b", "")}
	if change != nil {
		change(&c)
	}
	tr, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(tr.CloseIdleConnections)
	return tr
}

// send sends one body and returns that of the reply.
func send(ctx context.Context, t *Transport, body string) (string, error) {
	call := t.NewCall()
	defer t.Release(call)
	call.Body = append(call.Body, body...)
	_, err := t.Send(ctx, call, "GetItem", 0)
	return string(call.Reply.Body), err
}

// counting starts an echo that counts the connections it got.
func counting(t *testing.T, secure bool) (server *httptest.Server, connections *atomic.Int64) {
	connections = new(atomic.Int64)
	server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Write(body)
	}))
	server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(server.Close)
	return server, connections
}

func trusting(server *httptest.Server) func(*Config) {
	return func(c *Config) {
		roots := x509.NewCertPool()
		roots.AddCert(server.Certificate())
		c.TLS = &tls.Config{RootCAs: roots}
	}
}

func TestRequestsGoOverKeptConnections(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprintf("TLS %v", secure), func(t *testing.T) {
			server, connections := counting(t, secure)
			change := func(*Config) {}
			if secure {
				change = trusting(server)
			}
			tr := transport(t, server.URL, change)
			var wg sync.WaitGroup
			for caller := range 4 {
				wg.Go(func() {
					for i := range 50 {
						body := fmt.Sprintf("%d-%d ", caller, i) + strings.Repeat("x", i*400)
						if got, err := send(t.Context(), tr, body); err != nil || got != body {
							t.Errorf("sent %d bytes, got %d, %v", len(body), len(got), err)
							return
						}
					}
				})
			}
			wg.Wait()
			if n := connections.Load(); n > 4 {
				t.Errorf("%d connections for 4 callers", n)
			}
		})
	}
}

func TestAnUnknownAuthorityIsRefused(t *testing.T) {
	server, _ := counting(t, true)
	_, err := send(t.Context(), transport(t, server.URL, nil), "{}")
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); !ok || !isNotSent(err) {
		t.Errorf("error %v", err)
	}
}

// script is a server that does with each connection, in turn, what it is told.
func script(t *testing.T, steps ...func(net.Conn, *bufio.Reader)) (endpoint string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for _, step := range steps {
			c, err := l.Accept()
			if err != nil {
				return
			}
			step(c, bufio.NewReader(c))
			c.Close()
		}
	})
	t.Cleanup(func() { l.Close(); wg.Wait() })
	return "http://" + l.Addr().String()
}

// request reads a whole request.
func request(r *bufio.Reader) error {
	read, err := http.ReadRequest(r)
	if err == nil {
		_, err = io.Copy(io.Discard, read.Body)
	}
	return err
}

func answer(c net.Conn, r *bufio.Reader) {
	if request(r) == nil {
		io.WriteString(c, reply("200 OK", "Content-Length: 2\r\n", "{}"))
	}
}

func TestARequestWhoseReplyIsLostIsNotSentAgain(t *testing.T) {
	var requests atomic.Int64
	hangUp := func(c net.Conn, r *bufio.Reader) {
		if request(r) == nil {
			requests.Add(1)
		}
	}
	for name, step := range map[string]func(net.Conn, *bufio.Reader){
		"no reply":     hangUp,
		"half a reply": func(c net.Conn, r *bufio.Reader) { hangUp(c, r); io.WriteString(c, "HTTP/1.1 200 OK\r\nContent-Len") },
		"half a body": func(c net.Conn, r *bufio.Reader) {
			hangUp(c, r)
			io.WriteString(c, reply("200 OK", "Content-Length: 9\r\n", "{}"))
		},
		"half a request": func(c net.Conn, r *bufio.Reader) {
			requests.Add(1)
			r.ReadByte()
			c.(*net.TCPConn).SetLinger(0)
		},
	} {
		requests.Store(0)
		tr := transport(t, script(t, step, hangUp), nil)
		if _, err := send(t.Context(), tr, "{}"); err == nil || isNotSent(err) {
			t.Errorf("%s: error %v", name, err)
		}
		if n := requests.Load(); n != 1 {
			t.Errorf("%s: sent %d times", name, n)
		}
	}
}

// A server that closes a resting connection has nothing of the next request, which may take another.
func TestAConnectionThatWasClosedWhileItRestedIsReplaced(t *testing.T) {
	closed := make(chan struct{})
	tr := transport(t, script(t, answer, func(c net.Conn, r *bufio.Reader) { close(closed); answer(c, r) }), nil)
	if _, err := send(t.Context(), tr, "{}"); err != nil {
		t.Fatal(err)
	}
	c := tr.pool.rested()
	// The close has to have arrived; it is seen once the connection rested for a while.
	one := make([]byte, 1)
	if _, err := c.raw.Read(one); err != io.EOF {
		t.Fatal(err)
	}
	c.usedAt = time.Now().Add(-checkAfter)
	tr.pool.keep(c)
	if got, err := send(t.Context(), tr, "{}"); err != nil || got != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	<-closed
}

// brokenConn fails at the first byte, as a connection does that was reset.
type brokenConn struct{ net.Conn }

func (brokenConn) Write([]byte) (int, error) { return 0, errors.New("connection reset by peer") }

func TestARequestOfWhichNothingWasSentTakesAnotherConnection(t *testing.T) {
	tr := transport(t, script(t, answer, answer), nil)
	if _, err := send(t.Context(), tr, "{}"); err != nil {
		t.Fatal(err)
	}
	c := tr.pool.rested()
	c.Conn = brokenConn{c.Conn}
	tr.pool.keep(c)
	if got, err := send(t.Context(), tr, "{}"); err != nil || got != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	if n := len(tr.pool.idle); n != 1 {
		t.Errorf("%d connections rest, want the new one", n)
	}
}

func TestConnectionsThatAreNotAsTheyWereLeftAreNotUsed(t *testing.T) {
	for name, spoil := range map[string]func(server net.Conn, c *conn){
		"too old":        func(_ net.Conn, c *conn) { c.usedAt = time.Now().Add(-maxIdle) },
		"closed":         func(server net.Conn, _ *conn) { server.Close() },
		"unasked answer": func(server net.Conn, _ *conn) { io.WriteString(server, "HTTP/1.1 408 Request Timeout\r\n\r\n") },
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		raw, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		c := &conn{Conn: raw, raw: raw, usedAt: time.Now().Add(-checkAfter)}
		if !c.usable(time.Now()) {
			t.Errorf("%s: not usable before", name)
		}
		spoil(server, c)
		for c.usable(time.Now()) && t.Context().Err() == nil {
			runtime.Gosched() // what the server did is on its way
		}
		raw.Close()
		server.Close()
		l.Close()
	}
}

func TestTheEndOfAContextEndsItsRequest(t *testing.T) {
	arrived, release := make(chan struct{}), make(chan struct{})
	tr := transport(t, script(t, answer, func(c net.Conn, r *bufio.Reader) {
		request(r)
		close(arrived)
		<-release
	}, answer), nil)
	ctx, cancel := context.WithCancel(t.Context())
	tr.pool.keep(mustConnect(t, tr)) // a connection from before, which answers
	if _, err := send(ctx, tr, "{}"); err != nil {
		t.Fatal(err)
	}
	tr.CloseIdleConnections()
	go func() {
		<-arrived
		cancel()
	}()
	if _, err := send(ctx, tr, "{}"); !errors.Is(err, context.Canceled) || isNotSent(err) {
		t.Errorf("error %v", err)
	}
	close(release)
	if n := len(tr.pool.idle); n != 0 {
		t.Errorf("%d connections rest after a request that was cut off", n)
	}
	if _, err := send(ctx, tr, "{}"); !errors.Is(err, context.Canceled) || !isNotSent(err) {
		t.Errorf("a request after the end: %v", err)
	}
	if got, err := send(t.Context(), tr, "{}"); err != nil || got != "{}" {
		t.Errorf("another context: %q, %v", got, err)
	}
}

func mustConnect(t *testing.T, tr *Transport) *conn {
	t.Helper()
	c, err := tr.dial.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	c.usedAt = time.Now()
	return c
}

// A context that ends after its request leaves the connection to the others.
func TestTheEndOfAContextLeavesARestingConnectionAlone(t *testing.T) {
	server, connections := counting(t, false)
	tr := transport(t, server.URL, nil)
	for range 50 {
		ctx, cancel := context.WithCancel(t.Context())
		if _, err := send(ctx, tr, "{}"); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

func TestAFullPoolMakesCallersWait(t *testing.T) {
	release := make(chan struct{})
	first := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, _ := io.ReadAll(r.Body); string(body) == "first" {
			close(first)
			<-release
		}
	}))
	defer server.Close()
	tr := transport(t, server.URL, func(c *Config) { c.Connections = 1 })
	done := make(chan error, 2)
	go func() { _, err := send(t.Context(), tr, "first"); done <- err }()
	<-first
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := send(ctx, tr, "no"); !errors.Is(err, context.Canceled) || !isNotSent(err) {
		t.Errorf("waiting with a context that ended: %v", err)
	}
	var waited time.Duration
	go func() {
		call := tr.NewCall()
		defer tr.Release(call)
		timing, err := tr.Send(t.Context(), call, "GetItem", 0)
		waited = timing.Waited
		done <- err
	}()
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if len(tr.pool.idle) != 1 || len(tr.pool.slots) != 0 {
		t.Errorf("%d connections rest, %d slots are taken, waited %v", len(tr.pool.idle), len(tr.pool.slots), waited)
	}
}

func TestARefusedConnectionIsAnErrorBeforeTheFirstByte(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	_, err = send(t.Context(), transport(t, "http://"+l.Addr().String(), nil), "{}")
	if _, ok := errors.AsType[*net.OpError](err); !ok || !isNotSent(err) {
		t.Errorf("error %v (%T)", err, err)
	}
}

type noKeys struct{}

func (noKeys) Retrieve(context.Context) (aws.Credentials, error) {
	return aws.Credentials{}, errors.New("expired")
}

func TestMissingCredentialsAreTold(t *testing.T) {
	tr := transport(t, "http://127.0.0.1:1", func(c *Config) { c.Credentials = noKeys{} })
	_, err := send(t.Context(), tr, "{}")
	if _, ok := errors.AsType[*CredentialsError](err); !ok || !isNotSent(err) {
		t.Errorf("error %v", err)
	}
}

// A session token of several kilobytes does not fit before the body.
func TestALongTokenIsSentWhole(t *testing.T) {
	token := strings.Repeat("t", 5000)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, len(r.Header.Get("X-Amz-Security-Token")), " ", string(body))
	}))
	defer server.Close()
	tr := transport(t, server.URL, func(c *Config) { c.Credentials = credentials.NewStaticCredentialsProvider("a", "b", token) })
	for range 2 {
		if got, err := send(t.Context(), tr, `{"a":1}`); err != nil || got != `5000 {"a":1}` {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestAnHTTPSEndpointIsReachedThroughAProxy(t *testing.T) {
	server, _ := counting(t, true)
	var asked string
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = r.Method + " " + r.Host + " " + r.Header.Get("Proxy-Authorization")
		if strings.HasSuffix(asked, " ") {
			http.Error(w, "no", http.StatusProxyAuthRequired)
			return
		}
		out, err := net.Dial("tcp", r.Host)
		if err != nil {
			return
		}
		in, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			return
		}
		io.WriteString(in, "HTTP/1.1 200 Connection established\r\n\r\n")
		go func() { io.Copy(out, in); out.Close() }()
		io.Copy(in, out)
		in.Close()
	}))
	defer proxy.Close()
	through := func(user *url.Userinfo) func(*Config) {
		return func(c *Config) {
			trusting(server)(c)
			c.Proxy = func(*url.URL) (*url.URL, error) {
				u, err := url.Parse(proxy.URL)
				u.User = user
				return u, err
			}
		}
	}
	tr := transport(t, server.URL, through(url.UserPassword("u", "p")))
	if got, err := send(t.Context(), tr, "{}"); err != nil || got != "{}" {
		t.Errorf("%q, %v", got, err)
	}
	if want := "CONNECT " + strings.TrimPrefix(server.URL, "https://") + " Basic dTpw"; asked != want {
		t.Errorf("asked %q, want %q", asked, want)
	}
	tr.CloseIdleConnections()
	if _, err := send(t.Context(), transport(t, server.URL, through(nil)), "{}"); err == nil || !strings.Contains(err.Error(), "407") || !isNotSent(err) {
		t.Errorf("a proxy that wants a password: %v", err)
	}
	u, _ := url.Parse("https://h")
	_, err := New(Config{Endpoint: u, Proxy: func(*url.URL) (*url.URL, error) { return url.Parse("socks5://p") }})
	if err == nil || !strings.Contains(err.Error(), "socks5") {
		t.Errorf("a proxy of another kind: %v", err)
	}
}
