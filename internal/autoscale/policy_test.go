package autoscale

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// standard is the policy of the reference vectors: the defaults of an AWS deployment.
func standard() Policy {
	return Policy{
		UsersPerWorker: 10, MinWorkers: 1, MaxWorkers: 100,
		LeadTime: 20 * time.Second, PendingTimeout: 30 * time.Second, PollInterval: 5 * time.Second,
		Lifetime: 300 * time.Second, ReplaceFraction: 0.8,
	}
}

func with(change func(*Policy)) Policy {
	p := standard()
	change(&p)
	return p
}

func TestDesiredFollowsTheReferenceVectors(t *testing.T) {
	running := func(users int) Load { return Load{Known: true, Active: true, Users: users, Target: Unlimited} }
	idle := func(users int) Load { return Load{Known: true, Users: users, Target: Unlimited} }
	none := Load{}
	const usual = 5 * time.Second
	limits := func(least, most int) Policy {
		return with(func(p *Policy) { p.MinWorkers, p.MaxWorkers = least, most })
	}
	tests := []struct {
		name          string
		policy        Policy
		previous, now Load
		elapsed       time.Duration
		want          int
	}{
		{"no statistics", standard(), none, none, usual, 1},
		{"ready with no users", standard(), idle(0), idle(0), usual, 1},
		{"stopped with 100 users", standard(), idle(100), idle(100), usual, 1},
		{"running without users", standard(), running(0), running(0), usual, 1},
		{"running 1", standard(), running(1), running(1), usual, 1},
		{"running 10", standard(), running(10), running(10), usual, 1},
		{"running 11", standard(), running(11), running(11), usual, 2},
		{"running 120", standard(), running(120), running(120), usual, 12},
		{"0 to 50", standard(), idle(0), running(50), usual, 25},
		{"50 to 100", standard(), running(50), running(100), usual, 30},
		{"100 to 120", standard(), running(100), running(120), usual, 20},
		{"120 to 60, falling", standard(), running(120), running(60), usual, 6},
		{"10 to 50", standard(), running(10), running(50), usual, 21},
		{"10 to 50 in 7.3 s", standard(), running(10), running(50), 7300 * time.Millisecond, 16},
		{"10 to 50 at once", standard(), running(10), running(50), 0, 5},
		{"10 to 50 without lead time", with(func(p *Policy) { p.LeadTime = 0 }), running(10), running(50), usual, 5},
		{"10 to 50, at most 15", limits(1, 15), running(10), running(50), usual, 15},
		{"10 to 50, at least 30", limits(30, 100), running(10), running(50), usual, 30},
		{"100 users, none allowed", limits(0, 0), running(100), running(100), usual, 0},
		{"three users a worker", with(func(p *Policy) { p.UsersPerWorker = 3 }), running(10), running(10), usual, 4},
		{"500 users in the first round", limits(1, Unlimited), none, running(500), usual, 50},
		{"1000 users, unlimited", limits(1, Unlimited), running(1000), running(1000), usual, 100},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := test.policy.Validate(); err != nil {
				t.Fatalf("policy: %v", err)
			}
			test.previous.At = time.Hour
			test.now.At = test.previous.At + test.elapsed
			if got := test.policy.Desired(test.previous, test.now); got != test.want {
				t.Errorf("Desired = %d, want %d", got, test.want)
			}
		})
	}
}

// Defect 1: the prediction of a ramp went far beyond the users that were asked for.
func TestPredictionStopsAtTheTarget(t *testing.T) {
	load := func(at time.Duration, users, target int) Load {
		return Load{At: at, Known: true, Active: true, Users: users, Target: target}
	}
	tests := []struct {
		name                string
		users, then, target int
		want                int
	}{
		{"ramp to 120", 50, 100, 120, 12},
		{"ramp just begun", 0, 50, 120, 12},
		{"far from the target", 0, 50, 10_000, 25},
		{"users above a lowered target", 100, 100, 20, 2},
		{"target of no users", 0, 30, 0, 1},
	}
	for _, test := range tests {
		got := standard().Desired(load(0, test.users, test.target), load(5*time.Second, test.then, test.target))
		if got != test.want {
			t.Errorf("%s: Desired = %d, want %d", test.name, got, test.want)
		}
	}
}

// Defect 5: MAX did not hold without a test, and MIN above MAX was accepted.
func TestTheLargestNumberAlwaysHolds(t *testing.T) {
	tests := []struct {
		least, most int
		now         Load
		want        int
	}{
		{30, 20, Load{Known: true, Active: true, Users: 50, Target: Unlimited}, 20},
		{2, 0, Load{Known: true}, 0},
		{150, 100, Load{Known: true}, 100},
		{150, 100, Load{}, 100},
	}
	for _, test := range tests {
		p := with(func(p *Policy) { p.MinWorkers, p.MaxWorkers = test.least, test.most })
		if got := p.Desired(Load{}, test.now); got != test.want {
			t.Errorf("least %d, largest %d: Desired = %d, want %d", test.least, test.most, got, test.want)
		}
		if err := p.Validate(); err == nil || !strings.Contains(err.Error(), "is above the largest") {
			t.Errorf("least %d, largest %d: Validate = %v, want a refusal", test.least, test.most, err)
		}
	}
	if err := with(func(p *Policy) { p.MinWorkers, p.MaxWorkers = 0, 0 }).Validate(); err != nil {
		t.Errorf("largest 0: %v, want it accepted", err)
	}
}

// Defect 3: there was too little time between replacement and leaving.
func TestReplacementsGetTheLeadTime(t *testing.T) {
	for lifetime, want := range map[time.Duration]time.Duration{
		60 * time.Second:  24 * time.Second,
		120 * time.Second: 78 * time.Second,
		300 * time.Second: 240 * time.Second,
		900 * time.Second: 720 * time.Second,
		0:                 0,
	} {
		p := with(func(p *Policy) { p.Lifetime = lifetime })
		if got := p.ReplaceAge(); got != want {
			t.Errorf("time limit %v: ReplaceAge = %v, want %v", lifetime, got, want)
		}
		if got, want := p.Wasteful(), lifetime == 60*time.Second; got != want {
			t.Errorf("time limit %v: Wasteful = %v, want %v", lifetime, got, want)
		}
	}
}

func TestValidateReportsEverythingAtOnce(t *testing.T) {
	bad := Policy{MinWorkers: -1, MaxWorkers: -2, LeadTime: -1, Lifetime: time.Second}
	err := bad.Validate()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{"users per worker", "least number", "largest number", "lead time", "pending timeout", "poll interval", "age of replacement"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no word of %q in:\n%v", want, err)
		}
	}
	short := with(func(p *Policy) { p.Lifetime = 30 * time.Second })
	if err := short.Validate(); err == nil || !strings.Contains(err.Error(), "too short") {
		t.Errorf("time limit of 30 s: %v, want it refused as too short", err)
	}
}

// Defect 11: ages and rates were differences of wall time, which can be set. Nothing in this package
// can hold one.
func TestNothingHoldsWallTime(t *testing.T) {
	var visit func(typ reflect.Type, path string)
	visit = func(typ reflect.Type, path string) {
		if typ == reflect.TypeFor[time.Time]() {
			t.Errorf("%s is a time.Time", path)
			return
		}
		switch typ.Kind() {
		case reflect.Struct:
			for f := range typ.Fields() {
				visit(f.Type, path+"."+f.Name)
			}
		case reflect.Pointer, reflect.Slice, reflect.Map:
			visit(typ.Elem(), path)
		}
	}
	for _, v := range []any{Pool{}, Status{}, Decision{}} {
		visit(reflect.TypeOf(v), reflect.TypeOf(v).Name())
	}
}

func TestDesiredStaysWithinItsBounds(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := standard()
		p.UsersPerWorker = rapid.IntRange(1, 1000).Draw(t, "users per worker")
		p.MinWorkers = rapid.IntRange(0, 50).Draw(t, "least")
		p.MaxWorkers = rapid.OneOf(rapid.Just(Unlimited), rapid.IntRange(p.MinWorkers, 500)).Draw(t, "largest")
		load := rapid.Custom(func(t *rapid.T) Load {
			return Load{
				At:    time.Duration(rapid.Int64Range(0, 1e13).Draw(t, "at")),
				Known: rapid.Bool().Draw(t, "known"), Active: rapid.Bool().Draw(t, "active"),
				Users: rapid.IntRange(0, 1e9).Draw(t, "users"), Target: rapid.IntRange(Unlimited, 1e9).Draw(t, "target"),
			}
		})
		previous, now := load.Draw(t, "previous"), load.Draw(t, "now")
		got := p.Desired(previous, now)
		if got < p.MinWorkers || (p.MaxWorkers >= 0 && got > p.MaxWorkers) {
			t.Fatalf("Desired = %d, outside of %d..%d", got, p.MinWorkers, p.MaxWorkers)
		}
		if now.Target >= 0 {
			if needed := (now.Target + p.UsersPerWorker - 1) / p.UsersPerWorker; got > max(needed, p.MinWorkers) {
				t.Fatalf("Desired = %d, but the target needs %d", got, needed)
			}
		}
	})
}
