package awsrun

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs"
	"github.com/aws/aws-sdk-go-v2/service/cloudwatchlogs/types"
)

// followPoll is the time between questions for new lines. Lines arrive some seconds late anyway.
const followPoll = 2 * time.Second

// arrivalSlack is how long after its time a line may become visible; it is asked for again so long.
const arrivalSlack = 20 * time.Second

// LogSource is where lines come from.
type LogSource struct {
	Group string
	// Prefix begins the names of the streams; empty = all of the group.
	Prefix string
}

// MasterLog, OrchestratorLog and WorkerLog are the logs of a stack. Task restricts the first two to
// one task; empty = all of them.
func (s Stack) MasterLog(task string) LogSource {
	return LogSource{Group: s.TaskLogs(), Prefix: "master/" + MasterContainer + "/" + task}
}

// OrchestratorLog is the log of the orchestrator.
func (s Stack) OrchestratorLog(task string) LogSource {
	return LogSource{Group: s.TaskLogs(), Prefix: "orchestrator/" + OrchestratorContainer + "/" + task}
}

// WorkerLog is the log of the function.
func (s Stack) WorkerLog() LogSource { return LogSource{Group: s.FunctionLogs()} }

// Line is one line of a log.
type Line struct {
	At     time.Time
	Stream string
	Text   string
}

// Logs reads logs of an account. Safe for concurrent use.
type Logs struct {
	client *cloudwatchlogs.Client
	clock  Clock
}

// NewLogs returns the logs of an account. A nil clock is the wall clock.
func NewLogs(cfg aws.Config, clock Clock) *Logs {
	if clock == nil {
		clock = WallClock{}
	}
	return &Logs{client: cloudwatchlogs.NewFromConfig(cfg), clock: clock}
}

// Read calls take with the lines since a moment, in the order of the service: by time. An error of
// take ends it. A group that is not there wraps ErrNotDeployed.
func (l *Logs) Read(ctx context.Context, from LogSource, since time.Time, take func(Line) error) error {
	return l.read(ctx, from, since, func(_ string, line Line) error { return take(line) })
}

func (l *Logs) read(ctx context.Context, from LogSource, since time.Time, take func(id string, line Line) error) error {
	in := &cloudwatchlogs.FilterLogEventsInput{LogGroupName: aws.String(from.Group), StartTime: aws.Int64(since.UnixMilli())}
	if from.Prefix != "" {
		in.LogStreamNamePrefix = aws.String(from.Prefix)
	}
	pages := cloudwatchlogs.NewFilterLogEventsPaginator(l.client, in)
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if missing, ok := errors.AsType[*types.ResourceNotFoundException](err); ok {
			return fmt.Errorf("log group %s: %w (%s)", from.Group, ErrNotDeployed, missing.ErrorMessage())
		}
		if err != nil {
			return fmt.Errorf("read log group %s: %w", from.Group, err)
		}
		for _, e := range page.Events {
			line := Line{At: time.UnixMilli(aws.ToInt64(e.Timestamp)), Stream: aws.ToString(e.LogStreamName), Text: aws.ToString(e.Message)}
			if err := take(aws.ToString(e.EventId), line); err != nil {
				return err
			}
		}
	}
	return nil
}

// Follow is Read that goes on with the lines to come, until the context ends.
func (l *Logs) Follow(ctx context.Context, from LogSource, since time.Time, take func(Line) error) error {
	seen := map[string]time.Time{} // ids of lines that may be answered again
	for {
		newest := since
		err := l.read(ctx, from, since, func(id string, line Line) error {
			if _, again := seen[id]; again {
				return nil
			}
			seen[id] = line.At
			if line.At.After(newest) {
				newest = line.At
			}
			return take(line)
		})
		if err != nil {
			return err
		}
		if back := newest.Add(-arrivalSlack); back.After(since) {
			since = back
		}
		for id, at := range seen {
			if at.Before(since) {
				delete(seen, id)
			}
		}
		if err := l.clock.Sleep(ctx, followPoll); err != nil {
			return err
		}
	}
}

// Last returns the last n lines of a source since a moment, for the text of an error.
func (l *Logs) Last(ctx context.Context, from LogSource, since time.Time, n int) ([]string, error) {
	var lines []string
	err := l.Read(ctx, from, since, func(line Line) error {
		lines = append(lines, line.Text)
		if len(lines) > n {
			lines = lines[1:]
		}
		return nil
	})
	return lines, err
}
