//go:build interop

package differential

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"pgregory.net/rapid"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// generator draws operations on few entities, resources and limits, so that they meet.
type generator struct {
	*rapid.T
	zone        string
	speculative bool
}

// below draws a number of [0, n), all equally likely; the numbers of rapid are mostly small.
func (g *generator) below(n int, label string) int {
	out := 0
	for range 10 {
		out <<= 1
		if rapid.Bool().Draw(g.T, label) {
			out++
		}
	}
	return out % n
}

func one[E any](g *generator, label string, of ...E) E { return of[g.below(len(of), label)] }

func (g *generator) often(n int, label string) bool { return n > 0 && g.below(n, label) == 1 }

func (g *generator) entity() string {
	return one(g, "entity", "e1", "e1", "e1", "e2", "e3", "p1", "p2")
}
func (g *generator) resource() string { return one(g, "resource", "r1", "r1", "r1", "r2") }
func (g *generator) parent() string   { return one(g, "parent", "p1", "p1", "p2", "") }

// amounts takes of some of the limits that there are.
func (g *generator) amounts() limiter.Amounts {
	out := limiter.Amounts{}
	for _, name := range []string{"a", "b", "d", "s"} {
		if g.below(4, "takes "+name) < 2 {
			out[name] = one[int64](g, "amount", 0, 1, 1, 1, 2, 3, 5, 10, 25, 60)
		}
	}
	if len(out) == 0 {
		out["a"] = 1
	}
	return out
}

// limits is a set of limits of one level. Most levels have limits by all names.
func (g *generator) limits() limits { return g.some(12) }

// some leaves out every nth of the limits but the first, none when n is 0.
func (g *generator) some(n int) limits {
	out := limits{g.dripping("a")}
	if !g.often(n, "without b") {
		out = append(out, g.dripping("b"))
	}
	if !g.often(n, "without d") {
		out = append(out, g.quota("d"))
	}
	if !g.often(n, "without s") {
		out = append(out, limiter.SessionQuota("s", one[int64](g, "amount", 20, 50, 100), one(g, "window", time.Minute, 5*time.Minute, time.Hour)))
	}
	for i := range out {
		out[i].Soft = g.often(8, "soft")
	}
	return out
}

func (g *generator) dripping(name string) limiter.Limit {
	l := one(g, "limit",
		limiter.PerMinute(name, 60),
		limiter.PerMinute(name, 100).WithBurst(150),
		limiter.PerMinute(name, 1000),
		limiter.PerSecond(name, 10).WithBurst(30),
		limiter.PerDay(name, 50),
		limiter.Custom(name, 10, 3, 7*time.Second),
		limiter.Custom(name, 33, 7, 11*time.Second),
		limiter.PerMinute(name, 10_000_000),
	)
	if g.often(6, "scheduled") {
		// Minutes that alternate, and windows of hours that begin an hour after the run.
		entry := one(g, "entry",
			schedule.Entry{Cron: "* 9-17 * * *", Scale: 0.5},
			schedule.Entry{Cron: "* 9 * * *", Capacity: 5, RefillAmount: 2, RefillPeriod: 30},
			schedule.Entry{Cron: "*/2 * * * *", Scale: 1.5},
			schedule.Entry{Cron: "* * * * MON-FRI", RefillAmount: 1},
		)
		entry.TZ = g.zone
		scheduled, err := l.WithSchedule(entry)
		if err != nil {
			panic(err)
		}
		l = scheduled
	}
	return l
}

func (g *generator) quota(name string) limiter.Limit {
	l, err := limiter.Quota(name, one[int64](g, "amount", 20, 50, 100), schedule.Entry{Cron: one(g, "resets", "0 * * * *", "*/5 * * * *", "0 0 * * *", "0 0 * * MON"), TZ: g.zone})
	if err != nil {
		panic(err)
	}
	return l
}

func (g *generator) advance() int64 {
	switch g.below(24, "pause") {
	case 0, 1, 2, 3, 4, 5, 6, 7, 8:
		return 0
	case 9, 10, 11, 12, 13:
		return int64(1 + g.below(20, "ms"))
	case 14, 15, 16, 17:
		return int64(20 + 2*g.below(1024, "ms"))
	case 18, 19:
		return int64(1000 * g.below(120, "s"))
	case 20:
		return int64(1000*60*g.below(20, "min") + g.below(1000, "ms"))
	case 21:
		return int64(1000 * 60 * 10 * g.below(60, "10 min"))
	case 22:
		return one[int64](g, "days", 86_400_000, 2*86_400_000+1, 8*86_400_000)
	}
	return -int64(g.below(1000, "ms back"))
}

// level is a config level: of an entity on a resource or on all, of a resource, or of the system.
func (g *generator) level(system bool) (entity, resource string) {
	switch g.below(8, "level") {
	case 0, 1, 2:
		return g.entity(), g.resource()
	case 3, 4:
		return g.entity(), limiter.DefaultResource
	case 5, 6:
		return "", g.resource()
	}
	if system {
		return "", ""
	}
	return "", g.resource()
}

// defaults is the operation that every run begins with, once for each level.
func (g *generator) defaults(resource string) operation {
	return operation{Do: "set_limits", Resource: resource, Limits: g.limits()}
}

func (g *generator) operation() operation {
	op := operation{Advance: g.advance(), Draw: g.below(32, "draw"), Speculative: g.speculative}
	switch kind := g.below(100, "operation"); {
	case kind < 55:
		g.acquire(&op)
	case kind < 62:
		op.Do, op.Entity, op.Resource, op.Consume = "available", g.entity(), g.resource(), g.amounts()
	case kind < 71:
		op.Do = "set_limits"
		op.Entity, op.Resource = g.level(true)
		op.Limits = g.limits()
	case kind < 73:
		op.Do = "delete_limits"
		op.Entity, op.Resource = g.level(false)
	case kind < 78:
		op.Do, op.Flag, op.Value = "set_flag", limiter.FlagDisabled, one[any](g, "value", nil, nil, false, true, "bypass", "bypass")
		op.Entity, op.Resource = g.level(false)
	case kind < 81:
		op.Do, op.Flag, op.Value = "set_flag", limiter.FlagCascade, one[any](g, "value", nil, false, true, true)
		op.Entity, op.Resource = g.level(false)
	case kind < 85:
		op.Do, op.Entity, op.Parent, op.Cascade = "create_entity", g.entity(), g.parent(), g.below(4, "cascade") > 0
		if op.Parent == op.Entity {
			op.Parent = ""
		}
	case kind < 88:
		op.Do, op.Entity, op.Parent = "set_parent", g.entity(), g.parent()
	case kind < 89:
		op.Do, op.Entity = "delete_entity", g.entity()
	case kind < 92:
		op.Do, op.Entity, op.Resource = "reset", g.entity(), g.resource()
		op.Names = one(g, "names", nil, nil, []string{"a"}, []string{"d"}, []string{"s"}, []string{"a", "s"})
		op.Key = g.key()
	case kind < 95:
		op.Do, op.Entity, op.Resource = "top_up", g.entity(), g.resource()
		op.Consume = limiter.Amounts{one(g, "limit", "a", "b", "d", "s"): one[int64](g, "amount", 1, 5, 50)}
		op.Key = g.key()
	case kind < 97:
		op.Do, op.Entity, op.Resource, op.Key = "exhaust", g.entity(), g.resource(), strconv.Itoa(g.below(4, "shard"))
	case kind < 98:
		op.Do = "expire"
	default:
		op.Do = "restart"
	}
	return op
}

// key is that of a reset or top-up, often one that was used before.
func (g *generator) key() string {
	return one(g, "key", "", "key-1", "key-2", fmt.Sprint("key-", g.below(1000, "number")))
}

func (g *generator) acquire(op *operation) {
	op.Do, op.Entity, op.Resource, op.Consume = "acquire", g.entity(), g.resource(), g.amounts()
	switch g.below(12, "acquire") {
	case 0:
		other := map[string]string{"r1": "r2", "r2": "r1"}[op.Resource]
		op.Also = map[string]limiter.Amounts{other: g.amounts()}
		if g.often(4, "third") {
			op.Also["r3"] = g.amounts()
		}
	case 1:
		// What they do not name is charged by a fast path and ignored by Python's slow path (B10).
		op.Limits = slices.DeleteFunc(g.some(0), func(l limiter.Limit) bool {
			_, declared := op.Consume[l.Name]
			return !declared && g.often(3, "without "+l.Name)
		})
	}
	for g.below(4, "step") == 1 && len(op.Steps) < 3 {
		st := step{Do: one(g, "do", "adjust", "adjust", "release", "consume"), Amounts: limiter.Amounts{}}
		for _, name := range []string{"a", "b", "d", "s"} {
			if _, declared := op.Consume[name]; declared && g.below(2, "of "+name) == 1 {
				n := one[int64](g, "amount", 1, 2, 5, 30, 0)
				if st.Do == "adjust" && g.below(2, "less") == 1 {
					n = -n
				}
				st.Amounts[name] = n
			}
		}
		if g.often(3, "later") {
			st.Advance = one[int64](g, "ms", 1, 10, 700, 61_000, 3_600_000)
		}
		op.Steps = append(op.Steps, st)
	}
	op.Fails = g.often(8, "fails")
}
