package report

import "fmt"

// The states of a verdict.
const (
	Valid   = "valid"
	Partial = "partial"
	Invalid = "invalid"
)

// Verdict says what the numbers are worth, and why.
type Verdict struct {
	State   string   `json:"state"`
	Reasons []string `json:"reasons"`
}

// CutShort marks the result of a run that was to deliver so many user seconds and ended early, for a
// reason: the coverage is that of the plan, and the verdict is partial unless it is invalid. Without
// planned seconds (0, when a shape decides) the coverage stays.
func (r *Result) CutShort(plannedUserSeconds float64, reason string) {
	c := &r.Coverage
	if plannedUserSeconds > 0 {
		c.PlannedUserSeconds = known(plannedUserSeconds)
		if c.DeliveredUserSeconds != nil {
			c.Ratio = known(*c.DeliveredUserSeconds / plannedUserSeconds)
		}
	}
	if r.Verdict.State == Valid {
		r.Verdict.State = Partial
	}
	if c.Ratio != nil && *c.Ratio < fullCoverage {
		reason = fmt.Sprintf("%s: %.1f%% of the planned user seconds were delivered", reason, 100**c.Ratio)
	}
	r.Verdict.Reasons = append(r.Verdict.Reasons, reason)
}

// Exit codes of every command that runs or judges a load test.
const (
	ExitDone        = 0
	ExitError       = 1   // AWS or run-time error, timeout, missing resource
	ExitUsage       = 2   // unknown option, invalid value
	ExitThreshold   = 3   // a threshold failed
	ExitCredentials = 4   // credentials missing or expired
	ExitVerdict     = 5   // the verdict is partial or invalid
	ExitInterrupted = 130 // interrupted, after clean-up
)

// exitPrecedence decides when several codes apply: what ended the command comes before what is
// wrong with its result.
var exitPrecedence = []int{ExitCredentials, ExitUsage, ExitError, ExitInterrupted, ExitVerdict, ExitThreshold}

// ExitCode is the one code for all that apply.
func ExitCode(codes ...int) int {
	for _, code := range exitPrecedence {
		for _, c := range codes {
			if c == code {
				return code
			}
		}
	}
	return ExitDone
}

// ExitCode is the code that the result by itself calls for: 0, 3 or 5.
func (r *Result) ExitCode() int {
	code := ExitDone
	if r.ThresholdsFailed() {
		code = ExitThreshold
	}
	if r.Verdict.State != Valid {
		code = ExitCode(code, ExitVerdict)
	}
	return code
}
