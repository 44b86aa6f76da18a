package cli

import (
	"strings"
	"testing"

	"github.com/zeroae/zae-limiter-go/internal/aggregator"
	"github.com/zeroae/zae-limiter-go/internal/lambdaworker"
)

// The name of the handler says what a function is there for; the aggregator's environment is checked before
// the first event.
func TestAFunctionIsWhatItsHandlerSays(t *testing.T) {
	t.Setenv("AWS_REGION", "us-east-1") // which the SDK reads by itself
	aggregates := map[string]string{"_HANDLER": "aggregator", "AWS_REGION": "us-east-1", "TABLE_NAME": "limiter"}
	with := func(name, value string) map[string]string {
		env := map[string]string{name: value}
		for k, v := range aggregates {
			if k != name {
				env[k] = v
			}
		}
		return env
	}
	for name, test := range map[string]struct {
		env  map[string]string
		want string
	}{
		"a worker":            {map[string]string{"_HANDLER": "bootstrap"}, "worker"},
		"no name":             {nil, "worker"},
		"an aggregator":       {aggregates, "aggregator"},
		"months":              {with("SNAPSHOT_WINDOWS", "hourly,monthly"), "aggregator"},
		"no table":            {with("TABLE_NAME", ""), "which table? give TABLE_NAME"},
		"an unknown window":   {with("SNAPSHOT_WINDOWS", "hourly,weekly"), `SNAPSHOT_WINDOWS: window "weekly" is unknown`},
		"no number of days":   {with("SNAPSHOT_TTL_DAYS", "many"), `SNAPSHOT_TTL_DAYS is "many"`},
		"a negative of days":  {with("SNAPSHOT_TTL_DAYS", "-1"), `SNAPSHOT_TTL_DAYS is "-1"`},
		"a number of days":    {with("SNAPSHOT_TTL_DAYS", "30"), "aggregator"},
		"a handler of Python": {with("_HANDLER", "zae_limiter_aggregator.handler.handler"), "worker"},
	} {
		handler, err := functionHandler(t.Context(), Process{Getenv: func(name string) string { return test.env[name] }, Stderr: &strings.Builder{}})
		got := ""
		switch handler.(type) {
		case *lambdaworker.Handler:
			got = "worker"
		case *aggregator.Handler:
			got = "aggregator"
		}
		if err != nil {
			got = err.Error()
		}
		if !strings.HasPrefix(got, test.want) {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
}

func TestOnThisMachine(t *testing.T) {
	for endpoint, want := range map[string]bool{
		"http://127.0.0.1:8000": true, "http://localhost": true, "http://[::1]:1": true,
		"": false, "http://10.0.0.1:8000": false, "https://dynamodb.us-east-1.amazonaws.com": false, "127.0.0.1:8000": false, "http://localhost.example.com": false,
	} {
		if got := onThisMachine(endpoint); got != want {
			t.Errorf("%q: %v", endpoint, got)
		}
	}
}
