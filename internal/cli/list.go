package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/cloudformation"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// listCommand is `load list`.
func (a *app) listCommand() *cobra.Command {
	var flags accountFlags
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List the load stacks of an AWS region, with what runs on them",
		Example: `  zae-limiter load list --region us-east-1
  zae-limiter load list --json`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error { return a.list(cmd.Context(), flags) },
	}
	flags.register(cmd.Flags())
	return cmd
}

// listedStack is a load stack in the output of load list.
type listedStack struct {
	Name    string      `json:"name"`
	Target  string      `json:"target"`
	Status  string      `json:"status"`
	Created *time.Time  `json:"created_at"`
	Task    *listedTask `json:"task"` // null when none runs
	// The build ids of image and function; null when not known. Mismatch tells that they differ, or that the
	// task is of another build.
	ImageBuild    *string `json:"image_build_id"`
	FunctionBuild *string `json:"function_build_id"`
	Mismatch      bool    `json:"build_mismatch"`
	// Problem is why not all of it could be read.
	Problem *string `json:"problem"`
}

type listedTask struct {
	ID            string   `json:"id"`
	Status        string   `json:"status"`
	UptimeSeconds *float64 `json:"uptime_seconds"` // null while it starts
	More          int      `json:"more"`           // further tasks
	BuildID       *string  `json:"build_id"`       // of the image that it was started with; null when not known
}

func (a *app) list(ctx context.Context, flags accountFlags) error {
	opened, err := a.openAccount(ctx, flags)
	if err != nil {
		return interruption(ctx, err)
	}
	client := stack.Client{API: cloudformation.NewFromConfig(opened.Config)}
	found, err := client.Discover(ctx, resourcegroupstaggingapi.NewFromConfig(opened.Config))
	if err != nil {
		return interruption(ctx, awsError(err, opened.Profile))
	}
	if found.Incomplete != "" {
		a.warn("%s", found.Incomplete)
	}
	var stacks []*stack.Stack
	for _, s := range found.Stacks {
		if s.Type() == stack.TypeLoadTest {
			stacks = append(stacks, s)
		}
	}
	slices.SortFunc(stacks, func(x, y *stack.Stack) int { return strings.Compare(x.UserName(), y.UserName()) })
	rows := make([]listedStack, len(stacks))
	var group sync.WaitGroup
	for i, s := range stacks {
		group.Go(func() { rows[i] = look(ctx, opened, s, time.Now()) })
	}
	group.Wait()
	if a.json {
		return a.printJSON(map[string]any{"region": opened.Region(), "stacks": rows, "incomplete": optional(found.Incomplete)})
	}
	return a.printStacks(rows, opened.Region())
}

// look asks for what a load stack has, all at the same time.
func look(ctx context.Context, opened *account.Account, s *stack.Stack, now time.Time) listedStack {
	row := listedStack{Name: s.Name, Target: s.UserName(), Status: s.Status}
	if !s.Created.IsZero() {
		row.Created = &s.Created
	}
	name := awsrun.Stack(s.UserName())
	tasks := awsrun.NewTasks(opened.Config, name, nil)
	var found []awsrun.Task
	var definition *awsrun.Definition
	var function functions.Configuration
	var errs [3]error
	var group sync.WaitGroup
	group.Go(func() { found, errs[0] = tasks.Find(ctx) })
	group.Go(func() { definition, errs[1] = tasks.Definition(ctx) })
	group.Go(func() { function, errs[2] = functions.NewCaller(opened.Config).Configuration(ctx, name.Worker()) })
	group.Wait()
	for _, err := range errs {
		if err != nil && row.Problem == nil {
			row.Problem = new(awsError(err, opened.Profile).Error())
		}
	}
	if len(found) > 0 {
		row.Task = taskRow(&found[0], len(found)-1, now)
	}
	if definition != nil {
		row.ImageBuild = optional(definition.BuildID)
	}
	row.FunctionBuild = optional(function.BuildID)
	row.Mismatch = row.ImageBuild != nil && row.FunctionBuild != nil && *row.ImageBuild != *row.FunctionBuild ||
		slices.ContainsFunc(found, func(t awsrun.Task) bool { return otherBuild(&t, function.BuildID) })
	return row
}

func taskRow(t *awsrun.Task, more int, now time.Time) *listedTask {
	row := &listedTask{ID: t.ID, Status: t.Status, More: more, BuildID: optional(t.Tags[awsrun.TagBuild])}
	if !t.Started.IsZero() {
		row.UptimeSeconds = new(now.Sub(t.Started).Seconds())
	}
	return row
}

func (a *app) printStacks(rows []listedStack, region string) error {
	if len(rows) == 0 {
		_, err := fmt.Fprintf(a.stdout, "no load stacks in %s; deploy one:\n  zae-limiter load deploy --name NAME --region %s --vpc-id vpc-… --subnet-ids subnet-…,subnet-… -C FOLDER\n", region, region)
		return err
	}
	table := term.Table{Columns: []string{"Name", "Target", "Status", "Created", "Running", "Image", "Function"}, LeftColumns: 7}
	var notes []string
	for i := range rows {
		r := &rows[i]
		function := orDash(r.FunctionBuild)
		if r.Mismatch {
			function += " !"
			notes = append(notes, fmt.Sprintf("%s: image, task and function are of different builds: zae-limiter load push --name %s, and a new task", r.Name, r.Target))
		}
		if r.Problem != nil {
			notes = append(notes, r.Name+": "+*r.Problem)
		}
		created := "unknown"
		if r.Created != nil {
			created = r.Created.UTC().Format(time.DateOnly)
		}
		table.Rows = append(table.Rows, []string{r.Name, r.Target, r.Status, created, r.running(), orDash(r.ImageBuild), function})
	}
	printTable(a.stdout, table)
	if _, err := fmt.Fprintf(a.stdout, "Total: %d stack(s)\n", len(rows)); err != nil {
		return err
	}
	for _, note := range notes {
		a.warn("%s", note)
	}
	return nil
}

// running is the task and how long it has been running.
func (s *listedStack) running() string {
	if s.Task == nil {
		return "-"
	}
	text := s.Task.ID + " " + strings.ToLower(s.Task.Status)
	if up := s.Task.UptimeSeconds; up != nil && s.Task.Status == "RUNNING" {
		text = s.Task.ID + " " + time.Duration(*up*float64(time.Second)).Round(time.Second).String()
	}
	if s.Task.More > 0 {
		text += fmt.Sprintf(" (+%d)", s.Task.More)
	}
	return text
}

func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}
