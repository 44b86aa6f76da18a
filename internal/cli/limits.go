package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/limitmanifest"
	"github.com/zeroae/zae-limiter-go/internal/report"
	"github.com/zeroae/zae-limiter-go/limiter"
)

// limitsCommand is the group of commands about limits that a file declares.
func (a *app) limitsCommand() *cobra.Command {
	return newGroup("limits", "Limits that a file declares", manifestLong,
		"  zae-limiter limits apply --file limits.yaml",
		a.limitsPlanCommand(), a.limitsApplyCommand(), a.limitsDiffCommand(), a.limitsTemplateCommand())
}

// manifestFlags are the options of the commands about a manifest.
type manifestFlags struct {
	table tableFlags
	file  string
	quiet bool
}

func (a *app) registerManifest(cmd *cobra.Command, f *manifestFlags, access access) {
	cmd.Args = positional
	cmd.Flags().StringVarP(&f.file, "file", "f", "", "the manifest: a YAML `file`")
	cmd.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "only the summary, not a line for each level")
	a.registerNamespace(cmd.Flags(), &f.table, access)
	cmd.Flags().Lookup("namespace").Usage = "`namespace` instead of the one that the manifest names"
}

const manifestLong = `The manifest is YAML, the same that the provisioner of the Python client takes. No function takes part: this program
compares and writes by itself.

  namespace: default
  system:
    on_unavailable: block
    limits:
      rpm: {capacity: 100}                    # refills 100 every 60 seconds
  resources:
    gpt-4:
      cascade: true
      limits:
        tpm: {capacity: 20000, refill_amount: 10000, refill_period: 60, soft: true}
        night:
          capacity: 100
          schedule:                           # the first entry that matches is in force
            - {cron: "* 0-5 * * *", tz: Europe/Zurich, scale: 2.0}
  entities:
    user-1:
      resources:
        gpt-4:
          disabled: false                     # true, false or bypass
          limits:
            daily: {capacity: 500, reset_schedule: [{cron: "0 0 * * *", tz: UTC}]}
            session: {capacity: 50, reset_after_seconds: 18000}

capacity is required. refill_amount is the capacity, or 0 for a quota, which has reset_schedule or
reset_after_seconds; refill_period is 60 seconds. A key that means nothing is an error, with its line.

A level holds what is declared, whole: flags that are not declared are removed; on_unavailable stays. Levels that an
earlier manifest declared and this one does not are deleted; levels that no manifest declared are left alone.
--namespace goes before the namespace of the file.`

const seeManifest = "\n\nzae-limiter limits --help has the form of the manifest."

const applyLong = `Make the table hold what a manifest declares. Only what differs is written, so that a second run changes nothing. A
change that fails keeps none of the others from being made; the exit code is 1 then.`

// comparison is a manifest beside what is stored.
type comparison struct {
	manifest  *limitmanifest.Manifest
	managed   limiter.Managed
	changes   []limitmanifest.Change
	unchanged int
}

// withManifest reads the manifest, compares it with the namespace, and runs a command on both.
func (a *app) withManifest(ctx context.Context, cmd *cobra.Command, f *manifestFlags, access access, full bool, run func(*limiter.Admin, *comparison) error) error {
	m, err := readManifest(f.file)
	if err != nil {
		return err
	}
	if !cmd.Flags().Changed("namespace") {
		f.table.namespace = m.Namespace
	}
	return a.administer(ctx, &f.table, access, func(admin *limiter.Admin) error {
		c, err := compare(ctx, admin, m, full)
		if err != nil {
			return err
		}
		return run(admin, c)
	})
}

func readManifest(file string) (*limitmanifest.Manifest, error) {
	if file == "" {
		return nil, usagef("which manifest? give --file FILE")
	}
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, usage(err)
	}
	m, err := limitmanifest.Parse(text)
	if err != nil {
		return nil, usage(fmt.Errorf("%s: %w", file, err))
	}
	return m, nil
}

func compare(ctx context.Context, admin *limiter.Admin, m *limitmanifest.Manifest, full bool) (*comparison, error) {
	managed, err := admin.Managed(ctx)
	if err != nil {
		return nil, err
	}
	stored := map[limiter.ConfigKey]limiter.Config{}
	for _, key := range append(m.Keys(), managed.Keys()...) {
		if _, known := stored[key]; known {
			continue
		}
		if stored[key], err = admin.Config(ctx, key); err != nil {
			return nil, err
		}
	}
	c := &comparison{manifest: m, managed: managed}
	c.changes, c.unchanged = limitmanifest.Plan(m, managed.Keys(), stored, full)
	return c, nil
}

func (a *app) limitsPlanCommand() *cobra.Command {
	var f manifestFlags
	cmd := &cobra.Command{
		Use: "plan", Short: "Show what apply would change", Long: "Show what apply would change. Nothing is written." + seeManifest, Example: "  zae-limiter limits plan --file limits.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withManifest(cmd.Context(), cmd, &f, reads, false, func(_ *limiter.Admin, c *comparison) error {
				return a.printComparison(c, &f, "Plan", "No changes: the table is as declared", nil)
			})
		},
	}
	a.registerManifest(cmd, &f, reads)
	return cmd
}

func (a *app) limitsDiffCommand() *cobra.Command {
	var f manifestFlags
	cmd := &cobra.Command{
		Use: "diff", Short: "Show where the table is not as declared", Long: "Show where the table is not as declared, level by level. Nothing is written." + seeManifest, Example: "  zae-limiter limits diff --file limits.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.withManifest(cmd.Context(), cmd, &f, reads, false, func(_ *limiter.Admin, c *comparison) error {
				return a.printComparison(c, &f, "Drift", "No drift: the table is as declared", nil)
			})
		},
	}
	a.registerManifest(cmd, &f, reads)
	return cmd
}

func (a *app) limitsApplyCommand() *cobra.Command {
	var f manifestFlags
	var full bool
	cmd := &cobra.Command{
		Use: "apply", Short: "Make the table hold what a manifest declares", Long: applyLong + seeManifest, Example: "  zae-limiter limits apply --file limits.yaml",
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.withManifest(ctx, cmd, &f, writes, full, func(admin *limiter.Admin, c *comparison) error {
				failed, err := applyManifest(ctx, admin, c)
				if printed := a.printComparison(c, &f, "Applied", "No changes: the table is as declared", failed); printed != nil {
					return errors.Join(printed, err)
				}
				return newOutcome(err, report.ExitDone)
			})
		},
	}
	cmd.Flags().BoolVar(&full, "full", false, "write levels that are as declared, too: buckets that an earlier change missed follow then")
	a.registerManifest(cmd, &f, writes)
	return cmd
}

// limitsTemplateCommand is `limits cfn-template`.
func (a *app) limitsTemplateCommand() *cobra.Command {
	var name, file, output string
	var full bool
	cmd := &cobra.Command{
		Use: "cfn-template", Short: "Print a CloudFormation template that applies a manifest",
		Long: `Print the template of a stack whose only resource has the provisioner of the limiter's stack apply the manifest:
at each update of that stack what changed, at its deletion the removal of all that it declared. AWS is not asked.

The provisioner is a function of the Python client, which its deploy installs; the stack imports its address as
NAME-ProvisionerArn. Without one use limits apply.`,
		Example: "  zae-limiter limits cfn-template --name my-limiter --file limits.yaml -o limits-stack.yaml",
		Args:    positional,
		RunE: func(*cobra.Command, []string) error {
			if err := awsdeploy.CheckName(name); err != nil {
				return usage(err)
			}
			m, err := readManifest(file)
			if err != nil {
				return err
			}
			template, err := m.CloudFormation(name, full)
			if err != nil {
				return err
			}
			return a.writeTemplate(output, template)
		},
	}
	a.limiterNameFlag(cmd.Flags(), &name)
	cmd.Flags().StringVarP(&file, "file", "f", "", "the manifest: a YAML `file`")
	cmd.Flags().BoolVar(&full, "full", false, "have each update write levels that are as declared, too, as limits apply --full does")
	cmd.Flags().StringVarP(&output, "output", "o", "", "`file` to write (default: stdout)")
	cmd.Flags().SortFlags = false
	return cmd
}

// applyManifest makes the changes. One that fails keeps none of the others from being made, and what could
// not be deleted stays managed. failed has the error of each change, nil where it was made.
func applyManifest(ctx context.Context, admin *limiter.Admin, c *comparison) (failed []error, err error) {
	failed = make([]error, len(c.changes))
	managed := c.manifest.Keys()
	var errs []error
	for i, change := range c.changes {
		if err := applyChange(ctx, admin, &change); err != nil {
			failed[i] = err
			errs = append(errs, fmt.Errorf("%s %s: %w", change.Action, levelText(change.Key), err))
			if change.Action == limitmanifest.Delete {
				managed = append(managed, change.Key)
			}
		}
		if ctx.Err() != nil {
			return failed, context.Cause(ctx)
		}
	}
	record := limiter.NewManaged(managed, c.manifest.Hash)
	return failed, errors.Join(append(errs, admin.SetManaged(ctx, record))...)
}

func applyChange(ctx context.Context, admin *limiter.Admin, change *limitmanifest.Change) error {
	if change.Action == limitmanifest.Delete {
		_, _, err := admin.Unconfigure(ctx, change.Key)
		return err
	}
	after := change.After
	// What is not declared is removed, before a limit can hold together with a flag that does not belong to it.
	for flag, values := range map[limiter.FlagName][2]limiter.Flag{
		limiter.FlagDisabled: {change.Before.Disabled, after.Disabled}, limiter.FlagCascade: {change.Before.Cascade, after.Cascade},
	} {
		if values[0] != limiter.Unset && values[1] == limiter.Unset {
			if _, err := admin.SetFlag(ctx, change.Key, flag, limiter.Unset); err != nil {
				return err
			}
		}
	}
	_, err := admin.Configure(ctx, change.Key, limiter.ConfigChange{Limits: after.Limits, Disabled: after.Disabled, Cascade: after.Cascade, OnUnavailable: after.OnUnavailable})
	return err
}

// printComparison shows the changes; failed has the errors of those that were to be made.
func (a *app) printComparison(c *comparison, f *manifestFlags, title, none string, failed []error) error {
	counts := map[limitmanifest.Action]int{}
	changes := []map[string]any{}
	var b strings.Builder
	for i, change := range c.changes {
		var problem error
		if failed != nil {
			problem = failed[i]
		}
		if problem == nil {
			counts[change.Action]++
		}
		changes = append(changes, changeDocument(&change, problem))
		if !f.quiet {
			writeChange(&b, &change, problem)
		}
	}
	if a.json {
		return a.printJSON(map[string]any{"namespace": f.table.namespace, "changes": changes, "unchanged": c.unchanged,
			"created": counts[limitmanifest.Create], "updated": counts[limitmanifest.Update], "deleted": counts[limitmanifest.Delete]})
	}
	summary := fmt.Sprintf("%s: %d to create, %d to update, %d to delete", title, counts[limitmanifest.Create], counts[limitmanifest.Update], counts[limitmanifest.Delete])
	if failed != nil {
		summary = fmt.Sprintf("%s: %d created, %d updated, %d deleted", title, counts[limitmanifest.Create], counts[limitmanifest.Update], counts[limitmanifest.Delete])
	}
	if len(c.changes) == 0 {
		summary = none
	}
	if c.unchanged > 0 {
		summary += fmt.Sprintf(" (%d as declared)", c.unchanged)
	}
	_, err := io.WriteString(a.stdout, b.String()+summary+"\n")
	return err
}

func changeDocument(change *limitmanifest.Change, problem error) map[string]any {
	d := map[string]any{"action": change.Action, "level": levelName(change.Key), "target": nil, "before": nil, "after": nil}
	switch key := change.Key; {
	case key.EntityID != "":
		d["target"] = key.EntityID + "/" + key.Resource
	case key.Resource != "":
		d["target"] = key.Resource
	}
	if change.Before.Exists {
		d["before"] = levelDocument(change.Key, change.Before)
	}
	if change.Action != limitmanifest.Delete {
		d["after"] = levelDocument(change.Key, change.After)
	}
	if problem != nil {
		d["error"] = problem.Error()
	}
	return d
}

func levelName(key limiter.ConfigKey) string {
	switch {
	case key.EntityID != "":
		return "entity"
	case key.Resource != "":
		return "resource"
	}
	return "system"
}

func writeChange(b *strings.Builder, change *limitmanifest.Change, problem error) {
	sign := map[limitmanifest.Action]string{limitmanifest.Create: "+", limitmanifest.Update: "~", limitmanifest.Delete: "-"}[change.Action]
	fmt.Fprintf(b, "%s %s\n", sign, levelText(change.Key))
	before, after := levelLines(change.Before), levelLines(change.After)
	for _, line := range before {
		if !containsLine(after, line) {
			fmt.Fprintf(b, "    - %s\n", line)
		}
	}
	for _, line := range after {
		if !containsLine(before, line) {
			fmt.Fprintf(b, "    + %s\n", line)
		}
	}
	if problem != nil {
		fmt.Fprintf(b, "    failed: %v\n", problem)
	}
}

func levelLines(c limiter.Config) []string {
	var lines []string
	for _, l := range c.Limits {
		lines = append(lines, limitText(l))
	}
	if c.Disabled != limiter.Unset {
		lines = append(lines, "access: "+accessText(c.Disabled))
	}
	if c.Cascade != limiter.Unset {
		lines = append(lines, "cascade: "+onOff(c.Cascade == limiter.On))
	}
	if c.OnUnavailable != "" {
		lines = append(lines, "on unavailable: "+string(c.OnUnavailable))
	}
	return lines
}

func containsLine(lines []string, line string) bool {
	for _, l := range lines {
		if l == line {
			return true
		}
	}
	return false
}
