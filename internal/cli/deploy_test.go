package cli

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	"gopkg.in/yaml.v3"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/internal/awsfake"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// changing are the calls that change a stack or a function.
var changing = []string{
	"cloudformation:ExecuteChangeSet", "lambda:UpdateFunctionCode", "lambda:UpdateFunctionConfiguration", "lambda:UpdateAlias", "lambda:TagResource",
}

func TestDeployPushDelete(t *testing.T) {
	w := newAWSWorld(t)
	limiter := w.must("deploy", "--name", "my-limiter", "--create-iam-roles", "--tag", "team=x")
	if limiter.doc["action"] != "created" || limiter.doc["schema_version"] != "0.10.0" || limiter.doc["namespace_id"] == nil {
		t.Errorf("deploy: %s", limiter.stdout)
	}
	if again := w.must("deploy", "--name", "my-limiter"); again.doc["action"] != "unchanged" {
		t.Errorf("deploy again: %s", again.stdout)
	}

	w.forget()
	dry := w.must(w.deploy("--dry-run")...)
	if dry.doc["action"] != "planned" || w.status("my-limiter-load") != "" || w.made("lambda:UpdateFunctionCode") != 0 {
		t.Errorf("dry run: %s; the stack is %q", dry.stdout, w.status("my-limiter-load"))
	}
	first := w.must(w.deploy("-f", "locustfiles/max_rps.py")...)
	if first.doc["action"] != "created" || first.doc["image_layers_sent"] != 3.0 || first.doc["function_code_sent"] != true || first.doc["locustfile"] != "locustfiles/max_rps.star" {
		t.Errorf("load deploy: %s", first.stdout)
	}
	if !strings.Contains(first.stderr, "CREATE_COMPLETE          EcsCluster") || !strings.Contains(first.stderr, "gateway endpoint of dynamodb for route tables rtb-local is part of the stack") {
		t.Errorf("progress:\n%s", first.stderr)
	}

	// A second time nothing changes, and the endpoint stays; VPC and locustfile need not be given again.
	w.forget()
	second := w.must("load", "deploy", "--name", "my-limiter", "-C", w.dir, "--binary", w.program, "--arch", "amd64")
	if second.doc["action"] != "unchanged" || second.doc["image_layers_sent"] != 0.0 || second.doc["function_code_sent"] != false || second.doc["locustfile"] != "locustfiles/max_rps.star" {
		t.Errorf("load deploy again: %s", second.stdout)
	}
	for _, action := range changing {
		if n := w.made(action); n != 0 {
			t.Errorf("load deploy again: %d calls of %s", n, action)
		}
	}

	w.file("locustfiles/other.star", "U = None\n")
	pushed := w.must("load", "push", "--name", "my-limiter", "-C", w.dir, "--binary", w.program)
	if pushed.doc["action"] != "updated" || pushed.doc["image_layers_sent"] != 1.0 || pushed.doc["function_code_sent"] != true || pushed.doc["build_id"] == first.doc["build_id"] {
		t.Errorf("load push: %s", pushed.stdout)
	}
	if third := w.must(w.deploy()...); third.doc["action"] != "unchanged" || third.doc["image"] != pushed.doc["image"] {
		t.Errorf("load deploy of what was pushed: %s", third.stdout)
	}

	w.refused(1, "my-limiter-load imports from it", "delete", "--name", "my-limiter", "--yes")
	if gone := w.must("load", "delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "deleted" || w.status("my-limiter-load") != "" {
		t.Errorf("load delete: %s", gone.stdout)
	}
	if gone := w.must("load", "delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "absent" {
		t.Errorf("load delete again: %s", gone.stdout)
	}
	if gone := w.must("delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "deleted" {
		t.Errorf("delete: %s", gone.stdout)
	}
}

// The isolated subnets have no route table of their own and no way out.
func TestSubnetsWithoutAWayOutAreTold(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	isolated := []string{"load", "deploy", "--name", "my-limiter", "--vpc-id", "vpc-isolated", "--subnet-ids", "subnet-isolated,subnet-isolated-b", "-C", w.dir, "--binary", w.program, "--arch", "amd64"}
	first := w.must(isolated...)
	for _, want := range []string{
		"gateway endpoint of dynamodb for route tables rtb-isolated is part of the stack",
		"warning: subnet-isolated, subnet-isolated-b: no route by which a task without a public address reaches AWS",
		"NAT gateway, or deploy with --vpc-endpoints all",
	} {
		if !strings.Contains(first.stderr, want) {
			t.Errorf("load deploy does not say %q:\n%s", want, first.stderr)
		}
	}
	checked := w.run("load", "doctor", "--name", "my-limiter")
	if checked.code != 1 || !strings.Contains(checked.stdout, "subnet-isolated, subnet-isolated-b have neither NAT nor the endpoints") {
		t.Errorf("load doctor: %d\n%s", checked.code, checked.stdout)
	}
	if second := w.must(append(isolated, "--vpc-endpoints", "all")...); strings.Contains(second.stderr, "no route") {
		t.Errorf("with all endpoints there is a way, and it says\n%s", second.stderr)
	}
}

// Each push is a version behind the alias; ten builds stay to come back to, and the image in use always.
func TestPushesKeepTheNewestBuildsAndTheOneInUse(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	functions, registry := lambda.NewFromConfig(w.config), ecr.NewFromConfig(w.config)
	live := func() string {
		t.Helper()
		alias, err := functions.GetAlias(t.Context(), &lambda.GetAliasInput{FunctionName: aws.String("my-limiter-load-worker"), Name: aws.String("live")})
		if err != nil {
			t.Fatal(err)
		}
		return *alias.FunctionVersion
	}
	images := func() (digests map[string]bool, inUse string) {
		t.Helper()
		out, err := registry.ListImages(t.Context(), &ecr.ListImagesInput{RepositoryName: aws.String("my-limiter-load-locust")})
		if err != nil {
			t.Fatal(err)
		}
		digests = map[string]bool{}
		for _, id := range out.ImageIds {
			digests[*id.ImageDigest] = true
			if *id.ImageTag == "in-use" {
				inUse = *id.ImageDigest
			}
		}
		return digests, inUse
	}
	if first := w.must(w.deploy()...); first.doc["function_version"] != "1" || live() != "1" {
		t.Errorf("after the first deployment %s is live, want 1: %s", live(), first.stdout)
	}
	if again := w.must(w.deploy()...); again.doc["function_version"] != "1" || live() != "1" {
		t.Errorf("after a deployment that changed nothing %s is live, want 1", live())
	}
	push := []string{"load", "push", "--name", "my-limiter", "-C", w.dir, "--binary", w.program}
	for n := range 11 {
		w.file("locustfiles/n.star", fmt.Sprintf("N = %d\n", n))
		w.must(push...)
	}
	if live() != "12" {
		t.Errorf("version %s is live, want 12", live())
	}
	listed, err := functions.ListVersionsByFunction(t.Context(), &lambda.ListVersionsByFunctionInput{FunctionName: aws.String("my-limiter-load-worker")})
	if err != nil || len(listed.Versions) != 11 || *listed.Versions[1].Version != "3" {
		t.Errorf("%d versions, $LATEST included, %v, want it and 3 to 12", len(listed.Versions), err)
	}
	digests, inUse := images()
	if len(digests) != 10 || !digests[inUse] {
		t.Errorf("%d images, in use %s", len(digests), inUse)
	}
	// Other settings are another version.
	if more := w.must(w.deploy("--lambda-memory", "512")...); more.doc["function_version"] != "13" {
		t.Errorf("with other memory: %s", more.stdout)
	}
	// Images that never come into use do not push the one in use out.
	w.failWith(map[string]string{"CREATE LocustMasterTaskDefinition": "not today"})
	for n := range 11 {
		w.file("locustfiles/n.star", fmt.Sprintf("N = %d\n", 100+n))
		w.refused(1, "not today", push...)
	}
	if digests, still := images(); still != inUse || len(digests) != 11 {
		t.Errorf("in use %s, was %s, of %d images", still, inUse, len(digests))
	}
	if live() != "13" {
		t.Errorf("pushes that failed made %s live", live())
	}
}

func TestDeployRefusesBeforeAnythingIsMade(t *testing.T) {
	w := newAWSWorld(t)
	w.refused(1, "there is no limiter my-limiter\nin region us-east-1; deploy it: zae-limiter deploy --name my-limiter --region us-east-1", w.deploy()...)
	w.refused(1, "there is no limiter other", "status", "--name", "other")
	w.must("deploy", "--name", "my-limiter")
	for _, test := range []struct {
		code    int
		says    string
		options []string
	}{
		{2, "--max-workers must be from 1 to 1000, got 0", []string{"--max-workers", "0"}},
		{2, "--min-workers 200 is more than --max-workers 100", []string{"--min-workers", "200"}},
		{2, "from 1 to 15 minutes, got 16", []string{"--lambda-timeout", "16"}},
		{2, "at least twice --max-workers (200)", []string{"--reserved-concurrency", "100"}},
		{1, "950 cannot be reserved", []string{"--reserved-concurrency", "950", "--max-workers", "400"}},
		{2, "must be none, ssm or all", []string{"--vpc-endpoints", "some"}},
		{2, "--ssm-endpoint does not go with --no-ssm-endpoint", []string{"--ssm-endpoint", "--no-ssm-endpoint"}},
		{2, "must begin with vpc-", []string{"--vpc-id", "subnet-1"}},
		{2, "subnet-isolated not in VPC vpc-local", []string{"--subnet-ids", "subnet-isolated"}},
		{2, "missing.star", []string{"-f", "missing.py"}},
		{2, "no such file or directory", []string{"-C", "/no/such/folder"}},
		{2, "is no Linux program", []string{"--binary", "deploy_test.go"}},
		{2, "not for arm64", []string{"--arch", "arm64"}},
		{2, "--arch must be amd64 or arm64", []string{"--arch", "riscv64"}},
		{2, "at most 55", []string{"--name", strings.Repeat("a", 56)}},
	} {
		w.refused(test.code, test.says, w.deploy(test.options...)...)
	}
	w.refused(2, "subnets: subnet-a are all in zone us-east-1a", "load", "deploy", "--name", "my-limiter", "--vpc-id", "vpc-local", "--subnet-ids", "subnet-a", "-C", w.dir)
	w.refused(2, "--name missing, and there is no terminal", "load", "deploy", "-C", w.dir)
	w.refused(2, "--vpc-id, --subnet-ids missing", "load", "deploy", "--name", "my-limiter", "-C", w.dir)
	w.refused(2, "--yes missing", "load", "delete", "--name", "my-limiter")
	w.refused(1, "deploy it first: zae-limiter load deploy --name my-limiter", "load", "push", "--name", "my-limiter", "-C", w.dir)
	if w.status("my-limiter-load") != "" {
		t.Error("a stack was made")
	}
}

func TestDeployWarns(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter", "--no-iam")
	w.file("requirements.txt", "boto3\n")
	o := w.must(w.deploy("--max-workers", "900", "--dry-run")...)
	for _, says := range []string{"deployed with --no-iam?", "requirements.txt has no meaning", "may run 1000 functions at a time; 900 workers"} {
		if !strings.Contains(o.stderr, says) {
			t.Errorf("no warning %q:\n%s", says, o.stderr)
		}
	}
	if warnings, _ := o.doc["warnings"].([]any); len(warnings) != 3 {
		t.Errorf("warnings of the document: %v", o.doc["warnings"])
	}
}

func TestDeploySurvivesFailures(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	w.failWith(map[string]string{"CREATE EcsCluster": "quota of clusters exceeded"})
	w.refused(1, "EcsCluster (AWS::ECS::Cluster) CREATE_FAILED: quota of clusters exceeded", w.deploy()...)
	if got := w.status("my-limiter-load"); got != "" {
		t.Errorf("a creation that failed left a stack in %s", got)
	}
	w.failWith(nil)
	w.must(w.deploy()...)
	w.failWith(map[string]string{"UPDATE MasterLogGroup": "not today"})
	w.refused(1, "MasterLogGroup (AWS::Logs::LogGroup) UPDATE_FAILED: not today; the stack ended in UPDATE_ROLLBACK_COMPLETE", w.deploy("--log-retention-days", "14")...)
	w.failWith(map[string]string{"UPDATE MasterLogGroup": "not today", "ROLLBACK MasterLogGroup": "neither"})
	w.refused(1, "UPDATE_ROLLBACK_FAILED", w.deploy("--log-retention-days", "14")...)
	w.refused(1, "continue-update-rollback", w.deploy("--log-retention-days", "14")...)
	w.failWith(map[string]string{"DELETE EcsCluster": "still busy"})
	w.refused(1, "--retain EcsCluster", "load", "delete", "--name", "my-limiter", "--yes")
	w.failWith(nil)
	if gone := w.must("load", "delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "deleted" {
		t.Errorf("load delete: %s", gone.stdout)
	}
}

// pythonStack makes a stack with the ids and properties of the load test that the Python tool deploys.
const pythonStack = `
Parameters:
  TargetStackName: {Type: String}
  VpcId: {Type: AWS::EC2::VPC::Id}
  PrivateSubnetIds: {Type: List<AWS::EC2::Subnet::Id>}
  PrivateRouteTableIds: {Type: CommaDelimitedList}
Resources:
  MasterSecurityGroup:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: Locust master security group
      VpcId: !Ref VpcId
      SecurityGroupIngress:
        - {IpProtocol: tcp, FromPort: 5557, ToPort: 5558, SourceSecurityGroupId: !Ref WorkerSecurityGroup}
  MasterSecurityGroupSelfIngress:
    Type: AWS::EC2::SecurityGroupIngress
    Properties: {GroupId: !Ref MasterSecurityGroup, IpProtocol: tcp, FromPort: 8089, ToPort: 8089, SourceSecurityGroupId: !Ref MasterSecurityGroup}
  WorkerSecurityGroup:
    Type: AWS::EC2::SecurityGroup
    Properties:
      GroupDescription: Lambda worker security group
      VpcId: !Ref VpcId
      SecurityGroupEgress: [{IpProtocol: '-1', CidrIp: 0.0.0.0/0}]
  DynamoDbEndpoint:
    Type: AWS::EC2::VPCEndpoint
    Properties: {VpcId: !Ref VpcId, VpcEndpointType: Gateway, ServiceName: !Sub 'com.amazonaws.${AWS::Region}.dynamodb', RouteTableIds: !Ref PrivateRouteTableIds}
  LocustRepository:
    Type: AWS::ECR::Repository
    Properties: {RepositoryName: !Sub '${AWS::StackName}-locust', EmptyOnDelete: true}
  MasterLogGroup:
    Type: AWS::Logs::LogGroup
    Properties: {LogGroupName: !Sub '/aws/ecs/${AWS::StackName}-master', RetentionInDays: 7}
  EcsTaskRole:
    Type: AWS::IAM::Role
    Properties:
      RoleName: !Sub '${AWS::StackName}-task'
      AssumeRolePolicyDocument: {Version: '2012-10-17', Statement: [{Effect: Allow, Principal: {Service: ecs-tasks.amazonaws.com}, Action: sts:AssumeRole}]}
      ManagedPolicyArns: [!ImportValue my-limiter-FullAccessPolicyArn]
  WorkerFunction:
    Type: AWS::Lambda::Function
    Properties:
      FunctionName: !Sub '${AWS::StackName}-worker'
      Runtime: python3.12
      Handler: load_lambda.worker.handler
      Role: !GetAtt EcsTaskRole.Arn
      Code: {ZipFile: 'def handler(event, context): pass'}
Outputs:
  LocustRepositoryUri:
    Value: !Sub '${AWS::AccountId}.dkr.ecr.${AWS::Region}.amazonaws.com/${LocustRepository}'
    Export: {Name: !Sub '${AWS::StackName}-LocustRepositoryUri'}
`

func TestDeployUpgradesThePythonToolsStackInPlace(t *testing.T) {
	w := newAWSWorld(t)
	w.must("deploy", "--name", "my-limiter")
	w.create("my-limiter-load", pythonStack, "TargetStackName", "my-limiter", "VpcId", "vpc-local", "PrivateSubnetIds", "subnet-a,subnet-b", "PrivateRouteTableIds", "rtb-local")
	w.refused(1, "was not deployed by this program", "load", "push", "--name", "my-limiter", "-C", w.dir, "--binary", w.program)
	before := w.physical("my-limiter-load")
	o := w.must(w.deploy()...)
	if o.doc["action"] != "updated" {
		t.Fatalf("got %s", o.stdout)
	}
	after := w.physical("my-limiter-load")
	for id, physical := range before {
		if id != "MasterSecurityGroupSelfIngress" && after[id] != physical {
			t.Errorf("%s was %s and is %s", id, physical, after[id])
		}
	}
	if again := w.must(w.deploy()...); again.doc["action"] != "unchanged" {
		t.Errorf("a second time: %s", again.stdout)
	}
}

// physical are the physical ids of a stack's resources.
func (w *awsWorld) physical(name string) map[string]string {
	w.t.Helper()
	out, err := w.stacks.DescribeStackResources(w.t.Context(), &cloudformation.DescribeStackResourcesInput{StackName: &name})
	if err != nil {
		w.t.Fatal(err)
	}
	ids := map[string]string{}
	for _, r := range out.StackResources {
		ids[*r.LogicalResourceId] = aws.ToString(r.PhysicalResourceId)
	}
	return ids
}

func TestIAMPolicy(t *testing.T) {
	w := &awsWorld{t: t, env: map[string]string{}}
	for _, purpose := range []string{"deploy", "connect", "benchmark"} {
		o := w.must("load", "iam-policy", "--for", purpose, "--name", "my-limiter")
		if o.doc["Version"] != "2012-10-17" || !strings.Contains(o.stdout, "my-limiter-load") {
			t.Errorf("%s: %s", purpose, o.stdout)
		}
	}
	w.refused(2, "want deploy, connect, benchmark", "load", "iam-policy")
}

// Templates are printed as they are applied, into a file or on stdout.
func TestTemplates(t *testing.T) {
	w := &awsWorld{t: t, env: map[string]string{}}
	without, err := awsdeploy.LimiterTemplate(false)
	if err != nil {
		t.Fatal(err)
	}
	for want, args := range map[string][]string{
		without:                  {"cfn-template", "--without-local-indexes"},
		awsdeploy.LoadTemplate(): {"load", "cfn-template"},
	} {
		if o := w.must(args...); o.doc["template"] != want {
			t.Errorf("%s: %s", args, o.stdout)
		}
		file := filepath.Join(t.TempDir(), "template.yaml")
		o := w.must(append(args, "-o", file)...)
		if got, err := os.ReadFile(file); err != nil || string(got) != want || o.stdout != "" {
			t.Errorf("%s: file %q, stdout %q, %v", args, got, o.stdout, err)
		}
		w.refused(2, "output file", append(args, "-o", t.TempDir())...)
	}
}

// A caller with the printed policy, and nothing else, can deploy, push and delete; CloudFormation acts with
// the caller's rights.
func TestDeployWithThePrintedPolicy(t *testing.T) {
	cloud, err := awsfake.Start(t.Context(), awsfake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cloud.Close(context.Background()); err != nil {
			t.Error(err)
		}
	})
	w := &awsWorld{t: t, env: map[string]string{}}
	for _, variable := range cloud.Environ() {
		name, value, _ := strings.Cut(variable, "=")
		w.env[name] = value
	}
	w.enter()
	w.must("deploy", "--name", "my-limiter")
	policy := w.must("load", "iam-policy", "--for", "deploy", "--name", "my-limiter", "--region", cloud.Region(), "--account", cloud.Account())
	key, secret, err := cloud.IAM.AddUser("deployer", policy.stdout)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("AWS_ACCESS_KEY_ID", key)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secret)
	w.must(w.deploy("--vpc-endpoints", "all")...)
	w.file("locustfiles/other.star", "U = None\n")
	w.must("load", "push", "--name", "my-limiter", "-C", w.dir, "--binary", w.program)
	w.must(w.deploy("--log-retention-days", "14", "--max-workers", "50")...)
	w.must("load", "delete", "--name", "my-limiter", "--yes")
	w.refused(1, "AccessDenied", "deploy", "--name", "another")
}

func TestLimiterCommands(t *testing.T) {
	w := newAWSWorld(t)
	if o := w.must("list"); len(o.doc["stacks"].([]any)) != 0 {
		t.Errorf("list: %s", o.stdout)
	}
	w.refused(1, "", "check", "--name", "my-limiter")
	if o := w.must("version", "--name", "my-limiter"); o.doc["initialized"] != false {
		t.Errorf("version: %s", o.stdout)
	}
	for says, options := range map[string][]string{
		"--enable-provisioner: provisioner and archive are not there yet": {"--enable-provisioner"},
		"--audit-archive-glacier-days: provisioner and archive":           {"--audit-archive-glacier-days", "30"},
		"--lambda-memory must be from 128 to 3008, got 64":                {"--lambda-memory", "64"},
		"--lambda-timeout must be at least 1, got 0":                      {"--lambda-timeout", "0"},
		"--lambda-timeout must be from 1 to 900, got 901":                 {"--lambda-timeout", "901"},
		"--lambda-duration-threshold-pct must be from 1 to 100":           {"--lambda-duration-threshold-pct", "101"},
		"--log-retention-days 2: CloudWatch has":                          {"--log-retention-days", "2"},
		"--usage-retention-days must be from 1 to 3650":                   {"--usage-retention-days", "4000"},
		"\"arn:aws:iam::1:user/x\" is no ARN of a role":                   {"--aggregator-role-arn", "arn:aws:iam::1:user/x"},
		"window \"weekly\" is unknown":                                    {"--snapshot-windows", "weekly"},
		"--enable-aggregator does not go with --no-aggregator":            {"--enable-aggregator", "--no-aggregator"},
		"--arch must be amd64 or arm64, got \"sparc\"":                    {"--arch", "sparc"},
		"--no-iam does not go with --create-iam-roles":                    {"--no-iam", "--create-iam-roles"},
		"want KEY=VALUE":       {"--tag", "x"},
		"from 1 to 35, got 36": {"--pitr-recovery-days", "36"},
		"want exactly one {}":  {"--role-name-format", "x"},
	} {
		w.refused(2, says, append([]string{"deploy", "--name", "my-limiter"}, options...)...)
	}
	if o := w.must("deploy", "--name", "my-limiter", "--no-aggregator", "--no-provisioner", "--dry-run"); o.doc["action"] != "planned" || w.status("my-limiter") != "" {
		t.Errorf("dry run: %s", o.stdout)
	}
	w.must("deploy", "--name", "my-limiter", "--enable-deletion-protection")
	w.refused(1, "deletion protection", "delete", "--name", "my-limiter", "--yes")
	if o := w.must("deploy", "--name", "my-limiter", "--no-deletion-protection"); o.doc["action"] != "updated" {
		t.Errorf("deploy: %s", o.stdout)
	}
	if o := w.must("status", "--name", "my-limiter"); o.doc["policies"] != "current" || o.doc["local_indexes"] != true || o.doc["aggregator"] != true || o.doc["aggregator_of"] != "go" || o.doc["lambda_version"] != "0.17.0" || o.doc["usable"] != true || o.doc["schema_version"] != "0.10.0" {
		t.Errorf("status: %s", o.stdout)
	}
	if o := w.must("check", "--name", "my-limiter"); o.doc["compatible"] != true {
		t.Errorf("check: %s", o.stdout)
	}
	if o := w.must("upgrade", "--name", "my-limiter"); o.doc["action"] != "unchanged" {
		t.Errorf("upgrade: %s", o.stdout)
	}
	w.refused(2, "--lambda-only does not go with --dry-run", "upgrade", "--name", "my-limiter", "--lambda-only", "--dry-run")
	o := w.must("list")
	names := []string{}
	for _, s := range o.doc["stacks"].([]any) {
		names = append(names, s.(map[string]any)["name"].(string))
	}
	if !slices.Equal(names, []string{"my-limiter"}) {
		t.Errorf("list: %s", o.stdout)
	}
	for _, args := range [][]string{{"list"}, {"status", "--name", "my-limiter"}, {"check", "--name", "my-limiter"}} {
		if o := w.run(args...); o.code != 0 || !strings.Contains(o.stdout, "my-limiter") {
			t.Errorf("%v as text: %d\n%s%s", args, o.code, o.stdout, o.stderr)
		}
	}
	w.must("delete", "--name", "my-limiter", "--yes")
	w.refused(1, "", "status", "--name", "my-limiter")
}

// The aggregator comes with the limiter, with this program as its code; what has not changed is not touched,
// and who wants none has none.
func TestAnAggregatorIsDeployed(t *testing.T) {
	w := newAWSWorld(t)
	functions := lambda.NewFromConfig(w.config)
	configuration := func(qualifier string) *lambda.GetFunctionConfigurationOutput {
		t.Helper()
		out, err := functions.GetFunctionConfiguration(t.Context(), &lambda.GetFunctionConfigurationInput{FunctionName: aws.String("my-limiter-aggregator"), Qualifier: &qualifier})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	end := func(o *outcomeOf, name string) any {
		t.Helper()
		end, ok := o.doc["aggregator"].(map[string]any)
		if !ok {
			t.Fatalf("no aggregator: %s", o.stdout)
		}
		return end[name]
	}
	first := w.must("deploy", "--name", "my-limiter", "--usage-retention-days", "7")
	if end(first, "code_sent") != true || end(first, "version") != "1" || first.doc["lambda_version"] != "0.17.0" {
		t.Errorf("deploy: %s", first.stdout)
	}
	live := configuration("live")
	if live.Runtime != "provided.al2023" || *live.Handler != "aggregator" || *live.Version != "1" || live.Architectures[0] != "x86_64" || *live.MemorySize != 256 || *live.Timeout != 60 {
		t.Errorf("the function is %+v", live.Runtime)
	}
	if got := live.Environment.Variables; got["TABLE_NAME"] != "my-limiter" || got["SNAPSHOT_TTL_DAYS"] != "7" || got["SNAPSHOT_WINDOWS"] != "hourly,daily" {
		t.Errorf("its environment is %v", got)
	}
	mapped, err := functions.ListEventSourceMappings(t.Context(), &lambda.ListEventSourceMappingsInput{FunctionName: aws.String("my-limiter-aggregator:live")})
	if err != nil || len(mapped.EventSourceMappings) != 1 || *mapped.EventSourceMappings[0].State != "Enabled" {
		t.Errorf("mappings: %+v, %v", mapped, err)
	}
	tags, err := functions.ListTags(t.Context(), &lambda.ListTagsInput{Resource: aws.String("arn:aws:lambda:us-east-1:123456789012:function:my-limiter-aggregator")})
	if err != nil || tags.Tags["zae-limiter:lambda-version"] != "0.17.0" || tags.Tags["zae-limiter:build-id"] != end(first, "build_id") {
		t.Errorf("tags %v, %v", tags, err)
	}

	for _, again := range [][]string{{"deploy", "--name", "my-limiter"}, {"upgrade", "--name", "my-limiter"}, {"upgrade", "--name", "my-limiter", "--lambda-only"}} {
		w.forget()
		o := w.must(again...)
		if o.doc["action"] != "unchanged" || end(o, "code_sent") != false || end(o, "version") != "1" {
			t.Errorf("%v again: %s", again, o.stdout)
		}
		for _, action := range changing {
			if n := w.made(action); n != 0 {
				t.Errorf("%v again: %d calls of %s", again, n, action)
			}
		}
	}
	// Other settings reach the function that is invoked; another program, too.
	if o := w.must("deploy", "--name", "my-limiter", "--lambda-memory", "512"); end(o, "version") != "2" || *configuration("live").MemorySize != 512 {
		t.Errorf("more memory: %s", o.stdout)
	}
	if err := os.WriteFile(w.program, append(program(), "another build"...), 0o755); err != nil {
		t.Fatal(err)
	}
	// What is behind the segments of a program is not shipped.
	if o := w.must("upgrade", "--name", "my-limiter", "--lambda-only"); end(o, "code_sent") != false {
		t.Errorf("the same program: %s", o.stdout)
	}
	changed := program()
	changed[8] = 1
	if err := os.WriteFile(w.program, changed, 0o755); err != nil {
		t.Fatal(err)
	}
	if o := w.must("upgrade", "--name", "my-limiter", "--lambda-only"); end(o, "code_sent") != true || end(o, "version") != "3" || o.doc["action"] != "unchanged" {
		t.Errorf("another program: %s", o.stdout)
	}

	w.must("deploy", "--name", "my-limiter", "--no-aggregator")
	if o := w.must("status", "--name", "my-limiter"); o.doc["aggregator"] != false || o.doc["aggregator_of"] != nil || o.doc["usable"] != true {
		t.Errorf("status: %s", o.stdout)
	}
	for _, none := range [][]string{{"deploy", "--name", "my-limiter"}, {"upgrade", "--name", "my-limiter"}, {"upgrade", "--name", "my-limiter", "--lambda-only"}} {
		if o := w.must(none...); o.doc["action"] != "unchanged" || o.doc["aggregator"] != nil {
			t.Errorf("%v of a limiter that shall have no aggregator: %s", none, o.stdout)
		}
	}
	if o := w.must("deploy", "--name", "my-limiter", "--enable-aggregator"); o.doc["action"] != "updated" || end(o, "version") != "1" {
		t.Errorf("with an aggregator again: %s", o.stdout)
	}
	if gone := w.must("delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "deleted" {
		t.Errorf("delete: %s", gone.stdout)
	}
	if mapped, err := functions.ListEventSourceMappings(t.Context(), nil); err != nil || len(mapped.EventSourceMappings) != 0 {
		t.Errorf("mappings that are left: %+v, %v", mapped, err)
	}
}

// The record says that functions are at this release only where they are.
func TestWithoutAnAggregatorTheRecordNamesNoFunctions(t *testing.T) {
	w := newAWSWorld(t)
	plain := w.must("deploy", "--name", "plain", "--no-aggregator")
	if plain.doc["lambda_version"] != nil || plain.doc["aggregator"] != nil || plain.doc["schema_version"] != "0.10.0" {
		t.Errorf("--no-aggregator: %s", plain.stdout)
	}
	bare := w.must("deploy", "--name", "bare", "--no-iam")
	if bare.doc["lambda_version"] != nil || bare.doc["aggregator"] != nil || !strings.Contains(bare.stderr, "give one by --aggregator-role-arn") {
		t.Errorf("--no-iam: %s%s", bare.stderr, bare.stdout)
	}
	lent := w.must("deploy", "--name", "lent", "--no-iam", "--aggregator-role-arn", "arn:aws:iam::123456789012:role/lent")
	if lent.doc["lambda_version"] != "0.17.0" || lent.doc["aggregator"] == nil {
		t.Errorf("--aggregator-role-arn: %s", lent.stdout)
	}
	// Without waiting the function has its code, and the table is left to whoever opens it.
	if o := w.must("deploy", "--name", "later", "--no-wait"); o.doc["aggregator"] == nil || o.doc["namespace_id"] != nil || o.doc["lambda_version"] != nil {
		t.Errorf("--no-wait: %s", o.stdout)
	}
}

// Limiters of old releases: their policies lack an action, the oldest tables local indexes, and most have
// the functions of the Python tool.
func TestUpgradeOfOldReleases(t *testing.T) {
	for _, test := range []struct {
		name      string
		indexes   bool
		functions bool
	}{
		{"0.16 without functions", true, false}, {"0.16 with functions", true, true}, {"0.10 without functions", false, false}, {"0.10 with functions", false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			w := newAWSWorld(t)
			w.makeOldLimiter(test.indexes, test.functions)
			before := w.physical("my-limiter")

			status := w.must("status", "--name", "my-limiter")
			if status.doc["policies"] != "before 0.17" || status.doc["local_indexes"] != test.indexes {
				t.Errorf("status: %s", status.stdout)
			}
			advice := "without --lambda-only"
			if !test.indexes {
				advice = "Python's upgrade refuses to replace it"
			}
			if o := w.must(w.deploy("--dry-run")...); !strings.Contains(o.stderr, advice) {
				t.Errorf("load deploy does not say %q:\n%s", advice, o.stderr)
			}
			if test.functions {
				w.refused(1, "which this program would remove", "deploy", "--name", "my-limiter")
				w.refused(1, "are of the Python tool", "upgrade", "--name", "my-limiter", "--lambda-only")
			}
			upgraded := w.must("upgrade", "--name", "my-limiter")
			if upgraded.doc["action"] != "updated" {
				t.Errorf("upgrade: %s", upgraded.stdout)
			}
			if again := w.must("upgrade", "--name", "my-limiter"); again.doc["action"] != "unchanged" {
				t.Errorf("upgrade again: %s", again.stdout)
			}
			after := w.physical("my-limiter")
			for id, physical := range before {
				if after[id] != physical {
					t.Errorf("%s was %s and is %s", id, physical, after[id])
				}
			}
			// Nobody has said that a stack from before there was an aggregator should have none.
			if got := after["AggregatorFunction"] != ""; got == test.functions {
				t.Errorf("with an aggregator of ours: %v, of Python: %v", got, test.functions)
			}
			if wanted := map[bool]any{true: nil, false: "0.17.0"}[test.functions]; upgraded.doc["lambda_version"] != wanted {
				t.Errorf("the record says %v of functions, want %v", upgraded.doc["lambda_version"], wanted)
			}
			status = w.must("status", "--name", "my-limiter")
			if status.doc["policies"] != "current" || status.doc["local_indexes"] != test.indexes {
				t.Errorf("status: %s", status.stdout)
			}
		})
	}
}

// A bucket that is not empty would end the deletion of a stack in the middle.
func TestALimiterIsNotDeletedUnderItsArchive(t *testing.T) {
	w := newAWSWorld(t)
	template, err := awsdeploy.LimiterTemplate(true)
	if err != nil {
		t.Fatal(err)
	}
	template = strings.Replace(template, "Resources:\n", "Resources:\n  AuditArchiveBucket: {Type: AWS::S3::Bucket}\n", 1)
	w.create("my-limiter", template+"  AuditArchiveBucketName: {Value: !Ref AuditArchiveBucket}\n")
	w.archived = "<Contents><Key>2026/01/01/a.json</Key></Contents>"
	w.refused(1, "its audit archive, bucket my-limiter-AuditArchiveBucket, is not empty", "delete", "--name", "my-limiter", "--yes")
	w.refused(1, "aws s3 rm s3://my-limiter-AuditArchiveBucket --recursive", "delete", "--name", "my-limiter", "--yes")
	if got := w.status("my-limiter"); got != "CREATE_COMPLETE" {
		t.Errorf("the stack is %s", got)
	}
	w.archived = ""
	if gone := w.must("delete", "--name", "my-limiter", "--yes"); gone.doc["action"] != "deleted" {
		t.Errorf("delete: %s", gone.stdout)
	}
}

// makeOldLimiter makes the stack of a limiter as a release before 0.17 does, with its version record: with
// functions as the Python tool, without as this one did when it had none.
func (w *awsWorld) makeOldLimiter(indexes, functions bool) {
	w.t.Helper()
	template, err := awsdeploy.LimiterTemplate(indexes)
	if err != nil {
		w.t.Fatal(err)
	}
	template = strings.ReplaceAll(template, "- dynamodb:ConditionCheckItem\n", "- dynamodb:TransactWriteItems\n")
	template = withoutAggregator(w.t, template)
	if functions {
		template = strings.Replace(template, "\nOutputs:\n", "\nOutputs:\n    AggregatorDLQUrl: {Value: !Ref AggregatorDLQ, Export: {Name: !Sub '${AWS::StackName}-DLQUrl'}}\n", 1)
		template = strings.Replace(template, "\nResources:\n", "\nResources:\n    AggregatorDLQ: {Type: AWS::SQS::Queue}\n", 1)
	}
	w.create("my-limiter", template)
	w.registerVersion()
}

// withoutAggregator is a template of a limiter with nothing of the aggregator but its switch.
func withoutAggregator(t *testing.T, template string) string {
	t.Helper()
	var document yaml.Node
	if err := yaml.Unmarshal([]byte(template), &document); err != nil {
		t.Fatal(err)
	}
	sections := document.Content[0]
	for i := 0; i < len(sections.Content); i += 2 {
		section := sections.Content[i+1]
		if section.Kind != yaml.MappingNode {
			continue
		}
		for j := len(section.Content) - 2; j >= 0; j -= 2 {
			id := section.Content[j].Value
			ours := strings.Contains(id, "Aggregator") && id != "EnableAggregator" || strings.HasPrefix(id, "Lambda") || strings.HasPrefix(id, "StreamIterator") || id == "Architectures" || id == "TracingEnabled"
			if ours {
				section.Content = slices.Delete(section.Content, j, j+2)
			}
			if id == "EnableAggregator" {
				section.Content[j+1] = &yaml.Node{Kind: yaml.MappingNode, Content: []*yaml.Node{
					{Kind: yaml.ScalarNode, Value: "Type"}, {Kind: yaml.ScalarNode, Value: "String"},
					{Kind: yaml.ScalarNode, Value: "Default"}, {Kind: yaml.ScalarNode, Value: "false", Style: yaml.SingleQuotedStyle},
				}}
			}
		}
	}
	for i := len(sections.Content) - 2; i >= 0; i -= 2 {
		if len(sections.Content[i+1].Content) == 0 && sections.Content[i+1].Kind == yaml.MappingNode {
			sections.Content = slices.Delete(sections.Content, i, i+2)
		}
	}
	data, err := yaml.Marshal(&document)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// create makes a stack of a template, with parameters as names and values, as another tool does.
func (w *awsWorld) create(name, template string, parameters ...string) {
	w.t.Helper()
	in := &cloudformation.CreateStackInput{StackName: &name, TemplateBody: &template, Capabilities: []types.Capability{types.CapabilityCapabilityNamedIam}}
	for i := 0; i < len(parameters); i += 2 {
		in.Parameters = append(in.Parameters, types.Parameter{ParameterKey: &parameters[i], ParameterValue: &parameters[i+1]})
	}
	if _, err := w.stacks.CreateStack(w.t.Context(), in); err != nil {
		w.t.Fatal(err)
	}
	if s, err := (&stack.Client{API: w.stacks, Poll: time.Millisecond}).Settled(w.t.Context(), name, nil); err != nil || s.Status != "CREATE_COMPLETE" {
		w.t.Fatalf("stack %s: %+v, %v", name, s, err)
	}
}

// registerVersion writes the version record of the limiter's table.
func (w *awsWorld) registerVersion() {
	w.t.Helper()
	table := dynamostore.OpenTable(dynamodb.NewFromConfig(w.config), "my-limiter", dynamostore.TableOptions{})
	if err := table.EnsureVersion(w.t.Context()); err != nil {
		w.t.Fatal(err)
	}
}
