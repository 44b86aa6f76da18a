package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// tuneLimit is the longest step on this machine; a baseline is not extended past it less 30 s.
const tuneLimit = 300 * time.Second

// tuneFlags are the options of load tune.
type tuneFlags struct {
	scenario   scenarioFlags
	target     targetFlags
	maxUsers   int
	efficiency float64
	step       runTimeFlag
	baseline   runTimeFlag
	spawnRate  float64
	cores      int
	repeat     int
	output     string
	name       string
	budget     budgetFlags
	confirm    string
}

// tuneCommand is `load tune`.
func (a *app) tuneCommand() *cobra.Command {
	f := &tuneFlags{step: runTimeFlag(30 * time.Second), baseline: runTimeFlag(60 * time.Second)}
	cmd := &cobra.Command{
		Use:     "tune [class…]",
		Aliases: []string{"calibrate"},
		Short:   "Find the best number of users for one process",
		Long: `Find the largest number of users that one process carries before their response time is mostly
queueing in the process itself.

Efficiency is the p50 with one user divided by the p50 with N users. The search measures one user,
then --max-users, then narrows down where the efficiency crosses --efficiency. With --name each step is
one call of the worker function of that limiter's load stack on AWS.`,
		Example: `  zae-limiter load tune -f examples/locust/locustfiles/max_rps.star MaxRpsUser --engine-latency aws \
    --baseline-duration 10 --step-duration 5
  zae-limiter load tune --name my-limiter --region us-east-1 -f locustfiles/max_rps.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.scenario.addClasses(args)
			if err := f.validate(cmd.Flags()); err != nil {
				return usage(err)
			}
			if f.name != "" {
				return a.tuneDeployed(cmd, f)
			}
			return a.tune(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	f.scenario.register(flags)
	f.target.register(flags)
	flags.IntVar(&f.maxUsers, "max-users", 40, "the largest number of `users` to try")
	flags.Float64Var(&f.efficiency, "efficiency", 0.80, "the least `share` of the response time that is work")
	flags.Float64Var(&f.efficiency, "threshold", 0.80, "the same, under its older name")
	_ = flags.MarkHidden("threshold")
	flags.Var(&f.step, "step-duration", "length of each step: seconds, or 1m30s")
	flags.Var(&f.baseline, "baseline-duration", "length of the step with one user: seconds, or 1m30s")
	flags.Float64VarP(&f.spawnRate, "spawn-rate", "r", 10, "users started per second")
	flags.IntVar(&f.repeat, "repeat", 1, "`times` to measure each step; the one with the median p50 counts")
	flags.IntVar(&f.cores, "cores", 0, "cores to use; 0 = all")
	flags.StringVarP(&f.output, "output", "o", "", "write the JSON document to `file` too")
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` on AWS: tune the function of its load stack")
	f.budget.register(flags)
	flags.StringVar(&f.confirm, "confirm-target", "", "the `name` once more: needed for a table with deletion protection or a production tag (needs --name)")
	flags.SortFlags = false
	return cmd
}

func (f *tuneFlags) validate(flags *pflag.FlagSet) error {
	errs := []error{f.scenario.validate(), f.target.validate(), f.budget.validate()}
	if f.name != "" {
		errs = append(errs, f.validateDeployed(flags))
	}
	if f.name == "" && f.confirm != "" {
		errs = append(errs, errors.New("--confirm-target: only with --name"))
	}
	if f.name == "" && len(f.scenario.files) == 0 {
		errs = append(errs, errors.New("which locustfile? give -f FILE"))
	}
	if f.maxUsers < 2 {
		errs = append(errs, fmt.Errorf("--max-users must be at least 2, got %d", f.maxUsers))
	}
	if !(f.efficiency > 0 && f.efficiency <= 1) {
		errs = append(errs, fmt.Errorf("--efficiency must be above 0 and at most 1, got %v", f.efficiency))
	}
	if f.step.duration() < time.Second || f.baseline.duration() < time.Second {
		errs = append(errs, errors.New("--step-duration and --baseline-duration must be at least 1 second"))
	}
	if !(f.spawnRate > 0) {
		errs = append(errs, fmt.Errorf("--spawn-rate must be greater than 0, got %v", f.spawnRate))
	}
	if f.repeat < 1 {
		errs = append(errs, fmt.Errorf("--repeat must be at least 1, got %d", f.repeat))
	}
	if f.cores < 0 {
		errs = append(errs, fmt.Errorf("--cores must not be negative, got %d", f.cores))
	}
	return errors.Join(errs...)
}

// tuneDocument is the JSON form of what a search found.
type tuneDocument struct {
	Schema          string               `json:"schema"`
	Locustfile      string               `json:"locustfile"`
	Threshold       float64              `json:"efficiency_threshold"`
	MaxUsers        int                  `json:"max_users"`
	Cores           float64              `json:"cores"`
	Steps           []tunePoint          `json:"steps"`
	Optimal         *int                 `json:"optimal_users"` // null when the search did not end
	FloorP50        float64              `json:"floor_p50_ms"`
	FloorP95        float64              `json:"floor_p95_ms"`
	FloorP99        float64              `json:"floor_p99_ms"`
	ThroughputRPS   *float64             `json:"rps_per_worker"`
	Recommendations []tuneRecommendation `json:"recommendations"`
}

type tuneRecommendation struct {
	Users   int    `json:"users"`
	Workers int    `json:"workers"`
	Command string `json:"command"`
}

func (a *app) tune(ctx context.Context, f *tuneFlags) error {
	// Loaded once before anything is measured, so that a bad file is found at once.
	file, err := a.loadScenario(&f.scenario, a.stderr)
	if err != nil {
		return err
	}
	var out *outputFile
	if f.output != "" {
		if out, err = openOutput(f.output); err != nil {
			return usage(err)
		}
	}
	cores := runPlan{cores: f.cores}
	return a.tuneWith(ctx, f, out, tuneSubject{
		path: file.Path(), cores: float64(cores.coresUsed()), limit: tuneLimit,
		command: strings.Join(slices.Concat([]string{"zae-limiter load benchmark --mode distributed"}, f.scenario.place(), f.scenario.classes), " "),
		measure: func(ctx context.Context, users int, d time.Duration) (tunePoint, error) {
			return a.tuneStep(ctx, f, users, d)
		},
	})
}

// tuneSubject is what a search measures.
type tuneSubject struct {
	path    string  // of the locustfile
	cores   float64 // of one worker
	limit   time.Duration
	command string // the benchmark with as many workers as recommended, without their number
	measure tuneMeasure
}

// tuneWith searches and prints what was found.
func (a *app) tuneWith(ctx context.Context, f *tuneFlags, out *outputFile, s tuneSubject) error {
	fmt.Fprintf(a.stderr, "Tuning %s: efficiency at least %.0f%%, users in [1, %d]\n", s.path, 100*f.efficiency, f.maxUsers)
	search := tuneSearch{
		MaxUsers: f.maxUsers, Threshold: f.efficiency,
		Baseline: f.baseline.duration(), Step: f.step.duration(), Limit: s.limit,
		Measure: func(ctx context.Context, users int, d time.Duration) (tunePoint, error) {
			return medianOf(f.repeat, func() (tunePoint, error) { return s.measure(ctx, users, d) })
		},
		Observe: func(p tunePoint) {
			fmt.Fprintf(a.stderr, "users=%d rps=%.1f p50=%s efficiency=%.1f%%\n", p.Users, p.RPS, report.FormatMS(&p.P50), 100*p.Efficiency)
		},
		Note: func(text string) { fmt.Fprintln(a.stderr, text) },
	}
	found, err := search.run(ctx)
	if len(found.Points) == 0 {
		return err
	}
	doc := f.document(&s, found, err == nil)
	printed := doc.writeText
	if a.json {
		printed = func(io.Writer) error { return a.printJSON(doc) }
	}
	errs := []error{err, printed(a.stdout)}
	if out != nil {
		errs = append(errs, out.write(func(w io.Writer) error { return writeIndented(w, doc) }))
	}
	return newOutcome(errors.Join(errs...))
}

// tuneStep is one run of its own, with a fresh engine and namespace.
func (a *app) tuneStep(ctx context.Context, f *tuneFlags, users int, d time.Duration) (tunePoint, error) {
	b := &benchmarkFlags{
		scenario: f.scenario, target: f.target, users: users, duration: runTimeFlag(d),
		spawnRate: f.spawnRate, stop: runTimeFlag(5 * time.Second), cores: f.cores, shape: "none",
	}
	progress := term.NewProgress(a.stderr, progressInterval)
	plan, err := a.plan(b, progress, func(string) bool { return false })
	if err != nil {
		return tunePoint{}, err
	}
	plan.quiet = true
	done, err := a.run(ctx, plan, progress)
	if err != nil {
		return tunePoint{}, err
	}
	if err := errors.Join(done.err, done.release()); err != nil {
		return tunePoint{}, err
	}
	if done.interrupted {
		return tunePoint{}, errInterrupted
	}
	return pointOf(done.result, users, d), nil
}

// pointOf is what a run of a search measured.
func pointOf(r *report.Result, users int, d time.Duration) tunePoint {
	t := &r.Totals
	return tunePoint{
		Users: users, Seconds: d.Seconds(), Requests: t.Requests, RPS: orZero(t.RPS),
		P50: orZero(t.P50MS), P95: orZero(t.P95MS), P99: orZero(t.P99MS),
	}
}

func orZero(x *float64) float64 {
	if x == nil {
		return 0
	}
	return *x
}

// document describes the outcome; without an end of the search it holds the steps only.
func (f *tuneFlags) document(s *tuneSubject, found tuneOutcome, complete bool) *tuneDocument {
	base := found.Points[0]
	doc := &tuneDocument{
		Schema: "zae-limiter/load-tune/v1", Locustfile: s.path, Threshold: f.efficiency, MaxUsers: f.maxUsers,
		Cores: s.cores, Steps: found.Points,
		FloorP50: base.P50, FloorP95: base.P95, FloorP99: base.P99,
		Recommendations: []tuneRecommendation{},
	}
	if !complete {
		return doc
	}
	doc.Optimal = &found.Optimal
	for i := range found.Points {
		if found.Points[i].Users == found.Optimal {
			doc.ThroughputRPS = &found.Points[i].RPS
		}
	}
	for _, users := range []int{100, 500, 1000} {
		workers := workersFor(users, found.Optimal)
		doc.Recommendations = append(doc.Recommendations, tuneRecommendation{
			Users: users, Workers: workers,
			Command: fmt.Sprintf("%s --users %d --workers %d", s.command, users, workers),
		})
	}
	return doc
}

// writeText prints the table of steps, the summary and the recommendations.
func (d *tuneDocument) writeText(w io.Writer) error {
	table := term.Table{Columns: []string{"Users", "RPS", "p50", "p95", "p99", "Reqs", "Efficiency", ""}}
	for i := range d.Steps {
		p := &d.Steps[i]
		note := ""
		switch {
		case i == 0:
			note = "baseline"
		case d.Optimal != nil && p.Users == *d.Optimal && *d.Optimal != 1:
			note = "optimal"
		}
		table.Rows = append(table.Rows, []string{
			fmt.Sprint(p.Users), fmt.Sprintf("%.1f", p.RPS),
			report.FormatMS(&p.P50), report.FormatMS(&p.P95), report.FormatMS(&p.P99),
			formatCount(p.Requests), fmt.Sprintf("%.1f%%", 100*p.Efficiency), note,
		})
	}
	text := "\nSteps:\n"
	for _, line := range table.Lines(0) {
		text += "  " + line + "\n"
	}
	if d.Optimal != nil {
		text += fmt.Sprintf("\nSummary:\n  Optimal:    %d users a worker\n  Floor:      p50 %s, p95 %s, p99 %s\n  Throughput: %.1f requests/s a worker\n",
			*d.Optimal, report.FormatMS(&d.FloorP50), report.FormatMS(&d.FloorP95), report.FormatMS(&d.FloorP99), orZero(d.ThroughputRPS))
		text += "\nRecommendations:\n"
		for _, r := range d.Recommendations {
			text += fmt.Sprintf("  %5s users: %s workers\n    %s\n", formatCount(int64(r.Users)), formatCount(int64(r.Workers)), r.Command)
		}
	}
	_, err := io.WriteString(w, text)
	return err
}
