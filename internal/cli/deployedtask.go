package cli

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/tunnel"
)

const (
	// masterPort is where the master's web UI listens in the task.
	masterWebPort = 8089
	// autoquit is how long a master without workers stays after its run, for the results to be read.
	autoquit = 30 * time.Second
	// pollEvery is the time between questions about a run (load-cli.md 7.5), pollNearEnd that of the
	// last ones. A live result is never older than the first.
	pollEvery   = 5 * time.Second
	pollNearEnd = time.Second
	// missesMost is how many questions in a row may have no answer.
	missesMost = 3
	// workersWithin is how long the workers of a benchmark may take to connect.
	workersWithin = 5 * time.Minute
	// untilSlack is how much later than planned a benchmark's task is certainly left over.
	untilSlack = 20 * time.Minute
)

// deployedTask is what the deployment says about tasks.
type deployedTask struct {
	definition *awsrun.Definition
	network    *awsrun.Network
	size       awsrun.Size
	capacity   string
}

// prepare asks for what a task is started with.
func (d *deployment) prepare(ctx context.Context, f *deployedFlags) (*deployedTask, error) {
	t := &deployedTask{}
	var definitionErr, networkErr error
	var group sync.WaitGroup
	group.Go(func() { t.definition, definitionErr = d.tasks.Definition(ctx) })
	group.Go(func() { t.network, networkErr = d.tasks.Network(ctx) })
	group.Wait()
	// A stack that is not there lacks both: one word about it is enough.
	if networkErr != nil {
		return nil, networkErr
	}
	if definitionErr != nil {
		return nil, definitionErr
	}
	var err error
	if t.size, err = taskSize(t.definition, f.size); err != nil {
		return nil, err
	}
	if t.capacity = f.capacity; t.capacity == "" {
		t.capacity = t.network.Capacity
	}
	return t, nil
}

func (t *deployedTask) cost() cost.Task { return taskCost(t.size, t.definition.ARM, t.capacity) }

// limits are the variables of the master with the bounds of its runs, as far as they are not those that
// it has by itself.
func (b *budgetFlags) limits(task cost.Task, worker cost.Function) map[string]string {
	prices := cost.Published()
	variables := map[string]string{}
	set := func(name string, value, standard float64) {
		if math.Abs(value-standard) > 1e-4 {
			variables[name] = strconv.FormatFloat(value, 'f', 4, 64)
		}
	}
	set("ZAE_LIMITER_MAX_COST", b.maxCost, defaultMaxCost)
	set("ZAE_LIMITER_TASK_HOUR_COST", prices.TaskHour(task), defaultTaskHour)
	if worker.MemoryMB > 0 {
		set("ZAE_LIMITER_WORKER_HOUR_COST", prices.WorkerHour(worker), defaultWorkerHour)
	}
	if b.maxDuration.duration() != defaultMaxDuration {
		variables["ZAE_LIMITER_MAX_DURATION"] = b.maxDuration.String()
	}
	return variables
}

// task runs the users in a task: alone, or on functions that a master in the task controls.
func (r *deployedRun) task(ctx context.Context) error {
	f := r.flags
	if err := freePort(ctx, f.port); err != nil {
		return err
	}
	t, err := r.prepare(ctx, &f.deployed)
	if err != nil {
		return err
	}
	if err := r.locustfileOr(t.definition.Locustfile); err != nil {
		return err
	}
	if err := r.announceTask(ctx, t); err != nil {
		return err
	}
	if err := r.confirmTarget(ctx, f.deployed.confirm); err != nil {
		return err
	}
	task, err := r.start(ctx, awsrun.Start{
		Network: t.network, Capacity: f.deployed.capacity, Overrides: r.overrides(t), Command: "benchmark", RunID: r.runID,
		Until: r.clock.Now().Add(maxWait(f.duration.duration(), f.users, f.spawnRate) + untilSlack),
	}, f.deployed.fallback)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.progress, "task %s\n", task.ID)
	started := r.clock.Now()
	err = r.inTask(ctx, task.ARN)
	r.machines.taskFor = r.clock.Now().Sub(started)
	return err
}

// announceTask prints what is going to run where, and what it costs.
func (r *deployedRun) announceTask(ctx context.Context, t *deployedTask) error {
	f := r.flags
	task := t.cost()
	r.machines = machines{task: &task}
	r.header("Task", "%s, %d CPU units (%.1f vCPU), %d MB, %s", r.stack.Family(), t.size.CPU, t.size.VCPU(), t.size.Memory, t.capacity)
	plan := cost.Plan{Duration: f.duration.duration(), Users: f.users, Task: &task, VCPUs: t.size.VCPU()}
	if f.mode == modeDistributed {
		config, err := r.functions.Configuration(ctx, r.stack.Function())
		if err != nil {
			return err
		}
		r.header("Workers", "%d functions %s, %d MB (%.2f vCPU)", f.workers, config.Name, config.MemoryMB, config.CPUs())
		r.machines.function, r.machines.workers = functionCost(config), f.workers
		plan.Workers, plan.Function, plan.VCPUs = f.workers, r.machines.function, float64(f.workers)*config.CPUs()
	}
	if t.capacity == spot {
		r.app.warn("the task runs on Spot capacity, which AWS may take back in the middle of the run: --capacity-provider FARGATE does not")
	}
	r.headerOfRun()
	return r.app.announceCost(plan, f.budget.budget(true))
}

// overrides are what the task of a benchmark gets (load-cli.md 6.2 and 7.3).
func (r *deployedRun) overrides(t *deployedTask) awsrun.Overrides {
	f := r.flags
	var o awsrun.Overrides
	pool := 0
	if r.changed("pool-connections") {
		pool = f.target.poolConnections
	}
	if f.mode == modeDistributed {
		o = awsrun.Connect(r.locustfile, f.deployed.size, awsrun.Tuning{MaxWorkers: &f.workers, MinWorkers: &f.workers}, pool, false)
	} else {
		o = awsrun.Alone(r.locustfile, r.masterArguments(), f.deployed.size)
		if pool != 0 {
			o.Master["BOTO3_MAX_POOL"] = strconv.Itoa(pool)
		}
	}
	for name, value := range f.budget.limits(t.cost(), r.machines.function) {
		o.Master[name] = value
	}
	o.Master["ZAE_LIMITER_RUN_ID"] = r.runID
	for name, value := range r.runVariables() {
		o.Master[name] = value
	}
	return o
}

// masterArguments are those of a master that runs its users alone and ends by itself.
func (r *deployedRun) masterArguments() string {
	f := r.flags
	arguments := []string{
		"--autostart", "--autoquit", strconv.Itoa(int(autoquit / time.Second)), "--users", strconv.Itoa(f.users),
		"--run-time", fmt.Sprintf("%ds", int(f.duration.duration()/time.Second)), "--spawn-rate", formatNumber(f.spawnRate),
	}
	return strings.Join(append(arguments, f.scenario.classes...), " ")
}

// runVariables are the options of the run that Locust's arguments have no words for, as variables of
// the master.
func (r *deployedRun) runVariables() map[string]string {
	f := r.flags
	variables := map[string]string{}
	for option, value := range map[string]string{
		"seed": strconv.FormatUint(f.scenario.seed, 10), "shape": f.shape, "warmup": f.warmup.String(), "stop-timeout": f.stop.String(),
		"host": f.scenario.host, "tags": strings.Join(f.scenario.tags, ","), "exclude-tags": strings.Join(f.scenario.excludeTags, ","),
		"namespace": f.target.namespace, "keep-data": strconv.FormatBool(f.target.keepData), "consumed": f.target.consumed, "client": f.target.client,
		"speculative": strconv.FormatBool(f.target.speculative), "rejection-cache": f.target.rejectionCache.String(),
		"set": strings.Join(f.scenario.set, ","),
	} {
		if r.changed(option) {
			variables["ZAE_LIMITER_"+strings.ToUpper(strings.ReplaceAll(option, "-", "_"))] = value
		}
	}
	return variables
}

// inTask runs the benchmark in a task that was started, and leaves nothing of it.
func (r *deployedRun) inTask(ctx context.Context, arn string) (err error) {
	var way *tunnel.Tunnel
	cleaning, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r.app.active.Store(&activeRun{kill: cancel, notes: r.progress})
	defer r.app.active.Store(nil)
	defer func() { err = errors.Join(err, r.leave(cleaning, arn, way)) }()
	task, err := r.tasks.AwaitReady(ctx, arn, func(t *awsrun.Task) { fmt.Fprintf(r.progress, "task %s is %s\n", t.ID, t.Status) })
	if err != nil {
		return err
	}
	if way, err = r.openTunnel(ctx, task, r.flags.port, nil); errors.Is(err, tunnel.ErrTaskStopped) {
		return r.ended(ctx, arn, err)
	} else if err != nil {
		return err
	}
	master, err := newRemoteMaster(way.Port())
	if err != nil {
		return err
	}
	if r.flags.mode == modeDistributed {
		if err := r.awaitWorkers(ctx, master); err != nil {
			return err
		}
		if err := master.Swarm(ctx, r.swarm()); err != nil {
			return err
		}
	}
	return r.follow(ctx, cleaning, arn, master, way)
}

// leave ends everything that the benchmark started.
func (r *deployedRun) leave(ctx context.Context, arn string, way *tunnel.Tunnel) error {
	r.progress.Close()
	// Even when nobody waits for the rest, the task is told to stop.
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
	defer cancel()
	var errs []error
	if err := r.tasks.Stop(stopping, arn, "the benchmark is over"); err != nil {
		errs = append(errs, err)
	}
	if way != nil {
		if err := way.Close(); err != nil {
			r.app.warn("the session was not closed: %v", err)
		}
	}
	if len(errs) == 0 {
		if _, err := r.tasks.AwaitStopped(ctx, arn); err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// openTunnel opens the way to the master's web UI; more, unless nil, hears what happens to it.
func (d *deployment) openTunnel(ctx context.Context, task *awsrun.Task, port int, more func(tunnel.Event)) (*tunnel.Tunnel, error) {
	return tunnel.Open(ctx, tunnel.Config{
		Account: d.account, Target: tunnel.Target(d.stack.Cluster(), task.ID, task.RuntimeID), RemotePort: masterWebPort, LocalPort: port,
		StillRunning: func(ctx context.Context) (bool, string) {
			now, err := d.tasks.Describe(ctx, task.ARN)
			if err != nil {
				return true, "" // not known: the next attempt tells
			}
			if now.Ending() {
				return false, (&awsrun.StoppedError{Task: *now}).Error()
			}
			return true, ""
		},
		Progress: more,
	})
}

// ended is what ECS says about a task that has ended, or else err. A task that is about to end is waited for:
// the exit codes of its containers come last.
func (d *deployment) ended(ctx context.Context, arn string, err error) error {
	task, awaitErr := d.tasks.AwaitStopped(ctx, arn)
	if awaitErr != nil {
		return err
	}
	return &awsrun.StoppedError{Task: *task}
}

// awaitWorkers waits until all workers of the benchmark are there.
func (r *deployedRun) awaitWorkers(ctx context.Context, master *remoteMaster) error {
	begun := r.clock.Now()
	r.progress.Start(begun)
	connected := 0
	for {
		status, err := master.Status(ctx)
		if err == nil {
			connected = present(status.Workers)
		}
		elapsed := r.clock.Now().Sub(begun)
		r.progress.Update(time.Now(), term.Frame{Line: fmt.Sprintf("[%s] workers=%d/%d", elapsed.Round(time.Second), connected, r.flags.workers)})
		switch {
		case connected >= r.flags.workers:
			return nil
		case elapsed >= workersWithin:
			return r.noWorkers(ctx, connected)
		}
		if err := r.clock.Sleep(ctx, pollNearEnd); err != nil {
			return err
		}
	}
}

// present counts the workers that are there: the master also lists those that it lost.
func present(workers []orchestrator.Worker) int {
	n := 0
	for _, w := range workers {
		switch w.State {
		case "ready", "spawning", "running":
			n++
		}
	}
	return n
}

// noWorkers says what may keep the workers away.
func (r *deployedRun) noWorkers(ctx context.Context, connected int) error {
	err := fmt.Errorf("workers failed to connect within 5 minutes: %d of %d are there", connected, r.flags.workers)
	hint := "the security group of the master has to admit the workers' at port 5557, in subnets that reach each other; " + r.command("doctor") + " looks at concurrency and network"
	for _, source := range []awsrun.LogSource{r.stack.OrchestratorLog(""), r.stack.WorkerLog()} {
		if lines, logErr := r.logs.Last(ctx, source, r.clock.Now().Add(-2*workersWithin), logLines/2); logErr == nil && len(lines) > 0 {
			hint += fmt.Sprintf("\n%s:\n  %s", source.Group, strings.Join(lines, "\n  "))
		}
	}
	return withHint(err, hint)
}

// swarm is the form that starts the run on a master with workers.
func (r *deployedRun) swarm() url.Values {
	f := r.flags
	form := url.Values{
		"user_count": {strconv.Itoa(f.users)}, "spawn_rate": {formatNumber(f.spawnRate)},
		"run_time": {fmt.Sprintf("%ds", int(f.duration.duration()/time.Second))},
	}
	if len(f.scenario.classes) > 0 {
		form["user_classes"] = f.scenario.classes
	}
	if f.shape != "" && f.shape != "none" {
		form.Set("shape_class", f.shape)
	}
	return form
}

// maxWait is how long a run may take until its end is seen (load-cli.md 7.5).
func maxWait(duration time.Duration, users int, rate float64) time.Duration {
	const slack = 30 * time.Second
	return duration + time.Duration(float64(users)/max(rate, 1))*time.Second + slack
}

// errLost says that the master does not answer any more.
var errLost = errors.New("the connection to the master was lost")

// follow shows the run until it is over and keeps its last result. When ctx ends the run is stopped;
// what it measured is still read, as long as cleaning goes on.
func (r *deployedRun) follow(ctx, cleaning context.Context, arn string, master *remoteMaster, way *tunnel.Tunnel) error {
	f := r.flags
	duration := f.duration.duration()
	err := r.poll(ctx, master, maxWait(duration, f.users, f.spawnRate))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.interrupted = true
		if stopErr := master.Stop(cleaning); stopErr != nil {
			r.app.warn("the run was not stopped in good order: %v", stopErr)
		}
		err = nil
	case errors.Is(err, errLost):
		err = r.whyLost(cleaning, arn, way, err)
	}
	last, resultErr := r.final(cleaning, master)
	if last != nil {
		r.result = last
	}
	if r.result == nil {
		return errors.Join(err, fmt.Errorf("no statistics were collected: %w", resultErr))
	}
	r.finishResult(duration, err)
	if _, stopped := errors.AsType[*awsrun.StoppedError](err); stopped {
		r.app.warn("%v: these are the results until then", err)
		return nil // the verdict says it
	}
	return err
}

// finishResult makes the document of the master that of the benchmark.
func (r *deployedRun) finishResult(planned time.Duration, err error) {
	r.result.Run.Mode = report.ModeFargate
	r.machines.workersFor = time.Duration(orZero(r.result.Run.DurationSeconds) * float64(time.Second))
	if r.flags.mode == modeDistributed {
		r.result.Run.Mode = report.ModeDistributed
	}
	if r.result.Run.EndedAt == nil && err != nil {
		r.result.CutShort(plannedUserSeconds(r.flags.users, r.flags.spawnRate, planned), err.Error())
		return
	}
	r.checkLength(planned)
}

// whyLost finds out whether the task is gone.
func (r *deployedRun) whyLost(ctx context.Context, arn string, way *tunnel.Tunnel, err error) error {
	task, describeErr := r.tasks.Describe(ctx, arn)
	if describeErr == nil && task.Ending() {
		return &awsrun.StoppedError{Task: *task}
	}
	select {
	case <-way.Done():
		return errors.Join(err, way.Err())
	default:
		return err
	}
}

// finalWithin bounds the wait for the last word of a run that was stopped.
const finalWithin = 30 * time.Second

// final reads the result when the run is over; a run that is still ending is waited for.
func (r *deployedRun) final(ctx context.Context, master *remoteMaster) (*report.Result, error) {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	var last *report.Result
	for {
		result, err := master.Result(ctx)
		if err != nil {
			return last, err
		}
		if last = result; result.Run.EndedAt != nil {
			return result, nil
		}
		if err := r.clock.Sleep(ctx, pollNearEnd); err != nil {
			return last, nil //nolint:nilerr // the live one is what there is
		}
	}
}

// poll asks about the run until it is over.
func (r *deployedRun) poll(ctx context.Context, master *remoteMaster, within time.Duration) error {
	begun := r.clock.Now()
	planned := r.flags.duration.duration()
	r.progress.Start(begun)
	defer r.progress.Close()
	misses, seen := 0, false
	for {
		elapsed := r.clock.Now().Sub(begun)
		status, err := master.Status(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil:
			if misses++; misses >= missesMost {
				return fmt.Errorf("%w: %w", errLost, err)
			}
			fmt.Fprintf(r.progress, "no answer from the master (%d of %d): %v\n", misses, missesMost, err)
		default:
			misses = 0
			r.show(elapsed, &status)
			if live, err := master.Result(ctx); err == nil {
				r.result = live
			}
			running := status.State == "spawning" || status.State == "running"
			if seen = seen || running; over(status.State, seen, r.result) {
				return nil
			}
		}
		if elapsed >= within {
			return nil
		}
		pause := pollEvery
		if left := planned - elapsed; left < pollEvery {
			pause = max(pollNearEnd, left)
		}
		if err := r.clock.Sleep(ctx, pause); err != nil {
			return err
		}
	}
}

// over tells whether the run has ended. A master that has not begun is ready, too, and one whose run is
// over is stopped.
func over(state string, seen bool, result *report.Result) bool {
	if result != nil && result.Run.EndedAt != nil {
		return true
	}
	return state == "stopped" && seen
}

// show prints the state of the run.
func (r *deployedRun) show(elapsed time.Duration, s *orchestrator.Status) {
	line := fmt.Sprintf("[%s of %s] state=%s users=%d", elapsed.Round(time.Second), r.flags.duration.duration(), s.State, s.Users)
	if r.flags.mode == modeDistributed {
		line += fmt.Sprintf(" workers=%d", present(s.Workers))
	}
	r.progress.Update(time.Now(), term.Frame{Line: line + fmt.Sprintf(" rps=%.1f", s.RPS)})
}
