package cli

import (
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// jumpClock is a clock whose sleeps take no time. It is for one goroutine.
type jumpClock struct{ now time.Time }

func (c *jumpClock) Now() time.Time { return c.now }

func (c *jumpClock) Sleep(ctx context.Context, d time.Duration) error {
	c.now = c.now.Add(d)
	return context.Cause(ctx)
}

func TestWorkersThatDoNotConnectAreGivenUp(t *testing.T) {
	w := newAWSWorld(t)
	remote := masterAt(t, func(rw http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(rw, `{"state": "ready", "user_count": 0, "workers": [{"id": "a", "state": "ready"}, {"id": "b", "state": "missing"}]}`)
	})
	var stderr strings.Builder
	a := &app{getenv: func(name string) string { return w.env[name] }, stderr: term.NewStream(&stderr, nil)}
	d, err := a.openDeployment(t.Context(), "my-limiter", accountFlags{})
	if err != nil {
		t.Fatal(err)
	}
	w.log(d.stack.WorkerLog().Group, "Task timed out after 300.00 seconds")
	clock := &jumpClock{now: time.Now()}
	d.clock, d.logs = clock, awsrun.NewLogs(w.config, clock)
	begun := clock.now
	run := &deployedRun{deployment: d, flags: &benchmarkFlags{workers: 3}, progress: term.NewProgress(a.stderr, progressInterval)}
	err = run.awaitWorkers(t.Context(), remote)
	if want := "workers failed to connect within 5 minutes: 1 of 3 are there"; err == nil || err.Error() != want {
		t.Errorf("got %v, want %q", err, want)
	}
	for _, want := range []string{
		"port 5557", "zae-limiter load doctor --name my-limiter --region us-east-1 looks at concurrency and network",
		d.stack.WorkerLog().Group + ":\n  Task timed out after 300.00 seconds",
	} {
		if hint := hintOf(err); !strings.Contains(hint, want) {
			t.Errorf("the advice lacks %q:\n%s", want, hint)
		}
	}
	if waited := clock.now.Sub(begun); waited != workersWithin {
		t.Errorf("waited %v, want %v", waited, workersWithin)
	}
}

// log makes a log group with one line.
func (w *awsWorld) log(group, line string) {
	w.t.Helper()
	client, stream := cloudwatchlogs.NewFromConfig(w.config), aws.String("one")
	ctx := w.t.Context()
	if _, err := client.CreateLogGroup(ctx, &cloudwatchlogs.CreateLogGroupInput{LogGroupName: &group}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.CreateLogStream(ctx, &cloudwatchlogs.CreateLogStreamInput{LogGroupName: &group, LogStreamName: stream}); err != nil {
		w.t.Fatal(err)
	}
	if _, err := client.PutLogEvents(ctx, &cloudwatchlogs.PutLogEventsInput{
		LogGroupName: &group, LogStreamName: stream,
		LogEvents: []types.InputLogEvent{{Message: &line, Timestamp: aws.Int64(time.Now().UnixMilli())}},
	}); err != nil {
		w.t.Fatal(err)
	}
}
