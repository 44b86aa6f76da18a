package loadtest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// classesOf reads "A3 B1 F=2": weights, and fixed counts after an equals sign.
func classesOf(t testing.TB, text string) []*UserClass {
	t.Helper()
	var classes []*UserClass
	for field := range strings.FieldsSeq(text) {
		c := &UserClass{Name: field[:1]}
		var err error
		if rest, fixed := strings.CutPrefix(field[1:], "="); fixed {
			_, err = fmt.Sscan(rest, &c.FixedCount)
		} else {
			_, err = fmt.Sscan(field[1:], &c.Weight)
		}
		if err != nil {
			t.Fatalf("class %q: %v", field, err)
		}
		classes = append(classes, c)
	}
	return classes
}

func weightsOf(classes []*UserClass) map[string]float64 {
	weights := map[string]float64{}
	for _, c := range classes {
		weights[c.Name] = c.Weight
	}
	return weights
}

func TestClassSequenceIsLocusts(t *testing.T) {
	for weights, want := range map[string]string{
		"A5 B1":       "AABAAAAABAAAAABAAAAABAAA",
		"A3 B1":       "ABAAABAAABAAABAA",
		"A1 B1":       "ABABABAB",
		"A2 B1":       "ABAABAABAABAABAABAABAABA",
		"A3 B2 C1":    "ABCABAABCABAABCABAABCABA",
		"A1 B2 C3":    "CBACBCCBACBCCBACBCCBACBC",
		"A4 B4 C1":    "ABABCABABABABCABABABABCA",
		"A10 B1":      "AAAABAAAAAAAAAAABAAAAAAAAAABAAAAA",
		"A1 B2 C3 D4": "DCBDACDBCDDCBDACDBCDDCBDACDBCDDCBDACDBCD",
		"A0.5 B0.25":  "ABAABAABAABAABAABA",
	} {
		sequence := newClassSequence(weightsOf(classesOf(t, weights)))
		var got strings.Builder
		for range len(want) {
			name, _ := sequence.pick()
			got.WriteString(name)
		}
		if got.String() != want {
			t.Errorf("%s: %s, want %s", weights, got.String(), want)
		}
	}
	sequence := newClassSequence(map[string]float64{"A": 100, "B": 1})
	for i := range 45 {
		if name, _ := sequence.pick(); (name == "B") != (i == 44) {
			t.Errorf("A100 B1: pick %d is %s", i, name)
		}
	}
}

// move is a command to the dispatcher and the steps it must lead to, each as text like
// "w1 A1B1 w2 A2".
type move struct {
	users   int
	rate    float64
	only    []string
	workers []string // a rebalance instead of a target
	steps   []string
}

func TestDispatcherFollowsTheWorkedExamples(t *testing.T) {
	tests := []struct {
		name    string
		classes string
		workers []string
		moves   []move
	}{
		{"three workers and classes", "A1 B1 C1", []string{"w1", "w2", "w3"}, []move{
			{users: 9, rate: 3, steps: []string{"w1 A1 w2 B1 w3 C1", "w1 A2 w2 B2 w3 C2", "w1 A3 w2 B3 w3 C3"}},
			{users: 3, rate: 2, steps: []string{"w1 A3 w2 B2 w3 C2", "w1 A2 w2 B2 w3 C1", "w1 A1 w2 B1 w3 C1"}},
			{users: 5, rate: 0.5, steps: []string{"w1 A2 w2 B1 w3 C1", "w1 A2 w2 B2 w3 C1"}},
		}},
		{"rate with decimals", "A5 B1", []string{"w1", "w2"}, []move{
			{users: 12, rate: 2.5, steps: []string{"w1 A1 w2 A1", "w1 A1B1 w2 A2", "w1 A2B1 w2 A3",
				"w1 A3B1 w2 A4", "w1 A3B2 w2 A5", "w1 A4B2 w2 A6"}},
		}},
		{"fixed count", "A3 B1 F=2", []string{"w1", "w2"}, []move{
			{users: 8, rate: 4, steps: []string{"w1 A1F1 w2 B1F1", "w1 A3F1 w2 A1B2F1"}},
			{users: 1, rate: 4, steps: []string{"w1 A1F1 w2 B1F1", "w1 F1 w2"}},
			{users: 4, rate: 4, steps: []string{"w1 A1F2 w2 A1"}},
		}},
		{"only fixed classes", "F=2 G=1", []string{"w1", "w2"}, []move{
			{users: 10, rate: 2, steps: []string{"w1 F1 w2 G1", "w1 F2 w2 G1"}},
		}},
		{"fixed classes are interleaved", "F=3 G=2", []string{"w1", "w2"}, []move{
			{users: 3, rate: 3, steps: []string{"w1 F2 w2 G1"}},
		}},
		{"down to nobody", "A2 B1", []string{"w1", "w2", "w3"}, []move{
			{users: 7, rate: 2, steps: []string{"w1 A1 w2 B1 w3", "w1 A2 w2 B1 w3 A1", "w1 A2 w2 B2 w3 A2", "w1 A3 w2 B2 w3 A2"}},
			{users: 0, rate: 3, steps: []string{"w1 A2 w2 B1 w3 A1", "w1 A1 w2 w3", "w1 w2 w3"}},
		}},
		{"workers come and go", "A3 B1", []string{"w1", "w2"}, []move{
			{users: 8, rate: 8, steps: []string{"w1 A4 w2 A2B2"}},
			{workers: []string{"w1", "w2", "w3"}, steps: []string{"w1 A3 w2 A2B1 w3 A1B1"}},
			{workers: []string{"w2", "w3"}, steps: []string{"w2 A4 w3 A2B2"}},
		}},
		{"classes are restricted", "A1 B1", []string{"w1", "w2"}, []move{
			{users: 4, rate: 4, steps: []string{"w1 A2 w2 B2"}},
			{users: 8, rate: 4, only: []string{"B"}, steps: []string{"w1 A2B2 w2 B4"}},
			{users: 2, rate: 4, only: []string{"A"}, steps: []string{"w1 A2 w2 B2", "w1 A1 w2 B1"}},
		}},
		{"the target is reached already", "A1", []string{"w1"}, []move{
			{users: 2, rate: 2, steps: []string{"w1 A2"}},
			{users: 2, rate: 2, steps: []string{"w1 A2"}},
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			d := NewDispatcher(classesOf(t, test.classes), test.workers)
			workers := test.workers
			for i, m := range test.moves {
				if m.workers != nil {
					workers = m.workers
					d.Rebalance(workers)
				} else {
					d.Target(m.users, m.rate, m.only)
				}
				var got []string
				for step, ok := d.Next(); ok; step, ok = d.Next() {
					got = append(got, textOf(step.Users, workers))
				}
				if diff := cmp.Diff(m.steps, got); diff != "" {
					t.Fatalf("move %d (-want +got):\n%s", i, diff)
				}
			}
		})
	}
}

func TestAWorkerThatJoinsInARampIsDealtAnExtraStep(t *testing.T) {
	d := NewDispatcher(classesOf(t, "A1"), []string{"w1", "w2"})
	d.Target(9, 3, nil)
	first, _ := d.Next()
	if got := textOf(first.Users, []string{"w1", "w2"}); got != "w1 A2 w2 A1" || first.Wait != time.Second {
		t.Fatalf("first step %q, wait %v", got, first.Wait)
	}
	workers := []string{"w1", "w2", "w3"}
	d.Rebalance(workers)
	var got []string
	for step, ok := d.Next(); ok; step, ok = d.Next() {
		got = append(got, fmt.Sprintf("%s (%v)", textOf(step.Users, workers), step.Wait))
	}
	want := []string{"w1 A1 w2 A1 w3 A1 (0s)", "w1 A2 w2 A2 w3 A2 (1s)", "w1 A3 w2 A3 w3 A3 (0s)"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestStepSizeAndInterval(t *testing.T) {
	for _, test := range []struct {
		rate float64
		n    int
		wait time.Duration
	}{
		{0.1, 1, 10 * time.Second},
		{0.5, 1, 2 * time.Second},
		{1, 1, time.Second},
		{1.5, 1, 666666666},
		{2.9, 2, 689655172},
		{10, 10, time.Second},
		{100.7, 100, 993048659},
	} {
		d := NewDispatcher(classesOf(t, "A1"), []string{"w"})
		d.Target(100000, test.rate, nil)
		step, _ := d.Next()
		if len(step.Start) != test.n || (step.Wait-test.wait).Abs() > time.Microsecond {
			t.Errorf("rate %v: %d users every %v, want %d every %v", test.rate, len(step.Start), step.Wait, test.n, test.wait)
		}
	}
}

func TestWorkersOfAHostTakeTurnsWithOthers(t *testing.T) {
	got := SortWorkers([]string{"hostB_aaa", "hostA_bbb", "hostA_aaa", "hostB_bbb", "hostC_zzz"})
	want := []string{"hostA_aaa", "hostB_aaa", "hostC_zzz", "hostA_bbb", "hostB_bbb"}
	if !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}

// A model that only applies Start and Stop must always agree with Users, and every ramp must end at
// its target (there is a weighted class).
func TestStepsAddUpToTheUsers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := []*UserClass{{Name: "A", Weight: 3}, {Name: "B", Weight: 1}, {Name: "F", FixedCount: 2}}
		workers := []string{"w1", "w2", "w3"}[:rapid.IntRange(1, 3).Draw(t, "workers")]
		d := NewDispatcher(classes, workers)
		model := map[Assignment]int{}
		apply := func() {
			for step, ok := d.Next(); ok; step, ok = d.Next() {
				for _, a := range step.Stop {
					model[a]--
				}
				for _, a := range step.Start {
					model[a]++
				}
				maps.DeleteFunc(model, func(_ Assignment, n int) bool { return n == 0 })
				got := map[Assignment]int{}
				for worker, users := range step.Users {
					for class, n := range users {
						got[Assignment{worker, class}] = n
					}
				}
				if !maps.Equal(got, model) {
					t.Fatalf("users %v, model %v", got, model)
				}
			}
		}
		for range rapid.IntRange(1, 8).Draw(t, "moves") {
			if rapid.Bool().Draw(t, "rebalance") {
				d.Rebalance([]string{"w1", "w2", "w3", "w4"}[:rapid.IntRange(1, 4).Draw(t, "count")])
				apply()
				continue
			}
			target := rapid.IntRange(0, 40).Draw(t, "target")
			d.Target(target, rapid.Float64Range(0.1, 20).Draw(t, "rate"), nil)
			apply()
			if d.Planned() != target {
				t.Fatalf("ramp ended at %d, want %d", d.Planned(), target)
			}
		}
	})
}

func textOf(users map[string]map[string]int, workers []string) string {
	var text []string
	for _, worker := range workers {
		var classes strings.Builder
		for _, class := range slices.Sorted(maps.Keys(users[worker])) {
			if n := users[worker][class]; n > 0 {
				fmt.Fprintf(&classes, "%s%d", class, n)
			}
		}
		text = append(text, strings.TrimSpace(worker+" "+classes.String()))
	}
	return strings.Join(text, " ")
}
