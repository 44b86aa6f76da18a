package limiter

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

func exceededAfter(wait time.Duration) *ExceededError {
	return &ExceededError{EntityID: "u", Resource: "r", Statuses: []LimitStatus{{EntityID: "u", Resource: "r", Limit: PerMinute("rpm", 1), Exceeded: true, RetryAfter: wait}}}
}

func TestRetryAfterTruncations(t *testing.T) {
	for _, tt := range []struct {
		wait   time.Duration
		millis int64
		header string
	}{
		{1001 * time.Millisecond, 1000, "2"},
		{8001 * time.Millisecond, 8000, "9"},
		{1005 * time.Millisecond, 1004, "2"},
		{6001 * time.Millisecond, 6001, "7"},
		{601 * time.Millisecond, 601, "1"},
		{time.Second, 1000, "2"},
	} {
		e := exceededAfter(tt.wait)
		if got := e.RetryAfterHeader(); got != tt.header {
			t.Errorf("%v: header %s, want %s", tt.wait, got, tt.header)
		}
		text, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		var body struct {
			Millis int64 `json:"retry_after_ms"`
		}
		if err := json.Unmarshal(text, &body); err != nil || body.Millis != tt.millis {
			t.Errorf("%v: retry_after_ms %d, want %d (%v)", tt.wait, body.Millis, tt.millis, err)
		}
	}
}

func TestJSONEqualsThePythonClients(t *testing.T) {
	e := &ExceededError{EntityID: "user-1", Resource: "gpt-4", Statuses: []LimitStatus{
		{EntityID: "user-1", Resource: "gpt-4", Limit: PerMinute("tpm", 10000).WithBurst(15000), Available: -20, Requested: 500, Exceeded: true, RetryAfter: 3121 * time.Millisecond},
		{EntityID: "user-1", Resource: "gpt-4", Limit: PerMinute("rpm", 60), Available: 7, Requested: 1},
	}}
	const want = `{"error":"rate_limit_exceeded","message":"Rate limit exceeded for user-1/gpt-4: [tpm]. Retry after 3.1s","contended":false,` +
		`"retry_after_seconds":3.121,"retry_after_ms":3121,"limits":[` +
		`{"entity_id":"user-1","resource":"gpt-4","limit_name":"tpm","kind":"rate","capacity":15000,"refill_amount":10000,"refill_period_seconds":60,` +
		`"available":-20,"requested":500,"exceeded":true,"retry_after_seconds":3.121,"soft":false},` +
		`{"entity_id":"user-1","resource":"gpt-4","limit_name":"rpm","kind":"rate","capacity":60,"refill_amount":60,"refill_period_seconds":60,` +
		`"available":7,"requested":1,"exceeded":false,"retry_after_seconds":0.0,"soft":false}]}`
	got, err := json.Marshal(e)
	if err != nil || string(got) != want {
		t.Errorf("got  %s\nwant %s (%v)", got, want, err)
	}
}

func TestJSONOfQuotas(t *testing.T) {
	day, err := Quota("day", 50, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	e := &ExceededError{Statuses: []LimitStatus{
		{EntityID: "user-1", Resource: "gpt-4", Limit: day, Available: 7, Requested: 1, ResetsAt: 1800057600000},
		{EntityID: "user-1", Resource: "gpt-4", Limit: SessionQuota("ses", 5, time.Hour).WithSoft(), Available: -3, Requested: 1},
	}}
	text, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	const want = `[{"entity_id":"user-1","resource":"gpt-4","limit_name":"day","kind":"quota","capacity":50,"resets_at_ms":1800057600000,` +
		`"available":7,"requested":1,"exceeded":false,"retry_after_seconds":0.0,"soft":false},` +
		`{"entity_id":"user-1","resource":"gpt-4","limit_name":"ses","kind":"quota","capacity":5,"resets_at_ms":null,` +
		`"available":-3,"requested":1,"exceeded":false,"retry_after_seconds":0.0,"soft":true}]`
	if _, limits, _ := strings.Cut(string(text), `"limits":`); limits != want+"}" {
		t.Errorf("got  %s\nwant %s", limits, want)
	}
	if s := e.Statuses[1]; !s.Overdrawn() || s.Deficit() != 0 || e.Statuses[0].Overdrawn() {
		t.Errorf("overdrawn: %+v", e.Statuses)
	}
}

func TestPrimaryViolationIsTheLongestWaitAndTheFirstOfEquals(t *testing.T) {
	e := &ExceededError{Statuses: []LimitStatus{
		{Limit: PerMinute("a", 1), Exceeded: true, RetryAfter: time.Second},
		{Limit: PerMinute("b", 1), Exceeded: true, RetryAfter: 2 * time.Second},
		{Limit: PerMinute("c", 1), Exceeded: true, RetryAfter: 2 * time.Second},
		{Limit: PerMinute("d", 1), RetryAfter: time.Hour},
	}}
	if p, ok := e.Primary(); !ok || p.Limit.Name != "b" || e.RetryAfter() != 2*time.Second {
		t.Errorf("got %+v", p)
	}
	contended := &ExceededError{EntityID: "u", Resource: "r", Contended: true}
	if contended.RetryAfter() != 100*time.Millisecond || contended.Error() != "Rate limiter contended for u/r: concurrent transactions on the bucket. Retry after 0.1s" {
		t.Errorf("contended: %v", contended)
	}
}

func TestNames(t *testing.T) {
	long := string(make([]byte, 65))
	for _, tt := range []struct {
		name  string
		err   error
		valid bool
	}{
		{"entity with all characters", validateEntityID("entity_id", "0user_1.a-b:c@d"), true},
		{"entity with a slash", validateEntityID("entity_id", "a/b"), false},
		{"entity with a newline at the end", validateEntityID("entity_id", "a\n"), false},
		{"empty entity", validateEntityID("entity_id", ""), false},
		{"entity with a hash", validateEntityID("entity_id", "a#b"), false},
		{"resource with slash and colon", validateResource("org/gpt-4:beta"), true},
		{"resource wcu", validateResource("wcu"), true},
		{"resource _default_", validateResource("_default_"), false},
		{"resource of a registry attribute", validateResource("PK"), false},
		{"resource starting with a digit", validateResource("4gpt"), false},
		{"limit with dot and dash", validateLimitName("r-p.m_1"), true},
		{"limit wcu", validateLimitName("wcu"), false},
		{"limit named as a snapshot attribute", validateLimitName("ttl"), false},
		{"long limit", validateLimitName(long), false},
	} {
		if (tt.err == nil) != tt.valid {
			t.Errorf("%s: got %v", tt.name, tt.err)
		}
	}
}

func TestLimitBounds(t *testing.T) {
	for name, limit := range map[string]Limit{
		"capacity 0":          PerMinute("l", 10).WithBurst(0),
		"capacity beyond":     PerMinute("l", 10).WithBurst(maxTokens + 1),
		"refill 0":            Custom("l", 1, 0, time.Minute),
		"window of 0.5 s":     SessionQuota("l", 1, 500*time.Millisecond),
		"a quota that drips":  {Name: "l", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, ResetAfter: time.Hour},
		"both kinds of quota": {Name: "l", Capacity: 1, RefillPeriod: time.Second, ResetAfter: time.Hour, ResetSchedule: "1m0h0"},
		"resets always":       {Name: "l", Capacity: 1, RefillPeriod: time.Second, ResetSchedule: "1"},
		"resets every minute": {Name: "l", Capacity: 1, RefillPeriod: time.Second, ResetSchedule: "1m*/1"},
		"schedule of cron":    {Name: "l", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Schedule: "* 9 * * *"},
		"a newer schedule":    {Name: "l", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Schedule: "2h9s500"},
		"an unknown zone":     {Name: "l", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Schedule: "1h9s500", Zone: "Nowhere/Here"},
		"a zone of nothing":   {Name: "l", Capacity: 1, RefillAmount: 1, RefillPeriod: time.Second, Zone: "UTC"},
		"negative refill":     Custom("l", 1, -1, time.Minute),
		"half a second":       Custom("l", 1, 1, 500*time.Millisecond),
		"no period":           Custom("l", 1, 1, 0),
		"fraction of seconds": Custom("l", 1, 1, 1500*time.Millisecond),
	} {
		if limit.Validate() == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	for _, cron := range []string{"* * * * *", "0 0 29 2 *", "0 25 * * *", "0 0 * *"} {
		if _, err := Quota("l", 1, schedule.Entry{Cron: cron}); err == nil {
			t.Errorf("resets at %s were accepted", cron)
		}
	}
	berlin, err := PerSecond("a", 1).WithSchedule(schedule.Entry{Cron: "* 9 * * *", TZ: "Europe/Berlin", Scale: 0.5})
	if err != nil {
		t.Fatal(err)
	}
	day, err := Quota("b", 1, schedule.Entry{Cron: "0 0 * * *", TZ: "UTC"})
	if err != nil || validateLimits([]Limit{berlin, day}) == nil || validateLimits([]Limit{berlin, PerSecond("c", 1)}) != nil {
		t.Errorf("limits of one item share one zone: %v", err)
	}
	if err := PerSecond("l", 10).WithBurst(5).Validate(); err != nil {
		t.Errorf("burst below the rate: %v", err)
	}
}
