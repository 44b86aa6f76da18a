package cli

import (
	"cmp"
	"fmt"
	"io"
	"maps"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// The size of a chart of usage.
const (
	plotColumns = 60
	plotHeight  = 8
)

// usageSeries are the windows of one kind of an entity on a resource, the oldest first.
type usageSeries struct {
	entity, resource, window string
	snapshots                []limiter.UsageSnapshot
}

// usageSeriesOf sorts snapshots into series, in the order of resource, entity and length of window.
func usageSeriesOf(found []limiter.UsageSnapshot) []usageSeries {
	var all []usageSeries
	for _, s := range found {
		i := slices.IndexFunc(all, func(u usageSeries) bool {
			return u.entity == s.EntityID && u.resource == s.Resource && u.window == s.Window
		})
		if i < 0 {
			i = len(all)
			all = append(all, usageSeries{entity: s.EntityID, resource: s.Resource, window: s.Window})
		}
		all[i].snapshots = append(all[i].snapshots, s)
	}
	for _, u := range all {
		sort.Slice(u.snapshots, func(i, j int) bool { return u.snapshots[i].WindowStart.Before(u.snapshots[j].WindowStart) })
	}
	sort.Slice(all, func(i, j int) bool {
		a, b := &all[i], &all[j]
		rank := func(u *usageSeries) int { return slices.Index([]string{"hourly", "daily", "monthly"}, u.window) }
		return cmp.Or(cmp.Compare(a.resource, b.resource), cmp.Compare(a.entity, b.entity), rank(a)-rank(b)) < 0
	})
	return all
}

// windowIndex counts windows of a kind up to one that starts at a time.
func windowIndex(window string, start time.Time) int {
	start = start.UTC()
	switch window {
	case "monthly":
		return start.Year()*12 + int(start.Month())
	case "daily":
		return int(start.Unix() / 86_400)
	}
	return int(start.Unix() / 3600)
}

// columns puts what was consumed of a limit into columns of the same time each. A column of several windows is as
// high as the highest of them, so that no peak is lost; a window that has no snapshot is 0.
func (u *usageSeries) columns(limit string) (values []int64, windows int) {
	first := windowIndex(u.window, u.snapshots[0].WindowStart)
	span := windowIndex(u.window, u.snapshots[len(u.snapshots)-1].WindowStart) - first + 1
	windows = (span + plotColumns - 1) / plotColumns
	values = make([]int64, (span+windows-1)/windows)
	for _, s := range u.snapshots {
		column := &values[(windowIndex(u.window, s.WindowStart)-first)/windows]
		*column = max(*column, s.Counters[limit])
	}
	return values, windows
}

// plotUsage draws a chart for each limit of each series.
func (a *app) plotUsage(found []limiter.UsageSnapshot) error {
	var b strings.Builder
	for _, u := range usageSeriesOf(found) {
		total := limiter.Amounts{}
		for _, s := range u.snapshots {
			for name, n := range s.Counters {
				total[name] += n
			}
		}
		start, end := u.snapshots[0].WindowStart, u.snapshots[len(u.snapshots)-1].WindowStart
		for _, limit := range slices.Sorted(maps.Keys(total)) {
			values, windows := u.columns(limit)
			fmt.Fprintf(&b, "%s of %s on %s, %s: %d in %d windows\n", limit, u.entity, u.resource, u.window, total[limit], len(u.snapshots))
			for _, line := range term.Bars(values, plotHeight) {
				fmt.Fprintln(&b, line)
			}
			fmt.Fprintf(&b, "%s to %s", start.UTC().Format(time.RFC3339), end.UTC().Format(time.RFC3339))
			if windows > 1 {
				fmt.Fprintf(&b, ", the highest of %d windows a column", windows)
			}
			fmt.Fprint(&b, "\n\n")
		}
	}
	_, err := io.WriteString(a.stdout, strings.TrimSuffix(b.String(), "\n"))
	return err
}
