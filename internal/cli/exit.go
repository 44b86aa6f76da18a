package cli

import (
	"errors"
	"fmt"

	"github.com/zeroae/zae-limiter-go/internal/report"
)

// exitTable is printed by --help of every command.
const exitTable = `Exit codes:
  0    done
  1    run-time error (target not reachable, port busy, disk full, a listener failed)
  2    usage: unknown option, invalid value, locustfile that does not load
  3    a threshold failed
  4    credentials missing or expired
  5    verdict partial or invalid (results are still printed)
  130  interrupted, after clean-up (partial results are printed)
Where several apply the first one of 4, 2, 1, 130, 5, 3 is used.`

// usageError is a mistake of the caller: exit code 2.
type usageError struct{ err error }

func (e *usageError) Error() string { return e.err.Error() }
func (e *usageError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &usageError{err: fmt.Errorf(format, args...)}
}

// usage marks err as a mistake of the caller.
func usage(err error) error {
	if err == nil {
		return nil
	}
	return &usageError{err: err}
}

// hinted adds what to try to an error.
type hinted struct {
	err  error
	hint string
}

func (e *hinted) Error() string { return e.err.Error() }
func (e *hinted) Unwrap() error { return e.err }

func withHint(err error, hint string) error { return &hinted{err: err, hint: hint} }

func hintOf(err error) string {
	if h, ok := errors.AsType[*hinted](err); ok {
		return h.hint
	}
	return ""
}

// outcome is the end of a command that printed its result and still does not exit with 0: a failed
// threshold, a bad verdict, an interruption, or an error beside the result.
type outcome struct {
	codes []int
	err   error // nil when the printed result says everything
}

func (e *outcome) Error() string {
	if e.err != nil {
		return e.err.Error()
	}
	return fmt.Sprintf("exit code %d", exitCode(e))
}

func (e *outcome) Unwrap() error { return e.err }

// newOutcome returns nil when there is nothing to report.
func newOutcome(err error, codes ...int) error {
	o := &outcome{err: err}
	for _, code := range codes {
		if code != report.ExitDone {
			o.codes = append(o.codes, code)
		}
	}
	if err == nil && len(o.codes) == 0 {
		return nil
	}
	return o
}

// exitCode is the one switch from errors to exit codes.
func exitCode(err error) int {
	if err == nil {
		return report.ExitDone
	}
	if child, ok := errors.AsType[*childStatus](err); ok {
		return child.code
	}
	var codes []int
	if o, ok := errors.AsType[*outcome](err); ok {
		codes, err = o.codes, o.err
	}
	switch {
	case err == nil:
	case isUsage(err):
		codes = append(codes, report.ExitUsage)
	case isCredentials(err):
		codes = append(codes, report.ExitCredentials)
	case errors.Is(err, errInterrupted):
		codes = append(codes, report.ExitInterrupted)
	default:
		codes = append(codes, report.ExitError)
	}
	return report.ExitCode(codes...)
}

func isUsage(err error) bool {
	_, ok := errors.AsType[*usageError](err)
	return ok
}

// errorDocument is an error for machines.
func errorDocument(err error, code int) map[string]any {
	doc := map[string]any{"message": err.Error(), "exit_code": code}
	if hint := hintOf(err); hint != "" {
		doc["hint"] = hint
	}
	for key, value := range sourcePosition(err) {
		doc[key] = value
	}
	return doc
}
