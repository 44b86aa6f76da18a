package wire

import (
	"slices"
	"sync"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// Reports that were recycled, in whose memory later ones are read. All that they hold is empty: lists
// keep their memory beyond their length.
var (
	statsPool  = sync.Pool{New: func() any { return new(Stats) }}
	reportPool = sync.Pool{New: func() any { return &Report{Delta: new(stats.Snapshot)} }}
	deltaPool  = sync.Pool{New: func() any { return new(stats.Snapshot) }}
	// Histograms of lateness have other buckets than those of durations: mixed, all of them would soon
	// have the buckets of both.
	histPool = sync.Pool{New: func() any { return new(stats.Histogram) }}
	latePool = sync.Pool{New: func() any { return new(stats.Histogram) }}
)

func takeStats() *Stats          { return statsPool.Get().(*Stats) }
func takeReport() *Report        { return reportPool.Get().(*Report) }
func takeDelta() *stats.Snapshot { return deltaPool.Get().(*stats.Snapshot) }
func takeHist() *stats.Histogram { return histPool.Get().(*stats.Histogram) }
func takeLate() *stats.Histogram { return latePool.Get().(*stats.Histogram) }

func give(pool *sync.Pool, h *stats.Histogram) {
	if h != nil {
		h.Reset()
		pool.Put(h)
	}
}

// keptRows and keptCounts bound the memory that is kept: longer reports are left to the collector.
const (
	keptRows   = 100
	keptCounts = 1000
)

// Recycle gives back the memory of a report that was decoded, and of its difference, for later ones.
// Neither may be used any more, but strings, UsersByClass and errors may be kept.
func (s *Stats) Recycle(delta *stats.Snapshot) {
	if report := s.Report; report != nil {
		giveSnapshot(report.Delta)
		if cap(report.Delta.Entries) <= keptRows {
			*report = Report{Delta: report.Delta}
			reportPool.Put(report)
		}
	} else if giveSnapshot(delta); cap(delta.Entries) <= keptRows {
		deltaPool.Put(delta)
	}
	if cap(s.Rows) > keptRows || s.Total.long() || slices.ContainsFunc(s.Rows, func(e Row) bool { return e.long() }) {
		return
	}
	*s = Stats{Rows: s.Rows[:0], Total: s.Total.emptied()}
	statsPool.Put(s)
}

func (e *Row) long() bool {
	return cap(e.Times)+cap(e.RequestsPerSecond)+cap(e.FailuresPerSecond) > keptCounts
}

// emptied returns an empty row with the memory of this one.
func (e *Row) emptied() Row {
	return Row{Times: e.Times[:0], RequestsPerSecond: e.RequestsPerSecond[:0], FailuresPerSecond: e.FailuresPerSecond[:0]}
}

// giveSnapshot empties a snapshot and gives back its histograms.
func giveSnapshot(s *stats.Snapshot) {
	for _, entries := range [][]stats.Entry{s.Entries, s.Setup} {
		for i := range entries {
			give(&histPool, entries[i].Hist)
		}
		clear(entries)
	}
	for i := range s.Series {
		give(&histPool, s.Series[i].Hist)
		give(&latePool, s.Series[i].Late)
	}
	clear(s.Series)
	give(&latePool, s.Generator.Late)
	*s = stats.Snapshot{Entries: s.Entries[:0], Setup: s.Setup[:0], Series: s.Series[:0]}
}
