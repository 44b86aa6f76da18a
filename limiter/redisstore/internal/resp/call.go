package resp

import (
	"crypto/sha1"
	"encoding/hex"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Decoder takes a reply apart. It is called on the goroutine that reads the connection, with the first
// value of a reply that is no Failure, and must read all of its elements. An error ends the connection.
type Decoder interface {
	Decode(r *Reader, v Value) error
}

// Call is a command on its way. It is made by NewCall, filled by Arg and its like, and given to
// Client.Do once.
type Call struct {
	script *Script // nil: the command is an argument like the others
	source bool    // the script goes along
	args   []byte  // the arguments, encoded
	count  int
	reply  Decoder

	state atomic.Uint32
	done  chan struct{}
	err   error
	sent  time.Time
}

// The states of a call: whoever takes it out of waiting decides what becomes of its reply.
const (
	waiting uint32 = iota
	taken
	abandoned
)

var calls = sync.Pool{New: func() any { return &Call{done: make(chan struct{}, 1)} }}

// NewCall returns a call of a command.
func NewCall(command string) *Call {
	c := newCall()
	c.Arg(command)
	return c
}

// NewScriptCall returns a call of a script, which is sent by its hash, and whole when the server does not
// know it. The number of keys is the first argument.
func NewScriptCall(s *Script) *Call {
	c := newCall()
	c.script = s
	return c
}

func newCall() *Call {
	c := calls.Get().(*Call)
	c.args, c.count, c.err, c.script, c.source = c.args[:0], 0, nil, nil, false
	c.state.Store(waiting)
	return c
}

// Script is a program that the server runs.
type Script struct{ bySHA, whole []byte }

// NewScript returns the script of a source text.
func NewScript(source string) *Script {
	sum := sha1.Sum([]byte(source)) // what servers name scripts by
	encode := func(args ...string) []byte {
		var c Call
		for _, arg := range args {
			c.Arg(arg)
		}
		return c.args
	}
	return &Script{bySHA: encode("EVALSHA", hex.EncodeToString(sum[:])), whole: encode("EVAL", source)}
}

// Arg adds an argument.
func (c *Call) Arg(s string) {
	c.start(len(s))
	c.args = append(c.args, s...)
	c.end()
}

// Int adds a number as an argument.
func (c *Call) Int(n int64) {
	if 0 <= n && n < 10 {
		c.args = append(c.args, '$', '1', '\r', '\n', '0'+byte(n))
	} else {
		var text [20]byte
		digits := strconv.AppendInt(text[:0], n, 10)
		c.start(len(digits))
		c.args = append(c.args, digits...)
	}
	c.end()
}

// Join adds an argument that is made of parts.
func (c *Call) Join(parts ...string) {
	length := 0
	for _, p := range parts {
		length += len(p)
	}
	c.start(length)
	for _, p := range parts {
		c.args = append(c.args, p...)
	}
	c.end()
}

func (c *Call) start(length int) {
	c.args = append(c.args, '$')
	c.args = strconv.AppendInt(c.args, int64(length), 10)
	c.args = append(c.args, '\r', '\n')
}

func (c *Call) end() {
	c.args = append(c.args, '\r', '\n')
	c.count++
}

// appendTo writes the command.
func (c *Call) appendTo(out []byte) []byte {
	count := c.count
	var head []byte
	if c.script != nil {
		count += 2
		if head = c.script.bySHA; c.source {
			head = c.script.whole
		}
	}
	out = append(out, '*')
	out = strconv.AppendInt(out, int64(count), 10)
	out = append(out, '\r', '\n')
	out = append(out, head...)
	return append(out, c.args...)
}

// finish ends a call that was taken.
func (c *Call) finish(err error) {
	c.err = err
	c.done <- struct{}{}
}
