package loadtest

// class is a user class made ready to run: tags applied, weights turned into lists to pick from.
type class struct {
	*UserClass
	root *taskSet
}

type taskSet struct {
	name            string
	picks           []*task // each task as often as its weight
	sequential      bool
	wait            WaitTime
	onStart, onStop TaskFunc
}

type task struct {
	name string
	run  TaskFunc
	set  *taskSet
}

// compileAll returns the classes that can be run, by name.
func compileAll(classes []*UserClass, tags, exclude []string) map[string]*class {
	compiled := make(map[string]*class, len(classes))
	for _, c := range classes {
		if ready, ok := compile(c, tags, exclude); ok && !c.Abstract {
			compiled[c.Name] = ready
		}
	}
	return compiled
}

// compile returns a class ready to run; ok is false when the tags left it no task.
func compile(c *UserClass, tags, exclude []string) (compiled *class, ok bool) {
	tasks := filterTasks(c.Tasks, nil, tags, exclude)
	if len(tasks) == 0 {
		return nil, false
	}
	root := compileSet(&TaskSet{Name: c.Name, Tasks: tasks, Sequential: c.Sequential})
	return &class{UserClass: c, root: root}, true
}

func compileSet(s *TaskSet) *taskSet {
	set := &taskSet{
		name:       s.Name,
		sequential: s.Sequential,
		wait:       s.WaitTime,
		onStart:    s.OnStart,
		onStop:     s.OnStop,
	}
	for i := range s.Tasks {
		t := &task{name: s.Tasks[i].Name, run: s.Tasks[i].Run}
		if s.Tasks[i].Set != nil {
			t.set = compileSet(s.Tasks[i].Set)
		}
		for range s.Tasks[i].WeightOrDefault() {
			set.picks = append(set.picks, t)
		}
	}
	return set
}
