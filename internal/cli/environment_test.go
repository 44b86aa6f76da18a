package cli

import (
	"testing"

	"github.com/spf13/pflag"
)

func TestLocustVariablesStandForOptionsThatAreNotGiven(t *testing.T) {
	for _, test := range []struct {
		name string
		env  map[string]string
		args []string
		flag string
		want string
	}{
		{"users", map[string]string{"LOCUST_USERS": "7"}, nil, "users", "7"},
		{"option wins", map[string]string{"LOCUST_USERS": "7"}, []string{"--users", "3"}, "users", "3"},
		{"run time", map[string]string{"LOCUST_RUN_TIME": "1m5s"}, nil, "run-time", "65"},
		{"duration replaces it", map[string]string{"LOCUST_RUN_TIME": "1m5s"}, []string{"--duration", "3"}, "run-time", "0"},
		{"sweep replaces users", map[string]string{"LOCUST_USERS": "7"}, []string{"--sweep-users", "1,2"}, "users", "20"},
		{"tags", map[string]string{"LOCUST_TAGS": "a b"}, nil, "tags", "[a,b]"},
		{"classes", map[string]string{"LOCUST_USER_CLASSES": "A B"}, nil, "user-classes", "[A B]"},
		{"positional classes replace them", map[string]string{"LOCUST_USER_CLASSES": "A B"}, []string{"C"}, "user-classes", "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := &app{getenv: func(name string) string { return test.env[name] }}
			flags := pflag.NewFlagSet("", pflag.ContinueOnError)
			new(benchmarkFlags).register(flags)
			if err := flags.Parse(test.args); err != nil {
				t.Fatal(err)
			}
			if err := a.applyEnvironment(flags, flags.Args()); err != nil {
				t.Fatal(err)
			}
			if got := flags.Lookup(test.flag).Value.String(); got != test.want {
				t.Errorf("--%s is %s, want %s", test.flag, got, test.want)
			}
		})
	}
}

func TestABadVariableIsNamed(t *testing.T) {
	a := &app{getenv: func(name string) string { return map[string]string{"LOCUST_USERS": "many"}[name] }}
	flags := pflag.NewFlagSet("", pflag.ContinueOnError)
	new(benchmarkFlags).register(flags)
	if err := a.applyEnvironment(flags, nil); err == nil || err.Error()[:17] != `LOCUST_USERS="man` {
		t.Errorf("err = %v, want one that names the variable", err)
	}
}
