package autoscale

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Peer is a row of the master's table of workers.
type Peer struct {
	ID        string
	Connected bool // ready, spawning or running
	Users     int
}

// Status is what one look at the master gave. Load.Known false says that it did not answer.
type Status struct {
	Load
	Peers []Peer
}

// Decision is what to do in one round, and the figures that led to it.
type Decision struct {
	Desired   int // workers wanted
	Connected int // workers in the master's table that are not leaving
	Pending   int // started and expected to connect
	Expiring  int // those of them that have been connected and are due for replacement
	Need      int // workers that are missing, due ones not counted

	Start   int      // workers to start now: Need, unless starts are held back
	Retire  []string // workers to tell to leave: replaced, or too many
	Stop    []string // workers to end by force: never connected, or told to leave and still there
	Expired int      // workers given up in this round because they did not connect
}

// phase is what the pool knows about a worker that it had started.
type phase int

const (
	pending   phase = iota // started, not yet in the master's table
	connected              // in the table
	away                   // left the table between tests, will register again
	lost                   // not counted on; kept, so that it is recognised should it come back
	ended                  // known to be over, though the master may show it for a while
)

// worker is one that was started here, from the call that started it until it is forgotten.
type worker struct {
	phase   phase
	leaving bool // told to leave

	invoked time.Duration // when the call that started it was made
	due     time.Duration // when it should be replaced; never when the policy has no lifetime
	since   time.Duration // when phase or leaving changed last
	users   int
}

// Pool follows each worker by its identity, from the moment it is started until it is gone. It is
// not safe for concurrent use. Times passed to it must not decrease.
type Pool struct {
	policy  Policy
	workers map[string]*worker
	slots   map[int64]int // workers counted on by the slot of their due time, since the last round

	previous Load // the last one that was known
	blind    bool // the last status was not known

	surplusSince time.Duration
	surplus      int // the least surplus since surplusSince; 0 when there was none in the last round

	failures backoff // after starts that failed
	silence  backoff // after workers that were started and did not connect
	silent   bool    // there was one since the last round
}

// NewPool returns an empty pool. The policy must be valid.
func NewPool(policy Policy) *Pool {
	return &Pool{
		policy:   policy,
		workers:  map[string]*worker{},
		slots:    map[int64]int{},
		failures: backoff{base: policy.PollInterval, limit: max(time.Minute, policy.PollInterval)},
		// One worker that does not come is replaced at once; when its replacement does not come
		// either, there is a reason.
		silence: backoff{forgiven: 1, base: policy.PendingTimeout, limit: max(5*time.Minute, policy.PendingTimeout)},
	}
}

// never is a due time that does not come.
const never = time.Duration(math.MaxInt64)

// Decide takes a status into account and decides this round. The caller starts and ends workers as
// the decision says, and reports each start by Started or Failed.
func (p *Pool) Decide(status Status) Decision {
	now := status.At
	var d Decision
	foreign := 0
	if status.Known {
		if p.blind {
			p.silence.reset() // nobody could connect while the master was away
		}
		foreign = p.observe(status)
	}
	p.blind = !status.Known
	p.expire(now, &d)
	d.Desired = p.policy.Desired(p.previous, status.Load)
	if status.Known {
		p.previous = status.Load
	}

	dueConnected := p.count(now, foreign, &d)
	d.Need = max(0, d.Desired-(d.Connected+d.Pending-d.Expiring))
	if now >= p.failures.until && now >= p.silence.until {
		d.Start = d.Need
	}
	p.retire(status, dueConnected, &d)
	p.overstayed(now, &d)
	slices.Sort(d.Retire)
	slices.Sort(d.Stop)
	return d
}

// observe takes the master's table over and returns how many connected workers are not ours.
func (p *Pool) observe(status Status) (foreign int) {
	now := status.At
	seen := make(map[string]bool, len(status.Peers))
	for _, peer := range status.Peers {
		if !peer.Connected || seen[peer.ID] {
			continue
		}
		seen[peer.ID] = true
		w := p.workers[peer.ID]
		if w == nil {
			foreign++
			continue
		}
		if w.phase == ended {
			continue
		}
		if w.phase != connected {
			p.silence.reset()
			w.phase, w.since = connected, now
		}
		w.users = peer.Users
	}
	for id, w := range p.workers {
		if w.phase != connected || seen[id] {
			continue
		}
		w.phase, w.since = lost, now
		if !status.Active && !w.leaving && !p.over(w, now) {
			// At the end of a test every worker leaves the table and registers again when its users
			// have stopped.
			w.phase = away
		}
	}
	return foreign
}

// over says that the worker has left by itself, because its time is over.
func (p *Pool) over(w *worker, now time.Duration) bool {
	return p.policy.Lifetime > 0 && now >= w.invoked+p.policy.leaveAge()
}

// remember is how long a worker that is lost or over is known at the least.
const remember = 15 * time.Minute

// expire gives up workers that do not connect in time, and forgets those that are long gone.
func (p *Pool) expire(now time.Duration, d *Decision) {
	for id, w := range p.workers {
		switch w.phase {
		case pending:
			if now >= w.invoked+p.policy.PendingTimeout {
				w.phase, w.since = lost, now
				d.Expired++
				d.Stop = append(d.Stop, id)
			}
		case away:
			if now >= w.since+p.policy.PendingTimeout || p.over(w, now) {
				w.phase, w.since = lost, now
			}
		case lost, ended:
			if now >= w.since+max(p.policy.Lifetime, remember) {
				delete(p.workers, id)
			}
		}
	}
	if p.silent || d.Expired > 0 {
		p.silence.fail(now, 0)
	}
	p.silent = false
}

// count fills in the figures and returns the connected workers that are due for replacement.
func (p *Pool) count(now time.Duration, foreign int, d *Decision) (due []string) {
	d.Connected = foreign
	clear(p.slots)
	for id, w := range p.workers {
		if w.leaving || w.phase == lost || w.phase == ended {
			continue
		}
		p.slots[p.slot(w.due)]++
		if w.phase == connected {
			d.Connected++
		} else {
			d.Pending++
		}
		if now < w.due || w.phase == pending { // a pending one is given up when its own time is over
			continue
		}
		d.Expiring++
		if w.phase == connected {
			due = append(due, id)
		}
	}
	return due
}

// retire picks the workers that may leave: those due for replacement as soon as the others are
// enough without them, and others when there have been too many for a lead time.
func (p *Pool) retire(status Status, due []string, d *Decision) {
	excess := d.Connected - d.Desired
	if !status.Known || excess <= 0 {
		p.surplus = 0
		return
	}
	p.leave(status.At, due, excess, d)
	excess -= len(d.Retire)
	switch {
	case excess == 0:
		p.surplus = 0
		return
	case p.surplus == 0:
		p.surplus, p.surplusSince = excess, status.At
	}
	p.surplus = min(p.surplus, excess)
	if status.At-p.surplusSince < p.policy.LeadTime {
		return
	}
	var rest []string
	for id, w := range p.workers {
		if w.phase == connected && !w.leaving {
			rest = append(rest, id)
		}
	}
	p.leave(status.At, rest, p.surplus, d)
	p.surplus = 0
}

// leave marks up to n of the workers as leaving: those without users first, then the oldest.
func (p *Pool) leave(now time.Duration, ids []string, n int, d *Decision) {
	slices.SortFunc(ids, func(a, b string) int {
		x, y := p.workers[a], p.workers[b]
		if (x.users == 0) != (y.users == 0) {
			if x.users == 0 {
				return -1
			}
			return 1
		}
		return cmp.Or(cmp.Compare(x.invoked, y.invoked), cmp.Compare(a, b))
	})
	for _, id := range ids[:min(n, len(ids))] {
		w := p.workers[id]
		w.leaving, w.since = true, now
		d.Retire = append(d.Retire, id)
	}
}

// overstayed adds the workers that were told to leave long ago. They are named again after each
// further pending timeout, in case ending them by force did not work either.
func (p *Pool) overstayed(now time.Duration, d *Decision) {
	for id, w := range p.workers {
		if w.leaving && w.phase == connected && now >= w.since+p.policy.PendingTimeout {
			w.since = now
			d.Stop = append(d.Stop, id)
		}
	}
}

// Started records a worker whose start was accepted; at is when the call that started it was made.
func (p *Pool) Started(id string, at time.Duration) {
	due := p.dueTime(at)
	p.slots[p.slot(due)]++
	p.workers[id] = &worker{phase: pending, invoked: at, since: at, due: due}
}

// Failed records a start that failed, or whose outcome is not known: should a worker of that id
// connect after all, it is recognised.
func (p *Pool) Failed(id string, at time.Duration) {
	p.workers[id] = &worker{phase: lost, invoked: at, since: at, due: p.dueTime(at)}
}

// StartsSucceeded says that every start of a round was accepted.
func (p *Pool) StartsSucceeded() { p.failures.reset() }

// StartsFailed holds further starts back after a round in which some failed: for a time that doubles
// with each such round, shortened by up to a half by jitter, a random number from 0 to 1, so that
// several orchestrators which were refused together do not come back together. It returns the time.
func (p *Pool) StartsFailed(now time.Duration, jitter float64) time.Duration {
	return p.failures.fail(now, jitter)
}

// Ended records that a worker is over, for callers that see it end. It need not have been started
// here. One that ends before it connected counts as one that did not come.
func (p *Pool) Ended(id string, now time.Duration) {
	w := p.workers[id]
	if w == nil || w.phase == ended {
		return
	}
	if w.phase == pending {
		p.silent = true
	}
	w.phase, w.since = ended, now
}

// Own returns the ids of the workers that were started here and are counted on, or told to leave
// and still there.
func (p *Pool) Own() []string {
	var ids []string
	for id, w := range p.workers {
		if w.phase != lost && w.phase != ended {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Knows says whether a worker was started here, or may have been, and is not known to be over.
func (p *Pool) Knows(id string) bool {
	w := p.workers[id]
	return w != nil && w.phase != ended
}

// slotWidth is the time in which one worker is replaced by the next: starting it and noticing that
// it connected.
func (p *Pool) slotWidth() time.Duration { return 2 * p.policy.PollInterval }

func (p *Pool) slot(due time.Duration) int64 { return int64(due / p.slotWidth()) }

// dueTime is when a worker started at the given time should be replaced. Workers that are started
// together would all be due together and would run twice while their replacements start, so each
// takes the latest of the least used slots between half of the age of replacement and that age.
func (p *Pool) dueTime(at time.Duration) time.Duration {
	age := p.policy.ReplaceAge()
	if age == 0 {
		return never
	}
	best := at + age
	for due := best - p.slotWidth(); due >= at+age/2; due -= p.slotWidth() {
		if p.slots[p.slot(due)] < p.slots[p.slot(best)] {
			best = due
		}
	}
	return best
}

// backoff is a pause that doubles with every failure.
type backoff struct {
	forgiven    int // failures in a row that begin no pause
	base, limit time.Duration

	failed int           // in a row
	pause  time.Duration // the last one
	until  time.Duration
}

// fail begins the next pause and returns what is left of it. A failure during a pause belongs to the
// one that began it.
func (b *backoff) fail(now time.Duration, jitter float64) time.Duration {
	if now < b.until {
		return b.until - now
	}
	b.failed++
	if b.failed <= b.forgiven {
		return 0
	}
	b.pause = min(max(2*b.pause, b.base), b.limit)
	wait := b.pause - time.Duration(float64(b.pause)/2*min(max(jitter, 0), 1))
	b.until = now + wait
	return wait
}

func (b *backoff) reset() { b.failed, b.pause, b.until = 0, 0, 0 }
