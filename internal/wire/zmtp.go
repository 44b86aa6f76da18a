package wire

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"
)

// The framing of ZMTP 3.1 (rfc.zeromq.org/spec/37), NULL mechanism.
const (
	greetingSize   = 64
	signatureSize  = 10
	maxIdentity    = 255
	maxCommand     = 1024
	flagMore       = 0x01
	flagLong       = 0x02
	flagCommand    = 0x04
	flagsReserved  = ^byte(flagMore | flagLong | flagCommand)
	greetingFirst  = 0xff
	signatureLast  = 0x7f
	socketRouter   = "ROUTER"
	socketDealer   = "DEALER"
	commandReady   = "READY"
	commandError   = "ERROR"
	commandPing    = "PING"
	commandPong    = "PONG"
	propertySocket = "Socket-Type"
	propertyName   = "Identity"
)

const (
	// DefaultMaxMessage is the longest message that is read: 100 MB.
	DefaultMaxMessage = 100_000_000
	// firstChunk is what is reserved for a long frame before any of it has come.
	firstChunk = 64 << 10
	// keptFrame is the largest memory of a frame that is kept for the next one.
	keptFrame = 1 << 20
)

// ErrProtocol is wrapped by the errors about peers that do not speak ZMTP as they should.
var ErrProtocol = errors.New("wire: not the ZeroMQ protocol expected")

func protocolError(format string, arguments ...any) error {
	return fmt.Errorf("%w: %w", ErrProtocol, fmt.Errorf(format, arguments...))
}

// link is a ZMTP connection. One goroutine reads; writes are up to the owner.
type link struct {
	conn net.Conn
	in   *input
	// maxMessage bounds all frames of a message together.
	maxMessage uint64
	// stall is how long a peer may pause in the middle of a frame.
	stall time.Duration
	// pong sends the answer to a PING.
	pong func(frame []byte) error
	// long is the memory of the last long frame.
	long []byte
}

func newLink(conn net.Conn, maxMessage int64, stall time.Duration) *link {
	return &link{conn: conn, in: newInput(conn), maxMessage: uint64(maxMessage), stall: stall}
}

// handshake exchanges greetings and READY with the other side and returns what it is. Ours goes out
// while theirs is read: libzmq sends the first bytes of its greeting and waits for ours before it
// sends the rest. On an error the connection is closed.
func (l *link) handshake(own, identity string) (socket, peer string, err error) {
	written := make(chan error, 1)
	go func() {
		_, err := l.conn.Write(append(greeting(), readyCommand(own, identity)...))
		written <- err
	}()
	if err = l.readGreeting(); err == nil {
		socket, peer, err = l.readReady()
	}
	if err != nil {
		_ = l.conn.Close() // ends the writing
	}
	if failed := <-written; err == nil && failed != nil {
		err = fmt.Errorf("greeting: %w", failed)
	}
	return socket, peer, err
}

// greeting is the 64 bytes that each side sends first: signature, version 3.1, mechanism, not as a
// server.
func greeting() []byte {
	g := make([]byte, greetingSize)
	g[0], g[8], g[9] = greetingFirst, 1, signatureLast
	g[10], g[11] = 3, 1
	copy(g[12:32], "NULL")
	return g
}

// readGreeting checks the other side's.
func (l *link) readGreeting() error {
	for _, n := range [...]int{1, signatureSize} {
		g, err := l.in.Peek(n)
		if err != nil {
			return fmt.Errorf("greeting: %w", unexpectedEOF(err))
		}
		if g[0] != greetingFirst || n == signatureSize && g[signatureSize-1] != signatureLast {
			return protocolError("the peer greets with % x", g)
		}
	}
	// Versions 1 and 2 would not send 64 bytes.
	if g, err := l.in.Peek(signatureSize + 1); err == nil && g[signatureSize] < 3 {
		return protocolError("the peer speaks ZMTP %d, 3 is needed", g[signatureSize])
	}
	g, err := l.in.Peek(greetingSize)
	if err != nil {
		return fmt.Errorf("greeting: %w", unexpectedEOF(err))
	}
	if mechanism := bytes.TrimRight(g[12:32], "\x00"); string(mechanism) != "NULL" {
		return protocolError("the peer wants the security mechanism %.20q, only NULL is known", mechanism)
	}
	_, err = l.in.Discard(greetingSize)
	return err
}

// readyCommand is the READY of a socket.
func readyCommand(socket, identity string) []byte {
	body := append([]byte{byte(len(commandReady))}, commandReady...)
	body = appendProperty(body, propertySocket, socket)
	body = appendProperty(body, propertyName, identity)
	return appendFrame(nil, flagCommand, body)
}

func appendProperty(b []byte, name, value string) []byte {
	b = append(append(b, byte(len(name))), name...)
	b = binary.BigEndian.AppendUint32(b, uint32(len(value)))
	return append(b, value...)
}

func errorCommand(reason string) []byte {
	reason = reason[:min(len(reason), 255)]
	body := append([]byte{byte(len(commandError))}, commandError...)
	body = append(append(body, byte(len(reason))), reason...)
	return appendFrame(nil, flagCommand, body)
}

// readReady reads the other side's READY and returns what it is.
func (l *link) readReady() (socket, identity string, err error) {
	flags, size, err := l.frameHead()
	if err != nil {
		return "", "", fmt.Errorf("handshake: %w", unexpectedEOF(err))
	}
	if flags&flagCommand == 0 || size > maxCommand {
		return "", "", protocolError("a frame of %d bytes before READY", size)
	}
	body, err := l.frameBody(size)
	if err != nil {
		return "", "", fmt.Errorf("handshake: %w", unexpectedEOF(err))
	}
	name, rest, err := splitCommand(body)
	switch {
	case err != nil:
		return "", "", err
	case name == commandError:
		return "", "", protocolError("the peer refuses: %.255q", rest[min(len(rest), 1):])
	case name != commandReady:
		return "", "", protocolError("command %.20q before READY", name)
	}
	return parseMetadata(rest)
}

func splitCommand(body []byte) (name string, rest []byte, err error) {
	if len(body) == 0 || int(body[0]) > len(body)-1 {
		return "", nil, protocolError("a command without a name")
	}
	n := 1 + int(body[0])
	return string(body[1:n]), body[n:], nil
}

func parseMetadata(b []byte) (socket, identity string, err error) {
	for len(b) > 0 {
		n := int(b[0])
		if len(b) < 1+n+4 {
			return "", "", protocolError("the metadata of READY are cut off")
		}
		name, size := b[1:1+n], binary.BigEndian.Uint32(b[1+n:])
		b = b[1+n+4:]
		if uint64(size) > uint64(len(b)) {
			return "", "", protocolError("the metadata of READY are cut off")
		}
		value := string(b[:size])
		b = b[size:]
		switch {
		case bytes.EqualFold(name, []byte(propertySocket)):
			socket = value
		case bytes.EqualFold(name, []byte(propertyName)):
			identity = value
		}
	}
	if len(identity) > maxIdentity {
		return "", "", protocolError("an identity of %d bytes, more than %d", len(identity), maxIdentity)
	}
	return socket, identity, nil
}

// frameHead reads flags and size of a frame.
func (l *link) frameHead() (flags byte, size uint64, err error) {
	if flags, err = l.in.ReadByte(); err != nil {
		return 0, 0, err
	}
	if flags&flagsReserved != 0 || flags&flagCommand != 0 && flags&flagMore != 0 {
		return 0, 0, protocolError("a frame with flags 0x%02x", flags)
	}
	n := 1
	if flags&flagLong != 0 {
		n = 8
	}
	if l.in.Buffered() < n {
		defer l.deadline()()
	}
	head, err := l.in.Peek(n)
	if err != nil {
		return 0, 0, unexpectedEOF(err)
	}
	if n == 1 {
		size = uint64(head[0])
	} else {
		size = binary.BigEndian.Uint64(head)
	}
	_, err = l.in.Discard(n)
	return flags, size, err
}

// deadline starts the time in which the peer must go on, and returns what ends it. Within the
// handshake, which has a deadline of its own, there is none.
func (l *link) deadline() (end func()) {
	if l.stall <= 0 {
		return func() {}
	}
	_ = l.conn.SetReadDeadline(time.Now().Add(l.stall)) // a connection that fails here fails to read
	return func() { _ = l.conn.SetReadDeadline(time.Time{}) }
}

// frameBody reads the body of a frame, which is valid until the next frame is read.
func (l *link) frameBody(size uint64) ([]byte, error) {
	if size <= uint64(l.in.limit()) {
		if uint64(l.in.Buffered()) < size {
			defer l.deadline()()
		}
		body, err := l.in.Peek(int(size))
		if err != nil {
			return nil, unexpectedEOF(err)
		}
		_, err = l.in.Discard(int(size))
		return body, err
	}
	l.long = takeBuffer()
	err := l.fill(size)
	return l.long, err
}

// fill reads a long frame piece by piece, so that a peer has to send what it takes in memory.
func (l *link) fill(size uint64) error {
	defer l.deadline()()
	for have := uint64(0); have < size; {
		chunk := min(size-have, max(firstChunk, have))
		if uint64(cap(l.long)) < have+chunk {
			l.long = append(make([]byte, 0, min(size, 2*(have+chunk))), l.long...)
		}
		l.long = l.long[:have+chunk]
		if err := l.fillChunk(l.long[have:]); err != nil {
			return err
		}
		have += chunk
	}
	return nil
}

func (l *link) fillChunk(chunk []byte) error {
	for len(chunk) > 0 {
		n, err := l.in.Read(chunk)
		if chunk = chunk[n:]; len(chunk) == 0 {
			break
		}
		if err != nil {
			return unexpectedEOF(err)
		}
		l.deadline()
	}
	return nil
}

func (l *link) skipBody(size uint64) error {
	defer l.deadline()()
	for size > 0 {
		n, err := l.in.Discard(int(min(size, firstChunk)))
		if size -= uint64(n); err != nil {
			return unexpectedEOF(err)
		}
		l.deadline()
	}
	return nil
}

// Frames of up to keptFrame bytes share their memory between connections.
var framePool = sync.Pool{New: func() any { b := make([]byte, 0, 8192); return &b }}

func takeBuffer() []byte { return (*framePool.Get().(*[]byte))[:0] }

// release gives back the memory of the last long frame.
func (l *link) release() {
	if l.long != nil && cap(l.long) <= keptFrame {
		long := l.long[:0]
		framePool.Put(&long)
	}
	l.long = nil
}

// receive reads the next message: its first frame that is not empty, for Locust sends a single one,
// and some sockets put an empty one before. Commands are dealt with on the way. What it returns is
// valid until the next call.
func (l *link) receive() ([]byte, error) {
	l.release()
	var found []byte
	total := uint64(0)
	for {
		flags, size, err := l.frameHead()
		if err != nil {
			return nil, err
		}
		if flags&flagCommand != 0 {
			if err := l.command(size); err != nil {
				return nil, err
			}
			continue
		}
		if total += size + 1; size > l.maxMessage || total > l.maxMessage {
			return nil, protocolError("a message of %d bytes or more, the limit is %d", total-1, l.maxMessage)
		}
		if len(found) > 0 {
			err = l.skipBody(size)
		} else {
			found, err = l.frameBody(size)
		}
		if err != nil {
			return nil, err
		}
		if flags&flagMore == 0 {
			return found, nil
		}
		if l.long == nil {
			found = bytes.Clone(found) // the frames that follow overwrite the buffer
		}
	}
}

// command deals with a command after the handshake.
func (l *link) command(size uint64) error {
	if size > maxCommand {
		return protocolError("a command of %d bytes, more than %d", size, maxCommand)
	}
	body, err := l.frameBody(size)
	if err != nil {
		return err
	}
	name, rest, err := splitCommand(body)
	switch {
	case err != nil:
		return err
	case name == commandError:
		return protocolError("the peer closes: %.255q", rest[min(len(rest), 1):])
	case name == commandPing:
		if len(rest) < 2 || len(rest) > 2+16 {
			return protocolError("a PING of %d bytes", len(rest))
		}
		body := append([]byte{byte(len(commandPong))}, commandPong...)
		return l.pong(appendFrame(nil, flagCommand, append(body, rest[2:]...)))
	}
	return nil // others mean nothing to these sockets
}

// appendFrame appends one frame; it sets the flag for a long one itself.
func appendFrame(b []byte, flags byte, body []byte) []byte {
	return append(appendFrameHead(b, flags, len(body)), body...)
}

func appendFrameHead(b []byte, flags byte, size int) []byte {
	if size <= 255 {
		return append(b, flags, byte(size))
	}
	return binary.BigEndian.AppendUint64(append(b, flags|flagLong), uint64(size))
}

// messageFrame returns a message as one frame.
func messageFrame(m *Message) ([]byte, error) {
	const head = 9
	b, err := m.AppendBinary(make([]byte, head, 256))
	if err != nil {
		return nil, err
	}
	// The head is written once the size is known, against the body.
	var buffer [head]byte
	encoded := appendFrameHead(buffer[:0], 0, len(b)-head)
	start := head - len(encoded)
	copy(b[start:], encoded)
	return b[start:], nil
}

func unexpectedEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
