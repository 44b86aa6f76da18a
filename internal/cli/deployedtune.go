package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// tuneStopTimeout is how long the tasks of a step may go on after its end.
const tuneStopTimeout = 5 * time.Second

// warmUpStep is a step before the baseline: the first call of a cold function would spoil it.
const warmUpStep = time.Second

func (f *tuneFlags) validateDeployed(flags *pflag.FlagSet) error {
	errs := []error{validateStackName(f.name)}
	if wrong := given(flags, localOnly...); len(wrong) > 0 {
		errs = append(errs, fmt.Errorf("%s: not with --name", listed(wrong)))
	}
	_, err := f.scenario.deployedLocustfile()
	return errors.Join(append(errs, err)...)
}

// tuneDeployed searches with calls of the worker function.
func (a *app) tuneDeployed(cmd *cobra.Command, f *tuneFlags) error {
	ctx := cmd.Context()
	f.budget.onAWS(cmd.Flags().Changed)
	var out *outputFile
	if f.output != "" {
		var err error
		if out, err = openOutput(f.output); err != nil {
			return usage(err)
		}
	}
	d, err := a.openDeployment(ctx, f.name, f.target.account())
	if err != nil {
		return err
	}
	t := &deployedTuning{deployment: d, flags: f, changed: cmd.Flags().Changed}
	return d.explain(ctx, t.run(ctx, out))
}

// deployedTuning is a search on the function of a deployed stack.
type deployedTuning struct {
	*deployment
	flags   *tuneFlags
	changed func(option string) bool
	config  functions.Configuration
	spent   float64 // USD, on the table and the function
}

func (t *deployedTuning) run(ctx context.Context, out *outputFile) error {
	f := t.flags
	var err error
	if t.config, err = t.functions.Configuration(ctx, t.stack.Worker()); err != nil {
		return err
	}
	path, err := f.scenario.deployedLocustfile()
	if err != nil {
		return usage(err)
	}
	if path == "" {
		if path = t.config.Locustfile; path == "" {
			return usage(withHint(errors.New("which locustfile? give -f FILE"), "the deployment of "+t.stack.Name()+" has no default: load deploy -f FILE sets one"))
		}
	}
	step := t.step(path)
	step.header("Function", "%s", t.config.Name)
	step.header("Memory", "%d MB (%.2f vCPU)", t.config.MemoryMB, t.config.CPUs())
	step.header("Timeout", "%s", t.config.Timeout)
	if longest := max(f.baseline.duration(), f.step.duration()); longest > t.config.RunTime() {
		t.app.warn("the function's timeout of %s ends a step after %s: it stops early", t.config.Timeout, t.config.RunTime())
	}
	if err := t.app.announceCost(cost.Plan{
		Duration: t.likely(), Users: f.maxUsers, Workers: 1, Function: functionCost(t.config), VCPUs: t.config.CPUs(),
	}, f.budget.budget(true)); err != nil {
		return err
	}
	if err := t.confirmTarget(ctx, f.confirm); err != nil {
		return err
	}
	if _, err := t.measure(ctx, path, 1, warmUpStep); err != nil {
		return err
	}
	command := t.command("benchmark --mode distributed") + " -f " + path
	if len(f.scenario.classes) > 0 {
		command += " " + strings.Join(f.scenario.classes, " ")
	}
	return t.app.tuneWith(ctx, f, out, tuneSubject{
		path: path, cores: t.config.CPUs(), limit: t.config.Timeout, command: command,
		measure: func(ctx context.Context, users int, d time.Duration) (tunePoint, error) {
			return t.measure(ctx, path, users, d)
		},
	})
}

// likely is about how long a search takes: a bisection of so many users.
func (t *deployedTuning) likely() time.Duration {
	steps := 1
	for n := t.flags.maxUsers; n > 1; n /= 2 {
		steps++
	}
	return time.Duration(t.flags.repeat) * (t.flags.baseline.duration() + time.Duration(steps)*t.flags.step.duration())
}

// step is a run of the search, to be called.
func (t *deployedTuning) step(path string) *deployedRun {
	f := t.flags
	return &deployedRun{
		deployment: t.deployment, changed: t.changed, runID: newRunID(), locustfile: path,
		progress: term.NewProgress(t.app.stderr, progressInterval),
		flags: &benchmarkFlags{
			scenario: f.scenario, target: f.target, spawnRate: f.spawnRate, shape: "none",
			stop: runTimeFlag(tuneStopTimeout), budget: f.budget,
		},
	}
}

// measure is one call of the function.
func (t *deployedTuning) measure(ctx context.Context, path string, users int, d time.Duration) (tunePoint, error) {
	if t.spent >= t.flags.budget.maxCost {
		return tunePoint{}, fmt.Errorf("the search has cost $%.2f, the most that --max-cost allows", t.spent)
	}
	step := t.step(path)
	step.flags.users, step.flags.duration = users, runTimeFlag(d)
	step.flags.budget.maxCost -= t.spent
	answer, err := step.call(ctx, t.config, step.event(d))
	if err != nil {
		return tunePoint{}, lambdaFailure(err)
	}
	result, err := resultOf(answer)
	if err != nil {
		return tunePoint{}, err
	}
	if step.interrupted {
		return tunePoint{}, errInterrupted
	}
	prices := cost.Published()
	t.spent += tableCost(&result.Consumed) + d.Hours()*prices.WorkerHour(functionCost(t.config)) + prices.LambdaRequest
	return pointOf(result, users, d), nil
}
