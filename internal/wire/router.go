package wire

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"sync"
	"time"
)

// Errors with which a connection of a [Router] ends, and of [Router.Send].
var (
	// ErrClosed: the socket was closed on this side.
	ErrClosed = errors.New("wire: closed")
	// ErrReplaced: a newer connection has the same identity.
	ErrReplaced = errors.New("wire: replaced by a newer connection of the same identity")
	// ErrSlowPeer: the peer did not read what was sent to it.
	ErrSlowPeer = errors.New("wire: the peer reads too slowly")
	// ErrUnknownPeer: nobody with this identity is connected.
	ErrUnknownPeer = errors.New("wire: no such peer")
	// ErrTooMany: the router has as many connections as it may have.
	ErrTooMany = errors.New("wire: too many connections")
	// ErrPlainPeer: a peer from another machine came without encryption.
	ErrPlainPeer = errors.New("wire: a peer from another machine must use the shared secret")
)

// EventKind says what happened to a connection.
type EventKind uint8

const (
	// Connected: a peer with this identity is there; messages can be sent to it.
	Connected EventKind = iota
	// Received: a message came.
	Received
	// Bad: a message came that could not be decoded; the connection stays.
	Bad
	// Gone: the connection of a peer that was Connected ended; Err says why, [io.EOF] when the peer
	// closed it, [ErrReplaced] when it is connected again.
	Gone
	// Refused: a connection ended before it had an identity.
	Refused
)

// Event is what a router tells its owner.
type Event struct {
	Kind     EventKind
	Identity string
	// Message is set for Received, Size is how many bytes it had.
	Message Message
	Size    int
	// Err is set for Bad, Gone and Refused.
	Err    error
	Remote net.Addr
	// Secure says that the peer proved that it knows the secret.
	Secure bool
}

// RouterOptions configure a router; every zero value but that of Handle is good.
type RouterOptions struct {
	// Handle is called for every event: for one identity in order and one at a time, Connected
	// first and Gone last; for different ones at the same time. While it runs, nothing more is read
	// from that peer. It may call any method but Close.
	Handle func(Event)
	// Secret makes peers able, and those from other machines obliged, to prove that they know it.
	Secret *Secret
	// AllowPlain accepts peers from other machines that do not encrypt.
	AllowPlain bool
	// Handshake is how long a peer may take until it has an identity; 0 = 10 s.
	Handshake time.Duration
	// Stall is how long a peer may pause in the middle of a message, and how long it may take to read
	// anything that is sent to it; 0 = 30 s.
	Stall time.Duration
	// MaxMessage is the longest message that is read, in bytes; 0 = [DefaultMaxMessage].
	MaxMessage int64
	// MaxQueue and MaxQueueBytes bound what waits to be sent to one peer, which loses its connection
	// when it lets more pile up; 0 = 1000 messages, 16 MB.
	MaxQueue, MaxQueueBytes int
	// MaxConnections bounds the connections; 0 = 50,000.
	MaxConnections int
}

// Router is the socket of a master: it accepts many peers, which it knows by the identity that they
// give. The newest connection of an identity replaces an older one. It is safe for concurrent use.
type Router struct {
	options  RouterOptions
	group    sync.WaitGroup
	handlers *handlers

	mu        sync.RWMutex
	closed    bool
	accepted  uint64
	open      map[*peer]struct{}
	peers     map[string]*peer
	listeners map[net.Listener]struct{}
}

// NewRouter returns a router without connections; [Router.Serve] lets them in.
func NewRouter(options RouterOptions) *Router {
	options.Handshake = cmp.Or(options.Handshake, 10*time.Second)
	options.Stall = cmp.Or(options.Stall, 30*time.Second)
	options.MaxMessage = cmp.Or(options.MaxMessage, DefaultMaxMessage)
	options.MaxQueue = cmp.Or(options.MaxQueue, 1000)
	options.MaxQueueBytes = cmp.Or(options.MaxQueueBytes, 16<<20)
	options.MaxConnections = cmp.Or(options.MaxConnections, 50_000)
	return &Router{
		options:   options,
		handlers:  newHandlers(),
		open:      map[*peer]struct{}{},
		peers:     map[string]*peer{},
		listeners: map[net.Listener]struct{}{},
	}
}

// Serve accepts connections until the context ends or the router is closed, closes the listener and
// returns nil, or an error when the listener ends by itself. It may be called for several listeners. Connections stay when the context ends.
func (r *Router) Serve(ctx context.Context, listener net.Listener) error {
	if !r.addListener(listener) {
		_ = listener.Close()
		return nil
	}
	defer r.removeListener(listener)
	stop := context.AfterFunc(ctx, func() { _ = listener.Close() })
	defer stop()
	pause := time.Duration(0)
	for {
		conn, err := listener.Accept()
		switch {
		case err == nil:
			pause = 0
			r.admit(conn)
		case ctx.Err() != nil || r.isClosed():
			return nil
		case errors.Is(err, net.ErrClosed):
			return fmt.Errorf("wire: accepting peers: %w", err)
		default:
			// Mostly out of file descriptors: it passes.
			pause = min(max(2*pause, 5*time.Millisecond), time.Second)
			wait(ctx, pause)
		}
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	}
}

func (r *Router) addListener(listener net.Listener) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closed {
		return false
	}
	r.listeners[listener] = struct{}{}
	return true
}

func (r *Router) removeListener(listener net.Listener) {
	_ = listener.Close()
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.listeners, listener)
}

func (r *Router) isClosed() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return r.closed
}

// admit starts to serve a connection.
func (r *Router) admit(conn net.Conn) {
	p := &peer{router: r, conn: conn, remote: conn.RemoteAddr(), done: make(chan struct{}), handled: make(chan struct{}, 1)}
	p.out.maxMessages, p.out.maxBytes = r.options.MaxQueue, r.options.MaxQueueBytes
	r.mu.Lock()
	if r.closed || len(r.open) >= r.options.MaxConnections {
		closed := r.closed
		r.mu.Unlock()
		_ = conn.Close()
		if !closed {
			r.options.Handle(Event{Kind: Refused, Remote: p.remote, Err: ErrTooMany})
		}
		return
	}
	r.accepted++
	p.number = r.accepted
	r.open[p] = struct{}{}
	r.group.Go(p.serve)
	r.mu.Unlock()
}

// Send queues a message for a peer. It does not wait for the peer: a peer that lets its queue fill up
// is disconnected.
func (r *Router) Send(identity string, m *Message) error {
	r.mu.RLock()
	p := r.peers[identity]
	r.mu.RUnlock()
	if p == nil {
		return fmt.Errorf("%w: %q", ErrUnknownPeer, identity)
	}
	frame, err := messageFrame(m)
	if err != nil {
		return err
	}
	return p.send(frame)
}

// Disconnect closes the connection of a peer, if there is one; its Gone event has the given error.
func (r *Router) Disconnect(identity string, reason error) {
	r.mu.RLock()
	p := r.peers[identity]
	r.mu.RUnlock()
	if p != nil {
		p.close(reason)
	}
}

// Close accepts nobody any more, sends what is queued, and closes every connection when its peer has
// done so or the context ends. It returns when every event was handled.
func (r *Router) Close(ctx context.Context) {
	r.mu.Lock()
	r.closed = true
	for listener := range r.listeners {
		_ = listener.Close()
	}
	open := make([]*peer, 0, len(r.open))
	for p := range r.open {
		open = append(open, p)
	}
	r.mu.Unlock()
	for _, p := range open {
		r.group.Go(p.finish)
	}
	stop := context.AfterFunc(ctx, func() {
		for _, p := range open {
			p.close(ErrClosed)
		}
	})
	defer stop()
	r.group.Wait()
}

// peer is one connection. Its reader is the goroutine of serve; a writer runs while there is something
// to write.
type peer struct {
	router   *Router
	conn     net.Conn // as it was accepted
	out      outbox
	link     *link
	writer   net.Conn // conn, or what encrypts on it
	remote   net.Addr
	number   uint64 // newer connections have higher ones
	identity string
	secure   bool
	done     chan struct{} // closed once nothing of the peer is left
	handled  chan struct{} // has an element when a message was handled

	mu        sync.Mutex
	shaken    bool // hands, that is
	finishing bool
	reason    error
}

func (p *peer) serve() {
	defer p.forget()
	if p.begin() {
		p.end(p.read())
	}
}

// begin greets the peer and makes it known.
func (p *peer) begin() bool {
	if err := p.handshake(); err != nil {
		p.close(err)
		p.event(Event{Kind: Refused, Err: p.why(err)})
		return false
	}
	if !p.register() {
		return false
	}
	p.router.handlers.enter()
	p.event(Event{Kind: Connected})
	return true
}

func (p *peer) end(err error) {
	p.router.handlers.leave()
	p.close(err)
	p.out.close()
	p.router.unregister(p)
	p.event(Event{Kind: Gone, Err: p.why(err)})
}

func (p *peer) event(e Event) {
	e.Identity, e.Remote, e.Secure = p.identity, p.remote, p.secure
	p.router.options.Handle(e)
}

func (p *peer) forget() {
	p.router.mu.Lock()
	delete(p.router.open, p)
	p.router.mu.Unlock()
	close(p.done)
}

// close ends the connection; the first reason given counts.
func (p *peer) close(reason error) {
	p.mu.Lock()
	if p.reason == nil {
		p.reason = reason
	}
	p.mu.Unlock()
	_ = p.conn.Close()
}

func (p *peer) why(err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return cmp.Or(p.reason, err)
}

func (p *peer) handshake() error {
	options := &p.router.options
	_ = p.conn.SetDeadline(time.Now().Add(options.Handshake)) // a connection that fails here fails to read
	conn, secure, err := acceptSecure(p.conn, options.Secret, options.AllowPlain)
	if err != nil {
		return err
	}
	p.secure, p.writer = secure, p.conn
	if secure {
		p.writer = conn
	}
	p.link = newLink(conn, options.MaxMessage, 0)
	socket, identity, err := p.link.handshake(socketRouter, "")
	if err != nil {
		return err
	}
	if err := checkPeer(socket, identity); err != nil {
		_, _ = conn.Write(errorCommand(err.Error())) // a courtesy
		return err
	}
	p.identity = cmp.Or(identity, "\x00"+strconv.FormatUint(p.number, 10))
	p.link.stall = options.Stall
	p.link.pong = p.send
	p.mu.Lock()
	p.shaken = true
	p.mu.Unlock()
	return p.conn.SetDeadline(time.Time{})
}

func checkPeer(socket, identity string) error {
	if socket != socketDealer && socket != "REQ" {
		return protocolError("a %.20q socket, DEALER is needed", socket)
	}
	if identity != "" && identity[0] == 0 {
		return protocolError("an identity that begins with a zero byte")
	}
	return nil
}

// register makes the peer known by its identity, once an older connection has left.
func (p *peer) register() bool {
	r := p.router
	for {
		r.mu.Lock()
		old := r.peers[p.identity]
		if r.closed || old != nil && old.number > p.number {
			closed := r.closed
			r.mu.Unlock()
			reason := ErrReplaced
			if closed {
				reason = ErrClosed
			}
			p.close(reason)
			return false
		}
		if old == nil {
			r.peers[p.identity] = p
			r.mu.Unlock()
			return true
		}
		r.mu.Unlock()
		old.close(ErrReplaced)
		<-old.done
	}
}

func (r *Router) unregister(p *peer) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.peers, p.identity)
}

func (p *peer) read() error {
	defer p.link.release()
	for {
		data, err := p.link.receive()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return ErrClosed
			}
			return err
		}
		p.router.handlers.handle(p, data)
	}
}

// message decodes one and hands it over.
func (p *peer) message(data []byte) {
	m, err := Decode(data)
	if err != nil {
		p.event(Event{Kind: Bad, Err: err, Size: len(data)})
		return
	}
	p.event(Event{Kind: Received, Message: m, Size: len(data)})
}

// send queues a frame and sees to it that somebody writes.
func (p *peer) send(frame []byte) error {
	err := p.out.put(frame, func() { p.router.group.Go(p.write) })
	switch err {
	case errShut:
		return fmt.Errorf("%w: %q", ErrUnknownPeer, p.identity)
	case errFull:
		err = fmt.Errorf("%w: too much waits to be sent to %q", ErrSlowPeer, p.identity)
		p.close(err)
	}
	return err
}

// write empties the outbox; the frame that was first in an empty one started it.
func (p *peer) write() {
	for {
		batch := p.out.peek()
		_ = p.conn.SetWriteDeadline(time.Now().Add(p.router.options.Stall)) // fails as the write will
		written, err := writeAll(p.writer, batch)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("%w: nothing read for %v", ErrSlowPeer, p.router.options.Stall)
		}
		if err != nil {
			// The frames stay in the box, so that no other writer is started.
			p.close(err)
			return
		}
		if p.out.done(written) {
			break
		}
	}
	p.mu.Lock()
	finishing := p.finishing
	p.mu.Unlock()
	if finishing {
		p.closeWrite()
	}
}

// finish closes the connection once everything is written.
func (p *peer) finish() {
	p.mu.Lock()
	p.finishing = true
	shaken := p.shaken
	p.mu.Unlock()
	if !shaken {
		p.close(ErrClosed)
	} else if p.out.empty() {
		p.closeWrite()
	}
}

// closeWrite ends the connection for writing, if possible; the peer closes it then.
func (p *peer) closeWrite() {
	if !closeWrite(p.conn, p.writer) {
		p.close(ErrClosed)
	}
}
