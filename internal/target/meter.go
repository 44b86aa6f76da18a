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
	// sampleEvery is how many calls there are for one whose consumed capacity is asked for; 0 = none.
	sampleEvery uint64
	calls       atomic.Uint64
	retries     atomic.Int64
	process     *stats.ProcessMeter

	mu         sync.RWMutex
	operations map[string]*operationMeter
	waits      [meterShards]histogramShard

	unitsMu                sync.Mutex
	reads, writes, indexes float64
	sampled                uint64
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
	return &Meter{sampleEvery: sampleEvery, operations: map[string]*operationMeter{}, process: stats.NewProcessMeter(1)}
}

// call counts one call of the store; it reports whether the call is one of the sample.
func (m *Meter) call() bool {
	n := m.calls.Add(1)
	return m.sampleEvery > 0 && n%m.sampleEvery == 0
}

// attempt counts one request at the transport.
func (m *Meter) attempt(operation string, waited, took time.Duration, o outcome) {
	shard := &m.operation(operation).shards[rand.Uint32()%meterShards]
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
	waits := &m.waits[rand.Uint32()%meterShards]
	waits.mu.Lock()
	waits.hist.Record(waited)
	waits.mu.Unlock()
}

func (m *Meter) operation(name string) *operationMeter {
	m.mu.RLock()
	found := m.operations[name]
	m.mu.RUnlock()
	if found != nil {
		return found
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.operations[name] == nil {
		m.operations[name] = new(operationMeter)
	}
	return m.operations[name]
}

type direction bool

const (
	reading direction = false
	writing direction = true
)

// consumed adds the capacity of one call of the sample.
func (m *Meter) consumed(d direction, c *types.ConsumedCapacity) {
	if c == nil {
		return
	}
	total := aws.ToFloat64(c.CapacityUnits)
	table := total
	if c.Table != nil {
		table = aws.ToFloat64(c.Table.CapacityUnits)
	}
	m.unitsMu.Lock()
	defer m.unitsMu.Unlock()
	m.sampled++
	if d == reading {
		m.reads += total
		return
	}
	m.writes += table
	m.indexes += total - table
}

func (m *Meter) consumedAll(d direction, list []types.ConsumedCapacity) {
	for i := range list {
		m.consumed(d, &list[i])
	}
}

// Readings is what a meter counted. Nil values are not known.
type Readings struct {
	Operations []Operation
	// ReadUnits, WriteUnits (of the table) and IndexWriteUnits were consumed. They are scaled from a
	// sample of calls where SampledRatio is below 1.
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
	attempts, throttledCalls := int64(0), int64(0)
	m.mu.RLock()
	defer m.mu.RUnlock()
	for _, name := range slices.Sorted(maps.Keys(m.operations)) {
		o := m.operations[name].read(name)
		attempts += o.Requests
		throttledCalls += o.Throttled
		r.Operations = append(r.Operations, o)
	}
	if withCPU {
		var g stats.Generator
		if m.process.Fill(&g); g.CPUTime >= 0 && attempts > 0 {
			for i := range r.Operations {
				r.Operations[i].ClientCPUUS = new(float64(g.CPUTime.Microseconds()) / float64(attempts))
			}
		}
	}
	r.Throttled, r.SDKRetries = &throttledCalls, new(m.retries.Load())
	waits := new(stats.Histogram)
	for i := range m.waits {
		m.waits[i].mu.Lock()
		waits.Merge(&m.waits[i].hist)
		m.waits[i].mu.Unlock()
	}
	if waits.Count() > 0 {
		r.PoolWaitP99MS = milliseconds(waits.Quantile(0.99))
	}
	m.readUnits(&r)
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

func (m *Meter) readUnits(r *Readings) {
	m.unitsMu.Lock()
	defer m.unitsMu.Unlock()
	if m.sampled == 0 {
		return
	}
	scale := 1.0
	if m.sampleEvery > 1 {
		scale = float64(m.sampleEvery)
	}
	r.ReadUnits, r.WriteUnits, r.IndexWriteUnits = new(m.reads*scale), new(m.writes*scale), new(m.indexes*scale)
	r.SampledRatio = new(1 / scale)
}
