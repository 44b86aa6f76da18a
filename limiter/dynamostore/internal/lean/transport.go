// Package lean sends DynamoDB's requests over HTTP/1.1 connections that it keeps, plain or TLS. The
// calling goroutine itself signs and writes the request, in one piece, and reads the reply; nothing
// is handed over, and a request on a kept connection allocates nothing. It knows what this one
// protocol needs (POST, a body with a length, Signature Version 4) and no more: no redirects, no
// cookies, no compression, and no retries, except of a request of which not a byte was sent.
package lean

import (
	"context"
	"crypto/tls"
	"net/url"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

const (
	dialTimeout      = 3 * time.Second
	handshakeTimeout = 5 * time.Second
	// exchangeTimeout bounds one request and its whole reply; it is at least that less deadlineSlack.
	exchangeTimeout = 30 * time.Second
	deadlineSlack   = 10 * time.Second
	// maxIdle is below the idle time-outs of the servers that we know (the shortest is 30 s).
	maxIdle = 15 * time.Second
	// checkAfter is how long a connection may rest before it is looked at for a close by the peer.
	checkAfter = 200 * time.Millisecond
)

// Config says where requests go and who signs them.
type Config struct {
	// Endpoint is the base URL of the service; scheme http or https.
	Endpoint *url.URL
	Region   string
	// Credentials are asked for every request, so they should be cached.
	Credentials aws.CredentialsProvider
	// Connections bounds the connections that are open at a time; at least 1.
	Connections int
	// TLS configures https endpoints; nil = the system's roots.
	TLS *tls.Config
	// Proxy names the proxy of an https endpoint, nil for none; nil asks for none.
	Proxy func(*url.URL) (*url.URL, error)
}

// Transport sends requests to one endpoint. It is safe for concurrent use.
type Transport struct {
	dial        dialer
	credentials aws.CredentialsProvider
	scope       scope
	pool        pool
	calls       sync.Pool
}

// New returns a transport; it opens no connection and looks nothing up.
func New(c Config) (*Transport, error) {
	d, err := newDialer(&c)
	if err != nil {
		return nil, err
	}
	t := &Transport{
		dial: d, credentials: c.Credentials, scope: newScope(c.Endpoint, c.Region),
		pool: pool{slots: make(chan struct{}, max(c.Connections, 1))},
	}
	t.calls.New = func() any { return newCall() }
	return t, nil
}

// CloseIdleConnections closes the connections that rest.
func (t *Transport) CloseIdleConnections() { t.pool.closeIdle(time.Time{}) }

// NewCall returns an empty call, which one goroutine at a time may use. Release it afterwards.
func (t *Transport) NewCall() *Call {
	call := t.calls.Get().(*Call)
	call.Body = call.Body[:bodyOffset]
	return call
}

// Release gives a call back. Nothing of it, its reply included, may be used any more.
func (t *Transport) Release(call *Call) {
	if cap(call.Body) > maxKeptBuffer || cap(call.buffer) > maxKeptBuffer {
		return // a batch of megabytes must not stay for calls of a kilobyte
	}
	t.calls.Put(call)
}

// Timing is how long a request took.
type Timing struct {
	Waited time.Duration // for a connection of the pool
	Took   time.Duration // from then to the last byte of the reply, with the way to a new connection
	Ended  time.Time
}

// Send sends the call's body as a request of an operation and reads the reply, which is valid until the
// next Send or Release; after an error there is none. offset is what the service's clock is ahead of ours. The same call may be sent
// again. An error that does not wrap ErrNotSent leaves open whether the service has the request. When
// ctx ends, its error is returned and the connection is closed.
func (t *Transport) Send(ctx context.Context, call *Call, operation string, offset time.Duration) (timing Timing, err error) {
	call.Reply = Reply{}
	keys, err := t.credentials.Retrieve(ctx)
	if err != nil {
		return timing, notSent{&CredentialsError{err}}
	}
	if timing.Waited, err = t.pool.take(ctx); err != nil {
		return timing, notSent{err}
	}
	start := time.Now()
	err = t.exchange(ctx, call, operation, &keys, start, offset)
	t.pool.free()
	timing.Ended = time.Now()
	timing.Took = timing.Ended.Sub(start)
	return timing, err
}

func (t *Transport) exchange(ctx context.Context, call *Call, operation string, keys *aws.Credentials, now time.Time, offset time.Duration) error {
	request, err := call.sign(&t.scope, keys, operation, now.Add(offset))
	if err != nil {
		return notSent{err}
	}
	for {
		c, kept, err := t.connection(ctx, now)
		if err != nil {
			return notSent{err}
		}
		reusable, err := c.exchange(ctx, call, request, now)
		if reusable {
			t.pool.keep(c)
		} else {
			c.Close()
		}
		if err == nil {
			return nil
		}
		call.Reply = Reply{}
		if cause := ctx.Err(); cause != nil {
			return cause
		}
		// A server closes connections that rest; that is no fault of this request.
		if !kept || !isNotSent(err) {
			return err
		}
	}
}

// connection returns a kept connection, or a new one.
func (t *Transport) connection(ctx context.Context, now time.Time) (c *conn, kept bool, err error) {
	for c := t.pool.rested(); c != nil; c = t.pool.rested() {
		if c.usable(now) {
			return c, true, nil
		}
		c.Close()
	}
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	c, err = t.dial.connect(ctx)
	return c, false, err
}
