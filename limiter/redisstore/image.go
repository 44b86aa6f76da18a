package redisstore

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/redisstore/internal/resp"
)

// Fields of a bucket. Those of a limit are one of the prefixes, a colon and its name.
const (
	fieldRF            = "rf"
	fieldVU            = "vu"
	fieldTTL           = "ttl"
	fieldShards        = "sc"
	fieldDisabled      = "dis"
	fieldBypass        = "by"
	fieldCascade       = "cas"
	fieldParent        = "pid"
	fieldGeneration    = "pg"
	fieldIncarnation   = "pi"
	fieldSchedule      = "sd"
	fieldResetSchedule = "rs"
	fieldZone          = "tz"

	limitTokens     = "tk:"
	limitCounter    = "tc:"
	limitParameters = "p:" // capacity, refill and period, spaces between them
)

// rareField is a field of a limit beyond balance, counter and parameters.
type rareField struct {
	field  limiter.Fields
	prefix string
	number func(*limiter.Extra) *int64
	text   func(*limiter.Extra) *string
}

var rareFields = [...]rareField{
	{field: limiter.FieldSchedule, prefix: "sd:", text: func(e *limiter.Extra) *string { return &e.Schedule }},
	{field: limiter.FieldResetSchedule, prefix: "rs:", text: func(e *limiter.Extra) *string { return &e.ResetSchedule }},
	{field: limiter.FieldGrants, prefix: "gc:", number: func(e *limiter.Extra) *int64 { return &e.Grants }},
	{field: limiter.FieldWindow, prefix: "wn:", number: func(e *limiter.Extra) *int64 { return &e.Window }},
	{field: limiter.FieldWindowStart, prefix: "ws:", number: func(e *limiter.Extra) *int64 { return &e.WindowStart }},
	{field: limiter.FieldWindowApplied, prefix: "wa:", number: func(e *limiter.Extra) *int64 { return &e.WindowApplied }},
	{field: limiter.FieldWindowCounter, prefix: "wc:", number: func(e *limiter.Extra) *int64 { return &e.WindowCounter }},
	{field: limiter.FieldSoft, prefix: "so:", number: func(e *limiter.Extra) *int64 { return &e.Soft }},
	{field: limiter.FieldTopUp, prefix: "tu:", number: func(e *limiter.Extra) *int64 { return &e.TopUp }},
	{field: limiter.FieldResets, prefix: "rn:", number: func(e *limiter.Extra) *int64 { return &e.Resets }},
}

// rare finds the field of a limit, whose name is there after it.
func rare(field limiter.Fields) *rareField {
	for i := range rareFields {
		if rareFields[i].field == field {
			return &rareFields[i]
		}
	}
	return nil
}

// decodeImage reads the fields and values of a bucket, an array of n elements, into out. Its texts stay
// when they are the same, and names are taken from names where they are there. It reports whether an
// element follows the last pair.
func decodeImage(r *resp.Reader, n int64, key limiter.BucketKey, out *limiter.Bucket, names []limiter.Charge) (odd bool, err error) {
	before := *out
	*out = limiter.Bucket{Shard: key.Shard, Resource: key.Resource, Limits: out.Limits[:0], Exists: n > 0}
	for range n / 2 {
		v, err := r.Next()
		if err != nil {
			return false, err
		}
		var space [72]byte // a prefix and the longest name of a limit
		field := append(space[:0], v.Text...)
		if v, err = r.Next(); err != nil {
			return false, err
		}
		if v.Kind != resp.Bulk {
			return false, fmt.Errorf("field %s of a bucket is not a text", string(field))
		}
		if err := decodeField(out, &before, names, field, v.Text); err != nil {
			return false, fmt.Errorf("field %s of bucket %s#%s#%d: %w", string(field), key.EntityID, key.Resource, key.Shard, err)
		}
	}
	if odd = n%2 == 1; odd {
		if _, err := r.Next(); err != nil {
			return false, err
		}
	}
	sortLimits(out.Limits)
	return odd, nil
}

// sortLimits puts a few limits in order.
func sortLimits(limits []limiter.LimitState) {
	for i := 1; i < len(limits); i++ {
		for j := i; j > 0 && limits[j].Name < limits[j-1].Name; j-- {
			limits[j], limits[j-1] = limits[j-1], limits[j]
		}
	}
}

func decodeField(out, before *limiter.Bucket, names []limiter.Charge, field, value []byte) (err error) {
	if prefix, name, ofLimit := bytes.Cut(field, []byte{':'}); ofLimit {
		return decodeLimitField(limitState(out, before, names, name), field[:len(prefix)+1], value)
	}
	switch string(field) {
	case fieldRF:
		out.HasRF = true
		out.RF, err = number(value)
	case fieldVU:
		out.HasVU = true
		out.VU, err = number(value)
	case fieldTTL:
		out.HasTTL = true
		out.TTL, err = number(value)
	case fieldShards:
		var n int64
		n, err = number(value)
		out.ShardCount = int(n)
	case fieldDisabled:
		out.Disabled = true
	case fieldBypass:
		out.HasBypass = true
		out.Bypass, err = number(value)
	case fieldCascade:
		out.Cascade = true
	case fieldParent:
		out.ParentID = kept(before.ParentID, value)
	case fieldGeneration:
		out.HasPGen = true
		out.PGen, err = number(value)
	case fieldIncarnation:
		out.PInc = kept(before.PInc, value)
	case fieldSchedule:
		out.Schedule = kept(before.Schedule, value)
	case fieldResetSchedule:
		out.ResetSchedule = kept(before.ResetSchedule, value)
	case fieldZone:
		out.Zone = kept(before.Zone, value)
	}
	return err
}

func decodeLimitField(l *limiter.LimitState, prefix, value []byte) (err error) {
	switch string(prefix) {
	case limitTokens:
		l.Has |= limiter.FieldTokens
		l.Tokens, err = number(value)
		return err
	case limitCounter:
		l.Has |= limiter.FieldCounter
		l.Counter, err = number(value)
		return err
	case limitParameters:
		l.Has |= limiter.FieldCapacity | limiter.FieldRefill | limiter.FieldPeriod
		for _, to := range [...]*int64{&l.Capacity, &l.Refill, &l.Period} {
			var text []byte
			text, value, _ = bytes.Cut(value, []byte{' '})
			if *to, err = number(text); err != nil {
				return err
			}
		}
		return nil
	}
	for i := range rareFields {
		f := &rareFields[i]
		if f.prefix != string(prefix) {
			continue
		}
		l.Has |= f.field
		if l.Extra == nil { // not shared yet: the state is being read
			l.Extra = new(limiter.Extra)
		}
		if f.text != nil {
			*f.text(l.Extra) = string(value)
			return nil
		}
		*f.number(l.Extra), err = number(value)
		return err
	}
	return nil
}

// limitState finds or adds the state of a limit.
func limitState(out, before *limiter.Bucket, names []limiter.Charge, name []byte) *limiter.LimitState {
	for i := range out.Limits {
		if out.Limits[i].Name == string(name) {
			return &out.Limits[i]
		}
	}
	out.Limits = append(out.Limits, limiter.LimitState{Name: knownName(before, len(out.Limits), names, name)})
	return &out.Limits[len(out.Limits)-1]
}

// knownName is the name as a string that is there already, if there is one.
func knownName(before *limiter.Bucket, read int, names []limiter.Charge, name []byte) string {
	if string(name) == limiter.WCU {
		return limiter.WCU
	}
	for i := range names {
		if names[i].Limit == string(name) {
			return names[i].Limit
		}
	}
	// The states before are overwritten from the first on.
	for i := read; i < len(before.Limits); i++ {
		if before.Limits[i].Name == string(name) {
			return before.Limits[i].Name
		}
	}
	return string(name)
}

func kept(before string, value []byte) string {
	if before == string(value) {
		return before
	}
	return string(value)
}

func number(value []byte) (int64, error) {
	n, ok := resp.ParseInt(value)
	if !ok {
		return 0, fmt.Errorf("%q is not a number", value[:min(len(value), 30)])
	}
	return n, nil
}

// parameters is the field p of a limit.
func parameters(capacity, refill, period int64) string {
	text := strconv.AppendInt(nil, capacity, 10)
	text = strconv.AppendInt(append(text, ' '), refill, 10)
	return string(strconv.AppendInt(append(text, ' '), period, 10))
}

// pairs is a hash: field, value, field, value.
type pairs []string

func (p pairs) get(field string) string {
	for i := 0; i+1 < len(p); i += 2 {
		if p[i] == field {
			return p[i+1]
		}
	}
	return ""
}

// bucketOf decodes an image that was read whole.
func bucketOf(p pairs, key limiter.BucketKey) (limiter.Bucket, error) {
	out := limiter.Bucket{Exists: len(p) > 0, Shard: key.Shard, Resource: key.Resource}
	for i := 0; i+1 < len(p); i += 2 {
		if err := decodeField(&out, &limiter.Bucket{}, nil, []byte(p[i]), []byte(p[i+1])); err != nil {
			return limiter.Bucket{}, fmt.Errorf("field %s of bucket %s#%s#%d: %w", p[i], key.EntityID, key.Resource, key.Shard, err)
		}
	}
	slices.SortFunc(out.Limits, func(a, b limiter.LimitState) int { return strings.Compare(a.Name, b.Name) })
	return out, nil
}
