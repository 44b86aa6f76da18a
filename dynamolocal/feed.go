package dynamolocal

import (
	"sync"
	"sync/atomic"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// feedLength bounds the changes that a table keeps; older ones are forgotten.
const feedLength = 1 << 16

// feed is the ordered list of a table's changes, kept while somebody reads it.
type feed struct {
	on       atomic.Bool
	mu       sync.Mutex
	sequence uint64
	changes  []change
}

// change is one change of an item.
type change struct {
	sequence  uint64
	old, item *attr.Map
	expired   bool
}

// record adds a change; nothing is recorded when nothing changed.
func (f *feed) record(old, item *attr.Map, expired bool) {
	if !f.on.Load() || old.Equal(item) && (old == nil) == (item == nil) {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.sequence++
	if len(f.changes) >= feedLength {
		f.changes = append(f.changes[:0], f.changes[feedLength/2:]...)
	}
	f.changes = append(f.changes, change{f.sequence, old, item, expired})
}
