package dynamolocal

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/dynamolocal/internal/attr"
)

// StreamsClient reads the streams of an engine in process, with the methods of the SDK's client. Errors
// are the SDK's types; options are ignored, and nothing is retried. It is safe for concurrent use.
type StreamsClient struct {
	engine *Engine
}

// StreamsClient returns a client of the engine's streams.
func (e *Engine) StreamsClient() *StreamsClient { return &StreamsClient{e} }

type streamsOption = func(*dynamodbstreams.Options)

// readStreams performs a request about streams.
func readStreams[In any, Out any](ctx context.Context, c *StreamsClient, op string, do func(*control, *In) (Out, error), r *In) (Out, error) {
	answer, err := c.engine.control(ctx, op, func(c *control, _ []byte) (any, error) { return do(c, r) }, nil, &control{})
	if err != nil {
		var none Out
		return none, &smithy.OperationError{ServiceID: dynamodbstreams.ServiceID, OperationName: op, Err: streamsSDKError(err)}
	}
	return answer.(Out), nil
}

// streamsSDKError returns the SDK's error of a service error.
func streamsSDKError(err error) error {
	api := asAPIError(err)
	message := aws.String(api.message)
	switch api.code {
	case codeNotFound:
		return &types.ResourceNotFoundException{Message: message}
	case codeExpired:
		return &types.ExpiredIteratorException{Message: message}
	case codeTrimmed:
		return &types.TrimmedDataAccessException{Message: message}
	case codeLimit:
		return &types.LimitExceededException{Message: message}
	case codeInternal:
		if isContextError(err) {
			return &aws.RequestCanceledError{Err: err}
		}
		return &types.InternalServerError{Message: message}
	}
	return &smithy.GenericAPIError{Code: api.code, Message: api.message}
}

func widened(n *int32) *int64 {
	if n == nil {
		return nil
	}
	return aws.Int64(int64(*n))
}

// ListStreams implements the operation.
func (c *StreamsClient) ListStreams(ctx context.Context, in *dynamodbstreams.ListStreamsInput, _ ...streamsOption) (*dynamodbstreams.ListStreamsOutput, error) {
	list, err := readStreams(ctx, c, "ListStreams", (*control).listStreams, &listStreamsRequest{in.TableName, widened(in.Limit), in.ExclusiveStartStreamArn})
	if err != nil {
		return nil, err
	}
	out := &dynamodbstreams.ListStreamsOutput{Streams: []types.Stream{}}
	for _, s := range list.streams {
		out.Streams = append(out.Streams, types.Stream{StreamArn: aws.String(s.arn), StreamLabel: aws.String(s.label), TableName: aws.String(s.table)})
	}
	if list.more {
		out.LastEvaluatedStreamArn = out.Streams[len(out.Streams)-1].StreamArn
	}
	return out, nil
}

// DescribeStream implements the operation.
func (c *StreamsClient) DescribeStream(ctx context.Context, in *dynamodbstreams.DescribeStreamInput, _ ...streamsOption) (*dynamodbstreams.DescribeStreamOutput, error) {
	r := &describeStreamRequest{StreamArn: in.StreamArn, Limit: widened(in.Limit), ExclusiveStartShardId: in.ExclusiveStartShardId}
	if f := in.ShardFilter; f != nil {
		r.ShardFilter = &shardFilter{string(f.Type), f.ShardId}
	}
	d, err := readStreams(ctx, c, "DescribeStream", (*control).describeStream, r)
	if err != nil {
		return nil, err
	}
	s := d.stream
	out := &types.StreamDescription{
		StreamArn: aws.String(s.arn), StreamLabel: aws.String(s.label), TableName: aws.String(s.table),
		StreamStatus: types.StreamStatus(d.status()), StreamViewType: types.StreamViewType(s.view),
		CreationRequestDateTime: aws.Time(s.created), Shards: []types.Shard{},
	}
	for _, key := range s.schema {
		out.KeySchema = append(out.KeySchema, types.KeySchemaElement{AttributeName: aws.String(key.AttributeName), KeyType: types.KeyType(key.KeyType)})
	}
	for _, sh := range d.shards {
		shard := types.Shard{ShardId: aws.String(sh.ID), SequenceNumberRange: &types.SequenceNumberRange{StartingSequenceNumber: aws.String(sh.First.String())}}
		if !sh.Open {
			shard.SequenceNumberRange.EndingSequenceNumber = aws.String(sh.Last.String())
		}
		if sh.Parent != "" {
			shard.ParentShardId = aws.String(sh.Parent)
		}
		out.Shards = append(out.Shards, shard)
	}
	if d.more {
		out.LastEvaluatedShardId = out.Shards[len(out.Shards)-1].ShardId
	}
	return &dynamodbstreams.DescribeStreamOutput{StreamDescription: out}, nil
}

// GetShardIterator implements the operation.
func (c *StreamsClient) GetShardIterator(ctx context.Context, in *dynamodbstreams.GetShardIteratorInput, _ ...streamsOption) (*dynamodbstreams.GetShardIteratorOutput, error) {
	r := &getShardIteratorRequest{in.StreamArn, in.ShardId, string(in.ShardIteratorType), in.SequenceNumber}
	i, err := readStreams(ctx, c, "GetShardIterator", (*control).getShardIterator, r)
	if err != nil {
		return nil, err
	}
	return &dynamodbstreams.GetShardIteratorOutput{ShardIterator: aws.String(i.String())}, nil
}

// GetRecords implements the operation.
func (c *StreamsClient) GetRecords(ctx context.Context, in *dynamodbstreams.GetRecordsInput, _ ...streamsOption) (*dynamodbstreams.GetRecordsOutput, error) {
	page, err := readStreams(ctx, c, "GetRecords", (*control).getRecords, &getRecordsRequest{in.ShardIterator, widened(in.Limit)})
	if err != nil {
		return nil, err
	}
	out := &dynamodbstreams.GetRecordsOutput{Records: make([]types.Record, len(page.records))}
	for i := range page.records {
		r := &page.records[i]
		old, item := page.stream.images(r)
		out.Records[i] = types.Record{
			AwsRegion: aws.String(page.stream.region), EventID: aws.String(page.stream.eventID(r)), EventName: types.OperationType(eventName(r)),
			EventSource: aws.String(eventSource), EventVersion: aws.String(eventVersion),
			Dynamodb: &types.StreamRecord{
				ApproximateCreationDateTime: aws.Time(r.At.UTC().Truncate(time.Second)),
				Keys:                        streamItem(page.stream.key(r)), OldImage: streamItem(old), NewImage: streamItem(item),
				SequenceNumber: aws.String(r.Number.String()), SizeBytes: aws.Int64(int64(page.stream.size(r))),
				StreamViewType: types.StreamViewType(page.stream.view),
			},
		}
		if r.Expired {
			out.Records[i].UserIdentity = &types.Identity{PrincipalId: aws.String(expiryPrincipal), Type: aws.String(expiryType)}
		}
	}
	if page.next != nil {
		out.NextShardIterator = aws.String(page.next.String())
	}
	return out, nil
}

// streamItem returns an item in the types of the Streams API, which are not those of the other.
func streamItem(m *attr.Map) map[string]types.AttributeValue {
	if m == nil {
		return nil
	}
	out := make(map[string]types.AttributeValue, m.Len())
	for name, v := range m.All() {
		out[name] = streamValue(v)
	}
	return out
}

func streamValue(v attr.Value) types.AttributeValue {
	switch v.Kind() {
	case attr.S:
		return &types.AttributeValueMemberS{Value: v.Text()}
	case attr.N:
		return &types.AttributeValueMemberN{Value: v.NumberText()}
	case attr.B:
		return &types.AttributeValueMemberB{Value: []byte(v.Text())}
	case attr.BOOL:
		return &types.AttributeValueMemberBOOL{Value: v.Truth()}
	case attr.SS:
		return &types.AttributeValueMemberSS{Value: append([]string(nil), v.Strings()...)}
	case attr.NS:
		texts := make([]string, len(v.Values()))
		for i, n := range v.Values() {
			texts[i] = n.NumberText()
		}
		return &types.AttributeValueMemberNS{Value: texts}
	case attr.BS:
		members := make([][]byte, len(v.Strings()))
		for i, s := range v.Strings() {
			members[i] = []byte(s)
		}
		return &types.AttributeValueMemberBS{Value: members}
	case attr.L:
		list := make([]types.AttributeValue, len(v.Values()))
		for i, e := range v.Values() {
			list[i] = streamValue(e)
		}
		return &types.AttributeValueMemberL{Value: list}
	case attr.M:
		return &types.AttributeValueMemberM{Value: streamItem(v.Map())}
	}
	return &types.AttributeValueMemberNULL{Value: true}
}
