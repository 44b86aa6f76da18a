package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/internal/report"
)

// checkCommand is `load check`.
func (a *app) checkCommand() *cobra.Command {
	var f scenarioFlags
	cmd := &cobra.Command{
		Use:   "check [class…]",
		Short: "Run each task of a locustfile once, without a target",
		Long: `Run a locustfile for one iteration per task against an in-memory limiter and print what each
task recorded, or the error. No target is touched; sleeps and waits are skipped.`,
		Example: "  zae-limiter load check -f examples/locust/locustfiles/llm_gateway.star",
		RunE: func(cmd *cobra.Command, args []string) error {
			f.addClasses(args)
			if len(f.files) == 0 {
				return usagef("which locustfile? give -f FILE")
			}
			return a.check(cmd.Context(), &f)
		},
	}
	f.register(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

func (a *app) check(ctx context.Context, f *scenarioFlags) error {
	options, err := f.options()
	if err != nil {
		return usage(err)
	}
	file, err := a.loadScenario(f, a.stderr)
	if err != nil {
		return err
	}
	checked, err := file.Check(ctx, locustfile.CheckOptions{
		ClassNames: f.classes, Tags: f.tags, ExcludeTags: f.excludeTags, Seed: f.seed, Host: f.host, Options: options,
	})
	if errors.Is(err, locustfile.ErrNoTask) {
		return usage(err)
	}
	if err != nil {
		return interruption(ctx, err)
	}
	code := report.ExitDone
	if checked.Failed() {
		code = report.ExitError
	}
	if a.json {
		err = a.printJSON(checked)
	} else {
		err = checked.WriteText(a.stdout)
	}
	if err != nil {
		err = fmt.Errorf("print the result: %w", err)
	}
	return newOutcome(errors.Join(err), code)
}
