package dynamolocal

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/stream"
	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/wire"
)

// streamPrefix begins the targets of the Streams API, which has an endpoint of its own at the service.
const streamPrefix = "DynamoDBStreams_20120810."

// The views of a stream: what its records have of an item.
const (
	viewKeys     = "KEYS_ONLY"
	viewNewImage = "NEW_IMAGE"
	viewOldImage = "OLD_IMAGE"
	viewBoth     = "NEW_AND_OLD_IMAGES"
)

const (
	maxStreamPage   = 100
	maxStreamReads  = 1000
	maxStreamBytes  = 1 << 20
	iteratorLife    = 15 * time.Minute
	iteratorVersion = "001"
	horizonMark     = "TRIM_HORIZON"
	minShardID      = 28
)

// streamOperations are the requests about streams by name.
var streamOperations = map[string]operation{
	"ListStreams":      answering((*control).listStreams),
	"DescribeStream":   answering((*control).describeStream),
	"GetShardIterator": answering((*control).getShardIterator),
	"GetRecords":       answering((*control).getRecords),
}

// answering makes an operation of a function from a decoded request to an answer.
func answering[In any, Out streamAnswer](do func(*control, *In) (Out, error)) operation {
	return func(c *control, body []byte) (any, error) {
		var r In
		if err := decode(body, &r); err != nil {
			return nil, err
		}
		answer, err := do(c, &r)
		if err != nil {
			return nil, err
		}
		return answer, nil
	}
}

// streamAnswer writes itself as JSON.
type streamAnswer interface{ appendTo(b []byte) []byte }

func (e *Engine) handleStream(ctx context.Context, x *exchange, op string, body []byte) error {
	answer, err := e.control(ctx, op, streamOperations[op], body, &control{})
	if err != nil {
		return err
	}
	x.reply = answer.(streamAnswer).appendTo(x.reply)
	return nil
}

type listStreamsRequest struct {
	TableName               *string
	Limit                   *int64
	ExclusiveStartStreamArn *string
}

type streamList struct {
	streams []*tableStream
	more    bool
}

// pageLimit checks the limit of a page of at most most entries.
func pageLimit(limit *int64, most int, excess string) (int, error) {
	if limit == nil {
		return most, nil
	}
	var c constraints
	c.atLeast(true, *limit, 1, "limit")
	if err := c.err(); err != nil {
		return 0, err
	}
	if *limit > int64(most) {
		return 0, invalid(excess + strconv.Itoa(most))
	}
	return int(*limit), nil
}

func (c *control) listStreams(r *listStreamsRequest) (*streamList, error) {
	limit, err := pageLimit(r.Limit, maxStreamPage, "Limit cannot be greater than the maximum allowed size: ")
	if err != nil {
		return nil, err
	}
	list := c.engine.allStreams()
	if r.TableName != nil && *r.TableName != "" {
		list = slices.DeleteFunc(list, func(s *tableStream) bool { return s.table != *r.TableName })
	}
	if r.ExclusiveStartStreamArn != nil {
		list = slices.DeleteFunc(list, func(s *tableStream) bool { return s.arn <= *r.ExclusiveStartStreamArn })
	}
	if len(list) > limit {
		return &streamList{list[:limit], true}, nil
	}
	return &streamList{list, false}, nil
}

func (l *streamList) appendTo(b []byte) []byte {
	o := newObject(b)
	o.name("Streams")
	o.b = append(o.b, '[')
	for i, s := range l.streams {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		inner := newObject(o.b)
		inner.text("StreamArn", s.arn)
		inner.text("TableName", s.table)
		inner.text("StreamLabel", s.label)
		o.b = inner.end()
	}
	o.b = append(o.b, ']')
	if l.more {
		o.text("LastEvaluatedStreamArn", l.streams[len(l.streams)-1].arn)
	}
	return o.end()
}

// text appends a member whose value is a string.
func (o *object) text(name, value string) {
	o.name(name)
	o.b = wire.AppendString(o.b, value)
}

type describeStreamRequest struct {
	StreamArn             *string
	Limit                 *int64
	ExclusiveStartShardId *string
	ShardFilter           *shardFilter
}

type shardFilter struct {
	Type    string
	ShardId *string
}

type streamDescription struct {
	stream  *tableStream
	enabled bool
	shards  []stream.Shard
	more    bool
}

func (c *control) describeStream(r *describeStreamRequest) (*streamDescription, error) {
	if r.StreamArn == nil {
		return nil, validation("Invalid StreamArn")
	}
	limit, err := pageLimit(r.Limit, maxStreamPage, "Limit cannot be greater than the maximum: ")
	if err != nil {
		return nil, err
	}
	var problems constraints
	if start := r.ExclusiveStartShardId; start != nil && len(*start) < minShardID {
		problems.fail(*start, "exclusiveStartShardId", "Member must have length greater than or equal to "+strconv.Itoa(minShardID))
	}
	if f := r.ShardFilter; f != nil && f.Type != "CHILD_SHARDS" {
		problems.fail(f.Type, "shardFilter.type", "Member must satisfy enum value set: [CHILD_SHARDS]")
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	s, enabled := c.engine.stream(*r.StreamArn)
	if s == nil {
		return nil, &apiError{code: codeNotFound, message: messageNotFound + ": Stream: " + *r.StreamArn + " not found"}
	}
	d := &streamDescription{stream: s, enabled: enabled, shards: s.records.Shards(c.engine.now())}
	if f := r.ShardFilter; f != nil {
		d.shards = slices.DeleteFunc(d.shards, func(sh stream.Shard) bool { return f.ShardId == nil || sh.Parent != *f.ShardId })
	}
	if r.ExclusiveStartShardId != nil {
		if i := slices.IndexFunc(d.shards, func(sh stream.Shard) bool { return sh.ID == *r.ExclusiveStartShardId }); i >= 0 {
			d.shards = d.shards[i+1:]
		}
	}
	if d.more = len(d.shards) > limit; d.more {
		d.shards = d.shards[:limit]
	}
	return d, nil
}

func (d *streamDescription) status() string {
	if d.enabled {
		return "ENABLED"
	}
	return "DISABLED"
}

func (d *streamDescription) appendTo(b []byte) []byte {
	outer := newObject(b)
	outer.name("StreamDescription")
	s := d.stream
	o := newObject(outer.b)
	o.text("StreamArn", s.arn)
	o.text("StreamLabel", s.label)
	o.text("StreamStatus", d.status())
	o.text("StreamViewType", s.view)
	o.name("CreationRequestDateTime")
	o.b = append(o.b, fmt.Sprintf("%.3f", float64(s.created.UnixMilli())/1000)...)
	o.text("TableName", s.table)
	o.name("KeySchema")
	o.b = appendJSON(o.b, s.schema)
	o.name("Shards")
	o.b = append(o.b, '[')
	for i, sh := range d.shards {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		shard := newObject(o.b)
		shard.text("ShardId", sh.ID)
		shard.name("SequenceNumberRange")
		numbers := newObject(shard.b)
		numbers.text("StartingSequenceNumber", sh.First.String())
		if !sh.Open {
			numbers.text("EndingSequenceNumber", sh.Last.String())
		}
		shard.b = numbers.end()
		if sh.Parent != "" {
			shard.text("ParentShardId", sh.Parent)
		}
		o.b = shard.end()
	}
	o.b = append(o.b, ']')
	if d.more {
		o.text("LastEvaluatedShardId", d.shards[len(d.shards)-1].ID)
	}
	outer.b = o.end()
	return outer.end()
}

type getShardIteratorRequest struct {
	StreamArn, ShardId *string
	ShardIteratorType  string
	SequenceNumber     *string
}

// shardIterator is a place in a shard. It is handed out as text and the engine does not remember it.
type shardIterator struct {
	arn, shard string
	position   stream.Position
	issued     time.Time
}

func (i *shardIterator) String() string {
	position := horizonMark
	if i.position != stream.Horizon {
		position = strconv.FormatUint(uint64(i.position), 10)
	}
	inner := i.shard + "|" + position + "|" + strconv.FormatInt(i.issued.UnixMilli(), 10)
	return i.arn + "|" + iteratorVersion + "|" + base64.StdEncoding.EncodeToString([]byte(inner))
}

func (i *shardIterator) appendTo(b []byte) []byte {
	o := newObject(b)
	o.text("ShardIterator", i.String())
	return o.end()
}

func parseShardIterator(text string) (i shardIterator, ok bool) {
	parts := strings.Split(text, "|")
	if len(parts) != 3 || parts[1] != iteratorVersion {
		return i, false
	}
	inner, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil {
		return i, false
	}
	fields := strings.Split(string(inner), "|")
	if len(fields) != 3 {
		return i, false
	}
	i.arn, i.shard, i.position = parts[0], fields[0], stream.Horizon
	if fields[1] != horizonMark {
		position, err := strconv.ParseUint(fields[1], 10, 63)
		if err != nil {
			return i, false
		}
		i.position = stream.Position(position)
	}
	issued, err := strconv.ParseInt(fields[2], 10, 64)
	i.issued = time.UnixMilli(issued)
	return i, err == nil
}

func (c *control) getShardIterator(r *getShardIteratorRequest) (*shardIterator, error) {
	if r.ShardId == nil {
		return nil, validation("No ShardId specified.")
	}
	var problems constraints
	problems.required(r.StreamArn != nil, "streamArn")
	problems.required(r.ShardIteratorType != "", "shardIteratorType")
	problems.enum(wire.Text{S: r.ShardIteratorType, Set: r.ShardIteratorType != ""}, "shardIteratorType",
		"AFTER_SEQUENCE_NUMBER", "LATEST", "AT_SEQUENCE_NUMBER", horizonMark)
	if n := r.SequenceNumber; n != nil {
		problems.length(*n, "sequenceNumber", 21, 40)
	}
	if err := problems.err(); err != nil {
		return nil, err
	}
	now := c.engine.now()
	s, _ := c.engine.stream(*r.StreamArn)
	if s == nil {
		return nil, &apiError{code: codeNotFound, message: "Stream does not exist"}
	}
	i := &shardIterator{arn: s.arn, shard: *r.ShardId, issued: now}
	numbered := strings.HasSuffix(r.ShardIteratorType, "_SEQUENCE_NUMBER")
	if numbered != (r.SequenceNumber != nil) {
		if numbered {
			return nil, invalid("Invalid SequenceNumber")
		}
		return nil, invalid("SequenceNumber should not be passed for this iterator type")
	}
	var err error
	switch r.ShardIteratorType {
	case horizonMark:
		i.position = stream.Horizon
		_, err = s.records.Latest(i.shard, now)
	case "LATEST":
		i.position, err = s.records.Latest(i.shard, now)
	default:
		number, ok := stream.ParseNumber(*r.SequenceNumber)
		if !ok {
			return nil, invalid("Invalid SequenceNumber")
		}
		i.position, err = s.records.At(i.shard, number, r.ShardIteratorType == "AFTER_SEQUENCE_NUMBER", now)
	}
	if err != nil {
		return nil, streamError(err)
	}
	return i, nil
}

// streamError is the service's error of one that reading a stream had.
func streamError(err error) error {
	switch {
	case errors.Is(err, stream.ErrNoShard):
		return &apiError{code: codeNotFound, message: "Shard does not exist"}
	case errors.Is(err, stream.ErrTrimmed):
		return &apiError{code: codeTrimmed, message: "The data you are trying to access has been trimmed"}
	case errors.Is(err, stream.ErrNumber):
		return validation("Invalid SequenceNumber for the shard")
	}
	return err
}

type getRecordsRequest struct {
	ShardIterator *string
	Limit         *int64
}

// recordPage is an answer to GetRecords.
type recordPage struct {
	stream  *tableStream
	records []stream.Record
	next    *shardIterator // nil at the end of a closed shard
}

func (c *control) getRecords(r *getRecordsRequest) (*recordPage, error) {
	limit, err := pageLimit(r.Limit, maxStreamReads, "Limit should be less than or equal to ")
	if err != nil {
		return nil, err
	}
	if r.ShardIterator == nil {
		return nil, validation("Invalid ShardIterator")
	}
	i, ok := parseShardIterator(*r.ShardIterator)
	if !ok {
		return nil, validation("Invalid ShardIterator")
	}
	now := c.engine.now()
	s, _ := c.engine.stream(i.arn)
	if s == nil {
		return nil, &apiError{code: codeNotFound, message: messageNotFound + ": Stream: " + i.arn + " not found"}
	}
	if now.Sub(i.issued) > iteratorLife {
		return nil, &apiError{code: codeExpired, message: "The shard iterator has expired and can no longer be used to retrieve stream records"}
	}
	page := &recordPage{stream: s}
	bytes := 0
	next, more, err := s.records.Read(i.shard, i.position, now, func(record stream.Record) bool {
		size := s.size(&record)
		if len(page.records) == limit || len(page.records) > 0 && bytes+size > maxStreamBytes {
			return false
		}
		bytes += size
		page.records = append(page.records, record)
		return true
	})
	if err != nil {
		return nil, streamError(err)
	}
	if more {
		page.next = &shardIterator{arn: i.arn, shard: i.shard, position: next, issued: now}
	}
	return page, nil
}

// images returns what the records of a stream have of an item before and after a change.
func (s *tableStream) images(r *stream.Record) (old, item *attr.Map) {
	if s.view == viewOldImage || s.view == viewBoth {
		old = r.Old
	}
	if s.view == viewNewImage || s.view == viewBoth {
		item = r.New
	}
	return old, item
}

// key returns the key attributes of a changed item.
func (s *tableStream) key(r *stream.Record) *attr.Map {
	item := r.New
	if item == nil {
		item = r.Old
	}
	attrs := []attr.Attr{{Name: s.keys.Hash, Value: item.Get(s.keys.Hash)}}
	if s.keys.Range != "" {
		attrs = append(attrs, attr.Attr{Name: s.keys.Range, Value: item.Get(s.keys.Range)})
	}
	return attr.NewMap(attrs)
}

// size is the size of a record: that of the key and of the images.
func (s *tableStream) size(r *stream.Record) int {
	item := r.New
	if item == nil {
		item = r.Old
	}
	size := len(s.keys.Hash) + item.Get(s.keys.Hash).Size()
	if s.keys.Range != "" {
		size += len(s.keys.Range) + item.Get(s.keys.Range).Size()
	}
	old, item := s.images(r)
	return size + old.Size() + item.Size()
}

func eventName(r *stream.Record) string {
	switch {
	case r.Old == nil:
		return "INSERT"
	case r.New == nil:
		return "REMOVE"
	}
	return "MODIFY"
}

// eventID is unique for the stream.
func (s *tableStream) eventID(r *stream.Record) string {
	return fmt.Sprintf("%016x%016x", attr.Hash(s.arn), uint64(r.Number))
}

const (
	eventVersion    = "1.1"
	eventSource     = "aws:dynamodb"
	expiryPrincipal = "dynamodb.amazonaws.com"
	expiryType      = "Service"
)

func (p *recordPage) appendTo(b []byte) []byte {
	o := newObject(b)
	o.name("Records")
	o.b = append(o.b, '[')
	for i := range p.records {
		if i > 0 {
			o.b = append(o.b, ',')
		}
		o.b = p.stream.appendRecord(o.b, &p.records[i])
	}
	o.b = append(o.b, ']')
	if p.next != nil {
		o.text("NextShardIterator", p.next.String())
	}
	return o.end()
}

func (s *tableStream) appendRecord(b []byte, r *stream.Record) []byte {
	o := newObject(b)
	o.text("eventID", s.eventID(r))
	o.text("eventName", eventName(r))
	o.text("eventVersion", eventVersion)
	o.text("eventSource", eventSource)
	o.text("awsRegion", s.region)
	o.name("dynamodb")
	change := newObject(o.b)
	change.name("ApproximateCreationDateTime")
	change.b = strconv.AppendInt(change.b, r.At.Unix(), 10)
	change.item("Keys", s.key(r))
	old, item := s.images(r)
	change.item("NewImage", item)
	change.item("OldImage", old)
	change.text("SequenceNumber", r.Number.String())
	change.name("SizeBytes")
	change.b = strconv.AppendInt(change.b, int64(s.size(r)), 10)
	change.text("StreamViewType", s.view)
	o.b = change.end()
	if r.Expired {
		o.name("userIdentity")
		identity := newObject(o.b)
		identity.text("PrincipalId", expiryPrincipal)
		identity.text("Type", expiryType)
		o.b = identity.end()
	}
	return o.end()
}
