package dynamostore

import (
	"context"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// readSlot is one place of a ReadOutput and the item that fills it.
type readSlot struct {
	pk, sk string
	fill   func(it item) error
}

// Read implements limiter.Store. What it asks for and is not there comes back as zero.
func (s *Store) Read(ctx context.Context, in *limiter.ReadInput, out *limiter.ReadOutput) error {
	slots := s.readSlots(in, out)
	items, err := s.t.batchGet(ctx, distinctKeys(slots), in.Consistent)
	if err != nil {
		return wrapAcquire("read", readSubject(in), err)
	}
	for _, it := range items {
		pk, sk := stringOf(it, attrPK), stringOf(it, attrSK)
		for i := range slots {
			if slots[i].pk != pk || slots[i].sk != sk {
				continue
			}
			if err := slots[i].fill(it); err != nil {
				return wrapAcquire("read", pk+" "+sk, err)
			}
		}
	}
	return nil
}

// readSlots resets the output and lists what has to be read for it.
func (s *Store) readSlots(in *limiter.ReadInput, out *limiter.ReadOutput) []readSlot {
	out.Resource, out.System = limiter.Config{}, limiter.Config{}
	if cap(out.Entities) < len(in.Entities) {
		out.Entities = make([]limiter.EntityState, len(in.Entities))
	}
	out.Entities = out.Entities[:len(in.Entities)]
	slots := make([]readSlot, 0, 4*len(in.Entities)+2)
	config := func(pk, sk string, into *limiter.Config) {
		slots = append(slots, readSlot{pk, sk, func(it item) error { return decodeConfig(it, into) }})
	}
	for i, want := range in.Entities {
		state := &out.Entities[i]
		*state = limiter.EntityState{Bucket: limiter.Bucket{
			Shard: want.Shard, Resource: in.Resource, Limits: state.Bucket.Limits[:0],
		}}
		pk := entityPK(s.ns, want.EntityID)
		if want.Meta {
			slots = append(slots, readSlot{pk, skMeta, func(it item) error { return decodeMeta(it, &state.Meta) }})
		}
		if want.Bucket {
			k := limiter.BucketKey{EntityID: want.EntityID, Resource: in.Resource, Shard: want.Shard}
			slots = append(slots, readSlot{bucketPK(s.ns, k.EntityID, k.Resource, k.Shard), skState,
				func(it item) error { return decodeBucket(it, k, &state.Bucket) }})
		}
		if want.Config {
			config(pk, skEntityConfigPrefix+in.Resource, &state.Own)
			config(pk, skEntityConfigPrefix+limiter.DefaultResource, &state.Default)
		}
	}
	if in.ResourceConfig {
		config(resourcePK(s.ns, in.Resource), skConfig, &out.Resource)
	}
	if in.SystemConfig {
		config(systemPK(s.ns), skConfig, &out.System)
	}
	return slots
}

// distinctKeys lists each key once, as the service demands: two slots may want the same item.
func distinctKeys(slots []readSlot) []map[string]types.AttributeValue {
	keys := make([]map[string]types.AttributeValue, 0, len(slots))
next:
	for i := range slots {
		for j := range i {
			if slots[j].pk == slots[i].pk && slots[j].sk == slots[i].sk {
				continue next
			}
		}
		keys = append(keys, key(slots[i].pk, slots[i].sk))
	}
	return keys
}

func readSubject(in *limiter.ReadInput) string {
	if len(in.Entities) == 0 {
		return in.Resource
	}
	return in.Entities[0].EntityID + "/" + in.Resource
}

// consistency is the ConsistentRead of a request: absent unless it is asked for.
func consistency(consistent bool) *bool {
	if !consistent {
		return nil
	}
	return aws.Bool(true)
}
