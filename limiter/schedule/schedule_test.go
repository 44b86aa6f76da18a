package schedule

import (
	"errors"
	"testing"
	"time"
	_ "time/tzdata" // the same zones on every machine
)

func utc(t *testing.T, text string) int64 {
	t.Helper()
	at, err := time.Parse("2006-01-02 15:04:05", text)
	if err != nil {
		t.Fatal(err)
	}
	return at.UnixMilli()
}

func schedule(t *testing.T, entries ...Entry) *Schedule {
	t.Helper()
	s, err := Parse(entries)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func resets(t *testing.T, tz string, crons ...string) *Resets {
	t.Helper()
	var entries []Entry
	for _, cron := range crons {
		entries = append(entries, Entry{Cron: cron, TZ: tz})
	}
	r, err := ParseResets(entries)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEncodingVectors(t *testing.T) {
	for _, tt := range []struct {
		name string
		got  string
		want string
	}{
		{"V53", schedule(t, Entry{Cron: "0 9-17 * * MON-FRI", Scale: 0.5}, Entry{Cron: "*/15 0 * * *", Capacity: 5, RefillAmount: 2, RefillPeriod: 30}).Encode(), "1m0h9-17w1-5s500;m*/15h0c5a2p30"},
		{"V54", schedule(t, Entry{Cron: "* * * * 0", Scale: 1.2345}).Encode(), "1w7s1234"},
		{"V54 below a thousandth", schedule(t, Entry{Cron: "* * * * *", Scale: 0.0001}).Encode(), "1s1"},
		{"V55", resets(t, "", "0 0 * * *").Encode(), "1m0h0"},
		{"V55 two entries", resets(t, "", "0 0 1 * *", "0 12 * * SUN").Encode(), "1m0h0D1;m0h12w7"},
		{"no entries", (*Schedule)(nil).Encode(), ""},
	} {
		if tt.got != tt.want {
			t.Errorf("%s: got %q, want %q", tt.name, tt.got, tt.want)
		}
	}
	if _, err := ParseResets([]Entry{{Cron: "* * * * *"}}); err == nil {
		t.Error("V56: a reset every minute is accepted")
	}
}

func TestTextsThatDoNotDecode(t *testing.T) {
	for _, text := range []string{"h9-17", "2h9", "1", "1h9s500;m0", "1x5", "1h9h8"} {
		if s, err := Decode(text, ""); err == nil {
			t.Errorf("V57: %q decodes to %v", text, s.Entries())
		}
	}
	if _, err := Decode("2h9", ""); !errors.Is(err, ErrNewer) {
		t.Errorf("a higher version: got %v, want ErrNewer", err)
	}
	if _, err := DecodeResets("1h9s500", ""); err == nil {
		t.Error("a reset that sets parameters decodes")
	}
}

func TestEffectiveParameterVectors(t *testing.T) {
	for _, tt := range []struct {
		base  Params
		scale float64
		want  Params
	}{
		{Params{100000, 1, 60000}, 0.001, Params{100, 1, 60000}},
		{Params{3333, 3333, 60000}, 0.5, Params{1666, 1666, 60000}},
		{Params{1, 0, 1000}, 0.1, Params{1, 0, 1000}},
	} {
		if got := schedule(t, Entry{Cron: "* * * * *", Scale: tt.scale}).At(tt.base, 0); got != tt.want {
			t.Errorf("V58: %v by %v: got %v, want %v", tt.base, tt.scale, got, tt.want)
		}
	}
	s := schedule(t, Entry{Cron: "0-59 9-17 * * MON-FRI", Scale: 0.5})
	for _, tt := range []struct {
		at       string
		capacity int64
		next     string
	}{
		{"2026-01-15 08:59:59", 100000, "2026-01-15 09:00:00"},
		{"2026-01-15 09:00:00", 50000, "2026-01-15 18:00:00"},
		{"2026-01-15 18:00:00", 100000, "2026-01-16 09:00:00"},
	} {
		now := utc(t, tt.at)
		if got := s.At(Params{100000, 100000, 60000}, now); got.Capacity != tt.capacity || got.Refill != tt.capacity {
			t.Errorf("V59 at %s: got %v, want %d", tt.at, got, tt.capacity)
		}
		if next, ok := s.Next(now); !ok || next != utc(t, tt.next) {
			t.Errorf("V59 after %s: got %v, want %s", tt.at, time.UnixMilli(next).UTC(), tt.next)
		}
	}
}

func TestEdgeVectors(t *testing.T) {
	const none = ""
	for _, tt := range []struct {
		name, cron, tz, now, prev, next string
	}{
		{"V60", "0 0 * * *", "UTC", "2026-01-15 10:30:00", "2026-01-15 00:00:00", "2026-01-16 00:00:00"},
		{"V60", "0 0 * * *", "America/New_York", "2026-01-15 10:30:00", "2026-01-15 05:00:00", "2026-01-16 05:00:00"},
		{"V61", "0 0 1 * *", "UTC", "2026-01-15 10:30:00", "2026-01-01 00:00:00", "2026-02-01 00:00:00"},
		{"V62", "0 0 * * MON", "UTC", "2026-01-15 10:30:00", "2026-01-12 00:00:00", "2026-01-19 00:00:00"},
		{"V63", "0 */5 * * *", "UTC", "2026-01-15 10:30:00", "2026-01-15 10:00:00", "2026-01-15 15:00:00"},
		{"V64", "0 9-17 * * *", "UTC", "2026-01-15 10:30:00", "2026-01-15 10:00:00", "2026-01-15 11:00:00"},
		{"V65", "0 0 13 * 5", "UTC", "2026-01-15 10:30:00", "2026-01-13 00:00:00", "2026-01-16 00:00:00"},
		{"V66", "30 10 * * *", "UTC", "2026-01-15 10:30:00", "2026-01-15 10:30:00", "2026-01-16 10:30:00"},
		{"V67 always", "* * * * *", "UTC", "2026-01-15 10:30:00", none, none},
		{"V67 leap day", "0 0 29 2 *", "UTC", "2026-01-15 10:30:00", none, none},
		{"no such wall time in spring", "30 2 * * *", "America/New_York", "2026-03-08 12:00:00", "2026-03-07 07:30:00", "2026-03-09 06:30:00"},
		{"clocks that skip from a quarter to an hour", "0 0 * * *", "Pacific/Chatham", "2028-09-23 20:00:00", "2028-09-23 11:15:00", "2028-09-24 10:15:00"},
		{"twice in autumn, the first", "30 1 * * *", "America/New_York", "2026-11-01 05:45:00", "2026-11-01 05:30:00", "2026-11-01 06:30:00"},
		{"twice in autumn, the second", "30 1 * * *", "America/New_York", "2026-11-01 07:00:00", "2026-11-01 06:30:00", "2026-11-02 06:30:00"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r, err := ParseResets([]Entry{{Cron: tt.cron, TZ: tt.tz}})
			if tt.next == none {
				if err == nil {
					t.Error("a pattern without edges is accepted")
				}
				// Peers may have stored it all the same.
				r, err = parseResets([]Entry{{Cron: tt.cron, TZ: tt.tz}}, loadZone)
			}
			if err != nil {
				t.Fatal(err)
			}
			now := utc(t, tt.now)
			check := func(what string, got int64, ok bool, want string) {
				if want == none && ok || want != none && (!ok || got != utc(t, want)) {
					t.Errorf("%s: got %v %v, want %q", what, time.UnixMilli(got).UTC(), ok, want)
				}
			}
			got, ok := r.Prev(now)
			check("previous edge", got, ok, tt.prev)
			got, ok = r.Next(now)
			check("next edge", got, ok, tt.next)
			at, ok := Boundary(nil, r, now)
			if want := tt.next; want != none {
				check("boundary", at, ok, want)
			} else if !ok || at != now+366*dayMS {
				t.Errorf("boundary: got %v, want now + 366 days", time.UnixMilli(at).UTC())
			}
		})
	}
}
