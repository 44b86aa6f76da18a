package ecs

import (
	"cmp"
	"context"
	"reflect"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// service keeps a number of tasks running. Most here keep none and only hold a network configuration.
type service struct {
	Service types.Service `json:"service"`

	failures int  // tasks that ended soon after their start, one after the other
	pausing  bool // the next start waits
	deleted  bool
}

const (
	// A service that a task of ends within stableAfter waits longer and longer before the next start.
	stableAfter = time.Minute
	firstPause  = time.Second
	maxPause    = 5 * time.Minute
)

func (s *Service) serviceARN(cluster *string, name string) string {
	return s.arn("service/" + clusterName(cluster) + "/" + lastSegment(name))
}

// findService finds a service of a cluster; the lock is held.
func (s *Service) findService(cluster *string, reference *string) (*service, error) {
	c, err := s.cluster(cluster)
	if err != nil {
		return nil, err
	}
	if svc := c.Services[lastSegment(aws.ToString(reference))]; svc != nil {
		return svc, nil
	}
	return nil, protocol.Errorf("ServiceNotFoundException", "Service not found.")
}

func (s *Service) createService(_ context.Context, call *protocol.Call, in *ecs.CreateServiceInput) (*ecs.CreateServiceOutput, error) {
	if err := s.allowIn(call, "CreateService", in.Cluster, s.serviceARN(in.Cluster, aws.ToString(in.ServiceName))); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if d := s.definition(aws.ToString(in.TaskDefinition)); d != nil {
		if err := passRoles(call, d.Definition.TaskRoleArn, d.Definition.ExecutionRoleArn); err != nil {
			return nil, err
		}
	}
	svc, err := s.makeService(in)
	if err != nil {
		return nil, err
	}
	return &ecs.CreateServiceOutput{Service: new(s.describeService(svc))}, nil
}

// makeService makes a service and starts its tasks; the lock is held.
func (s *Service) makeService(in *ecs.CreateServiceInput) (*service, error) {
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	name := aws.ToString(in.ServiceName)
	if !isName(name) {
		return nil, protocol.Errorf("InvalidParameterException", "The service name is not valid: %q", name)
	}
	if c.Services[name] != nil {
		return nil, protocol.Errorf("InvalidParameterException", "Creation of service was not idempotent.")
	}
	d := s.definition(aws.ToString(in.TaskDefinition))
	if d == nil || d.Definition.Status != types.TaskDefinitionStatusActive {
		return nil, protocol.Errorf("ClientException", "TaskDefinition not found.")
	}
	if in.LaunchType != "" && len(in.CapacityProviderStrategy) > 0 {
		return nil, protocol.Errorf("InvalidParameterException", "Specifying both a launch type and capacity provider strategy is not supported. Remove one and try again.")
	}
	if _, err := c.strategy(in.LaunchType, in.CapacityProviderStrategy); err != nil {
		return nil, err
	}
	now := s.config.Now()
	svc := &service{Service: types.Service{
		ServiceName: &name, ServiceArn: aws.String(s.serviceARN(in.Cluster, name)), ClusterArn: c.Cluster.ClusterArn, Status: aws.String("ACTIVE"),
		TaskDefinition: d.Definition.TaskDefinitionArn, DesiredCount: aws.ToInt32(in.DesiredCount), LaunchType: in.LaunchType,
		CapacityProviderStrategy: in.CapacityProviderStrategy, NetworkConfiguration: in.NetworkConfiguration, EnableExecuteCommand: in.EnableExecuteCommand,
		DeploymentConfiguration: in.DeploymentConfiguration, PropagateTags: in.PropagateTags, EnableECSManagedTags: in.EnableECSManagedTags, Tags: in.Tags, CreatedAt: &now,
		PlatformVersion: aws.String(cmp.Or(aws.ToString(in.PlatformVersion), "LATEST")), PlatformFamily: aws.String("Linux"),
		SchedulingStrategy: types.SchedulingStrategyReplica,
	}}
	svc.deploy(now)
	c.Services[name] = svc
	s.reconcile(svc)
	return svc, nil
}

// deploy begins a deployment of what the service now is; the lock is held.
func (svc *service) deploy(now time.Time) {
	svc.failures = 0
	svc.Service.Deployments = []types.Deployment{{
		Id: aws.String("ecs-svc/" + newID()[:19]), Status: aws.String("PRIMARY"), TaskDefinition: svc.Service.TaskDefinition,
		DesiredCount: svc.Service.DesiredCount, CreatedAt: &now, UpdatedAt: &now, LaunchType: svc.Service.LaunchType,
		CapacityProviderStrategy: svc.Service.CapacityProviderStrategy, NetworkConfiguration: svc.Service.NetworkConfiguration,
		PlatformVersion: svc.Service.PlatformVersion, RolloutState: types.DeploymentRolloutStateCompleted,
	}}
}

func (svc *service) deployment() string { return *svc.Service.Deployments[0].Id }

// tasksOf returns the tasks of a service that are not stopped; the lock is held.
func (s *Service) tasksOf(svc *service) []*task {
	var tasks []*task
	for _, t := range s.tasks {
		if t.order.service == svc && !t.stopped() {
			tasks = append(tasks, t)
		}
	}
	return tasks
}

// describeService returns a service with its counts; the lock is held.
func (s *Service) describeService(svc *service) types.Service {
	described := svc.Service
	for _, t := range s.tasksOf(svc) {
		switch {
		case aws.ToString(t.shown.LastStatus) == statusRunning:
			described.RunningCount++
		case aws.ToString(t.shown.DesiredStatus) == statusRunning:
			described.PendingCount++
		}
	}
	described.Deployments = slices.Clone(described.Deployments)
	described.Deployments[0].RunningCount, described.Deployments[0].PendingCount = described.RunningCount, described.PendingCount
	return described
}

// reconcile starts and ends tasks until as many as wanted are of the current deployment; the lock is
// held.
func (s *Service) reconcile(svc *service) {
	wanted := int(svc.Service.DesiredCount)
	if svc.deleted {
		wanted = 0
	}
	current := 0
	for _, t := range s.tasksOf(svc) {
		switch {
		case aws.ToString(t.shown.DesiredStatus) != statusRunning:
		case aws.ToString(t.shown.StartedBy) != svc.deployment() || current >= wanted:
			t.end(types.TaskStopCodeServiceSchedulerInitiated, "Scaling activity initiated by (deployment "+svc.deployment()+")")
		default:
			current++
		}
	}
	for ; current < wanted && !s.closed && !svc.pausing; current++ {
		if err := s.startServiceTask(svc); err != nil {
			s.config.Logger.Warn("a service cannot start a task", "service", *svc.Service.ServiceName, "error", err)
			s.pause(svc)
			return
		}
	}
}

// startServiceTask starts one task of a service; the lock is held.
func (s *Service) startServiceTask(svc *service) error {
	c, err := s.cluster(svc.Service.ClusterArn)
	if err != nil {
		return err
	}
	d := s.definition(*svc.Service.TaskDefinition)
	if d == nil {
		return protocol.Errorf("ClientException", "TaskDefinition not found.")
	}
	o := &order{
		cluster: c, definition: d, launchType: svc.Service.LaunchType, network: svc.Service.NetworkConfiguration,
		group: "service:" + *svc.Service.ServiceName, service: svc, startedBy: aws.String(svc.deployment()), exec: svc.Service.EnableExecuteCommand,
	}
	if svc.Service.PropagateTags == types.PropagateTagsService {
		o.tags = svc.Service.Tags
	}
	strategy, err := c.strategy(svc.Service.LaunchType, svc.Service.CapacityProviderStrategy)
	if err != nil {
		return err
	}
	if err := o.check(); err != nil {
		return err
	}
	provider := choose(strategy, 1)[0]
	if slices.Contains(s.faults.NoCapacity, provider) {
		return protocol.Errorf("ServerException", "Capacity is unavailable at this time.")
	}
	_, err = s.launch(o, provider)
	return err
}

// taskEnded lets the service of a task replace it.
func (s *Service) taskEnded(t *task) {
	svc := t.order.service
	if svc == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if t.shown.StopCode != types.TaskStopCodeServiceSchedulerInitiated && t.lifetime() < stableAfter {
		s.pause(svc)
		return
	}
	svc.failures = 0
	s.reconcile(svc)
}

// pause reconciles a service later, so that a task that fails at once does not start all the time; the
// lock is held.
func (s *Service) pause(svc *service) {
	if svc.pausing || s.closed {
		return
	}
	svc.pausing = true
	length := min(firstPause<<min(svc.failures, 10), maxPause)
	svc.failures++
	s.running.Go(func() {
		timer := time.NewTimer(length)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-s.closing:
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		svc.pausing = false
		s.reconcile(svc)
	})
}

func (s *Service) describeServices(_ context.Context, call *protocol.Call, in *ecs.DescribeServicesInput) (*ecs.DescribeServicesOutput, error) {
	if len(in.Services) == 0 || len(in.Services) > 10 {
		return nil, protocol.Errorf("InvalidParameterException", "Services must have between 1 and 10 entries: %d", len(in.Services))
	}
	for _, reference := range in.Services {
		if err := s.allowIn(call, "DescribeServices", in.Cluster, s.serviceARN(in.Cluster, reference)); err != nil {
			return nil, err
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	out := &ecs.DescribeServicesOutput{Services: []types.Service{}, Failures: []types.Failure{}}
	for _, reference := range in.Services {
		svc := c.Services[lastSegment(reference)]
		if svc == nil {
			out.Failures = append(out.Failures, missing(s.serviceARN(in.Cluster, reference)))
			continue
		}
		described := s.describeService(svc)
		if !slices.Contains(in.Include, types.ServiceFieldTags) {
			described.Tags = nil
		}
		out.Services = append(out.Services, described)
	}
	return out, nil
}

func (s *Service) listServices(_ context.Context, call *protocol.Call, in *ecs.ListServicesInput) (*ecs.ListServicesOutput, error) {
	if err := s.allowIn(call, "ListServices", in.Cluster); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	c, err := s.cluster(in.Cluster)
	if err != nil {
		return nil, err
	}
	arns := []string{}
	for _, name := range sortedKeys(c.Services) {
		arns = append(arns, *c.Services[name].Service.ServiceArn)
	}
	page, next, err := protocol.Page(arns, in.NextToken, in.MaxResults, 10)
	return &ecs.ListServicesOutput{ServiceArns: page, NextToken: next}, err
}

func (s *Service) updateService(_ context.Context, call *protocol.Call, in *ecs.UpdateServiceInput) (*ecs.UpdateServiceOutput, error) {
	if err := s.allowIn(call, "UpdateService", in.Cluster, s.serviceARN(in.Cluster, aws.ToString(in.Service))); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	svc, err := s.findService(in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	if in.TaskDefinition != nil {
		if d := s.definition(*in.TaskDefinition); d != nil {
			if err := passRoles(call, d.Definition.TaskRoleArn, d.Definition.ExecutionRoleArn); err != nil {
				return nil, err
			}
		}
	}
	if err := s.update(svc, in); err != nil {
		return nil, err
	}
	return &ecs.UpdateServiceOutput{Service: new(s.describeService(svc))}, nil
}

// update changes what a request names. A change of more than the count begins a new deployment, whose
// tasks replace those of the old one. The lock is held.
func (s *Service) update(svc *service, in *ecs.UpdateServiceInput) error {
	changed := svc.Service
	deploy := in.ForceNewDeployment
	if in.TaskDefinition != nil {
		d := s.definition(*in.TaskDefinition)
		if d == nil || d.Definition.Status != types.TaskDefinitionStatusActive {
			return protocol.Errorf("ClientException", "TaskDefinition not found.")
		}
		deploy = deploy || *changed.TaskDefinition != *d.Definition.TaskDefinitionArn
		changed.TaskDefinition = d.Definition.TaskDefinitionArn
	}
	if in.NetworkConfiguration != nil && !reflect.DeepEqual(in.NetworkConfiguration, changed.NetworkConfiguration) {
		changed.NetworkConfiguration, deploy = in.NetworkConfiguration, true
	}
	if in.CapacityProviderStrategy != nil && !reflect.DeepEqual(in.CapacityProviderStrategy, changed.CapacityProviderStrategy) {
		changed.CapacityProviderStrategy, changed.LaunchType, deploy = in.CapacityProviderStrategy, "", true
		c, err := s.cluster(svc.Service.ClusterArn)
		if err != nil {
			return err
		}
		if err := checkStrategy(c.Cluster.CapacityProviders, in.CapacityProviderStrategy); err != nil {
			return err
		}
	}
	if in.EnableExecuteCommand != nil {
		changed.EnableExecuteCommand = *in.EnableExecuteCommand
	}
	if in.DeploymentConfiguration != nil {
		changed.DeploymentConfiguration = in.DeploymentConfiguration
	}
	if in.PropagateTags != "" {
		changed.PropagateTags = in.PropagateTags
	}
	if in.DesiredCount != nil {
		changed.DesiredCount = *in.DesiredCount
	}
	svc.Service = changed
	if deploy {
		svc.deploy(s.config.Now())
	}
	s.reconcile(svc)
	return nil
}

func (s *Service) deleteService(_ context.Context, call *protocol.Call, in *ecs.DeleteServiceInput) (*ecs.DeleteServiceOutput, error) {
	if err := s.allowIn(call, "DeleteService", in.Cluster, s.serviceARN(in.Cluster, aws.ToString(in.Service))); err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	svc, err := s.findService(in.Cluster, in.Service)
	if err != nil {
		return nil, err
	}
	if svc.Service.DesiredCount > 0 && !aws.ToBool(in.Force) {
		return nil, protocol.Errorf("InvalidParameterException", "The service cannot be stopped while it is scaled above 0.")
	}
	described := s.describeService(svc)
	described.Status = aws.String("DRAINING")
	s.removeService(svc)
	return &ecs.DeleteServiceOutput{Service: &described}, nil
}

// removeService deletes a service and ends its tasks; the lock is held.
func (s *Service) removeService(svc *service) {
	svc.deleted = true
	s.reconcile(svc)
	if c := s.clusters[lastSegment(*svc.Service.ClusterArn)]; c != nil {
		delete(c.Services, *svc.Service.ServiceName)
	}
}
