package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"iter"
	"math"
	"strings"
	"unicode/utf8"
)

// maxValues bounds how many values one message may hold. The largest report of Locust within the
// frame limit stays below it; it keeps a message of many tiny values from taking a multiple of its
// size in memory.
const maxValues = 8 << 20

var (
	errTruncated = errors.New("the message ends in the middle of a value")
	errTooMany   = fmt.Errorf("more than %d values in one message", maxValues)
)

type kind uint8

const (
	kindNil kind = iota
	kindBool
	kindInt
	kindUint // above the largest int64
	kindFloat
	kindString
	kindBytes
	kindArray
	kindMap
	kindExt
)

var kindNames = [...]string{"nil", "bool", "int", "int", "float", "string", "bytes", "array", "map", "extension"}

func (k kind) String() string { return kindNames[k] }

// token is the head of a value, and all of it unless it is an array or a map.
type token struct {
	kind kind
	n    int    // elements of an array, pairs of a map
	bits uint64 // bool, int, uint, or the bits of a float
	text []byte // string and bytes; part of the message
}

// reader walks through a message that is wholly in memory. The first error sticks: after it every
// method returns zero values, so that callers look at err once, at the end.
type reader struct {
	data []byte
	at   int // how much of data was read
	left int // values that may still come
	err  error
}

func newReader(data []byte) *reader { return &reader{data: data, left: maxValues} }

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
	r.at = len(r.data)
}

// rest returns the number of bytes that are left.
func (r *reader) rest() int { return len(r.data) - r.at }

// isNil reports whether the next value is nil, and reads it then.
func (r *reader) isNil() bool {
	if r.rest() == 0 || r.data[r.at] != 0xc0 {
		return false
	}
	r.next()
	return true
}

// take returns the next n bytes.
func (r *reader) take(n uint64) []byte {
	if n > uint64(r.rest()) {
		r.fail(errTruncated)
		return nil
	}
	taken := r.data[r.at : r.at+int(n)]
	r.at += int(n)
	return taken
}

// uint reads a big-endian number of 1, 2, 4 or 8 bytes.
func (r *reader) uint(size uint64) uint64 {
	b := r.take(size)
	if b == nil {
		return 0
	}
	switch size {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.BigEndian.Uint16(b))
	case 4:
		return uint64(binary.BigEndian.Uint32(b))
	default:
		return binary.BigEndian.Uint64(b)
	}
}

// next reads the head of a value.
func (r *reader) next() token {
	if r.left--; r.left < 0 {
		r.fail(errTooMany)
	}
	if r.rest() == 0 {
		r.fail(errTruncated)
		return token{}
	}
	c := r.data[r.at]
	r.at++
	switch {
	case c <= 0x7f:
		return token{kind: kindInt, bits: uint64(c)}
	case c <= 0x8f:
		return r.container(kindMap, uint64(c&0x0f))
	case c <= 0x9f:
		return r.container(kindArray, uint64(c&0x0f))
	case c <= 0xbf:
		return token{kind: kindString, text: r.take(uint64(c & 0x1f))}
	case c >= 0xe0:
		return token{kind: kindInt, bits: uint64(int64(int8(c)))}
	}
	return r.long(c)
}

// long reads what follows a code that is no value by itself.
func (r *reader) long(c byte) token {
	switch c {
	case 0xc0:
		return token{}
	case 0xc2, 0xc3:
		return token{kind: kindBool, bits: uint64(c & 1)}
	case 0xc4, 0xc5, 0xc6:
		return token{kind: kindBytes, text: r.take(r.uint(1 << (c - 0xc4)))}
	case 0xc7, 0xc8, 0xc9:
		return token{kind: kindExt, text: r.take(r.uint(1<<(c-0xc7)) + 1)}
	case 0xca:
		return token{kind: kindFloat, bits: math.Float64bits(float64(math.Float32frombits(uint32(r.uint(4)))))}
	case 0xcb:
		return token{kind: kindFloat, bits: r.uint(8)}
	case 0xcc, 0xcd, 0xce:
		return token{kind: kindInt, bits: r.uint(1 << (c - 0xcc))}
	case 0xcf:
		n := r.uint(8)
		if n > math.MaxInt64 {
			return token{kind: kindUint, bits: n}
		}
		return token{kind: kindInt, bits: n}
	case 0xd0:
		return token{kind: kindInt, bits: uint64(int64(int8(r.uint(1))))}
	case 0xd1:
		return token{kind: kindInt, bits: uint64(int64(int16(r.uint(2))))}
	case 0xd2:
		return token{kind: kindInt, bits: uint64(int64(int32(r.uint(4))))}
	case 0xd3:
		return token{kind: kindInt, bits: r.uint(8)}
	case 0xd4, 0xd5, 0xd6, 0xd7, 0xd8:
		return token{kind: kindExt, text: r.take(1<<(c-0xd4) + 1)}
	case 0xd9, 0xda, 0xdb:
		return token{kind: kindString, text: r.take(r.uint(1 << (c - 0xd9)))}
	case 0xdc, 0xdd:
		return r.container(kindArray, r.uint(2<<(c-0xdc)))
	case 0xde, 0xdf:
		return r.container(kindMap, r.uint(2<<(c-0xde)))
	}
	r.fail(fmt.Errorf("byte 0x%02x begins no msgpack value", c))
	return token{}
}

// container checks that n elements can follow: each takes at least a byte, so that memory reserved
// for them is bounded by the message.
func (r *reader) container(k kind, n uint64) token {
	least := n
	if k == kindMap {
		least = 2 * n
	}
	if least > uint64(r.rest()) {
		r.fail(errTruncated)
		return token{}
	}
	return token{kind: k, n: int(n)}
}

// unexpected reports a value of a kind that cannot stand here.
func (r *reader) unexpected(got kind, want string) {
	if r.err == nil {
		r.fail(fmt.Errorf("%s where %s belongs", got, want))
	}
}

// skip reads one value, whatever it is.
func (r *reader) skip() {
	for pending := 1; pending > 0 && r.err == nil; pending-- {
		switch t := r.next(); t.kind {
		case kindArray:
			pending += t.n
		case kindMap:
			pending += 2 * t.n
		}
	}
}

// text reads a string; nil is the empty one, bytes are taken as a string. The bytes of what is no
// UTF-8 are replaced.
func (r *reader) text() string {
	switch t := r.next(); t.kind {
	case kindString, kindBytes:
		return toText(t.text)
	case kindNil:
	default:
		r.unexpected(t.kind, "a string")
	}
	return ""
}

func toText(b []byte) string {
	if !utf8.Valid(b) {
		return strings.ToValidUTF8(string(b), "\uFFFD")
	}
	return string(b)
}

// float reads a number; nil is 0.
func (r *reader) float() float64 {
	f, _ := r.floatOrNil()
	return f
}

func (r *reader) floatOrNil() (f float64, ok bool) {
	switch t := r.next(); t.kind {
	case kindInt:
		return float64(int64(t.bits)), true
	case kindUint:
		return float64(t.bits), true
	case kindFloat:
		if f = math.Float64frombits(t.bits); math.IsNaN(f) || math.IsInf(f, 0) {
			r.fail(fmt.Errorf("%v where a number belongs", f))
			return 0, false
		}
		return f, true
	case kindNil:
	default:
		r.unexpected(t.kind, "a number")
	}
	return 0, false
}

// int reads a whole number; nil is 0, a fraction is cut off, what does not fit becomes the nearest
// number that does.
func (r *reader) int() int64 {
	// Most numbers of a report are small ones.
	if ahead := r.data[r.at:]; r.left > 0 && len(ahead) > 2 {
		switch c := ahead[0]; {
		case c <= 0x7f:
			r.at++
			r.left--
			return int64(c)
		case c == 0xcc:
			r.at += 2
			r.left--
			return int64(ahead[1])
		case c == 0xcd:
			r.at += 3
			r.left--
			return int64(ahead[1])<<8 | int64(ahead[2])
		}
	}
	switch t := r.next(); t.kind {
	case kindInt:
		return int64(t.bits)
	case kindUint:
		return math.MaxInt64
	case kindFloat:
		f := math.Float64frombits(t.bits)
		switch {
		case math.IsNaN(f):
			r.fail(errors.New("not a number where a whole number belongs"))
		case f >= math.MaxInt64:
			return math.MaxInt64
		case f <= math.MinInt64:
			return math.MinInt64
		default:
			return int64(f)
		}
	case kindNil:
	default:
		r.unexpected(t.kind, "a whole number")
	}
	return 0
}

// count reads a whole number that cannot be negative.
func (r *reader) count() int64 { return max(r.int(), 0) }

func (r *reader) bool() bool {
	switch t := r.next(); t.kind {
	case kindBool, kindInt:
		return t.bits != 0
	case kindNil:
	default:
		r.unexpected(t.kind, "true or false")
	}
	return false
}

// bytes reads bytes, which stay part of the message.
func (r *reader) bytes() []byte {
	switch t := r.next(); t.kind {
	case kindString, kindBytes:
		return t.text
	case kindNil:
	default:
		r.unexpected(t.kind, "bytes")
	}
	return nil
}

// array reads the head of an array and returns its length; nil is an empty one.
func (r *reader) array() int {
	switch t := r.next(); t.kind {
	case kindArray:
		return t.n
	case kindNil:
	default:
		r.unexpected(t.kind, "an array")
	}
	return 0
}

// pairs reads the head of a map and returns the number of its pairs; nil is an empty one.
func (r *reader) pairs() int {
	switch t := r.next(); t.kind {
	case kindMap:
		return t.n
	case kindNil:
	default:
		r.unexpected(t.kind, "a map")
	}
	return 0
}

// elements reads an array: the loop must read one value each time.
func (r *reader) elements() iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, n := 0, r.array(); i < n && r.err == nil; i++ {
			if !yield(i) {
				return
			}
		}
	}
}

// fields reads a map and yields its keys, which are part of the message: the loop must read one value
// each time. A key that is no string is yielded as nil.
func (r *reader) fields() iter.Seq[[]byte] {
	return func(yield func([]byte) bool) {
		for n := r.pairs(); n > 0 && r.err == nil; n-- {
			key := r.next()
			switch key.kind {
			case kindArray, kindMap:
				r.unexpected(key.kind, "a key")
			case kindString, kindBytes:
			default:
				key.text = nil
			}
			if r.err != nil || !yield(key.text) {
				return
			}
		}
	}
}

// The writers below append one value in its shortest form, as Python's msgpack does.

func appendInt(b []byte, n int64) []byte {
	switch {
	case n >= 0:
		return appendUint(b, uint64(n))
	case n >= -32:
		return append(b, byte(n))
	case n >= math.MinInt8:
		return append(b, 0xd0, byte(n))
	case n >= math.MinInt16:
		return binary.BigEndian.AppendUint16(append(b, 0xd1), uint16(n))
	case n >= math.MinInt32:
		return binary.BigEndian.AppendUint32(append(b, 0xd2), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xd3), uint64(n))
}

func appendUint(b []byte, n uint64) []byte {
	switch {
	case n <= 0x7f:
		return append(b, byte(n))
	case n <= math.MaxUint8:
		return append(b, 0xcc, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, 0xcd), uint16(n))
	case n <= math.MaxUint32:
		return binary.BigEndian.AppendUint32(append(b, 0xce), uint32(n))
	}
	return binary.BigEndian.AppendUint64(append(b, 0xcf), n)
}

func appendFloat(b []byte, f float64) []byte {
	return binary.BigEndian.AppendUint64(append(b, 0xcb), math.Float64bits(f))
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 0xc3)
	}
	return append(b, 0xc2)
}

func appendNil(b []byte) []byte { return append(b, 0xc0) }

func appendText(b []byte, s string) []byte {
	if n := len(s); n < 32 {
		b = append(b, 0xa0|byte(n))
	} else {
		b = appendLength(b, 0xd9, n)
	}
	return append(b, s...)
}

func appendBytes(b, data []byte) []byte {
	return append(appendLength(b, 0xc4, len(data)), data...)
}

// appendLength appends a length of 1, 2 or 4 bytes behind the code that says which.
func appendLength(b []byte, code byte, n int) []byte {
	switch {
	case n <= math.MaxUint8:
		return append(b, code, byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, code+1), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+2), uint32(n))
}

func appendArray(b []byte, n int) []byte { return appendContainer(b, 0x90, 0xdc, n) }

func appendMap(b []byte, n int) []byte { return appendContainer(b, 0x80, 0xde, n) }

func appendContainer(b []byte, short, code byte, n int) []byte {
	switch {
	case n < 16:
		return append(b, short|byte(n))
	case n <= math.MaxUint16:
		return binary.BigEndian.AppendUint16(append(b, code), uint16(n))
	}
	return binary.BigEndian.AppendUint32(append(b, code+1), uint32(n))
}
