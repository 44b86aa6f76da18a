package cli

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// benchmark runs what the options ask for.
func (a *app) benchmark(cmd *cobra.Command, f *benchmarkFlags) error {
	ctx := cmd.Context()
	if f.purge != "" {
		return a.purge(ctx, f)
	}
	progress := term.NewProgress(a.stderr, progressInterval)
	if f.locust.command != "" {
		return a.benchmarkLocust(ctx, f, progress)
	}
	plan, err := a.plan(f, progress, cmd.Flags().Changed)
	if err != nil {
		return err
	}
	switch {
	case f.list:
		return a.listClasses(plan.classes)
	case f.taskRatio, f.taskRatioJSON:
		users := 0
		if cmd.Flags().Changed("users") {
			users = f.users
		}
		return a.showRatios(plan.classes, users, f.taskRatioJSON)
	}
	outputs, err := openOutputs(f, plan)
	if err != nil {
		return usage(err)
	}
	if len(f.sweep) > 0 {
		return a.sweep(ctx, f, plan, outputs, progress)
	}
	if f.mode == modeDistributed {
		return a.benchmarkDistributed(ctx, f, plan, outputs, progress)
	}
	plan.onTick = outputs.update
	done, err := a.run(ctx, plan, progress)
	if err != nil {
		return errors.Join(err, outputs.abandon())
	}
	done.result.Evaluate(f.thresholds.parsed)
	return a.finish(done, outputs)
}

// plan loads the locustfile and decides everything about the run.
func (a *app) plan(f *benchmarkFlags, progress io.Writer, changed func(string) bool) (*runPlan, error) {
	file, err := a.loadScenario(&f.scenario, progress)
	if err != nil {
		return nil, err
	}
	shape, err := chooseShape(file.Shapes(), f.shape)
	if err != nil {
		return nil, err
	}
	options, err := f.scenario.options()
	if err != nil {
		return nil, usage(err)
	}
	if a.deployed() {
		f.budget.onAWS(changed)
	}
	p := &runPlan{
		file: file, scenario: &f.scenario, target: &f.target, shape: shape, options: options,
		classes: f.scenario.runnable(file),
		users:   f.users, spawnRate: f.spawnRate, duration: f.duration.duration(),
		build: a.build(), mode: a.modeHere(),
		prices: f.target.pricesWanted() || f.thresholds.about("cost"),
		runID:  f.runID, budget: f.budget.budget(a.deployed()),
		stop: f.stop.duration(), warmup: f.warmup.duration(), cores: f.cores, seed: f.scenario.seed,
		summaryOnly: f.onlySummary,
	}
	if len(p.classes) == 0 {
		return nil, usage(locustfile.ErrNoTask)
	}
	if len(f.sweep) > 0 {
		p.shape = nil
	}
	if p.shape != nil {
		if changed("users") && !p.shape.UseCommonOptions {
			a.warn("--users is ignored: the load shape %s decides how many users there are", p.shape.Name)
		}
		if !changed("duration") && !changed("run-time") {
			p.duration = 0
		}
	}
	if !f.scenario.seeded {
		p.seed = randomSeed()
	}
	return p, nil
}

// randomSeed fits into the integers that every JSON reader keeps exact.
func randomSeed() uint64 {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails
	return binary.LittleEndian.Uint64(b[:]) >> 11
}

// finish writes the result everywhere it is wanted, cleans up, and decides the exit code. Nothing
// that fails on the way keeps the rest from being written.
func (a *app) finish(done *finishedRun, outputs *outputs) error {
	errs := []error{done.err, a.printResult(done.result), outputs.write(done)}
	_ = done.result.WriteErrors(a.stderr) // they are in the document too
	a.warnOfThrottling(done.result)
	if done.interrupted {
		fmt.Fprintln(a.stderr, "interrupted: these are partial results")
	}
	errs = append(errs, done.release())
	codes := []int{done.result.ExitCode()}
	if done.interrupted {
		codes = append(codes, report.ExitInterrupted)
	}
	return newOutcome(errors.Join(errs...), codes...)
}

// printResult prints the text block; under --json the document goes to stdout and the block to
// stderr.
func (a *app) printResult(r *report.Result) error {
	var text io.Writer = a.stdout
	if a.json {
		text = a.stderr
	}
	err := r.WriteText(text)
	if err == nil {
		err = r.WriteThresholds(text)
	}
	if err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	if !a.json {
		return nil
	}
	if err := r.WriteJSON(a.stdout); err != nil {
		return fmt.Errorf("print the result: %w", err)
	}
	return nil
}

// sweep runs once with each number of users and prints the capacity table.
func (a *app) sweep(ctx context.Context, f *benchmarkFlags, p *runPlan, out *outputs, progress *term.Progress) error {
	var results []*report.Result
	var failed error
	var codes []int
	for _, users := range f.sweep {
		step := *p
		step.users = users
		if len(results) > 0 { // each run executes the file anew, as a process of its own would
			next, err := a.loadScenario(&f.scenario, progress)
			if err != nil {
				return err
			}
			step.file, step.classes = next, f.scenario.runnable(next)
		}
		done, err := a.run(ctx, &step, progress)
		if err != nil {
			failed = err
			break
		}
		done.result.Evaluate(f.thresholds.parsed)
		results = append(results, done.result)
		codes = append(codes, done.result.ExitCode())
		if failed = errors.Join(done.err, done.release()); failed != nil {
			break
		}
		if done.interrupted {
			codes = append(codes, report.ExitInterrupted)
			break
		}
	}
	if len(results) == 0 {
		return failed
	}
	table := report.NewSweep(results...)
	write := table.WriteText
	if a.json {
		write = table.WriteJSON
	}
	return newOutcome(errors.Join(failed, write(a.stdout), out.writeWith(table.WriteJSON)), codes...)
}

// outputs are the files of a run, checked before it starts.
type outputs struct {
	json, html *outputFile
	csv        *report.CSVFiles
	csvErr     error
}

func openOutputs(f *benchmarkFlags, p *runPlan) (*outputs, error) {
	o := &outputs{}
	var errs []error
	open := func(path string, with func(string) (*outputFile, error)) *outputFile {
		if path == "" {
			return nil
		}
		file, err := with(path)
		errs = append(errs, err)
		return file
	}
	o.json = open(f.output, openOutput)
	o.html = open(htmlPath(f.html, p.users, p.spawnRate, p.duration), openOutputIn)
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	if f.csv == "" {
		return o, nil
	}
	var err error
	o.csv, err = report.OpenCSV(f.csv, f.csvHistory)
	return o, err
}

// htmlPath fills Locust's placeholders in.
func htmlPath(path string, users int, rate float64, d time.Duration) string {
	return strings.NewReplacer(
		"{u}", strconv.Itoa(users),
		"{r}", strconv.FormatFloat(rate, 'f', -1, 64),
		"{t}", strconv.Itoa(int(d.Seconds())),
	).Replace(path)
}

// update keeps the CSV files up to date; the first failure ends that and is reported at the end.
func (o *outputs) update(s *stats.Snapshot) {
	if o.csv != nil && o.csvErr == nil {
		o.csvErr = o.csv.Update(s)
	}
}

func (o *outputs) write(done *finishedRun) error {
	errs := []error{o.csvErr, o.writeWith(done.result.WriteJSON)}
	if o.html != nil {
		errs = append(errs, o.html.write(done.result.WriteHTML))
	}
	if o.csv != nil {
		errs = append(errs, o.csv.Close(done.snapshot))
	}
	return errors.Join(errs...)
}

func (o *outputs) writeWith(fill func(io.Writer) error) error {
	if o.json == nil {
		return nil
	}
	return o.json.write(fill)
}

// abandon closes what a run that did not happen would have written to.
func (o *outputs) abandon() error {
	if o.csv == nil {
		return nil
	}
	return o.csv.Close(nil)
}
