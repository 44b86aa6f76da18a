package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"time"
)

// linger is how long a master may take to close a connection that its worker wants to end.
const linger = time.Second

// ErrQueueFull is returned by [Dealer.Send] when too much waits to be sent.
var ErrQueueFull = errors.New("wire: too many messages wait to be sent")

// DealerOptions configure a dealer. Identity and either Address or Dial are needed.
type DealerOptions struct {
	// Identity is the worker's id, at most 255 bytes.
	Identity string
	// Address is the master's host:port.
	Address string
	// Dial opens a connection instead of one to Address; it must heed the context.
	Dial func(ctx context.Context) (net.Conn, error)
	// Secret encrypts the connection and makes both ends prove that they know it; a master that does
	// not is refused.
	Secret *Secret
	// Handshake is how long connecting and greeting may take, each; 0 = 10 s.
	Handshake time.Duration
	// Stall is how long the master may pause in the middle of a message or read nothing; 0 = 30 s.
	Stall time.Duration
	// RetryMin is the longest pause before the second attempt; it doubles with each that fails, up to
	// RetryMax. Pauses are drawn from half of that to all of it. 0 = 50 ms and 2 s.
	RetryMin, RetryMax time.Duration
	// MaxMessage is the longest message that is read, in bytes; 0 = [DefaultMaxMessage].
	MaxMessage int64
	// MaxQueue and MaxQueueBytes bound what waits to be sent; 0 = 1000 messages, 64 MB.
	MaxQueue, MaxQueueBytes int
	// MaxReceived is how many messages wait for Receive before nothing more is read; 0 = 1000.
	MaxReceived int
	// Changed, if not nil, is called when the connection is made, lost or could not be made, one call
	// at a time. It must not block.
	Changed func(LinkState)
}

// LinkState says how a dealer's connection is.
type LinkState struct {
	Connected bool
	// Err is why it is not connected, Retry how long until the next attempt, and Attempts how many
	// have failed in a row.
	Err      error
	Retry    time.Duration
	Attempts int
}

// Dealer is the socket of a worker: a connection to one master that is made again whenever it is
// lost. Messages that are sent meanwhile wait. A message that was written when the connection broke
// may be lost; none is delivered twice. It is safe for concurrent use.
type Dealer struct {
	options  DealerOptions
	out      outbox
	queued   chan struct{} // has an element when the writer should look
	received chan received

	mu    sync.Mutex
	conn  net.Conn      // of the connection there is, or nil
	empty chan struct{} // closed when out is empty and written; nil while nobody waits
}

type received struct {
	message Message
	err     error
}

// NewDealer returns a dealer that connects when it is run.
func NewDealer(options DealerOptions) *Dealer {
	options.Handshake = cmp.Or(options.Handshake, 10*time.Second)
	options.Stall = cmp.Or(options.Stall, 30*time.Second)
	options.RetryMin = cmp.Or(options.RetryMin, 50*time.Millisecond)
	options.RetryMax = cmp.Or(options.RetryMax, 2*time.Second)
	options.MaxMessage = cmp.Or(options.MaxMessage, DefaultMaxMessage)
	options.MaxReceived = cmp.Or(options.MaxReceived, 1000)
	if options.Dial == nil {
		options.Dial = func(ctx context.Context) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "tcp", options.Address)
		}
	}
	if options.Changed == nil {
		options.Changed = func(LinkState) {}
	}
	return &Dealer{
		options: options,
		out: outbox{
			maxMessages: cmp.Or(options.MaxQueue, 1000),
			maxBytes:    cmp.Or(options.MaxQueueBytes, 64<<20),
		},
		queued:   make(chan struct{}, 1),
		received: make(chan received, options.MaxReceived),
	}
}

// Run keeps the connection until the context ends, and returns nil then; see [Dealer.Flush]. It must
// be called once. It fails at once when the identity is impossible or the master refuses the secret:
// trying again would not help.
func (d *Dealer) Run(ctx context.Context) error {
	if id := d.options.Identity; id == "" || len(id) > maxIdentity || id[0] == 0 {
		return fmt.Errorf("wire: %q cannot be the identity of a worker: 1 to %d bytes, not beginning with a zero byte", id, maxIdentity)
	}
	pause, attempts := d.options.RetryMin, 0
	for {
		connected, err := d.connect(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if errors.Is(err, ErrWrongSecret) {
			d.options.Changed(LinkState{Err: err})
			return err
		}
		if connected {
			pause, attempts = d.options.RetryMin, 0
		} else {
			attempts++
		}
		// Workers that lost the same master do not come back at the same moment.
		next := pause/2 + rand.N(pause/2+1)
		d.options.Changed(LinkState{Err: err, Retry: next, Attempts: attempts})
		wait(ctx, next)
		pause = min(2*pause, d.options.RetryMax)
	}
}

// connect makes one connection and serves it until it is lost.
func (d *Dealer) connect(ctx context.Context) (connected bool, err error) {
	dialing, cancel := context.WithTimeout(ctx, d.options.Handshake)
	defer cancel()
	conn, err := d.options.Dial(dialing)
	if err != nil {
		return false, err
	}
	defer func() { _ = conn.Close() }()
	abort := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer abort()
	d.setConn(conn)
	defer d.setConn(nil)
	l, err := d.handshake(conn)
	if err != nil {
		return false, err
	}
	if !abort() {
		return false, ctx.Err()
	}
	d.options.Changed(LinkState{Connected: true})
	return true, d.serve(ctx, conn, l)
}

// leave closes the connection when the context ends, first for writing only: see closeWrite. The
// master closes it then, but is not waited for long.
func leave(ctx context.Context, conn, encrypted net.Conn, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	late := time.AfterFunc(linger, func() { _ = conn.Close() })
	defer late.Stop()
	if !closeWrite(conn, encrypted) {
		_ = conn.Close()
	}
	<-ended
}

func (d *Dealer) setConn(conn net.Conn) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.conn = conn
}

func (d *Dealer) handshake(conn net.Conn) (*link, error) {
	_ = conn.SetDeadline(time.Now().Add(d.options.Handshake)) // a connection that fails here fails to read
	inner := conn
	if d.options.Secret != nil {
		var err error
		if inner, err = dialSecure(conn, d.options.Secret); err != nil {
			return nil, err
		}
	}
	l := newLink(inner, d.options.MaxMessage, 0)
	socket, _, err := l.handshake(socketDealer, d.options.Identity)
	switch {
	case err != nil && d.options.Secret != nil:
		return nil, handshakeError(err) // the master checks the secret after we have
	case err != nil && !errors.Is(err, ErrProtocol) && !errors.Is(err, os.ErrDeadlineExceeded):
		return nil, fmt.Errorf("%w (does the master want a shared secret?)", err)
	case err != nil:
		return nil, err
	}
	if socket != socketRouter {
		return nil, protocolError("a %.20q socket, ROUTER is needed", socket)
	}
	l.stall = d.options.Stall
	return l, conn.SetDeadline(time.Time{})
}

// serve reads and writes until either fails.
func (d *Dealer) serve(ctx context.Context, conn net.Conn, l *link) error {
	pongs := make(chan []byte, 16)
	l.pong = func(frame []byte) error {
		select {
		case pongs <- frame:
			return nil
		default:
			return protocolError("many a PING and no time to answer")
		}
	}
	stop := make(chan struct{})
	writing := make(chan error, 1)
	ended := make(chan struct{})
	var leaving sync.WaitGroup
	leaving.Go(func() { leave(ctx, conn, l.conn, ended) })
	defer leaving.Wait()
	defer close(ended)
	go func() {
		writing <- d.write(conn, l.conn, pongs, stop)
		_ = conn.Close()
	}()
	err := d.read(ctx, l)
	_ = conn.Close()
	select {
	case err = <-writing: // it failed first, and ended the reading
	default:
		close(stop)
		<-writing
	}
	return err
}

func (d *Dealer) read(ctx context.Context, l *link) error {
	defer l.release()
	for {
		data, err := l.receive()
		if err != nil {
			return err
		}
		m, err := Decode(data)
		select {
		case d.received <- received{m, err}:
		case <-ctx.Done(): // nobody receives any more; what is left is the end
		}
	}
}

// write sends what is queued until stop is closed.
func (d *Dealer) write(conn, out net.Conn, pongs <-chan []byte, stop <-chan struct{}) error {
	for {
		for !d.out.empty() {
			batch := d.out.peek()
			_ = conn.SetWriteDeadline(time.Now().Add(d.options.Stall)) // fails as the write will
			written, err := writeAll(out, batch)
			d.out.done(written)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				err = fmt.Errorf("%w: nothing read for %v", ErrSlowPeer, d.options.Stall)
			}
			if err != nil {
				return err
			}
		}
		d.flushed()
		select {
		case <-d.queued:
		case pong := <-pongs:
			_ = conn.SetWriteDeadline(time.Now().Add(d.options.Stall))
			if _, err := out.Write(pong); err != nil {
				return err
			}
		case <-stop:
			return nil
		}
	}
}

// Send queues a message, also while there is no connection.
func (d *Dealer) Send(m *Message) error {
	frame, err := messageFrame(m)
	if err != nil {
		return err
	}
	err = d.out.put(frame, func() {
		select {
		case d.queued <- struct{}{}:
		default:
		}
	})
	if err != nil {
		return fmt.Errorf("%w: a %s to %s", ErrQueueFull, m.Type, d.options.Address)
	}
	return nil
}

// Receive returns the next message. An error that is an [ErrBadMessage] concerns one message only;
// any other is that of the context.
func (d *Dealer) Receive(ctx context.Context) (Message, error) {
	select {
	case r := <-d.received:
		return r.message, r.err
	case <-ctx.Done():
		return Message{}, ctx.Err()
	}
}

// Reconnect drops the connection, if there is one, and makes a new one, as Locust's message
// reconnect asks for.
func (d *Dealer) Reconnect() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn != nil {
		_ = d.conn.Close()
	}
}

// Flush waits until everything that was sent before is written to a connection, or until the context
// ends. Call it before ending the context of Run.
func (d *Dealer) Flush(ctx context.Context) error {
	d.mu.Lock()
	if d.out.empty() {
		d.mu.Unlock()
		return nil
	}
	if d.empty == nil {
		d.empty = make(chan struct{})
	}
	empty := d.empty
	d.mu.Unlock()
	select {
	case <-empty:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wire: not everything was sent: %w", ctx.Err())
	}
}

func (d *Dealer) flushed() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.empty != nil && d.out.empty() {
		close(d.empty)
		d.empty = nil
	}
}
