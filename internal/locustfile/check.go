package locustfile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
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
const checkTimeout = 30 * time.Second

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
	var classes []*loadtest.UserClass
	for _, class := range f.classes {
		if !class.Abstract && (len(options.ClassNames) == 0 || slices.Contains(options.ClassNames, class.Name)) {
			classes = append(classes, c.class(class))
		}
	}
	runner, err := loadtest.NewRunner(loadtest.Config{
		Classes: classes, Tags: options.Tags, ExcludeTags: options.ExcludeTags,
		Users: len(classes), SpawnRate: 1e6, Duration: checkTimeout, StopTimeout: time.Second,
		Seed: options.Seed, Host: cmp.Or(options.Host, ""), Options: options.Options, RunID: "check", Cores: 1,
		Events: loadtest.Events{
			TestStart: c.event(eventTestStart, events.TestStart), TestStop: c.event(eventTestStop, events.TestStop),
			WorkerStart: c.event(eventWorkerStart, events.WorkerStart), WorkerStop: c.event(eventWorkerStop, events.WorkerStop),
		},
	})
	if err != nil {
		return nil, err
	}
	c.runner, c.users = runner, len(classes)
	_, err = runner.Run(ctx)
	if cause := context.Cause(ctx); cause != nil {
		return nil, cause
	}
	var event *loadtest.EventError
	if err != nil && !errors.As(err, &event) {
		return nil, err
	}
	return c.result, nil
}

// checker turns classes into ones that run each task once.
type checker struct {
	file   *File
	watch  *watcher
	runner *loadtest.Runner
	users  int
	// turn lets one step run at a time, so that what it records is its own.
	turn sync.Mutex

	mu     sync.Mutex
	result *Checked
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
		c.report("events", name, err)
		return err
	}
}

// class returns a class whose one user runs every task once and ends.
func (c *checker) class(original *loadtest.UserClass) *loadtest.UserClass {
	checked := &loadtest.UserClass{Name: original.Name, Host: original.Host, FixedCount: 1}
	checked.OnStart = c.step(original.Name, "on_start", original.OnStart)
	checked.Sequential = true
	checked.Tasks = c.tasks(original.Name, "", original.Tasks)
	checked.OnStop = func(ctx context.Context, u *loadtest.User) error {
		if stop := c.step(original.Name, "on_stop", original.OnStop); stop != nil {
			_ = stop(ctx, u)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.users--; c.users == 0 {
			c.runner.Stop("checked")
		}
		return nil
	}
	checked.Tasks = append(checked.Tasks, loadtest.Task{Name: "end", Tags: allTags(checked.Tasks), Run: func(context.Context, *loadtest.User) error { return loadtest.ErrStopUser }})
	return checked
}

// allTags lets the last task run whatever tags are chosen.
func allTags(tasks []loadtest.Task) []string {
	var tags []string
	for _, t := range tasks {
		tags = append(tags, t.Tags...)
	}
	return tags
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
