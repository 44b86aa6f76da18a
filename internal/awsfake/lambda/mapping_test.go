package lambda_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	dynamo "github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	sdk "github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/google/go-cmp/cmp"

	"github.com/zeroae/zae-limiter-go/dynamolocal"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/lambda"
)

const deadLetters = "arn:aws:sqs:us-east-1:123456789012:dlq"

// streaming is a service beside a table with a stream, and a function that asks the test about each batch.
type streaming struct {
	*bench
	table  *dynamolocal.Client
	stream string
	notes  chan string // what the queue got

	mu     sync.Mutex
	answer func(batch []string) (string, bool) // of a batch of items by name; false = an error
	events []json.RawMessage
	seen   chan []string
}

// Send implements lambda.Queues.
func (s *streaming) Send(queue, body string) error {
	if queue != deadLetters {
		return fmt.Errorf("there is no queue %s", queue)
	}
	s.notes <- body
	return nil
}

func newStreaming(t *testing.T) *streaming {
	t.Helper()
	engine, err := dynamolocal.New(dynamolocal.Config{Account: "123456789012", Region: "us-east-1"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	s := &streaming{table: engine.Client(), notes: make(chan string, 100), seen: make(chan []string, 100)}
	s.bench = newBench(t, func(c *lambda.Config) {
		c.Streams, c.Queues = engine.StreamsClient(), s
		c.Wait = func(ctx context.Context, _ time.Duration) error { return ctx.Err() }
	})
	s.tableOf("limits")
	server := httptest.NewServer(http.HandlerFunc(s.asked))
	t.Cleanup(server.Close)
	s.make(func(in *sdk.CreateFunctionInput) {
		in.FunctionName = aws.String("reader")
		in.Environment = &types.Environment{Variables: map[string]string{"ASK": server.URL}}
	})
	return s
}

// tableOf makes a table with a stream.
func (s *streaming) tableOf(name string) {
	s.Helper()
	out, err := s.table.CreateTable(s.Context(), &dynamodb.CreateTableInput{
		TableName: &name, BillingMode: dynamo.BillingModePayPerRequest,
		AttributeDefinitions: []dynamo.AttributeDefinition{{AttributeName: aws.String("PK"), AttributeType: dynamo.ScalarAttributeTypeS}},
		KeySchema:            []dynamo.KeySchemaElement{{AttributeName: aws.String("PK"), KeyType: dynamo.KeyTypeHash}},
		StreamSpecification:  &dynamo.StreamSpecification{StreamEnabled: aws.Bool(true), StreamViewType: dynamo.StreamViewTypeNewAndOldImages},
	})
	if err != nil {
		s.Fatal(err)
	}
	s.stream = *out.TableDescription.LatestStreamArn
}

func (s *streaming) put(names ...string) {
	s.Helper()
	for _, name := range names {
		item := map[string]dynamo.AttributeValue{
			"PK": &dynamo.AttributeValueMemberS{Value: name}, "kind": &dynamo.AttributeValueMemberS{Value: strings.TrimRight(name, "0123456789")},
			"n": &dynamo.AttributeValueMemberN{Value: "7"}, "list": &dynamo.AttributeValueMemberL{Value: []dynamo.AttributeValue{&dynamo.AttributeValueMemberBOOL{Value: true}}},
		}
		if _, err := s.table.PutItem(s.Context(), &dynamodb.PutItemInput{TableName: aws.String("limits"), Item: item}); err != nil {
			s.Fatal(err)
		}
	}
}

// asked is where the function asks.
func (s *streaming) asked(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var event struct {
		Records []struct {
			Dynamodb struct {
				Keys           struct{ PK struct{ S string } }
				SequenceNumber string
			} `json:"dynamodb"`
		}
	}
	if err == nil {
		err = json.Unmarshal(body, &event)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	var names []string
	numbers := map[string]string{}
	for _, record := range event.Records {
		names = append(names, record.Dynamodb.Keys.PK.S)
		numbers[record.Dynamodb.Keys.PK.S] = record.Dynamodb.SequenceNumber
	}
	s.mu.Lock()
	answer := s.answer
	s.events = append(s.events, body)
	s.mu.Unlock()
	s.seen <- names
	text, ok := `{}`, true
	if answer != nil {
		text, ok = answer(names)
	}
	for name, number := range numbers {
		text = strings.ReplaceAll(text, "<"+name+">", number)
	}
	if !ok {
		w.WriteHeader(http.StatusInternalServerError)
	}
	fmt.Fprint(w, text)
}

// answers says how the function ends from now on.
func (s *streaming) answers(f func(batch []string) (string, bool)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answer = f
}

// mapped makes a mapping of the table's stream.
func (s *streaming) mapped(change func(*sdk.CreateEventSourceMappingInput)) *sdk.CreateEventSourceMappingOutput {
	s.Helper()
	in := &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("reader"), EventSourceArn: &s.stream, StartingPosition: types.EventSourcePositionLatest}
	if change != nil {
		change(in)
	}
	out, err := s.client.CreateEventSourceMapping(s.Context(), in)
	if err != nil {
		s.Fatal(err)
	}
	return out
}

// comes waits until the function has got these items, whatever the batches, and returns the batches.
func (s *streaming) comes(names ...string) [][]string {
	s.Helper()
	var batches [][]string
	for got := []string{}; len(got) < len(names); {
		select {
		case batch := <-s.seen:
			batches, got = append(batches, batch), append(got, batch...)
			if len(got) >= len(names) && !slices.Equal(got, names) {
				s.Fatalf("got %v, want %v", got, names)
			}
		case <-time.After(time.Minute):
			s.Fatalf("got %v, want %v", got, names)
		}
	}
	return batches
}

func TestAMappingSendsWhatComes(t *testing.T) {
	s := newStreaming(t)
	s.put("old")
	s.mapped(func(in *sdk.CreateEventSourceMappingInput) {
		in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"eventName":["INSERT"],"dynamodb":{"NewImage":{"kind":{"S":["a",{"prefix":"bu"}]}}}}`)}}}
	})
	s.put("a1", "other", "a1", "bucket", "a2") // the second a1 is no insertion
	s.comes("a1", "bucket", "a2")
	var event struct{ Records []map[string]any }
	if err := json.Unmarshal(s.events[0], &event); err != nil {
		t.Fatal(err)
	}
	record := event.Records[0]
	change := record["dynamodb"].(map[string]any)
	if at, ok := change["ApproximateCreationDateTime"].(float64); !ok || time.Since(time.Unix(int64(at), 0)) > time.Hour {
		t.Errorf("the change was at %v", change["ApproximateCreationDateTime"])
	}
	for _, own := range []string{"ApproximateCreationDateTime", "SequenceNumber", "SizeBytes"} {
		if change[own] == nil {
			t.Errorf("no %s", own)
		}
		delete(change, own)
	}
	delete(record, "eventID")
	item := map[string]any{
		"PK": map[string]any{"S": "a1"}, "kind": map[string]any{"S": "a"}, "n": map[string]any{"N": "7"},
		"list": map[string]any{"L": []any{map[string]any{"BOOL": true}}},
	}
	want := map[string]any{
		"eventName": "INSERT", "eventVersion": "1.1", "eventSource": "aws:dynamodb", "awsRegion": "us-east-1", "eventSourceARN": s.stream,
		"dynamodb": map[string]any{"Keys": map[string]any{"PK": map[string]any{"S": "a1"}}, "NewImage": item, "StreamViewType": "NEW_AND_OLD_IMAGES"},
	}
	if diff := cmp.Diff(want, record); diff != "" {
		t.Error(diff)
	}
}

func TestBatchesHaveASizeAndATime(t *testing.T) {
	s := newStreaming(t)
	var names []string
	for i := range 7 {
		names = append(names, fmt.Sprint("a", i))
	}
	s.put(names...)
	s.mapped(func(in *sdk.CreateEventSourceMappingInput) {
		in.StartingPosition, in.BatchSize, in.MaximumBatchingWindowInSeconds = types.EventSourcePositionTrimHorizon, aws.Int32(3), aws.Int32(1)
	})
	if batches := s.comes(names...); len(batches) != 3 || len(batches[0]) != 3 || len(batches[2]) != 1 {
		t.Errorf("batches %v, want 3, 3 and after a second 1", batches)
	}
}

// A batch that fails is halved until the record at fault is alone; that one is tried again as often as the
// mapping says, and then told to the queue. The others do not wait for it for ever.
func TestABadRecordIsFoundAndPutAside(t *testing.T) {
	s := newStreaming(t)
	s.answers(func(batch []string) (string, bool) { return `"bad"`, !slices.Contains(batch, "a2") })
	s.put("a0", "a1", "a2", "a3")
	s.mapped(func(in *sdk.CreateEventSourceMappingInput) {
		in.StartingPosition, in.BisectBatchOnFunctionError, in.MaximumRetryAttempts = types.EventSourcePositionTrimHorizon, aws.Bool(true), aws.Int32(2)
		in.MaximumBatchingWindowInSeconds = aws.Int32(1)
		in.DestinationConfig = &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(deadLetters)}}
	})
	want := [][]string{{"a0", "a1", "a2", "a3"}, {"a0", "a1"}, {"a2", "a3"}, {"a2"}, {"a2"}, {"a2"}, {"a3"}}
	var got [][]string
	for range want {
		got = append(got, <-s.seen)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	var note struct {
		RequestContext     struct{ Condition, FunctionArn string }
		ResponseContext    struct{ FunctionError string }
		DDBStreamBatchInfo struct {
			ShardID, StartSequenceNumber, EndSequenceNumber, StreamArn string
			BatchSize                                                  int
		}
	}
	if err := json.Unmarshal([]byte(<-s.notes), &note); err != nil {
		t.Fatal(err)
	}
	info := note.DDBStreamBatchInfo
	if note.RequestContext.Condition != "RetryAttemptsExhausted" || !strings.HasSuffix(note.RequestContext.FunctionArn, ":reader") || note.ResponseContext.FunctionError != "Unhandled" ||
		info.BatchSize != 1 || info.StartSequenceNumber == "" || info.StartSequenceNumber != info.EndSequenceNumber || info.StreamArn != s.stream || info.ShardID == "" {
		t.Errorf("the queue got %+v", note)
	}
}

// With ReportBatchItemFailures a batch goes on behind what its answer takes for done.
func TestAnAnswerNamesWhatFailed(t *testing.T) {
	s := newStreaming(t)
	failing := true
	s.answers(func(batch []string) (string, bool) {
		if failing {
			failing = false
			return `{"batchItemFailures": [{"itemIdentifier": "<a2>"}, {"itemIdentifier": "<a1>"}]}`, true
		}
		return `{"batchItemFailures": []}`, true
	})
	s.put("a0", "a1", "a2")
	s.mapped(func(in *sdk.CreateEventSourceMappingInput) {
		in.StartingPosition, in.FunctionResponseTypes = types.EventSourcePositionTrimHorizon, []types.FunctionResponseType{types.FunctionResponseTypeReportBatchItemFailures}
		in.MaximumBatchingWindowInSeconds = aws.Int32(1)
	})
	want := [][]string{{"a0", "a1", "a2"}, {"a1", "a2"}, {"a3"}}
	got := [][]string{<-s.seen, <-s.seen}
	s.put("a3")
	if got = append(got, <-s.seen); !cmp.Equal(want, got) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestRecordsGetTooOld(t *testing.T) {
	s := newStreaming(t)
	s.put("a0")
	s.mapped(func(in *sdk.CreateEventSourceMappingInput) {
		in.StartingPosition, in.MaximumRecordAgeInSeconds = types.EventSourcePositionTrimHorizon, aws.Int32(60)
		in.DestinationConfig = &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(deadLetters)}}
	})
	s.comes("a0") // a minute has not passed
	if len(s.notes) > 0 {
		t.Errorf("the queue got %s", <-s.notes)
	}
}

// A mapping can be looked at, stopped, started again and deleted.
func TestMappingsAreManaged(t *testing.T) {
	s := newStreaming(t)
	made := s.mapped(nil)
	if *made.State != "Enabled" || *made.BatchSize != 100 || *made.MaximumRetryAttempts != -1 || !strings.HasSuffix(*made.FunctionArn, ":function:reader") {
		t.Errorf("made %+v", made)
	}
	list := func(function string) int {
		t.Helper()
		out, err := s.client.ListEventSourceMappings(t.Context(), &sdk.ListEventSourceMappingsInput{FunctionName: &function})
		if err != nil {
			t.Fatal(err)
		}
		return len(out.EventSourceMappings)
	}
	if list("reader") != 1 || list("reader:live") != 0 {
		t.Errorf("listed: %d, with an alias %d", list("reader"), list("reader:live"))
	}
	_, err := s.client.CreateEventSourceMapping(t.Context(), &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("reader"), EventSourceArn: &s.stream, StartingPosition: types.EventSourcePositionLatest})
	if err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second one: %v", err)
	}
	update := func(enabled bool) {
		t.Helper()
		if _, err := s.client.UpdateEventSourceMapping(t.Context(), &sdk.UpdateEventSourceMappingInput{UUID: made.UUID, Enabled: &enabled}); err != nil {
			t.Fatal(err)
		}
	}
	update(false)
	s.put("a0")
	update(true)
	s.put("a1")
	s.comes("a1")
	shown, err := s.client.GetEventSourceMapping(t.Context(), &sdk.GetEventSourceMappingInput{UUID: made.UUID})
	if err != nil || *shown.State != "Enabled" {
		t.Errorf("%+v, %v", shown, err)
	}
	if _, err := s.client.DeleteEventSourceMapping(t.Context(), &sdk.DeleteEventSourceMappingInput{UUID: made.UUID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.GetEventSourceMapping(t.Context(), &sdk.GetEventSourceMappingInput{UUID: made.UUID}); err == nil || list("reader") != 0 {
		t.Errorf("a mapping that is deleted is still there: %v", err)
	}
}

func TestMappingsThatCannotBe(t *testing.T) {
	s := newStreaming(t)
	for says, change := range map[string]func(*sdk.CreateEventSourceMappingInput){
		"Function not found": func(in *sdk.CreateEventSourceMappingInput) { in.FunctionName = aws.String("other") },
		"'batchSize'":        func(in *sdk.CreateEventSourceMappingInput) { in.BatchSize = aws.Int32(0) },
		"'maximumRecordAgeInSeconds'": func(in *sdk.CreateEventSourceMappingInput) {
			in.MaximumRecordAgeInSeconds = aws.Int32(59)
		},
		"Unsupported starting position": func(in *sdk.CreateEventSourceMappingInput) {
			in.StartingPosition = types.EventSourcePositionAtTimestamp
		},
		"Stream not found": func(in *sdk.CreateEventSourceMappingInput) {
			in.EventSourceArn = aws.String("arn:aws:dynamodb:us-east-1:123456789012:table/none/stream/2026")
		},
		"only streams of DynamoDB": func(in *sdk.CreateEventSourceMappingInput) { in.EventSourceArn = aws.String(deadLetters) },
		"Invalid filter pattern definition": func(in *sdk.CreateEventSourceMappingInput) {
			in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"eventName":"INSERT"}`)}}}
		},
		`"numeric" of n`: func(in *sdk.CreateEventSourceMappingInput) {
			in.FilterCriteria = &types.FilterCriteria{Filters: []types.Filter{{Pattern: aws.String(`{"dynamodb":{"n":[{"numeric":[">",1]}]}}`)}}}
		},
	} {
		in := &sdk.CreateEventSourceMappingInput{FunctionName: aws.String("reader"), EventSourceArn: &s.stream, StartingPosition: types.EventSourcePositionLatest}
		change(in)
		if _, err := s.client.CreateEventSourceMapping(t.Context(), in); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v", says, err)
		}
	}
	for action, says := range map[string]string{
		"dynamodb:GetRecords": "Cannot access stream", "dynamodb:ListStreams": "Cannot access stream", "sqs:SendMessage": "call SendMessage on SQS",
	} {
		s.guard = denying(action)
		_, err := s.client.CreateEventSourceMapping(t.Context(), &sdk.CreateEventSourceMappingInput{
			FunctionName: aws.String("reader"), EventSourceArn: &s.stream, StartingPosition: types.EventSourcePositionLatest,
			DestinationConfig: &types.DestinationConfig{OnFailure: &types.OnFailure{Destination: aws.String(deadLetters)}},
		})
		if err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("a role without %s: %v", action, err)
		}
	}
}

// A mapping that was kept reads the stream that its table has now.
func TestMappingsAreKept(t *testing.T) {
	s := newStreaming(t)
	made := s.mapped(func(in *sdk.CreateEventSourceMappingInput) { in.BatchSize = aws.Int32(7) })
	state, err := s.service.MappingState()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.client.DeleteEventSourceMapping(t.Context(), &sdk.DeleteEventSourceMappingInput{UUID: made.UUID}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.table.DeleteTable(t.Context(), &dynamodb.DeleteTableInput{TableName: aws.String("limits")}); err != nil {
		t.Fatal(err)
	}
	s.tableOf("limits")
	if err := s.service.RestoreMappings(state); err != nil {
		t.Fatal(err)
	}
	s.put("a0")
	s.comes("a0")
	shown, err := s.client.GetEventSourceMapping(t.Context(), &sdk.GetEventSourceMappingInput{UUID: made.UUID})
	if err != nil || *shown.BatchSize != 7 || *shown.EventSourceArn != s.stream {
		t.Errorf("%+v, %v", shown, err)
	}
}
