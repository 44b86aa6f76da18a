package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// rootCommand assembles the tree of commands. Cobra adds help and completion.
func (a *app) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "zae-limiter",
		Short: "Rate limiting in DynamoDB, and load tests of it",
		Long: `Rate limiting in DynamoDB, and load tests of it.

entity, resource, system, namespace, limits, usage and audit administer the table of a limiter; deploy, status, check,
version, upgrade, list and delete its stack on AWS. The commands and options are those of the Python client 0.17, and
either can be used on a table of the other. load has the load tests, and local is the engine on this machine:

  zae-limiter local                                   # in another terminal; it names the address
  export ZAE_LIMITER_ENDPOINT_URL=http://127.0.0.1:8000
  zae-limiter system set-defaults --limit rpm:100 --create-table`,
		SilenceErrors: true,
		SilenceUsage:  true,
		Args:          unknownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example:       "  zae-limiter load benchmark -f examples/locust/locustfiles/max_rps.star --users 10 --duration 10",
	}
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return usage(withHint(err, "see "+cmd.CommandPath()+" --help"))
	})
	root.PersistentFlags().BoolVar(&a.json, "json", false, "print the result as one JSON object on stdout; errors too")
	a.config.register(root.PersistentFlags())
	older := a.loadCommand() // the group's name in earlier versions, which scripts still use
	older.Use, older.Hidden = "loadtest", true
	root.AddCommand(a.loadCommand(), older, a.localCommand(), a.aggregateCommand(), a.versionCommand())
	root.AddCommand(a.limiterDeployCommand(), a.limiterUpgradeCommand(), a.limiterStatusCommand(), a.limiterCheckCommand(), a.limiterDeleteCommand(), a.limiterListCommand(), a.limiterTemplateCommand(), a.lambdaExportCommand())
	root.AddCommand(a.entityCommand(), a.resourceCommand(), a.systemCommand(), a.namespaceCommand(), a.limitsCommand(), a.usageCommand(), a.auditCommand())
	addNotes(root)
	root.PersistentPreRunE = a.configure
	return root
}

// loadCommand is the group of load-testing commands.
func (a *app) loadCommand() *cobra.Command {
	load := &cobra.Command{
		Use:     "load",
		Short:   "Load tests with simulated users",
		Example: "  zae-limiter load benchmark -f examples/locust/locustfiles/simple.star --users 20 --duration 30",
		Args:    unknownCommand,
		RunE:    func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	load.AddCommand(a.benchmarkCommand(), a.checkCommand(), a.compareCommand(), a.tuneCommand(), a.masterCommand(), a.workerCommand(), a.connectCommand())
	load.AddCommand(a.orchestratorCommand())
	load.AddCommand(a.deployCommand(), a.pushCommand(), a.loadDeleteCommand(), a.loadTemplateCommand(), a.iamPolicyCommand(), a.healthCommand())
	load.AddCommand(a.listCommand(), a.statusCommand(), a.logsCommand(), a.doctorCommand())
	return load
}

// unknownCommand refuses what a group of commands does not know, with the nearest name it does.
func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return usage(withHint(err, "did you mean "+strings.Join(near, " or ")+"?"))
	}
	return usage(withHint(err, "see "+cmd.CommandPath()+" --help"))
}

// addNotes puts the sources of options and the exit codes below the help of every command.
func addNotes(root *cobra.Command) {
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		fmt.Fprintf(cmd.OutOrStdout(), "\n%s\n\n%s\n", settingsNote(cmd), exitTable)
	})
}
