package master

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// windowSeconds is the time that current rates look back on, and windowLag how long ago it ended:
	// until then reports may come.
	windowSeconds = 10
	windowLag     = 3
	// pastStates is how many earlier states of the histograms are kept, one a second.
	pastStates = windowSeconds + windowLag
	// maxExceptionKinds bounds the tracebacks that are kept.
	maxExceptionKinds = 1000
	maxWarnings       = 100
)

// ledger merges what workers report in one run, or since the statistics were reset.
type ledger struct {
	started    time.Time // of the clock of the run
	base       int64     // seconds of the run before the ledger began
	rows       map[stats.Key]*row
	setup      map[stats.Key]*stats.Entry
	errors     map[stats.ErrorKey]*stats.Error
	tasks      map[stats.ErrorKey]*stats.Error
	exceptions map[string]*Exception
	series     series
	late       stats.Histogram
	judged     int64
	saturated  int64
	generators map[*part]stats.Generator
	warnings   []string
	past       []pastHists
}

// row is an entry with the counts of its latest seconds.
type row struct {
	stats.Entry
	recent  window
	changed bool
	clone   *stats.Histogram // as of the latest past state, if the row has not changed since
}

type pastHists struct {
	at    time.Time
	hists map[stats.Key]*stats.Histogram
}

// Exception is an error of tasks that was not caught, by where it arose.
type Exception struct {
	Count              int64
	Message, Traceback string
	// Workers are those on which it occurred, sorted.
	Workers []string
}

func newLedger(started time.Time, base int64) *ledger {
	return &ledger{
		started:    started,
		base:       base,
		rows:       map[stats.Key]*row{},
		setup:      map[stats.Key]*stats.Entry{},
		errors:     map[stats.ErrorKey]*stats.Error{},
		tasks:      map[stats.ErrorKey]*stats.Error{},
		exceptions: map[string]*Exception{},
		generators: map[*part]stats.Generator{},
	}
}

// second returns the number of the second of the run that a time is in.
func (l *ledger) second(at time.Time) int64 { return int64(at.Sub(l.started) / time.Second) }

// own adds the exact report of a worker of this program. Its clock is put on the master's by the
// start of the run, which both know.
func (l *ledger) own(p *part, d *stats.Snapshot) {
	skew := time.Duration(0)
	if !d.Started.IsZero() {
		skew = l.started.Sub(d.Started)
	}
	from, to := p.at, d.At.Add(skew)
	if from.IsZero() || !from.Before(to) {
		from = to.Add(-time.Second)
	}
	for i := range d.Entries {
		e := &d.Entries[i]
		shiftEntry(e, skew)
		r := l.row(e.Key)
		r.Merge(e)
		r.changed = true
		r.recent.spread(l.seconds(from), l.seconds(to), e.Requests, e.Failures)
	}
	for i := range d.Setup {
		shiftEntry(&d.Setup[i], skew)
		setup := entryAt(l.setup, d.Setup[i].Key)
		setup.Merge(&d.Setup[i])
	}
	l.addErrors(d, skew)
	for i := range d.TaskErrors {
		e := &d.TaskErrors[i]
		l.note(p.id, e.Text, cmp.Or(e.Traceback, e.Name+": "+e.Text), e.Occurrences)
	}
	for i := range d.Series {
		l.series.add(l.base, &d.Series[i])
	}
	l.generator(p, &d.Generator)
	for _, warning := range d.Warnings {
		l.warn(warning)
	}
}

// seconds returns a time in seconds on the clock of the run.
func (l *ledger) seconds(at time.Time) float64 { return at.Sub(l.started).Seconds() }

func shiftEntry(e *stats.Entry, by time.Duration) {
	e.Current = nil
	if !e.FirstStart.IsZero() {
		e.FirstStart, e.LastEnd = e.FirstStart.Add(by), e.LastEnd.Add(by)
	}
}

func (l *ledger) generator(p *part, g *stats.Generator) {
	if g.Late != nil {
		l.late.Merge(g.Late)
	}
	l.judged += g.Seconds
	l.saturated += g.SaturatedSeconds
	latest := *g
	latest.Late = nil
	latest.GCPauseMax = max(latest.GCPauseMax, l.generators[p].GCPauseMax)
	l.generators[p] = latest
}

// locust adds a report in Locust's terms. Its times are those of the worker's clock, which is the
// master's business only where it runs ahead.
func (l *ledger) locust(s *received, now time.Time) {
	ahead := time.Duration(0)
	if s.Total.LastRequest > 0 {
		ahead = max(timeOf(s.Total.LastRequest).Sub(now), 0)
	}
	d := s.delta
	for i := range d.Entries {
		e := &d.Entries[i]
		shiftEntry(e, -ahead)
		r := l.row(e.Key)
		r.Merge(e)
		r.changed = true
		for _, c := range s.Rows[i].RequestsPerSecond {
			r.recent.add(l.unixSecond(c.Key, ahead), float64(c.N), 0)
		}
		for _, c := range s.Rows[i].FailuresPerSecond {
			r.recent.add(l.unixSecond(c.Key, ahead), 0, float64(c.N))
		}
	}
	l.addErrors(d, -ahead)
	for i := range d.Series {
		second := &d.Series[i]
		second.Index = max(l.unixSecond(second.Index, ahead), 0)
		l.series.add(l.base, second)
	}
}

func timeOf(timestamp float64) time.Time { return time.Unix(0, int64(timestamp*1e9)) }

// unixSecond returns the second of the run that most of a second since 1970 is in.
func (l *ledger) unixSecond(second int64, ahead time.Duration) int64 {
	middle := time.Unix(second, int64(time.Second/2)).Add(-ahead)
	return l.second(middle)
}

func (l *ledger) addErrors(d *stats.Snapshot, skew time.Duration) {
	for i := range d.Errors {
		addError(l.errors, d.Errors[i], skew)
	}
	for i := range d.TaskErrors {
		addError(l.tasks, d.TaskErrors[i], skew)
	}
}

func addError(table map[stats.ErrorKey]*stats.Error, e stats.Error, skew time.Duration) {
	key := e.ErrorKey
	found, ok := table[key]
	if !ok && len(table) >= stats.MaxErrors {
		key.Text = stats.OverflowName
		found, ok = table[key]
	}
	if !e.First.IsZero() {
		e.First = e.First.Add(skew)
	}
	if !e.Last.IsZero() {
		e.Last = e.Last.Add(skew)
	}
	if !ok {
		e.ErrorKey = key
		table[key] = &e
		return
	}
	found.Occurrences += e.Occurrences
	if !e.First.IsZero() && (found.First.IsZero() || e.First.Before(found.First)) {
		found.First = e.First
	}
	if e.Last.After(found.Last) {
		found.Last = e.Last
	}
	found.Traceback = cmp.Or(found.Traceback, e.Traceback)
}

// exception adds an uncaught error of a task that a worker tells on its own.
func (l *ledger) exception(worker, message, traceback string, n int64) {
	now := time.Now()
	if e := l.exceptions[traceback]; e != nil {
		message = e.Message // as Locust does: those of one place are one, under the first one's words
	}
	addError(l.tasks, stats.Error{
		ErrorKey: stats.ErrorKey{Type: "TASK", Text: message}, Occurrences: n, First: now, Last: now, Traceback: traceback,
	}, 0)
	l.note(worker, message, traceback, n)
}

func (l *ledger) note(worker, message, traceback string, n int64) {
	e := l.exceptions[traceback]
	if e == nil {
		if len(l.exceptions) >= maxExceptionKinds {
			return
		}
		e = &Exception{Message: message, Traceback: traceback}
		l.exceptions[traceback] = e
	}
	e.Count += n
	if at, found := slices.BinarySearch(e.Workers, worker); !found {
		e.Workers = slices.Insert(e.Workers, at, worker)
	}
}

func (l *ledger) warn(text string) {
	if len(l.warnings) < maxWarnings && !slices.Contains(l.warnings, text) {
		l.warnings = append(l.warnings, text)
	}
}

// row returns the row of a key, or of the overflow row of its type when there are too many.
func (l *ledger) row(key stats.Key) *row {
	r, ok := l.rows[key]
	if !ok && len(l.rows) >= stats.MaxEntries {
		key.Name = stats.OverflowName
		r, ok = l.rows[key]
	}
	if !ok {
		r = &row{Entry: stats.Entry{Key: key, Hist: new(stats.Histogram)}}
		l.rows[key] = r
	}
	return r
}

func entryAt(table map[stats.Key]*stats.Entry, key stats.Key) *stats.Entry {
	e, ok := table[key]
	if !ok && len(table) >= stats.MaxEntries {
		key.Name = stats.OverflowName
		e, ok = table[key]
	}
	if !ok {
		e = &stats.Entry{Key: key, Hist: new(stats.Histogram)}
		table[key] = e
	}
	return e
}

// tick remembers the histograms for the percentiles of the next seconds.
func (l *ledger) tick(now time.Time) {
	past := pastHists{now, make(map[stats.Key]*stats.Histogram, len(l.rows))}
	for key, r := range l.rows {
		if r.changed || r.clone == nil {
			r.clone, r.changed = r.Hist.Clone(), false
		}
		past.hists[key] = r.clone
	}
	if len(l.past) >= pastStates {
		l.past = slices.Delete(l.past, 0, len(l.past)-pastStates+1)
	}
	l.past = append(l.past, past)
	l.series.tick(l.second(now) - l.base)
}

// fill writes what is merged into a snapshot.
func (l *ledger) fill(s *stats.Snapshot) {
	base := l.baseline(s.At)
	until := l.seconds(s.At) - windowLag + 1
	current := &stats.Current{Hist: new(stats.Histogram)}
	s.Total = stats.Entry{Hist: new(stats.Histogram)}
	for _, key := range slices.SortedFunc(maps.Keys(l.rows), compareKeys) {
		r := l.rows[key]
		entry := r.Entry
		entry.Hist = r.Hist.Clone()
		now := &stats.Current{Hist: r.Hist.Since(base[key])}
		now.RPS, now.FailuresPerSecond = r.recent.rates(int64(until), l.base)
		entry.Current = now
		current.RPS += now.RPS
		current.FailuresPerSecond += now.FailuresPerSecond
		current.Hist.Merge(now.Hist)
		entryTotal := entry
		entryTotal.Current = nil
		s.Total.Merge(&entryTotal)
		s.Entries = append(s.Entries, entry)
	}
	s.Total.Current = current
	for _, key := range slices.SortedFunc(maps.Keys(l.setup), compareKeys) {
		e := *l.setup[key]
		e.Hist = e.Hist.Clone()
		s.Setup = append(s.Setup, e)
	}
	s.Errors, s.TaskErrors = sortedErrors(l.errors), sortedErrors(l.tasks)
	s.Series = l.series.copy()
	s.Warnings = slices.Clone(l.warnings)
	s.Generator = l.generatorOfAll()
}

// mergeEntries returns what both hold, sorted.
func mergeEntries(a, b []stats.Entry) []stats.Entry {
	table := map[stats.Key]*stats.Entry{}
	for _, entries := range [][]stats.Entry{a, b} {
		for i := range entries {
			entryAt(table, entries[i].Key).Merge(&entries[i])
		}
	}
	var merged []stats.Entry
	for _, key := range slices.SortedFunc(maps.Keys(table), compareKeys) {
		merged = append(merged, *table[key])
	}
	return merged
}

// baseline returns the histograms of ten seconds ago; nil for a run that is younger.
func (l *ledger) baseline(now time.Time) map[stats.Key]*stats.Histogram {
	for i := len(l.past) - 1; i >= 0; i-- {
		if now.Sub(l.past[i].at) >= windowSeconds*time.Second {
			return l.past[i].hists
		}
	}
	return nil
}

func (l *ledger) generatorOfAll() stats.Generator {
	g := stats.Generator{Late: l.late.Clone(), Seconds: l.judged, SaturatedSeconds: l.saturated}
	known := 0
	for _, one := range l.generators {
		g.GCPauseMax = max(g.GCPauseMax, one.GCPauseMax)
		if one.CPURatio >= 0 {
			known++
			g.CPURatio += one.CPURatio
			g.CPUTime += max(one.CPUTime, 0)
		}
	}
	if known == 0 {
		g.CPURatio, g.CPUTime = -1, -1
		return g
	}
	g.CPURatio /= float64(known)
	return g
}

func compareKeys(a, b stats.Key) int {
	return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name))
}

func sortedErrors(table map[stats.ErrorKey]*stats.Error) []stats.Error {
	errors := make([]stats.Error, 0, len(table))
	for _, e := range slices.SortedFunc(maps.Values(table), func(a, b *stats.Error) int {
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Text, b.Text))
	}) {
		errors = append(errors, *e)
	}
	return errors
}

// window counts the requests of the latest seconds.
type window struct {
	latest             int64 // the newest second
	requests, failures [windowSlots]float64
}

const windowSlots = 32

func (w *window) add(second int64, requests, failures float64) {
	if second <= w.latest-windowSlots || second < 0 {
		return
	}
	if second > w.latest {
		for s := max(w.latest+1, second-windowSlots+1); s <= second; s++ {
			w.requests[s%windowSlots], w.failures[s%windowSlots] = 0, 0
		}
		w.latest = second
	}
	w.requests[second%windowSlots] += requests
	w.failures[second%windowSlots] += failures
}

// spread counts requests that are known to lie between two times, evenly.
func (w *window) spread(from, to float64, requests, failures int64) {
	to = max(to, 0)
	from = max(from, to-windowSlots, 0)
	if to <= from {
		w.add(int64(to), float64(requests), float64(failures))
		return
	}
	for second := int64(from); float64(second) < to; second++ {
		share := (min(to, float64(second+1)) - max(from, float64(second))) / (to - from)
		w.add(second, float64(requests)*share, float64(failures)*share)
	}
}

// rates returns the requests and failures a second in the window that ends before a second, not
// counting seconds before the first one.
func (w *window) rates(before, first int64) (requests, failures float64) {
	from := max(before-windowSeconds, first, 0)
	if before <= from {
		// In the first seconds, what there is.
		before = from + 1
	}
	for second := from; second < before; second++ {
		if second > w.latest-windowSlots && second <= w.latest {
			requests += w.requests[second%windowSlots]
			failures += w.failures[second%windowSlots]
		}
	}
	seconds := float64(before - from)
	return requests / seconds, failures / seconds
}
