package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// tallyMessage is what a worker of this program tells, beside its statistics, of the table: the JSON
// form of a target.Tally.
const tallyMessage = "zae_tally"

// targetSetting is where a master tells its workers what to drive.
const targetSetting = "target"

// sharedTarget is what workers have to know of the target of a run.
type sharedTarget struct {
	// AWS says that the table is in the account; Endpoint is then only set when one stands in for it.
	AWS                   bool    `json:"aws"`
	Endpoint              string  `json:"endpoint"`
	Redis                 string  `json:"redis,omitempty"` // a server instead of a table, without the login
	Region                string  `json:"region"`
	Table                 string  `json:"table"`
	Namespace             string  `json:"namespace"`
	KeepData              bool    `json:"keep_data"`
	Speculative           bool    `json:"speculative"`
	RejectionCacheSeconds float64 `json:"rejection_cache_seconds"`
	Client                string  `json:"client"` // "" = what the worker was told
	PoolConnections       int     `json:"pool_connections"`
	ConsumedAll           bool    `json:"consumed_all"`
}

// settings is the form in which it goes over the wire.
func (s sharedTarget) settings() (map[string]any, error) {
	text, err := json.Marshal(s)
	if err != nil {
		return nil, fmt.Errorf("settings of the target: %w", err)
	}
	return map[string]any{targetSetting: string(text)}, nil
}

// sharedTargetOf reads what a master told; ok is false when it told nothing.
func sharedTargetOf(settings map[string]any) (s sharedTarget, ok bool, err error) {
	text, ok := settings[targetSetting].(string)
	if !ok {
		return s, false, nil
	}
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		return s, false, fmt.Errorf("settings of the master: %w", err)
	}
	return s, true, nil
}

// cluster is a master in this process with what its runs have here: the target, the listeners and
// what workers tell of the table.
type cluster struct {
	app    *app
	plan   *runPlan
	master *master.Master
	flags  *masterFlags
	secret *wire.Secret
	lines  *lastLines
	// alone is set when the one worker is this process: nobody needs to know of it.
	alone bool
	// opened is called when the target of a run is open; nil = nobody wants to know.
	opened func(info target.Info, runID string)

	mu       sync.Mutex
	target   *target.Target           // of the run that goes on
	tallies  map[string]*target.Tally // of that run, by worker
	info     target.Info
	readings target.Readings // of the run that ended last
	sum      *target.Tally   // what they are made of
	cores    int
	// overspent is why the last run was stopped that exceeded its budget.
	overspent overspent
}

// newCluster returns a cluster whose master is not run yet. A plan without a file has classes of
// Locust's workers only.
func (a *app) newCluster(p *runPlan, flags *masterFlags, lines *lastLines) (*cluster, error) {
	if flags.newSecretFile != "" {
		if err := writeNewSecret(flags.newSecretFile); err != nil {
			return nil, err
		}
		flags.secret.file = flags.newSecretFile
	}
	secret, err := flags.secret.load(a.getenv)
	if err != nil {
		return nil, usage(err)
	}
	c := &cluster{app: a, plan: p, flags: flags, secret: secret, lines: lines, tallies: map[string]*target.Tally{}}
	config := master.Config{
		Version:     readBuild().Version,
		Build:       a.getenv(buildIDVariable),
		Link:        wire.RouterOptions{Secret: secret, AllowPlain: flags.allowPlain},
		Classes:     p.classes,
		Open:        c.open,
		NewRunID:    p.runIDs(),
		Rebalance:   flags.rebalancing,
		StopTimeout: p.stop,
		Warmup:      p.warmup,
		Unreachable: unreachableAfter,
		OnMessage:   c.message,
		Logger:      newLogger(lines, p.level),
	}
	switch {
	case p.file != nil:
		config.Locustfile, config.Files = p.file.SHA256(), c.files
	case p.python != "":
		config.Files = c.pythonFile
	}
	c.master, err = master.New(config)
	return c, err
}

// listen opens the address on which workers join.
func (c *cluster) listen(ctx context.Context) (net.Listener, error) {
	address, err := c.flags.address()
	if err != nil {
		return nil, usage(err)
	}
	if c.alone {
		address = "127.0.0.1:0" // nobody else is to join
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.app.inTask(address))
	if err != nil {
		return nil, withHint(fmt.Errorf("listen for workers: %w", err), "another master may run on this machine: end it, or choose another address with --bind (port 0 = a free one)")
	}
	if bound := listener.Addr().(*net.TCPAddr).IP; !bound.IsLoopback() && c.secret == nil && !c.flags.allowPlain {
		c.app.warn("workers of other machines are refused: give --secret-file here and there, or --allow-plain-workers")
	}
	return listener, nil
}

// files are what a worker without a locustfile is given.
func (c *cluster) files() ([]wire.LocustfileSource, error) {
	return givenSources(c.plan.file)
}

// pythonFile is what a worker of Locust without a locustfile is given: as by Locust's master, the file
// without its modules.
func (c *cluster) pythonFile() ([]wire.LocustfileSource, error) {
	return []wire.LocustfileSource{{Filename: filepath.Base(c.plan.python), Contents: c.plan.pythonText}}, nil
}

// open opens the target of a run.
func (c *cluster) open(ctx context.Context, run master.Run) (*master.Scenario, error) {
	p := *c.plan
	p.seed = run.Seed
	t := p.standing
	if t == nil {
		var err error
		if t, err = c.app.openTarget(ctx, &p, run.ID); err != nil {
			return nil, err
		}
	}
	t.StartReadings()
	c.coresOfWorkers()
	info := t.Info()
	c.mu.Lock()
	c.target, c.info = t, info
	clear(c.tallies)
	c.mu.Unlock()
	if c.opened != nil {
		c.opened(info, run.ID)
	}
	endpoint := info.Endpoint
	if p.target.aws() {
		endpoint = p.target.endpoint // each worker finds the service by itself
	}
	redis := ""
	if p.target.redis() {
		redis, endpoint = endpoint, ""
	}
	settings, err := sharedTarget{
		Redis: redis, AWS: p.target.aws(), Endpoint: endpoint, Region: info.Region, Table: info.Table, Namespace: info.Namespace,
		// What was made for the run goes with it; a namespace that was there is restored by who changed it.
		KeepData:    info.NamespaceMade || p.target.keepData,
		Speculative: p.target.speculative, RejectionCacheSeconds: p.target.rejectionCache.duration().Seconds(),
		Client: p.target.client, PoolConnections: p.target.poolConnections, ConsumedAll: p.target.consumed == "all",
	}.settings()
	if err != nil {
		return nil, errors.Join(err, c.close(ctx))
	}
	scenario := &master.Scenario{Settings: settings, OnWarm: t.StartReadings, Close: c.close}
	if p.file != nil {
		p.file.Bind(loadclient.New(t.Limiter()))
		scenario.Events = p.file.Events()
	} else if p.listeners != nil {
		scenario.Events = p.listeners.events()
	}
	return scenario, nil
}

// close keeps the readings of the run and cleans up after it.
func (c *cluster) close(ctx context.Context) error {
	readings, sum := c.read(), c.tally()
	c.mu.Lock()
	t := c.target
	c.target, c.readings, c.sum = nil, readings, sum
	c.mu.Unlock()
	if t == c.plan.standing {
		return nil
	}
	return c.app.closeTarget(ctx, t, c.runID())
}

// runID is the id of the run that goes on, or of the last one.
func (c *cluster) runID() string {
	outcome, _ := c.master.Outcome()
	return outcome.Run.ID
}

// message takes what workers tell of the table.
func (c *cluster) message(worker string, m wire.Message) {
	if m.Type != tallyMessage {
		return
	}
	data, _ := m.Data.([]byte)
	tally, err := target.DecodeTally(data)
	if err != nil {
		c.app.warn("worker %s: %v", worker, err)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tallies[worker] = tally
}

// read returns the readings of the run that goes on, else those of the last one.
func (c *cluster) read() target.Readings {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.target == nil {
		return c.readings
	}
	return c.target.Readings(slices.Collect(maps.Values(c.tallies))...)
}

// tally is what these readings are made of.
func (c *cluster) tally() *target.Tally {
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case c.target != nil:
		return c.target.Sum(slices.Collect(maps.Values(c.tallies))...)
	case c.sum != nil:
		return c.sum
	}
	return new(target.Tally)
}

// coresOfWorkers is the most that workers told of.
func (c *cluster) coresOfWorkers() int {
	cores := 0
	for _, w := range c.master.Workers() {
		cores += w.Cores
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.cores = max(c.cores, cores)
	return c.cores
}

// result is the document of the run that goes on, or of the last one; nil before the first.
func (c *cluster) result() (*report.Result, *stats.Snapshot) {
	outcome, ok := c.master.Outcome()
	if !ok {
		return nil, nil
	}
	p := *c.plan
	p.users, p.spawnRate, p.seed = outcome.Plan.Users, outcome.Plan.SpawnRate, outcome.Run.Seed
	p.options = customOptions(outcome.Run.Options, c.plan)
	if outcome.Plan.Shape == nil {
		p.shape = nil
	}
	c.mu.Lock()
	info, overspent := c.info, c.overspent
	c.mu.Unlock()
	meta := p.meta(outcome.Run.ID, info, c.read())
	if !c.alone {
		meta.Run.Mode = report.ModeDistributed
	}
	if outcome.Plan.Shape != nil {
		meta.Run.Users, meta.Run.SpawnRate = nil, nil // it decides
	}
	meta.Run.Workers = &outcome.Workers
	meta.Run.Cores = optionalInt(c.coresOfWorkers())
	meta.WorkersBySecond = outcome.WorkersBySecond
	if !outcome.Ended.IsZero() {
		meta.Run.EndedAt = report.At(outcome.Ended)
	}
	switch {
	case overspent.runID == outcome.Run.ID:
		meta.Aborted = "stopped: " + overspent.reason
	case strings.HasPrefix(outcome.Reason, loadclient.Denied):
		meta.Aborted = "stopped: " + outcome.Reason
	case errors.Is(outcome.Err, master.ErrUnreachable):
		meta.Aborted = fmt.Sprintf("the target could not be reached for %s: %v", unreachableAfter, outcome.Err)
	case errors.Is(outcome.Err, master.ErrNoWorkers):
		meta.Aborted = "no worker has all user classes of the run: " + strings.Join(classNames(c.master.Classes()), ", ")
	case errors.Is(outcome.Err, master.ErrWorkersLost):
		meta.Aborted = "the last worker left before the end"
	}
	return report.Build(outcome.Snapshot, meta), outcome.Snapshot
}

// customOptions leaves the options out that every run has.
func customOptions(all map[string]string, p *runPlan) map[string]string {
	common := (&runPlan{scenario: p.scenario}).commandLine()
	custom := map[string]string{}
	for name, value := range all {
		_, given := p.options[name]
		if _, everywhere := common[name]; given || !everywhere {
			custom[name] = value
		}
	}
	return custom
}

func optionalInt(n int) *int {
	if n == 0 {
		return nil
	}
	return &n
}

// start starts a run as the options of the command line say.
func (c *cluster) start() error {
	p := c.plan
	plan := master.Plan{
		Seed: p.seed, Users: p.users, SpawnRate: p.spawnRate, RunTime: p.duration, Host: p.scenario.host,
		Options: p.commandLine(), Tags: p.scenario.tags, ExcludeTags: p.scenario.excludeTags,
	}
	if p.shape != nil {
		plan.Shape = p.shape.Shape
	}
	_, err := c.master.Start(plan)
	return err
}

// finished is the run that ended, as the command's end needs it.
func (c *cluster) finished() *finishedRun {
	result, snapshot := c.result()
	outcome, _ := c.master.Outcome()
	done := &finishedRun{result: result, snapshot: snapshot, release: func() error { return nil }}
	if _, ok := errors.AsType[*loadtest.EventError](outcome.Err); ok {
		done.err = outcome.Err
	}
	if strings.HasPrefix(outcome.Reason, loadclient.Denied) {
		done.err = errors.Join(done.err, deniedError(outcome.Reason))
	}
	done.interrupted = errors.Is(outcome.Err, errInterrupted)
	return done
}

// lastLines keeps the last lines that were written, and passes them on.
type lastLines struct {
	out io.Writer

	mu    sync.Mutex
	lines []string
}

// keptLines is how many lines the web UI shows.
const keptLines = 500

// Write implements io.Writer; each call is one line, as loggers write them.
func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.lines = append(l.lines, strings.TrimSuffix(string(p), "\n"))
	if len(l.lines) > keptLines {
		l.lines = slices.Delete(l.lines, 0, len(l.lines)-keptLines)
	}
	l.mu.Unlock()
	return l.out.Write(p)
}

// last returns the lines that are kept.
func (l *lastLines) last() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.lines)
}
