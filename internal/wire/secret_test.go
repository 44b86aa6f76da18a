package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// testSecret returns a secret, or none.
func testSecret(t testing.TB, secure bool) *Secret {
	t.Helper()
	if !secure {
		return nil
	}
	return secretOf(t, "0123456789abcdef")
}

func secretOf(t testing.TB, text string) *Secret {
	t.Helper()
	secret, err := NewSecret([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return secret
}

func TestAddressesOfThisMachine(t *testing.T) {
	for _, test := range []struct {
		address net.Addr
		want    bool
	}{
		{&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1}, true},
		{&net.TCPAddr{IP: net.IPv4(127, 9, 9, 9), Port: 1}, true},
		{&net.TCPAddr{IP: net.ParseIP("::1"), Port: 1}, true},
		{&net.TCPAddr{IP: net.ParseIP("::ffff:127.0.0.1"), Port: 1}, true},
		{&net.UnixAddr{Name: "/tmp/x", Net: "unix"}, true},
		{&net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 1}, false},
		{&net.TCPAddr{IP: net.ParseIP("fe80::1"), Zone: "eth0", Port: 1}, false},
		{&net.TCPAddr{IP: net.IPv4zero, Port: 1}, false},
		{&net.IPAddr{IP: net.IPv4(127, 0, 0, 1)}, false}, // of no connection that is known here
	} {
		if got := isLocal(test.address); got != test.want {
			t.Errorf("isLocal(%v %v) = %v", test.address.Network(), test.address, got)
		}
	}
}

// foreignListener makes every peer seem to come from another machine.
type foreignListener struct{ net.Listener }

func (l foreignListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return foreignConn{conn.(*net.TCPConn)}, nil
}

type foreignConn struct{ *net.TCPConn }

func (foreignConn) RemoteAddr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(192, 0, 2, 7), Port: 40000}
}

func startForeignRouter(t *testing.T, options RouterOptions) *testRouter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveRouter(t, foreignListener{listener}, options)
}

func TestASecretIsLongEnough(t *testing.T) {
	if _, err := NewSecret([]byte("password")); err == nil || !strings.Contains(err.Error(), "8 bytes") {
		t.Errorf("a secret of 8 bytes: %v", err)
	}
}

func TestPeersThatShareTheSecretTalk(t *testing.T) {
	// Two secrets of the same text: each process makes its own certificates.
	r := startForeignRouter(t, RouterOptions{Secret: secretOf(t, "correct horse battery")})
	d := startDealer(t, DealerOptions{Identity: "w", Address: r.address, Secret: secretOf(t, "correct horse battery")})
	if e := r.next(t, Connected); !e.Secure || e.Identity != "w" {
		t.Errorf("connected %+v", e)
	}
	data := bytes.Repeat([]byte("0123456789"), 1_000_000)
	send(t, d, Message{"big", data, "w"})
	if e := r.next(t, Received); !bytes.Equal(e.Message.Data.([]byte), data) {
		t.Error("the master received something else")
	}
	for range 3 {
		send(t, sendTo{r.Router, "w"}, Message{"big", data, "w"})
		if m := receive(t, d); !bytes.Equal(m.Data.([]byte), data) {
			t.Error("the worker received something else")
		}
	}
}

func TestTheWrongSecretEndsTheWorker(t *testing.T) {
	r := startRouter(t, RouterOptions{Secret: secretOf(t, "correct horse battery")})
	d := NewDealer(DealerOptions{Identity: "w", Address: r.address, Secret: secretOf(t, "incorrect horse battery")})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := d.Run(ctx); !errors.Is(err, ErrWrongSecret) {
		t.Errorf("Run: %v", err)
	}
	if e := r.next(t, Refused); !errors.Is(e.Err, ErrWrongSecret) || e.Secure {
		t.Errorf("refused: %+v", e)
	}
}

// A worker's own key is not the master's: a connection cannot be turned back to a worker.
func TestAWorkerIsNoMaster(t *testing.T) {
	secret := secretOf(t, "correct horse battery")
	near, far := net.Pipe()
	served := make(chan error, 1)
	go func() {
		_, err := dialSecure(near, &Secret{client: secret.client})
		_ = near.Close()
		served <- err
	}()
	impostor := secret.client.Clone() // serves with the worker's key
	_, _, err := acceptSecure(far, &Secret{server: impostor}, false)
	_ = far.Close()
	if workers := <-served; !errors.Is(workers, ErrWrongSecret) {
		t.Errorf("the worker: %v", workers)
	}
	if err == nil {
		t.Error("the impostor was accepted")
	}
}

func TestPlainPeersFromOutside(t *testing.T) {
	for name, test := range map[string]struct {
		options RouterOptions
		want    error
	}{
		"are refused":                     {RouterOptions{}, ErrPlainPeer},
		"are refused where a secret is":   {RouterOptions{Secret: testSecret(t, true)}, ErrPlainPeer},
		"are accepted if that is allowed": {RouterOptions{Secret: testSecret(t, true), AllowPlain: true}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			r := startForeignRouter(t, test.options)
			peer := dialRaw(t, r.address)
			if test.want == nil {
				peer.greet(t, "w")
				if e := r.next(t, Connected); e.Secure {
					t.Errorf("connected: %+v", e)
				}
				return
			}
			// Not a byte of what it sends is looked at: this is no greeting.
			peer.write(t, []byte{greetingFirst})
			if e := r.next(t, Refused); !errors.Is(e.Err, test.want) {
				t.Errorf("refused: %v", e.Err)
			}
			peer.ended(t)
		})
	}
}

// A worker without the secret cannot be told more than that it is not let in.
func TestAWorkerThatIsNotLetInIsToldWhatToTry(t *testing.T) {
	r := startForeignRouter(t, RouterOptions{Secret: testSecret(t, true)})
	states := make(chan LinkState, 100)
	startDealer(t, DealerOptions{Identity: "w", Address: r.address, Changed: func(s LinkState) { states <- s }})
	if s := <-states; s.Err == nil || !strings.Contains(s.Err.Error(), "shared secret") {
		t.Errorf("state %+v", s)
	}
}

func TestPlainPeersFromHereAreAcceptedBesideASecret(t *testing.T) {
	r := startRouter(t, RouterOptions{Secret: testSecret(t, true)})
	startDealer(t, DealerOptions{Identity: "w", Address: r.address})
	if e := r.next(t, Connected); e.Secure {
		t.Errorf("connected: %+v", e)
	}
}

func TestAWorkerWithASecretDoesNotTalkToAPlainMaster(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	states := make(chan LinkState, 100)
	startDealer(t, DealerOptions{Identity: "w", Address: r.address, Secret: testSecret(t, true), Changed: func(s LinkState) { states <- s }})
	if s := <-states; s.Connected || s.Err == nil {
		t.Errorf("state %+v", s)
	}
	if e := r.next(t, Refused); !errors.Is(e.Err, ErrProtocol) {
		t.Errorf("refused: %v", e.Err)
	}
}

// recorder keeps what a worker sends.
type recorder struct {
	net.Conn
	mu   *sync.Mutex
	sent *bytes.Buffer
}

func (r recorder) Write(b []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sent.Write(b)
	return r.Conn.Write(b)
}

func TestRecordedBytesAreWorthNothing(t *testing.T) {
	secret := testSecret(t, true)
	r := startRouter(t, RouterOptions{Secret: secret})
	var mu sync.Mutex
	var sent bytes.Buffer
	d := startDealer(t, DealerOptions{Identity: "w", Secret: secret, Dial: func(context.Context) (net.Conn, error) {
		conn, err := net.Dial("tcp", r.address)
		return recorder{conn, &mu, &sent}, err
	}})
	send(t, d, Message{Type: TypeQuit, NodeID: "w"})
	r.next(t, Connected)
	r.next(t, Received)
	mu.Lock()
	recorded := bytes.Clone(sent.Bytes())
	mu.Unlock()
	if bytes.Contains(recorded, []byte(TypeQuit)) {
		t.Error("the message can be read on the wire")
	}
	replay := dialRaw(t, r.address)
	replay.write(t, recorded)
	if e := r.next(t, Refused); e.Err == nil || e.Identity != "" {
		t.Errorf("refused: %+v", e)
	}
	replay.ended(t)
}

// Bytes changed on the way end the connection before they are taken for a message.
func TestChangedBytesAreRefused(t *testing.T) {
	secret := testSecret(t, true)
	r := startRouter(t, RouterOptions{Secret: secret})
	var changing sync.Mutex
	change := false
	d := startDealer(t, DealerOptions{Identity: "w", Secret: secret, Dial: func(context.Context) (net.Conn, error) {
		conn, err := net.Dial("tcp", r.address)
		return changer{conn, &changing, &change}, err
	}})
	r.next(t, Connected)
	changing.Lock()
	change = true
	changing.Unlock()
	send(t, d, Message{Type: TypeQuit, NodeID: "w"})
	if e := r.next(t, Gone); e.Err == nil || errors.Is(e.Err, io.EOF) {
		t.Errorf("gone: %v", e.Err)
	}
}

type changer struct {
	net.Conn
	mu     *sync.Mutex
	change *bool
}

func (c changer) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if *c.change {
		*c.change = false
		b = bytes.Clone(b)
		b[len(b)-1] ^= 1
	}
	return c.Conn.Write(b)
}

func TestASilentPeerInsideTheEncryptedHandshakeIsRefused(t *testing.T) {
	r := startRouter(t, RouterOptions{Secret: testSecret(t, true), Handshake: time.Millisecond})
	peer := dialRaw(t, r.address)
	peer.write(t, []byte{tlsFirst, 3})
	if e := r.next(t, Refused); e.Err == nil {
		t.Error("refused without a reason")
	}
}
