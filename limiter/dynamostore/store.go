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
		return 0, false, wrap("double", entityID+"/"+resource, err)
	}
	if len(old) == 0 {
		return 0, false, nil
	}
	stored, ok, err := intOf(old, "shard_count")
	if err != nil {
		return 0, false, wrap("double", entityID+"/"+resource, err)
	}
	if !ok {
		stored = 1
	}
	return int(stored), false, nil
}

// StampShardCount implements limiter.Store.
func (s *Store) StampShardCount(ctx context.Context, k limiter.BucketKey, count int) error {
	var e expression
	e.set("shard_count", number(int64(count)))
	e.require("attribute_exists(PK)", "(attribute_not_exists(shard_count) OR shard_count < "+e.value(number(int64(count)))+")")
	in := s.update(s.bucketKey(k), &e)
	err := retryConflicts(ctx, func() error {
		_, err := s.t.api.UpdateItem(ctx, in)
		return err
	})
	if err == nil || isConditionFailed(err) {
		return nil
	}
	return wrap("stamp shard count of", k.EntityID+"/"+k.Resource, err)
}

// Adjust implements limiter.Store.
func (s *Store) Adjust(ctx context.Context, in *limiter.AdjustInput) (limiter.AdjustOutput, error) {
	var e expression
	e.require("attribute_exists(PK)")
	credited := false
	for _, c := range in.Changes {
		tk := e.name(bucketAttr(c.Limit, "tk"))
		e.add(tk, number(-c.Delta))
		e.add(e.name(bucketAttr(c.Limit, "tc")), number(c.Delta))
		if in.Checked && c.Delta < 0 {
			credited = true
			e.require(tk+" <= "+e.value(number(c.Ceiling+c.Delta)),
				e.name(bucketAttr(c.Limit, "cp"))+" = "+e.value(number(c.Capacity)))
		}
	}
	if credited {
		count := "shard_count = " + e.value(number(int64(in.ShardCount)))
		if in.ShardCount <= 1 {
			count = "(" + count + " OR attribute_not_exists(shard_count))"
		}
		e.require(count, "attribute_not_exists(vu)", "attribute_not_exists(sched)", "attribute_not_exists(rsched)")
	}
	if in.ForceSlow {
		e.set("vu", number(0))
	}
	_, err := s.t.api.UpdateItem(ctx, s.update(s.bucketKey(in.Key), &e), s.t.writeOnce...)
	if err == nil {
		return limiter.AdjustOutput{Outcome: limiter.Done}, nil
	}
	if old, refused := failedImage(err); refused {
		return limiter.AdjustOutput{Outcome: limiter.Refused, Missing: len(old) == 0}, nil
	}
	if isConflict(err) {
		return limiter.AdjustOutput{Outcome: limiter.Conflict}, nil
	}
	return limiter.AdjustOutput{}, wrap("adjust", in.Key.EntityID+"/"+in.Key.Resource, err)
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
