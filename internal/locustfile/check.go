package locustfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sort"
	"sync"
	"time"

	"github.com/zeroae/zae-limiter-go/internal/loadclient"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/memstore"
	"github.com/zeroae/zae-limiter-go/loadtest"
	"github.com/zeroae/zae-limiter-go/loadtest/stats"
)

// CheckOptions say what to check.
type CheckOptions struct {
	ClassNames, Tags, ExcludeTags []string
	Seed                          uint64
	Host                          string
	Options                       map[string]string
}

// Checked is what each task of a file recorded.
type Checked struct {
	Locustfile string        `json:"locustfile"`
	Passed     bool          `json:"passed"`
	Tasks      []CheckedTask `json:"tasks"`
}

// CheckedTask is one iteration of one task, or an event or a start or stop of a user.
type CheckedTask struct {
	Class string        `json:"class"`
	Task  string        `json:"task"`
	Calls []CheckedCall `json:"calls"`
	Error string        `json:"error,omitempty"`
	Stack string        `json:"stack,omitempty"`
}

// CheckedCall is one recorded call.
type CheckedCall struct {
	Type  string `json:"type"`
	Name  string `json:"name"`
	Error string `json:"error,omitempty"`
}

// Failed reports whether anything went wrong.
func (c *Checked) Failed() bool { return !c.Passed }

// WriteText prints the tasks with what they recorded.
func (c *Checked) WriteText(w io.Writer) error {
	for _, t := range c.Tasks {
		state := "ok"
		if t.Error != "" {
			state = "FAILED"
		}
		if _, err := fmt.Fprintf(w, "%-6s %s.%s\n", state, t.Class, t.Task); err != nil {
			return err
		}
		for _, call := range t.Calls {
			line := call.Type + " " + call.Name
			if call.Error != "" {
				line += "  " + call.Error
			}
			if _, err := fmt.Fprintf(w, "         %s\n", line); err != nil {
				return err
			}
		}
		if t.Error != "" {
			if _, err := fmt.Fprintf(w, "         %s\n", t.Error); err != nil {
				return err
			}
		}
	}
	return nil
}

// watcher collects what a check records; sleeps return at once while it is set.
type watcher struct {
	mu    sync.Mutex
	calls []CheckedCall
}

// Record implements loadclient.Recorder.
func (w *watcher) Record(s stats.Sample) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.calls = append(w.calls, CheckedCall{s.Type, s.Name, s.Err})
}

func (w *watcher) take() []CheckedCall {
	w.mu.Lock()
	defer w.mu.Unlock()
	calls := w.calls
	w.calls = nil
	if calls == nil {
		calls = []CheckedCall{}
	}
	return calls
}

// checkTimeout bounds a check: a task that never ends is cut off.
const checkTimeout = 10 * time.Second

// ErrNoTask is returned by Check when the tags leave no class a task.
var ErrNoTask = errors.New("--tags and --exclude-tags leave no task to run")

// Check runs every event, and every task of every class once, one after the other, against an
// in-memory limiter.
func (f *File) Check(ctx context.Context, options CheckOptions) (*Checked, error) {
	inMemory, err := limiter.New(memstore.New(), limiter.Options{RejectionCacheTTL: -1})
	if err != nil {
		return nil, err
	}
	f.Bind(loadclient.New(inMemory))
	c := &checker{file: f, watch: &watcher{}, result: &Checked{Locustfile: f.path, Passed: true, Tasks: []CheckedTask{}}}
	f.watch.Store(c.watch)
	defer f.watch.Store(nil)

	events := f.Events()
	c.wanted = func(t loadtest.Task) bool {
		return (len(options.Tags) == 0 || sharesAny(t.Tags, options.Tags)) && !sharesAny(t.Tags, options.ExcludeTags)
	}
	var classes []*loadtest.UserClass
	for _, class := range f.classes {
		if class.Abstract || len(options.ClassNames) > 0 && !slices.Contains(options.ClassNames, class.Name) {
			continue
		}
		if checked := c.class(class); len(checked.Tasks) > 0 {
			classes = append(classes, checked)
		}
	}
	if len(classes) == 0 {
		return nil, ErrNoTask
	}
	runner, err := loadtest.NewRunner(loadtest.Config{
		Classes: classes, Users: len(classes), SpawnRate: 1e6, Duration: checkTimeout, StopTimeout: time.Second,
		Seed: options.Seed, Host: cmp.Or(options.Host, ""), Options: options.Options, RunID: "check", Cores: 1,
		Events: loadtest.Events{
			TestStart: c.event(eventTestStart, events.TestStart), TestStop: c.event(eventTestStop, events.TestStop),
			WorkerStart: c.event(eventWorkerStart, events.WorkerStart), WorkerStop: c.event(eventWorkerStop, events.WorkerStop),
			SpawningComplete: c.spawned(events.SpawningComplete),
		},
	})
	if err != nil {
		return nil, err
	}
	c.runner = runner
	for _, class := range classes {
		c.left = append(c.left, class.Name)
	}
	snapshot, err := runner.Run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	var event *loadtest.EventError
	if err != nil && !errors.As(err, &event) {
		return nil, err
	}
	return c.finished(snapshot != nil), nil
}

// eventsClass is what listeners stand under.
const eventsClass = "events"

// checker turns classes into ones that run each task once.
type checker struct {
	file   *File
	watch  *watcher
	runner *loadtest.Runner
	// wanted reports whether the chosen tags let a task run.
	wanted func(loadtest.Task) bool
	// turn lets one step run at a time, so that what it records is its own.
	turn sync.Mutex

	mu     sync.Mutex
	result *Checked
	left   []string // classes whose user has not ended
}

// report keeps what one step recorded.
func (c *checker) report(class, task string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := CheckedTask{Class: class, Task: task, Calls: c.watch.take()}
	for _, call := range t.Calls {
		if call.Error != "" {
			c.result.Passed = false
		}
	}
	var interrupted *controlError
	if err != nil && !errors.As(err, &interrupted) {
		c.result.Passed = false
		t.Error = err.Error()
		var located *Error
		if errors.As(err, &located) {
			t.Stack = located.Stack
		}
	}
	c.result.Tasks = append(c.result.Tasks, t)
}

func (c *checker) event(name string, listener func(context.Context, *loadtest.Env) error) func(context.Context, *loadtest.Env) error {
	if listener == nil {
		return nil
	}
	return func(ctx context.Context, env *loadtest.Env) error {
		err := listener(ctx, env)
		c.report(eventsClass, name, err)
		return err
	}
}

// spawned is the listener that runs beside the users, in a turn of its own.
func (c *checker) spawned(listener func(context.Context, *loadtest.Env, int) error) func(context.Context, *loadtest.Env, int) error {
	if len(c.file.listeners[eventSpawningComplete]) == 0 {
		return nil
	}
	return func(ctx context.Context, env *loadtest.Env, users int) error {
		c.turn.Lock()
		defer c.turn.Unlock()
		c.report(eventsClass, eventSpawningComplete, listener(ctx, env, users))
		return nil
	}
}

// place orders what was checked: what comes before the users, their classes as the file has them, and
// what comes after.
func (c *checker) place(t CheckedTask) int {
	switch {
	case t.Class != eventsClass:
		return slices.IndexFunc(c.file.classes, func(class *loadtest.UserClass) bool { return class.Name == t.Class })
	case t.Task == eventWorkerStop || t.Task == eventTestStop:
		return len(c.file.classes)
	}
	return -1
}

// class returns a class whose one user runs every task once and ends.
func (c *checker) class(original *loadtest.UserClass) *loadtest.UserClass {
	checked := &loadtest.UserClass{Name: original.Name, Host: original.Host, FixedCount: 1, Sequential: true}
	checked.Tasks = slices.DeleteFunc(c.tasks(original.Name, "", original.Tasks), func(t loadtest.Task) bool { return !c.wanted(t) })
	if len(checked.Tasks) > 0 {
		checked.Tasks = append(checked.Tasks, loadtest.Task{Name: "end", Run: func(context.Context, *loadtest.User) error { return loadtest.ErrStopUser }})
	}
	start := c.step(original.Name, "on_start", original.OnStart)
	checked.OnStart = func(ctx context.Context, u *loadtest.User) error {
		if start == nil {
			return nil
		}
		err := start(ctx, u)
		if err != nil && !isControl(err) {
			c.ended(original.Name)
		}
		return err
	}
	stop := c.step(original.Name, "on_stop", original.OnStop)
	checked.OnStop = func(ctx context.Context, u *loadtest.User) error {
		if stop != nil {
			_ = stop(ctx, u)
		}
		c.ended(original.Name)
		return nil
	}
	return checked
}

// ended ends the check when the user of a class was the last one.
func (c *checker) ended(class string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = slices.DeleteFunc(c.left, func(name string) bool { return name == class })
	if len(c.left) == 0 {
		c.runner.Stop("checked")
	}
}

// finished returns the result. When users were started, what goes on still is a failure of its class.
func (c *checker) finished(started bool) *Checked {
	c.mu.Lock()
	defer c.mu.Unlock()
	result := *c.result
	result.Tasks = slices.Clone(result.Tasks)
	for _, class := range c.left {
		if !started {
			break
		}
		result.Passed = false
		result.Tasks = append(result.Tasks, CheckedTask{Class: class, Task: "end", Calls: []CheckedCall{}, Error: fmt.Sprintf("did not end within %v", checkTimeout)})
	}
	sort.SliceStable(result.Tasks, func(i, j int) bool { return c.place(result.Tasks[i]) < c.place(result.Tasks[j]) })
	return &result
}

func sharesAny(tags, wanted []string) bool {
	return slices.ContainsFunc(tags, func(tag string) bool { return slices.Contains(wanted, tag) })
}

func (c *checker) step(class, name string, run loadtest.TaskFunc) loadtest.TaskFunc {
	if run == nil {
		return nil
	}
	return func(ctx context.Context, u *loadtest.User) error {
		c.turn.Lock()
		defer c.turn.Unlock()
		err := run(ctx, u)
		c.report(class, name, err)
		return err
	}
}

// tasks flattens task sets into their tasks.
func (c *checker) tasks(class, path string, tasks []loadtest.Task) []loadtest.Task {
	var flat []loadtest.Task
	for _, t := range tasks {
		name := path + t.Name
		if t.Set != nil {
			for _, inner := range c.tasks(class, name+"/", t.Set.Tasks) {
				inner.Tags = append(slices.Clone(t.Tags), inner.Tags...)
				flat = append(flat, inner)
			}
			continue
		}
		if slices.ContainsFunc(flat, func(have loadtest.Task) bool { return have.Name == name }) {
			continue
		}
		run := t.Run
		flat = append(flat, loadtest.Task{Name: name, Tags: t.Tags, Run: func(ctx context.Context, u *loadtest.User) error {
			c.turn.Lock()
			defer c.turn.Unlock()
			c.report(class, name, run(ctx, u))
			return nil
		}})
	}
	return flat
}
