// Package logs plays CloudWatch Logs: groups, streams and their events, for clients, for log drivers
// and for stacks.
package logs

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cwl "github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

const (
	// maxEvents bounds what a stream keeps; the oldest events go first.
	maxEvents = 100_000
	// maxMessage is the longest event in bytes; longer lines of a driver are cut into several.
	maxMessage = 1 << 20
)

// Config says whose logs they are.
type Config struct {
	Account, Region string
	// Now is the clock; nil is the machine's.
	Now func() time.Time
}

// Service holds log groups. It is safe for concurrent use.
type Service struct {
	config Config

	mu     sync.Mutex
	groups map[string]*group
}

type group struct {
	Name      string            `json:"name"`
	Created   int64             `json:"created"` // milliseconds since 1970
	Retention int32             `json:"retention_days,omitempty"`
	Tags      map[string]string `json:"tags,omitempty"`

	streams map[string]*stream
}

type stream struct {
	name    string
	created int64
	dropped int // events that went because of maxEvents
	events  []event
}

type event struct {
	at, ingested int64 // milliseconds since 1970
	message      string
}

// New returns a service without groups.
func New(config Config) *Service {
	if config.Now == nil {
		config.Now = time.Now
	}
	return &Service{config: config, groups: map[string]*group{}}
}

// API returns the operations for the front.
func (s *Service) API() protocol.Service {
	return protocol.Service{Name: "logs", Wire: protocol.JSON11, Operations: map[string]protocol.Operation{
		"CreateLogGroup":        protocol.Op(s.createLogGroup),
		"CreateLogStream":       protocol.Op(s.createLogStream),
		"DeleteLogGroup":        protocol.Op(s.deleteLogGroup),
		"DeleteLogStream":       protocol.Op(s.deleteLogStream),
		"DescribeLogGroups":     protocol.Op(s.describeLogGroups),
		"DescribeLogStreams":    protocol.Op(s.describeLogStreams),
		"FilterLogEvents":       protocol.Op(s.filterLogEvents),
		"GetLogEvents":          protocol.Op(s.getLogEvents),
		"ListTagsForResource":   protocol.Op(s.listTagsForResource),
		"PutLogEvents":          protocol.Op(s.putLogEvents),
		"PutRetentionPolicy":    protocol.Op(s.putRetentionPolicy),
		"DeleteRetentionPolicy": protocol.Op(s.deleteRetentionPolicy),
		"TagResource":           protocol.Op(s.tagResource),
		"UntagResource":         protocol.Op(s.untagResource),
	}}
}

// Tagged returns the tags of every group that has some, by ARN.
func (s *Service) Tagged() map[string]map[string]string {
	s.mu.Lock()
	defer s.mu.Unlock()
	tagged := map[string]map[string]string{}
	for _, g := range s.groups {
		if len(g.Tags) > 0 {
			tagged[s.arn(g.Name)] = maps.Clone(g.Tags)
		}
	}
	return tagged
}

// MarshalJSON writes the groups without their events.
func (s *Service) MarshalJSON() ([]byte, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return json.Marshal(s.groups)
}

// UnmarshalJSON replaces the groups by those that MarshalJSON wrote.
func (s *Service) UnmarshalJSON(state []byte) error {
	groups := map[string]*group{}
	if err := json.Unmarshal(state, &groups); err != nil {
		return fmt.Errorf("state of the log groups: %w", err)
	}
	for _, g := range groups {
		g.streams = map[string]*stream{}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.groups = groups
	return nil
}

func (s *Service) arn(group string) string {
	return fmt.Sprintf("arn:aws:logs:%s:%s:log-group:%s", s.config.Region, s.config.Account, group)
}

func (s *Service) now() int64 { return s.config.Now().UnixMilli() }

var errNoGroup = protocol.Errorf("ResourceNotFoundException", "The specified log group does not exist.")

var errNoStream = protocol.Errorf("ResourceNotFoundException", "The specified log stream does not exist.")

// group finds a group by name or ARN; the lock is held.
func (s *Service) group(name, identifier *string) (*group, error) {
	key := aws.ToString(name)
	if key == "" {
		key = aws.ToString(identifier)
	}
	if _, after, ok := strings.Cut(key, ":log-group:"); ok {
		key = strings.TrimSuffix(after, ":*")
	}
	if g := s.groups[key]; g != nil {
		return g, nil
	}
	return nil, errNoGroup
}

// allow checks an action on a group, named as in a request.
func (s *Service) allow(call *protocol.Call, action string, name, identifier *string) error {
	key := cmp.Or(aws.ToString(name), aws.ToString(identifier))
	if !strings.HasPrefix(key, "arn:") {
		key = s.arn(key)
	}
	return call.Allow("logs:"+action, strings.TrimSuffix(key, ":*")+":*")
}

// enter checks the permission for an action on a group and returns the group, with the lock held until
// release is called.
func (s *Service) enter(call *protocol.Call, action string, name *string) (g *group, release func(), err error) {
	if err := s.allow(call, action, name, nil); err != nil {
		return nil, nil, err
	}
	s.mu.Lock()
	if g, err = s.group(name, nil); err != nil {
		s.mu.Unlock()
		return nil, nil, err
	}
	return g, s.mu.Unlock, nil
}

// The length is checked apart: a bound in the expression costs every start of the program a millisecond.
var groupName = regexp.MustCompile(`^[\.\-_/#A-Za-z0-9]+$`)

const maxGroupName = 512

// create makes a group; the error says whether there is one already.
func (s *Service) create(name string, retention int32, tags map[string]string) error {
	if len(name) > maxGroupName || !groupName.MatchString(name) {
		return protocol.Errorf("InvalidParameterException", "1 validation error detected: Value '%s' at 'logGroupName' failed to satisfy constraint: Member must satisfy regular expression pattern: [\\.\\-_/#A-Za-z0-9]+", name)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.groups[name] != nil {
		return protocol.Errorf("ResourceAlreadyExistsException", "The specified log group already exists")
	}
	s.groups[name] = &group{Name: name, Created: s.now(), Retention: retention, Tags: maps.Clone(tags), streams: map[string]*stream{}}
	return nil
}

func (s *Service) createLogGroup(_ context.Context, call *protocol.Call, in *cwl.CreateLogGroupInput) (*cwl.CreateLogGroupOutput, error) {
	if err := s.allow(call, "CreateLogGroup", in.LogGroupName, nil); err != nil {
		return nil, err
	}
	if err := s.create(aws.ToString(in.LogGroupName), 0, in.Tags); err != nil {
		return nil, err
	}
	return &cwl.CreateLogGroupOutput{}, nil
}

func (s *Service) deleteLogGroup(_ context.Context, call *protocol.Call, in *cwl.DeleteLogGroupInput) (*cwl.DeleteLogGroupOutput, error) {
	g, release, err := s.enter(call, "DeleteLogGroup", in.LogGroupName)
	if err != nil {
		return nil, err
	}
	defer release()
	delete(s.groups, g.Name)
	return &cwl.DeleteLogGroupOutput{}, nil
}

// retentions are the numbers of days that a group may keep its events.
var retentions = []int32{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

func checkRetention(days int32) error {
	if !slices.Contains(retentions, days) {
		return protocol.Errorf("InvalidParameterException", "1 validation error detected: Value '%d' at 'retentionInDays' failed to satisfy constraint: Member must satisfy enum value set: %v", days, retentions)
	}
	return nil
}

func (s *Service) putRetentionPolicy(_ context.Context, call *protocol.Call, in *cwl.PutRetentionPolicyInput) (*cwl.PutRetentionPolicyOutput, error) {
	if err := s.allow(call, "PutRetentionPolicy", in.LogGroupName, nil); err != nil {
		return nil, err
	}
	if err := checkRetention(aws.ToInt32(in.RetentionInDays)); err != nil {
		return nil, err
	}
	if err := s.setRetention(in.LogGroupName, *in.RetentionInDays); err != nil {
		return nil, err
	}
	return &cwl.PutRetentionPolicyOutput{}, nil
}

func (s *Service) deleteRetentionPolicy(_ context.Context, call *protocol.Call, in *cwl.DeleteRetentionPolicyInput) (*cwl.DeleteRetentionPolicyOutput, error) {
	if err := s.allow(call, "DeleteRetentionPolicy", in.LogGroupName, nil); err != nil {
		return nil, err
	}
	if err := s.setRetention(in.LogGroupName, 0); err != nil {
		return nil, err
	}
	return &cwl.DeleteRetentionPolicyOutput{}, nil
}

func (s *Service) setRetention(name *string, days int32) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	g, err := s.group(name, nil)
	if err == nil {
		g.Retention = days
	}
	return err
}

func (s *Service) describeLogGroups(_ context.Context, call *protocol.Call, in *cwl.DescribeLogGroupsInput) (*cwl.DescribeLogGroupsOutput, error) {
	if err := call.Allow("logs:DescribeLogGroups"); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	var found []types.LogGroup
	for _, name := range slices.Sorted(maps.Keys(s.groups)) {
		if !strings.HasPrefix(name, aws.ToString(in.LogGroupNamePrefix)) || !strings.Contains(name, aws.ToString(in.LogGroupNamePattern)) {
			continue
		}
		found = append(found, s.describe(s.groups[name]))
	}
	page, next, err := protocol.Page(found, in.NextToken, in.Limit, 50)
	return &cwl.DescribeLogGroupsOutput{LogGroups: page, NextToken: next}, err
}

func (s *Service) describe(g *group) types.LogGroup {
	var bytes int64
	for _, st := range g.streams {
		bytes += st.bytes()
	}
	described := types.LogGroup{
		LogGroupName: &g.Name, CreationTime: &g.Created, StoredBytes: &bytes, MetricFilterCount: aws.Int32(0),
		Arn: aws.String(s.arn(g.Name) + ":*"), LogGroupArn: aws.String(s.arn(g.Name)), LogGroupClass: types.LogGroupClassStandard,
	}
	if g.Retention > 0 {
		described.RetentionInDays = aws.Int32(g.Retention)
	}
	return described
}

func (s *Service) tagResource(_ context.Context, call *protocol.Call, in *cwl.TagResourceInput) (*cwl.TagResourceOutput, error) {
	g, release, err := s.enter(call, "TagResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	defer release()
	if g.Tags == nil {
		g.Tags = map[string]string{}
	}
	maps.Copy(g.Tags, in.Tags)
	return &cwl.TagResourceOutput{}, nil
}

func (s *Service) untagResource(_ context.Context, call *protocol.Call, in *cwl.UntagResourceInput) (*cwl.UntagResourceOutput, error) {
	g, release, err := s.enter(call, "UntagResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	defer release()
	for _, key := range in.TagKeys {
		delete(g.Tags, key)
	}
	return &cwl.UntagResourceOutput{}, nil
}

func (s *Service) listTagsForResource(_ context.Context, call *protocol.Call, in *cwl.ListTagsForResourceInput) (*cwl.ListTagsForResourceOutput, error) {
	g, release, err := s.enter(call, "ListTagsForResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	defer release()
	return &cwl.ListTagsForResourceOutput{Tags: maps.Clone(g.Tags)}, nil
}
