package stack

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	cfn "github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/cloudformation/types"
)

// Event is one thing that happened to a resource of a stack, or to the stack itself, whose logical id
// is the stack's name.
type Event struct {
	ID, LogicalID, PhysicalID, Type, Status, Reason string
	Time                                            time.Time
}

// Done reports whether the resource has reached an end, good or bad.
func (e *Event) Done() bool { return !strings.HasSuffix(e.Status, "_IN_PROGRESS") }

// Failed reports whether this event is a failure of its own: resources that were only cancelled because
// another one failed are not.
func (e *Event) Failed() bool {
	return strings.HasSuffix(e.Status, "_FAILED") && !strings.Contains(e.Reason, "cancelled")
}

// BrokenError says that a stack is in a state that an update cannot start from.
type BrokenError struct{ Stack, Status, Remedy string }

func (e *BrokenError) Error() string {
	return fmt.Sprintf("stack %s is in state %s: %s", e.Stack, e.Status, e.Remedy)
}

// FailedError says that an operation on a stack failed.
type FailedError struct {
	Stack, Status string
	// Cause is the first failure in time, nil when the events do not have one.
	Cause *Event
	// Stuck are the resources that could not be deleted; only after a deletion.
	Stuck []Event
	// Reason is what CloudFormation says about the stack as a whole.
	Reason string
}

func (e *FailedError) Error() string {
	if e.Cause == nil {
		return fmt.Sprintf("stack %s ended in %s: %s", e.Stack, e.Status, e.Reason)
	}
	return fmt.Sprintf("stack %s: %s (%s) %s: %s; the stack ended in %s",
		e.Stack, e.Cause.LogicalID, e.Cause.Type, e.Cause.Status, e.Cause.Reason, e.Status)
}

// watcher follows the events of one stack.
type watcher struct {
	client *Client
	id     string // the ARN: it still works when the stack is gone
	last   string // id of the newest event seen
	tell   func(Event)
	failed []Event
}

// watch begins after the events that are there already.
func (c *Client) watch(ctx context.Context, id string, tell func(Event)) (*watcher, error) {
	w := &watcher{client: c, id: id, tell: tell}
	out, err := c.API.DescribeStackEvents(ctx, &cfn.DescribeStackEventsInput{StackName: aws.String(id)})
	if err != nil {
		return nil, fmt.Errorf("events of stack %s: %w", id, err)
	}
	if len(out.StackEvents) > 0 {
		w.last = aws.ToString(out.StackEvents[0].EventId)
	}
	return w, nil
}

// catchUp tells the events since the last look, oldest first.
func (w *watcher) catchUp(ctx context.Context) error {
	var fresh []Event
	in := &cfn.DescribeStackEventsInput{StackName: aws.String(w.id)}
	for {
		out, err := w.client.API.DescribeStackEvents(ctx, in)
		if err != nil {
			return fmt.Errorf("events of stack %s: %w", w.id, err)
		}
		seen := slices.IndexFunc(out.StackEvents, func(e types.StackEvent) bool { return aws.ToString(e.EventId) == w.last })
		page := out.StackEvents
		if seen >= 0 {
			page = page[:seen]
		}
		for i := range page {
			fresh = append(fresh, eventFromSDK(&page[i]))
		}
		if in.NextToken = out.NextToken; seen >= 0 || in.NextToken == nil {
			break
		}
	}
	if len(fresh) == 0 {
		return nil
	}
	w.last = fresh[0].ID
	slices.Reverse(fresh)
	for _, e := range fresh {
		if e.Failed() {
			w.failed = append(w.failed, e)
		}
		if w.tell != nil {
			w.tell(e)
		}
	}
	return nil
}

// settle follows the stack until no operation is under way, and returns it as it stands then; a stack
// that is gone has status DELETE_COMPLETE.
func (w *watcher) settle(ctx context.Context) (*Stack, error) {
	for {
		// The stack first and the events after it, or the last events would be missed.
		s, err := w.client.Describe(ctx, w.id)
		if err != nil {
			return nil, err
		}
		if err := w.catchUp(ctx); err != nil {
			return nil, err
		}
		if !s.Busy() {
			return s, nil
		}
		if err := w.client.pause(ctx); err != nil {
			return s, err
		}
	}
}

func (w *watcher) failure(s *Stack) *FailedError {
	e := &FailedError{Stack: s.Name, Status: s.Status, Reason: s.Reason}
	// The stack's own failure only repeats that something failed.
	own := slices.IndexFunc(w.failed, func(e Event) bool { return e.PhysicalID != s.ID })
	if own >= 0 {
		e.Cause = &w.failed[own]
	}
	return e
}

func eventFromSDK(e *types.StackEvent) Event {
	return Event{
		ID: aws.ToString(e.EventId), LogicalID: aws.ToString(e.LogicalResourceId), PhysicalID: aws.ToString(e.PhysicalResourceId),
		Type: aws.ToString(e.ResourceType), Status: string(e.ResourceStatus), Reason: aws.ToString(e.ResourceStatusReason),
		Time: aws.ToTime(e.Timestamp),
	}
}
