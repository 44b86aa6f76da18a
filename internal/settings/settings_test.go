package settings_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/settings"
)

func TestLinesOfLocustConf(t *testing.T) {
	for _, test := range []struct {
		line, option string
		want         []string
	}{
		{"users = 5", "users", []string{"5"}},
		{"users=5", "users", []string{"5"}},
		{"spawn-rate: 2.5", "spawn-rate", []string{"2.5"}},
		{"spawn_rate 2.5 # a comment", "spawn-rate", []string{"2.5"}},
		{"--headless", "headless", []string{"true"}},
		{"headless = true", "headless", []string{"true"}},
		{`tags = [a, "b c"]`, "tags", []string{"a", "b c"}},
		{"tags = []", "tags", nil},
		{`host = "http://x:1"`, "host", []string{"http://x:1"}},
		{"host: http://x:1", "host", []string{"http://x:1"}},
	} {
		source, err := settings.LocustConf("locust.conf", []byte("# first\n; second\n\n[section]\n---\n"+test.line+"\n"))
		if err != nil {
			t.Fatalf("%s: %v", test.line, err)
		}
		got, ok := source.Lookup(test.option)
		if !ok || !slices.Equal(got.Texts, test.want) || got.Origin != "locust.conf" {
			t.Errorf("%s: %v %+v, want %q", test.line, ok, got, test.want)
		}
	}
}

func TestMistakesNameFileAndLine(t *testing.T) {
	for name, read := range map[string]func() error{
		"conf.conf:2: a line without a key: = 3": func() error {
			_, err := settings.LocustConf("conf.conf", []byte("users = 1\n= 3\n"))
			return err
		},
		"x.toml: load.when is no text, number, boolean or list of them": func() error {
			_, err := settings.TOML("x.toml", []byte("[[load.when]]\na = 1\n"), nil)
			return err
		},
	} {
		if err := read(); err == nil || err.Error() != name {
			t.Errorf("got %v, want %s", err, name)
		}
	}
	_, err := settings.TOML("x.toml", []byte("users = 1\nspawn-rate\n"), nil)
	if e, ok := errors.AsType[*settings.Error](err); !ok || e.Line != 2 {
		t.Errorf("got %v, want an error in line 2", err)
	}
}

func TestTablesAreForTheirCommand(t *testing.T) {
	data := []byte("users = 1\nwarmup = 2.5\n[load.benchmark]\nusers = 3\ntags = ['a', 'b']\n[local]\nport = 0\n")
	for _, test := range []struct {
		command []string
		option  string
		want    []string
	}{
		{[]string{"load", "benchmark"}, "users", []string{"3"}},
		{[]string{"load", "benchmark"}, "warmup", []string{"2.5"}},
		{[]string{"load", "benchmark"}, "tags", []string{"a", "b"}},
		{[]string{"load", "tune"}, "users", []string{"1"}},
		{[]string{"load", "tune"}, "tags", nil},
		{[]string{"local"}, "port", []string{"0"}},
	} {
		source, err := settings.TOML("zae-limiter.toml", data, test.command)
		if err != nil {
			t.Fatal(err)
		}
		if got, _ := source.Lookup(test.option); !slices.Equal(got.Texts, test.want) {
			t.Errorf("%v: %s is %q, want %q", test.command, test.option, got.Texts, test.want)
		}
	}
}

func TestVariables(t *testing.T) {
	env := map[string]string{"ZAE_LIMITER_SPAWN_RATE": "5", "LOCUST_MASTER_NODE_HOST": "m"}
	ours, locust := settings.Environment(func(n string) string { return env[n] }), settings.LocustEnvironment(func(n string) string { return env[n] })
	if v, ok := ours.Lookup("spawn-rate"); !ok || v.Texts[0] != "5" || v.Origin != "ZAE_LIMITER_SPAWN_RATE" {
		t.Errorf("spawn-rate: %v %+v", ok, v)
	}
	if v, ok := locust.Lookup("master-host"); !ok || v.Texts[0] != "m" {
		t.Errorf("master-host: %v %+v", ok, v)
	}
	if _, ok := locust.Lookup("engine-latency"); ok {
		t.Error("Locust has no variable for engine-latency")
	}
}

func FuzzFiles(f *testing.F) {
	for _, seed := range []string{"users = 1\n", "tags = [a, b]", "[tool.locust]\nusers = 1\n", "a.b.c = [1, [2]]", "=", "\x00"} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		for _, read := range []func(string, []byte) (settings.Source, error){
			settings.LocustConf, settings.PyProject,
			func(n string, d []byte) (settings.Source, error) { return settings.TOML(n, d, []string{"load"}) },
		} {
			source, err := read("file", data)
			if err != nil {
				continue
			}
			if v, ok := source.Lookup("users"); ok && v.Origin != "file" {
				t.Errorf("origin %q", v.Origin)
			}
		}
	})
}
