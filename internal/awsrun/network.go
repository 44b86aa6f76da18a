package awsrun

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ec2/types"
)

// Endpoints are the services that have an endpoint in the VPC of the tasks.
type Endpoints struct {
	VPC string
	// Services are their names without the region's part, such as "ecr.api" or "dynamodb", sorted.
	Services []string
}

// neededEndpoints are what a task and its functions use, in subnets without NAT (aws.md 5.6).
var neededEndpoints = []string{"dynamodb", "s3", "ecr.api", "ecr.dkr", "logs", "ssmmessages", "lambda"}

// Missing are the services that a subnet without a way out does not reach.
func (e *Endpoints) Missing() []string {
	return slices.DeleteFunc(slices.Clone(neededEndpoints), e.Has)
}

// Has reports whether a service has an endpoint.
func (e *Endpoints) Has(service string) bool { return slices.Contains(e.Services, service) }

// DescribeEndpoints finds the endpoints in the VPC of subnets.
func DescribeEndpoints(ctx context.Context, cfg aws.Config, subnets []string) (*Endpoints, error) {
	client := ec2.NewFromConfig(cfg)
	described, err := client.DescribeSubnets(ctx, &ec2.DescribeSubnetsInput{SubnetIds: subnets})
	if err != nil {
		return nil, fmt.Errorf("describe subnets: %w", err)
	}
	if len(described.Subnets) == 0 {
		return nil, fmt.Errorf("subnets %s are not there", strings.Join(subnets, ", "))
	}
	e := &Endpoints{VPC: aws.ToString(described.Subnets[0].VpcId)}
	pages := ec2.NewDescribeVpcEndpointsPaginator(client, &ec2.DescribeVpcEndpointsInput{
		Filters: []types.Filter{{Name: aws.String("vpc-id"), Values: []string{e.VPC}}},
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe endpoints of %s: %w", e.VPC, err)
		}
		for _, found := range page.VpcEndpoints {
			// The state has two spellings.
			if state := strings.ToLower(string(found.State)); state == "available" || state == "pending" {
				e.Services = append(e.Services, serviceOf(aws.ToString(found.ServiceName)))
			}
		}
	}
	slices.Sort(e.Services)
	return e, nil
}

// serviceOf is the end of a service's name: com.amazonaws.eu-west-1.ecr.api is ecr.api.
func serviceOf(name string) string {
	parts := strings.Split(name, ".")
	if i := slices.Index(parts, "amazonaws"); i >= 0 && len(parts) > i+2 {
		return strings.Join(parts[i+2:], ".")
	}
	return name
}
