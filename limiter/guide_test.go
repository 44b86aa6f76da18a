package limiter_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// The examples that docs/limiter.md quotes.

var ctx = context.Background()

// newLimiter has a clock that stands still, for the output's sake: 15 January 2027, 08:00 UTC.
func newLimiter() *limiter.Limiter {
	l, err := limiter.New(memstore.New(), limiter.Options{Clock: func() time.Time { return time.UnixMilli(1_800_000_000_000) }})
	if err != nil {
		log.Fatal(err)
	}
	return l
}

func must(err error) {
	if err != nil {
		log.Fatal(err)
	}
}

func generate(context.Context) (used int64, err error) { return 320, nil }

func ExampleLimiter_Acquire() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 60)}, limiter.Block))

	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 1}})
	if exceeded, ok := errors.AsType[*limiter.ExceededError](err); ok {
		fmt.Println("429, try again in", exceeded.RetryAfter())
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer lease.Close(ctx)
	fmt.Println("admitted:", lease.Consumed())
	// Output: admitted: map[rpm:1]
}

func ExampleLimiter_Do() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 60), limiter.PerMinute("tpm", 1000)}, limiter.Block))

	request := limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1, "tpm": 500}}
	err := l.Do(ctx, request, func(ctx context.Context, lease *limiter.Lease) error {
		used, err := generate(ctx)
		return errors.Join(err, lease.Adjust(limiter.Amounts{"tpm": used - 500}))
	})
	must(err)

	left, err := l.Available(ctx, "user-1", "gpt-4", nil)
	fmt.Println(left, err)
	// Output: map[rpm:59 tpm:680] <nil>
}

func ExampleExceededError() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 2)}, limiter.Block))
	request := limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 3}}
	err := l.Do(ctx, request, func(context.Context, *limiter.Lease) error { return nil })

	var exceeded *limiter.ExceededError
	switch {
	case errors.As(err, &exceeded):
		body, _ := json.MarshalIndent(exceeded, "", "  ")
		fmt.Println(429, "Retry-After:", exceeded.RetryAfterHeader())
		fmt.Println(string(body))
	case errors.As(err, new(*limiter.DisabledError)):
		fmt.Println(403)
	case errors.As(err, new(*limiter.UnavailableError)):
		fmt.Println(503)
	case err != nil:
		fmt.Println(500, err)
	}
	// Output:
	// 429 Retry-After: 31
	// {
	//   "error": "rate_limit_exceeded",
	//   "message": "Rate limit exceeded for user-1/api: [rpm]. Retry after 30.0s",
	//   "contended": false,
	//   "retry_after_seconds": 30.001,
	//   "retry_after_ms": 30001,
	//   "limits": [
	//     {
	//       "entity_id": "user-1",
	//       "resource": "api",
	//       "limit_name": "rpm",
	//       "kind": "rate",
	//       "capacity": 2,
	//       "refill_amount": 2,
	//       "refill_period_seconds": 60,
	//       "available": 2,
	//       "requested": 3,
	//       "exceeded": true,
	//       "retry_after_seconds": 30.001,
	//       "soft": false
	//     }
	//   ]
	// }
}

func ExampleAdmin() {
	l := newLimiter()

	admin := l.Admin().As("ops@example.com") // who the audit events name
	rpm := func(rate int64) []limiter.Limit { return []limiter.Limit{limiter.PerMinute("rpm", rate)} }
	must(admin.SetSystemDefaults(ctx, rpm(10), limiter.Block))             // everybody, everywhere
	must(admin.SetResourceDefaults(ctx, "gpt-4", rpm(20)))                 // everybody on gpt-4
	must(admin.SetLimits(ctx, "user-1", limiter.DefaultResource, rpm(30))) // user-1 where it has none of its own
	must(admin.SetLimits(ctx, "user-1", "gpt-4", rpm(40)))                 // user-1 on gpt-4
	events, err := admin.AuditEvents(ctx, limiter.AuditResource("gpt-4"), 10, "")
	must(err)

	for _, at := range [][2]string{{"user-1", "gpt-4"}, {"user-1", "search"}, {"user-2", "gpt-4"}, {"user-2", "search"}} {
		left, err := l.Available(ctx, at[0], at[1], nil)
		fmt.Println(at, left["rpm"], err)
	}
	fmt.Println(events[0].Action, events[0].Principal)
	// Output:
	// [user-1 gpt-4] 40 <nil>
	// [user-1 search] 30 <nil>
	// [user-2 gpt-4] 20 <nil>
	// [user-2 search] 10 <nil>
	// limits_set ops@example.com
}

func ExampleAdmin_CreateEntity() {
	l := newLimiter()
	admin := l.Admin()
	must(admin.SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, limiter.Block))

	_, err := admin.CreateEntity(ctx, limiter.Entity{ID: "acme", Name: "Acme Inc."})
	must(err)
	_, err = admin.CreateEntity(ctx, limiter.Entity{ID: "key-1", ParentID: "acme", Cascade: true})
	must(err)

	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "key-1", Resource: "api", Consume: limiter.Amounts{"rpm": 4}})
	must(err)
	must(lease.Close(ctx))
	key, _ := l.Available(ctx, "key-1", "api", nil)
	acme, _ := l.Available(ctx, "acme", "api", nil)
	fmt.Println(key, acme)
	// Output: map[rpm:6] map[rpm:6]
}

func ExampleQuota() {
	l := newLimiter()

	day, err := limiter.Quota("day", 10_000, schedule.Entry{Cron: "0 0 * * *", TZ: "Europe/Berlin"})
	must(err)
	chat := limiter.SessionQuota("chat", 50, 5*time.Hour)
	must(l.Admin().SetLimits(ctx, "user-1", "gpt-4", []limiter.Limit{day, chat}))

	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"day": 20, "chat": 1}})
	must(err)
	defer lease.Close(ctx)
	for _, s := range lease.Statuses() {
		fmt.Println(s.Limit.Name, s.Available, "until", time.UnixMilli(s.ResetsAt).UTC().Format(time.DateTime))
	}
	// Output:
	// chat 49 until 2027-01-15 13:00:00
	// day 9980 until 2027-01-15 23:00:00
}

func ExampleLimit_WithSchedule() {
	l := newLimiter()

	rpm, err := limiter.PerMinute("rpm", 100).WithSchedule(
		schedule.Entry{Cron: "* 9-17 * * MON-FRI", TZ: "Europe/Berlin", Scale: 0.5}, // from 09:00 to 17:59
		schedule.Entry{Cron: "* * * * SAT,SUN", TZ: "Europe/Berlin", Capacity: 300, RefillAmount: 300},
	)
	must(err)
	must(l.Admin().SetResourceDefaults(ctx, "batch", []limiter.Limit{rpm}))

	left, err := l.Available(ctx, "user-1", "batch", nil) // Friday, 09:00 in Berlin
	fmt.Println(left, err)
	// Output: map[rpm:50] <nil>
}

func ExampleLimit_WithSoft() {
	l := newLimiter()

	must(l.Admin().SetResourceDefaults(ctx, "api", []limiter.Limit{limiter.PerMinute("rpm", 10).WithSoft()}))
	lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 12}})
	must(err)
	fmt.Println("overdrawn:", lease.Overdrawn())
	must(lease.Close(ctx))

	_, err = l.Admin().Bypass(ctx, "user-1", "api")
	must(err)
	lease, err = l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 1}})
	must(err)
	fmt.Println("bypassed:", lease.Bypassed())
	must(lease.Close(ctx))

	_, err = l.Admin().Disable(ctx, "user-1", "api")
	must(err)
	_, err = l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 1}})
	fmt.Println(err)
	// Output:
	// overdrawn: [rpm]
	// bypassed: true
	// resource api is disabled for user-1 (at level bucket)
}

func ExampleRequest_also() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, limiter.Block))

	lease, err := l.Acquire(ctx, limiter.Request{
		EntityID: "user-1", Resource: "gpt-4", Consume: limiter.Amounts{"rpm": 1},
		Also: map[string]limiter.Amounts{"gpt-4-vision": {"rpm": 2}},
	})
	must(err)
	must(lease.Resource("gpt-4-vision").Adjust(limiter.Amounts{"rpm": 1}))
	must(lease.Close(ctx))

	text, _ := l.Available(ctx, "user-1", "gpt-4", nil)
	vision, _ := l.Available(ctx, "user-1", "gpt-4-vision", nil)
	fmt.Println(text, vision)
	// Output: map[rpm:9] map[rpm:7]
}

func ExampleLimiter_CheckAvailability() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, limiter.Block))

	a, err := l.CheckAvailability(ctx, "user-1", "api", limiter.Amounts{"rpm": 10}, nil)
	must(err)
	fmt.Println(a.Available, a.Wait)
	// Output: map[rpm:10] 0s
}

func ExampleAdmin_TopUp() {
	l := newLimiter()
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerMinute("rpm", 10)}, limiter.Block))
	must(l.Do(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpm": 9}},
		func(context.Context, *limiter.Lease) error { return nil }))

	// The same key within three days gives the same result and no more tokens.
	for range 2 {
		gained, err := l.Admin().TopUp(ctx, "user-1", "api", limiter.Amounts{"rpm": 5}, "ticket-42")
		must(err)
		fmt.Println(gained.Amounts)
	}
	left, err := l.Available(ctx, "user-1", "api", nil)
	fmt.Println(left, err)
	// Output:
	// map[rpm:5]
	// map[rpm:5]
	// map[rpm:6] <nil>
}

func ExampleLogAcquires() {
	logger := slog.New(slog.NewTextHandler(os.Stdout, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
			if a.Key == slog.TimeKey || a.Key == "duration" {
				return slog.Attr{} // not the same in every run
			}
			return a
		},
	}))

	l, err := limiter.New(memstore.New(), limiter.Options{Observe: limiter.LogAcquires(logger)})
	must(err)
	must(l.Admin().SetSystemDefaults(ctx, []limiter.Limit{limiter.PerDay("rpd", 1)}, limiter.Block))
	for range 2 {
		lease, err := l.Acquire(ctx, limiter.Request{EntityID: "user-1", Resource: "api", Consume: limiter.Amounts{"rpd": 1}})
		if err == nil {
			must(lease.Close(ctx))
		}
	}
	// Output:
	// level=DEBUG msg=acquire entity=user-1 resource=api decision=admitted round_trips=4
	// level=INFO msg=acquire entity=user-1 resource=api decision=exceeded error="Rate limit exceeded for user-1/api: [rpd]. Retry after 86400.0s"
}
