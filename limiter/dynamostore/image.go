package dynamostore

import (
	"errors"
	"fmt"
	"strconv"
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
		out.TTL, err = parseExpiry(v)
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
		out.Schedule = textOf(v)
	case "rsched":
		out.ResetSchedule = textOf(v)
	case "sched_tz":
		if out.Zone = textOf(v); out.Zone == utc {
			out.Zone = ""
		}
	case "bypass":
		out.HasBypass = true
		out.Bypass = deadlineOf(v)
	}
	return err
}

// parseExpiry reads a ttl. Clients without bounds for numbers write one beyond 64 bits for a limit that
// takes that long to recover; it is as far away as the largest one.
func parseExpiry(v types.AttributeValue) (int64, error) {
	if n, ok := v.(*types.AttributeValueMemberN); ok {
		if seconds, err := strconv.ParseInt(n.Value, 10, 64); errors.Is(err, strconv.ErrRange) {
			return seconds, nil
		}
	}
	return parseInt(v)
}

// textOf is the text of an attribute that an image keeps, without the reply that it is a part of. A
// schedule of another type cannot be decoded, and must not read as none.
func textOf(v types.AttributeValue) string {
	if s, ok := v.(*types.AttributeValueMemberS); ok {
		return strings.Clone(s.Value)
	}
	return "?"
}

// deadlineOf is the deadline of a stamp. What is no number, such as the true of older stamps, has
// passed: the fast path's comparison with it is false.
func deadlineOf(v types.AttributeValue) int64 {
	n, err := parseInt(v)
	if err != nil {
		return 0
	}
	return n
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
	case "rp":
		l := limitState(out, name)
		l.Has |= limiter.FieldPeriod
		l.Period, err = parseInt(v)
	case "tc":
		l := limitState(out, name)
		l.Has |= limiter.FieldCounter
		l.Counter, err = parseInt(v)
	case "sched":
		rare(out, name, limiter.FieldSchedule).Schedule = textOf(v)
	case "rsched":
		rare(out, name, limiter.FieldResetSchedule).ResetSchedule = textOf(v)
	case "gc":
		rare(out, name, limiter.FieldGrants).Grants, err = parseInt(v)
	case "rsa":
		rare(out, name, limiter.FieldWindow).Window, err = parseInt(v)
	case "ws":
		rare(out, name, limiter.FieldWindowStart).WindowStart, err = parseInt(v)
	case "wa":
		rare(out, name, limiter.FieldWindowApplied).WindowApplied, err = parseInt(v)
	case "wtc":
		rare(out, name, limiter.FieldWindowCounter).WindowCounter, err = parseInt(v)
	case "soft":
		rare(out, name, limiter.FieldSoft).Soft = deadlineOf(v)
	case "tu":
		rare(out, name, limiter.FieldTopUp).TopUp, err = parseInt(v)
	case "rn":
		rare(out, name, limiter.FieldResets).Resets, err = parseInt(v)
	}
	return err
}

// rare notes that a limit has an attribute that plain limits have not, and returns where it goes.
func rare(out *limiter.Bucket, name string, field limiter.Fields) *limiter.Extra {
	l := limitState(out, name)
	l.Has |= field
	if l.Extra == nil {
		l.Extra = &limiter.Extra{}
	}
	return l.Extra
}

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

// dropUnbacked removes limits of which nothing but a stamp or a mark is there.
func dropUnbacked(out *limiter.Bucket) {
	kept := out.Limits[:0]
	for _, l := range out.Limits {
		if l.Has&limiter.FieldsPlain != 0 {
			kept = append(kept, l)
		}
	}
	out.Limits = kept
}
