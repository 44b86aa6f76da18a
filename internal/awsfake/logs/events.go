package logs

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// add appends events. They stand in the order of their times, however they come.
func (st *stream) add(events ...event) {
	sorted := len(st.events) == 0 || len(events) == 0 || st.events[len(st.events)-1].at <= events[0].at
	st.events = append(st.events, events...)
	if !sorted {
		sort.SliceStable(st.events, func(i, j int) bool { return st.events[i].at < st.events[j].at })
	}
	if over := len(st.events) - maxEvents; over > 0 {
		st.events = slices.Delete(st.events, 0, over)
		st.dropped += over
	}
}

func (st *stream) bytes() int64 {
	var n int64
	for _, e := range st.events {
		n += int64(len(e.message))
	}
	return n
}

// stream finds a stream of a group; the lock is held.
func (g *group) stream(name *string) (*stream, error) {
	if st := g.streams[aws.ToString(name)]; st != nil {
		return st, nil
	}
	return nil, errNoStream
}

// open returns a stream of a group, and makes it when it is not there; the lock is held.
func (s *Service) open(g *group, name string) *stream {
	st := g.streams[name]
	if st == nil {
		st = &stream{name: name, created: s.now()}
		g.streams[name] = st
	}
	return st
}

func (s *Service) createLogStream(_ context.Context, call *protocol.Call, in *cwl.CreateLogStreamInput) (*cwl.CreateLogStreamOutput, error) {
	g, release, err := s.enter(call, "CreateLogStream", in.LogGroupName)
	if err != nil {
		return nil, err
	}
	defer release()
	name := aws.ToString(in.LogStreamName)
	if name == "" || len(name) > 512 || strings.ContainsAny(name, ":*") {
		return nil, protocol.Errorf("InvalidParameterException", "1 validation error detected: Value '%s' at 'logStreamName' failed to satisfy constraint: Member must satisfy regular expression pattern: [^:*]*", name)
	}
	if g.streams[name] != nil {
		return nil, protocol.Errorf("ResourceAlreadyExistsException", "The specified log stream already exists")
	}
	s.open(g, name)
	return &cwl.CreateLogStreamOutput{}, nil
}

func (s *Service) deleteLogStream(_ context.Context, call *protocol.Call, in *cwl.DeleteLogStreamInput) (*cwl.DeleteLogStreamOutput, error) {
	g, release, err := s.enter(call, "DeleteLogStream", in.LogGroupName)
	if err != nil {
		return nil, err
	}
	defer release()
	st, err := g.stream(in.LogStreamName)
	if err != nil {
		return nil, err
	}
	delete(g.streams, st.name)
	return &cwl.DeleteLogStreamOutput{}, nil
}

func (s *Service) describeLogStreams(_ context.Context, call *protocol.Call, in *cwl.DescribeLogStreamsInput) (*cwl.DescribeLogStreamsOutput, error) {
	if err := s.allow(call, "DescribeLogStreams", in.LogGroupName, in.LogGroupIdentifier); err != nil {
		return nil, err
	}
	if in.OrderBy == types.OrderByLastEventTime && in.LogStreamNamePrefix != nil {
		return nil, protocol.Errorf("InvalidParameterException", "Cannot order by LastEventTime with a logStreamNamePrefix.")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	var found []types.LogStream
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		if strings.HasPrefix(name, aws.ToString(in.LogStreamNamePrefix)) {
			found = append(found, s.describeStream(g, g.streams[name]))
		}
	}
	if in.OrderBy == types.OrderByLastEventTime {
		sort.SliceStable(found, func(i, j int) bool {
			return aws.ToInt64(found[i].LastEventTimestamp) < aws.ToInt64(found[j].LastEventTimestamp)
		})
	}
	if aws.ToBool(in.Descending) {
		slices.Reverse(found)
	}
	page, next, err := protocol.Page(found, in.NextToken, in.Limit, 50)
	return &cwl.DescribeLogStreamsOutput{LogStreams: page, NextToken: next}, err
}

func (s *Service) describeStream(g *group, st *stream) types.LogStream {
	described := types.LogStream{
		LogStreamName: &st.name, CreationTime: &st.created,
		Arn: aws.String(s.arn(g.Name) + ":log-stream:" + st.name),
	}
	if n := len(st.events); n > 0 {
		described.FirstEventTimestamp = aws.Int64(st.events[0].at)
		described.LastEventTimestamp = aws.Int64(st.events[n-1].at)
		described.LastIngestionTime = aws.Int64(st.events[n-1].ingested)
	}
	return described
}

func (s *Service) putLogEvents(_ context.Context, call *protocol.Call, in *cwl.PutLogEventsInput) (*cwl.PutLogEventsOutput, error) {
	if err := s.allow(call, "PutLogEvents", in.LogGroupName, nil); err != nil {
		return nil, err
	}
	if len(in.LogEvents) == 0 || len(in.LogEvents) > 10_000 {
		return nil, protocol.Errorf("InvalidParameterException", "1 validation error detected: Value at 'logEvents' failed to satisfy constraint: Member must have length between 1 and 10000")
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(in.LogGroupName, nil)
	if err != nil {
		return nil, err
	}
	st, err := g.stream(in.LogStreamName)
	if err != nil {
		return nil, err
	}
	now := s.now()
	events := make([]event, len(in.LogEvents))
	for i, e := range in.LogEvents {
		events[i] = event{at: aws.ToInt64(e.Timestamp), ingested: now, message: aws.ToString(e.Message)}
		if i > 0 && events[i].at < events[i-1].at {
			return nil, protocol.Errorf("InvalidParameterException", "Log events in a single PutLogEvents request must be in chronological order.")
		}
		if len(events[i].message) > maxMessage {
			return nil, protocol.Errorf("InvalidParameterException", "Log event too large: %d bytes exceeds limit of %d", len(events[i].message), maxMessage)
		}
	}
	st.add(events...)
	return &cwl.PutLogEventsOutput{NextSequenceToken: aws.String(fmt.Sprintf("%056d", st.dropped+len(st.events)))}, nil
}

// getLogEvents answers a window of a stream. Tokens are positions in the stream, f/ going forward and
// b/ backward; at an end the token that was sent comes back, as clients expect.
func (s *Service) getLogEvents(_ context.Context, call *protocol.Call, in *cwl.GetLogEventsInput) (*cwl.GetLogEventsOutput, error) {
	group := aws.String(cmp.Or(aws.ToString(in.LogGroupName), aws.ToString(in.LogGroupIdentifier)))
	if err := call.Allow("logs:GetLogEvents", s.streamARN(*group, aws.ToString(in.LogStreamName))); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(group, nil)
	if err != nil {
		return nil, err
	}
	st, err := g.stream(in.LogStreamName)
	if err != nil {
		return nil, err
	}
	from, to := st.between(in.StartTime, in.EndTime)
	start, end, err := st.window(from, to, limitOf(in.Limit), aws.ToString(in.NextToken), aws.ToBool(in.StartFromHead))
	if err != nil {
		return nil, err
	}
	out := &cwl.GetLogEventsOutput{
		NextForwardToken:  aws.String(fmt.Sprintf("f/%d", st.dropped+end)),
		NextBackwardToken: aws.String(fmt.Sprintf("b/%d", st.dropped+start)),
	}
	for _, e := range st.events[start:end] {
		out.Events = append(out.Events, types.OutputLogEvent{Timestamp: &e.at, IngestionTime: &e.ingested, Message: &e.message})
	}
	return out, nil
}

func (s *Service) streamARN(group, stream string) string {
	if !strings.HasPrefix(group, "arn:") {
		group = s.arn(group)
	}
	return strings.TrimSuffix(group, ":*") + ":log-stream:" + stream
}

// between returns the positions of the events from a time on and before another, milliseconds.
func (st *stream) between(start, end *int64) (from, to int) {
	first, past := aws.ToInt64(start), int64(math.MaxInt64)
	if end != nil {
		past = *end
	}
	position := func(at int64) int {
		i, _ := slices.BinarySearchFunc(st.events, at, func(e event, at int64) int { return cmp.Compare(e.at, at) })
		return i
	}
	from = position(first)
	return from, max(from, position(past))
}

// window cuts limit events out of [from, to).
func (st *stream) window(from, to, limit int, token string, head bool) (start, end int, err error) {
	forward := head
	position := from
	if !head {
		position = to
	}
	if token != "" {
		direction, number, _ := strings.Cut(token, "/")
		n, err := strconv.Atoi(number)
		if err != nil || direction != "f" && direction != "b" {
			return 0, 0, protocol.Errorf("InvalidParameterException", "The specified nextToken is invalid.")
		}
		forward, position = direction == "f", min(max(n-st.dropped, from), to)
	}
	if forward {
		return position, min(position+limit, to), nil
	}
	return max(position-limit, from), position, nil
}

// limitOf is how many events an answer holds.
func limitOf(limit *int32) int {
	if limit == nil || *limit <= 0 || *limit > 10_000 {
		return 10_000
	}
	return int(*limit)
}

func (s *Service) filterLogEvents(_ context.Context, call *protocol.Call, in *cwl.FilterLogEventsInput) (*cwl.FilterLogEventsOutput, error) {
	if err := s.allow(call, "FilterLogEvents", in.LogGroupName, in.LogGroupIdentifier); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(in.LogGroupName, in.LogGroupIdentifier)
	if err != nil {
		return nil, err
	}
	pattern, err := parsePattern(aws.ToString(in.FilterPattern))
	if err != nil {
		return nil, err
	}
	var found []types.FilteredLogEvent
	for _, name := range slices.Sorted(maps.Keys(g.streams)) {
		if len(in.LogStreamNames) > 0 && !slices.Contains(in.LogStreamNames, name) || !strings.HasPrefix(name, aws.ToString(in.LogStreamNamePrefix)) {
			continue
		}
		st := g.streams[name]
		from, to := st.between(in.StartTime, in.EndTime)
		for i, e := range st.events[from:to] {
			if pattern.matches(e.message) {
				id := fmt.Sprintf("%s/%d", name, st.dropped+from+i)
				found = append(found, types.FilteredLogEvent{EventId: &id, LogStreamName: &st.name, Timestamp: &e.at, IngestionTime: &e.ingested, Message: &e.message})
			}
		}
	}
	sort.SliceStable(found, func(i, j int) bool { return *found[i].Timestamp < *found[j].Timestamp })
	page, next, err := protocol.Page(found, in.NextToken, in.Limit, 10_000)
	return &cwl.FilterLogEventsOutput{Events: page, NextToken: next}, err
}

// pattern is a filter of unstructured events: every plain term must occur, none of those with a minus,
// and one of those with a question mark. Quotes hold a term with spaces together.
type pattern struct{ all, none, any []string }

func parsePattern(text string) (pattern, error) {
	var p pattern
	for rest := strings.TrimSpace(text); rest != ""; rest = strings.TrimSpace(rest) {
		list := &p.all
		switch rest[0] {
		case '{', '[', '%':
			return p, protocol.Errorf("InvalidParameterException", "Invalid filter pattern: only terms are understood here: %s", text)
		case '-':
			list, rest = &p.none, rest[1:]
		case '?':
			list, rest = &p.any, rest[1:]
		}
		var term string
		if quoted, ok := strings.CutPrefix(rest, `"`); ok {
			if term, rest, ok = strings.Cut(quoted, `"`); !ok {
				return p, protocol.Errorf("InvalidParameterException", "Invalid filter pattern: a quote is not closed: %s", text)
			}
		} else {
			term, rest, _ = strings.Cut(rest, " ")
		}
		*list = append(*list, term)
	}
	return p, nil
}

func (p pattern) matches(message string) bool {
	contains := func(term string) bool { return strings.Contains(message, term) }
	for _, term := range p.all {
		if !contains(term) {
			return false
		}
	}
	return !slices.ContainsFunc(p.none, contains) && (len(p.any) == 0 || slices.ContainsFunc(p.any, contains))
}
