package target

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

const (
	dialTimeout = 5 * time.Second
	// exchangeTimeout bounds one request and its whole reply.
	exchangeTimeout = 30 * time.Second
	// maxIdle is below the idle time-outs of the engines that we know (the shortest is 30 s).
	maxIdle = 15 * time.Second
	// checkAfter is how long a connection may rest before it is looked at for a close by the peer.
	checkAfter = 200 * time.Millisecond
	// maxReplyBytes is above the largest reply of the service (16 MB of a batch).
	maxReplyBytes = 32 << 20
	bufferBytes   = 8 << 10
)

// errReplyTooLarge is returned for a reply of more than maxReplyBytes.
var errReplyTooLarge = fmt.Errorf("the reply has more than %d bytes", maxReplyBytes)

// plainTransport sends requests to one plain HTTP/1.1 endpoint over connections that it keeps. The
// calling goroutine itself writes the request and reads the reply, which costs about a third less
// processor time for a small call than net/http's transport with its two goroutines a connection
// (BenchmarkTransports). It knows what a DynamoDB endpoint needs and no more: no redirects, no
// proxies, no compression, no TLS. Safe for use by several goroutines.
type plainTransport struct {
	address string
	idle    chan *plainConn
}

// plainConn is one connection; it is owned by one goroutine, or rests in the idle channel.
type plainConn struct {
	net.Conn
	reader *bufio.Reader
	writer *bufio.Writer
	usedAt time.Time
}

// newPlainTransport keeps up to connections idle connections to address (host:port).
func newPlainTransport(address string, connections int) *plainTransport {
	return &plainTransport{address: address, idle: make(chan *plainConn, connections)}
}

// RoundTrip sends the request and returns the reply with its body already in memory. A request whose
// reply is lost is never sent again.
func (t *plainTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx := request.Context()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	conn, err := t.connection(ctx)
	if err != nil {
		return nil, err
	}
	response, reusable, err := conn.exchange(ctx, request)
	if reusable {
		t.keep(conn)
	} else {
		conn.Close()
	}
	if cause := ctx.Err(); err != nil && cause != nil {
		return nil, cause
	}
	return response, err
}

// CloseIdleConnections closes the connections that rest.
func (t *plainTransport) CloseIdleConnections() {
	for {
		select {
		case conn := <-t.idle:
			conn.Close()
		default:
			return
		}
	}
}

func (t *plainTransport) connection(ctx context.Context) (*plainConn, error) {
	for {
		select {
		case conn := <-t.idle:
			if conn.usable() {
				return conn, nil
			}
			conn.Close()
		default:
			dialer := net.Dialer{Timeout: dialTimeout}
			raw, err := dialer.DialContext(ctx, "tcp", t.address)
			if err != nil {
				return nil, err
			}
			return &plainConn{
				Conn:   raw,
				reader: bufio.NewReaderSize(raw, bufferBytes),
				writer: bufio.NewWriterSize(raw, bufferBytes),
			}, nil
		}
	}
}

func (t *plainTransport) keep(conn *plainConn) {
	conn.usedAt = time.Now()
	select {
	case t.idle <- conn:
	default:
		conn.Close()
	}
}

// usable reports whether a connection that rested can carry a request: not too old, not closed by
// the peer, no bytes nobody asked for.
func (c *plainConn) usable() bool {
	rested := time.Since(c.usedAt)
	if rested < checkAfter {
		return true
	}
	if rested > maxIdle {
		return false
	}
	// A read that would have to wait proves the connection alive.
	if err := c.SetReadDeadline(time.Now().Add(time.Microsecond)); err != nil {
		return false
	}
	_, err := c.reader.Peek(1)
	return errors.Is(err, os.ErrDeadlineExceeded)
}

// exchange sends one request and reads its whole reply. The connection is reusable when nothing is
// left on it and nobody can still change its deadline.
func (c *plainConn) exchange(ctx context.Context, request *http.Request) (response *http.Response, reusable bool, err error) {
	if err := c.SetDeadline(time.Now().Add(exchangeTimeout)); err != nil {
		return nil, false, err
	}
	if ctx.Done() != nil {
		stop := context.AfterFunc(ctx, func() { c.SetDeadline(time.Unix(1, 0)) })
		defer func() { reusable = stop() && reusable }()
	}
	if err := c.send(request); err != nil {
		return nil, false, err
	}
	response, err = http.ReadResponse(c.reader, request)
	if err != nil {
		return nil, false, err
	}
	body, err := readBody(response)
	if err != nil {
		return nil, false, err
	}
	response.Body = body
	return response, !response.Close, nil
}

func (c *plainConn) send(request *http.Request) error {
	w := c.writer
	w.Reset(c.Conn)
	w.WriteString(request.Method)
	w.WriteString(" ")
	w.WriteString(request.URL.RequestURI())
	w.WriteString(" HTTP/1.1\r\nHost: ")
	if request.Host != "" {
		w.WriteString(request.Host)
	} else {
		w.WriteString(request.URL.Host)
	}
	w.WriteString("\r\nContent-Length: ")
	w.Write(strconv.AppendInt(w.AvailableBuffer(), max(request.ContentLength, 0), 10))
	w.WriteString("\r\n")
	for name, values := range request.Header {
		if name == "Host" || name == "Content-Length" {
			continue
		}
		for _, value := range values {
			w.WriteString(name)
			w.WriteString(": ")
			w.WriteString(value)
			w.WriteString("\r\n")
		}
	}
	w.WriteString("\r\n")
	if request.Body != nil {
		defer request.Body.Close()
		if _, err := io.Copy(w, request.Body); err != nil {
			return err
		}
	}
	return w.Flush()
}

// readBody reads the whole body, so that the connection is free and the time of the call is the
// time of its last byte.
func readBody(response *http.Response) (*replyBody, error) {
	defer response.Body.Close()
	if response.ContentLength > maxReplyBytes {
		return nil, errReplyTooLarge
	}
	if response.ContentLength >= 0 {
		body := &replyBody{data: make([]byte, response.ContentLength)}
		_, err := io.ReadFull(response.Body, body.data)
		return body, err
	}
	data, err := io.ReadAll(io.LimitReader(response.Body, maxReplyBytes+1))
	if err == nil && len(data) > maxReplyBytes {
		err = errReplyTooLarge
	}
	return &replyBody{data: data}, err
}

// replyBody is a reply's body in memory.
type replyBody struct {
	data []byte
	read int
}

func (b *replyBody) Read(p []byte) (int, error) {
	if b.read == len(b.data) {
		return 0, io.EOF
	}
	n := copy(p, b.data[b.read:])
	b.read += n
	return n, nil
}

func (b *replyBody) WriteTo(w io.Writer) (int64, error) {
	n, err := w.Write(b.data[b.read:])
	b.read += n
	return int64(n), err
}

func (b *replyBody) Close() error { return nil }
