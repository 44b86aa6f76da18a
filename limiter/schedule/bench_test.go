package schedule

import (
	"testing"
	"time"
)

func BenchmarkEvaluate(b *testing.B) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC).UnixMilli()
	office, err := Parse([]Entry{{Cron: "0-59 9-17 * * MON-FRI", TZ: "America/New_York", Scale: 0.5}, {Cron: "* 0-6 * * *", TZ: "America/New_York", Capacity: 10}})
	if err != nil {
		b.Fatal(err)
	}
	base := Params{100000, 100000, 60000}
	b.Run("parameters", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			office.At(base, now)
		}
	})
	b.Run("next_change", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			office.Next(now)
		}
	})
	for name, cron := range map[string]string{"daily": "0 0 * * *", "monthly": "0 0 1 * *", "yearly": "0 0 1 1 *"} {
		r, err := ParseResets([]Entry{{Cron: cron, TZ: "America/New_York"}})
		if err != nil {
			b.Fatal(err)
		}
		b.Run("previous_edge/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Prev(now)
			}
		})
		b.Run("next_edge/"+name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				r.Next(now)
			}
		})
	}
}

func BenchmarkDecoder(b *testing.B) {
	var d Decoder
	b.ReportAllocs()
	for b.Loop() {
		if _, err := d.Schedule("1h9-17w1-5s500", "America/New_York"); err != nil {
			b.Fatal(err)
		}
	}
}
