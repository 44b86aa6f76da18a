package webapi

import (
	"context"
	"io"
	"time"

	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// The states of a test and of a worker, as Locust names them.
const (
	StateReady    = "ready"
	StateSpawning = "spawning"
	StateRunning  = "running"
	StateCleanup  = "cleanup"
	StateStopping = "stopping"
	StateStopped  = "stopped"
	StateMissing  = "missing"
)

// Controller is what the API controls. Its methods are called from many goroutines at once.
type Controller interface {
	// Status says how the test stands; it is asked often and has to be cheap.
	Status() Status
	// Plan says what can be run, with the values that a start without others would take.
	Plan() Plan
	// Snapshot returns what was measured in the current or last run; nil before the first one. The
	// caller does not change it.
	Snapshot() *stats.Snapshot
	// Swarm starts a run, or changes the one that runs, and returns before its ramp is over. An
	// error is a refusal: its text is shown to whoever asked.
	Swarm(ctx context.Context, s Swarm) error
	// Stop ends the run and returns when it has ended, at once when none runs. Should ctx end
	// before that, Stop returns its error and the run goes on ending.
	Stop(ctx context.Context) error
	// ResetStats forgets what was measured so far; the run goes on.
	ResetStats()
	// Logs returns the last log lines.
	Logs() Logs
	// Result returns the result document of the current or last run; nil before the first one.
	Result() (Document, error)
}

// StatisticsTeller is a Controller that tells what its result is made of, as JSON: who has run a test in
// several parts needs that to make one result of them.
type StatisticsTeller interface {
	// Statistics are those of the current or last run; nil before the first one.
	Statistics() any
}

// ClassEditor is a Controller whose user classes can be changed between and during runs.
type ClassEditor interface {
	// UpdateClass changes attributes of a class here and on all workers. An error is a refusal.
	UpdateClass(ctx context.Context, update ClassUpdate) error
}

// Document is the result of a run: it marshals to its JSON form and writes itself as one HTML page
// that needs no other file. The theme is "dark", "light" or "" (the reader's choice); downloadURL, if
// not empty, is offered as a link for keeping the page.
type Document interface {
	WritePage(w io.Writer, theme, downloadURL string) error
}

// Status says how a test stands.
type Status struct {
	// State is one of the states above.
	State string
	// UsersByClass are the users that run.
	UsersByClass map[string]int
	// TargetUsers is how many users are wanted now; 0 when no test runs.
	TargetUsers int
	// Distributed is set on a master; Workers are those it knows, missing ones included, in the
	// order of their arrival.
	Distributed bool
	Workers     []Worker
}

// Users returns the number of users that run.
func (s *Status) Users() int {
	users := 0
	for _, n := range s.UsersByClass {
		users += n
	}
	return users
}

// ActiveWorkers returns how many workers can run users.
func (s *Status) ActiveWorkers() int {
	n := 0
	for _, w := range s.Workers {
		switch w.State {
		case StateReady, StateSpawning, StateRunning:
			n++
		}
	}
	return n
}

// Worker is a worker as its master sees it.
type Worker struct {
	ID, State string
	Users     int
	// CPUPercent is of one core and may exceed 100; MemoryBytes is what the process holds.
	CPUPercent  float64
	MemoryBytes int64
}

// Plan says what can be run.
type Plan struct {
	// Host is the base URL or target of the run; "" = the classes' own.
	Host string
	// Users, SpawnRate, RunTime and Profile are offered as values of a start; zero = none.
	Users     int
	SpawnRate float64
	RunTime   string
	Profile   string
	// Classes are all user classes that can be run, with their present attributes.
	Classes []Class
	// Shapes are the names of load shapes. Shape is the one that a start without choice follows, ""
	// for none; ShapeUsesCommonOptions is set when it looks at users, spawn rate and run time.
	Shapes                 []string
	Shape                  string
	ShapeUsesCommonOptions bool
	// Options are custom values of the users' code.
	Options []Option
}

// Class is a user class.
type Class struct {
	Name       string
	Host       string
	Weight     float64
	FixedCount int
	Tasks      []Task
	// AllTasks are the names of those that the class could have; nil = those in Tasks.
	AllTasks []string
}

// Task is a task, or a set of tasks.
type Task struct {
	Name string
	// Weight is how often the task stands among those to choose from, at least 1.
	Weight int
	Tasks  []Task
}

// Option is a custom value of the users' code. The type of Value (string, bool, int64, float64,
// []string, or nil for text without a value) is kept when a start brings another one.
type Option struct {
	Name     string
	Value    any
	Help     string
	Choices  []string
	Secret   bool
	Required bool
}

// Swarm is a wish to start a run or to change it.
type Swarm struct {
	// Users and SpawnRate are what to reach and how fast (users a second); with a Shape they are
	// what its use of common options sees, or zero.
	Users     int
	SpawnRate float64
	// RunTime ends the run so long after this wish, and replaces an earlier one's; 0 = never.
	RunTime time.Duration
	// Host replaces the host; nil = as it was, "" = the classes' own.
	Host    *string
	Profile string
	// Shape is the load shape to follow; "" = none.
	Shape string
	// Classes are those to run; nil = all, or those that run already.
	Classes []string
	// Options are new values of some of Plan.Options, each of its Value's type.
	Options map[string]any
}

// ClassUpdate changes a user class; nil leaves an attribute as it is.
type ClassUpdate struct {
	Name       string
	Weight     *float64
	FixedCount *int
	Host       *string
	// Tasks are the names of the tasks to keep, each as often as its weight.
	Tasks []string
	// Attributes are all others.
	Attributes map[string]any
}

// Logs are the last lines of the own log and those of workers by their id.
type Logs struct {
	Master  []string
	Workers map[string][]string
}
