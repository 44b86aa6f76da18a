package webapi_test

import (
	"bufio"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
)

func writeFile(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestOnlyOwnPagesMayUseTheServer(t *testing.T) {
	s := newServer(t, newTestRun(), func(c *webapi.Config) { c.AllowOrigins = []string{"https://dash.example.com"} })
	crossSite := []string{"Sec-Fetch-Site", "cross-site"}
	tests := map[string]struct {
		method, path string
		headers      []string
		want         int
	}{
		"curl starts":                            {"POST", "/swarm", nil, 200},
		"curl stops by GET":                      {"GET", "/stop", nil, 200},
		"the own page starts":                    {"POST", "/swarm", []string{"Sec-Fetch-Site", "same-origin", "Origin", "http://localhost:8089"}, 200},
		"an address typed in":                    {"GET", "/stats/requests", []string{"Sec-Fetch-Site", "none"}, 200},
		"another site starts":                    {"POST", "/swarm", append(crossSite, "Origin", "https://evil.example"), 403},
		"another site stops by GET":              {"GET", "/stop", crossSite, 403},
		"another site stops, as an image":        {"GET", "/stop", append(crossSite, "Sec-Fetch-Mode", "no-cors"), 403},
		"another site leads to /stop":            {"GET", "/stop", append(crossSite, "Sec-Fetch-Mode", "navigate"), 403},
		"another site resets by GET":             {"GET", "/stats/reset", crossSite, 403},
		"another site resets by HEAD":            {"HEAD", "/stats/reset", crossSite, 403},
		"another port of this machine stops":     {"GET", "/stop", []string{"Sec-Fetch-Site", "same-site"}, 403},
		"another site reads":                     {"GET", "/stats/requests", append(crossSite, "Origin", "https://evil.example"), 403},
		"an old browser, another site starts":    {"POST", "/swarm", []string{"Origin", "https://evil.example"}, 403},
		"a sandboxed page starts":                {"POST", "/swarm", []string{"Origin", "null"}, 403},
		"another site asks whether it may":       {"OPTIONS", "/swarm", append(crossSite, "Origin", "https://evil.example"), 403},
		"a link on another site opens the page":  {"GET", "/", append(crossSite, "Sec-Fetch-Mode", "navigate"), 200},
		"the allowed site starts":                {"POST", "/swarm", append(crossSite, "Origin", "https://dash.example.com"), 200},
		"the allowed site reads":                 {"GET", "/stats/requests", append(crossSite, "Origin", "https://dash.example.com"), 200},
		"the allowed site asks whether it may":   {"OPTIONS", "/swarm", append(crossSite, "Origin", "https://dash.example.com"), 200},
		"a name that was made to point here":     {"GET", "/stats/requests", []string{"Host", "evil.example:8089"}, 403},
		"such a name, its page":                  {"GET", "/", []string{"Host", "evil.example:8089"}, 403},
		"localhost.evil.example":                 {"GET", "/", []string{"Host", "localhost.evil.example"}, 403},
		"an address of this machine":             {"GET", "/", []string{"Host", "127.0.0.1:8089"}, 200},
		"an IPv6 address of this machine":        {"GET", "/", []string{"Host", "[::1]:8089"}, 200},
		"a name below localhost":                 {"GET", "/", []string{"Host", "load.localhost:8089"}, 200},
		"the name under which a proxy stands":    {"GET", "/", []string{"Host", "dash.example.com"}, 200},
		"an address of another machine":          {"GET", "/", []string{"Host", "192.168.1.7:8089"}, 403},
		"a mapped address of this machine":       {"GET", "/", []string{"Host", "[::ffff:127.0.0.1]:80"}, 200},
		"an address that is a name in disguise":  {"GET", "/", []string{"Host", "127.0.0.1.evil.example"}, 403},
		"a request without a host, as HTTP/1.0":  {"GET", "/", []string{"Host", ""}, 403},
		"the report from a link on another site": {"POST", "/stats/report", crossSite, 403},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			w := call(s, test.method, test.path, "", test.headers...)
			if w.Code != test.want {
				t.Errorf("got %d, want %d: %s", w.Code, test.want, w.Body)
			}
			allowed := w.Header().Get("Access-Control-Allow-Origin")
			if want := strings.HasPrefix(name, "the allowed site"); (allowed == "https://dash.example.com") != want {
				t.Errorf("allowed origin %q", allowed)
			}
		})
	}
	if _, err := webapi.NewServer(webapi.Config{Controller: newTestRun(), AllowOrigins: []string{"dash.example.com"}}); err == nil {
		t.Error("an origin without a scheme was taken")
	}
}

func TestWithATokenEveryRequestShowsIt(t *testing.T) {
	s := newServer(t, newTestRun(), func(c *webapi.Config) { c.Token = "open sesame" })
	html := []string{"Accept", "text/html,*/*"}
	for name, test := range map[string]struct {
		method, path string
		headers      []string
		want         int
	}{
		"nothing":               {"GET", "/stats/requests", nil, 401},
		"nothing, POST":         {"POST", "/swarm", nil, 401},
		"nothing, an asset":     {"GET", "/assets/app-1a.js", nil, 401},
		"a person":              {"GET", "/", html, 302},
		"the login page":        {"GET", "/login", html, 200},
		"the health check":      {"GET", "/healthz", nil, 200},
		"a bearer token":        {"GET", "/stats/requests", []string{"Authorization", "Bearer open sesame"}, 200},
		"a wrong bearer token":  {"GET", "/stats/requests", []string{"Authorization", "Bearer open"}, 401},
		"a password":            {"GET", "/stats/requests", []string{"Authorization", "Basic eDpvcGVuIHNlc2FtZQ=="}, 200},
		"a wrong password":      {"GET", "/stats/requests", []string{"Authorization", "Basic eDpvcGVu"}, 401},
		"a made-up cookie":      {"GET", "/stats/requests", []string{"Cookie", "zae_limiter_web=open sesame"}, 401},
		"a token without value": {"GET", "/stats/requests", []string{"Authorization", "Bearer "}, 401},
	} {
		if w := call(s, test.method, test.path, "", test.headers...); w.Code != test.want {
			t.Errorf("%s: got %d, want %d", name, w.Code, test.want)
		}
	}
	if to := call(s, "GET", "/stats/report?theme=dark", "", html...).Header().Get("Location"); to != "/login?next=%2Fstats%2Freport%3Ftheme%3Ddark" {
		t.Errorf("a person is sent to %q", to)
	}
}

func TestLoginOpensASession(t *testing.T) {
	s := newServer(t, newTestRun(), func(c *webapi.Config) { c.Token, c.BasePath = "open sesame", "/load" })
	if w := call(s, "POST", "/load/login", "token=wrong&next=/load/x"); w.Code != http.StatusUnauthorized || !strings.Contains(w.Body.String(), `value="/load/x"`) {
		t.Errorf("a wrong token: %d %s", w.Code, w.Body)
	}
	w := call(s, "POST", "/load/login", "token=open+sesame&next=%2Fload%2Fstats%2Frequests")
	cookie := w.Result().Cookies()[0]
	if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/load/stats/requests" {
		t.Errorf("got %d to %q", w.Code, w.Header().Get("Location"))
	}
	if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/load/" || strings.Contains(cookie.Value, "sesame") {
		t.Errorf("cookie %v", cookie)
	}
	if w := call(s, "GET", "/load/stats/requests", "", "Cookie", cookie.Name+"="+cookie.Value); w.Code != http.StatusOK {
		t.Errorf("with the session: %d", w.Code)
	}
	for _, next := range []string{"https://evil.example/", "//evil.example/", "/\\evil.example", "/elsewhere", "javascript:alert(1)", ""} {
		w := call(s, "POST", "/load/login", "token=open+sesame&next="+next)
		if to := w.Header().Get("Location"); to != "/load/" {
			t.Errorf("next %q leads to %q", next, to)
		}
	}
}

// pipeListener hands out in-memory connections, so that a server can run in virtual time.
type pipeListener struct {
	conns  chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), closed: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.conns:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.closed) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{} }

func (l *pipeListener) dial() net.Conn {
	client, server := net.Pipe()
	l.conns <- server
	return client
}

// serveOverPipes serves until the returned function is called.
func serveOverPipes(t *testing.T, s *webapi.Server) (stop func()) {
	t.Helper()
	_, stop = servePipes(t, s)
	return stop
}

func servePipes(t *testing.T, s *webapi.Server) (*pipeListener, func()) {
	t.Helper()
	l := newPipeListener()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	return l, func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Serve: %v", err)
		}
	}
}

func TestSlowAndSilentClientsAreLetGo(t *testing.T) {
	for name, send := range map[string]string{
		"says nothing":           "",
		"stops in the headers":   "GET / HTTP/1.1\r\nHost: localhost\r\nX-A: ",
		"stops in the body":      "POST /swarm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1000\r\n\r\nuser_",
		"stays after an answer":  "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
		"announces a giant body": "POST /swarm HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 1073741824\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, stop := servePipes(t, newServer(t, newTestRun(), nil))
				defer stop()
				conn := l.dial()
				defer conn.Close()
				began := time.Now()
				if _, err := conn.Write([]byte(send)); err != nil {
					t.Fatal(err)
				}
				// Whatever comes is read until the server closes.
				reader := bufio.NewReader(conn)
				for {
					if _, err := reader.ReadByte(); err != nil {
						break
					}
				}
				if took := time.Since(began); took > 2*time.Minute {
					t.Errorf("was kept for %v", took)
				}
			})
		})
	}
}

// A stop may take much longer than any other answer.
func TestStopOutlastsTheTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		run.stopTakes = 3 * time.Minute
		s := newServer(t, run, nil)
		l, stop := servePipes(t, s)
		defer stop()
		call(s, "POST", "/swarm", "user_count=1&spawn_rate=1")
		time.Sleep(time.Second)
		conn := l.dial()
		defer conn.Close()
		if _, err := conn.Write([]byte("GET /stop HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK || run.Status().State != webapi.StateStopped {
			t.Errorf("got %d, state %s", response.StatusCode, run.Status().State)
		}
	})
}

// A client that goes away does not keep the run from ending.
func TestStopGoesOnWithoutItsClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		run := newTestRun()
		run.stopTakes = 10 * time.Second
		s := newServer(t, run, nil)
		l, stop := servePipes(t, s)
		defer stop()
		call(s, "POST", "/swarm", "user_count=1&spawn_rate=1")
		time.Sleep(time.Second)
		conn := l.dial()
		if _, err := conn.Write([]byte("POST /stop HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		if err := conn.Close(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if state := run.Status().State; state != webapi.StateStopped {
			t.Errorf("state %s", state)
		}
	})
}

func TestServeEndsWithItsListener(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newPipeListener()
		ended := make(chan error, 1)
		s := newServer(t, newTestRun(), nil)
		go func() { ended <- s.Serve(t.Context(), l) }()
		synctest.Wait()
		_ = l.Close()
		if err := <-ended; !errors.Is(err, net.ErrClosed) {
			t.Errorf("got %v, want that the listener is closed", err)
		}
	})
}
