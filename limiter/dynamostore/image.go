package dynamostore

import (
	"fmt"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// decodeBucket reads a bucket item into out, whose slice of limits it reuses. No item (nil or empty)
// gives an image that does not exist. Attributes that the limiter does not know are passed over; a
// number that is not an integer is an error, as it is for every client of the table.
func decodeBucket(it item, k limiter.BucketKey, out *limiter.Bucket) error {
	*out = limiter.Bucket{Shard: k.Shard, Resource: k.Resource, Limits: out.Limits[:0]}
	if len(it) == 0 {
		return nil
	}
	out.Exists = true
	for name, v := range it {
		var err error
		if rest, isLimit := strings.CutPrefix(name, "b_"); isLimit {
			err = decodeLimitAttr(out, rest, v)
		} else {
			err = decodeBucketAttr(out, name, v)
		}
		if err != nil {
			return fmt.Errorf("bucket attribute %s: %w", name, err)
		}
	}
	dropUnbacked(out)
	return nil
}

func decodeBucketAttr(out *limiter.Bucket, name string, v types.AttributeValue) (err error) {
	switch name {
	case "rf":
		out.HasRF = true
		out.RF, err = parseInt(v)
	case "vu":
		out.HasVU = true
		out.VU, err = parseInt(v)
	case ttlAttribute:
		out.HasTTL = true
		out.TTL, err = parseInt(v)
	case "shard_count":
		var n int64
		n, err = parseInt(v)
		out.ShardCount = int(n)
	case "disabled":
		// The condition of the fast path asks for absence: any value but false closes the bucket.
		b, ok := v.(*types.AttributeValueMemberBOOL)
		out.Disabled = !ok || b.Value
	case "cascade":
		if b, ok := v.(*types.AttributeValueMemberBOOL); ok {
			out.Cascade = b.Value
		}
	case "parent_id":
		if s, ok := v.(*types.AttributeValueMemberS); ok {
			out.ParentID = strings.Clone(s.Value)
		}
	case "pgen":
		out.HasPGen = true
		out.PGen, err = parseInt(v)
	case "pinc":
		if s, ok := v.(*types.AttributeValueMemberS); ok {
			out.PInc = strings.Clone(s.Value)
		}
	case "sched":
		out.Features |= limiter.FeatureSchedule
	case "rsched":
		out.Features |= limiter.FeatureQuota
	case "bypass":
		out.Features |= limiter.FeatureBypass
	}
	return err
}

// decodeLimitAttr reads an attribute b_{name}_{field}; the field follows the last underscore, since
// names may hold some themselves.
func decodeLimitAttr(out *limiter.Bucket, rest string, v types.AttributeValue) (err error) {
	cut := strings.LastIndexByte(rest, '_')
	if cut <= 0 {
		return nil
	}
	name, field := rest[:cut], rest[cut+1:]
	switch field {
	case "tk":
		l := limitState(out, name)
		l.Has |= limiter.FieldTokens
		l.Tokens, err = parseInt(v)
	case "cp":
		l := limitState(out, name)
		l.Has |= limiter.FieldCapacity
		l.Capacity, err = parseInt(v)
	case "ra":
		l := limitState(out, name)
		l.Has |= limiter.FieldRefill
		l.Refill, err = parseInt(v)
		if err == nil && l.Refill == 0 {
			l.Features |= limiter.FeatureQuota
		}
	case "rp":
		l := limitState(out, name)
		l.Has |= limiter.FieldPeriod
		l.Period, err = parseInt(v)
	case "tc":
		l := limitState(out, name)
		l.Has |= limiter.FieldCounter
		l.Counter, err = parseInt(v)
	default:
		if f := limitFeature(field, v); f != 0 {
			limitState(out, name).Features |= f
		}
	}
	return err
}

// limitFeature says which feature a limit's attribute shows. A schedule of "-" means explicitly none.
func limitFeature(field string, v types.AttributeValue) limiter.Features {
	switch field {
	case "sched", "rsched":
		if s, ok := v.(*types.AttributeValueMemberS); ok && s.Value == noSchedule {
			return 0
		}
		if field == "sched" {
			return limiter.FeatureSchedule
		}
		return limiter.FeatureQuota
	case "gc", "tu", "rn":
		return limiter.FeatureQuota
	case "rsa", "ws", "wa", "wtc":
		return limiter.FeatureSessionQuota
	case "soft":
		return limiter.FeatureSoft
	}
	return 0
}

// noSchedule is the own schedule of a limit that explicitly has none.
const noSchedule = "-"

// limitState finds or inserts the state of a limit, in the order of names. The pointer is valid
// until the next call.
func limitState(out *limiter.Bucket, name string) *limiter.LimitState {
	at := 0
	for at < len(out.Limits) && out.Limits[at].Name < name {
		at++
	}
	if at < len(out.Limits) && out.Limits[at].Name == name {
		return &out.Limits[at]
	}
	if out.Limits == nil {
		out.Limits = make([]limiter.LimitState, 0, 4)
	}
	out.Limits = append(out.Limits, limiter.LimitState{})
	copy(out.Limits[at+1:], out.Limits[at:])
	// The name is a part of the whole reply, which an image that is kept must not keep too.
	if name == limiter.WCU { // every bucket has it
		name = limiter.WCU
	} else {
		name = strings.Clone(name)
	}
	out.Limits[at] = limiter.LimitState{Name: name}
	return &out.Limits[at]
}

// dropUnbacked collects the features of all limits on the item, and removes limits of which nothing
// but a feature's attribute is there.
func dropUnbacked(out *limiter.Bucket) {
	kept := out.Limits[:0]
	for _, l := range out.Limits {
		out.Features |= l.Features
		if l.Has != 0 {
			kept = append(kept, l)
		}
	}
	out.Limits = kept
}
