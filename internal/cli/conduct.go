package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/internal/webui"
	"github.com/zeroae/zae-limiter-go/internal/worker"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// masterRun says how a master is run in this process: what runs beside it, and how long.
type masterRun struct {
	// web is nil for a run without a UI.
	web *webFlags
	// inside is set for a worker in this process; processes are those of this program beside it.
	inside    bool
	processes int
	// workerArgs are passed to processes: where the locustfile is.
	workerArgs []string
	// locust is the command of Locust's workers for a Python file, locustWorkers how many of them.
	locust        string
	locustFile    string
	locustWorkers int
	locustEnv     []string

	// start begins a run when there are as many workers as expected. end ends everything after
	// that run, and quitAfter later.
	start     bool
	end       bool
	quitAfter time.Duration
	expect    int
	expectMax time.Duration
	browser   bool
	// history is the CSV file of the full history; "" = it is not written.
	history string
	onTick  func(*stats.Snapshot)
}

// conduct runs a master with everything around it until the context ends or its one run is over.
func (a *app) conduct(ctx context.Context, c *cluster, t *masterRun, progress *term.Progress) error {
	workers, err := c.listen(ctx)
	if err != nil {
		return err
	}
	m := &runningMaster{app: a, cluster: c, how: t, progress: progress, workers: reachable(workers.Addr())}
	if t.web != nil {
		if m.server, m.listener, err = a.openWeb(ctx, c, t); err != nil {
			return errors.Join(err, workers.Close())
		}
	}
	// What is around the master outlives the end of ctx: it ends after the master, in order.
	around, leave := context.WithCancel(context.WithoutCancel(ctx))
	m.children = newChildren(progress)
	m.ended = m.children.ended
	a.active.Store(&activeRun{kill: func() { m.kill(); leave() }, notes: progress})
	defer a.active.Store(nil)
	var group sync.WaitGroup
	mastered := make(chan error, 1)
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { mastered <- c.master.Run(running, workers) }()
	group.Go(func() { a.saveMemory(running, c) })
	group.Go(func() { c.keepBudget(running) })
	err = m.set(around, &group)
	if err == nil {
		m.awaitInside(running)
		m.announce()
		err = m.play(running, mastered)
	}
	stop(cmp.Or(context.Cause(ctx), errEnded))
	select {
	case masterErr := <-mastered:
		err = errors.Join(err, masterErr)
		m.lastWords(around)
	case <-around.Done():
	}
	leave()
	m.children.close()
	group.Wait()
	return err
}

// lastWordsFor is how long a master in a task tells the result of a run that a signal ended: whoever follows
// the run asks every few seconds, and AWS, which may take the task back, waits two minutes.
const lastWordsFor = 5 * time.Second

// lastWords lets the result of such a run be read.
func (m *runningMaster) lastWords(ctx context.Context) {
	outcome, ok := m.cluster.master.Outcome()
	if !ok || m.server == nil || !m.app.deployed() || !errors.Is(outcome.Err, errInterrupted) {
		return
	}
	select {
	case <-time.After(lastWordsFor):
	case <-ctx.Done():
	}
}

// With so many workers a master collects garbage more often: what it keeps for each of them counts more
// than the processor time of a collection.
const (
	manyWorkers   = 1000
	manyGCPercent = 80
)

// saveMemory waits until there are many workers; GOGC in the environment wins.
func (a *app) saveMemory(ctx context.Context, c *cluster) {
	if a.getenv("GOGC") == "" && c.master.WaitWorkers(ctx, manyWorkers) == nil {
		debug.SetGCPercent(manyGCPercent)
	}
}

// errEnded is the cause of an end that nobody forced.
var errEnded = errors.New("ended")

// runningMaster is a master with what is around it while it runs.
type runningMaster struct {
	app      *app
	cluster  *cluster
	how      *masterRun
	progress *term.Progress
	workers  string // address for workers of this machine
	server   *webapi.Server
	listener net.Listener
	children *children
	ended    <-chan struct{} // closed when a child ended by itself; nil once that was said
}

// kill ends all processes that were started, at once.
func (m *runningMaster) kill() {
	m.children.kill()
	if listeners := m.cluster.plan.listeners; listeners != nil {
		listeners.kill()
	}
}

// openWeb opens the web UI.
func (a *app) openWeb(ctx context.Context, c *cluster, t *masterRun) (*webapi.Server, net.Listener, error) {
	b := a.build()
	server, err := webapi.NewServer(webapi.Config{
		Controller: &controller{c},
		CSV:        webapi.CSV{Requests: report.StatsCSV, Failures: report.FailuresCSV, Exceptions: report.ExceptionsCSV},
		UI:         webui.Pages(),
		BasePath:   t.web.basePath, Version: b.Version, Locustfile: c.plan.path(),
		ClassPicker: t.web.picker, Token: t.web.token, Loopback: t.web.loopback(), AllowOrigins: t.web.origins,
		HistoryFile: t.history, Logger: newLogger(c.lines, c.plan.level),
	})
	if err != nil {
		return nil, nil, usage(err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", a.inTask(t.web.address()))
	if err != nil {
		return nil, nil, withHint(fmt.Errorf("listen for the web UI: %w", err), "choose another port with --web-port (0 = a free one)")
	}
	return server, listener, nil
}

// url is where a browser finds the web UI.
func (m *runningMaster) url() string {
	address := m.listener.Addr().(*net.TCPAddr)
	host := "localhost"
	if !address.IP.IsUnspecified() && !address.IP.Equal(net.IPv4(127, 0, 0, 1)) && !address.IP.Equal(net.IPv6loopback) {
		host = address.IP.String()
	}
	return fmt.Sprintf("http://%s%s", net.JoinHostPort(host, fmt.Sprint(address.Port)), m.how.web.basePath)
}

// set starts everything beside the master.
func (m *runningMaster) set(ctx context.Context, group *sync.WaitGroup) error {
	if m.server != nil {
		group.Go(func() {
			if err := m.server.Serve(ctx, m.listener); err != nil && ctx.Err() == nil {
				m.app.warn("web UI: %v", err)
			}
		})
	}
	if m.how.inside {
		if err := m.startInside(ctx, group); err != nil {
			return err
		}
	}
	if err := m.startProcesses(ctx); err != nil {
		return err
	}
	return m.startLocust(ctx)
}

// startInside starts a worker in this process: it shares target and locustfile with the master.
func (m *runningMaster) startInside(ctx context.Context, group *sync.WaitGroup) error {
	p := m.cluster.plan
	w, err := worker.New(worker.Config{
		ID: "local_" + randomHex(8), Version: readBuild().Version, Build: m.app.getenv(buildIDVariable), Master: m.workers, Secret: m.cluster.secret,
		ClassNames: classNames(p.classes), Locustfile: p.file.SHA256(), Cores: p.coresUsed(),
		Open: func(context.Context, worker.Run) (*worker.Scenario, error) {
			return &worker.Scenario{Classes: p.classes, Events: p.file.Events()}, nil
		},
		Logs:   func() []string { return nil },
		Logger: newLogger(m.cluster.lines, slog.LevelWarn),
	})
	if err != nil {
		return err
	}
	group.Go(func() {
		if _, err := w.Run(ctx); err != nil {
			m.app.warn("worker: %v", err)
		}
	})
	return nil
}

// insideJoinsWithin bounds how long a worker of this process is waited for; it takes milliseconds.
const insideJoinsWithin = 5 * time.Second

// awaitInside waits for the worker of this process: who reads the address of the web UI may start a run
// at once. When it does not come the run says so.
func (m *runningMaster) awaitInside(ctx context.Context) {
	if !m.how.inside {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, insideJoinsWithin)
	defer cancel()
	_ = m.cluster.master.WaitWorkers(ctx, 1)
}

// startProcesses starts worker processes of this program.
func (m *runningMaster) startProcesses(ctx context.Context) error {
	if m.how.processes == 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	args := append([]string{"load", "worker", "--master", m.workers, "--master-timeout", "30s", "--loglevel", m.cluster.plan.level.String()}, m.how.workerArgs...)
	if m.cluster.flags.secret.file != "" {
		args = append(args, "--secret-file", m.cluster.flags.secret.file)
	}
	for i := range m.how.processes {
		name := fmt.Sprintf("worker %d", i+1)
		cores := max(1, m.cluster.plan.coresUsed()/m.how.processes)
		err := m.children.start(ctx, name, os.Environ(), self, append(args, "--cores", fmt.Sprint(cores))...)
		if err != nil {
			return err
		}
	}
	return nil
}

// startLocust starts workers of Locust itself.
func (m *runningMaster) startLocust(ctx context.Context) error {
	if m.how.locust == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(m.workers)
	if err != nil {
		return err
	}
	for i := range m.how.locustWorkers {
		err := m.children.start(ctx, fmt.Sprintf("Locust worker %d", i+1), m.how.locustEnv, m.how.locust,
			"--worker", "--master-host", host, "--master-port", port, "-f", m.how.locustFile,
			"--loglevel", locustLevel(m.cluster.plan.level))
		if err != nil {
			return withHint(err, "is Locust installed? pip install locust")
		}
	}
	return nil
}

// announce says where things are.
func (m *runningMaster) announce() {
	if !m.cluster.alone {
		fmt.Fprintf(m.progress, "Workers join at %s\n", m.workers)
	}
	if m.server == nil {
		return
	}
	fmt.Fprintf(m.progress, "Web UI:    %s\n", m.url())
	if m.how.browser {
		openBrowser(m.url())
	}
}

// play waits for the end: of the one run, of the master, of a child, or of the context.
func (m *runningMaster) play(ctx context.Context, mastered chan error) error {
	if !m.how.start {
		return m.wait(ctx, mastered, nil, 0)
	}
	if err := m.gather(ctx); err != nil {
		return err
	}
	if err := m.cluster.start(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = m.cluster.master.Wait(ctx) // also ends with ctx
	}()
	m.progress.Start(time.Now())
	defer m.progress.Close()
	if err := m.watch(ctx, mastered, over); err != nil || !m.how.end {
		return errors.Join(err, m.wait(ctx, mastered, nil, 0))
	}
	return m.wait(ctx, mastered, over, m.how.quitAfter)
}

// gather waits for the workers that are expected.
func (m *runningMaster) gather(ctx context.Context) error {
	waiting := ctx
	if m.how.expectMax > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, m.how.expectMax,
			fmt.Errorf("%d workers did not join within %s", m.how.expect, m.how.expectMax))
		defer cancel()
		waiting = limited
	}
	joined := make(chan error, 1)
	go func() { joined <- m.cluster.master.WaitWorkers(waiting, m.how.expect) }()
	select {
	case err := <-joined:
		return interruption(ctx, err)
	case <-m.children.ended:
		return m.children.failure()
	}
}

// childEnded says, once, that a process ended that should run.
func (m *runningMaster) childEnded() {
	m.ended = nil
	m.app.warn("%v", m.children.failure())
}

// watch shows the progress of a run until it is over.
func (m *runningMaster) watch(ctx context.Context, mastered chan error, over <-chan struct{}) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-m.ended:
			m.childEnded()
		case <-ctx.Done():
			return nil
		case err := <-mastered:
			mastered <- err
			return nil
		case <-ticker.C:
			snapshot := m.cluster.master.Snapshot()
			if snapshot == nil {
				continue
			}
			if !m.cluster.plan.summaryOnly {
				m.progress.Update(time.Now(), progressFrame(snapshot, m.cluster.plan.duration))
			}
			if m.how.onTick != nil {
				m.how.onTick(snapshot)
			}
		}
	}
}

// wait waits for the end; after over it comes so much later.
func (m *runningMaster) wait(ctx context.Context, mastered chan error, over <-chan struct{}, later time.Duration) error {
	var quit <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-mastered:
			mastered <- nil
			return err
		case <-m.ended:
			m.childEnded()
		case <-over:
			if later <= 0 {
				return nil
			}
			over, quit = nil, time.After(later)
		case <-quit:
			return nil
		}
	}
}

// defaultLocustWorkers is one for each core: a Python process uses no more.
func defaultLocustWorkers() int { return runtime.NumCPU() }
