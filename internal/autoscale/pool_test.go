package autoscale

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// bench drives a pool by hand: it starts what is decided and remembers the ids.
type bench struct {
	pool *Pool
	now  time.Duration
	next int
}

func newBench(p Policy) *bench { return &bench{pool: NewPool(p)} }

// round decides at a time after the start and records the starts; it returns their ids.
func (b *bench) round(at time.Duration, active bool, users int, peers ...Peer) (Decision, []string) {
	b.now = at
	d := b.pool.Decide(Status{
		Load:  Load{At: at, Known: true, Active: active, Users: users, Target: users},
		Peers: peers,
	})
	return d, b.start(d.Start)
}

func (b *bench) start(n int) (ids []string) {
	for range n {
		b.next++
		id := fmt.Sprintf("w%02d", b.next)
		b.pool.Started(id, b.now)
		ids = append(ids, id)
	}
	return ids
}

func peers(ids []string) (all []Peer) {
	for _, id := range ids {
		all = append(all, Peer{ID: id, Connected: true, Users: 10})
	}
	return all
}

func TestAWorkerThatDiesIsReplacedInTheNextRound(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 30)
	d, _ := b.round(10*time.Second, true, 30, peers(ids)...)
	if d.Connected != 3 || d.Need != 0 {
		t.Fatalf("after the fill %+v, want 3 connected and no need", d)
	}
	d, _ = b.round(15*time.Second, true, 30, append(peers(ids[:2]), Peer{ID: ids[2]})...) // the third is missing
	if d.Connected != 2 || d.Start != 1 {
		t.Errorf("after a death %+v, want 2 connected and 1 started", d)
	}
}

// Between the end of a test and its registering anew a worker is in no table, and is not dead.
func TestWorkersThatRegisterAgainAfterATestAreWaitedFor(t *testing.T) {
	p := with(func(p *Policy) { p.MinWorkers = 3 })
	b := newBench(p)
	_, ids := b.round(0, true, 30)
	b.round(10*time.Second, true, 30, peers(ids)...)
	d, _ := b.round(15*time.Second, false, 0)
	if d.Need != 0 || d.Pending != 3 {
		t.Errorf("right after the stop %+v, want 3 pending and no need", d)
	}
	d, _ = b.round(20*time.Second, false, 0, peers(ids)...)
	if d.Need != 0 || d.Connected != 3 {
		t.Errorf("registered again %+v, want 3 connected", d)
	}
	b.round(25*time.Second, false, 0)
	d, _ = b.round(55*time.Second, false, 0)
	if d.Need != 3 {
		t.Errorf("not back after the pending timeout %+v, want a need of 3", d)
	}
}

// Defect 2: a leave and a join in one interval gave false expiries and adopted entries.
func TestALeaveAndAJoinInOneIntervalAreTold(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 20)
	b.round(10*time.Second, true, 20, peers(ids)...)
	d, more := b.round(15*time.Second, true, 20, peers(ids[:1])...) // the second died
	if len(more) != 1 {
		t.Fatalf("started %v, want one", more)
	}
	// In the same interval the new one joins and the first one dies: still one in the table.
	d, _ = b.round(20*time.Second, true, 20, peers(more)...)
	if d.Connected != 1 || d.Pending != 0 || d.Start != 1 {
		t.Errorf("%+v, want 1 connected, 0 pending, 1 started", d)
	}
	for at := 25 * time.Second; at < time.Minute; at += 5 * time.Second {
		d, _ := b.round(at, true, 20, peers([]string{more[0], "w04"})...)
		if d.Expired != 0 || d.Connected != 2 || d.Need != 0 {
			t.Errorf("at %v %+v, want 2 connected and none expired", at, d)
		}
	}
}

// Defect 2: workers that were written off were adopted again as young ones.
func TestAWorkerThatIsReplacedKeepsItsAge(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 10)
	b.round(10*time.Second, true, 10, peers(ids)...)
	d, more := b.round(240*time.Second, true, 10, peers(ids)...)
	if d.Expiring != 1 || len(more) != 1 || len(d.Retire) != 0 {
		t.Fatalf("at the age of replacement %+v, want one expiring, one started, none retired", d)
	}
	// Gone for a moment and back: still the old one.
	b.round(245*time.Second, true, 10, Peer{ID: ids[0]})
	d, _ = b.round(250*time.Second, true, 10, peers(ids)...)
	if d.Expiring != 1 || d.Start != 0 {
		t.Errorf("back again %+v, want it expiring and no further start", d)
	}
	d, _ = b.round(255*time.Second, true, 10, peers([]string{ids[0], more[0]})...)
	if !slices.Equal(d.Retire, ids) || d.Start != 0 {
		t.Errorf("with the replacement connected %+v, want %v retired", d, ids)
	}
	d, _ = b.round(260*time.Second, true, 10, peers([]string{ids[0], more[0]})...)
	if d.Connected != 1 || len(d.Retire) != 0 {
		t.Errorf("while it leaves %+v, want 1 connected and none retired again", d)
	}
}

// Defect 6: who had joined before the first good answer stayed pending.
func TestAWorkerConnectedBeforeTheFirstAnswerIsNotPending(t *testing.T) {
	b := newBench(standard())
	d := b.pool.Decide(Status{Load: Load{At: 0}})
	ids := b.start(d.Start)
	if len(ids) != 1 {
		t.Fatalf("without an answer %d started, want 1", len(ids))
	}
	d, _ = b.round(5*time.Second, false, 0, peers(ids)...)
	if d.Pending != 0 || d.Connected != 1 || d.Start != 0 {
		t.Errorf("first answer: %+v, want 1 connected, 0 pending", d)
	}
}

func TestASurplusLeavesAfterOneLeadTime(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 50)
	table := peers(ids)
	b.round(10*time.Second, true, 50, table...)
	table[3].Users = 0
	for at := 15 * time.Second; at < 35*time.Second; at += 5 * time.Second {
		if d, _ := b.round(at, true, 30, table...); len(d.Retire) != 0 {
			t.Fatalf("at %v retired %v, want nobody before a lead time", at, d.Retire)
		}
	}
	d, _ := b.round(35*time.Second, true, 30, table...)
	if want := []string{ids[0], ids[3]}; !slices.Equal(d.Retire, want) {
		t.Errorf("retired %v, want the idle one and the oldest: %v", d.Retire, want)
	}
	left := []Peer{table[1], table[2], table[4]}
	for at := 40 * time.Second; at < 2*time.Minute; at += 5 * time.Second {
		if d, _ := b.round(at, true, 30, left...); len(d.Retire) != 0 || d.Start != 0 {
			t.Errorf("at %v %+v, want nothing more to do", at, d)
		}
	}
}

func TestWhoDoesNotLeaveIsEndedByForce(t *testing.T) {
	p := with(func(p *Policy) { p.LeadTime = 0 })
	b := newBench(p)
	_, ids := b.round(0, true, 20)
	b.round(5*time.Second, true, 10, peers(ids)...)
	d, _ := b.round(30*time.Second, true, 10, peers(ids)...)
	if len(d.Stop) != 0 {
		t.Errorf("after 25 s ends %v, want nobody", d.Stop)
	}
	d, _ = b.round(35*time.Second, true, 10, peers(ids)...)
	if want := ids[:1]; !slices.Equal(d.Stop, want) {
		t.Errorf("after the pending timeout ends %v, want %v", d.Stop, want)
	}
}

// Run D: workers that never connect are tried ever more rarely.
func TestStartsThatLeadNowhereBecomeRare(t *testing.T) {
	b := newBench(standard())
	var starts []int
	for at := time.Duration(0); at < 20*time.Minute; at += 5 * time.Second {
		if d, ids := b.round(at, true, 50); len(ids) > 0 {
			if len(ids) != 5 || d.Pending != 0 {
				t.Errorf("at %v started %d with %d pending", at, len(ids), d.Pending)
			}
			starts = append(starts, int(at/time.Second))
		}
	}
	if want := []int{0, 30, 90, 180, 330, 600, 930}; !slices.Equal(starts, want) {
		t.Errorf("started at %v s, want %v", starts, want)
	}
	// The first that connects ends the pause.
	at := 20 * time.Minute
	if d, ids := b.round(at, true, 50, Peer{ID: "w35", Connected: true}); len(ids) != d.Need || d.Need == 0 {
		t.Errorf("after one connected %+v, started %d, want all of the need", d, len(ids))
	}
}

// With a short time limit the age of replacement is below the pending timeout.
func TestAWorkerThatIsStillPendingIsNotReplaced(t *testing.T) {
	b := newBench(with(func(p *Policy) { p.Lifetime = 60 * time.Second }))
	b.round(0, true, 30)
	for at := 5 * time.Second; at < 30*time.Second; at += 5 * time.Second {
		if d, _ := b.round(at, true, 30); d.Pending != 3 || d.Expiring != 0 || d.Start != 0 {
			t.Errorf("at %v %+v, want 3 pending and nothing else", at, d)
		}
	}
	if d, _ := b.round(30*time.Second, true, 30); d.Expired != 3 || d.Start != 3 {
		t.Errorf("after the pending timeout %+v, want them given up and started anew", d)
	}
}

func TestRefusedStartsAreHeldBackLongerEachTime(t *testing.T) {
	b := newBench(standard())
	var tries []int
	for at := time.Duration(0); at < 5*time.Minute; at += 5 * time.Second {
		b.now = at
		d := b.pool.Decide(Status{Load: Load{At: at, Known: true, Active: true, Users: 10, Target: 10}})
		if d.Need != 1 {
			t.Fatalf("at %v %+v, want a need of 1", at, d)
		}
		if d.Start > 0 {
			tries = append(tries, int(at/time.Second))
			b.pool.Failed(fmt.Sprint(at), at)
			b.pool.StartsFailed(at, 0)
		}
	}
	if want := []int{0, 5, 15, 35, 75, 135, 195, 255}; !slices.Equal(tries, want) {
		t.Errorf("tried at %v s, want %v", tries, want)
	}
}

func TestJitterShortensThePauseByAtMostAHalf(t *testing.T) {
	for jitter, want := range map[float64]time.Duration{0: 5 * time.Second, 0.5: 3750 * time.Millisecond, 1: 2500 * time.Millisecond} {
		pool := NewPool(standard())
		if got := pool.StartsFailed(0, jitter); got != want {
			t.Errorf("jitter %v: held back for %v, want %v", jitter, got, want)
		}
	}
}

// A start that timed out may have happened all the same.
func TestAWorkerWhoseStartFailedIsRecognised(t *testing.T) {
	b := newBench(standard())
	b.pool.Failed("late", 0)
	d, _ := b.round(250*time.Second, true, 10, Peer{ID: "late", Connected: true})
	if d.Connected != 1 || d.Expiring != 1 {
		t.Errorf("%+v, want it connected and due by its age", d)
	}
}

func TestAWorkerThatIsOverDoesNotCountWhileTheMasterStillShowsIt(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 10)
	b.round(5*time.Second, true, 10, peers(ids)...)
	b.pool.Ended(ids[0], 8*time.Second)
	d, _ := b.round(10*time.Second, true, 10, peers(ids)...)
	if d.Connected != 0 || d.Start != 1 {
		t.Errorf("%+v, want it replaced at once", d)
	}
}

// Workers that nobody here started carry load too, but are never told to leave.
func TestForeignWorkersCountAndAreLeftAlone(t *testing.T) {
	b := newBench(standard())
	table := peers([]string{"python-1", "python-2", "python-3"})
	for at := time.Duration(0); at < 10*time.Minute; at += 5 * time.Second {
		d, _ := b.round(at, true, 20, table...)
		if d.Connected != 3 || d.Need != 0 || len(d.Retire) != 0 {
			t.Fatalf("at %v %+v, want 3 connected and nothing to do", at, d)
		}
	}
}

// Defect 4: workers started together were replaced together.
func TestWorkersStartedTogetherAreDueOneAfterTheOther(t *testing.T) {
	b := newBench(standard())
	_, ids := b.round(0, true, 100)
	due := map[time.Duration]int{}
	for _, id := range ids {
		due[b.pool.workers[id].due]++
	}
	if len(due) != 10 {
		t.Errorf("due times %v, want 10 different ones", due)
	}
	for at := range due {
		if at > 240*time.Second || at < 120*time.Second {
			t.Errorf("due at %v, want between half of the age of replacement and that age", at)
		}
	}
}

func TestWhoIsLongGoneIsForgotten(t *testing.T) {
	b := newBench(standard())
	alive := map[string]bool{}
	for at := time.Duration(0); at < 6*time.Hour; at += 5 * time.Second {
		table := make([]Peer, 0, len(alive))
		for id := range alive {
			table = append(table, Peer{ID: id, Connected: true, Users: 10})
		}
		d, ids := b.round(at, true, 500, table...)
		for _, id := range ids {
			alive[id] = true
		}
		for _, id := range d.Retire {
			delete(alive, id)
		}
	}
	// Each of the 50 workers lives at least for half of 240 s, and is remembered for 900 s.
	if most := 50 * (2 + 900/120); len(b.pool.workers) > most {
		t.Errorf("%d workers known after %d were started, want at most %d", len(b.pool.workers), b.next, most)
	}
}

// world is what a pool is held to in the property test: the workers that really run.
type world struct {
	*rapid.T
	policy  Policy
	pool    *Pool
	now     time.Duration
	next    int
	running map[string]*running
	faults  bool
}

type running struct {
	connects, leaves time.Duration
}

func (w *world) chance(name string, percent int) bool {
	return w.faults && rapid.IntRange(0, 99).Draw(w.T, name) < percent
}

func (w *world) connected() (n int) {
	for _, r := range w.running {
		if r.connects <= w.now {
			n++
		}
	}
	return n
}

// step lets a round pass: workers leave and die, the master answers or not, starts fail or not.
func (w *world) step(load Load) Decision {
	w.now += w.policy.PollInterval
	load.At = w.now
	status := Status{Load: load}
	ids := make([]string, 0, len(w.running))
	for id := range w.running {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		r := w.running[id]
		if w.now >= r.leaves || w.chance("dies", 5) {
			delete(w.running, id)
			continue
		}
		if w.now >= r.connects {
			status.Peers = append(status.Peers, Peer{ID: id, Connected: !w.chance("freezes", 3)})
		}
	}
	status.Known = !w.chance("silent master", 10)
	if !status.Known {
		status.Peers = nil
	}
	d := w.pool.Decide(status)
	w.carryOut(d)
	return d
}

func (w *world) carryOut(d Decision) {
	failed := false
	for range d.Start {
		w.next++
		id := fmt.Sprint(w.next)
		if failed = w.chance("start fails", 10); failed {
			w.pool.Failed(id, w.now)
			continue
		}
		w.pool.Started(id, w.now)
		r := &running{connects: w.now + w.policy.LeadTime/2, leaves: never}
		if w.policy.Lifetime > 0 {
			r.leaves = w.now + w.policy.leaveAge()
		}
		if w.chance("never connects", 5) {
			r.connects = never
		}
		w.running[id] = r
	}
	if failed {
		w.pool.StartsFailed(w.now, rapid.Float64Range(0, 1).Draw(w.T, "jitter"))
	} else {
		w.pool.StartsSucceeded()
	}
	for _, id := range append(d.Retire, d.Stop...) {
		delete(w.running, id)
	}
}

func (w *world) check(d Decision, load Load) {
	fresh := d.Connected + d.Pending - d.Expiring
	switch {
	case d.Start > 0 && fresh+d.Start != d.Desired:
		w.Fatalf("%+v: starts more or less than what is missing", d)
	case len(d.Retire) > 0 && d.Connected-len(d.Retire) < d.Desired:
		w.Fatalf("%+v: retires workers that are needed", d)
	case d.Desired > max(w.policy.MinWorkers, (load.Target+w.policy.UsersPerWorker-1)/w.policy.UsersPerWorker):
		w.Fatalf("%+v: desires more than %d users need", d, load.Target)
	case d.Expiring > d.Connected+d.Pending || d.Connected < 0 || d.Pending < 0:
		w.Fatalf("%+v: more expiring than there are", d)
	}
	for _, id := range append(slices.Clone(d.Retire), d.Stop...) {
		if _, known := w.pool.workers[id]; !known {
			w.Fatalf("ends %q, which it did not start", id)
		}
	}
}

func TestThePoolKeepsItsPromisesUnderFaults(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := standard()
		p.MinWorkers = rapid.IntRange(0, 5).Draw(t, "least")
		p.MaxWorkers = rapid.IntRange(5, 40).Draw(t, "largest")
		p.Lifetime = rapid.SampledFrom([]time.Duration{0, 120 * time.Second, 300 * time.Second}).Draw(t, "lifetime")
		w := &world{T: t, policy: p, pool: NewPool(p), running: map[string]*running{}, faults: true}
		load := Load{Target: 0}
		for range rapid.IntRange(10, 80).Draw(t, "rounds") {
			if rapid.IntRange(0, 9).Draw(t, "edit") == 0 {
				load.Active = rapid.Bool().Draw(t, "active")
				load.Target = rapid.IntRange(0, 500).Draw(t, "target")
			}
			load.Users = max(0, load.Users+rapid.IntRange(-100, 100).Draw(t, "change"))
			w.check(w.step(load), load)
		}

		// Left in peace the pool comes to exactly what is desired, and stays there.
		w.faults = false
		load.Users = load.Target
		var d Decision
		for range 200 {
			d = w.step(load)
			w.check(d, load)
		}
		for range 200 {
			d = w.step(load)
			w.check(d, load)
			if w.connected() < d.Desired {
				t.Fatalf("%d connected of %d desired", w.connected(), d.Desired)
			}
			if len(w.running) > d.Desired+d.Expiring {
				t.Fatalf("%d run, but %d are desired and %d expiring", len(w.running), d.Desired, d.Expiring)
			}
		}
	})
}
