package dynamostore

import (
	"context"
	"errors"
	"sort"
	"strings"

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
	err = retryConflicts(ctx, func() error {
		_, err := s.t.api.PutItem(ctx, &dynamodb.PutItemInput{
			TableName: s.t.tableN, Item: it, ConditionExpression: aws.String(conditionAbsent),
			ReturnValuesOnConditionCheckFailure: types.ReturnValuesOnConditionCheckFailureAllOld,
		})
		return err
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
func (s *Store) Entity(ctx context.Context, id string, consistent bool) (limiter.Meta, error) {
	it, err := s.t.getItem(ctx, entityPK(s.ns, id), skMeta, consistent)
	if err != nil {
		return limiter.Meta{}, wrap("entity", id, err)
	}
	return metaWithMetadata(it)
}

// SetParent implements limiter.AdminStore.
func (s *Store) SetParent(ctx context.Context, id, parentID string) (limiter.Meta, error) {
	var e expression
	e.require("attribute_exists(PK)")
	if parentID == "" {
		e.set("parent_id", null())
		e.remove("GSI1PK", "GSI1SK")
	} else {
		e.set("parent_id", str(parentID))
		e.set("GSI1PK", str(parentPK(s.ns, parentID)))
		e.set("GSI1SK", str("CHILD#"+id))
	}
	e.add("pgen", number(1))
	in := s.update(key(entityPK(s.ns, id), skMeta), &e)
	in.ReturnValues = types.ReturnValueAllOld
	var out *dynamodb.UpdateItemOutput
	err := retryConflicts(ctx, func() (err error) {
		out, err = s.t.api.UpdateItem(ctx, in)
		return err
	})
	if isConditionFailed(err) {
		return limiter.Meta{}, limiter.ErrEntityNotFound
	}
	if err != nil {
		return limiter.Meta{}, wrap("move", id, err)
	}
	return metaWithMetadata(out.Attributes)
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
	sort.Slice(children, func(i, j int) bool { return children[i].EntityID < children[j].EntityID })
	return children, nil
}

// DeleteEntity implements limiter.AdminStore. The entity goes last: interrupted, the call can be
// repeated, and nothing is left that an entity of the same name would find.
func (s *Store) DeleteEntity(ctx context.Context, id string) (deleted int, err error) {
	owned, err := s.t.queryAll(ctx, &dynamodb.QueryInput{
		KeyConditionExpression:    aws.String("PK = :p"),
		ExpressionAttributeValues: item{":p": str(entityPK(s.ns, id))},
	})
	if err != nil {
		return 0, wrap("delete entity", id, err)
	}
	buckets, err := s.BucketKeys(ctx, id, "")
	if err != nil {
		return 0, wrap("delete entity", id, err)
	}
	operations, err := s.operationRecords(ctx, id, buckets)
	if err != nil {
		return 0, wrap("delete entity", id, err)
	}
	bucketItems := make([]item, len(buckets))
	for i, k := range buckets {
		bucketItems[i] = s.bucketKey(k)
	}
	for _, items := range [...][]item{operations, bucketItems} {
		if err := s.t.deleteAll(ctx, items); err != nil {
			return deleted, wrap("delete entity", id, err)
		}
		deleted += len(items)
	}
	more, err := s.deleteOwned(ctx, id, owned)
	return deleted + more, wrap("delete entity", id, err)
}

// deleteOwned deletes what stands under the entity's own key: configs with their registry entries,
// then the rest, then META.
func (s *Store) deleteOwned(ctx context.Context, id string, owned []item) (deleted int, err error) {
	var rest, meta []item
	for _, it := range owned {
		sk := stringOf(it, attrSK)
		resource, isConfig := strings.CutPrefix(sk, skEntityConfigPrefix)
		switch {
		case isConfig:
			if _, err := s.DeleteConfig(ctx, limiter.ConfigKey{EntityID: id, Resource: resource}); err != nil {
				return deleted, err
			}
			deleted++
		case sk == skMeta:
			meta = append(meta, it)
		default:
			rest = append(rest, it)
		}
	}
	for _, items := range [...][]item{rest, meta} {
		if err := s.t.deleteAll(ctx, items); err != nil {
			return deleted, err
		}
		deleted += len(items)
	}
	return deleted, nil
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
	sort.Slice(buckets, func(i, j int) bool { return buckets[i].Shard < buckets[j].Shard })
	return buckets, nil
}
