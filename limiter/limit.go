package limiter

import (
	"cmp"
	"strconv"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Limit is a token bucket. A dripping limit holds at most Capacity tokens and regains RefillAmount every
// RefillPeriod (whole seconds), a little at a time. A quota (RefillAmount 0) gets its Capacity back whole, at
// the edges of ResetSchedule or when the window of ResetAfter, which its first use opens, has ended.
// Limits are compared with ==.
type Limit struct {
	Name         string
	Capacity     int64
	RefillAmount int64
	RefillPeriod time.Duration
	// Schedule changes capacity, amount and period at times, ResetSchedule resets a calendar quota.
	// Both have the form in which they are stored; WithSchedule and Quota write it. "" is none.
	Schedule, ResetSchedule string
	// Zone is the IANA time zone of both schedules; "" is UTC.
	Zone string
	// ResetAfter is the window of a session quota, whole seconds.
	ResetAfter time.Duration
	// Soft makes the limit admit what it has not, into debt.
	Soft bool
}

// PerSecond is a limit of rate tokens a second, with room for as many at once.
func PerSecond(name string, rate int64) Limit { return Custom(name, rate, rate, time.Second) }

// PerMinute is a limit of rate tokens a minute, with room for as many at once.
func PerMinute(name string, rate int64) Limit { return Custom(name, rate, rate, time.Minute) }

// PerHour is a limit of rate tokens an hour, with room for as many at once.
func PerHour(name string, rate int64) Limit { return Custom(name, rate, rate, time.Hour) }

// PerDay is a limit of rate tokens a day, with room for as many at once.
func PerDay(name string, rate int64) Limit { return Custom(name, rate, rate, 24*time.Hour) }

// Custom is a limit with all its parameters.
func Custom(name string, capacity, refillAmount int64, period time.Duration) Limit {
	return Limit{Name: name, Capacity: capacity, RefillAmount: refillAmount, RefillPeriod: period}
}

// Quota is amount tokens that come back whole at every rising edge of the patterns of its entries,
// which have a Cron and a TZ only.
func Quota(name string, amount int64, resets ...schedule.Entry) (Limit, error) {
	l := Custom(name, amount, 0, time.Second)
	compiled, err := schedule.ParseResets(resets)
	if err != nil {
		return l, invalid("reset schedule of "+name, "", err.Error())
	}
	l.ResetSchedule, l.Zone = compiled.Encode(), zoneName(compiled.TZ())
	return l, l.Validate()
}

// SessionQuota is amount tokens that come back whole when a window of the given length has ended.
// The first use after that opens the next one.
func SessionQuota(name string, amount int64, window time.Duration) Limit {
	l := Custom(name, amount, 0, time.Second)
	l.ResetAfter = window
	return l
}

// WithBurst returns the limit with room for burst tokens at once, which may be fewer than its rate.
func (l Limit) WithBurst(burst int64) Limit {
	l.Capacity = burst
	return l
}

// WithSoft returns the limit as one that admits what it has not, into debt.
func (l Limit) WithSoft() Limit {
	l.Soft = true
	return l
}

// WithSchedule returns the limit with other parameters whenever the pattern of an entry matches; the
// first that does decides.
func (l Limit) WithSchedule(entries ...schedule.Entry) (Limit, error) {
	compiled, err := schedule.Parse(entries)
	if err != nil {
		return l, invalid("schedule of "+l.Name, "", err.Error())
	}
	zone := zoneName(compiled.TZ())
	if l.ResetSchedule != "" && compiled != nil && zone != l.Zone {
		return l, invalid("schedule of "+l.Name, compiled.TZ(), "is not the time zone of its resets")
	}
	l.Schedule, l.Zone = compiled.Encode(), zone
	return l, nil
}

// zoneName leaves UTC out, as the limits that are read do.
func zoneName(tz string) string {
	if tz == "UTC" {
		return ""
	}
	return tz
}

// Entries returns what Schedule and ResetSchedule say.
func (l Limit) Entries() (parameters, resets []schedule.Entry, err error) {
	s, err := schedule.Decode(l.Schedule, l.Zone)
	if err != nil {
		return nil, nil, invalid("schedule of "+l.Name, l.Schedule, err.Error())
	}
	r, err := schedule.DecodeResets(l.ResetSchedule, l.Zone)
	if err != nil {
		return nil, nil, invalid("reset schedule of "+l.Name, l.ResetSchedule, err.Error())
	}
	return s.Entries(), r.Entries(), nil
}

// Quota says whether the limit comes back whole instead of dripping.
func (l Limit) Quota() bool { return l.RefillAmount == 0 }

// Amounts maps limit names to whole tokens.
type Amounts map[string]int64

// OnUnavailable says what an acquire does when the store cannot answer.
type OnUnavailable string

const (
	// Block fails the acquire with *UnavailableError.
	Block OnUnavailable = "block"
	// Allow admits it with a degraded lease that writes nothing.
	Allow OnUnavailable = "allow"
)

// The bounds of limit parameters.
const (
	maxTokens  = schedule.MaxTokens
	maxSeconds = schedule.MaxSeconds
	maxName    = 64
	maxID      = 256
)

// Validate reports the first rule that the limit breaks as a *ValidationError.
func (l Limit) Validate() error {
	if err := validateLimitName(l.Name); err != nil {
		return err
	}
	switch {
	case l.Capacity < 1 || l.Capacity > maxTokens:
		return invalid("capacity of "+l.Name, strconv.FormatInt(l.Capacity, 10), "must be between 1 and 10^15")
	case l.RefillAmount < 0 || l.RefillAmount > maxTokens:
		return invalid("refill amount of "+l.Name, strconv.FormatInt(l.RefillAmount, 10), "must be between 0 and 10^15")
	case !wholeSeconds(l.RefillPeriod):
		return invalid("refill period of "+l.Name, l.RefillPeriod.String(), "must be whole seconds between 1 and 10^9")
	case l.ResetAfter != 0 && !wholeSeconds(l.ResetAfter):
		return invalid("reset_after of "+l.Name, l.ResetAfter.String(), "must be whole seconds between 1 and 10^9")
	case l.ResetAfter != 0 && l.ResetSchedule != "":
		return invalid("limit", l.Name, "has a reset schedule and a window: a quota has one of them")
	case l.RefillAmount == 0 && l.ResetAfter == 0 && l.ResetSchedule == "":
		return invalid("refill amount of "+l.Name, "0", "is for quotas: give a reset schedule or a window, or an amount of at least 1")
	case l.RefillAmount != 0 && (l.ResetAfter != 0 || l.ResetSchedule != ""):
		return invalid("refill amount of "+l.Name, strconv.FormatInt(l.RefillAmount, 10), "must be 0 for a quota, which comes back whole")
	}
	if l.Schedule == "" && l.ResetSchedule == "" {
		if l.Zone != "" {
			return invalid("zone of "+l.Name, l.Zone, "is given without a schedule")
		}
		return nil
	}
	_, resets, err := l.Entries()
	if err != nil {
		return err
	}
	if _, err := schedule.ParseResets(resets); err != nil {
		return invalid("reset schedule of "+l.Name, l.ResetSchedule, err.Error())
	}
	return nil
}

func wholeSeconds(d time.Duration) bool {
	seconds := d / time.Second
	return d%time.Second == 0 && seconds >= 1 && seconds <= maxSeconds
}

func validateLimits(limits []Limit) error {
	var scheduled *Limit
	for i, limit := range limits {
		if err := limit.Validate(); err != nil {
			return err
		}
		for _, earlier := range limits[:i] {
			if earlier.Name == limit.Name {
				return invalid("limits", limit.Name, "is given twice")
			}
		}
		if limit.Schedule == "" && limit.ResetSchedule == "" {
			continue
		}
		if scheduled == nil {
			scheduled = &limits[i]
		}
		if limit.Zone != scheduled.Zone {
			return invalid("zone of "+limit.Name, cmp.Or(limit.Zone, "UTC"), "differs from that of "+scheduled.Name+": the schedules of an item share one time zone")
		}
	}
	return nil
}
