package wire

import (
	"errors"
	"fmt"
)

// The message types that Locust knows. Any other is a custom message.
const (
	TypeClientReady      = "client_ready"
	TypeClientStopped    = "client_stopped"
	TypeHeartbeat        = "heartbeat"
	TypeStats            = "stats"
	TypeSpawning         = "spawning"
	TypeSpawningComplete = "spawning_complete"
	TypeQuit             = "quit"
	TypeException        = "exception"
	TypeLogs             = "logs"
	TypeLocustfile       = "locustfile"
	TypeAck              = "ack"
	TypeSpawn            = "spawn"
	TypeStop             = "stop"
	TypeReconnect        = "reconnect"
	TypeUpdateUserClass  = "update_user_class"
)

// ErrBadMessage is wrapped by every error of [Decode].
var ErrBadMessage = errors.New("wire: bad message")

// Message is one message of Locust's protocol: [type, data, node id].
type Message struct {
	Type string
	// Data is nil or, by type:
	//
	//	client_ready       ClientReady
	//	heartbeat          Heartbeat from a worker; nil or Heartbeat from a master
	//	stats              *Stats
	//	spawning_complete  SpawningComplete
	//	exception          Exception
	//	logs               Logs
	//	locustfile         LocustfileRequest from a worker, LocustfileReply from a master
	//	ack                Ack
	//	spawn              Spawn
	//	update_user_class  UpdateUserClass
	//
	// and for any other type a plain value: bool, int64 (int when sending), uint64 (only above the
	// largest int64), float64, string, []byte, time.Time, []any, map[string]any, or map[any]any when
	// a key is no string.
	Data any
	// NodeID is the worker's id in both directions: of the sender to a master, of the addressee to a
	// worker.
	NodeID string
}

// payload is data of one of Locust's messages.
type payload interface {
	append(b []byte) ([]byte, error)
}

// AppendBinary appends the message as it goes over the wire. It fails for data that no peer could
// read: a custom message with a value of a type that [Message] does not name.
func (m *Message) AppendBinary(b []byte) ([]byte, error) {
	b = appendArray(b, 3)
	b = appendText(b, m.Type)
	var err error
	if p, ok := m.Data.(payload); ok {
		b, err = p.append(b)
	} else {
		b, err = appendValue(b, m.Data, 0)
	}
	if err != nil {
		return b, fmt.Errorf("%s: %w", m.Type, err)
	}
	return appendText(b, m.NodeID), nil
}

// Decode reads one message; nothing of it refers to data afterwards. Missing keys and nil give zero
// values, unknown keys are ignored, whole numbers may come as floats and text as bytes. What is of a
// wrong kind altogether, nested too deep or cut off is an [ErrBadMessage].
func Decode(data []byte) (Message, error) {
	r := newReader(data)
	var m Message
	if head := r.next(); r.err == nil && (head.kind != kindArray || head.n < 3) {
		r.fail(errors.New("not an array of type, data and node id"))
	} else if r.err == nil {
		m.Type = r.text()
		m.Data = r.payload(m.Type)
		m.NodeID = r.text()
		for range head.n - 3 {
			r.skip()
		}
	}
	if r.err == nil && r.rest() > 0 {
		r.fail(fmt.Errorf("%d bytes after its end", r.rest()))
	}
	if r.err != nil {
		return Message{}, badMessage(m.Type, r.err)
	}
	return m, nil
}

// badMessage keeps a type that a peer made up from filling a log.
func badMessage(typ string, err error) error {
	if typ == "" {
		return fmt.Errorf("%w: %w", ErrBadMessage, err)
	}
	return fmt.Errorf("%w: %.40q: %w", ErrBadMessage, typ, err)
}

// payload reads the data of a message.
func (r *reader) payload(typ string) any {
	if r.isNil() {
		return nil
	}
	switch typ {
	case TypeClientReady:
		return r.clientReady()
	case TypeHeartbeat:
		return r.heartbeat()
	case TypeStats:
		return r.stats()
	case TypeSpawningComplete:
		return r.spawningComplete()
	case TypeException:
		return r.exception()
	case TypeLogs:
		return r.logs()
	case TypeLocustfile:
		return r.locustfile()
	case TypeAck:
		return r.ack()
	case TypeSpawn:
		return r.spawn()
	case TypeUpdateUserClass:
		return r.updateUserClass()
	}
	return r.value(0)
}
