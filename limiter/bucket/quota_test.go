package bucket

import (
	"maps"
	"math"
	"math/big"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

func millis(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func resets(t *testing.T, crons ...string) *schedule.Resets {
	t.Helper()
	var entries []schedule.Entry
	for _, cron := range crons {
		entries = append(entries, schedule.Entry{Cron: cron})
	}
	r, err := schedule.ParseResets(entries)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func scheduled(t *testing.T, entries ...schedule.Entry) *schedule.Schedule {
	t.Helper()
	s, err := schedule.Parse(entries)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestTTLVectorsOfQuotasAndSchedules(t *testing.T) {
	quota := func(crons ...string) Limit {
		return Limit{Params: Params{100, 0, 1}, Resets: resets(t, crons...)}
	}
	for _, tt := range []struct {
		name  string
		limit Limit
		want  int64
	}{
		{"V39b daily", quota("0 0 * * *"), 604800},
		{"V39b monthly", quota("0 0 1 * *"), 18748800},
		{"V39b session of 5 h", Limit{Params: Params{100, 0, 1}, ResetAfter: 5 * 3600}, 126000},
		{"V39b the tightest of two counts", quota("0 0 1 * *", "0 0 * * *"), 604800},
		{"V39c", Limit{Params: Params{60, 60, 60}, Schedule: scheduled(t, schedule.Entry{Cron: "0 0-6 * * *", RefillAmount: 1})}, 25200},
		{"weekly", quota("0 0 * * MON"), 7 * 7 * 86400},
		{"hourly", quota("0 * * * *"), 7 * 3600},
		{"yearly", quota("0 0 1 1 *"), 7 * 366 * 86400},
	} {
		if got, keep := TTLSeconds([]Limit{tt.limit}, 7); got != tt.want || !keep {
			t.Errorf("%s: got %d, %v, want %d", tt.name, got, keep, tt.want)
		}
	}
	// Every minute has no edge, so only a peer can have stored it.
	everyMinute, err := schedule.DecodeResets("1m0;", "")
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := TTLSeconds([]Limit{{Params: Params{1, 0, 1}, Resets: everyMinute}}, 7); got != 420 {
		t.Errorf("V39b every minute: got %d, want 420", got)
	}
}

func TestGrantVectors(t *testing.T) {
	for _, tt := range []struct {
		name         string
		siblings     []Sibling
		shard, share int64
		want         Grant
	}{
		{"V42", []Sibling{{0, 1000000, 1, true}}, 1, 500000, Grant{500000, true, 0, 1}},
		{"V43", []Sibling{{0, 300000, 1, true}}, 1, 500000, Grant{300000, true, 0, 1}},
		{"V44", []Sibling{{0, -5000, 1, true}}, 1, 500000, Grant{0, true, 0, 1}},
		{"V45", []Sibling{{0, 500000, 2, true}}, 1, 500000, Grant{Tokens: 500000}},
		{"V46", []Sibling{{0, 500000, 2, true}, {1, 400000, 2, true}}, 3, 250000, Grant{250000, true, 1, 2}},
		{"V47", []Sibling{{0, 1000000, 1, false}}, 1, 500000, Grant{Tokens: 500000}},
		{"the largest grant count", []Sibling{{0, 9, 1, true}, {1, 8, 2, true}, {3, 7, 2, true}}, 5, 500, Grant{8, true, 1, 2}},
		{"not itself", []Sibling{{1, 9, 1, true}}, 1, 500, Grant{Tokens: 500}},
	} {
		if got := PlanGrant(tt.siblings, tt.shard, tt.share); got != tt.want {
			t.Errorf("%s: got %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestQuotaVectors(t *testing.T) {
	daily := resets(t, "0 0 * * *")
	quota := State{Tokens: 0, Capacity: 1000000, Period: 1000, Shards: 4, Grants: 2, Resets: daily}
	if got, target := quota.Ceiling(0), quota.ResetTarget(0); got != 500000 || target != 250000 {
		t.Errorf("V48: ceiling %d, reset target %d, want 500000, 250000", got, target)
	}
	quota.TopUp = 25000
	if got := quota.Ceiling(0); got != 525000 {
		t.Errorf("a top-up: ceiling %d, want 525000", got)
	}

	session := State{Tokens: 3000, Capacity: 1000000, Period: 1000, Shards: 4, Consumed: 90000, HasConsumed: true,
		Window: Window{Length: 3600, HasStart: true, Start: 5000, HasApplied: true, Applied: 1000, HasMark: true, Mark: 50000}}
	if !session.RollPending() || session.RollTarget(6000) != 210000 {
		t.Errorf("V49: pending %v, target %d, want true, 210000", session.RollPending(), session.RollTarget(6000))
	}

	running := State{Tokens: 3000, Capacity: 10000, Period: 1000, Shards: 1, Window: Window{Length: 3600, HasStart: true, HasApplied: true}}
	if _, ok, wait := running.TryConsume(5, 1800000); ok || wait != 1800000 {
		t.Errorf("V50: got %v, wait %d, want a wait of 1800000", ok, wait)
	}
	if _, ok, wait := running.TryConsume(5, 3600000); ok || wait != 0 {
		t.Errorf("a window that has ended: got %v, wait %d, want none", ok, wait)
	}
	if _, ok, wait := running.TryConsume(11, 3600000); ok || wait != 3600000 {
		t.Errorf("more than a window gives: got %v, wait %d, want a whole window", ok, wait)
	}
}

func TestSplitVectors(t *testing.T) {
	for _, tt := range []struct {
		name  string
		split func(int64, map[int64]int64) map[int64]int64
		total int64
		by    map[int64]int64
		want  map[int64]int64
	}{
		{"V51", SplitByWeight, 10, map[int64]int64{0: 1, 1: 1, 2: 1}, map[int64]int64{0: 4, 1: 3, 2: 3}},
		{"V51", SplitByWeight, 7, map[int64]int64{0: 2, 1: 1}, map[int64]int64{0: 5, 1: 2}},
		{"V52", SplitByRoom, 10, map[int64]int64{0: 3, 1: 4}, map[int64]int64{0: 3, 1: 4}},
		{"V52", SplitByRoom, 5, map[int64]int64{0: 3, 1: 4}, map[int64]int64{0: 3, 1: 2}},
		{"V52", SplitByRoom, 5, map[int64]int64{0: 0, 1: 0}, map[int64]int64{0: 0, 1: 0}},
	} {
		if got := tt.split(tt.total, tt.by); !maps.Equal(got, tt.want) {
			t.Errorf("%s: %d by %v: got %v, want %v", tt.name, tt.total, tt.by, got, tt.want)
		}
	}
}

func TestWaitVectorsOfSchedules(t *testing.T) {
	now := millis(t, "2026-01-15 10:30:00")
	perMinute := State{Capacity: 100000, Refill: 100000, Period: 60000, Shards: 1}
	halved := perMinute
	halved.Shards = 2
	quota := State{Capacity: 100000, Period: 1000, Shards: 1, Resets: resets(t, "0 0 * * *")}
	office := perMinute
	office.Schedule = scheduled(t, schedule.Entry{Cron: "0-59 9-17 * * MON-FRI", Scale: 0.5})
	for _, tt := range []struct {
		name         string
		state        State
		deficit, now int64
		want         int64
	}{
		{"V68", perMinute, 50000, now, 30001},
		{"V68 two shards", halved, 50000, now, 60001},
		{"V69", quota, 1000, now, 48600001},
		{"V70", office, 60000, millis(t, "2026-01-15 08:59:30"), 42001},
		{"no deficit", office, 0, now, 0},
	} {
		if got := tt.state.Wait(tt.deficit, tt.now); got != tt.want {
			t.Errorf("%s: got %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAResetComesOnceAndCountsFromWhenTheBalanceWasTrue(t *testing.T) {
	midnight := millis(t, "2026-01-15 00:00:00")
	s := State{Tokens: -5000, RF: midnight - 1, Capacity: 100000, Period: 1000, Shards: 2, Grants: 1, TopUp: 7000, Resets: resets(t, "0 0 * * *")}
	after, passed := s.Materialise(midnight)
	if !passed.Reset || after.Tokens != 50000 || after.Grants != 2 || after.TopUp != 0 {
		t.Errorf("at the edge: got %+v %+v", after, passed)
	}
	if got := s.Readable(midnight); got != 50 {
		t.Errorf("a reader sees %d tokens, want 50", got)
	}
	after.Tokens, after.RF = 1000, midnight // what a pass stores
	if again, passed := after.Materialise(midnight + 3600_000); passed.Reset || again.Tokens != 1000 {
		t.Errorf("after the edge: got %+v %+v", again, passed)
	}
	if s.Current(midnight) || !after.Current(midnight+3600_000) {
		t.Error("an allowance is current until the next edge")
	}
}

func TestAWindowOpensWithTheFirstUseAfterTheLast(t *testing.T) {
	s := State{Tokens: 10, RF: 0, Capacity: 100000, Period: 1000, Shards: 1, Window: Window{Length: 60}}
	opened, passed := s.Materialise(5000)
	if !passed.Opened || !passed.Rolled || opened.Tokens != 100000 || opened.Window.Start != 5000 || opened.Window.Applied != 5000 || opened.Grants != 1 {
		t.Errorf("first use: got %+v %+v", opened, passed)
	}
	opened.Tokens = 1000
	if running, passed := opened.Materialise(64_999); passed.Opened || passed.Rolled || running.Tokens != 1000 {
		t.Errorf("a millisecond before the end: got %+v %+v", running, passed)
	}
	if at, ok := opened.Boundary(5000); !ok || at != 65_000 {
		t.Errorf("boundary: got %d %v, want the end of the window", at, ok)
	}
	if next, passed := opened.Materialise(65_000); !passed.Opened || next.Window.Start != 65_000 || next.Tokens != 100000 {
		t.Errorf("at the end: got %+v %+v", next, passed)
	}
}

func TestSoftAndBypassedNeverRefuse(t *testing.T) {
	for _, s := range []State{{Soft: true}, {Bypass: true}} {
		s.Capacity, s.Refill, s.Period, s.Shards = 1000, 1000, 1000, 1
		if after, ok, wait := s.TryConsume(5, 0); !ok || wait != 0 || after.Tokens != -5000 {
			t.Errorf("got %v, wait %d, %d tokens, want a debt of 5", ok, wait, after.Tokens)
		}
	}
}

func TestShardsOfAQuotaNeverHoldMoreThanItsCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type shard struct {
			tokens, grants int64
			period         int
		}
		capacity := rapid.Int64Range(1, 100_000).Draw(t, "capacity")
		count, period := int64(1), 0
		shards := map[int64]*shard{0: {capacity, 1, 0}}
		admitted := int64(0)
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 9).Draw(t, "step") {
			case 0:
				count = min(32, count*2)
			case 1:
				period, admitted = period+1, 0
			default:
				i := rapid.Int64Range(0, count-1).Draw(t, "shard")
				s := shards[i]
				switch {
				case s == nil:
					var siblings []Sibling
					for j, other := range shards {
						siblings = append(siblings, Sibling{j, other.tokens, other.grants, other.period == period})
					}
					grant := PlanGrant(siblings, i, capacity/count)
					if grant.Moved {
						shards[grant.Donor].tokens -= grant.Tokens
					}
					s = &shard{grant.Tokens, count, period}
					shards[i] = s
				case s.period != period:
					*s = shard{capacity / count, count, period}
				}
				if n := rapid.Int64Range(0, capacity).Draw(t, "n"); n <= s.tokens {
					s.tokens -= n
					admitted += n
				}
			}
			held := int64(0)
			for _, s := range shards {
				if s.period == period {
					held += s.tokens
				}
			}
			if admitted+held > capacity {
				t.Fatalf("%d admitted and %d held of %d", admitted, held, capacity)
			}
		}
	})
}

func TestProductsHaveRoom(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a, b := rapid.Int64Range(0, math.MaxInt64).Draw(t, "a"), rapid.Int64Range(0, math.MaxInt64).Draw(t, "b")
		c := rapid.Int64Range(1, math.MaxInt64).Draw(t, "c")
		want := new(big.Int).Mul(big.NewInt(a), big.NewInt(b))
		want.Div(want, big.NewInt(c))
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := mulDiv(a, b, c); got != want.Int64() {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}

// The definition of the wait, in unbounded integers.
func waitBig(s *State, deficit, now int64) *big.Int {
	base := schedule.Params{Capacity: s.Capacity, Refill: s.Refill, Period: s.Period}
	rate := func(refill int64) *big.Int {
		if refill/s.Shards != 0 {
			refill /= s.Shards
		}
		return big.NewInt(refill)
	}
	after := func(cursor, left *big.Int, r *big.Int, period int64) *big.Int {
		need := new(big.Int).Mul(left, big.NewInt(period))
		return need.Add(need.Div(need, r), cursor)
	}
	left, cursor := big.NewInt(deficit), big.NewInt(now)
	for range 8 {
		at := cursor.Int64()
		p := s.Schedule.At(base, at)
		change, _ := s.Schedule.Next(at)
		done := after(cursor, left, rate(p.Refill), p.Period)
		if done.Cmp(big.NewInt(change)) <= 0 {
			return done.Add(done, big.NewInt(1-now))
		}
		gained := new(big.Int).Mul(big.NewInt(change-at), rate(p.Refill))
		left.Sub(left, gained.Div(gained, big.NewInt(p.Period)))
		cursor.SetInt64(change)
	}
	wait := after(new(big.Int), big.NewInt(deficit), rate(s.Refill), s.Period)
	return wait.Add(wait, big.NewInt(1))
}

func TestWaitsWalkThroughTheSchedule(t *testing.T) {
	office := scheduled(t, schedule.Entry{Cron: "* 9-17 * * MON-FRI", TZ: "Europe/Berlin", Scale: 0.25}, schedule.Entry{Cron: "* 0-6 * * *", TZ: "Europe/Berlin", RefillAmount: 3, RefillPeriod: 7})
	rapid.Check(t, func(t *rapid.T) {
		s := State{Capacity: 1000, Schedule: office, Shards: rapid.Int64Range(1, 32).Draw(t, "shards"),
			Refill: rapid.Int64Range(1, 1e15).Draw(t, "refill"), Period: rapid.Int64Range(1, 1e12).Draw(t, "period")}
		deficit := rapid.Int64Range(1, rapid.SampledFrom([]int64{1e3, 1e9, 1e18}).Draw(t, "size")).Draw(t, "deficit")
		now := rapid.Int64Range(1_767_225_600_000, 1_893_456_000_000).Draw(t, "now")
		want := waitBig(&s, deficit, now)
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := s.Wait(deficit, now); got != want.Int64() {
			t.Fatalf("got %d, want %d", got, want)
		}
	})
}
