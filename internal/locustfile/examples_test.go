package locustfile

import (
	"fmt"
	"math"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

const examples = "../../examples/locust"

func TestEveryExampleRunsFromBothDirectories(t *testing.T) {
	files, err := filepath.Glob(examples + "/locustfiles/*.star")
	if err != nil || len(files) < 5 {
		t.Fatalf("examples: %v, %v", files, err)
	}
	for _, file := range append(files, examples+"/locustfile.star") {
		relative, err := filepath.Rel(examples, file)
		if err != nil {
			t.Fatal(err)
		}
		for name, options := range map[string]Options{
			"with -C":             {Dir: examples, Files: []string{filepath.ToSlash(relative)}},
			"from the repository": {Dir: "../..", Files: []string{"examples/locust/" + filepath.ToSlash(relative)}},
		} {
			t.Run(filepath.Base(file)+" "+name, func(t *testing.T) {
				f, err := Load(options)
				if err != nil {
					t.Fatal(err)
				}
				checked, err := f.Check(t.Context(), CheckOptions{Seed: 1, Options: map[string]string{"num_custom_limits": "3"}})
				if err != nil {
					t.Fatal(err)
				}
				if checked.Failed() {
					t.Errorf("got %+v", checked)
				}
			})
		}
	}
}

func TestTheLoadOfADay(t *testing.T) {
	f, err := Load(Options{Dir: examples, Files: []string{"locustfiles/llm_production.star"}})
	if err != nil {
		t.Fatal(err)
	}
	shapes := f.Shapes()
	if len(shapes) != 2 || shapes[0].Name != "ProductionDailyLoad" || shapes[1].Name != "MorningSpike" {
		t.Fatalf("shapes: got %+v, want the day first, then the spike", shapes)
	}
	for i, want := range []string{
		"0:15@1 21600:100@1 28800:150@2 32400:150@1 61200:120@0.5 68400:30@0.5 82800:15@0.5 86400:end",
		"0:50@2 600:150@3 1200:150@1 3000:100@1 3600:end",
	} {
		if got := changes(t, shapes[i].Shape); got != want {
			t.Errorf("%s: got %s, want %s", shapes[i].Name, got, want)
		}
	}
}

// changes lists when a shape wants something else, by the minute.
func changes(t *testing.T, shape loadtest.Shape) string {
	t.Helper()
	var out []string
	last := ""
	for at := 0; ; at += 60 {
		step, ok, err := shape.Tick(loadtest.ShapeState{RunTime: seconds(float64(at))})
		if err != nil {
			t.Fatal(err)
		}
		if !ok {
			return strings.Join(append(out, fmt.Sprintf("%d:end", at)), " ")
		}
		if now := fmt.Sprintf("%d@%v", step.Users, step.SpawnRate); now != last {
			last = now
			out = append(out, fmt.Sprintf("%d:%s", at, now))
		}
	}
}

// picks draws from the distribution of the stress scenario and returns how often each came.
func picks(t *testing.T, n int, settings map[string]string) map[string]int {
	t.Helper()
	dir := t.TempDir()
	copyExample(t, dir, "common/distribution.star")
	write(t, dir, "files/count.star", fmt.Sprintf(`
load("../common/distribution.star", "distribution", "pick")

def t(user):
    settings = distribution(user.env)
    counts = {}
    for i in range(%d):
        entity, kind = pick(user, settings)
        counts[kind] = counts.get(kind, 0) + 1
        if kind == "powerlaw":
            counts[entity] = counts.get(entity, 0) + 1
    for name, count in counts.items():
        if not name.startswith("entity-") or int(name[7:]) < 1000:
            print("%%s %%d" %% (name, count))
    user.stop_test("counted")

X = user_class(t)
`, n))
	var out strings.Builder
	f, err := Load(Options{Dir: dir, Files: []string{"files/count.star"}, Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	s, _, err := run(t, f, loadtest.Config{Seed: 7, Options: settings, Duration: time.Hour}) // it ends itself
	if err != nil || len(s.TaskErrors) > 0 {
		t.Fatal(err, s.TaskErrors)
	}
	counts := map[string]int{}
	for line := range strings.Lines(out.String()) {
		var name string
		var count int
		if _, err := fmt.Sscan(line, &name, &count); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		counts[name] = count
	}
	return counts
}

func TestTheTrafficOfTheStressScenario(t *testing.T) {
	const n = 1_000_000 / slowdown
	counts := picks(t, n, map[string]string{"spike_probability": "0"})
	if counts["spike"] != 0 {
		t.Errorf("got %d picks of a spike that cannot start", counts["spike"])
	}
	within(t, "whale", counts["whale"], n, 0.50)
	within(t, "spike-baseline", counts["spike-baseline"], n, 0.03)
	within(t, "powerlaw", counts["powerlaw"], n, 0.47)
	tail := counts["powerlaw"]
	first := map[int]int{}
	sum := 0
	for rank := 1; rank <= 1000; rank++ {
		sum += counts[fmt.Sprintf("entity-%05d", rank-1)]
		first[rank] = sum
	}
	for rank, p := range map[int]float64{1: 0.385124, 2: 0.136162, 3: 0.074117, 10: 0.012179, 100: 0.000385} {
		within(t, fmt.Sprintf("rank %d", rank), counts[fmt.Sprintf("entity-%05d", rank-1)], tail, p)
	}
	for ranks, p := range map[int]float64{10: 0.7685, 100: 0.9293, 1000: 0.9817} {
		within(t, fmt.Sprintf("the first %d ranks", ranks), first[ranks], tail, p)
	}
	within(t, "entity-00000 of all", counts["entity-00000"], n, 0.1810)
}

// within fails when a count is more than three standard deviations from what its probability says.
func within(t *testing.T, what string, count, n int, p float64) {
	t.Helper()
	mean, sigma := float64(n)*p, math.Sqrt(float64(n)*p*(1-p))
	if math.Abs(float64(count)-mean) > 3*sigma {
		t.Errorf("%s: got %d of %d, want %.0f ± %.0f", what, count, n, mean, 3*sigma)
	}
}

func TestTheRuleOfSpikes(t *testing.T) {
	const n = 200_000 / slowdown
	if got := picks(t, n, map[string]string{"spike_rule": "pick", "spike_probability": "0.6"})["spike"]; got < n/2 {
		t.Errorf("by the pick: got %d spike picks of %d, want nearly all", got, n)
	}
	// A check a second: a run this short sees a handful, each with one chance in 600.
	if got := picks(t, n, map[string]string{"spike_probability": "0.1"})["spike"]; got > 0 {
		t.Errorf("by the time: got %d spike picks in a second or two", got)
	}
}

func copyExample(t *testing.T, dir, name string) {
	t.Helper()
	source, err := readFile(filepath.Join(examples, name))
	if err != nil {
		t.Fatal(err)
	}
	write(t, dir, name, string(source))
}
