package lambda

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodbstreams"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"github.com/aws/aws-sdk-go-v2/service/lambda/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Streams are the streams of tables that event source mappings read.
type Streams interface {
	ListStreams(context.Context, *dynamodbstreams.ListStreamsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.ListStreamsOutput, error)
	DescribeStream(context.Context, *dynamodbstreams.DescribeStreamInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.DescribeStreamOutput, error)
	GetShardIterator(context.Context, *dynamodbstreams.GetShardIteratorInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetShardIteratorOutput, error)
	GetRecords(context.Context, *dynamodbstreams.GetRecordsInput, ...func(*dynamodbstreams.Options)) (*dynamodbstreams.GetRecordsOutput, error)
}

// Queues take what could not be processed.
type Queues interface {
	// Send puts a message into the queue with an ARN.
	Send(queue, body string) error
}

// States of mappings, and what they say of their last batch.
const (
	mappingEnabled  = "Enabled"
	mappingDisabled = "Disabled"
	resultNone      = "No records processed"
	resultOK        = "OK"
	resultFailed    = "PROBLEM: Function call failed"
)

// Defaults and limits of mappings of streams.
const (
	defaultBatch   = 100
	mostBatch      = 10_000
	mostWindow     = 300 // seconds
	unlimited      = -1
	mostRetries    = 10_000
	mostRecordAge  = 604_800 // seconds
	leastRecordAge = 60
)

// mapping reads a stream for a function.
type mapping struct {
	config types.EventSourceMappingConfiguration
	filter filter
	// stop ends the reading; nil when nothing reads.
	stop context.CancelFunc
	// moved is set when the mapping was kept and its table has another stream now.
	moved bool
}

// mappingARN is the ARN of a mapping in the account and region of a function.
func mappingARN(function, id string) string {
	parts := strings.SplitN(function, ":", 7)
	return strings.Join(append(parts[:5:5], "event-source-mapping", id), ":")
}

func (s *Service) createMapping(ctx context.Context, call *protocol.Call, in *lambda.CreateEventSourceMappingInput) (*lambda.CreateEventSourceMappingOutput, error) {
	if err := call.Allow("lambda:CreateEventSourceMapping"); err != nil {
		return nil, err
	}
	short, qualifier, err := split(aws.ToString(in.FunctionName))
	if err != nil {
		return nil, err
	}
	config, err := s.addMapping(ctx, arnOf(call, short), qualifier, in)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.CreateEventSourceMappingOutput](config), nil
}

// addMapping makes a mapping that reads from now on; what the caller may do has been checked.
func (s *Service) addMapping(ctx context.Context, function, qualifier string, in *lambda.CreateEventSourceMappingInput) (types.EventSourceMappingConfiguration, error) {
	id := uuid()
	m := &mapping{config: types.EventSourceMappingConfiguration{
		UUID: &id, EventSourceMappingArn: aws.String(mappingARN(function, id)), EventSourceArn: in.EventSourceArn, StartingPosition: in.StartingPosition,
		BatchSize: cmp.Or(in.BatchSize, aws.Int32(defaultBatch)), MaximumBatchingWindowInSeconds: cmp.Or(in.MaximumBatchingWindowInSeconds, aws.Int32(0)),
		MaximumRetryAttempts: cmp.Or(in.MaximumRetryAttempts, aws.Int32(unlimited)), MaximumRecordAgeInSeconds: cmp.Or(in.MaximumRecordAgeInSeconds, aws.Int32(unlimited)),
		BisectBatchOnFunctionError: cmp.Or(in.BisectBatchOnFunctionError, aws.Bool(false)), ParallelizationFactor: cmp.Or(in.ParallelizationFactor, aws.Int32(1)),
		DestinationConfig: in.DestinationConfig, FilterCriteria: in.FilterCriteria, FunctionResponseTypes: in.FunctionResponseTypes,
		LastModified: aws.Time(s.config.Now()), LastProcessingResult: aws.String(resultNone), State: aws.String(mappingEnabled),
		StateTransitionReason: aws.String("User action"),
	}}
	if in.Enabled != nil && !*in.Enabled {
		m.config.State = aws.String(mappingDisabled)
	}
	switch in.StartingPosition {
	case types.EventSourcePositionLatest, types.EventSourcePositionTrimHorizon:
	case "":
		return m.config, invalid("1 validation error detected: Value null at 'startingPosition' failed to satisfy constraint: Member must not be null.")
	default:
		return m.config, invalid("Unsupported starting position for stream type: %s", in.StartingPosition)
	}
	if err := s.checkMapping(m, function, qualifier); err != nil {
		return m.config, err
	}
	s.mu.Lock()
	for _, other := range s.mappings {
		if !other.moved && aws.ToString(other.config.EventSourceArn) == aws.ToString(in.EventSourceArn) && *other.config.FunctionArn == *m.config.FunctionArn {
			s.mu.Unlock()
			return m.config, conflict("The event source arn (\" %s \") and function (\" %s \") provided mapping already exists. Please update or delete the existing mapping with UUID %s",
				*in.EventSourceArn, short(*m.config.FunctionArn), *other.config.UUID)
		}
	}
	s.mappings[id] = m
	s.mu.Unlock()
	if err := s.read(ctx, m, in.StartingPosition); err != nil {
		s.dropMapping(id)
		return m.config, err
	}
	return m.config, nil
}

// short is a function's name with its qualifier.
func short(arn string) string {
	_, name, _ := strings.Cut(arn, ":function:")
	return name
}

// checkMapping refuses settings that Lambda would, and sets what comes of the others.
func (s *Service) checkMapping(m *mapping, function, qualifier string) error {
	c := &m.config
	between := func(name string, value *int32, least, most int32, none bool) error {
		if v := *value; (v < least || v > most) && !(none && v == unlimited) {
			return invalid("1 validation error detected: Value '%d' at '%s' failed to satisfy constraint: Member must have value between %d and %d", v, name, least, most)
		}
		return nil
	}
	err := errors.Join(
		between("batchSize", c.BatchSize, 1, mostBatch, false), between("maximumBatchingWindowInSeconds", c.MaximumBatchingWindowInSeconds, 0, mostWindow, false),
		between("maximumRetryAttempts", c.MaximumRetryAttempts, 0, mostRetries, true), between("maximumRecordAgeInSeconds", c.MaximumRecordAgeInSeconds, leastRecordAge, mostRecordAge, true),
	)
	if err == nil && *c.BatchSize > defaultBatch && *c.MaximumBatchingWindowInSeconds == 0 && *c.BatchSize > 1000 {
		err = invalid("Maximum batch window in seconds must be greater than 0 if maximum batch size is greater than 1000")
	}
	if err == nil {
		m.filter, err = parseFilter(c.FilterCriteria)
	}
	if err != nil {
		return err
	}
	s.mu.Lock()
	f := &found{arn: function, qualifier: qualifier, function: s.functions[function]}
	var config types.FunctionConfiguration
	if f.function == nil {
		err = notFound("Function not found: %s", f.qualified())
	} else {
		config, err = f.version()
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	c.FunctionArn = aws.String(f.qualified())
	return s.checkMappingRole(c, aws.ToString(config.Role))
}

// checkMappingRole asks for what the service does as the function's role.
func (s *Service) checkMappingRole(c *types.EventSourceMappingConfiguration, role string) error {
	stream := aws.ToString(c.EventSourceArn)
	if !strings.Contains(stream, ":dynamodb:") || !strings.Contains(stream, "/stream/") {
		return invalid("Unrecognized event source: only streams of DynamoDB are played here, not %s", stream)
	}
	guard := s.config.Sessions.Guard(role)
	if guard == nil {
		return nil
	}
	for action, on := range map[string]string{"DescribeStream": stream, "GetRecords": stream, "GetShardIterator": stream, "ListStreams": "*"} {
		if guard.Allow("dynamodb:"+action, on, nil) != nil {
			return invalid("Cannot access stream %s. Please ensure the role can perform the GetRecords, GetShardIterator, DescribeStream, and ListStreams Actions on your stream in IAM.", stream)
		}
	}
	if queue := destination(c); queue != "" && guard.Allow("sqs:SendMessage", queue, nil) != nil {
		return invalid("The provided execution role does not have permissions to call SendMessage on SQS")
	}
	return nil
}

// destination is the ARN of what gets the batches that failed for good, "" for none.
func destination(c *types.EventSourceMappingConfiguration) string {
	if c.DestinationConfig == nil || c.DestinationConfig.OnFailure == nil {
		return ""
	}
	return aws.ToString(c.DestinationConfig.OnFailure.Destination)
}

// uuid is a random one of version 4.
func uuid() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6], b[8] = b[6]&0x0f|0x40, b[8]&0x3f|0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// mappingNamed looks a mapping up and asks the guard for an action on it. s.mu is held.
func (s *Service) mappingNamed(call *protocol.Call, action string, id *string) (*mapping, error) {
	if err := call.Allow("lambda:"+action, call.ARN("lambda", "event-source-mapping:"+aws.ToString(id))); err != nil {
		return nil, err
	}
	m := s.mappings[aws.ToString(id)]
	if m == nil {
		return nil, notFound("The resource you requested does not exist.")
	}
	return m, nil
}

func (s *Service) getMapping(_ context.Context, call *protocol.Call, in *lambda.GetEventSourceMappingInput) (*lambda.GetEventSourceMappingOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	m, err := s.mappingNamed(call, "GetEventSourceMapping", in.UUID)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.GetEventSourceMappingOutput](m.config), nil
}

func (s *Service) listMappings(_ context.Context, call *protocol.Call, in *lambda.ListEventSourceMappingsInput) (*lambda.ListEventSourceMappingsOutput, error) {
	if err := call.Allow("lambda:ListEventSourceMappings"); err != nil {
		return nil, err
	}
	function := ""
	if in.FunctionName != nil {
		name, qualifier, err := split(*in.FunctionName)
		if err != nil {
			return nil, err
		}
		function = (&found{arn: arnOf(call, name), qualifier: qualifier}).qualified()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &lambda.ListEventSourceMappingsOutput{EventSourceMappings: []types.EventSourceMappingConfiguration{}}
	for _, id := range slices.Sorted(maps.Keys(s.mappings)) {
		c := s.mappings[id].config
		if (function == "" || function == *c.FunctionArn) && (in.EventSourceArn == nil || *in.EventSourceArn == *c.EventSourceArn) {
			out.EventSourceMappings = append(out.EventSourceMappings, c)
		}
	}
	return out, nil
}

func (s *Service) updateMapping(ctx context.Context, call *protocol.Call, in *lambda.UpdateEventSourceMappingInput) (*lambda.UpdateEventSourceMappingOutput, error) {
	s.mu.Lock()
	m, err := s.mappingNamed(call, "UpdateEventSourceMapping", in.UUID)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	config, err := s.changeMapping(ctx, m, in)
	if err != nil {
		return nil, err
	}
	return outputOf[lambda.UpdateEventSourceMappingOutput](config), nil
}

// changeMapping applies settings; reading goes on at its place.
func (s *Service) changeMapping(ctx context.Context, m *mapping, in *lambda.UpdateEventSourceMappingInput) (types.EventSourceMappingConfiguration, error) {
	s.mu.Lock()
	next := &mapping{config: m.config}
	s.mu.Unlock()
	c := &next.config
	c.BatchSize, c.MaximumBatchingWindowInSeconds = cmp.Or(in.BatchSize, c.BatchSize), cmp.Or(in.MaximumBatchingWindowInSeconds, c.MaximumBatchingWindowInSeconds)
	c.MaximumRetryAttempts, c.MaximumRecordAgeInSeconds = cmp.Or(in.MaximumRetryAttempts, c.MaximumRetryAttempts), cmp.Or(in.MaximumRecordAgeInSeconds, c.MaximumRecordAgeInSeconds)
	c.BisectBatchOnFunctionError = cmp.Or(in.BisectBatchOnFunctionError, c.BisectBatchOnFunctionError)
	c.DestinationConfig, c.FilterCriteria = cmp.Or(in.DestinationConfig, c.DestinationConfig), cmp.Or(in.FilterCriteria, c.FilterCriteria)
	if in.FunctionResponseTypes != nil {
		c.FunctionResponseTypes = in.FunctionResponseTypes
	}
	c.LastModified = aws.Time(s.config.Now())
	prefix, name, _ := strings.Cut(*c.FunctionArn, ":function:")
	if in.FunctionName != nil {
		short, qualifier, err := split(*in.FunctionName)
		if err != nil {
			return *c, err
		}
		name = (&found{arn: short, qualifier: qualifier}).qualified()
	}
	name, qualifier, _ := strings.Cut(name, ":")
	if err := s.checkMapping(next, prefix+":function:"+name, qualifier); err != nil {
		return *c, err
	}
	s.mu.Lock()
	on := m.stop != nil
	want := on
	if in.Enabled != nil {
		want = *in.Enabled
	}
	c.State = aws.String(map[bool]string{true: mappingEnabled, false: mappingDisabled}[want])
	m.config, m.filter = next.config, next.filter
	s.mu.Unlock()
	switch {
	case on && !want:
		s.stopReading(m)
	case !on && want: // what came meanwhile is not known any more
		if err := s.read(ctx, m, types.EventSourcePositionLatest); err != nil {
			return *c, err
		}
	}
	return *c, nil
}

func (s *Service) deleteMapping(_ context.Context, call *protocol.Call, in *lambda.DeleteEventSourceMappingInput) (*lambda.DeleteEventSourceMappingOutput, error) {
	s.mu.Lock()
	m, err := s.mappingNamed(call, "DeleteEventSourceMapping", in.UUID)
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	s.dropMapping(*in.UUID)
	m.config.State = aws.String("Deleting")
	return outputOf[lambda.DeleteEventSourceMappingOutput](m.config), nil
}

// dropMapping ends a mapping. One that is gone is no error.
func (s *Service) dropMapping(id string) {
	s.mu.Lock()
	m := s.mappings[id]
	delete(s.mappings, id)
	s.mu.Unlock()
	if m != nil {
		s.stopReading(m)
	}
}

func (s *Service) stopReading(m *mapping) {
	s.mu.Lock()
	stop := m.stop
	m.stop = nil
	s.mu.Unlock()
	if stop != nil {
		stop()
	}
}

// MappingState is what has to be kept of the mappings, as JSON.
func (s *Service) MappingState() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	configs := []types.EventSourceMappingConfiguration{}
	for _, id := range slices.Sorted(maps.Keys(s.mappings)) {
		configs = append(configs, s.mappings[id].config)
	}
	return json.Marshal(configs)
}

// RestoreMappings takes mappings back, into a service that has its functions. Tables that were made again
// have another stream, of which all that comes from now on is read.
func (s *Service) RestoreMappings(state []byte) error {
	var configs []types.EventSourceMappingConfiguration
	if err := json.Unmarshal(state, &configs); err != nil {
		return fmt.Errorf("state of the event source mappings: %w", err)
	}
	for _, config := range configs {
		m := &mapping{config: config, moved: true}
		var err error
		if m.filter, err = parseFilter(config.FilterCriteria); err != nil {
			return err
		}
		s.mu.Lock()
		s.mappings[*config.UUID] = m
		s.mu.Unlock()
		if aws.ToString(config.State) != mappingEnabled {
			continue
		}
		// The stream is that of a table which is not there any more.
		m.config.EventSourceArn = aws.String(tableOf(*config.EventSourceArn))
		if err := s.read(s.running, m, types.EventSourcePositionLatest); err != nil {
			return fmt.Errorf("event source mapping %s: %w", *config.UUID, err)
		}
	}
	return nil
}

// tableOf is the ARN of a stream's table.
func tableOf(stream string) string {
	table, _, _ := strings.Cut(stream, "/stream/")
	return table
}

// streamNow is the stream with an ARN, or the newest one of that table: stacks that were kept between runs
// know of streams that were there before.
func (s *Service) streamNow(ctx context.Context, arn string) (string, error) {
	_, table, _ := strings.Cut(tableOf(arn), ":table/")
	out, err := s.config.Streams.ListStreams(ctx, &dynamodbstreams.ListStreamsInput{TableName: &table})
	if err != nil {
		return "", err
	}
	newest := ""
	for _, stream := range out.Streams {
		if *stream.StreamArn == arn {
			return arn, nil
		}
		newest = max(newest, *stream.StreamArn)
	}
	if newest == "" {
		return "", &protocol.Error{Status: http.StatusBadRequest, Code: "InvalidParameterValueException", Message: "Stream not found: " + arn, Fields: map[string]any{"Type": "User"}}
	}
	return newest, nil
}
