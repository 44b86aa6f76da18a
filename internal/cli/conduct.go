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

// troupe says what runs beside a master in this process and how long.
type troupe struct {
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
func (a *app) conduct(ctx context.Context, c *cluster, t *troupe, progress *term.Progress) error {
	workers, err := c.listen(ctx)
	if err != nil {
		return err
	}
	stage := &stage{app: a, cluster: c, troupe: t, progress: progress, workers: reachable(workers.Addr())}
	if t.web != nil {
		if stage.server, stage.listener, err = a.openWeb(ctx, c, t); err != nil {
			return errors.Join(err, workers.Close())
		}
	}
	// What is around the master outlives the end of ctx: it ends after the master, in order.
	around, leave := context.WithCancel(context.WithoutCancel(ctx))
	stage.children = newChildren(progress)
	stage.ended = stage.children.ended
	a.active.Store(&activeRun{kill: func() { stage.kill(); leave() }, notes: progress})
	defer a.active.Store(nil)
	var group sync.WaitGroup
	mastered := make(chan error, 1)
	running, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	go func() { mastered <- c.master.Run(running, workers) }()
	group.Go(func() { a.saveMemory(running, c) })
	group.Go(func() { c.keepBudget(running) })
	err = stage.set(around, &group)
	if err == nil {
		stage.awaitInside(running)
		stage.announce()
		err = stage.play(running, mastered)
	}
	stop(cmp.Or(context.Cause(ctx), errEnded))
	select {
	case masterErr := <-mastered:
		err = errors.Join(err, masterErr)
	case <-around.Done():
	}
	leave()
	stage.children.close()
	group.Wait()
	return err
}

// With so many workers a master collects garbage more often: what it keeps for each of them counts more
// than the processor time of a collection.
const (
	manyWorkers   = 1000
	manyGCPercent = 100
)

// saveMemory waits until there are many workers; GOGC in the environment wins.
func (a *app) saveMemory(ctx context.Context, c *cluster) {
	if a.getenv("GOGC") == "" && c.master.WaitWorkers(ctx, manyWorkers) == nil {
		debug.SetGCPercent(manyGCPercent)
	}
}

// errEnded is the cause of an end that nobody forced.
var errEnded = errors.New("ended")

// stage is what stands around a master while it runs.
type stage struct {
	app      *app
	cluster  *cluster
	troupe   *troupe
	progress *term.Progress
	workers  string // address for workers of this machine
	server   *webapi.Server
	listener net.Listener
	children *children
	ended    <-chan struct{} // closed when a child ended by itself; nil once that was said
}

// kill ends all processes that were started, at once.
func (s *stage) kill() {
	s.children.kill()
	if listeners := s.cluster.plan.listeners; listeners != nil {
		listeners.kill()
	}
}

// openWeb opens the web UI.
func (a *app) openWeb(ctx context.Context, c *cluster, t *troupe) (*webapi.Server, net.Listener, error) {
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
func (s *stage) url() string {
	address := s.listener.Addr().(*net.TCPAddr)
	host := "localhost"
	if !address.IP.IsUnspecified() && !address.IP.Equal(net.IPv4(127, 0, 0, 1)) && !address.IP.Equal(net.IPv6loopback) {
		host = address.IP.String()
	}
	return fmt.Sprintf("http://%s%s", net.JoinHostPort(host, fmt.Sprint(address.Port)), s.troupe.web.basePath)
}

// set starts everything beside the master.
func (s *stage) set(ctx context.Context, group *sync.WaitGroup) error {
	if s.server != nil {
		group.Go(func() {
			if err := s.server.Serve(ctx, s.listener); err != nil && ctx.Err() == nil {
				s.app.warn("web UI: %v", err)
			}
		})
	}
	if s.troupe.inside {
		if err := s.startInside(ctx, group); err != nil {
			return err
		}
	}
	if err := s.startProcesses(ctx); err != nil {
		return err
	}
	return s.startLocust(ctx)
}

// startInside starts a worker in this process: it shares target and locustfile with the master.
func (s *stage) startInside(ctx context.Context, group *sync.WaitGroup) error {
	p := s.cluster.plan
	w, err := worker.New(worker.Config{
		ID: "local_" + randomHex(8), Version: readBuild().Version, Build: s.app.getenv(buildIDVariable), Master: s.workers, Secret: s.cluster.secret,
		ClassNames: classNames(p.classes), Locustfile: p.file.SHA256(), Cores: p.coresUsed(),
		Open: func(context.Context, worker.Run) (*worker.Scenario, error) {
			return &worker.Scenario{Classes: p.classes, Events: p.file.Events()}, nil
		},
		Logs:   func() []string { return nil },
		Logger: newLogger(s.cluster.lines, slog.LevelWarn),
	})
	if err != nil {
		return err
	}
	group.Go(func() {
		if _, err := w.Run(ctx); err != nil {
			s.app.warn("worker: %v", err)
		}
	})
	return nil
}

// insideJoinsWithin bounds how long a worker of this process is waited for; it takes milliseconds.
const insideJoinsWithin = 5 * time.Second

// awaitInside waits for the worker of this process: who reads the address of the web UI may start a run
// at once. When it does not come the run says so.
func (s *stage) awaitInside(ctx context.Context) {
	if !s.troupe.inside {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, insideJoinsWithin)
	defer cancel()
	_ = s.cluster.master.WaitWorkers(ctx, 1)
}

// startProcesses starts worker processes of this program.
func (s *stage) startProcesses(ctx context.Context) error {
	if s.troupe.processes == 0 {
		return nil
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	args := append([]string{"load", "worker", "--master", s.workers, "--master-timeout", "30s", "--loglevel", s.cluster.plan.level.String()}, s.troupe.workerArgs...)
	if s.cluster.flags.secret.file != "" {
		args = append(args, "--secret-file", s.cluster.flags.secret.file)
	}
	for i := range s.troupe.processes {
		name := fmt.Sprintf("worker %d", i+1)
		cores := max(1, s.cluster.plan.coresUsed()/s.troupe.processes)
		err := s.children.start(ctx, name, os.Environ(), self, append(args, "--cores", fmt.Sprint(cores))...)
		if err != nil {
			return err
		}
	}
	return nil
}

// startLocust starts workers of Locust itself.
func (s *stage) startLocust(ctx context.Context) error {
	if s.troupe.locust == "" {
		return nil
	}
	host, port, err := net.SplitHostPort(s.workers)
	if err != nil {
		return err
	}
	for i := range s.troupe.locustWorkers {
		err := s.children.start(ctx, fmt.Sprintf("Locust worker %d", i+1), s.troupe.locustEnv, s.troupe.locust,
			"--worker", "--master-host", host, "--master-port", port, "-f", s.troupe.locustFile,
			"--loglevel", locustLevel(s.cluster.plan.level))
		if err != nil {
			return withHint(err, "is Locust installed? pip install locust")
		}
	}
	return nil
}

// announce says where things are.
func (s *stage) announce() {
	if !s.cluster.alone {
		fmt.Fprintf(s.progress, "Workers join at %s\n", s.workers)
	}
	if s.server == nil {
		return
	}
	fmt.Fprintf(s.progress, "Web UI:    %s\n", s.url())
	if s.troupe.browser {
		openBrowser(s.url())
	}
}

// play waits for the end: of the one run, of the master, of a child, or of the context.
func (s *stage) play(ctx context.Context, mastered chan error) error {
	if !s.troupe.start {
		return s.wait(ctx, mastered, nil, 0)
	}
	if err := s.gather(ctx); err != nil {
		return err
	}
	if err := s.cluster.start(); err != nil {
		return err
	}
	over := make(chan struct{})
	go func() {
		defer close(over)
		_ = s.cluster.master.Wait(ctx) // also ends with ctx
	}()
	s.progress.Start(time.Now())
	defer s.progress.Close()
	if err := s.watch(ctx, mastered, over); err != nil || !s.troupe.end {
		return errors.Join(err, s.wait(ctx, mastered, nil, 0))
	}
	return s.wait(ctx, mastered, over, s.troupe.quitAfter)
}

// gather waits for the workers that are expected.
func (s *stage) gather(ctx context.Context) error {
	waiting := ctx
	if s.troupe.expectMax > 0 {
		limited, cancel := context.WithTimeoutCause(ctx, s.troupe.expectMax,
			fmt.Errorf("%d workers did not join within %s", s.troupe.expect, s.troupe.expectMax))
		defer cancel()
		waiting = limited
	}
	joined := make(chan error, 1)
	go func() { joined <- s.cluster.master.WaitWorkers(waiting, s.troupe.expect) }()
	select {
	case err := <-joined:
		return interruption(ctx, err)
	case <-s.children.ended:
		return s.children.failure()
	}
}

// childEnded says, once, that a process ended that should run.
func (s *stage) childEnded() {
	s.ended = nil
	s.app.warn("%v", s.children.failure())
}

// watch shows the progress of a run until it is over.
func (s *stage) watch(ctx context.Context, mastered chan error, over <-chan struct{}) error {
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	for {
		select {
		case <-over:
			return nil
		case <-s.ended:
			s.childEnded()
		case <-ctx.Done():
			return nil
		case err := <-mastered:
			mastered <- err
			return nil
		case <-ticker.C:
			snapshot := s.cluster.master.Snapshot()
			if snapshot == nil {
				continue
			}
			if !s.cluster.plan.summaryOnly {
				s.progress.Update(time.Now(), progressFrame(snapshot, s.cluster.plan.duration))
			}
			if s.troupe.onTick != nil {
				s.troupe.onTick(snapshot)
			}
		}
	}
}

// wait waits for the end; after over it comes so much later.
func (s *stage) wait(ctx context.Context, mastered chan error, over <-chan struct{}, later time.Duration) error {
	var quit <-chan time.Time
	for {
		select {
		case <-ctx.Done():
			return nil
		case err := <-mastered:
			mastered <- nil
			return err
		case <-s.ended:
			s.childEnded()
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
