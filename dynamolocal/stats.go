package dynamolocal

import (
	"maps"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/faults"
)

// Stats says what an engine did since it was made.
type Stats struct {
	// Operations are the requests by operation, sorted by name.
	Operations []OperationStats
	// Tables are those that exist now, sorted by name.
	Tables []TableStats
	// Faults are the counters of the fault rules, in their order.
	Faults []FaultStats
}

// OperationStats counts the requests of one operation. A condition that does not hold is an answer
// and no failure.
type OperationStats struct {
	Operation                   string
	Requests, Failed, Throttled int64
}

// TableStats describes a table and what it consumed.
type TableStats struct {
	Name         string
	Items, Bytes int64
	// ReadUnits (of indexes too), WriteUnits and IndexWriteUnits were consumed; Throttled requests were
	// not admitted.
	ReadUnits, WriteUnits, IndexWriteUnits float64
	Throttled                              int64
	// Indexes are those that consumed something, sorted by name.
	Indexes []IndexStats
}

// IndexStats is the part of a table's consumption that is of one index.
type IndexStats struct {
	Name                  string
	Local                 bool
	ReadUnits, WriteUnits float64
}

// FaultStats counts how often a fault rule applied.
type FaultStats = faults.Counter

// Requests returns the number of all requests.
func (s *Stats) Requests() (total int64) {
	for _, op := range s.Operations {
		total += op.Requests
	}
	return total
}

// counters count requests by operation, without a lock that all requests would meet at.
type counters struct {
	ops sync.Map // name -> *operationCounter
}

type operationCounter struct {
	requests, failed, throttled atomic.Int64
}

func (c *counters) request(op string, err error) {
	counter, ok := c.ops.Load(op)
	if !ok {
		counter, _ = c.ops.LoadOrStore(op, new(operationCounter))
	}
	o := counter.(*operationCounter)
	o.requests.Add(1)
	if err == nil {
		return
	}
	api := asAPIError(err)
	switch {
	case api.refusal != nil || isThrottleCode(api.code):
		o.throttled.Add(1)
	case api.code != codeCondition && api.code != codeCanceled:
		o.failed.Add(1)
	}
}

// read returns the counts, sorted by operation.
func (c *counters) read() []OperationStats {
	var list []OperationStats
	for name, counter := range c.ops.Range {
		o := counter.(*operationCounter)
		list = append(list, OperationStats{
			Operation: name.(string), Requests: o.requests.Load(), Failed: o.failed.Load(), Throttled: o.throttled.Load(),
		})
	}
	sort.Slice(list, func(i, j int) bool { return list[i].Operation < list[j].Operation })
	return list
}

func isThrottleCode(code string) bool {
	switch code {
	case codeThrottling, "ProvisionedThroughputExceededException", "RequestLimitExceeded":
		return true
	}
	return false
}

// Stats returns what the engine did since it was made. Units of tables that were deleted are gone
// with them.
func (e *Engine) Stats() Stats {
	s := Stats{Operations: e.counters.read()}
	e.mu.RLock()
	defer e.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(e.tables)) {
		t := e.tables[name]
		s.Tables = append(s.Tables, TableStats{
			Name:            name,
			Items:           t.store.Count(),
			Bytes:           t.store.Bytes(),
			ReadUnits:       float64(t.usage.reads.Load()) / 2,
			WriteUnits:      float64(t.usage.writes.Load()) / 2,
			IndexWriteUnits: float64(t.usage.indexWrites.Load()) / 2,
			Throttled:       t.usage.throttled.Load(),
			Indexes:         t.usage.indexStats(),
		})
	}
	s.Faults = e.faults.Counters()
	return s
}
