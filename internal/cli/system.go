package cli

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/limiter"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

const systemLong = `The limits of the system hold where neither entity nor resource has any. Beside them it holds what an acquire does when
the table does not answer.`

// systemCommand is the group of commands about what holds for everything.
func (a *app) systemCommand() *cobra.Command {
	return newGroup("system", "Defaults for everything that has none of its own", systemLong,
		"  zae-limiter system set-defaults --limit rpm:100 --on-unavailable block",
		a.systemSetCommand(), a.systemGetCommand(), a.systemDeleteCommand(), a.systemDeclareReadersCommand())
}

func (a *app) systemSetCommand() *cobra.Command {
	var f tableFlags
	var limits limitFlags
	var mode string
	cmd := &cobra.Command{
		Use: "set-defaults", Short: "Set the limits for everything that has none of its own, all of them",
		Long:    "Set the limits of the system, all of them: those that are not given again go; --on-unavailable stays when it is not\ngiven.\n\n" + limitLong,
		Example: "  zae-limiter system set-defaults --limit rpm:100 --on-unavailable block", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if mode != "" && mode != string(limiter.Allow) && mode != string(limiter.Block) {
				return usagef("--on-unavailable %q: want %s or %s", mode, limiter.Allow, limiter.Block)
			}
			parsed, err := parseLimits(limits.limits, limits.soft)
			if err != nil {
				return err
			}
			return a.setLevel(cmd.Context(), &f, limiter.ConfigKey{}, limiter.ConfigChange{Limits: parsed, OnUnavailable: limiter.OnUnavailable(mode)})
		},
	}
	limits.register(cmd.Flags())
	cmd.Flags().StringVar(&mode, "on-unavailable", "", "what acquires do when the table does not answer: `allow` or block (default: as it is)")
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) systemGetCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "get-defaults", Short: "Show the system defaults", Example: "  zae-limiter system get-defaults", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.getLevel(cmd.Context(), &f, limiter.ConfigKey{})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) systemDeleteCommand() *cobra.Command {
	var f tableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete-defaults", Short: "Delete the system defaults", Example: "  zae-limiter system delete-defaults --yes", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.deleteLevel(cmd.Context(), &f, limiter.ConfigKey{}, yes)
		},
	}
	registerYes(cmd.Flags(), &yes)
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) systemDeclareReadersCommand() *cobra.Command {
	var f tableFlags
	var force bool
	cmd := &cobra.Command{
		Use: "declare-readers", Short: "State that no functions of an earlier release read the table",
		Long: `State that no functions of an earlier release read the table, which only its operator can know: the version
record then names this client's level, ` + dynamostore.WireVersion + `, as that of the stack's functions. Session quotas, cascade policies,
soft limits, bypass, moves of entities and top-ups of quotas are refused until then, because older functions would
misread them. A record that names functions of an earlier release is left alone without --force.`,
		Example: "  zae-limiter system declare-readers --name my-limiter", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			table, done, err := a.openTable(ctx, &f)
			if err != nil {
				return err
			}
			defer done()
			if err := table.DeclareReaders(ctx, force); err != nil {
				return interruption(ctx, explainAdmin(err, &f))
			}
			record, err := table.Version(ctx)
			if err != nil {
				return interruption(ctx, err)
			}
			if a.json {
				return a.printJSON(map[string]any{"table": table.Name(), "schema_version": record.SchemaVersion, "lambda_version": record.LambdaVersion, "client_min_version": record.ClientMinVersion})
			}
			_, err = fmt.Fprintf(a.stdout, "The readers of table %s are at %s; clients must be at %s or later\n", table.Name(), record.LambdaVersion, record.ClientMinVersion)
			return err
		},
	}
	cmd.Flags().BoolVar(&force, "force", false, "also when the record names functions of an earlier release, which are gone")
	a.registerTable(cmd.Flags(), &f)
	f.registerCreate(cmd.Flags())
	cmd.Flags().SortFlags = false
	return cmd
}
