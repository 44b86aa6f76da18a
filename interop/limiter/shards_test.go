//go:build interop

package limiter_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// exhaust takes the writes of a shard, as of a time before now.
func exhaust(t *testing.T, e *peer.Env, shard int, ago int64) {
	t.Helper()
	e.Change(t, e.BucketPK("u", "r", shard), peer.BucketSK, "SET b_wcu_tk = :left, rf = :rf", item{":left": peer.Number(500), ":rf": peer.Number(e.Now() - ago)})
}

// The first side draws the first shard, and the other one the last.
func Test24DoubledByOneUsedByTheOther(t *testing.T) {
	t.Parallel()
	for _, doubler := range []string{"Go", "Python"} {
		t.Run(doubler, func(t *testing.T) {
			machine.Each(t, func(t *testing.T, e *peer.Env) {
				var first, second side
				if doubler == "Go" {
					first, second = openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{Draw: 31})
				} else {
					first, second = openPython(t, e, peer.Options{}), openGo(t, e, limiter.Options{Rand: func(n int) int { return n - 1 }})
				}
				usesDoubled(t, e, first, second)
			})
		})
	}
}

func usesDoubled(t *testing.T, e *peer.Env, first, second side) {
	first.defaults("r", perMinute("rpm", 100))
	first.must("u", "r", amounts{"rpm": 1})
	second.must("u", "r", amounts{"rpm": 1})
	exhaust(t, e, 0, 0)
	first.must("u", "r", amounts{"rpm": 2}) // doubles, and creates shard 1
	wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"shard_count": 2, "b_rpm_tk": 98_000, "b_rpm_cp": 100_000})
	wantNumbers(t, e.Bucket(t, "u", "r", 1), map[string]int64{"shard_count": 2, "b_rpm_tk": 48_000, "b_rpm_cp": 100_000, "b_rpm_ra": 100_000, "b_wcu_tk": 1_000_000, "b_wcu_cp": 1_000_000})
	// It learns the count where it looked so far, and then draws from all.
	e.Change(t, e.BucketPK("u", "r", 0), peer.BucketSK, "SET b_wcu_tk = :full", item{":full": peer.Number(1_000_000)})
	second.must("u", "r", amounts{"rpm": 3})
	second.must("u", "r", amounts{"rpm": 4})
	wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": 95_000})
	wantNumbers(t, e.Bucket(t, "u", "r", 1), map[string]int64{"b_rpm_tk": 44_000, "b_rpm_tc": 6000})

	exhaust(t, e, 0, 0)
	first.must("u", "r", amounts{"rpm": 5}) // doubles once more, and creates shard 2 or 3
	for shard := range 2 {
		wantNumbers(t, e.Bucket(t, "u", "r", shard), map[string]int64{"shard_count": 4})
	}
	created, missing := 2, 3
	if e.Get(t, e.BucketPK("u", "r", created), peer.BucketSK) == nil {
		created, missing = missing, created
	}
	wantNumbers(t, e.Bucket(t, "u", "r", created), map[string]int64{"shard_count": 4, "b_rpm_tk": 20_000})
	if e.Get(t, e.BucketPK("u", "r", missing), peer.BucketSK) != nil {
		t.Fatalf("both shards were created")
	}
	second.must("u", "r", amounts{"rpm": 1}) // learns the count
	second.must("u", "r", amounts{"rpm": 6}) // draws shard 3
	last := e.Bucket(t, "u", "r", 3)
	wantNumbers(t, last, map[string]int64{"shard_count": 4, "b_rpm_cp": 100_000, "b_wcu_tk": last.Number(t, "b_wcu_tk")})
	if created == 2 {
		wantNumbers(t, last, map[string]int64{"b_rpm_tk": 19_000, "b_rpm_tc": 6000})
	}
	// What both count and have is all there is.
	total, limits := int64(0), map[int]string{}
	for shard := range 4 {
		if b := e.Get(t, e.BucketPK("u", "r", shard), peer.BucketSK); b != nil {
			total += b.Number(t, "b_rpm_tc")
			limits[shard] = fmt.Sprint(b.Number(t, "b_rpm_tk"))
		}
	}
	if total != 23_000 {
		t.Errorf("the shards count %d, want 23000", total)
	}
	if a, b := first.available("u", "r")["rpm"], second.available("u", "r")["rpm"]; a != b {
		t.Errorf("%s has %d available and %s %d, of %v", first.name(), a, second.name(), b, limits)
	}
}

func Test25WritesRegained(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 1000))
		first.must("u", "r", amounts{"rpm": 1})
		for _, s := range []side{second, first} {
			e.Pass(10 * sec)
			exhaust(t, e, 0, 1) // in a millisecond one write comes back
			s.must("u", "r", amounts{"rpm": 1})
			wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"shard_count": 1, "rf": e.Now(), "b_wcu_tk": 1500})
		}
		want := int64(1)
		for _, s := range []side{first, second} {
			e.Pass(10 * sec)
			s.must("u", "r", amounts{"rpm": 0})
			exhaust(t, e, 0, 0)
			s.must("u", "r", amounts{"rpm": 1})
			want *= 2
			wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"shard_count": want})
		}
		for _, s := range []side{first, second} {
			e.Pass(10 * sec)
			e.Change(t, e.BucketPK("u", "r", 0), peer.BucketSK, "SET shard_count = :n", item{":n": peer.Number(32)})
			exhaust(t, e, 0, 0)
			s.try("u", "r", amounts{"rpm": 1})
			for _, b := range e.Items(t, e.NS+"/BUCKET#u#r#") {
				if n := b.Number(t, "shard_count"); n > 32 {
					t.Errorf("%s doubled to %d", s.name(), n)
				}
				if shard := b.Text("GSI2SK"); shard == "BUCKET#u#32" || strings.HasPrefix(shard, "BUCKET#u#4") {
					t.Errorf("%s created %s", s.name(), shard)
				}
			}
		}
	})
}

func Test26AdjustedWhereItWasCharged(t *testing.T) {
	inOrders(t, limiter.Options{Rand: func(n int) int { return n - 1 }}, peer.Options{Draw: 3}, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 400))
		first.must("u", "r", amounts{"rpm": 1})
		split(t, e, "u", "r", 4)
		for _, s := range []side{first, second} {
			s.must("u", "r", amounts{"rpm": 0}) // learns the count
			before := e.Bucket(t, "u", "r", 3)
			taken := func(want int64) {
				t.Helper()
				wantNumbers(t, e.Bucket(t, "u", "r", 3), map[string]int64{"b_rpm_tk": before.Number(t, "b_rpm_tk") - want, "b_rpm_tc": before.Number(t, "b_rpm_tc") + want})
				wantNumbers(t, e.Bucket(t, "u", "r", 0), map[string]int64{"b_rpm_tk": 399_000, "b_rpm_tc": 1000})
			}
			l := s.enter("u", "r", amounts{"rpm": 5})
			taken(5000)
			l.fail()
			taken(0)
			l = s.enter("u", "r", amounts{"rpm": 5})
			l.adjust(amounts{"rpm": 7})
			l.exit()
			taken(12_000)
		}
	})
}

// Peers before 0.13 doubled without bound, on shard 0 only.
func Test26ACountOfFiveHundredAndTwelve(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		drawn := 0
		g := openGo(t, e, limiter.Options{Rand: func(n int) int { drawn++; return drawn % n }})
		g.defaults("r", perMinute("rpm", 2000))
		g.must("u", "r", amounts{"rpm": 0})
		e.Change(t, e.BucketPK("u", "r", 0), peer.BucketSK, "SET shard_count = :n", item{":n": peer.Number(512)})
		for range 20 {
			g.must("u", "r", amounts{"rpm": 40})
		}
		total := int64(0)
		for _, b := range e.Items(t, e.NS+"/BUCKET#u#r#") {
			total += b.Number(t, "b_rpm_tc")
			if shard := b.Text("GSI2SK"); len(shard) > len("BUCKET#u#31") {
				t.Errorf("a shard beyond the bound: %s", shard)
			}
		}
		if total != 800_000 {
			t.Errorf("the shards count %d, want 800000", total)
		}
		// What Go created there is of use to Python.
		p := openPython(t, e, peer.Options{Draw: 1})
		p.must("u", "r", amounts{"rpm": 0})
		if r := p.try("u", "r", amounts{"rpm": 1}); r != nil {
			t.Errorf("Python is refused with %+v", r)
		}
	})
}
