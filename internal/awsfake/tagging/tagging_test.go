package tagging_test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/tagging"
)

func TestResourcesAreFoundByTagAndType(t *testing.T) {
	const prefix = "arn:aws:"
	config := protocoltest.Serve(t, tagging.API([]tagging.Source{
		func() map[string]map[string]string {
			return map[string]map[string]string{
				prefix + "ecs:us-east-1:1:cluster/c":            {"app": "limiter", "kind": "load"},
				prefix + "ecs:us-east-1:1:task-definition/td:1": {"app": "limiter"},
				prefix + "ecs:us-east-1:1:task/c/untagged":      {},
			}
		},
		func() map[string]map[string]string {
			return map[string]map[string]string{prefix + "lambda:us-east-1:1:function:f": {"app": "other", "kind": "load"}}
		},
	}))
	client := resourcegroupstaggingapi.NewFromConfig(config)
	for _, test := range []struct {
		name string
		in   resourcegroupstaggingapi.GetResourcesInput
		want string
	}{
		{"everything tagged", resourcegroupstaggingapi.GetResourcesInput{}, "cluster/c task-definition/td:1 function:f"},
		{"a key with any value", resourcegroupstaggingapi.GetResourcesInput{TagFilters: []types.TagFilter{{Key: aws.String("kind")}}}, "cluster/c function:f"},
		{"alternatives of a value", resourcegroupstaggingapi.GetResourcesInput{TagFilters: []types.TagFilter{{Key: aws.String("app"), Values: []string{"x", "other"}}}}, "function:f"},
		{"two filters", resourcegroupstaggingapi.GetResourcesInput{TagFilters: []types.TagFilter{{Key: aws.String("kind")}, {Key: aws.String("app"), Values: []string{"limiter"}}}}, "cluster/c"},
		{"a service", resourcegroupstaggingapi.GetResourcesInput{ResourceTypeFilters: []string{"ecs"}}, "cluster/c task-definition/td:1"},
		{"a type", resourcegroupstaggingapi.GetResourcesInput{ResourceTypeFilters: []string{"ecs:task", "lambda:function"}}, "function:f"},
		{"an ARN", resourcegroupstaggingapi.GetResourcesInput{ResourceARNList: []string{prefix + "ecs:us-east-1:1:cluster/c"}}, "cluster/c"},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.in.ResourcesPerPage = aws.Int32(1)
			var got []string
			pages := resourcegroupstaggingapi.NewGetResourcesPaginator(client, &test.in)
			for pages.HasMorePages() {
				page, err := pages.NextPage(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				for _, mapping := range page.ResourceTagMappingList {
					parts := strings.SplitN(*mapping.ResourceARN, ":", 6)
					got = append(got, parts[5])
				}
			}
			if strings.Join(got, " ") != test.want {
				t.Errorf("found %v, want %s", got, test.want)
			}
		})
	}
}
