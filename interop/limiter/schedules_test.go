//go:build interop

package limiter_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine

	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/bucket"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// entryArgs are entries as Python reads them.
func entryArgs(entries []schedule.Entry) []args {
	out := []args{}
	for _, e := range entries {
		a := args{"cron": e.Cron}
		if e.TZ != "" {
			a["tz"] = e.TZ
		}
		if e.Scale != 0 {
			a["scale"] = e.Scale
		}
		for name, n := range map[string]int64{"capacity": e.Capacity, "refill_amount": e.RefillAmount, "refill_period_seconds": e.RefillPeriod} {
			if n != 0 {
				a[name] = n
			}
		}
		out = append(out, a)
	}
	return out
}

// never is a time that does not come.
const never = -1

func millis(text string) int64 {
	if text == "" {
		return never
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		panic(err)
	}
	return at.UnixMilli()
}

func Test46Vectors(t *testing.T) {
	t.Parallel()
	e := machine.Env(t, peer.Embedded)
	p := e.Open(t, peer.Options{})
	// python answers a function of the schedules; failed says that it refuses.
	python := func(result any, a args) (failed bool) {
		t.Helper()
		err := p.Do("schedule", a, result)
		if err != nil && !strings.Contains(err.Error(), "ValueError") {
			t.Fatalf("%v: %v", a, err)
		}
		return err != nil
	}
	texts := func(vector, want, goes string, goErr error, a args) {
		t.Helper()
		var theirs string
		failed := python(&theirs, a)
		if want == "" {
			if goErr == nil || !failed {
				t.Errorf("%s: Go says %q, %v, Python %q, want both to refuse", vector, goes, goErr, theirs)
			}
			return
		}
		if goErr != nil || failed || goes != want || theirs != want {
			t.Errorf("%s: Go says %q, %v, Python %q, %v, want %q", vector, goes, goErr, theirs, failed, want)
		}
	}
	encode := func(vector, want string, entries ...schedule.Entry) {
		t.Helper()
		s, err := schedule.Parse(entries)
		texts(vector, want, s.Encode(), err, args{"function": "encode", "entries": entryArgs(entries)})
		again, err := schedule.Decode(want, "UTC")
		texts(vector+", read again", want, again.Encode(), err, args{"function": "decode", "text": want})
	}
	encodeResets := func(vector, want string, entries ...schedule.Entry) {
		t.Helper()
		r, err := schedule.ParseResets(entries)
		texts(vector, want, r.Encode(), err, args{"function": "encode_reset", "resets": entryArgs(entries)})
		again, err := schedule.DecodeResets(want, "UTC")
		texts(vector+", read again", want, again.Encode(), err, args{"function": "decode_reset", "text": want})
	}
	encode("V53", "1m0h9-17w1-5s500;m*/15h0c5a2p30", schedule.Entry{Cron: "0 9-17 * * MON-FRI", Scale: 0.5},
		schedule.Entry{Cron: "*/15 0 * * *", Capacity: 5, RefillAmount: 2, RefillPeriod: 30})
	encode("V54", "1w7s1234", schedule.Entry{Cron: "* * * * 0", Scale: 1.2345})
	encode("V54, always", "1s1", schedule.Entry{Cron: "* * * * *", Scale: 0.0001})
	encodeResets("V55", "1m0h0", schedule.Entry{Cron: "0 0 * * *"})
	encodeResets("V55, two", "1m0h0D1;m0h12w7", schedule.Entry{Cron: "0 0 1 * *"}, schedule.Entry{Cron: "0 12 * * SUN"})
	// B26: Python writes what nobody can read, we refuse to.
	var text string
	if _, err := schedule.ParseResets([]schedule.Entry{{Cron: "* * * * *"}}); err == nil || python(&text, args{"function": "encode_reset", "resets": []args{{"cron": "* * * * *"}}}) || text != "1" {
		t.Errorf("V56: Go takes it (%v) or Python writes %q", err, text)
	}
	_, err := schedule.DecodeResets("1", "UTC")
	texts("V56, read", "", "", err, args{"function": "decode_reset", "text": "1"})
	for _, wrong := range []string{"h9-17", "2h9", "1", "1h9s500;m0", "1x5", "1h9h8"} {
		s, err := schedule.Decode(wrong, "UTC")
		texts("V57 "+wrong, "", s.Encode(), err, args{"function": "decode", "text": wrong})
		r, err := schedule.DecodeResets(wrong, "UTC")
		texts("V57 "+wrong+" as resets", "", r.Encode(), err, args{"function": "decode_reset", "text": wrong})
	}

	params := func(vector string, entries []schedule.Entry, base, want schedule.Params, at int64) {
		t.Helper()
		s, err := schedule.Parse(entries)
		ok(t, err)
		var theirs []int64
		python(&theirs, args{"function": "effective_params", "entries": entryArgs(entries), "base": []int64{base.Capacity, base.Refill, base.Period}, "at": at})
		if got := s.At(base, at); got != want || !slices.Equal(theirs, []int64{want.Capacity, want.Refill, want.Period}) {
			t.Errorf("%s: Go says %v, Python %v, want %v", vector, got, theirs, want)
		}
	}
	scaled := func(scale float64) []schedule.Entry { return []schedule.Entry{{Cron: "* * * * *", Scale: scale}} }
	params("V58", scaled(0.001), schedule.Params{Capacity: 100_000, Refill: 1, Period: 60_000}, schedule.Params{Capacity: 100, Refill: 1, Period: 60_000}, 0)
	params("V58, odd", scaled(0.5), schedule.Params{Capacity: 3333, Refill: 3333, Period: 60_000}, schedule.Params{Capacity: 1666, Refill: 1666, Period: 60_000}, 0)
	params("V58, a quota", scaled(0.1), schedule.Params{Capacity: 1, Refill: 0, Period: 1000}, schedule.Params{Capacity: 1, Refill: 0, Period: 1000}, 0)

	office := []schedule.Entry{{Cron: "0-59 9-17 * * MON-FRI", Scale: 0.5}}
	boundary := func(vector string, entries, resets []schedule.Entry, at, want int64) {
		t.Helper()
		s, err := schedule.Parse(entries)
		ok(t, err)
		r, err := schedule.ParseResets(resets)
		goes, found := schedule.Boundary(s, r, at)
		if err != nil || !found {
			goes = never
		}
		theirs := ptr(int64(never))
		python(&theirs, args{"function": "next_boundary", "entries": entryArgs(entries), "resets": entryArgs(resets), "at": at})
		if theirs == nil {
			theirs = ptr(int64(never))
		}
		if goes != want && err == nil || *theirs != want {
			t.Errorf("%s: the boundary after %d is %d for Go, %d for Python, want %d", vector, at, goes, *theirs, want)
		}
	}
	for _, v := range []struct {
		at, next string
		capacity int64
	}{
		{"2026-01-15T08:59:59Z", "2026-01-15T09:00:00Z", 100_000}, {"2026-01-15T09:00:00Z", "2026-01-15T18:00:00Z", 50_000},
		{"2026-01-15T18:00:00Z", "2026-01-16T09:00:00Z", 100_000},
	} {
		params("V59 at "+v.at, office, schedule.Params{Capacity: 100_000, Refill: 100_000, Period: 60_000}, schedule.Params{Capacity: v.capacity, Refill: v.capacity, Period: 60_000}, millis(v.at))
		boundary("V59 at "+v.at, office, nil, millis(v.at), millis(v.next))
	}

	now := millis("2026-01-15T10:30:00Z")
	for _, v := range []struct{ vector, cron, tz, previous, next string }{
		{"V60", "0 0 * * *", "UTC", "2026-01-15T00:00:00Z", "2026-01-16T00:00:00Z"},
		{"V60, New York", "0 0 * * *", "America/New_York", "2026-01-15T05:00:00Z", "2026-01-16T05:00:00Z"},
		{"V61", "0 0 1 * *", "UTC", "2026-01-01T00:00:00Z", "2026-02-01T00:00:00Z"},
		{"V62", "0 0 * * MON", "UTC", "2026-01-12T00:00:00Z", "2026-01-19T00:00:00Z"},
		{"V63", "0 */5 * * *", "UTC", "2026-01-15T10:00:00Z", "2026-01-15T15:00:00Z"},
		{"V64", "0 9-17 * * *", "UTC", "2026-01-15T10:00:00Z", "2026-01-15T11:00:00Z"},
		{"V65", "0 0 13 * 5", "UTC", "2026-01-13T00:00:00Z", "2026-01-16T00:00:00Z"},
		{"V66", "30 10 * * *", "UTC", "2026-01-15T10:30:00Z", "2026-01-16T10:30:00Z"},
		{"V67", "0 0 29 2 *", "UTC", "", ""},
		{"V67, always", "* * * * *", "UTC", "", ""},
	} {
		entries := []schedule.Entry{{Cron: v.cron, TZ: v.tz}}
		r, err := schedule.ParseResets(entries)
		if v.previous == "" {
			if err == nil { // B27: it would never fire
				t.Errorf("%s: Go takes resets without an edge", v.vector)
			}
			boundary(v.vector, nil, entries, now, now+366*24*time.Hour.Milliseconds())
		} else {
			ok(t, err)
		}
		for _, way := range []struct {
			function, want string
			of             func(int64) (int64, bool)
		}{{"prev_reset_edge", v.previous, r.Prev}, {"next_reset_edge", v.next, r.Next}} {
			theirs := ptr(int64(0))
			python(&theirs, args{"function": way.function, "resets": entryArgs(entries), "at": now})
			if theirs == nil {
				theirs = ptr(int64(never))
			}
			goes, found := way.of(now)
			if !found {
				goes = never
			}
			if want := millis(way.want); goes != want || *theirs != want {
				t.Errorf("%s: %s is %d for Go, %d for Python, want %d", v.vector, way.function, goes, *theirs, want)
			}
		}
	}

	wait := func(vector string, deficit int64, base schedule.Params, shards int64, entries, resets []schedule.Entry, at int64, want float64) {
		t.Helper()
		s, err := schedule.Parse(entries)
		ok(t, err)
		r, err := schedule.ParseResets(resets)
		ok(t, err)
		state := bucket.State{Capacity: base.Capacity, Refill: base.Refill, Period: base.Period, Shards: shards, Schedule: s, Resets: r}
		var theirs float64
		python(&theirs, args{"function": "retry_after_with_schedule", "deficit": deficit, "base": []int64{base.Capacity, base.Refill, base.Period}, "entries": entryArgs(entries),
			"resets": entryArgs(resets), "at": at, "shards": shards})
		if got := float64(state.Wait(deficit, at)) / 1000; got != want || theirs != want {
			t.Errorf("%s: a wait of %v for Go, %v for Python, want %v", vector, got, theirs, want)
		}
	}
	perMinute := schedule.Params{Capacity: 100_000, Refill: 100_000, Period: 60_000}
	wait("V68", 50_000, perMinute, 1, nil, nil, now, 30.001)
	wait("V68, two shards", 50_000, perMinute, 2, nil, nil, now, 60.001)
	wait("V69", 1000, schedule.Params{Capacity: 100_000, Period: 1000}, 1, nil, []schedule.Entry{{Cron: "0 0 * * *"}}, now, 48600.001)
	wait("V70", 60_000, perMinute, 1, office, nil, millis("2026-01-15T08:59:30Z"), 42.001)
}

func ptr[T any](v T) *T { return &v }

// scheduledLimits are limits of every kind, sorted by name.
func scheduledLimits(t *testing.T, zone string) []limiter.Limit {
	t.Helper()
	with := func(l limiter.Limit, entries ...schedule.Entry) limiter.Limit {
		l, err := l.WithSchedule(entries...)
		ok(t, err)
		return l
	}
	quota := func(name string, amount int64, crons ...string) limiter.Limit {
		var entries []schedule.Entry
		for _, c := range crons {
			entries = append(entries, schedule.Entry{Cron: c, TZ: zone})
		}
		l, err := limiter.Quota(name, amount, entries...)
		ok(t, err)
		return l
	}
	return []limiter.Limit{
		with(limiter.PerMinute("a", 100), schedule.Entry{Cron: "0 9-17 * * MON-FRI", TZ: zone, Scale: 0.5},
			schedule.Entry{Cron: "*/15 0 * jan,Dec *", TZ: zone, Capacity: 5, RefillAmount: 2, RefillPeriod: 30}),
		with(limiter.PerHour("b", 7), schedule.Entry{Cron: "* * * * sun", TZ: zone, Scale: 1.2345}),
		limiter.Custom("c", 10, 3, 7*time.Second),
		quota("d", 50, "0 0 * * *"),
		quota("e", 60, "0 0 1 * *", "0 12 * * SUN"),
		limiter.SessionQuota("f", 20, 5*time.Hour).WithSoft(),
		with(quota("g", 70, "0 0 * * *"), schedule.Entry{Cron: "0 9-17 * * MON-FRI", TZ: zone, Scale: 0.5},
			schedule.Entry{Cron: "*/15 0 * jan,Dec *", TZ: zone, Capacity: 5, RefillAmount: 2, RefillPeriod: 30}),
	}
}

// body is an item without what names it.
func body(i peer.Item) peer.Item {
	i = maps.Clone(i)
	for name := range i {
		if name == "PK" || name == "SK" || strings.HasPrefix(name, "GSI") || name == "resource" || name == "entity_id" {
			delete(i, name)
		}
	}
	return i
}

// spelled is a bucket with the schedules of each limit of its own, since a side has as the item's default those of
// the limit that it read first.
func spelled(i peer.Item) peer.Item {
	i = body(i)
	for name := range maps.Clone(i) {
		limit, found := strings.CutSuffix(strings.TrimPrefix(name, "b_"), "_cp")
		if !found || limit == limiter.WCU {
			continue
		}
		for _, kind := range []string{"sched", "rsched"} {
			if own := "b_" + limit + "_" + kind; !i.Has(own) && i.Has(kind) {
				i[own] = i[kind]
			} else if i.Text(own) == "-" {
				delete(i, own)
			}
		}
	}
	delete(i, "sched")
	delete(i, "rsched")
	return i
}

func Test46ItemsAreEqual(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g, p := both(t, e)
		sides := map[string]process{"go": g, "py": p}
		for i, zone := range []string{"", "America/New_York"} {
			limits := scheduledLimits(t, zone)
			consume := limiter.Amounts{}
			for _, l := range limits {
				consume[l.Name] = 2
			}
			same := func(what string, of func(prefix string) peer.Item) {
				t.Helper()
				if diff := cmp.Diff(of("go").String(), of("py").String()); diff != "" {
					t.Errorf("%s, zone %q: Python (+) writes:\n%s", what, zone, diff)
				}
			}
			named := func(prefix, what string) string { return fmt.Sprint(prefix, "-", what, i) }
			for prefix, s := range sides {
				ok(t, s.defaults(named(prefix, "r"), limits...))
				ok(t, s.limits(named(prefix, "e"), named(prefix, "r"), limits...))
				admitted(t, s, ask(named(prefix, "u"), named(prefix, "r"), consume))
				admitted(t, s, ask(named(prefix, "e"), named(prefix, "r"), consume))
				r := ask(named(prefix, "x"), named(prefix, "x"), consume)
				r.limits = limits
				admitted(t, s, r)
			}
			same("defaults of a resource", func(prefix string) peer.Item {
				return body(e.Get(t, e.NS+"/RESOURCE#"+named(prefix, "r"), "#CONFIG"))
			})
			same("limits of an entity", func(prefix string) peer.Item {
				return body(e.Get(t, e.NS+"/ENTITY#"+named(prefix, "e"), "#CONFIG#"+named(prefix, "r")))
			})
			same("bucket by defaults", func(prefix string) peer.Item { return spelled(e.Bucket(t, named(prefix, "u"), named(prefix, "r"), 0)) })
			same("bucket by limits", func(prefix string) peer.Item { return spelled(e.Bucket(t, named(prefix, "e"), named(prefix, "r"), 0)) })
			// With the limits in one order, to the byte.
			same("bucket by limits of the call", func(prefix string) peer.Item { return body(e.Bucket(t, named(prefix, "x"), named(prefix, "x"), 0)) })

			// Seeds onto a bucket that has none of them, and parameters pushed into one that has others.
			for prefix, s := range sides {
				ok(t, s.defaults(named(prefix, "s"), limits[2]))
				admitted(t, s, ask(named(prefix, "s"), named(prefix, "s"), limiter.Amounts{"c": 1}))
				ok(t, s.limits(named(prefix, "s"), named(prefix, "s"), limits[:6]...))
				e.Change(t, e.BucketPK(named(prefix, "s"), named(prefix, "s"), 0), peer.BucketSK, "SET vu = :zero", peer.Item{":zero": peer.Number(0)})
			}
			same("pushed", func(prefix string) peer.Item { return spelled(e.Bucket(t, named(prefix, "s"), named(prefix, "s"), 0)) })
			for prefix, s := range sides {
				admitted(t, s, ask(named(prefix, "s"), named(prefix, "s"), limiter.Amounts{"a": 1, "b": 1, "c": 0, "d": 3, "e": 1, "f": 2}))
			}
			same("seeded", func(prefix string) peer.Item { return spelled(e.Bucket(t, named(prefix, "s"), named(prefix, "s"), 0)) })
			// Each side reads what the other wrote.
			for prefix, s := range map[string]process{"py": g, "go": p} {
				admitted(t, s, ask(named(prefix, "u"), named(prefix, "r"), consume))
				admitted(t, s, ask(named(prefix, "s"), named(prefix, "s"), limiter.Amounts{"a": 1, "d": 1, "f": 1}))
			}
			same("after the other side", func(prefix string) peer.Item { return spelled(e.Bucket(t, named(prefix, "u"), named(prefix, "r"), 0)) })
		}
	})
}

func Test47ABoundaryPasses(t *testing.T) {
	eachOrder(t, func(t *testing.T, e *peer.Env, first, second process) {
		half, err := limiter.PerMinute("rpm", 100).WithSchedule(schedule.Entry{Cron: "* 9 * * *", Scale: 0.5})
		ok(t, err)
		ok(t, first.limits("u", "api", half)) // which never expires
		hour := int64(time.Hour / time.Millisecond)
		take := func(s process, n int64, ops string, tk, vu int64) {
			t.Helper()
			s.ops()
			admitted(t, s, ask("u", "api", limiter.Amounts{"rpm": n}))
			sent := letters(s.ops())
			if slow := strings.Count(sent, "u") > 1 || strings.Contains(sent, "t"); slow != (ops == "slow") {
				t.Errorf("%s sent %s for %d, want it %s", s.name(), sent, n, ops)
			}
			wantAttributes(t, e, "u", "api", 0, map[string]int64{"b_rpm_tk": tk, "vu": peer.Begin + vu})
		}
		take(first, 10, "slow", 90_000, hour)
		take(second, 1, "fast", 89_000, hour)
		e.Set(peer.Begin + hour - 1)
		take(first, 1, "fast", 88_000, hour)
		e.Set(peer.Begin + hour)
		take(second, 5, "slow", 45_000, 2*hour) // trimmed to the half
		wantAttributes(t, e, "u", "api", 0, map[string]int64{"rf": peer.Begin + hour})
		take(first, 1, "fast", 44_000, 2*hour)
		if o := ended(t, second, ask("u", "api", limiter.Amounts{"rpm": 51}), "exceeded"); o.body["limits"].([]any)[0].(map[string]any)["capacity"] != 50.0 {
			t.Errorf("%s reports %v, want the capacity of now", second.name(), o.body)
		}
		e.Pass(30_000)
		take(second, 50, "slow", 0, 2*hour) // 25 regained at half the rate, and no more
		e.Set(peer.Begin + 2*hour)
		take(first, 1, "slow", 99_000, 2*hour+23*hour)
		take(second, 1, "fast", 98_000, 2*hour+23*hour)

		// Of shards that each hold a part: one slow pass a shard.
		e.Set(peer.Begin + 24*hour)
		ok(t, first.defaults("two", half))
		admitted(t, first, ask("u", "two", limiter.Amounts{"rpm": 1}))
		item := maps.Clone(e.Bucket(t, "u", "two", 0))
		item["shard_count"] = peer.Number(2)
		item["b_rpm_tk"] = peer.Number(50_000)
		e.Put(t, item)
		e.Set(peer.Begin + 25*hour)
		admitted(t, second, ask("u", "two", limiter.Amounts{"rpm": 1}))
		wantAttributes(t, e, "u", "two", 0, map[string]int64{"b_rpm_tk": 24_000, "vu": peer.Begin + 26*hour})
	})
}
