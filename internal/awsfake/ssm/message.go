package ssm

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
)

// Types of the messages on a data channel.
const (
	typeInput         = "input_stream_data"
	typeOutput        = "output_stream_data"
	typeAcknowledge   = "acknowledge"
	typeChannelClosed = "channel_closed"
)

// payloadType says what a stream message carries.
type payloadType uint32

const (
	payloadOutput            payloadType = 1
	payloadHandshakeRequest  payloadType = 5
	payloadHandshakeResponse payloadType = 6
	payloadHandshakeComplete payloadType = 7
	payloadFlag              payloadType = 10
)

// The flags of a payload of type payloadFlag: a big-endian uint32.
const (
	flagDisconnectToPort   = 1
	flagTerminateSession   = 2
	flagConnectToPortError = 3
)

// Bits of a message's own flags.
const (
	bitSYN = 1
	bitFIN = 2
)

// A message on the wire is a header of fixed places, big-endian, and the payload. The header's length
// counts everything before the payload's length.
const (
	atType          = 4
	atSchemaVersion = 36
	atCreated       = 40
	atSequence      = 48
	atFlags         = 56
	atID            = 64
	atDigest        = 80
	atPayloadType   = 112
	atPayloadLength = 116
	headerSize      = 120

	schemaVersion = 1
	// streamUnit is how much of a stream one message carries at most.
	streamUnit = 1024
	// messageLimit bounds what is read as one message.
	messageLimit = 1 << 16
)

// message is one message between a client and an agent.
type message struct {
	kind     string
	sequence int64
	flags    uint64
	// id is a random UUID in its usual byte order; the wire has its halves swapped.
	id      [16]byte
	payload payloadType
	content []byte
}

var errShort = errors.New("message is shorter than its header says")

// newMessage gives a message an id.
func newMessage(kind string, payload payloadType, content []byte) message {
	m := message{kind: kind, payload: payload, content: content}
	rand.Read(m.id[:])
	m.id[6] = m.id[6]&0x0f | 0x40 // a random UUID is of version 4
	m.id[8] = m.id[8]&0x3f | 0x80
	return m
}

// encode returns the message's bytes, created now.
func (m message) encode(now time.Time) []byte {
	b := make([]byte, headerSize, headerSize+len(m.content))
	binary.BigEndian.PutUint32(b, atPayloadLength)
	copy(b[atType:], fmt.Sprintf("%-*s", atSchemaVersion-atType, m.kind))
	binary.BigEndian.PutUint32(b[atSchemaVersion:], schemaVersion)
	binary.BigEndian.PutUint64(b[atCreated:], uint64(now.UnixMilli()))
	binary.BigEndian.PutUint64(b[atSequence:], uint64(m.sequence))
	binary.BigEndian.PutUint64(b[atFlags:], m.flags)
	copy(b[atID:], m.id[8:])
	copy(b[atID+8:], m.id[:8])
	digest := sha256.Sum256(m.content)
	copy(b[atDigest:], digest[:])
	binary.BigEndian.PutUint32(b[atPayloadType:], uint32(m.payload))
	binary.BigEndian.PutUint32(b[atPayloadLength:], uint32(len(m.content)))
	return append(b, m.content...)
}

// decode reads a message and checks its digest. The message keeps b.
func decode(b []byte) (message, error) {
	if len(b) < headerSize {
		return message{}, errShort
	}
	length := binary.BigEndian.Uint32(b)
	if length < atPayloadLength || uint64(length)+4 > uint64(len(b)) {
		return message{}, errShort
	}
	content := b[length+4:]
	m := message{
		kind:     strings.Trim(string(b[atType:atSchemaVersion]), " \x00"),
		sequence: int64(binary.BigEndian.Uint64(b[atSequence:])),
		flags:    binary.BigEndian.Uint64(b[atFlags:]),
		payload:  payloadType(binary.BigEndian.Uint32(b[atPayloadType:])),
		content:  content,
	}
	copy(m.id[8:], b[atID:])
	copy(m.id[:8], b[atID+8:])
	if binary.BigEndian.Uint32(b[length:]) != uint32(len(content)) {
		return message{}, errShort
	}
	if digest := sha256.Sum256(content); len(content) > 0 && string(digest[:]) != string(b[atDigest:atPayloadType]) {
		return message{}, errors.New("payload has another digest than its message says")
	}
	return m, nil
}

// acknowledgement is the payload of an acknowledge message.
type acknowledgement struct {
	Type       string `json:"AcknowledgedMessageType"`
	ID         string `json:"AcknowledgedMessageId"`
	Sequence   int64  `json:"AcknowledgedMessageSequenceNumber"`
	Sequential bool   `json:"IsSequentialMessage"`
}

// acknowledge is the message that says that m has arrived.
func acknowledge(m message) message {
	content := encodeJSON(acknowledgement{Type: m.kind, ID: m.uuid(), Sequence: m.sequence, Sequential: true})
	a := newMessage(typeAcknowledge, 0, content)
	a.flags = bitSYN | bitFIN
	return a
}

func (m message) uuid() string {
	return fmt.Sprintf("%x-%x-%x-%x-%x", m.id[:4], m.id[4:6], m.id[6:8], m.id[8:10], m.id[10:])
}

// channelClosed is the payload that ends a client, with a reason for its user.
type channelClosed struct {
	MessageID     string `json:"MessageId"`
	CreatedDate   string `json:"CreatedDate"`
	DestinationID string `json:"DestinationId"`
	SessionID     string `json:"SessionId"`
	MessageType   string `json:"MessageType"`
	SchemaVersion int    `json:"SchemaVersion"`
	Output        string `json:"Output"`
}

// openDataChannel is the first message of a client: text, not binary.
type openDataChannel struct {
	TokenValue    string
	ClientID      string `json:"ClientId"`
	ClientVersion string
}

// handshakeRequest, handshakeResponse and handshakeComplete are the payloads by which agent and client
// agree on what the session is.
type (
	handshakeRequest struct {
		AgentVersion           string
		RequestedClientActions []requestedAction
	}
	requestedAction struct {
		ActionType       string
		ActionParameters sessionType
	}
	sessionType struct {
		SessionType string
		Properties  map[string]string
	}
	handshakeResponse struct {
		ClientVersion string
		Errors        []string
	}
	handshakeComplete struct {
		HandshakeTimeToComplete time.Duration
		CustomerMessage         string
	}
)

// encodeJSON encodes one of the types above, none of which can fail.
func encodeJSON(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return b
}
