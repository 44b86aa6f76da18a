package limiter

import (
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Map returns the limit as JSON and audit events describe it: name, capacity, refill_amount and
// refill_period_seconds, and what else it has. Schedules are lists of entries.
func (l Limit) Map() map[string]any {
	m := map[string]any{
		"name": l.Name, "capacity": l.Capacity, "refill_amount": l.RefillAmount,
		"refill_period_seconds": int64(l.RefillPeriod / time.Second),
	}
	// A schedule that cannot be read is shown as it is stored.
	parameters, resets, err := l.Entries()
	for name, list := range map[string]struct {
		stored  string
		entries []schedule.Entry
	}{"schedule": {l.Schedule, parameters}, "reset_schedule": {l.ResetSchedule, resets}} {
		switch {
		case list.stored == "":
		case err != nil:
			m[name] = list.stored
		default:
			m[name] = entryMaps(list.entries)
		}
	}
	if l.ResetAfter > 0 {
		m["reset_after_seconds"] = int64(l.ResetAfter / time.Second)
	}
	if l.Soft {
		m["soft"] = true
	}
	return m
}

func entryMaps(entries []schedule.Entry) []any {
	maps := make([]any, len(entries))
	for i, e := range entries {
		tz := e.TZ
		if tz == "" {
			tz = "UTC"
		}
		m := map[string]any{"cron": e.Cron, "tz": tz}
		if e.Scale != 0 {
			m["scale"] = e.Scale
		}
		for name, n := range map[string]int64{"capacity": e.Capacity, "refill_amount": e.RefillAmount, "refill_period_seconds": e.RefillPeriod} {
			if n != 0 {
				m[name] = n
			}
		}
		maps[i] = m
	}
	return maps
}
