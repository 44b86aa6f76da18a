package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
)

// logsFlags are the options of load logs.
type logsFlags struct {
	account accountFlags
	name    string
	follow  bool
	since   runTimeFlag
	task    string
}

// The logs that can be asked for.
const (
	logMaster       = "master"
	logOrchestrator = "orchestrator"
	logWorkers      = "workers"
)

var logNames = []string{logMaster, logOrchestrator, logWorkers}

// logsCommand is `load logs`.
func (a *app) logsCommand() *cobra.Command {
	f := &logsFlags{since: runTimeFlag(10 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "logs [master|orchestrator|workers]…",
		Short: "Print what the parts of a load stack on AWS log",
		Long: `Print the lines that master, orchestrator and workers (the function) of a load stack have logged,
those of all of them unless some are named.`,
		Example: `  zae-limiter load logs --name my-limiter --region us-east-1 master --since 1h
  zae-limiter load logs --name my-limiter --region us-east-1 --follow`,
		ValidArgs: logNames,
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.name == "" {
				return usagef("which stack? give --name NAME")
			}
			for _, arg := range args {
				if !slices.Contains(logNames, arg) {
					return usagef("no log %q: want %s", arg, strings.Join(logNames, ", "))
				}
			}
			return a.showLogs(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` that the load stack is for")
	f.account.register(flags)
	flags.BoolVarP(&f.follow, "follow", "F", false, "go on with the lines to come, until Ctrl+C")
	flags.Var(&f.since, "since", "how far back to begin: seconds, or 1h30m")
	flags.StringVar(&f.task, "task", "", "only master and orchestrator of the task with this `id`")
	flags.SortFlags = false
	return cmd
}

// shownLine is a line in the JSON output.
type shownLine struct {
	At     time.Time `json:"at"`
	Log    string    `json:"log"`
	Stream string    `json:"stream"`
	Text   string    `json:"text"`
}

func (a *app) showLogs(ctx context.Context, f *logsFlags, wanted []string) error {
	d, err := a.openDeployment(ctx, f.name, f.account)
	if err != nil {
		return err
	}
	if len(wanted) == 0 {
		wanted = logNames
	}
	if f.follow && a.json {
		return usagef("--follow and --json do not go together: JSON output is one object")
	}
	since := d.clock.Now().Add(-f.since.duration())
	if f.follow {
		return d.followLogs(ctx, f, wanted, since)
	}
	lines := []shownLine{}
	var failures []error
	for _, name := range wanted {
		err := d.logs.Read(ctx, d.logSource(name, f.task), since, func(l awsrun.Line) error {
			lines = append(lines, shownLine{l.At, name, l.Stream, l.Text})
			return nil
		})
		if err != nil {
			failures = append(failures, d.explain(ctx, err))
		}
	}
	if len(failures) == len(wanted) {
		return failures[0]
	}
	for _, err := range failures {
		a.warn("%v", err)
	}
	sort.SliceStable(lines, func(i, j int) bool { return lines[i].At.Before(lines[j].At) })
	if a.json {
		return a.printJSON(map[string]any{"lines": lines})
	}
	for i := range lines {
		a.printLine(&lines[i], len(wanted) > 1)
	}
	if len(lines) == 0 {
		fmt.Fprintf(a.stderr, "nothing was logged in the last %s\n", f.since.duration())
	}
	return nil
}

func (d *deployment) logSource(name, task string) awsrun.LogSource {
	switch name {
	case logMaster:
		return d.stack.MasterLog(task)
	case logOrchestrator:
		return d.stack.OrchestratorLog(task)
	}
	return d.stack.WorkerLog()
}

// followLogs prints lines as they come. The first log that cannot be read ends all of it.
func (d *deployment) followLogs(ctx context.Context, f *logsFlags, wanted []string, since time.Time) error {
	following, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var group sync.WaitGroup
	var mu sync.Mutex
	for _, name := range wanted {
		group.Go(func() {
			stop(d.logs.Follow(following, d.logSource(name, f.task), since, func(l awsrun.Line) error {
				mu.Lock()
				defer mu.Unlock()
				d.app.printLine(&shownLine{l.At, name, l.Stream, l.Text}, len(wanted) > 1)
				return d.app.stdout.Err()
			}))
		})
	}
	group.Wait()
	err := context.Cause(following)
	if errors.Is(err, errInterrupted) {
		return nil // Ctrl+C is the normal end
	}
	return d.explain(ctx, err)
}

func (a *app) printLine(l *shownLine, named bool) {
	prefix := l.At.Local().Format("15:04:05.000 ")
	if named {
		prefix += l.Log + " "
	}
	fmt.Fprintln(a.stdout, prefix+strings.TrimRight(l.Text, "\n"))
}
