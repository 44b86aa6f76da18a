package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
)

func TestMessagesSentWithoutAMasterArriveOnceItIsThere(t *testing.T) {
	listener := wiretest.NewListener()
	var up sync.Mutex
	up.Lock()
	failed := make(chan struct{}, 100)
	d := startDealer(t, DealerOptions{Identity: "w", Dial: func(ctx context.Context) (net.Conn, error) {
		if !up.TryLock() {
			failed <- struct{}{}
			return nil, errors.New("refused")
		}
		defer up.Unlock()
		return listener.Dial(ctx)
	}})
	for i := range 10 {
		send(t, d, Message{fmt.Sprint(i), nil, "w"})
	}
	<-failed
	up.Unlock()
	r := serveRouter(t, listener, RouterOptions{})
	r.next(t, Connected)
	for i := range 10 {
		if e := r.next(t, Received); e.Message.Type != fmt.Sprint(i) {
			t.Errorf("message %d is %q", i, e.Message.Type)
		}
	}
}

// A worker whose master restarts is there again, and what it sent meanwhile arrives.
func TestAWorkerOutlivesItsMaster(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		listener := wiretest.NewListener()
		var mu sync.Mutex
		var states []LinkState
		d := startDealer(t, DealerOptions{
			Identity: "w",
			Dial: func(ctx context.Context) (net.Conn, error) {
				mu.Lock()
				current := listener
				mu.Unlock()
				return current.Dial(ctx)
			},
			Changed: func(s LinkState) {
				mu.Lock()
				defer mu.Unlock()
				states = append(states, s)
			},
		})
		first := serveRouter(t, listener, RouterOptions{})
		first.next(t, Connected)
		synctest.Wait() // until the worker has noticed, too
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		first.Close(ctx)
		first.next(t, Gone)
		time.Sleep(5 * time.Second)
		send(t, d, Message{"x", nil, "w"})
		mu.Lock()
		listener = wiretest.NewListener()
		mu.Unlock()
		second := serveRouter(t, listener, RouterOptions{})
		second.next(t, Connected)
		second.next(t, Received)
		second.Disconnect("w", errors.New("test"))
		if e := second.next(t, Gone); e.Err == nil || e.Err.Error() != "test" {
			t.Errorf("gone: %v", e.Err)
		}
		second.next(t, Connected)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		lost := states[len(states)-2] // after many attempts, then a connection
		if lost.Connected || lost.Attempts != 0 || lost.Retry > 50*time.Millisecond {
			t.Errorf("after the second loss: %+v", lost)
		}
		if len(states) < 4 || !states[0].Connected || states[1].Connected || states[1].Err == nil || states[1].Attempts != 0 ||
			states[2].Attempts != 1 || states[2].Err == nil || !states[len(states)-1].Connected {
			t.Errorf("states: %+v", states)
		}
	})
}

func TestPausesBetweenAttemptsGrowUpToABound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var pauses []time.Duration
		ctx, cancel := context.WithCancel(t.Context())
		d := NewDealer(DealerOptions{
			Identity: "w", RetryMin: 100 * time.Millisecond, RetryMax: time.Second,
			Dial: func(context.Context) (net.Conn, error) { return nil, errors.New("refused") },
			Changed: func(s LinkState) {
				if pauses = append(pauses, s.Retry); len(pauses) == 8 {
					cancel()
				}
			},
		})
		if err := d.Run(ctx); err != nil {
			t.Fatal(err)
		}
		longest := 100 * time.Millisecond
		for i, pause := range pauses {
			if pause < longest/2 || pause > longest {
				t.Errorf("pause %d is %v, want %v to %v", i, pause, longest/2, longest)
			}
			longest = min(2*longest, time.Second)
		}
	})
}

func TestReconnectMakesANewConnectionOfTheSameIdentity(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	d := startDealer(t, DealerOptions{Identity: "w", Address: r.address})
	r.next(t, Connected)
	d.Reconnect()
	r.next(t, Gone)
	if e := r.next(t, Connected); e.Identity != "w" {
		t.Errorf("connected %+v", e)
	}
	send(t, d, Message{Type: "x"})
	r.next(t, Received)
}

func TestABadMessageToAWorkerIsAnErrorOfItself(t *testing.T) {
	near, far := net.Pipe()
	d := startDealer(t, DealerOptions{Identity: "w", Dial: dialOnce(near)})
	master := newRawPeer(t, far)
	master.acceptDealer(t)
	master.write(t, appendFrame(nil, 0, []byte("hello")), frameOf(t, Message{Type: TypeStop}))
	if _, err := d.Receive(t.Context()); !errors.Is(err, ErrBadMessage) {
		t.Errorf("Receive: %v", err)
	}
	if m := receive(t, d); m.Type != TypeStop {
		t.Errorf("received %+v", m)
	}
}

// dialOnce dials successfully once.
func dialOnce(conn net.Conn) func(context.Context) (net.Conn, error) {
	return func(ctx context.Context) (net.Conn, error) {
		if conn == nil {
			<-ctx.Done()
			return nil, ctx.Err()
		}
		dialled := conn
		conn = nil
		return dialled, nil
	}
}

// acceptDealer does what a ROUTER does first.
func (p *rawPeer) acceptDealer(t *testing.T) {
	t.Helper()
	p.read(t, greetingSize)
	p.frame(t)
	p.write(t, greeting(), readyCommand(socketRouter, ""))
}

func TestAPingToAWorkerIsAnswered(t *testing.T) {
	near, far := net.Pipe()
	startDealer(t, DealerOptions{Identity: "w", Dial: dialOnce(near)})
	master := newRawPeer(t, far)
	master.acceptDealer(t)
	master.write(t, appendFrame(nil, flagCommand, []byte("\x04PING\x00\x0acontext")))
	if flags, body := master.frame(t); flags != flagCommand || string(body) != "\x04PONGcontext" {
		t.Errorf("answered flags %x, %q", flags, body)
	}
}

func TestAWorkerTalksToARouterOnly(t *testing.T) {
	near, far := net.Pipe()
	states := make(chan LinkState, 100)
	startDealer(t, DealerOptions{Identity: "w", Dial: dialOnce(near), Changed: func(s LinkState) { states <- s }})
	master := newRawPeer(t, far)
	master.read(t, greetingSize)
	master.frame(t)
	master.write(t, greeting(), readyCommand("PUB", ""))
	if s := <-states; !errors.Is(s.Err, ErrProtocol) {
		t.Errorf("state %+v", s)
	}
}

func TestImpossibleIdentities(t *testing.T) {
	for _, identity := range []string{"", "\x00a", strings.Repeat("x", 256)} {
		if err := NewDealer(DealerOptions{Identity: identity}).Run(t.Context()); err == nil {
			t.Errorf("%q can be an identity", identity)
		}
	}
}

func TestTheQueueOfAWorkerIsBounded(t *testing.T) {
	d := NewDealer(DealerOptions{Identity: "w", MaxQueue: 3})
	for range 3 {
		send(t, d, Message{Type: "x"})
	}
	if err := d.Send(&Message{Type: "x"}); !errors.Is(err, ErrQueueFull) {
		t.Errorf("the fourth message: %v", err)
	}
}

func TestFlushWaitsUntilEverythingIsWritten(t *testing.T) {
	listener := wiretest.NewListener()
	d := startDealer(t, DealerOptions{Identity: "w", Dial: listener.Dial})
	send(t, d, Message{Type: "x"})
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.Flush(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("without a master: %v", err)
	}
	r := serveRouter(t, listener, RouterOptions{})
	ctx, cancel := context.WithTimeout(t.Context(), testTimeout)
	defer cancel()
	if err := d.Flush(ctx); err != nil {
		t.Error(err)
	}
	r.next(t, Connected)
	r.next(t, Received)
	if err := d.Flush(ctx); err != nil {
		t.Errorf("with nothing to send: %v", err)
	}
}

func TestAMasterThatReadsNothingIsLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		near, far := net.Pipe()
		states := make(chan LinkState, 100)
		d := startDealer(t, DealerOptions{Identity: "w", Dial: dialOnce(near), Stall: 7 * time.Second, Changed: func(s LinkState) { states <- s }})
		master := newRawPeer(t, far)
		master.acceptDealer(t)
		<-states
		began := time.Now()
		send(t, d, Message{Type: "x"})
		if s := <-states; !errors.Is(s.Err, ErrSlowPeer) {
			t.Errorf("state %+v", s)
		}
		if passed := time.Since(began); passed != 7*time.Second {
			t.Errorf("left after %v", passed)
		}
	})
}

// brittleConn breaks after a number of bytes were written.
type brittleConn struct {
	net.Conn
	left *int
}

func (c brittleConn) Write(b []byte) (int, error) {
	if len(b) <= *c.left {
		*c.left -= len(b)
		return c.Conn.Write(b)
	}
	n, err := c.Conn.Write(b[:*c.left])
	*c.left = 0
	_ = c.Conn.Close()
	if err == nil {
		err = os.ErrClosed
	}
	return n, err
}

// However often the connection breaks, also within a message: each arrives once, in order.
func TestBrokenConnectionsLoseAndRepeatNothing(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		breaks := rapid.SliceOfN(rapid.IntRange(0, 2000), 0, 6).Draw(rt, "bytes until the connection breaks")
		sizes := rapid.SliceOfN(rapid.IntRange(0, 500), 1, 30).Draw(rt, "sizes of messages")
		listener := wiretest.NewListener()
		var got []int
		all := make(chan struct{})
		r := NewRouter(RouterOptions{Handle: func(e Event) {
			if e.Kind != Received {
				return
			}
			if got = append(got, len(e.Message.Data.([]byte))); len(got) == len(sizes) {
				close(all)
			}
		}})
		ctx, cancel := context.WithCancel(context.Background())
		var group sync.WaitGroup
		group.Go(func() { _ = r.Serve(ctx, listener) })
		d := NewDealer(DealerOptions{
			Identity: "w", RetryMin: time.Microsecond, RetryMax: time.Microsecond,
			Dial: func(ctx context.Context) (net.Conn, error) {
				conn, err := listener.Dial(ctx)
				if err == nil && len(breaks) > 0 {
					left := breaks[0]
					breaks = breaks[1:]
					conn = brittleConn{conn, &left}
				}
				return conn, err
			},
		})
		group.Go(func() { _ = d.Run(ctx) })
		for _, size := range sizes {
			if err := d.Send(&Message{"x", make([]byte, size), "w"}); err != nil {
				rt.Fatal(err)
			}
		}
		select {
		case <-all:
		case <-time.After(testTimeout):
			rt.Errorf("not all messages came")
		}
		cancel()
		r.Close(ctx)
		group.Wait()
		if fmt.Sprint(got) != fmt.Sprint(sizes) {
			rt.Errorf("sizes received: %v, sent: %v", got, sizes)
		}
	})
}

// A worker that ends has sent its last words, though it has not read everything.
func TestEndingAfterFlushLosesNothing(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("secure ", secure), func(t *testing.T) {
			secret := testSecret(t, secure)
			r := startRouter(t, RouterOptions{Secret: secret})
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			d := NewDealer(DealerOptions{Identity: "w", Address: r.address, Secret: secret, MaxReceived: 1})
			ended := make(chan error, 1)
			go func() { ended <- d.Run(ctx) }()
			r.next(t, Connected)
			for range 100 {
				send(t, sendTo{r.Router, "w"}, Message{"noise", make([]byte, 10_000), "w"})
			}
			for range 20 {
				send(t, d, Message{"x", make([]byte, 100_000), "w"})
			}
			send(t, d, Message{Type: TypeQuit, NodeID: "w"})
			flushing, stop := context.WithTimeout(ctx, testTimeout)
			defer stop()
			if err := d.Flush(flushing); err != nil {
				t.Fatal(err)
			}
			cancel()
			if err := <-ended; err != nil {
				t.Error(err)
			}
			for range 20 {
				r.next(t, Received)
			}
			if e := r.next(t, Received); e.Message.Type != TypeQuit {
				t.Errorf("received %q last", e.Message.Type)
			}
			r.next(t, Gone)
		})
	}
}
