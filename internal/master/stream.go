package master

import (
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// maxAhead bounds the reports of one worker that came while an earlier one is missing.
const maxAhead = 10_000

// stream is the sequence of reports of one process in one run: each number counts once.
type stream struct {
	// contiguous is the number up to which every report came, ahead those that came beyond it.
	contiguous uint64
	ahead      map[uint64]bool
	highest    uint64
	final      uint64 // the number of the last report, 0 = it is not known yet
	// samples is how many the worker had recorded at the highest report, counted how many of them came.
	samples, counted int64
}

// take takes note of a report; it reports false for one that came before.
func (s *stream) take(r *wire.Report) bool {
	n := r.Sequence
	if n <= s.contiguous || s.ahead[n] || len(s.ahead) >= maxAhead {
		return false
	}
	if s.ahead == nil {
		s.ahead = map[uint64]bool{}
	}
	s.ahead[n] = true
	for s.ahead[s.contiguous+1] {
		delete(s.ahead, s.contiguous+1)
		s.contiguous++
	}
	if n > s.highest {
		s.highest, s.samples = n, r.Samples
	}
	if r.Final {
		s.final = max(s.final, n)
	}
	for i := range r.Delta.Entries {
		s.counted += r.Delta.Entries[i].Requests
	}
	return true
}

// complete reports whether every report came, the final one included.
func (s *stream) complete() bool {
	return s.final > 0 && s.contiguous >= s.highest && s.final >= s.highest
}

// missing returns how many reports are known to exist and did not come, and how many samples were in
// them.
func (s *stream) missing() (reports, samples int64) {
	return int64(s.highest-s.contiguous) - int64(len(s.ahead)), max(s.samples-s.counted, 0)
}

// part is what a worker's process does in a run.
type part struct {
	id      string
	process string // "" for workers that are not of this program, or not known to be yet
	own     bool
	stream  stream
	at      time.Time // on the master's clock, until when the reports reach

	stoppedAt time.Time // when it said that its users have ended
	told      bool      // after that, one more report came
	left      bool      // it said goodbye
	lost      bool      // set at the end of the run
}

// finished reports whether everything that the worker had to tell has come. A worker of Locust
// reports every three seconds; what it did last is in the report after it stopped.
func (p *part) finished(now time.Time) bool {
	if p.own {
		return p.stream.complete()
	}
	return p.left || !p.stoppedAt.IsZero() && (p.told || now.Sub(p.stoppedAt) > locustLastReport)
}

// locustLastReport is how long the last report of a worker of Locust may take: others make none at all
// once they have stopped.
const locustLastReport = 4 * time.Second
