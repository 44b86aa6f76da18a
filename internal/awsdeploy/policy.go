package awsdeploy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
)

// Policy is an IAM policy, ready to be attached to who runs a command.
type Policy struct {
	Version   string
	Statement []PolicyStatement
}

// PolicyStatement is one statement of a Policy.
type PolicyStatement struct {
	Sid       string
	Effect    string
	Action    []string
	Resource  []string
	Condition map[string]map[string]string `json:",omitempty"`
}

// Purposes are what policies are made for.
var Purposes = []string{"deploy", "connect", "benchmark"}

// Scope is the part of an account whose resources a policy names. Parts that are empty are left open.
type Scope struct {
	Partition, Region, Account string
	// Name is the limiter's; RoleFormat how its roles are named, with one {}.
	Name, RoleFormat string
}

func (s *Scope) arn(service, resource string) string {
	open := func(text, otherwise string) string {
		if text == "" {
			return otherwise
		}
		return text
	}
	region, account := open(s.Region, "*"), open(s.Account, "*")
	switch service {
	case "iam":
		region = ""
	case "ssm-document":
		service, account = "ssm", ""
	}
	return strings.Join([]string{"arn", open(s.Partition, "aws"), service, region, account, resource}, ":")
}

// CallerPolicy is what the caller of the load commands needs (aws.md 6.3): "deploy" for deploy, push and
// delete, "connect" for connect, list and logs, "benchmark" for benchmark, tune, status and doctor, which
// contains connect.
func CallerPolicy(purpose string, s Scope) (*Policy, error) {
	if s.Name == "" {
		s.Name = "*"
	}
	var statements []PolicyStatement
	switch purpose {
	case "deploy":
		statements = append(s.deploy(), s.passRoles("-exec", "-task", "-worker"))
	case "connect":
		statements = append(s.connect(), s.passRoles("-exec", "-task"))
	case "benchmark":
		statements = append(append(s.connect(), s.benchmark()...), s.passRoles("-exec", "-task"))
	default:
		return nil, fmt.Errorf("no policy for %q: there are %s", purpose, strings.Join(Purposes, ", "))
	}
	for i := range statements {
		slices.Sort(statements[i].Action)
	}
	return &Policy{Version: "2012-10-17", Statement: statements}, nil
}

func allow(sid string, resources []string, actions ...string) PolicyStatement {
	return PolicyStatement{Sid: sid, Effect: "Allow", Action: actions, Resource: resources}
}

// prefixed puts a service in front of actions.
func prefixed(service string, actions ...string) []string {
	for i := range actions {
		actions[i] = service + ":" + actions[i]
	}
	return actions
}

var everything = []string{"*"}

func (s *Scope) load() string { return LoadStack(s.Name) }

func (s *Scope) roles(suffixes ...string) []string {
	var list []string
	for _, suffix := range suffixes {
		name, err := FormatName(s.RoleFormat, s.load()+suffix)
		if err != nil {
			name = "*" + s.load() + suffix
		}
		list = append(list, s.arn("iam", "role/"+name))
	}
	return list
}

func (s *Scope) passRoles(suffixes ...string) PolicyStatement {
	p := allow("PassRoles", s.roles(suffixes...), "iam:PassRole")
	p.Condition = map[string]map[string]string{"StringLike": {"iam:PassedToService": "*.amazonaws.com*"}}
	return p
}

// worker is what is invoked of the function.
func (s *Scope) worker() string {
	return s.arn("lambda", "function:"+WorkerFunction(s.Name)+":"+artifact.Live)
}

func (s *Scope) deploy() []PolicyStatement {
	load := s.load()
	function, repository := s.arn("lambda", "function:"+load+"-worker"), s.arn("ecr", "repository/"+Repository(s.Name))
	logs := []string{s.arn("logs", "log-group:"+MasterLogGroup(s.Name)+"*"), s.arn("logs", "log-group:"+WorkerLogGroup(s.Name)+"*")}
	return []PolicyStatement{
		allow("Stack", []string{s.arn("cloudformation", "stack/"+load+"/*")}, prefixed("cloudformation",
			"CreateChangeSet", "DescribeChangeSet", "ExecuteChangeSet", "DeleteChangeSet", "DeleteStack",
			"DescribeStackEvents", "DescribeStackResources")...),
		allow("Stacks", everything, "cloudformation:DescribeStacks"),
		allow("Target", []string{s.arn("dynamodb", "table/"+s.Name)}, "dynamodb:DescribeTable"),
		allow("TargetPolicies", []string{s.arn("iam", "policy/*")}, "iam:GetPolicy", "iam:GetPolicyVersion"),
		allow("Network", everything, prefixed("ec2",
			"DescribeVpcs", "DescribeSubnets", "DescribeRouteTables", "DescribeVpcEndpoints", "DescribeSecurityGroups", "DescribeNetworkInterfaces", "DescribeSecurityGroupRules",
			"CreateSecurityGroup", "DeleteSecurityGroup", "AuthorizeSecurityGroupIngress", "AuthorizeSecurityGroupEgress",
			"RevokeSecurityGroupIngress", "RevokeSecurityGroupEgress", "CreateVpcEndpoint", "ModifyVpcEndpoint", "DeleteVpcEndpoints",
			"CreateTags", "DeleteTags")...),
		allow("Registry", everything, "ecr:GetAuthorizationToken"),
		allow("Repository", []string{repository}, prefixed("ecr",
			"CreateRepository", "DeleteRepository", "DescribeRepositories", "PutLifecyclePolicy", "GetLifecyclePolicy", "DeleteLifecyclePolicy",
			"PutImageTagMutability", "PutImageScanningConfiguration", "TagResource", "UntagResource", "ListTagsForResource",
			"BatchCheckLayerAvailability", "InitiateLayerUpload", "UploadLayerPart", "CompleteLayerUpload", "PutImage", "BatchGetImage", "BatchDeleteImage")...),
		allow("Cluster", []string{s.arn("ecs", "cluster/"+load), s.arn("ecs", "service/"+load+"/*"), s.arn("ecs", "task/"+load+"/*")}, prefixed("ecs",
			"CreateCluster", "UpdateCluster", "UpdateClusterSettings", "PutClusterCapacityProviders", "DeleteCluster", "DescribeClusters",
			"CreateService", "UpdateService", "DeleteService", "DescribeServices", "DescribeTasks", "StopTask", "TagResource", "UntagResource", "ListTagsForResource")...),
		allow("TaskDefinition", everything, prefixed("ecs", "RegisterTaskDefinition", "DeregisterTaskDefinition", "DescribeTaskDefinition", "ListTasks", "TagResource")...),
		allow("Function", []string{function, function + ":*"}, prefixed("lambda",
			"CreateFunction", "DeleteFunction", "GetFunction", "GetFunctionConfiguration", "UpdateFunctionCode", "UpdateFunctionConfiguration",
			"GetFunctionConcurrency", "PutFunctionConcurrency", "DeleteFunctionConcurrency", "GetFunctionCodeSigningConfig", "GetRuntimeManagementConfig",
			"PublishVersion", "ListVersionsByFunction", "CreateAlias", "GetAlias", "UpdateAlias", "DeleteAlias",
			"PutFunctionEventInvokeConfig", "UpdateFunctionEventInvokeConfig", "GetFunctionEventInvokeConfig", "DeleteFunctionEventInvokeConfig",
			"TagResource", "UntagResource", "ListTags")...),
		allow("AccountSettings", everything, "lambda:GetAccountSettings"),
		allow("Logs", logs, prefixed("logs", "CreateLogGroup", "DeleteLogGroup", "PutRetentionPolicy", "DeleteRetentionPolicy", "TagResource", "UntagResource", "ListTagsForResource")...),
		allow("LogGroups", everything, "logs:DescribeLogGroups"),
		allow("Roles", s.roles("-exec", "-task", "-worker"), prefixed("iam",
			"CreateRole", "DeleteRole", "GetRole", "UpdateAssumeRolePolicy", "PutRolePolicy", "GetRolePolicy", "DeleteRolePolicy",
			"ListRolePolicies", "ListAttachedRolePolicies", "DetachRolePolicy", "PutRolePermissionsBoundary", "DeleteRolePermissionsBoundary",
			"TagRole", "UntagRole", "ListRoleTags")...),
	}
}

func (s *Scope) connect() []PolicyStatement {
	load := s.load()
	task := s.arn("ecs", "task/"+load+"/*")
	return []PolicyStatement{
		{Sid: "RunTask", Effect: "Allow", Action: []string{"ecs:RunTask"}, Resource: []string{s.arn("ecs", "task-definition/"+TaskFamily(s.Name)+":*")},
			Condition: map[string]map[string]string{"ArnLike": {"ecs:cluster": s.arn("ecs", "cluster/"+load)}}},
		allow("Tasks", []string{task, s.arn("ecs", "service/"+load+"/*")}, prefixed("ecs", "DescribeTasks", "StopTask", "DescribeServices", "TagResource")...),
		allow("TaskLists", everything, "ecs:ListTasks", "ecs:DescribeTaskDefinition"),
		allow("Tunnel", []string{task, s.arn("ssm-document", "document/AWS-StartPortForwardingSession"), s.arn("ssm-document", "document/AWS-StartPortForwardingSessionToRemoteHost")}, "ssm:StartSession"),
		// The ids of sessions begin with a user's name, or with the id of who has taken a role.
		allow("OwnSessions", []string{s.arn("ssm", "session/${aws:username}-*"), s.arn("ssm", "session/${aws:userid}-*")}, "ssm:TerminateSession", "ssm:ResumeSession", "ssmmessages:OpenDataChannel"),
		allow("TaskLogs", []string{s.arn("logs", "log-group:"+MasterLogGroup(s.Name)+":*"), s.arn("logs", "log-group:"+WorkerLogGroup(s.Name)+":*")}, "logs:FilterLogEvents"),
		allow("Target", []string{s.arn("dynamodb", "table/"+s.Name)}, "dynamodb:DescribeTable", "dynamodb:ListTagsOfResource"),
		allow("WorkerFunction", []string{s.worker()}, "lambda:GetFunctionConfiguration"),
		allow("Stacks", everything, "cloudformation:DescribeStacks", "tag:GetResources"),
	}
}

func (s *Scope) benchmark() []PolicyStatement {
	return []PolicyStatement{
		allow("Worker", []string{s.worker()}, "lambda:InvokeFunction"),
		allow("Concurrency", []string{s.arn("lambda", "function:"+WorkerFunction(s.Name))}, "lambda:GetFunctionConcurrency"),
		allow("AccountSettings", everything, "lambda:GetAccountSettings"),
		allow("Metrics", everything, "cloudwatch:GetMetricData"),
		allow("Checkup", everything, "ec2:DescribeSubnets", "ec2:DescribeRouteTables", "ec2:DescribeVpcEndpoints", "servicequotas:GetServiceQuota", "ssm:DescribeSessions"),
		allow("Records", []string{s.arn("dynamodb", "table/"+s.Name)}, "dynamodb:GetItem", "dynamodb:Query"),
	}
}
