package awsrun

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

const taskARN = "arn:aws:ecs:eu-west-1:123456789012:task/my-load/0123456789abcdef"

// ecsTask is a task as ECS tells of it; agent is the status of its agent.
func ecsTask(status, agent string) types.Task {
	container := types.Container{Name: aws.String(MasterContainer), LastStatus: aws.String(status)}
	if status == "RUNNING" {
		container.RuntimeId = aws.String("run-1")
		container.ManagedAgents = []types.ManagedAgent{{Name: types.ManagedAgentNameExecuteCommandAgent, LastStatus: aws.String(agent)}}
	}
	return types.Task{TaskArn: aws.String(taskARN), LastStatus: aws.String(status), Containers: []types.Container{container}}
}

// telling answers DescribeTasks with one task after the other; the last one stays.
func telling(tasks ...types.Task) double {
	return double{"DescribeTasks": func(any) (any, error) {
		task := tasks[0]
		if len(tasks) > 1 {
			tasks = tasks[1:]
		}
		return &ecs.DescribeTasksOutput{Tasks: []types.Task{task}}, nil
	}}
}

func TestATaskIsStartedAsTheDeploymentSays(t *testing.T) {
	var run *ecs.RunTaskInput
	tasks := NewTasks(double{
		"DescribeServices": func(any) (any, error) {
			return &ecs.DescribeServicesOutput{Services: []types.Service{{
				Status:                   aws.String("ACTIVE"),
				NetworkConfiguration:     &types.NetworkConfiguration{AwsvpcConfiguration: &types.AwsVpcConfiguration{Subnets: []string{"subnet-a"}}},
				CapacityProviderStrategy: []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE_SPOT")}},
			}}}, nil
		},
		"RunTask": func(in any) (any, error) {
			run = in.(*ecs.RunTaskInput)
			return &ecs.RunTaskOutput{Tasks: []types.Task{ecsTask("PROVISIONING", "")}}, nil
		},
	}.config(t), "my", newJumpClock())
	network, err := tasks.Network(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	until := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	task, err := tasks.Start(t.Context(), Start{Network: network, Command: "benchmark", Token: "tok", RunID: "r1", Until: until, Overrides: Connect("a.py", Size{}, Tuning{}, 0, false)})
	if err != nil || task.ID != "0123456789abcdef" {
		t.Fatalf("task %v, error %v", task, err)
	}
	if got := aws.ToString(run.Cluster) + " " + aws.ToString(run.TaskDefinition) + " " + aws.ToString(run.StartedBy) + " " + aws.ToString(run.ClientToken); got != "my-load my-load-master zae-limiter/benchmark/r1 tok" {
		t.Errorf("cluster, family, starter, token: %s", got)
	}
	if run.NetworkConfiguration.AwsvpcConfiguration.Subnets[0] != "subnet-a" || aws.ToString(run.CapacityProviderStrategy[0].CapacityProvider) != "FARGATE_SPOT" || run.LaunchType != "" {
		t.Errorf("network %v, strategy %v, launch type %q", run.NetworkConfiguration, run.CapacityProviderStrategy, run.LaunchType)
	}
	if !run.EnableExecuteCommand || aws.ToInt32(run.Count) != 1 || len(run.Overrides.ContainerOverrides) != 2 {
		t.Errorf("execute command %v, count %v, overrides %v", run.EnableExecuteCommand, run.Count, run.Overrides)
	}
	tags := tagsOf(run.Tags)
	if tags["zae-limiter:run"] != "r1" || tags["zae-limiter:until"] != "2026-01-01T00:00:00Z" || tags["zae-limiter:name"] != "my" {
		t.Errorf("tags %v", tags)
	}
}

func TestWithoutOverridesTheArgumentIsLeftOut(t *testing.T) {
	tasks := NewTasks(double{"RunTask": func(in any) (any, error) {
		if in.(*ecs.RunTaskInput).Overrides != nil {
			t.Error("RunTask has overrides")
		}
		return &ecs.RunTaskOutput{Failures: []types.Failure{{Reason: aws.String("Capacity is unavailable at this time. Please try again later")}}}, nil
	}}.config(t), "my", nil)
	_, err := tasks.Start(t.Context(), Start{Network: &Network{}, Command: "connect"})
	failed, ok := errors.AsType[*NotStartedError](err)
	if !ok || !failed.NoCapacity() || !strings.Contains(err.Error(), "failed to start the Fargate task: Capacity is unavailable") {
		t.Errorf("error %v", err)
	}
}

func TestAMissingServiceIsNamed(t *testing.T) {
	for name, answer := range map[string]func(any) (any, error){
		"no service": func(any) (any, error) { return &ecs.DescribeServicesOutput{}, nil },
		"no cluster": func(any) (any, error) {
			return nil, &types.ClusterNotFoundException{Message: aws.String("Cluster not found.")}
		},
	} {
		_, err := NewTasks(double{"DescribeServices": answer}.config(t), "my", nil).Network(t.Context())
		if !errors.Is(err, ErrNotDeployed) || !strings.Contains(err.Error(), "cluster my-load") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestWaitingForATask(t *testing.T) {
	stopped := ecsTask("STOPPED", "")
	stopped.StopCode, stopped.StoppedReason = types.TaskStopCodeEssentialContainerExited, aws.String("Essential container in task exited")
	stopped.Containers[0].ExitCode = aws.Int32(2)
	over := ecsTask("STOPPED", "")
	over.StopCode, over.Containers[0].ExitCode = types.TaskStopCodeEssentialContainerExited, aws.Int32(0)
	for name, test := range map[string]struct {
		told []types.Task
		want string // of the error; "" = ready
		took time.Duration
	}{
		"ready":            {[]types.Task{ecsTask("PROVISIONING", ""), ecsTask("PENDING", ""), ecsTask("RUNNING", "PENDING"), ecsTask("RUNNING", "RUNNING")}, "", 6 * time.Second},
		"never running":    {[]types.Task{ecsTask("PENDING", "")}, "task 0123456789abcdef is PENDING: task failed to start within 2 minutes", 2 * time.Minute},
		"agent not ready":  {[]types.Task{ecsTask("PENDING", ""), ecsTask("RUNNING", "PENDING")}, "task 0123456789abcdef: the SSM agent failed to start within a minute", 62 * time.Second},
		"stopped meantime": {[]types.Task{ecsTask("PENDING", ""), stopped}, "task 0123456789abcdef stopped: EssentialContainerExited: Essential container in task exited; container locust-master exited with 2", 2 * time.Second},
		"over meantime":    {[]types.Task{ecsTask("RUNNING", "PENDING"), over}, "task 0123456789abcdef: the task was over before its SSM agent was ready", 2 * time.Second},
	} {
		clock := newJumpClock()
		begun := clock.Now()
		var seen []string
		task, err := NewTasks(telling(test.told...).config(t), "my", clock).AwaitReady(t.Context(), taskARN, func(task *Task) { seen = append(seen, task.Status) })
		if (err == nil) != (test.want == "") || err != nil && err.Error() != test.want {
			t.Errorf("%s: error %v, want %q", name, err, test.want)
		}
		if err == nil && task.RuntimeID != "run-1" {
			t.Errorf("%s: runtime id %q", name, task.RuntimeID)
		}
		if took := clock.Now().Sub(begun); took != test.took {
			t.Errorf("%s: took %s, want %s", name, took, test.took)
		}
		if name == "ready" && strings.Join(seen, " ") != "PROVISIONING PENDING RUNNING" {
			t.Errorf("observed %v", seen)
		}
	}
}

func TestAReclaimedTaskIsTold(t *testing.T) {
	task := ecsTask("STOPPED", "")
	task.StopCode = types.TaskStopCodeSpotInterruption
	_, err := NewTasks(telling(task).config(t), "my", newJumpClock()).AwaitReady(t.Context(), taskARN, nil)
	if stopped, ok := errors.AsType[*StoppedError](err); !ok || !stopped.Interrupted() {
		t.Errorf("error %v is no interruption", err)
	}
}

func TestEveryTaskThatHasNotStoppedIsFound(t *testing.T) {
	page := 0
	at := func(id, status string, minute int) types.Task {
		task := ecsTask(status, "RUNNING")
		task.TaskArn = aws.String("arn:aws:ecs:eu-west-1:123456789012:task/my-load/" + id)
		task.CreatedAt = aws.Time(time.Date(2026, 1, 1, 0, minute, 0, 0, time.UTC))
		return task
	}
	tasks := NewTasks(double{
		"ListTasks": func(in any) (any, error) {
			if list := in.(*ecs.ListTasksInput); aws.ToString(list.Family) != "my-load-master" || list.DesiredStatus != types.DesiredStatusRunning {
				t.Errorf("ListTasks %v", list)
			}
			page++
			out := &ecs.ListTasksOutput{TaskArns: []string{"x"}}
			if page == 1 {
				out.NextToken = aws.String("more")
			}
			return out, nil
		},
		"DescribeTasks": func(any) (any, error) {
			if page == 1 {
				return &ecs.DescribeTasksOutput{Tasks: []types.Task{at("old", "RUNNING", 1), at("gone", "STOPPED", 9)}}, nil
			}
			return &ecs.DescribeTasksOutput{Tasks: []types.Task{at("new", "PROVISIONING", 5)}}, nil
		},
	}.config(t), "my", nil)
	found, err := tasks.Find(t.Context())
	if err != nil || len(found) != 2 || found[0].ID != "new" || found[1].ID != "old" {
		t.Errorf("found %v, error %v", found, err)
	}
}

func TestStoppingATask(t *testing.T) {
	answers := telling(ecsTask("RUNNING", "RUNNING"), ecsTask("DEPROVISIONING", ""), ecsTask("STOPPED", ""))
	answers["StopTask"] = func(any) (any, error) { return &ecs.StopTaskOutput{}, nil }
	tasks := NewTasks(answers.config(t), "my", newJumpClock())
	if err := tasks.Stop(t.Context(), taskARN, "over"); err != nil {
		t.Fatal(err)
	}
	if task, err := tasks.AwaitStopped(t.Context(), taskARN); err != nil || !task.Stopped() {
		t.Errorf("task %v, error %v", task, err)
	}
	gone := NewTasks(double{"StopTask": func(any) (any, error) {
		return nil, &types.InvalidParameterException{Message: aws.String("The referenced task was not found.")}
	}}.config(t), "my", nil)
	if err := gone.Stop(t.Context(), taskARN, "over"); err != nil {
		t.Errorf("a task that is gone: %v", err)
	}
	stays := NewTasks(telling(ecsTask("RUNNING", "RUNNING")).config(t), "my", newJumpClock())
	if _, err := stays.AwaitStopped(t.Context(), taskARN); !errors.Is(err, ErrStopTimeout) {
		t.Errorf("a task that stays: %v", err)
	}
}

func TestTheDefinitionSaysWhatWasDeployed(t *testing.T) {
	tasks := NewTasks(double{"DescribeTaskDefinition": func(any) (any, error) {
		return &ecs.DescribeTaskDefinitionOutput{
			TaskDefinition: &types.TaskDefinition{
				TaskDefinitionArn: aws.String("arn:x"), Cpu: aws.String("1024"), Memory: aws.String("2048"),
				RuntimePlatform: &types.RuntimePlatform{CpuArchitecture: types.CPUArchitectureArm64},
				ContainerDefinitions: []types.ContainerDefinition{{Name: aws.String(MasterContainer), Environment: []types.KeyValuePair{
					{Name: aws.String("LOCUSTFILE"), Value: aws.String("a.star")}, {Name: aws.String("ZAEL_BUILD_ID"), Value: aws.String("b-1")},
				}}},
			},
		}, nil
	}}.config(t), "my", nil)
	d, err := tasks.Definition(t.Context())
	if err != nil || *d != (Definition{ARN: "arn:x", Size: Size{1024, 2048}, ARM: true, BuildID: "b-1", Locustfile: "a.star", IdleTimeout: 15 * time.Minute}) {
		t.Errorf("definition %+v, error %v", d, err)
	}
}
