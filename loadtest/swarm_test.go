package loadtest

import (
	"context"
	"maps"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// A worker drives a swarm itself: users start under the indexes that it is given, and everything that
// they record is seen by who observes as well as by the collector.
func TestASwarmCanBeDrivenWithoutARunner(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		collector := stats.NewCollector(2, time.Now(), 0)
		env := NewEnv(EnvOptions{
			RunID: "r", Seed: 7, WorkerIndex: 1, WorkerCount: 3,
			Shared: map[string]any{"parent": "p"}, Setup: collector.Setup(),
		})
		env.Seal()
		if err := env.Share("other", 1); err == nil {
			t.Error("a value can be shared after the seal")
		}
		var observed atomic.Int64
		var ids atomic.Value
		class := &UserClass{Name: "A", WaitTime: Constant(time.Second), Tasks: []Task{
			{Tags: []string{"slow"}, Run: func(context.Context, *User) error { panic("the tags leave it out") }},
			{Run: func(_ context.Context, u *User) error {
				ids.Store(u.ID())
				u.Record(stats.Sample{Type: "X", Name: "x", Start: time.Now()})
				return nil
			}},
		}}
		s := NewSwarm(t.Context(), env, collector, SwarmOptions{
			Classes: []*UserClass{class, {Name: "B", Abstract: true}}, ExcludeTags: []string{"slow"}, Cores: 2,
			Observe: func(*stats.Sample) { observed.Add(1) },
		})
		defer s.Close()
		if !s.Start("A", 40) || !s.Start("A", 41) || s.Start("B", 42) || s.Start("C", 43) {
			t.Error("users start of the classes that can be run, and of no other")
		}
		synctest.Wait()
		if running, gone := s.Counts(); !maps.Equal(running, map[string]int{"A": 2}) || len(gone) > 0 {
			t.Errorf("running %v, gone %v", running, gone)
		}
		s.Stop("A", 1)
		if ids.Store("x"); env.WorkerIndex() != 1 || env.WorkerCount() != 3 {
			t.Errorf("worker %d of %d", env.WorkerIndex(), env.WorkerCount())
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if got := ids.Load(); got != "r-40" {
			t.Errorf("user %v is left, want the one that started first", got)
		}
		if left := s.Drain(t.Context()); len(left) > 0 {
			t.Errorf("abandoned %v", left)
		}
		if n := collector.Snapshot(time.Now(), true).Total.Requests; n != observed.Load() || n != 3 {
			t.Errorf("%d recorded, %d observed, want 3", n, observed.Load())
		}
	})
}
