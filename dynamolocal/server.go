package dynamolocal

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxHeaderBytes = 64 << 10
	readTimeout    = 2 * time.Minute // for the rest of a request whose first byte has arrived
	idleTimeout    = 10 * time.Minute
	writeTimeout   = time.Minute
	connBuffer     = 8 << 10
	largeBody      = 1 << 20 // longer requests and replies leave their memory at once
)

// Serve answers HTTP/1.1 requests on a listener until ctx ends; then it closes the listener and all
// connections and returns nil. It knows what SDKs send and nothing more, which makes it faster than
// net/http's server with the Engine as its handler; the replies are the same.
func (e *Engine) Serve(ctx context.Context, l net.Listener) error {
	s := &server{engine: e, conns: map[net.Conn]struct{}{}}
	stop := context.AfterFunc(ctx, func() {
		l.Close()
		s.closeAll()
	})
	defer stop()
	defer s.wait.Wait()
	for {
		conn, err := l.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			s.closeAll()
			return fmt.Errorf("dynamolocal: accept: %w", err)
		}
		if !s.add(conn) {
			conn.Close()
			return nil
		}
		s.wait.Go(func() {
			defer s.remove(conn)
			s.serve(ctx, conn)
		})
	}
}

type server struct {
	engine *Engine
	wait   sync.WaitGroup
	mu     sync.Mutex
	conns  map[net.Conn]struct{}
	closed bool
	dated  atomic.Pointer[dateLines]
}

// dateLines are the header lines that are the same for all replies of one second.
type dateLines struct {
	second int64
	text   []byte
}

// date returns the header lines Server and Date.
func (s *server) date(now time.Time) []byte {
	second := now.Unix()
	if lines := s.dated.Load(); lines != nil && lines.second == second {
		return lines.text
	}
	lines := &dateLines{second: second, text: []byte("Server: " + serverName + "\r\nDate: " + now.UTC().Format(http.TimeFormat) + "\r\n")}
	s.dated.Store(lines)
	return lines.text
}

func (s *server) add(conn net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	s.conns[conn] = struct{}{}
	return true
}

func (s *server) remove(conn net.Conn) {
	conn.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, conn)
}

func (s *server) closeAll() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	for conn := range s.conns {
		conn.Close()
	}
}

// head is what matters of a request's header.
type head struct {
	method        string
	path          string // of a GET or HEAD
	host          string // likewise
	target        string
	authorization string
	encoding      string
	length        int
	chunked       bool
	closes        bool
	expects       bool
}

var (
	errMalformed = errors.New("malformed request")
	errTooLarge  = errors.New("request too large")
)

// serve answers the requests of one connection, in order.
func (s *server) serve(ctx context.Context, conn net.Conn) {
	reader := bufio.NewReaderSize(conn, connBuffer)
	x := exchanges.Get().(*exchange)
	defer exchanges.Put(x)
	var body, out []byte
	// Requests that wait end with their connection: a reader notices that while they do.
	requests, cancel := context.WithCancel(ctx)
	defer cancel()
	watched := s.engine.delays || s.engine.faults.Active()
	for {
		_ = conn.SetReadDeadline(time.Now().Add(idleTimeout))
		if _, err := reader.Peek(1); err != nil {
			return
		}
		_ = conn.SetReadDeadline(time.Now().Add(readTimeout))
		h, err := readHead(reader)
		if err == nil {
			body, err = readBody(conn, reader, &h, body[:0])
		}
		if err != nil {
			refuse(conn, err)
			return
		}
		plain := body
		if h.encoding != "" {
			if plain, err = expand(h.encoding, body); errors.Is(err, errTooLarge) {
				refuse(conn, err)
				return
			}
		}
		switch {
		case h.method != http.MethodPost:
			out = appendPlain(out[:0], &h)
		case err != nil:
			s.engine.refuse(x, err)
		case watched:
			s.handleWatched(requests, cancel, conn, reader, x, &h, plain)
		default:
			s.engine.handle(requests, x, h.target, h.authorization, plain)
		}
		now := time.Now()
		if h.method == http.MethodPost {
			if x.drop {
				return
			}
			out = appendReply(out[:0], x, s.date(now))
		}
		_ = conn.SetWriteDeadline(now.Add(writeTimeout))
		if _, err := conn.Write(out); err != nil || h.closes || h.method == http.MethodPost && x.cut >= 0 {
			return
		}
		if cap(body) > largeBody || cap(out) > largeBody {
			body, out = nil, nil
		}
	}
}

// handleWatched performs a request that may wait, and ends it when the client goes away meanwhile.
func (s *server) handleWatched(ctx context.Context, cancel context.CancelFunc, conn net.Conn, reader *bufio.Reader, x *exchange, h *head, body []byte) {
	done := make(chan struct{})
	var watcher sync.WaitGroup
	_ = conn.SetReadDeadline(time.Time{})
	watcher.Go(func() {
		// Peek returns at once for a pipelined request, and with an error when the client has gone
		// or, through the deadline set below, when the reply is ready.
		if _, err := reader.Peek(1); err != nil {
			select {
			case <-done:
			default:
				cancel()
			}
		}
	})
	s.engine.handle(ctx, x, h.target, h.authorization, body)
	close(done)
	_ = conn.SetReadDeadline(time.Unix(1, 0))
	watcher.Wait()
}

// readHead reads the request line and the header fields.
func readHead(reader *bufio.Reader) (h head, err error) {
	line, err := readLine(reader)
	if err != nil {
		return h, err
	}
	method, rest, ok := bytes.Cut(line, []byte(" "))
	path, version, ok2 := bytes.Cut(rest, []byte(" "))
	if !ok || !ok2 || !bytes.HasPrefix(version, []byte("HTTP/1.")) {
		return h, errMalformed
	}
	h.method = methodName(method)
	if h.method != http.MethodPost {
		path, _, _ = bytes.Cut(path, []byte("?"))
		h.path = string(path)
	}
	h.closes = bytes.Equal(version, []byte("HTTP/1.0"))
	total := len(line)
	for {
		line, err := readLine(reader)
		if err != nil {
			return h, err
		}
		if len(line) == 0 {
			return h, nil
		}
		if total += len(line); total > maxHeaderBytes {
			return h, errTooLarge
		}
		if err := h.field(line); err != nil {
			return h, err
		}
	}
}

// methodName avoids an allocation for the methods that occur.
func methodName(method []byte) string {
	switch string(method) {
	case http.MethodPost:
		return http.MethodPost
	case http.MethodGet:
		return http.MethodGet
	}
	return string(method)
}

func readLine(reader *bufio.Reader) ([]byte, error) {
	line, err := reader.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return nil, errTooLarge
	}
	if err != nil {
		return nil, err
	}
	return bytes.TrimSuffix(line[:len(line)-1], []byte("\r")), nil
}

func (h *head) field(line []byte) error {
	name, value, ok := bytes.Cut(line, []byte(":"))
	if !ok || len(name) == 0 {
		return errMalformed
	}
	value = bytes.TrimSpace(value)
	switch len(name) {
	case len("Host"):
		if h.method != http.MethodPost && equalFold(name, "host") {
			h.host = string(value)
		}
	case len("Content-Encoding"):
		if equalFold(name, "content-encoding") && !equalFold(value, "identity") {
			h.encoding = string(value)
		}
	case len("Expect"):
		if equalFold(name, "expect") {
			h.expects = true
		}
	case len("Connection"):
		if equalFold(name, "connection") {
			h.closes = equalFold(value, "close")
		}
	case len("X-Amz-Target"):
		if equalFold(name, "x-amz-target") {
			h.target = targetName(value)
		}
	case len("Authorization"):
		if equalFold(name, "authorization") {
			h.authorization = ""
			// Only requests about tables look at the credential scope; it stands at the start.
			if !bytes.HasPrefix([]byte(h.target), []byte(targetPrefix)) || !isDataOperation(h.target[len(targetPrefix):]) {
				h.authorization = string(value)
			}
		}
	case len("Content-Length"):
		if equalFold(name, "content-length") {
			n, err := strconv.Atoi(string(value))
			if err != nil || n < 0 {
				return errMalformed
			}
			if n > maxRequestBytes {
				return errTooLarge
			}
			h.length = n
		}
	case len("Transfer-Encoding"):
		if equalFold(name, "transfer-encoding") {
			h.chunked = equalFold(value, "chunked")
		}
	}
	return nil
}

func equalFold(b []byte, lower string) bool {
	if len(b) != len(lower) {
		return false
	}
	for i := range b {
		c := b[i]
		if c >= 'A' && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// targetNames are the values of X-Amz-Target that occur, so that reading one allocates nothing.
var targetNames = func() map[string]string {
	names := map[string]string{}
	for op := range controlOperations {
		names[targetPrefix+op] = targetPrefix + op
	}
	for _, op := range []string{"GetItem", "PutItem", "UpdateItem", "DeleteItem", "Query", "Scan",
		"BatchGetItem", "BatchWriteItem", "TransactWriteItems", "TransactGetItems"} {
		names[targetPrefix+op] = targetPrefix + op
	}
	return names
}()

func targetName(value []byte) string {
	if name, ok := targetNames[string(value)]; ok {
		return name
	}
	return string(value)
}

func readBody(conn net.Conn, reader *bufio.Reader, h *head, body []byte) ([]byte, error) {
	if h.expects {
		if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return nil, err
		}
	}
	if h.chunked {
		return readChunks(reader, body)
	}
	if h.length > largeBody {
		// What is announced need not come: memory is taken as it does.
		buffer := bytes.NewBuffer(body)
		_, err := io.CopyN(buffer, reader, int64(h.length))
		return buffer.Bytes(), err
	}
	if cap(body) < h.length {
		body = make([]byte, 0, max(h.length, 4096))
	}
	body = body[:h.length]
	_, err := io.ReadFull(reader, body)
	return body, err
}

func readChunks(reader *bufio.Reader, body []byte) ([]byte, error) {
	for {
		line, err := readLine(reader)
		if err != nil {
			return nil, err
		}
		size, _, _ := bytes.Cut(line, []byte(";"))
		n, err := strconv.ParseUint(string(bytes.TrimSpace(size)), 16, 32)
		if err != nil {
			return nil, errMalformed
		}
		if n == 0 {
			break
		}
		if len(body)+int(n) > maxRequestBytes {
			return nil, errTooLarge
		}
		start := len(body)
		body = append(body, make([]byte, n)...)
		if _, err := io.ReadFull(reader, body[start:]); err != nil {
			return nil, err
		}
		if _, err := readLine(reader); err != nil {
			return nil, err
		}
	}
	for { // trailers
		line, err := readLine(reader)
		if err != nil || len(line) == 0 {
			return body, err
		}
	}
}

// lingering bounds how long a client may go on sending a request that was refused.
const lingering = time.Second

// refuse answers what is no request of ours. The rest of the request is thrown away for a while: a
// connection closed with bytes unread would be reset, and the answer lost.
func refuse(conn net.Conn, err error) {
	status := "400 Bad Request"
	switch {
	case errors.Is(err, errTooLarge):
		status = "413 Request Entity Too Large"
	case !errors.Is(err, errMalformed):
		return
	}
	_ = conn.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := io.WriteString(conn, "HTTP/1.1 "+status+"\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"); err != nil {
		return
	}
	_ = conn.SetReadDeadline(time.Now().Add(lingering))
	_, _ = io.Copy(io.Discard, conn)
}

// appendPlain answers a request that is no POST: a health check, or nothing that we know.
func appendPlain(out []byte, h *head) []byte {
	text := healthText(h.host)
	switch {
	case h.method != http.MethodGet && h.method != http.MethodHead:
		return append(out, "HTTP/1.1 405 Method Not Allowed\r\nAllow: "+allowedMethods+"\r\nContent-Length: 0\r\n\r\n"...)
	case h.path != "/":
		return append(out, "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"...)
	}
	out = append(out, "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(text)), 10)
	out = append(out, "\r\n\r\n"...)
	if h.method == http.MethodGet {
		out = append(out, text...)
	}
	return out
}

func appendReply(out []byte, x *exchange, date []byte) []byte {
	out = append(out, "HTTP/1.1 "...)
	out = strconv.AppendInt(out, int64(x.status), 10)
	out = append(out, ' ')
	out = append(out, http.StatusText(x.status)...)
	out = append(out, "\r\n"...)
	out = append(out, date...)
	if x.plain {
		out = append(out, "Content-Type: text/plain"...)
	} else {
		out = append(out, "Content-Type: "+contentTypeJSON+"\r\nX-Amzn-Requestid: "...)
		out = append(out, x.id[:]...)
		out = append(out, "\r\nX-Amz-Crc32: "...)
		out = strconv.AppendUint(out, uint64(x.crc), 10)
	}
	out = append(out, "\r\nContent-Length: "...)
	out = strconv.AppendInt(out, int64(len(x.reply)), 10)
	out = append(out, "\r\n\r\n"...)
	if x.cut >= 0 {
		return append(out, x.reply[:x.cut]...)
	}
	return append(out, x.reply...)
}
