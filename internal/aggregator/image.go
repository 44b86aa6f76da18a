package aggregator

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"

	"github.com/zeroae/zae-limiter-go/limiter/bucket"
	"github.com/zeroae/zae-limiter-go/limiter/schedule"
)

// Item is an item of the table, or an image of it in a record.
type Item = map[string]types.AttributeValue

// The table's constants, which this package shares with no other: it reads and writes items as they are.
const (
	stateKey = "#STATE"
	metaKey  = "#META"
	// infrastructure is the limit of writes to a shard, which every bucket has and no config.
	infrastructure = "wcu"
	// unscheduled says that a limit has no schedule where the item has one.
	unscheduled = "-"
	maxShards   = 32
)

// bucketKey names a shard of a bucket.
type bucketKey struct {
	namespace, entity, resource string
	shard                       int64
}

// parseKey takes the partition key of a bucket apart: the namespace ends at the first '/', the entity at
// the first '#' behind "BUCKET#", and the shard follows the last one.
func parseKey(pk string) (k bucketKey, ok bool) {
	namespace, rest, _ := strings.Cut(pk, "/")
	rest, ok = strings.CutPrefix(rest, "BUCKET#")
	first, last := strings.IndexByte(rest, '#'), strings.LastIndexByte(rest, '#')
	if !ok || namespace == "" || first <= 0 || last <= first+1 {
		return bucketKey{}, false
	}
	shard, err := strconv.ParseInt(rest[last+1:], 10, 32)
	if err != nil || shard < 0 {
		return bucketKey{}, false
	}
	return bucketKey{namespace, rest[:first], rest[first+1 : last], shard}, true
}

// of returns the key of another shard of the bucket.
func (k bucketKey) of(shard int64) bucketKey {
	k.shard = shard
	return k
}

func (k bucketKey) tail() string {
	return "BUCKET#" + k.entity + "#" + k.resource + "#" + strconv.FormatInt(k.shard, 10)
}

func (k bucketKey) item() Item {
	return Item{"PK": text(k.namespace + "/" + k.tail()), "SK": text(stateKey)}
}

func text(s string) types.AttributeValue { return &types.AttributeValueMemberS{Value: s} }
func integer(n int64) types.AttributeValue {
	return &types.AttributeValueMemberN{Value: strconv.FormatInt(n, 10)}
}

func textOf(item Item, name string) string {
	if s, ok := item[name].(*types.AttributeValueMemberS); ok {
		return s.Value
	}
	return ""
}

// optional is an integer attribute that may be missing.
type optional struct {
	value int64
	set   bool
}

func (o optional) or(fallback int64) int64 {
	if o.set {
		return o.value
	}
	return fallback
}

// limitImage is one limit of a bucket's image.
type limitImage struct {
	name string
	bucket.State
	tokens, topUp, applied, grants optional
	softStamp                      bool
}

// image is a bucket as a record shows it.
type image struct {
	key    bucketKey
	rf     int64
	shards int64
	vu     optional
	// schedule and resets are the defaults of the item, compact the stored form of the first.
	schedule *schedule.Schedule
	resets   *schedule.Resets
	compact  string
	// undecodable is why the schedules cannot be read.
	undecodable error
	limits      []limitImage // in the order of their names
}

func (i *image) limit(name string) *limitImage {
	for at := range i.limits {
		if i.limits[at].name == name {
			return &i.limits[at]
		}
	}
	return nil
}

// integerOf reads an integer attribute; one that is there and none is an error.
func integerOf(item Item, name string) (optional, error) {
	v, ok := item[name]
	if !ok {
		return optional{}, nil
	}
	if n, isNumber := v.(*types.AttributeValueMemberN); isNumber {
		if i, err := strconv.ParseInt(n.Value, 10, 64); err == nil {
			return optional{i, true}, nil
		}
	}
	return optional{}, fmt.Errorf("attribute %s is no integer", name)
}

// reader reads attributes and keeps the first error.
type reader struct {
	item Item
	err  error
}

func (r *reader) integer(name string) optional {
	n, err := integerOf(r.item, name)
	if err != nil && r.err == nil {
		r.err = err
	}
	return n
}

// limitNames lists the limits of which an attribute b_{name}_{field} is there, in no order.
func limitNames(item Item, field string) (names []string) {
	for name := range item {
		rest, ok := strings.CutPrefix(name, "b_")
		if !ok {
			continue
		}
		if limit, ok := strings.CutSuffix(rest, "_"+field); ok && limit != "" {
			names = append(names, limit)
		}
	}
	return names
}

func attribute(limit, field string) string { return "b_" + limit + "_" + field }

// readImage reads the image of a bucket whose key is known, with the limits that have an attribute of a
// field.
func (a *Aggregator) readImage(key bucketKey, item Item, field string) (*image, error) {
	r := reader{item: item}
	i := &image{key: key, rf: r.integer("rf").value, vu: r.integer("vu"), compact: textOf(item, "sched")}
	i.shards = max(1, r.integer("shard_count").or(1))
	zone := textOf(item, "sched_tz")
	if i.schedule, i.undecodable = a.decoder.Schedule(i.compact, zone); i.undecodable == nil {
		i.resets, i.undecodable = a.decoder.Resets(textOf(item, "rsched"), zone)
	}
	bypass := r.integer("bypass")
	for _, name := range limitNames(item, field) {
		l := a.readLimit(&r, i, name, zone)
		l.Bypass = bypass.set
		i.limits = append(i.limits, l)
	}
	if r.err != nil {
		return nil, r.err
	}
	sortLimits(i.limits)
	return i, nil
}

func (a *Aggregator) readLimit(r *reader, i *image, name, zone string) limitImage {
	get := func(field string) optional { return r.integer(attribute(name, field)) }
	l := limitImage{name: name, tokens: get("tk"), topUp: get("tu"), applied: get("wa"), grants: get("gc")}
	consumed := get("tc")
	l.State = bucket.State{
		Tokens: l.tokens.value, RF: i.rf, Capacity: get("cp").value, Refill: get("ra").value, Period: get("rp").value,
		Shards: i.shards, Grants: max(0, l.grants.value), TopUp: l.topUp.value,
		Consumed: consumed.value, HasConsumed: consumed.set,
	}
	_, l.softStamp = r.item[attribute(name, "soft")]
	if name == infrastructure {
		// Each shard is a partition of its own, whatever the schedules of users say.
		l.Shards = 1
		return l
	}
	start, mark := get("ws"), get("wtc")
	l.Window = bucket.Window{
		Length: get("rsa").value, HasStart: start.set, Start: start.value,
		HasApplied: l.applied.set, Applied: l.applied.value, HasMark: mark.set, Mark: mark.value,
	}
	l.Schedule, l.Resets = i.schedule, i.resets
	switch own := textOf(r.item, attribute(name, "sched")); own {
	case "":
	case unscheduled:
		l.Schedule = nil
	default:
		l.Schedule = decoded(i, own, zone, a.decoder.Schedule)
	}
	switch own := textOf(r.item, attribute(name, "rsched")); own {
	case "":
	case unscheduled:
		l.Resets = nil
	default:
		l.Resets = decoded(i, own, zone, a.decoder.Resets)
	}
	if l.Resets != nil { // a calendar beside a window is damage, and as for other clients the calendar counts
		l.Window.Length = 0
	}
	return l
}

func decoded[T any](i *image, compact, zone string, decode func(text, zone string) (*T, error)) *T {
	value, err := decode(compact, zone)
	if err != nil && i.undecodable == nil {
		i.undecodable = err
	}
	return value
}
