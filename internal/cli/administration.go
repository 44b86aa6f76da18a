package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/target"
	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

// namespaceVariable names the namespace when --namespace does not.
const namespaceVariable = "ZAEL_NAMESPACE"

// tableFlags say which limiter a command administers.
type tableFlags struct {
	account   accountFlags
	name      string
	namespace string
	// namespaceID is used as it is, for the tables of old clients that resolve no names.
	namespaceID string
	principal   string
	createTable bool
}

// access is what a command does with the table.
type access uint8

const (
	reads access = iota
	// writes registers a namespace that is not there yet, as the other clients do.
	writes
)

// registerTable adds the options that name the table, registerNamespace those that name a namespace in it.
func (a *app) registerTable(flags *pflag.FlagSet, f *tableFlags) {
	a.limiterNameFlag(flags, &f.name)
	f.account.register(flags)
	flags.SortFlags = false
}

func (a *app) registerNamespace(flags *pflag.FlagSet, f *tableFlags, access access) {
	a.registerTable(flags, f)
	flags.StringVarP(&f.namespace, "namespace", "N", firstOf(a.getenv(namespaceVariable), defaultNamespace), "`namespace` within the table ["+namespaceVariable+"]")
	flags.StringVar(&f.namespaceID, "namespace-id", "", "`id` of the namespace, used as it is instead of looking a name up")
	if access == writes {
		flags.StringVar(&f.principal, "principal", "", "`who` is recorded in the audit event: an identifier or an ARN")
		f.registerCreate(flags)
	}
}

func (f *tableFlags) registerCreate(flags *pflag.FlagSet) {
	flags.BoolVar(&f.createTable, "create-table", false, "create the table when it is absent: for tests; deploy makes one with its stack")
}

// openTable reaches the limiter's table. done gives it up.
func (a *app) openTable(ctx context.Context, f *tableFlags) (table *dynamostore.Table, done func(), err error) {
	if err := awsdeploy.CheckName(f.name); err != nil {
		return nil, nil, usage(err)
	}
	ctx, cancel := context.WithTimeoutCause(ctx, openTimeout, errors.New("no answer that a DynamoDB endpoint would give within 9 s"))
	defer cancel()
	table, done, err = target.Table(ctx, target.Config{
		AWS: f.account.endpoint == "", Endpoint: f.account.endpoint, Region: f.account.region, Profile: f.account.profile,
		Table: f.name, CreateTable: f.createTable, UpdatedBy: "zae-limiter",
	})
	switch {
	case errors.Is(err, dynamostore.ErrTableNotFound):
		err = withHint(err, "deploy it (zae-limiter deploy --name "+f.name+"), name another one with --name, or make one for tests with --create-table")
	case isCredentials(err):
		err = withHint(err, credentialsHint)
	default:
		err = explainTable(explainDenied(err, f), f)
	}
	return table, done, interruption(ctx, err)
}

// explainTable says what to do about a table that is not one of a limiter, or of one that this program does not know.
func explainTable(err error, f *tableFlags) error {
	if _, ok := errors.AsType[*dynamostore.SchemaError](err); ok {
		return withHint(err, "name the limiter's table with --name; a table of the limiter is made by zae-limiter deploy")
	}
	if _, ok := errors.AsType[*dynamostore.VersionError](err); ok {
		return withHint(err, "table "+f.name+" is for other releases, which this one would misread: use a release of this program that knows it")
	}
	return err
}

func firstOf(texts ...string) string {
	for _, text := range texts {
		if text != "" {
			return text
		}
	}
	return ""
}

// warnings prints the warnings of a logger, and passes what is less over.
type warnings struct {
	app   *app
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (w warnings) Enabled(_ context.Context, level slog.Level) bool { return level >= slog.LevelWarn }

// Handle implements slog.Handler.
func (w warnings) Handle(_ context.Context, record slog.Record) error {
	var facts []string
	add := func(a slog.Attr) bool {
		facts = append(facts, strings.ReplaceAll(a.Key, "_", " ")+" "+a.Value.String())
		return true
	}
	for _, a := range w.attrs {
		add(a)
	}
	record.Attrs(add)
	if len(facts) > 0 {
		record.Message += " (" + strings.Join(facts, ", ") + ")"
	}
	w.app.warn("%s", record.Message)
	return nil
}

// WithAttrs implements slog.Handler.
func (w warnings) WithAttrs(attrs []slog.Attr) slog.Handler {
	return warnings{w.app, append(slices.Clone(w.attrs), attrs...)}
}

// WithGroup implements slog.Handler: the names of groups are left out.
func (w warnings) WithGroup(string) slog.Handler { return w }

// administer runs a command on the namespace that its options name.
func (a *app) administer(ctx context.Context, f *tableFlags, access access, run func(*limiter.Admin) error) error {
	table, done, err := a.openTable(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	store, err := a.openNamespace(ctx, f, access, table)
	if err != nil {
		return interruption(ctx, err)
	}
	l, err := limiter.New(store, limiter.Options{Logger: slog.New(warnings{app: a})})
	if err != nil {
		return err
	}
	return interruption(ctx, explainAdmin(run(l.Admin().As(f.principal)), f))
}

func (a *app) openNamespace(ctx context.Context, f *tableFlags, access access, table *dynamostore.Table) (*dynamostore.Store, error) {
	if f.namespaceID != "" {
		if f.namespaceID == "_" || strings.ContainsAny(f.namespaceID, "/#") {
			return nil, usagef("--namespace-id %q is not the id of a namespace", f.namespaceID)
		}
		return table.Store(f.namespaceID), nil
	}
	name := f.namespace
	ns, err := table.Namespace(ctx, name)
	if err == nil {
		return table.Store(ns.ID), nil
	}
	if _, missing := errors.AsType[*dynamostore.NamespaceNotFoundError](err); !missing {
		return nil, explainAdmin(err, f)
	}
	if access == reads {
		return nil, withHint(err, "register it (zae-limiter namespace register "+name+"), or name another one with --namespace")
	}
	store, err := table.Open(ctx, name)
	if err == nil {
		fmt.Fprintf(a.stderr, "registered namespace %s\n", name)
	}
	return store, explainAdmin(err, f)
}

// explainAdmin tells mistakes of the caller from failures, and adds what to try.
func explainAdmin(err error, f *tableFlags) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*limiter.ValidationError](err); ok {
		return usage(err)
	}
	if e, ok := errors.AsType[*dynamostore.VersionError](err); ok {
		if e.LambdaVersion != "" {
			return withHint(err, "bring the stack's functions up to date: zae-limiter upgrade --name "+f.name)
		}
		return withHint(err, "if the table is read by no functions at all, or by none of an earlier release, say so: zae-limiter system declare-readers --name "+f.name)
	}
	return explainDenied(err, f)
}

// explainDenied says how the caller gets a permission that it lacks.
func explainDenied(err error, f *tableFlags) error {
	if e, ok := errors.AsType[*dynamostore.DeniedError](err); ok && e.Policy != "" {
		return withHint(err, fmt.Sprintf("attach that policy to the caller: its ARN is the output %sArn of the limiter's stack (zae-limiter deploy --name %s)", e.Policy, f.name))
	}
	return err
}

// newGroup is a group of commands. long says what holds for all of them.
func newGroup(use, short, long, example string, commands ...*cobra.Command) *cobra.Command {
	group := &cobra.Command{
		Use: use, Short: short, Long: strings.TrimSpace(short + ".\n\n" + long), Example: example, Args: unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	group.AddCommand(commands...)
	return group
}

// oneArgument takes exactly one argument, called what.
func oneArgument(what string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch len(args) {
		case 0:
			return usagef("which %s? %s", strings.ToLower(strings.ReplaceAll(what, "_", " ")), cmd.UseLine())
		case 1:
			return nil
		}
		return usagef("%s takes one argument, got %q too", cmd.CommandPath(), args[1])
	}
}

// agreed asks before something is removed, unless --yes says that it is meant.
func (a *app) agreed(ctx context.Context, yes bool, question string) error {
	if yes {
		return nil
	}
	if err := a.needTerminal("--yes"); err != nil {
		return err
	}
	ok, err := a.confirm(ctx, question)
	if err == nil && !ok {
		err = errors.New("nothing was changed")
	}
	return err
}

func registerYes(flags *pflag.FlagSet, yes *bool) {
	flags.BoolVarP(yes, "yes", "y", false, "do not ask")
}

// levelDocument is what a level of the configuration holds. A flag that is null is not set, and the next
// level decides.
func levelDocument(key limiter.ConfigKey, c limiter.Config) map[string]any {
	limits := []map[string]any{}
	for _, l := range c.Limits {
		limits = append(limits, l.Map())
	}
	d := map[string]any{"limits": limits}
	if key == (limiter.ConfigKey{}) {
		d["on_unavailable"] = optional(string(c.OnUnavailable))
		return d
	}
	d["resource"] = key.Resource
	d["disabled"], d["cascade"] = limiter.FlagDisabled.Value(c.Disabled), limiter.FlagCascade.Value(c.Cascade)
	if key.EntityID != "" {
		d["entity_id"] = key.EntityID
	}
	return d
}

// printLevel shows a level; nothing is said of what it does not set.
func (a *app) printLevel(title string, key limiter.ConfigKey, c limiter.Config, stamped *int) error {
	if a.json {
		d := levelDocument(key, c)
		if stamped != nil {
			d["buckets_stamped"] = *stamped
		}
		return a.printJSON(d)
	}
	var b strings.Builder
	fmt.Fprintln(&b, title)
	for _, l := range c.Limits {
		fmt.Fprintln(&b, "  "+limitText(l))
	}
	if len(c.Limits) == 0 {
		fmt.Fprintln(&b, "  no limits")
	}
	if c.Disabled != limiter.Unset {
		fmt.Fprintf(&b, "  access: %s\n", accessText(c.Disabled))
	}
	if c.Cascade != limiter.Unset {
		fmt.Fprintf(&b, "  cascade: %s\n", onOff(c.Cascade == limiter.On))
	}
	if c.OnUnavailable != "" {
		fmt.Fprintf(&b, "  on unavailable: %s\n", c.OnUnavailable)
	}
	if stamped != nil && *stamped > 0 {
		fmt.Fprintf(&b, "  %d buckets follow at once\n", *stamped)
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

func accessText(f limiter.Flag) string {
	switch f {
	case limiter.On:
		return "disabled"
	case limiter.Bypassed:
		return "bypassed"
	}
	return "enabled"
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// levelText names a level in a sentence.
func levelText(key limiter.ConfigKey) string {
	switch {
	case key.EntityID != "" && key.Resource == limiter.DefaultResource:
		return "entity " + key.EntityID + " on all resources"
	case key.EntityID != "":
		return "entity " + key.EntityID + " on " + key.Resource
	case key.Resource != "":
		return "resource " + key.Resource
	}
	return "the system"
}

// limitFlags are the options of the commands that set limits.
type limitFlags struct{ limits, soft []string }

func (f *limitFlags) register(flags *pflag.FlagSet) {
	flags.StringArrayVarP(&f.limits, "limit", "l", nil, "a `limit`, once for each: "+limitForm)
	flags.StringArrayVar(&f.soft, "soft", nil, "`name` of a limit given with -l that counts and charges, but refuses nothing")
}

// setLevel replaces the limits of a level and shows what it holds then.
func (a *app) setLevel(ctx context.Context, f *tableFlags, key limiter.ConfigKey, change limiter.ConfigChange) error {
	return a.administer(ctx, f, writes, func(admin *limiter.Admin) error {
		stamped, err := admin.Configure(ctx, key, change)
		if err != nil {
			return err
		}
		config, err := admin.Config(ctx, key)
		if err != nil {
			return err
		}
		return a.printLevel("Limits of "+levelText(key)+":", key, config, &stamped)
	})
}

func (a *app) getLevel(ctx context.Context, f *tableFlags, key limiter.ConfigKey) error {
	return a.administer(ctx, f, reads, func(admin *limiter.Admin) error {
		config, err := admin.Config(ctx, key)
		if err != nil {
			return err
		}
		return a.printLevel("Limits of "+levelText(key)+":", key, config, nil)
	})
}

func (a *app) deleteLevel(ctx context.Context, f *tableFlags, key limiter.ConfigKey, yes bool) error {
	if err := a.agreed(ctx, yes, "Delete the limits of "+levelText(key)+"?"); err != nil {
		return err
	}
	return a.administer(ctx, f, writes, func(admin *limiter.Admin) error {
		existed, stamped, err := admin.Unconfigure(ctx, key)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string]any{"entity_id": optional(key.EntityID), "resource": optional(key.Resource), "deleted": existed, "buckets_stamped": stamped})
		}
		text := "Deleted the limits of " + levelText(key)
		if !existed {
			text = "No limits of " + levelText(key) + " to delete"
		}
		_, err = fmt.Fprintln(a.stdout, text)
		return err
	})
}

// flagCommand sets one flag of the level that its arguments name.
type flagCommand struct {
	use, short, note string
	flag             limiter.FlagName
	// value of the flag; with takesValue it is the second argument.
	value      limiter.Flag
	takesValue bool
}

// flagCommands are those of entities and of resources.
func flagCommands(subject string) []flagCommand {
	return []flagCommand{
		{"disable", "Close " + subject + ": acquires fail until it is enabled", "", limiter.FlagDisabled, limiter.On, false},
		{"enable", "Say explicitly that " + subject + " is open", "An entity that is enabled is the exception to a resource that is disabled.", limiter.FlagDisabled, limiter.Off, false},
		{"bypass", "Admit everything of " + subject + " and go on counting", "Needs readers of release 0.17.0 (see zae-limiter system declare-readers).", limiter.FlagDisabled, limiter.Bypassed, false},
		{"clear-disabled", "Remove what disable, enable or bypass set", "The next level decides then.", limiter.FlagDisabled, limiter.Unset, false},
		{"set-cascade", "Say whether acquires of " + subject + " also charge the parent", "Needs readers of release 0.16.0 (see zae-limiter system declare-readers).", limiter.FlagCascade, limiter.Unset, true},
		{"clear-cascade", "Remove what set-cascade set", "The next level decides then, and at last what the entity was created with.", limiter.FlagCascade, limiter.Unset, false},
	}
}

// flagCommandsOf builds the commands of a group. key names the level from the first argument and, for
// entities, the option --resource.
func (a *app) flagCommandsOf(argument, subject, group, sample string, key func(argument, resource string) limiter.ConfigKey, withResource bool) []*cobra.Command {
	var commands []*cobra.Command
	for _, c := range flagCommands(subject) {
		var f tableFlags
		var resource string
		use, example := c.use+" "+argument, "  zae-limiter "+group+" "+c.use+" "+sample
		args := oneArgument(argument)
		if c.takesValue {
			use, example, args = use+" on|off", example+" on", onOffArgument(argument)
		}
		cmd := &cobra.Command{
			Use: use, Short: c.short, Long: strings.TrimSpace(c.short + ".\n" + c.note), Example: example, Args: args,
			RunE: func(cmd *cobra.Command, args []string) error {
				value := c.value
				if c.takesValue {
					value = limiter.Off
					if args[1] == "on" {
						value = limiter.On
					}
				}
				return a.setFlagOf(cmd.Context(), &f, key(args[0], resource), c.flag, value)
			},
		}
		if withResource {
			cmd.Flags().StringVarP(&resource, "resource", "r", "", "on this `resource` only; without it on all that have no flag of their own")
		}
		a.registerNamespace(cmd.Flags(), &f, writes)
		commands = append(commands, cmd)
	}
	return commands
}

func onOffArgument(argument string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		if len(args) != 2 || args[1] != "on" && args[1] != "off" {
			return usagef("want %s and on or off: %s", argument, cmd.UseLine())
		}
		return nil
	}
}

func (a *app) setFlagOf(ctx context.Context, f *tableFlags, key limiter.ConfigKey, flag limiter.FlagName, value limiter.Flag) error {
	return a.administer(ctx, f, writes, func(admin *limiter.Admin) error {
		stamped, err := admin.SetFlag(ctx, key, flag, value)
		if err != nil {
			return err
		}
		if a.json {
			return a.printJSON(map[string]any{"entity_id": optional(key.EntityID), "resource": optional(key.Resource), string(flag): flag.Value(value), "buckets_stamped": stamped})
		}
		text := "inherits from the next level"
		switch {
		case flag == limiter.FlagCascade && value != limiter.Unset:
			text = "cascade is " + onOff(value == limiter.On)
		case flag == limiter.FlagCascade:
			text = "cascade " + text
		case value != limiter.Unset:
			text = "is " + accessText(value)
		}
		_, err = fmt.Fprintf(a.stdout, "%s: %s (%d buckets follow at once)\n", levelText(key), text, stamped)
		return err
	})
}

// printList shows names, one a line, or as a JSON object.
func (a *app) printList(document map[string]any, title string, names []string, none string) error {
	if a.json {
		return a.printJSON(document)
	}
	if len(names) == 0 {
		_, err := fmt.Fprintln(a.stdout, none)
		return err
	}
	var b strings.Builder
	fmt.Fprintln(&b, title)
	for _, name := range names {
		fmt.Fprintln(&b, "  "+name)
	}
	_, err := io.WriteString(a.stdout, b.String())
	return err
}

// orEmpty is a list that JSON shows as [].
func orEmpty[T any](list []T) []T {
	if list == nil {
		return []T{}
	}
	return list
}

// printRows shows a table, or says that there is nothing.
func (a *app) printRows(table term.Table, none string) error {
	if len(table.Rows) == 0 {
		_, err := fmt.Fprintln(a.stdout, none)
		return err
	}
	printTable(a.stdout, table)
	return nil
}
