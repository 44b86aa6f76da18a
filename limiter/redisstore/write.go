package redisstore

import (
	"context"
	"fmt"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Write implements limiter.Store.
func (s *Store) Write(ctx context.Context, in []limiter.Write, out *limiter.WriteOutput) error {
	out.Outcome, out.Results = limiter.Done, out.Results[:0]
	changes, err := s.plan(in)
	if err != nil {
		return err
	}
	w, err := s.commit(ctx, "Write", false, changes...)
	if err != nil || w.done {
		return err
	}
	out.Outcome = limiter.Refused
	owner := len(in) // owners follow the writes, in their order
	for i := range in {
		result := limiter.WriteResult{Failed: w.failed[i]}
		if result.Failed {
			if result.Image, err = w.image(i, in[i].Key); err != nil {
				return err
			}
		}
		if creates(&in[i]) {
			result.OwnerFailed = w.failed[owner]
			owner++
		}
		out.Results = append(out.Results, result)
	}
	return nil
}

func creates(w *limiter.Write) bool {
	return w.Kind == limiter.WriteCreate || w.Kind == limiter.WriteRebuild
}

// plan makes a change of each write, then the checks of the owners of those that create, then what the
// listings need.
func (s *Store) plan(in []limiter.Write) ([]*change, error) {
	var changes, owners, listings []*change
	for i := range in {
		w := &in[i]
		c := &change{key: s.bucketKey(w.Key)}
		switch w.Kind {
		case limiter.WriteCreate:
			c.when(missing())
			create(c, w)
		case limiter.WriteRebuild:
			c.when(present())
			c.when(lacks(fieldRF))
			create(c, w)
		case limiter.WriteRefill, limiter.WriteClaim:
			c.when(present())
			refill(c, w)
		case limiter.WriteRetry:
			c.when(present())
			retry(c, w)
		case limiter.WriteBypass:
			c.when(has(fieldBypass))
			c.setNumber(fieldBypass, w.BypassUntil)
			for _, l := range w.Limits {
				if l.Consumed != 0 {
					c.add(limitCounter+l.Name, l.Consumed)
				}
			}
		case limiter.WriteMove:
			c.when(present())
			move(c, w)
		case limiter.WriteOperation:
			operate(c, w)
		default:
			return nil, fmt.Errorf("write of bucket %s#%s#%d: unknown kind %d", w.Key.EntityID, w.Key.Resource, w.Key.Shard, w.Kind)
		}
		changes = append(changes, c)
		listed := false
		switch w.Kind {
		case limiter.WriteCreate, limiter.WriteRebuild:
			owners = append(owners, s.owner(w))
			c.setTTL(w.TTL, w.TTLValue)
			listed = true
		case limiter.WriteRefill, limiter.WriteClaim, limiter.WriteOperation:
			listed = c.setTTL(w.TTL, w.TTLValue)
		}
		if listed {
			listings = append(listings, s.listed(w.Key, w.TTL, w.TTLValue)...)
		}
	}
	return append(append(changes, owners...), listings...), nil
}

// setTTL says whether the ttl changes.
func (c *change) setTTL(action limiter.TTLAction, value int64) bool {
	switch action {
	case limiter.TTLSet:
		c.setNumber(fieldTTL, value)
		c.expireAt(goesAt(value))
	case limiter.TTLRemove:
		c.remove(fieldTTL)
		c.persist()
	}
	return action != limiter.TTLKeep
}

// listed puts a bucket into the listing of its resource, and takes those out that have gone.
func (s *Store) listed(key limiter.BucketKey, action limiter.TTLAction, ttl int64) []*change {
	buckets, resources := &change{key: s.bucketsKey(key.Resource)}, &change{key: s.resourcesKey()}
	score := "+inf"
	if action == limiter.TTLSet {
		score = decimal(goesAt(ttl))
	}
	buckets.dropScores(goesAt(0) - int64(grace.Seconds()))
	buckets.rank(member(key), score)
	resources.include(key.Resource)
	return []*change{buckets, resources}
}

// owner is the check that an entity is as it was read.
func (s *Store) owner(w *limiter.Write) *change {
	c := &change{key: s.entityKey(w.Key.EntityID)}
	if !w.Owner.Found {
		c.when(missing())
		return c
	}
	c.when(equalsNumber(fieldGeneration, w.Owner.Generation))
	c.when(equals(fieldIncarnation, w.Owner.PInc))
	if w.Owner.PInc == "" {
		c.when(equals(fieldCreated, w.Owner.CreatedAt))
	}
	return c
}

// create writes a whole bucket.
func create(c *change, w *limiter.Write) {
	c.setNumber(fieldRF, w.RF)
	c.setNumber(fieldShards, int64(max(1, w.ShardCount)))
	setOwner(c, w)
	setVU(c, w)
	stamp(c, fieldBypass, w.Bypass, w.BypassUntil)
	item := [2]string{}
	for i := range w.Limits {
		l := &w.Limits[i]
		seed(c, l)
		if item[0] == "" {
			item[0] = l.Schedule
		}
		if item[1] == "" {
			item[1] = l.ResetSchedule
		}
	}
	if item != [2]string{} {
		c.setText(fieldZone, w.Zone)
	}
	c.setText(fieldSchedule, item[0])
	c.setText(fieldResetSchedule, item[1])
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Name == limiter.WCU {
			continue
		}
		if l.Schedule != item[0] {
			ownSchedule(c, limiter.FieldSchedule, l.Name, l.Schedule)
		}
		if l.ResetSchedule != item[1] {
			ownSchedule(c, limiter.FieldResetSchedule, l.Name, l.ResetSchedule)
		}
	}
}

// ownSchedule gives a limit its own schedule, which may be none.
func ownSchedule(c *change, field limiter.Fields, name, schedule string) {
	if schedule == "" {
		schedule = limiter.NoSchedule
	}
	c.set(rare(field).prefix+name, schedule)
}

func setOwner(c *change, w *limiter.Write) {
	if w.Cascade {
		c.set(fieldCascade, "1")
	} else {
		c.remove(fieldCascade)
	}
	c.setText(fieldParent, w.ParentID)
	if w.Owner.Found {
		c.setNumber(fieldGeneration, w.Owner.Generation)
		c.set(fieldIncarnation, w.Owner.Incarnation())
	}
}

func setVU(c *change, w *limiter.Write) {
	if w.HasVU {
		c.setNumber(fieldVU, w.VU)
	} else {
		c.remove(fieldVU)
	}
}

// seed writes the whole state of a limit.
func seed(c *change, l *limiter.LimitWrite) {
	c.setNumber(limitTokens+l.Name, l.Tokens)
	c.setNumber(limitCounter+l.Name, l.Consumed)
	c.set(limitParameters+l.Name, parameters(l.Capacity, l.Refill, l.Period))
	setRare(c, l)
}

// setRare writes and removes the fields of Set and Remove beyond the plain ones.
func setRare(c *change, l *limiter.LimitWrite) {
	for i := range rareFields {
		f := &rareFields[i]
		switch {
		case f.field&l.Remove != 0:
			c.remove(f.prefix + l.Name)
		case f.field&l.Set == 0:
		case f.text != nil:
			c.set(f.prefix+l.Name, *f.text(&l.Extra))
		default:
			c.setNumber(f.prefix+l.Name, *f.number(&l.Extra))
		}
	}
}

// refill is WriteRefill and WriteClaim.
func refill(c *change, w *limiter.Write) {
	c.when(equalsNumber(fieldRF, w.ReadRF))
	c.when(asRead(fieldVU, w.ReadHasVU, w.ReadVU))
	c.when(asRead(fieldBypass, w.ReadHasBypass, w.ReadBypass))
	switch {
	case w.Kind == limiter.WriteClaim:
		c.when(textAsRead(fieldIncarnation, w.ReadPInc))
	case w.Owner.Found:
		c.when(lacks(fieldIncarnation), equals(fieldIncarnation, w.Owner.Incarnation()))
		c.when(lacks(fieldIncarnation), lacks(fieldGeneration), atMost(fieldGeneration, w.Owner.Generation))
	}
	c.setNumber(fieldRF, w.RF)
	setVU(c, w)
	stamp(c, fieldBypass, w.Bypass, w.BypassUntil)
	if w.Owner.Found {
		setOwner(c, w)
	}
	for i := range w.Limits {
		refillLimit(c, w, &w.Limits[i])
	}
}

func refillLimit(c *change, w *limiter.Write, l *limiter.LimitWrite) {
	if l.Set&limiter.FieldGrants != 0 {
		c.when(lacks(fieldShards), atMost(fieldShards, int64(max(1, w.ShardCount))))
	}
	tokens := limitTokens + l.Name
	if l.Seed {
		c.when(lacks(tokens), lacks(limitParameters+l.Name))
		for i := range rareFields {
			if f := &rareFields[i]; f.text == nil && f.field&l.Set == 0 {
				c.remove(f.prefix + l.Name)
			}
		}
		seed(c, l)
		ownSchedule(c, limiter.FieldSchedule, l.Name, l.Schedule)
		ownSchedule(c, limiter.FieldResetSchedule, l.Name, l.ResetSchedule)
		if l.Schedule != "" || l.ResetSchedule != "" {
			c.setText(fieldZone, w.Zone)
		}
		return
	}
	if l.Debit() > l.Change && !l.Free {
		c.when(atLeast(tokens, l.Debit()-l.Change))
	}
	if l.Change > 0 {
		c.when(atMost(tokens, l.ReadTokens))
	}
	if (l.Set|l.Remove)&limiter.FieldSoft != 0 {
		c.when(has(tokens), has(limitCounter+l.Name), has(limitParameters+l.Name))
		c.when(asRead(rare(limiter.FieldSoft).prefix+l.Name, l.ReadSoft.Present, l.ReadSoft.Until))
	}
	c.add(tokens, l.Change-l.Debit())
	c.add(limitCounter+l.Name, l.Consumed)
	setRare(c, l)
}

// retry is WriteRetry.
func retry(c *change, w *limiter.Write) {
	for i := range w.Limits {
		l := &w.Limits[i]
		if l.Consumed <= 0 {
			continue
		}
		if l.Free {
			c.when(has(limitTokens + l.Name))
			c.when(has(limitParameters + l.Name))
		} else {
			c.when(atLeast(limitTokens+l.Name, l.Consumed))
		}
		if l.Edge > 0 {
			c.when(atLeast(fieldRF, l.Edge))
		}
		if l.Set&limiter.FieldWindowApplied != 0 {
			c.when(equalsNumber(rare(limiter.FieldWindowApplied).prefix+l.Name, l.Extra.WindowApplied))
		}
		c.add(limitTokens+l.Name, -l.Consumed)
		c.add(limitCounter+l.Name, l.Consumed)
	}
}

// move is WriteMove.
func move(c *change, w *limiter.Write) {
	for i := range w.Limits {
		l := &w.Limits[i]
		c.when(atLeast(limitTokens+l.Name, -l.Change))
		if l.Edge > 0 {
			c.when(atLeast(fieldRF, l.Edge))
		}
		c.when(rareAsRead(l.Name, limiter.FieldGrants, l.Has, &l.Extra))
		if l.Has&limiter.FieldGrants == 0 {
			c.when(shardCount(max(1, w.ShardCount))...)
		}
		if l.Has&limiter.FieldWindow != 0 {
			c.when(rareAsRead(l.Name, limiter.FieldWindowApplied, l.Has, &l.Extra))
		}
		c.add(limitTokens+l.Name, l.Change)
	}
}

// operate is WriteOperation.
func operate(c *change, w *limiter.Write) {
	c.when(equalsNumber(fieldRF, w.ReadRF))
	c.when(asRead(fieldShards, w.ShardCount != 0, int64(w.ShardCount)))
	c.setNumber(fieldRF, w.RF)
	c.setNumber(fieldVU, 0)
	for i := range w.Limits {
		l := w.Limits[i]
		c.add(limitTokens+l.Name, l.Change)
		if l.Set&limiter.FieldResets != 0 {
			c.add(rare(limiter.FieldResets).prefix+l.Name, 1)
			l.Set &^= limiter.FieldResets
		}
		setRare(c, &l)
	}
}
