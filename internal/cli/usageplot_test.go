package cli

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
)

func usageAt(entity, window, start string, consumed limiter.Amounts) limiter.UsageSnapshot {
	at, err := time.Parse(time.RFC3339, start)
	if err != nil {
		panic(err)
	}
	return limiter.UsageSnapshot{EntityID: entity, Resource: "gpt-4", Window: window, WindowStart: at, Counters: consumed}
}

// Charts have time from left to right with the windows in which nothing was counted, one for each limit of each kind
// of window: the newest comes first in what is read.
func TestPlotOfUsage(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &resultWriter{w: &out}, stderr: term.NewStream(&out, func(string) string { return "" })}
	err := a.printUsage([]limiter.UsageSnapshot{
		usageAt("u", "daily", "2026-01-31T00:00:00Z", limiter.Amounts{"tpm": 60}),
		usageAt("u", "hourly", "2026-01-31T04:00:00Z", limiter.Amounts{"tpm": 40}),
		usageAt("u", "hourly", "2026-01-31T01:00:00Z", limiter.Amounts{"tpm": 20, "rpm": 1}),
	}, false, true)
	if err != nil {
		t.Fatal(err)
	}
	if want := `
tpm of u on gpt-4, hourly: 60 in 2 windows
40 │   █
   │   █
   │   █
   │   █
   │█  █
   │█  █
   │█  █
   │█  █
 0 └────
2026-01-31T01:00:00Z to 2026-01-31T04:00:00Z
`; !strings.Contains(out.String(), want) {
		t.Errorf("got\n%s\nwithout\n%s", out.String(), want)
	}
	var titles []string
	for line := range strings.Lines(out.String()) {
		if title, _, ok := strings.Cut(line, ":"); ok && strings.Contains(title, " of ") {
			titles = append(titles, title)
		}
	}
	if want := []string{"rpm of u on gpt-4, hourly", "tpm of u on gpt-4, hourly", "tpm of u on gpt-4, daily"}; !slices.Equal(titles, want) {
		t.Errorf("charts %q, want %q", titles, want)
	}
}

// A chart is never wider than a terminal, and its peaks stay.
func TestPlotOfMoreWindowsThanColumns(t *testing.T) {
	var found []limiter.UsageSnapshot
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for hour := range 200 {
		consumed := limiter.Amounts{"tpm": 1}
		if hour == 101 {
			consumed["tpm"] = 77
		}
		found = append(found, usageAt("u", "hourly", start.Add(time.Duration(hour)*time.Hour).Format(time.RFC3339), consumed))
	}
	u := usageSeriesOf(found)[0]
	values, windows := u.columns("tpm")
	if windows != 4 || len(values) != 50 || values[25] != 77 || values[0] != 1 {
		t.Errorf("%d windows in each of %d columns: %v", windows, len(values), values)
	}
	months := usageSeriesOf([]limiter.UsageSnapshot{
		usageAt("u", "monthly", "2026-02-01T00:00:00Z", limiter.Amounts{"tpm": 3}), usageAt("u", "monthly", "2025-12-01T00:00:00Z", limiter.Amounts{"tpm": 1}),
	})[0]
	if values, _ := months.columns("tpm"); !slices.Equal(values, []int64{1, 0, 3}) {
		t.Errorf("months: %v", values)
	}
}
