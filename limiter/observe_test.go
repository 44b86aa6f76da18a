package limiter_test

import (
	"bytes"
	"context"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
)

func TestObserversSeeEveryAcquireAndItsDecision(t *testing.T) {
	type key struct{}
	var seen []string
	store := &contextStore{Store: memstore.New()}
	l, err := limiter.New(store, limiter.Options{Observe: func(ctx context.Context, req limiter.Request) (context.Context, func(*limiter.Lease, error)) {
		seen = append(seen, "begin "+req.Resource)
		return context.WithValue(ctx, key{}, true), func(lease *limiter.Lease, err error) {
			seen = append(seen, limiter.Decision(lease, err))
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerDay("rpd", 1)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	store.check = func(ctx context.Context) {
		if ctx.Value(key{}) == nil {
			t.Error("the store does not get the observer's context")
		}
	}
	request := limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpd": 1}}
	for range 2 {
		_ = l.Do(t.Context(), request, func(context.Context, *limiter.Lease) error { return nil })
	}
	request.Consume = limiter.Amounts{"rpd": -1}
	_, _ = l.Acquire(t.Context(), request)
	want := []string{"begin api", "admitted", "begin api", "exceeded", "begin api", "invalid"}
	if !slices.Equal(seen, want) {
		t.Errorf("got %v, want %v", seen, want)
	}
}

type contextStore struct {
	*memstore.Store
	check func(context.Context)
}

func (s *contextStore) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	s.check(ctx)
	return s.Store.Consume(ctx, in, out)
}

func TestAcquiresAreLogged(t *testing.T) {
	var text bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&text, &slog.HandlerOptions{Level: slog.LevelInfo}))
	l, err := limiter.New(memstore.New(), limiter.Options{Observe: limiter.LogAcquires(logger)})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerDay("rpd", 1)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	request := limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpd": 1}}
	for range 2 {
		_ = l.Do(t.Context(), request, func(context.Context, *limiter.Lease) error { return nil })
	}
	if got := text.String(); strings.Count(got, "\n") != 1 || !strings.Contains(got, "level=INFO msg=acquire entity=user-1 resource=api decision=exceeded") {
		t.Errorf("got %s, want the refusal alone", got)
	}
}

func TestAnObserverThatIsMissingCostsNothing(t *testing.T) {
	l, err := limiter.New(memstore.New(), limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerSecond("rps", 1_000_000_000)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	request := limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rps": 1}}
	acquire := func() {
		lease, err := l.Acquire(t.Context(), request)
		if err != nil {
			t.Fatal(err)
		}
		if err := lease.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	acquire()
	// The lease itself; now and then a pass refills, which takes more.
	if allocs := testing.AllocsPerRun(500, acquire); allocs > 1 {
		t.Errorf("%v allocations an acquire, want 1", allocs)
	}
}

func TestALeaseKnowsWhatIsLeft(t *testing.T) {
	l, err := limiter.New(memstore.New(), limiter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Admin().SetSystemDefaults(t.Context(), []limiter.Limit{limiter.PerDay("rpd", 10)}, limiter.Block); err != nil {
		t.Fatal(err)
	}
	lease, err := l.Acquire(t.Context(), limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpd": 3},
		Also: map[string]limiter.Amounts{"images": {"rpd": 4}}})
	if err != nil {
		t.Fatal(err)
	}
	if err := lease.Adjust(limiter.Amounts{"rpd": 1}); err != nil {
		t.Fatal(err)
	}
	statuses := lease.Statuses()
	if len(statuses) != 2 || statuses[0].Resource != "api" || statuses[0].Available != 6 || statuses[0].Requested != 4 ||
		statuses[1].Resource != "images" || statuses[1].Available != 6 || statuses[1].Limit.Capacity != 10 {
		t.Errorf("got %+v", statuses)
	}
}
