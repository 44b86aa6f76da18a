package master

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// stateForgotten is the state of a worker that the master does not know any more.
const stateForgotten = "forgotten"

// node is a worker as the master sees it.
type node struct {
	id    string
	index int
	// state is what the worker said last, or missing.
	state string
	heard time.Time
	gone  bool // its connection was lost
	own   bool // a worker of this program
	// evicting is set while an older process of the same id is told to quit.
	evicting bool
	hello    wire.Hello

	users      map[string]int // that run, as it says; set by setUsers, never changed in place
	running    int            // their sum
	cpu        float64
	memory     int64
	classes    map[string]bool // those it can run; nil = not known
	complained time.Time       // when it was last asked to reconnect
	discarded  uint64          // reports up to this number belonged to no run of this master
	knowsRun   string          // the run that it was told of
	told       map[string]int  // the users that it was told to run
	awaiting   bool            // the answer to what it was told
	endedUsers int             // users that ended themselves
	settled    bool            // endedUsers is what follows from users and told
	part       *part           // in the run that goes on
	share      share           // in its account
}

// memory is what stays of a worker that left, for when its id comes back.
type memory struct {
	index int
	// classes of one of Locust, which registers anew after each stop and tells them only with its first
	// report: until then it must not be told of a class that it does not have.
	classes map[string]bool
}

func (n *node) active() bool {
	return n.state == StateReady || n.state == StateSpawning || n.state == StateRunning
}

// has reports whether the worker can run a class, as far as is known.
func (n *node) has(class string) bool { return n.classes == nil || n.classes[class] }

func (n *node) hasAll(classes []string) bool {
	return !slices.ContainsFunc(classes, func(class string) bool { return !n.has(class) })
}

func total(users map[string]int) int {
	sum := 0
	for _, n := range users {
		sum += n
	}
	return sum
}

// Worker is a worker as the master sees it.
type Worker struct {
	ID, State string
	Users     int
	// UsersByClass is what the worker says that it runs. It must not be changed.
	UsersByClass map[string]int
	// CPUPercent is of one core and may exceed 100; MemoryBytes is what the process holds.
	CPUPercent  float64
	MemoryBytes int64
	// Cores is 0 where it is not known: only workers of this program tell it.
	Cores int
}

// Workers returns all workers that the master knows, missing ones included, in the order of their
// arrival.
func (m *Master) Workers() []Worker {
	m.mu.Lock()
	defer m.mu.Unlock()
	// Each has an index of its own: put in their places they need no sorting, which takes most of the
	// time with thousands of them.
	places := make([]*node, m.nextIndex)
	for _, n := range m.nodes {
		places[n.index] = n
	}
	workers := make([]Worker, 0, len(m.nodes))
	for _, n := range places {
		if n == nil {
			continue
		}
		workers = append(workers, Worker{
			ID: n.id, State: n.state, Users: n.running, UsersByClass: n.users,
			CPUPercent: n.cpu, MemoryBytes: n.memory, Cores: n.hello.Cores,
		})
	}
	return workers
}

// QuitWorkers tells workers to stop their users, report and end, and returns before they have. Ids of
// workers that are not there are ignored.
func (m *Master) QuitWorkers(ids []string) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, id := range ids {
		if m.nodes[id] != nil {
			m.log.Info("a worker is told to quit", "worker", id)
			m.send(id, wire.TypeQuit, nil)
		}
	}
	return nil
}

// Users returns how many users of each class run, as the workers say.
func (m *Master) Users() map[string]int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.users()
}

func (m *Master) users() map[string]int {
	users := make(map[string]int, len(m.running))
	for class, all := range m.running {
		users[class] = all.users
	}
	return users
}

// classUsers are the users of a class on all workers, and how many workers name it.
type classUsers struct{ users, workers int }

// setUsers takes over what a worker says that it runs. The sums are kept, for they are asked for more
// often than they change. The lock is held.
func (m *Master) setUsers(n *node, users map[string]int) {
	for class, count := range n.users {
		all := m.running[class]
		if all.workers == 1 {
			delete(m.running, class)
			continue
		}
		m.running[class] = classUsers{all.users - count, all.workers - 1}
	}
	for class, count := range users {
		all := m.running[class]
		m.running[class] = classUsers{all.users + count, all.workers + 1}
	}
	n.users, n.running, n.settled = users, total(users), false
}

// Logs returns the last log lines of each worker that sent some.
func (m *Master) Logs() map[string][]string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.logs)
}

// able returns the ids of the workers that can run users of all these classes, nil = of any. The lock
// is held.
func (m *Master) able(classes []string) []string {
	ids := make([]string, 0, len(m.nodes))
	for id, n := range m.nodes {
		if n.active() && n.hasAll(classes) {
			ids = append(ids, id)
		}
	}
	return ids
}

// add makes a worker known. The lock is held.
func (m *Master) add(id string) *node {
	kept, known := m.memories[id]
	if !known {
		kept.index = m.nextIndex
		m.nextIndex++
		m.memories[id] = kept
	}
	n := &node{id: id, index: kept.index, classes: kept.classes, heard: time.Now()}
	m.accounted(n, func() { n.state = StateReady })
	m.nodes[id] = n
	delete(m.leaving, id)
	return n
}

// remove forgets a worker. The lock is held.
func (m *Master) remove(n *node) {
	m.accounted(n, func() { n.state = stateForgotten })
	m.setUsers(n, nil)
	kept := memory{index: n.index}
	if !n.own {
		kept.classes = n.classes
	}
	m.memories[n.id] = kept
	delete(m.nodes, n.id)
	m.workersChanged()
}

// accounted makes a change of a worker, before and after which user seconds are accounted for. The
// lock is held.
func (m *Master) accounted(n *node, change func()) {
	r := m.active
	if r == nil {
		change()
		return
	}
	r.account(time.Now())
	change()
	r.reckon(n)
}

// workersChanged tells the run, and those that wait. The lock is held.
func (m *Master) workersChanged() {
	if m.active != nil {
		m.active.wake()
	}
	m.notify()
}

// lose marks a worker as missing. The lock is held.
func (m *Master) lose(n *node, why string, args ...any) {
	if n.state == StateMissing {
		return
	}
	m.log.Warn("a worker is missing", append([]any{"worker", n.id, "why", why}, args...)...)
	m.accounted(n, func() {
		if r := m.active; r != nil {
			r.takeBack(n)
		}
		n.state = StateMissing
		m.setUsers(n, nil)
	})
	m.workersChanged()
}

// alive takes note of a sign of life. The lock is held.
func (m *Master) alive(n *node) {
	n.heard = time.Now()
	n.gone = false
}

// heal takes a missing worker back. The lock is held.
func (m *Master) heal(n *node, state string) {
	m.log.Info("a missing worker is back", "worker", n.id)
	m.accounted(n, func() {
		// Whether it heard what it was told is not known.
		n.state, n.told, n.settled = state, nil, false
	})
	m.workersChanged()
}

// renew begins a worker anew that is another process, or lost what it was told. The lock is held.
func (m *Master) renew(n *node) {
	m.accounted(n, func() {
		m.setUsers(n, nil)
		n.told, n.part, n.knowsRun = nil, nil, ""
		n.state, n.awaiting, n.endedUsers, n.discarded = StateReady, false, 0, 0
	})
	m.workersChanged()
}

const watchEvery = 500 * time.Millisecond

// watch looks for workers that have not been heard for too long.
func (m *Master) watch(ctx context.Context) {
	ticker := time.NewTicker(watchEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			m.look(time.Now())
		case <-ctx.Done():
			return
		}
	}
}

func (m *Master) look(now time.Time) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, n := range m.nodes {
		silent := now.Sub(n.heard)
		switch {
		case silent >= m.config.ForgottenAfter:
			m.log.Warn("a missing worker is forgotten", "worker", id, "silent", silent.Round(time.Second))
			m.remove(n)
		case silent >= m.config.MissingAfter:
			m.lose(n, "no heartbeat", "silent", silent.Round(100*time.Millisecond))
		}
	}
	for id, until := range m.leaving {
		if now.After(until) {
			delete(m.leaving, id)
		}
	}
}

// dealt returns the names of the classes that a run deals.
func dealt(classes []*loadtest.UserClass, only []string) []string {
	var names []string
	for _, c := range classes {
		if len(only) == 0 || slices.Contains(only, c.Name) {
			names = append(names, c.Name)
		}
	}
	return names
}
