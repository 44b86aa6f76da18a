package loadtest

import (
	"cmp"
	"maps"
	"slices"
)

// Move gives the users of workers that are gone to the others, and evens out what runs where, with as
// few users stopped and started as that takes; the result is the next step, without a wait. Unlike
// after Rebalance, which is Locust's way, users whose worker keeps them go on.
func (d *Dispatcher) Move(workers []string) {
	if len(workers) == 0 {
		d.Rebalance(workers)
		return
	}
	before := slices.Clone(d.stack)
	d.workers = slices.Clone(workers)
	m := newMover(d.workers, before)
	for _, i := range m.leaving() {
		d.stack[i].Worker = m.place(d.stack[i].Class)
	}
	d.nextTurn = m.least()
	step := Step{Users: d.users()}
	step.Stop, step.Start = difference(before, d.stack), difference(d.stack, before)
	d.pending = append(d.pending, step)
}

// mover knows how many users each worker has and should have.
type mover struct {
	workers  []string
	quota    map[string]int
	count    map[string]int
	classes  map[Assignment][]int // the places of users in the order of their start
	perClass map[string]int
}

func newMover(workers []string, users []Assignment) *mover {
	m := &mover{
		workers: workers, quota: map[string]int{}, count: map[string]int{},
		classes: map[Assignment][]int{}, perClass: map[string]int{},
	}
	for _, id := range workers {
		m.quota[id] = len(users) / len(workers)
	}
	for i, a := range users {
		m.count[a.Worker]++
		m.classes[a] = append(m.classes[a], i)
		m.perClass[a.Class]++
	}
	// Those that have most keep the users that are left over.
	byCount := slices.Clone(workers)
	slices.SortStableFunc(byCount, func(a, b string) int { return cmp.Compare(m.count[b], m.count[a]) })
	for _, id := range byCount[:len(users)%len(workers)] {
		m.quota[id]++
	}
	return m
}

// leaving takes the users that have to move from their workers and returns their places: all of a
// worker that is gone, and what another has too many, of the classes of which it has the largest
// share. Users that started last leave first.
func (m *mover) leaving() []int {
	var places []int
	classes := slices.Sorted(maps.Keys(m.perClass))
	for _, id := range slices.Sorted(maps.Keys(m.count)) {
		for m.count[id] > m.quota[id] {
			most := Assignment{}
			for _, class := range classes {
				a := Assignment{id, class}
				if len(m.classes[a])*max(m.perClass[most.Class], 1) > len(m.classes[most])*m.perClass[class] {
					most = a
				}
			}
			list := m.classes[most]
			places = append(places, list[len(list)-1])
			m.classes[most] = list[:len(list)-1]
			m.count[id]--
		}
	}
	slices.SortFunc(places, func(a, b int) int { return b - a })
	return places
}

// place finds a worker that has too few users, of these the one with the fewest of the class.
func (m *mover) place(class string) string {
	best := ""
	for _, id := range m.workers {
		if m.count[id] < m.quota[id] && (best == "" || len(m.classes[Assignment{id, class}]) < len(m.classes[Assignment{best, class}])) {
			best = id
		}
	}
	m.count[best]++
	m.classes[Assignment{best, class}] = append(m.classes[Assignment{best, class}], -1)
	return best
}

// least returns the turn of the first worker with the fewest users.
func (m *mover) least() int {
	turn := 0
	for i, id := range m.workers {
		if m.count[id] < m.count[m.workers[turn]] {
			turn = i
		}
	}
	return turn
}
