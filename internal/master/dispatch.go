package master

import (
	"maps"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// aim begins a ramp.
func (r *run) aim(t *timers, users int, rate float64, only []string) {
	r.m.mu.Lock()
	r.m.state = StateSpawning
	r.target, r.only, r.ramping = users, only, true
	r.dealAnew() // to those who joined since, too
	r.dispatcher.Target(users, rate, only)
	r.m.mu.Unlock()
	t.nextStep = time.Now()
	t.settle.Stop()
	r.step(t, true)
}

// step tells the workers about one step of the ramp, and sets the timer for the next one: steps keep
// to the schedule of the ramp. Each worker is told of its users when they change, and all of them
// when a ramp begins.
func (r *run) step(t *timers, all bool) {
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	step, ok := r.dispatcher.Next()
	if ok {
		late := time.Since(t.nextStep)
		r.accounts.plannedSeconds += max(late.Seconds(), 0) * float64(len(step.Start))
		r.deal(&step, all)
		if step.Wait > 0 {
			t.nextStep = t.nextStep.Add(step.Wait)
			t.step.Reset(time.Until(t.nextStep))
			return
		}
	}
	r.ramping = false
	t.rampEnded = time.Now()
	t.settle.Reset(0)
}

// deal sends a step to the workers. The lock is held.
func (r *run) deal(step *loadtest.Step, all bool) {
	indexes := map[string]map[string][]int64{}
	for _, a := range step.Start {
		byClass := indexes[a.Worker]
		if byClass == nil {
			byClass = map[string][]int64{}
			indexes[a.Worker] = byClass
		}
		byClass[a.Class] = append(byClass[a.Class], r.nextIndex)
		r.nextIndex++
	}
	r.account(time.Now())
	for id := range r.assigned {
		if _, dealt := step.Users[id]; !dealt {
			r.assign(id, map[string]int{}, nil, false)
			delete(r.assigned, id)
		}
	}
	for id, users := range step.Users {
		r.assign(id, users, indexes[id], all)
	}
}

// assign tells a worker what to run. The lock is held.
func (r *run) assign(id string, users map[string]int, indexes map[string][]int64, always bool) {
	r.accounts.assigned += total(users) - total(r.assigned[id])
	r.assigned[id] = users
	n := r.m.nodes[id]
	if n == nil || n.state == StateMissing {
		return
	}
	if n.told != nil && !always && sameCounts(n.told, users) {
		return
	}
	if n.knowsRun != r.run.ID && countIndexes(indexes) != total(users) {
		// It runs none of those that it was dealt before.
		indexes = r.freshIndexes(users)
	}
	r.tell(n, users, indexes)
}

func countIndexes(indexes map[string][]int64) int {
	n := 0
	for _, list := range indexes {
		n += len(list)
	}
	return n
}

func (r *run) freshIndexes(users map[string]int) map[string][]int64 {
	indexes := map[string][]int64{}
	for _, class := range slices.Sorted(maps.Keys(users)) {
		for range users[class] {
			indexes[class] = append(indexes[class], r.nextIndex)
			r.nextIndex++
		}
	}
	return indexes
}

func sameCounts(a, b map[string]int) bool {
	for class, n := range a {
		if b[class] != n {
			return false
		}
	}
	for class, n := range b {
		if a[class] != n {
			return false
		}
	}
	return true
}

// tell sends a spawn. The lock is held.
func (r *run) tell(n *node, users map[string]int, indexes map[string][]int64) {
	m := r.m
	counts := map[string]int{}
	for _, c := range r.classes {
		if n.has(c.Name) {
			counts[c.Name] = users[c.Name]
		}
	}
	// A worker ignores what is not newer than the last, also after a restart of its master.
	m.lastSpawn = max(wire.Timestamp(time.Now()), m.lastSpawn+1e-6)
	spawn := wire.Spawn{
		Timestamp: m.lastSpawn, UsersByClass: counts, Host: r.plan.Host,
		StopTimeout: m.config.StopTimeout.Seconds(), Options: r.parsedOptions(),
	}
	if n.own || n.classes == nil {
		info := wire.RunInfo{
			ID: r.run.ID, Seed: r.run.Seed, Elapsed: time.Since(r.started), Warmup: m.config.Warmup,
			WorkerIndex: n.index, WorkerCount: max(len(r.members), 1), Indexes: indexes,
		}
		if info.Complete = n.knowsRun != r.run.ID; info.Complete {
			info.Options, info.Settings, info.Shared = r.run.Options, r.scenario.Settings, r.env.AllShared()
		}
		spawn.Extra = info.Extra()
	}
	if !m.send(n.id, wire.TypeSpawn, spawn) {
		return
	}
	if n.part == nil && total(counts) > 0 {
		r.join(n)
	}
	r.m.accounted(n, func() { n.knowsRun, n.told, n.awaiting, n.settled = r.run.ID, counts, true, false })
}

// join makes a worker take part in the run. The lock is held.
func (r *run) join(n *node) {
	if p := r.processes[n.hello.Process]; p != nil && n.own {
		n.part, r.ids[n.id] = p, p // it had stopped, and begins again
		return
	}
	p := &part{id: n.id, own: n.own, process: n.hello.Process}
	n.part = p
	r.parts = append(r.parts, p)
	r.ids[n.id] = p
	if p.process != "" {
		r.processes[p.process] = p
	}
}

// parsedOptions returns the options that Locust's workers are given.
func (r *run) parsedOptions() map[string]any {
	options := make(map[string]any, len(r.plan.Options)+8)
	options["users"], options["spawn_rate"] = r.plan.Users, r.plan.SpawnRate
	options["host"] = nil
	if r.plan.Host != "" {
		options["host"] = r.plan.Host
	}
	for name, value := range r.plan.Options {
		options[name] = typed(value)
	}
	maps.Copy(options, r.plan.ParsedOptions)
	options["tags"], options["exclude_tags"] = listOrNil(r.plan.Tags), listOrNil(r.plan.ExcludeTags)
	return options
}

// typed returns the value that a text is in Python where it is a number or a truth value as we write
// them: Locust's workers take values as they come, whatever type the file's argument has.
func typed(text string) any {
	if n, err := strconv.ParseInt(text, 10, 64); err == nil && strconv.FormatInt(n, 10) == text {
		return n
	}
	if x, err := strconv.ParseFloat(text, 64); err == nil && strconv.FormatFloat(x, 'g', -1, 64) == text && !math.IsNaN(x) && !math.IsInf(x, 0) {
		return x
	}
	switch text {
	case "true", "false":
		return text == "true"
	}
	return text
}

func listOrNil(list []string) any {
	if len(list) == 0 {
		return nil
	}
	return list
}

// settle ends the ramp when the workers run what they were told, or have had the time to.
func (r *run) settle(t *timers) {
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	if r.ramping {
		return
	}
	awaiting := false
	for _, id := range r.members {
		if n := m.nodes[id]; n != nil && n.active() && n.awaiting {
			awaiting = true
		}
	}
	if awaiting && time.Since(t.rampEnded) < rampGrace {
		t.settle.Reset(settleEvery)
		return
	}
	if m.state != StateSpawning {
		return
	}
	m.state = StateRunning
	users := total(m.users())
	m.log.Info("all users are started", "users", users)
	for id := range m.nodes {
		m.send(id, wire.TypeSpawningComplete, wire.SpawningComplete{Users: users})
	}
	if listener := r.scenario.Events.SpawningComplete; listener != nil {
		planned := r.dispatcher.Planned()
		r.listeners.Go(func() {
			if err := listener(r.listening, r.env, planned); err != nil {
				m.mu.Lock()
				defer m.mu.Unlock()
				r.warnings = append(r.warnings, "on_spawning_complete: "+err.Error())
			}
		})
	}
}

// rebalance deals the users anew when workers came or went, at most once a change, to the same
// total. While no ramp goes on, workers that came get users only with Config.Rebalance, and those of
// a missing worker are dealt to others only once it is forgotten.
func (r *run) rebalance() {
	m := r.m
	m.mu.Lock()
	defer m.mu.Unlock()
	r.classesChanged()
	r.dealAnew()
	r.sync()
}

// dealAnew deals the users that run if others than before should have them. The lock is held.
func (r *run) dealAnew() {
	members := r.wantedMembers()
	// Without any worker, users stay where they are planned: either somebody comes or the run ends.
	if len(members) == 0 || slices.Equal(members, r.members) {
		return
	}
	r.m.log.Info("users are dealt anew", "workers", len(members), "before", len(r.members))
	r.members = members
	r.dispatcher.Move(members)
	if step, ok := r.dispatcher.Next(); ok {
		r.deal(&step, false)
	}
}

// classesChanged takes over classes that workers have told of since the run began, where nobody else
// knows any. The lock is held.
func (r *run) classesChanged() {
	if classes := r.m.classes(); len(classes) > len(r.classes) {
		r.classes = classes
	}
}

// wantedMembers returns the workers that users should be dealt to. The lock is held.
func (r *run) wantedMembers() []string {
	m := r.m
	able := map[string]bool{}
	for _, id := range m.able(r.names(r.only)) {
		able[id] = true
	}
	patient := !r.ramping && !m.config.Rebalance
	var kept []string
	running := false
	for _, id := range r.members {
		n := m.nodes[id]
		switch {
		case able[id]:
			kept, running = append(kept, id), true
			delete(able, id)
		case patient && n != nil && n.state == StateMissing:
			kept = append(kept, id)
		}
	}
	if patient && running || len(able) == 0 {
		return kept
	}
	return loadtest.SortWorkers(slices.AppendSeq(kept, maps.Keys(able)))
}

// sync tells workers again that may not have heard what they were told. The lock is held.
func (r *run) sync() {
	m := r.m
	for _, id := range slices.Sorted(maps.Keys(r.assigned)) {
		if n := m.nodes[id]; n != nil && n.active() && n.told == nil {
			r.assign(id, r.assigned[id], nil, true)
		}
	}
	// One that came back after its users were dealt to others, or that heard late of them, has none.
	for id, n := range m.nodes {
		if r.assigned[id] == nil && n.active() && n.told == nil && (n.part != nil || n.running > 0) {
			r.tell(n, map[string]int{}, nil)
		}
	}
}

// take counts a report of a known worker and returns in which part; nil when it is not of this run.
// The lock is held.
func (r *run) take(n *node, s *received) *part {
	if r.ledger == nil {
		return nil
	}
	now := time.Now()
	if s.Report == nil {
		r.lateStats(n.id, s)
		return r.ids[n.id]
	}
	process, ours := r.processOf(s.Report)
	if !ours {
		return nil
	}
	p := r.processes[process]
	if p == nil {
		if p = n.part; p == nil || p.process != "" && p.process != process {
			r.join(n)
			p = n.part
		}
		p.process, p.own = process, true
		r.processes[process] = p
	}
	r.count(p, s.Report, now)
	return p
}

// processOf returns the process that made a report of this run.
func (r *run) processOf(report *wire.Report) (process string, ours bool) {
	id := r.run.ID + "/"
	if len(report.Run) <= len(id) || report.Run[:len(id)] != id {
		return "", false
	}
	return report.Run[len(id):], true
}

func (r *run) count(p *part, report *wire.Report, now time.Time) {
	if !p.stream.take(report) {
		return
	}
	d := report.Delta
	r.ledger.own(p, d)
	r.accounts.deliveredSeconds += max(d.Coverage.DeliveredUserSeconds, 0)
	r.accounts.plannedSeconds -= min(report.EndedUserSeconds, r.accounts.plannedSeconds)
	p.at = d.At.Add(r.started.Sub(d.Started))
	if report.Final {
		r.wake()
	}
}

// lateStats counts a report of a worker that may not be known any more: one that has stopped, or was
// forgotten. The lock is held.
func (r *run) lateStats(id string, s *received) {
	p := r.ids[id]
	if p == nil || r.ledger == nil {
		return
	}
	if s.Report == nil {
		r.ledger.locust(s, time.Now())
		p.told = p.told || !p.stoppedAt.IsZero()
		return
	}
	if process, ours := r.processOf(s.Report); ours && r.processes[process] != nil {
		r.count(r.processes[process], s.Report, time.Now())
	}
}

// workerStopped: what a worker says after its client_stopped is its last report. The lock is held.
func (r *run) workerStopped(n *node) {
	if n.part != nil {
		n.part.stoppedAt = time.Now()
	}
	r.wake()
}

func (r *run) workerLeft(n *node) {
	if n.part != nil {
		n.part.left = true
	}
	r.wake()
}

// account brings the account of user seconds up to now. The lock is held.
func (r *run) account(now time.Time) {
	if r.ledger != nil && r.final == nil {
		r.accounts.advance(now)
	}
}

// reckon takes over what a worker contributes from now on. The lock is held.
func (r *run) reckon(n *node) {
	var now share
	if n.active() {
		now.workers = 1
	}
	if n.part != nil {
		now.ended = n.endedUsers
		if n.own {
			now.told = n.endedUsers
		}
		if n.active() && !n.own {
			now.counted = min(n.running, total(n.told))
		}
	}
	r.accounts.all.add(n.share, -1)
	r.accounts.all.add(now, 1)
	n.share = now
	r.workers = max(r.workers, r.accounts.all.workers)
}

// takeBack corrects the account by the users of a worker that accounts for none itself and has not
// been heard for a while: they may not have run. The lock is held.
func (r *run) takeBack(n *node) {
	if n.own || n.part == nil || r.ledger == nil {
		return
	}
	a, users := &r.accounts, min(n.running, total(n.told))
	since := max(n.heard.Sub(r.started), 0)
	a.deliveredSeconds -= min(float64(users)*(time.Since(r.started)-since).Seconds(), a.deliveredSeconds)
	for i := int(since / time.Second); i < len(a.atEnd); i++ {
		a.atEnd[i].counted -= min(users, a.atEnd[i].counted)
	}
}

// cover writes what is known about users over time into a snapshot. The lock is held.
func (r *run) cover(s *stats.Snapshot, now time.Time) {
	a := &r.accounts
	planned, delivered := a.plannedSeconds, a.deliveredSeconds
	for _, n := range r.m.nodes {
		// What workers of this program have not accounted for yet.
		if n.own && n.part != nil && n.active() && !r.stopping {
			since := n.part.at
			if since.IsZero() {
				since = now
			}
			unreported := max(now.Sub(since).Seconds(), 0)
			delivered += float64(min(n.running, total(n.told))) * unreported
			planned -= float64(n.endedUsers) * unreported
		}
	}
	users := make([]int, len(s.Series))
	for i := range s.Series {
		users[i] = s.Series[i].Users
		if index := int(s.Series[i].Index + r.ledger.base); index < len(a.atEnd) {
			s.Series[i].Users += a.atEnd[index].counted
		}
	}
	reach := int64(now.Sub(r.started)/time.Second) - 3
	if r.stopping {
		reach = int64(len(a.atEnd))
	}
	s.Coverage = stats.Coverage{
		PlannedUserSeconds:   max(planned, 0),
		DeliveredUserSeconds: min(delivered, max(planned, 0)),
		Gaps:                 a.gaps(users, r.ledger.base, reach),
		CutShort:             a.cutShort,
		LostWorkers:          r.lost,
		UnaccountedSamples:   r.uncounted,
		MissingReports:       r.missing,
	}
}
