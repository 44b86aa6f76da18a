//go:build interop

package limiter_test

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// proxyOf is what stands before a process.
func proxyOf(e *peer.Env, p process) *peer.Proxy {
	if p.name() == "Go" {
		return e.Go
	}
	return e.Python
}

// slowWrite is what a slow pass writes to an entity's bucket beside its parent's.
func slowWrite(entity string) func(peer.Request) bool {
	return func(r peer.Request) bool { return r.Operation == "TransactWriteItems" && r.Has("BUCKET#"+entity+"#") }
}

func Test41AMoveWhileTheOtherSideAcquires(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, mover, acquirer process) {
		ok(t, mover.defaults("api", limiter.PerMinute("rpm", 100)))
		for _, parent := range []string{"old", "new"} {
			ok(t, mover.create(parent, "", false))
			admitted(t, acquirer, ask(parent, "api", limiter.Amounts{"rpm": 0}))
		}
		ok(t, mover.create("kid", "old", true))
		one := ask("kid", "api", limiter.Amounts{"rpm": 1})
		admitted(t, acquirer, one)
		admitted(t, acquirer, one) // from a warm cache, both at once
		counters := func(kid, old, new int64) {
			t.Helper()
			wantAttributes(t, e, "kid", "api", 0, map[string]int64{"b_rpm_tc": kid * 1000, "b_rpm_tk": (100 - kid) * 1000})
			wantAttributes(t, e, "old", "api", 0, map[string]int64{"b_rpm_tc": old * 1000, "b_rpm_tk": (100 - old) * 1000})
			wantAttributes(t, e, "new", "api", 0, map[string]int64{"b_rpm_tc": new * 1000, "b_rpm_tk": (100 - new) * 1000})
		}
		counters(2, 2, 0)
		generation := e.Meta(t, "kid").Number(t, "pgen")

		stamped, err := mover.setParent("kid", "new")
		ok(t, err)
		if stamped != 1 {
			t.Errorf("%s stamped %d buckets, want 1", mover.name(), stamped)
		}
		if got := e.Meta(t, "kid").Number(t, "pgen"); got != generation+1 {
			t.Errorf("generation %d after %d", got, generation)
		}
		// The acquirer debits the parent that it remembers, learns better and pays it back.
		acquirer.ops()
		admitted(t, acquirer, one)
		if ops := letters(acquirer.ops()); ops != "uuuu" {
			t.Errorf("%s sent %s, want both debits, a refund and the right debit", acquirer.name(), ops)
		}
		counters(3, 2, 1)
		admitted(t, acquirer, one)
		if ops := letters(acquirer.ops()); ops != "uu" {
			t.Errorf("%s sent %s once it knows, want uu", acquirer.name(), ops)
		}
		counters(4, 2, 2)

		// A W2 that was prepared before a move cannot restore the old stamp.
		e.Change(t, e.BucketPK("kid", "api", 0), peer.BucketSK, "SET vu = :zero, b_rpm_tk = :tk", peer.Item{":zero": peer.Number(0), ":tk": peer.Number(0)})
		e.Pass(30_000)
		proxyOf(e, acquirer).Once(slowWrite("kid"), func() {
			if _, err := mover.setParent("kid", "old"); err != nil {
				t.Error(err)
			}
		})
		admitted(t, acquirer, one)
		proxyOf(e, acquirer).Before(nil)
		item, meta := e.Bucket(t, "kid", "api", 0), e.Meta(t, "kid")
		if item.Text("parent_id") != "old" || item.Number(t, "pgen") != meta.Number(t, "pgen") || item.Text("pinc") != meta.Text("pinc") || meta.Text("parent_id") != "old" {
			t.Errorf("the bucket is stamped %s generation %d, its owner %s generation %d", item.Text("parent_id"), item.Number(t, "pgen"), meta.Text("parent_id"), meta.Number(t, "pgen"))
		}
		if got := item.Number(t, "b_rpm_tc"); got != 5000 {
			t.Errorf("the child was charged %d, want 5000", got)
		}
		old, new := attribute(t, e, "old", "api", 0, "b_rpm_tc"), attribute(t, e, "new", "api", 0, "b_rpm_tc")
		if old != 3000 || new != 2000 {
			t.Errorf("the old parent was charged %d and the new one %d, want 3000 and 2000", old, new)
		}
		// To nobody: the other side's next acquires charge the child alone.
		_, err = mover.setParent("kid", "")
		ok(t, err)
		admitted(t, acquirer, one)
		if item := e.Bucket(t, "kid", "api", 0); item.Has("parent_id") || item["cascade"].(*boolean).Value {
			t.Errorf("still stamped %v", item)
		}
		if got := attribute(t, e, "old", "api", 0, "b_rpm_tc"); got != 3000 {
			t.Errorf("the former parent was charged %d, want 3000", got)
		}
	})
}

func Test42AnEntityIsDeletedAndCreatedAgain(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, admin, acquirer process) {
		ok(t, admin.defaults("api", limiter.PerMinute("rpm", 100)))
		for _, parent := range []string{"old", "new"} {
			ok(t, admin.create(parent, "", false))
		}
		ok(t, admin.create("kid", "old", true))
		one := ask("kid", "api", limiter.Amounts{"rpm": 1})
		admitted(t, acquirer, one)
		predecessor := e.Bucket(t, "kid", "api", 0)
		before := e.Meta(t, "kid")
		ok(t, admin.remove("kid"))
		if item := e.Get(t, e.BucketPK("kid", "api", 0), peer.BucketSK); item != nil {
			t.Fatalf("%s left %v", admin.name(), item)
		}
		e.Pass(5000)
		ok(t, admin.create("kid", "new", true))
		after := e.Meta(t, "kid")
		if before.Text("pinc") == after.Text("pinc") || after.Number(t, "pgen") <= before.Number(t, "pgen") {
			t.Errorf("incarnation %s at %d follows %s at %d", after.Text("pinc"), after.Number(t, "pgen"), before.Text("pinc"), before.Number(t, "pgen"))
		}
		// A bucket that the delete missed belongs to the predecessor until a slow pass claims it.
		predecessor["b_rpm_tk"] = peer.Number(0)
		e.Put(t, predecessor)
		e.Pass(10_000)
		admitted(t, acquirer, one)
		item := e.Bucket(t, "kid", "api", 0)
		if item.Text("pinc") != after.Text("pinc") || item.Number(t, "pgen") != after.Number(t, "pgen") || item.Text("parent_id") != "new" {
			t.Errorf("%s left the stamp of the predecessor: %v", acquirer.name(), item)
		}
		wantAttributes(t, e, "new", "api", 0, map[string]int64{"b_rpm_tc": 1000})
		wantAttributes(t, e, "old", "api", 0, map[string]int64{"b_rpm_tc": 1000})

		// A create that was prepared before the delete fails its check of META, and is planned again.
		ok(t, admin.create("other", "old", true))
		proxy := proxyOf(e, acquirer)
		proxy.Once(slowWrite("other"), func() {
			if err := admin.remove("other"); err != nil {
				t.Error(err)
			}
			e.Pass(1000)
			if err := admin.create("other", "new", true); err != nil {
				t.Error(err)
			}
		})
		acquirer.ops()
		admitted(t, acquirer, ask("other", "api", limiter.Amounts{"rpm": 1}))
		proxy.Before(nil)
		item, meta := e.Bucket(t, "other", "api", 0), e.Meta(t, "other")
		if item.Text("pinc") != meta.Text("pinc") || item.Text("parent_id") != "new" || item.Number(t, "b_rpm_tc") != 1000 {
			t.Errorf("created for the predecessor: %v", item)
		}
		wantAttributes(t, e, "new", "api", 0, map[string]int64{"b_rpm_tc": 2000})
		wantAttributes(t, e, "old", "api", 0, map[string]int64{"b_rpm_tc": 1000})
		// And the bucket is whole for the other side.
		admitted(t, admin, ask("other", "api", limiter.Amounts{"rpm": 1}))
		wantAttributes(t, e, "other", "api", 0, map[string]int64{"b_rpm_tc": 2000})
	})
}

func Test43TheCascadePolicyOfAResource(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, admin, acquirer process) {
		ok(t, admin.defaults("api", limiter.PerMinute("rpm", 100)))
		ok(t, admin.create("org", "", false))
		ok(t, admin.create("kid", "org", false))
		one := ask("kid", "api", limiter.Amounts{"rpm": 1})
		admitted(t, acquirer, one)
		admitted(t, acquirer, ask("org", "api", limiter.Amounts{"rpm": 0}))
		charged := func(kid, org int64) {
			t.Helper()
			wantAttributes(t, e, "kid", "api", 0, map[string]int64{"b_rpm_tc": kid * 1000})
			wantAttributes(t, e, "org", "api", 0, map[string]int64{"b_rpm_tc": org * 1000})
		}
		follow := func(ops string) {
			t.Helper()
			acquirer.ops()
			admitted(t, acquirer, one)
			if got := letters(acquirer.ops()); got != ops {
				t.Errorf("%s sent %s, want %s and no read", acquirer.name(), got, ops)
			}
		}
		stamped, err := admin.flag("set_cascade", "", "api")
		ok(t, err)
		if stamped != 2 {
			t.Errorf("%d buckets stamped, want those of the child and of the parent", stamped)
		}
		follow("uu") // the child, then the parent that its image names
		charged(2, 1)
		follow("uu")
		charged(3, 2)
		// An entity's own policy comes before that of the resource.
		_, err = admin.flag("unset_cascade", "kid", "api")
		ok(t, err)
		follow("uuu") // both at once, and the parent refunded
		charged(4, 2)
		follow("u")
		charged(5, 2)
		_, err = admin.flag("clear_cascade", "kid", "api")
		ok(t, err)
		follow("uu")
		charged(6, 3)
		_, err = admin.flag("clear_cascade", "", "api")
		ok(t, err)
		follow("uuu")
		charged(7, 3)
		// A bucket that is created now follows the policy, too.
		_, err = admin.flag("set_cascade", "kid", "")
		ok(t, err)
		ok(t, admin.defaults("search", limiter.PerMinute("rpm", 100)))
		admitted(t, acquirer, ask("kid", "search", limiter.Amounts{"rpm": 1}))
		wantAttributes(t, e, "org", "search", 0, map[string]int64{"b_rpm_tc": 1000})
	})
}
