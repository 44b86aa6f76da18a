package ecs

import (
	"cmp"
	"context"
	"iter"
	"maps"
	"slices"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// holder is a resource that can have tags.
type holder struct {
	arn  string
	tags *[]types.Tag
}

// holders are all of them; the lock is held.
func (s *Service) holders() iter.Seq[holder] {
	return func(yield func(holder) bool) {
		for _, c := range s.clusters {
			if !yield(holder{*c.Cluster.ClusterArn, &c.Cluster.Tags}) {
				return
			}
			for _, svc := range c.Services {
				if !yield(holder{*svc.Service.ServiceArn, &svc.Service.Tags}) {
					return
				}
			}
		}
		for _, f := range s.families {
			for _, d := range f.Revisions {
				if d.Definition.Status == types.TaskDefinitionStatusActive && !yield(holder{*d.Definition.TaskDefinitionArn, &d.Tags}) {
					return
				}
			}
		}
		for _, t := range s.tasks {
			if !t.stopped() && !yield(holder{*t.shown.TaskArn, &t.shown.Tags}) {
				return
			}
		}
	}
}

// holder finds one; the lock is held.
func (s *Service) holder(call *protocol.Call, action string, arn *string) (holder, error) {
	if err := call.Allow("ecs:"+action, aws.ToString(arn)); err != nil {
		return holder{}, err
	}
	for h := range s.holders() {
		if h.arn == aws.ToString(arn) {
			return h, nil
		}
	}
	return holder{}, protocol.Errorf("InvalidParameterException", "The specified resource could not be found: %s. Specify a valid ARN and try again.", aws.ToString(arn))
}

func (s *Service) tagResource(_ context.Context, call *protocol.Call, in *ecs.TagResourceInput) (*ecs.TagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.holder(call, "TagResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	*h.tags = merged(*h.tags, in.Tags...)
	return &ecs.TagResourceOutput{}, nil
}

func (s *Service) untagResource(_ context.Context, call *protocol.Call, in *ecs.UntagResourceInput) (*ecs.UntagResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.holder(call, "UntagResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	tags := mapOf(*h.tags)
	maps.DeleteFunc(tags, func(key, _ string) bool { return slices.Contains(in.TagKeys, key) })
	*h.tags = listOf(tags)
	return &ecs.UntagResourceOutput{}, nil
}

func (s *Service) listTagsForResource(_ context.Context, call *protocol.Call, in *ecs.ListTagsForResourceInput) (*ecs.ListTagsForResourceOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h, err := s.holder(call, "ListTagsForResource", in.ResourceArn)
	if err != nil {
		return nil, err
	}
	return &ecs.ListTagsForResourceOutput{Tags: *h.tags}, nil
}

func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }
