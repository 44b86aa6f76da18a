package cli

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// benchmarkFlags are the options of load benchmark as given.
type benchmarkFlags struct {
	scenario scenarioFlags
	target   targetFlags

	users      int
	sweep      []int
	duration   runTimeFlag
	runTime    runTimeFlag
	spawnRate  float64
	stop       runTimeFlag
	warmup     secondsFlag
	cores      int
	processes  int
	shape      string
	output     string
	csv        string
	csvHistory bool
	html       string
	thresholds thresholdFlags
	// Locust's options about what it prints.
	onlySummary, printStats, skipLogSetup bool

	list          bool
	taskRatio     bool
	taskRatioJSON bool
	purge         string

	name    string
	mode    string
	workers int
	// singleTask is the older way to ask for --mode fargate.
	singleTask bool
	port       int
	locust     locustFlags
	budget     budgetFlags
	runID      string
	deployed   deployedFlags
}

// benchmarkCommand is `load benchmark`.
func (a *app) benchmarkCommand() *cobra.Command {
	f := &benchmarkFlags{
		duration: runTimeFlag(60 * time.Second),
		stop:     runTimeFlag(5 * time.Second),
	}
	cmd := &cobra.Command{
		Use:     "benchmark [class…]",
		Aliases: []string{"run"},
		Short:   "Run a locustfile without a web UI and print the results",
		Long: `Run the users of a locustfile against the rate limiter and print what was measured.

Without --endpoint-url the target is the engine embedded in this program, on a free loopback
port: no AWS account, no credentials, no network. Class names restrict the run to those classes.

With --name the users run on that limiter's load stack on AWS: in one call of its function (--mode
lambda), in a task (fargate), or in functions that a task controls (distributed).`,
		Example: `  zae-limiter load benchmark -f examples/locust/locustfiles/max_rps.star --users 10 --duration 10
  zae-limiter load benchmark -f examples/locust/locustfiles/simple.star --duration 30 --json --threshold 'p95_ms<40'
  zae-limiter load benchmark -f examples/locust/locustfiles/simple.star --sweep-users 120,150,180,220,260
  zae-limiter load benchmark -f examples/locust/locustfiles/max_rps.star MaxRpsUser --engine-latency aws
  zae-limiter load benchmark --name my-limiter --region us-east-1 -f locustfiles/max_rps.py --users 10 --duration 60`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.scenario.addClasses(args)
			if err := f.validate(cmd.Flags()); err != nil {
				return usage(err)
			}
			if f.name != "" {
				return a.benchmarkDeployed(cmd, f)
			}
			return a.benchmark(cmd, f)
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *benchmarkFlags) register(flags *pflag.FlagSet) {
	f.scenario.register(flags)
	f.target.register(flags)
	f.registerLoad(flags, 20, 10)
	flags.IntSliceVar(&f.sweep, "sweep-users", nil, "run once with each of these numbers of users (a `list`) and print the capacity table")
	flags.IntVar(&f.processes, "processes", 0, "the same as --cores, under Locust's name; -1 = all")
	_ = flags.MarkHidden("processes")
	f.registerOutputs(flags)
	f.registerQuestions(flags)
	flags.StringVar(&f.purge, "purge", "", "remove what the run with this `id` left (--keep-data, a crash) on the table and end")
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` on AWS: run on its load stack")
	flags.StringVar(&f.mode, "mode", "", "where the users run: local, or distributed over worker processes; with --name lambda, fargate or distributed over functions")
	flags.IntVar(&f.workers, "workers", 1, "worker processes of --mode distributed, or functions with --name")
	flags.BoolVar(&f.singleTask, "standalone", false, "with --name: the same as --mode fargate")
	_ = flags.MarkHidden("standalone")
	f.locust.register(flags)
	f.deployed.register(flags)
	flags.IntVar(&f.port, "port", defaultWebPort, "local `port` of the tunnel to the task (needs --name; 0 = a free one)")
	flags.Var(&f.deployed.wait, "metrics-wait", "after the run wait so long for CloudWatch's metrics (needs --name): seconds, or 3m")
	f.budget.register(flags)
	flags.StringVar(&f.runID, "run-id", "", "`id` of the run (default: a new one)")
	_ = flags.MarkHidden("run-id")
	flags.SortFlags = false
}

// registerLoad adds the options that say how many users run and how long.
func (f *benchmarkFlags) registerLoad(flags *pflag.FlagSet, users int, rate float64) {
	flags.IntVarP(&f.users, "users", "u", users, "simulated `users`")
	flags.Var(&f.duration, "duration", "how long to run, ramp included: seconds, or 1h20m5s")
	flags.VarP(&f.runTime, "run-time", "t", "the same, under Locust's name")
	flags.Float64VarP(&f.spawnRate, "spawn-rate", "r", rate, "users started per second (decimals allowed)")
	flags.VarP(&f.stop, "stop-timeout", "s", "how long running tasks may go on after the end: seconds, or 1m5s")
	flags.Var(&f.warmup, "warmup", "leave the first `seconds` out of totals, entries and thresholds")
	flags.IntVar(&f.cores, "cores", 0, "cores to use; 0 = all")
	flags.StringVar(&f.shape, "shape", "", "the load shape to follow, by `name`; none = ignore shapes (default: the first one of the file)")
}

// registerOutputs adds the options that say where the result goes and what it has to be.
func (f *benchmarkFlags) registerOutputs(flags *pflag.FlagSet) {
	flags.StringVarP(&f.output, "output", "o", "", "write the result document to `file` too")
	flags.StringVar(&f.csv, "csv", "", "write Locust's CSV files, their names beginning with `prefix`")
	flags.BoolVar(&f.csvHistory, "csv-full-history", false, "one row per entry and second in the history file, with current percentiles")
	flags.StringVar(&f.html, "html", "", "write a self-contained report to `file`; {u}, {r} and {t} become users, spawn rate and seconds")
	f.thresholds.register(flags)
	flags.BoolVar(&f.onlySummary, "only-summary", false, "no progress while the test runs")
	flags.BoolVar(&f.printStats, "print-stats", false, "no effect: progress is printed")
	flags.BoolVar(&f.skipLogSetup, "skip-log-setup", false, "no effect")
	for _, name := range []string{"only-summary", "print-stats", "skip-log-setup"} {
		_ = flags.MarkHidden(name)
	}
}

// registerQuestions adds the options that only ask something about the locustfile.
func (f *benchmarkFlags) registerQuestions(flags *pflag.FlagSet) {
	flags.BoolVarP(&f.list, "list", "l", false, "print the user classes of the locustfile and end")
	flags.BoolVar(&f.taskRatio, "show-task-ratio", false, "print the shares of classes and tasks and end")
	flags.BoolVar(&f.taskRatioJSON, "show-task-ratio-json", false, "the same as JSON")
}

// validate reports everything that is wrong with the options, before anything is started.
func (f *benchmarkFlags) validate(flags *pflag.FlagSet) error {
	errs := []error{f.validateMode(flags), f.validateLoad(flags)}
	if f.duration.duration() <= 0 {
		errs = append(errs, errors.New("--duration must be at least 1 second"))
	}
	if flags.Changed("processes") {
		f.cores = max(f.processes, 0)
	}
	errs = append(errs, f.validateSweep(flags))
	if f.purge == "" && f.name == "" && len(f.scenario.files) == 0 {
		errs = append(errs, errors.New("which locustfile? give -f FILE"))
	}
	if f.purge != "" && f.target.embedded() {
		errs = append(errs, errors.New("--purge needs --endpoint-url, --target dynamodb or --target redis://…: an embedded engine keeps nothing"))
	}
	return errors.Join(errs...)
}

// validateLoad checks what all commands with a run have.
func (f *benchmarkFlags) validateLoad(flags *pflag.FlagSet) error {
	var errs []error
	if f.target.redis() && (f.name != "" || f.locust.command != "") {
		errs = append(errs, errors.New("--target redis://… is driven by this program on this machine: it does not go with --name and --locust-command"))
	}
	if flags.Changed("duration") && flags.Changed("run-time") {
		errs = append(errs, errors.New("--duration and --run-time are the same option: give one of them"))
	}
	if flags.Changed("run-time") {
		f.duration = f.runTime
	}
	if f.users < 1 {
		errs = append(errs, fmt.Errorf("--users must be at least 1, got %d", f.users))
	}
	if !(f.spawnRate > 0) || f.spawnRate > 1e9 {
		errs = append(errs, fmt.Errorf("--spawn-rate must be greater than 0, got %v", f.spawnRate))
	}
	if f.warmup.duration() >= f.duration.duration() && f.duration.duration() > 0 && f.shape == "" {
		errs = append(errs, errors.New("--warmup must be shorter than the run"))
	}
	if f.cores < 0 {
		errs = append(errs, fmt.Errorf("--cores must not be negative, got %d", f.cores))
	}
	if f.csvHistory && f.csv == "" {
		errs = append(errs, errors.New("--csv-full-history needs --csv"))
	}
	errs = append(errs, f.thresholds.validate(flags), f.target.validate(), f.scenario.validate(), f.budget.validate())
	return errors.Join(errs...)
}

func (f *benchmarkFlags) validateMode(flags *pflag.FlagSet) error {
	if f.name != "" {
		return f.validateDeployed(flags)
	}
	if wrong := given(flags, append(deployedOptions, "port", "standalone")...); len(wrong) > 0 {
		return fmt.Errorf("%s: only with --name", strings.Join(wrong, ", "))
	}
	switch f.mode {
	case "":
		if flags.Changed("workers") {
			f.mode = modeDistributed
		}
	case "local", modeDistributed:
	case "lambda", "fargate":
		return fmt.Errorf("--mode %s needs --name", f.mode)
	default:
		return fmt.Errorf("--mode %q is unknown: want local, distributed, lambda or fargate", f.mode)
	}
	switch {
	case f.mode == "local" && flags.Changed("workers"):
		return errors.New("--workers goes with --mode distributed")
	case f.mode == modeDistributed && len(f.sweep) > 0:
		return errors.New("--sweep-users does not go with --mode distributed")
	case f.workers < 1:
		return fmt.Errorf("--workers must be at least 1, got %d", f.workers)
	}
	return f.locust.validate()
}

// modeDistributed runs the users on worker processes.
const modeDistributed = "distributed"

func (f *benchmarkFlags) validateSweep(flags *pflag.FlagSet) error {
	if !flags.Changed("sweep-users") {
		return nil
	}
	if len(f.sweep) == 0 {
		return errors.New("--sweep-users needs at least one number")
	}
	if i := slices.IndexFunc(f.sweep, func(n int) bool { return n < 1 }); i >= 0 {
		return fmt.Errorf("--sweep-users: each number must be at least 1, got %d", f.sweep[i])
	}
	var bad []string
	for _, other := range []string{"users", "csv", "html", "shape"} {
		if flags.Changed(other) {
			bad = append(bad, "--"+other)
		}
	}
	if len(bad) > 0 {
		return fmt.Errorf("--sweep-users does not go with %s", strings.Join(bad, ", "))
	}
	return nil
}
