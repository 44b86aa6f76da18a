package limitmanifest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

const everything = `
namespace: prod
system:
  on_unavailable: allow
  limits:
    rpm: {capacity: 100}
resources:
  gpt-4:
    disabled: bypass
    cascade: yes
    limits:
      tpm: {capacity: 20000, refill_amount: 10000, refill_period: 3600, soft: true}
      old: {capacity: 5, burst: 9, refill_amount: 5}
      halved:
        capacity: 10
        schedule:
          - {cron: "* 9-17 * * MON-FRI", tz: Europe/Zurich, scale: 0.5}
  empty:
    disabled: true
entities:
  user-1:
    resources:
      gpt-4:
        limits:
          daily:
            capacity: 500
            reset_schedule: [{cron: "0 0 * * *"}]
          session: {capacity: 50, reset_after_seconds: 18000}
      _default_:
        disabled: false
`

func TestAWholeManifest(t *testing.T) {
	m, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	var keys []string
	for _, k := range m.Keys() {
		keys = append(keys, k.String())
	}
	if want := []string{"system", "resource empty", "resource gpt-4", "user-1/_default_", "user-1/gpt-4"}; m.Namespace != "prod" || !slices.Equal(keys, want) {
		t.Fatalf("namespace %s, levels %v, want %v", m.Namespace, keys, want)
	}
	if c := m.Levels[limiter.ConfigKey{}]; c.OnUnavailable != limiter.Allow || !slices.Equal(c.Limits, []limiter.Limit{limiter.PerMinute("rpm", 100)}) {
		t.Errorf("system: %+v", c)
	}
	c := m.Levels[limiter.ConfigKey{Resource: "gpt-4"}]
	want := []limiter.Limit{
		{Name: "halved", Capacity: 10, RefillAmount: 10, RefillPeriod: time.Minute, Schedule: "1h9-17w1-5s500", Zone: "Europe/Zurich"},
		limiter.PerMinute("old", 5).WithBurst(9),
		limiter.PerHour("tpm", 10000).WithBurst(20000).WithSoft(),
	}
	if c.Disabled != limiter.Bypassed || c.Cascade != limiter.On || !slices.Equal(c.Limits, want) {
		t.Errorf("resource: %+v", c)
	}
	c = m.Levels[limiter.ConfigKey{EntityID: "user-1", Resource: "gpt-4"}]
	want = []limiter.Limit{
		{Name: "daily", Capacity: 500, RefillPeriod: time.Minute, ResetSchedule: "1m0h0"},
		{Name: "session", Capacity: 50, RefillPeriod: time.Minute, ResetAfter: 5 * time.Hour},
	}
	if !slices.Equal(c.Limits, want) || c.Disabled != limiter.Unset {
		t.Errorf("entity: %+v", c)
	}
	if c := m.Levels[limiter.ConfigKey{EntityID: "user-1", Resource: limiter.DefaultResource}]; c.Disabled != limiter.Off || len(c.Limits) != 0 {
		t.Errorf("entity on all resources: %+v", c)
	}
	again, err := Parse([]byte("# the same\n" + everything))
	if err != nil || again.Hash != m.Hash || !strings.HasPrefix(m.Hash, "sha256:") {
		t.Errorf("hashes %s and %s, %v", m.Hash, again.Hash, err)
	}
}

func TestManifestsThatAreRefused(t *testing.T) {
	for text, mentions := range map[string]string{
		"":                                       "empty",
		"system: {}":                             "namespace",
		"namespace: a\n---\nnamespace: b":        "more than one",
		"namespace: a\nsytem: {}":                "sytem",
		"namespace: a\nsystem: {disabled: true}": "invalid disabled: \"true\" belongs to",
		"namespace: a\nsystem: {on_unavailable: sometimes}":                                              "allow or block",
		"namespace: a\nresources: {r: {disabled: perhaps}}":                                              "true, false or bypass",
		"namespace: a\nresources: {r: {on_unavailable: allow}}":                                          "system",
		"namespace: a\nresources: {'r x': {}}":                                                           "resource",
		"namespace: a\nresources: {_default_: {}}":                                                       "resource",
		"namespace: a\nresources: {r: {limits: {l: {}}}}":                                                "capacity",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, refill_period_seconds: 5}}}}":           "refill_period_seconds",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1.5}}}}":                                   "1.5",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 0}}}}":                                     "capacity",
		"namespace: a\nresources: {r: {limits: {l: {capacity: '1'}}}}":                                   "line 2: resources.r.limits.l.capacity: \"1\": want a whole number",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, soft: 1}}}}":                            "line 2: resources.r.limits.l.soft: \"1\": want true or false",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, burts: 3}}}}":                           "line 2: resources.r.limits.l.burts: is no key",
		"namespace: a\nresources: {r: {limits: {l: 5}}}":                                                 "line 2: resources.r.limits.l: \"5\": want a mapping",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: {}}}}}":                       "line 2: resources.r.limits.l.schedule: a mapping: want a list of entries",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: a, scale: x}, 3]}}}}": "line 2: resources.r.limits.l.schedule[1]: \"3\": want a mapping",
		"namespace: a\nresources: {r: {cascade: maybe}}":                                                 "line 2: resources.r.cascade: \"maybe\": want true or false",
		"[1]": "line 1: the manifest: a list: want a mapping",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', scale: .inf}]}}}}":          "scale: +Inf: must be",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', scale: .nan}]}}}}":          "scale: NaN: must be",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', scale: 1000001}]}}}}":       "at most 1000000",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', capacity: 0}]}}}}":          "schedule[0]: capacity: 0: must be",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, refill_period: 0}}}}":                                      "refill_period",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, refill_amount: 0}}}}":                                      "refill amount",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, reset_after_seconds: 5, refill_amount: 1}}}}":              "refill amount",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, reset_schedule: [{tz: UTC}]}}}}":                           "cron",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, reset_schedule: [{cron: '* * * * *'}]}}}}":                 "reset",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, reset_schedule: [{cron: '0 0 * * *', scale: 2}]}}}}":       "cron and tz only",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *'}]}}}}":                       "sets nothing",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', scale: 0}]}}}}":             "above 0",
		"namespace: a\nresources: {r: {limits: {l: {capacity: 1, schedule: [{cron: '0 0 * * *', tz: Mars/X, scale: 2}]}}}}": "Mars",
	} {
		if m, err := Parse([]byte(text)); err == nil || !strings.Contains(err.Error(), mentions) {
			t.Errorf("%q: got %+v, %v, want an error that mentions %q", text, m, err, mentions)
		}
	}
}

func TestPlan(t *testing.T) {
	m, err := Parse([]byte(everything))
	if err != nil {
		t.Fatal(err)
	}
	gone, never := limiter.ConfigKey{Resource: "gone"}, limiter.ConfigKey{Resource: "deleted-already"}
	stored := map[limiter.ConfigKey]limiter.Config{gone: {Exists: true}}
	for k, c := range m.Levels {
		stored[k] = c
	}
	system := limiter.ConfigKey{}
	kept := stored[system]
	kept.AuditRetentionDays = 30 // nothing that a manifest declares
	stored[system] = kept
	delete(stored, limiter.ConfigKey{Resource: "empty"})
	changed := stored[limiter.ConfigKey{Resource: "gpt-4"}]
	changed.Cascade = limiter.Unset
	stored[limiter.ConfigKey{Resource: "gpt-4"}] = changed
	show := func(changes []Change) (list []string) {
		for _, c := range changes {
			list = append(list, string(c.Action)+" "+c.Key.String())
		}
		return list
	}
	changes, unchanged := Plan(m, []limiter.ConfigKey{never, gone, system}, stored, false)
	if want := []string{"create resource empty", "update resource gpt-4", "delete resource gone"}; !slices.Equal(show(changes), want) || unchanged != 3 {
		t.Errorf("planned %v, %d unchanged, want %v", show(changes), unchanged, want)
	}
	if changes, unchanged := Plan(m, nil, stored, true); len(changes) != 5 || unchanged != 0 {
		t.Errorf("in full: %v, %d unchanged", show(changes), unchanged)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(`{"namespace":"a","entities":{"e":null}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		m, err := Parse(text)
		if err != nil {
			return
		}
		if _, err := m.CloudFormation("s", false); err != nil {
			t.Errorf("as a template: %v", err)
		}
		for key, c := range m.Levels {
			change := limiter.ConfigChange{Limits: c.Limits, Disabled: c.Disabled, Cascade: c.Cascade, OnUnavailable: c.OnUnavailable}
			if err := key.Validate(); err != nil {
				t.Errorf("level %s: %v", key, err)
			}
			if err := change.Validate(key); err != nil {
				t.Errorf("level %s: %v", key, err)
			}
		}
	})
}
