package schedule

import "testing"

func FuzzDecode(f *testing.F) {
	for _, text := range []string{"1m0h9-17w1-5s500;m*/15h0c5a2p30", "1w7s1234", "1m0h0D1;m0h12w7", "1", "2h9", "h9-17", "1h9h8", "1x5", "1h9s500;m0", "01m5-5/2c1", "", "1;;"} {
		f.Add(text, "UTC")
	}
	f.Add("1m0h2", "America/New_York")
	f.Add("1m0h2", "Local")
	f.Fuzz(func(t *testing.T, text, tz string) {
		const now = 1_767_225_600_000
		if s, err := Decode(text, tz); err == nil && s != nil {
			again, err := Decode(s.Encode(), s.TZ())
			if err != nil || again.Encode() != s.Encode() {
				t.Errorf("%q encodes to %q, which decodes to %q, %v", text, s.Encode(), again.Encode(), err)
			}
			s.At(Params{1000, 1000, 1000}, now)
			if next, ok := s.Next(now); !ok || next <= now {
				t.Errorf("%q changes at %d", text, next)
			}
		}
		if r, err := DecodeResets(text, tz); err == nil && r != nil {
			if edge, ok := r.Prev(now); ok && edge > now {
				t.Errorf("%q: the previous edge is %d", text, edge)
			}
			if edge, ok := r.Next(now); ok && edge <= now {
				t.Errorf("%q: the next edge is %d", text, edge)
			}
		}
	})
}

func FuzzParseCron(f *testing.F) {
	for _, text := range []string{"* * * * *", "0 9-17 * * MON-FRI", "*/15 0 1,15 JAN-MAR/2 SUN", "0 0 L * *", "5-5/2 * * * *", "0 0 31 2 *", "0 0 31 2 1", "60 * * * *", "* * * * FRI-SUN"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		p, err := parseCron(text)
		if err != nil {
			return
		}
		if p.minutes == 0 || p.minutes&^allMinutes != 0 || p.hours == 0 || p.hours&^allHours != 0 || p.months == 0 || p.months&^allMonths != 0 || p.dom == 0 || p.dom&^allDays != 0 || p.dow == 0 {
			t.Errorf("%q parses to %+v", text, p)
		}
		p.blind()
	})
}
