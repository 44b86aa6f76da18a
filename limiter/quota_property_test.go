package limiter_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// What is admitted of a quota in a period and what the shards still hold of it never exceed its capacity,
// however shards come, lag and go between processes that know different counts, and whatever is given back
// late. After a period in which everything was asked for, nearly all of it was admitted.
func TestAShardedQuotaIsConserved(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity, hour = 96, int64(3_600_000)
		store := memstore.New()
		clock, aim := int64(1_800_000_000_000), 0
		key := limiter.BucketKey{EntityID: "u", Resource: "r"}
		process := func() *limiter.Limiter {
			l, err := limiter.New(store, limiter.Options{
				OnUnavailable: limiter.Block, RejectionCacheTTL: -1, DisableSpeculation: rapid.Bool().Draw(t, "slow"),
				Clock: func() time.Time { return time.UnixMilli(clock) }, Rand: func(n int) int { return aim % n },
			})
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		processes := []*limiter.Limiter{process(), process()}
		quota, err := limiter.Quota("q", capacity, schedule.Entry{Cron: "0 * * * *"})
		if err != nil {
			t.Fatal(err)
		}
		if err := processes[0].Admin().SetLimits(context.Background(), "u", "r", []limiter.Limit{quota}); err != nil {
			t.Fatal(err)
		}
		type held struct {
			lease *limiter.Lease
			hour  int64
			n     int64
		}
		var leases []held
		admitted := int64(0)
		period := clock / hour
		check := func() {
			edge := period * hour
			sum := admitted * 1000
			for shard := range limiter.MaxShards {
				b, ok := store.Bucket(limiter.BucketKey{EntityID: "u", Resource: "r", Shard: shard})
				if ok && b.RF >= edge {
					sum += b.Limit("q").Tokens
				}
			}
			if sum > capacity*1000 {
				t.Fatalf("admitted %d and held %d of %d", admitted, sum/1000-admitted, capacity)
			}
		}
		acquire := func(n int64) bool {
			l := processes[rapid.IntRange(0, 1).Draw(t, "process")]
			lease, err := l.Acquire(context.Background(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"q": n}})
			if err != nil {
				if _, refused := errors.AsType[*limiter.ExceededError](err); !refused {
					t.Fatal(err)
				}
				return false
			}
			admitted += n
			leases = append(leases, held{lease, period, n})
			return true
		}
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				aim = rapid.IntRange(0, 31).Draw(t, "shard")
				acquire(rapid.Int64Range(0, 12).Draw(t, "n"))
			},
			"double": func(t *rapid.T) {
				b, ok := store.Bucket(key)
				if !ok || 2*b.Shards() > limiter.MaxShards {
					return
				}
				// As a process that dies before it tells the other shards.
				if _, _, err := store.Double(context.Background(), "u", "r", b.Shards()); err != nil {
					t.Fatal(err)
				}
			},
			"give back": func(t *rapid.T) {
				if len(leases) == 0 {
					return
				}
				i := rapid.IntRange(0, len(leases)-1).Draw(t, "lease")
				h := leases[i]
				leases = append(leases[:i], leases[i+1:]...)
				if err := h.lease.Rollback(context.Background()); err != nil {
					t.Fatal(err)
				}
				if h.hour == period {
					admitted -= h.n
				}
			},
			"wait": func(t *rapid.T) {
				clock += rapid.Int64Range(1, hour).Draw(t, "ms")
				if clock/hour != period {
					period, admitted = clock/hour, 0
				}
			},
			"": func(*rapid.T) { check() },
		})
	})
}

// The same of a session quota on one shard: no window admits more than its capacity.
func TestAWindowAdmitsItsCapacity(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		const capacity, length = 20, int64(60_000)
		store := memstore.New()
		clock := int64(1_800_000_000_000)
		l, err := limiter.New(store, limiter.Options{OnUnavailable: limiter.Block, Clock: func() time.Time { return time.UnixMilli(clock) }})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.Admin().SetLimits(context.Background(), "u", "r", []limiter.Limit{limiter.SessionQuota("q", capacity, time.Minute)}); err != nil {
			t.Fatal(err)
		}
		opened, admitted := int64(0), int64(0)
		var leases []*limiter.Lease
		t.Repeat(map[string]func(*rapid.T){
			"acquire": func(t *rapid.T) {
				n := rapid.Int64Range(0, 8).Draw(t, "n")
				lease, err := l.Acquire(context.Background(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"q": n}})
				ended := opened == 0 || clock >= opened+length
				if err != nil {
					if ended || admitted+n <= capacity {
						t.Fatalf("%d beside %d refused: %v", n, admitted, err)
					}
					return
				}
				if ended {
					opened, admitted, leases = clock, 0, nil
				}
				leases = append(leases, lease)
				if admitted += n; admitted > capacity {
					t.Fatalf("a window admitted %d", admitted)
				}
			},
			"give back": func(t *rapid.T) {
				if len(leases) == 0 || clock >= opened+length {
					return
				}
				lease := leases[len(leases)-1]
				leases = leases[:len(leases)-1]
				admitted -= lease.Consumed()["q"]
				if err := lease.Rollback(context.Background()); err != nil {
					t.Fatal(err)
				}
			},
			"wait": func(t *rapid.T) { clock += rapid.Int64Range(1, length).Draw(t, "ms") },
		})
	})
}
