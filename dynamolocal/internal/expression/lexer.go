package expression

import (
	"strings"
	"unicode/utf8"
)

// Error is an expression that the service refuses. The message is complete except for the name of
// the expression, which Kind holds: Condition, Update, Filter, Projection, KeyCondition. A message
// without a kind stands alone.
type Error struct {
	Kind    string
	Message string
	// Strict errors get a prefix in the service's newer wording.
	Strict bool
}

func (e *Error) Error() string {
	if e.Kind == "" {
		return e.Message
	}
	return "Invalid " + e.Kind + "Expression: " + e.Message
}

type tokenKind uint8

const (
	tokEOF tokenKind = iota
	tokName
	tokNameRef  // #name
	tokValueRef // :value
	tokDigits
	tokSymbol
)

type token struct {
	kind       tokenKind
	text       string
	start, end int
}

// is reports whether the token is a keyword, in any letter case.
func (t token) is(keyword string) bool {
	return t.kind == tokName && strings.EqualFold(t.text, keyword)
}

func (t token) symbol(s string) bool { return t.kind == tokSymbol && t.text == s }

func (t token) comparator() bool {
	if t.kind != tokSymbol {
		return false
	}
	switch t.text {
	case "=", "<>", "<", "<=", ">", ">=":
		return true
	}
	return false
}

func isLetter(c byte) bool { return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '_' }
func isDigit(c byte) bool  { return c >= '0' && c <= '9' }

// tokens cuts a text; the last one is tokEOF.
func tokens(text string) []token {
	var list []token
	for i := 0; i < len(text); {
		c := text[i]
		if c == ' ' || c == '\t' || c == '\n' || c == '\r' {
			i++
			continue
		}
		t := token{start: i}
		switch {
		case isLetter(c):
			t.kind = tokName
			i = after(text, i, func(c byte) bool { return isLetter(c) || isDigit(c) })
		case isDigit(c):
			t.kind = tokDigits
			i = after(text, i, isDigit)
		case (c == '#' || c == ':') && i+1 < len(text) && (isLetter(text[i+1]) || isDigit(text[i+1])):
			t.kind = tokNameRef
			if c == ':' {
				t.kind = tokValueRef
			}
			i = after(text, i+1, func(c byte) bool { return isLetter(c) || isDigit(c) })
		case i+1 < len(text) && (text[i:i+2] == "<=" || text[i:i+2] == ">=" || text[i:i+2] == "<>"):
			t.kind = tokSymbol
			i += 2
		default:
			t.kind = tokSymbol
			_, size := utf8.DecodeRuneInString(text[i:])
			i += size
		}
		t.text, t.end = text[t.start:i], i
		list = append(list, t)
	}
	return append(list, token{kind: tokEOF, text: "<EOF>", start: len(text), end: len(text)})
}

func after(text string, i int, in func(byte) bool) int {
	for i < len(text) && in(text[i]) {
		i++
	}
	return i
}
