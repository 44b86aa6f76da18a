package wire

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// input reads from a connection ahead of what is asked for. Where the system tells when a connection
// has something, it holds no memory while it waits: of thousands of workers most are silent at any
// moment, and a report should still come with one call. It is not safe for concurrent use.
type input struct {
	conn net.Conn
	raw  syscall.RawConn // nil: waiting needs memory to read into
	try  func(fd uintptr) bool
	buf  []byte // nil while there is nothing in it and raw is set
	r, w int    // what is unread
	err  error  // of the last try
}

const (
	// readBuffer is what a connection keeps that has to wait with it: a command, and a heartbeat many
	// times. Longer frames are read into memory of their own.
	readBuffer = 512
	// sharedBuffer is what connections take when something has come: most reports.
	sharedBuffer = 8192
)

var inputPool = sync.Pool{New: func() any { return new([sharedBuffer]byte) }}

func newInput(conn net.Conn) *input {
	in := &input{conn: conn}
	var unread []byte
	if c, ok := conn.(*unreadConn); ok {
		unread, c.unread, in.conn = c.unread, nil, c.Conn
	}
	if tcp, ok := in.conn.(*net.TCPConn); ok {
		in.raw = rawConn(tcp)
	}
	if in.raw != nil {
		in.try = in.readNow
	} else {
		in.buf = make([]byte, readBuffer)
	}
	if len(unread) > 0 {
		in.take()
		in.w = copy(in.buf, unread)
	}
	return in
}

// limit is how many bytes Peek can return.
func (in *input) limit() int {
	if in.raw != nil {
		return sharedBuffer
	}
	return readBuffer
}

// Buffered returns how many bytes can be had without waiting.
func (in *input) Buffered() int { return in.w - in.r }

// Peek returns the next n bytes, at most limit, without taking them. They are valid until the next call.
func (in *input) Peek(n int) ([]byte, error) {
	for in.w-in.r < n {
		if err := in.fill(); err != nil {
			return nil, err
		}
	}
	return in.buf[in.r : in.r+n], nil
}

// Discard skips n bytes and returns how many it has.
func (in *input) Discard(n int) (discarded int, err error) {
	for {
		here := min(n-discarded, in.w-in.r)
		in.r += here
		if discarded += here; discarded == n {
			return discarded, nil
		}
		if err := in.fill(); err != nil {
			return discarded, err
		}
	}
}

// ReadByte returns the next byte.
func (in *input) ReadByte() (byte, error) {
	if in.r == in.w {
		if err := in.fill(); err != nil {
			return 0, err
		}
	}
	in.r++
	return in.buf[in.r-1], nil
}

// Read reads what is there, directly from the connection if nothing is.
func (in *input) Read(b []byte) (int, error) {
	if in.r == in.w {
		return in.conn.Read(b)
	}
	n := copy(b, in.buf[in.r:in.w])
	in.r += n
	return n, nil
}

// fill reads more behind what is unread.
func (in *input) fill() error {
	if in.r == in.w {
		in.r, in.w = 0, 0
	} else if in.r > 0 {
		in.w = copy(in.buf, in.buf[in.r:in.w])
		in.r = 0
	}
	if in.raw == nil {
		n, err := in.conn.Read(in.buf[in.w:])
		if in.w += n; n > 0 {
			return nil
		}
		return err
	}
	in.give()
	if err := in.raw.Read(in.try); err != nil {
		return err
	}
	return in.err
}

// readNow reads what has come, and reports whether something has, if only the end.
func (in *input) readNow(fd uintptr) bool {
	in.take()
	n, err := readFrom(fd, in.buf[in.w:])
	switch {
	case errors.Is(err, syscall.EAGAIN):
		in.give()
		return false
	case err != nil:
		in.err = &net.OpError{Op: "read", Net: "tcp", Source: in.conn.LocalAddr(), Addr: in.conn.RemoteAddr(), Err: err}
	case n == 0:
		in.err = io.EOF
	default:
		in.w, in.err = in.w+n, nil
	}
	return true
}

func (in *input) take() {
	if in.buf == nil {
		in.buf = inputPool.Get().(*[sharedBuffer]byte)[:]
	}
}

// give gives the memory back if there is nothing in it.
func (in *input) give() {
	if in.raw != nil && in.buf != nil && in.r == in.w {
		inputPool.Put((*[sharedBuffer]byte)(in.buf))
		in.buf, in.r, in.w = nil, 0, 0
	}
}
