//go:build interop

package limiter_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// turn sets the clock while a process is in the middle of an acquire.
func turn(t *testing.T, e *peer.Env, s process, milli int64) {
	e.Set(milli)
	if p, python := s.(*pyCalls); python { // a request brings the time
		if err := p.p.Try("get_cache_stats", nil, nil); err != nil {
			t.Error(err)
		}
	}
}

const (
	hour     = int64(time.Hour / time.Millisecond)
	midnight = peer.Begin + 16*hour
)

func Test48CalendarQuotas(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, first, second process) {
		day, rpm := daily(t, "day", 100), limiter.PerMinute("rpm", 1000)
		ok(t, first.limits("u", "api", day, rpm))
		take := func(s process, n int64) outcome {
			t.Helper()
			return admitted(t, s, ask("u", "api", limiter.Amounts{"day": n, "rpm": 1}))
		}
		open := func(s process, n int64) held {
			t.Helper()
			return admitted(t, s, demand{entity: "u", resource: "api", consume: limiter.Amounts{"day": n, "rpm": 1}, hold: true}).lease
		}
		holds := func(what string, wanted map[string]int64) {
			t.Helper()
			if before := t.Failed(); !before {
				defer func() {
					if t.Failed() {
						t.Log(what)
					}
				}()
			}
			wantAttributes(t, e, "u", "api", 0, wanted)
		}
		take(first, 60)
		holds("created", map[string]int64{"b_day_tk": 40_000, "b_day_tc": 60_000, "b_day_gc": 1, "b_day_tu": absent, "b_day_rn": absent, "vu": midnight})
		take(second, 30)
		ended(t, first, ask("u", "api", limiter.Amounts{"day": 11}), "exceeded")

		// Two edges while nobody came are one.
		e.Set(midnight + 30*hour)
		take(second, 5)
		holds("after the edges", map[string]int64{"b_day_tk": 95_000, "b_day_tc": 95_000, "b_day_gc": 1, "rf": e.Now(), "vu": midnight + 48*hour})
		take(first, 5)
		holds("in the new period", map[string]int64{"b_day_tk": 90_000})

		// An edge between the read and the write of a slow pass: the write is of the new period.
		edge := midnight + 48*hour
		e.Set(edge - 50)
		e.Change(t, e.BucketPK("u", "api", 0), peer.BucketSK, "SET vu = :zero", peer.Item{":zero": peer.Number(0)})
		proxyOf(e, first).Once(func(r peer.Request) bool { return r.Operation == "BatchGetItem" && r.Has("BUCKET#u#api#0") }, func() { turn(t, e, first, edge+10) })
		take(first, 7)
		proxyOf(e, first).Before(nil)
		vu := edge + 24*hour
		if first.name() == "Python" {
			vu = edge // by the time of its read, so that one slow pass more follows
		}
		holds("an edge between read and write", map[string]int64{"b_day_tk": 93_000, "b_day_gc": 1, "rf": edge + 10, "vu": vu})
		take(second, 3)
		holds("and after it", map[string]int64{"b_day_tk": 90_000})

		// A refund across an edge is void, a debit is not, and what drips is given back all the same.
		for _, s := range []process{first, second} {
			e.Set(edge + 24*hour - 1000)
			take(s, 0)
			lease, rolled, more := open(s, 20), open(s, 20), open(s, 20)
			ok(t, lease.step("release", "", limiter.Amounts{"day": 15}))
			ok(t, more.step("adjust", "", limiter.Amounts{"day": 4}))
			e.Set(edge + 24*hour)
			other := first
			if s == first {
				other = second
			}
			take(other, 10)
			before := e.Bucket(t, "u", "api", 0)
			ok(t, lease.end(false))
			ok(t, rolled.end(true))
			ok(t, more.end(false))
			holds("refunds across an edge of "+s.name(), map[string]int64{"b_day_tk": 86_000, "b_day_tc": before.Number(t, "b_day_tc") + 4000, "b_rpm_tc": before.Number(t, "b_rpm_tc") - 1000})
			edge += 24 * hour
		}

		// A top-up raises the ceiling until the edge, an operator's reset counts and voids refunds.
		e.Set(edge + 1000)
		take(first, 50)
		_, err := second.topUp("u", "api", "", limiter.Amounts{"day": 60})
		ok(t, err)
		tk := attribute(t, e, "u", "api", 0, "b_day_tk")
		holds("topped up", map[string]int64{"b_day_tu": 60_000})
		lease := open(first, 10)
		ok(t, lease.end(true))
		holds("a refund above the capacity", map[string]int64{"b_day_tk": tk, "b_day_tu": 60_000})
		e.Pass(1000)
		take(second, 1)
		take(first, 1)
		holds("kept by slow passes", map[string]int64{"b_day_tk": tk - 2000, "b_day_tu": 60_000})
		lease = open(first, 10)
		_, err = second.reset("u", "api", "", "day")
		ok(t, err)
		holds("reset", map[string]int64{"b_day_tk": 100_000, "b_day_tu": absent, "b_day_rn": 1, "b_day_gc": 1})
		ok(t, lease.end(true))
		holds("a refund across a reset", map[string]int64{"b_day_tk": 100_000, "b_day_rn": 1})
		_, err = first.topUp("u", "api", "", limiter.Amounts{"day": 5})
		ok(t, err)
		e.Set(edge + 24*hour)
		take(second, 1)
		holds("the next day", map[string]int64{"b_day_tk": 99_000, "b_day_tu": absent, "b_day_rn": 1})
	})
}

func Test49SessionQuotas(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g := func(shard int) process {
			return goProcess(t, e, limiter.Options{RejectionCacheTTL: -1, Rand: func(n int) int { return shard % n }})
		}
		p := func(shard int) process { return pyProcess(t, e, peer.Options{Draw: shard}) }
		for i, order := range [][2]func(int) process{{g, p}, {p, g}} {
			first, second := order[0](0), order[1](0)
			resource := fmt.Sprint("r", i)
			ok(t, first.defaults(resource, limiter.SessionQuota("ses", 20, time.Hour)))
			take := func(s process, n int64, kind string) outcome {
				t.Helper()
				return ended(t, s, ask("u", resource, limiter.Amounts{"ses": n}), kind)
			}
			holds := func(shard int, wanted map[string]int64) {
				t.Helper()
				wantAttributes(t, e, "u", resource, shard, wanted)
			}
			e.Pass(1234)
			opened := e.Now()
			take(first, 12, "admitted")
			holds(0, map[string]int64{"b_ses_ws": opened, "b_ses_wa": opened, "b_ses_rsa": 3600, "b_ses_tk": 8000, "b_ses_gc": 1, "vu": opened + hour})
			e.Pass(60_000)
			take(second, 5, "admitted")
			for _, s := range []process{first, second} {
				o := take(s, 4, "exceeded")
				if l := o.body["limits"].([]any)[0].(map[string]any); l["resets_at_ms"] != float64(opened+hour) || o.wait() != float64(hour-60_000) {
					t.Errorf("%s says that the window ends at %v, a wait of %v, want %d", s.name(), l["resets_at_ms"], o.wait(), opened+hour)
				}
			}
			// Over: the first use opens the next, by whoever it comes.
			e.Set(opened + hour + 500)
			again := e.Now()
			take(second, 3, "admitted")
			holds(0, map[string]int64{"b_ses_ws": again, "b_ses_wa": again, "b_ses_tk": 17_000, "vu": again + hour, "rf": again})
			take(first, 3, "admitted")
			holds(0, map[string]int64{"b_ses_tk": 14_000, "b_ses_tc": 23_000})

			// A second shard joins the window, and gets what the first has of its part.
			e.Change(t, e.BucketPK("u", resource, 0), peer.BucketSK, "SET shard_count = :n", peer.Item{":n": peer.Number(2)})
			e.Pass(1000)
			other := order[1](1)
			take(other, 0, "admitted") // the first shard, on which the count is learned
			take(other, 2, "admitted")
			holds(1, map[string]int64{"b_ses_ws": again, "b_ses_wa": again, "b_ses_gc": 2, "shard_count": 2, "vu": again + hour})
			sum := attribute(t, e, "u", resource, 0, "b_ses_tk") + attribute(t, e, "u", resource, 1, "b_ses_tk")
			if sum != 12_000 {
				t.Errorf("the shards hold %d, want 12000", sum)
			}
			// The window that one shard opens is known on the other, which rolls with its next use.
			e.Set(again + hour)
			take(other, 1, "admitted")
			third := e.Now()
			holds(1, map[string]int64{"b_ses_ws": third, "b_ses_wa": third, "b_ses_tk": 9000})
			holds(0, map[string]int64{"b_ses_ws": third, "b_ses_wa": again, "b_ses_wtc": attribute(t, e, "u", resource, 0, "b_ses_tc"), "vu": 0})
			e.Pass(1000)
			take(first, 2, "admitted")
			holds(0, map[string]int64{"b_ses_ws": third, "b_ses_wa": third, "b_ses_tk": 8000, "b_ses_gc": 2, "vu": third + hour})
			e.Pass(1000)
			for name, s := range map[string]process{"go": g(1), "py": p(0)} {
				a, err := s.availability("u", resource, limiter.Amounts{"ses": 19})
				ok(t, err)
				if want := (readable{17, true, float64(third+hour-e.Now()) / 1000}); a["ses"] != want {
					t.Errorf("%s: available %+v, want %+v", name, a["ses"], want)
				}
			}
			// A shard that took something while the roll was pending is charged for it.
			e.Set(third + hour)
			take(other, 1, "admitted")
			fourth := e.Now()
			e.Change(t, e.BucketPK("u", resource, 0), peer.BucketSK, "ADD b_ses_tk :less, b_ses_tc :more", peer.Item{":less": peer.Number(-3000), ":more": peer.Number(3000)})
			take(first, 1, "admitted")
			holds(0, map[string]int64{"b_ses_ws": fourth, "b_ses_wa": fourth, "b_ses_tk": 10_000 - 3000 - 1000})

			// What is waived opens no window.
			_, err := first.flag("bypass", "w", "")
			ok(t, err)
			if o := ended(t, second, ask("w", resource, limiter.Amounts{"ses": 50}), "admitted"); !o.bypassed {
				t.Error("not waived")
			}
			wantAttributes(t, e, "w", resource, 0, map[string]int64{"b_ses_ws": absent, "b_ses_wa": absent, "b_ses_tk": 20_000, "b_ses_tc": 50_000, "vu": 0})
			e.Pass(5000)
			_, err = second.flag("clear_disabled", "w", "")
			ok(t, err)
			ended(t, first, ask("w", resource, limiter.Amounts{"ses": 1}), "admitted")
			wantAttributes(t, e, "w", resource, 0, map[string]int64{"b_ses_ws": e.Now(), "b_ses_wa": e.Now(), "b_ses_tk": 19_000, "vu": e.Now() + hour})
		}
	})
}

// held is what the shards of a quota hold, in tokens, and how many they are.
func allowance(t *testing.T, e *peer.Env, entity, resource, limit string) (tokens int64, shards int, most int64) {
	t.Helper()
	for _, item := range e.Items(t, e.NS+"/BUCKET#"+entity+"#"+resource+"#") {
		if item.Text("SK") != peer.BucketSK {
			continue
		}
		tokens += item.Number(t, "b_"+limit+"_tk")
		shards++
		most = max(most, item.Number(t, "shard_count"))
	}
	return tokens / 1000, shards, most
}

func Test50AShardedQuotaIsConserved(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		rng := rand.New(rand.NewPCG(50, 1))
		draw := 0
		sides := []process{goProcess(t, e, limiter.Options{RejectionCacheTTL: -1, Rand: func(n int) int { return draw % n }})}
		ok(t, sides[0].limits("u", "api", daily(t, "day", 100), limiter.SessionQuota("ses", 100, time.Hour)))
		for _, place := range []int{0, 3, 13, 30} {
			sides = append(sides, pyProcess(t, e, peer.Options{Draw: place}))
		}
		for i, limit := range []string{"day", "ses", "day"} { // with doublings in the first period
			e.Set(peer.Begin + int64(i)*26*hour)
			admissions, rejections := int64(0), 0
			take := func(s process) {
				t.Helper()
				draw = rng.IntN(32)
				switch o := s.acquire(ask("u", "api", limiter.Amounts{limit: 1})); o.kind {
				case "admitted":
					admissions++
				case "exceeded":
					rejections++
				default:
					t.Fatalf("%s: %v", s.name(), o)
				}
			}
			conserved := func(when string) {
				t.Helper()
				// Shards that nobody came to in this period still show what they had in the last.
				current := int64(0)
				for _, item := range e.Items(t, e.NS+"/BUCKET#u#api#") {
					if item.Number(t, "rf") >= peer.Begin+int64(i)*26*hour {
						current += item.Number(t, "b_"+limit+"_tk")
					}
				}
				if admissions+current/1000 > 100 {
					t.Fatalf("%s: %d admitted and %d held of 100", when, admissions, current/1000)
				}
			}
			take(sides[0])
			for {
				_, shards, most := allowance(t, e, "u", "api", limit)
				conserved(fmt.Sprint(shards, " of ", most, " shards"))
				if most == 32 && rejections > 25 {
					break
				}
				for range 6 {
					take(sides[rng.IntN(len(sides))])
				}
				if most == 32 {
					continue
				}
				// Whoever comes to shard 0 next finds its writes used up in this very millisecond, and doubles.
				e.Pass(1)
				draw = 0
				s := sides[rng.IntN(2)]
				admitted(t, s, ask("u", "api", limiter.Amounts{limit: 0})) // what waits for a slow pass there is done
				e.Change(t, e.BucketPK("u", "api", 0), peer.BucketSK, "SET b_wcu_tk = :zero, rf = :rf", peer.Item{":zero": peer.Number(0), ":rf": peer.Number(e.Now())})
				admitted(t, s, ask("u", "api", limiter.Amounts{limit: 0}))
				if _, _, after := allowance(t, e, "u", "api", limit); after != 2*most {
					t.Fatalf("%s did not double %d, it is %d", s.name(), most, after)
				}
				e.Change(t, e.BucketPK("u", "api", 0), peer.BucketSK, "SET b_wcu_tk = :full", peer.Item{":full": peer.Number(1_000_000)})
			}
			if _, shards, most := allowance(t, e, "u", "api", limit); most != 32 || shards < 16 {
				t.Errorf("period %d: %d shards of %d", i, shards, most)
			}
			if admissions < 25 {
				t.Errorf("period %d: only %d admitted", i, admissions)
			}
			t.Logf("period %d: %d admitted, %d rejected", i, admissions, rejections)
		}
	})
}
