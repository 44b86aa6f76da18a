package worker

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// Locust's intervals, and ours.
const (
	joinEvery      = 5 * time.Second
	heartbeatEvery = time.Second
	locustReports  = 3 * time.Second
	logsEvery      = 10 * time.Second
	tickEvery      = time.Second
	// beatenFor is how long the heartbeat of a report lasts: the next report goes without one. Reports are
	// signs of life themselves, so that it has only to confirm them before they are sent again.
	beatenFor = 1500 * time.Millisecond
	// coveredFor is how long a heartbeat in a report stands for those of its own: longer than it takes to
	// the next one in a report, so that reports a little late need no others.
	coveredFor = 2200 * time.Millisecond
)

// Status says why a worker ended.
type Status string

// The ends of a worker, all of them orderly: its users were stopped.
const (
	// StatusQuit: the master said so.
	StatusQuit Status = "quit"
	// StatusStopped: the context ended.
	StatusStopped Status = "stopped"
	// StatusMasterLost: the master had answered and did so no more for MasterTimeout.
	StatusMasterLost Status = "master_lost"
	// StatusMasterUnreachable: no master answered within JoinTimeout.
	StatusMasterUnreachable Status = "master_unreachable"
)

// Run is a run as the worker's program has to know it before users start.
type Run struct {
	ID   string
	Seed uint64
	Host string
	// Options are custom values of the users' code; Settings are what the master's program tells its
	// workers, such as the namespace of the run.
	Options  map[string]string
	Settings map[string]any
	// Foreign is set under a master of Locust, which has no settings and runs no listener: TestStart
	// and TestStop run here then.
	Foreign                  bool
	WorkerIndex, WorkerCount int
	Tags, ExcludeTags        []string
}

// Scenario is what users of a run are made from.
type Scenario struct {
	Classes []*loadtest.UserClass
	Events  loadtest.Events
	// OnWarm is called from a goroutine of its own when the warm-up of the run is over, never when it
	// was over before this worker joined; nil = nobody wants to know.
	OnWarm func()
	// Close gives back what was opened, after the last listener; nil = nothing.
	Close func(context.Context) error
}

// Config configures a worker; Master or Dial, and Open, are needed.
type Config struct {
	// ID is unique among all workers; "" = made from the host's name and random digits.
	ID string
	// Version is what a master of this program is told.
	Version string
	// Master is the master's host:port. Dial opens a connection instead.
	Master string
	Dial   func(ctx context.Context) (net.Conn, error)
	// Secret is the one that the master has; nil = a plain connection.
	Secret *wire.Secret
	// JoinTimeout is how long to look for a master, 0 = 5 minutes; MasterTimeout is how long it may be
	// silent afterwards, 0 = 60 s.
	JoinTimeout, MasterTimeout time.Duration
	// LeaveTimeout bounds what is done after the context has ended; 0 = 4 s, so that a process that
	// is told to end is gone within 5.
	LeaveTimeout time.Duration

	// ClassNames are the user classes that Open makes, and Locustfile identifies their code.
	ClassNames []string
	Locustfile string
	// Build names the deployment that the worker belongs to; a master of another one refuses it. "" = none.
	Build string
	// Open is called at the beginning of every run. It must heed the context, which ends when the run
	// is stopped.
	Open func(ctx context.Context, run Run) (*Scenario, error)
	// Options, Seed and NewRunID are what runs under a master of Locust have of their own. NewRunID nil =
	// random.
	Options  map[string]string
	Seed     uint64
	NewRunID func() string
	// Cores is the number of cores that users are spread over; 0 = all that the process may use.
	Cores int

	// OnMessage takes messages of a type that is neither Locust's nor ours; nil drops them.
	OnMessage func(wire.Message)
	// Logs returns the last lines of the process's log, at most 500, which the master shows; nil =
	// none.
	Logs func() []string
	// Logger receives what happens to the worker; nil discards it.
	Logger *slog.Logger
}

// Worker is one process that runs users as a master says. Make it with [New] and call Run once.
type Worker struct {
	config  Config
	process string // differs between all processes of one id
	log     *slog.Logger
	dealer  *wire.Dealer
	meter   meter

	tally  *wire.Tally   // what is reported to a master of Locust
	joined chan struct{} // closed at the first ack
	again  chan struct{} // has an element after a reconnect

	connected atomic.Bool

	// mu guards what other goroutines than that of control see.
	mu      sync.Mutex
	state   string
	master  *wire.MasterInfo // nil = one of Locust, or not known yet
	index   int
	session *session
	changes map[string]classChange
	reports *reports  // of the latest run under a master of this program; it may be over
	heard   time.Time // when the master last said anything
	beaten  time.Time // when a report last had a heartbeat
	told    string    // the state in that

	// The rest belongs to control.
	lastSpawn float64
	next      *wire.Message // a spawn that came while users were stopping
	waiting   bool          // for an ack
	said      time.Time     // when client_ready was last sent
	rejoin    *time.Timer
	stopping  bool
	warned    map[string]bool
}

// New checks the configuration and returns a worker for it.
func New(config Config) (*Worker, error) {
	var errs []error
	if config.Master == "" && config.Dial == nil {
		errs = append(errs, errors.New("worker: the address of a master is needed"))
	}
	if config.Open == nil {
		errs = append(errs, errors.New("worker: nothing to run"))
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	config.ID = cmp.Or(config.ID, newID(""))
	config.JoinTimeout = cmp.Or(config.JoinTimeout, 5*time.Minute)
	config.MasterTimeout = cmp.Or(config.MasterTimeout, time.Minute)
	config.LeaveTimeout = cmp.Or(config.LeaveTimeout, 4*time.Second)
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	if config.NewRunID == nil {
		config.NewRunID = func() string { return fmt.Sprintf("%x%s", time.Now().UnixMilli(), randomHex(4)) }
	}
	w := &Worker{
		config:  config,
		process: randomHex(8),
		log:     config.Logger.With("worker", config.ID),
		state:   stateReady,
		index:   -1,
		tally:   wire.NewTally(time.Now()),
		joined:  make(chan struct{}),
		again:   make(chan struct{}, 1),
		changes: map[string]classChange{},
		warned:  map[string]bool{},
	}
	w.dealer = wire.NewDealer(wire.DealerOptions{
		Identity: config.ID, Address: config.Master, Dial: config.Dial, Secret: config.Secret, Changed: w.linkChanged,
	})
	return w, nil
}

// newID returns an id as Locust's workers have them: the text before the underscore names the host.
func newID(infix string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "worker"
	}
	return strings.ReplaceAll(host, "_", "-") + "_" + infix + randomHex(16)
}

func randomHex(n int) string {
	b := make([]byte, n)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// ID returns the worker's id.
func (w *Worker) ID() string { return w.config.ID }

// Send sends a message of a custom type to the master.
func (w *Worker) Send(kind string, data any) error {
	return w.dealer.Send(&wire.Message{Type: kind, Data: data, NodeID: w.config.ID})
}

func (w *Worker) send(kind string, data any) {
	if err := w.Send(kind, data); err != nil {
		w.log.Warn("a message was not sent", "type", kind, "error", err)
	}
}

// Run joins the master and runs users as it says, until it says quit, is lost, or the context ends:
// then users are stopped, what they did is reported, and the worker says goodbye. The error is one of
// the configuration: a wrong secret or an impossible id.
func (w *Worker) Run(ctx context.Context) (Status, error) {
	working, stop := context.WithCancel(context.WithoutCancel(ctx))
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	link := make(chan error, 1)
	group.Go(func() { link <- w.dealer.Run(working) })
	inbox := make(chan wire.Message, 64)
	group.Go(func() { w.receive(working, inbox) })
	group.Go(func() { w.beat(working) })
	group.Go(func() { w.report(working) })
	status, leave, err := w.control(ctx, inbox, link)
	group.Go(func() { discard(working, inbox) })
	w.leave(leave)
	return status, err
}

// discard takes what nobody reads any more.
func discard(ctx context.Context, inbox <-chan wire.Message) {
	for {
		select {
		case <-inbox:
		case <-ctx.Done():
			return
		}
	}
}

// receive hands over what can be understood. Answers to heartbeats it takes itself, so that they are
// not late however busy control is.
func (w *Worker) receive(ctx context.Context, inbox chan<- wire.Message) {
	for {
		m, err := w.dealer.Receive(ctx)
		switch {
		case errors.Is(err, wire.ErrBadMessage):
			w.log.Warn("a message of the master is not understood", "error", err)
			continue
		case err != nil:
			return
		}
		w.hear()
		if m.Type == wire.TypeHeartbeat {
			if beat, ok := m.Data.(wire.Heartbeat); ok {
				w.acknowledged(beat.Acknowledged)
			}
			continue
		}
		select {
		case inbox <- m:
		case <-ctx.Done():
			return
		}
	}
}

func (w *Worker) hear() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.heard = time.Now()
}

// acknowledged says that the master has the reports up to a number.
func (w *Worker) acknowledged(sequence uint64) {
	if r := w.unconfirmed(); r != nil {
		r.acknowledge(sequence)
	}
}

// control does what the master says, one message at a time, until the worker has to end; it returns
// how long that may take.
func (w *Worker) control(ctx context.Context, inbox <-chan wire.Message, link <-chan error) (Status, time.Duration, error) {
	ticker := time.NewTicker(tickEvery)
	defer ticker.Stop()
	w.rejoin = time.NewTimer(0)
	defer w.rejoin.Stop()
	w.hear()
	for {
		select {
		case <-ctx.Done():
			return StatusStopped, w.config.LeaveTimeout, nil
		case err := <-link:
			return StatusMasterUnreachable, 0, err
		case m := <-inbox:
			if w.handle(&m) {
				return StatusQuit, w.stopTimeout() + w.config.LeaveTimeout, nil
			}
		case <-w.sessionDone():
			w.stopped()
		case <-w.rejoin.C:
			w.ready()
		case <-ticker.C:
			if status, lost := w.lost(); lost {
				return status, w.config.LeaveTimeout, nil
			}
			if w.waiting && time.Since(w.said) >= joinEvery {
				w.sayReady()
			}
		}
	}
}

func (w *Worker) isJoined() bool {
	select {
	case <-w.joined:
		return true
	default:
		return false
	}
}

// lost reports whether the master has been silent for too long.
func (w *Worker) lost() (Status, bool) {
	w.mu.Lock()
	silent := time.Since(w.heard)
	w.mu.Unlock()
	switch {
	case !w.isJoined() && silent >= w.config.JoinTimeout:
		w.log.Error("no master answers: giving up", "master", w.config.Master, "tried", silent.Round(time.Second))
		return StatusMasterUnreachable, true
	case w.isJoined() && silent >= w.config.MasterTimeout:
		w.log.Error("the master has not answered for too long: leaving", "master", w.config.Master, "silent", silent.Round(time.Second))
		return StatusMasterLost, true
	}
	return "", false
}

// handle does what one message says; it reports true for the last one.
func (w *Worker) handle(m *wire.Message) (quit bool) {
	switch m.Type {
	case wire.TypeAck:
		ack, _ := m.Data.(wire.Ack)
		w.registered(ack)
	case wire.TypeSpawn:
		w.spawn(m)
	case wire.TypeSpawningComplete:
		if complete, ok := m.Data.(wire.SpawningComplete); ok && w.session != nil {
			w.session.spawningComplete(complete.Users)
		}
	case wire.TypeStop:
		w.stop()
	case wire.TypeQuit:
		w.log.Info("the master says quit")
		return true
	case wire.TypeReconnect:
		w.dealer.Reconnect()
	case wire.TypeUpdateUserClass:
		if update, ok := m.Data.(wire.UpdateUserClass); ok {
			w.update(update)
		}
	default:
		if w.config.OnMessage != nil {
			w.config.OnMessage(*m)
		}
	}
	return false
}

// update takes over a change of a user class for later runs. Weights are the master's business.
func (w *Worker) update(update wire.UpdateUserClass) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change := w.changes[update.Class]
	if host, ok := update.Attributes["host"].(string); ok {
		change.host = host
	}
	if tasks, ok := update.Attributes["tasks"]; ok {
		change.tasks, change.chosen = textsOf(tasks), true
	}
	w.changes[update.Class] = change
}

// classChange is what the master changed of a class.
type classChange struct {
	host   string
	tasks  []string // to keep
	chosen bool
}

// changed returns the classes as the master has changed them. A class that is left no task stays as it
// is.
func (w *Worker) changed(classes []*loadtest.UserClass) []*loadtest.UserClass {
	w.mu.Lock()
	defer w.mu.Unlock()
	changed := slices.Clone(classes)
	for i, c := range changed {
		change, ok := w.changes[c.Name]
		if !ok {
			continue
		}
		copied := *c
		copied.Host = cmp.Or(change.host, c.Host)
		if change.chosen {
			kept := slices.DeleteFunc(slices.Clone(c.Tasks), func(task loadtest.Task) bool { return !slices.Contains(change.tasks, task.Name) })
			if len(kept) > 0 {
				copied.Tasks = kept
			} else {
				w.log.Warn("none of the tasks that were chosen is there", "class", c.Name, "tasks", change.tasks)
			}
		}
		changed[i] = &copied
	}
	return changed
}

// sayReady asks to be registered.
func (w *Worker) sayReady() {
	w.waiting, w.said = true, time.Now()
	w.send(wire.TypeClientReady, wire.ClientReady{})
}

// ready registers, at the beginning and after every stop.
func (w *Worker) ready() {
	w.stopping = false
	w.setState(stateReady)
	w.sayReady()
	if next := w.next; next != nil {
		w.next = nil
		w.spawn(next)
	}
}

func (w *Worker) registered(ack wire.Ack) {
	info, own := wire.MasterInfoOf(ack.Extra)
	w.waiting = false
	w.mu.Lock()
	w.index, w.master = ack.Index, nil
	if own {
		w.master = &info
	}
	w.mu.Unlock()
	if own {
		w.sayHello()
	}
	if !w.isJoined() {
		w.log.Info("joined", "master", w.config.Master, "index", ack.Index, "locust", !own)
		close(w.joined)
	}
	if own && info.Version != w.config.Version {
		w.warnOnce("version", "the master has another version", "own", w.config.Version, "master", info.Version)
	}
}

// sayHello introduces the worker to a master of this program, also after every reconnect: it may be
// another process by now.
func (w *Worker) sayHello() {
	w.send(wire.TypeHello, wire.Hello{
		Protocol: wire.Protocol, Version: w.config.Version, Process: w.process,
		Classes: w.config.ClassNames, Locustfile: w.config.Locustfile, Build: w.config.Build, Cores: w.config.Cores,
	}.Data())
}

// linkChanged is called by the dealer.
func (w *Worker) linkChanged(link wire.LinkState) {
	w.connected.Store(link.Connected)
	switch {
	case link.Connected:
		w.log.Debug("connected", "master", w.config.Master)
		if w.isOwn() {
			w.sayHello()
		}
		select {
		case w.again <- struct{}{}:
		default:
		}
	default:
		logUnconnected(w.log, w.config.Master, link)
	}
}

// logUnconnected tells of the first failed attempt to connect and of some of the later ones.
func logUnconnected(log *slog.Logger, master string, link wire.LinkState) {
	if link.Attempts <= 1 || link.Attempts%10 == 0 {
		log.Warn("no connection to the master: trying again", "master", master,
			"error", link.Err, "attempts", link.Attempts, "next", link.Retry.Round(time.Millisecond))
	}
}

// isOwn reports whether the master is one of this program.
func (w *Worker) isOwn() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.master != nil
}

// spawn says how many users to run from now on.
func (w *Worker) spawn(m *wire.Message) {
	spawn, ok := m.Data.(wire.Spawn)
	if !ok {
		w.log.Warn("a spawn without data is ignored")
		return
	}
	if w.stopping {
		// Locust's workers read it when they are ready again.
		w.next = m
		return
	}
	w.send(wire.TypeSpawning, nil)
	if spawn.Timestamp <= w.lastSpawn {
		w.log.Info("a spawn that is not newer than the last one is ignored")
		return
	}
	w.lastSpawn = spawn.Timestamp
	info, own := wire.RunInfoOf(spawn.Extra)
	if own && w.session != nil && w.session.run.ID != info.ID {
		// A new run without a stop of the old one: from a master that was started anew.
		w.endSession(w.stopTimeout())
		w.setSession(nil)
	}
	if w.session == nil {
		if own && !info.Complete {
			w.log.Warn("a spawn of a run that has begun elsewhere is ignored", "run", info.ID)
			return
		}
		w.setSession(w.newSession(&spawn, info, own))
	}
	w.setState(stateSpawning)
	w.session.update(&spawn, info.Indexes)
}

// stop ends the users; the rest follows when they have.
func (w *Worker) stop() {
	if w.stopping {
		return
	}
	w.stopping = true
	if w.session == nil {
		w.stopped()
		return
	}
	w.session.stop(w.session.stopTimeout + abandonGrace)
}

// stopped says that the users have ended, and registers again. Locust's master expects that to take
// as long as users may take to stop.
func (w *Worker) stopped() {
	pause := time.Duration(0)
	if s := w.session; s != nil {
		<-s.done
		if !s.own {
			pause = s.stopTimeout
		}
		w.setSession(nil)
	}
	w.stopping = true
	w.send(wire.TypeClientStopped, nil)
	w.rejoin.Reset(pause)
}

func (w *Worker) stopTimeout() time.Duration {
	if w.session == nil {
		return 0
	}
	return w.session.stopTimeout
}

func (w *Worker) sessionDone() <-chan struct{} {
	if w.session == nil {
		return nil
	}
	return w.session.done
}

// endSession stops the users within a time.
func (w *Worker) endSession(within time.Duration) {
	if w.session == nil {
		return
	}
	w.session.stop(within)
	<-w.session.done
}

// leave stops the users, sees to it that the master has the last numbers, and says goodbye.
func (w *Worker) leave(within time.Duration) {
	began := time.Now()
	ctx, cancel := context.WithDeadline(context.Background(), began.Add(within))
	defer cancel()
	w.endSession(within * 3 / 4)
	if !w.isJoined() {
		return
	}
	if !w.isOwn() {
		w.reportToLocust()
	} else if r := w.unconfirmed(); r != nil {
		confirming, stop := context.WithDeadline(ctx, began.Add(within*7/8))
		w.awaitAcknowledgement(confirming, r)
		stop()
	}
	w.send(wire.TypeQuit, nil)
	if err := w.dealer.Flush(ctx); err != nil {
		w.log.Warn("the goodbye was not sent", "error", err)
	}
}

// awaitAcknowledgement asks for an answer until the master has every report.
func (w *Worker) awaitAcknowledgement(ctx context.Context, r *reports) {
	ticker := time.NewTicker(heartbeatEvery)
	defer ticker.Stop()
	w.send(wire.TypeHeartbeat, w.heartbeat())
	for {
		select {
		case <-r.confirmed():
			return
		case <-ctx.Done():
			w.log.Warn("the master did not confirm the last numbers", "reports", r.waiting())
			return
		case <-ticker.C:
			w.resend(r)
			w.send(wire.TypeHeartbeat, w.heartbeat())
		}
	}
}

func (w *Worker) setState(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
}

func (w *Worker) setSession(s *session) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.session = s
	if s != nil && s.own {
		w.reports = &s.reports
	}
}

func (w *Worker) current() *session {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.session
}

// unconfirmed returns the reports of the latest run, nil when there was none.
func (w *Worker) unconfirmed() *reports {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.reports
}

// warnOnce warns of something that would repeat.
func (w *Worker) warnOnce(what, message string, args ...any) {
	if !w.warned[what] {
		w.warned[what] = true
		w.log.Warn(message, args...)
	}
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
