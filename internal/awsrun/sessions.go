package awsrun

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ssm"
	"github.com/aws/aws-sdk-go-v2/service/ssm/types"
)

// Session is a session of Session Manager to a task: an open tunnel, or one that was left open. A
// container has at most two.
type Session struct {
	ID, Owner string
	// Task is the id of the task.
	Task    string
	Started time.Time
}

// Sessions are the open sessions to the tasks of a stack.
func Sessions(ctx context.Context, cfg aws.Config, stack Stack) ([]Session, error) {
	prefix := "ecs:" + stack.Cluster() + "_"
	var found []Session
	pages := ssm.NewDescribeSessionsPaginator(ssm.NewFromConfig(cfg), &ssm.DescribeSessionsInput{State: types.SessionStateActive})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, fmt.Errorf("describe sessions: %w", err)
		}
		for _, s := range page.Sessions {
			rest, ours := strings.CutPrefix(aws.ToString(s.Target), prefix)
			if !ours {
				continue
			}
			task, _, _ := strings.Cut(rest, "_")
			found = append(found, Session{ID: aws.ToString(s.SessionId), Owner: aws.ToString(s.Owner), Task: task, Started: aws.ToTime(s.StartDate)})
		}
	}
	return found, nil
}

// EndSession ends a session.
func EndSession(ctx context.Context, cfg aws.Config, id string) error {
	if _, err := ssm.NewFromConfig(cfg).TerminateSession(ctx, &ssm.TerminateSessionInput{SessionId: aws.String(id)}); err != nil {
		return fmt.Errorf("end session %s: %w", id, err)
	}
	return nil
}
