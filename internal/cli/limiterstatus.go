package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb"
	"github.com/aws/aws-sdk-go-v2/service/dynamodb/types"
	"github.com/aws/aws-sdk-go-v2/service/resourcegroupstaggingapi"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// limiterStatusCommand is `status`.
func (a *app) limiterStatusCommand() *cobra.Command {
	var account accountFlags
	var name string
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show the state of a limiter on AWS: stack, table, versions, policies",
		Example: "  zae-limiter status --name my-limiter --region us-east-1",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usagef("which limiter? give --name NAME")
			}
			if err := awsdeploy.CheckName(name); err != nil {
				return usage(err)
			}
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.limiterStatus(cmd.Context(), name))
		},
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "`name` of the limiter")
	account.register(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

// limiterStatusDocument is the output of status. What is not known is null.
type limiterStatusDocument struct {
	Name         string   `json:"name"`
	Region       string   `json:"region"`
	LatencyMS    float64  `json:"latency_ms"` // of one DescribeTable
	StackStatus  *string  `json:"stack_status"`
	TableStatus  string   `json:"table_status"`
	Aggregator   *bool    `json:"aggregator"`
	AggregatorOf *string  `json:"aggregator_of"` // go or python, which tool's; null without one
	Provisioner  *bool    `json:"provisioner"`
	LocalIndexes bool     `json:"local_indexes"`
	Policies     string   `json:"policies"` // current, before 0.17, none, unknown
	Client       string   `json:"client_version"`
	Schema       *string  `json:"schema_version"`
	Lambda       *string  `json:"lambda_version"`
	Items        int64    `json:"items"`
	SizeBytes    int64    `json:"size_bytes"`
	Roles        []string `json:"roles"`
	Usable       bool     `json:"usable"`
}

// What status says about the policies of a stack.
const (
	policiesCurrent = "current"
	policiesOld     = "before 0.17"
	policiesNone    = "none"
	policiesUnknown = "unknown"
)

func (s *stacker) limiterStatus(ctx context.Context, name string) error {
	d := &limiterStatusDocument{Name: name, Region: s.account.Region(), Client: dynamostore.WireVersion, Policies: policiesUnknown, Roles: []string{}, Usable: true}
	start := time.Now()
	out, err := s.tables().DescribeTable(ctx, &dynamodb.DescribeTableInput{TableName: aws.String(name)})
	if _, missing := errors.AsType[*types.ResourceNotFoundException](err); missing {
		return &awsdeploy.NoTargetError{Name: name}
	}
	if err != nil {
		return fmt.Errorf("describe table %s: %w", name, err)
	}
	d.LatencyMS = float64(time.Since(start).Microseconds()) / 1000
	d.TableStatus, d.Items, d.SizeBytes = string(out.Table.TableStatus), aws.ToInt64(out.Table.ItemCount), aws.ToInt64(out.Table.TableSizeBytes)
	d.LocalIndexes = len(out.Table.LocalSecondaryIndexes) > 0
	record, err := dynamostore.OpenTable(s.tables(), name, dynamostore.TableOptions{}).Version(ctx)
	if err != nil {
		return err
	}
	if record != nil {
		d.Schema, d.Lambda = optional(record.SchemaVersion), optional(record.LambdaVersion)
	}
	one, err := s.stacks.Describe(ctx, name)
	switch {
	case err != nil:
		s.warn(fmt.Sprintf("the stack cannot be read: %v", err))
	default:
		d.StackStatus = &one.Status
		d.Usable = one.Usable() || one.Busy()
		s.statusOfStack(ctx, one, d)
	}
	return s.printLimiterStatus(d)
}

func (s *stacker) statusOfStack(ctx context.Context, one *stack.Stack, d *limiterStatusDocument) {
	if strings.Contains(one.Status, "COMPLETE") {
		d.Aggregator = new(awsdeploy.HasAggregator(one))
		switch {
		case !*d.Aggregator:
		case awsdeploy.HasPythonFunctions(one):
			d.AggregatorOf = new("python")
		default:
			d.AggregatorOf = new("go")
		}
		d.Provisioner = new(one.Outputs["ProvisionerFunctionName"] != "")
	}
	for _, output := range []string{"AppRoleArn", "AdminRoleArn", "ReadOnlyRoleArn"} {
		if arn := one.Outputs[output]; arn != "" {
			d.Roles = append(d.Roles, arn)
		}
	}
	arn := one.Outputs["FullAccessPolicyArn"]
	if arn == "" {
		d.Policies = policiesNone
		return
	}
	current, err := awsdeploy.PoliciesCurrent(ctx, s.policies(), arn)
	switch {
	case err != nil:
		s.warn(fmt.Sprintf("the policies cannot be read: %v", err))
	case current:
		d.Policies = policiesCurrent
	default:
		d.Policies = policiesOld
		s.warn(awsdeploy.PoliciesBeforeCheck(one.Name, d.LocalIndexes))
	}
}

func (s *stacker) printLimiterStatus(d *limiterStatusDocument) error {
	code := report.ExitDone
	if !d.Usable {
		code = report.ExitError
	}
	if s.app.json {
		return newOutcome(s.app.printJSON(d), code)
	}
	yesNo := func(b *bool) string {
		switch {
		case b == nil:
			return "unknown"
		case *b:
			return "enabled"
		}
		return "disabled"
	}
	text := func(p *string, otherwise string) string {
		if p == nil {
			return otherwise
		}
		return *p
	}
	indexes := "local indexes: yes"
	if !d.LocalIndexes {
		indexes = "local indexes: no (made by 0.10)"
	}
	lines := []string{
		fmt.Sprintf("%s in %s, answers in %.0f ms", d.Name, d.Region, d.LatencyMS),
		fmt.Sprintf("  stack        %s", text(d.StackStatus, "unknown")),
		fmt.Sprintf("  table        %s, %s", d.TableStatus, indexes),
		"  aggregator   " + yesNo(d.Aggregator) + map[string]string{"python": ", of the Python tool"}[text(d.AggregatorOf, "")],
		fmt.Sprintf("  provisioner  %s", yesNo(d.Provisioner)),
		fmt.Sprintf("  policies     %s", d.Policies),
		fmt.Sprintf("  versions     client %s, schema %s, Lambda %s", d.Client, text(d.Schema, "none"), text(d.Lambda, "none")),
		fmt.Sprintf("  content      %d items, %d bytes (refreshed about every 6 hours)", d.Items, d.SizeBytes),
	}
	for _, role := range d.Roles {
		lines = append(lines, "  role         "+role)
	}
	_, err := fmt.Fprintln(s.app.stdout, strings.Join(lines, "\n"))
	return newOutcome(err, code)
}

// limiterCheckCommand is `check`.
func (a *app) limiterCheckCommand() *cobra.Command {
	var account accountFlags
	var name string
	cmd := &cobra.Command{
		Use:     "check",
		Short:   "Say whether this program may use a limiter on AWS",
		Example: "  zae-limiter check --name my-limiter --region us-east-1",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.limiterVersion(cmd.Context(), account, name, true)
		},
	}
	a.limiterNameFlag(cmd.Flags(), &name)
	account.register(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

// limiterVersionDocument is the output of check, and of version for a limiter.
type limiterVersionDocument struct {
	Name        string  `json:"name"`
	Client      string  `json:"client_version"`
	Schema      *string `json:"schema_version"`
	ClientMin   *string `json:"client_min_version"`
	Lambda      *string `json:"lambda_version"`
	Initialized bool    `json:"initialized"`
	Compatible  bool    `json:"compatible"`
	Reason      *string `json:"reason"`
}

// limiterVersion prints the version record of a limiter and what it means. Only strictly is a limiter
// that is not there an error.
func (a *app) limiterVersion(ctx context.Context, account accountFlags, name string, strict bool) error {
	if err := awsdeploy.CheckName(name); err != nil {
		return usage(err)
	}
	s, err := a.openStacks(ctx, account)
	if err != nil {
		return err
	}
	d := &limiterVersionDocument{Name: name, Client: dynamostore.WireVersion}
	table := dynamostore.OpenTable(s.tables(), name, dynamostore.TableOptions{})
	err = table.Check(ctx)
	var record *dynamostore.VersionRecord
	if err == nil {
		record, err = table.Version(ctx)
	}
	refused, incompatible := errors.AsType[*dynamostore.VersionError](err)
	code := report.ExitDone
	switch {
	case incompatible:
		d.Initialized, d.Schema, d.ClientMin, d.Reason = true, optional(refused.SchemaVersion), optional(refused.ClientMinVersion), &refused.Reason
		code = report.ExitError
	case errors.Is(err, dynamostore.ErrTableNotFound):
		d.Reason = new("there is no such table")
	case err != nil:
		return s.explain(ctx, err)
	case record == nil:
		d.Reason = new("the table has no version record")
	default:
		d.Initialized, d.Compatible = true, true
		d.Schema, d.ClientMin, d.Lambda = optional(record.SchemaVersion), optional(record.ClientMinVersion), optional(record.LambdaVersion)
	}
	if strict && !d.Initialized {
		code = report.ExitError
	}
	return newOutcome(a.printLimiterVersion(d), code)
}

func (a *app) printLimiterVersion(d *limiterVersionDocument) error {
	if a.json {
		return a.printJSON(d)
	}
	state := "COMPATIBLE"
	switch {
	case !d.Initialized:
		state = "NOT INITIALIZED: " + *d.Reason
	case !d.Compatible:
		state = "INCOMPATIBLE: " + *d.Reason
	}
	show := func(p *string) string {
		if p == nil {
			return "none"
		}
		return *p
	}
	_, err := fmt.Fprintf(a.stdout, "limiter %s: %s\n  client %s, schema %s, clients from %s, Lambda %s\n", d.Name, state, d.Client, show(d.Schema), show(d.ClientMin), show(d.Lambda))
	return err
}

// limiterListCommand is `list`.
func (a *app) limiterListCommand() *cobra.Command {
	var account accountFlags
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "List the limiters of an AWS region",
		Example: "  zae-limiter list --region us-east-1",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.listLimiters(cmd.Context()))
		},
	}
	account.register(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}

// listedLimiter is one stack in the output of list.
type listedLimiter struct {
	Name    string    `json:"name"`
	Stack   string    `json:"stack"`
	Type    string    `json:"type"`
	Status  string    `json:"status"`
	Version *string   `json:"version"`
	Created time.Time `json:"created_at"`
}

func (s *stacker) listLimiters(ctx context.Context) error {
	found, err := s.stacks.Discover(ctx, resourcegroupstaggingapi.NewFromConfig(s.account.Config))
	if err != nil {
		return err
	}
	if found.Incomplete != "" {
		s.warn(found.Incomplete)
	}
	list := []listedLimiter{}
	failed, busy := 0, 0
	for _, one := range found.Stacks {
		list = append(list, listedLimiter{one.UserName(), one.Name, one.Type(), one.Status, optional(one.Tags[awsdeploy.VersionTag]), one.Created})
		switch {
		case one.Busy():
			busy++
		case !one.Usable():
			failed++
		}
	}
	if s.app.json {
		return s.app.printJSON(map[string]any{"region": s.account.Region(), "stacks": list, "failed": failed, "in_progress": busy, "incomplete": optional(found.Incomplete)})
	}
	if len(list) == 0 {
		_, err := fmt.Fprintf(s.app.stdout, "there are no limiters in region %s; deploy one: zae-limiter deploy --name NAME --region %s\n", s.account.Region(), s.account.Region())
		return err
	}
	table := term.Table{Columns: []string{"Name", "Type", "Status", "Version", "Created"}, LeftColumns: 5}
	for i := range list {
		version := "-"
		if v := list[i].Version; v != nil {
			version = *v
		}
		table.Rows = append(table.Rows, []string{list[i].Name, list[i].Type, list[i].Status, version, list[i].Created.Format(time.DateOnly)})
	}
	printTable(s.app.stdout, table)
	_, err = fmt.Fprintf(s.app.stdout, "Total: %d stack(s), %d failed, %d in progress\n", len(list), failed, busy)
	return err
}
