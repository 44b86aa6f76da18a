package ecs

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// What a health check has when its definition says nothing.
const (
	defaultHealthInterval = 30 * time.Second
	defaultHealthTimeout  = 5 * time.Second
	defaultHealthRetries  = 3
)

// checkHealth runs the container's health check, if it has one, until the container or its task ends.
func (c *container) checkHealth() {
	check := c.definition.HealthCheck
	if check == nil || len(check.Command) == 0 {
		return
	}
	retries := int32(defaultHealthRetries)
	if check.Retries != nil {
		retries = *check.Retries
	}
	counted := time.Now().Add(seconds(check.StartPeriod, 0)) // failures before do not count
	ticker := time.NewTicker(seconds(check.Interval, defaultHealthInterval))
	defer ticker.Stop()
	failures := int32(0)
	healthy := false
	for {
		select {
		case <-c.process.done:
			return
		case <-c.task.ending:
			return
		case <-ticker.C:
		}
		switch passed := c.probe(check.Command, seconds(check.Timeout, defaultHealthTimeout)); {
		case passed:
			failures = 0
			c.showHealth(types.HealthStatusHealthy)
			if !healthy {
				healthy = true
				close(c.healthy)
			}
		case time.Now().After(counted):
			if failures++; failures >= retries {
				c.showHealth(types.HealthStatusUnhealthy)
			}
		}
	}
}

func seconds(n *int32, otherwise time.Duration) time.Duration {
	if n == nil || *n <= 0 {
		return otherwise
	}
	return time.Duration(*n) * time.Second
}

// probe runs the command of a health check and says whether it ended with code 0 in time.
func (c *container) probe(command []string, timeout time.Duration) bool {
	arguments := command
	switch command[0] {
	case "CMD":
		arguments = command[1:]
	case "CMD-SHELL":
		arguments = append([]string{"/bin/sh", "-c"}, command[1:]...)
	}
	cmd, err := c.command(arguments)
	if err != nil {
		return false
	}
	p, err := startProcess(cmd)
	if err != nil {
		return false
	}
	timer := time.NewTimer(timeout)
	defer timer.Stop()
	select {
	case <-p.done:
		return p.code == 0
	case <-timer.C:
	case <-c.process.done:
	case <-c.task.ending:
	}
	p.kill()
	<-p.done
	return false
}

// showHealth shows the container's health. A service replaces tasks that are not healthy; one that was
// run by hand goes on.
func (c *container) showHealth(status types.HealthStatus) {
	c.task.change(func(*types.Task) {
		c.shown.HealthStatus = status
		c.task.shown.HealthStatus = c.task.health()
		if status == types.HealthStatusUnhealthy && c.task.order.service != nil && aws.ToBool(c.definition.Essential) {
			c.task.end(types.TaskStopCodeServiceSchedulerInitiated, "Task failed container health checks")
		}
	})
}

// health is the task's: that of its essential containers that are checked; the lock is held.
func (t *task) health() types.HealthStatus {
	health := types.HealthStatusHealthy
	for _, c := range t.containers {
		if c.definition.HealthCheck == nil || !aws.ToBool(c.definition.Essential) {
			continue
		}
		switch c.shown.HealthStatus {
		case types.HealthStatusUnhealthy:
			return types.HealthStatusUnhealthy
		case types.HealthStatusUnknown:
			health = types.HealthStatusUnknown
		}
	}
	return health
}
