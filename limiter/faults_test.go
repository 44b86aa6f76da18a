package limiter_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

var errBroken = errors.New("no route to the table")

// failing lets the n-th call of a run (from 1) fail before it reaches the store, or after its write.
func (w *world) failing(n int, after bool) (calls *[]string) {
	calls = new([]string)
	var mu sync.Mutex // the two writes of a cascade are concurrent
	fail := func(call string) error {
		mu.Lock()
		defer mu.Unlock()
		*calls = append(*calls, call)
		if len(*calls) == n {
			return errBroken
		}
		return nil
	}
	w.faults.before, w.faults.after = fail, nil
	if after {
		w.faults.before, w.faults.after = nil, fail
	}
	return calls
}

func (w *world) healthy() { w.faults.before, w.faults.after = nil, nil }

// counter is what the shards of an entity's bucket say was consumed in all.
func (w *world) counter(entity string) int64 {
	total := int64(0)
	for shard := range limiter.MaxShards {
		b := w.bucket(entity, shard)
		if l := b.Limit("rpm"); l != nil {
			total += l.Counter
		}
	}
	return total
}

// paths are the ways that an acquire of 1 by child can go, each from its own state of the table.
var paths = []struct {
	name  string
	setup func(t *testing.T) *world
}{
	{"speculative", func(t *testing.T) *world {
		w := newWorld(t, limiter.PerMinute("rpm", 100))
		w.admit("child", 1)
		return w
	}},
	{"create", func(t *testing.T) *world { return newWorld(t, limiter.PerMinute("rpm", 100)) }},
	{"refill", func(t *testing.T) *world {
		w := newWorld(t, limiter.PerMinute("rpm", 100))
		w.admit("child", 100)
		w.clock.Add(10_000)
		return w
	}},
	{"consumption alone, read first", func(t *testing.T) *world {
		w := newWorld(t, limiter.PerMinute("rpm", 100))
		w.l = w.process(limiter.Options{DisableSpeculation: true})
		w.admit("child", 1)
		return w
	}},
	{"cascade in parallel", func(t *testing.T) *world {
		w := family(t)
		w.admit("child", 1)
		w.admit("child", 1)
		return w
	}},
	{"cascade in turn", func(t *testing.T) *world {
		w := family(t)
		w.admit("child", 1)
		w.l = w.process(limiter.Options{})
		return w
	}},
	{"cascade of two creates", func(t *testing.T) *world { return family(t) }},
	{"the parent refilled alone", func(t *testing.T) *world {
		w := family(t)
		w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
		w.admit("child", 1)
		w.admit("org", 99)
		w.clock.Add(10_000)
		return w
	}},
	{"another shard", func(t *testing.T) *world {
		w, draw := sharded(t, false, withoutMemory)
		for shard := range 2 {
			b := w.bucket("u", shard)
			b.Limit("rpm").Tokens *= int64(shard)
			w.PutBucket(limiter.BucketKey{EntityID: "child", Resource: "r", Shard: shard}, b)
		}
		*draw = 1
		w.admit("child", 1) // learns the count
		*draw = 0
		return w
	}},
	{"doubling", func(t *testing.T) *world {
		w := newWorld(t, limiter.PerMinute("rpm", 100_000))
		w.admit("child", 1)
		w.edit("child", 0, func(b *limiter.Bucket) { b.Limit(limiter.WCU).Tokens = 0 })
		return w
	}},
}

func fromChild(mode limiter.OnUnavailable) limiter.Request {
	return limiter.Request{EntityID: "child", Resource: "r", Consume: limiter.Amounts{"rpm": 1}, OnUnavailable: mode}
}

// Whichever call of whichever path fails, blocking is one *UnavailableError and allowing a degraded lease,
// and nothing stays charged.
func TestEveryCallMayFail(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			for n := 1; ; n++ {
				made := 0
				for _, mode := range []limiter.OnUnavailable{limiter.Block, limiter.Allow} {
					w := path.setup(t)
					before, above := w.counter("child"), w.counter("org")
					calls := w.failing(n, false)
					lease, err := w.l.Acquire(t.Context(), fromChild(mode))
					made = len(*calls)
					w.healthy()
					if made < n {
						w.must(err)
						continue
					}
					if mode == limiter.Block {
						if e := wantError[*limiter.UnavailableError](t, err); !errors.Is(e, errBroken) || e.EntityID != "child" {
							t.Errorf("%v: %v", *calls, e)
						}
					} else if err != nil || !lease.Degraded() {
						t.Errorf("%v: %v, want a degraded lease", *calls, err)
					}
					if got := w.counter("child"); got != before {
						t.Errorf("%v: the child has %d more charged", *calls, got-before)
					}
					if got := w.counter("org"); got != above {
						t.Errorf("%v: the parent has %d more charged", *calls, got-above)
					}
				}
				if made < n {
					return
				}
			}
		})
	}
}

// A write whose reply is lost was applied. It is one failed request: nothing is sent again that would charge a
// second time, whatever the path.
func TestALostReplyNeverChargesTwice(t *testing.T) {
	for _, path := range paths {
		t.Run(path.name, func(t *testing.T) {
			for n := 1; ; n++ {
				w := path.setup(t)
				before, above := w.counter("child"), w.counter("org")
				calls := w.failing(n, true)
				_, err := w.l.Acquire(t.Context(), fromChild(limiter.Block))
				made := len(*calls)
				w.healthy()
				if made < n {
					w.must(err)
					return
				}
				wantError[*limiter.UnavailableError](t, err)
				if got := w.counter("child") - before; got > 1000 {
					t.Errorf("%v: the child was charged %d", *calls, got)
				}
				if got := w.counter("org") - above; got > 1000 {
					t.Errorf("%v: the parent was charged %d", *calls, got)
				}
				if failed := (*calls)[n-1]; strings.HasPrefix(failed, "write") && made > n {
					// What may still follow a lost W1 or W2 is a refund.
					for _, call := range (*calls)[n:] {
						if call != "adjust" {
							t.Errorf("%v: %s after a write whose reply was lost", *calls, call)
						}
					}
				}
			}
		})
	}
}

func TestAFailedRefundIsNotWhatTheCallerHears(t *testing.T) {
	w := family(t)
	w.must(w.l.Admin().SetLimits(t.Context(), "child", "r", []limiter.Limit{limiter.PerMinute("rpm", 1000)}))
	w.admit("child", 100)
	w.faults.before = func(call string) error {
		if call == "adjust" {
			return errBroken
		}
		return nil
	}
	_, err := w.acquire("child", 1)
	wantError[*limiter.ExceededError](t, err)
}

// Adjustments are covered as the acquire was.
func TestOnUnavailableCoversTheClose(t *testing.T) {
	for mode, covered := range map[limiter.OnUnavailable]bool{limiter.Block: false, limiter.Allow: true} {
		for _, denied := range []bool{false, true} {
			w := newWorld(t, limiter.PerMinute("rpm", 100))
			lease, err := w.l.Acquire(t.Context(), fromChild(mode))
			w.must(err)
			w.must(lease.Adjust(limiter.Amounts{"rpm": 5}))
			w.faults.before = func(string) error {
				if denied {
					return errors.Join(errBroken, limiter.ErrAccessDenied)
				}
				return errBroken
			}
			err = lease.Close(t.Context())
			switch {
			case denied:
				wantError[*limiter.PermissionError](t, err)
			case covered:
				w.must(err)
			default:
				wantError[*limiter.UnavailableError](t, err)
			}
			if err := lease.Release(limiter.Amounts{"rpm": 1}); !errors.Is(err, limiter.ErrLeaseEnded) {
				t.Errorf("%s: after the close: %v", mode, err)
			}
		}
	}
}

// A caller that gives up in the middle of a cascade leaves nothing charged, and is no reason to admit.
func TestACancelledAcquireIsRefunded(t *testing.T) {
	w := family(t)
	w.admit("child", 1)
	w.l = w.process(limiter.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	w.faults.after = func(call string) error {
		if call == "consume child" {
			cancel()
		}
		return nil
	}
	_, err := w.l.Acquire(ctx, fromChild(limiter.Allow))
	if e := wantError[*limiter.UnavailableError](t, err); !errors.Is(e, context.Canceled) {
		t.Errorf("got %v", e)
	}
	w.tokens("child", 99_000)
	w.tokens("org", 99_000)
}

// A rejected pass also moves what its new shard starts with. When that fails it stays a rejection, under Allow too.
func TestARejectionOutlivesItsMove(t *testing.T) {
	day, err := limiter.Quota("day", 100, schedule.Entry{Cron: "0 0 * * *"})
	if err != nil {
		t.Fatal(err)
	}
	for _, fails := range []bool{false, true} {
		w := newWorld(t, limiter.PerMinute("rpm", 10), day)
		w.admitAll("child", limiter.Amounts{"rpm": 1, "day": 10})
		w.edit("child", 0, func(b *limiter.Bucket) { b.ShardCount = 2 })
		l := w.process(limiter.Options{Rand: func(n int) int { return n - 1 }, DisableSpeculation: true, RejectionCacheTTL: -1})
		_, err := l.Acquire(t.Context(), limiter.Request{EntityID: "child", Resource: "r", Consume: limiter.Amounts{"rpm": 1, "day": 1}})
		w.must(err) // learns the count
		writes := 0
		w.faults.before = func(call string) error {
			if call != "write" {
				return nil
			}
			if writes++; fails {
				return errBroken
			}
			return nil
		}
		_, err = l.Acquire(t.Context(), limiter.Request{EntityID: "child", Resource: "r", Consume: limiter.Amounts{"rpm": 6, "day": 1}, OnUnavailable: limiter.Allow})
		wantError[*limiter.ExceededError](t, err)
		w.healthy()
		left, moved := w.bucket("child", 0), w.bucket("child", 1)
		if writes != 1 || moved.Exists == fails || left.Limit("day").Tokens != map[bool]int64{true: 89_000, false: 39_000}[fails] {
			t.Errorf("fails %v: %d writes, shard 0 has %+v, shard 1 %+v", fails, writes, left.Limit("day"), moved)
		}
	}
}
