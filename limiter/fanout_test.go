package limiter_test

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

// stubborn refuses the first stamps of each bucket.
type stubborn struct {
	*memstore.Store
	refusals int
	seen     map[limiter.BucketKey]int
}

var errThrottled = errors.New("throttled")

func (s *stubborn) Stamp(ctx context.Context, in limiter.StampInput) (bool, error) {
	if s.seen[in.Key]++; s.seen[in.Key] <= s.refusals {
		return false, errThrottled
	}
	return s.Store.Stamp(ctx, in)
}

// What the first discovery could not stamp the second one does; what it cannot either is told, and audited.
func TestAFanoutThatIsIncompleteIsTold(t *testing.T) {
	for refusals, want := range map[int]int{0: 3, 1: 3, 2: 0} {
		t.Run(fmt.Sprintf("%d refusals", refusals), func(t *testing.T) {
			store := &stubborn{Store: memstore.New(), refusals: refusals, seen: map[limiter.BucketKey]int{}}
			l, err := limiter.New(store, limiter.Options{})
			if err != nil {
				t.Fatal(err)
			}
			admin := l.Admin()
			if err := admin.SetResourceDefaults(t.Context(), "r", []limiter.Limit{limiter.PerMinute("rpm", 5)}); err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				store.PutBucket(limiter.BucketKey{EntityID: "u", Resource: "r", Shard: i}, limiter.Bucket{HasRF: true, ShardCount: 3})
			}
			stamped, err := admin.Disable(t.Context(), "u", "r")
			incomplete, ok := errors.AsType[*limiter.FanoutIncompleteError](err)
			if stamped != want || ok != (want == 0) || ok && (incomplete.EntityID != "u" || incomplete.Resource != "r" || incomplete.Stamped != 0 || !errors.Is(err, errThrottled)) {
				t.Errorf("%d stamped, %v", stamped, err)
			}
			events, err := admin.AuditEvents(t.Context(), "u", 0, "")
			if err != nil || len(events) != 1 || events[0].Details["buckets_stamped"] != int64(want) {
				t.Errorf("audit events %+v, %v", events, err)
			}
			if config, err := admin.Config(t.Context(), limiter.ConfigKey{EntityID: "u", Resource: "r"}); err != nil || config.Disabled != limiter.On {
				t.Errorf("stored %+v, %v", config, err)
			}
		})
	}
}
