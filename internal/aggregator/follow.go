package aggregator

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
)

// Streams is what a follower calls of DynamoDB Streams. Implementations must be safe for concurrent use.
type Streams interface {
	DescribeStream(context.Context, *dynamodbstreams.DescribeStreamInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	GetShardIterator(context.Context, *dynamodbstreams.GetShardIteratorInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	GetRecords(context.Context, *dynamodbstreams.GetRecordsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

// FollowConfig says what a follower reads.
type FollowConfig struct {
	Streams   Streams
	StreamARN string
	// FromStart begins with the oldest record that is kept, instead of the first that comes.
	FromStart bool
	// Poll is the pause after a round in which nothing came; 0 = 1 s.
	Poll time.Duration
	// Done, if not nil, is called after each batch that had records, by one goroutine at a time.
	Done func(Result)
}

const (
	defaultPoll = time.Second
	// describeEvery is how often a follower asks for new shards when none has ended.
	describeEvery = 10 * time.Second
)

// follower reads the shards of a stream, children after their parents.
type follower struct {
	*Aggregator
	config FollowConfig
	shards map[string]*shardReader
	// begun is set once the shards of the beginning are known.
	begun     bool
	described time.Time
	enabled   bool
	doneMu    sync.Mutex
}

// shardReader is a place in a shard. It is used by one goroutine at a time.
type shardReader struct {
	id       string
	iterator *string
	// last is the sequence number of the last record that was processed.
	last      *string
	ended     bool
	unwritten []*Usage
}

// Follow reads a stream and processes what comes until ctx ends, which is no error, or the stream does: it
// was switched off and everything of it has been read. Nothing is remembered for the next time.
func (a *Aggregator) Follow(ctx context.Context, config FollowConfig) error {
	if config.Poll <= 0 {
		config.Poll = defaultPoll
	}
	f := &follower{Aggregator: a, config: config, shards: map[string]*shardReader{}}
	for ctx.Err() == nil {
		if err := f.discover(ctx); err != nil {
			if gone(err) || !f.begun {
				return outcome(ctx, err)
			}
			f.log.Warn("the shards of the stream were not listed", "error", err)
		}
		busy := f.round(ctx)
		if f.over() {
			return nil
		}
		if busy {
			continue
		}
		select {
		case <-ctx.Done():
		case <-time.After(config.Poll):
		}
	}
	return nil
}

// outcome is the error with which following ends: none when ctx ended it.
func outcome(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

func gone(err error) bool {
	_, ok := errors.AsType[*streamtypes.ResourceNotFoundException](err)
	return ok
}

// over reports whether there is nothing more to come.
func (f *follower) over() bool {
	if f.enabled {
		return false
	}
	for _, r := range f.shards {
		if !r.ended || len(r.unwritten) > 0 {
			return false
		}
	}
	return true
}

// discover looks for new shards when it is time to. A child is read once its parent has been; the shards of
// the beginning that are closed are not read at all, unless from the start.
func (f *follower) discover(ctx context.Context) error {
	if f.begun && time.Since(f.described) < describeEvery {
		return nil
	}
	var shards []streamtypes.Shard
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &f.config.StreamARN}
	for {
		out, err := f.config.Streams.DescribeStream(ctx, in)
		if err != nil {
			return fmt.Errorf("describe stream: %w", err)
		}
		f.enabled = out.StreamDescription.StreamStatus == streamtypes.StreamStatusEnabled || out.StreamDescription.StreamStatus == streamtypes.StreamStatusEnabling
		shards = append(shards, out.StreamDescription.Shards...)
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			break
		}
	}
	waiting := false
	for _, shard := range shards {
		id := *shard.ShardId
		if f.shards[id] != nil {
			continue
		}
		r := &shardReader{id: id}
		from := streamtypes.ShardIteratorTypeTrimHorizon
		if !f.begun && !f.config.FromStart {
			from = streamtypes.ShardIteratorTypeLatest
			r.ended = shard.SequenceNumberRange != nil && shard.SequenceNumberRange.EndingSequenceNumber != nil
		} else if parent := f.shards[aws.ToString(shard.ParentShardId)]; parent != nil && !parent.ended {
			waiting = true
			continue
		}
		if !r.ended {
			if err := f.place(ctx, r, from, nil); err != nil {
				return err
			}
		}
		f.shards[id] = r
	}
	present := map[string]bool{}
	for _, shard := range shards {
		present[*shard.ShardId] = true
	}
	for id, r := range f.shards {
		if !present[id] && r.ended && len(r.unwritten) == 0 {
			delete(f.shards, id)
		}
	}
	f.begun = true
	f.described = time.Now()
	if waiting { // as soon as the parent has ended
		f.described = time.Time{}
	}
	return nil
}

func (f *follower) place(ctx context.Context, r *shardReader, from streamtypes.ShardIteratorType, number *string) error {
	out, err := f.config.Streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{
		StreamArn: &f.config.StreamARN, ShardId: &r.id, ShardIteratorType: from, SequenceNumber: number,
	})
	if err != nil {
		return fmt.Errorf("shard iterator: %w", err)
	}
	r.iterator = out.ShardIterator
	return nil
}

// round reads once from every shard, side by side. busy is set when records came or a shard ended.
func (f *follower) round(ctx context.Context) (busy bool) {
	var wait sync.WaitGroup
	var mu sync.Mutex
	var reading []*shardReader
	for _, r := range f.shards {
		if r.ended && len(r.unwritten) == 0 {
			continue
		}
		reading = append(reading, r)
		wait.Go(func() {
			came := f.read(ctx, r)
			mu.Lock()
			defer mu.Unlock()
			busy = busy || came
		})
	}
	wait.Wait()
	for _, r := range reading {
		if r.ended {
			f.described = time.Time{} // its children wait, or the stream is gone
		}
	}
	return busy
}

// read processes the next records of a shard.
func (f *follower) read(ctx context.Context, r *shardReader) (busy bool) {
	if len(r.unwritten) > 0 {
		var result Result
		f.Write(ctx, r.unwritten, &result)
		r.unwritten = result.Unwritten
		f.done(result)
		if len(r.unwritten) > 0 || r.ended {
			return false // what is written late must not pile up
		}
	}
	out, err := f.config.Streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: r.iterator})
	if err != nil {
		f.recover(ctx, r, err)
		return false
	}
	if len(out.Records) > 0 {
		records := make([]Record, len(out.Records))
		for i := range out.Records {
			records[i] = recordOf(&out.Records[i])
		}
		result := f.Process(ctx, records)
		r.last, r.unwritten = out.Records[len(out.Records)-1].Dynamodb.SequenceNumber, result.Unwritten
		f.done(result)
	}
	r.iterator = out.NextShardIterator
	if r.iterator == nil {
		r.ended = true
		return true
	}
	return len(out.Records) > 0
}

func (f *follower) done(result Result) {
	if f.config.Done == nil {
		return
	}
	f.doneMu.Lock()
	defer f.doneMu.Unlock()
	f.config.Done(result)
}

// recover finds the place in a shard again after an error; errors that pass are only told.
func (f *follower) recover(ctx context.Context, r *shardReader, err error) {
	_, expired := errors.AsType[*streamtypes.ExpiredIteratorException](err)
	_, trimmed := errors.AsType[*streamtypes.TrimmedDataAccessException](err)
	switch {
	case ctx.Err() != nil:
		return
	case gone(err):
		// The shard, or the whole stream: listing the shards tells.
		r.ended, r.iterator = true, nil
		return
	case expired && r.last != nil:
		err = f.place(ctx, r, streamtypes.ShardIteratorTypeAfterSequenceNumber, r.last)
	case expired:
		f.log.Warn("the place in a shard was lost before its first record", "shard", r.id)
		err = f.place(ctx, r, streamtypes.ShardIteratorTypeLatest, nil)
	case trimmed:
		f.log.Warn("records were dropped before they were read", "shard", r.id)
		err = f.place(ctx, r, streamtypes.ShardIteratorTypeTrimHorizon, nil)
	}
	if err != nil {
		f.log.Warn("a shard was not read", "shard", r.id, "error", err)
	}
}

// recordOf converts a record of the Streams API.
func recordOf(r *streamtypes.Record) Record {
	out := Record{Event: Event(r.EventName)}
	if d := r.Dynamodb; d != nil {
		out.At, out.SequenceNumber = aws.ToTime(d.ApproximateCreationDateTime), aws.ToString(d.SequenceNumber)
		out.Old, out.New = itemOf(d.OldImage), itemOf(d.NewImage)
	}
	return out
}

func itemOf(image map[string]streamtypes.AttributeValue) Item {
	if image == nil {
		return nil
	}
	item := make(Item, len(image))
	for name, v := range image {
		item[name] = valueOf(v)
	}
	return item
}

func valueOf(v streamtypes.AttributeValue) types.AttributeValue {
	switch v := v.(type) {
	case *streamtypes.AttributeValueMemberS:
		return &types.AttributeValueMemberS{Value: v.Value}
	case *streamtypes.AttributeValueMemberN:
		return &types.AttributeValueMemberN{Value: v.Value}
	case *streamtypes.AttributeValueMemberB:
		return &types.AttributeValueMemberB{Value: v.Value}
	case *streamtypes.AttributeValueMemberBOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Value}
	case *streamtypes.AttributeValueMemberSS:
		return &types.AttributeValueMemberSS{Value: v.Value}
	case *streamtypes.AttributeValueMemberNS:
		return &types.AttributeValueMemberNS{Value: v.Value}
	case *streamtypes.AttributeValueMemberBS:
		return &types.AttributeValueMemberBS{Value: v.Value}
	case *streamtypes.AttributeValueMemberL:
		list := make([]types.AttributeValue, len(v.Value))
		for i := range v.Value {
			list[i] = valueOf(v.Value[i])
		}
		return &types.AttributeValueMemberL{Value: list}
	case *streamtypes.AttributeValueMemberM:
		return &types.AttributeValueMemberM{Value: itemOf(v.Value)}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}
