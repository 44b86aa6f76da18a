package wire

import (
	"fmt"
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// reportKey is a key of our own in the stats message, which Locust ignores. Its value is bytes, so
// that Locust does not spend time on what is in them.
const reportKey = "zae_report"

const (
	maxSeconds = 100_000
	// grownAtOnce is for how many elements of a list memory is reserved before they have come.
	grownAtOnce = 16
)

// Report is what a worker of this program tells beside Locust's rows: everything that happened since
// the report before, with durations in nanoseconds.
type Report struct {
	// Run names the run that the numbers belong to.
	Run string
	// Sequence counts the reports of a worker in a run from 1: a number that was left out is a report
	// that is missing, one that came already is a repetition.
	Sequence uint64
	// Final is set in the last report of a worker in a run.
	Final bool
	// Samples counts all calls that the worker's users have recorded in the run, those of this report
	// included, so that a master knows how many were in reports that are missing.
	Samples int64
	// EndedUserSeconds is for how long, since the report before, users were in the worker's share of the
	// plan that had ended themselves: a master plans them until it hears of it.
	EndedUserSeconds float64
	// Heartbeat says how the worker is, in place of a message of its own, and is answered as one; without
	// a State there is none.
	Heartbeat Heartbeat
	// Delta holds what is new: calls, errors, finished seconds, user seconds and warnings since the
	// last report, while users, peaks and the use of the processor are as of now. Its Total is not
	// sent: it is the sum of the rows. It is never nil after decoding.
	Delta *stats.Snapshot
}

func (r *reader) report() *Report {
	inner := reader{data: r.bytes(), left: r.left, err: r.err}
	report := takeReport()
	for key := range inner.fields() {
		switch string(key) {
		case "run":
			report.Run = inner.text()
		case "seq":
			report.Sequence = uint64(inner.count())
		case "final":
			report.Final = inner.bool()
		case "samples":
			report.Samples = inner.count()
		case "ended":
			report.EndedUserSeconds = max(inner.float(), 0)
		case "beat":
			more := inner.tuple(3)
			report.Heartbeat = Heartbeat{State: inner.text(), CPU: inner.float(), Memory: inner.count()}
			inner.skipMore(more)
		default:
			inner.snapshotField(string(key), report.Delta)
		}
	}
	if r.left = inner.left; inner.err != nil {
		r.fail(fmt.Errorf("%s: %w", reportKey, inner.err))
		return nil
	}
	return report
}

func (r *reader) snapshotField(key string, s *stats.Snapshot) {
	switch key {
	case "at":
		s.At = r.time()
	case "started":
		s.Started = r.time()
	case "users":
		s.Users = int(r.count())
	case "classes":
		s.UsersByClass = r.usersByClass()
	case "peak":
		s.PeakUsers = int(r.count())
	case "peaks":
		s.PeakByClass = r.usersByClass()
	case "rows":
		s.Entries = r.entries(s.Entries)
	case "setup":
		s.Setup = r.entries(s.Setup)
	case "errors":
		s.Errors = r.errors()
	case "tasks":
		s.TaskErrors = r.errors()
	case "series":
		s.Series = r.series(s.Series)
	case "coverage":
		s.Coverage = r.coverage()
	case "generator":
		s.Generator = r.generator()
	case "warnings":
		s.Warnings = r.lines()
	default:
		r.skip()
	}
}

// time reads nanoseconds since 1970, 0 = the zero time.
func (r *reader) time() time.Time {
	if ns := r.int(); ns != 0 {
		return time.Unix(0, ns)
	}
	return time.Time{}
}

func (r *reader) duration() time.Duration { return time.Duration(r.int()) }

// tuple reads the head of an array of at least n elements, and returns how many more there are,
// which a newer peer may have added.
func (r *reader) tuple(n int) (more int) {
	got := r.array()
	if got < n {
		r.fail(fmt.Errorf("an array of %d where at least %d belong", got, n))
		return 0
	}
	return got - n
}

func (r *reader) skipMore(n int) {
	for range n {
		r.skip()
	}
}

// hist reads a histogram into the memory of another.
func (r *reader) hist(h *stats.Histogram) *stats.Histogram {
	data := r.bytes()
	if r.err != nil || len(data) == 0 {
		return h
	}
	if err := h.UnmarshalBinary(data); err != nil {
		r.fail(err)
	}
	return h
}

// list reads an array of at most limit elements into the memory of a slice.
func list[E any](r *reader, into []E, limit int, element func() E) []E {
	n := r.array()
	if n > limit {
		r.fail(fmt.Errorf("%d elements where at most %d belong", n, limit))
		return nil
	}
	elements := slices.Grow(into[:0], min(n, grownAtOnce))
	for range n {
		elements = append(elements, element())
		if r.err != nil {
			return nil
		}
	}
	return elements
}

func (r *reader) entries(into []stats.Entry) []stats.Entry { return list(r, into, maxRows, r.entry) }

func (r *reader) entry() stats.Entry {
	more := r.tuple(11)
	e := stats.Entry{
		Key:         stats.Key{Type: r.text(), Name: r.text()},
		Requests:    r.count(),
		Failures:    r.count(),
		RateLimited: r.count(),
		Untimed:     r.count(),
		Depth:       r.count(),
		DepthCount:  r.count(),
		Hist:        r.hist(takeHist()),
		FirstStart:  r.time(),
		LastEnd:     r.time(),
	}
	r.skipMore(more)
	return e
}

func (r *reader) errors() []stats.Error { return list(r, nil, maxErrorKinds, r.errorKind) }

func (r *reader) errorKind() stats.Error {
	more := r.tuple(7)
	e := stats.Error{
		ErrorKey:    stats.ErrorKey{Type: r.text(), Name: r.text(), Text: r.text()},
		Occurrences: r.count(),
		First:       r.time(),
		Last:        r.time(),
		Traceback:   r.text(),
	}
	r.skipMore(more)
	return e
}

func (r *reader) series(into []stats.Second) []stats.Second {
	return list(r, into, maxSeconds, r.second)
}

func (r *reader) second() stats.Second {
	more := r.tuple(12)
	s := stats.Second{
		Index:       r.count(),
		Users:       int(r.count()),
		Requests:    r.count(),
		Failures:    r.count(),
		Unreachable: r.count(),
		P50:         r.duration(),
		P95:         r.duration(),
		P99:         r.duration(),
		LateP99:     r.duration(),
		Saturated:   r.bool(),
		Hist:        r.histOrNil(takeHist),
		Late:        r.histOrNil(takeLate),
	}
	r.skipMore(more)
	return s
}

func (r *reader) histOrNil(take func() *stats.Histogram) *stats.Histogram {
	if r.isNil() {
		return nil
	}
	return r.hist(take())
}

func (r *reader) coverage() stats.Coverage {
	more := r.tuple(6)
	c := stats.Coverage{
		PlannedUserSeconds:   r.float(),
		DeliveredUserSeconds: r.float(),
		Gaps:                 list(r, nil, maxSeconds, r.gap),
		LostWorkers:          r.count(),
		UnaccountedSamples:   r.count(),
		MissingReports:       r.count(),
	}
	r.skipMore(more)
	return c
}

func (r *reader) gap() stats.Gap {
	more := r.tuple(2)
	g := stats.Gap{Index: r.count(), Ratio: r.float()}
	r.skipMore(more)
	return g
}

func (r *reader) generator() stats.Generator {
	more := r.tuple(6)
	g := stats.Generator{
		CPURatio:         r.float(),
		CPUTime:          r.duration(),
		GCPauseMax:       r.duration(),
		Late:             r.hist(takeLate()),
		Seconds:          r.count(),
		SaturatedSeconds: r.count(),
	}
	r.skipMore(more)
	return g
}

func (p *Report) append(b []byte) ([]byte, error) {
	fields := 5 + 14
	if p.Heartbeat.State != "" {
		fields++
	}
	inner := appendMap(make([]byte, 0, 1024), fields)
	if beat := &p.Heartbeat; beat.State != "" {
		inner = appendText(appendArray(appendText(inner, "beat"), 3), beat.State)
		inner = appendInt(appendFloat(inner, beat.CPU), beat.Memory)
	}
	inner = appendText(appendText(inner, "run"), p.Run)
	inner = appendUint(appendText(inner, "seq"), p.Sequence)
	inner = appendBool(appendText(inner, "final"), p.Final)
	inner = appendInt(appendText(inner, "samples"), p.Samples)
	inner = appendFloat(appendText(inner, "ended"), p.EndedUserSeconds)
	return appendBytes(b, appendSnapshot(inner, p.Delta)), nil
}

// appendSnapshot appends 14 fields.
func appendSnapshot(b []byte, s *stats.Snapshot) []byte {
	if s == nil {
		s = &stats.Snapshot{}
	}
	b = appendTime(appendText(b, "at"), s.At)
	b = appendTime(appendText(b, "started"), s.Started)
	b = appendInt(appendText(b, "users"), int64(s.Users))
	b = appendCounts(appendText(b, "classes"), s.UsersByClass)
	b = appendInt(appendText(b, "peak"), int64(s.PeakUsers))
	b = appendCounts(appendText(b, "peaks"), s.PeakByClass)
	b = appendEntries(appendText(b, "rows"), s.Entries)
	b = appendEntries(appendText(b, "setup"), s.Setup)
	b = appendErrors(appendText(b, "errors"), s.Errors)
	b = appendErrors(appendText(b, "tasks"), s.TaskErrors)
	b = appendSeries(appendText(b, "series"), s.Series)
	b = appendCoverage(appendText(b, "coverage"), &s.Coverage)
	b = appendGenerator(appendText(b, "generator"), &s.Generator)
	b = appendArray(appendText(b, "warnings"), len(s.Warnings))
	for _, warning := range s.Warnings {
		b = appendText(b, warning)
	}
	return b
}

func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return appendInt(b, 0)
	}
	return appendInt(b, t.UnixNano())
}

func appendHist(b []byte, h *stats.Histogram) []byte {
	if h == nil || h.Count() == 0 {
		return appendBytes(b, nil)
	}
	var room [512]byte
	encoded, _ := h.AppendBinary(room[:0]) // it has no way to fail
	return appendBytes(b, encoded)
}

func appendEntries(b []byte, entries []stats.Entry) []byte {
	b = appendArray(b, len(entries))
	for i := range entries {
		e := &entries[i]
		b = appendArray(b, 11)
		b = appendText(appendText(b, e.Type), e.Name)
		for _, n := range [...]int64{e.Requests, e.Failures, e.RateLimited, e.Untimed, e.Depth, e.DepthCount} {
			b = appendInt(b, n)
		}
		b = appendHist(b, e.Hist)
		b = appendTime(appendTime(b, e.FirstStart), e.LastEnd)
	}
	return b
}

func appendErrors(b []byte, errors []stats.Error) []byte {
	b = appendArray(b, len(errors))
	for i := range errors {
		e := &errors[i]
		b = appendArray(b, 7)
		b = appendText(appendText(appendText(b, e.Type), e.Name), e.Text)
		b = appendInt(b, e.Occurrences)
		b = appendTime(appendTime(b, e.First), e.Last)
		b = appendText(b, e.Traceback)
	}
	return b
}

func appendSeries(b []byte, series []stats.Second) []byte {
	b = appendArray(b, len(series))
	for i := range series {
		s := &series[i]
		b = appendArray(b, 12)
		for _, n := range [...]int64{s.Index, int64(s.Users), s.Requests, s.Failures, s.Unreachable,
			int64(s.P50), int64(s.P95), int64(s.P99), int64(s.LateP99)} {
			b = appendInt(b, n)
		}
		b = appendBool(b, s.Saturated)
		b = appendHistOrNil(appendHistOrNil(b, s.Hist), s.Late)
	}
	return b
}

func appendHistOrNil(b []byte, h *stats.Histogram) []byte {
	if h == nil {
		return appendNil(b)
	}
	return appendHist(b, h)
}

func appendCoverage(b []byte, c *stats.Coverage) []byte {
	b = appendArray(b, 6)
	b = appendFloat(appendFloat(b, c.PlannedUserSeconds), c.DeliveredUserSeconds)
	b = appendArray(b, len(c.Gaps))
	for _, gap := range c.Gaps {
		b = appendFloat(appendInt(appendArray(b, 2), gap.Index), gap.Ratio)
	}
	return appendInt(appendInt(appendInt(b, c.LostWorkers), c.UnaccountedSamples), c.MissingReports)
}

func appendGenerator(b []byte, g *stats.Generator) []byte {
	b = appendArray(b, 6)
	b = appendFloat(b, g.CPURatio)
	b = appendInt(appendInt(b, int64(g.CPUTime)), int64(g.GCPauseMax))
	b = appendHist(b, g.Late)
	return appendInt(appendInt(b, g.Seconds), g.SaturatedSeconds)
}
