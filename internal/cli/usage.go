package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
)

const usageLong = `The aggregator sums up what is consumed in windows of an hour, a day or a month. A table whose stream nobody reads (see
zae-limiter aggregate) has no such snapshots.`

// usageCommand is the group of commands about what was consumed, as the aggregator of the stack counted it.
func (a *app) usageCommand() *cobra.Command {
	return newGroup("usage", "What was consumed, as the stack's aggregator counted it", usageLong,
		"  zae-limiter usage list --entity-id user-1 --window hourly",
		a.usageListCommand(), a.usageSummaryCommand())
}

// usageFlags select snapshots.
type usageFlags struct {
	query      limiter.UsageQuery
	start, end string
}

func (f *usageFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.query.EntityID, "entity-id", "e", "", "of this `entity`")
	flags.StringVarP(&f.query.Resource, "resource", "r", "", "of this `resource`; one of the two must be given")
	flags.StringVarP(&f.query.Window, "window", "w", "", "only hourly, daily or monthly `windows`")
	flags.StringVar(&f.start, "start", "", "only windows that begin at this `time` or later, such as 2026-01-31T00:00:00Z or 2026-01-31")
	flags.StringVar(&f.end, "end", "", "only windows that begin at this `time` or earlier")
}

func (f *usageFlags) parse() error {
	if f.query.EntityID == "" && f.query.Resource == "" {
		return usagef("usage of what? give --entity-id or --resource")
	}
	for _, bound := range []struct {
		option, text string
		into         *time.Time
	}{{"--start", f.start, &f.query.Start}, {"--end", f.end, &f.query.End}} {
		if bound.text == "" {
			continue
		}
		at, err := parseMoment(bound.text)
		if err != nil {
			return usagef("%s: %v", bound.option, err)
		}
		*bound.into = at
	}
	return nil
}

// parseMoment reads a time in ISO form; without a zone it is UTC.
func parseMoment(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", time.DateOnly} {
		if at, err := time.Parse(layout, text); err == nil {
			return at, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a time such as 2026-01-31T00:00:00Z", text)
}

// usageDocument is a snapshot in the output of usage list.
type usageDocument struct {
	EntityID    string          `json:"entity_id"`
	Resource    string          `json:"resource"`
	Window      string          `json:"window"`
	WindowStart time.Time       `json:"window_start"`
	WindowEnd   time.Time       `json:"window_end"`
	Counters    limiter.Amounts `json:"counters"`
	Overdrawn   limiter.Amounts `json:"overdrawn"`
	TotalEvents int64           `json:"total_events"`
}

func (a *app) usageListCommand() *cobra.Command {
	var f tableFlags
	var u usageFlags
	var limit int
	var plot bool
	cmd := &cobra.Command{
		Use: "list", Short: "List usage snapshots, newest first", Args: positional,
		Example: "  zae-limiter usage list --entity-id user-1 --window hourly --start 2026-01-31\n  zae-limiter usage list --entity-id user-1 --resource gpt-4 --window hourly --plot",
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := u.parse(); err != nil {
				return err
			}
			if limit < 1 || limit > 10_000 {
				return usagef("--limit must be between 1 and 10000, got %d", limit)
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				var found []limiter.UsageSnapshot
				q := u.query
				for {
					page, next, err := admin.UsageSnapshots(ctx, q)
					if err != nil {
						return err
					}
					found = append(found, page...)
					if q.Cursor = next; next == "" || len(found) >= limit {
						break
					}
				}
				more := len(found) > limit || q.Cursor != ""
				return a.printUsage(found[:min(limit, len(found))], more, plot)
			})
		},
	}
	u.register(cmd.Flags())
	cmd.Flags().IntVarP(&limit, "limit", "l", 100, "at most `n` snapshots")
	cmd.Flags().BoolVarP(&plot, "plot", "p", false, "draw a chart for each limit instead of the table; --json is as without")
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) printUsage(found []limiter.UsageSnapshot, more, plot bool) error {
	documents := []usageDocument{}
	table := term.Table{Columns: []string{"Window start", "Window", "Entity", "Resource", "Consumed", "Events"}, LeftColumns: 5}
	for _, s := range found {
		documents = append(documents, usageDocument(s))
		table.Rows = append(table.Rows, []string{s.WindowStart.UTC().Format(time.RFC3339), s.Window, s.EntityID, s.Resource, amountsText(s.Counters), fmt.Sprint(s.TotalEvents)})
	}
	if a.json {
		return a.printJSON(map[string]any{"snapshots": documents, "more": more})
	}
	var err error
	if plot && len(found) > 0 {
		err = a.plotUsage(found)
	} else {
		err = a.printRows(table, "no usage snapshots")
	}
	if err != nil || !more {
		return err
	}
	_, err = fmt.Fprintln(a.stdout, "There may be more: raise --limit, or narrow --start and --end")
	return err
}

func amountsText(amounts limiter.Amounts) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(amounts)) {
		parts = append(parts, fmt.Sprintf("%s=%d", name, amounts[name]))
	}
	return strings.Join(parts, " ")
}

func (a *app) usageSummaryCommand() *cobra.Command {
	var f tableFlags
	var u usageFlags
	cmd := &cobra.Command{
		Use: "summary", Short: "Add usage snapshots up", Example: "  zae-limiter usage summary --resource gpt-4 --window daily", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := u.parse(); err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				sum, err := admin.UsageSummary(ctx, u.query)
				if err != nil {
					return err
				}
				return a.printSummary(sum)
			})
		},
	}
	u.register(cmd.Flags())
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) printSummary(sum limiter.UsageSummary) error {
	if a.json {
		var first, last *time.Time
		if sum.Snapshots > 0 {
			first, last = &sum.First, &sum.Last
		}
		return a.printJSON(map[string]any{"snapshot_count": sum.Snapshots, "total": sum.Total, "average": sum.Average, "overdrawn": sum.Overdrawn,
			"min_window_start": first, "max_window_start": last})
	}
	table := term.Table{Columns: []string{"Limit", "Total", "Average", "Overdrawn"}, LeftColumns: 1}
	for _, name := range slices.Sorted(maps.Keys(sum.Total)) {
		table.Rows = append(table.Rows, []string{name, fmt.Sprint(sum.Total[name]), fmt.Sprintf("%.2f", sum.Average[name]), fmt.Sprint(sum.Overdrawn[name])})
	}
	if sum.Snapshots > 0 {
		if _, err := fmt.Fprintf(a.stdout, "%d snapshots, windows from %s to %s\n", sum.Snapshots, sum.First.UTC().Format(time.RFC3339), sum.Last.UTC().Format(time.RFC3339)); err != nil {
			return err
		}
	}
	return a.printRows(table, "no usage snapshots")
}

func (a *app) resourceCapacityCommand() *cobra.Command {
	var f tableFlags
	var limit string
	var parents bool
	cmd := &cobra.Command{
		Use: "capacity RESOURCE", Short: "Show how much of a limit is in use on a resource, over all entities", Example: "  zae-limiter resource capacity gpt-4 --limit tpm", Args: oneArgument("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit == "" {
				return usagef("of which limit? give --limit NAME")
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				c, err := admin.ResourceCapacity(ctx, args[0], limit, parents)
				if err != nil {
					return err
				}
				return a.printCapacity(c)
			})
		},
	}
	cmd.Flags().StringVarP(&limit, "limit", "l", "", "`name` of the limit")
	cmd.Flags().BoolVar(&parents, "parents-only", false, "only entities that were created and have no parent")
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) printCapacity(c limiter.Capacity) error {
	type entity struct {
		ID          string  `json:"entity_id"`
		Capacity    int64   `json:"capacity"`
		Available   int64   `json:"available"`
		Utilization float64 `json:"utilization_pct"`
	}
	entities := []entity{}
	table := term.Table{Columns: []string{"Entity", "Capacity", "Available", "In use"}, LeftColumns: 1}
	for _, e := range c.Entities {
		entities = append(entities, entity{e.EntityID, e.Capacity, e.Available, e.Utilization})
		table.Rows = append(table.Rows, []string{e.EntityID, fmt.Sprint(e.Capacity), fmt.Sprint(e.Available), fmt.Sprintf("%.1f%%", e.Utilization)})
	}
	if a.json {
		return a.printJSON(map[string]any{"resource": c.Resource, "limit_name": c.Limit, "total_capacity": c.Total, "total_available": c.Available,
			"utilization_pct": c.Utilization, "entities": entities})
	}
	if len(table.Rows) > 0 {
		table.Rows = append(table.Rows, []string{"total", fmt.Sprint(c.Total), fmt.Sprint(c.Available), fmt.Sprintf("%.1f%%", c.Utilization)})
	}
	return a.printRows(table, "no entity has a bucket with "+c.Limit+" on "+c.Resource)
}
