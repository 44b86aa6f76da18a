package settings

// deploymentVariables are the variables that a deployment gives the orchestrator's container, by our
// option (load-cli.md 12.1). Their names are too common to count for other commands.
var deploymentVariables = map[string]string{
	"worker-function":   "WORKER_FUNCTION_NAME",
	"master-port":       "MASTER_PORT",
	"poll-interval":     "POLL_INTERVAL",
	"pending-timeout":   "PENDING_TIMEOUT",
	"idle-timeout":      "IDLE_TIMEOUT",
	"worker-timeout":    "LAMBDA_TIMEOUT",
	"replacement-pct":   "REPLACEMENT_PCT",
	"users-per-worker":  "USERS_PER_WORKER",
	"min-workers":       "MIN_WORKERS",
	"max-workers":       "MAX_WORKERS",
	"startup-lead-time": "STARTUP_LEAD_TIME",
	"locustfile":        "LOCUSTFILE",
}

// DeploymentEnvironment is the variables of the orchestrator's container.
func DeploymentEnvironment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string { return deploymentVariables[option] })
}

// containerVariables are the variables that a deployment gives containers with a run, by our option
// (load-cli.md 13).
var containerVariables = map[string]string{
	"table":            "TARGET_STACK_NAME",
	"region":           "TARGET_REGION",
	"pool-connections": "BOTO3_MAX_POOL",
}

// ContainerEnvironment is the variables of a container whose process controls a run.
func ContainerEnvironment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string { return containerVariables[option] })
}

// WorkerEnvironment is the variables of a worker's container: the target is what the master says.
func WorkerEnvironment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string {
		if option == "pool-connections" {
			return containerVariables[option]
		}
		return ""
	})
}

// LocustfileVariable names the locustfile in containers.
const LocustfileVariable = "LOCUSTFILE"

// LocustfileEnvironment is that variable alone.
func LocustfileEnvironment(getenv func(string) string) Source {
	return variables(getenv, func(option string) string {
		if option == "locustfile" {
			return LocustfileVariable
		}
		return ""
	})
}

// DeploymentVariable returns the variable of an option in the orchestrator's container, "" when
// there is none.
func DeploymentVariable(option string) string { return deploymentVariables[option] }
