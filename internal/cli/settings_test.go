package cli

import (
	"os"
	"strings"
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
		{"classes", map[string]string{"LOCUST_USER_CLASSES": "A B"}, nil, "user-classes", "[A,B]"},
		{"positional classes replace them", map[string]string{"LOCUST_USER_CLASSES": "A B"}, []string{"C"}, "user-classes", "[]"},
	} {
		t.Run(test.name, func(t *testing.T) {
			flags, err := configuredFlags(t, test.env, test.args...)
			if err != nil {
				t.Fatal(err)
			}
			if got := flags.Lookup(test.flag).Value.String(); got != test.want {
				t.Errorf("--%s is %s, want %s", test.flag, got, test.want)
			}
		})
	}
}

// configuredFlags returns the options of load benchmark as they stand after all sources were read.
func configuredFlags(t *testing.T, env map[string]string, args ...string) (*pflag.FlagSet, error) {
	t.Helper()
	a := &app{getenv: func(name string) string { return env[name] }}
	cmd, rest, err := a.rootCommand().Find(append([]string{"load", "benchmark"}, args...))
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.ParseFlags(rest); err != nil {
		t.Fatal(err)
	}
	return cmd.Flags(), a.configure(cmd, cmd.Flags().Args())
}

func TestABadVariableIsNamed(t *testing.T) {
	_, err := configuredFlags(t, map[string]string{"LOCUST_USERS": "many"})
	if err == nil || !strings.HasPrefix(err.Error(), `LOCUST_USERS="many"`) {
		t.Errorf("err = %v, want one that names the variable", err)
	}
}

func TestStrongerSourcesWin(t *testing.T) {
	home := t.TempDir()
	t.Chdir(t.TempDir())
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("pyproject.toml", "[tool.locust]\nusers = 1\ntags = [\"a\", \"b\"]\nhtml = \"p.html\"\n")
	write(home+"/.locust.conf", "users = 2\nhtml = h.html\ncsv = h\n")
	write("locust.conf", "# comment\n[section]\nusers: 3\ncsv c\nspawn-rate = 3\ncsv-full-history\nheadless = true\n")
	write("zae-limiter.toml", "users = 4\nspawn_rate = 4\nwarmup = 4\n[load.benchmark]\nwarmup = 5\n[local]\nport = 9\n")
	write("given.toml", "users = 6\nspawn-rate = 6.5\n")
	env := map[string]string{"HOME": home, "LOCUST_USERS": "7", "ZAE_LIMITER_STOP_TIMEOUT": "1m", "LOCUST_STOP_TIMEOUT": "9"}
	for _, test := range []struct {
		args []string
		want map[string]string
	}{
		{nil, map[string]string{"users": "7", "spawn-rate": "4", "warmup": "5", "stop-timeout": "60", "csv": "c", "csv-full-history": "true", "html": "h.html", "tags": "[a,b]"}},
		{[]string{"--config", "given.toml"}, map[string]string{"users": "7", "spawn-rate": "6.5", "warmup": "5"}},
		{[]string{"--users", "8"}, map[string]string{"users": "8"}},
		{[]string{"--sweep-users", "8,9"}, map[string]string{"users": "20", "csv": "", "html": ""}},
	} {
		flags, err := configuredFlags(t, env, test.args...)
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range test.want {
			if got := flags.Lookup(name).Value.String(); got != want {
				t.Errorf("%v: --%s is %q, want %q", test.args, name, got, want)
			}
		}
	}
}

func TestOptionsThatNoCommandHasAreRefused(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("zae-limiter.toml", []byte("user = 4\n[load.benchmark]\nports = 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := configuredFlags(t, nil)
	if err == nil || !strings.Contains(err.Error(), `"user"`) || !strings.Contains(err.Error(), `"load.benchmark.ports"`) {
		t.Errorf("err = %v, want one that names both options", err)
	}
}
