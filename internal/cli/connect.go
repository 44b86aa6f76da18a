package cli

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/term"
)

// connectCommand is `load connect`.
func (a *app) connectCommand() *cobra.Command {
	f := newClusterFlags()
	var port int
	cmd := &cobra.Command{
		Use:     "connect [class…]",
		Aliases: []string{"ui"},
		Short:   "Open the web UI of a load test, on this machine or on AWS",
		Long: `Start a master with Locust's web UI, a worker on all cores and, unless --endpoint-url names another
target, the embedded engine, all in this process. Ctrl+C ends all of it. Other workers may join.

With --name the master is a task of that limiter's load stack on AWS, started unless it runs, and its
workers are functions. A tunnel leads to its web UI. Ctrl+C ends the tunnel; the task goes on.`,
		Example: `  zae-limiter load connect -f examples/locust/locustfiles/max_rps.star
  curl -X POST http://localhost:8089/swarm -d "user_count=120&spawn_rate=10"
  zae-limiter load connect -f examples/locust/locustfiles/simple.star --processes 2 --no-browser
  zae-limiter load connect --name my-limiter --region us-east-1 -f locustfiles/max_rps.py --destroy`,
		RunE: func(cmd *cobra.Command, args []string) error {
			f.scenario.addClasses(args)
			if cmd.Flags().Changed("port") {
				f.web.port = port
			}
			err := f.validateCluster(cmd.Flags())
			if wrong := given(cmd.Flags(), append(connectOptions, deployedOptions...)...); len(wrong) > 0 && f.name == "" {
				err = errors.Join(err, fmt.Errorf("%s: only with --name", strings.Join(wrong, ", ")))
			}
			if f.standalone && (f.processes != 0 || f.locust.command != "") {
				err = errors.Join(err, errors.New("--standalone is without workers: it does not go with --processes and --locust-command"))
			}
			if err != nil {
				return usage(err)
			}
			if f.name != "" {
				return a.connectDeployed(cmd, f)
			}
			return a.connect(cmd, f)
		},
	}
	flags := cmd.Flags()
	f.registerCluster(flags)
	flags.IntVar(&port, "port", defaultWebPort, "the same as --web-port")
	flags.BoolVar(&f.standalone, "standalone", false, "no workers: run the users in this process alone")
	flags.IntVar(&f.processes, "processes", 0, "run the users in so many worker `processes` instead of this one; -1 = one for each core")
	flags.BoolVar(&f.noBrowser, "no-browser", false, "do not open a browser")
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` on AWS: open the web UI of its load stack")
	f.connect.register(flags)
	f.deployed.register(flags)
	flags.SortFlags = false
	return cmd
}

func (a *app) connect(cmd *cobra.Command, f *clusterCommandFlags) error {
	processes := f.workerProcesses()
	t := &masterRun{
		web: &f.web, inside: processes == 0 && f.locust.command == "",
		processes: processes, workerArgs: f.scenario.place(),
		start: f.autostart, end: f.autoquit >= 0, expect: max(1, processes), expectMax: workersJoinWithin,
		browser: !f.noBrowser && a.hasDesktop(),
	}
	f.alone = f.standalone
	return a.runCluster(cmd, f, t, term.NewProgress(a.stderr, progressInterval))
}
