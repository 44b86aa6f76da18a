package report

import (
	"fmt"
	"io"
	"slices"
	"sort"
	"strconv"
	"strings"
)

// dash stands for a value that is not known.
const dash = "-"

// WriteText prints the results block: eight lines that are always there, in a fixed order, and
// below them those that have something to say.
func (r *Result) WriteText(w io.Writer) error {
	b := new(strings.Builder)
	line := func(label, value string) { fmt.Fprintf(b, "  %-13s %s\n", label+":", value) }
	t := &r.Totals

	b.WriteString("\nResults:\n")
	line("Requests", thousands(t.Requests))
	line("RPS", decimal(t.RPS, 1))
	line("Failures", countAndShare(t.Failures, t.Requests))
	line("Avg", formatMS(t.AvgMS))
	line("Min / Max", formatMS(t.MinMS)+" / "+formatMS(t.MaxMS))
	line("p50", formatMS(t.P50MS))
	line("p95", formatMS(t.P95MS))
	line("p99", formatMS(t.P99MS))
	if t.RateLimited > 0 {
		line("Rate limited", countAndShare(t.RateLimited, t.Requests))
	}
	if t.P999MS != nil {
		line("p99.9", formatMS(t.P999MS))
	}
	if capacity := r.capacityText(); capacity != "" {
		line("Capacity", capacity)
	}
	if r.Verdict.State != Valid || len(r.Verdict.Reasons) > 0 {
		line("Verdict", r.verdictText())
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func (r *Result) verdictText() string {
	if len(r.Verdict.Reasons) == 0 {
		return r.Verdict.State
	}
	return r.Verdict.State + " — " + strings.Join(r.Verdict.Reasons, "; ")
}

// errorRows is how many kinds of errors WriteErrors prints.
const errorRows = 10

// WriteErrors prints the most frequent kinds of errors, and nothing when there were none.
func (r *Result) WriteErrors(w io.Writer) error {
	if len(r.Errors) == 0 {
		return nil
	}
	most := slices.Clone(r.Errors)
	sort.SliceStable(most, func(i, j int) bool { return most[j].Occurrences < most[i].Occurrences })
	b := new(strings.Builder)
	b.WriteString("\nErrors:\n")
	for _, e := range most[:min(len(most), errorRows)] {
		text := strings.Join(strings.Fields(e.Type+" "+e.Name+": "+e.Error), " ")
		fmt.Fprintf(b, "  %9s  %s\n", thousands(e.Occurrences), text)
	}
	if more := len(most) - errorRows; more > 0 {
		fmt.Fprintf(b, "  … %d more kinds\n", more)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// capacityText says what an acquire consumed, and what a million of them cost.
func (r *Result) capacityText() string {
	var parts []string
	acquires := r.admitted() + r.Totals.RateLimited
	if reads, writes, ok := r.units(); ok && acquires > 0 {
		text := fmt.Sprintf("%.2f write + %.2f read units per acquire", writes/float64(acquires), reads/float64(acquires))
		if s := r.Consumed.SampledRatio; s != nil && *s < 1 {
			text += fmt.Sprintf(" (scaled from %.2g%% of the calls)", 100**s)
		}
		parts = append(parts, text)
	}
	if c := r.Cost; c != nil && c.PerMillionAdmittedUSD != nil {
		text := fmt.Sprintf("$%.3f per million admitted", *c.PerMillionAdmittedUSD)
		if c.PerMillionRefusedUSD != nil {
			text += fmt.Sprintf(", $%.3f per million refused", *c.PerMillionRefusedUSD)
		}
		parts = append(parts, fmt.Sprintf("%s (prices of %s, %s)", text, c.PriceList.Date, c.PriceList.Region))
	}
	if r.Consumed.Throttled != nil && *r.Consumed.Throttled > 0 {
		parts = append(parts, thousands(*r.Consumed.Throttled)+" throttled")
	}
	if r.Consumed.SDKRetries != nil && *r.Consumed.SDKRetries > 0 {
		parts = append(parts, thousands(*r.Consumed.SDKRetries)+" SDK retries")
	}
	return strings.Join(parts, "; ")
}

// formatMS prints milliseconds: below 10 with two decimals, below 100 with one, otherwise whole.
func formatMS(ms *float64) string {
	if ms == nil {
		return dash
	}
	digits := 0
	switch {
	case *ms < 10:
		digits = 2
	case *ms < 100:
		digits = 1
	}
	return strconv.FormatFloat(*ms, 'f', digits, 64) + "ms"
}

// FormatMS prints milliseconds as the results block does; nil is a dash.
func FormatMS(ms *float64) string { return formatMS(ms) }

func decimal(x *float64, digits int) string {
	if x == nil {
		return dash
	}
	return strconv.FormatFloat(*x, 'f', digits, 64)
}

func countAndShare(n, of int64) string {
	share := 0.0
	if of > 0 {
		share = 100 * float64(n) / float64(of)
	}
	return fmt.Sprintf("%s (%.1f%%)", thousands(n), share)
}

// thousands prints n with a comma between groups of three digits.
func thousands(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	for at := len(digits) - 3; at > 0; at -= 3 {
		digits = digits[:at] + "," + digits[at:]
	}
	return sign + digits
}
