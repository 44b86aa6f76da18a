package term

import (
	"bytes"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// Frame is the state of a run at one moment, in the two forms it can be shown in.
type Frame struct {
	Line  string // the whole state in one line
	Table Table  // details below it, on a terminal only
}

// Progress shows frames on a stream. It is an io.Writer as well: what is written through it appears
// above a redrawn table instead of in the middle of it. Safe for concurrent use.
type Progress struct {
	out      *Stream
	interval time.Duration

	mu    sync.Mutex
	last  Frame
	shown int       // lines of the drawn table, to be erased before the next output
	next  time.Time // earliest moment of the next line when the stream is no terminal
}

// NewProgress shows frames on out: at once on a terminal, otherwise one line every interval.
func NewProgress(out *Stream, interval time.Duration) *Progress {
	return &Progress{out: out, interval: interval}
}

// Start begins the first interval.
func (p *Progress) Start(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next = now.Add(p.interval)
}

// Update shows the frame. Elsewhere than on a terminal a frame that comes before its time is
// dropped; the first line is due one interval after Start, or at once without one.
func (p *Progress) Update(now time.Time, f Frame) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.out.tty {
		p.last = f
		p.draw()
		return
	}
	// A tick that arrives a little early belongs to its interval, or every second line would slip.
	if now.Before(p.next.Add(-p.interval / 20)) {
		return
	}
	p.next = p.next.Add(p.interval)
	if p.next.Before(now) {
		p.next = now.Add(p.interval)
	}
	fmt.Fprintln(p.out, f.Line)
}

// Write prints text above the table.
func (p *Progress) Write(text []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.shown == 0 {
		return p.out.Write(text)
	}
	p.erase()
	if _, err := p.out.Write(text); err != nil {
		return 0, err
	}
	if !bytes.HasSuffix(text, []byte("\n")) {
		_, _ = io.WriteString(p.out, "\n")
	}
	p.draw()
	return len(text), nil
}

// Close removes the table; the Progress may be used again.
func (p *Progress) Close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.erase()
}

func (p *Progress) draw() {
	width := p.out.Width()
	lines := []string{p.out.Paint(Bold, Cut(p.last.Line, width-1))}
	if len(p.last.Table.Columns) > 0 {
		for i, line := range p.last.Table.Lines(width - 1) {
			line = Cut(line, width-1)
			if i == 0 {
				line = p.out.Paint(Dim, line)
			}
			lines = append(lines, line)
		}
	}
	lines = fit(lines, p.out.Height())
	p.erase()
	// Errors of a progress display are of no interest: the run goes on.
	_, _ = io.WriteString(p.out, strings.Join(lines, "\n")+"\n")
	p.shown = len(lines)
}

// fit leaves what can be erased again: what has scrolled out of a low terminal cannot. The last line,
// which has the totals, stays.
func fit(lines []string, height int) []string {
	const fewest = 3
	room := max(height-1, fewest)
	if height == 0 || len(lines) <= room {
		return lines
	}
	return append(lines[:room-1:room-1], lines[len(lines)-1])
}

func (p *Progress) erase() {
	if p.shown == 0 {
		return
	}
	fmt.Fprintf(p.out, "\x1b[%dA\x1b[J", p.shown)
	p.shown = 0
}
