package awsrun

import (
	"maps"
	"slices"
	"strconv"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/ecs/types"
)

// Overrides is what a task gets instead of what its definition says. The zero value changes nothing.
type Overrides struct {
	// Size has zero values for what stays as defined.
	Size Size
	// Master and Orchestrator are variables of the two containers.
	Master, Orchestrator map[string]string
}

// Tuning is how the orchestrator scales; nil values are those of the deployment.
type Tuning struct {
	MaxWorkers, MinWorkers, UsersPerWorker, StartupLeadTime *int
}

// given says whether any value is set.
func (t Tuning) given() bool { return t != Tuning{} }

// Set sets variables of the orchestrator (load-cli.md 6.2).
func (t Tuning) set(variables map[string]string) {
	for name, value := range map[string]*int{
		"MAX_WORKERS": t.MaxWorkers, "MIN_WORKERS": t.MinWorkers,
		"USERS_PER_WORKER": t.UsersPerWorker, "STARTUP_LEAD_TIME": t.StartupLeadTime,
	} {
		if value != nil {
			variables[name] = strconv.Itoa(*value)
		}
	}
}

// MasterArguments is the variable with the master's arguments in Locust's spelling; set to "" it makes
// the container run its users in the one process.
const MasterArguments = "LOCUST_MASTER_ARGS"

// Connect are the overrides of `load connect` (load-cli.md 6.2). standalone and tuning do not go
// together: standalone decides the number of workers. pool 0 leaves the pool as deployed.
func Connect(locustfile string, size Size, tuning Tuning, pool int, standalone bool) Overrides {
	o := Overrides{Size: size, Master: map[string]string{}, Orchestrator: map[string]string{}}
	if locustfile != "" {
		o.Master["LOCUSTFILE"], o.Orchestrator["LOCUSTFILE"] = locustfile, locustfile
	}
	if pool != 0 {
		o.Master["BOTO3_MAX_POOL"] = strconv.Itoa(pool)
	}
	if tuning.given() {
		tuning.set(o.Orchestrator)
	}
	if standalone {
		o.Master[MasterArguments] = ""
		o.noWorkers()
	}
	return o
}

// Alone are the overrides of a benchmark in the master's process (load-cli.md 7.3). arguments are
// those of Locust's program.
func Alone(locustfile, arguments string, size Size) Overrides {
	o := Overrides{Size: size, Master: map[string]string{MasterArguments: arguments}, Orchestrator: map[string]string{}}
	if locustfile != "" {
		o.Master["LOCUSTFILE"] = locustfile
	}
	o.noWorkers()
	return o
}

func (o *Overrides) noWorkers() {
	o.Orchestrator["MAX_WORKERS"], o.Orchestrator["MIN_WORKERS"] = "0", "0"
}

// override is the argument of RunTask, nil when nothing is changed: then it is left out.
func (o Overrides) override() *types.TaskOverride {
	t := &types.TaskOverride{}
	if o.Size.CPU != 0 {
		t.Cpu = aws.String(strconv.Itoa(o.Size.CPU))
	}
	if o.Size.Memory != 0 {
		t.Memory = aws.String(strconv.Itoa(o.Size.Memory))
	}
	for _, c := range []struct {
		name      string
		variables map[string]string
	}{{MasterContainer, o.Master}, {OrchestratorContainer, o.Orchestrator}} {
		if len(c.variables) == 0 {
			continue
		}
		container := types.ContainerOverride{Name: aws.String(c.name)}
		for _, name := range slices.Sorted(maps.Keys(c.variables)) {
			container.Environment = append(container.Environment, types.KeyValuePair{Name: aws.String(name), Value: aws.String(c.variables[name])})
		}
		t.ContainerOverrides = append(t.ContainerOverrides, container)
	}
	if t.Cpu == nil && t.Memory == nil && t.ContainerOverrides == nil {
		return nil
	}
	return t
}
