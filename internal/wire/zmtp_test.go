package wire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

// rawPeer is the far end of a connection, driven byte by byte.
type rawPeer struct {
	net.Conn
	in *bufio.Reader
}

func dialRaw(t *testing.T, address string) *rawPeer {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return newRawPeer(t, conn)
}

func newRawPeer(t *testing.T, conn net.Conn) *rawPeer {
	t.Helper()
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(testTimeout)); err != nil {
		t.Fatal(err)
	}
	return &rawPeer{conn, bufio.NewReader(conn)}
}

func (p *rawPeer) write(t *testing.T, data ...[]byte) {
	t.Helper()
	if _, err := p.Write(bytes.Join(data, nil)); err != nil {
		t.Fatal(err)
	}
}

func (p *rawPeer) read(t *testing.T, n int) []byte {
	t.Helper()
	data := make([]byte, n)
	if _, err := io.ReadFull(p.in, data); err != nil {
		t.Fatal(err)
	}
	return data
}

// frame reads one frame.
func (p *rawPeer) frame(t *testing.T) (flags byte, body []byte) {
	t.Helper()
	flags = p.read(t, 1)[0]
	if flags&flagLong == 0 {
		return flags, p.read(t, int(p.read(t, 1)[0]))
	}
	return flags, p.read(t, int(binary.BigEndian.Uint64(p.read(t, 8))))
}

// greet does what a DEALER does first.
func (p *rawPeer) greet(t *testing.T, identity string) {
	t.Helper()
	p.write(t, greeting(), readyCommand(socketDealer, identity))
	p.read(t, greetingSize)
	p.frame(t)
}

// ended waits for the end of the connection.
func (p *rawPeer) ended(t *testing.T) {
	t.Helper()
	if _, err := io.Copy(io.Discard, p.in); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection is still open")
	}
}

func frameOf(t *testing.T, m Message) []byte {
	t.Helper()
	frame, err := messageFrame(&m)
	if err != nil {
		t.Fatal(err)
	}
	return frame
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What libzmq 4.3.4 sends, byte by byte.
func TestGreetingAndReadyAreLibzmqs(t *testing.T) {
	for _, test := range []struct {
		name string
		got  []byte
		want string
	}{
		{"greeting", greeting(), "ff 00 00 00 00 00 00 00 01 7f 03 01 4e 55 4c 4c" + strings.Repeat("00", 48)},
		{"READY of a ROUTER", readyCommand(socketRouter, ""), "04 29 05 5245414459 0b 536f636b65742d54797065 00000006 524f55544552 08 4964656e74697479 00000000"},
		{"READY of a DEALER", readyCommand(socketDealer, "host_abc"), "04 31 05 5245414459 0b 536f636b65742d54797065 00000006 4445414c4552 08 4964656e74697479 00000008 686f73745f616263"},
	} {
		if want := unhex(t, test.want); !bytes.Equal(test.got, want) {
			t.Errorf("%s:\n% x, want\n% x", test.name, test.got, want)
		}
	}
}

func TestFramesHaveTheShortestHead(t *testing.T) {
	for size, want := range map[int]string{0: "00 00", 255: "00 ff", 256: "02 0000000000000100"} {
		got := appendFrame(nil, 0, make([]byte, size))
		if head := unhex(t, want); !bytes.Equal(got[:len(got)-size], head) {
			t.Errorf("frame of %d bytes begins with % x, want % x", size, got[:len(got)-size], head)
		}
	}
	for _, n := range []int{0, 200, 300, 70_000} {
		m := Message{Type: "x", Data: make([]byte, n)}
		frame := frameOf(t, m)
		body, err := m.AppendBinary(nil)
		if err != nil || !bytes.Equal(frame, appendFrame(nil, 0, body)) {
			t.Errorf("message of %d bytes: the frame differs from one made in two steps (%v)", n, err)
		}
	}
}

// libzmq sends its signature, then waits for ours.
func TestAPeerThatWaitsForTheSignatureIsGreeted(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.write(t, greeting()[:signatureSize])
	if got := peer.read(t, signatureSize); got[0] != greetingFirst || got[9] != signatureLast {
		t.Errorf("answered % x", got)
	}
	peer.write(t, greeting()[signatureSize:], readyCommand(socketDealer, "w"))
	if e := r.next(t, Connected); e.Identity != "w" {
		t.Errorf("connected %+v", e)
	}
}

func TestAPeerWithoutAnIdentityGetsOne(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.greet(t, "")
	e := r.next(t, Connected)
	if e.Identity == "" {
		t.Fatal("no identity")
	}
	send(t, sendTo{r.Router, e.Identity}, Message{Type: TypeStop})
	if _, body := peer.frame(t); !bytes.Contains(body, []byte(TypeStop)) {
		t.Errorf("received % x", body)
	}
}

// sendTo sends to one peer of a router.
type sendTo struct {
	router   *Router
	identity string
}

func (s sendTo) Send(m *Message) error { return s.router.Send(s.identity, m) }

func TestWhatIsNoDealerIsRefused(t *testing.T) {
	version2 := greeting()
	version2[10] = 1
	curve := greeting()
	copy(curve[12:], "CURVE")
	noSignature := greeting()
	noSignature[9] = 0
	ready := readyCommand(socketDealer, "w")
	for name, data := range map[string][]byte{
		"HTTP":                         []byte("GET / HTTP/1.1\r\n\r\n"),
		"zeros":                        make([]byte, 100),
		"ZMTP 1":                       {0x01, 0x00},
		"ZMTP 2":                       version2[:12],
		"a mechanism":                  curve,
		"half a signature":             noSignature,
		"a message before READY":       append(greeting(), frameOf(t, Message{Type: "x"})...),
		"an unknown command":           append(greeting(), appendFrame(nil, flagCommand, []byte("\x05HELLO"))...),
		"a command without a name":     append(greeting(), appendFrame(nil, flagCommand, []byte("\x20HELLO"))...),
		"an empty command":             append(greeting(), appendFrame(nil, flagCommand, nil)...),
		"a READY of a megabyte":        append(greeting(), appendFrameHead(nil, flagCommand, 1<<20)...),
		"an ERROR":                     append(greeting(), errorCommand("go away")...),
		"a SUB socket":                 append(greeting(), readyCommand("SUB", "")...),
		"no socket type":               append(greeting(), appendFrame(nil, flagCommand, []byte("\x05READY"))...),
		"metadata that are cut off":    append(greeting(), appendFrame(nil, flagCommand, ready[2:len(ready)-1])...),
		"metadata without a length":    append(greeting(), appendFrame(nil, flagCommand, []byte("\x05READY\x04Name"))...),
		"an identity of 256 bytes":     append(greeting(), readyCommand(socketDealer, strings.Repeat("x", 256))...),
		"an identity of our own kind":  append(greeting(), readyCommand(socketDealer, "\x00abc")...),
		"reserved flags":               append(greeting(), 0xf8, 0),
		"a TLS hello without a secret": {tlsFirst, 3, 1, 0, 5},
	} {
		t.Run(name, func(t *testing.T) {
			r := startRouter(t, RouterOptions{})
			peer := dialRaw(t, r.address)
			peer.write(t, data)
			if e := r.next(t, Refused); !errors.Is(e.Err, ErrProtocol) {
				t.Errorf("refused: %v", e.Err)
			}
			peer.ended(t)
		})
	}
}

func TestWhatCannotFollowTheHandshakeEndsTheConnection(t *testing.T) {
	for name, data := range map[string][]byte{
		"more than 100 MB":               {flagLong, 0, 0, 0, 0, 0x05, 0xf5, 0xe1, 0x01},
		"a frame without end":            {flagLong, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"reserved flags":                 {0x80, 0},
		"a command in several frames":    {flagCommand | flagMore, 0},
		"a long command":                 appendFrame(nil, flagCommand, make([]byte, maxCommand+1)),
		"a command without a name":       appendFrame(nil, flagCommand, nil),
		"a PING without its time":        appendFrame(nil, flagCommand, []byte("\x04PING\x00")),
		"a PING with much to give back":  appendFrame(nil, flagCommand, []byte("\x04PING\x00\x00"+strings.Repeat("x", 17))),
		"an ERROR":                       errorCommand("I am leaving"),
		"a second message after garbage": append([]byte{0xff}, frameOf(t, Message{Type: "x"})...),
	} {
		t.Run(name, func(t *testing.T) {
			r := startRouter(t, RouterOptions{})
			peer := dialRaw(t, r.address)
			peer.greet(t, "w")
			r.next(t, Connected)
			peer.write(t, data)
			if e := r.next(t, Gone); !errors.Is(e.Err, ErrProtocol) {
				t.Errorf("gone: %v", e.Err)
			}
			peer.ended(t)
		})
	}
}

func TestFramesOfAMessage(t *testing.T) {
	body := func(m Message) []byte {
		b, err := m.AppendBinary(nil)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	short, long := body(Message{Type: "short"}), body(Message{Type: "long", Data: make([]byte, 100_000)})
	ping := appendFrame(nil, flagCommand, []byte("\x04PING\x00\x0acontext"))
	for name, frames := range map[string][]byte{
		"one":                              appendFrame(nil, 0, short),
		"an empty one first":               append(appendFrame(nil, flagMore, nil), appendFrame(nil, 0, short)...),
		"further ones":                     append(appendFrame(nil, flagMore, short), appendFrame(nil, 0, long)...),
		"further short ones":               bytes.Join([][]byte{appendFrame(nil, flagMore, short), appendFrame(nil, flagMore, []byte("abc")), appendFrame(nil, 0, nil)}, nil),
		"a long one, then others":          append(appendFrame(nil, flagMore, long), appendFrame(nil, 0, short)...),
		"a PING between":                   bytes.Join([][]byte{appendFrame(nil, flagMore, short), ping, appendFrame(nil, 0, long)}, nil),
		"a long head for a short one":      append([]byte{flagLong, 0, 0, 0, 0, 0, 0, 0, byte(len(short))}, short...),
		"commands that nobody knows first": append(appendFrame(nil, flagCommand, []byte("\x09SUBSCRIBE")), appendFrame(nil, 0, short)...),
	} {
		t.Run(name, func(t *testing.T) {
			r := startRouter(t, RouterOptions{})
			peer := dialRaw(t, r.address)
			peer.greet(t, "w")
			r.next(t, Connected)
			peer.write(t, frames, frameOf(t, Message{Type: "next"}))
			want := "short"
			if strings.HasPrefix(name, "a long one") {
				want = "long"
			}
			if e := r.next(t, Received); e.Message.Type != want {
				t.Errorf("received %q, want %q", e.Message.Type, want)
			}
			if e := r.next(t, Received); e.Message.Type != "next" {
				t.Errorf("then received %q", e.Message.Type)
			}
		})
	}
}

func TestManyShortFramesOfAMessageAreBounded(t *testing.T) {
	r := startRouter(t, RouterOptions{MaxMessage: 1000})
	peer := dialRaw(t, r.address)
	peer.greet(t, "w")
	r.next(t, Connected)
	peer.write(t, bytes.Repeat(appendFrame(nil, flagMore, nil), 1001))
	if e := r.next(t, Gone); !errors.Is(e.Err, ErrProtocol) {
		t.Errorf("gone: %v", e.Err)
	}
}

func TestAPingIsAnswered(t *testing.T) {
	r := startRouter(t, RouterOptions{})
	peer := dialRaw(t, r.address)
	peer.greet(t, "w")
	peer.write(t, appendFrame(nil, flagCommand, []byte("\x04PING\x00\x0acontext")))
	flags, body := peer.frame(t)
	if flags != flagCommand || string(body) != "\x04PONGcontext" {
		t.Errorf("answered flags %x, %q", flags, body)
	}
}

// A peer has to send what it takes in memory.
func TestALongFrameIsReservedAsItComes(t *testing.T) {
	near, far := net.Pipe()
	peer := newRawPeer(t, far)
	l := newLink(near, DefaultMaxMessage, testTimeout)
	failed := make(chan error, 1)
	go func() {
		_, err := l.receive()
		failed <- err
	}()
	peer.write(t, appendFrameHead(nil, 0, 90_000_000), make([]byte, firstChunk))
	_ = peer.Close()
	if err := <-failed; !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("receive: %v", err)
	}
	// A buffer that an earlier frame left is taken whole; it has no more than keptFrame.
	if got := cap(l.long); got > max(4*firstChunk, keptFrame) {
		t.Errorf("%d bytes reserved for %d that came", got, firstChunk)
	}
}

func ExampleDecode() {
	m, err := Decode([]byte("\x93\xa3ack\x81\xa5index\x02\xa4h1_a"))
	fmt.Printf("%s %+v %s %v\n", m.Type, m.Data, m.NodeID, err)
	// Output: ack {Index:2 Extra:map[]} h1_a <nil>
}
