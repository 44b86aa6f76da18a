package master_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/master"
)

// A worker that is told to quit loses no sample, and its users run elsewhere.
func TestAWorkerThatIsToldToQuitLeavesItsUsersAndSamples(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newCluster(t)
		m, quit := c.runMaster(master.Config{Rebalance: true})
		first := c.runWorker()
		c.runWorker()
		c.runWorker()
		c.waitWorkers(3)
		id := c.start(master.Plan{Users: 9, SpawnRate: 9, Seed: 1})
		time.Sleep(5 * time.Second)
		if err := m.QuitWorkers([]string{"h_1", "nobody"}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		select {
		case <-first.done:
			if first.err != nil {
				t.Errorf("the worker that was told: %v", first.err)
			}
		default:
			t.Error("the worker that was told still runs")
		}
		users := 0
		for _, w := range m.Workers() {
			users += w.Users
		}
		if len(m.Workers()) != 2 || users != 9 {
			t.Errorf("%d workers run %d users, want 2 and 9", len(m.Workers()), users)
		}
		o := c.end()
		cov := o.Snapshot.Coverage
		if o.Err != nil || o.Snapshot.Total.Requests != c.oracle.calls(id) || cov.LostWorkers+cov.MissingReports+cov.UnaccountedSamples != 0 {
			t.Errorf("%d counted, users made %d, coverage %+v, error %v", o.Snapshot.Total.Requests, c.oracle.calls(id), cov, o.Err)
		}
		quit()
		c.group.Wait()
	})
}
