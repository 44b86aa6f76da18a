package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// saturatedShare is the share of seconds with a late generator above which a run is invalid.
	saturatedShare = 0.05
	// fullCoverage is the share of planned user seconds below which a run is partial.
	fullCoverage = 0.95
	// busyCPU is the use of the cores from which on it is worth a word.
	busyCPU = 0.9
)

// Row types that the totals and the capacity figures look at.
const (
	typeAcquire     = "ACQUIRE"
	typeRateLimited = "RATE_LIMITED"
)

// Meta is what the statistics do not know about a run. Fields of Run, Consumed and Generator that
// the snapshot knows better are overwritten.
type Meta struct {
	Run        Run
	Target     Target
	Consumed   Consumed
	Operations []Operation
	// PoolWaitP99MS is how long calls waited for a connection; nil when not known.
	PoolWaitP99MS *float64
	// Prices asks for the cost; nil leaves it out.
	Prices *PriceList
	// Aborted says why the run ended before its time without being asked to; it makes the verdict
	// partial at least. "" for every other end.
	Aborted string
	// WorkersBySecond is how many workers could run users in each second of the series; nil = as many
	// as Run.Workers in all of them.
	WorkersBySecond []int
	AWS             json.RawMessage
}

// distribution is what percentiles of merged entries are computed from.
type distribution struct {
	requests, failures, rateLimited int64
	hist                            *stats.Histogram
}

// Build makes the document. Leave Meta.Run.EndedAt nil for a run that goes on.
func Build(s *stats.Snapshot, meta Meta) *Result {
	r := &Result{
		Schema:     Schema,
		Run:        meta.Run,
		Target:     meta.Target,
		Consumed:   meta.Consumed,
		Operations: slices.Clone(meta.Operations),
		AWS:        meta.AWS,
	}
	r.fillRun(s)
	r.fillEntries(s)
	r.Errors = errorEntries(s)
	r.Series = seriesOf(s, r.Run.Workers, meta.WorkersBySecond)
	if depth, n := roundTrips(s); n > 0 {
		r.Consumed.RoundTripsPerAcquire = known(float64(depth) / float64(n))
	}
	r.Generator = generatorOf(&s.Generator)
	r.Generator.PoolWaitP99 = meta.PoolWaitP99MS
	r.Coverage = coverageOf(&s.Coverage)
	sort.Slice(r.Operations, func(i, j int) bool { return r.Operations[i].Operation < r.Operations[j].Operation })
	if meta.Prices != nil {
		r.Cost = r.costAt(meta.Prices)
	}
	r.Verdict = r.judge(s, meta.Aborted)
	r.normalise()
	return r
}

func (r *Result) fillRun(s *stats.Snapshot) {
	if r.Run.StartedAt == nil {
		r.Run.StartedAt = At(s.Started)
	}
	r.Run.DurationSeconds = known(s.Elapsed().Seconds())
	r.Run.ActiveSeconds = nil
	if active := s.Total.Active(); active > 0 {
		r.Run.ActiveSeconds = known(active.Seconds())
	}
	if r.Run.UserClasses == nil {
		for name, users := range s.PeakByClass {
			if users == 0 {
				continue // a class that a worker knows and the run does not have
			}
			r.Run.UserClasses = append(r.Run.UserClasses, UserClass{Name: name, Users: users})
		}
		sort.Slice(r.Run.UserClasses, func(i, j int) bool { return r.Run.UserClasses[i].Name < r.Run.UserClasses[j].Name })
	}
}

func (r *Result) fillEntries(s *stats.Snapshot) {
	r.Totals = distributionOf(&s.Total).figures(r.Run.ActiveSeconds)
	r.Entries = make([]Entry, 0, len(s.Entries))
	for i := range s.Entries {
		e := &s.Entries[i]
		d := distributionOf(e)
		r.dists = append(r.dists, d)
		r.Entries = append(r.Entries, Entry{Type: e.Type, Name: e.Name, Figures: d.figures(r.Run.ActiveSeconds)})
	}
	r.Setup = make([]Entry, 0, len(s.Setup))
	for i := range s.Setup {
		// Listeners run outside of the active time: a rate of theirs would mean nothing.
		e := &s.Setup[i]
		r.Setup = append(r.Setup, Entry{Type: e.Type, Name: e.Name, Figures: distributionOf(e).figures(nil)})
	}
}

func distributionOf(e *stats.Entry) distribution {
	d := distribution{requests: e.Requests, failures: e.Failures, rateLimited: e.RateLimited, hist: e.Hist}
	if d.hist == nil {
		d.hist = new(stats.Histogram)
	}
	return d
}

func (d distribution) figures(activeSeconds *float64) Figures {
	f := Figures{Requests: d.requests, Failures: d.failures, RateLimited: d.rateLimited}
	if d.requests > 0 {
		f.FailureRatio = known(float64(d.failures) / float64(d.requests))
	}
	if activeSeconds != nil {
		f.RPS = known(float64(d.requests) / *activeSeconds)
	}
	if n := d.hist.Count(); n > 0 {
		f.AvgMS = known(milliseconds(d.hist.Sum()) / float64(n))
		f.MinMS, f.MaxMS = known(milliseconds(d.hist.Min())), known(milliseconds(d.hist.Max()))
		f.P50MS, f.P90MS = d.quantile(0.50), d.quantile(0.90)
		f.P95MS, f.P99MS = d.quantile(0.95), d.quantile(0.99)
		f.P999MS = d.quantile(0.999)
	}
	return f
}

func (d distribution) quantile(q float64) *float64 { return known(milliseconds(d.hist.Quantile(q))) }

// merged returns the figures of all entries that the filter selects. ok is false when none does, or
// when several do and the document has no distributions to merge.
func (r *Result) merged(filter *Filter) (f Figures, ok bool) {
	sum := distribution{hist: new(stats.Histogram)}
	matching := 0
	for i := range r.Entries {
		if !filter.matches(&r.Entries[i]) {
			continue
		}
		matching++
		f = r.Entries[i].Figures
		if i < len(r.dists) {
			d := r.dists[i]
			sum.requests += d.requests
			sum.failures += d.failures
			sum.rateLimited += d.rateLimited
			sum.hist.Merge(d.hist)
		}
	}
	if matching <= 1 {
		return f, matching == 1
	}
	return sum.figures(r.Run.ActiveSeconds), r.dists != nil
}

func errorEntries(s *stats.Snapshot) []ErrorEntry {
	list := make([]ErrorEntry, 0, len(s.Errors)+len(s.TaskErrors))
	add := func(errors []stats.Error, typ func(*stats.Error) string) {
		for i := range errors {
			e := &errors[i]
			list = append(list, ErrorEntry{
				Type: typ(e), Name: e.Name, Error: e.Text, Occurrences: e.Occurrences,
				FirstAt: At(e.First), LastAt: At(e.Last), Traceback: e.Traceback,
			})
		}
	}
	add(s.Errors, func(e *stats.Error) string { return e.Type })
	add(s.TaskErrors, func(*stats.Error) string { return ErrorTypeTask })
	sort.SliceStable(list, func(i, j int) bool {
		a, b := &list[i], &list[j]
		return cmp.Or(cmp.Compare(a.Type, b.Type), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Error, b.Error)) < 0
	})
	return list
}

func seriesOf(s *stats.Snapshot, workers *int, bySecond []int) []Second {
	n := 1
	if workers != nil {
		n = *workers
	}
	series := make([]Second, 0, len(s.Series))
	for _, second := range s.Series {
		if i := int(second.Index); i < len(bySecond) {
			n = bySecond[i]
		}
		series = append(series, Second{
			TSeconds:          float64(second.Index),
			Users:             second.Users,
			RPS:               float64(second.Requests),
			FailuresPerSecond: float64(second.Failures),
			P50MS:             percentileOf(second.P50),
			P95MS:             percentileOf(second.P95),
			P99MS:             percentileOf(second.P99),
			Workers:           n,
		})
	}
	return series
}

// percentileOf is nil for 0, which stands for a second in which no timed call ended.
func percentileOf(d time.Duration) *float64 {
	if d == 0 {
		return nil
	}
	return known(milliseconds(d))
}

func roundTrips(s *stats.Snapshot) (depth, n int64) {
	for i := range s.Entries {
		if e := &s.Entries[i]; e.Type == typeAcquire || e.Type == typeRateLimited {
			depth += e.Depth
			n += e.DepthCount
		}
	}
	return depth, n
}

func generatorOf(g *stats.Generator) Generator {
	var out Generator
	if g.CPURatio >= 0 {
		out.CPURatio = known(g.CPURatio)
	}
	if g.CPURatio >= 0 || g.GCPauseMax > 0 { // else no generator of this program told anything
		out.GCPauseMaxMS = known(milliseconds(g.GCPauseMax))
	}
	if g.Late != nil && g.Late.Count() > 0 {
		out.LateP99MS = known(milliseconds(g.Late.Quantile(0.99)))
	}
	return out
}

func coverageOf(c *stats.Coverage) Coverage {
	out := Coverage{
		PlannedUserSeconds:   known(c.PlannedUserSeconds),
		DeliveredUserSeconds: known(c.DeliveredUserSeconds),
		LostWorkers:          c.LostWorkers,
		UnaccountedSamples:   c.UnaccountedSamples,
		MissingReports:       c.MissingReports,
	}
	if c.PlannedUserSeconds > 0 {
		out.Ratio = known(c.DeliveredUserSeconds / c.PlannedUserSeconds)
	}
	for _, gap := range c.Gaps {
		out.Gaps = append(out.Gaps, CoverageGap{TSeconds: float64(gap.Index), Ratio: gap.Ratio})
	}
	return out
}

// shortfall says where the user seconds that are missing were, as far as that is known.
func (r *Result) shortfall(cutShort time.Duration) string {
	c := &r.Coverage
	missing := *c.PlannedUserSeconds - *c.DeliveredUserSeconds
	early := ""
	if cutShort > 0 {
		early = fmt.Sprintf(": the run ended %.1f s before its time", cutShort.Seconds())
	}
	switch {
	case len(c.Gaps) > 0:
		return fmt.Sprintf("%s: too few users ran in %d of the seconds, first in second %.0f", early, len(c.Gaps), c.Gaps[0].TSeconds)
	case early != "":
		return early
	case r.Run.Users != nil && *r.Run.Users > 0:
		return fmt.Sprintf(": %.2f s of each user, in no whole second (users count from when their worker reports them, and a longer run makes up for that)",
			missing/float64(*r.Run.Users))
	}
	return ""
}

// judge says what the numbers are worth.
func (r *Result) judge(s *stats.Snapshot, aborted string) Verdict {
	v := Verdict{State: Valid}
	because := func(state, format string, args ...any) {
		if state == Invalid || v.State == Valid {
			v.State = state
		}
		v.Reasons = append(v.Reasons, fmt.Sprintf(format, args...))
	}
	if n := r.Coverage.UnaccountedSamples; n > 0 {
		because(Invalid, "%s samples are unaccounted for", thousands(n))
	}
	switch {
	case r.Totals.Requests > 0 && r.Totals.Failures >= r.Totals.Requests:
		because(Invalid, "no request succeeded")
	case r.Totals.Requests == 0 && len(s.TaskErrors) > 0:
		// Errors of tasks by themselves do not spoil a run; that there is nothing to read off it is said.
		because(Valid, "no request was made: the tasks failed before")
	case r.Totals.Requests == 0:
		because(Invalid, "no request was made")
	}
	if share := s.Generator.SaturatedRatio(); share > saturatedShare {
		because(Invalid, "the load generator was late in %.0f%% of the seconds: its own delay is in the numbers", 100*share)
	}
	if c := r.Coverage.Ratio; c != nil && *c < fullCoverage {
		because(Partial, "only %.1f%% of the planned user seconds were delivered%s", 100**c, r.shortfall(s.Coverage.CutShort))
	}
	if aborted != "" {
		because(Partial, "%s", aborted)
	}
	if cpu := r.Generator.CPURatio; cpu != nil && *cpu >= busyCPU {
		because(v.State, "the load generator used %.0f%% of its cores: response times include waiting for a processor", 100**cpu)
	}
	v.Reasons = append(v.Reasons, s.Warnings...)
	return v
}
