package cli

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

// thresholdFlags are the conditions that a result has to meet.
type thresholdFlags struct {
	expressions  []string
	maxFailRatio float64
	maxP95       float64
	minRPS       float64

	parsed []report.Threshold
}

func (t *thresholdFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVar(&t.expressions, "threshold", nil, "`condition` on the result, such as 'p95_ms<40' or 'failure_ratio{type=ACQUIRE}<=0.01'; repeatable, exit code 3")
	flags.Float64Var(&t.maxFailRatio, "max-fail-ratio", 0, "the largest share of failed requests (0.01 = 1 %), exit code 3")
	flags.Float64Var(&t.maxP95, "max-p95", 0, "the largest p95 in `ms`, exit code 3")
	flags.Float64Var(&t.minRPS, "min-rps", 0, "the least requests a second, exit code 3")
}

// validate parses the conditions.
func (t *thresholdFlags) validate(flags *pflag.FlagSet) error {
	var errs []error
	t.parsed = nil
	for _, expression := range t.expressions {
		threshold, err := report.ParseThreshold(expression)
		if err != nil {
			errs = append(errs, fmt.Errorf("--threshold: %w", err))
			continue
		}
		t.parsed = append(t.parsed, threshold)
	}
	for _, short := range []struct {
		flag  string
		value float64
		make  func(float64) report.Threshold
	}{
		{"max-fail-ratio", t.maxFailRatio, report.MaxFailRatio},
		{"max-p95", t.maxP95, report.MaxP95},
		{"min-rps", t.minRPS, report.MinRPS},
	} {
		switch {
		case !flags.Changed(short.flag):
		case !(short.value >= 0):
			errs = append(errs, fmt.Errorf("--%s must not be negative, got %v", short.flag, short.value))
		default:
			t.parsed = append(t.parsed, short.make(short.value))
		}
	}
	return errors.Join(errs...)
}

// about reports whether a condition is on a number of the group.
func (t *thresholdFlags) about(group string) bool {
	return slices.ContainsFunc(t.parsed, func(c report.Threshold) bool { return c.Group == group })
}
