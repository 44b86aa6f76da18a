package lambda

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"sync"
)

const (
	tailBytes = 4 << 10   // what a caller can ask for
	lineBytes = 256 << 10 // a longer one is split
)

// sink is where lines go.
type sink struct {
	stream string
	write  func(line string)
}

// output reads what a process prints, line by line, and keeps the end of it for the caller.
type output struct {
	sink
	reader, writer *os.File
	mark           []byte        // a line that the process cannot print
	marks          chan struct{} // has an element when the mark was read
	done           chan struct{} // closed when nothing is read any more

	mu   sync.Mutex
	last []byte
}

func newOutput(to sink) (*output, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("output: %w", err)
	}
	o := &output{
		sink: to, reader: reader, writer: writer, mark: []byte("\x00" + rand.Text()),
		marks: make(chan struct{}, 1), done: make(chan struct{}),
	}
	go o.read()
	return o, nil
}

// pipe is what the process writes to.
func (o *output) pipe() *os.File { return o.writer }

// read ends when the pipe is closed.
func (o *output) read() {
	defer close(o.done)
	lines := bufio.NewReaderSize(o.reader, lineBytes)
	for {
		line, err := lines.ReadSlice('\n')
		line = bytes.TrimSuffix(line, []byte("\n"))
		text, marked := bytes.CutSuffix(line, o.mark)
		if len(text) > 0 || err == nil && !marked {
			o.line(string(text))
		}
		if marked {
			o.marks <- struct{}{}
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

// line adds a line of the process or of the platform.
func (o *output) line(text string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.write(text)
	o.last = append(append(o.last, text...), '\n')
	if over := len(o.last) - tailBytes; over > 0 {
		o.last = o.last[over:]
	}
}

// begin forgets the lines of earlier calls.
func (o *output) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.last = nil
}

// tail is the end of what was printed since begin.
func (o *output) tail() []byte {
	o.mu.Lock()
	defer o.mu.Unlock()
	return bytes.Clone(o.last)
}

// sync returns when everything that the process has printed so far was read: it writes the mark behind
// it. It is not called concurrently.
func (o *output) sync() {
	if _, err := o.writer.Write(append(o.mark, '\n')); err != nil {
		return // closed
	}
	select {
	case <-o.marks:
	case <-o.done:
	}
}

// close ends reading; what somebody still holds the pipe for is not waited for.
func (o *output) close() {
	_ = o.writer.Close()
	_ = o.reader.Close()
	<-o.done
}
