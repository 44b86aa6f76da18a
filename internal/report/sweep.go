package report

import (
	"fmt"
	"io"
	"strings"
)

// SweepSchema names the format of the sweep document.
const SweepSchema = "zae-limiter/load-sweep/v1"

// Sweep is the capacity table: one run for each number of users.
type Sweep struct {
	Schema string     `json:"schema"`
	Rows   []SweepRow `json:"rows"`
}

// SweepRow is one run of a sweep.
type SweepRow struct {
	Users        *int               `json:"users"`
	RPS          *float64           `json:"rps"`
	CPURatio     *float64           `json:"cpu_ratio"`
	P50MS        *float64           `json:"p50_ms"`
	P95MS        *float64           `json:"p95_ms"`
	FailureRatio *float64           `json:"failure_ratio"`
	Verdict      Verdict            `json:"verdict"`
	RunID        string             `json:"run_id"`
	Thresholds   []ThresholdOutcome `json:"thresholds"`
}

// NewSweep collects the results of the runs in the order given.
func NewSweep(results ...*Result) *Sweep {
	s := &Sweep{Schema: SweepSchema, Rows: []SweepRow{}}
	for _, r := range results {
		s.Rows = append(s.Rows, SweepRow{
			Users: r.Run.Users, RPS: r.Totals.RPS, CPURatio: r.Generator.CPURatio,
			P50MS: r.Totals.P50MS, P95MS: r.Totals.P95MS, FailureRatio: r.Totals.FailureRatio,
			Verdict: r.Verdict, RunID: r.Run.ID, Thresholds: orEmpty(r.Thresholds),
		})
	}
	return s
}

// WriteJSON writes the sweep as one JSON object.
func (s *Sweep) WriteJSON(w io.Writer) error { return writeJSON(w, s) }

// WriteText prints the table, with the verdict of rows that are not valid behind them, and the
// thresholds of each row below.
func (s *Sweep) WriteText(w io.Writer) error {
	b := new(strings.Builder)
	b.WriteString("\nCapacity:\n")
	fmt.Fprintf(b, "  %7s %10s %7s %9s %9s\n", "Users", "RPS", "CPU %", "p50", "p95")
	for _, row := range s.Rows {
		users, cpu, note := dash, dash, ""
		if row.Users != nil {
			users = thousands(int64(*row.Users))
		}
		if row.CPURatio != nil {
			cpu = fmt.Sprintf("%.0f%%", 100**row.CPURatio)
		}
		if row.Verdict.State != Valid {
			note = "  " + row.Verdict.State + ": " + strings.Join(row.Verdict.Reasons, "; ")
		}
		fmt.Fprintf(b, "  %7s %10s %7s %9s %9s%s\n", users, decimal(row.RPS, 1), cpu, formatMS(row.P50MS), formatMS(row.P95MS), note)
	}
	for _, row := range s.Rows {
		for _, t := range row.Thresholds {
			fmt.Fprintf(b, "%s with %s users\n", t.text(), shown(row.Users))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}
