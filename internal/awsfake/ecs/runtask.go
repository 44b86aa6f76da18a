package ecs

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// order is what a task is started from, whoever asks for it.
type order struct {
	cluster    *cluster
	definition *definition
	overrides  types.TaskOverride
	strategy   []types.CapacityProviderStrategyItem
	launchType types.LaunchType
	network    *types.NetworkConfiguration
	group      string
	service    *service // nil for RunTask
	startedBy  *string
	exec       bool
	tags       []types.Tag
}

// launch is an answer of RunTask that a client token may ask for again.
type launch struct {
	request string
	tasks   []*task
}

func (s *Service) runTask(_ context.Context, call *protocol.Call, in *ecs.RunTaskInput) (*ecs.RunTaskOutput, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	d := s.definition(aws.ToString(in.TaskDefinition))
	resource := s.arn("task-definition/" + lastSegment(aws.ToString(in.TaskDefinition)))
	if d != nil {
		resource = *d.Definition.TaskDefinitionArn
	}
	if err := s.allowIn(call, "RunTask", in.Cluster, resource); err != nil {
		return nil, err
	}
	o, err := s.orderOf(call, in, d)
	if err != nil {
		return nil, err
	}
	count := max(int(aws.ToInt32(in.Count)), 1)
	if count > 10 {
		return nil, protocol.Errorf("InvalidParameterException", "Count must be between 1 and 10: %d", count)
	}
	if earlier, ok, err := s.earlier(in); ok || err != nil {
		return earlier, err
	}
	out := &ecs.RunTaskOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	var started []*task
	for _, provider := range choose(o.strategy, count) {
		if slices.Contains(s.faults.NoCapacity, provider) {
			out.Failures = append(out.Failures, types.Failure{Reason: aws.String("Capacity is unavailable at this time. Please try again later or in a different availability zone")})
			continue
		}
		t, err := s.launch(o, provider)
		if err != nil {
			return nil, err
		}
		started = append(started, t)
		out.Tasks = append(out.Tasks, t.describe(true))
	}
	if token := aws.ToString(in.ClientToken); token != "" && len(started) > 0 {
		s.launches[token] = launch{requestKey(in), started}
	}
	return out, nil
}

// requestKey is what has to be equal when a client token comes again.
func requestKey(in *ecs.RunTaskInput) string {
	text, err := json.Marshal(in)
	if err != nil {
		return "" // the input was decoded from a request: it has nothing that cannot be written
	}
	return string(text)
}

// earlier answers a client token that was used before; the lock is held.
func (s *Service) earlier(in *ecs.RunTaskInput) (*ecs.RunTaskOutput, bool, error) {
	l, ok := s.launches[aws.ToString(in.ClientToken)]
	if !ok {
		return nil, false, nil
	}
	if l.request != requestKey(in) {
		return nil, true, &protocol.Error{Status: 400, Code: "ConflictException", Message: "The client token was used with other parameters before."}
	}
	out := &ecs.RunTaskOutput{Failures: []types.Failure{}}
	for _, t := range l.tasks {
		out.Tasks = append(out.Tasks, t.describe(true))
	}
	return out, true, nil
}

// orderOf checks a request; the lock is held.
func (s *Service) orderOf(call *protocol.Call, in *ecs.RunTaskInput, d *definition) (*order, error) {
	invalid := func(text string) error { return protocol.Errorf("InvalidParameterException", "%s", text) }
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	switch {
	case d == nil:
		return nil, protocol.Errorf("ClientException", "TaskDefinition not found.")
	case d.Definition.Status != types.TaskDefinitionStatusActive:
		return nil, protocol.Errorf("ClientException", "TaskDefinition is inactive")
	case in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0:
		return nil, invalid("Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	case d.Definition.NetworkMode == types.NetworkModeAwsvpc && (in.NetworkConfiguration == nil || in.NetworkConfiguration.AwsvpcConfiguration == nil):
		return nil, invalid("Network Configuration must be provided when networkMode 'awsvpc' is specified.")
	}
	o := &order{
		cluster: c, definition: d, launchType: in.LaunchType, network: in.NetworkConfiguration, startedBy: in.StartedBy,
		group: cmp.Or(aws.ToString(in.Group), "family:"+*d.Definition.Family), exec: in.EnableExecuteCommand,
	}
	if in.Overrides != nil {
		o.overrides = *in.Overrides
	}
	if o.strategy, err = c.strategy(in.LaunchType, in.CapacityProviderStrategy); err != nil {
		return nil, err
	}
	if o.tags, err = s.tagsOf(call, in, d); err != nil {
		return nil, err
	}
	if err := passRoles(call, o.role(), o.executionRole()); err != nil {
		return nil, err
	}
	return o, o.check()
}

// tagsOf are the tags that a task gets.
func (s *Service) tagsOf(call *protocol.Call, in *ecs.RunTaskInput, d *definition) ([]types.Tag, error) {
	var tags []types.Tag
	if in.PropagateTags == types.PropagateTagsTaskDefinition {
		tags = d.Tags
	}
	tags = merged(tags, in.Tags...)
	if len(tags) == 0 {
		return nil, nil
	}
	conditions := map[string]string{"ecs:CreateAction": "RunTask", "ecs:cluster": s.clusterARN(in.Cluster)}
	return tags, call.AllowIf("ecs:TagResource", conditions, s.arn("task/"+clusterName(in.Cluster)+"/*"))
}

// strategy is what a task starts with: that of the request, the launch type, or the cluster's default.
func (c *cluster) strategy(launchType types.LaunchType, wanted []types.CapacityProviderStrategyItem) ([]types.CapacityProviderStrategyItem, error) {
	if launchType == types.LaunchTypeFargate {
		return []types.CapacityProviderStrategyItem{{CapacityProvider: aws.String("FARGATE"), Weight: 1}}, nil
	}
	strategy := wanted
	if len(strategy) == 0 {
		strategy = c.Cluster.DefaultCapacityProviderStrategy
	}
	if launchType != "" || len(strategy) == 0 {
		return nil, protocol.Errorf("InvalidParameterException", "No Container Instances were found in your cluster.")
	}
	return strategy, checkStrategy(c.Cluster.CapacityProviders, strategy)
}

// choose deals tasks to the providers of a strategy: first the bases, then by weight.
func choose(strategy []types.CapacityProviderStrategyItem, count int) []string {
	dealt := map[string]int32{}
	var chosen []string
	for range count {
		best := slices.MaxFunc(strategy, func(a, b types.CapacityProviderStrategyItem) int {
			return cmp.Compare(claim(a, dealt), claim(b, dealt))
		})
		dealt[*best.CapacityProvider]++
		chosen = append(chosen, *best.CapacityProvider)
	}
	return chosen
}

// claim is how much a provider is owed the next task.
func claim(item types.CapacityProviderStrategyItem, dealt map[string]int32) float64 {
	n := dealt[*item.CapacityProvider]
	if n < item.Base {
		return 1e9
	}
	return float64(item.Weight) / float64(n-item.Base+1)
}

// role and executionRole are those of the overrides or of the definition.
func (o *order) role() *string {
	return cmp.Or(o.overrides.TaskRoleArn, o.definition.Definition.TaskRoleArn)
}

func (o *order) executionRole() *string {
	return cmp.Or(o.overrides.ExecutionRoleArn, o.definition.Definition.ExecutionRoleArn)
}

// cpu and memory are those of the overrides or of the definition.
func (o *order) cpu() *string { return cmp.Or(o.overrides.Cpu, o.definition.Definition.Cpu) }

func (o *order) memory() *string { return cmp.Or(o.overrides.Memory, o.definition.Definition.Memory) }

func (o *order) check() error {
	if _, _, err := checkSize("InvalidParameterException", o.cpu(), o.memory()); err != nil {
		return err
	}
	for _, override := range o.overrides.ContainerOverrides {
		if !slices.ContainsFunc(o.definition.Definition.ContainerDefinitions, func(c types.ContainerDefinition) bool {
			return aws.ToString(c.Name) == aws.ToString(override.Name)
		}) {
			return protocol.Errorf("InvalidParameterException", "Override for container named %s is not a container in the TaskDefinition.", aws.ToString(override.Name))
		}
	}
	if o.exec && aws.ToString(o.role()) == "" {
		return protocol.Errorf("InvalidParameterException", "The task couldn't be started because a valid taskRoleArn is not being used. Specify a valid task role in your task definition and try again.")
	}
	return nil
}

// containers are the definitions with the overrides applied.
func (o *order) containers() []types.ContainerDefinition {
	containers := slices.Clone(o.definition.Definition.ContainerDefinitions)
	for i := range containers {
		for _, override := range o.overrides.ContainerOverrides {
			if aws.ToString(override.Name) != *containers[i].Name {
				continue
			}
			if override.Command != nil {
				containers[i].Command = override.Command
			}
			containers[i].Environment = append(slices.Clone(containers[i].Environment), override.Environment...)
		}
	}
	return containers
}

// newID is a task's: 32 hexadecimal digits.
func newID() string {
	var id [16]byte
	_, _ = rand.Read(id[:]) // it never fails
	return hex.EncodeToString(id[:])
}

// launch makes a task and starts its life; the lock is held.
func (s *Service) launch(o *order, provider string) (*task, error) {
	if s.closed {
		return nil, &protocol.Error{Status: 503, Code: "ServerException", Message: "The cloud is closed."}
	}
	s.forget()
	t := s.newTask(o, provider)
	s.tasks[t.id] = t
	s.running.Go(t.live)
	return t, nil
}

// forget drops tasks that stopped long ago; the lock is held.
func (s *Service) forget() {
	oldest := s.config.Now().Add(-keepStopped)
	for id, t := range s.tasks {
		if t.stopped() && t.shown.StoppedAt.Before(oldest) {
			delete(s.tasks, id)
		}
	}
	for token, l := range s.launches {
		if !slices.ContainsFunc(l.tasks, func(t *task) bool { return s.tasks[t.id] != nil }) {
			delete(s.launches, token)
		}
	}
}

// task finds a task by id or ARN; the lock is held.
func (s *Service) task(cluster *string, reference string) *task {
	t := s.tasks[lastSegment(reference)]
	if t == nil || t.cluster != clusterName(cluster) {
		return nil
	}
	return t
}

func (s *Service) taskARN(cluster *string, reference string) string {
	return s.arn("task/" + clusterName(cluster) + "/" + lastSegment(reference))
}

func (s *Service) describeTasks(_ context.Context, call *protocol.Call, in *ecs.DescribeTasksInput) (*ecs.DescribeTasksOutput, error) {
	if len(in.Tasks) == 0 || len(in.Tasks) > 100 {
		return nil, protocol.Errorf("InvalidParameterException", "Tasks must have between 1 and 100 entries: %d", len(in.Tasks))
	}
	out := &ecs.DescribeTasksOutput{Tasks: []types.Task{}, Failures: []types.Failure{}}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, reference := range in.Tasks {
		if err := s.allowIn(call, "DescribeTasks", in.Cluster, s.taskARN(in.Cluster, reference)); err != nil {
			return nil, err
		}
	}
	if _, err := s.cluster(in.Cluster); err != nil {
		return nil, err
	}
	for _, reference := range in.Tasks {
		t := s.task(in.Cluster, reference)
		if t == nil {
			out.Failures = append(out.Failures, missing(s.taskARN(in.Cluster, reference)))
			continue
		}
		out.Tasks = append(out.Tasks, t.describe(slices.Contains(in.Include, types.TaskFieldTags)))
	}
	return out, nil
}

func (s *Service) listTasks(_ context.Context, call *protocol.Call, in *ecs.ListTasksInput) (*ecs.ListTasksOutput, error) {
	if err := s.allowIn(call, "ListTasks", in.Cluster); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	if in.ServiceName != nil && c.Services[lastSegment(*in.ServiceName)] == nil {
		return nil, protocol.Errorf("ServiceNotFoundException", "Service not found.")
	}
	s.forget()
	var found []*task
	for _, t := range s.tasks {
		if t.listed(in) {
			found = append(found, t)
		}
	}
	slices.SortFunc(found, func(a, b *task) int {
		return cmp.Or(a.shown.CreatedAt.Compare(*b.shown.CreatedAt), cmp.Compare(a.id, b.id))
	})
	arns := []string{}
	for _, t := range found {
		arns = append(arns, *t.shown.TaskArn)
	}
	page, next, err := protocol.Page(arns, in.NextToken, in.MaxResults, 100)
	return &ecs.ListTasksOutput{TaskArns: page, NextToken: next}, err
}

// listed says whether a task passes all filters of a request; without a status it is RUNNING.
func (t *task) listed(in *ecs.ListTasksInput) bool {
	desired := cmp.Or(string(in.DesiredStatus), statusRunning)
	return t.cluster == clusterName(in.Cluster) && aws.ToString(t.shown.DesiredStatus) == desired &&
		(in.Family == nil || *t.definition.Family == *in.Family) &&
		(in.StartedBy == nil || aws.ToString(t.shown.StartedBy) == *in.StartedBy) &&
		(in.ServiceName == nil || aws.ToString(t.shown.Group) == "service:"+lastSegment(*in.ServiceName)) &&
		(in.LaunchType == "" || t.shown.LaunchType == in.LaunchType)
}

func (s *Service) stopTask(_ context.Context, call *protocol.Call, in *ecs.StopTaskInput) (*ecs.StopTaskOutput, error) {
	reference := aws.ToString(in.Task)
	if err := s.allowIn(call, "StopTask", in.Cluster, s.taskARN(in.Cluster, reference)); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, err := s.cluster(in.Cluster); err != nil {
		return nil, err
	}
	t := s.task(in.Cluster, reference)
	if t == nil {
		return nil, protocol.Errorf("InvalidParameterException", "The referenced task was not found.")
	}
	t.end(types.TaskStopCodeUserInitiated, cmp.Or(aws.ToString(in.Reason), "Task stopped by user"))
	return &ecs.StopTaskOutput{Task: new(t.describe(true))}, nil
}

// InterruptSpot takes a task's capacity away, as Spot does: its containers are told to end, and killed
// after their stop timeout. The task is named by its id or ARN.
func (s *Service) InterruptSpot(reference string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.tasks[lastSegment(reference)]
	if t == nil || t.stopped() {
		return protocol.Errorf("InvalidParameterException", "No task %s is running.", reference)
	}
	if aws.ToString(t.shown.CapacityProviderName) != spotProvider {
		return protocol.Errorf("InvalidParameterException", "The task %s does not run on %s.", reference, spotProvider)
	}
	t.end(types.TaskStopCodeSpotInterruption, "Your Spot Task was interrupted.")
	return nil
}

// Target returns a task by the parts of a Session Manager target (aws.md 5.1): its ARN, the address
// at which its containers listen, and whether the agent of the container with the runtime id is
// registered. found is false when no such container runs.
func (s *Service) Target(cluster, id, runtimeID string) (arn, address string, connected, found bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t := s.task(&cluster, id)
	if t == nil || aws.ToString(t.shown.LastStatus) != statusRunning {
		return "", "", false, false
	}
	for _, c := range t.containers {
		if aws.ToString(c.shown.RuntimeId) == runtimeID {
			return *t.shown.TaskArn, t.address, c.agentRunning(), true
		}
	}
	return "", "", false, false
}

// units and megabytes are the size of a task, which was checked when it was ordered.
func (o *order) units() int {
	n, _ := amount(aws.ToString(o.cpu()), " vcpu")
	return n
}

func (o *order) megabytes() int {
	n, _ := amount(aws.ToString(o.memory()), " gb")
	return n
}

func itoa(n int) *string { return new(strconv.Itoa(n)) }
