package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/aws/aws-sdk-go-v2/service/ec2"
	"github.com/aws/aws-sdk-go-v2/service/ecr"
	"github.com/aws/aws-sdk-go-v2/service/lambda"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// shipFlags say what is shipped.
type shipFlags struct {
	dir    string
	binary string
}

func (f *shipFlags) register(flags *pflag.FlagSet) {
	flags.StringVarP(&f.dir, "directory", "C", ".", "`folder` with locustfiles and their modules; all of it is shipped, hidden files and virtual environments left out")
	flags.StringVar(&f.binary, "binary", "", "Linux build of this program to ship (default: this one, or "+artifact.ReleaseName("ARCH")+" beside it)")
}

// deployFlags are the options of load deploy as given.
type deployFlags struct {
	account             accountFlags
	ship                shipFlags
	options             awsdeploy.LoadOptions
	locustfile          string
	workerTimeoutMinute int
	reserved            string
	endpoints           awsdeploy.EndpointChoice
	noSSM, noDynamoDB   bool
	role                string
	dryRun              bool
}

// deployCommand is `load deploy`.
func (a *app) deployCommand() *cobra.Command {
	f := &deployFlags{}
	cmd := &cobra.Command{
		Use:   "deploy",
		Short: "Deploy a load test of a limiter on AWS",
		Long: `Make or update the stack of a load test on AWS: a task on Fargate with master and orchestrator, and a
function for the workers. The image and the function's package are made from this program and the
folder of -C, without Docker. A second run changes only what has changed; VPC, subnets and locustfile
stay as they are when they are not given again.`,
		Example: `  zae-limiter load deploy --name my-limiter --region us-east-1 --vpc-id vpc-xxx \
    --subnet-ids "subnet-aaa,subnet-bbb" -C examples/locust/
  zae-limiter load deploy --name my-limiter -C examples/locust -f locustfiles/max_rps.star --dry-run`,
		Args: positional,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.complete(cmd.Flags()); err != nil {
				return usage(err)
			}
			s, err := a.openStacksFor(cmd.Context(), f.account, f.options.Name)
			if err != nil {
				return err
			}
			return s.explain(cmd.Context(), s.deployLoad(cmd.Context(), f, cmd.Flags().Changed("locustfile")))
		},
	}
	f.register(cmd.Flags())
	return cmd
}

func (f *deployFlags) register(flags *pflag.FlagSet) {
	o := &f.options
	flags.StringVarP(&o.Name, "name", "n", "", "`name` of the limiter (default: asked for)")
	flags.StringVar(&o.VPC, "vpc-id", "", "`VPC` of task and functions (default: as deployed, or asked for)")
	flags.StringSliceVar(&o.Subnets, "subnet-ids", nil, "`subnets` of task and functions, in two zones at least (default: as deployed, or asked for)")
	f.ship.register(flags)
	flags.StringVarP(&f.locustfile, "locustfile", "f", "", "`locustfile` of runs that name none, relative to -C (default: as deployed, else locustfile.star if there)")
	flags.IntVar(&o.MaxWorkers, "max-workers", 100, "at most so many `workers`, replacements not counted")
	flags.IntVar(&o.UsersPerWorker, "users-per-worker", 10, "simulated `users` that one worker runs")
	flags.IntVar(&o.MinWorkers, "min-workers", 1, "`workers` kept also without a test")
	flags.IntVar(&o.StartupLeadSeconds, "startup-lead-time", 20, "`seconds` that the orchestrator looks ahead")
	flags.IntVar(&f.workerTimeoutMinute, "lambda-timeout", 5, "`minutes` that a worker may run, 1 to 15")
	flags.IntVar(&o.WorkerMemoryMB, "lambda-memory", 1769, "memory of a worker in `MB`; 1769 MB are one vCPU")
	flags.StringVar(&f.reserved, "reserved-concurrency", "none", "concurrency reserved for the workers: none, or a `number`, at least twice --max-workers")
	flags.StringVar(&o.CapacityProvider, "capacity-provider", "FARGATE_SPOT", "FARGATE_SPOT or FARGATE")
	flags.StringVar(&o.Architecture, "arch", defaultArch(), "amd64 or arm64, for task and functions")
	flags.StringVar(&f.endpoints.Services, "vpc-endpoints", awsdeploy.EndpointsNone, "interface endpoints for subnets without NAT: none, ssm (the tunnel), all")
	flags.BoolVar(&f.endpoints.LegacySSM, "ssm-endpoint", false, "endpoints ssm, ssmmessages and ec2messages")
	flags.BoolVar(&f.noSSM, "no-ssm-endpoint", false, "the opposite")
	flags.BoolVar(&f.endpoints.DynamoDB, "dynamodb-endpoint", true, "gateway endpoint of DynamoDB, which is free")
	flags.BoolVar(&f.noDynamoDB, "no-dynamodb-endpoint", false, "the opposite")
	flags.StringVar(&o.ContainerInsights, "container-insights", "enabled", "metrics of the task in CloudWatch: disabled, enabled or enhanced")
	flags.IntVar(&o.LogRetentionDays, "log-retention-days", 7, "`days` that logs are kept")
	flags.StringVar(&f.role, "cfn-role-arn", "", "`ARN` of a role that CloudFormation acts as, so that the caller needs no rights on the resources")
	flags.BoolVar(&f.dryRun, "dry-run", false, "show the changes and make none")
	f.account.register(flags)
	flags.SortFlags = false
}

// defaultArch is this program's own architecture, so that it can be shipped as it is.
func defaultArch() string {
	if artifact.Architecture(runtime.GOARCH) {
		return runtime.GOARCH
	}
	return "amd64"
}

// complete checks the options and turns them into those of the package.
func (f *deployFlags) complete(flags *pflag.FlagSet) error {
	o := &f.options
	o.CapacityProvider = strings.ToUpper(o.CapacityProvider)
	o.WorkerTimeoutSeconds = 60 * f.workerTimeoutMinute
	o.Version = readBuild().Version
	errs := []error{opposites(flags, "ssm-endpoint", "dynamodb-endpoint")}
	if f.noSSM {
		f.endpoints.LegacySSM = false
	}
	if f.noDynamoDB {
		f.endpoints.DynamoDB = false
	}
	if f.reserved != "none" {
		n, err := strconv.Atoi(f.reserved)
		if err != nil || n < 1 {
			errs = append(errs, fmt.Errorf("--reserved-concurrency %q: want none or a number", f.reserved))
		}
		o.ReservedConcurrency = n
	}
	for i, id := range o.Subnets {
		o.Subnets[i] = strings.TrimSpace(id)
	}
	o.Subnets = slices.DeleteFunc(o.Subnets, func(id string) bool { return id == "" })
	if !slices.Contains([]string{awsdeploy.EndpointsNone, awsdeploy.EndpointsSSM, awsdeploy.EndpointsAll}, f.endpoints.Services) {
		errs = append(errs, fmt.Errorf("--vpc-endpoints must be none, ssm or all, got %q", f.endpoints.Services))
	}
	if o.VPC != "" && !strings.HasPrefix(o.VPC, "vpc-") {
		errs = append(errs, fmt.Errorf("--vpc-id must begin with vpc-, got %q", o.VPC))
	}
	if o.Name != "" {
		errs = append(errs, awsdeploy.CheckLoadNames(o.Name, ""))
	}
	return errors.Join(append(errs, o.Validate())...)
}

// opposites refuses an option together with the one that switches it off.
func opposites(flags *pflag.FlagSet, names ...string) error {
	var errs []error
	for _, name := range names {
		if flags.Changed(name) && flags.Changed("no-"+name) {
			errs = append(errs, fmt.Errorf("--%s does not go with --no-%s", name, name))
		}
	}
	return errors.Join(errs...)
}

// openStacksFor is openStacks for a command that asks for a limiter's name when none is given.
func (a *app) openStacksFor(ctx context.Context, flags accountFlags, name string) (*stacker, error) {
	if name == "" {
		if err := a.needTerminal("--name"); err != nil {
			return nil, err
		}
	}
	return a.openStacks(ctx, flags)
}

// shipment is a build with what is made of it.
type shipment struct {
	build *artifact.Build
	files *artifact.Files
	// Image and package are made when they are needed, once.
	image func() (v1.Image, error)
	code  func() ([]byte, error)
	// digest of the image and CodeSHA256 of the package.
	digest, sum string
}

// parameters are those of the stack that say what is shipped.
func (p *shipment) parameters() map[string]string {
	return map[string]string{"ImageDigest": p.digest, "BuildId": p.build.ID, "CodeSha256": p.sum}
}

// weigh finds out digest and CodeSHA256: those that the stack has recorded of the same build, so that
// nothing needs to be compressed when nothing has changed, or those of image and package, made side by side.
func (p *shipment) weigh(before *stack.Stack) error {
	if before != nil && before.Parameters["BuildId"] == p.build.ID && before.Parameters["ImageDigest"] != "" && before.Parameters["CodeSha256"] != "" {
		p.digest, p.sum = before.Parameters["ImageDigest"], before.Parameters["CodeSha256"]
		return nil
	}
	var work sync.WaitGroup
	var imageErr, codeErr error
	work.Go(func() {
		image, err := p.image()
		if err != nil {
			imageErr = err
			return
		}
		hash, err := image.Digest()
		p.digest, imageErr = hash.String(), err
	})
	work.Go(func() {
		code, err := p.code()
		p.sum, codeErr = artifact.CodeSHA256(code), err
	})
	work.Wait()
	return errors.Join(imageErr, codeErr)
}

// pack reads what is shipped. before is the stack as it stands, nil when there is none.
func (s *stacker) pack(f *shipFlags, arch string, before *stack.Stack) (*shipment, error) {
	files, err := artifact.Collect(f.dir)
	if err != nil {
		return nil, usage(err)
	}
	binary, err := s.linuxBinary(f.binary, arch)
	if err != nil {
		return nil, err
	}
	if files.Has("requirements.txt") {
		s.warn("requirements.txt has no meaning here: locustfiles are Starlark, and no Python packages are installed")
	}
	build, err := artifact.NewBuild(binary, arch, files)
	if err != nil {
		return nil, usage(err)
	}
	p := &shipment{build: build, files: files, image: sync.OnceValues(build.Image), code: sync.OnceValues(build.Package)}
	if err := p.weigh(before); err != nil {
		return nil, err
	}
	s.tell("build %s for linux/%s: %d files (%.1f MB) of %s", build.ID, arch, len(files.List), megabytes(files.Bytes()), path.Clean(f.dir))
	if len(files.Skipped) > 0 {
		s.tell("left out: %s", abridged(files.Skipped))
	}
	return p, nil
}

// linuxBinary is the build of this program that is shipped: the one given, or the one that is found.
func (s *stacker) linuxBinary(given, arch string) (*artifact.Binary, error) {
	executable, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("path of this program: %w", err)
	}
	source := artifact.Source{Given: given, Executable: executable, OS: runtime.GOOS, Arch: runtime.GOARCH}
	binary, err := source.Find(arch)
	if errors.Is(err, artifact.ErrNoBinary) {
		err = withHint(err, "take it from a release or build it (make dist), and name it with --binary")
	}
	if err != nil {
		return nil, usage(err)
	}
	if !binary.Static && s.account.EndpointURL == "" {
		return nil, usage(withHint(fmt.Errorf("%s needs a C library, which neither image nor function has", binary.Path), "build this program with CGO_ENABLED=0 (make build), or name another build with --binary"))
	}
	return binary, nil
}

// listOf is a list that JSON shows as one also when it is empty.
func listOf[T any](list []T) []T { return append([]T{}, list...) }

func megabytes(n int64) float64 { return float64(n) / (1 << 20) }

// abridged is the beginning of a list.
func abridged(list []string) string {
	const most = 8
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// deployment of a load test in the output of load deploy and load push.
type deployedDocument struct {
	Stack        string         `json:"stack"`
	Action       string         `json:"action"` // created, updated, unchanged, planned
	Changes      []stack.Change `json:"changes"`
	BuildID      string         `json:"build_id"`
	Architecture string         `json:"architecture"`
	Locustfile   *string        `json:"locustfile"`
	Image        *string        `json:"image"` // null when none was pushed
	LayersSent   int            `json:"image_layers_sent"`
	Function     string         `json:"function"`
	CodeSent     bool           `json:"function_code_sent"`
	Version      string         `json:"function_version"` // the one that is invoked; "" after a dry run
	Endpoints    []string       `json:"endpoints"`
	Warnings     []string       `json:"warnings"`
}

// deployLoad makes the stack of a load test what the options say, and ships the folder.
func (s *stacker) deployLoad(ctx context.Context, f *deployFlags, locustfileGiven bool) error {
	o := &f.options
	name, err := s.limiterName(ctx, o.Name)
	if err != nil {
		return err
	}
	o.Name = name
	target, err := awsdeploy.FindTarget(ctx, s.stacks, s.tables(), s.policies(), name)
	if err != nil {
		return err
	}
	if err := awsdeploy.CheckLoadNames(name, target.RoleFormat); err != nil {
		return usage(err)
	}
	before, err := s.existing(ctx, awsdeploy.LoadStack(name))
	if err != nil {
		return err
	}
	s.tell("deploying %s in %s", awsdeploy.LoadStack(name), s.account.Region())
	for _, line := range target.Warnings {
		s.warn(line)
	}
	if target.Boundary != "" {
		s.tell("permission boundary of the roles: %s", target.Boundary)
	}
	if target.RoleFormat != "{}" {
		s.tell("names of the roles: %s", target.RoleFormat)
	}
	network := ec2.NewFromConfig(s.account.Config)
	plan, err := s.planNetwork(ctx, network, f, before)
	if err != nil {
		return err
	}
	warning, err := awsdeploy.CheckConcurrency(ctx, lambda.NewFromConfig(s.account.Config), awsdeploy.WorkerFunction(name), o.ReservedConcurrency, o.MaxWorkers)
	if err != nil {
		return err
	}
	if warning != "" {
		s.warn(warning)
	}
	shipped, err := s.pack(&f.ship, o.Architecture, before)
	if err != nil {
		return err
	}
	if err := s.defaultLocustfile(f, shipped.files, before, locustfileGiven); err != nil {
		return err
	}
	request := &stack.Request{
		Name: awsdeploy.LoadStack(name), Template: awsdeploy.LoadTemplate(), Role: f.role, DryRun: f.dryRun,
		Parameters: o.Parameters(target, plan, shipped.parameters()), Tags: o.Tags(),
	}
	document := &deployedDocument{
		Stack: request.Name, BuildID: shipped.build.ID, Architecture: o.Architecture, Locustfile: optional(o.Locustfile),
		Function: awsdeploy.WorkerFunction(name), Endpoints: listOf(plan.Notes),
	}
	if err := s.applyAndShip(ctx, name, request, before, shipped, document); err != nil {
		return err
	}
	return s.printDeployed(name, document)
}

// planNetwork completes VPC and subnets, checks them and decides about endpoints.
func (s *stacker) planNetwork(ctx context.Context, api awsdeploy.EC2API, f *deployFlags, before *stack.Stack) (*awsdeploy.EndpointPlan, error) {
	o := &f.options
	own := map[string]string{}
	if before != nil {
		o.VPC = cmp.Or(o.VPC, before.Parameters["VpcId"])
		if len(o.Subnets) == 0 && o.VPC == before.Parameters["VpcId"] && before.Parameters["PrivateSubnetIds"] != "" {
			o.Subnets = strings.Split(before.Parameters["PrivateSubnetIds"], ",")
		}
		var err error
		if own, err = s.stacks.Resources(ctx, before.Name); err != nil {
			return nil, err
		}
	}
	if err := s.chooseVPC(ctx, api, o); err != nil {
		return nil, err
	}
	available, err := awsdeploy.Subnets(ctx, api, o.VPC)
	if err != nil {
		return nil, err
	}
	if err := s.chooseSubnets(ctx, o, available); err != nil {
		return nil, err
	}
	if err := awsdeploy.CheckSubnets(o.VPC, o.Subnets, available); err != nil {
		return nil, err
	}
	routes, err := awsdeploy.FindRoutes(ctx, api, o.VPC, o.Subnets)
	if err != nil {
		return nil, err
	}
	plan, err := awsdeploy.PlanEndpoints(ctx, api, s.account.Region(), o.VPC, routes.Tables, own, f.endpoints)
	if err != nil {
		return nil, err
	}
	for _, line := range plan.Notes {
		s.tell("%s", line)
	}
	if len(routes.WithoutWayOut) > 0 && !plan.Reaches {
		s.warn(fmt.Sprintf("%s: no route by which a task without a public address reaches AWS, so it cannot pull its image; give the subnets a NAT gateway, or deploy with --vpc-endpoints all", strings.Join(routes.WithoutWayOut, ", ")))
	}
	return plan, nil
}

func (s *stacker) chooseVPC(ctx context.Context, api awsdeploy.EC2API, o *awsdeploy.LoadOptions) error {
	if o.VPC != "" {
		return nil
	}
	missing := []string{"--vpc-id"}
	if len(o.Subnets) == 0 {
		missing = append(missing, "--subnet-ids")
	}
	if err := s.app.needTerminal(missing...); err != nil {
		return err
	}
	vpcs, err := awsdeploy.VPCs(ctx, api)
	if err != nil {
		return err
	}
	if len(vpcs) == 0 {
		return fmt.Errorf("there are no VPCs in region %s", s.account.Region())
	}
	chosen, err := s.app.choose(ctx, "VPCs in "+s.account.Region()+":", labelsOf(vpcs), false)
	if err == nil {
		o.VPC = vpcs[chosen[0]].ID
	}
	return err
}

func (s *stacker) chooseSubnets(ctx context.Context, o *awsdeploy.LoadOptions, available []awsdeploy.Place) error {
	if len(o.Subnets) > 0 {
		return nil
	}
	if err := s.app.needTerminal("--subnet-ids"); err != nil {
		return err
	}
	if len(available) == 0 {
		return fmt.Errorf("there are no subnets in VPC %s", o.VPC)
	}
	chosen, err := s.app.choose(ctx, "Subnets of "+o.VPC+", choose at least 2:", labelsOf(available), true)
	if err != nil {
		return err
	}
	if len(chosen) < 2 {
		return errors.New("choose at least 2 subnets")
	}
	for _, i := range chosen {
		o.Subnets = append(o.Subnets, available[i].ID)
	}
	return nil
}

func labelsOf(places []awsdeploy.Place) []string {
	var labels []string
	for i := range places {
		labels = append(labels, places[i].Label())
	}
	return labels
}

// usualLocustfile is the default of a folder that has it, as locustfile.py is Locust's.
const usualLocustfile = "locustfile.star"

// defaultLocustfile finds the locustfile of runs that name none: the one given, else the one of before, else
// the usual one.
func (s *stacker) defaultLocustfile(f *deployFlags, files *artifact.Files, before *stack.Stack, given bool) error {
	o := &f.options
	if !given {
		kept := ""
		if before != nil {
			kept = before.Parameters["Locustfile"]
		}
		switch {
		case files.Has(kept):
			o.Locustfile = kept
		case kept != "":
			s.warn(fmt.Sprintf("the default locustfile %s is not in %s any more: runs have to name one", kept, files.Dir))
		case files.Has(usualLocustfile):
			o.Locustfile = usualLocustfile
		}
		return nil
	}
	if f.locustfile == "" {
		return nil
	}
	inside, err := files.Inside(f.locustfile)
	if err != nil {
		return usage(err)
	}
	o.Locustfile = inside
	return usage(o.Validate())
}

// applyAndShip applies the stack of a limiter's load test and sends image and code. The image goes first
// where there is a repository, so that no task definition names one that is not there yet.
func (s *stacker) applyAndShip(ctx context.Context, name string, request *stack.Request, before *stack.Stack, shipped *shipment, document *deployedDocument) error {
	early := !request.DryRun && before != nil
	if early {
		err := s.pushImage(ctx, name, shipped, document)
		if errors.Is(err, artifact.ErrNoRepository) {
			early, err = false, nil
		}
		if err != nil {
			return err
		}
	}
	result, err := s.apply(ctx, request)
	if err != nil {
		return s.stackFailure(err, request.Name)
	}
	document.Action, document.Changes = result.Action, result.Changes
	if request.DryRun {
		return nil
	}
	s.tell("stack %s: %s", request.Name, result.Action)
	if !early {
		if err := s.pushImage(ctx, name, shipped, document); err != nil {
			return err
		}
	}
	if err := artifact.MarkInUse(ctx, ecr.NewFromConfig(s.account.Config), awsdeploy.Repository(name), shipped.digest); err != nil {
		return err
	}
	return s.sendCode(ctx, shipped, document)
}

// sendCode gives the function the package of a build and lets its alias point at it.
func (s *stacker) sendCode(ctx context.Context, shipped *shipment, document *deployedDocument) (err error) {
	client := lambda.NewFromConfig(s.account.Config)
	function := &artifact.Function{API: client, Name: document.Function, Poll: pollOf(s.account)}
	if document.CodeSent, err = function.Update(ctx, shipped.build.Arch, shipped.sum, shipped.code); err != nil {
		return err
	}
	if document.CodeSent {
		s.tell("function %s: code of build %s", document.Function, shipped.build.ID)
	} else {
		s.tell("function %s: code unchanged", document.Function)
	}
	publication := &artifact.Publication{API: client, Function: document.Function, Poll: pollOf(s.account)}
	published, err := publication.Publish(ctx, shipped.sum)
	if err != nil {
		return err
	}
	document.Version = published.Version
	if published.Moved {
		s.tell("function %s: version %s is %s", document.Function, published.Version, artifact.Live)
	}
	if len(published.Deleted) > 0 {
		s.tell("function %s: deleted the old versions %s", document.Function, strings.Join(published.Deleted, ", "))
	}
	return nil
}

// stackFailure adds what to do about a stack that could not be applied.
func (s *stacker) stackFailure(err error, name string) error {
	if failed, ok := errors.AsType[*stack.FailedError](err); ok {
		return withHint(err, fmt.Sprintf("all events: aws cloudformation describe-stack-events --stack-name %s --region %s; run the command again when the cause is gone", failed.Stack, s.account.Region()))
	}
	if broken, ok := errors.AsType[*stack.BrokenError](err); ok && strings.HasSuffix(name, "-load") {
		return withHint(err, "delete it: "+s.loadCommand("delete", strings.TrimSuffix(broken.Stack, "-load")))
	}
	return err
}

func (s *stacker) printDeployed(name string, d *deployedDocument) error {
	d.Warnings, d.Changes = listOf(s.warnings), listOf(d.Changes)
	if s.app.json {
		return s.app.printJSON(d)
	}
	out := s.app.stdout
	if d.Image == nil { // a dry run
		_, err := fmt.Fprintf(out, "%s: %d resources would change\n", d.Stack, len(d.Changes))
		return err
	}
	fmt.Fprintf(out, "%s is ready (%s), build %s\n", d.Stack, d.Action, d.BuildID)
	next := s.loadCommand("connect", name)
	if d.Locustfile == nil {
		next += " -f FILE" // nothing runs without one
	}
	_, err := fmt.Fprintf(out, "next: %s\n", next)
	return err
}
