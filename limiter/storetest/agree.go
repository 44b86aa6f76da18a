package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Agree sends the same random calls to two stores, step by step, and fails where an outcome or a stored
// bucket differs. With memstore as one of them, it is the model of the other.
func Agree(t *testing.T, openA, openB func(t *testing.T) Store) {
	for seed := range uint64(10) {
		t.Run(fmt.Sprintf("seed %d", seed), func(t *testing.T) {
			now := int64(start)
			a, b := newSide(t, openA(t), &now, seed), newSide(t, openB(t), &now, seed)
			draw := rand.New(rand.NewPCG(seed, 1))
			for step := range 60 {
				now += draw.Int64N(4000)
				op := operation{kind: draw.IntN(12), entity: fmt.Sprint("e", draw.IntN(2)), n: draw.Int64N(15)}
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
}

func newSide(t *testing.T, store Store, now *int64, seed uint64) *side {
	clock := func() time.Time { return time.UnixMilli(*now) }
	draw := rand.New(rand.NewPCG(seed, 2))
	options := limiter.Options{Clock: clock, Rand: draw.IntN, RejectionCacheTTL: -1, ConfigCacheTTL: -1}
	s := &side{fixture: &fixture{T: t, store: &Counting{Store: store}}}
	var err error
	s.lim, err = limiter.New(s.store, options)
	s.must(err)
	options.DisableSpeculation = true
	s.slow, err = limiter.New(s.store, options)
	s.must(err)
	s.defaults(limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 600).WithBurst(100))
	return s
}

// run applies one operation and describes its outcome and what is stored afterwards.
func (s *side) run(op operation) string {
	var outcome any
	switch op.kind {
	case 0:
		count, won, err := s.store.Double(s.Context(), op.entity, resource, int(1+op.n%2))
		outcome = fmt.Sprint(count, won, err)
	case 1:
		outcome = s.lim.Admin().SetLimits(s.Context(), op.entity, resource, []limiter.Limit{limiter.PerMinute("rpm", 30+op.n), limiter.PerMinute("tpm", 600)})
	case 2:
		outcome = s.lim.Admin().DeleteLimits(s.Context(), op.entity, resource)
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
			text += fmt.Sprintf("%d: %+v\n", shard, b)
		}
	}
	return text
}

func (s *side) lease(l *limiter.Limiter, op operation) string {
	lease, err := s.acquire(l, op.entity, limiter.Amounts{"rpm": op.n, "tpm": 3 * op.n})
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
	return fmt.Sprint(lease.RoundTrips(), lease.Consumed(), err)
}
