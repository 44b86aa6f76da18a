package stats

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"unicode"
)

// Locust returns the key under which Locust files the error (locust.md 4.8): the SHA-256 of type, name
// and Python's repr of the text, equal on all workers.
func (k ErrorKey) Locust() string {
	sum := sha256.Sum256([]byte(k.Type + "." + k.Name + "." + pythonRepr(k.Text)))
	return hex.EncodeToString(sum[:])
}

// pythonRepr quotes a text as Python's repr does.
func pythonRepr(text string) string {
	quote := '\''
	if strings.Contains(text, "'") && !strings.Contains(text, `"`) {
		quote = '"'
	}
	b := new(strings.Builder)
	b.WriteRune(quote)
	for _, c := range text {
		switch {
		case c == quote || c == '\\':
			b.WriteRune('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\r':
			b.WriteString(`\r`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == ' ' || unicode.IsPrint(c):
			b.WriteRune(c)
		case c <= 0xff:
			fmt.Fprintf(b, `\x%02x`, c)
		case c <= 0xffff:
			fmt.Fprintf(b, `\u%04x`, c)
		default:
			fmt.Fprintf(b, `\U%08x`, c)
		}
	}
	b.WriteRune(quote)
	return b.String()
}
