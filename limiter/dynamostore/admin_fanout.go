package dynamostore

import (
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// BucketKeys implements limiter.AdminStore.
func (s *Store) BucketKeys(ctx context.Context, entityID, resource string) ([]limiter.BucketKey, error) {
	in := s.bucketQuery(entityID, resource)
	in.ProjectionExpression = aws.String("PK, SK")
	items, err := s.t.queryAll(ctx, in)
	if err != nil {
		return nil, wrap("discover", "buckets", err)
	}
	keys := make([]limiter.BucketKey, 0, len(items))
	for _, it := range items {
		// Keys of another shape are not this client's to touch.
		k, ok := parseBucketPK(s.ns, stringOf(it, attrPK))
		if ok && stringOf(it, attrSK) == skState && (resource == "" || k.Resource == resource) {
			keys = append(keys, k)
		}
	}
	return keys, nil
}

// bucketQuery asks the index that lists the buckets of an entity, of a resource, or of the namespace.
func (s *Store) bucketQuery(entityID, resource string) *dynamodb.QueryInput {
	index, pk, prefix := indexNamespace, s.ns, "BUCKET#"
	switch {
	case entityID != "":
		index, pk = indexEntities, entityPK(s.ns, entityID)
		if resource != "" {
			prefix += resource + "#"
		}
	case resource != "":
		index, pk = indexResources, resourcePK(s.ns, resource)
	}
	return &dynamodb.QueryInput{
		IndexName:                 aws.String(index),
		KeyConditionExpression:    aws.String(index + "PK = :p AND begins_with(" + index + "SK, :s)"),
		ExpressionAttributeValues: item{":p": str(pk), ":s": str(prefix)},
	}
}

// ResourceBuckets implements limiter.AdminStore.
func (s *Store) ResourceBuckets(ctx context.Context, resource string) ([]limiter.OwnedBucket, error) {
	items, err := s.t.queryAll(ctx, s.bucketQuery("", resource))
	if err != nil {
		return nil, wrap("buckets of", resource, err)
	}
	buckets := make([]limiter.OwnedBucket, 0, len(items))
	for _, it := range items {
		k, ok := parseBucketPK(s.ns, stringOf(it, attrPK))
		if !ok || stringOf(it, attrSK) != skState {
			continue
		}
		b := limiter.OwnedBucket{EntityID: k.EntityID}
		if err := decodeBucket(it, k, &b.Bucket); err != nil {
			return nil, wrap("buckets of", resource, err)
		}
		buckets = append(buckets, b)
	}
	return buckets, nil
}

// SyncParameters implements limiter.AdminStore.
func (s *Store) SyncParameters(ctx context.Context, in limiter.SyncInput) (bool, error) {
	var e expression
	e.require("attribute_exists(PK)")
	schedules := encodeSchedules(in.Limits)
	for i, l := range in.Limits {
		setOrRemove := func(field string, set bool, n int64) {
			name := e.name(bucketAttr(l.Name, field))
			if set {
				e.set(name, number(n))
			} else {
				e.remove(name)
			}
		}
		e.set(e.name(bucketAttr(l.Name, "cp")), number(l.Capacity*1000))
		e.set(e.name(bucketAttr(l.Name, "ra")), number(l.RefillAmount*1000))
		e.set(e.name(bucketAttr(l.Name, "rp")), number(l.RefillPeriod.Milliseconds()))
		setOrRemove("rsa", l.ResetAfter > 0, int64(l.ResetAfter.Seconds()))
		setOrRemove("soft", l.Soft, in.SoftUntil)
		e.setText(e.name(bucketAttr(l.Name, "sched")), schedules.own[i].parameters)
		e.setText(e.name(bucketAttr(l.Name, "rsched")), schedules.own[i].resets)
	}
	for _, name := range in.Stale {
		for _, field := range [...]string{"tk", "cp", "ra", "rp", "tc", "sched", "rsched", "soft"} {
			e.remove(e.name(bucketAttr(name, field)))
		}
	}
	e.setText("sched", schedules.item.parameters)
	e.setText("rsched", schedules.item.resets)
	e.setText("sched_tz", schedules.zone)
	e.set("vu", number(0))
	switch in.TTL {
	case limiter.TTLSet:
		e.set(e.name(ttlAttribute), number(in.TTLValue))
	case limiter.TTLRemove:
		e.remove(e.name(ttlAttribute))
	}
	return s.followConfig(ctx, "synchronise", in.Key, &e)
}

// setText sets an attribute, or removes it when the text is empty.
func (e *expression) setText(attr, text string) {
	if text == "" {
		e.remove(attr)
	} else {
		e.set(attr, str(text))
	}
}

// itemSchedules are schedules as a bucket item holds them: those of the first limit that has any, and on
// each limit what differs from it.
type itemSchedules struct {
	zone string
	item schedulePair
	own  []schedulePair // parallel to the limits; "" = the item's, "-" = none
}

type schedulePair struct{ parameters, resets string }

func encodeSchedules(limits []limiter.Limit) itemSchedules {
	out := itemSchedules{own: make([]schedulePair, len(limits))}
	for _, l := range limits {
		if out.item.parameters == "" {
			out.item.parameters = l.Schedule
		}
		if out.item.resets == "" {
			out.item.resets = l.ResetSchedule
		}
		if (l.Schedule != "" || l.ResetSchedule != "") && out.zone == "" {
			out.zone = l.Zone
			if out.zone == "" {
				out.zone = "UTC"
			}
		}
	}
	own := func(text, item string) string {
		switch text {
		case item:
			return ""
		case "":
			return "-"
		}
		return text
	}
	for i, l := range limits {
		out.own[i] = schedulePair{own(l.Schedule, out.item.parameters), own(l.ResetSchedule, out.item.resets)}
	}
	return out
}

// Stamp implements limiter.AdminStore.
func (s *Store) Stamp(ctx context.Context, in limiter.StampInput) (bool, error) {
	var e expression
	e.require("attribute_exists(PK)")
	switch in.Access {
	case limiter.On:
		e.set("disabled", boolean(true))
		e.remove("bypass")
	case limiter.Off:
		e.remove("disabled", "bypass")
	case limiter.Bypassed:
		e.set("bypass", number(in.Until))
		e.remove("disabled")
	}
	for _, name := range slices.Sorted(maps.Keys(in.Soft)) {
		attr := e.name(bucketAttr(name, "soft"))
		if in.Soft[name] {
			e.set(attr, number(in.Until))
		} else {
			e.remove(attr)
		}
	}
	if in.Owner != nil {
		s.stampOwner(&e, in)
	}
	return s.followConfig(ctx, "stamp", in.Key, &e)
}

// stampOwner never replaces the stamp of a later move of the same incarnation.
func (s *Store) stampOwner(e *expression, in limiter.StampInput) {
	cascade := e.name("cascade") // a reserved word
	e.set(cascade, boolean(in.Cascade))
	e.setText("parent_id", in.ParentID)
	generation, incarnation := e.value(number(in.Owner.Generation)), e.value(str(in.Owner.Incarnation()))
	e.sets = append(e.sets, "pgen = "+generation, "pinc = "+incarnation)
	e.require("(attribute_not_exists(pinc) OR pinc <> " + incarnation + " OR attribute_not_exists(pgen) OR pgen <= " + generation + ")")
}

// followConfig writes one bucket of a fan-out; one that is gone, or is ahead, is left alone.
func (s *Store) followConfig(ctx context.Context, operation string, k limiter.BucketKey, e *expression) (bool, error) {
	update := s.update(s.bucketKey(k), e)
	update.ReturnValuesOnConditionCheckFailure = ""
	err := retryConflicts(ctx, func() error {
		_, err := s.t.api.UpdateItem(ctx, update)
		return err
	})
	if isConditionFailed(err) {
		return false, nil
	}
	return err == nil, wrap(operation, fmt.Sprintf("%s/%s shard %d", k.EntityID, k.Resource, k.Shard), err)
}
