package stats

import (
	"encoding/json"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

func TestTotalsAreTheSumOfTheEntries(t *testing.T) {
	c := NewCollector(2, time.Now(), 0)
	var wg sync.WaitGroup
	for core := range 2 {
		wg.Go(func() {
			for i := range 1000 {
				s := Sample{Type: "ACQUIRE", Name: "api", Start: time.Now(), Duration: time.Millisecond, Depth: 1}
				switch {
				case i%10 == 0:
					s.Err = "Throttled"
				case i%10 == 1:
					s.Type, s.RateLimited = "RATE_LIMITED", true
				}
				c.Recorder(core).Record(&s)
			}
		})
	}
	wg.Wait()
	s := c.Snapshot(time.Now(), true)
	var requests, failures, limited int64
	for _, e := range s.Entries {
		requests += e.Requests
		failures += e.Failures
		limited += e.RateLimited
	}
	if s.Total.Requests != 2000 || s.Total.Failures != 200 || s.Total.RateLimited != 200 {
		t.Errorf("totals %d/%d/%d, want 2000/200/200", s.Total.Requests, s.Total.Failures, s.Total.RateLimited)
	}
	if requests != s.Total.Requests || failures != s.Total.Failures || limited != s.Total.RateLimited {
		t.Errorf("entries sum up to %d/%d/%d", requests, failures, limited)
	}
	if len(s.Errors) != 1 || s.Errors[0].Occurrences != 200 {
		t.Errorf("errors %+v", s.Errors)
	}
	if s.Total.Depth != 2000 || s.Total.DepthCount != 2000 {
		t.Errorf("depth %d over %d", s.Total.Depth, s.Total.DepthCount)
	}
}

func TestSeriesHasEverySecondOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(2, time.Now(), 0)
		for i := range 50 { // 5 s, ten samples a second
			c.Recorder(i % 2).Record(&Sample{Type: "T", Name: "n", Start: time.Now(), Duration: 10 * time.Millisecond})
			time.Sleep(100 * time.Millisecond)
			if i%10 == 9 {
				c.Tick(time.Now())
			}
		}
		s := c.Snapshot(time.Now(), true)
		if len(s.Series) != 5 {
			t.Fatalf("%d seconds, want 5: %+v", len(s.Series), s.Series)
		}
		for i, second := range s.Series {
			if second.Index != int64(i) || second.Requests != 10 {
				t.Errorf("second %d: %+v", i, second)
			}
		}
		if s.Total.Current == nil || s.Total.Current.RPS != 10 {
			t.Errorf("current rate %+v, want 10/s", s.Total.Current)
		}
	})
}

func TestWarmupIsInTheSeriesOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(1, time.Now(), 2*time.Second)
		for range 4 {
			c.Recorder(0).Record(&Sample{Type: "T", Name: "n", Start: time.Now(), Duration: time.Millisecond, Err: "x"})
			time.Sleep(time.Second)
		}
		s := c.Snapshot(time.Now(), true)
		if s.Total.Requests != 2 || len(s.Errors) != 1 || s.Errors[0].Occurrences != 2 {
			t.Errorf("totals %d, errors %+v, want 2 of each", s.Total.Requests, s.Errors)
		}
		sum := int64(0)
		for _, second := range s.Series {
			sum += second.Requests
		}
		if sum != 4 {
			t.Errorf("the series has %d requests, want 4", sum)
		}
	})
}

func TestCoverageComparesPlanAndDelivery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(1, time.Now(), 0)
		c.Users(time.Now(), 10, map[string]int{"A": 10})
		time.Sleep(2 * time.Second)
		c.Users(time.Now(), 10, map[string]int{"A": 5})
		time.Sleep(2 * time.Second)
		s := c.Snapshot(time.Now(), true)
		if s.Coverage.PlannedUserSeconds != 40 || s.Coverage.DeliveredUserSeconds != 30 {
			t.Errorf("planned %v delivered %v, want 40 and 30", s.Coverage.PlannedUserSeconds, s.Coverage.DeliveredUserSeconds)
		}
		if s.PeakUsers != 10 || s.Users != 5 {
			t.Errorf("peak %d users %d", s.PeakUsers, s.Users)
		}
	})
}

func TestALateGeneratorSaturatesTheSecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(1, time.Now(), 0)
		record := func(took, late time.Duration, more ...time.Duration) {
			c.Recorder(0).Record(&Sample{Type: "T", Name: "n", Start: time.Now(), Duration: took})
			for range judgedWakeUps {
				c.Recorder(0).Late(late)
			}
			for _, late := range more {
				c.Recorder(0).Late(late)
			}
			time.Sleep(time.Second)
		}
		record(10*time.Millisecond, 1900*time.Microsecond) // below 2 ms
		record(10*time.Millisecond, 3*time.Millisecond)    // above both
		record(50*time.Millisecond, 9*time.Millisecond)    // below 20 % of p50
		record(10*time.Millisecond, time.Millisecond, 9*time.Millisecond)
		record(10*time.Millisecond, time.Millisecond, 9*time.Millisecond, 9*time.Millisecond)
		s := c.Snapshot(time.Now(), true)
		want := []bool{false, true, false, false, true} // one that is late alone says nothing
		for i, second := range s.Series {
			if second.Saturated != want[i] {
				t.Errorf("second %d saturated = %v, want %v (%+v)", i, second.Saturated, want[i], second)
			}
		}
		if s.Generator.SaturatedSeconds != 2 || s.Generator.Seconds != 5 {
			t.Errorf("saturated %d of %d", s.Generator.SaturatedSeconds, s.Generator.Seconds)
		}
	})
}

func TestUnreachableNeedsEveryRequestOfEverySecond(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := NewCollector(1, time.Now(), 0)
		second := func(s Sample) {
			s.Type, s.Name, s.Start = "T", "n", time.Now()
			c.Recorder(0).Record(&s)
			time.Sleep(time.Second)
			c.Tick(time.Now())
		}
		second(Sample{})
		for range 12 {
			second(Sample{Err: "refused", Unreachable: true})
		}
		if !c.Unreachable(10) {
			t.Error("ten seconds of nothing but connection errors were not seen")
		}
		for range 3 {
			second(Sample{})
		}
		if c.Unreachable(10) {
			t.Error("a target that answers is called unreachable")
		}
	})
}

func TestDistinctNamesAreBounded(t *testing.T) {
	c := NewCollector(1, time.Now(), 0)
	for i := range MaxEntries + 100 {
		name := string(rune('a'+i%26)) + time.Duration(i).String()
		c.Recorder(0).Record(&Sample{Type: "T", Name: name, Start: time.Now()})
	}
	s := c.Snapshot(time.Now(), true)
	if len(s.Entries) > MaxEntries+1 || s.Total.Requests != MaxEntries+100 {
		t.Errorf("%d entries, %d requests", len(s.Entries), s.Total.Requests)
	}
}

func TestSetupIsAGroupOfItsOwn(t *testing.T) {
	c := NewCollector(1, time.Now(), 0)
	c.Setup().Record(&Sample{Type: "SET_SYSTEM_DEFAULTS", Name: "system", Start: time.Now()})
	s := c.Snapshot(time.Now(), true)
	if len(s.Setup) != 1 || len(s.Entries) != 0 || s.Total.Requests != 0 {
		t.Errorf("setup %v entries %v", s.Setup, s.Entries)
	}
}

func TestMergedSnapshotsAddUp(t *testing.T) {
	make1 := func(n int) *Snapshot {
		c := NewCollector(1, time.Now(), 0)
		for range n {
			c.Recorder(0).Record(&Sample{Type: "T", Name: "n", Start: time.Now(), Duration: time.Duration(n) * time.Millisecond})
		}
		c.Users(time.Now(), n, map[string]int{"A": n})
		return c.Snapshot(time.Now(), true)
	}
	merged := Merge(make1(3), make1(4))
	if merged.Total.Requests != 7 || merged.Users != 7 || merged.Entries[0].Hist.Max() != 4*time.Millisecond {
		t.Errorf("requests %d users %d", merged.Total.Requests, merged.Users)
	}
}

func BenchmarkRecord(b *testing.B) {
	c := NewCollector(1, time.Now(), 0)
	r := c.Recorder(0)
	s := Sample{Type: "ACQUIRE", Name: "api", Start: time.Now(), Duration: 3 * time.Millisecond, Depth: 1}
	r.Record(&s)
	b.ReportAllocs()
	for b.Loop() {
		r.Record(&s)
	}
}

// A run that went on elsewhere is one run: its percentiles are those of all calls, and the seconds without
// users are in series and coverage.
func TestARunThatWentOnElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		part := func(took time.Duration, calls int) *Snapshot {
			c := NewCollector(1, time.Now(), 0)
			r := c.Recorder(0)
			c.Users(time.Now(), 2, map[string]int{"A": 2})
			for range 3 {
				for range calls {
					r.Record(&Sample{Type: "ACQUIRE", Name: "api", Start: time.Now(), Duration: took, Err: "no"})
				}
				time.Sleep(time.Second)
				c.Tick(time.Now())
			}
			s := c.Snapshot(time.Now(), true)
			s.Generator.CPURatio = float64(calls)
			return s
		}
		first := part(10*time.Millisecond, 1) // 3 of 12 calls
		time.Sleep(2 * time.Second)
		second := part(30*time.Millisecond, 3)
		for name, whole := range map[string]*Snapshot{"as measured": first.Then(second), "after JSON": throughJSON(t, first).Then(throughJSON(t, second))} {
			if whole.Total.Requests != 12 || whole.Total.Hist.Quantile(0.25).Round(time.Millisecond) != 10*time.Millisecond || whole.Total.Hist.Quantile(0.26).Round(time.Millisecond) != 30*time.Millisecond {
				t.Errorf("%s: %d calls, quartile %v", name, whole.Total.Requests, whole.Total.Hist.Quantile(0.25))
			}
			if !whole.Started.Equal(begun) || whole.Elapsed() != 8*time.Second || whole.PeakUsers != 2 || whole.PeakByClass["A"] != 2 {
				t.Errorf("%s: began %v, took %v, %d users", name, whole.Started, whole.Elapsed(), whole.PeakUsers)
			}
			var requests []int64
			for i, second := range whole.Series {
				if second.Index != int64(i) {
					t.Errorf("%s: second %d is at %d", name, second.Index, i)
				}
				requests = append(requests, second.Requests)
			}
			if !slices.Equal(requests, []int64{1, 1, 1, 0, 0, 3, 3, 3}) {
				t.Errorf("%s: requests by second %v", name, requests)
			}
			if gaps := whole.Coverage.Gaps; len(gaps) != 2 || gaps[0] != (Gap{Index: 3}) || gaps[1] != (Gap{Index: 4}) || whole.Coverage.DeliveredUserSeconds != 12 {
				t.Errorf("%s: coverage %+v", name, whole.Coverage)
			}
			if len(whole.Errors) != 1 || whole.Errors[0].Occurrences != 12 || whole.Generator.CPURatio != 2 {
				t.Errorf("%s: errors %+v, CPU %v", name, whole.Errors, whole.Generator.CPURatio)
			}
		}
	})
}

func throughJSON(t *testing.T, s *Snapshot) *Snapshot {
	t.Helper()
	data, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	back := new(Snapshot)
	if err := json.Unmarshal(data, back); err != nil {
		t.Fatal(err)
	}
	return back
}
