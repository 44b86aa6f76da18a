package ecs_test

import (
	"archive/tar"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatch"
	cwtypes "github.com/aws/aws-sdk-go-v2/service/cloudwatch/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	fake "github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/resource"
)

func resourceOf(kind string, properties map[string]any) *resource.Resource {
	return &resource.Resource{
		Type: kind, Stack: "limiter-load", LogicalID: "Thing", Account: protocoltest.Account, Region: protocoltest.Region,
		Properties: properties, Tags: map[string]string{"ManagedBy": "zae-limiter"},
	}
}

// identity is the only caller of an account.
type identity struct{ guard protocol.Guard }

func (i identity) Find(string, string) (*protocol.Identity, error) {
	return &protocol.Identity{Principal: "arn:aws:iam::123456789012:user/tester", Account: protocoltest.Account, Guard: i.guard}, nil
}

func TestRolesArePassedOnlyByWhoMay(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	front := &protocol.Front{Account: protocoltest.Account, Region: protocoltest.Region, Services: []protocol.Service{c.service.API()}, Keys: identity{deny{"iam:PassRole"}}}
	client := ecs.NewFromConfig(protocoltest.Client(t, front))
	_, err := client.RegisterTaskDefinition(t.Context(), definitionOf(containerOf("main", "wait")))
	wantError(t, err, "AccessDeniedException", "no iam:PassRole on arn:aws:iam::123456789012:role/task (ecs-tasks.amazonaws.com)")
	_, err = client.RunTask(t.Context(), runOf())
	wantError(t, err, "AccessDeniedException", "no iam:PassRole")
}

func TestRevisionsAreNumberedAndStay(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	c.register(t, definitionOf(containerOf("main", "exit3")))
	describe := func(reference string) *types.TaskDefinition {
		t.Helper()
		out, err := c.DescribeTaskDefinition(t.Context(), &ecs.DescribeTaskDefinitionInput{TaskDefinition: &reference})
		if err != nil {
			t.Fatal(err)
		}
		return out.TaskDefinition
	}
	if first, latest := describe("master:1"), describe("master"); first.ContainerDefinitions[0].Command[0] != "wait" || latest.Revision != 2 || !aws.ToBool(latest.ContainerDefinitions[0].Essential) {
		t.Errorf("revisions %v and %v", first, latest)
	}
	if _, err := c.DeregisterTaskDefinition(t.Context(), &ecs.DeregisterTaskDefinitionInput{TaskDefinition: aws.String("master:2")}); err != nil {
		t.Fatal(err)
	}
	if latest := describe("master"); latest.Revision != 1 {
		t.Errorf("latest is %d after the end of 2", latest.Revision)
	}
	listed, err := c.ListTaskDefinitions(t.Context(), &ecs.ListTaskDefinitionsInput{FamilyPrefix: aws.String("master")})
	if err != nil || len(listed.TaskDefinitionArns) != 1 || !strings.HasSuffix(listed.TaskDefinitionArns[0], "task-definition/master:1") {
		t.Errorf("listed %v, %v", listed, err)
	}
	wrong := definitionOf(containerOf("main", "wait"))
	wrong.Cpu, wrong.Memory = aws.String("1024"), aws.String("1024")
	_, err = c.RegisterTaskDefinition(t.Context(), wrong)
	wantError(t, err, "ClientException", "No Fargate configuration exists for given values: 1024 CPU, 1024 memory.")
}

func TestServiceKeepsItsTasks(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	_, err := c.CreateService(t.Context(), &ecs.CreateServiceInput{
		Cluster: aws.String("load"), ServiceName: aws.String("keeper"), TaskDefinition: aws.String("master"), DesiredCount: aws.Int32(1),
		NetworkConfiguration: runOf().NetworkConfiguration,
	})
	if err != nil {
		t.Fatal(err)
	}
	tasks := func() []string {
		t.Helper()
		out, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: aws.String("load"), ServiceName: aws.String("keeper")})
		if err != nil {
			t.Fatal(err)
		}
		return out.TaskArns
	}
	first := tasks()
	if len(first) != 1 {
		t.Fatalf("tasks %v", first)
	}
	if group := aws.ToString(c.await(t, first[0], isRunning).Group); group != "service:keeper" {
		t.Errorf("group %s", group)
	}
	described, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: aws.String("load"), Services: []string{"keeper", "none"}})
	if err != nil || described.Services[0].RunningCount != 1 || described.Services[0].NetworkConfiguration.AwsvpcConfiguration.Subnets[0] != "subnet-a" || len(described.Failures) != 1 {
		t.Errorf("services %+v, %v", described, err)
	}
	if _, err := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("load"), Service: aws.String("keeper"), ForceNewDeployment: true}); err != nil {
		t.Fatal(err)
	}
	if second := tasks(); len(second) != 1 || second[0] == first[0] {
		t.Errorf("tasks of the new deployment: %v, of the old one: %v", second, first)
	}
	if task := c.await(t, first[0], isStopped); task.StopCode != types.TaskStopCodeServiceSchedulerInitiated {
		t.Errorf("stop code %s", task.StopCode)
	}
	_, err = c.DeleteCluster(t.Context(), &ecs.DeleteClusterInput{Cluster: aws.String("load")})
	wantError(t, err, "ClusterContainsTasksException", "")
	if _, err := c.UpdateService(t.Context(), &ecs.UpdateServiceInput{Cluster: aws.String("load"), Service: aws.String("keeper"), DesiredCount: aws.Int32(0)}); err != nil {
		t.Fatal(err)
	}
	if left := tasks(); len(left) != 0 {
		t.Errorf("tasks %v after the count was set to 0", left)
	}
}

func TestStackResources(t *testing.T) {
	c := newCloud(t)
	providers := c.service.Providers()
	create := func(kind string, properties map[string]any) *resource.Physical {
		t.Helper()
		made, err := providers[kind].Create(t.Context(), resourceOf(kind, properties))
		if err != nil {
			t.Fatalf("%s: %v", kind, err)
		}
		return made
	}
	cluster := create("AWS::ECS::Cluster", map[string]any{"ClusterName": "limiter-load", "ClusterSettings": []any{map[string]any{"Name": "containerInsights", "Value": "enabled"}}})
	create("AWS::ECS::ClusterCapacityProviderAssociations", map[string]any{
		"Cluster": cluster.ID, "CapacityProviders": []any{"FARGATE_SPOT", "FARGATE"},
		"DefaultCapacityProviderStrategy": []any{map[string]any{"CapacityProvider": "FARGATE_SPOT", "Weight": "1"}},
	})
	definition := create("AWS::ECS::TaskDefinition", map[string]any{
		"Family": "limiter-load-master", "Cpu": "1024", "Memory": float64(2048), "NetworkMode": "awsvpc", "RequiresCompatibilities": []any{"FARGATE"},
		"Volumes":              []any{map[string]any{"Name": "run"}},
		"ContainerDefinitions": []any{map[string]any{"Name": "main", "Image": "registry/app", "StopTimeout": "120", "MountPoints": []any{map[string]any{"SourceVolume": "run", "ContainerPath": "/run"}}}},
	})
	properties := map[string]any{
		"ServiceName": "limiter-load-master", "Cluster": cluster.ID, "TaskDefinition": definition.ID, "DesiredCount": "0", "EnableExecuteCommand": "true",
		"NetworkConfiguration": map[string]any{"AwsvpcConfiguration": map[string]any{"AssignPublicIp": "DISABLED", "Subnets": []any{"subnet-a"}, "SecurityGroups": []any{"sg-1"}}},
	}
	service := create("AWS::ECS::Service", properties)
	if service.Attributes["Name"] != "limiter-load-master" || !strings.HasSuffix(definition.ID, "task-definition/limiter-load-master:1") || cluster.Attributes["Arn"] == "" {
		t.Errorf("service %+v, definition %+v, cluster %+v", service, definition, cluster)
	}
	described, err := c.DescribeServices(t.Context(), &ecs.DescribeServicesInput{Cluster: &cluster.ID, Services: []string{"limiter-load-master"}})
	if err != nil {
		t.Fatal(err)
	}
	if network := described.Services[0].NetworkConfiguration.AwsvpcConfiguration; network.SecurityGroups[0] != "sg-1" || network.AssignPublicIp != types.AssignPublicIpDisabled {
		t.Errorf("network %+v", network)
	}
	for arn, tags := range c.service.Tagged() {
		if tags["ManagedBy"] != "zae-limiter" {
			t.Errorf("tags of %s: %v", arn, tags)
		}
	}
	if n := len(c.service.Tagged()); n != 3 {
		t.Errorf("%d tagged resources, want cluster, definition and service", n)
	}
	if err := providers["AWS::ECS::Cluster"].Delete(t.Context(), cluster, resourceOf("AWS::ECS::Cluster", nil)); err == nil {
		t.Error("a cluster with a service was deleted")
	}
	if err := providers["AWS::ECS::Service"].Delete(t.Context(), service, resourceOf("AWS::ECS::Service", properties)); err != nil {
		t.Error(err)
	}
	if err := providers["AWS::ECS::Cluster"].Delete(t.Context(), cluster, resourceOf("AWS::ECS::Cluster", nil)); err != nil {
		t.Error(err)
	}
}

func TestStackUpdates(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	providers := c.service.Providers()
	properties := func(change map[string]any) *resource.Resource {
		all := map[string]any{
			"ServiceName": "keeper", "Cluster": "load", "TaskDefinition": "master", "DesiredCount": "1",
			"NetworkConfiguration": map[string]any{"AwsvpcConfiguration": map[string]any{"Subnets": []any{"subnet-a"}}},
		}
		maps.Copy(all, change)
		return resourceOf("AWS::ECS::Service", all)
	}
	made, err := providers["AWS::ECS::Service"].Create(t.Context(), properties(nil))
	if err != nil {
		t.Fatal(err)
	}
	tasks := func() []string {
		t.Helper()
		out, err := c.ListTasks(t.Context(), &ecs.ListTasksInput{Cluster: aws.String("load"), ServiceName: aws.String("keeper")})
		if err != nil {
			t.Fatal(err)
		}
		return out.TaskArns
	}
	first := tasks()
	update := func(to *resource.Resource) {
		t.Helper()
		if _, err := providers["AWS::ECS::Service"].Update(t.Context(), made, properties(nil), to); err != nil {
			t.Fatal(err)
		}
	}
	update(properties(map[string]any{"EnableExecuteCommand": "true", "Tags": []any{map[string]any{"Key": "a", "Value": "b"}}}))
	if got := tasks(); !slices.Equal(got, first) {
		t.Errorf("tasks %v were replaced by %v although nothing of theirs changed", first, got)
	}
	if tags := c.service.Tagged()[made.ID]; tags["a"] != "b" || tags["ManagedBy"] != "zae-limiter" {
		t.Errorf("tags %v", tags)
	}
	c.register(t, definitionOf(containerOf("main", "wait")))
	update(properties(nil))
	if got := tasks(); len(got) != 1 || got[0] == first[0] {
		t.Errorf("tasks %v after a new revision, before %v", got, first)
	}
	if err := providers["AWS::ECS::Service"].Delete(t.Context(), made, properties(nil)); err != nil {
		t.Fatal(err)
	}
	if left := resources(t, c.dir, "task-*"); len(left) > 0 {
		t.Errorf("left behind when the service was gone: %v", left)
	}
	for kind, property := range map[string]string{"AWS::ECS::TaskDefinition": "Cpu", "AWS::ECS::Cluster": "ClusterName", "AWS::ECS::Service": "Cluster"} {
		if got := providers[kind].Replaces(property, nil, nil); got != resource.Always {
			t.Errorf("a change of %s of %s: replacement %s", property, kind, got)
		}
	}
}

func TestStateOutlivesTheService(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	state, err := json.Marshal(c.service)
	if err != nil {
		t.Fatal(err)
	}
	other := newCloud(t)
	if err := json.Unmarshal(state, other.service); err != nil {
		t.Fatal(err)
	}
	if task := other.await(t, other.run(t, runOf()), isRunning); !strings.HasSuffix(*task.TaskDefinitionArn, "master:1") {
		t.Errorf("definition %s", *task.TaskDefinitionArn)
	}
}

func TestRunningTasksAreMeasured(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	c.says(t, c.run(t, runOf()), "main", "ready")
	c.await(t, c.run(t, runOf()), isRunning)
	begin := time.Now().Add(-time.Minute)
	c.service.Sample()
	client := cloudwatch.NewFromConfig(protocoltest.Serve(t, c.metrics.API()))
	statistics := func(metric string) []cwtypes.Datapoint {
		t.Helper()
		out, err := client.GetMetricStatistics(t.Context(), &cloudwatch.GetMetricStatisticsInput{
			Namespace: aws.String("ECS/ContainerInsights"), MetricName: &metric, Period: aws.Int32(60), StartTime: &begin, EndTime: aws.Time(time.Now().Add(time.Minute)),
			Dimensions: []cwtypes.Dimension{{Name: aws.String("ClusterName"), Value: aws.String("load")}, {Name: aws.String("TaskDefinitionFamily"), Value: aws.String("master")}},
			Statistics: []cwtypes.Statistic{cwtypes.StatisticMaximum},
		})
		if err != nil {
			t.Fatal(err)
		}
		return out.Datapoints
	}
	if got := statistics("CpuReserved"); len(got) != 1 || *got[0].Maximum != 1024 {
		t.Errorf("CpuReserved %v", got)
	}
	if got := statistics("MemoryUtilized"); len(got) != 1 || *got[0].Maximum <= 0 {
		t.Errorf("MemoryUtilized %v", got)
	}
	if got := statistics("CpuUtilized"); len(got) != 1 {
		t.Errorf("CpuUtilized %v", got)
	}
}

func TestUnpackWritesNothingOutside(t *testing.T) {
	for name, test := range map[string]struct {
		files   []any
		refused bool
	}{
		"path":          {[]any{tar.Header{Name: "../outside", Mode: 0o644, Size: 1}, []byte("x")}, true},
		"relative link": {[]any{tar.Header{Name: "way", Linkname: "../..", Typeflag: tar.TypeSymlink}, nil, tar.Header{Name: "way/outside", Mode: 0o644, Size: 1}, []byte("x")}, false},
		"absolute link": {[]any{tar.Header{Name: "a/way", Linkname: "/../outside", Typeflag: tar.TypeSymlink}, nil, tar.Header{Name: "a/way2", Mode: 0o644, Size: 1}, []byte("x")}, false},
	} {
		t.Run(name, func(t *testing.T) {
			layer, err := layerOf(test.files...)
			if err != nil {
				t.Fatal(err)
			}
			img, err := mutate.AppendLayers(empty.Image, layer)
			if err != nil {
				t.Fatal(err)
			}
			parent := t.TempDir()
			dir := filepath.Join(parent, "image")
			if err := os.Mkdir(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := fake.Unpack(img, dir); (err != nil) != test.refused {
				t.Errorf("error %v, want one: %t", err, test.refused)
			}
			if outside := resources(t, parent, "outside"); len(outside) > 0 {
				t.Errorf("written outside: %v", outside)
			}
		})
	}
}

func TestUnpackKeepsAbsoluteLinksInside(t *testing.T) {
	layer, err := layerOf(
		tar.Header{Name: "usr/bin/tool", Mode: 0o755, Size: 4}, []byte("tool"),
		tar.Header{Name: "opt/tools/tool", Linkname: "/usr/bin/tool", Typeflag: tar.TypeSymlink}, nil,
	)
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := fake.Unpack(img, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "opt/tools/tool")); err != nil || string(got) != "tool" {
		t.Errorf("through the link: %q, %v", got, err)
	}
}
