package locustfile

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

// definitions counts classes and shapes, so that they keep the order in which they were made.
var definitions atomic.Int64

// classValue is what user_class returns.
type classValue struct {
	order int
	pos   syntax.Position
	base  *classValue
	// The arguments as given; nil where not given.
	wait      loadtest.WaitTime
	weight    *float64
	fixed     *int
	onStart   starlark.Callable
	onStop    starlark.Callable
	host      *string
	abstract  bool
	given     map[string]bool
	taskTrees []taskTree
	turn      bool // sequential
}

func (c *classValue) String() string        { return "<user_class>" }
func (c *classValue) Type() string          { return "user_class" }
func (c *classValue) Truth() starlark.Bool  { return starlark.True }
func (c *classValue) Hash() (uint32, error) { return uint32(c.order), nil }

// Freeze implements starlark.Value: what the functions of a class captured is shared by its users,
// also when the functions themselves are no globals.
func (c *classValue) Freeze() { freezeEach(c.callables()) }

// callables returns the functions that the class keeps.
func (c *classValue) callables() []starlark.Callable {
	fns := callablesOf(c.taskTrees)
	for _, fn := range []starlark.Callable{c.onStart, c.onStop} {
		if fn != nil {
			fns = append(fns, fn)
		}
	}
	if script, ok := c.wait.(scriptWait); ok {
		fns = append(fns, script.fn)
	}
	return fns
}

func callablesOf(trees []taskTree) []starlark.Callable {
	var fns []starlark.Callable
	for _, tree := range trees {
		if tree.fn != nil {
			fns = append(fns, tree.fn)
		}
		fns = append(fns, callablesOf(tree.set)...)
	}
	return fns
}

func freezeEach(fns []starlark.Callable) {
	for _, fn := range fns {
		fn.Freeze()
	}
}

// taskTree is a task, or a set of them, before it is bound to a file.
type taskTree struct {
	name       string
	weight     int
	tags       []string
	fn         starlark.Callable
	set        []taskTree
	sequential bool
}

// taskValue is what task and sequential return.
type taskValue struct{ tree taskTree }

func (t *taskValue) String() string        { return "<task " + t.tree.name + ">" }
func (t *taskValue) Type() string          { return "task" }
func (t *taskValue) Freeze()               { freezeEach(t.callables()) }
func (t *taskValue) Truth() starlark.Bool  { return starlark.True }
func (t *taskValue) Hash() (uint32, error) { return starlark.String(t.tree.name).Hash() }

// callables returns the functions that the task keeps.
func (t *taskValue) callables() []starlark.Callable { return callablesOf([]taskTree{t.tree}) }

func userClass(thread *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	c := &classValue{order: int(definitions.Add(1)), pos: thread.CallFrame(1).Pos, given: map[string]bool{}}
	var tasks, wait, onStart, onStop, host, base starlark.Value
	weight, fixed, abstract := starlark.Value(starlark.MakeInt(1)), 0, false
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "tasks?", &tasks, "wait_time?", &wait, "weight?", &weight,
		"fixed_count?", &fixed, "on_start?", &onStart, "on_stop?", &onStop, "host?", &host, "abstract?", &abstract, "base?", &base); err != nil {
		return nil, err
	}
	for _, kw := range kwargs {
		name, _ := starlark.AsString(kw[0])
		c.given[name] = true
	}
	for i := range args {
		c.given[[]string{"tasks", "wait_time", "weight", "fixed_count", "on_start", "on_stop", "host", "abstract", "base"}[i]] = true
	}
	c.abstract = abstract
	if base != nil && base != starlark.None {
		parent, ok := base.(*classValue)
		if !ok {
			return nil, fmt.Errorf("user_class: base must be a user class, got %s", base.Type())
		}
		c.base = parent
	}
	if tasks == nil && c.base == nil {
		return nil, errors.New("user_class: missing argument for tasks")
	}
	var err error
	if c.taskTrees, c.turn, err = tasksOf(tasks, "user_class: tasks", 0); err != nil {
		return nil, err
	}
	if c.given["weight"] {
		w, ok := starlark.AsFloat(weight)
		if !ok || w < 0 || math.IsInf(w, 0) || math.IsNaN(w) {
			return nil, fmt.Errorf("user_class: weight must be a number of at least 0, got %s", weight)
		}
		c.weight = &w
	}
	if c.given["fixed_count"] {
		if fixed < 0 {
			return nil, fmt.Errorf("user_class: fixed_count must be at least 0, got %d", fixed)
		}
		c.fixed = &fixed
	}
	if c.wait, err = waitOf(wait); err != nil {
		return nil, err
	}
	if c.onStart, err = functionOf(onStart, "on_start"); err != nil {
		return nil, err
	}
	if c.onStop, err = functionOf(onStop, "on_stop"); err != nil {
		return nil, err
	}
	if host != nil && host != starlark.None {
		text, ok := starlark.AsString(host)
		if !ok {
			return nil, fmt.Errorf("user_class: host must be a string, got %s", host.Type())
		}
		c.host = &text
	}
	c.inherit()
	if len(c.taskTrees) == 0 && !c.abstract {
		return nil, errors.New("user_class: there is no task")
	}
	return c, nil
}

// inherit takes from the base what was not given: its tasks come first, then each attribute.
func (c *classValue) inherit() {
	if c.base == nil {
		return
	}
	c.taskTrees = append(slices.Clone(c.base.taskTrees), c.taskTrees...)
	if len(c.taskTrees) == len(c.base.taskTrees) {
		c.turn = c.base.turn
	}
	if !c.given["wait_time"] {
		c.wait = c.base.wait
	}
	if !c.given["weight"] {
		c.weight = c.base.weight
	}
	if !c.given["fixed_count"] {
		c.fixed = c.base.fixed
	}
	if !c.given["on_start"] {
		c.onStart = c.base.onStart
	}
	if !c.given["on_stop"] {
		c.onStop = c.base.onStop
	}
	if !c.given["host"] {
		c.host = c.base.host
	}
}

func functionOf(v starlark.Value, what string) (starlark.Callable, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	fn, ok := v.(starlark.Callable)
	if !ok {
		return nil, fmt.Errorf("%s must be a function, got %s", what, v.Type())
	}
	return fn, nil
}

const (
	// maxWeight bounds the list that a task stands in as often as its weight.
	maxWeight = 1_000_000
	// maxTaskDepth bounds the nesting of task sets.
	maxTaskDepth = 100
)

// tasksOf reads the argument tasks: a function, a task, a list of them, or a map with weights.
func tasksOf(v starlark.Value, what string, depth int) (trees []taskTree, sequential bool, err error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, false, nil
	case *taskValue:
		if v.tree.set != nil && v.tree.sequential && v.tree.name == "" {
			return v.tree.set, true, nil
		}
		return []taskTree{v.tree}, false, nil
	case *starlark.Dict:
		trees, err = weighted(v, what, depth)
		return trees, false, err
	case starlark.Iterable:
		for element := range starlark.Elements(v) {
			tree, err := treeOf(element, what, depth)
			if err != nil {
				return nil, false, err
			}
			if tree.weight > 0 {
				trees = append(trees, tree)
			}
		}
		return trees, false, nil
	}
	tree, err := treeOf(v, what, depth)
	return []taskTree{tree}, false, err
}

func weighted(d *starlark.Dict, what string, depth int) ([]taskTree, error) {
	var trees []taskTree
	for _, item := range d.Items() {
		tree, err := weightedOne(item[0], item[1], what, depth)
		if err != nil {
			return nil, err
		}
		if tree.weight > 0 {
			trees = append(trees, tree)
		}
	}
	return trees, nil
}

// weightedOne reads a task with its weight, which may be 0.
func weightedOne(task, weight starlark.Value, what string, depth int) (taskTree, error) {
	tree, err := treeOf(task, what, depth)
	if err != nil {
		return tree, err
	}
	n, err := starlark.AsInt32(weight)
	if err != nil || n < 0 || n > maxWeight {
		return tree, fmt.Errorf("%s: the weight of %s must be a whole number from 0 to %d, got %s", what, tree.name, maxWeight, weight)
	}
	tree.weight = n
	return tree, nil
}

// pairOf recognises a task with its weight, (fn, 3), which may stand for the task in a list.
func pairOf(v starlark.Value) (starlark.Tuple, bool) {
	pair, ok := v.(starlark.Tuple)
	if !ok || len(pair) != 2 {
		return nil, false
	}
	_, isInt := pair[1].(starlark.Int)
	return pair, isInt
}

// treeOf reads one task, or a list or map that is a task set.
func treeOf(v starlark.Value, what string, depth int) (taskTree, error) {
	switch v := v.(type) {
	case *taskValue:
		return v.tree, nil
	case starlark.Callable:
		return taskTree{name: v.Name(), weight: 1, fn: v}, nil
	case *starlark.Dict, *starlark.List, starlark.Tuple:
		if depth >= maxTaskDepth {
			return taskTree{}, fmt.Errorf("%s: task sets are nested more than %d deep", what, maxTaskDepth)
		}
		if pair, ok := pairOf(v); ok {
			return weightedOne(pair[0], pair[1], what, depth)
		}
		set, _, err := tasksOf(v, what, depth+1)
		if err == nil && len(set) == 0 {
			err = fmt.Errorf("%s: a task set is empty", what)
		}
		return taskTree{name: "TaskSet", weight: 1, set: set}, err
	}
	return taskTree{}, fmt.Errorf("%s: want functions, tasks, lists or maps, got %s", what, v.Type())
}

func makeTask(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var fn, tags, name starlark.Value
	weight := 1
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "fn", &fn, "weight?", &weight, "tags?", &tags, "name?", &name); err != nil {
		return nil, err
	}
	if weight < 1 || weight > maxWeight {
		return nil, fmt.Errorf("task: weight must be from 1 to %d, got %d", maxWeight, weight)
	}
	tree, err := treeOf(fn, "task", 0)
	if err != nil {
		return nil, err
	}
	tree.weight = weight
	if name != nil && name != starlark.None {
		text, ok := starlark.AsString(name)
		if !ok {
			return nil, fmt.Errorf("task: name must be a string, got %s", name.Type())
		}
		tree.name = text
	}
	more, err := stringsOf(tags, "task: tags")
	if err != nil {
		return nil, err
	}
	tree.tags = append(slices.Clone(tree.tags), more...)
	return &taskValue{tree}, nil
}

func stringsOf(v starlark.Value, what string) ([]string, error) {
	if v == nil || v == starlark.None {
		return nil, nil
	}
	list, ok := v.(starlark.Iterable)
	if !ok {
		return nil, fmt.Errorf("%s: want a list of strings, got %s", what, v.Type())
	}
	var out []string
	for element := range starlark.Elements(list) {
		text, ok := starlark.AsString(element)
		if !ok {
			return nil, fmt.Errorf("%s: want a list of strings, got a %s in it", what, element.Type())
		}
		out = append(out, text)
	}
	return out, nil
}

func sequential(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var fns starlark.Iterable
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "fns", &fns); err != nil {
		return nil, err
	}
	set, _, err := tasksOf(fns, "sequential", 0)
	if err != nil {
		return nil, err
	}
	if len(set) == 0 {
		return nil, errors.New("sequential: there is no task")
	}
	return &taskValue{taskTree{weight: 1, set: set, sequential: true}}, nil
}

// build makes the class of package loadtest.
func (c *classValue) build(f *File, name string) (*loadtest.UserClass, error) {
	class := &loadtest.UserClass{
		Name:       name,
		Abstract:   c.abstract,
		WaitTime:   bindWait(f, c.wait),
		Tasks:      f.bindTasks(c.taskTrees, c.turn),
		Sequential: c.turn,
		OnStart:    f.bind(c.onStart),
		OnStop:     f.bind(c.onStop),
	}
	if c.weight != nil {
		class.Weight = *c.weight
	}
	if c.fixed != nil {
		class.FixedCount = *c.fixed
	}
	if c.host != nil {
		class.Host = *c.host
	}
	if c.weight != nil && *c.weight == 0 && class.FixedCount == 0 {
		// Locust leaves such a class out.
		class.Abstract = true
	}
	return class, nil
}

// bind makes a function of users of a Starlark one; nil stays nil.
func (f *File) bind(fn starlark.Callable) loadtest.TaskFunc {
	if fn == nil {
		return nil
	}
	return func(ctx context.Context, u *loadtest.User) error { return f.call(ctx, f.userOf(u), fn) }
}

// bindTasks makes the tasks of a set. Out of sequence a function that is listed twice is one task with
// the sum of the weights; different tasks of one name (two lambdas, two lists) are numbered.
func (f *File) bindTasks(trees []taskTree, inTurn bool) []loadtest.Task {
	var tasks []loadtest.Task
	var made []taskTree
	for _, tree := range trees {
		if tree.name == "" {
			tree.name = "SequentialTaskSet"
		}
		tree.name = distinctName(tree, made)
		same := func(other taskTree) bool { return other.is(tree) && slices.Equal(other.tags, tree.tags) }
		if i := slices.IndexFunc(made, same); i >= 0 && !inTurn {
			tasks[i].Weight += tree.weight
			continue
		}
		task := loadtest.Task{Name: tree.name, Weight: tree.weight, Tags: tree.tags}
		if tree.set == nil {
			task.Run = f.bind(tree.fn)
		} else {
			task.Set = &loadtest.TaskSet{Name: tree.name, Tasks: f.bindTasks(tree.set, tree.sequential), Sequential: tree.sequential}
		}
		tasks, made = append(tasks, task), append(made, tree)
	}
	return tasks
}

// is reports whether both are the same function under the same name.
func (t taskTree) is(other taskTree) bool {
	return t.set == nil && other.set == nil && t.fn == other.fn && t.name == other.name
}

// distinctName returns the name of a task, with a number when another task has that name.
func distinctName(tree taskTree, taken []taskTree) string {
	plain := tree.name
	for n := 2; ; n++ {
		clash := slices.ContainsFunc(taken, func(other taskTree) bool { return other.name == tree.name && !other.is(tree) })
		if !clash {
			return tree.name
		}
		tree.name = fmt.Sprintf("%s-%d", plain, n)
	}
}

// Waits.

// waitValue is what constant, between and the others return.
type waitValue struct {
	text string
	wait loadtest.WaitTime
}

func (w *waitValue) String() string        { return w.text }
func (w *waitValue) Type() string          { return "wait_time" }
func (w *waitValue) Freeze()               {}
func (w *waitValue) Truth() starlark.Bool  { return starlark.True }
func (w *waitValue) Hash() (uint32, error) { return starlark.String(w.text).Hash() }

// scriptWait is a wait time that a function computes; it is bound to its file later.
type scriptWait struct{ fn starlark.Callable }

func (scriptWait) Wait(context.Context, *loadtest.User) (time.Duration, error) {
	return 0, errors.New("the wait time is not bound to its file")
}

func waitOf(v starlark.Value) (loadtest.WaitTime, error) {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil, nil
	case *waitValue:
		return v.wait, nil
	case starlark.Callable:
		return scriptWait{v}, nil
	}
	return nil, fmt.Errorf("user_class: wait_time must be a wait such as constant(1) or a function, got %s", v.Type())
}

func bindWait(f *File, w loadtest.WaitTime) loadtest.WaitTime {
	script, ok := w.(scriptWait)
	if !ok {
		return w
	}
	return loadtest.WaitFunc(func(ctx context.Context, u *loadtest.User) (time.Duration, error) {
		return f.waitSeconds(ctx, f.userOf(u), script.fn)
	})
}

// waitSeconds asks a function for the wait.
func (f *File) waitSeconds(ctx context.Context, u *scriptUser, fn starlark.Callable) (time.Duration, error) {
	s := f.sessions.pool.Get().(*session)
	s.ctx, s.user, s.env, s.rng = ctx, u, u.user.Env(), u.user.Rand()
	u.session = s
	value, err := starlark.Call(s.thread, fn, starlark.Tuple{u}, nil)
	err = s.settle(err)
	u.session = nil
	s.giveBack(err)
	if err != nil {
		return 0, err
	}
	seconds, ok := starlark.AsFloat(value)
	if !ok || seconds < 0 {
		return 0, returned(fn, value, "a number of seconds, at least 0")
	}
	wait, err := toDuration(seconds)
	if err != nil {
		return 0, returned(fn, value, "a number of seconds")
	}
	return wait, nil
}

// returned is the error of a function that returned something else than it should.
func returned(fn starlark.Callable, value starlark.Value, want string) error {
	return at(fn, fmt.Sprintf("returned %s; want %s", value, want))
}

// at is an error of a function as a whole.
func at(fn starlark.Callable, message string) error {
	e := &Error{Function: fn.Name(), Msg: message}
	if script, ok := fn.(*starlark.Function); ok {
		at := script.Position()
		e.File, e.Line, e.Col = at.Filename(), int(at.Line), int(at.Col)
	}
	return e
}

// toDuration converts seconds; what no duration can hold is an error.
func toDuration(seconds float64) (time.Duration, error) {
	if math.IsNaN(seconds) || math.Abs(seconds) > float64(math.MaxInt64/time.Second)/2 {
		return 0, fmt.Errorf("%v is no number of seconds to wait", seconds)
	}
	return time.Duration(seconds * float64(time.Second)), nil
}

func waitBuiltin(params []string, build func(values []float64) (loadtest.WaitTime, error)) func(*starlark.Thread, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error) {
	return func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		numbers := make([]starlark.Value, len(params))
		pairs := make([]any, 0, 2*len(params))
		for i, p := range params {
			pairs = append(pairs, p, &numbers[i])
		}
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, pairs...); err != nil {
			return nil, err
		}
		values := make([]float64, len(params))
		text := b.Name() + "("
		for i, v := range numbers {
			f, ok := starlark.AsFloat(v)
			if !ok {
				return nil, fmt.Errorf("%s: %s must be a number, got %s", b.Name(), params[i], v.Type())
			}
			if f < 0 || math.IsNaN(f) || f > 1e9 {
				return nil, fmt.Errorf("%s: %s must be from 0 to 1e9, got %s", b.Name(), params[i], v)
			}
			values[i] = f
			if i > 0 {
				text += ", "
			}
			text += v.String()
		}
		wait, err := build(values)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", b.Name(), err)
		}
		return &waitValue{text + ")", wait}, nil
	}
}

func seconds(f float64) time.Duration { return time.Duration(f * float64(time.Second)) }

var errRate = errors.New("the rate must be greater than 0")

// Shapes.

// shapeValue is what load_shape and stages return.
type shapeValue struct {
	order  int
	tick   starlark.Callable
	stages []loadtest.Stage
	common bool
}

func (s *shapeValue) String() string        { return "<load_shape>" }
func (s *shapeValue) Type() string          { return "load_shape" }
func (s *shapeValue) Truth() starlark.Bool  { return starlark.True }
func (s *shapeValue) Hash() (uint32, error) { return uint32(s.order), nil }

// Freeze implements starlark.Value.
func (s *shapeValue) Freeze() { freezeEach(s.callables()) }

// callables returns the function that the shape keeps.
func (s *shapeValue) callables() []starlark.Callable {
	if s.tick == nil {
		return nil
	}
	return []starlark.Callable{s.tick}
}

func loadShape(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	s := &shapeValue{order: int(definitions.Add(1))}
	var tick starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "tick", &tick, "use_common_options?", &s.common); err != nil {
		return nil, err
	}
	switch tick := tick.(type) {
	case *shapeValue:
		s.tick, s.stages = tick.tick, tick.stages
	case starlark.Callable:
		s.tick = tick
	default:
		return nil, fmt.Errorf("load_shape: tick must be a function, got %s", tick.Type())
	}
	return s, nil
}

func makeStages(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	var list starlark.Iterable
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "stages", &list); err != nil {
		return nil, err
	}
	s := &shapeValue{order: int(definitions.Add(1))}
	for element := range starlark.Elements(list) {
		tuple, ok := element.(starlark.Sequence)
		if !ok || tuple.Len() != 3 {
			return nil, fmt.Errorf("stages: want (seconds, users, spawn_rate), got %s", element)
		}
		var values []starlark.Value
		for v := range starlark.Elements(tuple) {
			values = append(values, v)
		}
		length, ok1 := starlark.AsFloat(values[0])
		users, err := starlark.AsInt32(values[1])
		rate, ok2 := starlark.AsFloat(values[2])
		if !ok1 || !ok2 || err != nil || length <= 0 || users < 0 || !(rate > 0) {
			return nil, fmt.Errorf("stages: want seconds above 0, users of at least 0 and a spawn rate above 0, got %s", element)
		}
		s.stages = append(s.stages, loadtest.Stage{Duration: seconds(length), Users: users, SpawnRate: rate})
	}
	if len(s.stages) == 0 {
		return nil, errors.New("stages: there is no stage")
	}
	return s, nil
}

func (s *shapeValue) shape(f *File) loadtest.Shape {
	if s.stages != nil {
		return loadtest.Stages(s.stages...)
	}
	return &scriptShape{file: f, tick: s.tick}
}

// maxTick is how long a tick function may take: the run waits for it.
const maxTick = time.Second

// scriptShape asks a function.
type scriptShape struct {
	file  *File
	tick  starlark.Callable
	ticks uint64
}

// tickStream sets the random numbers of ticks apart from those of users and listeners; each tick has
// its own.
const tickStream = 0x7469636b

// Tick implements loadtest.Shape.
func (s *scriptShape) Tick(state loadtest.ShapeState) (step loadtest.ShapeStep, ok bool, err error) {
	run := s.file.sessions.fresh()
	ctx, cancel := context.WithTimeout(context.Background(), maxTick)
	defer cancel()
	run.ctx = ctx
	s.ticks++
	run.rng = rand.New(rand.NewPCG(state.Seed, tickStream+s.ticks))
	value, err := run.await(s.tick, starlark.Tuple{shapeState(state)})
	if ctx.Err() != nil {
		return step, false, at(s.tick, "returned nothing for "+maxTick.String()+"; want an answer at once")
	}
	if err != nil {
		return step, false, err
	}
	if value == starlark.None {
		return step, false, nil
	}
	var tuple starlark.Tuple
	switch value := value.(type) {
	case starlark.Tuple:
		tuple = value
	case *starlark.List:
		tuple = slices.Collect(starlark.Elements(value))
	}
	if len(tuple) < 2 || len(tuple) > 3 {
		return step, false, returned(s.tick, value, "(users, spawn_rate), (users, spawn_rate, [classes]) or None")
	}
	users, isNumber := starlark.AsFloat(tuple[0])
	rate, isRate := starlark.AsFloat(tuple[1])
	if !isNumber || !isRate || !(users >= 0) || users > math.MaxInt32 || !(rate > 0) {
		return step, false, returned(s.tick, value, "a number of users, at least 0, and a spawn rate above 0")
	}
	step.Users, step.SpawnRate = int(math.Round(users)), rate
	if len(tuple) == 3 && tuple[2] != starlark.None {
		if step.Classes, err = classNames(s.file, tuple[2]); err != nil {
			return step, false, returned(s.tick, value, "a list of user classes as the third value")
		}
	}
	return step, true, nil
}

// classNames reads a list of classes or of their names.
func classNames(f *File, v starlark.Value) ([]string, error) {
	list, ok := v.(starlark.Iterable)
	if !ok {
		return nil, fmt.Errorf("classes must be a list, got %s", v.Type())
	}
	var names []string
	for element := range starlark.Elements(list) {
		if text, ok := starlark.AsString(element); ok {
			if !slices.ContainsFunc(f.classes, func(c *loadtest.UserClass) bool { return c.Name == text }) {
				return nil, fmt.Errorf("there is no user class %q", text)
			}
			names = append(names, text)
			continue
		}
		class, ok := element.(*classValue)
		if !ok || f.nameOf(class) == "" {
			return nil, fmt.Errorf("want user classes or their names, got %s", element)
		}
		names = append(names, f.nameOf(class))
	}
	return names, nil
}

// shapeState is what a tick function may look at.
func shapeState(state loadtest.ShapeState) starlark.Value {
	return structOf(starlark.StringDict{
		"run_time":   starlark.Float(state.RunTime.Seconds()),
		"user_count": starlark.MakeInt(state.Users),
		"rps":        starlark.Float(state.RPS),
		"p95_ms":     starlark.Float(float64(state.P95) / float64(time.Millisecond)),
	})
}
