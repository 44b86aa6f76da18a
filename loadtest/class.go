package loadtest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// TaskFunc is code of a user: a task, or what it does when it starts or stops. The context ends when
// the user has to end at once. A returned error is counted as a task error; the user goes on, unless
// the error is one of [ErrStopUser], [Interrupt], [StopTest] or [ErrReschedule]. An error with a
// method Recorded() bool that returns true is that of a recorded call and is not counted again.
type TaskFunc func(ctx context.Context, u *User) error

// Task is one thing that users do: a function, or a set of tasks to do until it is interrupted.
type Task struct {
	// Name is used in ratios and errors.
	Name string
	// Weight is how often the task stands among those to choose from; 0 = 1.
	Weight int
	// Tags select tasks for a run.
	Tags []string
	// Run is the task, or Set holds tasks; exactly one of them is given.
	Run TaskFunc
	Set *TaskSet
}

// TaskSet is a group of tasks. Entered as a task, it runs until one of its tasks returns [Interrupt].
type TaskSet struct {
	Name  string
	Tasks []Task
	// Sequential runs the tasks in turn, again and again, instead of at random; a task runs as often in
	// a row as its weight.
	Sequential bool
	// WaitTime is the wait after each task of the set; nil = that of the user class.
	WaitTime WaitTime
	// OnStart runs when a user enters the set, OnStop when it leaves it or is stopped in it.
	OnStart, OnStop TaskFunc
	// Tags apply to all tasks of the set.
	Tags []string
}

// UserClass is a kind of user.
type UserClass struct {
	// Name is unique in a run.
	Name string
	// Weight is the class's share of the users; 0 = 1.
	Weight float64
	// FixedCount users of the class are started before any weighted ones; 0 = by weight.
	FixedCount int
	// Host is what the users' code may take as the target where the run names none.
	Host string
	// Tasks are what the users do, chosen at random by weight, or in turn when Sequential is set.
	Tasks      []Task
	Sequential bool
	// WaitTime is the wait after each task; nil = none.
	WaitTime WaitTime
	// OnStart and OnStop run once a user. A user whose OnStart fails ends without OnStop and is not
	// replaced.
	OnStart, OnStop TaskFunc
	// Abstract classes are not run; others may be built on them.
	Abstract bool
}

// WeightOrDefault returns the weight, 1 where none is given.
func (c *UserClass) WeightOrDefault() float64 {
	if c.Weight == 0 {
		return 1
	}
	return c.Weight
}

// WeightOrDefault returns the weight, 1 where none is given.
func (t *Task) WeightOrDefault() int {
	if t.Weight == 0 {
		return 1
	}
	return t.Weight
}

// ErrStopUser ends the user whose task returns it; it is not replaced.
var ErrStopUser = errors.New("user stops")

// ErrReschedule ends the task and goes on with the next one without a wait.
var ErrReschedule = errors.New("task rescheduled")

type interruptError struct{ reschedule bool }

func (e interruptError) Error() string { return "task set interrupted" }

// Interrupt leaves the task set for the one around it, which goes on at once when reschedule is set
// and waits first otherwise. Outside a nested set it only ends the task.
func Interrupt(reschedule bool) error { return interruptError{reschedule} }

// StopTestError asks for the end of the run.
type StopTestError struct{ Reason string }

func (e *StopTestError) Error() string { return "test stopped: " + e.Reason }

// StopTest ends the run for a reason; the user that returns it ends, too.
func StopTest(reason string) error { return &StopTestError{reason} }

// validate reports everything that is wrong with a class.
func (c *UserClass) validate() error {
	var errs []error
	problem := func(format string, args ...any) {
		errs = append(errs, fmt.Errorf("user class %q: "+format, append([]any{c.Name}, args...)...))
	}
	if c.Name == "" {
		problem("has no name")
	}
	if c.Weight < 0 {
		problem("weight %v is negative", c.Weight)
	}
	if c.FixedCount < 0 {
		problem("fixed count %d is negative", c.FixedCount)
	}
	if len(c.Tasks) == 0 {
		problem("has no task")
	}
	validateTasks(c.Tasks, "", problem)
	return errors.Join(errs...)
}

func validateTasks(tasks []Task, path string, problem func(string, ...any)) {
	for i, task := range tasks {
		name := task.Name
		if name == "" {
			name = fmt.Sprintf("#%d", i)
		}
		name = strings.TrimPrefix(path+"/"+name, "/")
		if (task.Run == nil) == (task.Set == nil) {
			problem("task %s needs either a function or a task set", name)
		}
		if task.Weight < 0 {
			problem("task %s: weight %d is negative", name, task.Weight)
		}
		if task.Set != nil {
			if len(task.Set.Tasks) == 0 {
				problem("task set %s is empty", name)
			}
			validateTasks(task.Set.Tasks, name, problem)
		}
	}
}

// WithTags returns the classes as a run with these tags has them: with the tasks that are left, and
// without the classes that no task is left of. The classes that are given are not changed.
func WithTags(classes []*UserClass, tags, exclude []string) []*UserClass {
	var kept []*UserClass
	for _, c := range classes {
		filtered := *c
		if filtered.Tasks = filterTasks(c.Tasks, nil, tags, exclude); len(filtered.Tasks) > 0 {
			kept = append(kept, &filtered)
		}
	}
	return kept
}

// filterTasks returns the tasks that a run with these tags has: with tags, only tasks that share one
// of them; without those that have an excluded one. Sets that are left empty go too.
func filterTasks(tasks []Task, inherited, tags, exclude []string) []Task {
	if len(tags) == 0 && len(exclude) == 0 {
		return tasks
	}
	var kept []Task
	for _, task := range tasks {
		own := append(slices.Clone(inherited), task.Tags...)
		if task.Set != nil {
			set := *task.Set
			set.Tasks = filterTasks(set.Tasks, append(own, set.Tags...), tags, exclude)
			if len(set.Tasks) > 0 {
				task.Set = &set
				kept = append(kept, task)
			}
			continue
		}
		if (len(tags) == 0 || sharesAny(own, tags)) && !sharesAny(own, exclude) {
			kept = append(kept, task)
		}
	}
	return kept
}

func sharesAny(a, b []string) bool {
	return slices.ContainsFunc(a, func(tag string) bool { return slices.Contains(b, tag) })
}
