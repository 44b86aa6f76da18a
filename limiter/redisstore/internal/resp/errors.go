package resp

import (
	"errors"
	"fmt"
	"strings"
)

// Error is the text of a reply that reports an error. Its first word is a code.
type Error string

func (e Error) Error() string { return string(e) }

// Code is the first word.
func (e Error) Code() string {
	code, _, _ := strings.Cut(string(e), " ")
	return code
}

// ErrUnknownOutcome is wrapped by errors of calls that were sent, or may have been, and whose reply did not
// come. They must not be repeated unless they have no effect.
var ErrUnknownOutcome = errors.New("sent, but not answered")

func unknown(cause error) error { return fmt.Errorf("%w: %w", ErrUnknownOutcome, cause) }

// errBroken says that a connection took no call, so that another one may.
var errBroken = errors.New("connection is closed")
