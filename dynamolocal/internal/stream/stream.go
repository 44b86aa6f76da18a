// Package stream keeps the changes of a table's items for a while, in the order of each item.
//
// A stream is cut into lanes by the HASH value, so that writers of different lanes do not wait for each
// other. A lane is one run of records; its shards are parts of that run, each the child of the one before.
package stream

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

const (
	// Retention is how long the service keeps a record.
	Retention = 24 * time.Hour
	// ShardLife is after how long a shard is closed and goes on in a child.
	ShardLife = 4 * time.Hour

	// recordBytes and valueBytes are what a record and an attribute of its new image take in memory beside
	// the bytes of names and values. The old image is that of an earlier record, as a rule.
	recordBytes = 128
	valueBytes  = 24

	chunkLength = 256
)

// The errors of readers.
var (
	ErrNoShard = errors.New("shard does not exist")
	// ErrTrimmed means that the record at a position is kept no more.
	ErrTrimmed = errors.New("position is before the oldest record")
	// ErrNumber means that a sequence number is none of the shard.
	ErrNumber = errors.New("sequence number is not of the shard")
)

// Record is one change of an item. Old is nil when the item is new, New when it was removed.
type Record struct {
	Old, New *attr.Map
	At       time.Time
	// Expired is set when the item was removed because its time to live was over.
	Expired bool
	// Number is the sequence number, see [Number.String].
	Number Number
}

// Number is a sequence number. It grows with each record of a lane; no two records of a stream share one.
type Number uint64

const numberLength = 21

// String returns the number as the service writes it: at least 21 digits.
func (n Number) String() string { return fmt.Sprintf("1%0*d", numberLength-1, uint64(n)) }

// ParseNumber reads what String wrote.
func ParseNumber(text string) (Number, bool) {
	if len(text) != numberLength || text[0] != '1' {
		return 0, false
	}
	n, err := strconv.ParseUint(text[1:], 10, 64)
	return Number(n), err == nil
}

// Shard describes a shard.
type Shard struct {
	ID, Parent string // Parent is "" for the first of a lane, or one whose parent is gone
	Open       bool
	// First is not above the number of the first record; Last, of a closed shard, not below that of the last.
	First, Last Number
}

// Stream is safe for concurrent use.
type Stream struct {
	limit int64
	lanes []lane
}

// lane is a run of records. Records are counted from 0; the first that is kept is oldest.
type lane struct {
	mu     sync.Mutex
	index  int
	lanes  int
	shards []shard
	// chunks hold the records from base on, which is a multiple of the length of a chunk.
	chunks       [][]entry
	base         uint64
	oldest, next uint64
	bytes        int64
	closed       bool
}

type shard struct {
	id, parent  string
	first, last uint64 // last is the record after the last one, once closed
	begun       time.Time
	ended       time.Time // zero while open
}

type entry struct {
	old, item *attr.Map
	at        int64
	expired   bool
}

// weight is about what an entry takes in memory.
func (e *entry) weight() int64 {
	return recordBytes + int64(valueBytes*e.item.Len()) + int64(e.item.Size())
}

// New returns an empty stream of so many open shards that keeps at most limit bytes of records.
func New(shards int, limit int64, now time.Time) *Stream {
	s := &Stream{limit: limit / int64(shards), lanes: make([]lane, shards)}
	for i := range s.lanes {
		l := &s.lanes[i]
		l.index, l.lanes = i, shards
		l.begin(now, "")
	}
	return s
}

// Lanes returns in how many parts the stream is cut.
func (s *Stream) Lanes() int { return len(s.lanes) }

// Record adds a change to a lane. The caller holds the item's lock, which gives the records of an item
// their order.
func (s *Stream) Record(lane int, now time.Time, old, item *attr.Map, expired bool) {
	l := &s.lanes[lane]
	e := entry{old, item, now.UnixNano(), expired}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.age(now)
	if n := len(l.chunks); n == 0 || len(l.chunks[n-1]) == chunkLength {
		l.chunks = append(l.chunks, make([]entry, 0, chunkLength))
	}
	last := &l.chunks[len(l.chunks)-1]
	*last = append(*last, e)
	l.next++
	l.bytes += e.weight()
	for l.bytes > s.limit && l.oldest < l.next-1 {
		l.drop()
	}
}

// Close ends a stream: nothing is recorded any more, and all shards are closed.
func (s *Stream) Close(now time.Time) {
	for i := range s.lanes {
		l := &s.lanes[i]
		l.mu.Lock()
		if !l.closed {
			l.age(now)
			l.end(now)
			l.closed = true
		}
		l.mu.Unlock()
	}
}

// Bytes returns about what the records take in memory.
func (s *Stream) Bytes() (bytes int64) {
	for i := range s.lanes {
		l := &s.lanes[i]
		l.mu.Lock()
		bytes += l.bytes
		l.mu.Unlock()
	}
	return bytes
}

// Forget drops all records.
func (s *Stream) Forget() {
	for i := range s.lanes {
		l := &s.lanes[i]
		l.mu.Lock()
		for l.oldest < l.next {
			l.drop()
		}
		l.mu.Unlock()
	}
}

// begin opens a shard; the lane's lock is held, or nobody else knows the lane.
func (l *lane) begin(now time.Time, parent string) {
	id := fmt.Sprintf("shardId-%020d-%08x", now.UnixMilli(), rand.Uint32())
	l.shards = append(l.shards, shard{id: id, parent: parent, first: l.next, begun: now})
}

func (l *lane) end(now time.Time) {
	open := &l.shards[len(l.shards)-1]
	open.ended, open.last = now, l.next
}

// age does what time does to a lane: shards close and go on, and what is old is dropped.
func (l *lane) age(now time.Time) {
	if open := l.shards[len(l.shards)-1]; open.ended.IsZero() && now.Sub(open.begun) >= ShardLife {
		l.end(now)
		l.begin(now, open.id)
	}
	deadline := now.Add(-Retention)
	for l.oldest < l.next && l.at(l.oldest).at < deadline.UnixNano() {
		l.drop()
	}
	for len(l.shards) > 1 && !l.shards[0].ended.IsZero() && l.shards[0].ended.Before(deadline) {
		l.shards = append(l.shards[:0], l.shards[1:]...)
		l.shards[0].parent = ""
	}
}

func (l *lane) at(i uint64) *entry {
	i -= l.base
	return &l.chunks[i/chunkLength][i%chunkLength]
}

// drop forgets the oldest record.
func (l *lane) drop() {
	e := l.at(l.oldest)
	l.bytes -= e.weight()
	*e = entry{}
	l.oldest++
	if l.oldest-l.base == chunkLength {
		l.chunks = append(l.chunks[:0], l.chunks[1:]...)
		l.base += chunkLength
	}
}

// number is the sequence number of a record; the one below it lies between it and its predecessor.
func (l *lane) number(i uint64) Number { return Number((2*i+1)*uint64(l.lanes) + uint64(l.index)) }

func (l *lane) below(i uint64) Number { return Number(2*i*uint64(l.lanes) + uint64(l.index)) }

func (l *lane) describe(sh *shard) Shard {
	d := Shard{ID: sh.id, Parent: sh.parent, Open: sh.ended.IsZero(), First: l.below(sh.first)}
	if !d.Open {
		d.Last = l.below(sh.last)
		if sh.last > sh.first {
			d.Last = l.number(sh.last - 1)
		}
	}
	return d
}

// Shards returns the shards, parents before their children.
func (s *Stream) Shards(now time.Time) (list []Shard) {
	for i := range s.lanes {
		l := &s.lanes[i]
		l.mu.Lock()
		l.age(now)
		for j := range l.shards {
			list = append(list, l.describe(&l.shards[j]))
		}
		l.mu.Unlock()
	}
	return list
}

// find returns the lane and the place of a shard, with the lane's lock held.
func (s *Stream) find(id string, now time.Time) (*lane, int, error) {
	for i := range s.lanes {
		l := &s.lanes[i]
		l.mu.Lock()
		l.age(now)
		for j := range l.shards {
			if l.shards[j].id == id {
				return l, j, nil
			}
		}
		l.mu.Unlock()
	}
	return nil, 0, ErrNoShard
}

// Position is a place in a shard: before the record of the given count in its lane. Horizon stands for the
// oldest record that is kept when it is read.
type Position uint64

// Horizon is the position of the oldest record.
const Horizon = ^Position(0)

// Latest returns the position after the last record of a shard.
func (s *Stream) Latest(id string, now time.Time) (Position, error) {
	l, i, err := s.find(id, now)
	if err != nil {
		return 0, err
	}
	defer l.mu.Unlock()
	if sh := &l.shards[i]; !sh.ended.IsZero() {
		return Position(sh.last), nil
	}
	return Position(l.next), nil
}

// At returns the position of a sequence number of a shard, or with after the one behind it.
func (s *Stream) At(id string, n Number, after bool, now time.Time) (Position, error) {
	l, i, err := s.find(id, now)
	if err != nil {
		return 0, err
	}
	defer l.mu.Unlock()
	sh := &l.shards[i]
	lanes := uint64(l.lanes)
	if uint64(n)%lanes != uint64(l.index) {
		return 0, ErrNumber
	}
	half := uint64(n) / lanes
	position := half / 2
	end := l.next
	if !sh.ended.IsZero() {
		end = sh.last
	}
	isRecord := half%2 == 1
	if position < sh.first || position > end || isRecord && position == end {
		return 0, ErrNumber
	}
	if after && isRecord {
		position++
	}
	if position < l.oldest && position < end {
		return 0, ErrTrimmed
	}
	return Position(position), nil
}

// Read calls yield with the records of a shard from a position on until it returns false, which leaves out
// that record. It returns the position after the last one taken, and whether the shard can have more.
func (s *Stream) Read(id string, from Position, now time.Time, yield func(Record) bool) (next Position, more bool, err error) {
	l, i, err := s.find(id, now)
	if err != nil {
		return 0, false, err
	}
	defer l.mu.Unlock()
	sh := &l.shards[i]
	end := l.next
	open := sh.ended.IsZero()
	if !open {
		end = sh.last
	}
	at := max(uint64(from), sh.first)
	switch {
	case from == Horizon:
		at = min(max(sh.first, l.oldest), end)
	case at < l.oldest && at < end:
		return 0, false, ErrTrimmed
	}
	for ; at < end; at++ {
		e := l.at(at)
		if !yield(Record{Old: e.old, New: e.item, At: time.Unix(0, e.at), Expired: e.expired, Number: l.number(at)}) {
			break
		}
	}
	return Position(at), open || at < end, nil
}
