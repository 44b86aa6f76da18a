//go:build interop

package limiter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// The requests of a path, in the order of their arrival: u UpdateItem, g GetItem, b BatchGetItem, q Query,
// t TransactWriteItems, p PutItem. Where Go sends fewer it is because a slow pass reads its config levels
// together with META and bucket.
func letters(operations []string) string {
	short := map[string]string{"UpdateItem": "u", "GetItem": "g", "BatchGetItem": "b", "Query": "q", "TransactWriteItems": "t", "PutItem": "p"}
	var out strings.Builder
	for _, o := range operations {
		if l, ok := short[o]; ok {
			out.WriteString(l)
		} else {
			out.WriteString("[" + o + "]")
		}
	}
	return out.String()
}

func Test40RequestsOfThePaths(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		setup := goProcess(t, e, limiter.Options{})
		ok(t, setup.defaults("api", limiter.PerMinute("rpm", 60)))
		ok(t, setup.defaults("search", limiter.PerMinute("rpm", 60)))
		ok(t, setup.create("org", "", false))
		type sides struct{ cold, warm, reading, remembering func() process }
		for _, s := range []struct {
			prefix string
			sides
		}{
			{"g", sides{
				func() process { return goProcess(t, e, limiter.Options{RejectionCacheTTL: -1}) }, nil,
				func() process {
					return goProcess(t, e, limiter.Options{RejectionCacheTTL: -1, DisableSpeculation: true})
				},
				func() process { return goProcess(t, e, limiter.Options{}) },
			}},
			{"p", sides{
				func() process { return pyProcess(t, e, peer.Options{}) }, nil,
				func() process { return pyProcess(t, e, peer.Options{ReadFirst: true}) },
				func() process { return pyProcess(t, e, peer.Options{More: args{"rejection_cache_ttl": 1.0}}) },
			}},
		} {
			ours := s.prefix == "g"
			entity := func(name string) string { return s.prefix + name }
			path := func(name string, p process, act func(), python, goes string) {
				t.Helper()
				p.ops()
				act()
				wanted := python
				if ours {
					wanted = goes
				}
				got := []byte(letters(p.ops()))
				sorted, alternative := []byte(wanted), []byte(wanted)
				// What is sent at once arrives in any order.
				if strings.Contains(name, "at once") {
					slices.Sort(got)
					slices.Sort(sorted)
				}
				if string(got) != string(sorted) {
					t.Errorf("%s: %s sent %s, want %s", name, p.name(), got, alternative)
				}
			}
			acquire := func(p process, r demand, kind string) func() {
				return func() { t.Helper(); ended(t, p, r, kind) }
			}
			one := func(name string, n int64) demand { return ask(entity(name), "api", limiter.Amounts{"rpm": n}) }

			cold := s.cold()
			path("first acquire of an entity, everything cold", cold, acquire(cold, one("u", 40), "admitted"), "gubbt", "bubt")
			path("speculative success", cold, acquire(cold, one("u", 20), "admitted"), "u", "u")
			path("fast rejection", cold, acquire(cold, one("u", 1), "exceeded"), "u", "u")
			e.Pass(10_000)
			path("speculative miss that a refill satisfies", cold, acquire(cold, one("u", 10), "admitted"), "ubbu", "ubu")
			remembering := s.remembering()
			ended(t, remembering, one("u", 1), "exceeded")
			path("local rejection", remembering, acquire(remembering, one("u", 1), "exceeded"), "", "")
			path("local rejection of several", remembering, acquire(remembering, demand{entity: entity("u"), resource: "search", consume: limiter.Amounts{"rpm": 1},
				also: map[string]limiter.Amounts{"api": {"rpm": 1}}}, "exceeded"), "", "")

			e.Pass(20_000)
			reading := s.reading()
			ended(t, reading, one("u", 1), "admitted")
			path("read then write, warm", reading, acquire(reading, one("u", 1), "admitted"), "bbu", "bu")
			path("rejection by reading", reading, acquire(reading, one("u", 60), "exceeded"), "bb", "b")
			path("read then write, new", reading, acquire(reading, one("read", 1), "admitted"), "bbbt", "bt")

			hold := func(n, adjust int64) held {
				r := one("lease", n)
				r.hold = true
				lease := ended(t, cold, r, "admitted").lease
				if adjust != 0 {
					ok(t, lease.step("adjust", "", limiter.Amounts{"rpm": adjust}))
				}
				return lease
			}
			hold(1, 0)
			for _, exit := range []struct {
				name   string
				adjust int64
				fail   bool
				ops    string
			}{
				{"exit without a change", 0, false, ""}, {"exit with adjustments", 2, false, "u"}, {"rollback", 5, true, "u"},
				{"a credit that fails its ceiling terms", -50, false, "uu"},
			} {
				lease := hold(1, exit.adjust)
				path(exit.name, cold, func() { ok(t, lease.end(exit.fail)) }, exit.ops, exit.ops)
			}

			// A writer in between takes the lock: W3 is one request more.
			e.Pass(60_000)
			r := one("lock", 60)
			ended(t, cold, r, "admitted")
			e.Pass(30_000)
			proxy := map[bool]*peer.Proxy{true: e.Go, false: e.Python}[ours]
			proxy.Once(func(r peer.Request) bool {
				return r.Operation == "UpdateItem" && r.Has("rf") && r.Has(entity("lock")) && r.Has("SET")
			}, func() {
				e.Change(t, e.BucketPK(entity("lock"), "api", 0), peer.BucketSK, "SET rf = :rf ADD b_rpm_tk :tk", peer.Item{":rf": peer.Number(e.Now()), ":tk": peer.Number(30_000)})
			})
			path("a lost lock", cold, acquire(cold, one("lock", 5), "admitted"), "ubbuu", "ubuu")
			proxy.Before(nil)
			if got := attribute(t, e, entity("lock"), "api", 0, "b_rpm_tk"); got != 25_000 {
				t.Errorf("a lost lock: %d millitokens, want 25000", got)
			}

			ok(t, cold.create(entity("kid"), "org", true))
			ok(t, cold.limits(entity("kid"), "api", limiter.PerMinute("rpm", 600)))
			e.Pass(61_000)
			if !ours {
				ok(t, setup.remove("org"))
				ok(t, setup.create("org", "", false))
			}
			fresh := s.cold()
			path("first acquire of both, everything cold", fresh, acquire(fresh, one("kid", 1), "admitted"), "gubbbbbt", "bubbt")
			path("a cascade at once", fresh, acquire(fresh, one("kid", 1), "admitted"), "uu", "uu")
			other := s.cold()
			ended(t, other, one("other", 1), "admitted")
			path("a cascade in turn", other, acquire(other, one("kid", 1), "admitted"), "uu", "uu")
			admitted(t, fresh, ask("org", "api", limiter.Amounts{"rpm": 57}))
			path("a short parent, the child refunded, at once", fresh, acquire(fresh, one("kid", 1), "exceeded"), "uuu", "uuu")
			e.Pass(5000)
			path("the parent refilled alone, at once", fresh, acquire(fresh, one("kid", 1), "admitted"), "uubu", "uubu")

			if got := attribute(t, e, entity("kid"), "api", 0, "b_rpm_tc"); got != 4000 {
				t.Errorf("the child was charged %d, want 4000", got)
			}

			ok(t, cold.defaults("wide", limiter.PerMinute("rpm", 6000)))
			wide := func(n int64) demand { return ask(entity("wide"), "wide", limiter.Amounts{"rpm": n}) }
			ended(t, cold, wide(1), "admitted")
			e.Change(t, e.BucketPK(entity("wide"), "wide", 0), peer.BucketSK, "SET b_wcu_tk = :tk", peer.Item{":tk": peer.Number(0)})
			e.Pass(1)
			path("wcu used up, refilled", cold, acquire(cold, wide(1), "admitted"), "ubbu", "ubu")
			e.Change(t, e.BucketPK(entity("wide"), "wide", 0), peer.BucketSK, "SET b_wcu_tk = :tk", peer.Item{":tk": peer.Number(0)})
			path("wcu used up at once, doubled, the new shard created", cold, acquire(cold, wide(1), "admitted"), "uubbt", "uubt")

			warm := s.cold()
			several := demand{entity: entity("several"), resource: "api", consume: limiter.Amounts{"rpm": 1}, also: map[string]limiter.Amounts{"search": {"rpm": 1}}}
			ended(t, warm, several, "admitted")
			path("two resources, warm, at once", warm, acquire(warm, several, "admitted"), "uu", "uu")

			ended(t, warm, one("waived", 60), "admitted")
			_, err := setup.flag("bypass", entity("waived"), "api")
			ok(t, err)
			path("bypassed, first time in a process", warm, acquire(warm, one("waived", 500), "admitted"), "uu", "uu")
			path("bypassed", warm, acquire(warm, one("waived", 500), "admitted"), "u", "u")
			e.Pass(61_000)
			ended(t, warm, one("waived", 1), "admitted")

			_, err = warm.availability(entity("u"), "api", nil)
			ok(t, err)
			path("availability", warm, func() { _, err := warm.availability(entity("u"), "api", nil); ok(t, err) }, "qb", "qb")
		}
	})
}
