package awsdeploy

import (
	"fmt"
	"regexp"
	"strings"
)

// Suffixes of the names of a load test's parts (load-cli.md 1).
const (
	loadSuffix     = "-load"
	functionSuffix = "-load-worker"
)

// Limits of names (load-cli.md 1).
const (
	maxLimiterName  = 55
	maxFunctionName = 64
	maxRoleName     = 64
	maxPolicyName   = 128
)

var namePattern = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9-]*$`)

// LoadStack is the name of the load test's stack, of its cluster too.
func LoadStack(limiter string) string { return limiter + loadSuffix }

// WorkerFunction is the name of the load test's function.
func WorkerFunction(limiter string) string { return limiter + functionSuffix }

// TaskFamily is the name of the load test's task definition and of its service.
func TaskFamily(limiter string) string { return limiter + loadSuffix + "-master" }

// MasterLogGroup and WorkerLogGroup are where the task and the functions log.
func MasterLogGroup(limiter string) string { return "/aws/ecs/" + TaskFamily(limiter) }

// WorkerLogGroup is the log group of the load test's function.
func WorkerLogGroup(limiter string) string { return "/aws/lambda/" + WorkerFunction(limiter) }

// CheckName says what is wrong with the name of a limiter, which is that of its stack and table.
func CheckName(name string) error {
	switch {
	case name == "":
		return fmt.Errorf("the name of a limiter must not be empty")
	case len(name) > maxLimiterName:
		return fmt.Errorf("name %q has %d characters, at most %d are allowed", name, len(name), maxLimiterName)
	case !namePattern.MatchString(name):
		return fmt.Errorf("name %q: want letters, digits and hyphens, a letter first", name)
	}
	return nil
}

// CheckLoadNames says whether the names that a load test derives from a limiter's fit. format is the
// limiter's role name format, "" or "{}" for none.
func CheckLoadNames(name, format string) error {
	if err := CheckName(name); err != nil {
		return err
	}
	if n := len(WorkerFunction(name)); n > maxFunctionName {
		return fmt.Errorf("name %q is too long for a load test: its function %s has %d characters, at most %d are allowed", name, WorkerFunction(name), n, maxFunctionName)
	}
	role, err := FormatName(format, WorkerFunction(name))
	if err != nil {
		return fmt.Errorf("role name format: %w", err)
	}
	if len(role) > maxRoleName {
		return fmt.Errorf("role %s has %d characters, at most %d are allowed: the role name format %q leaves room for a limiter's name of %d", role, len(role), maxRoleName, format, maxRoleName-(len(role)-len(name)))
	}
	return nil
}

// FormatName puts a name into a format with exactly one {}; an empty format is {}.
func FormatName(format, name string) (string, error) {
	if format == "" {
		return name, nil
	}
	if strings.Count(format, "{}") != 1 || strings.Count(format, "{") != 1 || strings.Count(format, "}") != 1 {
		return "", fmt.Errorf("%q: want exactly one {}", format)
	}
	return strings.Replace(format, "{}", name, 1), nil
}

// Repository is the name of the load test's image repository, which has no capitals.
func Repository(limiter string) string { return strings.ToLower(LoadStack(limiter)) + "-locust" }

// repositoryParameter is the parameter RepositoryName: "" when the template's own name can be one.
func repositoryParameter(limiter string) string {
	if name := Repository(limiter); name != LoadStack(limiter)+"-locust" {
		return name
	}
	return ""
}
