package cli

import (
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/limiter"
)

const resourceLong = `The limits of a resource hold for entities that have none of their own on it. They reach buckets when these are made
anew; which limits are soft follows at once. The flags of a resource hold for all entities without a flag of their own.`

// resourceCommand is the group of commands about the defaults of resources.
func (a *app) resourceCommand() *cobra.Command {
	key := func(name, _ string) limiter.ConfigKey { return limiter.ConfigKey{Resource: name} }
	group := newGroup("resource", "Defaults and flags of resources", resourceLong,
		"  zae-limiter resource set-defaults gpt-4 --limit rpm:1000",
		a.resourceSetCommand(), a.resourceGetCommand(), a.resourceDeleteCommand(), a.resourceListCommand(), a.resourceCapacityCommand())
	group.AddCommand(a.flagCommandsOf("RESOURCE", "a resource", "resource", "gpt-4", key, false)...)
	return group
}

func (a *app) resourceSetCommand() *cobra.Command {
	var f tableFlags
	var limits limitFlags
	cmd := &cobra.Command{
		Use: "set-defaults RESOURCE", Short: "Set the limits of a resource for entities without their own, all of them",
		Long:    "Set the limits of a resource, all of them: those that are not given again go, its flags stay.\n\n" + limitLong,
		Example: "  zae-limiter resource set-defaults gpt-4 --limit rpm:1000 --limit tpm:100000", Args: oneArgument("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseLimits(limits.limits, limits.soft)
			if err != nil {
				return err
			}
			return a.setLevel(cmd.Context(), &f, limiter.ConfigKey{Resource: args[0]}, limiter.ConfigChange{Limits: parsed})
		},
	}
	limits.register(cmd.Flags())
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) resourceGetCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "get-defaults RESOURCE", Short: "Show the limits and flags of a resource", Example: "  zae-limiter resource get-defaults gpt-4", Args: oneArgument("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.getLevel(cmd.Context(), &f, limiter.ConfigKey{Resource: args[0]})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) resourceDeleteCommand() *cobra.Command {
	var f tableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete-defaults RESOURCE", Short: "Delete the limits and flags of a resource", Example: "  zae-limiter resource delete-defaults gpt-4 --yes", Args: oneArgument("RESOURCE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteLevel(cmd.Context(), &f, limiter.ConfigKey{Resource: args[0]}, yes)
		},
	}
	registerYes(cmd.Flags(), &yes)
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) resourceListCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "list", Short: "List the resources that have limits or flags of their own", Example: "  zae-limiter resource list", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				names, err := admin.ResourcesWithDefaults(ctx)
				if err != nil {
					return err
				}
				return a.printList(map[string]any{"resources": orEmpty(names)}, "Resources with defaults:", names, "no resource has defaults")
			})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}
