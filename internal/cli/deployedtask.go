package cli

import (
	"cmp"
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
	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/tunnel"
)

const (
	// masterPort is where the master's web UI listens in the task.
	masterWebPort = 8089
	// autoquit is how long a master without workers stays after its run, for the results to be read; a
	// short run's master stays until the agent had its time, too.
	autoquit = 30 * time.Second
	// pollEvery is the time between questions about a run (load-cli.md 7.5), pollNearEnd that of the
	// last ones. A live result is never older than the first.
	pollEvery   = 5 * time.Second
	pollNearEnd = time.Second
	// pollOnSpot is how old the statistics are at the most that a task leaves that AWS takes back.
	pollOnSpot = 2 * time.Second
	// worthReplacing is the least that must be left of a run for another task to take it over.
	worthReplacing = 10 * time.Second
	// unluckyMost is how often a task may be taken back before its run has begun.
	unluckyMost = 2
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
	return r.inTasks(ctx, t)
}

// inTasks runs the benchmark in a task, and goes on in another one when AWS takes it back, until the time
// at which the run was to end.
func (r *deployedRun) inTasks(ctx context.Context, t *deployedTask) (err error) {
	var ending []string // tasks that AWS takes back
	defer func() {
		cleaning, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
		defer cancel()
		for _, arn := range ending {
			_, awaitErr := r.tasks.AwaitStopped(cleaning, arn)
			err = errors.Join(err, awaitErr)
		}
	}()
	r.part = runPart{id: r.runID, left: r.flags.duration.duration()}
	for unlucky := 0; ; {
		err := r.inOneTask(ctx, t)
		taken, ok := errors.AsType[*awsrun.StoppedError](err)
		if !ok || !taken.Interrupted() {
			return r.finishParts(ctx, err)
		}
		ending = append(ending, taken.Task.ARN)
		switch {
		case r.part.result == nil && len(r.parts) == 0:
			if unlucky++; unlucky > unluckyMost {
				return err
			}
			r.app.warn("%v: before the run began, which is tried again in another task", err)
		case !r.goesOn():
			r.app.warn("%v: these are the results until then", err)
			r.keepPart(taken)
			return r.finishParts(ctx, nil)
		default:
			r.app.warn("%v: the run goes on in another task for the %s that are left", err, r.left().Round(time.Second))
			r.keepPart(taken)
		}
		r.part = runPart{id: newRunID(), left: r.left()}
	}
}

// keepPart keeps what a task measured that AWS has taken back.
func (r *deployedRun) keepPart(taken *awsrun.StoppedError) {
	if r.part.result != nil {
		r.parts, r.lost = append(r.parts, r.part), append(r.lost, taken)
		r.part = runPart{}
	}
}

// left is how much of the run is still to come.
func (r *deployedRun) left() time.Duration {
	if r.endsAt.IsZero() {
		return r.flags.duration.duration()
	}
	return r.endsAt.Sub(r.clock.Now())
}

// goesOn says whether another task takes over what is left of the run. A shape begins at its beginning, and
// what cannot be added up cannot be continued.
func (r *deployedRun) goesOn() bool {
	measured := r.part.result == nil || r.part.statistics != nil && r.part.result.Run.Users != nil
	return measured && !r.interrupted && r.left() >= worthReplacing
}

// inOneTask starts a task and runs in it what is left of the benchmark.
func (r *deployedRun) inOneTask(ctx context.Context, t *deployedTask) error {
	f := r.flags
	task, err := r.start(ctx, awsrun.Start{
		Network: t.network, Capacity: f.deployed.capacity, Overrides: r.overrides(t), Command: "benchmark", RunID: r.runID,
		Until: r.clock.Now().Add(maxWait(r.part.left, f.users, f.spawnRate) + untilSlack),
	}, f.deployed.fallback)
	if err != nil {
		return err
	}
	fmt.Fprintf(r.progress, "task %s\n", task.ID)
	r.part.arn = task.ARN
	r.onSpot = cmp.Or(task.Capacity, t.capacity) == spot
	started := r.clock.Now()
	err = r.inTask(ctx)
	r.machines.taskFor += r.clock.Now().Sub(started)
	if r.part.result != nil {
		r.machines.workersFor += time.Duration(orZero(r.part.result.Run.DurationSeconds) * float64(time.Second))
	}
	return err
}

// finishParts makes the result of what the tasks measured; err is why the last one ended.
func (r *deployedRun) finishParts(ctx context.Context, err error) error {
	last := r.part.result
	if last != nil {
		r.parts = append(r.parts, r.part)
	}
	if len(r.parts) == 0 {
		return err
	}
	r.result = r.parts[0].result
	if len(r.parts) > 1 {
		r.result = joined(r.parts, priceList(cost.Published()))
	}
	r.finishResult(err)
	_, stopped := errors.AsType[*awsrun.StoppedError](err)
	switch {
	case err == nil:
		return endOfRights(r.result)
	case last != nil && !stopped:
		return err
	case last != nil:
		r.app.warn("%v: these are the results until then", err)
	case errors.Is(context.Cause(ctx), errInterrupted): // while another task was to take over
		r.interrupted = true
	default:
		r.app.warn("no other task goes on: %v", r.explain(ctx, err))
	}
	return nil // the verdict says it
}

// endOfRights is the error of a run that ended because it was denied a call, which its document gives as a reason.
func endOfRights(r *report.Result) error {
	for _, reason := range r.Verdict.Reasons {
		if denied, ok := strings.CutPrefix(reason, "stopped: "); ok && strings.HasPrefix(denied, loadclient.Denied) {
			return deniedError(denied)
		}
	}
	return nil
}

// announceTask prints what is going to run where, and what it costs.
func (r *deployedRun) announceTask(ctx context.Context, t *deployedTask) error {
	f := r.flags
	task := t.cost()
	r.machines = machines{task: &task}
	r.header("Task", "%s, %d CPU units (%.1f vCPU), %d MB, %s", r.stack.Family(), t.size.CPU, t.size.VCPU(), t.size.Memory, t.capacity)
	plan := cost.Plan{Duration: f.duration.duration(), Users: f.users, Task: &task, VCPUs: t.size.VCPU()}
	if f.mode == modeDistributed {
		config, err := r.functions.Configuration(ctx, r.stack.Worker())
		if err != nil {
			return err
		}
		r.header("Workers", "%d functions %s, %d MB (%.2f vCPU)", f.workers, config.Name, config.MemoryMB, config.CPUs())
		r.machines.function, r.machines.workers = functionCost(config), f.workers
		plan.Workers, plan.Function, plan.VCPUs = f.workers, r.machines.function, float64(f.workers)*config.CPUs()
	}
	if t.capacity == spot {
		r.app.warn("the task runs on Spot capacity, which AWS may take back in the middle of the run; it goes on in another task then and is partial, with --capacity-provider FARGATE it is not")
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
	bound := f.budget
	if bound.maxCost > 0 {
		bound.maxCost = max(bound.maxCost-r.spent(), leastCost)
	}
	for name, value := range bound.limits(t.cost(), r.machines.function) {
		o.Master[name] = value
	}
	o.Master["ZAE_LIMITER_RUN_ID"] = r.part.id
	for name, value := range r.runVariables() {
		o.Master[name] = value
	}
	return o
}

// leastCost is the bound of a run that may not cost more, in USD: 0 would be none.
const leastCost = 0.0001

// spent is what the run has cost in the tasks before, in USD.
func (r *deployedRun) spent() float64 {
	usd := r.machines.compute(cost.Published())
	for _, part := range r.parts {
		if c := part.result.Cost; c != nil {
			usd += orZero(c.TableUSD)
		}
	}
	return usd
}

// masterArguments are those of a master that runs its users alone and ends by itself.
func (r *deployedRun) masterArguments() string {
	f := r.flags
	stays := autoquit + max(0, awsrun.AgentWithin-r.part.left)
	arguments := []string{
		"--autostart", "--autoquit", strconv.Itoa(int(stays / time.Second)), "--users", strconv.Itoa(f.users),
		"--run-time", locustTime(r.part.left), "--spawn-rate", formatNumber(f.spawnRate),
	}
	return strings.Join(append(arguments, f.scenario.classes...), " ")
}

// locustTime is a duration in Locust's spelling, with a second begun counted as one.
func locustTime(d time.Duration) string { return fmt.Sprintf("%ds", int(math.Ceil(d.Seconds()))) }

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
func (r *deployedRun) inTask(ctx context.Context) (err error) {
	arn := r.part.arn
	var way *tunnel.Tunnel
	cleaning, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	r.app.active.Store(&activeRun{kill: cancel, notes: r.progress})
	defer r.app.active.Store(nil)
	defer func() {
		if err != nil && ctx.Err() == nil {
			if taken := r.taken(cleaning, arn); taken != nil {
				r.close(way) // it ends by itself, which is not waited for here
				err = taken  // whatever went wrong because of that
				return
			}
		}
		err = errors.Join(err, r.leave(cleaning, arn, way))
	}()
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
		if r.part.left = r.left(); r.part.left <= 0 {
			return nil
		}
		if err := master.Swarm(ctx, r.swarm()); err != nil {
			return err
		}
	}
	return r.follow(ctx, cleaning, master, way)
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
	r.close(way)
	if len(errs) == 0 {
		if _, err := r.tasks.AwaitStopped(ctx, arn); err != nil && ctx.Err() == nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// close closes the way to a master, which need not be there.
func (r *deployedRun) close(way *tunnel.Tunnel) {
	if way == nil {
		return
	}
	if err := way.Close(); err != nil {
		r.app.warn("the session was not closed: %v", err)
	}
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
		} else if taken := r.taken(ctx, r.part.arn); taken != nil {
			return taken
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
		"run_time": {locustTime(r.part.left)},
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
func (r *deployedRun) follow(ctx, cleaning context.Context, master *remoteMaster, way *tunnel.Tunnel) error {
	err := r.poll(ctx, master, maxWait(r.part.left, r.flags.users, r.flags.spawnRate))
	switch {
	case err == nil:
	case ctx.Err() != nil:
		r.interrupted = true
		if stopErr := master.Stop(cleaning); stopErr != nil {
			r.app.warn("the run was not stopped in good order: %v", stopErr)
		}
		err = nil
	case errors.Is(err, errLost):
		err = r.whyLost(cleaning, way, err)
	}
	resultErr := r.final(cleaning, master)
	if r.part.result == nil {
		return errors.Join(err, fmt.Errorf("no statistics were collected: %w", resultErr))
	}
	if err == nil && !r.interrupted && r.endedEarly() {
		if taken := r.taken(cleaning, r.part.arn); taken != nil {
			return taken
		}
	}
	return err
}

// endedEarly says whether the run of a task ended before its time.
func (r *deployedRun) endedEarly() bool {
	return r.part.result.Run.EndedAt != nil && r.left() > shortBy
}

// taken is the error of a task that AWS takes back or has taken back; nil for every other one.
func (d *deployment) taken(ctx context.Context, arn string) *awsrun.StoppedError {
	if arn == "" {
		return nil
	}
	task, err := d.tasks.Describe(ctx, arn)
	if err != nil {
		return nil // nobody can tell
	}
	if stopped := (&awsrun.StoppedError{Task: *task}); stopped.Interrupted() {
		return stopped
	}
	return nil
}

// finishResult makes the document of the master that of the benchmark.
func (r *deployedRun) finishResult(err error) {
	f := r.flags
	r.result.Run.Mode = report.ModeFargate
	if f.mode == modeDistributed {
		r.result.Run.Mode = report.ModeDistributed
	}
	planned, wanted := f.duration.duration(), 0.0
	if r.result.Run.Users != nil { // no shape decided
		wanted = plannedUserSeconds(f.users, f.spawnRate, planned)
	}
	switch {
	case len(r.lost) > 0:
		r.result.CutShort(wanted, r.interruptions())
	case r.result.Run.EndedAt == nil && err != nil:
		r.result.CutShort(wanted, err.Error())
	default:
		r.checkLength(planned)
	}
}

// interruptions says how the run went on.
func (r *deployedRun) interruptions() string {
	var text []string
	for i, taken := range r.lost {
		said := fmt.Sprintf("AWS took task %s back (%s)", taken.Task.ID, taken.Task.StopCode)
		if i+1 < len(r.parts) {
			before, after := r.parts[i].statistics.Snapshot, r.parts[i+1].statistics.Snapshot
			said += fmt.Sprintf(" after %s, another one went on %s later", before.Elapsed().Round(time.Second), after.Started.Sub(before.At).Round(time.Second))
		} else {
			said += ", and no other one went on"
		}
		text = append(text, said)
	}
	return strings.Join(text, "; ")
}

// whyLost finds out whether the task is gone.
func (r *deployedRun) whyLost(ctx context.Context, way *tunnel.Tunnel, err error) error {
	task, describeErr := r.tasks.Describe(ctx, r.part.arn)
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
func (r *deployedRun) final(ctx context.Context, master *remoteMaster) error {
	ctx, cancel := context.WithTimeout(ctx, finalWithin)
	defer cancel()
	for {
		if err := r.keep(ctx, master); err != nil {
			return err
		}
		if r.part.result.Run.EndedAt != nil {
			return nil
		}
		if err := r.clock.Sleep(ctx, pollNearEnd); err != nil {
			return nil //nolint:nilerr // the live one is what there is
		}
	}
}

// keep reads what the run has measured so far, from a task that AWS may take back with all that it is
// made of.
func (r *deployedRun) keep(ctx context.Context, master *remoteMaster) error {
	result, err := master.Result(ctx)
	if err != nil {
		return err
	}
	if r.onSpot || len(r.parts) > 0 {
		s, err := master.Statistics(ctx)
		switch {
		case err == nil:
			r.part.statistics = s
		case len(r.parts) > 0:
			return err // without them it cannot be added to the parts before
		}
	}
	r.part.result = result
	if r.endsAt.IsZero() {
		r.endsAt = r.clock.Now().Add(r.flags.duration.duration() - time.Duration(orZero(result.Run.DurationSeconds)*float64(time.Second)))
	}
	return nil
}

// poll asks about the run until it is over. What goes on in another task is stopped when the time of the
// whole run is up: it took that task a while to begin.
func (r *deployedRun) poll(ctx context.Context, master *remoteMaster, within time.Duration) error {
	begun := r.clock.Now()
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
			if taken := r.taken(ctx, r.part.arn); taken != nil {
				return taken
			}
			if misses++; misses >= missesMost {
				return fmt.Errorf("%w: %w", errLost, err)
			}
			fmt.Fprintf(r.progress, "no answer from the master (%d of %d): %v\n", misses, missesMost, err)
		default:
			misses = 0
			r.show(elapsed, &status)
			_ = r.keep(ctx, master) // the next question may have an answer
			running := status.State == "spawning" || status.State == "running"
			if seen = seen || running; over(status.State, seen, r.part.result) {
				return nil
			}
		}
		left := r.part.left - elapsed
		if len(r.parts) > 0 {
			left = r.left()
			if left <= 0 {
				return master.Stop(ctx)
			}
		}
		if elapsed >= within {
			return nil
		}
		if err := r.clock.Sleep(ctx, r.pause(left)); err != nil {
			return err
		}
	}
}

// pause is the time until the next question when so much of the run is left.
func (r *deployedRun) pause(left time.Duration) time.Duration {
	pause := pollEvery
	if r.onSpot {
		pause = pollOnSpot
	}
	if left < pause {
		return max(pollNearEnd, left)
	}
	return pause
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
	line := fmt.Sprintf("[%s of %s] state=%s users=%d", elapsed.Round(time.Second), r.part.left.Round(time.Second), s.State, s.Users)
	if r.flags.mode == modeDistributed {
		line += fmt.Sprintf(" workers=%d", present(s.Workers))
	}
	r.progress.Update(time.Now(), term.Frame{Line: line + fmt.Sprintf(" rps=%.1f", s.RPS)})
}
