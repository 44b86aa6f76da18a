package cli

import (
	"context"
	"errors"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/spf13/cobra"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// pushCommand is `load push`.
func (a *app) pushCommand() *cobra.Command {
	var (
		account accountFlags
		ship    shipFlags
		name    string
	)
	cmd := &cobra.Command{
		Use:   "push",
		Short: "Send the folder of locustfiles, and this program, to a load test on AWS",
		Long: `Make the image and the function's package anew and send what has changed. Tasks that are started
afterwards run the new image; the stack changes in nothing else.`,
		Example: `  zae-limiter load push --name my-limiter --region us-east-1 -C examples/locust/`,
		Args:    positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if name != "" {
				if err := awsdeploy.CheckLoadNames(name, ""); err != nil {
					return usage(err)
				}
			}
			s, err := a.openStacksFor(cmd.Context(), account, name)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.push(cmd.Context(), name, &ship))
		},
	}
	flags := cmd.Flags()
	flags.StringVarP(&name, "name", "n", "", "`name` of the limiter (default: asked for)")
	ship.register(flags)
	account.register(flags)
	flags.SortFlags = false
	return cmd
}

// push ships the folder to a stack that is deployed. Image and build id are parameters of the stack: its
// template stays the one place that says what a task runs, and a deletion leaves no task definition behind.
func (s *stacker) push(ctx context.Context, given string, ship *shipFlags) error {
	name, err := s.limiterName(ctx, given)
	if err != nil {
		return err
	}
	before, err := s.deployedStack(ctx, name)
	if err != nil {
		return err
	}
	shipped, err := s.pack(ship, before.Parameters["Architecture"], before)
	if err != nil {
		return err
	}
	if kept := before.Parameters["Locustfile"]; kept != "" && !shipped.files.Has(kept) {
		s.warn(fmt.Sprintf("the default locustfile %s is not in %s: runs have to name one, or deploy again with -f", kept, shipped.files.Dir))
	}
	document := &deployedDocument{
		Stack: before.Name, BuildID: shipped.build.ID, Architecture: shipped.build.Arch,
		Locustfile: optional(before.Parameters["Locustfile"]), Function: awsdeploy.WorkerFunction(name), Endpoints: []string{},
	}
	request := &stack.Request{Name: before.Name, Parameters: shipped.parameters()}
	if err := s.applyAndShip(ctx, name, request, before, shipped, document); err != nil {
		return err
	}
	return s.printDeployed(name, document)
}

// deployedStack is the stack of a load test that this program has deployed.
func (s *stacker) deployedStack(ctx context.Context, name string) (*stack.Stack, error) {
	deploy := s.loadCommand("deploy", name) + " --vpc-id vpc-… --subnet-ids subnet-…,subnet-… -C FOLDER"
	before, err := s.stacks.Settled(ctx, awsdeploy.LoadStack(name), s.event)
	if errors.Is(err, stack.ErrNotFound) {
		return nil, withHint(fmt.Errorf("no load test of %s is deployed in %s", name, s.account.Region()), "deploy it first: "+deploy)
	}
	if err != nil {
		return nil, err
	}
	if !before.Usable() {
		return nil, withHint(fmt.Errorf("stack %s is in state %s", before.Name, before.Status), "deploy it again: "+deploy)
	}
	if before.Parameters["ImageDigest"] == "" {
		return nil, withHint(fmt.Errorf("stack %s was not deployed by this program", before.Name), "update it in place: "+deploy)
	}
	return before, nil
}

// pushImage puts the image into the repository of a limiter's load test.
func (s *stacker) pushImage(ctx context.Context, name string, shipped *shipment, document *deployedDocument) error {
	pushed, err := artifact.PushImage(ctx, ecr.NewFromConfig(s.account.Config), awsdeploy.Repository(name), shipped.build.ID, shipped.digest, shipped.image)
	if err != nil {
		return err
	}
	document.Image, document.LayersSent = &pushed.Reference, pushed.Sent
	if pushed.Sent == 0 {
		s.tell("image %s: unchanged", pushed.Reference)
	} else {
		s.tell("image %s: %d of %d layers sent", pushed.Reference, pushed.Sent, pushed.Layers)
	}
	return nil
}
