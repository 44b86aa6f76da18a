package cli

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/term"
	"github.com/zeroae/zae-limiter-go/limiter/dynamostore"
)

const namespaceLong = `A table holds any number of namespaces, which share nothing. One is registered by name and gets an id. Deleting it
takes the name away and leaves the data, which orphans lists, recover gives back and purge removes for good.
Registering a deleted name again gives a new id with nothing in it.

A command that writes to a namespace that is not there yet registers it and says so; one that reads does not.`

// namespaceCommand is the group of commands about the namespaces of a table.
func (a *app) namespaceCommand() *cobra.Command {
	return newGroup("namespace", "Namespaces of a table", namespaceLong,
		"  zae-limiter namespace register tenant-a tenant-b",
		a.namespaceRegisterCommand(), a.namespaceListCommand(), a.namespaceShowCommand(), a.namespaceDeleteCommand(),
		a.namespaceOrphansCommand(), a.namespaceRecoverCommand(), a.namespacePurgeCommand())
}

// namespaceDocument is a namespace in the output of a command.
type namespaceDocument struct {
	Name      string     `json:"name"`
	ID        string     `json:"namespace_id"`
	State     string     `json:"status"`
	CreatedAt *time.Time `json:"created_at"`
	DeletedAt *time.Time `json:"deleted_at,omitempty"`
}

func newNamespaceDocument(ns dynamostore.Namespace) namespaceDocument {
	d := namespaceDocument{Name: ns.Name, ID: ns.ID, State: ns.State}
	if !ns.CreatedAt.IsZero() {
		d.CreatedAt = &ns.CreatedAt
	}
	if !ns.DeletedAt.IsZero() {
		d.DeletedAt = &ns.DeletedAt
	}
	return d
}

// onTable runs a command on the table as a whole.
func (a *app) onTable(ctx context.Context, f *tableFlags, run func(*dynamostore.Table) error) error {
	table, done, err := a.openTable(ctx, f)
	if err != nil {
		return err
	}
	defer done()
	return interruption(ctx, explainAdmin(run(table), f))
}

// tableCommand is a command about the table as a whole.
func (a *app) tableCommand(f *tableFlags, cmd *cobra.Command) *cobra.Command {
	a.registerTable(cmd.Flags(), f)
	cmd.Flags().SortFlags = false
	return cmd
}

func (a *app) namespaceRegisterCommand() *cobra.Command {
	var f tableFlags
	cmd := &cobra.Command{
		Use: "register NAME...", Short: "Register namespaces; one that exists keeps its id", Example: "  zae-limiter namespace register tenant-a tenant-b",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("which namespaces? %s", cmd.UseLine())
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.onTable(ctx, &f, func(table *dynamostore.Table) error {
				if err := table.EnsureVersion(ctx); err != nil {
					return err
				}
				var documents []namespaceDocument
				for _, name := range args {
					if _, err := table.RegisterNamespace(ctx, name); err != nil {
						return err
					}
					ns, err := table.Namespace(ctx, name)
					if err != nil {
						return err
					}
					documents = append(documents, newNamespaceDocument(ns))
				}
				if a.json {
					return a.printJSON(map[string]any{"namespaces": documents})
				}
				for _, d := range documents {
					if _, err := fmt.Fprintf(a.stdout, "Namespace %s has the id %s\n", d.Name, d.ID); err != nil {
						return err
					}
				}
				return nil
			})
		},
	}
	f.registerCreate(cmd.Flags())
	return a.tableCommand(&f, cmd)
}

func (a *app) printNamespaces(list []dynamostore.Namespace, none string) error {
	documents := []namespaceDocument{}
	table := term.Table{Columns: []string{"Name", "ID", "Status", "Created"}, LeftColumns: 4}
	for _, ns := range list {
		documents = append(documents, newNamespaceDocument(ns))
		created := "unknown"
		if !ns.CreatedAt.IsZero() {
			created = ns.CreatedAt.UTC().Format(time.RFC3339)
		}
		table.Rows = append(table.Rows, []string{ns.Name, ns.ID, ns.State, created})
	}
	if a.json {
		return a.printJSON(map[string]any{"namespaces": documents})
	}
	return a.printRows(table, none)
}

func (a *app) namespaceListCommand() *cobra.Command {
	var f tableFlags
	return a.tableCommand(&f, &cobra.Command{
		Use: "list", Short: "List the active namespaces", Example: "  zae-limiter namespace list", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onTable(cmd.Context(), &f, func(table *dynamostore.Table) error {
				list, err := table.Namespaces(cmd.Context(), "")
				if err != nil {
					return err
				}
				return a.printNamespaces(list, "no namespaces")
			})
		},
	})
}

func (a *app) namespaceOrphansCommand() *cobra.Command {
	var f tableFlags
	return a.tableCommand(&f, &cobra.Command{
		Use: "orphans", Short: "List the deleted namespaces, whose data is still there", Example: "  zae-limiter namespace orphans", Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return a.onTable(cmd.Context(), &f, func(table *dynamostore.Table) error {
				list, err := table.OrphanedNamespaces(cmd.Context())
				if err != nil {
					return err
				}
				return a.printNamespaces(list, "no deleted namespaces")
			})
		},
	})
}

func (a *app) namespaceShowCommand() *cobra.Command {
	var f tableFlags
	return a.tableCommand(&f, &cobra.Command{
		Use: "show NAME", Short: "Show a namespace", Example: "  zae-limiter namespace show tenant-a", Args: oneArgument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return a.onTable(cmd.Context(), &f, func(table *dynamostore.Table) error {
				ns, err := table.Namespace(cmd.Context(), args[0])
				if _, missing := errors.AsType[*dynamostore.NamespaceNotFoundError](err); missing {
					return withHint(err, "see zae-limiter namespace list, or orphans for deleted ones")
				}
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(newNamespaceDocument(ns))
				}
				return a.printNamespaces([]dynamostore.Namespace{ns}, "")
			})
		},
	})
}

func (a *app) namespaceDeleteCommand() *cobra.Command {
	var f tableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "delete NAME", Short: "Delete a namespace; its data stays and can be recovered", Example: "  zae-limiter namespace delete tenant-a --yes", Args: oneArgument("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := a.agreed(ctx, yes, "Delete namespace "+args[0]+"? Its data stays."); err != nil {
				return err
			}
			return a.onTable(ctx, &f, func(table *dynamostore.Table) error {
				id, found, err := table.ResolveNamespace(ctx, args[0])
				if err == nil {
					err = table.DeleteNamespace(ctx, args[0])
				}
				if err != nil {
					return err
				}
				if a.json {
					return a.printJSON(map[string]any{"name": args[0], "namespace_id": optional(id), "deleted": found})
				}
				text := fmt.Sprintf("Deleted namespace %s; zae-limiter namespace recover %s brings it back", args[0], id)
				if !found {
					text = fmt.Sprintf("No namespace %s to delete", args[0])
				}
				_, err = fmt.Fprintln(a.stdout, text)
				return err
			})
		},
	}
	registerYes(cmd.Flags(), &yes)
	return a.tableCommand(&f, cmd)
}

func (a *app) namespaceRecoverCommand() *cobra.Command {
	var f tableFlags
	return a.tableCommand(&f, &cobra.Command{
		Use: "recover NAMESPACE_ID", Short: "Give a deleted namespace its name back", Example: "  zae-limiter namespace recover aB3x_9QwZ1k", Args: oneArgument("NAMESPACE_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			return a.onTable(ctx, &f, func(table *dynamostore.Table) error {
				name, err := table.RecoverNamespace(ctx, args[0])
				if err != nil {
					return explainState(err)
				}
				if a.json {
					return a.printJSON(map[string]any{"name": name, "namespace_id": args[0], "recovered": true})
				}
				_, err = fmt.Fprintf(a.stdout, "Namespace %s is back, with the id %s\n", name, args[0])
				return err
			})
		},
	})
}

func explainState(err error) error {
	if _, missing := errors.AsType[*dynamostore.NamespaceNotFoundError](err); missing {
		return withHint(err, "see zae-limiter namespace orphans")
	}
	if state, ok := errors.AsType[*dynamostore.NamespaceStateError](err); ok && state.State == "active" {
		return withHint(err, "delete it first: zae-limiter namespace delete")
	}
	return err
}

func (a *app) namespacePurgeCommand() *cobra.Command {
	var f tableFlags
	var yes bool
	cmd := &cobra.Command{
		Use: "purge NAMESPACE_ID", Short: "Remove all data of a deleted namespace, for good", Example: "  zae-limiter namespace purge aB3x_9QwZ1k --yes", Args: oneArgument("NAMESPACE_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			ctx := cmd.Context()
			if err := a.agreed(ctx, yes, "Remove all data of the namespace with the id "+args[0]+"? This cannot be undone."); err != nil {
				return err
			}
			return a.onTable(ctx, &f, func(table *dynamostore.Table) error {
				if err := table.PurgeNamespace(ctx, args[0]); err != nil {
					return explainState(err)
				}
				if a.json {
					return a.printJSON(map[string]any{"namespace_id": args[0], "purged": true})
				}
				_, err := fmt.Fprintf(a.stdout, "Removed all data of the namespace with the id %s\n", args[0])
				return err
			})
		},
	}
	registerYes(cmd.Flags(), &yes)
	return a.tableCommand(&f, cmd)
}
