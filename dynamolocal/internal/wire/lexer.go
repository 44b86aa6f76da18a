// Package wire translates between JSON and the engine: it decodes the bodies
// of data requests in one pass, without copying strings, and encodes
// attribute values, items and errors.
package wire

import (
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
	"unsafe"
)

// Fault is a body that cannot be read as the request it should be: bad JSON,
// or a member of the wrong type. Its text is the message of the
// SerializationException, which may be empty.
type Fault struct{ Message string }

func (f *Fault) Error() string { return f.Message }

// lexer reads JSON from a buffer. Strings without escapes point into the
// buffer: they are valid as long as it is. The first fault sticks.
type lexer struct {
	b     []byte
	i     int
	fault *Fault
}

func (l *lexer) fail(message string) {
	if l.fault == nil {
		l.fault = &Fault{message}
	}
	l.i = len(l.b)
}

func (l *lexer) peek() byte {
	for l.i < len(l.b) {
		switch c := l.b[l.i]; c {
		case ' ', '\t', '\n', '\r':
			l.i++
		default:
			return c
		}
	}
	return 0
}

func (l *lexer) accept(c byte) bool {
	if l.peek() == c {
		l.i++
		return true
	}
	return false
}

func (l *lexer) word(w string) bool {
	if len(l.b)-l.i >= len(w) && string(l.b[l.i:l.i+len(w)]) == w {
		l.i += len(w)
		return true
	}
	return false
}

// null consumes a null and reports whether there was one.
func (l *lexer) null() bool { return l.peek() == 'n' && l.word("null") }

// next is the loop condition of objects and lists: it steps to the next
// element, consuming the comma between elements and the closing bracket.
func (l *lexer) next(first *bool, end byte) bool {
	if l.fault != nil {
		return false
	}
	if l.accept(end) {
		return false
	}
	if !*first && !l.accept(',') {
		l.fail("")
		return false
	}
	*first = false
	return true
}

// key reads a member name and the colon.
func (l *lexer) key() string {
	if l.peek() != '"' {
		l.fail("")
		return ""
	}
	k := l.text()
	if !l.accept(':') {
		l.fail("")
	}
	return k
}

// text reads a JSON string; the caller has seen its quote.
func (l *lexer) text() string {
	l.i++
	start := l.i
	for i := start; i < len(l.b); i++ {
		switch c := l.b[i]; {
		case c == '"':
			l.i = i + 1
			if i == start {
				return ""
			}
			return unsafe.String(&l.b[start], i-start)
		case c == '\\':
			return l.escaped(start, i)
		case c < 0x20:
			l.fail("")
			return ""
		}
	}
	l.fail("")
	return ""
}

// escaped continues text at the first backslash, in a buffer of its own.
func (l *lexer) escaped(start, i int) string {
	out := append(make([]byte, 0, i-start+32), l.b[start:i]...)
	for i < len(l.b) {
		c := l.b[i]
		i++
		switch {
		case c == '"':
			l.i = i
			if len(out) == 0 {
				return ""
			}
			return unsafe.String(&out[0], len(out))
		case c < 0x20:
			l.fail("")
			return ""
		case c != '\\':
			out = append(out, c)
			continue
		}
		if i >= len(l.b) {
			break
		}
		c = l.b[i]
		i++
		switch c {
		case '"', '\\', '/':
			out = append(out, c)
		case 'b':
			out = append(out, '\b')
		case 'f':
			out = append(out, '\f')
		case 'n':
			out = append(out, '\n')
		case 'r':
			out = append(out, '\r')
		case 't':
			out = append(out, '\t')
		case 'u':
			r, ok := l.hex(i)
			if !ok {
				l.fail("")
				return ""
			}
			i += 4
			if utf16.IsSurrogate(r) && i+6 <= len(l.b) && l.b[i] == '\\' && l.b[i+1] == 'u' {
				if low, ok := l.hex(i + 2); ok && utf16.DecodeRune(r, low) != utf8.RuneError {
					r = utf16.DecodeRune(r, low)
					i += 6
				}
			}
			out = utf8.AppendRune(out, r)
		default:
			l.fail("")
			return ""
		}
	}
	l.fail("")
	return ""
}

func (l *lexer) hex(i int) (rune, bool) {
	if i+4 > len(l.b) {
		return 0, false
	}
	n, err := strconv.ParseUint(string(l.b[i:i+4]), 16, 32)
	return rune(n), err == nil
}

// number consumes a JSON number and returns its text.
func (l *lexer) number() string {
	start := l.i
	if l.i < len(l.b) && l.b[l.i] == '-' {
		l.i++
	}
	digits := func() bool {
		from := l.i
		for l.i < len(l.b) && l.b[l.i] >= '0' && l.b[l.i] <= '9' {
			l.i++
		}
		return l.i > from
	}
	ok := digits()
	if ok && l.i < len(l.b) && l.b[l.i] == '.' {
		l.i++
		ok = digits()
	}
	if ok && l.i < len(l.b) && (l.b[l.i] == 'e' || l.b[l.i] == 'E') {
		l.i++
		if l.i < len(l.b) && (l.b[l.i] == '+' || l.b[l.i] == '-') {
			l.i++
		}
		ok = digits()
	}
	if !ok {
		l.fail("")
		return ""
	}
	return unsafe.String(&l.b[start], l.i-start)
}

// maxSkip bounds the nesting of members that are ignored.
const maxSkip = 256

// skip consumes one value of any type.
func (l *lexer) skip(depth int) {
	if depth > maxSkip {
		l.fail("")
		return
	}
	first := true
	switch c := l.peek(); {
	case c == '{':
		l.i++
		for l.next(&first, '}') {
			l.key()
			l.skip(depth + 1)
		}
	case c == '[':
		l.i++
		for l.next(&first, ']') {
			l.skip(depth + 1)
		}
	case c == '"':
		l.text()
	case c == '-' || c >= '0' && c <= '9':
		l.number()
	case l.word("true"), l.word("false"), l.word("null"):
	default:
		l.fail("")
	}
}

// mismatch fails with what the service says of the value that stands here
// where a value of the named type belongs.
func (l *lexer) mismatch(want string) {
	switch c := l.peek(); {
	case c == '{':
		l.fail("Start of structure or map found where not expected")
	case c == '[':
		l.fail("Unrecognized collection type class java.lang." + want)
	case c == '"':
		l.fail("STRING_VALUE cannot be converted to " + want)
	case c == 't':
		l.fail("TRUE_VALUE cannot be converted to " + want)
	case c == 'f':
		l.fail("FALSE_VALUE cannot be converted to " + want)
	case c == '-' || c >= '0' && c <= '9':
		text := l.number()
		kind := "NUMBER_VALUE"
		if strings.ContainsAny(text, ".eE") {
			kind = "DECIMAL_VALUE"
		}
		l.fail(kind + " cannot be converted to " + want)
	default:
		l.fail("")
	}
}

// str reads a string member; null reads as absent.
func (l *lexer) str() (string, bool) {
	if l.peek() == '"' {
		return l.text(), true
	}
	if !l.null() {
		l.mismatch("String")
	}
	return "", false
}

func (l *lexer) boolean() (value, ok bool) {
	switch c := l.peek(); {
	case c == 't' && l.word("true"):
		return true, true
	case c == 'f' && l.word("false"):
		return false, true
	case c == 'n' && l.word("null"):
	case c == '"':
		return l.booleanText()
	default:
		l.mismatch("Boolean")
	}
	return false, false
}

// booleanText reads the strings that the service takes for booleans.
func (l *lexer) booleanText() (value, ok bool) {
	switch text := l.text(); strings.ToUpper(text) {
	case "TRUE", "YES", "1":
		return true, true
	case "FALSE", "NO", "0":
		return false, true
	}
	l.fail("Unexpected token received from parser")
	return false, false
}

func (l *lexer) integer() (int64, bool) {
	c := l.peek()
	if c == '-' || c >= '0' && c <= '9' {
		text := l.number()
		if n, err := strconv.ParseInt(text, 10, 64); err == nil {
			return n, true
		}
		f, err := strconv.ParseFloat(text, 64)
		if err != nil {
			l.fail("")
		}
		return int64(f), err == nil
	}
	if !l.null() {
		l.mismatch("Integer")
	}
	return 0, false
}

// model is the namespace of the service's types in messages.
const model = "com.amazonaws.dynamodb.v20120810."

// object steps into an object, a map of the named type; false means null or a fault.
func (l *lexer) object(element string) bool {
	if l.accept('{') {
		return true
	}
	if !l.null() {
		l.misfit("Unexpected field type", "Unrecognized collection type java.util.Map<java.lang.String, "+element+">")
	}
	return false
}

// structure steps into an object, a structure of the named type that is a member of another one.
func (l *lexer) structure(name string) bool {
	if l.accept('{') {
		return true
	}
	if !l.null() {
		l.misfit("Unexpected field type", "Unrecognized collection type class "+model+name)
	}
	return false
}

// element is structure for an element of a list or map.
func (l *lexer) element(name string) bool {
	if l.accept('{') {
		return true
	}
	if !l.null() {
		l.misfit("Unexpected value type in payload", "Unrecognized collection type class "+model+name)
	}
	return false
}

func (l *lexer) list() bool {
	if l.accept('[') {
		return true
	}
	if !l.null() {
		l.misfit("Unexpected field type", "")
	}
	return false
}

// misfit fails at a scalar or at a list where an object belongs, or at an object where a list does.
func (l *lexer) misfit(scalar, list string) {
	switch l.peek() {
	case '{':
		l.fail("Start of structure or map found where not expected")
	case '[':
		l.fail(list)
	default:
		l.fail(scalar)
	}
}
