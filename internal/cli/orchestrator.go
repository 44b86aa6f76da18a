package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/autoscale"
	"github.com/zeroae/zae-limiter-go/internal/invocation"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
	"github.com/zeroae/zae-limiter-go/internal/settings"
	"github.com/zeroae/zae-limiter-go/internal/workerproc"
)

// functionTimeout is the time limit of a worker that is an invoked function, when nothing else is
// said. A process has none.
const functionTimeout = 300 * time.Second

// orchestratorFlags are the options of load orchestrator as given.
type orchestratorFlags struct {
	master      string
	masterGiven bool
	masterPort  int
	masterURL   string
	token       string
	secretFile  string

	files       []string
	dir         string
	classes     []string
	userClasses []string

	usersPerWorker int
	minWorkers     int
	maxWorkers     workersFlag
	lead           secondsFlag
	poll           secondsFlag
	pending        secondsFlag
	idle           idleFlag
	lifetime       secondsFlag
	lifetimeGiven  bool
	replaceAt      float64
	drain          secondsFlag

	function string
	account  accountFlags
	command  string
	args     []string
}

// orchestratorCommand is `load orchestrator`.
func (a *app) orchestratorCommand() *cobra.Command {
	f := &orchestratorFlags{
		maxWorkers: autoscale.Unlimited,
		lead:       secondsFlag(20 * time.Second), poll: secondsFlag(5 * time.Second), pending: secondsFlag(30 * time.Second),
		idle: idleFlag(900 * time.Second), drain: secondsFlag(25 * time.Second),
	}
	cmd := &cobra.Command{
		Use:   "orchestrator [class…]",
		Short: "Keep as many workers alive beside a master as its users need",
		Long: `Keep workers alive beside a master: every --poll-interval seconds read the master's status, and
start the workers that its users will need in --startup-lead-time seconds, replace those whose
time runs out, and let those go that are too many.

Workers are processes of this program on this machine or, with --worker-function, invocations of
the worker function: those reach the master at the address of the ECS task that this command runs
in. Without -f workers get the locustfile from the master. At the end (Ctrl+C, SIGTERM, or --idle-timeout without a test and without anybody at
the web UI) they are told to quit through the master; processes are all gone when this command is.

The variables in brackets are those that a deployment sets; options win.`,
		Example: `  zae-limiter load orchestrator --master 127.0.0.1:5557 --max-workers 4
  MIN_WORKERS=2 MAX_WORKERS=8 USERS_PER_WORKER=50 zae-limiter load orchestrator -f examples/locust/locustfiles/simple.star SimpleUser`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.lifetimeGiven, f.masterGiven = cmd.Flags().Changed("worker-timeout"), cmd.Flags().Changed("master")
			f.addClasses(args)
			if err := f.validate(); err != nil {
				return usage(err)
			}
			return a.orchestrate(cmd.Context(), f)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *orchestratorFlags) register(flags *pflag.FlagSet) {
	// of names the variable that a deployment sets.
	of := func(option, text string) string { return text + " [" + settings.DeploymentVariable(option) + "]" }
	flags.StringVar(&f.master, "master", "127.0.0.1:5557", "`host:port` on which workers join the master (functions: the task's address)")
	flags.IntVar(&f.masterPort, "master-port", 0, of("master-port", "the port of --master"))
	flags.StringVar(&f.masterURL, "master-url", "http://localhost:8089", "`url` of the master's web UI")
	flags.StringVar(&f.token, "web-token", "", "`token` of the master's web UI")
	flags.StringVar(&f.secretFile, "secret-file", "", "`file` with the secret of master and workers; handed on to the workers")
	flags.StringSliceVarP(&f.files, "locustfile", "f", nil, of("locustfile", "locustfile of the workers, relative to -C; repeatable (default: the master's)"))
	flags.StringVarP(&f.dir, "directory", "C", "", "`folder` of the locustfiles (default: the working directory)")
	flags.StringSliceVar(&f.userClasses, "user-classes", nil, "user classes of the workers")
	_ = flags.MarkHidden("user-classes")

	flags.IntVar(&f.usersPerWorker, "users-per-worker", 10, of("users-per-worker", "simulated `users` that one worker runs"))
	flags.IntVar(&f.minWorkers, "min-workers", 1, of("min-workers", "`workers` kept also without a test"))
	flags.Var(&f.maxWorkers, "max-workers", of("max-workers", "at most so many workers, replacements not counted; empty = unlimited"))
	flags.Var(&f.lead, "startup-lead-time", of("startup-lead-time", "look so many seconds ahead"))
	flags.Var(&f.poll, "poll-interval", of("poll-interval", "seconds between two looks at the master"))
	flags.Var(&f.pending, "pending-timeout", of("pending-timeout", "give a worker up that has not joined after so many seconds"))
	flags.Var(&f.idle, "idle-timeout", of("idle-timeout", "end after so many seconds without a test and without anybody at the web UI; 0 = never"))
	flags.Var(&f.lifetime, "worker-timeout", of("worker-timeout", "seconds that a worker may run; 0 = without end (functions: 300)"))
	flags.Float64Var(&f.replaceAt, "replacement-pct", 0.8, of("replacement-pct", "replace a worker at the latest after this `part` of its time"))
	flags.Var(&f.drain, "drain-timeout", "seconds that the end may take, goodbyes of the workers included")

	flags.StringVar(&f.function, "worker-function", "", of("worker-function", "`function` that is invoked as worker: a name, name:alias or an ARN"))
	f.account.register(flags)
	flags.StringVar(&f.command, "worker-command", "", "`program` that is started as worker (default: this one)")
	flags.StringArrayVar(&f.args, "worker-arg", nil, "further `argument` of every worker process; repeatable")
	flags.SortFlags = false
}

// addClasses takes the positional class names; scripts may also separate them with commas or blanks.
func (f *orchestratorFlags) addClasses(args []string) {
	for _, arg := range append(args, f.userClasses...) {
		f.classes = append(f.classes, strings.FieldsFunc(arg, func(r rune) bool { return r == ',' || r == ' ' })...)
	}
}

func (f *orchestratorFlags) validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	refuse(f.function != "" && (f.command != "" || len(f.args) > 0), "--worker-command and --worker-arg are for processes and do not go with --worker-function")
	refuse(f.function != "" && f.dir != "", "-C is for processes: a function has its locustfiles beside it")
	_, err := f.invocation()
	errs = append(errs, err)
	_, err = orchestrator.NewHTTPMaster(f.masterURL, f.token)
	if err != nil {
		errs = append(errs, fmt.Errorf("--master-url %w", err))
	}
	refuse(f.usersPerWorker < 1, "--users-per-worker must be at least 1, got %d", f.usersPerWorker)
	refuse(f.minWorkers < 0, "--min-workers must be at least 0, got %d", f.minWorkers)
	refuse(f.maxWorkers >= 0 && f.minWorkers > int(f.maxWorkers),
		"--min-workers %d is above --max-workers %d", f.minWorkers, f.maxWorkers)
	refuse(f.poll <= 0, "--poll-interval must be above 0")
	refuse(f.pending <= 0, "--pending-timeout must be above 0")
	refuse(f.drain <= 0, "--drain-timeout must be above 0")
	refuse(!(f.replaceAt > 0 && f.replaceAt <= 0.9), "--replacement-pct must be above 0 and at most 0.9, got %v", f.replaceAt)
	if err := errors.Join(errs...); err != nil {
		return err
	}
	return f.policy().Validate() // what is left depends on several options
}

func (f *orchestratorFlags) policy() autoscale.Policy {
	lifetime := f.lifetime.duration()
	if !f.lifetimeGiven && f.function != "" {
		lifetime = functionTimeout
	}
	return autoscale.Policy{
		UsersPerWorker: f.usersPerWorker, MinWorkers: f.minWorkers, MaxWorkers: int(f.maxWorkers),
		LeadTime: f.lead.duration(), PendingTimeout: f.pending.duration(), PollInterval: f.poll.duration(),
		Lifetime: lifetime, ReplaceFraction: f.replaceAt,
	}
}

// invocation is what every worker is started with.
func (f *orchestratorFlags) invocation() (invocation.Config, error) {
	host, port, err := net.SplitHostPort(f.master)
	if err != nil || host == "" {
		return invocation.Config{}, fmt.Errorf("--master %q: want host:port", f.master)
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return invocation.Config{}, fmt.Errorf("--master %q: %q is no port", f.master, port)
	}
	number = cmp.Or(f.masterPort, number)
	if number < 1 || number > 65535 {
		return invocation.Config{}, fmt.Errorf("the master's port must be between 1 and 65535, got %d", number)
	}
	return invocation.Config{
		Mode: invocation.ModeWorker, MasterHost: host, MasterPort: number,
		Locustfile: strings.Join(f.files, ","), UserClasses: strings.Join(f.classes, ","),
	}, nil
}

// workerArgs are the arguments of a worker process.
func (f *orchestratorFlags) workerArgs(config invocation.Config, id string) []string {
	config.WorkerID = id
	var more []string
	if f.dir != "" {
		more = append(more, "-C", f.dir)
	}
	if f.secretFile != "" {
		more = append(more, "--secret-file", f.secretFile)
	}
	return config.WorkerArgs(append(more, f.args...)...)
}

// orchestrate runs the loop until a signal or the idle timeout ends it.
func (a *app) orchestrate(ctx context.Context, f *orchestratorFlags) error {
	master, err := orchestrator.NewHTTPMaster(a.urlInTask(f.masterURL), f.token)
	if err != nil {
		return usage(err)
	}
	if f.function != "" {
		launcher, err := a.functionLauncher(ctx, f)
		if err != nil {
			return interruption(ctx, err)
		}
		return a.keepWorkers(ctx, f, master, launcher, "lambda", func() {})
	}
	config, err := f.invocation()
	if err != nil {
		return usage(err)
	}
	program := f.command
	if program == "" {
		if program, err = os.Executable(); err != nil {
			return withHint(fmt.Errorf("the program to start as worker: %w", err), "name it with --worker-command")
		}
	}
	if f.maxWorkers < 0 {
		a.warn("without --max-workers as many processes are started on this machine as the users of the test need")
	}
	launcher := workerproc.New(workerproc.Config{
		Path: program, Args: func(id string) []string { return f.workerArgs(config, id) },
		Output: a.stderr, Logger: a.orchestratorLog(),
	})
	defer launcher.Close()
	return a.keepWorkers(ctx, f, master, launcher, "local", launcher.Kill)
}

func (a *app) orchestratorLog() *slog.Logger { return slog.New(slog.NewTextHandler(a.stderr, nil)) }

// keepWorkers is the loop with one launcher; kill ends its workers at once, as far as it can.
func (a *app) keepWorkers(ctx context.Context, f *orchestratorFlags, master orchestrator.Master, launcher orchestrator.Launcher, prefix string, kill func()) error {
	loop, err := orchestrator.New(orchestrator.Config{
		Policy: f.policy(), IdleTimeout: f.idle.duration(), StopTimeout: f.drain.duration(), IDPrefix: prefix,
	}, master, launcher, a.orchestratorLog())
	if err != nil {
		return usage(err)
	}
	a.active.Store(&activeRun{kill: kill, notes: a.stderr})
	defer a.active.Store(nil)
	err = loop.Run(ctx)
	return errors.Join(err, a.printOrchestrated(loop.Summary()))
}

// orchestrated is what load orchestrator did, for machines.
type orchestrated struct {
	Reason        string  `json:"reason"` // "idle" or "stopped"
	UptimeSeconds float64 `json:"uptime_seconds"`
	Rounds        int     `json:"rounds"`
	Started       int     `json:"workers_started"`
	Failed        int     `json:"starts_failed"`
	Expired       int     `json:"workers_not_connected"`
	Retired       int     `json:"workers_retired"`
	Goodbyes      int     `json:"workers_left_at_end"`
	Stopped       int     `json:"workers_stopped_at_end"`
}

func (a *app) printOrchestrated(s orchestrator.Summary) error {
	if a.json {
		return a.printJSON(orchestrated{
			Reason: s.Reason, UptimeSeconds: s.Uptime.Round(time.Millisecond).Seconds(), Rounds: s.Rounds, Started: s.Started,
			Failed: s.Failed, Expired: s.Expired, Retired: s.Retired, Goodbyes: s.Goodbyes, Stopped: s.Stopped,
		})
	}
	_, err := fmt.Fprintf(a.stdout, "Ended after %v (%s): %d workers started, %d starts failed, %d never connected, %d retired\n",
		s.Uptime.Round(time.Second), s.Reason, s.Started, s.Failed, s.Expired, s.Retired)
	return err
}

// workersFlag is a number of workers, or unlimited.
type workersFlag int

func (f *workersFlag) Set(text string) error {
	if text == "" {
		*f = autoscale.Unlimited
		return nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		return fmt.Errorf("%q is not a number of workers: want a whole number from 0 on, or nothing for unlimited", text)
	}
	*f = workersFlag(n)
	return nil
}

func (f *workersFlag) String() string {
	if *f < 0 {
		return ""
	}
	return strconv.Itoa(int(*f))
}

func (f *workersFlag) Type() string { return "workers" }

// idleFlag is a duration as secondsFlag has it; anything below zero is never, as zero is.
type idleFlag time.Duration

func (f *idleFlag) Set(text string) error {
	if number, err := strconv.ParseFloat(text, 64); err == nil && number < 0 {
		*f = 0
		return nil
	}
	return (*secondsFlag)(f).Set(text)
}

func (f *idleFlag) String() string          { return (*secondsFlag)(f).String() }
func (f *idleFlag) Type() string            { return "seconds" }
func (f *idleFlag) duration() time.Duration { return time.Duration(*f) }
