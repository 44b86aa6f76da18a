package wire

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// RoundTime returns the key under which Locust counts a response time, both in milliseconds: rounded
// half to even to two significant digits, to whole milliseconds below 100, to seconds from 10 s on.
func RoundTime(ms float64) int64 {
	step := 1000.0
	switch {
	case ms < 100:
		step = 1
	case ms < 1000:
		step = 10
	case ms < 10000:
		step = 100
	}
	return int64(math.RoundToEven(ms/step) * step)
}

// Percentile returns Locust's percentile p, from 0 to 1, of n timed requests, in milliseconds: 0 for
// none. The times may be in any order.
func Percentile(times []Count, n int64, p float64) int64 {
	rank := int64(float64(n) * p)
	seen := int64(0)
	for _, c := range slices.SortedFunc(slices.Values(times), func(a, b Count) int { return cmp.Compare(b.Key, a.Key) }) {
		if seen += c.N; n-seen <= rank {
			return c.Key
		}
	}
	return 0
}

// Median returns the median of a row as Locust 2.47 does, in milliseconds: its 50th percentile, but
// not outside of what was measured.
func (e *Row) Median() float64 {
	if e.Timed() == 0 {
		return 0
	}
	return min(max(float64(Percentile(e.Times, e.Timed(), 0.5)), e.MinTime), e.MaxTime)
}

// Entry returns the row as an entry: its quantiles are as exact as Locust's rounded times.
func (e *Row) Entry() stats.Entry {
	entry := stats.Entry{
		Key:           stats.Key{Type: e.Method, Name: e.Name},
		Requests:      e.Requests,
		Failures:      e.Failures,
		Untimed:       e.Untimed,
		ContentLength: max(e.ContentLength, 0),
		Hist:          takeHist(),
	}
	left := e.Timed()
	for _, c := range e.Times {
		n := min(c.N, left)
		entry.Hist.RecordN(milliseconds(float64(c.Key)), n)
		left -= n
	}
	// Without a time of their own the rest counts at the minimum, so that no request is lost.
	entry.Hist.RecordN(milliseconds(e.MinTime), left)
	entry.Hist.Correct(milliseconds(e.SumTime), milliseconds(e.MinTime), milliseconds(e.MaxTime))
	if e.Requests > 0 {
		entry.FirstStart, entry.LastEnd = seconds(e.Start), seconds(e.LastRequest)
	}
	return entry
}

// Delta returns what the report says as a difference of snapshots, without a Total, which is the sum
// of the rows: the exact one of a worker of this program, otherwise what Locust's numbers give. The
// seconds of these are counted from 1970, which is when such a snapshot has Started; its time is the
// given one.
func (s *Stats) Delta(now time.Time) *stats.Snapshot {
	if s.Report != nil {
		return s.Report.Delta
	}
	d := takeDelta()
	*d = stats.Snapshot{
		At:           now,
		Started:      time.Unix(0, 0),
		Users:        s.Users,
		UsersByClass: s.UsersByClass,
		Entries:      slices.Grow(d.Entries[:0], len(s.Rows)),
		Series:       d.Series[:0],
		Generator:    stats.Generator{CPURatio: -1, CPUTime: -1, Late: takeLate()},
	}
	for i := range s.Rows {
		d.Entries = append(d.Entries, s.Rows[i].Entry())
	}
	for i := range s.Errors {
		e := &s.Errors[i]
		d.Errors = append(d.Errors, stats.Error{
			ErrorKey:    stats.ErrorKey{Type: e.Method, Name: e.Name, Text: e.Text},
			Occurrences: e.Occurrences,
			First:       seconds(e.First),
			Last:        seconds(e.Last),
		})
	}
	d.Series = appendSeconds(d.Series, &s.Total)
	shareTimes(d.Series, &s.Total)
	return d
}

// appendSeconds appends the seconds of a row, which are few, in their order.
func appendSeconds(series []stats.Second, total *Row) []stats.Second {
	first := len(series)
	at := func(index int64) *stats.Second {
		i, found := slices.BinarySearchFunc(series[first:], index, func(s stats.Second, index int64) int { return cmp.Compare(s.Index, index) })
		if !found {
			series = slices.Insert(series, first+i, stats.Second{Index: index})
		}
		return &series[first+i]
	}
	for _, c := range total.RequestsPerSecond {
		at(c.Key).Requests += c.N
	}
	for _, c := range total.FailuresPerSecond {
		at(c.Key).Failures += c.N
	}
	return series
}

// shareTimes gives each second of a report its share of the durations of the whole report, which
// Locust does not tell by second.
func shareTimes(seconds []stats.Second, total *Row) {
	all, before := int64(0), int64(0)
	for i := range seconds {
		all += seconds[i].Requests
	}
	if total.Timed() == 0 || all == 0 {
		return
	}
	for i := range seconds {
		second := &seconds[i]
		second.Hist = takeHist()
		until := before + second.Requests
		for _, c := range total.Times {
			// The shares of all seconds add up to the count exactly.
			second.Hist.RecordN(milliseconds(float64(c.Key)), portion(c.N, until, all)-portion(c.N, before, all))
		}
		before = until
	}
}

// portion returns the part of n that belongs to the first part of all.
func portion(n, part, all int64) int64 { return int64(float64(n)*float64(part)/float64(all) + 0.5) }

// milliseconds converts within the range of a duration.
func milliseconds(ms float64) time.Duration {
	ns := math.Round(ms * float64(time.Millisecond))
	return time.Duration(min(max(ns, 0), math.MaxInt64/2))
}

// seconds converts a timestamp, 0 to the zero time.
func seconds(timestamp float64) time.Time {
	if timestamp <= 0 || timestamp > 1e11 {
		return time.Time{}
	}
	whole, fraction := math.Modf(timestamp)
	return time.Unix(int64(whole), int64(math.Round(fraction*1e9)))
}

// Timestamp returns a time in seconds since 1970, 0 for the zero time.
func Timestamp(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return float64(t.UnixNano()) / 1e9
}

// Tally counts samples exactly as a worker of Locust does, for reports to a master of Locust: with
// rounded response times and the seconds of each row. It is safe for concurrent use.
type Tally struct {
	mu     sync.Mutex
	rows   map[stats.Key]*tallyRow
	total  *tallyRow
	errors map[stats.ErrorKey]*RowError
}

type tallyRow struct {
	row                           Row
	times, perSecond, failsSecond map[int64]int64
}

// NewTally returns an empty tally that starts now.
func NewTally(now time.Time) *Tally {
	t := &Tally{rows: map[stats.Key]*tallyRow{}, errors: map[stats.ErrorKey]*RowError{}}
	t.total = newTallyRow(stats.Key{Name: aggregatedName}, now)
	return t
}

func newTallyRow(key stats.Key, now time.Time) *tallyRow {
	return &tallyRow{
		row:         Row{Name: key.Name, Method: key.Type, Start: Timestamp(now)},
		times:       map[int64]int64{},
		perSecond:   map[int64]int64{},
		failsSecond: map[int64]int64{},
	}
}

// Record counts one sample.
func (t *Tally) Record(s *stats.Sample) {
	end := s.End()
	t.mu.Lock()
	defer t.mu.Unlock()
	t.row(stats.Key{Type: s.Type, Name: s.Name}, end).add(s, end)
	t.total.add(s, end)
	if s.Err != "" {
		t.addError(stats.ErrorKey{Type: s.Type, Name: s.Name, Text: s.Err}, end)
	}
}

func (t *Tally) row(key stats.Key, now time.Time) *tallyRow {
	row, ok := t.rows[key]
	if !ok && len(t.rows) >= stats.MaxEntries {
		key.Name = stats.OverflowName
		row, ok = t.rows[key]
	}
	if !ok {
		row = newTallyRow(key, now)
		t.rows[key] = row
	}
	return row
}

func (r *tallyRow) add(s *stats.Sample, end time.Time) {
	r.row.Requests++
	r.row.LastRequest = max(r.row.LastRequest, Timestamp(end))
	r.perSecond[end.Unix()]++
	if s.Err != "" {
		r.row.Failures++
		r.failsSecond[end.Unix()]++
	}
	if s.Untimed {
		r.row.Untimed++
		return
	}
	ms := float64(s.Duration) / float64(time.Millisecond)
	if r.row.Timed() == 1 {
		r.row.MinTime = ms
	}
	r.row.MinTime, r.row.MaxTime = min(r.row.MinTime, ms), max(r.row.MaxTime, ms)
	r.row.SumTime += ms
	r.times[RoundTime(ms)]++
}

func (t *Tally) addError(key stats.ErrorKey, end time.Time) {
	e, ok := t.errors[key]
	if !ok && len(t.errors) >= stats.MaxErrors {
		key.Text = stats.OverflowName
		e, ok = t.errors[key]
	}
	if !ok {
		e = &RowError{Key: key.Locust(), Name: key.Name, Method: key.Type, Text: key.Text, First: Timestamp(end)}
		t.errors[key] = e
	}
	e.Occurrences++
	e.First, e.Last = min(e.First, Timestamp(end)), max(e.Last, Timestamp(end))
}

// Take returns what was counted since the last call, as the next report, and starts anew: rows and
// errors are in the order of their names.
func (t *Tally) Take(now time.Time) *Stats {
	fresh := NewTally(now)
	t.mu.Lock()
	rows, total, errors := t.rows, t.total, t.errors
	t.rows, t.total, t.errors = fresh.rows, fresh.total, fresh.errors
	t.mu.Unlock()
	s := &Stats{Total: total.finish()}
	for _, key := range slices.SortedFunc(maps.Keys(rows), compareKeys) {
		s.Rows = append(s.Rows, rows[key].finish())
	}
	for _, e := range slices.SortedFunc(maps.Values(errors), func(a, b *RowError) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Method, b.Method), cmp.Compare(a.Text, b.Text))
	}) {
		s.Errors = append(s.Errors, *e)
	}
	return s
}

func compareKeys(a, b stats.Key) int {
	return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type))
}

func (r *tallyRow) finish() Row {
	r.row.Times, r.row.RequestsPerSecond, r.row.FailuresPerSecond = sortCounts(r.times), sortCounts(r.perSecond), sortCounts(r.failsSecond)
	return r.row
}

func sortCounts(counts map[int64]int64) []Count {
	var sorted []Count
	for _, key := range slices.Sorted(maps.Keys(counts)) {
		sorted = append(sorted, Count{key, counts[key]})
	}
	return sorted
}
