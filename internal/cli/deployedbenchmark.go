package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// Modes of a benchmark on AWS.
const (
	modeLambda  = "lambda"
	modeFargate = "fargate"
)

// localOnly are the options of a benchmark that mean nothing on a deployed stack.
var localOnly = []string{
	"sweep-users", "csv", "csv-full-history", "locust-command", "locust-workers", "list", "show-task-ratio", "show-task-ratio-json", "purge",
	"cores", "processes", "create-table", "table", "target", "engine-latency", "engine-throughput", "engine-faults", "engine-network", "engine-wording",
}

// chooseDeployedMode decides where the users of a benchmark run on AWS (load-cli.md 7.1).
func (f *benchmarkFlags) chooseDeployedMode(flags *pflag.FlagSet) error {
	workers := flags.Changed("workers")
	switch {
	case f.mode == "" && workers:
		f.mode = modeDistributed
	case f.mode == "" && f.singleTask:
		f.mode = modeFargate
	case f.mode == "":
		f.mode = modeLambda
	}
	switch f.mode {
	case modeDistributed:
	case modeLambda, modeFargate:
		if workers {
			return fmt.Errorf("--workers goes with --mode distributed, not with --mode %s", f.mode)
		}
	case "local":
		return errors.New("--mode local runs on this machine: leave --name out")
	default:
		return fmt.Errorf("--mode %q is unknown: want lambda, fargate or distributed", f.mode)
	}
	if f.mode == modeLambda {
		if wrong := given(flags, "cpu", "memory", "port", "capacity-provider", "capacity-fallback"); len(wrong) > 0 {
			return fmt.Errorf("%s: a task has them, --mode lambda has none", strings.Join(wrong, ", "))
		}
	}
	return nil
}

// validateDeployed reports everything that is wrong with the options of a run on a deployed stack.
func (f *benchmarkFlags) validateDeployed(flags *pflag.FlagSet) error {
	errs := []error{validateStackName(f.name), f.chooseDeployedMode(flags), f.deployed.validate()}
	if wrong := given(flags, localOnly...); len(wrong) > 0 {
		errs = append(errs, fmt.Errorf("%s: not with --name", strings.Join(wrong, ", ")))
	}
	if f.workers < 1 {
		errs = append(errs, fmt.Errorf("--workers must be at least 1, got %d", f.workers))
	}
	if f.port < 0 || f.port > 65535 {
		errs = append(errs, fmt.Errorf("--port must be between 0 and 65535, got %d", f.port))
	}
	_, err := f.scenario.deployedLocustfile()
	return errors.Join(append(errs, err)...)
}

// benchmarkDeployed runs a benchmark on a deployed load stack.
func (a *app) benchmarkDeployed(cmd *cobra.Command, f *benchmarkFlags) error {
	ctx := cmd.Context()
	f.budget.onAWS(cmd.Flags().Changed)
	if wanted, most := f.duration.duration(), f.budget.maxDuration.duration(); most > 0 && wanted > most {
		return usage(withHint(fmt.Errorf("the run of %s is longer than --max-duration %s", wanted, most), "give a longer --max-duration if it is meant"))
	}
	outputs, err := openOutputs(f, &runPlan{users: f.users, spawnRate: f.spawnRate, duration: f.duration.duration()})
	if err != nil {
		return usage(err)
	}
	d, err := a.openDeployment(ctx, f.name, f.target.account())
	if err != nil {
		return err
	}
	run := &deployedRun{deployment: d, flags: f, changed: cmd.Flags().Changed, progress: term.NewProgress(a.stderr, progressInterval), runID: newRunID()}
	if run.locustfile, err = f.scenario.deployedLocustfile(); err != nil {
		return usage(err)
	}
	if f.mode == modeLambda {
		err = run.lambda(ctx)
	} else {
		err = run.task(ctx)
	}
	if run.result == nil {
		return d.explain(ctx, err)
	}
	run.headerOfClasses()
	run.charge()
	run.join(ctx)
	run.result.Evaluate(f.thresholds.parsed)
	return a.finish(&finishedRun{
		result: run.result, interrupted: run.interrupted,
		err: d.explain(context.WithoutCancel(ctx), err), release: func() error { return nil },
	}, outputs)
}

// deployedRun is one benchmark on a deployed stack.
type deployedRun struct {
	*deployment
	flags      *benchmarkFlags
	changed    func(option string) bool
	progress   *term.Progress
	runID      string
	locustfile string // "" = the deployment's own

	machines machines
	// part is what the task measures that runs now, parts are what those measured that AWS took back: lost
	// are their ends. The run is to end at endsAt, which is zero before it has begun.
	part   runPart
	parts  []runPart
	lost   []*awsrun.StoppedError
	endsAt time.Time
	onSpot bool // the task that runs now can be taken back
	// result is what the run left; nil when there is nothing. interrupted tells an ordered end.
	result      *report.Result
	interrupted bool
}

// header prints a line about what is going to run.
func (r *deployedRun) header(name, format string, args ...any) {
	fmt.Fprintf(r.app.stderr, "%s %s\n", r.app.stderr.Paint(term.Bold, fmt.Sprintf("%-11s", name+":")), fmt.Sprintf(format, args...))
}

func (r *deployedRun) headerOfRun() {
	f := r.flags
	users := fmt.Sprintf("%d, %v/s", f.users, f.spawnRate)
	if len(f.scenario.classes) > 0 {
		users += " (" + strings.Join(f.scenario.classes, ", ") + ")"
	}
	r.header("Locustfile", "%s", r.locustfile)
	r.header("Users", "%s", users)
	r.header("Duration", "%s", f.duration.duration())
}

// headerOfClasses says how many users of each class ran: only the deployed locustfile decides.
func (r *deployedRun) headerOfClasses() {
	var mix []string
	for _, class := range r.result.Run.UserClasses {
		mix = append(mix, fmt.Sprintf("%s %d", class.Name, class.Users))
	}
	if len(mix) > 0 {
		r.header("Classes", "%s", strings.Join(mix, ", "))
	}
}

// locustfileOr takes the deployment's locustfile when none was given.
func (r *deployedRun) locustfileOr(deployed string) error {
	if r.locustfile != "" {
		return nil
	}
	if r.locustfile = deployed; deployed == "" {
		return usage(withHint(errors.New("which locustfile? give -f FILE"), "the deployment of "+r.stack.Name()+" has no default: load deploy -f FILE sets one"))
	}
	return nil
}

// lambda runs the users in one call of the function.
func (r *deployedRun) lambda(ctx context.Context) error {
	config, err := r.functions.Configuration(ctx, r.stack.Worker())
	if err != nil {
		return err
	}
	if err := r.locustfileOr(config.Locustfile); err != nil {
		return err
	}
	f := r.flags
	duration := f.duration.duration()
	if limit := config.RunTime(); duration > limit {
		r.app.warn("the function's timeout of %s ends the run after %s: it stops early, before its %s", config.Timeout, limit, duration)
	}
	r.header("Function", "%s", config.Name)
	r.header("Memory", "%d MB (%.2f vCPU)", config.MemoryMB, config.CPUs())
	r.header("Timeout", "%s", config.Timeout)
	r.headerOfRun()
	r.machines = machines{function: functionCost(config), workers: 1}
	if err := r.app.announceCost(cost.Plan{
		Duration: min(duration, config.RunTime()), Users: f.users, Workers: 1, Function: r.machines.function, VCPUs: config.CPUs(),
	}, f.budget.budget(true)); err != nil {
		return err
	}
	if err := r.confirmTarget(ctx, f.deployed.confirm); err != nil {
		return err
	}
	started := r.clock.Now()
	answer, err := r.call(ctx, config, r.event(duration))
	r.machines.workersFor = r.clock.Now().Sub(started)
	if err != nil {
		return lambdaFailure(err)
	}
	if r.result, err = resultOf(answer); err != nil {
		return err
	}
	if answer.Error != "" {
		err = errors.New(answer.Error)
	}
	r.checkLength(duration)
	return err
}

func functionCost(config functions.Configuration) cost.Function {
	return cost.Function{MemoryMB: config.MemoryMB, ARM: config.Architecture == "arm64"}
}

// event is the headless run as the function gets it.
func (r *deployedRun) event(duration time.Duration) invocation.Config {
	f := r.flags
	stop := int(f.stop.duration() / time.Second)
	event := invocation.Config{
		Mode: invocation.ModeHeadless, Users: f.users, SpawnRate: f.spawnRate, DurationSeconds: int(duration / time.Second),
		Locustfile: r.locustfile, UserClasses: strings.Join(f.scenario.classes, ","), RunID: r.runID,
		MaxCostUSD: f.budget.maxCost, StopTimeout: &stop, Tags: f.scenario.tags, ExcludeTags: f.scenario.excludeTags,
		Host: f.scenario.host, Shape: f.shape, Warmup: f.warmup.duration().Seconds(),
		Namespace: f.target.namespace, KeepData: f.target.keepData, Speculative: &f.target.speculative,
		RejectionCache: f.target.rejectionCache.duration().Seconds(), Consumed: f.target.consumed, Client: f.target.client,
	}
	event.Options, _ = f.scenario.options() // validated
	if f.scenario.seeded {
		event.Seed = &f.scenario.seed
	}
	if r.changed("pool-connections") {
		event.PoolConnections = f.target.poolConnections
	}
	return event
}

const (
	// purgeAgain is the time between attempts to end a run in a function: it may not have begun.
	purgeAgain = 3 * time.Second
	// answerAfter is how much longer than its stop timeout a run that was ended may take to answer.
	answerAfter = 30 * time.Second
)

// call invokes the function and shows how the time passes. When ctx ends, the run is ended and what it
// measured is still waited for.
func (r *deployedRun) call(ctx context.Context, config functions.Configuration, event invocation.Config) (*invocation.HeadlessResponse, error) {
	type outcome struct {
		response *invocation.HeadlessResponse
		err      error
	}
	calling, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	answered := make(chan outcome, 1)
	go func() {
		response, err := r.functions.Invoke(calling, r.stack.Worker(), config.Timeout, event)
		answered <- outcome{response, err}
	}()
	r.app.active.Store(&activeRun{kill: abandon, notes: r.progress})
	defer r.app.active.Store(nil)
	defer r.progress.Close()
	started := r.clock.Now()
	r.progress.Start(started)
	ticker := time.NewTicker(time.Second)
	defer ticker.Stop()
	interrupted := ctx.Done()
	var again <-chan time.Time
	var patience <-chan time.Time
	for {
		select {
		case got := <-answered:
			return got.response, got.err
		case now := <-ticker.C:
			if interrupted != nil {
				elapsed := r.clock.Now().Sub(started).Round(time.Second)
				r.progress.Update(now, term.Frame{Line: fmt.Sprintf("[%s of %s] the function runs", elapsed, r.flags.duration.duration())})
			}
		case <-interrupted:
			interrupted, r.interrupted = nil, true
			again = time.After(0)
			patience = time.After(r.flags.stop.duration() + answerAfter)
		case <-again:
			if err := r.functions.Purge(calling, r.stack.Worker(), event.RunID); err != nil {
				r.app.warn("the run could not be ended: %v", err)
			}
			again = time.After(purgeAgain)
		case <-patience:
			abandon()
			<-answered
			r.app.warn("the function did not end its run when asked to: it ends by itself, at the latest %s after its start", config.Timeout)
			return nil, errInterrupted
		}
	}
}

// lambdaFailure names what failed; throttling has a text of its own.
func lambdaFailure(err error) error {
	if failed, ok := errors.AsType[*functions.Failure](err); ok && !failed.Throttled {
		//lint:ignore ST1005 it is a name
		return fmt.Errorf("Lambda execution failed: %w", err)
	}
	return err
}

// resultOf reads the document in the answer of a function.
func resultOf(answer *invocation.HeadlessResponse) (*report.Result, error) {
	if len(answer.Result) == 0 || bytes.Equal(answer.Result, []byte("null")) {
		return nil, withHint(errors.New("the function answers without a result document"), "it has the code of another release: push ours with load push")
	}
	result, err := report.Decode(bytes.NewReader(answer.Result))
	if err != nil {
		return nil, fmt.Errorf("answer of the function: %w", err)
	}
	result.Run.Mode = report.ModeLambda
	return result, nil
}

// shortBy is how much shorter than planned a run may be for its length to be as planned.
const shortBy = 2 * time.Second

// checkLength marks a run partial that ended before its time without saying why.
func (r *deployedRun) checkLength(planned time.Duration) {
	if r.result.Run.Users == nil || r.result.Run.DurationSeconds == nil {
		return // a shape decided
	}
	ran := time.Duration(*r.result.Run.DurationSeconds * float64(time.Second))
	if ran+shortBy >= planned {
		return
	}
	v := &r.result.Verdict
	if at := slices.Index(v.Reasons, stoppedByRemoval); r.interrupted && at >= 0 {
		v.Reasons = slices.Delete(v.Reasons, at, at+1) // how a run in a function is ended from here, not why
	} else if v.State == report.Partial {
		return // it says so already
	}
	reason := fmt.Sprintf("the run ended after %s of %s", ran.Round(time.Second), planned)
	if r.interrupted {
		reason += ": it was interrupted"
	}
	r.result.CutShort(plannedUserSeconds(r.flags.users, r.flags.spawnRate, planned), reason)
}

// plannedUserSeconds is what a ramp and what follows it deliver.
func plannedUserSeconds(users int, rate float64, d time.Duration) float64 {
	n, seconds := float64(users), d.Seconds()
	ramp := n / rate
	if ramp >= seconds {
		return rate * seconds * seconds / 2
	}
	return n * (seconds - ramp/2)
}

// charge adds what the machines cost.
func (r *deployedRun) charge() { r.app.charge(r.result, r.machines) }

// join adds what CloudWatch has of the time of the run.
func (r *deployedRun) join(ctx context.Context) {
	if wait := r.flags.deployed.wait.duration(); wait > 0 && !r.interrupted {
		fmt.Fprintf(r.app.stderr, "waiting %s for the metrics of CloudWatch\n", wait)
		_ = r.clock.Sleep(ctx, wait) // Ctrl+C ends the wait, not the run, which is over
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
	defer cancel()
	if err := r.joinMetrics(ctx, r.result); err != nil {
		r.app.warn("the result is without CloudWatch's metrics: %v", r.explain(ctx, err))
	}
}

// joinMetrics fills the aws section of a document.
func (d *deployment) joinMetrics(ctx context.Context, result *report.Result) error {
	if result.Run.StartedAt == nil {
		return nil
	}
	from, to := result.Run.StartedAt.Time, d.clock.Now()
	if result.Run.EndedAt != nil {
		to = result.Run.EndedAt.Add(time.Minute)
	}
	series, err := d.watch.Read(ctx, d.stack.Metrics(), from, to)
	if err != nil {
		return err
	}
	section, err := json.Marshal(awsrun.Join(series, from))
	if err != nil {
		return fmt.Errorf("metrics of CloudWatch: %w", err)
	}
	result.AWS = section
	return nil
}
