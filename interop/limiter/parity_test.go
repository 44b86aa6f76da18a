//go:build interop

package limiter_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// daily is a calendar quota that comes back at midnight.
func daily(t *testing.T, name string, amount int64) limiter.Limit {
	t.Helper()
	l, err := limiter.Quota(name, amount, schedule.Entry{Cron: "0 0 * * *"})
	ok(t, err)
	return l
}

func Test37ARejectionIsTheSameJSON(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := both(t, e)
		slowGo := goProcess(t, e, limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: true})
		slowPy := pyProcess(t, e, peer.Options{ReadFirst: true})
		remembering := []process{goProcess(t, e, limiter.Options{}), pyProcess(t, e, peer.Options{More: args{"rejection_cache_ttl": 1.0}})}
		half, err := limiter.PerMinute("rpm", 100).WithSchedule(schedule.Entry{Cron: "* 8-9 * * *", Scale: 0.5})
		ok(t, err)

		// same has all processes refused and compares what they say. Of a child whose parent is short, Python's
		// fast path says what was left while it was charged; its slow path, like ours, what is there.
		same := func(name string, r demand, setup func(process)) {
			t.Helper()
			// One shard remembered is not all of them, and a refund forgets what was remembered.
			asks := name == "a share of four" || name == "a parent that is short"
			if setup != nil {
				setup(g)
			}
			first := ended(t, g, r, "exceeded")
			for i, s := range append([]process{p, slowGo, slowPy}, remembering...) {
				o := ended(t, s, r, "exceeded")
				if i >= 3 { // once more, from memory
					s.ops()
					o = ended(t, s, r, "exceeded")
					if ops := s.ops(); len(ops) > 0 && !asks {
						t.Errorf("%s: %s asked again with %v", name, s.name(), ops)
					}
				}
				theirs := sortedLimits(o.body)
				if name == "a parent that is short" && (i == 0 || i == 4) {
					charged(theirs, "kid", r.consume)
				}
				if diff := cmp.Diff(sortedLimits(first.body), theirs); diff != "" {
					t.Errorf("%s: process %d, %s (+) differs:\n%s", name, i, s.name(), diff)
				}
				if first.header != o.header {
					t.Errorf("%s: Retry-After %s of Go and %s of %s", name, first.header, o.header, s.name())
				}
			}
		}
		ok(t, g.defaults("rates", limiter.PerMinute("rpm", 100), limiter.Custom("tpm", 15_000, 10_000, time.Minute)))
		same("a limit of two is short", ask("a", "rates", limiter.Amounts{"rpm": 1, "tpm": 500}), func(s process) {
			admitted(t, s, ask("a", "rates", limiter.Amounts{"rpm": 1, "tpm": 14_980}))
		})
		same("more than ever fits, and a limit of amount 0", ask("a", "rates", limiter.Amounts{"rpm": 0, "tpm": 50_000}), nil)
		same("both are short", ask("a", "rates", limiter.Amounts{"rpm": 200, "tpm": 20_000}), nil)
		same("into debt", ask("debt", "rates", limiter.Amounts{"rpm": 0, "tpm": 1}), func(s process) {
			lease := ended(t, s, demand{entity: "debt", resource: "rates", consume: limiter.Amounts{"rpm": 100, "tpm": 1}, hold: true}, "admitted").lease
			ok(t, lease.step("adjust", "", limiter.Amounts{"rpm": 3}))
			ok(t, lease.end(false))
		})

		ok(t, g.defaults("quotas", limiter.PerMinute("rpm", 60), daily(t, "day", 50), limiter.SessionQuota("ses", 20, time.Hour), limiter.PerMinute("soft", 5).WithSoft(),
			limiter.PerMinute("fits", 5).WithSoft()))
		all := limiter.Amounts{"rpm": 1, "day": 48, "ses": 20, "soft": 9, "fits": 1}
		same("quotas and soft limits", ask("a", "quotas", limiter.Amounts{"rpm": 1, "day": 5, "ses": 1, "soft": 1, "fits": 1}), func(s process) {
			admitted(t, s, ask("a", "quotas", all))
		})
		e.Pass(90_001)
		same("the same later", ask("a", "quotas", limiter.Amounts{"rpm": 0, "day": 3, "ses": 1, "soft": 0}), nil)

		ok(t, g.defaults("scheduled", half))
		same("in a window of half the rate", ask("a", "scheduled", limiter.Amounts{"rpm": 20}), func(s process) {
			admitted(t, s, ask("a", "scheduled", limiter.Amounts{"rpm": 40}))
		})

		for _, entity := range []string{"org", "kid"} {
			ok(t, g.create(entity, map[string]string{"kid": "org"}[entity], entity == "kid"))
		}
		ok(t, g.limits("kid", "rates", limiter.PerMinute("rpm", 1000), limiter.PerMinute("tpm", 100_000)))
		same("a parent that is short", ask("kid", "rates", limiter.Amounts{"rpm": 61, "tpm": 1}), func(s process) {
			admitted(t, s, ask("kid", "rates", limiter.Amounts{"rpm": 40, "tpm": 1}))
		})
		ok(t, g.defaults("sharded", limiter.PerMinute("rpm", 103), daily(t, "day", 41)))
		admitted(t, g, ask("a", "sharded", limiter.Amounts{"rpm": 1, "day": 1}))
		e.Change(t, e.BucketPK("a", "sharded", 0), peer.BucketSK, "SET shard_count = :n, b_day_gc = :g, b_rpm_tk = :tk, b_day_tk = :tk",
			peer.Item{":n": peer.Number(4), ":g": peer.Number(2), ":tk": peer.Number(2500)})
		for shard := 1; shard < 4; shard++ {
			e.Put(t, shardOf(e, e.Bucket(t, "a", "sharded", 0), "a", "sharded", shard))
		}
		same("a share of four", ask("a", "sharded", limiter.Amounts{"rpm": 20, "day": 10}), nil)

		// The product of float and 1000 is truncated: 1.001 s are 1000 ms and 1.005 s are 1004 ms.
		ok(t, g.defaults("waits", limiter.PerSecond("rps", 1000).WithBurst(10_000)))
		admitted(t, g, ask("a", "waits", limiter.Amounts{"rps": 10_000}))
		for n, ms := range map[int64]float64{1000: 1000, 8000: 8000, 1004: 1004, 6000: 6001, 600: 601} {
			r := ask("a", "waits", limiter.Amounts{"rps": n})
			same(fmt.Sprint("a wait for ", n), r, nil)
			if got := ended(t, g, r, "exceeded").wait(); got != ms {
				t.Errorf("%d tokens: retry_after_ms %v, want %v", n, got, ms)
			}
		}

		// A bucket that other transactions hold for ever.
		conflict := func(r peer.Request) *peer.Reply {
			if !r.Has("BUCKET#a#rates#0") || !slices.Contains([]string{"UpdateItem", "TransactWriteItems"}, r.Operation) {
				return nil
			}
			return &peer.Reply{Status: 400, Body: `{"__type":"com.amazonaws.dynamodb.v20120810#TransactionConflictException","message":"held"}`}
		}
		e.Go.Before(conflict)
		e.Python.Before(conflict)
		r := ask("a", "rates", limiter.Amounts{"rpm": 1, "tpm": 1})
		first, second := ended(t, g, r, "contended"), ended(t, p, r, "contended")
		if diff := cmp.Diff(sortedLimits(first.body), sortedLimits(second.body)); diff != "" {
			t.Errorf("contended: Python (+) differs:\n%s", diff)
		}
		if first.header != second.header {
			t.Errorf("contended: Retry-After %s and %s", first.header, second.header)
		}
	})
}

// charged gives the statuses of an entity back what it was charged when they were made.
func charged(body map[string]any, entity string, consume limiter.Amounts) {
	for _, l := range body["limits"].([]any) {
		if m := l.(map[string]any); m["entity_id"] == entity {
			m["available"] = m["available"].(float64) + float64(consume[m["limit_name"].(string)])
		}
	}
}

func refusing(operation, class string) func(peer.Request) *peer.Reply {
	return func(r peer.Request) *peer.Reply {
		if operation != "" && r.Operation != operation {
			return nil
		}
		return &peer.Reply{Status: 400, Body: fmt.Sprintf(`{"__type":"com.amazon.coral.service#%s","message":"User: arn:aws:iam::1:user/u is not authorized to perform: dynamodb:%s"}`, class, r.Operation)}
	}
}

func Test38UnavailableAndDenied(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := both(t, e)
		ok(t, g.defaults("api", limiter.PerMinute("rpm", 10)))
		proxies := map[process]*peer.Proxy{g: e.Go, p: e.Python}
		for s := range proxies {
			admitted(t, s, ask("warm", "api", limiter.Amounts{"rpm": 1}))
		}
		r := ask("u", "api", limiter.Amounts{"rpm": 1})
		in := func(mode limiter.OnUnavailable) demand { r := r; r.mode = mode; return r }
		about := func(s process, o outcome) {
			t.Helper()
			if o.stack != e.Table || o.entity != "u" || o.res != "api" || !strings.Contains(o.message, fmt.Sprintf("[stack=%s, entity=u, resource=api]", e.Table)) {
				t.Errorf("%s says %q of stack %q, entity %q, resource %q", s.name(), o.message, o.stack, o.entity, o.res)
			}
		}
		for s, proxy := range proxies {
			proxy.Before(func(peer.Request) *peer.Reply { return &peer.Reply{Lost: true} })
			about(s, ended(t, s, in(limiter.Block), "unavailable"))
			lease := ended(t, s, demand{entity: "u", resource: "api", consume: r.consume, mode: limiter.Allow, hold: true}, "degraded").lease
			ok(t, lease.step("adjust", "", limiter.Amounts{"rpm": 5}))
			ok(t, lease.end(false))
			// Nothing was ever said about this system, so that the mode is block.
			about(s, ended(t, s, r, "unavailable"))

			proxy.Before(refusing("", "ResourceNotFoundException"))
			about(s, ended(t, s, in(limiter.Block), "unavailable"))
			ended(t, s, in(limiter.Allow), "degraded")
			for _, operation := range []string{"UpdateItem", "BatchGetItem", "TransactWriteItems"} {
				proxy.Before(refusing(operation, "AccessDeniedException"))
				for _, mode := range []limiter.OnUnavailable{limiter.Block, limiter.Allow} {
					about(s, ended(t, s, in(mode), "denied"))
				}
			}
			proxy.Before(nil)
			if item := e.Get(t, e.BucketPK("u", "api", 0), peer.BucketSK); item != nil {
				t.Fatalf("%s left %v", s.name(), item)
			}
		}
		// What the other side stores decides, also once the table is out of reach.
		ok(t, p.p.Try("set_system_defaults", args{"limits": []any{}, "on_unavailable": "allow"}, nil))
		e.Pass(61_000)
		admitted(t, g, r)
		e.Go.Before(func(peer.Request) *peer.Reply { return &peer.Reply{Lost: true} })
		ended(t, g, r, "degraded")
		e.Pass(61_000)
		ended(t, g, r, "degraded")
		e.Go.Before(nil)
		ok(t, g.l.Admin().SetSystemDefaults(t.Context(), nil, limiter.Block))
		fresh := pyProcess(t, e, peer.Options{})
		admitted(t, fresh, r)
		e.Python.Before(refusing("", "ResourceNotFoundException"))
		ended(t, fresh, r, "unavailable")
	})
}

func Test39AvailabilityIsTheSameNumber(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := both(t, e)
		rng := rand.New(rand.NewPCG(39, 1))
		half, err := limiter.PerMinute("rpm", 100).WithSchedule(schedule.Entry{Cron: "* 8 * * *", Scale: 0.5}, schedule.Entry{Cron: "* 9 * * *", Capacity: 7, RefillAmount: 3, RefillPeriod: 20})
		ok(t, err)
		limits := []limiter.Limit{half, limiter.PerDay("slow", 50), daily(t, "day", 41), limiter.SessionQuota("ses", 20, time.Hour), limiter.PerMinute("soft", 30).WithSoft()}
		same := func(what, entity string, needed limiter.Amounts) {
			t.Helper()
			a, err := g.availability(entity, "api", needed)
			ok(t, err)
			b, err := p.availability(entity, "api", needed)
			ok(t, err)
			if diff := cmp.Diff(a, b); diff != "" {
				t.Errorf("%s: %s on %v: Python (+) differs:\n%s\n%v", what, entity, needed, diff, e.Items(t, e.BucketPK(entity, "api", 0)[:len(e.BucketPK(entity, "api", 0))-1]))
			}
		}
		ok(t, g.defaults("api", limits...))
		needs := func() limiter.Amounts {
			return limiter.Amounts{"rpm": rng.Int64N(150), "slow": rng.Int64N(60), "day": rng.Int64N(50), "ses": rng.Int64N(25), "soft": rng.Int64N(40)}
		}
		same("no bucket", "nobody", needs())
		for i := range 40 {
			entity := fmt.Sprint("e", i)
			admitted(t, g, ask(entity, "api", limiter.Amounts{"rpm": 1, "ses": 1}))
			shards := 1 + rng.IntN(3)
			for shard := range shards {
				item := shardOf(e, e.Bucket(t, entity, "api", 0), entity, "api", shard)
				item["shard_count"] = peer.Number(int64(shards))
				item["rf"] = peer.Number(e.Now() - rng.Int64N(minutes(30)))
				for _, l := range limits {
					item["b_"+l.Name+"_tk"] = peer.Number(rng.Int64N(2*l.Capacity*1000/int64(shards)) - l.Capacity*500)
				}
				if rng.IntN(3) == 0 {
					item["b_day_tu"] = peer.Number(5000)
				}
				item["b_ses_ws"] = peer.Number(e.Now() - rng.Int64N(minutes(80)))
				if rng.IntN(2) == 0 {
					item["b_ses_wa"] = item["b_ses_ws"]
				} else {
					item["b_ses_wtc"] = peer.Number(rng.Int64N(3000))
				}
				e.Put(t, item)
			}
			for range 2 {
				same(fmt.Sprint("random, ", shards, " shards"), entity, needs())
			}
		}
		// Past the window, past midnight, and past both with other limits in the config than on the items.
		for _, at := range []int64{minutes(61), minutes(150), minutes(16 * 60)} {
			e.Set(peer.Begin + at)
			for i := range 40 {
				same(fmt.Sprint("later by ", at/60_000, " min"), fmt.Sprint("e", i), needs())
			}
		}
		e.Set(peer.Begin + minutes(17*60))
		ok(t, g.defaults("api", limiter.PerMinute("rpm", 60), limiter.PerDay("slow", 20), daily(t, "day", 30), limiter.SessionQuota("ses", 15, 2*time.Hour), limiter.PerMinute("soft", 30)))
		e.Pass(61_000)
		for i := range 40 {
			same("other limits", fmt.Sprint("e", i), needs())
		}
		// The vectors of debt and of waits that never suffice.
		ok(t, g.defaults("api", limiter.PerMinute("rpm", 100)))
		e.Pass(61_000)
		admitted(t, g, ask("v", "api", limiter.Amounts{"rpm": 1}))
		for _, v := range []struct {
			tk, need, available int64
			wait                float64
		}{
			{0, 1000, 0, 600.001}, {-50_000, 1, -50, 30.601}, {-1, 0, -1, 0}, {-1000, 0, -1, 0}, {-1001, 0, -2, 0}, {999, 0, 0, 0},
		} {
			e.Change(t, e.BucketPK("v", "api", 0), peer.BucketSK, "SET b_rpm_tk = :tk, rf = :rf", peer.Item{":tk": peer.Number(v.tk), ":rf": peer.Number(e.Now())})
			same("vector", "v", limiter.Amounts{"rpm": v.need})
			got, err := g.availability("v", "api", limiter.Amounts{"rpm": v.need})
			ok(t, err)
			if got["rpm"].Available != v.available || got["rpm"].Wait != v.wait && v.tk != -50_000 && v.need != 0 {
				t.Errorf("%d millitokens, %d needed: %+v, want %+v", v.tk, v.need, got, v)
			}
		}
	})
}
