//go:build interop

package limiter_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

func Test51ResetsAndTopUps(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, first, second process) {
		limits := []limiter.Limit{daily(t, "day", 100), limiter.SessionQuota("ses", 50, time.Hour), limiter.PerMinute("rpm", 10)}
		ok(t, first.defaults("api", limits...))
		admitted(t, first, ask("u", "api", limiter.Amounts{"day": 10, "ses": 10, "rpm": 1}))
		rf := attribute(t, e, "u", "api", 0, "rf")
		result := func(what string, got operation, err error, shards int, amounts map[string]int64) {
			t.Helper()
			ok(t, err)
			if diff := cmp.Diff(operation{shards, amounts}, got); diff != "" {
				t.Errorf("%s: %s", what, diff)
			}
		}
		unchanged := func(what string, act func()) {
			t.Helper()
			before := e.Bucket(t, "u", "api", 0).String()
			act()
			if diff := cmp.Diff(before, e.Bucket(t, "u", "api", 0).String()); diff != "" {
				t.Errorf("%s changed the bucket:\n%s", what, diff)
			}
		}

		op, err := first.topUp("u", "api", "k1", limiter.Amounts{"day": 25, "rpm": 5})
		result("top-up", op, err, 1, map[string]int64{"day": 25, "rpm": 1})
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_day_tk": 115_000, "b_day_tu": 25_000, "b_rpm_tk": 10_000, "rf": rf + 1, "vu": 0})
		record := e.Get(t, e.BucketPK("u", "api", 0), "#OP#k1")
		if record == nil || record.Text("operation") != "top_up" || record.Number(t, "ttl") != e.Now()/1000+259_200 || record.Number(t, "shards") != 1 || record.Text("ent") != "-" || len(record.Text("writer")) != 24 {
			t.Errorf("record: %v", record)
		}
		unchanged("the same key on the other side", func() {
			op, err = second.topUp("u", "api", "k1", limiter.Amounts{"day": 25, "rpm": 5})
			result("the same key", op, err, 1, map[string]int64{"day": 25, "rpm": 1})
			op, err = first.topUp("u", "api", "k1", limiter.Amounts{"day": 25, "rpm": 5})
			result("the same key at home", op, err, 1, map[string]int64{"day": 25, "rpm": 1})
			for _, s := range []process{first, second} {
				if op, err := s.reset("u", "api", "k1"); err == nil {
					t.Errorf("%s resets with the key of a top-up: %+v", s.name(), op)
				}
			}
		})
		// The records of both are alike but for their writers.
		op, err = second.topUp("u", "api", "k2", limiter.Amounts{"day": 25, "rpm": 5})
		result("another key", op, err, 1, map[string]int64{"day": 25, "rpm": 0})
		other := e.Get(t, e.BucketPK("u", "api", 0), "#OP#k2")
		for _, r := range []peer.Item{record, other} {
			for _, name := range []string{"writer", "amounts", "SK", "GSI4SK"} {
				delete(r, name)
			}
		}
		if diff := cmp.Diff(record.String(), other.String()); diff != "" {
			t.Errorf("%s's record (+) differs: %s", second.name(), diff)
		}
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_day_tk": 140_000, "b_day_tu": 50_000})

		op, err = second.reset("u", "api", "k3")
		result("reset", op, err, 1, map[string]int64{"day": -40, "ses": 10, "rpm": 0})
		ended := e.Now() - hour
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_day_tk": 100_000, "b_day_tu": absent, "b_day_rn": 1, "b_ses_ws": ended, "b_ses_wa": ended, "vu": 0})
		unchanged("a repeated reset", func() {
			op, err = first.reset("u", "api", "k3")
			result("a repeated reset", op, err, 1, map[string]int64{"day": -40, "ses": 10, "rpm": 0})
		})
		e.Pass(1000)
		admitted(t, first, ask("u", "api", limiter.Amounts{"day": 1, "ses": 1, "rpm": 1}))
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_day_tk": 99_000, "b_ses_tk": 49_000, "b_ses_ws": e.Now(), "b_ses_wa": e.Now()})
		// One limit alone.
		op, err = first.reset("u", "api", "", "day")
		result("one limit", op, err, 1, map[string]int64{"day": 1})
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_day_rn": 2, "b_ses_tk": 49_000})

		// Without a bucket a top-up of a quota makes one, and a reset has nothing to do.
		op, err = second.topUp("late", "api", "k1", limiter.Amounts{"day": 5})
		result("without a bucket", op, err, 1, map[string]int64{"day": 5})
		wantAttributes(t, e, "late", "api", 0, map[string]int64{"b_day_tk": 105_000, "b_day_tu": 5000, "b_rpm_tk": 10_000})
		admitted(t, first, ask("late", "api", limiter.Amounts{"day": 105}))
		op, err = first.reset("never", "api", "k1")
		ok(t, err)
		if op.Shards != 0 {
			t.Errorf("a reset of nothing wrote %+v", op)
		}
		again, err := second.reset("never", "api", "k1")
		ok(t, err)
		if diff := cmp.Diff(op, again); diff != "" {
			t.Errorf("a repeated reset of nothing: %s", diff)
		}

		// Over several shards, by their parts.
		admitted(t, first, ask("wide", "api", limiter.Amounts{"day": 40, "rpm": 1}))
		clone(t, e, "wide", "api", 3)
		op, err = second.topUp("wide", "api", "k", limiter.Amounts{"day": 10})
		result("three shards", op, err, 3, map[string]int64{"day": 10})
		topped := []int64{}
		for shard := range 3 {
			topped = append(topped, attribute(t, e, "wide", "api", shard, "b_day_tu"))
		}
		if diff := cmp.Diff([]int64{4000, 3000, 3000}, topped); diff != "" {
			t.Errorf("topped up by shards: %s", diff)
		}
		op, err = first.topUp("wide", "api", "k", limiter.Amounts{"day": 10})
		result("three shards again", op, err, 3, map[string]int64{"day": 10})
		op, err = first.reset("wide", "api", "")
		result("reset of three", op, err, 3, op.Amounts)
		for shard := range 3 {
			wantAttributes(t, e, "wide", "api", shard, map[string]int64{"b_day_tk": 33_333, "b_day_gc": 3, "b_day_tu": absent, "b_rpm_tk": 3333, "shard_count": 3})
		}

		// An entity that is made anew is another: the key counts for the former.
		ok(t, first.create("born", "", false))
		op, err = first.topUp("born", "api", "k", limiter.Amounts{"day": 5})
		result("before", op, err, 1, map[string]int64{"day": 5})
		left := e.Get(t, e.BucketPK("born", "api", 0), "#OP#k")
		ok(t, second.remove("born"))
		e.Pass(1000)
		ok(t, second.create("born", "", false))
		e.Put(t, left)
		op, err = second.topUp("born", "api", "k", limiter.Amounts{"day": 7})
		result("after", op, err, 1, map[string]int64{"day": 7})
	})
}

// clone makes shards of a bucket as they are after a doubling, each with the state of the first.
func clone(t *testing.T, e *peer.Env, entity, resource string, count int) {
	t.Helper()
	e.Change(t, e.BucketPK(entity, resource, 0), peer.BucketSK, "SET shard_count = :n", peer.Item{":n": peer.Number(int64(count))})
	for shard := 1; shard < count; shard++ {
		e.Put(t, shardOf(e, e.Bucket(t, entity, resource, 0), entity, resource, shard))
	}
}

func Test51ConcurrentAcquiresAndTopUps(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := both(t, e)
		ok(t, g.limits("u", "api", daily(t, "day", 40)))
		admitted(t, g, ask("u", "api", limiter.Amounts{"day": 1}))
		var taken, topped atomic.Int64
		taken.Store(1)
		var running sync.WaitGroup
		for _, s := range []process{g, g, p, p} {
			running.Go(func() {
				for range 12 {
					switch o := s.acquire(ask("u", "api", limiter.Amounts{"day": 2})); o.kind {
					case "admitted":
						taken.Add(2)
					case "exceeded", "contended":
					default:
						t.Errorf("%s: %v", s.name(), o)
					}
				}
			})
		}
		// Each key is used by both sides at once, and counts once.
		for i, key := range []string{"a", "b", "c", "d"} {
			for _, s := range []process{g, p} {
				running.Go(func() {
					r, err := s.topUp("u", "api", key, limiter.Amounts{"day": int64(i + 1)})
					if err != nil {
						// It may give up on a bucket that keeps changing; then the other has it, or nobody.
						t.Logf("%s's %s: %v", s.name(), key, err)
					} else if r.Amounts["day"] != int64(i+1) {
						t.Errorf("%s's %s: %+v", s.name(), key, r)
					}
				})
			}
		}
		running.Wait()
		for i, key := range []string{"a", "b", "c", "d"} {
			if e.Get(t, e.BucketPK("u", "api", 0), "#OP#"+key) != nil {
				topped.Add(int64(i + 1))
			}
		}
		if topped.Load() == 0 {
			t.Error("no top-up got through")
		}
		wantAttributes(t, e, "u", "api", 0, map[string]int64{
			"b_day_tc": taken.Load() * 1000, "b_day_tu": topped.Load() * 1000, "b_day_tk": (40 + topped.Load() - taken.Load()) * 1000,
		})
	})
}

func Test52SeveralResources(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, first, second process) {
		ok(t, first.defaults("api", limiter.PerMinute("rpm", 10)))
		ok(t, first.defaults("search", limiter.PerMinute("rpm", 5), limiter.PerMinute("tpm", 100)))
		ok(t, first.defaults("files", limiter.PerMinute("rpm", 5)))
		several := func(entity string, api, search, files int64) demand {
			return demand{entity: entity, resource: "api", consume: limiter.Amounts{"rpm": api},
				also: map[string]limiter.Amounts{"search": {"rpm": search, "tpm": 10 * search}, "files": {"rpm": files}}}
		}
		holds := func(entity string, api, search, tpm, files int64) {
			t.Helper()
			for _, b := range []struct {
				resource, limit    string
				capacity, consumed int64
			}{{"api", "rpm", 10, api}, {"search", "rpm", 5, search}, {"search", "tpm", 100, tpm}, {"files", "rpm", 5, files}} {
				wantAttributes(t, e, entity, b.resource, 0, map[string]int64{
					"b_" + b.limit + "_tk": (b.capacity - b.consumed) * 1000, "b_" + b.limit + "_tc": b.consumed * 1000,
				})
			}
		}
		// New: all in one transaction.
		if writes := writesOf(first, func() { admitted(t, first, several("u", 1, 1, 1)) }); writes != "uuut" {
			t.Errorf("%s wrote %s, want three attempts and one transaction", first.name(), writes)
		}
		holds("u", 1, 1, 10, 1)
		admitted(t, second, several("warm", 1, 1, 1))
		if writes := writesOf(second, func() { admitted(t, second, several("cold", 1, 1, 1)) }); writes != "uuut" {
			t.Errorf("%s wrote %s, want three attempts and one transaction", second.name(), writes)
		}
		if writes := writesOf(second, func() { admitted(t, second, several("u", 1, 1, 1)) }); writes != "uuu" {
			t.Errorf("%s wrote %s of what is warm, want three updates", second.name(), writes)
		}
		holds("u", 2, 2, 20, 2)

		// One is short: nothing is taken, and what was is given back to the digit.
		for _, s := range []process{first, second} {
			o := ended(t, s, several("u", 1, 1, 4), "exceeded")
			names := map[string]bool{}
			for _, l := range o.body["limits"].([]any) {
				m := l.(map[string]any)
				names[statusKey(l)] = m["exceeded"].(bool)
			}
			if diff := cmp.Diff(map[string]bool{"u/api/rpm": false, "u/search/rpm": false, "u/search/tpm": false, "u/files/rpm": true}, names); diff != "" {
				t.Errorf("%s's statuses: %s", s.name(), diff)
			}
			holds("u", 2, 2, 20, 2)
		}
		// So it is when a part needs the slow path and is short there, and the others were charged at once.
		admitted(t, first, ask("mixed", "api", limiter.Amounts{"rpm": 1}))
		for _, s := range []process{first, second} {
			ended(t, s, several("mixed", 1, 1, 9), "exceeded")
			wantAttributes(t, e, "mixed", "api", 0, map[string]int64{"b_rpm_tk": 9000, "b_rpm_tc": 1000})
			if item := e.Get(t, e.BucketPK("mixed", "search", 0), peer.BucketSK); item != nil {
				t.Errorf("%s made a bucket for nothing: %v", s.name(), item)
			}
		}
		// Slow parts of it in one transaction, beside a fast one.
		if writes := writesOf(second, func() { admitted(t, second, several("mixed", 1, 1, 1)) }); writes != "uuut" {
			t.Errorf("%s wrote %s, want three attempts and one transaction", second.name(), writes)
		}
		holds("mixed", 2, 1, 10, 1)

		// Adjustments go to their resources, a failed body gives all back.
		r := several("u", 1, 1, 1)
		r.hold = true
		lease := admitted(t, second, r).lease
		ok(t, lease.step("adjust", "search", limiter.Amounts{"tpm": 7}))
		ok(t, lease.step("release", "", limiter.Amounts{"rpm": 1}))
		ok(t, lease.end(false))
		holds("u", 2, 3, 37, 3)
		lease = admitted(t, first, r).lease
		ok(t, lease.step("adjust", "search", limiter.Amounts{"tpm": 7}))
		ok(t, lease.end(true))
		holds("u", 2, 3, 37, 3)

		// A closed resource outranks a short one.
		_, err := first.flag("disable", "", "search")
		ok(t, err)
		for _, s := range []process{first, second} {
			ended(t, s, several("u", 50, 1, 1), "disabled")
			holds("u", 2, 3, 37, 3)
		}
		_, err = first.flag("clear_disabled", "", "search")
		ok(t, err)

		// With a parent: all buckets of both, or none.
		ok(t, first.create("org", "", false))
		ok(t, first.create("kid", "org", true))
		admitted(t, first, several("kid", 1, 1, 1))
		holds("kid", 1, 1, 10, 1)
		holds("org", 1, 1, 10, 1)
		admitted(t, second, several("kid", 1, 1, 1))
		holds("org", 2, 2, 20, 2)
		admitted(t, second, ask("org", "files", limiter.Amounts{"rpm": 3}))
		for _, s := range []process{first, second} {
			ended(t, s, several("kid", 1, 1, 1), "exceeded")
			holds("kid", 2, 2, 20, 2)
			holds("org", 2, 2, 20, 5)
		}

		for _, s := range []process{first, second} {
			for name, r := range map[string]demand{
				"a resource twice": {entity: "u", resource: "api", consume: limiter.Amounts{"rpm": 1}, also: map[string]limiter.Amounts{"api": {"rpm": 1}}},
				"limits of the call": {entity: "u", resource: "api", consume: limiter.Amounts{"rpm": 1}, also: map[string]limiter.Amounts{"search": {"rpm": 1}},
					limits: []limiter.Limit{limiter.PerMinute("rpm", 1)}},
			} {
				if o := s.acquire(r); o.kind != "invalid" {
					t.Errorf("%s takes %s: %v", s.name(), name, o)
				}
			}
		}
	})
}

// writesOf are the writes that a process sends meanwhile.
func writesOf(s process, act func()) string {
	s.ops()
	act()
	writes := ""
	for _, l := range letters(s.ops()) {
		if l == 'u' || l == 't' || l == 'p' {
			writes += string(l)
		}
	}
	return writes
}
