package limiter

import "time"

// Map returns the limit as JSON, audit events and manifests describe it: name, capacity, refill_amount and
// refill_period_seconds, and what else it has.
func (l Limit) Map() map[string]any {
	m := map[string]any{
		"name": l.Name, "capacity": l.Capacity, "refill_amount": l.RefillAmount,
		"refill_period_seconds": int64(l.RefillPeriod / time.Second),
	}
	if l.ResetAfter > 0 {
		m["reset_after_seconds"] = int64(l.ResetAfter / time.Second)
	}
	if l.Soft {
		m["soft"] = true
	}
	return m
}
