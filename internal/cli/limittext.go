package cli

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// limitForm is how a limit is written on the command line.
const limitForm = "name:rate[/period][:burst], where period is [N]sec, [N]min (the default is min), [N]hour or [N]day"

const limitLong = `A limit is name:rate[/period][:burst], such as rpm:100, tpm:50000/hour or tpm:10000/5min:20000. The period is [N]sec,
[N]min (the default is min), [N]hour or [N]day; burst is what may be taken at once, the rate when not given. Schedules
and quotas come from a manifest (zae-limiter limits apply) or from the library.`

// periods are the units of a limit's period, the longest first.
var periods = []struct {
	name string
	unit time.Duration
}{{"day", 24 * time.Hour}, {"hour", time.Hour}, {"min", time.Minute}, {"sec", time.Second}}

// maxUnits keeps a period within what a limit may have, whatever its unit.
const maxUnits = 1_000_000_000

// parsePeriod reads a period such as min or 5min.
func parsePeriod(text string) (time.Duration, bool) {
	for _, p := range periods {
		count, ok := strings.CutSuffix(text, p.name)
		if !ok {
			continue
		}
		if count == "" {
			return p.unit, true
		}
		n, err := strconv.ParseUint(count, 10, 64)
		if err != nil || n < 1 || n > maxUnits || time.Duration(n) > maxUnits*time.Second/p.unit {
			return 0, false
		}
		return time.Duration(n) * p.unit, true
	}
	return 0, false
}

func formatPeriod(period time.Duration) string {
	for _, p := range periods {
		if n := period / p.unit; period%p.unit == 0 && n > 0 {
			if n == 1 {
				return p.name
			}
			return strconv.FormatInt(int64(n), 10) + p.name
		}
	}
	return period.String()
}

// parseLimit reads a limit as the command line gives it.
func parseLimit(text string) (limiter.Limit, error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 3 {
		return limiter.Limit{}, fmt.Errorf("limit %q: want %s", text, limitForm)
	}
	rateText, periodText, given := strings.Cut(parts[1], "/")
	period := time.Minute
	if given {
		var known bool
		if period, known = parsePeriod(periodText); !known {
			return limiter.Limit{}, fmt.Errorf("limit %q: period %q: want %s, 10^9 seconds at most", text, periodText, limitForm)
		}
	}
	rate, err := wholeNumber(rateText)
	if err != nil {
		return limiter.Limit{}, fmt.Errorf("limit %q: rate %w", text, err)
	}
	limit := limiter.Custom(parts[0], rate, rate, period)
	if len(parts) == 3 {
		burst, err := wholeNumber(parts[2])
		if err != nil {
			return limiter.Limit{}, fmt.Errorf("limit %q: burst %w", text, err)
		}
		limit = limit.WithBurst(burst)
	}
	if err := limit.Validate(); err != nil {
		return limiter.Limit{}, fmt.Errorf("limit %q: %w", text, err)
	}
	return limit, nil
}

func wholeNumber(text string) (int64, error) {
	n, err := strconv.ParseInt(text, 10, 64)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is too large: at most 10^15", text)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number", text)
	}
	return n, nil
}

// parseLimits reads the limits of a command, and which of them are soft.
func parseLimits(texts, soft []string) ([]limiter.Limit, error) {
	if len(texts) == 0 {
		return nil, usagef("which limits? give --limit %s, once for each", limitForm)
	}
	var limits []limiter.Limit
	index := map[string]int{}
	for _, text := range texts {
		limit, err := parseLimit(text)
		if err != nil {
			return nil, usage(err)
		}
		if _, twice := index[limit.Name]; twice {
			return nil, usagef("limit %s is given twice", limit.Name)
		}
		index[limit.Name] = len(limits)
		limits = append(limits, limit)
	}
	for _, name := range soft {
		i, ok := index[name]
		if !ok {
			return nil, usagef("--soft %s: no --limit has that name", name)
		}
		limits[i].Soft = true
	}
	return limits, nil
}

// limitText is the form of the command line, with what it cannot say behind it.
func limitText(l limiter.Limit) string {
	text := l.Name + ":" + strconv.FormatInt(l.Capacity, 10)
	if l.RefillAmount > 0 {
		text = l.Name + ":" + strconv.FormatInt(l.RefillAmount, 10) + "/" + formatPeriod(l.RefillPeriod)
		if l.Capacity != l.RefillAmount {
			text += ":" + strconv.FormatInt(l.Capacity, 10)
		}
	}
	var more []string
	if l.ResetAfter > 0 {
		more = append(more, "quota for "+formatPeriod(l.ResetAfter)+" from first use")
	}
	more = append(more, scheduleTexts(l)...)
	if l.Soft {
		more = append(more, "soft")
	}
	if len(more) > 0 {
		text += " (" + strings.Join(more, "; ") + ")"
	}
	return text
}

// scheduleTexts describe the schedules of a limit, an entry each.
func scheduleTexts(l limiter.Limit) []string {
	parameters, resets, err := l.Entries()
	if err != nil {
		return []string{err.Error()}
	}
	var texts []string
	for _, e := range parameters {
		var effect []string
		if e.Scale != 0 {
			effect = append(effect, "scale "+strconv.FormatFloat(e.Scale, 'g', -1, 64))
		}
		for _, set := range []struct {
			name  string
			value int64
		}{{"capacity", e.Capacity}, {"refill amount", e.RefillAmount}, {"refill period", e.RefillPeriod}} {
			if set.value != 0 {
				effect = append(effect, set.name+" "+strconv.FormatInt(set.value, 10))
			}
		}
		texts = append(texts, fmt.Sprintf("%s while %q %s", strings.Join(effect, ", "), e.Cron, zoneText(e.TZ)))
	}
	for _, e := range resets {
		texts = append(texts, fmt.Sprintf("resets at %q %s", e.Cron, zoneText(e.TZ)))
	}
	return texts
}

func zoneText(tz string) string {
	if tz == "" {
		return "UTC"
	}
	return tz
}
