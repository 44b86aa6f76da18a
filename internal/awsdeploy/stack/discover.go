package stack

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	tagging "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	tagtypes "github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"
	"github.com/aws/smithy-go"
)

// Tags and names by which stacks of the limiter are known (aws.md 2.7).
const (
	ManagedByTag = "ManagedBy"
	Manager      = "zae-limiter"
	NameTag      = "zae-limiter:name"
	TypeTag      = "zae-limiter:type"

	TypeLimiter  = "limiter"
	TypeLoadTest = "load-test"

	legacyPrefix = "ZAEL-"
)

// Type is the stack's kind, TypeLimiter when no tag says otherwise.
func (s *Stack) Type() string {
	if t := s.Tags[TypeTag]; t != "" {
		return t
	}
	return TypeLimiter
}

// UserName is the limiter's name as its user knows it: that of the tag, else the stack's own without
// the prefix of old releases.
func (s *Stack) UserName() string {
	if n := s.Tags[NameTag]; n != "" {
		return n
	}
	return strings.TrimPrefix(s.Name, legacyPrefix)
}

// TaggingAPI is the part of the tagging service's client that is used.
type TaggingAPI interface {
	GetResources(context.Context, *tagging.GetResourcesInput, ...func(*tagging.Options)) (*tagging.GetResourcesOutput, error)
}

// Found is what Discover found, sorted by name.
type Found struct {
	Stacks []*Stack
	// Incomplete says why stacks without tags may be missing; empty when all were looked at.
	Incomplete string
}

// Discover finds the stacks of the limiter in two ways at the same time: by tag, and by looking at all
// stacks, which also finds those of releases that did not tag. The second needs permission for all
// stacks; where that is denied the first is enough, and the answer says so.
func (c *Client) Discover(ctx context.Context, tags TaggingAPI) (*Found, error) {
	var (
		work             sync.WaitGroup
		all              []*Stack
		tagged           []string
		allErr, tagError error
	)
	work.Go(func() { all, allErr = c.ours(ctx) })
	work.Go(func() { tagged, tagError = taggedStacks(ctx, tags) })
	work.Wait()
	found := &Found{}
	switch {
	case allErr == nil:
		found.Stacks = all
	case isDenied(allErr) && tagError == nil:
		found.Incomplete = "stacks without tags are not shown: cloudformation:DescribeStacks is not allowed on all stacks"
	default:
		return nil, allErr
	}
	more, err := c.describeMissing(ctx, found.Stacks, tagged)
	if err != nil {
		return nil, err
	}
	found.Stacks = append(found.Stacks, more...)
	slices.SortFunc(found.Stacks, func(x, y *Stack) int { return strings.Compare(x.Name, y.Name) })
	return found, nil
}

// describeMissing describes the stacks, by ARN, that are not known yet, side by side.
func (c *Client) describeMissing(ctx context.Context, known []*Stack, arns []string) ([]*Stack, error) {
	arns = slices.DeleteFunc(arns, func(arn string) bool {
		return slices.ContainsFunc(known, func(s *Stack) bool { return s.ID == arn })
	})
	stacks, errs := make([]*Stack, len(arns)), make([]error, len(arns))
	var work sync.WaitGroup
	for i, arn := range arns {
		work.Go(func() {
			stacks[i], errs[i] = c.Describe(ctx, arn)
			if errors.Is(errs[i], ErrNotFound) { // tags outlive a stack for a while
				errs[i] = nil
			}
		})
	}
	work.Wait()
	stacks = slices.DeleteFunc(stacks, func(s *Stack) bool { return s == nil || s.Status == string(types.StackStatusDeleteComplete) })
	return stacks, errors.Join(errs...)
}

// ours are the stacks, among all, that carry the limiter's tag or an old name.
func (c *Client) ours(ctx context.Context) ([]*Stack, error) {
	var stacks []*Stack
	pages := cfn.NewDescribeStacksPaginator(c.API, &cfn.DescribeStacksInput{})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe all stacks: %w", err)
		}
		for i := range page.Stacks {
			s := fromSDK(&page.Stacks[i])
			if s.Tags[ManagedByTag] == Manager || strings.HasPrefix(s.Name, legacyPrefix) {
				stacks = append(stacks, s)
			}
		}
	}
	return stacks, nil
}

func taggedStacks(ctx context.Context, api TaggingAPI) ([]string, error) {
	var arns []string
	pages := tagging.NewGetResourcesPaginator(api, &tagging.GetResourcesInput{
		ResourceTypeFilters: []string{"cloudformation:stack"},
		TagFilters:          []tagtypes.TagFilter{{Key: aws.String(ManagedByTag), Values: []string{Manager}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("find tagged stacks: %w", err)
		}
		for _, r := range page.ResourceTagMappingList {
			arns = append(arns, aws.ToString(r.ResourceARN))
		}
	}
	return arns, nil
}

func isDenied(err error) bool {
	api, ok := errors.AsType[smithy.APIError](err)
	return ok && (api.ErrorCode() == "AccessDenied" || api.ErrorCode() == "AccessDeniedException")
}
