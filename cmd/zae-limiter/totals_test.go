package main

import (
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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

// Refusals, failures and successes of several rows, with 1 % of the replies lost after the write: the
// rows add up to the totals, and the table was asked exactly as often as acquires were counted,
// because a write whose outcome is unknown is never sent again.
func TestEntriesAddUpAndRequestsEqualWhatWasSent(t *testing.T) {
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
    env.client.set_resource_defaults("narrow", [Limit.per_hour("rpm", 50)])
def wide(user):
    sleep(0.004)
    user.client.acquire("e-" + user.id, "wide", {"rpm": 1})
def narrow(user):
    sleep(0.004)
    user.client.acquire("e-" + user.id, "narrow", {"rpm": 1})
U = user_class([wide, narrow])
`)
	write("lost.json", `{"rules": [{"name": "lost", "operations": ["UpdateItem"], "probability": 0.01, "action": "drop", "when": "after"}]}`)
	cmd := exec.CommandContext(t.Context(), "zae-limiter", "load", "benchmark", "-C", dir, "-f", "u.star",
		"--users", "8", "--spawn-rate", "100", "--duration", "3", "--json", "--engine-faults", filepath.Join(dir, "lost.json"))
	out, err := cmd.Output()
	if err != nil {
		if e, ok := errors.AsType[*exec.ExitError](err); ok {
			t.Fatalf("%v\n%s", err, e.Stderr)
		}
		t.Fatal(err)
	}
	var doc document
	if err := json.Unmarshal(out, &doc); err != nil {
		t.Fatal(err)
	}
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
