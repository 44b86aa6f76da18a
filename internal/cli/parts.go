package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// statistics are what the result of a run is made of, in the form in which a master tells them.
type statistics struct {
	Snapshot        *stats.Snapshot `json:"snapshot"`
	Tally           *target.Tally   `json:"tally"`
	WorkersBySecond []int           `json:"workers_by_second"`
}

// Statistics implements webapi.StatisticsTeller.
func (c *controller) Statistics() any {
	outcome, ok := c.master.Outcome()
	if !ok {
		return nil
	}
	snapshot := *outcome.Snapshot
	// The percentiles of single seconds are final; what they are of would be most of the answer.
	snapshot.Series = slices.Clone(snapshot.Series)
	for i := range snapshot.Series {
		snapshot.Series[i].Hist, snapshot.Series[i].Late = nil, nil
	}
	return &statistics{Snapshot: &snapshot, Tally: c.tally(), WorkersBySecond: outcome.WorkersBySecond}
}

// Statistics are those behind Result.
func (m *remoteMaster) Statistics(ctx context.Context) (*statistics, error) {
	body, err := m.do(ctx, http.MethodGet, "/result/statistics", nil)
	if err != nil {
		return nil, err
	}
	s := new(statistics)
	if err := json.Unmarshal(body, s); err != nil {
		return nil, fmt.Errorf("GET /result/statistics: %w", err)
	}
	if s.Snapshot == nil || s.Tally == nil {
		return nil, fmt.Errorf("GET /result/statistics: the answer lacks snapshot or tally")
	}
	return s, nil
}

// runPart is one task's part of a benchmark.
type runPart struct {
	// id is the run's in the task with that ARN: what the part leaves on the table is its own. left is how
	// long it runs.
	id, arn string
	left    time.Duration
	// result and statistics are the last that its master told; nil when it told nothing, or was not asked.
	result     *report.Result
	statistics *statistics
}

// joined makes one result of the parts of a run, in their order. prices are those of the machines.
func joined(parts []runPart, prices *report.PriceList) *report.Result {
	first, last := &parts[0], &parts[len(parts)-1]
	whole := *first.statistics
	tally := new(target.Tally)
	meta := report.Meta{Run: first.result.Run, Target: first.result.Target, Prices: prices, AWS: last.result.AWS}
	meta.Run.EndedAt, meta.Run.StartedAt = last.result.Run.EndedAt, nil
	for i, part := range parts {
		tally.Merge(part.statistics.Tally)
		if i == 0 {
			continue
		}
		s := part.statistics
		if whole.WorkersBySecond != nil {
			offset := int(s.Snapshot.Started.Sub(whole.Snapshot.Started).Seconds())
			for len(whole.WorkersBySecond) < offset {
				whole.WorkersBySecond = append(whole.WorkersBySecond, 0)
			}
			whole.WorkersBySecond = append(whole.WorkersBySecond[:offset:offset], s.WorkersBySecond...)
		}
		whole.Snapshot = whole.Snapshot.Then(s.Snapshot)
		meta.Run.Workers = mostOf(meta.Run.Workers, part.result.Run.Workers)
	}
	fillReadings(&meta, tally.Readings())
	meta.WorkersBySecond = whole.WorkersBySecond
	return report.Build(whole.Snapshot, meta)
}

func mostOf(a, b *int) *int {
	if a == nil || b != nil && *b > *a {
		return b
	}
	return a
}
