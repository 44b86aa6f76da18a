package ecs

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// What a task and its containers are at, in the order of a task's life (aws.md 5.3).
const (
	statusProvisioning   = "PROVISIONING"
	statusPending        = "PENDING"
	statusActivating     = "ACTIVATING"
	statusRunning        = "RUNNING"
	statusDeactivating   = "DEACTIVATING"
	statusStopping       = "STOPPING"
	statusDeprovisioning = "DEPROVISIONING"
	statusStopped        = "STOPPED"
)

// task is a task from its order on. What is not said to be guarded does not change after newTask, or
// belongs to the goroutine of live.
type task struct {
	service       *Service
	id, cluster   string
	order         *order
	definition    *types.TaskDefinition
	dir           string
	units, memory int // CPU units and MB
	containers    []*container

	ending chan struct{} // closed when the end of the task is decided
	over   chan struct{} // closed when everything of it is gone

	shown   types.Task // guarded by the service's lock, as a whole
	address string     // guarded; its own address, once it has one

	metadata    *metadataServer
	environment []string // what every container of the task gets
	release     func()   // ends the credentials
	network     string   // id of its network interface, "" while it has none
}

// newTask makes a task that is not running yet; the lock is held.
func (s *Service) newTask(o *order, provider string) *task {
	id := newID()
	now := s.config.Now()
	name := *o.cluster.Cluster.ClusterName
	definition := o.definition.Definition
	t := &task{
		service: s, id: id, cluster: name, order: o, definition: &definition, dir: filepath.Join(s.config.Dir, taskDir(id)),
		units: o.units(), memory: o.megabytes(), ending: make(chan struct{}), over: make(chan struct{}), release: func() {},
	}
	t.shown = types.Task{
		TaskArn: aws.String(s.arn("task/" + name + "/" + id)), ClusterArn: o.cluster.Cluster.ClusterArn,
		TaskDefinitionArn: definition.TaskDefinitionArn, Group: &o.group, StartedBy: o.startedBy,
		LastStatus: aws.String(statusProvisioning), DesiredStatus: aws.String(statusRunning),
		Cpu: itoa(t.units), Memory: itoa(t.memory), CreatedAt: &now, EnableExecuteCommand: o.exec,
		LaunchType: types.LaunchTypeFargate, CapacityProviderName: &provider, PlatformVersion: aws.String("1.4.0"), PlatformFamily: aws.String("Linux"),
		AvailabilityZone: aws.String(s.config.Region + "a"), Connectivity: types.ConnectivityDisconnected, HealthStatus: types.HealthStatusUnknown,
		EphemeralStorage: &types.EphemeralStorage{SizeInGiB: 20}, Overrides: &o.overrides, Tags: o.tags, Version: 1,
		Attachments: []types.Attachment{{Id: aws.String(newUUID()), Type: aws.String("ElasticNetworkInterface"), Status: aws.String("PRECREATED"), Details: []types.KeyValuePair{}}},
	}
	if o.launchType != "" {
		t.shown.CapacityProviderName = nil
	}
	for _, d := range o.containers() {
		t.containers = append(t.containers, newContainer(t, d))
	}
	t.link()
	return t
}

// newUUID is an identifier of containers and attachments.
func newUUID() string {
	id := newID()
	return fmt.Sprintf("%s-%s-%s-%s-%s", id[:8], id[8:12], id[12:16], id[16:20], id[20:])
}

// link lets containers know whom they wait for and who waits for them.
func (t *task) link() {
	for _, c := range t.containers {
		for _, d := range c.definition.DependsOn {
			for _, other := range t.containers {
				if *other.definition.Name == aws.ToString(d.ContainerName) {
					c.needs = append(c.needs, need{other, d.Condition})
					other.neededBy = append(other.neededBy, c)
				}
			}
		}
	}
}

// describe returns what DescribeTasks shows; the lock is held.
func (t *task) describe(tags bool) types.Task {
	described := t.shown
	if !tags {
		described.Tags = nil
	}
	for _, c := range t.containers {
		container := c.shown
		container.ManagedAgents = slices.Clone(c.shown.ManagedAgents)
		described.Containers = append(described.Containers, container)
	}
	return described
}

// stopped says whether the life of the task is over; the lock is held.
func (t *task) stopped() bool { return aws.ToString(t.shown.LastStatus) == statusStopped }

// end decides that the task ends; the first reason counts. The lock is held.
func (t *task) end(code types.TaskStopCode, reason string) {
	if t.shown.StopCode != "" {
		return
	}
	t.shown.StopCode, t.shown.StoppedReason, t.shown.DesiredStatus = code, &reason, aws.String(statusStopped)
	t.shown.StoppingAt = new(t.service.config.Now())
	t.shown.Version++
	close(t.ending)
}

// change lets a function change what is shown.
func (t *task) change(f func(shown *types.Task)) {
	t.service.mu.Lock()
	defer t.service.mu.Unlock()
	f(&t.shown)
	t.shown.Version++
}

func (t *task) status(status string) {
	t.change(func(shown *types.Task) { shown.LastStatus = &status })
}

// startError is why a task could not start, in the words of its stopped reason.
type startError struct{ text string }

func (e *startError) Error() string { return e.text }

// live is the whole life of a task.
func (t *task) live() {
	defer close(t.over)
	if err := t.start(); err != nil {
		t.service.mu.Lock()
		t.end(types.TaskStopCodeTaskFailedToStart, err.Error())
		t.service.mu.Unlock()
	}
	<-t.ending
	t.status(statusDeactivating)
	t.status(statusStopping)
	for _, c := range t.containers {
		<-c.ended // they end by themselves once the task is ending
	}
	if ended := t.service.config.Ended; ended != nil {
		ended(t.id)
	}
	t.status(statusDeprovisioning)
	t.clear()
	t.change(func(shown *types.Task) {
		now := t.service.config.Now()
		shown.LastStatus, shown.ExecutionStoppedAt, shown.StoppedAt = aws.String(statusStopped), &now, &now
		shown.Connectivity = types.ConnectivityDisconnected
		shown.Attachments = withStatus(shown.Attachments, "DELETED")
	})
	t.service.taskEnded(t)
}

// start brings the task to RUNNING. Its containers have ended channels that close in any case.
func (t *task) start() error {
	err := t.prepare()
	if err != nil {
		for _, c := range t.containers {
			c.fail(err.Error())
		}
		return err
	}
	for _, c := range t.containers {
		t.service.running.Go(c.live)
	}
	t.status(statusActivating)
	for _, c := range t.containers {
		select {
		case <-c.started:
		case <-t.ending:
			return nil
		}
	}
	agents := t.agentsReady()
	t.change(func(shown *types.Task) {
		now := t.service.config.Now()
		if shown.StopCode != "" {
			return
		}
		t.reclaimLater()
		shown.LastStatus, shown.StartedAt = aws.String(statusRunning), &now
		shown.Connectivity, shown.ConnectivityAt = types.ConnectivityConnected, &now
		for _, c := range t.containers {
			c.agent(agents, now)
		}
	})
	return nil
}

// reclaimLater takes the capacity of a Spot task back at the time that the faults name. The lock is held.
func (t *task) reclaimLater() {
	s := t.service
	if s.faults.Reclaim == nil || aws.ToString(t.shown.CapacityProviderName) != spotProvider {
		return
	}
	after := s.faults.Reclaim()
	if after == 0 {
		return
	}
	s.running.Go(func() {
		timer := time.NewTimer(after)
		defer timer.Stop()
		select {
		case <-timer.C:
			_ = s.InterruptSpot(t.id) // it may have ended by itself
		case <-t.ending:
		}
	})
}

// prepare gets everything that the containers need: address, images, files, logs, credentials.
func (t *task) prepare() error {
	s := t.service
	s.mu.Lock()
	faults := s.faults
	s.mu.Unlock()
	if err := os.MkdirAll(t.dir, 0o700); err != nil {
		return &startError{"ResourceInitializationError: " + err.Error()}
	}
	metadata, err := startMetadata(t)
	if err != nil {
		return &startError{"ResourceInitializationError: failed to configure ENI: " + err.Error()}
	}
	t.metadata = metadata
	if err := t.attach(); err != nil {
		return &startError{"ResourceInitializationError: failed to configure ENI: " + err.Error()}
	}
	t.change(func(shown *types.Task) {
		t.address = metadata.address
		shown.Attachments = withStatus(shown.Attachments, "ATTACHED")
		shown.Attachments[0].Details = t.interfaceDetails()
		shown.LastStatus = aws.String(statusPending)
	})
	if faults.Init != "" {
		return &startError{"ResourceInitializationError: " + faults.Init}
	}
	execution, err := t.guard(t.order.executionRole())
	if err != nil {
		return err
	}
	if err := t.openLogs(execution); err != nil {
		return err
	}
	if err := t.pull(execution, faults.Pull); err != nil {
		return err
	}
	if err := t.makeVolumes(); err != nil {
		return err
	}
	return t.makeEnvironment()
}

// attach gives the task a network interface in its VPC.
func (t *task) attach() (err error) {
	network, interfaces := t.order.network, t.service.config.Interfaces
	if interfaces == nil || network == nil || network.AwsvpcConfiguration == nil || len(network.AwsvpcConfiguration.Subnets) == 0 {
		return nil
	}
	vpc := network.AwsvpcConfiguration
	attachment := t.service.arn("attachment/" + *t.shown.Attachments[0].Id)
	t.network, err = interfaces.AddInterface(vpc.Subnets[0], vpc.SecurityGroups, t.metadata.address, attachment)
	return err
}

// withStatus returns attachments in another state.
func withStatus(attachments []types.Attachment, status string) []types.Attachment {
	attachments = slices.Clone(attachments)
	for i := range attachments {
		attachments[i].Status = &status
	}
	return attachments
}

// interfaceDetails describe the task's network interface; the lock is held.
func (t *task) interfaceDetails() []types.KeyValuePair {
	pair := func(name, value string) types.KeyValuePair { return types.KeyValuePair{Name: &name, Value: &value} }
	details := []types.KeyValuePair{
		pair("networkInterfaceId", cmp.Or(t.network, "eni-"+t.id[:17])), pair("macAddress", t.mac()), pair("privateIPv4Address", t.address),
	}
	if network := t.order.network; network != nil && network.AwsvpcConfiguration != nil && len(network.AwsvpcConfiguration.Subnets) > 0 {
		details = append([]types.KeyValuePair{pair("subnetId", network.AwsvpcConfiguration.Subnets[0])}, details...)
	}
	return details
}

func (t *task) mac() string {
	return fmt.Sprintf("0a:%s:%s:%s:%s:%s", t.id[0:2], t.id[2:4], t.id[4:6], t.id[6:8], t.id[8:10])
}

// guard returns the check of one of the task's roles, as a call that it makes.
func (t *task) guard(role *string) (*protocol.Call, error) {
	call := &protocol.Call{Service: "ecs", Account: t.service.config.Account, Region: t.service.config.Region, Principal: aws.ToString(role)}
	if aws.ToString(role) == "" {
		return call, nil
	}
	guard, err := t.service.config.Roles.Guard(*role)
	if err != nil {
		return nil, &startError{fmt.Sprintf("ECS was unable to assume the role '%s' that was provided for this task. Please verify that the role being passed has the proper trust relationship and permissions and that your IAM user has permissions to pass this role.", *role)}
	}
	call.Guard = guard
	return call, nil
}

// agentsReady says whether the agents of ECS Exec reach their service: the task's role has to allow it.
func (t *task) agentsReady() bool {
	s := t.service
	s.mu.Lock()
	pending := s.faults.AgentPending
	s.mu.Unlock()
	call, err := t.guard(t.order.role())
	if pending || err != nil {
		return false
	}
	for _, action := range []string{"CreateControlChannel", "CreateDataChannel", "OpenControlChannel", "OpenDataChannel"} {
		if call.Allow("ssmmessages:"+action) != nil {
			return false
		}
	}
	return true
}

// makeVolumes makes a directory for each volume; all containers of the task share it.
func (t *task) makeVolumes() error {
	for _, volume := range t.definition.Volumes {
		if err := os.MkdirAll(t.volumeDir(aws.ToString(volume.Name)), 0o755); err != nil {
			return &startError{"ResourceInitializationError: " + err.Error()}
		}
	}
	return nil
}

func (t *task) volumeDir(name string) string { return filepath.Join(t.dir, "volumes", name) }

// makeEnvironment collects what every container of the task is told.
func (t *task) makeEnvironment() error {
	config := t.service.config
	t.environment = append(slices.Clone(config.Environment),
		"AWS_REGION="+config.Region, "AWS_DEFAULT_REGION="+config.Region, "AWS_EXECUTION_ENV=AWS_ECS_FARGATE",
		"AWS_ENDPOINT_URL="+config.Endpoint, "ZAE_LIMITER_TASK_ADDRESS="+t.metadata.address,
		"HOSTNAME="+t.hostName())
	role := aws.ToString(t.order.role())
	if role == "" {
		return nil
	}
	url, token, end, err := config.Roles.Credentials(role, t.id)
	if err != nil {
		return &startError{fmt.Sprintf("ECS was unable to assume the role '%s' that was provided for this task: %v", role, err)}
	}
	t.release = end
	t.environment = append(t.environment, "AWS_CONTAINER_CREDENTIALS_FULL_URI="+url, "AWS_CONTAINER_AUTHORIZATION_TOKEN="+token)
	return nil
}

// clear takes away what the task had. Its containers are gone.
func (t *task) clear() {
	t.release()
	if t.network != "" {
		t.service.config.Interfaces.RemoveInterface(t.network)
	}
	var err error
	if t.metadata != nil {
		err = t.metadata.close()
	}
	for _, c := range t.containers {
		if c.output != nil {
			err = errors.Join(err, c.output.Close())
		}
	}
	if err = errors.Join(err, os.RemoveAll(t.dir)); err != nil {
		t.service.config.Logger.Warn("a stopped task left something behind", "task", t.id, "error", err)
	}
}

// lifetime is how long the task ran; the lock is held.
func (t *task) lifetime() time.Duration {
	if t.shown.StartedAt == nil || t.shown.StoppedAt == nil {
		return 0
	}
	return t.shown.StoppedAt.Sub(*t.shown.StartedAt)
}
