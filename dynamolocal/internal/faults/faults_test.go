package faults

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func set(t *testing.T, rules ...Rule) *Set {
	t.Helper()
	s, err := New(1, rules...)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func call(operation string, targets ...Target) Call {
	return Call{Operation: operation, Targets: targets}
}

func TestMatching(t *testing.T) {
	item := Target{Table: "orders", Hash: "tenant-7/a", Range: "#2026"}
	query := Target{Table: "orders", Index: "by-date", Hash: "x"}
	tests := []struct {
		name string
		rule Rule
		call Call
		want bool
	}{
		{"everything", Rule{}, call("ListTables"), true},
		{"operation", Rule{Operations: []string{"PutItem", "UpdateItem"}}, call("UpdateItem", item), true},
		{"other operation", Rule{Operations: []string{"PutItem"}}, call("UpdateItem", item), false},
		{"table", Rule{Table: "orders"}, call("GetItem", item), true},
		{"other table", Rule{Table: "order"}, call("GetItem", item), false},
		{"table of an entry", Rule{Table: "orders"}, call("BatchGetItem", Target{Table: "x"}, item), true},
		{"index", Rule{Index: "by-date"}, call("Query", query), true},
		{"other index", Rule{Index: "by-date"}, call("Query", item), false},
		{"key prefix", Rule{KeyPrefix: "tenant-7/"}, call("GetItem", item), true},
		{"other key prefix", Rule{KeyPrefix: "tenant-8/"}, call("GetItem", item), false},
		{"both prefixes", Rule{KeyPrefix: "tenant", SortKeyPrefix: "#20"}, call("GetItem", item), true},
		{"other sort key", Rule{KeyPrefix: "tenant", SortKeyPrefix: "#19"}, call("GetItem", item), false},
		{"parts of two entries", Rule{Table: "x", KeyPrefix: "tenant"}, call("BatchGetItem", Target{Table: "x"}, item), false},
		{"no key", Rule{KeyPrefix: "tenant"}, call("ListTables"), false},
		{"before the window", Rule{After: time.Second}, Call{Operation: "GetItem", Elapsed: time.Second - 1}, false},
		{"in the window", Rule{After: time.Second, Until: 2 * time.Second}, Call{Operation: "GetItem", Elapsed: time.Second}, true},
		{"after the window", Rule{Until: 2 * time.Second}, Call{Operation: "GetItem", Elapsed: 2 * time.Second}, false},
		{"unprocessed outside a batch", Rule{Action: Unprocessed}, call("PutItem", item), false},
		{"unprocessed batch", Rule{Action: Unprocessed}, call("BatchWriteItem", item), true},
		{"conflict of a read", Rule{Action: Conflict}, call("GetItem", item), false},
		{"conflict of a write", Rule{Action: Conflict}, call("PutItem", item), true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.rule.Action == "" {
				tt.rule.Action = Drop
			}
			if got := set(t, tt.rule).Match(tt.call) != nil; got != tt.want {
				t.Errorf("Match = %v, want %v", got, tt.want)
			}
		})
	}
}

func TestTheFirstRuleThatIsDueWins(t *testing.T) {
	s := set(t,
		Rule{Name: "third", Every: 3, Action: Drop},
		Rule{Name: "twice", Count: 2, Action: Hang},
		Rule{Action: WrongCRC})
	var got []string
	for range 6 {
		got = append(got, s.Match(call("GetItem")).Rule)
	}
	want := []string{"twice", "twice", "third", "rules[2]", "rules[2]", "third"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	counters := []Counter{{"third", 6, 2}, {"twice", 2, 2}, {"rules[2]", 2, 2}}
	if diff := cmp.Diff(counters, s.Counters()); diff != "" {
		t.Error(diff)
	}
}

func TestProbabilityIsSeeded(t *testing.T) {
	hits := func(seed uint64) (hits []int) {
		s, err := New(seed, Rule{Operations: []string{"PutItem"}, Action: Drop}, Rule{Probability: 0.1, Action: Drop})
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10_000 {
			if s.Match(call("GetItem")) != nil {
				hits = append(hits, i)
			}
		}
		return hits
	}
	a, b := hits(5), hits(5)
	if diff := cmp.Diff(a, b); diff != "" {
		t.Error(diff)
	}
	if len(a) < 900 || len(a) > 1_100 {
		t.Errorf("%d of 10,000 hit at a probability of 0.1", len(a))
	}
	if cmp.Equal(a, hits(6)) {
		t.Error("another seed hit the same calls")
	}
}

func TestFaultOfAFile(t *testing.T) {
	rules, err := Parse([]byte(`{"rules": [
		{"name": "lost", "operations": ["UpdateItem"], "action": "error", "code": "InternalServerError",
		 "message": "gone", "when": "after", "latency": "5ms"},
		{"key_prefix": "b", "action": "transaction_conflict"},
		{"action": "unprocessed", "fraction": 0.3},
		{"action": "http", "status": 503}]}`))
	if err != nil {
		t.Fatal(err)
	}
	s := set(t, rules...)
	tests := []struct {
		call Call
		want Fault
	}{
		{call("UpdateItem"), Fault{Rule: "lost", Action: Error, After: true, Code: "InternalServerError", Message: "gone", Latency: 5 * time.Millisecond, fraction: 1}},
		{call("TransactWriteItems", Target{Hash: "a"}, Target{Hash: "b"}), Fault{Rule: "rules[1]", Action: Conflict, Target: 1, fraction: 1}},
		{call("BatchGetItem", Target{Hash: "a"}), Fault{Rule: "rules[2]", Action: Unprocessed, fraction: 0.3}},
		{call("GetItem", Target{Hash: "a"}), Fault{Rule: "rules[3]", Action: HTTP, Status: 503, fraction: 1}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(&tt.want, s.Match(tt.call), cmp.AllowUnexported(Fault{})); diff != "" {
			t.Errorf("%s: %s", tt.call.Operation, diff)
		}
	}
}

func TestLeft(t *testing.T) {
	for _, tt := range []struct {
		fraction float64
		n, want  int
	}{{1, 10, 10}, {0.5, 10, 5}, {0.01, 10, 1}, {0.5, 1, 1}, {0.3, 10, 3}} {
		if got := (&Fault{fraction: tt.fraction}).Left(tt.n); got != tt.want {
			t.Errorf("%v of %d left %d undone, want %d", tt.fraction, tt.n, got, tt.want)
		}
	}
}

func TestOutage(t *testing.T) {
	s := set(t)
	if err := s.Wait(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	s.Pause()
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- s.Wait(ctx) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want context.Canceled", err)
	}
	go func() { ended <- s.Wait(t.Context()) }()
	s.Resume()
	if err := <-ended; err != nil {
		t.Errorf("Wait = %v after Resume", err)
	}
	s.Resume()
}

func TestNoRules(t *testing.T) {
	var none *Set
	if none.Active() || none.Match(call("GetItem")) != nil || none.Wait(t.Context()) != nil || none.Counters() != nil {
		t.Error("a nil set does something")
	}
}

func TestParseRefuses(t *testing.T) {
	tests := []struct{ document, problem string }{
		{`{}`, `no member "rules"`},
		{`{"rule": []}`, `unknown member "rule"`},
		{`{"rules": []} {}`, "more than one JSON value"},
		{`{"rules": [{"action": "drop"}, {"actoin": "drop"}]}`, `rules[1]: unknown member "actoin"`},
		{`{"rules": [{}]}`, "rules[0]: action: is missing"},
		{`{"rules": [{"action": "explode"}]}`, `action: "explode" is unknown`},
		{`{"rules": [{"action": "error"}]}`, `code: "" is not an error code`},
		{`{"rules": [{"action": "error", "code": "Oops"}]}`, `code: "Oops" is not an error code`},
		{`{"rules": [{"action": "drop", "code": "ThrottlingException"}]}`, "code and message: do not go with"},
		{`{"rules": [{"action": "http", "status": 404}]}`, "status: 404 is neither 500 nor 503"},
		{`{"rules": [{"action": "drop", "status": 500}]}`, "status: does not go with"},
		{`{"rules": [{"action": "latency"}]}`, "latency: is missing"},
		{`{"rules": [{"action": "latency", "latency": 5}]}`, "duration 5 is not a string"},
		{`{"rules": [{"action": "latency", "latency": "-5ms"}]}`, "negative"},
		{`{"rules": [{"action": "drop", "when": "during"}]}`, `when: "during" is neither`},
		{`{"rules": [{"action": "wrong_crc", "when": "after"}]}`, "when: does not go with"},
		{`{"rules": [{"action": "drop", "fraction": 0.5}]}`, "fraction: does not go with"},
		{`{"rules": [{"action": "unprocessed", "fraction": 2}]}`, "fraction: 2 is not in"},
		{`{"rules": [{"action": "drop", "probability": 0}]}`, "probability: 0 is not in"},
		{`{"rules": [{"action": "drop", "every": 0}]}`, "every: 0 is less than 1"},
		{`{"rules": [{"action": "drop", "count": -1}]}`, "count: -1 is less than 1"},
		{`{"rules": [{"action": "drop", "operations": ["UpdateItems"]}]}`, `operations: unknown operation "UpdateItems"`},
		{`{"rules": [{"action": "drop", "after": "5s", "until": "5s"}]}`, "until: 5s is not later"},
	}
	for _, tt := range tests {
		if _, err := Parse([]byte(tt.document)); err == nil || !strings.Contains(err.Error(), tt.problem) {
			t.Errorf("Parse(%s) = %v, want an error with %q", tt.document, err, tt.problem)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"rules": [{"action": "drop", "probability": 0.5, "after": "1s"}]}`))
	f.Add([]byte(`{"rules": [{"action": "unprocessed", "fraction": 0.5, "operations": ["BatchGetItem"]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		rules, err := Parse(data)
		if err != nil {
			return
		}
		if _, err := New(0, rules...); err != nil {
			t.Errorf("New refuses what Parse took: %v", err)
		}
	})
}
