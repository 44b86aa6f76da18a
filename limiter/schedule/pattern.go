package schedule

import "math/bits"

const (
	minuteMS = 60_000
	dayMS    = 86_400_000

	allMinutes    = 1<<60 - 1
	allHours      = 1<<24 - 1
	allDays       = 1<<32 - 2 // bits 1-31
	allMonths     = 1<<13 - 2 // bits 1-12
	allDaysOfWeek = 1<<7 - 1

	// How far an edge or change is looked for, by the finest field that is constrained.
	boundMinute = 7 * dayMS
	boundHour   = 31 * dayMS
	boundDay    = 366 * dayMS
)

// pattern is the five fields of a cron expression as bits. It knows local wall time only, counted in
// minutes since 1970.
type pattern struct {
	minutes uint64
	hours   uint32
	months  uint16
	// days are the days of a month that match, by the weekday (0 Sunday) of its first day.
	days [7]uint32
	// dom and dow are the two fields that days combines.
	dom uint32
	dow uint8
}

// combine fills days: both fields must match, or either of them.
func (p *pattern) combine(both bool) {
	for first := range p.days {
		var weekdays uint32
		for day := 1; day <= 31; day++ {
			if p.dow>>((first+day-1)%7)&1 == 1 {
				weekdays |= 1 << day
			}
		}
		if both {
			p.days[first] = p.dom & weekdays
		} else {
			p.days[first] = p.dom | weekdays
		}
	}
}

func (p *pattern) wholeDay() bool { return p.minutes == allMinutes && p.hours == allHours }

// bound is how far changes of a parameter entry are looked for, in ms.
func (p *pattern) bound() int64 {
	switch {
	case p.minutes != allMinutes:
		return boundMinute
	case p.hours != allHours:
		return boundHour
	}
	return boundDay
}

// cycle is the time over which the pattern repeats, in seconds.
func (p *pattern) cycle() int64 {
	const day = 86_400
	switch {
	case p.months != allMonths:
		return 366 * day
	case p.dom != allDays:
		return 31 * day
	case p.dow != allDaysOfWeek:
		return 7 * day
	case p.hours != allHours:
		return day
	case p.minutes != allMinutes:
		return 3600
	}
	return 60
}

// reach is how far edges of a reset entry are looked for, in ms.
func (p *pattern) reach() int64 { return max(p.bound(), p.cycle()*1000) }

// matches says whether a local minute matches.
func (p *pattern) matches(local int64) bool {
	day := floorDiv(local, 1440)
	minute := int(local - day*1440)
	if p.hours>>(minute/60)&1 == 0 || p.minutes>>(minute%60)&1 == 0 {
		return false
	}
	m := monthOf(day)
	return p.months>>m.month&1 == 1 && p.days[m.first]>>(day-m.zero)&1 == 1
}

// daysWith has the days of a month in which there is a minute whose match is want.
func (p *pattern) daysWith(m *month, want bool) uint32 {
	all := uint32(1)<<(m.length+1) - 2
	if !want && !p.wholeDay() {
		return all
	}
	on := uint32(0)
	if p.months>>m.month&1 == 1 {
		on = p.days[m.first]
	}
	if !want {
		on = ^on
	}
	return on & all
}

// hoursWith has the hours of a day, which matches or does not, that have a minute whose match is want.
func (p *pattern) hoursWith(dayOn, want bool) uint32 {
	switch {
	case want && dayOn:
		return p.hours
	case want:
		return 0
	case dayOn && p.minutes == allMinutes:
		return ^p.hours & allHours
	}
	return allHours
}

// minutesWith has the minutes of an hour whose match is want.
func (p *pattern) minutesWith(dayOn bool, hour int, want bool) uint64 {
	on := uint64(0)
	if dayOn && p.hours>>hour&1 == 1 {
		on = p.minutes
	}
	if !want {
		on = ^on & allMinutes
	}
	return on
}

func (p *pattern) dayOn(m *month, day int) bool {
	return p.months>>m.month&1 == 1 && p.days[m.first]>>day&1 == 1
}

// next is the first local minute in [from, end) whose match is want.
func (p *pattern) next(from, end int64, want bool) (int64, bool) {
	number := floorDiv(from, 1440)
	rest := int(from - number*1440)
	hour, minute := rest/60, rest%60
	m := monthOf(number)
	day := int(number - m.zero)
	for {
		// Of each unit only the first that is looked at can turn out to be over already.
		for days := p.daysWith(&m, want) >> day << day; days != 0; days &= days - 1 {
			d := bits.TrailingZeros32(days)
			if d != day {
				hour, minute = 0, 0
			}
			on := p.dayOn(&m, d)
			for hours := p.hoursWith(on, want) >> hour << hour; hours != 0; hours &= hours - 1 {
				h := bits.TrailingZeros32(hours)
				if h != hour {
					minute = 0
				}
				if minutes := p.minutesWith(on, h, want) >> minute << minute; minutes != 0 {
					at := (m.zero+int64(d))*1440 + int64(h*60+bits.TrailingZeros64(minutes))
					return at, at < end
				}
			}
		}
		m = m.after()
		day, hour, minute = 1, 0, 0
		if (m.zero+1)*1440 >= end {
			return 0, false
		}
	}
}

// prev is the last local minute in [begin, from] whose match is want.
func (p *pattern) prev(from, begin int64, want bool) (int64, bool) {
	number := floorDiv(from, 1440)
	rest := int(from - number*1440)
	hour, minute := rest/60, rest%60
	m := monthOf(number)
	day := int(number - m.zero)
	for {
		var d, h int
		for days := p.daysWith(&m, want) & upTo(day); days != 0; days &^= 1 << d {
			if d = bits.Len32(days) - 1; d != day {
				hour, minute = 23, 59
			}
			on := p.dayOn(&m, d)
			for hours := p.hoursWith(on, want) & upTo(hour); hours != 0; hours &^= 1 << h {
				if h = bits.Len32(hours) - 1; h != hour {
					minute = 59
				}
				if minutes := p.minutesWith(on, h, want) & (1<<(minute+1) - 1); minutes != 0 {
					at := (m.zero+int64(d))*1440 + int64(h*60+bits.Len64(minutes)-1)
					return at, at >= begin
				}
			}
		}
		if (m.zero+1)*1440 <= begin {
			return 0, false
		}
		m = m.before()
		day, hour, minute = int(m.length), 23, 59
	}
}

// upTo has bits 0 to last.
func upTo(last int) uint32 { return 1<<last<<1 - 1 }

// blind says whether there are times at which no edge of the pattern is within reach, neither before nor
// after: it has none, or two of them lie too far apart.
func (p *pattern) blind() bool {
	// The calendar repeats every 28 years until 2100.
	const begin, cycle = 10_957, 28*365 + 7 // from 2000-01-01
	m := monthOf(begin - 1)
	yesterday := p.dayOn(&m, int(m.length))
	widest := 2 * p.reach() / dayMS
	var first, last int64
	for m = m.after(); m.zero+1 < begin+cycle; m = m.after() {
		for d := 1; d <= int(m.length); d++ {
			on := p.dayOn(&m, d)
			// With hours or minutes constrained every day that matches has an edge.
			if on && (!yesterday || !p.wholeDay()) {
				at := m.zero + int64(d)
				if last == 0 {
					first = at
				} else if at-last > widest {
					return true
				}
				last = at
			}
			yesterday = on
		}
	}
	return last == 0 || first+cycle-last > widest
}

// month is a month of the civil calendar.
type month struct {
	year   int64
	month  uint8 // 1-12
	length uint8 // days
	first  uint8 // weekday of its first day, 0 Sunday
	zero   int64 // number of the day before its first, counted from 1970-01-01
}

// monthOf is the month that a day, counted from 1970-01-01, lies in.
func monthOf(day int64) month {
	// Years begin in March here, so that the leap day is the last of its year.
	z := day + 719_468
	era := floorDiv(z, 146_097)
	doe := z - era*146_097
	yoe := (doe - doe/1460 + doe/36_524 - doe/146_096) / 365
	doy := doe - (365*yoe + yoe/4 - yoe/100)
	mp := (5*doy + 2) / 153
	dom := doy - (153*mp+2)/5 + 1
	m := month{year: yoe + era*400, month: uint8(mp + 3), zero: day - dom}
	if mp >= 10 {
		m.month, m.year = uint8(mp-9), m.year+1
	}
	m.first = weekday(m.zero + 1)
	m.length = lengthOf(m.year, m.month)
	return m
}

func (m month) after() month {
	m.zero += int64(m.length)
	m.first = (m.first + m.length) % 7
	if m.month++; m.month == 13 {
		m.month, m.year = 1, m.year+1
	}
	m.length = lengthOf(m.year, m.month)
	return m
}

func (m month) before() month {
	if m.month--; m.month == 0 {
		m.month, m.year = 12, m.year-1
	}
	m.length = lengthOf(m.year, m.month)
	m.zero -= int64(m.length)
	m.first = weekday(m.zero + 1)
	return m
}

func lengthOf(year int64, month uint8) uint8 {
	switch month {
	case 2:
		if year%4 == 0 && (year%100 != 0 || year%400 == 0) {
			return 29
		}
		return 28
	case 4, 6, 9, 11:
		return 30
	}
	return 31
}

// weekday of a day counted from 1970-01-01, a Thursday.
func weekday(day int64) uint8 { return uint8(day + 4 - 7*floorDiv(day+4, 7)) }

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b < 0 {
		q--
	}
	return q
}
