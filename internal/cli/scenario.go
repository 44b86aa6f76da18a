package cli

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/locustfile"
	"github.com/zeroae/zae-limiter-go/loadtest"
)

// loadScenario executes the locustfiles; what they print goes to stderr. Everything that is wrong
// with a file or with the class names is a mistake of the caller.
func (a *app) loadScenario(s *scenarioFlags, stderr io.Writer) (*locustfile.File, error) {
	file, err := locustfile.Load(locustfile.Options{Dir: s.dir, Files: s.files, Stderr: stderr, Getenv: a.lookupEnv()})
	if err != nil {
		return nil, usage(err)
	}
	if err := checkClassNames(file.Classes(), s.classes); err != nil {
		return nil, usage(err)
	}
	return file, nil
}

// checkClassNames refuses names that the file does not have.
func checkClassNames(classes []*loadtest.UserClass, wanted []string) error {
	known := map[string]bool{}
	for _, c := range classes {
		if !c.Abstract {
			known[c.Name] = true
		}
	}
	var errs []error
	for _, name := range wanted {
		if !known[name] {
			errs = append(errs, fmt.Errorf("unknown user class %q; the locustfile has %s",
				name, strings.Join(slices.Sorted(maps.Keys(known)), ", ")))
		}
	}
	return errors.Join(errs...)
}

// runnable returns the classes that a run of the file has, with the tasks that the tags leave them.
func (s *scenarioFlags) runnable(file *locustfile.File) []*loadtest.UserClass {
	return loadtest.WithTags(runnable(file.Classes(), s.classes), s.tags, s.excludeTags)
}

// runnable returns the classes that are not abstract, and among the wanted ones if any.
func runnable(classes []*loadtest.UserClass, wanted []string) []*loadtest.UserClass {
	var chosen []*loadtest.UserClass
	for _, c := range classes {
		if !c.Abstract && (len(wanted) == 0 || slices.Contains(wanted, c.Name)) {
			chosen = append(chosen, c)
		}
	}
	return chosen
}

func classNames(classes []*loadtest.UserClass) []string {
	names := make([]string, len(classes))
	for i, c := range classes {
		names[i] = c.Name
	}
	return names
}

// chooseShape returns the shape of a run: the named one, the first one of the file, or nil.
func chooseShape(shapes []locustfile.NamedShape, name string) (*locustfile.NamedShape, error) {
	switch {
	case name == "none", name == "" && len(shapes) == 0:
		return nil, nil
	case name == "":
		return &shapes[0], nil
	}
	var names []string
	for i := range shapes {
		if shapes[i].Name == name {
			return &shapes[i], nil
		}
		names = append(names, shapes[i].Name)
	}
	if len(names) == 0 {
		return nil, usagef("--shape %q: the locustfile has no load shape", name)
	}
	return nil, usagef("--shape %q is unknown; the locustfile has %s", name, strings.Join(names, ", "))
}

// lookupEnv adapts the process environment, in which an empty variable counts as absent.
func (a *app) lookupEnv() func(string) (string, bool) {
	return func(name string) (string, bool) {
		value := a.getenv(name)
		return value, value != ""
	}
}

// sourcePosition is where in a locustfile an error arose, for machines.
func sourcePosition(err error) map[string]any {
	e, ok := errors.AsType[*locustfile.Error](err)
	if !ok || e.File == "" {
		return nil
	}
	position := map[string]any{"file": e.File, "line": e.Line, "column": e.Col}
	if e.Function != "" {
		position["function"] = e.Function
	}
	if e.Stack != "" {
		position["stack"] = e.Stack
	}
	return position
}

// sourceStack is the call stack of an error raised by a locustfile; "" when there is none.
func sourceStack(err error) string {
	if e, ok := errors.AsType[*locustfile.Error](err); ok {
		return e.Stack
	}
	return ""
}

// listClasses prints the classes of the locustfile.
func (a *app) listClasses(classes []*loadtest.UserClass) error {
	names := []string{}
	for _, c := range runnable(classes, nil) {
		names = append(names, c.Name)
	}
	if a.json {
		return a.printJSON(map[string]any{"user_classes": names})
	}
	var b strings.Builder
	b.WriteString("Available Users:\n")
	for _, name := range names {
		b.WriteString("    " + name + "\n")
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// showRatios prints the shares of classes and tasks.
func (a *app) showRatios(classes []*loadtest.UserClass, users int, asJSON bool) error {
	if asJSON || a.json {
		return a.printJSON(map[string]any{
			"per_class": taskRatios(classes, users, false),
			"total":     taskRatios(classes, users, true),
		})
	}
	return printRatios(a.stdout, classes, users)
}
