package resp

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// The bounds of a reply. What is beyond them is no reply to a request of ours.
const (
	maxLine  = 64 << 10
	maxBulk  = 64 << 20
	maxArray = 4 << 20
	maxDepth = 8
)

// errProtocol is wrapped by errors about bytes that are no reply.
var errProtocol = errors.New("not a reply of a Redis server")

// Kind is the first byte of a value.
type Kind byte

// The kinds of values of the second version of the protocol.
const (
	Simple  Kind = '+'
	Failure Kind = '-'
	Integer Kind = ':'
	Bulk    Kind = '$'
	Array   Kind = '*'
	// Nil is a bulk or an array of length -1.
	Nil Kind = '_'
)

// Value is one value of a reply. The elements of an array follow it.
type Value struct {
	Kind Kind
	// N is the number of an Integer and the length of an Array.
	N int64
	// Text is that of a Simple, Failure or Bulk; it is valid until the next value is read.
	Text []byte
}

// Reader reads the values of a stream. It holds no more of it than the largest value so far.
type Reader struct {
	source io.Reader
	buf    []byte
	r, w   int // what is read of buf, what is there
}

// NewReader reads from a source.
func NewReader(source io.Reader) *Reader { return &Reader{source: source, buf: make([]byte, 16<<10)} }

// Next reads one value.
func (r *Reader) Next() (Value, error) {
	line, err := r.line()
	if err != nil {
		return Value{}, err
	}
	if len(line) == 0 {
		return Value{}, fmt.Errorf("%w: empty line", errProtocol)
	}
	kind, rest := Kind(line[0]), line[1:]
	switch kind {
	case Simple, Failure:
		return Value{Kind: kind, Text: rest}, nil
	case Integer:
		n, err := parseInt(rest)
		return Value{Kind: kind, N: n}, err
	case Bulk, Array:
		n, err := parseInt(rest)
		switch {
		case err != nil:
			return Value{}, err
		case n == -1:
			return Value{Kind: Nil}, nil
		case n < 0 || kind == Array && n > maxArray || kind == Bulk && n > maxBulk:
			return Value{}, fmt.Errorf("%w: a length of %d", errProtocol, n)
		case kind == Array:
			return Value{Kind: kind, N: n}, nil
		}
		text, err := r.take(int(n) + 2)
		if err != nil {
			return Value{}, err
		}
		if text[n] != '\r' || text[n+1] != '\n' {
			return Value{}, fmt.Errorf("%w: a text of %d bytes does not end there", errProtocol, n)
		}
		return Value{Kind: kind, Text: text[:n]}, nil
	}
	return Value{}, fmt.Errorf("%w: it starts with %q", errProtocol, line[0])
}

// Skip passes over the elements of a value that was read.
func (r *Reader) Skip(v Value) error { return r.skip(v, maxDepth) }

func (r *Reader) skip(v Value, depth int) error {
	if v.Kind != Array {
		return nil
	}
	if depth == 0 {
		return fmt.Errorf("%w: arrays in arrays", errProtocol)
	}
	for range v.N {
		element, err := r.Next()
		if err != nil {
			return err
		}
		if err := r.skip(element, depth-1); err != nil {
			return err
		}
	}
	return nil
}

// Buffered reports whether there are bytes that were received and not read.
func (r *Reader) Buffered() bool { return r.r < r.w }

// line returns the bytes up to the end of the line, which it passes.
func (r *Reader) line() ([]byte, error) {
	for searched := 0; ; {
		if i := bytes.IndexByte(r.buf[r.r+searched:r.w], '\n'); i >= 0 {
			end := r.r + searched + i
			line := r.buf[r.r:end]
			if len(line) == 0 || line[len(line)-1] != '\r' {
				return nil, fmt.Errorf("%w: a line without a carriage return", errProtocol)
			}
			r.r = end + 1
			return line[:len(line)-1], nil
		}
		searched = r.w - r.r
		if searched > maxLine {
			return nil, fmt.Errorf("%w: a line of more than %d bytes", errProtocol, maxLine)
		}
		if err := r.fill(searched + 1); err != nil {
			return nil, err
		}
	}
}

// take returns the next n bytes and passes them.
func (r *Reader) take(n int) ([]byte, error) {
	if err := r.fill(n); err != nil {
		return nil, err
	}
	text := r.buf[r.r : r.r+n]
	r.r += n
	return text, nil
}

// fill receives until n bytes are there.
func (r *Reader) fill(n int) error {
	if r.w-r.r >= n {
		return nil
	}
	if r.r == r.w {
		r.r, r.w = 0, 0
	}
	if r.r+n > len(r.buf) {
		to := r.buf
		if n > len(to) {
			// What is announced may never come: the buffer grows with what does.
			to = make([]byte, min(n, max(2*len(r.buf), 1<<20)))
		}
		r.w = copy(to, r.buf[r.r:r.w])
		r.r, r.buf = 0, to
	}
	for r.w-r.r < n {
		if r.w == len(r.buf) {
			to := make([]byte, min(n, 2*len(r.buf)))
			copy(to, r.buf)
			r.buf = to
		}
		got, err := r.source.Read(r.buf[r.w:])
		r.w += got
		if r.w-r.r >= n {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func parseInt(b []byte) (int64, error) {
	if n, ok := ParseInt(b); ok {
		return n, nil
	}
	return 0, fmt.Errorf("%w: %q is not a number", errProtocol, b[:min(len(b), 30)])
}

// ParseInt reads a decimal integer of 64 bits.
func ParseInt(b []byte) (int64, bool) {
	digits := b
	if len(b) > 0 && b[0] == '-' {
		digits = b[1:]
	}
	if len(digits) == 0 || len(digits) > 18 { // rare: near the bounds of an integer
		n, err := strconv.ParseInt(string(b), 10, 64)
		return n, err == nil
	}
	var n int64
	for _, c := range digits {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if len(digits) < len(b) {
		n = -n
	}
	return n, true
}
