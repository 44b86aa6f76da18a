package cli

import (
	"fmt"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// progressRows is how many entries the live table shows, so that it fits on a screen.
const progressRows = 15

// progressFrame is a snapshot for the terminal. planned is the length of the run, 0 when a shape
// decides about it.
func progressFrame(s *stats.Snapshot, planned time.Duration) term.Frame {
	elapsed := s.Elapsed().Round(time.Second)
	clock := elapsed.String()
	if planned > 0 {
		clock += " of " + planned.String()
	}
	rps, hist := currently(&s.Total, s.Elapsed())
	return term.Frame{
		Line: fmt.Sprintf("[%s] users=%d rps=%.1f failures=%d p50=%sms p95=%sms requests=%s",
			clock, s.Users, rps, s.Total.Failures,
			formatMS(hist.Quantile(0.50)), formatMS(hist.Quantile(0.95)), formatCount(s.Total.Requests)),
		Table: progressTable(s),
	}
}

func progressTable(s *stats.Snapshot) term.Table {
	t := term.Table{
		Columns:     []string{"Type", "Name", "# reqs", "# fails", "Avg", "Min", "Max", "p50", "p95", "req/s"},
		LeftColumns: 2,
	}
	for i := range s.Entries {
		if i == progressRows {
			t.Rows = append(t.Rows, []string{"", fmt.Sprintf("… %d more", len(s.Entries)-i)})
			break
		}
		t.Rows = append(t.Rows, progressRow(&s.Entries[i], s.Elapsed()))
	}
	total := progressRow(&s.Total, s.Elapsed())
	total[0], total[1] = "", "Aggregated"
	t.Rows = append(t.Rows, total)
	return t
}

func progressRow(e *stats.Entry, elapsed time.Duration) []string {
	rps, recent := currently(e, elapsed)
	return []string{
		e.Type, e.Name, formatCount(e.Requests),
		fmt.Sprintf("%d (%.2f%%)", e.Failures, 100*e.FailureRatio()),
		formatMS(e.Hist.Mean()), formatMS(e.Hist.Min()), formatMS(e.Hist.Max()),
		formatMS(recent.Quantile(0.50)), formatMS(recent.Quantile(0.95)),
		fmt.Sprintf("%.1f", rps),
	}
}

// currently returns the rate and the durations of the last seconds; in the first seconds, when there
// is no window yet, those of the whole run.
func currently(e *stats.Entry, elapsed time.Duration) (float64, *stats.Histogram) {
	if e.Current != nil && e.Current.RPS > 0 && e.Current.Hist != nil && e.Current.Hist.Count() > 0 {
		return e.Current.RPS, e.Current.Hist
	}
	hist := e.Hist
	if hist == nil {
		hist = &stats.Histogram{}
	}
	if elapsed <= 0 {
		return 0, hist
	}
	return float64(e.Requests) / elapsed.Seconds(), hist
}

// formatMS prints milliseconds: two decimals below 10, one below 100, otherwise whole.
func formatMS(d time.Duration) string {
	ms := float64(d) / float64(time.Millisecond)
	switch {
	case ms < 9.995:
		return strconv.FormatFloat(ms, 'f', 2, 64)
	case ms < 99.95:
		return strconv.FormatFloat(ms, 'f', 1, 64)
	}
	return strconv.FormatFloat(ms, 'f', 0, 64)
}

// formatCount prints a number with thousands separators.
func formatCount(n int64) string {
	digits := strconv.FormatInt(n, 10)
	start := 0
	if n < 0 {
		start = 1
	}
	for i := len(digits) - 3; i > start; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	return digits
}
