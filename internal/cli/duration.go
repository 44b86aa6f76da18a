package cli

import (
	"fmt"
	"regexp"
	"strconv"
	"time"
)

// runTime matches Locust's grammar: whole hours, minutes and seconds in that order.
var runTime = regexp.MustCompile(`^(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?$`)

// parseRunTime reads a duration as Locust does: "90" (seconds) or "1h20m5s".
func parseRunTime(text string) (time.Duration, error) {
	if isDigits(text) {
		return seconds(text, time.Second)
	}
	m := runTime.FindStringSubmatch(text)
	if m == nil || text == "" {
		return 0, fmt.Errorf("%q is not a duration: want seconds (90) or hours, minutes, seconds (1h20m5s)", text)
	}
	var total time.Duration
	for i, unit := range []time.Duration{time.Hour, time.Minute, time.Second} {
		if m[i+1] == "" {
			continue
		}
		d, err := seconds(m[i+1], unit)
		if err != nil {
			return 0, err
		}
		total += d
	}
	if total < 0 {
		return 0, fmt.Errorf("%q is too long a duration", text)
	}
	return total, nil
}

func isDigits(text string) bool {
	for _, c := range []byte(text) {
		if c < '0' || c > '9' {
			return false
		}
	}
	return text != ""
}

func seconds(digits string, unit time.Duration) (time.Duration, error) {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n > int64(1<<62/unit) {
		return 0, fmt.Errorf("%q is too long a duration", digits)
	}
	return time.Duration(n) * unit, nil
}

// runTimeFlag is a flag whose value is a duration in Locust's grammar.
type runTimeFlag time.Duration

func (f *runTimeFlag) Set(text string) error {
	d, err := parseRunTime(text)
	if err != nil {
		return err
	}
	*f = runTimeFlag(d)
	return nil
}

// String prints whole seconds, which is how defaults are documented.
func (f *runTimeFlag) String() string {
	return strconv.FormatInt(int64(time.Duration(*f)/time.Second), 10)
}

func (f *runTimeFlag) Type() string { return "duration" }

func (f *runTimeFlag) duration() time.Duration { return time.Duration(*f) }

// secondsFlag is a flag whose value is seconds with decimals, or any Go duration.
type secondsFlag time.Duration

func (f *secondsFlag) Set(text string) error {
	if d, err := time.ParseDuration(text); err == nil && d >= 0 {
		*f = secondsFlag(d)
		return nil
	}
	s, err := strconv.ParseFloat(text, 64)
	if err != nil || !(s >= 0 && s < 1e9) {
		return fmt.Errorf("%q is not a duration: want seconds (2.5) or a unit (1500ms)", text)
	}
	*f = secondsFlag(s * float64(time.Second))
	return nil
}

func (f *secondsFlag) String() string {
	return strconv.FormatFloat(time.Duration(*f).Seconds(), 'g', -1, 64)
}

func (f *secondsFlag) Type() string { return "seconds" }

func (f *secondsFlag) duration() time.Duration { return time.Duration(*f) }
