package ecs

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsfake/protocol"
)

// openLogs opens the log streams of all containers, as the execution role.
func (t *task) openLogs(execution *protocol.Call) error {
	for _, c := range t.containers {
		log := c.definition.LogConfiguration
		if log == nil || log.LogDriver != types.LogDriverAwslogs {
			continue
		}
		group := log.Options["awslogs-group"]
		stream := t.id
		if prefix := log.Options["awslogs-stream-prefix"]; prefix != "" {
			stream = strings.Join([]string{prefix, *c.definition.Name, t.id}, "/")
		}
		resource := execution.ARN("logs", "log-group:"+group+":log-stream:"+stream)
		err := errors.Join(execution.Allow("logs:CreateLogStream", resource), execution.Allow("logs:PutLogEvents", resource))
		if err == nil {
			c.output, err = t.service.config.Logs.Writer(group, stream)
		}
		if err != nil {
			return &startError{fmt.Sprintf("ResourceInitializationError: failed to validate logger args: create stream has been retried 1 times: failed to create Cloudwatch log stream: %v : exit status 1", err)}
		}
	}
	return nil
}

// pull gets the image of every container, as the execution role, and makes the container's files.
func (t *task) pull(execution *protocol.Call, fault string) error {
	t.change(func(shown *types.Task) { shown.PullStartedAt = new(t.service.config.Now()) })
	if err := execution.Allow("ecr:GetAuthorizationToken"); err != nil {
		return &startError{fmt.Sprintf("ResourceInitializationError: unable to pull secrets or registry auth: execution resource retrieval failed: unable to retrieve ecr registry auth: service call has been retried 1 time(s): %v", err)}
	}
	for _, c := range t.containers {
		err := c.pull(execution)
		if fault != "" {
			err = errors.New(fault)
		}
		if err != nil {
			return &startError{fmt.Sprintf("CannotPullContainerError: pull image manifest has been retried 1 time(s): %v", err)}
		}
	}
	t.change(func(shown *types.Task) { shown.PullStoppedAt = new(t.service.config.Now()) })
	return nil
}

func (c *container) pull(execution *protocol.Call) error {
	reference := *c.definition.Image
	_, name, _ := strings.Cut(reference, "/")
	name, _, _ = strings.Cut(name, "@")
	name, _, _ = strings.Cut(name, ":")
	for _, action := range []string{"BatchCheckLayerAvailability", "BatchGetImage", "GetDownloadUrlForLayer"} {
		if err := execution.Allow("ecr:"+action, execution.ARN("ecr", "repository/"+name)); err != nil {
			return fmt.Errorf("failed to resolve ref %s: unexpected status: 403 Forbidden: %w", reference, err)
		}
	}
	img, err := c.task.service.config.Images.Image(reference, c.task.architecture())
	if err != nil {
		return err
	}
	digest, err := img.Digest()
	if err != nil {
		return err
	}
	config, err := img.ConfigFile()
	if err != nil {
		return err
	}
	c.config = config.Config
	files, err := c.task.service.images.unpacked(img)
	if err != nil {
		return err
	}
	c.root.dir = filepath.Join(c.task.dir, "containers", *c.definition.Name)
	if err := copyFiles(files, c.root.dir); err != nil {
		return err
	}
	for _, m := range c.definition.MountPoints {
		c.root.mounts = append(c.root.mounts, mount{cmp.Or(aws.ToString(m.ContainerPath), "/"), c.task.volumeDir(aws.ToString(m.SourceVolume))})
	}
	c.change(func(shown *types.Container) { shown.ImageDigest = aws.String(digest.String()) })
	return nil
}

// architecture is the task's as Go names it.
func (t *task) architecture() string {
	if platform := t.definition.RuntimePlatform; platform != nil && platform.CpuArchitecture == types.CPUArchitectureArm64 {
		return "arm64"
	}
	return "amd64"
}
