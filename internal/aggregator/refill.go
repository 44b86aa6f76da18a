package aggregator

import (
	"context"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// update builds an UpdateItem with placeholders that are free of names.
type update struct {
	sets, adds, removes, conditions []string
	names                           map[string]string
	values                          Item
	aliases                         map[string]string
}

func newUpdate() *update {
	return &update{names: map[string]string{}, values: Item{}, aliases: map[string]string{}}
}

// name returns the placeholder of an attribute.
func (u *update) name(attribute string) string {
	alias, ok := u.aliases[attribute]
	if !ok {
		alias = "#n" + strconv.Itoa(len(u.aliases))
		u.aliases[attribute], u.names[alias] = alias, attribute
	}
	return alias
}

// number returns the placeholder of a value.
func (u *update) number(n int64) string {
	token := ":v" + strconv.Itoa(len(u.values))
	u.values[token] = integer(n)
	return token
}

func (u *update) text(s string) string {
	token := ":v" + strconv.Itoa(len(u.values))
	u.values[token] = text(s)
	return token
}

func (u *update) set(attribute string, n int64) {
	u.sets = append(u.sets, u.name(attribute)+" = "+u.number(n))
}

func (u *update) add(attribute string, n int64) {
	u.adds = append(u.adds, u.name(attribute)+" "+u.number(n))
}

func (u *update) require(condition string) { u.conditions = append(u.conditions, condition) }

// require an attribute to be as it was read.
func (u *update) unchanged(attribute string, read optional) {
	if !read.set {
		u.require("attribute_not_exists(" + u.name(attribute) + ")")
		return
	}
	u.require(u.name(attribute) + " = " + u.number(read.value))
}

func (u *update) expression() string {
	var parts []string
	for _, section := range []struct {
		word  string
		terms []string
	}{{"SET ", u.sets}, {"ADD ", u.adds}, {"REMOVE ", u.removes}} {
		if len(section.terms) > 0 {
			parts = append(parts, section.word+strings.Join(section.terms, ", "))
		}
	}
	return strings.Join(parts, " ")
}

func (u *update) condition() string { return strings.Join(u.conditions, " AND ") }

func (u *update) input(key Item) *dynamodb.UpdateItemInput {
	return &dynamodb.UpdateItemInput{
		Key: key, UpdateExpression: aws.String(u.expression()), ConditionExpression: aws.String(u.condition()),
		ExpressionAttributeNames: u.names, ExpressionAttributeValues: u.values,
	}
}

// refill writes what a bucket has regained (W8).
func (a *Aggregator) refill(ctx context.Context, s *bucketState, now int64) (bool, error) {
	u := planRefill(s, now)
	if u == nil {
		return false, nil
	}
	return a.conditional(ctx, u.input(s.key.item()))
}

// gain is what a limit gets or, where the bucket holds more than it may, loses.
type gain struct {
	limit *limitImage
	delta int64
	// granted quotas came back whole, rolled ones by a window that began.
	granted, rolled bool
}

// planRefill is the write that a bucket needs, or nil: when no limit would run short before the next batch,
// is above its ceiling, or has come back. A write moves the time that all limits count from, so that it has
// the gains of all of them, also of those that need none.
func planRefill(s *bucketState, now int64) *update {
	if s.undecodable != nil || len(s.limits) == 0 {
		return nil
	}
	for i := range s.limits {
		// A window that nobody applied and that is over is the next client's: it begins a new one.
		if l := &s.limits[i]; l.RollPending() && ended(&l.State, now) {
			return nil
		}
	}
	var gains []gain
	needed, above := false, false
	var unclamped []*limitImage
	for i := range s.limits {
		l := &s.limits[i]
		switch {
		case l.RollPending():
			gains = append(gains, gain{l, l.RollTarget(now) - l.Tokens, true, true})
			needed = needed || gains[len(gains)-1].delta != 0
		case l.ResetDue(now):
			gains = append(gains, gain{l, l.ResetTarget(now) - l.Tokens, true, false})
			needed = needed || gains[len(gains)-1].delta != 0
		case l.Period <= 0 || l.Refill <= 0:
			unclamped = append(unclamped, l)
			above = above || l.Tokens > l.Ceiling(now)
		default:
			after := l.At(now)
			delta := after.Tokens - l.Tokens
			if delta == 0 {
				continue
			}
			gains = append(gains, gain{limit: l, delta: delta})
			// The next batch will take about what this one took.
			needed = needed || delta < 0 || after.Tokens < max(0, s.consumed[l.name])
		}
	}
	if !needed {
		return nil
	}
	u := newUpdate()
	writeTimes(u, s, now)
	writeGains(u, s, gains)
	if s.vu.set && s.vu.value <= now && !above {
		reopen(u, s, unclamped, now)
	}
	return u
}

func ended(s *bucket.State, now int64) bool {
	end, ok := s.Window.End()
	return ok && end <= now
}

// writeTimes moves the time of the last refill, under its lock, and marks the windows that the balances
// now reflect. The time never lies before the beginning of a window, which would let it begin once more.
func writeTimes(u *update, s *bucketState, now int64) {
	rf := max(now, s.rf)
	for i := range s.limits {
		if w := s.limits[i].Window; w.Length > 0 && w.HasStart {
			rf = max(rf, w.Start)
		}
	}
	u.set("rf", rf)
	u.unchanged("rf", optional{s.rf, true})
	// A change of parameters by an operator leaves rf alone and sets vu.
	u.unchanged("vu", s.vu)
	for i := range s.limits {
		l := &s.limits[i]
		if w := l.Window; w.Length > 0 && w.HasStart && (!w.HasApplied || w.Applied != w.Start) {
			u.set(attribute(l.name, "wa"), w.Start)
		}
	}
}

func writeGains(u *update, s *bucketState, gains []gain) {
	granted := false
	for _, g := range gains {
		name := g.limit.name
		if g.delta != 0 {
			u.add(attribute(name, "tk"), g.delta)
		}
		if g.delta > 0 { // nothing was given back meanwhile that the gain would stand on top of
			u.require(u.name(attribute(name, "tk")) + " <= " + u.number(g.limit.Tokens))
		}
		if g.rolled && g.delta != 0 {
			u.require(u.name(attribute(name, "ws")) + " = " + u.number(g.limit.Window.Start))
		}
		if !g.granted {
			continue
		}
		granted = true
		u.set(attribute(name, "gc"), s.shards)
		if g.limit.topUp.set {
			u.removes = append(u.removes, u.name(attribute(name, "tu")))
		}
	}
	if granted {
		count := u.name("shard_count")
		u.require("(attribute_not_exists(" + count + ") OR " + count + " <= " + u.number(s.shards) + ")")
	}
}

// reopen lets the fast path go on up to the next boundary, if there is one ahead: a window that waits for
// its first use keeps it shut.
func reopen(u *update, s *bucketState, unclamped []*limitImage, now int64) {
	at, ok := schedule.Boundary(s.schedule, s.resets, now)
	for i := range s.limits {
		l := &s.limits[i]
		boundary, bounded := schedule.Boundary(l.Schedule, l.Resets, now)
		if l.Window.Length > 0 {
			end, running := l.Window.End()
			if !running {
				end = now
			}
			if !bounded || end < boundary {
				boundary, bounded = end, true
			}
		}
		if bounded && (!ok || boundary < at) {
			at, ok = boundary, true
		}
	}
	if !ok || at <= now {
		return
	}
	u.set("vu", at)
	if s.compact == "" {
		u.require("attribute_not_exists(" + u.name("sched") + ")")
	} else {
		u.require(u.name("sched") + " = " + u.text(s.compact))
	}
	// A credit to what this write does not cut down would be spent by the fast path.
	for _, l := range unclamped {
		u.require(u.name(attribute(l.name, "tk")) + " <= " + u.number(l.Ceiling(now)))
	}
}

// double doubles the shards of a bucket whose shard 0 has hardly any writes left, unless a request of the
// batch would find no shard that could ever admit it then.
func (a *Aggregator) double(ctx context.Context, s *bucketState, now int64) (bool, error) {
	writes := s.limit(infrastructure)
	if s.key.shard != 0 || s.shards >= maxShards || writes == nil || writes.Capacity <= 0 {
		return false, nil
	}
	if left := writes.At(now).Tokens; left >= writes.Capacity/5 {
		return false, nil
	}
	for i := range s.limits {
		if l := &s.limits[i]; l.name != infrastructure && l.Capacity/(2*s.shards) < s.largest[l.name] {
			return false, nil
		}
	}
	u := newUpdate()
	u.set("shard_count", min(2*s.shards, maxShards))
	u.unchanged("shard_count", optional{s.shards, true})
	return a.conditional(ctx, u.input(s.key.item()))
}
