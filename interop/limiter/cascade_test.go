//go:build interop

package limiter_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/interop/limiter/peer"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// family creates org and its children, which cascade, by the side.
func family(s side, children ...string) {
	s.create("org", "", false)
	for _, child := range children {
		s.create(child, "org", true)
	}
}

// wantStamp checks what a bucket says of its owner.
func wantStamp(t *testing.T, e *peer.Env, entity, resource string, shard int, parent string) {
	t.Helper()
	b, meta := e.Bucket(t, entity, resource, shard), e.Meta(t, entity)
	wantNumbers(t, b, map[string]int64{"pgen": meta.Number(t, "pgen")})
	cascade := peer.Item{"cascade": b["cascade"]}.String() == "cascade=true\n"
	if pinc := meta.Text("pinc"); len(pinc) != 16 || b.Text("pinc") != pinc || b.Text("parent_id") != parent || cascade != (parent != "") {
		t.Errorf("the bucket of %s does not say what its META says:\n%v\nMETA\n%v", entity, b, meta)
	}
}

func Test19CreatedByOneCascadedByTheOther(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 100))
		first.setLimits("c", "r", perMinute("rpm", 1000))
		family(first, "c")
		second.must("c", "r", amounts{"rpm": 7})
		requests := second.proxy().Requests()
		last := requests[len(requests)-1]
		if last.Operation != "TransactWriteItems" || strings.Count(last.Body, `"Put"`) != 2 || strings.Count(last.Body, `"ConditionCheck"`) != 2 {
			t.Errorf("the cold acquire ends with %v, want a transaction of two creations, each with a check", last)
		}
		wantStamp(t, e, "c", "r", 0, "org")
		wantStamp(t, e, "org", "r", 0, "")
		if b := e.Bucket(t, "c", "r", 0); b.Has("ttl") {
			t.Errorf("limits of the entity: the bucket has a ttl\n%v", b)
		}
		wantNumbers(t, e.Bucket(t, "org", "r", 0), map[string]int64{"ttl": e.Now()/1000 + 420, "b_rpm_tk": 93_000})
		for i, s := range []side{second, first, first} {
			s.proxy().Forget()
			s.must("c", "r", amounts{"rpm": 1})
			if i != 1 {
				wantOperations(t, s, "UpdateItem", "UpdateItem")
			}
			want := int64(8000 + 1000*i)
			wantNumbers(t, e.Bucket(t, "c", "r", 0), map[string]int64{"b_rpm_tk": 1_000_000 - want, "b_rpm_tc": want})
			wantNumbers(t, e.Bucket(t, "org", "r", 0), map[string]int64{"b_rpm_tk": 100_000 - want, "b_rpm_tc": want})
		}
	})
}

// A warm cache charges both at once, and draws the parent's shard for itself.
func Test20BothBucketsAtOnce(t *testing.T) {
	lastShard := limiter.Options{Rand: func(n int) int { return n - 1 }}
	inOrders(t, lastShard, peer.Options{Draw: 3}, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 400))
		family(first, "c")
		first.must("c", "r", amounts{"rpm": 1})
		split(t, e, "org", "r", 4)
		for _, s := range []side{second, first} {
			s.entity("org")                     // without it Python does not learn of the parent's shards
			s.must("c", "r", amounts{"rpm": 1}) // learns of the parent and its shards
			s.must("c", "r", amounts{"rpm": 1})
			counted := func(entity string, shard int) int64 { return e.Bucket(t, entity, "r", shard).Number(t, "b_rpm_tc") }
			child, parent, others := counted("c", 0), counted("org", 3), counted("org", 0)
			wait := meeting(t, 2)
			s.proxy().Forget()
			s.proxy().Before(func(peer.Request) *peer.Reply { wait(); return nil })
			s.must("c", "r", amounts{"rpm": 5})
			s.proxy().Before(nil)
			wantOperations(t, s, "UpdateItem", "UpdateItem")
			if counted("c", 0) != child+5000 || counted("org", 3) != parent+5000 || counted("org", 0) != others {
				t.Errorf("%s charged the child %d and the parent's shard 3 %d, want 5000 each", s.name(), counted("c", 0)-child, counted("org", 3)-parent)
			}
		}
	})
}

// meeting returns a function whose callers wait for each other until n of them are there.
func meeting(t *testing.T, n int) func() {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	var arrived atomic.Int64
	all := make(chan struct{})
	return func() {
		if arrived.Add(1) == int64(n) {
			close(all)
		}
		select {
		case <-all:
		case <-ctx.Done():
			t.Errorf("%d of %d requests were under way together", arrived.Load(), n)
		}
	}
}

func Test21ParentExhausted(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 100), perMinute("tpm", 1000))
		first.setLimits("org", "r", perMinute("rpm", 6), perMinute("tpm", 1000))
		family(first, "c")
		first.must("c", "r", amounts{"rpm": 3, "tpm": 10})
		for i, s := range []side{second, first, second} {
			if i == 1 {
				second.must("c", "r", amounts{"rpm": 3, "tpm": 10})
			}
			before, org := e.Bucket(t, "c", "r", 0), e.Bucket(t, "org", "r", 0)
			r := s.try("c", "r", amounts{"rpm": 4, "tpm": 20})
			if r == nil || !slices.Equal(r.short(), []string{"org/rpm"}) || !strings.Contains(r.Message, "org/r") || len(r.Limits) != 4 {
				t.Errorf("%s is refused with %+v, want it for org alone, with the child's limits reported", s.name(), r)
			}
			for name, b := range map[string]item{"c": before, "org": org} {
				after := e.Bucket(t, name, "r", 0)
				for _, n := range []string{"b_rpm_tk", "b_rpm_tc", "b_tpm_tk", "b_tpm_tc", "rf"} {
					if after.Number(t, n) != b.Number(t, n) {
						t.Errorf("%s: %s of %s was %d and is %d", s.name(), n, name, b.Number(t, n), after.Number(t, n))
					}
				}
			}
		}
	})
}

func Test22ParentRefillWouldHelp(t *testing.T) {
	bothOrders(t, func(t *testing.T, e *peer.Env, first, second side) {
		first.defaults("r", perMinute("rpm", 600))
		first.setLimits("org", "r", perMinute("rpm", 60))
		family(first, "c")
		first.must("c", "r", amounts{"rpm": 30})
		second.must("c", "r", amounts{"rpm": 20})
		first.must("c", "r", amounts{"rpm": 10}) // the parent's last
		want := int64(60_000)
		for _, s := range []side{second, first} {
			e.Pass(10 * sec)
			s.must("c", "r", amounts{"rpm": 9})
			want += 9000
			wantNumbers(t, e.Bucket(t, "c", "r", 0), map[string]int64{"b_rpm_tc": want})
			wantNumbers(t, e.Bucket(t, "org", "r", 0), map[string]int64{"b_rpm_tc": want, "rf": e.Now()})
		}
		// 60 in 60 s, twice 10 s, and 78 taken.
		wantNumbers(t, e.Bucket(t, "org", "r", 0), map[string]int64{"b_rpm_tk": 60_000 + 20_000 - want})
	})
}

func Test23ConcurrentCascades(t *testing.T) {
	machine.Each(t, func(t *testing.T, e *peer.Env) {
		g, p := openGo(t, e, limiter.Options{}), openPython(t, e, peer.Options{})
		g.defaults("r", perMinute("rpm", 1_000_000))
		const workers, rounds = 4, 6
		var children []string
		for i := range 2 * workers {
			for k := range 2 {
				children = append(children, fmt.Sprintf("c%d-%d", i, k))
			}
		}
		family(g, children...)
		var admitted, contended atomic.Int64
		per := make([]atomic.Int64, len(children))
		var wg sync.WaitGroup
		for i := range 2 * workers {
			s := []side{g, p}[i%2]
			wg.Go(func() {
				for round := range rounds {
					// Each round of the first half creates a bucket, in a transaction with the parent's.
					child := 2*i + round%2
					switch r := s.try(children[child], "r", amounts{"rpm": 3}); {
					case r == nil:
						admitted.Add(3)
						per[child].Add(3)
					case r.Contended:
						contended.Add(1)
					default:
						t.Errorf("%s is refused with %+v", s.name(), r)
					}
				}
			})
		}
		wg.Wait()
		if admitted.Load() < 3*workers*rounds {
			t.Errorf("only %d admitted, %d times contended", admitted.Load(), contended.Load())
		}
		wantNumbers(t, e.Bucket(t, "org", "r", 0), map[string]int64{"b_rpm_tc": admitted.Load() * 1000, "b_rpm_tk": (1_000_000 - admitted.Load()) * 1000})
		for i, child := range children {
			if per[i].Load() == 0 {
				continue
			}
			wantNumbers(t, e.Bucket(t, child, "r", 0), map[string]int64{"b_rpm_tc": per[i].Load() * 1000})
		}
	})
}
