package precise

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"pgregory.net/rapid"
)

func TestWaitIsNeverEarly(t *testing.T) {
	timer := New()
	defer timer.Close()
	var waits sync.WaitGroup
	for i := range 500 {
		waits.Go(func() {
			d := time.Duration(i%50) * 100 * time.Microsecond
			begin := time.Now()
			if err := timer.Wait(t.Context(), d); err != nil {
				t.Error(err)
			}
			if took := time.Since(begin); took < d {
				t.Errorf("a wait of %v took %v", d, took)
			}
		})
	}
	waits.Wait()
}

func TestWaitEndsWithItsContext(t *testing.T) {
	timer := New()
	defer timer.Close()
	gone := errors.New("client went away")
	ctx, cancel := context.WithCancelCause(t.Context())
	ended := make(chan error)
	go func() { ended <- timer.Wait(ctx, time.Hour) }()
	cancel(gone)
	if err := <-ended; !errors.Is(err, gone) {
		t.Errorf("Wait = %v, want the cause of the cancellation", err)
	}
	if err := timer.Wait(ctx, 0); !errors.Is(err, gone) {
		t.Errorf("Wait on an ended context = %v, want its cause", err)
	}
	if err := timer.Wait(t.Context(), time.Microsecond); err != nil {
		t.Errorf("Wait after a cancelled one: %v", err)
	}
}

func TestCloseEndsEveryWait(t *testing.T) {
	timer := New()
	ended := make(chan error)
	for range 10 {
		go func() { ended <- timer.Wait(t.Context(), time.Hour) }()
	}
	if err := timer.Close(); err != nil {
		t.Error(err)
	}
	for range 10 {
		if err := <-ended; !errors.Is(err, ErrClosed) {
			t.Errorf("Wait = %v, want ErrClosed", err)
		}
	}
	if err := timer.Wait(t.Context(), time.Hour); !errors.Is(err, ErrClosed) {
		t.Errorf("Wait after Close = %v, want ErrClosed", err)
	}
	if err := timer.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

// What serves the systems without a timerfd.
func TestOrdinaryTimers(t *testing.T) {
	timer := New()
	timer.started = true
	begin := time.Now()
	if err := timer.Wait(t.Context(), time.Millisecond); err != nil || time.Since(begin) < time.Millisecond {
		t.Errorf("Wait = %v after %v", err, time.Since(begin))
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- timer.Wait(ctx, time.Hour) }()
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("Wait = %v, want context.Canceled", err)
	}
	go func() { ended <- timer.Wait(t.Context(), time.Hour) }()
	if err := timer.Close(); err != nil {
		t.Error(err)
	}
	if err := <-ended; !errors.Is(err, ErrClosed) {
		t.Errorf("Wait = %v, want ErrClosed", err)
	}
}

func TestHeapGivesDeadlinesInOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var h heap
		var left []int64
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			if len(h) > 0 && rapid.IntRange(0, 2).Draw(t, "action") == 0 {
				w := h[rapid.IntRange(0, len(h)-1).Draw(t, "place")]
				h.remove(w)
				left = slices.Delete(left, slices.Index(left, w.deadline), slices.Index(left, w.deadline)+1)
				continue
			}
			w := &wait{deadline: rapid.Int64Range(0, 50).Draw(t, "deadline")}
			h.push(w)
			left = append(left, w.deadline)
		}
		slices.Sort(left)
		for _, want := range left {
			if h[0].deadline != want {
				t.Fatalf("next deadline %d, want %d", h[0].deadline, want)
			}
			h.remove(h[0])
		}
	})
}

// The error of one wait of 1.2 ms on an idle machine, beside time.Sleep's.
func BenchmarkWait(b *testing.B) {
	const d = 1200 * time.Microsecond
	timer := New()
	defer timer.Close()
	b.Run("precise", func(b *testing.B) {
		measure(b, func() time.Duration { _ = timer.Wait(context.Background(), d); return d })
	})
	b.Run("sleep", func(b *testing.B) {
		measure(b, func() time.Duration { time.Sleep(d); return d })
	})
}

func measure(b *testing.B, wait func() time.Duration) {
	b.ReportAllocs()
	var late time.Duration
	for b.Loop() {
		begin := time.Now()
		d := wait()
		late += time.Since(begin) - d
	}
	b.ReportMetric(float64(late.Microseconds())/float64(b.N), "mean-error-µs")
}

// A thousand callers with waits of 1 to 5 ms: some 330,000 waits a second.
func BenchmarkThousandWaiters(b *testing.B) {
	timer := New()
	defer timer.Close()
	var late, count atomic.Int64
	b.ReportAllocs()
	b.SetParallelism(500)
	b.RunParallel(func(pb *testing.PB) {
		r := rand.New(rand.NewPCG(rand.Uint64(), 1))
		for pb.Next() {
			d := time.Millisecond + time.Duration(r.Int64N(int64(4*time.Millisecond)))
			begin := time.Now()
			_ = timer.Wait(context.Background(), d)
			late.Add(int64(time.Since(begin) - d))
			count.Add(1)
		}
	})
	b.ReportMetric(float64(late.Load())/1e3/float64(count.Load()), "mean-error-µs")
}
