package locustfile

import (
	"strings"
	"testing"
	"time"
)

// checkedSteps checks a file and returns its steps as text, those that failed with their error.
func checkedSteps(t *testing.T, source string, options CheckOptions) string {
	t.Helper()
	begun := time.Now()
	checked, err := mustLoad(t, source).Check(t.Context(), options)
	if err != nil {
		return err.Error()
	}
	if took := time.Since(begun); took >= checkTimeout {
		t.Errorf("the check took %v: it did not see its end", took)
	}
	var steps []string
	for _, task := range checked.Tasks {
		step := task.Class + "." + task.Task
		if task.Error != "" {
			step += "(" + task.Error + ")"
		}
		steps = append(steps, step)
	}
	return strings.Join(steps, " ")
}

func TestCheckRunsEachTaskOnce(t *testing.T) {
	const tagged = "def a(user): pass\ndef b(user): pass\nX = user_class([task(a, tags=[\"slow\"]), task(b, tags=[\"fast\"])])\n"
	for _, test := range []struct {
		name, source string
		options      CheckOptions
		want         string
	}{
		{"a task that is listed twice", "def a(user): pass\nX = user_class(sequential([a, a]))\n", CheckOptions{}, "X.a"},
		{"functions of one name", "X = user_class([lambda u: None, lambda u: None])\n", CheckOptions{}, "X.lambda X.lambda-2"},
		{"sets", "def a(user): user.interrupt()\nX = user_class([a, [a], [[a]]])\n", CheckOptions{}, "X.a X.TaskSet/a X.TaskSet-2/TaskSet/a"},
		{"a user that stops", "def a(user): user.stop()\ndef b(user): pass\nX = user_class([a, b])\n", CheckOptions{}, "X.a X.b"},
		{"events and classes in their order", `
def e(env, users = 1): pass
on_test_stop = e
on_spawning_complete = e
on_test_start = e
on_worker_stop = e
def t(user): pass
B = user_class(t, on_start=t)
A = user_class(t, on_stop=t)
`, CheckOptions{}, "events.on_test_start events.on_spawning_complete B.on_start B.t A.t A.on_stop events.on_worker_stop events.on_test_stop"},
		{"tags", tagged, CheckOptions{Tags: []string{"slow"}}, "X.a"},
		{"excluded tags", tagged, CheckOptions{ExcludeTags: []string{"slow"}}, "X.b"},
		{"a class without a task left", tagged + "Y = user_class(a)\n", CheckOptions{Tags: []string{"fast"}}, "X.b"},
		{"no task left", tagged, CheckOptions{Tags: []string{"none"}}, ErrNoTask.Error()},
		{"a failing start", "def s(user): fail(\"boom\")\ndef e(user): pass\nX = user_class(e, on_start=s, on_stop=e)\n", CheckOptions{},
			"X.on_start(chunk.star:1:18: in s: fail: boom)"},
		{"a start that stops", "def s(user): user.stop()\ndef e(user): pass\nX = user_class(e, on_start=s, on_stop=e)\n", CheckOptions{}, "X.on_start X.on_stop"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := checkedSteps(t, test.source, test.options); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}
