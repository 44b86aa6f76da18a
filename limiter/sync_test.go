package limiter_test

import (
	"context"
	"errors"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

// pushing records how limits get into buckets, and fails to push while broken.
type pushing struct {
	*memstore.Store
	reads  []limiter.ReadInput
	pushed []limiter.SyncInput
	broken error
}

func (p *pushing) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	p.reads = append(p.reads, *in)
	return p.Store.Read(ctx, in, out)
}

func (p *pushing) SyncParameters(ctx context.Context, in limiter.SyncInput) (bool, error) {
	if p.broken != nil {
		return false, p.broken
	}
	p.pushed = append(p.pushed, in)
	return p.Store.SyncParameters(ctx, in)
}

func newPushing(t *testing.T) (*pushing, *limiter.Limiter) {
	t.Helper()
	p := &pushing{Store: memstore.New()}
	draw := 0
	l, err := limiter.New(p, limiter.Options{Rand: func(n int) int { draw++; return draw % n }})
	if err == nil {
		err = l.Admin().SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 600)})
	}
	if err != nil {
		t.Fatal(err)
	}
	acquire := func() {
		if _, err := l.Acquire(t.Context(), limiter.Request{EntityID: "u", Resource: "r", Consume: limiter.Amounts{"rpm": 1}}); err != nil {
			t.Fatal(err)
		}
	}
	acquire()
	if _, _, err := p.Double(t.Context(), "u", "r", 1); err != nil {
		t.Fatal(err)
	}
	acquire() // learns the count
	acquire()
	acquire()
	if keys, err := p.BucketKeys(t.Context(), "u", "r"); err != nil || len(keys) != 2 {
		t.Fatalf("got %v, %v, want two shards", keys, err)
	}
	p.reads = nil
	return p, l
}

// What is pushed into buckets must be what was just stored, so it is read consistently; once for all shards.
func TestLimitsArePushedToEveryShardFromOneConsistentRead(t *testing.T) {
	p, l := newPushing(t)
	if err := l.Admin().SetLimits(t.Context(), "u", "", []limiter.Limit{limiter.PerMinute("rpm", 60)}); err != nil {
		t.Fatal(err)
	}
	if len(p.reads) != 1 || !p.reads[0].Consistent || !p.reads[0].ResourceConfig || !p.reads[0].SystemConfig {
		t.Errorf("got reads %+v, want one of every level, consistent", p.reads)
	}
	if len(p.pushed) != 2 || p.pushed[0].Limits[0].Capacity != 60 || p.pushed[0].TTL != limiter.TTLRemove {
		t.Errorf("pushed %+v", p.pushed)
	}
}

func TestAnInterruptedPushIsCompletedByRepeatingTheCall(t *testing.T) {
	p, l := newPushing(t)
	if err := l.Admin().SetLimits(t.Context(), "u", "r", []limiter.Limit{limiter.PerMinute("rpm", 60)}); err != nil {
		t.Fatal(err)
	}
	p.broken = errors.New("no route")
	err := l.Admin().DeleteLimits(t.Context(), "u", "r")
	if e := wantError[*limiter.FanoutIncompleteError](t, err); e.Stamped != 0 || !errors.Is(e, p.broken) {
		t.Errorf("got %+v", e)
	}
	p.broken = nil
	if err := l.Admin().DeleteLimits(t.Context(), "u", "r"); err != nil {
		t.Fatal(err)
	}
	for shard := range 2 {
		b, _ := p.Bucket(limiter.BucketKey{EntityID: "u", Resource: "r", Shard: shard})
		if got := b.Limit("rpm").Capacity; got != 600_000 || !b.HasTTL {
			t.Errorf("shard %d: capacity %d, ttl %v, want the defaults again", shard, got, b.HasTTL)
		}
	}
}
