package schedule

import (
	"fmt"
	"math"
	"sync/atomic"
	"time"
)

// zone turns UTC minutes into local ones.
type zone struct {
	name string
	loc  *time.Location // nil for UTC
	// last is the span that an evaluation last began in; the next one nearly always does, too.
	last atomic.Pointer[span]
}

// span is a stretch of time with one offset.
type span struct {
	from, to int64 // UTC minutes, to excluded
	offset   int64 // minutes to add for local time
}

// always is the span of UTC. Its ends leave room for arithmetic.
var always = span{from: math.MinInt64 / 4, to: math.MaxInt64 / 4}

func loadZone(name string) (*zone, error) {
	if name == "UTC" {
		return &zone{name: name}, nil
	}
	// The library takes these two for UTC and the machine's own zone.
	if name == "" || name == "Local" {
		return nil, fmt.Errorf("time zone %q: unknown; use an IANA name such as Europe/Berlin", name)
	}
	loc, err := time.LoadLocation(name)
	if err != nil {
		return nil, fmt.Errorf("time zone %q: unknown; use an IANA name such as Europe/Berlin (%w)", name, err)
	}
	return &zone{name: name, loc: loc}, nil
}

// now is the span of a minute at which an evaluation begins.
func (z *zone) now(minute int64) span {
	if z.loc == nil {
		return always
	}
	if s := z.last.Load(); s != nil && s.from <= minute && minute < s.to {
		return *s
	}
	s := z.at(minute)
	z.last.Store(&s)
	return s
}

// at is the span of any minute.
func (z *zone) at(minute int64) span {
	if z.loc == nil {
		return always
	}
	t := time.Unix(minute*60, 0).In(z.loc)
	_, offset := t.Zone()
	s := span{from: always.from, to: always.to, offset: floorDiv(int64(offset), 60)}
	begin, end := t.ZoneBounds()
	if !begin.IsZero() {
		s.from = -floorDiv(-begin.Unix(), 60)
	}
	if !end.IsZero() {
		s.to = -floorDiv(-end.Unix(), 60)
	}
	return s
}

// earliest is the first UTC minute in [from, last] whose match is want.
func (z *zone) earliest(p *pattern, from, last int64, want bool) (int64, bool) {
	for s := z.now(from); from <= last; s = z.at(from) {
		if at, ok := p.next(from+s.offset, min(s.to, last+1)+s.offset, want); ok {
			return at - s.offset, true
		}
		from = s.to
	}
	return 0, false
}

// latest is the last UTC minute in [first, from] whose match is want.
func (z *zone) latest(p *pattern, from, first int64, want bool) (int64, bool) {
	for s := z.now(from); from >= first; s = z.at(from) {
		if at, ok := p.prev(from+s.offset, max(s.from, first)+s.offset, want); ok {
			return at - s.offset, true
		}
		from = s.from - 1
	}
	return 0, false
}

func (z *zone) matches(p *pattern, minute int64) bool {
	return p.matches(minute + z.now(minute).offset)
}

// nextEdge is the first rising edge after now, in ms, if one is within reach.
func (z *zone) nextEdge(p *pattern, now int64) (int64, bool) {
	minute := floorDiv(now, minuteMS)
	last := floorDiv(now+p.reach(), minuteMS)
	from := minute + 1
	if z.matches(p, minute) {
		// This window is not the next one: it has to be left first.
		off, ok := z.earliest(p, from, last, false)
		if !ok {
			return 0, false
		}
		from = off
	}
	at, ok := z.earliest(p, from, last, true)
	return at * minuteMS, ok
}

// prevEdge is the last rising edge at or before now, in ms, if one is within reach. Peers look back
// in steps of the finest unit that the pattern constrains, and see a unit only if its beginning is
// within reach; so does this.
func (z *zone) prevEdge(p *pattern, now int64) (int64, bool) {
	floor := now - p.reach()
	minute := floorDiv(now, minuteMS)
	first := floorDiv(floor, minuteMS)
	on, ok := z.latest(p, minute, first, true)
	if !ok || on != minute && z.unitStart(p, on)*minuteMS < floor {
		return 0, false
	}
	off, ok := z.latest(p, on-1, first, false)
	if !ok || off == on-1 && off*minuteMS < floor || off != on-1 && z.unitStart(p, off)*minuteMS < floor {
		return 0, false
	}
	return (off + 1) * minuteMS, true
}

// unitStart is the first UTC minute of the local minute, hour or day that minute lies in, whichever
// is the finest that the pattern constrains.
func (z *zone) unitStart(p *pattern, minute int64) int64 {
	unit := int64(1440)
	switch {
	case p.minutes != allMinutes:
		return minute
	case p.hours != allHours:
		unit = 60
	}
	s := z.at(minute)
	local := floorDiv(minute+s.offset, unit) * unit
	if local-s.offset >= s.from {
		return local - s.offset
	}
	// Skipped clock times come first at the change.
	return min(local-z.at(s.from-1).offset, s.from)
}
