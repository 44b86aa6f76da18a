package resp

import (
	"errors"
	"fmt"
	"net"
	"os"
	"runtime"
	"sync"
	"time"
)

// conn is one connection. Calls are written by whoever finds nobody writing, together with those that came
// meanwhile, and answered in their order by one goroutine.
type conn struct {
	net     net.Conn
	reader  *Reader
	address string
	timeout time.Duration
	ended   chan struct{} // closed when the reading goroutine has returned

	mu      sync.Mutex
	broken  bool // takes no calls
	failure error
	writing bool
	out     []byte // calls to write
	spare   []byte
	pending []*Call // sent or in out, in order; the first is at head
	head    int
}

// maxKept bounds the memory that an idle connection keeps for what it writes.
const maxKept = 1 << 20

// send takes a call, or returns errBroken and has not sent it.
func (c *conn) send(call *Call) error {
	c.mu.Lock()
	if c.broken {
		c.mu.Unlock()
		return errBroken
	}
	c.out = call.appendTo(c.out)
	c.pending = append(c.pending, call)
	if c.writing {
		c.mu.Unlock()
		return nil
	}
	c.writing = true
	c.mu.Unlock()
	c.write(true)
	return nil
}

// write sends what is there. A caller writes once: what came meanwhile is left to a goroutine, because its
// own reply may be there.
func (c *conn) write(caller bool) {
	for {
		runtime.Gosched() // others that are about to call go out with this one
		c.mu.Lock()
		if len(c.out) == 0 || c.broken && c.failure != nil {
			c.writing = false
			c.mu.Unlock()
			return
		}
		out := c.out
		c.out = c.spare[:0]
		c.spare = nil
		c.mu.Unlock()
		err := c.net.SetWriteDeadline(time.Now().Add(c.timeout))
		if err == nil {
			_, err = c.net.Write(out)
		}
		if err != nil {
			c.fail(err)
			return
		}
		c.mu.Lock()
		if cap(out) <= maxKept {
			c.spare = out
		}
		more := len(c.out) > 0
		if !more {
			c.writing = false
		}
		c.mu.Unlock()
		if !more {
			return
		}
		if caller {
			go c.write(false) // ends when nothing is left, or the connection has failed
			return
		}
	}
}

// read answers calls until the connection fails.
func (c *conn) read() {
	defer close(c.ended)
	for {
		v, err := c.reader.Next()
		if err != nil {
			c.fail(err)
			return
		}
		call := c.pop()
		if call == nil {
			c.fail(fmt.Errorf("%w: a reply without a request", errProtocol))
			return
		}
		if !call.state.CompareAndSwap(waiting, taken) {
			if err := c.reader.Skip(v); err != nil {
				c.fail(err)
				return
			}
			continue
		}
		if v.Kind == Failure {
			call.finish(Error(v.Text))
			continue
		}
		if err := call.reply.Decode(c.reader, v); err != nil {
			call.finish(unknown(err))
			c.fail(err)
			return
		}
		call.finish(nil)
	}
}

// Read receives for the reader. A server that does not answer in time has failed; one that is not asked
// need not.
func (c *conn) Read(p []byte) (int, error) {
	for {
		if err := c.net.SetReadDeadline(time.Now().Add(c.timeout)); err != nil {
			return 0, err
		}
		n, err := c.net.Read(p)
		if n > 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
		if c.overdue() {
			return 0, fmt.Errorf("no reply from %s within %s", c.address, c.timeout)
		}
	}
}

func (c *conn) overdue() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.head < len(c.pending) && time.Since(c.pending[c.head].sent) >= c.timeout
}

func (c *conn) pop() *Call {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.head == len(c.pending) {
		return nil
	}
	call := c.pending[c.head]
	c.pending[c.head] = nil
	if c.head++; c.head == len(c.pending) {
		c.pending, c.head = c.pending[:0], 0
		if c.broken { // retired, and this is the last reply
			_ = c.net.Close()
		}
	}
	return call
}

// fail ends the connection and every call on it.
func (c *conn) fail(err error) {
	c.mu.Lock()
	if c.failure != nil {
		c.mu.Unlock()
		return
	}
	c.broken, c.failure = true, err
	left := c.pending[c.head:]
	c.pending, c.head, c.out = nil, 0, nil
	c.mu.Unlock()
	_ = c.net.Close()
	for _, call := range left {
		if call.state.CompareAndSwap(waiting, taken) {
			call.finish(unknown(err))
		}
	}
}

// retire takes no more calls, and closes after the last reply.
func (c *conn) retire() {
	c.mu.Lock()
	c.broken = true
	idle := c.head == len(c.pending)
	c.mu.Unlock()
	if idle {
		_ = c.net.Close()
	}
}

func (c *conn) usable() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return !c.broken
}
