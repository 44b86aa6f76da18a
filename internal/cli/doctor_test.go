package cli

import (
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
)

func TestBuildsOfImageTaskAndFunctionAreCompared(t *testing.T) {
	task := func(build string) []awsrun.Task {
		return []awsrun.Task{{ID: "t1", Tags: map[string]string{awsrun.TagBuild: build}}}
	}
	for _, test := range []struct {
		name, image, function string
		running               []awsrun.Task
		health                health
		text                  string
	}{
		{"all alike", "b-1", "b-1", task("b-1"), healthy, "image and function are build b-1"},
		{"a task that does not tell", "b-1", "b-1", task(""), healthy, "image and function are build b-1"},
		{"no task", "b-1", "b-1", nil, healthy, "image and function are build b-1"},
		{"another image", "b-1", "b-2", nil, broken, "the image is build b-1, the function b-2"},
		{"an older task", "b-2", "b-2", task("b-1"), broken, "task t1 runs build b-1, the function is b-2"},
		{"an image that does not tell", "", "b-1", nil, doubt, "image none, function b-1"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := &checkup{deployment: &deployment{account: &account.Account{}, stack: "s"}}
			c.builds(&awsrun.Definition{BuildID: test.image}, functions.Configuration{BuildID: test.function}, test.running)
			if len(c.findings) != 1 || c.findings[0].Health != test.health || !strings.Contains(c.findings[0].Text, test.text) {
				t.Errorf("found %+v, want %s: %s", c.findings, test.health, test.text)
			}
		})
	}
}
