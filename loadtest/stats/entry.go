package stats

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Limits of what a run keeps, so that memory stays bounded whatever the names are.
const (
	// MaxEntries is the number of distinct rows; further ones are counted under OverflowName.
	MaxEntries = 2000
	// MaxErrors is the number of distinct errors; further ones are counted under OverflowName.
	MaxErrors = 1000
	// OverflowName is the name of the row that takes what found no place of its own.
	OverflowName = "(other)"
)

// Key names an entry.
type Key struct{ Type, Name string }

// Entry is what was measured in one row, or in all of them.
type Entry struct {
	Key
	// Requests counts all samples, Failures and RateLimited those among them. Untimed samples have
	// no duration and are not in Hist.
	Requests, Failures, RateLimited, Untimed int64
	// Depth is the sum of the round trips of the samples where it is known, DepthCount their number.
	Depth, DepthCount int64
	// ContentLength is the sum of the sizes of answers, in bytes, where there are such: calls of
	// the limiter have none, those of Locust's HTTP users do.
	ContentLength int64
	// Hist holds the durations.
	Hist *Histogram
	// FirstStart and LastEnd bound the time in which the samples lie; zero when there is none.
	FirstStart, LastEnd time.Time
	// Current is the state of the last ten seconds; nil in a snapshot that has none.
	Current *Current
}

// Current says how a row did lately: rates over the ten seconds that ended two seconds before the
// last sample, and the durations of the last ten seconds.
type Current struct {
	RPS, FailuresPerSecond float64
	Hist                   *Histogram
}

// FailureRatio returns the share of failures, 0 when there are no requests.
func (e *Entry) FailureRatio() float64 {
	if e.Requests == 0 {
		return 0
	}
	return float64(e.Failures) / float64(e.Requests)
}

// Active returns the time from the first start to the last end.
func (e *Entry) Active() time.Duration {
	if e.FirstStart.IsZero() {
		return 0
	}
	return e.LastEnd.Sub(e.FirstStart)
}

// entryCounts is an entry while it is filled; start and end are nanoseconds on the run's clock.
type entryCounts struct {
	Entry
	firstStart, lastEnd int64
}

func newEntryCounts(key Key) *entryCounts {
	return &entryCounts{Entry: Entry{Key: key, Hist: new(Histogram)}, firstStart: math.MaxInt64, lastEnd: math.MinInt64}
}

func (e *entryCounts) add(s *Sample, t *timing) {
	e.Requests++
	if s.Err != "" {
		e.Failures++
	}
	if s.RateLimited {
		e.RateLimited++
	}
	if s.Depth > 0 {
		e.Depth += int64(s.Depth)
		e.DepthCount++
	}
	if s.Untimed {
		e.Untimed++
	} else {
		e.Hist.record(t.took, t.bucket)
	}
	e.firstStart = min(e.firstStart, t.start)
	e.lastEnd = max(e.lastEnd, t.end)
}

// entry returns the counts with their times put on the wall clock.
func (e *entryCounts) entry(started time.Time) *Entry {
	entry := e.Entry
	if e.Requests > 0 {
		entry.FirstStart = started.Add(time.Duration(e.firstStart))
		entry.LastEnd = started.Add(time.Duration(e.lastEnd))
	}
	return &entry
}

// Merge adds what other holds; the names of e stay.
func (e *Entry) Merge(other *Entry) {
	e.Requests += other.Requests
	e.Failures += other.Failures
	e.RateLimited += other.RateLimited
	e.Untimed += other.Untimed
	e.Depth += other.Depth
	e.DepthCount += other.DepthCount
	e.ContentLength += other.ContentLength
	if e.Hist == nil {
		e.Hist = new(Histogram)
	}
	if other.Hist != nil {
		e.Hist.Merge(other.Hist)
	}
	if e.FirstStart.IsZero() || !other.FirstStart.IsZero() && other.FirstStart.Before(e.FirstStart) {
		e.FirstStart = other.FirstStart
	}
	if other.LastEnd.After(e.LastEnd) {
		e.LastEnd = other.LastEnd
	}
	e.Current = mergeCurrent(e.Current, other.Current)
}

func mergeCurrent(a, b *Current) *Current {
	if a == nil || b == nil {
		return cmp.Or(a, b)
	}
	merged := &Current{RPS: a.RPS + b.RPS, FailuresPerSecond: a.FailuresPerSecond + b.FailuresPerSecond, Hist: a.Hist.Clone()}
	merged.Hist.Merge(b.Hist)
	return merged
}

// ErrorKey names a kind of failure.
type ErrorKey struct{ Type, Name, Text string }

// Error counts one kind of failure.
type Error struct {
	ErrorKey
	Occurrences int64
	First, Last time.Time
	// Traceback is where the first one came from; "" when it is not known.
	Traceback string
	// Nodes are the workers on which it occurred, sorted; empty = this process alone.
	Nodes []string
}

func (e *Error) merge(other *Error) {
	e.Occurrences += other.Occurrences
	if e.First.IsZero() || other.First.Before(e.First) {
		e.First = other.First
	}
	if other.Last.After(e.Last) {
		e.Last = other.Last
	}
	e.Traceback = cmp.Or(e.Traceback, other.Traceback)
	if len(other.Nodes) > 0 {
		// A new slice: the old one may be part of a snapshot.
		nodes := slices.Concat(e.Nodes, other.Nodes)
		slices.Sort(nodes)
		e.Nodes = slices.Compact(nodes)
	}
}

// errorTable counts errors by key, up to MaxErrors kinds.
type errorTable map[ErrorKey]*Error

func (t errorTable) add(key ErrorKey, at time.Time, traceback string) {
	t.merge(&Error{ErrorKey: key, Occurrences: 1, First: at, Last: at, Traceback: traceback})
}

func (t errorTable) merge(other *Error) {
	key := other.ErrorKey
	found, ok := t[key]
	if !ok && len(t) >= MaxErrors {
		key.Text = OverflowName
		found, ok = t[key]
	}
	if !ok {
		found = &Error{ErrorKey: key}
		t[key] = found
	}
	found.merge(other)
}

// sorted returns the errors by type, name and text.
func (t errorTable) sorted() []Error {
	errors := make([]Error, 0, len(t))
	for _, e := range slices.SortedFunc(maps.Values(t), func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Text, b.Text))
	}) {
		errors = append(errors, *e)
	}
	return errors
}

// entryTable holds entries by key, up to MaxEntries of them.
type entryTable map[Key]*Entry

// at returns the entry of a key, or of the overflow row of its type when the table is full.
func (t entryTable) at(key Key) *Entry {
	return findOrAdd(t, key, func(key Key) *Entry { return &Entry{Key: key, Hist: new(Histogram)} })
}

func findOrAdd[E any](table map[Key]*E, key Key, add func(Key) *E) *E {
	entry, ok := table[key]
	if !ok && len(table) >= MaxEntries {
		key.Name = OverflowName
		entry, ok = table[key]
	}
	if !ok {
		entry = add(key)
		table[key] = entry
	}
	return entry
}

// sorted returns the entries by type and name.
func (t entryTable) sorted() []Entry {
	entries := make([]Entry, 0, len(t))
	for _, e := range slices.SortedFunc(maps.Values(t), func(a, b *Entry) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
	}) {
		entries = append(entries, *e)
	}
	return entries
}
