package cli

import (
	"testing"
	"time"
)

func TestParseRunTime(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"20": 20 * time.Second, "20s": 20 * time.Second, "3m": 180 * time.Second,
		"90m": 5400 * time.Second, "2h": 7200 * time.Second, "1h20m": 4800 * time.Second,
		"3h30m10s": 12610 * time.Second, "0": 0, "0s": 0, "007": 7 * time.Second,
		"1m30s": 90 * time.Second,
	} {
		got, err := parseRunTime(text)
		if err != nil || got != want {
			t.Errorf("parseRunTime(%q) = %v, %v; want %v", text, got, err, want)
		}
	}
	for _, text := range []string{
		"1m1h", "1.5h", "1d", "5 m", "10S", "1h ", "-5", "", "s", "99999999999999999999", "9999999999999999h",
	} {
		if got, err := parseRunTime(text); err == nil {
			t.Errorf("parseRunTime(%q) = %v, want an error", text, got)
		}
	}
}

func FuzzParseRunTime(f *testing.F) {
	for _, seed := range []string{"20", "1h20m", "3h30m10s", "1.5h", "-5", "9999999999999999h", ""} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if d, err := parseRunTime(text); err == nil && d < 0 {
			t.Errorf("parseRunTime(%q) = %v, a negative duration", text, d)
		}
	})
}

func TestSecondsFlag(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"2.5": 2500 * time.Millisecond, "1500ms": 1500 * time.Millisecond, "3": 3 * time.Second, "0": 0,
	} {
		var f secondsFlag
		if err := f.Set(text); err != nil || f.duration() != want {
			t.Errorf("Set(%q) = %v, %v; want %v", text, f.duration(), err, want)
		}
	}
	for _, text := range []string{"", "-1", "x", "NaN", "1e300"} {
		var f secondsFlag
		if err := f.Set(text); err == nil {
			t.Errorf("Set(%q) = %v, want an error", text, f.duration())
		}
	}
}
