// Package term knows the terminal: whether a stream is one, how wide it is, whether it may be
// coloured, and how progress is shown on it.
//
// A Stream wraps a writer; everything that prints progress goes through a Progress, which redraws a
// table in place on a terminal and prints one line every few seconds elsewhere.
package term

import (
	"io"
	"os"

	xterm "golang.org/x/term"
)

// fallbackWidth is what a terminal that does not tell its size is taken for.
const fallbackWidth = 80

// Stream is an output with what is known about the terminal behind it.
type Stream struct {
	io.Writer
	fd     int
	tty    bool
	colour bool
}

// NewStream examines w. getenv is the process environment (NO_COLOR and TERM are read); nil means
// an empty one.
func NewStream(w io.Writer, getenv func(string) string) *Stream {
	s := &Stream{Writer: w, fd: -1}
	if f, ok := w.(*os.File); ok {
		s.fd = int(f.Fd())
		s.tty = xterm.IsTerminal(s.fd)
	}
	if getenv == nil {
		getenv = func(string) string { return "" }
	}
	if getenv("TERM") == "dumb" {
		s.tty = false
	}
	s.colour = s.tty && getenv("NO_COLOR") == ""
	return s
}

// IsTerminal reports whether the stream is a terminal that can be redrawn.
func (s *Stream) IsTerminal() bool { return s.tty }

// Width is the number of columns, 80 when it is not known.
func (s *Stream) Width() int {
	if s.fd >= 0 && s.tty {
		if w, _, err := xterm.GetSize(s.fd); err == nil && w > 0 {
			return w
		}
	}
	return fallbackWidth
}

// Height is the number of lines, 0 when it is not known.
func (s *Stream) Height() int {
	if s.fd >= 0 && s.tty {
		if _, h, err := xterm.GetSize(s.fd); err == nil {
			return h
		}
	}
	return 0
}

// Style is a way to print text on a terminal with colours.
type Style string

// The styles in use; the values are the parameters of the escape sequence.
const (
	Bold   Style = "1"
	Dim    Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
)

// Paint returns text in the style when the stream may be coloured, and unchanged otherwise.
func (s *Stream) Paint(style Style, text string) string {
	if !s.colour || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}
