package awsrun

import (
	"slices"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	ssmtypes "github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

func TestEndpointsOfAVPC(t *testing.T) {
	found, err := DescribeEndpoints(t.Context(), double{
		"DescribeSubnets": func(any) (any, error) {
			return &ec2.DescribeSubnetsOutput{Subnets: []ec2types.Subnet{{VpcId: aws.String("vpc-1")}}}, nil
		},
		"DescribeVpcEndpoints": func(any) (any, error) {
			return &ec2.DescribeVpcEndpointsOutput{VpcEndpoints: []ec2types.VpcEndpoint{
				{ServiceName: aws.String("com.amazonaws.eu-west-1.dynamodb"), State: "available"},
				{ServiceName: aws.String("cn.com.amazonaws.cn-north-1.ecr.api"), State: "Pending"},
				{ServiceName: aws.String("com.amazonaws.eu-west-1.s3"), State: "failed"},
			}}, nil
		},
	}.config(t), []string{"subnet-1"})
	if err != nil {
		t.Fatal(err)
	}
	if got := found.Missing(); !slices.Equal(got, []string{"s3", "ecr.dkr", "logs", "ssmmessages", "lambda"}) || found.VPC != "vpc-1" || !found.Has("dynamodb") {
		t.Errorf("endpoints %+v, missing %v", found, got)
	}
}

func TestOnlySessionsToTheStackAreFound(t *testing.T) {
	found, err := Sessions(t.Context(), double{"DescribeSessions": func(any) (any, error) {
		return &ssm.DescribeSessionsOutput{Sessions: []ssmtypes.Session{
			{SessionId: aws.String("s1"), Target: aws.String("ecs:my-load_0123_run-1"), Owner: aws.String("me")},
			{SessionId: aws.String("s2"), Target: aws.String("ecs:other-load_0123_run-1")},
			{SessionId: aws.String("s3"), Target: aws.String("i-1")},
		}}, nil
	}}.config(t), "my")
	if err != nil || len(found) != 1 || found[0].ID != "s1" || found[0].Task != "0123" || found[0].Owner != "me" {
		t.Errorf("sessions %+v, error %v", found, err)
	}
}
