package master_test

import (
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// exact is a report of a worker of this program about calls of 10 ms each, in one second of the run.
func exact(run string, sequence uint64, calls, samples int64, second int64, final bool) *wire.Stats {
	now := time.Now()
	hist, ofSecond := new(stats.Histogram), new(stats.Histogram)
	hist.RecordN(10*time.Millisecond, calls)
	ofSecond.RecordN(10*time.Millisecond, calls)
	return &wire.Stats{Report: &wire.Report{
		Run: run + "/process", Sequence: sequence, Final: final, Samples: samples,
		Delta: &stats.Snapshot{
			At: now, Started: now.Add(-time.Duration(second) * time.Second),
			Entries: []stats.Entry{{Key: stats.Key{Type: "CALL", Name: "c"}, Requests: calls, Hist: hist, FirstStart: now, LastEnd: now}},
			Series:  []stats.Second{{Index: second, Users: 1, Requests: calls, Hist: ofSecond}},
		},
	}}
}

// Each numbered report counts once, in whatever order they come; what is missing at the end is stated.
func TestNumberedReportsCountOnce(t *testing.T) {
	type report struct {
		sequence       uint64
		calls, samples int64
		final          bool
	}
	tests := map[string]struct {
		reports            []report
		counted, uncounted int64
		missing, lost      int64
	}{
		"in order":                 {[]report{{1, 5, 5, false}, {2, 3, 8, false}, {3, 2, 10, true}}, 10, 0, 0, 0},
		"twice":                    {[]report{{1, 5, 5, false}, {1, 5, 5, false}, {2, 3, 8, true}, {2, 3, 8, true}}, 8, 0, 0, 0},
		"out of order":             {[]report{{2, 3, 8, false}, {1, 5, 5, false}, {3, 2, 10, true}}, 10, 0, 0, 0},
		"one is missing":           {[]report{{1, 5, 5, false}, {3, 2, 10, true}}, 7, 3, 1, 1},
		"the first ones":           {[]report{{4, 2, 20, true}}, 2, 18, 3, 1},
		"none is the last":         {[]report{{1, 5, 5, false}}, 5, 0, 0, 1},
		"missing and no last":      {[]report{{1, 5, 5, false}, {4, 5, 25, false}}, 10, 15, 2, 1},
		"the last one comes early": {[]report{{3, 2, 10, true}, {1, 5, 5, false}, {2, 3, 8, false}}, 10, 0, 0, 0},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newPeers(t, master.Config{Classes: weighted("A", 1)})
				w := p.connect("h_1")
				w.send(wire.TypeClientReady, wire.ClientReady{})
				synctest.Wait()
				w.send(wire.TypeHello, wire.Hello{Protocol: wire.Protocol, Process: "process", Classes: []string{"A"}}.Data())
				synctest.Wait()
				id, err := p.master.Start(master.Plan{Users: 1, SpawnRate: 1})
				if err != nil {
					t.Fatal(err)
				}
				time.Sleep(2 * time.Second)
				w.setSilent(true)
				for i, r := range test.reports {
					w.send(wire.TypeStats, exact(id, r.sequence, r.calls, r.samples, int64(i), r.final))
				}
				synctest.Wait()
				w.kill() // what is missing never comes
				o := p.end()
				cov := o.Snapshot.Coverage
				if o.Snapshot.Total.Requests != test.counted || cov.UnaccountedSamples != test.uncounted ||
					cov.MissingReports != test.missing || cov.LostWorkers != test.lost {
					t.Errorf("%d counted, %+v; want %+v", o.Snapshot.Total.Requests, cov, test)
				}
				if len(o.Parts) != 1 || o.Parts[0].Counted != test.counted || o.Parts[0].Lost != (test.lost > 0) {
					t.Errorf("parts %+v", o.Parts)
				}
			})
		})
	}
}

// The percentiles of a second are those of the calls of all workers in it, also of one that tells late.
func TestSecondsAreMergedOverWorkers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1)})
		var workers []*peer
		for _, id := range []string{"h_1", "h_2"} {
			w := p.connect(id)
			w.send(wire.TypeClientReady, wire.ClientReady{})
			synctest.Wait()
			w.send(wire.TypeHello, wire.Hello{Process: id, Classes: []string{"A"}}.Data())
			workers = append(workers, w)
		}
		synctest.Wait()
		id, err := p.master.Start(master.Plan{Users: 2, SpawnRate: 10})
		if err != nil {
			t.Fatal(err)
		}
		tell := func(w *peer, sequence uint64, second int64, d time.Duration, n int64) {
			s := exact(id, sequence, n, n, second, false)
			s.Report.Run = id + "/" + w.id
			h := new(stats.Histogram)
			h.RecordN(d, n)
			s.Report.Delta.Series[0].Hist = h
			w.send(wire.TypeStats, s)
			synctest.Wait()
		}
		time.Sleep(2 * time.Second)
		tell(workers[0], 1, 0, 10*time.Millisecond, 60)
		tell(workers[1], 1, 0, time.Second, 40)
		time.Sleep(40 * time.Second) // the second is packed by now
		tell(workers[1], 2, 0, time.Second, 100)
		series := p.master.Snapshot().Series
		first := series[0]
		near := func(d, want time.Duration) bool { return d > want*99/100 && d < want*101/100 }
		if first.Requests != 200 || first.Users != 3 || !near(first.P50, time.Second) || !near(first.P99, time.Second) {
			t.Errorf("second %+v", first)
		}
		tell(workers[1], 3, 1<<30, time.Second, 7) // nonsense
		if got := len(p.master.Snapshot().Series); got > 60 {
			t.Errorf("%d seconds after 42", got)
		}
	})
}

// A worker whose clock is wrong has its figures at the right time.
func TestClocksOfWorkersAreSetRight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1)})
		w := p.connect("h_1")
		w.send(wire.TypeClientReady, wire.ClientReady{})
		synctest.Wait()
		w.send(wire.TypeHello, wire.Hello{Process: "process", Classes: []string{"A"}}.Data())
		synctest.Wait()
		began := time.Now()
		id, err := p.master.Start(master.Plan{Users: 1, SpawnRate: 1})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		s := exact(id, 1, 4, 4, 5, false)
		d := s.Report.Delta
		for _, at := range []*time.Time{&d.At, &d.Started, &d.Entries[0].FirstStart, &d.Entries[0].LastEnd} {
			*at = at.Add(-time.Hour)
		}
		w.send(wire.TypeStats, s)
		synctest.Wait()
		got := p.master.Snapshot().Total
		if !got.FirstStart.Equal(began.Add(5*time.Second)) || !got.LastEnd.Equal(began.Add(5*time.Second)) {
			t.Errorf("from %v to %v, the run began at %v", got.FirstStart, got.LastEnd, began)
		}
		if !slices.Equal(w.told(), []string{"ack", "spawn", "spawning_complete"}) {
			t.Errorf("told %q", w.told())
		}
	})
}

// Workers of Locust are counted by their rows: totals, rates, seconds and user seconds.
func TestReportsInLocustsTerms(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newPeers(t, master.Config{Classes: weighted("A", 1)})
		one, two := p.join("h_1"), p.join("h_2")
		p.start(master.Plan{Users: 2, SpawnRate: 10})
		time.Sleep(time.Millisecond) // calls are not at the edges of seconds
		for range 200 {              // 20 s
			one.record("c", 20*time.Millisecond)
			two.record("c", 40*time.Millisecond)
			time.Sleep(100 * time.Millisecond)
		}
		if got := p.master.Snapshot().Total.Current.RPS; got < 19 || got > 21 {
			t.Errorf("%v requests a second, want 20", got)
		}
		two.setSilent(true)
		time.Sleep(10 * time.Second)
		s := p.master.Snapshot()
		// Both have run for 20 s, one of them for ten more; nobody knows what the other did then.
		if cov := s.Coverage; cov.PlannedUserSeconds < 59.9 || cov.DeliveredUserSeconds < 49.5 || cov.DeliveredUserSeconds > 50.5 || len(cov.Gaps) < 6 {
			t.Errorf("coverage %+v", cov)
		}
		o := p.end()
		if got := o.Snapshot.Total.Requests; got < 380 || got > 400 || o.Snapshot.Coverage.LostWorkers != 1 {
			t.Errorf("%d requests, %+v", got, o.Snapshot.Coverage)
		}
		second := o.Snapshot.Series[10]
		if second.Requests < 19 || second.Requests > 21 || second.Users != 2 || second.P99 < 39*time.Millisecond || second.P99 > 41*time.Millisecond {
			t.Errorf("second %+v", second)
		}
	})
}
