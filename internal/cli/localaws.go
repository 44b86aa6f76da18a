package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/zeroae/zae-limiter-go/internal/awsfake"
	"github.com/zeroae/zae-limiter-go/internal/awsfake/network"
)

// localAWSFlags are the options of local aws.
type localAWSFlags struct {
	port   int
	state  string
	fail   []string
	engine engineFlags
}

// localAWSCommand is `local aws`: an AWS account on this machine.
func (a *app) localAWSCommand() *cobra.Command {
	var f localAWSFlags
	cmd := &cobra.Command{
		Use:   "aws [-- COMMAND…]",
		Short: "Play AWS on this machine",
		Long: `Play the part of AWS that this program uses, on one loopback address: CloudFormation, IAM, STS, EC2
networks, ECR, ECS, Lambda, Session Manager, CloudWatch, DynamoDB. Tasks and functions are processes
of this machine. The account is thrown away at the end unless --state names a folder.

Without a command the variables to set are printed, and Ctrl+C ends everything. With a command it
runs in that environment, and its exit code is that of this program.

--fail takes rules SERVICE:ACTION[*TIMES][@PROBABILITY]=[CODE: ]MESSAGE, separated by semicolons:
  ecs:RunTask*2=ThrottlingException: Rate exceeded   the first two calls
  lambda:*@0.1=ServiceException: try again           every tenth call
  resource:MasterService/CREATE=no capacity          a resource of a stack, in a phase
  task:Pull=…, task:Init=…, task:Agent=…             tasks whose image, start or agent fails
  task:Capacity=FARGATE_SPOT                         a capacity provider that has none
  task:Spot*1=20s                                    the first task's Spot capacity is taken back after 20 s`,
		Example: `  zae-limiter local aws
  zae-limiter local aws --state ./account
  zae-limiter local aws -- zae-limiter load list
  zae-limiter local aws --fail "ecs:RunTask=Capacity is unavailable at this time" -- sh ./try.sh`,
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && cmd.ArgsLenAtDash() != 0 {
				return usage(withHint(fmt.Errorf("%s takes a command after --, got %q", cmd.CommandPath(), args[0]), "write "+cmd.CommandPath()+" -- "+args[0]+" …"))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if f.port < 0 || f.port > 65535 {
				return usagef("--port must be between 0 and 65535, got %d", f.port)
			}
			return a.playAWS(cmd.Context(), f, args)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&f.port, "port", 0, "port to listen on; 0 = that of --state's last run, else a free one")
	flags.StringVar(&f.state, "state", "", "`folder` that keeps the account between runs")
	flags.StringArrayVar(&f.fail, "fail", nil, "`rules` that make calls fail; may be repeated")
	f.engine.register(flags, "engine-")
	flags.SortFlags = false
	return cmd
}

const (
	// closeWithin bounds how long operations on stacks are waited for at the end.
	closeWithin = 20 * time.Second
	// hurryWithin bounds the end after a second signal, when they are not waited for.
	hurryWithin = 10 * time.Second
)

func (a *app) playAWS(ctx context.Context, f localAWSFlags, command []string) (err error) {
	if err := f.engine.validate(); err != nil {
		return usage(err)
	}
	engine, err := f.engine.config()
	if err != nil {
		return usage(err)
	}
	cloud, err := awsfake.Start(ctx, awsfake.Options{Port: f.port, StateDir: f.state, Fail: f.fail, Engine: engine, Log: newLogger(a.stderr, slog.LevelWarn)})
	if err != nil {
		return startError(err)
	}
	patient, hurry := context.WithCancel(context.WithoutCancel(ctx))
	closed := make(chan struct{})
	defer func() {
		closing, cancel := context.WithTimeout(patient, closeWithin)
		defer cancel()
		if left := cloud.Close(closing); left != nil {
			fmt.Fprintf(a.stderr, "end of the account: %v\n", left)
			err = cmp.Or(err, left)
		}
		hurry()
		close(closed)
	}()
	// This process must not end before the account's: nobody else would end their processes.
	a.active.Store(&activeRun{notes: a.stderr, kill: func() {
		hurry()
		select {
		case <-closed:
		case <-time.After(hurryWithin):
		}
	}})
	defer a.active.Store(nil)
	if len(command) > 0 {
		return a.runInside(ctx, patient, cloud, command)
	}
	if err := a.printCloud(cloud, f.state); err != nil {
		return err
	}
	<-ctx.Done() // Ctrl+C is the normal end
	return nil
}

func startError(err error) error {
	if errors.Is(err, syscall.EADDRINUSE) {
		return withHint(err, "choose another port with --port (0 = a free one)")
	}
	if errors.Is(err, awsfake.ErrBusy) {
		return withHint(err, "end the other one, or choose another folder with --state")
	}
	if errors.Is(err, awsfake.ErrRule) {
		return usage(err)
	}
	return err
}

func (a *app) printCloud(cloud *awsfake.Cloud, state string) error {
	exports := cloud.Environ()
	if a.json {
		environment := map[string]string{}
		for _, variable := range exports {
			name, value, _ := strings.Cut(variable, "=")
			environment[name] = value
		}
		return a.printJSON(map[string]any{
			"endpoint": cloud.Endpoint(), "region": cloud.Region(), "account": cloud.Account(), "environment": environment,
			"vpc_id": network.LocalVPC, "subnet_ids": []string{network.SubnetA, network.SubnetB},
		})
	}
	end := "throws everything away"
	if state != "" {
		end = "keeps the account in " + state
	}
	_, err := fmt.Fprintf(a.stdout, "AWS account %s in %s on %s\n\nexport %s\n\nIts network: --vpc-id %s --subnet-ids \"%s,%s\"\n\nCtrl+C ends it and %s.\n",
		cloud.Account(), cloud.Region(), cloud.Endpoint(), strings.Join(exports, "\nexport "), network.LocalVPC, network.SubnetA, network.SubnetB, end)
	return err
}

// childStatus is the exit code of a command that this one stood around.
type childStatus struct{ code int }

func (s *childStatus) Error() string { return fmt.Sprintf("the command ended with code %d", s.code) }

// runInside runs a command in the account. It has the terminal, and so gets Ctrl+C by itself; without a
// terminal the signal is passed on. It is killed when patience ends.
func (a *app) runInside(ctx, patience context.Context, cloud *awsfake.Cloud, command []string) error {
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = a.stdin, a.stdout.w, a.stderr.Writer
	cmd.Env = append(withoutAWS(os.Environ()), cloud.Environ()...)
	stdin, ok := a.stdin.(*os.File)
	interactive := ok && term.IsTerminal(int(stdin.Fd()))
	if !interactive {
		ownGroup(cmd)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start the command: %w", err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	var err error
	select {
	case err = <-ended:
	case <-ctx.Done():
		if !interactive {
			signalGroup(cmd, syscall.SIGINT)
		}
		select {
		case err = <-ended:
		case <-patience.Done():
			signalGroup(cmd, syscall.SIGKILL)
			err = <-ended
		}
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		return err
	}
	return &childStatus{statusOf(exit)}
}

// statusOf is the exit code as a shell tells it: 128 and the signal for one that was killed.
func statusOf(exit *exec.ExitError) int {
	if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return exit.ExitCode()
}

// withoutAWS leaves out the variables that would lead a client elsewhere.
func withoutAWS(environ []string) []string {
	return slices.DeleteFunc(environ, func(variable string) bool {
		name, _, _ := strings.Cut(variable, "=")
		switch name {
		case "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_SESSION_TOKEN", "AWS_ROLE_ARN", "AWS_WEB_IDENTITY_TOKEN_FILE", "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS":
			return true
		}
		return strings.HasPrefix(name, "AWS_ENDPOINT_URL_") || strings.HasPrefix(name, "AWS_CONTAINER_")
	})
}
