package master

import (
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// askEvery is how often the same worker is asked to register again, or to reconnect.
	askEvery = 10 * time.Second
	// returnGrace is how long after its stop timeout a worker of Locust may take to register again.
	returnGrace = 30 * time.Second
	// maxLearned bounds the classes that workers can tell of.
	maxLearned = 1000
	// maxLogs bounds the workers whose log lines are kept.
	maxLogs = 5000
	// maxFiles bounds the files that are sent to workers, in bytes.
	maxFiles = 16 << 20
)

// handle takes the events of the router.
func (m *Master) handle(e wire.Event) {
	switch e.Kind {
	case wire.Connected:
		m.connected(&e)
	case wire.Received:
		m.received(&e)
	case wire.Bad:
		m.bad(&e)
	case wire.Gone:
		m.disconnected(&e)
	case wire.Refused:
		m.log.Warn("a connection is refused", "from", e.Remote, "error", e.Err)
	}
}

// connected: a worker that comes back within its time has lost nothing.
func (m *Master) connected(e *wire.Event) {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := m.nodes[e.Identity]
	if n == nil {
		return
	}
	if n.gone {
		m.alive(n)
		if n.state == StateMissing {
			m.heal(n, StateReady)
		}
	}
}

func (m *Master) disconnected(e *wire.Event) {
	if errors.Is(e.Err, wire.ErrReplaced) {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[e.Identity]; n != nil {
		n.gone = true
		m.lose(n, "its connection ended", "error", e.Err)
	}
}

// bad asks a worker whose message makes no sense to connect anew, as Locust's master does.
func (m *Master) bad(e *wire.Event) {
	m.log.Warn("a message is not understood", "worker", e.Identity, "bytes", e.Size, "error", e.Err)
	m.mu.Lock()
	defer m.mu.Unlock()
	if n := m.nodes[e.Identity]; n != nil && time.Since(n.complained) >= askEvery {
		n.complained = time.Now()
		m.send(n.id, wire.TypeReconnect, nil)
	}
}

// received is a report of a worker with the difference that it makes, which is found without the lock:
// that takes longer than to merge it.
type received struct {
	*wire.Stats
	delta *stats.Snapshot
}

// received does what one message says. Workers are known by the identity of their connection,
// whatever their messages say.
func (m *Master) received(e *wire.Event) {
	id, data := e.Identity, e.Message.Data
	switch e.Message.Type {
	case wire.TypeLocustfile:
		m.sendFiles(id)
		return
	case wire.TypeClientReady, wire.TypeHeartbeat, wire.TypeStats, wire.TypeSpawning, wire.TypeSpawningComplete,
		wire.TypeClientStopped, wire.TypeQuit, wire.TypeException, wire.TypeLogs, wire.TypeHello, wire.TypeStopTest, wire.TypeRunFailed:
	default:
		if m.config.OnMessage != nil {
			m.config.OnMessage(id, e.Message)
		}
		return
	}
	if s, ok := data.(*wire.Stats); ok {
		delta := s.Delta(time.Now())
		e.Message.Data = &received{s, delta}
		defer s.Recycle(delta)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if ready, ok := data.(wire.ClientReady); ok {
		m.register(e, ready)
		return
	}
	n := m.nodes[id]
	if n == nil {
		m.stranger(id, &e.Message)
		return
	}
	m.alive(n)
	m.from(n, &e.Message)
}

// from handles a message of a known worker. The lock is held.
func (m *Master) from(n *node, message *wire.Message) {
	switch message.Type {
	case wire.TypeHeartbeat:
		if beat, ok := message.Data.(wire.Heartbeat); ok {
			m.heartbeat(n, beat)
			m.answer(n)
		}
	case wire.TypeStats:
		if s, ok := message.Data.(*received); ok {
			m.statsAndHeartbeat(n, s)
		}
	case wire.TypeSpawning:
		if n.state != StateMissing {
			n.state = StateSpawning
		}
	case wire.TypeSpawningComplete:
		if complete, ok := message.Data.(wire.SpawningComplete); ok {
			m.complete(n, complete)
		}
	case wire.TypeClientStopped:
		m.clientStopped(n)
	case wire.TypeQuit:
		if n.evicting {
			n.evicting = false // the goodbye of the older one of two processes
			return
		}
		m.log.Info("a worker leaves", "worker", n.id)
		m.left(n)
	case wire.TypeHello:
		if hello, ok := wire.HelloOf(message.Data); ok {
			m.hello(n, hello)
		}
	default:
		m.tell(n.id, message)
	}
}

// tell takes what is recorded whoever says it. The lock is held.
func (m *Master) tell(id string, message *wire.Message) {
	r := m.active
	switch message.Type {
	case wire.TypeException:
		if exception, ok := message.Data.(wire.Exception); ok && r != nil && r.ledger != nil {
			r.ledger.exception(id, exception.Message, exception.Traceback, 1)
		}
	case wire.TypeLogs:
		if logs, ok := message.Data.(wire.Logs); ok && (m.logs[id] != nil || len(m.logs) < maxLogs) {
			m.logs[id] = logs.Lines
		}
	case wire.TypeStopTest:
		if reason, ok := message.Data.(string); ok && r != nil && r.ids[id] != nil {
			r.stop(reason)
		}
	case wire.TypeRunFailed:
		if r != nil && r.ids[id] != nil {
			m.runFailed(id, message.Data)
		}
	}
}

func (m *Master) runFailed(id string, data any) {
	fields, _ := data.(map[string]any)
	name, _ := fields["run"].(string)
	text, _ := fields["error"].(string)
	traceback, _ := fields["traceback"].(string)
	if r := m.active; r != nil && r.run.ID == name {
		r.fail(&WorkerError{Worker: id, Text: text, Stack: traceback})
	}
}

// WorkerError is why a run could not begin on a worker.
type WorkerError struct{ Worker, Text, Stack string }

func (e *WorkerError) Error() string { return fmt.Sprintf("worker %s: %s", e.Worker, e.Text) }

// Traceback returns where the error arose on the worker.
func (e *WorkerError) Traceback() string { return e.Stack }

// stranger handles a message of a worker that is not known: one that was forgotten, that said that it
// stopped and comes back soon, or that knew this master before it was started anew. The lock is held.
func (m *Master) stranger(id string, message *wire.Message) {
	switch message.Type {
	case wire.TypeHeartbeat, wire.TypeSpawning, wire.TypeSpawningComplete, wire.TypeHello:
		m.adopt(id)
	case wire.TypeStats:
		s, _ := message.Data.(*received)
		if r := m.active; r != nil && s != nil {
			r.lateStats(id, s)
		}
		if _, returning := m.leaving[id]; !returning {
			m.adopt(id)
		}
	case wire.TypeQuit:
		delete(m.leaving, id)
		if r := m.active; r != nil {
			r.wake()
		}
		m.notify()
	case wire.TypeClientStopped:
		m.leaving[id] = time.Now().Add(m.config.StopTimeout + returnGrace)
	default:
		m.tell(id, message)
	}
}

// adopt asks a worker to stop, after which it registers. The lock is held.
func (m *Master) adopt(id string) {
	if _, asked := m.leaving[id]; asked || m.closing {
		return
	}
	m.log.Info("a worker that is not known is asked to register", "worker", id)
	m.leaving[id] = time.Now().Add(askEvery + m.config.StopTimeout)
	m.send(id, wire.TypeStop, nil)
}

// register answers client_ready. The lock is held.
func (m *Master) register(e *wire.Event, ready wire.ClientReady) {
	if m.closing {
		m.send(e.Identity, wire.TypeQuit, nil)
		return
	}
	n := m.nodes[e.Identity]
	switch {
	case n == nil:
		n = m.add(e.Identity)
		// One of this program tells its version in its hello, which comes later.
		m.log.Info("a worker has joined", "worker", n.id, "index", n.index, "from", e.Remote)
	case !n.own && (total(n.told) > 0 || n.running > 0):
		// One of this program that is another process says so in its hello.
		m.log.Warn("a worker begins anew", "worker", n.id)
		m.alive(n)
		m.renew(n)
	case n.state == StateMissing:
		m.alive(n)
		m.heal(n, StateReady)
	default:
		m.alive(n)
	}
	info := wire.MasterInfo{Protocol: wire.Protocol, Version: m.config.Version, ReportEvery: m.config.ReportEvery}
	m.send(n.id, wire.TypeAck, wire.Ack{Index: n.index, Extra: info.Extra()})
	m.workersChanged()
}

// hello makes a worker known as one of this program. Of two processes with one id, the one that came
// first has to go. The lock is held.
func (m *Master) hello(n *node, hello wire.Hello) {
	if m.retired[hello.Process] {
		m.log.Warn("two workers have the same id: the older one is told to quit", "worker", n.id)
		n.evicting = m.send(n.id, wire.TypeQuit, nil)
		return
	}
	if n.hello.Process != "" && n.hello.Process != hello.Process {
		m.log.Warn("another process has taken over a worker's id", "worker", n.id)
		m.retired[n.hello.Process] = true
		m.renew(n)
	}
	if n.hello.Process != hello.Process {
		if hello.Version != m.config.Version {
			m.log.Warn("a worker has another version", "worker", n.id, "own", m.config.Version, "worker_version", hello.Version)
		}
		if hello.Locustfile != m.config.Locustfile && m.config.Locustfile != "" {
			m.log.Warn("a worker has another locustfile", "worker", n.id, "own", m.config.Locustfile, "worker_locustfile", hello.Locustfile)
		}
	}
	other := m.config.Build != "" && hello.Build != "" && hello.Build != m.config.Build
	if other {
		m.log.Warn("a worker of another build is refused", "worker", n.id, "own", m.config.Build, "worker_build", hello.Build)
		m.send(n.id, wire.TypeQuit, nil)
		hello.Classes = nil // no users until it has left
	}
	m.accounted(n, func() { n.own, n.hello = true, hello })
	if n.part != nil && n.part.process == "" {
		n.part.own, n.part.process = true, hello.Process
	}
	n.classes = map[string]bool{}
	for _, class := range hello.Classes {
		n.classes[class] = true
	}
	m.learn(n)
	m.sendUpdates(n)
	m.workersChanged()
}

// sendUpdates tells a worker how its classes were changed before it came. The lock is held.
func (m *Master) sendUpdates(n *node) {
	for _, update := range m.updates {
		if n.has(update.Class) {
			m.send(n.id, wire.TypeUpdateUserClass, update)
		}
	}
}

// learn takes over class names that only workers know. The lock is held.
func (m *Master) learn(n *node) {
	for class := range n.classes {
		if len(m.learned) < maxLearned {
			m.learned[class] = true
		}
	}
}

// statsAndHeartbeat takes a report and the heartbeat that may be in it, whose answer confirms the
// report. The lock is held.
func (m *Master) statsAndHeartbeat(n *node, s *received) {
	beats := s.Report != nil && s.Report.Heartbeat.State != ""
	if beats {
		m.heartbeat(n, s.Report.Heartbeat)
	}
	m.stats(n, s)
	if beats {
		m.answer(n)
	}
}

// heartbeat takes a sign of life. The lock is held.
func (m *Master) heartbeat(n *node, beat wire.Heartbeat) {
	n.cpu, n.memory = beat.CPU, beat.Memory
	switch {
	case n.state == StateMissing:
		m.heal(n, beat.State)
	case beat.State != "" && beat.State != n.state:
		before := n.active()
		m.accounted(n, func() { n.state = beat.State })
		if n.active() != before {
			m.workersChanged()
		}
	}
}

// answer answers a heartbeat; one of this program learns which reports it need not keep. The lock is
// held.
func (m *Master) answer(n *node) {
	if !n.own {
		m.send(n.id, wire.TypeHeartbeat, nil)
		return
	}
	acknowledged := n.discarded
	if n.part != nil {
		acknowledged = n.part.stream.contiguous
	}
	m.send(n.id, wire.TypeHeartbeat, wire.Heartbeat{Acknowledged: acknowledged})
}

// stats takes a report. The lock is held.
func (m *Master) stats(n *node, s *received) {
	if s.Report == nil {
		m.knows(n, s.UsersByClass)
	}
	var p *part
	if m.active != nil {
		p = m.active.take(n, s)
	}
	switch {
	case s.Report == nil || n.part != nil:
	case p != nil:
		n.discarded = p.stream.contiguous
	default:
		// Nobody counts it any more; the worker need not keep it.
		n.discarded = max(n.discarded, s.Report.Sequence)
	}
	m.runs(n, s.UsersByClass)
}

// knows takes the classes of a worker of Locust from the counts that it tells: they have all of them.
func (m *Master) knows(n *node, users map[string]int) {
	if n.own || len(users) == 0 {
		return
	}
	if n.classes == nil {
		n.classes = map[string]bool{}
	}
	before := len(n.classes)
	for class := range users {
		n.classes[class] = true
	}
	if len(n.classes) != before {
		m.learn(n)
		m.sendUpdates(n)
		m.workersChanged()
	}
}

// runs takes over what a worker says that it runs. The lock is held.
func (m *Master) runs(n *node, users map[string]int) {
	if n.state == StateMissing {
		return
	}
	if !n.settled || !maps.Equal(n.users, users) {
		m.accounted(n, func() {
			m.setUsers(n, users)
			if !n.awaiting {
				n.endedUsers, n.settled = max(total(n.told)-n.running, 0), true
			}
		})
	}
	if n.told == nil && n.running > 0 && m.active != nil {
		m.active.wake()
	}
}

// complete says that a worker has done what it was told. The lock is held.
func (m *Master) complete(n *node, complete wire.SpawningComplete) {
	if n.state == StateMissing {
		m.heal(n, StateRunning)
	}
	n.state, n.awaiting = StateRunning, false
	m.knows(n, complete.UsersByClass)
	m.runs(n, complete.UsersByClass)
	m.notify()
}

// clientStopped says that a worker's users have ended. One of Locust is unknown until it registers
// again. The lock is held.
func (m *Master) clientStopped(n *node) {
	if r := m.active; r != nil {
		r.workerStopped(n)
	}
	if n.own {
		confirmed := n.discarded
		if n.part != nil {
			confirmed = n.part.stream.contiguous
		}
		m.renew(n)
		n.discarded = confirmed
		return
	}
	m.leaving[n.id] = time.Now().Add(m.config.StopTimeout + returnGrace)
	m.remove(n)
}

// left says that a worker's process ends. The lock is held.
func (m *Master) left(n *node) {
	if r := m.active; r != nil {
		r.workerLeft(n)
	}
	m.remove(n)
}

// sendFiles answers a worker that has no locustfile. Its identity is one for this question only.
func (m *Master) sendFiles(id string) {
	var reply wire.LocustfileReply
	if m.config.Files == nil {
		reply.Error = "the master has no locustfile to give"
	} else if files, err := m.config.Files(); err != nil {
		reply.Error = err.Error()
	} else {
		size := 0
		for _, file := range files {
			size += len(file.Contents)
		}
		if reply.Files = files; size > maxFiles {
			reply = wire.LocustfileReply{Error: fmt.Sprintf("the locustfile and its modules have %d bytes, more than %d", size, maxFiles)}
		}
	}
	m.send(id, wire.TypeLocustfile, reply)
}
