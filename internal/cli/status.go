package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/orchestrator"
	"github.com/zeroae/zae-limiter-go/internal/term"
)

// statusFlags are the options of load status.
type statusFlags struct {
	account accountFlags
	name    string
	since   runTimeFlag
	tunnel  bool
	result  string
}

// statusCommand is `load status`.
func (a *app) statusCommand() *cobra.Command {
	f := &statusFlags{since: runTimeFlag(10 * time.Minute)}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show what a load stack on AWS is doing, with CloudWatch's metrics",
		Long: `Show the running task and its master, the function, and what CloudWatch measured of task, function and
table. Values arrive one to three minutes late; a metric without a value is left out: absent is not zero.

With --result the metrics of the time of that run are put into its result document.`,
		Example: `  zae-limiter load status --name my-limiter --region us-east-1
  zae-limiter load status --name my-limiter --region us-east-1 --result result.json`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.name == "" {
				return usagef("which stack? give --name NAME")
			}
			return a.status(cmd.Context(), f)
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&f.name, "name", "n", "", "limiter `stack` that the load stack is for")
	f.account.register(flags)
	flags.Var(&f.since, "since", "how far back the metrics go: seconds, or 1h30m")
	flags.BoolVar(&f.tunnel, "master", true, "ask the running master by a tunnel; =false leaves it alone")
	flags.StringVar(&f.result, "result", "", "put the metrics of its time into this result `file`")
	flags.SortFlags = false
	return cmd
}

// statusDocument is what load status found.
type statusDocument struct {
	Stack    string            `json:"stack"`
	Region   string            `json:"region"`
	Task     *listedTask       `json:"task"`
	Master   *masterDocument   `json:"master"` // null when it was not asked
	Function *functionDocument `json:"function"`
	Metrics  []metricDocument  `json:"metrics"`
	Problems map[string]string `json:"problems"`
}

type masterDocument struct {
	State   string  `json:"state"`
	Users   int     `json:"users"`
	RPS     float64 `json:"rps"`
	Workers int     `json:"workers"`
}

type functionDocument struct {
	Name           string  `json:"name"`
	MemoryMB       int     `json:"memory_mb"`
	TimeoutSeconds float64 `json:"timeout_seconds"`
	BuildID        *string `json:"build_id"`
	Reserved       *int    `json:"reserved_concurrency"`
	Unreserved     *int    `json:"unreserved_concurrency"`
}

// metricDocument is a metric with its newest value and those before it, minute by minute.
type metricDocument struct {
	Label  string          `json:"label"`
	Latest float64         `json:"latest"`
	Points []pointDocument `json:"points"`
}

type pointDocument struct {
	At    time.Time `json:"at"`
	Value float64   `json:"value"`
}

// askMasterWithin bounds the way to a master and its answer.
const askMasterWithin = 30 * time.Second

func (a *app) status(ctx context.Context, f *statusFlags) error {
	d, err := a.openDeployment(ctx, f.name, f.account)
	if err != nil {
		return err
	}
	if f.result != "" {
		return d.explain(ctx, d.joinFile(ctx, f.result))
	}
	s := &statusDocument{Stack: d.stack.Name(), Region: d.account.Region(), Metrics: []metricDocument{}, Problems: map[string]string{}}
	var errs [4]error
	var group sync.WaitGroup
	group.Go(func() { errs[0] = d.statusOfTask(ctx, f, s) })
	group.Go(func() { errs[1] = d.statusOfFunction(ctx, s) })
	group.Go(func() { errs[2] = d.statusOfMetrics(ctx, f, s) })
	group.Wait()
	if ctx.Err() != nil {
		return errInterrupted
	}
	if errors.Is(errs[0], awsrun.ErrNotDeployed) && errors.Is(errs[1], functions.ErrNotFound) {
		return d.explain(ctx, errs[0])
	}
	for i, part := range []string{"task", "function", "metrics"} {
		if errs[i] != nil {
			s.Problems[part] = awsError(errs[i], d.account.Profile).Error()
		}
	}
	if a.json {
		err = a.printJSON(s)
	} else {
		err = a.printStatus(s)
	}
	if len(s.Problems) == 3 {
		return errors.Join(err, d.explain(ctx, errs[2]))
	}
	return err
}

func (d *deployment) statusOfTask(ctx context.Context, f *statusFlags, s *statusDocument) error {
	found, err := d.tasks.Find(ctx)
	if err != nil || len(found) == 0 {
		return err
	}
	s.Task = taskRow(&found[0], len(found)-1, d.clock.Now())
	if !f.tunnel || !found[0].Ready() {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, askMasterWithin)
	defer cancel()
	status, err := d.askMaster(ctx, &found[0])
	if err != nil {
		return fmt.Errorf("ask the master: %w", err)
	}
	s.Master = &masterDocument{State: status.State, Users: status.Users, RPS: status.RPS, Workers: present(status.Workers)}
	return nil
}

// askMaster asks by a tunnel of its own.
func (d *deployment) askMaster(ctx context.Context, task *awsrun.Task) (status orchestrator.Status, err error) {
	way, err := d.openTunnel(ctx, task, 0, nil)
	if err != nil {
		return status, err
	}
	defer func() { err = errors.Join(err, way.Close()) }()
	master, err := newRemoteMaster(way.Port())
	if err != nil {
		return status, err
	}
	return master.Status(ctx)
}

func (d *deployment) statusOfFunction(ctx context.Context, s *statusDocument) error {
	config, err := d.functions.Configuration(ctx, d.stack.Worker())
	if err != nil {
		return err
	}
	s.Function = &functionDocument{
		Name: config.Name, MemoryMB: config.MemoryMB, TimeoutSeconds: config.Timeout.Seconds(), BuildID: optional(config.BuildID),
	}
	concurrency, err := awsrun.DescribeConcurrency(ctx, d.account.Config, d.stack)
	if err != nil {
		return err
	}
	if concurrency.Reserved >= 0 {
		s.Function.Reserved = &concurrency.Reserved
	}
	s.Function.Unreserved = &concurrency.Unreserved
	return nil
}

func (d *deployment) statusOfMetrics(ctx context.Context, f *statusFlags, s *statusDocument) error {
	now := d.clock.Now()
	series, err := d.watch.Read(ctx, d.stack.Metrics(), now.Add(-f.since.duration()), now)
	if err != nil {
		return err
	}
	for i := range series {
		latest, ok := series[i].Last()
		if !ok {
			continue
		}
		m := metricDocument{Label: series[i].Label, Latest: latest}
		for _, p := range series[i].Points {
			m.Points = append(m.Points, pointDocument{p.At.UTC(), p.Value})
		}
		s.Metrics = append(s.Metrics, m)
	}
	return nil
}

func (a *app) printStatus(s *statusDocument) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-10s %s\n", name+":", fmt.Sprintf(format, args...))
	}
	line("Stack", "%s, %s", s.Stack, s.Region)
	row := listedStack{Task: s.Task}
	line("Task", "%s", row.running())
	if m := s.Master; m != nil {
		line("Master", "%s, %d users, %d workers, %.1f requests/s", m.State, m.Users, m.Workers, m.RPS)
	}
	if f := s.Function; f != nil {
		concurrency := "unreserved"
		if f.Reserved != nil {
			concurrency = fmt.Sprintf("%d reserved", *f.Reserved)
		}
		line("Function", "%s, %d MB, timeout %.0f s, concurrency %s, build %s", f.Name, f.MemoryMB, f.TimeoutSeconds, concurrency, orDash(f.BuildID))
	}
	if len(s.Metrics) == 0 && s.Problems["metrics"] == "" {
		b.WriteString("CloudWatch has no value of this time; values arrive one to three minutes late.\n")
	}
	if _, err := a.stdout.Write([]byte(b.String())); err != nil {
		return err
	}
	table := term.Table{Columns: []string{"Metric", "Latest", "Most", "At"}, LeftColumns: 1}
	for i := range s.Metrics {
		m := &s.Metrics[i]
		most := m.Latest
		for _, p := range m.Points {
			most = max(most, p.Value)
		}
		table.Rows = append(table.Rows, []string{m.Label, formatMetric(m.Latest), formatMetric(most), m.Points[len(m.Points)-1].At.Local().Format("15:04")})
	}
	printTable(a.stdout, table)
	for part, problem := range s.Problems {
		a.warn("%s: %s", part, problem)
	}
	return nil
}

func formatMetric(x float64) string {
	if x == float64(int64(x)) {
		return formatCount(int64(x))
	}
	return fmt.Sprintf("%.2f", x)
}

// joinFile puts the metrics of its time into a result document.
func (d *deployment) joinFile(ctx context.Context, path string) error {
	result, err := readResult(path)
	if err != nil {
		return usage(err)
	}
	out, err := openOutput(path)
	if err != nil {
		return usage(err)
	}
	if err := d.joinMetrics(ctx, result); err != nil {
		return err
	}
	if err := out.write(result.WriteJSON); err != nil {
		return err
	}
	if d.app.json {
		return result.WriteJSON(d.app.stdout)
	}
	fmt.Fprintf(d.app.stderr, "the metrics of the run are in %s\n", path)
	return nil
}
