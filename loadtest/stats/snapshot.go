package stats

import (
	"maps"
	"slices"
	"time"
)

// Snapshot is everything that is known about a run at a moment. It is a copy: nobody changes it any
// more, and every report, progress display and message on the wire is a view of it.
type Snapshot struct {
	// At is when the snapshot was taken, Started when the clock of the run started.
	At, Started time.Time
	// Users is the number of users that run, UsersByClass per class, PeakUsers the most at any time.
	Users        int
	UsersByClass map[string]int
	PeakUsers    int
	PeakByClass  map[string]int
	// Total merges Entries, which are sorted by type and name.
	Total   Entry
	Entries []Entry
	// Setup has the calls of event listeners; they are in no other figure.
	Setup []Entry
	// Errors are the failed calls, TaskErrors the errors of tasks that are no failed call.
	Errors, TaskErrors []Error
	// Series has one element for every finished second of the run.
	Series    []Second
	Coverage  Coverage
	Generator Generator
	// Warnings say in words what happened to the run, such as users that had to be abandoned.
	Warnings []string
}

// Elapsed returns the time on the run's clock.
func (s *Snapshot) Elapsed() time.Duration { return s.At.Sub(s.Started) }

// Second is one second of a run.
type Second struct {
	// Index counts from 0.
	Index int64
	Users int
	// Requests and Failures ended in this second; Unreachable are the failures to reach the target.
	Requests, Failures, Unreachable int64
	// P50, P95 and P99 are of the calls that ended in this second; 0 when none did.
	P50, P95, P99 time.Duration
	// LateP99 is how late users with a wait time were woken, 0 when none was.
	LateP99 time.Duration
	// Hist and Late are what the percentiles are of, where they are kept for merging: the seconds of
	// a worker have them, those of a run in one process do not.
	Hist, Late *Histogram
	// Saturated is set when LateP99, of at least 20 wake-ups and not of a single one, exceeds 2 ms and
	// 20 % of P50: the generator was late, so that the figures of the second say more about it than
	// about the target.
	Saturated bool
}

// Coverage compares the users that the plan wanted with those that ran.
type Coverage struct {
	// PlannedUserSeconds leaves out users that ended themselves; DeliveredUserSeconds is at most that.
	PlannedUserSeconds, DeliveredUserSeconds float64
	// Gaps are the seconds in which less than 95 % of the plan ran.
	Gaps []Gap
	// CutShort is by how much the run ended before its time, which is planned nevertheless.
	CutShort time.Duration
	// LostWorkers, UnaccountedSamples and MissingReports are about runs over several workers.
	LostWorkers, UnaccountedSamples, MissingReports int64
}

// Gap is a second in which less ran than was planned.
type Gap struct {
	Index int64
	Ratio float64
}

// Ratio returns the share of the plan that ran, 1 for an empty plan.
func (c *Coverage) Ratio() float64 {
	if c.PlannedUserSeconds == 0 {
		return 1
	}
	return c.DeliveredUserSeconds / c.PlannedUserSeconds
}

// Generator says how well the load generator itself did.
type Generator struct {
	// CPURatio is the processor time used over the time of the cores that may be used; negative when
	// the system does not tell.
	CPURatio float64
	// CPUTime is the processor time used since the start of the run; negative when unknown.
	CPUTime time.Duration
	// GCPauseMax is the longest stop of the program by its garbage collector.
	GCPauseMax time.Duration
	// Late has how long after their time users with a wait time were woken.
	Late *Histogram
	// Seconds were judged, SaturatedSeconds of them had a late generator.
	Seconds, SaturatedSeconds int64
}

// SaturatedRatio returns the share of saturated seconds.
func (g *Generator) SaturatedRatio() float64 {
	if g.Seconds == 0 {
		return 0
	}
	return float64(g.SaturatedSeconds) / float64(g.Seconds)
}

// Merge combines snapshots of processes that ran side by side. Percentiles of single seconds are
// merged where the seconds have their histograms, and left out otherwise; everything else is as exact
// as in one process.
func Merge(snapshots ...*Snapshot) *Snapshot {
	merged := &Snapshot{
		UsersByClass: map[string]int{},
		PeakByClass:  map[string]int{},
		Total:        Entry{Hist: new(Histogram)},
		Generator:    Generator{Late: new(Histogram)},
	}
	entries, setup := entryTable{}, entryTable{}
	errors, tasks := errorTable{}, errorTable{}
	seconds := map[int64]*Second{}
	for _, s := range snapshots {
		merged.addRun(s)
		mergeEntries(entries, s.Entries)
		mergeEntries(setup, s.Setup)
		mergeErrors(errors, s.Errors)
		mergeErrors(tasks, s.TaskErrors)
		mergeSeries(seconds, s.Series)
		merged.Total.Merge(&s.Total)
		merged.Coverage.add(&s.Coverage)
		merged.Generator.add(&s.Generator)
	}
	merged.Entries, merged.Setup = entries.sorted(), setup.sorted()
	merged.Errors, merged.TaskErrors = errors.sorted(), tasks.sorted()
	for _, index := range slices.Sorted(maps.Keys(seconds)) {
		merged.Series = append(merged.Series, *seconds[index])
	}
	merged.Generator.CPURatio /= float64(max(len(snapshots), 1))
	return merged
}

// Then combines what was measured in one run with what other processes measured of it later: the seconds
// between are seconds without users, which the coverage has as gaps.
func (s *Snapshot) Then(later *Snapshot) *Snapshot {
	offset := int64(later.Started.Sub(s.Started) / time.Second)
	shifted := *later
	shifted.Series = slices.Clone(later.Series)
	for i := range shifted.Series {
		shifted.Series[i].Index += offset
	}
	shifted.Coverage.Gaps = slices.Clone(later.Coverage.Gaps)
	for i := range shifted.Coverage.Gaps {
		shifted.Coverage.Gaps[i].Index += offset
	}
	between := &Snapshot{Started: s.Started, Total: Entry{Hist: new(Histogram)}}
	next := int64(0)
	if n := len(s.Series); n > 0 {
		next = s.Series[n-1].Index + 1
	}
	for ; next < offset; next++ {
		between.Series = append(between.Series, Second{Index: next})
		between.Coverage.Gaps = append(between.Coverage.Gaps, Gap{Index: next})
	}
	merged := Merge(s, between, &shifted)
	merged.Users, merged.UsersByClass = later.Users, later.UsersByClass
	merged.PeakUsers = max(s.PeakUsers, later.PeakUsers)
	for class := range merged.PeakByClass {
		merged.PeakByClass[class] = max(s.PeakByClass[class], later.PeakByClass[class])
	}
	merged.Generator.CPURatio = -1
	if first, second := s.Elapsed().Seconds(), later.Elapsed().Seconds(); s.Generator.CPURatio >= 0 && later.Generator.CPURatio >= 0 && first+second > 0 {
		merged.Generator.CPURatio = (first*s.Generator.CPURatio + second*later.Generator.CPURatio) / (first + second)
	}
	if s.Generator.CPUTime < 0 || later.Generator.CPUTime < 0 {
		merged.Generator.CPUTime = -1
	}
	return merged
}

func (s *Snapshot) addRun(other *Snapshot) {
	if s.Started.IsZero() || other.Started.Before(s.Started) {
		s.Started = other.Started
	}
	if other.At.After(s.At) {
		s.At = other.At
	}
	s.Users += other.Users
	s.PeakUsers += other.PeakUsers
	for class, n := range other.UsersByClass {
		s.UsersByClass[class] += n
	}
	for class, n := range other.PeakByClass {
		s.PeakByClass[class] += n
	}
	s.Warnings = append(s.Warnings, other.Warnings...)
}

func mergeEntries(into entryTable, entries []Entry) {
	for i := range entries {
		into.at(entries[i].Key).Merge(&entries[i])
	}
}

func mergeErrors(into errorTable, errors []Error) {
	for i := range errors {
		into.merge(&errors[i])
	}
}

func mergeSeries(into map[int64]*Second, series []Second) {
	for _, second := range series {
		found, ok := into[second.Index]
		if !ok {
			found = &Second{Index: second.Index}
			into[second.Index] = found
		}
		found.Users += second.Users
		found.Requests += second.Requests
		found.Failures += second.Failures
		found.Unreachable += second.Unreachable
		found.LateP99 = max(found.LateP99, second.LateP99)
		found.Saturated = found.Saturated || second.Saturated
		found.mergeHistograms(&second)
	}
}

func (s *Second) mergeHistograms(other *Second) {
	if other.Hist != nil {
		if s.Hist == nil {
			s.Hist = new(Histogram)
		}
		s.Hist.Merge(other.Hist)
		s.P50, s.P95, s.P99 = s.Hist.Quantile(0.50), s.Hist.Quantile(0.95), s.Hist.Quantile(0.99)
	}
	if other.Late != nil {
		if s.Late == nil {
			s.Late = new(Histogram)
		}
		s.Late.Merge(other.Late)
	}
}

func (c *Coverage) add(other *Coverage) {
	c.PlannedUserSeconds += other.PlannedUserSeconds
	c.DeliveredUserSeconds += other.DeliveredUserSeconds
	c.Gaps = append(c.Gaps, other.Gaps...)
	c.CutShort = max(c.CutShort, other.CutShort)
	c.LostWorkers += other.LostWorkers
	c.UnaccountedSamples += other.UnaccountedSamples
	c.MissingReports += other.MissingReports
}

func (g *Generator) add(other *Generator) {
	g.CPURatio += other.CPURatio
	g.CPUTime += other.CPUTime
	g.GCPauseMax = max(g.GCPauseMax, other.GCPauseMax)
	if other.Late != nil {
		g.Late.Merge(other.Late)
	}
	g.Seconds += other.Seconds
	g.SaturatedSeconds += other.SaturatedSeconds
}
