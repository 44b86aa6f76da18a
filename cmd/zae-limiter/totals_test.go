package main

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// figures are the members of the result document that this test adds up.
type figures struct {
	Requests    int64 `json:"requests"`
	Failures    int64 `json:"failures"`
	RateLimited int64 `json:"rate_limited"`
}

type document struct {
	Totals  figures `json:"totals"`
	Entries []struct {
		Type string `json:"type"`
		Name string `json:"name"`
		figures
	} `json:"entries"`
	Errors []struct {
		Occurrences int64 `json:"occurrences"`
	} `json:"errors"`
	Operations []struct {
		Operation string `json:"operation"`
		Requests  int64  `json:"requests"`
	} `json:"operations"`
}

func (d *document) operation(name string) int64 {
	for _, o := range d.Operations {
		if o.Operation == name {
			return o.Requests
		}
	}
	return 0
}

// Refusals, failures and successes of several rows, with 5 % of the replies lost after the write: the
// rows add up to the totals, and the table was asked exactly as often as acquires were counted,
// because a write whose outcome is unknown is never sent again.
func TestEntriesAddUpAndRequestsEqualWhatWasSent(t *testing.T) {
	t.Parallel()
	t.Run("in this process", func(t *testing.T) { entriesAddUp(t) })
	t.Run("over workers", func(t *testing.T) { entriesAddUp(t, "--workers", "2") })
}

func entriesAddUp(t *testing.T, options ...string) {
	t.Parallel()
	dir := t.TempDir()
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("u.star", `
def on_test_start(env):
    env.client.set_resource_defaults("wide", [Limit.per_minute("rpm", 1000000000)])
    env.client.set_resource_defaults("narrow", [Limit.per_hour("rpm", 1)])
def wide(user):
    sleep(0.004)
    user.client.acquire("e-" + user.id, "wide", {"rpm": 1})
def narrow(user):
    sleep(0.004)
    user.client.acquire("e-" + user.id, "narrow", {"rpm": 1})
U = user_class([wide, narrow])
`)
	write("lost.json", `{"rules": [{"name": "lost", "operations": ["UpdateItem"], "every": 20, "action": "drop", "when": "after"}]}`)
	doc := benchmarkDocument(t, append(options, "-C", dir, "-f", "u.star",
		"--users", "8", "--spawn-rate", "100", "--duration", "3", "--engine-faults", filepath.Join(dir, "lost.json"))...)
	var sum figures
	acquires := int64(0)
	for _, e := range doc.Entries {
		sum.Requests += e.Requests
		sum.Failures += e.Failures
		sum.RateLimited += e.RateLimited
		if e.Type == "ACQUIRE" || e.Type == "RATE_LIMITED" {
			acquires += e.Requests
		}
	}
	if sum != doc.Totals {
		t.Errorf("entries add up to %+v, totals are %+v", sum, doc.Totals)
	}
	occurrences := int64(0)
	for _, e := range doc.Errors {
		occurrences += e.Occurrences
	}
	if doc.Totals.Failures == 0 || doc.Totals.RateLimited == 0 || occurrences != doc.Totals.Failures {
		t.Errorf("%d failures, %d in the list of errors, %d refusals; want all above 0 and the former equal",
			doc.Totals.Failures, occurrences, doc.Totals.RateLimited)
	}
	if sent := doc.operation("UpdateItem"); sent != acquires {
		t.Errorf("%d writes sent for %d counted acquires", sent, acquires)
	}
}

// benchmarkDocument is the result of a benchmark, which must not fail for another reason than that the
// machine is busy.
func benchmarkDocument(t *testing.T, options ...string) *document {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "zae-limiter", append([]string{"load", "benchmark", "--json"}, options...)...)
	var trouble strings.Builder
	cmd.Stderr = &trouble
	out, err := cmd.Output()
	if err := unlessBusy(err, trouble.String()); err != nil {
		t.Fatalf("%v\n%s", err, trouble.String())
	}
	doc := &document{}
	if err := json.Unmarshal(out, doc); err != nil {
		t.Fatal(err)
	}
	return doc
}

// What a warm-up sends is in none of the figures, on workers as in one process: as many writes as
// acquires, but for those under way when it ended.
func TestAWarmUpIsLeftOutOfWhatWasSent(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	scenario := `
def on_test_start(env):
    env.client.set_system_defaults([Limit.per_minute("rpm", 1000000000)])
def acquire(user):
    sleep(0.01)
    user.client.acquire("e-" + user.id, "api", {"rpm": 1})
U = user_class(acquire)
`
	if err := os.WriteFile(filepath.Join(dir, "u.star"), []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	const users = 4
	for name, mode := range map[string][]string{"in this process": nil, "over workers": {"--workers", "2"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc := benchmarkDocument(t, append(mode, "-C", dir, "-f", "u.star",
				"--users", strconv.Itoa(users), "--spawn-rate", "100", "--duration", "3", "--warmup", "1")...)
			sent, counted := doc.operation("UpdateItem"), doc.Totals.Requests
			if counted == 0 || sent < counted-2*users || sent > counted+2*users {
				t.Errorf("%d writes sent for %d counted acquires, want about the same, of 2 seconds", sent, counted)
			}
		})
	}
}

// With a seed each user draws the same numbers, whichever process runs it and however many there are.
func TestSequencesDoNotDependOnTheWorkers(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	scenario := `
def on_start(user):
    for i in range(5):
        record("DRAWN", "%d: %d %d" % (user.index, i, user.random.randint(0, 1000000000)), seconds=0.001)
def idle(user):
    sleep(0.05)
A = user_class(idle, on_start=on_start)
B = user_class(idle, on_start=on_start)
`
	if err := os.WriteFile(filepath.Join(dir, "u.star"), []byte(scenario), 0o600); err != nil {
		t.Fatal(err)
	}
	drawn := func(options ...string) string {
		doc := benchmarkDocument(t, append(options, "-C", dir, "-f", "u.star", "--users", "6", "--spawn-rate", "100",
			"--duration", "2", "--seed", "7")...)
		var names []string
		for _, e := range doc.Entries {
			names = append(names, e.Name)
		}
		return strings.Join(names, "\n")
	}
	want := drawn()
	if n := strings.Count(want, "\n") + 1; n != 30 {
		t.Fatalf("%d numbers were drawn, want 30:\n%s", n, want)
	}
	for _, workers := range []string{"1", "3"} {
		if got := drawn("--workers", workers); got != want {
			t.Errorf("over %s workers:\n%s\nin one process:\n%s", workers, got, want)
		}
	}
}
