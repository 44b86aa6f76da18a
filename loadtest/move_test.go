package loadtest

import (
	"fmt"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

// However workers come and go, nobody is lost, all have equally many, and no more users are moved than
// that takes.
func TestMovesAreFewAndLeaveWorkersEven(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		classes := []*UserClass{{Name: "A", Weight: 3}, {Name: "B"}, {Name: "F", FixedCount: 2}}
		ids := make([]string, 8)
		for i := range ids {
			ids[i] = fmt.Sprintf("h_%d", i)
		}
		pick := func(label string) []string {
			n := rapid.IntRange(1, len(ids)).Draw(t, label)
			return SortWorkers(rapid.Permutation(ids).Draw(t, label+" ids")[:n])
		}
		d := NewDispatcher(classes, pick("first"))
		d.Target(rapid.IntRange(0, 40).Draw(t, "users"), 1000, nil)
		step, _ := d.Next()
		for range rapid.IntRange(1, 4).Draw(t, "changes") {
			before := step.Users
			byClass := perClass(before)
			workers := pick("workers")
			d.Move(workers)
			step, _ = d.Next()
			if got := perClass(step.Users); fmt.Sprint(got) != fmt.Sprint(byClass) {
				t.Fatalf("users by class were %v and are %v", byClass, got)
			}
			low, high, needed := 1<<30, 0, 0
			total := d.Planned()
			for _, id := range workers {
				n := usersOf(step.Users[id])
				low, high = min(low, n), max(high, n)
			}
			if high-low > 1 {
				t.Fatalf("between %d and %d users on a worker: %v", low, high, step.Users)
			}
			needed = minimalMoves(before, workers, total)
			if len(step.Start) != needed || len(step.Stop) != needed {
				t.Fatalf("%d started and %d stopped, %d would do: %v to %v", len(step.Start), len(step.Stop), needed, before, step.Users)
			}
		}
		// The ramp goes on where there is most room.
		d.Target(d.Planned()+1, 1, nil)
		next, _ := d.Next()
		low, high := 1<<30, 0
		for _, users := range next.Users {
			low, high = min(low, usersOf(users)), max(high, usersOf(users))
		}
		if high-low > 1 {
			t.Fatalf("after one more user: %v", next.Users)
		}
	})
}

func perClass(users map[string]map[string]int) map[string]int {
	sum := map[string]int{}
	for _, classes := range users {
		for class, n := range classes {
			sum[class] += n
		}
	}
	return sum
}

func usersOf(classes map[string]int) int {
	n := 0
	for _, count := range classes {
		n += count
	}
	return n
}

// minimalMoves is how many users have to change their worker so that all have equally many.
func minimalMoves(before map[string]map[string]int, workers []string, total int) int {
	var counts []int
	gone := 0
	for id, classes := range before {
		if !slices.Contains(workers, id) {
			gone += usersOf(classes)
		}
	}
	for _, id := range workers {
		counts = append(counts, usersOf(before[id]))
	}
	slices.SortFunc(counts, func(a, b int) int { return b - a })
	surplus := 0
	for i, n := range counts {
		quota := total / len(workers)
		if i < total%len(workers) {
			quota++
		}
		surplus += max(n-quota, 0)
	}
	return gone + surplus
}
