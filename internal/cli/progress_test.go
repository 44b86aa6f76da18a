package cli

import (
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

func TestFormatCount(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567", -1000: "-1,000", -100: "-100"} {
		if got := formatCount(n); got != want {
			t.Errorf("formatCount(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestFormatMS(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0.00", 1234 * time.Microsecond: "1.23", 9994 * time.Microsecond: "9.99",
		9996 * time.Microsecond: "10.0", 12345 * time.Microsecond: "12.3",
		99960 * time.Microsecond: "100", 1234 * time.Millisecond: "1234",
	} {
		if got := formatMS(d); got != want {
			t.Errorf("formatMS(%v) = %s, want %s", d, got, want)
		}
	}
}

func TestProgressFrame(t *testing.T) {
	start := time.Now()
	c := stats.NewCollector(1, start, 0)
	for i := range 100 {
		c.Recorder(0).Record(&stats.Sample{
			Type: "ACQUIRE", Name: "api", Start: start.Add(time.Duration(i) * 10 * time.Millisecond), Duration: 2 * time.Millisecond,
		})
	}
	c.Users(start, 3, map[string]int{"U": 3})
	s := c.Snapshot(start.Add(time.Second), false)
	frame := progressFrame(s, 10*time.Second)
	for _, want := range []string{"[1s of 10s]", "users=3", "failures=0", "requests=100", "p50=2.0"} {
		if !strings.Contains(frame.Line, want) {
			t.Errorf("line %q lacks %q", frame.Line, want)
		}
	}
	if n := len(frame.Table.Rows); n != 2 || frame.Table.Rows[1][1] != "Aggregated" {
		t.Errorf("table has %d rows: %v; want the entry and the total", n, frame.Table.Rows)
	}
}
