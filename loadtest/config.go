package loadtest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"
)

// Events are called at certain moments of a run. A nil function is left out.
type Events struct {
	// TestStart and TestStop run once a run, on the process that controls it, before the first user
	// starts and after the last one stopped. An error of TestStart ends the run before any user.
	TestStart, TestStop func(context.Context, *Env) error
	// WorkerStart and WorkerStop run once on each process that runs users, inside the former two.
	WorkerStart, WorkerStop func(context.Context, *Env) error
	// SpawningComplete runs each time a ramp has reached its target.
	SpawningComplete func(ctx context.Context, env *Env, users int) error
}

// Config describes a run.
type Config struct {
	// Classes are those of the run; ClassNames restricts them.
	Classes    []*UserClass
	ClassNames []string
	// Tags keep only tasks that have one of them, ExcludeTags drops tasks that have one.
	Tags, ExcludeTags []string

	// Users are started at SpawnRate a second. A Shape decides on both instead.
	Users     int
	SpawnRate float64
	Shape     Shape
	// Duration is counted from the start, ramp included; 0 = until the context or the shape ends.
	Duration time.Duration
	// StopTimeout is how long a task may go on when its user is told to stop.
	StopTimeout time.Duration
	// Warmup is left out of the totals.
	Warmup time.Duration
	// Unreachable ends the run when for that long every request failed to reach the target; 0 = never.
	Unreachable time.Duration

	Events Events
	// RunID names the run; "" = "run". Seed makes the users' random numbers repeatable.
	RunID string
	Seed  uint64
	Host  string
	// Options are custom values for the users' code.
	Options map[string]string
	// Cores is the number of cores that users are spread over; 0 = all that the process may use.
	Cores int
	// OnTick is called once a second from the runner's goroutine; it must return soon.
	OnTick func(*Runner)
	// OnWarm is called from a goroutine of its own when Warmup has passed.
	OnWarm func()
	// Logger receives warnings; nil discards them.
	Logger *slog.Logger
}

// Validate reports everything that is wrong with the configuration.
func (c *Config) Validate() error {
	var errs []error
	if c.Shape == nil {
		if c.Users < 1 {
			errs = append(errs, fmt.Errorf("users must be at least 1, got %d", c.Users))
		}
		if !(c.SpawnRate > 0) {
			errs = append(errs, fmt.Errorf("the spawn rate must be greater than 0, got %v", c.SpawnRate))
		}
	}
	if c.Duration < 0 || c.StopTimeout < 0 || c.Warmup < 0 {
		errs = append(errs, errors.New("durations must not be negative"))
	}
	names := map[string]bool{}
	for _, class := range c.Classes {
		if names[class.Name] {
			errs = append(errs, fmt.Errorf("two user classes are named %q", class.Name))
		}
		names[class.Name] = true
		if !class.Abstract {
			errs = append(errs, class.validate())
		}
	}
	for _, name := range c.ClassNames {
		if !names[name] {
			errs = append(errs, fmt.Errorf("there is no user class %q; there are: %s", name, strings.Join(classNames(c.Classes), ", ")))
		}
	}
	if errors.Join(errs...) == nil && len(c.selected()) == 0 {
		problem := "there is no user class to run"
		if len(c.Tags)+len(c.ExcludeTags) > 0 {
			problem = "the tags leave no task to run"
		}
		errs = append(errs, errors.New(problem))
	}
	return errors.Join(errs...)
}

func classNames(classes []*UserClass) []string {
	var names []string
	for _, c := range classes {
		if !c.Abstract {
			names = append(names, c.Name)
		}
	}
	slices.Sort(names)
	return names
}

// selected returns the classes of the run.
func (c *Config) selected() []*UserClass {
	var selected []*UserClass
	for _, class := range c.Classes {
		if class.Abstract || len(c.ClassNames) > 0 && !slices.Contains(c.ClassNames, class.Name) {
			continue
		}
		if len(filterTasks(class.Tasks, nil, c.Tags, c.ExcludeTags)) > 0 {
			selected = append(selected, class)
		}
	}
	return selected
}

func (c *Config) cores() int {
	if c.Cores > 0 {
		return c.Cores
	}
	return runtime.GOMAXPROCS(0)
}
