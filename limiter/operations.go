package limiter

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	mathrand "math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
)

// The operations on the balance of a bucket, as their records spell them.
const (
	operationReset = "reset"
	operationTopUp = "top_up"
)

const (
	// operationAttempts is how often an operation is planned anew when the bucket changed meanwhile.
	operationAttempts = 4
	// operationRecordSeconds is how long a repetition is recognised.
	operationRecordSeconds = 3 * 86400
	// operationPause bounds the first pause between two attempts.
	operationPause = 25 * time.Millisecond
)

// OperationResult is what a reset or top-up did.
type OperationResult struct {
	EntityID, Resource string
	Shards             int // that were written; 0 when there was nothing to write
	// Amounts has what each limit gained, in whole tokens; a reset takes away what is above the share.
	Amounts Amounts
}

// ResetBucket gives limits of an entity on a resource back whole, all of them when none is named: one that
// drips up to its ceiling, a calendar quota as if its period began, a session quota with the next use, which
// opens a window. Consumption stays counted. Without a bucket there is nothing to do.
//
// A call with the same key within three days returns the result of the first. Without a key ("") an error
// leaves open whether the reset was made.
func (a *Admin) ResetBucket(ctx context.Context, entityID, resource string, limits []string, key string) (OperationResult, error) {
	var named Amounts
	if len(limits) > 0 {
		named = Amounts{}
		for _, name := range limits {
			named[name] = 0
		}
	}
	return a.operate(ctx, operation{kind: operationReset, entity: entityID, resource: resource, named: named, id: key})
}

// TopUp adds whole tokens to limits of an entity on a resource: to one that drips at most what is missing to
// its ceiling, to a quota exactly what is asked, above its capacity if need be, until it comes back. A
// session quota without a window that runs opens one. Quotas need readers of release 0.17.0. Without a
// bucket one is created when a quota is among the limits. See ResetBucket for the key.
func (a *Admin) TopUp(ctx context.Context, entityID, resource string, amounts Amounts, key string) (OperationResult, error) {
	if len(amounts) == 0 {
		return OperationResult{}, invalid("amounts", "", "must name a limit")
	}
	for name, n := range amounts {
		if n < 1 || n > maxTokens {
			return OperationResult{}, invalid("amount of "+name, strconv.FormatInt(n, 10), "must be between 1 and 10^15")
		}
	}
	return a.operate(ctx, operation{kind: operationTopUp, entity: entityID, resource: resource, named: amounts, id: key})
}

// operation is one reset or top-up under way.
type operation struct {
	kind             string
	entity, resource string
	named            Amounts // what a top-up asks; a reset names limits only, nil for all
	id               string  // of the record: the caller's key, or one of its own
	keyed            bool
	writer           string
	held             *held
	limits           []Limit
	kept             bool
	incarnation      string
}

func (a *Admin) operate(ctx context.Context, op operation) (OperationResult, error) {
	var none OperationResult
	if err := a.check(validateEntityID("entity_id", op.entity), validateResource(op.resource), validateKey(op.id)); err != nil {
		return none, err
	}
	if err := a.prepare(ctx, &op); err != nil {
		return none, err
	}
	for attempt := range operationAttempts {
		if attempt > 0 {
			if err := pauseFor(ctx, mathrand.N(operationPause<<attempt)); err != nil {
				return none, err
			}
			if err := a.rehold(ctx, &op); err != nil {
				return none, err
			}
		}
		if op.keyed || attempt > 0 {
			if result, done, err := a.recorded(ctx, &op); done || err != nil {
				return result, err
			}
		}
		result, done, err := a.operateOnce(ctx, &op, attempt)
		if err != nil {
			// Whether it was applied is in its record.
			if result, landed, err := a.recorded(ctx, &op); err == nil && landed {
				return result, nil
			}
			return none, err
		}
		if done {
			a.l.owners.forgetImages()
			return result, nil
		}
	}
	if result, done, err := a.recorded(ctx, &op); done || err != nil {
		return result, err
	}
	return none, a.l.unavailable(op.entity, op.resource, fmt.Errorf("%s: the bucket kept changing through %d attempts", op.kind, operationAttempts))
}

func validateKey(key string) error {
	if len(key) > maxName {
		return invalid("idempotency_key", key, "is longer than 64 characters")
	}
	for i := range len(key) {
		if c := key[i]; !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || containsByte("._:-", c)) {
			return invalid("idempotency_key", key, "must contain only letters, digits and ._:-")
		}
	}
	return nil
}

// prepare resolves what the operation works with, and checks the limits that it names.
func (a *Admin) prepare(ctx context.Context, op *operation) error {
	if err := a.rehold(ctx, op); err != nil {
		return err
	}
	if op.keyed = op.id != ""; !op.keyed {
		op.id = a.l.audit.ids.next(a.l.now())
	}
	var writer [12]byte
	rand.Read(writer[:]) // never fails
	op.writer = hex.EncodeToString(writer[:])
	if op.named == nil {
		op.named = Amounts{}
		for _, l := range op.limits {
			op.named[l.Name] = 0
		}
	}
	for name := range op.named {
		if findLimit(op.limits, name) == nil {
			return invalid("limit", name, "is not configured for "+op.entity+" on "+op.resource)
		}
	}
	return nil
}

func (a *Admin) rehold(ctx context.Context, op *operation) (err error) {
	if op.held, err = a.hold(ctx, op.entity, op.resource); err != nil {
		return a.l.unavailable(op.entity, op.resource, err)
	}
	limits, level := op.held.limits()
	if len(limits) == 0 {
		return invalid("limits", "entity="+op.entity+", resource="+op.resource, "has no limits at any level")
	}
	op.limits, op.kept = limits, level < 2
	if op.incarnation = "-"; op.held.meta.Found {
		op.incarnation = op.held.meta.Incarnation()
	}
	return nil
}

// recorded looks for the record of the operation: somebody's with the same key, or this call's own. That of
// an earlier entity of the same name counts for nothing.
func (a *Admin) recorded(ctx context.Context, op *operation) (OperationResult, bool, error) {
	r, err := a.store.OperationRecord(ctx, op.entity, op.resource, op.id)
	if err != nil {
		return OperationResult{}, false, a.l.unavailable(op.entity, op.resource, err)
	}
	if !r.Found || r.Incarnation != op.incarnation && r.Incarnation != "-" && op.incarnation != "-" {
		return OperationResult{}, false, nil
	}
	if r.Operation != op.kind {
		return OperationResult{}, false, invalid("idempotency_key", op.id, "was used for a "+r.Operation)
	}
	return OperationResult{EntityID: op.entity, Resource: op.resource, Shards: r.Shards, Amounts: r.Amounts}, true, nil
}

// operateOnce reads, plans and writes. done is false when the bucket changed meanwhile.
func (a *Admin) operateOnce(ctx context.Context, op *operation, attempt int) (result OperationResult, done bool, err error) {
	result = OperationResult{EntityID: op.entity, Resource: op.resource, Amounts: Amounts{}}
	shards, err := a.operationShards(ctx, op)
	if err != nil {
		return result, false, a.l.unavailable(op.entity, op.resource, err)
	}
	now := a.l.nowMillis()
	var writes []Write
	if len(shards) == 0 {
		writes, err = a.operateOnNone(ctx, op, &result, now)
	} else {
		if settled, err := a.alignShards(ctx, op, shards); !settled || err != nil {
			return result, false, err
		}
		writes, err = a.planOperation(ctx, op, shards, &result, now)
	}
	if err != nil {
		return result, false, err
	}
	if result.Shards = len(writes); len(writes) == 0 && !op.keyed {
		return result, true, nil
	}
	record := OperationRecord{ID: op.id, EntityID: op.entity, Resource: op.resource, Operation: op.kind, Writer: op.writer,
		Incarnation: op.incarnation, Shards: result.Shards, Amounts: result.Amounts, TTL: now/1000 + operationRecordSeconds}
	outcome, err := a.store.WriteOperation(ctx, writes, record, a.operationEvent(ctx, op, &result), op.writer+"-"+strconv.Itoa(attempt))
	if err != nil {
		return result, false, a.l.unavailable(op.entity, op.resource, err)
	}
	return result, outcome == Done, nil
}

func (a *Admin) operationEvent(ctx context.Context, op *operation, result *OperationResult) *AuditEvent {
	if a.l.opts.WithoutAudit {
		return nil
	}
	action := AuditBucketReset
	if op.kind == operationTopUp {
		action = AuditBucketToppedUp
	}
	amounts := map[string]any{}
	for name, n := range result.Amounts {
		amounts[name] = n
	}
	e := a.complete(ctx, AuditEvent{Action: action, Subject: op.entity, Resource: op.resource,
		Details: map[string]any{"amounts": amounts, "shards": int64(result.Shards)}})
	return &e
}

// operationShards reads all shards, consistently. Their listing lags behind their creation, so that the
// ids below the count are looked for, too.
func (a *Admin) operationShards(ctx context.Context, op *operation) ([]Bucket, error) {
	keys, err := a.store.BucketKeys(ctx, op.entity, op.resource)
	if err != nil {
		return nil, err
	}
	ids := map[int]bool{0: true}
	for _, k := range keys {
		ids[k.Shard] = true
	}
	for known := 0; known != len(ids); {
		known = len(ids)
		in := ReadInput{Consistent: true, Resource: op.resource}
		for _, id := range slices.Sorted(maps.Keys(ids)) {
			in.Entities = append(in.Entities, EntityRead{EntityID: op.entity, Bucket: true, Shard: id})
		}
		var out ReadOutput
		if err := a.l.store.Read(ctx, &in, &out); err != nil {
			return nil, err
		}
		var shards []Bucket
		for i := range out.Entities {
			b := out.Entities[i].Bucket
			if !b.Exists || !b.HasRF {
				continue
			}
			shards = append(shards, b)
			for id := range min(b.Shards(), MaxShards) {
				ids[id] = true
			}
		}
		if known == len(ids) {
			return shards, nil
		}
	}
	return nil, nil
}

// alignShards tells shards that know a lower count. settled is false when it had to: they are read again.
func (a *Admin) alignShards(ctx context.Context, op *operation, shards []Bucket) (settled bool, err error) {
	most := 0
	for i := range shards {
		most = max(most, shards[i].Shards())
	}
	settled = true
	for i := range shards {
		if b := &shards[i]; b.Shards() < most {
			settled = false
			if err := a.l.store.StampShardCount(ctx, BucketKey{op.entity, op.resource, b.Shard}, most, quotasOf(b)); err != nil {
				return false, a.l.unavailable(op.entity, op.resource, err)
			}
		}
	}
	return settled, nil
}

// operated is one configured limit of one shard.
type operated struct {
	stored *LimitState
	state  bucket.State
	passed bucket.Passed
	write  LimitWrite
}

// planOperation brings every limit of every shard to now, and applies the operation to those that it names.
func (a *Admin) planOperation(ctx context.Context, op *operation, shards []Bucket, result *OperationResult, now int64) ([]Write, error) {
	plan := make([]map[string]*operated, len(shards))
	for i := range shards {
		b := &shards[i]
		plan[i] = map[string]*operated{}
		for j := range b.Limits {
			s := &b.Limits[j]
			limit := findLimit(op.limits, s.Name)
			if !s.Complete() || limit == nil && s.Name != WCU {
				continue // what is no longer configured is left as it is
			}
			o := &operated{stored: s, write: LimitWrite{Name: s.Name}}
			before, err := a.l.state(b, s, now)
			if limit != nil {
				before, err = a.l.configured(b, s, limit, now)
			}
			if err != nil {
				return nil, a.l.unavailable(op.entity, op.resource, err)
			}
			o.state, o.passed = before.Settle(now)
			plan[i][s.Name] = o
		}
	}
	raised := false
	for name := range op.named {
		limit := findLimit(op.limits, name)
		if op.kind == operationReset {
			result.Amounts[name] = resetLimit(plan, limit, now)
			continue
		}
		added, err := topUpLimit(plan, limit, op.named[name], now)
		if err != nil {
			return nil, err
		}
		result.Amounts[name] = added
		raised = raised || limit.Quota() && added > 0
	}
	if raised {
		if err := a.require(ctx, readersOfSoft, "top-up of a quota"); err != nil {
			return nil, err
		}
	}
	ttl, value, err := a.operationTTL(op, now)
	if err != nil {
		return nil, err
	}
	writes := make([]Write, len(shards))
	for i := range shards {
		writes[i] = operationWrite(&shards[i], plan[i], now)
		writes[i].Key.EntityID, writes[i].TTL, writes[i].TTLValue = op.entity, ttl, value
	}
	return writes, nil
}

// resetLimit resets one limit on all shards and returns the whole tokens that it has by that.
func resetLimit(plan []map[string]*operated, limit *Limit, now int64) int64 {
	sum := int64(0)
	for _, shard := range plan {
		o := shard[limit.Name]
		if o == nil {
			continue
		}
		before, restored := o.state.Tokens, int64(0)
		marked := o.state.Window.HasMark
		o.state, restored = o.state.Reset(now)
		sum += restored - before
		switch {
		case limit.ResetAfter > 0:
			o.window(&o.state.Window)
			if marked {
				o.write.Remove |= FieldWindowCounter
			}
		case limit.Quota():
			o.passed.Reset = true
			o.write.Set |= FieldResets
		}
	}
	return bucket.FloorTokens(sum)
}

// window writes the window that the operation moved.
func (o *operated) window(w *bucket.Window) {
	o.write.Set |= FieldWindow | FieldWindowStart
	o.write.Extra.Window, o.write.Extra.WindowStart = w.Length, w.Start
}

// topUpLimit splits an amount over the shards that have the limit and returns what they took.
func topUpLimit(plan []map[string]*operated, limit *Limit, amount, now int64) (int64, error) {
	parts := map[int64]int64{} // weights of a quota, rooms of a limit that drips
	for i, shard := range plan {
		o := shard[limit.Name]
		if o == nil {
			continue
		}
		if limit.ResetAfter > 0 {
			if end, ok := o.state.Window.End(); !ok || end <= now {
				o.state, o.passed = o.state.Materialise(now)
				o.window(&o.state.Window)
			}
		}
		if limit.Quota() {
			parts[int64(i)] = max(1, o.state.Shards/max(1, o.state.GrantCount()))
		} else {
			parts[int64(i)] = max(0, bucket.FloorTokens(o.state.Ceiling(now)-o.state.Tokens))
		}
	}
	if len(parts) == 0 {
		return 0, invalid("amounts", limit.Name, "is configured but not on the bucket yet: acquire once, then top up")
	}
	if limit.Quota() {
		parts = bucket.SplitByWeight(amount, parts)
	} else {
		parts = bucket.SplitByRoom(amount, parts)
	}
	sum := int64(0)
	for i, n := range parts {
		o := plan[i][limit.Name]
		sum += n
		o.state.Tokens += n * 1000
		if limit.Quota() && n > 0 {
			o.state.TopUp += n * 1000
			if o.stored.Has&FieldGrants == 0 {
				o.write.Set |= FieldGrants // the size that the shard was weighted by
			}
		}
	}
	return sum, nil
}

// operationWrite is one shard's part of the transaction.
func operationWrite(b *Bucket, plan map[string]*operated, now int64) Write {
	w := Write{Kind: WriteOperation, Key: BucketKey{Resource: b.Resource, Shard: b.Shard}, ReadRF: b.RF, ShardCount: b.ShardCount, RF: max(now, b.RF+1)}
	for i := range b.Limits {
		o := plan[b.Limits[i].Name]
		if o == nil {
			continue
		}
		l := &o.write
		l.Change = o.state.Tokens - o.stored.Tokens
		if o.passed.Reset || o.passed.Rolled {
			l.Set |= FieldGrants
		}
		l.Extra.Grants = o.state.GrantCount()
		switch had := o.stored.Has&FieldTopUp != 0; {
		case had && o.state.TopUp == 0:
			l.Remove |= FieldTopUp
		case o.state.TopUp != o.stored.Rare().TopUp:
			l.Set |= FieldTopUp
			l.Extra.TopUp = o.state.TopUp
		}
		if win := &o.state.Window; win.Length > 0 && win.HasStart {
			l.Set |= FieldWindowApplied
			l.Extra.WindowApplied = win.Start
			w.RF = max(w.RF, win.Start)
		}
		if l.Change != 0 || l.Set|l.Remove != 0 {
			w.Limits = append(w.Limits, *l)
		}
	}
	return w
}

// operationTTL is that of an acquire, but not before the period ends in which a quota may have been topped
// up.
func (a *Admin) operationTTL(op *operation, now int64) (TTLAction, int64, error) {
	action, value, err := a.l.ttl(resolved{limits: op.limits, kept: op.kept}, now)
	if err != nil || action != TTLSet {
		return action, value, err
	}
	for i := range op.limits {
		limit := &op.limits[i]
		config, err := a.l.arithmetic(limit)
		if err != nil {
			return action, value, err
		}
		end := now + limit.ResetAfter.Milliseconds()
		if edge, ok := config.Resets.Next(now); ok {
			end = max(end, edge)
		}
		value = max(value, (end+999)/1000)
	}
	return action, value, nil
}

// operateOnNone is for an entity without a bucket: a top-up of quotas creates one, full and topped up.
func (a *Admin) operateOnNone(ctx context.Context, op *operation, result *OperationResult, now int64) ([]Write, error) {
	quotas := false
	for name, n := range op.named {
		result.Amounts[name] = 0
		if op.kind == operationTopUp && findLimit(op.limits, name).Quota() {
			result.Amounts[name], quotas = n, true
		}
	}
	if !quotas {
		return nil, nil
	}
	bypassed, err := op.held.levels.enforced(op.entity, op.resource)
	if err != nil {
		return nil, err
	}
	if err := a.require(ctx, readersOfSoft, "top-up of a quota"); err != nil {
		return nil, err
	}
	write, err := a.createToppedUp(op, result.Amounts, bypassed, now)
	if err != nil {
		return nil, err
	}
	return []Write{write}, nil
}

func (a *Admin) createToppedUp(op *operation, amounts Amounts, bypassed bool, now int64) (Write, error) {
	meta := &op.held.meta
	w := Write{Kind: WriteCreate, Key: BucketKey{EntityID: op.entity, Resource: op.resource}, Owner: meta.Owner, ParentID: meta.ParentID,
		Cascade: meta.ParentID != "" && op.held.levels.cascades(meta), ShardCount: 1, RF: now, Now: now}
	var err error
	if w.TTL, w.TTLValue, err = a.operationTTL(op, now); err != nil {
		return w, err
	}
	if bypassed {
		w.Bypass, w.BypassUntil = StampSet, op.held.until
	}
	for i := range op.limits {
		limit := &op.limits[i]
		config, err := a.l.arithmetic(limit)
		if err != nil {
			return w, err
		}
		state := config.New(now, 1)
		l := LimitWrite{Name: limit.Name, Tokens: state.Tokens + amounts[limit.Name]*1000, Capacity: state.Capacity, Refill: state.Refill,
			Period: state.Period, Schedule: limit.Schedule, ResetSchedule: limit.ResetSchedule}
		if limit.Quota() {
			l.Set |= FieldGrants
			l.Extra.Grants = 1
		}
		if n := amounts[limit.Name]; n > 0 {
			l.Set |= FieldTopUp
			l.Extra.TopUp = n * 1000
		}
		if win := &state.Window; win.Length > 0 {
			l.Set |= FieldWindow | FieldWindowStart | FieldWindowApplied
			l.Extra.Window, l.Extra.WindowStart, l.Extra.WindowApplied = win.Length, win.Start, win.Applied
		}
		if limit.Soft {
			l.Set |= FieldSoft
			l.Extra.Soft = op.held.until
		}
		if at, ok := state.Boundary(now); ok && (!w.HasVU || at < w.VU) {
			w.HasVU, w.VU = true, at
		}
		if limit.Schedule != "" || limit.ResetSchedule != "" {
			w.Zone = limit.Zone
		}
		w.Limits = append(w.Limits, l)
	}
	w.Limits = append(w.Limits, LimitWrite{Name: WCU, Tokens: wcuState.Tokens, Capacity: wcuState.Capacity, Refill: wcuState.Refill, Period: wcuState.Period})
	slices.SortFunc(w.Limits, func(a, b LimitWrite) int { return strings.Compare(a.Name, b.Name) })
	return w, nil
}
