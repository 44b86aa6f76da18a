package target

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// meterShards spreads the counters of an operation, so that callers on several cores rarely meet.
const meterShards = 8

// Meter counts what a table is asked, at the transport, and what that consumed. It is on the way of
// every call and safe for concurrent use.
type Meter struct {
	// sampleEvery is how many calls of an operation there are for one whose consumed capacity is
	// asked for; 0 = none.
	sampleEvery uint64
	current     atomic.Pointer[counters]
}

// counters are what a Meter counted since it was reset last.
type counters struct {
	retries atomic.Int64
	process *stats.ProcessMeter

	mu         sync.RWMutex
	operations map[string]*operationMeter
	units      map[string]*unitMeter
	waits      [meterShards]histogramShard
}

// unitMeter counts the calls of one operation of the store and what a sample of them consumed.
type unitMeter struct {
	calls    atomic.Uint64
	answered atomic.Int64 // calls that succeeded: only they tell what they consumed
	silent   atomic.Bool  // the call that was asked last did not tell

	mu                     sync.Mutex
	sampled                int64
	reads, writes, indexes float64
}

type operationMeter struct{ shards [meterShards]operationShard }

type operationShard struct {
	mu                            sync.Mutex
	hist                          stats.Histogram
	attempts, throttled, failures int64
	_                             [64]byte
}

type histogramShard struct {
	mu   sync.Mutex
	hist stats.Histogram
	_    [64]byte
}

func newMeter(sampleEvery uint64) *Meter {
	m := &Meter{sampleEvery: sampleEvery}
	m.reset()
	return m
}

// reset forgets everything that was counted.
func (m *Meter) reset() {
	m.current.Store(&counters{
		process:    stats.NewProcessMeter(1),
		operations: map[string]*operationMeter{},
		units:      map[string]*unitMeter{},
	})
}

// asks counts one call and reports whether it is one of the sample: the first of an operation, each
// sampleEvery-th after it, and the next one after a call that was refused, which tells nothing.
func (u *unitMeter) asks(sampleEvery uint64) bool {
	n := u.calls.Add(1)
	return sampleEvery > 0 && (n%sampleEvery == 1%sampleEvery || u.silent.Load())
}

// noPool is the wait of a request whose connection is not lent.
const noPool = -1

// attempt counts one request at the transport.
func (m *Meter) attempt(operation string, waited, took time.Duration, o outcome) {
	c := m.current.Load()
	shard := &found(c, c.operations, operation).shards[rand.Uint32()%meterShards]
	shard.mu.Lock()
	shard.attempts++
	shard.hist.Record(took)
	switch o {
	case throttled:
		shard.throttled++
	case failed:
		shard.failures++
	}
	shard.mu.Unlock()
	if waited == noPool {
		return
	}
	waits := &c.waits[rand.Uint32()%meterShards]
	waits.mu.Lock()
	waits.hist.Record(waited)
	waits.mu.Unlock()
}

// observe counts one request of the lean client.
func (m *Meter) observe(a dynamostore.Attempt) {
	result := failed
	if a.Err == nil {
		result = outcomeOfReply(a.Status, a.Body)
	}
	m.attempt(a.Operation, a.Waited, a.Took, result)
	if a.Number > 1 {
		m.current.Load().retries.Add(1)
	}
}

// found returns the element of a map of the counters, which is made when it is absent.
func found[T any](c *counters, in map[string]*T, name string) *T {
	c.mu.RLock()
	element := in[name]
	c.mu.RUnlock()
	if element != nil {
		return element
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if in[name] == nil {
		in[name] = new(T)
	}
	return in[name]
}

type direction bool

const (
	reading direction = false
	writing direction = true
)

// consumed adds the capacity of one call of the sample: one element for each table.
func (u *unitMeter) consumed(d direction, list ...*types.ConsumedCapacity) {
	u.mu.Lock()
	defer u.mu.Unlock()
	known := false
	for _, c := range list {
		if c == nil {
			continue
		}
		known = true
		total := aws.ToFloat64(c.CapacityUnits)
		table := total
		if c.Table != nil {
			table = aws.ToFloat64(c.Table.CapacityUnits)
		}
		if d == reading {
			u.reads += total
			continue
		}
		u.writes += table
		u.indexes += total - table
	}
	if known {
		u.sampled++
	}
}

// Readings is what a meter counted. Nil values are not known.
type Readings struct {
	Operations []Operation
	// ReadUnits, WriteUnits (of the table) and IndexWriteUnits were consumed. They are scaled from a
	// sample of calls where SampledRatio, the share of the calls that were read, is below 1.
	ReadUnits, WriteUnits, IndexWriteUnits *float64
	SampledRatio                           *float64
	Throttled, SDKRetries                  *int64
	// PoolWaitP99MS is how long requests waited for a connection.
	PoolWaitP99MS *float64
}

// Operation is what one operation did, timed at the transport.
type Operation struct {
	Operation                     string
	Requests, Throttled, Failures int64
	AvgMS, P50MS, P95MS, P99MS    *float64
	// ClientCPUUS is the processor time of the whole process for each request, of all operations
	// alike; nil where the process also runs the target.
	ClientCPUUS *float64
}

func milliseconds(d time.Duration) *float64 { return new(float64(d) / float64(time.Millisecond)) }

// tally returns what was counted; withCPU is false when the target runs in the same process.
func (m *Meter) tally(withCPU bool) *Tally {
	c := m.current.Load()
	t := &Tally{Operations: map[string]*OperationTally{}, Units: map[string]*UnitTally{}, Retries: c.retries.Load(), CPU: -1}
	c.mu.RLock()
	defer c.mu.RUnlock()
	for name, o := range c.operations {
		t.Operations[name] = o.tally()
	}
	for name, u := range c.units {
		t.Units[name] = u.tally()
	}
	for i := range c.waits {
		c.waits[i].mu.Lock()
		t.Waits.Merge(&c.waits[i].hist)
		c.waits[i].mu.Unlock()
	}
	if withCPU {
		var g stats.Generator
		c.process.Fill(&g)
		t.CPU = g.CPUTime
	}
	return t
}

func (o *operationMeter) tally() *OperationTally {
	out := new(OperationTally)
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		out.Durations.Merge(&s.hist)
		out.Attempts += s.attempts
		out.Throttled += s.throttled
		out.Failures += s.failures
		s.mu.Unlock()
	}
	return out
}

func (u *unitMeter) tally() *UnitTally {
	u.mu.Lock()
	defer u.mu.Unlock()
	return &UnitTally{Answered: u.answered.Load(), Sampled: u.sampled, Reads: u.reads, Writes: u.writes, Indexes: u.indexes}
}
