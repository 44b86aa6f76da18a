package awsdeploy

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/artifact"
	"github.com/zeroae/zae-limiter-go/internal/awsdeploy/stack"
)

// VersionTag and LocustfileTag are on a load test's stack: the program that deployed it, and the
// locustfile of runs that name none.
const (
	VersionTag    = "zae-limiter:version"
	LocustfileTag = "zae-limiter:locustfile"
)

// LoadOptions are what a load test's stack is made of.
type LoadOptions struct {
	// Name is the limiter's.
	Name    string
	VPC     string
	Subnets []string

	MaxWorkers, MinWorkers, UsersPerWorker int
	StartupLeadSeconds                     int
	WorkerTimeoutSeconds                   int
	WorkerMemoryMB                         int
	// ReservedConcurrency of the function; 0 = none.
	ReservedConcurrency int
	CapacityProvider    string // FARGATE_SPOT or FARGATE
	Architecture        string // amd64 or arm64
	ContainerInsights   string // disabled, enabled or enhanced
	LogRetentionDays    int
	// Locustfile is the name, below the shipped folder, of runs that name none; empty = none.
	Locustfile string
	// Version of the program, for a tag.
	Version string
}

// LogRetentions are the numbers of days that CloudWatch keeps logs for.
var LogRetentions = []int{1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653}

// notInTag is what a tag's value cannot have.
var notInTag = regexp.MustCompile(`[^\p{L}\p{Z}\p{N}_.:/=+\-@]`)

// Validate reports everything that the template or a service would refuse later, VPC and subnets left out.
func (o *LoadOptions) Validate() error {
	var errs []error
	refuse := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	between := func(what string, value, low, high int) {
		refuse(value < low || value > high, "%s must be from %d to %d, got %d", what, low, high, value)
	}
	between("--max-workers", o.MaxWorkers, 1, 1000)
	between("--users-per-worker", o.UsersPerWorker, 1, 1000)
	between("--min-workers", o.MinWorkers, 0, 1000)
	refuse(o.MinWorkers > o.MaxWorkers, "--min-workers %d is more than --max-workers %d", o.MinWorkers, o.MaxWorkers)
	between("--startup-lead-time", o.StartupLeadSeconds, 0, 120)
	refuse(o.WorkerTimeoutSeconds < 60 || o.WorkerTimeoutSeconds > 900, "--lambda-timeout must be from 1 to 15 minutes, got %d", o.WorkerTimeoutSeconds/60)
	between("--lambda-memory", o.WorkerMemoryMB, 128, 10240)
	refuse(o.ReservedConcurrency != 0 && o.ReservedConcurrency < 2*o.MaxWorkers, "--reserved-concurrency must be none or at least twice --max-workers (%d), because replacements overlap; got %d", 2*o.MaxWorkers, o.ReservedConcurrency)
	refuse(o.CapacityProvider != "FARGATE_SPOT" && o.CapacityProvider != "FARGATE", "--capacity-provider must be FARGATE_SPOT or FARGATE, got %q", o.CapacityProvider)
	refuse(!artifact.Architecture(o.Architecture), "--arch must be amd64 or arm64, got %q", o.Architecture)
	refuse(!slices.Contains([]string{"disabled", "enabled", "enhanced"}, o.ContainerInsights), "--container-insights must be disabled, enabled or enhanced, got %q", o.ContainerInsights)
	refuse(!slices.Contains(LogRetentions, o.LogRetentionDays), "--log-retention-days must be one of %v, got %d", LogRetentions, o.LogRetentionDays)
	if bad := notInTag.FindString(o.Locustfile); bad != "" {
		refuse(true, "locustfile %q: its name cannot have %q, because it becomes a tag", o.Locustfile, bad)
	}
	return errors.Join(errs...)
}

// Parameters are those of the template. The target says how roles are named and bounded, the plan which
// endpoints are made; shipped are the parameters of what is shipped.
func (o *LoadOptions) Parameters(target *Target, plan *EndpointPlan, shipped map[string]string) map[string]string {
	parameters := map[string]string{
		"TargetStackName": o.Name, "VpcId": o.VPC, "PrivateSubnetIds": strings.Join(o.Subnets, ","),
		"MaxWorkers": strconv.Itoa(o.MaxWorkers), "UsersPerWorker": strconv.Itoa(o.UsersPerWorker), "MinWorkers": strconv.Itoa(o.MinWorkers),
		"StartupLeadTime": strconv.Itoa(o.StartupLeadSeconds), "LambdaTimeout": strconv.Itoa(o.WorkerTimeoutSeconds),
		"LambdaMemory": strconv.Itoa(o.WorkerMemoryMB), "CapacityProvider": o.CapacityProvider,
		"PermissionBoundary": target.Boundary, "RoleNameFormat": target.RoleFormat,
		"RepositoryName": repositoryParameter(o.Name),
		"Architecture":   o.Architecture, "Locustfile": o.Locustfile,
		"ReservedConcurrency": "none", "LogRetentionDays": strconv.Itoa(o.LogRetentionDays), "ContainerInsights": o.ContainerInsights,
	}
	if o.ReservedConcurrency > 0 {
		parameters["ReservedConcurrency"] = strconv.Itoa(o.ReservedConcurrency)
	}
	maps.Copy(parameters, plan.Parameters)
	maps.Copy(parameters, shipped)
	return parameters
}

// Tags are those of the stack, which most of its resources get too.
func (o *LoadOptions) Tags() map[string]string {
	tags := map[string]string{
		stack.ManagedByTag: stack.Manager, stack.NameTag: o.Name, stack.TypeTag: stack.TypeLoadTest, VersionTag: o.Version,
	}
	if o.Locustfile != "" {
		tags[LocustfileTag] = o.Locustfile
	}
	return tags
}
