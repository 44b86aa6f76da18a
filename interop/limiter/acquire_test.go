//go:build interop

package limiter_test

import (
	"fmt"
	"maps"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

func Test01GoCreatesPythonTakesTheFastPath(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g := openGo(t, e, limiter.Options{})
		g.defaults("gpt-4", perMinute("rpm", 100), perMinute("tpm", 10_000))
		p := openPython(t, e, peer.Options{})
		p.must("warm", "gpt-4", amounts{"rpm": 1}) // reads the system defaults
		g.must("u", "gpt-4", amounts{"rpm": 10, "tpm": 500})
		e.Python.Forget()
		lease := p.Must(t, "u", "gpt-4", args{"rpm": 2, "tpm": 100})
		wantOperations(t, p, "UpdateItem")
		if len(lease.Entries) != 2 {
			t.Fatalf("%d entries in the lease, want 2", len(lease.Entries))
		}
		for i, want := range []struct {
			name                   string
			capacity, left, amount float64
		}{{"rpm", 100, 88_000, 2}, {"tpm", 10_000, 9_400_000, 100}} {
			got := lease.Entries[i]
			if got.Limit["name"] != want.name || got.Limit["capacity"] != want.capacity || got.Limit["refill_amount"] != want.capacity ||
				got.Limit["refill_period_seconds"] != 60.0 || float64(got.TokensMilli) != want.left || float64(got.Consumed) != want.amount {
				t.Errorf("entry %d is %+v, want %+v", i, got, want)
			}
		}
	})
}

func Test02PythonCreatesGoTakesTheFastPath(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		p := openPython(t, e, peer.Options{})
		p.defaults("gpt-4", perMinute("rpm", 100), perMinute("tpm", 10_000))
		g := openGo(t, e, limiter.Options{})
		g.must("warm", "gpt-4", amounts{"rpm": 1})
		p.must("u", "gpt-4", amounts{"rpm": 10, "tpm": 500})
		before := e.Bucket(t, "u", "gpt-4", 0)
		e.Go.Forget()
		l := g.enter("u", "gpt-4", amounts{"rpm": 2, "tpm": 100}).(goLease)
		wantOperations(t, g, "UpdateItem")
		if got := l.Consumed(); !maps.Equal(got, amounts{"rpm": 2, "tpm": 100}) {
			t.Errorf("the lease consumed %v", got)
		}
		for _, s := range l.Statuses() {
			if want := map[string]int64{"rpm": 88, "tpm": 9400}[s.Limit.Name]; s.Available != want {
				t.Errorf("%s has %d left, want %d", s.Limit.Name, s.Available, want)
			}
		}
		l.exit()
		after := e.Bucket(t, "u", "gpt-4", 0)
		moved := map[string]int64{
			"b_rpm_tk": -2000, "b_rpm_tc": 2000, "b_tpm_tk": -100_000, "b_tpm_tc": 100_000, "b_wcu_tk": -1000, "b_wcu_tc": 1000,
		}
		for name := range after {
			if change, moves := moved[name]; moves {
				wantNumbers(t, after, map[string]int64{name: before.Number(t, name) + change})
				delete(before, name)
				delete(after, name)
			}
		}
		if before.String() != after.String() {
			t.Errorf("more changed than what was consumed: before\n%v\nafter\n%v", before, after)
		}
	})
}

func Test03AlternatingAcquires(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 1000))
		total := int64(0)
		for i := range int64(20) {
			first.must("u", "r", amounts{"rpm": i})
			second.must("u", "r", amounts{"rpm": 2 * i})
			total += 3 * i
		}
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": (1000 - total) * 1000, "b_rpm_tc": total * 1000})
	})
}

func Test04ConcurrentAcquiresNeverExceedTheCapacity(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g := openGo(t, e, limiter.Options{})
		p := openPython(t, e, peer.Options{})
		g.defaults("r", perMinute("rpm", 60))
		var wg sync.WaitGroup
		var admitted [2]atomic.Int64
		started := make(chan struct{}) // once Python is at work, which is slower
		e.Python.Once(func(r peer.Request) bool { return r.Operation == "UpdateItem" }, func() { close(started) })
		for i, s := range []side{g, p} {
			for range 4 {
				wg.Go(func() {
					if i == 0 {
						<-started
					}
					for range 10 + 5*i {
						if s.try("u", "r", amounts{"rpm": 1}) == nil {
							admitted[i].Add(1)
						}
					}
				})
			}
		}
		wg.Wait()
		// What was refused for contention only is taken now.
		for g.try("u", "r", amounts{"rpm": 1}) == nil {
			admitted[0].Add(1)
		}
		ours, theirs := admitted[0].Load(), admitted[1].Load()
		if ours+theirs != 60 || ours == 0 || theirs == 0 {
			t.Errorf("Go was admitted %d times and Python %d times, want 60 in all", ours, theirs)
		}
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": 0, "b_rpm_tc": 60_000})
	})
}

// The cases are the vectors V15 to V23: a balance, the time since it was materialised, and a request.
func Test05RefusedWithTheSameWait(t *testing.T) {
	cases := []struct {
		vector            string
		capacity          int64
		period            time.Duration
		tokens, n, passed int64
		available         int64
		retry             float64 // 0: admitted
	}{
		{"V15", 100, time.Minute, 100_000, 150, 0, 100, 30.001},
		{"V16", 100, time.Minute, -1500, 0, 0, -2, 0.901},
		{"V17", 100, time.Minute, -1500, 0, 899, -1, 0.002},
		{"V18", 100, time.Minute, -1500, 0, 900, 0, 0},
		{"V19", 100, time.Minute, -1500, 1, 0, -2, 1.501},
		{"V20", 100, time.Minute, 0, 1, 599, 0, 0.002},
		{"V21", 100, time.Minute, 0, 1, 600, 1, 0},
		{"V22", 100, time.Minute, 1999, 2, 0, 1, 0.001},
		{"V22b", 100, time.Minute, 1999, 1, 0, 1, 0},
		{"V23", 1, 24 * time.Hour, 0, 1, 0, 0, 86400.001},
	}
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("other", perMinute("x", 1))
		second.must("warm", "other", amounts{"x": 0})
		for _, c := range cases {
			resource := "r" + c.vector
			first.defaults(resource, limiter.Custom("x", c.capacity, c.capacity, c.period))
			first.must("u", resource, amounts{"x": 0})
			e.Change(t, e.BucketPK("u", resource, 0), peer.BucketSK, "SET b_x_tk = :tk, rf = :rf", item{":tk": peer.Number(c.tokens), ":rf": peer.Number(e.Now() - c.passed)})
			second.proxy().Forget()
			got := second.try("u", resource, amounts{"x": c.n})
			if (got == nil) != (c.retry == 0) {
				t.Errorf("%s: %s is refused: %+v", c.vector, second.name(), got)
			}
			if got == nil || c.retry == 0 {
				continue
			}
			wantOperations(t, second, "UpdateItem")
			if l := got.Limits[0]; got.RetryAfterSeconds != c.retry || l.RetryAfterSeconds != c.retry || l.Available != c.available || l.Requested != c.n {
				t.Errorf("%s: %s is refused with %+v, want a wait of %v with %d available", c.vector, second.name(), got, c.retry, c.available)
			}
			second.proxy().Forget()
			if again := second.try("u", resource, amounts{"x": c.n}); again == nil || again.RetryAfterSeconds != c.retry {
				t.Errorf("%s: once more %s is refused with %+v, want %v", c.vector, second.name(), again, c.retry)
			}
			wantOperations(t, second) // none: from memory
			wantNumbers(t, e.Bucket(t, "u", resource, 0), map[string]int64{"b_x_tk": c.tokens, "b_x_tc": 0})
		}
	})
}

// The worked example of the wire format, each step by the other side than the one before.
func Test06WorkedExampleToTheDigit(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"Go", "Python"} {
		t.Run(first, func(t *testing.T) {
			machine.Each(t, func(t *testing.T, e *peer.Env) {
				// Each side is two processes: one that reads first, and one that does not.
				slow := []side{openGo(t, e, limiter.Options{DisableSpeculation: true}), openPython(t, e, peer.Options{ReadFirst: true})}
				fast := []side{openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})}
				if first == "Python" {
					slices.Reverse(slow)
					slices.Reverse(fast)
				}
				workedExample(t, e, slow, fast)
			})
		})
	}
}

func workedExample(t *testing.T, e *peer.Env, slow, fast []side) {
	slow[0].defaults("r4", perMinute("rpm", 100), perMinute("tpm", 10_000))
	at := func(step string, want map[string]int64) item {
		t.Helper()
		i := e.Bucket(t, "u", "r4", 0)
		for name, n := range want {
			if got := i.Number(t, name); got != n {
				t.Errorf("step %s: %s is %d, want %d", step, name, got, n)
			}
		}
		return i
	}
	const begin = peer.Begin
	slow[0].proxy().Forget()
	slow[0].must("u", "r4", amounts{"rpm": 100, "tpm": 500})
	created := at("1", map[string]int64{
		"rf": begin, "b_rpm_tk": 0, "b_rpm_cp": 100_000, "b_rpm_ra": 100_000, "b_rpm_rp": 60_000, "b_rpm_tc": 100_000,
		"b_tpm_tk": 9_500_000, "b_tpm_cp": 10_000_000, "b_tpm_ra": 10_000_000, "b_tpm_rp": 60_000, "b_tpm_tc": 500_000,
		"b_wcu_tk": 1_000_000, "b_wcu_cp": 1_000_000, "b_wcu_ra": 1_000_000, "b_wcu_rp": 1000, "b_wcu_tc": 0,
		"shard_count": 1, "ttl": begin/1000 + 420,
	})
	for _, absent := range []string{"vu", "pgen", "pinc", "parent_id", "sched", "rsched", "disabled", "bypass"} {
		if created.Has(absent) {
			t.Errorf("step 1: %s is there", absent)
		}
	}
	if last := slow[0].proxy().Requests(); !last[len(last)-1].Has("ConditionCheck") {
		t.Errorf("step 1 ends with %v, want a transaction with a check of the owner", last[len(last)-1])
	}

	e.Pass(1234)
	lease := slow[1].enter("u", "r4", amounts{"rpm": 2, "tpm": 0})
	at("2", map[string]int64{"rf": begin + 1234, "ttl": (begin+1234)/1000 + 420, "b_rpm_tk": 56, "b_rpm_tc": 102_000, "b_tpm_tk": 9_705_666, "b_tpm_tc": 500_000, "b_wcu_tk": 1_000_000, "b_wcu_tc": 0})
	lease.adjust(amounts{"tpm": 20_000})
	lease.exit()
	at("3", map[string]int64{"rf": begin + 1234, "b_rpm_tk": 56, "b_rpm_tc": 102_000, "b_tpm_tk": -10_294_334, "b_tpm_tc": 20_500_000})

	e.Set(begin + 2000)
	refused := func(step string, s side) {
		t.Helper()
		r := s.try("u", "r4", amounts{"rpm": 2})
		if r == nil || len(r.Limits) != 1 || r.Limits[0].LimitName != "rpm" || r.Limits[0].Available != 1 || r.RetryAfterSeconds != 0.401 {
			t.Errorf("step %s: %s is refused with %+v, want rpm with 1 available and a wait of 0.401 s", step, s.name(), r)
		}
	}
	refused("4", slow[0])
	fast[1].must("warm", "r4", amounts{"rpm": 0})
	fast[1].proxy().Forget()
	refused("5", fast[1])
	wantOperations(t, fast[1], "UpdateItem")
	fast[1].proxy().Forget()
	refused("5 again", fast[1])
	wantOperations(t, fast[1])

	e.Set(begin + 62_000)
	fast[0].must("warm", "r4", amounts{"rpm": 0})
	fast[0].proxy().Forget()
	fast[0].must("u", "r4", amounts{"rpm": 2})
	wantSlowPass(t, fast[0])
	at("6", map[string]int64{"rf": begin + 62_000, "ttl": (begin+62_000)/1000 + 420, "b_rpm_tk": 98_000, "b_rpm_tc": 104_000, "b_tpm_tk": -166_668, "b_tpm_tc": 20_500_000, "b_wcu_tk": 1_000_000, "b_wcu_tc": 0})

	fast[1].proxy().Forget()
	fastLease := fast[1].enter("u", "r4", amounts{"rpm": 2})
	at("7", map[string]int64{"rf": begin + 62_000, "b_rpm_tk": 96_000, "b_rpm_tc": 106_000, "b_wcu_tk": 999_000, "b_wcu_tc": 1000})
	fastLease.release(amounts{"rpm": 1})
	fastLease.exit()
	final := at("8", map[string]int64{"rf": begin + 62_000, "b_rpm_tk": 97_000, "b_rpm_tc": 105_000, "b_wcu_tk": 999_000})
	if final.Has("vu") {
		t.Error("step 8: a credit below the ceiling leaves a vu")
	}
}

// A side prepares a refill, and before it is written the other side acts.
func Test07LostRaces(t *testing.T) {
	cases := []struct {
		name string
		act  func(other side) (undo func())
		tk   int64 // of 100 a minute, drained, after 30 s and 3 consumed
		tc   int64
	}{
		{"refill", func(other side) func() {
			return func() { other.must("u", "r", amounts{"rpm": 4}) }
		}, 50_000 - 3000 - 4000, 107_000},
		{"credit", func(other side) func() {
			l := other.enter("u", "r", amounts{"rpm": 0})
			l.release(amounts{"rpm": 60})
			return l.exit
		}, 50_000 + 60_000 - 3000, 43_000},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			inOrders(t, limiter.Options{DisableSpeculation: true}, peer.Options{ReadFirst: true}, func(t *testing.T, e *peer.Env, racer, other side) {
				racer.defaults("r", perMinute("rpm", 100))
				other.must("u", "r", amounts{"rpm": 100})
				racer.must("warm", "r", amounts{"rpm": 0})
				act := c.act(other)
				e.Pass(30 * sec)
				racer.proxy().Once(func(r peer.Request) bool { return r.Operation == "UpdateItem" && r.Has("u#r#0") }, act)
				racer.must("u", "r", amounts{"rpm": 3})
				after := e.Bucket(t, "u", "r", 0)
				// A credit may have forced a pass that trims; the balance counts all the same.
				if c.name == "credit" && after.Number(t, "b_rpm_tk") == 60_000-3000 {
					// The refill is still due: nothing is lost, since rf did not move.
					if rf := after.Number(t, "rf"); rf != peer.Begin {
						t.Errorf("the refill of 30 s is lost: rf is %d", rf-peer.Begin)
					}
					wantNumbers(t, after, map[string]int64{"b_rpm_tc": c.tc})
					return
				}
				wantNumbers(t, after, map[string]int64{"b_rpm_tk": c.tk, "b_rpm_tc": c.tc, "rf": e.Now()})
			})
		})
	}
}

func Test08SimultaneousCreation(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, slower, faster side) {
		slower.defaults("r", perMinute("rpm", 10))
		slower.proxy().Once(func(r peer.Request) bool { return r.Operation == "TransactWriteItems" && r.Has("u#r#0") }, func() {
			faster.must("u", "r", amounts{"rpm": 3})
		})
		slower.must("u", "r", amounts{"rpm": 1})
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": 6000, "b_rpm_tc": 4000, "b_rpm_cp": 10_000})
	})
}

func Test09SeveralLimits(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 10), perMinute("tpm", 1000))
		first.must("u", "r", amounts{"rpm": 2, "tpm": 900})
		before := e.Bucket(t, "u", "r", 0)
		for _, s := range []side{second, first} {
			r := s.try("u", "r", amounts{"rpm": 1, "tpm": 200})
			if r == nil || !slices.Equal(r.short(), []string{"u/tpm"}) || len(r.Limits) != 2 {
				t.Errorf("%s is refused with %+v, want tpm short and both limits reported", s.name(), r)
			}
		}
		if after := e.Bucket(t, "u", "r", 0); after.String() != before.String() {
			t.Errorf("a refusal changed the bucket:\n%v\nbefore\n%v", after, before)
		}
		l := first.enter("u", "r", amounts{"tpm": 0})
		l.adjust(amounts{"tpm": 500})
		l.exit()
		for _, s := range []side{second, first} {
			s.must("u", "r", amounts{"rpm": 1})
			e.Pass(100) // nothing refills enough
		}
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tc": 4000, "b_tpm_tc": 1_400_000})
	})
}

func Test10AdjustIntoDebtAndBack(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 60))
		l := first.enter("u", "r", amounts{"rpm": 10})
		l.adjust(amounts{"rpm": 80})
		l.exit()
		if got := second.available("u", "r")["rpm"]; got != -30 {
			t.Errorf("%s has %d available, want -30", second.name(), got)
		}
		if r := second.try("u", "r", amounts{"rpm": 0}); r == nil || r.Limits[0].Available != -30 {
			t.Errorf("%s is refused with %+v, want it in debt by 30", second.name(), r)
		}
		e.Pass(60 * sec) // regains 60 of 90 that were taken
		back := second.enter("u", "r", amounts{"rpm": 5})
		back.release(amounts{"rpm": 25})
		back.exit()
		if got := first.available("u", "r")["rpm"]; got != 50 {
			t.Errorf("%s has %d available after the release, want 50", first.name(), got)
		}
		for _, s := range []side{first, second} {
			over := s.enter("full"+s.name(), "r", amounts{"rpm": 1})
			over.release(amounts{"rpm": 30})
			over.exit()
			wantNumbers(t, e.Bucket(t, "full"+s.name(), "r", 0), map[string]int64{"b_rpm_tk": 89_000, "vu": 0})
		}
		for s, entity := range map[side]string{first: "full" + second.name(), second: "full" + first.name()} {
			s.must(entity, "r", amounts{"rpm": 1})
			trimmed := e.Bucket(t, entity, "r", 0)
			wantNumbers(t, trimmed, map[string]int64{"b_rpm_tk": 59_000, "b_rpm_tc": -28_000})
			if trimmed.Has("vu") {
				t.Errorf("%s leaves a vu on the bucket that it trimmed", s.name())
			}
		}
	})
}

func Test11ErrorInTheBodyRestoresExactly(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 60), perMinute("tpm", 600))
		first.must("u", "r", amounts{"rpm": 7, "tpm": 70})
		for _, s := range []side{second, first} {
			before := e.Bucket(t, "u", "r", 0)
			l := s.enter("u", "r", amounts{"rpm": 3, "tpm": 30})
			l.adjust(amounts{"tpm": 200})
			l.fail()
			wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{
				"b_rpm_tk": before.Number(t, "b_rpm_tk"), "b_rpm_tc": before.Number(t, "b_rpm_tc"),
				"b_tpm_tk": before.Number(t, "b_tpm_tk"), "b_tpm_tc": before.Number(t, "b_tpm_tc"), "rf": before.Number(t, "rf"),
			})
		}
		// A creation, too.
		l := second.enter("new", "r", amounts{"rpm": 3})
		l.fail()
		wantNumbers(t, e.Bucket(t, "new", "r", 0), map[string]int64{"b_rpm_tk": 60_000, "b_rpm_tc": 0, "b_tpm_tk": 600_000})
	})
}

func Test12ExpiredButPresent(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 60))
		first.must("u", "r", amounts{"rpm": 50})
		for _, s := range []side{second, first} {
			ttl := e.Bucket(t, "u", "r", 0).Number(t, "ttl")
			e.Set(ttl*1000 + 500) // the second it names has come
			s.proxy().Forget()
			s.must("u", "r", amounts{"rpm": 1})
			// Both had forgotten the limits.
			got := s.proxy().Operations()
			if i := slices.Index(got, "UpdateItem"); i < 0 || !slices.Contains(got[i:], "BatchGetItem") || got[len(got)-1] != "UpdateItem" {
				t.Errorf("%s sent %v, want a try, reads and a write", s.name(), got)
			}
			wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"ttl": ttl + 420, "rf": e.Now(), "b_rpm_tk": 59_000})
		}
	})
}

func Test13NoPartialItems(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 60))
		for _, s := range []side{first, second} {
			for _, end := range []func(lease){lease.exit, lease.fail} {
				entity := "gone" + s.name()
				l := s.enter(entity, "r", amounts{"rpm": 5})
				l.adjust(amounts{"rpm": 5})
				e.Delete(t, e.BucketPK(entity, "r", 0), peer.BucketSK)
				end(l)
				if left := e.Get(t, e.BucketPK(entity, "r", 0), peer.BucketSK); left != nil {
					t.Errorf("%s leaves a partial item:\n%v", s.name(), left)
				}
			}
		}
	})
}

func Test13GoRepairsAPartialItem(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g := openGo(t, e, limiter.Options{})
		p := openPython(t, e, peer.Options{})
		g.defaults("r", perMinute("rpm", 60))
		p.must("whole", "r", amounts{"rpm": 5})
		// What an adjustment by a peer before 0.17 leaves of a bucket that expired.
		e.Put(t, item{"PK": peer.Text(e.BucketPK("u", "r", 0)), "SK": peer.Text(peer.BucketSK), "b_rpm_tk": peer.Number(-3000), "b_rpm_tc": peer.Number(3000)})
		g.must("u", "r", amounts{"rpm": 5})
		repaired, whole := e.Bucket(t, "u", "r", 0), e.Bucket(t, "whole", "r", 0)
		if got, want := slices.Sorted(maps.Keys(repaired)), slices.Sorted(maps.Keys(whole)); !slices.Equal(got, want) {
			t.Errorf("the repaired item has %v, want %v", got, want)
		}
		e.Python.Forget()
		lease := p.Must(t, "u", "r", args{"rpm": 1})
		wantOperations(t, p, "UpdateItem")
		if len(lease.Entries) != 1 || lease.Entries[0].TokensMilli != repaired.Number(t, "b_rpm_tk")-1000 {
			t.Errorf("Python's lease on it is %+v", lease)
		}
	})
}

func Test14LimitAddedLater(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		workdays, err := perMinute("rpm", 60).WithSchedule(schedule.Entry{Cron: "* 9-17 * * MON-FRI", Scale: 0.5})
		ok(t, err)
		first.defaults("r", workdays)
		first.must("u", "r", amounts{"rpm": 1})
		second.defaults("r", workdays, perMinute("tpm", 600))
		first.forget()
		second.forget()
		second.must("u", "r", amounts{"rpm": 1, "tpm": 100})
		seeded := e.Bucket(t, "u", "r", 0)
		wantNumbers(t, seeded, map[string]int64{
			"b_tpm_tk": 500_000, "b_tpm_tc": 100_000, "b_tpm_cp": 600_000, "b_tpm_ra": 600_000, "b_tpm_rp": 60_000, "b_rpm_tk": 58_000, "b_rpm_tc": 2000,
		})
		for _, own := range []string{"b_tpm_sched", "b_tpm_rsched"} {
			if got := seeded.Text(own); got != "-" {
				t.Errorf("%s is %q, want -", own, got)
			}
		}
		if got := seeded.Text("sched"); got != "1h9-17w1-5s500" {
			t.Errorf("the item's schedule is %q", got)
		}
		first.must("warm", "r", amounts{"rpm": 0})
		first.proxy().Forget()
		first.must("u", "r", amounts{"rpm": 1, "tpm": 50})
		wantOperations(t, first, "UpdateItem")
		wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_tpm_tk": 450_000, "b_rpm_tk": 57_000})
	})
}

// The cases are V33 to V39c: how long a bucket with these limits lives. Limits of an entity have none.
func Test15TimeToLive(t *testing.T) {
	quota := func(cron string) limiter.Limit {
		l, err := limiter.Quota("q", 100, schedule.Entry{Cron: cron})
		ok(t, err)
		return l
	}
	slowly, err := perMinute("x", 60).WithSchedule(schedule.Entry{Cron: "0 0-6 * * *", RefillAmount: 1})
	ok(t, err)
	cases := []struct {
		vector  string
		limits  []limiter.Limit
		seconds int64
	}{
		{"V33", []limiter.Limit{perMinute("x", 100)}, 420},
		{"V34", []limiter.Limit{perMinute("x", 10).WithBurst(1000)}, 42_000},
		{"V35", []limiter.Limit{perMinute("x", 100), limiter.PerDay("y", 10)}, 604_800},
		{"V36", []limiter.Limit{limiter.Custom("x", 10, 3, time.Second)}, 23},
		{"V37", []limiter.Limit{limiter.Custom("x", 1000, 7, time.Minute)}, 60_000},
		{"V38", []limiter.Limit{limiter.Custom("x", 100, 3, 7*time.Second)}, 1633},
		{"V39b daily", []limiter.Limit{quota("0 0 * * *")}, 604_800},
		{"V39b monthly", []limiter.Limit{quota("0 0 1 * *")}, 18_748_800},
		{"V39b session", []limiter.Limit{limiter.SessionQuota("q", 50, 5*time.Hour)}, 126_000},
		{"V39c", []limiter.Limit{slowly}, 25_200},
	}
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		e.DeclareReaders(t)
		e.Pass(999) // seconds are cut, as in V41
		for i, c := range cases {
			resource := fmt.Sprintf("r%d", i)
			first.defaults(resource, c.limits...)
			for _, s := range []side{second, first} {
				entity := s.name()
				s.must(entity, resource, amounts{c.limits[0].Name: 1})
				wantNumbers(t, e.Bucket(t, entity, resource, 0), map[string]int64{"ttl": e.Now()/1000 + c.seconds})
			}
		}
		for i, level := range []string{"own", ""} { // of one resource, of all
			entity := fmt.Sprintf("e%d", i)
			first.setLimits(entity, level, perMinute("x", 100))
			second.must(entity, "own", amounts{"x": 1})
			if b := e.Bucket(t, entity, "own", 0); b.Has("ttl") {
				t.Errorf("limits of the entity, level %q: %s sets a ttl\n%v", level, second.name(), b)
			}
		}
	})
}

// V39 and V40, where the sides may differ.
func Test15NoTimeToLive(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		openGo(t, e, limiter.Options{}).defaults("r", limiter.Custom("x", 1, 100, time.Second))
		for _, s := range []side{openGo(t, e, limiter.Options{TTLMultiplier: -1}), openPython(t, e, peer.Options{How: "builder", More: args{"bucket_ttl_multiplier": 0}})} {
			s.must(s.name(), "r", amounts{"x": 0})
			if b := e.Bucket(t, s.name(), "r", 0); b.Has("ttl") {
				t.Errorf("multiplier 0: %s sets a ttl\n%v", s.name(), b)
			}
		}
		// Python takes 0 seconds for none (B16); ours are at least one.
		openPython(t, e, peer.Options{}).must("theirs", "r", amounts{"x": 0})
		openGo(t, e, limiter.Options{}).must("ours", "r", amounts{"x": 0})
		if b := e.Bucket(t, "theirs", "r", 0); b.Has("ttl") {
			t.Errorf("Python clamps the ttl by now:\n%v", b)
		}
		wantNumbers(t, e.Bucket(t, "ours", "r", 0), map[string]int64{"ttl": e.Now()/1000 + 1})
	})
}

func Test15DeletingEntityLimitsRestoresEveryShard(t *testing.T) {
	t.Parallel()
	for _, level := range []string{"r", ""} {
		t.Run("level "+level, func(t *testing.T) {
			bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
				first.defaults("r", perMinute("rpm", 60))
				// Without these Python takes an entity's limits for all resources away without looking further.
				first.systemDefaults(perMinute("rpm", 30))
				first.setLimits("u", level, perMinute("rpm", 100), perMinute("extra", 5))
				second.must("u", "r", amounts{"rpm": 10, "extra": 1})
				split(t, e, "u", "r", 2)
				second.deleteLimits("u", level)
				for shard := range 2 {
					b := e.Bucket(t, "u", "r", shard)
					wantNumbers(t, b, map[string]int64{"ttl": e.Now()/1000 + 420, "b_rpm_cp": 60_000, "b_rpm_ra": 60_000, "b_rpm_rp": 60_000, "vu": 0})
					for _, stale := range []string{"b_extra_tk", "b_extra_cp", "b_extra_ra", "b_extra_rp", "b_extra_tc"} {
						if b.Has(stale) {
							t.Errorf("shard %d still has %s", shard, stale)
						}
					}
				}
				first.forget()
				first.must("u", "r", amounts{"rpm": 1})
				wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tc": 11_000})
			})
		})
	}
}

// split makes a bucket one of n shards, as if it had been doubled: the others have their shares.
func split(t *testing.T, e *peer.Env, entity, resource string, n int) {
	t.Helper()
	e.Change(t, e.BucketPK(entity, resource, 0), peer.BucketSK, "SET shard_count = :n", item{":n": peer.Number(int64(n))})
	for shard := 1; shard < n; shard++ {
		b := e.Bucket(t, entity, resource, 0)
		b["PK"] = peer.Text(e.BucketPK(entity, resource, shard))
		b["GSI2SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%d", entity, shard))
		b["GSI3SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%d", resource, shard))
		b["GSI4SK"] = peer.Text(fmt.Sprintf("BUCKET#%s#%s#%d", entity, resource, shard))
		for name := range b {
			if limit, isBalance := strings.CutSuffix(name, "_tk"); isBalance && limit != "b_wcu" {
				b[name] = peer.Number(b.Number(t, limit+"_cp") / int64(n))
				b[limit+"_tc"] = peer.Number(0)
			}
		}
		e.Put(t, b)
	}
}

func Test16NamesOfEveryKind(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		const resource, entity = "models/gpt-4:turbo.v1_x", "team:a@example.com-1_2.3"
		limits := []limiter.Limit{perMinute("with_under_score", 60), perMinute("r-p.m", 60), perMinute("tk", 60), perMinute("b_tk_cp", 60)}
		consume := amounts{}
		for _, l := range limits {
			consume[l.Name] = 2
		}
		first.setLimits(entity, resource, limits...)
		first.create(entity, "", false)
		for i, s := range []side{first, second, first} {
			s.must(entity, resource, consume)
			for _, reader := range []side{first, second} {
				for _, l := range limits {
					if got, want := reader.available(entity, resource)[l.Name], int64(60-2*(i+1)); got != want {
						t.Errorf("%s has %d of %s available, want %d", reader.name(), got, l.Name, want)
					}
				}
			}
		}
		l := second.enter(entity, resource, consume)
		l.adjust(amounts{"r-p.m": 10})
		l.exit()
		for _, limit := range limits {
			want := int64(8000)
			if limit.Name == "r-p.m" {
				want += 10_000
			}
			wantNumbers(t, e.Bucket(t, entity, resource, 0), map[string]int64{"b_" + limit.Name + "_tc": want})
		}
		r := second.try(entity, resource, amounts{"r-p.m": 60, "with_under_score": 60})
		if r == nil || len(r.short()) != 2 {
			t.Errorf("%s is refused with %+v, want both limits short", second.name(), r)
		}
	})
}

func Test17LargeNumbers(t *testing.T) {
	cases := []struct {
		name             string
		capacity, amount int64
		period           time.Duration
		idle             time.Duration
	}{
		{"10 million a minute, 30 days", 1_000_000_000_000, 10_000_000, time.Minute, 30 * 24 * time.Hour},
		{"the largest", 1_000_000_000_000_000, 999_999_999_999_999, 7919 * time.Second, 113 * time.Minute},
		{"slow", 1_000_000_000_000_000, 7, 999_999_999 * time.Second, 3650 * 24 * time.Hour},
	}
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		begin := e.Now()
		for i, c := range cases {
			resource := fmt.Sprintf("r%d", i)
			first.defaults(resource, limiter.Custom("x", c.capacity, c.amount, c.period))
			for _, s := range []side{first, second} {
				e.Set(begin)
				s.must(s.name(), resource, amounts{"x": c.capacity})
				e.Pass(c.idle.Milliseconds())
				other := second
				if s == second {
					other = first
				}
				other.forget()
				gained := new(big.Int).Mul(big.NewInt(c.idle.Milliseconds()), big.NewInt(c.amount*1000))
				gained.Div(gained, big.NewInt(c.period.Milliseconds()))
				want := min(gained.Int64(), c.capacity*1000)
				n := want / 1000
				other.must(s.name(), resource, amounts{"x": n})
				wantNumbers(t, e.Bucket(t, s.name(), resource, 0), map[string]int64{"b_x_tk": want - n*1000, "b_x_tc": (c.capacity + n) * 1000})
			}
		}
	})
}

// Everything that Go writes is written by some call of this test.
func Test18NumbersAreIntegers(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		e.DeclareReaders(t)
		g := openGo(t, e, limiter.Options{})
		a, ctx := g.Admin(), t.Context()
		day, err := limiter.Quota("day", 100, schedule.Entry{Cron: "0 0 * * *"})
		ok(t, err)
		scaled, err := perMinute("rpm", 100).WithSchedule(schedule.Entry{Cron: "* 9-17 * * *", Scale: 0.3333})
		ok(t, err)
		limits := []limiter.Limit{scaled, day, limiter.SessionQuota("ses", 50, 5*time.Hour), limiter.Custom("odd", 7, 3, 11*time.Second).WithSoft()}
		ok(t, a.SetSystemDefaults(ctx, limits, limiter.Allow))
		g.defaults("r", limits...)
		g.setLimits("own", "r", limits...)
		g.create("parent", "", false)
		g.create("own", "parent", true)
		all := amounts{"rpm": 3, "day": 1, "ses": 1, "odd": 5}
		for range 3 {
			g.must("own", "r", all)
			e.Pass(1234)
		}
		l := g.enter("own", "r", all)
		l.adjust(amounts{"odd": 9})
		l.exit()
		g.enter("own", "r", all).fail()
		_, err = a.TopUp(ctx, "own", "r", amounts{"day": 5, "ses": 5}, "k1")
		ok(t, err)
		_, err = a.ResetBucket(ctx, "own", "r", nil, "k2")
		ok(t, err)
		for _, flag := range []func() (int, error){
			func() (int, error) { return a.Bypass(ctx, "own", "r") },
			func() (int, error) { return a.SetCascade(ctx, "", "r", true) },
			func() (int, error) { return a.SetParent(ctx, "own", "") },
		} {
			_, err := flag()
			ok(t, err)
			g.must("own", "r", all)
		}
		numbers := 0
		for _, i := range e.Items(t, "") {
			for name, v := range i {
				if name == "details" { // of audit events: scales are fractions
					continue
				}
				numbers += checkIntegers(t, i.Text("PK")+" "+i.Text("SK")+" "+name, v)
			}
		}
		if numbers < 120 {
			t.Errorf("only %d numbers on the table", numbers)
		}
	})
}

var integer = regexp.MustCompile(`^-?[0-9]+$`)

func checkIntegers(t *testing.T, where string, v types.AttributeValue) (numbers int) {
	switch v := v.(type) {
	case *types.AttributeValueMemberN:
		numbers++
		if !integer.MatchString(v.Value) || strings.HasPrefix(v.Value, "-0") {
			t.Errorf("%s is %s", where, v.Value)
		}
	case *types.AttributeValueMemberM:
		for name, element := range v.Value {
			numbers += checkIntegers(t, where+"."+name, element)
		}
	case *types.AttributeValueMemberL:
		for _, element := range v.Value {
			numbers += checkIntegers(t, where+"[]", element)
		}
	}
	return numbers
}
