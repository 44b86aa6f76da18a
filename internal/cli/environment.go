package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// locustVariables are Locust's environment variables and the options that they stand for.
var locustVariables = []struct{ variable, flag string }{
	{"LOCUST_LOCUSTFILE", "locustfile"},
	{"LOCUST_USER_CLASSES", "user-classes"},
	{"LOCUST_HOST", "host"},
	{"LOCUST_USERS", "users"},
	{"LOCUST_SPAWN_RATE", "spawn-rate"},
	{"LOCUST_RUN_TIME", "run-time"},
	{"LOCUST_STOP_TIMEOUT", "stop-timeout"},
	{"LOCUST_TAGS", "tags"},
	{"LOCUST_EXCLUDE_TAGS", "exclude-tags"},
	{"LOCUST_CSV", "csv"},
	{"LOCUST_CSV_FULL_HISTORY", "csv-full-history"},
	{"LOCUST_HTML", "html"},
}

// environmentNote is what the help says about them.
func environmentNote() string {
	names := make([]string, len(locustVariables))
	for i, v := range locustVariables {
		names[i] = v.variable
	}
	return "Locust's environment variables stand for options that are not given: " + strings.Join(names, ", ") + "."
}

// applyEnvironment sets the options that are not on the command line, nor replaced by one that is,
// from Locust's environment variables. args are the positional class names.
func (a *app) applyEnvironment(flags *pflag.FlagSet, args []string) error {
	given := func(name string) bool { return flags.Changed(name) }
	replaced := map[string]bool{
		"run-time":     given("duration"),
		"users":        given("sweep-users"),
		"csv":          given("sweep-users"),
		"html":         given("sweep-users"),
		"user-classes": len(args) > 0,
	}
	for _, v := range locustVariables {
		value := a.getenv(v.variable)
		if value == "" || given(v.flag) || replaced[v.flag] {
			continue
		}
		if v.flag == "tags" || v.flag == "exclude-tags" {
			value = strings.Join(strings.FieldsFunc(value, func(r rune) bool { return r == ' ' || r == ',' }), ",")
		}
		if err := flags.Set(v.flag, value); err != nil {
			return fmt.Errorf("%s=%q: %w", v.variable, value, err)
		}
	}
	return nil
}
