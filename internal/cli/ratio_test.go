package cli

import (
	"encoding/json"
	"testing"

	"github.com/zeroae/zae-limiter-go/loadtest"
)

func TestTaskRatiosOfNestedSets(t *testing.T) {
	inner := &loadtest.TaskSet{Name: "inner", Tasks: []loadtest.Task{{Name: "a"}, {Name: "b"}}}
	classes := []*loadtest.UserClass{
		{Name: "U", Weight: 1, Tasks: []loadtest.Task{{Name: "t", Weight: 3}, {Set: inner}}},
		{Name: "V", Weight: 1, Tasks: []loadtest.Task{{Name: "t"}}},
	}
	for _, c := range []struct {
		total bool
		want  string
	}{
		{false, `{"U":{"ratio":0.5,"tasks":{"t":{"ratio":0.75},"inner":{"ratio":0.25,"tasks":{"a":{"ratio":0.5},"b":{"ratio":0.5}}}}},"V":{"ratio":0.5,"tasks":{"t":{"ratio":1}}}}`},
		{true, `{"U":{"ratio":0.5,"tasks":{"t":{"ratio":0.375},"inner":{"ratio":0.125,"tasks":{"a":{"ratio":0.0625},"b":{"ratio":0.0625}}}}},"V":{"ratio":0.5,"tasks":{"t":{"ratio":0.5}}}}`},
	} {
		got, err := json.Marshal(taskRatios(classes, 10, c.total))
		if err != nil || string(got) != c.want {
			t.Errorf("total=%v:\n%s (%v), want\n%s", c.total, got, err, c.want)
		}
	}
}
