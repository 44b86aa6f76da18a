package cli

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/cost"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// partOf is what a task measured in three seconds with two users; the statistics have gone over the wire.
func partOf(t *testing.T, took time.Duration) runPart {
	t.Helper()
	c := stats.NewCollector(1, time.Now(), 0)
	c.Users(time.Now(), 2, map[string]int{"A": 2})
	for range 3 {
		c.Recorder(0).Record(&stats.Sample{Type: "ACQUIRE", Name: "api", Start: time.Now(), Duration: took})
		time.Sleep(time.Second)
		c.Tick(time.Now())
	}
	snapshot := c.Snapshot(time.Now(), true)
	tally := &target.Tally{
		Operations: map[string]*target.OperationTally{"UpdateItem": {Attempts: 3}},
		Units:      map[string]*target.UnitTally{"UpdateItem": {Answered: 3, Sampled: 3, Writes: 3, Indexes: 3}},
	}
	tally.Operations["UpdateItem"].Durations.RecordN(took, 3)
	data, err := json.Marshal(&statistics{Snapshot: snapshot, Tally: tally, WorkersBySecond: []int{1, 2, 2}})
	if err != nil {
		t.Fatal(err)
	}
	s := new(statistics)
	if err := json.Unmarshal(data, s); err != nil {
		t.Fatal(err)
	}
	return runPart{statistics: s, result: report.Build(snapshot, report.Meta{Run: report.Run{
		ID: "r1", Users: new(2), SpawnRate: new(100.0), Workers: new(2), EndedAt: report.At(time.Now()),
	}})}
}

// What two tasks measured is one result, which says when nobody ran.
func TestTheResultOfARunThatWentOnInAnotherTask(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		begun := time.Now()
		first := partOf(t, 10*time.Millisecond)
		time.Sleep(2 * time.Second)
		second := partOf(t, 30*time.Millisecond)
		second.result.Run.ID = "r2"
		f := &benchmarkFlags{mode: modeFargate, users: 2, spawnRate: 100, duration: runTimeFlag(8 * time.Second)}
		run := &deployedRun{deployment: &deployment{}, flags: f, runID: "r1", parts: []runPart{first}, part: second, lost: []*awsrun.StoppedError{
			{Task: awsrun.Task{ID: "0123", StopCode: "SpotInterruption"}},
		}}
		if err := run.finishParts(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		r := run.result
		if r.Run.ID != "r1" || !r.Run.StartedAt.Equal(begun) || *r.Run.DurationSeconds != 8 || r.Run.EndedAt.Sub(begun) != 8*time.Second || r.Run.Mode != report.ModeFargate {
			t.Errorf("run %+v from %v, %v s", r.Run, r.Run.StartedAt, *r.Run.DurationSeconds)
		}
		if r.Totals.Requests != 6 || int(*r.Totals.P50MS+0.5) != 10 || int(*r.Totals.P99MS+0.5) != 30 || len(r.Operations) != 1 || r.Operations[0].Requests != 6 || int(*r.Operations[0].P99MS+0.5) != 30 {
			t.Errorf("totals %+v, operations %+v", r.Totals, r.Operations)
		}
		if *r.Consumed.WriteUnits != 6 || *r.Consumed.IndexWriteUnits != 6 || *r.Cost.TableUSD <= 0 || r.Cost.PriceList.Date != cost.Published().Date {
			t.Errorf("consumed %+v, cost %+v", r.Consumed, r.Cost)
		}
		var workers []int
		for _, second := range r.Series {
			workers = append(workers, second.Workers)
		}
		if got, want := len(r.Series), 8; got != want || workers[2] != 2 || workers[3] != 0 || workers[5] != 1 || workers[7] != 2 {
			t.Errorf("%d seconds, want %d, with %v workers", got, want, workers)
		}
		// Two users for eight seconds, after a ramp of 20 ms.
		if *r.Coverage.PlannedUserSeconds != 2*8-0.02 || *r.Coverage.DeliveredUserSeconds != 12 || len(r.Coverage.Gaps) != 2 {
			t.Errorf("coverage %+v: planned %v, delivered %v", r.Coverage, *r.Coverage.PlannedUserSeconds, *r.Coverage.DeliveredUserSeconds)
		}
		const why = "AWS took task 0123 back (SpotInterruption) after 3s, another one went on 2s later: 75.1% of the planned user seconds were delivered"
		if r.Verdict.State != report.Partial || !strings.Contains(strings.Join(r.Verdict.Reasons, "\n"), why) {
			t.Errorf("verdict %+v, want %s", r.Verdict, why)
		}
	})
}

// A master of another build, which does not tell its statistics, has a result all the same; only what goes
// on in another task needs them.
func TestAMasterThatTellsNoStatistics(t *testing.T) {
	part := runPart{}
	synctest.Test(t, func(t *testing.T) { part = partOf(t, time.Millisecond) })
	master := masterAt(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/result" {
			http.NotFound(w, r)
			return
		}
		if err := part.result.WriteJSON(w); err != nil {
			t.Error(err)
		}
	})
	run := &deployedRun{deployment: &deployment{clock: &jumpClock{now: time.Now()}}, flags: &benchmarkFlags{duration: runTimeFlag(time.Minute)}, onSpot: true}
	if err := run.keep(t.Context(), master); err != nil || run.part.result == nil || run.goesOn() {
		t.Errorf("%v, result %v, goes on %v", err, run.part.result, run.goesOn())
	}
	run.parts, run.part = []runPart{part}, runPart{}
	if err := run.keep(t.Context(), master); err == nil || run.part.result != nil {
		t.Errorf("a part that cannot be added: %v, %v", err, run.part.result)
	}
}
