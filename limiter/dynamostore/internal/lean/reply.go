package lean

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net/http"
	"net/http/httputil"
	"net/textproto"
	"strconv"
)

const (
	// maxHeadBytes bounds the headers of a reply.
	maxHeadBytes = 64 << 10
	// maxReplyBytes is above the largest reply of the service (16 MB of a batch).
	maxReplyBytes = 32 << 20
)

var (
	errMalformed = errors.New("malformed HTTP reply")
	errTooLarge  = fmt.Errorf("the reply has more than %d bytes", maxReplyBytes)
)

// ChecksumError says that the body of a reply is not the one that was sent.
type ChecksumError struct{ Expected, Actual uint32 }

func (e *ChecksumError) Error() string {
	return fmt.Sprintf("response did not match expected checksum, %d, %d", e.Expected, e.Actual)
}

// Reply is what the service answered. Its bytes belong to the call.
type Reply struct {
	Status int
	Body   []byte
	// Date is the header of that name; empty when the reply has none, or comes from a cache.
	Date []byte

	head []byte // header lines, without the status line, with the empty line
}

// Header returns all headers of the reply. It allocates: for replies that are out of the ordinary.
func (r *Reply) Header() http.Header {
	header, err := textproto.NewReader(bufio.NewReader(bytes.NewReader(r.head))).ReadMIMEHeader()
	if err != nil {
		return http.Header{}
	}
	return http.Header(header)
}

// framing is what the head of a reply says about its body and its connection.
type framing struct {
	length    int64 // -1: not stated
	chunked   bool
	close     bool
	version10 bool
	checksum  uint32
	checked   bool // there is a checksum
}

// readReply reads one reply into the call. The connection is reusable when all of it was read and
// nothing more.
func readReply(from io.Reader, call *Call) (reusable bool, err error) {
	buffer := call.buffer[:0]
	defer func() { call.buffer = buffer[:0] }()
	headEnd := 0
	for {
		buffer, headEnd, err = readHead(from, buffer)
		if err != nil {
			return false, err
		}
		var f framing
		call.Reply, f, err = parseHead(buffer[:headEnd])
		if err != nil {
			return false, err
		}
		if call.Reply.Status >= 200 {
			buffer, reusable, err = readBody(from, buffer, headEnd, &call.Reply, &f)
			return reusable, err
		}
		if call.Reply.Status == http.StatusSwitchingProtocols {
			return false, errMalformed
		}
		// An interim answer such as 100 Continue: the real one follows.
		buffer = buffer[:copy(buffer, buffer[headEnd:])]
	}
}

// readHead reads until the buffer holds a head, with its empty line, and says where that ends.
func readHead(from io.Reader, buffer []byte) ([]byte, int, error) {
	searched := 0
	for {
		if at := bytes.Index(buffer[searched:], []byte("\r\n\r\n")); at >= 0 {
			return buffer, searched + at + 4, nil
		}
		searched = max(0, len(buffer)-3)
		if len(buffer) > maxHeadBytes {
			return buffer, 0, errMalformed
		}
		if len(buffer) == cap(buffer) {
			buffer = append(buffer, make([]byte, cap(buffer))...)[:len(buffer)]
		}
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if n == 0 && err != nil {
			if err == io.EOF && len(buffer) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return buffer, 0, err
		}
	}
}

// parseHead reads the status line and the headers that matter. Everything that a server of this
// protocol would not send is an error: after a head that is understood in two ways nothing on the
// connection can be trusted.
func parseHead(head []byte) (reply Reply, f framing, err error) {
	line, rest, ok := cutLine(head)
	if !ok || len(line) < 12 || string(line[:7]) != "HTTP/1." || line[7] != '0' && line[7] != '1' || line[8] != ' ' ||
		len(line) > 12 && line[12] != ' ' || !isText(line) {
		return reply, f, errMalformed
	}
	for _, c := range line[9:12] {
		if c < '0' || c > '9' {
			return reply, f, errMalformed
		}
		reply.Status = 10*reply.Status + int(c-'0')
	}
	if reply.Status < 100 {
		return reply, f, errMalformed
	}
	f.version10 = line[7] == '0'
	f.length, f.close = -1, f.version10
	reply.head = rest
	aged := false
	for {
		if line, rest, ok = cutLine(rest); !ok {
			return reply, f, errMalformed
		}
		if len(line) == 0 {
			break
		}
		colon := bytes.IndexByte(line, ':')
		if colon <= 0 || !isToken(line[:colon]) {
			return reply, f, errMalformed
		}
		name, value := line[:colon], trimBlanks(line[colon+1:])
		if !isText(value) {
			return reply, f, errMalformed
		}
		switch {
		case len(name) == 4 && isName(name, "date"):
			reply.Date = value
		case len(name) == 3 && isName(name, "age"):
			aged = true
		default:
			if err := f.header(name, value); err != nil {
				return reply, f, err
			}
		}
	}
	if aged {
		reply.Date = nil
	}
	if f.chunked && (f.length >= 0 || f.version10) {
		return reply, f, errMalformed
	}
	return reply, f, nil
}

// header takes what a header says about the framing.
func (f *framing) header(name, value []byte) error {
	switch {
	case isName(name, "content-length"):
		n, ok := parseDigits(value)
		if !ok || f.length >= 0 && f.length != n {
			return errMalformed
		}
		f.length = n
	case isName(name, "transfer-encoding"):
		if f.chunked || !isName(value, "chunked") {
			return errMalformed
		}
		f.chunked = true
	case isName(name, "content-encoding"):
		// None was asked for.
		if !isName(value, "identity") {
			return fmt.Errorf("%w: content encoding %q", errMalformed, value)
		}
	case isName(name, "connection"):
		for option := range bytes.SplitSeq(value, []byte(",")) {
			f.close = f.close || isName(trimBlanks(option), "close")
		}
	case isName(name, "x-amz-crc32"):
		sum, err := strconv.ParseUint(string(value), 10, 32)
		if err != nil {
			return fmt.Errorf("unable to parse checksum header %q", value)
		}
		f.checksum, f.checked = uint32(sum), true
	}
	return nil
}

// readBody reads the body that follows the head in the buffer.
func readBody(from io.Reader, buffer []byte, start int, reply *Reply, f *framing) ([]byte, bool, error) {
	bodiless := reply.Status == http.StatusNoContent || reply.Status == http.StatusNotModified
	whole := false
	var err error
	switch {
	case bodiless:
		whole = len(buffer) == start
		reply.Body = buffer[start:start]
	case f.chunked:
		reply.Body, whole, err = readChunks(from, buffer[start:])
	case f.length >= 0:
		buffer, err = readLength(from, buffer, start, f.length)
		if err == nil {
			reply.Body = buffer[start : start+int(f.length)]
			whole = len(buffer) == start+int(f.length)
		}
	default: // to the end of the connection
		reply.Body, err = readAll(io.MultiReader(bytes.NewReader(buffer[start:]), from))
	}
	if err != nil {
		return buffer, false, err
	}
	if f.checked {
		if actual := crc32.ChecksumIEEE(reply.Body); actual != f.checksum {
			// The whole body was read; it is just not the right one.
			return buffer, whole && !f.close, &ChecksumError{f.checksum, actual}
		}
	}
	return buffer, whole && !f.close, nil
}

// readLength reads until the buffer has length bytes from start on. The slices of the head that were taken
// from the buffer stay valid: a larger one is a copy.
func readLength(from io.Reader, buffer []byte, start int, length int64) ([]byte, error) {
	if length > maxReplyBytes {
		return buffer, errTooLarge
	}
	end := start + int(length)
	if end > cap(buffer) {
		buffer = append(make([]byte, 0, end), buffer...)
	}
	for len(buffer) < end {
		n, err := from.Read(buffer[len(buffer):cap(buffer)])
		buffer = buffer[:len(buffer)+n]
		if n == 0 && err != nil {
			if err == io.EOF {
				err = io.ErrUnexpectedEOF
			}
			return buffer, err
		}
	}
	return buffer, nil
}

// readChunks reads a body whose length the server did not know, of which a part is there already.
func readChunks(from io.Reader, part []byte) (body []byte, whole bool, err error) {
	r := bufio.NewReader(io.MultiReader(bytes.NewReader(bytes.Clone(part)), from))
	if body, err = readAll(httputil.NewChunkedReader(r)); err != nil {
		return nil, false, err
	}
	// What is left is an empty line; nobody needs the trailers that may come before it.
	var end [2]byte
	if _, err := io.ReadFull(r, end[:]); err != nil {
		return nil, false, io.ErrUnexpectedEOF
	}
	if string(end[:]) != "\r\n" {
		return nil, false, errMalformed
	}
	return body, r.Buffered() == 0, nil
}

func readAll(from io.Reader) ([]byte, error) {
	body, err := io.ReadAll(io.LimitReader(from, maxReplyBytes+1))
	if err == nil && len(body) > maxReplyBytes {
		err = errTooLarge
	}
	return body, err
}

// cutLine cuts the first line off; every line of a head ends with CR LF, and CR stands nowhere else.
func cutLine(head []byte) (line, rest []byte, ok bool) {
	at := bytes.IndexByte(head, '\r')
	if at < 0 || at+1 == len(head) || head[at+1] != '\n' {
		return nil, nil, false
	}
	return head[:at], head[at+2:], true
}

func trimBlanks(value []byte) []byte {
	for len(value) > 0 && (value[0] == ' ' || value[0] == '\t') {
		value = value[1:]
	}
	for len(value) > 0 && (value[len(value)-1] == ' ' || value[len(value)-1] == '\t') {
		value = value[:len(value)-1]
	}
	return value
}

// isName compares with a name in lower case, as headers are compared.
func isName(name []byte, lower string) bool {
	if len(name) != len(lower) {
		return false
	}
	for i, c := range name {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		if c != lower[i] {
			return false
		}
	}
	return true
}

// isToken says whether a header's name is one.
func isToken(name []byte) bool {
	for _, c := range name {
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '_', c == '.':
		default:
			return false
		}
	}
	return true
}

// isText says whether a header's value has no control characters.
func isText(value []byte) bool {
	for _, c := range value {
		if c < ' ' && c != '\t' || c == 0x7f {
			return false
		}
	}
	return true
}

func parseDigits(value []byte) (n int64, ok bool) {
	if len(value) == 0 || len(value) > 15 {
		return 0, false
	}
	for _, c := range value {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = 10*n + int64(c-'0')
	}
	return n, true
}
