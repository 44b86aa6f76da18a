//go:build interop

package limiter_test

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// withOlder runs a test on both engines, on a table that 0.10.3 made and one that Go made.
func withOlder(t *testing.T, test func(t *testing.T, e *peer.Env, g, old side)) {
	t.Helper()
	t.Parallel()
	t.Run("table of Go", func(t *testing.T) {
		machine.Each(t, func(t *testing.T, e *peer.Env) {
			test(t, e, openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{Old: true}))
		})
	})
	t.Run("table of 0.10.3", func(t *testing.T) {
		machine.EachEmpty(t, func(t *testing.T, e *peer.Env) {
			old := tableOfOlder(t, e)
			test(t, e, openGo(t, e, limiter.Options{}), old)
		})
	})
}

// tableOfOlder has 0.10.3 make the table and register the namespace.
func tableOfOlder(t *testing.T, e *peer.Env) *pySide {
	t.Helper()
	p := e.Process(t, true)
	ok(t, p.Do("create_table", args{"table": e.Table, "endpoint": e.Python.URL}, nil))
	ok(t, p.Reopen(t, peer.Options{}))
	if p.Version != "0.10.3" {
		t.Fatalf("the older peer is %s", p.Version)
	}
	table, err := e.API.DescribeTable(t.Context(), &dynamodb.DescribeTableInput{TableName: &e.Table})
	ok(t, err)
	if n := len(table.Table.LocalSecondaryIndexes); n != 0 {
		t.Fatalf("its table has %d local indexes", n)
	}
	id, found, err := e.OpenTable(t).ResolveNamespace(t.Context(), peer.Namespace)
	ok(t, err)
	if !found {
		t.Fatal("its table has no namespace")
	}
	e.NS = id
	ok(t, e.OpenTable(t).Check(t.Context()))
	return newPySide(p, t, e)
}

// Tests 2 and 3: fast paths and alternation.
func Test53AlternatingWithAnOlderPeer(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		old.defaults("r", perMinute("rpm", 1000), perMinute("tpm", 10_000))
		old.must("u", "r", amounts{"rpm": 10, "tpm": 500})
		created := e.Bucket(t, "u", "r", 0)
		for _, later := range []string{"pgen", "pinc", "vu"} {
			if created.Has(later) {
				t.Fatalf("0.10.3 writes %s", later)
			}
		}
		g.must("warm", "r", amounts{"rpm": 0})
		g.proxy().Forget()
		g.must("u", "r", amounts{"rpm": 2, "tpm": 100})
		wantOperations(t, g, "UpdateItem")
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{
			"b_rpm_tk": 988_000, "b_rpm_tc": 12_000, "b_tpm_tk": 9_400_000, "b_tpm_tc": 600_000,
			"b_wcu_tk": created.Number(t, "b_wcu_tk") - 1000, "b_wcu_tc": created.Number(t, "b_wcu_tc") + 1000,
		})
		total := int64(12)
		for i := range int64(10) {
			old.must("u", "r", amounts{"rpm": i})
			g.must("u", "r", amounts{"rpm": 2 * i})
			total += 3 * i
		}
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": (1000 - total) * 1000, "b_rpm_tc": total * 1000})
		// What Go created is of use to it.
		g.must("ours", "r", amounts{"rpm": 1})
		old.must("ours", "r", amounts{"rpm": 1})
		wantNumbers(t, e.Bucket(t, "ours", "r", 0), map[string]int64{"b_rpm_tk": 998_000, "b_rpm_tc": 2000})
	})
}

// Test 5: the same waits.
func Test53RefusedLikeAnOlderPeer(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		g.defaults("r", perMinute("rpm", 100))
		for _, drained := range []struct {
			entity  string
			by, and side
		}{{"a", g, old}, {"b", old, g}} {
			drained.by.must(drained.entity, "r", amounts{"rpm": 100})
			for n, want := range map[int64]float64{1: 0.601, 3: 1.801, 150: 90.001} {
				for _, s := range []side{drained.and, drained.by} {
					r := s.try(drained.entity, "r", amounts{"rpm": n})
					if r == nil || r.RetryAfterSeconds != want || r.Limits[0].Available != 0 || r.Limits[0].Requested != n {
						t.Errorf("%d of a drained bucket: %s is refused with %+v, want a wait of %v", n, s.name(), r, want)
					}
				}
			}
			wantNumbers(t, e.Bucket(t, drained.entity, "r", 0), map[string]int64{"b_rpm_tk": 0, "b_rpm_tc": 100_000})
		}
	})
}

// Test 6: refills, and what is stamped for younger peers on the way.
func Test53RefillsWithAnOlderPeer(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		old.defaults("r", perMinute("rpm", 100))
		old.create("u", "", false)
		if e.Meta(t, "u").Has("pinc") {
			t.Fatal("0.10.3 writes an incarnation")
		}
		g.create("ours", "", false)
		for _, entity := range []string{"u", "ours"} {
			old.must(entity, "r", amounts{"rpm": 100})
		}
		for i, s := range []side{g, old, g} {
			e.Pass(30 * sec)
			for _, entity := range []string{"u", "ours"} {
				s.must(entity, "r", amounts{"rpm": 50})
				wantNumbers(t, e.Bucket(t, entity, "r", 0), map[string]int64{
					"b_rpm_tk": 0, "b_rpm_tc": 150_000 + 50_000*int64(i), "rf": e.Now(), "ttl": e.Now()/1000 + 420,
				})
			}
		}
		// The owner's stamp is that of META as far as META has one.
		for entity, want := range map[string]string{"ours": e.Meta(t, "ours").Text("pinc"), "u": e.Meta(t, "u").Text("created_at")} {
			b := e.Bucket(t, entity, "r", 0)
			if !b.Has("pgen") || b.Text("pinc") != want {
				t.Errorf("Go's write stamps %s with\n%vwant pinc %q", entity, b, want)
			}
		}
	})
}

// Test 7: lost races.
func Test53RacesWithAnOlderPeer(t *testing.T) {
	t.Parallel()
	for _, racer := range []string{"Go", "0.10.3"} {
		t.Run(racer, func(t *testing.T) {
			machine.Each(t, func(t *testing.T, e *peer.Env) {
				a, b := side(openGo(t, e, limiter.Options{DisableSpeculation: true})), side(openPython(t, e, peer.Options{Old: true, ReadFirst: true}))
				if racer == "0.10.3" {
					a, b = b, a
				}
				a.defaults("r", perMinute("rpm", 100))
				b.must("u", "r", amounts{"rpm": 100})
				a.must("warm", "r", amounts{"rpm": 0})
				e.Pass(30 * sec)
				a.proxy().Once(func(r peer.Request) bool { return r.Operation == "UpdateItem" && r.Has("u#r#0") }, func() { b.must("u", "r", amounts{"rpm": 4}) })
				a.must("u", "r", amounts{"rpm": 3})
				wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": 43_000, "b_rpm_tc": 107_000, "rf": e.Now()})
			})
		})
	}
}

// Test 8: simultaneous creation.
func Test53CreationWithAnOlderPeer(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		g.defaults("r", perMinute("rpm", 10))
		creates := func(entity string) func(peer.Request) bool {
			return func(r peer.Request) bool {
				return (r.Operation == "TransactWriteItems" || r.Operation == "PutItem") && r.Has(entity+"#r#0")
			}
		}
		for entity, s := range map[string][2]side{"a": {g, old}, "b": {old, g}} {
			s[0].proxy().Once(creates(entity), func() { s[1].must(entity, "r", amounts{"rpm": 3}) })
			s[0].must(entity, "r", amounts{"rpm": 1})
			wantNumbers(t, e.Bucket(t, entity, "r", 0), map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 4000, "b_rpm_cp": 10_000})
		}
	})
}

// Test 9: several limits, one short.
func Test53SeveralLimitsWithAnOlderPeer(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		g.defaults("r", perMinute("rpm", 10), perMinute("tpm", 1000))
		for entity, s := range map[string][2]side{"a": {g, old}, "b": {old, g}} {
			s[0].must(entity, "r", amounts{"rpm": 2, "tpm": 900})
			before := e.Bucket(t, entity, "r", 0)
			for _, refused := range []side{s[1], s[0]} {
				r := refused.try(entity, "r", amounts{"rpm": 1, "tpm": 200})
				if r == nil || !slices.Equal(r.short(), []string{entity + "/tpm"}) {
					t.Errorf("%s is refused with %+v, want tpm short", refused.name(), r)
				}
			}
			if after := e.Bucket(t, entity, "r", 0); after.String() != before.String() {
				t.Errorf("a refusal changed the bucket:\n%v\nbefore\n%v", after, before)
			}
		}
	})
}

func Test54GoRepairsWhatAnOlderPeerLeaves(t *testing.T) {
	withOlder(t, func(t *testing.T, e *peer.Env, g, old side) {
		g.defaults("r", perMinute("rpm", 60))
		g.must("whole", "r", amounts{"rpm": 5})
		l := old.enter("u", "r", amounts{"rpm": 5})
		l.adjust(amounts{"rpm": 3})
		e.Delete(t, e.BucketPK("u", "r", 0), peer.BucketSK)
		l.exit()
		if left := slices.Sorted(maps.Keys(e.Bucket(t, "u", "r", 0))); !slices.Equal(left, []string{"PK", "SK", "b_rpm_tc", "b_rpm_tk"}) {
			t.Fatalf("0.10.3 leaves %v", left)
		}
		g.must("u", "r", amounts{"rpm": 5})
		repaired, whole := e.Bucket(t, "u", "r", 0), e.Bucket(t, "whole", "r", 0)
		if got, want := slices.Sorted(maps.Keys(repaired)), slices.Sorted(maps.Keys(whole)); !slices.Equal(got, want) {
			t.Errorf("the repaired item has %v, want %v", got, want)
		}
		tokens := repaired.Number(t, "b_rpm_tk")
		if tokens > 55_000 || tokens < 0 {
			t.Errorf("it has %d left of 60 a minute", tokens)
		}
		old.must("u", "r", amounts{"rpm": 1})
		e.DeclareReaders(t) // the record of 0.10.3 names functions of its release
		openPython(t, e, peer.Options{}).must("u", "r", amounts{"rpm": 1})
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": tokens - 2000, "b_rpm_cp": 60_000})
	})
}

func Test55GoWarnsOfWhatOlderPeersIgnore(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		var log strings.Builder
		g := openGo(t, e, limiter.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		old := openPython(t, e, peer.Options{Old: true})
		scheduled, err := perMinute("rpm", 60).WithSchedule(schedule.Entry{Cron: "* * * * *", Scale: 0.5})
		ok(t, err)
		quota, err := limiter.Quota("day", 5, schedule.Entry{Cron: "0 0 * * *"})
		ok(t, err)
		g.defaults("plain", perMinute("rpm", 60))
		if log.Len() > 0 {
			t.Errorf("a plain limit is warned of: %s", log.String())
		}
		// Each is warned of before it is there, and not honoured by the older peer indeed.
		for _, c := range []struct {
			feature string
			store   func()
			ignored func() bool
		}{
			{`feature=schedule level="resource scheduled" before_release=0.14.0`, func() { g.defaults("scheduled", scheduled) },
				func() bool { return old.try("u", "scheduled", amounts{"rpm": 60}) == nil }},
			{`feature=quota level="resource quota" before_release=0.14.0`, func() { g.defaults("quota", quota) },
				func() bool {
					r := old.try("u", "quota", amounts{"day": 1})
					return r != nil && r.Error == "RateLimiterUnavailable"
				}},
			{`feature=disabled level="resource plain" before_release=0.12.0`, func() { setFlag(t, g, "", "plain", "disable") },
				func() bool { return old.try("u", "plain", amounts{"rpm": 60}) == nil }},
			{`feature=bypass level=u/plain before_release=0.17.0`, func() { setFlag(t, g, "u", "plain", "bypass") },
				func() bool { return old.try("u", "plain", amounts{"rpm": 60}) != nil }},
			{`feature="soft limit" level="resource soft" before_release=0.17.0`, func() { g.defaults("soft", perMinute("rpm", 60).WithSoft()) },
				func() bool { return old.try("u", "soft", amounts{"rpm": 61}) != nil }},
		} {
			log.Reset()
			before := ""
			e.Go.Before(func(r peer.Request) *peer.Reply {
				if r.Operation == "PutItem" || r.Operation == "TransactWriteItems" || r.Operation == "UpdateItem" && r.Has("#CONFIG") {
					if before == "" {
						before = log.String()
					}
				}
				return nil
			})
			c.store()
			e.Go.Before(nil)
			if !strings.Contains(before, c.feature) {
				t.Errorf("before it is stored the log says %q, want %s", before, c.feature)
			}
			if !c.ignored() {
				t.Errorf("%s: 0.10.3 honours it", c.feature)
			}
			log.Reset()
			c.store()
			if log.Len() > 0 {
				t.Errorf("warned again: %s", log.String())
			}
		}
	})
}
