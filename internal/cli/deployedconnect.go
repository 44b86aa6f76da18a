package cli

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/internal/tunnel"
)

// connectFlags are the options of load connect that only mean something with --name.
type connectFlags struct {
	force, destroy                              bool
	maxWorkers, minWorkers, perWorker, leadTime int
}

func (f *connectFlags) register(flags *pflag.FlagSet) {
	flags.BoolVar(&f.force, "force", false, "stop a running task and start a new one (needs --name)")
	flags.BoolVar(&f.destroy, "destroy", false, "stop the task on disconnect (needs --name)")
	flags.IntVar(&f.maxWorkers, "max-workers", 0, "most Lambda `workers` (needs --name; default: as deployed)")
	flags.IntVar(&f.minWorkers, "min-workers", 0, "least Lambda `workers` (needs --name; default: as deployed)")
	flags.IntVar(&f.perWorker, "users-per-worker", 0, "`users` for each Lambda worker (needs --name; default: as deployed)")
	flags.IntVar(&f.leadTime, "startup-lead-time", 0, "`seconds` looked ahead (needs --name; default: as deployed)")
}

// tuningOptions are those that the orchestrator gets.
var tuningOptions = []string{"max-workers", "min-workers", "users-per-worker", "startup-lead-time"}

var connectOptions = append([]string{"force", "destroy"}, tuningOptions...)

// overrideOptions are those that only a new task can take.
var overrideOptions = append([]string{"locustfile", "cpu", "memory", "pool-connections", "standalone", "max-cost", "max-duration"}, tuningOptions...)

// tuning are the options that are given.
func (f *connectFlags) tuning(flags *pflag.FlagSet) awsrun.Tuning {
	value := func(name string, n *int) *int {
		if flags.Changed(name) {
			return n
		}
		return nil
	}
	return awsrun.Tuning{
		MaxWorkers: value("max-workers", &f.maxWorkers), MinWorkers: value("min-workers", &f.minWorkers),
		UsersPerWorker: value("users-per-worker", &f.perWorker), StartupLeadTime: value("startup-lead-time", &f.leadTime),
	}
}

// validateDeployed reports everything that is wrong with the options of load connect --name.
func (f *clusterCommandFlags) validateDeployed(flags *pflag.FlagSet) error {
	c := &f.connect
	errs := []error{validateStackName(f.name), f.deployed.validate(), f.budget.validate()}
	if tuned := given(flags, tuningOptions...); f.standalone && len(tuned) > 0 {
		errs = append(errs, fmt.Errorf("%s: --standalone is without workers", listed(tuned)))
	}
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(flags.Changed("max-workers") && c.maxWorkers < 0, "--max-workers must not be negative, got %d", c.maxWorkers)
	refuse(flags.Changed("min-workers") && c.minWorkers < 0, "--min-workers must not be negative, got %d", c.minWorkers)
	refuse(flags.Changed("max-workers") && flags.Changed("min-workers") && c.minWorkers > c.maxWorkers, "--min-workers %d is more than --max-workers %d", c.minWorkers, c.maxWorkers)
	refuse(flags.Changed("users-per-worker") && c.perWorker < 1, "--users-per-worker must be at least 1, got %d", c.perWorker)
	refuse(flags.Changed("startup-lead-time") && c.leadTime < 0, "--startup-lead-time must not be negative, got %d", c.leadTime)
	refuse(f.web.port < 0 || f.web.port > 65535, "--port must be between 0 and 65535, got %d", f.web.port)
	_, err := f.scenario.deployedLocustfile()
	return errors.Join(append(errs, err)...)
}

// connectDeployed opens the web UI of the master in the account.
func (a *app) connectDeployed(cmd *cobra.Command, f *clusterCommandFlags) error {
	ctx := cmd.Context()
	f.budget.onAWS(cmd.Flags().Changed)
	d, err := a.openDeployment(ctx, f.name, f.target.account())
	if err != nil {
		return err
	}
	c := &connection{deployment: d, flags: f, options: cmd.Flags(), progress: term.NewProgress(a.stderr, progressInterval)}
	err = c.run(ctx)
	if c.doc.TaskID != "" && a.json {
		err = errors.Join(err, a.printJSON(&c.doc))
	}
	return d.explain(ctx, err)
}

// connection is one load connect on AWS.
type connection struct {
	*deployment
	flags    *clusterCommandFlags
	options  *pflag.FlagSet
	progress *term.Progress
	port     int // local end of the tunnel; 0 = a free one
	doc      connectionDocument
}

// connectionDocument is what a connection leaves, for machines.
type connectionDocument struct {
	Cluster     string  `json:"cluster"`
	TaskID      string  `json:"task_id"`
	Started     bool    `json:"started"` // by this command
	Running     bool    `json:"running"` // after it
	URL         string  `json:"url"`
	CostPerHour float64 `json:"cost_per_hour_usd"`
	IdleSeconds float64 `json:"idle_shutdown_seconds"`
}

func (c *connection) run(ctx context.Context) error {
	if err := freePort(ctx, c.flags.web.port); err != nil {
		return err
	}
	t, err := c.prepare(ctx, &c.flags.deployed)
	if err != nil {
		return err
	}
	task, err := c.obtain(ctx, t)
	if err != nil {
		return err
	}
	c.port = c.flags.web.port
	for {
		c.doc = connectionDocument{
			Cluster: c.stack.Cluster(), TaskID: task.ID, Started: c.doc.Started, Running: true, URL: c.doc.URL, IdleSeconds: t.definition.IdleTimeout.Seconds(),
			CostPerHour: cost.Published().TaskHour(taskCost(task.Size.Or(t.size), t.definition.ARM, task.Capacity)),
		}
		err = c.hold(ctx, task)
		stopped, ok := errors.AsType[*awsrun.StoppedError](err)
		if !ok || !stopped.Interrupted() || !stopped.Task.StartedFor("connect") || ctx.Err() != nil {
			break
		}
		c.note("%v: another task is started as this one was; runs and statistics of its master are gone", stopped)
		next, startErr := c.again(ctx, t, &stopped.Task)
		if startErr != nil {
			err = startErr
			break
		}
		task = next
	}
	if errors.Is(context.Cause(ctx), errInterrupted) {
		err = nil // Ctrl+C is the normal end
	}
	return errors.Join(err, c.leave(ctx, task))
}

// obtain returns the task that is connected to: the one that runs, or a new one, when it is ready.
func (c *connection) obtain(ctx context.Context, t *deployedTask) (*awsrun.Task, error) {
	present, err := c.tasks.Find(ctx)
	if err != nil {
		return nil, err
	}
	if len(present) > 0 && !c.flags.connect.force {
		c.note("task %s is there already (%s)", present[0].ID, present[0].Status)
		if ignored := given(c.options, overrideOptions...); len(ignored) > 0 {
			c.app.warn("the running task stays as it is, without %s: --force restarts it", listed(ignored))
		}
		return c.tasks.AwaitReady(ctx, present[0].ARN, c.observe)
	}
	for _, old := range present {
		c.note("stopping task %s", old.ID)
		if err := c.tasks.Stop(ctx, old.ARN, "load connect --force"); err != nil {
			return nil, err
		}
	}
	for _, old := range present {
		if _, err := c.tasks.AwaitStopped(ctx, old.ARN); err != nil {
			return nil, err
		}
	}
	return c.begin(ctx, t)
}

// begin starts a task.
func (c *connection) begin(ctx context.Context, t *deployedTask) (*awsrun.Task, error) {
	f := c.flags
	file, err := f.scenario.deployedLocustfile()
	if err != nil {
		return nil, usage(err)
	}
	if file == "" && t.definition.Locustfile == "" {
		return nil, usage(withHint(errors.New("which locustfile? give -f FILE"), "the deployment of "+c.stack.Name()+" has no default: load deploy -f FILE sets one"))
	}
	if err := c.confirmTarget(ctx, f.deployed.confirm); err != nil {
		return nil, err
	}
	pool := 0
	if c.options.Changed("pool-connections") {
		pool = f.target.poolConnections
	}
	o := awsrun.Connect(file, f.deployed.size, f.connect.tuning(c.options), pool, f.standalone)
	for name, value := range f.budget.limits(t.cost(), cost.Function{}) {
		o.Master[name] = value
	}
	task, err := c.start(ctx, awsrun.Start{Network: t.network, Capacity: f.deployed.capacity, Overrides: o, Command: "connect"}, f.deployed.fallback)
	if err != nil {
		return nil, err
	}
	c.doc.Started = true
	c.note("task %s: %d CPU units, %d MB, %s", task.ID, t.size.CPU, t.size.Memory, t.capacity)
	return c.ready(ctx, task)
}

// again starts a task for one that AWS has taken back.
func (c *connection) again(ctx context.Context, t *deployedTask, old *awsrun.Task) (*awsrun.Task, error) {
	task, err := c.start(ctx, awsrun.Start{Network: t.network, Again: old, Command: "connect"}, c.flags.deployed.fallback)
	if err != nil {
		return nil, err
	}
	c.doc.Started = true
	c.note("task %s", task.ID)
	return c.ready(ctx, task)
}

// ready waits for a task that was started. One that does not get ready is stopped.
func (c *connection) ready(ctx context.Context, task *awsrun.Task) (*awsrun.Task, error) {
	ready, err := c.tasks.AwaitReady(ctx, task.ARN, c.observe)
	if err != nil {
		stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
		defer cancel()
		return nil, errors.Join(err, c.tasks.Stop(stopping, task.ARN, "it did not get ready for load connect"))
	}
	return ready, nil
}

func (c *connection) note(format string, args ...any) { fmt.Fprintf(c.progress, format+"\n", args...) }

func (c *connection) observe(t *awsrun.Task) { c.note("task %s is %s", t.ID, t.Status) }

// hold keeps the tunnel open until the context ends or the task does.
func (c *connection) hold(ctx context.Context, task *awsrun.Task) error {
	var shown atomic.Bool
	shown.Store(c.doc.URL != "")
	var last tunnel.Event
	way, err := c.openTunnel(ctx, task, c.port, func(e tunnel.Event) {
		again := e == last
		last = e
		switch e.State {
		case tunnel.NotConnected, tunnel.Retrying, tunnel.Lost:
			if !again {
				c.note("tunnel %s: %s", e.State, e.Detail)
			}
		case tunnel.Ready:
			if shown.Load() {
				c.note("the tunnel is open again")
			}
		}
	})
	if err != nil {
		return c.why(ctx, task, err)
	}
	if c.port = way.Port(); !shown.Swap(true) {
		c.show()
	}
	c.app.active.Store(&activeRun{kill: func() {}, notes: c.progress})
	defer c.app.active.Store(nil)
	watching, enough := context.WithCancel(ctx)
	reclaimed := make(chan *awsrun.StoppedError, 1)
	var group sync.WaitGroup
	defer func() { enough(); group.Wait() }()
	if task.Capacity == spot {
		group.Go(func() { c.watch(watching, task.ARN, reclaimed) })
	}
	select {
	case <-ctx.Done():
		return way.Close()
	case <-way.Done():
		return c.why(ctx, task, way.Err())
	case taken := <-reclaimed:
		c.doc.Running = false
		if err := way.Close(); err != nil {
			c.app.warn("the session was not closed: %v", err)
		}
		return taken
	}
}

// watchEvery is the time between two looks at a task that AWS may take back.
const watchEvery = 5 * time.Second

// watch tells when AWS takes a task back: its connections would be missed much later.
func (c *connection) watch(ctx context.Context, arn string, reclaimed chan<- *awsrun.StoppedError) {
	for c.clock.Sleep(ctx, watchEvery) == nil {
		if taken := c.taken(ctx, arn); taken != nil {
			reclaimed <- taken
			return
		}
	}
}

// show says where the web UI is.
func (c *connection) show() {
	c.doc.URL = fmt.Sprintf("http://localhost:%d", c.port)
	c.note("Web UI:    %s", c.doc.URL)
	c.note("Ctrl+C disconnects")
	if !c.flags.noBrowser && c.app.hasDesktop() {
		openBrowser(c.doc.URL)
	}
}

// why is why there is no tunnel. Of a task that has ended ECS knows more.
func (c *connection) why(ctx context.Context, task *awsrun.Task, err error) error {
	if !errors.Is(err, tunnel.ErrTaskStopped) {
		return err
	}
	c.doc.Running = false
	c.note("%v", err)
	return c.ended(ctx, task.ARN, err)
}

// leave stops the task when that was asked for, and otherwise says that it runs on and what that costs.
func (c *connection) leave(ctx context.Context, task *awsrun.Task) error {
	if !c.doc.Running {
		return nil
	}
	if c.flags.connect.destroy {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanUpWithin)
		defer cancel()
		c.note("stopping task %s", task.ID)
		err := c.endTask(ctx, task.ARN, "load connect --destroy")
		c.doc.Running = err != nil
		return err
	}
	ends := "it does not end by itself"
	if c.doc.IdleSeconds > 0 {
		ends = fmt.Sprintf("it ends by itself after %s without a test", time.Duration(c.doc.IdleSeconds*float64(time.Second)))
	}
	c.note("task %s goes on and costs about $%.3f an hour; %s", task.ID, c.doc.CostPerHour, ends)
	c.note("connect again: %s", c.command("connect"))
	c.note("stop it:       %s --destroy", c.command("connect"))
	return nil
}
