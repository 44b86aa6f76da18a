// Package tagging plays the Resource Groups Tagging API over the tags that the services tell.
package tagging

import (
	"context"
	"maps"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// Source tells the tags of a service's resources by their ARN. It is called for each request.
type Source func() map[string]map[string]string

// API returns the service over the sources.
func API(sources []Source) protocol.Service {
	s := service(sources)
	return protocol.Service{Name: "tagging", Wire: protocol.CBOR, Operations: map[string]protocol.Operation{"GetResources": protocol.Op(s.getResources)}}
}

type service []Source

func (s service) getResources(_ context.Context, call *protocol.Call, in *resourcegroupstaggingapi.GetResourcesInput) (*resourcegroupstaggingapi.GetResourcesOutput, error) {
	if err := call.Allow("tag:GetResources"); err != nil {
		return nil, err
	}
	all := map[string]map[string]string{}
	for _, source := range s {
		maps.Copy(all, source())
	}
	found := []types.ResourceTagMapping{}
	for _, arn := range slices.Sorted(maps.Keys(all)) {
		if tags := all[arn]; len(tags) > 0 && wanted(in, arn, tags) {
			found = append(found, types.ResourceTagMapping{ResourceARN: aws.String(arn), Tags: listed(tags)})
		}
	}
	page, next, err := protocol.Page(found, in.PaginationToken, in.ResourcesPerPage, 50)
	if err != nil {
		return nil, err
	}
	if next == nil {
		next = aws.String("") // the service says so that there is no more
	}
	return &resourcegroupstaggingapi.GetResourcesOutput{ResourceTagMappingList: page, PaginationToken: next}, nil
}

// wanted says whether a resource is of the types and has each of the tags; a filter's values are
// alternatives, none means any value.
func wanted(in *resourcegroupstaggingapi.GetResourcesInput, arn string, tags map[string]string) bool {
	if len(in.ResourceARNList) > 0 && !slices.Contains(in.ResourceARNList, arn) {
		return false
	}
	if len(in.ResourceTypeFilters) > 0 && !slices.ContainsFunc(in.ResourceTypeFilters, func(filter string) bool { return ofType(arn, filter) }) {
		return false
	}
	return !slices.ContainsFunc(in.TagFilters, func(filter types.TagFilter) bool {
		value, ok := tags[aws.ToString(filter.Key)]
		return !ok || len(filter.Values) > 0 && !slices.Contains(filter.Values, value)
	})
}

// ofType compares an ARN with a filter such as ecs or ecs:cluster.
func ofType(arn, filter string) bool {
	parts := strings.SplitN(arn, ":", 6)
	if len(parts) != 6 {
		return false
	}
	service, kind, typed := strings.Cut(filter, ":")
	rest, ok := strings.CutPrefix(parts[5], kind)
	return parts[2] == service && (!typed || ok && (rest == "" || rest[0] == '/' || rest[0] == ':'))
}

func listed(tags map[string]string) []types.Tag {
	out := make([]types.Tag, 0, len(tags))
	for _, key := range slices.Sorted(maps.Keys(tags)) {
		out = append(out, types.Tag{Key: aws.String(key), Value: aws.String(tags[key])})
	}
	return out
}
