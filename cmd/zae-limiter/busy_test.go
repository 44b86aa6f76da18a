package main

import (
	"errors"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

// A machine that is busy with something else runs fewer user seconds than planned, or runs them late, or does not
// end a call in time.
// The verdict rightly says so, with an exit code of its own. A test that is not about the verdict
// accepts that one, for no other reason than these.
var (
	verdictLine = regexp.MustCompile(`(?m)\b(?:partial|invalid)(?: —|:) (.+)$`)
	busyReason  = regexp.MustCompile(`^(?:only \S+ of the planned user seconds were delivered\b.*|the load generator (?:was late|used) .+|\w+ \(user \d+\) did not stop and was abandoned)$`)
)

// tooBusy reports whether a command that ended with code did so only because the machine is busy, as
// the verdicts in its output say.
func tooBusy(code int, output string) bool {
	verdicts := verdictLine.FindAllStringSubmatch(output, -1)
	for _, verdict := range verdicts {
		for reason := range strings.SplitSeq(verdict[1], "; ") {
			if !busyReason.MatchString(reason) {
				return false
			}
		}
	}
	return code == report.ExitVerdict && len(verdicts) > 0
}

// unlessBusy returns the error of a command, but nil when it is only that the machine is busy.
func unlessBusy(err error, output string) error {
	if code, _ := exitCode(err); tooBusy(code, output) {
		return nil
	}
	return err
}

// exitCode is the code that a command ended with; the error is one of starting it.
func exitCode(err error) (int, error) {
	if e, ok := errors.AsType[*exec.ExitError](err); ok {
		return e.ExitCode(), nil
	}
	return 0, err
}

// measures CODE COMMAND…: as exits, for a load test of which the verdict is not the subject: a busy
// machine may make it partial or late.
func measures(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: measures CODE COMMAND…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got, err := exitCode(ts.Exec(args[1], args[2:]...))
	ts.Check(err)
	if got != want && !tooBusy(got, ts.ReadFile("stdout")+ts.ReadFile("stderr")) {
		ts.Fatalf("exit code %d, want %d", got, want)
	}
}

// measured NAME CODE WITHIN: as ended, for a load test of which the verdict is not the subject.
func measured(ts *testscript.TestScript, neg bool, args []string) {
	p, want := awaitEnd(ts, neg, args)
	if got := p.cmd.ProcessState.ExitCode(); got != want && !tooBusy(got, ts.ReadFile(args[0]+".out")+ts.ReadFile(args[0]+".err")) {
		ts.Fatalf("%s ended with code %d, want %d; stderr:\n%s", args[0], got, want, ts.ReadFile(args[0]+".err"))
	}
}

func TestABusyMachineIsToldFromADefect(t *testing.T) {
	t.Parallel()
	const late, lost = "only 91.0% of the planned user seconds were delivered: 0.08 s of each user, in no whole second (users count from when their worker reports them)", "2 samples are unaccounted for"
	for _, test := range []struct {
		code   int
		output string
		want   bool
	}{
		{5, "  Verdict:      partial — " + late + "\n", true},
		{5, "  Verdict:      invalid — the load generator was late in 50% of the seconds: its own delay is in the numbers; " + late + "\n", true},
		{5, "        1       10.0     99%    1.00ms    2.00ms  partial: " + late + "\n", true},
		{5, "  Verdict:      invalid — " + lost + "; " + late + "\n", false},
		{5, "1  partial: " + late + "\n2  invalid: " + lost + "\n", false},
		{5, "", false},
		{3, "  Verdict:      partial — " + late + "\n", false},
	} {
		if got := tooBusy(test.code, test.output); got != test.want {
			t.Errorf("code %d, %q: %v, want %v", test.code, test.output, got, test.want)
		}
	}
}
