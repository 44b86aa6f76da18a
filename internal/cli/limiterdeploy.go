package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/aggregator"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
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
	code    functionFlags
	tags    []string
	role    string
	dryRun  bool
	noWait  bool
}

// What of the Python tool this version does not have: the provisioner and the archive.
var (
	absentSwitches  = []string{"enable-provisioner", "enable-audit-archival"}
	absentOptions   = []string{"audit-retention-days", "audit-archive-glacier-days"}
	withoutSwitches = []string{"no-provisioner", "no-audit-archival"}
)

// functionFlags say which build of this program the aggregator is.
type functionFlags struct{ arch, binary string }

func (f *functionFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&f.arch, "arch", "", "amd64 or arm64, for the aggregator (default: as deployed, else that of this program)")
	flags.StringVar(&f.binary, "binary", "", "Linux build of this program to be the aggregator (default: this one, or "+artifact.ReleaseName("ARCH")+" beside it)")
}

func (f *functionFlags) validate() error {
	if f.arch != "" && !artifact.Architecture(f.arch) {
		return fmt.Errorf("--arch must be amd64 or arm64, got %q", f.arch)
	}
	return nil
}

// limiterDeployCommand is `deploy`.
func (a *app) limiterDeployCommand() *cobra.Command {
	f := &limiterDeployFlags{}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy a limiter on AWS: its table, policies and alarms",
		Long: `Make or update the stack of a limiter on AWS: its table, the aggregator that follows the table's stream,
policies and alarms. The aggregator is a function that sums up usage, refills buckets that are spent fast and
tells new shard counts; it runs this program. Options that are not given leave an existing stack as it
is. No change is made that would replace or remove a resource, but for an aggregator with --no-aggregator. The
table works for clients in Go and in Python; the provisioner and the archive of the Python tool are not in
this version.`,
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
	g := &o.Aggregator
	flags.StringVar(&g.Windows, "snapshot-windows", defaultWindows, "`windows` that the aggregator sums usage up over: hourly, daily, monthly")
	for _, n := range f.numbers() {
		flags.IntVar(n.into, n.name, n.standard, n.text)
	}
	flags.StringVar(&g.RoleARN, "aggregator-role-arn", "", "`ARN` of a role that is there already, for the aggregator; with --no-iam it has none without")
	f.code.register(flags)
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
	for _, name := range absentSwitches {
		flags.Bool(name, false, "not in this version")
		_ = flags.MarkHidden(name)
	}
	for _, name := range absentOptions {
		flags.String(name, "", "not in this version")
		_ = flags.MarkHidden(name)
	}
	for _, name := range withoutSwitches {
		flags.Bool(name, false, "no effect: this version has neither")
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
		{"enable-aggregator", "no-aggregator", true, "the function that follows the table's stream: usage, refills, shards", &o.Aggregator.Enabled},
		{"enable-tracing", "no-tracing", false, "traces of the aggregator in X-Ray", &o.Aggregator.Tracing},
		{"enable-alarms", "no-alarms", true, "alarms of throttled requests and of the aggregator", &o.Alarms},
		{"create-iam-roles", "no-create-iam-roles", false, "roles for applications, administrators and readers", &o.Roles},
		{"iam", "no-iam", true, "policies and roles", &o.IAM},
		{"enable-deletion-protection", "no-deletion-protection", false, "deletion protection of the table", &o.DeletionProtection},
	}
}

// limiterNumber is an option with a whole number.
type limiterNumber struct {
	name     string
	standard int
	text     string
	into     *int
}

func (f *limiterDeployFlags) numbers() []limiterNumber {
	g := &f.options.Aggregator
	return []limiterNumber{
		{"usage-retention-days", defaultRetentionDays, "`days` after which a usage snapshot expires, 1 to 3650", &g.RetentionDays},
		{"log-retention-days", 30, "`days` that the aggregator's logs are kept", &g.LogRetentionDays},
		{"lambda-timeout", 60, "timeout of the aggregator in `seconds`, 1 to 900", &g.TimeoutSeconds},
		{"lambda-memory", 256, "memory of the aggregator in `MB`, 128 to 3008", &g.MemoryMB},
		{"lambda-duration-threshold-pct", 80, "alarm above this `percentage` of the timeout, 1 to 100", &g.DurationPercent},
	}
}

func (f *limiterDeployFlags) complete(flags *pflag.FlagSet) error {
	var errs []error
	if asked := changed(flags, slices.Concat(absentSwitches, absentOptions)); len(asked) > 0 {
		errs = append(errs, fmt.Errorf("%s: provisioner and archive are not there yet in this version", strings.Join(asked, ", ")))
	}
	for _, n := range f.numbers() {
		switch {
		case !flags.Changed(n.name):
			*n.into = 0 // as it is, or as in the template
		case *n.into == 0:
			errs = append(errs, fmt.Errorf("--%s must be at least 1, got 0", n.name))
		}
	}
	if _, err := aggregator.ParseWindows(f.options.Aggregator.Windows); err != nil {
		errs = append(errs, fmt.Errorf("--snapshot-windows: %w", err))
	}
	if !flags.Changed("snapshot-windows") {
		f.options.Aggregator.Windows = ""
	}
	errs = append(errs, f.code.validate())
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
	Aggregator    *aggregatorEnd `json:"aggregator"`     // null where this program has put none, and after a dry run
	SchemaVersion *string        `json:"schema_version"` // null when it was not read
	LambdaVersion *string        `json:"lambda_version"` // null when it was not read, and where the record has none
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
		if awsdeploy.HasPythonFunctions(before) {
			return withHint(fmt.Errorf("stack %s has an aggregator or a provisioner of the Python tool, which this program would remove", o.Name),
				"its policies are brought up to date by `zae-limiter upgrade --name "+o.Name+"`; change the rest with the Python tool")
		}
		facts, err := awsdeploy.DescribeTable(ctx, s.tables(), o.Name)
		if err != nil {
			return err
		}
		document.LocalIndexes = facts.LocalIndexes
		if !document.LocalIndexes {
			s.tell("table %s has no local indexes: the template without them is applied", o.Name)
		}
	}
	s.withoutRole(o, before)
	request := &stack.Request{
		Name: o.Name, Role: f.role, DryRun: f.dryRun, Guard: awsdeploy.GuardLimiter, Tags: o.Tags(before, readBuild().Version, dynamostore.SchemaVersion),
	}
	if o.Aggregator.Enabled != nil && !*o.Aggregator.Enabled {
		request.Guard = awsdeploy.GuardWithoutAggregator
	}
	if request.Template, err = awsdeploy.LimiterTemplate(document.LocalIndexes); err != nil {
		return err
	}
	if err := s.applyLimiter(ctx, o, before, request, &f.code, document); err != nil {
		return err
	}
	if !f.dryRun && !f.noWait {
		if err := s.registerDefault(ctx, o.Name, document); err != nil {
			return err
		}
	}
	return s.printLimiter(document, "next: zae-limiter load deploy --name "+o.Name+" --region "+s.account.Region())
}

// withoutRole switches the aggregator off where it can have no role: the Python tool does so, too.
func (s *stacker) withoutRole(o *awsdeploy.LimiterOptions, before *stack.Stack) {
	wanted := o.Aggregator.Enabled == nil && before == nil || o.Aggregator.Enabled != nil && *o.Aggregator.Enabled
	if !wanted || o.WantsAggregator(before) {
		return
	}
	s.tell("without IAM the aggregator can have no role, so that there is none; give one by --aggregator-role-arn")
	o.Aggregator.Enabled = new(false)
}

// applyLimiter applies the stack that the options make, and gives its aggregator the code.
func (s *stacker) applyLimiter(ctx context.Context, o *awsdeploy.LimiterOptions, before *stack.Stack, request *stack.Request, code *functionFlags, document *limiterDocument) error {
	var build *artifact.Build
	if o.WantsAggregator(before) {
		o.Aggregator.Architecture = architecture(code, before)
		if !request.DryRun {
			var err error
			if build, err = s.aggregatorBuild(code.binary, o.Aggregator.Architecture); err != nil {
				return err
			}
		}
	}
	request.Parameters, request.Keep = o.Parameters(before)
	result, err := s.apply(ctx, request)
	if err != nil {
		return s.stackFailure(err, o.Name)
	}
	document.Action, document.Changes = result.Action, result.Changes
	if build == nil {
		return nil
	}
	return s.sendAggregator(ctx, result, build, document)
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
	if err := s.writeRecord(ctx, table, document); err != nil {
		return err
	}
	id, err := table.RegisterNamespace(ctx, defaultNamespace)
	if err != nil {
		return fmt.Errorf("register namespace %s: %w", defaultNamespace, err)
	}
	document.Namespace = &id
	return nil
}

// writeRecord writes the version record. With an aggregator of this release behind the stream, nothing
// of an earlier one reads the table, which the record then says; without, it says nothing about functions, or
// what it said before.
func (s *stacker) writeRecord(ctx context.Context, table *dynamostore.Table, document *limiterDocument) error {
	write := table.EnsureVersion
	if document.Aggregator != nil {
		write = func(ctx context.Context) error { return table.DeclareReaders(ctx, true) }
	}
	if err := write(ctx); err != nil {
		return err
	}
	record, err := table.Version(ctx)
	if err == nil && record != nil {
		document.SchemaVersion, document.LambdaVersion = &record.SchemaVersion, optional(record.LambdaVersion)
	}
	return err
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
		account accountFlags
		f       limiterUpgradeFlags
	)
	cmd := &cobra.Command{
		Use:   "upgrade",
		Short: "Bring the stack of a limiter, of any release, up to date in place",
		Long: `Apply the present template to the stack of a limiter, with the values that it has, and give its
aggregator this program's code. A stack of a release of this program that had no aggregator gets one; one that
was deployed with --no-aggregator does not. Of a stack with functions of the Python tool only the policies
change: table and functions stay, and the functions' code is for the Python tool to update. A table without
local indexes, as release 0.10 made it, keeps being one. No change is made that would replace or remove a
resource.`,
		Example: "  zae-limiter upgrade --name my-limiter --region us-east-1 --dry-run",
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := errors.Join(awsdeploy.CheckName(f.name), f.code.validate()); err != nil {
				return usage(err)
			}
			if f.codeOnly && f.dryRun {
				return usagef("--lambda-only does not go with --dry-run, which is about the stack")
			}
			s, err := a.openStacks(cmd.Context(), account)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.upgradeLimiter(cmd.Context(), &f))
		},
	}
	flags := cmd.Flags()
	a.limiterNameFlag(flags, &f.name)
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the changes and make none")
	flags.BoolVar(&f.codeOnly, "lambda-only", false, "update the aggregator's code and leave the stack as it is")
	flags.Bool("force", false, "no effect: template and code are applied in any case")
	f.code.register(flags)
	flags.StringVar(&f.role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as")
	account.register(flags)
	flags.SortFlags = false
	return cmd
}

// limiterUpgradeFlags are the options of upgrade as given.
type limiterUpgradeFlags struct {
	name, role       string
	code             functionFlags
	dryRun, codeOnly bool
}

func (s *stacker) upgradeLimiter(ctx context.Context, f *limiterUpgradeFlags) error {
	before, err := s.stacks.Settled(ctx, f.name, s.event)
	if errors.Is(err, stack.ErrNotFound) {
		return &awsdeploy.NoTargetError{Name: f.name}
	}
	if err != nil {
		return err
	}
	table := dynamostore.OpenTable(s.tables(), f.name, dynamostore.TableOptions{})
	record, err := table.Version(ctx)
	if err != nil {
		return err
	}
	if record == nil {
		return withHint(fmt.Errorf("table %s has no version record, so it is not known what it was made for", f.name), "write one: zae-limiter deploy --name "+f.name)
	}
	if err := record.Admits(); err != nil {
		return err
	}
	facts, err := awsdeploy.DescribeTable(ctx, s.tables(), f.name)
	if err != nil {
		return err
	}
	document := &limiterDocument{
		Stack: f.name, LocalIndexes: facts.LocalIndexes, SchemaVersion: &record.SchemaVersion, LambdaVersion: optional(record.LambdaVersion),
	}
	switch {
	case f.codeOnly:
		err = s.upgradeCode(ctx, f, before, document)
	case awsdeploy.HasPythonFunctions(before):
		err = s.upgradePolicies(ctx, f, before, document)
	default:
		err = s.upgradeStack(ctx, f, before, document)
	}
	if err != nil {
		return err
	}
	if document.Aggregator != nil {
		if err := s.writeRecord(ctx, table, document); err != nil {
			return err
		}
	}
	return s.printLimiter(document, "template, policies and code are current")
}

// upgradeCode gives the aggregator of a stack this program's code.
func (s *stacker) upgradeCode(ctx context.Context, f *limiterUpgradeFlags, before *stack.Stack, document *limiterDocument) error {
	if awsdeploy.HasPythonFunctions(before) {
		return withHint(fmt.Errorf("the functions of stack %s are of the Python tool", f.name), "their code is for that tool to update: Python's zae-limiter upgrade --lambda-only --name "+f.name)
	}
	document.Action = stack.Unchanged
	if !awsdeploy.HasAggregator(before) {
		s.tell("stack %s has no aggregator: there is nothing to do", f.name)
		return nil
	}
	build, err := s.aggregatorBuild(f.code.binary, architecture(&f.code, before))
	if err != nil {
		return err
	}
	return s.sendAggregator(ctx, &stack.Result{Action: stack.Unchanged, Stack: before}, build, document)
}

// upgradePolicies brings the policies of a stack with functions of the Python tool up to date.
func (s *stacker) upgradePolicies(ctx context.Context, f *limiterUpgradeFlags, before *stack.Stack, document *limiterDocument) error {
	deployed, err := s.stacks.Template(ctx, f.name)
	if err != nil {
		return err
	}
	template, err := awsdeploy.WithCurrentPolicies(deployed)
	if err != nil {
		return err
	}
	s.tell("stack %s has functions of the Python tool: its policies are brought up to date, the rest stays", f.name)
	s.tellIndexes(f.name, document.LocalIndexes)
	result, err := s.apply(ctx, &stack.Request{
		Name: f.name, Template: template, Keep: awsdeploy.KeptParameters(before, template), Role: f.role, DryRun: f.dryRun, Guard: awsdeploy.GuardLimiter,
	})
	if err != nil {
		return s.stackFailure(err, f.name)
	}
	document.Action, document.Changes = result.Action, result.Changes
	return nil
}

// upgradeStack applies the present template with the values that the stack has.
func (s *stacker) upgradeStack(ctx context.Context, f *limiterUpgradeFlags, before *stack.Stack, document *limiterDocument) error {
	o := &awsdeploy.LimiterOptions{Name: f.name}
	if awsdeploy.BeforeAggregator(before) {
		o.Aggregator.Enabled = new(true)
		s.withoutRole(o, before)
		if o.WantsAggregator(before) {
			s.tell("stack %s is from before there was an aggregator, and gets one: run no `zae-limiter aggregate` beside it", f.name)
		}
	}
	request := &stack.Request{
		Name: f.name, Role: f.role, DryRun: f.dryRun, Guard: awsdeploy.GuardLimiter, Tags: o.Tags(before, readBuild().Version, dynamostore.SchemaVersion),
	}
	var err error
	if request.Template, err = awsdeploy.LimiterTemplate(document.LocalIndexes); err != nil {
		return err
	}
	s.tellIndexes(f.name, document.LocalIndexes)
	return s.applyLimiter(ctx, o, before, request, &f.code, document)
}

func (s *stacker) tellIndexes(name string, local bool) {
	if local {
		s.tell("table %s has local indexes, which stay", name)
	} else {
		s.tell("table %s has no local indexes, as release 0.10 made it: it stays so, they cannot be added", name)
	}
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
		Long: `Delete the stack of a limiter: table, data, aggregator, policies. A stack that others import from, such as a load
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
	s.tell("%s in %s: the table with all its data, the aggregator, policies, roles and alarms", name, s.account.Region())
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
