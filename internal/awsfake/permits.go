package awsfake

import (
	"cmp"
	"errors"
	"path"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/cloudformation"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

// need is an action that whoever works on a stack must be allowed. With a property it is needed only
// for resources that have it.
type need struct{ action, property string }

// permit is what a type of resource needs of the caller: CloudFormation acts with the caller's rights.
type permit struct {
	create, update, remove []need
	// service and kind begin the ARN ("" = "*"), name is the property that ends it; within is the property
	// with what the resource is part of, when that is in the ARN too.
	service, kind, within, name string
	// passes are properties with roles that are given to principal.
	passes    []string
	principal string
}

// permits are those of the types that limiter and load stacks have (aws.md 6.3).
var permits = map[string]permit{
	"AWS::CloudWatch::Alarm": {
		service: "cloudwatch", kind: "alarm:", name: "AlarmName",
		create: needs("cloudwatch:PutMetricAlarm"), update: needs("cloudwatch:PutMetricAlarm"), remove: needs("cloudwatch:DeleteAlarms"),
	},
	"AWS::DynamoDB::Table": {
		service: "dynamodb", kind: "table/", name: "TableName",
		create: needs("dynamodb:CreateTable", "dynamodb:DescribeTable"), update: needs("dynamodb:UpdateTable"), remove: needs("dynamodb:DeleteTable"),
	},
	"AWS::EC2::SecurityGroup": {
		create: append(needs("ec2:CreateSecurityGroup"), need{"ec2:AuthorizeSecurityGroupIngress", "SecurityGroupIngress"}, need{"ec2:AuthorizeSecurityGroupEgress", "SecurityGroupEgress"}),
		update: []need{{"ec2:AuthorizeSecurityGroupIngress", "SecurityGroupIngress"}, {"ec2:RevokeSecurityGroupIngress", "SecurityGroupIngress"}},
		remove: needs("ec2:DeleteSecurityGroup"),
	},
	"AWS::EC2::SecurityGroupEgress":  {create: needs("ec2:AuthorizeSecurityGroupEgress"), remove: needs("ec2:RevokeSecurityGroupEgress")},
	"AWS::EC2::SecurityGroupIngress": {create: needs("ec2:AuthorizeSecurityGroupIngress"), remove: needs("ec2:RevokeSecurityGroupIngress")},
	"AWS::EC2::VPCEndpoint":          {create: needs("ec2:CreateVpcEndpoint"), update: needs("ec2:ModifyVpcEndpoint"), remove: needs("ec2:DeleteVpcEndpoints")},
	"AWS::ECR::Repository": {
		service: "ecr", kind: "repository/", name: "RepositoryName",
		create: append(needs("ecr:CreateRepository"), need{"ecr:PutLifecyclePolicy", "LifecyclePolicy"}),
		update: []need{{"ecr:PutLifecyclePolicy", "LifecyclePolicy"}}, remove: needs("ecr:DeleteRepository"),
	},
	"AWS::ECS::Cluster": {
		service: "ecs", kind: "cluster/", name: "ClusterName",
		create: needs("ecs:CreateCluster"), update: needs("ecs:UpdateCluster"), remove: needs("ecs:DeleteCluster"),
	},
	"AWS::ECS::Service": {
		service: "ecs", kind: "service/", within: "Cluster", name: "ServiceName",
		create: needs("ecs:CreateService"), update: needs("ecs:UpdateService"), remove: needs("ecs:DeleteService"),
	},
	"AWS::ECS::TaskDefinition": {
		create: needs("ecs:RegisterTaskDefinition"), remove: needs("ecs:DeregisterTaskDefinition"),
		passes: []string{"TaskRoleArn", "ExecutionRoleArn"}, principal: "ecs-tasks.amazonaws.com",
	},
	"AWS::IAM::ManagedPolicy": {
		service: "iam", kind: "policy/", name: "ManagedPolicyName",
		create: needs("iam:CreatePolicy"), update: needs("iam:CreatePolicyVersion"), remove: needs("iam:DeletePolicy"),
	},
	"AWS::IAM::Role": {
		service: "iam", kind: "role/", name: "RoleName",
		create: append(needs("iam:CreateRole"), need{"iam:PutRolePolicy", "Policies"}, need{"iam:AttachRolePolicy", "ManagedPolicyArns"}),
		update: append(needs("iam:UpdateAssumeRolePolicy"), need{"iam:PutRolePolicy", "Policies"}),
		remove: append(needs("iam:DeleteRole"), need{"iam:DeleteRolePolicy", "Policies"}, need{"iam:DetachRolePolicy", "ManagedPolicyArns"}),
	},
	"AWS::Lambda::Alias": {
		service: "lambda", kind: "function:", name: "FunctionName",
		create: needs("lambda:CreateAlias"), update: needs("lambda:UpdateAlias"), remove: needs("lambda:DeleteAlias"),
	},
	"AWS::Lambda::EventInvokeConfig": {
		service: "lambda", kind: "function:", name: "FunctionName",
		create: needs("lambda:PutFunctionEventInvokeConfig"), update: needs("lambda:UpdateFunctionEventInvokeConfig"), remove: needs("lambda:DeleteFunctionEventInvokeConfig"),
	},
	"AWS::Lambda::EventSourceMapping": {
		create: needs("lambda:CreateEventSourceMapping"), update: needs("lambda:UpdateEventSourceMapping"), remove: needs("lambda:DeleteEventSourceMapping"),
	},
	"AWS::Lambda::Function": {
		service: "lambda", kind: "function:", name: "FunctionName",
		create: append(needs("lambda:CreateFunction"), need{"lambda:PutFunctionConcurrency", "ReservedConcurrentExecutions"}),
		update: needs("lambda:UpdateFunctionConfiguration"), remove: needs("lambda:DeleteFunction"),
		passes: []string{"Role"}, principal: "lambda.amazonaws.com",
	},
	"AWS::Logs::LogGroup": {
		service: "logs", kind: "log-group:", name: "LogGroupName",
		create: append(needs("logs:CreateLogGroup"), need{"logs:PutRetentionPolicy", "RetentionInDays"}),
		update: []need{{"logs:PutRetentionPolicy", "RetentionInDays"}}, remove: needs("logs:DeleteLogGroup"),
	},
	"AWS::SQS::Queue": {
		service: "sqs", kind: "", name: "QueueName",
		create: needs("sqs:CreateQueue"), update: needs("sqs:SetQueueAttributes"), remove: needs("sqs:DeleteQueue"),
	},
}

// needs are actions without a condition.
func needs(actions ...string) []need {
	out := make([]need, len(actions))
	for i, action := range actions {
		out[i] = need{action: action}
	}
	return out
}

// permitted asks the guard of the caller for what a phase of a resource needs.
func permitted(guard protocol.Guard, r *resource.Resource, phase cloudformation.Phase) error {
	p, ok := permits[r.Type]
	if guard == nil || !ok {
		return nil
	}
	wanted := p.remove // also in a roll-back
	switch phase {
	case cloudformation.Create:
		wanted = p.create
	case cloudformation.Update:
		wanted = p.update
	}
	for _, n := range wanted {
		if n.property != "" && r.Properties[n.property] == nil {
			continue
		}
		if err := guard.Allow(n.action, p.arn(r), nil); err != nil {
			return reasonOf(err)
		}
	}
	if phase != cloudformation.Create {
		return nil
	}
	for _, property := range p.passes {
		role, ok := r.Properties[property].(string)
		if !ok {
			continue
		}
		if err := guard.Allow("iam:PassRole", role, map[string]string{"iam:PassedToService": p.principal}); err != nil {
			return reasonOf(err)
		}
	}
	return nil
}

// arn is the resource's, by the name that the template gives or that it will be given.
func (p permit) arn(r *resource.Resource) string {
	if p.service == "" {
		return "*"
	}
	name, _ := r.Properties[p.name].(string)
	name = cmp.Or(name, r.Stack+"-"+r.LogicalID+"-")
	if part, ok := r.Properties[p.within].(string); ok {
		name = path.Base(part) + "/" + name
	}
	region := r.Region
	if p.service == "iam" {
		region = ""
	}
	return "arn:aws:" + p.service + ":" + region + ":" + r.Account + ":" + p.kind + name
}

// reasonOf is a denial as the reason of a failed resource.
func reasonOf(err error) error {
	if refused, ok := errors.AsType[*protocol.Error](err); ok {
		return errors.New(refused.Message)
	}
	return err
}
