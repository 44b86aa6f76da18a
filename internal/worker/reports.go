package worker

import (
	"context"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
)

// maxUnconfirmed bounds the reports that are kept for a master that does not confirm them. Those that
// are dropped beyond it are missing in the result, which says so.
const maxUnconfirmed = 3600

// resendAfter is how long a report may be unconfirmed before it is sent once more.
const resendAfter = 5 * time.Second

// reports numbers the reports of a run and keeps them until the master has them. It is safe for
// concurrent use.
type reports struct {
	mu       sync.Mutex
	sequence uint64
	pending  []pendingReport
	ended    bool          // the final report is among the pending or confirmed ones
	done     chan struct{} // closed when ended and nothing is pending; nil while nobody waits
}

type pendingReport struct {
	stats  *wire.Stats
	sentAt time.Time
}

// add numbers a report and keeps it.
func (r *reports) add(s *wire.Stats, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sequence++
	s.Report.Sequence = r.sequence
	r.pending = append(r.pending, pendingReport{s, now})
	if len(r.pending) > maxUnconfirmed {
		r.pending = r.pending[1:]
	}
	r.ended = s.Report.Final
}

// acknowledge forgets the reports up to a number.
func (r *reports) acknowledge(sequence uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for len(r.pending) > 0 && r.pending[0].stats.Report.Sequence <= sequence {
		r.pending[0].stats = nil
		r.pending = r.pending[1:]
	}
	r.settle()
}

func (r *reports) settle() {
	if r.done != nil && r.ended && len(r.pending) == 0 {
		close(r.done)
		r.done = nil
	}
}

// confirmed returns a channel that is closed when the master has every report.
func (r *reports) confirmed() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done == nil {
		r.done = make(chan struct{})
	}
	done := r.done
	r.settle()
	return done
}

func (r *reports) waiting() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.pending)
}

// stale returns the reports that were sent for the last time before a moment; they count as sent now.
func (r *reports) stale(before, now time.Time) []*wire.Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	var stale []*wire.Stats
	for i := range r.pending {
		if p := &r.pending[i]; !p.sentAt.After(before) {
			stale = append(stale, p.stats)
			p.sentAt = now
		}
	}
	return stale
}

// report tells the master what users did, regularly from the first ack on, and what is logged.
func (w *Worker) report(ctx context.Context) {
	select {
	case <-w.joined:
	case <-ctx.Done():
		return
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	logs := time.NewTicker(logsEvery)
	defer logs.Stop()
	lines := 0
	for {
		select {
		case <-timer.C:
			timer.Reset(w.reportNow())
		case <-w.again:
			if r := w.unconfirmed(); r != nil {
				w.resend(r)
			}
		case <-logs.C:
			lines = w.shipLogs(lines)
		case <-ctx.Done():
			return
		}
	}
}

// reportNow makes one report and returns the time until the next one.
func (w *Worker) reportNow() time.Duration {
	w.mu.Lock()
	master, s, r := w.master, w.session, w.reports
	w.mu.Unlock()
	if master == nil {
		w.reportToLocust()
		return locustReports
	}
	if s != nil && s.own {
		s.report(false)
	}
	if r != nil {
		now := time.Now()
		w.sendReports(r.stale(now.Add(-resendAfter), now))
	}
	return master.ReportEvery
}

// resend sends everything that the master has not confirmed: what was on the way when a connection
// broke may not have arrived.
func (w *Worker) resend(r *reports) {
	now := time.Now()
	w.sendReports(r.stale(now, now))
}

func (w *Worker) sendReports(list []*wire.Stats) {
	for _, s := range list {
		if err := w.Send(wire.TypeStats, s); err != nil {
			// It is kept and sent again.
			w.log.Debug("a report waits", "error", err)
			return
		}
	}
}

// reportToLocust sends what happened since the last time in Locust's terms. What cannot be sent now
// stays counted.
func (w *Worker) reportToLocust() {
	if !w.connected.Load() {
		return
	}
	stats := w.tally.Take(time.Now())
	s := w.current()
	stats.UsersByClass, stats.Users = w.counts(s)
	w.send(wire.TypeStats, stats)
	if s != nil {
		s.sendExceptions()
	}
}

// counts returns how many users of each class run, those of none included.
func (w *Worker) counts(s *session) (byClass map[string]int, total int) {
	byClass = map[string]int{}
	for _, name := range w.config.ClassNames {
		byClass[name] = 0
	}
	if s == nil {
		return byClass, 0
	}
	for name, n := range s.running() {
		byClass[name] = n
		total += n
	}
	return byClass, total
}

// shipLogs sends all lines that are kept when there are new ones, and returns how many there are.
func (w *Worker) shipLogs(before int) int {
	if w.config.Logs == nil {
		return 0
	}
	lines := w.config.Logs()
	if len(lines) != before {
		w.send(wire.TypeLogs, wire.Logs{WorkerID: w.config.ID, Lines: lines})
	}
	return len(lines)
}
