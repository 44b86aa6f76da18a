package limiter

import (
	"fmt"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// plain says whether a limit of the image drips by one rate: then there is nothing to decode.
func plain(b *Bucket, s *LimitState) bool {
	return s.Name == WCU || s.Extra == nil && s.Refill != 0 && b.Schedule == "" && b.ResetSchedule == ""
}

// scheduled says whether anything on the image ends by itself: a schedule or a window.
func scheduled(b *Bucket) bool {
	if b.Schedule != "" || b.ResetSchedule != "" {
		return true
	}
	for i := range b.Limits {
		s := &b.Limits[i]
		if parameters, resets := b.Schedules(s); s.Name != WCU && (parameters != "" || resets != "" || s.Rare().Window > 0) {
			return true
		}
	}
	return false
}

// live says whether a stamp with that deadline counts at now.
func live(present bool, until, now int64) bool { return present && until > now }

func (b *Bucket) bypassed(now int64) bool { return live(b.HasBypass, b.Bypass, now) }

func (s *LimitState) softAt(now int64) bool {
	return live(s.Has&FieldSoft != 0, s.Rare().Soft, now)
}

// state is a limit of an image as the arithmetic wants it, by what the item itself says. It fails when
// a schedule cannot be decoded.
func (l *Limiter) state(b *Bucket, s *LimitState, now int64) (bucket.State, error) {
	state := bucket.State{Tokens: s.Tokens, RF: b.RF, Capacity: s.Capacity, Refill: s.Refill, Period: s.Period, Shards: shardsOf(s.Name, b)}
	if s.Name == WCU {
		return state, nil
	}
	state.Bypass = b.bypassed(now)
	if plain(b, s) {
		return state, nil
	}
	state.Soft = s.softAt(now)
	parameters, resets := b.Schedules(s)
	if err := l.schedules(&state, s.Name, parameters, resets, b.Zone); err != nil {
		return state, err
	}
	l.quotaState(&state, s, s.Rare().Window, now)
	return state, nil
}

// configured is a limit of an image by the schedules, window and softness that its config has now.
// Balance, parameters and marks stay the item's.
func (l *Limiter) configured(b *Bucket, s *LimitState, limit *Limit, now int64) (bucket.State, error) {
	state := bucket.State{Tokens: s.Tokens, RF: b.RF, Capacity: s.Capacity, Refill: s.Refill, Period: s.Period, Shards: shardsOf(s.Name, b), Soft: limit.Soft}
	if err := l.schedules(&state, s.Name, limit.Schedule, limit.ResetSchedule, limit.Zone); err != nil {
		return state, err
	}
	l.quotaState(&state, s, int64(limit.ResetAfter/time.Second), now)
	return state, nil
}

func (l *Limiter) schedules(state *bucket.State, name, parameters, resets, zone string) (err error) {
	if state.Schedule, err = l.decoder.Schedule(parameters, zone); err != nil {
		return fmt.Errorf("limit %s: %w", name, err)
	}
	if state.Resets, err = l.decoder.Resets(resets, zone); err != nil {
		return fmt.Errorf("limit %s: %w", name, err)
	}
	return nil
}

// quotaState adds the marks of a quota.
func (l *Limiter) quotaState(state *bucket.State, s *LimitState, window, now int64) {
	extra := s.Rare()
	state.TopUp = extra.TopUp
	state.Consumed, state.HasConsumed = s.Counter, s.Has&FieldCounter != 0
	state.Window = bucket.Window{
		Length:   window,
		HasStart: s.Has&FieldWindowStart != 0, Start: extra.WindowStart,
		HasApplied: s.Has&FieldWindowApplied != 0, Applied: extra.WindowApplied,
		HasMark: s.Has&FieldWindowCounter != 0, Mark: extra.WindowCounter,
	}
	if !state.Quota() {
		return
	}
	state.Grants = extra.Grants
	if s.Has&FieldGrants == 0 {
		state.Grants = bucket.InferGrants(state.Shards, s.Tokens, state.Params(now).Capacity)
	}
}

// known is state for an image whose schedules have been decoded before.
func (l *Limiter) known(b *Bucket, s *LimitState, now int64) bucket.State {
	state, _ := l.state(b, s, now)
	return state
}

// readable fails when a declared limit of the image has a schedule that cannot be decoded.
func (a *acquire) readable(b *Bucket) error {
	for i := range a.charges {
		s := b.Limit(a.charges[i].Limit)
		if s == nil || plain(b, s) {
			continue
		}
		if _, err := a.l.state(b, s, a.now); err != nil {
			return fmt.Errorf("bucket %s/%s: %w", a.req.EntityID, b.Resource, err)
		}
	}
	return nil
}

// arithmetic is a configured limit as the arithmetic wants it.
func (l *Limiter) arithmetic(limit *Limit) (bucket.Limit, error) {
	out := bucket.Limit{
		Params:     bucket.Params{Capacity: limit.Capacity, Refill: limit.RefillAmount, Period: int64(limit.RefillPeriod / time.Second)},
		ResetAfter: int64(limit.ResetAfter / time.Second),
	}
	var err error
	if out.Schedule, err = l.decoder.Schedule(limit.Schedule, limit.Zone); err != nil {
		return out, fmt.Errorf("limit %s: %w", limit.Name, err)
	}
	if out.Resets, err = l.decoder.Resets(limit.ResetSchedule, limit.Zone); err != nil {
		return out, fmt.Errorf("limit %s: %w", limit.Name, err)
	}
	return out, nil
}

// lacks says whether a limit refuses a demand of amount millitokens at now.
func lacks(state *bucket.State, amount, now int64) bool {
	return !state.Soft && !state.Bypass && state.At(now).Tokens < amount
}

// judge gives the status of one limit for a demand of amount millitokens. The state is the one before
// the demand.
func judge(key *BucketKey, name string, state bucket.State, amount, now int64) LimitStatus {
	need := amount / 1000
	after, ok, wait := state.TryConsume(need, now)
	status := LimitStatus{
		EntityID: key.EntityID, Resource: key.Resource, Limit: shareOf(name, &state, now),
		Requested: need, Exceeded: !ok, RetryAfter: millisDuration(wait), ResetsAt: resetsAt(&state, now),
	}
	if ok {
		after.Tokens += amount
	}
	status.Available = bucket.FloorTokens(after.Tokens)
	return status
}

// shareOf is a limit as its shard has it: in the parameters in force, without their schedule.
func shareOf(name string, state *bucket.State, now int64) Limit {
	share := state.Share(now)
	limit := Limit{
		Name: name, Capacity: share.Capacity, RefillAmount: share.Refill, RefillPeriod: secondsDuration(share.Period),
		ResetSchedule: state.Resets.Encode(), ResetAfter: secondsDuration(state.Window.Length), Soft: state.Soft,
	}
	if state.Resets != nil {
		limit.Zone = zoneName(state.Resets.TZ())
	}
	return limit
}

// resetsAt is when a quota comes back: at the next edge, or at the end of the window that runs. 0: unknown. Edges go
// first: a bucket that inherits a schedule for a limit that is no longer configured has both.
func resetsAt(state *bucket.State, now int64) int64 {
	if end, ok := state.Window.End(); ok && end > now && state.Resets == nil {
		return end
	}
	edge, _ := state.Resets.Next(now)
	return edge
}
