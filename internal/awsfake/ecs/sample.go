package ecs

import (
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
)

// insightsNamespace is where Container Insights put what they measure (aws.md 5.8).
const insightsNamespace = "ECS/ContainerInsights"

func (s *Service) sampleUntilClosed() {
	ticker := time.NewTicker(s.config.SampleEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ticker.C:
			s.Sample()
		case <-s.closing:
			return
		}
	}
}

// Sample measures the running tasks of clusters that have Container Insights and records it.
func (s *Service) Sample() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, c := range s.clusters {
		if !c.insights() {
			continue
		}
		running := map[string]int{} // tasks by service, those of no service under ""
		for _, t := range s.tasks {
			if t.cluster == name && aws.ToString(t.shown.LastStatus) == statusRunning {
				t.sample()
				running[t.serviceName()]++
			}
		}
		total := 0
		for _, n := range running {
			total += n
		}
		cluster := map[string]string{"ClusterName": name}
		s.record("TaskCount", "Count", float64(total), cluster)
		s.record("RunningTaskCount", "Count", float64(total), cluster)
		s.record("ServiceCount", "Count", float64(len(c.Services)), cluster)
		for _, svc := range sortedKeys(c.Services) {
			of := map[string]string{"ClusterName": name, "ServiceName": svc}
			s.record("RunningTaskCount", "Count", float64(running[svc]), of)
			s.record("DesiredTaskCount", "Count", float64(c.Services[svc].Service.DesiredCount), of)
		}
	}
}

func (s *Service) record(name, unit string, value float64, dimensions ...map[string]string) {
	for _, d := range dimensions {
		s.config.Metrics.Record(insightsNamespace, name, unit, d, value)
	}
}

// sample records what the task used since it was last measured; the lock is held.
func (t *task) sample() {
	var units float64
	var memory int64
	for _, c := range t.containers {
		used, elapsed := c.measure()
		if elapsed > 0 {
			units += used.cpu.Seconds() / elapsed.Seconds() * 1024
		}
		memory += used.memory
	}
	dimensions := []map[string]string{
		{"ClusterName": t.cluster},
		{"ClusterName": t.cluster, "TaskDefinitionFamily": *t.definition.Family},
	}
	if name := t.serviceName(); name != "" {
		dimensions = append(dimensions, map[string]string{"ClusterName": t.cluster, "ServiceName": name})
	}
	s := t.service
	s.record("CpuUtilized", "None", units, dimensions...)
	s.record("CpuReserved", "None", float64(t.units), dimensions...)
	s.record("MemoryUtilized", "Megabytes", float64(memory)/(1<<20), dimensions...)
	s.record("MemoryReserved", "Megabytes", float64(t.memory), dimensions...)
}

// measure returns processor time since the last time, memory, and how long ago that was; the lock is
// held.
func (c *container) measure() (used usage, elapsed time.Duration) {
	if c.process == nil {
		return usage{}, 0
	}
	now, at := c.process.usage(), time.Now()
	used = usage{cpu: max(now.cpu-c.sampled.cpu, 0), memory: now.memory}
	elapsed = at.Sub(c.measured)
	c.sampled, c.measured = now, at
	return used, elapsed
}

// serviceName is empty for a task of no service.
func (t *task) serviceName() string {
	if t.order.service == nil {
		return ""
	}
	return *t.order.service.Service.ServiceName
}
