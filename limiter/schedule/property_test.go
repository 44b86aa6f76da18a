package schedule

import (
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"
)

// The definitions, one minute after the other.

func matchesAt(p *pattern, loc *time.Location, minute int64) bool {
	d := time.Unix(minute*60, 0).In(loc)
	first := weekday(monthOf(floorDiv(time.Date(d.Year(), d.Month(), 1, 0, 0, 0, 0, time.UTC).Unix(), 86400)).zero + 1)
	return p.minutes>>d.Minute()&1 == 1 && p.hours>>d.Hour()&1 == 1 && p.months>>d.Month()&1 == 1 && p.days[first]>>d.Day()&1 == 1
}

func field1(low, high int) *rapid.Generator[string] {
	return rapid.Custom(func(t *rapid.T) string {
		a, b := rapid.IntRange(low, high).Draw(t, "a"), rapid.IntRange(low, high).Draw(t, "b")
		return rapid.SampledFrom([]string{"*", fmt.Sprint(a), fmt.Sprintf("%d-%d", min(a, b), max(a, b)), fmt.Sprintf("*/%d", b+1), fmt.Sprintf("%d,%d", a, b)}).Draw(t, "field")
	})
}

var crons = rapid.Custom(func(t *rapid.T) string {
	return strings.Join([]string{
		field1(0, 59).Draw(t, "minute"), field1(0, 23).Draw(t, "hour"),
		rapid.SampledFrom([]string{"*", "*", "1", "15", "28-31", "*/2"}).Draw(t, "day"),
		rapid.SampledFrom([]string{"*", "*", "*", "1", "2,3", "6-12"}).Draw(t, "month"),
		rapid.SampledFrom([]string{"*", "*", "MON-FRI", "0", "7", "SUN/3"}).Draw(t, "weekday"),
	}, " ")
})

var someZones = rapid.SampledFrom([]string{"UTC", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "Pacific/Chatham", "America/Havana"})

// times lie within two days of a change of clocks or anywhere in four years.
func times(t *rapid.T, loc *time.Location) int64 {
	at := rapid.Int64Range(1_767_225_600_000, 1_893_456_000_000).Draw(t, "time")
	if _, end := time.UnixMilli(at).In(loc).ZoneBounds(); !end.IsZero() && rapid.Bool().Draw(t, "near a change") {
		at = end.UnixMilli() + at%(2*dayMS) - dayMS
	}
	return at
}

func TestEdgesAreThoseOfEveryMinute(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := someZones.Draw(t, "zone")
		// Patterns that are refused have no edge to look for.
		accepted := func(cron string) bool {
			_, err := parseResets([]Entry{{Cron: cron, TZ: zone}}, loadZone)
			return err == nil
		}
		r, err := parseResets([]Entry{{Cron: crons.Filter(accepted).Draw(t, "cron"), TZ: zone}}, loadZone)
		if err != nil {
			t.Fatal(err)
		}
		p := &r.patterns[0]
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		now := times(t, loc)
		minute := floorDiv(now, minuteMS)
		const near = 2 * 1440 // minutes that are walked through
		want, found := int64(0), false
		for m := minute; m > minute-near; m-- {
			if matchesAt(p, loc, m) && !matchesAt(p, loc, m-1) {
				want, found = m*minuteMS, true
				break
			}
		}
		got, ok := r.Prev(now)
		if found && (!ok || got != want) || !found && ok && got > (minute-near)*minuteMS {
			t.Fatalf("previous edge: got %v %v, want %v %v", time.UnixMilli(got).In(loc), ok, time.UnixMilli(want).In(loc), found)
		}
		want, found = 0, false
		for m := minute + 1; m < minute+near; m++ {
			if matchesAt(p, loc, m) && !matchesAt(p, loc, m-1) {
				want, found = m*minuteMS, true
				break
			}
		}
		got, ok = r.Next(now)
		if found && (!ok || got != want) || !found && ok && got < (minute+near)*minuteMS {
			t.Fatalf("next edge: got %v %v, want %v %v", time.UnixMilli(got).In(loc), ok, time.UnixMilli(want).In(loc), found)
		}
	})
}

func TestNothingChangesBeforeTheNextChange(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		zone := someZones.Draw(t, "zone")
		var entries []Entry
		for range rapid.IntRange(1, 3).Draw(t, "entries") {
			entries = append(entries, Entry{Cron: crons.Draw(t, "cron"), TZ: zone, Scale: 0.5})
		}
		s, err := Parse(entries)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := time.LoadLocation(zone)
		if err != nil {
			t.Fatal(err)
		}
		now := times(t, loc)
		active := func(minute int64) int {
			for i := range s.patterns {
				if matchesAt(&s.patterns[i], loc, minute) {
					return i
				}
			}
			return len(s.patterns)
		}
		minute := floorDiv(now, minuteMS)
		if got := s.active(now); got != active(minute) {
			t.Fatalf("active now: got %d, want %d", got, active(minute))
		}
		next, ok := s.Next(now)
		if !ok || next <= now || next > now+s.bound {
			t.Fatalf("next change %d is not within the bound after %d", next, now)
		}
		for m := minute + 1; m < min(floorDiv(next, minuteMS), minute+2*1440); m++ {
			if active(m) != active(minute) {
				t.Fatalf("changes at %v, before %v", time.Unix(m*60, 0).In(loc), time.UnixMilli(next).In(loc))
			}
		}
		if next != now+s.bound && active(floorDiv(next, minuteMS)) == active(minute) {
			t.Fatalf("nothing changes at %v", time.UnixMilli(next).In(loc))
		}
	})
}

func TestWhatIsEncodedDecodesToTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		e := Entry{Cron: crons.Draw(t, "cron"), TZ: "Asia/Kolkata"}
		if rapid.Bool().Draw(t, "scaled") {
			e.Scale = float64(rapid.Int64Range(1, 1e9).Draw(t, "thousandths")) / 1000
		} else {
			e.Capacity, e.RefillPeriod = rapid.Int64Range(0, MaxTokens).Draw(t, "capacity"), rapid.Int64Range(1, MaxSeconds).Draw(t, "period")
		}
		s, err := Parse([]Entry{e})
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(s.Encode(), e.TZ)
		if err != nil {
			t.Fatal(err)
		}
		got, want := again.entries[0], s.entries[0]
		if again.patterns[0] != s.patterns[0] || again.Encode() != s.Encode() {
			t.Fatalf("%q and %q differ", again.Encode(), s.Encode())
		}
		if got.Cron = want.Cron; got != want {
			t.Fatalf("got %+v, want %+v", got, want)
		}
	})
}

func TestScalingIsTheTruncatedProductOfFloats(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		milli := rapid.Int64Range(1, 1e18).Draw(t, "milli")
		scale := rapid.Float64Range(1e-6, MaxScale).Draw(t, "scale")
		want, _ := big.NewFloat(float64(milli) * scale).Int(nil)
		if want.Sign() == 0 {
			want.SetInt64(1)
		}
		if !want.IsInt64() {
			want.SetInt64(math.MaxInt64)
		}
		if got := scaled(milli, scale); got != want.Int64() {
			t.Fatalf("%d by %v: got %d, want %d", milli, scale, got, want)
		}
	})
}

func TestTheCalendarIsTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		day := rapid.Int64Range(-200_000, 200_000).Draw(t, "day")
		m := monthOf(day)
		d := time.Unix(day*86400, 0).UTC()
		first := time.Date(d.Year(), d.Month(), 1, 0, 0, 0, 0, time.UTC)
		want := month{year: int64(d.Year()), month: uint8(d.Month()), length: uint8(first.AddDate(0, 1, -1).Day()),
			first: uint8(first.Weekday()), zero: day - int64(d.Day())}
		if m != want {
			t.Fatalf("%v: got %+v, want %+v", d, m, want)
		}
		if m.after().before() != m || m.before().after() != m {
			t.Fatalf("%+v is not between its neighbours", m)
		}
	})
}
