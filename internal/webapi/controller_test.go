package webapi_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// testRun is a controller that runs users of its own: each makes a call every 100 ms, of which the
// tenth fails. Its figures are those of a real collector.
type testRun struct {
	// stopTakes is how long users take to finish.
	stopTakes time.Duration
	// noResult is the error of Result.
	noResult error

	mu        sync.Mutex
	plan      webapi.Plan
	status    webapi.Status
	logs      webapi.Logs
	collector *stats.Collector
	final     *stats.Snapshot
	wishes    []webapi.Swarm
	updates   []webapi.ClassUpdate
	cancel    context.CancelFunc
	ended     chan struct{}
	calls     int
	// called is closed once the first users made their calls.
	called chan struct{}
	told   bool
}

func newTestRun() *testRun {
	return &testRun{
		called: make(chan struct{}),
		status: webapi.Status{State: webapi.StateReady, UsersByClass: map[string]int{}},
		plan: webapi.Plan{
			Classes: []webapi.Class{
				{Name: "My_user", Weight: 3, Host: "embedded", Tasks: []webapi.Task{
					{Name: "get_a", Weight: 3}, {Name: "post_b", Weight: 1},
				}},
				{Name: "SimpleUser", Weight: 1, Host: "embedded", Tasks: []webapi.Task{
					{Name: "acquire", Weight: 1},
					{Name: "Sub", Weight: 1, Tasks: []webapi.Task{{Name: "inner_one", Weight: 1}, {Name: "inner_two", Weight: 1}}},
				}},
			},
			Options: []webapi.Option{
				{Name: "region", Value: "us-east-1", Help: "where it runs"},
				{Name: "my_arg2", Value: int64(5)},
				{Name: "ratio", Value: 0.5},
				{Name: "verbose", Value: false},
				{Name: "models", Value: []string{"a", "b"}},
				{Name: "api_key", Value: "s3cret", Secret: true},
			},
		},
		logs: webapi.Logs{Master: []string{"[2026-11-27 02:00:00,000] host/INFO/locust.main: Starting web interface"}},
	}
}

// distributed makes the run a master with these workers.
func (r *testRun) distributed(workers ...webapi.Worker) *testRun {
	r.status.Distributed, r.status.Workers = true, workers
	r.logs.Workers = map[string][]string{}
	for _, w := range workers {
		r.logs.Workers[w.ID] = []string{"worker " + w.ID + " is ready"}
	}
	return r
}

func (r *testRun) Status() webapi.Status {
	r.mu.Lock()
	defer r.mu.Unlock()
	status := r.status
	status.UsersByClass, status.Workers = maps.Clone(status.UsersByClass), slices.Clone(status.Workers)
	return status
}

func (r *testRun) Plan() webapi.Plan {
	r.mu.Lock()
	defer r.mu.Unlock()
	plan := r.plan
	plan.Classes = slices.Clone(plan.Classes)
	return plan
}

func (r *testRun) Snapshot() *stats.Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.snapshot()
}

func (r *testRun) snapshot() *stats.Snapshot {
	if r.final != nil || r.collector == nil {
		return r.final
	}
	return r.collector.Snapshot(time.Now(), false)
}

func (r *testRun) Logs() webapi.Logs {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.logs
}

func (r *testRun) Result() (webapi.Document, error) {
	snapshot := r.Snapshot()
	if snapshot == nil || r.noResult != nil {
		return nil, r.noResult
	}
	return report.Build(snapshot, report.Meta{
		Run:      report.Run{ID: "20261127t020000abc", Mode: report.ModeLocal, Locustfile: new("max_rps.star")},
		Target:   report.Target{Kind: report.TargetEmbedded},
		Consumed: report.Consumed{WriteUnits: new(12.0), ReadUnits: new(3.0), Throttled: new(int64(1))},
	}), nil
}

func (r *testRun) UpdateClass(_ context.Context, update webapi.ClassUpdate) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.updates = append(r.updates, update)
	for i, class := range r.plan.Classes {
		if class.Name == update.Name && update.Weight != nil {
			r.plan.Classes[i].Weight = *update.Weight
		}
	}
	return nil
}

func (r *testRun) Swarm(_ context.Context, wish webapi.Swarm) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if wish.Users > 100_000 {
		return fmt.Errorf("%d users are more than the workers can run", wish.Users)
	}
	r.wishes = append(r.wishes, wish)
	if wish.Host != nil {
		r.plan.Host = *wish.Host
	}
	r.status.TargetUsers = wish.Users
	running := r.status.State == webapi.StateRunning || r.status.State == webapi.StateSpawning
	r.status.State = webapi.StateSpawning
	if running {
		return nil
	}
	r.collector, r.final = stats.NewCollector(1, time.Now(), 0), nil
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel, r.ended = cancel, make(chan struct{})
	go r.run(ctx, wish)
	return nil
}

// run lets users make their calls until ctx ends.
func (r *testRun) run(ctx context.Context, wish webapi.Swarm) {
	defer close(r.ended)
	ticker := time.NewTicker(100 * time.Millisecond)
	defer ticker.Stop()
	class := "My_user"
	if len(wish.Classes) > 0 {
		class = wish.Classes[0]
	}
	for tick := 1; ; tick++ {
		select {
		case <-ctx.Done():
			r.finish()
			return
		case now := <-ticker.C:
			r.mu.Lock()
			r.status.UsersByClass = map[string]int{class: r.status.TargetUsers}
			r.status.State = webapi.StateRunning
			r.collector.Users(now, r.status.TargetUsers, r.status.UsersByClass)
			for range r.status.TargetUsers {
				r.call(now)
			}
			if r.calls > 0 && !r.told {
				r.told = true
				close(r.called)
			}
			if tick%10 == 0 {
				r.collector.Tick(now)
			}
			r.mu.Unlock()
		}
	}
}

func (r *testRun) call(now time.Time) {
	r.calls++
	sample := stats.Sample{Type: "ACQUIRE", Name: "api", Start: now, Duration: 12400 * time.Microsecond, Depth: 1}
	switch r.calls % 10 {
	case 0:
		sample.Err = "ThrottlingException('<b>slow down</b>')"
	case 1, 2:
		sample.Type, sample.RateLimited, sample.Duration = "RATE_LIMITED", true, 400*time.Microsecond
	case 3:
		r.collector.Recorder(0).TaskError("get_a", "boom", "Traceback:\n  max_rps.star:3")
	}
	r.collector.Recorder(0).Record(&sample)
}

func (r *testRun) finish() {
	time.Sleep(r.stopTakes)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status.UsersByClass, r.status.TargetUsers = map[string]int{}, 0
	r.status.State = webapi.StateStopped
	r.collector.Users(time.Now(), 0, nil)
	r.final = r.collector.Snapshot(time.Now(), true)
}

func (r *testRun) Stop(ctx context.Context) error {
	r.mu.Lock()
	cancel, ended := r.cancel, r.ended
	if r.status.State == webapi.StateRunning || r.status.State == webapi.StateSpawning {
		r.status.State = webapi.StateStopping
	}
	r.mu.Unlock()
	if cancel == nil {
		return nil
	}
	cancel()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return errors.New("still stopping")
	}
}

func (r *testRun) ResetStats() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.collector != nil {
		r.collector = stats.NewCollector(1, time.Now(), 0)
		r.final = cmp.Or(r.final, nil)
		if r.final != nil {
			r.final = r.collector.Snapshot(time.Now(), true)
		}
	}
}

// manyRows makes one call under each of n names.
func (r *testRun) manyRows(n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range n {
		sample := stats.Sample{Type: "ACQUIRE", Name: fmt.Sprintf("</script>%04d", i), Start: time.Now(), Duration: time.Millisecond}
		r.collector.Recorder(0).Record(&sample)
	}
}
