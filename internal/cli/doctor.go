package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

const (
	// leftoverAfter is how old what a run leaves on the table is when the run is certainly over.
	leftoverAfter = 24 * time.Hour
	// writesWanted is what a table should be warm for: what a new one on demand is.
	writesWanted = 4000
)

// doctorFlags are the options of load doctor.
type doctorFlags struct {
	account accountFlags
	name    string
	fix     bool
}

// doctorCommand is `load doctor`.
func (a *app) doctorCommand() *cobra.Command {
	f := &doctorFlags{}
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Check everything that a load test on AWS needs, and say what to do",
		Long: `Check credentials, region and quotas, and with --name the limiter's table, its load stack, the network
path of tasks and functions, the builds of image and function, and what earlier runs left.

--fix removes what was left: tasks older than their run, open sessions of yours, data of old runs.`,
		Example: `  zae-limiter load doctor --name my-limiter --region us-east-1
  zae-limiter load doctor --name my-limiter --region us-east-1 --fix`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.fix && f.name == "" {
				return usagef("--fix needs --name NAME: whose leftovers?")
			}
			return a.doctor(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` that the load stack is for")
	f.account.register(flags)
	flags.BoolVar(&f.fix, "fix", false, "remove what earlier runs left")
	flags.SortFlags = false
	return cmd
}

// health is how a check ended.
type health string

// From best to worst; unknown is a check that could not be made.
const (
	healthy health = "ok"
	doubt   health = "warning"
	unknown health = "unknown"
	broken  health = "broken"
)

// finding is what a check found.
type finding struct {
	Check  string  `json:"check"`
	Health health  `json:"health"`
	Text   string  `json:"text"`
	Advice *string `json:"advice"` // what to do; null when nothing is to be done
}

// checkup collects findings. It is safe for concurrent use.
type checkup struct {
	*deployment
	fix bool

	mu       sync.Mutex
	findings []finding
}

func (c *checkup) found(check string, h health, advice, format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.findings = append(c.findings, finding{Check: check, Health: h, Text: fmt.Sprintf(format, args...), Advice: optional(advice)})
}

// failed is a check that could not be made, or whose error says that something is missing.
func (c *checkup) failed(ctx context.Context, check string, err error) {
	h, advice := broken, hintOf(c.explain(ctx, err))
	if denied(err, c.account.Profile) {
		h = unknown
	}
	c.found(check, h, advice, "%v", awsError(err, c.account.Profile))
}

// The checks, in the order of the report.
var checkNames = []string{"credentials", "concurrency", "fargate", "table", "stack", "builds", "network", "tasks", "sessions", "data"}

func (a *app) doctor(ctx context.Context, f *doctorFlags) error {
	if f.name != "" {
		if err := validateStackName(f.name); err != nil {
			return usage(err)
		}
	}
	opened, err := a.openAccount(ctx, f.account)
	if err != nil {
		return interruption(ctx, err)
	}
	d := a.deploymentIn(opened, awsrun.Stack(f.name))
	c := &checkup{deployment: d, fix: f.fix}
	c.found("credentials", healthy, "", "%s in %s (account %s)", d.account.Caller, d.account.Region(), d.account.ID)
	if f.name == "" {
		c.accountQuotas(ctx)
	} else {
		c.all(ctx)
	}
	if ctx.Err() != nil {
		return errInterrupted
	}
	place := func(f finding) int { return slices.Index(checkNames, f.Check) }
	sort.SliceStable(c.findings, func(i, j int) bool { return place(c.findings[i]) < place(c.findings[j]) })
	if a.json {
		err = a.printJSON(map[string]any{"region": d.account.Region(), "findings": c.findings})
	} else {
		err = a.printFindings(c.findings)
	}
	code := report.ExitDone
	if slices.ContainsFunc(c.findings, func(f finding) bool { return f.Health == broken }) {
		code = report.ExitError
	}
	return newOutcome(err, code)
}

func (c *checkup) accountQuotas(ctx context.Context) {
	var group sync.WaitGroup
	for _, capacity := range []string{onDemand, spot} {
		group.Go(func() { c.vCPUs(ctx, capacity, awsrun.Size{}) })
	}
	group.Go(func() { c.accountConcurrency(ctx) })
	group.Wait()
}

// smallConcurrency is what new accounts may have, far below the default of 1,000.
const smallConcurrency = 100

func (c *checkup) accountConcurrency(ctx context.Context) {
	limit, err := awsrun.DescribeAccountConcurrency(ctx, c.account.Config)
	switch {
	case err != nil:
		c.found("concurrency", unknown, "", "functions at once: %v", awsError(err, c.account.Profile))
	case limit.Unreserved < smallConcurrency:
		c.found("concurrency", doubt, "ask for more under Service Quotas, AWS Lambda, or deploy with few --max-workers", "%d functions at once (account %d)", limit.Unreserved, limit.Account)
	default:
		c.found("concurrency", healthy, "", "%d functions at once (account %d)", limit.Unreserved, limit.Account)
	}
}

// all makes the checks of a load stack, side by side.
func (c *checkup) all(ctx context.Context) {
	var group sync.WaitGroup
	group.Go(func() { c.table(ctx) })
	group.Go(func() { c.stackParts(ctx) })
	group.Go(func() { c.tasksAndSessions(ctx) })
	group.Go(func() { c.data(ctx) })
	group.Wait()
}

func (c *checkup) vCPUs(ctx context.Context, capacity string, size awsrun.Size) {
	quota, err := awsrun.FargateVCPUs(ctx, c.account.Config, capacity)
	switch {
	case err != nil:
		c.found("fargate", unknown, "", "vCPUs of %s: %v", capacity, awsError(err, c.account.Profile))
	case quota < max(size.VCPU(), 0.25):
		c.found("fargate", broken, "ask for more under Service Quotas, AWS Fargate", "%v vCPUs of %s, the task needs %v", quota, capacity, size.VCPU())
	default:
		c.found("fargate", healthy, "", "%v vCPUs of %s", quota, capacity)
	}
}

func (c *checkup) table(ctx context.Context) {
	t, err := awsrun.DescribeTable(ctx, c.account.Config, c.stack)
	if errors.Is(err, awsrun.ErrNotDeployed) {
		c.found("table", broken, fmt.Sprintf("deploy the limiter first: zae-limiter deploy --name %s --region %s", c.stack, c.account.Region()), "there is no table %s", c.stack)
		return
	}
	if err != nil {
		c.failed(ctx, "table", err)
		return
	}
	how := "provisioned for"
	if t.OnDemand {
		how = "on demand, warm for"
	}
	throughput := fmt.Sprintf("%s is %s, %s %d reads and %d writes a second", t.Name, strings.ToLower(t.Status), how, t.ReadUnits, t.WriteUnits)
	switch {
	case t.Status != "ACTIVE" && t.Status != "UPDATING":
		c.found("table", broken, "wait until the table is active", "%s", throughput)
	case t.ReadUnits == 0 && t.WriteUnits == 0:
		c.found("table", healthy, "", "%s is %s, %s", t.Name, strings.ToLower(t.Status), strings.TrimSuffix(how, ", warm for"))
	case t.WriteUnits < writesWanted:
		c.found("table", doubt, "an acquire writes 2 units: raise the table's capacity or its warm throughput before a bigger test", "%s", throughput)
	default:
		c.found("table", healthy, "", "%s", throughput)
	}
	if len(t.Protected) > 0 {
		c.found("table", doubt, "runs need --confirm-target "+t.Name, "it looks like production: %s", strings.Join(t.Protected, ", "))
	}
}

// stackParts checks what was deployed, and what depends on it: builds, quotas, network.
func (c *checkup) stackParts(ctx context.Context) {
	t, err := c.prepare(ctx, &deployedFlags{})
	if err != nil {
		c.failed(ctx, "stack", err)
		c.accountQuotas(ctx)
		return
	}
	config, err := c.functions.Configuration(ctx, c.stack.Worker())
	if err != nil {
		c.failed(ctx, "stack", err)
		return
	}
	c.found("stack", healthy, "", "task of %d CPU units and %d MB on %s, function of %d MB and %s", t.size.CPU, t.size.Memory, t.capacity, config.MemoryMB, config.Timeout)
	running, _ := c.tasks.Find(ctx) // the check of the tasks tells the error
	c.builds(t.definition, config, running)
	var group sync.WaitGroup
	group.Go(func() { c.vCPUs(ctx, t.capacity, t.size) })
	group.Go(func() { c.concurrency(ctx, t.definition) })
	group.Go(func() { c.network(ctx, t.network.Subnets()) })
	group.Wait()
}

// builds compares what image, function and running tasks were made of.
func (c *checkup) builds(definition *awsrun.Definition, config functions.Configuration, running []awsrun.Task) {
	push := "push both again: " + c.command("push")
	old := slices.IndexFunc(running, func(t awsrun.Task) bool { return otherBuild(&t, config.BuildID) })
	switch {
	case definition.BuildID == "" || config.BuildID == "":
		c.found("builds", doubt, push, "image and function do not both tell their build: image %s, function %s", orNone(definition.BuildID), orNone(config.BuildID))
	case definition.BuildID != config.BuildID:
		c.found("builds", broken, push, "the image is build %s, the function %s: their workers refuse each other", definition.BuildID, config.BuildID)
	case old >= 0:
		t := &running[old]
		c.found("builds", broken, "start it again: "+c.command("connect")+" --force", "task %s runs build %s, the function is %s: it refuses to work for the task", t.ID, t.Tags[awsrun.TagBuild], config.BuildID)
	default:
		c.found("builds", healthy, "", "image and function are build %s; this program is %s", config.BuildID, readBuild().Version)
	}
}

// otherBuild reports whether a task was started from another build than the function's; false when one of
// them is not known.
func otherBuild(t *awsrun.Task, function string) bool {
	build := t.Tags[awsrun.TagBuild]
	return build != "" && function != "" && build != function
}

func orNone(text string) string {
	if text == "" {
		return "none"
	}
	return text
}

func (c *checkup) concurrency(ctx context.Context, definition *awsrun.Definition) {
	limit, err := awsrun.DescribeConcurrency(ctx, c.account.Config, c.stack)
	if err != nil {
		c.failed(ctx, "concurrency", err)
		return
	}
	text := fmt.Sprintf("%d functions at once (account %d, unreserved %d), at most %d workers", limit.Most(), limit.Account, limit.Unreserved, definition.MaxWorkers)
	more := "ask for more under Service Quotas, AWS Lambda, or deploy with fewer --max-workers"
	if limit.Reserved >= 0 {
		more = "reserve more, or nothing, with load deploy"
	}
	switch {
	case limit.Most() < definition.MaxWorkers:
		c.found("concurrency", broken, more, "%s: not all of them can run", text)
	case limit.Most() < 2*definition.MaxWorkers:
		c.found("concurrency", doubt, more, "%s: while workers are replaced twice as many run", text)
	default:
		c.found("concurrency", healthy, "", "%s", text)
	}
}

func (c *checkup) network(ctx context.Context, subnets []string) {
	endpoints, err := awsrun.DescribeEndpoints(ctx, c.account.Config, subnets)
	if err != nil {
		c.failed(ctx, "network", err)
		return
	}
	routes, err := awsdeploy.FindRoutes(ctx, ec2.NewFromConfig(c.account.Config), endpoints.VPC, subnets)
	if err != nil {
		c.failed(ctx, "network", err)
		return
	}
	missing := endpoints.Missing()
	if len(routes.WithoutWayOut) > 0 && len(missing) > 0 {
		c.found("network", broken, "use subnets with NAT (tasks have no public address), or deploy with --vpc-endpoints all",
			"%s have neither NAT nor the endpoints %s", strings.Join(routes.WithoutWayOut, ", "), strings.Join(missing, ", "))
	} else {
		c.found("network", healthy, "", "%s reach what they need; endpoints: %s", strings.Join(subnets, ", "), orNone(strings.Join(endpoints.Services, ", ")))
	}
	if !endpoints.Has("dynamodb") {
		c.found("network", doubt, "load deploy makes one (--dynamodb-endpoint)", "no gateway endpoint of DynamoDB: requests to the table go through NAT, which costs and is slower")
	}
}

// tasksAndSessions finds tasks that are older than their run, and sessions that were left open.
func (c *checkup) tasksAndSessions(ctx context.Context) {
	tasks, err := c.tasks.Find(ctx)
	if err != nil {
		if !errors.Is(err, awsrun.ErrNotDeployed) { // that is said once
			c.failed(ctx, "tasks", err)
		}
		return
	}
	c.leftoverTasks(ctx, tasks)
	sessions, err := awsrun.Sessions(ctx, c.account.Config, c.stack)
	if err != nil {
		c.failed(ctx, "sessions", err)
		return
	}
	mine := slices.DeleteFunc(sessions, func(s awsrun.Session) bool { return s.Owner != c.account.Caller })
	if len(mine) == 0 {
		c.found("sessions", healthy, "", "no open session of yours")
		return
	}
	c.leftovers(ctx, "sessions", fmt.Sprintf("%d open sessions of yours, tunnels in use included; a container has at most two", len(mine)), doubt, func(ctx context.Context) error {
		var errs []error
		for _, s := range mine {
			errs = append(errs, awsrun.EndSession(ctx, c.account.Config, s.ID))
		}
		return errors.Join(errs...)
	})
}

func (c *checkup) leftoverTasks(ctx context.Context, tasks []awsrun.Task) {
	now := c.clock.Now()
	for i := range tasks {
		t := &tasks[i]
		until, bounded := t.Until()
		if !bounded || !t.Ours() || now.Before(until) {
			row := listedStack{Task: taskRow(t, 0, now)}
			c.found("tasks", healthy, "", "%s, started by %s", row.running(), orNone(t.StartedBy))
			continue
		}
		text := fmt.Sprintf("task %s is left over: its run %s was to be over at %s", t.ID, t.Tags[awsrun.TagRun], until.Local().Format(time.DateTime))
		c.leftovers(ctx, "tasks", text, broken, func(ctx context.Context) error {
			return c.endTask(ctx, t.ARN, "left over from a run")
		})
	}
	if len(tasks) == 0 {
		c.found("tasks", healthy, "", "none runs")
	}
}

// data finds what old runs left on the table.
func (c *checkup) data(ctx context.Context) {
	at := target.Config{
		AWS: true, Endpoint: c.account.EndpointURL, Region: c.account.Region(), Profile: c.account.Profile, Table: string(c.stack), PoolConnections: 4,
	}
	ids, err := target.Leftover(ctx, at, c.clock.Now().Add(-leftoverAfter))
	switch {
	case err != nil:
		c.found("data", unknown, "", "what old runs left on the table is not known: %v", awsError(err, c.account.Profile))
	case len(ids) == 0:
		c.found("data", healthy, "", "nothing of old runs is on the table")
	default:
		text := fmt.Sprintf("data of %d old runs is on the table: %s", len(ids), strings.Join(ids, ", "))
		c.leftovers(ctx, "data", text, doubt, func(ctx context.Context) error {
			var errs []error
			for _, id := range ids {
				errs = append(errs, target.Purge(ctx, at, id))
			}
			return errors.Join(errs...)
		})
	}
}

// leftovers reports something that was left, or removes it with --fix.
func (c *checkup) leftovers(ctx context.Context, check, text string, h health, remove func(context.Context) error) {
	if !c.fix {
		c.found(check, h, "remove it: "+c.command("doctor")+" --fix", "%s", text)
		return
	}
	if err := remove(ctx); err != nil {
		c.found(check, broken, "", "%s; removing it: %v", text, awsError(err, c.account.Profile))
		return
	}
	c.found(check, healthy, "", "%s; removed", text)
}

func (a *app) printFindings(findings []finding) error {
	colours := map[health]term.Style{healthy: term.Green, doubt: term.Yellow, unknown: term.Dim, broken: term.Red}
	var b strings.Builder
	for i := range findings {
		f := &findings[i]
		// Findings go to stdout, which is not coloured when it is no terminal.
		fmt.Fprintf(&b, "%s %-12s %s\n", a.paint(colours[f.Health], fmt.Sprintf("%-8s", f.Health)), f.Check, f.Text)
		if f.Advice != nil {
			fmt.Fprintf(&b, "%21s → %s\n", "", strings.ReplaceAll(*f.Advice, "\n", "\n"+strings.Repeat(" ", 24)))
		}
	}
	_, err := a.stdout.Write([]byte(b.String()))
	return err
}

// paint colours text for stdout.
func (a *app) paint(style term.Style, text string) string {
	return term.NewStream(a.stdout.w, a.getenv).Paint(style, text)
}
