package target

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// TestTalliesMergeToWhatOneMeterWouldHave deals calls to several meters, as workers do, and to one.
func TestTalliesMergeToWhatOneMeterWouldHave(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		whole := newMeter(1)
		parts := []*Meter{newMeter(1), newMeter(1), newMeter(1)}
		for range rapid.IntRange(0, 40).Draw(t, "calls") {
			part := parts[rapid.IntRange(0, len(parts)-1).Draw(t, "worker")]
			operation := rapid.SampledFrom([]string{"UpdateItem", "BatchGetItem"}).Draw(t, "operation")
			took := time.Duration(rapid.Int64Range(1, int64(time.Second)).Draw(t, "took"))
			how := rapid.SampledFrom([]outcome{succeeded, throttled, failed}).Draw(t, "outcome")
			for _, m := range []*Meter{whole, part} {
				m.attempt(operation, took/2, took, how)
				u := found(m.current.Load(), m.current.Load().units, operation)
				u.answered.Add(1)
				u.sampled++
				u.writes += 2
			}
		}
		var sum Tally
		for _, m := range parts {
			data, err := json.Marshal(m.tally(true))
			if err != nil {
				t.Fatal(err)
			}
			one, err := DecodeTally(data)
			if err != nil {
				t.Fatal(err)
			}
			sum.Merge(one)
		}
		want := whole.tally(true)
		want.CPU, sum.CPU = -1, -1
		if diff := cmp.Diff(want.Readings(), sum.Readings()); diff != "" {
			t.Errorf("readings of all against one (-want +got):\n%s", diff)
		}
	})
}

func TestDamagedTalliesAreRefused(t *testing.T) {
	for _, text := range []string{"", "[]", `{"operations":{"x":{"durations":"AAAA"}}}`, `{"waits":7}`} {
		if _, err := DecodeTally([]byte(text)); err == nil {
			t.Errorf("%q was taken", text)
		}
	}
	if got, err := DecodeTally([]byte(`{"operations":{"x":null},"units":{"y":null}}`)); err != nil || len(got.Operations)+len(got.Units) != 0 {
		t.Errorf("null elements: %v %+v", err, got)
	}
}
