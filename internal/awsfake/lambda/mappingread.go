package lambda

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streams "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
)

const (
	// streamPoll is how often a shard is looked at that had nothing: four times a second.
	streamPoll = 250 * time.Millisecond
	// longestRetry bounds the pause before a batch is tried again.
	longestRetry = time.Minute
)

// reader reads one shard of a stream for a mapping. One goroutine uses it.
type reader struct {
	service  *Service
	mapping  *mapping
	stream   string
	shard    string
	iterator *string
	// batch are the records that were read and passed the filter; it began at since.
	batch []streams.Record
	since time.Time
}

// read begins to read a mapping's stream, at the place that its shards have when it returns.
func (s *Service) read(ctx context.Context, m *mapping, from types.EventSourcePosition) error {
	stream, err := s.streamNow(ctx, aws.ToString(m.config.EventSourceArn))
	if err != nil {
		return err
	}
	shards, _, err := s.shards(ctx, stream)
	if err != nil {
		return err
	}
	var readers []*reader
	for _, shard := range shards {
		if from == types.EventSourcePositionLatest && shard.SequenceNumberRange.EndingSequenceNumber != nil {
			continue // its children are read
		}
		hasParent := slices.ContainsFunc(shards, func(other streams.Shard) bool { return *other.ShardId == aws.ToString(shard.ParentShardId) })
		if from == types.EventSourcePositionTrimHorizon && hasParent {
			continue // after its parent
		}
		r, err := s.reader(ctx, m, stream, *shard.ShardId, streams.ShardIteratorType(from))
		if err != nil {
			return err
		}
		readers = append(readers, r)
	}
	reading, stop := context.WithCancel(s.running)
	s.mu.Lock()
	m.stop = stop
	m.config.EventSourceArn = &stream
	s.mu.Unlock()
	for _, r := range readers {
		s.spawn(func() { r.run(reading) })
	}
	return nil
}

func (s *Service) reader(ctx context.Context, m *mapping, stream, shard string, from streams.ShardIteratorType) (*reader, error) {
	out, err := s.config.Streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{StreamArn: &stream, ShardId: &shard, ShardIteratorType: from})
	if err != nil {
		return nil, err
	}
	return &reader{service: s, mapping: m, stream: stream, shard: shard, iterator: out.ShardIterator}, nil
}

// shards lists those of a stream; open is set while records can come.
func (s *Service) shards(ctx context.Context, stream string) (list []streams.Shard, open bool, err error) {
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &stream}
	for {
		out, err := s.config.Streams.DescribeStream(ctx, in)
		if err != nil {
			return nil, false, err
		}
		list = append(list, out.StreamDescription.Shards...)
		open = out.StreamDescription.StreamStatus == streams.StreamStatusEnabled
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			return list, open, nil
		}
	}
}

// run reads the shard to its end, and then those that follow it.
func (r *reader) run(ctx context.Context) {
	for ctx.Err() == nil && r.iterator != nil {
		came, err := r.poll(ctx)
		if gone(err) {
			return
		}
		if len(r.batch) > 0 && (r.iterator == nil || len(r.batch) >= r.size() || time.Since(r.since) >= r.window()) {
			r.flush(ctx)
			continue
		}
		if !came {
			_ = wait(ctx, streamPoll) // the loop looks at ctx
		}
	}
	r.children(ctx)
}

func gone(err error) bool {
	_, missing := errors.AsType[*streams.ResourceNotFoundException](err)
	return missing
}

// children starts the shards that follow, as soon as they are there.
func (r *reader) children(ctx context.Context) {
	s := r.service
	for ctx.Err() == nil {
		list, open, err := s.shards(ctx, r.stream)
		if gone(err) {
			return
		}
		started := false
		for _, shard := range list {
			if aws.ToString(shard.ParentShardId) != r.shard {
				continue
			}
			if next, err := s.reader(ctx, r.mapping, r.stream, *shard.ShardId, streams.ShardIteratorTypeTrimHorizon); err == nil {
				started = s.spawn(func() { next.run(ctx) })
			}
		}
		if started || err == nil && !open {
			return
		}
		_ = wait(ctx, streamPoll)
	}
}

func (r *reader) settings() types.EventSourceMappingConfiguration {
	r.service.mu.Lock()
	defer r.service.mu.Unlock()
	return r.mapping.config
}

func (r *reader) size() int {
	c := r.settings()
	return int(*c.BatchSize)
}

func (r *reader) window() time.Duration {
	c := r.settings()
	return time.Duration(*c.MaximumBatchingWindowInSeconds) * time.Second
}

// poll reads once; came is set when there was anything.
func (r *reader) poll(ctx context.Context) (came bool, err error) {
	most := int32(min(r.size()-len(r.batch), 1000))
	if most <= 0 {
		return true, nil
	}
	out, err := r.service.config.Streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: r.iterator, Limit: &most})
	_, expired := errors.AsType[*streams.ExpiredIteratorException](err)
	_, trimmed := errors.AsType[*streams.TrimmedDataAccessException](err)
	switch {
	case expired, trimmed:
		if next, err := r.service.reader(ctx, r.mapping, r.stream, r.shard, streams.ShardIteratorTypeTrimHorizon); err == nil {
			r.iterator = next.iterator
		}
		return false, err
	case err != nil:
		return false, err
	}
	r.iterator = out.NextShardIterator
	r.service.mu.Lock()
	filter := r.mapping.filter
	r.service.mu.Unlock()
	for i := range out.Records {
		if !filter.matches(recordJSON(&out.Records[i], r.stream)) {
			continue
		}
		if len(r.batch) == 0 {
			r.since = time.Now()
		}
		r.batch = append(r.batch, out.Records[i])
	}
	return len(out.Records) > 0, nil
}

// flush delivers what was read. It returns when all of it was processed, or given up.
func (r *reader) flush(ctx context.Context) {
	batch := r.batch
	r.batch = nil
	r.deliver(ctx, batch, 0)
}

// deliver invokes the function with a batch, again after an error as often as the mapping says, in halves
// if it says so. failures is how often the batch, or a larger one that it is part of, has failed.
func (r *reader) deliver(ctx context.Context, batch []streams.Record, failures int) {
	for ctx.Err() == nil && len(batch) > 0 {
		c := r.settings()
		if age := *c.MaximumRecordAgeInSeconds; age >= 0 {
			oldest := r.service.config.Now().Add(-time.Duration(age) * time.Second)
			fresh := slices.IndexFunc(batch, func(record streams.Record) bool {
				return record.Dynamodb.ApproximateCreationDateTime.After(oldest)
			})
			if fresh < 0 {
				fresh = len(batch)
			}
			r.giveUp(&c, batch[:fresh], "RecordAgeExceeded", failures, outcome{})
			if batch = batch[fresh:]; len(batch) == 0 {
				return
			}
		}
		out, invoked := r.invoke(ctx, &c, batch)
		if ctx.Err() != nil {
			return
		}
		if !invoked { // throttled, or there is nothing to invoke: that is no failure of the batch
			_ = r.service.config.Wait(ctx, firstBackOff)
			continue
		}
		done := len(batch)
		if out.failure != "" {
			done = 0
		} else if slices.Contains(c.FunctionResponseTypes, types.FunctionResponseTypeReportBatchItemFailures) {
			done = processed(batch, out.payload)
		}
		if done == len(batch) {
			r.result(resultOK)
			return
		}
		r.result(resultFailed)
		batch = batch[done:]
		if *c.BisectBatchOnFunctionError && len(batch) > 1 && done == 0 {
			half := len(batch) / 2
			r.pause(ctx, failures)
			r.deliver(ctx, batch[:half], failures)
			batch = batch[half:]
			continue
		}
		if failures++; *c.MaximumRetryAttempts >= 0 && failures > int(*c.MaximumRetryAttempts) {
			r.giveUp(&c, batch, "RetryAttemptsExhausted", failures, out)
			return
		}
		r.pause(ctx, failures-1)
	}
}

func (r *reader) pause(ctx context.Context, failures int) {
	_ = r.service.config.Wait(ctx, min(firstBackOff<<min(failures, 10), longestRetry))
}

// processed is how many records at the beginning of a batch an answer takes for done. An answer that
// names none failed is one of all; one that cannot be understood is one of none.
func processed(batch []streams.Record, payload []byte) int {
	var answer *struct {
		BatchItemFailures []struct{ ItemIdentifier string } `json:"batchItemFailures"`
	}
	if err := json.Unmarshal(payload, &answer); err != nil {
		return 0
	}
	if answer == nil {
		return len(batch)
	}
	done := len(batch)
	for _, failed := range answer.BatchItemFailures {
		done = min(done, max(0, slices.IndexFunc(batch, func(record streams.Record) bool { return *record.Dynamodb.SequenceNumber == failed.ItemIdentifier })))
	}
	return done
}

func (r *reader) result(text string) {
	r.service.mu.Lock()
	defer r.service.mu.Unlock()
	r.mapping.config.LastProcessingResult = &text
}

// invoke calls the function with a batch; invoked is false when it could not be called.
func (r *reader) invoke(_ context.Context, c *types.EventSourceMappingConfiguration, batch []streams.Record) (out outcome, invoked bool) {
	s := r.service
	name, qualifier, err := split(*c.FunctionArn)
	if err != nil {
		return outcome{}, false
	}
	arn := (*c.FunctionArn)[:len(*c.FunctionArn)-len(short(*c.FunctionArn))] + name
	s.mu.Lock()
	f := &found{arn: arn, qualifier: qualifier, function: s.functions[arn]}
	var config types.FunctionConfiguration
	if f.function == nil {
		err = errClosed
	} else {
		config, err = f.version()
	}
	s.mu.Unlock()
	if err != nil || s.begin(f) != nil {
		return outcome{}, false
	}
	defer s.leave(arn)
	if age := s.config.Now().Sub(*batch[0].Dynamodb.ApproximateCreationDateTime); age > 0 {
		s.metric(arn, "IteratorAge", float64(age.Milliseconds()), "Milliseconds")
	}
	records := make([]any, len(batch))
	for i := range batch {
		records[i] = recordJSON(&batch[i], r.stream)
	}
	payload, err := json.Marshal(map[string]any{"Records": records})
	if err != nil {
		return outcome{}, false
	}
	return s.execute(s.targetOf(f, config), uuid(), payload), true
}

// giveUp tells the destination about records that are not tried any more.
func (r *reader) giveUp(c *types.EventSourceMappingConfiguration, batch []streams.Record, condition string, failures int, out outcome) {
	queue := destination(c)
	if len(batch) == 0 || queue == "" || r.service.config.Queues == nil {
		return
	}
	first, last := batch[0].Dynamodb, batch[len(batch)-1].Dynamodb
	const layout = "2006-01-02T15:04:05.000Z"
	note := map[string]any{
		"requestContext": map[string]any{"requestId": uuid(), "functionArn": *c.FunctionArn, "condition": condition, "approximateInvokeCount": failures},
		"version":        "1.0", "timestamp": r.service.config.Now().UTC().Format(layout),
		"DDBStreamBatchInfo": map[string]any{
			"shardId": r.shard, "startSequenceNumber": *first.SequenceNumber, "endSequenceNumber": *last.SequenceNumber,
			"approximateArrivalOfFirstRecord": first.ApproximateCreationDateTime.UTC().Format(layout),
			"approximateArrivalOfLastRecord":  last.ApproximateCreationDateTime.UTC().Format(layout),
			"batchSize":                       len(batch), "streamArn": r.stream,
		},
	}
	if failures > 0 {
		note["responseContext"] = map[string]any{"statusCode": 200, "executedVersion": latest, "functionError": cmp.Or(out.failure, "Unhandled")}
	}
	body, err := json.Marshal(note)
	if err == nil {
		err = r.service.config.Queues.Send(queue, string(body))
	}
	if err != nil {
		r.service.metric(*c.FunctionArn, "DestinationDeliveryFailures", 1, "Count")
	}
}

// recordJSON is a record in the shape in which functions get it.
func recordJSON(r *streams.Record, stream string) map[string]any {
	d := r.Dynamodb
	change := map[string]any{
		"ApproximateCreationDateTime": float64(d.ApproximateCreationDateTime.UnixMilli()) / 1000,
		"Keys":                        itemJSON(d.Keys), "SequenceNumber": *d.SequenceNumber, "SizeBytes": aws.ToInt64(d.SizeBytes), "StreamViewType": string(d.StreamViewType),
	}
	if d.OldImage != nil {
		change["OldImage"] = itemJSON(d.OldImage)
	}
	if d.NewImage != nil {
		change["NewImage"] = itemJSON(d.NewImage)
	}
	record := map[string]any{
		"eventID": aws.ToString(r.EventID), "eventName": string(r.EventName), "eventVersion": aws.ToString(r.EventVersion),
		"eventSource": aws.ToString(r.EventSource), "awsRegion": aws.ToString(r.AwsRegion), "dynamodb": change, "eventSourceARN": stream,
	}
	if r.UserIdentity != nil {
		record["userIdentity"] = map[string]any{"type": aws.ToString(r.UserIdentity.Type), "principalId": aws.ToString(r.UserIdentity.PrincipalId)}
	}
	return record
}

func itemJSON(item map[string]streams.AttributeValue) map[string]any {
	out := make(map[string]any, len(item))
	for name, v := range item {
		out[name] = valueJSON(v)
	}
	return out
}

func valueJSON(v streams.AttributeValue) map[string]any {
	switch v := v.(type) {
	case *streams.AttributeValueMemberS:
		return map[string]any{"S": v.Value}
	case *streams.AttributeValueMemberN:
		return map[string]any{"N": v.Value}
	case *streams.AttributeValueMemberB:
		return map[string]any{"B": v.Value}
	case *streams.AttributeValueMemberBOOL:
		return map[string]any{"BOOL": v.Value}
	case *streams.AttributeValueMemberSS:
		return map[string]any{"SS": v.Value}
	case *streams.AttributeValueMemberNS:
		return map[string]any{"NS": v.Value}
	case *streams.AttributeValueMemberBS:
		return map[string]any{"BS": v.Value}
	case *streams.AttributeValueMemberL:
		list := make([]any, len(v.Value))
		for i := range v.Value {
			list[i] = valueJSON(v.Value[i])
		}
		return map[string]any{"L": list}
	case *streams.AttributeValueMemberM:
		return map[string]any{"M": itemJSON(v.Value)}
	}
	return map[string]any{"NULL": true}
}
