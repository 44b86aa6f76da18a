package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// stackVariable names the limiter when --name does not.
const stackVariable = "ZAEL_STACK"

// defaultLimiter is the limiter's name when nothing names one.
const defaultLimiter = "zae-limiter"

// limiterName registers --name with the default of the environment.
func (a *app) limiterNameFlag(flags *pflag.FlagSet, name *string) {
	standard := a.getenv(stackVariable)
	if standard == "" {
		standard = defaultLimiter
	}
	flags.StringVarP(name, "name", "n", standard, "`name` of the limiter, its stack and its table ["+stackVariable+"]")
}

// limiterDeployFlags are the options of deploy as given.
type limiterDeployFlags struct {
	account accountFlags
	options awsdeploy.LimiterOptions
	tags    []string
	role    string
	dryRun  bool
	noWait  bool
}

// Switches of deploy that say yes or no, and what of the Python tool this version does not have: the
// functions and their options.
var (
	functionSwitches = []string{"enable-aggregator", "enable-provisioner", "enable-audit-archival", "enable-tracing"}
	functionOptions  = []string{
		"snapshot-windows", "usage-retention-days", "audit-retention-days", "log-retention-days", "lambda-timeout", "lambda-memory",
		"lambda-duration-threshold-pct", "audit-archive-glacier-days", "aggregator-role-arn",
	}
	withoutFunctions = []string{"no-aggregator", "no-provisioner", "no-audit-archival", "no-tracing"}
)

// limiterDeployCommand is `deploy`.
func (a *app) limiterDeployCommand() *cobra.Command {
	f := &limiterDeployFlags{}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy a limiter on AWS: its table, policies and alarms",
		Long: `Make or update the stack of a limiter on AWS. Options that are not given leave an existing stack as it
is. No change is made that would replace or remove a resource. The table works for clients in Go and
in Python; aggregator and provisioner, which are functions of the Python tool, are not in this version.`,
		Example: `  zae-limiter deploy --name my-limiter --region us-east-1
  zae-limiter deploy --name my-limiter --create-iam-roles --role-name-format 'PowerUserPB-{}' --dry-run`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(cmd.Flags()); err != nil {
				return usage(err)
			}
			s, err := a.openStacks(cmd.Context(), f.account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.deployLimiter(cmd.Context(), f))
		},
	}
	f.register(a, cmd.Flags())
	return cmd
}

func (f *limiterDeployFlags) register(a *app, flags *pflag.FlagSet) {
	o := &f.options
	a.limiterNameFlag(flags, &o.Name)
	for _, s := range f.switches() {
		flags.Bool(s.on, s.standard, s.text)
		flags.Bool(s.off, false, "the opposite")
	}
	flags.StringVar(&o.AlarmTopic, "alarm-sns-topic", "", "`ARN` of the topic that alarms are sent to")
	flags.IntVar(&o.PITRDays, "pitr-recovery-days", 0, "`days` that the table can be restored to, 1 to 35 (default: 35)")
	flags.StringVar(&o.PermissionBoundary, "permission-boundary", "", "permission boundary of the roles: a policy's `name` or ARN")
	flags.StringVar(&o.RoleFormat, "role-name-format", "", "`format` of the roles' names, with one {}")
	flags.StringVar(&o.PolicyFormat, "policy-name-format", "", "`format` of the policies' names, with one {}")
	flags.StringArrayVarP(&f.tags, "tag", "t", nil, "tag `KEY=VALUE` of the stack and all that is in it; repeatable")
	flags.StringVar(&f.role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the changes and make none")
	flags.Bool("wait", true, "register the namespace default when the stack is ready")
	flags.BoolVar(&f.noWait, "no-wait", false, "leave the table empty; whoever opens it first registers what it needs")
	f.account.register(flags)
	for _, name := range functionSwitches {
		flags.Bool(name, false, "not in this version")
		_ = flags.MarkHidden(name)
	}
	for _, name := range functionOptions {
		flags.String(name, "", "not in this version")
		_ = flags.MarkHidden(name)
	}
	for _, name := range withoutFunctions {
		flags.Bool(name, false, "no effect: this version deploys no functions")
		_ = flags.MarkHidden(name)
	}
	flags.SortFlags = false
}

// limiterSwitch is a pair of options that say yes and no.
type limiterSwitch struct {
	on, off  string
	standard bool
	text     string
	into     **bool
}

func (f *limiterDeployFlags) switches() []limiterSwitch {
	o := &f.options
	return []limiterSwitch{
		{"enable-alarms", "no-alarms", true, "alarms of throttled requests", &o.Alarms},
		{"create-iam-roles", "no-create-iam-roles", false, "roles for applications, administrators and readers", &o.Roles},
		{"iam", "no-iam", true, "policies and roles", &o.IAM},
		{"enable-deletion-protection", "no-deletion-protection", false, "deletion protection of the table", &o.DeletionProtection},
	}
}

func (f *limiterDeployFlags) complete(flags *pflag.FlagSet) error {
	var errs []error
	if asked := changed(flags, slices.Concat(functionSwitches, functionOptions)); len(asked) > 0 {
		errs = append(errs, fmt.Errorf("%s: aggregator and provisioner are not there yet in this version", strings.Join(asked, ", ")))
	}
	for _, s := range f.switches() {
		on, off := flags.Changed(s.on), flags.Changed(s.off)
		if on && off {
			errs = append(errs, fmt.Errorf("--%s does not go with --%s", s.on, s.off))
		}
		if !on && !off {
			continue
		}
		value, _ := flags.GetBool(s.on)
		if off {
			no, _ := flags.GetBool(s.off)
			value = !no
		}
		*s.into = &value
	}
	if wait, err := flags.GetBool("wait"); err == nil && !wait {
		f.noWait = true
	}
	f.options.UserTags = map[string]string{}
	for _, pair := range f.tags {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			errs = append(errs, fmt.Errorf("--tag %q: want KEY=VALUE", pair))
			continue
		}
		f.options.UserTags[key] = value
	}
	return errors.Join(append(errs, f.options.Validate())...)
}

// changed are the options of a list that were set.
func changed(flags *pflag.FlagSet, names []string) []string {
	var found []string
	for _, name := range names {
		if flags.Changed(name) {
			found = append(found, "--"+name)
		}
	}
	return found
}

// limiterDocument is the output of deploy and upgrade.
type limiterDocument struct {
	Stack         string         `json:"stack"`
	Action        string         `json:"action"` // created, updated, unchanged, planned
	Changes       []stack.Change `json:"changes"`
	LocalIndexes  bool           `json:"local_indexes"`
	SchemaVersion *string        `json:"schema_version"` // null when it was not read
	Namespace     *string        `json:"namespace_id"`   // of the namespace default; null when it was not registered
	Warnings      []string       `json:"warnings"`
}

func (s *stacker) deployLimiter(ctx context.Context, f *limiterDeployFlags) error {
	o := &f.options
	before, err := s.existing(ctx, o.Name)
	if err != nil {
		return err
	}
	document := &limiterDocument{Stack: o.Name, LocalIndexes: true}
	if before != nil {
		if awsdeploy.HasFunctions(before) {
			return withHint(fmt.Errorf("stack %s has an aggregator or a provisioner of the Python tool, which this version would remove", o.Name),
				"its policies are brought up to date by `zae-limiter upgrade --name "+o.Name+"`; change the rest with the Python tool")
		}
		facts, err := awsdeploy.DescribeTable(ctx, s.tables(), o.Name)
		if err != nil {
			return err
		}
		document.LocalIndexes = facts.LocalIndexes
	}
	template, err := awsdeploy.LimiterTemplate(document.LocalIndexes)
	if err != nil {
		return err
	}
	if before != nil && !document.LocalIndexes {
		s.tell("table %s has no local indexes: the template without them is applied", o.Name)
	}
	set, keep := o.Parameters(before)
	result, err := s.apply(ctx, &stack.Request{
		Name: o.Name, Template: template, Parameters: set, Keep: keep, Role: f.role, DryRun: f.dryRun, Guard: awsdeploy.GuardLimiter,
		Tags: o.Tags(before, readBuild().Version, dynamostore.SchemaVersion),
	})
	if err != nil {
		return s.stackFailure(err, o.Name)
	}
	document.Action, document.Changes = result.Action, result.Changes
	if !f.dryRun && !f.noWait {
		if err := s.registerDefault(ctx, o.Name, document); err != nil {
			return err
		}
	}
	return s.printLimiter(document, "next: zae-limiter load deploy --name "+o.Name+" --region "+s.account.Region())
}

// existing describes a stack that can be updated, once nothing is under way there any more; nil when there
// is none or only remains of one.
func (s *stacker) existing(ctx context.Context, name string) (*stack.Stack, error) {
	before, err := s.stacks.Settled(ctx, name, s.event)
	if errors.Is(err, stack.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if !before.Usable() {
		return nil, nil // Apply says what is to be done about it
	}
	return before, nil
}

// defaultNamespace is the namespace of clients that name none.
const defaultNamespace = "default"

// registerDefault writes what a client expects of a new table: the version record and the namespace
// default.
func (s *stacker) registerDefault(ctx context.Context, name string, document *limiterDocument) error {
	table := dynamostore.OpenTable(s.tables(), name, dynamostore.TableOptions{})
	if err := table.EnsureVersion(ctx); err != nil {
		return err
	}
	id, err := table.RegisterNamespace(ctx, defaultNamespace)
	if err != nil {
		return fmt.Errorf("register namespace %s: %w", defaultNamespace, err)
	}
	record, err := table.Version(ctx)
	if err != nil {
		return err
	}
	document.Namespace = &id
	if record != nil {
		document.SchemaVersion = &record.SchemaVersion
	}
	return nil
}

func (s *stacker) printLimiter(d *limiterDocument, next string) error {
	d.Warnings, d.Changes = listOf(s.warnings), listOf(d.Changes)
	if s.app.json {
		return s.app.printJSON(d)
	}
	if d.Action == stack.Planned {
		_, err := fmt.Fprintf(s.app.stdout, "%s: %d resources would change\n", d.Stack, len(d.Changes))
		return err
	}
	_, err := fmt.Fprintf(s.app.stdout, "%s is ready (%s)\n%s\n", d.Stack, d.Action, next)
	return err
}

// limiterUpgradeCommand is `upgrade`.
func (a *app) limiterUpgradeCommand() *cobra.Command {
	var (
		account    accountFlags
		name, role string
		dryRun     bool
	)
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the stack of a limiter, of any release, up to date in place",
		Long: `Apply the present template to the stack of a limiter, with the values that it has. Of a stack with
functions of the Python tool only the policies change: table and functions stay, and the functions'
code is for the Python tool to update. A table without local indexes, as release 0.10 made it, keeps
being one. No change is made that would replace or remove a resource.`,
		Example: "  zae-limiter upgrade --name my-limiter --region us-east-1 --dry-run",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := awsdeploy.CheckName(name); err != nil {
				return usage(err)
			}
			if cmd.Flags().Changed("lambda-only") {
				return usagef("--lambda-only: this version has no functions, so there would be nothing to do")
			}
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.upgradeLimiter(cmd.Context(), name, role, dryRun))
		},
	}
	flags := cmd.Flags()
	a.limiterNameFlag(flags, &name)
	flags.BoolVar(&dryRun, "dry-run", false, "show the changes and make none")
	flags.Bool("force", false, "no effect: the template is applied in any case")
	flags.Bool("lambda-only", false, "not in this version")
	_ = flags.MarkHidden("lambda-only")
	flags.StringVar(&role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as")
	account.register(flags)
	flags.SortFlags = false
	return cmd
}

func (s *stacker) upgradeLimiter(ctx context.Context, name, role string, dryRun bool) error {
	before, err := s.stacks.Settled(ctx, name, s.event)
	if errors.Is(err, stack.ErrNotFound) {
		return &awsdeploy.NoTargetError{Name: name}
	}
	if err != nil {
		return err
	}
	record, err := dynamostore.OpenTable(s.tables(), name, dynamostore.TableOptions{}).Version(ctx)
	if err != nil {
		return err
	}
	if record == nil {
		return withHint(fmt.Errorf("table %s has no version record, so it is not known what it was made for", name), "write one: zae-limiter deploy --name "+name)
	}
	if err := record.Admits(); err != nil {
		return err
	}
	facts, err := awsdeploy.DescribeTable(ctx, s.tables(), name)
	if err != nil {
		return err
	}
	request := &stack.Request{Name: name, Role: role, DryRun: dryRun, Guard: awsdeploy.GuardLimiter}
	options := awsdeploy.LimiterOptions{Name: name}
	if awsdeploy.HasFunctions(before) {
		deployed, err := s.stacks.Template(ctx, name)
		if err != nil {
			return err
		}
		if request.Template, err = awsdeploy.WithCurrentPolicies(deployed); err != nil {
			return err
		}
		request.Keep = awsdeploy.KeptParameters(before, request.Template)
		s.tell("stack %s has functions of the Python tool: its policies are brought up to date, the rest stays", name)
	} else {
		if request.Template, err = awsdeploy.LimiterTemplate(facts.LocalIndexes); err != nil {
			return err
		}
		request.Parameters, request.Keep = options.Parameters(before)
		request.Tags = options.Tags(before, readBuild().Version, dynamostore.SchemaVersion)
	}
	if facts.LocalIndexes {
		s.tell("table %s has local indexes, which stay", name)
	} else {
		s.tell("table %s has no local indexes, as release 0.10 made it: it stays so, they cannot be added", name)
	}
	result, err := s.apply(ctx, request)
	if err != nil {
		return s.stackFailure(err, name)
	}
	return s.printLimiter(&limiterDocument{
		Stack: name, Action: result.Action, Changes: result.Changes, LocalIndexes: facts.LocalIndexes, SchemaVersion: &record.SchemaVersion,
	}, "policies and template are current")
}

// limiterDeleteCommand is `delete`.
func (a *app) limiterDeleteCommand() *cobra.Command {
	var (
		account     accountFlags
		name, role  string
		yes, noWait bool
	)
	cmd := &cobra.Command{
		Use:   "delete",
		Short: "Delete the stack of a limiter, with its table and all data",
		Long: `Delete the stack of a limiter: table, data, policies. A stack that others import from, such as a load
test, is refused by name, and so are a table with deletion protection and an audit archive that is not
empty. A stack that does not exist is
no error.`,
		Example: "  zae-limiter delete --name my-limiter --region us-east-1",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name == "" {
				return usagef("which limiter? give --name NAME")
			}
			if err := awsdeploy.CheckName(name); err != nil {
				return usage(err)
			}
			if wait, err := cmd.Flags().GetBool("wait"); err == nil && !wait {
				noWait = true
			}
			if !yes {
				if err := a.needTerminal("--yes"); err != nil {
					return err
				}
			}
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.deleteLimiter(cmd.Context(), name, role, yes, noWait))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&name, "name", "n", "", "`name` of the limiter")
	flags.BoolVarP(&yes, "yes", "y", false, "do not ask")
	flags.Bool("wait", true, "wait until the stack is gone")
	flags.BoolVar(&noWait, "no-wait", false, "the opposite")
	flags.StringVar(&role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as")
	account.register(flags)
	flags.SortFlags = false
	return cmd
}

// archiveEmpty refuses to delete a stack whose audit archive holds anything: CloudFormation would delete
// the table and fail at the bucket.
func (s *stacker) archiveEmpty(ctx context.Context, before *stack.Stack) error {
	bucket := before.Outputs[awsdeploy.ArchiveOutput]
	if bucket == "" {
		return nil
	}
	full, err := awsdeploy.BucketHasObjects(ctx, s.account.Config, bucket)
	if err != nil {
		s.warn(fmt.Sprintf("whether the audit archive is empty, without which the stack cannot be deleted, is not known: %v", err))
		return nil
	}
	if full {
		return withHint(fmt.Errorf("stack %s cannot be deleted: its audit archive, bucket %s, is not empty", before.Name, bucket),
			fmt.Sprintf("keep what you need of it, then empty it: aws s3 rm s3://%s --recursive --region %s", bucket, s.account.Region()))
	}
	return nil
}

func (s *stacker) deleteLimiter(ctx context.Context, name, role string, yes, noWait bool) error {
	document := &deletedDocument{Stack: name, Action: "absent"}
	before, err := s.stacks.Describe(ctx, name)
	if errors.Is(err, stack.ErrNotFound) {
		return s.printDeleted(document)
	}
	if err != nil {
		return err
	}
	importers, err := s.stacks.Importers(ctx, name+"-TableArn", name+"-FullAccessPolicyArn")
	if err != nil {
		return err
	}
	if len(importers) > 0 {
		advice := "delete it first"
		if slices.Contains(importers, awsdeploy.LoadStack(name)) {
			advice = "delete the load test first: " + s.loadCommand("delete", name)
		}
		return withHint(fmt.Errorf("stack %s cannot be deleted: %s imports from it", name, strings.Join(importers, ", ")), advice)
	}
	if before.Outputs["TableName"] != "" {
		facts, err := awsdeploy.DescribeTable(ctx, s.tables(), name)
		if err == nil && facts.DeletionProtection {
			return withHint(fmt.Errorf("table %s has deletion protection", name), "switch it off if it is meant: zae-limiter deploy --name "+name+" --no-deletion-protection")
		}
	}
	if err := s.archiveEmpty(ctx, before); err != nil {
		return err
	}
	s.tell("%s in %s: the table with all its data, policies, roles and alarms", name, s.account.Region())
	if !yes {
		agreed, err := s.app.confirm(ctx, "Delete all of it?")
		if err != nil {
			return err
		}
		if !agreed {
			return errors.New("nothing was deleted")
		}
	}
	if err := s.stacks.Delete(ctx, &stack.Deletion{Name: before.ID, Role: role, NoWait: noWait, Event: s.event}); err != nil {
		return err
	}
	document.Action = "deleted"
	if noWait {
		document.Action = "deleting"
	}
	return s.printDeleted(document)
}
