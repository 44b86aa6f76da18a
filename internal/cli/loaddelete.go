package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs"
	ecstypes "github.com/aws/aws-sdk-go-v2/service/ecs/types"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	lambdatypes "github.com/aws/aws-sdk-go-v2/service/lambda/types"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// stopTasksWithin is the longest that a task may take to end: its time to drain and some to clean up.
const stopTasksWithin = 5 * time.Minute

// loadDeleteCommand is `load delete`.
func (a *app) loadDeleteCommand() *cobra.Command {
	var (
		account accountFlags
		d       loadDeletion
	)
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Remove the load test of a limiter from AWS",
		Long: `Stop the tasks, let no more workers start, and delete the stack with all that is in it. The limiter
itself stays. A load test that is not deployed is no error.`,
		Example: `  zae-limiter load delete --name my-limiter --region us-east-1
  zae-limiter load delete --name my-limiter --yes --retain WorkerSecurityGroup`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if d.name == "" {
				return usagef("which limiter? give --name NAME")
			}
			if err := awsdeploy.CheckLoadNames(d.name, ""); err != nil {
				return usage(err)
			}
			if !d.yes {
				if err := a.needTerminal("--yes"); err != nil {
					return err
				}
			}
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.deleteLoad(cmd.Context(), &d))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&d.name, "name", "n", "", "`name` of the limiter")
	flags.BoolVarP(&d.yes, "yes", "y", false, "do not ask")
	flags.StringSliceVar(&d.retain, "retain", nil, "leave these `resources` behind; only where a deletion has failed because of them")
	flags.StringVar(&d.role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as")
	account.register(flags)
	flags.SortFlags = false
	return cmd
}

type loadDeletion struct {
	name   string
	yes    bool
	retain []string
	role   string
}

// deletedDocument is the output of a deletion.
type deletedDocument struct {
	Stack        string   `json:"stack"`
	Action       string   `json:"action"` // deleted, absent, or deleting when it was not waited for
	StoppedTasks []string `json:"stopped_tasks,omitempty"`
	Retained     []string `json:"retained,omitempty"`
}

func (s *stacker) deleteLoad(ctx context.Context, d *loadDeletion) error {
	name := awsdeploy.LoadStack(d.name)
	document := &deletedDocument{Stack: name, Action: "absent"}
	before, err := s.stacks.Describe(ctx, name)
	if errors.Is(err, stack.ErrNotFound) {
		return s.printDeleted(document)
	}
	if err != nil {
		return err
	}
	s.tell("%s in %s: cluster, running tasks, image repository with its images, function, security groups, endpoints of the stack, roles, logs", name, s.account.Region())
	if !d.yes {
		yes, err := s.app.confirm(ctx, "Delete all of it?")
		if err != nil {
			return err
		}
		if !yes {
			return errors.New("nothing was deleted")
		}
	}
	if document.StoppedTasks, err = s.stopTasks(ctx, name); err != nil {
		return err
	}
	s.drain(ctx, awsdeploy.WorkerFunction(d.name))
	s.tell("deleting %s; the functions' network interfaces may take 20 minutes and more to go, which is normal", name)
	deletion := &stack.Deletion{Name: before.ID, Retain: d.retain, Role: d.role, Event: s.event}
	err = s.stacks.Delete(ctx, deletion)
	if failed, ok := errors.AsType[*stack.FailedError](err); ok && len(failed.Stuck) > 0 {
		deletion.Retain, err = s.offerRetention(ctx, failed, d)
		if err == nil {
			err = s.stacks.Delete(ctx, deletion)
		}
	}
	if err != nil {
		return err
	}
	document.Action, document.Retained = "deleted", deletion.Retain
	return s.printDeleted(document)
}

// offerRetention asks whether what could not be deleted is left behind; without a terminal the error says
// how.
func (s *stacker) offerRetention(ctx context.Context, failed *stack.FailedError, d *loadDeletion) ([]string, error) {
	var stuck []string
	for _, e := range failed.Stuck {
		stuck = append(stuck, e.LogicalID)
	}
	list := strings.Join(stuck, ",")
	advice := withHint(failed, "delete what holds it and try again, or leave it behind: "+s.loadCommand("delete", d.name)+" --yes --retain "+list)
	if !s.app.interactive() {
		return nil, advice
	}
	s.tell("%v", failed)
	yes, err := s.app.confirm(ctx, "Leave "+list+" behind and delete the rest?")
	if err != nil {
		return nil, err
	}
	if !yes {
		return nil, advice
	}
	return stuck, nil
}

func (s *stacker) printDeleted(d *deletedDocument) error {
	if s.app.json {
		return s.app.printJSON(d)
	}
	line := fmt.Sprintf("%s: %s", d.Stack, d.Action)
	if len(d.Retained) > 0 {
		line += "; left behind: " + strings.Join(d.Retained, ", ")
	}
	_, err := fmt.Fprintln(s.app.stdout, line)
	return err
}

// stopTasks stops every task of a cluster and waits until they are gone: their network interfaces keep
// cluster and security groups busy. Tasks are started by themselves, so no service stops them.
func (s *stacker) stopTasks(ctx context.Context, cluster string) ([]string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, stopTasksWithin, fmt.Errorf("tasks of %s did not end within %s", cluster, stopTasksWithin))
	defer cancel()
	api := ecs.NewFromConfig(s.account.Config)
	var tasks []string
	pages := ecs.NewListTasksPaginator(api, &ecs.ListTasksInput{Cluster: aws.String(cluster)})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if _, missing := errors.AsType[*ecstypes.ClusterNotFoundException](err); missing {
			return nil, nil
		}
		if err != nil {
			return nil, fmt.Errorf("tasks of %s: %w", cluster, err)
		}
		tasks = append(tasks, page.TaskArns...)
	}
	if len(tasks) == 0 {
		return nil, nil
	}
	for _, task := range tasks {
		s.tell("stopping task %s", task[strings.LastIndex(task, "/")+1:])
		_, err := api.StopTask(ctx, &ecs.StopTaskInput{Cluster: aws.String(cluster), Task: aws.String(task), Reason: aws.String("zae-limiter load delete")})
		if err != nil {
			return nil, fmt.Errorf("stop task %s: %w", task, err)
		}
	}
	waiter := ecs.NewTasksStoppedWaiter(api, func(o *ecs.TasksStoppedWaiterOptions) {
		if poll := pollOf(s.account); poll > 0 {
			o.MinDelay, o.MaxDelay = poll, poll
		}
	})
	for begin := 0; begin < len(tasks); begin += describeTasksMost {
		part := tasks[begin:min(begin+describeTasksMost, len(tasks))]
		if err := waiter.Wait(ctx, &ecs.DescribeTasksInput{Cluster: aws.String(cluster), Tasks: part}, stopTasksWithin); err != nil {
			return nil, fmt.Errorf("wait for the end of the tasks: %w", err)
		}
	}
	return tasks, nil
}

// describeTasksMost is how many tasks one call describes.
const describeTasksMost = 100

// drain lets no further worker start, so that interfaces become free. Only a convenience: the deletion
// waits for those that run.
func (s *stacker) drain(ctx context.Context, function string) {
	_, err := lambda.NewFromConfig(s.account.Config).PutFunctionConcurrency(ctx, &lambda.PutFunctionConcurrencyInput{
		FunctionName: aws.String(function), ReservedConcurrentExecutions: aws.Int32(0),
	})
	if _, missing := errors.AsType[*lambdatypes.ResourceNotFoundException](err); err != nil && !missing {
		s.warn(fmt.Sprintf("workers may still start: %v", awsError(err, s.account.Profile)))
	}
}
