package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Agree sends the same random calls to two stores, step by step, and fails where an outcome or a stored
// bucket differs. With memstore as one of them, it is the model of the other.
func Agree(t *testing.T, openA, openB func(t *testing.T) Store) {
	for seed := range uint64(20) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			now := int64(start)
			a, b := newSide(t, openA(t), &now, seed), newSide(t, openB(t), &now, seed)
			draw := rand.New(rand.NewPCG(seed, 1))
			longest := int64(4000)
			if a.rich {
				longest = 40_000 // quotas come back, stamps and boundaries pass
			}
			for step := range 60 {
				now += draw.Int64N(longest)
				op := operation{kind: draw.IntN(14), entity: fmt.Sprint("e", draw.IntN(2)), n: draw.Int64N(15)}
				gotA, gotB := a.run(op), b.run(op)
				if gotA != gotB {
					t.Fatalf("step %d, %+v:\n%s\n%s", step, op, gotA, gotB)
				}
			}
		})
	}
}

type operation struct {
	kind   int
	entity string
	n      int64
}

type side struct {
	*fixture
	slow *limiter.Limiter
	rich bool // limits of every kind
}

func newSide(t *testing.T, store Store, now *int64, seed uint64) *side {
	clock := func() time.Time { return time.UnixMilli(*now) }
	draw := rand.New(rand.NewPCG(seed, 2))
	options := limiter.Options{Clock: clock, Rand: draw.IntN, RejectionCacheTTL: -1, ConfigCacheTTL: -1}
	s := &side{fixture: &fixture{T: t, store: &Counting{Store: store}}, rich: seed%2 == 1}
	var err error
	s.lim, err = limiter.New(s.store, options)
	s.must(err)
	options.DisableSpeculation = true
	s.slow, err = limiter.New(s.store, options)
	s.must(err)
	s.defaults(s.limits(60)...)
	return s
}

// limits are two plain limits, or one of every kind.
func (s *side) limits(rpm int64) []limiter.Limit {
	tpm := limiter.PerMinute("tpm", 600).WithBurst(100)
	if !s.rich {
		return []limiter.Limit{limiter.PerMinute("rpm", rpm), tpm}
	}
	scheduled, err := limiter.PerMinute("rpm", rpm).WithSchedule(schedule.Entry{Cron: "*/3 * * * *", Scale: 0.5})
	s.must(err)
	quota, err := limiter.Quota("quota", 60, schedule.Entry{Cron: "*/5 * * * *"})
	s.must(err)
	return []limiter.Limit{quota, scheduled, limiter.SessionQuota("session", 50, 2*time.Minute), tpm.WithSoft()}
}

// run applies one operation and describes its outcome and what is stored afterwards.
func (s *side) run(op operation) string {
	var outcome any
	switch op.kind {
	case 0:
		count, won, err := s.store.Double(s.Context(), op.entity, resource, int(1+op.n%2))
		outcome = fmt.Sprint(count, won, err)
	case 1:
		outcome = s.lim.Admin().SetLimits(s.Context(), op.entity, resource, s.limits(30+op.n))
	case 2:
		outcome = s.lim.Admin().DeleteLimits(s.Context(), op.entity, resource)
	case 12:
		stamped, err := s.lim.Admin().Bypass(s.Context(), op.entity, resource)
		outcome = fmt.Sprint(stamped, err)
	case 13:
		stamped, err := s.lim.Admin().Enable(s.Context(), op.entity, resource)
		outcome = fmt.Sprint(stamped, err)
	case 3:
		available, err := s.lim.Available(s.Context(), op.entity, resource, nil)
		outcome = fmt.Sprint(available, err)
	default:
		l := s.lim
		if op.kind%3 == 0 {
			l = s.slow
		}
		outcome = s.lease(l, op)
	}
	text := fmt.Sprintln(outcome)
	for shard := range 4 {
		b := s.bucket(op.entity, shard)
		if b.Exists {
			text += fmt.Sprintf("%d: %s\n", shard, describe(b))
		}
	}
	return text
}

// describe shows what an image holds, its rare attributes by value.
func describe(b limiter.Bucket) string {
	limits := b.Limits
	b.Limits = nil
	text := fmt.Sprintf("%+v", b)
	for i := range limits {
		rare := *limits[i].Rare()
		limits[i].Extra = nil
		text += fmt.Sprintf("\n\t%+v %+v", limits[i], rare)
	}
	return text
}

func (s *side) lease(l *limiter.Limiter, op operation) string {
	amounts := limiter.Amounts{"rpm": op.n, "tpm": 3 * op.n}
	if s.rich {
		amounts["quota"], amounts["session"] = op.n, op.n/2
	}
	lease, err := s.acquire(l, op.entity, amounts)
	if err != nil {
		return err.Error()
	}
	switch op.kind % 4 {
	case 0:
		err = lease.Rollback(s.Context())
	case 1:
		s.must(lease.Adjust(limiter.Amounts{"tpm": 40}))
	case 2:
		s.must(lease.Release(limiter.Amounts{"tpm": 2 * op.n}))
	}
	if err == nil {
		err = lease.Close(s.Context())
	}
	return fmt.Sprint(lease.RoundTrips(), lease.Consumed(), lease.Bypassed(), err)
}
