package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/limiter"
)

const entityLong = `An entity is what is limited: a user, a tenant, an API key. It needs no creation, but one that has a parent or a name
is created. Acquires of an entity that cascades charge its parent, too.

Limits of an entity on a resource go before those of the entity on all resources (without --resource), these before
those of the resource, and these before those of the system. A level is used whole. Its limits reach the buckets that
exist at once.

The commands that open, close or waive (enable, disable, bypass) set one flag. The first level that has it decides:
entity on the resource, entity, resource. Buckets follow at once; when some could not be written the command says how
many do, and exits with 1: repeat it.`

// entityCommand is the group of commands about entities.
func (a *app) entityCommand() *cobra.Command {
	group := newGroup("entity", "Entities: create, move, limit, disable", entityLong,
		"  zae-limiter entity set-limits user-1 --resource gpt-4 --limit rpm:100",
		a.entityCreateCommand(), a.entityShowCommand(), a.entityDeleteCommand(), a.entityChildrenCommand(), a.entitySetParentCommand(),
		a.entitySetLimitsCommand(), a.entityGetLimitsCommand(), a.entityDeleteLimitsCommand(),
		a.entityListCommand(), a.entityListResourcesCommand(), a.entityResetCommand(), a.entityTopUpCommand())
	group.AddCommand(a.flagCommandsOf("ENTITY_ID", "an entity", "entity", "user-1", func(id, resource string) limiter.ConfigKey {
		return limiter.ConfigKey{EntityID: id, Resource: firstOf(resource, limiter.DefaultResource)}
	}, true)...)
	return group
}

// entityDocument is an entity in the output of a command.
type entityDocument struct {
	ID        string         `json:"entity_id"`
	Name      string         `json:"name"`
	ParentID  *string        `json:"parent_id"`
	Cascade   bool           `json:"cascade"`
	Metadata  map[string]any `json:"metadata"`
	CreatedAt *time.Time     `json:"created_at"`
}

func newEntityDocument(e limiter.Entity) entityDocument {
	d := entityDocument{ID: e.ID, Name: e.Name, ParentID: optional(e.ParentID), Cascade: e.Cascade, Metadata: e.Metadata}
	if d.Metadata == nil {
		d.Metadata = map[string]any{}
	}
	if !e.CreatedAt.IsZero() {
		d.CreatedAt = &e.CreatedAt
	}
	return d
}

func (a *app) printEntity(title string, e limiter.Entity) error {
	if a.json {
		return a.printJSON(newEntityDocument(e))
	}
	created := "unknown"
	if !e.CreatedAt.IsZero() {
		created = e.CreatedAt.UTC().Format(time.RFC3339)
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s\n  name:    %s\n  parent:  %s\n  cascade: %s\n  created: %s\n",
		title, e.ID, e.Name, firstOf(e.ParentID, "none"), onOff(e.Cascade), created)
	if err == nil && len(e.Metadata) > 0 {
		_, err = fmt.Fprintf(a.stdout, "  metadata: %v\n", e.Metadata)
	}
	return err
}

func (a *app) entityCreateCommand() *cobra.Command {
	var f tableFlags
	var e limiter.Entity
	var metadata []string
	var cascade, noCascade bool
	cmd := &cobra.Command{
		Use: "create ENTITY_ID", Short: "Create an entity",
		Example: "  zae-limiter entity create user-1 --parent org-1 --cascade --display-name 'User One'",
		Args:    oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if cascade && noCascade {
				return usagef("--cascade and --no-cascade are opposites: give one of them")
			}
			e.ID, e.Cascade = args[0], cascade
			for _, pair := range metadata {
				name, value, ok := strings.Cut(pair, "=")
				if !ok || name == "" {
					return usagef("--metadata %q: want NAME=VALUE", pair)
				}
				if e.Metadata == nil {
					e.Metadata = map[string]any{}
				}
				e.Metadata[name] = value
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, writes, func(admin *limiter.Admin) error {
				created, err := admin.CreateEntity(ctx, e)
				if errors.Is(err, limiter.ErrEntityExists) {
					return withHint(err, "see it with zae-limiter entity show "+e.ID)
				}
				if err != nil {
					return err
				}
				return a.printEntity("Created entity", created)
			})
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&e.Name, "display-name", "", "`name` for people (default: the id)")
	flags.StringVar(&e.ParentID, "parent", "", "`id` of the parent")
	flags.BoolVar(&cascade, "cascade", false, "acquires also charge the parent")
	flags.BoolVar(&noCascade, "no-cascade", false, "the opposite, which is the default")
	flags.StringArrayVar(&metadata, "metadata", nil, "a `NAME=VALUE` to keep with the entity, once for each")
	a.registerNamespace(flags, &f, writes)
	return cmd
}

// errNoEntity ends a command whose entity does not exist.
func errNoEntity(id string) error {
	return withHint(fmt.Errorf("entity %s does not exist", id), "it can be limited all the same; create it with zae-limiter entity create "+id)
}

func (a *app) entityShowCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "show ENTITY_ID", Short: "Show an entity", Example: "  zae-limiter entity show user-1", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				e, err := admin.Entity(ctx, args[0])
				if err != nil {
					return err
				}
				if e == nil {
					return errNoEntity(args[0])
				}
				return a.printEntity("Entity", *e)
			})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) entityDeleteCommand() *cobra.Command {
	var f tableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete ENTITY_ID", Short: "Delete an entity with its limits, buckets and usage",
		Long:    "Delete an entity with its limits, buckets and usage. Its children keep naming it as their parent, and audit\nevents about it stay. An entity that does not exist is no error.",
		Example: "  zae-limiter entity delete user-1 --yes", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := a.agreed(ctx, yes, "Delete entity "+args[0]+" with all that belongs to it?"); err != nil {
				return err
			}
			return a.administer(ctx, &f, writes, func(admin *limiter.Admin) error {
				if err := admin.DeleteEntity(ctx, args[0]); err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"entity_id": args[0], "deleted": true})
				}
				_, err := fmt.Fprintf(a.stdout, "Deleted entity %s\n", args[0])
				return err
			})
		},
	}
	registerYes(cmd.Flags(), &yes)
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) entityChildrenCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "children ENTITY_ID", Short: "List the entities that have an entity as their parent", Example: "  zae-limiter entity children org-1", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				children, err := admin.Children(ctx, args[0])
				if err != nil {
					return err
				}
				documents, names := []entityDocument{}, []string{}
				for _, e := range children {
					documents, names = append(documents, newEntityDocument(e)), append(names, e.ID)
				}
				return a.printList(map[string]any{"parent_id": args[0], "children": documents}, "Children of "+args[0]+":", names, args[0]+" has no children")
			})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) entitySetParentCommand() *cobra.Command {
	var f tableFlags
	var parent string
	var none bool
	cmd := &cobra.Command{
		Use: "set-parent ENTITY_ID", Short: "Move an entity under another parent, or under none",
		Long: `Move an entity under another parent, or under none. Its buckets follow at once; what was charged to the
old parent stays there. Needs readers of release 0.17.0 (see zae-limiter system declare-readers).`,
		Example: "  zae-limiter entity set-parent user-1 --parent org-2\n  zae-limiter entity set-parent user-1 --none", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if (parent == "") != none {
				return usagef("where to? give --parent ID or --none")
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, writes, func(admin *limiter.Admin) error {
				stamped, err := admin.SetParent(ctx, args[0], parent)
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"entity_id": args[0], "parent_id": optional(parent), "buckets_stamped": stamped})
				}
				_, err = fmt.Fprintf(a.stdout, "Entity %s has the parent %s (%d buckets follow at once)\n", args[0], firstOf(parent, "none"), stamped)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&parent, "parent", "", "`id` of the new parent, which must exist")
	cmd.Flags().BoolVar(&none, "none", false, "no parent")
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

// entityLevel is a command about the limits of an entity, with --resource.
func entityLevel(cmd *cobra.Command, resource *string) {
	cmd.Args = oneArgument("ENTITY_ID")
	cmd.Flags().StringVarP(resource, "resource", "r", limiter.DefaultResource, "`resource`; "+limiter.DefaultResource+" is all that have no limits of their own")
}

func (a *app) entitySetLimitsCommand() *cobra.Command {
	var f tableFlags
	var limits limitFlags
	var resource string
	cmd := &cobra.Command{
		Use: "set-limits ENTITY_ID", Short: "Set the limits of an entity, all of them",
		Long:    "Set the limits of an entity, all of them: those that are not given again go, its flags stay.\n\n" + limitLong,
		Example: "  zae-limiter entity set-limits user-1 --resource gpt-4 --limit rpm:100 --limit tpm:50000/hour:80000",
		RunE: func(cmd *cobra.Command, args []string) error {
			parsed, err := parseLimits(limits.limits, limits.soft)
			if err != nil {
				return err
			}
			return a.setLevel(cmd.Context(), &f, limiter.ConfigKey{EntityID: args[0], Resource: resource}, limiter.ConfigChange{Limits: parsed})
		},
	}
	entityLevel(cmd, &resource)
	limits.register(cmd.Flags())
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) entityGetLimitsCommand() *cobra.Command {
	var f tableFlags
	var resource string
	cmd := &cobra.Command{
		Use: "get-limits ENTITY_ID", Short: "Show the limits and flags of an entity", Example: "  zae-limiter entity get-limits user-1 --resource gpt-4",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.getLevel(cmd.Context(), &f, limiter.ConfigKey{EntityID: args[0], Resource: resource})
		},
	}
	entityLevel(cmd, &resource)
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

func (a *app) entityDeleteLimitsCommand() *cobra.Command {
	var f tableFlags
	var resource string
	var yes bool
	cmd := &cobra.Command{
		Use: "delete-limits ENTITY_ID", Short: "Delete the limits and flags of an entity; the next level holds then", Example: "  zae-limiter entity delete-limits user-1 --resource gpt-4 --yes",
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.deleteLevel(cmd.Context(), &f, limiter.ConfigKey{EntityID: args[0], Resource: resource}, yes)
		},
	}
	entityLevel(cmd, &resource)
	registerYes(cmd.Flags(), &yes)
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) entityListCommand() *cobra.Command {
	var f tableFlags
	var resource, cursor string
	var limit int
	cmd := &cobra.Command{
		Use: "list", Short: "List the entities that have limits of their own on a resource",
		Example: "  zae-limiter entity list --with-custom-limits gpt-4 --limit 50", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if resource == "" {
				return usagef("on which resource? give --with-custom-limits RESOURCE (%s: on all)", limiter.DefaultResource)
			}
			if limit < 0 {
				return usagef("--limit must be at least 1, got %d", limit)
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				ids, next, err := listEntities(ctx, admin, resource, limit, cursor)
				if err != nil {
					return err
				}
				if err := a.printList(map[string]any{"resource": resource, "entities": orEmpty(ids), "next_cursor": optional(next)},
					"Entities with limits of their own on "+resource+":", ids, "no entity has limits of its own on "+resource); err != nil || a.json || next == "" {
					return err
				}
				_, err = fmt.Fprintf(a.stdout, "There are more: --cursor %s\n", next)
				return err
			})
		},
	}
	cmd.Flags().StringVar(&resource, "with-custom-limits", "", "the `resource`")
	cmd.Flags().IntVar(&limit, "limit", 0, "at most `n` entities (default: all)")
	cmd.Flags().StringVar(&cursor, "cursor", "", "go on where a list with --limit ended")
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}

// listEntities goes through the pages, to the end unless there is a limit.
func listEntities(ctx context.Context, admin *limiter.Admin, resource string, limit int, cursor string) (ids []string, next string, err error) {
	const page = 1000
	for {
		size := page
		if limit > 0 {
			size = min(page, limit-len(ids))
		}
		more, next, err := admin.EntitiesWithLimits(ctx, resource, size, cursor)
		if err != nil {
			return nil, "", err
		}
		ids, cursor = append(ids, more...), next
		if next == "" || limit > 0 && len(ids) >= limit {
			return ids, next, nil
		}
	}
}

func (a *app) entityListResourcesCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "list-resources", Short: "List the resources on which an entity has limits of its own", Example: "  zae-limiter entity list-resources", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx := cmd.Context()
			return a.administer(ctx, &f, reads, func(admin *limiter.Admin) error {
				names, err := admin.ResourcesWithEntityLimits(ctx)
				if err != nil {
					return err
				}
				return a.printList(map[string]any{"resources": orEmpty(names)}, "Resources on which entities have limits of their own:", names, "no entity has limits of its own")
			})
		},
	}
	a.registerNamespace(cmd.Flags(), &f, reads)
	return cmd
}
