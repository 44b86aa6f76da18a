package ssm

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/gorilla/websocket"
)

const (
	// resendAfter is how long a stream message may stay unacknowledged.
	resendAfter = 500 * time.Millisecond
	resendEvery = 100 * time.Millisecond
	// window is how many messages may be unacknowledged before a sender has to wait, and how many may
	// wait for one that is missing.
	window = 1000
	// writeWithin bounds one write to a client; silentWithin how long a client may say nothing at all:
	// the official one pings every 5 minutes.
	writeWithin  = 10 * time.Second
	silentWithin = 11 * time.Minute
)

// errClosed is returned to senders of a channel that has ended.
var errClosed = errors.New("data channel is closed")

// channel is the agent's end of a data channel: two streams of numbered messages that survive the loss
// of the connection below them. It is safe for concurrent use.
type channel struct {
	// inbox takes the stream messages of the client in their order. While it is full nothing more is
	// acknowledged: the client sends it again.
	inbox *inbox

	mu       sync.Mutex
	changed  sync.Cond // signalled when unacknowledged shrinks or closed is set
	socket   *websocket.Conn
	closed   bool
	next     int64 // of the stream to the client
	unacked  []*sent
	expected int64 // of the stream from the client
	early    map[int64]message
}

// sent is a message that the client has not acknowledged.
type sent struct {
	sequence int64
	bytes    []byte
	at       time.Time
}

func newChannel() *channel {
	c := &channel{inbox: newInbox(), early: map[int64]message{}}
	c.changed.L = &c.mu
	return c
}

// send adds a message to the stream towards the client. It waits while too many are unacknowledged.
func (c *channel) send(payload payloadType, content []byte) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.unacked) >= window && !c.closed {
		c.changed.Wait()
	}
	if c.closed {
		return errClosed
	}
	m := newMessage(typeOutput, payload, content)
	m.sequence = c.next
	if c.next == 0 {
		m.flags = bitSYN
	}
	c.next++
	now := time.Now()
	entry := &sent{m.sequence, m.encode(now), now}
	c.unacked = append(c.unacked, entry)
	c.writeLocked(entry.bytes)
	return nil
}

// writeLocked writes to the client, if one is connected. A client that cannot be written to is
// disconnected: what it missed is sent again to the next connection.
func (c *channel) writeLocked(b []byte) {
	if c.socket == nil {
		return
	}
	err := c.socket.SetWriteDeadline(time.Now().Add(writeWithin))
	if err == nil {
		err = c.socket.WriteMessage(websocket.BinaryMessage, b)
	}
	if err != nil {
		_ = c.socket.Close() // the reader notices
		c.socket = nil
	}
}

// resend sends the oldest message again that has not been acknowledged in time, until ctx is done.
func (c *channel) resend(ctx context.Context) {
	ticker := time.NewTicker(resendEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			c.mu.Lock()
			if len(c.unacked) > 0 && now.Sub(c.unacked[0].at) > resendAfter {
				c.unacked[0].at = now
				c.writeLocked(c.unacked[0].bytes)
			}
			c.mu.Unlock()
		}
	}
}

// serve reads the messages of one connection until it ends. A connection that was served before is
// ended: a client has one at a time.
func (c *channel) serve(socket *websocket.Conn) {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return
	}
	if c.socket != nil {
		_ = c.socket.Close() // its reader notices
	}
	c.socket = socket
	now := time.Now()
	for _, entry := range c.unacked {
		entry.at = now
		c.writeLocked(entry.bytes)
	}
	c.mu.Unlock()

	for {
		kind, b, err := socket.ReadMessage()
		if err != nil {
			break
		}
		if err := socket.SetReadDeadline(time.Now().Add(silentWithin)); err != nil {
			break
		}
		if kind != websocket.BinaryMessage {
			continue
		}
		if m, err := decode(b); err == nil {
			c.receive(m)
		}
	}
	c.mu.Lock()
	if c.socket == socket {
		c.socket = nil
	}
	c.mu.Unlock()
}

// connected says whether a client is connected.
func (c *channel) connected() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.socket != nil
}

// receive takes a message of the client. Only the reader of a connection calls it.
func (c *channel) receive(m message) {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch m.kind {
	case typeAcknowledge:
		var a acknowledgement
		if json.Unmarshal(m.content, &a) == nil {
			c.acknowledgedLocked(a.Sequence)
		}
	case typeInput:
		c.inputLocked(m)
	}
}

func (c *channel) acknowledgedLocked(sequence int64) {
	for i, entry := range c.unacked {
		if entry.sequence == sequence {
			c.unacked = append(c.unacked[:i], c.unacked[i+1:]...)
			c.changed.Broadcast()
			return
		}
	}
}

func (c *channel) inputLocked(m message) {
	if m.sequence >= c.expected && c.inbox.full() || m.sequence > c.expected && len(c.early) >= window {
		return
	}
	// One that was taken already comes again when its acknowledgement was lost with a connection.
	c.writeLocked(acknowledge(m).encode(time.Now()))
	if m.sequence >= c.expected {
		c.early[m.sequence] = m
	}
	for {
		next, ok := c.early[c.expected]
		if !ok {
			return
		}
		delete(c.early, c.expected)
		c.inbox.put(next)
		c.expected++
	}
}

// close tells a connected client that the session is over, with a reason that may be empty, and ends
// the channel.
func (c *channel) close(session, reason string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.closed = true
	c.inbox.close()
	c.changed.Broadcast()
	if c.socket == nil {
		return
	}
	m := newMessage(typeChannelClosed, 0, nil)
	now := time.Now()
	m.content = encodeJSON(channelClosed{
		MessageID: m.uuid(), CreatedDate: now.UTC().Format(time.RFC3339), DestinationID: session, SessionID: session,
		MessageType: typeChannelClosed, SchemaVersion: schemaVersion, Output: reason,
	})
	c.writeLocked(m.encode(now))
	if c.socket != nil {
		_ = c.socket.Close() // its reader notices
		c.socket = nil
	}
}

// inbox is a queue of messages. It is safe for concurrent use.
type inbox struct {
	mu       sync.Mutex
	changed  sync.Cond
	messages []message
	closed   bool
}

func newInbox() *inbox {
	q := &inbox{}
	q.changed.L = &q.mu
	return q
}

func (q *inbox) full() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.messages) >= window
}

func (q *inbox) put(m message) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.messages = append(q.messages, m)
	q.changed.Signal()
}

// take waits for the next message; false says that there is none any more.
func (q *inbox) take() (message, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for len(q.messages) == 0 && !q.closed {
		q.changed.Wait()
	}
	if len(q.messages) == 0 {
		return message{}, false
	}
	m := q.messages[0]
	q.messages = q.messages[1:]
	return m, true
}

func (q *inbox) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
	q.changed.Broadcast()
}
