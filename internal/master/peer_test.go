package master_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/internal/wire/wiretest"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// peer is a worker as Locust's is, as far as its master can see. It does what it is told at once.
type peer struct {
	t      *testing.T
	id     string
	dealer *wire.Dealer
	cancel context.CancelFunc
	done   chan struct{}
	tally  *wire.Tally

	mu          sync.Mutex
	silent      bool // no heartbeats and no answers
	users       map[string]int
	spawns      []spawned
	received    []wire.Message
	stopTimeout time.Duration
	state       string
}

type spawned struct {
	at time.Time
	wire.Spawn
}

// peers are a master and workers that speak Locust's protocol only.
type peers struct {
	t        *testing.T
	listener *wiretest.Listener
	master   *master.Master
	classes  []*loadtest.UserClass
	stop     func()
}

func newPeers(t *testing.T, config master.Config) *peers {
	t.Helper()
	p := &peers{t: t, listener: wiretest.NewListener(), classes: config.Classes}
	config.Link.AllowPlain = true
	m, err := master.New(config)
	if err != nil {
		t.Fatal(err)
	}
	p.master = m
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := m.Run(ctx, p.listener); err != nil {
			t.Error(err)
		}
	}()
	p.stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(p.stop)
	return p
}

// connect makes a connection that says nothing yet.
func (p *peers) connect(id string) *peer {
	p.t.Helper()
	w := &peer{
		t: p.t, id: id, users: map[string]int{}, tally: wire.NewTally(time.Now()), done: make(chan struct{}), state: "ready",
	}
	for _, c := range p.classes {
		w.users[c.Name] = 0
	}
	w.dealer = wire.NewDealer(wire.DealerOptions{Identity: id, Dial: p.listener.Dial})
	ctx, cancel := context.WithCancel(context.Background())
	w.cancel = cancel
	var group sync.WaitGroup
	group.Go(func() { _ = w.dealer.Run(ctx) })
	group.Go(func() { w.receive(ctx) })
	group.Go(func() { w.beat(ctx) })
	go func() {
		group.Wait()
		close(w.done)
	}()
	p.t.Cleanup(w.kill)
	return w
}

// join connects and registers.
func (p *peers) join(id string) *peer {
	p.t.Helper()
	w := p.connect(id)
	w.send(wire.TypeClientReady, wire.ClientReady{Version: "2.47.0"})
	synctest.Wait()
	w.send(wire.TypeStats, w.report())
	synctest.Wait()
	return w
}

func (w *peer) kill() {
	w.cancel()
	<-w.done
}

func (w *peer) send(kind string, data any) {
	if err := w.dealer.Send(&wire.Message{Type: kind, Data: data, NodeID: w.id}); err != nil {
		w.t.Error(err)
	}
}

// record counts a call of a user.
func (w *peer) record(name string, d time.Duration) {
	w.tally.Record(&stats.Sample{Type: "CALL", Name: name, Start: time.Now().Add(-d), Duration: d})
}

func (w *peer) report() *wire.Stats {
	s := w.tally.Take(time.Now())
	w.mu.Lock()
	defer w.mu.Unlock()
	s.UsersByClass = maps.Clone(w.users)
	for _, n := range w.users {
		s.Users += n
	}
	return s
}

func (w *peer) beat(ctx context.Context) {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
		w.mu.Lock()
		silent, state := w.silent, w.state
		w.mu.Unlock()
		if silent {
			continue
		}
		w.send(wire.TypeHeartbeat, wire.Heartbeat{State: state, CPU: 1, Memory: 2})
		if n%3 == 0 {
			w.send(wire.TypeStats, w.report())
		}
	}
}

func (w *peer) receive(ctx context.Context) {
	for {
		m, err := w.dealer.Receive(ctx)
		if err != nil {
			return
		}
		w.mu.Lock()
		w.received = append(w.received, m)
		silent := w.silent
		w.mu.Unlock()
		if silent {
			continue
		}
		switch m.Type {
		case wire.TypeSpawn:
			w.spawn(m.Data.(wire.Spawn))
		case wire.TypeStop:
			w.stopUsers()
			w.send(wire.TypeClientStopped, nil)
			time.Sleep(w.stopTimeout)
			w.send(wire.TypeClientReady, wire.ClientReady{Version: "2.47.0"})
		case wire.TypeQuit:
			w.stopUsers()
			w.send(wire.TypeStats, w.report())
			w.send(wire.TypeQuit, nil)
		}
	}
}

func (w *peer) spawn(s wire.Spawn) {
	w.send(wire.TypeSpawning, nil)
	w.mu.Lock()
	w.spawns = append(w.spawns, spawned{time.Now(), s})
	maps.Copy(w.users, s.UsersByClass)
	users := maps.Clone(w.users)
	w.stopTimeout = time.Duration(s.StopTimeout * float64(time.Second))
	w.state = "running"
	w.mu.Unlock()
	total := 0
	for _, n := range users {
		total += n
	}
	w.send(wire.TypeSpawningComplete, wire.SpawningComplete{UsersByClass: users, Users: total})
}

func (w *peer) stopUsers() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for class := range w.users {
		w.users[class] = 0
	}
	w.state = "ready"
}

func (w *peer) setSilent(silent bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.silent = silent
}

// told returns the types of the messages of the master, heartbeats left out.
func (w *peer) told() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var types []string
	for _, m := range w.received {
		if m.Type != wire.TypeHeartbeat {
			types = append(types, m.Type)
		}
	}
	return types
}

// spawnCount returns how often the worker was told what to run.
func (w *peer) spawnCount() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.spawns)
}

// runs returns what the worker runs, such as "A2 B1".
func (w *peer) runs() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return counts(w.users)
}

func counts(users map[string]int) string {
	var parts []string
	for _, class := range slices.Sorted(maps.Keys(users)) {
		if users[class] > 0 {
			parts = append(parts, fmt.Sprintf("%s%d", class, users[class]))
		}
	}
	return strings.Join(parts, "")
}

func (p *peers) start(plan master.Plan) {
	p.t.Helper()
	if _, err := p.master.Start(plan); err != nil {
		p.t.Fatal(err)
	}
	synctest.Wait()
}

func (p *peers) end() master.Outcome {
	p.t.Helper()
	if err := p.master.Stop(context.Background()); err != nil {
		p.t.Fatal(err)
	}
	o, _ := p.master.Outcome()
	return o
}

// states returns the workers' states by their order.
func (p *peers) states() string {
	var states []string
	for _, w := range p.master.Workers() {
		states = append(states, w.State)
	}
	return strings.Join(states, " ")
}
