package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/master"
	"github.com/zeroae/zae-limiter-go/internal/webapi"
	"github.com/zeroae/zae-limiter-go/internal/wire"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// controller lets the web API control a cluster.
type controller struct{ *cluster }

// Status implements webapi.Controller.
func (c *controller) Status() webapi.Status {
	s := webapi.Status{
		State: c.master.State(), UsersByClass: c.master.Users(), TargetUsers: c.master.TargetUsers(),
		Distributed: !c.alone,
	}
	if c.alone {
		return s
	}
	workers := c.master.Workers()
	s.Workers = make([]webapi.Worker, len(workers))
	for i := range workers {
		w := &workers[i]
		s.Workers[i] = webapi.Worker{
			ID: w.ID, State: w.State, Users: w.Users, CPUPercent: w.CPUPercent, MemoryBytes: w.MemoryBytes,
		}
	}
	return s
}

// Plan implements webapi.Controller.
func (c *controller) Plan() webapi.Plan {
	p := c.plan
	plan := webapi.Plan{Host: p.scenario.host, Users: p.users, SpawnRate: p.spawnRate}
	if p.duration > 0 {
		plan.RunTime = (*runTimeFlag)(&p.duration).String() + "s"
	}
	for _, class := range c.master.Classes() {
		weight := class.WeightOrDefault()
		if class.Abstract {
			weight = 0
		}
		plan.Classes = append(plan.Classes, webapi.Class{
			Name: class.Name, Host: class.Host, Weight: weight, FixedCount: class.FixedCount,
			Tasks: webTasks(class.Tasks),
		})
	}
	for _, s := range p.shapes() {
		plan.Shapes = append(plan.Shapes, s.Name)
		if p.shape != nil && s.Name == p.shape.Name {
			plan.Shape, plan.ShapeUsesCommonOptions = s.Name, s.UseCommonOptions
		}
	}
	for _, name := range slices.Sorted(maps.Keys(p.options)) {
		plan.Options = append(plan.Options, webapi.Option{Name: name, Value: p.options[name]})
	}
	return plan
}

func webTasks(tasks []loadtest.Task) []webapi.Task {
	var list []webapi.Task
	for i := range tasks {
		t := webapi.Task{Name: tasks[i].Name, Weight: tasks[i].WeightOrDefault()}
		if tasks[i].Set != nil {
			t.Tasks = webTasks(tasks[i].Set.Tasks)
		}
		list = append(list, t)
	}
	return list
}

// Snapshot implements webapi.Controller.
func (c *controller) Snapshot() *stats.Snapshot { return c.master.Snapshot() }

// Swarm implements webapi.Controller.
func (c *controller) Swarm(_ context.Context, s webapi.Swarm) error {
	p := c.plan
	plan := master.Plan{
		Seed: p.seed, Users: s.Users, SpawnRate: s.SpawnRate, RunTime: s.RunTime, Classes: s.Classes,
		Host: p.scenario.host, Options: p.commandLine(), Tags: p.scenario.tags, ExcludeTags: p.scenario.excludeTags,
	}
	if !p.scenario.seeded {
		plan.Seed = randomSeed()
	}
	if s.Host != nil {
		plan.Host = *s.Host
	}
	plan.Options["users"], plan.Options["spawn_rate"] = strconv.Itoa(s.Users), formatNumber(s.SpawnRate)
	plan.Options["run_time"] = formatNumber(s.RunTime.Seconds())
	for name, value := range s.Options {
		plan.Options[name] = optionText(value)
	}
	if s.Shape != "" {
		shape, err := chooseShape(p.shapes(), s.Shape)
		if err != nil {
			return err
		}
		plan.Shape = shape.Shape
	}
	_, err := c.master.Start(plan)
	if errors.Is(err, master.ErrNoWorkers) {
		err = errors.New("no worker is connected: start one with zae-limiter load worker")
	}
	return err
}

// optionText is the value of a custom option as a locustfile sees it.
func optionText(value any) string {
	switch value := value.(type) {
	case nil:
		return ""
	case string:
		return value
	case []string:
		return strings.Join(value, ",")
	}
	return fmt.Sprint(value)
}

// Stop implements webapi.Controller.
func (c *controller) Stop(ctx context.Context) error { return c.master.Stop(ctx) }

// ResetStats implements webapi.Controller.
func (c *controller) ResetStats() { c.master.ResetStats() }

// Logs implements webapi.Controller.
func (c *controller) Logs() webapi.Logs {
	return webapi.Logs{Master: c.lines.last(), Workers: c.master.Logs()}
}

// Result implements webapi.Controller.
func (c *controller) Result() (webapi.Document, error) {
	if result, _ := c.result(); result != nil {
		return result, nil
	}
	return nil, nil
}

// QuitWorkers implements webapi.WorkerRetirer.
func (c *controller) QuitWorkers(ids []string) error { return c.master.QuitWorkers(ids) }

// UpdateClass implements webapi.ClassEditor.
func (c *controller) UpdateClass(_ context.Context, u webapi.ClassUpdate) error {
	attributes := maps.Clone(u.Attributes)
	if attributes == nil {
		attributes = map[string]any{}
	}
	if u.Weight != nil {
		attributes["weight"] = *u.Weight
	}
	if u.FixedCount != nil {
		attributes["fixed_count"] = *u.FixedCount
	}
	if u.Host != nil {
		attributes["host"] = *u.Host
	}
	if u.Tasks != nil {
		tasks := make([]any, len(u.Tasks))
		for i, name := range u.Tasks {
			tasks[i] = name
		}
		attributes["tasks"] = tasks
	}
	return c.master.UpdateClass(wire.UpdateUserClass{Class: u.Name, Attributes: attributes})
}
