// Package wiretest connects masters and workers inside one process for tests: connections that need
// no network, stay within a bubble of testing/synctest, and break when a test wants it.
package wiretest

import (
	"context"
	"errors"
	"net"
	"sync"
)

// Listener is a net.Listener that is dialled by method. It is safe for concurrent use.
type Listener struct {
	waiting chan net.Conn
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	open map[net.Conn]struct{}
}

// NewListener returns a listener that accepts connections until it is closed.
func NewListener() *Listener {
	return &Listener{waiting: make(chan net.Conn), closed: make(chan struct{}), open: map[net.Conn]struct{}{}}
}

// Dial connects; it waits until the connection is accepted.
func (l *Listener) Dial(ctx context.Context) (net.Conn, error) {
	near, far := net.Pipe()
	select {
	case l.waiting <- far:
		conn := &conn{Conn: near, listener: l}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.open[conn] = struct{}{}
		return conn, nil
	case <-l.closed:
		return nil, &net.OpError{Op: "dial", Net: "pipe", Err: errors.New("connection refused")}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// Cut breaks every connection that was dialled and is open; new ones can be made.
func (l *Listener) Cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for c := range l.open {
		_ = c.(*conn).Conn.Close()
	}
	clear(l.open)
}

// Accept returns the next connection.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case conn := <-l.waiting:
		return conn, nil
	case <-l.closed:
		return nil, net.ErrClosed
	}
}

// Close makes Dial and Accept fail; connections stay.
func (l *Listener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return nil
}

// Addr returns an address that says nothing.
func (l *Listener) Addr() net.Addr { return address{} }

type address struct{}

func (address) Network() string { return "pipe" }
func (address) String() string  { return "pipe" }

// conn forgets itself at its listener when it is closed.
type conn struct {
	net.Conn
	listener *Listener
}

func (c *conn) Close() error {
	c.listener.mu.Lock()
	delete(c.listener.open, c)
	c.listener.mu.Unlock()
	return c.Conn.Close()
}
