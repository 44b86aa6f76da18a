package report

import (
	"slices"
	"strings"
)

// field is a number of the document that a threshold or a comparison may name.
type field struct {
	name  string
	value func(*Result) *float64
}

// fieldGroup is an object of the document with numbers in it.
type fieldGroup struct {
	name   string
	fields []field
}

// groups are the objects that thresholds reach, with totals first: its fields need no prefix.
var groups = []fieldGroup{
	{"totals", figureFields()},
	{"consumed", []field{
		{"read_units", func(r *Result) *float64 { return r.Consumed.ReadUnits }},
		{"write_units", func(r *Result) *float64 { return r.Consumed.WriteUnits }},
		{"index_write_units", func(r *Result) *float64 { return r.Consumed.IndexWriteUnits }},
		{"throttled", func(r *Result) *float64 { return float(r.Consumed.Throttled) }},
		{"sdk_retries", func(r *Result) *float64 { return float(r.Consumed.SDKRetries) }},
		{"round_trips_per_acquire", func(r *Result) *float64 { return r.Consumed.RoundTripsPerAcquire }},
		{"sampled_ratio", func(r *Result) *float64 { return r.Consumed.SampledRatio }},
	}},
	{"generator", []field{
		{"cpu_ratio", func(r *Result) *float64 { return r.Generator.CPURatio }},
		{"gc_pause_max_ms", func(r *Result) *float64 { return r.Generator.GCPauseMaxMS }},
		{"late_p99_ms", func(r *Result) *float64 { return r.Generator.LateP99MS }},
		{"pool_wait_p99_ms", func(r *Result) *float64 { return r.Generator.PoolWaitP99 }},
	}},
	{"coverage", []field{
		{"planned_user_seconds", func(r *Result) *float64 { return r.Coverage.PlannedUserSeconds }},
		{"delivered_user_seconds", func(r *Result) *float64 { return r.Coverage.DeliveredUserSeconds }},
		{"ratio", func(r *Result) *float64 { return r.Coverage.Ratio }},
		{"lost_workers", func(r *Result) *float64 { return float(&r.Coverage.LostWorkers) }},
		{"unaccounted_samples", func(r *Result) *float64 { return float(&r.Coverage.UnaccountedSamples) }},
		{"missing_reports", func(r *Result) *float64 { return float(&r.Coverage.MissingReports) }},
	}},
	{"cost", []field{
		{"estimate_usd", costField(func(c *Cost) *float64 { return c.EstimateUSD })},
		{"per_million_admitted_usd", costField(func(c *Cost) *float64 { return c.PerMillionAdmittedUSD })},
		{"per_million_refused_usd", costField(func(c *Cost) *float64 { return c.PerMillionRefusedUSD })},
	}},
}

// figures are the numbers of totals and entries by their names in the document.
var figures = []struct {
	name  string
	value func(*Figures) *float64
}{
	{"requests", func(f *Figures) *float64 { return float(&f.Requests) }},
	{"failures", func(f *Figures) *float64 { return float(&f.Failures) }},
	{"failure_ratio", func(f *Figures) *float64 { return f.FailureRatio }},
	{"rate_limited", func(f *Figures) *float64 { return float(&f.RateLimited) }},
	{"rps", func(f *Figures) *float64 { return f.RPS }},
	{"avg_ms", func(f *Figures) *float64 { return f.AvgMS }},
	{"min_ms", func(f *Figures) *float64 { return f.MinMS }},
	{"max_ms", func(f *Figures) *float64 { return f.MaxMS }},
	{"p50_ms", func(f *Figures) *float64 { return f.P50MS }},
	{"p90_ms", func(f *Figures) *float64 { return f.P90MS }},
	{"p95_ms", func(f *Figures) *float64 { return f.P95MS }},
	{"p99_ms", func(f *Figures) *float64 { return f.P99MS }},
	{"p99_9_ms", func(f *Figures) *float64 { return f.P999MS }},
}

func figureFields() []field {
	list := make([]field, len(figures))
	for i, figure := range figures {
		list[i] = field{figure.name, func(r *Result) *float64 { return figure.value(&r.Totals) }}
	}
	return list
}

func costField(value func(*Cost) *float64) func(*Result) *float64 {
	return func(r *Result) *float64 {
		if r.Cost == nil {
			return nil
		}
		return value(r.Cost)
	}
}

func float(n *int64) *float64 {
	if n == nil {
		return nil
	}
	return new(float64(*n))
}

// findField resolves "p95_ms" and "consumed.throttled". problem says what is wrong with the path.
func findField(path string) (group string, f field, problem string) {
	groupName, name, qualified := strings.Cut(path, ".")
	if !qualified {
		groupName, name = groups[0].name, path
	}
	g := slices.IndexFunc(groups, func(g fieldGroup) bool { return g.name == groupName })
	if g < 0 {
		return "", field{}, "unknown group \"" + groupName + "\", want one of " + names(groups, func(g fieldGroup) string { return g.name })
	}
	i := slices.IndexFunc(groups[g].fields, func(f field) bool { return f.name == name })
	if i < 0 {
		return "", field{}, "unknown field \"" + name + "\", " + groupName + " has " +
			names(groups[g].fields, func(f field) string { return f.name })
	}
	return groupName, groups[g].fields[i], ""
}

func names[T any](list []T, name func(T) string) string {
	all := make([]string, len(list))
	for i, x := range list {
		all[i] = name(x)
	}
	return strings.Join(all, ", ")
}
