package dynamolocal_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	streamtypes "github.com/aws/aws-sdk-go-v2/service/dynamodbstreams/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
)

// streamAPI is what tests call of the Streams API; the SDK's client and the engine's own implement it.
type streamAPI interface {
	ListStreams(context.Context, *dynamodbstreams.ListStreamsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.ListStreamsOutput, error)
	DescribeStream(context.Context, *dynamodbstreams.DescribeStreamInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	GetShardIterator(context.Context, *dynamodbstreams.GetShardIteratorInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	GetRecords(context.Context, *dynamodbstreams.GetRecordsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

// streaming is a test's engine with both clients and a clock that the test moves.
type streaming struct {
	*dynamodb.Client
	streams streamAPI
	engine  *dynamolocal.Engine

	mu  sync.Mutex
	now time.Time
}

func (c *streaming) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// eachStreaming runs a test with the SDK's client of streams over HTTP and with the one in process.
func eachStreaming(t *testing.T, config dynamolocal.Config, test func(*testing.T, *streaming)) {
	for _, way := range []string{"http", "in process"} {
		t.Run(way, func(t *testing.T) {
			s := &streaming{now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
			config.Clock = func() time.Time {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.now
			}
			s.engine = newEngine(t, config)
			url := listen(t, s.engine)
			key := credentials.NewStaticCredentialsProvider("key", "secret", "")
			s.Client = dynamodb.New(dynamodb.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: key, RetryMaxAttempts: 1})
			s.streams = s.engine.StreamsClient()
			if way == "http" {
				s.streams = dynamodbstreams.New(dynamodbstreams.Options{Region: "us-east-1", BaseEndpoint: &url, Credentials: key, RetryMaxAttempts: 1})
			}
			test(t, s)
		})
	}
}

// table makes table tab with PK, SK and a stream, and returns the stream's ARN.
func (c *streaming) table(t *testing.T, view types.StreamViewType) string {
	t.Helper()
	out, err := c.CreateTable(t.Context(), &dynamodb.CreateTableInput{
		TableName: aws.String("tab"), BillingMode: types.BillingModePayPerRequest,
		AttributeDefinitions: []types.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: "S"}, {AttributeName: aws.String("SK"), AttributeType: "S"}},
		KeySchema:            []types.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: "HASH"}, {AttributeName: aws.String("SK"), KeyType: "RANGE"}},
		StreamSpecification:  &types.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: view},
	})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.TableDescription.LatestStreamArn); got != *out.TableDescription.TableArn+"/stream/"+aws.ToString(out.TableDescription.LatestStreamLabel) {
		t.Errorf("stream %s of table %s", got, *out.TableDescription.TableArn)
	}
	return *out.TableDescription.LatestStreamArn
}

func (c *streaming) shards(t *testing.T, arn string) (shards []streamtypes.Shard) {
	t.Helper()
	in := &dynamodbstreams.DescribeStreamInput{StreamArn: &arn}
	for {
		out, err := c.streams.DescribeStream(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		shards = append(shards, out.StreamDescription.Shards...)
		if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
			return shards
		}
	}
}

func (c *streaming) iterator(t *testing.T, arn, shard string, kind streamtypes.ShardIteratorType, number *string) *string {
	t.Helper()
	out, err := c.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: &shard, ShardIteratorType: kind, SequenceNumber: number})
	if err != nil {
		t.Fatal(err)
	}
	return out.ShardIterator
}

// read reads on from an iterator until nothing comes.
func (c *streaming) read(t *testing.T, iterator *string) (records []streamtypes.Record, next *string) {
	t.Helper()
	for {
		out, err := c.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: iterator, Limit: aws.Int32(2)})
		if err != nil {
			t.Fatal(err)
		}
		records = append(records, out.Records...)
		iterator = out.NextShardIterator
		if iterator == nil || len(out.Records) == 0 {
			return records, iterator
		}
	}
}

func (c *streaming) all(t *testing.T, arn string) (records []streamtypes.Record) {
	t.Helper()
	for _, shard := range c.shards(t, arn) {
		got, _ := c.read(t, c.iterator(t, arn, *shard.ShardId, "TRIM_HORIZON", nil))
		records = append(records, got...)
	}
	return records
}

// images is a record on a line: event, key, old and new value of v, who did it.
func images(r *streamtypes.Record) string {
	value := func(item map[string]streamtypes.AttributeValue) string {
		if item == nil {
			return "-"
		}
		if v, ok := item["v"].(*streamtypes.AttributeValueMemberN); ok {
			return v.Value
		}
		return "?"
	}
	line := fmt.Sprintf("%s %s %s>%s", r.EventName, r.Dynamodb.Keys["SK"].(*streamtypes.AttributeValueMemberS).Value, value(r.Dynamodb.OldImage), value(r.Dynamodb.NewImage))
	if r.UserIdentity != nil {
		line += " " + *r.UserIdentity.Type + " " + *r.UserIdentity.PrincipalId
	}
	return line
}

func lines(records []streamtypes.Record) (list []string) {
	for i := range records {
		list = append(list, images(&records[i]))
	}
	return list
}

func (c *streaming) put(t *testing.T, sk string, v int) {
	t.Helper()
	if _, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{"PK": s("p"), "SK": s(sk), "v": n(strconv.Itoa(v))}}); err != nil {
		t.Fatal(err)
	}
}

// Each way of writing leaves one record for each item that changed, and none where nothing did.
func TestEachChangeIsOneRecord(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewAndOldImages)
		must := func(_ any, err error) {
			t.Helper()
			if err != nil {
				t.Fatal(err)
			}
		}
		tab, ctx := aws.String("tab"), t.Context()
		update := func(sk, expression string, v string) *dynamodb.UpdateItemInput {
			return &dynamodb.UpdateItemInput{TableName: tab, Key: item{"PK": s("p"), "SK": s(sk)}, UpdateExpression: &expression, ExpressionAttributeValues: item{":v": n(v)}}
		}
		c.put(t, "put", 1)
		c.put(t, "put", 1)
		c.put(t, "put", 2)
		must(c.UpdateItem(ctx, update("upd", "SET v = :v", "5")))
		must(c.UpdateItem(ctx, update("upd", "SET v = :v", "5.0")))
		must(c.UpdateItem(ctx, update("upd", "ADD v :v", "-3")))
		refused := update("upd", "ADD v :v", "-3")
		refused.ConditionExpression = aws.String("attribute_not_exists(v)")
		if _, err := c.UpdateItem(ctx, refused); err == nil {
			t.Error("a condition that does not hold was let through")
		}
		must(c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: tab, Key: item{"PK": s("p"), "SK": s("put")}}))
		must(c.DeleteItem(ctx, &dynamodb.DeleteItemInput{TableName: tab, Key: item{"PK": s("p"), "SK": s("put")}}))
		must(c.BatchWriteItem(ctx, &dynamodb.BatchWriteItemInput{RequestItems: map[string][]types.WriteRequest{"tab": {
			{PutRequest: &types.PutRequest{Item: item{"PK": s("p"), "SK": s("bat"), "v": n("7")}}},
			{DeleteRequest: &types.DeleteRequest{Key: item{"PK": s("p"), "SK": s("upd")}}},
		}}}))
		must(c.TransactWriteItems(ctx, &dynamodb.TransactWriteItemsInput{TransactItems: []types.TransactWriteItem{
			{Put: &types.Put{TableName: tab, Item: item{"PK": s("p"), "SK": s("tx"), "v": n("1")}}},
			{Update: &types.Update{TableName: tab, Key: item{"PK": s("p"), "SK": s("bat")}, UpdateExpression: aws.String("SET v = :v"), ExpressionAttributeValues: item{":v": n("7")}}},
			{ConditionCheck: &types.ConditionCheck{TableName: tab, Key: item{"PK": s("p"), "SK": s("none")}, ConditionExpression: aws.String("attribute_not_exists(PK)")}},
		}}))
		must(c.UpdateTimeToLive(ctx, &dynamodb.UpdateTimeToLiveInput{TableName: tab, TimeToLiveSpecification: &types.TimeToLiveSpecification{AttributeName: aws.String("v"), Enabled: aws.Bool(true)}}))
		c.put(t, "ttl", int(c.now.Unix())-1)
		if n := c.engine.ExpireNow(); n != 1 {
			t.Errorf("%d items expired", n)
		}
		expiry := strconv.FormatInt(c.now.Unix()-1, 10)
		want := []string{
			"INSERT put ->1", "MODIFY put 1>2", "INSERT upd ->5", "MODIFY upd 5>2", "REMOVE put 2>-",
			"INSERT bat ->7", "REMOVE upd 2>-", "INSERT tx ->1",
			"INSERT ttl ->" + expiry, "REMOVE ttl " + expiry + ">- Service dynamodb.amazonaws.com",
		}
		records := c.all(t, arn)
		if diff := cmp.Diff(want, lines(records)); diff != "" {
			t.Errorf("records (-want +got):\n%s", diff)
		}
		ids, previous := map[string]bool{}, ""
		for _, r := range records {
			if number := *r.Dynamodb.SequenceNumber; len(number) < 21 || number <= previous {
				t.Errorf("sequence number %s after %s", number, previous)
			} else {
				previous = number
			}
			ids[*r.EventID] = true
			if *r.EventSource != "aws:dynamodb" || *r.AwsRegion != "us-east-1" || *r.EventVersion != "1.1" ||
				r.Dynamodb.StreamViewType != "NEW_AND_OLD_IMAGES" || !r.Dynamodb.ApproximateCreationDateTime.Equal(c.now) {
				t.Errorf("record %+v %+v", r, *r.Dynamodb)
			}
		}
		if len(ids) != len(records) {
			t.Errorf("%d ids of %d records", len(ids), len(records))
		}
		if size := *records[1].Dynamodb.SizeBytes; size != 8+(8+3)+(8+3) {
			t.Errorf("a record of a key of 8 bytes and two images has %d bytes", size)
		}
	})
}

func TestViews(t *testing.T) {
	want := map[types.StreamViewType][]string{
		types.StreamViewTypeKeysOnly: {"INSERT a ->-", "MODIFY a ->-", "REMOVE a ->-"},
		types.StreamViewTypeNewImage: {"INSERT a ->1", "MODIFY a ->2", "REMOVE a ->-"},
		types.StreamViewTypeOldImage: {"INSERT a ->-", "MODIFY a 1>-", "REMOVE a 2>-"},
	}
	for view, want := range want {
		eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
			arn := c.table(t, view)
			c.put(t, "a", 1)
			c.put(t, "a", 2)
			if _, err := c.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("tab"), Key: item{"PK": s("p"), "SK": s("a")}}); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, lines(c.all(t, arn))); diff != "" {
				t.Errorf("%s (-want +got):\n%s", view, diff)
			}
		})
	}
}

// Values of every type come as they were written.
func TestRecordsHaveAllTypes(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewImage)
		_, err := c.PutItem(t.Context(), &dynamodb.PutItemInput{TableName: aws.String("tab"), Item: item{
			"PK": s("p"), "SK": s("a"), "b": &types.AttributeValueMemberB{Value: []byte{0, 255}}, "t": &types.AttributeValueMemberBOOL{Value: true},
			"0": &types.AttributeValueMemberNULL{Value: true}, "ss": &types.AttributeValueMemberSS{Value: []string{"x"}}, "ns": &types.AttributeValueMemberNS{Value: []string{"1.5"}},
			"bs": &types.AttributeValueMemberBS{Value: [][]byte{{1}}}, "l": &types.AttributeValueMemberL{Value: []types.AttributeValue{n("1")}}, "m": &types.AttributeValueMemberM{Value: item{"k": s("v")}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		type values = map[string]streamtypes.AttributeValue
		want := values{
			"PK": &streamtypes.AttributeValueMemberS{Value: "p"}, "SK": &streamtypes.AttributeValueMemberS{Value: "a"},
			"b": &streamtypes.AttributeValueMemberB{Value: []byte{0, 255}}, "t": &streamtypes.AttributeValueMemberBOOL{Value: true},
			"0": &streamtypes.AttributeValueMemberNULL{Value: true}, "ss": &streamtypes.AttributeValueMemberSS{Value: []string{"x"}}, "ns": &streamtypes.AttributeValueMemberNS{Value: []string{"1.5"}},
			"bs": &streamtypes.AttributeValueMemberBS{Value: [][]byte{{1}}}, "l": &streamtypes.AttributeValueMemberL{Value: []streamtypes.AttributeValue{&streamtypes.AttributeValueMemberN{Value: "1"}}},
			"m": &streamtypes.AttributeValueMemberM{Value: values{"k": &streamtypes.AttributeValueMemberS{Value: "v"}}},
		}
		if diff := cmp.Diff(want, c.all(t, arn)[0].Dynamodb.NewImage, cmp.FilterPath(func(p cmp.Path) bool { return strings.HasSuffix(p.Last().String(), "noSmithyDocumentSerde") }, cmp.Ignore())); diff != "" {
			t.Errorf("image (-want +got):\n%s", diff)
		}
	})
}

func TestIterators(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewAndOldImages)
		shard := *c.shards(t, arn)[0].ShardId
		c.put(t, "a", 1)
		latest := c.iterator(t, arn, shard, "LATEST", nil)
		c.put(t, "a", 2)
		c.put(t, "a", 3)
		records := c.all(t, arn)
		at := records[1].Dynamodb.SequenceNumber
		for name, test := range map[string]struct {
			iterator *string
			want     []string
		}{
			"latest": {latest, []string{"MODIFY a 1>2", "MODIFY a 2>3"}},
			"at":     {c.iterator(t, arn, shard, "AT_SEQUENCE_NUMBER", at), []string{"MODIFY a 1>2", "MODIFY a 2>3"}},
			"after":  {c.iterator(t, arn, shard, "AFTER_SEQUENCE_NUMBER", at), []string{"MODIFY a 2>3"}},
			"start":  {c.iterator(t, arn, shard, "AT_SEQUENCE_NUMBER", c.shards(t, arn)[0].SequenceNumberRange.StartingSequenceNumber), []string{"INSERT a ->1", "MODIFY a 1>2", "MODIFY a 2>3"}},
		} {
			got, next := c.read(t, test.iterator)
			if diff := cmp.Diff(test.want, lines(got)); diff != "" || next == nil {
				t.Errorf("%s (-want +got), next %v:\n%s", name, next != nil, diff)
			}
		}

		// An iterator lives for 15 minutes.
		c.pass(15*time.Minute + time.Second)
		_, err := c.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: latest})
		var expired *streamtypes.ExpiredIteratorException
		if !errors.As(err, &expired) {
			t.Errorf("an iterator of a quarter of an hour gives %v", err)
		}

		// A shard lives for four hours; its child goes on.
		c.pass(4 * time.Hour)
		c.put(t, "b", 1)
		shards := c.shards(t, arn)
		if len(shards) != 2 || aws.ToString(shards[1].ParentShardId) != shard || shards[0].SequenceNumberRange.EndingSequenceNumber == nil || shards[1].SequenceNumberRange.EndingSequenceNumber != nil {
			t.Fatalf("shards %+v", shards)
		}
		children, err := c.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &arn, ShardFilter: &streamtypes.ShardFilter{Type: "CHILD_SHARDS", ShardId: &shard}})
		if err != nil || len(children.StreamDescription.Shards) != 1 || *children.StreamDescription.Shards[0].ShardId != *shards[1].ShardId {
			t.Errorf("children: %+v %v", children, err)
		}
		got, next := c.read(t, c.iterator(t, arn, shard, "TRIM_HORIZON", nil))
		if len(got) != 3 || next != nil {
			t.Errorf("the closed shard has %v, and more: %v", lines(got), next != nil)
		}
		if got, next = c.read(t, c.iterator(t, arn, *shards[1].ShardId, "TRIM_HORIZON", nil)); !slices.Equal(lines(got), []string{"INSERT b ->1"}) || next == nil {
			t.Errorf("its child has %v, and more: %v", lines(got), next != nil)
		}

		// A record lives for a day.
		c.pass(19*time.Hour + 40*time.Minute)
		old := c.iterator(t, arn, shard, "AFTER_SEQUENCE_NUMBER", at)
		c.pass(10 * time.Minute)
		_, err = c.streams.GetRecords(t.Context(), &dynamodbstreams.GetRecordsInput{ShardIterator: old})
		var trimmed *streamtypes.TrimmedDataAccessException
		if !errors.As(err, &trimmed) {
			t.Errorf("a place before the oldest record gives %v", err)
		}
		if got := lines(c.all(t, arn)); !slices.Equal(got, []string{"INSERT b ->1"}) {
			t.Errorf("after a day %v is left", got)
		}
		_, err = c.streams.GetShardIterator(t.Context(), &dynamodbstreams.GetShardIteratorInput{StreamArn: &arn, ShardId: &shard, ShardIteratorType: "AT_SEQUENCE_NUMBER", SequenceNumber: at})
		if !errors.As(err, &trimmed) {
			t.Errorf("an iterator of a record that is gone: %v", err)
		}
	})
}

// A stream outlives its end, and its table, by a day.
func TestStreamsEnd(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
		first := c.table(t, types.StreamViewTypeNewAndOldImages)
		c.put(t, "a", 1)
		set := func(enabled bool, view types.StreamViewType) (*types.TableDescription, error) {
			out, err := c.UpdateTable(t.Context(), &dynamodb.UpdateTableInput{TableName: aws.String("tab"), StreamSpecification: &types.StreamSpecification{StreamEnabled: &enabled, StreamViewType: view}})
			if err != nil {
				return nil, err
			}
			return out.TableDescription, nil
		}
		off, err := set(false, "")
		if err != nil || off.StreamSpecification != nil || aws.ToString(off.LatestStreamArn) != first {
			t.Fatalf("%+v %v", off, err)
		}
		c.put(t, "a", 2)
		described, err := c.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &first})
		if err != nil || described.StreamDescription.StreamStatus != "DISABLED" {
			t.Errorf("%+v %v", described, err)
		}
		got, next := c.read(t, c.iterator(t, first, *described.StreamDescription.Shards[0].ShardId, "TRIM_HORIZON", nil))
		if !slices.Equal(lines(got), []string{"INSERT a ->1"}) || next != nil {
			t.Errorf("the ended stream has %v, and more: %v", lines(got), next != nil)
		}
		on, err := set(true, "KEYS_ONLY")
		if err != nil || *on.LatestStreamArn == first {
			t.Fatalf("the second stream is %s (%v), the first was %s", aws.ToString(on.LatestStreamArn), err, first)
		}
		if _, err := c.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("tab")}); err != nil {
			t.Fatal(err)
		}
		third := c.table(t, types.StreamViewTypeKeysOnly)
		var arns []string
		page := &dynamodbstreams.ListStreamsInput{TableName: aws.String("tab"), Limit: aws.Int32(1)}
		for {
			out, err := c.streams.ListStreams(t.Context(), page)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range out.Streams {
				arns = append(arns, *s.StreamArn)
			}
			if page.ExclusiveStartStreamArn = out.LastEvaluatedStreamArn; page.ExclusiveStartStreamArn == nil {
				break
			}
		}
		if want := []string{first, *on.LatestStreamArn, third}; !slices.Equal(arns, want) {
			t.Errorf("streams %v, want %v", arns, want)
		}
		c.pass(25 * time.Hour)
		out, err := c.streams.ListStreams(t.Context(), &dynamodbstreams.ListStreamsInput{})
		if err != nil || len(out.Streams) != 1 || *out.Streams[0].StreamArn != third {
			t.Errorf("a day later: %+v %v", out, err)
		}
		var none *streamtypes.ResourceNotFoundException
		if _, err := c.streams.DescribeStream(t.Context(), &dynamodbstreams.DescribeStreamInput{StreamArn: &first}); !errors.As(err, &none) {
			t.Errorf("a stream that is gone: %v", err)
		}
		if _, err := set(true, "NEW_IMAGE"); err == nil || !strings.Contains(err.Error(), "Table already has an enabled stream: TableName: tab") {
			t.Errorf("a second stream beside the first: %v", err)
		}
		if _, err := set(false, "NEW_IMAGE"); err == nil || !strings.Contains(err.Error(), "If stream is being disabled, then UpdateViewType must not be specified") {
			t.Errorf("an end with a view: %v", err)
		}
	})
}

func TestStreamRequestsThatAreRefused(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewAndOldImages)
		shard := c.shards(t, arn)[0].ShardId
		ctx := t.Context()
		at := func(arn, shard *string, kind streamtypes.ShardIteratorType, number *string) func() error {
			return func() error {
				_, err := c.streams.GetShardIterator(ctx, &dynamodbstreams.GetShardIteratorInput{StreamArn: arn, ShardId: shard, ShardIteratorType: kind, SequenceNumber: number})
				return err
			}
		}
		records := func(iterator string, limit int32) func() error {
			return func() error {
				_, err := c.streams.GetRecords(ctx, &dynamodbstreams.GetRecordsInput{ShardIterator: &iterator, Limit: &limit})
				return err
			}
		}
		good := *c.iterator(t, arn, *shard, "LATEST", nil)
		for name, test := range map[string]struct {
			call func() error
			want string
		}{
			"no such stream":       {at(aws.String(arn+"9"), shard, "LATEST", nil), "ResourceNotFoundException: Stream does not exist"},
			"no such shard":        {at(&arn, aws.String("shardId-00000000000000000000-00000000"), "LATEST", nil), "ResourceNotFoundException: Shard does not exist"},
			"no such type":         {at(&arn, shard, "NOW", nil), "ValidationException: 1 validation error detected: Value 'NOW' at 'shardIteratorType' failed to satisfy constraint: Member must satisfy enum value set: [AFTER_SEQUENCE_NUMBER, LATEST, AT_SEQUENCE_NUMBER, TRIM_HORIZON]"},
			"number missing":       {at(&arn, shard, "AT_SEQUENCE_NUMBER", nil), "ValidationException: One or more parameter values were invalid: Invalid SequenceNumber"},
			"number too much":      {at(&arn, shard, "LATEST", aws.String("100000000000000000000")), "ValidationException: One or more parameter values were invalid: SequenceNumber should not be passed for this iterator type"},
			"number too short":     {at(&arn, shard, "AT_SEQUENCE_NUMBER", aws.String("1")), "ValidationException: 1 validation error detected: Value '1' at 'sequenceNumber' failed to satisfy constraint: Member must have length greater than or equal to 21"},
			"number none":          {at(&arn, shard, "AT_SEQUENCE_NUMBER", aws.String("xxxxxxxxxxxxxxxxxxxxx")), "ValidationException: One or more parameter values were invalid: Invalid SequenceNumber"},
			"number of no record":  {at(&arn, shard, "AT_SEQUENCE_NUMBER", aws.String("100000000000000000999")), "ValidationException: Invalid SequenceNumber for the shard"},
			"iterator none":        {records("x", 1), "ValidationException: Invalid ShardIterator"},
			"iterator of no base":  {records("a|001|!", 1), "ValidationException: Invalid ShardIterator"},
			"iterator and more":    {records(good+"x", 1), "ValidationException: Invalid ShardIterator"},
			"iterator of no table": {records("arn"+good, 1), "ResourceNotFoundException: Requested resource not found: Stream: arn" + arn + " not found"},
			"no records":           {records(good, 0), "ValidationException: 1 validation error detected: Value '0' at 'limit' failed to satisfy constraint: Member must have value greater than or equal to 1"},
			"too many records":     {records(good, 1001), "ValidationException: One or more parameter values were invalid: Limit should be less than or equal to 1000"},
		} {
			err := test.call()
			var api smithy.APIError
			if !errors.As(err, &api) || api.ErrorCode()+": "+api.ErrorMessage() != test.want {
				t.Errorf("%s: %v, want %s", name, err, test.want)
			}
		}
	})
}

// Writers of many items side by side: the records of each item are a chain, whatever shard they are in.
func TestRecordsOfAnItemAreInOrder(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{StreamShards: 3}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewAndOldImages)
		const writers, items, rounds = 6, 9, 40
		var wait sync.WaitGroup
		client := c.engine.Client()
		for w := range writers {
			wait.Go(func() {
				for i := range rounds {
					key := item{"PK": s("p" + strconv.Itoa((i+w)%items)), "SK": s("x")}
					if i%10 == 9 {
						_, _ = client.DeleteItem(t.Context(), &dynamodb.DeleteItemInput{TableName: aws.String("tab"), Key: key})
						continue
					}
					_, _ = client.UpdateItem(t.Context(), &dynamodb.UpdateItemInput{TableName: aws.String("tab"), Key: key, UpdateExpression: aws.String("ADD v :v"), ExpressionAttributeValues: item{":v": n("1")}})
				}
			})
		}
		wait.Wait()
		shards := c.shards(t, arn)
		if len(shards) != 3 {
			t.Fatalf("%d shards", len(shards))
		}
		last, home := map[string]string{}, map[string]string{}
		for _, shard := range shards {
			records, _ := c.read(t, c.iterator(t, arn, *shard.ShardId, "TRIM_HORIZON", nil))
			for i := range records {
				key := records[i].Dynamodb.Keys["PK"].(*streamtypes.AttributeValueMemberS).Value
				if other, ok := home[key]; ok && other != *shard.ShardId {
					t.Errorf("%s is in two shards", key)
				}
				home[key] = *shard.ShardId
				_, change, _ := strings.Cut(images(&records[i]), " x ")
				from, to, _ := strings.Cut(change, ">")
				if before, ok := last[key]; ok && before != from || !ok && from != "-" {
					t.Fatalf("%s changes from %s, and was %q", key, from, last[key])
				}
				last[key] = to
			}
		}
		for i := range items {
			key := "p" + strconv.Itoa(i)
			out, err := client.GetItem(t.Context(), &dynamodb.GetItemInput{TableName: aws.String("tab"), Key: item{"PK": s(key), "SK": s("x")}})
			if err != nil {
				t.Fatal(err)
			}
			want := "-"
			if out.Item != nil {
				want = out.Item["v"].(*types.AttributeValueMemberN).Value
			}
			if last[key] != want {
				t.Errorf("the stream leaves %s at %s, the table at %s", key, last[key], want)
			}
		}
	})
}

// Pages of shards, one at a time, are the shards.
func TestShardsArePaged(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{StreamShards: 5}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeKeysOnly)
		c.pass(5 * time.Hour)
		whole := c.shards(t, arn)
		if len(whole) != 10 {
			t.Fatalf("%d shards", len(whole))
		}
		var pages []streamtypes.Shard
		in := &dynamodbstreams.DescribeStreamInput{StreamArn: &arn, Limit: aws.Int32(3)}
		for {
			out, err := c.streams.DescribeStream(t.Context(), in)
			if err != nil {
				t.Fatal(err)
			}
			if len(out.StreamDescription.Shards) > 3 {
				t.Fatalf("a page of %d", len(out.StreamDescription.Shards))
			}
			pages = append(pages, out.StreamDescription.Shards...)
			if in.ExclusiveStartShardId = out.StreamDescription.LastEvaluatedShardId; in.ExclusiveStartShardId == nil {
				break
			}
		}
		if len(pages) != len(whole) || *pages[9].ShardId != *whole[9].ShardId {
			t.Errorf("pages %+v, whole %+v", pages, whole)
		}
	})
}

// Streams are there without records where nobody is to read them.
func TestStreamsWithoutRecords(t *testing.T) {
	eachStreaming(t, dynamolocal.Config{StreamBytes: -1}, func(t *testing.T, c *streaming) {
		arn := c.table(t, types.StreamViewTypeNewImage)
		c.put(t, "a", 1)
		if records := c.all(t, arn); len(records) != 0 {
			t.Errorf("records %v", lines(records))
		}
	})
}
