package master_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// chaosRuns is how many seeded runs there are.
const chaosRuns = 200

// Whatever happens to workers, connections and the master: calls that were counted and those that the
// result says are missing are all that users made, up to the moment after which the result says that
// it knows nothing of a lost worker.
func TestCountedAndStatedIsWhatUsersDid(t *testing.T) {
	for seed := range uint64(chaosRuns) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { newChaos(t, seed).play() })
		})
	}
}

// chaos is a cluster to which things happen.
type chaos struct {
	t        *testing.T
	rand     *rand.Rand
	trace    []string
	group    sync.WaitGroup
	classes  []string
	config   master.Config
	master   *master.Master
	listener *wiretest.Listener // of the present master
	mu       sync.Mutex
	target   int
	number   int
	procs    []*proc
	ids      map[string]int // of users, how often they started
}

// proc is a worker's process as it really is.
type proc struct {
	chaos  *chaos
	id     string
	worker *worker.Worker
	cancel context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	dead   bool
	thawed chan struct{}    // closed unless the process is frozen
	calls  map[string]int64 // by run
	alive  int              // users
	conn   net.Conn
}

func newChaos(t *testing.T, seed uint64) *chaos {
	c := &chaos{t: t, rand: rand.New(rand.NewPCG(seed, 0)), classes: []string{"A", "B"}, ids: map[string]int{}}
	c.config = master.Config{
		Classes:     []*loadtest.UserClass{{Name: "A", Weight: 2}, {Name: "B", FixedCount: c.rand.IntN(3)}},
		Rebalance:   c.rand.IntN(2) == 0,
		StopTimeout: time.Duration(c.rand.IntN(3)) * time.Second,
	}
	c.config.Link.AllowPlain = true
	return c
}

func (c *chaos) note(format string, args ...any) {
	c.trace = append(c.trace, fmt.Sprintf(format, args...))
}

func (c *chaos) runMaster() (abandon func()) {
	m, err := master.New(c.config)
	if err != nil {
		c.t.Fatal(err)
	}
	listener := wiretest.NewListener()
	c.mu.Lock()
	c.listener = listener
	c.mu.Unlock()
	c.master = m
	ctx, cancel := context.WithCancel(context.Background())
	c.group.Go(func() { _ = m.Run(ctx, listener) })
	return func() {
		_ = listener.Close()
		listener.Cut()
		cancel()
	}
}

// class is a kind of user that calls at times of its own, so that no two things happen at once.
func (p *proc) class(name string) *loadtest.UserClass {
	wait := func(_ context.Context, u *loadtest.User) (time.Duration, error) {
		return 200*time.Millisecond + time.Duration(u.Rand().Int64N(int64(600*time.Millisecond))), nil
	}
	return &loadtest.UserClass{
		Name:     name,
		WaitTime: loadtest.WaitFunc(wait),
		OnStart: func(ctx context.Context, u *loadtest.User) error {
			p.chaos.began(u.ID())
			p.count(1)
			return p.gate(ctx, func() {})
		},
		OnStop: func(context.Context, *loadtest.User) error { p.count(-1); return nil },
		Tasks: []loadtest.Task{{Name: "call", Run: func(ctx context.Context, u *loadtest.User) error {
			start := time.Now()
			if err := u.Sleep(ctx, time.Duration(u.Rand().Int64N(int64(20*time.Millisecond)))); err != nil {
				return err
			}
			return p.gate(ctx, func() {
				u.Record(stats.Sample{Type: "CALL", Name: name, Start: start, Duration: time.Since(start)})
				p.calls[u.Env().RunID()]++
			})
		}}},
	}
}

func (p *proc) count(change int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.alive += change
}

func (c *chaos) began(id string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ids[id]++
}

var errDead = errors.New("the process is dead")

// gate lets a user act: not while its process is frozen, and never once it is dead.
func (p *proc) gate(ctx context.Context, act func()) error {
	for {
		p.mu.Lock()
		if p.dead {
			p.mu.Unlock()
			return fmt.Errorf("%w: %w", errDead, loadtest.ErrStopUser)
		}
		select {
		case <-p.thawed:
			act()
			p.mu.Unlock()
			return nil
		default:
		}
		thawed := p.thawed
		p.mu.Unlock()
		select {
		case <-thawed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// frozenConn stands still while its process does.
type frozenConn struct {
	net.Conn
	proc   *proc
	once   sync.Once
	closed chan struct{}
}

func (f *frozenConn) await() {
	f.proc.mu.Lock()
	thawed := f.proc.thawed
	f.proc.mu.Unlock()
	select {
	case <-thawed:
	case <-f.closed:
	}
}

func (f *frozenConn) Read(b []byte) (int, error)  { f.await(); return f.Conn.Read(b) }
func (f *frozenConn) Write(b []byte) (int, error) { f.await(); return f.Conn.Write(b) }
func (f *frozenConn) Close() error {
	f.once.Do(func() { close(f.closed) })
	return f.Conn.Close()
}

func (p *proc) dial(ctx context.Context) (net.Conn, error) {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	if dead {
		return nil, errDead
	}
	p.chaos.mu.Lock()
	listener := p.chaos.listener
	p.chaos.mu.Unlock()
	conn, err := listener.Dial(ctx)
	if err != nil {
		return nil, err
	}
	f := &frozenConn{Conn: conn, proc: p, closed: make(chan struct{})}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn = f
	return f, nil
}

func (c *chaos) startWorker(id string) {
	if id == "" {
		c.number++
		id = fmt.Sprintf("h%d_%d", c.number%2, c.number)
	}
	p := &proc{chaos: c, id: id, thawed: make(chan struct{}), calls: map[string]int64{}, done: make(chan struct{})}
	close(p.thawed)
	w, err := worker.New(worker.Config{
		ID: id, Dial: p.dial, ClassNames: c.classes, Cores: 2, MasterTimeout: 5 * time.Minute,
		Open: func(context.Context, worker.Run) (*worker.Scenario, error) {
			return &worker.Scenario{Classes: []*loadtest.UserClass{p.class("A"), p.class("B")}}, nil
		},
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.worker, p.cancel = w, cancel
	c.group.Go(func() {
		defer close(p.done)
		_, _ = w.Run(ctx)
	})
	c.procs = append(c.procs, p)
}

// kill ends a process at once: it says and does nothing more.
func (p *proc) kill() {
	p.mu.Lock()
	p.dead = true
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		_ = conn.Close()
	}
	p.cancel()
}

func (p *proc) freeze() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.thawed = make(chan struct{})
}

func (p *proc) thaw() {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
	default:
		close(p.thawed)
	}
}

func (p *proc) isFrozen() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	select {
	case <-p.thawed:
		return false
	default:
		return true
	}
}

func (p *proc) ended() bool {
	p.mu.Lock()
	dead := p.dead
	p.mu.Unlock()
	select {
	case <-p.done:
		return true
	default:
		return dead
	}
}

// some returns a process that does what it should, nil when there is none.
func (c *chaos) some() *proc {
	var list []*proc
	for _, p := range c.procs {
		if !p.ended() && !p.isFrozen() {
			list = append(list, p)
		}
	}
	if len(list) == 0 {
		return nil
	}
	return list[c.rand.IntN(len(list))]
}

func (c *chaos) plan() master.Plan {
	c.target = 3 + c.rand.IntN(20)
	return master.Plan{Users: c.target, SpawnRate: 1 + 10*c.rand.Float64(), Seed: 1}
}

func (c *chaos) play() {
	abandon := c.runMaster()
	for range 2 + c.rand.IntN(3) {
		c.startWorker("")
	}
	ctx := context.Background()
	if err := c.master.WaitWorkers(ctx, 2); err != nil {
		c.t.Fatal(err)
	}
	c.begin()
	for range 4 + c.rand.IntN(8) {
		time.Sleep(time.Duration(c.rand.Int64N(int64(8 * time.Second))))
		if c.happens() {
			abandon = c.restartMaster(abandon)
		}
	}
	if c.rand.IntN(3) > 0 {
		c.quiet()
	}
	if err := c.master.Stop(ctx); err != nil {
		c.t.Fatal(err)
	}
	c.check()
	for _, p := range c.procs {
		p.thaw()
	}
	abandon()
	for _, p := range c.procs {
		p.cancel()
	}
	c.group.Wait()
	if c.t.Failed() {
		for _, line := range c.trace {
			c.t.Log(line)
		}
	}
}

func (c *chaos) begin() {
	plan := c.plan()
	id, err := c.master.Start(plan)
	c.note("%s: start %s, %d users at %.1f, error %v", clock(), id, plan.Users, plan.SpawnRate, err)
}

// clock is the virtual time; bubbles begin in the year 2000.
func clock() string { return time.Now().UTC().Format("04:05.000") }

// happens lets something happen; it reports true when the master is to be started anew.
func (c *chaos) happens() (restart bool) {
	p := c.some()
	what := c.rand.IntN(12)
	if p == nil {
		what = 0
	}
	switch what {
	case 0, 1:
		c.startWorker("")
		c.note("%s: worker %s joins", clock(), c.procs[len(c.procs)-1].id)
	case 2:
		c.note("%s: worker %s is killed", clock(), p.id)
		p.kill()
	case 3:
		c.note("%s: worker %s is killed and started anew", clock(), p.id)
		p.kill()
		c.startWorker(p.id)
	case 4:
		c.note("%s: worker %s leaves", clock(), p.id)
		p.cancel()
	case 5, 6:
		long := time.Duration(c.rand.Int64N(int64(25 * time.Second)))
		if c.rand.IntN(5) == 0 {
			long *= 4
		}
		c.note("%s: worker %s stands still for %v", clock(), p.id, long.Round(time.Millisecond))
		p.freeze()
		time.AfterFunc(long, p.thaw)
	case 7, 8:
		p.mu.Lock()
		conn := p.conn
		p.mu.Unlock()
		c.note("%s: the connection of %s breaks", clock(), p.id)
		if conn != nil {
			_ = conn.Close()
		}
	case 9:
		c.begin() // an edit, or a new run if the last one has ended
	case 10:
		c.note("%s: stop", clock())
		if err := c.master.Stop(context.Background()); err != nil {
			c.t.Fatal(err)
		}
		c.check()
		c.begin()
	case 11:
		return c.rand.IntN(2) == 0
	}
	return false
}

// restartMaster has the master die, and another one take its place a little later.
func (c *chaos) restartMaster(abandon func()) func() {
	c.note("%s: the master dies", clock())
	abandon()
	time.Sleep(time.Duration(c.rand.Int64N(int64(20 * time.Second))))
	abandon = c.runMaster()
	c.note("%s: another master", clock())
	time.Sleep(time.Duration(c.rand.Int64N(int64(15 * time.Second))))
	c.begin()
	return abandon
}

// quiet waits until everything should be as planned, and looks.
func (c *chaos) quiet() {
	for _, p := range c.procs {
		p.thaw()
	}
	if c.some() == nil || c.master.State() == master.StateStopped {
		return
	}
	time.Sleep(80 * time.Second) // stalled connections, forgotten workers
	synctest.Wait()
	if c.master.State() != master.StateRunning {
		return // the last worker was lost meanwhile
	}
	alive := 0
	for _, p := range c.procs {
		if !p.ended() {
			p.mu.Lock()
			alive += p.alive
			p.mu.Unlock()
		}
	}
	c.note("%s: %d users run, target %d, workers %+v", clock(), alive, c.target, c.master.Workers())
	if alive != c.target {
		c.t.Errorf("%d users run in quiet times, want %d", alive, c.target)
	}
}

// check compares the result of the run that has ended with what users did.
func (c *chaos) check() {
	o, ok := c.master.Outcome()
	if !ok {
		return
	}
	s := o.Snapshot
	did := int64(0)
	for _, p := range c.procs {
		p.mu.Lock()
		did += p.calls[o.Run.ID]
		p.mu.Unlock()
	}
	known, lost, missing := int64(0), int64(0), int64(0)
	for _, part := range o.Parts {
		known += part.Counted
		missing += part.MissingReports
		if part.Lost {
			lost++
		}
	}
	unknown := c.unknown(&o)
	c.note("%s: run %s: users did %d, counted %d, unaccounted %d, unknown of lost workers %d; %v", clock(), o.Run.ID,
		did, s.Total.Requests, s.Coverage.UnaccountedSamples, unknown, o.Parts)
	if s.Total.Requests+s.Coverage.UnaccountedSamples+unknown != did || known != s.Total.Requests {
		c.t.Errorf("run %s: %d counted (%d by worker) + %d unaccounted + %d unknown, users did %d",
			o.Run.ID, s.Total.Requests, known, s.Coverage.UnaccountedSamples, unknown, did)
	}
	if s.Coverage.LostWorkers != lost || s.Coverage.MissingReports != missing {
		c.t.Errorf("run %s: coverage %+v, %d lost, %d missing", o.Run.ID, s.Coverage, lost, missing)
	}
	if cov := s.Coverage; cov.DeliveredUserSeconds > cov.PlannedUserSeconds+1e-6 || cov.DeliveredUserSeconds < 0 {
		c.t.Errorf("coverage %+v", cov)
	}
	series := int64(0)
	for _, second := range s.Series {
		series += second.Requests
	}
	// The seconds that a lost worker had not closed are in no report.
	if series > s.Total.Requests || lost == 0 && series != s.Total.Requests {
		c.t.Errorf("run %s: %d in the series, %d in all", o.Run.ID, series, s.Total.Requests)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for id, n := range c.ids {
		if n > 1 {
			c.t.Errorf("user %s started %d times", id, n)
		}
	}
}

// unknown returns how many calls lost workers made after what they told last. Only workers to which
// something happened are lost.
func (c *chaos) unknown(o *master.Outcome) int64 {
	unknown := int64(0)
	for _, p := range c.procs {
		p.mu.Lock()
		did := p.calls[o.Run.ID]
		p.mu.Unlock()
		parts := slices.DeleteFunc(slices.Clone(o.Parts), func(part master.Part) bool { return part.Worker != p.id })
		told, lost := int64(0), len(parts) == 0
		for _, part := range parts {
			told += part.Samples
			lost = lost || part.Lost
		}
		// Processes of one id are told apart by what they made.
		for _, other := range c.procs {
			if other != p && other.id == p.id {
				other.mu.Lock()
				did += other.calls[o.Run.ID]
				other.mu.Unlock()
			}
		}
		if first := slices.IndexFunc(c.procs, func(q *proc) bool { return q.id == p.id }); c.procs[first] != p {
			continue
		}
		if did < told {
			c.t.Errorf("worker %s says that it made %d calls, it made %d", p.id, told, did)
		}
		if lost {
			unknown += did - told
		}
	}
	return unknown
}
