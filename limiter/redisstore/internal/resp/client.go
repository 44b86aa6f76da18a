package resp

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Config says how to reach a server.
type Config struct {
	Address            string // host:port
	Username, Password string // "" = none
	DB                 int
	TLS                *tls.Config // nil = plain
	Connections        int         // at least 1
	Timeout            time.Duration
}

// Client sends commands to one server, or to the node of a cluster that serves the keys they name: all
// commands of a client are expected to be about one slot. Safe for concurrent use.
type Client struct {
	config Config
	next   atomic.Uint32
	slots  []slot

	mu      sync.Mutex
	address string // where a cluster sent us, or config.Address
	closed  bool
}

// slot is the place of one connection.
type slot struct {
	conn    atomic.Pointer[conn]
	dialing chan struct{} // holds one element while somebody dials
}

// NewClient returns a client that has no connection yet.
func NewClient(config Config) *Client {
	c := &Client{config: config, address: config.Address, slots: make([]slot, max(1, config.Connections))}
	for i := range c.slots {
		c.slots[i].dialing = make(chan struct{}, 1)
	}
	return c
}

// ErrClosed is returned by calls after Close.
var ErrClosed = errors.New("client is closed")

// maxMoves is how often a call follows a cluster to another node.
const maxMoves = 5

// Do sends a call and waits for its reply, which decoder has taken apart when the error is nil. The call
// must not be used afterwards. An error reply is an Error; after an error that wraps ErrUnknownOutcome
// the command may have been executed.
func (c *Client) Do(ctx context.Context, call *Call, decoder Decoder) error {
	call.reply = decoder
	for moves := 0; ; moves++ {
		conn, err := c.deliver(ctx, call)
		if err != nil {
			return err
		}
		if done := ctx.Done(); done == nil {
			<-call.done
		} else {
			select {
			case <-call.done:
			case <-done:
				if call.state.CompareAndSwap(waiting, abandoned) {
					return unknown(context.Cause(ctx)) // the connection still holds the call
				}
				<-call.done
			}
		}
		err = call.err
		reply, isReply := err.(Error)
		if !isReply {
			calls.Put(call)
			return err
		}
		switch reply.Code() {
		case "MOVED":
			if to, ok := movedTo(string(reply), conn.address); ok && moves < maxMoves {
				c.move(conn, to)
				call.state.Store(waiting)
				call.err = nil
				continue
			}
		case "NOSCRIPT":
			if call.script != nil && !call.source {
				call.source = true
				call.state.Store(waiting)
				call.err = nil
				continue
			}
		case "READONLY": // what was the primary is none any more: its name may lead elsewhere by now
			c.forget(conn)
		}
		calls.Put(call)
		return err
	}
}

// deliver gives the call to a connection.
func (c *Client) deliver(ctx context.Context, call *Call) (*conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	s := &c.slots[0]
	if len(c.slots) > 1 {
		s = &c.slots[c.next.Add(1)%uint32(len(c.slots))]
	}
	for {
		conn := s.conn.Load()
		if conn == nil || !conn.usable() {
			var err error
			if conn, err = c.connect(ctx, s); err != nil {
				return nil, err
			}
		}
		call.sent = time.Now()
		if conn.send(call) == nil {
			return conn, nil
		}
	}
}

// connect makes the connection of a slot, unless somebody just did.
func (c *Client) connect(ctx context.Context, s *slot) (*conn, error) {
	select {
	case s.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
	defer func() { <-s.dialing }()
	if conn := s.conn.Load(); conn != nil && conn.usable() {
		return conn, nil
	}
	c.mu.Lock()
	address, closed := c.address, c.closed
	c.mu.Unlock()
	if closed {
		return nil, ErrClosed
	}
	made, err := c.dial(ctx, address)
	if err != nil && address != c.config.Address {
		// The node that a cluster named is gone; the cluster knows another one.
		c.mu.Lock()
		c.address = c.config.Address
		c.mu.Unlock()
		made, err = c.dial(ctx, c.config.Address)
	}
	if err != nil {
		return nil, err
	}
	go made.read() // ends with the connection; Close waits for it
	s.conn.Store(made)
	c.mu.Lock()
	closed = c.closed
	c.mu.Unlock()
	if closed { // it may not have seen this connection
		made.fail(ErrClosed)
		<-made.ended
		return nil, ErrClosed
	}
	return made, nil
}

func (c *Client) dial(ctx context.Context, address string) (*conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.config.Timeout)
	defer cancel()
	var dialer net.Dialer
	plain, err := dialer.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	made := &conn{net: plain, address: address, timeout: c.config.Timeout, ended: make(chan struct{})}
	if c.config.TLS != nil {
		config := c.config.TLS.Clone()
		if config.ServerName == "" {
			config.ServerName, _, _ = net.SplitHostPort(address)
		}
		secure := tls.Client(plain, config)
		if err := secure.HandshakeContext(ctx); err != nil {
			_ = plain.Close()
			return nil, fmt.Errorf("connect to %s over TLS: %w", address, err)
		}
		made.net = secure
	}
	made.reader = NewReader(made)
	if err := c.greet(ctx, made); err != nil {
		_ = made.net.Close()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, fmt.Errorf("connect to %s: %w", address, err)
	}
	return made, nil
}

// greet says who we are and which database is meant.
func (c *Client) greet(ctx context.Context, made *conn) error {
	stop := context.AfterFunc(ctx, func() { _ = made.net.Close() })
	defer stop() // after an error
	say := func(args ...string) error {
		call := NewCall(args[0])
		defer calls.Put(call)
		for _, arg := range args[1:] {
			call.Arg(arg)
		}
		if _, err := made.net.Write(call.appendTo(nil)); err != nil {
			return err
		}
		v, err := made.reader.Next()
		if err != nil {
			return err
		}
		if v.Kind == Failure {
			return Error(v.Text)
		}
		return made.reader.Skip(v)
	}
	if c.config.Password != "" {
		login := []string{"AUTH", c.config.Password}
		if c.config.Username != "" {
			login = []string{"AUTH", c.config.Username, c.config.Password}
		}
		if err := say(login...); err != nil {
			return err
		}
	}
	if c.config.DB != 0 {
		if err := say("SELECT", strconv.Itoa(c.config.DB)); err != nil {
			return fmt.Errorf("database %d: %w", c.config.DB, err)
		}
	}
	if !stop() {
		return context.Cause(ctx)
	}
	return nil
}

// move follows a cluster to another node.
func (c *Client) move(from *conn, to string) {
	c.mu.Lock()
	c.address = to
	c.mu.Unlock()
	c.forget(from)
}

// forget retires a connection and those to the same address.
func (c *Client) forget(from *conn) {
	from.retire()
	for i := range c.slots {
		if other := c.slots[i].conn.Load(); other != nil && other.address == from.address {
			other.retire()
		}
	}
}

// movedTo reads the address of "MOVED 3999 10.0.0.1:6381", whose host is the answering node's when it is
// not there.
func movedTo(reply, asked string) (string, bool) {
	fields := strings.Fields(reply)
	if len(fields) != 3 {
		return "", false
	}
	cut := strings.LastIndexByte(fields[2], ':')
	if cut < 0 {
		return "", false
	}
	host, port := fields[2][:cut], fields[2][cut+1:]
	if host == "" || host == "?" {
		host, _, _ = net.SplitHostPort(asked)
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), port), true
}

// Address is where calls go.
func (c *Client) Address() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.address
}

// Close ends the connections, and calls on their way with them.
func (c *Client) Close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	for i := range c.slots {
		if conn := c.slots[i].conn.Load(); conn != nil {
			conn.fail(ErrClosed)
			<-conn.ended
		}
	}
}
