package bucket

import (
	"math/big"
	"testing"

	"pgregory.net/rapid"
)

func TestRefillVectors(t *testing.T) {
	tests := []struct {
		name                                  string
		tk, rf, now, cp, ra, rp, wantTk, want int64
	}{
		{"V1", 50000, 1000, 1000, 100000, 100000, 60000, 50000, 1000},
		{"V2", 50000, 2000, 1000, 100000, 100000, 60000, 50000, 2000},
		{"V3", 0, 0, 30000, 100000, 100000, 60000, 50000, 30000},
		{"V4", 0, 0, 1, 100000, 100000, 60000, 1, 0},
		{"V5", 0, 0, 1000, 100000, 100000, 60000, 1666, 999},
		{"V6", 0, 0, 7, 100000, 100000, 60000, 11, 6},
		{"V7", 0, 0, 59, 1000, 1000, 60000, 0, 0},
		{"V8", 0, 0, 119, 1000, 1000, 60000, 1, 60},
		{"V9", 99000, 0, 60000, 100000, 100000, 60000, 100000, 60000},
		{"V10", 150000, 0, 600, 100000, 100000, 60000, 100000, 600},
		{"V11", 150000, 0, 0, 100000, 100000, 60000, 100000, 0},
		{"V12", -50000, 0, 30000, 100000, 100000, 60000, 0, 30000},
		{"V13", -1500, 0, 1, 100000, 100000, 60000, -1499, 0},
		{"V14", 0, 0, 86399, 1000, 1000, 86400000, 0, 0},
		{"V14b", 0, 0, 100000, 1000, 1000, 86400000, 1, 86400},
		{"V14c", 0, 1700000000000, 1700000000333, 5000, 3000, 7000, 142, 1700000000331},
		{"V14d", 0, 1700000000000, 1700000012345, 10000000, 10000000, 60000, 2057500, 1700000012345},
		{"V14e", 0, 0, 1000000000000, 9000000000000, 9000000000000, 1000, 9000000000000, 1000000000000},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tk, rf := Refill(tt.tk, tt.rf, tt.now, tt.cp, tt.ra, tt.rp)
			if tk != tt.wantTk || rf != tt.want {
				t.Errorf("got %d at %d, want %d at %d", tk, rf, tt.wantTk, tt.want)
			}
		})
	}
}

func TestTryConsumeVectors(t *testing.T) {
	perMinute := State{Capacity: 100000, Refill: 100000, Period: 60000, Shards: 1}
	with := func(tokens int64, change func(*State)) State {
		s := perMinute
		s.Tokens = tokens
		if change != nil {
			change(&s)
		}
		return s
	}
	tests := []struct {
		name                    string
		state                   State
		n, now                  int64
		ok                      bool
		tokens, rf, avail, wait int64
	}{
		{"V15", with(100000, nil), 150, 0, false, 100000, 0, 100, 30001},
		{"V16", with(-1500, nil), 0, 0, false, -1500, 0, -2, 901},
		{"V17", with(-1500, nil), 0, 899, false, -2, 898, -1, 2},
		{"V18", with(-1500, nil), 0, 900, true, 0, 900, 0, 0},
		{"V19", with(-1500, nil), 1, 0, false, -1500, 0, -2, 1501},
		{"V20", with(0, nil), 1, 599, false, 998, 598, 0, 2},
		{"V21", with(0, nil), 1, 600, true, 0, 600, 1, 0},
		{"V22", with(1999, nil), 2, 0, false, 1999, 0, 1, 1},
		{"V22b", with(1999, nil), 1, 0, true, 999, 0, 1, 0},
		{"V23", State{Capacity: 1000, Refill: 1000, Period: 86400000, Shards: 1}, 1, 0, false, 0, 0, 0, 86400001},
		{"V32b", with(0, func(s *State) { s.Shards = 4 }), 1, 1000, false, 416, 998, 0, 1402},
		{"V32c", with(0, func(s *State) { s.Shards, s.Capacity, s.Refill = 4, 3000, 3 }), 1, 1000, false, 0, 0, 0, 20000001},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			after, ok, wait := tt.state.TryConsume(tt.n, tt.now)
			if ok != tt.ok || after.Tokens != tt.tokens || after.RF != tt.rf || wait != tt.wait {
				t.Errorf("got %v, %d at %d, wait %d, want %v, %d at %d, wait %d", ok, after.Tokens, after.RF, wait, tt.ok, tt.tokens, tt.rf, tt.wait)
			}
			if got := tt.state.Available(tt.now); got != tt.avail {
				t.Errorf("available: got %d, want %d", got, tt.avail)
			}
		})
	}
}

func TestWaitAndForceVectors(t *testing.T) {
	s := State{Capacity: 100000, Refill: 100000, Period: 60000, Shards: 1}
	debt := s
	debt.Tokens = -50000
	for _, tt := range []struct {
		name      string
		got, want int64
	}{
		{"V24 more than fits", s.TimeUntil(1000, 0), 600001},
		{"V25 debt", debt.TimeUntil(1, 0), 30601},
		{"V26 at 3 s", s.TimeUntil(10, 3000), 3001},
		{"V26 at 6 s", s.TimeUntil(10, 6000), 0},
		{"V27", RetryAfter(1, 1000000000, 1000), 1},
		{"V28", RetryAfter(1000, 3000, 7000), 2334},
		{"no deficit", RetryAfter(0, 1, 1), 0},
		{"V29 -1", FloorTokens(-1), -1},
		{"V29 -1000", FloorTokens(-1000), -1},
		{"V29 -1001", FloorTokens(-1001), -2},
		{"V29 999", FloorTokens(999), 0},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, tt.got, tt.want)
		}
	}
	s.Tokens = 100000
	if got := s.ForceConsume(150, 0); got.Tokens != -50000 {
		t.Errorf("V30: got %d, want -50000", got.Tokens)
	}
	s.Tokens = 99500
	if got := s.ForceConsume(-50, 600); got.Tokens != 150000 || got.RF != 600 {
		t.Errorf("V31: got %d at %d, want 150000 at 600", got.Tokens, got.RF)
	}
}

func TestParametersReadBackFromABucket(t *testing.T) {
	for _, tt := range []struct {
		name      string
		got, want Params
	}{
		{"V32", (&State{Capacity: 1500, Refill: 2999, Period: 1999}).Rebuilt(), Params{1, 2, 1}},
		{"V32 below one", (&State{Capacity: 500, Refill: 2, Period: 3}).Rebuilt(), Params{1, 1, 1}},
		{"100 a minute on 4 shards", (&State{Capacity: 100000, Refill: 100000, Period: 60000, Shards: 4}).Share(0), Params{25, 25, 60}},
		{"3 a minute on 8 shards", (&State{Capacity: 3000, Refill: 3000, Period: 60000, Shards: 8}).Share(0), Params{1, 1, 60}},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %v, want %v", tt.name, tt.got, tt.want)
		}
	}
}

func TestTTLVectors(t *testing.T) {
	for _, tt := range []struct {
		name       string
		limits     []Limit
		multiplier float64
		want       int64
		keep       bool
	}{
		{"V33", []Limit{{Params: Params{100, 100, 60}}}, 7, 420, true},
		{"V34", []Limit{{Params: Params{1000, 10, 60}}}, 7, 42000, true},
		{"V35", []Limit{{Params: Params{100, 100, 60}}, {Params: Params{10, 10, 86400}}}, 7, 604800, true},
		{"V36", []Limit{{Params: Params{10, 3, 1}}}, 7, 23, true},
		{"V37", []Limit{{Params: Params{1000, 7, 60}}}, 7, 60000, true},
		{"V38", []Limit{{Params: Params{100, 3, 7}}}, 7, 1633, true},
		{"V39 clamped to one second", []Limit{{Params: Params{1, 100, 1}}}, 7, 1, true},
		{"V40 no multiplier", []Limit{{Params: Params{1, 1, 1}}}, 0, 0, false},
		{"V40 no limits", nil, 7, 0, false},
	} {
		got, keep := TTLSeconds(tt.limits, tt.multiplier)
		if got != tt.want || keep != tt.keep {
			t.Errorf("%s: got %d, %v, want %d, %v", tt.name, got, keep, tt.want, tt.keep)
		}
	}
}

// The definition, in unbounded integers.
func refillBig(tk, rf, now, c, r, p int64) (int64, int64) {
	elapsed := big.NewInt(now - rf)
	product := new(big.Int).Mul(elapsed, big.NewInt(r))
	add := new(big.Int).Div(product, big.NewInt(p))
	if elapsed.Sign() <= 0 || add.Sign() == 0 {
		return min(c, tk), rf
	}
	used := new(big.Int).Mul(add, big.NewInt(p))
	used.Div(used, big.NewInt(r))
	sum := new(big.Int).Add(big.NewInt(tk), add)
	if sum.Cmp(big.NewInt(c)) > 0 {
		sum = big.NewInt(c)
	}
	return sum.Int64(), rf + used.Int64()
}

func TestRefillAgreesWithUnboundedIntegers(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tk := rapid.Int64Range(-1e18, 1e18).Draw(t, "tk")
		rf := rapid.Int64Range(0, 2e12).Draw(t, "rf")
		now := rapid.Int64Range(0, 4e12).Draw(t, "now")
		c := rapid.Int64Range(1, 1e18).Draw(t, "ceiling")
		r := rapid.Int64Range(1, 1e18).Draw(t, "rate")
		p := rapid.Int64Range(1, 1e12).Draw(t, "period")
		gotTk, gotRF := Refill(tk, rf, now, c, r, p)
		wantTk, wantRF := refillBig(tk, rf, now, c, r, p)
		if gotTk != wantTk || gotRF != wantRF {
			t.Fatalf("got %d at %d, want %d at %d", gotTk, gotRF, wantTk, wantRF)
		}
		if gotTk > c {
			t.Fatalf("%d is above the ceiling %d", gotTk, c)
		}
	})
}

func TestConsumptionNeverExceedsCapacityAndRefill(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{
			Capacity: 1000 * rapid.Int64Range(1, 1000).Draw(t, "capacity"),
			Refill:   1000 * rapid.Int64Range(1, 1000).Draw(t, "refill"),
			Period:   1000 * rapid.Int64Range(1, 100).Draw(t, "period"),
			Shards:   rapid.Int64Range(1, 32).Draw(t, "shards"),
		}
		s.Tokens = s.Ceiling(0)
		now, admitted := int64(0), int64(0)
		for range rapid.IntRange(1, 50).Draw(t, "steps") {
			now += rapid.Int64Range(0, 5000).Draw(t, "wait")
			n := rapid.Int64Range(0, 50).Draw(t, "n")
			after, ok, _ := s.TryConsume(n, now)
			if ok {
				admitted += n * 1000
				// What is stored is the time of the commit.
				after.RF = now
				s = after
			}
		}
		if bound := s.Ceiling(0) + now*(s.Refill/s.Shards)/s.Period; admitted > bound {
			t.Fatalf("admitted %d, at most %d were there", admitted, bound)
		}
	})
}

func TestWaitingTheWaitSuffices(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := State{Capacity: 1e9, Shards: 1,
			Tokens: rapid.Int64Range(-1e6, 1e6).Draw(t, "tokens"),
			Refill: rapid.Int64Range(1, 1e7).Draw(t, "refill"),
			Period: rapid.Int64Range(1, 1e8).Draw(t, "period"),
		}
		n := rapid.Int64Range(0, 1e5).Draw(t, "n")
		if wait := s.TimeUntil(n, 0); s.TimeUntil(n, wait) != 0 {
			t.Fatalf("still %d ms to wait after %d ms", s.TimeUntil(n, wait), wait)
		}
	})
}
