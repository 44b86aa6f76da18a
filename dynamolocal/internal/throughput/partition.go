package throughput

import (
	"cmp"
	"slices"
	"sync"
	"time"
)

// Position is where an item lies: by the hash of its HASH value, and inside
// one HASH value by the hash of its RANGE value. (The service orders the
// latter by value; a hash splits a hot collection as evenly.)
type Position struct{ Hash, Range uint64 }

// At returns the position of a key. The encodings of its values may be
// anything that is equal for equal values; rangeValue is nil for a table
// without a RANGE key.
func At(hashValue, rangeValue []byte) Position {
	return Position{Hash: sum(hashValue), Range: sum(rangeValue)}
}

// AtString is At for string values.
func AtString(hashValue, rangeValue string) Position {
	return Position{Hash: sum(hashValue), Range: sum(rangeValue)}
}

// sum is FNV-1a with a finish that spreads short values over all bits; it
// does not change from run to run.
func sum[T string | []byte](value T) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(value) {
		h = (h ^ uint64(value[i])) * 1099511628211
	}
	h = (h ^ h>>33) * 0xff51afd7ed558ccd
	h = (h ^ h>>33) * 0xc4ceb9fe1a85ec53
	return h ^ h>>33
}

func (p Position) compare(q Position) int {
	return cmp.Or(cmp.Compare(p.Hash, q.Hash), cmp.Compare(p.Range, q.Range))
}

// partition is a range of positions that shares one set of hardware.
type partition struct {
	id    int
	start Position // first position; the range ends where the next one begins

	mu      sync.Mutex
	buckets [2]bucket // by Kind
	used    [2]int64
	refused [2]int64
	recent  [64]Position // of the latest requests, admitted or not
	seen    int
	hot     int64 // since when it has been refusing
	lastHot int64 // latest refusal; 0: none
}

func newPartition(id int, start Position, burst time.Duration, now int64) *partition {
	return &partition{id: id, start: start, buckets: [2]bucket{
		Read:  newBucket(partitionReads, burst, false, now),
		Write: newBucket(partitionWrites, burst, false, now),
	}}
}

// take charges units, or counts a refusal.
func (p *partition) take(now int64, kind Kind, units int64, at Position, splitAfter time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.recent[p.seen%len(p.recent)] = at
	p.seen++
	if p.buckets[kind].take(now, units) {
		p.used[kind] += units
		return true
	}
	p.refused[kind]++
	// A tenth of the time without a refusal ends a hot spell.
	if p.lastHot == 0 || now-p.lastHot > int64(splitAfter)/10 {
		p.hot = now
	}
	p.lastHot = max(now, 1)
	return false
}

func (p *partition) charge(now int64, kind Kind, units int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.buckets[kind].charge(now, units)
	p.used[kind] += units
}

// due reports whether the partition has been hot for long enough to split.
func (p *partition) due(now int64, splitAfter time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return splitAfter > 0 && p.lastHot != 0 && now-p.hot >= int64(splitAfter)
}

// boundary ends the hot spell and returns where the upper half of the recent
// load begins. There is none when all of it goes to one item, or to one HASH
// value that must stay whole.
func (p *partition) boundary(wholeHash bool) (Position, bool) {
	p.mu.Lock()
	recent := slices.Clone(p.recent[:min(p.seen, len(p.recent))])
	due := p.lastHot != 0
	p.lastHot, p.seen = 0, 0
	p.mu.Unlock()
	if !due {
		return Position{}, false
	}
	slices.SortFunc(recent, Position.compare)
	best, found, middle := Position{}, false, len(recent)/2
	distance := len(recent)
	for i := 1; i < len(recent); i++ {
		at, previous := recent[i], recent[i-1]
		if at.Hash != previous.Hash || wholeHash {
			at.Range, previous.Range = 0, 0
		}
		if d := max(i-middle, middle-i); at != previous && d < distance {
			best, found, distance = at, true, d
		}
	}
	return best, found
}
