package webapi_test

import (
	"context"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/webapi"
)

// wishes only notes what it is asked to do.
type wishes struct {
	*testRun
	started []webapi.Swarm
}

func (w *wishes) Swarm(_ context.Context, wish webapi.Swarm) error {
	w.started = append(w.started, wish)
	return nil
}

func FuzzSwarm(f *testing.F) {
	for _, form := range []string{
		"user_count=1&spawn_rate=1", "user_count=120&spawn_rate=10&run_time=1h20m&host=x&profile=p&user_classes=My_user&shape_class=Default",
		"user_count=1&spawn_rate=1&my_arg_2=7&models=a%2Cb&verbose=true&ratio=0.5", "user_count=%zz", "user_count=1;spawn_rate=1", "user_count=-1&spawn_rate=nan",
		"user_count=1&spawn_rate=1e308&run_time=2147483647h",
	} {
		f.Add(form)
	}
	f.Fuzz(func(t *testing.T, form string) {
		run := &wishes{testRun: newTestRun()}
		s := newServer(t, run, func(c *webapi.Config) { c.ClassPicker = true })
		w := call(s, "POST", "/swarm", form)
		var answer struct {
			Success bool
			Message string
		}
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Message == "" {
			t.Fatalf("%q: answered %s", form, w.Body)
		}
		if answer.Success != (len(run.started) == 1) || answer.Success && w.Code != http.StatusOK {
			t.Fatalf("%q: status %d, success %v, started %v", form, w.Code, answer.Success, run.started)
		}
		for _, wish := range run.started {
			if wish.Users < 0 || !(wish.SpawnRate > 0) || math.IsInf(wish.SpawnRate, 0) || wish.RunTime < 0 {
				t.Errorf("%q started %+v", form, wish)
			}
			for _, class := range wish.Classes {
				if !slices.Contains([]string{"My_user", "SimpleUser"}, class) {
					t.Errorf("%q started class %q", form, class)
				}
			}
		}
	})
}
