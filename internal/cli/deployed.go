package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"path"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/account"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsrun"
	"github.com/zeroae/zae-limiter-go/internal/awsrun/functions"
	"github.com/zeroae/zae-limiter-go/internal/cost"
)

// deployedFlags are options of a run on a deployed load stack: they only mean something with --name.
type deployedFlags struct {
	size     awsrun.Size
	capacity string
	fallback bool
	confirm  string
	wait     runTimeFlag
}

// Capacity providers of Fargate.
const (
	onDemand = "FARGATE"
	spot     = "FARGATE_SPOT"
)

func (f *deployedFlags) register(flags *pflag.FlagSet) {
	flags.IntVar(&f.size.CPU, "cpu", 0, "CPU `units` of the task, 1024 for one vCPU (needs --name)")
	flags.IntVar(&f.size.Memory, "memory", 0, "memory of the task in `MB` (needs --name)")
	flags.StringVar(&f.capacity, "capacity-provider", "", "FARGATE or FARGATE_SPOT (needs --name; default: as deployed)")
	flags.BoolVar(&f.fallback, "capacity-fallback", false, "start on FARGATE when there is no Spot capacity (needs --name)")
	flags.StringVar(&f.confirm, "confirm-target", "", "the `name` once more: needed for a table with deletion protection or a production tag (needs --name)")
}

// given are the options of a list that are on the command line.
func given(flags *pflag.FlagSet, names ...string) []string {
	var found []string
	for _, name := range names {
		if flags.Changed(name) {
			found = append(found, "--"+name)
		}
	}
	return found
}

var deployedOptions = []string{"cpu", "memory", "capacity-provider", "capacity-fallback", "confirm-target", "metrics-wait"}

func (f *deployedFlags) validate() error {
	f.capacity = strings.ToUpper(f.capacity)
	if f.capacity != "" && f.capacity != onDemand && f.capacity != spot {
		return fmt.Errorf("--capacity-provider %q is unknown: want %s or %s", f.capacity, onDemand, spot)
	}
	if f.size.CPU < 0 || f.size.Memory < 0 {
		return errors.New("--cpu and --memory must not be negative")
	}
	return nil
}

func validateStackName(name string) error {
	if err := awsdeploy.CheckLoadNames(name, ""); err != nil {
		return fmt.Errorf("--name: %w", err)
	}
	return nil
}

// deployedLocustfile is the locustfile as the deployment knows it: below the deployed folder. It is ""
// when the deployment's own is wanted.
func (s *scenarioFlags) deployedLocustfile() (string, error) {
	if len(s.files) == 0 {
		return "", nil
	}
	for _, file := range s.files {
		clean := path.Clean(filepath.ToSlash(file))
		if path.IsAbs(clean) || filepath.IsAbs(file) || clean == ".." || strings.HasPrefix(clean, "../") {
			return "", fmt.Errorf("-f %s: with --name it is relative to the folder that was deployed (load deploy -C)", file)
		}
	}
	return strings.Join(s.files, ","), nil
}

// deployment is a deployed load stack that a command works with.
type deployment struct {
	app       *app
	account   *account.Account
	stack     awsrun.Stack
	tasks     *awsrun.Tasks
	logs      *awsrun.Logs
	watch     *awsrun.Watch
	functions *functions.Caller
	clock     awsrun.Clock
}

// openDeployment opens the account in which the load stack of a limiter is. Nothing is asked about the
// stack itself.
func (a *app) openDeployment(ctx context.Context, name string, flags accountFlags) (*deployment, error) {
	if err := validateStackName(name); err != nil {
		return nil, usage(err)
	}
	opened, err := a.openAccount(ctx, flags)
	if err != nil {
		return nil, interruption(ctx, err)
	}
	return a.deploymentIn(opened, awsrun.Stack(name)), nil
}

func (a *app) deploymentIn(opened *account.Account, stack awsrun.Stack) *deployment {
	clock := awsrun.WallClock{}
	return &deployment{
		app: a, account: opened, stack: stack, clock: clock,
		tasks: awsrun.NewTasks(opened.Config, stack, clock), logs: awsrun.NewLogs(opened.Config, clock),
		watch: awsrun.NewWatch(opened.Config), functions: functions.NewCaller(opened.Config),
	}
}

// account is where the options of a run look for the account when it is a deployed one.
func (t *targetFlags) account() accountFlags {
	return accountFlags{region: t.region, profile: t.profile, endpoint: t.endpoint}
}

// command is a command line of ours about this deployment, for advice.
func (d *deployment) command(words string) string {
	return fmt.Sprintf("zae-limiter load %s --name %s --region %s", words, d.stack, d.account.Region())
}

// taskPrices is what a task costs in an hour, and how it is charged.
func taskCost(size awsrun.Size, arm bool, capacity string) cost.Task {
	return cost.Task{VCPU: size.VCPU(), GB: size.GB(), ARM: arm, Spot: capacity == spot}
}

// freePort checks that the local end of a tunnel can be opened; 0 = any.
func freePort(ctx context.Context, port int) error {
	if port < 0 || port > 65535 {
		return usagef("--port must be between 0 and 65535, got %d", port)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", net.JoinHostPort("127.0.0.1", strconv.Itoa(port)))
	if err != nil {
		holder := portHolder(port)
		if holder != "" {
			holder = " (it is held by " + holder + ")"
		}
		return withHint(fmt.Errorf("the local port %d is busy%s: %w", port, holder, err),
			fmt.Sprintf("choose another one with --port (0 = a free one), or end what holds it: lsof -ti :%d | xargs kill", port))
	}
	return listener.Close()
}

// start starts a task, on demand when that is allowed and there is no other capacity.
func (d *deployment) start(ctx context.Context, s awsrun.Start, fallback bool) (*awsrun.Task, error) {
	s.Token = randomHex(16)
	task, err := d.tasks.Start(ctx, s)
	refused, ok := errors.AsType[*awsrun.NotStartedError](err)
	if !ok || !refused.NoCapacity() || !fallback || cmp.Or(s.Capacity, s.Network.Capacity) == onDemand {
		return task, err
	}
	d.app.warn("%v: starting it on %s", err, onDemand)
	s.Capacity, s.Token = onDemand, randomHex(16)
	return d.tasks.Start(ctx, s)
}

// taskSize is what a task of the definition gets, checked when any of it is overridden.
func taskSize(definition *awsrun.Definition, wanted awsrun.Size) (awsrun.Size, error) {
	size := wanted.Or(definition.Size)
	if wanted == (awsrun.Size{}) {
		return size, nil
	}
	if err := size.Validate(); err != nil {
		return size, usage(fmt.Errorf("--cpu and --memory: %w", err))
	}
	return size, nil
}

// How long cleaning up may take after everything else is over.
const cleanUpWithin = 5 * time.Minute

// endTask stops a task and waits until it has stopped.
func (d *deployment) endTask(ctx context.Context, arn, reason string) error {
	if err := d.tasks.Stop(ctx, arn, reason); err != nil {
		return err
	}
	_, err := d.tasks.AwaitStopped(ctx, arn)
	return err
}

// listed joins options for a sentence.
func listed(options []string) string { return strings.Join(options, ", ") }
