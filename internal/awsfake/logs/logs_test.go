package logs_test

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
	"github.com/aws/smithy-go"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/logs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// clock goes on by a second each time it is read.
type clock struct{ at time.Time }

func (c *clock) now() time.Time {
	c.at = c.at.Add(time.Second)
	return c.at
}

func newService(t *testing.T) (*logs.Service, *cwl.Client) {
	c := &clock{time.UnixMilli(1_000_000_000_000)}
	s := logs.New(logs.Config{Account: protocoltest.Account, Region: protocoltest.Region, Now: c.now})
	return s, cwl.NewFromConfig(protocoltest.Serve(t, s.API()))
}

func group(name string) *resource.Resource {
	return &resource.Resource{
		Type: "AWS::Logs::LogGroup", Stack: "s", LogicalID: "Group",
		Properties: map[string]any{"LogGroupName": name, "RetentionInDays": "7"}, Tags: map[string]string{"ManagedBy": "test"},
	}
}

// messages of events, in their order.
func messages(events []types.OutputLogEvent) []string {
	var m []string
	for _, e := range events {
		m = append(m, *e.Message)
	}
	return m
}

func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	if refused, ok := errors.AsType[smithy.APIError](err); !ok || refused.ErrorCode() != code {
		t.Errorf("error %v, want %s", err, code)
	}
}

func TestEventsAreReadInPagesFromBothEnds(t *testing.T) {
	s, client := newService(t)
	if _, err := s.Providers()["AWS::Logs::LogGroup"].Create(t.Context(), group("/ecs/a")); err != nil {
		t.Fatal(err)
	}
	w, err := s.Writer("/ecs/a", "master/1")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range []string{"one\ntw", "o\r\n\nthree\n", "four"} {
		if _, err := w.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	in := &cwl.GetLogEventsInput{LogGroupName: aws.String("/ecs/a"), LogStreamName: aws.String("master/1"), Limit: aws.Int32(3), StartFromHead: aws.Bool(true)}
	read := func() *cwl.GetLogEventsOutput {
		t.Helper()
		out, err := client.GetLogEvents(t.Context(), in)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	first := read()
	if got := messages(first.Events); !slices.Equal(got, []string{"one", "two", "three"}) {
		t.Errorf("first page %q", got)
	}
	in.NextToken = first.NextForwardToken
	second := read()
	if got := messages(second.Events); !slices.Equal(got, []string{"four"}) {
		t.Errorf("second page %q", got)
	}
	in.NextToken = second.NextForwardToken
	if end := read(); len(end.Events) != 0 || *end.NextForwardToken != *second.NextForwardToken {
		t.Errorf("at the end: %v, token %s after %s", end.Events, *end.NextForwardToken, *second.NextForwardToken)
	}
	in.NextToken, in.StartFromHead, in.Limit = nil, nil, aws.Int32(1)
	latest := read()
	if got := messages(latest.Events); !slices.Equal(got, []string{"four"}) {
		t.Errorf("latest %q", got)
	}
	in.NextToken = latest.NextBackwardToken
	if got := messages(read().Events); !slices.Equal(got, []string{"three"}) {
		t.Errorf("before the latest %q", got)
	}
	in.NextToken, in.Limit, in.StartTime = nil, nil, second.Events[0].Timestamp
	if got := messages(read().Events); !slices.Equal(got, []string{"four"}) {
		t.Errorf("since the time of the last one %q", got)
	}
}

func TestFilterFindsTermsAcrossStreams(t *testing.T) {
	_, client := newService(t)
	name := aws.String("g")
	if _, err := client.CreateLogGroup(t.Context(), &cwl.CreateLogGroupInput{LogGroupName: name}); err != nil {
		t.Fatal(err)
	}
	for stream, texts := range map[string][]string{"a": {"ERROR one", "fine"}, "b": {"ERROR two", "ERROR health"}} {
		if _, err := client.CreateLogStream(t.Context(), &cwl.CreateLogStreamInput{LogGroupName: name, LogStreamName: &stream}); err != nil {
			t.Fatal(err)
		}
		for i, text := range texts {
			at := int64(1000 + 10*i + len(stream+texts[0]))
			if stream == "b" {
				at++
			}
			_, err := client.PutLogEvents(t.Context(), &cwl.PutLogEventsInput{LogGroupName: name, LogStreamName: &stream, LogEvents: []types.InputLogEvent{{Message: &text, Timestamp: &at}}})
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	for pattern, want := range map[string][]string{
		"":                {"ERROR one", "ERROR two", "fine", "ERROR health"},
		"ERROR -health":   {"ERROR one", "ERROR two"},
		`?one ?fine`:      {"ERROR one", "fine"},
		`"ERROR two"`:     {"ERROR two"},
		"ERROR one three": nil,
	} {
		out, err := client.FilterLogEvents(t.Context(), &cwl.FilterLogEventsInput{LogGroupName: name, FilterPattern: &pattern})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, e := range out.Events {
			got = append(got, *e.Message)
		}
		if !slices.Equal(got, want) {
			t.Errorf("pattern %q: %q, want %q", pattern, got, want)
		}
	}
	_, err := client.FilterLogEvents(t.Context(), &cwl.FilterLogEventsInput{LogGroupName: name, FilterPattern: aws.String("{ $.x = 1 }")})
	wantCode(t, err, "InvalidParameterException")
}

func TestGroups(t *testing.T) {
	s, client := newService(t)
	provider := s.Providers()["AWS::Logs::LogGroup"]
	made, err := provider.Create(t.Context(), group("/a"))
	if err != nil {
		t.Fatal(err)
	}
	if want := "arn:aws:logs:us-east-1:123456789012:log-group:/a:*"; made.ID != "/a" || made.Attributes["Arn"] != want {
		t.Errorf("made %+v", made)
	}
	if _, err := provider.Create(t.Context(), group("/a")); err == nil || !strings.Contains(err.Error(), "already exists") {
		t.Errorf("a second group of the name: %v", err)
	}
	_, err = client.CreateLogGroup(t.Context(), &cwl.CreateLogGroupInput{LogGroupName: aws.String("/a")})
	wantCode(t, err, "ResourceAlreadyExistsException")
	_, err = client.PutRetentionPolicy(t.Context(), &cwl.PutRetentionPolicyInput{LogGroupName: aws.String("/a"), RetentionInDays: aws.Int32(8)})
	wantCode(t, err, "InvalidParameterException")
	out, err := client.DescribeLogGroups(t.Context(), &cwl.DescribeLogGroupsInput{LogGroupNamePrefix: aws.String("/")})
	if err != nil || len(out.LogGroups) != 1 || *out.LogGroups[0].RetentionInDays != 7 {
		t.Errorf("groups %+v, %v", out, err)
	}
	if tags := s.Tagged()["arn:aws:logs:us-east-1:123456789012:log-group:/a"]; tags["ManagedBy"] != "test" {
		t.Errorf("tags %v", tags)
	}

	state, err := json.Marshal(s)
	if err != nil {
		t.Fatal(err)
	}
	other, _ := newService(t)
	if err := json.Unmarshal(state, other); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Writer("/a", "stream"); err != nil {
		t.Errorf("group of the saved state: %v", err)
	}

	if err := provider.Delete(t.Context(), made, group("/a")); err != nil {
		t.Fatal(err)
	}
	_, err = s.Writer("/a", "stream")
	if err == nil || !strings.Contains(err.Error(), "The specified log group does not exist.") {
		t.Errorf("writer of a deleted group: %v", err)
	}
	_, err = client.GetLogEvents(t.Context(), &cwl.GetLogEventsInput{LogGroupName: aws.String("/a"), LogStreamName: aws.String("x")})
	wantCode(t, err, "ResourceNotFoundException")
}
