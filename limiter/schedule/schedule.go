// Package schedule evaluates the schedules of limits: which parameters a parameter schedule puts in
// force, when a reset schedule gives a quota back, and the compact text that items store them as. It
// is arithmetic on times that are passed in; it reads no clock.
//
// Times are Unix milliseconds, capacities and refills millitokens, periods milliseconds, unless said
// otherwise. Compiled schedules are immutable and safe for concurrent use; a nil *Schedule or *Resets
// is one without entries, and evaluating one costs nothing.
//
// Zones are those of the machine (see time.LoadLocation). A program that must run where there is no
// zone data imports time/tzdata in its main package.
package schedule

import (
	"errors"
	"fmt"
	"math"
	"strings"
)

// The bounds of what an entry may set.
const (
	MaxTokens  = 1_000_000_000_000_000 // capacity, refill amount
	MaxSeconds = 1_000_000_000         // refill period
	MaxScale   = 1_000_000
)

// Entry is one line of a schedule. Cron is a pattern that minutes match, not a time at which
// something happens: "* 9-17 * * *" is in force from 09:00 to 17:59.
//
// An entry of a parameter schedule sets either Scale or at least one of Capacity, RefillAmount and
// RefillPeriod; what is 0 is not set. An entry of a reset schedule sets none of them.
type Entry struct {
	Cron string // five fields: minute hour day-of-month month day-of-week
	TZ   string // IANA name; "" is UTC

	Scale        float64 // of capacity and refill amount; above 0, at most MaxScale
	Capacity     int64   // tokens
	RefillAmount int64   // tokens
	RefillPeriod int64   // seconds
}

// Params are the parameters of a limit, undivided by shards.
type Params struct {
	Capacity int64 // millitokens
	Refill   int64 // millitokens per Period
	Period   int64 // milliseconds
}

// in returns the parameters that the entry makes of base. Products are formed in float64 and
// truncated, and are at least one millitoken; what does not fit into an int64 becomes the largest.
func (e *Entry) in(base Params) Params {
	if e.Scale != 0 {
		base.Capacity = scaled(base.Capacity, e.Scale)
		if base.Refill != 0 { // a quota does not begin to drip
			base.Refill = scaled(base.Refill, e.Scale)
		}
		return base
	}
	if e.Capacity != 0 {
		base.Capacity = e.Capacity * 1000
	}
	if e.RefillAmount != 0 {
		base.Refill = e.RefillAmount * 1000
	}
	if e.RefillPeriod != 0 {
		base.Period = e.RefillPeriod * 1000
	}
	return base
}

func scaled(milli int64, scale float64) int64 {
	product := float64(milli) * scale
	if product >= math.MaxInt64 {
		return math.MaxInt64
	}
	return max(1, int64(product))
}

func (e *Entry) modifiers() bool {
	return e.Scale != 0 || e.Capacity != 0 || e.RefillAmount != 0 || e.RefillPeriod != 0
}

// validate checks what a parameter entry sets. Not a number fails every comparison, hence the forms.
func (e *Entry) validate() error {
	absolute := e.Capacity != 0 || e.RefillAmount != 0 || e.RefillPeriod != 0
	switch {
	case e.Scale != 0 && absolute:
		return errors.New("sets scale beside capacity, refill amount or refill period; use one or the other")
	case e.Scale == 0 && !absolute:
		return errors.New("sets nothing; give scale, or one of capacity, refill amount, refill period")
	case e.Scale != 0 && !(e.Scale > 0 && e.Scale <= MaxScale):
		return fmt.Errorf("scale %v: must be above 0 and at most %d", e.Scale, MaxScale)
	case e.Capacity < 0 || e.Capacity > MaxTokens:
		return fmt.Errorf("capacity %d: must be between 1 and 10^15", e.Capacity)
	case e.RefillAmount < 0 || e.RefillAmount > MaxTokens:
		return fmt.Errorf("refill amount %d: must be between 1 and 10^15", e.RefillAmount)
	case e.RefillPeriod < 0 || e.RefillPeriod > MaxSeconds:
		return fmt.Errorf("refill period %d: must be between 1 and 10^9 seconds", e.RefillPeriod)
	}
	return nil
}

// lines is what both kinds of schedule have: entries of one zone with their patterns.
type lines struct {
	entries  []Entry
	patterns []pattern
	zone     *zone
	text     string // compact form
}

// compile checks entries and parses their patterns; zones are looked up by load. The zone of a
// compiled entry is never "".
func compile(entries []Entry, load func(string) (*zone, error)) (lines, error) {
	l := lines{entries: make([]Entry, len(entries)), patterns: make([]pattern, len(entries))}
	for i, e := range entries {
		if e.TZ == "" {
			e.TZ = "UTC"
		}
		if i > 0 && e.TZ != l.entries[0].TZ {
			return lines{}, fmt.Errorf("entries in zones %s and %s: all schedules of an item share one zone", l.entries[0].TZ, e.TZ)
		}
		p, err := parseCron(e.Cron)
		if err != nil {
			return lines{}, fmt.Errorf("cron %q: %w", e.Cron, err)
		}
		l.entries[i], l.patterns[i] = e, p
	}
	z, err := load(l.entries[0].TZ)
	if err != nil {
		return lines{}, err
	}
	l.zone = z
	l.text = encode(l.entries)
	return l, nil
}

// Schedule is a compiled parameter schedule.
type Schedule struct {
	lines
	bound int64 // how far changes are looked for, ms
}

// Parse checks and compiles the entries of a parameter schedule. None at all give nil.
func Parse(entries []Entry) (*Schedule, error) { return parse(entries, loadZone) }

func parse(entries []Entry, load func(string) (*zone, error)) (*Schedule, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	for i := range entries {
		if err := entries[i].validate(); err != nil {
			return nil, fmt.Errorf("schedule entry %q %w", entries[i].Cron, err)
		}
	}
	l, err := compile(entries, load)
	if err != nil {
		return nil, err
	}
	s := &Schedule{lines: l, bound: boundDay}
	for i := range s.patterns {
		s.bound = min(s.bound, s.patterns[i].bound())
	}
	return s, nil
}

// Encode is the compact form that items and configs store; "" without entries.
func (s *Schedule) Encode() string {
	if s == nil {
		return ""
	}
	return s.text
}

// TZ is the zone of all entries; "" without entries.
func (s *Schedule) TZ() string {
	if s == nil {
		return ""
	}
	return s.zone.name
}

// Entries returns a copy of the entries, TZ filled in.
func (s *Schedule) Entries() []Entry {
	if s == nil {
		return nil
	}
	return append([]Entry(nil), s.entries...)
}

// At returns the parameters in force at now: the first entry that the minute matches decides, base
// without one.
func (s *Schedule) At(base Params, now int64) Params {
	if s == nil {
		return base
	}
	if i := s.active(now); i < len(s.entries) {
		return s.entries[i].in(base)
	}
	return base
}

// Each calls yield with the parameters that each entry makes of base, whenever it is in force.
func (s *Schedule) Each(base Params, yield func(Params)) {
	if s == nil {
		return
	}
	for i := range s.entries {
		yield(s.entries[i].in(base))
	}
}

// active is the index of the first entry that matches, the number of entries if none does.
func (s *Schedule) active(now int64) int {
	minute := floorDiv(now, minuteMS)
	local := minute + s.zone.now(minute).offset
	for i := range s.patterns {
		if s.patterns[i].matches(local) {
			return i
		}
	}
	return len(s.patterns)
}

// Next is the first time after now at which another entry comes into force, or now plus the bound of
// the search when there is none within it. ok is false without entries.
func (s *Schedule) Next(now int64) (at int64, ok bool) {
	if s == nil {
		return 0, false
	}
	minute := floorDiv(now, minuteMS)
	last := floorDiv(now+s.bound, minuteMS)
	active, found := s.active(now), false
	// While an entry is in force, those below it do not count.
	for i := 0; i < len(s.patterns) && i <= active; i++ {
		if change, ok := s.zone.earliest(&s.patterns[i], minute+1, last, i != active); ok {
			last, found = change, true
		}
	}
	if !found {
		return now + s.bound, true
	}
	return last * minuteMS, true
}

// Resets is a compiled reset schedule: a quota comes back whole at every rising edge of one of its
// entries, the first minute that matches after one that does not.
type Resets struct {
	lines
}

// ParseResets checks and compiles the entries of a reset schedule. None at all give nil. Entries that
// match always, or so rarely that there are times from which no edge can be seen, never reset
// anything reliably and are refused.
func ParseResets(entries []Entry) (*Resets, error) {
	r, err := parseResets(entries, loadZone)
	if err != nil || r == nil {
		return nil, err
	}
	for i := range r.patterns {
		if r.patterns[i].blind() {
			return nil, fmt.Errorf("reset entry %q: matches always or too rarely to be found again; use a pattern that begins to match at least once a year", r.entries[i].Cron)
		}
	}
	return r, nil
}

func parseResets(entries []Entry, load func(string) (*zone, error)) (*Resets, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	for i := range entries {
		if entries[i].modifiers() {
			return nil, fmt.Errorf("reset entry %q sets parameters; it takes a pattern and a zone only", entries[i].Cron)
		}
	}
	l, err := compile(entries, load)
	if err != nil {
		return nil, err
	}
	return &Resets{l}, nil
}

// Encode is the compact form that items and configs store; "" without entries.
func (r *Resets) Encode() string {
	if r == nil {
		return ""
	}
	return r.text
}

// TZ is the zone of all entries; "" without entries.
func (r *Resets) TZ() string {
	if r == nil {
		return ""
	}
	return r.zone.name
}

// Entries returns a copy of the entries, TZ filled in.
func (r *Resets) Entries() []Entry {
	if r == nil {
		return nil
	}
	return append([]Entry(nil), r.entries...)
}

// Prev is the latest edge at or before now, of any entry; ok is false when none is within reach.
func (r *Resets) Prev(now int64) (edge int64, ok bool) {
	if r == nil {
		return 0, false
	}
	for i := range r.patterns {
		if at, found := r.zone.prevEdge(&r.patterns[i], now); found && (!ok || at > edge) {
			edge, ok = at, true
		}
	}
	return edge, ok
}

// Next is the first edge after now, of any entry; ok is false when none is within reach.
func (r *Resets) Next(now int64) (edge int64, ok bool) {
	edge, ok, _, _ = Ahead(nil, r, now)
	return edge, ok
}

// ahead is Next, and the time at which a bucket must be looked at again: an entry without an edge
// within reach counts as now plus its reach. There must be entries.
func (r *Resets) ahead(now int64) (edge int64, found bool, boundary int64) {
	edge, boundary = math.MaxInt64, math.MaxInt64
	for i := range r.patterns {
		at, ok := r.zone.nextEdge(&r.patterns[i], now)
		if !ok {
			boundary = min(boundary, now+r.patterns[i].reach())
			continue
		}
		found = true
		edge, boundary = min(edge, at), min(boundary, at)
	}
	return edge, found, boundary
}

// Cycle is how long a quota with these resets takes at most to come back, in seconds: the smallest
// cycle of its entries, read from the coarsest field that an entry constrains. 0 without entries.
func (r *Resets) Cycle() int64 {
	if r == nil {
		return 0
	}
	shortest := int64(math.MaxInt64)
	for i := range r.patterns {
		shortest = min(shortest, r.patterns[i].cycle())
	}
	return shortest
}

// Boundary is the earliest time after now at which s or r changes what holds: the next change of
// parameters, the next edge, or the end of the search for one that is not within reach. ok is false
// when neither has entries.
func Boundary(s *Schedule, r *Resets, now int64) (at int64, ok bool) {
	_, _, at, ok = Ahead(s, r, now)
	return at, ok
}

// Ahead is the next edge of r and the Boundary of both, for the price of one search.
func Ahead(s *Schedule, r *Resets, now int64) (edge int64, hasEdge bool, boundary int64, bounded bool) {
	boundary, bounded = s.Next(now)
	if r == nil {
		return 0, false, boundary, bounded
	}
	edge, hasEdge, again := r.ahead(now)
	if !hasEdge {
		edge = 0
	}
	if !bounded || again < boundary {
		boundary = again
	}
	return edge, hasEdge, boundary, true
}

// SharedZone is the zone of schedules that are stored on one item: the one they name, "" when none
// of them has entries. Two zones are an error.
func SharedZone(zones ...string) (string, error) {
	shared := ""
	for _, z := range zones {
		switch {
		case z == "" || z == shared:
		case shared == "":
			shared = z
		default:
			return "", fmt.Errorf("schedules in zones %s: all schedules of an item share one zone", strings.Join([]string{shared, z}, " and "))
		}
	}
	return shared, nil
}
