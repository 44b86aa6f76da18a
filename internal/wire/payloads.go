package wire

import (
	"fmt"
	"maps"
	"slices"
)

// Limits of what single messages may name, above what any peer sends.
const (
	maxClasses  = 10_000
	maxLogLines = 10_000
)

// ClientReady registers a worker, and is repeated until the master answers with [Ack].
type ClientReady struct {
	// Version is the worker's; "" = it gives none and wants no check (Locust's -1). A message without
	// data at all comes from a worker older than Locust 1.0.
	Version string
}

func (r *reader) clientReady() ClientReady {
	t := r.next()
	switch {
	case t.kind == kindString || t.kind == kindBytes:
		return ClientReady{toText(t.text)}
	case t.kind != kindInt || int64(t.bits) != -1:
		r.unexpected(t.kind, "a version or -1")
	}
	return ClientReady{}
}

func (c ClientReady) append(b []byte) ([]byte, error) {
	if c.Version == "" {
		return appendInt(b, -1), nil
	}
	return appendText(b, c.Version), nil
}

// Heartbeat says how a worker is. A master answers with no data, or to a worker of this program with
// Acknowledged alone.
type Heartbeat struct {
	State string
	// CPU is the use of the process in percent of one core, Memory its resident bytes.
	CPU    float64
	Memory int64
	// Acknowledged is the sequence number up to which the master has every [Report] of this worker.
	Acknowledged uint64
}

// acknowledgedKey is a key of our own, which Locust ignores.
const acknowledgedKey = "zae_acknowledged"

func (r *reader) heartbeat() Heartbeat {
	var h Heartbeat
	for key := range r.fields() {
		switch string(key) {
		case "state":
			h.State = r.text()
		case "current_cpu_usage":
			h.CPU = r.float()
		case "current_memory_usage":
			h.Memory = r.count()
		case acknowledgedKey:
			h.Acknowledged = uint64(r.count())
		default:
			r.skip()
		}
	}
	return h
}

func (h Heartbeat) append(b []byte) ([]byte, error) {
	if h == (Heartbeat{Acknowledged: h.Acknowledged}) {
		b = appendMap(b, 1)
		return appendUint(appendText(b, acknowledgedKey), h.Acknowledged), nil
	}
	b = appendMap(b, 3)
	b = appendText(appendText(b, "state"), h.State)
	b = appendFloat(appendText(b, "current_cpu_usage"), h.CPU)
	b = appendInt(appendText(b, "current_memory_usage"), h.Memory)
	return b, nil
}

// SpawningComplete tells the master what a worker runs after a [Spawn], and the workers how many
// users run in all after a ramp (UsersByClass is nil then).
type SpawningComplete struct {
	UsersByClass map[string]int
	Users        int
}

func (r *reader) spawningComplete() SpawningComplete {
	var s SpawningComplete
	for key := range r.fields() {
		switch string(key) {
		case "user_classes_count":
			s.UsersByClass = r.usersByClass()
		case "user_count", "count": // boomer writes count
			s.Users = int(r.count())
		default:
			r.skip()
		}
	}
	return s
}

func (s SpawningComplete) append(b []byte) ([]byte, error) {
	if s.UsersByClass == nil {
		b = appendMap(b, 1)
	} else {
		b = appendMap(b, 2)
		b = appendCounts(appendText(b, "user_classes_count"), s.UsersByClass)
	}
	return appendInt(appendText(b, "user_count"), int64(s.Users)), nil
}

func (r *reader) usersByClass() map[string]int {
	n := r.pairs()
	if n > maxClasses {
		r.fail(fmt.Errorf("%d user classes, more than %d", n, maxClasses))
		return nil
	}
	users := make(map[string]int, n)
	for range n {
		class := r.text()
		users[class] = int(r.count())
	}
	return users
}

// Exception is an error of a task that the worker did not catch.
type Exception struct{ Message, Traceback string }

func (r *reader) exception() Exception {
	var e Exception
	for key := range r.fields() {
		switch string(key) {
		case "msg":
			e.Message = r.text()
		case "traceback":
			e.Traceback = r.text()
		default:
			r.skip()
		}
	}
	return e
}

func (e Exception) append(b []byte) ([]byte, error) {
	b = appendMap(b, 2)
	b = appendText(appendText(b, "msg"), e.Message)
	return appendText(appendText(b, "traceback"), e.Traceback), nil
}

// Logs has all log lines that a worker keeps, not only new ones.
type Logs struct {
	WorkerID string
	Lines    []string
}

func (r *reader) logs() Logs {
	var l Logs
	for key := range r.fields() {
		switch string(key) {
		case "worker_id":
			l.WorkerID = r.text()
		case "logs":
			l.Lines = r.lines()
		default:
			r.skip()
		}
	}
	return l
}

func (r *reader) lines() []string {
	n := r.array()
	if n > maxLogLines {
		r.fail(fmt.Errorf("%d log lines, more than %d", n, maxLogLines))
		return nil
	}
	lines := make([]string, n)
	for i := range lines {
		lines[i] = r.text()
	}
	return lines
}

func (l Logs) append(b []byte) ([]byte, error) {
	b = appendMap(b, 2)
	b = appendText(appendText(b, "worker_id"), l.WorkerID)
	return appendValue(appendText(b, "logs"), l.Lines, 0)
}

// LocustfileRequest asks a master for its locustfiles.
type LocustfileRequest struct{ Version string }

// LocustfileReply is the master's answer: files, or why there are none.
type LocustfileReply struct {
	Files []LocustfileSource
	Error string
}

// LocustfileSource is one file with its contents, or a URL to fetch it from.
type LocustfileSource struct{ Filename, Contents, URL string }

func (r *reader) locustfile() any {
	var request LocustfileRequest
	var reply LocustfileReply
	isReply := false
	for key := range r.fields() {
		switch string(key) {
		case "version":
			request.Version = r.text()
		case "locustfiles":
			isReply = true
			for range r.elements() {
				reply.Files = append(reply.Files, r.locustfileSource())
			}
		case "error":
			isReply = true
			reply.Error = r.text()
		default:
			r.skip()
		}
	}
	if reply.Error != "" {
		reply.Files = nil
	}
	if isReply {
		return reply
	}
	return request
}

func (r *reader) locustfileSource() LocustfileSource {
	var source LocustfileSource
	if ahead := *r; ahead.next().kind != kindMap {
		return LocustfileSource{URL: r.text()}
	}
	for key := range r.fields() {
		switch string(key) {
		case "filename":
			source.Filename = r.text()
		case "contents":
			source.Contents = r.text()
		default:
			r.skip()
		}
	}
	return source
}

func (l LocustfileRequest) append(b []byte) ([]byte, error) {
	return appendText(appendText(appendMap(b, 1), "version"), l.Version), nil
}

func (l LocustfileReply) append(b []byte) ([]byte, error) {
	b = appendMap(b, 1)
	if l.Error != "" {
		return appendText(appendText(b, "error"), l.Error), nil
	}
	b = appendArray(appendText(b, "locustfiles"), len(l.Files))
	for _, file := range l.Files {
		if file.URL != "" {
			b = appendText(b, file.URL)
			continue
		}
		b = appendMap(b, 2)
		b = appendText(appendText(b, "filename"), file.Filename)
		b = appendText(appendText(b, "contents"), file.Contents)
	}
	return b, nil
}

// Ack answers [ClientReady].
type Ack struct {
	// Index is the worker's number among all that the master has ever seen, from 0; -1 when a master
	// gives none.
	Index int
	// Extra has further keys, which Locust's workers ignore.
	Extra map[string]any
}

func (r *reader) ack() Ack {
	a := Ack{Index: -1}
	for key := range r.fields() {
		if string(key) == "index" {
			a.Index = int(r.int())
		} else {
			r.extra(&a.Extra, key)
		}
	}
	return a
}

func (r *reader) extra(into *map[string]any, key []byte) {
	if *into == nil {
		*into = map[string]any{}
	}
	(*into)[toText(key)] = r.value(0)
}

func (a Ack) append(b []byte) ([]byte, error) {
	b = appendMap(b, 1+len(a.Extra))
	b = appendInt(appendText(b, "index"), int64(a.Index))
	return appendExtra(b, a.Extra)
}

func appendExtra(b []byte, extra map[string]any) (_ []byte, err error) {
	for _, key := range slices.Sorted(maps.Keys(extra)) {
		if b, err = appendValue(appendText(b, key), extra[key], 0); err != nil {
			return b, err
		}
	}
	return b, nil
}

// Spawn tells a worker how many users of each class to run from now on.
type Spawn struct {
	// Timestamp is in seconds since 1970; a worker ignores a message that is not newer than the last.
	Timestamp float64
	// UsersByClass is absolute. Classes that are not named stay as they are.
	UsersByClass map[string]int
	// Host replaces the host of every class; "" = it does not.
	Host string
	// StopTimeout is how long, in seconds, users may finish their task.
	StopTimeout float64
	// Options are the master's, by name; Locust's workers apply those that are not built in.
	Options map[string]any
	// Extra has further keys, which Locust's workers ignore.
	Extra map[string]any
}

func (r *reader) spawn() Spawn {
	var s Spawn
	for key := range r.fields() {
		switch string(key) {
		case "timestamp":
			s.Timestamp = r.float()
		case "user_classes_count":
			s.UsersByClass = r.usersByClass()
		case "host":
			s.Host = r.text()
		case "stop_timeout":
			s.StopTimeout = r.float()
		case "parsed_options":
			s.Options = r.options()
		default:
			r.extra(&s.Extra, key)
		}
	}
	return s
}

func (r *reader) options() map[string]any {
	options := map[string]any{}
	for key := range r.fields() {
		options[toText(key)] = r.value(0)
	}
	return options
}

func (s Spawn) append(b []byte) (_ []byte, err error) {
	b = appendMap(b, 5+len(s.Extra))
	b = appendFloat(appendText(b, "timestamp"), s.Timestamp)
	b = appendCounts(appendText(b, "user_classes_count"), s.UsersByClass)
	b = appendText(b, "host")
	if s.Host == "" {
		b = appendNil(b)
	} else {
		b = appendText(b, s.Host)
	}
	b = appendFloat(appendText(b, "stop_timeout"), s.StopTimeout)
	if b, err = appendNamed(appendText(b, "parsed_options"), s.Options, 0); err != nil {
		return b, err
	}
	return appendExtra(b, s.Extra)
}

// UpdateUserClass changes attributes of a user class.
type UpdateUserClass struct {
	Class string
	// Attributes are the others of the message, among them tasks, a list of task names.
	Attributes map[string]any
}

func (r *reader) updateUserClass() UpdateUserClass {
	var u UpdateUserClass
	for key := range r.fields() {
		if string(key) == "user_class_name" {
			u.Class = r.text()
		} else {
			r.extra(&u.Attributes, key)
		}
	}
	return u
}

func (u UpdateUserClass) append(b []byte) ([]byte, error) {
	b = appendMap(b, 1+len(u.Attributes))
	b = appendText(appendText(b, "user_class_name"), u.Class)
	return appendExtra(b, u.Attributes)
}
