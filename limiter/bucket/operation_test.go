package bucket

import (
	"testing"

	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

const midnight = 1_800_057_600_000 // 2027-01-16T00:00:00Z

func daily(t *testing.T) *schedule.Resets {
	t.Helper()
	resets, err := schedule.ParseResets([]schedule.Entry{{Cron: "0 0 * * *"}})
	if err != nil {
		t.Fatal(err)
	}
	return resets
}

func TestAResetGivesTheShareBack(t *testing.T) {
	day, now := daily(t), int64(midnight-3600_000)
	for name, tt := range map[string]struct {
		before, after State
		restored      int64
	}{
		"a limit that drips: to its ceiling, debt forgiven": {
			State{Tokens: -5000, RF: now, Capacity: 100_000, Refill: 100_000, Period: 60_000, Shards: 4},
			State{Tokens: 25_000, RF: now, Capacity: 100_000, Refill: 100_000, Period: 60_000, Shards: 4}, 25_000},
		"a calendar quota: its share, without what was topped up": {
			State{Tokens: 115_000, RF: now, Capacity: 100_000, Period: 1000, Shards: 2, Grants: 1, TopUp: 25_000, Resets: day},
			State{Tokens: 50_000, RF: now, Capacity: 100_000, Period: 1000, Shards: 2, Grants: 2, Resets: day}, 50_000},
		"a session quota: its window ends, the balance waits": {
			State{Tokens: 7000, RF: now, Capacity: 50_000, Period: 1000, Shards: 1, Grants: 1, TopUp: 1000,
				Window: Window{Length: 3600, HasStart: true, Start: now - 1000, HasMark: true, Mark: 5}},
			State{Tokens: 7000, RF: now, Capacity: 50_000, Period: 1000, Shards: 1, Grants: 1, TopUp: 1000,
				Window: Window{Length: 3600, HasStart: true, Start: now - 3600_000, HasApplied: true, Applied: now - 3600_000}}, 50_000},
	} {
		t.Run(name, func(t *testing.T) {
			if after, restored := tt.before.Reset(now); after != tt.after || restored != tt.restored {
				t.Errorf("got %+v, restored %d, want %+v, %d", after, restored, tt.after, tt.restored)
			}
		})
	}
}

func TestSettlingOpensNoWindow(t *testing.T) {
	now := int64(midnight)
	ended := State{Tokens: 1000, RF: now - 7200_000, Capacity: 50_000, Period: 1000, Shards: 1, Grants: 1,
		Window: Window{Length: 3600, HasStart: true, Start: now - 7200_000, HasApplied: true, Applied: now - 7200_000}}
	if after, passed := ended.Settle(now); passed != (Passed{}) || after.Tokens != 1000 || after.Window != ended.Window {
		t.Errorf("an ended window: %+v, %+v", after, passed)
	}
	announced := ended
	announced.Window.Start = now - 1000
	if after, passed := announced.Settle(now); !passed.Rolled || passed.Opened || after.Tokens != 50_000 || after.Window.Applied != now-1000 {
		t.Errorf("a window that another shard opened: %+v, %+v", after, passed)
	}
	due := State{Tokens: 0, RF: now - 1000, Capacity: 100_000, Period: 1000, Shards: 1, Grants: 1, TopUp: 5, Resets: daily(t)}
	if after, passed := due.Settle(now); !passed.Reset || after.Tokens != 100_000 || after.TopUp != 0 {
		t.Errorf("a reset that is due: %+v, %+v", after, passed)
	}
}
