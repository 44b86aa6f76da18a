//go:build interop

package limiter_test

import (
	"slices"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

func Test44DisabledBypassedEnforced(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, admin, acquirer process) {
		ok(t, admin.defaults("api", limiter.PerMinute("rpm", 10)))
		one := ask("u", "api", limiter.Amounts{"rpm": 1})
		admitted(t, acquirer, one)
		admitted(t, acquirer, ask("other", "api", limiter.Amounts{"rpm": 1}))
		flag := func(action, entity, resource string, stamped int) {
			t.Helper()
			n, err := admin.flag(action, entity, resource)
			ok(t, err)
			if n != stamped {
				t.Errorf("%s's %s of %s/%s stamped %d buckets, want %d", admin.name(), action, entity, resource, n, stamped)
			}
		}
		fast := func(r demand, kind string) outcome {
			t.Helper()
			acquirer.ops()
			o := ended(t, acquirer, r, kind)
			if ops := letters(acquirer.ops()); ops != "u" {
				t.Errorf("%s sent %s, want one update", acquirer.name(), ops)
			}
			return o
		}
		// At the level of the resource.
		flag("disable", "", "api", 2)
		if o := fast(one, "disabled"); o.level != "bucket" {
			t.Errorf("closed at level %s, want the bucket", o.level)
		}
		if o := ended(t, acquirer, ask("new", "api", limiter.Amounts{"rpm": 1}), "disabled"); o.level != "resource" {
			t.Errorf("closed at level %s, want the resource", o.level)
		}
		// An entity is the exception, first on one resource, then on all.
		flag("enable", "u", "api", 1)
		fast(one, "admitted")
		flag("clear_disabled", "u", "api", 1)
		fast(one, "disabled")
		flag("enable", "u", "", 1)
		fast(one, "admitted")
		flag("clear_disabled", "", "api", 2)
		fast(ask("other", "api", limiter.Amounts{"rpm": 1}), "admitted")
		flag("disable", "u", "", 1)
		fast(one, "disabled")
		ok(t, admin.defaults("search", limiter.PerMinute("rpm", 10)))
		if o := ended(t, acquirer, ask("u", "search", limiter.Amounts{"rpm": 1}), "disabled"); o.level != "entity_default" {
			t.Errorf("closed at level %s, want the entity's default", o.level)
		}
		ended(t, acquirer, ask("u", "unknown", limiter.Amounts{"rpm": 1}), "invalid") // no limits there at all
		flag("clear_disabled", "u", "", 1)
		fast(one, "admitted")
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 4000})

		// Waived: what is taken is counted, and the balance stays.
		flag("bypass", "", "api", 2)
		until := attribute(t, e, "u", "api", 0, "bypass")
		if until <= e.Now() || until > e.Now()+60_000 {
			t.Errorf("waived until %d at %d", until, e.Now())
		}
		for range 2 {
			o := ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "admitted")
			if !o.bypassed {
				t.Error("admitted without saying that it was waived")
			}
		}
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 104_000, "bypass": until})
		lease := ended(t, acquirer, demand{entity: "u", resource: "api", consume: limiter.Amounts{"rpm": 5}, hold: true}, "admitted").lease
		ok(t, lease.step("adjust", "", limiter.Amounts{"rpm": 2}))
		ok(t, lease.end(false))
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 111_000})
		lease = ended(t, acquirer, demand{entity: "u", resource: "api", consume: limiter.Amounts{"rpm": 5}, hold: true}, "admitted").lease
		ok(t, lease.end(true))
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 111_000})

		// Past its deadline the stamp is renewed by whoever comes first, as long as the config says so.
		e.Pass(until - e.Now())
		if o := ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "admitted"); !o.bypassed {
			t.Error("not waived any more")
		}
		renewed := attribute(t, e, "u", "api", 0, "bypass")
		if renewed <= e.Now() || renewed > e.Now()+60_000 {
			t.Errorf("renewed until %d at %d", renewed, e.Now())
		}
		// And removed otherwise, here after a change of config that reached no bucket.
		e.Change(t, e.NS+"/RESOURCE#api", "#CONFIG", "REMOVE disabled", nil)
		if o := ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "admitted"); !o.bypassed {
			t.Error("the stamp still holds")
		}
		e.Pass(renewed - e.Now())
		ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "exceeded")
		admitted(t, admin, one)
		item := e.Bucket(t, "u", "api", 0)
		if item.Has("bypass") {
			t.Errorf("still waived: %v", item)
		}
		if tk, tc := item.Number(t, "b_rpm_tk"), item.Number(t, "b_rpm_tc"); tk != 5000 || tc != 212_000 {
			t.Errorf("%d millitokens and %d consumed, want 5000 and 212000", tk, tc)
		}

		// At the level of the entity, and a bucket that is created while it is waived.
		flag("bypass", "u", "api", 1)
		if o := ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "admitted"); !o.bypassed {
			t.Error("not waived")
		}
		flag("bypass", "late", "", 0)
		if o := ended(t, acquirer, ask("late", "api", limiter.Amounts{"rpm": 50}), "admitted"); !o.bypassed {
			t.Error("not waived from the start")
		}
		wantAttributes(t, e, "late", "api", 0, map[string]int64{"b_rpm_tk": 10_000, "b_rpm_tc": 50_000})
		flag("enable", "u", "api", 1)
		ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 50}), "exceeded")
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"bypass": absent, "b_rpm_tk": 5000})
	})
}

func Test45SoftAndHardAgain(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, admin, acquirer process) {
		soft := []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft(), limiter.PerMinute("tpm", 1000)}
		ok(t, admin.defaults("api", soft...))
		r := ask("u", "api", limiter.Amounts{"rpm": 8, "tpm": 1})
		for i, s := range []process{admin, acquirer, admin, acquirer} {
			o := admitted(t, s, r)
			wanted := []string{"rpm"}
			if i == 0 {
				wanted = nil
			}
			if !slices.Equal(slices.Clip(o.overdrawn), slices.Clip(wanted)) && len(o.overdrawn)+len(wanted) > 0 {
				t.Errorf("acquire %d: %s says that %v are overdrawn, want %v", i, s.name(), o.overdrawn, wanted)
			}
		}
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": 10_000 - 32_000, "b_rpm_tc": 32_000})
		// The hard limit beside it still refuses, and says what the soft one is.
		o := ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 1, "tpm": 2000}), "exceeded")
		for _, l := range o.body["limits"].([]any) {
			if m := l.(map[string]any); m["limit_name"] == "rpm" && (m["soft"] != true || m["exceeded"] != false || m["available"] != float64(-22)) {
				t.Errorf("the soft limit is said to be %v", m)
			}
		}
		// Renewed by a slow pass past the stamp.
		until := attribute(t, e, "u", "api", 0, "b_rpm_soft")
		e.Set(until)
		admitted(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 40, "tpm": 0}))
		if again := attribute(t, e, "u", "api", 0, "b_rpm_soft"); again <= e.Now() || again > e.Now()+60_000 {
			t.Errorf("soft until %d at %d", again, e.Now())
		}
		hard := []limiter.Limit{limiter.PerMinute("rpm", 10), limiter.PerMinute("tpm", 1000)}
		// By a change of config that reaches the buckets.
		ok(t, admin.defaults("api", hard...))
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_soft": absent})
		ended(t, acquirer, ask("u", "api", limiter.Amounts{"rpm": 1}), "exceeded")
		ended(t, admin, ask("u", "api", limiter.Amounts{"rpm": 1}), "exceeded")

		// And by one that does not: hard when the stamp is over.
		ok(t, admin.defaults("api", soft...))
		admitted(t, acquirer, ask("v", "api", limiter.Amounts{"rpm": 30, "tpm": 0}))
		e.Change(t, e.NS+"/RESOURCE#api", "#CONFIG", "REMOVE l_rpm_soft", nil)
		admitted(t, acquirer, ask("v", "api", limiter.Amounts{"rpm": 30, "tpm": 0}))
		e.Set(attribute(t, e, "v", "api", 0, "b_rpm_soft"))
		for _, s := range []process{acquirer, admin} {
			ended(t, s, ask("v", "api", limiter.Amounts{"rpm": 30, "tpm": 0}), "exceeded")
		}
		// Of an entity, pushed into its buckets at once.
		ok(t, admin.limits("v", "api", soft...))
		admitted(t, acquirer, ask("v", "api", limiter.Amounts{"rpm": 30, "tpm": 0}))
		ok(t, admin.limits("v", "api", hard...))
		ended(t, acquirer, ask("v", "api", limiter.Amounts{"rpm": 1, "tpm": 0}), "exceeded")
	})
}
