package master

import (
	"testing"
	"time"
)

func TestTheSecondThatEndsWithTheRunIsNoGap(t *testing.T) {
	t.Parallel()
	began := time.Unix(1700000000, 0)
	for _, test := range []struct {
		name       string
		run, drain time.Duration
		gaps       []int64
	}{
		{"just after its end", 3*time.Second + 5*time.Millisecond, 0, []int64{1}},
		{"in the middle of the next one", 3*time.Second + 500*time.Millisecond, 0, []int64{1, 2}},
		// What is not planned any more after the end takes nothing from the plan before it.
		{"workers report after it", 3*time.Second + 500*time.Millisecond, 3 * time.Second, []int64{1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			a := account{started: began, last: began, assigned: 4}
			a.advance(began.Add(test.run))
			a.over, a.ended = true, began.Add(test.run)
			a.advance(a.ended.Add(test.drain))
			var got []int64
			for _, gap := range a.gaps([]int{4, 2, 2}, 0, int64(len(a.atEnd))) {
				got = append(got, gap.Index)
			}
			if len(got) != len(test.gaps) || got[0] != test.gaps[0] || got[len(got)-1] != test.gaps[len(test.gaps)-1] {
				t.Errorf("gaps in seconds %v, want %v", got, test.gaps)
			}
		})
	}
}
