package cli

import (
	"encoding/json"
	"math"
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

// The figures are those of Locust 2.47.
func TestClassSharesAreLocusts(t *testing.T) {
	class := func(weight float64, fixed int) *loadtest.UserClass {
		return &loadtest.UserClass{Weight: weight, FixedCount: fixed}
	}
	three := []*loadtest.UserClass{class(1, 0), class(1, 0), class(1, 0)}
	for _, test := range []struct {
		classes []*loadtest.UserClass
		users   int
		want    []float64
	}{
		{three, 0, []float64{1. / 3, 1. / 3, 1. / 3}},
		{three, 20, []float64{1. / 3, 1. / 3, 1. / 3}},
		{[]*loadtest.UserClass{class(3, 0), class(1, 0)}, 10, []float64{0.8, 0.2}},
		{[]*loadtest.UserClass{class(0.5, 0), class(0.25, 0)}, 0, []float64{2. / 3, 1. / 3}},
		{[]*loadtest.UserClass{class(3, 0), class(1, 0), class(1, 2)}, 10, []float64{0.6, 0.2, 0.2}},
		{[]*loadtest.UserClass{class(3, 0), class(1, 2)}, 1, []float64{0, 1}},
		{[]*loadtest.UserClass{class(3, 0), class(1, 2)}, 0, []float64{0, 1}},
	} {
		got := classShares(test.classes, test.users)
		for i := range got {
			if math.Abs(got[i]-test.want[i]) > 1e-12 {
				t.Errorf("%d users: got %v, want %v", test.users, got, test.want)
				break
			}
		}
	}
}
