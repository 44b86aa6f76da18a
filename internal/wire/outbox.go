package wire

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"sync"
)

// writeBatch bounds what is written at once, so that a deadline for a write is one for progress.
const writeBatch = 1 << 20

var (
	errFull = errors.New("wire: the send queue is full")
	errShut = errors.New("wire: the send queue is closed")
)

// outbox is a bounded queue of encoded frames. A frame is accepted as long as neither the number of
// messages nor their bytes are at the limit, so that a single one may be of any size.
type outbox struct {
	maxMessages, maxBytes int

	mu     sync.Mutex
	frames [][]byte
	bytes  int
	shut   bool
}

// put appends a frame, and calls first if the box was empty, before anyone else can do anything with
// the box.
func (o *outbox) put(frame []byte, first func()) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case o.shut:
		return errShut
	case len(o.frames) >= o.maxMessages || o.bytes >= o.maxBytes:
		return errFull
	}
	o.frames = append(o.frames, frame)
	o.bytes += len(frame)
	if len(o.frames) == 1 {
		first()
	}
	return nil
}

// close makes the box take no more.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.shut = true
}

// peek returns the frames to write next; they stay in the box until done.
func (o *outbox) peek() net.Buffers {
	o.mu.Lock()
	defer o.mu.Unlock()
	size, n := 0, 0
	for n < len(o.frames) && n < 64 && (n == 0 || size+len(o.frames[n]) <= writeBatch) {
		size += len(o.frames[n])
		n++
	}
	// A copy: writing them consumes the slice.
	return append(net.Buffers(nil), o.frames[:n]...)
}

// done takes out the frames that were written whole within the given number of bytes, and reports
// whether the box is empty now. A frame that was cut off by a broken connection was not understood
// by the peer and stays.
func (o *outbox) done(written int64) (empty bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n := 0
	for n < len(o.frames) && int64(len(o.frames[n])) <= written {
		written -= int64(len(o.frames[n]))
		o.bytes -= len(o.frames[n])
		o.frames[n] = nil
		n++
	}
	if o.frames = o.frames[n:]; len(o.frames) == 0 {
		o.frames = nil
	}
	return len(o.frames) == 0
}

func (o *outbox) empty() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.frames) == 0
}

// writeAll writes a batch, in one piece if the connection cannot take many at once itself.
func writeAll(conn net.Conn, batch net.Buffers) (written int64, err error) {
	if len(batch) == 1 {
		n, err := conn.Write(batch[0])
		return int64(n), err
	}
	if _, ok := conn.(*net.TCPConn); ok {
		return batch.WriteTo(conn)
	}
	n, err := conn.Write(bytes.Join(batch, nil))
	return int64(n), err
}

// closeWrite ends a connection for writing only and reports whether it could: closing it while
// something is unread here would take back what was written and the other side has not read yet.
// The second connection is the same one, or what encrypts on it.
func closeWrite(conn, encrypted net.Conn) bool {
	half, ok := conn.(interface{ CloseWrite() error })
	if !ok {
		return false
	}
	if e, ok := encrypted.(*tls.Conn); ok {
		_ = e.CloseWrite() // a goodbye that proves the end is meant; the end itself counts without
	}
	return half.CloseWrite() == nil
}
