package redisstore

import (
	"context"
	"strconv"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore/internal/resp"
)

// consumption takes the reply of consume.lua apart.
type consumption struct {
	in  *limiter.ConsumeInput
	out *limiter.ConsumeOutput
}

var consumptions = sync.Pool{New: func() any { return new(consumption) }}

// Decode implements resp.Decoder.
func (c *consumption) Decode(r *resp.Reader, v resp.Value) error {
	c.out.Outcome = limiter.Refused
	if v.Kind != resp.Array {
		c.out.Image = limiter.Bucket{Limits: c.out.Image.Limits[:0]}
		return r.Skip(v)
	}
	written, err := decodeImage(r, v.N, c.in.Key, &c.out.Image, c.in.Charges)
	if written {
		c.out.Outcome = limiter.Done
	}
	return err
}

// Consume implements limiter.Store.
func (s *Store) Consume(ctx context.Context, in *limiter.ConsumeInput, out *limiter.ConsumeOutput) error {
	call := resp.NewScriptCall(consumeScript)
	call.Int(1)
	call.Join(s.prefix, "BUCKET#", in.Key.EntityID, "#", in.Key.Resource, "#", strconv.Itoa(in.Key.Shard))
	call.Int(in.Now)
	call.Int(int64(bit(in.Bypassed)))
	for i := range in.Charges {
		call.Arg(in.Charges[i].Limit)
		call.Int(in.Charges[i].Amount)
	}
	reply := consumptions.Get().(*consumption)
	reply.in, reply.out = in, out
	err := s.do(ctx, "Consume", call, reply)
	if !IsUnknownOutcome(err) { // else the connection may still hold it
		*reply = consumption{}
		consumptions.Put(reply)
	}
	return err
}

// Read implements limiter.Store.
func (s *Store) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	var keys []string
	for i := range in.Entities {
		e := &in.Entities[i]
		if e.Meta {
			keys = append(keys, s.entityKey(e.EntityID))
		}
		if e.Bucket {
			keys = append(keys, s.bucketKey(limiter.BucketKey{EntityID: e.EntityID, Resource: in.Resource, Shard: e.Shard}))
		}
		if e.Config {
			keys = append(keys, s.configKey(limiter.ConfigKey{EntityID: e.EntityID, Resource: in.Resource}),
				s.configKey(limiter.ConfigKey{EntityID: e.EntityID, Resource: limiter.DefaultResource}))
		}
	}
	if in.ResourceConfig {
		keys = append(keys, s.configKey(limiter.ConfigKey{Resource: in.Resource}))
	}
	if in.SystemConfig {
		keys = append(keys, s.configKey(limiter.ConfigKey{}))
	}
	*out = limiter.ReadOutput{Entities: out.Entities[:0]}
	var found []pairs
	if len(keys) > 0 {
		var err error
		if found, err = s.read(ctx, "Read", keys...); err != nil {
			return err
		}
	}
	next := func() pairs {
		first := found[0]
		found = found[1:]
		return first
	}
	for i := range in.Entities {
		state, err := entityState(&in.Entities[i], in.Resource, next)
		if err != nil {
			return err
		}
		out.Entities = append(out.Entities, state)
	}
	var err error
	if in.ResourceConfig {
		if out.Resource, err = configOf(next()); err != nil {
			return err
		}
	}
	if in.SystemConfig {
		out.System, err = configOf(next())
	}
	return err
}

func entityState(e *limiter.EntityRead, resource string, next func() pairs) (state limiter.EntityState, err error) {
	if e.Meta {
		if state.Meta, err = metaOf(e.EntityID, next(), false); err != nil {
			return state, err
		}
	}
	if e.Bucket {
		if state.Bucket, err = bucketOf(next(), limiter.BucketKey{EntityID: e.EntityID, Resource: resource, Shard: e.Shard}); err != nil {
			return state, err
		}
	}
	if e.Config {
		if state.Own, err = configOf(next()); err != nil {
			return state, err
		}
		state.Default, err = configOf(next())
	}
	return state, err
}

// Adjust implements limiter.Store.
func (s *Store) Adjust(ctx context.Context, in *limiter.AdjustInput) (limiter.AdjustOutput, error) {
	c := &change{key: s.bucketKey(in.Key)}
	c.when(present())
	credit := false
	for i := range in.Changes {
		l := &in.Changes[i]
		pinPeriod(c, l)
		if in.Checked && l.Delta < 0 {
			credit = true
			c.when(atMost(limitTokens+l.Limit, l.Ceiling+l.Delta))
			pinCeiling(c, l)
		}
		if in.Only != limiter.AdjustCounter {
			c.add(limitTokens+l.Limit, -l.Delta)
		}
		if in.Only != limiter.AdjustTokens {
			c.add(limitCounter+l.Limit, l.Delta)
		}
	}
	if credit {
		shards := in.Item.Shards()
		c.when(shardCount(shards)...)
		c.when(asRead(fieldVU, in.Item.HasVU, in.Item.VU))
		c.when(textAsRead(fieldSchedule, in.Item.Schedule))
		c.when(textAsRead(fieldResetSchedule, in.Item.ResetSchedule))
	}
	if in.ForceSlow {
		c.setNumber(fieldVU, 0)
	}
	w, err := s.commit(ctx, "Adjust", false, c)
	if err != nil || w.done {
		return limiter.AdjustOutput{}, err
	}
	out := limiter.AdjustOutput{Outcome: limiter.Refused}
	out.Image, err = w.image(0, in.Key)
	return out, err
}

// image is the bucket that failed a condition.
func (w *written) image(i int, key limiter.BucketKey) (limiter.Bucket, error) {
	if len(w.images[i]) == 0 {
		return limiter.Bucket{}, nil
	}
	return bucketOf(w.images[i], key)
}

// shardCount is a clause: the count is n, and absent reads as 1.
func shardCount(n int) []test {
	if n == 1 {
		return []test{lacks(fieldShards), equals(fieldShards, "1")}
	}
	return []test{equalsNumber(fieldShards, int64(n))}
}

func textAsRead(field, value string) test {
	if value == "" {
		return lacks(field)
	}
	return equals(field, value)
}

// rareAsRead is a field of a limit as it was read.
func rareAsRead(name string, field limiter.Fields, was limiter.Fields, e *limiter.Extra) test {
	f := rare(field)
	switch {
	case was&field == 0:
		return lacks(f.prefix + name)
	case f.text != nil:
		return equals(f.prefix+name, *f.text(e))
	}
	return equalsNumber(f.prefix+name, *f.number(e))
}

// pinCeiling makes the change conditional on what the ceiling was computed from.
func pinCeiling(c *change, l *limiter.Change) {
	c.when(startsWith(limitParameters+l.Limit, decimal(l.State.Capacity)+" "))
	if l.State.Extra == nil {
		return
	}
	for _, field := range [...]limiter.Fields{limiter.FieldGrants, limiter.FieldTopUp, limiter.FieldSchedule, limiter.FieldResetSchedule} {
		c.when(rareAsRead(l.Limit, field, l.State.Has, l.State.Extra))
	}
}

// pinPeriod makes the change conditional on the period that was charged.
func pinPeriod(c *change, l *limiter.Change) {
	switch l.Period.Kind {
	case limiter.CalendarPeriod:
		if l.Period.Before != 0 {
			c.when(less(fieldRF, l.Period.Before))
		}
		c.when(rareAsRead(l.Limit, limiter.FieldResets, l.State.Has, l.State.Rare()))
	case limiter.SessionPeriod:
		c.when(rareAsRead(l.Limit, limiter.FieldWindowStart, l.State.Has, l.State.Rare()))
		c.when(rareAsRead(l.Limit, limiter.FieldWindowApplied, l.State.Has, l.State.Rare()))
	}
}

// Double implements limiter.Store.
func (s *Store) Double(ctx context.Context, entityID, resource string, from int) (count int, won bool, err error) {
	c := &change{key: s.bucketKey(limiter.BucketKey{EntityID: entityID, Resource: resource})}
	c.when(present())
	c.when(shardCount(from)...)
	c.setNumber(fieldShards, int64(2*from))
	w, err := s.commit(ctx, "Double", false, c)
	if err != nil {
		return 0, false, err
	}
	if w.done {
		return 2 * from, true, nil
	}
	b, err := w.image(0, limiter.BucketKey{})
	if err != nil || !b.Exists {
		return 0, false, err
	}
	return b.Shards(), false, nil
}

// StampShardCount implements limiter.Store.
func (s *Store) StampShardCount(ctx context.Context, key limiter.BucketKey, count int, grants []string) error {
	c := &change{key: s.bucketKey(key)}
	c.when(present())
	lower := []test{less(fieldShards, int64(count))}
	if len(grants) == 0 && count > 0 {
		lower = append(lower, lacks(fieldShards))
	}
	c.when(lower...)
	for _, name := range grants {
		c.update("o", rare(limiter.FieldGrants).prefix+name, fieldShards)
	}
	c.setNumber(fieldShards, int64(count))
	_, err := s.commit(ctx, "StampShardCount", false, c)
	return err
}

// OpenWindow implements limiter.Store.
func (s *Store) OpenWindow(ctx context.Context, in *limiter.OpenWindowInput) error {
	c := &change{key: s.bucketKey(in.Key)}
	c.when(present())
	window, start, applied, counter := rare(limiter.FieldWindow).prefix, rare(limiter.FieldWindowStart).prefix,
		rare(limiter.FieldWindowApplied).prefix, rare(limiter.FieldWindowCounter).prefix
	for _, w := range in.Windows {
		c.when(has(applied+w.Limit), less(fieldRF, w.Start))
		c.when(lacks(start+w.Limit), atMost(start+w.Limit, w.Start-w.Seconds*1000))
		c.setNumber(start+w.Limit, w.Start)
		c.setNumber(window+w.Limit, w.Seconds)
		c.copy(counter+w.Limit, limitCounter+w.Limit)
	}
	c.setNumber(fieldVU, 0)
	_, err := s.commit(ctx, "OpenWindow", false, c)
	return err
}

// Restamp implements limiter.Store.
func (s *Store) Restamp(ctx context.Context, in *limiter.RestampInput) error {
	c := &change{key: s.bucketKey(in.Key)}
	c.when(present())
	if in.Bypass != limiter.StampKeep {
		c.when(asRead(fieldBypass, in.ReadBypass.Present, in.ReadBypass.Until))
		stamp(c, fieldBypass, in.Bypass, in.BypassUntil)
	}
	for _, l := range in.Soft {
		field := rare(limiter.FieldSoft).prefix + l.Limit
		c.when(asRead(field, l.Read.Present, l.Read.Until))
		stamp(c, field, l.Action, l.Until)
	}
	_, err := s.commit(ctx, "Restamp", false, c)
	return err
}

func stamp(c *change, field string, action limiter.StampAction, until int64) {
	switch action {
	case limiter.StampSet:
		c.setNumber(field, until)
	case limiter.StampRemove:
		c.remove(field)
	}
}

// grace is how long a bucket stays after its ttl, which is told by the clocks of the callers.
const grace = time.Hour

// goesAt is when a bucket with a ttl goes, seconds.
func goesAt(ttl int64) int64 { return max(ttl, time.Now().Unix()) + int64(grace/time.Second) }
