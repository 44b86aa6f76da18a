package locustfile

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Error is an error in a locustfile, or raised by it.
type Error struct {
	// File, Line and Col say where; Line is 0 when only the file is known, File "" when not even that.
	File      string
	Line, Col int
	// Function is the innermost function of the locustfile; "" at top level and for syntax errors.
	Function string
	Msg      string
	// Stack is the Starlark call stack, outermost call first; "" for syntax errors.
	Stack string
	Err   error
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		b.WriteString(e.File)
		if e.Line > 0 {
			fmt.Fprintf(&b, ":%d:%d", e.Line, e.Col)
		}
		b.WriteString(": ")
	}
	if e.Function != "" {
		b.WriteString("in " + e.Function + ": ")
	}
	b.WriteString(e.Msg)
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Traceback returns the call stack; package loadtest keeps it beside the error.
func (e *Error) Traceback() string { return e.Stack }

// positioned turns an error of the interpreter into an Error; others come back unchanged.
func positioned(err error) error {
	if err == nil {
		return nil
	}
	var done *Error
	if errors.As(err, &done) {
		return err
	}
	var parse syntax.Error
	var names resolve.ErrorList
	var eval *starlark.EvalError
	switch {
	case errors.As(err, &eval):
		return evalError(eval)
	case errors.As(err, &parse):
		return &Error{File: parse.Pos.Filename(), Line: int(parse.Pos.Line), Col: int(parse.Pos.Col), Msg: parse.Msg + pythonHint(parse.Msg), Err: err}
	case errors.As(err, &names) && len(names) > 0:
		first := names[0]
		return &Error{File: first.Pos.Filename(), Line: int(first.Pos.Line), Col: int(first.Pos.Col), Msg: first.Msg, Err: err}
	}
	return err
}

// notStarlark says what stands for the words of Python that Starlark does not have.
var notStarlark = map[string]string{
	"import": "names of other files come from load(…); math, json, time and random are there",
	"from":   "names of other files come from load(…); math, json, time and random are there",
	"class":  "a user class is X = user_class(…), a task set a list",
	"try":    "use attempt(fn, …)",
	"raise":  "use fail(message)",
	"with":   "a lease ends when its task returns, or by lease.close()",
	"global": "keep what changes on user, or in env.state",
	"is":     "use ==",
	"del":    "use pop or remove",
	"assert": "use fail(message)",
	"yield":  "return a list",
}

// pythonHint helps with a syntax error that is Python.
func pythonHint(message string) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(message, "got "), ",")
	if hint := notStarlark[word]; hint != "" {
		return fmt.Sprintf(" (Starlark has no %s: %s)", word, hint)
	}
	if strings.HasPrefix(message, "unexpected input character '@'") {
		return " (Starlark has no decorators: use task(fn, weight=3, tags=[…]))"
	}
	return ""
}

func evalError(eval *starlark.EvalError) *Error {
	e := &Error{Msg: strings.TrimPrefix(eval.Msg, "Starlark computation cancelled: "), Stack: eval.Backtrace(), Err: eval.Unwrap()}
	for i := range eval.CallStack {
		frame := eval.CallStack.At(i)
		if frame.Pos.Filename() == "<builtin>" || frame.Pos.Line == 0 {
			continue
		}
		e.File, e.Line, e.Col = frame.Pos.Filename(), int(frame.Pos.Line), int(frame.Pos.Col)
		if frame.Name != "<toplevel>" {
			e.Function = frame.Name
		}
		break
	}
	return e
}
