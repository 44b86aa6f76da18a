package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

const (
	// unreachableAfter is how long a target may answer nothing at all before the run gives up.
	unreachableAfter = 10 * time.Second
	// openTimeout bounds the way to a target that may not be one.
	openTimeout = 9 * time.Second
	// closeTimeout bounds the purge of what a run left on the table.
	closeTimeout = 2 * time.Minute
	// answerTime is what is left for the rest where the platform ends the process.
	answerTime = time.Second
	// quietCleanUp is how long that may take without a word.
	quietCleanUp = 3 * time.Second
	// progressInterval is the time between lines of progress without a terminal.
	progressInterval = 5 * time.Second
)

// runPlan is one run on this machine, with everything decided.
type runPlan struct {
	file         *locustfile.File // nil for Locust's workers
	python       string           // their file
	pythonText   string
	pythonSHA256 string
	listeners    *locustListeners // of that file
	standing     *target.Target   // what all runs drive; nil = each opens its own
	scenario     *scenarioFlags
	target       *targetFlags
	classes      []*loadtest.UserClass
	shape        *locustfile.NamedShape
	options      map[string]string
	users        int
	spawnRate    float64
	duration     time.Duration // 0 when the shape decides
	stop         time.Duration
	warmup       time.Duration
	cores        int
	seed         uint64
	runID        string // of the first run; "" = a new one
	budget       budget
	build        build
	mode         string // of a run in this process, as the result says it
	prices       bool   // say what the run costs
	quiet        bool   // neither header nor progress: the run is a step of something bigger
	summaryOnly  bool   // no progress
	level        slog.Level
	onTick       func(*stats.Snapshot)
}

// finishedRun is what is left of a run.
type finishedRun struct {
	snapshot *stats.Snapshot
	result   *report.Result
	// err is why the run is no success although there is a result; interrupted tells an ordered end.
	err         error
	interrupted bool
	// release purges what the run left and closes the target. It must be called.
	release func() error
}

// run opens the target, runs the users and builds the result. The finished run is nil when nothing
// was measured.
func (a *app) run(ctx context.Context, p *runPlan, progress *term.Progress) (*finishedRun, error) {
	runID := p.runIDs()()
	t, err := a.openTarget(ctx, p, runID)
	if err != nil {
		return nil, interruption(ctx, err)
	}
	release := func() error { return a.closeTarget(ctx, t, runID) }
	config := p.config(runID, progress)
	p.file.Bind(loadclient.New(t.Limiter()))
	config.OnWarm = t.StartReadings
	overspent := ""
	config.OnTick = func(r *loadtest.Runner) {
		s := r.Snapshot()
		if overspent == "" && p.budget.bounded() {
			meta := report.Meta{}
			fillReadings(&meta, t.Readings())
			if overspent = p.budget.exceeded(s.Elapsed(), p.functions(), &meta.Consumed); overspent != "" {
				r.Stop(overspent)
			}
		}
		if p.onTick != nil {
			p.onTick(s)
		}
		if !p.quiet && !p.summaryOnly {
			progress.Update(time.Now(), progressFrame(s, p.duration))
		}
	}
	runner, err := loadtest.NewRunner(config)
	if err != nil {
		return nil, errors.Join(usage(err), release())
	}
	a.active.Store(&activeRun{kill: runner.Kill, notes: progress})
	defer a.active.Store(nil)
	if !p.quiet {
		a.printHeader(p, t.Info(), runID)
	}
	if info := t.Info(); p.target.namespace != "" && info.NamespaceMade && !p.target.embedded() {
		a.warn("there was no namespace %s: it was made for this run%s", info.Namespace, p.target.fateOfNamespace())
	}
	progress.Start(time.Now())
	removed := a.watchNamespace(ctx, t, runner)
	snapshot, err := runner.Run(ctx)
	gone := removed()
	progress.Close()
	if snapshot == nil {
		return nil, errors.Join(interruption(ctx, err), release())
	}
	reason, ended := runner.Ended()
	if reason != "" && !p.quiet {
		fmt.Fprintln(a.stderr, "stopped: "+reason)
	}
	done := &finishedRun{snapshot: snapshot, err: err, release: release}
	done.interrupted = errors.Is(ended, errInterrupted) || errors.Is(ended, loadtest.ErrKilled)
	aborted := ""
	switch {
	case overspent != "":
		aborted = "stopped: " + overspent
	case gone:
		aborted = stoppedByRemoval
	case strings.HasPrefix(reason, loadclient.Denied):
		aborted, done.err = "stopped: "+reason, errors.Join(err, deniedError(reason))
	}
	if errors.Is(ended, loadtest.ErrUnreachable) {
		// What cannot be reached cannot be cleaned up either: that is no failure of its own.
		done.release = func() error {
			if err := release(); err != nil {
				a.warn("%v", err)
				if hint := hintOf(err); hint != "" {
					fmt.Fprintln(a.stderr, hint)
				}
			}
			return nil
		}
		aborted = fmt.Sprintf("the target could not be reached for %s: %v", unreachableAfter, ended)
	}
	meta := p.meta(runID, t.Info(), t.Readings())
	meta.Run.EndedAt, meta.Aborted = report.At(time.Now()), aborted
	done.result = report.Build(snapshot, meta)
	return done, nil
}

// deniedError is the error of a run that ended because a call was denied.
func deniedError(reason string) error {
	return withHint(errors.New(reason), "give the right back, or see what the roles and callers of a limiter need: zae-limiter cfn-template, load iam-policy")
}

// namespacePoll is the time between looks at the namespace of a run in a function.
const namespacePoll = 2 * time.Second

const namespaceRemoved = "the run's namespace was removed"

// stoppedByRemoval is that as a reason of the verdict.
const stoppedByRemoval = "stopped: " + namespaceRemoved

// watchNamespace ends a run in a function when its namespace is removed: a function cannot be ended from
// outside in any other way. The function returned ends the watch and reports whether that happened.
func (a *app) watchNamespace(ctx context.Context, t *target.Target, runner *loadtest.Runner) (removed func() bool) {
	if a.modeHere() != report.ModeLambda {
		return func() bool { return false }
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan bool, 1)
	go func() {
		misses := 0
		for misses < 2 { // a first look may come from a replica that does not know it yet
			select {
			case <-ctx.Done():
				ended <- false
				return
			case <-time.After(namespacePoll):
			}
			if standing, err := t.Standing(ctx); err == nil && !standing {
				misses++
			} else {
				misses = 0
			}
		}
		runner.Stop(namespaceRemoved)
		ended <- true
	}()
	return func() bool {
		cancel()
		return <-ended
	}
}

// interruption replaces the many errors of a cancelled context by the one that says who did it.
func interruption(ctx context.Context, err error) error {
	if err != nil && errors.Is(context.Cause(ctx), errInterrupted) {
		return errInterrupted
	}
	return err
}

func (a *app) openTarget(ctx context.Context, p *runPlan, runID string) (*target.Target, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errors.New("no answer that a "+p.target.service()+" would give within 9 s"))
	defer cancel()
	config, err := a.targetConfig(p.target)
	if err != nil {
		return nil, usage(err)
	}
	config.RunID = runID
	config.EngineSeed = p.seed
	t, err := target.Open(ctx, config)
	switch {
	case isInvalid(err):
		err = usage(err)
	case errors.Is(err, dynamostore.ErrTableNotFound):
		err = withHint(err, "create it with --create-table, or name another one with --table")
	case errors.Is(err, target.ErrRedisLogin):
		err = withHint(err, "give user and password in the address (redis://user:password@host:port), or the password in "+redisPasswordVariable)
	case isCredentials(err):
		err = withHint(err, credentialsHint)
	}
	return t, err
}

// isInvalid reports whether the error is about a value of the command line, such as that of --namespace.
func isInvalid(err error) bool {
	_, ok := errors.AsType[*limiter.ValidationError](err)
	return ok
}

// closeTarget cleans up even when the run was interrupted.
func (a *app) closeTarget(ctx context.Context, t *target.Target, runID string) error {
	limit := time.Now().Add(closeTimeout)
	if last := a.endsAt.Add(-answerTime); !a.endsAt.IsZero() && last.Before(limit) {
		limit = last // beyond it the result would be lost, too
	}
	ctx, cancel := context.WithDeadline(context.WithoutCancel(ctx), limit)
	defer cancel()
	note := time.AfterFunc(quietCleanUp, func() {
		fmt.Fprintln(a.stderr, "removing what the run left on the table")
	})
	defer note.Stop()
	err := t.Close(ctx)
	if err == nil {
		return nil
	}
	err = fmt.Errorf("clean up after the run: %w", err)
	if info := t.Info(); info.Namespace == target.NamespaceOf(runID) {
		place := "--endpoint-url " + info.Endpoint
		switch {
		case info.AWS:
			place = "--target dynamodb --region " + info.Region
		case info.Table == "":
			place = "--target " + info.Endpoint
		}
		if info.Table != "" {
			place += " --table " + info.Table
		}
		err = withHint(err, fmt.Sprintf("remove it later with load benchmark --purge %s %s", runID, place))
	}
	return err
}

func (p *runPlan) config(runID string, stderr io.Writer) loadtest.Config {
	config := loadtest.Config{
		Classes:     p.classes,
		Users:       p.users,
		SpawnRate:   p.spawnRate,
		Duration:    p.duration,
		StopTimeout: p.stop,
		Warmup:      p.warmup,
		Unreachable: unreachableAfter,
		Events:      p.file.Events(),
		RunID:       runID,
		Seed:        p.seed,
		Host:        p.scenario.host,
		Options:     p.commandLine(),
		Cores:       p.cores,
		Logger:      newLogger(stderr, p.level),
	}
	if p.shape != nil {
		config.Shape = p.shape.Shape
	}
	return config
}

// commandLine is what a locustfile sees of the command line: the options that make sense to it, and
// the custom ones, which win.
func (p *runPlan) commandLine() map[string]string {
	options := map[string]string{
		"users":        strconv.Itoa(p.users),
		"spawn_rate":   formatNumber(p.spawnRate),
		"run_time":     formatNumber(p.duration.Seconds()),
		"stop_timeout": formatNumber(p.stop.Seconds()),
		"host":         p.scenario.host,
	}
	maps.Copy(options, p.options)
	return options
}

func formatNumber(x float64) string { return strconv.FormatFloat(x, 'g', -1, 64) }

// newRunID names a run.
func newRunID() string { return target.NewRunID(time.Now()) }

// runIDs names the runs of a plan: the first one may have been named by who started this process.
func (p *runPlan) runIDs() func() string {
	first := p.runID
	return func() string {
		id := first
		if first = ""; id == "" {
			id = newRunID()
		}
		return id
	}
}

// functions is how many functions make up a run in this process: it is one itself, or none.
func (p *runPlan) functions() int {
	if p.mode == report.ModeLambda {
		return 1
	}
	return 0
}

func (p *runPlan) coresUsed() int {
	if p.cores > 0 {
		return p.cores
	}
	return runtime.GOMAXPROCS(0)
}

// path names the locustfile; a plan without one of ours has a Python file of Locust's workers.
func (p *runPlan) path() string {
	if p.file == nil {
		return p.python
	}
	return p.file.Path()
}

// shapes are the load shapes of the locustfile.
func (p *runPlan) shapes() []locustfile.NamedShape {
	if p.file == nil {
		return nil
	}
	return p.file.Shapes()
}

// meta is what the result document says about the run besides what was measured.
func (p *runPlan) meta(runID string, info target.Info, readings target.Readings) report.Meta {
	b := p.build
	path := p.path()
	users, rate := p.users, p.spawnRate
	meta := report.Meta{
		Run: report.Run{
			ID: runID, Mode: p.mode,
			WarmupSeconds: p.warmup.Seconds(),
			Locustfile:    &path, Seed: &p.seed,
			Users: &users, SpawnRate: &rate, Workers: new(1), Cores: new(p.coresUsed()),
			Version: &b.Version, BuildID: b.ID, GoVersion: &b.GoVersion, OSArch: &b.OSArch,
			Speculative: &p.target.speculative, Client: &p.target.client,
			RejectionCacheSeconds: new(p.target.rejectionCache.duration().Seconds()),
			PoolConnections:       &p.target.poolConnections,
			Options:               p.options,
		},
		Target: p.target.info(info),
	}
	if p.target.redis() { // its client is another one, with a few connections that all calls share
		meta.Run.Client, meta.Run.PoolConnections = nil, nil
	}
	if p.file != nil {
		meta.Run.LocustfileSHA256 = new(p.file.SHA256())
	} else {
		meta.Run.LocustfileSHA256 = optional(p.pythonSHA256)
		// The file decides how it drives the limiter.
		meta.Run.Speculative, meta.Run.Client, meta.Run.RejectionCacheSeconds = nil, nil, nil
	}
	if p.shape != nil {
		meta.Run.Users, meta.Run.SpawnRate = nil, nil
	}
	if p.prices {
		meta.Prices = priceList(cost.Published())
	}
	fillReadings(&meta, readings)
	return meta
}
