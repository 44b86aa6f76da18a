package stats

import (
	"maps"
	"slices"
	"sync"
	"time"
)

const (
	// settleSeconds is how long a second stays open for samples of slower recorders.
	settleSeconds = 2
	// currentWindow is the time that the current rates and percentiles look back on.
	currentWindow = 10
	// judgedWakeUps is how many wake-ups a second must have for their 99th percentile to say anything:
	// with a handful it is one of them, and one may be late for any reason.
	judgedWakeUps = 20
	// gapBelow is the coverage below which a second is a gap.
	gapBelow = 0.95
)

// Collector owns the recorders of one process and makes snapshots of what they hold. It is safe for
// concurrent use.
type Collector struct {
	started   time.Time
	recorders []*Recorder
	setup     *Recorder

	mu       sync.Mutex
	open     map[int64]*secondCounts
	closed   int64 // every second below this index is in series
	series   []Second
	users    userAccount
	past     []pastState
	warnings []string
	keep     int // seconds at the end of series that have their histograms
}

// pastState is what the rows held at a moment, for current rates.
type pastState struct {
	at      time.Time
	entries map[Key]*Entry
}

// NewCollector returns a collector with a number of recorders. The clock of the run starts at
// started; samples that end within the warm-up are in the series only.
func NewCollector(recorders int, started time.Time, warmup time.Duration) *Collector {
	c := &Collector{
		started: started,
		setup:   newRecorder(started, 0),
		open:    map[int64]*secondCounts{},
		users:   newUserAccount(started),
	}
	for range max(recorders, 1) {
		c.recorders = append(c.recorders, newRecorder(started, warmup))
	}
	return c
}

// Recorder returns the recorder of core i; any i is allowed.
func (c *Collector) Recorder(i int) *Recorder { return c.recorders[i%len(c.recorders)] }

// Setup returns the recorder of event listeners, whose calls are kept apart.
func (c *Collector) Setup() *Recorder { return c.setup }

// Started returns when the clock of the run started.
func (c *Collector) Started() time.Time { return c.started }

// Warn adds a sentence to the warnings of the run.
func (c *Collector) Warn(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.warnings) < 100 && !slices.Contains(c.warnings, text) {
		c.warnings = append(c.warnings, text)
	}
}

// Users tells how many users the plan wants and how many run, in all and by class, from now on. The
// map is read before Users returns and not kept.
func (c *Collector) Users(now time.Time, planned int, running map[string]int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users.set(now, planned, running)
}

// Tick closes the seconds that are over; call it about once a second.
func (c *Collector) Tick(now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users.advance(now)
	c.closeSeconds(int64(now.Sub(c.started)/time.Second)-settleSeconds, false)
	c.remember(now)
}

// Unreachable reports whether in each of the last seconds that had requests, at least n seconds
// back, every request failed to reach the target.
func (c *Collector) Unreachable(n int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.series) < n {
		return false
	}
	tried := int64(0)
	for _, second := range c.series[len(c.series)-n:] {
		if second.Unreachable < second.Requests {
			return false
		}
		tried += second.Requests
	}
	return tried > 0
}

// Snapshot returns everything known now. A final one closes the second that is being filled.
func (c *Collector) Snapshot(now time.Time, final bool) *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users.advance(now)
	if final {
		c.closeSeconds(int64(now.Sub(c.started)/time.Second), true)
	}
	s := &Snapshot{
		At:           now,
		Started:      c.started,
		Users:        c.users.running,
		UsersByClass: maps.Clone(c.users.byClass),
		PeakUsers:    c.users.peak,
		PeakByClass:  maps.Clone(c.users.peakByClass),
		Total:        Entry{Hist: new(Histogram)},
		Series:       slices.Clone(c.series),
		Coverage:     c.users.coverage(),
		Generator:    Generator{Late: new(Histogram)},
		Warnings:     slices.Clone(c.warnings),
	}
	c.mergeRecorders(s)
	for _, second := range c.series {
		s.Generator.Seconds++
		if second.Saturated {
			s.Generator.SaturatedSeconds++
		}
	}
	c.fillCurrent(s)
	return s
}

func (c *Collector) mergeRecorders(s *Snapshot) {
	errors, tasks := errorTable{}, errorTable{}
	entries := entryTable{}
	for _, r := range c.recorders {
		r.mu.Lock()
		for key, entry := range r.entries {
			entries.at(key).Merge(entry.entry(r.started))
		}
		s.Generator.Late.Merge(&r.late)
		for _, e := range r.errors {
			errors.merge(e)
		}
		for _, e := range r.tasks {
			tasks.merge(e)
		}
		r.mu.Unlock()
	}
	s.Entries = entries.sorted()
	for i := range s.Entries {
		s.Total.Merge(&s.Entries[i])
	}
	s.Setup = c.setupEntries()
	s.Errors, s.TaskErrors = errors.sorted(), tasks.sorted()
}

func (c *Collector) setupEntries() []Entry {
	copied := entryTable{}
	c.setup.mu.Lock()
	defer c.setup.mu.Unlock()
	for key, entry := range c.setup.entries {
		copied.at(key).Merge(entry.entry(c.setup.started))
	}
	return copied.sorted()
}

// closeSeconds moves every second up to and including last into the series.
func (c *Collector) closeSeconds(last int64, final bool) {
	for _, r := range c.recorders {
		r.mu.Lock()
		r.seconds.drain(c.open, final || r.seconds.current.index <= last)
		r.mu.Unlock()
	}
	for index, counts := range c.open {
		if index < c.closed {
			// A sample of a second that is closed already: it ended when that one was full.
			delete(c.open, index)
			counts.index = c.closed
			if next, ok := c.open[c.closed]; ok {
				next.merge(counts)
			} else {
				c.open[c.closed] = counts
			}
		}
	}
	for ; c.closed <= last; c.closed++ {
		counts, ok := c.open[c.closed]
		if !ok {
			counts = newSecondCounts(c.closed)
		}
		delete(c.open, c.closed)
		if final && c.closed == last && counts.requests == 0 && counts.late.Count() == 0 {
			// The run ended at the start of this second: there was nothing to see.
			continue
		}
		c.series = append(c.series, c.finish(counts))
		if c.keep > 0 && len(c.series) > c.keep {
			old := &c.series[len(c.series)-1-c.keep]
			old.Hist, old.Late = nil, nil
		}
	}
}

// KeepHistograms makes the latest n seconds of the series have their histograms, so that they can be
// merged with those of other processes. Call it before the collector is used.
func (c *Collector) KeepHistograms(n int) { c.keep = n }

func (c *Collector) finish(counts *secondCounts) Second {
	second := Second{
		Index:       counts.index,
		Users:       c.users.at(counts.index),
		Requests:    counts.requests,
		Failures:    counts.failures,
		Unreachable: counts.unreachable,
		P50:         counts.hist.Quantile(0.50),
		P95:         counts.hist.Quantile(0.95),
		P99:         counts.hist.Quantile(0.99),
		LateP99:     counts.late.Quantile(0.99),
	}
	if c.keep > 0 {
		second.Hist, second.Late = &counts.hist, &counts.late
	}
	second.Saturated = lateness(&counts.late) > max(2*time.Millisecond, second.P50/5)
	return second
}

// lateness is the 99th percentile by which a second is judged: among fewer than a hundred wake-ups
// it passes over the latest one.
func lateness(late *Histogram) time.Duration {
	n := float64(late.Count())
	if n < judgedWakeUps {
		return 0
	}
	return late.Quantile(min(0.99, 1-1.5/n))
}

// remember keeps the state of the rows, for the rates of the next seconds.
func (c *Collector) remember(now time.Time) {
	state := Snapshot{Total: Entry{Hist: new(Histogram)}, Generator: Generator{Late: new(Histogram)}}
	c.mergeRecorders(&state)
	past := pastState{at: now, entries: make(map[Key]*Entry, len(state.Entries)+1)}
	for i := range state.Entries {
		past.entries[state.Entries[i].Key] = &state.Entries[i]
	}
	past.entries[Key{}] = &state.Total
	c.past = append(c.past, past)
	if len(c.past) > currentWindow+2 {
		c.past = slices.Delete(c.past, 0, len(c.past)-currentWindow-2)
	}
}

func (c *Collector) fillCurrent(s *Snapshot) {
	base := pastState{at: c.started}
	for _, past := range c.past {
		if s.At.Sub(past.at) >= currentWindow*time.Second {
			base = past
		}
	}
	seconds := s.At.Sub(base.at).Seconds()
	if seconds <= 0 {
		return
	}
	since := func(e *Entry, key Key) *Current {
		before := base.entries[key]
		if before == nil {
			before = &Entry{Hist: new(Histogram)}
		}
		return &Current{
			RPS:               float64(e.Requests-before.Requests) / seconds,
			FailuresPerSecond: float64(e.Failures-before.Failures) / seconds,
			Hist:              e.Hist.Since(before.Hist),
		}
	}
	s.Total.Current = since(&s.Total, Key{})
	for i := range s.Entries {
		s.Entries[i].Current = since(&s.Entries[i], s.Entries[i].Key)
	}
}

// CutShort says that the run ends so long before its time: what these users were to do then was planned
// and is not delivered.
func (c *Collector) CutShort(left time.Duration, users int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users.total.PlannedUserSeconds += left.Seconds() * float64(users)
	c.users.total.CutShort = left
}

// Missed adds user seconds that were planned and cannot be delivered any more.
func (c *Collector) Missed(userSeconds float64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.users.total.PlannedUserSeconds += max(userSeconds, 0)
}

// AdoptSetup takes over the group of setup calls of an earlier collector of the run. Call it before
// the collector is used.
func (c *Collector) AdoptSetup(setup *Recorder) { c.setup = setup }
