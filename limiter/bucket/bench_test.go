package bucket

import (
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// BenchmarkTryConsume is what a refusal of the fast path costs for each limit.
func BenchmarkTryConsume(b *testing.B) {
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC).UnixMilli()
	office, err := schedule.Parse([]schedule.Entry{{Cron: "* 9-17 * * MON-FRI", TZ: "America/New_York", Scale: 0.5}})
	if err != nil {
		b.Fatal(err)
	}
	daily, err := schedule.ParseResets([]schedule.Entry{{Cron: "0 0 * * *", TZ: "America/New_York"}})
	if err != nil {
		b.Fatal(err)
	}
	plain := State{RF: now - 10, Capacity: 100000, Refill: 100000, Period: 60000, Shards: 1}
	scheduled, calendar, session := plain, plain, plain
	scheduled.Schedule = office
	calendar.Refill, calendar.Resets = 0, daily
	session.Refill, session.Window = 0, Window{Length: 3600, HasStart: true, Start: now - 1000}
	for _, bb := range []struct {
		name  string
		state State
	}{{"plain", plain}, {"scheduled", scheduled}, {"calendar", calendar}, {"session", session}} {
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, ok, _ := bb.state.TryConsume(5, now); ok {
					b.Fatal("it was there")
				}
			}
		})
	}
}
