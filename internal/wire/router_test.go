package wire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
)

// testTimeout bounds what a test waits for; nothing depends on how long it takes.
const testTimeout = time.Minute

// testRouter serves on a loopback listener and hands its events to the test.
type testRouter struct {
	*Router
	events  chan Event
	address string
}

func startRouter(t *testing.T, options RouterOptions) *testRouter {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return serveRouter(t, listener, options)
}

func serveRouter(t *testing.T, listener net.Listener, options RouterOptions) *testRouter {
	t.Helper()
	r := &testRouter{events: make(chan Event, 100_000), address: listener.Addr().String()}
	if options.Handle == nil {
		options.Handle = func(e Event) { r.events <- e }
	}
	r.Router = NewRouter(options)
	served := make(chan error, 1)
	go func() { served <- r.Serve(context.Background(), listener) }()
	t.Cleanup(func() {
		ctx, cancel := context.WithCancel(context.Background())
		cancel()
		r.Close(ctx)
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return r
}

// next returns the next event, which must be of a kind.
func (r *testRouter) next(t *testing.T, want EventKind) Event {
	t.Helper()
	select {
	case e := <-r.events:
		if e.Kind != want {
			t.Fatalf("event %+v, want kind %d", e, want)
		}
		return e
	case <-time.After(testTimeout):
		t.Fatalf("no event of kind %d", want)
		return Event{}
	}
}

func startDealer(t *testing.T, options DealerOptions) *Dealer {
	t.Helper()
	d := NewDealer(options)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	return d
}

func receive(t *testing.T, d *Dealer) Message {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), testTimeout)
	defer cancel()
	m, err := d.Receive(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func send(t *testing.T, s interface{ Send(*Message) error }, m Message) {
	t.Helper()
	if err := s.Send(&m); err != nil {
		t.Fatal(err)
	}
}

func TestAWorkerRegistersAndIsAnswered(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	d := startDealer(t, DealerOptions{Identity: "h1_a", Address: r.address})
	send(t, d, Message{TypeClientReady, ClientReady{"1"}, "h1_a"})
	if e := r.next(t, Connected); e.Identity != "h1_a" || e.Secure {
		t.Errorf("connected: %+v", e)
	}
	if e := r.next(t, Received); e.Identity != "h1_a" || e.Message.Data != (ClientReady{"1"}) {
		t.Errorf("received: %+v", e)
	}
	if err := r.Send("h1_a", &Message{TypeAck, Ack{Index: 7}, "h1_a"}); err != nil {
		t.Fatal(err)
	}
	if m := receive(t, d); m.Type != TypeAck || m.Data.(Ack).Index != 7 {
		t.Errorf("received %+v", m)
	}
}

func TestTheNewestConnectionOfAnIdentityWins(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	old := dialRaw(t, r.address)
	old.greet(t, "w")
	r.next(t, Connected)
	newer := dialRaw(t, r.address)
	newer.greet(t, "w")
	if e := r.next(t, Gone); !errors.Is(e.Err, ErrReplaced) {
		t.Errorf("gone: %v", e.Err)
	}
	r.next(t, Connected)
	old.ended(t)
	newer.write(t, frameOf(t, Message{Type: "x"}))
	if e := r.next(t, Received); e.Identity != "w" {
		t.Errorf("received %+v", e)
	}
	send(t, sendTo{r.Router, "w"}, Message{Type: TypeStop})
	if _, body := newer.frame(t); !bytes.Contains(body, []byte(TypeStop)) {
		t.Errorf("the newer connection received % x", body)
	}
}

// A connection that was made earlier does not win by greeting later.
func TestAnOlderConnectionThatGreetsLaterDoesNotTakeOver(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	old := dialRaw(t, r.address)
	old.write(t, greeting())
	old.read(t, greetingSize) // it was accepted
	newer := dialRaw(t, r.address)
	newer.greet(t, "w")
	r.next(t, Connected)
	old.write(t, readyCommand(socketDealer, "w"))
	old.ended(t)
	newer.write(t, frameOf(t, Message{Type: "x"}))
	r.next(t, Received)
}

func TestMessagesToNobody(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.greet(t, "w")
	r.next(t, Connected)
	_ = peer.Close()
	if e := r.next(t, Gone); !errors.Is(e.Err, io.EOF) {
		t.Errorf("gone: %v", e.Err)
	}
	for _, identity := range []string{"w", "other"} {
		if err := r.Send(identity, &Message{Type: TypeStop}); !errors.Is(err, ErrUnknownPeer) {
			t.Errorf("to %q: %v", identity, err)
		}
	}
}

func TestAResetConnectionIsGoneAtOnce(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.greet(t, "w")
	r.next(t, Connected)
	_ = peer.Conn.(*net.TCPConn).SetLinger(0)
	_ = peer.Close()
	if e := r.next(t, Gone); e.Err == nil {
		t.Error("gone without a reason")
	}
}

func TestABadMessageCostsItself(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.greet(t, "w")
	r.next(t, Connected)
	peer.write(t, appendFrame(nil, 0, []byte("hello")), appendFrame(nil, 0, nil), frameOf(t, Message{Type: "x"}))
	for range 2 {
		if e := r.next(t, Bad); !errors.Is(e.Err, ErrBadMessage) || e.Identity != "w" {
			t.Errorf("bad: %+v", e)
		}
	}
	r.next(t, Received)
}

func TestMessagesOf12MegabytesInBothDirections(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	d := startDealer(t, DealerOptions{Identity: "w", Address: r.address})
	r.next(t, Connected)
	data := bytes.Repeat([]byte("0123456789ab"), 1_000_000)
	send(t, d, Message{"big", data, "w"})
	if e := r.next(t, Received); !bytes.Equal(e.Message.Data.([]byte), data) || e.Size < len(data) {
		t.Errorf("received %d bytes", e.Size)
	}
	send(t, sendTo{r.Router, "w"}, Message{"big", data, "w"})
	if m := receive(t, d); !bytes.Equal(m.Data.([]byte), data) {
		t.Error("the worker received something else")
	}
}

func TestAPeerThatDoesNotReadIsDisconnected(t *testing.T) {
	for name, options := range map[string]RouterOptions{
		"many messages": {MaxQueue: 10},
		"many bytes":    {MaxQueueBytes: 10_000},
	} {
		t.Run(name, func(t *testing.T) {
			listener := wiretest.NewListener()
			r := serveRouter(t, listener, options)
			peer := dialListener(t, listener)
			peer.greet(t, "slow")
			r.next(t, Connected)
			other := dialListener(t, listener)
			other.greet(t, "other")
			r.next(t, Connected)
			var err error
			for i := 0; err == nil && i < 1000; i++ {
				err = r.Send("slow", &Message{"x", make([]byte, 2000), "slow"})
			}
			if !errors.Is(err, ErrSlowPeer) {
				t.Errorf("sending: %v", err)
			}
			if e := r.next(t, Gone); !errors.Is(e.Err, ErrSlowPeer) || e.Identity != "slow" {
				t.Errorf("gone: %+v", e)
			}
			send(t, sendTo{r.Router, "other"}, Message{Type: TypeStop})
			if _, body := other.frame(t); !bytes.Contains(body, []byte(TypeStop)) {
				t.Errorf("the other peer received % x", body)
			}
		})
	}
}

func dialListener(t *testing.T, l *wiretest.Listener) *rawPeer {
	t.Helper()
	conn, err := l.Dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return newRawPeer(t, conn)
}

// In virtual time: silence costs nobody but the silent one.
func TestSilentPeersAreDisconnectedInTime(t *testing.T) {
	greeted := append(greeting(), readyCommand(socketDealer, "w")...)
	for name, test := range map[string]struct {
		sends []byte
		kind  EventKind
		after time.Duration
	}{
		"nothing":                  {nil, Refused, 10 * time.Second},
		"a byte":                   {greeting()[:1], Refused, 10 * time.Second},
		"half a greeting":          {greeting()[:30], Refused, 10 * time.Second},
		"half a READY":             {greeted[:80], Refused, 10 * time.Second},
		"half the head of a frame": {append(greeted[:len(greeted):len(greeted)], flagLong, 0), Gone, 30 * time.Second},
		"half a short frame":       {append(greeted[:len(greeted):len(greeted)], 0, 20, 'x'), Gone, 30 * time.Second},
		"half a long frame":        {append(greeted[:len(greeted):len(greeted)], append(appendFrameHead(nil, 0, 1_000_000), make([]byte, 100_000)...)...), Gone, 30 * time.Second},
		"half a second frame":      {append(greeted[:len(greeted):len(greeted)], flagMore, 1, 'x', 0, 20, 'x'), Gone, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				listener := wiretest.NewListener()
				r := serveRouter(t, listener, RouterOptions{})
				began := time.Now()
				silent := dialListener(t, listener)
				go func() { _, _ = io.Copy(io.Discard, silent) }()
				silent.write(t, test.sends)
				if test.kind == Gone {
					r.next(t, Connected)
				}
				other := dialListener(t, listener)
				other.greet(t, "other")
				other.write(t, frameOf(t, Message{Type: "x"}))
				r.next(t, Connected)
				r.next(t, Received)
				if passed := time.Since(began); passed > 0 {
					t.Errorf("the other peer waited %v", passed)
				}
				if e := r.next(t, test.kind); e.Err == nil {
					t.Errorf("no reason: %+v", e)
				}
				if passed := time.Since(began); passed != test.after {
					t.Errorf("disconnected after %v, want %v", passed, test.after)
				}
			})
		})
	}
}

func TestAPeerThatReadsNothingLongEnoughIsDisconnected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := wiretest.NewListener()
		r := serveRouter(t, listener, RouterOptions{Stall: 20 * time.Second})
		peer := dialListener(t, listener)
		peer.greet(t, "w")
		r.next(t, Connected)
		began := time.Now()
		send(t, sendTo{r.Router, "w"}, Message{Type: TypeStop})
		if e := r.next(t, Gone); !errors.Is(e.Err, ErrSlowPeer) {
			t.Errorf("gone: %v", e.Err)
		}
		if passed := time.Since(began); passed != 20*time.Second {
			t.Errorf("disconnected after %v", passed)
		}
	})
}

// An idle connection has no deadline: that a worker is alive is seen by its heartbeats.
func TestAnIdlePeerStays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := wiretest.NewListener()
		r := serveRouter(t, listener, RouterOptions{})
		peer := dialListener(t, listener)
		peer.greet(t, "w")
		r.next(t, Connected)
		_ = peer.SetDeadline(time.Time{})
		time.Sleep(24 * time.Hour)
		peer.write(t, frameOf(t, Message{Type: "x"}))
		r.next(t, Received)
	})
}

func TestAHandlerThatTakesLongHoldsUpItsPeerOnly(t *testing.T) {
	release, held := make(chan struct{}), make(chan struct{})
	events := make(chan Event, 100)
	r := startRouter(t, RouterOptions{Handle: func(e Event) {
		if e.Kind == Received && e.Identity == "slow" {
			close(held)
			<-release
		}
		events <- e
	}})
	r.events = events
	slow := dialRaw(t, r.address)
	slow.greet(t, "slow")
	slow.write(t, frameOf(t, Message{Type: "x"}))
	r.next(t, Connected)
	<-held
	other := dialRaw(t, r.address)
	other.greet(t, "other")
	other.write(t, frameOf(t, Message{Type: "x"}))
	r.next(t, Connected)
	if e := r.next(t, Received); e.Identity != "other" {
		t.Errorf("received %+v", e)
	}
	close(release)
	r.next(t, Received)
}

// Many peers register and are answered while others send garbage or nothing.
func TestTenThousandPeers(t *testing.T) {
	const n = 10_000
	listener := wiretest.NewListener()
	var mu sync.Mutex
	count := map[EventKind]int{}
	var r *testRouter
	ready := make(chan struct{})
	r = serveRouter(t, listener, RouterOptions{Handle: func(e Event) {
		<-ready
		mu.Lock()
		count[e.Kind]++
		mu.Unlock()
		if e.Kind == Received {
			if err := r.Send(e.Identity, &Message{TypeAck, Ack{}, e.Identity}); err != nil {
				t.Error(err)
			}
		}
	}})
	close(ready)
	var peers sync.WaitGroup
	slots := make(chan struct{}, 200)
	for i := range n {
		slots <- struct{}{}
		peers.Go(func() {
			conn, err := listener.Dial(t.Context())
			<-slots
			if err != nil {
				t.Error(err)
				return
			}
			if i%10 == 0 { // it stays silent, or is no peer at all
				if i%20 == 0 {
					_, _ = conn.Write([]byte("hello"))
				}
				return
			}
			if err := register(conn, fmt.Sprint("w", i)); err != nil {
				t.Errorf("peer %d: %v", i, err)
			}
		})
	}
	peers.Wait()
	mu.Lock()
	defer mu.Unlock()
	if count[Connected] != n*9/10 || count[Received] != n*9/10 || count[Gone] != 0 {
		t.Errorf("events by kind: %v", count)
	}
}

// register does what a worker does first, without reading what it is told.
func register(conn net.Conn, identity string) error {
	ready := Message{TypeClientReady, ClientReady{"1"}, identity}
	frame, err := messageFrame(&ready)
	if err != nil {
		return err
	}
	sent := make(chan error, 1)
	go func() {
		_, err := conn.Write(append(append(greeting(), readyCommand(socketDealer, identity)...), frame...))
		sent <- err
	}()
	answer := make([]byte, greetingSize+len(readyCommand(socketRouter, ""))+1)
	if _, err := io.ReadFull(conn, answer); err != nil {
		return err
	}
	return <-sent
}

func TestConnectionsAreBounded(t *testing.T) {
	r := startRouter(t, RouterOptions{MaxConnections: 2})
	first := dialRaw(t, r.address)
	first.greet(t, "a")
	r.next(t, Connected)
	dialRaw(t, r.address).greet(t, "b")
	r.next(t, Connected)
	dialRaw(t, r.address).ended(t)
	if e := r.next(t, Refused); !errors.Is(e.Err, ErrTooMany) {
		t.Errorf("refused: %v", e.Err)
	}
	_ = first.Close()
	r.next(t, Gone)
	// The place is free a moment after the event, so that the worker may be refused before.
	startDealer(t, DealerOptions{Identity: "c", Address: r.address, RetryMin: time.Millisecond})
	e := <-r.events
	for ; e.Kind == Refused; e = <-r.events {
	}
	if e.Kind != Connected || e.Identity != "c" {
		t.Errorf("event %+v", e)
	}
}

func TestClosingSendsWhatIsQueued(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("secure ", secure), func(t *testing.T) {
			secret := testSecret(t, secure)
			r := startRouter(t, RouterOptions{Secret: secret})
			lost := make(chan LinkState, 100)
			d := startDealer(t, DealerOptions{Identity: "w", Address: r.address, Secret: secret, Changed: func(s LinkState) { lost <- s }})
			r.next(t, Connected)
			// What the master has not read when it closes must not take back what it sent.
			for range 100 {
				send(t, d, Message{"noise", make([]byte, 10_000), "w"})
			}
			for range 50 {
				send(t, sendTo{r.Router, "w"}, Message{"x", make([]byte, 50_000), "w"})
			}
			send(t, sendTo{r.Router, "w"}, Message{Type: TypeQuit, NodeID: "w"})
			ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
			defer cancel()
			r.Close(ctx)
			if ctx.Err() != nil {
				t.Error("closing took until the end of its context")
			}
			for range 50 {
				receive(t, d)
			}
			if m := receive(t, d); m.Type != TypeQuit {
				t.Errorf("received %q last", m.Type)
			}
		})
	}
}

func TestARouterThatIsClosedAcceptsNobody(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	dialRaw(t, r.address).greet(t, "w")
	r.next(t, Connected)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	r.Close(ended)
	if e := r.next(t, Gone); !errors.Is(e.Err, ErrClosed) {
		t.Errorf("gone: %v", e.Err)
	}
	if conn, err := net.Dial("tcp", r.address); err == nil {
		_ = conn.Close()
		t.Error("a connection was accepted")
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := r.Serve(t.Context(), listener); err != nil {
		t.Errorf("serving again: %v", err)
	}
	if conn, err := net.Dial("tcp", listener.Addr().String()); err == nil {
		_ = conn.Close()
		t.Error("a connection was accepted by a new listener")
	}
	if err := r.Send("w", &Message{Type: "x"}); !errors.Is(err, ErrUnknownPeer) {
		t.Errorf("sending: %v", err)
	}
}

func TestServingEndsWithItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := NewRouter(RouterOptions{Handle: func(Event) {}})
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, listener) }()
	cancel()
	if err := <-served; err != nil {
		t.Errorf("Serve: %v", err)
	}
	r.Close(t.Context())
}
