package cli

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/target"
)

func TestExitCodes(t *testing.T) {
	boom := errors.New("boom")
	for _, c := range []struct {
		name string
		err  error
		want int
	}{
		{"done", nil, 0},
		{"run-time error", boom, 1},
		{"usage", usagef("bad"), 2},
		{"usage, wrapped", fmt.Errorf("plan: %w", usage(boom)), 2},
		{"credentials", fmt.Errorf("open: %w", target.ErrCredentials), 4},
		{"interrupted", errInterrupted, 130},
		{"threshold", newOutcome(nil, 3), 3},
		{"verdict before threshold", newOutcome(nil, 3, 5), 5},
		{"interrupted before verdict", newOutcome(nil, 5, 130, 3), 130},
		{"error before interrupted", newOutcome(boom, 130, 5), 1},
		{"cancelled by somebody else", context.Canceled, 1},
	} {
		if got := exitCode(c.err); got != c.want {
			t.Errorf("%s: exit code %d, want %d", c.name, got, c.want)
		}
	}
	if err := newOutcome(nil, 0, 0); err != nil {
		t.Errorf("an outcome without anything to report is %v, want nil", err)
	}
}
