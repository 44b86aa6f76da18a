package cli

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/limiter"
)

// operationFlags are the options of reset and top-up.
type operationFlags struct{ resource, key string }

func (f *operationFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.resource, "resource", "r", "", "on this `resource`")
	flags.StringVar(&f.key, "idempotency-key", "", "name of this operation: a repetition with the same `key` within three days has no effect")
}

func (f *operationFlags) validate() error {
	if f.resource == "" {
		return usagef("on which resource? give --resource RESOURCE")
	}
	return nil
}

func (a *app) entityResetCommand() *cobra.Command {
	var f tableFlags
	var o operationFlags
	var limits []string
	cmd := &cobra.Command{
		Use: "reset ENTITY_ID", Short: "Give an entity its whole balance on a resource back",
		Long: `Give an entity its whole balance on a resource back: a limit that drips up to its ceiling, a calendar quota as if
its period began, a session quota with its next use, which opens a window. Consumption stays counted. Without a key an
error leaves open whether the reset was made.`,
		Example: "  zae-limiter entity reset user-1 --resource gpt-4 --limit tpm", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, writes, func(admin *limiter.Admin) error {
				result, err := admin.ResetBucket(ctx, args[0], o.resource, limits, o.key)
				if err != nil {
					return err
				}
				return a.printOperation("Reset", result)
			})
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().StringArrayVarP(&limits, "limit", "l", nil, "this `limit` only, once for each (default: all)")
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func (a *app) entityTopUpCommand() *cobra.Command {
	var f tableFlags
	var o operationFlags
	var additions []string
	cmd := &cobra.Command{
		Use: "top-up ENTITY_ID", Short: "Add tokens to the balance of an entity on a resource",
		Long: `Add tokens to the balance of an entity on a resource: to a limit that drips at most what is missing to its
ceiling, to a quota exactly what is asked, above its capacity if need be, until it comes back. Quotas need readers of
release 0.17.0 (see zae-limiter system declare-readers). Without a key an error leaves open whether the tokens were
added.`,
		Example: "  zae-limiter entity top-up user-1 --resource gpt-4 --add daily:5000 --idempotency-key order-4711", Args: oneArgument("ENTITY_ID"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := o.validate(); err != nil {
				return err
			}
			amounts, err := parseAmounts(additions)
			if err != nil {
				return err
			}
			ctx := cmd.Context()
			return a.administer(ctx, &f, writes, func(admin *limiter.Admin) error {
				result, err := admin.TopUp(ctx, args[0], o.resource, amounts, o.key)
				if err != nil {
					return err
				}
				return a.printOperation("Topped up", result)
			})
		},
	}
	o.register(cmd.Flags())
	cmd.Flags().StringArrayVarP(&additions, "add", "a", nil, "`LIMIT:N`: add N whole tokens to a limit, once for each")
	a.registerNamespace(cmd.Flags(), &f, writes)
	return cmd
}

func parseAmounts(texts []string) (limiter.Amounts, error) {
	if len(texts) == 0 {
		return nil, usagef("how much of what? give --add LIMIT:N, once for each limit")
	}
	amounts := limiter.Amounts{}
	for _, text := range texts {
		name, number, ok := strings.Cut(text, ":")
		if !ok {
			return nil, usagef("--add %q: want LIMIT:N", text)
		}
		n, err := wholeNumber(number)
		if err != nil || n < 1 {
			return nil, usagef("--add %q: %q is not a whole number above 0", text, number)
		}
		if _, twice := amounts[name]; twice {
			return nil, usagef("--add %s is given twice", name)
		}
		amounts[name] = n
	}
	return amounts, nil
}

func (a *app) printOperation(verb string, r limiter.OperationResult) error {
	if a.json {
		return a.printJSON(map[string]any{"entity_id": r.EntityID, "resource": r.Resource, "shards": r.Shards, "amounts": r.Amounts})
	}
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(r.Amounts)) {
		parts = append(parts, fmt.Sprintf("%s %+d", name, r.Amounts[name]))
	}
	if r.Shards == 0 {
		_, err := fmt.Fprintf(a.stdout, "%s has no bucket on %s: nothing to do\n", r.EntityID, r.Resource)
		return err
	}
	_, err := fmt.Fprintf(a.stdout, "%s %s on %s: %s\n", verb, r.EntityID, r.Resource, strings.Join(parts, ", "))
	return err
}
