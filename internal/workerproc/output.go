package workerproc

import (
	"bytes"
	"io"
	"sync"
)

// maxLine is how much of a line is held back until its end comes.
const maxLine = 8 << 10

// output joins what several workers print, by whole lines.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

// of returns the writer of one worker.
func (o *output) of(id string) *lines { return &lines{output: o, prefix: id + ": "} }

// lines is the output of one worker. A process writes to it from one goroutine.
type lines struct {
	output *output
	prefix string
	rest   []byte
}

// Write never fails: a terminal that is gone must not end a worker.
func (l *lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		end := bytes.IndexByte(p, '\n')
		if end < 0 && len(l.rest)+len(p) < maxLine {
			l.rest = append(l.rest, p...)
			break
		}
		take := end + 1
		if end < 0 {
			take = min(len(p), max(1, maxLine-len(l.rest)))
		}
		l.rest = append(l.rest, p[:take]...)
		p = p[take:]
		l.flush()
	}
	return n, nil
}

// flush prints what is held back.
func (l *lines) flush() {
	if len(l.rest) == 0 {
		return
	}
	line := append([]byte(l.prefix), l.rest...)
	if line[len(line)-1] != '\n' {
		line = append(line, '\n')
	}
	l.output.mu.Lock()
	defer l.output.mu.Unlock()
	_, _ = l.output.w.Write(line)
	l.rest = l.rest[:0]
}
