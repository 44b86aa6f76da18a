package ecs_test

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ec2"
	ec2types "github.com/aws/aws-sdk-go-v2/service/ec2/types"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/smithy-go"

	fake "github.com/zeroae/zae-limiter-go/internal/awsfake/ecs"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol/protocoltest"
)

// lines are what a container has written so far.
func (c *cloud) lines(t *testing.T, arn, container string) []string {
	t.Helper()
	return c.logs.Lines("/ecs/master", "p/"+container+"/"+taskID(arn))
}

func taskID(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

// everything is all that was logged, for the message of a test that fails.
func (c *cloud) everything(t *testing.T) string {
	t.Helper()
	return strings.Join(c.logs.Lines("/ecs/master", ""), "\n")
}

func TestTaskRunsItsContainersAsProcesses(t *testing.T) {
	c := newCloud(t)
	main := containerOf("main", "report", "--file=/mnt/settings.txt", "/nowhere")
	main.Environment = []types.KeyValuePair{{Name: aws.String("MODE"), Value: aws.String("definition")}, {Name: aws.String("WHERE"), Value: aws.String("/data/x")}}
	main.MountPoints = []types.MountPoint{{SourceVolume: aws.String("data"), ContainerPath: aws.String("/data")}}
	definition := definitionOf(main)
	definition.Volumes = []types.Volume{{Name: aws.String("data")}}
	c.register(t, definition)
	in := runOf()
	in.StartedBy, in.Tags = aws.String("tester"), []types.Tag{{Key: aws.String("ManagedBy"), Value: aws.String("test")}}
	in.Overrides = &types.TaskOverride{Cpu: aws.String("512"), Memory: aws.String("1024"), ContainerOverrides: []types.ContainerOverride{{
		Name: aws.String("main"), Environment: []types.KeyValuePair{{Name: aws.String("MODE"), Value: aws.String("override")}},
	}}}
	arn := c.run(t, in)
	task := c.await(t, arn, isRunning)

	container := task.Containers[0]
	if aws.ToString(task.Cpu) != "512" || aws.ToString(task.Memory) != "1024" || task.StartedAt == nil || aws.ToString(task.CapacityProviderName) != "FARGATE_SPOT" {
		t.Errorf("task: cpu %s, memory %s, started %v, provider %s", *task.Cpu, *task.Memory, task.StartedAt, aws.ToString(task.CapacityProviderName))
	}
	if container.RuntimeId == nil || len(container.ManagedAgents) != 1 || *container.ManagedAgents[0].LastStatus != "RUNNING" {
		t.Errorf("container: runtime id %v, agents %v", container.RuntimeId, container.ManagedAgents)
	}
	if !strings.HasPrefix(aws.ToString(container.ImageDigest), "sha256:") {
		t.Errorf("image digest %q", aws.ToString(container.ImageDigest))
	}
	var got report
	if err := json.Unmarshal([]byte(c.says(t, arn, "main", "{")), &got); err != nil {
		t.Fatal(err)
	}
	root := filepath.Join(c.dir, "task-"+taskID(arn))
	mnt := filepath.Join(root, "containers", "main", "mnt")
	if want := []string{"report", "--file=" + mnt + "/settings.txt", "/nowhere"}; !slices.Equal(got.Args, want) {
		t.Errorf("arguments %q, want %q", got.Args, want)
	}
	if got.Settings != "warm" || got.Dir != mnt {
		t.Errorf("settings %q, working directory %s", got.Settings, got.Dir)
	}
	address := got.Env["ZAE_LIMITER_TASK_ADDRESS"]
	if ip := net.ParseIP(address); ip == nil || !ip.IsLoopback() {
		t.Errorf("task address %q", address)
	}
	for name, want := range map[string]string{
		"MODE": "override", "WHERE": filepath.Join(root, "volumes", "data", "x"), "AWS_REGION": protocoltest.Region, "AWS_ENDPOINT_URL": "http://127.0.0.1:4566",
		"AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/" + taskID(arn), "AWS_CONTAINER_AUTHORIZATION_TOKEN": "token-of-arn:aws:iam::123456789012:role/task",
		"TMPDIR": filepath.Join(root, "containers", "main", "tmp"),
	} {
		if got.Env[name] != want {
			t.Errorf("%s=%s, want %s", name, got.Env[name], want)
		}
	}
	if got.Env["HOME"] != "" {
		t.Error("the container has the environment of the test")
	}
	networks := got.Task["Containers"].([]any)[0].(map[string]any)["Networks"].([]any)[0].(map[string]any)
	if got.Task["TaskARN"] != arn || got.Task["Family"] != "master" || networks["IPv4Addresses"].([]any)[0] != address {
		t.Errorf("metadata %v", got.Task)
	}
	measured := statsOf(t, got.Env["ECS_CONTAINER_METADATA_URI_V4"]+"/task/stats")[*container.RuntimeId]
	if measured.Memory.Usage <= 0 || measured.Memory.Limit != 1024<<20 {
		t.Errorf("stats %+v", measured)
	}
	if targetARN, at, connected, found := c.service.Target("load", taskID(arn), *container.RuntimeId); !found || !connected || at != address || targetARN != arn {
		t.Errorf("target: %s at %s, connected %t, found %t", targetARN, at, connected, found)
	}

	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("load"), Task: &arn, Reason: aws.String("enough")}); err != nil {
		t.Fatal(err)
	}
	task = c.await(t, arn, isStopped)
	if task.StopCode != types.TaskStopCodeUserInitiated || *task.StoppedReason != "enough" || aws.ToInt32(task.Containers[0].ExitCode) != 0 || task.Containers[0].ExitCode == nil {
		t.Errorf("stopped: %s, %s, exit code %v", task.StopCode, *task.StoppedReason, task.Containers[0].ExitCode)
	}
	if lines := c.lines(t, arn, "main"); lines[len(lines)-1] != "report terminated" {
		t.Errorf("log %q", lines)
	}
	if left := resources(t, c.dir, "task-*"); len(left) > 0 || c.roles.count(0) != 0 {
		t.Errorf("left behind: %v, %d credentials", left, c.roles.count(0))
	}
	if len(task.Tags) != 1 || *task.Tags[0].Value != "test" {
		t.Errorf("tags %v", task.Tags)
	}
}

// stats are what the metadata endpoint measures of a container.
type stats struct {
	Memory struct{ Usage, Limit int64 } `json:"memory_stats"`
}

// statsOf asks the metadata endpoint, by runtime id.
func statsOf(t *testing.T, url string) map[string]stats {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	var all map[string]stats
	if err := json.NewDecoder(answer.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestEssentialContainerStopsItsTask(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "exit3"), containerOf("other", "wait")))
	task := c.await(t, c.run(t, runOf()), isStopped)
	if task.StopCode != types.TaskStopCodeEssentialContainerExited || *task.StoppedReason != "Essential container in task exited" {
		t.Errorf("stopped: %s, %s", task.StopCode, *task.StoppedReason)
	}
	if code := aws.ToInt32(task.Containers[0].ExitCode); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
}

// An interface keeps subnet and groups of the task busy, which is why stacks cannot be deleted under it.
func TestATaskHasAnInterfaceUntilItEnds(t *testing.T) {
	c := newCloud(t)
	groups := c.network.Providers()["AWS::EC2::SecurityGroup"]
	r := resourceOf("AWS::EC2::SecurityGroup", map[string]any{"GroupDescription": "d", "VpcId": network.LocalVPC})
	group, err := groups.Create(t.Context(), r)
	if err != nil {
		t.Fatal(err)
	}
	in := runOf()
	in.NetworkConfiguration.AwsvpcConfiguration.SecurityGroups = []string{group.ID}
	c.register(t, definitionOf(containerOf("main", "wait")))
	task := c.await(t, c.run(t, in), isRunning)
	interfaces := func() []ec2types.NetworkInterface {
		t.Helper()
		out, err := c.ec2.DescribeNetworkInterfaces(t.Context(), &ec2.DescribeNetworkInterfacesInput{Filters: []ec2types.Filter{{Name: aws.String("group-id"), Values: []string{group.ID}}}})
		if err != nil {
			t.Fatal(err)
		}
		return out.NetworkInterfaces
	}
	details := map[string]string{}
	for _, pair := range task.Attachments[0].Details {
		details[*pair.Name] = *pair.Value
	}
	found := interfaces()
	if len(found) != 1 || *found[0].NetworkInterfaceId != details["networkInterfaceId"] || *found[0].PrivateIpAddress != details["privateIPv4Address"] || *found[0].SubnetId != "subnet-a" {
		t.Errorf("interfaces %+v, attachment %v", found, details)
	}
	if err := groups.Delete(t.Context(), group, r); err == nil || !strings.Contains(err.Error(), "DependencyViolation") {
		t.Errorf("deletion of a group in use: %v", err)
	}
	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("load"), Task: task.TaskArn}); err != nil {
		t.Fatal(err)
	}
	c.await(t, *task.TaskArn, isStopped)
	if ended := <-c.ended; ended != taskID(*task.TaskArn) {
		t.Errorf("the task that ended is %s", ended)
	}
	if left := interfaces(); len(left) > 0 {
		t.Errorf("interfaces of a stopped task: %+v", left)
	}
	if err := groups.Delete(t.Context(), group, r); err != nil {
		t.Errorf("deletion of the group: %v", err)
	}
}

func TestContainerThatDoesNotEndIsKilled(t *testing.T) {
	c := newCloud(t)
	main := containerOf("main", "ignore")
	main.StopTimeout = aws.Int32(2)
	c.register(t, definitionOf(main))
	arn := c.run(t, runOf())
	c.says(t, arn, "main", "ready")
	if err := c.service.InterruptSpot(arn); err != nil {
		t.Fatal(err)
	}
	task := c.await(t, arn, isStopped)
	if task.StopCode != types.TaskStopCodeSpotInterruption || *task.StoppedReason != "Your Spot Task was interrupted." {
		t.Errorf("stopped: %s, %s", task.StopCode, *task.StoppedReason)
	}
	if code := aws.ToInt32(task.Containers[0].ExitCode); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if !slices.Contains(c.lines(t, arn, "main"), "not yet") {
		t.Error("the container was not asked before it was killed")
	}
}

func TestCapacityIsTakenBackAfterTheTimeThatTheFaultsName(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	asked := make(chan struct{}, 2)
	times := []time.Duration{time.Millisecond, 0}
	c.service.SetFaults(fake.Faults{Reclaim: func() time.Duration {
		asked <- struct{}{}
		after := times[0]
		times = times[1:]
		return after
	}})
	onDemand := runOf()
	onDemand.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE"), Weight: 1}}
	stays := c.run(t, onDemand)
	c.await(t, stays, isRunning)
	taken := c.await(t, c.run(t, runOf()), isStopped)
	if taken.StopCode != types.TaskStopCodeSpotInterruption {
		t.Errorf("the first task on Spot capacity ended with %s", taken.StopCode)
	}
	second := c.run(t, runOf())
	c.await(t, second, isRunning)
	if len(asked) != 2 {
		t.Errorf("asked for %d tasks, want the two on Spot capacity", len(asked))
	}
	for _, arn := range []string{stays, second} {
		if task := c.await(t, arn, isRunning); task.StopCode != "" {
			t.Errorf("a task that stays ended with %s", task.StopCode)
		}
	}
}

func TestContainersStartAndStopInTheOrderOfTheirDependencies(t *testing.T) {
	c := newCloud(t)
	mounts := []types.MountPoint{{SourceVolume: aws.String("run"), ContainerPath: aws.String("/run/shared")}}
	master, checker, sidecar := containerOf("master", "touch", "/run/shared/secret"), containerOf("checker", "exists", "/run/shared/secret"), containerOf("sidecar", "sidecar")
	master.MountPoints, checker.MountPoints = mounts, mounts
	master.HealthCheck = &types.HealthCheck{Command: []string{"CMD", "/program", "exists", "/run/shared/secret"}, Interval: aws.Int32(1), Timeout: aws.Int32(60)}
	checker.Essential = aws.Bool(false)
	checker.DependsOn = []types.ContainerDependency{{ContainerName: aws.String("master"), Condition: types.ContainerConditionHealthy}}
	sidecar.DependsOn = []types.ContainerDependency{
		{ContainerName: aws.String("checker"), Condition: types.ContainerConditionSuccess},
		{ContainerName: aws.String("master"), Condition: types.ContainerConditionStart},
	}
	definition := definitionOf(sidecar, checker, master)
	definition.Volumes = []types.Volume{{Name: aws.String("run")}}
	c.register(t, definition)
	arn := c.run(t, runOf())
	task := c.await(t, arn, isRunning)
	if task.HealthStatus != types.HealthStatusHealthy {
		t.Errorf("health %s", task.HealthStatus)
	}
	c.says(t, arn, "sidecar", "ready")
	if _, err := c.StopTask(t.Context(), &ecs.StopTaskInput{Cluster: aws.String("load"), Task: &arn}); err != nil {
		t.Fatal(err)
	}
	task = c.await(t, arn, isStopped)
	if *task.StoppedReason != "Task stopped by user" {
		t.Errorf("reason %q", *task.StoppedReason)
	}
	for _, container := range task.Containers {
		if container.ExitCode == nil || *container.ExitCode != 0 {
			t.Errorf("container %s: exit code %v", *container.Name, container.ExitCode)
		}
	}
	all := c.logs.Lines("/ecs/master", "")
	if slices.Index(all, "sidecar terminated") > slices.Index(all, "touch terminated") {
		t.Errorf("the dependency was stopped before the container that depends on it: %q", all)
	}
}

func TestTasksThatCannotStartSayWhy(t *testing.T) {
	for name, test := range map[string]struct {
		spoil  func(c *cloud, d *ecs.RegisterTaskDefinitionInput)
		reason string
	}{
		"image": {func(_ *cloud, d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].Image = aws.String("registry/none")
		}, "CannotPullContainerError: pull image manifest has been retried 1 time(s): failed to resolve ref registry/none"},
		"pull": {func(c *cloud, _ *ecs.RegisterTaskDefinitionInput) {
			c.service.SetFaults(fake.Faults{Pull: "i/o timeout"})
		}, "CannotPullContainerError: pull image manifest has been retried 1 time(s): i/o timeout"},
		"init": {func(c *cloud, _ *ecs.RegisterTaskDefinitionInput) { c.service.SetFaults(fake.Faults{Init: "no route"}) }, "ResourceInitializationError: no route"},
		"log group": {func(_ *cloud, d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].LogConfiguration.Options["awslogs-group"] = "none"
		}, "ResourceInitializationError: failed to validate logger args"},
		"entry point": {func(_ *cloud, d *ecs.RegisterTaskDefinitionInput) {
			d.ContainerDefinitions[0].EntryPoint = []string{"/bin/sh"}
		}, `CannotStartContainerError: unable to start container process: exec: "/bin/sh"`},
		"role":       {func(c *cloud, _ *ecs.RegisterTaskDefinitionInput) { c.roles.guard = deny{"ecr:BatchGetImage"} }, "CannotPullContainerError: "},
		"token":      {func(c *cloud, _ *ecs.RegisterTaskDefinitionInput) { c.roles.guard = deny{"ecr:GetAuthorizationToken"} }, "ResourceInitializationError: unable to pull secrets or registry auth"},
		"log stream": {func(c *cloud, _ *ecs.RegisterTaskDefinitionInput) { c.roles.guard = deny{"logs:CreateLogStream"} }, "ResourceInitializationError: failed to validate logger args"},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			definition := definitionOf(containerOf("main", "wait"))
			test.spoil(c, definition)
			c.register(t, definition)
			task := c.await(t, c.run(t, runOf()), isStopped)
			if task.StopCode != types.TaskStopCodeTaskFailedToStart || !strings.HasPrefix(*task.StoppedReason, test.reason) {
				t.Errorf("stopped: %s, %s; want reason %s", task.StopCode, *task.StoppedReason, test.reason)
			}
		})
	}
}

func TestAgentIsNotReadyWithoutItsPermissions(t *testing.T) {
	for name, spoil := range map[string]func(c *cloud){
		"fault": func(c *cloud) { c.service.SetFaults(fake.Faults{AgentPending: true}) },
		"role":  func(c *cloud) { c.roles.guard = deny{"ssmmessages:OpenDataChannel"} },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCloud(t)
			spoil(c)
			c.register(t, definitionOf(containerOf("main", "wait")))
			task := c.await(t, c.run(t, runOf()), isRunning)
			if status := *task.Containers[0].ManagedAgents[0].LastStatus; status != "PENDING" {
				t.Errorf("agent %s, want PENDING", status)
			}
			if _, _, connected, found := c.service.Target("load", taskID(*task.TaskArn), *task.Containers[0].RuntimeId); connected || !found {
				t.Errorf("target: connected %t, found %t", connected, found)
			}
		})
	}
}

func TestCloseLeavesNoProcess(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "report")))
	arn := c.run(t, runOf())
	var got report
	if err := json.Unmarshal([]byte(c.says(t, arn, "main", "{")), &got); err != nil {
		t.Fatal(err)
	}
	if err := c.service.Close(); err != nil {
		t.Fatal(err)
	}
	process, err := os.FindProcess(got.PID)
	if err == nil {
		err = process.Signal(syscall.Signal(0))
	}
	if !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("process %d after Close: %v", got.PID, err)
	}
	if left, err := os.ReadDir(c.dir); err != nil || slices.ContainsFunc(left, func(e os.DirEntry) bool { return strings.HasPrefix(e.Name(), "task-") }) {
		t.Errorf("left behind: %v, %v", left, err)
	}
	if _, err := c.RunTask(t.Context(), runOf()); err == nil {
		t.Error("a task was started after Close")
	}
}

func TestRunTaskRefuses(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	for name, test := range map[string]struct {
		change func(in *ecs.RunTaskInput)
		code   string
		text   string
	}{
		"cluster":    {func(in *ecs.RunTaskInput) { in.Cluster = aws.String("none") }, "ClusterNotFoundException", "Cluster not found."},
		"definition": {func(in *ecs.RunTaskInput) { in.TaskDefinition = aws.String("none") }, "ClientException", "TaskDefinition not found."},
		"container": {func(in *ecs.RunTaskInput) {
			in.Overrides = &types.TaskOverride{ContainerOverrides: []types.ContainerOverride{{Name: aws.String("x")}}}
		}, "InvalidParameterException", "Override for container named x is not a container in the TaskDefinition."},
		"size": {func(in *ecs.RunTaskInput) {
			in.Overrides = &types.TaskOverride{Cpu: aws.String("256"), Memory: aws.String("4096")}
		},
			"InvalidParameterException", "No Fargate configuration exists for given values: 256 CPU, 4096 memory."},
		"network": {func(in *ecs.RunTaskInput) { in.NetworkConfiguration = nil }, "InvalidParameterException", "Network Configuration must be provided"},
		"both": {func(in *ecs.RunTaskInput) {
			in.LaunchType, in.CapacityProviderStrategy = types.LaunchTypeFargate, []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE")}}
		}, "InvalidParameterException", "Specifying both a launch type"},
	} {
		t.Run(name, func(t *testing.T) {
			in := runOf()
			test.change(in)
			_, err := c.RunTask(t.Context(), in)
			wantError(t, err, test.code, test.text)
		})
	}
}

func wantError(t *testing.T, err error, code, text string) {
	t.Helper()
	refused, ok := errors.AsType[smithy.APIError](err)
	if !ok || refused.ErrorCode() != code || !strings.Contains(refused.ErrorMessage(), text) {
		t.Errorf("error %v, want %s: %s", err, code, text)
	}
}

func TestRunTaskWithoutCapacityNamesTheFailure(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	c.service.SetFaults(fake.Faults{NoCapacity: []string{"FARGATE_SPOT"}})
	out, err := c.RunTask(t.Context(), runOf())
	if err != nil {
		t.Fatal(err)
	}
	if len(out.Tasks) != 0 || len(out.Failures) != 1 || !strings.HasPrefix(*out.Failures[0].Reason, "Capacity is unavailable at this time") {
		t.Errorf("tasks %v, failures %v", out.Tasks, out.Failures)
	}
	in := runOf()
	in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE"), Weight: 1}}
	task := c.await(t, c.run(t, in), isRunning)
	if *task.CapacityProviderName != "FARGATE" {
		t.Errorf("provider %s", *task.CapacityProviderName)
	}
	if err := c.service.InterruptSpot(*task.TaskArn); err == nil {
		t.Error("a task of FARGATE was interrupted as if it were of FARGATE_SPOT")
	}
}

func TestClientTokenStartsOneTask(t *testing.T) {
	c := newCloud(t)
	c.register(t, definitionOf(containerOf("main", "wait")))
	in := runOf()
	in.ClientToken, in.StartedBy = aws.String("once"), aws.String("me")
	first, second := c.run(t, in), c.run(t, in)
	if first != second {
		t.Errorf("two tasks: %s and %s", first, second)
	}
	in.StartedBy = aws.String("you")
	_, err := c.RunTask(t.Context(), in)
	wantError(t, err, "ConflictException", "client token")

	list := func(in ecs.ListTasksInput) []string {
		in.Cluster = aws.String("load")
		out, err := c.ListTasks(t.Context(), &in)
		if err != nil {
			t.Fatal(err)
		}
		return out.TaskArns
	}
	for _, in := range []ecs.ListTasksInput{{}, {Family: aws.String("master")}, {StartedBy: aws.String("me")}, {DesiredStatus: types.DesiredStatusRunning}} {
		if got := list(in); !slices.Equal(got, []string{first}) {
			t.Errorf("ListTasks %+v: %v", in, got)
		}
	}
	for _, in := range []ecs.ListTasksInput{{Family: aws.String("other")}, {StartedBy: aws.String("you")}, {DesiredStatus: types.DesiredStatusStopped}} {
		if got := list(in); len(got) != 0 {
			t.Errorf("ListTasks %+v: %v", in, got)
		}
	}
	out, err := c.DescribeTasks(t.Context(), &ecs.DescribeTasksInput{Cluster: aws.String("load"), Tasks: []string{"abc"}})
	if err != nil || len(out.Failures) != 1 || *out.Failures[0].Reason != "MISSING" {
		t.Errorf("DescribeTasks of an unknown task: %v, %v", out, err)
	}
}
