package master

import (
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// openSeconds is how long the histograms of a second are kept unpacked: reports still come.
	openSeconds = 15
	// aheadSeconds is how far ahead of the master's clock the seconds of a worker may be.
	aheadSeconds = 10
	// saturation, as in a run on one process: see [stats.Second].
	judgedWakeUps = 20
)

// series has the seconds of a run. The percentiles of each are those of all calls that ended in it, so
// its histograms are kept, packed once reports no longer come.
type series struct {
	seconds []mergedSecond
	packed  int64 // seconds below this have no open histograms
	now     int64 // the second that the master's clock is in
}

type mergedSecond struct {
	stats.Second
	counted    int // users of workers that do not say how many they had
	hist, late []byte
	merged     bool // since its percentiles were taken
}

// add merges a second of a worker; base is the second of the run that is the first of the series.
func (s *series) add(base int64, second *stats.Second) {
	index := second.Index - base
	if index < 0 || index > s.now+aheadSeconds {
		return
	}
	merged := s.at(index)
	merged.Users += second.Users
	merged.Requests += second.Requests
	merged.Failures += second.Failures
	merged.Unreachable += second.Unreachable
	if second.Hist == nil && second.Late == nil {
		return
	}
	merged.unpack()
	mergeHist(&merged.Hist, second.Hist)
	mergeHist(&merged.Late, second.Late)
	merged.merged = true
	if index < s.packed {
		merged.pack()
	}
}

func mergeHist(into **stats.Histogram, h *stats.Histogram) {
	if h == nil || h.Count() == 0 {
		return
	}
	if *into == nil {
		*into = new(stats.Histogram)
	}
	(*into).Merge(h)
}

func (s *series) at(index int64) *mergedSecond {
	for int64(len(s.seconds)) <= index {
		s.seconds = append(s.seconds, mergedSecond{Second: stats.Second{Index: int64(len(s.seconds))}})
	}
	return &s.seconds[index]
}

func (s *mergedSecond) unpack() {
	s.Hist, s.hist = unpackHist(s.Hist, s.hist), nil
	s.Late, s.late = unpackHist(s.Late, s.late), nil
}

func unpackHist(open *stats.Histogram, packed []byte) *stats.Histogram {
	if packed == nil {
		return open
	}
	h := new(stats.Histogram)
	_ = h.UnmarshalBinary(packed) // it was packed here
	return h
}

func (s *mergedSecond) pack() {
	s.summarize()
	s.hist, s.Hist = packHist(s.Hist, s.hist), nil
	s.late, s.Late = packHist(s.Late, s.late), nil
}

func packHist(h *stats.Histogram, packed []byte) []byte {
	if h == nil {
		return packed
	}
	packed, _ = h.AppendBinary(nil) // it has no way to fail
	return slices.Clip(packed)
}

// summarize takes the percentiles from the histograms, if there is anything new in them.
func (s *mergedSecond) summarize() {
	if !s.merged {
		return
	}
	s.merged = false
	if s.Hist != nil {
		s.P50, s.P95, s.P99 = s.Hist.Quantile(0.50), s.Hist.Quantile(0.95), s.Hist.Quantile(0.99)
	}
	if s.Late != nil {
		s.LateP99 = s.Late.Quantile(0.99)
		s.Saturated = s.Late.Count() >= judgedWakeUps && s.LateP99 > max(2*time.Millisecond, s.P50/5)
	}
}

// tick packs the seconds that are over for long.
func (s *series) tick(now int64) {
	s.now = now
	for ; s.packed < min(now-openSeconds, int64(len(s.seconds))); s.packed++ {
		s.seconds[s.packed].pack()
	}
}

// copy returns the seconds without their histograms.
func (s *series) copy() []stats.Second {
	copied := make([]stats.Second, len(s.seconds))
	for i := range s.seconds {
		s.seconds[i].summarize()
		copied[i] = s.seconds[i].Second
		copied[i].Hist, copied[i].Late = nil, nil
		copied[i].Users += s.seconds[i].counted
	}
	return copied
}
