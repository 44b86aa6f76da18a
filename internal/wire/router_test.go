package wire

import (
	"context"
	"net"
	"testing"
	"time"
)

// testTimeout bounds what a test waits for; nothing depends on how long it takes.
const testTimeout = 30 * time.Second

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
