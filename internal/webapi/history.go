package webapi

import (
	"context"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	historyInterval = 5 * time.Second
	// maxHistory is how many samples are kept. When there are more, every second one goes and the
	// interval doubles, so that a long run keeps its whole course in bounded memory.
	maxHistory = 1000
)

// point is a figure at a time, as the charts want it.
type point [2]any

// historySample is the state of a run at a moment.
type historySample struct {
	Time            string `json:"time"`
	CurrentRPS      point  `json:"current_rps"`
	CurrentFailures point  `json:"current_fail_per_sec"`
	Average         point  `json:"total_avg_response_time"`
	Users           point  `json:"user_count"`
	P50             point  `json:"response_time_percentile_0.5"`
	P95             point  `json:"response_time_percentile_0.95"`
}

// history is the course of the current or last run, which charts begin with.
type history struct {
	mu      sync.Mutex
	started time.Time // of the run
	samples []historySample
	// every n-th of the offered samples is taken; 0 before the first run.
	every, offered int
}

// sampleHistory takes a sample now and then until ctx ends.
func (s *Server) sampleHistory(ctx context.Context) {
	ticker := time.NewTicker(historyInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case now := <-ticker.C:
			status := s.controller.Status()
			if snapshot := s.controller.Snapshot(); snapshot != nil && status.State != StateReady && status.State != StateStopped {
				s.history.add(now, status.Users(), snapshot)
			}
		}
	}
}

func (h *history) add(now time.Time, users int, s *stats.Snapshot) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.every == 0 || !h.started.Equal(s.Started) {
		h.reset()
		h.started = s.Started
	}
	h.offered++
	if h.offered%h.every != 0 {
		return
	}
	h.samples = append(h.samples, newHistorySample(now, users, &s.Total))
	if len(h.samples) > maxHistory {
		for i := range maxHistory / 2 {
			h.samples[i] = h.samples[2*i+1]
		}
		h.samples = h.samples[:maxHistory/2]
		h.every *= 2
	}
}

func newHistorySample(now time.Time, users int, total *stats.Entry) historySample {
	at := now.UTC().Format("2006-01-02T15:04:05Z")
	sample := historySample{
		Time:            at,
		CurrentRPS:      point{at, 0.0},
		CurrentFailures: point{at, 0.0},
		Average:         point{at, 0.0},
		Users:           point{at, users},
		P50:             point{at, 0.0},
		P95:             point{at, 0.0},
	}
	if total.Hist != nil {
		sample.Average[1] = exactMS(total.Hist.Mean())
	}
	if current := total.Current; current != nil {
		sample.CurrentRPS[1], sample.CurrentFailures[1] = current.RPS, current.FailuresPerSecond
		if current.Hist != nil {
			sample.P50[1], sample.P95[1] = exactMS(current.Hist.Quantile(0.5)), exactMS(current.Hist.Quantile(0.95))
		}
	}
	return sample
}

func (h *history) clear() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.reset()
}

func (h *history) reset() {
	h.samples, h.every, h.offered = nil, 1, 0
}

// list returns what there is of a run that started then.
func (h *history) list(started time.Time) []historySample {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.started.Equal(started) {
		return []historySample{}
	}
	return append([]historySample{}, h.samples...)
}
