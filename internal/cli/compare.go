package cli

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

// compareCommand is `load compare`.
func (a *app) compareCommand() *cobra.Command {
	var gates []string
	cmd := &cobra.Command{
		Use:   "compare A.json B.json",
		Short: "Say which figures of two results differ by more than noise",
		Long: `Compare result B with result A. A figure counts as changed when it differs by more than the
noise of the per-second series of the two runs explains.`,
		Example: `  zae-limiter load benchmark -f examples/locust/locustfiles/simple.star --duration 30 -o before.json
  zae-limiter load compare before.json after.json --max-regression p95_ms=10% --max-regression rps=5%`,
		RunE: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return usagef("load compare needs two result files, got %d", len(args))
			}
			return a.compare(args[0], args[1], gates)
		},
	}
	cmd.Flags().StringArrayVar(&gates, "max-regression", nil, "accepted worsening of a figure, such as `p95_ms=10%`; repeatable, exit code 3")
	return cmd
}

func (a *app) compare(pathA, pathB string, gates []string) error {
	var regressions []report.Regression
	var errs []error
	for _, gate := range gates {
		r, err := report.ParseRegression(gate)
		if err != nil {
			errs = append(errs, fmt.Errorf("--max-regression: %w", err))
		}
		regressions = append(regressions, r)
	}
	before, errA := readResult(pathA)
	after, errB := readResult(pathB)
	if err := errors.Join(append(errs, errA, errB)...); err != nil {
		return usage(err)
	}
	c := report.Compare(before, after)
	c.Gate(regressions)
	write := c.WriteText
	if a.json {
		write = c.WriteJSON
	}
	if err := write(a.stdout); err != nil {
		return err
	}
	return newOutcome(nil, c.ExitCode())
}

func readResult(path string) (*report.Result, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	r, err := report.Decode(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return r, nil
}
