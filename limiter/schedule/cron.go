package schedule

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
)

// field is one of the five fields of a cron expression.
type field struct {
	name     string
	min, max int
	names    []string // three letters each, from value min
	tag      byte     // in the compact form
}

var (
	dayNames   = []string{"SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"}
	monthNames = []string{"JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"}

	fields = [5]field{
		{name: "minute", max: 59, tag: 'm'},
		{name: "hour", max: 23, tag: 'h'},
		{name: "day of month", min: 1, max: 31, tag: 'D'},
		{name: "month", min: 1, max: 12, names: monthNames, tag: 'M'},
		{name: "day of week", max: 7, names: dayNames, tag: 'w'},
	}
)

// parseCron parses exactly five fields. Both day fields must match if one of them starts with "*",
// otherwise either of them: the rule of Debian's cron.
func parseCron(text string) (pattern, error) {
	parts := strings.Fields(text)
	if len(parts) != len(fields) {
		return pattern{}, fmt.Errorf("has %d fields; use five: minute hour day-of-month month day-of-week", len(parts))
	}
	var sets [len(fields)]uint64
	for i := range fields {
		set, err := fields[i].parse(parts[i])
		if err != nil {
			return pattern{}, err
		}
		sets[i] = set
	}
	p := pattern{
		minutes: sets[0], hours: uint32(sets[1]), dom: uint32(sets[2]), months: uint16(sets[3]),
		dow: uint8(sets[4]&allDaysOfWeek | sets[4]>>7), // Sunday is 0 and 7
	}
	both := parts[2][0] == '*' || parts[4][0] == '*'
	if both && bits.TrailingZeros32(p.dom) > p.longestMonth() {
		return pattern{}, fmt.Errorf("day of month %q: none of these months has that day", parts[2])
	}
	p.combine(both)
	return p, nil
}

// longestMonth is the length of the longest of the pattern's months, in any year.
func (p *pattern) longestMonth() int {
	longest := 0
	for m := uint8(1); m <= 12; m++ {
		if p.months>>m&1 == 1 {
			longest = max(longest, int(lengthOf(2000, m)))
		}
	}
	return longest
}

// parse returns the values that a field's text allows, as bits.
func (f *field) parse(text string) (uint64, error) {
	var set uint64
	for item := range strings.SplitSeq(text, ",") {
		values, err := f.item(item)
		if err != nil {
			return 0, fmt.Errorf("%s %q: %w", f.name, text, err)
		}
		set |= values
	}
	return set, nil
}

// item is one of a list: "*", a value or a range, each possibly with a step.
func (f *field) item(text string) (uint64, error) {
	span, stepText, stepped := strings.Cut(text, "/")
	set, err := f.span(span)
	if err != nil || !stepped {
		return set, err
	}
	step, ok := number(stepText)
	if !ok || step == 0 {
		return 0, fmt.Errorf("step %q is not a whole number above 0", stepText)
	}
	if bits.OnesCount64(set) == 1 {
		// A single value is where steps to the end of the field begin.
		set = between(bits.TrailingZeros64(set), f.max)
	}
	var stepwise uint64
	for value := bits.TrailingZeros64(set); value < bits.Len64(set); value += step {
		stepwise |= 1 << value
	}
	return stepwise, nil
}

func (f *field) span(text string) (uint64, error) {
	if text == "*" {
		return between(f.min, f.max), nil
	}
	from, to, ranged := strings.Cut(text, "-")
	first, err := f.value(from)
	if err != nil || !ranged {
		return 1 << first, err
	}
	last, err := f.value(to)
	if err != nil {
		return 0, err
	}
	if last < first {
		return 0, errors.New("the range does not ascend")
	}
	return between(first, last), nil
}

func (f *field) value(text string) (int, error) {
	if i := f.nameIndex(text); i >= 0 {
		return f.min + i, nil
	}
	v, ok := number(text)
	if !ok {
		return 0, fmt.Errorf("%q is no value (L, W and # are not supported)", text)
	}
	if v < f.min || v > f.max {
		return 0, fmt.Errorf("%s is not between %d and %d", text, f.min, f.max)
	}
	return v, nil
}

func (f *field) nameIndex(text string) int {
	for i, name := range f.names {
		if strings.EqualFold(name, text) {
			return i
		}
	}
	return -1
}

// number reads decimal digits; what is beyond any field becomes a thousand.
func number(text string) (int, bool) {
	n := 0
	for i := range len(text) {
		if text[i] < '0' || text[i] > '9' {
			return 0, false
		}
		n = min(1000, n*10+int(text[i]-'0'))
	}
	return n, text != ""
}

// between has the bits from first to last.
func between(first, last int) uint64 { return 1<<(last+1) - 1<<first }
