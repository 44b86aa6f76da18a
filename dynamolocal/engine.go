package dynamolocal

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/expression"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/faults"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/latency"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/precise"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/throughput"
)

// Wording selects the service's texts of validation errors.
type Wording int

const (
	// Classic is how the service worded its errors for years.
	Classic Wording = iota
	// Wording2026 is that of its newer validator, for PutItem and UpdateItem.
	Wording2026
)

// Config configures an Engine. The zero value is an engine without delays, limits or faults.
type Config struct {
	// Region and Account are parts of ARNs where a request does not say; "" = us-east-1 and
	// 000000000000.
	Region, Account string
	// Clock returns the time for TTL and for timestamps; nil = time.Now.
	Clock func() time.Time
	// Seed makes delays and faults repeatable.
	Seed uint64
	// Wording selects the texts of errors.
	Wording Wording
	// Latency is none, aws, constant=5ms or the path of a JSON file; "" = none.
	Latency string
	// Network is added once to each request: 1.2ms, or lognormal=1.2ms,0.3; "" = none.
	Network string
	// Throughput is off, on-demand or provisioned=R,W; "" = off.
	Throughput string
	// Faults is a JSON document of rules; nil = none.
	Faults []byte
	// TableDelay is how long tables and indexes take to become active or to go.
	TableDelay time.Duration
	// StreamBytes is about how much memory the records of one stream may take; older ones are dropped
	// before their 24 hours are over. 0 = 64 MiB; negative = streams are there but nothing is recorded.
	StreamBytes int64
	// StreamShards is how many open shards a stream has; 0 = 1.
	StreamShards int
	// TTLSweep is how often expired items are deleted; 0 = only by ExpireNow.
	TTLSweep time.Duration
}

// Engine is a database. It is safe for concurrent use.
type Engine struct {
	config     Config
	clock      func() time.Time
	started    time.Time
	forms      *expression.Cache
	latency    *latency.Profile
	network    latency.Network
	delays     bool
	timer      *precise.Timer
	lateness   lateness
	throughput throughput.Config
	faults     *faults.Set
	unharmed   atomic.Bool // faults are suspended

	mu     sync.RWMutex
	tables map[string]*table

	streams streams

	randomMu sync.Mutex
	random   *rand.Rand

	tokens    tokenTable
	counters  counters
	requestID atomic.Uint64
	sweep     sweeper
}

// New returns an engine without tables. Close it after use.
func New(config Config) (*Engine, error) {
	e := &Engine{
		config:  config,
		clock:   config.Clock,
		started: time.Now(),
		forms:   expression.NewCache(),
		tables:  map[string]*table{},
		random:  rand.New(rand.NewPCG(config.Seed, 0)),
	}
	e.config.Region = cmp.Or(config.Region, "us-east-1")
	e.config.Account = cmp.Or(config.Account, "000000000000")
	if e.clock == nil {
		e.clock = time.Now
	}
	e.config.StreamBytes = cmp.Or(config.StreamBytes, defaultStreamBytes)
	e.config.StreamShards = cmp.Or(config.StreamShards, 1)
	if n := e.config.StreamShards; n < 1 || n > maxStreamShards {
		return nil, fmt.Errorf("dynamolocal: a stream has 1 to %d shards, not %d", maxStreamShards, n)
	}
	var err error
	if e.latency, err = latency.Parse(cmp.Or(config.Latency, "none")); err != nil {
		return nil, fmt.Errorf("dynamolocal: %w", err)
	}
	if config.Network != "" {
		if e.network, err = latency.ParseNetwork(config.Network); err != nil {
			return nil, fmt.Errorf("dynamolocal: %w", err)
		}
	}
	if e.throughput, err = throughput.Parse(config.Throughput); err != nil {
		return nil, fmt.Errorf("dynamolocal: %w", err)
	}
	var rules []faults.Rule
	if len(config.Faults) > 0 {
		if rules, err = faults.Parse(config.Faults); err != nil {
			return nil, fmt.Errorf("dynamolocal: faults: %w", err)
		}
	}
	if e.faults, err = faults.New(config.Seed, rules...); err != nil {
		return nil, fmt.Errorf("dynamolocal: faults: %w", err)
	}
	e.delays = !e.latency.Zero() || !e.network.Zero()
	e.timer = precise.New()
	e.tokens.init()
	e.sweep.start(e)
	return e, nil
}

// Close ends the engine's own goroutines. Requests must have ended.
func (e *Engine) Close() error {
	e.sweep.stop()
	return e.timer.Close()
}

// Pause makes every request wait, as in an outage, until Resume.
func (e *Engine) Pause() { e.faults.Pause() }

// Resume ends a Pause.
func (e *Engine) Resume() { e.faults.Resume() }

// SuspendFaults keeps all rules from applying until ResumeFaults, so that what is needed first can be
// made in peace.
func (e *Engine) SuspendFaults() { e.unharmed.Store(true) }

// ResumeFaults ends SuspendFaults.
func (e *Engine) ResumeFaults() { e.unharmed.Store(false) }

// faulty reports whether rules have to be looked at.
func (e *Engine) faulty() bool { return e.faults.Active() && !e.unharmed.Load() }

func (e *Engine) now() time.Time { return e.clock() }

// ticks is the monotonic time of throughput and faults.
func (e *Engine) ticks() int64 { return int64(e.now().Sub(e.started)) }

// spend waits until an operation has taken as long as the models say, since begin.
func (e *Engine) spend(ctx context.Context, op string, items int, extra time.Duration, begin time.Time) error {
	if !e.delays && extra == 0 {
		return nil
	}
	e.randomMu.Lock()
	d := extra + e.latency.Draw(op, items, e.random) + e.network.Draw(e.random)
	e.randomMu.Unlock()
	if begin.IsZero() {
		return e.timer.Wait(ctx, d)
	}
	// A delay that is always the same is a promise; one that is drawn is right in the mean.
	drawn := e.latency.Random(op)
	wait := d - time.Since(begin)
	if drawn {
		wait -= e.lateness.mean()
	}
	if wait <= 0 {
		return nil
	}
	if err := e.timer.Wait(ctx, wait); err != nil {
		return err
	}
	if drawn {
		e.lateness.learn(time.Since(begin) - d)
	}
	return nil
}

// beginning is when a request began whose work and trip are part of its delay; zero without delays.
func (e *Engine) beginning(trip time.Duration) time.Time {
	if !e.delays {
		return time.Time{}
	}
	return time.Now().Add(-trip)
}
