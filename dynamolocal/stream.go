package dynamolocal

import (
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/store"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/stream"
)

const (
	defaultStreamBytes = 64 << 20
	maxStreamShards    = 64
	labelLayout        = "2006-01-02T15:04:05.000"
)

// tableStream is the stream of a table, which outlives its end and the table by a day.
type tableStream struct {
	table, arn, label string
	region            string
	view              string
	keys              store.KeySchema
	schema            []keyElement
	created           time.Time
	ended             time.Time // zero while changes are recorded; the engine's streams guard it
	records           *stream.Stream
	// clock is the engine's.
	clock func() time.Time
}

// streams are those of an engine, in the order of their beginning.
type streams struct {
	mu   sync.Mutex
	list []*tableStream
}

func (s *streamSpecification) enabled() bool {
	return s != nil && s.StreamEnabled != nil && *s.StreamEnabled
}

// checkUpdate refuses what UpdateTable cannot make of a stream.
func (s *streamSpecification) checkUpdate() error {
	var c constraints
	c.stream(s)
	switch {
	case s == nil || c.err() != nil:
		return c.err()
	case s.enabled() && s.StreamViewType == "":
		return invalid("StreamSpecification.StreamViewType must be specified when StreamEnabled is true")
	case !s.enabled() && s.StreamViewType != "":
		return invalid("If stream is being disabled, then UpdateViewType must not be specified")
	}
	return nil
}

// startStream begins a new stream of a table, whose lock is held or which nobody else knows.
func (e *Engine) startStream(t *table, d *tableDefinition) {
	now := e.now()
	s := &tableStream{
		table: t.name, region: strings.Split(t.arn, ":")[3], view: d.StreamSpecification.StreamViewType, schema: d.KeySchema,
		created: now.UTC().Truncate(time.Millisecond),
		clock:   e.clock,
	}
	s.keys.Hash, s.keys.Range = keysOf(d.KeySchema)
	// The label is a time; streams of one millisecond get times of their own.
	if last := t.latest; last != nil && !s.created.After(last.created) {
		s.created = last.created.Add(time.Millisecond)
	}
	e.streams.mu.Lock()
	defer e.streams.mu.Unlock()
	for slices.ContainsFunc(e.streams.list, func(o *tableStream) bool { return o.table == s.table && o.created.Equal(s.created) }) {
		s.created = s.created.Add(time.Millisecond)
	}
	s.label = s.created.Format(labelLayout)
	s.arn = t.arn + "/stream/" + s.label
	s.records = stream.New(e.config.StreamShards, max(e.config.StreamBytes, 0), now)
	e.streams.tidy(now, e.config.StreamBytes)
	e.streams.list = append(e.streams.list, s)
	t.latest = s
	if e.config.StreamBytes > 0 {
		t.stream.Store(s)
	}
}

// endStream ends the stream of a table, if it has one. The table's lock is held.
func (e *Engine) endStream(t *table) {
	s := t.latest
	if s == nil {
		return
	}
	t.stream.Store(nil)
	now := e.now()
	e.streams.mu.Lock()
	defer e.streams.mu.Unlock()
	if s.ended.IsZero() {
		s.ended = now
		s.records.Close(now)
	}
	e.streams.tidy(now, e.config.StreamBytes)
}

// tidy drops the streams that ended a day ago. Of the others that ended the newest keep their records, as
// many as one stream may: tables that come and go must not eat the memory. The lock is held.
func (s *streams) tidy(now time.Time, limit int64) {
	s.list = slices.DeleteFunc(s.list, func(o *tableStream) bool {
		return !o.ended.IsZero() && now.Sub(o.ended) >= stream.Retention
	})
	var bytes int64
	for _, o := range slices.Backward(s.list) {
		if o.ended.IsZero() {
			continue
		}
		if bytes += o.records.Bytes(); bytes > limit {
			o.records.Forget()
		}
	}
}

// all returns the streams that can be read, sorted by ARN.
func (e *Engine) allStreams() []*tableStream {
	e.streams.mu.Lock()
	defer e.streams.mu.Unlock()
	e.streams.tidy(e.now(), e.config.StreamBytes)
	list := slices.Clone(e.streams.list)
	slices.SortFunc(list, func(a, b *tableStream) int { return strings.Compare(a.arn, b.arn) })
	return list
}

// stream returns the stream of an ARN, or nil, and whether changes are recorded.
func (e *Engine) stream(arn string) (s *tableStream, enabled bool) {
	e.streams.mu.Lock()
	defer e.streams.mu.Unlock()
	now := e.now()
	for _, o := range e.streams.list {
		if o.arn == arn && (o.ended.IsZero() || now.Sub(o.ended) < stream.Retention) {
			return o, o.ended.IsZero()
		}
	}
	return nil, false
}

// changed records a change of an item, whose lock is held, if the table has a stream.
func (t *table) changed(hash attr.Value, old, item *attr.Map, expired bool) {
	if s := t.stream.Load(); s != nil {
		s.record(hash, old, item, expired)
	}
}

// record adds a change; nothing is recorded when nothing changed.
func (s *tableStream) record(hash attr.Value, old, item *attr.Map, expired bool) {
	if (old == nil) == (item == nil) && old.Equal(item) {
		return
	}
	lane := 0
	if n := s.records.Lanes(); n > 1 {
		lane = store.Segment(hash, n)
	}
	s.records.Record(lane, s.clock(), old, item, expired)
}
