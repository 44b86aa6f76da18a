package target

import (
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

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
	waits := &c.waits[rand.Uint32()%meterShards]
	waits.mu.Lock()
	waits.hist.Record(waited)
	waits.mu.Unlock()
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

// read returns the readings; withCPU is false when the target runs in the same process.
func (m *Meter) read(withCPU bool) Readings {
	var r Readings
	c := m.current.Load()
	attempts, throttledCalls := int64(0), int64(0)
	c.mu.RLock()
	defer c.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(c.operations)) {
		o := c.operations[name].read(name)
		attempts += o.Requests
		throttledCalls += o.Throttled
		r.Operations = append(r.Operations, o)
	}
	if withCPU {
		var g stats.Generator
		if c.process.Fill(&g); g.CPUTime >= 0 && attempts > 0 {
			for i := range r.Operations {
				r.Operations[i].ClientCPUUS = new(float64(g.CPUTime.Microseconds()) / float64(attempts))
			}
		}
	}
	r.Throttled, r.SDKRetries = &throttledCalls, new(c.retries.Load())
	waits := new(stats.Histogram)
	for i := range c.waits {
		c.waits[i].mu.Lock()
		waits.Merge(&c.waits[i].hist)
		c.waits[i].mu.Unlock()
	}
	if waits.Count() > 0 {
		r.PoolWaitP99MS = milliseconds(waits.Quantile(0.99))
	}
	c.readUnits(&r)
	return r
}

func (o *operationMeter) read(name string) Operation {
	out, hist := Operation{Operation: name}, new(stats.Histogram)
	for i := range o.shards {
		s := &o.shards[i]
		s.mu.Lock()
		hist.Merge(&s.hist)
		out.Requests += s.attempts
		out.Throttled += s.throttled
		out.Failures += s.failures
		s.mu.Unlock()
	}
	out.AvgMS = milliseconds(hist.Mean())
	out.P50MS, out.P95MS, out.P99MS = milliseconds(hist.Quantile(0.5)), milliseconds(hist.Quantile(0.95)), milliseconds(hist.Quantile(0.99))
	return out
}

// readUnits scales what the sample of each operation consumed to the calls that were answered. The
// units are not known while no call has told any, or when an operation never did.
func (c *counters) readUnits(r *Readings) {
	var reads, writes, indexes float64
	var sampled, answered int64
	for _, u := range c.units {
		calls := u.answered.Load()
		u.mu.Lock()
		n, scale := u.sampled, float64(calls)/float64(max(u.sampled, 1))
		reads += scale * u.reads
		writes += scale * u.writes
		indexes += scale * u.indexes
		u.mu.Unlock()
		if n == 0 && calls > 0 {
			return
		}
		sampled += n
		answered += calls
	}
	if sampled == 0 {
		return
	}
	r.ReadUnits, r.WriteUnits, r.IndexWriteUnits = &reads, &writes, &indexes
	r.SampledRatio = new(min(float64(sampled)/float64(answered), 1))
}
