package wire

import (
	"encoding/base64"
	"errors"
	"strconv"
	"strings"
	"unicode/utf8"
	"unsafe"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// depthLimit is the nesting at which decoding gives up with the nesting error
// instead of going deeper.
const depthLimit = attr.MaxDepth + 2

// value reads one AttributeValue. A value that is well-formed JSON but not a
// valid value is reported as err, and is the zero Value.
func (l *lexer) value(depth int) (v attr.Value, err error) {
	if l.null() {
		return v, attr.ErrEmpty
	}
	if !l.element("AttributeValue") {
		return v, attr.ErrEmpty
	}
	first, members := true, 0
	for l.next(&first, '}') {
		k := l.key()
		if l.null() {
			continue
		}
		member, memberErr := l.member(k, depth)
		if member.Kind() == attr.Invalid && memberErr == nil {
			continue
		}
		members++
		v = member
		if err == nil {
			err = memberErr
		}
	}
	switch {
	case members == 0:
		return attr.Value{}, attr.ErrEmpty
	case members > 1:
		if err == nil {
			err = attr.ErrMultiple
		}
		return attr.Value{}, err
	}
	if err == nil && depth+1 > attr.MaxDepth {
		err = attr.ErrNesting
	}
	return v, err
}

func (l *lexer) member(k string, depth int) (attr.Value, error) {
	switch k {
	case "S":
		s, _ := l.str()
		return attr.String(s), nil
	case "N":
		s, ok := l.str()
		if !ok {
			return attr.Value{}, nil
		}
		return attr.ParseNumber(s)
	case "B":
		s, _ := l.binary()
		return attr.Binary(s), nil
	case "BOOL":
		b, _ := l.boolean()
		return attr.Bool(b), nil
	case "NULL":
		if b, _ := l.boolean(); !b {
			return attr.Value{}, attr.ErrNull
		}
		return attr.Null(), nil
	case "SS":
		return attr.StringSet(l.strings((*lexer).str))
	case "BS":
		return attr.BinarySet(l.strings((*lexer).binary))
	case "NS":
		return l.numberSet()
	case "L":
		return l.listValue(depth)
	case "M":
		attrs, err := l.attrs(depth+1, nil)
		if err == nil && depth+1 > attr.MaxDepth {
			err = attr.ErrNesting
		}
		return attr.MapOf(attr.NewMap(attrs)), err
	}
	l.skip(0)
	return attr.Value{}, nil
}

func (l *lexer) binary() (string, bool) {
	switch c := l.peek(); {
	case c == '"':
	case c == '{':
		l.fail("Start of structure or map found where not expected")
		return "", false
	case c == '[':
		l.fail("Unrecognized collection type class java.nio.ByteBuffer")
		return "", false
	case l.null():
		return "", false
	default:
		l.fail("only base-64-encoded strings are convertible to bytes")
		return "", false
	}
	s := l.text()
	if len(s)%4 != 0 {
		l.fail("Base64 encoded length is expected a multiple of 4 bytes but found: " + strconv.Itoa(len(s)))
		return "", false
	}
	out := make([]byte, base64.StdEncoding.DecodedLen(len(s)))
	n, err := base64.StdEncoding.Strict().Decode(out, []byte(s))
	if err != nil || strings.ContainsAny(s, "\r\n") {
		l.fail("Invalid last non-pad Base64 character dectected")
		return "", false
	}
	if n == 0 {
		return "", true
	}
	return unsafe.String(&out[0], n), true
}

func (l *lexer) strings(read func(*lexer) (string, bool)) []string {
	var out []string
	if l.list() {
		first := true
		for l.next(&first, ']') {
			s, _ := read(l)
			out = append(out, s)
		}
	}
	return out
}

func (l *lexer) numberSet() (attr.Value, error) {
	var out []attr.Value
	var bad error
	for _, s := range l.strings((*lexer).str) {
		v, err := attr.ParseNumber(s)
		if err != nil && bad == nil {
			bad = err
		}
		out = append(out, v)
	}
	if bad != nil {
		return attr.Value{}, bad
	}
	return attr.NumberSet(out)
}

func (l *lexer) listValue(depth int) (attr.Value, error) {
	out := []attr.Value{}
	if depth > depthLimit {
		l.skip(0)
		return attr.Value{}, attr.ErrNesting
	}
	var bad error
	if l.list() {
		first := true
		for l.next(&first, ']') {
			v, err := l.value(depth + 1)
			if err != nil && bad == nil {
				bad = err
			}
			out = append(out, v)
		}
	}
	if bad == nil && depth+1 > attr.MaxDepth {
		bad = attr.ErrNesting
	}
	return attr.ListOf(out), bad
}

// attrs reads an object of attribute values, appending to dst. The error is
// the first value error.
func (l *lexer) attrs(depth int, dst []attr.Attr) ([]attr.Attr, error) {
	if dst == nil {
		dst = []attr.Attr{}
	}
	if depth > depthLimit {
		l.skip(0)
		return dst, attr.ErrNesting
	}
	var bad error
	if !l.object(model + "AttributeValue") {
		return dst, nil
	}
	first := true
	for l.next(&first, '}') {
		name := l.key()
		v, err := l.value(depth)
		if err == nil && uint(len(name)-1) >= attr.MaxNameBytes {
			err = attr.NameError(name)
		}
		if err != nil && bad == nil {
			bad = err
		}
		dst = append(dst, attr.Attr{Name: name, Value: v})
	}
	return dst, bad
}

// ParseValue reads one AttributeValue from JSON of its own.
func ParseValue(b []byte) (attr.Value, error) {
	l := lexer{b: b}
	v, err := l.value(0)
	if l.fault != nil {
		return v, l.fault
	}
	if l.peek() != 0 || l.i < len(l.b) {
		return v, errors.New("text after the value")
	}
	return v, err
}

const hexDigits = "0123456789abcdef"

// AppendString appends s as a JSON string.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
		c := s[i]
		if c >= 0x20 && c != '"' && c != '\\' && c < utf8.RuneSelf {
			i++
			continue
		}
		if c >= utf8.RuneSelf {
			r, n := utf8.DecodeRuneInString(s[i:])
			if r != utf8.RuneError || n > 1 {
				i += n
				continue
			}
			dst = append(dst, s[start:i]...)
			dst = append(dst, `\ufffd`...)
			i++
			start = i
			continue
		}
		dst = append(dst, s[start:i]...)
		switch c {
		case '"', '\\':
			dst = append(dst, '\\', c)
		case '\n':
			dst = append(dst, '\\', 'n')
		case '\r':
			dst = append(dst, '\\', 'r')
		case '\t':
			dst = append(dst, '\\', 't')
		default:
			dst = append(dst, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
		}
		i++
		start = i
	}
	dst = append(dst, s[start:]...)
	return append(dst, '"')
}

// AppendValue appends v as an AttributeValue object.
func AppendValue(dst []byte, v attr.Value) []byte {
	switch v.Kind() {
	case attr.S:
		dst = append(dst, `{"S":`...)
		dst = AppendString(dst, v.Text())
	case attr.N:
		dst = append(dst, `{"N":"`...)
		dst = attr.AppendNumber(dst, v)
		dst = append(dst, '"')
	case attr.B:
		dst = append(dst, `{"B":`...)
		dst = appendBinary(dst, v.Text())
	case attr.BOOL:
		dst = append(dst, `{"BOOL":`...)
		dst = strconv.AppendBool(dst, v.Truth())
	case attr.NULL:
		dst = append(dst, `{"NULL":true`...)
	case attr.SS, attr.BS:
		dst = append(dst, `{"`...)
		dst = append(dst, v.Kind().String()...)
		dst = append(dst, `":[`...)
		for i, m := range v.Strings() {
			if i > 0 {
				dst = append(dst, ',')
			}
			if v.Kind() == attr.SS {
				dst = AppendString(dst, m)
			} else {
				dst = appendBinary(dst, m)
			}
		}
		dst = append(dst, ']')
	case attr.NS:
		dst = append(dst, `{"NS":[`...)
		for i, m := range v.Values() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = append(dst, '"')
			dst = attr.AppendNumber(dst, m)
			dst = append(dst, '"')
		}
		dst = append(dst, ']')
	case attr.L:
		dst = append(dst, `{"L":[`...)
		for i, e := range v.Values() {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = AppendValue(dst, e)
		}
		dst = append(dst, ']')
	case attr.M:
		dst = append(dst, `{"M":`...)
		dst = AppendItem(dst, v.Map())
	}
	return append(dst, '}')
}

func appendBinary(dst []byte, s string) []byte {
	dst = append(dst, '"')
	dst = base64.StdEncoding.AppendEncode(dst, []byte(s))
	return append(dst, '"')
}

// AppendItem appends m as an object of attribute values.
func AppendItem(dst []byte, m *attr.Map) []byte {
	dst = append(dst, '{')
	for i := range m.Len() {
		if i > 0 {
			dst = append(dst, ',')
		}
		name, v := m.At(i)
		dst = AppendString(dst, name)
		dst = append(dst, ':')
		dst = AppendValue(dst, v)
	}
	return append(dst, '}')
}
