package cli

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// clusterCommandFlags are the options of load master and load connect.
type clusterCommandFlags struct {
	benchmarkFlags
	master    masterFlags
	web       webFlags
	headless  bool
	autostart bool
	autoquit  int
	noBrowser bool
	level     levelFlag
	// Of load connect.
	standalone bool
	alone      bool // the users run in this process, which is nobody's master
	connect    connectFlags
}

func newClusterFlags() *clusterCommandFlags {
	f := &clusterCommandFlags{autoquit: -1}
	f.stop = runTimeFlag(5 * time.Second)
	return f
}

// masterCommand is `load master`.
func (a *app) masterCommand() *cobra.Command {
	f := newClusterFlags()
	cmd := &cobra.Command{
		Use:   "master [class…]",
		Short: "Control workers, with Locust's web UI",
		Long: `Control workers that join over Locust's protocol, this program's and Locust's own, and serve
Locust's web UI. The workers drive the target that the options name; without --endpoint-url that is
the engine embedded in this process.`,
		Example: `  zae-limiter load master -f examples/locust/locustfiles/max_rps.star
  zae-limiter load worker -f examples/locust/locustfiles/max_rps.star
  zae-limiter load master -f examples/locust/locustfiles/simple.star --headless --expect-workers 2 --users 100 --run-time 1m`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.scenario.addClasses(args)
			if err := f.validateCluster(cmd.Flags()); err != nil {
				return usage(err)
			}
			return a.runMaster(cmd, f)
		},
	}
	flags := cmd.Flags()
	f.registerCluster(flags)
	flags.BoolVar(&f.headless, "headless", false, "no web UI: start at once and end with the run")
	flags.IntVar(&f.processes, "processes", 0, "start so many worker `processes` on this machine too; -1 = one for each core")
	flags.SortFlags = false
	return cmd
}

// registerCluster adds what load master and load connect have in common.
func (f *clusterCommandFlags) registerCluster(flags *pflag.FlagSet) {
	f.scenario.register(flags)
	f.target.register(flags)
	f.registerLoad(flags, 1, 1)
	f.master.register(flags)
	f.web.register(flags)
	flags.BoolVar(&f.autostart, "autostart", false, "start the run at once, with the web UI")
	flags.IntVar(&f.autoquit, "autoquit", -1, "with --autostart: end so many `seconds` after the run; -1 = stay")
	f.registerOutputs(flags)
	f.locust.register(flags)
	f.level.register(flags)
	f.budget.register(flags)
	flags.StringVar(&f.runID, "run-id", "", "`id` of the first run (default: a new one)")
	_ = flags.MarkHidden("run-id")
}

func (f *clusterCommandFlags) validateCluster(flags *pflag.FlagSet) error {
	if f.processes < -1 {
		return fmt.Errorf("--processes must be -1 or more, got %d", f.processes)
	}
	if f.processes != 0 && f.locust.command != "" {
		return errors.New("--processes starts workers of this program: with --locust-command give --locust-workers")
	}
	errs := []error{f.validateLoad(flags), f.master.validate(), f.locust.validate()}
	if f.name != "" {
		return errors.Join(append(errs, f.validateDeployed(flags))...)
	}
	if !f.headless {
		errs = append(errs, f.web.validate())
	}
	if f.autoquit >= 0 && !f.autostart {
		errs = append(errs, errors.New("--autoquit goes with --autostart"))
	}
	if f.headless && f.autostart {
		errs = append(errs, errors.New("--headless and --autostart do not go together: one is without and one with the web UI"))
	}
	if len(f.scenario.files) == 0 {
		errs = append(errs, missingLocustfile(f.scenario.dir))
	}
	return errors.Join(errs...)
}

// workerProcesses is how many processes to start.
func (f *clusterCommandFlags) workerProcesses() int {
	if f.processes < 0 {
		return defaultLocustWorkers()
	}
	return f.processes
}

// missingLocustfile asks for one and names those that there are.
func missingLocustfile(dir string) error {
	err := errors.New("which locustfile? give -f FILE")
	found := findLocustfiles(dir)
	if len(found) == 0 {
		return withHint(err, "there is none below "+filepath.Clean(dir))
	}
	return withHint(err, "there are:\n  "+strings.Join(found, "\n  "))
}

// maxListed bounds the search for locustfiles: more would not help to choose.
const maxListed = 50

// findLocustfiles lists the Starlark files below a directory that define user classes.
func findLocustfiles(dir string) []string {
	root := filepath.Clean(dir)
	var found []string
	_ = filepath.WalkDir(root, func(path string, entry os.DirEntry, err error) error {
		switch {
		case err != nil:
			return nil //nolint:nilerr // what cannot be read is not listed
		case entry.IsDir() && path != root && strings.HasPrefix(entry.Name(), "."):
			return filepath.SkipDir
		case len(found) >= maxListed:
			return filepath.SkipAll
		case filepath.Ext(path) != ".star" || !entry.Type().IsRegular():
			return nil
		}
		if text, err := readSmall(path); err == nil && strings.Contains(string(text), "user_class(") {
			relative, _ := filepath.Rel(root, path)
			found = append(found, relative)
		}
		return nil
	})
	slices.Sort(found)
	return found
}

// runMaster is load master.
func (a *app) runMaster(cmd *cobra.Command, f *clusterCommandFlags) error {
	progress := term.NewProgress(a.stderr, progressInterval)
	t := &masterRun{
		start: f.autostart || f.headless, end: f.headless || f.autoquit >= 0, expect: f.master.expect,
		expectMax: f.master.expectMaxWait.duration(), quitAfter: time.Duration(max(f.autoquit, 0)) * time.Second,
	}
	if !f.headless {
		t.web = &f.web
	}
	t.workerArgs, t.processes = f.scenario.place(), f.workerProcesses()
	if t.processes > 0 && !cmd.Flags().Changed("expect-workers") {
		t.expect = t.processes
	}
	if a.standsAlone(f.master.masterIgnored || f.processes != 0) {
		f.alone, t.inside, t.expect = true, true, 1
	}
	return a.runCluster(cmd, f, t, progress)
}

// runCluster runs a master with what t says and prints what was measured last.
func (a *app) runCluster(cmd *cobra.Command, f *clusterCommandFlags, t *masterRun, progress *term.Progress) error {
	ctx := cmd.Context()
	plan, release, err := a.clusterPlan(ctx, &f.benchmarkFlags, t, progress, cmd.Flags().Changed)
	if err != nil {
		return err
	}
	defer release()
	plan.level = f.level.Level
	if t.start && t.end && plan.duration == 0 && plan.shape == nil {
		a.warn("no --run-time: the run goes on until Ctrl+C")
	}
	outputs, err := openOutputs(&f.benchmarkFlags, plan)
	if err != nil {
		return usage(err)
	}
	c, err := a.newCluster(plan, &f.master, &lastLines{out: progress})
	if err != nil {
		return errors.Join(err, outputs.abandon())
	}
	c.alone = f.alone
	t.onTick = outputs.update
	if f.csvHistory {
		t.history = report.HistoryCSV(f.csv)
	}
	if err := a.conduct(ctx, c, t, progress); err != nil {
		return errors.Join(err, outputs.abandon())
	}
	done := c.finished()
	if done.result == nil { // there was no run
		err := outputs.abandon()
		if a.json {
			err = errors.Join(err, a.printJSON(map[string]any{"run": nil}))
		}
		return err
	}
	done.result.Evaluate(f.thresholds.parsed)
	// Ctrl+C is the normal end of a master, whatever the run was like.
	normal := ctx.Err() != nil
	done.interrupted = false
	err = a.finish(done, outputs)
	if o, ok := errors.AsType[*outcome](err); ok && normal && o.err == nil {
		return nil
	}
	return err
}

// clusterPlan loads the locustfile, or asks Locust about a Python one. release ends what was started
// for it.
func (a *app) clusterPlan(ctx context.Context, f *benchmarkFlags, t *masterRun, progress *term.Progress, changed func(string) bool) (p *runPlan, release func(), err error) {
	if f.locust.command != "" {
		return a.locustPlan(ctx, f, t, progress)
	}
	p, err = a.plan(f, progress, changed)
	return p, func() {}, err
}

// finishCluster evaluates and prints the one run of a cluster.
func (a *app) finishCluster(c *cluster, thresholds *thresholdFlags, outputs *outputs) error {
	done := c.finished()
	if done.result == nil {
		return errors.Join(errors.New("the run did not begin"), outputs.abandon())
	}
	done.result.Evaluate(thresholds.parsed)
	return a.finish(done, outputs)
}

// benchmarkDistributed runs the users on worker processes of this machine.
func (a *app) benchmarkDistributed(ctx context.Context, f *benchmarkFlags, plan *runPlan, outputs *outputs, progress *term.Progress) error {
	return a.benchmarkOn(ctx, f, plan, &masterRun{processes: f.workers, workerArgs: f.scenario.place(), expect: f.workers}, outputs, progress)
}

// benchmarkLocust runs a Python locustfile on workers of Locust itself.
func (a *app) benchmarkLocust(ctx context.Context, f *benchmarkFlags, progress *term.Progress) error {
	t := &masterRun{}
	plan, release, err := a.locustPlan(ctx, f, t, progress)
	if err != nil {
		return err
	}
	defer release()
	if f.list {
		return a.listClasses(plan.classes)
	}
	outputs, err := openOutputs(f, plan)
	if err != nil {
		return usage(err)
	}
	t.expect = max(t.locustWorkers, 1)
	return a.benchmarkOn(ctx, f, plan, t, outputs, progress)
}

// workersJoinWithin is how long workers on this machine may take to join.
const workersJoinWithin = time.Minute

// benchmarkOn runs a plan once on the workers of t and prints what was measured.
func (a *app) benchmarkOn(ctx context.Context, f *benchmarkFlags, plan *runPlan, t *masterRun, outputs *outputs, progress *term.Progress) error {
	plan.level = slog.LevelWarn // workers that come and go are no news here
	c, err := a.newCluster(plan, &masterFlags{bind: "127.0.0.1:0", expect: t.expect, rebalancing: true}, &lastLines{out: progress})
	if err != nil {
		return errors.Join(err, outputs.abandon())
	}
	t.start, t.end, t.expectMax, t.onTick = true, true, workersJoinWithin, outputs.update
	c.opened = func(info target.Info, runID string) { a.printHeader(plan, info, runID) }
	if err := a.conduct(ctx, c, t, progress); err != nil {
		return errors.Join(interruption(ctx, err), outputs.abandon())
	}
	if ctx.Err() != nil {
		if done := c.finished(); done.result == nil {
			return errors.Join(errInterrupted, outputs.abandon())
		}
	}
	return a.finishCluster(c, &f.thresholds, outputs)
}

// locustPlan asks Locust what a Python file has, and opens an engine that lives as long as its
// workers when no other target is named.
func (a *app) locustPlan(ctx context.Context, f *benchmarkFlags, t *masterRun, progress *term.Progress) (*runPlan, func(), error) {
	if len(f.scenario.files) != 1 || filepath.Ext(f.scenario.files[0]) != ".py" {
		return nil, nil, usagef("--locust-command runs one Python locustfile: give -f FILE.py")
	}
	file := f.scenario.files[0]
	if !filepath.IsAbs(file) {
		file = filepath.Join(f.scenario.dir, file)
	}
	text, err := readSmall(file)
	if err != nil {
		return nil, nil, usage(fmt.Errorf("locustfile: %w", err))
	}
	options, err := f.scenario.options()
	if err != nil {
		return nil, nil, usage(err)
	}
	p := &runPlan{
		python: f.scenario.files[0], pythonText: string(text), pythonSHA256: fmt.Sprintf("%x", sha256.Sum256(text)), scenario: &f.scenario, target: &f.target, options: options,
		users: f.users, spawnRate: f.spawnRate, duration: f.duration.duration(),
		build: a.build(), mode: a.modeHere(),
		prices: f.target.pricesWanted() || f.thresholds.about("cost"),
		runID:  f.runID, budget: f.budget.budget(a.deployed()),
		stop: f.stop.duration(), warmup: f.warmup.duration(), cores: f.cores, seed: f.scenario.seed,
		summaryOnly: f.onlySummary,
	}
	if !f.scenario.seeded {
		p.seed = randomSeed()
	}
	runID := newRunID()
	if p.standing, err = a.openTarget(ctx, p, runID); err != nil {
		return nil, nil, interruption(ctx, err)
	}
	release := func() {
		if err := a.closeTarget(ctx, p.standing, runID); err != nil {
			a.warn("%v", err)
		}
	}
	env := a.locustEnvironment(p, f.scenario.dir)
	classes, err := f.locust.classes(ctx, file, env)
	if err == nil {
		err = usage(checkClassNames(classes, f.scenario.classes))
	}
	if err != nil {
		release()
		return nil, nil, err
	}
	p.classes = runnable(classes, f.scenario.classes)
	p.listeners = &locustListeners{command: f.locust.command, file: file, env: env, output: progress}
	t.locust, t.locustFile, t.locustWorkers, t.locustEnv = f.locust.command, file, f.locust.count(), env
	return p, release, nil
}
