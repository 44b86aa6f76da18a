package stats

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// What a worker reports in pieces adds up to what it measured, whenever the reports were made.
func TestDifferencesAddUpToTheWhole(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		started := time.Unix(1_700_000_000, 0)
		c := NewCollector(2, started, 0)
		c.KeepHistograms(1000)
		now := started
		var earlier *Snapshot
		var pieces []*Snapshot
		report := func(final bool) {
			s := c.Snapshot(now, final)
			pieces = append(pieces, s.Since(earlier))
			earlier = s
		}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			now = now.Add(time.Duration(rapid.Int64Range(0, int64(2*time.Second)).Draw(t, "pause")))
			switch rapid.IntRange(0, 5).Draw(t, "step") {
			case 0:
				report(false)
			case 1:
				c.Tick(now)
			case 2:
				c.Users(now, rapid.IntRange(0, 9).Draw(t, "planned"), map[string]int{"A": rapid.IntRange(0, 9).Draw(t, "running")})
			default:
				c.Recorder(rapid.IntRange(0, 1).Draw(t, "recorder")).Record(&Sample{
					Type:     rapid.SampledFrom([]string{"GET", "PUT"}).Draw(t, "type"),
					Name:     "/a",
					Start:    now,
					Duration: time.Duration(rapid.Int64Range(0, int64(time.Minute)).Draw(t, "duration")),
					Err:      rapid.SampledFrom([]string{"", "", "boom"}).Draw(t, "error"),
					Untimed:  rapid.IntRange(0, 9).Draw(t, "untimed") == 0,
				})
			}
		}
		report(true)
		got, want := Merge(pieces...), Merge(earlier)
		options := cmp.Options{
			cmp.AllowUnexported(Histogram{}),
			cmpopts.EquateApprox(0, 1e-6),
			cmpopts.IgnoreFields(Snapshot{}, "Users", "UsersByClass", "PeakUsers", "PeakByClass"),
			cmpopts.IgnoreFields(Entry{}, "Current"),
			cmpopts.IgnoreFields(Generator{}, "CPURatio", "CPUTime", "GCPauseMax"),
			cmpopts.EquateEmpty(),
		}
		if diff := cmp.Diff(want, got, options); diff != "" {
			t.Errorf("merged differences (-want +got):\n%s", diff)
		}
	})
}

func TestTheSameDurationManyTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := time.Duration(rapid.Int64Range(-10, int64(2*time.Hour)).Draw(t, "duration"))
		n := rapid.Int64Range(-1, 50).Draw(t, "n")
		var one, many Histogram
		one.Record(time.Second)
		many.Record(time.Second)
		for range n {
			one.Record(d)
		}
		many.RecordN(d, n)
		if diff := cmp.Diff(one, many, cmp.AllowUnexported(Histogram{})); diff != "" {
			t.Errorf("(-one by one +at once):\n%s", diff)
		}
	})
}

func TestACountTooLargeForTheSumIsBounded(t *testing.T) {
	var h Histogram
	h.RecordN(time.Hour, 1<<62)
	h.RecordN(time.Hour, 1<<62)
	if h.Sum() <= 0 || h.Quantile(0.5) <= 0 {
		t.Errorf("sum %d, median %v", h.Sum(), h.Quantile(0.5))
	}
	h.Correct(3*time.Second, time.Millisecond, 2*time.Second)
	if h.Sum() != 3*time.Second || h.Min() != time.Millisecond || h.Max() != 2*time.Second {
		t.Errorf("corrected to %v, %v, %v", h.Sum(), h.Min(), h.Max())
	}
}
