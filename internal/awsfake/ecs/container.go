package ecs

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// defaultStopTimeout is how long a container may take to end (aws.md 5.3).
	defaultStopTimeout = 30 * time.Second
	// maxBusy is how often a program is tried again that cannot run yet.
	maxBusy = 20
)

// container is a container of a task.
type container struct {
	task       *task
	definition types.ContainerDefinition // with the overrides of the task
	needs      []need
	neededBy   []*container

	config v1.Config      // of the image
	root   rootfs         // where its files are
	output io.WriteCloser // nil throws output away

	started chan struct{} // closed when its process runs
	healthy chan struct{} // closed when its health check first passes
	ended   chan struct{} // closed when its process is gone or will never be
	// succeeded is set before ended closes when the process ended with code 0.
	succeeded bool

	// What follows is guarded by the service's lock.
	shown    types.Container
	process  *process // nil before the start
	began    time.Time
	sampled  usage     // at the last measurement
	measured time.Time // when that was
}

// need is what a container waits for before it starts.
type need struct {
	of        *container
	condition types.ContainerCondition
}

func newContainer(t *task, definition types.ContainerDefinition) *container {
	c := &container{task: t, definition: definition, started: make(chan struct{}), healthy: make(chan struct{}), ended: make(chan struct{})}
	c.shown = types.Container{
		Name: definition.Name, Image: definition.Image, TaskArn: t.shown.TaskArn, LastStatus: aws.String(statusPending),
		ContainerArn: aws.String(t.service.arn("container/" + t.cluster + "/" + t.id + "/" + newUUID())),
		Cpu:          itoa(int(definition.Cpu)), HealthStatus: types.HealthStatusUnknown, NetworkInterfaces: []types.NetworkInterface{},
	}
	if definition.Memory != nil {
		c.shown.Memory = itoa(int(*definition.Memory))
	}
	if t.order.exec {
		c.shown.ManagedAgents = []types.ManagedAgent{{Name: types.ManagedAgentNameExecuteCommandAgent, LastStatus: aws.String(statusPending)}}
	}
	return c
}

// change lets a function change what is shown.
func (c *container) change(f func(shown *types.Container)) {
	c.task.change(func(*types.Task) { f(&c.shown) })
}

// fail is the end of a container whose task never got to its start.
func (c *container) fail(reason string) {
	c.change(func(shown *types.Container) { shown.LastStatus, shown.Reason = aws.String(statusStopped), &reason })
	close(c.ended)
}

// agent shows the agent of ECS Exec, when there is one, as ready or not; the lock is held.
func (c *container) agent(ready bool, now time.Time) {
	if len(c.shown.ManagedAgents) == 0 || !ready || aws.ToString(c.shown.LastStatus) != statusRunning {
		return
	}
	c.shown.ManagedAgents = []types.ManagedAgent{{Name: types.ManagedAgentNameExecuteCommandAgent, LastStatus: aws.String(statusRunning), LastStartedAt: &now}}
}

func (c *container) agentRunning() bool {
	return len(c.shown.ManagedAgents) > 0 && aws.ToString(c.shown.ManagedAgents[0].LastStatus) == statusRunning
}

// live runs the container: it waits for what it needs, starts the process, waits for its end or for the
// end of the task, and ends the task when it is essential.
func (c *container) live() {
	defer close(c.ended)
	t := c.task
	ready, err := c.awaitNeeds()
	if err == nil && ready {
		err = c.start()
	}
	if err != nil {
		reason := "CannotStartContainerError: " + err.Error()
		c.stop(&reason, nil)
		t.service.mu.Lock()
		t.end(types.TaskStopCodeTaskFailedToStart, reason)
		t.service.mu.Unlock()
		return
	}
	if !ready {
		c.stop(nil, nil)
		return
	}
	close(c.started)
	health := make(chan struct{})
	go func() {
		defer close(health)
		c.checkHealth()
	}()
	select {
	case <-c.process.done:
	case <-t.ending:
		c.terminate()
	}
	<-health
	c.succeeded = c.process.code == 0
	c.stop(nil, aws.Int32(int32(c.process.code)))
	if aws.ToBool(c.definition.Essential) {
		t.service.mu.Lock()
		t.end(types.TaskStopCodeEssentialContainerExited, "Essential container in task exited")
		t.service.mu.Unlock()
	}
}

// stop shows the container as stopped, with its exit code when it ever ran.
func (c *container) stop(reason *string, code *int32) {
	c.change(func(shown *types.Container) {
		shown.LastStatus, shown.ExitCode = aws.String(statusStopped), code
		if reason != nil {
			shown.Reason = reason
		}
		if len(shown.ManagedAgents) > 0 {
			shown.ManagedAgents = []types.ManagedAgent{{Name: types.ManagedAgentNameExecuteCommandAgent, LastStatus: aws.String(statusStopped)}}
		}
	})
}

// awaitNeeds waits for the containers that this one depends on. It is not ready when the task ends.
func (c *container) awaitNeeds() (ready bool, err error) {
	for _, n := range c.needs {
		happened := n.of.started
		switch n.condition {
		case types.ContainerConditionHealthy:
			happened = n.of.healthy
		case types.ContainerConditionComplete, types.ContainerConditionSuccess:
			happened = n.of.ended
		}
		select {
		case <-happened:
		case <-n.of.ended:
		case <-c.task.ending:
			return false, nil
		}
		if n.condition == types.ContainerConditionSuccess && !n.of.succeeded {
			return false, fmt.Errorf("dependency container '%s' did not exit with code 0", *n.of.definition.Name)
		}
		if n.condition == types.ContainerConditionHealthy {
			select {
			case <-n.of.healthy:
			default:
				return false, fmt.Errorf("dependency container '%s' stopped before it was healthy", *n.of.definition.Name)
			}
		}
	}
	select {
	case <-c.task.ending:
		return false, nil
	default:
		return true, nil
	}
}

// start starts the process.
func (c *container) start() error {
	p, err := c.launch()
	// A process that was forked while the program's file was being written holds it for writing until
	// it is a program of its own, and Linux runs no file that is.
	for attempt := 1; errors.Is(err, syscall.ETXTBSY) && attempt <= maxBusy; attempt++ {
		time.Sleep(time.Duration(attempt) * time.Millisecond)
		p, err = c.launch()
	}
	if err != nil {
		return err
	}
	c.task.change(func(*types.Task) {
		c.process, c.began = p, time.Now()
		c.measured = c.began
		c.shown.LastStatus = aws.String(statusRunning)
		c.shown.RuntimeId = aws.String(c.runtimeID())
		c.shown.NetworkInterfaces = []types.NetworkInterface{{
			AttachmentId: c.task.shown.Attachments[0].Id, PrivateIpv4Address: &c.task.address,
		}}
	})
	return nil
}

// launch makes a process of the container's command line.
func (c *container) launch() (*process, error) {
	cmd, err := c.command(c.arguments())
	if err != nil {
		return nil, err
	}
	if c.output != nil {
		cmd.Stdout, cmd.Stderr = c.output, c.output
	}
	return startProcess(cmd)
}

// runtimeID is the container's as Fargate makes it: the task's id and a number.
func (c *container) runtimeID() string {
	number, err := strconv.ParseUint(lastSegment(*c.shown.ContainerArn)[:8], 16, 64)
	if err != nil {
		number = 0 // a UUID begins with eight hexadecimal digits
	}
	return fmt.Sprintf("%s-%010d", c.task.id, number)
}

// terminate asks the process to end once those that depend on it have ended, and kills it after its
// stop timeout. When everything is closed it is killed at once.
func (c *container) terminate() {
	closing := c.task.service.closing
	for _, other := range c.neededBy {
		select {
		case <-other.ended:
		case <-c.process.done:
			return
		case <-closing:
		}
	}
	c.process.terminate()
	grace := defaultStopTimeout
	if c.definition.StopTimeout != nil {
		grace = time.Duration(*c.definition.StopTimeout) * time.Second
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-c.process.done:
		return
	case <-timer.C:
	case <-closing:
	}
	c.process.kill()
	<-c.process.done
}

// arguments are the command line: entry point and command of the definition, or of the image.
func (c *container) arguments() []string {
	entry, command := c.definition.EntryPoint, c.definition.Command
	if entry == nil {
		entry = c.config.Entrypoint
		if command == nil {
			command = c.config.Cmd
		}
	}
	return append(append([]string(nil), entry...), command...)
}

// variables are the container's environment: that of the image, that of the task, that of the
// definition, later ones over earlier ones. Paths in what image and definition say are translated.
func (c *container) variables() map[string]string {
	variables := map[string]string{"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
	set := func(name, value string, translate bool) {
		if translate {
			value = c.root.translate(value)
		}
		variables[name] = value
	}
	for _, variable := range c.config.Env {
		name, value, _ := strings.Cut(variable, "=")
		set(name, value, true)
	}
	if tmp := c.root.translate("/tmp"); tmp != "/tmp" {
		set("TMPDIR", tmp, false) // what the program calls its temporary directory is that of its image
	}
	for _, variable := range c.task.environment {
		name, value, _ := strings.Cut(variable, "=")
		set(name, value, false)
	}
	set("ECS_CONTAINER_METADATA_URI_V4", c.task.metadata.url(c), false)
	for _, variable := range c.definition.Environment {
		set(aws.ToString(variable.Name), aws.ToString(variable.Value), true)
	}
	return variables
}

// directory is the working directory.
func (c *container) directory() string {
	return c.root.inside(cmp.Or(aws.ToString(c.definition.WorkingDirectory), c.config.WorkingDir, "/"))
}

// program finds the program of a command line in the container's files.
func (c *container) program(name, path string) (string, error) {
	if strings.Contains(name, "/") {
		file := name
		if !strings.HasPrefix(name, "/") {
			file = filepath.Join(c.directory(), name)
		} else {
			file = c.root.inside(name)
		}
		if _, err := os.Stat(file); err != nil {
			return "", fmt.Errorf("unable to start container process: exec: %q: stat %s: no such file or directory", name, name)
		}
		return file, nil
	}
	for dir := range strings.SplitSeq(path, ":") {
		file := c.root.inside(filepath.Join(dir, name))
		if info, err := os.Stat(file); err == nil && !info.IsDir() {
			return file, nil
		}
	}
	return "", fmt.Errorf("unable to start container process: exec: %q: executable file not found in $PATH", name)
}

// command makes what runs a program in the container.
func (c *container) command(arguments []string) (*execCmd, error) {
	if len(arguments) == 0 {
		return nil, errors.New("no command specified")
	}
	variables := c.variables()
	program, err := c.program(arguments[0], variables["PATH"])
	if err != nil {
		return nil, err
	}
	cmd := newCmd(program, arguments[0])
	for _, argument := range arguments[1:] {
		cmd.Args = append(cmd.Args, c.root.translateArgument(argument))
	}
	for _, name := range sortedKeys(variables) {
		cmd.Env = append(cmd.Env, name+"="+variables[name])
	}
	cmd.Dir = c.directory()
	return cmd, nil
}

// labels are those of the metadata.
func (c *container) labels() map[string]string {
	labels := map[string]string{
		"com.amazonaws.ecs.cluster":                 *c.task.shown.ClusterArn,
		"com.amazonaws.ecs.container-name":          *c.definition.Name,
		"com.amazonaws.ecs.task-arn":                *c.task.shown.TaskArn,
		"com.amazonaws.ecs.task-definition-family":  *c.task.definition.Family,
		"com.amazonaws.ecs.task-definition-version": strconv.Itoa(int(c.task.definition.Revision)),
	}
	maps.Copy(labels, c.config.Labels)
	return labels
}
