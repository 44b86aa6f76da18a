package limiter_test

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Of each kind the first is warned of, before it is stored, with the release that honours it.
func TestWhatOlderClientsIgnoreIsWarnedOfOnce(t *testing.T) {
	w := newWorld(t)
	var text strings.Builder
	w.l = w.process(limiter.Options{Logger: slog.New(slog.NewTextHandler(&text, nil))})
	a, ctx := w.l.Admin(), t.Context()
	quota, err := limiter.Quota("day", 10, schedule.Entry{Cron: "0 0 * * *"})
	w.must(err)
	scheduled, err := limiter.PerMinute("rpm", 10).WithSchedule(schedule.Entry{Cron: "* 9-17 * * *", Scale: 0.5})
	w.must(err)
	disabled := func(f func() (int, error)) func() {
		return func() { _, err := f(); w.must(err) }
	}
	for _, step := range []struct {
		name string
		do   func()
		want string // "" = no warning
	}{
		{"plain", func() { w.must(a.SetResourceDefaults(ctx, "r", []limiter.Limit{limiter.PerMinute("rpm", 10)})) }, ""},
		{"schedule", func() { w.must(a.SetResourceDefaults(ctx, "r", []limiter.Limit{scheduled})) }, `feature=schedule level="resource r" before_release=0.14.0 limit=rpm`},
		{"again", func() { w.must(a.SetLimits(ctx, "u", "r", []limiter.Limit{scheduled})) }, ""},
		{"quota", func() { w.must(a.SetLimits(ctx, "u", "", []limiter.Limit{quota})) }, `feature=quota level=u/_default_ before_release=0.14.0 limit=day`},
		{"session", func() { w.must(a.SetSystemDefaults(ctx, []limiter.Limit{limiter.SessionQuota("s", 1, time.Hour)}, "")) }, `feature="session quota" level=system before_release=0.15.0 limit=s`},
		{"soft", func() { w.must(a.SetSystemDefaults(ctx, []limiter.Limit{limiter.PerDay("d", 1).WithSoft()}, "")) }, `feature="soft limit" level=system before_release=0.17.0 limit=d`},
		{"enable", disabled(func() (int, error) { return a.Enable(ctx, "", "r") }), ""},
		{"disable", disabled(func() (int, error) { return a.Disable(ctx, "", "r") }), `feature=disabled level="resource r" before_release=0.12.0`},
		{"bypass", disabled(func() (int, error) { return a.Bypass(ctx, "u", "r") }), `feature=bypass level=u/r before_release=0.17.0`},
		{"disable once more", disabled(func() (int, error) { return a.Disable(ctx, "u", "r") }), ""},
	} {
		text.Reset()
		step.do()
		if got := text.String(); (step.want == "") != (got == "") || !strings.Contains(got, step.want) {
			t.Errorf("%s: %q, want %q", step.name, got, step.want)
		}
	}
}
