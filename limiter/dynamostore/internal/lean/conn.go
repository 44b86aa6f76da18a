package lean

import (
	"context"
	"errors"
	"net"
	"sync/atomic"
	"time"
)

// ErrNotSent is wrapped by errors of requests of which not a byte left this process.
var ErrNotSent = errors.New("not sent")

// notSent marks an error as one before the first byte, and reads as the error itself.
type notSent struct{ error }

func (e notSent) Unwrap() error        { return e.error }
func (e notSent) Is(target error) bool { return target == ErrNotSent }

func isNotSent(err error) bool { return errors.Is(err, ErrNotSent) }

// CredentialsError says that there were no credentials to sign with.
type CredentialsError struct{ Err error }

func (e *CredentialsError) Error() string { return "get identity: get credentials: " + e.Err.Error() }
func (e *CredentialsError) Unwrap() error { return e.Err }

// conn is one connection; it is owned by one goroutine, or rests in the pool.
type conn struct {
	net.Conn              // what requests are written to
	raw      net.Conn     // the socket below it
	sent     *countedConn // counts what left for the socket; nil when Conn is the socket
	usedAt   time.Time
	deadline time.Time // that is set on the socket

	watch watch
}

// countedConn says whether anything of a TLS record left.
type countedConn struct {
	net.Conn
	written int64
}

func (c *countedConn) Write(p []byte) (int, error) {
	n, err := c.Conn.Write(p)
	c.written += int64(n)
	return n, err
}

// watch cuts a connection off when the context of its exchange ends. The registration with a context
// stays when the exchange is over, since the next one is often of the same context; it does nothing then.
type watch struct {
	done <-chan struct{} // of the context that is watched
	stop func() bool
	turn uint64
	// busy is the turn that an exchange is in; 0 between exchanges, cut after the context ended.
	busy atomic.Uint64
}

const cut = ^uint64(0)

// usable reports whether a connection that rested can carry a request: not too old, not closed by
// the peer, no bytes nobody asked for.
func (c *conn) usable(now time.Time) bool {
	rested := now.Sub(c.usedAt)
	if rested < checkAfter {
		return true
	}
	return rested < maxIdle && quiet(c.raw)
}

// exchange sends one request and reads its whole reply. The connection is reusable when nothing is
// left on it and nobody cut it off.
func (c *conn) exchange(ctx context.Context, call *Call, request []byte, now time.Time) (reusable bool, err error) {
	if c.deadline.Sub(now) < exchangeTimeout-deadlineSlack {
		c.deadline = now.Add(exchangeTimeout)
		if err := c.SetDeadline(c.deadline); err != nil {
			return false, notSent{err}
		}
	}
	c.begin(ctx)
	if err := ctx.Err(); err != nil {
		return c.end(), notSent{err}
	}
	if err := c.write(request); err != nil {
		c.end()
		return false, err
	}
	reusable, err = readReply(c.Conn, call)
	if !c.end() {
		reusable = false
	}
	c.usedAt = now
	return reusable, err
}

func (c *conn) write(request []byte) error {
	before := int64(0)
	if c.sent != nil {
		before = c.sent.written
	}
	n, err := c.Conn.Write(request)
	if err == nil {
		return nil
	}
	if c.sent != nil {
		n = int(c.sent.written - before)
	}
	if n == 0 {
		return notSent{err}
	}
	return err
}

// begin lets the end of the context cut the connection off.
func (c *conn) begin(ctx context.Context) {
	w := &c.watch
	done := ctx.Done()
	if done == nil {
		return
	}
	if done != w.done {
		if w.stop != nil {
			w.stop()
		}
		w.turn++
		turn := w.turn
		w.done, w.stop = done, context.AfterFunc(ctx, func() {
			if w.busy.CompareAndSwap(turn, cut) {
				c.SetDeadline(time.Unix(1, 0))
			}
		})
	}
	w.busy.Store(w.turn)
}

// end reports whether the connection was left alone.
func (c *conn) end() bool { return c.watch.busy.Swap(0) != cut }

// Close closes the connection and forgets the context that was watched.
func (c *conn) Close() error {
	if c.watch.stop != nil {
		c.watch.stop()
	}
	return c.Conn.Close()
}
