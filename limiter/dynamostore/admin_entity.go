package dynamostore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// PutEntity implements limiter.AdminStore.
func (s *Store) PutEntity(ctx context.Context, m limiter.Meta) error {
	it, err := s.metaItem(m)
	if err != nil {
		return wrap("create entity", m.EntityID, err)
	}
	_, err = s.t.api.PutItem(ctx, &dynamodb.PutItemInput{
		TableName: s.t.tableN, Item: it, ConditionExpression: aws.String(conditionAbsent),
		ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
	})
	if old, refused := failedImage(err); refused {
		// The SDK repeats a request whose reply was lost: the entity that is there may be this one.
		if m.PInc != "" && stringOf(old, "pinc") == m.PInc {
			return nil
		}
		return wrap("create entity", m.EntityID, limiter.ErrEntityExists)
	}
	return wrap("create entity", m.EntityID, err)
}

// Entity implements limiter.AdminStore.
func (s *Store) Entity(ctx context.Context, id string) (limiter.Meta, error) {
	it, err := s.t.getItem(ctx, entityPK(s.ns, id), skMeta, false)
	if err != nil {
		return limiter.Meta{}, wrap("entity", id, err)
	}
	return metaWithMetadata(it)
}

func metaWithMetadata(it item) (limiter.Meta, error) {
	var m limiter.Meta
	if err := decodeMeta(it, &m); err != nil {
		return limiter.Meta{}, wrap("entity", stringOf(it, "entity_id"), err)
	}
	if m.Found {
		m.Metadata = decodeMap(it["metadata"])
	}
	return m, nil
}

// Children implements limiter.AdminStore.
func (s *Store) Children(ctx context.Context, id string) ([]limiter.Meta, error) {
	items, err := s.t.queryAll(ctx, &dynamodb.QueryInput{
		IndexName:                 aws.String(indexParents),
		KeyConditionExpression:    aws.String("GSI1PK = :p"),
		ExpressionAttributeValues: item{":p": str(parentPK(s.ns, id))},
	})
	if err != nil {
		return nil, wrap("children of", id, err)
	}
	children := make([]limiter.Meta, 0, len(items))
	for _, it := range items {
		m, err := metaWithMetadata(it)
		if err != nil {
			return nil, err
		}
		children = append(children, m)
	}
	slices.SortFunc(children, func(a, b limiter.Meta) int { return strings.Compare(a.EntityID, b.EntityID) })
	return children, nil
}

// DeleteEntity implements limiter.AdminStore. The entity goes last: interrupted, the call can be
// repeated, and nothing is left that an entity of the same name would find.
func (s *Store) DeleteEntity(ctx context.Context, id string) error {
	owned, err := s.t.queryAll(ctx, &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("PK = :p"),
		ExpressionAttributeValues: item{":p": str(entityPK(s.ns, id))},
	})
	if err != nil {
		return wrap("delete entity", id, err)
	}
	buckets, err := s.BucketKeys(ctx, id, "")
	if err != nil {
		return wrap("delete entity", id, err)
	}
	operations, err := s.operationRecords(ctx, id, buckets)
	if err != nil {
		return wrap("delete entity", id, err)
	}
	if err := s.t.deleteAll(ctx, operations); err != nil {
		return wrap("delete entity", id, err)
	}
	bucketItems := make([]item, len(buckets))
	for i, k := range buckets {
		bucketItems[i] = s.bucketKey(k)
	}
	if err := s.t.deleteAll(ctx, bucketItems); err != nil {
		return wrap("delete entity", id, err)
	}
	return wrap("delete entity", id, s.deleteOwned(ctx, id, owned))
}

// deleteOwned deletes what stands under the entity's own key: configs with their registry entries,
// then the rest, then META.
func (s *Store) deleteOwned(ctx context.Context, id string, owned []item) error {
	var rest, meta []item
	for _, it := range owned {
		sk := stringOf(it, attrSK)
		resource, isConfig := strings.CutPrefix(sk, skEntityConfigPrefix)
		switch {
		case isConfig:
			if _, err := s.DeleteConfig(ctx, limiter.ConfigKey{EntityID: id, Resource: resource}); err != nil {
				return err
			}
		case sk == skMeta:
			meta = append(meta, it)
		default:
			rest = append(rest, it)
		}
	}
	if err := s.t.deleteAll(ctx, rest); err != nil {
		return err
	}
	return s.t.deleteAll(ctx, meta)
}

// operationRecords finds the records of resets and top-ups, which lie beside the buckets of shard 0.
func (s *Store) operationRecords(ctx context.Context, id string, buckets []limiter.BucketKey) ([]item, error) {
	var records []item
	seen := map[string]bool{}
	for _, k := range buckets {
		if seen[k.Resource] {
			continue
		}
		seen[k.Resource] = true
		found, err := s.t.queryAll(ctx, &dynamodb.QueryInput{
			KeyConditionExpression: aws.String("PK = :p AND begins_with(SK, :s)"),
			ExpressionAttributeValues: item{
				":p": str(bucketPK(s.ns, id, k.Resource, 0)), ":s": str(skOperationPrefix),
			},
		})
		if err != nil {
			return nil, err
		}
		records = append(records, found...)
	}
	return records, nil
}

// BucketKeys implements limiter.AdminStore.
func (s *Store) BucketKeys(ctx context.Context, entityID, resource string) ([]limiter.BucketKey, error) {
	prefix := "BUCKET#"
	if resource != "" {
		prefix += resource + "#"
	}
	items, err := s.t.queryAll(ctx, &dynamodb.QueryInput{
		IndexName:                 aws.String(indexEntities),
		KeyConditionExpression:    aws.String("GSI3PK = :p AND begins_with(GSI3SK, :s)"),
		ExpressionAttributeValues: item{":p": str(entityPK(s.ns, entityID)), ":s": str(prefix)},
	})
	if err != nil {
		return nil, wrap("buckets of", entityID, err)
	}
	keys := make([]limiter.BucketKey, 0, len(items))
	for _, it := range items {
		// Keys of another shape are not this client's to touch.
		if k, ok := parseBucketPK(s.ns, stringOf(it, attrPK)); ok && stringOf(it, attrSK) == skState {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// Buckets implements limiter.AdminStore.
func (s *Store) Buckets(ctx context.Context, entityID, resource string) ([]limiter.Bucket, error) {
	found, err := s.BucketKeys(ctx, entityID, resource)
	if err != nil || len(found) == 0 {
		return nil, err
	}
	keys := make([]map[string]types.AttributeValue, len(found))
	for i, k := range found {
		keys[i] = s.bucketKey(k)
	}
	items, err := s.t.batchGet(ctx, keys, false)
	if err != nil {
		return nil, wrap("buckets of", entityID, err)
	}
	buckets := make([]limiter.Bucket, 0, len(items))
	for _, it := range items {
		k, ok := parseBucketPK(s.ns, stringOf(it, attrPK))
		if !ok {
			return nil, wrap("buckets of", entityID, errors.New("an answer without its key"))
		}
		var b limiter.Bucket
		if err := decodeBucket(it, k, &b); err != nil {
			return nil, wrap("buckets of", entityID, err)
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b limiter.Bucket) int { return a.Shard - b.Shard })
	return buckets, nil
}

// syncSchedules writes one kind of schedule: the first becomes the item's, and limits that differ from it
// have their own. It returns the limit that has the first, nil when none has any.
func syncSchedules(e *expression, limits []limiter.Limit, attr string, of func(*limiter.Limit) string) (first *limiter.Limit) {
	for i := range limits {
		if of(&limits[i]) != "" {
			first = &limits[i]
			break
		}
	}
	if first == nil {
		e.remove(attr)
	} else {
		e.set(attr, str(of(first)))
	}
	for i := range limits {
		l := &limits[i]
		own := e.name(bucketAttr(l.Name, attr))
		if first == nil || of(l) == of(first) {
			e.remove(own)
		} else {
			e.set(own, str(cmp.Or(of(l), limiter.NoSchedule)))
		}
	}
	return first
}

// SyncParameters implements limiter.AdminStore.
func (s *Store) SyncParameters(ctx context.Context, in limiter.SyncInput) error {
	var e expression
	e.require("attribute_exists(PK)")
	parameters := syncSchedules(&e, in.Limits, "sched", func(l *limiter.Limit) string { return l.Schedule })
	resets := syncSchedules(&e, in.Limits, "rsched", func(l *limiter.Limit) string { return l.ResetSchedule })
	if l := cmp.Or(parameters, resets); l != nil {
		e.set("sched_tz", str(cmp.Or(l.Zone, utc)))
	} else {
		e.remove("sched_tz")
	}
	for i := range in.Limits {
		l := &in.Limits[i]
		attr := func(field string) string { return e.name(bucketAttr(l.Name, field)) }
		e.set(attr("cp"), number(l.Capacity*1000))
		e.set(attr("ra"), number(l.RefillAmount*1000))
		e.set(attr("rp"), number(l.RefillPeriod.Milliseconds()))
		if l.ResetAfter > 0 {
			e.set(attr("rsa"), number(int64(l.ResetAfter/time.Second)))
		} else {
			e.remove(attr("rsa"))
		}
		if l.Soft {
			e.set(attr("soft"), number(in.SoftUntil))
		} else {
			e.remove(attr("soft"))
		}
	}
	for _, name := range in.Stale {
		for _, field := range [...]string{"tk", "cp", "ra", "rp", "tc", "sched", "rsched", "soft"} {
			e.remove(e.name(bucketAttr(name, field)))
		}
	}
	e.set("vu", number(0))
	switch in.TTL {
	case limiter.TTLSet:
		e.set(e.name(ttlAttribute), number(in.TTLValue))
	case limiter.TTLRemove:
		e.remove(e.name(ttlAttribute))
	}
	update := s.update(s.bucketKey(in.Key), &e)
	update.ReturnValuesOnConditionCheckFailure = ""
	err := retryConflicts(ctx, func() error {
		_, err := s.t.api.UpdateItem(ctx, update)
		return err
	})
	if isConditionFailed(err) {
		return nil
	}
	return wrap("synchronise", fmt.Sprintf("%s/%s shard %d", in.Key.EntityID, in.Key.Resource, in.Key.Shard), err)
}
