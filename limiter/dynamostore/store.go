package dynamostore

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// Store is one namespace of a table. It is safe for concurrent use.
type Store struct {
	t  *Table
	ns string

	shapes shapeCache
	// Attribute values that every request shares; nobody writes to them.
	stateSK, metaSK, oneWrite, minusOneWrite types.AttributeValue
}

var (
	_ limiter.Store      = (*Store)(nil)
	_ limiter.AdminStore = (*Store)(nil)
)

// Store returns the namespace with that id, without any request. The id is what RegisterNamespace
// or ResolveNamespace returned; any other text that can stand in a key reads and writes keys with
// that prefix, such as the literal "default" that some old clients use unresolved.
func (t *Table) Store(namespaceID string) *Store {
	return &Store{
		t: t, ns: namespaceID,
		stateSK: str(skState), metaSK: str(skMeta),
		oneWrite: number(writeCost), minusOneWrite: number(-writeCost),
	}
}

// writeCost is what one write takes from the reserved limit wcu, in millitokens.
const writeCost = 1000

// Namespace returns the id of the namespace.
func (s *Store) Namespace() string { return s.ns }

// TableName returns the name of the table, which is that of the stack it belongs to.
func (s *Store) TableName() string { return s.t.name }

func (s *Store) bucketKey(k limiter.BucketKey) item {
	return item{attrPK: str(bucketPK(s.ns, k.EntityID, k.Resource, k.Shard)), attrSK: s.stateSK}
}

// update is an UpdateItem of one item by an expression.
func (s *Store) update(key item, e *expression) *dynamodb.UpdateItemInput {
	return &dynamodb.UpdateItemInput{
		TableName:                           s.t.tableN,
		Key:                                 key,
		UpdateExpression:                    e.update(),
		ConditionExpression:                 e.condition(),
		ExpressionAttributeNames:            e.namesOrNil(),
		ExpressionAttributeValues:           e.valuesOrNil(),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	}
}

// Double implements limiter.Store.
func (s *Store) Double(ctx context.Context, entityID, resource string, from int) (count int, won bool, err error) {
	if from < 1 || 2*from > limiter.MaxShards {
		return 0, false, fmt.Errorf("double %s/%s: %d shards cannot be doubled", entityID, resource, from)
	}
	var e expression
	e.set("shard_count", number(int64(2*from)))
	current := "shard_count = " + e.value(number(int64(from)))
	if from == 1 {
		current = "(" + current + " OR attribute_not_exists(shard_count))"
	}
	e.require("attribute_exists(PK)", current)
	in := s.update(s.bucketKey(limiter.BucketKey{EntityID: entityID, Resource: resource}), &e)
	err = retryConflicts(ctx, func() error {
		_, err := s.t.api.UpdateItem(ctx, in)
		return err
	})
	if err == nil {
		return 2 * from, true, nil
	}
	old, refused := failedImage(err)
	if !refused {
		return 0, false, wrapAcquire("double", entityID+"/"+resource, err)
	}
	if len(old) == 0 {
		return 0, false, nil
	}
	stored, ok, err := intOf(old, "shard_count")
	if err != nil {
		return 0, false, wrapAcquire("double", entityID+"/"+resource, err)
	}
	if !ok {
		stored = 1
	}
	return int(stored), false, nil
}

// StampShardCount implements limiter.Store.
func (s *Store) StampShardCount(ctx context.Context, k limiter.BucketKey, count int, grants []string) error {
	var e expression
	e.set("shard_count", number(int64(count)))
	e.require("attribute_exists(PK)")
	lower := "shard_count < " + e.value(number(int64(count)))
	if len(grants) == 0 {
		lower = "(attribute_not_exists(shard_count) OR " + lower + ")"
	}
	// With quotas the old count must be there, since it is copied.
	e.require(lower)
	for _, limit := range grants {
		gc := e.name(bucketAttr(limit, "gc"))
		e.sets = append(e.sets, gc+" = if_not_exists("+gc+", shard_count)")
	}
	return s.updateIf(ctx, "stamp shard count of", k, &e)
}

// OpenWindow implements limiter.Store.
func (s *Store) OpenWindow(ctx context.Context, in *limiter.OpenWindowInput) error {
	var e expression
	e.require("attribute_exists(PK)")
	for _, w := range in.Windows {
		attr := func(field string) string { return e.name(bucketAttr(w.Limit, field)) }
		e.set(attr("ws"), number(w.Start))
		e.set(attr("rsa"), number(w.Seconds))
		e.sets = append(e.sets, attr("wtc")+" = if_not_exists("+attr("tc")+", "+e.value(number(0))+")")
		e.require("(attribute_exists("+attr("wa")+") OR rf < "+e.value(number(w.Start))+")",
			"(attribute_not_exists("+attr("ws")+") OR "+attr("ws")+" <= "+e.value(number(w.Start-w.Seconds*1000))+")")
	}
	e.set("vu", number(0))
	return s.updateIf(ctx, "open a window of", in.Key, &e)
}

// Restamp implements limiter.Store.
func (s *Store) Restamp(ctx context.Context, in *limiter.RestampInput) error {
	var e expression
	e.require("attribute_exists(PK)")
	if in.Bypass != limiter.StampKeep {
		restamp(&e, "bypass", in.Bypass, in.BypassUntil)
		e.require(stampAsRead(&e, "bypass", in.ReadBypass))
	}
	for _, soft := range in.Soft {
		attr := e.name(bucketAttr(soft.Limit, "soft"))
		restamp(&e, attr, soft.Action, soft.Until)
		e.require(stampAsRead(&e, attr, soft.Read))
	}
	return s.updateIf(ctx, "stamp", in.Key, &e)
}

// updateIf sends an update of a bucket that does no harm when it is applied twice. A failed condition
// means that there was nothing to do.
func (s *Store) updateIf(ctx context.Context, operation string, k limiter.BucketKey, e *expression) error {
	in := s.update(s.bucketKey(k), e)
	in.ReturnValuesOnConditionCheckFailure = ""
	err := retryConflicts(ctx, func() error {
		_, err := s.t.api.UpdateItem(ctx, in)
		return err
	})
	if err == nil || isConditionFailed(err) {
		return nil
	}
	return wrapAcquire(operation, fmt.Sprintf("%s/%s shard %d", k.EntityID, k.Resource, k.Shard), err)
}

// Adjust implements limiter.Store.
func (s *Store) Adjust(ctx context.Context, in *limiter.AdjustInput) (limiter.AdjustOutput, error) {
	var e expression
	e.require("attribute_exists(PK)")
	credited := false
	for i := range in.Changes {
		c := &in.Changes[i]
		if in.Only != limiter.AdjustCounter {
			e.add(e.name(bucketAttr(c.Limit, "tk")), number(-c.Delta))
		}
		if in.Only != limiter.AdjustTokens {
			e.add(e.name(bucketAttr(c.Limit, "tc")), number(c.Delta))
		}
		if in.Checked && c.Delta < 0 {
			credited = true
			e.require(e.name(bucketAttr(c.Limit, "tk")) + " <= " + e.value(number(c.Ceiling+c.Delta)))
			pinCeiling(&e, c.State)
		}
		pinPeriod(&e, c)
	}
	if credited {
		pinItem(&e, in.Item)
	}
	if in.ForceSlow {
		e.set("vu", number(0))
	}
	_, err := s.t.api.UpdateItem(ctx, s.update(s.bucketKey(in.Key), &e), s.t.writeOnce...)
	if err == nil {
		return limiter.AdjustOutput{Outcome: limiter.Done}, nil
	}
	if old, refused := failedImage(err); refused {
		out := limiter.AdjustOutput{Outcome: limiter.Refused}
		return out, wrapAcquire("adjust", in.Key.EntityID+"/"+in.Key.Resource, decodeBucket(old, in.Key, &out.Image))
	}
	if isConflict(err) {
		return limiter.AdjustOutput{Outcome: limiter.Conflict}, nil
	}
	return limiter.AdjustOutput{}, wrapAcquire("adjust", in.Key.EntityID+"/"+in.Key.Resource, err)
}

// pinCeiling requires what the ceiling of a limit was computed from to be as it was.
func pinCeiling(e *expression, l *limiter.LimitState) {
	e.require(e.name(bucketAttr(l.Name, "cp")) + " = " + e.value(number(l.Capacity)))
	if l.Extra == nil {
		return
	}
	asRead(e, l.Name, "gc", l.Has&limiter.FieldGrants != 0, l.Extra.Grants)
	asRead(e, l.Name, "tu", l.Has&limiter.FieldTopUp != 0, l.Extra.TopUp)
	textAsRead(e, e.name(bucketAttr(l.Name, "sched")), l.Has&limiter.FieldSchedule != 0, l.Extra.Schedule)
	textAsRead(e, e.name(bucketAttr(l.Name, "rsched")), l.Has&limiter.FieldResetSchedule != 0, l.Extra.ResetSchedule)
}

// pinItem does so for what all limits of an item share.
func pinItem(e *expression, b *limiter.Bucket) {
	shardCountAsRead(e, b.ShardCount)
	if b.HasVU {
		e.require("vu = " + e.value(number(b.VU)))
	} else {
		e.require("attribute_not_exists(vu)")
	}
	textAsRead(e, "sched", b.Schedule != "", b.Schedule)
	textAsRead(e, "rsched", b.ResetSchedule != "", b.ResetSchedule)
}

// textAsRead requires a text to be what it was; attr is as it stands in the expression.
func textAsRead(e *expression, attr string, present bool, text string) {
	if present {
		e.require(attr + " = " + e.value(str(text)))
	} else {
		e.require("attribute_not_exists(" + attr + ")")
	}
}

// pinPeriod requires the period of a quota to be the one that was charged.
func pinPeriod(e *expression, c *limiter.Change) {
	switch c.Period.Kind {
	case limiter.CalendarPeriod:
		if c.Period.Before > 0 {
			e.require("rf < " + e.value(number(c.Period.Before)))
		}
		asRead(e, c.Limit, "rn", c.State.Has&limiter.FieldResets != 0, c.State.Rare().Resets)
	case limiter.SessionPeriod:
		asRead(e, c.Limit, "ws", c.State.Has&limiter.FieldWindowStart != 0, c.State.Rare().WindowStart)
		asRead(e, c.Limit, "wa", c.State.Has&limiter.FieldWindowApplied != 0, c.State.Rare().WindowApplied)
	}
}

// conflictRetries is how often a write that another transaction held up is sent again.
const conflictRetries = 3

// retryConflicts repeats a call while another transaction holds its item, after a random part of 25,
// 50 and 100 ms. Only for calls of which a second application does no harm: the limiter itself
// decides about the others.
func retryConflicts(ctx context.Context, call func() error) error {
	for attempt := 0; ; attempt++ {
		err := call()
		if err == nil || attempt == conflictRetries || !isConflict(err) {
			return err
		}
		if err := pause(ctx, rand.N(25*time.Millisecond<<attempt)); err != nil {
			return err
		}
	}
}

// Ping implements limiter.AdminStore.
func (s *Store) Ping(ctx context.Context) error {
	_, err := s.t.api.GetItem(ctx, &dynamodb.GetItemInput{
		TableName: s.t.tableN, Key: key(systemPK(systemNamespace), skVersion),
	})
	return wrap("ping", s.t.name, err)
}
