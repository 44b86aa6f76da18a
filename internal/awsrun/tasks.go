package awsrun

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// AgentWithin is how long a task that runs may take until a session can be opened to it (load-cli.md 6.4).
const AgentWithin = time.Minute

const (
	// taskPoll is the time between questions about a task that is waited for.
	taskPoll = 2 * time.Second
	// startsWithin bounds the wait for a task (load-cli.md 6.4).
	startsWithin = 2 * time.Minute
	// stopsWithin is the longest stop timeout of a container, twice.
	stopsWithin = 4 * time.Minute
	// describeMost is how many tasks one call describes.
	describeMost = 100

	statusRunning = "RUNNING"
	statusStopped = "STOPPED"
	agentName     = "ExecuteCommandAgent"
)

// Tasks are the tasks of one load stack. Safe for concurrent use.
type Tasks struct {
	client *ecs.Client
	stack  Stack
	clock  Clock
}

// NewTasks returns the tasks of a stack. A nil clock is the wall clock.
func NewTasks(cfg aws.Config, stack Stack, clock Clock) *Tasks {
	if clock == nil {
		clock = WallClock{}
	}
	return &Tasks{client: ecs.NewFromConfig(cfg), stack: stack, clock: clock}
}

// Task is a task of the master.
type Task struct {
	ARN, ID string
	Status  string // PROVISIONING, PENDING, ACTIVATING, RUNNING, …, STOPPED
	Size    Size
	// Capacity is the capacity provider: FARGATE or FARGATE_SPOT.
	Capacity  string
	StartedBy string
	Created   time.Time // zero when not known
	Started   time.Time // zero while it is not running
	// RuntimeID is of the master's container; empty until it has one. AgentReady tells that a session
	// can be opened to it.
	RuntimeID  string
	AgentReady bool
	// StopCode and StopReason are set when it stops.
	StopCode, StopReason string
	Containers           []Container
	Tags                 map[string]string
	Definition           string // ARN of its task definition
	// overrides are what it was started with.
	overrides *types.TaskOverride
}

// Container is a container of a task.
type Container struct {
	Name, Status, Reason string
	ExitCode             *int // nil while it runs, and when it never ran
}

// Stopped reports whether the task has ended.
func (t *Task) Stopped() bool { return t.Status == statusStopped }

// Ending reports whether the task has ended or is about to: its reason is known then.
func (t *Task) Ending() bool { return t.Stopped() || t.StopCode != "" }

// Ready reports whether the task runs and a session can be opened to it.
func (t *Task) Ready() bool { return t.Status == statusRunning && t.RuntimeID != "" && t.AgentReady }

// endedWell reports whether the task ended because its containers had nothing left to do.
func (t *Task) endedWell() bool {
	_, failed := (&StoppedError{Task: *t}).ContainerFailed()
	exited := slices.ContainsFunc(t.Containers, func(c Container) bool { return c.ExitCode != nil })
	return t.StopCode == string(types.TaskStopCodeEssentialContainerExited) && exited && !failed
}

// Ours reports whether this program started the task.
func (t *Task) Ours() bool { return strings.HasPrefix(t.StartedBy, ManagedBy) }

// StartedFor reports whether a load command of this program started the task.
func (t *Task) StartedFor(command string) bool {
	return t.StartedBy == ManagedBy+"/"+command || strings.HasPrefix(t.StartedBy, ManagedBy+"/"+command+"/")
}

// Until is the moment after which the task is left over; ok is false when it has none.
func (t *Task) Until() (until time.Time, ok bool) {
	until, err := time.Parse(time.RFC3339, t.Tags[TagUntil])
	return until, err == nil
}

// StoppedError is a task that stopped although it was needed.
type StoppedError struct{ Task Task }

func (e *StoppedError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "task %s stopped", e.Task.ID)
	if e.Task.StopCode != "" {
		b.WriteString(": " + e.Task.StopCode)
	}
	if e.Task.StopReason != "" {
		b.WriteString(": " + e.Task.StopReason)
	}
	for _, c := range e.Task.Containers {
		switch {
		case c.ExitCode != nil:
			fmt.Fprintf(&b, "; container %s exited with %d", c.Name, *c.ExitCode)
		case c.Reason != "":
			fmt.Fprintf(&b, "; container %s: %s", c.Name, c.Reason)
		}
	}
	return b.String()
}

// Interrupted reports whether AWS took the capacity back.
func (e *StoppedError) Interrupted() bool {
	return e.Task.StopCode == string(types.TaskStopCodeSpotInterruption) || e.Task.StopCode == string(types.TaskStopCodeTerminationNotice)
}

// ContainerFailed is the first container that exited with a code other than 0; ok is false when none
// did.
func (e *StoppedError) ContainerFailed() (c Container, ok bool) {
	for _, c := range e.Task.Containers {
		if c.ExitCode != nil && *c.ExitCode != 0 {
			return c, true
		}
	}
	return Container{}, false
}

// NotStartedError is a task that ECS did not start; Reason is its own.
type NotStartedError struct{ Reason string }

func (e *NotStartedError) Error() string { return "failed to start the Fargate task: " + e.Reason }

// NoCapacity reports whether there is no capacity for the task at the moment.
func (e *NotStartedError) NoCapacity() bool { return noCapacity(e.Reason) }

// NoCapacity reports whether the task stopped because there was no capacity for it.
func (e *StoppedError) NoCapacity() bool { return noCapacity(e.Task.StopReason) }

func noCapacity(reason string) bool { return strings.Contains(reason, "Capacity is unavailable") }

// Errors of tasks that do not come up in time.
var (
	ErrStartTimeout = errors.New("task failed to start within 2 minutes")
	ErrAgentTimeout = errors.New("the SSM agent failed to start within a minute")
	ErrStopTimeout  = errors.New("the task does not stop")
	// ErrOverBeforeAgent is a task that did all it had to do while nobody could look.
	ErrOverBeforeAgent = errors.New("the task was over before its SSM agent was ready")
)

// Network is the network and the capacity that the deployment chose for tasks.
type Network struct {
	Configuration *types.NetworkConfiguration
	// Capacity is the capacity provider; empty when the service names none.
	Capacity string
}

// Subnets are the subnets' ids.
func (n *Network) Subnets() []string {
	if n.Configuration == nil || n.Configuration.AwsvpcConfiguration == nil {
		return nil
	}
	return n.Configuration.AwsvpcConfiguration.Subnets
}

// Network reads what the service keeps for the tasks. A missing service or cluster wraps
// ErrNotDeployed.
func (t *Tasks) Network(ctx context.Context) (*Network, error) {
	out, err := t.client.DescribeServices(ctx, &ecs.DescribeServicesInput{Cluster: aws.String(t.stack.Cluster()), Services: []string{t.stack.Service()}})
	if missing, ok := errors.AsType[*types.ClusterNotFoundException](err); ok {
		return nil, fmt.Errorf("cluster %s: %w (%s)", t.stack.Cluster(), ErrNotDeployed, missing.ErrorMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("describe service %s: %w", t.stack.Service(), err)
	}
	for i := range out.Services {
		s := &out.Services[i]
		if aws.ToString(s.Status) == "INACTIVE" || s.NetworkConfiguration == nil {
			continue
		}
		n := &Network{Configuration: s.NetworkConfiguration}
		if len(s.CapacityProviderStrategy) > 0 {
			n.Capacity = aws.ToString(s.CapacityProviderStrategy[0].CapacityProvider)
		}
		return n, nil
	}
	return nil, fmt.Errorf("service %s of cluster %s: %w", t.stack.Service(), t.stack.Cluster(), ErrNotDeployed)
}

// Definition is what the newest task definition says.
type Definition struct {
	ARN        string
	Size       Size
	ARM        bool
	BuildID    string // "" when it has none
	Locustfile string // the default one; "" when none was deployed
	Image      string
	// MaxWorkers is the most functions at once; 0 when it is not limited.
	MaxWorkers int
	// IdleTimeout is after how long without a test the task ends by itself; 0 = never.
	IdleTimeout time.Duration
}

// idleDefault is the orchestrator's own (load-cli.md 12.1).
const idleDefault = 15 * time.Minute

// Definition describes the newest task definition. Without one the error wraps ErrNotDeployed.
func (t *Tasks) Definition(ctx context.Context) (*Definition, error) {
	out, err := t.client.DescribeTaskDefinition(ctx, &ecs.DescribeTaskDefinitionInput{TaskDefinition: aws.String(t.stack.Family()), Include: []types.TaskDefinitionField{types.TaskDefinitionFieldTags}})
	if refused, ok := errors.AsType[*types.ClientException](err); ok {
		return nil, fmt.Errorf("task definition %s: %w (%s)", t.stack.Family(), ErrNotDeployed, refused.ErrorMessage())
	}
	if err != nil {
		return nil, fmt.Errorf("describe task definition %s: %w", t.stack.Family(), err)
	}
	d := &Definition{ARN: aws.ToString(out.TaskDefinition.TaskDefinitionArn), IdleTimeout: idleDefault}
	d.Size.CPU, _ = strconv.Atoi(aws.ToString(out.TaskDefinition.Cpu))
	d.Size.Memory, _ = strconv.Atoi(aws.ToString(out.TaskDefinition.Memory))
	if p := out.TaskDefinition.RuntimePlatform; p != nil {
		d.ARM = p.CpuArchitecture == types.CPUArchitectureArm64
	}
	for i := range out.TaskDefinition.ContainerDefinitions {
		d.read(&out.TaskDefinition.ContainerDefinitions[i])
	}
	if build := tagsOf(out.Tags)[TagBuild]; build != "" {
		d.BuildID = build
	}
	return d, nil
}

func (d *Definition) read(c *types.ContainerDefinition) {
	if aws.ToString(c.Name) == MasterContainer {
		d.Image = aws.ToString(c.Image)
	}
	for _, pair := range c.Environment {
		value := aws.ToString(pair.Value)
		switch aws.ToString(pair.Name) {
		case "LOCUSTFILE":
			d.Locustfile = value
		case "ZAEL_BUILD_ID":
			d.BuildID = value
		case "MAX_WORKERS":
			d.MaxWorkers, _ = strconv.Atoi(value)
		case "IDLE_TIMEOUT":
			if seconds, err := strconv.Atoi(value); err == nil {
				d.IdleTimeout = time.Duration(max(seconds, 0)) * time.Second
			}
		}
	}
}

// Start says how to start a task.
type Start struct {
	Network *Network
	// Capacity is the capacity provider; empty = the network's, else the cluster's default.
	Capacity  string
	Overrides Overrides
	// Again is a task whose overrides and capacity it gets in the place of those above; nil = none.
	Again *Task
	// Command is the load command that starts it, Token makes a repeated call start one task only.
	Command, Token string
	// RunID is the run that the task is for; empty = whatever is started on it later. Until, unless
	// zero, is when that run is over for certain.
	RunID string
	Until time.Time
}

// Start starts one task and returns at once. A task that ECS did not start is a *NotStartedError.
func (t *Tasks) Start(ctx context.Context, s Start) (*Task, error) {
	tags := map[string]string{TagManagedBy: ManagedBy, TagName: string(t.stack)}
	startedBy := ManagedBy + "/" + s.Command
	if s.RunID != "" {
		tags[TagRun] = s.RunID
		startedBy += "/" + s.RunID
	}
	if !s.Until.IsZero() {
		tags[TagUntil] = s.Until.UTC().Format(time.RFC3339)
	}
	in := &ecs.RunTaskInput{
		Cluster: aws.String(t.stack.Cluster()), TaskDefinition: aws.String(t.stack.Family()), Count: aws.Int32(1),
		NetworkConfiguration: s.Network.Configuration, Overrides: s.Overrides.override(),
		EnableExecuteCommand: true, EnableECSManagedTags: true, PropagateTags: types.PropagateTagsTaskDefinition,
		StartedBy: aws.String(startedBy), Tags: ecsTags(tags),
	}
	if s.Again != nil {
		in.Overrides, s.Capacity = s.Again.overrides, cmp.Or(s.Capacity, s.Again.Capacity)
	}
	if s.Token != "" {
		in.ClientToken = aws.String(s.Token)
	}
	capacity := s.Capacity
	if capacity == "" {
		capacity = s.Network.Capacity
	}
	if capacity != "" {
		in.CapacityProviderStrategy = []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String(capacity), Weight: 1}}
	}
	out, err := t.client.RunTask(ctx, in)
	if err != nil {
		return nil, fmt.Errorf("run task %s: %w", t.stack.Family(), err)
	}
	if len(out.Tasks) == 0 {
		return nil, &NotStartedError{Reason: reasonOf(out.Failures)}
	}
	task := taskOf(&out.Tasks[0])
	return &task, nil
}

func reasonOf(failures []types.Failure) string {
	if len(failures) == 0 {
		return "ECS started no task and says no reason"
	}
	text := aws.ToString(failures[0].Reason)
	if detail := aws.ToString(failures[0].Detail); detail != "" {
		text += ": " + detail
	}
	return text
}

// Find returns the tasks that have not stopped, those that are still starting included; the one that
// was started last comes first. A missing cluster wraps ErrNotDeployed.
func (t *Tasks) Find(ctx context.Context) ([]Task, error) {
	var found []Task
	pages := ecs.NewListTasksPaginator(t.client, &ecs.ListTasksInput{
		Cluster: aws.String(t.stack.Cluster()), Family: aws.String(t.stack.Family()), DesiredStatus: types.DesiredStatusRunning,
	})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing, ok := errors.AsType[*types.ClusterNotFoundException](err); ok {
			return nil, fmt.Errorf("cluster %s: %w (%s)", t.stack.Cluster(), ErrNotDeployed, missing.ErrorMessage())
		}
		if err != nil {
			return nil, fmt.Errorf("list tasks of cluster %s: %w", t.stack.Cluster(), err)
		}
		for chunk := range slices.Chunk(page.TaskArns, describeMost) {
			tasks, err := t.describe(ctx, chunk)
			if err != nil {
				return nil, err
			}
			found = append(found, tasks...)
		}
	}
	found = slices.DeleteFunc(found, func(task Task) bool { return task.Stopped() })
	sort.SliceStable(found, func(i, j int) bool { return found[j].since().Before(found[i].since()) })
	return found, nil
}

// since is when the task came into being.
func (t *Task) since() time.Time {
	if t.Started.IsZero() {
		return t.Created
	}
	return t.Started
}

func (t *Tasks) describe(ctx context.Context, arns []string) ([]Task, error) {
	out, err := t.client.DescribeTasks(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(t.stack.Cluster()), Tasks: arns, Include: []types.TaskField{types.TaskFieldTags}})
	if err != nil {
		return nil, fmt.Errorf("describe tasks of cluster %s: %w", t.stack.Cluster(), err)
	}
	tasks := make([]Task, 0, len(out.Tasks))
	for i := range out.Tasks {
		tasks = append(tasks, taskOf(&out.Tasks[i]))
	}
	return tasks, nil
}

// Describe returns a task as it is now. One that ECS has forgotten is returned as stopped.
func (t *Tasks) Describe(ctx context.Context, arn string) (*Task, error) {
	tasks, err := t.describe(ctx, []string{arn})
	if err != nil {
		return nil, err
	}
	if len(tasks) == 0 {
		return &Task{ARN: arn, ID: lastSegment(arn), Status: statusStopped, StopReason: "ECS does not know the task any more"}, nil
	}
	return &tasks[0], nil
}

// AwaitReady waits until the task runs and a session can be opened to it. observe, unless nil, is
// called with each new status. A task that stops meanwhile is a *StoppedError at once, or
// ErrOverBeforeAgent; otherwise the error wraps ErrStartTimeout or ErrAgentTimeout.
func (t *Tasks) AwaitReady(ctx context.Context, arn string, observe func(*Task)) (*Task, error) {
	begun := t.clock.Now()
	var running time.Time
	last := ""
	for {
		task, err := t.Describe(ctx, arn)
		if err != nil {
			return nil, err
		}
		if observe != nil && task.Status != last {
			observe(task)
		}
		last = task.Status
		now := t.clock.Now()
		switch {
		case task.Stopped() && !running.IsZero() && task.endedWell():
			return nil, fmt.Errorf("task %s: %w", task.ID, ErrOverBeforeAgent)
		case task.Stopped():
			return nil, &StoppedError{Task: *task}
		case task.Ready():
			return task, nil
		case task.Status == statusRunning && running.IsZero():
			running = now
		case running.IsZero() && now.Sub(begun) >= startsWithin:
			return nil, fmt.Errorf("task %s is %s: %w", task.ID, task.Status, ErrStartTimeout)
		case !running.IsZero() && now.Sub(running) >= AgentWithin:
			return nil, fmt.Errorf("task %s: %w", task.ID, ErrAgentTimeout)
		}
		if err := t.clock.Sleep(ctx, taskPoll); err != nil {
			return nil, err
		}
	}
}

// Stop asks for the end of a task; reason is kept with it. A task that is gone is no error.
func (t *Tasks) Stop(ctx context.Context, arn, reason string) error {
	_, err := t.client.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String(t.stack.Cluster()), Task: aws.String(arn), Reason: aws.String(reason)})
	if refused, ok := errors.AsType[*types.InvalidParameterException](err); ok && strings.Contains(refused.ErrorMessage(), "not found") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("stop task %s: %w", lastSegment(arn), err)
	}
	return nil
}

// AwaitStopped waits until the task has stopped; its containers have up to two minutes for that.
func (t *Tasks) AwaitStopped(ctx context.Context, arn string) (*Task, error) {
	begun := t.clock.Now()
	for {
		task, err := t.Describe(ctx, arn)
		if err != nil || task.Stopped() {
			return task, err
		}
		if t.clock.Now().Sub(begun) >= stopsWithin {
			return nil, fmt.Errorf("task %s is %s after %s: %w", task.ID, task.Status, stopsWithin, ErrStopTimeout)
		}
		if err := t.clock.Sleep(ctx, taskPoll); err != nil {
			return nil, err
		}
	}
}

func taskOf(t *types.Task) Task {
	task := Task{
		ARN: aws.ToString(t.TaskArn), ID: lastSegment(aws.ToString(t.TaskArn)), Status: aws.ToString(t.LastStatus),
		Capacity: aws.ToString(t.CapacityProviderName), StartedBy: aws.ToString(t.StartedBy),
		Created: aws.ToTime(t.CreatedAt), Started: aws.ToTime(t.StartedAt),
		StopCode: string(t.StopCode), StopReason: aws.ToString(t.StoppedReason),
		Tags: tagsOf(t.Tags), Definition: aws.ToString(t.TaskDefinitionArn), overrides: t.Overrides,
	}
	task.Size.CPU, _ = strconv.Atoi(aws.ToString(t.Cpu))
	task.Size.Memory, _ = strconv.Atoi(aws.ToString(t.Memory))
	if task.Capacity == "" {
		task.Capacity = string(t.LaunchType)
	}
	for i := range t.Containers {
		c := &t.Containers[i]
		container := Container{Name: aws.ToString(c.Name), Status: aws.ToString(c.LastStatus), Reason: aws.ToString(c.Reason)}
		if c.ExitCode != nil {
			code := int(*c.ExitCode)
			container.ExitCode = &code
		}
		task.Containers = append(task.Containers, container)
		if container.Name != MasterContainer {
			continue
		}
		task.RuntimeID = aws.ToString(c.RuntimeId)
		for _, agent := range c.ManagedAgents {
			if string(agent.Name) == agentName {
				task.AgentReady = aws.ToString(agent.LastStatus) == statusRunning
			}
		}
	}
	return task
}

func lastSegment(arn string) string { return arn[strings.LastIndexByte(arn, '/')+1:] }

func ecsTags(tags map[string]string) []types.Tag {
	list := make([]types.Tag, 0, len(tags))
	for key, value := range tags {
		list = append(list, types.Tag{Key: aws.String(key), Value: aws.String(value)})
	}
	sort.Slice(list, func(i, j int) bool { return *list[i].Key < *list[j].Key })
	return list
}

func tagsOf(list []types.Tag) map[string]string {
	tags := map[string]string{}
	for _, tag := range list {
		tags[aws.ToString(tag.Key)] = aws.ToString(tag.Value)
	}
	return tags
}
