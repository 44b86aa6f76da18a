package schedule_test

import (
	"fmt"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

func Example() {
	office, err := schedule.Parse([]schedule.Entry{{Cron: "* 9-17 * * MON-FRI", TZ: "Europe/Berlin", Scale: 0.5}})
	if err != nil {
		panic(err)
	}
	daily, err := schedule.ParseResets([]schedule.Entry{{Cron: "0 0 * * *", TZ: "Europe/Berlin"}})
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 1, 15, 10, 30, 0, 0, time.UTC)
	base := schedule.Params{Capacity: 100_000, Refill: 100_000, Period: 60_000}
	change, _ := office.Next(now.UnixMilli())
	reset, _ := daily.Next(now.UnixMilli())

	fmt.Println(office.Encode(), office.At(base, now.UnixMilli()).Capacity, time.UnixMilli(change).UTC())
	fmt.Println(daily.Encode(), time.UnixMilli(reset).UTC())
	// Output:
	// 1h9-17w1-5s500 50000 2026-01-15 17:00:00 +0000 UTC
	// 1m0h0 2026-01-15 23:00:00 +0000 UTC
}
